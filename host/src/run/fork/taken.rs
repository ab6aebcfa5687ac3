//! What a fork takes over: of the root's last attempt what lies before the cut, with all that was begun by then and its outcomes; everything of
//! earlier attempts; and the children that were spawned in what is taken over, with theirs.

use std::collections::{BTreeSet, HashMap};

use crate::ids::{Digest, RunId, SessionId, StreamId};
use crate::interfaces::recorded_effect;
use crate::limits::Limits;
use crate::plugin::load::Shelf;
use crate::run::HostError;
use crate::run::fork::changed::Changed;
use crate::run::plugins_of::{PluginsOf, bytes_of};
use crate::run::spec::Budget;
use crate::session::audit::Audited;
use crate::session::codec;
use crate::session::tape::size;
use crate::store::{
    Answer, Edge, EffectResult, EntryCursor, Intent, NoteKind, Observation, OpKind, OperationRow, Outcome,
    OutcomeStatus, Owner, Quota, Record, SPILL_SPACE, Start, Store, StoredEntry, Transition,
};
use crate::supervisor::start::{PluginRef, StartBody};
use crate::supervisor::terms::{Terms, put};

/// Records of one read and one batch, entries of one, and bytes of a batch.
const RECORDS: u32 = 256;
const ENTRIES: u32 = 8;
const BYTES: usize = 1 << 20;

/// Where a fork leaves the run that it comes from.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    /// The root's last attempt.
    pub(super) root: StreamId,
    /// Observations of it that are taken over.
    pub(super) observations: u64,
    /// What the call asks for that it makes next, where the record has no observation of it.
    tail: Option<Vec<Digest>>,
}

impl Cut {
    pub(super) fn at(root: StreamId, observations: u64, tail: Option<Vec<Digest>>) -> Self {
        Self {
            root,
            observations,
            tail,
        }
    }
}

/// A fork on its way into the store.
pub(super) struct Taken<'a> {
    pub(super) store: &'a Store,
    pub(super) origin: &'a RunId,
    /// Whether that came out of a file.
    pub(super) imported: bool,
    pub(super) owner: &'a Owner,
    pub(super) cut: &'a Cut,
    pub(super) changed: Option<&'a Changed>,
    pub(super) budget: &'a Budget,
    /// What resumes changed of the terms of the run that it comes from, and this host of one that was imported.
    pub(super) terms: Terms,
    /// What the spaces of that run may hold, and the fork's.
    pub(super) quota: Quota,
    pub(super) shelf: &'a Shelf,
    pub(super) limits: &'a Limits,
}

/// Which records are taken over.
struct Kept {
    sessions: BTreeSet<u32>,
    /// Operations of the root's last attempt.
    operations: BTreeSet<u32>,
    /// Those of them whose outcome is left out, as nobody was told: the end of the attempt cancelled them, or no model answered.
    unfinished: BTreeSet<u32>,
}

/// Records that are written together.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    bytes: usize,
}

/// Writes whose outcome has not come by.
type Writes = HashMap<(StreamId, u32), Intent>;

impl Taken<'_> {
    /// Copies all of it. Gives what a person should know besides.
    pub(super) async fn over(&self) -> Result<Vec<String>, HostError> {
        let kept = self.kept()?;
        let (mut batch, mut writes, mut notices) = (Batch::default(), Writes::new(), Notices::default());
        let (mut after, mut passed, mut plugins) = (0, false, PluginsOf::default());
        loop {
            let page = self.store.records(self.origin, after, RECORDS)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (_, record) in page {
                passed |= self.is_past(&record);
                if !self.keeps(&kept, &record, passed) {
                    continue;
                }
                if let Record::Intent(intent) = &record {
                    self.bodies(intent, &mut batch)?;
                }
                self.space(&record, &mut writes, passed, &mut notices).await?;
                let record = self.moved(record)?;
                plugins
                    .follow(&record)
                    .map_err(|e| super::cannot(self.origin, &e.to_string()))?;
                batch.push(record);
                if batch.is_full() {
                    batch.write(self.store, self.owner).await?;
                }
            }
        }
        batch.write(self.store, self.owner).await?;
        self.spilled(&kept).await?;
        self.components(plugins).await?;
        Ok(notices.words())
    }

    fn kept(&self) -> Result<Kept, HostError> {
        let seen = self.store.observations(&self.cut.root)?;
        let rows = self.store.operations(&self.cut.root)?;
        let operations = self.operations(&seen, &rows);
        Ok(Kept {
            sessions: self.sessions(&operations)?,
            unfinished: self.unfinished(&seen, &rows),
            operations,
        })
    }

    /// Observations of the root's last attempt that are taken over.
    fn told<'s>(&self, seen: &'s [Observation]) -> impl Iterator<Item = &'s Observation> + use<'s> {
        let most = self.cut.observations;
        seen.iter().filter(move |seen| seen.seq <= most)
    }

    /// Operations that were begun by then.
    fn operations(&self, seen: &[Observation], rows: &[OperationRow]) -> BTreeSet<u32> {
        let begun = |seen: &Observation| match seen.answer {
            Answer::Started(op) | Answer::Delivered(op) => Some(op),
            Answer::Body(_) => None,
        };
        let mut operations: BTreeSet<u32> = self.told(seen).filter_map(begun).collect();
        let all: BTreeSet<u32> = seen.iter().filter_map(begun).collect();
        // Begun last, and nothing was told of it: it is the same where it asks for the same.
        let unseen = rows.iter().filter(|row| !all.contains(&row.intent.op));
        let same = |row: &&OperationRow| self.cut.tail.as_ref() == Some(&row.intent.request);
        operations.extend(unseen.filter(same).map(|row| row.intent.op));
        operations
    }

    /// Operations that came to nothing and that nobody was told of by then: cancelled, though the agent did not ask for it, as the end of the attempt
    /// broke them off; and completions that no model answered.
    fn unfinished(&self, seen: &[Observation], rows: &[OperationRow]) -> BTreeSet<u32> {
        let told = |op: u32| {
            self.told(seen).any(|seen| {
                let cancels = || seen.call.ends_with(".cancel") && seen.args == codec::digest(&seen.call, &op);
                seen.answer == Answer::Delivered(op) || cancels()
            })
        };
        let came_to_nothing = |row: &&OperationRow| match row.outcome.as_ref().map(|outcome| outcome.status) {
            Some(OutcomeStatus::Cancelled) => row.intent.kind != OpKind::Child,
            Some(OutcomeStatus::Failed) => row.intent.kind == OpKind::Completion,
            _ => false,
        };
        let unfinished = rows.iter().filter(came_to_nothing).map(|row| row.intent.op);
        unfinished.filter(|op| !told(*op)).collect()
    }

    /// The root, and all that come from what is taken over. Parents come before their children.
    fn sessions(&self, operations: &BTreeSet<u32>) -> Result<BTreeSet<u32>, HostError> {
        let mut kept = BTreeSet::new();
        let root = &self.cut.root;
        for row in self.store.sessions(self.origin)? {
            let stays = row.parent.as_ref().is_none_or(|parent| {
                let of_cut = parent.session == root.session && parent.attempt == root.attempt;
                kept.contains(&parent.session.number) && (!of_cut || operations.contains(&parent.op))
            });
            if stays {
                kept.insert(row.session.number);
            }
        }
        Ok(kept)
    }

    /// True for the first observation that is not taken over.
    fn is_past(&self, record: &Record) -> bool {
        matches!(record, Record::Observation(seen) if seen.stream == self.cut.root && seen.seq > self.cut.observations)
    }

    fn keeps(&self, kept: &Kept, record: &Record, passed: bool) -> bool {
        let stream = match record {
            Record::Session(new) => return kept.sessions.contains(&new.session.number),
            Record::Start(start) => return kept.sessions.contains(&start.session.number),
            Record::Update(update) => {
                let is_root = update.session == self.cut.root.session;
                let begins = matches!(update.transition, Transition::Active { .. });
                return kept.sessions.contains(&update.session.number) && (begins || !is_root);
            }
            Record::Intent(intent) => &intent.stream,
            Record::Outcome(outcome) => &outcome.stream,
            Record::Observation(seen) => &seen.stream,
            // Its start records say so.
            Record::Note(note) if note.kind == NoteKind::Terms => return false,
            Record::Note(note) => &note.stream,
            Record::Refund(stream, _) | Record::Resent(stream, _) => stream,
            Record::Body(..) | Record::Spill(_) => return false,
        };
        let root = &self.cut.root;
        if stream.session != root.session || stream.attempt != root.attempt {
            return kept.sessions.contains(&stream.session.number);
        }
        let has = |op: &u32| kept.operations.contains(op);
        if let Some(outer) = stream.scope.first() {
            return has(&outer) && !kept.unfinished.contains(&outer);
        }
        match record {
            Record::Intent(intent) => has(&intent.op),
            Record::Outcome(outcome) => has(&outcome.op) && !kept.unfinished.contains(&outcome.op),
            Record::Resent(_, op) => has(op) && !kept.unfinished.contains(op),
            Record::Observation(seen) => seen.seq <= self.cut.observations,
            _ => !passed,
        }
    }

    /// The bodies of a request; the store keeps each once.
    fn bodies(&self, intent: &Intent, batch: &mut Batch) -> Result<(), HostError> {
        for digest in &intent.request {
            let body = self.store.body(self.origin, digest)?;
            batch.push(Record::Body(*digest, body));
        }
        Ok(())
    }

    /// Makes the change of a space again that a record tells of.
    async fn space(
        &self,
        record: &Record,
        writes: &mut Writes,
        passed: bool,
        notices: &mut Notices,
    ) -> Result<(), HostError> {
        let outcome = match record {
            Record::Intent(intent) if intent.kind == OpKind::Write => {
                writes.insert((intent.stream.clone(), intent.op), intent.clone());
                return Ok(());
            }
            Record::Outcome(outcome) => outcome,
            _ => return Ok(()),
        };
        let Some(intent) = writes.remove(&(outcome.stream.clone(), outcome.op)) else {
            return Ok(());
        };
        if intent.shared {
            notices.shared = true;
            return Ok(());
        }
        if outcome.status != OutcomeStatus::Done {
            return Ok(());
        }
        let same = self.write(&intent, outcome).await?;
        if !same && !passed {
            return Err(super::cannot(
                self.origin,
                &format!("its space {} can't be made again as it was", intent.name),
            ));
        }
        notices.reordered |= !same;
        Ok(())
    }

    /// Whether the write comes out as it did.
    async fn write(&self, intent: &Intent, outcome: &Outcome) -> Result<bool, HostError> {
        let damaged = || {
            super::cannot(
                self.origin,
                &format!("the arguments of a write to {} are not kept", intent.name),
            )
        };
        let digest = intent.request.first().ok_or_else(damaged)?;
        let arguments = self.store.body(self.origin, digest)?;
        let effect = recorded_effect(self.owner.run(), &arguments).ok_or_else(damaged)?;
        let by = (self.stream(intent.stream.clone()), intent.op);
        let copied = self.store.copy_write(self.owner, self.quota, effect, by, outcome.at_ms);
        Ok(EffectResult::read(&outcome.body) == Some(copied.await?))
    }

    /// A record as one of the fork.
    fn moved(&self, record: Record) -> Result<Record, HostError> {
        Ok(match record {
            Record::Session(mut new) => {
                if new.parent.is_none() {
                    new.edge = Edge::Forked;
                    if let Some(changed) = self.changed {
                        new.strategy.clone_from(&changed.plugin.name);
                        new.digest = changed.plugin.digest;
                    }
                    put(&mut new.budget, &self.terms.budget.root);
                    put(&mut new.budget, &self.budget.root);
                }
                new.session = self.session(&new.session);
                new.parent = new.parent.map(|mut address| {
                    address.session = self.session(&address.session);
                    address
                });
                Record::Session(new)
            }
            Record::Update(mut update) => {
                update.session = self.session(&update.session);
                Record::Update(update)
            }
            Record::Start(start) => Record::Start(self.start(start)?),
            Record::Intent(mut intent) => {
                intent.stream = self.stream(intent.stream);
                Record::Intent(intent)
            }
            Record::Outcome(mut outcome) => {
                outcome.stream = self.stream(outcome.stream);
                Record::Outcome(outcome)
            }
            Record::Observation(mut seen) => {
                seen.stream = self.stream(seen.stream);
                Record::Observation(seen)
            }
            Record::Note(mut note) => {
                note.stream = self.stream(note.stream);
                // The fork is a run of this host's own: what the file advises would be taken for the host's word.
                if let Some(audited) = Audited::read(&note).filter(|_| self.imported) {
                    note.body = audited.without_advice().body();
                }
                Record::Note(note)
            }
            Record::Refund(stream, op) => Record::Refund(self.stream(stream), op),
            Record::Resent(stream, op) => Record::Resent(self.stream(stream), op),
            other @ (Record::Body(..) | Record::Spill(_)) => other,
        })
    }

    /// A start record of the fork: of the root's attempts with the strategy, its rights and the limits of the fork.
    fn start(&self, mut start: Start) -> Result<Start, HostError> {
        let mut body: StartBody = codec::decode(&start.body).map_err(|e| super::cannot(self.origin, &e.to_string()))?;
        self.terms.apply(&mut body);
        body.agent.parent = body.agent.parent.map(|id| self.session(&id));
        if start.session == self.cut.root.session {
            // Attempts before it were made by the other bytes.
            if let Some(changed) = self.changed.filter(|_| start.attempt == self.cut.root.attempt) {
                body.agent.strategy = PluginRef::of(&changed.plugin);
                body.agent.rights = changed.rights.clone();
            }
            put(&mut body.agent.caps, &self.budget.root);
        }
        if let Some(run) = &mut body.run {
            put(&mut run.tree, &self.budget.tree);
            put(&mut run.child, &self.budget.child);
        }
        start.session = self.session(&start.session);
        start.body = codec::encode(&body);
        Ok(start)
    }

    fn session(&self, id: &SessionId) -> SessionId {
        SessionId {
            run: self.owner.run().clone(),
            number: id.number,
        }
    }

    fn stream(&self, stream: StreamId) -> StreamId {
        StreamId {
            session: self.session(&stream.session),
            ..stream
        }
    }

    /// Texts that were too long for their readers, of the sessions that are taken over.
    async fn spilled(&self, kept: &Kept) -> Result<(), HostError> {
        let mut after: Option<EntryCursor> = None;
        loop {
            let page = self.store.stored_entries(self.origin, after.as_ref(), ENTRIES)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.space.clone(), last.version));
            let author = |entry: &StoredEntry| entry.author.parse::<SessionId>().ok();
            let taken = |entry: &StoredEntry| {
                entry.space == SPILL_SPACE && author(entry).is_some_and(|id| kept.sessions.contains(&id.number))
            };
            let entries: Vec<StoredEntry> = page.into_iter().filter(taken).map(|entry| self.entry(entry)).collect();
            if !entries.is_empty() {
                self.store.copy_entries(self.owner, entries).await?;
            }
        }
    }

    fn entry(&self, mut entry: StoredEntry) -> StoredEntry {
        if let Ok(author) = entry.author.parse() {
            entry.author = self.session(&author).to_string();
        }
        entry
    }

    /// The bytes of the fork's plugins. That of its root may be new here.
    async fn components(&self, plugins: PluginsOf) -> Result<(), HostError> {
        if let Some(changed) = self.changed {
            let bytes = bytes::Bytes::from_owner(changed.plugin.bytes.clone());
            self.store.keep_component(self.owner, bytes).await?;
        }
        for (digest, name) in plugins.with_awaited(self.store)? {
            let bytes = bytes_of(self.store, self.shelf, (&digest, &name), self.limits)?;
            self.store.keep_component(self.owner, bytes).await?;
        }
        Ok(())
    }
}

/// What a person should know of spaces.
#[derive(Default)]
struct Notices {
    shared: bool,
    reordered: bool,
}

impl Notices {
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.shared {
            words.push(
                "it wrote to a space of the home folder, which all runs share: that stands as it is today".to_owned(),
            );
        }
        if self.reordered {
            words.push(
                "what its agents wrote after the fork's beginning came out in another order than it did".to_owned(),
            );
        }
        words
    }
}

impl Batch {
    fn push(&mut self, record: Record) {
        self.bytes += size(&record);
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= RECORDS as usize || self.bytes >= BYTES
    }

    async fn write(&mut self, store: &Store, owner: &Owner) -> Result<(), HostError> {
        self.bytes = 0;
        let records = std::mem::take(&mut self.records);
        if !records.is_empty() {
            store.copy_records(owner, records).await?;
        }
        Ok(())
    }
}
