//! Limits from both sides of their exact bound: what is at the limit passes, one more is refused or cut, and the limit is named.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::process::Command;

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::host::binary;
use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::open;
use hermes_tests::{Home, Host, Output, guests};
use serde_json::{Value, json};

fn home() -> Home {
    Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi)
}

/// The probe without a model, under these limits.
fn host(home: &Home, limits: &[(&str, u64)]) -> Host {
    let host = home.host().args(["--deny", "llm"]);
    let set = |host: Host, (key, value): &(&str, u64)| host.set(&format!("limits.{key}"), value);
    limits.iter().fold(host, set)
}

/// What these steps see under this limit.
fn seen(home: &Home, limit: (&str, u64), steps: &[Value]) -> Vec<Value> {
    let program = json!({ "steps": steps });
    host(home, &[limit]).probe(&program).output().expect(0).seen()
}

/// The same, with the tools of the tests.
fn seen_with_tools(home: &Home, limit: (&str, u64), steps: &[Value]) -> Vec<Value> {
    let host = host(home, &[limit]).arg("--tool").arg(guests::built("probe-tool"));
    host.probe(&json!({ "steps": steps })).output().expect(0).seen()
}

/// The messages of all events of this name.
fn told(home: &Home, limit: (&str, u64), steps: &[Value], event: &str) -> Vec<String> {
    let host = host(home, &[limit]).probe_events(&json!({ "steps": steps }));
    let events = host.output().expect(0).events();
    let told = events.iter().filter(|told| told["event"] == event);
    told.map(|told| told["message"].as_str().unwrap().to_owned()).collect()
}

fn log(bytes: usize) -> Value {
    json!({ "do": "log", "level": "Info", "message": "x".repeat(bytes) })
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "do": "call", "name": name, "arguments": arguments })
}

/// Steps that are repeated until one is refused.
fn repeated(n: u64, step: &Value) -> Value {
    json!({ "do": "repeat", "n": n, "until_error": true, "steps": [step] })
}

/// The number before `word`.
fn number_before(word: &str, text: &str) -> usize {
    let before = text.split(word).next().unwrap();
    before.split_whitespace().next_back().unwrap().parse().unwrap()
}

/// The one block of text of a tool's answer.
fn text(seen: &Value) -> &str {
    seen.pointer("/ok/output/content/0/Text").unwrap().as_str().unwrap()
}

#[test]
fn a_line_of_the_log_is_cut_after_its_last_byte() {
    let lines = told(&home(), ("log_line", 64), &[log(64), log(65)], "log");
    assert_eq!(lines, ["x".repeat(64), format!("{}…[+1]", "x".repeat(64))]);
    // So is one of the standard output, though no more of it is kept than is looked at.
    let print = |bytes: usize| json!({ "do": "print", "text": "x".repeat(bytes) });
    let end = json!({ "do": "print", "text": "\n" });
    let many = json!({ "do": "repeat", "n": 15, "steps": [print(4_000)] });
    let long = [print(1), many, print(3), end.clone(), print(64), end];
    let lines = told(&home(), ("log_line", 64), &long, "log");
    assert_eq!(lines, [format!("{}…[+59940]", "x".repeat(64)), "x".repeat(64)]);
}

#[test]
fn a_steps_log_may_be_full_and_what_follows_is_dropped() {
    let home = home();
    let dropped = "…[the rest of this step's log is dropped: limits.log_step is 192 bytes]";
    let half = "x".repeat(32);
    let full = told(&home, ("log_step", 192), &[log(32), log(32)], "log");
    assert_eq!(full, [half.as_str(), half.as_str()]);
    let after = told(&home, ("log_step", 192), &[log(32), log(32), log(1), log(1)], "log");
    assert_eq!(after, [half.as_str(), half.as_str(), dropped], "it is said once");
    let over = told(&home, ("log_step", 192), &[log(32), log(33), log(1)], "log");
    assert_eq!(over, [half.as_str(), dropped]);
}

#[test]
fn a_progress_message_is_cut_after_its_last_byte() {
    let progress = |message: &str| json!({ "do": "progress", "message": message });
    // A letter that has two bytes is not cut in the middle.
    let steps = [
        progress("0123456789abcdef"),
        progress("0123456789abcdefg"),
        progress("0123456789abcdeü"),
    ];
    let messages = told(&home(), ("progress", 16), &steps, "progress");
    assert_eq!(messages, ["0123456789abcdef", "0123456789abcdef", "0123456789abcde"]);
}

#[test]
fn a_checkpoint_over_its_limit_leaves_the_last_one() {
    let home = home();
    let checkpoint = |letter: &str, n: usize| {
        let report = json!({
            "outcome": "PartlyAchieved", "summary": letter.repeat(n), "result_json": null, "artifacts": [],
            "open_questions": [],
        });
        json!({ "do": "checkpoint", "report": report })
    };
    let warned = |steps: &[Value]| told(&home, ("checkpoint", 1024), steps, "log");
    let over = warned(&[checkpoint("a", 2000)]);
    assert!(
        over[0].contains("limits.checkpoint (1024); the last one stays"),
        "{over:?}"
    );
    let fits = 1024 - (number_before(" bytes", &over[0]) - 2000);
    assert_eq!(warned(&[checkpoint("a", fits)]), [""; 0]);
    let over = warned(&[checkpoint("b", fits + 1)]);
    assert_eq!(number_before(" bytes", &over[0]), 1025);
    let steps = [
        checkpoint("a", fits),
        checkpoint("b", fits + 1),
        json!({ "do": "trap" }),
    ];
    let limits = [("checkpoint", 1024), ("restart.attempts", 1)];
    let output = host(&home, &limits)
        .probe(&json!({ "steps": steps }))
        .output()
        .expect(1);
    assert_eq!(output.json()["checkpoint"], "a".repeat(fits));
}

#[test]
fn a_report_over_its_limit_is_refused() {
    let home = home();
    let report = |n: usize| {
        let program = json!({ "steps": [], "summary": "s".repeat(n) });
        host(&home, &[("report", 1024)]).probe(&program).output()
    };
    let bytes = |output: &Output| {
        let error = output.json()["error"].clone();
        assert_eq!(error["kind"], "invalid-input");
        let words = error["message"].as_str().unwrap();
        assert!(words.contains("limits.report (1024)"), "{words}");
        number_before(" bytes", words)
    };
    let fits = 1024 - (bytes(&report(2000).expect(1)) - 2000);
    assert_eq!(report(fits).expect(0).json()["answer"], "s".repeat(fits));
    assert_eq!(bytes(&report(fits + 1).expect(1)), 1025);
}

#[test]
fn tool_calls_nest_to_their_limit() {
    let home = home();
    // The innermost call's answer, through the probes around it.
    let innermost = |depth: usize| {
        let mut step = call("echo", &json!({ "text": "hi" }));
        for _ in 1..depth {
            step = call("probe", &json!({ "steps": [step] }));
        }
        let mut answer = seen_with_tools(&home, ("tool_depth", 2), &[step]).remove(0);
        for _ in 1..depth {
            let inner: Value = serde_json::from_str(text(&answer)).unwrap();
            answer = inner[0].clone();
        }
        answer
    };
    assert_eq!(text(&innermost(2)), "hi");
    let refused = innermost(3);
    assert_eq!(refusal(&refused).as_deref(), Some("invalid-input"));
    assert!(message(&refused).contains("limits.tool_depth"), "{refused}");
}

#[test]
fn a_tools_description_is_cut_after_its_last_byte() {
    let home = home();
    let described = |limit: u64| {
        let seen = seen(&home, ("tool_description", limit), &[json!({ "do": "list-tools" })]);
        let mut tools = seen[0]["ok"].as_array().unwrap().iter();
        let script = tools.find(|tool| tool["name"] == "run_script").unwrap();
        script["description"].as_str().unwrap().to_owned()
    };
    let whole = described(1 << 20);
    assert!(whole.is_ascii(), "each letter is a byte");
    let bytes = whole.len();
    assert_eq!(described(bytes as u64), whole);
    assert_eq!(described(bytes as u64 - 1), format!("{}…[+1]", &whole[..bytes - 1]));
}

#[test]
fn what_stands_beside_a_tools_text_shares_its_characters() {
    let home = home();
    let inner = call("echo", &json!({ "text": "t".repeat(1200) }));
    let step = call("probe", &json!({ "steps": [inner] }));
    let output = |limit: u64| {
        let seen = seen_with_tools(&home, ("scrub.tool", limit), std::slice::from_ref(&step));
        seen[0]["ok"]["output"].clone()
    };
    let whole = output(1 << 20);
    let text = whole["content"][0]["Text"].as_str().unwrap();
    let structured = whole["structured_content"].as_str().unwrap();
    let both = (text.chars().count() + structured.chars().count()) as u64;
    assert_eq!(output(both), whole);
    let cut = output(both - 1);
    assert_eq!(
        (&cut["content"][0]["Text"], &cut["structured_content"]),
        (&json!(text), &Value::Null)
    );
    let bytes = structured.len();
    let note = cut["content"][1]["Text"].as_str().unwrap();
    let kept = format!("[structured content of {bytes} bytes left out: whole text: spill/");
    assert!(
        note.starts_with(&kept) && note.ends_with(&format!("structured, {bytes} bytes]")),
        "{note}"
    );
}

#[test]
fn a_tools_text_is_whole_up_to_its_last_character() {
    let home = home();
    let steps = [500, 501].map(|n| call("big", &json!({ "n": n })));
    let seen = seen_with_tools(&home, ("scrub.tool", 500), &steps);
    assert_eq!(text(&seen[0]), "x".repeat(500));
    let shortened = text(&seen[1]);
    assert!(shortened.contains("characters left out"), "{shortened}");
    assert!(shortened.contains("501 bytes]"), "the whole is kept: {shortened}");
}

#[test]
fn of_a_text_that_is_too_long_so_many_bytes_are_kept() {
    let home = home();
    let host = host(&home, &[("scrub.tool", 500), ("scrub.spill", 600)]);
    let host = host.arg("--tool").arg(guests::built("probe-tool"));
    let steps = [600, 601].map(|n| call("big", &json!({ "n": n })));
    let seen = host.probe(&json!({ "steps": steps })).output().expect(0).seen();
    assert!(text(&seen[0]).ends_with(", 600 bytes]"), "{}", seen[0]);
    let cut = ", 600 bytes of 601 (limits.scrub.spill)]";
    assert!(text(&seen[1]).ends_with(cut), "{}", seen[1]);
}

/// The content of an answer in blocks of these kinds, in so many characters.
fn blocks(home: &Home, characters: u64, kinds: &Value) -> Vec<Value> {
    let seen = seen_with_tools(home, ("scrub.tool", characters), &[call("blocks", kinds)]);
    seen[0]["ok"]["output"]["content"].as_array().unwrap().clone()
}

/// The text of a block.
#[track_caller]
fn words(block: &Value) -> &str {
    block["Text"].as_str().unwrap_or_else(|| panic!("no text: {block}"))
}

/// A note of so many texts that are left out and kept, and of their bytes.
#[track_caller]
fn assert_kept(note: &Value, texts: usize, bytes: usize) {
    let begins = format!("[{texts} more blocks left out (limits.scrub.tool): whole text: spill/0/");
    let ends = format!("-rest, {bytes} bytes]");
    assert!(
        words(note).starts_with(&begins) && words(note).ends_with(&ends),
        "{note}"
    );
}

#[test]
fn a_tools_answer_is_whole_up_to_its_last_block() {
    const MOST: usize = 256;
    let home = home();
    let shown = |media: usize, texts: usize| {
        let shown = blocks(&home, 48_000, &json!({ "media": media, "texts": texts }));
        let (kept, notes) = shown.split_at(MOST);
        let pictures = kept.iter().filter(|block| block["Media"].is_object()).count();
        assert_eq!(pictures, media.min(MOST), "{kept:?}");
        assert!(kept[pictures..].iter().all(|block| words(block) == "text"), "{kept:?}");
        notes.to_vec()
    };
    for (media, texts) in [(MOST, 0), (0, MOST), (56, MOST - 56)] {
        assert_eq!(shown(media, texts), [] as [Value; 0], "{media} and {texts}");
    }
    let media_out =
        |n: usize| json!({ "Text": format!("[{n} more blocks of other media left out (limits.scrub.tool)]") });
    assert_eq!(shown(MOST + 1, 0), [media_out(1)]);
    let notes = shown(0, MOST + 1);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_kept(&notes[0], 1, "text".len());
    let notes = shown(MOST + 2, 3);
    assert_eq!((notes.len(), &notes[1]), (2, &media_out(2)), "{notes:?}");
    assert_kept(&notes[0], 3, "text\ntext\ntext".len());
}

#[test]
fn texts_over_the_last_block_are_kept_as_one() {
    let home = home();
    let program = json!({ "steps": [call("blocks", &json!({ "texts": 300 }))] });
    let host = host(&home, &[]).arg("--tool").arg(guests::built("probe-tool"));
    let output = host.probe(&program).output().expect(0);
    let space = format!("{}/spill", output.json()["run"].as_str().unwrap());
    let ls = home.host().args(["blackboard", "ls", &space, "--output", "json"]);
    let keys = ls.output().expect(0).json();
    let keys = keys.as_array().unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let key = keys[0].as_str().unwrap();
    assert!(key.ends_with("-rest/0001"), "{key}");
    let kept = home.host().args(["blackboard", "get", &space, key]).output().expect(0);
    assert_eq!(kept.stdout.trim_end(), ["text"; 300 - 256].join("\n"));
}

#[test]
fn each_block_takes_some_of_its_readers_characters() {
    let home = home();
    let picture = blocks(&home, 48_000, &json!({ "media": 1 }));
    // Its type, and one for itself.
    let each = 1 + picture[0]["Media"]["media_type"].as_str().unwrap().len() as u64;
    let kinds = json!({ "media": 100, "texts": 100 });
    let shown = |missing: u64| blocks(&home, 100 * each + 400 - missing, &kinds);
    let whole = shown(0);
    assert_eq!((whole.len(), words(&whole[199])), (200, "text"));
    let cut = shown(1);
    assert_eq!((cut.len(), words(&cut[198])), (200, "text"));
    assert!(words(&cut[199]).contains("whole text: spill/0/"), "{}", cut[199]);
    let less = shown(4);
    assert_eq!((less.len(), words(&less[198])), (200, "text"));
    assert_kept(&less[199], 1, "text".len());
}

#[test]
fn a_note_in_the_place_of_a_block_takes_characters_too() {
    let shown = blocks(&home(), 500, &json!({ "others": 10_000 }));
    let (last, notes) = shown.split_last().unwrap();
    let note = words(&notes[0]);
    assert!(note.starts_with("[a block left out: it is no JSON"), "{note}");
    assert!(notes.iter().all(|other| *other == notes[0]), "{notes:?}");
    let each = note.chars().count() + "other".len();
    assert_eq!(notes.len(), 500_usize.div_ceil(each));
    let left_out = 10_000 - notes.len();
    assert_kept(last, left_out, "other\n".len() * left_out - 1);
}

#[test]
fn twenty_thousand_blocks_harm_neither_their_reader_nor_the_journal() {
    let home = home();
    for kind in ["media", "others", "texts"] {
        let steps = [
            call("blocks", &json!({ kind: 20_000 })),
            call("echo", &json!({ "text": "hi" })),
        ];
        let host = host(&home, &[]).arg("--tool").arg(guests::built("probe-tool"));
        let output = host
            .probe(&json!({ "steps": steps, "summary": "done" }))
            .output()
            .expect(0);
        let seen = output.seen();
        let content = seen[0]["ok"]["output"]["content"].as_array().unwrap();
        assert_eq!(content.len(), 256 + 1, "{kind}");
        assert!(
            words(&content[256]).starts_with("[19744 more blocks"),
            "{}",
            content[256]
        );
        assert_eq!(text(&seen[1]), "hi", "its reader goes on");
        let json = output.json();
        let show = home
            .host()
            .args(["show", json["run"].as_str().unwrap(), "--output", "json"]);
        let shown = show.output().expect(0).json();
        let bytes = shown["agents"][0]["spent"]["journal_bytes"].as_u64().unwrap();
        assert!(bytes < 200_000, "{kind}: {bytes}");
    }
}

#[test]
fn a_childs_prompt_is_bounded_to_the_byte() {
    let spawn = |prompt: usize, inputs: Value| {
        let child = ChildSpec::probe(&json!({})).with("prompt", "x".repeat(prompt));
        child.with("inputs", inputs).spawn()
    };
    let steps = [
        spawn(1024, Value::Null),
        spawn(1025, Value::Null),
        spawn(1022, json!("{}")),
        spawn(1023, json!("{}")),
    ];
    let seen = seen(&home(), ("prompt", 1024), &steps);
    let refused: Vec<_> = seen.iter().map(refusal).collect();
    let invalid = Some("invalid-input".to_owned());
    assert_eq!(refused, [None, invalid.clone(), None, invalid], "{seen:?}");
    assert!(message(&seen[1]).contains("limits.prompt"), "{}", seen[1]);
}

#[test]
fn a_completions_messages_are_bounded_to_the_byte() {
    let server = ModelServer::start([Turn::text("hello")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = |n: usize| {
        let messages = json!([{ "User": [{ "Text": "u".repeat(n) }] }]);
        let program = json!({ "steps": [{ "do": "complete", "messages": messages }] });
        let host = home.host().set("limits.prompt", 1024);
        host.probe(&program).output().expect(0).seen().remove(0)
    };
    let bytes = |seen: &Value| {
        assert_eq!(refusal(seen).as_deref(), Some("invalid-input"), "{seen}");
        assert!(message(seen).contains("limits.prompt"), "{seen}");
        number_before(" bytes;", message(seen))
    };
    let fits = 1024 - (bytes(&ask(2000)) - 2000);
    assert_eq!(bytes(&ask(fits + 1)), 1025);
    assert_eq!(server.requests().len(), 0, "what is refused is not sent");
    assert_eq!(refusal(&ask(fits)), None);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn open_handles_end_at_their_limit() {
    let seen = seen(&home(), ("resources", 8), &[repeated(9, &open())]);
    let last = &seen[0]["ok"]["last"][0];
    assert_eq!(seen[0]["ok"]["rounds"], 8);
    assert_eq!(refusal(last).as_deref(), Some("rate-limited"));
    assert!(message(last).contains("limits.resources"), "{last}");
}

#[test]
fn a_dropped_child_makes_room_for_another() {
    let spawn = ChildSpec::probe(&json!({ "steps": [] })).spawn();
    let steps = [
        repeated(9, &spawn),
        json!({ "do": "drop-children" }),
        repeated(9, &spawn),
    ];
    let seen = seen(&home(), ("resources", 8), &steps);
    for spawned in [&seen[0], &seen[2]] {
        assert_eq!(spawned["ok"]["rounds"], 8, "{spawned}");
        assert_eq!(
            refusal(&spawned["ok"]["last"][0]).as_deref(),
            Some("rate-limited"),
            "{spawned}"
        );
    }
}

#[test]
fn a_call_too_many_is_refused_to_whoever_waits_for_it() {
    let start = json!({ "do": "start-call", "name": "echo", "arguments": { "text": "hi" } });
    let mut steps = vec![start; 9];
    steps.extend([7, 8].map(|call| json!({ "do": "wait-call", "call": call })));
    let seen = seen_with_tools(&home(), ("resources", 8), &steps);
    assert_eq!(text(&seen[9]), "hi");
    assert_eq!(refusal(&seen[10]).as_deref(), Some("rate-limited"));
    assert!(message(&seen[10]).contains("limits.resources"), "{}", seen[10]);
}

#[test]
fn a_handle_over_the_engines_own_limit_traps() {
    let home = home();
    let limits = [("handles", 16), ("restart.attempts", 1)];
    let opened = |n: u64| {
        let program = json!({ "steps": [repeated(n, &open())] });
        host(&home, &limits).probe(&program).output()
    };
    assert_eq!(opened(16).expect(0).seen()[0]["ok"]["rounds"], 16);
    let output = opened(17).expect(1);
    assert_eq!(output.json()["error"]["kind"], "trapped");
    output.says(&["limits.handles"]);
}

#[test]
fn a_handle_that_is_lent_many_times_at_once_counts_each_time() {
    let home = home();
    let limits = [("handles", 16), ("delegation.total", 4), ("restart.attempts", 1)];
    for handles in ["calls", "children"] {
        let waited = |n: usize| {
            let (begin, wait) = match handles {
                "calls" => (json!({ "do": "start-call", "name": "missing" }), "wait-any-call"),
                _ => (ChildSpec::probe(&json!({ "steps": [] })).spawn(), "wait-any-child"),
            };
            let wait = json!({ "do": wait, handles: vec![0; n], "timeout_ms": 60_000 });
            host(&home, &limits).probe(&json!({ "steps": [begin, wait] })).output()
        };
        // With the handle itself, as many as there can be with all children.
        assert_eq!(waited(16 + 4 - 1).expect(0).seen()[1]["ok"], 0, "{handles}");
        let output = waited(16 + 4).expect(1);
        assert_eq!(output.json()["error"]["kind"], "trapped");
        output.says(&["limits.handles"]);
    }
}

#[test]
fn a_session_ends_after_its_last_record() {
    let home = home();
    let asked = |n: u64| {
        let program = json!({ "steps": [repeated(n, &json!({ "do": "cancelled" }))] });
        host(&home, &[("journal_records", 100)]).probe(&program).output()
    };
    assert_eq!(asked(100).expect(0).seen()[0]["ok"]["rounds"], 100);
    let output = asked(101).expect(3);
    assert_eq!(output.json()["error"]["kind"], "exhausted(journal-bytes)");
    output.says(&["100 records (limits.journal_records)"]);
}

/// As many records as `before`, then a child: four records (its request, its row, its start, its intent), and three of what its
/// parent is told.
fn spawns_after(before: u64) -> Value {
    let cancelled = json!({ "do": "repeat", "n": before, "steps": [{ "do": "cancelled" }] });
    let child = ChildSpec::probe(&json!({ "steps": [], "summary": "done" }));
    json!({ "steps": [cancelled, child.spawn(), join(0)], "summary": "done" })
}

/// Runs such a program in a part of the journal that is too small for it: how many children it leaves. They are there whole, and
/// the run has ended.
#[track_caller]
fn children_left(home: &Home, limit: (&str, u64), program: &Value) -> usize {
    let output = host(home, &[limit]).probe(program).output().expect(3);
    let json = output.json();
    assert_eq!(json["error"]["kind"], "exhausted(journal-bytes)", "{limit:?}");
    let run = json["run"].as_str().unwrap();
    let show = home.host().args(["show", run, "--output", "json"]);
    let shown = show.output().expect(0).json();
    let agents = shown["agents"].as_array().unwrap();
    assert!(
        agents.iter().all(|agent| agent["exit"].is_string()),
        "{limit:?}: {shown}"
    );
    let children = agents.len() - 1;
    let spawned = agents[0]["operations"].as_array().unwrap().len();
    assert_eq!(spawned, children, "{limit:?}: a child and its intent are one: {shown}");
    let tree = home.host().args(["tree", run]).output().expect(0).stdout;
    assert_eq!(tree.matches("helper").count(), children, "{limit:?}: {tree}");
    let resumed = home.host().args(["resume", run]).output().expect(2).says(&["final"]);
    assert!(!resumed.stderr.contains("missing"), "{}", resumed.stderr);
    children
}

#[test]
fn a_child_that_has_too_few_records_leaves_nothing() {
    let home = home();
    let program = spawns_after(100);
    let left = |records: u64| children_left(&home, ("journal_records", records), &program);
    // From the child's first record to what its parent is told last.
    assert_eq!([100, 101, 102, 103].map(left), [0; 4]);
    assert_eq!([104, 105, 106].map(left), [1; 3]);
    host(&home, &[("journal_records", 107)])
        .probe(&program)
        .output()
        .expect(0);
}

#[test]
fn a_child_that_has_too_few_bytes_leaves_nothing() {
    let home = home();
    // More than the smallest limit has room for.
    let program = spawns_after(800);
    let whole = host(&home, &[]).probe(&program).output().expect(0).json();
    let whole = whole["agents"][0]["spent"]["journal_bytes"].as_u64().unwrap();
    // No record is as small as a step from one limit to the next, and the last one is larger than what is left to the whole.
    let limits = (whole - 1600..whole - 64).step_by(64);
    let left: Vec<usize> = limits
        .map(|bytes| children_left(&home, ("journal_bytes", bytes), &program))
        .collect();
    assert!(left.is_sorted() && left[0] == 0 && left.ends_with(&[1]), "{left:?}");
    host(&home, &[("journal_bytes", whole + 64)])
        .probe(&program)
        .output()
        .expect(0);
}

#[test]
fn what_compiles_too_long_is_refused_by_name_and_tried_once() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_cold_guest(&server, Format::OpenAi, "js-tool");
    let steps = vec![call("echo", &json!({ "text": "hi" })); 2];
    // It takes seconds.
    let host = host(&home, &[]).set("limits.compile.wall", "300ms");
    let host = host.arg("--tool").arg(guests::built("js-tool"));
    let output = host.probe(&json!({ "steps": steps })).output().expect(0);
    let seen = output.seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("upstream"), "{}", seen[0]);
    let words = message(&seen[0]);
    assert!(
        words.contains("limits.compile.wall") && words.contains("echo"),
        "{words}"
    );
    assert!(!words.contains("crashed") && !words.contains('/'), "{words}");
    assert_eq!(seen[0], seen[1]);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let show = home.host().args(["show", &run, "--output", "json"]);
    let shown = show.output().expect(0).json();
    let took = |n: usize| shown["agents"][0]["operations"][n]["ms"].as_u64().unwrap();
    assert!(took(0) >= 300 && took(1) < 300, "{shown}");
}

#[test]
fn descriptors_are_counted_where_low_ones_are_free() {
    let home = Home::new();
    let call = |reserve: u32| {
        // 24 to 63 are in use, and the host has more than 8 of those below: fewer than 16 of 64 are free, all of them low ones.
        let open = "for n in {24..63}; do eval \"exec $n</dev/null\"; done; ulimit -n 64 && exec \"$0\" \"$@\"";
        let setting = format!("limits.fds={reserve}");
        let mut shell = Command::new("bash");
        shell.args(["-c", open]).arg(binary()).env("HERMES_HOME", home.path());
        shell.args(["--set", &setting, "--set", "limits.start_wall=500ms", "call"]);
        shell
            .arg(guests::built("pure-echo"))
            .args(["echo", r#"{"text":"hello"}"#]);
        let output = shell.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = call(1);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = call(16);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("limits.fds"), "{said}");
}

#[test]
fn one_thread_for_what_blocks_is_enough_for_a_run_that_is_shown() {
    let home = home();
    let step = call("probe", &json!({ "steps": [log(1)] }));
    let seen = seen_with_tools(&home, ("threads", 1), &[step]);
    assert!(seen[0]["ok"]["output"].is_object(), "{}", seen[0]);
}

#[test]
fn a_calls_id_has_a_bound() {
    let call = |kind: &str, bytes: usize| json!({ "do": kind, "name": "echo", "arguments": { "text": "hi" }, "id": "x".repeat(bytes) });
    let steps = [
        call("call", 1024),
        call("call", 1025),
        call("start-call", 1025),
        json!({ "do": "wait-call", "call": 0 }),
    ];
    let seen = seen_with_tools(&home(), ("resources", 8), &steps);
    assert_eq!(text(&seen[0]), "hi");
    for refused in [&seen[1], &seen[3]] {
        assert_eq!(refusal(refused).as_deref(), Some("invalid-input"), "{refused}");
        assert!(message(refused).contains("1025 bytes; 1024 are the most"), "{refused}");
    }
}

/// What is asked for by the beginning of a key, and what a child is given by it, is kept: as long as a key at most.
#[test]
fn the_beginning_of_a_key_is_no_longer_than_one() {
    let most = 16;
    let asks = |bytes: usize| {
        let prefix = "x".repeat(bytes);
        let space = json!([{ "space": "notes", "prefix": prefix, "access": "ReadOnly" }]);
        [
            json!({ "do": "keys", "space": 0, "prefix": prefix, "limit": 1 }),
            json!({ "do": "keys", "space": 0, "prefix": "", "after": prefix, "limit": 1 }),
            json!({ "do": "changes", "space": 0, "prefix": prefix, "since": 0, "wait_ms": 0 }),
            ChildSpec::probe(&json!({ "steps": [] })).with("spaces", space).spawn(),
        ]
    };
    let open = json!({ "do": "open", "name": "notes" });
    let steps = [&[open][..], &asks(most), &asks(most + 1)].concat();
    let seen = seen(&home(), ("blackboard.key", most as u64), &steps);
    for (step, seen) in steps.iter().zip(&seen).skip(1).take(4) {
        assert_eq!(refusal(seen), None, "{step}: {seen}");
    }
    for (step, seen) in steps.iter().zip(&seen).skip(5) {
        assert_eq!(refusal(seen).as_deref(), Some("invalid-input"), "{step}: {seen}");
        assert!(message(seen).contains("limits.blackboard.key"), "{step}: {seen}");
    }
}

#[test]
fn the_json_of_a_completion_has_so_many_values_and_keys() {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let complete = |items: usize| {
        // The object, its key, the list, and what is in it.
        let schema = json!({ "enum": vec![1; items] }).to_string();
        let options = json!({ "model": null, "temperature": null, "max_output_tokens": null, "stop": [],
            "tool_choice": null, "response_schema": schema, "provider_options": null });
        json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }], "options": options })
    };
    let program = json!({ "steps": [complete(97), complete(98)] });
    let seen = home
        .host()
        .set("limits.json.values", 100)
        .probe(&program)
        .output()
        .expect(0)
        .seen();
    assert_eq!(refusal(&seen[0]), None, "{}", seen[0]);
    assert_eq!(refusal(&seen[1]).as_deref(), Some("invalid-input"), "{}", seen[1]);
    assert!(message(&seen[1]).contains("101 values and keys"), "{}", seen[1]);
    assert!(message(&seen[1]).contains("limits.json.values"), "{}", seen[1]);
    assert_eq!(server.requests().len(), 1);
}
