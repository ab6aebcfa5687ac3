//! JSON, schemas and manifests that are deep, ambiguous or made to be slow.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hermes_tests::guests;
use hermes_tests::model::{Script, Turn};
use hermes_tests::output::{message, refusal};
use serde_json::{Value, json};

use crate::hostile;
use crate::site::{Attacked, Site};

/// Arguments that a model may give, and what their refusal says; none where they are taken for what they are.
fn odd_arguments() -> Vec<(&'static str, String, Option<&'static str>)> {
    let many: String = (0..40_000).map(|n| format!(",\"key{n}\":{n}")).collect();
    vec![
        (
            "deep",
            format!("{{\"text\":{}", "[".repeat(100_000)),
            Some("limits.json.depth"),
        ),
        ("deep objects", "{\"text\":".repeat(100_000), Some("limits.json.depth")),
        (
            "a key twice",
            r#"{"text":"one","text":"two"}"#.to_owned(),
            Some("there twice"),
        ),
        (
            "a key twice, spelt otherwise",
            r#"{"text":"one","\u0074ext":"two"}"#.to_owned(),
            Some("there twice"),
        ),
        (
            "an infinite number",
            r#"{"text":"x","n":1e999}"#.to_owned(),
            Some("number"),
        ),
        ("not a number", r#"{"text":NaN}"#.to_owned(), Some("JSON")),
        ("two values", r#"{"text":"x"} {"text":"y"}"#.to_owned(), Some("JSON")),
        ("cut off", r#"{"text":"x"#.to_owned(), Some("JSON")),
        ("no object", r#"["text"]"#.to_owned(), Some("object")),
        ("another type", r#"{"text":7}"#.to_owned(), Some("schema")),
        ("many keys", format!("{{\"text\":\"x\"{many}}}"), Some("schema")),
        ("a zero", r#"{"text":"a\u0000b"}"#.to_owned(), None),
        ("half a pair", r#"{"text":"\ud800"}"#.to_owned(), Some("JSON")),
    ]
}

#[test]
fn a18_odd_arguments_of_a_models_calls() {
    let odd = odd_arguments();
    let script = odd
        .iter()
        .fold(Script::always(Turn::text("done")), |script, (name, arguments, _)| {
            let call = Turn::text("").and_call("call_1", "echo", arguments);
            script.when(&format!("ODD {name}."), [call, Turn::text("I see")])
        });
    let site = Site::with(script);
    let steps: Vec<Value> = odd
        .iter()
        .map(|(name, ..)| json!({ "do": "agent", "user": format!("ODD {name}."), "turns": 2 }))
        .collect();
    // What it saw is more than a report is let be otherwise.
    let host = site.host().set("limits.report", "8MiB");
    let lived = site.lives(host.arg("--tool").arg(guests::built("probe-tool")), &steps);
    for ((name, _, expected), seen) in odd.iter().zip(&lived.seen) {
        let result = json!({ "ok": seen[1]["ok"][0] });
        match expected {
            Some(words) => {
                assert_eq!(refusal(&result).as_deref(), Some("invalid-input"), "{name}: {seen}");
                assert!(message(&result).contains(words), "{name}: {}", message(&result));
                assert!(message(&result).len() < 2000, "{name}: {}", message(&result).len());
            }
            None => assert_eq!(refusal(&result), None, "{name}: {seen}"),
        }
    }
    assert_eq!(
        lived.output.spent("tool-calls"),
        1 + 1,
        "what is refused does not run: one, and the canary's"
    );
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
    let file = hostile::A18_RESULT.file(&site.home);
    // It is no JSON, so it is shown as the text that it is.
    let attacked = site.attack(site.host().run(&file, "n100000")).answers("done");
    assert!(attacked.output.json()["result"].is_null(), "no JSON is made of it");
    site.is_well();
}

/// A tool whose one schema is this.
fn tool(site: &Site, schema: &str) -> std::path::PathBuf {
    let escaped: String = schema.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let length: String = u32::try_from(schema.len())
        .unwrap()
        .to_le_bytes()
        .iter()
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    let data = format!("(data (i32.const 65536) \"{escaped}\") (data (i32.const 160) \"{length}\")\n");
    site.home
        .write("odd-schema.wasm", hostile::A18_SCHEMA.with("schema", &data))
}

/// Calls the one tool of a plugin with such a schema.
#[track_caller]
fn called<'a>(site: &'a Site, schema: &str, arguments: &Value) -> Attacked<'a> {
    let host = site.host().args(["--output", "json", "call"]).arg(tool(site, schema));
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
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = trap.local_addr().unwrap();
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = visits.clone();
    std::thread::spawn(move || {
        trap.incoming().for_each(|_| {
            counted.fetch_add(1, Ordering::AcqRel);
        });
    });
    site.home.write("secret.json", "{\"type\":\"object\"}");
    let file = site.home.work().join("secret.json");
    for target in [
        format!("http://{address}/schema.json"),
        format!("file://{}", file.display()),
        "secret.json".to_owned(),
    ] {
        let schema = json!({ "type": "object", "properties": { "a": { "$ref": target } } });
        called(&site, &schema.to_string(), &json!({ "a": 1 }))
            .refused(&["the schema of odd"])
            .within(Duration::ZERO);
    }
    assert_eq!(visits.load(Ordering::Acquire), 0, "the network was touched");
    site.is_well();
}

#[test]
fn a18_schemas_without_end() {
    let site = Site::new();
    // It is itself, and nothing else.
    called(&site, r##"{"$ref":"#"}"##, &json!({})).within(Duration::ZERO);
    let tree = r##"{"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":false}"##;
    let nested = (0..60).fold(json!({}), |inner, _| json!({ "a": inner }));
    called(&site, tree, &nested).within(Duration::ZERO);
    let wrong = (0..60).fold(json!({ "b": 1 }), |inner, _| json!({ "a": inner }));
    called(&site, tree, &wrong).does_not_fit().within(Duration::ZERO);
    site.is_well();
}

#[test]
fn a18_patterns_made_to_be_slow() {
    let site = Site::new();
    let with = |pattern: &str| {
        json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": pattern } } }).to_string()
    };
    let long = json!({ "a": "a".repeat(50_000) + "!" });
    for slow in ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^([a-z]+)*$"] {
        called(&site, &with(slow), &long).does_not_fit().within(Duration::ZERO);
    }
    for huge in ["(((a{1000}){1000}){1000})", "a{4294967295}", "(?P<"] {
        called(&site, &with(huge), &long)
            .refused(&["the schema of odd"])
            .within(Duration::ZERO);
    }
    // What only a machine that goes back can find is not understood, and so refused.
    called(&site, &with(r"^(a+)\1$"), &long)
        .refused(&["the schema of odd"])
        .within(Duration::ZERO);
    site.is_well();
}

#[test]
fn a18_schemas_that_grow_as_they_are_followed() {
    let site = Site::new();
    // Each level asks the next twice; the last fits nothing.
    let levels = |n: usize| {
        let mut defs: serde_json::Map<String, Value> = (0..n)
            .map(|at| {
                let next = json!({ "$ref": format!("#/$defs/l{}", at + 1) });
                (format!("l{at}"), json!({ "anyOf": [next, next] }))
            })
            .collect();
        defs.insert(format!("l{n}"), json!(false));
        json!({ "type": "object", "$defs": defs, "properties": { "a": { "$ref": "#/$defs/l0" } } }).to_string()
    };
    called(&site, &levels(3), &json!({ "a": 1 })).does_not_fit();
    called(&site, &levels(60), &json!({ "a": 1 })).within(Duration::from_secs(1));
    site.is_well();
}

#[test]
fn a18_schemas_that_are_none() {
    let site = Site::new();
    for schema in [
        "",
        "{",
        "[]",
        "null",
        "{}{}",
        r#"{"type":"nothing"}"#,
        r#"{"type":"object","type":"string"}"#,
        r#"{"minimum":1e999}"#,
    ] {
        called(&site, schema, &json!({}))
            .refused(&["the schema of odd"])
            .within(Duration::ZERO);
    }
    let deep = "{\"not\":".repeat(10_000) + "true" + &"}".repeat(10_000);
    called(&site, &deep, &json!({})).refused(&["limits.json.schema"]);
    site.is_well();
}

/// A component with this manifest.
fn with_manifest(manifest: &str) -> Vec<u8> {
    let name = b"hermes:manifest";
    let mut section = vec![u8::try_from(name.len()).unwrap()];
    section.extend_from_slice(name);
    section.extend_from_slice(manifest.as_bytes());
    let mut bytes = hostile::A04_SAME.bytes();
    bytes.push(0);
    let mut length = section.len();
    loop {
        let byte = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        bytes.push(byte | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            break;
        }
    }
    bytes.extend(section);
    bytes
}

#[test]
fn a18_manifests_that_are_none() {
    let site = Site::new();
    let odd = [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(100_000)),
        format!("{}x = 1", "a.".repeat(50_000)),
        "name = \"one\"\nname = \"two\"\n".to_owned(),
        "name = 99999999999999999999999999\n".to_owned(),
        "name = \"\0\"\n".to_owned(),
        "name".to_owned(),
    ];
    for (n, manifest) in odd.iter().enumerate() {
        let file = site.home.write(&format!("odd-{n}.wasm"), with_manifest(manifest));
        site.attack(site.host().run(&file, "go"))
            .refused(&[&format!("odd-{n}"), "manifest"])
            .within(Duration::ZERO);
        site.attack(site.host().arg("inspect").arg(&file))
            .refused(&["manifest"])
            .within(Duration::ZERO);
    }
    site.is_well();
}
