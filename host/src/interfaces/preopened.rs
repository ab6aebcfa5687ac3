//! Granted folders, opened for an instance: the folder that was granted, and never what a link in its place leads to.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::plugin::grant::FolderGrant;

/// A folder that can't be opened. It has the name that its guest knows it by: where it is, is the operator's affair.
#[derive(Debug, thiserror::Error)]
#[error("the granted folder /{name} can't be opened: {reason}")]
pub struct FolderError {
    /// The folder's name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Where an open file has a path.
#[cfg(target_os = "linux")]
const OPEN: &str = "/proc/self/fd";
#[cfg(not(target_os = "linux"))]
const OPEN: &str = "/dev/fd";

/// What needs no right to read the folders on the way.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::RDONLY;

/// Shows the guest a folder.
///
/// # Errors
/// It is gone, or it is not where it was granted.
pub(super) fn show(builder: &mut WasiCtxBuilder, folder: &FolderGrant) -> Result<(), FolderError> {
    let failed = |reason: String| FolderError {
        name: folder.name.clone(),
        reason,
    };
    let opened = open_as_granted(&folder.dir).map_err(|error| failed(reason(error)))?;
    let perms = match folder.writable() {
        true => FsPerms::ReadWrite,
        false => FsPerms::ReadOnly,
    };
    let path = format!("{OPEN}/{}", opened.as_raw_fd());
    let shown = builder.preopened_dir(path, format!("/{}", folder.name), perms);
    shown.map(drop).map_err(|error| failed(error.to_string()))
}

/// Opens a folder by a path in which links were resolved, part by part: an agent that may write above it can have put a link into any
/// part of it since then, and that is not followed.
fn open_as_granted(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = STEP | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = open("/", flags, Mode::empty())?;
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => at = openat(&at, name, flags, Mode::empty())?,
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
        }
    }
    Ok(at)
}

fn reason(error: Errno) -> String {
    match error {
        Errno::NOTDIR | Errno::LOOP => "a file or a link is in its place since it was granted".to_owned(),
        error => io::Error::from(error).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_in_any_part_of_a_path_is_not_followed() {
        let place = tempfile::tempdir().expect("a folder");
        let root = place.path().canonicalize().expect("a path");
        fs::create_dir_all(root.join("a/b/c")).expect("made");
        assert!(open_as_granted(&root.join("a/b/c")).is_ok());
        assert_eq!(open_as_granted(&root.join("a/x")).err(), Some(Errno::NOENT));
        fs::rename(root.join("a/b"), root.join("a/moved")).expect("renamed");
        symlink("moved", root.join("a/b")).expect("linked");
        for part in ["a/b", "a/b/c"] {
            let error = open_as_granted(&root.join(part)).expect_err(part);
            assert!(reason(error).contains("a link is in its place"), "{part}: {error}");
        }
        assert!(open_as_granted(&root.join("a/moved/c")).is_ok());
        assert!(open_as_granted(&root.join("a/moved/../moved")).is_err());
        assert!(open_as_granted(Path::new("/")).is_ok());
    }
}
