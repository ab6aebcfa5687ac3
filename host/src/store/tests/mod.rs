//! The store through its face: real files, several stores on one folder, processes that die.

mod damage;
mod formats;
mod losses;
mod owners;
mod pruning;
mod spaces;
mod turns;
mod writing;

use std::path::Path;

use super::*;
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::ids::{Digest, RunId, Scope, SessionId, StreamId};

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::new(&Limits::default(), Access::Write)).expect("the store opens")
}

fn new_run(id: &RunId) -> NewRun {
    NewRun {
        id: id.clone(),
        task: "what?".into(),
        strategy: "research".into(),
        cwd: "/".into(),
        argv: vec![],
        at_ms: 1,
    }
}

fn stream(run: &RunId) -> StreamId {
    StreamId {
        session: run.root(),
        attempt: 1,
        scope: Scope::ROOT,
    }
}

fn session(run: &RunId) -> Record {
    Record::Session(NewSession {
        session: run.root(),
        parent: None,
        edge: Edge::Root,
        role: "root".into(),
        task: "what?".into(),
        strategy: "research".into(),
        digest: Digest::of(b"x"),
        model: None,
        budget: vec![],
        toolsets: vec![],
        at_ms: 1,
    })
}

fn start(session: &SessionId) -> Record {
    Record::Start(Start {
        session: session.clone(),
        attempt: 1,
        body: vec![1, 2, 3],
        at_ms: 1,
    })
}

fn intent(run: &RunId, op: u32) -> Record {
    Record::Intent(Intent {
        stream: stream(run),
        op,
        kind: OpKind::Write,
        name: "notes".into(),
        request: vec![],
        reserved: Amounts::ZERO,
        at_ms: 2,
        shared: false,
    })
}

fn outcome(run: &RunId, op: u32) -> Record {
    Record::Outcome(Outcome {
        stream: stream(run),
        op,
        status: OutcomeStatus::Done,
        body: vec![7; 300],
        charged: Amounts::ZERO,
        at_ms: 3,
    })
}

fn observation(run: &RunId, seq: u64) -> Record {
    Record::Observation(Observation {
        stream: stream(run),
        seq,
        call: "llm.complete".into(),
        args: Digest::of(b"a"),
        answer: Answer::Body(vec![1; 64]),
        fuel: seq,
        awake_ms: 3,
        at_ms: 4,
    })
}

/// That the guest was told how operation `op` ended.
fn told(run: &RunId, seq: u64, op: u32) -> Record {
    let Record::Observation(mut seen) = observation(run, seq) else {
        unreachable!("it is one")
    };
    seen.answer = Answer::Delivered(op);
    Record::Observation(seen)
}

fn update(run: &RunId, transition: Transition) -> Record {
    Record::Update(SessionUpdate {
        session: run.root(),
        transition,
        spent: None,
        at_ms: 9,
    })
}

fn ended() -> Transition {
    Transition::Ended(SessionEnd {
        kind: EndKind::Completed,
        exit: "returned".into(),
        outcome: None,
        error: None,
        result: vec![1],
    })
}

fn space(run: Option<&RunId>) -> SpaceId {
    SpaceId {
        run: run.cloned(),
        name: "notes".into(),
    }
}

fn put(run: Option<&RunId>, key: &str, data: &[u8], if_version: Option<u64>) -> Effect {
    Effect::Put {
        space: space(run),
        key: key.into(),
        media_type: "text/plain".into(),
        data: data.into(),
        if_version,
    }
}

/// A change as operation `op` of the root makes it.
fn of_op(run: &RunId, op: u32, effect: Effect) -> Option<OpEffect> {
    Some(OpEffect {
        stream: stream(run),
        op,
        effect,
    })
}

/// A run with an operation that has its outcome, an observation of it, and its start; whose owner is gone.
async fn answered(store: &Store) -> RunId {
    let run = RunId::random();
    let done = [intent(&run, 1), outcome(&run, 1), told(&run, 1, 1)];
    begun_with(store, &run, done).await;
    run
}

/// Makes this run, which has begun and has these records; its owner is gone then.
async fn begun_with(store: &Store, run: &RunId, records: impl IntoIterator<Item = Record>) {
    let owner = store.create_run(new_run(run)).await.expect("made");
    let active = update(run, Transition::Active { attempt: 1 });
    let begun = [session(run), start(&run.root()), active];
    let records = begun.into_iter().chain(records).collect();
    store
        .append(&owner, records, None, Sync::Durable)
        .await
        .expect("written");
    keep_strategy(store, &owner).await;
}

/// Two runs behind another, of which the first has written the entries `k2` to `k4`, and the second `k5` and `k6`. Nobody has the store open any more.
async fn two_that_wrote(dir: &Path) -> [RunId; 2] {
    let store = open(dir);
    answered(&store).await;
    let runs = [answered(&store).await, answered(&store).await];
    wrote(&store, &runs[0], 2..5).await;
    wrote(&store, &runs[1], 5..7).await;
    runs
}

/// Keeps the component whose digest the run's sessions have.
async fn keep_strategy(store: &Store, owner: &Owner) {
    store.keep_component(owner, b"x".as_slice().into()).await.expect("kept");
}

/// Everything that finds records of a run refuses it, in words with `words`; so does the doctor.
#[track_caller]
fn is_refused(dir: &Path, run: &RunId, words: &str) {
    let store = open(dir);
    let refused = |error: Option<StoreError>, what: &str| {
        let good = matches!(&error, Some(StoreError::Damaged { run: r, what }) if r == run && what.contains(words));
        assert!(good, "{what}: {error:?}");
    };
    refused(store.attempt(&run.root(), 1).err(), "attempt");
    refused(store.operations(&stream(run)).err(), "operations");
    refused(store.session_operations(&run.root()).err(), "operations of a session");
    refused(store.observations(&stream(run)).err(), "observations");
    refused(store.walk(run, Look::Records, |_, _| Ok(())).err(), "a walk");
    refused(store.whole(run).err(), "all of it");
    let problems = store.integrity().expect("looked").problems;
    let named = |problem: &&Problem| problem.run.as_ref() == Some(run) && problem.what.contains(words);
    assert!(problems.iter().any(|problem| named(&problem)), "{problems:?}");
}

/// Has each of these operations of the run, of which it has one, write an entry `kN`.
async fn wrote(store: &Store, run: &RunId, ops: std::ops::Range<u32>) {
    let owner = store.take_run(run).await.expect("taken");
    for op in ops {
        let records = vec![intent(run, op), outcome(run, op), told(run, op.into(), op)];
        let write = put(Some(run), &format!("k{op}"), b"v", None);
        store
            .append(&owner, records, of_op(run, op, write), Sync::Durable)
            .await
            .expect("written");
    }
}

/// Ends a run.
async fn completed(store: &Store, owner: &Owner) {
    let update = RunUpdate {
        status: Some(Status::Completed),
        ended_ms: Some(7),
        ..RunUpdate::default()
    };
    store.update_run(owner, update).await.expect("written");
}

/// A session with a value of its own in every field.
fn child(session: &SessionId) -> NewSession {
    NewSession {
        session: session.clone(),
        parent: Some(ReturnAddress {
            session: session.run.root(),
            attempt: 2,
            op: 5,
        }),
        edge: Edge::Delegated,
        role: "reader".into(),
        task: "Read it.".into(),
        strategy: "critic".into(),
        digest: Digest::of(b"critic"),
        model: Some("test/small".into()),
        budget: vec![(Dimension::Iterations, 7), (Dimension::Children, 0)],
        toolsets: vec!["filesystem".into(), "web".into()],
        at_ms: 4,
    }
}

/// A run that ended, with a record, a body, an entry and a component.
async fn ended_run(store: &Store, component: &'static [u8]) -> RunId {
    let run = RunId::random();
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let Record::Session(begun) = session(&run) else {
        unreachable!("it is one")
    };
    let records = vec![
        Record::Session(NewSession {
            digest: Digest::of(component),
            ..begun
        }),
        start(&run.root()),
        Record::Body(Digest::of(b"a body"), b"a body".to_vec()),
        intent(&run, 1),
        outcome(&run, 1),
    ];
    store
        .append(
            &owner,
            records,
            of_op(&run, 1, put(Some(&run), "k", &[7; 100_000], None)),
            Sync::Commit,
        )
        .await
        .expect("written");
    store.keep_component(&owner, component.into()).await.expect("kept");
    completed(store, &owner).await;
    run
}

fn rows(dir: &Path) -> Vec<i64> {
    let conn = Connection::open(dir.join("hermes.db")).expect("opens");
    let count = |table: &str| {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .expect("counted")
    };
    [
        "run",
        "session",
        "journal",
        "body",
        "component",
        "space",
        "entry",
        "cancel_request",
        "pruned",
    ]
    .map(count)
    .to_vec()
}

/// How many runs there are.
fn counted(store: &Store) -> Result<u64, StoreError> {
    store.newest_runs(0).map(|(_, all)| all)
}

fn of<'r>(runs: &'r [Prunable], run: &RunId) -> &'r Prunable {
    runs.iter().find(|found| found.run == *run).expect("it is there")
}

/// All of the log copied into the database, whose bytes are then all that there is.
fn copied_in(dir: &Path) -> Vec<u8> {
    let conn = Connection::open(dir.join("hermes.db")).expect("opens");
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        .expect("copied");
    drop(conn);
    std::fs::read(dir.join("hermes.db")).expect("read")
}

/// What a leaf page of a table or of an index begins with, in SQLite's format.
const TABLE: u8 = 13;
const INDEX: u8 = 10;

/// Changes the last of these bytes on each page of that kind, as a disk does.
fn flipped(database: &[u8], kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut bad = database.to_vec();
    let mut flips = 0;
    for page in bad.chunks_mut(4096).filter(|page| page[0] == kind) {
        let found: Vec<_> = page.windows(bytes.len()).enumerate().collect();
        let found: Vec<_> = found
            .into_iter()
            .filter(|(_, w)| *w == bytes)
            .map(|(at, _)| at)
            .collect();
        for at in found {
            page[at + bytes.len() - 1] ^= 8;
            flips += 1;
        }
    }
    assert!(flips > 0, "{bytes:?} on no page of kind {kind}");
    bad
}

/// Changes these bytes on the pages of that kind, as a disk does. No store may have the database open.
fn rot(dir: &Path, kind: u8, bytes: &[u8], changed: &[u8]) {
    let mut bad = copied_in(dir);
    let mut found = false;
    for page in bad.chunks_mut(4096).filter(|page| page[0] == kind) {
        let places: Vec<_> = (0..=page.len() - bytes.len())
            .filter(|at| page[*at..].starts_with(bytes))
            .collect();
        for at in places {
            page[at..at + bytes.len()].copy_from_slice(changed);
            found = true;
        }
    }
    assert!(found, "{bytes:?} on no page of kind {kind}");
    restore(dir, &bad);
}

/// Takes the row with these bytes out of what its page leads to, as damage to the page's head does.
fn hide(dir: &Path, bytes: &[u8]) {
    let mut bad = copied_in(dir);
    let mut hidden = 0;
    for page in bad.chunks_mut(4096).filter(|page| page[0] == TABLE) {
        let Some(at) = page.windows(bytes.len()).position(|w| w == bytes) else {
            continue;
        };
        let word = |page: &[u8], at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
        let cells = word(page, 3);
        let begins = |n: usize| word(page, 8 + 2 * n);
        let of = (0..cells).filter(|n| begins(*n) <= at).max_by_key(|n| begins(*n));
        let Some(of) = of else { continue };
        page.copy_within(8 + 2 * (of + 1)..8 + 2 * cells, 8 + 2 * of);
        page[3..5].copy_from_slice(&u16::try_from(cells - 1).expect("small").to_be_bytes());
        hidden += 1;
    }
    assert_eq!(hidden, 1, "{bytes:?}");
    restore(dir, &bad);
}

/// Where the header of the row of this run begins in the database, which tells the types of its values; before it stands the row's number, in one byte.
fn header_of(database: &[u8], run: &RunId) -> usize {
    let id = [b"\x06".as_slice(), run.as_str().as_bytes()].concat();
    let is_of_table = |at: &usize| database[at / 4096 * 4096] == TABLE;
    let ids = database.windows(id.len()).enumerate().filter(|(_, w)| *w == id);
    let at = ids.map(|(at, _)| at).find(is_of_table).expect("its row");
    // No number of its own, a text of ten bytes, and the number 1.
    let types = database[..at].windows(3).rposition(|w| w == b"\0\x21\x09");
    types.expect("its header") - 1
}

/// Turns the page's pointer to the row that has this number, as its cell has it, into one to the midst of it, where another row seems to begin.
fn mislead(database: &[u8], row: &[u8]) -> Vec<u8> {
    let mut bad = database.to_vec();
    let mut pages = bad.chunks_mut(4096).filter(|page| page[0] == TABLE);
    let (page, at) = pages
        .find_map(|page| {
            let at = page.windows(row.len()).position(|w| w == row)?;
            Some((page, at))
        })
        .expect("its page");
    let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let pointer = (0..cells)
        .map(|cell| 8 + 2 * cell)
        .find(|pointer| {
            let begins = usize::from(u16::from_be_bytes([page[*pointer], page[pointer + 1]]));
            (1..=2).contains(&at.saturating_sub(begins))
        })
        .expect("its pointer");
    page[pointer..pointer + 2].copy_from_slice(&u16::try_from(at + 1).expect("small").to_be_bytes());
    bad
}

fn restore(dir: &Path, database: &[u8]) {
    for more in ["hermes.db-wal", "hermes.db-shm"] {
        let _ = std::fs::remove_file(dir.join(more));
    }
    std::fs::write(dir.join("hermes.db"), database).expect("written");
}
