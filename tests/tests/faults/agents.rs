//! Agents that break, hang or lose their parent, and the host's own faults.

use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, exit, join, words};
use hermes_tests::held::Held;
use hermes_tests::host::PASSIVATE;
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::slack;
use hermes_tests::program::steps;
use hermes_tests::shim::{Action, EAGAIN, When};
use hermes_tests::{Home, Process, Shim, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::place::{assert_sound, newest, resume, shown};
use crate::program::ask;
use crate::recorded::Recorded;
use crate::{LONG, eventually, moments};

fn place(script: impl Into<Script>) -> (ModelServer, Home) {
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    (server, home)
}

/// Status of each agent of a run's JSON.
fn status(json: &Value) -> Vec<&str> {
    let agents = json["agents"].as_array().unwrap();
    agents.iter().map(|agent| agent["status"].as_str().unwrap()).collect()
}

#[test]
fn f12_a_trap_before_and_after_a_host_call() {
    let (server, home) = place(Script::always(Turn::text("well")));
    let trap = json!({ "do": "trap" });
    let before = ChildSpec::probe(&steps(std::slice::from_ref(&trap)));
    let after = ChildSpec::probe(&steps(&[ask("hi"), trap]));
    // It breaks in its own code, where the host writes an answer into its memory.
    let within = ChildSpec::of("realloc-spin", "");
    let sibling = ChildSpec::probe(&steps(&[ask("hi"), ask("there")]));
    let mut program: Vec<Value> = [&sibling, &before, &after, &within, &sibling]
        .map(ChildSpec::spawn)
        .to_vec();
    program.extend((0..5).map(join));
    std::fs::create_dir_all(home.path().join("plugins")).unwrap();
    std::fs::copy(
        guests::built("realloc-spin"),
        home.path().join("plugins/realloc-spin.wasm"),
    )
    .unwrap();
    let host = home
        .host()
        .set("limits.step_wall", "500ms")
        .set("limits.fuel", 9_000_000_000_000_000_u64);
    let output = host.probe(&steps(&program)).output().expect(0);
    let seen = output.seen().split_off(5);
    let ends: Vec<String> = seen.iter().map(exit).collect();
    assert_eq!(ends, ["Returned", "Trapped", "Trapped", "TimedOut", "Returned"]);
    for broken in &seen[1..3] {
        assert!(words(broken).contains("unreachable"), "{broken}");
        assert!(words(broken).lines().count() <= 21, "{broken}");
    }
    let json = output.json();
    assert_eq!(
        status(&json),
        ["completed", "completed", "failed", "failed", "failed", "completed"]
    );
    assert_eq!(server.requests().len(), 5);
    let ended = shown(&home, json["run"].as_str().unwrap());
    assert!(
        ended["agents"]
            .as_array()
            .unwrap()
            .iter()
            .all(|agent| agent["attempts"] == 1),
        "{ended}"
    );
}

/// What the call did is recorded before its answer is told, in the midst of which its guest breaks.
#[test]
fn f12_a_trap_within_a_host_call() {
    let (_server, home) = place(Script::always(Turn::text("well")));
    let plugins = home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    for guest in ["answer-trap", "deep"] {
        std::fs::copy(guests::built(guest), plugins.join(guest).with_extension("wasm")).unwrap();
    }
    let own = json!([{ "space": "traps", "prefix": "", "access": "ReadWrite" }]);
    let within = ChildSpec::of("answer-trap", "").with("spaces", own);
    let deep = ChildSpec::of("deep", "1000000");
    let output = home.host().probe(&steps(&[
        within.spawn(),
        join(0),
        json!({ "do": "open", "name": "traps" }),
        json!({ "do": "keys", "space": 0, "prefix": "", "limit": 9 }),
        deep.spawn(),
        join(1),
    ]));
    let output = output.output().expect(0);
    let seen = output.seen();
    assert_eq!([exit(&seen[1]), exit(&seen[5])], ["Trapped", "Trapped"]);
    assert!(words(&seen[1]).contains("unreachable"), "{}", seen[1]);
    assert_eq!(seen[3]["ok"].as_array().unwrap().len(), 1, "{}", seen[3]);
    let shown = shown(&home, output.json()["run"].as_str().unwrap());
    let operations = shown["agents"][1]["operations"].as_array().unwrap().iter();
    let writes: Vec<&Value> = operations.filter(|op| op["kind"] == "write").collect();
    assert_eq!(writes.len(), 1, "{shown}");
    assert_eq!(writes[0]["status"], "done", "{shown}");
    // Of a stack of many thousand calls the innermost.
    let told = words(&seen[5]);
    let (cause, frames) = told.split_once('\n').unwrap();
    assert!(cause.contains("stack overflow"), "{told}");
    assert_eq!(
        frames.lines().filter(|line| line.starts_with("  at ")).count(),
        20,
        "{told}"
    );
    assert_eq!(frames.lines().count(), 20, "{told}");
}

/// What an agent that broke held is the machine's again a second later, while its run goes on.
#[test]
fn f12_the_memory_of_a_trap_is_given_back() {
    const BYTES: usize = 8_000_000;
    // A slot of the pool keeps 1 MiB for whoever is next.
    const BACK_KIB: u64 = 6_000;
    let gate = tempfile::tempdir().unwrap();
    let go_on = gate.path().join("go-on");
    let (server, home) = place(
        Script::default()
            .when("CHILD", Script::always(Turn::text("well").held_until(&go_on)))
            .when("ROOT", Script::always(Turn::fault(Fault::StallMidStream))),
    );
    // More than a space takes: it is in the child's own memory.
    let large = json!({ "do": "put-bytes", "space": 0, "key": "k", "bytes": BYTES });
    let open = json!({ "do": "open", "name": "notes" });
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&steps(&[open, large, ask("CHILD"), json!({ "do": "trap" })])).with("spaces", notes);
    // It has an instance while it waits.
    let host = home.host().without(PASSIVATE);
    let process = host.probe(&steps(&[child.spawn(), join(0), ask("ROOT")])).start();
    server.wait_for(1, LONG);
    let held = Held::by(&process).memories_kib;
    assert!(held * 1024 > BYTES as u64, "{held} KiB");
    std::fs::write(&go_on, "").unwrap();
    // Its parent was told of its end, and waits for the model.
    assert!(server.wait_for(2, LONG).last().contains("ROOT"));
    let told = Instant::now();
    loop {
        let left = Held::by(&process).memories_kib;
        if left + BACK_KIB < held {
            break;
        }
        assert!(
            told.elapsed() < Duration::from_secs(1) + slack(),
            "{left} of {held} KiB"
        );
    }
    process.signal(Signal::KILL);
    process.finish();
}

#[test]
fn f13_a_crash_loop() {
    let (server, home) = place(Script::always(Turn::text("well")));
    let child = ChildSpec::probe(&steps(&[ask("hi"), json!({ "do": "trap" })])).with("max_attempts", 0);
    let output = home.host().probe(&steps(&[child.spawn(), join(0)])).output().expect(0);
    let seen = &output.seen()[1];
    assert_eq!((exit(seen).as_str(), &seen["ok"]["attempts"]), ("Trapped", &json!(4)));
    let requests = server.requests();
    let waits: Vec<Duration> = requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    for (wait, least) in waits.iter().zip([100, 200, 400]) {
        // Give or take a fifth.
        let least = Duration::from_millis(least * 4 / 5);
        assert!(*wait >= least && *wait < least * 2 + slack(), "{waits:?}");
    }
    assert_eq!(requests.len(), 4);
    let spent = &output.json()["agents"][1]["spent"];
    assert_eq!(
        (&spent["iterations"], &spent["tokens"]),
        (&json!(4), &json!(480)),
        "nothing is given back"
    );
}

/// A tree whose agents compute, wait for a model, are parked, never take their task, or the answer of a call, and call a tool that computes: in its
/// home, once all of it is under way.
fn tree_that_hears_nothing(home: &Home) -> (Process, String) {
    let plugins = home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    for guest in ["spin", "realloc-spin", "answer-spin"] {
        std::fs::copy(guests::built(guest), plugins.join(guest).with_extension("wasm")).unwrap();
    }
    let deep = |guest: &str| ChildSpec::probe(&steps(&[ChildSpec::of(guest, "").spawn(), join(0)]));
    let asks = ChildSpec::probe(&steps(&[ask("hi")]));
    let own = json!([{ "space": "spins", "prefix": "", "access": "ReadWrite" }]);
    let program = [
        deep("spin").spawn(),
        deep("realloc-spin").spawn(),
        asks.spawn(),
        json!({ "do": "open", "name": "notes" }),
        ChildSpec::parked(600_000).spawn(),
        ChildSpec::of("answer-spin", "").with("spaces", own).spawn(),
        json!({ "do": "call", "name": "spin" }),
    ];
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    let host = host
        .set("limits.fuel", 9_000_000_000_000_000_u64)
        .set("limits.step_wall", "5m");
    let process = host.probe(&steps(&program)).start();
    let run = eventually("all agents", || {
        let run = newest(home)?;
        let shown = shown(home, &run);
        let agents = shown["agents"].as_array()?.iter();
        let mut operations = agents.flat_map(|agent| agent["operations"].as_array().unwrap());
        let called = operations.clone().any(|op| op["kind"] == "tool-call");
        let wrote = operations.any(|op| op["kind"] == "write" && op["status"] == "done");
        (called && wrote && status(&shown) == ["active"; 8]).then_some(run)
    });
    (process, run)
}

#[test]
fn f14_a_tree_that_hears_no_signal() {
    let (_server, home) = place(Script::always(Turn::fault(Fault::StallMidStream)));
    let (process, run) = tree_that_hears_nothing(&home);
    let sent = Instant::now();
    process.signal(Signal::INT);
    let output = process.finish().expect(130);
    let took = output.ended - sent;
    assert!(took < Duration::from_secs(6) + slack(), "{took:?}");
    home.host().args(["cancel", &run]).output().expect(0);
    assert_eq!(status(&shown(&home, &run)), ["cancelled"; 8]);
}

#[test]
fn f14_a_tree_that_hears_no_cancel() {
    let (_server, home) = place(Script::always(Turn::fault(Fault::StallMidStream)));
    let (process, run) = tree_that_hears_nothing(&home);
    let sent = Instant::now();
    home.host().args(["cancel", &run]).output().expect(0);
    let output = process.finish().expect(1);
    let took = output.ended - sent;
    assert!(took < Duration::from_secs(6) + slack(), "{took:?}");
    assert_eq!(output.json()["exit"], "cancelled");
    assert_eq!(status(&shown(&home, &run)), ["cancelled"; 8]);
}

/// How many children wait for the model when their run is cancelled.
/// A provider is asked for no more at once at first.
const WAITING: usize = 7;

/// Starts a run whose children all wait for the model, and have one place together. Returns when all have asked, or when its process has died.
fn all_wait(shim: &Shim) -> (ModelServer, Home, Process) {
    let (server, home) = place(Script::always(Turn::fault(Fault::StallBeforeHeaders)));
    let child = ChildSpec::probe(&steps(&[ask("hi")])).spawn();
    let mut program = vec![child; WAITING];
    program.extend((0..WAITING).map(join));
    let host = home.host().set("limits.resident", 1).probe(&steps(&program));
    let mut process = shim.on(host).start();
    let begun = Instant::now();
    while server.asked() < WAITING && !process.has_ended() {
        assert!(begun.elapsed() < LONG, "not all have asked");
    }
    (server, home, process)
}

/// Those who wait without a place end with their parent's record of it, or not at all.
#[test]
fn f01_kill_while_all_who_wait_are_cancelled() {
    let counted = Shim::new().rule("write", "-wal", When::Always, &Action::Count);
    let (_server, home, process) = all_wait(&counted);
    let before = counted.count(0);
    let run = newest(&home).unwrap();
    home.host().args(["cancel", &run]).output().expect(0);
    process.finish().expect(1);
    let (mut killed, mut resumed) = (0, 0);
    for n in moments::<u64>(7) {
        let shim = Shim::new().rule("write", "-wal", When::At(before + n), &Action::KillBefore);
        let (_server, home, process) = all_wait(&shim);
        let run = newest(&home).unwrap();
        let asking = home.host().args(["cancel", &run]).start();
        let is_killed = process.finish().code.is_none();
        // Whoever asks ends the run, unless he dies as well.
        if killed % 2 == 1 {
            asking.signal(Signal::KILL);
            drop(asking.finish());
        } else {
            asking.finish().expect(0);
        }
        let left = shown(&home, &run);
        if left["status"] == "interrupted" {
            let is_asked = left["agents"][0]["cancel_asked"] == true;
            resumed += usize::from(is_asked);
            let ends = match is_asked {
                true => resume(&home, &run),
                false => home.host().args(["cancel", &run]),
            };
            let output = ends.output();
            // Of one that died last the run's own row alone was not told.
            let had_ended = output.code == Some(2) && output.stderr.contains("it has ended");
            assert!(
                had_ended || output.code == Some(i32::from(is_asked)),
                "{}",
                output.stderr
            );
        }
        let ended = shown(&home, &run);
        let moment = format!("killed at write {n}: {ended}");
        assert!(status(&ended).iter().all(|status| *status == "cancelled"), "{moment}");
        let agents = ended["agents"].as_array().unwrap();
        let children = agents[0]["operations"].as_array().unwrap();
        assert_eq!(children.len(), agents.len() - 1, "{moment}");
        assert!(children.iter().all(|op| op["status"] == "cancelled"), "{moment}");
        for child in &agents[1..] {
            let asked = child["operations"].as_array().unwrap();
            assert!(asked.iter().all(|op| op["status"] == "cancelled"), "{moment}");
            assert_eq!(child["spent"]["iterations"], asked.len(), "{moment}");
        }
        assert_sound(&home);
        home.host().args(["resume", &run]).output().expect(2).says(&["final"]);
        if !is_killed {
            break;
        }
        killed += 1;
    }
    println!("killed {killed} times, and resumed {resumed} of these");
    assert!(killed > 0, "the faults met nothing");
}

/// Has a parent do `ends` while one of its children has returned and one is parked, and its own parent do `meanwhile`: how all ended.
fn ends_with_children(ends: &Value, limit: Option<u64>, meanwhile: &[Value]) -> Vec<String> {
    let (_server, home) = place(Script::always(Turn::text("well")));
    let quick = ChildSpec::probe(&steps(&[ask("hi")]));
    let open = json!({ "do": "open", "name": "notes" });
    let parent = [
        open.clone(),
        quick.spawn(),
        join(0),
        ChildSpec::parked(600_000).spawn(),
        ends.clone(),
    ];
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    let parent = ChildSpec::probe(&steps(&parent)).with("spaces", notes);
    let parent = limit
        .into_iter()
        .fold(parent, |parent, most| parent.limit("Iterations", most));
    let program = [&[open, parent.spawn()], meanwhile, &[join(0)]].concat();
    let host = home.host().set("limits.cancel_grace", "300ms");
    let json = host.probe(&steps(&program)).output().expect(0).json();
    let agents = json["agents"].as_array().unwrap();
    assert!(agents.iter().all(|agent| agent["status"] != "active"), "{json}");
    agents
        .iter()
        .map(|agent| agent["exit"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn f15_a_parent_that_ends_while_its_children_run() {
    let trapped = ends_with_children(&json!({ "do": "trap" }), None, &[]);
    assert_eq!(trapped, ["returned", "trapped", "returned", "cancelled"]);
    let asks = json!({ "do": "repeat", "n": 3, "steps": [ask("more")] });
    let exhausted = ends_with_children(&asks, Some(1), &[]);
    assert_eq!(exhausted, ["returned", "exhausted", "returned", "cancelled"]);
    let waits = json!({ "do": "wait-any-child", "children": [0], "timeout_ms": 500 });
    let cancels = [waits, json!({ "do": "cancel-child", "child": 0 })];
    let cancelled = ends_with_children(&join(1), None, &cancels);
    assert_eq!(cancelled, ["returned", "cancelled", "returned", "cancelled"]);
}

/// Its children end before its next attempt begins, those of theirs first, and it finds what they came to.
#[test]
fn f15_a_parent_that_starts_again_while_its_children_run() {
    let (server, home) = place(Script::always(Turn::text("well")));
    let open = |name: &str| json!({ "do": "open", "name": name });
    let quick = ChildSpec::probe(&steps(&[ask("hi")]));
    let sign = json!({ "do": "put", "space": 1, "key": "under-way", "value": "x" });
    let parked = ChildSpec::parked(600_000).spawn();
    let deep = ChildSpec::probe(&steps(&[open("notes"), open("signs"), parked, sign, join(0)]));
    let deep = deep.with(
        "spaces",
        json!([
            { "space": "notes", "prefix": "", "access": "ReadOnly" },
            { "space": "signs", "prefix": "", "access": "ReadWrite" },
        ]),
    );
    let is_under_way = json!({ "do": "changes", "space": 1, "prefix": "", "since": 0, "wait_ms": 60_000 });
    let once = [
        quick.spawn(),
        join(0),
        deep.spawn(),
        is_under_way,
        json!({ "do": "trap" }),
    ];
    let program = steps(&[
        open("notes"),
        open("signs"),
        json!({ "do": "first-attempt", "steps": once }),
        json!({ "do": "adopt-children" }),
        json!({ "do": "status", "child": 1 }),
        join(0),
        join(1),
    ]);
    let host = home.host().set("limits.cancel_grace", "300ms");
    let output = host.probe(&program).output().expect(0);
    let seen = output.seen();
    assert_eq!((&seen[3]["ok"], &seen[4]["ok"]["ended"]), (&json!(2), &json!(true)));
    assert_eq!(
        (exit(&seen[5]), exit(&seen[6])),
        ("Returned".to_owned(), "Cancelled".to_owned())
    );
    let shown = shown(&home, output.json()["run"].as_str().unwrap());
    let each = |field: &str| -> Vec<Value> {
        let agents = shown["agents"].as_array().unwrap().iter();
        agents.map(|agent| agent[field].clone()).collect()
    };
    assert_eq!(each("exit"), ["returned", "returned", "cancelled", "cancelled"]);
    assert_eq!(each("attempts"), [2, 1, 1, 1]);
    let ended: Vec<Option<u64>> = each("ended_ms").iter().map(Value::as_u64).collect();
    assert!(ended[3].is_some() && ended[3] <= ended[2], "{ended:?}");
    assert_eq!(server.requests().len(), 1, "what is done is not done again");
}

#[test]
fn f16_a_host_without_threads() {
    // What panics within a host function is mended from the journal (`host/tests/panics.rs`). Here the host itself panics where a
    // library finds no thread.
    let recorded = Recorded::everything();
    let mut refused = 0;
    for n in 1..=6 {
        let place = recorded.place();
        let shim = Shim::new().rule("thread", "*", When::At(n), &Action::Errno(EAGAIN));
        let output = shim.on(recorded.host(&place)).output();
        if output.code != Some(0) {
            refused += 1;
            assert!(
                matches!(output.code, Some(1 | 2)),
                "thread {n}: {:?} {}",
                output.code,
                output.stderr
            );
            assert!(
                output.took < Duration::from_secs(5) + slack(),
                "thread {n}: {:?}",
                output.took
            );
        }
        recorded.ends_well(&place, &[], &format!("thread {n}"));
    }
    assert!(refused > 2, "the faults met nothing");
}
