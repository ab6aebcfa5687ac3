//! Opens files of the host's own state. What stands in the place of one is neither followed, where it is a link, nor waited for, where it is a
//! pipe: what other users could have put there is not read, and not written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// How a file is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// With secrets, or with code that is loaded: it belongs to this very user, and no other may open it.
    Whole,
    /// With what is checked when it is read: no other user may write it. Root takes anybody's, as in a container whose folders come from outside;
    /// and a file that was copied back from somewhere may be open to readers.
    Checked,
}

/// Opens `path` as `options` say, if it is a regular file that can be trusted so.
///
/// # Errors
/// What the system says; or that something else is there, in words that can follow the path.
pub fn open(options: &mut OpenOptions, path: &Path, trust: Trust) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|e| match rustix::io::Errno::from_io_error(&e) {
        Some(rustix::io::Errno::LOOP) => odd("it is a link, not a file"),
        // A pipe that is to be written, and has no reader; a socket.
        Some(rustix::io::Errno::NXIO) => odd("it is no regular file"),
        _ => e,
    })?;
    let meta = file.metadata()?;
    let us = rustix::process::geteuid();
    let (is_ours, exposed) = match trust {
        Trust::Whole => (meta.uid() == us.as_raw(), 0o077),
        Trust::Checked => (meta.uid() == us.as_raw() || us.is_root(), 0o022),
    };
    match () {
        () if !meta.is_file() => Err(odd("it is no regular file")),
        () if !is_ours => Err(odd("it belongs to another user")),
        () if meta.mode() & exposed != 0 => Err(odd("other users may open it")),
        () => Ok(file),
    }
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
        ] {
            fs::set_permissions(path("file"), Permissions::from_mode(mode)).expect("set");
            let said = opened(&path("file"), trust);
            assert_eq!(said.is_ok(), good, "{mode:o} {trust:?}: {said:?}");
        }
    }
}
