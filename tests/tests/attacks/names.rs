//! Names that could be taken for others: of spaces, keys, runs, tools and plugins.

use std::fs;

use hermes_tests::output::refusal;
use hermes_tests::program::steps;
use hermes_tests::{Host, guests};
use serde_json::json;

use crate::cases;
use crate::cases::lists::Listed;
use crate::cases::names::{CLASH, get, open, put};
use crate::lists::plant;
use crate::site::Site;

#[test]
fn a24_names_are_bytes_and_no_two_are_one() {
    let site = Site::new();
    site.tries(&cases::names::alike());
    site.is_well();
}

#[test]
fn a24_another_runs_names_lead_to_nothing() {
    let site = Site::new();
    let owner = site.attack(
        site.host()
            .probe(&steps(&[open("notes"), put(0, "plan", "a canary of another run")])),
    );
    let other = owner.output.json()["run"].as_str().unwrap().to_owned();
    site.attack(
        site.host()
            .args(["blackboard", "put", "shared", "plan", "a canary of the home folder"]),
    );
    let spaces = [
        format!("{other}/notes"),
        format!("{other}.0/notes"),
        format!("{other}:notes"),
        format!("/{other}/notes"),
        format!("../{other}/notes"),
        "notes".into(),
        "shared".into(),
        "/shared".into(),
        "../common".into(),
        "home/shared".into(),
        "spill".into(),
        "notes' OR '1'='1".into(),
        "notes\"; DROP TABLE entries; --".into(),
        "%".into(),
        "_____".into(),
        "*".into(),
    ];
    let keys = ["plan", "notes/plan", "%", "plan' OR '1'='1"];
    let mut program = Vec::new();
    for (n, space) in spaces.iter().enumerate() {
        program.push(open(space));
        program.extend(keys.map(|key| get(n, key)));
        program.push(json!({ "do": "keys", "space": n, "prefix": "", "limit": 1000 }));
        program.push(json!({ "do": "changes", "space": n, "prefix": "", "since": 0, "wait_ms": 0 }));
        program.push(json!({ "do": "delete", "space": n, "key": "plan" }));
        program.push(put(n, "plan", "overwritten"));
    }
    let attacked = site.attack(site.host().probe(&steps(&program)));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    assert!(
        !attacked.output.stdout.contains("a canary of"),
        "{}",
        attacked.output.stdout
    );
    let seen = attacked.output.seen();
    let odd = [open(&format!("{other}\0notes")), open("\u{1b}[2Jnotes"), open("")];
    let odd = site.attack(site.host().probe(&steps(&odd))).output.seen();
    let refused: Vec<_> = odd.iter().map(|seen| refusal(seen).unwrap_or_default()).collect();
    assert_eq!(refused, ["invalid-input"; 3], "{odd:?}");
    for (space, seen) in spaces.iter().zip(seen.chunks(keys.len() + 5)) {
        assert_eq!(refusal(&seen[0]), None, "{space:?}: a name like any other");
        let empty = seen[1..=keys.len()]
            .iter()
            .all(|seen| seen["ok"].is_null() && seen["error"].is_null());
        assert!(empty, "{space:?}: {seen:?}");
        assert_eq!((&seen[5]["ok"], &seen[6]["ok"]), (&json!([]), &json!([])), "{space:?}");
    }
    for (space, value) in [
        (format!("{other}/notes"), "a canary of another run"),
        ("shared".to_owned(), "a canary of the home folder"),
    ] {
        let kept = site.attack(site.host().args(["blackboard", "get", &space, "plan"]));
        assert_eq!(kept.output.stdout, value, "{:?}", kept.output);
    }
    site.is_well();
}

#[test]
fn a24_what_is_not_given_is_told_alike_be_it_there_or_not() {
    let site = Site::new();
    site.attack(
        site.host()
            .args(["blackboard", "put", "shared", "plan", "a canary of the home folder"]),
    );
    site.tries(&cases::names::not_given());
    site.is_well();
}

/// An agent with these tools, which looks at its list.
fn run(site: &Site, tools: &[String]) -> Host {
    let host = tools.iter().fold(site.host(), |host, tool| host.args(["--tool", tool]));
    host.probe(&steps(&[json!({ "do": "list-tools" })]))
}

#[test]
fn a27_two_tools_of_one_name_are_refused_by_both_names() {
    let site = Site::new();
    let tool = |file: &str, name: &str| plant(&site, file, &[Listed::named(name)], file).display().to_string();
    let (one, other) = (tool("good/search.wasm", "search"), tool("evil/finder.wasm", "search"));
    for case in cases::names::tools() {
        site.tries(&case);
    }
    let prefixed = site.attack(run(&site, &[one.clone(), format!("evil={other}")]));
    assert_eq!(prefixed.output.code, Some(0), "{:?}", prefixed.output);
    let names = prefixed.output.seen()[0].to_string();
    assert!(
        names.contains("\"search\"") && names.contains("\"evil_search\""),
        "{names}"
    );
    // A prefix that makes a name which is there.
    let (long, short) = (tool("good/a.wasm", "b_search"), tool("evil/b.wasm", "search"));
    site.attack(run(&site, &[long, format!("b={short}")]))
        .refused(&["two tools are called b_search"])
        .of_kind(CLASH);
    // Alike is not the same: what differs in case is told apart.
    let upper = tool("evil/upper.wasm", "Search");
    let attacked = site.attack(run(&site, &[one, upper]));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    site.is_well();
}

#[test]
fn a27_a_plugin_is_whom_the_operator_named() {
    let site = Site::new();
    let evil = |file: &str, name: &str| {
        plant(&site, file, &[Listed::named(name)], "from a stranger")
            .display()
            .to_string()
    };
    // Two files of one name are none.
    let (one, other) = (evil("a/weather.wasm", "one"), evil("b/weather.wasm", "other"));
    site.attack(run(&site, &[one.clone(), other]))
        .refused(&["both called weather", "a/weather.wasm", "b/weather.wasm"])
        .of_kind(CLASH);
    // One that is called as what the host brings takes its place only where it is named, and that is said.
    let script = evil("d/script.wasm", "run_script");
    let attacked = site.attack(run(&site, &[script]));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    assert!(
        attacked.output.stderr.contains("script is"),
        "{}",
        attacked.output.stderr
    );
    assert!(
        attacked
            .output
            .stderr
            .contains("d/script.wasm here, not the built-in one"),
        "{}",
        attacked.output.stderr
    );
    // Beside a strategy, in the folder where it is run or among the home folder's plugins it is not even found.
    let call = json!({ "do": "call", "name": "run_script", "arguments": { "script": "6 * 7" } });
    let component = fs::read(site.home.work().join("d/script.wasm")).unwrap();
    fs::create_dir_all(site.home.path().join("plugins")).unwrap();
    fs::write(site.home.path().join("plugins/script.wasm"), &component).unwrap();
    site.home.write("script.wasm", &component);
    site.home.write("download/script.wasm", &component);
    let strategy = site
        .home
        .write("download/agent.wasm", fs::read(guests::built("probe")).unwrap());
    let attacked = site.attack(site.host().run(&strategy, &steps(&[call]).to_string()));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen().remove(0).to_string();
    assert!(seen.contains("42") && !seen.contains("from a stranger"), "{seen}");
    for case in cases::names::plugins() {
        site.tries(&case);
    }
    site.is_well();
}
