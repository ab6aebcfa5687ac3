//! Rows that are damaged one at a time: the run is refused, and with its loss accepted it goes on and comes to its end.

use rusqlite::Connection;

use crate::end::End;
use crate::files::{DATABASE, change_rows, is_damaged, is_found, suspended, without_log};
use crate::full;
use crate::place::{Place, assert_sound, newest, resume};
use crate::recorded::Recorded;

/// The numbers of kinds of records, as the journal's rows have them.
const SESSION: i64 = 1;
const UPDATE: i64 = 2;
const START: i64 = 3;
const INTENT: i64 = 4;
const OUTCOME: i64 = 5;
const OBSERVATION: i64 = 6;

/// A row of the journal.
#[derive(Debug)]
struct Row {
    id: i64,
    kind: i64,
    session: i64,
    attempt: i64,
    n: i64,
}

/// The rows of the journal in this place, in order.
fn rows(place: &Place) -> Vec<Row> {
    let database = Connection::open(place.dir().join(DATABASE)).unwrap();
    let mut select = database
        .prepare("SELECT id, kind, session, attempt, n FROM journal ORDER BY id")
        .unwrap();
    let rows = select.query_map([], |row| {
        Ok(Row {
            id: row.get(0)?,
            kind: row.get(1)?,
            session: row.get(2)?,
            attempt: row.get(3)?,
            n: row.get(4)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Where the first of these is that begins a step, whose records have these kinds.
#[track_caller]
fn step(rows: &[Row], begins: impl Fn(&Row) -> bool, kinds: &[i64]) -> Vec<usize> {
    let first = rows.iter().position(begins).expect("there is such a step");
    let found: Vec<i64> = rows[first..].iter().take(kinds.len()).map(|row| row.kind).collect();
    assert_eq!(found, kinds, "from {first} on");
    (first..first + kinds.len()).collect()
}

/// The rows to damage: those of each kind of step that is written as a whole, and some others.
fn chosen(rows: &[Row]) -> Vec<usize> {
    let begun = 3;
    if full() {
        return (begun - 1..rows.len()).collect();
    }
    let write = |row: &Row| row.kind == INTENT && (row.session, row.n) == (0, 1);
    let child = |row: &Row| row.kind == SESSION && row.session == 1;
    let restart = |row: &Row| row.kind == START && row.attempt == 2;
    let mut chosen = step(rows, write, &[INTENT, OUTCOME, OBSERVATION]);
    chosen.extend(step(rows, child, &[SESSION, START, INTENT]));
    chosen.extend(step(rows, restart, &[START, UPDATE]));
    chosen.extend((begun - 1..rows.len()).step_by(47));
    chosen.push(rows.len() - 1);
    chosen
}

#[test]
fn f05_a_loss_is_accepted_at_each_record() {
    let recorded = Recorded::everything();
    let place = recorded.place();
    recorded.host(&place).output().expect(0);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    let rows = rows(&place);
    for at in chosen(&rows) {
        let row = &rows[at];
        let what = format!("record {} of {}: {row:?}", at + 1, rows.len());
        place.restore(&files);
        let spoil = format!(
            "UPDATE journal SET data = CAST(data || x'00' AS BLOB) WHERE id = {}",
            row.id
        );
        change_rows(&place, &[&spoil]);
        let output = resume(&place.home, &run).arg("--accept-loss").output();
        assert_eq!(output.code, Some(0), "{what}:\n{}", output.stderr);
        assert!(
            output.stderr.contains("from the first damaged one on"),
            "{what}:\n{}",
            output.stderr
        );
        // What it wrote stays, so that it reads other things; but each agent is there once, and ends as it does.
        assert_eq!(output.json()["exit"], "returned", "{what}");
        assert_eq!(End::printed(&output).agents(), recorded.end.agents(), "{what}");
        assert_sound(&place.home);
    }
}

#[test]
fn f05_a_session_without_its_row() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    for hide in [
        "UPDATE session SET run = run + 64 WHERE number = 0",
        "UPDATE session SET run = run + 64 WHERE number = 1",
        "UPDATE session SET number = number + 64 WHERE number = 2",
        "DELETE FROM session WHERE number = 3",
        "DELETE FROM session",
    ] {
        place.restore(&files);
        let before = rows(&place).len();
        is_damaged(&place, &run, &change_rows(&place, &[hide]), hide);
        for command in ["cancel", "show", "tree", "replay", "export"] {
            let output = place.home.host().args([command, &run]).output();
            output.expect(1).says(&["is damaged", "the row of session"]);
        }
        assert_eq!(rows(&place).len(), before, "{hide}: nothing is written");
        let output = resume(&place.home, &run).arg("--accept-loss").output().expect(0);
        assert!(output.stderr.contains("has lost nothing"), "{hide}: {}", output.stderr);
        End::printed(&output).assert_like(&recorded.end, hide);
        assert!(!is_found(&place.home), "{hide}");
    }
}

#[test]
fn f05_a_message_that_is_damaged() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let run = newest(&place.home).unwrap();
    without_log(&place);
    let spoil = "UPDATE body SET data = CAST(data || 'x' AS BLOB) WHERE rowid = (SELECT min(rowid) FROM body)";
    let (before, bad) = (rows(&place).len(), change_rows(&place, &[spoil]));
    is_damaged(&place, &run, &bad, "a message");
    let output = resume(&place.home, &run).output().expect(1);
    assert_eq!(output.json()["error"]["kind"], "journal-damaged");
    assert_eq!(rows(&place).len(), before, "nothing is written");
}

#[test]
fn f05_an_epoch_that_hides_a_run() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    for epoch in ["0", "-1", "epoch + (1 << 40)"] {
        place.restore(&files);
        let hide = format!("UPDATE run SET epoch = {epoch}");
        is_damaged(&place, &run, &change_rows(&place, &[&hide]), epoch);
        for arguments in [
            &["runs", "prune", "--older-than", "9999d"][..],
            &["runs", "prune", "--status", "completed,failed,cancelled,interrupted"],
        ] {
            place.home.host().args(arguments).output().expect(0);
            assert_eq!(newest(&place.home).as_ref(), Some(&run), "{epoch}: {arguments:?}");
        }
        let output = resume(&place.home, &run).arg("--accept-loss").output().expect(0);
        assert!(output.stderr.contains("has lost nothing"), "{epoch}: {}", output.stderr);
        End::printed(&output).assert_like(&recorded.end, epoch);
        assert!(!is_found(&place.home), "{epoch}");
    }
}
