//! One run with a bit of everything, and how a run that was broken off and resumed is compared with one that was not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::{Home, Host, Output, Shim, assert_clean, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::eventually;

/// What a run spends alike whether it was broken off or not. Fuel, time and the journal are told apart by a few digits.
const EXACT: [&str; 7] = [
    "iterations",
    "tool-calls",
    "stored-bytes",
    "children",
    "tokens",
    "cost-micro-usd",
    "host-calls",
];

/// The requests of the recorded run: a text in each, and what is answered. The same request always gets the same answer.
const ANSWERS: [(&str, &str); 9] = [
    ("ROOT ONE", "one"),
    ("PAR ONE", "par one"),
    ("PAR TWO", "par two"),
    ("TOOL ASKS", "for a tool"),
    ("CHILD A ONE", "a one"),
    ("CHILD A TWO", "a two"),
    ("CHILD B LOST", "lost"),
    ("CHILD B AGAIN", "b"),
    ("CHILD C ASKS", "for c's tool"),
];

/// The model of the recorded run.
pub(crate) fn script() -> Script {
    let code = Turn::call("run_script", &json!({ "script": "2 + 2" }));
    let script = Script::default().when("\"role\":\"tool\"", Script::always(Turn::text("four")));
    let script = script.when("ROOT CODE", Script::always(code));
    ANSWERS.iter().fold(script, |script, (asked, answer)| {
        script.when(asked, Script::always(Turn::text(*answer)))
    })
}

/// The same, but the first request with this text is never answered: whoever waits for it waits until the process dies.
pub(crate) fn holding(asked: &str) -> Script {
    let mut script = script();
    let place = script.when.iter().position(|(marker, _)| marker == asked).unwrap();
    script.when[place].1.turns = vec![Turn::fault(Fault::StallMidStream)];
    script
}

pub(crate) fn ask(words: &str) -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }] })
}

fn start(words: &str) -> Value {
    json!({ "do": "start", "messages": [{ "User": [{ "Text": words }] }] })
}

fn open(name: &str) -> Value {
    json!({ "do": "open", "name": name })
}

fn append(space: usize) -> Value {
    json!({ "do": "append", "space": space, "prefix": "log/", "value": "a line" })
}

fn keys(space: usize) -> Value {
    json!({ "do": "changes", "space": space, "prefix": "", "since": 0, "wait_ms": 0 })
}

/// A call that itself calls a tool and asks the model.
fn nested(asked: &str) -> Value {
    let inner = json!({ "do": "call", "name": "echo", "arguments": { "text": "inside" } });
    json!({ "steps": [inner, ask(asked)] })
}

fn child(steps: &[Value], space: &str) -> ChildSpec {
    let access = json!([{ "space": space, "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&json!({ "steps": steps, "summary": "child" })).with("spaces", access);
    child.with("max_attempts", 2)
}

/// Three children, one of which traps and is started again; completions and tool calls side by side; a tool that asks the model; an
/// iteration that is given back; entries put, appended, compared and set.
pub(crate) fn program() -> Value {
    let put = |value: &str, version: Option<u64>| json!({ "do": "put", "space": 0, "key": "plan", "value": value, "if_version": version });
    let call = |name: &str, arguments: Value| json!({ "do": "start-call", "name": name, "arguments": arguments });
    let wait_call = |n: usize| json!({ "do": "wait-call", "call": n });
    let wait = |n: usize| json!({ "do": "wait", "pending": n });
    let spent = |d: &str| json!({ "do": "spent", "dimension": d });
    let echo = || json!({ "text": "hello" });
    let a = child(
        &[
            open("a"),
            ask("CHILD A ONE"),
            append(0),
            append(0),
            ask("CHILD A TWO"),
            append(0),
        ],
        "a",
    );
    let lost = json!({ "do": "first-attempt", "steps": [ask("CHILD B LOST"), { "do": "trap" }] });
    let b = child(&[lost, open("b"), append(0), ask("CHILD B AGAIN"), append(0)], "b");
    let c = child(
        &[
            call("echo", echo()),
            call("echo", echo()),
            call("probe", nested("CHILD C ASKS")),
            wait_call(2),
            wait_call(1),
            wait_call(0),
        ],
        "c",
    );
    let c = c.with("toolsets", json!(["probe-tool"]));
    json!({ "steps": [
        open("notes"), put("one", None), put("two", Some(1)), put("lost", Some(1)), append(0), open("a"), open("b"), open("c"),
        ask("ROOT ONE"),
        a.spawn(), b.spawn(), c.spawn(),
        start("PAR ONE"), start("PAR TWO"),
        call("probe", nested("TOOL ASKS")), call("echo", echo()),
        wait_call(1), wait_call(0), wait(1), wait(0),
        { "do": "agent", "user": "ROOT CODE", "turns": 3 },
        join(0), join(1), join(2),
        append(0), keys(0), keys(1), keys(2), put("three", Some(2)),
        spent("Iterations"), spent("ToolCalls"), spent("StoredBytes"),
    ] })
}

/// Goes on with a run.
pub(crate) fn resume(home: &Home, run: &str) -> Host {
    home.host().args(["resume", run, "--output", "json"])
}

/// The newest run of a home, if there is any.
pub(crate) fn newest(home: &Home) -> Option<String> {
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    runs[0]["run"].as_str().map(ToOwned::to_owned)
}

/// All of a run, as `show` has it.
pub(crate) fn shown(home: &Home, run: &str) -> Value {
    home.host()
        .args(["show", run, "--output", "json"])
        .output()
        .expect(0)
        .json()
}

/// How many completions of a run have their outcome, and how many have none yet.
pub(crate) fn completions(shown: &Value) -> (usize, usize) {
    let agents = shown["agents"].as_array().unwrap().iter();
    let operations = agents.flat_map(|agent| agent["operations"].as_array().unwrap());
    let asked = operations.filter(|op| op["kind"] == "completion" || op["kind"] == "closing");
    let (open, ended): (Vec<_>, Vec<_>) = asked.partition(|op| op["status"] == "open");
    (ended.len(), open.len())
}

/// `doctor` finds nothing wrong with the database.
#[track_caller]
pub(crate) fn assert_sound(home: &Home) {
    let found = home.host().args(["doctor", "--output", "json"]).output().json();
    let database = found.as_array().unwrap().iter().find(|row| row["check"] == "database");
    assert!(database.is_some_and(|row| row["state"] == "ok"), "{found}");
}

/// What a run came to, without what no two runs share.
#[derive(Debug, Clone)]
pub(crate) struct End(Value);

impl End {
    /// As its process printed it.
    pub(crate) fn printed(output: &Output) -> Self {
        let json = output.json();
        let answer = json["answer"].as_str().unwrap_or_else(|| panic!("no answer: {json}"));
        let mut end = Self::recorded(&json);
        let run = json["run"].as_str().unwrap();
        end.0["answer"] = like_any(answer.replace(run, "RUN").into());
        end
    }

    /// As `show` has it, which has no answer.
    pub(crate) fn recorded(json: &Value) -> Self {
        let agents = json["agents"].as_array().unwrap().iter().map(agent);
        let agents: Vec<Value> = agents.collect();
        Self(json!({ "exit": json["exit"], "spent": exact(&json["spent"]), "agents": agents }))
    }

    /// Panics unless all that this one tells is the same in the other.
    #[track_caller]
    pub(crate) fn assert_like(&self, whole: &Self, moment: &str) {
        let mut found = Vec::new();
        for (field, value) in self.0.as_object().unwrap() {
            differences(value, &whole.0[field], field, &mut found);
        }
        assert!(found.is_empty(), "{moment}:\n{}", found.join("\n"));
    }
}

/// Where two values differ.
fn differences(a: &Value, b: &Value, path: &str, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let both = a.iter().zip(b).enumerate();
            both.for_each(|(n, (a, b))| differences(a, b, &format!("{path}/{n}"), found));
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            let both = a.iter().zip(b.values());
            both.for_each(|((name, a), b)| differences(a, b, &format!("{path}/{name}"), found));
        }
        _ if a == b => {}
        _ => found.push(format!("{path}: {a}, and not {b}")),
    }
}

fn exact(spent: &Value) -> Vec<Value> {
    EXACT.iter().map(|d| json!([d, spent[d]])).collect()
}

fn agent(agent: &Value) -> Value {
    let own = ["role", "status", "exit", "attempts"].map(|field| &agent[field]);
    json!([own, exact(&agent["spent"])])
}

/// The answer is what the program saw. What time and fuel children used is taken out of it, and what marks a foreign text as such.
fn like_any(value: Value) -> Value {
    let is_clock = |value: &Value| {
        matches!(
            value["dimension"].as_str(),
            Some("Fuel" | "WallClockMs" | "JournalBytes")
        )
    };
    match value {
        Value::Array(values) => values.into_iter().filter(|v| !is_clock(v)).map(like_any).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, v)| (name, like_any(v))).collect()),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => like_any(inner),
            _ => without_fences(&text).into(),
        },
        other => other,
    }
}

/// `<1f3a… what=…>`: the number is another in each run.
fn without_fences(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive('<') {
        let slash = usize::from(piece.starts_with('/'));
        let digits = piece[slash..].bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(if digits == 8 { &piece[slash + digits..] } else { piece });
    }
    out
}

/// How often each completion was asked for, by the key that tells one from another.
pub(crate) fn sends(server: &ModelServer) -> BTreeMap<String, usize> {
    let mut sends = BTreeMap::new();
    for request in server.requests() {
        let key = request.header("idempotency-key").unwrap().to_owned();
        *sends.entry(key).or_default() += 1;
    }
    sends
}

/// A home, and the server of its model.
pub(crate) struct Place {
    pub(crate) server: ModelServer,
    pub(crate) home: Home,
}

impl Place {
    /// Whose model plays this script.
    pub(crate) fn new(script: Script) -> Self {
        let server = ModelServer::start(script);
        let home = Home::with_model(&server, Format::OpenAi);
        Self { server, home }
    }

    /// The folder of the host's own files.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("host")
    }

    /// How many completions were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.server.requests().len()
    }

    /// Waits until so many completions have their outcome, and one is under way.
    pub(crate) fn waits(&self, answered: usize) {
        eventually("all but one to be answered", || {
            let run = newest(&self.home)?;
            let under_way = completions(&shown(&self.home, &run)) == (answered, 1);
            (under_way && self.asked() == answered + 1).then_some(())
        });
    }

    /// What the host keeps, compiled code apart: path below its folder, and bytes.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let dir = self.dir();
        let own = |(path, bytes): (PathBuf, Vec<u8>)| Some((path.strip_prefix(&dir).ok()?.to_owned(), bytes));
        let files = self.home.files().into_iter().filter_map(own);
        files.filter(|(path, _)| !path.starts_with("cache")).collect()
    }

    /// Puts these files in the place of what the host keeps.
    pub(crate) fn restore(&self, files: &[(PathBuf, Vec<u8>)]) {
        for (path, _) in self.files() {
            fs::remove_file(self.dir().join(path)).unwrap();
        }
        for (path, bytes) in files {
            fs::write(self.dir().join(path), bytes).unwrap();
        }
    }
}

/// A program that has run whole: what every other run of it must come to, whatever it meets.
pub(crate) struct Recorded {
    program: Value,
    script: Script,
    pub(crate) end: End,
    /// How many completions it asks for.
    pub(crate) asked: usize,
    pub(crate) took: Duration,
}

/// Something that happens to one process of a run.
pub(crate) struct Met {
    pub(crate) shim: Shim,
    /// What its end says, where it is not killed.
    pub(crate) says: Option<&'static str>,
}

impl Met {
    /// It is killed.
    pub(crate) fn kill(shim: Shim) -> Self {
        Self { shim, says: None }
    }
}

/// How a run that met something came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// By itself: what it should have met came too late.
    Unbroken,
    /// It was broken off, and taken to its end.
    Resumed,
    /// Its end was recorded already.
    HadEnded,
}

impl Recorded {
    /// The run with a bit of everything.
    pub(crate) fn everything() -> Self {
        Self::of(program(), script())
    }

    /// Runs a program once, with nothing in its way.
    pub(crate) fn of(program: Value, script: Script) -> Self {
        let place = Place::new(script.clone());
        let output = host(&place.home, &program, &built()).output().expect(0);
        let end = End::printed(&output);
        let shown = shown(&place.home, output.json()["run"].as_str().unwrap());
        End::recorded(&shown).assert_like(&end, "as it is shown");
        assert_sound(&place.home);
        Self {
            program,
            script,
            end,
            asked: place.asked(),
            took: output.took,
        }
    }

    /// A place to run it again.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.script.clone())
    }

    /// Its command line.
    pub(crate) fn host(&self, place: &Place) -> Host {
        self.host_of(place, &built())
    }

    /// The same, of these files of the strategy and its tools.
    pub(crate) fn host_of(&self, place: &Place, plugins: &[PathBuf; 2]) -> Host {
        host(&place.home, &self.program, plugins)
    }

    /// The run, killed when `answered` completions have their outcome and one with this text has none: its first answer never comes.
    pub(crate) fn killed_while(&self, asked: &str, answered: usize) -> Place {
        let place = Place::new(holding(asked));
        let process = self.host(&place).start();
        place.waits(answered);
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        place
    }

    /// The same, suspended.
    pub(crate) fn suspended_while(&self, asked: &str, answered: usize) -> Place {
        let place = Place::new(holding(asked));
        let process = self.host(&place).start();
        place.waits(answered);
        process.signal(Signal::INT);
        process.finish().expect(130);
        place
    }

    /// Goes on with the run in this place, or begins it where there is none; to its end, in one process after another, each of which meets
    /// the next of these. Then all must be as in the whole run: the answer and what it cost; nothing sent without its intent, or again once its
    /// outcome was committed; what was sent again told as such.
    #[track_caller]
    pub(crate) fn ends_well(&self, place: &Place, met: &[Met], moment: &str) -> Fate {
        let found = Before::of(place);
        let (mut fate, mut lost, mut breaks) = (Fate::Unbroken, found.open, usize::from(found.open > 0));
        // What a loss of power took was sent all the same.
        let unknown = sends(&place.server).len().saturating_sub(found.ended + found.open);
        let mut met = met.iter();
        loop {
            let before = Before::of(place);
            let next = match &before.run {
                Some(run) => resume(&place.home, run),
                None => self.host(place),
            };
            let meets = met.next();
            let output = match meets {
                Some(met) => met.shim.on(next).output(),
                None => next.output(),
            };
            before.nothing_twice(place, self.asked, moment);
            match (output.code, meets.and_then(|met| met.says)) {
                (None, None) => {}
                (Some(1 | 2), Some(says)) => {
                    let json = output.json();
                    assert_eq!(json["error"]["kind"], "storage", "{moment}: {json}");
                    let message = json["error"]["message"].as_str().unwrap();
                    assert!(message.contains(says), "{moment}: {message}");
                    assert_clean(&output);
                }
                (Some(2), _) if output.stderr.contains("it has ended") => {
                    let run = newest(&place.home).unwrap();
                    End::recorded(&shown(&place.home, &run)).assert_like(&self.end, moment);
                    fate = Fate::HadEnded;
                    break;
                }
                // Nothing was sent of a run that died before its start was written, and there is nothing to go on with.
                (Some(2), _) if output.stderr.contains("it never began") => {
                    assert_eq!(place.asked(), 0, "{moment}");
                    let run = newest(&place.home).unwrap();
                    place.home.host().args(["cancel", &run]).output().expect(0);
                    continue;
                }
                _ => {
                    let output = output.expect(0);
                    End::printed(&output).assert_like(&self.end, moment);
                    let (resent, lost) = (output.spent("resent"), lost as u64);
                    let told = if breaks < 2 { resent == lost } else { resent <= lost };
                    assert!(told, "{moment}: {resent} told as sent again, and {lost} were under way");
                    break;
                }
            }
            let after = Before::of(place);
            let sent = sends(&place.server).len();
            assert!(
                sent <= after.ended + after.open,
                "{moment}: {sent} sent, not all of them recorded"
            );
            lost += after.open;
            breaks += 1;
            fate = Fate::Resumed;
        }
        let sends = sends(&place.server);
        assert_eq!(sends.len(), self.asked, "{moment}: {sends:?}");
        let again: usize = sends.values().map(|n| n - 1).sum();
        assert!(again <= lost + unknown, "{moment}: {sends:?}");
        assert_sound(&place.home);
        fate
    }
}

/// The strategy and the tools that programs are made of.
fn built() -> [PathBuf; 2] {
    ["probe", "probe-tool"].map(guests::built)
}

fn host(home: &Home, program: &Value, [strategy, tools]: &[PathBuf; 2]) -> Host {
    let host = home.host().arg("--tool").arg(tools);
    let host = host.args(["--allow", "probe-tool=llm"]);
    let host = host.set("limits.restart.backoff", "1ms");
    let host = host.set("limits.restart.backoff_max", "1ms");
    host.run(strategy, &program.to_string())
}

/// What is recorded of a place's run between two processes.
struct Before {
    run: Option<String>,
    ended: usize,
    open: usize,
    asked: usize,
}

impl Before {
    fn of(place: &Place) -> Self {
        let shown = newest(&place.home).map(|run| shown(&place.home, &run));
        // One that never began was given up.
        let shown = shown.filter(|shown| shown["status"] != "cancelled");
        let (ended, open) = shown.as_ref().map_or((0, 0), completions);
        Self {
            run: shown.map(|shown| shown["run"].as_str().unwrap().to_owned()),
            ended,
            open,
            asked: place.asked(),
        }
    }

    /// Of what had its outcome, nothing was sent since.
    #[track_caller]
    fn nothing_twice(&self, place: &Place, all: usize, moment: &str) {
        let sent = place.asked() - self.asked;
        let ended = self.ended;
        assert!(
            sent + ended <= all,
            "{moment}: {sent} sent, {ended} had ended, of {all}"
        );
    }
}
