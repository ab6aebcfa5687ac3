//! What a hostile tool is told by WASI: it sends whatever it likes, and no library has looked at it before.

pub(crate) use hermes_tests::output::in_call;
use hermes_tests::{Host, Output, guests};
use serde_json::{Value, json};

use crate::site::Site;

/// A command that calls the tool with these steps, and asks for JSON.
pub(crate) fn calls(host: Host, steps: &[Value]) -> Host {
    let program = json!({ "steps": steps }).to_string();
    let host = host.arg("call").arg(guests::built("probe-wasi"));
    host.args(["wasi", &program, "--output", "json"])
}

/// What each step told a tool with these grants, and what the command printed.
#[track_caller]
pub(crate) fn told(site: &Site, grants: &[&str], steps: &[Value]) -> (Vec<Value>, Output) {
    told_by(site, site.host(), grants, steps)
}

/// The same by a host of its own.
#[track_caller]
pub(crate) fn told_by(site: &Site, host: Host, grants: &[&str], steps: &[Value]) -> (Vec<Value>, Output) {
    // What comes before the word `call` would be taken for a run's.
    let host = calls(host, steps);
    let host = grants.iter().fold(host, |host, grant| host.args(["--allow", grant]));
    let output = site.attack(host).output;
    assert_eq!(output.code, Some(0), "{output:?}");
    let seen = output.json()["structured"]["seen"].clone();
    (seen.as_array().unwrap().clone(), output)
}

/// The step of an agent that has the tool do these steps.
pub(crate) fn call(steps: &[Value]) -> Value {
    json!({ "do": "call", "name": "wasi", "arguments": { "steps": steps } })
}

/// An agent that may call the tool.
pub(crate) fn agent(host: Host) -> Host {
    host.arg("--tool").arg(guests::built("probe-wasi"))
}
