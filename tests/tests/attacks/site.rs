//! The place of an attack: a home and its model. Whoever attacks it says how that shall end, and asks at last whether the host is well.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::output::slack;
use hermes_tests::well::{canary, is_held, is_well_by};
use hermes_tests::{Home, Host, Output, clean};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A home that is attacked, and the server of its model.
pub(crate) struct Site {
    pub(crate) server: ModelServer,
    pub(crate) home: Home,
    /// What the model's server waits for.
    gate: TempDir,
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
        Self { server, home, gate }
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
        Attacked { site: self, output }
    }

    /// The file without which the model's server does not answer whoever is held.
    pub(crate) fn gate(&self) -> PathBuf {
        self.gate.path().join("open")
    }

    /// Panics unless the host is well ([`is_well_by`]).
    #[track_caller]
    pub(crate) fn is_well(&self) {
        let before = self.server.requests().len();
        is_well_by(&self.home, &[], &|| self.host(), &|| self.host());
        assert_eq!(self.server.requests().len(), before + 2, "what the canary asked");
    }
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

    /// The denials that the audit of its run has.
    #[track_caller]
    pub(crate) fn denied(&self) -> Vec<Value> {
        let json = self.output.json();
        let run = json["run"].as_str().unwrap();
        let host = self.site.home.host();
        let audit = host.args(["show", run, "--audit", "--output", "json"]).output();
        let mut rows = audit.expect(0).json().as_array().unwrap().clone();
        rows.retain(|row| row["way"] == "denied");
        rows
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

    /// What it failed of is of this kind, as JSON tells it.
    #[track_caller]
    pub(crate) fn of_kind(mut self, kind: &str) -> Self {
        self.output = self.output.of_kind(kind);
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
    pub(crate) fn holding(mut self, bytes: u64) -> Self {
        assert!(self.output.peak_kib > 0, "nobody saw what the attack held");
        self.output.instances = bytes;
        is_held("the attack", &self.output);
        self.site.home.holds(&self.output, bytes);
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
