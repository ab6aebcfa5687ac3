//! A provider's reply of any bytes, in any pieces and as one body; its list of models; and what is left of an answer that holds secrets.

use super::cleaned::cleaned;
use super::discover::listed;
use super::opaque::Owner;
use super::protocol::{Answer, Decode, parse};
use super::sse::{Parser, TooLong};
use super::transport::take;
use super::usage::Reported;
use super::{anthropic, fault::Fault, openai};
use crate::bindings::llm::{Completion, FinishReason, Part, Usage};
use crate::bindings::types::ToolCall;
use crate::config::model::ProviderKind;
use crate::limits::Limits;
use crate::scrub::Secrets;

/// Splits `data` into pieces: its first byte says how often it is cut, the next ones how long each piece is; then comes what is cut. Nothing is
/// lost and nothing added.
pub fn pieces(data: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let Some((count, rest)) = data.split_first() else {
        return (Vec::new(), data);
    };
    let (lengths, whole) = rest.split_at(rest.len().min(usize::from(*count % 16)));
    let (mut pieces, mut left) = (Vec::new(), whole);
    for length in lengths {
        let (piece, rest) = left.split_at(left.len().min(usize::from(*length)));
        pieces.push(piece);
        left = rest;
    }
    pieces.push(left);
    (pieces, whole)
}

/// Server-sent events: the same come of every cut, each within the cap.
pub fn sse(data: &[u8]) {
    const CAP: usize = 256;
    let (pieces, whole) = pieces(data);
    let events = |pieces: &[&[u8]]| {
        let (mut parser, mut events) = (Parser::new(CAP), Vec::new());
        let feed = |piece: &&[u8]| parser.feed(piece, &mut events);
        let fed: Result<(), TooLong> = pieces.iter().try_for_each(feed);
        let ended = fed.and_then(|()| parser.finish(&mut events));
        (events, ended)
    };
    let (found, ended) = events(&pieces);
    assert_eq!(
        (&found, ended),
        (&events(&[whole]).0, events(&[whole]).1),
        "a cut changes it"
    );
    for event in found {
        // The last line that fits is joined by a line break.
        assert!(event.data.len() <= CAP + 1 && event.name.len() <= CAP);
        assert!(!event.name.contains(['\n', '\r']) && !event.data.contains('\r'));
    }
}

/// An answer in the form of chat completions.
pub fn openai(data: &[u8]) {
    reply(data, ProviderKind::Openai);
}

/// An answer in the form of Messages.
pub fn anthropic(data: &[u8]) {
    reply(data, ProviderKind::Anthropic);
}

/// What is read doesn't depend on how it was cut.
fn reply(data: &[u8], kind: ProviderKind) {
    let (pieces, whole) = pieces(data);
    assert_eq!(read(&pieces, kind), read(&[whole], kind), "a cut changes it");
    if let Ok(body) = parse(&String::from_utf8_lossy(whole)) {
        let mut decoder = decoder(kind);
        if decoder.body(&body, &|_| {}).is_ok() {
            let _ = decoder.finish();
        }
    }
}

/// A list of models: what is read of it are names of models that say something, and the same when they are listed again.
pub fn models(data: &[u8]) {
    let Ok(models) = listed(data) else { return };
    assert!(
        models.iter().all(|id| !id.is_empty() && !id.contains("embed")),
        "{models:?}"
    );
    let ids: Vec<_> = models.iter().map(|id| serde_json::json!({ "id": id })).collect();
    let again = serde_json::json!({ "data": ids }).to_string();
    assert_eq!(listed(again.as_bytes()), Ok(models));
}

/// An answer of these parts that ended for a reason of its provider's own.
pub(super) fn answer(parts: Vec<Part>, word: &str, model: &str) -> Completion {
    Completion {
        parts,
        finish_reason: FinishReason::Other(word.to_owned()),
        model: model.to_owned(),
        usage: Usage {
            input_tokens: 0,
            cached_input_tokens: 0,
            output_tokens: 0,
            cost_micro_usd: 0,
            estimated: false,
        },
    }
}

/// What is left of an answer in these texts holds no secret, neither in one of its parts nor over their edges, with the reasoning between them or without.
pub fn said(texts: &[String], secrets: &Secrets) {
    let part = |(n, text): (usize, &String)| match n % 3 {
        0 => Part::Text(text.clone()),
        1 => Part::Reasoning(text.clone()),
        _ => Part::ToolCall(ToolCall {
            id: format!("c{n}"),
            name: "f".to_owned(),
            arguments: text.clone(),
        }),
    };
    let whole = texts.concat();
    let completion = cleaned(
        answer(texts.iter().enumerate().map(part).collect(), &whole, &whole),
        secrets,
    );
    let holds_none = |text: &str| assert_eq!(secrets.find(text.as_bytes()), None, "{texts:?}: {text:?}");
    holds_none(&completion.model);
    if let FinishReason::Other(word) = &completion.finish_reason {
        holds_none(word);
    }
    let (mut told, mut thought) = (String::new(), String::new());
    for part in &completion.parts {
        match part {
            Part::Text(text) => [&mut told, &mut thought].into_iter().for_each(|all| all.push_str(text)),
            Part::Reasoning(text) => thought.push_str(text),
            Part::ToolCall(call) => holds_none(&call.arguments),
            Part::Media(_) | Part::Opaque(_) => unreachable!("it has said neither"),
        }
    }
    holds_none(&told);
    holds_none(&thought);
}

fn decoder(kind: ProviderKind) -> Box<dyn Decode> {
    let limits = Limits {
        reply: 4096,
        ..Limits::default()
    };
    let owner = Owner {
        kind,
        provider: "p".into(),
    };
    match kind {
        ProviderKind::Anthropic => Box::new(anthropic::Decoder::new(owner, &limits)),
        _ => Box::new(openai::Decoder::new(owner, &limits)),
    }
}

fn read(pieces: &[&[u8]], kind: ProviderKind) -> (Reported, Result<Answer, Fault>) {
    let (mut parser, mut decoder) = (Parser::new(8192), decoder(kind));
    for piece in pieces.iter().copied().map(Some).chain([None]) {
        let taken = take(&mut parser, &mut *decoder, piece, &|_| {});
        let taken = taken.and_then(|fed| fed.map_err(|too_long| Fault::Broken(too_long.to_string())));
        if let Err(fault) = taken {
            return (decoder.reported(), Err(fault));
        }
        if decoder.is_over() {
            break;
        }
    }
    (decoder.reported(), decoder.finish())
}
