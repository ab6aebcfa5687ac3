//! Agents that spawn, fail or call without end.

use hermes_tests::child::{ChildSpec, exit, inside, join};
use hermes_tests::model::{Script, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::steps;
use serde_json::{Value, json};

use super::{Case, Plugin};

/// An agent that spawns itself five times, each below the other.
pub(crate) fn nested() -> Case {
    let below = |inner: &Value| [ChildSpec::probe(inner).spawn(), json!({ "do": "join-last" })];
    let inner = (0..4).fold(steps(&[]), |inner, _| steps(&below(&inner)));
    Case::steps("agents below one another", below(&inner)).sees(|seen| {
        let mut seen = seen.to_vec();
        for depth in 1..=4 {
            assert_eq!(refusal(&seen[0]), None, "depth {depth}");
            seen = inside(&seen[1]);
        }
        assert_eq!(refusal(&seen[0]).unwrap(), "exhausted(children)");
        assert!(message(&seen[0]).contains("limits.delegation.depth"), "{seen:?}");
    })
}

/// Seventeen that are alive at once.
pub(crate) fn alive() -> Case {
    let parked = ChildSpec::parked(60_000);
    let mut program: Vec<Value> = (0..17).map(|_| parked.spawn()).collect();
    program.extend((0..16).map(|n| json!({ "do": "cancel-child", "child": n })));
    program.extend((0..16).map(join));
    Case::steps("agents at once", program).sees(|seen| {
        assert_eq!(refusal(&seen[15]), None);
        assert_eq!(refusal(&seen[16]).unwrap(), "exhausted(children)");
        assert!(message(&seen[16]).contains("limits.delegation.alive"), "{}", seen[16]);
        assert!((33..49).all(|n| exit(&seen[n]) == "Cancelled"), "{seen:?}");
    })
}

/// Seventy, one after the other.
pub(crate) fn in_all() -> Case {
    let child = ChildSpec::probe(&steps(&[])).spawn();
    let each = json!({ "do": "repeat", "n": 70, "until_error": true, "steps": [child, { "do": "join-last" }] });
    Case::steps("agents after one another", [each]).sees(|seen| {
        assert_eq!(seen[0]["ok"]["rounds"], 64);
        let last = &seen[0]["ok"]["last"][0];
        assert_eq!(refusal(last).unwrap(), "exhausted(children)");
        assert!(message(last).contains("limits.delegation.total"), "{last}");
    })
}

/// A call that always fails, by a model that never gives it up.
pub(crate) fn always_fails() -> Case {
    const ASKED: &str = "Go on until it works.";
    let call = Turn::call("fail", &json!({ "text": "try again" }));
    let agent = json!({ "do": "agent", "user": ASKED, "turns": 100 });
    let case = Case::probe("a call that always fails", &[agent]).tool(Plugin::Built("probe-tool"));
    case.when(ASKED, Script::always(call))
        .budget("iterations=12")
        .fails("exhausted(iterations)", &["--budget iterations=N"])
}
