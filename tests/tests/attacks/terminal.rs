//! Texts that would steer the terminal that shows them, or be taken for the host's own words.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use hermes_tests::guests;
use hermes_tests::model::{Fault, Script, Turn};
use hermes_tests::output::steering;
use hermes_tests::program::steps;
use hermes_tests::terminal::Terminal;
use serde_json::json;

use crate::cases;
use crate::cases::lists::Listed;
use crate::cases::terminal::nasty;
use crate::hostile;
use crate::lists::plant;
use crate::serves::Serves;
use crate::site::Site;

/// The sequences of [`nasty`] that do most, none of which the host itself would send.
const SEQUENCES: [&str; 7] = [
    "\u{1b}]",
    "\u{7}",
    "\u{1b}[31mred",
    "\u{9b}",
    "\u{202e}",
    "\u{200b}",
    "\r✔",
];

#[test]
fn a40_no_screen_and_no_record_is_steered_by_an_agent() {
    let model = Turn::text(nasty()).thinking(&nasty(), "c2lnbmVk");
    let site = Site::with(Script::always(model));
    site.tries(&cases::terminal::speaks());
    let program = json!({ "steps": cases::terminal::speech(), "summary": nasty() }).to_string();
    for form in ["text", "json", "events"] {
        let host = site.host().args(["--verbose", "--output", form, "--plugin"]);
        let host = host.arg(guests::built("probe")).arg(&program);
        let attacked = site.attack(host.arg("--tool").arg(guests::built("probe-tool")));
        assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
        if form == "text" {
            let answer = &attacked.output.stdout;
            assert!(answer.contains("red") && answer.contains('\u{fffd}'), "{answer:?}");
        }
    }
    let run = site.home.newest_run();
    for line in [
        &["runs"][..],
        &["tree", &run],
        &["tree", &run, "--output", "json"],
        &["show", &run],
        &["show", &run, "--answer"],
        &["show", &run, "--answer", "--output", "json"],
        &["export", &run, "--form", "provider"],
        &["blackboard", "ls"],
        &["blackboard", "ls", "--output", "json"],
        &["replay", &run],
    ] {
        let attacked = site.attack(site.host().args(line));
        assert_eq!(attacked.output.code, Some(0), "{line:?}: {:?}", attacked.output);
    }
    // The same in the words of failures.
    for program in [
        json!({ "fail": { "kind": "Upstream", "message": nasty() } }),
        json!({ "fail": { "kind": { "Other": nasty() }, "message": nasty() } }),
        json!({ "steps": [{ "do": "log", "level": "Warn", "message": nasty() }, { "do": "trap" }] }),
    ] {
        let attacked = site.attack(site.host().probe(&program));
        assert_eq!(attacked.output.code, Some(1), "{:?}", attacked.output);
    }
    site.is_well();
}

#[test]
fn a40_the_names_in_a_crash_are_clean() {
    let site = Site::new();
    let guest = hostile::A40_NAMES.file(&site.home);
    let host = || {
        let host = site.host().env("RUST_BACKTRACE", "full");
        host.env("WASMTIME_BACKTRACE_DETAILS", "1").env("RUST_LOG", "trace")
    };
    let attacked = site.tries_on(host(), &cases::terminal::crash());
    let json = attacked.output.json();
    let said = json["error"]["message"].as_str().unwrap();
    // The names are told, each on its own line below what happened, and no line is one of the host's.
    assert!(said.contains("inner-name") && said.contains("\n  at "), "{said:?}");
    assert_eq!(steering(said), None, "{said:?}");
    assert!(said.lines().skip(1).all(|line| line.starts_with("  at ")), "{said:?}");
    assert!(
        !attacked.output.stderr.contains("a40_names.wat"),
        "{}",
        attacked.output.stderr
    );
    for form in ["text", "events"] {
        let host = host().args(["--output", form, "--plugin"]).arg(&guest).arg("x");
        let attacked = site.attack(host);
        assert_eq!(attacked.output.code, Some(1), "{:?}", attacked.output);
        let forged = attacked
            .output
            .stderr
            .lines()
            .find(|line| line.trim_start().starts_with('✔'));
        assert_eq!(forged, None, "{}", attacked.output.stderr);
    }
    site.attack(site.host().args(["show", &site.home.newest_run(), "--output", "json"]));
    for run in site
        .home
        .host()
        .args(["runs", "--output", "json"])
        .output()
        .json()
        .as_array()
        .unwrap()
    {
        site.attack(site.host().args(["show", run["run"].as_str().unwrap()]));
        site.attack(
            site.host()
                .args(["show", run["run"].as_str().unwrap(), "--output", "json"]),
        );
    }
    site.is_well();
}

#[test]
fn a40_a_terminal_gets_it_clean_too() {
    let model = Turn::text(nasty()).thinking(&nasty(), "c2lnbmVk");
    let site = Site::with(Script::always(model));
    // What a terminal gets is not JSON, so that its run is looked up; the program is too long for a line of the shell.
    let space = json!({ "do": "open", "name": "notes" });
    let put = json!({ "do": "put", "space": 0, "key": "k", "value": nasty() });
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let progress = json!({ "do": "progress", "message": nasty() });
    let program = json!({ "steps": [progress, ask, space, put], "summary": nasty() }).to_string();
    site.home.write("task", program);
    let host = site.host().arg("--plugin").arg(guests::built("probe")).arg("-");
    let host = host.by(r#"exec "$0" "$@" < task"#);
    let mut shown = vec![Terminal::start(host).finish()];
    let run = site.home.newest_run();
    site.attack(site.host().args(["show", &run, "--output", "json"]));
    let space = format!("{run}/notes");
    for line in [
        &["show", &run][..],
        &["show", &run, "--answer"],
        &["tree", &run],
        &["runs"],
        &["blackboard", "get", &space, "k"],
        &["blackboard", "ls", &space],
    ] {
        shown.push(Terminal::start(site.host().args(line)).finish());
    }
    for (screen, code) in shown {
        assert_eq!(code, Some(0), "{screen:?}");
        for sequence in SEQUENCES {
            assert!(!screen.contains(sequence), "{sequence:?} is in {screen:?}");
        }
    }
    // Into a file an entry goes as it is: what was stored is what comes back.
    let entry = site.home.host().args(["blackboard", "get", &space, "k"]);
    assert_eq!(entry.by(r#"exec "$0" "$@" > entry"#).output().code, Some(0));
    assert_eq!(fs::read_to_string(site.home.work().join("entry")).unwrap(), nasty());
    site.is_well();
}

#[test]
fn a40_marks_do_not_pile_up_on_a_screen() {
    let site = Site::new();
    let attacked = site.tries_on(site.host().arg("--verbose"), &cases::terminal::piles());
    let run = attacked.output.json()["run"].as_str().unwrap().to_owned();
    let screens =
        [&["tree", &run][..], &["show", &run], &["runs"]].map(|line| site.attack(site.host().args(line)).output.stdout);
    // The host's own log is for whoever looks for faults.
    let progress: String = attacked
        .output
        .stderr
        .lines()
        .filter(|line| !line.contains("hermes_host"))
        .collect();
    for screen in screens.iter().chain([&progress]) {
        assert!(!screen.contains(&"\u{301}".repeat(3)), "{screen}");
    }
    site.is_well();
}

#[test]
fn a40_what_a_provider_says_is_clean() {
    let site = Site::new();
    for case in cases::terminal::rude() {
        site.tries(&case);
    }
    for (n, answer) in cases::terminal::rude_answers().into_iter().enumerate() {
        let served = Serves::always(answer);
        let name = format!("rude{n}");
        crate::providers::configure(&site, &name, &served);
        let host = site
            .host()
            .args(["--model", &format!("{name}/test-model"), "--output", "text", "--plugin"]);
        let ask = json!({ "do": "agent", "user": "hi", "turns": 1 });
        let host = host.arg(guests::built("probe")).arg(steps(&[ask]).to_string());
        let attacked = site.attack(host.set("limits.llm.tries", 1));
        assert_eq!(attacked.output.code, Some(0), "{name}: {:?}", attacked.output);
    }
    for run in site
        .home
        .host()
        .args(["runs", "--output", "json"])
        .output()
        .json()
        .as_array()
        .unwrap()
    {
        site.attack(
            site.host()
                .args(["show", run["run"].as_str().unwrap(), "--output", "json"]),
        );
        site.attack(site.host().args(["show", run["run"].as_str().unwrap()]));
    }
    site.is_well();
}

#[test]
fn a40_what_a_plugin_says_of_itself_is_clean() {
    let site = Site::new();
    // TOML takes no control characters as they are.
    let escaped: String = nasty().chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
    let want = |grant: &str| format!("\n[[wants]]\ngrant = \"{grant}\"\nreason = \"{escaped}\"\n");
    let file = plant(&site, "rude.wasm", &[Listed::named("told")], &nasty());
    let manifests = [
        format!(
            "name = \"{escaped}\"\nversion = \"{escaped}\"\ndescription = \"{escaped}\"\ntoolset = \"rude\"\n{}",
            want("fs")
        ),
        format!("name = \"rude\"\n{}", want(&format!("net:{escaped}"))),
        format!("name = \"rude\"\n{escaped} = 1\n"),
        format!("name = \"rude\"\ntoolset = \"{escaped}\"\n"),
        nasty(),
    ];
    for manifest in manifests {
        site.home.write("rude.toml", manifest);
        for line in [&["inspect", "--ask"][..], &["inspect", "--output", "json"]] {
            let attacked = site.attack(site.host().args(line).arg(&file));
            assert!(
                [Some(0), Some(2)].contains(&attacked.output.code),
                "{:?}",
                attacked.output
            );
        }
        let attacked = site.attack(site.host().arg("call").arg(&file).arg("told"));
        assert!(
            [Some(0), Some(2)].contains(&attacked.output.code),
            "{:?}",
            attacked.output
        );
    }
    fs::remove_file(site.home.work().join("rude.toml")).unwrap();
    for form in ["text", "json"] {
        let attacked = site.attack(site.host().arg("call").arg(&file).args(["told", "--output", form]));
        assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    }
    site.is_well();
}

#[test]
fn a40_names_of_files_and_words_of_the_line_are_clean() {
    let site = Site::new();
    let nasty = "ev\u{1b}[2J\u{7}\u{9b}31m\u{202e}\r\nil\u{200b}";
    let raw = OsStr::from_bytes(b"ev\x1b[2J\x9b\xff\r\nil");
    let folder = site.home.work().join(nasty);
    fs::create_dir(&folder).unwrap();
    let plugin = folder.join(format!("{nasty}.wasm"));
    fs::copy(guests::built("probe"), &plugin).unwrap();
    fs::write(folder.join("hermes.toml"), "colour = true\n").unwrap();
    // A plugin, a grant and a folder of such a name are used like others.
    let host = site.host().run(&plugin, "{}");
    let host = host.arg("--allow").arg(format!("fs:x={nasty}"));
    let attacked = site.attack(host);
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let lines: Vec<Vec<&OsStr>> = [
        &["--plugin", "NASTY", "x"][..],
        &["--plugin", "./NASTY.wasm", "x"],
        &["--plugin", "research", "x", "--allow", "NASTY"],
        &["--plugin", "research", "x", "--allow", "fs:NASTY/none"],
        &["--plugin", "research", "x", "--allow", "net:NASTY"],
        &["--plugin", "research", "x", "--deny", "NASTY"],
        &["--plugin", "research", "x", "--budget", "NASTY=1"],
        &["--plugin", "research", "x", "--budget", "usd=NASTY"],
        &["--plugin", "research", "x", "--model", "NASTY"],
        &["--plugin", "research", "x", "--tool", "NASTY=./NASTY.wasm"],
        &["--plugin", "research", "x", "--inputs", "NASTY"],
        &["--plugin", "research", "x", "--script", "NASTY"],
        &["--set", "NASTY=1", "config", "show"],
        &["--set", "limits.memory=NASTY", "config", "show"],
        &["--set", "NASTY", "config", "show"],
        &["NASTY"],
        &["--NASTY"],
        &["show", "NASTY"],
        &["runs", "--limit", "NASTY"],
        &["runs", "--status", "NASTY"],
        &["runs", "prune", "--older-than", "NASTY"],
        &["inspect", "./NASTY.wasm"],
        &["call", "files", "NASTY"],
        &["call", "files", "list_files", "NASTY"],
        &["import", "NASTY"],
        &["--color", "NASTY", "doctor"],
    ]
    .map(|line| line.iter().map(OsStr::new).collect())
    .to_vec();
    for line in &lines {
        for word in [OsStr::new(nasty), raw] {
            let line = line.iter().map(|part| {
                let bytes = part.as_bytes();
                let mut pieces = Vec::new();
                let mut rest = bytes;
                while let Some(at) = rest.windows(5).position(|window| window == b"NASTY") {
                    pieces.extend_from_slice(&rest[..at]);
                    pieces.extend_from_slice(word.as_bytes());
                    rest = &rest[at + 5..];
                }
                pieces.extend_from_slice(rest);
                OsStr::from_bytes(&pieces).to_owned()
            });
            let attacked = site.attack(site.host().args(line.collect::<Vec<_>>()));
            assert!(
                [Some(1), Some(2)].contains(&attacked.output.code),
                "{:?}",
                attacked.output
            );
        }
    }
    for (name, value) in [
        ("HERMES_HOST_LIMITS_MEMORY", nasty),
        ("HERMES_HOST_MODEL", nasty),
        ("HERMES_HOST_LOG", nasty),
        ("OPENAI_BASE_URL", nasty),
    ] {
        let attacked = site.attack(
            site.host()
                .without("HERMES_HOST_LOG")
                .env(name, value)
                .args(["config", "show"]),
        );
        assert!(
            [Some(0), Some(2)].contains(&attacked.output.code),
            "{name}: {:?}",
            attacked.output
        );
    }
    let attacked = site.attack(site.host().at(&folder).args(["config", "show"]));
    attacked.refused(&["colour"]);
    // A home folder of such a name.
    let home = site.home.folder().join(nasty);
    for line in [
        &["doctor"][..],
        &["runs"],
        &["config", "show"],
        &["blackboard", "put", "glossary", "k", "v"],
        &["blackboard", "ls"],
    ] {
        let host = site.host().args(line).arg("--home").arg(&home);
        let attacked = site.attack(host);
        assert!(attacked.output.code.is_some(), "{line:?}: {:?}", attacked.output);
    }
    site.is_well();
}

#[test]
fn a40_words_that_break_off_are_clean_as_far_as_they_came() {
    // The last words of a provider that stalls are shown while they come, and stay clean where they were cut.
    let site = Site::with([Turn::text(nasty()).with(Fault::StallMidStream)]);
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let host = site.host().set("limits.llm.idle", "300ms").set("limits.llm.tries", 1);
    let attacked = site.attack(host.probe_events(&steps(&[ask])));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    assert!(
        attacked.output.stdout.contains("completion-text"),
        "{}",
        attacked.output.stdout
    );
    site.is_well();
}
