//! The process dies while runs are removed, while one is taken from a file, and while one is forked.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use hermes_tests::changed::saying;
use hermes_tests::shim::{Action, When};
use hermes_tests::{Home, Host, Shim, guests};
use serde_json::{Value, json};

use crate::moments;
use crate::place::{Files, Place, resume, shown};
use crate::program::{ask, script};
use crate::recorded::replays_the_same;

/// What is done to files beside writing to them.
const SELDOM: &str = "sync,truncate,rename,unlink";

/// Fills enough pages for the log to be written long before its transaction is committed.
fn program() -> Value {
    let put = |n: usize| json!({ "do": "put-bytes", "space": 0, "key": format!("k{n}"), "bytes": 60_000 });
    let mut steps = vec![json!({ "do": "open", "name": "notes" }), ask("ROOT ONE")];
    steps.extend((0..12).map(put));
    steps.extend([
        json!({ "do": "put", "space": 0, "key": "plan", "value": "one" }),
        ask("PAR ONE"),
        json!({ "do": "keys", "space": 0, "prefix": "", "limit": 99 }),
    ]);
    json!({ "steps": steps })
}

/// The runs of a home, the newest first.
fn runs(home: &Home) -> Vec<String> {
    let listed = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    let rows = listed.as_array().unwrap().iter();
    rows.map(|row| row["run"].as_str().unwrap().to_owned()).collect()
}

/// A place where so many runs came to their end, the newest first. It has a tool that no other has.
fn ran(times: usize) -> (Place, Vec<String>) {
    let place = Place::new(script());
    for n in 1..=times {
        let host = place.home.host();
        let host = match n == times {
            true => host.arg("--tool").arg(guests::built("probe-tool")),
            false => host,
        };
        host.probe(&program()).output().expect(0);
    }
    let runs = runs(&place.home);
    (place, runs)
}

/// Removes all runs.
fn prune(home: &Home) -> Host {
    home.host()
        .args(["runs", "prune", "--older-than", "0s", "--output", "json"])
}

/// What the host keeps in one of its folders.
fn kept(place: &Place, folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(place.dir().join(folder)).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[track_caller]
fn nothing_is_kept(place: &Place, moment: &str) {
    let all = ["runs", "components"].map(|folder| kept(place, folder));
    assert!(all.iter().all(Vec::is_empty), "{moment}: {all:?}");
}

/// Kills a command at every so manyth of these calls about the host's own files, each time with these files, until it comes to its end before that. Nothing
/// is damaged by it, or by what `then` does. What may still be left goes with the runs as soon as it is too old to be anybody's.
#[track_caller]
fn sweep(place: &Place, files: &Files, (calls, every): (&str, usize), command: &dyn Fn() -> Host, then: &dyn Fn(&str)) {
    let (begun, mut killed) = (Instant::now(), 0);
    let is_well = || drop(place.home.host().arg("doctor").output().expect(0));
    for n in moments(every) {
        place.restore(files);
        let shim = Shim::new().rule(calls, "*/host/", When::At(n), &Action::KillBefore);
        let moment = format!("killed at {calls} {n}");
        let output = shim.on(command()).output();
        is_well();
        then(&moment);
        is_well();
        let hour_later = Shim::new().clock(1, &[3_600]);
        hour_later.on(prune(&place.home)).output().expect(0);
        nothing_is_kept(place, &moment);
        if output.code.is_some() {
            output.expect(0);
            break;
        }
        killed += 1;
    }
    println!("{calls}: killed {killed} times, {:?}", begun.elapsed());
    assert!(killed > 0, "the faults met nothing");
}

#[test]
fn f03_kill_while_runs_are_removed() {
    let (place, all) = ran(3);
    let before: Vec<Value> = all.iter().map(|run| shown(&place.home, run)).collect();
    let files = place.files();
    let used = || {
        let report = prune(&place.home).arg("--dry-run").output().expect(0).json();
        report["after"]["used"].clone()
    };
    prune(&place.home).output().expect(0);
    let nothing = used();
    let then = |moment: &str| {
        // The oldest go first, and each of them whole.
        let left = runs(&place.home);
        assert!(all.starts_with(&left), "{moment}: {left:?} of {all:?}");
        for (run, before) in left.iter().zip(&before) {
            assert_eq!(shown(&place.home, run), *before, "{moment}");
            replays_the_same(&place.home, run, moment);
        }
        prune(&place.home).output().expect(0);
        assert_eq!(runs(&place.home), Vec::<String>::new(), "{moment}");
        nothing_is_kept(&place, moment);
        assert_eq!(used(), nothing, "{moment}");
    };
    for calls in [("write", 37), (SELDOM, 2)] {
        sweep(&place, &files, calls, &|| prune(&place.home), &then);
    }
}

#[test]
fn f03_kill_while_a_run_is_imported() {
    let (from, all) = ran(1);
    let run = &all[0];
    let file = from.home.work().join("run.jsonl");
    let export = from.home.host().args(["export", run, "--with-plugins", "--run-file"]);
    export.arg(&file).output().expect(0);
    let whole = shown(&from.home, run);
    let place = Place::new(script());
    let files = place.files();
    let import = || place.home.host().arg("import").arg(&file);
    let then = |moment: &str| {
        // All of it is there or nothing.
        let there = runs(&place.home);
        match there.is_empty() {
            true => drop(import().output().expect(0)),
            false => drop(import().output().expect(2).says(&["is here already"])),
        }
        assert_eq!(runs(&place.home), all, "{moment}: {there:?} before");
        let mut imported = shown(&place.home, run);
        imported["imported"] = whole["imported"].clone();
        assert_eq!(imported, whole, "{moment}");
        replays_the_same(&place.home, run, moment);
    };
    for calls in [("write", 167), (SELDOM, 5)] {
        sweep(&place, &files, calls, &import, &then);
    }
    assert_eq!(place.asked(), 0);
}

#[test]
fn f03_kill_while_a_run_is_forked() {
    let (place, all) = ran(1);
    let run = &all[0];
    let (before, files) = (shown(&place.home, run), place.files());
    // What it puts last but one is of another type: all before that is taken over.
    let other = saying(&place.home, &guests::built("probe"), "text/plain", "text/PLAIN");
    let fork = || {
        let fork = place.home.host().args(["replay", run, "--fork", "--output", "json"]);
        fork.arg("--plugin").arg(&other)
    };
    let whole = fork().output().expect(0).json()["result"].clone();
    let then = |moment: &str| {
        let mut there = runs(&place.home);
        assert_eq!(there.pop().as_ref(), Some(run), "{moment}");
        assert_eq!(shown(&place.home, run), before, "{moment}");
        // One that was made goes on; of one that was not there is nothing.
        assert!(there.len() <= 1, "{moment}: {there:?}");
        for made in &there {
            let output = resume(&place.home, made).output();
            match output.code {
                Some(2) => drop(output.says(&["it has ended"])),
                _ => assert_eq!(output.expect(0).json()["result"], whole, "{moment}"),
            }
        }
        assert_eq!(fork().output().expect(0).json()["result"], whole, "{moment}");
        assert_eq!(runs(&place.home).len(), there.len() + 2, "{moment}");
    };
    for calls in [("write", 167), (SELDOM, 2)] {
        sweep(&place, &files, calls, &fork, &then);
    }
    let asked = place.server.requests();
    let first = asked.iter().filter(|request| request.last().contains("ROOT ONE"));
    assert_eq!(first.count(), 1, "what was taken over is not bought again");
}
