//! What a person sees: errors, help, `inspect`, `show`, `config show`, as they stand on the screen.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::{Home, guests};
use serde_json::json;

/// Compares with the snapshot of this name; what differs from run to run is put aside.
fn same(home: &Home, name: &str, screen: &str) {
    let root = hermes_tests::host::root().display().to_string();
    let target = hermes_tests::host::target().display().to_string();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (found, shown) in [
        (home.path().display().to_string(), "HOME"),
        (home.work().display().to_string(), "WORK"),
        (target, "TARGET"),
        (root, "ROOT"),
    ] {
        settings.add_filter(&escaped(&found), shown);
    }
    for (pattern, shown) in [
        (r"\b[0-9a-f]{64}\b", "DIGEST"),
        (r"\b[0-9a-f]{12}\b", "DIGEST"),
        (r"\b[0-9a-f]{10}\b", "RUNRUNRUN0"),
        (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?Z?", "DATE"),
        (r"\b\d+:\d\d\b", "M:SS"),
        (r"\b\d+(\.\d+)? ?(ms|s)\b", "TIME"),
        (r"\b\d[\d,.]*[kMG]? fuel\b", "N fuel"),
        (r"\b\d+\.\d (KiB|MiB)\b", "SIZE"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"getting ready; .*\n", ""),
    ] {
        settings.add_filter(pattern, shown);
    }
    settings.bind(|| insta::assert_snapshot!(name.trim().replace(' ', "-"), screen));
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '/' {
                c.to_string()
            } else {
                format!("\\{c}")
            }
        })
        .collect()
}

fn home() -> (ModelServer, Home) {
    let server =
        ModelServer::start(Script::from([Turn::call("echo", &json!({ "text": "x" }))]).then(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    (server, home)
}

#[test]
fn help() {
    let (_server, home) = home();
    for command in [
        "",
        "run",
        "inspect",
        "call",
        "runs",
        "show",
        "blackboard",
        "secret",
        "secret set",
        "config",
        "doctor",
    ] {
        let words = command.split_whitespace().chain(["--help"]);
        let output = home.host().args(words).output().expect(0);
        same(&home, &format!("help {command}"), &output.stdout);
    }
}

#[test]
fn errors() {
    let (_server, home) = home();
    home.write("empty.wasm", b"");
    home.write("core.wasm", b"\0asm\x01\0\0\0");
    home.write("other.wasm", guests::other_world());
    home.write("newer.wasm", guests::newer_contract());
    home.write("newer-llm.wasm", guests::newer_llm());
    home.write("unknown.wasm", guests::unknown_import());
    for plugin in ["missing", "empty", "core", "other", "newer", "newer-llm", "unknown"] {
        let output = home
            .host()
            .args(["--plugin", &format!("./{plugin}.wasm"), "a task"])
            .output()
            .expect(2);
        same(&home, &format!("error {plugin}"), &output.stderr);
    }
    let probe = guests::built("probe");
    for (name, arguments) in [
        ("budget", ["--budget", "iteratons=3"]),
        ("grant", ["--allow", "moon:dark"]),
        ("folder", ["--allow", "fs:./nowhere"]),
        ("own folder", ["--allow", "fs:../home"]),
        ("model", ["--model", "tset/test-model"]),
        ("setting", ["--set", "limits.memroy=1MiB"]),
        ("limit", ["--set", "limits.memory=1"]),
    ] {
        let output = home
            .host()
            .args(arguments)
            .arg("--plugin")
            .arg(&probe)
            .arg("{}")
            .output()
            .expect(2);
        same(&home, &format!("error {name}"), &output.stderr);
    }
}

#[test]
fn secrets() {
    let (_server, home) = home();
    let file = home.write("value", "0123456789abcdef");
    let set = |arguments: &[&str]| {
        let host = home.host().args(["secret", "set"]).args(arguments);
        host.reads(&file).output()
    };
    same(
        &home,
        "secret set",
        &set(&["weather", "--header", "X-Api-Key: {}"]).expect(0).stderr,
    );
    same(&home, "secret set again", &set(&["weather"]).expect(0).stderr);
    set(&["maps", "--query", "key"]).expect(0);
    let list = home
        .host()
        .args(["secret", "list"])
        .set("allow", "secret:maps@maps.example");
    let list = list
        .set("own", "web=secret:weather@*.weather.example")
        .output()
        .expect(0);
    same(&home, "secret list", &list.stdout);
    same(&home, "error secret name", &set(&["my key"]).expect(2).stderr);
    same(
        &home,
        "error secret header",
        &set(&["k", "--header", "X-Key"]).expect(2).stderr,
    );
    let remove = |name: &str| home.host().args(["secret", "remove", name]).output();
    same(&home, "error secret remove", &remove("map").expect(2).stderr);
    same(&home, "secret remove", &remove("weather").expect(0).stderr);
    let missing = home
        .host()
        .args(["secret", "list"])
        .set("own", "web=secret:weather@*.weather.example");
    same(&home, "secret list missing", &missing.output().expect(0).stdout);
    let grant = "secret:weather@api.weather.example";
    let run = home
        .host()
        .args(["--allow", grant, "--plugin"])
        .arg(guests::built("probe"))
        .arg("{}");
    same(&home, "error secret not set", &run.output().expect(2).stderr);
}

#[test]
fn no_model() {
    let home = Home::empty();
    let program = json!({ "steps": [{ "do": "models" }] }).to_string();
    let output = home
        .host()
        .arg("--plugin")
        .arg(guests::built("probe"))
        .arg(program)
        .output()
        .expect(2);
    same(&home, "error no model", &output.stderr);
}

#[test]
fn inspect() {
    let (_server, home) = home();
    let output = home
        .host()
        .args(["inspect", "--ask"])
        .arg(guests::built("pure-echo"))
        .output()
        .expect(0);
    same(&home, "inspect", &output.stdout);
}

#[test]
fn a_run_and_its_story() {
    let (_server, home) = home();
    let program = json!({
        "steps": [
            { "do": "agent", "user": "Go on.", "turns": 3 },
            { "do": "open", "name": "notes" },
            { "do": "put", "space": 0, "key": "plan", "value": "read" },
            { "do": "progress", "message": "reading" },
        ],
        "summary": "An answer.",
    });
    let host = home
        .host()
        .arg("--tool")
        .arg(guests::built("pure-echo"))
        .arg("--plugin")
        .arg(guests::built("probe"));
    let output = host.arg(program.to_string()).output().expect(0);
    same(&home, "run", &output.stderr);
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    let output = home
        .host()
        .args(["show", runs[0]["run"].as_str().unwrap()])
        .output()
        .expect(0);
    same(&home, "show", &output.stdout);
}

#[test]
fn a_right_that_is_missing() {
    let (_server, home) = home();
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let program = json!({ "steps": [ask], "fail": { "kind": "Denied", "message": "I need a model." } }).to_string();
    let host = home
        .host()
        .args(["--deny", "llm", "--plugin"])
        .arg(guests::built("probe"))
        .arg(program);
    same(&home, "denied", &host.output().expect(4).stderr);
}

#[test]
fn what_was_used_and_what_was_missing() {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a\n");
    let value = home.write("value", "0123456789abcdef");
    let set = home.host().args(["secret", "set", "weather"]).reads(&value);
    set.output().expect(0);
    let file = |deed: &str, path: &str| json!({ "do": "files", "deed": deed, "path": path });
    let tool = json!({ "do": "call", "name": "probe", "arguments": { "steps": [
        file("read", "/papers/a.txt"),
        file("read", "/papers/a.txt"),
        file("read", "/papers/none.txt"),
        file("remove", "/papers/a.txt"),
        file("make", "/papers/more"),
        file("read", "/papers/../secret.txt"),
    ] } });
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let program = json!({ "steps": [
        ask, ask,
        { "do": "open", "name": "notes" },
        { "do": "put", "space": 0, "key": "plan", "value": "read" },
        { "do": "get", "space": 0, "key": "plan" },
        { "do": "recall", "layer": "Task", "query": "x", "limit": 1 },
        tool,
    ], "summary": "done" });
    let grants = [
        "--allow",
        "fs:./papers",
        "--own",
        "web=net:GET@x.org",
        "--own",
        "web=secret:weather@x.org",
        "--deny",
        "lessons",
    ];
    let host = home.host().args(grants).arg("--tool").arg(guests::built("probe-tool"));
    let host = host
        .arg("--plugin")
        .arg(guests::built("probe"))
        .arg(program.to_string());
    let output = host.output().expect(0);
    same(&home, "denied page", &output.stderr);
    let run = home.newest_run();
    for flag in ["--audit", "--grants"] {
        let output = home.host().args(["show", &run, flag]).output().expect(0);
        same(&home, &format!("show {}", flag.trim_start_matches('-')), &output.stdout);
    }
}
