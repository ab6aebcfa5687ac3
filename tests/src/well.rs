//! Whether a home's host is well after what was done to it: it works as ever, has left nothing behind, no command of it has held too much, and what it
//! keeps is whole and clean.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::binary;
use crate::model::Format;
use crate::output::slack;
use crate::{Home, Host, ModelServer, Output, Script, Turn, clean};

/// What the canary asks its model.
const ASKED: &str = "CANARY: how do you sing?";
/// The script that its model has the tool run.
const SCRIPT: &str = "\"singing \" + 6 * 7 + \" times\"";
/// What that says.
const HEARD: &str = "singing 42 times";
/// What it answers at last.
const ANSWERED: &str = "The canary sings, 42 times.";

/// How long a canary may take.
const CANARY: Duration = Duration::from_secs(2);

/// What a host says that compiles what the canary needs. That takes as long as it takes.
const COMPILES: &str = "getting ready; plugins that are new here are compiled once";

/// Memory that a process may hold beside what it holds when nothing attacks it, and beside its instances'.
const BESIDE_KIB: u64 = 32 << 10;

/// What the system has as the name of a compiler's process.
pub const COMPILER: &str = "hermes-compiler\n";

/// More runs than any home has.
const ALL: &str = "10000";

/// Panics unless the host of this home is well: it answers as ever, has left nothing behind, and what it keeps of every run is whole, bounded and clean.
/// All runs have ended.
#[track_caller]
pub fn is_well(home: &Home) {
    is_well_but_for(home, &[]);
}

/// The same where exactly these runs were interrupted, and may go on later.
#[track_caller]
pub fn is_well_but_for(home: &Home, interrupted: &[&str]) {
    let script = home.folder().join("canary.toml");
    fs::write(&script, played()).unwrap();
    is_well_by(home, interrupted, &|| home.host(), &|| {
        home.host().arg("--script").arg(&script)
    });
}

/// The same by command lines that begin so: all, and the canary's, whose model plays [`canary`].
#[track_caller]
pub fn is_well_by(home: &Home, interrupted: &[&str], host: &dyn Fn() -> Host, sings: &dyn Fn() -> Host) {
    let command = |line: &[&str]| -> Output {
        let output = host().args(line).output();
        assert_eq!(output.code, Some(0), "{line:?}: {output:?}");
        output
    };
    answers(sings);
    nothing_is_left(home);
    let runs = command(&["runs", "--limit", ALL, "--output", "json"]).json();
    let listed: BTreeSet<String> = runs.as_array().unwrap().iter().map(run_of).collect();
    assert_eq!(
        listed,
        told(home),
        "a run is missing, or one began that nobody was told of"
    );
    for row in runs.as_array().unwrap() {
        let run = run_of(row);
        let shown = command(&["show", &run, "--output", "json"]).json();
        match interrupted.contains(&run.as_str()) {
            true => assert_eq!(row["status"], "interrupted", "{row}"),
            false => has_ended(&shown),
        }
        command(&["export", &run]);
    }
    command(&["runs", "--output", "text"]);
    let doctor = command(&["doctor", "--output", "json"]).json();
    let rows = || doctor.as_array().unwrap().iter();
    assert!(rows().any(|row| row["check"] == "database"), "{doctor}");
    assert!(rows().all(|row| row["state"] != "fail"), "{doctor}");
    for (line, output) in home.printed() {
        clean::printed(home.folder(), &line, &output);
        is_held(&line, &output);
    }
    clean::kept(home);
}

/// Panics where a command held more than an idle one, what its instances may, and a little beside that.
#[track_caller]
pub fn is_held(line: &str, output: &Output) {
    let most = idle_kib() + output.instances / 1024 + BESIDE_KIB;
    let held = output.peak_kib;
    assert!(held <= most, "{line} held {held} KiB, and may hold {most}");
}

/// What a process holds that nothing attacks, in KiB.
fn idle_kib() -> u64 {
    static IDLE: OnceLock<u64> = OnceLock::new();
    *IDLE.get_or_init(|| {
        let server = ModelServer::start(canary());
        let home = Home::with_model(&server, Format::OpenAi);
        sung(&|| home.host()).peak_kib
    })
}

/// A run of two completions and a tool call has the answer that it always has, in time.
#[track_caller]
fn answers(host: &dyn Fn() -> Host) {
    let first = sung(host);
    let output = if first.stderr.contains(COMPILES) {
        sung(host)
    } else {
        first
    };
    assert!(output.took < CANARY + slack(), "the canary took {:?}", output.took);
}

/// What a canary's command printed.
#[track_caller]
fn sung(host: &dyn Fn() -> Host) -> Output {
    let output = host().probe(&json!({ "steps": [sings()] })).output();
    assert_eq!(output.code, Some(0), "{output:?}");
    sang(&output.seen()[0]);
    output
}

/// The canary's model: it calls the tool that runs a script, and says what came of it.
pub fn canary() -> Script {
    let call = Turn::call("run_script", &json!({ "script": SCRIPT }));
    Script::default()
        .when(HEARD, Script::always(Turn::text(ANSWERED)))
        .when(ASKED, Script::always(call))
}

/// The same as a file of the host's own scripted model.
fn played() -> String {
    format!(
        "[[turn]]\nreply = {{ calls = [{{ name = \"run_script\", arguments = {{ script = '{SCRIPT}' }} }}] }}\n\n\
         [[turn]]\nexpect = {{ contains = [\"{HEARD}\"] }}\nreply = {{ text = \"{ANSWERED}\" }}\n"
    )
}

/// The step that is a canary.
pub fn sings() -> Value {
    json!({ "do": "agent", "user": ASKED, "turns": 2 })
}

/// Panics unless a canary's step saw what it always sees.
#[track_caller]
pub fn sang(seen: &Value) {
    let said = seen.pointer("/2/ok/parts/0/Text");
    assert_eq!(said, Some(&json!(ANSWERED)), "the canary does not sing: {seen}");
}

fn run_of(row: &Value) -> String {
    row["run"].as_str().unwrap().to_owned()
}

/// The runs that commands of this home told of: in the words that a run begins with, in an object, or in an event.
fn told(home: &Home) -> BTreeSet<String> {
    let mut runs = BTreeSet::new();
    for (_, output) in home.printed() {
        let lines = output.stdout.lines().flat_map(serde_json::from_str::<Value>);
        runs.extend(lines.filter_map(|line| Some(line["run"].as_str()?.to_owned())));
        let begun = output.stderr.lines().filter_map(|line| line.split_once(" starts run "));
        runs.extend(begun.filter_map(|(_, rest)| Some(rest.split_once(" with ")?.0.to_owned())));
    }
    runs
}

/// Panics when a process of this home, or a compiler without a host, is alive, or a temporary file or memory dump is there.
#[track_caller]
pub fn nothing_is_left(home: &Home) {
    let variable = format!("HERMES_HOME={}", home.path().display());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let is_its = environment
            .split(|byte| *byte == 0)
            .any(|set| set == variable.as_bytes());
        assert!(!is_its, "{} is left", process.path().display());
    }
    let begun = Instant::now();
    for compiler in orphans() {
        // One of another test, whose host was just killed, is about to end.
        while is_orphan(&compiler) {
            assert!(begun.elapsed() < slack(), "{} is left", compiler.display());
            std::thread::yield_now();
        }
    }
    let mut files = Vec::new();
    below(home.folder(), &mut files);
    let temporary = home.folder().join("tmp");
    for file in files {
        let ends = |end: &str| file.extension().is_some_and(|extension| extension == end);
        let is_left = file.starts_with(&temporary) || ends("tmp") || ends("draft") || ends("core");
        let is_dump = file.file_name().is_some_and(|name| name == "core");
        assert!(!is_left && !is_dump, "{} is left", file.display());
    }
}

/// The compilers of this build that have no host any more, whosever it was: nothing of a home is in their environment.
pub fn orphans() -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|process| process.path())
        .filter(|it| is_orphan(it))
        .collect()
}

fn is_orphan(process: &Path) -> bool {
    let read = |what: &str| fs::read_to_string(process.join(what)).unwrap_or_default();
    let program = |process: &Path| fs::read_link(process.join("exe")).unwrap_or_default();
    if read("comm") != COMPILER {
        return false;
    }
    let host = fs::canonicalize(binary()).unwrap();
    let status = read("status");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let parent = program(&Path::new("/proc").join(parent.unwrap_or_default().trim()));
    // A test may be the host itself.
    let tests = std::env::current_exe().unwrap();
    program(process) == host && parent != host && parent.parent() != tests.parent()
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => below(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}

/// Panics unless all agents of a run have ended, each once, with nothing set aside any more and nothing spent over its budget.
#[track_caller]
pub fn has_ended(shown: &Value) {
    for agent in shown["agents"].as_array().unwrap() {
        let is_final = ["completed", "failed", "cancelled"].contains(&agent["status"].as_str().unwrap());
        assert!(is_final && agent["exit"].is_string(), "an agent is left open: {agent}");
        let operations = agent["operations"].as_array().unwrap();
        let open = operations.iter().find(|operation| operation["status"] == "open");
        assert!(open.is_none(), "an operation is left open: {open:?}");
        // Whoever's time or fuel is used up is a little late; tokens and money are known when they are spent.
        for exact in ["iterations", "tool_calls", "stored_bytes", "children"] {
            let (limit, spent) = (agent["budget"][exact].as_u64(), agent["spent"][exact].as_u64());
            assert!(
                spent <= Some(limit.unwrap_or(u64::MAX)),
                "{exact} over the budget: {agent}"
            );
        }
    }
}
