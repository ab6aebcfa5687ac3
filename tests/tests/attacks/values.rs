//! Values that no honest guest passes: enormous, malformed, forged.

use hermes_tests::child::{ChildSpec, exit, join, words};
use hermes_tests::guests;
use hermes_tests::output::{message, refusal};
use serde_json::json;

use crate::hostile;
use crate::site::Site;

/// The largest memory that these guests have.
const MEMORY: u64 = 64 << 20;

#[test]
fn a12_texts_that_are_none() {
    let site = Site::new();
    let file = hostile::A12_LOG.file(&site.home);
    for (what, names) in [("o", "out of bounds"), ("u", "utf-8"), ("d", "discriminant")] {
        site.attack(site.host().run(&file, what))
            .ends(1, "trapped", &[names])
            .holding(MEMORY);
    }
    let spawn = |what: &str| ChildSpec::of(hostile::A12_LOG.plant(&site.home), what).spawn();
    let lived = site.lives(
        site.host(),
        &[spawn("o"), spawn("u"), spawn("d"), join(0), join(1), join(2)],
    );
    let ends: Vec<_> = lived.seen[3..].iter().map(exit).collect();
    assert_eq!(ends, ["Trapped"; 3]);
    site.is_well();
}

#[test]
fn a12_a_text_of_sixty_mebibytes() {
    let site = Site::new();
    let file = hostile::A12_LOG.file(&site.home);
    let logs = |bytes: u64| site.attack(site.host().run(&file, &format!("n{bytes}")));
    logs(60 << 20)
        .ends(1, "trapped", &["limits.hostcall_bytes"])
        .holding(MEMORY);
    logs(16 << 20).answers("done").holding(MEMORY + (32 << 20));
    logs((16 << 20) + 1)
        .ends(1, "trapped", &["limits.hostcall_bytes"])
        .holding(MEMORY);
    site.is_well();
}

#[test]
fn a12_a_million_empty_texts() {
    let site = Site::new();
    let file = hostile::A12_STRINGS.file(&site.home);
    let checkpoint = |texts: u64| site.attack(site.host().run(&file, &format!("n{texts}")));
    checkpoint(1_000_000)
        .ends(1, "trapped", &["limits.hostcall_bytes"])
        .holding(13 << 20);
    checkpoint(1_000).answers("done");
    site.is_well();
}

#[test]
fn a12_a_million_million_random_bytes() {
    let site = Site::new();
    let file = hostile::A12_RANDOM.file(&site.home);
    site.attack(site.host().run(&file, "go"))
        .ends(1, "trapped", &["limits.random"])
        .holding(1 << 20);
    site.is_well();
}

#[test]
fn a12_a_million_timers_in_one_wait() {
    let site = Site::new();
    let file = hostile::A12_POLL.file(&site.home);
    let waits = |timers: u64| site.attack(site.host().run(&file, &format!("n{timers}")));
    waits(1_700_000)
        .ends(1, "trapped", &["limits.hostcall_bytes"])
        .holding(13 << 20);
    waits(1_000).answers("done");
    site.is_well();
}

#[test]
fn a12_a_report_of_sixty_mebibytes() {
    let site = Site::new();
    let file = guests::built("huge-report");
    let attacked = site.attack(site.host().run(&file, "go"));
    attacked.ends(1, "trapped", &["limits.hostcall_bytes"]).holding(MEMORY);
    site.is_well();
}

#[test]
fn a14_handles_that_are_forged() {
    let site = Site::new();
    let file = hostile::A14_HANDLES.file(&site.home);
    for (what, names) in [
        ("f", "unknown handle index"),
        ("u", "unknown handle index"),
        ("d", "unknown handle index"),
        ("w", "wrong type"),
    ] {
        site.attack(site.host().run(&file, what))
            .ends(1, "trapped", &[names])
            .holding(1 << 20);
    }
    let spawn = ChildSpec::of(hostile::A14_HANDLES.plant(&site.home), "f");
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    let open = json!({ "do": "open", "name": "notes" });
    let lived = site.lives(site.host(), &[open, spawn.with("spaces", notes).spawn(), join(0)]);
    assert_eq!(exit(&lived.seen[2]), "Trapped");
    assert!(
        words(&lived.seen[2]).contains("unknown handle index"),
        "{}",
        lived.seen[2]
    );
    site.is_well();
}

#[test]
fn a14_handles_that_nobody_drops() {
    let site = Site::new();
    let open = json!({ "do": "open", "name": "notes" });
    let all = json!({ "do": "repeat", "n": 300, "until_error": true, "steps": [open] });
    let lived = site.lives(site.host(), std::slice::from_ref(&all));
    assert_eq!(lived.seen[0]["ok"]["rounds"], 256);
    let last = &lived.seen[0]["ok"]["last"][0];
    assert_eq!(refusal(last).as_deref(), Some("rate-limited"));
    assert!(
        message(last).contains("256") && message(last).contains("limits.resources"),
        "{last}"
    );
    // A call that is started gives a handle in any case, and the engine counts all of them: with room for each child that a run may have.
    let start = |n: u64| {
        let start = json!({ "do": "start-call", "name": "missing" });
        let program = json!({ "steps": [{ "do": "repeat", "n": n, "steps": [start] }], "summary": "done" });
        site.attack(site.host().probe(&program))
    };
    start(1024 + 64).answers("done");
    start(1024 + 64 + 1).ends(1, "trapped", &["limits.handles"]);
    site.is_well();
}
