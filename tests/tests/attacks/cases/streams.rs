//! Model servers whose stream the network cuts, or who garble it.

use std::io::Result;

use hermes_tests::model::Format;
use hermes_tests::output::{message, refusal};
use serde_json::{Value, json};

use super::wire::{DONE, PACKED, anthropic, delta, finish, head, openai, part, said, stream, whole};
use super::{Case, Plugin};
use crate::raw::Answer;

/// Completions of one agent.
const AT_ONCE: usize = 128;

/// What stands before the number of the answer that is asked for.
const ASKED: &str = "STREAM NUMBER ";

/// An agent with a tool, whose model is a server that gives it these of its answers, one after the other.
fn case(
    name: &str,
    format: Format,
    answers: impl Iterator<Item = usize>,
    most: u64,
    answer: impl Fn(&mut Answer, usize) -> Result<()> + Send + Sync + 'static,
) -> Case {
    let ask = |n: usize| {
        let words = format!("{ASKED}{n}.");
        json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }], "tools": "granted" })
    };
    let case = Case::steps(name, answers.map(ask).collect::<Vec<_>>()).tool(Plugin::Built("pure-echo"));
    let case = case.budget("iterations=5000");
    case.answered(format, most, move |to| {
        let n = number(&to.asked);
        answer(to, n)
    })
}

/// The number of the answer that a request is for.
fn number(asked: &str) -> usize {
    let (_, words) = asked.split_once(ASKED).unwrap();
    words.split_once('.').unwrap().0.parse().unwrap()
}

/// The same answer over and over, in either protocol: whole, in single bytes, and cut at each `step`th byte.
pub(crate) fn cut(step: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for (format, text) in [(Format::OpenAi, openai()), (Format::Anthropic, anthropic())] {
        let all: Vec<usize> = [0, 1].into_iter().chain((2..=text.len()).step_by(step)).collect();
        let cut = |answers: &[usize]| cut_at(format, text.clone(), answers.to_vec());
        cases.extend(all.chunks(AT_ONCE).map(cut));
    }
    cases
}

/// The first answer is whole, the second in single bytes, and each other is cut once, further and further on.
fn cut_at(format: Format, text: String, answers: Vec<usize>) -> Case {
    let name = format!("a stream of {}, cut from {} on", format.kind(), answers[0]);
    // Of a chunk with a single byte the rest is five.
    let most = (answers.len() as u64 + 8) * (text.len() as u64 + 1024);
    let cut = move |to: &mut Answer, n: usize| match (n, text.as_bytes()) {
        (0, text) => stream(to, &[text]),
        (1, text) => stream(to, &text.chunks(1).collect::<Vec<_>>()),
        (n, text) => stream(to, &[&text[..n - 1], &text[n - 1..]]),
    };
    let case = case(&name, format, answers.iter().copied(), most, cut);
    case.sees(move |seen| {
        assert_eq!(seen.len(), answers.len());
        for (n, seen) in answers.iter().zip(seen) {
            assert_eq!(seen["ok"]["parts"], said(), "answer {n}: {seen}");
        }
    })
}

/// What becomes of an odd answer.
enum Becomes {
    /// The answer that the same stream gives when it is in order.
    Same,
    /// Another answer, with these parts.
    Parts(Value),
    /// An error of this kind, which holds these words.
    Error(&'static str, &'static str),
}

impl Becomes {
    /// Whether it became that.
    fn is(&self, seen: &Value) -> bool {
        let parts = &seen["ok"]["parts"];
        match self {
            Self::Same => *parts == said(),
            Self::Parts(expected) => parts == expected,
            Self::Error(kind, words) => refusal(seen).as_deref() == Some(*kind) && message(seen).contains(words),
        }
    }
}

/// A provider that gives each of these answers in turn, and what becomes of them.
fn odd(name: &str, format: Format, odd: Vec<(&'static str, Vec<u8>, Becomes)>) -> Case {
    let (mut answers, mut expected) = (Vec::new(), Vec::new());
    for (what, bytes, becomes) in odd {
        answers.push(bytes);
        expected.push((what, becomes));
    }
    // With what is around each.
    let most: u64 = answers.iter().map(|bytes| bytes.len() as u64 + 1024).sum();
    let case = case(name, format, 0..answers.len(), most, move |to, n| {
        let answer = &answers[n];
        match answer.starts_with(b"HTTP/1.1") {
            true => to.say(answer),
            false => stream(to, &[answer]),
        }
    });
    case.sees(move |seen| {
        assert_eq!(seen.len(), expected.len());
        let all = expected.iter().zip(seen);
        let wrong: Vec<String> = all
            .filter(|((_, becomes), seen)| !becomes.is(seen))
            .map(|((what, _), seen)| format!("{what}: {seen}"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    })
}

/// Odd streams of OpenAI's protocol.
pub(crate) fn odd_of_openai() -> Case {
    use Becomes::{Error, Parts, Same};
    let good = openai();
    let text = |text: &str| json!([{ "Text": text }]);
    let call = |id: &str, arguments: &str| json!({ "ToolCall": { "id": id, "name": "echo", "arguments": arguments } });
    let begins = delta(&json!({ "content": "a" }));
    let stop = finish("stop") + DONE;
    let broke = "broke off";
    let answers = vec![
        ("in order", good.clone(), Same),
        ("ended twice", good.clone() + DONE, Same),
        ("junk after its end", good.clone() + "data: {junk\n\n", Same),
        (
            "more after its end",
            good.clone() + &begins + &part(3, "c9", "echo", "{}"),
            Same,
        ),
        ("lines ended by CR LF", good.replace('\n', "\r\n"), Same),
        ("lines ended by CR", good.replace('\n', "\r"), Same),
        (
            "lines ended by each in turn",
            good.replacen("\n\n", "\r\n\r", 2).replacen("\n\n", "\r\r\n", 1),
            Same,
        ),
        ("a byte-order mark", format!("\u{feff}{good}"), Same),
        (
            "comments, ids and hints",
            format!(": hi\n\nid: 1\nretry: 5\n\n{}", good.replace("data: ", "data:")),
            Same,
        ),
        ("an event cut off by its end", good.trim_end().to_owned(), Same),
        ("no mark of its end", good.replace(DONE, ""), Same),
        (
            "another choice between",
            format!(
                "data: {}\n\n{good}",
                json!({ "choices": [{ "index": 1, "delta": { "content": "z" } }] })
            ),
            Same,
        ),
        (
            "events without choices",
            format!("data: {{}}\n\ndata: {{\"choices\":null}}\n\n{good}"),
            Same,
        ),
        (
            "calls in another order",
            part(1, "c2", "echo", "{\"text\":\"2\"}")
                + &part(0, "c1", "echo", "{\"text\":\"1\"}")
                + &finish("tool_calls")
                + DONE,
            Parts(json!([call("c2", "{\"text\":\"2\"}"), call("c1", "{\"text\":\"1\"}")])),
        ),
        (
            "an index of a giant",
            part(i64::MAX, "c1", "echo", "{}") + &finish("tool_calls") + DONE,
            Parts(json!([call("c1", "{}")])),
        ),
        (
            "one id for two calls",
            part(0, "c1", "echo", "{}") + &part(1, "c1", "echo", "{}") + &finish("tool_calls") + DONE,
            Parts(json!([call("c1", "{}"), call("call-2", "{}")])),
        ),
        ("bytes that are no text", String::new(), Parts(text("a\u{fffd}b"))),
        ("no end", begins.clone(), Error("upstream", broke)),
        ("an end and nothing else", DONE.to_owned(), Error("upstream", broke)),
        ("nothing", ": \n\n".to_owned(), Error("upstream", broke)),
        (
            "half a JSON text",
            begins.clone() + "data: {\"choices\":[{\"ind\n\n" + &stop,
            Error("upstream", broke),
        ),
        (
            "two JSON texts in one",
            begins.clone() + "data: {} {}\n\n" + &stop,
            Error("upstream", broke),
        ),
        (
            "half a character",
            begins.clone() + r#"data: {"choices":[{"delta":{"content":"\ud83d"}}]}"# + "\n\n" + &stop,
            Error("upstream", broke),
        ),
        (
            "too deep",
            format!("data: {}\n\n{stop}", "[".repeat(100_000)),
            Error("upstream", broke),
        ),
        (
            "a call without a name",
            part(0, "c1", "", "{}") + &finish("tool_calls") + DONE,
            Error("upstream", "without a name"),
        ),
        (
            "arguments of a call that never began",
            part(0, "c1", "echo", "{}") + &part(5, "", "", "{}") + &finish("tool_calls") + DONE,
            Error("upstream", "without a name"),
        ),
        (
            "a line without end",
            format!("data: {}", "x".repeat(10 << 20)),
            Error("upstream", "limits.reply"),
        ),
        (
            "an error within",
            begins.clone() + "data: {\"error\":{\"message\":\"no more\"}}\n\n",
            Error("upstream", "no more"),
        ),
    ];
    let mut answers: Vec<_> = answers
        .into_iter()
        .map(|(what, text, becomes)| (what, text.into_bytes(), becomes))
        .collect();
    for (what, bytes, _) in &mut answers {
        if *what == "bytes that are no text" {
            let head = br#"data: {"choices":[{"index":0,"delta":{"content":"a"#;
            *bytes = [head.as_slice(), b"\xff", br#"b"}}]}"#, b"\n\n", stop.as_bytes()].concat();
        }
    }
    answers.extend([
        (
            "an error at status 200",
            whole("application/json", r#"{"error":{"message":"no more"}}"#),
            Error("upstream", "no more"),
        ),
        (
            "an error in words",
            whole("application/json", r#"{"error":"no more"}"#),
            Error("upstream", "no more"),
        ),
        ("a list", whole("application/json", "[]"), Error("upstream", broke)),
        ("no JSON", whole("application/json", "ok"), Error("upstream", broke)),
        (
            "a web page",
            whole("text/html", "<h1>Sign in</h1>"),
            Error("upstream", "base_url"),
        ),
        ("no body", head("x: y"), Error("upstream", broke)),
        (
            "no content",
            b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec(),
            Error("upstream", broke),
        ),
        ("no HTTP", b"HTTP/1.1 what?\r\n\r\n".to_vec(), Error("upstream", broke)),
        (
            "packed",
            [
                head("content-type: text/event-stream\r\ncontent-encoding: gzip"),
                PACKED.to_vec(),
            ]
            .concat(),
            Error("upstream", broke),
        ),
    ]);
    odd("odd streams of OpenAI's", Format::OpenAi, answers)
}

/// Odd streams of Anthropic's.
pub(crate) fn odd_of_anthropic() -> Case {
    use Becomes::{Error, Same};
    let good = anthropic();
    let event = |value: &Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
    let late =
        event(&json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "late" } }));
    let without = |kind: &str| {
        let events = good.split_inclusive("\n\n");
        events
            .filter(|event| !event.starts_with(&format!("event: {kind}\n")))
            .collect::<String>()
    };
    let broke = "broke off";
    let nameless = good.lines().filter(|line| !line.starts_with("event:"));
    let before = |place: &str, what: &str, times: usize| good.replacen(place, &format!("{what}{place}"), times);
    let stop = "event: content_block_stop";
    let weather = event(&json!({ "type": "weather" }));
    let half = json!({ "type": "input_json_delta", "partial_json": "{" });
    let half = event(&json!({ "type": "content_block_delta", "index": 0, "delta": half }));
    let error = event(&json!({ "type": "error", "error": { "type": "api_error", "message": "no more" } }));
    let answers = [
        ("in order", good.clone(), Same),
        ("lines ended by CR LF", good.replace('\n', "\r\n"), Same),
        (
            "events without names",
            nameless.map(|line| format!("{line}\n")).collect(),
            Same,
        ),
        (
            "names that say otherwise",
            good.replace("event: content_block_delta", "event: message_stop"),
            Same,
        ),
        ("events of the future", before(stop, &weather, 2), Same),
        ("a delta of another kind", before(stop, &half, 1), Same),
        ("more after its end", good.clone() + &late, Same),
        ("no mark of its end", without("message_stop"), Error("upstream", broke)),
        (
            "no reason for its end",
            without("message_delta"),
            Error("upstream", broke),
        ),
        (
            "a block without its end",
            without("content_block_stop"),
            Error("upstream", broke),
        ),
        (
            "a block without its beginning",
            without("content_block_start"),
            Error("upstream", "never began"),
        ),
        (
            "a block that goes on after its end",
            before("event: message_delta", &late, 1),
            Error("upstream", "never began"),
        ),
        (
            "a block of another index",
            good.replacen("\"index\":1", "\"index\":7", 1),
            Error("upstream", "never began"),
        ),
        (
            "a call without a name",
            good.replace("\"name\":\"echo\"", "\"name\":\"\""),
            Error("upstream", "without a name"),
        ),
        (
            "pings",
            event(&json!({ "type": "ping" })).repeat(1_000),
            Error("upstream", broke),
        ),
        (
            "an error within",
            good[..good.find(stop).unwrap()].to_owned() + &error,
            Error("upstream", "no more"),
        ),
        ("OpenAI's", openai(), Error("upstream", broke)),
    ];
    let answers = answers
        .into_iter()
        .map(|(what, text, becomes)| (what, text.into_bytes(), becomes));
    odd("odd streams of Anthropic's", Format::Anthropic, answers.collect())
}
