//! Reads a component from a file, once and within its cap, and says plainly what a path is that holds none.
//! What lies beside a component is opened in the same way.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::engine::precheck::LoadError;
use crate::limits::Limits;

/// The bytes of the file at `path`.
///
/// # Errors
/// It is missing, no regular file, not readable, or larger than `limits.component`.
pub fn read_component(path: &Path, limits: &Limits) -> Result<Vec<u8>, LoadError> {
    let file = open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => LoadError::Missing { path: path.to_owned() },
        _ => unreadable(path, &e),
    })?;
    let meta = file.metadata().map_err(|e| unreadable(path, &e))?;
    if !meta.is_file() {
        let kind = meta.file_type();
        let what = match () {
            () if meta.is_dir() => "a folder",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_char_device() || kind.is_block_device() => "a device",
            () => "no regular file",
        };
        return Err(LoadError::NotAFile {
            path: path.to_owned(),
            what,
        });
    }
    if meta.len() > limits.component {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            bytes: meta.len(),
            limit: limits.component,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
    file.take(limits.component + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| unreadable(path, &e))?;
    if bytes.len() as u64 > limits.component {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            limit: limits.component,
        });
    }
    Ok(bytes)
}

/// Opens a file to be read, without waiting: a pipe that nobody writes would hold us for ever. What it is has to be asked of what was opened: by its
/// path it may be another meanwhile.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(nonblocking).open(path)
}

fn unreadable(path: &Path, error: &io::Error) -> LoadError {
    LoadError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
