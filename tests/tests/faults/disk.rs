//! The disk is full, or fails: the run stops with the reason, tells nobody what is not written down, and goes on when the disk is well again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hermes_tests::Shim;
use hermes_tests::host::lets_mount;
use hermes_tests::shim::{Action, EIO, ENOSPC, When};

use crate::end::End;
use crate::files::without_log;
use crate::kills::bulky;
use crate::place::{completions, newest, sends, shown};
use crate::recorded::{Fate, Met, Recorded};
use crate::{eventually, full, moments};

/// From the n-th of these calls on all of them fail, for `every` so manyth, until a run comes to its end before that.
fn sweep(recorded: &Recorded, calls: &str, path: &str, error: i32, says: &'static str, every: usize) {
    let begun = Instant::now();
    let (mut cases, mut resumed) = (0, 0);
    for n in moments(every) {
        let shim = Shim::new().rule(calls, path, When::From(n), &Action::Errno(error));
        let met = Met { shim, says: Some(says) };
        let moment = format!("error {error} from {calls} {n} of {path} on");
        let fate = recorded.ends_well(&recorded.place(), &[met], &moment);
        cases += 1;
        resumed += usize::from(fate == Fate::Resumed);
        if fate == Fate::Unbroken {
            break;
        }
    }
    println!(
        "error {error} in {calls} of {path}: {cases} cases, {resumed} resumed, {:?}",
        begun.elapsed()
    );
    assert!(resumed > 0, "the faults met nothing");
}

/// The same where a run need not end of it: it comes to what it should, or tells why not and is taken to its end.
fn endures(recorded: &Recorded, calls: &str, path: &str, error: i32, every: usize) {
    let begun = Instant::now();
    let mut met = 0;
    for n in moments(every) {
        let place = recorded.place();
        let shim = Shim::new().rule(calls, path, When::From(n), &Action::Errno(error));
        let output = shim.on(recorded.host(&place)).output();
        let moment = format!("error {error} from {calls} {n} of {path} on");
        match output.code {
            Some(0) => End::printed(&output).assert_like(&recorded.end, &moment),
            _ => {
                assert!(matches!(output.code, Some(1 | 2)), "{moment}: {:?}", output.code);
                let error = output.json()["error"].clone();
                assert_eq!(error["kind"], "storage", "{moment}: {error}");
            }
        }
        recorded.ends_well(&place, &[], &moment);
        if shim.count(0) < n {
            break;
        }
        met += 1;
    }
    println!("error {error} in {calls} of {path}: {met} met, {:?}", begun.elapsed());
    assert!(met > 0, "the faults met nothing");
}

#[test]
fn f06_a_disk_that_is_full_for_a_moment() {
    let recorded = Recorded::everything();
    for n in moments(13) {
        let place = recorded.place();
        let shim = Shim::new().rule("write", "-wal", When::At(n), &Action::Errno(ENOSPC));
        let output = shim.on(recorded.host(&place)).output();
        if output.code == Some(0) {
            End::printed(&output).assert_like(&recorded.end, &format!("write {n} fails once"));
        } else {
            let error = output.json()["error"].clone();
            assert_eq!(error["kind"], "storage", "write {n} fails once: {error}");
        }
        if shim.count(0) < n {
            break;
        }
        recorded.ends_well(&place, &[], &format!("write {n} fails once"));
    }
}

#[test]
fn f06_disk_full_at_any_write() {
    sweep(&Recorded::everything(), "write", "-wal", ENOSPC, "the disk is full", 37);
}

#[test]
fn f06_disk_full_where_a_component_is_kept() {
    let recorded = Recorded::everything();
    sweep(
        &recorded,
        "write,rename",
        "*/components/",
        ENOSPC,
        "the disk is full",
        2,
    );
    sweep(&recorded, "write,rename", "*/components/", EIO, " error", 3);
}

/// What is not copied into the database stays in its log.
#[test]
fn f07_a_database_that_takes_nothing_from_its_log() {
    let recorded = bulky();
    endures(&recorded, "write,truncate", "hermes.db", ENOSPC, 101);
    endures(&recorded, "write,truncate", "hermes.db", EIO, 83);
}

/// An anchor behind the journal is normal.
#[test]
fn f07_an_anchor_that_is_not_written() {
    let recorded = Recorded::everything();
    endures(&recorded, "write", ".lock", ENOSPC, 17);
    endures(&recorded, "write", ".lock", EIO, 19);
}

/// Whose intent can't be written down is not sent: the model hears of no more than it had heard when the disk was full.
#[test]
fn f06_nothing_is_sent_when_the_disk_is_full() {
    let recorded = Recorded::everything();
    let counted = Shim::new().rule("write", "-wal", When::Always, &Action::Count);
    counted.on(recorded.host(&recorded.place())).output().expect(0);
    let mut most = 0;
    for eighths in [3, 5, 7] {
        let n = counted.count(0) * eighths / 8;
        let place = recorded.place();
        // It fails so late that all is sent meanwhile whose intent is written down.
        let late = Action::Delay(Duration::from_secs(1));
        let shim = Shim::new().rule("write", "-wal", When::At(n), &late);
        let shim = shim.rule("write", "-wal", When::From(n), &Action::Errno(ENOSPC));
        let process = shim.on(recorded.host(&place)).start();
        eventually("the write", || (shim.count(0) >= n).then_some(()));
        let sent = eventually("all that was to be sent", || {
            let (ended, open) = match newest(&place.home) {
                Some(run) => completions(&shown(&place.home, &run)),
                None => (Vec::new(), Vec::new()),
            };
            let asked = place.asked();
            (asked == ended.len() + open.len()).then_some(asked)
        });
        let output = process.finish();
        assert!(matches!(output.code, Some(1 | 2)), "write {n}: {:?}", output.code);
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], "storage", "write {n}: {error}");
        assert_eq!(place.asked(), sent, "write {n}: nothing is sent after it");
        recorded.ends_well(&place, &[], &format!("the disk is full at write {n}"));
        most = most.max(sent);
    }
    assert!(most > 0, "nothing was sent before");
}

/// Puts the host's folder on a disk of its own with so many KiB free, runs the command, makes room, and resumes.
const SMALL_DISK: &str = r#"
set -e
host=$HERMES_HOME/host
cp -a "$host" kept
mount -t tmpfs -o size=64m none "$host"
cp -a kept/. "$host"
free=$(df --output=avail -k "$host" | tail -n 1)
head -c "$((free - FREE))k" /dev/zero > "$host/filler"
set +e
"$0" "$@" > first.out 2> first.err
echo $? > first.code
rm "$host/filler"
run=$(sed -n 's/^{"run":"\([0-9a-f]*\)".*/\1/p' first.out)
exec "$0" resume "$run" --output json
"#;

/// Puts the host's folder, whose database was closed in order, on a disk of its own without a free block, and reads it in every way. What fails is in `failed`.
const NO_ROOM: &str = r#"
set -e
host=$HERMES_HOME/host
test ! -s "$host/hermes.db-wal"
rm -f "$host/hermes.db-wal" "$host/hermes.db-shm"
cp -a "$host" kept
mount -t tmpfs -o size=128m none "$host"
cp -a kept/. "$host"
cat /dev/zero > "$host/filler" 2> filled || true
test "$(df --output=avail -k "$host" | tail -n 1)" -eq 0
set +e
: > failed
for command in runs "show $1" "tree $1" "replay $1" "export $1" "export $1 --run-file exported" "blackboard ls"; do
    "$0" $command > said 2>&1 || echo "$command: $(cat said)" >> failed
done
test ! -s "$host/hermes.db-wal" || echo "there is a log" >> failed
exec "$0" doctor --output json
"#;

/// A line that does what this script says where it can mount disks of its own.
fn with_disks(script: &Path) -> String {
    format!(
        "exec unshare --map-root-user --mount sh -c '. {}' \"$0\" \"$@\"",
        script.display()
    )
}

#[test]
fn f06_all_can_be_read_where_nothing_is_free() {
    if !lets_mount() {
        return;
    }
    let recorded = Recorded::everything();
    let place = recorded.place();
    recorded.host(&place).output().expect(0);
    let run = newest(&place.home).unwrap();
    // As its last process leaves it that has the time.
    without_log(&place);
    let script = place.home.write("script", NO_ROOM);
    let output = place.home.host().arg(&run).by(&with_disks(&script)).output();
    let failed = fs::read_to_string(place.home.work().join("failed"));
    assert_eq!(failed.as_deref().ok(), Some(""), "{output:?}");
    let checks = output.json().as_array().unwrap().clone();
    let check = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap();
    assert_eq!(check("database")["state"], "ok", "{checks:?}");
    // Of the disk that the store lies on.
    assert_eq!(check("disk")["state"], "warn", "{checks:?}");
}

#[test]
fn f06_a_backup_where_something_is_mounted_is_refused_before_it_is_made() {
    if !lets_mount() {
        return;
    }
    let recorded = Recorded::everything();
    let place = recorded.place();
    recorded.host(&place).output().expect(0);
    let script = place.home.write(
        "script",
        "set -e\nmkdir there\nmount -t tmpfs -o size=1m none there\nexec \"$0\" \"$@\"\n",
    );
    let backup = place.home.host().args(["backup", "there"]).by(&with_disks(&script));
    backup
        .output()
        .expect(2)
        .says(&["there can't take a backup: something is mounted there; name a folder that is not there yet"]);
    let names = fs::read_dir(place.home.work()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.contains("draft")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn f06_a_small_disk() {
    if !lets_mount() {
        return;
    }
    let recorded = Recorded::everything();
    for free in [2_900, 3_200, 3_500] {
        let place = recorded.place();
        let script = place
            .home
            .write("script", SMALL_DISK.replace("FREE", &free.to_string()));
        let host = recorded.host(&place).set("limits.disk_reserve", 0);
        let resumed = host.by(&with_disks(&script)).output().expect(0);
        End::printed(&resumed).assert_like(&recorded.end, &format!("{free} KiB free"));
        let first = |name: &str| fs::read_to_string(place.home.work().join(name)).unwrap();
        let (code, said) = (first("first.code"), first("first.err"));
        let told = ["the disk is full", "hermes.db has", "bytes free", "resume"];
        assert!(
            code.trim() == "1" && told.iter().all(|words| said.contains(words)),
            "{free} KiB free: {code} {said}"
        );
        let sends = sends(&place.server);
        let again: usize = sends.values().map(|n| n - 1).sum();
        assert!(again as u64 <= resumed.spent("resent"), "{free} KiB free: {sends:?}");
    }
}

#[test]
fn f07_a_write_that_fails() {
    sweep(&Recorded::everything(), "write", "-wal", EIO, "disk I/O error", 41);
}

#[test]
fn f07_a_read_that_fails() {
    let recorded = Recorded::everything();
    let mut stopped = 0;
    for n in moments(23) {
        let place = recorded.place();
        let shim = Shim::new().rule("read", "*hermes.db", When::From(n), &Action::Errno(EIO));
        let output = shim.on(recorded.host(&place)).output();
        let moment = format!("read {n}");
        match output.code {
            // Of the end only who took part is read.
            Some(0) => End::answer(&output).assert_like(&recorded.end, &moment),
            _ => {
                stopped += 1;
                assert!(matches!(output.code, Some(1 | 2)), "{moment}: {:?}", output.code);
                let error = output.json()["error"].clone();
                assert_eq!(error["kind"], "storage", "{moment}: {error}");
            }
        }
        if shim.count(0) < n {
            break;
        }
        recorded.ends_well(&place, &[], &moment);
    }
    assert!(stopped > 0, "the faults met nothing");
}

#[test]
fn f07_a_sync_that_fails() {
    let recorded = Recorded::everything();
    sweep(&recorded, "sync", "-wal", EIO, "disk I/O error", 3);
    // Those of folders, components and lock files too.
    sweep(&recorded, "sync", "*/host", EIO, " error", 3);
}

#[test]
fn f07_a_sync_that_fails_once_is_the_last() {
    let recorded = Recorded::everything();
    for n in [8, 11, 14, 17, 20] {
        let once = Shim::new().rule("sync", "-wal", When::At(n), &Action::Errno(EIO));
        let place = recorded.place();
        let output = once.on(recorded.host(&place)).output().expect(1);
        assert_eq!(output.json()["error"]["kind"], "storage");
        assert_eq!(once.count(0), n, "the kernel may have dropped what the sync was for");
        recorded.ends_well(&place, &[], &format!("sync {n} failed once"));
    }
}

/// Which syncs of the log are those before its pages are copied into the database, as far as runs go alike.
fn syncs_before_a_copy(recorded: &Recorded) -> Vec<u64> {
    let nth = |n| {
        let shim = Shim::new().rule("sync", "hermes.db", When::At(n), &Action::KillBefore);
        let shim = shim.rule("sync", "-wal", When::Always, &Action::Count);
        let killed = shim.on(recorded.host(&recorded.place())).output().code.is_none();
        killed.then(|| shim.count(1))
    };
    (1..).map_while(nth).collect()
}

#[test]
fn f07_a_sync_for_a_copy_of_the_log_that_fails_once_is_the_last() {
    let recorded = bulky();
    let copies = syncs_before_a_copy(&recorded);
    assert!(copies.len() > 1, "the log was copied at the end alone: {copies:?}");
    let (mut cases, mut stopped) = (0, 0);
    for n in 1.. {
        if !full() && n % 29 != 1 && !copies.contains(&n) {
            continue;
        }
        let (place, moment) = (recorded.place(), format!("sync {n} of the log failed once"));
        let once = Shim::new().rule("sync", "-wal", When::At(n), &Action::Errno(EIO));
        let output = once.on(recorded.host(&place)).output();
        if once.count(0) < n {
            output.expect(0);
            break;
        }
        assert_eq!(once.count(0), n, "{moment}: what comes later counts on it");
        cases += 1;
        match output.code {
            // It had told its end.
            Some(0) => End::printed(&output).assert_like(&recorded.end, &moment),
            _ => {
                stopped += 1;
                assert!(matches!(output.code, Some(1 | 2)), "{moment}: {:?}", output.code);
                let error = output.json()["error"].clone();
                assert_eq!(error["kind"], "storage", "{moment}: {error}");
            }
        }
        recorded.ends_well(&place, &[], &moment);
    }
    println!("{cases} syncs of the log failed, {stopped} stopped a run");
    assert!(stopped > 0, "the faults met nothing");
}

#[test]
fn f04_writes_that_come_short() {
    let recorded = Recorded::everything();
    for most in [1_000, 4_095] {
        let shim = Shim::new().rule("write", "*/host/", When::Always, &Action::Short(most));
        let fate = recorded.ends_well(
            &recorded.place(),
            &[Met::kill(shim)],
            &format!("at most {most} bytes at once"),
        );
        assert_eq!(fate, Fate::Unbroken);
    }
}

#[test]
fn f06_nowhere_to_print() {
    let recorded = Recorded::everything();
    let place = recorded.place();
    let output = recorded
        .host(&place)
        .env("HERMES_HOST_LOG", "debug")
        .by("exec \"$0\" \"$@\" 2> /dev/full")
        .output();
    End::printed(&output.expect(0)).assert_like(&recorded.end, "what it says goes nowhere");
    let place = recorded.place();
    let output = recorded.host(&place).by("exec \"$0\" \"$@\" > /dev/full").output();
    assert!(!matches!(output.code, Some(0) | None), "{:?}", output.code);
    assert!(
        output.stderr.contains("standard output could not be written"),
        "{}",
        output.stderr
    );
    let run = newest(&place.home).unwrap();
    End::shown(&place.home, &run).assert_like(&recorded.end, "its answer goes nowhere");
}
