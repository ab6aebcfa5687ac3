//! `resume --all`: goes on with every run that can, side by side, and tells of each as it ends.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::args::Output;
use super::errors::{NOTHING_RAN, Problem, STOPPED};
use super::plain::Lines;
use super::run::{answer, listen, on_a_thread, tell_end};
use super::style::{Ink, first_line, number, usd};
use super::{Context, json, stdio};
use crate::config::Config;
use crate::error::Dimension;
use crate::event::EventReceiver;
use crate::ids::RunId;
use crate::run::{Host, HostError, ResumeSpec, RunOutcome, Titles, without_fences};
use crate::store::StoreError;
use crate::text::{Shape, clean};

/// What came of one run.
enum End {
    /// It went on, to this end.
    Ran(Box<RunOutcome>),
    /// It could not be taken up, or the host failed in it.
    Problem(RunId, Problem),
    /// Another process has it; 0 where it is not known which.
    Elsewhere(RunId, u32),
    /// Another process had it, and it stands so now.
    Over(RunId, &'static str),
}

/// Standard output, which all runs write to. Where it can't be written the runs go on, nothing more is written, and that is the end of the command.
#[derive(Default)]
struct Out(OnceLock<Problem>);

impl Out {
    fn write(&self, print: impl FnOnce() -> Result<(), Problem>) {
        if self.0.get().is_none()
            && let Err(problem) = print()
        {
            // The first says it.
            let _ = self.0.set(problem);
        }
    }

    fn written(&self) -> Result<(), Problem> {
        self.0.get().cloned().map_or(Ok(()), Err)
    }
}

/// What is under way elsewhere, or came to its end there, is told, and is none of ours.
fn tell_and_keep(end: Option<End>, ends: &mut Vec<End>, context: Context, out: &Out) {
    if let Some(end) = end {
        tell(&end, context, out);
        if !matches!(end, End::Elsewhere(..) | End::Over(..)) {
            ends.push(end);
        }
    }
}

/// Goes on with all runs that can, and stays with them to their ends. A signal suspends them.
pub(super) async fn resume_all(config: Config, context: Context) -> Result<u8, Problem> {
    let mut stop = listen()?;
    let places = usize::try_from(config.limits.resume_parallel).unwrap_or(usize::MAX);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    let host = Arc::new(Host::open(config, context.compile_in)?);
    let (suspend, out) = (CancellationToken::new(), Arc::<Out>::default());
    let (mut running, mut tasks) = (JoinSet::new(), HashMap::new());
    for run in host.unfinished()? {
        let (host, places, suspend, out) = (host.clone(), places.clone(), suspend.clone(), out.clone());
        let of = run.clone();
        let task = running.spawn(async move { one(&host, context, run, &places, &suspend, &out).await });
        tasks.insert(task.id(), of);
    }
    let mut ends = Vec::new();
    loop {
        tokio::select! {
            end = running.join_next() => match end {
                None => break,
                Some(Ok(end)) => tell_and_keep(end, &mut ends, context, &out),
                Some(Err(lost)) => {
                    // The others go on.
                    let problem = Problem::from(HostError::Run(lost.to_string()));
                    let end = tasks.remove(&lost.id()).map(|run| End::Problem(run, problem));
                    tell_and_keep(end, &mut ends, context, &out);
                }
            },
            () = stop.next() => {
                if suspend.is_cancelled() {
                    std::process::exit(STOPPED.into());
                }
                suspend.cancel();
            }
        }
    }
    if ends.is_empty() && context.output == Output::Text {
        stdio::tell("no run waits to go on\n");
    }
    if context.output == Output::Json {
        let all: Vec<Value> = ends.iter().filter_map(End::object).collect();
        out.write(|| stdio::print_line(&json::line(&all.into())));
    }
    out.written()?;
    Ok(match suspend.is_cancelled() {
        true => STOPPED,
        false => code(&ends),
    })
}

/// Goes on with one run as soon as there is a place; nothing where all were stopped before.
async fn one(
    host: &Host,
    context: Context,
    run: RunId,
    places: &Semaphore,
    suspend: &CancellationToken,
    out: &Arc<Out>,
) -> Option<End> {
    let _place = tokio::select! {
        biased;
        () = suspend.cancelled() => return None,
        place = places.acquire() => place.ok()?,
    };
    let spec = ResumeSpec::of(run.as_str());
    let resumed = tokio::select! {
        biased;
        () = suspend.cancelled() => return None,
        resumed = host.resume(&spec) => resumed,
    };
    let handle = match resumed {
        Ok(handle) => handle,
        Err(HostError::Store(StoreError::Owned { pid, .. })) => return Some(End::Elsewhere(run, pid)),
        Err(HostError::Ended { status, .. }) => return Some(End::Over(run, status)),
        Err(error) => return Some(End::Problem(run, error.into())),
    };
    let over = CancellationToken::new();
    let shown = on_a_thread(show(
        handle.subscribe(),
        run.clone(),
        context,
        over.clone(),
        out.clone(),
    ));
    let end = handle.wait();
    tokio::pin!(end);
    let outcome = tokio::select! {
        outcome = &mut end => outcome,
        () = suspend.cancelled() => {
            handle.suspend();
            end.await
        }
    };
    over.cancel();
    let _ = shown.await;
    Some(match outcome {
        Ok(outcome) => End::Ran(Box::new(outcome)),
        Err(error) => End::Problem(run.clone(), Problem::from(error).of_run(&run)),
    })
}

/// Shows a run's events until it is over and all are shown: lines that begin with its id, or JSON lines, which have it in them.
async fn show(mut events: EventReceiver, run: RunId, context: Context, over: CancellationToken, out: Arc<Out>) {
    let mut lines = Lines::default();
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = over.cancelled() => return,
        };
        match event {
            Some(event) if context.output == Output::Events => {
                out.write(|| stdio::print_line(&json::line(&json::event(&event))));
            }
            Some(event) => {
                let line = lines.line(&event, context.verbose).filter(|_| !context.quiet);
                if let Some(line) = line {
                    stdio::tell(&format!("{} {line}\n", context.paint.ink(Ink::Dim, run.as_str())));
                }
            }
            None => return,
        }
    }
}

/// Tells how a run ended, on one line, and prints its answer below its id, in one piece.
fn tell(end: &End, context: Context, out: &Out) {
    let outcome = match end {
        End::Ran(outcome) => outcome,
        End::Problem(run, problem) => {
            stdio::tell(&format!(
                "run {run} was not gone on with\n{}",
                problem.render(context.paint)
            ));
            return;
        }
        End::Elsewhere(run, pid) => {
            let owner = match pid {
                0 => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            if !context.quiet {
                stdio::tell(&format!("run {run} is under way in {owner}\n"));
            }
            return;
        }
        End::Over(run, status) => {
            if !context.quiet {
                stdio::tell(&format!("run {run} has ended meanwhile ({status})\n"));
            }
            return;
        }
    };
    stdio::tell(&format!("{}\n", line(outcome)));
    tell_end(outcome, context);
    if let (Some(answer), Output::Text) = (answer(outcome), context.output) {
        let answer = without_fences(answer, Titles::Kept);
        let (run, answer) = (&outcome.run, clean(&answer, Shape::Block));
        out.write(|| stdio::print(&format!("run {run}:\n{}\n\n", answer.trim_end_matches('\n'))));
    }
}

/// `run 7f3a09c1d2: returned, achieved (3 iterations, $0.012)`.
fn line(outcome: &RunOutcome) -> String {
    let how = match outcome.exit.as_str() {
        "returned" => format!("returned, {}", outcome.outcome),
        exit => exit.to_owned(),
    };
    let iterations = number(outcome.spent.get(Dimension::Iterations), "iteration");
    let cost = usd(outcome.spent.get(Dimension::CostMicroUsd));
    format!("run {}: {} ({iterations}, {cost})", outcome.run, first_line(&how))
}

impl End {
    /// As the object of a run. One that was not taken up can go on. None of one that is or was another process's.
    fn object(&self) -> Option<Value> {
        match self {
            Self::Ran(outcome) => Some(json::outcome(outcome)),
            Self::Problem(run, problem) => {
                let mut object = json::failure(problem);
                object["run"] = run.as_str().into();
                object["exit"] = "interrupted".into();
                Some(object)
            }
            Self::Elsewhere(..) | Self::Over(..) => None,
        }
    }
}

/// The first code that isn't 0 of those that went on, in the order in which one run's is decided; 2 where none could.
fn code(ends: &[End]) -> u8 {
    let mut codes = Vec::new();
    for end in ends {
        match end {
            End::Ran(outcome) => codes.push(outcome.code),
            End::Problem(_, problem) if problem.run.is_some() => codes.push(problem.code),
            End::Problem(..) | End::Elsewhere(..) | End::Over(..) => {}
        }
    }
    if codes.is_empty() && !ends.is_empty() {
        return NOTHING_RAN;
    }
    let worst = ORDER.into_iter().find(|code| codes.contains(code));
    worst.unwrap_or(0)
}

/// Exit codes, the one that counts most first.
const ORDER: [u8; 5] = [NOTHING_RAN, STOPPED, 4, 3, 1];
