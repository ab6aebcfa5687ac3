//! Guests that wait for what never comes.

use std::fs;
use std::process::Command;
use std::time::Duration;

use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::guests;
use hermes_tests::output::{message, refusal, slack};
use hermes_tests::program::steps;
use serde_json::{Value, json};

use crate::hostile::{self, Guest};
use crate::site::Site;

/// The clock of a step or a run.
const WALL: Duration = Duration::from_millis(500);

/// More milliseconds than anybody lives.
const FOR_EVER: u64 = 10_000_000_000_000;

/// Panics unless what took so many milliseconds ended when its clock did.
#[track_caller]
fn in_time(ms: &Value) {
    let took = Duration::from_millis(ms.as_u64().unwrap());
    assert!(took >= WALL && took < WALL + slack(), "{took:?}");
}

/// A host with the one tool of this guest, and the step that calls it.
fn measure(guest: Guest, site: &Site) -> (hermes_tests::Host, Value) {
    let host = site.host().arg("--tool").arg(guest.file(&site.home));
    (host, json!({ "do": "call", "name": "measure" }))
}

#[test]
fn a06_a_tool_that_sleeps_for_ever() {
    let site = Site::new();
    let (host, call) = measure(hostile::A06_SLEEP, &site);
    let lived = site.lives(host.set("limits.step_wall", "500ms"), &[call]);
    assert_eq!(
        refusal(&lived.seen[0]).as_deref(),
        Some("timed-out"),
        "{}",
        lived.seen[0]
    );
    assert!(
        message(&lived.seen[0]).contains("500 ms (limits.step_wall)"),
        "{}",
        lived.seen[0]
    );
    in_time(&site.shown(&lived)["agents"][0]["operations"][0]["ms"]);
    site.is_well();
}

#[test]
fn a06_standard_input_has_ended() {
    let site = Site::new();
    let (host, call) = measure(hostile::A06_STDIN, &site);
    let lived = site.lives(host, &[call]);
    assert_eq!(
        lived.seen[0]["ok"]["output"]["content"][0]["Text"], "1",
        "{}",
        lived.seen[0]
    );
    site.is_well();
}

#[test]
fn a06_an_agent_that_waits_for_ever() {
    let site = Site::new();
    // What a strategy waits for is no work: only its run's clock ends it.
    let sleep = steps(&[json!({ "do": "sleep", "ms": [FOR_EVER] })]);
    let watch = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": u32::MAX });
    let watch = steps(&[json!({ "do": "open", "name": "notes" }), watch]);
    for program in [sleep, watch] {
        let host = site.host().args(["--budget", "wall=500ms"]).probe(&program);
        let attacked = site
            .attack(host)
            .ends(3, "exhausted(wall-clock-ms)", &["500 ms", "--budget wall"]);
        attacked.within(WALL).holding(2 << 20);
    }
    site.is_well();
}

#[test]
fn a06_two_agents_that_wait_for_one_another() {
    let site = Site::new();
    // The child waits for an entry that its parent writes when it has joined the child.
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    let watch = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": u32::MAX });
    let child = ChildSpec::probe(&steps(&[json!({ "do": "open", "name": "notes" }), watch])).with("spaces", notes);
    let child = child.limit("WallClockMs", 500);
    let open = json!({ "do": "open", "name": "notes" });
    let put = json!({ "do": "put", "space": 0, "key": "late", "value": "late" });
    let lived = site.lives(site.host(), &[open, child.spawn(), join(0), put]);
    assert_eq!(exit(&lived.seen[2]), "Exhausted(WallClockMs)", "{}", lived.seen[2]);
    in_time(&site.shown(&lived)["agents"][0]["operations"][0]["ms"]);
    assert_eq!(lived.seen[3], json!({ "ok": 1 }), "the parent lives on");
    site.is_well();
}

#[test]
fn a06_a_pipe_that_nobody_reads() {
    let site = Site::new();
    let out = site.home.work().join("out");
    fs::create_dir(&out).unwrap();
    assert!(Command::new("mkfifo").arg(out.join("pipe")).status().unwrap().success());
    let write = json!({ "steps": [{ "do": "write-file", "path": "/out/pipe", "text": "x" }] });
    let call = json!({ "do": "call", "name": "probe", "arguments": write });
    let host = site
        .host()
        .args(["--allow", "fs:./out:rw"])
        .set("limits.step_wall", "500ms");
    let host = host.arg("--tool").arg(guests::built("probe-tool"));
    // Whoever opens a pipe that nobody reads holds its folder.
    let lived = site.lives_stuck(host, &[call], 1);
    assert_eq!(
        refusal(&lived.seen[0]).as_deref(),
        Some("timed-out"),
        "{}",
        lived.seen[0]
    );
    assert!(
        message(&lived.seen[0]).contains("limits.step_wall"),
        "{}",
        lived.seen[0]
    );
    in_time(&site.shown(&lived)["agents"][0]["operations"][0]["ms"]);
    // The thread that opens it can't be called back: the process does not wait for it.
    assert!(lived.ending < Duration::from_secs(1) + slack(), "{:?}", lived.ending);
    site.is_well();
}
