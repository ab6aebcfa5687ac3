//! File descriptors: the process has so many, and keeps some free for its journal and its sockets.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Between two looks while none is free.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Whether `reserve` descriptors are free.
pub(super) fn are_left(reserve: u64) -> bool {
    let Some(most) = getrlimit(Resource::Nofile).current else {
        return true;
    };
    in_use().is_none_or(|used| used.saturating_add(reserve) <= most)
}

/// How many are in use. Where the system doesn't say, those below the lowest that is free.
fn in_use() -> Option<u64> {
    const OPEN: &str = "/proc/self/fd";
    // Linux 6.2 and later count them in the folder's size; before, it is 0.
    match rustix::fs::stat(OPEN).map(|stat| u64::try_from(stat.st_size)) {
        Ok(Ok(0)) => {
            let open = std::fs::read_dir(OPEN).ok()?;
            // Without the one that the folder is read by.
            u64::try_from(open.count()).ok().map(|count| count.saturating_sub(1))
        }
        Ok(Ok(count)) => Some(count),
        _ => {
            let lowest = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
            u64::try_from(lowest.as_raw_fd()).ok()
        }
    }
}
