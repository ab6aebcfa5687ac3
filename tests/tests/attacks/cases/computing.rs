//! Guests that compute and never come back, or try to compute for nothing.

use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::program::{ask, open};
use serde_json::{Value, json};

use super::{Case, Plugin};
use crate::hostile;

const STEP: &str = "limits.step_wall";

/// What never comes back from its run, and never calls the host.
pub(crate) fn loops() -> [Case; 2] {
    [hostile::A01_LOOP, hostile::A01_TAIL_CALL].map(|guest| Case::run(guest, "go").times_out(STEP))
}

/// What enters the host for ever, by calls that are not the host's own.
pub(crate) fn foreign_calls() -> [Case; 2] {
    let names = ["100000", "limits.host_calls_all"];
    [hostile::A01_CLOCK, hostile::A03_GROW].map(|guest| Case::run(guest, "go").fails("exhausted(host-calls)", &names))
}

/// What never comes back from its start.
pub(crate) fn starts() -> [Case; 2] {
    [hostile::A02_START, hostile::A02_INITIALIZE].map(|guest| Case::run(guest, "go").times_out("limits.start_wall"))
}

/// As many segments as a module may have, and one more.
pub(crate) fn segments() -> [Case; 2] {
    let data = |segments: usize| "(data (i32.const 512) \"x\")\n".repeat(segments);
    // One is there already.
    let most = hostile::A02_SEGMENTS.with("segments", &data(100_000 - 1));
    // With one more it would not be assembled as a guest of the contract.
    let text = hostile::A02_SEGMENTS.text.replace(";; segments", &data(100_000));
    let core = format!("(component (core {})", text.split_once('(').unwrap().1.trim_end());
    let more = hermes_tests::guests::assemble(&core, &[]);
    [
        Case::run(Plugin::made("segments", most), "go"),
        Case::run(Plugin::made("segments", more), "go").refused("load(bad-bytes)", &["segments.wasm", "data segments"]),
    ]
}

/// A length that is more than there is.
pub(crate) fn lengths() -> [Case; 2] {
    let run = || Case::run(hostile::A03_LENGTH, "go");
    [
        run().fails("trapped", &["out of bounds memory access"]),
        run()
            .budget("fuel=1000000")
            .fails("exhausted(fuel)", &["--budget fuel"]),
    ]
}

/// An answer of the host that is never taken.
pub(crate) fn never_taken() -> Case {
    Case::run(hostile::A04_RESULT, "go").times_out(STEP)
}

/// Memory that is given out wrongly.
pub(crate) fn given_out_wrongly() -> [Case; 4] {
    let run = |guest| Case::run(guest, "a task");
    [
        run(hostile::A04_OUT_OF_RANGE).fails("trapped", &["realloc"]),
        run(hostile::A04_UNALIGNED).fails("trapped", &["realloc"]),
        run(hostile::A04_CALLS).fails("trapped", &["cannot leave component instance"]),
        run(hostile::A04_SAME),
    ]
}

/// What it returned is no end, as it has not come back.
pub(crate) fn post_return() -> Case {
    Case::run(hostile::A04_POST_RETURN, "a task").times_out(STEP)
}

/// Instructions over all that there is.
pub(crate) fn bulk() -> [Case; 4] {
    ["f", "c", "t", "i"].map(|what| Case::run(hostile::A05_BULK, what).times_out(STEP))
}

/// Opens a space, and does `step` so many times.
pub(crate) fn calls(n: u64, step: &Value) -> [Value; 2] {
    [open(), json!({ "do": "repeat", "n": n, "steps": [step] })]
}

/// As many of the host's own calls as a step may have, to open a space being one of them, and one more.
pub(crate) fn own_calls() -> [Case; 2] {
    let cancelled = json!({ "do": "cancelled" });
    let names = ["10000", "limits.host_calls"];
    [
        Case::probe("as many calls as there may be", &calls(9_999, &cancelled)),
        Case::probe("a call too many", &calls(10_000, &cancelled)).fails("exhausted(host-calls)", &names),
    ]
}

/// Leaves with a success, and without an answer.
pub(crate) fn leaves() -> Case {
    Case::run(hostile::A09_EXIT, "go").fails("no-answer", &["exited with 0", "no answer"])
}

/// A child that crashes when it has spent all but one of its iterations, and may be started again more often than they last.
pub(crate) fn refilled() -> Case {
    let asks = json!({ "do": "repeat", "n": 9, "steps": [ask("hi")] });
    let child = ChildSpec::probe(&json!({ "steps": [asks, { "do": "trap" }] }));
    let child = child.with("max_attempts", 4).limit("Iterations", 10);
    Case::steps("a crash to be refilled", [child.spawn(), join(0)]).sees(|seen| {
        assert_eq!(exit(&seen[1]), "Exhausted(Iterations)", "{}", seen[1]);
        let joined = &seen[1]["ok"];
        assert_eq!(joined["attempts"], 2, "nothing is left for a third");
        let spent = json!({ "dimension": "Iterations", "value": 10 });
        assert!(joined["spent"].as_array().unwrap().contains(&spent), "{joined}");
    })
}
