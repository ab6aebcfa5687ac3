//! With a budget of n iterations exactly n calls with tools are sent; the closing call stands apart.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::model::{Format, ModelServer, Script, Turn, Usage};
use hermes_tests::output::{message, refusal};
use hermes_tests::{Home, Output, guests};
use serde_json::json;

/// An agent that never has enough, with this many iterations.
fn insatiable(home: &Home, budget: &str) -> Output {
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 1000 }] });
    home.host()
        .arg("--tool")
        .arg(guests::built("pure-echo"))
        .args(["--budget", budget])
        .probe(&program)
        .output()
}

fn server() -> ModelServer {
    ModelServer::start(Script::always(Turn::call("echo", &json!({ "text": "again" }))))
}

#[track_caller]
fn exactly(n: usize, format: Format) {
    let server = server();
    let home = Home::with_model(&server, format);
    let output = insatiable(&home, &format!("iterations={n}")).expect(3);
    let requests = server.requests();
    let with_tools = requests.iter().filter(|request| !request.callable().is_empty()).count();
    assert_eq!(
        (with_tools, requests.len()),
        (n, n + 1),
        "calls with tools, and all of them"
    );
    assert!(requests[n].callable().is_empty(), "the closing call offers none");
    assert_eq!((output.spent("iterations"), output.spent("closing")), (n as u64, 1));
    let json = output.json();
    assert_eq!(
        (&json["exit"], &json["outcome"]),
        (&json!("exhausted"), &json!("achieved")),
        "its report is kept"
    );
}

#[test]
fn none() {
    exactly(0, Format::OpenAi);
    exactly(0, Format::Anthropic);
}

#[test]
fn one() {
    exactly(1, Format::OpenAi);
    exactly(1, Format::Anthropic);
}

#[test]
fn as_many_as_by_default() {
    exactly(90, Format::OpenAi);
}

#[test]
fn as_many_as_by_default_in_messages() {
    exactly(90, Format::Anthropic);
}

#[test]
fn ninety_is_the_default() {
    let server = server();
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "steps": [{ "do": "remaining", "dimension": "Iterations" }] });
    assert_eq!(home.host().probe(&program).output().expect(0).seen()[0]["ok"], 90);
}

/// The limit is what a root has whose budget names none.
#[test]
fn a_roots_iterations_are_the_limits_or_its_budgets() {
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 1000 }] });
    for (budget, most) in [(None, 2), (Some("iterations=1"), 1), (Some("iterations=3"), 3)] {
        let server = server();
        let home = Home::with_model(&server, Format::OpenAi);
        let host = home
            .host()
            .set("limits.iterations.root", 2)
            .set("closing_call", "false");
        let host = budget
            .iter()
            .fold(host, |host, budget| host.args(["--budget", *budget]));
        let host = host.arg("--tool").arg(guests::built("pure-echo"));
        let output = host.probe(&program).output().expect(3);
        assert_eq!(output.json()["error"]["kind"], "exhausted(iterations)");
        assert_eq!(
            (server.requests().len(), output.spent("iterations")),
            (most, most as u64)
        );
    }
}

#[test]
fn no_closing_call_where_it_is_turned_off() {
    let server = server();
    let home = Home::with_model(&server, Format::OpenAi);
    home.host()
        .set("closing_call", "false")
        .args(["config", "show"])
        .output()
        .expect(0);
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 1000 }] });
    let host = home
        .host()
        .set("closing_call", "false")
        .args(["--budget", "iterations=2"]);
    let output = host
        .arg("--tool")
        .arg(guests::built("pure-echo"))
        .probe(&program)
        .output()
        .expect(3);
    assert_eq!((server.requests().len(), output.spent("closing")), (2, 0));
}

#[test]
fn a_run_within_its_budget_is_not_exhausted() {
    let server = ModelServer::start([Turn::call("echo", &json!({ "text": "once" })), Turn::text("enough")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let output = insatiable(&home, "iterations=2").expect(0);
    assert_eq!((output.spent("iterations"), output.spent("closing")), (2, 0));
}

#[test]
fn tool_calls_are_exact_and_end_nothing() {
    let home = Home::new();
    let call = json!({ "do": "call", "name": "echo", "arguments": { "text": "x" } });
    let program = json!({ "steps": [call, call, call] });
    let server = server();
    home.configure(&hermes_tests::home::provider(&server, Format::OpenAi));
    let host = home
        .host()
        .arg("--tool")
        .arg(guests::built("pure-echo"))
        .args(["--budget", "tool-calls=2"]);
    let output = host.probe(&program).output().expect(0);
    let seen = output.seen();
    let refused: Vec<_> = seen.iter().map(refusal).collect();
    assert_eq!(refused, [None, None, Some("exhausted(tool-calls)".into())]);
    assert_eq!(output.spent("tool_calls"), 2);
}

#[test]
fn money_without_a_price_is_refused_before_anything_runs() {
    let server = server();
    let home = Home::new();
    let provider = hermes_tests::home::provider(&server, Format::OpenAi);
    let priceless: String = provider
        .lines()
        .filter(|line| !line.starts_with("price"))
        .map(|line| format!("{line}\n"))
        .collect();
    home.configure(&priceless);
    insatiable(&home, "usd=0.5")
        .expect(2)
        .says(&["test/test-model", "price"]);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn money_without_the_price_of_a_granted_alias_is_refused_before_anything_runs() {
    let server = server();
    let home = Home::with_model(&server, Format::OpenAi);
    home.configure("[aliases]\nother = \"test/unpriced\"\n");
    let program = json!({ "steps": [{ "do": "models" }] });
    let start = |line: &[&str]| home.host().args(line).probe(&program).output();
    for limit in ["usd=0.5", "tree.usd=0.5"] {
        start(&["--allow", "llm:other", "--budget", limit])
            .expect(2)
            .says(&["test/unpriced", "models.\"test/unpriced\".price"]);
    }
    start(&["--allow", "llm:other"]).expect(0);
    start(&["--budget", "usd=0.5"]).expect(0);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn an_answer_may_be_as_long_as_its_model_says() {
    let server = ModelServer::start(Script::always(Turn::text("x")));
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = |asked: serde_json::Value| {
        let options = json!({ "model": null, "temperature": null, "max_output_tokens": asked, "stop": [],
            "tool_choice": null, "response_schema": null, "provider_options": null });
        json!({ "steps": [{ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }], "options": options }] })
    };
    let most = |settings: &[(&str, &str)], asked| {
        let host = settings
            .iter()
            .fold(home.host(), |host, (key, value)| host.set(key, value));
        host.probe(&ask(asked)).output().expect(0);
        server.requests().last().unwrap().body["max_tokens"].as_u64().unwrap()
    };
    let long = ("models.\"test/test-model\".max_output_tokens", "100000");
    assert_eq!(most(&[], json!(null)), 4096);
    assert_eq!(most(&[long], json!(null)), 32_768, "beside which others have room");
    assert_eq!(most(&[long], json!(50_000)), 50_000);
    let small = most(
        &[long, ("models.\"test/test-model\".context_tokens", "20000")],
        json!(null),
    );
    assert!((19_000..20_000).contains(&small), "{small} of a window of 20,000");
    // Of a budget that is not much, a part; of one that is little, all.
    let part = most(&[long, ("budget", "tokens=80000")], json!(null));
    assert!((19_000..20_000).contains(&part), "{part}");
    let rest = most(&[long, ("budget", "tokens=3000")], json!(null));
    assert!((2_500..3_000).contains(&rest), "{rest}");
}

/// A completion needs money for its input and for an answer of 256 tokens, the shortest worth a call. With one micro-USD less
/// nothing is sent; it makes no difference whether it was never there or spent before.
#[track_caller]
fn money_is_exact(format: Format) {
    let server = ModelServer::start(Script::always(Turn::text("x")));
    let home = Home::with_model(&server, format);
    let hi = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let ask = |calls: usize, budget: &str| {
        let host = home.host().args(["--budget", budget]);
        host.probe(&json!({ "steps": vec![&hi; calls] })).output()
    };
    let longest_answer = || server.requests().last().unwrap().body["max_tokens"].as_u64().unwrap();
    // With few tokens left, all besides the input are the answer's.
    ask(1, "tokens=3000").expect(0);
    let input = 3_000 - longest_answer();
    // Input that may be written to Anthropic's cache costs a quarter more there.
    let input = match format {
        Format::OpenAi => input,
        Format::Anthropic => (input * 5).div_ceil(4),
    };
    let (needed, used) = (input + 2 * 256, 100 + 2 * 20);
    for (calls, money, sent) in [
        (1, needed - 1, 0),
        (1, needed, 1),
        (2, used + needed - 1, 1),
        (2, used + needed, 2),
    ] {
        let before = server.requests().len();
        let output = ask(calls, &format!("usd=0.{money:06}")).expect(if sent == calls { 0 } else { 3 });
        assert_eq!(server.requests().len() - before, sent, "{calls} calls for {money}");
        let seen = output.seen();
        assert!(seen[..sent].iter().all(|seen| refusal(seen).is_none()), "{seen:?}");
        for seen in &seen[sent..] {
            assert_eq!(refusal(seen).as_deref(), Some("exhausted(cost-micro-usd)"), "{seen}");
            assert!(message(seen).contains("It is raised with --budget usd=N."), "{seen}");
        }
        if sent == calls {
            assert_eq!(
                (seen.len(), longest_answer()),
                (calls, 256),
                "all the rest is its answer's"
            );
        } else {
            assert_eq!((seen.len(), &output.json()["exit"]), (calls, &json!("exhausted")));
        }
        let spent = |dimension| output.spent(dimension);
        assert_eq!(
            (spent("cost_micro_usd"), spent("iterations"), spent("closing")),
            (used * sent as u64, sent as u64, 0)
        );
    }
}

#[test]
fn a_call_that_money_is_too_short_for_is_never_sent() {
    money_is_exact(Format::OpenAi);
    money_is_exact(Format::Anthropic);
}

#[test]
fn money_is_never_overspent() {
    let server = server();
    let home = Home::with_model(&server, Format::OpenAi);
    let output = insatiable(&home, "usd=0.01").expect(3);
    assert!(
        output.spent("cost_micro_usd") <= 10_000,
        "{}",
        output.spent("cost_micro_usd")
    );
    assert!(output.spent("iterations") > 1);
    assert_eq!(output.spent("closing"), 0, "none when money ran out");
}

#[test]
fn a_call_that_costs_more_than_was_set_aside_is_told() {
    let usage = Usage {
        input: 5_000,
        cached: 0,
        output: 20,
    };
    let server = ModelServer::start(vec![Turn::text("x").usage(Some(usage))]);
    let home = Home::with_model(&server, Format::OpenAi);
    let hi = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let host = home
        .host()
        .args(["--budget", "tokens=3000", "--budget", "tree.tokens=4000"]);
    let output = host.probe(&json!({ "steps": [hi, hi] })).output();
    assert_eq!(output.code, Some(3), "{output:?}");
    assert_eq!(output.spent("tokens"), 5_020);
    for words in ["2020 over --budget tokens=3000", "1020 over --budget tree.tokens=4000"] {
        assert_eq!(output.stderr.matches(words).count(), 1, "{}", output.stderr);
    }
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let shown = home.host().args(["show", &run]).output().expect(0).stdout;
    assert!(shown.contains("2020 over"), "{shown}");
    assert_eq!(server.requests().len(), 1, "the next call is refused");
}
