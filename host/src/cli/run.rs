//! `run` and `resume`: starts the run, shows it, stops it on a signal, prints its answer.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::args::Output;
use super::errors::{Problem, STOPPED, block, budget_of, foreign, list, notices, way_on, with_kind};
use super::pasted::pasted;
use super::progress::{self, Mode, Progress};
use super::show::show;
use super::signals::Stop;
use super::style::{Ink, Paint, flow, number, sent_again};
use super::validated::Resume;
use super::{Context, denied, json, log, stdio, terminal};
use crate::config::Config;
use crate::event::{EventReceiver, RunEvent};
use crate::ids::RunId;
use crate::run::{ForkSpec, Host, HostError, Loss, RunHandle, RunOutcome, RunSpec, Titles, without_fences};
use crate::text::{Shape, clean};

/// The picture is drawn at most so often.
const FRAME: Duration = Duration::from_millis(100);
/// Lines of an error at most: a crash has its stack in it, of which the first lines tell most.
const ERROR_LINES: usize = 6;
/// How long a second signal waits for the terminal to be given back.
const PATIENCE: Duration = Duration::from_millis(500);

/// Starts a run and stays with it to its end.
pub(super) async fn start(config: Config, context: Context, spec: RunSpec) -> Result<u8, Problem> {
    let mut stop = listen()?;
    let host = Host::open(config, context.compile_in)?;
    let ready = tokio::select! {
        biased;
        () = stop.next() => return Err(Problem::stopped("before the run began: nothing is written")),
        ready = progress::until_ready(mode(context), host.ready(spec)) => ready?,
    };
    // Without progress nothing else tells of them.
    if context.quiet {
        stdio::tell(&notices(context.paint, ready.idle_flags()));
    }
    // From here on it is written down; a signal that comes meanwhile suspends it.
    let handle = host.begin(ready).await?;
    let consumer = Consumer::new(&handle, context);
    attend(&handle, consumer, context, stop).await
}

/// Goes on with a run and stays with it to its end.
pub(super) async fn resume(config: Config, context: Context, resume: &Resume) -> Result<u8, Problem> {
    let mut stop = listen()?;
    let host = Host::open(config, context.compile_in)?;
    let spec = &resume.spec;
    if resume.accept_loss {
        accept_loss(&host, context, &spec.run).await?;
    }
    let handle = tokio::select! {
        biased;
        () = stop.next() => return Err(Problem::stopped("before the run went on: it is as it was")),
        handle = progress::until_ready(mode(context), host.resume(spec)) => handle,
    };
    match handle {
        Err(HostError::Ended { run, status, .. }) if resume.accept_loss => mended(&host, context, &run, status).await,
        handle => {
            let handle = handle?;
            let consumer = Consumer::of_one_that_goes_on(&host, &handle, context).await;
            attend(&handle, consumer, context, stop).await
        }
    }
}

/// Says that a run is whole whose loss was accepted and that had ended: it was asked for no more.
async fn mended(host: &Host, context: Context, run: &RunId, status: &str) -> Result<u8, Problem> {
    if context.output != Output::Text {
        return show(host, context, run.as_str()).await;
    }
    let line = format!("run {run} is whole, and has ended ({status}); look at it with:  hermes-host show {run}\n");
    stdio::tell(&pasted(&line));
    Ok(0)
}

/// Gives up what a run has lost, and says how much that is.
async fn accept_loss(host: &Host, context: Context, run: &str) -> Result<(), Problem> {
    let (run, loss) = host.accept_loss(run).await?;
    stdio::tell(&notices(context.paint, &[given_up(&run, &loss)]));
    Ok(())
}

fn given_up(run: &RunId, loss: &Loss) -> String {
    let Loss {
        kept,
        missing,
        cut,
        end,
        entries,
    } = *loss;
    if !loss.is_any() {
        let kept = number(kept, "record");
        return format!("run {run} has lost nothing: all of its {kept} are there");
    }
    let mut lost = Vec::new();
    if missing > 0 {
        lost.push(format!("{} missing at its end", number(missing, "record")));
    }
    if cut > 0 {
        lost.push(format!("{} from the first damaged one on", number(cut, "record")));
    }
    if entries > 0 {
        lost.push(format!("{entries} damaged entries of its spaces"));
    }
    if lost.is_empty() {
        lost.push("its end, of which there is no record".to_owned());
    }
    let kept = number(kept, "record");
    let goes_on = match end {
        true => "; its end was among them: it goes on",
        false => "",
    };
    format!("run {run} gives up {}; {kept} are left{goes_on}", lost.join(" and "))
}

/// Goes on from a place in another run, as a run of its own, and stays with it to its end.
pub(super) async fn fork(config: Config, context: Context, spec: &ForkSpec) -> Result<u8, Problem> {
    let mut stop = listen()?;
    let host = Host::open(config, context.compile_in)?;
    let ready = tokio::select! {
        biased;
        () = stop.next() => return Err(Problem::stopped("before the fork began: nothing is written")),
        ready = progress::until_ready(mode(context), host.ready_fork(spec)) => ready?,
    };
    let handle = host.fork(ready).await?;
    let consumer = Consumer::of_one_that_goes_on(&host, &handle, context).await;
    attend(&handle, consumer, context, stop).await
}

/// How progress is shown.
pub(super) fn mode(context: Context) -> Mode {
    if context.output == Output::Events || context.quiet {
        Mode::Nothing
    } else {
        progress::mode(context.verbose, log::is_on())
    }
}

pub(super) fn listen() -> Result<Stop, Problem> {
    Stop::listen().map_err(|e| Problem::usage(format!("signals can't be heard: {e}")))
}

/// Runs what may block on standard output or standard error.
pub(super) fn on_a_thread<T: Send + 'static>(shows: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(shows))
}

async fn attend(handle: &RunHandle, consumer: Consumer, context: Context, mut stop: Stop) -> Result<u8, Problem> {
    let (finish, finished) = oneshot::channel();
    // On a thread of its own: a reader of our output that stands still holds up neither the run nor signals, on one processor either.
    let mut consumer = on_a_thread(consumer.run(finished));
    let end = handle.wait();
    tokio::pin!(end);
    let mut stopping = false;
    let outcome = loop {
        tokio::select! {
            outcome = &mut end => break outcome,
            () = stop.next() => {
                if stopping {
                    let _ = finish.send(());
                    let _ = tokio::time::timeout(PATIENCE, consumer).await;
                    std::process::exit(STOPPED.into());
                }
                stopping = true;
                handle.suspend();
            }
        }
    };
    let _ = finish.send(());
    let written = tokio::select! {
        written = &mut consumer => written.unwrap_or(Ok(())),
        () = stop.next() => std::process::exit(STOPPED.into()),
    };
    let outcome = outcome.map_err(|error| Problem::from(error).of_run(handle.id()))?;
    tell_end(&outcome, context);
    written?;
    print_answer(&outcome, context)?;
    Ok(outcome.code)
}

/// Where the run's events go: the progress, or standard output as JSON lines.
struct Consumer {
    receiver: EventReceiver,
    open: bool,
    progress: Progress,
    lines: bool,
    /// Whether all lines so far could be written.
    written: Result<(), Problem>,
}

impl Consumer {
    fn new(handle: &RunHandle, context: Context) -> Self {
        let lines = context.output == Output::Events;
        let progress = Progress::new(mode(context), context.paint);
        Self {
            receiver: handle.subscribe(),
            open: true,
            progress,
            lines,
            written: Ok(()),
        }
    }

    /// The same of a run that was there before: agents of it that had ended are in the picture too, and no event tells of them.
    async fn of_one_that_goes_on(host: &Host, handle: &RunHandle, context: Context) -> Self {
        let mut consumer = Self::new(handle, context);
        if consumer.progress.is_picture()
            && let Ok(view) = host.show(handle.id().as_str()).await
        {
            consumer.progress.went_before(&view.sessions);
        }
        consumer
    }

    /// Takes events in until it is told to finish, then what is there already, and gives the terminal back. Says whether all could be written.
    async fn run(mut self, mut finished: oneshot::Receiver<()>) -> Result<(), Problem> {
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut finished => break,
                event = self.receiver.recv(), if self.open => match event {
                    Some(event) => self.take(&event),
                    None => self.open = false,
                },
                _ = frames.tick() => self.progress.tick(),
            }
        }
        while let Some(event) = self.receiver.try_recv() {
            self.take(&event);
        }
        self.progress.close();
        self.written
    }

    fn take(&mut self, event: &RunEvent) {
        self.progress.apply(event);
        if self.lines && self.written.is_ok() {
            // Where no more can be written the run goes on; its events are in the journal.
            self.written = stdio::print_line(&json::line(&json::event(event)));
        }
    }
}

/// What a person should know besides the answer: what failed, which rights were missing, how a stopped run goes on.
pub(super) fn tell_end(outcome: &RunOutcome, context: Context) {
    let paint = context.paint;
    let mut text = String::new();
    if context.output == Output::Text {
        text.push_str(&so_far(paint, outcome.checkpoint.as_deref()));
        if let Some(words) = outcome.answer.as_deref().filter(|_| answer(outcome).is_none()) {
            text.push_str(&foreign(
                paint,
                "not achieved",
                Ink::Warn,
                &without_fences(words, Titles::Kept),
            ));
        }
    }
    if let Some((kind, message)) = &outcome.error {
        // Some messages begin with their kind already.
        let message = message.strip_prefix(&format!("{kind}: ")).unwrap_or(message);
        let mut lines: Vec<String> = message.lines().map(str::to_owned).collect();
        let more = lines.len().saturating_sub(ERROR_LINES);
        lines.truncate(ERROR_LINES);
        if let Some(first) = lines.first_mut() {
            *first = with_kind(first, kind);
        }
        text.push_str(&foreign(paint, "error", Ink::Bad, &lines.join("\n")));
        if more > 0 {
            let run = &outcome.run;
            let rest = format!("  … and {more} more   hermes-host show {run} --output json\n");
            text.push_str(&pasted(&rest));
        }
    }
    let before = text.len();
    text.push_str(&pasted(&denied::page(paint, &outcome.denials, Some(&outcome.run))));
    text.push_str(&used_up_below(paint, outcome));
    // A run that was only stopped has no answer yet of which something could be open.
    if outcome.exit != "interrupted" && !outcome.open_questions.is_empty() {
        text.push_str(&list(paint, "left open", Ink::Warn, &outcome.open_questions));
    }
    let mut last = String::new();
    if outcome.resent > 0 && !context.quiet {
        last.push_str(&format!("  {}\n", sent_again(outcome.resent, &outcome.lost)));
    }
    if let Some(way) = &outcome.way_on {
        let line = way_on(&outcome.run, way);
        last.push_str(&format!("  {}\n", pasted(&line)));
    }
    // They are about the run, not about the last of the lists.
    if text.len() > before && !last.is_empty() {
        text.push('\n');
    }
    text.push_str(&last);
    if outcome.exit == "interrupted" {
        let (run, lead) = (&outcome.run, paint.ink(Ink::Warn, "stopped:"));
        let ways = format!(
            "{lead} run {run} can go on\n  go on with it     hermes-host resume {run}\n  end it for good   hermes-host cancel {run}\n"
        );
        text.push_str(&pasted(&ways));
    }
    stdio::tell(&text);
}

/// Which budgets ended sub-agents, of a run that did not achieve all it was to. A fork takes over what they came to, so a run of its own is what
/// gives them more.
fn used_up_below(paint: Paint, outcome: &RunOutcome) -> String {
    let achieved = outcome.exit == "returned" && outcome.outcome == "achieved";
    if achieved || outcome.used_up.is_empty() {
        return String::new();
    }
    let each = outcome.used_up.iter();
    let mut lines: Vec<String> = each
        .map(|(key, agents)| format!("the budget {key} ended {}", number(*agents, "sub-agent")))
        .collect();
    let budget = budget_of(outcome.used_up.iter().map(|(key, _)| key.as_str()));
    lines.push(format!(
        "they stay ended in a fork; run it anew with more: --budget {budget}"
    ));
    block(paint, "used up", Ink::Warn, &lines.join("\n"))
}

/// How far a run had got that has no answer, by its last checkpoint.
pub(super) fn so_far(paint: Paint, checkpoint: Option<&str>) -> String {
    checkpoint.map_or_else(String::new, |text| {
        foreign(paint, "so far", Ink::Warn, &without_fences(text, Titles::Kept))
    })
}

/// What a run has to say on standard output. What its agent returned is none where that itself calls the task not achieved.
pub(super) fn answer(outcome: &RunOutcome) -> Option<&str> {
    let answer = outcome.answer.as_deref();
    answer.filter(|_| outcome.outcome != NOT_ACHIEVED)
}

/// The outcome of a run that has no answer.
const NOT_ACHIEVED: &str = "not-achieved";

fn print_answer(outcome: &RunOutcome, context: Context) -> Result<(), Problem> {
    match (context.output, answer(outcome)) {
        (Output::Json, _) => stdio::print_line(&json::line(&json::outcome(outcome))),
        (Output::Text, Some(answer)) => print_text(answer),
        (Output::Text, None) | (Output::Events, _) => Ok(()),
    }
}

/// An answer as people read it.
pub(super) fn print_text(answer: &str) -> Result<(), Problem> {
    let answer = without_fences(answer, Titles::Kept);
    let answer = clean(&answer, Shape::Block);
    let shown = terminal::columns().map(|columns| flow(&answer, columns));
    stdio::print_line(shown.as_deref().unwrap_or(&answer).trim_end_matches('\n'))
}
