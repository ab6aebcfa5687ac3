//! Guests that compute and never come back, or try to compute for nothing.

use std::time::Duration;

use hermes_tests::child::{ChildSpec, exit, join, words};
use hermes_tests::model::{Fault, Script, Turn};
use hermes_tests::output::slack;
use hermes_tests::program::steps;
use hermes_tests::well::{sang, sings};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cases::computing::calls;
use crate::cases::{self, Case};
use crate::hostile::{self, Guest};
use crate::site::Site;
use crate::{MUCH_FUEL, eventually};

/// The clock of a step, where an attack shall meet it.
const WALL: Duration = Duration::from_millis(500);

/// Fuel that an attack burns in no time.
const FUEL: u64 = 1_000_000;

/// How often an agent asks its model beside an attack.
const TURNS: usize = 6;

/// One round of the metering.
const STEP: u64 = 64;

impl Site {
    /// What never comes back ends at the step's clock.
    #[track_caller]
    fn ends_by_its_clock(&self, case: &Case) {
        // Whatever it calls, it is never refused for that.
        let host = self.host().set("limits.host_calls_all", 10_000_000_000_u64);
        let attacked = self.tries_on(host, case).within(WALL).holding(64 << 20);
        assert!(attacked.message().contains("500 ms"), "{:?}", attacked.output);
    }

    /// The same guest ends where its fuel does, to a step of the metering.
    #[track_caller]
    fn ends_by_its_fuel(&self, guest: Guest, prompt: &str) {
        let host = self
            .host()
            .set("limits.fuel", FUEL)
            .set("limits.host_calls_all", 10_000_000_000_u64);
        let attacked = self.attack(host.run(&guest.file(&self.home), prompt));
        let attacked = attacked
            .ends(3, "exhausted(fuel)", &[&FUEL.to_string(), "limits.fuel"])
            .holding(64 << 20);
        let spent = attacked.output.spent("fuel");
        assert!(spent.abs_diff(FUEL) <= STEP, "{spent}");
    }
}

#[test]
fn a01_a_loop_without_end() {
    let site = Site::new();
    for case in cases::computing::loops() {
        site.ends_by_its_clock(&case);
    }
    site.ends_by_its_clock(&Case::run(hostile::A01_CLOCK, "go").times_out("limits.step_wall"));
    for guest in [hostile::A01_LOOP, hostile::A01_TAIL_CALL, hostile::A01_CLOCK] {
        site.ends_by_its_fuel(guest, "go");
    }
    site.is_well();
}

#[test]
fn a01_loops_beside_another_agent_on_one_thread() {
    let site = Site::new();
    let spin = |guest: Guest| ChildSpec::of(guest.plant(&site.home), "").spawn();
    let status = |child: usize| json!({ "do": "status", "child": child });
    let cancel = |child: usize| json!({ "do": "cancel-child", "child": child });
    let steps = [
        spin(hostile::A01_LOOP),
        spin(hostile::A01_TAIL_CALL),
        spin(hostile::A01_CLOCK),
        sings(),
        status(0),
        status(1),
        status(2),
        cancel(0),
        cancel(1),
        cancel(2),
        join(0),
        join(1),
        join(2),
    ];
    let host = site
        .host()
        .env("TOKIO_WORKER_THREADS", "1")
        .set("limits.cancel_grace", "100ms");
    let host = host
        .set("limits.fuel", MUCH_FUEL)
        .set("limits.host_calls_all", 10_000_000_000_u64);
    let lived = site.lives(host, &steps);
    sang(&lived.seen[3]);
    let loops = |seen: &Value| seen["ok"]["ended"] == false;
    assert!(lived.seen[4..7].iter().all(loops), "{:?}", &lived.seen[4..7]);
    let ends: Vec<_> = lived.seen[10..].iter().map(exit).collect();
    assert_eq!(ends, ["Cancelled"; 3]);
    site.is_well();
}

#[test]
fn a02_a_start_without_end() {
    let site = Site::new();
    for case in cases::computing::starts() {
        let attacked = site.tries(&case).within(WALL).holding(1 << 20);
        assert!(attacked.message().contains("500 ms"), "{:?}", attacked.output);
    }
    for guest in [hostile::A02_START, hostile::A02_INITIALIZE] {
        let attacked = site.attack(site.host().set("limits.fuel", FUEL).run(&guest.file(&site.home), "go"));
        attacked.ends(3, "exhausted(fuel)", &["limits.fuel"]);
    }
    site.is_well();
}

#[test]
fn a02_as_many_segments_as_a_module_may_have() {
    let site = Site::new();
    let [most, more] = cases::computing::segments();
    site.tries(&most).within(Duration::from_secs(5)).holding(1 << 20);
    site.tries(&more);
    site.is_well();
}

#[test]
fn a02_looking_at_a_plugin_runs_nothing_of_it() {
    let site = Site::new();
    // Whoever instantiates it does not come back.
    let file = hostile::A02_START.file(&site.home);
    let looked = site
        .attack(site.host().arg("inspect").arg(&file))
        .within(Duration::ZERO);
    assert_eq!(looked.output.code, Some(0), "{:?}", looked.output);
    assert!(
        looked.output.stdout.contains("hermes:plugin/agent@0.1.0"),
        "{:?}",
        looked.output
    );
    let asked = site
        .host()
        .set("limits.start_wall", "500ms")
        .set("limits.fuel", MUCH_FUEL);
    let asked = site.attack(asked.args(["inspect", "--ask", "--output", "json"]).arg(&file));
    asked
        .refused(&["a02_start", "500 ms", "limits.start_wall"])
        .of_kind("load(bad-description)")
        .within(WALL);
    site.is_well();
}

#[test]
fn a03_fuel_is_a_number_within_its_range() {
    let site = Site::new();
    let file = hostile::A04_SAME.file(&site.home);
    for odd in ["18446744073709551615", "9223372036854775808", "-1", "1e30", "NaN"] {
        site.attack(site.host().set("limits.fuel", odd).run(&file, "go"))
            .refused(&["limits.fuel"]);
    }
    site.attack(site.host().set("limits.fuel", i64::MAX).run(&file, "go"))
        .answers("done");
    let budget = |fuel: &str| site.host().args(["--budget", &format!("fuel={fuel}")]).run(&file, "go");
    for odd in ["18446744073709551616", "-1", "1e30", "NaN"] {
        site.attack(budget(odd)).refused(&["fuel"]);
    }
    site.attack(budget("18446744073709551615")).answers("done");
    site.is_well();
}

#[test]
fn a03_a_length_of_minus_one_is_no_way_to_get_fuel() {
    let site = Site::new();
    let file = hostile::A03_LENGTH.file(&site.home);
    let [broken, within_its_budget] = cases::computing::lengths();
    let spent = site.tries(&broken).output.spent("fuel");
    site.tries(&within_its_budget);
    assert!(spent > u64::from(u32::MAX) && spent <= 10_000_000_000, "{spent}");
    let attacked = site.attack(site.host().set("limits.fuel", FUEL).run(&file, "go"));
    let attacked = attacked.ends(3, "exhausted(fuel)", &["limits.fuel"]);
    // What it asked for is what it is charged for: it is no more than it had.
    assert!(
        attacked.output.spent("fuel") <= FUEL + STEP,
        "{}",
        attacked.output.spent("fuel")
    );
    site.is_well();
}

#[test]
fn a03_growing_by_nothing_for_ever() {
    let site = Site::new();
    site.ends_by_its_clock(&Case::run(hostile::A03_GROW, "go").times_out("limits.step_wall"));
    site.ends_by_its_fuel(hostile::A03_GROW, "go");
    // The engine enters the host for it, which counts too.
    let [_, grows] = cases::computing::foreign_calls();
    site.tries(&grows);
    site.is_well();
}

#[test]
fn a04_an_answer_that_is_never_taken() {
    let site = Site::new();
    let file = hostile::A04_RESULT.file(&site.home);
    let entries = |run: &str| {
        let space = format!("{run}/notes");
        let ls = site
            .home
            .host()
            .args(["blackboard", "ls", &space, "--output", "json"])
            .output();
        ls.json().as_array().map_or(0, Vec::len)
    };
    let host = || site.host().set("limits.step_wall", "3s").set("limits.fuel", MUCH_FUEL);
    let process = host().run(&file, "go").start();
    let run = eventually("its entry", || {
        let runs = site.home.host().args(["runs", "--output", "json"]).output().json();
        let run = runs[0]["run"].as_str()?.to_owned();
        (entries(&run) == 1).then_some(run)
    });
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None, "it was killed while it took its answer");
    // It is told the same again, and takes it no better. What it wrote is not written again.
    let resumed = site.attack(site.host().args(["resume", &run, "--output", "json"]));
    resumed
        .ends(1, "timed-out", &["limits.step_wall"])
        .within(Duration::from_secs(3));
    assert_eq!(entries(&run), 1);
    site.ends_by_its_clock(&cases::computing::never_taken());
    site.is_well();
}

#[test]
fn a04_memory_given_out_wrongly() {
    let site = Site::new();
    for case in cases::computing::given_out_wrongly() {
        site.tries(&case).holding(1 << 20);
    }
    site.ends_by_its_clock(&cases::computing::post_return());
    let spec = |guest: Guest| ChildSpec::of(guest.plant(&site.home), "a task").spawn();
    let steps = [
        spec(hostile::A04_OUT_OF_RANGE),
        spec(hostile::A04_CALLS),
        join(0),
        join(1),
    ];
    let lived = site.lives(site.host(), &steps);
    assert_eq!([exit(&lived.seen[2]), exit(&lived.seen[3])], ["Trapped"; 2]);
    assert!(words(&lived.seen[2]).contains("realloc"), "{}", lived.seen[2]);
    site.is_well();
}

#[test]
fn a05_instructions_over_all_that_there_is() {
    let site = Site::new();
    for case in cases::computing::bulk() {
        site.ends_by_its_clock(&case);
    }
    // The longest stretch without a turn for others is one such instruction: an agent that shares its only thread asks its model one time after the
    // other as if it were alone.
    let bulk = hostile::A05_BULK.plant(&site.home);
    let asks = json!({ "do": "repeat", "n": TURNS, "until_error": true, "steps": [ask()] });
    let remaining = json!({ "do": "remaining", "dimension": "Iterations" });
    let cancel = json!({ "do": "cancel-child", "child": 0 });
    for what in ["f", "c", "t", "i"] {
        let spawn = ChildSpec::of(bulk, what).spawn();
        let steps = [spawn, asks.clone(), sings(), remaining.clone(), cancel.clone(), join(0)];
        let host = site
            .host()
            .env("TOKIO_WORKER_THREADS", "1")
            .set("limits.cancel_grace", "100ms");
        let before = site.server.requests().len();
        let lived = site.lives(host.set("limits.fuel", MUCH_FUEL), &steps);
        assert_eq!(lived.seen[1]["ok"]["rounds"], TURNS, "{what}: {}", lived.seen[1]);
        sang(&lived.seen[2]);
        assert_eq!(exit(&lived.seen[5]), "Cancelled", "{what}");
        let requests = site.server.requests();
        let asked = requests[before..]
            .iter()
            .filter(|request| request.last().contains("\"hi\""));
        let at: Vec<_> = asked.map(|request| request.at).collect();
        assert_eq!(at.len(), TURNS, "{what}");
        let longest = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(
            longest < slack(),
            "{what}: an agent beside it had no turn for {longest:?}"
        );
    }
    site.is_well();
}

#[test]
fn a07_a_flood_of_calls() {
    let site = Site::new();
    for case in cases::computing::own_calls() {
        site.tries(&case);
    }
    for step in [
        json!({ "do": "log", "level": "Info", "message": "" }),
        json!({ "do": "progress", "message": "" }),
        json!({ "do": "get", "space": 0, "key": "missing" }),
        json!({ "do": "remaining", "dimension": "Iterations" }),
        json!({ "do": "list-tools" }),
    ] {
        let host = || site.host().set("limits.host_calls", 100);
        site.attack(host().probe(&steps(&calls(99, &step)))).answers("done");
        let names = ["100", "limits.host_calls"];
        site.attack(host().probe(&steps(&calls(100, &step))))
            .ends(3, "exhausted(host-calls)", &names);
    }
    site.is_well();
}

#[test]
fn a07_a_flood_of_calls_that_are_not_the_hosts_own() {
    let site = Site::new();
    let [reads, _] = cases::computing::foreign_calls();
    site.tries(&reads);
    // The engine's clock ticks each millisecond and enters the host for it: that counts for nobody.
    let host = site
        .host()
        .set("limits.host_calls_all", 1000)
        .set("limits.fuel", MUCH_FUEL);
    let attacked = site.attack(
        host.set("limits.step_wall", "1500ms")
            .run(&hostile::A01_LOOP.file(&site.home), "go"),
    );
    attacked.ends(1, "timed-out", &["limits.step_wall"]);
    site.is_well();
}

fn ask() -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] })
}

#[test]
fn a09_a_crash_to_be_refilled() {
    let site = Site::new();
    let asks = json!({ "do": "repeat", "n": 9, "steps": [ask()] });
    let program = json!({ "steps": [asks, { "do": "trap" }] });
    let host = site
        .host()
        .set("limits.restart.attempts", 4)
        .set("limits.restart.backoff", 0);
    let host = host.args(["--budget", "iterations=10"]);
    let attacked = site
        .attack(host.probe(&program))
        .ends(3, "exhausted(iterations)", &["--budget iterations"]);
    let json = attacked.output.json();
    assert_eq!(
        (&json["spent"]["iterations"], &json["spent"]["closing"]),
        (&json!(10), &json!(1)),
        "{json}"
    );
    assert_eq!(site.server.requests().len(), 11, "ten, and one to sum up");
    assert_eq!(json["agents"][0]["attempts"], 2, "nothing is left for a third");
    site.tries(&cases::computing::refilled());
    site.is_well();
}

#[test]
fn a09_leaving_without_an_answer_is_no_success() {
    let site = Site::new();
    site.tries(&cases::computing::leaves());
    site.is_well();
}

#[test]
fn a09_a_crash_while_something_is_set_aside() {
    let site = Site::with(Script::always(Turn::fault(Fault::StallBeforeHeaders)));
    let start = json!({ "do": "start", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let program = json!({ "steps": [start, { "do": "trap" }] });
    let host = site
        .host()
        .set("limits.restart.attempts", 4)
        .set("limits.restart.backoff", 0);
    let host = host.args(["--budget", "iterations=2"]);
    let attacked = site
        .attack(host.probe(&program))
        .ends(3, "exhausted(iterations)", &["--budget iterations"]);
    let run = attacked.output.json()["run"].as_str().unwrap().to_owned();
    let shown = site.home.shown(&run);
    let operations = shown["agents"][0]["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 2, "{shown}");
    for lost in operations {
        // Nobody knows what it cost: it cost all that was set aside, of which the answer alone may have 4,096.
        let tokens = lost["charged"]["tokens"].as_u64().unwrap();
        assert!(lost["status"] == "cancelled" && tokens > 4096, "{lost}");
    }
    assert_eq!(attacked.output.spent("iterations"), 2);
    site.is_well();
}
