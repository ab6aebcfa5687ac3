//! The host's own counting of tokens, without any provider's tokenizer: a bound for reservations, which errs on the high
//! side, and an estimate for charges where a provider reports nothing.

use super::history::FENCE;
use super::request::Request;
use crate::bindings::{llm, types};

/// Tokens that a request is taken to cost beyond its messages and tools.
const PER_REQUEST: u64 = 64;
/// Tokens of framing for each message and each part.
const PER_PART: u64 = 8;
/// Tokens of the instructions that a provider adds as soon as there are tools.
const FOR_TOOLS: u64 = 512;
/// Tokens of one image, whatever its size: more than any known provider takes for one.
const IMAGE_BOUND: u64 = 50_000;
/// Tokens that one image probably has, where a provider doesn't say.
const IMAGE_LIKELY: u64 = 5_000;

/// How text is turned into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    /// Half a token for each ASCII byte, one for each other byte. Common text takes a quarter of a token for each
    /// byte, so only text made to be hard (rare symbols, random digits) comes near.
    Bound,
    /// A quarter for each ASCII byte, half a token for each other byte.
    Likely,
}

impl Rate {
    fn of(self, text: &str) -> u64 {
        let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
        let other = text.len() as u64 - ascii;
        match self {
            Self::Bound => ascii.div_ceil(2) + other,
            Self::Likely => ascii.div_ceil(4) + other.div_ceil(2),
        }
    }
}

/// Tokens that `text` probably has, for charges where a provider doesn't say.
pub fn count(text: &str) -> u64 {
    Rate::Likely.of(text)
}

/// The most input tokens that a request with these messages, tools and options will be taken to have.
pub(super) fn input_bound(messages: &[llm::Message], tools: &[types::ToolDef], options: &llm::Options) -> u64 {
    input(Rate::Bound, messages, tools, options)
}

/// The input tokens that a request with these messages, tools and options probably has.
pub(super) fn input_likely(messages: &[llm::Message], tools: &[types::ToolDef], options: &llm::Options) -> u64 {
    input(Rate::Likely, messages, tools, options)
}

/// The input tokens that `request` probably has.
pub(super) fn input_estimate(request: &Request) -> u64 {
    input_likely(&request.messages, &request.tools, &request.options)
}

fn input(rate: Rate, messages: &[llm::Message], tools: &[types::ToolDef], options: &llm::Options) -> u64 {
    let tool = |tool: &types::ToolDef| {
        PER_PART + rate.of(&tool.name) + rate.of(&tool.description) + rate.of(&tool.input_schema)
    };
    let for_tools = if tools.is_empty() { 0 } else { FOR_TOOLS };
    // A schema and the provider's options may end up in the prompt.
    let texts = [&options.response_schema, &options.provider_options]
        .into_iter()
        .flatten();
    let texts = texts.chain(&options.stop).map(|text| PER_PART + rate.of(text));
    PER_REQUEST
        + for_tools
        + texts.sum::<u64>()
        + tools.iter().map(tool).sum::<u64>()
        + messages.iter().map(|m| PER_PART + message(rate, m)).sum::<u64>()
}

fn message(rate: Rate, message: &llm::Message) -> u64 {
    match message {
        llm::Message::System(text) => rate.of(text),
        llm::Message::User(blocks) => blocks.iter().map(|b| content(rate, b)).sum(),
        llm::Message::Assistant(parts) => parts.iter().map(|p| PER_PART + part(rate, p)).sum(),
        llm::Message::Tool(results) => results.iter().map(|r| PER_PART + result(rate, r)).sum(),
    }
}

fn part(rate: Rate, part: &llm::Part) -> u64 {
    match part {
        llm::Part::Text(text) | llm::Part::Reasoning(text) | llm::Part::Opaque(text) => rate.of(text),
        llm::Part::ToolCall(call) => rate.of(&call.id) + rate.of(&call.name) + rate.of(&call.arguments),
        llm::Part::Media(media) => self::media(rate, media),
    }
}

fn content(rate: Rate, block: &types::Content) -> u64 {
    PER_PART
        + match block {
            types::Content::Text(text) | types::Content::Other(text) => rate.of(text),
            types::Content::Media(media) => self::media(rate, media),
        }
}

fn result(rate: Rate, result: &types::ToolResult) -> u64 {
    let error = result.error.as_ref().map_or(0, |e| PER_PART + rate.of(&e.message));
    let structured = result
        .output
        .structured_content
        .as_deref()
        .map_or(0, |json| rate.of(json));
    // What it is fenced with counts, though a script is not sent that.
    rate.of(FENCE)
        + rate.of(&result.call_id)
        + error
        + structured
        + result.output.content.iter().map(|c| content(rate, c)).sum::<u64>()
}

fn media(rate: Rate, media: &types::Media) -> u64 {
    let image = match rate {
        Rate::Bound => IMAGE_BOUND,
        Rate::Likely => IMAGE_LIKELY,
    };
    if media.media_type.starts_with("image/") {
        image
    } else {
        // Base64 makes four characters of three bytes; a document may be read as text.
        image.max(media.data.len() as u64 * 2 / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> llm::Options {
        crate::llm::request::tests::request(Vec::new()).options
    }

    #[test]
    fn the_bound_is_never_below_the_estimate() {
        for text in [
            "",
            "a",
            "plain English text, as most of it is",
            "日本語のテキスト",
            "ab\u{e9}",
        ] {
            let messages = [llm::Message::System(text.to_owned())];
            assert!(input_bound(&messages, &[], &options()) >= count(text), "{text}");
            assert!(Rate::Bound.of(text) >= Rate::Likely.of(text), "{text}");
        }
        assert_eq!(count("12345678"), 2);
        assert_eq!(Rate::Bound.of("1234é"), 4);
    }

    #[test]
    fn every_part_of_a_request_counts() {
        let bound = |messages: &[llm::Message]| input_bound(messages, &[], &options());
        let empty = bound(&[]);
        let call = types::ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: "x".repeat(1_000),
        };
        let media = types::Media {
            media_type: "application/pdf".into(),
            data: vec![0; 90_000],
        };
        let image = types::Media {
            media_type: "image/png".into(),
            data: vec![0; 10],
        };
        assert!(bound(&[llm::Message::Assistant(vec![llm::Part::ToolCall(call)])]) >= empty + 500);
        assert!(bound(&[llm::Message::User(vec![types::Content::Media(media)])]) >= empty + 60_000);
        assert!(bound(&[llm::Message::Assistant(vec![llm::Part::Media(image)])]) >= empty + 50_000);
        let long = || Some("x".repeat(1_000));
        let changes: [fn(&mut llm::Options, Option<String>); 3] = [
            |o, text| o.response_schema = text,
            |o, text| o.provider_options = text,
            |o, text| o.stop = text.into_iter().collect(),
        ];
        for change in changes {
            let mut options = options();
            change(&mut options, long());
            assert!(input_bound(&[], &[], &options) >= empty + 500);
        }
    }
}
