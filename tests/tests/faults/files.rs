//! Files that are torn, damaged, lost, swapped, or of a host to come.

use hermes_tests::Home;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::end::End;
use crate::place::{Files, Place, newest, resume};
use crate::program::ANSWERED;
use crate::recorded::Recorded;
use crate::{full, moments};

pub(crate) const DATABASE: &str = "hermes.db";
const LOG: &str = "hermes.db-wal";
/// Bytes of a page of the database, and of what stands before each in the log.
const PAGE: usize = 4096;
const FRAME_HEADER: usize = 24;

/// The files with one of them changed.
fn changed(files: &Files, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Files {
    let mut files = files.clone();
    let found = files.iter_mut().find(|(path, _)| path.ends_with(name));
    change(&mut found.unwrap_or_else(|| panic!("there is no {name}")).1);
    files
}

fn without(files: &Files, name: &str) -> Files {
    files
        .iter()
        .filter(|(path, _)| !path.ends_with(name))
        .cloned()
        .collect()
}

/// Flips a bit of the last place that holds these bytes.
fn flip(at: &'static [u8]) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| {
        let found = bytes.windows(at.len()).rposition(|window| window == at);
        bytes[found.unwrap()] ^= 1;
    }
}

/// What becomes of a file's bytes.
type Change = fn(&mut Vec<u8>);

#[test]
fn f04_a_torn_tail() {
    // The last that was written is the intent of a completion, which is committed and not synced.
    let recorded = Recorded::everything();
    let cases: [(&str, Change); 7] = [
        ("a byte short", |log| log.truncate(log.len() - 1)),
        ("half a page short", |log| log.truncate(log.len() - PAGE / 2)),
        ("a page short", |log| log.truncate(log.len() - PAGE)),
        ("a frame short", |log| log.truncate(log.len() - PAGE - FRAME_HEADER)),
        ("half a sector of zeroes", |log| {
            let end = log.len();
            log[end - 256..].fill(0);
        }),
        ("a frame that was begun", |log| log.extend([0x55; FRAME_HEADER + 1000])),
        ("a frame twice", |log| {
            log.extend_from_within(log.len() - PAGE - FRAME_HEADER..);
        }),
    ];
    for (what, change) in cases {
        let place = recorded.killed_while("ROOT ONE", 0);
        let files = place.files();
        place.restore(&changed(&files, LOG, change));
        recorded.ends_well_after_a_loss(&place, what);
    }
}

/// However much of the last frame is missing, what is lost is that frame and nothing else: it is not missed, or it was synced and the run is damaged.
#[test]
fn f04_a_tail_of_any_length() {
    const LENGTHS: [usize; 8] = [1, 2, 511, 512, 2047, 2048, PAGE - 1, PAGE];
    let recorded = Recorded::everything();
    let moments = [("ROOT ONE", 0), ("PAR TWO", ANSWERED)];
    let lengths = if full() { (1..=PAGE).collect() } else { LENGTHS.to_vec() };
    for (at, (asked, answered)) in moments.iter().enumerate() {
        let place = recorded.killed_while(asked, *answered);
        let (run, files) = (newest(&place.home).unwrap(), place.files());
        let shorter = |by: usize| changed(&files, LOG, |log| log.truncate(log.len() - by));
        let listed = |by: usize| {
            place.restore(&shorter(by));
            let runs = place.home.host().args(["runs", "--output", "json"]);
            let row = runs.output().expect(0).json()[0].clone();
            let database = Connection::open(place.dir().join(DATABASE)).unwrap();
            let count = database.query_row("SELECT count(*) FROM journal", [], |row| row.get::<_, i64>(0));
            (row, count.unwrap())
        };
        let without_frame = listed(PAGE + FRAME_HEADER);
        // Each length at one of the moments.
        for length in lengths.iter().filter(|length| *length % moments.len() == at) {
            assert_eq!(listed(*length), without_frame, "{asked}: {length} bytes short");
        }
        let what = format!("{asked}, without the last frame");
        match without_frame.0["status"] == "damaged" {
            true => is_damaged(&place, &run, &shorter(1), &what),
            false => {
                place.restore(&shorter(1));
                recorded.ends_well_after_a_loss(&place, &what);
            }
        }
    }
}

/// A run that was suspended with one completion under way.
pub(crate) fn suspended(recorded: &Recorded) -> Place {
    recorded.suspended_while("PAR TWO", ANSWERED)
}

/// The files after the log was copied into the database.
pub(crate) fn without_log(place: &Place) -> Files {
    let database = Connection::open(place.dir().join(DATABASE)).unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    database.close().unwrap();
    place.files()
}

/// Whether `doctor` finds something wrong with the database.
pub(crate) fn is_found(home: &Home) -> bool {
    let found = home.host().args(["doctor", "--output", "json"]).output().json();
    let mut rows = found.as_array().unwrap().iter();
    rows.any(|row| row["check"] == "database" && row["state"] == "fail")
}

/// With these files the run is refused as damaged, nothing is sent for it, and `doctor` finds it.
#[track_caller]
pub(crate) fn is_damaged(place: &Place, run: &str, files: &Files, what: &str) {
    is_refused(place, run, files, ("journal-damaged", 1), what);
}

/// The same where no run can be used: it is the database that can't be read.
#[track_caller]
fn is_unreadable(place: &Place, run: &str, files: &Files, what: &str) {
    is_refused(place, run, files, ("storage", 2), what);
}

#[track_caller]
fn is_refused(place: &Place, run: &str, files: &Files, (kind, code): (&str, i32), what: &str) {
    place.restore(files);
    let asked = place.asked();
    let output = resume(&place.home, run).output();
    assert!(output.stderr.contains("damaged"), "{what}: {}", output.stderr);
    assert_eq!(
        (&output.json()["error"]["kind"], output.code),
        (&json!(kind), Some(code)),
        "{what}: {}",
        output.stderr
    );
    assert_eq!(place.asked(), asked, "{what}: nothing is sent");
    assert!(is_found(&place.home), "{what}");
}

/// Another run in this home comes to its end.
#[track_caller]
fn others_are_well(recorded: &Recorded, place: &Place, what: &str) {
    let output = recorded.host(place).output().expect(0);
    End::printed(&output).assert_like(&recorded.end, what);
}

#[test]
fn f05_a_damaged_log() {
    let recorded = Recorded::everything();
    // A process that ends in order may copy its log into the database.
    let place = recorded.killed_while("PAR TWO", ANSWERED);
    let (run, files) = (newest(&place.home).unwrap(), place.files());
    is_damaged(
        &place,
        &run,
        &changed(&files, LOG, flip(b"par one")),
        "a frame in the middle",
    );
    others_are_well(&recorded, &place, "beside a run that lost its end");
    is_damaged(
        &place,
        &run,
        &changed(&files, LOG, |log| log[100] ^= 1),
        "the first frame",
    );
    is_damaged(&place, &run, &without(&files, LOG), "no log");
}

#[test]
fn f05_a_damaged_database() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    is_damaged(&place, &run, &changed(&files, DATABASE, flip(b"par one")), "a record");
    others_are_well(&recorded, &place, "beside a run with a record that is damaged");
    is_unreadable(
        &place,
        &run,
        &changed(&files, DATABASE, |bytes| bytes[100] ^= 0x40),
        "the first page",
    );
    is_unreadable(&place, &run, &without(&files, DATABASE), "no database");
    // Whatever page it is that can't be read: the run is refused, and nothing is sent for it, or ends as it should.
    let (_, bytes) = files.iter().find(|(path, _)| path.ends_with(DATABASE)).unwrap();
    let pages = bytes.len() / PAGE;
    for page in moments(5).take_while(|page: &usize| *page < pages) {
        place.restore(&changed(&files, DATABASE, |bytes| bytes[page * PAGE] ^= 0x41));
        let asked = place.asked();
        let output = resume(&place.home, &run).output();
        match output.code {
            Some(0) => End::printed(&output).assert_like(&recorded.end, &format!("page {page}")),
            _ => {
                assert!(output.stderr.contains("damaged"), "page {page}: {}", output.stderr);
                assert_eq!(place.asked(), asked, "page {page}: nothing is sent");
            }
        }
    }
}

#[test]
fn f05_a_page_of_one_run() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    let pages = place.home.journal_pages();
    // What others write comes behind the last of them.
    let inner = &pages[1..pages.len() - 3];
    assert!(inner.len() > 2, "{pages:?}");
    for page in inner.iter().step_by(if full() { 1 } else { inner.len() / 2 }) {
        let what = format!("page {page}");
        let garbled = changed(&files, DATABASE, |bytes| bytes[(page - 1) * PAGE] ^= 0x41);
        is_damaged(&place, &run, &garbled, &what);
        others_are_well(&recorded, &place, &what);
        let other = newest(&place.home).unwrap();
        assert_ne!(other, run, "{what}");
        let prune = ["runs", "prune", "--status", "completed", "--output", "json"];
        // The bytes of plugins stay.
        let pruned = place.home.host().args(prune).output().expect(1).json();
        assert_eq!(
            (&pruned["runs"][0]["run"], &pruned["runs"][1]),
            (&json!(other), &Value::Null),
            "{what}"
        );
        assert_eq!(newest(&place.home).as_ref(), Some(&run), "{what}");
    }
}

/// Changes rows of the database in this place, whose log is copied into it.
pub(crate) fn change_rows(place: &Place, statements: &[&str]) -> Files {
    for statement in statements {
        let database = Connection::open(place.dir().join(DATABASE)).unwrap();
        database.execute_batch(statement).unwrap();
        database.close().unwrap();
    }
    place.files()
}

#[test]
fn f05_a_column_that_hides_a_record() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    // An outcome that is not found is a call that is made again and paid again.
    for set in [
        "attempt = attempt + 64",
        "session = session + 64",
        "n = n + 64",
        "scope = '64'",
    ] {
        place.restore(&files);
        let hidden = format!("UPDATE journal SET {set} WHERE id = (SELECT max(id) FROM journal WHERE kind = 5)");
        is_damaged(&place, &run, &change_rows(&place, &[&hidden]), set);
    }
    others_are_well(&recorded, &place, "beside a run with a record that is hidden");
    place.restore(&files);
    let output = resume(&place.home, &run).output().expect(0);
    End::printed(&output).assert_like(&recorded.end, "as it was");
}

#[test]
fn f05_an_index_that_hides_records() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let run = newest(&place.home).unwrap();
    without_log(&place);
    let index = |end: &str| {
        format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql =
             'CREATE UNIQUE INDEX journal_once ON journal (run, session, kind, attempt, scope, n){end}'
             WHERE name = 'journal_once'"
        )
    };
    let hidden = change_rows(
        &place,
        &[&index(" WHERE kind <> 5"), "REINDEX journal_once", &index("")],
    );
    is_damaged(&place, &run, &hidden, "an index without outcomes");
    let output = resume(&place.home, &run).arg("--accept-loss").output().expect(0);
    assert!(output.stderr.contains("has lost nothing"), "{}", output.stderr);
    End::printed(&output).assert_like(&recorded.end, "with its index made again");
    assert!(!is_found(&place.home));
}

#[test]
fn f05_an_index_that_hides_a_run() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    // As a record of that index begins for the first run: a text of ten bytes, and the number 1.
    let named = [b"\x03\x21\x09".as_slice(), run.as_bytes()].concat();
    let hidden = changed(&files, DATABASE, |bytes| {
        let found = bytes.windows(named.len()).position(|window| window == named);
        bytes[found.expect("the index has it") + named.len() - 1] ^= 8;
    });
    is_damaged(&place, &run, &hidden, "an index without the run");
    let listed = place.home.host().args(["runs", "--output", "json"]).output().expect(0);
    assert_eq!(listed.json()[0]["status"], "damaged");
    let output = resume(&place.home, &run).arg("--accept-loss").output().expect(0);
    assert!(output.stderr.contains("has lost nothing"), "{}", output.stderr);
    End::printed(&output).assert_like(&recorded.end, "with its index made again");
    assert!(!is_found(&place.home));
}

#[test]
fn f05_a_space_that_says_nonsense() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    for column in ["version", "keys", "bytes", "tombstones"] {
        place.restore(&files);
        let nonsense = format!("UPDATE space SET {column} = {column} + 64 WHERE run <> 0");
        is_damaged(&place, &run, &change_rows(&place, &[&nonsense]), column);
    }
    let output = resume(&place.home, &run).arg("--accept-loss").output().expect(0);
    End::printed(&output).assert_like(&recorded.end, "with its spaces counted again");
    assert!(!is_found(&place.home));
}

#[test]
fn f05_a_damaged_anchor() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), place.files());
    let lock = format!("{run}.lock");
    is_damaged(
        &place,
        &run,
        &changed(&files, &lock, |line| line[40] ^= 1),
        "a byte of the anchor",
    );
    others_are_well(&recorded, &place, "beside a run without an anchor");
    is_damaged(&place, &run, &without(&files, &lock), "no anchor");
}

#[test]
fn f05_the_database_of_yesterday() {
    let recorded = Recorded::everything();
    let place = recorded.suspended_while("ROOT ONE", 0);
    let (run, yesterday) = (newest(&place.home).unwrap(), place.files());
    recorded.ends_well(&place, &[], "today");
    let lock = format!("{run}.lock");
    let (_, line) = place
        .files()
        .into_iter()
        .find(|(path, _)| path.ends_with(&lock))
        .unwrap();
    is_damaged(
        &place,
        &run,
        &changed(&yesterday, &lock, |bytes| *bytes = line),
        "yesterday's database",
    );
}

#[test]
fn f22_a_format_that_is_newer() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    let version = |bytes: &[u8]| u32::from_be_bytes(bytes[60..64].try_into().unwrap());
    let (_, bytes) = files.iter().find(|(path, _)| path.ends_with(DATABASE)).unwrap();
    let known = version(bytes);
    let newer = changed(&files, DATABASE, |bytes| {
        bytes[60..64].copy_from_slice(&(known + 1).to_be_bytes());
    });
    place.restore(&newer);
    let names = [format!("format {}", known + 1), format!("up to {known}")];
    let asked = place.asked();
    for arguments in [
        &["runs"][..],
        &["show", &run],
        &["resume", &run],
        &["cancel", &run],
        &["blackboard", "put", "shared", "key", "value"],
        &["blackboard", "ls", "shared"],
    ] {
        let output = place.home.host().args(arguments).output().expect(2);
        output.says(&[&names[0], &names[1]]);
    }
    recorded.host(&place).output().expect(2).says(&[&names[0], &names[1]]);
    assert!(is_found(&place.home));
    assert_eq!(place.asked(), asked, "nothing is sent");
    assert!(place.files() == newer, "nothing is touched");
}

/// A checksum of the database's rows, over these parts.
fn sum(parts: &[&[u8]]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    i64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap())
}

/// Writes the last record of the journal in this place, whose log is copied into it, once more: in a row of this kind whose checksums are right.
fn written_again(place: &Place, kind: i64) -> Files {
    let database = Connection::open(place.dir().join(DATABASE)).unwrap();
    let last = "SELECT id, chain, data FROM journal ORDER BY id DESC LIMIT 1";
    let found: rusqlite::Result<(i64, i64, Vec<u8>)> =
        database.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (id, chain, data) = found.unwrap();
    let own = sum(&[b"journal", &(id + 1).to_le_bytes(), &kind.to_le_bytes(), &data]);
    let chain = sum(&[&chain.to_le_bytes(), &own.to_le_bytes()]);
    let again = "INSERT INTO journal (id, run, session, kind, attempt, scope, n, sum, chain, data)
         SELECT id + 1, run, session, ?2, attempt, scope, n + 1, ?3, ?4, data FROM journal WHERE id = ?1";
    database.execute(again, [id, kind, own, chain]).unwrap();
    database.close().unwrap();
    place.files()
}

/// What a newer host writes it writes into a database of a newer format. In one of this format a record of a kind that is none of its own is damage, whatever
/// its checksums say, and the other runs are well.
#[test]
fn f22_a_record_of_an_unknown_kind() {
    let recorded = Recorded::everything();
    let place = suspended(&recorded);
    let (run, files) = (newest(&place.home).unwrap(), without_log(&place));
    // The last is the step that a session was stopped with: twice it is as good as once.
    place.restore(&written_again(&place, 2));
    recorded.ends_well(&place, &[], "its last record twice");
    place.restore(&files);
    let unknown = written_again(&place, 99);
    is_damaged(&place, &run, &unknown, "a record of kind 99");
    place.restore(&unknown);
    let refused = |command: &str| {
        let output = place.home.host().args([command, &run]).output();
        output.expect(1).says(&["is damaged"]);
    };
    for command in ["show", "tree", "replay", "export"] {
        refused(command);
    }
    let now = place.files();
    let touched = unknown.iter().find(|file| !now.contains(file));
    assert_eq!(touched.map(|(path, _)| path), None);
    refused("cancel");
    others_are_well(&recorded, &place, "beside a run with a record of an unknown kind");
}
