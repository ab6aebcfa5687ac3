//! A run again, against its record: each attempt of each session, and each tool call whose instance could reach nothing outside and called the
//! host itself. Nothing is done and nothing is written: what a call told is told again, and where the record ends the replay does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::engine::precheck::LoadError;
use crate::error::Refusal;
use crate::ids::{Digest, Scope, SessionId, StreamId};
use crate::instance::{Answered, Instances, Stopped, answer_again, run_strategy, tool_guest};
use crate::interfaces::{redact_report, scrub_error, scrub_output};
use crate::ledger::Caps;
use crate::plugin::Plugin;
use crate::plugin::toolbox::Tool;
use crate::session::call::{Begins, Under};
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::met::Met;
use crate::session::op::OpBody;
use crate::session::tape::{After, Recorded, RecordedOp};
use crate::session::{Attempt, Past, RunContext, Session, SessionParts, codec};
use crate::store::{Answer, Edge, Observation, OutcomeStatus, SessionRow, Store, StoreError};
use crate::supervisor::ending::{self, words};
use crate::supervisor::life::{making, show_earlier_children};
use crate::supervisor::start::AgentStart;
use crate::supervisor::{ended_child, restore};

/// What a replay works with.
pub struct Replay {
    /// The run, which keeps nothing.
    pub run: Arc<RunContext>,
    /// Where its record is.
    pub store: Store,
    /// Makes instances.
    pub instances: Instances,
    /// Every strategy that its agents had.
    pub strategies: HashMap<Digest, Arc<Plugin>>,
    /// Another strategy in the place of the root's.
    pub changed: Option<Arc<Plugin>>,
}

/// A replay that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The record can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A plugin can't be used here.
    #[error("{plugin} can't be used: {source}")]
    Plugin {
        /// Its name.
        plugin: String,
        /// Why.
        source: LoadError,
    },
    /// The host failed in it.
    #[error("the host failed in the replay: {0}")]
    Host(String),
}

/// What was replayed.
#[derive(Debug, Clone, Default)]
pub struct Played {
    /// Agents.
    pub sessions: u64,
    /// Their attempts.
    pub attempts: u64,
    /// Tool calls that called the host themselves.
    pub tool_calls: u64,
    /// Such calls that held a folder or a network, and so are not made again.
    pub left_out: u64,
    /// Observations that were the recorded ones.
    pub observations: u64,
    /// Whether the amounts of fuel differ: the host or its engine counts otherwise.
    pub fuel_differs: bool,
    /// The first difference, where there is one.
    pub difference: Option<Difference>,
}

/// How far a root's last attempt came.
#[derive(Debug, Clone)]
pub struct RootPlayed {
    /// The attempt.
    pub attempt: u32,
    /// Observations that were the recorded ones.
    pub observations: u64,
    /// Where it parts from its record, or goes on beyond it; none where it ends as its record does.
    pub difference: Option<Difference>,
}

/// Where a replay parts from its record.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Whose.
    pub stream: StreamId,
    /// The agent's role.
    pub role: String,
    /// The number of the observation that would be next.
    pub observation: u64,
    /// What the record has.
    pub expected: Expected,
    /// What came.
    pub got: Got,
}

/// What a record has next.
#[derive(Debug, Clone)]
pub enum Expected {
    /// That a call told this.
    Observation(Observation),
    /// That it ended so.
    End(Ending),
}

/// What came in its place.
#[derive(Debug, Clone)]
pub enum Got {
    /// This call.
    Call(Met),
    /// That it ended so.
    End(Ending),
}

/// An end, by its name and in words.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The contract's exit reason.
    pub exit: String,
    /// What it returned, or what went wrong.
    pub words: String,
}

/// How an attempt's record ends, as far as it can be compared.
enum Recording {
    /// The host ended it, or it has not ended.
    Open,
    /// It ended by itself.
    Ended(types::RunResult),
}

/// A tool call as the record has it.
struct Call {
    scope: Scope,
    call: types::ToolCall,
    tool: Arc<Tool>,
    at_ms: u64,
    /// What it told its caller, where that can be compared.
    told: Option<types::ToolResult>,
    observations: u64,
}

impl Replay {
    /// Replays the run up to its end, or to the first difference.
    ///
    /// # Errors
    /// The record can't be read, a plugin can't be used, or the host failed.
    pub async fn play(&self) -> Result<Played, ReplayError> {
        let mut played = Played::default();
        let rows = self.store.sessions(&self.run.id)?;
        for row in &rows {
            played.sessions += 1;
            for attempt in 1..=row.attempt {
                played.attempts += 1;
                self.attempt(&rows, row, attempt, &mut played).await?;
                if played.difference.is_some() {
                    return Ok(played);
                }
            }
        }
        Ok(played)
    }

    /// Replays the root's last attempt alone, and lets it go on to what it does where its record ends.
    ///
    /// # Errors
    /// As [`Replay::play`].
    pub async fn play_root(&self) -> Result<RootPlayed, ReplayError> {
        let rows = self.store.sessions(&self.run.id)?;
        let missing = || StoreError::damaged(&self.run.id, "its root's row is missing");
        let row = rows.first().ok_or_else(missing)?;
        let number = row.attempt.max(1);
        let start = restore::start(&self.store, &row.session, number)?;
        let recording = self.recording(row, number)?;
        let mut recorded = restore::recorded(&self.store, &row.session, number)?;
        let mut own = recorded.remove(&Scope::ROOT).unwrap_or_default();
        own.after = After::End;
        let session = self.session(row, &start, number);
        let attempt = Attempt::new(number, start.started_ms, recorded);
        let guest = self.guest(&rows, &session, &attempt, &start, own);
        let difference = self.strategy(row, &start, &guest, recording).await?;
        Ok(RootPlayed {
            attempt: number,
            observations: guest.observations(),
            difference,
        })
    }

    async fn attempt(
        &self,
        rows: &[SessionRow],
        row: &SessionRow,
        number: u32,
        played: &mut Played,
    ) -> Result<(), ReplayError> {
        let start = restore::start(&self.store, &row.session, number)?;
        let recording = self.recording(row, number)?;
        let mut recorded = restore::recorded(&self.store, &row.session, number)?;
        if !row.status.is_final() {
            recorded.values_mut().for_each(whole);
        }
        let calls = self.calls(&row.session, &start, &mut recorded)?;
        let mut own = recorded.remove(&Scope::ROOT).unwrap_or_default();
        let observations = own.observations.len() as u64;
        let compared = matches!(recording, Recording::Ended(_));
        own.after = if compared { After::End } else { After::Stop };
        let session = self.session(row, &start, number);
        let attempt = Attempt::new(number, start.started_ms, recorded);
        let guest = self.guest(rows, &session, &attempt, &start, own);
        if compared || observations > 0 {
            let difference = self.strategy(row, &start, &guest, recording).await?;
            played.observations += guest.observations();
            played.fuel_differs |= guest.fuel_differs();
            played.difference = difference;
        }
        if played.difference.is_none() {
            self.tools(row, &guest, calls, played).await?;
        }
        Ok(())
    }

    /// How the attempt ended, as far as a replay can end the same way.
    fn recording(&self, row: &SessionRow, attempt: u32) -> Result<Recording, ReplayError> {
        let result = if attempt < row.attempt {
            restore::start(&self.store, &row.session, attempt + 1)?.task.previous
        } else {
            let decode = |bytes: &Vec<u8>| codec::decode(bytes);
            let result = row.result.as_ref().map(decode).transpose();
            result.map_err(|e| StoreError::damaged(&row.session.run, e.to_string()))?
        };
        Ok(match result {
            Some(result) if is_its_own(&result.exit) => Recording::Ended(result),
            _ => Recording::Open,
        })
    }

    fn session(&self, row: &SessionRow, start: &AgentStart, attempt: u32) -> Arc<Session> {
        let session = Session::new(SessionParts {
            id: row.session.clone(),
            parent: start.parent.clone(),
            depth: start.depth,
            role: start.role.clone(),
            run: self.run.clone(),
            account: self.run.ledger.open_root(Caps::default()),
            rights: start.rights.clone(),
            strategy: start.strategy.name.clone(),
            plugin: None,
            model: None,
            cancel: CancellationToken::new(),
            past: Past::default(),
        });
        session.begins(attempt);
        session
    }

    fn guest(
        &self,
        rows: &[SessionRow],
        session: &Arc<Session>,
        attempt: &Arc<Attempt>,
        start: &AgentStart,
        recorded: Recorded,
    ) -> Arc<Guest> {
        let making = making(session, attempt, start, recorded);
        let guest = Guest::new(session.clone(), attempt.clone(), making);
        for row in rows {
            let parent = row.parent.as_ref();
            if let Some(address) = parent.filter(|p| p.session == session.id && p.attempt < attempt.number) {
                session.keep_child(ended_child(row.clone(), address.attempt, address.op));
            }
        }
        session.inherit_children(attempt.number);
        show_earlier_children(&guest);
        guest
    }

    async fn strategy(
        &self,
        row: &SessionRow,
        start: &AgentStart,
        guest: &Arc<Guest>,
        recording: Recording,
    ) -> Result<Option<Difference>, ReplayError> {
        let changed = self.changed.as_ref().filter(|_| row.parent.is_none());
        let lost = || ReplayError::Host(format!("the strategy {} was not loaded", start.strategy.name));
        let kept = || self.strategies.get(&start.strategy.digest);
        let plugin = changed.or_else(kept).ok_or_else(lost)?;
        let prepared = self
            .instances
            .prepare(plugin)
            .await
            .map_err(|source| ReplayError::Plugin {
                plugin: plugin.name.clone(),
                source,
            })?;
        let ended = run_strategy(&self.instances, guest.clone(), prepared, start.task.clone()).await;
        guest.close().await;
        let recorded = match recording {
            Recording::Ended(recorded) => Some(recorded),
            Recording::Open => None,
        };
        match came(guest, &ended)? {
            Came::Through => return Ok(None),
            Came::Apart(got) => {
                let end = recorded.as_ref().map(Ending::of_agent);
                return Ok(Some(Difference::new(guest, end, got)));
            }
            Came::ToAnEnd => {}
        }
        let Some(recorded) = recorded else { return Ok(None) };
        let end = ending::read(&guest.session, ended);
        let report = ending::told(&guest.session, end.report).await;
        let report = report.map_err(|e| host(&e))?;
        let got = types::RunResult {
            exit: end.exit,
            report,
            ..recorded.clone()
        };
        let differs = || {
            Difference::new(
                guest,
                Some(Ending::of_agent(&recorded)),
                Got::End(Ending::of_agent(&got)),
            )
        };
        // What has become a secret since then is in the record, and not in what is compared with it.
        let known = types::RunResult {
            report: recorded
                .report
                .clone()
                .map(|report| redact_report(&guest.session, report)),
            exit: match recorded.exit.clone() {
                types::ExitReason::Failed(error) => types::ExitReason::Failed(scrub_error(&guest.session, error)),
                exit => exit,
            },
            ..recorded.clone()
        };
        let is_same = same_end(&recorded, &got) || same_end(&known, &got);
        Ok((!is_same).then(differs))
    }

    /// The tool calls of an attempt whose instances called the host, callers before what they called. What follows each one's record is settled.
    fn calls(
        &self,
        session: &SessionId,
        start: &AgentStart,
        recorded: &mut BTreeMap<Scope, Recorded>,
    ) -> Result<Vec<Call>, ReplayError> {
        let mut calls = Vec::new();
        let scopes: Vec<Scope> = recorded.keys().filter(|scope| !scope.is_root()).cloned().collect();
        for scope in scopes {
            let Some((outer, number)) = scope.outer() else { continue };
            let Some(caller) = recorded.get(&outer) else { continue };
            let Some(op) = caller.operations.get(&number) else {
                continue;
            };
            let Some((call, tool)) = self.call(session, op)? else {
                continue;
            };
            let at_ms = begun_at(caller, number).unwrap_or(start.started_ms);
            let told = comparable(op);
            let own = recorded.entry(scope.clone()).or_default();
            own.after = if told.is_some() { After::End } else { After::Stop };
            let observations = own.observations.len() as u64;
            calls.push(Call {
                scope,
                call,
                tool,
                at_ms,
                told,
                observations,
            });
        }
        Ok(calls)
    }

    /// What a tool call asked for, and of whom.
    fn call(&self, session: &SessionId, op: &RecordedOp) -> Result<Option<(types::ToolCall, Arc<Tool>)>, ReplayError> {
        let Some(digest) = op.request.first() else {
            return Ok(None);
        };
        let body = self.store.body(&session.run, digest)?;
        let call: types::ToolCall =
            codec::decode(&body).map_err(|e| StoreError::damaged(&session.run, e.to_string()))?;
        let tool = self.run.toolbox.get(&call.name);
        Ok(tool.map(|tool| (call, tool)))
    }

    async fn tools(
        &self,
        row: &SessionRow,
        strategy: &Arc<Guest>,
        calls: Vec<Call>,
        played: &mut Played,
    ) -> Result<(), ReplayError> {
        let mut guests: HashMap<Scope, Arc<Guest>> = HashMap::from([(Scope::ROOT, strategy.clone())]);
        for call in calls {
            let Some((outer, number)) = call.scope.outer() else {
                continue;
            };
            let Some(caller) = guests.get(&outer) else { continue };
            let guest = self.tool_guest(caller, number, &call)?;
            guests.insert(call.scope.clone(), guest.clone());
            if call.observations == 0 {
                continue;
            }
            // In the run that a fork comes from its root may have had more, and this call with it.
            let reached_out = row.edge == Edge::Forked && call.tool.rights.reaches_out();
            if reached_out || guest.rights.reaches_out() {
                played.left_out += 1;
                continue;
            }
            played.tool_calls += 1;
            let difference = self.tool(&guest, call).await?;
            played.observations += guest.observations();
            played.fuel_differs |= guest.fuel_differs();
            if difference.is_some() {
                played.difference = difference;
                return Ok(());
            }
        }
        Ok(())
    }

    fn tool_guest(&self, caller: &Arc<Guest>, op: u32, call: &Call) -> Result<Arc<Guest>, ReplayError> {
        let nothing = self.run.ledger.reserve(caller.session.account, Amounts::ZERO);
        let nothing = nothing.map_err(|e| ReplayError::Host(e.to_string()))?;
        let under = Under {
            guest: caller.clone(),
            op,
            cancel: CancellationToken::new(),
            reserved: Amounts::ZERO,
            held: nothing.held(),
            begins: Begins::Again,
            at_ms: call.at_ms,
            awake_ms: 0,
        };
        nothing.release();
        Ok(tool_guest(&under, &call.tool, None))
    }

    async fn tool(&self, guest: &Arc<Guest>, call: Call) -> Result<Option<Difference>, ReplayError> {
        let ended = answer_again(&self.instances, guest, &call.tool, call.call).await;
        guest.close().await;
        let end = call.told.as_ref().map(Ending::of_call);
        match came(guest, &ended)? {
            Came::Through => return Ok(None),
            Came::Apart(got) => return Ok(Some(Difference::new(guest, end, got))),
            Came::ToAnEnd => {}
        }
        let Some(told) = call.told else { return Ok(None) };
        let (same, got) = same_answer(guest, &told, ended, &call.scope.to_string()).await?;
        Ok((!same).then(|| Difference::new(guest, end, Got::End(got))))
    }
}

/// Whether an attempt ended so by itself: not by a limit, a clock, a cancel or a failure of the host.
fn is_its_own(exit: &types::ExitReason) -> bool {
    match exit {
        types::ExitReason::Returned | types::ExitReason::Trapped(_) => true,
        types::ExitReason::Failed(error) => match &error.kind {
            types::ErrorKind::RateLimited => false,
            types::ErrorKind::Other(name) => !["storage", "host-bug", "unusable", "diverged"].contains(&name.as_str()),
            _ => true,
        },
        _ => false,
    }
}

/// Cuts a record that somebody writes on while it is read where it names what was not read.
fn whole(recorded: &mut Recorded) {
    let known = |seen: &Observation| match seen.answer {
        Answer::Body(_) => true,
        Answer::Started(op) => recorded.operations.contains_key(&op),
        Answer::Delivered(op) => recorded.operations.get(&op).is_some_and(|op| op.outcome.is_some()),
    };
    let whole = recorded.observations.iter().take_while(|seen| known(seen)).count();
    recorded.observations.truncate(whole);
}

/// The time that a caller saw when it began an operation.
fn begun_at(caller: &Recorded, op: u32) -> Option<u64> {
    let begins = |seen: &Observation| matches!(seen.answer, Answer::Started(n) | Answer::Delivered(n) if n == op);
    let before = caller.observations.iter().take_while(|seen| !begins(seen));
    before.last().map(|seen| seen.at_ms)
}

/// What a call told its caller, where its instance ended by itself.
fn comparable(op: &RecordedOp) -> Option<types::ToolResult> {
    use types::ErrorKind as K;
    let (status, body, _) = op.outcome.as_ref()?;
    let Ok(OpBody::Tool(result)) = codec::decode(body) else {
        return None;
    };
    let by_the_host = match &result.error {
        None => false,
        Some(error) => matches!(
            error.kind,
            K::Cancelled | K::Interrupted | K::TimedOut | K::Exhausted(_) | K::RateLimited | K::Other(_)
        ),
    };
    (matches!(status, OutcomeStatus::Done | OutcomeStatus::Failed) && !by_the_host).then_some(result)
}

/// How far a replay came.
enum Came {
    /// All that the record has was told, and nothing more is compared.
    Through,
    /// To something else than the record has.
    Apart(Got),
    /// To an end of its own, after all that the record has.
    ToAnEnd,
}

fn came<T>(guest: &Guest, ended: &Result<T, Stopped>) -> Result<Came, ReplayError> {
    let Err(stopped) = ended else { return Ok(Came::ToAnEnd) };
    match stopped {
        Stopped::Host(end @ (End::Host(_) | End::Storage(_) | End::NoRoom(_))) => Err(host(end)),
        Stopped::Host(End::RecordEnds | End::Diverged(_)) if guest.met().is_some() => {
            Ok(guest.met().map_or(Came::Through, |met| Came::Apart(Got::Call(met))))
        }
        Stopped::Host(End::RecordEnds) => Ok(Came::Through),
        Stopped::Host(End::Diverged(what)) => Ok(Came::Apart(Got::End(Ending::new("diverged", what)))),
        _ if guest.recorded_next().is_none() => Ok(Came::ToAnEnd),
        Stopped::Host(end) => Ok(Came::Apart(Got::End(Ending::new("stopped", &end.to_string())))),
        Stopped::Trapped(words) | Stopped::Unusable(words) => Ok(Came::Apart(Got::End(Ending::new("trapped", words)))),
        Stopped::Exited(code) => Ok(Came::Apart(Got::End(Ending::new("exited", &code.to_string())))),
    }
}

fn host(end: &End) -> ReplayError {
    ReplayError::Host(end.to_string())
}

impl Ending {
    fn new(exit: &str, words: &str) -> Self {
        Self {
            exit: exit.to_owned(),
            words: words.to_owned(),
        }
    }

    /// How an agent ended.
    fn of_agent(result: &types::RunResult) -> Self {
        let (exit, error) = words(&result.exit);
        let report = result.report.as_ref().filter(|_| error.is_none());
        let said = report.map(|report| match &report.result_json {
            Some(json) => format!("{}\n{json}", report.summary),
            None => report.summary.clone(),
        });
        Self {
            exit,
            words: error.or(said).unwrap_or_default(),
        }
    }

    /// How a tool call ended.
    fn of_call(result: &types::ToolResult) -> Self {
        match &result.error {
            Some(error) => Self::new("failed", &Refusal::from(error.clone()).to_string()),
            None => Self::new("returned", &output_words(&result.output)),
        }
    }
}

/// The texts of a tool's output.
fn output_words(output: &types::ToolOutput) -> String {
    let texts = output.content.iter().map(|block| match block {
        types::Content::Text(text) | types::Content::Other(text) => text.clone(),
        types::Content::Media(media) => format!("[{}, {} bytes]", media.media_type, media.data.len()),
    });
    texts
        .chain(output.structured_content.clone())
        .collect::<Vec<_>>()
        .join("\n")
}

impl Difference {
    fn new(guest: &Guest, end: Option<Ending>, got: Got) -> Self {
        let next = guest.recorded_next().map(Expected::Observation);
        let nothing = || Ending::new("open", "the record ends here");
        Self {
            stream: guest.stream.clone(),
            role: guest.session.role.clone(),
            observation: guest.observations() + 1,
            expected: next.unwrap_or_else(|| Expected::End(end.unwrap_or_else(nothing))),
            got,
        }
    }
}

/// Whether two ends are the same: what was returned to the byte, errors by their kind, traps by their cause.
fn same_end(recorded: &types::RunResult, got: &types::RunResult) -> bool {
    use types::ExitReason as E;
    match (&recorded.exit, &got.exit) {
        (E::Returned, E::Returned) => codec::encode(&recorded.report) == codec::encode(&got.report),
        (E::Failed(one), E::Failed(other)) => one.kind == other.kind,
        (E::Trapped(one), E::Trapped(other)) => one.lines().next() == other.lines().next(),
        _ => false,
    }
}

/// Whether a tool call ended as its record says, and how it ended.
async fn same_answer(
    guest: &Guest,
    told: &types::ToolResult,
    ended: Answered,
    op: &str,
) -> Result<(bool, Ending), ReplayError> {
    let kind = told.error.as_ref().map(|error| &error.kind);
    Ok(match ended {
        Ok(Ok(output)) => {
            let output = scrub_output(&guest.session, op, output).await.map_err(|e| host(&e))?;
            let is_told = |told: &types::ToolOutput| codec::encode(&output) == codec::encode(told);
            let mut same = kind.is_none() && is_told(&told.output);
            if kind.is_none() && !same {
                // What has become a secret since then is in the record.
                let known = scrub_output(&guest.session, op, told.output.clone()).await;
                same = is_told(&known.map_err(|e| host(&e))?);
            }
            (same, Ending::new("returned", &output_words(&output)))
        }
        Ok(Err(error)) => {
            let error = scrub_error(&guest.session, error);
            let known = told.error.clone().map(|error| scrub_error(&guest.session, error).kind);
            (
                kind == Some(&error.kind) || known.as_ref() == Some(&error.kind),
                Ending::new("failed", &Refusal::from(error).to_string()),
            )
        }
        Err(Stopped::Host(end)) => (false, Ending::new("stopped", &end.to_string())),
        Err(stopped) => {
            let words = match stopped {
                Stopped::Trapped(words) | Stopped::Unusable(words) => words,
                _ => "it exited without an answer".to_owned(),
            };
            (
                kind == Some(&types::ErrorKind::Upstream),
                Ending::new("trapped", &words),
            )
        }
    })
}
