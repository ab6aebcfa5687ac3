//! Which model is asked: what the line, the environment and the configuration say, and what a script plays.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::path::Path;

use hermes_tests::home::KEY;
use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::output::message;
use hermes_tests::{Home, Host, guests};
use serde_json::{Value, json};

fn question() -> Value {
    json!({ "steps": [{ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] }] })
}

/// With a server's address in the environment, and a key for it.
fn led_to(host: Host, format: Format, url: &str) -> Host {
    let maker = format.kind().to_uppercase();
    host.env(&format!("{maker}_API_KEY"), KEY)
        .env(&format!("{maker}_BASE_URL"), url)
}

#[test]
fn a_server_that_the_environment_names_is_asked_for_its_model() {
    for format in [Format::OpenAi, Format::Anthropic] {
        let server = ModelServer::start([Turn::text("hello")]);
        let home = Home::new();
        let host = led_to(home.host(), format, &server.base_url(format));
        let output = host.probe(&question()).output().expect(0);
        let requests = server.requests();
        assert_eq!((requests.len(), &requests[0].body["model"]), (1, &json!("test-model")));
        assert!(
            !output.stderr.contains("price"),
            "it is on this machine: {}",
            output.stderr
        );
        home.assert_without(KEY);
    }
}

#[test]
fn that_a_price_is_not_known_is_told_of_models_elsewhere() {
    let home = Home::new();
    home.configure("[providers.far]\nkind = \"openai\"\nbase_url = \"https://models.example/v1\"\n");
    let host = home.host().args(["--model", "far/m"]);
    let output = host.probe(&json!({ "steps": [] })).output().expect(0);
    output.says(&["the price of far/m is not known, so its calls count as $0"]);
}

#[test]
fn an_address_that_takes_no_connection_is_named_with_the_cause_alone() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let home = Home::with_model_at(&gone.to_string());
    let host = home.host().set("limits.llm.tries", 1);
    let seen = host.probe(&question()).output().expect(0).seen();
    let words = message(&seen[0]);
    let told = format!("The model provider test can't be reached: {gone}: Connection refused");
    assert!(words.starts_with(&told), "{words}");
}

#[test]
fn what_the_environment_names_is_never_passed_over() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let dead = format!("http://{gone}/v1");
    let home = Home::new();
    let output = led_to(home.host(), Format::OpenAi, &dead).probe(&question()).output();
    output.expect(2).says(&["OPENAI_BASE_URL", "--model openai/NAME"]);
    let output = led_to(home.host(), Format::OpenAi, "localhost")
        .probe(&question())
        .output();
    output.expect(2).says(&["OPENAI_BASE_URL", "URL"]);
    let host = home
        .host()
        .env("OPENAI_API_KEY", "two words")
        .env("ANTHROPIC_API_KEY", KEY);
    host.probe(&question()).output().expect(2).says(&["OPENAI_API_KEY"]);
}

#[test]
fn a_script_is_played_whatever_is_configured() {
    let server = ModelServer::start(Script::always(Turn::text("from the server")));
    let home = Home::with_model(&server, Format::OpenAi);
    let script = home.write("script.toml", "[[turn]]\nreply.text = 'from the script'\n");
    let start = |model: &[&str]| {
        home.host()
            .args(model)
            .arg("--script")
            .arg(&script)
            .probe(&question())
            .output()
    };
    for model in [&[][..], &["--model", "scripted"]] {
        let seen = start(model).expect(0).seen();
        assert_eq!(seen[0]["ok"]["parts"][0]["Text"], "from the script", "{model:?}");
    }
    // Also one that could not be asked.
    for model in ["test/test-model", "openai/gpt-5", "nobody/knows"] {
        let words =
            format!("--script has the turns of the model `scripted`, but --model names {model}; leave one of them out");
        start(&["--model", model]).expect(2).says(&[&words]);
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_script_that_is_no_file_or_too_long_is_told_as_that() {
    let home = Home::empty();
    let folder = home.write("folder/in-it", "");
    let folder = folder.parent().unwrap();
    let long = home.write("long.toml", "#".repeat((4 << 20) + 1));
    for (script, what) in [
        (folder, "it is a folder; a script is a file"),
        (long.as_path(), "it is longer than 4 MiB, which no key changes"),
        (Path::new("/dev/null"), "it is no regular file"),
    ] {
        let host = home.host().arg("--script").arg(script);
        host.probe(&json!({})).output().expect(2).says(&[what]);
    }
}

#[test]
fn a_script_of_the_configuration_is_found_from_anywhere() {
    let home = Home::new();
    home.configure("model = \"play/x\"\n[providers.play]\nkind = \"scripted\"\nfile = \"turns.toml\"\n");
    std::fs::write(home.path().join("host/turns.toml"), "[[turn]]\nreply.text = 'hello'\n").unwrap();
    home.host().probe(&question()).output().expect(0);
}

#[test]
fn a_scripted_run_ends_in_its_closing_call() {
    let home = Home::new();
    let script = "[[turn]]\nreply.calls = [{ name = 'echo', arguments = { text = 'x' } }]\n\
                  [[turn]]\nexpect = { tools = [], last = 'tool' }\nreply.text = 'that was all'\n";
    let script = home.write("script.toml", script);
    let host = home
        .host()
        .arg("--tool")
        .arg(guests::built("pure-echo"))
        .arg("--script")
        .arg(script);
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 9 }] });
    let output = host
        .args(["--budget", "iterations=1"])
        .probe(&program)
        .output()
        .expect(3);
    let seen = output.seen()[0].as_array().unwrap().clone();
    assert_eq!(
        seen.last().unwrap()["ok"]["parts"][0]["Text"],
        "that was all",
        "{seen:?}"
    );
    assert_eq!((output.spent("iterations"), output.spent("closing")), (1, 1));
}
