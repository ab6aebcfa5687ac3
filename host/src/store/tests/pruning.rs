//! Runs are removed, what nobody uses any more is swept, and free pages are given back; whatever damage says, nothing else goes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;

/// How long others wait while runs are removed: `cargo test --release store::tests::pruning::pruning_figures -- --ignored --nocapture`.
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
    let swept = store.sweep_files(None, None).await.expect("swept");
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
    store.sweep_files(None, None).await.expect("swept");
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
    // That the index is damaged is told, and so who removes damaged runs leaves it.
    let wrong = store.structure().await.expect("looked");
    assert!(
        wrong
            .as_ref()
            .is_some_and(|what| what.contains("sqlite_autoindex_run_1")),
        "{wrong:?}"
    );
    store.pages_are_apart().await.expect("they are");
    let runs = store.read_through().expect("read");
    assert!(matches!(of(&runs, &second).state, RunState::Damaged(_)), "{runs:?}");
    assert_eq!(of(&runs, &third).state, RunState::Free);
    assert_eq!(store.remove_run(of(&runs, &second)).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
    assert_eq!(rows(dir.path()), [2, 2, 12, 0, 2, 0, 0, 0, 0]);
    assert_eq!(store.whole(&third), Ok(()));
    assert!(store.integrity().expect("looked").problems.is_empty());
}

#[tokio::test]
async fn a_removed_run_takes_its_spaces_and_no_others_whatever_one_bit_says() {
    for (kind, bytes, changed) in [
        // Of the second run's space, the index says that it is the third's; then its row says that.
        (INDEX, b"\x02notes", b"\x03notes"),
        (TABLE, b"\x02notes", b"\x03notes"),
    ] {
        for removed in [1, 2] {
            let dir = tempfile::tempdir().expect("a folder");
            let runs = two_that_wrote(dir.path()).await;
            rot(dir.path(), kind, bytes, changed);
            let store = open(dir.path());
            let (gone, kept) = (&runs[removed - 1], &runs[2 - removed]);
            let all = store.prunable().expect("read");
            assert_eq!(store.remove_run(of(&all, gone)).await, Ok(Removal::Removed));
            store.sweep_rows().await.expect("nothing is doubtful");
            assert_eq!(store.whole(kept), Ok(()), "{kind} {removed}");
            let keys = store.keys(&space(Some(kept)), "", None, 9).expect("read");
            let expected: &[&str] = match removed {
                1 => &["k5", "k6"],
                _ => &["k2", "k3", "k4"],
            };
            assert_eq!(keys, expected, "{kind} {removed}");
            assert_eq!(rows(dir.path())[5], 1, "{kind} {removed}");
            assert!(
                store.integrity().expect("looked").problems.is_empty(),
                "{kind} {removed}"
            );
        }
    }
}

#[tokio::test]
async fn a_run_is_well_beside_one_whose_space_strayed_to_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let [first, second] = two_that_wrote(dir.path()).await;
    rot(dir.path(), TABLE, b"\x02notes", b"\x03notes");
    let store = open(dir.path());
    assert_eq!(store.whole(&second), Ok(()));
    store.take_run(&second).await.expect("it can be taken");
    let told = store.whole(&first);
    assert!(matches!(told, Err(StoreError::Damaged { .. })), "{told:?}");
    let loss = store.accept_loss(&first).await.expect("accepted");
    assert!(!loss.is_any(), "{loss}");
    assert_eq!((store.whole(&first), store.whole(&second)), (Ok(()), Ok(())));
    assert!(store.integrity().expect("looked").problems.is_empty());
}

#[tokio::test]
async fn a_removed_run_takes_its_entries_and_no_others_whatever_one_bit_says() {
    // By key, and then by version, the entry of the second run's space is the third's.
    for (bytes, changed) in [(b"\x02k2\x02", b"\x03k2\x02")] {
        for removed in [1, 2] {
            let dir = tempfile::tempdir().expect("a folder");
            let store = open(dir.path());
            let runs = [answered(&store).await, answered(&store).await, answered(&store).await];
            for run in &runs {
                wrote(&store, run, 2..3).await;
            }
            drop(store);
            rot(dir.path(), INDEX, bytes, changed);
            let store = open(dir.path());
            let (gone, kept) = (&runs[removed], &runs[3 - removed]);
            let all = store.prunable().expect("read");
            assert_eq!(store.remove_run(of(&all, gone)).await, Ok(Removal::Removed));
            store.sweep_rows().await.expect("nothing is doubtful");
            assert_eq!(
                (store.whole(&runs[0]), store.whole(kept)),
                (Ok(()), Ok(())),
                "{removed}"
            );
            assert_eq!(rows(dir.path())[5..7], [2, 2], "{removed}");
            assert!(store.integrity().expect("looked").problems.is_empty(), "{removed}");
            let new = answered(&store).await;
            wrote(&store, &new, 2..3).await;
        }
    }
}

#[tokio::test]
async fn rows_of_removed_runs_that_are_none_hold_up_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = ended_run(&store, b"one").await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let none = "INSERT INTO pruned (no, id) VALUES (9223372036854775807, 'x'), (-3, 'y'), (1, 'z')";
    conn.execute(none, []).expect("changed");
    store.sweep_rows().await.expect("swept");
    assert_eq!(store.whole(&run), Ok(()));
    answered(&store).await;
    let all = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&all, &run)).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
    assert_eq!(rows(dir.path())[..3], [1, 1, 6]);
}

#[tokio::test]
async fn components_stay_while_no_row_says_which_a_run_uses() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (first, _) = (ended_run(&store, b"one").await, ended_run(&store, b"two").await);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("DELETE FROM component", []).expect("changed");
    let swept = store.sweep_files(None, None).await.expect("swept");
    assert_eq!(
        (swept.components, swept.missing),
        (0, Some(Missing::Rows(first.clone())))
    );
    let runs = store.prunable().expect("read");
    assert_eq!(of(&runs, &first).state, RunState::Free);
}

#[tokio::test]
async fn a_number_whose_records_are_there_is_given_to_no_other_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (first, second) = (answered(&store).await, answered(&store).await);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("DELETE FROM run WHERE no = 2", []).expect("changed");
    let third = answered(&store).await;
    assert_eq!((store.whole(&first), store.whole(&third)), (Ok(()), Ok(())));
    let number: i64 = conn
        .query_row("SELECT no FROM run WHERE id = ?1", [third.as_str()], |row| row.get(0))
        .expect("read");
    assert_eq!(number, 3, "{second} had 2");
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
    let missing = format!("the row that says that the run {first} uses the component {short} is missing");
    assert_eq!(told, [missing, words]);
    let runs = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&runs, &second)).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
    let swept = store.sweep_files(None, None).await.expect("swept");
    assert_eq!((swept.components, swept.missing), (1, None));
    assert_eq!(store.component(&one), Ok(b"one".to_vec()));
    assert_eq!(store.components(&first), Ok(vec![one]));
    assert!(store.integrity().expect("looked").problems.is_empty());
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
    store.sweep_files(None, None).await.expect("swept");
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
    let swept = store.sweep_files(None, None).await.expect("swept");
    assert_eq!(
        (swept.components, swept.missing),
        (0, Some(Missing::Component(flipped)))
    );
    let words = format!(
        "the row that says that the run {run} uses the component {} is damaged",
        flipped.short()
    );
    let unnamed = format!(
        "the row that says that the run {run} uses the component {} is missing",
        one.short()
    );
    let unnamed = (Some(run.clone()), unnamed);
    assert_eq!(told(), [unnamed.clone(), (Some(run.clone()), words)]);
    // Where the only row of a run says that it is another's, nobody knows what else the run uses.
    name(&one);
    conn.execute("UPDATE component SET run = run + 64", [])
        .expect("changed");
    let swept = store.sweep_files(None, None).await.expect("swept");
    assert_eq!((swept.components, swept.missing), (0, Some(Missing::Rows(run.clone()))));
    assert_eq!(store.component(&one), Ok(b"one".to_vec()));
    let words = format!("the component {} is used by no run that is there", one.short());
    assert_eq!(told(), [(None, words), unnamed]);
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
async fn what_crashes_left_of_files_is_swept_when_it_is_old() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = RunId::random();
    let lock = dir.path().join(format!("runs/{run}.lock"));
    let draft = dir.path().join("components/x.1.0.draft");
    for path in [&lock, &draft] {
        std::fs::write(path, "").expect("written");
    }
    store.sweep_files(None, None).await.expect("swept");
    assert!(
        lock.exists() && draft.exists(),
        "somebody may be about to go on with them"
    );
    let old = std::time::SystemTime::now() - Duration::from_secs(61);
    for path in [&lock, &draft] {
        let file = std::fs::File::options().append(true).open(path).expect("opens");
        file.set_modified(old).expect("aged");
    }
    store.sweep_files(None, None).await.expect("swept");
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
                swept += other.sweep_files(None, None).await.expect("swept").components;
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
async fn a_copy_keeps_components_from_being_swept_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    std::fs::write(store.component_path(&Digest::of(b"x")), b"x").expect("written");
    let held = store
        .0
        .files
        .hold_components(rustix::fs::FlockOperation::NonBlockingLockShared)
        .expect("opens");
    assert!(store.sweep_files(None, None).await.expect("swept").in_use);
    assert!(store.component(&Digest::of(b"x")).is_ok());
    drop(held);
    assert_eq!(store.sweep_files(None, None).await.expect("swept").components, 1);
}

#[tokio::test]
async fn a_space_for_which_no_checksum_vouches_goes_with_no_run_that_may_not_have_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let [kept, gone] = two_that_wrote(dir.path()).await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE space SET sum = NULL", [])
        .expect("as format 2 made them");
    drop(conn);
    rot(dir.path(), TABLE, b"\x02notes", b"\x03notes");
    let store = open(dir.path());
    let all = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&all, &gone)).await, Ok(Removal::Removed));
    let swept = store.sweep_rows().await;
    assert!(matches!(swept, Err(StoreError::Corrupt { .. })), "{swept:?}");
    let loss = store.accept_loss(&kept).await.expect("accepted");
    assert_eq!((loss.entries, store.whole(&kept)), (0, Ok(())), "{loss}");
    store.sweep_rows().await.expect("nothing is doubtful any more");
    assert_eq!(
        store.keys(&space(Some(&kept)), "", None, 9).expect("read"),
        ["k2", "k3", "k4"]
    );
    assert_eq!(rows(dir.path())[5..7], [1, 3]);
}

#[tokio::test]
async fn a_copy_to_which_the_index_does_not_lead_is_swept_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, run) = (open(dir.path()), RunId::random());
    drop(store.begin_copy(RunRow::from(new_run(&run))).await.expect("begun"));
    answered(&store).await;
    drop(store);
    let named = [b"\x03\x21\x09".as_slice(), run.as_str().as_bytes()].concat();
    let bad = flipped(&copied_in(dir.path()), INDEX, &named);
    restore(dir.path(), &bad);
    let store = open(dir.path());
    store.sweep_copies().await.expect("swept");
    assert_eq!(store.integrity().expect("looked").problems, []);
    assert_eq!(counted(&store), Ok(1));
}

#[tokio::test]
async fn a_space_whose_row_says_another_run_and_another_name_is_its_own_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let [first, second] = two_that_wrote(dir.path()).await;
    rot(dir.path(), TABLE, b"\x02notes", b"\x03oxtes");
    let store = open(dir.path());
    for run in [&second, &first] {
        store.accept_loss(run).await.expect("accepted");
        assert_eq!(store.whole(run), Ok(()));
    }
    let keys = |run| store.keys(&space(Some(run)), "", None, 9).expect("read");
    assert_eq!(keys(&first), ["k2", "k3", "k4"]);
    assert_eq!(keys(&second), ["k5", "k6"]);
    assert_eq!(store.integrity().expect("looked").problems, []);
}

#[tokio::test]
async fn a_removed_run_whose_lock_file_is_there_is_not_told_as_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = answered(&store).await;
    let lock = dir.path().join(format!("runs/{run}.lock"));
    let line = std::fs::read(&lock).expect("read");
    let all = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&all, &run)).await, Ok(Removal::Removed));
    // As a process leaves it that is killed before it has removed the file; somebody looks at it just now.
    std::fs::write(&lock, line).expect("written");
    std::fs::set_permissions(&lock, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    let looks = std::fs::File::open(&lock).expect("opens");
    rustix::fs::flock(&looks, rustix::fs::FlockOperation::LockShared).expect("locked");
    store.sweep_rows().await.expect("swept");
    assert_eq!((store.lost_runs(), rows(dir.path())[8]), (Ok(Vec::new()), 1));
    drop(looks);
    store.sweep_rows().await.expect("swept");
    assert_eq!((store.lost_runs(), rows(dir.path())[8]), (Ok(Vec::new()), 0));
    assert!(!lock.exists());
}
