//! What a model's provider does wrong, beyond the scenarios of the suite `provider`.

use std::time::Duration;

use hermes_tests::child::{ChildSpec, exit, inside, join};
use hermes_tests::home::{KEY, KEY_VARIABLE};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{message, refusal, slack};
use hermes_tests::program::steps;
use hermes_tests::site::{Asked, Site, authority, ok};
use hermes_tests::{Home, Output, guests};
use serde_json::{Value, json};

use crate::full;
use crate::program::ask;

const FORMATS: [Format; 2] = [Format::OpenAi, Format::Anthropic];

fn run(server: &ModelServer, format: Format, steps: &[Value], settings: &[(&str, &str)]) -> Output {
    let home = Home::with_model(server, format);
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    let host = settings.iter().fold(host, |host, (key, value)| host.set(key, value));
    let output = host.probe(&json!({ "steps": steps })).output().expect(0);
    home.assert_without(KEY);
    output
}

#[test]
fn f09_refused_requests() {
    for format in FORMATS {
        for (status, kind) in [(400, "invalid-input"), (404, "not-found")] {
            let server = ModelServer::start([Turn::status(status)]);
            let output = run(&server, format, &[ask("hi")], &[]);
            let seen = output.seen().remove(0);
            assert_eq!(refusal(&seen).as_deref(), Some(kind), "{format:?}, {status}: {seen}");
            assert!(!message(&seen).contains(KEY), "{seen}");
            assert_eq!(
                server.requests().len(),
                1,
                "{format:?}, {status}: a refusal is not tried again"
            );
            assert_eq!(output.spent("tokens"), 0);
        }
    }
}

#[test]
fn f09_an_agent_that_was_refused_claims_nothing() {
    let server = ModelServer::start([Turn::status(401)]);
    let home = Home::with_model(&server, Format::OpenAi);
    let output = home
        .host()
        .arg("--plugin")
        .arg("research")
        .args(["What is new?", "--output", "json"])
        .output()
        .expect(1);
    assert_eq!(output.json()["outcome"], "not-achieved");
    assert_eq!(server.requests().len(), 1);
}

/// Too many requests, and when to come back.
fn after(words: &str) -> Turn {
    Turn::fault(Fault::Status {
        code: 429,
        retry_after: Some(words.to_owned()),
    })
}

#[test]
fn f10_odd_words_on_when_to_come_back() {
    for format in FORMATS {
        // Dates that are past, and what is no time at all: it waits as after any error.
        for words in ["Sun, 06 Nov 1994 08:49:37 GMT", "-5", "soon", "", "1e3", "0"] {
            let server = ModelServer::start([after(words), Turn::text("now")]);
            let output = run(&server, format, &[ask("hi")], &[]);
            let seen = output.seen().remove(0);
            assert_eq!(seen["ok"]["parts"][0]["Text"], "now", "{words}: {seen}");
            assert_eq!((server.requests().len(), output.spent("iterations")), (2, 1));
        }
        // Longer than anybody waits.
        for words in ["1000000000", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            let server = ModelServer::start([after(words)]);
            let output = run(&server, format, &[ask("hi")], &[]);
            let seen = output.seen().remove(0);
            assert_eq!(refusal(&seen).as_deref(), Some("rate-limited"), "{words}: {seen}");
            assert_eq!(seen["error"]["retry_after_ms"], u32::MAX, "{words}: {seen}");
            assert_eq!((server.requests().len(), output.spent("tokens")), (1, 0));
        }
    }
}

/// The agent hears of it while it still has the time to tell what it has.
#[test]
fn f10_a_wait_that_the_deadline_does_not_allow() {
    let wall = [("budget", "wall=50s")];
    for format in FORMATS {
        let server = ModelServer::start([after("60"), Turn::text("too late")]);
        let output = run(&server, format, &[ask("hi")], &wall);
        let seen = output.seen().remove(0);
        assert_eq!(refusal(&seen).as_deref(), Some("rate-limited"), "{format:?}: {seen}");
        assert_eq!(seen["error"]["retry_after_ms"], 60_000, "{format:?}: {seen}");
        assert_eq!(server.requests().len(), 1, "{format:?}");
        assert_eq!((output.spent("iterations"), output.spent("tokens")), (1, 0));
        assert!(output.took < Duration::from_secs(25), "{:?}", output.took);
        // It has the time for this one.
        let server = ModelServer::start([after("1"), Turn::text("in time")]);
        let output = run(&server, format, &[ask("hi")], &wall);
        let seen = output.seen().remove(0);
        assert_eq!(seen["ok"]["parts"][0]["Text"], "in time", "{format:?}: {seen}");
        let requests = server.requests();
        assert_eq!((requests.len(), output.spent("iterations")), (2, 1), "{format:?}");
        let waited = requests[1].at - requests[0].at;
        assert!(waited >= Duration::from_secs(1), "{format:?}: {waited:?}");
    }
}

/// Its parent has more time than it has itself.
#[test]
fn f10_a_wait_that_a_childs_deadline_does_not_allow() {
    let script = Script::default()
        .when("TOO LATE", [after("60"), Turn::text("too late")])
        .when("IN TIME", [after("1"), Turn::text("in time")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[ask("TOO LATE"), ask("IN TIME")])).limit("WallClockMs", 50_000);
    let program = steps(&[child.spawn(), join(0)]);
    let output = home.host().probe(&program).output().expect(0);
    let joined = &output.seen()[1];
    assert_eq!(exit(joined), "Returned", "{joined}");
    let seen = inside(joined);
    assert_eq!(refusal(&seen[0]).as_deref(), Some("rate-limited"), "{joined}");
    assert_eq!(seen[1]["ok"]["parts"][0]["Text"], "in time", "{joined}");
    assert_eq!(server.requests().len(), 3);
    assert_eq!((output.spent("iterations"), output.spent("tokens")), (2, 120));
    assert!(output.took < Duration::from_secs(25), "{:?}", output.took);
    // A replay has no deadline, and is told what was recorded.
    let replayed = home.host().args(["replay", &home.newest_run(), "--output", "json"]);
    assert_eq!(replayed.output().expect(0).json()["same"], true);
    assert_eq!(server.requests().len(), 3, "nothing is sent");
}

/// What an overloaded provider gets where nothing else is set.
#[test]
fn f10_overloaded_each_time() {
    let server = ModelServer::start(vec![Turn::status(529); 5]);
    let output = run(&server, Format::Anthropic, &[ask("hi")], &[]);
    let seen = output.seen().remove(0);
    assert_eq!(refusal(&seen).as_deref(), Some("upstream"), "{seen}");
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    let gaps: Vec<Duration> = requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    for (gap, usual) in gaps.iter().zip([500, 1_000, 2_000].map(Duration::from_millis)) {
        // Half as long at least, and half as long again at most.
        assert!(*gap >= usual / 2 && *gap < usual * 3 / 2 + slack(), "{gaps:?}");
    }
    assert_eq!(
        (output.spent("iterations"), output.spent("tokens")),
        (1, 0),
        "for all tries"
    );
}

#[test]
fn f11_cut_at_every_byte() {
    let turn = || Turn::text("a text").and_call("call_1", "echo", r#"{"text":"x"}"#);
    for format in FORMATS {
        let step = if full() { 1 } else { 13 };
        let cuts: Vec<usize> = (0..1600).step_by(step).collect();
        let turns: Vec<Turn> = cuts
            .iter()
            .map(|bytes| turn().with(Fault::CutAt { bytes: *bytes }))
            .collect();
        let server = ModelServer::start(Script::from(turns).then(turn()));
        let mut steps: Vec<Value> = cuts.iter().map(|_| ask("hi")).collect();
        steps.push(ask("hi"));
        let settings = [("limits.llm.tries", "1"), ("budget", "iterations=2000")];
        let output = run(&server, format, &steps, &settings);
        let mut seen = output.seen();
        let whole = seen.pop().unwrap()["ok"]["parts"].clone();
        let answered: Vec<bool> = seen.iter().map(|seen| seen.get("ok").is_some()).collect();
        for (cut, seen) in cuts.iter().zip(&seen) {
            match seen.get("ok") {
                Some(answer) => assert_eq!(answer["parts"], whole, "cut at {cut}"),
                None => assert_eq!(refusal(seen).as_deref(), Some("upstream"), "cut at {cut}: {seen}"),
            }
        }
        assert!(
            answered.is_sorted(),
            "a longer piece of an answer is as good as a shorter one"
        );
        assert_eq!(output.spent("tool_calls"), 0);
    }
}

/// At once, as each of them is waited for as long as an answer may stand still.
#[test]
fn f11_stalled_all_over_an_answer() {
    let turn = || Turn::text("a text").and_call("call_1", "echo", r#"{"text":"x"}"#);
    let words = |bytes: usize| format!("STALLS AT {bytes:04}");
    // A command's line takes the steps of no more than every thirteenth byte. None at all would be the end of a body that is sent in chunks.
    let (firsts, step) = if full() { (1..14, 13) } else { (13..14, 5 * 13) };
    for (format, first) in FORMATS
        .into_iter()
        .flat_map(|format| firsts.clone().map(move |first| (format, first)))
    {
        let stalls: Vec<usize> = (first..1600).step_by(step).collect();
        let script = stalls.iter().fold(Script::always(turn()), |script, bytes| {
            let stalled = turn().with(Fault::StallAt { bytes: *bytes });
            script.when(&words(*bytes), [stalled])
        });
        let server = ModelServer::start(script);
        let start = |bytes: &usize| json!({ "do": "start", "messages": [{ "User": [{ "Text": words(*bytes) }] }] });
        let mut steps: Vec<Value> = stalls.iter().map(start).collect();
        steps.extend((0..stalls.len()).map(|n| json!({ "do": "wait", "pending": n })));
        steps.push(ask("hi"));
        let settings = [
            ("limits.llm.tries", "1"),
            ("limits.llm.idle", "500ms"),
            ("budget", "iterations=2000"),
        ];
        let output = run(&server, format, &steps, &settings);
        let mut seen = output.seen().split_off(stalls.len());
        let whole = seen.pop().unwrap()["ok"]["parts"].clone();
        assert!(whole.is_array(), "{format:?}: {whole}");
        for (stall, seen) in stalls.iter().zip(&seen) {
            match seen.get("ok") {
                Some(answer) => assert_eq!(answer["parts"], whole, "stalled at {stall}"),
                None => assert_eq!(
                    refusal(seen).as_deref(),
                    Some("timed-out"),
                    "stalled at {stall}: {seen}"
                ),
            }
        }
        let answered: Vec<bool> = seen.iter().map(|seen| seen.get("ok").is_some()).collect();
        assert!(answered.is_sorted() && !answered[0], "{format:?}: {answered:?}");
        assert_eq!(server.asked(), stalls.len() + 1, "{format:?}: nothing is tried again");
        assert_eq!(output.spent("tool_calls"), 0);
        assert!(output.took < Duration::from_secs(20), "{:?}", output.took);
    }
}

#[test]
fn f11_a_server_that_speaks_no_tls() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.configure(&format!(
        "[providers.secure]\nkind = \"openai\"\nbase_url = \"https://{}/v1\"\n",
        server.address()
    ));
    let host = home
        .host()
        .args(["--model", "secure/test-model"])
        .set("limits.llm.tries", 2);
    let output = host.probe(&json!({ "steps": [ask("hi")] })).output().expect(0);
    let seen = output.seen().remove(0);
    assert_eq!(refusal(&seen).as_deref(), Some("upstream"), "{seen}");
    assert_eq!((output.spent("tokens"), server.requests().len()), (0, 0));
    assert!(output.took < Duration::from_secs(20), "{:?}", output.took);
}

#[test]
fn f11_a_server_that_can_not_prove_its_name() {
    let nobody = |_: &Asked| ok("{}");
    // Signed by nobody who is trusted, and for another address.
    let (stranger, other) = (Site::start_tls(nobody), Site::start_tls_at("127.0.0.2:0", nobody));
    let name = "certificate not valid for name \"127.0.0.2\"; ";
    let trusted = authority();
    for (site, trusted, why) in [
        (&stranger, trusted.with_file_name("server.pem"), "UnknownIssuer."),
        (&other, trusted, name),
    ] {
        let home = Home::with_configuration(&format!(
            "[providers.secure]\nkind = \"openai\"\nbase_url = \"{}\"\nkey_env = \"{KEY_VARIABLE}\"\n",
            site.url("/v1")
        ));
        let host = home.host().env("SSL_CERT_FILE", trusted);
        let host = host.args(["--model", "secure/test-model"]).set("limits.llm.tries", 2);
        let output = host.probe(&json!({ "steps": [ask("hi")] })).output().expect(0);
        let seen = output.seen().remove(0);
        assert_eq!(refusal(&seen).as_deref(), Some("upstream"), "{seen}");
        let words = message(&seen);
        assert!(
            words.starts_with("The model provider secure can't be reached: "),
            "{words}"
        );
        let why = format!(": invalid peer certificate: {why}");
        assert!(words.contains(&why), "{words}");
        assert_eq!((output.spent("tokens"), site.asked().len()), (0, 0));
        home.assert_without(KEY);
    }
}
