//! What only a strategy may call: children and lessons. Beside them, what a guest of WASI sees of the world: clocks, timers, random numbers.

use serde::Deserialize;
use serde_json::{Value, json};
use wasip2::cli::stdout::get_stdout;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::OutputStream;
use wasip2::random::{insecure, insecure_seed, random};

use crate::hermes::plugin::delegation::{self, ChildSpec};
use crate::hermes::plugin::lessons;
use crate::hermes::plugin::types::LessonLayer;
use crate::steps::{ok, seen};

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// `delegation.spawn`.
    Spawn { spec: ChildSpec },
    /// The same with one grant more, of three parts, the middle one so many times: what no prompt holds.
    SpawnWithGrant {
        spec: ChildSpec,
        grant: (String, String, String),
        times: usize,
    },
    /// `delegation.children`, as their ids.
    Children,
    /// `child.status`.
    Status { child: usize },
    /// `child.join`.
    Join { child: usize },
    /// `child.join` of the child that was spawned last.
    JoinLast,
    /// Takes over what `delegation.children` lists, and says how many.
    AdoptChildren,
    /// Drops every handle of a child.
    DropChildren,
    /// `child.cancel`.
    CancelChild { child: usize },
    /// `delegation.wait-any`.
    WaitAnyChild {
        children: Vec<usize>,
        timeout_ms: Option<u32>,
    },
    /// `lessons.recall`.
    Recall {
        layer: LessonLayer,
        query: String,
        limit: u32,
    },
    /// `lessons.propose`.
    Propose {
        layer: LessonLayer,
        text: String,
        evidence: String,
    },
    /// Both clocks, read so many times: the last reading.
    Clocks { readings: u32 },
    /// Writes to standard output, with or without an end of the line.
    Print { text: String },
    /// Random numbers of each kind, so many bytes.
    Random { bytes: u64 },
    /// Sets a timer for each, and waits until one of them has ended: which have.
    Sleep { ms: Vec<u64> },
    /// Sets a timer for each, and waits for those that are left until all have ended: which ended in each wait, and the clock after it.
    SleepAll { ms: Vec<u64> },
    /// Sets a timer for each, asks each whether it has ended, waits for the last and asks them again: what they said before and after, and the clock.
    AskTimers { ms: Vec<u64> },
}

/// Children by number, and standard output once it was used.
#[derive(Default)]
pub struct Handles {
    children: Vec<delegation::Child>,
    out: Option<OutputStream>,
}

impl Handles {
    /// Does one step.
    pub fn step(&mut self, step: Step) -> Value {
        match step {
            Step::Spawn { spec } => self.spawn(&spec),
            Step::SpawnWithGrant { mut spec, grant, times } => {
                let (before, part, after) = grant;
                spec.grants.push([before, part.repeat(times), after].concat());
                self.spawn(&spec)
            }
            Step::Children => ok(delegation::children()
                .iter()
                .map(delegation::Child::id)
                .collect::<Vec<_>>()),
            Step::Status { child } => ok(self.children[child].status()),
            Step::Join { child } => ok(self.children[child].join()),
            Step::AdoptChildren => {
                self.children.extend(delegation::children());
                ok(self.children.len())
            }
            Step::DropChildren => {
                self.children.clear();
                ok(())
            }
            Step::JoinLast => match self.children.last() {
                Some(child) => ok(child.join()),
                None => Value::Null,
            },
            Step::CancelChild { child } => {
                self.children[child].cancel();
                ok(())
            }
            Step::WaitAnyChild { children, timeout_ms } => {
                let children: Vec<_> = children.iter().map(|n| &self.children[*n]).collect();
                ok(delegation::wait_any(&children, timeout_ms))
            }
            Step::Recall { layer, query, limit } => seen(lessons::recall(layer, &query, limit)),
            Step::Propose { layer, text, evidence } => seen(lessons::propose(layer, &text, &evidence)),
            Step::Clocks { readings } => {
                let read = || {
                    let now = wall_clock::now();
                    (now.seconds, now.nanoseconds, monotonic_clock::now())
                };
                let again = (1..readings.max(1)).fold(read(), |_, _| read());
                ok(again)
            }
            Step::Print { text } => {
                let out = self.out.get_or_insert_with(get_stdout);
                ok(out.blocking_write_and_flush(text.as_bytes()).is_ok())
            }
            Step::Random { bytes } => ok((
                random::get_random_bytes(bytes),
                random::get_random_u64(),
                insecure::get_insecure_random_bytes(bytes),
                insecure_seed::insecure_seed(),
            )),
            Step::Sleep { ms } => ok(poll(&timers(&ms).iter().collect::<Vec<_>>())),
            Step::SleepAll { ms } => {
                let timers = timers(&ms);
                let mut left: Vec<usize> = (0..timers.len()).collect();
                let mut waits = Vec::new();
                while !left.is_empty() {
                    let those: Vec<&Pollable> = left.iter().map(|timer| &timers[*timer]).collect();
                    let ended: Vec<usize> = poll(&those).into_iter().map(|at| left[at as usize]).collect();
                    left.retain(|timer| !ended.contains(timer));
                    waits.push((ended, monotonic_clock::now()));
                }
                ok(waits)
            }
            Step::AskTimers { ms } => {
                let timers = timers(&ms);
                let ask = || timers.iter().map(Pollable::ready).collect::<Vec<_>>();
                let before = ask();
                if let Some(last) = timers.last() {
                    last.block();
                }
                ok((before, ask(), monotonic_clock::now()))
            }
        }
    }

    fn spawn(&mut self, spec: &ChildSpec) -> Value {
        match delegation::spawn(spec) {
            Ok(child) => {
                self.children.push(child);
                ok(self.children.len() - 1)
            }
            Err(error) => json!({ "error": error }),
        }
    }
}

/// A timer for each, so many milliseconds long.
fn timers(ms: &[u64]) -> Vec<Pollable> {
    ms.iter()
        .map(|ms| monotonic_clock::subscribe_duration(ms * 1_000_000))
        .collect()
}
