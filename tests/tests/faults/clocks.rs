//! The time of day jumps: what a guest reads of it never goes back, and a file may be as old as it likes.

use std::fs::{self, File, FileTimes};
use std::time::{Duration, UNIX_EPOCH};

use hermes_tests::{Home, Output, Shim, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::LONG;
use crate::place::{Place, newest, resume};
use crate::processes::JUMPS;
use crate::program::{ask, holding, script};

/// The steps of a guest that reads both of its clocks before and after all that it waits for.
fn reading() -> Value {
    // So many that the host takes the time of day in meanwhile.
    let clocks = json!({ "do": "clocks", "readings": 1_500 });
    let sleep = json!({ "do": "sleep", "ms": [5] });
    let waits = [sleep, ask("ROOT ONE"), ask("PAR ONE"), ask("PAR TWO")];
    let mut steps = vec![clocks.clone()];
    steps.extend(waits.into_iter().flat_map(|wait| [wait, clocks.clone()]));
    json!({ "steps": steps })
}

/// Fails where one of the clocks went back, and unless a replay of the run reads the same.
#[track_caller]
fn never_goes_back(place: &Place, output: &Output, moment: &str) {
    let seen = output.seen();
    let of = |reading: &Value, at: usize| reading["ok"][at].as_u64().unwrap();
    let readings = || seen.iter().step_by(2);
    let day: Vec<(u64, u64)> = readings().map(|reading| (of(reading, 0), of(reading, 1))).collect();
    let ticks: Vec<u64> = readings().map(|reading| of(reading, 2)).collect();
    assert_eq!(ticks.len(), 5, "{moment}");
    assert!(day.is_sorted(), "{moment}: {day:?}");
    assert!(ticks.is_sorted(), "{moment}: {ticks:?}");
    assert!(ticks[1] >= ticks[0] + 5_000_000, "{moment}: {ticks:?}");
    let run = newest(&place.home).unwrap();
    let replay = place.home.host().args(["replay", &run, "--output", "json"]);
    assert_eq!(replay.output().expect(0).json()["same"], true, "{moment}");
}

#[test]
fn f20_a_guests_clocks_never_go_back() {
    for every in [1, 7] {
        let place = Place::new(script());
        let shim = Shim::new().clock(every, &JUMPS);
        let output = shim.on(place.home.host().probe(&reading())).output().expect(0);
        never_goes_back(&place, &output, &format!("it jumps after {every} readings"));
    }
}

#[test]
fn f20_a_guests_clocks_never_go_back_between_kill_and_resume() {
    for offset in JUMPS {
        let place = Place::new(holding("PAR TWO", 1));
        let begun = Shim::new().clock(1, &JUMPS);
        let process = begun.on(place.home.host().probe(&reading())).start();
        place.server.wait_for(3, LONG);
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        let other = Shim::new().clock(1, &[offset]);
        let resumed = resume(&place.home, &newest(&place.home).unwrap());
        let output = other.on(resumed).output().expect(0);
        never_goes_back(&place, &output, &format!("off by {offset} s"));
    }
}

/// WASI has no word for such a time, and tells none.
#[test]
fn f20_a_file_from_before_1970_is_one_like_others() {
    let home = Home::new();
    let file = home.write("papers/old.txt", "old\n");
    let old = UNIX_EPOCH - Duration::from_secs(1_000_000_000);
    let times = FileTimes::new().set_accessed(old).set_modified(old);
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_times(times)
        .unwrap();
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), old);
    let step = |what: &str, path: &str| json!({ "do": what, "root": "/papers", "path": path });
    let steps = [step("stat", "old.txt"), step("list", "."), step("read", "old.txt")];
    let program = json!({ "steps": steps }).to_string();
    let host = home.host().arg("call").arg(guests::built("probe-wasi"));
    let host = host.args(["wasi", &program, "--output", "json", "--allow", "fs:./papers"]);
    let told = host.output().expect(0).json();
    assert_eq!(
        told["structured"]["seen"],
        json!([{ "ok": 4 }, { "ok": ["old.txt"] }, { "ok": "old\n" }])
    );
}

#[test]
fn f20_the_doctor_tells_a_clock_that_is_far_off() {
    const YEAR: i64 = 365 * 86_400;
    let place = Place::new(script());
    let program = json!({ "steps": [] });
    place.home.host().probe(&program).output().expect(0);
    for (years, state, words) in [
        (0, "ok", "plausible"),
        (9, "ok", "plausible"),
        (11, "warn", "more than ten years after the newest run"),
        (80, "fail", "after 2099"),
        (200, "fail", "after 2099"),
        (-55, "fail", "before 2025"),
    ] {
        let shim = Shim::new().clock(1, &[years * YEAR]);
        let doctor = place.home.host().args(["doctor", "--output", "json"]);
        let checks = shim.on(doctor).output().json();
        let clock = checks
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["check"] == "clock");
        let clock = clock.unwrap();
        assert_eq!(clock["state"], state, "{years} years: {clock}");
        assert!(
            clock["detail"].as_str().unwrap().contains(words),
            "{years} years: {clock}"
        );
        assert_eq!(clock["mend"].is_null(), state == "ok", "{years} years: {clock}");
    }
}
