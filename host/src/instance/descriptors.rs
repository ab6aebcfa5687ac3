//! File descriptors: the process has so many, and keeps some free for its journal and its sockets.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Between two looks while none is free.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Whether `reserve` descriptors are free. The system hands out the lowest free number, so all below it are in use: two calls tell that, and
/// nothing is counted.
pub(super) fn are_left(reserve: u64) -> bool {
    let Some(most) = getrlimit(Resource::Nofile).current else {
        return true;
    };
    match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(lowest) => u64::try_from(lowest.as_raw_fd()).is_ok_and(|lowest| lowest.saturating_add(reserve) <= most),
        Err(_) => reserve == 0,
    }
}
