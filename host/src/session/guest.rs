//! One instance's side of the host: what it works for, what it may do, its meter, its clock, and its part of the journal. What its calls go
//! through is in `path` and `operate`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::now_ms;
use crate::ids::StreamId;
use crate::ledger::{Exhausted, Held};
use crate::plugin::rights::Rights;
use crate::session::clock::Clock;
use crate::session::codec;
use crate::session::end::End;
use crate::session::op::{Ended, Op, OpBody};
use crate::session::step::Step;
use crate::session::tape::{Meters, Recorded, Tape, size};
use crate::session::{Attempt, Session, lock};
use crate::store::{Answer, Effect, EffectResult, Note, NoteKind, Observation, OutcomeStatus, Record, Sync};

/// Bytes of records that may wait for the next commit.
const PENDING: usize = 64 << 10;

/// That a budget of fuel ended an instance.
pub const NO_FUEL: &str = "what it had of the budget of fuel is used up (--budget fuel=N, tree.fuel=N)";

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
    /// Timers that it has set.
    timers: AtomicU64,
    /// Fuel that the record says was burnt before the step that is being replayed.
    replayed_step: AtomicU64,
    /// What is set aside for the strategy's call that it is, or is inside of.
    pub held: Option<Held>,
    /// Why the host wants it ended, noticed where no value could say so.
    fault: Mutex<Option<End>>,
    tape: Mutex<Tape>,
}

/// What a guest is made of, beside its session and attempt.
pub struct Making {
    /// [`Guest::stream`].
    pub stream: StreamId,
    /// [`Guest::plugin`].
    pub plugin: String,
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

    /// The same in the place of an instance that the host lost, whose operations are still under way.
    pub fn in_place_of(lost: &Self, making: Making) -> Arc<Self> {
        Self::make(lost.session.clone(), lost.attempt.clone(), making, Some(lost))
    }

    fn make(session: Arc<Session>, attempt: Arc<Attempt>, making: Making, lost: Option<&Self>) -> Arc<Self> {
        let Making {
            stream,
            plugin,
            rights,
            tools,
            fuel,
            share,
            cancel,
            over,
            at_ms,
            recorded,
            held,
        } = making;
        let wall = Duration::from_millis(session.run.limits.step_wall);
        let live = lost.map(|lost| lost.tape().hand_over()).unwrap_or_default();
        let tape = Mutex::new(Tape::new(stream.clone(), recorded, live));
        let step = Step::new(wall, fuel);
        // What it does again was charged when the lost one did it.
        let mut entered_before = 0;
        if let Some(lost) = lost {
            step.takes_over(&lost.step);
            entered_before = lost.entered.load(Ordering::Acquire).max(lost.entered_before);
        }
        Arc::new(Self {
            session,
            attempt,
            stream,
            plugin,
            rights,
            tools,
            step,
            clock: Clock::new(at_ms),
            fuel,
            share,
            cancel,
            over,
            tasks: TaskTracker::new(),
            completions: AtomicU32::new(0),
            entered: AtomicU64::new(0),
            entered_before,
            timers: AtomicU64::new(0),
            replayed_step: AtomicU64::new(0),
            held,
            fault: Mutex::new(None),
            tape,
        })
    }

    /// True for the strategy itself, false for a tool call.
    pub fn is_strategy(&self) -> bool {
        self.stream.scope.is_root()
    }

    /// Counts a call of the host's own interfaces.
    ///
    /// # Errors
    /// The calls of this step are used up, or the host wants the instance ended.
    pub fn enter(&self) -> Result<(), End> {
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

    /// Why the host wants the instance ended, if it does.
    pub fn fault(&self) -> Option<End> {
        lock(&self.fault).clone()
    }

    /// The host wants the instance ended: the first reason stands.
    pub(super) fn fail(&self, end: End) {
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

    /// Charges the fuel burnt since the last time. A tool's is settled with its call, and a replay's was charged when it was burnt.
    pub fn charge_fuel(&self) {
        if self.is_strategy() && !self.is_replaying() {
            let used = self.step.settle_fuel();
            let amount = Amounts::of(Dimension::Fuel, used);
            self.session.run.ledger.charge(self.session.account, amount);
        }
    }

    /// Fuel that this step may still burn: the rest of its limit, or of the session's budget, the smaller.
    pub fn fuel_rest(&self) -> u64 {
        let rest = self.fuel.saturating_sub(self.step.step_fuel_used());
        let budget = if self.is_strategy() {
            self.session.run.ledger.remaining(self.session.account, Dimension::Fuel)
        } else {
            self.share_rest()
        };
        budget.map_or(rest, |budget| budget.min(rest))
    }

    /// Of a tool's share, what neither it nor the calls inside it burnt, or may.
    fn share_rest(&self) -> Option<u64> {
        let gone = self.step.fuel_used().saturating_add(self.step.lent());
        self.share.map(|share| share.saturating_sub(gone))
    }

    /// What is left of the session's budget of fuel for calls that this instance makes: all of it for a strategy, and for a tool what its
    /// own call has left. None where there is no budget.
    pub fn fuel_to_share(&self) -> Option<u64> {
        if !self.is_strategy() {
            return self.share_rest();
        }
        let (ledger, account) = (&self.session.run.ledger, self.session.account);
        ledger.cap_in_force(account, Dimension::Fuel)?;
        self.charge_fuel();
        ledger.remaining(account, Dimension::Fuel)
    }

    /// The budget of fuel that this strategy shares with others is used up. Its own part shows by itself, as its store runs out; what others burnt
    /// beside it shows here, each time that its code hands over what it has burnt.
    pub fn out_of_fuel(&self) -> Option<End> {
        let (ledger, account) = (&self.session.run.ledger, self.session.account);
        if !self.is_strategy() || ledger.cap_in_force(account, Dimension::Fuel).is_none() || self.is_replaying() {
            return None;
        }
        self.charge_fuel();
        let dimension = Dimension::Fuel;
        (ledger.remaining(account, dimension) == Some(0)).then(|| End::Exhausted {
            dimension,
            message: NO_FUEL.to_owned(),
        })
    }

    /// Fuel that was set aside for operation `op`, as the journal has it.
    pub fn fuel_set_aside(&self, op: u32) -> u64 {
        let tape = self.tape();
        tape.recorded(op).map_or(0, |op| op.reserved.get(Dimension::Fuel))
    }

    /// Fuel that the calls made inside operation `op` burnt, as the journal has it.
    pub fn fuel_inside(&self, op: u32) -> u64 {
        self.attempt.recorded_fuel(&self.stream.scope.child(op))
    }

    /// Brings the store's fuel in line with the session's budget, which tools burn too. Called before the guest goes on.
    pub fn share_fuel(&self) {
        if !self.is_strategy() {
            if self.share.is_some() {
                self.step.give_fuel(self.fuel_rest());
            }
            return;
        }
        let capped = || {
            let ledger = &self.session.run.ledger;
            ledger.cap_in_force(self.session.account, Dimension::Fuel).is_some()
        };
        if !self.is_replaying() && capped() {
            self.charge_fuel();
            self.step.give_fuel(self.fuel_rest());
        }
    }

    /// The instance has started: its first step begins, with the fuel of one.
    pub fn begin_step(&self) {
        self.charge_fuel();
        if self.is_replaying() {
            self.replayed_step.store(self.step.fuel_used(), Ordering::Release);
        }
        self.step.begin(self.fuel);
        self.share_fuel();
    }

    /// A model's reply ends a strategy's step; a tool call is one step whatever it asks for.
    pub(super) fn new_step(&self, recorded_fuel: Option<u64>) {
        if !self.is_strategy() {
            return;
        }
        if let Some(used) = recorded_fuel {
            self.replayed_step.store(used, Ordering::Release);
            self.step.begin(self.fuel);
            return;
        }
        self.charge_fuel();
        self.step.begin(self.fuel);
        self.step.give_fuel(self.fuel_rest());
    }

    /// The last thing to replay was replayed: from here on meters count on from what the record says.
    pub(super) fn goes_live(&self, last: &Observation) {
        // Whatever call ended the replay, the code that made it reads its fuel anew.
        self.step.calls();
        let before_step = self.replayed_step.load(Ordering::Acquire);
        let in_step = last.fuel.saturating_sub(before_step);
        self.step
            .recorded_fuel(last.fuel, before_step, self.fuel.saturating_sub(in_step));
        self.charge_fuel();
        self.step.give_fuel(self.fuel_rest());
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

    /// Records something for people; a replay records nothing.
    ///
    /// # Errors
    /// What ends the instance.
    pub fn note(&self, kind: NoteKind, body: Vec<u8>) -> Result<bool, End> {
        if self.is_replaying() {
            return Ok(false);
        }
        self.push(Record::Note(self.new_note(kind, body)))?;
        Ok(true)
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

    /// The number of a timer that the guest sets.
    pub fn next_timer(&self) -> u64 {
        self.timers.fetch_add(1, Ordering::AcqRel)
    }

    /// Says that timer `number` ended, which was due at `due_ms` of the guest's time: its clock goes there at least.
    pub fn waited(&self, number: u64, due_ms: u64) {
        self.observe_quietly("wasi.wait", &number, now_ms().max(due_ms));
    }

    /// True when the next thing to replay is the end of this timer, which then is at once.
    pub fn replays_wait(&self, number: u64) -> bool {
        self.tape()
            .replays_next("wasi.wait", codec::digest("wasi.wait", &number))
    }

    /// Reads the clock; each 1,024th reading takes real time in.
    pub fn read_clock(&self) {
        if self.clock.read() {
            self.observe_quietly("wasi.clock", &(), now_ms());
        }
    }

    fn observe_quietly<T: serde::Serialize>(&self, name: &'static str, args: &T, at_ms: u64) {
        let args = codec::digest(name, args);
        let done = match self.replay(name, args) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.observe_at(name, args, Answer::Body(Vec::new()), at_ms),
            Err(end) => Err(end),
        };
        if let Err(end) = done {
            self.fail(end);
        }
    }

    /// The answer that the record has for this call, where it is being replayed.
    pub(super) fn replay(&self, name: &str, args: crate::ids::Digest) -> Result<Option<Observation>, End> {
        let (seen, last) = {
            let mut tape = self.tape();
            let seen = tape.replay(name, args)?;
            (seen, !tape.replaying())
        };
        if let Some(seen) = &seen {
            self.clock.observe(seen.at_ms);
            if last {
                self.goes_live(seen);
            }
        }
        Ok(seen)
    }

    pub(super) fn observe(&self, name: &str, args: crate::ids::Digest, answer: Answer) -> Result<(), End> {
        self.observe_at(name, args, answer, now_ms())
    }

    fn observe_at(&self, name: &str, args: crate::ids::Digest, answer: Answer, at_ms: u64) -> Result<(), End> {
        let observation = self.observation(name, args, answer, at_ms);
        self.push(observation)
    }

    /// The record of what a call tells the guest.
    pub(super) fn observation(&self, name: &str, args: crate::ids::Digest, answer: Answer, at_ms: u64) -> Record {
        let meters = Meters {
            fuel: self.step.fuel_used(),
            awake_ms: self.session.awake_ms(),
            at_ms: self.clock.observe(at_ms),
        };
        Record::Observation(self.tape().observe(name, args, answer, meters))
    }

    /// Keeps a record for the next commit, within the session's part of the journal.
    pub(super) fn push(&self, record: Record) -> Result<(), End> {
        self.count_record(&record)?;
        self.tape().push(record);
        Ok(())
    }

    /// Keeps records that mean something only together: all of them, or none where the session's part of the journal has no room.
    pub(super) fn push_all(&self, records: Vec<Record>) -> Result<(), End> {
        records.iter().try_for_each(|record| self.count_record(record))?;
        let mut tape = self.tape();
        for record in records {
            tape.push(record);
        }
        Ok(())
    }

    pub(super) fn count_record(&self, record: &Record) -> Result<(), End> {
        self.within_journal(record).map_err(|message| {
            let dimension = Dimension::JournalBytes;
            self.session.run.ledger.ran_out(self.session.account, dimension);
            End::Exhausted { dimension, message }
        })
    }

    /// The same for a record that is written all the same, as what it tells of has happened.
    pub(super) fn count_record_anyway(&self, record: &Record) -> Result<(), End> {
        let fits = self.count_record(record);
        if fits.is_err() {
            self.charge_record(record);
        }
        fits
    }

    /// The same for a note of the host's own, whose being too much ends nothing.
    pub(super) fn count_note(&self, note: &Record) {
        if self.within_journal(note).is_err() {
            self.charge_record(note);
        }
    }

    fn charge_record(&self, record: &Record) {
        let bytes = Amounts::of(Dimension::JournalBytes, size(record) as u64);
        self.session.run.ledger.charge(self.session.account, bytes);
    }

    /// Counts a record, and says which limit of the session's part of the journal it would pass.
    pub(super) fn within_journal(&self, record: &Record) -> Result<(), String> {
        let (ledger, account) = (&self.session.run.ledger, self.session.account);
        let most = self.session.run.limits.journal_records;
        if self.session.count_record() >= most {
            return Err(format!(
                "its part of the journal is full: {most} records (limits.journal_records)"
            ));
        }
        let within = ledger.charge_within(account, Dimension::JournalBytes, size(record) as u64);
        within.map_err(|exhausted| {
            let most = exhausted.cap;
            format!("its part of the journal is full: {most} bytes (limits.journal_bytes, --budget journal-bytes=N)")
        })
    }

    /// Commits everything that waits for it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn flush(&self, sync: Sync) -> Result<(), End> {
        self.append_pending(None, sync).await.map(drop)
    }

    /// Commits `records` together with everything that waits.
    ///
    /// # Errors
    /// The store failed.
    pub async fn append(&self, records: Vec<Record>, sync: Sync) -> Result<(), End> {
        for record in records {
            self.push(record)?;
        }
        self.flush(sync).await
    }

    /// Everything that waits for a commit, for whoever commits it with something else.
    pub fn take_pending(&self) -> Vec<Record> {
        self.tape().take_pending()
    }

    pub(super) async fn flush_if_large(&self) -> Result<(), End> {
        if self.tape().pending_bytes() > PENDING {
            self.flush(Sync::Commit).await
        } else {
            Ok(())
        }
    }

    pub(super) async fn append_pending(&self, effect: Option<Effect>, sync: Sync) -> Result<Option<EffectResult>, End> {
        let records = self.take_pending();
        if records.is_empty() && effect.is_none() {
            return Ok(None);
        }
        self.session.run.append(records, effect, sync).await
    }

    /// Ends all that it started and waits for that. Nothing outlives the instance that asked for it.
    pub async fn close(&self) {
        self.over.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A child of an earlier attempt, which has ended: it can be asked for like those of this one.
    pub fn keep_ended_child(&self, handle: u32, result: types::RunResult) {
        let ended = Ended {
            status: OutcomeStatus::Done,
            body: OpBody::Child(result),
        };
        self.tape().keep(Op::done(handle, false, ended));
    }

    pub(super) fn note_denial(&self, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal.filter(|r| r.kind == RefusalKind::Denied) {
            self.session.denied(&self.plugin, &refusal.message);
        }
    }

    pub(super) fn tape(&self) -> MutexGuard<'_, Tape> {
        lock(&self.tape)
    }
}
