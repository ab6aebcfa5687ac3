//! JSON, schemas and manifests that are deep, ambiguous or made to be slow.

use std::time::Duration;

use hermes_tests::output::refusal;
use serde_json::{Value, json};

use crate::cases;
use crate::cases::Case;
use crate::cases::lists::BAD;
use crate::cases::texts::{
    CHAIN, LARGE, MATCHING, MATCHING_LARGE, PATTERN, PATTERNS, arguments_of, chain, large, patterned, tool,
};
use crate::serves::{Serves, page};
use crate::site::{Attacked, Site};

#[test]
fn a18_odd_arguments_of_a_models_calls() {
    let case = cases::texts::arguments();
    let site = Site::of(&case);
    let attacked = site.tries(&case);
    let calls = attacked.output.spent("tool_calls");
    assert_eq!(calls, 1 + 1, "what is refused does not run: one, and the canary's");
    site.is_well();
}

#[test]
fn a18_a_tool_gets_the_arguments_that_were_checked() {
    let case = cases::texts::same_arguments();
    let site = Site::of(&case);
    site.tries(&case);
    site.is_well();
}

#[test]
fn a18_odd_inputs_on_the_command_line() {
    let site = Site::new();
    let inputs = |text: &str| {
        site.attack(
            site.host()
                .args(["--inputs", text])
                .probe(&json!({ "summary": "done" })),
        )
    };
    for (text, words) in [
        ("[".repeat(100_000), "recursion limit"),
        (r#"{"a":1,"a":2}"#.to_owned(), "there twice"),
        (r#"{"a":1e999}"#.to_owned(), "number"),
        ("[1]".to_owned(), "object"),
        ("{".to_owned(), "inputs"),
    ] {
        inputs(&text).refused(&["inputs", words]).within(Duration::ZERO);
    }
    let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    inputs(&nested(63)).answers("done");
    inputs(&nested(64)).refused(&["inputs", "64 (limits.json.depth)"]);
    site.is_well();
}

#[test]
fn a18_a_result_that_nests_without_end() {
    let site = Site::new();
    let attacked = site.tries(&cases::texts::result());
    assert!(attacked.output.json()["result"].is_null(), "no JSON is made of it");
    site.is_well();
}

/// Calls the one tool of a plugin with such a schema.
#[track_caller]
fn called<'a>(site: &'a Site, schema: &str, arguments: &Value) -> Attacked<'a> {
    let plugin = tool(schema).file(&site.home, "schema");
    let host = site.host().args(["--output", "json", "call"]).arg(plugin);
    site.attack(host.args(["odd", &arguments.to_string()]))
}

impl Attacked<'_> {
    /// The call was refused before anything ran, as its arguments do not fit.
    #[track_caller]
    fn does_not_fit(self) -> Self {
        let error = &self.output.json()["error"];
        assert_eq!(
            (self.output.code, &error["kind"]),
            (Some(1), &json!("invalid-input")),
            "{:?}",
            self.output
        );
        assert!(
            error["message"].as_str().unwrap().contains("do not fit its schema"),
            "{error}"
        );
        self
    }
}

#[test]
fn a18_schemas_that_point_elsewhere() {
    let site = Site::new();
    let trap = Serves::always(page("{\"type\":\"object\"}"));
    site.home.write("secret.json", "{\"type\":\"object\"}");
    for case in cases::texts::elsewhere(&trap) {
        site.tries(&case).within(Duration::ZERO);
    }
    // Nor is one of the folder where it is called.
    let file = site.home.work().join("secret.json");
    let target = format!("file://{}", file.display());
    let schema = json!({ "type": "object", "properties": { "a": { "$ref": target } } });
    called(&site, &schema.to_string(), &json!({ "a": 1 }))
        .refused(&["the schema of odd"])
        .of_kind(BAD)
        .within(Duration::ZERO);
    assert_eq!(trap.connections(), 0, "the network was touched");
    site.is_well();
}

#[test]
fn a18_schemas_without_end() {
    let site = Site::new();
    for case in cases::texts::endless() {
        site.tries(&case).within(Duration::ZERO);
    }
    let tree = r##"{"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":false}"##;
    let nested = (0..60).fold(json!({}), |inner, _| json!({ "a": inner }));
    let fits = called(&site, tree, &nested).within(Duration::ZERO);
    assert_eq!(fits.output.code, Some(0), "{:?}", fits.output);
    site.is_well();
}

#[test]
fn a18_patterns_made_to_be_slow() {
    let site = Site::new();
    for case in cases::texts::patterns() {
        site.tries(&case).within(Duration::ZERO);
    }
    site.is_well();
}

#[test]
fn a18_patterns_that_are_many() {
    let site = Site::new();
    for case in cases::texts::many_patterns() {
        site.tries(&case).within(Duration::ZERO).holding(16 << 20);
    }
    // As much as a pattern may have to do, and it finds nothing.
    called(&site, &large(1), &arguments_of(MATCHING_LARGE * LARGE))
        .does_not_fit()
        .within(Duration::from_secs(5))
        .holding(16 << 20);
    for (schema, arguments) in [
        (patterned(PATTERNS, "$"), arguments_of(MATCHING)),
        (patterned(1, &"a".repeat(PATTERN - 1)), json!({})),
        (large(LARGE), json!({})),
    ] {
        let fits = called(&site, &schema, &arguments)
            .within(Duration::ZERO)
            .holding(16 << 20);
        assert_eq!(fits.output.code, Some(0), "{:?}", fits.output);
    }
    site.is_well();
}

#[test]
fn a18_what_is_small_and_large_as_it_is_read() {
    let site = Site::new();
    for case in cases::texts::grown() {
        site.tries(&case).within(Duration::ZERO).holding(8 << 20);
    }
    // What is deepest fits where a strategy calls, too: on the stack that it shares with the host.
    let nested = (0..60).fold(json!({}), |inner, _| json!({ "a": inner }));
    let step = json!({ "do": "call", "name": "odd", "arguments": nested });
    let deepest = Case::steps("the longest chain", [step]).tool(tool(&chain(CHAIN)));
    site.tries(&deepest.sees(|seen| assert_eq!(refusal(&seen[0]), None, "{}", seen[0])));
    site.is_well();
}

#[test]
fn a18_schemas_that_grow_as_they_are_followed() {
    let site = Site::new();
    for case in cases::texts::growing() {
        site.tries(&case).within(Duration::from_secs(1));
    }
    site.is_well();
}

#[test]
fn a18_schemas_that_are_none() {
    let site = Site::new();
    for case in cases::texts::schemas() {
        site.tries(&case).within(Duration::ZERO);
    }
    site.is_well();
}

#[test]
fn a18_manifests_that_are_none() {
    let site = Site::new();
    for case in cases::texts::manifests() {
        site.tries(&case).within(Duration::ZERO);
        let inspect = site.host().args(["inspect", "--output", "json"]);
        site.attack(inspect.arg(case.strategy(&site.home)))
            .refused(&["manifest"])
            .of_kind("load(bad-manifest)")
            .within(Duration::ZERO);
    }
    site.is_well();
}
