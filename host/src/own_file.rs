//! Opens files of the host's own state, and keys; locks and replaces some of them. What stands in the place of one is neither followed, where it is a link,
//! nor waited for, where it is a pipe: what other users could have put there is not read, and not written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// How long another process's change is waited for, and how often it is looked whether it is done.
const WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// How a file is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// With secrets, or with code that is loaded: it belongs to this very user, and no other may open it.
    Whole,
    /// The same of a file that a person named, who may have put a link in its place.
    Linked,
    /// With what the operator said: it belongs to this very user, and no other may write it.
    Ours,
    /// With what the operator said, where a person or a machine's set-up put it, a link perhaps: it belongs to this very user or to root, and not everybody
    /// may write it. Root takes anybody's.
    Configured,
    /// With what is checked when it is read: no other user may write it. Root takes anybody's, as in a container whose folders come from outside;
    /// and a file that was copied back from somewhere may be open to readers.
    Checked,
}

/// Opens `path` as `options` say, if it is a regular file that can be trusted so.
///
/// # Errors
/// What the system says; or that something else is there, in words that can follow the path.
pub fn open(options: &mut OpenOptions, path: &Path, trust: Trust) -> io::Result<File> {
    let flags = match trust {
        Trust::Linked | Trust::Configured => OFlags::NONBLOCK,
        Trust::Whole | Trust::Ours | Trust::Checked => OFlags::NOFOLLOW | OFlags::NONBLOCK,
    };
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::LOOP) => odd("it is a link, not a file"),
        // A pipe that is to be written, and has no reader; a socket.
        Some(Errno::NXIO) => odd("it is no regular file"),
        _ => e,
    })?;
    let meta = file.metadata()?;
    let us = rustix::process::geteuid();
    let is_this_users = meta.uid() == us.as_raw();
    let (is_ours, exposed, mend) = match trust {
        Trust::Whole | Trust::Linked => (
            is_this_users,
            0o077,
            "other users may open it; mend that with: chmod 600",
        ),
        Trust::Ours => (
            is_this_users,
            0o022,
            "others could write it; see that it is right, then: chmod 600",
        ),
        Trust::Configured => (
            is_this_users || us.is_root() || meta.uid() == 0,
            0o002,
            "everybody may write it; see that it is right, then: chmod o-w",
        ),
        Trust::Checked => (
            is_this_users || us.is_root(),
            0o022,
            "other users may open it; mend that with: chmod go-w",
        ),
    };
    match () {
        () if !meta.is_file() => Err(odd("it is no regular file")),
        () if !is_ours => Err(odd("it belongs to another user")),
        () if meta.mode() & exposed != 0 => Err(odd(&format!("{mend} {}", path.display()))),
        () => Ok(file),
    }
}

/// The text of the file at `path`, of `most` bytes at most, in memory that is wiped.
///
/// # Errors
/// As [`open`]; it is larger, or no text.
pub fn read(path: &Path, most: u64, trust: Trust) -> io::Result<Zeroizing<String>> {
    let file = open(OpenOptions::new().read(true), path, trust)?;
    // With room for all of it, so that it is never moved to a larger place and its text left behind.
    let room = file.metadata()?.len().min(most).saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(room).unwrap_or(usize::MAX)));
    file.take(most.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(odd(&format!("it has more than {most} bytes")));
    }
    Ok(text)
}

/// A file that this process has locked, until this is dropped. To close it would not be enough: a process that is being started has a copy of it,
/// and so of the lock, until it is the other program.
#[derive(Debug)]
pub struct FileLock(pub File);

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Takes the lock at `path`, which is made where it is missing, with its folder.
///
/// # Errors
/// It can't be made; `WouldBlock` where another process holds it for long.
pub fn lock(path: &Path) -> io::Result<FileLock> {
    let folder = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut options = OpenOptions::new();
    let file = open(
        options.write(true).create(true).truncate(false).mode(0o600),
        path,
        Trust::Checked,
    )?;
    let began = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(FileLock(file)),
            Err(Errno::WOULDBLOCK) if began.elapsed() < WAIT => std::thread::sleep(POLL),
            Err(Errno::WOULDBLOCK) => {
                let what = "another process has held it for 5 s";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, what));
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Puts a file of this user alone in the place of what is there: whole, or not at all. By one process at a time, which holds a lock.
///
/// # Errors
/// What the system says; then the file is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".draft");
    let draft = folder.join(name);
    let write = || -> io::Result<()> {
        // Left by a process that was killed here.
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn opened(path: &Path, trust: Trust) -> Result<(), String> {
        let mut all = Vec::new();
        // To read, to write, and both: a pipe hangs each in its own way.
        for (read, write) in [(true, false), (false, true), (true, true)] {
            let file = open(OpenOptions::new().read(read).write(write), path, trust);
            all.push(file.map(drop).map_err(|e| e.to_string()));
        }
        all.dedup();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn only_a_regular_file_of_this_user_is_opened() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        let is = |name: &str, words: &str| {
            let said = opened(&path(name), Trust::Checked).expect_err(name);
            assert!(said.contains(words), "{name}: {said}");
        };
        fs::write(path("file"), "x").expect("written");
        fs::set_permissions(path("file"), Permissions::from_mode(0o600)).expect("set");
        assert_eq!(opened(&path("file"), Trust::Whole), Ok(()));
        symlink(path("file"), path("link")).expect("linked");
        symlink(path("nothing"), path("dangling")).expect("linked");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), fifo, 0o600.into(), 0).expect("made");
        is("link", "a link");
        is("dangling", "a link");
        is("pipe", "no regular file");
        for (mode, trust, good) in [
            (0o640, Trust::Whole, false),
            (0o644, Trust::Checked, true),
            (0o620, Trust::Checked, false),
            (0o664, Trust::Configured, true),
            (0o602, Trust::Configured, false),
        ] {
            fs::set_permissions(path("file"), Permissions::from_mode(mode)).expect("set");
            let said = opened(&path("file"), trust);
            assert_eq!(said.is_ok(), good, "{mode:o} {trust:?}: {said:?}");
        }
    }

    #[test]
    fn a_text_is_read_whole_or_not_at_all_and_by_a_link_where_a_person_put_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, link) = (dir.path().join("key"), dir.path().join("link"));
        fs::write(&path, "0123456789").expect("written");
        symlink(&path, &link).expect("linked");
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
            for (path, trust) in [(&path, Trust::Whole), (&link, Trust::Linked)] {
                let text = read(path, 10, trust).map_err(|e| e.to_string());
                assert_eq!(
                    text.as_ref().map(|text| text.as_str()).ok(),
                    good.then_some("0123456789")
                );
                assert!(
                    text.is_ok() || text.is_err_and(|said| said.contains("chmod 600")),
                    "{mode:o}"
                );
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
        let refused = |path: &Path, most, trust| read(path, most, trust).expect_err("refused").to_string();
        assert!(refused(&link, 10, Trust::Whole).contains("it is a link"));
        assert!(refused(&path, 9, Trust::Whole).contains("more than 9 bytes"));
        assert!(refused(dir.path(), 10, Trust::Linked).contains("no regular file"));
    }
}
