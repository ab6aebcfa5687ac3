//! A guest that measures.

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
