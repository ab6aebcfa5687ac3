//! A run as one file: it shows and replays the same elsewhere, without network, keys or configuration; and what is not such a file is refused, and
//! nothing of it is kept.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hermes_host::scrub::BEHIND;
use hermes_tests::changed::saying;
use hermes_tests::child::{ChildSpec, join};
use hermes_tests::home::{KEY, KEY_VARIABLE};
use hermes_tests::interrupted::{killed, stopped, taken_meanwhile, waiting};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::program::{ask, steps};
use hermes_tests::shim::{Action, When};
use hermes_tests::{Home, Host, Output, Shim, guests};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// A run of an agent with a child, a tool that asks a model, a long text that is kept whole, and notes, one of them removed.
fn program() -> Value {
    let child = ChildSpec::probe(&json!({ "steps": [ask("CHILD")], "summary": "x".repeat(30_000) }));
    steps(&[
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "put", "space": 0, "key": "a", "value": "one" }),
        json!({ "do": "put", "space": 0, "key": "b", "value": "two" }),
        json!({ "do": "delete", "space": 0, "key": "a" }),
        ask("ROOT"),
        child.spawn(),
        join(0),
        json!({ "do": "call", "name": "probe", "arguments": { "steps": [{ "do": "info" }, ask("TOOL")] } }),
    ])
}

/// A home with such a run, and the run.
fn ran() -> (ModelServer, Home, String) {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    host.args(["--allow", "llm"]).probe(&program()).output().expect(0);
    let run = home.newest_run();
    (server, home, run)
}

fn export(home: &Home, run: &str, name: &str, more: &[&str]) -> PathBuf {
    let host = home.host().args(["export", run, "--run-file", name]).args(more);
    host.output().expect(0);
    home.work().join(name)
}

/// A home of somebody who has nothing but the compiled code, which only saves the test's time.
fn elsewhere() -> Home {
    let home = Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi);
    fs::remove_file(home.path().join("host/config.toml")).unwrap();
    home
}

fn import(home: &Home, file: &Path) -> Output {
    home.host()
        .without(KEY_VARIABLE)
        .arg("import")
        .arg(file)
        .args(["--output", "json"])
        .output()
}

fn note(home: &Home, run: &str, key: &str) -> String {
    let host = home.host().args(["blackboard", "get", &format!("{run}/notes"), key]);
    host.output().expect(0).stdout
}

#[test]
fn it_is_the_same_run_on_another_machine() {
    let (server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let there = elsewhere();
    let asked = server.requests().len();
    drop(server);
    let imported = import(&there, &file).expect(0).json();
    assert_eq!((&imported["run"], &imported["view_only"]), (&json!(run), &json!(false)));
    assert_eq!(imported["missing"], json!([]));
    let replayed = there
        .host()
        .without(KEY_VARIABLE)
        .args(["replay", &run, "--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!((&replayed["same"], &replayed["agents"]), (&json!(true), &json!(2)));
    assert_eq!(replayed["answer"], "done");
    assert!(asked >= 3);
    let (before, mut after) = (home.shown(&run), there.shown(&run));
    assert_eq!(after["imported"]["view_only"], json!(false));
    after["imported"] = Value::Null;
    assert_eq!(before, after);
    assert_eq!(note(&there, &run, "b"), "two");
    let of = |home: &Home, space: &str| {
        let list = home
            .host()
            .args(["blackboard", "ls", &format!("{run}/{space}"), "--output", "json"]);
        list.output().expect(0).json()
    };
    for space in ["notes", "spill"] {
        assert_eq!(of(&home, space), of(&there, space), "{space}");
    }
    let tree = there.host().args(["tree", &run]).output().expect(0).stdout;
    assert!(tree.contains("imported"), "{tree}");
    // The chain and the anchor are this home's own.
    let doctor = there.host().arg("doctor").output();
    assert!(
        !doctor.stdout.contains("damaged") && !doctor.stderr.contains("damaged"),
        "{doctor:?}"
    );
    // Out again, it holds the same records.
    let again = export(&there, &run, "again.jsonl", &["--with-plugins"]);
    let records = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .filter(|line| line.starts_with("{\"record\"") || line.starts_with("{\"body\""))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(records(&file), records(&again));
}

#[test]
fn without_its_plugins_a_replay_says_which_are_missing() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let there = elsewhere();
    let imported = import(&there, &file).expect(0).json();
    let missing: Vec<&str> = imported["missing"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|m| m["name"].as_str())
        .collect();
    assert!(
        missing.contains(&"probe") && missing.contains(&"probe-tool"),
        "{imported}"
    );
    let digest = imported["missing"][0]["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    there
        .host()
        .args(["replay", &run])
        .output()
        .expect(2)
        .says(&["is not here"]);
    there.host().args(["show", &run]).output().expect(0);
    // A run that used them brings them.
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let third = Home::with_model(&server, Format::OpenAi);
    let host = third.host().arg("--tool").arg(guests::built("probe-tool"));
    host.probe(&steps(&[])).output().expect(0);
    assert_eq!(import(&third, &file).expect(0).json()["missing"], json!([]));
    third.host().args(["replay", &run]).output().expect(0);
}

/// Which plugins it has its records say: a row that names one may be damaged.
#[test]
fn its_plugins_go_along_also_where_no_row_names_them() {
    for damage in ["DELETE FROM component", "UPDATE component SET run = run + 64"] {
        let (_server, home, run) = ran();
        let database = Connection::open(home.path().join("host/hermes.db")).unwrap();
        assert!(database.execute(damage, []).unwrap() > 1);
        database.close().unwrap();
        let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
        let there = elsewhere();
        assert_eq!(import(&there, &file).expect(0).json()["missing"], json!([]), "{damage}");
        there.host().args(["replay", &run]).output().expect(0);
    }
}

#[test]
fn without_the_bytes_of_its_plugins_there_is_no_file_with_them() {
    let (_server, home, run) = ran();
    let place = |name: &str| {
        let digest = sha256(&fs::read(guests::built(name)).unwrap());
        home.path().join(format!("host/components/{digest}.wasm"))
    };
    let (strategy, tool) = (place("probe"), place("probe-tool"));
    let refused = |words: &[String]| {
        let host = home
            .host()
            .args(["export", &run, "--run-file", "run.jsonl", "--with-plugins"]);
        let output = host.args(["--output", "json"]).output().expect(1);
        let output = output.of_kind("journal-damaged");
        let told = output.json()["error"].to_string();
        for word in words {
            assert!(told.contains(word), "{word}: {told}");
        }
        let left = fs::read_dir(home.work()).unwrap().map(|file| file.unwrap().file_name());
        let left: Vec<_> = left
            .filter(|name| name.to_string_lossy().contains("run.jsonl"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    };
    let bytes = fs::read(&tool).unwrap();
    fs::write(&tool, &bytes[1..]).unwrap();
    let damaged = format!("the bytes of probe-tool are damaged ({})", tool.display());
    refused(&["can't be exported with its plugins".to_owned(), damaged.clone()]);
    // All are named, also those that a person has to put back next.
    fs::remove_file(&strategy).unwrap();
    let missing = format!("the bytes of probe are missing ({})", strategy.display());
    refused(&[damaged, missing]);
    let file = export(&home, &run, "run.jsonl", &[]);
    let missing = import(&elsewhere(), &file).expect(0).json()["missing"].clone();
    let named = |name: &str| missing.as_array().unwrap().iter().any(|m| m["name"] == name);
    assert!(named("probe") && named("probe-tool"), "{missing}");
}

#[test]
fn what_the_first_line_of_a_file_leaves_out_its_records_name() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let whole = fs::read(&file).unwrap();
    let mut lines: Vec<Vec<u8>> = whole
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    lines.pop();
    let mut header: Value = serde_json::from_slice(&lines[0]).unwrap();
    assert!(header["plugins"].as_array().unwrap().len() > 1, "{header}");
    header["plugins"] = json!([]);
    lines[0] = format!("{header}\n").into_bytes();
    let forged = home.write("forged.jsonl", sealed(&lines));
    // The same is missing as where it names them.
    let missing = |file: &Path| import(&elsewhere(), file).expect(0).json()["missing"].clone();
    assert_eq!(missing(&forged), missing(&file));
    // And what is here is kept for the run.
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let third = Home::with_model(&server, Format::OpenAi);
    let host = third.host().arg("--tool").arg(guests::built("probe-tool"));
    host.probe(&steps(&[])).output().expect(0);
    assert_eq!(import(&third, &forged).expect(0).json()["missing"], json!([]));
    third.host().args(["replay", &run]).output().expect(0);
    let database = Connection::open(third.path().join("host/hermes.db")).unwrap();
    let named = "SELECT count(*) FROM component c JOIN run r ON r.no = c.run WHERE r.id = ?1";
    let named: i64 = database.query_row(named, [&run], |row| row.get(0)).unwrap();
    assert!(named > 1, "{named}");
}

#[test]
fn a_pipe_is_no_run_file_and_is_not_waited_for() {
    let home = elsewhere();
    let pipe = home.work().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let refused = home.host().arg("import").arg(&pipe).output();
    refused.expect(2).says(&["pipe", "it is no file"]);
    nothing_is_kept(&home);
}

#[test]
fn a_file_may_have_as_long_a_name_as_any_file() {
    let (_server, home, run) = ran();
    let name = |bytes: usize| format!("{}.jsonl", "ä".repeat((bytes - 6) / 2) + &"a".repeat(bytes % 2));
    for bytes in [240, 254, 255] {
        assert_eq!(name(bytes).len(), bytes);
        assert!(export(&home, &run, &name(bytes), &[]).is_file(), "{bytes}");
    }
    let host = home.host().args(["export", &run, "--run-file", &name(256)]);
    host.output().expect(2).says(&["File name too long"]);
    let drafts = fs::read_dir(home.work()).unwrap().map(|file| file.unwrap().file_name());
    let drafts: Vec<_> = drafts
        .filter(|name| name.to_string_lossy().ends_with(".draft"))
        .collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}

#[test]
fn plugins_in_the_binary_are_here_and_hints_are_for_what_can_be_done() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("It is one.")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let process = home
        .host()
        .run(&guests::plugin("research"), "What limits growth?")
        .start();
    server.wait_for(1, LONG);
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    let file = export(&home, &run, "run.jsonl", &[]);
    let there = Home::with_model(&server, Format::OpenAi);
    let told = there.host().arg("import").arg(&file).output().expect(0);
    let told = told.says(&["hermes-host show", "hermes-host replay", "hermes-host resume"]);
    assert!(!told.stderr.contains("neither in the file nor here"), "{}", told.stderr);
    there.host().args(["replay", &run]).output().expect(0);
    let resumed = there.host().args(["resume", &run]).output();
    assert!(resumed.stdout.contains("It is one."), "{resumed:?}");
    // A stream can't be read twice, or moved to its place.
    home.host()
        .args(["import", "-"])
        .output()
        .expect(2)
        .says(&["can't be a stream"]);
    let stream = home.host().args(["export", &run, "--run-file", "-"]).output();
    stream.expect(2).says(&["can't be a stream"]);
}

#[test]
fn a_run_that_is_here_stays_as_it_is() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let before = home.shown(&run);
    import(&home, &file).expect(2).says(&[&run, "is here already"]);
    assert_eq!(home.shown(&run), before);
    let again = home.host().args(["export", &run, "--run-file", "run.jsonl"]).output();
    again.expect(2).says(&["it is there already"]);
    let there = elsewhere();
    import(&there, &file).expect(0);
    import(&there, &file).expect(2).says(&["is here already"]);
}

#[test]
fn a_run_that_was_killed_goes_on_elsewhere() {
    let (server, home, process, run) = waiting();
    let owned = home.host().args(["export", &run, "--run-file", "run.jsonl"]).output();
    let ways = format!("hermes-host cancel {run}");
    owned.expect(2).says(&[&run, "is owned by process", &ways]);
    process.signal(Signal::KILL);
    process.finish();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let there = Home::with_model(&server, Format::OpenAi);
    import(&there, &file).expect(0);
    let resumed = there
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(resumed.seen()[1]["ok"]["parts"][0]["Text"], "two");
    assert_eq!(server.requests().len(), 3, "the first is not asked again");
}

/// A core module with a typed function reference, as a section of a component.
const TYPED: &[u8] =
    b"\x01\x1d\0asm\x01\0\0\0\x01\x09\x02\x60\0\0\x60\x01\x63\0\0\x03\x02\x01\x01\x0a\x04\x01\x02\0\x0b";

#[test]
fn a_plugin_in_a_file_gets_no_feature_that_is_off() {
    let (server, home, run) = killed();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let probe = fs::read(guests::built("probe")).unwrap();
    let forged = [&probe[..], TYPED].concat();
    let refused = home
        .host()
        .arg("inspect")
        .arg(home.write("forged.wasm", &forged))
        .output();
    refused.expect(2).says(&["needs typed function references"]);
    // The run of a host that would have taken it.
    fs::write(&file, with_another_plugin(&fs::read(&file).unwrap(), &probe, &forged)).unwrap();
    let there = Home::with_model(&server, Format::OpenAi);
    import(&there, &file).expect(0);
    for command in ["replay", "resume"] {
        let output = there.host().args([command, &run]).output();
        assert_ne!(output.code, Some(0), "{command}: {}", output.stdout);
        output.says(&["function references"]);
    }
    assert_eq!(server.requests().len(), 2, "it has run");
    there.host().args(["show", &run]).output().expect(0);
}

/// A run file that has one plugin in the place of another, wherever it names it.
fn with_another_plugin(file: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let (was, is) = (sha256(old), sha256(new));
    let raw = |hex: &str| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..64).step_by(2).map(byte).collect()
    };
    let rename = |bytes: &[u8]| {
        let bytes = replaced(bytes, &raw(&was), &raw(&is));
        replaced(&bytes, was.as_bytes(), is.as_bytes())
    };
    let encoded = |bytes: &[u8]| String::from_utf8(base64(bytes, &["-w0"])).unwrap();
    let (mut lines, mut replaces, mut found) = (Vec::new(), false, 0);
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let mut line: Value = serde_json::from_slice(line).unwrap();
        let (key, value) = line.as_object_mut().unwrap().iter_mut().next().unwrap();
        match key.as_str() {
            "end" => continue,
            "piece" if replaces => continue,
            "component" => {
                replaces = value["digest"] == was.as_str();
                if replaces {
                    found += 1;
                    lines.push(json!({ "component": { "digest": is, "bytes": new.len() } }));
                    lines.extend(new.chunks(200 << 10).map(|piece| json!({ "piece": encoded(piece) })));
                    continue;
                }
            }
            "row" | "body" | "record" | "entry" => {
                let bytes = base64(value.as_str().unwrap(), &["-d"]);
                *value = encoded(&rename(&bytes)).into();
            }
            _ => line = serde_json::from_slice(&rename(line.to_string().as_bytes())).unwrap(),
        }
        lines.push(line);
    }
    assert_eq!(found, 1, "the file has the plugin");
    let lines: Vec<Vec<u8>> = lines.iter().map(|line| format!("{line}\n").into_bytes()).collect();
    sealed(&lines)
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(old.len() - 1) {
        if &bytes[at..at + old.len()] == old {
            out[at..at + old.len()].copy_from_slice(new);
        }
    }
    out
}

#[test]
fn a_run_that_is_taken_while_it_is_exported_makes_no_torn_file() {
    let (_server, home, run) = killed();
    // It has seen that nobody owns the run, and stops before it reads the first of it.
    let shim = Shim::new().rule(
        "open",
        "*.torn.jsonl",
        When::At(1),
        &Action::Delay(Duration::from_secs(2)),
    );
    let host = home.host().args(["export", &run, "--run-file", "torn.jsonl"]);
    let exported = taken_meanwhile(&home, &run, &shim, host);
    exported.expect(2).says(&[&run, "taken by another process meanwhile"]);
    let left = fs::read_dir(home.work()).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("torn")).collect();
    assert!(left.is_empty(), "{left:?}");
    export(&home, &run, "torn.jsonl", &[]);
}

/// What a record refers to and is not there is damage, and not something that was never kept.
#[test]
fn a_run_that_has_lost_a_message_makes_no_file() {
    for lost in ["ROOT", "two"] {
        let (_server, home, run) = ran();
        let database = Connection::open(home.path().join("host/hermes.db")).unwrap();
        let holds = "DELETE FROM body WHERE instr(data, CAST(?1 AS BLOB)) > 0";
        assert!(database.execute(holds, [lost]).unwrap() > 0, "{lost}");
        database.close().unwrap();
        let output = home.host().args(["export", &run, "--run-file", "run.jsonl"]).output();
        output.expect(1).says(&["is damaged", "the body", "is missing"]);
        assert!(!home.work().join("run.jsonl").exists(), "{lost}");
    }
}

#[test]
fn a_file_grants_nothing_here() {
    let script = Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("late"));
    for grant in ["fs:./papers", "net:example.org", "blackboard:shared"] {
        let server = ModelServer::start(script.clone());
        let home = Home::with_model(&server, Format::OpenAi);
        home.write("papers/a.md", "a");
        let (run, there) = killed_and_imported(&server, &home, grant);
        for command in [&["resume", &run][..], &["replay", &run, "--fork"]] {
            let refused = there.host().args(command).output().expect(2);
            refused.says(&["a file grants nothing of this machine"]);
        }
        there.host().args(["replay", &run]).output().expect(0);
        let all = there.host().args(["resume", "--all"]).output().expect(0);
        drop(all.says(&["no run waits to go on"]));
        let shown = there.host().args(["show", &run]).output().expect(0).stdout;
        assert!(!shown.contains("hermes-host resume"), "{shown}");
        assert_eq!(server.requests().len(), 1, "{grant}");
        home.host().args(["resume", &run]).output().expect(0);
    }
}

/// A run with this grant that was killed while it asked its model, and another home that it was imported to.
fn killed_and_imported(server: &ModelServer, home: &Home, grant: &str) -> (String, Home) {
    let host = home.host().args(["--allow", grant]);
    let process = host.probe(&steps(&[ask("ONE")])).start();
    server.wait_for(1, LONG);
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    let file = export(home, &run, "run.jsonl", &["--with-plugins"]);
    let there = Home::with_model(server, Format::OpenAi);
    import(&there, &file).expect(0);
    (run, there)
}

/// Whoever gives up what damage took does not take a stranger's run for their own.
#[test]
fn a_file_grants_nothing_here_when_the_row_of_its_run_is_lost() {
    let server = ModelServer::start(Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("late")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.md", "a");
    let (run, there) = killed_and_imported(&server, &home, "fs:./papers");
    let damage = |home: &Home, change: &str| {
        let database = Connection::open(home.path().join("host/hermes.db")).unwrap();
        assert_eq!(database.execute(change, []).unwrap(), 1);
        database.close().unwrap();
    };
    let row = "UPDATE run SET sum = sum + 1";
    // Its epoch is lost and made anew, and then its row; and both at once.
    for change in [
        row,
        "UPDATE run SET epoch = -1",
        row,
        "UPDATE run SET sum = sum + 1, epoch = -1",
    ] {
        damage(&there, change);
        let refused = there.host().args(["resume", &run, "--accept-loss"]).output().expect(2);
        refused.says(&["a file grants nothing of this machine"]);
    }
    assert_eq!(server.requests().len(), 1);
    // One that began here is its own.
    damage(&home, row);
    home.host().args(["resume", &run, "--accept-loss"]).output().expect(0);
}

/// A run whose model is a script, killed when it was answered once.
fn killed_with_a_script(home: &Home) -> String {
    home.write("script.toml", "[[turn]]\nreply = { text = \"one\" }\n");
    let waits = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 100_000 });
    let program = steps(&[ask("ONE"), json!({ "do": "open", "name": "notes" }), waits]);
    let process = home.host().args(["--script", "script.toml"]).probe(&program).start();
    let answered = || {
        let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
        let run = runs[0]["run"].as_str()?.to_owned();
        let first = home.shown(&run)["agents"][0]["operations"][0]["status"].clone();
        (first == "done").then_some(run)
    };
    let begun = Instant::now();
    let run = loop {
        if let Some(run) = answered() {
            break run;
        }
        assert!(begun.elapsed() < LONG, "the script was never asked");
    };
    process.signal(Signal::KILL);
    process.finish();
    run
}

/// A script is a file of the machine where the run began.
#[test]
fn a_run_of_a_script_goes_on_only_where_it_ran() {
    let home = Home::new();
    let run = killed_with_a_script(&home);
    let shown = |home: &Home| home.host().args(["show", &run]).output().expect(0).stdout;
    assert!(shown(&home).contains("hermes-host resume"), "{}", shown(&home));
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let there = elsewhere();
    let told = there.host().arg("import").arg(&file).output().expect(0);
    let told = told.says(&["hermes-host show", "hermes-host replay"]);
    assert!(!told.stderr.contains("resume"), "{}", told.stderr);
    assert_eq!(import(&elsewhere(), &file).expect(0).json()["can_go_on"], false);
    assert!(!shown(&there).contains("hermes-host resume"), "{}", shown(&there));
    for command in [&["resume", &run][..], &["replay", &run, "--fork"]] {
        let refused = there.host().args(command).output().expect(2);
        refused.says(&["its model is a script of the machine where it ran"]);
    }
    there.host().args(["replay", &run]).output().expect(0);
}

/// What it may cost is for the operator of this machine to say.
#[test]
fn an_imported_run_costs_what_it_costs_here_within_what_it_may_cost_here() {
    let script = Script::from([Turn::text("one"), Turn::fault(Fault::StallMidStream)]).then(Turn::text("more"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "do": "repeat", "n": 9, "until_error": true, "steps": [ask("AGAIN")] });
    let price = [
        "--set",
        "models.\"test/model\".price={ input_usd_per_mtok = 0.0, output_usd_per_mtok = 0.0 }",
    ];
    let process = home.host().args(price).probe(&steps(&[program])).start();
    server.wait_for(2, LONG);
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let there = Home::with_model(&server, Format::OpenAi);
    import(&there, &file).expect(0);
    let all = there.host().args(["resume", "--all"]).output().expect(0);
    all.says(&["no run waits to go on"]);
    for (way, asked) in [(&["replay", &run, "--fork"][..], 5), (&["resume", &run][..], 8)] {
        let host = there.host().args(way).set("budget", "iterations=4");
        let ended = host.args(["--output", "json"]).output().expect(3);
        assert_eq!((ended.spent("iterations"), server.requests().len()), (4, asked));
        assert!(ended.spent("cost_micro_usd") > 0, "{}", ended.stdout);
    }
}

/// What was set aside for a child where it ran is not money of this machine.
#[test]
fn a_child_out_of_a_file_spends_what_this_host_gives_it() {
    let script = Script::from([Turn::text("one"), Turn::fault(Fault::StallMidStream)]).then(Turn::text("more"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let asks = json!({ "do": "repeat", "n": 60, "until_error": true, "steps": [ask("AGAIN")] });
    let child = ChildSpec::probe(&steps(&[asks]))
        .limit("Iterations", 60)
        .limit("Tokens", 1_000_000_000)
        .limit("CostMicroUsd", 1_000_000_000);
    let process = home.host().probe(&steps(&[child.spawn(), join(0)])).start();
    server.wait_for(2, LONG);
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    // It made one of its iterations where it ran, and what was under way is asked again.
    for (budget, most) in [("child.iterations=4", 3), ("tokens=1", 1), ("tree.tokens=1", 1)] {
        let there = Home::with_model(&server, Format::OpenAi);
        import(&there, &file).expect(0);
        let before = server.requests().len();
        there.host().args(["resume", &run]).set("budget", budget).output();
        let asked = server.requests().len() - before;
        assert!((1..=most).contains(&asked), "{budget}: {asked}");
    }
}

/// A file's limits are the word of whoever wrote it.
#[test]
fn a_file_allows_no_more_than_the_limits_here_unless_that_is_said() {
    let script = Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("late"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    // 64 MiB are 1,024 pages.
    let program = steps(&[ask("ONE"), json!({ "do": "allocate", "pages": 1_500 })]);
    let process = home.host().probe(&program).start();
    server.wait_for(1, LONG);
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let whole = fs::read(&file).unwrap();
    let with_memory = |mebibytes: u64| {
        let forged = with_limit(&whole, "memory", 64 << 20, mebibytes << 20);
        fs::write(&file, forged).unwrap();
        let there = Home::with_model(&server, Format::OpenAi);
        import(&there, &file).expect(0);
        there
    };
    let there = with_memory(128);
    for command in [&["resume", &run][..], &["replay", &run], &["replay", &run, "--fork"]] {
        let refused = there.host().args(command).output().expect(2);
        refused.says(&[
            "limits.memory is 128 MiB there and 64 MiB here",
            "--set limits.memory=128MiB",
        ]);
    }
    assert_eq!(server.requests().len(), 1, "nothing is sent");
    let offered = |host: Host| host.output().expect(0).stdout.contains("hermes-host resume");
    let show = || there.host().args(["show", &run]);
    assert!(!offered(show()), "what is refused is not offered");
    assert!(offered(show().set("limits.memory", "128MiB")));
    let accepted = |command: &str| {
        let host = there.host().args([command, &run]).set("limits.memory", "128MiB");
        host.args(["--output", "json"]).output().expect(0)
    };
    assert_eq!(accepted("replay").json()["same"], true);
    assert_eq!(accepted("resume").seen()[1]["ok"][0], 1_500);
    // One that is tighter is the run's own.
    let there = with_memory(32);
    there.host().args(["replay", &run]).output().expect(0);
    let resumed = there.host().args(["resume", &run, "--output", "json"]);
    let pages = resumed.output().expect(0).seen()[1]["ok"][0].as_u64().unwrap();
    assert!(pages < 512, "{pages}");
}

/// A run file whose run began with another value of a limit, which is as long in it.
fn with_limit(file: &[u8], key: &str, was: u64, is: u64) -> Vec<u8> {
    let row = |value: u64| {
        let length = u64::try_from(key.len()).unwrap();
        [varint(length), key.as_bytes().to_vec(), varint(value)].concat()
    };
    with_bytes(file, &row(was), &row(is))
}

/// A run file in whose one start that has the run's terms other bytes, as many, stand in the place of these.
fn with_bytes(file: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let (mut lines, mut found) = (Vec::new(), 0);
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let mut value: Value = serde_json::from_slice(line).unwrap();
        if value["end"].is_object() {
            continue;
        }
        if let Some(record) = value["record"].as_str() {
            let bytes = base64(record, &["-d"]);
            let forged = replaced(&bytes, old, new);
            found += usize::from(forged != bytes);
            value["record"] = String::from_utf8(base64(forged, &["-w0"])).unwrap().into();
        }
        lines.push(format!("{value}\n").into_bytes());
    }
    assert_eq!(found, 1, "it is one start that has them");
    sealed(&lines)
}

/// A difference may be the host's own: both versions are named, where there is one and they are not the same.
#[test]
fn a_run_of_another_host_that_differs_names_both_versions() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let whole = fs::read(&file).unwrap();
    let own = env!("CARGO_PKG_VERSION");
    let other = format!("{}x", &own[..own.len() - 1]);
    let text = |version: &str| [varint(version.len() as u64), version.as_bytes().to_vec()].concat();
    let forged = with_bytes(&whole, &text(own), &text(&other));
    let words = format!("the run began with hermes-host {other}, and this is {own}");
    for (content, is_told) in [(whole, false), (forged, true)] {
        let there = elsewhere();
        fs::write(&file, content).unwrap();
        import(&there, &file).expect(0);
        let replay = || there.host().args(["replay", &run]);
        let same = replay().output().expect(0);
        assert!(!same.stderr.contains("began with"), "{}", same.stderr);
        let changed = saying(&there, &guests::built("probe"), "text/plain", "text/PLAIN");
        let differs = replay().arg("--plugin").arg(changed).output().expect(1);
        let differs = differs.says(&["diverged"]);
        assert_eq!(differs.stderr.contains(&words), is_told, "{}", differs.stderr);
    }
}

/// What the host could not go on with, it does not take.
#[test]
fn a_record_that_no_host_can_go_on_from_is_refused() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let whole = fs::read(&file).unwrap();
    let there = elsewhere();
    // The id of a session: its run, and its number.
    let named = |number: u64| {
        let length = u64::try_from(run.len()).unwrap();
        [varint(length), run.as_bytes().to_vec(), varint(number)].concat()
    };
    let (child, last) = (named(1), named(u64::from(u32::MAX)));
    let numbered = |records: &mut Vec<Vec<u8>>| {
        for record in records {
            while let Some(at) = record.windows(child.len()).position(|part| part == child) {
                drop(record.splice(at..at + child.len(), last.clone()));
            }
        }
    };
    // A note of the root's first attempt, of the kind that has terms.
    let terms = |records: &mut Vec<Vec<u8>>| {
        records.push([vec![1, 7], named(0), vec![1, 0, 6, 1, b'x', 5]].concat());
    };
    type Change<'c> = &'c dyn Fn(&mut Vec<Vec<u8>>);
    let cases: [(Change<'_>, &str); 2] = [
        (&numbered, "has a number that no session has"),
        (&terms, "its terms can't be read"),
    ];
    for (forge, why) in cases {
        fs::write(&file, with_records(&whole, forge)).unwrap();
        import(&there, &file).expect(2).says(&["line ", "is damaged", why]);
        nothing_is_kept(&there);
    }
    fs::write(&file, &whole).unwrap();
    import(&there, &file).expect(0);
}

/// A file's numbers are the word of whoever wrote it, and are shown as such: two of them may be more than one number holds.
#[test]
fn numbers_that_nobody_spent_are_shown() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[ask("CHILD")]));
    let program = steps(&[child.spawn(), child.spawn(), join(0), join(1)]);
    home.host().probe(&program).output().expect(0);
    let run = home.newest_run();
    let file = export(&home, &run, "run.jsonl", &[]);
    let named = |number: u64| {
        let length = u64::try_from(run.len()).unwrap();
        [varint(length), run.as_bytes().to_vec(), varint(number)].concat()
    };
    // How a session ended, and a note of the root's audit.
    let end_of = |number: u64| [vec![1, 2], named(number), vec![3]].concat();
    let denied = json!({ "way": "denied", "count": u64::MAX });
    let audited = json!({ "plugin": "x", "digest": "0".repeat(64), "entries": [denied, denied] });
    let audited = audited.to_string().into_bytes();
    let length = varint(u64::try_from(audited.len()).unwrap());
    let note = [vec![1, 7], named(0), vec![1, 0, 4], length, audited, vec![5]].concat();
    let forge = |records: &mut Vec<Vec<u8>>| {
        for number in [1, 2] {
            let end = end_of(number);
            let record = records.iter_mut().find(|record| record.starts_with(&end)).unwrap();
            let (from, to) = iterations(record, end.len());
            drop(record.splice(from..to, varint(u64::MAX)));
        }
        let end = records
            .iter()
            .position(|record| record.starts_with(&end_of(0)))
            .unwrap();
        records.insert(end, note.clone());
    };
    let forged = with_records(&fs::read(&file).unwrap(), &forge);
    fs::write(&file, forged).unwrap();
    let there = elsewhere();
    import(&there, &file).expect(0);
    let told = |args: &[&str]| there.host().args(args).output().expect(0);
    let most = u64::MAX.to_string();
    let tree = told(&["tree", &run]).stdout;
    assert_eq!(tree.matches(&format!("{most} it")).count(), 3, "{tree}");
    let agents = there.shown(&run)["agents"].clone();
    for agent in [1_usize, 2] {
        assert_eq!(agents[agent]["spent"]["iterations"], u64::MAX, "{agents}");
    }
    let audit = told(&["show", &run, "--audit", "--output", "json"]).json();
    let row = audit.as_array().unwrap().iter().find(|row| row["way"] == "denied");
    assert_eq!(row.unwrap()["count"], u64::MAX, "{audit}");
    for args in [
        &["show", &run][..],
        &["show", &run, "--audit"],
        &["runs"],
        &["export", &run],
    ] {
        told(args);
    }
}

/// What would allow a denial is advice, and a file's is anybody's: it is told neither of its run nor of what goes on from it.
#[test]
fn what_a_file_advises_is_told_to_nobody() {
    const OF_FILE: &str = "\n  imported from a file, and told as the run file says\n";
    const OWN: &str = "leave out --deny lessons";
    let script = Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("late"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let recall = json!({ "do": "recall", "layer": "Task", "query": "x", "limit": 1 });
    let program = steps(&[recall.clone(), ask("ONE"), recall]);
    let host = home.host().args(["--deny", "lessons"]).probe(&program);
    let run = stopped(&home, &server, host, Signal::KILL);
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    // The root's note of its audit, up to its body.
    let length = varint(u64::try_from(run.len()).unwrap());
    let note = [vec![1, 7], length, run.as_bytes().to_vec(), vec![0, 1, 0, 4]].concat();
    let forge = |records: &mut Vec<Vec<u8>>| {
        let record = records.iter_mut().find(|record| record.starts_with(&note)).unwrap();
        let (length, from) = number(record, note.len());
        let to = from + usize::try_from(length).unwrap();
        let mut body: Value = serde_json::from_slice(&record[from..to]).unwrap();
        let entry = &mut body["entries"][0];
        assert_eq!(entry["denied"]["words"], OWN);
        entry["grant"] = json!("lessons:forged");
        entry["denied"]["flags"] = json!(["--allow forged"]);
        entry["denied"]["words"] = json!("forged words");
        let body = body.to_string().into_bytes();
        let length = varint(u64::try_from(body.len()).unwrap());
        drop(record.splice(note.len()..to, [length, body].concat()));
    };
    let forged = with_records(&fs::read(&file).unwrap(), &forge);
    fs::write(&file, forged).unwrap();
    let there = Home::with_model(&server, Format::OpenAi);
    import(&there, &file).expect(0);
    let told = |args: &[&str]| {
        let output = there.host().args(args).output().expect(0);
        let all = [output.stdout.as_str(), &output.stderr].concat();
        assert!(!all.contains("forged"), "{args:?}: {all}");
        output
    };
    let rows = told(&["show", &run, "--audit", "--output", "json"]).json();
    let denied = rows.as_array().unwrap().iter().find(|row| row["way"] == "denied");
    let denied = denied.unwrap();
    assert_eq!(
        (&denied["grant"], &denied["flags"], &denied["remedy"]),
        (&json!("lessons"), &json!([]), &Value::Null),
        "{denied}"
    );
    assert_eq!(denied["imported"], true, "{denied}");
    let agents = told(&["show", &run, "--grants", "--output", "json"]).json();
    assert_eq!(agents[0]["imported"], true, "{agents}");
    for view in ["--audit", "--grants"] {
        let shown = told(&["show", &run, view]).stdout;
        assert_eq!(shown.matches(OF_FILE).count(), 1, "{shown}");
        let own = home.host().args(["show", &run, view]).output().expect(0).stdout;
        assert!(!own.contains("imported"), "{own}");
        assert_eq!(own.contains(OWN), view == "--audit", "{own}");
    }
    // What this host denies it is told with the host's own advice, beside what the file tells of.
    for way in [&["replay", &run, "--fork"][..], &["resume", &run]] {
        let ended = told(&[way, &["--output", "json"]].concat());
        let denied = ended.json()["denied"].clone();
        let remedies: Vec<&Value> = denied.as_array().unwrap().iter().map(|one| &one["remedy"]).collect();
        assert_eq!(remedies, [&Value::Null, &json!(OWN)], "{denied}");
        assert!(ended.stderr.contains("denied: 2 times\n"), "{}", ended.stderr);
        let of = ended.json()["run"].as_str().unwrap().to_owned();
        assert_eq!(of == run, way[0] == "resume", "{of}");
        let shown = told(&["show", &of, "--audit"]).stdout;
        assert_eq!(shown.contains(OF_FILE), of == run, "{shown}");
        told(&["show", &of]);
        told(&["show", &of, "--output", "json"]);
    }
}

/// Where the iterations stand in the record of a session's end, behind its kind: after why it ended, its judgement, what went wrong and what it returned.
fn iterations(record: &[u8], kind: usize) -> (usize, usize) {
    let behind = |at: usize| {
        let (length, text) = number(record, at);
        text + usize::try_from(length).unwrap()
    };
    let behind_some = |at: usize| if record[at] == 0 { at + 1 } else { behind(at + 1) };
    let spent = behind(behind_some(behind_some(behind(kind + 1))));
    assert_eq!(record[spent], 1, "it says what it spent");
    (spent + 1, number(record, spent + 1).1)
}

/// A number of a record, and where it ends.
fn number(record: &[u8], at: usize) -> (u64, usize) {
    let length = record[at..].iter().position(|byte| *byte < 0x80).unwrap() + 1;
    let low = |number: u64, byte: &u8| (number << 7) | u64::from(byte & 0x7f);
    (record[at..at + length].iter().rev().fold(0, low), at + length)
}

/// A run file with these records in the place of its own.
fn with_records(file: &[u8], forge: &dyn Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let all: Vec<Value> = file
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let is_record = |line: &Value| line["record"].is_string() || line["body"].is_string();
    let first = all.iter().position(is_record).unwrap();
    let end = all.iter().rposition(is_record).unwrap() + 1;
    let mut lines: Vec<Value> = all[..first].to_vec();
    lines.extend(all[first..end].iter().filter(|line| line["body"].is_string()).cloned());
    let records = all[first..end].iter().filter_map(|line| line["record"].as_str());
    let mut records: Vec<Vec<u8>> = records.map(|record| base64(record, &["-d"])).collect();
    forge(&mut records);
    let encoded = |record: Vec<u8>| String::from_utf8(base64(record, &["-w0"])).unwrap();
    lines.extend(records.into_iter().map(|record| json!({ "record": encoded(record) })));
    lines.extend(all[end..all.len() - 1].iter().cloned());
    let lines: Vec<Vec<u8>> = lines.iter().map(|line| format!("{line}\n").into_bytes()).collect();
    sealed(&lines)
}

/// A number as records have it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The id of a run becomes the name of a file.
#[test]
fn a_file_names_no_file_of_this_machine() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let there = elsewhere();
    let victim = there.path().join("v.lock");
    fs::write(&victim, "precious").unwrap();
    let whole = fs::read(&file).unwrap();
    let lines = whole.split_inclusive(|byte| *byte == b'\n');
    let mut lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
    lines.pop();
    // As long as an id: beside the folder of lock files, and what a terminal would do.
    for path in ["../.././/v", "\u{1b}]0;pwned\u{7}"] {
        assert_eq!(path.len(), run.len());
        let mut changed = lines.clone();
        let mut header: Value = serde_json::from_slice(&changed[0]).unwrap();
        header["run"] = json!(path);
        changed[0] = format!("{header}\n").into_bytes();
        let row: Value = serde_json::from_slice(&changed[1]).unwrap();
        let mut bytes = base64(row["row"].as_str().unwrap(), &["-d"]);
        let at = bytes
            .windows(run.len())
            .position(|part| part == run.as_bytes())
            .unwrap();
        bytes[at..at + run.len()].copy_from_slice(path.as_bytes());
        let text = String::from_utf8(base64(&bytes, &["-w0"])).unwrap();
        changed[1] = format!("{}\n", json!({ "row": text })).into_bytes();
        fs::write(&file, sealed(&changed)).unwrap();
        let output = import(&there, &file).expect(2);
        assert!(!output.stderr.contains('\u{1b}'), "{:?}", output.stderr);
        nothing_is_kept(&there);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}

/// What `base64` makes of this.
fn base64(input: impl AsRef<[u8]>, flags: &[&str]) -> Vec<u8> {
    filtered("base64", flags, input.as_ref())
}

#[test]
fn what_holds_a_secret_can_be_looked_at_alone() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    // What they are told is a key since then.
    let program = json!({ "steps": [
        { "do": "open", "name": "notes" },
        { "do": "put", "space": 0, "key": "k", "value": format!("the key is {KEY}.") },
        ask(&format!("I hold {KEY}.")),
    ], "summary": "done" });
    let ran = home
        .host()
        .env(KEY_VARIABLE, "sk-0123456789abcdef-before")
        .probe(&program)
        .output()
        .json();
    let run = ran["run"].as_str().unwrap().to_owned();
    let host = home
        .host()
        .args(["export", &run, "--run-file", "run.jsonl", "--with-plugins"]);
    host.output().expect(0).says(&["secrets were taken out"]);
    let file = home.work().join("run.jsonl");
    let bytes = fs::read(&file).unwrap();
    let decoded = |line: &str| line.contains(KEY);
    assert!(!String::from_utf8_lossy(&bytes).lines().any(decoded));
    let there = elsewhere();
    assert_eq!(import(&there, &file).expect(0).json()["view_only"], true);
    there.assert_without(KEY);
    let third = elsewhere();
    let told = third.host().arg("import").arg(&file).output().expect(0);
    let told = told.says(&["hermes-host show"]);
    assert!(!told.stderr.contains("hermes-host replay"), "{}", told.stderr);
    for command in [&["replay", &run][..], &["resume", &run], &["replay", &run, "--fork"]] {
        let refused = there.host().args(command).output();
        assert_eq!(refused.code, Some(2), "{command:?}: {}", refused.stderr);
    }
    there
        .host()
        .args(["replay", &run])
        .output()
        .expect(2)
        .says(&["secrets were taken out"]);
    let text = there.host().args(["show", &run]).output().expect(0).stdout;
    assert!(text.contains("imported"), "{text}");
    let conversation = there.host().args(["export", &run]).output().expect(0).stdout;
    assert!(conversation.contains("I hold [secret"), "{conversation}");
    // Nothing is left in it to be taken out, and it is still not what was recorded.
    let again = export(&there, &run, "again.jsonl", &["--with-plugins"]);
    let fourth = elsewhere();
    assert_eq!(import(&fourth, &again).expect(0).json()["view_only"], true);
    let refused = fourth.host().args(["replay", &run]).output().expect(2);
    refused.says(&["secrets were taken out"]);
}

/// What is emitted is written in notes that end anywhere, while its value is no secret yet.
#[test]
fn no_part_of_what_is_a_secret_by_now_goes_along_in_what_was_emitted() {
    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    // All but the last bytes are written at once, and those at the end.
    let text = format!("{}{VALUE}{}", ".".repeat(BEHIND), ".".repeat(BEHIND - 16));
    let program = steps(&[json!({ "do": "emit", "text": text })]);
    home.host().probe(&program).output().expect(0);
    let run = home.newest_run();
    let lines = |file: &Path| -> Vec<Vec<u8>> {
        let text = fs::read_to_string(file).unwrap();
        let held = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let bytes = ["row", "body", "record", "entry"]
                .iter()
                .find_map(|kind| line[*kind].as_str());
            bytes.map_or_else(|| line.to_string().into_bytes(), |bytes| base64(bytes, &["-d"]))
        };
        text.lines().map(held).collect()
    };
    let holds = |bytes: &[u8], part: &str| memchr::memmem::find(bytes, part.as_bytes()).is_some();
    let before = lines(&export(&home, &run, "before.jsonl", &[]));
    let half = |line: &Vec<u8>| holds(line, &VALUE[..16]) && !holds(line, VALUE);
    assert!(before.iter().any(half), "a note ends in its midst");
    let value = home.write("value", VALUE);
    let host = home.host().args(["secret", "set", "x"]).reads(&value);
    host.output().expect(0);
    let file = export(&home, &run, "run.jsonl", &[]);
    for line in lines(&file) {
        for at in 0..=VALUE.len() - 8 {
            assert!(!holds(&line, &VALUE[at..at + 8]), "{}", String::from_utf8_lossy(&line));
        }
    }
    let there = elsewhere();
    assert_eq!(import(&there, &file).expect(0).json()["view_only"], true);
    let notes = there.shown(&run)["agents"][0]["notes"].as_array().unwrap().clone();
    let emitted = notes.iter().filter(|note| note["kind"] == "emit");
    let told: String = emitted.map(|note| note["text"].as_str().unwrap()).collect();
    assert_eq!(told, text.replace(VALUE, "[secret x]"));
}

#[test]
fn a_newer_format_is_told_and_nothing_touched() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("{\"hermes_run\":2", "{\"hermes_run\":3", 1)).unwrap();
    let there = elsewhere();
    import(&there, &file).expect(2).says(&["version 3", "version 2"]);
    nothing_is_kept(&there);
    fs::write(&file, "not a run file\n").unwrap();
    import(&there, &file).expect(2).says(&["no run file"]);
    import(&there, &there.work().join("nowhere")).expect(2);
    import(&there, &there.work()).expect(2);
    nothing_is_kept(&there);
}

#[test]
fn an_unknown_field_is_told_and_nothing_touched() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &["--with-plugins"]);
    let text = fs::read_to_string(&file).unwrap();
    let there = elsewhere();
    for begins in ["{", "{\"component\":{", "{\"end\":{"] {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = lines.iter().position(|line| line.starts_with(begins)).unwrap();
        lines[at] = lines[at].replacen(begins, &format!("{begins}\"later\":1,"), 1);
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        let line = match at {
            0 => "first line".to_owned(),
            _ => format!("line {}", at + 1),
        };
        let output = import(&there, &file).expect(2);
        output.says(&[&line, "unknown field `later`"]);
        nothing_is_kept(&there);
    }
}

/// No run, no lock, no component.
#[track_caller]
fn nothing_is_kept(home: &Home) {
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs, json!([]));
    for folder in ["host/runs", "host/components"] {
        let left: Vec<_> = fs::read_dir(home.path().join(folder))
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

#[test]
fn whatever_is_wrong_with_a_file_nothing_of_it_is_kept() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let whole = fs::read(&file).unwrap();
    let there = elsewhere();
    let mut dice = Dice(7);
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for round in 0..60 {
        let mut bytes = whole.clone();
        let at = dice.below(bytes.len());
        match round % 6 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, b'a'),
            // A line that is gone, or another's place.
            4 => bytes = without(&lines, dice.below(lines.len())),
            _ => bytes = swapped(&lines, dice.below(lines.len() - 1)),
        }
        if bytes == whole {
            continue;
        }
        fs::write(&file, &bytes).unwrap();
        let output = import(&there, &file);
        assert_eq!(output.code, Some(2), "round {round}: {}", output.stderr);
        assert!(!output.stderr.contains("panic"), "{}", output.stderr);
    }
    nothing_is_kept(&there);
    // In good order as far as the frame goes, and yet no run.
    for (keep, why) in [(0, "row"), (1, "row"), (3, "one run")] {
        let mut damaged: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
        damaged.pop();
        match keep {
            0 => drop(damaged.remove(1)),
            1 => damaged.truncate(1),
            _ => {
                let record = damaged
                    .iter()
                    .find(|line| line.starts_with(b"{\"record\""))
                    .unwrap()
                    .clone();
                damaged.push(record);
                // Records come before entries.
                let entries: Vec<_> = damaged.extract_if(.., |line| line.starts_with(b"{\"entry\"")).collect();
                damaged.extend(entries);
            }
        }
        fs::write(&file, sealed(&damaged)).unwrap();
        let output = import(&there, &file);
        assert_eq!(output.code, Some(2), "{why}: {}", output.stderr);
    }
    nothing_is_kept(&there);
    fs::write(&file, &whole).unwrap();
    import(&there, &file).expect(0);
}

fn without(lines: &[&[u8]], at: usize) -> Vec<u8> {
    let kept = lines.iter().enumerate().filter(|(n, _)| *n != at);
    kept.flat_map(|(_, line)| line.to_vec()).collect()
}

fn swapped(lines: &[&[u8]], at: usize) -> Vec<u8> {
    let mut lines = lines.to_vec();
    lines.swap(at, at + 1);
    lines.concat()
}

/// These lines with a last line that fits them.
fn sealed(lines: &[Vec<u8>]) -> Vec<u8> {
    let bytes = lines.concat();
    let digest = sha256(&bytes);
    let end = json!({ "end": { "lines": lines.len(), "sha256": digest, "view_only": false } });
    [bytes, format!("{end}\n").into_bytes()].concat()
}

fn sha256(bytes: &[u8]) -> String {
    String::from_utf8(filtered("sha256sum", &[], bytes)).unwrap()[..64].to_owned()
}

/// What a program of the system makes of its input.
fn filtered(program: &str, flags: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

#[test]
fn a_limit_of_bytes_is_exact() {
    let (_server, home, run) = ran();
    let file = export(&home, &run, "run.jsonl", &[]);
    let bytes = fs::metadata(&file).unwrap().len();
    let there = elsewhere();
    let with = |most: u64| {
        there
            .host()
            .arg("import")
            .arg(&file)
            .set("limits.run_file.bytes", most)
            .output()
    };
    with(bytes - 1).expect(2).says(&["limits.run_file.bytes"]);
    nothing_is_kept(&there);
    with(bytes).expect(0);
}
