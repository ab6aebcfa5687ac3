//! Faults on purpose: processes killed at every write, disks that are full or fail, files torn and damaged, locks held, clocks that jump.
//! A test's number is that of the fault; what the operating system does to the host is done by the library in `tests/shim`.
//!
//! Sweeps take every so manyth moment, half as many and others where agents are given up at each wait, and all of them where `HERMES_TEST_FULL` is set
//! (`cargo xtask test faults --full`).

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

mod agents;
mod clocks;
mod disk;
mod end;
mod files;
mod kept;
mod kills;
mod losses;
mod outside;
mod place;
mod power;
mod processes;
mod program;
mod providers;
mod recorded;
mod upgrade;

use std::ops::RangeFrom;
use std::time::{Duration, Instant};

use hermes_tests::host::PASSIVATE;

/// A net for what is waited for.
const LONG: Duration = Duration::from_secs(60);

/// Whether sweeps are to leave nothing out.
fn full() -> bool {
    std::env::var_os("HERMES_TEST_FULL").is_some_and(|set| !set.is_empty())
}

/// The moments of a sweep: every so manyth from the first on. The suite in which agents are given up at each wait goes through them a second time: it takes
/// every other one, from between two of those on.
fn moments<N: From<u8>>(every: usize) -> impl Iterator<Item = N>
where
    RangeFrom<N>: Iterator<Item = N>,
{
    let is_second = std::env::var_os(PASSIVATE).is_some();
    let (skipped, step) = match every {
        _ if full() => (0, 1),
        2.. if is_second => (every / 2, 2 * every),
        _ => (0, every),
    };
    (N::from(1)..).skip(skipped).step_by(step)
}

/// Waits for something to be there.
#[track_caller]
fn eventually<T>(what: &str, there: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "waited in vain for {what}");
    }
}

/// Numbers that look like chance and are the same each time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
