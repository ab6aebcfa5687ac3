//! Values that no honest guest passes: enormous, malformed, forged.

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::output::{message, refusal};
use serde_json::json;

use super::{Case, Plugin};
use crate::hostile::{self, Guest};

const BYTES: &str = "limits.hostcall_bytes";

fn trapped(guest: Guest, prompt: &str, words: &str) -> Case {
    Case::run(guest, prompt).fails("trapped", &[words])
}

/// Texts that are none.
pub(crate) fn no_texts() -> [Case; 3] {
    [("o", "out of bounds"), ("u", "utf-8"), ("d", "discriminant")]
        .map(|(what, words)| trapped(hostile::A12_LOG, what, words))
}

/// A text of sixty mebibytes, one to the last byte that may cross, and one with a byte more.
pub(crate) fn long_texts() -> [Case; 3] {
    let logs = |bytes: u64| format!("n{bytes}");
    [
        trapped(hostile::A12_LOG, &logs(60 << 20), BYTES),
        Case::run(hostile::A12_LOG, &logs(16 << 20)),
        trapped(hostile::A12_LOG, &logs((16 << 20) + 1), BYTES),
    ]
}

/// A million empty texts.
pub(crate) fn many_texts() -> Case {
    trapped(hostile::A12_STRINGS, "n1000000", BYTES)
}

/// A million million random bytes.
pub(crate) fn random() -> Case {
    trapped(hostile::A12_RANDOM, "go", "limits.random")
}

/// A million timers in one wait.
pub(crate) fn timers() -> Case {
    trapped(hostile::A12_POLL, "n1700000", BYTES)
}

/// One call that is waited for a thousand times in one list, and a million times: the engine lends a store no more handles than it may have.
pub(crate) fn waits() -> [Case; 2] {
    [
        Case::run(hostile::A12_WAITS, "n1000"),
        trapped(hostile::A12_WAITS, "n1000000", "store handle limit exceeded"),
    ]
}

/// Children with a grant of sixteen megabytes.
pub(crate) fn long_grants() -> Case {
    let spawn = |before: &str, part: &str, times: usize| {
        let mut step = ChildSpec::probe(&json!({})).spawn();
        step["do"] = json!("spawn-with-grant");
        step["grant"] = json!([before, part, "@x"]);
        step["times"] = json!(times);
        step
    };
    let spawns = [spawn("net:", ",", 16_000_000), spawn("fs:/", "a/", 8_000_000)];
    Case::steps("a grant of sixteen megabytes", spawns).sees(|seen| {
        for seen in seen {
            assert_eq!(refusal(seen).as_deref(), Some("invalid-input"), "{seen}");
            let said = message(seen);
            assert!(said.contains("4608 are the most") && said.len() < 300, "{said}");
        }
    })
}

/// A report of sixty mebibytes.
pub(crate) fn huge_report() -> Case {
    Case::run(Plugin::Built("huge-report"), "go").fails("trapped", &[BYTES])
}

/// What is told of a handle that a guest has not.
pub(crate) const UNKNOWN_HANDLE: &str = "unknown handle index";

/// Handles that are forged: the next number after the one that a guest has, one far off, and what was a handle or is another's kind. None can be kept past
/// a call that lent it: no export of the contract is given a handle.
pub(crate) fn forged_handles() -> [Case; 6] {
    let forged = [
        ("f2", UNKNOWN_HANDLE),
        ("f7777", UNKNOWN_HANDLE),
        ("u", UNKNOWN_HANDLE),
        ("d", UNKNOWN_HANDLE),
        ("w", "wrong type"),
    ];
    let [two, many, used, dropped, wrong] = forged.map(|(what, words)| trapped(hostile::A14_HANDLES, what, words));
    // They are counted from one.
    [Case::run(hostile::A14_HANDLES, "f1"), two, many, used, dropped, wrong]
}

/// Handles that nobody drops: those that are asked for are refused, those that come in any case trap.
pub(crate) fn kept_handles() -> [Case; 4] {
    let open = json!({ "do": "open", "name": "notes" });
    let all = json!({ "do": "repeat", "n": 300, "until_error": true, "steps": [open] });
    let opens = Case::steps("handles that nobody drops", [all]).sees(|seen| {
        assert_eq!(seen[0]["ok"]["rounds"], 256);
        let last = &seen[0]["ok"]["last"][0];
        assert_eq!(refusal(last).as_deref(), Some("rate-limited"));
        let said = message(last);
        assert!(said.contains("256") && said.contains("limits.resources"), "{last}");
    });
    // Those of a list of children count in no bound, and leave no room for others.
    let start = json!({ "do": "start-call", "name": "missing" });
    let listed = |more: usize| {
        let mut all = vec![
            ChildSpec::probe(&json!({ "steps": [] })).spawn(),
            join(0),
            json!({ "do": "repeat", "n": 1023, "steps": [start] }),
            json!({ "do": "adopt-children" }),
        ];
        all.extend(vec![start.clone(); more]);
        Case::probe("children that are listed", &all)
    };
    let full = |case: Case| case.fails("trapped", &["limits.handles"]);
    [opens, full(starts(1024 + 1)), listed(0), full(listed(1))]
}

/// Calls with much to keep whose handles are dropped at once: they are in flight all the same.
pub(crate) fn dropped_calls() -> Case {
    // All that are let in run at once, and end while whoever asks next waits.
    let sleep = json!({ "steps": [{ "do": "sleep", "ms": 7_000 }] });
    let all = json!({ "do": "call-after-dropped", "name": "probe", "arguments": sleep, "pad": 4 << 20, "n": 40 });
    let case = Case::steps("calls whose handles are dropped", [all]).tool(Plugin::Built("probe-tool"));
    case.sees(|seen| {
        assert_eq!(refusal(&seen[0]).as_deref(), Some("rate-limited"), "{}", seen[0]);
        assert!(message(&seen[0]).contains("limits.in_flight"), "{}", seen[0]);
    })
}

/// The most of a method, of a host, and of the body that the host takes of a request that nobody reads.
const METHOD: usize = 64;
const AUTHORITY: usize = 320;
const BODY: usize = 2 * (16 << 10);

/// Requests that are made and never sent, by a tool that was granted nothing: their parts, and how many of them, to the last.
pub(crate) fn requests() -> Vec<Case> {
    let all: u64 = 128;
    let make = Case::wasi;
    let one = |part: &str, bytes: usize| json!({ "do": "make", "requests": 1, part: bytes });
    let parts = [
        one("method", METHOD),
        one("method", METHOD + 1),
        one("method", 15 << 20),
        one("authority", AUTHORITY),
        one("authority", AUTHORITY + 1),
    ];
    let whole = json!({
        "do": "make", "requests": all, "method": METHOD, "authority": AUTHORITY, "body": 1 << 20,
    });
    vec![
        make("requests of odd parts", &parts).sees(|seen| {
            let told: Vec<_> = seen.iter().map(|seen| seen["error"].as_str()).collect();
            let (method, host) = (Some("the method is refused"), Some("the authority is refused"));
            assert_eq!(told, [None, method, method, None, host]);
        }),
        make("an answer to nobody", &[json!({ "do": "respond" })]).fails("upstream", &["answers no HTTP requests"]),
        make("requests that nobody sends", &[whole]).sees(move |seen| assert_eq!(seen[0]["ok"], all * BODY as u64)),
        make(
            "requests that never end",
            &[json!({ "do": "send-unended", "requests": all, "body": 1 << 19 })],
        )
        .sees(move |seen| {
            let taken = seen[0]["ok"].as_u64();
            assert!(taken.is_some_and(|taken| taken <= all * BODY as u64), "{}", seen[0]);
        }),
        make("one request too many", &[json!({ "do": "make", "requests": all + 1 })])
            .fails("upstream", &["crashed: 128 HTTP requests", "limits.http.open"]),
    ]
}

/// A call that is started gives a handle in any case, and the engine counts all of them: with room for each child that a run may have.
pub(crate) fn starts(n: u64) -> Case {
    let start = json!({ "do": "start-call", "name": "missing" });
    let all = json!({ "do": "repeat", "n": n, "steps": [start] });
    Case::probe("calls that nobody waits for", &[all])
}
