//! Texts that would steer a terminal.

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::model::{Format, Script, Turn};
use serde_json::{Value, json};

use super::{Case, Plugin};
use crate::hostile;

/// Every character that steers a terminal or hides, among them whole sequences: a title, the clipboard, a link, a cleared screen, a line over another.
pub(crate) fn nasty() -> String {
    let mut text = String::from(
        "\u{1b}[2J\u{1b}[31mred\u{1b}]0;title\u{7}\u{1b}]52;c;Y3VybA==\u{7}\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\\r✔ achieved\r\n✔ achieved\n\
         \u{202e}txt.exe\u{202c}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}zero\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}width\u{3164}\u{ad}\u{2028}\u{2029}",
    );
    text.extend((1..=0x1f).filter_map(char::from_u32));
    text.extend((0x7f..=0x9f).filter_map(char::from_u32));
    text.push_str("\u{fff0}\u{1bca0}\u{1d173}\u{180e}");
    text.extend("hidden".chars().filter_map(|c| char::from_u32(0xe0000 + u32::from(c))));
    text
}

/// The steps of an agent that says it wherever it can.
pub(crate) fn speech() -> Vec<Value> {
    let nasty = nasty();
    // A key holds no control characters.
    let key: String = nasty.chars().filter(|c| !c.is_control()).take(60).collect();
    let report = json!({ "outcome": "PartlyAchieved", "summary": nasty, "artifacts": [nasty, "notes/k"], "open_questions": [nasty] });
    let child = ChildSpec::probe(&json!({ "summary": nasty, "steps": [{ "do": "progress", "message": nasty }] }));
    let named: String = nasty.chars().take(100).collect();
    let failing =
        ChildSpec::probe(&json!({ "fail": { "kind": { "Other": named }, "message": nasty, "retry_after_ms": null } }));
    vec![
        json!({ "do": "log", "level": "Info", "message": nasty }),
        json!({ "do": "log", "level": "Error", "message": nasty }),
        json!({ "do": "progress", "message": nasty }),
        json!({ "do": "emit", "text": nasty }),
        json!({ "do": "checkpoint", "report": report }),
        json!({ "do": "complete", "messages": [{ "System": nasty }, { "User": [{ "Text": nasty }] }] }),
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "put", "space": 0, "key": key, "value": nasty }),
        json!({ "do": "call", "name": "echo", "arguments": { "text": nasty } }),
        json!({ "do": "call", "name": "fail", "arguments": { "text": nasty } }),
        json!({ "do": "call", "name": nasty, "arguments": { "text": nasty } }),
        json!({ "do": "call", "name": "echo", "arguments": nasty }),
        json!({ "do": "open", "name": nasty.repeat(9) }),
        child.with("role", "a helper").spawn(),
        join(0),
        failing.spawn(),
        join(1),
    ]
}

/// An agent that does, and whose model does too.
pub(crate) fn speaks() -> Case {
    const ASKED: &str = "SAY ALL OF IT";
    let mut steps = speech();
    steps.push(json!({ "do": "complete", "messages": [{ "User": [{ "Text": ASKED }] }] }));
    let said = steps.len();
    let case = Case::steps("words that steer a terminal", steps).tool(Plugin::Built("probe-tool"));
    let model = Turn::text(nasty()).thinking(&nasty(), "c2lnbmVk");
    case.when(ASKED, Script::always(model)).sees(move |seen| {
        assert_eq!(seen.len(), said);
        assert!(seen[said - 1]["ok"].is_object(), "{}", seen[said - 1]);
    })
}

/// A crash in functions whose names would.
pub(crate) fn crash() -> Case {
    Case::run(hostile::A40_NAMES, "x").fails("trapped", &["unreachable", "inner-name"])
}

/// An agent and its child that pile up marks over one letter.
pub(crate) fn piles() -> Case {
    let piled = format!("a{}b", "\u{301}".repeat(10_000));
    let role: String = piled.chars().take(60).collect();
    let child = ChildSpec::probe(&json!({ "summary": piled, "steps": [{ "do": "progress", "message": piled }] }));
    let program = [
        json!({ "do": "progress", "message": piled }),
        json!({ "do": "log", "level": "Info", "message": piled }),
        child.with("role", role).spawn(),
        join(0),
    ];
    Case::steps("marks that pile up", program).sees(|seen| assert!(seen[3]["ok"].is_object(), "{}", seen[3]))
}

/// Answers of a provider that says it wherever it can, each as it stands on the wire.
pub(crate) fn rude_answers() -> Vec<String> {
    let said = nasty();
    let body = json!({ "error": { "message": said, "type": said, "code": said } }).to_string();
    let answer = json!({ "model": said, "choices": [{ "index": 0, "finish_reason": said, "message": { "content": said, "tool_calls": [
        { "id": said, "type": "function", "function": { "name": said, "arguments": said } } ] } }] });
    let answers = [
        (400, body.clone()),
        (401, body.clone()),
        (500, body),
        (418, nasty()),
        (200, answer.to_string()),
        (200, nasty()),
    ];
    let whole = |(status, body): (u16, String)| {
        let head = format!(
            "HTTP/1.1 {status} \u{9b}2J\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        head + &body
    };
    answers.map(whole).into()
}

/// A provider that gives one of them.
pub(crate) fn rude() -> Vec<Case> {
    let case = |answer: String| {
        let head = answer.lines().next().unwrap_or_default().to_owned();
        let agent = json!({ "do": "agent", "user": "hi", "turns": 1 });
        let case = Case::steps(&format!("a provider's {head:?}"), [agent]);
        let case = case.answered(Format::OpenAi, answer.len() as u64, move |to| to.say(&answer));
        case.sees(|seen| assert_eq!(seen.len(), 1))
    };
    rude_answers().into_iter().map(case).collect()
}
