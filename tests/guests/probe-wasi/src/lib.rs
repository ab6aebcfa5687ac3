//! A tool that calls WASI as a hostile plugin would: with whatever it is told, and nothing made well before.

mod files;
mod web;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::exports::hermes::plugin::toolset::Guest;
use crate::hermes::plugin::types::{Content, Error, ErrorKind, ToolCall, ToolDef, ToolOutput};

wit_bindgen::generate!({ path: "../../../wit", world: "pure-tool", generate_all });

/// It asks for all that a tool can be granted outside its run: what is refused to it, is refused for want of a grant.
const MANIFEST: &str = r#"name = "probe-wasi"
description = "Calls WASI, and says what each call told it."
toolset = "wasi"

[[wants]]
grant = "fs:rw"
reason = "Calls wasi:filesystem."

[[wants]]
grant = "net"
reason = "Calls wasi:http."

[[wants]]
grant = "secret"
reason = "Calls wasi:http with what is put into it."
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

struct Wasi;
export!(Wasi);

/// Calls, one after another.
#[derive(Deserialize)]
struct Program {
    steps: Vec<Step>,
}

/// One call.
#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Files(files::Step),
    Web(web::Step),
}

impl Guest for Wasi {
    fn list_tools() -> Vec<ToolDef> {
        let step = json!({ "type": "object", "properties": { "do": { "type": "string" } }, "required": ["do"] });
        let steps = json!({ "steps": { "type": "array", "items": step } });
        let schema = json!({ "type": "object", "properties": steps, "required": ["steps"] });
        vec![ToolDef {
            name: "wasi".into(),
            title: None,
            description: "Calls WASI, and says what each call told it.".into(),
            input_schema: schema.to_string(),
            output_schema: None,
            annotations: None,
            meta: None,
        }]
    }

    fn call(call: ToolCall) -> Result<ToolOutput, Error> {
        // With each `⧺` taken out of it, it may be what no arguments are.
        let arguments = call.arguments.replace('⧺', "");
        let program: Program = serde_json::from_str(&arguments).map_err(|e| Error {
            kind: ErrorKind::InvalidInput,
            message: e.to_string(),
            retry_after_ms: None,
        })?;
        let seen: Vec<Value> = program.steps.iter().map(Step::seen).collect();
        Ok(ToolOutput {
            content: vec![Content::Text(json!(seen).to_string())],
            structured_content: Some(json!({ "seen": seen }).to_string()),
            meta: None,
        })
    }
}

impl Step {
    /// What it told: `ok` or `error`, the latter as WASI calls it.
    fn seen(&self) -> Value {
        let told = match self {
            Self::Files(step) => step.run(),
            Self::Web(step) => step.run(),
        };
        match told {
            Ok(value) => json!({ "ok": value }),
            Err(code) => json!({ "error": code }),
        }
    }
}
