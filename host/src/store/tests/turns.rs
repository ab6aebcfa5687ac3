//! Many tasks, stores and processes write at once: each has its turn, and whoever fails, waits for too long or is killed spoils no other.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::store::commit::BATCH_TIME;

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

/// Commits nothing, and answers in which thread.
async fn written_in(store: &Store, sync: Sync) -> std::thread::ThreadId {
    let work = |_: &Connection| {
        let value = std::thread::current().id();
        Ok(Done { value, head: None })
    };
    store.submit(sync, None, work).await.expect("written")
}

#[tokio::test]
async fn who_writes_alone_does_so_in_its_own_thread() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let own = std::thread::current().id();
    for sync in [Sync::Commit, Sync::Durable] {
        assert_eq!(written_in(&store, sync).await, own);
    }
    // Another program is waited for by a thread of the store.
    let foreign = Connection::open(dir.path().join("hermes.db")).expect("opens");
    foreign.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let (thread, ()) = tokio::join!(written_in(&store, Sync::Commit), async {
        foreign.execute_batch("ROLLBACK").expect("freed");
    });
    assert_ne!(thread, own);
}

/// Queues tasks that take so long while another program holds the database, and gives the number of batches that they are committed in.
async fn batches(takes: [Duration; 3]) -> u64 {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let writer = store.0.writer.as_ref().expect("it writes");
    let before = writer.batches();
    let foreign = Connection::open(dir.path().join("hermes.db")).expect("opens");
    foreign.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let write = |time: Duration| {
        let work = move |_: &Connection| {
            std::thread::sleep(time);
            Ok(Done { value: (), head: None })
        };
        store.submit(Sync::Commit, None, work)
    };
    let free = async {
        while writer.queued() < takes.len() {
            tokio::task::yield_now().await;
        }
        foreign.execute_batch("ROLLBACK").expect("free again");
    };
    let [first, second, third] = takes.map(write);
    let (first, second, third, ()) = tokio::join!(first, second, third, free);
    for written in [first, second, third] {
        written.expect("written");
    }
    writer.batches() - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_takes_nothing_new_after_its_time() {
    let none = Duration::ZERO;
    assert_eq!(batches([none, none, none]).await, 1);
    // The one that is under way is finished, and those behind it share the next.
    assert_eq!(batches([BATCH_TIME, none, none]).await, 2);
    assert_eq!(batches([none, BATCH_TIME, none]).await, 2);
    assert_eq!(batches([BATCH_TIME, BATCH_TIME, none]).await, 3);
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
