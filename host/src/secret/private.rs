//! Files that hold what nobody else may read: a key, the secrets. What is checked is the file that is read, not its name.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

/// A private file that can't be used. No variant holds any of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// It can't be read.
    #[error("{} can't be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Others may read it, or it is someone else's.
    #[error("{} must belong to you and be readable by you alone, but {what}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what mends it.
        what: String,
    },
    /// It holds more than such a file does.
    #[error("{} has more than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most, in bytes.
        most: u64,
    },
}

/// Whether a private file may be reached by a link in the place of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It may: a person put it there.
    Follow,
    /// It may not: the host made it, and makes no links.
    Refuse,
}

/// The text of the file at `path`, which must be a regular file of ours with no rights for others, and of `most` bytes at most.
///
/// # Errors
/// [`PrivateError`], for each of these that doesn't hold.
pub fn read(path: &Path, most: u64, links: Links) -> Result<Zeroizing<String>, PrivateError> {
    let unread = |error| PrivateError::Read {
        path: path.to_owned(),
        error,
    };
    let file = open(path, links)?;
    let size = file.metadata().map_err(unread)?.len();
    // With room for all of it, so that it is never moved to a larger place and its text left behind.
    let room = usize::try_from(size.min(most).saturating_add(1)).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(most.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(unread)?;
    if text.len() as u64 > most {
        return Err(PrivateError::TooLarge {
            path: path.to_owned(),
            most,
        });
    }
    Ok(text)
}

fn open(path: &Path, links: Links) -> Result<File, PrivateError> {
    let unread = |error| PrivateError::Read {
        path: path.to_owned(),
        error,
    };
    let exposed = |what: String| PrivateError::Exposed {
        path: path.to_owned(),
        what,
    };
    // Without waiting, so that a pipe in its place can't hold the host.
    let flags = match links {
        Links::Follow => OFlags::NONBLOCK,
        Links::Refuse => OFlags::NONBLOCK | OFlags::NOFOLLOW,
    };
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) && links == Links::Refuse => {
            return Err(exposed("it is a link".to_owned()));
        }
        other => other.map_err(unread)?,
    };
    // The open file's own metadata: what is checked is what is read.
    let meta = file.metadata().map_err(unread)?;
    if !meta.is_file() {
        return Err(exposed("it is no regular file".to_owned()));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(exposed("it belongs to another user".to_owned()));
    }
    if meta.mode() & 0o077 != 0 {
        let (mode, path) = (meta.mode() & 0o777, path.display());
        return Err(exposed(format!(
            "its mode is {mode:03o}; mend it with: chmod 600 {path}"
        )));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_a_private_file_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, link) = (dir.path().join("key"), dir.path().join("link"));
        std::fs::write(&path, "0123456789").expect("written");
        symlink(&path, &link).expect("linked");
        for (mode, good) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o660, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            let text = read(&path, 10, Links::Refuse);
            assert_eq!(text.is_ok(), good, "{mode:o}");
            if let Err(error) = text {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        assert_eq!(*read(&link, 10, Links::Follow).expect("followed"), "0123456789");
        let refused = read(&link, 10, Links::Refuse).expect_err("a link").to_string();
        assert!(refused.contains("it is a link"), "{refused}");
        assert!(matches!(
            read(&path, 9, Links::Follow),
            Err(PrivateError::TooLarge { most: 9, .. })
        ));
        assert!(matches!(
            read(dir.path(), 10, Links::Follow),
            Err(PrivateError::Exposed { .. })
        ));
        let none = read(&dir.path().join("none"), 10, Links::Follow);
        assert!(matches!(none, Err(PrivateError::Read { .. })));
    }
}
