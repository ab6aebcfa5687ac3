//! `opaque` parts: an envelope that says which provider a piece of data belongs to, and which reasoning it signs. What is
//! not from the provider that is asked, or signs something that is not there as it was, is not sent.
//!
//! An envelope is not authenticated: a guest can write one itself. So the encoders send of it only what the provider checks
//! by its own means and what can change neither charge nor effect: the name of a field for reasoning, a signature, and hidden
//! reasoning.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::model::ProviderKind;
use crate::ids::Digest;

/// The version of the envelope.
const VERSION: u32 = 1;

/// Data of a provider, as a guest holds it: JSON text that means nothing to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope {
    v: u32,
    kind: ProviderKind,
    provider: String,
    /// The first digits of the digest of the reasoning part before it, where this signs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over: Option<String>,
    data: Value,
}

/// Whose envelopes are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) kind: ProviderKind,
    pub(super) provider: String,
}

/// What an opaque part is good for at the provider that is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Opened {
    /// It signs the reasoning before it.
    Signature(Value),
    /// It stands on its own.
    Own(Value),
    /// Of another provider, of another version, malformed, or an orphan: dropped.
    Nothing,
}

impl Owner {
    /// The text of an opaque part that holds `data` and signs `reasoning`, or stands alone.
    pub(super) fn seal(&self, data: Value, reasoning: Option<&str>) -> String {
        let envelope = Envelope {
            v: VERSION,
            kind: self.kind,
            provider: self.provider.clone(),
            over: reasoning.map(fingerprint),
            data,
        };
        serde_json::to_string(&envelope).expect("an envelope of strings and JSON values is JSON")
    }

    /// What the text of an opaque part holds, given the reasoning part right before it.
    pub(super) fn open(&self, text: &str, reasoning: Option<&str>) -> Opened {
        let Ok(envelope) = serde_json::from_str::<Envelope>(text) else {
            return Opened::Nothing;
        };
        if envelope.v != VERSION || envelope.kind != self.kind || envelope.provider != self.provider {
            return Opened::Nothing;
        }
        match (envelope.over, reasoning) {
            (None, _) => Opened::Own(envelope.data),
            (Some(over), Some(text)) if over == fingerprint(text) => Opened::Signature(envelope.data),
            (Some(_), _) => Opened::Nothing,
        }
    }
}

fn fingerprint(text: &str) -> String {
    Digest::of(text.as_bytes()).short()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(kind: ProviderKind, provider: &str) -> Owner {
        Owner {
            kind,
            provider: provider.to_owned(),
        }
    }

    #[test]
    fn only_its_own_provider_and_its_own_reasoning_open_an_envelope() {
        let mine = owner(ProviderKind::Anthropic, "a");
        let signed = mine.seal(json!("sig"), Some("thought"));
        assert_eq!(mine.open(&signed, Some("thought")), Opened::Signature(json!("sig")));
        assert_eq!(mine.open(&signed, Some("thought!")), Opened::Nothing);
        assert_eq!(mine.open(&signed, None), Opened::Nothing);
        let alone = mine.seal(json!({"x": 1}), None);
        assert_eq!(mine.open(&alone, Some("any")), Opened::Own(json!({"x": 1})));
        for other in [owner(ProviderKind::Anthropic, "b"), owner(ProviderKind::Openai, "a")] {
            assert_eq!(other.open(&alone, None), Opened::Nothing);
        }
        for junk in ["", "{}", "null", "{\"v\":2}", "x"] {
            assert_eq!(mine.open(junk, None), Opened::Nothing);
        }
    }
}
