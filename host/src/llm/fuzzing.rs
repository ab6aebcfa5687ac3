//! A provider's reply of any bytes, in any pieces and as one body.

use super::opaque::Owner;
use super::protocol::{Answer, Decode, parse};
use super::sse::{Parser, TooLong};
use super::transport::take;
use super::usage::Reported;
use super::{anthropic, fault::Fault, openai};
use crate::config::model::ProviderKind;
use crate::limits::Limits;

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
