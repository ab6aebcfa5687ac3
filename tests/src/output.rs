//! What a command printed, and what tests ask of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::home::KEY;

/// A command that ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// From start to end.
    pub took: Duration,
    /// The most memory that it held, in KiB, as last seen a moment before its end. What programs held that it started is not in it.
    pub peak_kib: u64,
    /// What its instances may hold together, in bytes ([`crate::Home::holds`]).
    pub instances: u64,
    /// When it had ended.
    pub ended: Instant,
}

/// How late a limit in time may be: 250 ms on a quiet machine.
pub fn slack() -> Duration {
    Duration::from_millis(250 * factor())
}

fn factor() -> u64 {
    let set = std::env::var("HERMES_TEST_SLACK").ok();
    set.and_then(|factor| factor.parse().ok()).unwrap_or(8)
}

impl Output {
    /// Panics unless it exited with `code`; and what it printed must be clean.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        assert_clean(&self);
        self
    }

    /// Standard output as the one JSON value that it should be.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {:?}\nstderr:\n{}", self.stdout, self.stderr))
    }

    /// Panics unless it failed of something of this kind, as JSON tells it.
    #[track_caller]
    pub fn of_kind(self, kind: &str) -> Self {
        let json = self.json();
        assert_eq!(json["error"]["kind"], kind, "{json}");
        self
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect()
    }

    /// What the steps of a probe's program saw.
    #[track_caller]
    pub fn seen(&self) -> Vec<Value> {
        let json = self.json();
        json["result"]["seen"]
            .as_array()
            .unwrap_or_else(|| panic!("nothing seen: {json}\nstderr:\n{}", self.stderr))
            .clone()
    }

    /// A dimension of `spent`.
    #[track_caller]
    pub fn spent(&self, dimension: &str) -> u64 {
        let json = self.json();
        json["spent"][dimension]
            .as_u64()
            .unwrap_or_else(|| panic!("no {dimension} in {json}"))
    }

    /// Panics unless standard error holds all these texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is missing in:\n{}", self.stderr);
        }
        self
    }
}

/// The kind of an observation's error as the contract names it, with its dimension; none where it is no error.
pub fn refusal(seen: &Value) -> Option<String> {
    let kind = seen.pointer("/error/kind").or_else(|| seen.pointer("/ok/error/kind"))?;
    Some(match kind {
        Value::String(name) => kebab(name),
        other => {
            let (name, inner) = other.as_object()?.iter().next()?;
            format!("{}({})", kebab(name), kebab(inner.as_str()?))
        }
    })
}

/// The words of an observation's error.
pub fn message(seen: &Value) -> &str {
    let message = seen
        .pointer("/error/message")
        .or_else(|| seen.pointer("/ok/error/message"));
    message.and_then(Value::as_str).unwrap_or_default()
}

/// What the steps of a tool saw, as whoever called it was answered.
#[track_caller]
pub fn in_call(seen: &Value) -> Vec<Value> {
    let text = seen.pointer("/ok/output/structured_content").and_then(Value::as_str);
    let text = text.unwrap_or_else(|| panic!("the tool has no answer: {seen}"));
    let told: Value = serde_json::from_str(text).unwrap();
    told["seen"].as_array().unwrap().clone()
}

/// `ToolCalls` → `tool-calls`.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Panics when what was printed could steer a terminal, or holds the key.
#[track_caller]
pub fn assert_clean(output: &Output) {
    for (name, text) in [("standard output", &output.stdout), ("standard error", &output.stderr)] {
        let odd = steering(text);
        assert!(odd.is_none(), "{name} holds {odd:?}: {text:?}");
        assert!(!text.contains(KEY), "{name} holds the key: {text}");
    }
}

/// The first character of a text that could steer a terminal, or hide words.
pub fn steering(text: &str) -> Option<char> {
    text.chars().find(|c| steers(*c))
}

/// The same that the host takes out of what it shows, but for the selector that makes a picture of a symbol.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        // What can't be seen can hide words.
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{17b4}' | '\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
