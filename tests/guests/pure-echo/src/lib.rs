//! The best kind of component: it imports nothing but types. Says what it is told.

use serde_json::{Value, json};

use crate::exports::hermes::plugin::toolset::Guest;
use crate::hermes::plugin::types::{Content, Error, ErrorKind, ToolCall, ToolDef, ToolOutput};

wit_bindgen::generate!({ path: "../../../wit", world: "pure-tool", generate_all });

const MANIFEST: &str = r#"name = "pure-echo"
version = "0.1.0"
description = "Says what it is told."
toolset = "echo"
"#;

const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let (mut out, mut i) = ([0; N], 0);
    while i < N {
        out[i] = text.as_bytes()[i];
        i += 1;
    }
    out
}

#[used]
#[unsafe(link_section = "hermes:manifest")]
static SECTION: [u8; MANIFEST.len()] = bytes(MANIFEST);

struct Echo;
export!(Echo);

impl Guest for Echo {
    fn list_tools() -> Vec<ToolDef> {
        let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
        vec![ToolDef {
            name: "echo".into(),
            title: None,
            description: "Says what it is told.".into(),
            input_schema: schema.to_string(),
            output_schema: None,
            annotations: None,
            meta: None,
        }]
    }

    fn call(call: ToolCall) -> Result<ToolOutput, Error> {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        match arguments["text"].as_str() {
            Some(text) => Ok(ToolOutput {
                content: vec![Content::Text(text.into())],
                structured_content: None,
                meta: None,
            }),
            None => Err(Error {
                kind: ErrorKind::InvalidInput,
                message: "There is no text.".into(),
                retry_after_ms: None,
            }),
        }
    }
}
