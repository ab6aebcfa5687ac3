//! What an accepted loss cuts, keeps and mends: nothing half written stays, and what only an index hides is not lost.

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
