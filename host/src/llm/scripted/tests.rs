use std::sync::Arc;

use super::*;
use crate::llm::history::tests::{call, result, user};
use crate::llm::price::Price;
use crate::llm::provider::{Backend, Provider};
use crate::llm::request::tests::{request, tool};

const SCRIPT: &str = r#"
    model = "demo"
    context_tokens = 1000
    [[conversation]]
    when = "dendrites?"
    [[conversation.turn]]
    [conversation.turn.expect]
    last = "user"
    contains = ["What"]
    tools = ["search_files"]
    [conversation.turn.reply]
    reasoning = "let me look"
    calls = [{ name = "search_files", arguments = { pattern = "dendrite", n = 3 } }, { name = "list_files" }]
    [[conversation.turn]]
    expect = { last = "tool" }
    capture = { line = 'notes\.md:(\d+):' }
    reply = { calls = [{ name = "read_file", arguments = { from = ["{{line}}"] } }] }
    [[conversation.turn]]
    [conversation.turn.expect]
    tools = []
    [conversation.turn.reply]
    text = "see notes.md:{{line}}"
    usage = { input = 100, output = 20, cached = 50 }
    [[conversation]]
    [[conversation.turn]]
    reply = { text = "other", finish = "length" }
"#;

fn model(script: &str) -> Model {
    let provider = Provider {
        name: "scripted".into(),
        backend: Backend::Script(Script::parse(script).expect("a script")),
    };
    Model {
        name: "scripted".into(),
        id: "demo".into(),
        context_tokens: 1,
        max_output_tokens: 1,
        price: Some(Price {
            input: 1_000_000,
            cached_input: 0,
            cache_write: 0,
            output: 1_000_000,
        }),
        provider: Arc::new(provider),
    }
}

fn ask(model: &Model, request: &Request) -> Result<Completion, Refusal> {
    let Backend::Script(script) = &model.provider.backend else {
        panic!("no script")
    };
    script
        .complete(model, request, &|_| {})
        .map(|reply| reply.completion)
        .map_err(|failure| failure.refusal)
}

fn nth(ordinal: u32, messages: Vec<Message>, tools: &[&str]) -> Request {
    let mut request = request(messages);
    request.conversation.ordinal = ordinal;
    request.tools = tools.iter().map(|name| tool(name)).collect();
    request
}

fn history() -> Vec<Message> {
    vec![
        user("What of dendrites?"),
        Message::Assistant(vec![call("call-1")]),
        Message::Tool(vec![result("call-1", "notes.md:17: dendrite")]),
        Message::Assistant(vec![call("call-3")]),
        Message::Tool(vec![result("call-3", "text")]),
    ]
}

#[test]
fn a_conversation_is_played_with_its_captures() {
    let model = model(SCRIPT);
    let first = ask(&model, &nth(0, history()[..1].to_vec(), &["search_files"])).expect("answers");
    assert_eq!(first.parts[0], Part::Reasoning("let me look".into()));
    let Part::ToolCall(search) = &first.parts[1] else {
        panic!("{:?}", first.parts)
    };
    assert_eq!(
        (search.id.as_str(), search.arguments.as_str()),
        ("call-1", r#"{"n":3,"pattern":"dendrite"}"#)
    );
    assert_eq!(first.finish_reason, FinishReason::ToolCalls);
    assert!(first.usage.estimated && first.usage.input_tokens > 0);
    let second = ask(&model, &nth(1, history()[..3].to_vec(), &["x"])).expect("answers");
    let Part::ToolCall(read) = &second.parts[0] else {
        panic!("{:?}", second.parts)
    };
    assert_eq!(
        (read.id.as_str(), read.arguments.as_str()),
        ("call-3", r#"{"from":["17"]}"#)
    );
    let third = ask(&model, &nth(2, history(), &[])).expect("answers");
    assert_eq!(third.parts, [Part::Text("see notes.md:17".into())]);
    assert_eq!(
        (
            third.usage.input_tokens,
            third.usage.cost_micro_usd,
            third.usage.estimated
        ),
        (100, 70, false)
    );
    assert_eq!(third.model, "demo");
}

#[test]
fn a_session_of_another_process_goes_on_from_its_history() {
    let third = ask(&model(SCRIPT), &nth(2, history(), &[])).expect("answers");
    assert_eq!(third.parts, [Part::Text("see notes.md:17".into())]);
}

#[test]
fn a_mismatch_shows_what_was_expected_and_what_came() {
    let refused = |request: Request| {
        let refusal = ask(&model(SCRIPT), &request).expect_err("refused");
        assert_eq!(refusal.kind.name(), "upstream");
        refusal.message
    };
    let first = || history()[..1].to_vec();
    for (request, words) in [
        (
            nth(0, history()[..3].to_vec(), &["search_files"]),
            "role user, got tool",
        ),
        (
            nth(0, vec![user("dendrites")], &["search_files"]),
            r#"contain "What", got "dendrites""#,
        ),
        (nth(0, first(), &["a"]), r#"{"search_files"}, got {"a"}"#),
        (
            nth(1, vec![user("dendrite"), Message::Tool(vec![result("1", "none")])], &[]),
            "capture line",
        ),
        (nth(3, first(), &[]), "3 turns, and this is completion 4"),
        (nth(2, first(), &[]), "{{line}}"),
    ] {
        let message = refused(request);
        assert!(message.contains(words), "{message} / {words}");
    }
}

#[test]
fn the_first_conversation_that_matches_is_taken() {
    let other = ask(&model(SCRIPT), &nth(0, vec![user("hello")], &[])).expect("answers");
    assert_eq!(
        (other.parts, other.finish_reason),
        (vec![Part::Text("other".into())], FinishReason::Length)
    );
    let only = model("[[conversation]]\nwhen = 'x'\n[[conversation.turn]]\nreply.text = 'a'");
    assert!(
        ask(&only, &nth(0, vec![user("y")], &[]))
            .expect_err("refused")
            .message
            .contains("no conversation")
    );
}

#[test]
fn a_script_with_a_mistake_is_refused_by_place() {
    for (script, words) in [
        ("", "no [[turn]]"),
        ("[[turn]]\nreply = { txt = 'a' }", "txt"),
        (
            "[[turn]]\nreply.text = 'a'\ncapture.x = 'no group'",
            "exactly one group",
        ),
        ("[[turn]]\nreply.text = 'a'\ncapture.x = '('", "turn 1"),
        ("[[turn]]\nexpect.last = 'robot'\nreply.text = 'a'", "robot"),
        ("[[turn]]\nreply.text = 'a'\n[[conversation]]\n", "both"),
    ] {
        let error = Script::parse(script).expect_err("refused").to_string();
        assert!(error.contains(words), "{error} / {words}");
    }
}
