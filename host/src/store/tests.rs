//! The store through its face: real files, several stores on one folder, processes that die.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    assert_eq!(
        store.integrity().expect("looked"),
        Integrity {
            records: 10,
            problems: vec![]
        }
    );
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

#[tokio::test]
async fn an_effect_and_its_outcome_are_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    for (op, expected) in [(1, EffectResult::Written(1)), (2, EffectResult::Conflict(1))] {
        let records = vec![intent(&run, op), outcome(&run, op)];
        let effect = put(Some(&run), "k", b"v", Some(0));
        let done = store
            .append(&owner, records, Some(effect), Sync::Durable)
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
        .append(&owner, vec![observation(&run, 1)], None, Sync::Durable)
        .await
        .expect("written");
    let copy = dir.path().join("yesterday.db");
    store.backup(&copy).expect("copied");
    store
        .append(&owner, vec![observation(&run, 2)], None, Sync::Durable)
        .await
        .expect("written");
    drop((owner, store));
    std::fs::rename(copy, dir.path().join("hermes.db")).expect("put back");
    let _ = std::fs::remove_file(dir.path().join("hermes.db-wal"));
    let _ = std::fs::remove_file(dir.path().join("hermes.db-shm"));
    let store = open(dir.path());
    let damaged = |e: &StoreError| matches!(e, StoreError::Damaged { .. });
    assert!(store.take_run(&run).await.is_err_and(|e| damaged(&e)));
    assert!(store.observations(&stream(&run)).is_err_and(|e| damaged(&e)));
    assert_eq!(store.integrity().expect("looked").problems.len(), 1);
    store.accept_loss(&run).expect("accepted");
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
    assert_eq!(
        store.integrity().expect("looked"),
        Integrity {
            records: 64 * 20,
            problems: vec![]
        }
    );
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
                && store.journal_size(&run.id.root()).expect("read").records > 40
            {
                break run.id.clone();
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
            known: 1,
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
    let run = RunId::random();
    let owner = store.create_run(new_run(&run)).await.expect("made");
    for n in 1.. {
        let records = vec![intent(&run, n), observation(&run, u64::from(n))];
        let sync = if n % 3 == 0 { Sync::Durable } else { Sync::Commit };
        store.append(&owner, records, None, sync).await.expect("written");
    }
}

/// Figures for people: `cargo test --release store::tests::figures -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, asserts nothing"]
async fn figures() {
    use std::io::Write as _;
    let dir = tempfile::tempdir_in(std::env::temp_dir()).expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    let owner = store.create_run(new_run(&run)).await.expect("made");
    let mut file = std::fs::File::create(dir.path().join("raw")).expect("made");
    let (mut raw, mut durable, mut commit) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=300 {
        let at = Instant::now();
        file.write_all(&[1; 300])
            .and_then(|()| file.sync_data())
            .expect("written");
        raw.push(at.elapsed());
        let at = Instant::now();
        store
            .append(&owner, vec![observation(&run, 2 * n)], None, Sync::Durable)
            .await
            .expect("written");
        durable.push(at.elapsed());
        let at = Instant::now();
        store
            .append(&owner, vec![observation(&run, 2 * n + 1)], None, Sync::Commit)
            .await
            .expect("written");
        commit.push(at.elapsed());
    }
    for (name, times) in [
        ("raw + fdatasync", &mut raw),
        ("durable", &mut durable),
        ("commit", &mut commit),
    ] {
        times.sort_unstable();
        println!("{name}: median {:?}, p90 {:?}", times[150], times[270]);
    }
    let began = Instant::now();
    let tasks: Vec<_> = (1..=256u32)
        .map(|attempt| {
            let (store, owner, run) = (store.clone(), owner.clone(), run.clone());
            tokio::spawn(async move {
                for seq in 1..=100 {
                    let Record::Observation(mut seen) = observation(&run, seq) else {
                        return;
                    };
                    seen.stream.attempt = attempt + 1;
                    store
                        .append(&owner, vec![Record::Observation(seen)], None, Sync::Durable)
                        .await
                        .expect("written");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    println!(
        "256 tasks: {:.0} durable appends a second",
        25_600.0 / began.elapsed().as_secs_f64()
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
        let appended = store.append(&owner, records, Some(effect), Sync::Commit).await;
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
