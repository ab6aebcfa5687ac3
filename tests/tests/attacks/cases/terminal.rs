//! Texts that would steer a terminal.

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::model::{Script, Turn};
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
