//! Agents that spawn, fail or talk to one another without end.

use hermes_tests::child::{ChildSpec, exit, inside, join};
use hermes_tests::guests;
use hermes_tests::output::{message, refusal};
use hermes_tests::program::steps;
use serde_json::{Value, json};

use crate::cases;
use crate::site::Site;

#[test]
fn a29_agents_nest_four_deep() {
    let site = Site::new();
    let attacked = site.tries(&cases::trees::nested());
    let agents = attacked.output.json()["agents"].as_array().unwrap().len();
    assert_eq!(agents, 5, "the root and four below it");
    site.is_well();
}

#[test]
fn a29_so_many_are_alive_at_once_and_so_many_in_all() {
    let site = Site::new();
    site.tries(&cases::trees::alive());
    let attacked = site.tries(&cases::trees::in_all());
    assert_eq!(attacked.output.json()["agents"].as_array().unwrap().len(), 65);
    site.is_well();
}

#[test]
fn a29_children_that_crash_count_and_are_none_the_more() {
    let site = Site::new();
    // Each is started three times, and each attempt spawns one below it: a restart is no further child, what it spawns is.
    let leaf = ChildSpec::probe(&steps(&[])).spawn();
    let crashes = ChildSpec::probe(&steps(&[
        leaf.clone(),
        json!({ "do": "join-last" }),
        json!({ "do": "trap" }),
    ]));
    let crashes = crashes.with("max_attempts", 3).spawn();
    let program = [crashes.clone(), join(0), crashes, join(1), leaf.clone(), leaf];
    let host = site.host().set("limits.delegation.total", 9);
    let host = host.set("limits.restart.backoff", "1ms");
    let attacked = site.attack(host.probe(&steps(&program)));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    for n in [1, 3] {
        assert_eq!(
            (exit(&seen[n]), &seen[n]["ok"]["attempts"]),
            ("Trapped".into(), &json!(3)),
            "{}",
            seen[n]
        );
    }
    assert_eq!(
        refusal(&seen[4]),
        None,
        "two that crash, three below each, and this one"
    );
    assert_eq!(refusal(&seen[5]).unwrap(), "exhausted(children)");
    assert!(message(&seen[5]).contains("limits.delegation.total"), "{}", seen[5]);
    site.is_well();
}

#[test]
fn a29_children_together_spend_no_more_than_the_tree_has() {
    let site = Site::new();
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "more" }] }] });
    let drains = json!({ "do": "repeat", "n": 60, "until_error": true, "steps": [ask] });
    let child = ChildSpec::probe(&steps(&[drains])).spawn();
    let program: Vec<Value> = (0..40)
        .flat_map(|_| [child.clone(), json!({ "do": "join-last" })])
        .collect();
    let host = site.host().args(["--budget", "tree.iterations=75,tree.usd=1"]);
    let attacked = site.attack(host.set("closing_call", "false").probe(&steps(&program)));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    assert_eq!(attacked.output.spent("iterations"), 75);
    assert_eq!(site.server.requests().len(), 75);
    let seen = attacked.output.seen();
    // The first has its own fifty, the second what is left, the others nothing: each of them is told why.
    for (n, rounds) in [(0, 50), (1, 25), (2, 0), (39, 0)] {
        let joined = &seen[2 * n + 1];
        assert_eq!(exit(joined), "Exhausted(Iterations)", "{joined}");
        assert_eq!(inside(joined)[0]["ok"]["rounds"], rounds, "{joined}");
    }
    site.is_well();
}

/// What the third call in a row that fails like the two before it has besides its error.
const REPEATED: &str = "(This call has failed 3 times in the same way.)";

#[test]
fn a33_the_third_failure_in_a_row_is_told_and_no_other() {
    let site = Site::new();
    let fail = |text: &str| json!({ "do": "call", "name": "fail", "arguments": { "text": text } });
    let start = json!({ "do": "start-call", "name": "fail", "arguments": { "text": "b" } });
    let wait = json!({ "do": "wait-call", "call": 0 });
    let echo = json!({ "do": "call", "name": "echo", "arguments": { "text": "a" } });
    let program = steps(&[
        fail("a"),
        fail("a"),
        fail("a"),
        fail("a"),
        // Another failure in between begins anew, and so does a success.
        fail("b"),
        fail("b"),
        fail("a"),
        fail("b"),
        fail("b"),
        echo,
        fail("b"),
        fail("b"),
        // One that was started counts as its result is handed over, once however often that is.
        start,
        wait.clone(),
        wait,
        fail("b"),
    ]);
    let host = site.host().arg("--tool").arg(guests::built("probe-tool"));
    let attacked = site.attack(host.probe(&program));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    assert_eq!(seen.len(), 16);
    for (n, seen) in seen.iter().enumerate().filter(|(n, _)| ![9, 12].contains(n)) {
        let content = seen["ok"]["output"]["content"].as_array().unwrap();
        assert_eq!(refusal(seen).as_deref(), Some("upstream"), "{n}: {seen}");
        let told = content.iter().skip(1).map(|block| block["Text"].as_str().unwrap());
        let expected: &[&str] = if [2, 13, 14].contains(&n) { &[REPEATED] } else { &[] };
        assert_eq!(told.collect::<Vec<_>>(), expected, "{n}");
    }
    site.is_well();
}

#[test]
fn a33_a_call_that_always_fails_is_made_no_oftener_than_the_budget_allows() {
    let case = cases::trees::always_fails();
    let site = Site::of(&case);
    let attacked = site.tries(&case);
    let spent = &attacked.output.json()["spent"];
    assert_eq!(
        (&spent["iterations"], &spent["tool_calls"], &spent["closing"]),
        (&json!(12), &json!(12), &json!(1))
    );
    let requests = site.server.requests();
    assert_eq!(requests.len(), 13);
    // The model is told once that it goes round in a circle.
    let results = requests[12].results();
    let told: Vec<_> = (0..results.len())
        .filter(|n| results[*n].1.ends_with(REPEATED))
        .collect();
    assert_eq!((results.len(), told), (12, vec![2]));
    // Where the calls run out first, it is told so each time, and its turns go on to their end.
    let attacked = site.tries(&case.budget("iterations=12,tool-calls=5"));
    let spent = &attacked.output.json()["spent"];
    assert_eq!((&spent["iterations"], &spent["tool_calls"]), (&json!(12), &json!(5)));
    let seen = attacked.output.seen().remove(0);
    let refused = seen.as_array().unwrap().iter().filter_map(|seen| seen["ok"].get(0));
    let refused =
        refused.filter(|result| refusal(&json!({ "ok": result })).as_deref() == Some("exhausted(tool-calls)"));
    assert_eq!(refused.count(), 7);
    site.is_well();
}

#[test]
fn a33_two_agents_that_answer_one_another_for_ever_end_with_the_budget() {
    let site = Site::new();
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    // Each asks the model, writes to the other, and waits for what the other writes.
    let player = |mine: &str, theirs: &str| {
        let round = [
            json!({ "do": "complete", "messages": [{ "User": [{ "Text": "your turn" }] }] }),
            json!({ "do": "append", "space": 0, "prefix": format!("{mine}/"), "value": "your turn" }),
            json!({ "do": "changes", "space": 0, "prefix": theirs, "since": 0, "wait_ms": 60_000 }),
        ];
        let rounds = json!({ "do": "repeat", "n": 1_000, "until_error": true, "steps": round });
        ChildSpec::probe(&steps(&[json!({ "do": "open", "name": "notes" }), rounds])).with("spaces", notes.clone())
    };
    let open = json!({ "do": "open", "name": "notes" });
    let program = [
        open,
        player("ping", "pong").spawn(),
        player("pong", "ping").spawn(),
        join(0),
        join(1),
    ];
    let host = site
        .host()
        .args(["--budget", "tree.iterations=30"])
        .set("closing_call", "false");
    let attacked = site.attack(host.probe(&steps(&program)));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    for n in [3, 4] {
        assert_eq!(exit(&seen[n]), "Exhausted(Iterations)", "{}", seen[n]);
    }
    assert_eq!(
        (attacked.output.spent("iterations"), site.server.requests().len()),
        (30, 30)
    );
    site.is_well();
}
