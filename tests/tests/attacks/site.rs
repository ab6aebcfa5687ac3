//! The place of an attack: a home, its model, and all that was printed there. Whoever attacks it says how that shall end, and asks at last whether the
//! host is well.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::output::slack;
use hermes_tests::well::{has_ended, nothing_is_left};
use hermes_tests::{Home, Host, Output, clean};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the canary asks its model.
const ASKED: &str = "CANARY: how do you sing?";
/// What the script that its model calls says.
const HEARD: &str = "singing 42 times";
/// What it answers at last.
const ANSWERED: &str = "The canary sings, 42 times.";

/// How long a canary may take.
const CANARY: Duration = Duration::from_secs(2);

/// Memory that a process may hold beside what it holds when nothing attacks it, and beside its instances'.
const BESIDE_KIB: u64 = 32 << 10;

/// A home that is attacked, and the server of its model.
pub(crate) struct Site {
    pub(crate) server: ModelServer,
    pub(crate) home: Home,
    /// What the model's server waits for.
    gate: TempDir,
    said: Mutex<Said>,
}

/// What was done here, to be looked through at the end.
#[derive(Default)]
struct Said {
    outputs: Vec<(String, Output)>,
    runs: BTreeSet<String>,
}

impl Site {
    /// Whose model says `yes` to all.
    pub(crate) fn new() -> Self {
        Self::with(Script::always(Turn::text("yes")))
    }

    /// Whose model plays this script, and the canary's.
    pub(crate) fn with(script: impl Into<Script>) -> Self {
        let gate = tempfile::tempdir().unwrap();
        let mut script = script.into();
        let held = Turn::text("held").held_until(gate.path().join("open"));
        let own = canary().when("HOLD STILL", Script::always(held));
        script.when = [own.when, script.when].concat();
        let server = ModelServer::start(script);
        let home = Home::with_model(&server, Format::OpenAi);
        fs::create_dir(home.folder().join("tmp")).unwrap();
        Self {
            server,
            home,
            gate,
            said: Mutex::default(),
        }
    }

    /// A command line for this home. Its root is started once, the host's own log is on, and temporary files have a folder of their own.
    pub(crate) fn host(&self) -> Host {
        let host = self.home.host().env("TMPDIR", self.home.folder().join("tmp"));
        host.env("HERMES_HOST_LOG", "hermes_host=debug")
            .set("limits.restart.attempts", 1)
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn attack(&self, host: Host) -> Attacked<'_> {
        let output = host.output();
        self.keep("the attack", &output);
        Attacked { site: self, output }
    }

    /// Takes note of what an attack printed, by which runs are known.
    pub(crate) fn keep(&self, what: &str, output: &Output) {
        // One object, or an event a line.
        let lines = output.stdout.lines().flat_map(serde_json::from_str::<Value>);
        let runs: Vec<String> = lines
            .filter_map(|line| Some(line["run"].as_str()?.to_owned()))
            .collect();
        let mut said = self.said();
        said.runs.extend(runs);
        said.outputs.push((what.to_owned(), output.clone()));
    }

    /// The file without which the model's server does not answer whoever is held.
    pub(crate) fn gate(&self) -> PathBuf {
        self.gate.path().join("open")
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap()
    }

    /// Runs a command that must succeed, and takes note of what it prints.
    #[track_caller]
    fn command(&self, line: &[&str]) -> Output {
        let output = self.host().args(line).output();
        self.keep(line[0], &output);
        assert_eq!(output.code, Some(0), "{line:?}: {output:?}");
        output
    }

    /// Panics when a process held more than instances of so many bytes together need.
    #[track_caller]
    pub(crate) fn holds(&self, output: &Output, bytes: u64) {
        let most = idle_kib() + bytes / 1024 + BESIDE_KIB;
        let peak = output.peak_kib;
        assert!(peak > 0 && peak <= most, "it held {peak} KiB, and may hold {most}");
    }

    /// Panics unless the host is well: it answers as ever, has left nothing behind, and what it keeps of every run is whole, bounded and clean.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        self.canary();
        nothing_is_left(&self.home);
        let runs = self.command(&["runs", "--limit", "1000", "--output", "json"]).json();
        let listed: BTreeSet<String> = runs
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["run"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            listed,
            self.said().runs,
            "a run is missing, or one began that nobody was told of"
        );
        for run in &listed {
            let shown = self.command(&["show", run, "--output", "json"]).json();
            has_ended(&shown);
            self.command(&["export", run]);
        }
        self.command(&["runs", "--output", "text"]);
        let doctor = self.command(&["doctor", "--output", "json"]).json();
        let rows = || doctor.as_array().unwrap().iter();
        assert!(rows().any(|row| row["check"] == "database"), "{doctor}");
        assert!(rows().all(|row| row["state"] != "fail"), "{doctor}");
        for (what, output) in &self.said().outputs {
            clean::printed(self.home.folder(), what, output);
        }
        clean::kept(&self.home);
    }

    /// A run of two completions and a tool call has the answer that it always has.
    #[track_caller]
    fn canary(&self) {
        let before = self.server.requests().len();
        let output = self.host().probe(&json!({ "steps": [sings()] })).output();
        self.keep("the canary", &output);
        assert_eq!(output.code, Some(0), "{output:?}");
        sang(&output.seen()[0]);
        assert_eq!(self.server.requests().len(), before + 2);
        assert!(output.took < CANARY + slack(), "the canary took {:?}", output.took);
    }
}

/// The canary's model: it calls the tool that runs a script, and says what came of it.
fn canary() -> Script {
    let call = Turn::call("run_script", &json!({ "script": "\"singing \" + 6 * 7 + \" times\"" }));
    Script::default()
        .when(HEARD, Script::always(Turn::text(ANSWERED)))
        .when(ASKED, Script::always(call))
}

/// The step that is a canary.
pub(crate) fn sings() -> Value {
    json!({ "do": "agent", "user": ASKED, "turns": 2 })
}

/// Panics unless a canary's step saw what it always sees.
#[track_caller]
pub(crate) fn sang(seen: &Value) {
    let said = seen.pointer("/2/ok/parts/0/Text");
    assert_eq!(said, Some(&json!(ANSWERED)), "the canary does not sing: {seen}");
}

/// What a process holds that nothing attacks, in KiB.
fn idle_kib() -> u64 {
    static IDLE: OnceLock<u64> = OnceLock::new();
    *IDLE.get_or_init(|| {
        let site = Site::new();
        site.host().probe(&json!({ "steps": [sings()] })).output().peak_kib
    })
}

/// An attack that has ended.
pub(crate) struct Attacked<'a> {
    pub(crate) site: &'a Site,
    pub(crate) output: Output,
}

impl Attacked<'_> {
    /// The agent ended so: the command's exit code, and of the run's end the kind (`timed-out`, `exhausted(fuel)`, …) with its message, which holds all
    /// these texts. The run's record says the same.
    #[track_caller]
    pub(crate) fn ends(self, code: i32, kind: &str, names: &[&str]) -> Self {
        let attacked = self.fails(code, kind, names);
        let json = attacked.output.json();
        let run = json["run"].as_str().unwrap();
        let shown = attacked.site.home.shown(run);
        let root = &shown["agents"][0];
        assert_eq!(
            (&root["exit"], &shown["exit"]),
            (&json["exit"], &json["exit"]),
            "{shown}"
        );
        let recorded = root["error"].as_str().unwrap_or_default();
        for name in names {
            assert!(recorded.contains(name), "{name:?} is not recorded: {recorded}");
        }
        attacked
    }

    /// It failed so, whether or not there is a record of it.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, kind: &str, names: &[&str]) -> Self {
        let json = self.output.json();
        assert_eq!(self.output.code, Some(code), "{json}");
        assert_eq!(json["error"]["kind"], kind, "{json}");
        let message = self.message();
        for name in names {
            assert!(message.contains(name), "{name:?} is missing: {message}");
        }
        self
    }

    /// The words of its error.
    pub(crate) fn message(&self) -> String {
        self.output.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// What the run's record says of it.
    #[track_caller]
    pub(crate) fn shown(&self) -> Value {
        self.site.home.shown(self.output.json()["run"].as_str().unwrap())
    }

    /// It answered this.
    #[track_caller]
    pub(crate) fn answers(self, answer: &str) -> Self {
        let json = self.output.json();
        assert_eq!((self.output.code, &json["answer"]), (Some(0), &json!(answer)), "{json}");
        self
    }

    /// Nothing ran: the command says why, in words that hold all these texts.
    #[track_caller]
    pub(crate) fn refused(self, names: &[&str]) -> Self {
        assert_eq!(self.output.code, Some(2), "{:?}", self.output);
        let words: Vec<&str> = self.output.stderr.split_whitespace().collect();
        let said = words.join(" ");
        assert!(said.contains("error: "), "{said}");
        for name in names {
            assert!(said.contains(name), "{name:?} is missing: {said}");
        }
        self
    }

    /// It ended no later than so long after its start.
    #[track_caller]
    pub(crate) fn within(self, limit: Duration) -> Self {
        assert!(self.output.took < limit + slack(), "it took {:?}", self.output.took);
        self
    }

    /// It held no more than instances of so many bytes together need.
    #[track_caller]
    pub(crate) fn holding(self, bytes: u64) -> Self {
        self.site.holds(&self.output, bytes);
        self
    }
}

#[test]
fn secrets_are_found_in_every_spelling() {
    let found = clean::spellings("sk-canary");
    let of = |spelling: &str| -> Vec<&str> {
        let named = found.iter().filter(|(name, _)| *name == spelling);
        named.map(|(_, code)| code.as_str()).collect()
    };
    assert_eq!(of("hexadecimal"), ["736b2d63616e617279"]);
    // `sk-canary`, `xsk-canary` and `xxsk-canary`, without what the others share with them.
    assert_eq!(of("base64"), ["c2stY2FuYXJ5", "NrLWNhbmFye", "zay1jYW5hcn"]);
    assert_eq!(of("HTML escapes"), [""; 0]);
    let found = clean::spellings("sk<&canary>\"'");
    let escaped = found.iter().filter(|(name, _)| *name == "HTML escapes");
    let escaped: Vec<&str> = escaped.map(|(_, code)| code.as_str()).collect();
    assert_eq!(escaped[0], "sk&lt;&amp;canary&gt;\"'");
    assert_eq!(escaped[4], "sk&lt;&amp;canary&gt;&#34;&#39;");
}

#[test]
fn foreign_paths_are_found() {
    let found = |text| {
        clean::paths(text)
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found("in \"/etc/passwd\", or (/proc/self)"),
        ["/etc/passwd", "/proc/self"]
    );
    assert_eq!(
        found("http://127.0.0.1/tmp wasi:io/proc ./tmp/x and/or /a-guests/tmp"),
        [""; 0]
    );
}
