//! Other processes: those that hold a lock, send a signal, or write to the same place.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::model::{Fault, Format, ModelServer, Turn};
use hermes_tests::output::{message, refusal, slack};
use hermes_tests::shim::{Action, EMFILE, When};
use hermes_tests::{Home, Host, Output, Shim};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::end::End;
use crate::place::{Place, completions, newest, resume, sends, shown};
use crate::program::{ANSWERED, ask, held, holding, script};
use crate::recorded::{Met, Recorded};
use crate::{LONG, eventually, full, moments};

/// A home with a database.
fn begun() -> (ModelServer, Home) {
    let server = ModelServer::start(script());
    let home = Home::with_model(&server, Format::OpenAi);
    put(&home, "begun").output().expect(0);
    (server, home)
}

fn put(home: &Home, key: &str) -> Host {
    home.host().args(["blackboard", "put", "shared", key, "value"])
}

/// The database of this home, locked altogether by this process.
fn locked(home: &Home) -> Connection {
    let database = Connection::open(home.path().join("host/hermes.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    database
}

#[test]
fn f08_a_lock_held_for_a_second() {
    let (_server, home) = begun();
    let database = locked(&home);
    let process = put(&home, "key").start();
    // Not waited for: this is how long it is held.
    let held = Duration::from_secs(1);
    let holder = thread::spawn(move || {
        thread::sleep(held);
        database.execute_batch("COMMIT").unwrap();
    });
    let output = process.finish().expect(0);
    holder.join().unwrap();
    assert!(output.took >= held && output.took < held + slack(), "{:?}", output.took);
}

#[test]
fn f08_a_lock_held_for_long() {
    let (_server, home) = begun();
    let database = locked(&home);
    let output = put(&home, "key").output().expect(2);
    assert!(output.took < Duration::from_secs(6) + slack(), "{:?}", output.took);
    let holder = format!("process {}", std::process::id());
    output.says(&["busy", "limits.store.busy", &holder]);
    database.execute_batch("COMMIT").unwrap();
    put(&home, "key").output().expect(0);
}

#[test]
fn f08_a_run_waits_for_a_lock_for_as_long_as_it_takes() {
    let (server, home) = begun();
    let write = json!({ "do": "append", "space": 0, "prefix": "log/", "value": "a line" });
    let write = json!({ "do": "repeat", "n": 50, "until_error": true, "steps": [write] });
    // What it computes takes longer than to lock the database.
    let compute = json!({ "do": "compute", "n": 100_000_000 });
    let first = ask("ROOT ONE");
    let program = json!({ "steps": [{ "do": "open", "name": "notes" }, first, compute, write, ask("PAR ONE"), write] });
    let mut process = home.host().set("limits.store.busy", "200ms").probe(&program).start();
    server.wait_for(1, LONG);
    let database = locked(&home);
    thread::sleep(Duration::from_secs(1));
    // By now it has computed. Who asked for the lock all the time would take all of another second.
    let before = process.processor_ticks();
    thread::sleep(Duration::from_secs(1));
    let ticks = process.processor_ticks() - before;
    assert!(ticks < 50, "it spins: {ticks} hundredths of a second");
    assert!(!process.has_ended(), "it waits");
    database.execute_batch("COMMIT").unwrap();
    let output = process.finish().expect(0);
    assert_eq!(output.seen()[3]["ok"]["rounds"], 50);
    assert_eq!((server.requests().len(), output.spent("iterations")), (2, 2));
}

/// The wait is nobody's step.
#[test]
fn f08_a_lock_held_for_longer_than_a_step() {
    let (server, home) = begun();
    // What it computes takes longer than to lock the database.
    let compute = json!({ "do": "compute", "n": 100_000_000 });
    let open = json!({ "do": "open", "name": "notes" });
    let put = json!({ "do": "put", "space": 0, "key": "k", "value": "a value" });
    let program = json!({ "steps": [open, ask("ROOT ONE"), compute, put, ask("PAR ONE")] });
    let host = home
        .host()
        .set("limits.store.busy", "200ms")
        .set("limits.step_wall", "2s");
    let process = host.probe(&program).start();
    server.wait_for(1, LONG);
    let database = locked(&home);
    // Not waited for: this is how long it is held.
    thread::sleep(Duration::from_secs(3));
    database.execute_batch("COMMIT").unwrap();
    let output = process.finish().expect(0);
    assert_eq!((server.requests().len(), output.spent("iterations")), (2, 2));
}

/// Whoever stops a run does not wait for others: what can't be written down is made again when it goes on.
#[test]
fn f08_a_run_that_waits_for_a_lock_can_be_stopped() {
    let (server, home) = begun();
    let compute = json!({ "do": "compute", "n": 100_000_000 });
    let open = json!({ "do": "open", "name": "notes" });
    let put = json!({ "do": "put", "space": 0, "key": "k", "value": "a value" });
    let child = ChildSpec::parked(600_000).spawn();
    let steps = json!([open, child, ask("ROOT ONE"), compute, put, ask("PAR ONE")]);
    let by_database = || -> Box<dyn FnOnce()> {
        let database = locked(&home);
        Box::new(move || database.execute_batch("COMMIT").unwrap())
    };
    let by_gate = || -> Box<dyn FnOnce()> {
        let gate = fs::File::open(home.path().join("host/write.lock")).unwrap();
        gate.lock().unwrap();
        Box::new(move || gate.unlock().unwrap())
    };
    let locks: [&dyn Fn() -> Box<dyn FnOnce()>; 2] = [&by_database, &by_gate];
    for lock in locks {
        let before = server.asked();
        let process = home.host().probe(&json!({ "steps": steps, "summary": "done" })).start();
        server.wait_for(before + 1, LONG);
        let unlock = lock();
        let sent = Instant::now();
        process.signal(Signal::INT);
        let output = process.finish().expect(130);
        let took = output.ended - sent;
        assert!(took < Duration::from_secs(2) + slack(), "{took:?}");
        assert_eq!(output.json()["exit"], "interrupted", "{}", output.stderr);
        unlock();
        let run = output.json()["run"].as_str().unwrap().to_owned();
        let ended = resume(&home, &run).output().expect(0);
        assert_eq!(ended.spent("iterations"), 2);
    }
}

#[test]
fn f08_two_resumes_of_one_run() {
    let recorded = Recorded::everything();
    let place = Place::new(holding("ROOT ONE", 2));
    let first = recorded.host(&place).start();
    place.server.wait_for(1, LONG);
    let run = newest(&place.home).unwrap();
    let second = resume(&place.home, &run).output().expect(2);
    let owner = format!("process {}", first.id());
    assert!(second.took < Duration::from_secs(1) + slack(), "{:?}", second.took);
    second.says(&["is owned by", &owner]);
    first.signal(Signal::KILL);
    first.finish();
    // The kernel frees what a dead process held.
    let third = resume(&place.home, &run).start();
    place.server.wait_for(2, LONG);
    resume(&place.home, &run).output().expect(2).says(&["is owned by"]);
    third.signal(Signal::KILL);
    third.finish();
    let output = resume(&place.home, &run).output().expect(0);
    assert_eq!(output.spent("resent"), 2);
}

#[test]
fn f17_a_signal_within_a_commit() {
    let recorded = Recorded::everything();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = recorded.place();
        let slow = Action::Delay(Duration::from_millis(300));
        let shim = Shim::new().rule("write", "-wal", When::At(150), &slow);
        let process = shim.on(recorded.host(&place)).start();
        eventually("the write", || (shim.count(0) >= 150).then_some(()));
        let sent = Instant::now();
        process.signal(signal);
        let output = process.finish().expect(130);
        assert!(
            output.ended - sent < Duration::from_secs(2) + slack(),
            "{:?}",
            output.ended - sent
        );
        recorded.ends_well(&place, &[], &format!("{signal:?} within a commit"));
    }
}

#[test]
fn f17_a_second_signal_ends_at_once() {
    let recorded = Recorded::everything();
    let place = recorded.place();
    // The first signal waits for a commit that takes long.
    let slow = Action::Delay(Duration::from_secs(30));
    let shim = Shim::new().rule("write", "-wal", When::At(150), &slow);
    let process = shim.on(recorded.host(&place)).start();
    eventually("the write", || (shim.count(0) >= 150).then_some(()));
    process.signal(Signal::INT);
    let sent = Instant::now();
    process.signal(Signal::TERM);
    let output = process.finish();
    assert_eq!(output.code, Some(130));
    assert!(output.ended - sent < slack(), "{:?}", output.ended - sent);
    recorded.ends_well(&place, &[], "ended at once within a commit");
}

/// What the host exited with in this place, where a shell has written that down.
fn exited(place: &Place) -> String {
    fs::read_to_string(place.home.work().join("code")).unwrap()
}

/// A process that writes to a pipe which nobody reads gets SIGPIPE, and the system ends it where it does not say otherwise.
#[test]
fn f17_nobody_reads_its_answer() {
    let recorded = Recorded::everything();
    let place = recorded.place();
    let host = recorded.host(&place).by("{ \"$0\" \"$@\"; echo $? > code; } | true");
    let output = host.output().expect(0);
    assert_eq!(exited(&place), "0\n", "{}", output.stderr);
    assert!(!output.stderr.contains("a fault in hermes-host"), "{}", output.stderr);
    End::shown(&place.home, &newest(&place.home).unwrap()).assert_like(&recorded.end, "nobody reads its answer");
}

#[test]
fn f17_nobody_reads_its_events_any_more() {
    let recorded = Recorded::everything();
    let place = recorded.suspended_while("PAR TWO", ANSWERED);
    let run = newest(&place.home).unwrap();
    let host = place.home.host().args(["resume", &run, "--output", "events"]);
    let host = host.by("{ \"$0\" \"$@\"; echo $? > code; } | head -n 1");
    let output = host.output().expect(0);
    assert_eq!(output.events().len(), 1);
    assert_eq!(exited(&place), "0\n", "{}", output.stderr);
    assert!(!output.stderr.contains("a fault in hermes-host"), "{}", output.stderr);
    End::shown(&place.home, &run).assert_like(&recorded.end, "nobody reads its events any more");
}

#[test]
fn f17_nobody_reads_what_it_tells() {
    let recorded = Recorded::everything();
    let place = recorded.place();
    let host = recorded.host(&place).env("HERMES_HOST_LOG", "debug");
    let host = host.by("{ { \"$0\" \"$@\"; echo $? > code; } 2>&1 >&3 3>&- | true; } 3>&1");
    let output = host.output().expect(0);
    assert_eq!(exited(&place), "0\n");
    End::printed(&output).assert_like(&recorded.end, "nobody reads what it tells");
}

#[test]
fn f17_a_file_that_may_grow_no_more() {
    // The system ends a process by SIGXFSZ where it does not say otherwise.
    let recorded = Recorded::everything();
    for blocks in [300, 700, 1100] {
        let place = recorded.place();
        let line = format!("ulimit -f {blocks} && exec \"$0\" \"$@\"");
        let output = recorded.host(&place).by(&line).output();
        assert!(
            matches!(output.code, Some(1 | 2)),
            "{blocks}: {:?} {}",
            output.code,
            output.stderr
        );
        assert_eq!(output.json()["error"]["kind"], "storage", "{blocks}: {}", output.stderr);
        recorded.ends_well(&place, &[], &format!("files of at most {blocks} blocks"));
    }
}

/// Offsets of the time of day, in seconds: a leap second and an hour to and fro, ten years back, the year 2100.
pub(crate) const JUMPS: [i64; 7] = [0, 1, -1, 3_600, -3_600, -315_360_000, 2_366_841_600];

#[test]
fn f20_the_clock_jumps_while_a_run_is_under_way() {
    let recorded = Recorded::everything();
    for every in [1, 7, 50] {
        let place = recorded.place();
        let output = Shim::new()
            .clock(every, &JUMPS)
            .on(recorded.host(&place))
            .output()
            .expect(0);
        assert!(
            output.took < recorded.took + Duration::from_secs(10),
            "{:?}",
            output.took
        );
        let wall = output.spent("wall_clock_ms");
        assert!(
            wall <= u64::try_from(output.took.as_millis()).unwrap(),
            "{wall} ms in {:?}",
            output.took
        );
        End::printed(&output).assert_like(&recorded.end, &format!("it jumps after {every} readings"));
    }
}

#[test]
fn f20_the_clock_jumps_between_kill_and_resume() {
    let recorded = Recorded::everything();
    for offset in JUMPS {
        let place = recorded.killed_while("PAR TWO", ANSWERED);
        let other = Met::kill(Shim::new().clock(1, &[offset]));
        recorded.ends_well(&place, &[other], &format!("off by {offset} s"));
    }
}

/// The clock that only goes forward stands still while a machine sleeps, and the time of day is another when it wakes up. It sleeps for longer than a run, a
/// step and an answer may take.
#[test]
fn f20_a_machine_that_slept() {
    const NIGHT: i64 = 8 * 3_600;
    let recorded = Recorded::everything();
    let gate = tempfile::tempdir().unwrap();
    let morning = gate.path().join("morning");
    let place = Place::new(held("PAR TWO", &morning));
    let shim = Shim::new();
    let process = shim.on(recorded.host(&place)).start();
    place.waits(ANSWERED);
    process.signal(Signal::STOP);
    shim.jumps(NIGHT);
    process.signal(Signal::CONT);
    fs::write(&morning, "").unwrap();
    let output = process.finish().expect(0);
    let wall = output.spent("wall_clock_ms");
    assert!(
        wall <= u64::try_from(output.took.as_millis()).unwrap(),
        "{wall} ms in {:?}",
        output.took
    );
    End::printed(&output).assert_like(&recorded.end, "it slept for a night");
    // It was another day.
    let run = shown(&place.home, output.json()["run"].as_str().unwrap());
    let of_root = |time: &str| run["agents"][0][time].as_i64().unwrap();
    assert!(of_root("ended_ms") - of_root("started_ms") > NIGHT * 1_000, "{run}");
}

#[test]
fn f20_a_process_that_slept() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("awake")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let host = home.host().set("limits.llm.idle", "500ms").set("limits.llm.tries", 1);
    let process = host.probe(&json!({ "steps": [ask("one"), ask("two")] })).start();
    server.wait_for(1, LONG);
    process.signal(Signal::STOP);
    // Not waited for: this is how long it sleeps.
    thread::sleep(if full() {
        Duration::from_secs(60)
    } else {
        Duration::from_millis(1_500)
    });
    process.signal(Signal::CONT);
    let output = process.finish().expect(0);
    let seen = output.seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("timed-out"), "{}", seen[0]);
    assert_eq!(seen[1]["ok"]["parts"][0]["Text"], "awake");
    assert_eq!(server.requests().len(), 2);
    let (ended, open) = completions(&shown(&home, output.json()["run"].as_str().unwrap()));
    assert_eq!((ended.len(), open.len()), (2, 0), "each has one end");
}

#[test]
fn f21_no_file_descriptor_for_any_of_its_files() {
    let recorded = Recorded::everything();
    let mut refused = 0;
    for n in moments(9) {
        let place = recorded.place();
        let shim = Shim::new().rule("open", "*", When::At(n), &Action::Errno(EMFILE));
        let output = shim.on(recorded.host(&place)).output();
        match output.code {
            Some(0) => End::printed(&output).assert_like(&recorded.end, &format!("open {n}")),
            _ => {
                refused += 1;
                let (code, kind) = (output.code, output.json()["error"]["kind"].clone());
                assert!(
                    matches!(code, Some(1 | 2)) && kind != "host-bug",
                    "open {n}: {code:?} {}",
                    output.stderr
                );
                recorded.ends_well(&place, &[], &format!("open {n}"));
            }
        }
        if shim.count(0) < n {
            break;
        }
    }
    assert!(refused > 0, "the faults met nothing");
}

#[test]
fn f21_no_file_descriptor_for_a_connection() {
    let place = Place::new(script());
    let shim = Shim::new().rule("socket", "*", When::At(1), &Action::Errno(EMFILE));
    let host = shim.on(place.home.host()).set("limits.llm.tries", 1);
    let output = host
        .probe(&json!({ "steps": [ask("ROOT ONE"), ask("ROOT ONE")] }))
        .output()
        .expect(0);
    let seen = output.seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("rate-limited"), "{}", seen[0]);
    let words = message(&seen[0]);
    assert!(
        words.contains("Too many open files") && words.contains("(limits.fds, ulimit -n)"),
        "{words}"
    );
    assert_eq!(seen[1]["ok"]["parts"][0]["Text"], "one", "{}", seen[1]);
    assert_eq!(
        (output.spent("iterations"), output.spent("tokens"), place.asked()),
        (1, 120, 1),
        "nothing was sent"
    );
}

#[test]
fn f21_few_file_descriptors() {
    let recorded = Recorded::everything();
    let run = |most: u32| {
        let place = recorded.place();
        let host = recorded.host(&place).set("limits.start_wall", "500ms");
        (
            host.by(&format!("ulimit -n {most} && exec \"$0\" \"$@\"")).output(),
            place,
        )
    };
    End::printed(&run(64).0.expect(0)).assert_like(&recorded.end, "with 64 of them");
    let (output, place) = run(24);
    output
        .expect(1)
        .says(&["the run stopped", "limits.fds, ulimit -n", "hermes-host resume"]);
    assert_eq!(place.asked(), 0);
    // With more of them the next run is well.
    let output = recorded.host(&place).output().expect(0);
    End::printed(&output).assert_like(&recorded.end, "after one without");
    run(16).0.expect(2).says(&["Too many open files"]);
}

/// How many runs go on at once.
const RUNS: usize = 17;

/// So many runs that were stopped before their first answer.
fn stopped_runs() -> Place {
    let place = Place::new(holding("ROOT ONE", RUNS));
    let program = json!({ "steps": [ask("ROOT ONE"), ask("PAR ONE")] });
    let begun: Vec<_> = (0..RUNS).map(|_| place.home.host().probe(&program).start()).collect();
    place.server.wait_for(RUNS, LONG);
    begun.iter().for_each(|process| process.signal(Signal::INT));
    begun.into_iter().for_each(|process| drop(process.finish().expect(130)));
    place
}

/// Goes on with all of them at once.
fn resume_all(home: &Home) -> Host {
    let host = home.host().set("limits.resume_parallel", RUNS);
    let host = host.set("limits.start_wall", "500ms");
    host.args(["resume", "--all", "--output", "json"])
}

#[test]
fn f21_many_runs_and_few_file_descriptors() {
    let place = stopped_runs();
    let all = || resume_all(&place.home);
    // None begins, and none ends: what this machine lacks now is no run's end.
    let few = all().by("ulimit -n 24 && exec \"$0\" \"$@\"").output().expect(1);
    few.says(&["the run stopped", "limits.fds, ulimit -n", "hermes-host resume"]);
    assert_eq!(place.asked(), RUNS);
    let rest = all().output().expect(0).json();
    let ended: Vec<_> = rest.as_array().unwrap().iter().map(|run| &run["exit"]).collect();
    assert_eq!(ended, ["returned"; RUNS]);
    let sends = sends(&place.server);
    let times: Vec<usize> = sends.values().copied().collect();
    assert_eq!((times.len(), times.iter().sum()), (2 * RUNS, 3 * RUNS), "{sends:?}");
}

/// The runs in the output of `resume --all` that returned. What had no file descriptor there was told so, or is where it can go on.
#[track_caller]
fn returned(output: &Output) -> Vec<String> {
    let (mut returned, runs) = (Vec::new(), output.json());
    for run in runs.as_array().unwrap() {
        if run["exit"] != "returned" {
            assert_eq!(run["exit"], "interrupted", "{run}");
            continue;
        }
        for seen in run["result"]["seen"].as_array().unwrap() {
            let words = message(seen);
            assert!(
                refusal(seen).is_none() || words.contains("Too many open files"),
                "{seen}"
            );
        }
        returned.push(run["run"].as_str().unwrap().to_owned());
    }
    returned
}

#[test]
fn f21_many_runs_and_file_descriptors_for_some() {
    let place = stopped_runs();
    let some = resume_all(&place.home)
        .by("ulimit -n 64 && exec \"$0\" \"$@\"")
        .output();
    assert!(matches!(some.code, Some(0..=2)), "{:?}: {}", some.code, some.stderr);
    let ended = returned(&some);
    assert!(!ended.is_empty(), "none had what it needs: {}", some.stderr);
    let before = sends(&place.server);
    let rest = resume_all(&place.home).output().expect(0);
    assert_eq!(ended.len() + returned(&rest).len(), RUNS, "{}", some.stdout);
    let after = sends(&place.server);
    for (key, times) in &before {
        let is_over = ended.iter().any(|run| key.starts_with(run));
        assert!(!is_over || after[key] == *times, "{key} was sent again");
    }
}

/// How many writers one process has.
const WRITERS: usize = 32;

/// Which write of each of them asks for no version.
const UNCONDITIONAL: usize = 19;

/// Writers that each try to be the one that writes the next version, and on the way write one whatever it is.
fn writers(home: &Home) -> Host {
    let put = |n: Option<usize>| json!({ "do": "put", "space": 0, "key": "counter", "value": "x", "if_version": n });
    let mut steps = vec![json!({ "do": "open", "name": "shared" })];
    steps.extend((1..=UNCONDITIONAL).map(|n| put(Some(n))));
    steps.push(put(None));
    // A command's line takes no more of them.
    steps.extend((UNCONDITIONAL + 1..40).map(|n| put(Some(n))));
    let access = json!([{ "space": "shared", "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&json!({ "steps": steps, "summary": "done" })).with("spaces", access);
    let mut program = vec![json!({ "do": "open", "name": "shared" })];
    program.extend((0..WRITERS).map(|_| child.spawn()));
    program.extend((0..WRITERS).map(join));
    let host = home.host().args(["--deny", "llm", "--allow", "blackboard:shared"]);
    let host = host.set("limits.delegation.alive", WRITERS);
    host.probe(&json!({ "steps": program }))
}

/// The versions that these children wrote. Each wrote the one that it asked no version for, and whoever lost another was told of a conflict.
#[track_caller]
fn written(seen: &[Value]) -> Vec<u64> {
    let children = seen.iter().filter(|seen| seen["ok"]["exit"].is_string());
    let children: Vec<Vec<Value>> = children.map(|child| inside(child).split_off(1)).collect();
    assert_eq!(children.len(), WRITERS);
    let mut versions = Vec::new();
    for writes in &children {
        for (n, write) in writes.iter().enumerate() {
            let lost = n != UNCONDITIONAL && refusal(write).as_deref() == Some("conflict");
            assert!(lost || write["ok"].is_u64(), "write {n}: {write}");
            versions.extend(write["ok"].as_u64());
        }
    }
    versions
}

#[test]
fn f24_a_blackboard_from_two_processes() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.host()
        .args(["blackboard", "put", "shared", "counter", "x"])
        .output()
        .expect(0);
    let log = home.work().join("watched");
    let watch = home.host().args(["blackboard", "watch", "shared", "--output", "json"]);
    let watch = watch.by("exec \"$0\" \"$@\" > watched").start();
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let killed = Shim::new().rule("write", "-wal", When::At(600), &Action::KillBefore);
    let (one, mut two) = (writers(&home).start(), killed.on(writers(&home)).start());
    // Who looks meanwhile is answered, and holds up nobody.
    let mut looked = 0;
    while !two.has_ended() {
        let listed = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
        for run in listed.as_array().unwrap() {
            let run = run["run"].as_str().unwrap();
            let seen = shown(&home, run);
            assert_eq!(seen["run"], run, "{seen}");
            let tree = home.host().args(["tree", run]).output().expect(0).stdout;
            assert!(tree.contains(run), "{tree}");
            looked += 1;
        }
    }
    assert!(looked > 0, "it was too fast to be looked at");
    assert_eq!(two.finish().code, None, "it is killed on the way");
    let one = one.finish().expect(0);
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    let killed = runs
        .as_array()
        .unwrap()
        .iter()
        .find(|run| run["status"] != "completed")
        .unwrap();
    let two = resume(&home, killed["run"].as_str().unwrap()).output().expect(0);
    let mut all = [written(&one.seen()), written(&two.seen())].concat();
    all.sort_unstable();
    assert!(
        all.iter().copied().eq(2..all.len() as u64 + 2),
        "each version once, and none left out: {all:?}"
    );
    home.host()
        .args(["blackboard", "put", "shared", "last", "x"])
        .output()
        .expect(0);
    eventually("the last write", || {
        lines().last().filter(|line| line["key"] == "last").cloned()
    });
    watch.signal(Signal::INT);
    watch.finish().expect(0);
    let versions: Vec<u64> = lines().iter().map(|line| line["version"].as_u64().unwrap()).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(
        versions.last(),
        Some(&(all.len() as u64 + 2)),
        "one more than the counter's"
    );
}
