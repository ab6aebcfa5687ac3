//! Tells a caller of tools that it goes round in a circle: the third call in a row that fails like the two before it has that in its result. Nothing is
//! refused for it.

use crate::bindings::types;
use crate::ids::Digest;
use crate::session::codec;

/// So many failures in a row are told, once.
const TOLD: u32 = 3;

/// What a call asks for, whatever its id.
pub(super) fn asked(call: &types::ToolCall) -> Digest {
    Digest::of(&codec::encode(&(&call.name, &call.arguments)))
}

/// The latest failures that one instance was told of. It changes as results are handed over and with nothing else, so that an instance that is built
/// again from its record is told the same.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    last: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    /// The call and its error.
    what: Digest,
    /// The operation, where its result may be asked for again.
    op: Option<u32>,
    times: u32,
}

impl Repeats {
    /// Takes the result of a call, as its caller is about to get it, and adds to its words where it is the third of its kind.
    pub(super) fn hand_over(&mut self, call: Digest, op: Option<u32>, result: &mut types::ToolResult) {
        let Some(error) = &result.error else {
            self.last = None;
            return;
        };
        let what = Digest::of(&codec::encode(&(call, &error.kind, &error.message)));
        let times = match &self.last {
            Some(last) if last.what == what && op.is_some() && last.op == op => last.times,
            Some(last) if last.what == what => last.times.saturating_add(1),
            _ => 1,
        };
        self.last = Some(Failure { what, op, times });
        if times == TOLD {
            let words = format!("(This call has failed {TOLD} times in the same way.)");
            // Where a model is shown the structured content in the place of texts, it still is.
            if result.output.content.is_empty() {
                let structured = result.output.structured_content.clone();
                result.output.content.extend(structured.map(types::Content::Text));
            }
            result.output.content.push(types::Content::Text(words));
        }
    }
}
