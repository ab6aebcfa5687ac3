//! A guest that measures: what it can learn of the host, and of others, by the clock.

use hermes_tests::child::inside;
use hermes_tests::program::steps;
use serde_json::json;

use crate::cases;
use crate::cases::timing::{clocks, shown};
use crate::site::Site;

#[test]
fn a42_between_two_answers_of_the_host_the_clock_stands() {
    let site = Site::new();
    site.tries(&cases::timing::measures());
    site.is_well();
}

#[test]
fn a42_a_replay_shows_a_guest_the_same_times() {
    let site = Site::new();
    let sleep = json!({ "do": "sleep", "ms": [20] });
    let program = [clocks(1), json!({ "do": "info" }), clocks(700), sleep, clocks(1)];
    let attacked = site.attack(site.host().probe(&steps(&program)));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let run = attacked.output.json()["run"].as_str().unwrap().to_owned();
    let seen = attacked.output.seen();
    assert!(shown(&seen[4]).0 >= shown(&seen[2]).0 + 20, "{seen:?}");
    // Whatever it does hangs on what the clock showed: were that another, the replay would differ.
    let replayed = site.attack(site.host().args(["replay", &run, "--output", "json"]));
    assert_eq!(replayed.output.json()["same"], true, "{:?}", replayed.output);
    site.is_well();
}

#[test]
fn a42_what_is_forbidden_takes_the_way_of_what_is_absent() {
    let site = Site::new();
    site.attack(
        site.host()
            .args(["blackboard", "put", "shared", "there", &"x".repeat(100_000)]),
    );
    let seen = inside(&site.tries(&cases::timing::forbidden()).output.seen()[3]);
    // Neither was looked for: by the guest's clock, of whole milliseconds, there is nothing between them.
    let took = [(1, 3), (3, 5)].map(|(from, to)| shown(&seen[to]).0 - shown(&seen[from]).0);
    assert!(took.iter().all(|ms| *ms <= 50), "{took:?}");
    site.is_well();
}
