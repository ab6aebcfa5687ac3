//! What an accepted loss cuts, keeps and mends: nothing half written stays, and what only an index hides is not lost.

use tokio_util::sync::CancellationToken;

use super::*;

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

/// The intent of the operation that [`child`] is.
fn child_intent(run: &RunId) -> Record {
    let Record::Intent(mut intent) = intent(run, 5) else {
        unreachable!("it is one")
    };
    intent.kind = OpKind::Child;
    within(Record::Intent(intent), 2, &Scope::ROOT)
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
    assert_eq!(store.lead_to(&run).await, Ok(run.clone()));
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert!(!loss.is_any(), "{loss}");
    assert!(store.integrity().expect("looked").problems.is_empty());
    store.take_run(&run).await.expect("it can be taken");
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
    keep_strategy(&store, &owner).await;
    // The child's.
    store
        .keep_component(&owner, b"critic".as_slice().into())
        .await
        .expect("kept");
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
    keep_strategy(&store, &owner).await;
    store
        .keep_component(&owner, b"critic".as_slice().into())
        .await
        .expect("kept");
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
    keep_strategy(&store, &owner).await;
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

/// Another id that differs from this one in one bit of a digit.
fn one_bit_off(run: &RunId) -> RunId {
    let mut bytes = run.as_str().as_bytes().to_vec();
    let last = bytes.len() - 1;
    let other = (0..8).map(|bit| bytes[last] ^ (1 << bit)).find(u8::is_ascii_hexdigit);
    bytes[last] = other.expect("each digit has a neighbour").to_ascii_lowercase();
    String::from_utf8(bytes).expect("digits").parse().expect("an id")
}

#[tokio::test]
async fn a_run_whose_row_has_another_id_gets_its_own_again() {
    for named_rightly in [true, false] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        let (run, other) = (answered(&store).await, answered(&store).await);
        drop(store);
        let wrong = one_bit_off(&run);
        // In the column, and not in what the row says: before the first stands the type of the column of its checksum.
        let column = |id: &RunId| [b"\x06", id.as_str().as_bytes()].concat();
        rot(dir.path(), TABLE, &column(&run), &column(&wrong));
        let store = open(dir.path());
        let name = if named_rightly { &run } else { &wrong };
        assert_eq!(store.find_run(name.as_str()), Ok(name.clone()));
        let told = store.run(name);
        assert!(matches!(told, Err(StoreError::Damaged { .. })), "{told:?}");
        assert_eq!(store.lead_to(name).await, Ok(run.clone()));
        assert_eq!((store.whole(&run), store.whole(&other)), (Ok(()), Ok(())));
        assert!(matches!(store.run(&wrong), Err(StoreError::NotFound { .. })));
        assert!(store.integrity().expect("looked").problems.is_empty());
        store.take_run(&run).await.expect("it can be taken");
    }
}

#[tokio::test]
async fn a_run_whose_id_has_another_type_is_mended_or_removed() {
    for mended in [true, false] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        let (run, other) = (answered(&store).await, answered(&store).await);
        // Its epoch is 2, and takes a byte.
        drop(store.take_run(&other).await.expect("taken"));
        drop(store);
        // A text of ten bytes, and the number 1; then ten bytes that are no text.
        rot(dir.path(), TABLE, b"\0\x21\x09", b"\0\x20\x09");
        let store = open(dir.path());
        let taken = store.take_run(&run).await;
        assert!(matches!(taken, Err(StoreError::Damaged { .. })), "{:?}", taken.err());
        if mended {
            assert_eq!(store.lead_to(&run).await, Ok(run.clone()));
            store.take_run(&run).await.expect("it can be taken");
        } else {
            let all = store.prunable().expect("read");
            let gone = all.iter().find(|found| found.run == run).expect("it is there");
            assert_eq!(store.remove_run(gone).await, Ok(Removal::Removed));
            store.sweep_rows().await.expect("swept");
            assert!(matches!(store.run(&run), Err(StoreError::NotFound { .. })));
        }
        assert_eq!(store.whole(&other), Ok(()));
        assert!(store.integrity().expect("looked").problems.is_empty());
    }
}

#[tokio::test]
async fn a_run_that_the_index_hides_or_leads_elsewhere_from_can_be_removed_or_led_to() {
    for removed in [true, false] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        let (_, second, third) = (answered(&store).await, answered(&store).await, answered(&store).await);
        drop(store);
        let entry = |number: u8| [second.as_str().as_bytes(), &[number]].concat();
        rot(dir.path(), INDEX, &entry(2), &entry(3));
        let store = open(dir.path());
        assert_eq!(store.find_run(second.as_str()), Ok(second.clone()));
        let asked = store.request_cancel(&second, 1).await;
        assert!(matches!(asked, Err(StoreError::Damaged { .. })), "{asked:?}");
        if removed {
            let all = store.prunable().expect("read");
            assert_eq!(store.remove_run(of(&all, &second)).await, Ok(Removal::Removed));
            store.sweep_rows().await.expect("swept");
        } else {
            assert_eq!(store.lead_to(&second).await, Ok(second.clone()));
            assert_eq!(store.whole(&second), Ok(()));
        }
        assert_eq!(store.whole(&third), Ok(()));
        assert_eq!(store.cancel_requested(&third), Ok(None));
        assert!(store.integrity().expect("looked").problems.is_empty());
    }
}

/// A run's id as it stands in the run's row: behind what says that the last of the row's values has eight bytes.
fn in_its_row(run: &RunId) -> Vec<u8> {
    [b"\x06".as_slice(), run.as_str().as_bytes()].concat()
}

#[tokio::test]
async fn a_row_that_has_another_runs_id_takes_nothing_from_that_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (first, second) = (answered(&store).await, answered(&store).await);
    assert_eq!(store.structure().await, Ok(None));
    drop(store);
    let whole = copied_in(dir.path());
    rot(dir.path(), TABLE, &in_its_row(&second), &in_its_row(&first));
    let store = open(dir.path());
    let all = store.prunable().expect("read");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(of(&all, &first).row.is_ok(), "{all:?}");
    assert!(store.structure().await.expect("looked").is_some());
    drop(store);
    // One that came to have it since it was looked at.
    restore(dir.path(), &whole);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("UPDATE run SET sum = sum + 1 WHERE no = 2", [])
        .expect("changed");
    drop(conn);
    let all = open(dir.path()).prunable().expect("read");
    rot(dir.path(), TABLE, &in_its_row(&first), &in_its_row(&second));
    let store = open(dir.path());
    assert_eq!(store.remove_run(of(&all, &second)).await, Ok(Removal::Removed));
    assert!(dir.path().join(format!("runs/{second}.lock")).exists());
}

const MANY: usize = 200;

/// Many runs, so that their rows lie on four pages or more, each with its records.
async fn many(dir: &Path) -> Vec<RunId> {
    let (store, mut runs) = (open(dir), Vec::new());
    for _ in 0..MANY {
        runs.push(answered(&store).await);
    }
    runs
}

#[tokio::test]
async fn a_run_whose_row_is_hidden_is_told_and_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut runs = many(dir.path()).await;
    hide(dir.path(), &in_its_row(&runs[30]));
    let store = open(dir.path());
    let bad = runs.remove(30);
    let damaged = StoreError::damaged(&bad, listing::ROW_UNREADABLE);
    let listed = store.runs(u32::MAX).expect("listed");
    assert_eq!((listed.len(), counted(&store)), (MANY, Ok(MANY as u64)));
    for Listed { id, row } in &listed {
        assert_eq!(row.as_ref().err(), (*id == bad.as_str()).then_some(&damaged), "{id}");
    }
    assert_eq!(store.find_run(bad.as_str()), Ok(bad.clone()));
    assert_eq!(store.run(&bad), Err(damaged.clone()));
    assert_eq!(store.take_run(&bad).await.err(), Some(damaged.clone()));
    assert_eq!(store.whole(&bad), Err(damaged.clone()));
    let problems = store.integrity().expect("looked").problems;
    let others = problems.iter().filter(|p| p.run.as_ref() != Some(&bad));
    assert!(others.clone().all(|p| p.run.is_none()), "{problems:?}");
    assert!(
        problems.iter().any(|p| p.run.as_ref() == Some(&bad) && p.unreadable),
        "{problems:?}"
    );
    // Neither it nor any other goes by what is done about it.
    let all = store.prunable().expect("read");
    let removed = store.remove_run(of(&all, &bad)).await;
    assert!(
        matches!(&removed, Err(StoreError::Corrupt { what, .. }) if what.contains(bad.as_str())),
        "{removed:?}"
    );
    assert_eq!(store.accept_loss(&bad).await.err(), Some(damaged.clone()));
    assert_eq!(store.remove_run(of(&all, &runs[0])).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
    assert_eq!(store.run(&bad), Err(damaged.clone()));
    assert_eq!(store.whole(&runs[1]), Ok(()));
    store.take_run(&runs[2]).await.expect("taken");
    // Nor by making the index again, where that leads elsewhere for another.
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let number: i64 = conn
        .query_row("SELECT no FROM run WHERE id = ?1", [runs[3].as_str()], |row| row.get(0))
        .expect("read");
    assert!(listing::none_would_go(&conn, number).is_err());
}

#[tokio::test]
async fn a_run_that_its_number_does_not_find_is_told_and_a_copy_has_its_lock_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(answered(&open(dir.path())).await);
    }
    let whole = copied_in(dir.path());
    let header = header_of(&whole, &runs[1]);
    // Its number is larger than those behind it; or its id is longer than the row has room for.
    for (at, byte) in [(header - 1, 34), (header + 2, 0x31)] {
        let mut bad = whole.clone();
        bad[at] = byte;
        restore(dir.path(), &bad);
        let store = open(dir.path());
        let damaged = StoreError::damaged(&runs[1], listing::ROW_UNREADABLE);
        let listed = store.runs(u32::MAX).expect("listed");
        let listed: Vec<_> = listed
            .iter()
            .rev()
            .map(|run| (&*run.id, run.row.as_ref().err()))
            .collect();
        let told = |run: &RunId| (*run == runs[1]).then_some(&damaged);
        let expected: Vec<_> = runs.iter().map(|run| (run.as_str(), told(run))).collect();
        assert_eq!((listed, counted(&store)), (expected, Ok(5)), "{byte}");
        let problems = store.integrity().expect("looked").problems;
        let of = |run: &RunId| problems.iter().filter(|p| p.run.as_ref() == Some(run)).count();
        assert!(of(&runs[1]) > 0 && of(&runs[0]) + of(&runs[4]) == 0, "{problems:?}");
        let all = store.prunable().expect("read");
        assert_eq!(all.len(), 5, "{byte}");
        let removed = store.remove_run(super::of(&all, &runs[1])).await;
        assert!(
            matches!(removed, Err(StoreError::Corrupt { .. })),
            "{byte}: {removed:?}"
        );
        let elsewhere = tempfile::tempdir().expect("a folder");
        let copy = elsewhere.path().join("copy");
        let copied = store.backup(&copy, &CancellationToken::new()).expect("copied");
        assert_eq!(copied.runs, 5, "{byte}");
        for run in &runs {
            assert!(copy.join(format!("runs/{run}.lock")).exists(), "{byte}");
        }
    }
}

#[tokio::test]
async fn a_loss_is_accepted_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = answered(&store).await;
    drop(store);
    let whole = copied_in(dir.path());
    let accepts = async |database: &[u8]| {
        restore(dir.path(), database);
        let accepted = open(dir.path()).accept_loss(&run).await;
        assert!(copied_in(dir.path()) == database, "nothing was written");
        accepted
    };
    // Nothing of a whole run is written anew.
    let loss = accepts(&whole).await.expect("accepted");
    assert_eq!((loss.kept, loss.is_any()), (6, false));
    // The sixth record seems to be the one with the number of a byte of its header. SQLite's check does not ask for the order of such a row.
    let sixth = mislead(&whole, b"\xa0\x80\x80\x80\x80\x06");
    let accepted = accepts(&sixth).await;
    let told = matches!(&accepted, Err(StoreError::Corrupt { what, .. }) if what.contains("out of order"));
    assert!(told, "{accepted:?}");
    let pruned = open(dir.path()).structure().await;
    assert!(matches!(pruned, Err(StoreError::Corrupt { .. })), "{pruned:?}");
}

#[tokio::test]
async fn rows_are_held_to_their_order_also_behind_a_page_that_can_not_be_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    answered(&store).await;
    drop(store);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1600)
         INSERT INTO component (run, digest, sum) SELECT i, randomblob(32), 0 FROM n";
    conn.execute(many, []).expect("written");
    let leaves = "SELECT pageno FROM dbstat WHERE name = 'component' AND pagetype = 'leaf' ORDER BY path";
    let mut select = conn.prepare(leaves).expect("read");
    let leaves = select.query_map([], |row| row.get::<_, u32>(0)).expect("read");
    let leaves: Vec<usize> = leaves
        .map(|page| usize::try_from(page.expect("read")).expect("small") - 1)
        .collect();
    assert!(leaves.len() > 4, "{leaves:?}");
    drop(select);
    drop(conn);
    let mut bad = copied_in(dir.path());
    bad[leaves[2] * 4096..][..4096].fill(0);
    restore(dir.path(), &bad);
    let told = open(dir.path()).structure().await;
    assert!(matches!(told, Ok(Some(_))), "{told:?}");
    // The first two of its rows in the other order.
    for leaf in [leaves[0], leaves[leaves.len() - 1]] {
        let mut worse = bad.clone();
        worse[leaf * 4096 + 8..][..4].rotate_left(2);
        restore(dir.path(), &worse);
        let store = open(dir.path());
        for told in [store.structure().await.map(drop), store.pages_are_apart().await] {
            let out_of_order = matches!(&told, Err(StoreError::Corrupt { what, .. }) if what.contains("out of order"));
            assert!(out_of_order, "{told:?}");
        }
    }
}

#[tokio::test]
async fn no_loss_is_accepted_with_which_rows_of_other_runs_would_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (good, bad) = (answered(&store).await, answered(&store).await);
    drop(store);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("DELETE FROM session WHERE run = 2", []).expect("gone");
    drop(conn);
    // The page says that all of it is free: the next row is written over the one that is there.
    let mut bytes = copied_in(dir.path());
    let page = bytes
        .chunks_mut(4096)
        .find(|page| page[0] == INDEX && page.windows(8).any(|w| w == b"research"))
        .expect("the page of sessions");
    page[1..3].fill(0);
    page[5..8].copy_from_slice(&[0x10, 0, 0]);
    restore(dir.path(), &bytes);
    let store = open(dir.path());
    let accepted = store.accept_loss(&bad).await;
    let told = matches!(&accepted, Err(StoreError::Corrupt { what, .. }) if what.contains("rows of other runs"));
    assert!(told, "{accepted:?}");
    assert_eq!(store.whole(&good), Ok(()));
    drop(store);
    assert!(copied_in(dir.path()) == bytes, "nothing was written");
}

#[tokio::test]
async fn a_page_of_runs_that_can_not_be_read_is_told_of_its_runs_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let runs = many(dir.path()).await;
    let mut bad = copied_in(dir.path());
    let page = bad
        .chunks_mut(4096)
        .find(|page| page[0] == TABLE && page.windows(11).any(|w| w == in_its_row(&runs[20])))
        .expect("its page");
    let is_on = |run: &&RunId| page.windows(11).any(|w| w == in_its_row(run));
    let (gone, left): (Vec<_>, Vec<_>) = runs.iter().partition(is_on);
    assert!(!gone.is_empty() && left.len() > 2, "{} {}", gone.len(), left.len());
    page.fill(0);
    restore(dir.path(), &bad);
    let store = open(dir.path());
    let listed = store.runs(u32::MAX).expect("listed");
    let told: Vec<_> = listed.iter().map(|listed| (&*listed.id, listed.row.is_ok())).collect();
    let expected: Vec<_> = runs
        .iter()
        .rev()
        .map(|run| (run.as_str(), left.contains(&run)))
        .collect();
    assert_eq!(told, expected);
    for run in &gone {
        assert_eq!(store.run(run), Err(StoreError::damaged(run, listing::ROW_UNREADABLE)));
        assert_eq!(store.find_run(run.as_str()), Ok((*run).clone()));
    }
    let all = store.prunable().expect("read");
    for run in [left[0], left[left.len() - 1]] {
        assert_eq!(store.whole(run), Ok(()));
        assert_eq!(of(&all, run).state, RunState::Free);
    }
    // Where SQLite needs no page for it that lies beside the one that can't be read.
    let last = left[left.len() - 1];
    assert_eq!(store.remove_run(of(&all, last)).await, Ok(Removal::Removed));
    let removed = store.remove_run(of(&all, gone[0])).await;
    assert!(matches!(removed, Err(StoreError::Corrupt { .. })), "{removed:?}");
    store.take_run(left[1]).await.expect("taken");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let copy = elsewhere.path().join("copy");
    store
        .backup(&copy, &CancellationToken::new())
        .expect("copied, damage and all");
}

#[tokio::test]
async fn a_space_whose_row_is_hidden_is_put_back_and_never_read_as_one_that_is_not_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let [run, other] = two_that_wrote(dir.path()).await;
    let whole = copied_in(dir.path());
    hide(dir.path(), b"\x02notes");
    let store = open(dir.path());
    let refused = store.take_run(&run).await.err();
    assert!(matches!(refused, Some(StoreError::Damaged { .. })), "{refused:?}");
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert!(!loss.is_any(), "{loss}");
    // The page's head is as it was.
    let problems = store.integrity().expect("looked").problems;
    assert!(problems.iter().all(|problem| problem.run.is_none()), "{problems:?}");
    assert_eq!(
        store.keys(&space(Some(&run)), "", None, 9).expect("read"),
        ["k2", "k3", "k4"]
    );
    drop(store);
    // Where another's is hidden too, the index that alone tells of it stays as it is, whatever is done about the first.
    restore(dir.path(), &whole);
    hide(dir.path(), b"\x02notes");
    hide(dir.path(), b"\x03notes");
    let store = open(dir.path());
    let accepted = store.accept_loss(&run).await;
    assert!(matches!(accepted, Err(StoreError::Corrupt { .. })), "{accepted:?}");
    let all = store.prunable().expect("read");
    assert_eq!(store.remove_run(of(&all, &run)).await, Ok(Removal::Removed));
    let swept = store.sweep_rows().await;
    assert!(matches!(swept, Err(StoreError::Corrupt { .. })), "{swept:?}");
    let refused = store.take_run(&other).await.err();
    assert!(matches!(refused, Some(StoreError::Damaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_lock_file_that_is_none_is_damage_of_its_run_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, other) = (answered(&store).await, answered(&store).await);
    let lock = dir.path().join(format!("runs/{run}.lock"));
    std::fs::remove_file(&lock).expect("removed");
    std::fs::create_dir(&lock).expect("made");
    assert!(matches!(store.run_state(&run), Ok(RunState::Damaged(_))));
    let all = store.prunable().expect("read");
    store.take_run(&other).await.expect("taken");
    let accepted = store.accept_loss(&run).await;
    assert!(matches!(accepted, Err(StoreError::Io { .. })), "{accepted:?}");
    assert_eq!(store.remove_run(of(&all, &run)).await, Ok(Removal::Removed));
    store.sweep_rows().await.expect("swept");
}

#[tokio::test]
async fn a_component_that_no_row_names_is_missed() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, _other) = (answered(&store).await, answered(&store).await);
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    conn.execute("DELETE FROM component WHERE run = 1", []).expect("gone");
    let problems = store.integrity().expect("looked").problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].run.as_ref(), Some(&run));
    assert!(problems[0].what.contains("is missing"), "{problems:?}");
}

/// A run whose one operation has sent this message; whose owner is gone.
async fn with_body(store: &Store, content: &[u8]) -> RunId {
    let run = RunId::random();
    let Record::Intent(mut intent) = intent(&run, 1) else {
        unreachable!("it is one")
    };
    intent.request = vec![Digest::of(content)];
    let records = [
        Record::Body(Digest::of(content), content.to_vec()),
        Record::Intent(intent),
        outcome(&run, 1),
        told(&run, 1, 1),
    ];
    begun_with(store, &run, records).await;
    run
}

#[tokio::test]
async fn no_message_is_lost_for_what_its_row_or_the_index_says_of_it() {
    for kind in [TABLE, INDEX] {
        // The number of the run, which becomes the other's; a byte of the digest.
        for at in [0, 1] {
            let dir = tempfile::tempdir().expect("a folder");
            let store = open(dir.path());
            answered(&store).await;
            let runs = [with_body(&store, b"one").await, with_body(&store, b"two").await];
            drop(store);
            let label = [&[2], Digest::of(b"one").as_bytes().as_slice()].concat();
            let mut changed = label.clone();
            changed[at] ^= 1;
            rot(dir.path(), kind, &label, &changed);
            let bad = copied_in(dir.path());
            // For another reason than this.
            let store = open(dir.path());
            for run in &runs {
                std::fs::remove_file(dir.path().join(format!("runs/{run}.lock"))).expect("removed");
                let loss = store.accept_loss(run).await.expect("accepted");
                assert_eq!((loss.cut, loss.kept), (0, 6), "{kind} {at}");
            }
            assert_eq!(store.integrity().expect("looked").problems, [], "{kind} {at}");
            drop(store);
            // And a removed run takes its own with it alone.
            restore(dir.path(), &bad);
            let store = open(dir.path());
            let all = store.prunable().expect("read");
            assert_eq!(store.remove_run(of(&all, &runs[1])).await, Ok(Removal::Removed));
            store.sweep_rows().await.expect("nothing is doubtful");
            let loss = store.accept_loss(&runs[0]).await.expect("accepted");
            assert_eq!((loss.cut, store.whole(&runs[0])), (0, Ok(())), "{kind} {at}");
        }
    }
}

/// There is another row of each message, to which the index does not lead.
fn twice(dir: &Path) {
    let change = |sql: &str| {
        let conn = Connection::open(dir.join("hermes.db")).expect("opens");
        conn.execute_batch(sql).expect("changed");
    };
    let conn = Connection::open(dir.join("hermes.db")).expect("opens");
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_body_1'";
    let root: u32 = conn.query_row(root, [], |row| row.get(0)).expect("read");
    drop(conn);
    change(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, ', UNIQUE (run, digest)', '') WHERE name = 'body';
         DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_body_1'",
    );
    change("INSERT INTO body SELECT * FROM body");
    change(&format!(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'data BLOB NOT NULL', 'data BLOB NOT NULL, UNIQUE (run, digest)') WHERE name = 'body';
         INSERT INTO sqlite_schema VALUES ('index', 'sqlite_autoindex_body_1', 'body', {root}, NULL)"
    ));
}

#[tokio::test]
async fn of_two_rows_of_one_message_one_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = with_body(&store, b"one").await;
    drop(store);
    twice(dir.path());
    let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
    let made = whole::reindex(&conn, "body");
    let told = matches!(&made, Err(Fault::Corrupt(what)) if what.contains("two rows of the table body"));
    assert!(told, "{made:?}");
    drop(conn);
    let store = open(dir.path());
    assert_ne!(store.integrity().expect("looked").problems, []);
    // For another reason than this.
    std::fs::remove_file(dir.path().join(format!("runs/{run}.lock"))).expect("removed");
    let loss = store.accept_loss(&run).await.expect("accepted");
    assert_eq!((loss.cut, loss.kept), (0, 6));
    assert_eq!(store.integrity().expect("looked").problems, []);
    assert_eq!(rows(dir.path())[3], 1, "the rows of messages");
}

#[tokio::test]
async fn the_rows_of_a_runs_components_are_made_again() {
    // One that is gone, and one whose checksum has another type.
    for mistyped in [false, true] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        answered(&store).await;
        let run = answered(&store).await;
        drop(store);
        if mistyped {
            rot(dir.path(), INDEX, b"\x04\x01\x4c\x06", b"\x04\x01\x4c\x07");
        } else {
            let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
            conn.execute("DELETE FROM component WHERE run = 2", []).expect("gone");
        }
        let bad = copied_in(dir.path());
        let store = open(dir.path());
        let problems = store.integrity().expect("looked").problems;
        assert!(problems.iter().any(|p| p.run.as_ref() == Some(&run)), "{problems:?}");
        let swept = store.sweep_files(None, None).await.expect("swept");
        let missing = (!mistyped).then(|| Missing::Rows(run.clone()));
        assert_eq!((swept.components, swept.missing), (0, missing));
        store.accept_loss(&run).await.expect("accepted");
        assert_eq!(store.integrity().expect("looked").problems, [], "{mistyped}");
        drop(store);
        restore(dir.path(), &bad);
        let store = open(dir.path());
        let all = store.prunable().expect("read");
        assert_eq!(
            store.remove_run(of(&all, &run)).await,
            Ok(Removal::Removed),
            "{mistyped}"
        );
        store.sweep_rows().await.expect("swept");
        assert_eq!(store.integrity().expect("looked").problems, [], "{mistyped}");
    }
}
