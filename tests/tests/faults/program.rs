//! The program of the recorded run, and the model that it asks.

use std::path::Path;

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::model::{Fault, Script, Turn};
use serde_json::{Value, json};

/// The requests of the recorded run: a text in each, and what is answered. The same request always gets the same answer.
const ANSWERS: [(&str, &str); 9] = [
    ("ROOT ONE", "one"),
    ("PAR ONE", "par one"),
    ("PAR TWO", "par two"),
    ("TOOL ASKS", "for a tool"),
    ("CHILD A ONE", "a one"),
    ("CHILD A TWO", "a two"),
    ("CHILD B LOST", "lost"),
    ("CHILD B AGAIN", "b"),
    ("CHILD C ASKS", "for c's tool"),
];

/// How many completions are answered while `PAR TWO` is not: all that the root doesn't wait with.
pub(crate) const ANSWERED: usize = 10;

/// The model of the recorded run.
pub(crate) fn script() -> Script {
    let code = Turn::call("run_script", &json!({ "script": "2 + 2" }));
    let script = Script::default().when("\"role\":\"tool\"", Script::always(Turn::text("four")));
    let script = script.when("ROOT CODE", Script::always(code));
    let echo = Turn::call("echo", &json!({ "text": "CHILD D HEARD" }));
    let script = script.when("CHILD D CALLS", Script::always(echo));
    ANSWERS.iter().fold(script, |script, (asked, answer)| {
        script.when(asked, Script::always(Turn::text(*answer)))
    })
}

/// The same, but the first `times` requests with this text are never answered: whoever waits for one waits until the process dies.
pub(crate) fn holding(asked: &str, times: usize) -> Script {
    let mut script = script();
    let place = script.when.iter().position(|(marker, _)| marker == asked).unwrap();
    script.when[place].1.turns = vec![Turn::fault(Fault::StallMidStream); times];
    script
}

/// The same, but a request with this text is not answered before this file is there.
pub(crate) fn held(asked: &str, file: &Path) -> Script {
    let mut script = script();
    let place = script.when.iter().position(|(marker, _)| marker == asked).unwrap();
    let answers = &mut script.when[place].1;
    answers.then = answers.then.take().map(|turn| turn.held_until(file));
    script
}

/// The step that asks the model this.
pub(crate) fn ask(words: &str) -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }] })
}

fn start(words: &str) -> Value {
    json!({ "do": "start", "messages": [{ "User": [{ "Text": words }] }] })
}

fn open(name: &str) -> Value {
    json!({ "do": "open", "name": name })
}

/// Does a step, and shows nothing of what it told: that is another in each run.
fn hidden(step: &Value) -> Value {
    json!({ "do": "if-failed", "step": step, "steps": [] })
}

/// Reads the clocks so often that the time of day is taken in, and random numbers. From the step `witness` on, each step asks for what only they can name.
fn chance() -> [Value; 2] {
    let clocks = json!({ "do": "clocks", "readings": 1_100 });
    [hidden(&clocks), hidden(&json!({ "do": "random", "bytes": 8 }))]
}

fn append(space: usize) -> Value {
    json!({ "do": "append", "space": space, "prefix": "log/", "value": "a line" })
}

fn keys(space: usize) -> Value {
    json!({ "do": "changes", "space": space, "prefix": "", "since": 0, "wait_ms": 0 })
}

/// A call that itself calls a tool and asks the model.
fn nested(asked: &str) -> Value {
    let inner = json!({ "do": "call", "name": "echo", "arguments": { "text": "inside" } });
    json!({ "steps": [inner, ask(asked)] })
}

fn child(steps: &[Value], space: &str) -> ChildSpec {
    let access = json!([{ "space": space, "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&json!({ "steps": steps, "summary": "child" })).with("spaces", access);
    child.with("max_attempts", 2)
}

/// Four children, one of which traps and is started again, and one that runs out of iterations and makes its closing call; completions and tool
/// calls side by side; a tool that asks the model; an iteration that is given back; entries put, appended, compared and set; clocks and random numbers
/// on which it hangs what is asked for behind them, in the root and in a child.
pub(crate) fn program() -> Value {
    let put = |value: &str, version: Option<u64>| json!({ "do": "put", "space": 0, "key": "plan", "value": value, "if_version": version });
    let call = |name: &str, arguments: Value| json!({ "do": "start-call", "name": name, "arguments": arguments });
    let wait_call = |n: usize| json!({ "do": "wait-call", "call": n });
    let wait = |n: usize| json!({ "do": "wait", "pending": n });
    let spent = |d: &str| json!({ "do": "spent", "dimension": d });
    let echo = || json!({ "text": "hello" });
    let witness = || json!({ "do": "witness", "space": 0 });
    let [clocks, random] = chance();
    let a = child(
        &[
            open("a"),
            witness(),
            clocks.clone(),
            ask("CHILD A ONE"),
            append(0),
            append(0),
            random.clone(),
            ask("CHILD A TWO"),
            clocks.clone(),
            append(0),
        ],
        "a",
    );
    let lost = json!({ "do": "first-attempt", "steps": [ask("CHILD B LOST"), { "do": "trap" }] });
    let b = child(&[lost, open("b"), append(0), ask("CHILD B AGAIN"), append(0)], "b");
    let c = child(
        &[
            call("echo", echo()),
            call("echo", echo()),
            call("probe", nested("CHILD C ASKS")),
            wait_call(2),
            wait_call(1),
            wait_call(0),
        ],
        "c",
    );
    let c = c.with("toolsets", json!(["probe-tool"]));
    let d = child(&[json!({ "do": "agent", "user": "CHILD D CALLS", "turns": 3 })], "c");
    let d = d.with("toolsets", json!(["probe-tool"])).limit("Iterations", 1);
    json!({ "steps": [
        open("notes"), put("one", None), put("two", Some(1)), put("lost", Some(1)), append(0), open("a"), open("b"), open("c"),
        witness(), clocks, random,
        ask("ROOT ONE"),
        a.spawn(), b.spawn(), c.spawn(), d.spawn(),
        start("PAR ONE"), start("PAR TWO"),
        call("probe", nested("TOOL ASKS")), call("echo", echo()),
        wait_call(1), wait_call(0), wait(1), wait(0),
        { "do": "agent", "user": "ROOT CODE", "turns": 3 },
        join(0), join(1), join(2), join(3),
        clocks, append(0), keys(0), keys(1), keys(2), put("three", Some(2)),
        spent("Iterations"), spent("ToolCalls"), spent("StoredBytes"),
    ] })
}
