//! Attacks on the host: guests, models, texts and files that are made to break, hang, drain, deceive or steal. A test's number is that of the attack; each
//! asserts how it ends, and that the host is well afterwards ([`site::Site::is_well`]).

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

mod cases;
mod hostile;
mod live;
mod raw;
mod serves;
mod site;
mod tries;
mod wasi;

mod authority;
mod bodies;
mod bytes;
mod calls;
mod cli;
mod computing;
mod floods;
mod lists;
mod names;
mod network;
mod notes;
mod orders;
mod paths;
mod providers;
mod replies;
mod room;
mod secrets;
mod table;
mod terminal;
mod texts;
mod timing;
mod trees;
mod values;
mod waiting;

use std::time::{Duration, Instant};

/// A net for what is waited for.
const LONG: Duration = Duration::from_secs(60);

/// More fuel than any attack burns before a clock ends it.
const MUCH_FUEL: u64 = 9_000_000_000_000_000;

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

/// What the attacks meet, as it is where nobody set it. Those that would take long are tried with less.
const DEFAULTS: [(&str, &str); 38] = [
    ("memory", "64 MiB"),
    ("table_elements", "20,000"),
    ("memories", "16"),
    ("tables", "64"),
    ("core_instances", "256"),
    ("wasm_stack", "512 KiB"),
    ("start_wall", "5 s"),
    ("step_wall", "30 s"),
    ("run_wall", "10 min"),
    ("fuel", "10,000,000,000"),
    ("host_calls", "10,000"),
    ("host_calls_all", "100,000"),
    ("log_line", "4 KiB"),
    ("log_step", "64 KiB"),
    ("blackboard.key", "256 bytes"),
    ("blackboard.value", "256 KiB"),
    ("blackboard.keys", "10,000"),
    ("blackboard.bytes", "32 MiB"),
    ("reply", "1 MiB"),
    ("tool_calls", "32"),
    ("tool_result", "256 KiB"),
    ("component", "64 MiB"),
    ("compile.wall", "1 min"),
    ("compile.cpu", "5 min"),
    ("compile.address_space", "4 GiB"),
    ("compile.parallel", "2"),
    ("http.body", "1 MiB"),
    ("http.headers", "32 KiB"),
    ("http.header_count", "100"),
    ("http.redirects", "3"),
    ("http.total", "30 s"),
    ("http.open", "128"),
    ("http.lookups", "4"),
    ("hostcall_bytes", "16 MiB"),
    ("handles", "1,024"),
    ("resources", "256"),
    ("random", "64 KiB"),
    ("json.depth", "64"),
];

#[test]
fn limits_are_what_the_attacks_take_them_for() {
    let site = site::Site::new();
    let shown = site
        .home
        .host()
        .args(["config", "show", "--output", "json"])
        .output()
        .expect(0)
        .json();
    for (key, expected) in DEFAULTS {
        let row = shown
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["key"] == format!("limits.{key}"));
        let row = row.unwrap_or_else(|| panic!("no limits.{key}"));
        assert_eq!(
            (&row["shown"], &row["source"]),
            (&expected.into(), &"default".into()),
            "limits.{key}"
        );
    }
}
