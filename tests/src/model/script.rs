//! What the model says, in a form that belongs to no provider, and what goes wrong on the way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a server plays.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Script {
    /// The n-th request gets the n-th turn.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// Plays when `turns` are over, for ever; a refusal that is not tried again, where there is none.
    #[serde(default)]
    pub then: Option<Turn>,
    /// Scripts of their own for requests whose body holds a text; tried in order, before `turns`.
    #[serde(default)]
    pub when: Vec<(String, Script)>,
}

impl Script {
    /// The same turn for ever.
    pub fn always(turn: Turn) -> Self {
        Self {
            then: Some(turn),
            ..Self::default()
        }
    }

    /// Plays `turn` for ever when the others are over.
    #[must_use]
    pub fn then(mut self, turn: Turn) -> Self {
        self.then = Some(turn);
        self
    }

    /// Plays `script` for requests whose body holds `marker`.
    #[must_use]
    pub fn when(mut self, marker: &str, script: impl Into<Self>) -> Self {
        self.when.push((marker.to_owned(), script.into()));
        self
    }
}

impl<T: Into<Vec<Turn>>> From<T> for Script {
    fn from(turns: T) -> Self {
        Self {
            turns: turns.into(),
            ..Self::default()
        }
    }
}

/// One answer.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Turn {
    /// What the model says.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// What it says to have used; nothing, where there is none.
    #[serde(default = "Usage::some")]
    pub usage: Option<Usage>,
    /// The provider's own word for why it ended; made from the parts, where there is none.
    #[serde(default)]
    pub finish: Option<String>,
    /// How its bytes are sent.
    #[serde(default)]
    pub delivery: Delivery,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// It is not answered before this file is there.
    #[serde(default)]
    pub hold: Option<PathBuf>,
}

/// One part of an answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Text.
    Text(String),
    /// Thinking, and its signature where the provider signs.
    Reasoning {
        /// What it thought.
        text: String,
        /// Opaque to all but the provider.
        signature: Option<String>,
    },
    /// Thinking that only the provider can read; other than Anthropic it is left out.
    Redacted(String),
    /// A call of a tool.
    Call {
        /// As the provider numbers it.
        id: String,
        /// The tool.
        name: String,
        /// JSON text, or what should have been.
        arguments: String,
    },
}

/// Tokens, cached ones among the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens read.
    pub input: u64,
    /// Those of them that came from a cache.
    #[serde(default)]
    pub cached: u64,
    /// Tokens written.
    pub output: u64,
}

impl Usage {
    #[expect(clippy::unnecessary_wraps, reason = "serde's default must have the field's type")]
    fn some() -> Option<Self> {
        Some(Self {
            input: 100,
            cached: 0,
            output: 20,
        })
    }
}

/// How the bytes of a body are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// One write for each event.
    #[default]
    Events,
    /// One write, and one HTTP chunk, for so many bytes: 1 cuts at every byte.
    Bytes(usize),
    /// Text and arguments come one character an event.
    Fragments,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// This status, with the error body that the provider has for it.
    Status {
        /// 401, 429, 500, 529, …
        code: u16,
        /// The header `Retry-After`.
        retry_after: Option<String>,
    },
    /// 400: the conversation is longer than the model's window.
    TooLong,
    /// Says nothing until the client goes.
    StallBeforeHeaders,
    /// Sends the headers and then nothing until the client goes.
    StallAfterHeaders,
    /// Sends half and then nothing until the client goes.
    StallMidStream,
    /// Sends half and closes.
    CutShort,
    /// Sends so many bytes of the body and closes.
    CutAt {
        /// How many.
        bytes: usize,
    },
    /// Sends so many bytes of the body and then nothing until the client goes.
    StallAt {
        /// How many.
        bytes: usize,
    },
    /// Sends half and resets the connection.
    Reset,
    /// Ends the body in good order, but before the answer's end.
    NoEnd,
    /// Sends so many bytes of text.
    Huge {
        /// How many.
        bytes: u64,
    },
    /// Half of an event's JSON, and then the rest of the stream.
    Malformed,
    /// An error event in a stream that began well.
    ErrorEvent,
}

impl Turn {
    fn new(parts: Vec<Part>) -> Self {
        Self {
            parts,
            usage: Usage::some(),
            ..Self::default()
        }
    }

    /// Says `text`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(vec![Part::Text(text.into())])
    }

    /// Calls the tool `name`.
    pub fn call(name: &str, arguments: &Value) -> Self {
        Self::new(Vec::new()).and_call("call_1", name, &arguments.to_string())
    }

    /// Says nothing, with this fault.
    pub fn fault(fault: Fault) -> Self {
        Self::text("a text that is long enough to be cut in two").with(fault)
    }

    /// Answers with this status.
    pub fn status(code: u16) -> Self {
        Self::fault(Fault::Status {
            code,
            retry_after: None,
        })
    }

    /// Calls another tool in the same answer. `arguments` need not be JSON.
    #[must_use]
    pub fn and_call(mut self, id: &str, name: &str, arguments: &str) -> Self {
        self.parts.push(Part::Call {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        });
        self
    }

    /// Thinks first.
    #[must_use]
    pub fn thinking(mut self, text: &str, signature: &str) -> Self {
        let part = Part::Reasoning {
            text: text.to_owned(),
            signature: Some(signature.to_owned()),
        };
        self.parts.insert(0, part);
        self
    }

    /// Sends its bytes so.
    #[must_use]
    pub fn sent(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Waits until this file is there.
    #[must_use]
    pub fn held_until(mut self, file: impl Into<PathBuf>) -> Self {
        self.hold = Some(file.into());
        self
    }

    /// Goes wrong so.
    #[must_use]
    pub fn with(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Says to have used so much, or nothing about it.
    #[must_use]
    pub fn usage(mut self, usage: Option<Usage>) -> Self {
        self.usage = usage;
        self
    }

    /// Whether it calls a tool.
    pub(super) fn calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Call { .. }))
    }
}
