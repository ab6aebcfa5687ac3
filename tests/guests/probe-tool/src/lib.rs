//! Tools that do what a test asks of them: `probe` takes the steps of the probes' language, the others do one thing each.

extern crate alloc;

#[path = "../../common/steps.rs"]
mod steps;
#[path = "../../common/work.rs"]
mod work;

mod http;
mod own;

use std::hint::black_box;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::exports::hermes::plugin::toolset::Guest;
use crate::hermes::plugin::types::{Content, Error, ErrorKind, Media, ToolAnnotations, ToolCall, ToolDef, ToolOutput};

wit_bindgen::generate!({
    path: "../../../wit",
    world: "tool",
    generate_all,
    additional_derives: [serde::Serialize, serde::Deserialize],
});

struct Tools;
export!(Tools);

/// What its tools say of themselves: a test that wants hints writes others into the component.
const HINTS: &str = "hints: none";

/// The hints that a call of theirs may be made again.
const SAME: ToolAnnotations = ToolAnnotations {
    read_only: false,
    destructive: false,
    idempotent: true,
    open_world: false,
};

#[derive(Deserialize)]
struct Program {
    steps: Vec<steps::Step>,
}

impl Guest for Tools {
    fn list_tools() -> Vec<ToolDef> {
        // Deep and long enough for tests of what a schema may be.
        let step = json!({ "type": "object", "properties": { "do": { "type": "string" } }, "required": ["do"] });
        let words = "One after another, each a call of one imported function. ".repeat(20);
        let steps = json!({ "steps": { "type": "array", "items": step, "description": words } });
        let text = json!({ "text": { "type": "string" } });
        let count = json!({ "n": { "type": "integer", "minimum": 0 } });
        let several = json!({ "type": "integer", "minimum": 0 });
        let kinds = json!({ "media": several, "others": several, "texts": several });
        vec![
            tool("probe", "Does steps and says what each told it.", &steps, &["steps"]),
            tool("echo", "Says what it is told.", &text, &["text"]),
            tool("spin", "Never ends.", &json!({}), &[]),
            tool("grow", "Grows its memory by n pages, one at a time.", &count, &["n"]),
            tool("fail", "Fails with these words.", &text, &["text"]),
            tool("big", "Says n bytes.", &count, &["n"]),
            tool(
                "blocks",
                "Answers in so many blocks of each kind, in this order.",
                &kinds,
                &[],
            ),
        ]
    }

    fn call(call: ToolCall) -> Result<ToolOutput, Error> {
        let arguments: Value = serde_json::from_str(&steps::joined(&call.arguments)).map_err(|e| invalid(&e))?;
        let text = || arguments["text"].as_str().unwrap_or_default().to_owned();
        let n = || arguments["n"].as_u64().unwrap_or_default();
        match call.name.as_str() {
            "probe" => {
                let program: Program = serde_json::from_value(arguments).map_err(|e| invalid(&e))?;
                let seen = json!(steps::Probe::default().run(&program.steps));
                Ok(ToolOutput {
                    structured_content: Some(json!({ "seen": seen }).to_string()),
                    ..said(seen.to_string())
                })
            }
            "echo" => Ok(said(text())),
            "spin" => work::spin(),
            "grow" => Ok(said(json!(work::allocate(n())).to_string())),
            "fail" => Err(Error {
                kind: ErrorKind::Upstream,
                message: text(),
                retry_after_ms: None,
            }),
            "big" => Ok(said("x".repeat(n() as usize))),
            "blocks" => Ok(blocks(&arguments)),
            other => Err(Error {
                kind: ErrorKind::NotFound,
                message: format!("There is no tool {other}."),
                retry_after_ms: None,
            }),
        }
    }
}

fn tool(name: &str, description: &str, properties: &Value, required: &[&str]) -> ToolDef {
    let schema =
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    ToolDef {
        name: name.into(),
        title: None,
        description: description.into(),
        input_schema: schema.to_string(),
        output_schema: None,
        annotations: black_box(HINTS).ends_with("same").then_some(SAME),
        meta: None,
    }
}

fn said(text: String) -> ToolOutput {
    ToolOutput {
        content: vec![Content::Text(text)],
        structured_content: None,
        meta: None,
    }
}

/// Media of a byte, others that are no JSON, and texts of four characters.
fn blocks(arguments: &Value) -> ToolOutput {
    let media = Content::Media(Media {
        media_type: "application/octet-stream".into(),
        data: vec![b'x'],
    });
    let kinds = [
        ("media", media),
        ("others", Content::Other("other".into())),
        ("texts", Content::Text("text".into())),
    ];
    let count = |kind: &str| arguments[kind].as_u64().unwrap_or_default() as usize;
    let content = kinds.into_iter().flat_map(|(kind, block)| vec![block; count(kind)]);
    ToolOutput {
        content: content.collect(),
        structured_content: None,
        meta: None,
    }
}

fn invalid(error: &serde_json::Error) -> Error {
    Error {
        kind: ErrorKind::InvalidInput,
        message: error.to_string(),
        retry_after_ms: None,
    }
}
