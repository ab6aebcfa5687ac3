//! Names that could be taken for others: of spaces, keys, runs, tools and plugins.

use std::fs;

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::steps;
use hermes_tests::{Host, guests};
use serde_json::{Value, json};

use crate::cases;
use crate::cases::lists::Listed;
use crate::cases::names::{CLASH, get, open, put, text};
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
    let shares = json!([{ "space": "notes", "prefix": "mine", "access": "ReadOnly" }]);
    // Each pair is of one that is there and one that is not; for the child they are the same.
    let spaces = ["secret", "nowhere", "shared", "nobodys", "notes2"];
    let keys = ["theirs/1", "theirs/2", "mine2", "mines", "MINE/1", "mine\u{0}/1"];
    let mut looks: Vec<Value> = spaces.iter().map(|space| open(space)).collect();
    looks.push(open("notes"));
    looks.extend(keys.map(|key| get(0, key)));
    looks.extend([get(0, "mine/1"), get(0, "mine/2"), put(0, "mine/1", "x")]);
    let next = |after: Value| json!({ "do": "keys", "space": 0, "prefix": "", "after": after, "limit": 1 });
    looks.extend([next(Value::Null), next(json!("mine/1"))]);
    let child = ChildSpec::probe(&steps(&looks)).with("spaces", shares);
    let program = [
        open("notes"),
        put(0, "theirs/1", "a canary of its parent"),
        put(0, "mine2", "a canary of its parent"),
        put(0, "mine/1", "the child's"),
        open("secret"),
        put(1, "k", "a canary of its parent"),
        child.spawn(),
        join(0),
    ];
    let attacked = site.attack(site.host().probe(&steps(&program)));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    let seen = inside(&seen[7]);
    let words = |seen: &Value, name: &str| message(seen).replace(name, "NAME");
    for (n, space) in spaces.iter().enumerate() {
        assert_eq!(refusal(&seen[n]).as_deref(), Some("denied"), "{space}: {}", seen[n]);
        assert_eq!(words(&seen[n], space), words(&seen[0], spaces[0]), "{space}");
    }
    let first = spaces.len() + 1;
    for (n, key) in keys.iter().enumerate().take(5) {
        let told = &seen[first + n];
        assert_eq!(refusal(told).as_deref(), Some("denied"), "{key}: {told}");
        assert_eq!(words(told, key), words(&seen[first], keys[0]), "{key}");
    }
    assert_eq!(
        refusal(&seen[first + 5]).as_deref(),
        Some("denied"),
        "{}",
        seen[first + 5]
    );
    let own = &seen[first + keys.len()..];
    assert_eq!(
        (text(&own[0]).as_deref(), &own[1]["ok"]),
        (Some("the child's"), &Value::Null)
    );
    // One by one, what it may not see is passed over.
    assert_eq!((&own[3]["ok"], &own[4]["ok"]), (&json!(["mine/1"]), &json!([])));
    assert_eq!(refusal(&own[2]).as_deref(), Some("denied"), "it may read alone");
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
    let probe = evil("c/probe.wasm", "one");
    site.attack(run(&site, &[probe]))
        .refused(&["both called probe"])
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
    // Names of the host's own are names like others, and give nothing.
    for name in ["host", "run", "root", "hermes", "filesystem", "llm"] {
        let file = evil(&format!("names/{name}.wasm"), name);
        let attacked = site.attack(run(&site, &[file]));
        assert_eq!(attacked.output.code, Some(0), "{name}: {:?}", attacked.output);
    }
    site.is_well();
}
