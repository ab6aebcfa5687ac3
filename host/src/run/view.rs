//! Looking at earlier runs and at the blackboard: rows of the store as people and machines read them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::amounts::{Amounts, sum};
use crate::bindings::types;
use crate::error::{Dimension, Refusal};
use crate::event::now_ms;
use crate::ids::{Digest, RunId, SessionId, StreamId};
use crate::run::audit::denials;
use crate::run::said::Said;
use crate::run::so_far::so_far;
use crate::run::{AgentSummary, Denials, Host, HostError, Standing};
use crate::session::codec;
use crate::session::emitted::{self, Emitted};
use crate::session::op::OpBody;
use crate::store::{
    Edge, Effect, EffectResult, Listed, Note, NoteKind, OpKind, OperationRow, OutcomeStatus, ReturnAddress,
    RunRow as StoredRun, SessionRow, SpaceId, SpaceRow, Status, Store, StoreError, key_fits, value_fits,
};
use crate::supervisor::terms::{Terms, put};

/// Notes of one session that a view holds.
const NOTES: usize = 1000;
/// Their kinds: what the audit keeps has a view of its own.
const SHOWN: [NoteKind; 6] = [
    NoteKind::Log,
    NoteKind::Progress,
    NoteKind::Emit,
    NoteKind::Checkpoint,
    NoteKind::Host,
    NoteKind::Terms,
];

/// A run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// The run.
    pub run: String,
    /// How it stands; `damaged` where it can't be read.
    pub status: String,
    /// The root's own judgement.
    pub outcome: Option<String>,
    /// Why it ended.
    pub exit: Option<String>,
    /// What it spent.
    pub spent: Amounts,
    /// Its task.
    pub task: String,
    /// The root's strategy.
    pub strategy: String,
    /// When it began, in milliseconds since 1970; 0 where that is not known.
    pub started_ms: u64,
    /// When it ended; none while it can go on.
    pub ended_ms: Option<u64>,
    /// When it last changed, as far as that is known.
    pub changed_ms: u64,
}

/// Some runs of those that there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunList {
    /// The newest, newest first.
    pub rows: Vec<RunRow>,
    /// How many there are that stand as was asked for.
    pub all: u64,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct OpView {
    /// The attempt that began it, from 1.
    pub attempt: u32,
    /// Its number in that attempt: `7`, or `7.2` inside a tool call.
    pub op: String,
    /// completion, closing (a completion that is no iteration), tool-call, child, write.
    pub kind: String,
    /// The model, the tool or the space.
    pub name: String,
    /// done, failed, cancelled, interrupted, open.
    pub status: String,
    /// What it cost.
    pub charged: Amounts,
    /// How long it took: from its intent to its outcome, and of a child for how long it was awake.
    pub ms: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Something recorded for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteView {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// log, progress, emit, checkpoint, host, terms.
    pub kind: String,
    /// Its text.
    pub text: String,
}

/// One agent of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// Who, and how it ended.
    pub agent: AgentSummary,
    /// 0 for the root.
    pub depth: usize,
    /// How it came to be: root, delegated, forked.
    pub edge: &'static str,
    /// Its strategy.
    pub strategy: String,
    /// The strategy's bytes.
    pub digest: Digest,
    /// Its model.
    pub model: Option<String>,
    /// Its toolsets.
    pub toolsets: Vec<String>,
    /// Limits of its own budget; a dimension that is absent has none.
    pub budget: Vec<(Dimension, u64)>,
    /// Its task.
    pub task: String,
    /// What went wrong.
    pub error: Option<String>,
    /// Whether somebody asked for its end.
    pub cancel_asked: bool,
    /// When it began, and when it ended, in milliseconds since 1970.
    pub started_ms: u64,
    /// None while it can go on.
    pub ended_ms: Option<u64>,
    /// Its iterations that were given back.
    pub refunded: u64,
    /// Its calls that were sent again because a crash lost their answer.
    pub resent: u64,
    /// What those may have cost before, at most: it is not part of what was spent.
    pub lost: Amounts,
    /// What it had done, in order of start.
    pub operations: Vec<OpView>,
    /// What was recorded for people.
    pub notes: Vec<NoteView>,
}

/// A run, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// How it stands.
    pub status: String,
    /// The root's own judgement.
    pub outcome: Option<String>,
    /// Why it ended.
    pub exit: Option<String>,
    /// What it spent.
    pub spent: Amounts,
    /// Iterations given back.
    pub refunded: u64,
    /// How it came here, where it came out of a file.
    pub imported: Option<ImportView>,
    /// The run that it goes on from, and the number of the last observation that was taken over, where it is a fork.
    pub forked: Option<(RunId, u64)>,
    /// What the root returned, where it did.
    pub answer: Option<String>,
    /// Its last checkpoint, where it returned nothing.
    pub checkpoint: Option<String>,
    /// The structured result of the one or the other, JSON text.
    pub result: Option<String>,
    /// Blackboard entries worth keeping, as the root named them.
    pub artifacts: Vec<String>,
    /// Calls that were sent again because a crash lost their answer.
    pub resent: u64,
    /// What those may have cost before, at most: it is not part of what was spent.
    pub lost: Amounts,
    /// Rights that were missing.
    pub denials: Denials,
    /// Whether `resume` takes it: it is interrupted, and nothing forbids that it goes on here.
    pub can_go_on: bool,
    /// Its agents, parents before children.
    pub sessions: Vec<SessionView>,
}

/// That a run came out of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportView {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether it can be looked at and not replayed: secrets were taken out of it.
    pub view_only: bool,
}

/// An entry of the blackboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// Its media type.
    pub media_type: String,
    /// Its value.
    pub data: Vec<u8>,
    /// Its version.
    pub version: u64,
    /// Who wrote it.
    pub author: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The latest write of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeView {
    /// The key.
    pub key: String,
    /// Its version.
    pub version: u64,
    /// Who wrote it.
    pub author: String,
    /// Whether it is gone.
    pub deleted: bool,
}

/// A space of the blackboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceView {
    /// `NAME`, or `RUN/NAME`; without `NAME` where the spaces of the run, or of the home folder, can't be told.
    pub name: String,
    /// How many keys it has.
    pub keys: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What is wrong where they can't be told.
    pub damaged: Option<String>,
    /// Whether that is not its run's alone.
    pub of_database: bool,
}

impl Host {
    /// The newest `limit` runs, newest first; of those alone that stand in one of these ways, where any is named.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn runs(&self, limit: u32, standing: &[Standing]) -> Result<RunList, HostError> {
        let Some(store) = self.store_if_any()? else {
            return Ok(RunList::default());
        };
        if standing.is_empty() {
            let (listed, all) = store.newest_runs(limit)?;
            let rows = listed.into_iter().filter_map(|listed| row(&store, listed).transpose());
            return Ok(RunList {
                rows: rows.collect::<Result<_, _>>()?,
                all,
            });
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut list = RunList::default();
        for listed in store.runs(u32::MAX)? {
            let Some(row) = row(&store, listed)? else { continue };
            if standing.iter().any(|stands| stands.name() == row.status) {
                list.all += 1;
                if list.rows.len() < limit {
                    list.rows.push(row);
                }
            }
        }
        Ok(list)
    }

    /// Everything of one run, named by its id or the beginning of it.
    ///
    /// # Errors
    /// There is no such run, several are meant, or the store can't be read.
    pub async fn show(&self, run: &str) -> Result<RunView, HostError> {
        let store = self.store_to_read()?;
        let row = store.run(&store.find_run(run)?)?;
        let (row, rows) = if row.status.is_final() {
            let rows = store.sessions(&row.id)?;
            (row, rows)
        } else {
            so_far(&store, row)?
        };
        let said = match rows.first() {
            Some(root) => Said::recorded(&store, root)?,
            None => None,
        };
        let mut sessions: Vec<SessionView> = Vec::new();
        let mut depths: HashMap<SessionId, usize> = HashMap::new();
        let mut awake: HashMap<ReturnAddress, u64> = HashMap::new();
        for session in rows {
            if let Some(of) = session.parent.clone().filter(|_| session.ended_ms.is_some()) {
                awake.insert(of, session.spent.get(Dimension::WallClockMs));
            }
            let above = session.parent.as_ref().and_then(|p| depths.get(&p.session));
            let depth = above.map_or(0, |above| above + 1);
            depths.insert(session.session.clone(), depth);
            sessions.push(session_view(&store, session, depth)?);
        }
        sessions.iter_mut().for_each(|session| session.time_children(&awake));
        let denials = denials(&store, &row)?;
        let can_go_on = row.status == Status::Interrupted && self.would_go_on(&store, &row);
        let (run, refunded) = (row.id.clone(), row.refunded);
        let imported = row.imported.as_ref().map(|imported| ImportView {
            at_ms: imported.at_ms,
            view_only: row.is_for_viewing(),
        });
        let forked = row.forked.clone().map(|from| (from.run, from.observation));
        let RunRow {
            status,
            outcome,
            exit,
            spent,
            ..
        } = run_row(row);
        Ok(RunView {
            run,
            status,
            outcome,
            exit,
            spent,
            refunded,
            imported,
            forked,
            answer: said.as_ref().and_then(Said::answer),
            checkpoint: said.as_ref().and_then(Said::checkpoint),
            result: said.as_ref().and_then(|said| said.report().result_json.clone()),
            artifacts: said.map(|said| said.report().artifacts.clone()).unwrap_or_default(),
            resent: sum(sessions.iter().map(|session| session.resent)),
            lost: sessions
                .iter()
                .fold(Amounts::ZERO, |sum, session| sum.plus(&session.lost)),
            denials,
            can_go_on,
            sessions,
        })
    }

    /// The blackboard.
    pub fn blackboard(&self) -> Blackboard<'_> {
        Blackboard(self)
    }

    /// The store, if a run has made one.
    ///
    /// # Errors
    /// The store can't be read; its database is missing, and files of its runs are there.
    pub fn store_if_any(&self) -> Result<Option<Store>, HostError> {
        match self.store_to_read() {
            Err(HostError::Store(StoreError::Missing { .. })) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// The blackboard, for people.
pub struct Blackboard<'a>(&'a Host);

impl Blackboard<'_> {
    /// Every space. Where the row of one is damaged, or an index may hide one, the spaces of its run are one row that tells that: it hides no other run's.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn spaces(&self) -> Result<Vec<SpaceView>, HostError> {
        let Some(store) = self.0.store_if_any()? else {
            return Ok(Vec::new());
        };
        let listed = store.runs(u32::MAX)?.into_iter();
        let runs = listed.filter_map(|listed| listed.id.parse::<RunId>().ok()).map(Some);
        let runs: Vec<_> = std::iter::once(None).chain(runs).collect();
        let mut all = Vec::new();
        for (run, spaces) in runs.iter().zip(store.spaces_of_each(&runs)?) {
            let run = run.as_ref();
            match spaces.map_err(HostError::from) {
                Err(error) if error.is_damage() => all.push(damaged_spaces(run, &error)),
                spaces => all.extend(spaces?.iter().map(|row| space_view(run, row))),
            }
        }
        Ok(all)
    }

    /// The spaces of a run, which is named by its id or the beginning of it; nothing where no run is meant.
    ///
    /// # Errors
    /// The store can't be read, or several runs are meant.
    pub async fn spaces_of(&self, run: &str) -> Result<Option<Vec<SpaceView>>, HostError> {
        let Some(store) = self.0.store_if_any()? else {
            return Ok(None);
        };
        let run = match store.find_run(run) {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        space_views(&store, Some(&run)).map(Some)
    }

    /// Whether anything was ever written to a space.
    ///
    /// # Errors
    /// The store can't be read, or no run is meant.
    pub async fn is_there(&self, space: &str) -> Result<bool, HostError> {
        let Some((store, space)) = self.open(space)? else {
            return Ok(false);
        };
        let spaces = store.spaces(space.run.as_ref())?;
        Ok(spaces.iter().any(|row| row.name == space.name))
    }

    /// The keys of a space that start with `prefix`.
    ///
    /// # Errors
    /// The store can't be read, or no run is meant.
    pub async fn keys(&self, space: &str, prefix: &str) -> Result<Vec<String>, HostError> {
        let Some((store, space)) = self.open(space)? else {
            return Ok(Vec::new());
        };
        let mut all: Vec<String> = Vec::new();
        loop {
            let page = store.keys(&space, prefix, all.last().map(String::as_str), PAGE)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// An entry.
    ///
    /// # Errors
    /// The store can't be read, or no run is meant.
    pub async fn get(&self, space: &str, key: &str) -> Result<Option<EntryView>, HostError> {
        let Some((store, space)) = self.open(space)? else {
            return Ok(None);
        };
        Ok(store.get(&space, key)?.map(|e| EntryView {
            media_type: e.media_type,
            data: e.data,
            version: e.version,
            author: e.author,
            at_ms: e.at_ms,
        }))
    }

    /// Writes an entry of a home space.
    ///
    /// # Errors
    /// The store can't be written, the entry has another version, or the space is a run's.
    pub async fn put(
        &self,
        space: &str,
        key: &str,
        media_type: &str,
        data: Vec<u8>,
        if_version: Option<u64>,
    ) -> Result<u64, HostError> {
        let limits = &self.0.config().limits;
        key_fits(limits, key)
            .and_then(|()| value_fits(limits, media_type, &data))
            .map_err(|sentence| HostError::Blackboard(behind_a_colon(&sentence)))?;
        let (key, media_type) = (key.to_owned(), media_type.to_owned());
        let effect = Effect::Put {
            space: self.home_space(space)?,
            key,
            media_type,
            data,
            if_version,
        };
        match self.0.store()?.write_home(effect, AUTHOR, now_ms()).await? {
            EffectResult::Written(version) => Ok(version),
            other => Err(refused(&other)),
        }
    }

    /// Removes an entry of a home space.
    ///
    /// # Errors
    /// As for [`Blackboard::put`].
    pub async fn delete(&self, space: &str, key: &str, if_version: Option<u64>) -> Result<(), HostError> {
        let effect = Effect::Delete {
            space: self.home_space(space)?,
            key: key.to_owned(),
            if_version,
        };
        match self.0.store()?.write_home(effect, AUTHOR, now_ms()).await? {
            EffectResult::Deleted => Ok(()),
            other => Err(refused(&other)),
        }
    }

    /// The keys written after version `since`; waits up to `wait` for one.
    ///
    /// # Errors
    /// The store can't be read, or no run is meant.
    pub async fn changes(
        &self,
        space: &str,
        prefix: &str,
        since: u64,
        wait: Duration,
    ) -> Result<Vec<ChangeView>, HostError> {
        let Some((store, space)) = self.open(space)? else {
            return Ok(Vec::new());
        };
        let changes = store.changed(&space, prefix, since, wait).await?;
        let view = |c: crate::store::Change| ChangeView {
            key: c.key,
            version: c.version,
            author: c.author,
            deleted: c.deleted,
        };
        Ok(changes.into_iter().map(view).collect())
    }

    /// A space of the home folder, which a person may write.
    fn home_space(&self, space: &str) -> Result<SpaceId, HostError> {
        if let Some((run, _)) = space.split_once('/') {
            self.0.store_to_read()?.find_run(run)?;
            return Err(HostError::Blackboard(format!(
                "{space} is a run's space: it is written by its run alone"
            )));
        }
        Ok(SpaceId {
            run: None,
            name: space.to_owned(),
        })
    }

    fn open(&self, space: &str) -> Result<Option<(Store, SpaceId)>, HostError> {
        let Some(store) = self.0.store_if_any()? else {
            return Ok(None);
        };
        let id = match space.split_once('/') {
            Some((run, name)) => SpaceId {
                run: Some(store.find_run(run)?),
                name: name.to_owned(),
            },
            None => SpaceId {
                run: None,
                name: space.to_owned(),
            },
        };
        Ok(Some((store, id)))
    }
}

/// Keys in one page.
const PAGE: u32 = 1000;

/// The spaces of a run, or those of the home folder.
fn space_views(store: &Store, run: Option<&RunId>) -> Result<Vec<SpaceView>, HostError> {
    let rows = store.spaces(run)?.into_iter();
    Ok(rows.map(|row| space_view(run, &row)).collect())
}

fn space_view(run: Option<&RunId>, row: &SpaceRow) -> SpaceView {
    SpaceView {
        name: space_name(run, &row.name),
        keys: row.keys,
        bytes: row.bytes,
        damaged: None,
        of_database: false,
    }
}

/// What stands in the place of spaces that can't be told.
fn damaged_spaces(run: Option<&RunId>, error: &HostError) -> SpaceView {
    SpaceView {
        name: space_name(run, ""),
        keys: 0,
        bytes: 0,
        damaged: Some(error.to_string()),
        of_database: error.damaged_run().is_none(),
    }
}

fn space_name(run: Option<&RunId>, name: &str) -> String {
    match run {
        Some(run) => format!("{run}/{name}"),
        None => name.to_owned(),
    }
}

/// Who writes when a person does.
const AUTHOR: &str = "operator";

/// A sentence as it stands behind a colon.
fn behind_a_colon(sentence: &str) -> String {
    let mut rest = sentence.chars();
    let first = rest.next().map(|c| c.to_ascii_lowercase());
    let rest = rest.as_str();
    first
        .into_iter()
        .chain(rest.strip_suffix('.').unwrap_or(rest).chars())
        .collect()
}

fn refused(result: &EffectResult) -> HostError {
    HostError::Blackboard(match result {
        EffectResult::Conflict(0) => "the key is absent".to_owned(),
        EffectResult::Conflict(version) => format!("the entry has version {version}"),
        EffectResult::TooManyKeys(most) => format!("the space is full: {most} keys (limits.blackboard.keys)"),
        EffectResult::TooManyBytes(most) => format!("the space is full: {most} bytes (limits.blackboard.bytes)"),
        other => format!("unexpected result {other:?}"),
    })
}

/// A run as it stands now; nothing where it was removed meanwhile.
fn row(store: &Store, listed: Listed) -> Result<Option<RunRow>, HostError> {
    let Listed { id, row } = listed;
    let stands = row
        .map_err(HostError::from)
        .and_then(|row| match row.status.is_final() {
            true => Ok(run_row(row)),
            false => {
                let (row, sessions) = so_far(store, row)?;
                let newest = sessions.iter().map(|session| session.updated_ms).max();
                let row = run_row(row);
                let changed_ms = row.changed_ms.max(newest.unwrap_or_default());
                Ok(RunRow { changed_ms, ..row })
            }
        });
    match stands {
        Err(HostError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) if error.is_damage() => Ok(Some(damaged_row(id, &error))),
        stands => stands.map(Some),
    }
}

/// A run that is not what was written. Its task is what is wrong with it.
fn damaged_row(id: String, error: &HostError) -> RunRow {
    RunRow {
        run: id,
        status: "damaged".to_owned(),
        outcome: None,
        exit: None,
        spent: Amounts::ZERO,
        task: error.to_string(),
        strategy: String::new(),
        started_ms: 0,
        ended_ms: None,
        changed_ms: 0,
    }
}

fn run_row(row: StoredRun) -> RunRow {
    RunRow {
        run: row.id.to_string(),
        status: status_name(row.status).to_owned(),
        outcome: row.outcome,
        exit: row.exit,
        spent: row.spent,
        task: row.task,
        strategy: row.strategy,
        started_ms: row.started_ms,
        ended_ms: row.ended_ms,
        changed_ms: row.ended_ms.unwrap_or(row.started_ms),
    }
}

fn session_view(store: &Store, mut row: SessionRow, depth: usize) -> Result<SessionView, HostError> {
    let operations = store.session_operations(&row.session)?;
    let notes = store.notes(&row.session, &SHOWN, 0, NOTES)?;
    let terms = |note: &Note| serde_json::from_slice::<Terms>(&note.body).unwrap_or_default();
    for (_, note) in notes.iter().filter(|(_, note)| note.kind == NoteKind::Terms) {
        put(&mut row.budget, &terms(note).budget.root);
    }
    let mut emitted = emitted(store, &row.session, &notes)?;
    let view = |(_, note): (u64, Note)| NoteView {
        at_ms: note.at_ms,
        kind: note_name(note.kind).to_owned(),
        text: match note.kind {
            NoteKind::Checkpoint => codec::decode::<types::Report>(&note.body)
                .map(|r| r.summary)
                .unwrap_or_default(),
            NoteKind::Terms => format!("it went on with {}", terms(&note).words()),
            NoteKind::Emit => {
                let pieces = emitted.get_mut(&note.stream);
                pieces.and_then(VecDeque::pop_front).unwrap_or_default()
            }
            _ => String::from_utf8_lossy(&note.body).into_owned(),
        },
    };
    let refunded = u64::try_from(store.refunds(&row.session)?.len()).unwrap_or(u64::MAX);
    let resent = store.resent(&row.session)?;
    let lost = lost(&operations, &resent);
    let resent = u64::try_from(resent.len()).unwrap_or(u64::MAX);
    Ok(SessionView {
        agent: AgentSummary::of(&row),
        depth,
        edge: edge_name(row.edge),
        strategy: row.strategy,
        digest: row.digest,
        model: row.model,
        toolsets: row.toolsets,
        budget: row.budget,
        task: row.task,
        error: row.error,
        cancel_asked: row.cancel_asked,
        started_ms: row.started_ms,
        ended_ms: row.ended_ms,
        refunded,
        resent,
        lost,
        operations: operations.into_iter().map(op_view).collect(),
        notes: notes.into_iter().map(view).filter(tells).collect(),
    })
}

/// Whether a note tells anything: a piece that was emitted may be told with the next one.
fn tells(note: &NoteView) -> bool {
    note.kind != note_name(NoteKind::Emit) || !note.text.is_empty()
}

impl SessionView {
    /// Takes for the time of each child that ended how long it was awake: what lies between its two records has stops of the run in it.
    fn time_children(&mut self, awake: &HashMap<ReturnAddress, u64>) {
        for view in self.operations.iter_mut().filter(|view| view.ms.is_some()) {
            let Ok(op) = view.op.parse() else { continue };
            let address = ReturnAddress {
                session: self.agent.id.clone(),
                attempt: view.attempt,
                op,
            };
            view.ms = awake.get(&address).copied().or(view.ms);
        }
    }
}

/// What the completions may have cost whose answers a crash lost: what was set aside for each. The iteration is the same one.
fn lost(operations: &[OperationRow], resent: &[(StreamId, u32)]) -> Amounts {
    let completions = operations.iter().filter(|row| row.intent.kind == OpKind::Completion);
    let reserved: HashMap<(&StreamId, u32), Amounts> = completions
        .map(|row| ((&row.intent.stream, row.intent.op), row.intent.reserved))
        .collect();
    let each = resent.iter().filter_map(|(stream, op)| reserved.get(&(stream, *op)));
    each.fold(Amounts::ZERO, Amounts::plus).with(Dimension::Iterations, 0)
}

fn edge_name(edge: Edge) -> &'static str {
    match edge {
        Edge::Root => "root",
        Edge::Delegated => "delegated",
        Edge::Forked => "forked",
    }
}

fn op_view(row: OperationRow) -> OpView {
    let OperationRow { intent, outcome } = row;
    let error = outcome.as_ref().and_then(|o| error(intent.kind, &o.body));
    let closing = intent.kind == OpKind::Completion && intent.reserved.get(Dimension::Iterations) == 0;
    OpView {
        attempt: intent.stream.attempt,
        op: intent.stream.scope.op_name(intent.op),
        kind: if closing { "closing" } else { kind_name(intent.kind) }.to_owned(),
        name: intent.name,
        status: outcome.as_ref().map_or("open", |o| outcome_status(o.status)).to_owned(),
        charged: outcome.as_ref().map(|o| o.charged).unwrap_or_default(),
        ms: outcome.as_ref().map(|o| o.at_ms.saturating_sub(intent.at_ms)),
        error,
    }
}

/// What its instances emitted, piece by piece.
fn emitted(
    store: &Store,
    session: &SessionId,
    notes: &[(u64, Note)],
) -> Result<HashMap<StreamId, VecDeque<String>>, HostError> {
    // The text of a piece may be written behind the last note that is shown.
    let all = match notes.len() {
        NOTES => &store.notes(session, &[NoteKind::Emit], 0, usize::MAX)?,
        _ => notes,
    };
    let mut pieces: HashMap<StreamId, Vec<Emitted>> = HashMap::new();
    for (_, note) in all.iter().filter(|(_, note)| note.kind == NoteKind::Emit) {
        let of_stream = pieces.entry(note.stream.clone()).or_default();
        of_stream.push(Emitted::read(&note.body));
    }
    let by_piece = |(stream, pieces): (StreamId, Vec<Emitted>)| (stream, emitted::by_piece(&pieces).into());
    Ok(pieces.into_iter().map(by_piece).collect())
}

fn error(kind: OpKind, body: &[u8]) -> Option<String> {
    if kind == OpKind::Write {
        return None;
    }
    let error = match codec::decode::<OpBody>(body).ok()? {
        OpBody::Completion(answer) => answer.err(),
        OpBody::Tool(result) => result.error,
        OpBody::Child(_) => None,
    };
    error.map(|e| Refusal::from(e).to_string())
}

const fn kind_name(kind: OpKind) -> &'static str {
    match kind {
        OpKind::Completion => "completion",
        OpKind::ToolCall => "tool-call",
        OpKind::Child => "child",
        OpKind::Write => "write",
    }
}

const fn outcome_status(status: OutcomeStatus) -> &'static str {
    use OutcomeStatus as S;
    match status {
        S::Done => "done",
        S::Failed => "failed",
        S::Cancelled => "cancelled",
        S::Interrupted => "interrupted",
    }
}

const fn note_name(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::Log => "log",
        NoteKind::Progress => "progress",
        NoteKind::Emit => "emit",
        NoteKind::Checkpoint => "checkpoint",
        NoteKind::Audit => "audit",
        NoteKind::Host => "host",
        NoteKind::Terms => "terms",
    }
}

/// A status by its name.
pub(super) const fn status_name(status: Status) -> &'static str {
    match status {
        Status::Spawned => "spawned",
        Status::Active => "active",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
        Status::Interrupted => "interrupted",
    }
}
