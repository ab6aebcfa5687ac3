use super::*;
use serde_json::json;

fn choice() -> Choice {
    let strategy = |name: &str| Strategy {
        name: name.into(),
        about: String::new(),
    };
    Choice {
        strategies: vec![strategy("research"), strategy("critic")],
        toolsets: vec!["filesystem".into(), "web".into()],
    }
}

fn error(answer: &Value, maker: Maker) -> String {
    read(answer, &choice(), maker).unwrap_err()
}

#[test]
fn a_plan_is_read_with_its_defaults() {
    let answer = json!({ "tasks": [
        { "id": "Melt Data", "prompt": "Find it." },
        { "id": "b", "role": "an  analyst", "prompt": "Reckon.", "strategy": "critic", "toolsets": [], "after": ["Melt Data"],
          "iterations": 900 },
    ]});
    let tasks = read(&answer, &choice(), Maker::Model).unwrap();
    assert_eq!(
        (tasks[0].id.as_str(), tasks[0].role.as_str(), tasks[0].strategy.as_str()),
        ("melt-data", "researcher", "research")
    );
    assert_eq!(
        tasks[0].toolsets,
        ["filesystem", "web"],
        "all of them where it names none"
    );
    assert!(tasks[1].toolsets.is_empty(), "an empty list means none");
    assert_eq!(
        (tasks[1].after[0].as_str(), tasks[1].iterations),
        ("melt-data", Some(100))
    );
    assert_eq!(tasks[1].label(), "an analyst b");
}

#[test]
fn what_a_model_may_not_choose_is_told() {
    let two = |extra: Value| {
        let mut first = json!({ "id": "a", "prompt": "x" });
        first
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!([first, { "id": "b", "prompt": "y" }])
    };
    let strategy = error(&two(json!({ "strategy": "hack" })), Maker::Model);
    assert_eq!(
        strategy,
        "sub-task `a` has the strategy `hack`; there are research, critic"
    );
    let terminal = two(json!({ "toolsets": ["web", "terminal"] }));
    assert!(error(&terminal, Maker::Model).contains("`terminal`; there are filesystem, web"));
    let again = read(&terminal, &choice(), Maker::ModelAgain).unwrap();
    assert_eq!(again[0].toolsets, ["web"], "left out when it was told once");
    let given = read(&terminal, &choice(), Maker::Giver).unwrap();
    assert_eq!(
        given[0].toolsets,
        ["web", "terminal"],
        "the host decides on what the giver asks for"
    );
}

#[test]
fn the_number_of_sub_tasks_is_held() {
    let many = |count: usize| Value::Array((0..count).map(|n| json!({ "id": n, "prompt": "x" })).collect());
    for (maker, good, bad) in [
        (Maker::Model, [2, 6], [1, 7]),
        (Maker::ModelAgain, [1, 6], [0, 7]),
        (Maker::Giver, [1, 16], [0, 17]),
    ] {
        for count in good {
            assert_eq!(read(&many(count), &choice(), maker).unwrap().len(), count, "{maker:?}");
        }
        for count in bad {
            assert!(error(&many(count), maker).contains("sub-tasks"), "{maker:?} {count}");
        }
    }
}

#[test]
fn ids_and_needs_must_fit() {
    let plan = |tasks: Value| error(&tasks, Maker::Giver);
    assert!(plan(json!([{ "id": "a", "prompt": "x" }, { "id": "A", "prompt": "y" }])).contains("two sub-tasks"));
    assert!(plan(json!([{ "id": "a", "prompt": "x", "after": ["z"] }])).contains("`z`, which is not there"));
    assert!(plan(json!([{ "id": "a" }])).contains("no `prompt`"));
    assert!(plan(json!({ "plan": "later" })).contains("no list"));
}

#[test]
fn cycles_are_found_whatever_hangs_on_them() {
    let after = |id: &str, after: &[&str]| json!({ "id": id, "prompt": "x", "after": after });
    let good = json!([after("c", &["a", "b"]), after("b", &["a"]), after("a", &[])]);
    assert!(
        read(&good, &choice(), Maker::Model).is_ok(),
        "the order of the list says nothing"
    );
    let itself = error(&json!([after("a", &["a"])]), Maker::Giver);
    assert_eq!(itself, "these sub-tasks wait for one another: a");
    let ring = json!([
        after("free", &[]),
        after("a", &["b", "free"]),
        after("b", &["a"]),
        after("end", &["b"])
    ]);
    assert!(error(&ring, Maker::Model).ends_with("a, b, end"));
}
