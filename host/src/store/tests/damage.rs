//! Damage to records, rows and pages is noticed where they are read, and told of the run that it belongs to alone.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;

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

#[tokio::test]
async fn damage_in_the_midst_of_a_run_is_found_where_it_is_looked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (good, bad, owned) = (answered(&store).await, answered(&store).await, answered(&store).await);
    let _owner = store.take_run(&owned).await.expect("taken");
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE journal SET n = 7 WHERE kind = 5 AND run > 1", [])
        .expect("changed");
    let runs = store.prunable().expect("read");
    assert_eq!(of(&runs, &bad).state, RunState::Free, "it is not read for that");
    let runs = store.read_through().expect("read");
    assert_eq!(of(&runs, &good).state, RunState::Free);
    assert!(matches!(of(&runs, &bad).state, RunState::Damaged(_)));
    assert_eq!(of(&runs, &owned).state, RunState::Owned);
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
    keep_strategy(store, &owner).await;
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
        assert_eq!(left, [Ok(1), Ok(1), Ok(0), Ok(1)]);
    }
}

#[tokio::test]
async fn what_the_system_says_of_a_lock_file_is_not_told_of_the_database() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = answered(&open(dir.path())).await;
    let mut bad = copied_in(dir.path());
    let page = bad
        .chunks_mut(4096)
        .find(|page| page[0] == TABLE && page.windows(99).any(|w| w == [7; 99]))
        .expect("the page of its records");
    page.fill(0);
    restore(dir.path(), &bad);
    // A socket is no file that can be opened: with the same words a disk says that it is gone.
    let lock = dir.path().join(format!("runs/{run}.lock"));
    std::fs::remove_file(&lock).expect("removed");
    let _socket = std::os::unix::net::UnixListener::bind(&lock).expect("made");
    let store = open(dir.path());
    let state = store.run_state(&run);
    assert!(matches!(state, Err(StoreError::Damaged { .. })), "{state:?}");
    let problems = store.integrity().expect("looked").problems;
    assert!(problems.iter().any(|p| p.run.as_ref() == Some(&run)), "{problems:?}");
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
        store.sweep_files(None, None).await.expect("swept");
        assert!(lock.exists(), "{epoch}");
        assert_eq!(
            (counted(&store), store.find_run(run.as_str())),
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
        let mut problems = spoilt(change, undo);
        // Which is then missed where it was, too.
        problems.retain(|problem| words.contains("no run that is there") <= problem.1.contains(words));
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

/// Lets a page of one run's entry be one of another's too, as a damaged pointer does.
fn share_a_page(dir: &Path) {
    copied_in(dir);
    let path = dir.join("hermes.db");
    let conn = Connection::open(&path).expect("opens");
    let pages = "SELECT pageno FROM dbstat WHERE name = 'entry' AND pagetype = 'overflow' ORDER BY path";
    let mut select = conn.prepare(pages).expect("prepared");
    let pages: Vec<u32> = select
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .expect("read");
    drop(select);
    conn.close().expect("closed");
    let (first, last) = (pages[1], pages[pages.len() - 2]);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[(first as usize - 1) * 4096..][..4].copy_from_slice(&last.to_be_bytes());
    restore(dir, &bytes);
}

fn is_shared<T: std::fmt::Debug>(found: &Result<T, StoreError>) {
    let good = matches!(found, Err(StoreError::Corrupt { what, .. }) if what.contains("two of its rows have one page"));
    assert!(good, "{found:?}");
}

#[tokio::test]
async fn nothing_is_given_up_while_two_rows_have_one_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, copy) = (ended_run(&store, b"one").await, RunId::random());
    ended_run(&store, b"two").await;
    long_run(&store).await;
    drop(store.begin_copy(RunRow::from(new_run(&copy))).await.expect("begun"));
    let write = |effect| store.write_home(effect, "person", 1);
    write(put(None, "k", b"v", None)).await.expect("written");
    store.pages_are_apart().await.expect("they are");
    drop(store);
    share_a_page(dir.path());
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute(
        "UPDATE entry SET at_ms = 7 WHERE key = x'6b' AND space = (SELECT no FROM space WHERE run = 0)",
        [],
    )
    .expect("damaged");
    let leaf = "SELECT pageno FROM dbstat WHERE name = 'journal' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 1";
    let leaf: u32 = conn.query_row(leaf, [], |row| row.get(0)).expect("a second page");
    drop(conn);
    let shared = copied_in(dir.path());
    // Also where the search for it comes upon a page that can't be read.
    for garbled in [false, true] {
        let mut bytes = shared.clone();
        if garbled {
            bytes[(leaf as usize - 1) * 4096..][..64].fill(0xa5);
        }
        restore(dir.path(), &bytes);
        let store = open(dir.path());
        is_shared(&store.pages_are_apart().await);
        is_shared(&store.sweep_copies().await);
        is_shared(&store.accept_loss(&run).await);
        is_shared(&store.write_home(put(None, "k", b"w", None), "person", 1).await);
        assert_eq!(store.copies().expect("read").len(), 1);
    }
}

#[tokio::test]
async fn the_index_of_runs_is_not_made_again_where_another_table_has_its_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = answered(&open(dir.path())).await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'session')
         WHERE name = 'sqlite_autoindex_run_1'",
    )
    .expect("damaged");
    drop(conn);
    let before = copied_in(dir.path());
    restore(dir.path(), &before);
    let store = open(dir.path());
    is_shared(&store.lead_to(&run).await);
    drop(store);
    assert!(copied_in(dir.path()) == before, "nothing was written");
}

#[tokio::test]
async fn nothing_is_written_to_a_database_that_says_it_is_shorter_than_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(long_run(&open(dir.path())).await);
    let whole = copied_in(dir.path());
    let pages = u32::from_be_bytes(whole[28..32].try_into().expect("four"));
    let mut bytes = whole.clone();
    bytes[28..32].copy_from_slice(&(pages - 2).to_be_bytes());
    restore(dir.path(), &bytes);
    let opened = Store::open(dir.path(), StoreOptions::new(&Limits::default(), Access::Write));
    let what = opened.map(drop).expect_err("refused").to_string();
    assert!(what.contains("it says that it is shorter than it is"), "{what}");
    // Also beside a log in which there is no commit.
    restore(dir.path(), &bytes);
    std::fs::write(dir.path().join("hermes.db-wal"), b"x").expect("written");
    let opened = Store::open(dir.path(), StoreOptions::new(&Limits::default(), Access::Write));
    assert!(opened.is_err());
    // As a process leaves it that is killed before it has made the file shorter.
    restore(dir.path(), &[whole, vec![0; 4096]].concat());
    open(dir.path());
}

#[tokio::test]
async fn no_run_gets_a_number_that_a_damaged_row_has() {
    for damage in [
        "UPDATE component SET run = 7",
        "UPDATE body SET run = 7",
        "UPDATE space SET run = 7",
        "UPDATE session SET run = 7",
        "INSERT INTO cancel_request VALUES (7, 0, 0)",
        "INSERT INTO pruned VALUES (7, 'x')",
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        ended_run(&open(dir.path()), b"one").await;
        let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
        conn.execute(damage, []).expect("damaged");
        let store = open(dir.path());
        let run = answered(&store).await;
        assert_eq!(store.run_number(&run).expect("read").0, 8, "{damage}");
        assert_eq!(store.whole(&run), Ok(()), "{damage}");
    }
}

#[tokio::test]
async fn records_that_a_pages_head_hides_are_not_told_as_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let runs = [long_run(&store).await, long_run(&store).await];
    drop(store);
    let whole = copied_in(dir.path());
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let mut select = conn
        .prepare("SELECT pageno FROM dbstat WHERE name = 'journal' AND pagetype = 'leaf'")
        .expect("prepared");
    let leaves: Vec<u32> = select
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .expect("read");
    drop(select);
    drop(conn);
    for leaf in leaves {
        for bit in [0, 4, 6] {
            let mut bytes = whole.clone();
            bytes[(leaf as usize - 1) * 4096 + 4] ^= 1 << bit;
            restore(dir.path(), &bytes);
            let store = open(dir.path());
            for run in &runs {
                let state = store.run_state(run);
                let is_lost = |what: &str| what.contains("missing at its end");
                let lost = matches!(&state, Ok(RunState::Damaged(what)) if is_lost(what));
                // One cell less hides a record at a page's end, which may be the last.
                assert!(!lost || bit == 0, "page {leaf}, bit {bit}: {state:?}");
                // Whatever comes of it, it is no fault of the host.
                let accepted = store.accept_loss(run).await;
                assert!(!matches!(accepted, Err(StoreError::Internal { .. })), "{accepted:?}");
            }
        }
    }
}

/// What is wrong with a store, in words, and with what run.
fn wrong(store: &Store) -> Vec<(Option<RunId>, String)> {
    let problems = store.integrity().expect("looked").problems.into_iter();
    problems.map(|problem| (problem.run, problem.what)).collect()
}

#[tokio::test]
async fn what_is_damaged_is_so_in_a_copy_and_holds_it_up_nowhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, other) = (ended_run(&store, b"one").await, ended_run(&store, b"two").await);
    drop(store);
    let good = copied_in(dir.path());
    for (table, change) in [
        (
            "journal",
            "UPDATE journal SET chain = 'x' WHERE id = (SELECT max(id) FROM journal WHERE run = 1)",
        ),
        (
            "journal",
            "UPDATE journal SET sum = 'x' WHERE id = (SELECT max(id) FROM journal WHERE run = 1)",
        ),
        ("component", "UPDATE component SET digest = 'x' WHERE run = 1"),
        ("component", "UPDATE component SET digest = x'00' WHERE run = 1"),
        ("component", "UPDATE component SET digest = zeroblob(32) WHERE run = 1"),
        ("run", "UPDATE run SET epoch = 'x' WHERE no = 1"),
        ("space", "UPDATE space SET keys = keys + 1 WHERE run = 1"),
    ] {
        restore(dir.path(), &good);
        retype(dir.path(), table, change);
        let (store, place) = (open(dir.path()), tempfile::tempdir().expect("a folder"));
        let to = place.path().join("copy");
        let copied = store.backup(&to, &CancellationToken::new()).expect(change);
        assert_eq!((copied.runs, copied.components), (2, 2), "{change}");
        let copy = open(&to);
        assert_ne!(wrong(&copy), [], "{change}");
        assert_eq!(wrong(&copy), wrong(&store), "{change}");
        copy.take_run(&other).await.expect(change);
        if matches!(table, "component" | "space") {
            // What mends it finds all that it needs in the copy.
            copy.accept_loss(&run).await.expect(change);
            assert_eq!(wrong(&copy), [], "{change}");
        }
    }
}

#[tokio::test]
async fn a_copy_has_the_components_of_which_no_row_is_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    ended_run(&store, b"one").await;
    ended_run(&store, b"two").await;
    drop(store);
    let mut bad = copied_in(dir.path());
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'component'";
    let root: u32 = conn.query_row(root, [], |row| row.get(0)).expect("a page");
    drop(conn);
    // The page says that it has no rows.
    bad[(root as usize - 1) * 4096 + 3..][..2].fill(0);
    restore(dir.path(), &bad);
    let (store, place) = (open(dir.path()), tempfile::tempdir().expect("a folder"));
    let to = place.path().join("copy");
    let copied = store.backup(&to, &CancellationToken::new()).expect("copied");
    assert_eq!((copied.runs, copied.components), (2, 2));
    let copy = open(&to);
    for named in [b"one", b"two"] {
        assert_eq!(copy.component(&Digest::of(named)), Ok(named.to_vec()));
    }
}

#[tokio::test]
async fn a_component_that_never_was_is_not_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = ended_run(&store, b"one").await;
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let change = |digest: Digest| {
        conn.execute("UPDATE component SET digest = ?1", [digest.as_bytes()])
            .expect("changed");
    };
    change(Digest::of(b"never"));
    let problems = store.integrity().expect("looked").problems;
    let rows = ["one", "never"].map(|named| format!("the component {}", Digest::of(named.as_bytes()).short()));
    assert_eq!(problems.len(), 2, "{problems:?}");
    for (problem, (row, is)) in problems.iter().zip(rows.iter().zip(["is missing", "is damaged"])) {
        assert_eq!((problem.run.as_ref(), &problem.component), (Some(&run), &None));
        assert!(problem.what.starts_with("the row that says"), "{problems:?}");
        assert!(problem.what.ends_with(&format!("{row} {is}")), "{problems:?}");
    }
    // One that a run uses by its records is missed, whatever its row says.
    change(Digest::of(b"one"));
    conn.execute("UPDATE component SET sum = sum + 1", []).expect("changed");
    let path = store.component_path(&Digest::of(b"one"));
    std::fs::remove_file(&path).expect("removed");
    let problems = store.integrity().expect("looked").problems;
    let [problem] = &problems[..] else {
        panic!("{problems:?}")
    };
    assert!(
        problem
            .component
            .as_ref()
            .is_some_and(|bad| bad.missing && bad.path == path)
    );
}
