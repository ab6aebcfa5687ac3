//! One instance's side of the host: what it works for, what it may do, its meter, its clock, and its part of the journal. What its calls go
//! through is in `path` and `operate`, what it may burn in `fuel`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::config::{Scope as Whom, raised_with};
use crate::error::{Dimension, Refusal};
use crate::event::now_ms;
use crate::ids::{Digest, StreamId};
use crate::ledger::{Exhausted, Held};
use crate::plugin::rights::Rights;
use crate::scrub::Known;
use crate::session::audit::{At, Gathered, Taken, Use, Which};
use crate::session::clock::Clock;
use crate::session::codec;
use crate::session::emitted::{Emits, Emitted};
use crate::session::end::End;
use crate::session::met::Met;
use crate::session::op::{Ended, Op, OpBody};
use crate::session::operate::Postponed;
use crate::session::step::Step;
use crate::session::tape::{Meters, Recorded, Tape, size};
use crate::session::waits::{Timed, Waits};
use crate::session::{Attempt, Session, lock};
use crate::store::{Answer, EffectResult, Note, NoteKind, Observation, OpEffect, OutcomeStatus, Record, Sync};

/// The end of a timer, as observations name it.
const WAIT: &str = "wasi.wait";

/// Bytes of records that may wait for the next commit.
const PENDING: usize = 64 << 10;

/// One instance's side of the host: a strategy's attempt, or one tool call.
pub struct Guest {
    /// The session that it works for.
    pub session: Arc<Session>,
    /// The attempt that it is part of.
    pub attempt: Arc<Attempt>,
    /// Its sequence of operations and observations.
    pub stream: StreamId,
    /// The plugin's name, for messages.
    pub plugin: String,
    /// The plugin's bytes.
    pub digest: Digest,
    /// What this instance may do.
    pub rights: Rights,
    /// Its tools, by the names that it sees.
    pub tools: Vec<String>,
    /// Its meter.
    pub step: Step,
    /// The time that it sees.
    pub clock: Clock,
    /// Fuel of one step.
    pub fuel: u64,
    /// Of a tool: what it may burn of the session's budget, with all that it calls. None where there is no budget.
    pub share: Option<u64>,
    /// A budget of fuel bounds it, beside the limit of one step: which can't change while it lives.
    pub(super) fuel_is_budgeted: bool,
    /// Tells it, and all that it started, to stop.
    pub cancel: CancellationToken,
    /// It has ended: its operations end with it.
    pub over: CancellationToken,
    /// Its operations.
    pub(super) tasks: TaskTracker,
    /// Completions begun.
    completions: AtomicU32,
    /// Host calls that it made, and how many of them were charged to an instance in whose place it stands.
    entered: AtomicU64,
    entered_before: u64,
    /// What its clock showed when its present call began, in milliseconds since 1970.
    called_ms: AtomicU64,
    /// How long its session had been awake, in milliseconds, when it was told something last, or began.
    told_awake_ms: AtomicU64,
    /// Timers that it has set.
    timers: AtomicU64,
    /// How often it has asked whether timers, or what else it can wait for, have ended.
    polls: AtomicU64,
    /// How many of those calls were answered, and how many of them to an instance in whose place it stands.
    polled: AtomicU64,
    polled_before: u64,
    /// The last of those calls in which the record told it that a timer had ended.
    told_poll: AtomicU64,
    /// Fuel that the record says was burnt before the step that is being replayed.
    pub(super) replayed_step: AtomicU64,
    /// What is set aside for the strategy's call that it is, or is inside of.
    pub held: Option<Held>,
    /// What it waits for.
    pub waits: Waits,
    /// It stands in the place of an instance that is gone.
    pub is_again: bool,
    /// Why the host wants it ended, noticed where no value could say so: by operations, too, that an instance before it began.
    fault: Arc<Mutex<Option<End>>>,
    /// What it emits.
    emits: Mutex<Emits>,
    /// The last error that it logged: where it traps, that says more than the trap.
    logged: Mutex<Option<String>>,
    /// The call that its record does not have.
    pub(super) met: Mutex<Option<Met>>,
    /// In a replay that is compared: it burnt other amounts of fuel than its record says.
    fuel_differs: AtomicBool,
    tape: Mutex<Tape>,
    /// What waits until all that is recorded has been told.
    postponed: Mutex<Vec<Box<dyn Postponed>>>,
    /// Itself, for tasks that it starts.
    me: Weak<Self>,
}

/// What a guest is made of, beside its session and attempt.
pub struct Making {
    /// [`Guest::stream`].
    pub stream: StreamId,
    /// [`Guest::plugin`].
    pub plugin: String,
    /// [`Guest::digest`].
    pub digest: Digest,
    /// [`Guest::rights`].
    pub rights: Rights,
    /// [`Guest::tools`].
    pub tools: Vec<String>,
    /// [`Guest::fuel`].
    pub fuel: u64,
    /// [`Guest::share`].
    pub share: Option<u64>,
    /// [`Guest::cancel`].
    pub cancel: CancellationToken,
    /// [`Guest::over`].
    pub over: CancellationToken,
    /// Where its clock starts, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long its session had been awake then, in milliseconds.
    pub awake_ms: u64,
    /// What it replays before it goes on live.
    pub recorded: Recorded,
    /// [`Guest::held`].
    pub held: Option<Held>,
}

impl Guest {
    /// A guest that replays what was recorded and goes on live from there.
    pub fn new(session: Arc<Session>, attempt: Arc<Attempt>, making: Making) -> Arc<Self> {
        Self::make(session, attempt, making, None)
    }

    /// The same in the place of an instance that the host lost or gave up, whose operations are still under way.
    pub fn in_place_of(lost: &Self, making: Making) -> Arc<Self> {
        Self::make(lost.session.clone(), lost.attempt.clone(), making, Some(lost))
    }

    fn make(session: Arc<Session>, attempt: Arc<Attempt>, making: Making, lost: Option<&Self>) -> Arc<Self> {
        let Making {
            stream,
            plugin,
            digest,
            rights,
            tools,
            fuel,
            share,
            cancel,
            over,
            at_ms,
            awake_ms,
            recorded,
            held,
        } = making;
        let wall = Duration::from_millis(session.run.limits.step_wall);
        let live = lost.map(|lost| lost.tape().hand_over()).unwrap_or_default();
        let gathered = lost.map(|lost| lost.tape().hand_over_gathered());
        let gathered =
            gathered.unwrap_or_else(|| Gathered::new(session.run.limits.audit_targets, session.run.secrets.clone()));
        let tape = Mutex::new(Tape::new(stream.clone(), recorded, live, gathered));
        let step = Step::new(wall, fuel);
        // What it does again was charged when the lost one did it.
        let (mut entered_before, mut waits, mut fault) = (0, Waits::default(), Arc::default());
        let mut polled_before = 0;
        let mut postponed = Vec::new();
        if let Some(lost) = lost {
            step.takes_over(&lost.step);
            entered_before = lost.entered.load(Ordering::Acquire).max(lost.entered_before);
            polled_before = lost.polled.load(Ordering::Acquire).max(lost.polled_before);
            waits = Waits::after(&lost.waits);
            fault = lost.fault.clone();
            postponed = std::mem::take(&mut *lock(&lost.postponed));
        }
        let is_strategy = stream.scope.is_root();
        let capped = || {
            session
                .run
                .ledger
                .cap_in_force(session.account, Dimension::Fuel)
                .is_some()
        };
        let fuel_is_budgeted = share.is_some() || is_strategy && capped();
        Arc::new_cyclic(|me| Self {
            session,
            attempt,
            stream,
            plugin,
            digest,
            rights,
            tools,
            step,
            clock: Clock::new(at_ms),
            fuel,
            share,
            fuel_is_budgeted,
            cancel,
            over,
            tasks: TaskTracker::new(),
            completions: AtomicU32::new(0),
            entered: AtomicU64::new(0),
            called_ms: AtomicU64::new(at_ms),
            told_awake_ms: AtomicU64::new(awake_ms),
            entered_before,
            timers: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            polled_before,
            told_poll: AtomicU64::new(0),
            replayed_step: AtomicU64::new(0),
            held,
            waits,
            is_again: lost.is_some(),
            fault,
            emits: Mutex::default(),
            logged: Mutex::default(),
            met: Mutex::new(None),
            fuel_differs: AtomicBool::new(false),
            tape,
            postponed: Mutex::new(postponed),
            me: me.clone(),
        })
    }

    /// True for the strategy itself, false for a tool call.
    pub fn is_strategy(&self) -> bool {
        self.stream.scope.is_root()
    }

    /// Which alias it asks for that names a model, or none for its default, which has a name too. One that lacks the default, and holds an
    /// alias of that name, means the alias.
    pub fn model_alias<'a>(&self, name: Option<&'a str>) -> Option<&'a str> {
        let holds = |alias| self.rights.may_llm(&self.plugin, alias).is_ok();
        name.filter(|name| {
            let default = self.session.model.as_ref().is_some_and(|model| model.name == *name);
            !default || !holds(None) && holds(Some(name))
        })
    }

    /// Counts a call of the host's own interfaces.
    ///
    /// # Errors
    /// The calls of this step are used up, or the host wants the instance ended.
    pub fn enter(&self) -> Result<(), End> {
        self.called_ms.store(self.clock.now_ms(), Ordering::Release);
        if let Some(end) = self.fault() {
            return Err(end);
        }
        let (ledger, account) = (&self.session.run.ledger, self.session.account);
        let again = self.entered.fetch_add(1, Ordering::AcqRel) < self.entered_before;
        let within = if again {
            Ok(())
        } else {
            ledger.charge_within(account, Dimension::HostCalls, 1)
        };
        let limit = self.session.run.limits.host_calls;
        if self.step.count_call() > limit {
            let message = format!("it made more than {limit} calls into the host in one step (limits.host_calls)");
            return Err(self.step_ran_out(Dimension::HostCalls, message));
        }
        within.map_err(|e| self.ran_out(&e))
    }

    /// What its clock showed when its present call began: the same where that call is replayed, though its answer moves the clock on.
    pub(super) fn called_ms(&self) -> u64 {
        self.called_ms.load(Ordering::Acquire)
    }

    /// How long its session had been awake when it was told something last, or began, in milliseconds.
    pub(super) fn told_awake_ms(&self) -> u64 {
        self.told_awake_ms.load(Ordering::Acquire)
    }

    /// When a wait that begins now and takes `time` ends, by how long its session will have been awake; for one that an instance before this one
    /// began, when that would have ended.
    pub fn wait_ends(&self, of: Timed, time: Duration) -> Duration {
        let told = Duration::from_millis(self.told_awake_ms());
        let awake = &self.session.awake;
        // What was told by a process before this one was followed by this wait there: it goes on.
        let begins = match self.is_replaying() || told < awake.before() {
            true => told,
            false => awake.now(),
        };
        self.waits.ends(of, begins.saturating_add(time))
    }

    /// Calls of the host's own interfaces that it made.
    pub fn host_calls(&self) -> u64 {
        self.entered.load(Ordering::Acquire)
    }

    /// Why the host wants the instance ended, if it does.
    pub fn fault(&self) -> Option<End> {
        lock(&self.fault).clone()
    }

    /// The host wants the instance ended: the first reason stands.
    pub fn fail(&self, end: End) {
        lock(&self.fault).get_or_insert(end);
    }

    /// A limit of one step is used up. That ends the instance; a session only where the instance is its strategy.
    pub fn step_ran_out(&self, dimension: Dimension, message: String) -> End {
        if self.is_strategy() {
            self.session.run.ledger.ran_out(self.session.account, dimension);
        }
        End::Exhausted { dimension, message }
    }

    /// The session's own limit is used up, or one above it.
    fn ran_out(&self, exhausted: &Exhausted) -> End {
        self.session
            .run
            .ledger
            .ran_out(self.session.account, exhausted.dimension);
        End::Exhausted {
            dimension: exhausted.dimension,
            message: Refusal::from(*exhausted).message,
        }
    }

    /// True while calls are answered by the record.
    pub fn is_replaying(&self) -> bool {
        self.tape().replaying()
    }

    /// What the record has and the guest never asked for.
    pub fn unreplayed(&self) -> Option<String> {
        let tape = self.tape();
        tape.unreplayed().map(|o| format!("observation {}: {}", o.seq, o.call))
    }

    /// Records something for people, and says whether it did: a replay records nothing, and what the record has behind all that it tells stands there already.
    ///
    /// # Errors
    /// What ends the instance.
    pub fn note(&self, kind: NoteKind, body: Vec<u8>) -> Result<bool, End> {
        if self.is_replaying() || self.tape().has_said(kind, &body) {
            return Ok(false);
        }
        self.push(Record::Note(self.new_note(kind, body)))?;
        Ok(true)
    }

    /// What is written down of the next piece that it emits, and the secret that was replaced in what it emitted.
    pub fn next_emit(&self, piece: &str) -> (Emitted, Option<Known<'_>>) {
        lock(&self.emits).next(&self.session.run.secrets, piece)
    }

    /// Whether it emitted something whose end is not told yet.
    pub fn has_emitted(&self) -> bool {
        lock(&self.emits).goes_on()
    }

    /// Keeps the last error that it logged.
    pub fn keep_logged(&self, line: &str) {
        *lock(&self.logged) = Some(line.to_owned());
    }

    /// The last error that it logged.
    pub fn logged(&self) -> Option<String> {
        lock(&self.logged).clone()
    }

    /// The same of the end of what it emitted, where it did and nothing more comes.
    pub fn last_emit(&self) -> Option<(Emitted, Option<Known<'_>>)> {
        lock(&self.emits).last(&self.session.run.secrets)
    }

    pub(super) fn new_note(&self, kind: NoteKind, body: Vec<u8>) -> Note {
        Note {
            stream: self.stream.clone(),
            kind,
            body,
            at_ms: now_ms(),
        }
    }

    /// Which of its completions this one is, from 0: by its own stream alone, so that a rebuilt instance counts the same.
    pub fn next_completion(&self) -> u32 {
        self.completions.fetch_add(1, Ordering::AcqRel)
    }

    /// The number of its next observation.
    pub fn next_seq(&self) -> u64 {
        self.tape().next_seq()
    }

    /// The number of a timer that the guest sets.
    pub fn next_timer(&self) -> u64 {
        self.timers.fetch_add(1, Ordering::AcqRel)
    }

    /// A call begins in which the guest may see that timers have ended: it waits for one of several, waits for one, or asks one.
    pub fn begins_poll(&self) {
        self.polls.fetch_add(1, Ordering::AcqRel);
    }

    /// It is answered.
    pub fn ends_poll(&self) {
        self.polled.store(self.poll(), Ordering::Release);
    }

    /// The number of such a call, from 1: the present one, or the last.
    pub fn poll(&self) -> u64 {
        self.polls.load(Ordering::Acquire)
    }

    /// Says that timer `number` ended, which was due at `due_ms` of the guest's time: its clock goes there at least. In which of its calls the guest sees
    /// that is part of what it is told.
    pub fn waited(&self, number: u64, due_ms: u64) {
        let told = codec::encode(&self.poll());
        if self.observe_quietly(WAIT, &number, told, now_ms().max(due_ms)) {
            self.told_poll.store(self.poll(), Ordering::Release);
        }
    }

    /// Whether its present call was answered before, by the record or to an instance before this one: what the record has not of it did not end in it.
    pub fn was_polled(&self) -> bool {
        let poll = self.poll();
        poll <= self.polled_before || self.told_poll.load(Ordering::Acquire) == poll
    }

    /// In which of the guest's calls this timer ended, where that is the next thing to replay.
    pub fn replays_wait(&self, number: u64) -> Option<u64> {
        let tape = self.tape();
        match &tape.replays_next(WAIT, codec::digest(WAIT, &number))?.answer {
            Answer::Body(poll) => codec::decode(poll).ok(),
            Answer::Started(_) | Answer::Delivered(_) => None,
        }
    }

    /// Reads the clock; each 1,024th reading takes real time in.
    pub fn read_clock(&self) {
        if self.clock.read() {
            self.observe_quietly("wasi.clock", &(), Vec::new(), now_ms());
        }
    }

    /// Whether the record has it: else it is written down.
    fn observe_quietly<T: serde::Serialize>(&self, name: &'static str, shown: &T, told: Vec<u8>, at_ms: u64) -> bool {
        let args = codec::digest(name, shown);
        let is_recorded = match self.replayed(name, args, || Met::call(name, shown)) {
            Ok(Some(_)) => Ok(true),
            Ok(None) => self.observe_at(name, args, Answer::Body(told), at_ms).map(|()| false),
            Err(end) => Err(end),
        };
        is_recorded.unwrap_or_else(|end| {
            self.fail(end);
            false
        })
    }

    /// The answer that the record has for this call, where it is being replayed.
    pub(super) fn replay(&self, name: &str, args: Digest) -> Result<Option<Observation>, End> {
        let (seen, live) = {
            let mut tape = self.tape();
            let seen = tape.replay(name, args)?;
            (seen, !tape.replaying() && tape.goes_live())
        };
        if let Some(seen) = &seen {
            self.clock.observe(seen.at_ms);
            self.told_awake_ms.store(seen.awake_ms, Ordering::Release);
            if self.step.fuel_used() != seen.fuel {
                self.fuel_differs.store(true, Ordering::Release);
            }
            if live {
                self.goes_live(seen);
                self.go_on_with_postponed();
            } else {
                self.step.begin_stretch(self.fuel);
            }
        }
        Ok(seen)
    }

    /// Whether it burnt other amounts of fuel than its record says.
    pub fn fuel_differs(&self) -> bool {
        self.fuel_differs.load(Ordering::Acquire)
    }

    /// How many observations it was told, or will have been before the next.
    pub fn observations(&self) -> u64 {
        self.tape().next_seq() - 1
    }

    /// Whether it is only told again what its record has.
    pub fn is_told_again(&self) -> bool {
        self.session.run.keeping.is_record()
    }

    pub(super) fn observe(&self, name: &str, args: Digest, answer: Answer) -> Result<(), End> {
        self.observe_at(name, args, answer, now_ms())
    }

    fn observe_at(&self, name: &str, args: Digest, answer: Answer, at_ms: u64) -> Result<(), End> {
        let observation = self.observation(name, args, answer, at_ms);
        self.push(observation)
    }

    /// Writes down what a look told the guest, and which of its rights it used.
    pub(super) fn observe_use(
        &self,
        name: &str,
        args: Digest,
        answer: Answer,
        used: Option<&Use<'_>>,
    ) -> Result<(), End> {
        let observation = self.observation(name, args, answer, now_ms());
        self.count_record(&observation)?;
        let mut tape = self.tape();
        tape.push(observation);
        if let Some(used) = used {
            let number = tape.next_seq() - 1;
            tape.gathered.uses(used, At::Observation(number));
        }
        Ok(())
    }

    /// The record of what a call tells the guest.
    pub(super) fn observation(&self, name: &str, args: Digest, answer: Answer, at_ms: u64) -> Record {
        let meters = Meters {
            fuel: self.step.fuel_used(),
            awake_ms: self.session.awake_ms(),
            at_ms: self.clock.observe(at_ms),
        };
        self.told_awake_ms.store(meters.awake_ms, Ordering::Release);
        Record::Observation(self.tape().observe(name, args, answer, meters))
    }

    /// Keeps a record for the next commit, within the session's part of the journal.
    pub(super) fn push(&self, record: Record) -> Result<(), End> {
        self.count_record(&record)?;
        self.tape().push(record);
        Ok(())
    }

    /// Takes records of an operation that mean something only together, with its effect too, behind everything that waits for a commit, for whoever commits
    /// them: in one step, so that no other commit takes some of them. With them it is noted which right the operation `op` uses. None is taken where the
    /// session's part of the journal has no room.
    pub(super) fn take_with(&self, records: Vec<Record>, used: Option<&Use<'_>>, op: u32) -> Result<Taken, End> {
        records.iter().try_for_each(|record| self.count_record(record))?;
        Ok(self.take(Which::New, |tape| {
            tape.push_all(records);
            if let Some(used) = used {
                tape.gathered.uses(used, At::Operation(op));
            }
        }))
    }

    pub(super) fn count_record(&self, record: &Record) -> Result<(), End> {
        self.within_journal(record).map_err(|full| self.journal_full(full))
    }

    /// Counts a record that is written all the same, as what it tells of has happened. An error says which limit it passes.
    pub(super) fn count_written(&self, record: &Record) -> Result<(), String> {
        let within = self.within_journal(record);
        if within.is_err() {
            let bytes = Amounts::of(Dimension::JournalBytes, size(record) as u64);
            self.session.run.ledger.charge(self.session.account, bytes);
        }
        within
    }

    /// Counts a record, and says which limit of the session's part of the journal it would pass.
    fn within_journal(&self, record: &Record) -> Result<(), String> {
        let (ledger, account) = (&self.session.run.ledger, self.session.account);
        let most = self.session.run.limits.journal_records;
        if self.session.count_record() >= most {
            return Err(format!(
                "its part of the journal is full: {most} records (limits.journal_records)"
            ));
        }
        let within = ledger.charge_within(account, Dimension::JournalBytes, size(record) as u64);
        within.map_err(|exhausted| {
            let (most, raised) = (exhausted.cap, raised_with(exhausted.dimension, &[Whom::Root]));
            format!("its budget for journal-bytes is used up: {most} bytes (limits.journal_bytes, {raised})")
        })
    }

    /// That ends the session.
    pub(super) fn journal_full(&self, message: String) -> End {
        let dimension = Dimension::JournalBytes;
        self.session.run.ledger.ran_out(self.session.account, dimension);
        End::Exhausted { dimension, message }
    }

    /// Commits everything that waits for it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn flush(&self, sync: Sync) -> Result<(), End> {
        let taken = self.take(Which::New, |_| {});
        self.append_taken(taken, None, sync).await.map(drop)
    }

    /// Commits records of an operation's task by themselves, which are counted: what its guest was told meanwhile is the guest's to commit.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn append_apart(&self, records: Vec<Record>, sync: Sync) -> Result<(), End> {
        self.append_taken((records, Vec::new()), None, sync).await.map(drop)
    }

    /// Commits everything that waits for it, and how often rights were used again.
    ///
    /// # Errors
    /// The store failed.
    pub async fn flush_all(&self, sync: Sync) -> Result<(), End> {
        let taken = self.take(Which::All, |_| {});
        self.append_taken(taken, None, sync).await.map(drop)
    }

    /// Everything that waits for a commit, for whoever commits it with something else. Nothing comes after it.
    pub fn take_last(&self) -> Vec<Record> {
        self.take(Which::Last, |_| {}).0
    }

    pub(super) async fn flush_if_large(&self) -> Result<(), End> {
        if self.tape().pending_bytes() > PENDING {
            self.flush(Sync::Commit).await
        } else {
            Ok(())
        }
    }

    /// Commits what was taken, and an effect that is of one of its operations.
    pub(super) async fn append_taken(
        &self,
        (records, told): Taken,
        effect: Option<OpEffect>,
        sync: Sync,
    ) -> Result<Option<EffectResult>, End> {
        if records.is_empty() && effect.is_none() {
            return Ok(None);
        }
        // A busy database makes it wait and ends nobody.
        let _pause = self.step.pause();
        let appended = self.session.run.append(records, effect, sync).await?;
        told.into_iter().for_each(|event| self.session.event(event));
        Ok(appended)
    }

    /// Ends all that it started and waits for that. Nothing outlives the instance that asked for it.
    pub async fn close(&self) {
        self.over.cancel();
        self.end_postponed();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Keeps what can't go on before all that is recorded has been told.
    pub(super) fn postpone(&self, operation: Box<dyn Postponed>) {
        lock(&self.postponed).push(operation);
    }

    /// All that is recorded has been told: what waited for that goes on.
    pub(super) fn go_on_with_postponed(&self) {
        let all = std::mem::take(&mut *lock(&self.postponed));
        let Some(me) = self.me.upgrade().filter(|_| !all.is_empty()) else {
            return;
        };
        let task = async move {
            let mut all = all.into_iter();
            while let Some(operation) = all.next() {
                if let Err(end) = operation.go(me.clone()).await {
                    // What comes behind it stays as it is recorded.
                    all.for_each(|operation| operation.leave(&me));
                    return me.fail(end);
                }
            }
        };
        self.attempt.tasks.spawn(self.tasks.track_future(task));
    }

    /// The instance ended first: what waited ends with it, or stays as it is where the run is suspended.
    pub fn end_postponed(&self) {
        if self.session.run.suspend.is_cancelled() {
            self.leave_postponed();
        } else {
            self.go_on_with_postponed();
        }
    }

    /// Leaves what waited as it is recorded.
    pub fn leave_postponed(&self) {
        let all = std::mem::take(&mut *lock(&self.postponed));
        all.into_iter().for_each(|operation| operation.leave(self));
    }

    /// A child of an earlier attempt, which has ended: it can be asked for like those of this one.
    pub fn keep_ended_child(&self, handle: u32, result: types::RunResult) {
        let ended = Ended {
            status: OutcomeStatus::Done,
            body: OpBody::Child(result),
        };
        self.tape().keep(Op::done(handle, false, ended));
    }

    pub(super) fn tape(&self) -> MutexGuard<'_, Tape> {
        lock(&self.tape)
    }
}
