//! The file of approvals, `approvals.toml` in the home folder's `host/`: written whole or not at all, by one process at a time, and never taken for
//! an empty one when it can't be read.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Approval, ApprovalError};
use crate::ids::Digest;
use crate::own_file::{self, Trust};

/// The format that this host writes.
const VERSION: i64 = 1;
/// Plugins that may be added.
const MOST: usize = 1000;
/// Bytes of the file.
const MOST_BYTES: u64 = 8 << 20;

/// What the file begins with.
const HEAD: &str =
    "# What was approved with plugins. It is written by `hermes-host plugin add`, `allow` and `remove`.\n\n";

/// The approvals of one home folder.
#[derive(Debug, Clone)]
pub struct Approvals {
    state: PathBuf,
}

#[derive(Deserialize)]
struct Format {
    version: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: i64,
    /// Of all entries.
    checksum: String,
    #[serde(default)]
    plugin: Vec<Entry>,
}

/// An approval as it is written. The checksum covers its fields in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    wants: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    toolset: Option<String>,
    tools: Vec<String>,
    repeatable: Vec<String>,
    allow: Vec<String>,
    own: Vec<String>,
    approved_ms: u64,
}

impl Approvals {
    /// Those in the home folder's `host/`, which need not be there.
    pub fn at(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.state.join("approvals.toml")
    }

    /// What was approved with the plugin of this name.
    ///
    /// # Errors
    /// As [`Approvals::read`].
    pub fn of(&self, name: &str) -> Result<Option<Approval>, ApprovalError> {
        Ok(self.read()?.into_iter().find(|approval| approval.name == name))
    }

    /// All of them, by name; none where there is no file.
    ///
    /// # Errors
    /// The file can't be read, is not what was written, is a newer host's, or is one that others could write.
    pub fn read(&self) -> Result<Vec<Approval>, ApprovalError> {
        let path = self.path();
        let Some(text) = text(&path)? else {
            return Ok(Vec::new());
        };
        let damaged = |what: &str| ApprovalError::Unusable {
            path: path.clone(),
            what: format!(
                "it is not what hermes-host wrote ({what}); put it back from a backup, or remove it and add the plugins again"
            ),
        };
        let format: Format = toml::from_str(&text).map_err(|_| damaged("it has no version"))?;
        if format.version > VERSION {
            return Err(ApprovalError::Newer {
                path,
                found: format.version,
                known: VERSION,
            });
        }
        let written: Written = toml::from_str(&text).map_err(|e| damaged(&crate::text::line(e.message(), 200)))?;
        if written.checksum != checksum(&written.plugin) {
            return Err(damaged("its checksum is another"));
        }
        let read = written.plugin.into_iter().map(Entry::read).collect::<Option<Vec<_>>>();
        read.ok_or_else(|| damaged("a digest is none"))
    }

    /// Changes them, alone among all processes, and writes them. An error of `change` leaves them as they are.
    ///
    /// # Errors
    /// As [`Approvals::read`]; they can't be written; `change` says no.
    pub fn change<T, E: From<ApprovalError>>(
        &self,
        change: impl FnOnce(&mut Vec<Approval>) -> Result<T, E>,
    ) -> Result<T, E> {
        let lock = self.state.join("approvals.lock");
        let _held = own_file::lock(&lock).map_err(|e| unwritten(&lock, &e))?;
        let mut all = self.read()?;
        let value = change(&mut all)?;
        if all.len() > MOST {
            return Err(ApprovalError::TooMany { most: MOST }.into());
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let plugin: Vec<Entry> = all.iter().map(Entry::of).collect();
        let written = Written {
            version: VERSION,
            checksum: checksum(&plugin),
            plugin,
        };
        let path = self.path();
        let body = toml::to_string(&written).map_err(|e| unwritten(&path, &io::Error::other(e)))?;
        let text = format!("{HEAD}{body}");
        if text.len() as u64 > MOST_BYTES {
            return Err(ApprovalError::TooMany { most: all.len() - 1 }.into());
        }
        replace(&path, text.as_bytes())?;
        Ok(value)
    }
}

impl Entry {
    fn of(approval: &Approval) -> Self {
        let approval = approval.clone();
        Self {
            name: approval.name,
            digest: approval.digest.to_string(),
            manifest: approval.beside.map(|digest| digest.to_string()),
            version: approval.version,
            wants: approval.wants,
            toolset: approval.toolset,
            tools: approval.tools,
            repeatable: approval.repeatable,
            allow: approval.allow,
            own: approval.own,
            approved_ms: approval.at_ms,
        }
    }

    fn read(self) -> Option<Approval> {
        Some(Approval {
            name: self.name,
            digest: self.digest.parse().ok()?,
            beside: self.manifest.map(|digest| digest.parse()).transpose().ok()?,
            version: self.version,
            wants: self.wants,
            toolset: self.toolset,
            tools: self.tools,
            repeatable: self.repeatable,
            allow: self.allow,
            own: self.own,
            at_ms: self.approved_ms,
        })
    }
}

/// Over what the entries say, however the file is laid out.
fn checksum(entries: &[Entry]) -> String {
    let fields = entries.iter().map(|e| {
        (
            (&e.name, &e.digest, &e.manifest, &e.version, &e.wants, &e.toolset),
            (&e.tools, &e.repeatable, &e.allow, &e.own, e.approved_ms),
        )
    });
    let fields: Vec<_> = fields.collect();
    let bytes = postcard::to_stdvec(&fields).expect("texts, lists and a number can be encoded");
    Digest::of(&bytes).to_string()
}

/// The file's text; none where there is none.
fn text(path: &Path) -> Result<Option<Zeroizing<String>>, ApprovalError> {
    let what = match own_file::read(path, MOST_BYTES, Trust::Ours) {
        Ok(text) => return Ok(Some(text)),
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(None),
            io::ErrorKind::InvalidData => "it is no UTF-8 text; put it back from a backup".to_owned(),
            _ => e.to_string(),
        },
    };
    Err(ApprovalError::Unusable {
        path: path.to_owned(),
        what,
    })
}

/// As [`own_file::replace`].
pub(in crate::plugin) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ApprovalError> {
    own_file::replace(path, bytes).map_err(|e| unwritten(path, &e))
}

fn unwritten(path: &Path, error: &io::Error) -> ApprovalError {
    ApprovalError::Unwritten {
        path: path.to_owned(),
        what: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn approval(name: &str) -> Approval {
        Approval {
            name: name.to_owned(),
            digest: Digest::of(name.as_bytes()),
            beside: None,
            version: "0.1.0".to_owned(),
            wants: Some(vec!["net:x.org".to_owned()]),
            toolset: Some("weather".to_owned()),
            tools: vec!["forecast".to_owned()],
            repeatable: Vec::new(),
            allow: vec!["net:GET@x.org".to_owned()],
            own: Vec::new(),
            at_ms: 1_700_000_000_000,
        }
    }

    fn place() -> (tempfile::TempDir, Approvals) {
        let dir = tempfile::tempdir().expect("a folder");
        let approvals = Approvals::at(&dir.path().join("host"));
        (dir, approvals)
    }

    fn put(approvals: &Approvals, approval: Approval) {
        let pushed = approvals.change(|all| {
            all.push(approval);
            Ok::<_, ApprovalError>(())
        });
        pushed.expect("written");
    }

    #[test]
    fn what_was_written_is_read_in_order_and_by_this_user_alone() {
        let (_dir, approvals) = place();
        assert_eq!(approvals.read(), Ok(Vec::new()));
        let bare = Approval {
            wants: None,
            toolset: None,
            beside: Some(Digest::of(b"beside")),
            ..approval("b")
        };
        put(&approvals, bare.clone());
        put(&approvals, approval("a"));
        assert_eq!(approvals.read(), Ok(vec![approval("a"), bare]));
        assert_eq!(approvals.of("a"), Ok(Some(approval("a"))));
        assert_eq!(approvals.of("c"), Ok(None));
        let mode = fs::metadata(approvals.path()).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o600);
        let left = fs::read_dir(approvals.path().parent().expect("a folder")).expect("listed");
        assert_eq!(left.count(), 2, "the file and its lock");
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let (_dir, approvals) = place();
        put(&approvals, approval("a"));
        let never = ApprovalError::Never { name: "b".to_owned() };
        let failed = approvals.change(|all| -> Result<(), ApprovalError> {
            all.clear();
            Err(never.clone())
        });
        assert_eq!(failed, Err(never));
        assert_eq!(approvals.read(), Ok(vec![approval("a")]));
    }

    #[test]
    fn so_many_and_no_more() {
        let (_dir, approvals) = place();
        let fill = |n: usize| {
            approvals.change(|all| {
                *all = (0..n).map(|i| approval(&format!("p{i:04}"))).collect();
                Ok::<_, ApprovalError>(())
            })
        };
        assert_eq!(fill(MOST), Ok(()));
        assert_eq!(fill(MOST + 1), Err(ApprovalError::TooMany { most: MOST }));
        assert_eq!(approvals.read().expect("read").len(), MOST);
    }

    #[test]
    fn a_file_that_is_not_what_was_written_is_never_an_empty_one() {
        let (_dir, approvals) = place();
        put(&approvals, approval("a"));
        let path = approvals.path();
        let text = fs::read_to_string(&path).expect("text");
        let with = |text: &str| {
            fs::write(&path, text).expect("written");
            approvals.read()
        };
        for changed in [
            text.replace("net:GET@x.org", "net:GET@y.org"),
            text.replace("version = 1", "version = 1\nmore = 2"),
            text.replace("\"weather\"", "\"code_execution\""),
            text[..text.len() / 2].to_owned(),
            String::new(),
        ] {
            assert_ne!(changed, text);
            let error = with(&changed).expect_err(&changed);
            assert!(error.to_string().contains("backup"), "{error}");
        }
        let newer = with(&text.replace("version = 1\n", "version = 2\nwhat = \"ever\"\n"));
        assert!(matches!(newer, Err(ApprovalError::Newer { found: 2, known: 1, .. })));
        // How it is laid out says nothing.
        assert!(with(&format!("# mine\n{text}\n\n")).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).expect("set");
        let error = approvals.read().expect_err("others could write it").to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("linked");
        assert!(approvals.read().is_err(), "a link");
    }

    #[test]
    fn changes_of_many_are_one_after_another() {
        let (_dir, approvals) = place();
        std::thread::scope(|scope| {
            for i in 0..8 {
                let approvals = &approvals;
                scope.spawn(move || put(approvals, approval(&format!("p{i}"))));
            }
        });
        assert_eq!(approvals.read().expect("read").len(), 8);
    }
}
