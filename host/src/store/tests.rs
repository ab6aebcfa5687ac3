//! The store through its face: real files, several stores on one folder, processes that die.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::ids::{Digest, RunId, Scope, SessionId, StreamId};

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::new(&Limits::default(), Access::Write)).expect("the store opens")
}

fn open_err(dir: &Path, access: Access) -> StoreError {
    Store::open(dir, StoreOptions::new(&Limits::default(), access)).expect_err("refused")
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

/// A record of an operation, or of an observation, as one of this attempt and scope.
fn within(mut record: Record, attempt: u32, scope: &Scope) -> Record {
    match &mut record {
        Record::Intent(intent) => (intent.stream.attempt, intent.stream.scope) = (attempt, scope.clone()),
        Record::Outcome(outcome) => (outcome.stream.attempt, outcome.stream.scope) = (attempt, scope.clone()),
        Record::Observation(seen) => (seen.stream.attempt, seen.stream.scope) = (attempt, scope.clone()),
        _ => {}
    }
    record
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

#[tokio::test]
async fn what_is_appended_is_read_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let body = b"message".to_vec();
    let start = Start {
        session: run.root(),
        attempt: 1,
        body: vec![9],
        at_ms: 2,
    };
    let records = vec![
        session(&run),
        Record::Start(start.clone()),
        Record::Body(Digest::of(&body), body.clone()),
        intent(&run, 1),
        outcome(&run, 1),
        intent(&run, 2),
        observation(&run, 1),
        Record::Refund(stream(&run), 1),
    ];
    let appended = store
        .append(&owner, records, None, Sync::Durable)
        .await
        .expect("written");
    assert_eq!(appended.seq, 7);
    let note = Note {
        stream: stream(&run),
        kind: NoteKind::Log,
        body: b"hello".to_vec(),
        at_ms: 5,
    };
    store
        .append(&owner, vec![Record::Note(note.clone())], None, Sync::Commit)
        .await
        .expect("written");
    for transition in [Transition::Active { attempt: 1 }, ended()] {
        store
            .append(&owner, vec![update(&run, transition)], None, Sync::Commit)
            .await
            .expect("written");
    }

    let operations = store.operations(&stream(&run)).expect("read");
    assert_eq!(
        operations.iter().map(|o| o.outcome.is_some()).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(store.session_operations(&run.root()).expect("read"), operations);
    assert_eq!(store.observations(&stream(&run)).expect("read").len(), 1);
    assert_eq!(store.start(&run.root(), 1), Ok(Some(start)));
    assert_eq!(store.body(&run, &Digest::of(&body)), Ok(body));
    let missing = store.body(&run, &Digest::of(b"never kept"));
    assert!(matches!(missing, Err(StoreError::Damaged { .. })), "{missing:?}");
    assert_eq!(store.refunds(&run.root()).expect("read"), [(stream(&run), 1)]);
    assert_eq!(store.notes(&run.root(), &[NoteKind::Log], 0, 10), Ok(vec![(8, note)]));
    assert_eq!(store.notes(&run.root(), &[], 8, 10), Ok(vec![]));
    assert_eq!(store.streams(&run.root()).expect("read"), [stream(&run)]);
    assert_eq!(store.records(&run, 6, 100).expect("read").len(), 4);
    assert_eq!(store.journal_size(&run.root()).expect("read").records, 10);
    let row = store.session(&run.root()).expect("read");
    assert_eq!(
        (row.status, row.exit.as_deref(), row.attempt),
        (Status::Completed, Some("returned"), 1)
    );
    let done = RunUpdate {
        status: Some(Status::Completed),
        answer: Some("42".into()),
        ..RunUpdate::default()
    };
    store.update_run(&owner, done).await.expect("written");
    let done = RunUpdate {
        exit: Some("returned".into()),
        ..RunUpdate::default()
    };
    store.update_run(&owner, done).await.expect("written");
    let row = store.run(&run).expect("read");
    assert_eq!(
        (row.answer.as_deref(), row.exit.as_deref()),
        (Some("42"), Some("returned"))
    );
    assert_eq!(store.find_run(&run.as_str()[..6]), Ok(run.clone()));
    assert!(matches!(store.find_run("zz"), Err(StoreError::NotFound { .. })));
    let found = store.integrity().expect("looked");
    assert_eq!((found.records, found.problems), (10, vec![]));
}

#[tokio::test]
async fn a_second_outcome_undoes_its_own_append_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    store
        .append(&owner, vec![outcome(&run, 1)], None, Sync::Commit)
        .await
        .expect("written");
    let (good, bad) = tokio::join!(
        store.append(&owner, vec![observation(&run, 1)], None, Sync::Durable),
        store.append(
            &owner,
            vec![observation(&run, 2), outcome(&run, 1)],
            None,
            Sync::Durable
        ),
    );
    good.expect("written");
    assert!(matches!(bad, Err(StoreError::Duplicate { .. })), "{bad:?}");
    assert_eq!(store.observations(&stream(&run)).expect("read").len(), 1);
}

#[tokio::test]
async fn entries_have_versions_quotas_and_tombstones() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = StoreOptions::new(&Limits::default(), Access::Write);
    (options.space_keys, options.space_bytes) = (2, 100);
    let store = Store::open(dir.path(), options).expect("opens");
    let home = space(None);
    let write = async |effect| store.write_home(effect, "person", 1).await.expect("written");
    assert_eq!(write(put(None, "a", b"1", Some(0))).await, EffectResult::Written(1));
    assert_eq!(write(put(None, "a", b"2", Some(0))).await, EffectResult::Conflict(1));
    let append = Effect::Append {
        space: home.clone(),
        prefix: "n/".into(),
        media_type: "".into(),
        data: vec![1],
    };
    let key = format!("n/{:020}", 2);
    assert_eq!(write(append.clone()).await, EffectResult::Appended(key.clone(), 2));
    assert_eq!(write(append).await, EffectResult::TooManyKeys(2));
    assert_eq!(
        write(put(None, "a", &[0; 101], None)).await,
        EffectResult::TooManyBytes(100)
    );
    assert_eq!(store.keys(&home, "", Some("a"), 9), Ok(vec![key.clone()]));
    let delete = |if_version| Effect::Delete {
        space: home.clone(),
        key: "a".into(),
        if_version,
    };
    assert_eq!(write(delete(Some(2))).await, EffectResult::Conflict(1));
    assert_eq!(write(delete(Some(1))).await, EffectResult::Deleted);
    assert_eq!(write(delete(None)).await, EffectResult::Deleted);
    assert_eq!(store.get(&home, "a"), Ok(None));
    let changes = store.changes(&home, "", 0, 1000).expect("read");
    assert_eq!(
        changes.iter().map(|c| (c.version, c.deleted)).collect::<Vec<_>>(),
        [(2, false), (3, true)]
    );
    assert_eq!(write(put(None, "a", b"3", Some(0))).await, EffectResult::Written(4));
    let spaces = store.spaces(None).expect("read");
    assert_eq!(
        (spaces[0].keys, spaces[0].bytes),
        (2, 1 + 10 + 1 + key.len() as u64 + 1)
    );
}

#[test]
fn a_space_remembers_its_last_10000_removed_keys_and_forgets_a_thousand_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let conn = store.0.files.connect().expect("opens");
    conn.execute_batch("BEGIN").expect("begun");
    let by = space::Writing {
        author: "person".into(),
        op: None,
        at_ms: 1,
    };
    let comes_and_goes = |n: u32| {
        let key = n.to_string();
        let delete = Effect::Delete {
            space: space(None),
            key: key.clone(),
            if_version: None,
        };
        for effect in [put(None, &key, b"v", None), delete] {
            space::apply(&conn, &effect, &by, store.quota()).expect("applied");
        }
    };
    let remembered = || -> (i64, i64) {
        let select = "SELECT count(*), min(version) FROM entry WHERE deleted = 1";
        conn.query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("read")
    };
    (1..11_000).for_each(comes_and_goes);
    assert_eq!(remembered(), (10_999, 2));
    comes_and_goes(11_000);
    assert_eq!(remembered(), (10_000, 2_002));
    conn.execute_batch("COMMIT").expect("committed");
    assert!(store.integrity().expect("looked").problems.is_empty());
}

#[tokio::test]
async fn an_effect_and_its_outcome_are_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    for (op, expected) in [(1, EffectResult::Written(1)), (2, EffectResult::Conflict(1))] {
        let records = vec![intent(&run, op), outcome(&run, op)];
        let effect = put(Some(&run), "k", b"v", Some(0));
        let done = store
            .append(&owner, records, of_op(&run, op, effect), Sync::Durable)
            .await
            .expect("written");
        assert_eq!(done.effect, Some(expected.clone()));
        let row = store
            .operations(&stream(&run))
            .expect("read")
            .pop()
            .and_then(|o| o.outcome)
            .expect("an outcome");
        assert_eq!(postcard::from_bytes::<EffectResult>(&row.body), Ok(expected));
        assert_eq!(row.status == OutcomeStatus::Failed, op == 2);
    }
    let entry = store.get(&space(Some(&run)), "k").expect("read").expect("there");
    assert_eq!(
        (entry.author, entry.op),
        (run.root().to_string(), Some((stream(&run), 1)))
    );
}

#[tokio::test]
async fn an_effect_goes_into_the_outcome_of_its_own_operation() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let inside = Scope::ROOT.child(1);
    let in_call = |mut record: Record| {
        match &mut record {
            Record::Intent(intent) => intent.stream.scope = inside.clone(),
            Record::Outcome(outcome) => outcome.stream.scope = inside.clone(),
            _ => {}
        }
        record
    };
    // Another operation's outcome, and one of the same number in another stream, stand before its own.
    let records = vec![
        intent(&run, 1),
        outcome(&run, 1),
        in_call(intent(&run, 2)),
        in_call(outcome(&run, 2)),
        intent(&run, 2),
        outcome(&run, 2),
    ];
    let write = of_op(&run, 2, put(Some(&run), "k", b"v", None));
    let done = store.append(&owner, records, write, Sync::Durable).await;
    assert_eq!(done.expect("written").effect, Some(EffectResult::Written(1)));
    let bodies = |stream: &StreamId| {
        let rows = store.operations(stream).expect("read").into_iter();
        rows.filter_map(|row| Some((row.intent.op, row.outcome?.body)))
            .collect::<Vec<_>>()
    };
    let written = postcard::to_stdvec(&EffectResult::Written(1)).expect("encodes");
    assert_eq!(bodies(&stream(&run)), [(1, vec![7; 300]), (2, written)]);
    let other = StreamId {
        scope: inside.clone(),
        ..stream(&run)
    };
    assert_eq!(bodies(&other), [(2, vec![7; 300])]);
    let entry = store.get(&space(Some(&run)), "k").expect("read").expect("there");
    assert_eq!(entry.op, Some((stream(&run), 2)));

    let alone = of_op(&run, 4, put(Some(&run), "other", b"v", None));
    let records = vec![intent(&run, 3), outcome(&run, 3)];
    let missed = store.append(&owner, records, alone, Sync::Durable).await;
    assert!(missed.is_err(), "{missed:?}");
    assert_eq!(store.get(&space(Some(&run)), "other"), Ok(None));
    assert_eq!(store.operations(&stream(&run)).expect("read").len(), 2);
}

#[tokio::test]
async fn an_old_owner_is_fenced_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let (a, b, run) = (open(dir.path()), open(dir.path()), RunId::random());
    let owner = a.create_run(new_run(&run)).await.expect("made");
    a.append(&owner, vec![observation(&run, 1)], None, Sync::Durable)
        .await
        .expect("written");
    assert!(matches!(b.take_run(&run).await, Err(StoreError::Owned { pid, .. }) if pid == std::process::id()));
    assert_eq!(b.run_state(&run), Ok(RunState::Owned));
    // The lock file is gone with its folder's backup, say: two processes then believe that they own the run.
    let path = dir.path().join(format!("runs/{run}.lock"));
    let line = std::fs::read(&path).expect("read");
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, line).expect("written");
    let newer = b.take_run(&run).await.expect("taken");
    let late = a.append(&owner, vec![observation(&run, 2)], None, Sync::Commit).await;
    assert_eq!(late, Err(StoreError::NotOwner { run: run.clone() }));
    b.append(&newer, vec![observation(&run, 2)], None, Sync::Durable)
        .await
        .expect("written");
    drop(newer);
    assert_eq!(a.run_state(&run), Ok(RunState::Free));
}

#[tokio::test]
async fn a_journal_behind_its_anchor_is_damage_until_accepted() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    store
        .append(
            &owner,
            vec![session(&run), start(&run.root()), observation(&run, 1)],
            None,
            Sync::Durable,
        )
        .await
        .expect("written");
    let copy = tempfile::tempdir().expect("a folder");
    let yesterday = copy.path().join("yesterday");
    store.backup(&yesterday, &CancellationToken::new()).expect("copied");
    store
        .append(&owner, vec![observation(&run, 2)], None, Sync::Durable)
        .await
        .expect("written");
    drop((owner, store));
    std::fs::copy(yesterday.join("hermes.db"), dir.path().join("hermes.db")).expect("put back");
    let _ = std::fs::remove_file(dir.path().join("hermes.db-wal"));
    let _ = std::fs::remove_file(dir.path().join("hermes.db-shm"));
    let store = open(dir.path());
    let damaged = |e: &StoreError| matches!(e, StoreError::Damaged { .. });
    assert!(store.take_run(&run).await.is_err_and(|e| damaged(&e)));
    assert!(store.observations(&stream(&run)).is_err_and(|e| damaged(&e)));
    assert_eq!(store.integrity().expect("looked").problems.len(), 1);
    let loss = Loss {
        kept: 3,
        missing: 1,
        ..Loss::default()
    };
    assert_eq!(store.accept_loss(&run).await, Ok(loss));
    store.take_run(&run).await.expect("taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_commit_in_groups() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = RunId::random();
                let owner = store.create_run(new_run(&run)).await.expect("made");
                for seq in 1..=20 {
                    let sync = if seq % 2 == 0 { Sync::Durable } else { Sync::Commit };
                    store
                        .append(&owner, vec![observation(&run, seq)], None, sync)
                        .await
                        .expect("written");
                }
                store.observations(&stream(&run)).expect("read").len()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), 20);
    }
    let found = store.integrity().expect("looked");
    assert_eq!((found.records, found.problems), (64 * 20, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_in_a_batch_fails_alone_and_the_others_are_as_they_would_be_without_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (one, other) = (RunId::random(), RunId::random());
    let mut owners = HashMap::new();
    for run in [&one, &other] {
        let owner = store.create_run(new_run(run)).await.expect("made");
        owners.insert(run.clone(), owner);
    }
    // While somebody else has the database, all of them queue up for one batch.
    let foreign = Connection::open(dir.path().join("hermes.db")).expect("opens");
    foreign.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let append = |run: &RunId, seq: u64| {
        let (store, owner, records) = (store.clone(), owners[run].clone(), vec![observation(run, seq)]);
        async move { store.append(&owner, records, None, Sync::Durable).await }
    };
    let home = || store.write_home(put(None, "key", b"value", None), "person", 1);
    let all = async {
        let first = async { tokio::join!(append(&one, 1), append(&other, 1), append(&one, 2), append(&other, 2)) };
        let twice = append(&one, 1);
        let rest = async {
            tokio::join!(
                append(&one, 3),
                home(),
                append(&other, 3),
                append(&one, 4),
                append(&other, 4)
            )
        };
        tokio::join!(first, twice, rest)
    };
    let free = async {
        let queued = || store.0.writer.as_ref().expect("it writes").queued();
        while queued() < 10 {
            tokio::task::yield_now().await;
        }
        foreign.execute_batch("ROLLBACK").expect("free again");
    };
    let ((first, twice, rest), ()) = tokio::join!(all, free);
    let twice = twice.expect_err("it is there already");
    assert!(matches!(twice, StoreError::Duplicate { .. }), "{twice}");
    let seqs = [first.0, first.2, rest.0, rest.3].map(|appended| appended.expect("written").seq);
    assert_eq!(seqs, [1, 2, 3, 4]);
    let seqs = [first.1, first.3, rest.2, rest.4].map(|appended| appended.expect("written").seq);
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert!(matches!(rest.1.expect("written"), EffectResult::Written(_)));
    // Each run's journal is whole up to its anchor.
    let found = store.integrity().expect("looked");
    assert_eq!((found.records, found.problems), (8, vec![]));
}

/// Counts up `key` by compare-and-set, and answers how often it won.
async fn count_up(store: &Store, key: &str, times: u32) -> u32 {
    let mut won = 0;
    while won < times {
        let entry = store.get(&space(None), key).expect("read");
        let (value, version) = entry.map_or((0, 0), |e| {
            (u32::from_le_bytes(e.data.try_into().expect("4 bytes")), e.version)
        });
        let effect = put(None, key, &(value + 1).to_le_bytes(), Some(version));
        if let EffectResult::Written(_) = store.write_home(effect, "counter", 1).await.expect("written") {
            won += 1;
        }
    }
    won
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_and_another_process_lose_no_update() {
    let dir = tempfile::tempdir().expect("a folder");
    let (a, b) = (open(dir.path()), open(dir.path()));
    let mut child = helper("count", dir.path());
    let watcher = {
        let a = a.clone();
        tokio::spawn(async move {
            let mut since = 0;
            while since < 90 {
                let changes = a
                    .changed(&space(None), "", since, Duration::from_secs(20))
                    .await
                    .expect("read");
                assert!(changes.first().is_some_and(|c| c.version > since), "versions rise");
                since = changes.last().map_or(since, |c| c.version);
            }
        })
    };
    let (one, two) = tokio::join!(
        tokio::spawn(async move { count_up(&a, "n", 30).await }),
        tokio::spawn(async move { count_up(&b, "n", 30).await }),
    );
    assert_eq!((one.expect("ran"), two.expect("ran")), (30, 30));
    assert!(child.wait().expect("ended").success());
    watcher.await.expect("saw the last");
    let entry = open(dir.path()).get(&space(None), "n").expect("read").expect("there");
    assert_eq!((entry.data, entry.version), (90u32.to_le_bytes().to_vec(), 90));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_leaves_whole_appends() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = {
        let mut child = helper("write", dir.path());
        let started = Instant::now();
        let run = loop {
            assert!(started.elapsed() < Duration::from_secs(60), "the helper writes");
            let opened = Store::open(dir.path(), StoreOptions::new(&Limits::default(), Access::Read));
            let runs = opened
                .as_ref()
                .map(|s| s.runs(1).unwrap_or_default())
                .unwrap_or_default();
            if let (Ok(store), Some(run)) = (&opened, runs.first())
                && let Ok(run) = run.id.parse::<RunId>()
                && store.journal_size(&run.root()).expect("read").records > 40
            {
                break run;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        child.kill().expect("killed");
        child.wait().expect("ended");
        run
    };
    let store = open(dir.path());
    let owner = store.take_run(&run).await.expect("taken");
    assert_eq!(owner.epoch(), 2);
    let seen = store.observations(&stream(&run)).expect("read").len();
    assert_eq!(
        store.operations(&stream(&run)).expect("read").len(),
        seen,
        "each append had one of both"
    );
    assert!(store.integrity().expect("looked").problems.is_empty());
}

#[tokio::test]
async fn a_busy_database_is_waited_for_and_then_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = StoreOptions::new(&Limits::default(), Access::Write);
    options.busy = Duration::from_millis(100);
    let store = Store::open(dir.path(), options).expect("opens");
    let foreign = Connection::open(dir.path().join("hermes.db")).expect("opens");
    foreign.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let busy = store.write_home(put(None, "a", b"", None), "person", 1).await;
    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
    let waiting = store.write_home(put(None, "b", b"", None), "person", 1);
    let (written, ()) = tokio::join!(waiting, async {
        foreign.execute_batch("COMMIT").expect("freed");
    });
    assert_eq!(written, Ok(EffectResult::Written(1)), "what timed out was withdrawn");
}

#[test]
fn foreign_newer_and_broken_files_are_refused_untouched() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(matches!(open_err(dir.path(), Access::Read), StoreError::Missing { .. }));
    drop(open(dir.path()));
    let path = dir.path().join("hermes.db");
    let good = std::fs::read(&path).expect("read");
    let mut cases = Vec::new();
    for (at, byte) in [(63, 99), (71, 0), (3, 0)] {
        let mut bad = good.clone();
        bad[at] = byte;
        cases.push(bad);
    }
    cases.push(Vec::new());
    let mut errors = Vec::new();
    for bad in &cases {
        std::fs::write(&path, bad).expect("written");
        errors.push(open_err(dir.path(), Access::Write));
        assert_eq!(&std::fs::read(&path).expect("read"), bad);
    }
    assert!(matches!(
        errors[0],
        StoreError::FormatTooNew {
            found: 99,
            known: schema::VERSION,
            ..
        }
    ));
    assert!(matches!(errors[1], StoreError::NotOurs { .. }));
    assert!(matches!(
        (&errors[2], &errors[3]),
        (StoreError::Corrupt { .. }, StoreError::Corrupt { .. })
    ));
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(dir.path().join("runs/0123456789.lock"), "").expect("written");
    assert!(matches!(
        open_err(dir.path(), Access::Write),
        StoreError::Corrupt { .. }
    ));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_flipped_byte_in_a_record_is_noticed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    store
        .append(
            &owner,
            vec![observation(&run, 1), outcome(&run, 1)],
            None,
            Sync::Durable,
        )
        .await
        .expect("written");
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute(
        "UPDATE journal SET data = CAST(substr(data, 1, 40) || x'ff' || substr(data, 42) AS BLOB) WHERE kind = 6",
        [],
    )
    .expect("changed");
    let read = store.observations(&stream(&run));
    assert!(
        matches!(&read, Err(StoreError::Damaged { run: r, .. }) if *r == run),
        "{read:?}"
    );
    assert_eq!(store.integrity().expect("looked").problems.len(), 1);
}

/// A run with an operation that has its outcome, an observation of it, and its start; whose owner is gone.
async fn answered(store: &Store) -> RunId {
    let run = RunId::random();
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let active = update(&run, Transition::Active { attempt: 1 });
    let begun = [session(&run), start(&run.root()), active];
    let done = [intent(&run, 1), outcome(&run, 1), told(&run, 1, 1)];
    let records = begun.into_iter().chain(done).collect();
    store
        .append(&owner, records, None, Sync::Durable)
        .await
        .expect("written");
    run
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

#[tokio::test]
async fn a_record_that_its_columns_hide_is_damage() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = answered(&open(dir.path())).await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let change = |set: &str| {
        conn.execute(&format!("UPDATE journal SET {set} WHERE kind = 5"), [])
            .expect("changed");
    };
    for (set, undo) in [
        ("attempt = attempt + 64", "attempt = attempt - 64"),
        ("session = session + 64", "session = session - 64"),
        ("run = run + 64", "run = run - 64"),
        ("n = n + 64", "n = n - 64"),
        ("scope = '3'", "scope = ''"),
        ("chain = chain + 1", "chain = chain - 1"),
    ] {
        change(set);
        is_refused(dir.path(), &run, "record 5");
        change(undo);
    }
    assert_eq!(open(dir.path()).whole(&run), Ok(()));
    conn.execute("DELETE FROM journal WHERE kind = 4", []).expect("gone");
    is_refused(dir.path(), &run, "record 4 is missing");
    let records = open(dir.path()).records(&run, 0, 9);
    assert!(matches!(records, Err(StoreError::Damaged { .. })), "{records:?}");
}

/// The index by which records are found has no outcomes any more.
fn spoil_index(dir: &Path) {
    let set = |sql: &str| {
        let conn = Connection::open(dir.join("hermes.db")).expect("opens");
        conn.execute_batch("PRAGMA writable_schema = ON").expect("set");
        conn.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'journal_once'", [sql])
            .expect("changed");
    };
    let sql = "CREATE UNIQUE INDEX journal_once ON journal (run, session, kind, attempt, scope, n)";
    set(&format!("{sql} WHERE kind <> 5"));
    let conn = Connection::open(dir.join("hermes.db")).expect("opens");
    conn.execute_batch("REINDEX journal_once").expect("made anew");
    drop(conn);
    set(sql);
}

#[tokio::test]
async fn a_record_that_the_index_hides_is_damage_and_accept_loss_mends_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = answered(&open(dir.path())).await;
    spoil_index(dir.path());
    is_refused(dir.path(), &run, "the index of its records");
    let store = open(dir.path());
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert_eq!((loss.kept, loss.is_any()), (6, false));
    assert_eq!(store.whole(&run), Ok(()));
    assert!(store.integrity().expect("looked").problems.is_empty());
    assert!(store.operations(&stream(&run)).expect("read")[0].outcome.is_some());
    drop(store);
    // A record that is damaged behind an index that is: both are mended.
    spoil_index(dir.path());
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE journal SET data = x'00' WHERE kind = 5", [])
        .expect("changed");
    let store = open(dir.path());
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert_eq!((loss.kept, loss.cut), (3, 3), "the intent goes with its outcome");
    assert!(store.integrity().expect("looked").problems.is_empty());
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

#[tokio::test]
async fn a_space_that_says_nonsense_is_refused_until_the_loss_is_accepted() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = answered(&open(dir.path())).await;
    let store = open(dir.path());
    wrote(&store, &run, 2..5).await;
    store
        .write_home(put(None, "h", b"v", None), "person", 1)
        .await
        .expect("written");
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let spaces = store.spaces(Some(&run)).expect("read");
    for column in ["version", "keys", "bytes", "tombstones"] {
        conn.execute(&format!("UPDATE space SET {column} = {column} + 64"), [])
            .expect("changed");
        let taken = store.take_run(&run).await;
        assert!(matches!(taken, Err(StoreError::Damaged { .. })), "{column}: {taken:?}");
        let read = store.get(&space(Some(&run)), "k2");
        assert!(matches!(read, Err(StoreError::Damaged { .. })), "{column}: {read:?}");
        let listed = store.spaces(Some(&run));
        assert!(
            matches!(listed, Err(StoreError::Damaged { .. })),
            "{column}: {listed:?}"
        );
        let home = store.write_home(put(None, "h", b"w", None), "person", 1).await;
        assert!(matches!(home, Err(StoreError::Corrupt { .. })), "{column}: {home:?}");
        assert_eq!(store.integrity().expect("looked").problems.len(), 2, "{column}");
        let loss = store.accept_loss(&run).await.expect("accepted");
        assert!(!loss.is_any(), "{column}: {loss}");
        assert_eq!(store.spaces(Some(&run)), Ok(spaces.clone()), "{column}");
        conn.execute(&format!("UPDATE space SET {column} = {column} - 64 WHERE run = 0"), [])
            .expect("changed back");
        assert!(store.integrity().expect("looked").problems.is_empty(), "{column}");
        store.take_run(&run).await.expect("taken");
    }
    // An entry that is gone, and one that is damaged.
    conn.execute("DELETE FROM entry WHERE key = x'6b32'", []).expect("gone");
    let taken = store.take_run(&run).await;
    assert!(matches!(taken, Err(StoreError::Damaged { .. })), "{taken:?}");
    conn.execute("UPDATE entry SET author = 'x' WHERE key = x'6b33'", [])
        .expect("changed");
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert_eq!((loss.entries, loss.cut), (2, 0));
    assert_eq!(store.keys(&space(Some(&run)), "", None, 9), Ok(vec!["k4".to_owned()]));
    assert_eq!(store.whole(&run), Ok(()));
    store.take_run(&run).await.expect("taken");
}

/// The row of the first run's space has a text where its version was.
fn mistyped(dir: &Path) {
    let schema = |from: &str, to: &str| {
        let conn = Connection::open(dir.join("hermes.db")).expect("opens");
        conn.execute_batch("PRAGMA writable_schema = ON").expect("set");
        conn.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE name = 'space'",
            [from, to],
        )
        .expect("changed");
    };
    schema(" STRICT", " /*STRICT*/");
    let conn = Connection::open(dir.join("hermes.db")).expect("opens");
    conn.execute("UPDATE space SET version = 'x' WHERE run = 1", [])
        .expect("changed");
    drop(conn);
    schema(" /*STRICT*/", " STRICT");
}

#[tokio::test]
async fn a_row_of_a_space_that_can_not_be_read_is_damage_of_its_own_run_alone() {
    for typed in [true, false] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        let (bad, good) = (answered(&store).await, answered(&store).await);
        wrote(&store, &bad, 2..4).await;
        wrote(&store, &good, 2..4).await;
        drop(store);
        if typed {
            // Its header says that it is longer than the row.
            rot(dir.path(), TABLE, b"\x09\x00\x09\x17", b"\x89\x00\x09\x17");
        } else {
            mistyped(dir.path());
        }
        let store = open(dir.path());
        store.take_run(&good).await.expect("taken");
        assert_eq!(store.whole(&good), Ok(()), "{typed}");
        let told = store.whole(&bad);
        assert!(matches!(told, Err(StoreError::Damaged { .. })), "{typed}: {told:?}");
        let mut runs = store.prunable().expect("read");
        store.look_for_damage(&mut runs).expect("read");
        assert_eq!(of(&runs, &good).state, RunState::Free, "{typed}");
        assert!(matches!(of(&runs, &bad).state, RunState::Damaged(_)), "{typed}");
        let problems = store.integrity().expect("looked").problems;
        assert!(problems.iter().any(|p| p.run.as_ref() == Some(&bad)), "{problems:?}");
        assert!(problems.iter().all(|p| p.run.as_ref() != Some(&good)), "{problems:?}");
        if !typed {
            let loss = store.accept_loss(&bad).await.expect("accepted");
            assert!(!loss.is_any(), "{loss}");
            store.take_run(&bad).await.expect("taken");
            assert!(store.integrity().expect("looked").problems.is_empty());
        }
    }
}

#[tokio::test]
async fn damage_in_the_midst_of_a_run_is_found_where_it_is_looked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (good, bad, owned) = (answered(&store).await, answered(&store).await, answered(&store).await);
    let _owner = store.take_run(&owned).await.expect("taken");
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE journal SET n = 7 WHERE kind = 5 AND run > 1", [])
        .expect("changed");
    let mut runs = store.prunable().expect("read");
    assert_eq!(of(&runs, &bad).state, RunState::Free, "it is not read for that");
    store.look_for_damage(&mut runs).expect("read");
    assert_eq!(of(&runs, &good).state, RunState::Free);
    assert!(matches!(of(&runs, &bad).state, RunState::Damaged(_)));
    assert_eq!(of(&runs, &owned).state, RunState::Owned);
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

/// A run whose records are on many pages, and that ended.
async fn long_run(store: &Store) -> RunId {
    let run = RunId::random();
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let mut records = vec![session(&run), start(&run.root())];
    records.extend((1..=100).flat_map(|op| [intent(&run, op), outcome(&run, op)]));
    store
        .append(&owner, records, None, Sync::Commit)
        .await
        .expect("written");
    completed(store, &owner).await;
    run
}

#[tokio::test]
async fn what_lies_on_a_page_that_can_not_be_read_holds_up_no_other_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bad, good) = {
        let store = open(dir.path());
        (long_run(&store).await, ended_run(&store, b"good").await)
    };
    let path = dir.path().join("hermes.db");
    let conn = Connection::open(&path).expect("opens");
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("copied");
    let leaves =
        "SELECT pageno FROM dbstat WHERE name = 'journal' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 1";
    let page: u32 = conn.query_row(leaves, [], |row| row.get(0)).expect("a second page");
    conn.close().expect("closed");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[(page as usize - 1) * 4096..][..64].fill(0xa5);
    std::fs::write(&path, bytes).expect("written");
    let store = open(dir.path());
    let problems = store.integrity().expect("looked").problems;
    let (of_bad, others): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.run.as_ref() == Some(&bad));
    assert!(
        !of_bad.is_empty() && of_bad.iter().all(|problem| problem.unreadable),
        "{of_bad:?}"
    );
    assert!(others.iter().all(|problem| problem.run.is_none()), "{others:?}");
    let runs = store.prunable().expect("read");
    let (first, second) = (of(&runs, &bad), of(&runs, &good));
    assert!(matches!(first.state, RunState::Damaged(_)), "{first:?}");
    assert_eq!((first.bytes, &second.state), (0, &RunState::Free));
    assert!(second.bytes > 100_000, "{second:?}");
    for run in &runs {
        assert_eq!(store.remove_run(run).await, Ok(Removal::Removed));
    }
    // The one that can't be read comes first.
    for _ in 0..2 {
        let swept = store.sweep_rows().await;
        assert!(matches!(swept, Err(StoreError::Corrupt { .. })), "{swept:?}");
        let conn = Connection::open(&path).expect("opens");
        let count = |table: &str| conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        let left: [Result<i64, _>; 4] = ["pruned", "session", "entry", "component"].map(count);
        assert_eq!(left, [Ok(1), Ok(1), Ok(0), Ok(0)]);
    }
}

#[tokio::test]
async fn a_tail_that_the_durability_may_lose_is_told_to_who_takes_the_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = answered(&open(dir.path())).await;
    let path = dir.path().join(format!("runs/{run}.lock"));
    let ahead = |durability: &str, boot: &str| {
        let line = std::fs::read_to_string(&path).expect("read");
        let fields: Vec<&str> = line.trim_end().split(' ').collect();
        let [name, format, pid, since, ..] = fields[..] else {
            panic!("{line}")
        };
        let boot = if boot.is_empty() { fields[7] } else { boot };
        let text = format!("{name} {format} {pid} {since} 9 5 {durability} {boot}");
        let text = format!("{text} {}", seal::sum(&[text.as_bytes()]));
        std::fs::write(&path, format!("{text:255}\n")).expect("written");
    };
    let store = open(dir.path());
    for (durability, boot) in [("process", ""), ("power", "another")] {
        ahead(durability, boot);
        let taken = store.take_run(&run).await;
        assert!(matches!(taken, Err(StoreError::Damaged { .. })), "{taken:?}");
    }
    ahead("process", "another");
    assert_eq!(store.run_state(&run), Ok(RunState::LostTail(3)));
    assert!(store.integrity().expect("looked").problems.is_empty(), "it is expected");
    assert_eq!(store.take_run(&run).await.expect("taken").lost_tail(), Some(3));
    assert_eq!(
        store.take_run(&run).await.expect("taken").lost_tail(),
        None,
        "told once"
    );
}

#[tokio::test]
async fn components_are_kept_and_verified() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let digest = store.keep_component(&owner, vec![1, 2, 3].into()).await.expect("kept");
    assert_eq!(store.component(&digest), Ok(vec![1, 2, 3]));
    assert_eq!(store.components(&run), Ok(vec![digest]));
    let path = dir.path().join(format!("components/{digest}.wasm"));
    std::fs::write(path, [1, 2]).expect("damaged");
    assert!(matches!(store.component(&digest), Err(StoreError::Corrupt { .. })));
    store
        .keep_component(&owner, vec![1, 2, 3].into())
        .await
        .expect("mended");
    assert_eq!(store.component(&digest), Ok(vec![1, 2, 3]));
}

/// Runs [`helper_process`] in a process of its own.
fn helper(job: &str, dir: &Path) -> std::process::Child {
    let name = format!(
        "{}::helper_process",
        module_path!().split_once("::").expect("a crate").1
    );
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &name, "--nocapture"])
        .env("STORE_TEST_JOB", job)
        .env("STORE_TEST_DIR", dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("started")
}

/// Does nothing as a test; other tests start it with a job.
#[tokio::test]
async fn helper_process() {
    let (Ok(job), Ok(dir)) = (std::env::var("STORE_TEST_JOB"), std::env::var("STORE_TEST_DIR")) else {
        return;
    };
    let store = open(Path::new(&dir));
    if job == "count" {
        count_up(&store, "n", 30).await;
        return;
    }
    if job == "no threads" {
        writes_without_threads(&store, Path::new(&dir)).await;
        return;
    }
    let run = RunId::random();
    let owner = store.create_run(new_run(&run)).await.expect("made");
    for n in 1.. {
        let records = vec![intent(&run, n), observation(&run, u64::from(n))];
        let sync = if n % 3 == 0 { Sync::Durable } else { Sync::Commit };
        store.append(&owner, records, None, sync).await.expect("written");
    }
}

/// Writes while another program holds the database and this process can start no thread that waits for it.
async fn writes_without_threads(store: &Store, dir: &Path) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let foreign = Connection::open(dir.join("hermes.db")).expect("opens");
    foreign.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let pages = std::fs::read_to_string("/proc/self/statm").expect("read");
    let pages: u64 = pages.split(' ').next().expect("a number").parse().expect("a number");
    let before = getrlimit(Resource::As);
    // Less than a thread's stack.
    let current = Some(pages * 4096 + (1 << 20));
    setrlimit(Resource::As, Rlimit { current, ..before }).expect("set");
    let refused = store.write_home(put(None, "a", b"1", None), "person", 1).await;
    setrlimit(Resource::As, before).expect("as it was");
    let what = refused.expect_err("no thread waits for it").to_string();
    assert!(what.contains("thread can't run"), "{what}");
    foreign.execute_batch("COMMIT").expect("freed");
    let written = store.write_home(put(None, "b", b"2", None), "person", 1).await;
    assert_eq!(
        written,
        Ok(EffectResult::Written(1)),
        "what was refused is not written later"
    );
    // Threads can start again, and one does.
    foreign.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let waiting = store.write_home(put(None, "c", b"3", None), "person", 1);
    let (written, ()) = tokio::join!(waiting, async {
        foreign.execute_batch("COMMIT").expect("freed");
    });
    assert_eq!(written, Ok(EffectResult::Written(2)));
}

#[test]
fn what_is_refused_for_want_of_a_thread_is_not_written_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = helper("no threads", dir.path());
    assert!(child.wait().expect("ended").success());
}

#[tokio::test]
async fn an_owner_reads_an_attempt_and_a_run_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let of = |mut record: Record, attempt: u32, scope: Scope| {
        match &mut record {
            Record::Intent(intent) => (intent.stream.attempt, intent.stream.scope) = (attempt, scope),
            Record::Outcome(outcome) => (outcome.stream.attempt, outcome.stream.scope) = (attempt, scope),
            Record::Observation(seen) => (seen.stream.attempt, seen.stream.scope) = (attempt, scope),
            Record::Note(note) => (note.stream.attempt, note.stream.scope) = (attempt, scope),
            _ => {}
        }
        record
    };
    let note = |text: &str| {
        Record::Note(Note {
            stream: stream(&run),
            kind: NoteKind::Log,
            body: text.into(),
            at_ms: 5,
        })
    };
    let (root, inside) = (Scope::ROOT, Scope::ROOT.child(1));
    let first = vec![
        Record::Body(Digest::of(b"body"), b"body".to_vec()),
        of(intent(&run, 1), 1, root.clone()),
        of(intent(&run, 1), 1, inside.clone()),
        of(note("told meanwhile"), 1, inside.clone()),
        of(observation(&run, 1), 1, inside.clone()),
        of(note("last inside"), 1, inside.clone()),
        of(observation(&run, 1), 1, root.clone()),
        of(note("told meanwhile"), 1, root.clone()),
        of(observation(&run, 2), 1, root.clone()),
        of(note("last"), 1, root.clone()),
        of(outcome(&run, 1), 1, inside.clone()),
        of(note("and last of all"), 1, root.clone()),
        of(intent(&run, 1), 2, root.clone()),
        of(note("told meanwhile"), 2, root.clone()),
        of(observation(&run, 1), 2, root.clone()),
        of(note("told nothing"), 2, inside),
    ];
    store
        .append(&owner, first.clone(), None, Sync::Durable)
        .await
        .expect("written");

    let of_first = store.attempt(&run.root(), 1).expect("read");
    let ended: Vec<_> = of_first.operations.iter().map(|op| op.outcome.is_some()).collect();
    assert_eq!(ended, [false, true]);
    let seen: Vec<_> = of_first
        .observations
        .iter()
        .map(|seen| (seen.stream.scope.depth(), seen.seq))
        .collect();
    assert_eq!(seen, [(0, 1), (0, 2), (1, 1)]);
    let last = |records: &AttemptRecords| {
        let texts = records.last_notes.iter().map(|note| note.body.clone());
        texts.map(String::from_utf8).collect::<Result<Vec<_>, _>>()
    };
    let expected = ["last inside", "last", "and last of all"].map(str::to_owned);
    assert_eq!(last(&of_first), Ok(expected.to_vec()));
    let of_second = store.attempt(&run.root(), 2).expect("read");
    assert_eq!((of_second.operations.len(), of_second.observations.len()), (1, 1));
    assert_eq!(last(&of_second), Ok(vec!["told nothing".to_owned()]));

    let mut walked = Vec::new();
    let sizes =
        |bodies: &HashMap<Digest, u64>| bodies.iter().map(|(digest, size)| (*digest, *size)).collect::<Vec<_>>();
    let all = store.walk(&run, Look::Records, |record, bodies| {
        assert_eq!(sizes(bodies), [(Digest::of(b"body"), 4)]);
        walked.push(record);
        Ok(())
    });
    assert_eq!((all, &walked[..]), (Ok(()), &first[1..]));
    let stopped = store.walk(&run, Look::Records, |_, _| Err(StoreError::internal("enough")));
    assert_eq!(stopped, Err(StoreError::internal("enough")));

    let gap = vec![of(observation(&run, 4), 1, root)];
    store.append(&owner, gap, None, Sync::Durable).await.expect("written");
    let read = store.attempt(&run.root(), 1);
    let missing = |e: &StoreError| e.to_string().contains("observation 3");
    assert!(read.as_ref().is_err_and(missing), "{read:?}");
}

/// How long others wait while runs are removed: `cargo test --release store::tests::pruning_figures -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, asserts nothing"]
async fn pruning_figures() {
    let dir = tempfile::tempdir_in(std::env::temp_dir()).expect("a folder");
    let (store, other, run) = (open(dir.path()), open(dir.path()), RunId::random());
    for _ in 0..20 {
        let big = RunId::random();
        let owner = store.create_run(new_run(&big)).await.expect("made");
        for n in 1..=20_u64 {
            let text = vec![u8::try_from(n).expect("few"); 200_000];
            let mut records = vec![Record::Body(Digest::of(&text), text)];
            records.extend((1..=100).map(|seq| observation(&big, (n - 1) * 100 + seq)));
            store
                .append(&owner, records, None, Sync::Commit)
                .await
                .expect("written");
        }
    }
    let runs = store.prunable().expect("read");
    let before = store.size().expect("read");
    let owner = other.create_run(new_run(&run)).await.expect("made");
    let pruning = tokio::spawn(async move {
        let mut took = [Duration::ZERO; 2];
        let began = Instant::now();
        for run in &runs {
            store.remove_run(run).await.expect("removed");
            store.sweep_rows().await.expect("swept");
        }
        took[0] = began.elapsed();
        store.give_back().await.expect("given back");
        took[1] = began.elapsed() - took[0];
        (took, store.size().expect("read"))
    });
    let mut waits = Vec::new();
    while !pruning.is_finished() {
        let at = Instant::now();
        let seen = vec![observation(&run, waits.len() as u64 + 1)];
        other.append(&owner, seen, None, Sync::Durable).await.expect("written");
        waits.push(at.elapsed());
    }
    let ([sweep, give], after) = pruning.await.expect("no panic");
    waits.sort_unstable();
    let (n, last) = (waits.len(), waits[waits.len() - 1]);
    println!(
        "{} to {} bytes; rows {sweep:?}, giving back {give:?}",
        before.files, after.files
    );
    println!(
        "{n} durable appends beside it: median {:?}, p99 {:?}, longest {last:?}",
        waits[n / 2],
        waits[n * 99 / 100]
    );
}

#[tokio::test]
async fn the_first_end_of_a_session_stands() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let first = vec![
        session(&run),
        update(&run, Transition::Active { attempt: 1 }),
        update(&run, Transition::CancelAsked),
        update(&run, ended()),
    ];
    store.append(&owner, first, None, Sync::Durable).await.expect("written");
    for later in [
        Transition::Active { attempt: 2 },
        Transition::Interrupted,
        Transition::CancelAsked,
        ended(),
    ] {
        let again = store
            .append(&owner, vec![update(&run, later)], None, Sync::Durable)
            .await;
        assert!(matches!(again, Err(StoreError::Duplicate { .. })), "{again:?}");
    }
    let row = store.session(&run.root()).expect("read");
    assert_eq!(
        (row.status, row.cancel_asked, row.ended_ms),
        (Status::Completed, true, Some(9))
    );
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

/// The intent of the operation that [`child`] is.
fn child_intent(run: &RunId) -> Record {
    let Record::Intent(mut intent) = intent(run, 5) else {
        unreachable!("it is one")
    };
    intent.kind = OpKind::Child;
    within(Record::Intent(intent), 2, &Scope::ROOT)
}

#[tokio::test]
async fn a_new_session_has_all_that_it_was_made_with() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let new = child(&SessionId {
        run: run.clone(),
        number: 1,
    });
    let records = vec![session(&run), Record::Session(new.clone())];
    store
        .append(&owner, records, None, Sync::Commit)
        .await
        .expect("written");
    let row = SessionRow {
        session: new.session,
        parent: new.parent,
        edge: Edge::Delegated,
        role: "reader".into(),
        task: "Read it.".into(),
        strategy: "critic".into(),
        digest: Digest::of(b"critic"),
        model: Some("test/small".into()),
        budget: vec![(Dimension::Iterations, 7), (Dimension::Children, 0)],
        toolsets: vec!["filesystem".into(), "web".into()],
        status: Status::Spawned,
        attempt: 0,
        cancel_asked: false,
        exit: None,
        outcome: None,
        error: None,
        result: None,
        spent: Amounts::ZERO,
        started_ms: 4,
        updated_ms: 4,
        ended_ms: None,
    };
    assert_eq!(store.session(&row.session), Ok(row));
}

#[tokio::test]
async fn an_update_changes_what_its_transition_means_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let (early, late) = (
        Amounts::of(Dimension::Iterations, 3).with(Dimension::ToolCalls, 1),
        Amounts::of(Dimension::Iterations, 4),
    );
    let (active, again) = (Transition::Active { attempt: 2 }, Transition::Active { attempt: 3 });
    let (asked, interrupted) = (Transition::CancelAsked, Transition::Interrupted);
    let lives = [
        vec![],
        vec![asked.clone()],
        vec![active.clone()],
        vec![active.clone(), asked.clone()],
        vec![active, asked.clone(), interrupted.clone()],
    ];
    let end = |kind| {
        Transition::Ended(SessionEnd {
            kind,
            exit: "its exit".into(),
            outcome: Some("its outcome".into()),
            error: Some("its error".into()),
            result: vec![1, 2],
        })
    };
    let ends = [EndKind::Completed, EndKind::Cancelled, EndKind::Failed].map(end);
    let transitions = [&[again, interrupted, asked][..], &ends].concat();
    let write = async |records| store.append(&owner, records, None, Sync::Commit).await;
    write(vec![session(&run)]).await.expect("written");
    let mut others = store.sessions(&run).expect("read");
    for (life, transition, spent) in lives
        .iter()
        .flat_map(|life| transitions.iter().map(move |transition| (life, transition)))
        .flat_map(|(life, transition)| [None, Some(late)].map(|spent| (life, transition, spent)))
    {
        let number = u32::try_from(others.len()).expect("few");
        let id = SessionId {
            run: run.clone(),
            number,
        };
        let update = |transition: &Transition, spent, at_ms| {
            Record::Update(SessionUpdate {
                session: id.clone(),
                transition: transition.clone(),
                spent,
                at_ms,
            })
        };
        let mut records = vec![Record::Session(child(&id))];
        records.extend(life.iter().map(|step| update(step, Some(early), 5)));
        write(records).await.expect("written");
        let before = store.session(&id).expect("read");
        let written = write(vec![update(transition, spent, 9)]).await;
        let mut meant = before.clone();
        (meant.updated_ms, meant.spent) = (9, spent.unwrap_or(before.spent));
        match transition {
            Transition::Active { attempt } => (meant.status, meant.attempt) = (Status::Active, *attempt),
            Transition::Interrupted => meant.status = Status::Interrupted,
            Transition::CancelAsked => meant.cancel_asked = true,
            Transition::Ended(end) => {
                meant.status = match end.kind {
                    EndKind::Completed => Status::Completed,
                    EndKind::Cancelled => Status::Cancelled,
                    EndKind::Failed => Status::Failed,
                };
                meant.ended_ms = Some(9);
                meant.exit = Some("its exit".into());
                meant.outcome = Some("its outcome".into());
                meant.error = Some("its error".into());
                meant.result = Some(vec![1, 2]);
            }
        }
        if meant.status == Status::Completed && before.status != Status::Active {
            assert!(matches!(written, Err(StoreError::Duplicate { .. })), "{written:?}");
            meant = before;
        } else {
            written.expect("written");
        }
        others.push(meant);
        assert_eq!(
            store.sessions(&run).expect("read"),
            others,
            "{life:?}, then {transition:?}"
        );
    }
}

#[tokio::test]
async fn all_spaces_of_a_run_share_one_quota() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    store
        .append(&owner, vec![session(&run)], None, Sync::Commit)
        .await
        .expect("written");
    let quota = StoreOptions::new(&Limits::default(), Access::Write).space_bytes;
    let half = usize::try_from(quota / 2 - 1000).expect("it fits");
    let mut results = Vec::new();
    for (op, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let effect = Effect::Put {
            space: SpaceId {
                run: Some(run.clone()),
                name: name.into(),
            },
            key: "k".into(),
            media_type: "text/plain".into(),
            data: vec![7; half],
            if_version: None,
        };
        let records = vec![intent(&run, op), outcome(&run, op)];
        let appended = store
            .append(&owner, records, of_op(&run, op, effect), Sync::Commit)
            .await;
        results.push(appended.expect("written").effect);
    }
    let written = Some(EffectResult::Written(1));
    assert_eq!(
        results,
        [written.clone(), written, Some(EffectResult::TooManyBytes(quota))]
    );
    let spill = |n: u32, bytes: usize| {
        Record::Spill(Spill {
            session: run.root(),
            key: format!("0/1/{n:04}"),
            text: "x".repeat(bytes),
            at_ms: 1,
        })
    };
    let full = store
        .append(
            &owner,
            vec![spill(1, 10), intent(&run, 4), spill(2, half)],
            None,
            Sync::Commit,
        )
        .await;
    assert!(matches!(full, Err(StoreError::SpillFull { .. })), "{full:?}");
    assert_eq!(
        store.operations(&stream(&run)).expect("read").len(),
        3,
        "all of it was undone"
    );
    store
        .append(&owner, vec![spill(1, 10)], None, Sync::Commit)
        .await
        .expect("written");
}

#[tokio::test]
async fn a_database_of_format_1_is_brought_up_to_date() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, path) = (RunId::random(), dir.path().join("hermes.db"));
    let store = open(dir.path());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    store
        .append(&owner, vec![observation(&run, 1)], None, Sync::Durable)
        .await
        .expect("written");
    let write = put(None, "k", b"v", None);
    store.write_home(write, "person", 1).await.expect("written");
    drop((owner, store));
    let old = Connection::open(&path).expect("opens");
    old.execute_batch(
        "DROP TABLE cancel_request; DROP TABLE pruned; ALTER TABLE space DROP COLUMN sum;
         ALTER TABLE component DROP COLUMN sum; PRAGMA user_version = 1",
    )
    .expect("as it was");
    drop(old);
    let reader = Store::open(dir.path(), StoreOptions::new(&Limits::default(), Access::Read)).expect("opens");
    assert!(
        reader.integrity().expect("looked").problems.is_empty(),
        "before it is upgraded too"
    );
    assert_eq!(reader.get(&space(None), "k").expect("read").expect("there").data, b"v");
    assert_eq!(reader.spaces(None).expect("read")[0].keys, 1);
    drop(reader);
    let store = open(dir.path());
    assert_eq!(store.cancel_requested(&run), Ok(None));
    assert_eq!(store.observations(&stream(&run)).expect("read").len(), 1);
    let write = put(None, "k", b"w", Some(1));
    let written = store.write_home(write, "person", 2).await;
    assert_eq!(written, Ok(EffectResult::Written(2)));
    assert!(store.integrity().expect("looked").problems.is_empty());
    store.create_run(new_run(&RunId::random())).await.expect("made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_runs_end_reaches_its_owner() {
    let dir = tempfile::tempdir().expect("a folder");
    let (owner_store, other, run) = (open(dir.path()), open(dir.path()), RunId::random());
    let owner = owner_store.create_run(new_run(&run)).await.expect("made");
    let heard = {
        let (store, run) = (owner_store.clone(), run.clone());
        tokio::spawn(async move {
            store.cancel_request_comes(&run).await;
            Instant::now()
        })
    };
    // What else is written is no request.
    other
        .write_home(put(None, "a", b"", None), "person", 1)
        .await
        .expect("written");
    let unknown = other.request_cancel(&RunId::random(), 5).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
    assert!(!heard.is_finished());
    let asked = Instant::now();
    other.request_cancel(&run, 5).await.expect("written");
    let heard = tokio::time::timeout(Duration::from_secs(10), heard).await;
    let took = heard.expect("in time").expect("no panic") - asked;
    assert!(took < Duration::from_millis(250 * 8), "{took:?}");
    other.request_cancel(&run, 9).await.expect("written");
    assert_eq!(owner_store.cancel_requested(&run), Ok(Some(5)), "the first stands");
    drop(owner);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE cancel_request SET at_ms = 6", [])
        .expect("changed");
    let damaged = other.cancel_requested(&run);
    assert!(matches!(damaged, Err(StoreError::Damaged { .. })), "{damaged:?}");
}

/// A run that ended, with a record, a body, an entry and a component.
async fn ended_run(store: &Store, component: &'static [u8]) -> RunId {
    let run = RunId::random();
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let records = vec![
        session(&run),
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

fn of<'r>(runs: &'r [Prunable], run: &RunId) -> &'r Prunable {
    runs.iter().find(|found| found.run == *run).expect("it is there")
}

#[tokio::test]
async fn a_removed_run_is_gone_at_once_and_its_number_when_all_of_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (first, second) = (ended_run(&store, b"one").await, ended_run(&store, b"two").await);
    store.request_cancel(&second, 3).await.expect("written");
    let runs = store.prunable().expect("read");
    let found = of(&runs, &second);
    assert_eq!((found.changed_ms, &found.state), (Some(7), &RunState::Free));
    assert_eq!(found.components, [(Digest::of(b"two"), 3)]);
    assert!((100_000..110_000).contains(&found.bytes), "{}", found.bytes);
    assert_eq!(store.remove_run(found).await, Ok(Removal::Removed));
    assert_eq!(store.remove_run(found).await, Ok(Removal::Gone));
    assert!(matches!(store.run(&second), Err(StoreError::NotFound { .. })));
    assert!(matches!(
        store.take_run(&second).await,
        Err(StoreError::NotFound { .. })
    ));
    let locks = || std::fs::read_dir(dir.path().join("runs")).expect("read").count();
    assert_eq!(locks(), 1, "a look at what is gone makes no file");
    // As a crash leaves it. The next run must not be given the number of what is left.
    let third = ended_run(&store, b"three").await;
    assert!(store.integrity().expect("looked").problems.is_empty());
    assert_eq!(store.observations(&stream(&third)).expect("read").len(), 0);
    store.sweep_rows().await.expect("swept");
    assert_eq!(rows(dir.path()), [2, 2, 8, 2, 2, 2, 2, 0, 0]);
    let swept = store.sweep_files().await.expect("swept");
    assert_eq!((swept.components, swept.bytes), (1, 3));
    assert_eq!(store.component(&Digest::of(b"one")), Ok(b"one".to_vec()));
    assert!(matches!(
        store.component(&Digest::of(b"two")),
        Err(StoreError::NoComponent { .. })
    ));
    assert!(store.integrity().expect("looked").problems.is_empty());
    for run in store.prunable().expect("read") {
        assert_eq!(store.remove_run(&run).await, Ok(Removal::Removed), "{first} or {third}");
    }
    store.sweep_rows().await.expect("swept");
    store.sweep_files().await.expect("swept");
    assert_eq!((rows(dir.path()), locks()), (vec![0; 9], 0));
}

#[tokio::test]
async fn a_run_whose_id_leads_to_another_is_removed_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (_, second, third) = (answered(&store).await, answered(&store).await, answered(&store).await);
    drop(store);
    let entry = |number: u8| [second.as_str().as_bytes(), &[number]].concat();
    rot(dir.path(), INDEX, &entry(2), &entry(3));
    let store = open(dir.path());
    let mut runs = store.prunable().expect("read");
    store.look_for_damage(&mut runs).expect("read");
    assert!(matches!(of(&runs, &second).state, RunState::Damaged(_)), "{runs:?}");
    assert_eq!(of(&runs, &third).state, RunState::Free);
    assert_eq!(store.remove_run(of(&runs, &second)).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
    assert_eq!(rows(dir.path()), [2, 2, 12, 0, 0, 0, 0, 0, 0]);
    assert_eq!(store.whole(&third), Ok(()));
    assert!(store.integrity().expect("looked").problems.is_empty());
}

#[tokio::test]
async fn a_removed_run_takes_no_space_of_another_whatever_one_bit_says() {
    for (kind, bytes, changed) in [
        // Of the second run's space, the index says that it is the third's; then its row says that.
        (INDEX, b"\x02notes", b"\x03notes"),
        (TABLE, b"\x02notes", b"\x03notes"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        answered(&store).await;
        let (second, third) = (answered(&store).await, answered(&store).await);
        wrote(&store, &second, 2..5).await;
        drop(store);
        rot(dir.path(), kind, bytes, changed);
        let store = open(dir.path());
        let runs = store.prunable().expect("read");
        assert_eq!(store.remove_run(of(&runs, &third)).await, Ok(Removal::Removed));
        let swept = store.sweep_rows().await;
        assert!(matches!(swept, Err(StoreError::Corrupt { .. })), "{kind}: {swept:?}");
        assert_eq!(rows(dir.path())[5..7], [1, 3], "{kind}");
        let told = store.whole(&second);
        assert!(matches!(told, Err(StoreError::Damaged { .. })), "{kind}: {told:?}");
        let loss = store.accept_loss(&second).await.expect("accepted");
        assert!(!loss.is_any(), "{kind}: {loss}");
        assert_eq!(store.whole(&second), Ok(()), "{kind}");
        store.sweep_rows().await.expect("nothing is doubtful any more");
        let keys = store.keys(&space(Some(&second)), "", None, 9).expect("read");
        assert_eq!(keys, ["k2", "k3", "k4"], "{kind}");
        assert!(store.integrity().expect("looked").problems.is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn a_removed_run_takes_no_entry_that_only_an_index_gives_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (first, second, third) = (answered(&store).await, answered(&store).await, answered(&store).await);
    for run in [&first, &second, &third] {
        wrote(&store, run, 2..3).await;
    }
    drop(store);
    // By key, the entry of the second run's space is the third's.
    rot(dir.path(), INDEX, b"\x02k2\x02", b"\x03k2\x02");
    let store = open(dir.path());
    let runs = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&runs, &third)).await, Ok(Removal::Removed));
    let swept = store.sweep_rows().await;
    assert!(matches!(swept, Err(StoreError::Corrupt { .. })), "{swept:?}");
    let loss = store.accept_loss(&second).await.expect("accepted");
    assert!(!loss.is_any(), "{loss}");
    assert_eq!(store.whole(&second), Ok(()));
    assert_eq!(store.whole(&first), Ok(()));
    store.sweep_rows().await.expect("nothing is doubtful any more");
}

#[tokio::test]
async fn a_component_stays_whose_row_says_that_a_removed_run_uses_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (first, second) = (ended_run(&store, b"one").await, ended_run(&store, b"two").await);
    let one = Digest::of(b"one");
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE component SET run = 2 WHERE run = 1", [])
        .expect("changed");
    let problems = store.integrity().expect("looked").problems;
    let told: Vec<_> = problems.iter().map(|problem| problem.what.clone()).collect();
    let short = one.short();
    let words = format!("the row that says that the run {second} uses the component {short} is damaged");
    assert_eq!(told, [words]);
    let runs = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&runs, &second)).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
    let swept = store.sweep_files().await.expect("swept");
    assert_eq!((swept.components, swept.missing), (1, None));
    assert_eq!(store.component(&one), Ok(b"one".to_vec()));
    assert_eq!(store.components(&first), Ok(vec![one]));
    assert!(store.integrity().expect("looked").problems.is_empty());
}

#[tokio::test]
async fn a_component_that_an_earlier_format_knew_is_vouched_for_when_it_is_used() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = ended_run(&store, b"one").await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let vouched = || {
        conn.query_row("SELECT count(sum) FROM component", [], |row| row.get::<_, i64>(0))
            .expect("counted")
    };
    conn.execute("UPDATE component SET sum = NULL", []).expect("as it was");
    assert!(store.integrity().expect("looked").problems.is_empty());
    assert_eq!(vouched(), 0);
    let owner = store.take_run(&run).await.expect("taken");
    let kept = store.keep_component(&owner, b"one".as_slice().into()).await;
    assert_eq!((kept, vouched()), (Ok(Digest::of(b"one")), 1));
}

#[tokio::test]
async fn a_removed_run_whose_number_is_damaged_takes_no_other_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (first, second) = (ended_run(&store, b"one").await, ended_run(&store, b"two").await);
    let runs = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&runs, &second)).await, Ok(Removal::Removed));
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE pruned SET no = 1", []).expect("changed");
    store.sweep_rows().await.expect("swept");
    store.sweep_files().await.expect("swept");
    assert_eq!(store.whole(&first), Ok(()));
    assert_eq!(store.component(&Digest::of(b"one")), Ok(b"one".to_vec()));
    let problems = store.integrity().expect("looked").problems;
    let words = format!("the removed run \"{second}\" has the number of one that is there");
    assert!(problems.iter().any(|problem| problem.what == words), "{problems:?}");
}

#[tokio::test]
async fn no_component_is_swept_while_one_that_a_run_uses_is_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = ended_run(&store, b"one").await;
    let (one, others) = (Digest::of(b"one"), Digest::of(b"nobody's"));
    std::fs::write(store.component_path(&others), b"nobody's").expect("written");
    let mut bytes = *one.as_bytes();
    bytes[7] ^= 1;
    let flipped = Digest::from_bytes(bytes);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let name = |digest: &Digest| {
        conn.execute("UPDATE component SET digest = ?1", [digest.as_bytes()])
            .expect("changed");
    };
    let told = || {
        let problems = store.integrity().expect("looked").problems;
        let told = problems.into_iter().map(|problem| (problem.run, problem.what));
        told.collect::<Vec<_>>()
    };
    name(&flipped);
    let swept = store.sweep_files().await.expect("swept");
    assert_eq!((swept.components, swept.missing), (0, Some(flipped)));
    let words = format!("the component {} is missing", flipped.short());
    assert_eq!(told(), [(Some(run), words)]);
    // One that says that it is another run's is used all the same.
    name(&one);
    conn.execute("UPDATE component SET run = run + 64", [])
        .expect("changed");
    let swept = store.sweep_files().await.expect("swept");
    assert_eq!((swept.components, swept.missing), (1, None));
    assert_eq!(store.component(&one), Ok(b"one".to_vec()));
    assert!(matches!(store.component(&others), Err(StoreError::NoComponent { .. })));
    let words = format!("the component {} is used by no run that is there", one.short());
    assert_eq!(told(), [(None, words)]);
}

#[tokio::test]
async fn a_row_that_strayed_to_the_number_of_a_new_run_is_not_in_its_way() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = answered(&store).await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE session SET run = run + 1", []).expect("changed");
    let missing = StoreError::damaged(&run, "the row of session 0 is missing");
    assert_eq!(store.whole(&run), Err(missing));
    let next = answered(&store).await;
    assert_eq!(store.whole(&next), Ok(()));
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert!(!loss.is_any(), "{loss}");
    assert!(store.integrity().expect("looked").problems.is_empty());
    store.take_run(&run).await.expect("taken");
}

#[tokio::test]
async fn a_run_whose_epoch_is_damaged_is_told_as_damaged_and_nothing_sweeps_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = answered(&store).await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let set = |epoch: i64| {
        conn.execute("UPDATE run SET epoch = ?1", [epoch]).expect("changed");
    };
    let lock = dir.path().join(format!("runs/{run}.lock"));
    let damaged = StoreError::damaged(&run, "its row");
    for epoch in [0, -1, 1 << 32, 0x5a5a_5a5a_5a5b] {
        set(epoch);
        let old = std::time::SystemTime::now() - Duration::from_secs(61);
        let file = std::fs::File::options().append(true).open(&lock).expect("opens");
        file.set_modified(old).expect("aged");
        store.sweep_copies().await.expect("swept");
        store.sweep_rows().await.expect("swept");
        store.sweep_files().await.expect("swept");
        assert!(lock.exists(), "{epoch}");
        assert_eq!(
            (store.count_runs(), store.find_run(run.as_str())),
            (Ok(1), Ok(run.clone()))
        );
        assert_eq!(store.runs(9).expect("listed")[0].row, Err(damaged.clone()), "{epoch}");
        assert_eq!(store.run(&run), Err(damaged.clone()), "{epoch}");
        assert_eq!(store.unowned(&run), Err(damaged.clone()), "{epoch}");
        assert_eq!(store.take_run(&run).await.err(), Some(damaged.clone()), "{epoch}");
        let problems = store.integrity().expect("looked").problems;
        let told: Vec<_> = problems.iter().map(|p| (p.run.as_ref(), p.what.as_str())).collect();
        assert_eq!(told, [(Some(&run), "its row is damaged")], "{epoch}");
        let runs = store.prunable().expect("read");
        assert!(matches!(runs[0].state, RunState::Damaged(_)), "{:?}", runs[0]);
        let loss = store.accept_loss(&run).await.expect("accepted");
        assert!(!loss.is_any(), "{epoch}: {loss}");
        assert!(store.integrity().expect("looked").problems.is_empty(), "{epoch}");
        store.take_run(&run).await.expect("taken");
    }
    let owner = store.take_run(&run).await.expect("taken");
    set(0);
    let late = store
        .append(&owner, vec![observation(&run, 2)], None, Sync::Commit)
        .await;
    assert_eq!(late, Err(damaged));
    drop(owner);
    let runs = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&runs, &run)).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
    assert_eq!((rows(dir.path()), lock.exists()), (vec![0; 9], false));
}

/// Changes a row of this table as if no column of it had a type.
fn retype(dir: &Path, table: &str, change: &str) {
    let open = || Connection::open(dir.join("hermes.db")).expect("opens");
    let set = |sql: &str| {
        let conn = open();
        conn.execute_batch("PRAGMA writable_schema = ON").expect("set");
        conn.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = ?2", [sql, table])
            .expect("changed");
    };
    let select = "SELECT sql FROM sqlite_schema WHERE name = ?1";
    let strict: String = open()
        .query_row(select, [table], |row| row.get(0))
        .expect("there is such a table");
    set(&strict.replace(") STRICT, ", ") ").replace(") STRICT", ")"));
    open().execute(change, []).expect("changed");
    set(&strict);
}

#[tokio::test]
async fn a_value_of_another_type_is_damage_of_its_run_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, other) = (ended_run(&store, b"one").await, ended_run(&store, b"two").await);
    drop(store);
    let good = copied_in(dir.path());
    let row = "its row";
    let session = "the row of session 0";
    for (table, change, words) in [
        ("run", "UPDATE run SET data = CAST(data AS TEXT) WHERE no = 1", row),
        ("run", "UPDATE run SET sum = 'x' WHERE no = 1", row),
        ("run", "UPDATE run SET epoch = 'x' WHERE no = 1", row),
        (
            "session",
            "UPDATE session SET data = CAST(data AS TEXT) WHERE run = 1",
            session,
        ),
        ("session", "UPDATE session SET sum = 'x' WHERE run = 1", session),
    ] {
        restore(dir.path(), &good);
        retype(dir.path(), table, change);
        let store = open(dir.path());
        let is_told = |error: Option<StoreError>| {
            let told =
                matches!(&error, Some(StoreError::Damaged { run: r, what }) if *r == run && what.contains(words));
            assert!(told, "{change}: {error:?}");
        };
        let mut listed = store.runs(9).expect("listed").into_iter();
        assert!(listed.next().is_some_and(|other| other.row.is_ok()), "{change}");
        let listed = listed.next().expect("it is listed too");
        assert_eq!(listed.id, run.as_str(), "{change}");
        is_told(store.whole(&run).err());
        if table == "run" {
            is_told(listed.row.err());
            is_told(store.take_run(&run).await.err());
        } else {
            is_told(store.sessions(&run).err());
            is_told(store.session(&run.root()).err());
        }
        let problems = store.integrity().expect("looked").problems;
        let of = |run: &RunId| problems.iter().filter(|p| p.run.as_ref() == Some(run)).count();
        assert_eq!((of(&run), of(&other)), (1, 0), "{change}: {problems:?}");
        assert_eq!(store.whole(&other), Ok(()), "{change}");
        store.take_run(&other).await.expect("it can be taken");
    }
}

#[tokio::test]
async fn a_run_that_the_index_hides_is_damaged_and_not_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, other) = (answered(&store).await, answered(&store).await);
    drop(store);
    // As a record of that index begins for the first run: a text of ten bytes, and the number 1.
    let named = [b"\x03\x21\x09".as_slice(), run.as_str().as_bytes()].concat();
    let bad = flipped(&copied_in(dir.path()), INDEX, &named);
    restore(dir.path(), &bad);
    let store = open(dir.path());
    let damaged = StoreError::damaged(&run, hidden::NOT_LED_TO);
    assert_eq!(store.find_run(run.as_str()), Ok(run.clone()));
    assert_eq!(store.run(&run), Err(damaged.clone()));
    assert_eq!(store.run_state(&run), Err(damaged.clone()));
    assert_eq!(store.whole(&run), Err(damaged.clone()));
    assert_eq!(store.take_run(&run).await.err(), Some(damaged.clone()));
    assert_eq!(store.request_cancel(&run, 1).await, Err(damaged.clone()));
    let (lost, all) = (store.lost_runs(), store.runs(9).expect("listed").len());
    assert_eq!((lost, all), (Ok(Vec::new()), 2));
    store.forget_lost(&run).expect("there is nothing to forget");
    assert!(dir.path().join(format!("runs/{run}.lock")).exists());
    let problems = store.integrity().expect("looked").problems;
    let of = |run: &RunId| {
        let of = problems.iter().filter(|p| p.run.as_ref() == Some(run));
        of.map(|p| p.what.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((of(&run), of(&other)), (vec![hidden::NOT_LED_TO], Vec::new()));
    assert_eq!(store.find_run(other.as_str()), Ok(other.clone()));
    store.take_run(&other).await.expect("it can be taken");
    store.index_again(&run).await.expect("made again");
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert!(!loss.is_any(), "{loss}");
    assert!(store.integrity().expect("looked").problems.is_empty());
    store.take_run(&run).await.expect("it can be taken");
}

#[test]
fn no_damaged_bit_makes_a_copy_of_a_run_or_a_run_of_a_copy() {
    let copy = i64::try_from(runs::NOT_WHOLE).expect("it fits");
    for bit in 0..64 {
        let flipped = |epoch: i64| epoch ^ (1_i64 << bit);
        assert!(!runs::is_epoch(flipped(copy)), "bit {bit}");
        let imported = i64::try_from(runs::IMPORTED_EPOCH | runs::VIEWED_EPOCH).expect("it fits");
        for epoch in [1, 2, 77, runs::MENDED_EPOCH, imported | 1] {
            assert_ne!(flipped(epoch), copy, "bit {bit} of {epoch}");
        }
    }
}

#[tokio::test]
async fn a_copy_that_an_earlier_format_left_is_swept() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, copy) = (open(dir.path()), RunId::random());
    let run = answered(&store).await;
    drop(store.begin_copy(RunRow::from(new_run(&copy))).await.expect("begun"));
    drop(store);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute_batch(
        "UPDATE run SET epoch = 0 WHERE no = 2; ALTER TABLE component DROP COLUMN sum; PRAGMA user_version = 4",
    )
    .expect("as it was");
    drop(conn);
    let store = open(dir.path());
    assert_eq!(store.copies(), Ok(vec![(2, copy)]));
    assert_eq!(store.count_runs(), Ok(1));
    store.sweep_copies().await.expect("swept");
    assert_eq!(store.copies(), Ok(Vec::new()));
    store.take_run(&run).await.expect("it is as it was");
}

#[tokio::test]
async fn a_run_is_owned_whatever_its_lock_file_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, other, run) = (open(dir.path()), open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let lock = dir.path().join(format!("runs/{run}.lock"));
    std::fs::write(&lock, "this is no line").expect("written");
    let owned = StoreError::Owned {
        run: run.clone(),
        pid: 0,
        since_ms: 0,
    };
    assert!(
        owned.to_string().contains("is owned by another process; end"),
        "{owned}"
    );
    assert_eq!(other.owned(&run), Ok(Some(owned.clone())));
    assert_eq!(other.unowned(&run), Err(owned));
    drop(owner);
    assert_eq!(other.owned(&run), Ok(None));
    // What can't be looked at is not taken to be free.
    std::fs::remove_file(&lock).expect("removed");
    assert_eq!(other.owned(&run), Ok(None));
    std::os::unix::fs::symlink("elsewhere", &lock).expect("made");
    let refused = other.owned(&run);
    assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_run_that_was_taken_or_is_owned_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, other) = (open(dir.path()), open(dir.path()));
    let run = ended_run(&store, b"one").await;
    let seen = store.prunable().expect("read");
    let owner = other.take_run(&run).await.expect("taken");
    assert_eq!(store.remove_run(of(&seen, &run)).await, Ok(Removal::Owned));
    assert_eq!(of(&store.prunable().expect("read"), &run).state, RunState::Owned);
    drop(owner);
    assert_eq!(store.remove_run(of(&seen, &run)).await, Ok(Removal::Taken));
    other.take_run(&run).await.expect("it is as it was");
}

#[tokio::test]
async fn a_copy_that_became_whole_is_not_swept_nor_a_run_with_the_number_of_one_that_is_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, other) = (open(dir.path()), open(dir.path()));
    let [whole, dead] = [RunId::random(), RunId::random()];
    let copy = async |run: &RunId| {
        let owner = other.begin_copy(RunRow::from(new_run(run))).await.expect("begun");
        let records = vec![session(run), start(&run.root())];
        other
            .append(&owner, records, None, Sync::Commit)
            .await
            .expect("written");
        owner
    };
    let owner = copy(&whole).await;
    drop(copy(&dead).await);
    store.sweep_copy(1, &whole).await.expect("its process is at it");
    let found = store.copies().expect("read");
    assert_eq!(found, [(1, whole.clone()), (2, dead.clone())]);
    // Between the look and the sweep one is finished; the other is swept by another process, and its number given to a run.
    let finished = other.finish_copy(owner, RunRow::from(new_run(&whole))).await;
    drop(finished.expect("finished"));
    other.sweep_copies().await.expect("swept");
    assert_eq!(other.copies(), Ok(Vec::new()));
    let run = ended_run(&other, b"one").await;
    assert_eq!(other.run_number(&run).expect("read").0, 2);
    for (number, copy) in found {
        store.sweep_copy(number, &copy).await.expect("swept");
    }
    store.whole(&whole).expect("it is there");
    store.whole(&run).expect("it is there");
    assert_eq!(rows(dir.path()), [2, 2, 6, 1, 1, 1, 1, 0, 0]);
    let locks = std::fs::read_dir(dir.path().join("runs")).expect("read").count();
    assert_eq!(locks, 2, "a look at what is gone leaves no file");
}

#[tokio::test]
async fn what_crashes_left_of_files_is_swept_when_it_is_old() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = RunId::random();
    let lock = dir.path().join(format!("runs/{run}.lock"));
    let draft = dir.path().join("components/x.1.0.draft");
    for path in [&lock, &draft] {
        std::fs::write(path, "").expect("written");
    }
    store.sweep_files().await.expect("swept");
    assert!(
        lock.exists() && draft.exists(),
        "somebody may be about to go on with them"
    );
    let old = std::time::SystemTime::now() - Duration::from_secs(61);
    for path in [&lock, &draft] {
        let file = std::fs::File::options().append(true).open(path).expect("opens");
        file.set_modified(old).expect("aged");
    }
    store.sweep_files().await.expect("swept");
    assert!(!lock.exists() && !draft.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_comes_into_use_is_not_swept_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, other) = (open(dir.path()), open(dir.path()));
    let sweeping = {
        let other = other.clone();
        tokio::spawn(async move {
            let mut swept = 0;
            for _ in 0..300 {
                swept += other.sweep_files().await.expect("swept").components;
            }
            swept
        })
    };
    let mut kept = BTreeSet::new();
    for n in 0..60_u8 {
        let run = RunId::random();
        let owner = store.create_run(new_run(&run)).await.expect("made");
        kept.insert(store.keep_component(&owner, vec![n].into()).await.expect("kept"));
    }
    sweeping.await.expect("no panic");
    for digest in kept {
        store.component(&digest).expect("it is there");
    }
}

#[tokio::test]
async fn free_pages_go_back_to_the_file_system() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    for _ in 0..20 {
        ended_run(&store, b"one").await;
    }
    let kept = ended_run(&store, b"one").await;
    let before = store.size().expect("read");
    for run in store.prunable().expect("read").iter().filter(|run| run.run != kept) {
        store.remove_run(run).await.expect("removed");
    }
    store.sweep_rows().await.expect("swept");
    let free = store.size().expect("read").free;
    assert!(free > 2_000_000, "{free}");
    store.give_back().await.expect("given back");
    let after = store.size().expect("read");
    assert_eq!(after.free, 0);
    assert!(before.files - after.files > 2_000_000, "{before:?}, {after:?}");
    assert!(store.integrity().expect("looked").problems.is_empty());
}

#[tokio::test]
async fn what_lies_behind_damage_is_cut_and_the_rows_follow() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let child_id = SessionId {
        run: run.clone(),
        number: 1,
    };
    let records = vec![
        session(&run),
        start(&run.root()),
        update(&run, Transition::Active { attempt: 1 }),
        observation(&run, 1),
        Record::Session(child(&child_id)),
        start(&child_id),
        child_intent(&run),
        observation(&run, 2),
        update(&run, ended()),
    ];
    store
        .append(&owner, records, None, Sync::Durable)
        .await
        .expect("written");
    let update = RunUpdate {
        status: Some(Status::Completed),
        exit: Some("returned".into()),
        answer: Some("an answer".into()),
        ended_ms: Some(7),
        ..RunUpdate::default()
    };
    store.update_run(&owner, update).await.expect("written");
    drop(owner);
    let good = std::fs::read(dir.path().join("hermes.db")).expect("read");
    assert!(!good.is_empty());
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let spoil = |seq: u64| {
        let id = key::row_id(1, seq);
        conn.execute(
            "UPDATE journal SET data = CAST(data || x'00' AS BLOB) WHERE id = ?1",
            [id],
        )
        .expect("changed");
    };
    // Nothing is lost yet, and so nothing is given up.
    let loss = |kept, cut, end| {
        Ok(Loss {
            kept,
            cut,
            end,
            ..Loss::default()
        })
    };
    let before = store.run(&run).expect("read");
    assert_eq!(store.accept_loss(&run).await, loss(9, 0, false));
    assert_eq!(store.run(&run), Ok(before));
    spoil(8);
    assert_eq!(store.accept_loss(&run).await, loss(7, 2, true), "its end among them");
    let row = store.run(&run).expect("read");
    assert_eq!(
        (row.status, row.exit, row.answer, row.ended_ms),
        (Status::Interrupted, None, None, None)
    );
    let sessions = store.sessions(&run).expect("read");
    assert_eq!(
        (sessions.len(), sessions[0].status, sessions[0].ended_ms),
        (2, Status::Active, None)
    );
    // Between a session, its start and the operation that it is nothing can go on.
    spoil(7);
    assert_eq!(store.accept_loss(&run).await, loss(4, 3, false));
    assert_eq!(store.sessions(&run).expect("read").len(), 1);
    store.take_run(&run).await.expect("taken");
    assert!(store.integrity().expect("looked").problems.is_empty());
    spoil(2);
    let refused = store.accept_loss(&run).await;
    assert!(
        matches!(&refused, Err(StoreError::NothingLeft { what, .. }) if what.contains("record 2")),
        "{refused:?}"
    );
    assert_eq!(store.integrity().expect("looked").problems.len(), 1, "it is as it was");
}

#[tokio::test]
async fn what_is_cut_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let child_id = SessionId {
        run: run.clone(),
        number: 1,
    };
    let Record::Start(mut again) = start(&run.root()) else {
        unreachable!("it is one")
    };
    again.attempt = 2;
    let inside = Scope::ROOT.child(7);
    let in_call = [intent(&run, 1), outcome(&run, 1), told(&run, 1, 1)];
    let in_call = in_call.map(|record| within(record, 2, &inside));
    let steps: [Vec<Record>; 6] = [
        vec![session(&run), start(&run.root())],
        vec![update(&run, Transition::Active { attempt: 1 })],
        vec![intent(&run, 1), outcome(&run, 1), told(&run, 1, 1)],
        vec![Record::Start(again), update(&run, Transition::Active { attempt: 2 })],
        vec![Record::Session(child(&child_id)), start(&child_id), child_intent(&run)],
        in_call.to_vec(),
    ];
    for records in steps.clone() {
        store
            .append(&owner, records, None, Sync::Durable)
            .await
            .expect("written");
    }
    drop((owner, store));
    let whole = copied_in(dir.path());
    let all: u64 = steps.iter().map(|step| step.len() as u64).sum();
    let mut before = 0;
    for step in steps.iter().map(|step| step.len() as u64) {
        // Without its first step there is no run.
        for damaged in before + 1..=before + step * u64::from(before > 0) {
            restore(dir.path(), &whole);
            let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
            let spoil = "UPDATE journal SET data = CAST(data || x'00' AS BLOB) WHERE id = ?1";
            conn.execute(spoil, [key::row_id(1, damaged)]).expect("changed");
            drop(conn);
            let store = open(dir.path());
            let loss = store.accept_loss(&run).await.expect("accepted");
            assert_eq!((loss.kept, loss.cut), (before, all - before), "record {damaged}");
            assert!(store.integrity().expect("looked").problems.is_empty());
        }
        before += step;
    }
}

#[tokio::test]
async fn a_request_goes_with_its_body() {
    // A write's is its arguments.
    for kind in [OpKind::Completion, OpKind::Write] {
        goes_with_its_body(kind).await;
    }
}

async fn goes_with_its_body(kind: OpKind) {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let body = |text: &[u8]| Record::Body(Digest::of(text), text.to_vec());
    let asks = |op: u32, text: &[u8]| {
        let Record::Intent(mut intent) = intent(&run, op) else {
            unreachable!("it is one")
        };
        (intent.kind, intent.request) = (kind, vec![Digest::of(text)]);
        Record::Intent(intent)
    };
    let records = vec![
        session(&run),
        start(&run.root()),
        body(b"one"),
        asks(1, b"one"),
        told(&run, 1, 1),
        body(b"two"),
        asks(2, b"two"),
        told(&run, 2, 2),
    ];
    store
        .append(&owner, records, None, Sync::Durable)
        .await
        .expect("written");
    drop(owner);
    let found = store.integrity().expect("looked");
    assert_eq!((found.records, found.bodies, found.problems.len()), (6, 2, 0));
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute(
        "UPDATE body SET data = x'00' WHERE digest = ?1",
        [Digest::of(b"two").as_bytes()],
    )
    .expect("changed");
    let problems = store.integrity().expect("looked").problems;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].run, Some(run.clone()));
    assert!(problems[0].what.contains("record 5 refers to the body"), "{problems:?}");
    let walked = store.walk(&run, Look::Bodies, |_, _| Ok(()));
    assert!(matches!(walked, Err(StoreError::Damaged { .. })), "{walked:?}");
    assert_eq!(store.walk(&run, Look::Records, |_, _| Ok(())), Ok(()));
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert_eq!((loss.kept, loss.cut), (4, 2));
    assert!(store.integrity().expect("looked").problems.is_empty());
    // Whoever asks the same again refers to a body that is whole.
    let owner = store.take_run(&run).await.expect("taken");
    let again = vec![body(b"two"), asks(2, b"two")];
    store.append(&owner, again, None, Sync::Durable).await.expect("written");
    assert_eq!(store.body(&run, &Digest::of(b"two")), Ok(b"two".to_vec()));
    assert_eq!(store.whole(&run), Ok(()));
    // One that is damaged meanwhile is written again where it comes by.
    conn.execute("UPDATE body SET data = x'00'", []).expect("changed");
    let third = vec![body(b"one"), body(b"two"), asks(3, b"two")];
    store.append(&owner, third, None, Sync::Durable).await.expect("written");
    assert_eq!(store.whole(&run), Ok(()));
}

#[tokio::test]
async fn the_doctor_names_what_each_damage_belongs_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, other) = (ended_run(&store, b"one").await, ended_run(&store, b"two").await);
    store
        .write_home(put(None, "h", b"home", None), "person", 1)
        .await
        .expect("written");
    store.request_cancel(&run, 5).await.expect("written");
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let spoilt = |change: &str, undo: &str| {
        conn.execute(change, []).expect("changed");
        let problems = store.integrity().expect("looked").problems;
        conn.execute(undo, []).expect("changed back");
        problems.into_iter().map(|p| (p.run, p.what)).collect::<Vec<_>>()
    };
    let row = Some(run.clone());
    for (change, undo, run, words) in [
        (
            "UPDATE run SET sum = sum + 1 WHERE no = 1",
            "UPDATE run SET sum = sum - 1 WHERE no = 1",
            &row,
            "its row",
        ),
        (
            "UPDATE cancel_request SET at_ms = 6",
            "UPDATE cancel_request SET at_ms = 5",
            &row,
            "its row",
        ),
        (
            "UPDATE session SET sum = sum + 1 WHERE run = 1",
            "UPDATE session SET sum = sum - 1 WHERE run = 1",
            &row,
            "the row of session 0 is damaged",
        ),
        (
            "UPDATE session SET run = run + 64 WHERE run = 1",
            "UPDATE session SET run = run - 64 WHERE run = 65",
            &row,
            "the row of session 0 is missing",
        ),
        (
            "UPDATE component SET run = run + 64 WHERE run = 1",
            "UPDATE component SET run = run - 64 WHERE run = 65",
            &None,
            "is used by no run that is there",
        ),
        (
            "UPDATE entry SET at_ms = at_ms + 1 WHERE key = x'6b' AND space = 1",
            "UPDATE entry SET at_ms = at_ms - 1 WHERE key = x'6b' AND space = 1",
            &row,
            "the entry \"k\" of the space \"notes\"",
        ),
        (
            "UPDATE entry SET at_ms = at_ms + 1 WHERE key = x'68'",
            "UPDATE entry SET at_ms = at_ms - 1 WHERE key = x'68'",
            &None,
            "the entry \"h\"",
        ),
        (
            "UPDATE space SET bytes = bytes + 1 WHERE run = 1",
            "UPDATE space SET bytes = bytes - 1 WHERE run = 1",
            &row,
            "the row of the space \"notes\"",
        ),
        (
            "UPDATE space SET name = 'nodes' WHERE run = 0",
            "UPDATE space SET name = 'notes' WHERE run = 0",
            &None,
            "the row of the space \"nodes\"",
        ),
    ] {
        let problems = spoilt(change, undo);
        assert_eq!(problems.len(), 1, "{change}: {problems:?}");
        assert_eq!(&problems[0].0, run, "{change}");
        assert!(problems[0].1.contains(words), "{change}: {problems:?}");
    }
    // It says that it is another's, and its checksum whose it was.
    let strayed = spoilt(
        "UPDATE space SET run = 64 WHERE run = 1",
        "UPDATE space SET run = 1 WHERE run = 64",
    );
    let told = [
        (row, "the row of the space \"notes\" is damaged".to_owned()),
        (None, "the space \"notes\" belongs to no run".to_owned()),
    ];
    assert_eq!(strayed, told);
    assert!(store.integrity().expect("looked").problems.is_empty());
    let listed = store.runs(10).expect("listed");
    assert!(listed.iter().all(|run| run.row.is_ok()));
    conn.execute("UPDATE run SET sum = sum + 1 WHERE no = 1", [])
        .expect("changed");
    let listed = store.runs(10).expect("listed");
    assert_eq!(listed[0].id, other.as_str());
    assert!(listed[0].row.is_ok());
    assert!(matches!(&listed[1].row, Err(StoreError::Damaged { run: r, .. }) if *r == run));
}

#[tokio::test]
async fn a_copy_has_anchors_that_fit_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), ended_run(&open(dir.path()), b"one").await);
    let owner = store.take_run(&run).await.expect("taken");
    let late = StreamId {
        attempt: 2,
        ..stream(&run)
    };
    let seen = |seq: u64| {
        let Record::Observation(mut seen) = observation(&run, seq) else {
            unreachable!("it is one")
        };
        seen.stream = late.clone();
        vec![Record::Observation(seen)]
    };
    store
        .append(&owner, seen(1), None, Sync::Commit)
        .await
        .expect("written");
    let place = tempfile::tempdir().expect("a folder");
    let copied = store
        .backup(&place.path().join("copy"), &CancellationToken::new())
        .expect("copied");
    assert_eq!((copied.runs, copied.components), (1, 1));
    store
        .append(&owner, seen(2), None, Sync::Durable)
        .await
        .expect("written");
    let copy = open(&place.path().join("copy"));
    assert_eq!(copy.run_state(&run), Ok(RunState::Free));
    assert_eq!(copy.observations(&late).expect("read").len(), 1);
    assert!(copy.integrity().expect("looked").problems.is_empty());
    let taken = copy.take_run(&run).await.expect("taken");
    copy.append(&taken, seen(2), None, Sync::Durable)
        .await
        .expect("written");
    // A copy that is given up leaves nothing.
    let stop = CancellationToken::new();
    stop.cancel();
    let given_up = store.backup(&place.path().join("other"), &stop);
    assert_eq!(given_up, Err(StoreError::GivenUp));
    assert_eq!(std::fs::read_dir(place.path()).expect("read").count(), 1);
}

#[tokio::test]
async fn a_copy_keeps_components_from_being_swept_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    std::fs::write(store.component_path(&Digest::of(b"x")), b"x").expect("written");
    let held = store
        .0
        .files
        .hold_components(rustix::fs::FlockOperation::NonBlockingLockShared)
        .expect("opens");
    assert!(store.sweep_files().await.expect("swept").in_use);
    assert!(store.component(&Digest::of(b"x")).is_ok());
    drop(held);
    assert_eq!(store.sweep_files().await.expect("swept").components, 1);
}

#[tokio::test]
async fn new_effects_leave_the_reserve_alone_and_outcomes_may_have_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let active = update(&run, Transition::Active { attempt: 1 });
    let begun = vec![session(&run), start(&run.root()), active, intent(&run, 1)];
    store.append(&owner, begun, None, Sync::Commit).await.expect("written");
    drop((owner, store));
    let mut options = StoreOptions::new(&Limits::default(), Access::Write);
    options.reserve = u64::MAX;
    let store = Store::open(dir.path(), options).expect("opens");
    let owner = store.take_run(&run).await.expect("taken");
    let full = |result: Result<Appended, StoreError>| matches!(result, Err(StoreError::Reserve { .. }));
    assert!(full(
        store.append(&owner, vec![intent(&run, 2)], None, Sync::Commit).await
    ));
    let write = of_op(&run, 3, put(Some(&run), "k", b"v", None));
    assert!(full(
        store.append(&owner, vec![outcome(&run, 3)], write, Sync::Commit).await
    ));
    let ends = vec![outcome(&run, 1), observation(&run, 1), update(&run, ended())];
    store.append(&owner, ends, None, Sync::Durable).await.expect("written");
    let refused = store.create_run(new_run(&RunId::random())).await;
    assert!(matches!(refused, Err(StoreError::Reserve { .. })));
    assert_eq!(store.operations(&stream(&run)).expect("read").len(), 1);
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

/// The entries `first` and `second` are told or refused, and never said not to be there.
#[track_caller]
fn hides_nothing(store: &Store, space: &SpaceId, what: &str) {
    for key in ["first", "second"] {
        let got = store.get(space, key);
        assert!(!matches!(got, Ok(None)), "{what}: get {key}");
    }
    if let Ok(keys) = store.keys(space, "", None, 9) {
        assert_eq!(keys, ["first", "second"], "{what}: keys");
    }
    if let Ok(changes) = store.changes(space, "", 0, 9) {
        let changes: Vec<_> = changes.iter().map(|c| (c.key.as_str(), c.deleted)).collect();
        assert_eq!(changes, [("first", false), ("second", false)], "{what}: changes");
    }
}

/// Ways to damage the entries or the row of a space, each by its name.
fn damages(database: &[u8], dir: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let mut damages = vec![
        ("the key in the table", flipped(database, TABLE, b"first")),
        ("the key in the index", flipped(database, INDEX, b"first")),
        ("the space's name in the index", flipped(database, INDEX, b"notes")),
        ("the space's name in the table", flipped(database, TABLE, b"notes")),
    ];
    for sql in [
        "UPDATE entry SET deleted = 1",
        "UPDATE entry SET key = x'00' WHERE version = 1",
        "UPDATE entry SET version = version + 64",
        "UPDATE entry SET version = version - 64",
        "UPDATE entry SET space = space + 64",
        "DELETE FROM entry WHERE version = 2",
        "UPDATE space SET name = 'other'",
        "UPDATE space SET run = run + 64",
        "UPDATE space SET version = 0, keys = 0",
    ] {
        let conn = Connection::open(dir.join("hermes.db")).expect("opens");
        conn.execute(sql, []).expect("changed");
        drop(conn);
        damages.push((sql, copied_in(dir)));
        restore(dir, database);
    }
    damages
}

fn restore(dir: &Path, database: &[u8]) {
    for more in ["hermes.db-wal", "hermes.db-shm"] {
        let _ = std::fs::remove_file(dir.join(more));
    }
    std::fs::write(dir.join("hermes.db"), database).expect("written");
}

#[tokio::test]
async fn damage_to_a_space_is_never_read_as_an_absence() {
    for home in [true, false] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        let run = answered(&store).await;
        let of = (!home).then_some(&run);
        let owner = store.take_run(&run).await.expect("taken");
        for (op, key) in [(2, "first"), (3, "second")] {
            let records = vec![intent(&run, op), outcome(&run, op), told(&run, op.into(), op)];
            let write = put(of, key, b"a value", None);
            store
                .append(&owner, records, of_op(&run, op, write), Sync::Durable)
                .await
                .expect("written");
        }
        drop((owner, store));
        let space = space(of);
        let whole = copied_in(dir.path());
        hides_nothing(&open(dir.path()), &space, "nothing");
        for (what, bad) in damages(&whole, dir.path()) {
            restore(dir.path(), &bad);
            hides_nothing(&open(dir.path()), &space, what);
            // Each question by itself: the first of a process must be as careful as the others.
            let keys = open(dir.path()).keys(&space, "", None, 9);
            assert!(
                keys.as_ref().is_ok_and(|keys| keys == &["first", "second"]) || keys.is_err(),
                "{what}: {keys:?}"
            );
            let changes = open(dir.path()).changes(&space, "", 0, 9);
            assert!(
                changes
                    .as_ref()
                    .is_ok_and(|changes| changes.iter().filter(|c| !c.deleted).count() == 2)
                    || changes.is_err(),
                "{what}: {changes:?}"
            );
            let entries = open(dir.path()).stored_entries(&run, None, 9);
            assert!(home || entries.is_err(), "{what}: {entries:?}");
            let store = open(dir.path());
            if home {
                let wrote = store.write_home(put(None, "first", b"x", Some(0)), "person", 1).await;
                assert!(
                    matches!(wrote, Err(_) | Ok(EffectResult::Conflict(1))),
                    "{what}: {wrote:?}"
                );
            } else {
                let taken = store.take_run(&run).await;
                assert!(matches!(taken, Err(StoreError::Damaged { .. })), "{what}: {taken:?}");
                assert!(!store.integrity().expect("looked").problems.is_empty(), "{what}");
                // With its loss accepted the run goes on, and with it all that looks at its space.
                if !what.contains("UPDATE space SET") {
                    store.accept_loss(&run).await.expect(what);
                    assert_eq!(store.whole(&run), Ok(()), "{what}");
                    let owner = store.take_run(&run).await.expect(what);
                    let records = vec![intent(&run, 4), outcome(&run, 4)];
                    let write = of_op(&run, 4, put(Some(&run), "third", b"a value", None));
                    let wrote = store.append(&owner, records, write, Sync::Durable).await;
                    wrote.expect(what);
                    let keys = store.keys(&space, "", None, 9).expect(what);
                    assert!(keys.contains(&"third".to_owned()), "{what}: {keys:?}");
                }
            }
            drop(store);
            restore(dir.path(), &whole);
        }
    }
}

#[tokio::test]
async fn an_entry_that_is_damaged_is_mended_by_writing_or_removing_it_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let write = async |effect| store.write_home(effect, "person", 1).await;
    for key in ["first", "second"] {
        write(put(None, key, b"a value", None)).await.expect("written");
    }
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let remove = Effect::Delete {
        space: space(None),
        key: "first".into(),
        if_version: None,
    };
    for (anew, damage) in [
        (put(None, "first", b"anew", None), "data = x'00'"),
        (put(None, "first", b"anew", None), "deleted = 1"),
        (remove, "media_type = 'much longer than it was, by far and far'"),
    ] {
        conn.execute(
            &format!("UPDATE entry SET {damage} WHERE key = CAST('first' AS BLOB)"),
            [],
        )
        .expect("changed");
        let got = open(dir.path()).get(&space(None), "first");
        let names_it = |error: &StoreError| error.to_string().contains("the entry \"first\" of the space \"notes\"");
        assert!(got.as_ref().is_err_and(names_it), "{damage}: {got:?}");
        let got = open(dir.path()).get(&space(None), "second");
        assert!(
            matches!(got, Ok(Some(_))),
            "{damage}: another entry is as it was: {got:?}"
        );
        let compared = write(put(None, "first", b"x", Some(1))).await;
        assert!(compared.as_ref().is_err_and(names_it), "{damage}: {compared:?}");
        let removed = matches!(anew, Effect::Delete { .. });
        write(anew).await.expect(damage);
        let store = open(dir.path());
        assert!(store.integrity().expect("looked").problems.is_empty(), "{damage}");
        let got = store.get(&space(None), "first").expect(damage);
        assert_eq!(
            got.map(|entry| entry.data),
            (!removed).then(|| b"anew".to_vec()),
            "{damage}"
        );
    }
}

#[tokio::test]
async fn what_a_space_has_lost_is_counted_and_its_versions_are_given_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = answered(&store).await;
    wrote(&store, &run, 2..6).await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    // Of four, one is gone, and the newest is damaged.
    conn.execute("DELETE FROM entry WHERE version = 2", []).expect("gone");
    conn.execute("UPDATE entry SET data = x'00' WHERE version = 4", [])
        .expect("changed");
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert_eq!((loss.entries, loss.cut), (2, 0));
    let owner = store.take_run(&run).await.expect("taken");
    let records = vec![intent(&run, 6), outcome(&run, 6)];
    let write = of_op(&run, 6, put(Some(&run), "k6", b"v", None));
    let appended = store.append(&owner, records, write, Sync::Durable).await;
    assert_eq!(
        appended.expect("written").effect,
        Some(EffectResult::Written(5)),
        "a watcher that has seen 4 would miss another 4"
    );
    drop(owner);
    assert_eq!(store.whole(&run), Ok(()));
    store.take_run(&run).await.expect("taken");
}

#[tokio::test]
async fn a_format_that_a_newer_host_brings_is_refused_by_stores_that_are_open() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    store
        .append(&owner, vec![session(&run), start(&run.root())], None, Sync::Durable)
        .await
        .expect("written");
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.pragma_update(None, "user_version", schema::VERSION + 1)
        .expect("newer");
    let (before, line) = (
        rows(dir.path()),
        std::fs::read(store.0.files.lock_path(&run)).expect("read"),
    );
    let newer = |error: StoreError| {
        let is = matches!(&error, StoreError::FormatTooNew { found, known, .. } if (*found, *known) == (schema::VERSION + 1, schema::VERSION));
        assert!(is, "{error:?}");
    };
    for sync in [Sync::Durable, Sync::Commit] {
        let appended = store.append(&owner, vec![observation(&run, 1)], None, sync).await;
        newer(appended.expect_err("refused"));
    }
    let written = store.write_home(put(None, "k", b"v", None), "person", 1).await;
    newer(written.expect_err("refused"));
    newer(store.create_run(new_run(&RunId::random())).await.expect_err("refused"));
    newer(store.runs(9).expect_err("refused"));
    newer(store.observations(&stream(&run)).expect_err("refused"));
    assert_eq!(rows(dir.path()), before, "nothing is touched");
    assert_eq!(std::fs::read(store.0.files.lock_path(&run)).expect("read"), line);
    // The host that knows the format goes on with it.
    conn.pragma_update(None, "user_version", schema::VERSION)
        .expect("as it was");
    store
        .append(&owner, vec![observation(&run, 1)], None, Sync::Durable)
        .await
        .expect("written");
}

#[test]
fn an_upgrade_that_comes_late_takes_no_newer_format_back() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(open(dir.path()));
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.pragma_update(None, "user_version", schema::VERSION + 1)
        .expect("newer");
    let late = schema::upgrade(&conn, schema::VERSION + 1);
    let version = schema::version(&conn).expect("read");
    assert_eq!((late.is_ok(), version), (true, schema::VERSION + 1));
}

#[tokio::test]
async fn a_log_that_nobody_reads_begins_anew_from_its_1000th_page_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = StoreOptions::new(&Limits::default(), Access::Write);
    options.durability = Durability::Process;
    let store = Store::open(dir.path(), options).expect("opens");
    let log = dir.path().join("hermes.db-wal");
    let mut longest = 0;
    for n in 0..60 {
        let write = put(None, &format!("k{}", n % 4), &vec![n as u8; 400_000], None);
        store.write_home(write, "person", 1).await.expect("written");
        longest = longest.max(log.metadata().expect("there").len());
    }
    // A write has about a hundred pages.
    assert!((1000 * 4096..1300 * 4096).contains(&longest), "{longest}");
}

#[tokio::test]
async fn a_full_log_is_emptied_behind_the_backs_of_those_who_wait() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = StoreOptions::new(&Limits::default(), Access::Write);
    options.durability = Durability::Process;
    let store = Store::open(dir.path(), options).expect("opens");
    let log = dir.path().join("hermes.db-wal");
    let mut longest = Vec::new();
    for _ in 0..5 {
        // Somebody who reads for long: the log can't be cut meanwhile.
        let reader = Connection::open(dir.path().join("hermes.db")).expect("opens");
        reader.execute_batch("BEGIN").expect("begun");
        reader
            .query_row("SELECT count(*) FROM run", [], |row| row.get::<_, i64>(0))
            .expect("read");
        let mut round = Duration::ZERO;
        for n in 0..128 {
            let began = Instant::now();
            store
                .write_home(
                    put(None, &format!("k{}", n % 4), &vec![n as u8; 400_000], None),
                    "person",
                    1,
                )
                .await
                .expect("written");
            // The next one may meet the log being cut; the one that filled it may not wait for that.
            if n == 127 {
                round = began.elapsed();
            }
        }
        assert!(log.metadata().expect("there").len() > 32 << 20);
        longest.push(round);
    }
    assert!(longest.iter().min() < Some(&Duration::from_millis(200)), "{longest:?}");
}

#[test]
fn statements_are_compiled_once() {
    use rusqlite::StatementStatus;
    let dir = tempfile::tempdir().expect("a folder");
    drop(open(dir.path()));
    let compiled_again = |conn: &Connection| {
        let select = "SELECT id, n FROM journal WHERE run = ?1 AND session = ?2 AND kind = ?3 AND id > ?4 ORDER BY id";
        for n in 1..4 {
            let mut select = conn.prepare_cached(select).expect("a statement");
            assert!(!select.exists((n, n, n, n)).expect("read"));
        }
        conn.prepare_cached(select)
            .expect("a statement")
            .get_status(StatementStatus::RePrepare)
    };
    let files = Files {
        dir: dir.path().to_path_buf(),
    };
    for conn in [files.connect(), files.connect_reader()] {
        assert_eq!(compiled_again(&conn.expect("opens")), 0);
    }
    let plain = Connection::open(files.database()).expect("opens");
    assert!(compiled_again(&plain) > 0, "there would be nothing to set");
}
