//! Records, effects and components are written and read back, and the rows of sessions follow their records.

use std::collections::HashMap;

use super::*;

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
    keep_strategy(&store, &owner).await;
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
