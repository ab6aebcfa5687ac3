//! The machine loses its power: of the host's files what was synced survives.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use hermes_tests::model::Request;
use hermes_tests::output::{message, refusal};
use hermes_tests::program::said;
use hermes_tests::shim::{Action, When};
use hermes_tests::site::Site;
use hermes_tests::{Host, Shim, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::place::{Files, Place, assert_sound, newest, resume, shown};
use crate::program::{ask, holding, script};
use crate::recorded::Recorded;
use crate::{LONG, eventually, moments};

/// Of these requests each is made only when the answer of the one before it was heard.
const HEARD: [(&str, &str); 8] = [
    ("ROOT ONE", "PAR ONE"),
    ("ROOT ONE", "CHILD A ONE"),
    ("CHILD A ONE", "CHILD A TWO"),
    ("CHILD B LOST", "CHILD B AGAIN"),
    ("CHILD D CALLS", "CHILD D HEARD"),
    ("TOOL ASKS", "ROOT CODE"),
    ("PAR ONE", "ROOT CODE"),
    ("PAR TWO", "ROOT CODE"),
];

fn asks(requests: &[Request], words: &str) -> bool {
    requests.iter().any(|request| request.last().contains(words))
}

/// What of the host's files survives a loss of power, in the worst case: each as it was when it was synced last, in `image`.
fn survives(place: &Place, image: &Path, lock_survives: bool) -> Files {
    let synced = |name: &str| fs::read(image.join(name)).ok();
    let names = fs::read_dir(image)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.collect();
    // What is synced before it has its name.
    let draft = |name: &str| {
        let is_draft = |kept: &&String| kept.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        synced(names.iter().find(is_draft)?)
    };
    let file = |(path, now): (PathBuf, Vec<u8>)| {
        let name = path.file_name()?.to_str()?.to_owned();
        let bytes = match name.as_str() {
            "hermes.db-shm" => None,
            "hermes.db" => synced("hermes.db").or_else(|| draft("hermes.db")),
            "hermes.db-wal" => synced("hermes.db-wal"),
            _ if path.starts_with("components") => draft(path.file_stem()?.to_str()?),
            _ if name.ends_with(".lock") && !lock_survives => synced(&name),
            _ => Some(now),
        };
        Some((path, bytes?))
    };
    place.files().into_iter().filter_map(file).collect()
}

#[test]
fn f04_power_is_lost() {
    let recorded = Recorded::everything();
    let mut fates = Vec::new();
    for n in moments(2).map(|n: u64| n + 1) {
        let (place, image) = (recorded.place(), tempfile::tempdir().unwrap());
        let shim = keeping(image.path()).rule("sync", "-wal", When::At(n), &Action::KillBefore);
        let killed = shim.on(recorded.host(&place)).output().code.is_none();
        // The line in the run's lock file is written after the sync that it tells of, and not synced itself.
        place.restore(&survives(&place, image.path(), fates.len().is_multiple_of(2)));
        let before = place.server.requests();
        fates.push(recorded.ends_well_after_a_loss(&place, &format!("power is lost before sync {n}")));
        let after = place.server.requests().split_off(before.len());
        for (first, then) in HEARD {
            let heard = asks(&before, then);
            assert!(
                !heard || !asks(&after, first),
                "sync {n}: {first:?} was answered, and that is lost"
            );
        }
        if !killed {
            break;
        }
    }
    assert!(fates.len() > 5, "{fates:?}");
}

/// Keeps each file as it was when it was synced last.
fn keeping(image: &Path) -> Shim {
    Shim::new().rule("sync", "*/host/", When::Always, &Action::Copy(image.to_owned()))
}

/// A site that is asked and never answers.
fn silent() -> Site {
    Site::start(|_| {
        loop {
            thread::park();
        }
    })
}

/// A run whose agent calls a tool alone, which may ask the site for anything.
fn calling(place: &Place, site: &Site, call: &Value) -> Host {
    let net = format!("net:{}", site.url(""));
    let host = place.home.host().arg("--tool").arg(guests::built("probe-tool"));
    host.args(["--allow", &net]).probe(&json!({ "steps": [call] }))
}

/// The call of a tool that sends something, which nobody has said may be sent twice.
fn post(site: &Site) -> Value {
    let post = json!({ "do": "fetch", "url": site.url("/"), "method": "POST", "body": ["once"] });
    json!({ "do": "call", "name": "probe", "arguments": { "steps": [post] } })
}

/// The call of a tool that may be made again.
fn fetch_page(site: &Site) -> Value {
    json!({ "do": "call", "name": "fetch_page", "arguments": { "url": site.url("/") } })
}

fn is_asked(site: &Site) {
    eventually("the site to be asked", || (!site.asked().is_empty()).then_some(()));
}

#[test]
fn f04_power_is_lost_while_a_tool_has_sent() {
    for lock_survives in [false, true] {
        let (place, image, site) = (Place::new(script()), tempfile::tempdir().unwrap(), silent());
        let host = calling(&place, &site, &post(&site));
        let shim = keeping(image.path());
        let process = shim.on(host).start();
        is_asked(&site);
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        place.restore(&survives(&place, image.path(), lock_survives));
        let run = newest(&place.home).unwrap();
        let operations = shown(&place.home, &run)["agents"][0]["operations"].clone();
        assert_eq!(
            (&operations[0]["kind"], &operations[0]["status"], &operations[1]),
            (&json!("tool-call"), &json!("open"), &Value::Null)
        );
        let resumed = resume(&place.home, &run).output().expect(0);
        let told = &resumed.seen()[0];
        assert_eq!(refusal(told).as_deref(), Some("interrupted"), "{told}");
        assert_eq!(
            message(told),
            "The host went down during this call; whether it took effect is not known."
        );
        assert_eq!(site.asked().len(), 1, "nothing is sent twice");
        assert_sound(&place.home);
    }
}

/// No other intent waits for the disk.
#[test]
fn f04_only_what_can_not_be_sent_again_is_synced_before_it_is_sent() {
    let syncs = |call: fn(&Site) -> Value| {
        let (place, site) = (Place::new(script()), silent());
        let shim = Shim::new().rule("sync", "-wal", When::Always, &Action::Count);
        let process = shim.on(calling(&place, &site, &call(&site))).start();
        is_asked(&site);
        let syncs = shim.count(0);
        process.signal(Signal::KILL);
        process.finish();
        syncs
    };
    assert_eq!(syncs(post), syncs(fetch_page) + 1);
}

/// That something was emitted is on the disk when people are told of it, with all that came before it. What comes behind it waits for the next sync, and the
/// text itself for more of it or its end, as a secret may begin in it.
#[test]
fn f04_power_is_lost_when_an_emit_is_out() {
    let log = |message: &str| json!({ "do": "log", "level": "Info", "message": message });
    let emit = json!({ "do": "emit", "text": "Told." });
    let program = json!({ "steps": [log("Before."), emit, log("Behind."), ask("ROOT ONE")] });
    let words = |place: &Place, run: &str| -> Vec<(String, String)> {
        let said = said(&shown(&place.home, run)["agents"][0]).into_iter();
        said.map(|(kind, text)| (kind, text.rsplit(": ").next().unwrap().to_owned()))
            .collect()
    };
    let kept = |place: &Place, said: &[(&str, &str)]| {
        let run = newest(&place.home).unwrap();
        let said: Vec<_> = said
            .iter()
            .map(|(kind, text)| ((*kind).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(words(place, &run), said);
        run
    };
    for lock_survives in [false, true] {
        let (place, image) = (Place::new(holding("ROOT ONE", 1)), tempfile::tempdir().unwrap());
        let host = place.home.host().probe_events(&program);
        let shim = keeping(image.path());
        let process = shim.on(host).by("exec \"$0\" \"$@\" > events").start();
        eventually("the event", || {
            let events = fs::read_to_string(place.home.work().join("events")).ok()?;
            let mut events = events
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.any(|event| event["event"] == "emit").then_some(())
        });
        // The intent of the completion is committed, and not synced.
        place.server.wait_for(1, LONG);
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        place.restore(&survives(&place, image.path(), lock_survives));
        let run = kept(&place, &[("log", "Before.")]);
        assert_eq!(shown(&place.home, &run)["agents"][0]["operations"], json!([]));
        let resumed = resume(&place.home, &run).output().expect(0);
        assert_eq!(resumed.seen()[3]["ok"]["parts"][0]["Text"], "one");
        kept(&place, &[("log", "Before."), ("emit", "Told."), ("log", "Behind.")]);
        assert_sound(&place.home);
    }
}
