//! The strategy `supervisor` with real sub-agents: it plans, hands parts to `research`, judges, changes its plan where one failed, and joins
//! what came back.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::{Home, Output, guests};
use serde_json::{Value, json};

const ANSWER: &str = "Heat limits growth (/papers/melt.md:1), and so does the field (/papers/field.md:1).";

fn home(server: &ModelServer) -> Home {
    let home = Home::with_model(server, Format::OpenAi);
    home.write("papers/melt.md", "Latent heat must leave the tip.\n");
    home.write("papers/field.md", "The solute field sets the pace.\n");
    home
}

/// A researcher that reads one file and says what stands in it.
fn researcher(file: &str, words: &str) -> Vec<Turn> {
    vec![
        Turn::call("read_file", &json!({ "path": format!("/papers/{file}.md") })),
        Turn::text(format!("{words} (/papers/{file}.md:1).")),
    ]
}

fn supervise(home: &Home, inputs: Option<&Value>) -> Output {
    let host = home
        .host()
        .args([
            "--plugin",
            "supervisor",
            "What limits growth?",
            "--allow",
            "fs:./papers",
        ])
        .args(["--output", "json"]);
    match inputs {
        Some(inputs) => host.arg("--inputs").arg(inputs.to_string()).output(),
        None => host.output(),
    }
}

#[test]
fn parts_are_found_side_by_side_and_joined() {
    let plan = json!({ "tasks": [
        { "id": "melt", "role": "reader", "prompt": "FIND-MELT", "toolsets": ["filesystem"] },
        { "id": "field", "role": "physicist", "prompt": "FIND-FIELD", "toolsets": ["filesystem"] },
    ] });
    let script = Script::default()
        .when(
            "The task:",
            [
                Turn::text(plan.to_string()),
                Turn::text(r#"{"verdicts":[]}"#),
                Turn::text(ANSWER),
            ],
        )
        .when("FIND-MELT", researcher("melt", "Heat must leave"))
        .when("FIND-FIELD", researcher("field", "The field sets the pace"));
    let server = ModelServer::start(script);
    let home = home(&server);
    let output = supervise(&home, None).expect(0);
    let json = output.json();
    assert!(
        json["answer"].as_str().unwrap().contains("Heat limits growth"),
        "{json}"
    );
    let agents: Vec<_> = json["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["role"].clone())
        .collect();
    assert_eq!(agents, ["root", "reader", "physicist"]);
    let run = json["run"].as_str().unwrap();
    let tree = home.host().args(["tree", run]).output().expect(0).stdout;
    assert!(tree.contains("├─ reader") && tree.contains("└─ physicist"), "{tree}");
    let exported = home.host().args(["export", run]).output().expect(0).stdout;
    let lines: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |role: &str| lines.iter().find(|line| line["role"] == role).unwrap();
    let turns = of("reader")["conversations"].as_array().unwrap().clone();
    let from: Vec<_> = turns.iter().map(|turn| turn["from"].as_str().unwrap()).collect();
    assert!(
        from.starts_with(&["system", "human", "function_call", "observation"]),
        "{from:?}"
    );
    let exported = home
        .host()
        .args(["export", run, "--form", "provider"])
        .output()
        .expect(0)
        .stdout;
    let mut lines = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(|line| line["role"] == "physicist").unwrap();
    assert!(
        line["messages"].as_array().unwrap().iter().any(|m| m["role"] == "tool"),
        "{line}"
    );
}

#[test]
fn analysis_is_skipped_where_research_failed() {
    let script = Script::default().when(
        "The task:",
        [
            Turn::text(r#"{"prompt":"Look once more."}"#),
            Turn::text("Nothing came of it."),
        ],
    );
    let server = ModelServer::start(script);
    let home = home(&server);
    let plugins = home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(guests::built("trap"), plugins.join("trap.wasm")).unwrap();
    let inputs = json!({ "strategies": ["trap", "research"], "plan": [
        { "id": "research", "role": "researcher", "prompt": "FIND", "strategy": "trap" },
        { "id": "analysis", "role": "analyst", "prompt": "ANALYSE", "after": ["research"] },
    ] });
    let output = supervise(&home, Some(&inputs)).expect(1);
    let json = output.json();
    let agents: Vec<_> = json["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["exit"].clone())
        .collect();
    assert_eq!(
        agents,
        ["returned", "trapped", "trapped"],
        "once, and once more: {json}"
    );
    assert_eq!(
        (&json["outcome"], &json["agents"][1]["attempts"]),
        (&json!("not-achieved"), &json!(2))
    );
    let answer = json["answer"].as_str().unwrap();
    assert!(answer.contains("analyst analysis: skipped"), "{answer}");
}
