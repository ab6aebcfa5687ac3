//! Fuel is deterministic, and its bound is exact to one step of its metering, from both sides.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::{Home, ModelServer, Output, guests, model::Format};
use serde_json::{Value, json};

/// One step of the metering: a round of the guest's loop and what follows it; fuel is looked at once in each round.
const STEP: u64 = 64;

/// More than the way of a tool's answer into the memory of its caller, which is given its new rest of fuel after that.
const ANSWER: u64 = 64;

fn home() -> Home {
    let server = ModelServer::start(Vec::new());
    Home::with_model(&server, Format::OpenAi)
}

/// Counts to `n` with settings.
fn count(home: &Home, n: u64, settings: &[&str]) -> Output {
    home.host()
        .args(settings)
        .run(&guests::built("count"), &n.to_string())
        .output()
}

#[test]
fn the_same_work_costs_the_same() {
    let home = home();
    let once = count(&home, 1_000_000, &[]).expect(0).spent("fuel");
    assert_eq!(count(&home, 1_000_000, &[]).expect(0).spent("fuel"), once);
    let twice = count(&home, 2_000_000, &[]).expect(0).spent("fuel");
    assert!(once > 1_000_000 && twice > once + 1_000_000, "{once} {twice}");
    let round = (twice - once) / 1_000_000;
    assert_eq!(twice, once + round * 1_000_000, "each round costs the same");
}

#[test]
fn the_budget_is_exact() {
    let home = home();
    let needed = count(&home, 100_000, &[]).expect(0).spent("fuel");
    let output = count(&home, 100_000, &["--budget", &format!("fuel={needed}")]).expect(0);
    assert_eq!(output.spent("fuel"), needed);
    let output = count(&home, 100_000, &["--budget", &format!("fuel={}", needed - STEP)]).expect(3);
    assert_eq!(output.json()["exit"], "exhausted");
    assert!(output.spent("fuel") <= needed, "{}", output.spent("fuel"));
}

#[test]
fn a_steps_limit_is_exact() {
    let home = home();
    let needed = count(&home, 100_000, &[]).expect(0).spent("fuel");
    count(&home, 100_000, &["--set", &format!("limits.fuel={needed}")]).expect(0);
    let output = count(&home, 100_000, &["--set", &format!("limits.fuel={}", needed - STEP)]).expect(3);
    assert!(output.stderr.contains("limits.fuel"), "{}", output.stderr);
}

#[test]
fn a_call_without_fuel_has_the_exit_code_of_a_run_without() {
    let home = home();
    let call = |settings: &[&str]| {
        let host = home
            .host()
            .args(["call", "script", "run_script", r#"{"script":"loop {}"}"#]);
        host.args(settings).output()
    };
    call(&[]).expect(1).says(&["more than 500000 steps"]);
    call(&["--set", "limits.fuel=5000000"]).expect(3).says(&["limits.fuel"]);
}

#[test]
fn a_tool_without_fuel_is_a_value() {
    let home = home();
    let call =
        |n: u64| json!({ "do": "call", "name": "probe", "arguments": { "steps": [{ "do": "compute", "n": n }] } });
    let program = json!({ "steps": [call(10), call(100_000_000), call(10)] });
    let host = home
        .host()
        .arg("--tool")
        .arg(guests::built("probe-tool"))
        .set("limits.fuel", 50_000_000);
    let seen = host.probe(&program).output().expect(0).seen();
    let refused: Vec<_> = seen.iter().map(hermes_tests::output::refusal).collect();
    assert_eq!(
        refused,
        [None, Some("exhausted(fuel)".into()), None],
        "the next call has a fresh sandbox"
    );
}

/// Runs `guest` on an empty task with settings.
fn started(home: &Home, guest: &str, settings: &[&str]) -> Output {
    home.host().args(settings).run(&guests::built(guest), "{}").output()
}

#[test]
fn what_a_start_burns_is_spent() {
    let home = home();
    let needed = started(&home, "start-count", &[]).expect(0).spent("fuel");
    assert!(needed > 100_000, "its start alone has 100,000 rounds: {needed}");
    let output = started(&home, "start-count", &["--budget", &format!("fuel={needed}")]).expect(0);
    assert_eq!(
        (output.spent("fuel"), &output.json()["answer"]),
        (needed, &json!("started"))
    );
}

#[test]
fn a_start_ends_at_the_budget_and_at_a_steps_limit() {
    let home = home();
    for (setting, words) in [
        ("--budget=fuel=50000", "--budget fuel"),
        ("--set=limits.fuel=50000", "limits.fuel"),
    ] {
        let output = started(&home, "start-count", &[setting]).expect(3).says(&[words]);
        let json = output.json();
        assert_eq!(
            (&json["exit"], &json["error"]["kind"]),
            (&json!("exhausted"), &json!("exhausted(fuel)"))
        );
        let spent = output.spent("fuel");
        assert!(spent.abs_diff(50_000) <= STEP, "{setting}: {spent}");
    }
}

/// One call of the tool that takes steps.
fn probe_tool(steps: &[Value]) -> Value {
    json!({ "do": "call", "name": "probe", "arguments": { "steps": steps } })
}

/// A tool call in which `calls` are made, under budgets of what the run needs divided by each of these: the budget, and how it
/// ended.
#[track_caller]
fn inside_a_tool_call(calls: &[Value], divisors: &[u64]) -> Vec<(u64, Output)> {
    let home = home();
    let program = json!({ "steps": [probe_tool(calls)], "summary": "done" });
    let run = |budget: Option<u64>| {
        let host = budget.iter().fold(home.host(), |host, fuel| {
            host.args(["--budget", &format!("fuel={fuel}")])
        });
        let host = host.arg("--tool").arg(guests::built("probe-tool"));
        host.probe(&program).output()
    };
    let whole = run(None).expect(0);
    assert_eq!(whole.json()["answer"], "done", "without a budget all of them are made");
    let whole = whole.spent("fuel");
    let within = |divisor: &u64| {
        let (budget, output) = (whole / divisor, run(Some(whole / divisor)));
        let spent = output.spent("fuel");
        assert!(spent < budget + ANSWER, "{spent} of {budget}");
        let run = output.json()["run"].as_str().unwrap().to_owned();
        let shown = home.host().args(["show", &run]).output().expect(0).stdout;
        for said in [&output.stderr, &shown] {
            assert!(!said.contains("cost more than was set aside"), "{said}");
        }
        (budget, output)
    };
    divisors.iter().map(within).collect()
}

#[test]
fn calls_inside_a_tool_call_burn_of_its_share() {
    let call = probe_tool(&[json!({ "do": "compute", "n": 100_000 })]);
    for (budget, output) in inside_a_tool_call(&vec![call; 20], &[2, 4, 20]) {
        let output = output.expect(3);
        assert_eq!(output.json()["error"]["kind"], "exhausted(fuel)");
        let spent = output.spent("fuel");
        assert!(spent + STEP >= budget, "all of it is burnt: {spent} of {budget}");
    }
}

#[test]
fn calls_side_by_side_inside_a_tool_call_burn_of_its_share() {
    let compute = json!({ "steps": [{ "do": "compute", "n": 100_000 }] });
    let start = json!({ "do": "start-call", "name": "probe", "arguments": compute });
    let mut calls = vec![start; 8];
    calls.extend((0..8).map(|n| json!({ "do": "wait-call", "call": n })));
    // What is left when its last call was refused may be enough for the strategy to return.
    inside_a_tool_call(&calls, &[2, 4, 8]);
}

#[test]
fn a_call_that_was_cancelled_inside_a_tool_call_takes_none_of_its_share() {
    let home = home();
    let compute = json!({ "do": "compute", "n": 3_000_000 });
    let inner = json!({ "steps": [{ "do": "compute", "n": 10 }] });
    let cancelled = [
        json!({ "do": "start-call", "name": "probe", "arguments": inner }),
        json!({ "do": "cancel-call", "call": 0 }),
        json!({ "do": "wait-call", "call": 0 }),
        compute.clone(),
    ];
    let run = |steps: &[Value], budget: Option<u64>| {
        // The call inside waits for its turn until it is cancelled, and burns nothing.
        let host = budget.iter().fold(home.host().set("tool_delay", "5m"), |host, fuel| {
            host.args(["--budget", &format!("fuel={fuel}")])
        });
        let host = host.arg("--tool").arg(guests::built("probe-tool"));
        let program = json!({ "steps": [probe_tool(steps)], "summary": "done" });
        host.probe(&program).output().expect(0)
    };
    let needed = run(&cancelled, None).spent("fuel");
    // Half of it goes to a call that its caller doesn't wait for: what is left would be too little.
    let budget = needed + needed / 4;
    for steps in [std::slice::from_ref(&compute), &cancelled] {
        let output = run(steps, Some(budget));
        let seen = output.seen();
        assert_eq!(hermes_tests::output::refusal(&seen[0]), None, "{}", seen[0]);
        let inside = hermes_tests::output::in_call(&seen[0]);
        assert_eq!(inside.len(), steps.len());
        assert!(inside.last().unwrap()["ok"].is_u64(), "it computed: {inside:?}");
        if let [_, _, waited, _] = inside.as_slice() {
            assert_eq!(hermes_tests::output::refusal(waited).as_deref(), Some("cancelled"));
        }
        let spent = output.spent("fuel");
        assert!(spent > budget / 2 && spent < needed + ANSWER, "{spent} of {budget}");
    }
}
