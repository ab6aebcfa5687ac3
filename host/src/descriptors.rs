//! File descriptors: the process has so many, and keeps some free for its journal and its sockets.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};

/// Between two looks while none is free.
pub const PAUSE: Duration = Duration::from_millis(20);

/// The folder of those that are open.
const OPEN: &str = "/proc/self/fd";

/// Whether `reserve` descriptors are free.
pub fn are_left(reserve: u64) -> bool {
    fit(reserve, told().or_else(listed).or_else(below_the_lowest_free))
}

/// The same for whoever asks before each file: where the system doesn't tell their number at once, nobody counts them one by one.
pub fn seem_left(reserve: u64) -> bool {
    fit(reserve, told().or_else(below_the_lowest_free))
}

/// Whether so many fit beside those in use, where both are known.
fn fit(reserve: u64, in_use: Option<u64>) -> bool {
    let most = getrlimit(Resource::Nofile).current;
    most.zip(in_use)
        .is_none_or(|(most, in_use)| in_use.saturating_add(reserve) <= most)
}

/// How many are in use, as the system tells it: Linux 6.2 and later count them in the folder's size; before, that is 0.
fn told() -> Option<u64> {
    let folder = rustix::fs::stat(OPEN).ok()?;
    u64::try_from(folder.st_size).ok().filter(|count| *count > 0)
}

/// How many there are in the folder, without the one that it is read by.
fn listed() -> Option<u64> {
    let open = std::fs::read_dir(OPEN).ok()?;
    u64::try_from(open.count()).ok().map(|count| count.saturating_sub(1))
}

/// How many lie below the lowest that is free; more than there can be where none is.
fn below_the_lowest_free() -> Option<u64> {
    match fcntl_dupfd_cloexec(std::io::stderr(), 0) {
        Ok(lowest) => u64::try_from(lowest.as_raw_fd()).ok(),
        Err(Errno::MFILE) => Some(u64::MAX),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn each_way_to_count_them_finds_those_in_use() {
        let held: Vec<File> = (0..8).map(|_| File::open("/dev/null").expect("opened")).collect();
        // Other tests open theirs and close them meanwhile.
        for counted in [told(), listed()] {
            assert!(counted.is_none_or(|counted| counted >= 8), "{counted:?}");
        }
        assert!(below_the_lowest_free().is_some());
        drop(held);
        assert!(are_left(1) && seem_left(1));
        assert!(!are_left(u64::MAX) && !seem_left(u64::MAX));
    }
}
