//! Fuel is deterministic, and its bound is exact to one step of its metering, from both sides.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::{Home, ModelServer, Output, guests, model::Format};
use serde_json::json;

/// One step of the metering: a round of the guest's loop and what follows it; fuel is looked at once in each round.
const STEP: u64 = 64;

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
