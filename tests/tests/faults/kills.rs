//! The process dies, at every write of the journal and at any time.

use std::fs;
use std::path::Path;
use std::time::Instant;

use hermes_tests::shim::{Action, When};
use hermes_tests::{Host, Shim};
use rustix::process::Signal;
use serde_json::json;

use crate::place::{Place, newest, sends};
use crate::program::{ANSWERED, ask, script};
use crate::recorded::{Fate, Met, Recorded};
use crate::{LONG, Numbers, full, moments};

/// Dies at the n-th of these calls, for `every` so manyth, until a run comes to its end before that.
fn sweep(recorded: &Recorded, calls: &str, path: &str, action: &Action, every: usize) {
    let begun = Instant::now();
    let (mut cases, mut resumed) = (0, 0);
    for n in moments(every) {
        let shim = Shim::new().rule(calls, path, When::At(n), action);
        let moment = format!("{action:?} at {calls} {n} of {path}");
        let fate = recorded.ends_well(&recorded.place(), &[Met::kill(shim)], &moment);
        cases += 1;
        resumed += usize::from(fate == Fate::Resumed);
        if fate == Fate::Unbroken {
            break;
        }
    }
    println!(
        "{action:?} at {calls} of {path}: {cases} cases, {resumed} resumed, {:?}",
        begun.elapsed()
    );
    assert!(resumed > 0, "the faults met nothing");
}

#[test]
fn f01_kill_before_a_journal_write() {
    sweep(&Recorded::everything(), "write", "-wal", &Action::KillBefore, 29);
}

#[test]
fn f01_kill_after_a_journal_write() {
    sweep(&Recorded::everything(), "write", "-wal", &Action::KillAfter, 31);
}

#[test]
fn f01_kill_in_the_midst_of_a_journal_write() {
    // A frame of the log is a header of 24 bytes and a page of 4,096: 11 bytes are half of the one and little of the other.
    sweep(&Recorded::everything(), "write", "-wal", &Action::Tear(11), 37);
}

#[test]
fn f01_kill_where_no_write_is_synced() {
    // What a killed process wrote is in the system's hands, whoever syncs.
    let recorded = Recorded::configured("durability = \"process\"");
    sweep(&recorded, "write", "-wal", &Action::KillBefore, 61);
    let place = recorded.place();
    let shim = Shim::new().rule("sync", "-wal", When::Always, &Action::Count);
    shim.on(recorded.host(&place)).output().expect(0);
    // Where the log is begun and where it is emptied, and at none of the outcomes.
    assert!(shim.count(0) <= 2, "{} syncs", shim.count(0));
}

#[test]
fn f02_kill_between_intent_and_outcome() {
    // Every sync is one of an outcome, of a write to the blackboard or of a step in a session's life.
    let recorded = Recorded::everything();
    sweep(&recorded, "sync", "-wal", &Action::KillBefore, 3);
    sweep(&recorded, "sync", "-wal", &Action::KillAfter, 3);
}

/// What tools do outside of the host: none of it once more than it may be.
#[test]
fn f01_kill_before_a_journal_write_while_tools_reach_out() {
    sweep(&Recorded::reaching_out(), "write", "-wal", &Action::KillBefore, 13);
}

#[test]
fn f02_kill_between_intent_and_outcome_of_what_tools_reach() {
    let recorded = Recorded::reaching_out();
    sweep(&recorded, "sync", "-wal", &Action::KillBefore, 2);
    sweep(&recorded, "sync", "-wal", &Action::KillAfter, 3);
}

#[test]
fn f02_kill_when_the_model_is_asked() {
    let recorded = Recorded::everything();
    let (mut rounds, mut met) = (0, 0);
    for n in moments(2).take_while(|n| *n <= recorded.asked.len()) {
        let place = recorded.place();
        let process = recorded.host(&place).start();
        place.server.wait_for(n, LONG);
        process.signal(Signal::KILL);
        let code = process.finish().code;
        let fate = recorded.ends_well(&place, &[], &format!("killed at request {n}"));
        // It may be over before the signal comes.
        rounds += 1;
        met += usize::from((code, fate) == (None, Fate::Unbroken));
    }
    println!("killed in {met} of {rounds} rounds");
    assert!(met * 2 >= rounds, "the faults met too little: {met} of {rounds}");
}

#[test]
fn f02_kill_when_one_answer_is_kept_and_not_yet_asked_for() {
    // The guest waits for the second of two completions, whose answer doesn't come; the first has its outcome.
    let recorded = Recorded::everything();
    let place = recorded.killed_while("PAR TWO", ANSWERED);
    recorded.ends_well(&place, &[], "one kept, one under way");
    let sends = sends(&place.server);
    let twice: Vec<&String> = sends.iter().filter(|(_, n)| **n == 2).map(|(key, _)| key).collect();
    assert_eq!(twice.len(), 1, "{sends:?}");
    let of_two = place.server.requests();
    let of_two = of_two.iter().filter(|request| request.last().contains("PAR TWO"));
    assert!(
        of_two.clone().count() == 2
            && of_two
                .into_iter()
                .all(|r| r.header("idempotency-key") == Some(twice[0]))
    );
}

/// Writes enough for the log to be copied into the database meanwhile: from 4 MiB on. Each value takes the place of one of another length, so that few pages
/// are copied each time, and every one of them can be met.
pub(crate) fn bulky() -> Recorded {
    let put = |bytes: usize| json!({ "do": "put-bytes", "space": 0, "key": "k", "bytes": bytes });
    let puts = json!({ "do": "repeat", "n": 20, "until_error": true, "steps": [put(60_000), put(50_000)] });
    let mut steps = vec![json!({ "do": "open", "name": "notes" })];
    for asked in ["ROOT ONE", "PAR ONE", "PAR TWO"] {
        steps.extend([puts.clone(), ask(asked)]);
    }
    steps.push(json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 0 }));
    Recorded::of(json!({ "steps": steps }), script())
}

#[test]
fn f03_kill_in_a_checkpoint() {
    let recorded = bulky();
    sweep(&recorded, "write,truncate", "hermes.db", &Action::KillBefore, 29);
    sweep(&recorded, "write,truncate", "hermes.db", &Action::Tear(2048), 47);
    sweep(&recorded, "sync", "hermes.db", &Action::KillBefore, 1);
}

#[test]
fn f03_kill_where_a_file_gets_its_name() {
    let recorded = Recorded::everything();
    sweep(&recorded, "rename", "*/components/", &Action::KillBefore, 1);
    sweep(&recorded, "rename", "*/components/", &Action::KillAfter, 1);
}

/// Writes a run to a file.
fn export(place: &Place, run: &str, file: &Path) -> Host {
    let host = place.home.host();
    host.args(["export", run, "--with-plugins", "--run-file"]).arg(file)
}

#[test]
fn f03_kill_where_an_export_gets_its_name() {
    let recorded = Recorded::everything();
    for (action, is_there) in [(Action::KillBefore, false), (Action::KillAfter, true)] {
        let place = recorded.killed_while("PAR TWO", ANSWERED);
        let run = newest(&place.home).unwrap();
        let file = |name: &str| place.home.work().join(name);
        let shim = Shim::new().rule("link", "run.jsonl", When::At(1), &action);
        let killed = shim.on(export(&place, &run, &file("run.jsonl"))).output();
        assert_eq!(
            (killed.code, file("run.jsonl").exists()),
            (None, is_there),
            "{action:?}"
        );
        export(&place, &run, &file("whole.jsonl")).output().expect(0);
        let again = export(&place, &run, &file("run.jsonl")).output();
        if is_there {
            again.expect(2).says(&["it is there already"]);
        } else {
            again.expect(0);
        }
        let bytes = |name: &str| fs::read(file(name)).unwrap();
        assert!(bytes("run.jsonl") == bytes("whole.jsonl"), "{action:?}: no half file");
        recorded.ends_well(&place, &[], &format!("{action:?} where an export gets its name"));
    }
}

#[test]
fn f03_kill_while_a_run_is_exported() {
    let recorded = Recorded::everything();
    let place = recorded.place();
    recorded.host(&place).output().expect(0);
    let run = place.home.newest_run();
    let export = |file: &Path| export(&place, &run, file);
    let whole = place.home.work().join("whole.jsonl");
    export(&whole).output().expect(0);
    let whole = fs::read(whole).unwrap();
    let file = place.home.work().join("run.jsonl");
    let mut killed = 0;
    for n in moments(53) {
        let shim = Shim::new().rule("write,sync", ".draft", When::At(n), &Action::KillBefore);
        let output = shim.on(export(&file)).output();
        if output.code.is_some() {
            output.expect(0);
            break;
        }
        assert!(!file.exists(), "killed at call {n}: half a file");
        killed += 1;
    }
    assert!(killed > 0, "the faults met nothing");
    assert!(
        fs::read(file).unwrap() == whole,
        "nothing of the earlier drafts is in it"
    );
}

#[test]
fn f18_kill_again_while_resuming() {
    let recorded = Recorded::everything();
    let counted = Shim::new().rule("write", "-wal", When::Always, &Action::Count);
    counted.on(recorded.host(&recorded.place())).output().expect(0);
    let writes = counted.count(0);
    let (mut numbers, rounds) = (Numbers::new(18), if full() { 200 } else { 8 });
    let mut twice = 0;
    for round in 0..rounds {
        // A quarter of the run at least is left to the second process.
        let places = [numbers.below(writes * 3 / 4) + 1, numbers.below(writes / 8) + 1];
        let kills = places.map(|n| Met::kill(Shim::new().rule("write", "-wal", When::At(n), &Action::KillBefore)));
        recorded.ends_well(&recorded.place(), &kills, &format!("round {round}: {places:?}"));
        let met = kills.iter().zip(places).filter(|(kill, n)| kill.shim.count(0) >= *n);
        twice += usize::from(met.count() == 2);
    }
    println!("killed twice in {twice} of {rounds} rounds, {writes} writes in all");
    assert!(twice >= rounds / 2, "the faults met too little: {twice} of {rounds}");
}

#[test]
fn f18_kill_at_any_time() {
    let recorded = Recorded::everything();
    let (mut numbers, rounds) = (Numbers::new(81), if full() { 200 } else { 8 });
    let mut resumed = 0;
    for round in 0..rounds {
        let part = numbers.below(1000);
        let time = recorded.took * u32::try_from(part).unwrap() / 1000;
        let kill = Met::kill(Shim::new().killed_after(time));
        let fate = recorded.ends_well(&recorded.place(), &[kill], &format!("round {round}: at {time:?}"));
        resumed += usize::from(fate == Fate::Resumed);
    }
    println!("resumed in {resumed} of {rounds} rounds");
    assert!(
        resumed >= rounds / 4,
        "the faults met too little: {resumed} of {rounds}"
    );
}
