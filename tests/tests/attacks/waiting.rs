//! Guests that wait for what never comes.

use std::fs;
use std::process::Command;
use std::time::Duration;

use hermes_tests::guests;
use hermes_tests::output::{message, refusal, slack};
use serde_json::{Value, json};

use crate::cases;
use crate::site::Site;

/// The clock of a step or a run.
const WALL: Duration = Duration::from_millis(500);

/// Panics unless what took so many milliseconds ended when its clock did.
#[track_caller]
fn in_time(ms: &Value) {
    let took = Duration::from_millis(ms.as_u64().unwrap());
    assert!(took >= WALL && took < WALL + slack(), "{took:?}");
}

#[test]
fn a06_a_tool_that_sleeps_for_ever() {
    let site = Site::new();
    let attacked = site.tries(&cases::waiting::sleeps());
    in_time(&attacked.shown()["agents"][0]["operations"][0]["ms"]);
    site.is_well();
}

#[test]
fn a06_standard_input_has_ended() {
    let site = Site::new();
    site.tries(&cases::waiting::standard_input());
    site.is_well();
}

#[test]
fn a06_an_agent_that_waits_for_ever() {
    let site = Site::new();
    for case in cases::waiting::agents() {
        site.tries(&case).within(WALL).holding(2 << 20);
    }
    site.is_well();
}

#[test]
fn a06_two_agents_that_wait_for_one_another() {
    let site = Site::new();
    let attacked = site.tries(&cases::waiting::one_another());
    in_time(&attacked.shown()["agents"][0]["operations"][0]["ms"]);
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
