//! The room on the disk that is kept for what is under way: below it nothing new begins, so that what has begun can still be written down.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::commit::lock;
use super::error::{StoreError, free_in};

/// How long an answer of the file system is good for.
const AGE: Duration = Duration::from_millis(250);

pub(super) struct Reserve {
    folder: PathBuf,
    bytes: u64,
    seen: Mutex<Option<(Instant, u64)>>,
}

impl Reserve {
    /// Keeps `bytes` free where `folder` lies; 0 keeps nothing.
    pub(super) fn new(folder: PathBuf, bytes: u64) -> Self {
        Self {
            folder,
            bytes,
            seen: Mutex::default(),
        }
    }

    /// Whether something new may begin, by what was free a moment ago.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let mut seen = lock(&self.seen);
        match *seen {
            Some((at, free)) if at.elapsed() < AGE => self.compare(free),
            _ => self.look(&mut seen),
        }
    }

    /// As [`Reserve::check`], by what is free now.
    pub(super) fn check_now(&self) -> Result<(), StoreError> {
        self.look(&mut lock(&self.seen))
    }

    fn look(&self, seen: &mut Option<(Instant, u64)>) -> Result<(), StoreError> {
        // A file system that doesn't say is as good as a roomy one: a full disk is noticed all the same.
        let free = free_in(&self.folder).unwrap_or(u64::MAX);
        *seen = Some((Instant::now(), free));
        self.compare(free)
    }

    fn compare(&self, free: u64) -> Result<(), StoreError> {
        if free >= self.bytes {
            return Ok(());
        }
        Err(StoreError::Reserve {
            path: self.folder.clone(),
            free,
            reserve: self.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_exact() {
        let reserve = Reserve::new(PathBuf::from("/"), 1000);
        assert_eq!(reserve.compare(1000), Ok(()));
        assert!(matches!(
            reserve.compare(999),
            Err(StoreError::Reserve {
                free: 999,
                reserve: 1000,
                ..
            })
        ));
        assert_eq!(Reserve::new(PathBuf::from("/"), 0).compare(0), Ok(()));
    }

    #[test]
    fn what_is_free_is_asked_for_anew_where_something_large_begins() {
        let dir = tempfile::tempdir().expect("a folder");
        let reserve = Reserve::new(dir.path().to_owned(), 1);
        *lock(&reserve.seen) = Some((Instant::now(), 0));
        assert!(reserve.check().is_err(), "the answer of a moment ago");
        assert_eq!(reserve.check_now(), Ok(()));
        assert_eq!(reserve.check(), Ok(()));
    }
}
