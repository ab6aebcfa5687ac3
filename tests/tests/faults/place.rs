//! A home and the server of its model, and what can be asked of them between two processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hermes_tests::model::{Format, ModelServer, Request, Script};
use hermes_tests::{Home, Host, Output};
use serde_json::Value;

use crate::end::without_fences;
use crate::eventually;

/// The host's own files: path below its folder, and bytes.
pub(crate) type Files = Vec<(PathBuf, Vec<u8>)>;

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

/// The answer of a run, as `show` has it.
pub(crate) fn answered(home: &Home, run: &str) -> Output {
    home.host()
        .args(["show", run, "--answer", "--output", "json"])
        .output()
        .expect(0)
}

/// The operations of a run, each with its place: the key that a model's server is told of a completion.
fn operations(shown: &Value) -> impl Iterator<Item = (String, &Value)> {
    let agents = shown["agents"].as_array().unwrap().iter();
    agents.flat_map(|agent| {
        let id = agent["id"].as_str().unwrap();
        let place = move |op: &Value| format!("{id}-{}-{}", op["attempt"], op["op"].as_str().unwrap());
        let operations = agent["operations"].as_array().unwrap().iter();
        operations.map(move |op| (place(op), op))
    })
}

/// The completions of a run that have their outcome, and those that have none yet, each by the key that the model's server is told.
pub(crate) fn completions(shown: &Value) -> (Vec<String>, Vec<String>) {
    let (mut ended, mut open) = (Vec::new(), Vec::new());
    for (key, op) in operations(shown).filter(|(_, op)| op["kind"] == "completion" || op["kind"] == "closing") {
        match op["status"].as_str() {
            Some("open") => open.push(key),
            _ => ended.push(key),
        }
    }
    (ended, open)
}

/// The tool calls of a run that have no outcome yet, each by its place and its tool's name.
pub(crate) fn open_calls(shown: &Value) -> Vec<String> {
    let open = operations(shown).filter(|(_, op)| op["kind"] == "tool-call" && op["status"] == "open");
    open.map(|(place, op)| format!("{place} {}", op["name"].as_str().unwrap()))
        .collect()
}

/// `doctor` finds nothing wrong with the database.
#[track_caller]
pub(crate) fn assert_sound(home: &Home) {
    let found = home.host().args(["doctor", "--output", "json"]).output().json();
    let database = found.as_array().unwrap().iter().find(|row| row["check"] == "database");
    assert!(database.is_some_and(|row| row["state"] == "ok"), "{found}");
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

/// What was asked, by the place in the run where it was: the key without the run's id. What is sent again is the same request.
#[track_caller]
pub(crate) fn asked(server: &ModelServer) -> BTreeMap<String, String> {
    let mut asked: BTreeMap<String, Request> = BTreeMap::new();
    for request in server.requests() {
        let key = request.header("idempotency-key").unwrap();
        let (_, place) = key.split_once('.').unwrap();
        match asked.get(place) {
            Some(before) => assert_eq!(before.body, request.body, "{key} asks for something else"),
            None => drop(asked.insert(place.to_owned(), request)),
        }
    }
    let words = |(place, request): (String, Request)| (place, without_fences(&request.last()));
    asked.into_iter().map(words).collect()
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
            let (ended, open) = completions(&shown(&self.home, &run));
            ((ended.len(), open.len()) == (answered, 1) && self.asked() == answered + 1).then_some(())
        });
    }

    /// What the host keeps, compiled code apart.
    pub(crate) fn files(&self) -> Files {
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
