//! Who may write a run, and whether all that was promised of it is there: locks, epochs, anchors, lost tails, requests for its end, and copies.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::*;

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
    keep_strategy(&store, &owner).await;
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
async fn what_stands_in_the_place_of_a_lock_file_is_damage_of_its_run_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, other) = (answered(&store).await, answered(&store).await);
    let lock = dir.path().join(format!("runs/{run}.lock"));
    std::fs::remove_file(&lock).expect("removed");
    std::fs::create_dir(&lock).expect("made");
    for _ in 0..2 {
        let state = store.run_state(&run);
        assert!(matches!(state, Ok(RunState::Damaged(_))), "{state:?}");
        assert_eq!(store.run_state(&other), Ok(RunState::Free));
        assert_eq!(store.prunable().expect("read").len(), 2);
        std::fs::remove_dir(&lock)
            .or_else(|_| std::fs::remove_file(&lock))
            .expect("removed");
        std::os::unix::fs::symlink("elsewhere", &lock).expect("made");
    }
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_component_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let digest = Digest::of(b"one");
    let path = store.component_path(&digest);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("made");
    let read = store.component(&digest);
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
}
