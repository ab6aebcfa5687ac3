//! Agents and tools that would reach further than they may.

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::output::{in_call, message, refusal};
use hermes_tests::program::{ask, open, steps};
use serde_json::{Value, json};

use super::names::lists;
use super::{Case, Plugin};
use crate::hostile;
use crate::serves::Serves;

/// Imports that were not granted.
pub(crate) fn not_granted() -> Case {
    let program = [ask("hi"), open(), ChildSpec::probe(&json!({})).spawn()];
    let case = Case::steps("rights that were taken away", program).deny(&["llm", "blackboard", "delegation"]);
    case.sees(|seen| {
        // Whether a run or its parent took delegation away, an agent is not told.
        let words = ["--deny llm", "--deny blackboard", "taken away from the run"];
        for (seen, words) in seen.iter().zip(words) {
            assert_eq!(refusal(seen).as_deref(), Some("denied"), "{seen}");
            assert!(message(seen).contains(words), "{words}: {seen}");
        }
    })
}

/// A strategy that was granted a folder, which its tools alone have: it sees none.
pub(crate) fn strategy_folders() -> Case {
    let case = Case::run(hostile::A22_STRATEGY_FOLDERS, "go").file("desk/a.txt", "words");
    case.allow("fs:{work}/desk:rw").answers("0")
}

/// A strategy that was granted a server, which its tools alone reach: 15 is `HTTP-request-denied`.
pub(crate) fn strategy_http(served: &Serves) -> Case {
    let here = served.address.to_string();
    let case = Case::run(hostile::A22_STRATEGY_HTTP, &here);
    case.allow(format!("net:http://{here}")).answers("15")
}

/// An agent that gives up for want of a right says so by its exit code.
pub(crate) fn gives_up() -> Case {
    let program = json!({ "fail": { "kind": "Denied", "message": "I may not.", "retry_after_ms": null } });
    let case = Case::run(Plugin::Built("probe"), &program.to_string()).deny(&["llm"]);
    case.fails("denied", &["I may not."])
}

/// A child that was given a tool, and not the folder that the tool reads for its parent.
pub(crate) fn reaches_no_further() -> Case {
    let read = json!({ "do": "read", "root": "/held", "path": "x.txt" });
    let read = json!({ "do": "call", "name": "wasi", "arguments": { "steps": [read] } });
    let child = ChildSpec::probe(&steps(std::slice::from_ref(&read)));
    let child = child
        .with("toolsets", json!(["wasi"]))
        .with("grants", json!(["fs:none"]));
    let case =
        Case::steps("a tool in the hands of a child", [read, child.spawn(), join(0)]).tool(Plugin::Built("probe-wasi"));
    let case = case.file("held/x.txt", "for its parent").allow("fs:{work}/held");
    case.sees(|seen| {
        assert_eq!(in_call(&seen[0])[0]["ok"], "for its parent");
        assert_eq!(in_call(&inside(&seen[2])[0])[0]["error"], "bad-descriptor");
    })
}

/// A tool that has a folder and a host as its agent does, called by one that has neither; and by the agent itself, whom it serves.
pub(crate) fn reaches_no_further_by_a_tool(served: &Serves) -> Case {
    let here = served.address.to_string();
    let deputy = json!({ "steps": [
        { "do": "folders" },
        { "do": "read", "root": "/deputy", "path": "x.txt" },
        { "do": "send", "authority": here },
    ] });
    let direct = json!({ "do": "call", "name": "wasi", "arguments": deputy });
    let between = json!({ "do": "call", "name": "probe", "arguments": { "steps": [direct] } });
    let case = Case::steps("a tool in the hands of a tool", [direct, between]);
    let case = case
        .tool(Plugin::Built("probe-tool"))
        .tool(Plugin::Built("probe-wasi"))
        .file("deputy/x.txt", "for those who were granted it");
    let granted = ["probe", "probe-wasi"].iter().fold(case, |case, plugin| {
        case.allow(format!("{plugin}=fs:{{work}}/deputy"))
            .allow(format!("{plugin}=net:http://{here}"))
    });
    granted.sees(|seen| {
        let (direct, between) = (in_call(&seen[0]), in_call(&in_call(&seen[1])[0]));
        assert_eq!(direct[0]["ok"], json!(["/deputy"]));
        assert_eq!(direct[1]["ok"], "for those who were granted it");
        assert_eq!(direct[2]["ok"]["status"], 200, "{}", direct[2]);
        assert_eq!(between[0]["ok"], json!([]));
        assert_eq!(between[1]["error"], "bad-descriptor");
        assert_eq!(between[2]["error"], "HttpRequestDenied");
    })
}

/// What a child asks for that its parent has not, the kind of its refusal, and words of it.
fn specs() -> Vec<(ChildSpec, &'static str, &'static str)> {
    let spec = || ChildSpec::probe(&steps(&[]));
    let grants = |grant: &str| spec().with("grants", json!([grant]));
    vec![
        (spec().with("toolsets", json!(["terminal"])), "denied", "terminal"),
        (spec().with("toolsets", json!(["web"])), "denied", "web"),
        (grants("fs:./secret"), "denied", "fs:./secret"),
        (grants("fs:./papers:rw"), "denied", "fs:./papers:rw"),
        (grants("fs:/papers/../secret"), "denied", "secret"),
        (grants("fs:/"), "denied", "fs:/"),
        (grants("net:example.org"), "denied", "net:example.org"),
        (grants("net:*"), "denied", "net:*"),
        (grants("llm:fast"), "denied", "llm:fast"),
        (grants("secret:key@example.org"), "denied", "secret:key@example.org"),
        (grants("terminal:sh"), "denied", "terminal:sh"),
        (grants("moon:dark"), "invalid-input", "moon"),
        (spec().with("model", "fast"), "denied", "fast"),
        (spec().with("model", "http://127.0.0.1:1/v1"), "denied", "127.0.0.1"),
        (
            spec().with("strategy", "no-such-strategy"),
            "not-found",
            "no-such-strategy",
        ),
        (spec().with("strategy", "./probe.wasm"), "invalid-input", "path"),
        (spec().with("strategy", "files"), "invalid-input", "files"),
        (spec().with("role", " "), "invalid-input", "role"),
        (spec().with("inputs", "[1]"), "invalid-input", "inputs"),
        (
            spec().limit("Iterations", 201),
            "invalid-input",
            "limits.iterations.child_max",
        ),
        (spec().limit("ToolCalls", 8), "exhausted(tool-calls)", "tool-calls"),
    ]
}

/// A child that gets nothing that its parent has not, and whose own child gets no more.
pub(crate) fn children() -> Case {
    let specs = specs();
    let notes = |space: &str| json!([{ "space": space, "prefix": "", "access": "ReadWrite" }]);
    let below = ChildSpec::probe(&steps(&[])).with("spaces", notes("other"));
    let mut program: Vec<Value> = specs.iter().map(|(spec, ..)| spec.spawn()).collect();
    let between = ChildSpec::probe(&steps(&[below.spawn()]));
    program.push(between.with("spaces", notes("notes")).spawn());
    program.push(join(0));
    let case = Case::steps("children that ask for more", program);
    let case = case.file("papers/a.md", "words").file("secret/key", "words");
    let case = case.allow("fs:{work}/papers").budget("tool-calls=7");
    case.sees(move |seen| {
        for ((_, kind, words), seen) in specs.iter().zip(seen) {
            assert_eq!(refusal(seen).as_deref(), Some(*kind), "{words}: {seen}");
            assert!(message(seen).contains(words), "{words}: {seen}");
            // Where this machine's plugins lie does not concern an agent.
            assert!(!message(seen).contains("/plugins"), "{words}: {seen}");
        }
        let refused = &inside(&seen[specs.len() + 1])[0];
        let kind = refusal(refused).unwrap();
        assert_eq!(kind, "denied", "a space that its parent was not given");
        assert!(message(refused).contains("blackboard:other"));
    })
}

/// A child from which all is taken that can be, and one that has a tool of its parent's: what either gives its own child is no more.
pub(crate) fn empty_set() -> Case {
    let looks = [
        json!({ "do": "list-tools" }),
        json!({ "do": "call", "name": "wasi", "arguments": { "steps": [{ "do": "folders" }] } }),
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "models" }),
        ChildSpec::probe(&steps(&[])).with("toolsets", json!(["wasi"])).spawn(),
    ];
    let none = json!([
        "fs:none",
        "net:none",
        "llm:none",
        "blackboard:none",
        "delegation:none",
        "lessons:none"
    ]);
    let bare = ChildSpec::probe(&steps(&looks)).with("grants", none);
    let given = ChildSpec::probe(&steps(&looks)).with("toolsets", json!(["wasi"]));
    let program = [bare.spawn(), join(0), given.spawn(), join(1)];
    let case = Case::steps("an empty set", program).tool(Plugin::Built("probe-wasi"));
    case.file("papers/a.txt", "a paper")
        .allow("fs:{work}/papers")
        .sees(|seen| {
            let refused = |seen: &[Value]| [1, 2, 4].map(|n: usize| refusal(&seen[n]).unwrap_or_default());
            let bare = inside(&seen[1]);
            assert_eq!((&bare[0]["ok"], &bare[3]["ok"]), (&json!([]), &json!([])));
            assert_eq!(refused(&bare), ["not-found", "denied", "denied"], "{bare:?}");
            let given = inside(&seen[3]);
            assert_eq!(refused(&given), ["", "denied", ""], "{given:?}");
        })
}

/// Grants of the host's own folder, of what is in it and what it is in, by several ways to it, to be read and to be written.
pub(crate) fn hosts_own() -> Vec<Case> {
    let folders = [
        "{home}",
        "{home}/host",
        "{home}/host/cache",
        "{home}/plugins/../host",
        "{home}/..",
        "{work}/../home/host",
    ];
    let grants = |folder: &str| ["", ":rw"].map(|access| format!("fs:x={folder}{access}"));
    let case = |grant: String| {
        let case = Case::steps(&grant, Vec::<Value>::new()).allow(grant.clone());
        case.refused("grant", &["the host's own state"])
    };
    let mut cases: Vec<Case> = folders.into_iter().flat_map(grants).map(case).collect();
    cases.push(case("fs:x={work}/innocent".to_owned()).link("innocent", "../home/host"));
    cases.push(case("fs:x={work}/harmless:rw".to_owned()).link("harmless", "../home/host"));
    cases
}

/// Grants of where the kernel shows processes, itself and devices as files, by several ways to it.
pub(crate) fn kernels() -> Vec<Case> {
    let case = |folder: &str| {
        let grant = format!("fs:x={folder}");
        let case = Case::steps(&grant, Vec::<Value>::new()).allow(grant.clone());
        case.refused("grant", &["where the kernel shows processes and devices as files"])
    };
    let folders = [
        "/proc",
        "/proc/self",
        "/proc/../proc",
        "/sys",
        "/dev:rw",
        "/dev/fd",
        "/",
    ];
    let mut cases: Vec<Case> = folders.into_iter().map(case).collect();
    cases.push(case("{work}/kernel").link("kernel", "/proc/self"));
    cases
}

/// A folder that may be written, and holds a plugin that is named by its path: of an agent, and of a person's call.
pub(crate) fn plugins() -> [Case; 2] {
    let plugin = lists("rewritten", "told");
    let agent = Case::steps("a plugin that may be written", Vec::<Value>::new()).tool(plugin.clone());
    let call = Case::call("a called plugin that may be written", plugin, "told", json!({}));
    [agent, call].map(|case| {
        let case = case.allow("fs:x={work}:rw");
        case.refused("grant", &["rewrite", "rewritten.wasm", "read-only"])
    })
}
