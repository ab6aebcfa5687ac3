//! Values that no honest guest passes: enormous, malformed, forged.

use hermes_tests::child::{ChildSpec, exit, join, words};
use hermes_tests::program::open;
use serde_json::json;

use crate::cases;
use crate::cases::notes::put;
use crate::hostile;
use crate::site::Site;
use crate::wasi::told_by;

/// The largest memory that these guests have.
const MEMORY: u64 = 64 << 20;

#[test]
fn a12_texts_that_are_none() {
    let site = Site::new();
    for case in cases::values::no_texts() {
        site.tries(&case).holding(MEMORY);
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
    let [huge, whole, more] = cases::values::long_texts();
    site.tries(&huge).holding(MEMORY);
    site.tries(&whole).holding(MEMORY + (32 << 20));
    site.tries(&more).holding(MEMORY);
    site.is_well();
}

#[test]
fn a12_a_million_empty_texts() {
    let site = Site::new();
    let file = hostile::A12_STRINGS.file(&site.home);
    site.tries(&cases::values::many_texts()).holding(13 << 20);
    site.attack(site.host().run(&file, "n1000")).answers("done");
    site.is_well();
}

#[test]
fn a12_a_million_million_random_bytes() {
    let site = Site::new();
    site.tries(&cases::values::random()).holding(1 << 20);
    site.is_well();
}

#[test]
fn a12_a_million_timers_in_one_wait() {
    let site = Site::new();
    let file = hostile::A12_POLL.file(&site.home);
    site.tries(&cases::values::timers()).holding(13 << 20);
    site.attack(site.host().run(&file, "n1000")).answers("done");
    site.is_well();
}

#[test]
fn a12_one_call_waited_for_a_million_times() {
    let site = Site::new();
    for case in cases::values::waits() {
        site.tries(&case).holding(13 << 20);
    }
    site.is_well();
}

#[test]
fn a12_a_grant_of_sixteen_megabytes() {
    let site = Site::new();
    site.tries(&cases::values::long_grants()).holding(3 * MEMORY);
    site.is_well();
}

#[test]
fn a12_a_report_of_sixty_mebibytes() {
    let site = Site::new();
    site.tries(&cases::values::huge_report()).holding(MEMORY);
    site.is_well();
}

#[test]
fn a14_handles_that_are_forged() {
    let site = Site::new();
    for case in cases::values::forged_handles() {
        site.tries(&case).holding(1 << 20);
    }
    // Its parent has a second one, by the number that it has not.
    let child = ChildSpec::of(hostile::A14_HANDLES.plant(&site.home), "f2");
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    let steps = [
        open(),
        json!({ "do": "open", "name": "other" }),
        put(1, "notes"),
        child.with("spaces", notes).spawn(),
        join(0),
    ];
    let lived = site.lives(site.host(), &steps);
    let seen = &lived.seen[4];
    assert_eq!(exit(seen), "Trapped");
    assert!(words(seen).contains(cases::values::UNKNOWN_HANDLE), "{seen}");
    let run = lived.output.json()["run"].as_str().unwrap().to_owned();
    let audit = site.home.host().args(["show", &run, "--audit", "--output", "json"]);
    let rows = audit.output().expect(0).json();
    let ways: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["grant"] == "blackboard")
        .map(|row| &row["way"])
        .collect();
    assert_eq!(ways, ["write"], "nobody read the parent's space: {rows}");
    site.is_well();
}

#[test]
fn a14_handles_that_nobody_drops() {
    let site = Site::new();
    for case in cases::values::kept_handles() {
        site.tries(&case);
    }
    site.tries(&cases::values::starts(1024));
    site.is_well();
}

#[test]
fn a14_calls_whose_handles_are_dropped() {
    let site = Site::new();
    // What is asked of those in flight, and what their instances hold of it.
    site.tries(&cases::values::dropped_calls()).holding(400 << 20);
    site.is_well();
}

#[test]
fn a12_requests_that_nobody_sends() {
    let site = Site::new();
    for case in cases::values::requests() {
        site.tries(&case).holding(24 << 20);
    }
    site.is_well();
}

#[test]
fn a14_files_that_nobody_closes() {
    let site = Site::new();
    site.home.write("papers/a.txt", "a paper");
    let all = json!({ "do": "open-all", "root": "/papers", "path": "a.txt", "times": 1_000 });
    let read = json!({ "do": "read", "root": "/papers", "path": "a.txt" });
    let opened = |reserve: u64| {
        let host = site.host().by("ulimit -n 128 && exec \"$0\" \"$@\"");
        let steps = [all.clone(), read.clone()];
        let (seen, output) = told_by(&site, host.set("limits.fds", reserve), &["fs:./papers"], &steps);
        let few = "insufficient-memory";
        assert_eq!(
            (&seen[0]["ok"]["next"], &seen[0]["ok"]["listing"]),
            (&json!(few), &json!(few))
        );
        assert_eq!(seen[1], json!({ "ok": "a paper" }), "when they are closed");
        output.says(&["limits.fds", "ulimit -n"]);
        seen[0]["ok"]["open"].as_u64().unwrap()
    };
    // The process may have one or another open besides.
    let more = opened(16) - opened(48);
    assert!((24..=40).contains(&more), "{more} more where 32 fewer are kept free");
    site.is_well();
}

#[test]
fn a14_listings_that_nobody_closes() {
    let site = Site::new();
    (0..10).for_each(|n| drop(site.home.write(&format!("wide/{n}"), "")));
    let list = |times: usize| json!({ "do": "list-all", "root": "/wide", "times": times });
    let steps = [list(10), list(11), list(10)];
    let host = site.host().set("limits.listing", 100);
    let (seen, output) = told_by(&site, host, &["fs:./wide"], &steps);
    assert_eq!(
        seen,
        [
            json!({ "ok": 10 }),
            json!({ "error": "insufficient-memory" }),
            json!({ "ok": 10 })
        ]
    );
    output.says(&["limits.listing"]);
    site.is_well();
}
