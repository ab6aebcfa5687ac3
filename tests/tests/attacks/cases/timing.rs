//! A guest that measures.

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::{open, steps};
use serde_json::{Value, json};

use super::Case;

pub(crate) fn clocks(readings: u32) -> Value {
    json!({ "do": "clocks", "readings": readings })
}

/// What the wall clock showed, in milliseconds, and the monotonic clock, in nanoseconds.
pub(crate) fn shown(seen: &Value) -> (u64, u64) {
    let at = |n: usize| seen["ok"][n].as_u64().unwrap();
    (at(0) * 1000 + at(1) / 1_000_000, at(2))
}

/// It reads its clock before and after it works.
pub(crate) fn measures() -> Case {
    // Tens of milliseconds of work, and no answer of the host between the readings: 1,023 of both clocks together.
    let work = json!({ "do": "compute", "n": 20_000_000 });
    let program = [
        clocks(1),
        work.clone(),
        clocks(510),
        work.clone(),
        clocks(1),
        // The 1,024th reading and the next see what time it is.
        clocks(1),
        work.clone(),
        json!({ "do": "info" }),
        clocks(1),
    ];
    Case::steps("a guest that measures", program).sees(|seen| {
        let first = shown(&seen[0]);
        assert_eq!(shown(&seen[2]), first);
        assert!(shown(&seen[5]) > first, "time goes on: {seen:?}");
        let later = shown(&seen[8]) > shown(&seen[5]);
        assert!(later, "an answer of the host brings it on: {seen:?}");
        // It counts whole milliseconds, so that nothing shorter is measured.
        for at in [0, 2, 4, 5, 8] {
            assert_eq!(shown(&seen[at]).1 % 1_000_000, 0);
        }
    })
}

/// A child looks for what its parent has, large, and did not give it, and for what is not there. It looks at the clock each time.
pub(crate) fn forbidden() -> Case {
    let (there, gone) = ("theirs/there", "theirs/gone");
    let notes = json!([{ "space": "notes", "prefix": "mine", "access": "ReadOnly" }]);
    let get = |key: &str| json!({ "do": "get", "space": 0, "key": key });
    let looks = [open(), clocks(1), get(there), clocks(1), get(gone), clocks(1)];
    let child = ChildSpec::probe(&steps(&looks)).with("spaces", notes);
    let large = json!({ "do": "put-bytes", "space": 0, "key": there, "bytes": 200_000 });
    let program = [open(), large, child.spawn(), join(0)];
    Case::steps("what is forbidden and what is absent", program).sees(move |seen| {
        let seen = inside(&seen[3]);
        for n in [2, 4] {
            assert_eq!(refusal(&seen[n]).as_deref(), Some("denied"), "{}", seen[n]);
        }
        let words = |n: usize, key: &str| message(&seen[n]).replace(key, "KEY");
        assert_eq!(words(2, there), words(4, gone));
    })
}
