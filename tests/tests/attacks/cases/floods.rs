//! Floods of what is only said: logs, streams, answers, results, files.

use hermes_tests::output::refusal;
use serde_json::json;

use super::{Case, Plugin};
use crate::hostile;

/// More lines than a step may have calls.
pub(crate) fn lines() -> Case {
    Case::run(hostile::A16_LINES, "n1000000").fails("exhausted(host-calls)", &["limits.host_calls"])
}

/// A line of ten mebibytes.
pub(crate) fn line() -> Case {
    Case::run(hostile::A12_LOG, "n10485760")
}

/// Standard output and error: many lines, one without an end that is cut in the middle of a letter, and lines that are empty.
pub(crate) fn streams() -> [Case; 3] {
    ["n1000", "o1000", "b1000"].map(|what| Case::run(hostile::A16_STREAMS, what))
}

/// An answer of sixty mebibytes.
pub(crate) fn answer() -> Case {
    Case::run(hostile::A17_REPORT, "n62914560").fails("trapped", &["limits.hostcall_bytes"])
}

/// A result of fifty mebibytes.
pub(crate) fn result() -> Case {
    let big = json!({ "do": "call", "name": "big", "arguments": { "n": 50 << 20 } });
    let case = Case::steps("a result of fifty mebibytes", [big]).tool(Plugin::Built("probe-tool"));
    case.sees(|seen| assert_eq!(refusal(&seen[0]).as_deref(), Some("upstream"), "{}", seen[0]))
}

/// A file of a tebibyte: 8 is `file-too-large`.
pub(crate) fn file() -> Case {
    let case = Case::measures(hostile::A17_SET_SIZE, "108");
    case.file("out/small", "x").allow("fs:{work}/out:rw")
}
