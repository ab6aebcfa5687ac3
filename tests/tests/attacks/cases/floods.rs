//! Floods of what is only said: logs, streams, answers, results, files.

use hermes_tests::output::refusal;
use serde_json::json;

use super::{Case, Plugin};
use crate::hostile;

/// `limits.scrub.tool` where nobody set it.
const ROOM: usize = 48_000;

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

/// A result of as much as its reader has room for, and one of a byte more: that is cut, kept apart and named.
pub(crate) fn kept() -> Case {
    let big = |n: usize| json!({ "do": "call", "name": "big", "arguments": { "n": n } });
    let key = "0/1-2/0001";
    let program = [
        big(ROOM),
        big(ROOM + 1),
        json!({ "do": "open", "name": "spill" }),
        json!({ "do": "keys", "space": 0, "prefix": "", "limit": 9 }),
        json!({ "do": "get", "space": 0, "key": key }),
    ];
    let case = Case::steps("a result that is kept apart", program).tool(Plugin::Built("probe-tool"));
    case.sees(move |seen| {
        let text = |n: usize| {
            seen[n]["ok"]["output"]["content"][0]["Text"]
                .as_str()
                .unwrap_or_default()
        };
        assert_eq!(text(0), "x".repeat(ROOM));
        let named = format!("[whole text: spill/0/1-2, {} bytes]", ROOM + 1);
        assert!(text(1).len() < ROOM && text(1).ends_with(&named), "{}", seen[1]);
        assert_eq!(seen[3]["ok"], json!([key]));
        let whole = seen[4]["ok"]["value"]["data"].as_array().unwrap();
        assert_eq!(whole.len(), ROOM + 1);
        assert!(whole.iter().all(|byte| *byte == b'x'));
    })
}

/// A file of a tebibyte: 8 is `file-too-large`.
pub(crate) fn file() -> Case {
    let case = Case::measures(hostile::A17_SET_SIZE, "108");
    case.file("out/small", "x").allow("fs:{work}/out:rw")
}
