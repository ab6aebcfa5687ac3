//! `wasi:filesystem`: each call goes to the descriptor of a granted folder, with its paths as they are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};

/// One call. `root` is a granted folder, `/NAME`.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Step {
    /// The names of the granted folders.
    Folders,
    /// The text of a file, links followed unless said.
    Read {
        root: String,
        path: String,
        #[serde(default)]
        no_follow: bool,
    },
    /// The same so many times: what was told, and how often each.
    ReadAgain {
        root: String,
        path: String,
        times: u32,
    },
    /// Writes a file, which is made.
    Write {
        root: String,
        path: String,
        text: String,
    },
    /// Opens for both, and changes nothing.
    OpenWritable {
        root: String,
        path: String,
    },
    /// The size of a file.
    Stat {
        root: String,
        path: String,
    },
    /// The size of what lies at a path of the same part so many times, and an end.
    StatFar {
        root: String,
        part: String,
        times: usize,
        end: String,
    },
    /// Opens a file so many times, or until that is refused, and closes none: how many are open then, and what the next one and a listing of the folder were told.
    OpenAll {
        root: String,
        path: String,
        times: usize,
    },
    /// The names in a folder.
    List {
        root: String,
        path: String,
    },
    /// Opens so many listings of a folder, and closes none before all are open.
    ListAll {
        root: String,
        times: usize,
    },
    MakeFolder {
        root: String,
        path: String,
    },
    RemoveFolder {
        root: String,
        path: String,
    },
    Unlink {
        root: String,
        path: String,
    },
    /// A hard link.
    Link {
        root: String,
        path: String,
        to_root: String,
        to: String,
    },
    Rename {
        root: String,
        path: String,
        to_root: String,
        to: String,
    },
    /// Opens a folder, renames it, makes another in its place, and writes a file through what it opened.
    WriteMoved {
        root: String,
        path: String,
        to_root: String,
        to: String,
        name: String,
    },
    Symlink {
        root: String,
        target: String,
        path: String,
    },
    Readlink {
        root: String,
        path: String,
    },
    SetSize {
        root: String,
        path: String,
        bytes: u64,
    },
    SetTimes {
        root: String,
        path: String,
        /// Whether a link is followed.
        #[serde(default)]
        follow: bool,
    },
}

impl Step {
    /// Does it.
    ///
    /// # Errors
    /// WASI's name of what went wrong.
    pub(crate) fn run(&self) -> Result<Value, String> {
        self.call().map_err(|code| code.name().to_owned())
    }

    fn call(&self) -> Result<Value, ErrorCode> {
        match self {
            Self::Folders => {
                let names: Vec<String> = get_directories().into_iter().map(|(_, name)| name).collect();
                Ok(json!(names))
            }
            Self::Read { root, path, no_follow } => {
                let follow = if *no_follow {
                    PathFlags::empty()
                } else {
                    PathFlags::SYMLINK_FOLLOW
                };
                Ok(json!(read(&folder(root)?, path, follow)?))
            }
            Self::ReadAgain { root, path, times } => {
                let folder = folder(root)?;
                let mut told: BTreeMap<String, u32> = BTreeMap::new();
                for _ in 0..*times {
                    let one = match read(&folder, path, PathFlags::SYMLINK_FOLLOW) {
                        Ok(text) => text,
                        Err(code) => format!("error {}", code.name()),
                    };
                    *told.entry(one).or_default() += 1;
                }
                Ok(json!(told))
            }
            Self::Write { root, path, text } => {
                let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
                let file = folder(root)?.open_at(PathFlags::SYMLINK_FOLLOW, path, flags, DescriptorFlags::WRITE)?;
                Ok(json!(file.write(text.as_bytes(), 0)?))
            }
            Self::OpenWritable { root, path } => {
                let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
                folder(root)?.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), flags)?;
                Ok(Value::Null)
            }
            Self::Stat { root, path } => Ok(json!(folder(root)?.stat_at(PathFlags::SYMLINK_FOLLOW, path)?.size)),
            Self::StatFar { root, part, times, end } => {
                let path = [part.repeat(*times).as_str(), end.as_str()].concat();
                Ok(json!(folder(root)?.stat_at(PathFlags::SYMLINK_FOLLOW, &path)?.size))
            }
            Self::OpenAll { root, path, times } => open_all(&folder(root)?, path, *times),
            Self::List { root, path } => list(&folder(root)?, path),
            Self::ListAll { root, times } => {
                let folder = folder(root)?;
                let open: Result<Vec<_>, ErrorCode> = (0..*times).map(|_| folder.read_directory()).collect();
                Ok(json!(open?.len()))
            }
            Self::MakeFolder { root, path } => Ok(json!(folder(root)?.create_directory_at(path)?)),
            Self::RemoveFolder { root, path } => Ok(json!(folder(root)?.remove_directory_at(path)?)),
            Self::Unlink { root, path } => Ok(json!(folder(root)?.unlink_file_at(path)?)),
            Self::Link {
                root,
                path,
                to_root,
                to,
            } => {
                let (from, into) = (folder(root)?, folder(to_root)?);
                Ok(json!(from.link_at(PathFlags::empty(), path, &into, to)?))
            }
            Self::Rename {
                root,
                path,
                to_root,
                to,
            } => Ok(json!(folder(root)?.rename_at(path, &folder(to_root)?, to)?)),
            Self::WriteMoved {
                root,
                path,
                to_root,
                to,
                name,
            } => write_moved((&folder(root)?, path), (&folder(to_root)?, to), name),
            Self::Symlink { root, target, path } => Ok(json!(folder(root)?.symlink_at(target, path)?)),
            Self::Readlink { root, path } => Ok(json!(folder(root)?.readlink_at(path)?)),
            Self::SetSize { root, path, bytes } => {
                let file = folder(root)?.open_at(
                    PathFlags::SYMLINK_FOLLOW,
                    path,
                    OpenFlags::empty(),
                    DescriptorFlags::WRITE,
                )?;
                Ok(json!(file.set_size(*bytes)?))
            }
            Self::SetTimes { root, path, follow } => {
                let now = NewTimestamp::Now;
                let flags = if *follow {
                    PathFlags::SYMLINK_FOLLOW
                } else {
                    PathFlags::empty()
                };
                Ok(json!(folder(root)?.set_times_at(flags, path, now, now)?))
            }
        }
    }
}

/// The descriptor of a granted folder.
fn folder(name: &str) -> Result<Descriptor, ErrorCode> {
    let mut folders = get_directories().into_iter();
    let found = folders.find_map(|(folder, own)| (own == name).then_some(folder));
    found.ok_or(ErrorCode::BadDescriptor)
}

/// A file's first 64 KiB.
fn read(folder: &Descriptor, path: &str, follow: PathFlags) -> Result<String, ErrorCode> {
    let file = folder.open_at(follow, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(64 << 10, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open_all(folder: &Descriptor, path: &str, times: usize) -> Result<Value, ErrorCode> {
    let mut open = Vec::new();
    let mut refused = None;
    while open.len() < times && refused.is_none() {
        match folder.open_at(
            PathFlags::SYMLINK_FOLLOW,
            path,
            OpenFlags::empty(),
            DescriptorFlags::READ,
        ) {
            Ok(file) => open.push(file),
            Err(code) => refused = Some(code.name().to_owned()),
        }
    }
    let listing = folder.read_directory().err().map(|code| code.name().to_owned());
    Ok(json!({ "open": open.len(), "next": refused, "listing": listing }))
}

fn write_moved(
    (from, path): (&Descriptor, &str),
    (into, to): (&Descriptor, &str),
    name: &str,
) -> Result<Value, ErrorCode> {
    let held = from.open_at(PathFlags::empty(), path, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
    from.rename_at(path, into, to)?;
    from.create_directory_at(path)?;
    let file = held.open_at(PathFlags::empty(), name, OpenFlags::CREATE, DescriptorFlags::WRITE)?;
    Ok(json!(file.write(b"written", 0)?))
}

fn list(folder: &Descriptor, path: &str) -> Result<Value, ErrorCode> {
    let inner = folder.open_at(
        PathFlags::SYMLINK_FOLLOW,
        path,
        OpenFlags::DIRECTORY,
        DescriptorFlags::READ,
    )?;
    let entries = inner.read_directory()?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry()? {
        names.push(entry.name);
    }
    names.sort();
    Ok(json!(names))
}
