//! The blackboard: versions, quotas and tombstones of its entries; damage to an entry or to the row of a space is never read as an absence.

use super::*;

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
        // Neither is damage for which a run is removed, and a read that fails tells of none.
        assert!(store.structure().await.expect("looked").is_some(), "{typed}");
        match store.read_through() {
            Ok(runs) => {
                assert!(!typed);
                assert_eq!(of(&runs, &good).state, RunState::Free);
                assert!(matches!(of(&runs, &bad).state, RunState::Damaged(_)));
            }
            Err(error) => assert!(typed && matches!(error, StoreError::Io { .. }), "{error}"),
        }
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
async fn no_list_of_spaces_lacks_one_that_an_index_hides() {
    let dir = tempfile::tempdir().expect("a folder");
    let [run, other] = two_that_wrote(dir.path()).await;
    let whole = copied_in(dir.path());
    let asked = [None, Some(run.clone()), Some(other.clone())];
    let entry = |id: &[u8], number: u8| [b"\x03\x21\x01", id, &[number]].concat();
    let id = run.as_str().as_bytes();
    let mut wrong = id.to_vec();
    wrong[9] = if wrong[9] == b'0' { b'1' } else { b'0' };
    // The index of spaces has another name; that of runs another id, and another number.
    for (from, to, words) in [
        (b"\x02notes".to_vec(), b"\x02notec".to_vec(), "the index of its spaces"),
        (entry(id, 2), entry(&wrong, 2), hidden::NOT_LED_TO),
        (entry(id, 2), entry(id, 3), hidden::NOT_LED_TO),
    ] {
        restore(dir.path(), &whole);
        rot(dir.path(), INDEX, &from, &to);
        let store = open(dir.path());
        let each = store.spaces_of_each(&asked).expect("read");
        for (run, listed) in asked.iter().zip(each) {
            assert_eq!(listed, store.spaces(run.as_ref()), "{words}");
            let is_told =
                |error: &StoreError| matches!(error, StoreError::Damaged { what, .. } if what.contains(words));
            match &listed {
                Ok(spaces) => assert_eq!((run == &asked[1], spaces.len()), (false, usize::from(run.is_some()))),
                Err(error) => assert!(run == &asked[1] && is_told(error), "{words}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn the_index_of_the_home_folders_spaces_is_made_again_with_the_loss_of_any_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let put = put(None, "h", b"v", None);
    store.write_home(put, "person", 1).await.expect("written");
    let run = answered(&store).await;
    drop(store);
    let whole = copied_in(dir.path());
    // The types of the run's number, the name and the number of the first space, and the name; those of the space's number, the key and the entry's number,
    // and the key.
    for (from, to, words) in [
        (
            b"\x08\x17\x09notes".as_slice(),
            b"\x08\x17\x09notec".as_slice(),
            "the index of the home folder's spaces",
        ),
        (
            b"\x09\x0e\x09h",
            b"\x09\x0e\x09x",
            "the index of the entries of the space \"notes\"",
        ),
    ] {
        restore(dir.path(), &whole);
        rot(dir.path(), INDEX, from, to);
        let store = open(dir.path());
        let read = store.get(&space(None), "h").err();
        let is_told = |what: &str| what.contains(words) && what.contains("--accept-loss");
        let told = matches!(&read, Some(StoreError::Corrupt { what, .. }) if is_told(what));
        assert!(told, "{read:?}");
        let loss = store.accept_loss(&run).await.expect("accepted");
        assert!(!loss.is_any(), "{loss}");
        assert_eq!(
            store.keys(&space(None), "", None, 9),
            Ok(vec!["h".to_owned()]),
            "{words}"
        );
        assert_eq!(store.integrity().expect("looked").problems, [], "{words}");
        drop(store);
        // Where a row is not what was written either, the index stays as it is, and holds up no run.
        let conn = Connection::open(dir.path().join("hermes.db")).expect("opens");
        conn.execute("UPDATE entry SET author = 'x'", []).expect("changed");
        conn.execute("UPDATE space SET sum = sum + 1", []).expect("changed");
        drop(conn);
        rot(dir.path(), INDEX, from, to);
        let store = open(dir.path());
        store.accept_loss(&run).await.expect("accepted");
        assert!(store.get(&space(None), "h").is_err(), "{words}");
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
async fn a_run_has_no_more_spaces_than_it_may_have_keys() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let run = answered(&store).await;
    let conn = store.0.files.connect().expect("opens");
    conn.execute_batch("BEGIN").expect("begun");
    let quota = Quota {
        keys: 2,
        bytes: 1 << 20,
    };
    let by = space::Writing {
        author: "agent".into(),
        op: None,
        at_ms: 1,
    };
    let named = |name: &str| SpaceId {
        run: Some(run.clone()),
        name: name.into(),
    };
    let put = |name: &str| {
        let put = Effect::Put {
            space: named(name),
            key: "k".into(),
            media_type: "text/plain".into(),
            data: b"v".to_vec(),
            if_version: None,
        };
        space::apply(&conn, &put, &by, quota).expect("applied")
    };
    let delete = |name: &str| {
        let delete = Effect::Delete {
            space: named(name),
            key: "k".into(),
            if_version: None,
        };
        space::apply(&conn, &delete, &by, quota).expect("applied")
    };
    for name in ["a", "b"] {
        assert_eq!(put(name), EffectResult::Written(1));
        assert_eq!(delete(name), EffectResult::Deleted);
    }
    assert_eq!(
        (put("c"), delete("c")),
        (EffectResult::TooManyKeys(2), EffectResult::Deleted)
    );
    assert_eq!(put("a"), EffectResult::Written(3));
}

#[tokio::test]
async fn the_entries_of_a_run_come_by_space_and_version_in_pages_of_any_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (run, other) = (answered(&store).await, answered(&store).await);
    wrote(&store, &other, 2..4).await;
    let owner = store.take_run(&run).await.expect("taken");
    let writes = [
        ("b", "k1"),
        ("c", "gone"),
        ("a", "k1"),
        ("b", "k2"),
        ("b", "k1"),
        ("B", "k1"),
        ("ab", "k1"),
        ("b", "k0"),
    ];
    let of = |name: &str| SpaceId {
        run: Some(run.clone()),
        name: name.into(),
    };
    let mut effects: Vec<Effect> = Vec::new();
    for (name, key) in writes {
        effects.push(Effect::Put {
            space: of(name),
            key: key.into(),
            media_type: "text/plain".into(),
            data: b"v".to_vec(),
            if_version: None,
        });
    }
    effects.push(Effect::Delete {
        space: of("c"),
        key: "gone".into(),
        if_version: None,
    });
    for (op, effect) in (2..).zip(effects) {
        let records = vec![intent(&run, op), outcome(&run, op), told(&run, op.into(), op)];
        store
            .append(&owner, records, of_op(&run, op, effect), Sync::Durable)
            .await
            .expect("written");
    }
    let expected = [
        ("B", "k1", 1, false),
        ("a", "k1", 1, false),
        ("ab", "k1", 1, false),
        ("b", "k2", 2, false),
        ("b", "k1", 3, false),
        ("b", "k0", 4, false),
        ("c", "gone", 2, true),
    ];
    for limit in 1..=8 {
        let (mut all, mut after) = (Vec::new(), None::<EntryCursor>);
        loop {
            let page = store.stored_entries(&run, after.as_ref(), limit).expect("read");
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            after = Some((last.space.clone(), last.version));
            all.extend(page);
        }
        let all = all
            .iter()
            .map(|e| (e.space.as_str(), e.key.as_str(), e.version, e.deleted));
        assert_eq!(all.collect::<Vec<_>>(), expected, "{limit}");
    }
}
