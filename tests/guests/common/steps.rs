//! The language of the probes: a list of steps, each of which calls one imported function, and one observation for each.
//! Values are the contract's own types, in the JSON that serde derives for them.

#![allow(
    clippy::unit_arg,
    reason = "a call that answers nothing is an observation like any other"
)]

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::hermes::plugin::types::{Dimension, Error, ErrorKind, Media, Report, ToolCall, ToolDef};
use crate::hermes::plugin::{blackboard, budget, llm, session, tools};

/// A message, or the parts of an earlier completion of this program.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Turn {
    /// The assistant message that the n-th successful completion was.
    Said { said: usize },
    /// The results of running the calls of the n-th successful completion.
    Ran { ran: usize },
    /// As the contract has it.
    Message(llm::Message),
}

/// Which tools a completion offers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
pub enum Offer {
    /// None.
    #[default]
    Nothing,
    /// `"granted"`: those that `list-tools` shows.
    Named(Named),
    /// These.
    These(Vec<ToolDef>),
}

/// Tools by a word.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Named {
    /// Those that `list-tools` shows.
    Granted,
}

/// One step. Handles are numbered from 0, each kind by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// `llm.complete`.
    Complete {
        messages: Vec<Turn>,
        #[serde(default)]
        tools: Offer,
        #[serde(default)]
        options: Option<llm::Options>,
    },
    /// `llm.start`.
    Start {
        messages: Vec<Turn>,
        #[serde(default)]
        tools: Offer,
        #[serde(default)]
        options: Option<llm::Options>,
    },
    /// `pending-completion.wait`.
    Wait { pending: usize },
    /// `pending-completion.cancel`.
    Cancel { pending: usize },
    /// `llm.models`.
    Models,
    /// An agent's loop of at most `turns` completions with tools, and one without after `exhausted(iterations)`.
    Agent { user: String, turns: u32 },
    /// `tools.list-tools`.
    ListTools,
    /// `tools.call`.
    Call {
        name: String,
        #[serde(default)]
        arguments: Value,
        #[serde(default)]
        id: String,
    },
    /// `tools.start`.
    StartCall {
        name: String,
        #[serde(default)]
        arguments: Value,
        #[serde(default)]
        id: String,
    },
    /// `tools.start`, `n` times, each handle dropped at once; then `tools.call` of the same. The arguments have `pad` spaces behind them.
    CallAfterDropped {
        name: String,
        arguments: Value,
        pad: usize,
        n: u32,
    },
    /// `pending-call.wait`.
    WaitCall { call: usize },
    /// `pending-call.cancel`.
    CancelCall { call: usize },
    /// `tools.wait-any`.
    WaitAnyCall { calls: Vec<usize>, timeout_ms: Option<u32> },
    /// `blackboard.open`; later steps name spaces by number.
    Open { name: String },
    /// `space.get`.
    Get { space: usize, key: String },
    /// `space.put`.
    Put {
        space: usize,
        key: String,
        value: String,
        #[serde(default)]
        if_version: Option<u64>,
    },
    /// `space.put` of `bytes` bytes.
    PutBytes { space: usize, key: String, bytes: usize },
    /// `space.append`.
    Append {
        space: usize,
        prefix: String,
        value: String,
    },
    /// `space.delete`.
    Delete {
        space: usize,
        key: String,
        #[serde(default)]
        if_version: Option<u64>,
    },
    /// `space.keys`.
    Keys {
        space: usize,
        prefix: String,
        #[serde(default)]
        after: Option<String>,
        limit: u32,
    },
    /// `space.changes`.
    Changes {
        space: usize,
        prefix: String,
        since: u64,
        wait_ms: u32,
    },
    /// `budget.remaining`.
    Remaining { dimension: Dimension },
    /// `budget.spent`.
    Spent { dimension: Dimension },
    /// `session.info`.
    Info,
    /// `session.log`.
    Log { level: session::LogLevel, message: String },
    /// `session.progress`.
    Progress {
        message: String,
        #[serde(default)]
        fraction: Option<f32>,
    },
    /// `session.emit`.
    Emit { text: String },
    /// `session.checkpoint`.
    Checkpoint { report: Report },
    /// `session.cancelled`.
    Cancelled,
    /// Does `steps` up to `n` times, and stops before that at the first error if `until_error`.
    Repeat {
        n: u64,
        steps: Vec<Step>,
        #[serde(default)]
        until_error: bool,
    },
    /// Does `step`, and `steps` where it told a failure.
    IfFailed { step: Box<Step>, steps: Vec<Step> },
    /// From here on asks for a key after each step whose name is a digest of all that was seen: what a journal compares.
    Witness { space: usize },
    /// Does `steps` in the first attempt alone.
    FirstAttempt { steps: Vec<Step> },
    /// `n` rounds of arithmetic.
    Compute { n: u64 },
    /// Grows its memory page by page, `pages` times or until it is refused.
    Allocate { pages: u64 },
    /// Traps.
    Trap,
    /// Traps in every attempt before this one.
    TrapBefore { attempt: u32 },
    /// Never ends.
    Spin,
    /// Calls itself without end.
    Recurse,
    /// Calls of the one world alone.
    #[serde(untagged)]
    Own(crate::own::Step),
}

/// What the steps of one program share.
#[derive(Default)]
pub struct Probe {
    completions: Vec<llm::Completion>,
    pending: Vec<llm::PendingCompletion>,
    calls: Vec<tools::PendingCall>,
    spaces: Vec<blackboard::Space>,
    /// Which attempt this is; 0 where there are none.
    pub attempt: u32,
    /// The space that is asked, and the digest of what was seen.
    witness: Option<(usize, u64)>,
    /// What belongs to the one world alone.
    pub own: crate::own::Handles,
}

/// A program with each `⧺` taken out of it, and of each two one left for whoever gets it next: what no prompt holds.
pub fn joined(program: &str) -> String {
    let parts = program.split("⧺⧺").map(|part| part.replace('⧺', ""));
    parts.collect::<Vec<_>>().join("⧺")
}

/// An observation of a call that can't fail.
pub fn ok(value: impl Serialize) -> Value {
    json!({ "ok": value })
}

/// An observation.
pub fn seen<T: Serialize>(result: Result<T, Error>) -> Value {
    match result {
        Ok(value) => ok(value),
        Err(error) => json!({ "error": error }),
    }
}

impl Probe {
    /// Does the steps in order.
    pub fn run(&mut self, steps: &[Step]) -> Vec<Value> {
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn step(&mut self, step: &Step) -> Value {
        let seen = self.do_step(step);
        if let Some((space, digest)) = self.witness {
            // FNV-1a.
            let bytes = seen.to_string().into_bytes();
            let fold = |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            let digest = bytes.iter().fold(digest, fold);
            self.witness = Some((space, digest));
            // Whatever it answers is no step's.
            drop(self.spaces[space].get(&alloc::format!("seen-{digest:016x}")));
        }
        seen
    }

    fn do_step(&mut self, step: &Step) -> Value {
        match step.clone() {
            Step::Complete {
                messages,
                tools,
                options,
            } => {
                let result = llm::complete(&self.messages(messages), &offered(tools), options.as_ref());
                self.keep(result)
            }
            Step::Start {
                messages,
                tools,
                options,
            } => {
                self.pending
                    .push(llm::start(&self.messages(messages), &offered(tools), options.as_ref()));
                ok(self.pending.len() - 1)
            }
            Step::Wait { pending } => {
                let result = self.pending[pending].wait();
                self.keep(result)
            }
            Step::Cancel { pending } => ok(self.pending[pending].cancel()),
            Step::Models => ok(llm::models()),
            Step::Agent { user, turns } => self.agent(user, turns),
            Step::ListTools => ok(tools::list_tools()),
            Step::Call { name, arguments, id } => ok(tools::call(&call(name, &arguments, id))),
            Step::StartCall { name, arguments, id } => {
                self.calls.push(tools::start(&call(name, &arguments, id)));
                ok(self.calls.len() - 1)
            }
            Step::CallAfterDropped {
                name,
                arguments,
                pad,
                n,
            } => {
                let mut call = call(name, &arguments, String::new());
                call.arguments.push_str(&" ".repeat(pad));
                (0..n).for_each(|_| drop(tools::start(&call)));
                ok(tools::call(&call))
            }
            Step::WaitCall { call } => ok(self.calls[call].wait()),
            Step::CancelCall { call } => ok(self.calls[call].cancel()),
            Step::WaitAnyCall { calls, timeout_ms } => {
                let calls: Vec<_> = calls.iter().map(|n| &self.calls[*n]).collect();
                ok(tools::wait_any(&calls, timeout_ms))
            }
            Step::Remaining { dimension } => ok(budget::remaining(dimension)),
            Step::Spent { dimension } => ok(budget::spent(dimension)),
            Step::Info => ok(session::info()),
            Step::Log { level, message } => ok(session::log(level, &message)),
            Step::Progress { message, fraction } => ok(session::progress(&message, fraction)),
            Step::Emit { text } => ok(session::emit(&text)),
            Step::Checkpoint { report } => ok(session::checkpoint(&report)),
            Step::Cancelled => ok(session::cancelled()),
            Step::Repeat { n, steps, until_error } => self.repeat(n, &steps, until_error),
            Step::IfFailed { step, steps } if is_failure(&self.step(&step)) => ok(self.run(&steps)),
            Step::IfFailed { .. } => Value::Null,
            Step::Witness { space } => {
                self.witness = Some((space, 0xcbf2_9ce4_8422_2325));
                Value::Null
            }
            Step::FirstAttempt { steps } if self.attempt <= 1 => ok(self.run(&steps)),
            Step::FirstAttempt { .. } => Value::Null,
            Step::Compute { n } => ok(crate::work::compute(n)),
            Step::Allocate { pages } => ok(crate::work::allocate(pages)),
            Step::Trap => crate::work::machine::trap(),
            Step::TrapBefore { attempt } if self.attempt < attempt => crate::work::machine::trap(),
            Step::TrapBefore { .. } => ok(self.attempt),
            Step::Spin => crate::work::spin(),
            Step::Recurse => ok(crate::work::recurse(0)),
            Step::Own(step) => self.own.step(step),
            blackboard => self.blackboard(blackboard),
        }
    }

    fn blackboard(&mut self, step: Step) -> Value {
        let space = |n: usize| &self.spaces[n];
        match step {
            Step::Open { name } => match blackboard::open(&name) {
                Ok(space) => {
                    self.spaces.push(space);
                    ok(self.spaces.len() - 1)
                }
                Err(error) => json!({ "error": error }),
            },
            Step::Get { space: n, key } => seen(space(n).get(&key)),
            Step::Put {
                space: n,
                key,
                value,
                if_version,
            } => seen(space(n).put(&key, &text(value), if_version)),
            Step::PutBytes { space: n, key, bytes } => seen(space(n).put(
                &key,
                &Media {
                    media_type: "application/octet-stream".into(),
                    data: alloc::vec![7; bytes],
                },
                None,
            )),
            Step::Append {
                space: n,
                prefix,
                value,
            } => seen(space(n).append(&prefix, &text(value))),
            Step::Delete {
                space: n,
                key,
                if_version,
            } => seen(space(n).delete(&key, if_version)),
            Step::Keys {
                space: n,
                prefix,
                after,
                limit,
            } => seen(space(n).keys(&prefix, after.as_deref(), limit)),
            Step::Changes {
                space: n,
                prefix,
                since,
                wait_ms,
            } => seen(space(n).changes(&prefix, since, wait_ms)),
            _ => Value::Null,
        }
    }

    fn repeat(&mut self, n: u64, steps: &[Step], until_error: bool) -> Value {
        let (mut rounds, mut last) = (0, Vec::new());
        for _ in 0..n {
            last = self.run(steps);
            if until_error && last.iter().any(|seen| seen.get("error").is_some()) {
                break;
            }
            rounds += 1;
        }
        ok(json!({ "rounds": rounds, "last": last }))
    }

    fn agent(&mut self, user: String, turns: u32) -> Value {
        let offered = tools::list_tools();
        let mut messages = alloc::vec![llm::Message::User(alloc::vec![llm::Content::Text(user)])];
        let mut seen = Vec::new();
        for _ in 0..turns {
            match llm::complete(&messages, &offered, None) {
                Ok(answer) => {
                    seen.push(ok(&answer));
                    let results = run_calls(&answer);
                    messages.push(llm::Message::Assistant(answer.parts));
                    if results.is_empty() {
                        return Value::Array(seen);
                    }
                    seen.push(ok(&results));
                    messages.push(llm::Message::Tool(results));
                }
                Err(error) => {
                    let closing = matches!(error.kind, ErrorKind::Exhausted(Dimension::Iterations));
                    seen.push(json!({ "error": error }));
                    if closing {
                        seen.push(self::seen(llm::complete(&messages, &[], None)));
                    }
                    return Value::Array(seen);
                }
            }
        }
        Value::Array(seen)
    }

    fn keep(&mut self, result: Result<llm::Completion, Error>) -> Value {
        if let Ok(completion) = &result {
            self.completions.push(completion.clone());
        }
        seen(result)
    }

    fn messages(&self, turns: Vec<Turn>) -> Vec<llm::Message> {
        let message = |turn| match turn {
            Turn::Said { said } => llm::Message::Assistant(self.completions[said].parts.clone()),
            Turn::Ran { ran } => llm::Message::Tool(run_calls(&self.completions[ran])),
            Turn::Message(message) => message,
        };
        turns.into_iter().map(message).collect()
    }
}

/// Whether what was seen is a failure: an error, or a child's end other than a return.
fn is_failure(seen: &Value) -> bool {
    let exit = seen.pointer("/ok/exit");
    seen.get("error").is_some() || exit.is_some_and(|exit| exit != "Returned")
}

fn run_calls(completion: &llm::Completion) -> Vec<llm::ToolResult> {
    let calls = completion.parts.iter().filter_map(|part| match part {
        llm::Part::ToolCall(call) => Some(tools::call(call)),
        _ => None,
    });
    calls.collect()
}

fn offered(offer: Offer) -> Vec<ToolDef> {
    match offer {
        Offer::Nothing => Vec::new(),
        Offer::Named(Named::Granted) => tools::list_tools(),
        Offer::These(defs) => defs,
    }
}

fn call(name: String, arguments: &Value, id: String) -> ToolCall {
    // A string goes out as it is, so that a program can send what is no JSON.
    let arguments = match arguments {
        Value::Null => "{}".into(),
        Value::String(raw) => raw.clone(),
        other => alloc::format!("{other}"),
    };
    ToolCall { id, name, arguments }
}

fn text(value: String) -> Media {
    Media {
        media_type: "text/plain".into(),
        data: value.into_bytes(),
    }
}
