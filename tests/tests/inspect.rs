//! `inspect` says what a plugin is and wants, and runs nothing of it.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs;

use hermes_tests::{Home, guests};

#[test]
fn identity_exports_imports_and_wants() {
    let home = Home::new();
    let path = guests::built("pure-echo");
    let json = home
        .host()
        .arg("inspect")
        .arg(&path)
        .args(["--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!(json["name"], "pure-echo");
    assert_eq!(json["version"], "0.1.0");
    assert_eq!(json["size"], fs::metadata(&path).unwrap().len());
    assert_eq!(json["digest"].as_str().unwrap().len(), 64);
    let listed = |key: &str| json[key].to_string();
    assert!(listed("exports").contains("hermes:plugin/toolset@0.1.0"), "{json}");
    assert_eq!(json["wants"], serde_json::json!([]));
    assert_eq!(json["tools"], serde_json::Value::Null, "it was not asked");
}

#[test]
fn only_asking_runs_it_and_with_nothing_granted() {
    let home = Home::new();
    let ask = |guest: &str| {
        home.host()
            .args(["inspect", "--ask"])
            .arg(guests::built(guest))
            .args(["--output", "json"])
    };
    let json = ask("pure-echo").output().expect(0).json();
    let tool = &json["tools"][0];
    assert_eq!(tool["name"], "echo");
    assert_eq!(tool["schema"]["properties"]["text"]["type"], "string");
    assert_eq!(tool["schema"]["required"], serde_json::json!(["text"]));
}

#[test]
fn what_a_tool_takes_is_told_before_it_is_called_and_when_it_is_called_wrongly() {
    let home = Home::new();
    let shown = home
        .host()
        .args(["inspect", "files", "--ask"])
        .output()
        .expect(0)
        .stdout;
    let (_, read) = shown.split_once("\n  read_file ").unwrap();
    assert!(read.contains("path (string, required): File to read"), "{shown}");
    assert!(read.contains("start (integer): First line"), "{shown}");
    let call = [
        "call",
        "files",
        "read_file",
        r#"{"path":"/x","pat":"/x"}"#,
        "--allow",
        "fs:.",
    ];
    let refused = home.host().args(call).output().expect(1);
    refused.says(&["'pat' was unexpected); its arguments are lines, path, start"]);
}

#[test]
fn what_would_be_denied() {
    let home = Home::new();
    let wants = |arguments: &[&str]| {
        let host = home
            .host()
            .args(["inspect", "research", "--output", "json"])
            .args(arguments);
        host.output().expect(0).json()["wants"].clone()
    };
    let of = |wants: &serde_json::Value, kind: &str| {
        let found = wants
            .as_array()
            .unwrap()
            .iter()
            .find(|want| want["grant"].as_str().unwrap().starts_with(kind))
            .cloned();
        found.unwrap_or_else(|| panic!("no {kind} in {wants}"))
    };
    let before = of(&wants(&[]), "fs");
    assert_eq!(before["granted"], false);
    assert!(before["flag"].as_str().unwrap().contains("--allow fs:"), "{before}");
    assert_eq!(of(&wants(&["--allow", "fs:."]), "fs")["granted"], true);
}

#[test]
fn without_a_manifest_its_imports_tell_what_would_be_denied() {
    let home = Home::new();
    let wants = |guest: &str, arguments: &[&str]| {
        let host = home.host().arg("inspect").arg(guests::built(guest)).args(arguments);
        let json = host.args(["--output", "json"]).output().expect(0).json();
        let wants = json["wants"].as_array().unwrap().clone();
        let of = |want: &serde_json::Value| {
            let grant = want["grant"].as_str().unwrap().to_owned();
            (grant, want["granted"].as_bool().unwrap())
        };
        wants.iter().map(of).collect::<Vec<_>>()
    };
    let denied = |kind: &str| (kind.to_owned(), false);
    let granted = |kind: &str| (kind.to_owned(), true);
    let all = ["llm", "blackboard", "fs", "net"].map(denied);
    assert_eq!(wants("probe-tool", &[]), all);
    let some = [denied("llm"), denied("blackboard"), granted("fs"), denied("net")];
    assert_eq!(wants("probe-tool", &["--allow", "fs:."]), some);
    // What a strategy has by default, and nothing that only its tools can have.
    let root = ["llm", "blackboard", "delegation", "lessons"].map(granted);
    assert_eq!(wants("probe", &[]), root);
}

#[test]
fn a_tool_is_asked_once_for_what_it_has() {
    let home = Home::empty();
    let ask = || {
        // However long it is compiled.
        let host = home.host().args(["inspect", "--ask", "--quiet"]);
        let output = host.arg(guests::built("probe-tool")).output().expect(0);
        (output.stdout, output.stderr)
    };
    let (said, notices) = ask();
    assert!(said.contains("echo"), "{said}");
    assert_eq!(notices, "");
    let cache = home.path().join("host/cache");
    let entries = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "code" || e == "answer"))
        .collect();
    entries.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let [answer, code] = entries.try_into().expect("its answer and its code");
    fs::remove_file(&code).unwrap();
    assert_eq!(ask(), (said.clone(), String::new()));
    assert!(!code.exists(), "it was compiled to be asked again");
    let mut bytes = fs::read(&answer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&answer, bytes).unwrap();
    let (again, notices) = ask();
    assert_eq!(again, said);
    assert!(notices.contains("rejected"), "{notices}");
    assert!(code.exists(), "what was changed was believed");
    // The code is looked for when it is called.
    let mut bytes = fs::read(&code).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&code, bytes).unwrap();
    let call = home.host().arg("call").arg(guests::built("probe-tool"));
    let output = call.args(["echo", r#"{"text":"hello"}"#]).output().expect(0);
    assert!(output.stderr.contains("compiled again"), "{}", output.stderr);
}
