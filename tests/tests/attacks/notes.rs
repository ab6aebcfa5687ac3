//! Floods of the notes that agents share.

use std::fs;

use hermes_tests::Host;
use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::output::message;
use hermes_tests::program::{open, steps};
use serde_json::{Value, json};

use crate::cases;
use crate::cases::notes::{put, put_bytes, refused};
use crate::site::Site;

/// What these steps saw, the space `notes` being open.
#[track_caller]
fn seen(site: &Site, host: Host, steps: &[Value]) -> Vec<Value> {
    let all = [&[open()], steps].concat();
    site.lives(host, &all).seen.split_off(1)
}

#[test]
fn a15_keys_and_values_to_the_last_byte() {
    let site = Site::new();
    site.tries(&cases::notes::to_the_last_byte());
    site.is_well();
}

#[test]
fn a15_keys_that_hide_something() {
    let site = Site::new();
    site.tries(&cases::notes::that_hide_something());
    site.tries(&cases::notes::of_a_file_system());
    site.is_well();
}

#[test]
fn a15_a_blackboard_full_of_keys() {
    const FULL: Option<&str> = Some("exhausted(stored-bytes)");
    let site = Site::new();
    let steps = [
        json!({ "do": "open", "name": "other" }),
        put(0, "a"),
        put(1, "b"),
        put(0, "c"),
        put(1, "d"),
        put(0, "a"),
        json!({ "do": "delete", "space": 0, "key": "a" }),
        put(0, "c"),
        put(0, "d"),
    ];
    let seen = seen(&site, site.host().set("limits.blackboard.keys", 2), &steps);
    // The spaces of a run share it.
    refused(&seen, &[None, None, None, FULL, FULL, None, None, None, FULL]);
    assert!(message(&seen[3]).contains("limits.blackboard.keys"), "{}", seen[3]);
    site.is_well();
}

#[test]
fn a15_a_blackboard_full_to_the_byte() {
    const FULL: Option<&str> = Some("exhausted(stored-bytes)");
    let site = Site::new();
    // An entry is its key, its media type and its value.
    let rest = 1024 - "k".len() - "application/octet-stream".len();
    let steps = [
        json!({ "do": "open", "name": "other" }),
        put_bytes(0, "k", rest + 1),
        put_bytes(0, "k", rest),
        put_bytes(0, "k", rest + 1),
        put_bytes(1, "l", 0),
        put_bytes(0, "k", rest - 25),
        put_bytes(1, "l", 1),
        put_bytes(1, "l", 0),
    ];
    let seen = seen(&site, site.host().set("limits.blackboard.bytes", 1024), &steps);
    refused(&seen, &[None, FULL, None, FULL, FULL, None, FULL, None]);
    assert!(message(&seen[1]).contains("limits.blackboard.bytes"), "{}", seen[1]);
    site.is_well();
}

#[test]
fn a15_churn_while_others_watch_and_write() {
    const VALUE: usize = 256 << 10;
    const ROUNDS: u64 = 512;
    /// Half of what is written: a log that is never copied while somebody watches would be longer.
    const LOG: u64 = 64 << 20;
    let site = Site::new();
    let churn = [
        put_bytes(0, "churn", VALUE),
        json!({ "do": "delete", "space": 0, "key": "churn" }),
    ];
    let churn = json!({ "do": "repeat", "n": ROUNDS, "until_error": true, "steps": churn });
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    // As long as the churn, which ends it.
    let watch = json!({ "do": "changes", "space": 0, "prefix": "", "since": u32::MAX, "wait_ms": 200 });
    let watch = json!({ "do": "repeat", "n": 5_000, "until_error": true, "steps": [watch] });
    let watcher = ChildSpec::probe(&steps(&[open(), watch])).with("spaces", notes);
    let program = steps(&[
        open(),
        watcher.spawn(),
        churn,
        json!({ "do": "cancel-child", "child": 0 }),
        join(0),
    ]);
    let host = site.host().set("durability", "process").set("limits.step_wall", "5m");
    let mut process = host.probe(&program).start();
    let log = site.home.path().join("host/hermes.db-wal");
    let (mut largest, mut written) = (0, 0);
    while !process.has_ended() {
        largest = largest.max(fs::metadata(&log).map_or(0, |log| log.len()));
        let key = format!("key-{written}");
        let put = site
            .host()
            .args(["blackboard", "put", "glossary", &key, "meanwhile"])
            .output();
        assert_eq!(put.code, Some(0), "{put:?}");
        written += 1;
    }
    let output = process.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    let seen = output.seen();
    assert_eq!(seen[2]["ok"]["rounds"], ROUNDS, "{}", seen[2]);
    assert_eq!(exit(&seen[4]), "Cancelled", "{}", seen[4]);
    assert!(written > 2, "others wrote {written} times");
    assert!(largest > 0 && largest <= LOG, "the log had {largest} bytes");
    let ls = site
        .home
        .host()
        .args(["blackboard", "ls", "glossary", "--output", "json"])
        .output()
        .json();
    assert_eq!(ls.as_array().unwrap().len(), written);
    site.is_well();
}
