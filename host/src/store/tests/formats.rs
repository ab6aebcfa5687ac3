//! The database as a file: which formats are taken, refused or brought up to date, how long its log grows, and what each connection to it sets.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use super::*;

fn open_err(dir: &Path, access: Access) -> StoreError {
    Store::open(dir, StoreOptions::new(&Limits::default(), access)).expect_err("refused")
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

#[test]
fn what_a_newer_host_wrote_is_refused_untouched_also_where_its_log_alone_has_it() {
    let (dir, place) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    drop(open(dir.path()));
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.pragma_update(None, "user_version", schema::VERSION + 1)
        .expect("newer");
    // As they are when a process is killed.
    let killed = place.path().join("host");
    std::fs::create_dir(&killed).expect("made");
    let names = ["hermes.db", "hermes.db-wal"];
    let read = |dir: &Path| names.map(|name| std::fs::read(dir.join(name)).expect("read"));
    for (name, bytes) in names.iter().zip(read(dir.path())) {
        std::fs::write(killed.join(name), bytes).expect("written");
    }
    std::fs::set_permissions(&killed, Permissions::from_mode(0o755)).expect("set");
    let left = read(&killed);
    let known = schema::VERSION.to_be_bytes();
    assert_eq!((&left[0][60..64], left[1].is_empty()), (known.as_slice(), false));
    let newer = |error: StoreError| {
        let is = matches!(error, StoreError::FormatTooNew { found, .. } if found == schema::VERSION + 1);
        assert!(is, "{error:?}");
        let mode = killed.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert!(!killed.join("runs").exists());
    };
    newer(open_err(&killed, Access::Write));
    let options = StoreOptions::new(&Limits::default(), Access::Read);
    let store = Store::open(&killed, options).expect("its header is known");
    newer(store.runs(9).expect_err("refused"));
    drop(store);
    newer(open_err(&killed, Access::Write));
    assert!(read(&killed) == left, "nothing is touched");
    // And where its header has it.
    drop(conn);
    std::fs::copy(dir.path().join("hermes.db"), killed.join("hermes.db")).expect("copied");
    std::fs::remove_file(killed.join("hermes.db-wal")).expect("removed");
    newer(open_err(&killed, Access::Write));
}

#[test]
fn what_changes_while_it_is_read_as_a_file_is_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(open(dir.path()));
    // Where its log's index can't be made, as on a full disk.
    let index = dir.path().join("hermes.db-shm");
    symlink("nowhere", &index).expect("made");
    let options = StoreOptions::new(&Limits::default(), Access::Read);
    let store = Store::open(dir.path(), options).expect("opens");
    let count = |conn: &Connection| -> Result<i64, Fault> {
        Ok(conn.query_row("SELECT count(*) FROM body", [], |row| row.get(0))?)
    };
    for _ in 0..2 {
        assert_eq!(store.read(count), Ok(0));
    }
    let mut reads = 0;
    let found = store.read(|conn| {
        reads += 1;
        let found = count(conn)?;
        if reads == 1 {
            std::fs::remove_file(&index).expect("removed");
            let other = Connection::open(dir.path().join("hermes.db"))?;
            other.execute(
                "INSERT INTO body (run, digest, data) VALUES (1, x'00', zeroblob(100000))",
                [],
            )?;
        }
        Ok(found)
    });
    assert_eq!((found, reads), (Ok(1), 2));
    assert_eq!(store.read(count), Ok(1));
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
    assert_eq!(counted(&store), Ok(1));
    store.sweep_copies().await.expect("swept");
    assert_eq!(store.copies(), Ok(Vec::new()));
    store.take_run(&run).await.expect("it is as it was");
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
    for conn in [files.connect(), files.connect_reader().map(|reader| reader.conn)] {
        assert_eq!(compiled_again(&conn.expect("opens")), 0);
    }
    let plain = Connection::open(files.database()).expect("opens");
    assert!(compiled_again(&plain) > 0, "there would be nothing to set");
}

#[tokio::test]
async fn a_number_of_the_format_that_is_too_low_makes_nothing_twice() {
    for version in 1..schema::VERSION {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        let run = answered(&store).await;
        drop(store);
        let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
        conn.pragma_update(None, "user_version", version).expect("changed");
        drop(conn);
        let store = open(dir.path());
        store.take_run(&run).await.expect("it can be taken");
        assert_eq!(store.whole(&run), Ok(()), "{version}");
    }
}
