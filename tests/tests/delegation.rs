//! Sub-agents within what their parents have: budgets, rights, tools, notes, and nothing of one another's conversations.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::changed::wanting;
use hermes_tests::child::{ChildSpec, exit, inside, join, summary};
use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::steps;
use hermes_tests::{Home, Host, Output, guests};
use serde_json::{Value, json};

fn quiet() -> (ModelServer, Home) {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    (server, home)
}

fn run(home: &Home, program: &[Value]) -> Output {
    home.host().probe(&steps(program)).output()
}

fn echo(host: Host) -> Host {
    host.arg("--tool").arg(guests::built("pure-echo"))
}

fn complete(words: &str) -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }], "tools": "granted" })
}

#[test]
fn a_child_answers_its_parent() {
    let (_server, home) = quiet();
    let child = ChildSpec::probe(&json!({ "summary": "The child's answer.", "steps": [{ "do": "info" }] }));
    let output = run(
        &home,
        &[child.spawn(), join(0), join(0), json!({ "do": "status", "child": 0 })],
    )
    .expect(0);
    let seen = output.seen();
    assert_eq!(
        (exit(&seen[1]), &seen[1]["ok"]["attempts"]),
        ("Returned".into(), &json!(1))
    );
    assert!(summary(&seen[1]).contains("The child's answer."), "{}", seen[1]);
    assert_eq!(seen[1], seen[2], "asked again it is the same");
    assert_eq!(seen[3]["ok"]["ended"], true);
    let info = &inside(&seen[1])[0]["ok"];
    assert_eq!((&info["depth"], info["parent"].is_string()), (&json!(1), true));
    let agents = output.json()["agents"].clone();
    assert_eq!(agents.as_array().unwrap().len(), 2, "{agents}");
    assert_eq!(
        (&agents[1]["role"], &agents[1]["status"]),
        (&json!("helper"), &json!("completed"))
    );
    assert_eq!(agents[1]["parent"], agents[0]["id"]);
}

#[test]
fn children_run_side_by_side_and_the_first_to_end_is_told() {
    let (_server, home) = quiet();
    let wait = json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 60_000 });
    let space = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let slow =
        ChildSpec::probe(&steps(&[json!({ "do": "open", "name": "notes" }), wait])).with("spaces", space.clone());
    let quick = ChildSpec::probe(&steps(&[]));
    let program = [
        slow.spawn(),
        quick.spawn(),
        json!({ "do": "wait-any-child", "children": [0, 1], "timeout_ms": null }),
        json!({ "do": "wait-any-child", "children": [0], "timeout_ms": 0 }),
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "put", "space": 0, "key": "go", "value": "now" }),
        join(0),
    ];
    let seen = run(&home, &program).expect(0).seen();
    assert_eq!((&seen[2]["ok"], &seen[3]["ok"]), (&json!(1), &json!(null)));
    assert_eq!(exit(&seen[6]), "Returned");
    assert_eq!(inside(&seen[6])[1]["ok"][0]["key"], "go");
}

#[test]
fn iterations_are_each_agents_own() {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = json!({ "do": "repeat", "n": 60, "until_error": true, "steps": [complete("again")] });
    let left = json!({ "do": "remaining", "dimension": "Iterations" });
    let child = ChildSpec::probe(&steps(&[left.clone(), ask.clone()]));
    let few = ChildSpec::probe(&steps(&[ask])).limit("Iterations", 3);
    let output = run(&home, &[child.spawn(), join(0), few.spawn(), join(1), left]).expect(0);
    let seen = output.seen();
    assert_eq!(exit(&seen[1]), "Exhausted(Iterations)");
    let inner = inside(&seen[1]);
    assert_eq!((&inner[0]["ok"], &inner[1]["ok"]["rounds"]), (&json!(50), &json!(50)));
    assert_eq!(inside(&seen[3])[0]["ok"]["rounds"], 3);
    assert_eq!(seen[4]["ok"], 90, "the parent has all of its own");
    assert_eq!(output.spent("iterations"), 53);
    let too_many = ChildSpec::probe(&steps(&[])).limit("Iterations", 201);
    let seen = run(&home, &[too_many.spawn()]).expect(0).seen();
    assert_eq!(refusal(&seen[0]).unwrap(), "invalid-input");
    assert!(message(&seen[0]).contains("limits.iterations.child_max"));
}

#[test]
fn no_childs_part_of_the_journal_is_larger_than_its_parents_rest() {
    let (_server, home) = quiet();
    let left = json!({ "do": "remaining", "dimension": "JournalBytes" });
    let around = |spec: &ChildSpec| steps(&[left.clone(), spec.spawn(), left.clone(), join(0)]);
    let grandchild = ChildSpec::probe(&steps(std::slice::from_ref(&left)));
    let child = ChildSpec::probe(&around(&grandchild));
    let host = home.host().args(["--budget", "journal-bytes=300000"]);
    let output = host.probe(&around(&child)).output().expect(0);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let show = home.host().args(["show", &run, "--output", "json"]);
    let shown = show.output().expect(0).json();
    let caps = [0, 1, 2].map(|n: usize| shown["agents"][n]["budget"]["journal_bytes"].as_u64().unwrap());
    assert_eq!(caps[0], 300_000, "{shown}");
    let root = output.seen();
    let child = inside(&root[3]);
    for (parent, cap) in [(&root, caps[1]), (&child, caps[2])] {
        let left = [0, 2].map(|n: usize| parent[n]["ok"].as_u64().unwrap());
        assert!(
            cap <= left[0] && cap > left[1],
            "it had {left:?} before and after: {cap}"
        );
    }
    let grandchild = inside(&child[3])[0]["ok"].as_u64().unwrap();
    assert!(grandchild <= caps[2], "{grandchild} of {}", caps[2]);
}

#[test]
fn an_allotment_is_the_parents_until_it_is_spent() {
    let (_server, home) = quiet();
    let call = json!({ "do": "call", "name": "echo", "arguments": { "text": "x" } });
    let left = json!({ "do": "remaining", "dimension": "ToolCalls" });
    let child = ChildSpec::probe(&steps(&[left.clone(), call.clone(), call.clone(), call.clone(), call]))
        .limit("ToolCalls", 3)
        .with("toolsets", json!(["echo"]));
    let greedy = ChildSpec::probe(&steps(&[])).limit("ToolCalls", 8);
    let program = [greedy.spawn(), child.spawn(), left.clone(), join(0), left];
    let host = echo(home.host()).args(["--budget", "tool-calls=7"]);
    let seen = host.probe(&steps(&program)).output().expect(0).seen();
    assert_eq!(
        refusal(&seen[0]).unwrap(),
        "exhausted(tool-calls)",
        "more than the parent has"
    );
    assert_eq!(seen[2]["ok"], 4, "three are set aside");
    let inner = inside(&seen[3]);
    let refused: Vec<_> = inner.iter().map(refusal).collect();
    assert_eq!(inner[0]["ok"], 3);
    assert_eq!(refused, [None, None, None, None, Some("exhausted(tool-calls)".into())]);
    assert_eq!(seen[4]["ok"], 4, "and spent");
}

#[test]
fn what_a_child_leaves_comes_back() {
    let (_server, home) = quiet();
    let left = json!({ "do": "remaining", "dimension": "Tokens" });
    let open = json!({ "do": "open", "name": "notes" });
    let wait = json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 60_000 });
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    // It ends when it is told to.
    let child = ChildSpec::probe(&steps(&[open.clone(), wait])).with("spaces", notes);
    let program = [
        open,
        child.limit("Tokens", 600).spawn(),
        left.clone(),
        json!({ "do": "put", "space": 0, "key": "go", "value": "now" }),
        join(0),
        left,
    ];
    let host = home.host().args(["--budget", "tokens=1000"]);
    let seen = host.probe(&steps(&program)).output().expect(0).seen();
    assert_eq!((&seen[2]["ok"], &seen[5]["ok"]), (&json!(400), &json!(1000)));
}

#[test]
fn children_together_never_pass_the_trees_cap() {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = json!({ "do": "repeat", "n": 20, "until_error": true, "steps": [complete("again")] });
    let child = ChildSpec::probe(&steps(&[ask])).spawn();
    let program = [child.clone(), child.clone(), child, join(0), join(1), join(2)];
    let host = home
        .host()
        .args(["--budget", "tree.iterations=17"])
        .set("closing_call", "false");
    let output = host.probe(&steps(&program)).output().expect(0);
    assert_eq!((output.spent("iterations"), server.requests().len()), (17, 17));
    let seen = output.seen();
    assert!((3..6).all(|n| exit(&seen[n]) == "Exhausted(Iterations)"), "{seen:?}");
}

#[test]
fn neither_do_they_in_tool_calls_and_bytes() {
    let (_server, home) = quiet();
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let call = json!({ "do": "call", "name": "echo", "arguments": { "text": "x" } });
    let write = json!({ "do": "append", "space": 0, "prefix": "k/", "value": "12345678" });
    let open = json!({ "do": "open", "name": "notes" });
    for (budget, dimension, first, step) in [
        ("tree.tool-calls=17", "tool_calls", &call, &call),
        ("tree.stored-bytes=200", "stored_bytes", &open, &write),
    ] {
        let again = json!({ "do": "repeat", "n": 20, "until_error": true, "steps": [step] });
        let child = ChildSpec::probe(&steps(&[first.clone(), again]))
            .with("toolsets", json!(["echo"]))
            .with("spaces", notes.clone())
            .spawn();
        let program = [
            open.clone(),
            child.clone(),
            child.clone(),
            child,
            join(0),
            join(1),
            join(2),
        ];
        let host = home
            .host()
            .args(["--budget", budget, "--tool"])
            .arg(guests::built("pure-echo"));
        let output = host.probe(&steps(&program)).output().expect(0);
        let most: u64 = budget.rsplit('=').next().unwrap().parse().unwrap();
        let spent = output.spent(dimension);
        // What did not fit was refused whole: for a key that the host makes, the longest that it may be is set aside.
        assert!(spent <= most && most - spent < 40, "{spent} of {most} {dimension}");
        if dimension == "tool_calls" {
            assert_eq!(spent, most);
        }
    }
}

#[test]
fn a_strategy_is_looked_for_when_all_else_is_in_order() {
    let (_server, home) = quiet();
    let unknown = || ChildSpec::of("no-such-strategy", "go");
    let all = [
        (unknown().with("toolsets", json!(["web"])), "denied"),
        (unknown().with("model", "fast"), "denied"),
        (unknown().with("grants", json!(["net:example.org"])), "denied"),
        (unknown().limit("Iterations", 201), "invalid-input"),
        (unknown().with("inputs", "[1]"), "invalid-input"),
        (unknown().with("role", " "), "invalid-input"),
        (unknown(), "not-found"),
    ];
    let spawns: Vec<Value> = all.iter().map(|(spec, _)| spec.spawn()).collect();
    let seen = run(&home, &spawns).expect(0).seen();
    for ((spec, kind), seen) in all.iter().zip(&seen) {
        assert_eq!(refusal(seen).as_deref(), Some(*kind), "{spec:?}: {seen}");
    }
    let host = home.host().set("limits.delegation.total", 0);
    let seen = host.probe(&steps(&[unknown().spawn()])).output().expect(0).seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("exhausted(children)"), "{}", seen[0]);
}

#[test]
fn no_toolset_means_no_tools() {
    let (_server, home) = quiet();
    let list = json!({ "do": "list-tools" });
    let call = json!({ "do": "call", "name": "echo", "arguments": { "text": "x" } });
    let none = ChildSpec::probe(&steps(&[list.clone(), call.clone()]));
    let one = ChildSpec::probe(&steps(&[list, call])).with("toolsets", json!(["echo"]));
    let program = [none.spawn(), join(0), one.spawn(), join(1)];
    let seen = echo(home.host()).probe(&steps(&program)).output().expect(0).seen();
    let (none, one) = (inside(&seen[1]), inside(&seen[3]));
    assert_eq!(
        (&none[0]["ok"], refusal(&none[1]).unwrap()),
        (&json!([]), "not-found".into())
    );
    assert_eq!((one[0]["ok"].as_array().unwrap().len(), refusal(&one[1])), (1, None));
}

#[test]
fn a_child_has_no_more_than_its_manifest_asks_for() {
    let (_server, home) = quiet();
    let plugins = home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let asks = "[[wants]]\ngrant = \"blackboard:shared\"\n";
    for (name, wants) in [("modest", ""), ("eager", asks)] {
        let (file, manifest) = (format!("{name}.wasm"), format!("name = \"{name}\"\n{wants}"));
        let component = wanting(&home, &guests::built("probe"), &file, &manifest);
        std::fs::copy(component, plugins.join(file)).unwrap();
    }
    let space = |name: &str| json!({ "space": name, "prefix": "", "access": "ReadWrite" });
    let opens = ["shared", "notes"].map(|name| json!({ "do": "open", "name": name }));
    let opens = steps(&opens).to_string();
    let child = |name: &str| {
        let child = ChildSpec::of(name, &opens);
        child.with("spaces", json!([space("shared"), space("notes")])).spawn()
    };
    let program = steps(&[child("modest"), join(0), child("eager"), join(1)]);
    let host = home.host().args(["--allow", "blackboard:shared"]);
    let seen = host.probe(&program).output().expect(0).seen();
    let refused = |seen: &Value| inside(seen).iter().map(refusal).collect::<Vec<_>>();
    // A space of its run is what an agent has by default.
    assert_eq!(refused(&seen[1]), [Some("denied".to_owned()), None], "{}", seen[1]);
    assert!(refused(&seen[3]).iter().all(Option::is_none), "{}", seen[3]);
}

#[test]
fn a_space_is_shared_by_prefix_and_access() {
    let (_server, home) = quiet();
    let open = json!({ "do": "open", "name": "notes" });
    let get = |key: &str| json!({ "do": "get", "space": 0, "key": key });
    let put = |key: &str| json!({ "do": "put", "space": 0, "key": key, "value": "child" });
    let keys = json!({ "do": "keys", "space": 0, "prefix": "", "limit": 10 });
    let child = ChildSpec::probe(&steps(&[
        open.clone(),
        get("a/1"),
        get("b/1"),
        put("a/2"),
        put("ab"),
        keys.clone(),
    ]))
    .with(
        "spaces",
        json!([{ "space": "notes", "prefix": "a", "access": "ReadWrite" }]),
    );
    let reader = ChildSpec::probe(&steps(&[open.clone(), get("a/1"), put("a/3")])).with(
        "spaces",
        json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]),
    );
    let program = [
        open,
        put("a/1"),
        put("b/1"),
        child.spawn(),
        join(0),
        reader.spawn(),
        join(1),
        keys,
    ];
    let seen = run(&home, &program).expect(0).seen();
    let inner = inside(&seen[4]);
    let refused: Vec<_> = inner.iter().map(|seen| refusal(seen).unwrap_or_default()).collect();
    assert_eq!(refused, ["", "", "denied", "", "denied", ""]);
    assert_eq!(inner[5]["ok"], json!(["a/1", "a/2"]), "others are left out of lists");
    let refused: Vec<_> = inside(&seen[6])
        .iter()
        .map(|seen| refusal(seen).unwrap_or_default())
        .collect();
    assert_eq!(refused, ["", "", "denied"]);
    assert_eq!(seen[7]["ok"], json!(["a/1", "a/2", "b/1"]));
}

#[test]
fn no_conversation_crosses_the_line() {
    let script = Script::default()
        .when("PARENT-ONLY", [Turn::text("parent heard"), Turn::text("parent again")])
        .when("CHILD-TASK", [Turn::text("CHILD-INNER"), Turn::text("child done")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&json!({
        "steps": [complete("CHILD-TASK"), complete("CHILD-TASK once more")], "summary": "only the report",
    }));
    run(
        &home,
        &[
            complete("PARENT-ONLY"),
            child.spawn(),
            join(0),
            complete("PARENT-ONLY more"),
        ],
    )
    .expect(0);
    for request in server.requests() {
        let body = json!(request.messages()).to_string();
        let crossed = body.contains("PARENT-ONLY") && body.contains("CHILD");
        assert!(!crossed, "{body}");
    }
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_report_is_scrubbed_before_its_parent_reads_it() {
    let (_server, home) = quiet();
    let key = format!("sk-ant-api03-{}", "A1b2C3d4".repeat(6));
    let (front, back) = key.split_at(20);
    let hostile = ["\u{1b}]0;own\u{7}title \u{202e}reversed ", front, back, "\nplain line"];
    let child = ChildSpec::probe(&json!({ "pieces": hostile }));
    let long: String = (0..3_000).map(|n| format!("line {n} of many words\n")).collect();
    let talker = ChildSpec::probe(&json!({ "summary": long }));
    let output = run(&home, &[child.spawn(), join(0), talker.spawn(), join(1)]).expect(0);
    let seen = output.seen();
    let short = summary(&seen[1]);
    assert!(!short.contains(&key) && short.contains("[redacted"), "{short}");
    assert!(
        short.contains("plain line") && !short.contains('\u{1b}') && !short.contains('\u{202e}'),
        "{short:?}"
    );
    let whole = summary(&seen[3]);
    assert!(whole.chars().count() <= 24_500, "{}", whole.chars().count());
    assert!(
        whole.contains("line 0 of") && whole.contains("line 2999 of"),
        "head and tail stay"
    );
    let spill = whole.rsplit("[whole text: spill/").next().unwrap();
    let prefix = spill.split(',').next().unwrap();
    assert_eq!(prefix, "0/child-2-1-report", "with the parent, who may read it");
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let piece = home
        .host()
        .args(["blackboard", "get", &format!("{run}/spill"), &format!("{prefix}/0001")])
        .output()
        .expect(0);
    assert!(piece.stdout.contains("line 1500 of many words"), "the middle is kept");
    home.assert_without(&key);
}

#[test]
fn an_artifact_that_is_too_long_is_shortened_and_said() {
    let (_server, home) = quiet();
    let child = |artifact: &str| {
        let report = json!({
            "outcome": "PartlyAchieved", "summary": "so far", "artifacts": [artifact, "b"], "open_questions": [],
        });
        let program = steps(&[json!({ "do": "checkpoint", "report": report }), json!({ "do": "trap" })]);
        ChildSpec::probe(&program).spawn()
    };
    let (fits, long) = ("a".repeat(500), "a".repeat(501));
    let output = run(&home, &[child(&fits), join(0), child(&long), join(1)]).expect(0);
    let seen = output.seen();
    let artifacts = |seen: &Value| seen["ok"]["report"]["artifacts"].clone();
    assert_eq!(artifacts(&seen[1]), json!([fits, "b"]));
    assert!(!summary(&seen[1]).contains("spill/"), "{}", seen[1]);
    assert_eq!(artifacts(&seen[3]), json!([format!("{}…", "a".repeat(499)), "b"]));
    let told = summary(&seen[3]);
    let kept = told.split("[artifacts shortened: whole text: spill/").nth(1);
    let prefix = kept
        .unwrap_or_else(|| panic!("it is not said: {told}"))
        .split(',')
        .next()
        .unwrap();
    assert!(
        prefix.starts_with("0/child-2-1-"),
        "with the parent, who may read it: {prefix}"
    );
    let space = format!("{}/spill", output.json()["run"].as_str().unwrap());
    let get = home
        .host()
        .args(["blackboard", "get", &space, &format!("{prefix}/0001")]);
    let piece = get.output().expect(0).stdout;
    assert!(piece.contains(&long) && !piece.contains('…'), "{piece}");
}

#[test]
fn an_iteration_that_only_ran_code_is_given_back() {
    let script = json!({ "script": "2 + 2" });
    let server = ModelServer::start(Script::always(Turn::call("run_script", &script)));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 1000 }] });
    let host = home
        .host()
        .args(["--budget", "iterations=5"])
        .set("limits.free_turns", 7);
    let output = host.probe(&program).output().expect(3);
    let json = output.json();
    assert_eq!((&json["spent"]["refunded"], output.spent("iterations")), (&json!(7), 5));
    assert_eq!(
        server.requests().len(),
        5 + 7 + 1,
        "five charged, seven free, one to close"
    );
}

#[test]
fn a_turn_that_did_anything_else_is_charged() {
    let script = json!({ "script": "2 + 2" });
    let both = || Turn::call("run_script", &script).and_call("call_echo", "echo", r#"{"text":"x"}"#);
    let server = ModelServer::start(Script::always(both()));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 3 }] });
    let output = echo(home.host()).probe(&program).output().expect(0);
    assert_eq!(
        (output.spent("iterations"), &output.json()["spent"]["refunded"]),
        (3, &json!(0))
    );
}

#[test]
fn nobody_can_ask_for_an_iteration_back() {
    let script = json!({ "script": "2 + 2" });
    let server = ModelServer::start(Script::always(Turn::call("run_script", &script)));
    let home = Home::with_model(&server, Format::OpenAi);
    let forged =
        |id: &str, arguments: &Value| json!({ "do": "call", "name": "run_script", "arguments": arguments, "id": id });
    let ask = complete("Go on.");
    // Ids that were never issued, and other arguments under an issued id.
    let program = json!({ "steps": [
        ask.clone(), forged("call_forged", &script), forged("", &script), forged("call_1", &json!({ "script": "3 + 3" })),
    ] });
    let output = home.host().probe(&program).output().expect(0);
    assert_eq!(
        (output.spent("iterations"), &output.json()["spent"]["refunded"]),
        (1, &json!(0))
    );
    // What was issued, again and again: the first earns its iteration, and no other does.
    let issued = forged("call_1", &script);
    let program = json!({ "steps": [ask, issued, issued, issued, issued] });
    let output = home.host().probe(&program).output().expect(0);
    assert_eq!(
        (output.spent("iterations"), &output.json()["spent"]["refunded"]),
        (0, &json!(1))
    );
}

#[test]
fn a_childs_default_binds_each_child_whose_spec_names_none() {
    let (_server, home) = quiet();
    let dimensions = ["Iterations", "ToolCalls", "StoredBytes", "Fuel", "HostCalls"];
    let asks = dimensions.map(|d| json!({ "do": "remaining", "dimension": d }));
    let grandchild = ChildSpec::probe(&steps(&asks)).with("max_attempts", 1);
    let mut below = asks.to_vec();
    below.extend([grandchild.spawn(), join(0)]);
    let child = ChildSpec::probe(&steps(&below));
    let own = child
        .clone()
        .limit("Iterations", 9)
        .limit("ToolCalls", 5)
        .limit("StoredBytes", 70);
    let program = [child.spawn(), join(0), own.spawn(), join(1), asks[1].clone()];
    let budget = "child.iterations=7,child.tool-calls=3,child.stored-bytes=50";
    let host = home.host().args(["--budget", budget]);
    let seen = host.probe(&steps(&program)).output().expect(0).seen();
    let left = |seen: &Value| -> Vec<Value> { inside(seen).iter().map(|seen| seen["ok"].clone()).collect() };
    assert_eq!(
        left(&seen[1])[..5],
        [json!(7), json!(3), json!(50), Value::Null, Value::Null]
    );
    let grandchilds = left(&inside(&seen[1])[6]);
    assert_eq!(grandchilds[..3], [json!(7), json!(3), json!(50)]);
    assert_eq!(
        left(&seen[3])[..3],
        [json!(9), json!(5), json!(70)],
        "what a spec names"
    );
    assert_eq!(seen[4]["ok"], Value::Null, "the root is not a child");
    // The same by configuration, and a fuel that ends the child alone.
    let spin = ChildSpec::probe(&steps(&[json!({ "do": "compute", "n": 20_000_000 })]));
    let host = home.host().set("budget", "child.fuel=5000000");
    let seen = host.probe(&steps(&[spin.spawn(), join(0)])).output().expect(0).seen();
    assert_eq!(exit(&seen[1]), "Exhausted(Fuel)", "{}", seen[1]);
    let host = home.host().args(["--budget", "child.iterations=201"]);
    host.probe(&steps(&[]))
        .output()
        .expect(2)
        .says(&["child.iterations=201", "limits.iterations.child_max"]);
}
