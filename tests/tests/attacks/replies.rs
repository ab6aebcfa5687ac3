//! A model whose replies have no end, no measure or no sense.

use std::time::Duration;

use hermes_tests::model::{Fault, Script, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::{ask, steps};
use serde_json::Value;

use crate::cases::replies::REPLY;
use crate::cases::{self, Case};
use crate::site::Site;

/// What the host holds of a reply at most, beside what it reads of it.
const HELD: u64 = 8 << 20;

/// Letters of plain text that the host takes for a token, where a provider says nothing of what it used.
const LETTERS: u64 = 4;

/// Tries this in a place of its own: the record of its completion.
#[track_caller]
fn asked(case: &Case) -> Value {
    let site = Site::new();
    let attacked = site.tries(case).holding(HELD);
    let shown = site.home.shown(attacked.output.json()["run"].as_str().unwrap());
    site.is_well();
    shown["agents"][0]["operations"][0].clone()
}

/// What was charged for a completion, in tokens.
#[track_caller]
fn tokens(operation: &Value) -> u64 {
    operation["charged"]["tokens"].as_u64().unwrap()
}

#[test]
fn a13_a_text_to_the_last_byte_and_one_more() {
    let [whole, refused] = cases::replies::to_the_last_byte();
    // It says nothing of what it used: so much is counted, and of one that is refused the byte too many as well.
    let (whole, refused) = (tokens(&asked(&whole)), tokens(&asked(&refused)));
    assert!(whole >= REPLY / LETTERS, "{whole} tokens");
    assert_eq!(refused, whole + 1);
}

#[test]
fn a13_a_gibibyte() {
    // What was read until it was cut off is charged, and no more than that.
    let tokens = tokens(&asked(&cases::replies::gibibyte()));
    assert!(
        (REPLY / LETTERS..2 * REPLY / LETTERS).contains(&tokens),
        "{tokens} tokens"
    );
}

#[test]
fn a13_deltas_without_end() {
    // Not a word was read: the question is charged.
    let tokens = tokens(&asked(&cases::replies::deltas()));
    assert!((1..1000).contains(&tokens), "{tokens} tokens");
}

#[test]
fn a13_a_million_calls_and_an_argument_of_a_hundred_megabytes() {
    let operation = asked(&cases::replies::calls());
    assert_eq!(operation["charged"]["iterations"], 1, "{operation}");
    let tokens = tokens(&asked(&cases::replies::argument()));
    assert!(
        (REPLY / LETTERS..2 * REPLY / LETTERS).contains(&tokens),
        "{tokens} tokens"
    );
}

#[test]
fn a13_headers_of_ten_megabytes() {
    asked(&cases::replies::headers());
}

#[test]
fn a13_usage_that_nobody_can_have_used() {
    for case in cases::replies::usage() {
        let tokens = tokens(&asked(&case));
        assert!(tokens >= 2000, "{}: {tokens} tokens for what was counted", case.name);
    }
}

#[test]
fn a13_a_reply_that_never_ends_is_broken_off() {
    let site = Site::with(Script::always(Turn::fault(Fault::StallMidStream)));
    let host = site.host().set("limits.llm.total", "500ms").set("limits.llm.tries", 1);
    let attacked = site.attack(host.probe(&steps(&[ask("hi")]))).answers("done");
    let seen = attacked.output.seen().remove(0);
    assert_eq!(refusal(&seen).as_deref(), Some("timed-out"), "{seen}");
    assert!(message(&seen).contains("limits.llm.total"), "{seen}");
    attacked.within(Duration::from_millis(500)).holding(HELD);
    site.is_well();
}
