//! Odd plugins and odd homes: exit 2, an error that says what is the matter, and nothing half-written.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hermes_tests::{Home, Host, ModelServer, Output, Turn, guests, home::KEY, model::Format};

/// Runs `plugin` in a home with a model: the plugin alone is the matter.
#[track_caller]
fn refused(plugin: &Path, words: &[&str]) {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let output = home
        .host()
        .arg("--plugin")
        .arg(plugin)
        .arg("a task")
        .output()
        .expect(2)
        .says(words);
    assert_eq!(output.stdout, "", "standard output is for answers");
    nothing_ran(&home, &server);
}

#[track_caller]
fn refused_bytes(bytes: &[u8], words: &[&str]) {
    let home = Home::empty();
    refused(&home.write("odd.wasm", bytes), words);
}

fn nothing_ran(home: &Home, server: &ModelServer) {
    assert_eq!(server.requests().len(), 0, "a model was asked");
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs, serde_json::json!([]), "a run was begun");
    let left: Vec<_> = home
        .files()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains(".tmp"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_plugin_that_is_missing() {
    refused(Path::new("./nowhere.wasm"), &["nowhere.wasm"]);
}

#[test]
fn a_name_that_no_plugin_has() {
    refused(Path::new("reserch"), &["reserch"]);
}

#[test]
fn no_plugin_named() {
    let output = Home::empty().host().arg("a task").output().expect(2);
    assert!(output.stderr.contains("--plugin"), "{}", output.stderr);
}

#[test]
fn another_world() {
    refused_bytes(&guests::other_world(), &["odd.wasm", "acme:rockets/launch@1.0.0"]);
}

#[test]
fn a_newer_contract() {
    refused_bytes(&guests::newer_contract(), &["odd.wasm", "0.2.0", "0.1.0"]);
}

#[test]
fn a_newer_interface() {
    refused_bytes(&guests::newer_llm(), &["hermes:plugin/llm@0.2.0", "0.1.0"]);
}

#[test]
fn an_unknown_import() {
    refused_bytes(&guests::unknown_import(), &["acme:rockets/launch@1.0.0"]);
}

#[test]
fn a_tool_where_a_strategy_is_asked_for() {
    refused(&guests::built("pure-echo"), &["pure-echo"]);
}

#[test]
fn without_any_configuration() {
    let home = Home::empty();
    let task = r#"{"steps":[{"do":"complete","messages":[{"User":[{"Text":"hi"}]}]}]}"#;
    let output = home.host().run(&guests::built("probe"), task).output();
    let output = output
        .expect(2)
        .says(&["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "--model"]);
    assert_eq!(output.json()["run"], serde_json::Value::Null);
}

/// Runs a program without a step: the plugin is fine, the surroundings are the matter.
fn bare(host: Host) -> Output {
    host.run(&guests::built("probe"), "{}").output()
}

#[test]
fn a_home_that_is_read_only() {
    let home = Home::empty();
    let script = home.write("script.toml", "[[turn]]\nreply = { text = \"hello\" }\n");
    let bare = |host: Host| bare(host.args(["--model", "scripted", "--script"]).arg(&script));
    fs::set_permissions(home.path(), Permissions::from_mode(0o500)).unwrap();
    if fs::write(home.path().join("host"), "in the way").is_err() {
        bare(home.host()).expect(2).says(&[&home.path().to_string_lossy()]);
        assert!(home.files().is_empty());
    } else {
        // Permissions stop nobody who may do everything; a file in the way stops all.
        bare(home.host()).expect(2).says(&["host"]);
        assert_eq!(home.files().len(), 1);
    }
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn no_home_at_all() {
    let home = Home::empty();
    bare(home.host().without("HERMES_HOME").without("HOME"))
        .expect(2)
        .says(&["HERMES_HOME"]);
}

#[test]
fn home_is_found_by_the_variable_home() {
    let server = ModelServer::start([Turn::text("hello")]);
    let home = Home::with_model(&server, Format::OpenAi);
    fs::rename(home.path(), home.work().join(".hermes")).unwrap();
    bare(home.host().without("HERMES_HOME").env("HOME", home.work())).expect(0);
    assert!(home.work().join(".hermes/host").is_dir());
}

#[test]
fn from_another_folder() {
    let server = ModelServer::start([Turn::text("hello")]);
    let home = Home::with_model(&server, Format::OpenAi);
    bare(home.host().at(Path::new("/"))).expect(0);
    let elsewhere = home.work().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(guests::built("probe"), elsewhere.join("p.wasm")).unwrap();
    home.host()
        .at(&elsewhere)
        .run(Path::new("./p.wasm"), "{}")
        .output()
        .expect(0);
}

/// A home with a model, in which nothing shall run.
fn usable() -> (ModelServer, Home) {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    (server, home)
}

#[test]
fn settings_that_do_not_exist() {
    let (server, home) = usable();
    bare(home.host().set("limits.memroy", "1MiB"))
        .expect(2)
        .says(&["limits.memroy", "limits.memory"]);
    bare(home.host().env("HERMES_HOST_LIMITS_MEMROY", "1MiB"))
        .expect(2)
        .says(&["HERMES_HOST_LIMITS_MEMORY"]);
    nothing_ran(&home, &server);
    let file = home.path().join("host/config.toml");
    let before = fs::read(&file).unwrap();
    fs::write(&file, [b"colour = true\n", before.as_slice()].concat()).unwrap();
    bare(home.host()).expect(2).says(&["colour", "config.toml"]);
    fs::write(&file, before).unwrap();
    nothing_ran(&home, &server);
}

#[test]
fn settings_before_and_after_the_command_are_all_kept() {
    let (_server, home) = usable();
    let host = home
        .host()
        .set("limits.restart.attempts", 1)
        .args(["--deny", "lessons"]);
    let program = serde_json::json!({ "steps": [{ "do": "trap-before", "attempt": 2 }] });
    let output = host.set("limits.restart.backoff", 0).probe(&program).output().expect(1);
    assert_eq!(output.json()["agents"][0]["attempts"], 1);
    let host = home.host().set("limits.memroy", 1).args(["config", "show"]);
    host.set("limits.memory", "1MiB").output().expect(2).says(&["memroy"]);
}

#[test]
fn a_key_in_the_place_of_its_variables_name() {
    let (server, home) = usable();
    home.configure(&format!("[providers.other]\nkind = \"openai\"\nkey_env = \"{KEY}\"\n"));
    bare(home.host()).expect(2).says(&["providers.other.key_env"]);
    let shown = home.host().args(["config", "show"]).output().expect(0).stdout;
    assert!(shown.contains("providers.other.key_env"), "{shown}");
    nothing_ran(&home, &server);
}

#[test]
fn arguments_that_make_no_sense() {
    for line in [
        &["--budget", "iterations=many"][..],
        &["--budget", "cats=2"],
        &["--allow", "moon:dark"],
        &["--deny", "gravity"],
    ] {
        let (server, home) = usable();
        let output = bare(home.host().args(line)).expect(2);
        assert!(output.stderr.lines().count() <= 8, "{}", output.stderr);
        assert!(
            output.stderr.contains(line[1].split(['=', ':']).next().unwrap()),
            "{}",
            output.stderr
        );
        nothing_ran(&home, &server);
    }
}
