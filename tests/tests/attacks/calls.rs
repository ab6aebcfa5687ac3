//! Calls that a model makes of what is not there, or of what is there in a way that it does not take.

use serde_json::json;

use crate::cases;
use crate::site::Site;

#[test]
fn a32_a_call_of_what_is_not_there_runs_nothing_and_is_told() {
    let case = cases::calls::of_nothing();
    let site = Site::of(&case);
    let attacked = site.tries(&case);
    // None was run, and each was charged as a call that a model made: the turn is an iteration.
    let json = attacked.output.json();
    let spent = &json["spent"];
    assert_eq!(
        (&spent["tool_calls"], &spent["iterations"]),
        (&json!(1), &json!(4)),
        "the canary's are among them"
    );
    // The model is told each in words, without what steers.
    let requests = site.server.requests();
    let told = requests.iter().find(|request| request.results().len() > 1).unwrap();
    let results = told.results();
    assert_eq!(results.len(), 18);
    for (_, text) in results {
        assert!(
            text.starts_with("Error") && !text.contains(['\u{1b}', '\u{202e}', '\u{e0041}']),
            "{text:?}"
        );
    }
    site.is_well();
}

#[test]
fn a32_calls_with_one_id_have_an_answer_each() {
    let case = cases::calls::of_one_id();
    let site = Site::of(&case);
    site.tries(&case);
    let requests = site.server.requests();
    let told = requests.iter().find(|request| request.results().len() > 1).unwrap();
    let results = told.results();
    let mut ids: Vec<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((results.len(), ids.len()), (3, 3), "{results:?}");
    site.is_well();
}
