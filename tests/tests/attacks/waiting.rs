//! Guests that wait for what never comes.

use std::fs;
use std::process::Command;
use std::time::Duration;

use hermes_tests::guests;
use hermes_tests::output::{message, slack};
use serde_json::{Value, json};

use crate::cases;
use crate::site::Site;
use crate::wasi::in_call;

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
    // More of them than the host has threads for what waits.
    let open = |deed: &str| json!({ "do": "files", "deed": deed, "path": "/out/pipe", "count": 100 });
    let write = json!({ "do": "write-file", "path": "/out/pipe", "text": "x" });
    let steps = json!({ "steps": [write, open("read"), open("list")] });
    let call = json!({ "do": "call", "name": "probe", "arguments": steps });
    let host = site.host().args(["--allow", "fs:./out:rw"]);
    let host = host.arg("--tool").arg(guests::built("probe-tool"));
    let lived = site.lives(host, &[call]);
    let seen = in_call(&lived.seen[0]);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().all(|seen| message(seen) == "unsupported"), "{seen:?}");
    site.is_well();
}
