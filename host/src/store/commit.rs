//! Group commit. Whoever wants to write puts a task into a queue; whoever finds the writer free leads, and commits all that is queued in one
//! transaction. A lone caller so commits in its own thread; a thread of the store takes over only when others wait, or when another process
//! holds the database.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use tokio::sync::oneshot;

use super::Durability;
use super::error::{Fault, StoreError, forget_failures};
use super::files::Files;
use super::gate::{Gate, Held};
use super::owner::{Head, RunLock};
use super::record::Sync;
use super::schema;

/// A leader takes nothing new into its batch after this time.
pub(super) const BATCH_TIME: Duration = Duration::from_millis(20);

/// How often the thread asks again for a database that a foreign program has locked.
const FOREIGN_LOCK_POLL: Duration = Duration::from_millis(5);

/// When the log has grown by so many pages it is copied into the database, as far as nobody reads it, so that it can begin anew.
const LOG_PAGES: i32 = 1000;

/// The log's size is looked at once in so many batches…
const LOG_CHECK: u64 = 128;

/// …and from this size on, in bytes, the thread empties it, which waits a little for readers.
const LOG_LIMIT: u64 = 32 << 20;

/// How long emptying the log waits for readers.
const LOG_WAIT: Duration = Duration::from_millis(200);

/// What a task gives back, with the head of the run that it wrote to.
pub(super) struct Done<T> {
    pub(super) value: T,
    pub(super) head: Option<Head>,
}

/// The writer of a store: one connection, one queue.
pub(super) struct Writer {
    core: Arc<Core>,
    /// Wakes the thread, once there is one.
    thread: Mutex<Option<mpsc::Sender<()>>>,
}

struct Core {
    files: Files,
    durability: Durability,
    gate: Gate,
    state: Mutex<State>,
    queue: Mutex<VecDeque<Queued>>,
    tickets: AtomicU64,
    /// When the last batch was committed, in milliseconds since `began`.
    committed_ms: AtomicU64,
    began: Instant,
    /// How many pages the log had after the last commit.
    log_pages: Arc<AtomicI32>,
    /// Whether the log is so large that the thread is to empty it.
    log_is_full: AtomicBool,
    failed: OnceLock<String>,
}

struct State {
    conn: Connection,
    synced: Synced,
    batches: u64,
    /// How many pages the log had when it was copied last; 0 since it began anew.
    copied: i32,
}

/// What the connection's `synchronous` is set to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    Full,
    Normal,
}

struct Queued {
    ticket: u64,
    sync: Sync,
    task: Box<dyn Task>,
}

/// One caller's part of a batch.
trait Task: Send {
    /// Whether it may be applied again when what it wrote was undone.
    fn repeats(&self) -> bool;
    /// Writes, inside the transaction and a savepoint.
    fn apply(&mut self, conn: &Connection) -> Result<(), Fault>;
    /// How far the journal of its run goes by now, for the run's anchor.
    fn head(&self) -> Option<(&Arc<RunLock>, Head)>;
    /// Tells the caller how it ended.
    fn tell(self: Box<Self>, end: Result<(), StoreError>);
}

struct Job<T, F> {
    work: F,
    repeats: bool,
    done: Option<Done<T>>,
    lock: Option<Arc<RunLock>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&Connection) -> Result<Done<T>, Fault> + Send> Task for Job<T, F> {
    fn repeats(&self) -> bool {
        self.repeats
    }

    fn apply(&mut self, conn: &Connection) -> Result<(), Fault> {
        self.done = None;
        self.done = Some((self.work)(conn)?);
        Ok(())
    }

    fn head(&self) -> Option<(&Arc<RunLock>, Head)> {
        Some((self.lock.as_ref()?, self.done.as_ref()?.head?))
    }

    fn tell(self: Box<Self>, end: Result<(), StoreError>) {
        let Self {
            work,
            lock,
            done,
            reply,
            ..
        } = *self;
        // Whoever hears of it may let go of its run, and take it again.
        drop((work, lock));
        let result = end.and_then(|()| done.ok_or_else(|| StoreError::internal("a task was not run")));
        // A caller that is gone can't hear; what it asked for is done.
        let _ = reply.send(result.map(|done| done.value));
    }
}

/// Work that can be done once alone.
pub(super) fn once<T>(
    work: impl FnOnce(&Connection) -> Result<Done<T>, Fault>,
) -> impl FnMut(&Connection) -> Result<Done<T>, Fault> {
    let mut work = Some(work);
    move |conn| match work.take() {
        Some(work) => work(conn),
        None => Err(StoreError::internal("a task was run twice").into()),
    }
}

impl Writer {
    pub(super) fn new(files: &Files, durability: Durability, mut conn: Connection) -> Result<Self, StoreError> {
        let log_pages = Arc::new(AtomicI32::new(0));
        let pages = Arc::clone(&log_pages);
        conn.wal_hook(Some(move |_: &mut Wal, now| {
            pages.store(now, Ordering::Relaxed);
            Ok(())
        }))
        .map_err(|e| Fault::from(e).at(&files.database()))?;
        let core = Core {
            gate: Gate::open(&files.dir)?,
            files: files.clone(),
            durability,
            state: Mutex::new(State {
                conn,
                synced: Synced::Full,
                batches: 0,
                copied: 0,
            }),
            queue: Mutex::default(),
            tickets: AtomicU64::new(0),
            committed_ms: AtomicU64::new(0),
            began: Instant::now(),
            log_pages,
            log_is_full: AtomicBool::new(false),
            failed: OnceLock::new(),
        };
        Ok(Self {
            core: Arc::new(core),
            thread: Mutex::default(),
        })
    }

    /// Commits `work` together with what others have queued, and answers when it is as durable as `sync` asks. It waits as long as no time of
    /// `busy` passes without a commit. Work that `repeats` may be done again, where what it wrote was undone with what others did.
    ///
    /// Dropping the future takes nothing back: what is queued is committed with the next batch. A caller that is dropped halfway, as an instance may be,
    /// has no other who knows what it had to write down.
    pub(super) async fn submit<T, F>(
        &self,
        sync: Sync,
        busy: Duration,
        lock: Option<Arc<RunLock>>,
        repeats: bool,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<Done<T>, Fault> + Send + 'static,
    {
        self.core.alive()?;
        let began = Instant::now();
        let (reply, mut answer) = oneshot::channel();
        let ticket = self.core.push(
            sync,
            Box::new(Job {
                work,
                repeats,
                done: None,
                lock,
                reply,
            }),
        );
        if sync == Sync::Durable && self.core.durability == Durability::Power {
            // Tasks that are ready to run may have something for the same sync; without any this costs a microsecond.
            tokio::task::yield_now().await;
        }
        if self.core.lead_inline()
            && let Err(error) = self.wake_thread()
        {
            let is_withdrawn = ticket.withdraw();
            self.core.lead_without_thread(&error);
            if is_withdrawn {
                return Err(error);
            }
        }
        let lost = |_| StoreError::internal("the writer gave up a task");
        match answer.try_recv() {
            Ok(result) => return result,
            Err(oneshot::error::TryRecvError::Closed) => return Err(lost(())),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        if let Some(result) = self.while_it_commits(busy, &mut answer).await {
            return result.map_err(|_| lost(()))?;
        }
        if ticket.withdraw() {
            return Err(StoreError::Busy {
                holder: self.core.gate.holder(),
                waited: began.elapsed(),
            });
        }
        answer.await.map_err(|_| lost(()))?
    }

    /// What empties the log, for a thread that may take its time.
    pub(super) fn emptying(&self) -> impl FnOnce() -> Result<(), StoreError> + Send + use<> {
        let core = Arc::clone(&self.core);
        move || core.empty_log()
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        lock(&self.core.queue).len()
    }

    /// How many batches were committed.
    #[cfg(test)]
    pub(super) fn batches(&self) -> u64 {
        lock(&self.core.state).batches
    }

    /// What this comes to, unless a time of `busy` passes without a commit: as long as what came before it is written, its turn comes nearer.
    pub(super) async fn while_it_commits<F: Future + Unpin>(&self, busy: Duration, it: &mut F) -> Option<F::Output> {
        let began = Instant::now();
        loop {
            let idle = self.core.idle().min(began.elapsed());
            let rest = busy.checked_sub(idle).filter(|rest| !rest.is_zero())?;
            if let Ok(output) = tokio::time::timeout(rest, &mut *it).await {
                return Some(output);
            }
        }
    }

    /// Wakes the thread, and starts it where there is none.
    fn wake_thread(&self) -> Result<(), StoreError> {
        let mut thread = lock(&self.thread);
        if thread.as_ref().is_some_and(|wakes| wakes.send(()).is_ok()) {
            return Ok(());
        }
        let (sender, wakes) = mpsc::channel();
        let core = Arc::clone(&self.core);
        let started = std::thread::Builder::new().name("hermes-store".into()).spawn(move || {
            while wakes.recv().is_ok() {
                core.lead_in_thread();
            }
        });
        started.map_err(|e| StoreError::internal(format!("the store's thread can't run: {e}")))?;
        // Until it ends it hears.
        let _ = sender.send(());
        *thread = Some(sender);
        Ok(())
    }
}

/// A place in the queue.
struct Ticket {
    core: Arc<Core>,
    number: u64,
}

impl Ticket {
    /// True if the task was still queued: then it will never run.
    fn withdraw(&self) -> bool {
        let mut queue = lock(&self.core.queue);
        let place = queue.binary_search_by_key(&self.number, |queued| queued.ticket);
        place.is_ok_and(|at| queue.remove(at).is_some())
    }
}

/// A task that is through, and how.
struct Ended {
    task: Box<dyn Task>,
    end: Result<(), StoreError>,
    /// Whether what it wrote is as durable as the configuration asks.
    anchor: bool,
}

impl Core {
    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// For how long nothing was committed.
    fn idle(&self) -> Duration {
        let idle = self.age_ms().saturating_sub(self.committed_ms.load(Ordering::Relaxed));
        Duration::from_millis(idle)
    }

    fn alive(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            None => Ok(()),
            Some(what) => Err(StoreError::Failed {
                path: self.files.database(),
                what: what.clone(),
            }),
        }
    }

    /// Writes nothing from here on: what is on the disk is not known.
    fn fail(&self, conn: &Connection, error: &StoreError) {
        let _ = self.failed.set(error.to_string());
        // A connection that closes copies the log into the database, and would sync it once more for that.
        let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    fn push(self: &Arc<Self>, sync: Sync, task: Box<dyn Task>) -> Ticket {
        let mut queue = lock(&self.queue);
        // Drawn under the lock, so that the queue is in their order.
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        queue.push_back(Queued {
            ticket: number,
            sync,
            task,
        });
        drop(queue);
        Ticket {
            core: Arc::clone(self),
            number,
        }
    }

    fn has_work(&self) -> bool {
        !lock(&self.queue).is_empty()
    }

    /// Leads one batch if the writer and the gate are free. True if work is left that the thread should do: tasks, or a log to empty. Whoever queues
    /// while another leads may rely on that leader, which looks at the queue again after it let go.
    fn lead_inline(&self) -> bool {
        if !self.has_work() {
            return false;
        }
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(broken)) => broken.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(held) = self.gate.try_hold() else { return true };
        !self.lead(state, held) || self.has_work() || self.log_is_full.load(Ordering::Relaxed)
    }

    /// Leads one batch, and tells its members when others may lead the next; before that where the log must be copied first. False where a foreign program
    /// holds the database.
    fn lead(&self, mut state: MutexGuard<'_, State>, held: Held<'_>) -> bool {
        let ended = self.batch(&mut state);
        drop(held);
        let Some(ended) = ended else { return false };
        anchor(&ended);
        if self.must_copy_log(&mut state) {
            // They wait for their own commit alone. Whoever leads here looks for what they queue meanwhile.
            tell(ended);
            self.copy_log(&mut state);
            return true;
        }
        drop(state);
        tell(ended);
        true
    }

    fn must_copy_log(&self, state: &mut State) -> bool {
        let pages = self.log_pages.load(Ordering::Relaxed);
        if pages < state.copied {
            // It began anew.
            state.copied = 0;
        }
        pages - state.copied >= LOG_PAGES && self.alive().is_ok()
    }

    /// Copies the log into the database as far as nobody reads it. No commit of this process comes meanwhile: if the log can't be synced for that, none that
    /// is behind it counts on what the disk may have dropped.
    fn copy_log(&self, state: &mut State) {
        state.copied = self.log_pages.load(Ordering::Relaxed);
        match checkpoint(&state.conn, "PASSIVE") {
            Err(fault) if fault.is_io() => self.fail(&state.conn, &fault.at(&self.files.database())),
            Err(fault) => tracing::debug!(?fault, "the database's log could not be copied"),
            Ok(_) => {}
        }
    }

    /// Copies the whole log into the database and cuts it to nothing, unless readers hold on to it for too long. With a connection of its own: whoever is told
    /// of a commit, or writes meanwhile, does not wait for all that is copied, and waits at most as long as this waits for readers.
    ///
    /// # Errors
    /// Failures of the disk, after which nothing is written any more. A sync that fails here fails on the writer's own connection as well, where that syncs
    /// next: the system tells each of them once.
    fn empty_log(&self) -> Result<(), StoreError> {
        let conn = self.files.connect()?;
        match empty(&conn) {
            Err(fault) if fault.is_io() => {
                let error = fault.at(&self.files.database());
                self.fail(&conn, &error);
                self.fail(&lock(&self.state).conn, &error);
                Err(error)
            }
            Ok(0) => Ok(()),
            emptied => {
                tracing::debug!(?emptied, "the database's log could not be emptied; readers use it");
                Ok(())
            }
        }
    }

    /// Leads for those who queued meanwhile and rely on it, where there is no thread that could; what it can't lead ends.
    fn lead_without_thread(&self, error: &StoreError) {
        let first = || lock(&self.queue).front().map(|queued| queued.ticket);
        loop {
            let before = first();
            if !self.lead_inline() {
                return;
            }
            if first() == before {
                tell(self.fail_all(error.clone().into()));
                return;
            }
        }
    }

    fn lead_in_thread(&self) {
        loop {
            self.lead_while_there_is_work();
            if !self.log_is_full.swap(false, Ordering::Relaxed) || self.alive().is_err() {
                return;
            }
            if let Err(error) = self.empty_log() {
                tracing::debug!(%error, "the database's log could not be emptied");
            }
        }
    }

    fn lead_while_there_is_work(&self) {
        while self.has_work() {
            let state = lock(&self.state);
            let has_led = match self.gate.hold() {
                Some(held) => self.lead(state, held),
                None => {
                    drop(state);
                    false
                }
            };
            if !has_led {
                std::thread::sleep(FOREIGN_LOCK_POLL);
            }
        }
    }

    /// One transaction over what is queued, committed or undone: its members, which are still to be told. None where a foreign program holds the database:
    /// nothing was taken from the queue.
    fn batch(&self, state: &mut State) -> Option<Vec<Ended>> {
        // What waited already when a sync failed is not written either.
        if let Err(failed) = self.alive() {
            return Some(self.fail_all(failed.into()));
        }
        let full = self.durability == Durability::Power && lock(&self.queue).iter().any(|q| q.sync == Sync::Durable);
        if let Err(fault) = state.begin(if full { Synced::Full } else { Synced::Normal }, &self.files) {
            return (!fault.is_busy()).then(|| self.fail_all(fault));
        }
        let began = Instant::now();
        let database = self.files.database();
        let mut batch = Batch::new(&state.conn, &database);
        while began.elapsed() < BATCH_TIME {
            let Some(Queued { sync, task, .. }) = self.next(full) else {
                break;
            };
            batch.apply(task, full || sync == Sync::Durable);
            if state.conn.is_autocommit() {
                // SQLite gave up the whole transaction, as it does when the disk is full, or the only task was undone.
                let ended = batch.ended;
                let why = ended.last().and_then(|last| last.end.clone().err());
                let lost = || StoreError::internal("a task left no transaction, and told no error");
                return Some(spread(ended, Some(why.unwrap_or_else(lost))));
            }
        }
        let ended = batch.ended;
        let failure = self.commit(state).err();
        Some(spread(ended, failure))
    }

    /// The next task that fits a batch of this kind: one that must be durable waits for a batch that syncs.
    fn next(&self, full: bool) -> Option<Queued> {
        let mut queue = lock(&self.queue);
        let fits = |q: &Queued| full || q.sync == Sync::Commit || self.durability == Durability::Process;
        if queue.front().is_some_and(fits) {
            queue.pop_front()
        } else {
            None
        }
    }

    fn commit(&self, state: &mut State) -> Result<(), StoreError> {
        if let Err(e) = state.conn.execute_batch("COMMIT") {
            let fault = Fault::from(e);
            let uncertain = fault.is_io();
            let error = fault.at(&self.files.database());
            let rolled_back = state.conn.is_autocommit() || state.conn.execute_batch("ROLLBACK").is_ok();
            if uncertain || !rolled_back {
                self.fail(&state.conn, &error);
            }
            return Err(error);
        }
        // Emptying the log may have failed meanwhile, and with it what was written before this.
        self.alive()?;
        self.committed_ms.store(self.age_ms(), Ordering::Relaxed);
        state.batches += 1;
        if state.batches.is_multiple_of(LOG_CHECK) && self.files.wal().metadata().is_ok_and(|m| m.len() > LOG_LIMIT) {
            self.log_is_full.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Nothing can be begun: everyone who waits hears why.
    fn fail_all(&self, fault: Fault) -> Vec<Ended> {
        let error = fault.at(&self.files.database());
        let waiting = std::mem::take(&mut *lock(&self.queue));
        waiting
            .into_iter()
            .map(|q| Ended {
                task: q.task,
                end: Err(error.clone()),
                anchor: false,
            })
            .collect()
    }
}

impl State {
    fn begin(&mut self, synced: Synced, files: &Files) -> Result<(), Fault> {
        if !self.conn.is_autocommit() {
            // A task that panicked left its transaction open.
            self.conn.execute_batch("ROLLBACK")?;
        }
        if self.synced != synced {
            let pragma = match synced {
                Synced::Full => "PRAGMA synchronous=FULL",
                Synced::Normal => "PRAGMA synchronous=NORMAL",
            };
            self.conn.execute_batch(pragma)?;
            self.synced = synced;
        }
        forget_failures();
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        // A newer host may have changed the format since this database was opened.
        let known = files.refuse_newer(schema::version(&self.conn)?);
        if known.is_err() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        Ok(known?)
    }
}

/// The tasks of one transaction. The failure of one undoes its own writes only.
struct Batch<'c> {
    conn: &'c Connection,
    database: &'c Path,
    ended: Vec<Ended>,
    /// From which of them on tasks share a savepoint, which costs each of them less than one of its own.
    shared: Option<usize>,
    /// Whether each has one of its own from here on, as one has failed.
    apart: bool,
}

impl<'c> Batch<'c> {
    fn new(conn: &'c Connection, database: &'c Path) -> Self {
        Self {
            conn,
            database,
            ended: Vec::new(),
            shared: None,
            apart: false,
        }
    }

    fn apply(&mut self, mut task: Box<dyn Task>, anchor: bool) {
        let end = if self.ended.is_empty() {
            self.first(task.as_mut())
        } else if task.repeats() && !self.apart {
            self.with_others(task.as_mut())
        } else {
            self.leave_shared().and_then(|()| own(self.conn, task.as_mut()))
        };
        let end = end.map_err(|fault| fault.at(self.database));
        self.ended.push(Ended { task, end, anchor });
    }

    /// The first needs no savepoint: there is nothing else to undo.
    fn first(&self, task: &mut dyn Task) -> Result<(), Fault> {
        task.apply(self.conn).inspect_err(|_| {
            // Where this fails as well, the connection is no longer in a transaction or the next batch rolls back.
            let _ = self.conn.execute_batch("ROLLBACK");
        })
    }

    /// In the savepoint that tasks share. Where it fails, all that was written in there is undone and written again, each task in a savepoint of its own.
    fn with_others(&mut self, task: &mut dyn Task) -> Result<(), Fault> {
        if self.shared.is_none() {
            step(self.conn, "SAVEPOINT tasks")?;
        }
        let from = *self.shared.get_or_insert(self.ended.len());
        let end = task.apply(self.conn);
        if end.is_ok() || self.conn.is_autocommit() {
            return end;
        }
        (self.shared, self.apart) = (None, true);
        undo(self.conn, "ROLLBACK TO tasks")?;
        undo(self.conn, "RELEASE tasks")?;
        for before in &mut self.ended[from..] {
            let again = own(self.conn, before.task.as_mut());
            if self.conn.is_autocommit() {
                return again;
            }
            before.end = again.map_err(|fault| fault.at(self.database));
        }
        own(self.conn, task)
    }

    fn leave_shared(&mut self) -> Result<(), Fault> {
        match self.shared.take() {
            Some(_) => step(self.conn, "RELEASE tasks"),
            None => Ok(()),
        }
    }
}

/// Runs a task in a savepoint of its own.
fn own(conn: &Connection, task: &mut dyn Task) -> Result<(), Fault> {
    step(conn, "SAVEPOINT task")?;
    let end = task.apply(conn);
    if end.is_err() && !conn.is_autocommit() {
        undo(conn, "ROLLBACK TO task")?;
    }
    if !conn.is_autocommit() {
        step(conn, "RELEASE task")?;
    }
    end
}

/// Undoes a part of the transaction; all of it where that fails.
fn undo(conn: &Connection, sql: &str) -> Result<(), Fault> {
    step(conn, sql).inspect_err(|_| {
        let _ = conn.execute_batch("ROLLBACK");
    })
}

fn step(conn: &Connection, sql: &str) -> Result<(), Fault> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// The batch's own failure, where there is one, is the end of every task in it that had not failed by itself.
fn spread(mut ended: Vec<Ended>, failure: Option<StoreError>) -> Vec<Ended> {
    if let Some(failure) = failure {
        for task in ended.iter_mut().filter(|task| task.end.is_ok()) {
            task.end = Err(failure.clone());
        }
    }
    ended
}

/// Notes for each run how far its journal is durable, once for all that was written to it.
fn anchor(ended: &[Ended]) {
    let durable = ended.iter().filter(|ended| ended.anchor && ended.end.is_ok());
    let heads = durable.filter_map(|ended| ended.task.head());
    let last: HashMap<*const RunLock, (&Arc<RunLock>, Head)> =
        heads.map(|(lock, head)| (Arc::as_ptr(lock), (lock, head))).collect();
    last.into_values().for_each(|(lock, head)| lock.anchor(head));
}

fn tell(ended: Vec<Ended>) {
    for Ended { task, end, .. } in ended {
        task.tell(end);
    }
}

/// Copies all of the log that nobody reads while others write on, and then what is left, which waits for readers. Gives 0 where the log is empty now.
fn empty(conn: &Connection) -> Result<i64, Fault> {
    conn.busy_timeout(LOG_WAIT)?;
    checkpoint(conn, "PASSIVE")?;
    checkpoint(conn, "TRUNCATE")
}

/// Copies pages of the log into the database. Gives 0 unless others were in the way.
fn checkpoint(conn: &Connection, how: &str) -> Result<i64, Fault> {
    Ok(conn.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| row.get(0))?)
}

/// A panic while the lock was held left nothing half-done that [`State::begin`] doesn't undo.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
