//! Faults on purpose: processes killed at every write, disks that are full or fail, files torn and damaged, locks held, clocks that jump.
//! A test's number is that of the fault; what the operating system does to the host is done by the library in `tests/shim`.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

mod recorded;
mod kills;
