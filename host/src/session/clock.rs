//! The time that a guest sees: that of its own last observation, never going back. So a replay shows it the same time, and it
//! can't measure one call of the host by it; many calls it can.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Readings of the clock after which real time is taken in again, as an observation.
pub const READINGS: u32 = 1024;

/// A session's clock.
#[derive(Debug)]
pub struct Clock {
    start_ms: u64,
    now_ms: AtomicU64,
    readings: AtomicU32,
}

impl Clock {
    /// A clock that stands at `start_ms` (milliseconds since 1970).
    pub fn new(start_ms: u64) -> Self {
        Self {
            start_ms,
            now_ms: AtomicU64::new(start_ms),
            readings: AtomicU32::new(0),
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Acquire)
    }

    /// Nanoseconds since the session began, of the monotonic clock.
    pub fn monotonic_ns(&self) -> u64 {
        (self.now_ms() - self.start_ms).saturating_mul(1_000_000)
    }

    /// An observation at `at_ms`: the clock goes there, but never back.
    pub fn observe(&self, at_ms: u64) -> u64 {
        self.readings.store(0, Ordering::Release);
        self.now_ms.fetch_max(at_ms, Ordering::AcqRel).max(at_ms)
    }

    /// Counts a reading; true when real time is due.
    pub fn read(&self) -> bool {
        self.readings.fetch_add(1, Ordering::AcqRel) + 1 >= READINGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_is_due_each_1024th_reading() {
        let clock = Clock::new(1000);
        assert_eq!(clock.observe(1500), 1500);
        assert_eq!(clock.observe(1200), 1500);
        assert_eq!(clock.monotonic_ns(), 500_000_000);
        let due = (0..READINGS).filter(|_| clock.read()).count();
        assert_eq!(due, 1);
    }
}
