//! Whether a home's host is well after what was done to it: it works as ever, has left nothing behind, and what it keeps is whole and clean.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Home, Output, clean, guests};

/// The runs that are looked at one by one; `doctor`, and the search in what is kept, look at all.
const LAST: &str = "20";

/// Panics unless the host of this home is well. A run that was interrupted there may go on later; all others have ended.
#[track_caller]
pub fn is_well(home: &Home) {
    let command = |line: &[&str]| -> Output {
        let output = home.host().args(line).output().expect(0);
        clean::printed(home.folder(), line[0], &output);
        output
    };
    let echo = guests::built("pure-echo").display().to_string();
    let echoed = command(&["call", &echo, "echo", r#"{"text":"hello"}"#]);
    assert_eq!(echoed.stdout, "hello\n");
    nothing_is_left(home);
    if home.path().join("host/hermes.db").exists() {
        let runs = command(&["runs", "--limit", LAST, "--output", "json"]).json();
        for row in runs.as_array().unwrap() {
            let run = row["run"].as_str().unwrap();
            let shown = command(&["show", run, "--output", "json"]).json();
            if row["status"] != "interrupted" {
                has_ended(&shown);
            }
            command(&["export", run]);
        }
    }
    let doctor = command(&["doctor", "--output", "json"]).json();
    let failed = doctor.as_array().unwrap().iter().find(|row| row["state"] == "fail");
    assert!(failed.is_none(), "{doctor}");
    clean::kept(home);
}

/// Panics when a process of this home is alive, or a temporary file or memory dump is there.
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
