//! Attacks that are a run each, as data: what is run, what that may do, and how it ends. An attack's own test tries each by itself, in a process of
//! its own; the suite `storm` tries all of them at once in one process.

pub(crate) mod authority;
pub(crate) mod bodies;
pub(crate) mod bytes;
pub(crate) mod calls;
pub(crate) mod computing;
pub(crate) mod floods;
pub(crate) mod lists;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod notes;
pub(crate) mod orders;
pub(crate) mod paths;
pub(crate) mod replies;
pub(crate) mod room;
pub(crate) mod secrets;
pub(crate) mod slow;
pub(crate) mod streams;
pub(crate) mod terminal;
pub(crate) mod texts;
pub(crate) mod timing;
pub(crate) mod trees;
pub(crate) mod values;
pub(crate) mod waiting;
pub(crate) mod wire;

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use hermes_tests::model::Script;
use hermes_tests::program::steps as program;
use hermes_tests::{Home, guests};
use serde_json::Value;

use crate::hostile::Guest;
use replies::Replies;

/// What stands in a grant for the working folder, and for the home folder.
const WORK: &str = "{work}";
const HOME: &str = "{home}";

/// Limits that all cases are run under: more fuel than any attack burns before a clock ends it; replies and reports that are larger than is usual, so that
/// what was seen can be looked at; nothing is tried twice.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("limits.fuel", "9000000000000000"),
    ("limits.report", "8MiB"),
    ("limits.llm.tries", "1"),
    ("limits.restart.attempts", "1"),
];

/// The clocks that end what never comes back. Whoever runs a case says how long they are.
pub(crate) const CLOCKS: [&str; 2] = ["limits.step_wall", "limits.start_wall"];

/// An attack.
pub(crate) struct Case {
    /// What it is called in messages.
    pub(crate) name: String,
    pub(crate) does: Does,
    /// What `--tool` brings.
    pub(crate) tools: Vec<Plugin>,
    /// `--allow`, with [`WORK`] and [`HOME`] for folders.
    allow: Vec<String>,
    /// `--deny`.
    pub(crate) deny: Vec<&'static str>,
    /// `--budget`.
    pub(crate) budget: Option<&'static str>,
    /// Files of the working folder.
    files: Vec<(&'static str, String)>,
    /// Links of the working folder, and where each leads.
    links: Vec<(&'static str, &'static str)>,
    /// What the model says to requests that hold a text.
    pub(crate) script: Vec<(String, Script)>,
    /// A server of its own that is its model.
    pub(crate) replies: Option<Replies>,
    /// Whether it is one of [`CLOCKS`] that ends it.
    pub(crate) by_a_clock: bool,
    pub(crate) end: End,
}

/// What is run.
pub(crate) enum Does {
    /// A strategy, with this prompt.
    Run(Plugin, String),
    /// The strategy `probe`, with these steps.
    Steps(Vec<Value>),
    /// A person's call of one tool of a plugin.
    Call(Plugin, &'static str, Value),
}

/// How it ends.
pub(crate) enum End {
    /// The root, or the called tool, fails: the kind (`timed-out`, `exhausted(fuel)`, …), and words of its message.
    Fails(&'static str, Vec<String>),
    /// The root answers this.
    Answers(String),
    /// Nothing runs: the kind (`load(bad-bytes)`, …), and words of the reason.
    Refused(&'static str, Vec<String>),
    /// The root, or the called tool, succeeds, and its steps saw what this takes for right. It panics where they did not.
    Sees(Box<Seen>),
}

/// Looks at what steps saw.
type Seen = dyn Fn(&[Value]) + Send + Sync;

/// A plugin.
#[derive(Debug, Clone)]
pub(crate) enum Plugin {
    /// One that is built.
    Built(&'static str),
    /// One that is made on the spot, by its name.
    Made(String, Vec<u8>),
}

impl Plugin {
    /// One that is made on the spot.
    pub(crate) fn made(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::Made(name.to_owned(), bytes.into())
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Built(name) => name,
            Self::Made(name, _) => name,
        }
    }

    /// Its file; one that is made on the spot is in this folder of the working folder.
    pub(crate) fn file(&self, home: &Home, folder: &str) -> PathBuf {
        match self {
            Self::Built(name) => guests::built(name),
            Self::Made(name, bytes) => home.write(&format!("{folder}/{name}.wasm"), bytes),
        }
    }
}

impl From<Guest> for Plugin {
    fn from(guest: Guest) -> Self {
        Self::made(guest.name, guest.bytes())
    }
}

impl Case {
    fn new(name: String, does: Does) -> Self {
        Self {
            name,
            does,
            tools: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            budget: None,
            files: Vec::new(),
            links: Vec::new(),
            script: Vec::new(),
            replies: None,
            by_a_clock: false,
            end: End::Answers("done".to_owned()),
        }
    }

    /// A strategy that is run on a prompt, and answers `done` where nothing else is said.
    pub(crate) fn run(strategy: impl Into<Plugin>, prompt: &str) -> Self {
        let strategy = strategy.into();
        let name = format!("{} on {}", strategy.name(), prompt.chars().take(20).collect::<String>());
        Self::new(name, Does::Run(strategy, prompt.to_owned()))
    }

    /// The probe, run on these steps as a whole program: it is not expected to succeed.
    pub(crate) fn probe(name: &str, steps: &[Value]) -> Self {
        let prompt = program(steps).to_string();
        Self::new(name.to_owned(), Does::Run(Plugin::Built("probe"), prompt))
    }

    /// Steps of the probe, which succeed.
    pub(crate) fn steps(name: &str, steps: impl Into<Vec<Value>>) -> Self {
        Self::new(name.to_owned(), Does::Steps(steps.into()))
    }

    /// A call of a tool.
    pub(crate) fn call(name: &str, plugin: impl Into<Plugin>, tool: &'static str, arguments: Value) -> Self {
        Self::new(name.to_owned(), Does::Call(plugin.into(), tool, arguments))
    }

    /// A call of the tool that calls WASI with whatever these steps say.
    pub(crate) fn wasi(name: &str, steps: &[Value]) -> Self {
        let arguments = serde_json::json!({ "steps": steps });
        Self::call(name, Plugin::Built("probe-wasi"), "wasi", arguments)
    }

    /// The tool `measure` of this guest is called by an agent, and answers so.
    pub(crate) fn measures(guest: Guest, answer: &'static str) -> Self {
        let call = serde_json::json!({ "do": "call", "name": "measure" });
        let case = Self::steps(guest.name, [call]).tool(guest);
        case.sees(move |seen| assert_eq!(seen[0]["ok"]["output"]["content"][0]["Text"], answer, "{}", seen[0]))
    }

    /// With these tools too.
    pub(crate) fn tool(mut self, plugin: impl Into<Plugin>) -> Self {
        self.tools.push(plugin.into());
        self
    }

    /// With this grant.
    pub(crate) fn allow(mut self, grant: impl Into<String>) -> Self {
        self.allow.push(grant.into());
        self
    }

    /// Without these rights.
    pub(crate) fn deny(mut self, rights: &[&'static str]) -> Self {
        self.deny = rights.to_vec();
        self
    }

    /// Within this budget.
    pub(crate) fn budget(mut self, budget: &'static str) -> Self {
        self.budget = Some(budget);
        self
    }

    /// With this file in the working folder.
    pub(crate) fn file(mut self, path: &'static str, text: impl Into<String>) -> Self {
        self.files.push((path, text.into()));
        self
    }

    /// With this link in the working folder, beside a file of the case.
    pub(crate) fn link(mut self, path: &'static str, to: &'static str) -> Self {
        self.links.push((path, to));
        self
    }

    /// The model says this to requests that hold a text.
    pub(crate) fn when(mut self, marker: &str, script: impl Into<Script>) -> Self {
        self.script.push((marker.to_owned(), script.into()));
        self
    }

    /// It fails so.
    pub(crate) fn fails(mut self, kind: &'static str, words: &[&str]) -> Self {
        self.end = End::Fails(kind, owned(words));
        self
    }

    /// It is ended by this clock.
    pub(crate) fn times_out(self, clock: &'static str) -> Self {
        self.fails("timed-out", &[clock]).by_a_clock()
    }

    /// It is one of [`CLOCKS`] that ends it.
    pub(crate) fn by_a_clock(mut self) -> Self {
        self.by_a_clock = true;
        self
    }

    /// It answers this.
    pub(crate) fn answers(mut self, answer: &str) -> Self {
        answer.clone_into(match &mut self.end {
            End::Answers(expected) => expected,
            _ => unreachable!("a case has one end"),
        });
        self
    }

    /// Nothing runs, for a reason of this kind with these words.
    pub(crate) fn refused(mut self, kind: &'static str, words: &[&str]) -> Self {
        self.end = End::Refused(kind, owned(words));
        self
    }

    /// It succeeds, and saw what this does not panic at.
    pub(crate) fn sees(mut self, looks: impl Fn(&[Value]) + Send + Sync + 'static) -> Self {
        self.end = End::Sees(Box::new(looks));
        self
    }

    /// Writes its files, makes its links, and gives its grants.
    pub(crate) fn grants(&self, home: &Home) -> Vec<String> {
        for (path, text) in &self.files {
            home.write(path, text);
        }
        for (path, to) in &self.links {
            symlink(to, home.work().join(path)).unwrap();
        }
        let (work, home) = (home.work().display().to_string(), home.path().display().to_string());
        let folders = |grant: &String| grant.replace(WORK, &work).replace(HOME, &home);
        self.allow.iter().map(folders).collect()
    }
}

impl End {
    /// The exit code of a command that ends so; what it is where an agent failed stands with the kinds of failures.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Answers(_) | Self::Sees(_) => 0,
            Self::Refused(..) => 2,
            Self::Fails(kind, _) if kind.starts_with("exhausted") => 3,
            Self::Fails(kind, _) if *kind == "denied" => 4,
            Self::Fails(..) => 1,
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
