//! What is another one when a run goes on: the plugins' files, the configuration, the compile cache.

use std::fs;
use std::path::{Path, PathBuf};

use hermes_tests::shim::{Action, EACCES, ENOSPC, When};
use hermes_tests::{Home, Host, Output, Shim, guests};
use rustix::process::Signal;

use crate::end::End;
use crate::place::{Place, newest, resume};
use crate::program::{ANSWERED, holding};
use crate::recorded::{Fate, Recorded};
use crate::{LONG, moments};

/// A project's file under which the recorded run could not begin.
const NARROW: &str = r#"
budget = "iterations=1,tool-calls=1"

[limits]
component = "1KiB"
tool_list = 1
free_turns = 0

[limits.blackboard]
keys = 1
bytes = "1KiB"

[limits.delegation]
alive = 1
total = 1
"#;

#[test]
fn f19_another_configuration() {
    let recorded = Recorded::everything();
    let place = Place::new(holding("PAR TWO", 1));
    place.home.configure("[aliases]\nquick = \"test/test-model\"\n");
    let process = recorded.host(&place).args(["--model", "quick"]).start();
    place.waits(ANSWERED);
    process.signal(Signal::KILL);
    process.finish();
    // Another default model, another price, another model of that name, limits and a budget that the run would not fit in.
    let config = place.dir().join("config.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    for (now, then) in [
        ("model = \"test/test-model\"", "model = \"test/larger\""),
        ("quick = \"test/test-model\"", "quick = \"test/larger\""),
        ("input_usd_per_mtok = 1.0", "input_usd_per_mtok = 70.0"),
    ] {
        assert!(text.contains(now), "{text}");
        text = text.replace(now, then);
    }
    fs::write(&config, text).unwrap();
    place.home.write("hermes.toml", NARROW);
    recorded.host(&place).output().expect(2).says(&["limits.component"]);
    recorded.ends_well(&place, &[], "another configuration");
    let requests = place.server.requests();
    assert!(requests.iter().all(|request| request.body["model"] == "test-model"));
}

/// Flags and the environment are those of the day, and the run goes by what it began with.
#[test]
fn f19_other_flags_and_another_environment() {
    let recorded = Recorded::everything();
    let flags = [
        ("limits.component", "1KiB"),
        ("limits.tool_list", "1"),
        ("limits.blackboard.keys", "1"),
        ("limits.blackboard.bytes", "1KiB"),
        ("limits.delegation.alive", "1"),
        ("durability", "process"),
        ("budget", "iterations=1,tool-calls=1"),
    ];
    let changed = |host: Host| {
        let host = flags.iter().fold(host, |host, (key, value)| host.set(key, value));
        let host = host.env("HERMES_HOST_LIMITS_FREE_TURNS", "0");
        let host = host.env("HERMES_HOST_LIMITS_DELEGATION_TOTAL", "1");
        host.env("TZ", "Asia/Tokyo")
            .env("LANG", "de_DE.UTF-8")
            .at(Path::new("/"))
    };
    for place in [
        recorded.killed_while("PAR TWO", ANSWERED),
        recorded.suspended_while("PAR TWO", ANSWERED),
    ] {
        recorded.ends_well_by(&place, changed, "other flags and another environment");
    }
    // So changed it could not begin.
    changed(recorded.host(&recorded.place()))
        .output()
        .expect(2)
        .says(&["limits.component"]);
}

/// Copies of the strategy and of the tools in this place.
fn copies(place: &Place) -> [PathBuf; 2] {
    ["probe", "probe-tool"].map(|name| {
        let bytes = fs::read(guests::built(name)).unwrap();
        place.home.write(&format!("{name}.wasm"), bytes)
    })
}

#[test]
fn f19_other_plugins_in_their_places() {
    let recorded = Recorded::everything();
    let mut resumed = 0;
    for n in moments(43) {
        let place = recorded.place();
        let plugins = copies(&place);
        let shim = Shim::new().rule("write", "-wal", When::At(n), &Action::KillAfter);
        let killed = shim.on(recorded.host_of(&place, &plugins)).output().code.is_none();
        // Built again, one is another program and one is none.
        fs::copy(guests::built("pure-echo"), &plugins[0]).unwrap();
        fs::write(&plugins[1], "half a file").unwrap();
        let has_begun = newest(&place.home).is_some();
        let fate = recorded.ends_well(&place, &[], &format!("other plugins after write {n}"));
        resumed += usize::from(has_begun && fate == Fate::Unbroken);
        if !killed {
            break;
        }
    }
    assert!(resumed > 2, "the faults met nothing");
}

#[test]
fn f19_a_plugin_that_was_kept_and_is_another() {
    let recorded = Recorded::everything();
    let place = recorded.suspended_while("PAR TWO", ANSWERED);
    let (run, files, asked) = (newest(&place.home).unwrap(), place.files(), place.asked());
    let kept = |path: &Path| path.starts_with("components");
    let mut others = files.clone();
    for (_, bytes) in others.iter_mut().filter(|(path, _)| kept(path)) {
        bytes.push(0);
    }
    place.restore(&others);
    resume(&place.home, &run)
        .output()
        .expect(2)
        .says(&["not the component that was kept"]);
    let none: Vec<_> = files.iter().filter(|(path, _)| !kept(path)).cloned().collect();
    place.restore(&none);
    resume(&place.home, &run).output().expect(2).says(&["component"]);
    assert_eq!(place.asked(), asked, "nothing is sent");
    place.restore(&files);
    recorded.ends_well(&place, &[], "as it was");
}

/// One call of a small plugin. That it is compiled is not told, however long it takes.
fn call(home: &Home) -> Host {
    home.host()
        .args(["--quiet", "call"])
        .arg(guests::built("pure-echo"))
        .args(["echo", r#"{"text":"hello"}"#])
}

#[track_caller]
fn answers(output: Output) -> Output {
    let output = output.expect(0);
    assert!(output.stdout.contains("hello"), "{}", output.stdout);
    output
}

/// Names of what is in the compile cache.
fn kept(home: &Home) -> Vec<String> {
    let files = fs::read_dir(home.path().join("host/cache")).into_iter().flatten();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn is_entry(name: &str) -> bool {
    name.ends_with(".code") || name.ends_with(".answer")
}

fn entries(home: &Home) -> usize {
    kept(home).iter().filter(|name| is_entry(name)).count()
}

#[test]
fn f23_a_cache_that_takes_nothing() {
    for (calls, error) in [("write", ENOSPC), ("open", EACCES), ("rename", EACCES)] {
        let home = Home::empty();
        let shim = Shim::new().rule(calls, "*/host/cache/", When::Always, &Action::Errno(error));
        let output = answers(shim.on(call(&home)).output());
        let told = output.stderr.matches("notice:").count();
        assert_eq!(told, 1, "{calls}: it is told once: {}", output.stderr);
        assert_eq!(entries(&home), 0, "{calls}");
        // A cache that is well again is used.
        assert_eq!(answers(call(&home).output()).stderr, "", "{calls}");
        assert_eq!(entries(&home), 2, "{calls}: the code, and what the plugin answered");
    }
}

#[test]
fn f23_two_processes_fill_a_cache() {
    let home = Home::empty();
    let both = [call(&home).start(), call(&home).start()];
    for process in both {
        assert_eq!(answers(process.finish()).stderr, "");
    }
    assert_eq!(
        (entries(&home), kept(&home).len()),
        (2, 3),
        "they and their key: {:?}",
        kept(&home)
    );
    let shim = Shim::new().rule("write", "*/host/cache/", When::Always, &Action::Count);
    assert_eq!(answers(shim.on(call(&home)).output()).stderr, "");
    assert_eq!(shim.count(0), 0, "what they left is used");
}

#[test]
fn f23_a_process_is_killed_while_it_fills_a_cache() {
    let mut killed = 0;
    for n in 1.. {
        let home = Home::empty();
        let shim = Shim::new().rule("write", "*/host/cache/", When::At(n), &Action::Tear(100));
        let output = shim.on(call(&home)).output();
        assert_eq!(answers(call(&home).output()).stderr, "", "write {n}: no half entry");
        if output.code.is_some() {
            break;
        }
        killed += 1;
    }
    assert!(killed > 2, "the faults met nothing");
}

#[test]
fn f23_a_cache_that_is_gone_while_a_run_is_under_way() {
    let recorded = Recorded::everything();
    let place = recorded.place();
    let process = recorded.host(&place).start();
    place.server.wait_for(1, LONG);
    fs::remove_dir_all(place.dir().join("cache")).unwrap();
    End::printed(&process.finish().expect(0)).assert_like(&recorded.end, "without a cache");
}

#[test]
fn f22_a_cache_entry_of_another_host() {
    const MARK: &[u8] = b"hermesc";
    let home = Home::empty();
    answers(call(&home).output());
    // The first letter of what it begins with, and the number behind that: the one of a newer format, of an entry that is whole otherwise.
    for at in [0, MARK.len()] {
        for name in kept(&home).into_iter().filter(|name| is_entry(name)) {
            let file = home.path().join("host/cache").join(name);
            let mut bytes = fs::read(&file).unwrap();
            assert!(bytes.starts_with(MARK) && bytes[MARK.len()].is_ascii_digit());
            bytes[at] += 1;
            fs::write(file, bytes).unwrap();
        }
        let output = answers(call(&home).output());
        assert_eq!(
            output.stderr.matches("rejected").count(),
            2,
            "byte {at}: {}",
            output.stderr
        );
        assert_eq!(answers(call(&home).output()).stderr, "", "they were made again");
    }
}
