//! What an operator's words do: grants on the line and in the configuration, the blackboard's commands, a home that can't
//! be used, and what `doctor` finds.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use hermes_tests::home::{KEY, KEY_VARIABLE, provider};
use hermes_tests::model::{Format, ModelServer};
use hermes_tests::output::{message, refusal};
use hermes_tests::{Home, Host, Output, guests};
use serde_json::{Value, json};

fn home() -> Home {
    Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi)
}

/// Has a tool of the tests do one step in a run with these arguments: what it saw.
fn tool_sees(home: &Home, arguments: &[&str], step: &Value) -> Value {
    let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [step] } });
    let host = home.host().args(["--deny", "llm"]).args(arguments);
    let host = host.arg("--tool").arg(guests::built("probe-tool"));
    let seen = host.probe(&json!({ "steps": [call] })).output().expect(0).seen();
    hermes_tests::output::in_call(&seen[0]).swap_remove(0)
}

fn write(path: &str, text: &str) -> Value {
    json!({ "do": "write-file", "path": path, "text": text })
}

#[test]
fn a_folder_is_written_where_its_grant_says_so_alone() {
    let home = home();
    let kept = home.write("out/kept.txt", "as it was");
    let new = home.work().join("out/new.txt");
    for grant in ["fs:./out", "fs:./out:ro"] {
        for path in ["/out/kept.txt", "/out/new.txt"] {
            let seen = tool_sees(&home, &["--allow", grant], &write(path, "hello"));
            assert_eq!(message(&seen), "not-permitted", "{grant}: {seen}");
        }
        assert_eq!(fs::read_to_string(&kept).unwrap(), "as it was", "{grant}");
        assert!(!new.exists(), "{grant}");
    }
    for (path, file) in [("/out/kept.txt", &kept), ("/out/new.txt", &new)] {
        let seen = tool_sees(&home, &["--allow", "fs:./out:rw"], &write(path, "hello"));
        assert_eq!(seen, json!({ "ok": 5 }));
        assert_eq!(fs::read_to_string(file).unwrap(), "hello");
    }
    // Of another name there is nothing, and nothing is above the folder.
    for path in ["/other/new.txt", "/out/../above.txt"] {
        let seen = tool_sees(&home, &["--allow", "fs:./out:rw"], &write(path, "hello"));
        assert!(seen["error"].is_object(), "{path}: {seen}");
    }
    assert!(!home.work().join("above.txt").exists());
}

/// What a listing of the granted folders says, where it is not refused.
fn listed(host: Host) -> Result<String, String> {
    let list = json!({ "do": "call", "name": "list_files", "arguments": {} });
    let host = host.args(["--deny", "llm"]);
    let seen = host.probe(&json!({ "steps": [list] })).output().expect(0).seen();
    match refusal(&seen[0]) {
        None => Ok(seen[0]["ok"]["output"]["content"][0]["Text"]
            .as_str()
            .unwrap()
            .to_owned()),
        Some(kind) => Err(kind),
    }
}

fn with_papers() -> Home {
    let home = home();
    home.write("papers/a.txt", "dendrites\n");
    home.write("notes/b.txt", "crystals\n");
    home
}

#[test]
fn a_grant_to_one_plugin_is_no_others() {
    let home = with_papers();
    let listed = |grants: &[&str]| {
        let allow = grants.iter().flat_map(|grant| ["--allow", grant]);
        listed(home.host().args(allow))
    };
    assert_eq!(listed(&["fs:./papers"]).unwrap().trim(), "/papers/a.txt");
    let both = listed(&["probe=fs:./papers", "files=fs:./papers"]);
    assert_eq!(both.unwrap().trim(), "/papers/a.txt");
    // A tool has what both it and its caller have.
    let denied = Err("denied".to_owned());
    for other in ["web=fs:./papers", "files=fs:./notes"] {
        assert_eq!(listed(&["probe=fs:./papers", other]), denied, "{other}");
    }
    assert_eq!(
        listed(&["files=fs:./papers", "web=fs:./papers"]),
        Err("not-found".to_owned())
    );
}

#[test]
fn a_grant_to_one_plugin_is_for_a_single_call_too() {
    let home = with_papers();
    let call = |grant: &str| {
        home.host()
            .args(["call", "files", "list_files", "--allow", grant])
            .output()
    };
    assert_eq!(call("files=fs:./papers").expect(0).stdout.trim(), "/papers/a.txt");
    call("web=fs:./papers").expect(4).says(&["--allow fs:"]);
}

#[test]
fn grants_stand_in_the_configuration_too() {
    let home = with_papers();
    let file = home.path().join("host/config.toml");
    let before = fs::read_to_string(&file).unwrap();
    let with = |allow: &Value| fs::write(&file, format!("allow = {allow}\n{before}")).unwrap();
    with(&json!(["fs:./papers"]));
    assert_eq!(listed(home.host()).unwrap().trim(), "/papers/a.txt");
    let call = home.host().args(["call", "files", "list_files"]).output().expect(0);
    assert_eq!(call.stdout.trim(), "/papers/a.txt");
    let both = listed(home.host().args(["--allow", "fs:./notes"])).unwrap();
    assert!(
        both.contains("/papers/a.txt") && both.contains("/notes/b.txt"),
        "the line adds to it: {both}"
    );
    let shown = home.host().args(["config", "show"]).output().expect(0).stdout;
    assert!(shown.contains("fs:./papers"), "{shown}");
    // What is named by its path gets nothing by its name.
    let probe = || home.host().args(["--allow", "probe=fs:./papers"]);
    with(&json!(["files=fs:./papers"]));
    assert_eq!(listed(probe()).unwrap().trim(), "/papers/a.txt");
    with(&json!(["probe=fs:./papers", "files=fs:./papers"]));
    assert!(listed(home.host()).is_err());
    with(&json!(["web=fs:./papers"]));
    assert_eq!(listed(probe()), Err("denied".to_owned()));
    for bad in ["fs:./nowhere", "moon:dark"] {
        with(&json!([bad]));
        home.host().probe(&json!({})).output().expect(2).says(&[bad]);
    }
}

fn board(home: &Home, words: &[&str]) -> Output {
    home.host().arg("blackboard").args(words).output()
}

#[test]
fn an_entry_is_removed_in_the_version_that_was_meant() {
    let home = Home::empty();
    let version = |words: &[&str]| {
        let host = home.host().args(["--output", "json", "blackboard", "put"]).args(words);
        host.output().expect(0).json()["version"].clone()
    };
    assert_eq!(version(&["glossary", "dendrite", "a tree"]), 1);
    assert_eq!(version(&["glossary", "dendrite", "a crystal"]), 2);
    let delete = ["delete", "glossary", "dendrite"];
    board(&home, &[&delete[..], &["--if-version", "1"]].concat())
        .expect(2)
        .says(&["version 2"]);
    let got = board(&home, &["get", "glossary", "dendrite"]).expect(0);
    assert_eq!(got.stdout, "a crystal", "it is still there");
    board(&home, &[&delete[..], &["--if-version", "2"]].concat()).expect(0);
    board(&home, &["get", "glossary", "dendrite"])
        .expect(2)
        .says(&["dendrite", "blackboard ls glossary"]);
    assert_eq!(board(&home, &["ls", "glossary"]).expect(0).stdout, "");
    board(&home, &[&delete[..], &["--if-version", "2"]].concat())
        .expect(2)
        .says(&["absent"]);
    assert_eq!(
        version(&["glossary", "dendrite", "again"]),
        4,
        "a removal is a change too"
    );
    board(&home, &delete).expect(0);
    board(&home, &["get", "glossary", "dendrite"]).expect(2);
    board(&home, &delete)
        .expect(2)
        .says(&["there is no entry `dendrite` in `glossary`"]);
}

#[test]
fn a_value_that_is_too_long_is_told_with_its_key() {
    let home = Home::empty();
    let put = |bytes: usize| {
        let value = home.write("value", "x".repeat(bytes));
        let host = home.host().args(["blackboard", "put", "glossary", "big", "-"]);
        host.reads(&value).output()
    };
    put(256 << 10).expect(0);
    put((256 << 10) + 1)
        .expect(2)
        .says(&["the value on standard input is longer than 256 KiB (limits.blackboard.value)"]);
}

#[test]
fn a_runs_space_is_changed_by_its_run_alone() {
    let home = home();
    let open = json!({ "do": "open", "name": "notes" });
    let put = json!({ "do": "put", "space": 0, "key": "plan", "value": "read" });
    let host = home.host().args(["--deny", "llm"]);
    let run = host.probe(&json!({ "steps": [open, put] })).output().expect(0).json();
    let space = format!("{}/notes", run["run"].as_str().unwrap());
    board(&home, &["delete", &space, "plan"]).expect(2).says(&[&space]);
    board(&home, &["put", &space, "plan", "mine"]).expect(2).says(&[&space]);
    assert_eq!(board(&home, &["get", &space, "plan"]).expect(0).stdout, "read");
    // Of a run that there is not, that is said.
    for change in [
        &["put", "ffffffffff/notes", "plan", "mine"][..],
        &["delete", "ffffffffff/notes", "plan"],
    ] {
        board(&home, change).expect(2).says(&["there is no run ffffffffff"]);
    }
    board(&home, &["put", "glossary", "", "x"])
        .expect(2)
        .says(&["the blackboard: a key has 1 to 256 bytes"]);
}

#[test]
fn a_space_of_any_size_is_listed_whole() {
    let home = home();
    let append = |n: u64, prefix: &str| {
        let append = json!({ "do": "append", "space": 0, "prefix": prefix, "value": "x" });
        json!({ "do": "repeat", "n": n, "steps": [append] })
    };
    let page =
        |after: &Value, limit: u32| json!({ "do": "keys", "space": 0, "prefix": "n/", "after": after, "limit": limit });
    // One more than a guest is told at once.
    let steps = [
        json!({ "do": "open", "name": "notes" }),
        append(2, "m/"),
        append(1001, "n/"),
        append(2, "o/"),
        page(&Value::Null, 5000),
        page(&json!("n/00000000000000001001"), 3),
        page(&json!("n/00000000000000001002"), 5000),
        page(&json!("n/00000000000000001003"), 5000),
    ];
    let host = home.host().args(["--deny", "llm"]);
    let output = host.probe(&json!({ "steps": steps })).output().expect(0);
    let space = format!("{}/notes", output.json()["run"].as_str().unwrap());
    let seen = output.seen();
    let keys = |n: usize| -> Vec<String> { serde_json::from_value(seen[n]["ok"].clone()).unwrap() };
    let key = |version: u64| format!("n/{version:020}");
    // Keys are numbered by the versions of their space, of which two are used.
    assert_eq!(keys(4), (3..1003).map(key).collect::<Vec<_>>());
    assert_eq!(keys(5), [key(1002), key(1003)]);
    assert_eq!(keys(6), [key(1003)]);
    assert_eq!(keys(7), [""; 0]);
    let ls = |more: &[&str]| {
        let words = [&["ls", &space], more].concat();
        let listed = board(&home, &words).expect(0).stdout;
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ls(&["--prefix", "n/"]), (3..1004).map(key).collect::<Vec<_>>());
    let all = ls(&[]);
    assert_eq!((all.len(), all.is_sorted()), (1005, true), "{all:?}");
}

#[test]
fn a_home_that_cannot_be_made_is_named_with_what_changes_it() {
    let home = home();
    let file = home.write("a-file", "in the way");
    let below = file.join("home");
    let probe = guests::built("probe");
    for place in [Path::new("/dev/null/home"), Path::new("/proc/home"), &below] {
        let at = |host: Host| host.env("HERMES_HOME", place);
        let shown = place.display().to_string();
        let words = [shown.as_str(), "HERMES_HOME"];
        let run = at(home.host()).args(["--deny", "llm", "{}", "--plugin"]).arg(&probe);
        let output = run.output().expect(2).says(&words);
        assert_eq!(output.stdout, "", "nothing ran");
        let put = at(home.host()).args(["blackboard", "put", "glossary", "dendrite", "a tree"]);
        put.output().expect(2).says(&words);
        // What needs no home is done without one; that nothing of it is kept is said.
        let call = at(home.host()).arg("call").arg(guests::built("pure-echo"));
        let output = call
            .args(["echo", r#"{"text":"hello"}"#])
            .output()
            .expect(0)
            .says(&[&shown]);
        assert_eq!(output.stdout, "hello\n");
        let runs = at(home.host()).args(["runs", "--output", "json"]).output();
        if place.starts_with("/proc") {
            // It could be made for all that can be told by looking.
            assert_eq!(runs.expect(0).json(), json!([]));
        } else {
            let error = &runs.expect(2).says(&words).json()["error"];
            assert!(error["message"].as_str().unwrap().contains(&shown), "{error}");
        }
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "in the way");
}

#[test]
fn commands_that_look_make_nothing_in_a_home_that_is_not_there() {
    let home = Home::empty();
    let typo = home.work().join("typo");
    for (command, code) in [
        (&["runs"][..], 0),
        (&["runs", "prune", "--older-than", "0s"], 0),
        (&["show", "0123456789"], 2),
        (&["tree", "0123456789"], 2),
        (&["replay", "0123456789"], 2),
        (&["export", "0123456789"], 2),
        (&["blackboard", "ls"], 0),
        (&["config", "show"], 0),
        (&["doctor"], 0),
    ] {
        let output = home.host().arg("--home").arg(&typo).args(command).output();
        assert_eq!(output.code, Some(code), "{command:?}: {output:?}");
        assert!(!typo.exists(), "{command:?}");
    }
    let listed = home.host().arg("--home").arg(&typo).arg("runs").output().expect(0);
    listed.says(&["no runs in", typo.to_str().unwrap()]);
}

#[test]
fn what_has_no_events_refuses_them() {
    let home = home();
    for line in [
        &["runs"][..],
        &["doctor"],
        &["config", "show"],
        &["config", "reference"],
        &["call", "files", "list_files"],
        &["show", "0123456789"],
        &["replay", "0123456789"],
        &["blackboard", "watch", "glossary"],
    ] {
        let output = home.host().args(line).args(["--output", "events"]).output().expect(2);
        let output = output.says(&["`run`, `resume`, and `replay` with --fork", "--output json"]);
        assert_eq!(output.stdout, "", "{line:?}");
    }
    let output = home.host().args(["runs", "--json"]).output().expect(2);
    output.says(&["tip: use --output json"]);
}

#[test]
fn the_model_that_a_run_would_ask_is_shown_with_what_makes_it_so() {
    let home = Home::empty();
    let model = |variable: &str, value: &str| {
        let shown = home.host().args(["config", "show", "--output", "json"]);
        let shown = shown.env(variable, value).output().expect(0).json();
        let rows = shown.as_array().unwrap();
        assert_eq!(rows[0]["key"], "home");
        let row = rows.iter().find(|row| row["key"] == "model").unwrap();
        (row["value"].clone(), row["source"].clone())
    };
    assert_eq!(model("UNUSED", "x"), (Value::Null, json!("default")));
    assert_eq!(
        model("OPENAI_API_KEY", KEY),
        (json!("openai/gpt-5-mini"), json!("OPENAI_API_KEY"))
    );
    // Which one is told by the server alone, which is not asked here.
    assert_eq!(
        model("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
        (Value::Null, json!("OPENAI_BASE_URL"))
    );
    let shown = home.host().args(["config", "show"]).env("ANTHROPIC_API_KEY", KEY);
    let shown = shown.output().expect(0).stdout;
    let row = shown.lines().find(|line| line.starts_with("model ")).unwrap();
    assert!(
        row.ends_with("anthropic/claude-sonnet-4-5  (ANTHROPIC_API_KEY)"),
        "{row}"
    );
}

#[test]
fn resume_wants_to_be_told_what() {
    let home = Home::empty();
    let output = home.host().arg("resume").output().expect(2);
    output.says(&["which run?", "hermes-host resume --all"]);
}

#[test]
fn a_provider_that_is_not_configured_is_named() {
    let home = home();
    let host = home.host().args(["--model", "slow/model"]);
    let output = host.probe(&json!({})).output().expect(2);
    output.says(&["no provider \"slow\" is configured"]);
    let checks = checks(home.host().env("HERMES_HOST_MODEL", "slow/model"));
    let mend = check(&checks, "model")["mend"].as_str().unwrap();
    assert!(mend.starts_with("[providers.slow]   "), "{mend}");
}

#[test]
fn a_setting_that_cannot_be_used_is_told_with_its_place() {
    for (key, value, words) in [
        ("model", "\"x\"", "\"x\" is neither an alias nor provider/name"),
        ("allow", "[\"fs:/nope\"]", "fs:/nope: the folder can't be found"),
        ("own", "[\"web=net:\"]", "net:"),
        ("tools", "[\"./nope.wasm\"]", "nope.wasm"),
    ] {
        let home = Home::new();
        home.configure(&format!("{key} = {value}\n"));
        let text = fs::read_to_string(home.path().join("host/config.toml")).unwrap();
        let line = text.lines().position(|line| line.starts_with(key)).unwrap() + 1;
        let told = format!("host/config.toml:{line}: `{key}`: ");
        let refused = home.host().probe(&json!({ "steps": [] })).output().expect(2);
        refused.says(&[&told, words]);
    }
    // A flag is seen where it was typed.
    let home = Home::new();
    let host = home.host().args(["--allow", "fs:/nope"]);
    let refused = host.probe(&json!({ "steps": [] })).output().expect(2);
    refused.says(&["error: fs:/nope: the folder can't be found"]);
}

#[test]
fn a_variable_that_is_unknown_is_told_with_another_only_where_that_is_near() {
    let home = Home::empty();
    let runs = |name: &str| home.host().env(name, "1").arg("runs").output().expect(2).stderr;
    let near = runs("HERMES_HOST_MODLE");
    assert!(near.contains("did you mean `HERMES_HOST_MODEL`?"), "{near}");
    let far = runs("HERMES_HOST_FOO");
    assert!(far.contains("no variable `HERMES_HOST_FOO`\n"), "{far}");
}

#[test]
fn a_grant_that_is_wrong_is_named_once() {
    let home = home();
    let host = home.host().args(["--allow", "net:http://a.b/c"]);
    let said = host.probe(&json!({})).output().expect(2).stderr;
    assert_eq!(said.matches("net:http://a.b/c").count(), 1, "{said}");
}

/// What `doctor` says: each thing that it looked at.
fn checks(host: Host) -> Vec<Value> {
    let output = host.args(["doctor", "--output", "json"]).output();
    let checks = output.json().as_array().unwrap().clone();
    let failed = checks.iter().any(|check| check["state"] == "fail");
    assert_eq!(output.code, Some(i32::from(failed)), "{checks:?}");
    checks
}

/// The one check of this name.
#[track_caller]
fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let found = checks.iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:?}"))
}

/// A home whose provider has its key in a file of its own.
fn with_key_file() -> Home {
    let (server, home) = (ModelServer::start(Vec::new()), Home::empty());
    let file = home.write("key", KEY);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let (variable, path) = (
        format!("key_env = \"{KEY_VARIABLE}\""),
        format!("key_file = \"{}\"", file.display()),
    );
    home.configure(&provider(&server, Format::OpenAi).replace(&variable, &path));
    let host = home.path().join("host");
    fs::create_dir(host.join("cache")).unwrap();
    for folder in [host.join("cache"), host] {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    }
    home
}

#[test]
fn a_folder_that_holds_a_providers_key_is_not_granted() {
    let home = with_key_file();
    home.write("below/a.txt", "");
    let host = |folder: &str| home.host().args(["--deny", "llm", "--allow", folder]);
    let run = |folder: &str| host(folder).probe(&json!({})).output();
    for folder in ["fs:.", "fs:.:rw"] {
        run(folder).expect(2).says(&["work/key", "key_file"]);
    }
    run("fs:./below:rw").expect(0);
}

#[test]
fn what_doctor_tells_mends_what_it_found() {
    let home = with_key_file();
    let doctor = || checks(home.host());
    for (name, path, mode, state) in [
        ("home", home.path().join("host"), 0o755, "warn"),
        ("compile cache", home.path().join("host/cache"), 0o770, "fail"),
        ("key file", home.work().join("key"), 0o640, "fail"),
    ] {
        assert_eq!(check(&doctor(), name)["state"], "ok", "{name}");
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let found = check(&doctor(), name).clone();
        assert_eq!(found["state"], state, "{found}");
        assert!(
            found["detail"].as_str().unwrap().contains(path.to_str().unwrap()),
            "{found}"
        );
        let text = home.host().arg("doctor").output().stdout;
        let mend = found["mend"].as_str().unwrap();
        assert!(text.contains(mend), "{text}");
        // The command, then what there is to say of it.
        let command = mend.split("   ").next().unwrap();
        let done = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(done.success(), "{command}");
        assert_eq!(check(&doctor(), name)["state"], "ok", "{command}");
    }
}

#[test]
fn each_finding_of_doctor_comes_with_what_mends_it() {
    let home = with_key_file();
    let mended = |name: &str, host: Host| {
        let checks = checks(host);
        assert_ne!(check(&checks, name)["state"], "ok", "{checks:?}");
        let found: Vec<_> = checks.iter().filter(|check| check["state"] != "ok").collect();
        let without = found.iter().find(|check| check["mend"].is_null());
        assert!(without.is_none(), "{name}: nothing mends {without:?}");
    };
    mended("compile cache", home.host().set("compile_cache", "false"));
    fs::remove_file(home.work().join("key")).unwrap();
    mended("key file", home.host());
    home.write("key", KEY);
    fs::set_permissions(home.work().join("key"), Permissions::from_mode(0o600)).unwrap();
    fs::write(home.path().join("host/hermes.db"), "no database").unwrap();
    mended("database", home.host());
    // Secrets and configuration lie in the same folder, and stay.
    let runs = home.host().arg("runs").output().expect(2);
    runs.says(&["restore a backup, or move hermes.db*, runs and components beside it away to begin anew"]);
    mended("configuration", home.host().set("limits.memroy", 1));
    let bare = Home::empty();
    mended("model", bare.host());
}

#[test]
fn a_home_that_has_lost_its_database_begins_anew_as_doctor_says() {
    let home = with_key_file();
    let host = home.path().join("host");
    fs::create_dir(host.join("runs")).unwrap();
    fs::write(host.join("runs/0123456789.lock"), "").unwrap();
    let found = checks(home.host());
    let found = check(&found, "database");
    let (detail, mend) = (found["detail"].as_str().unwrap(), found["mend"].as_str().unwrap());
    assert!(detail.ends_with("files of its runs are still there"), "{found}");
    let words = format!("move hermes.db*, runs and components in {} away", host.display());
    assert!(mend.contains(&words), "{found}");
    fs::rename(host.join("runs"), home.work().join("runs")).unwrap();
    assert_eq!(check(&checks(home.host()), "database")["state"], "ok");
}

#[test]
fn a_setting_that_is_unknown_is_told_with_a_command_that_works() {
    let home = with_key_file();
    home.write("hermes.toml", "[limits]\nmemroy = 1\n");
    let found = checks(home.host());
    let mend = check(&found, "configuration")["mend"].as_str().unwrap();
    assert!(mend.ends_with("hermes-host config reference"), "{mend}");
    home.host().args(["config", "reference"]).output().expect(0);
}

#[test]
fn programs_read_the_reference_too() {
    let home = Home::new();
    let reference = home.host().args(["config", "reference", "--output", "json"]);
    let reference = reference.output().expect(0).json();
    let of = |list: &str, name: &str, what: &str| {
        let rows = reference[list].as_array().unwrap();
        rows.iter().find(|row| row[name] == what).unwrap().clone()
    };
    let deny = of("settings", "key", "deny");
    assert_eq!(
        (&deny["default"], &deny["project"], &deny["variable"]),
        (&json!("none"), &json!("add to it"), &json!("HERMES_HOST_DENY"))
    );
    let memory = of("limits", "key", "limits.memory");
    assert_eq!(
        (&memory["unit"], &memory["default"], &memory["variable"]),
        (&json!("bytes"), &json!(64 << 20), &json!("HERMES_HOST_LIMITS_MEMORY"))
    );
    let model = of("models", "model", "openai/gpt-5-mini");
    assert_eq!(model["input_micro_usd_per_mtok"], 250_000);
    assert!(
        reference["budget"].as_array().unwrap().contains(&json!("usd")),
        "{reference}"
    );
}

#[test]
fn doctor_finds_a_home_that_cannot_be_made() {
    let home = Home::empty();
    let file = home.write("a-file", "in the way");
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    // To whoever may do everything `/proc` says that it can be written.
    let nowhere = checks(home.host().env("HERMES_HOME", "/proc/none"));
    let found = check(&nowhere, "home");
    assert_eq!(found["state"], "fail", "{found}");
    assert!(found["mend"].as_str().unwrap().contains("HERMES_HOME"), "{found}");
    let new = home.work().join("new");
    let anew = checks(home.host().env("HERMES_HOME", new.join("home")));
    assert_eq!(check(&anew, "home")["state"], "ok");
    assert!(!new.exists(), "it was tried, and nothing is left");
    assert!(
        home.work()
            .read_dir()
            .unwrap()
            .all(|entry| entry.unwrap().path() == file)
    );
    let checks = checks(home.host().env("HERMES_HOME", file.join("home")));
    let found = check(&checks, "home");
    assert_eq!(found["state"], "fail", "{found}");
    let mend = found["mend"].as_str().unwrap();
    assert!(
        mend.contains("HERMES_HOME") && !mend.contains("chmod"),
        "a file is no folder: {mend}"
    );
}
