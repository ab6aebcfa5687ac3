//! Keeps a conversation within a size: pure functions on messages, no host needed.
//!
//! What goes first is what is oldest and can be had again: results of tools are shortened, then replaced by a note, then
//! whole turns are left out. Instructions, the task and the last turns stay, and every tool call keeps its result.

use crate::llm::{Message, Part};
use crate::text::{prefix, shorten};
use crate::{Content, ToolOutput, ToolResult};

/// Turns at the end whose results are touched last of all.
const RECENT_TURNS: usize = 2;
/// What a result keeps when it is shortened, in bytes.
const SHORT_BYTES: usize = 1_500;
/// What a result of a last turn keeps at least, in bytes.
const LEAST_BYTES: usize = 400;
/// What part of the limit may be recalled of turns that were left out: an eighth.
const RECALLED: usize = 8;
/// What stands in for a result that was dropped.
const DROPPED: &str = "[This result was dropped to save room. Call the tool again if you need it.]";
/// What every message, block and call costs besides its text: JSON keys, quotes, a role.
const OVERHEAD: usize = 48;

/// How the messages came to fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fitted {
    /// Results that were shortened.
    pub shortened: usize,
    /// Results that were replaced by a note.
    pub dropped: usize,
    /// Turns that were left out whole.
    pub turns_left_out: usize,
    /// The size that remains, as [`size`] counts it.
    pub size: usize,
}

/// Makes `messages` fit into `limit` bytes, as [`size`] counts them.
///
/// When they do not fit, they are brought down to three quarters of the limit at once, so that the beginning of the
/// conversation, which providers cache, changes seldom. With a limit too small for what must stay, they come out larger
/// than it; see [`Fitted::size`].
pub fn fit(messages: &mut Vec<Message>, limit: usize) -> Fitted {
    fit_recalling(messages, limit, |_| String::new())
}

/// The same; where whole turns are left out, the text that `recall` makes stands beside the note about them. `recall` is
/// told how many bytes it may have, and is asked again, for the whole of it, each time that more turns go.
pub fn fit_recalling(messages: &mut Vec<Message>, limit: usize, recall: impl FnOnce(usize) -> String) -> Fitted {
    let mut fitted = Fitted {
        size: size(messages),
        ..Fitted::default()
    };
    if fitted.size <= limit {
        return fitted;
    }
    let target = limit - limit / 4;
    let recent = start_of_recent(messages);
    fitted.shortened = shrink(&mut messages[..recent], target, &mut fitted.size, shortened);
    fitted.dropped = shrink(&mut messages[..recent], target, &mut fitted.size, dropped);
    let room = limit / RECALLED;
    let recall = || prefix(recall(room).trim(), room).to_owned();
    fitted.turns_left_out = leave_out(messages, recent, target, &mut fitted.size, recall);
    if fitted.size > limit {
        let first = start_of_recent(messages);
        let sizes: Vec<_> = messages[first..]
            .iter()
            .filter_map(results)
            .flatten()
            .map(result_size)
            .collect();
        let room = target.saturating_sub(fitted.size - sizes.iter().sum::<usize>());
        let each = (room / sizes.len().max(1))
            .saturating_sub(3 * OVERHEAD)
            .max(LEAST_BYTES);
        fitted.shortened += shrink(&mut messages[first..], 0, &mut fitted.size, |result| {
            cut_to(result, each)
        });
    }
    fitted
}

/// The size of messages in bytes: about what they take as JSON, escapes and a margin for keys included.
pub fn size(messages: &[Message]) -> usize {
    messages.iter().map(message_size).sum()
}

/// What a text takes as JSON, without its quotes.
pub fn json_len(text: &str) -> usize {
    let mut length = text.len();
    for byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => length += 1,
            0..0x20 => length += 5,
            _ => {}
        }
    }
    length
}

fn message_size(message: &Message) -> usize {
    OVERHEAD
        + match message {
            Message::System(text) => json_len(text),
            Message::User(content) => content.iter().map(content_size).sum(),
            Message::Assistant(parts) => parts.iter().map(part_size).sum(),
            Message::Tool(results) => results.iter().map(result_size).sum(),
        }
}

fn content_size(content: &Content) -> usize {
    OVERHEAD
        + match content {
            Content::Text(text) | Content::Other(text) => json_len(text),
            Content::Media(media) => media.data.len().div_ceil(3) * 4,
        }
}

fn part_size(part: &Part) -> usize {
    OVERHEAD
        + match part {
            Part::Text(text) | Part::Reasoning(text) | Part::Opaque(text) => json_len(text),
            Part::ToolCall(call) => OVERHEAD + call.name.len() + call.id.len() + json_len(&call.arguments),
            Part::Media(media) => media.data.len().div_ceil(3) * 4,
        }
}

fn result_size(result: &ToolResult) -> usize {
    let extras = [&result.output.structured_content, &result.output.meta]
        .into_iter()
        .flatten();
    OVERHEAD
        + result.call_id.len()
        + result.output.content.iter().map(content_size).sum::<usize>()
        + extras.map(|json| json_len(json)).sum::<usize>()
        + result.error.as_ref().map_or(0, |error| json_len(&error.message))
}

/// Where the last turns begin; a turn begins with a message of the model.
fn start_of_recent(messages: &[Message]) -> usize {
    let starts = turn_starts(messages);
    let first = starts.len().saturating_sub(RECENT_TURNS);
    starts.get(first).copied().unwrap_or(messages.len())
}

fn turn_starts(messages: &[Message]) -> Vec<usize> {
    let starts = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| matches!(message, Message::Assistant(_)));
    starts.map(|(index, _)| index).collect()
}

fn results(message: &Message) -> Option<&[ToolResult]> {
    match message {
        Message::Tool(results) => Some(results),
        _ => None,
    }
}

/// Makes results smaller, the oldest first, until `size` is at most `target`. Answers how many it changed.
fn shrink(
    messages: &mut [Message],
    target: usize,
    size: &mut usize,
    smaller: impl Fn(&ToolResult) -> ToolResult,
) -> usize {
    let mut changed = 0;
    for message in messages {
        let Message::Tool(results) = message else { continue };
        for result in results {
            if *size <= target {
                return changed;
            }
            let new = smaller(result);
            let (before, after) = (result_size(result), result_size(&new));
            if after < before {
                *size -= before - after;
                *result = new;
                changed += 1;
            }
        }
    }
    changed
}

fn shortened(result: &ToolResult) -> ToolResult {
    cut_to(result, SHORT_BYTES)
}

fn dropped(result: &ToolResult) -> ToolResult {
    with_text(result, DROPPED.into())
}

/// The same result in at most about `bytes` of text. Media become a line that names them.
fn cut_to(result: &ToolResult, bytes: usize) -> ToolResult {
    let blocks = result.output.content.iter().map(|block| match block {
        Content::Text(text) | Content::Other(text) => text.clone(),
        Content::Media(media) => format!("[{}, {} bytes, left out]", media.media_type, media.data.len()),
    });
    let text = blocks.collect::<Vec<_>>().join("\n");
    with_text(
        result,
        shorten(&text, bytes, " to save room; call the tool again if you need them"),
    )
}

fn with_text(result: &ToolResult, text: String) -> ToolResult {
    ToolResult {
        call_id: result.call_id.clone(),
        output: ToolOutput {
            content: vec![Content::Text(text)],
            structured_content: None,
            meta: None,
        },
        error: result.error.clone(),
    }
}

/// Leaves out the oldest turns before `recent`, and says so after the task, with what is recalled of them.
fn leave_out(
    messages: &mut Vec<Message>,
    recent: usize,
    target: usize,
    size: &mut usize,
    recall: impl FnOnce() -> String,
) -> usize {
    let starts = turn_starts(&messages[..recent]);
    let Some(&first) = starts.first() else { return 0 };
    let (mut end, mut turns) = (first, 0);
    for next in starts.iter().skip(1).copied().chain([recent]) {
        if *size <= target {
            break;
        }
        *size -= messages[end..next].iter().map(message_size).sum::<usize>();
        (end, turns) = (next, turns + 1);
    }
    if turns > 0 {
        messages.drain(first..end);
        note_left_out(&mut messages[..first], turns, &recall(), size);
    }
    turns
}

/// Counts the turns left out in one block after the task's text, which ends with what is recalled of them.
fn note_left_out(head: &mut [Message], turns: usize, recalled: &str, size: &mut usize) {
    const NOTE: &str = "[Left out to save room, turns: ";
    let Some(Message::User(content)) = head.iter_mut().find(|message| matches!(message, Message::User(_))) else {
        return;
    };
    *size -= content.iter().map(content_size).sum::<usize>();
    let earlier: Option<usize> = match &content[..] {
        [_, .., Content::Text(text)] => text
            .strip_prefix(NOTE)
            .and_then(|rest| rest.split_once(']')?.0.parse().ok()),
        _ => None,
    };
    if earlier.is_some() {
        content.pop();
    }
    let mut note = format!("{NOTE}{}]", earlier.unwrap_or(0) + turns);
    if !recalled.is_empty() {
        note.push('\n');
        note.push_str(recalled);
    }
    content.push(Content::Text(note));
    *size += content.iter().map(content_size).sum::<usize>();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ToolCall;

    const TASK: &str = "What limits dendrite growth?";

    fn turn(number: usize, result: &str) -> [Message; 2] {
        let id = format!("call-{number}");
        let call = ToolCall {
            id: id.clone(),
            name: "read_file".into(),
            arguments: r#"{"path":"a.md"}"#.into(),
        };
        let result = ToolResult {
            call_id: id,
            output: ToolOutput::text(result),
            error: None,
        };
        [
            Message::Assistant(vec![Part::Text(format!("Turn {number}.")), Part::ToolCall(call)]),
            Message::Tool(vec![result]),
        ]
    }

    fn start() -> Vec<Message> {
        vec![Message::System("Cite.".into()), Message::user(TASK)]
    }

    /// Every call has its result in the next message, the head is there, and the last turn is the newest.
    fn assert_valid(messages: &[Message], newest: usize) {
        assert_eq!(messages[0], Message::System("Cite.".into()));
        assert!(matches!(&messages[1], Message::User(content) if content[0] == Content::Text(TASK.into())));
        for pair in messages[2..].chunks(2) {
            let [Message::Assistant(parts), Message::Tool(results)] = pair else {
                panic!("{pair:?}")
            };
            let Part::ToolCall(call) = &parts[1] else {
                panic!("{parts:?}")
            };
            assert_eq!(results.len(), 1);
            assert_eq!(call.id, results[0].call_id);
        }
        let Some(Message::Tool(results)) = messages.last() else {
            panic!("no last result")
        };
        assert_eq!(results[0].call_id, format!("call-{newest}"));
    }

    #[test]
    fn ninety_iterations_of_large_results_fit() {
        // A window of about 400k tokens, one of 128k, one of 8k, and one that hardly holds the task.
        for (limit, result) in [
            (3_900_000, 250_000),
            (390_000, 100_000),
            (24_000, 48_000),
            (6_000, 48_000),
        ] {
            let result = "Dendrites grow — 枝晶 — until starved.\n".repeat(result / 48);
            let (mut messages, mut total) = (start(), Fitted::default());
            for number in 0..90 {
                messages.extend(turn(number, &result));
                let fitted = fit(&mut messages, limit);
                assert_eq!(fitted.size, size(&messages), "the running size is the true one");
                assert!(fitted.size <= limit, "{} > {limit} after {number}", fitted.size);
                assert_valid(&messages, number);
                total.shortened += fitted.shortened;
                total.dropped += fitted.dropped;
                total.turns_left_out += fitted.turns_left_out;
            }
            assert!(total.shortened > 0);
            assert_eq!(
                total.turns_left_out > 0,
                limit <= 24_000,
                "turns go last of all: {limit} {total:?}"
            );
        }
    }

    #[test]
    fn what_is_recalled_stands_beside_the_note_and_is_made_anew() {
        let (mut messages, mut asked) = (start(), 0);
        for number in 0..60 {
            messages.extend(turn(number, &"x".repeat(10_000)));
            let fitted = fit_recalling(&mut messages, 16_000, |room| {
                asked += 1;
                assert_eq!(room, 2_000);
                format!("Notes up to turn {number}: {}", "n".repeat(number * 100))
            });
            assert_eq!(fitted.size, size(&messages));
            assert!(fitted.size <= 16_000, "{}", fitted.size);
            assert_valid(&messages, number);
        }
        let Message::User(content) = &messages[1] else {
            panic!("no task")
        };
        let [_, Content::Text(note)] = &content[..] else {
            panic!("one block beside the task: {content:?}")
        };
        assert!(
            asked > 1 && note.starts_with("[Left out to save room, turns: "),
            "{note}"
        );
        let turns = turn_starts(&messages).len();
        assert!(
            note.contains(&format!("turns: {}]\nNotes up to turn ", 60 - turns)),
            "{note}"
        );
        assert!(
            note.len() < 2_100,
            "what is recalled is cut to its room: {}",
            note.len()
        );
    }

    #[test]
    fn the_last_turns_are_whole_while_older_ones_can_give() {
        let mut messages = start();
        for number in 0..30 {
            messages.extend(turn(number, &"x".repeat(10_000)));
        }
        fit(&mut messages, 100_000);
        let whole = |message: &Message| results(message).is_some_and(|r| r[0].joined_text().len() == 10_000);
        assert!(
            messages
                .iter()
                .rev()
                .filter(|message| results(message).is_some())
                .take(2)
                .all(whole)
        );
        assert!(!whole(&messages[3]), "the oldest result gave way");
    }

    #[test]
    fn what_fits_is_untouched() {
        let mut messages = start();
        messages.extend(turn(0, &"x".repeat(5_000)));
        let before = messages.clone();
        let limit = size(&messages);
        assert_eq!(
            fit(&mut messages, limit),
            Fitted {
                size: limit,
                ..Fitted::default()
            }
        );
        assert_eq!(messages, before);
        assert!(fit(&mut messages, limit - 1).size < limit);
    }

    #[test]
    fn many_results_in_one_last_turn_share_the_room() {
        let (mut parts, mut answers) = (vec![], vec![]);
        for number in 0..32 {
            let id = format!("call-{number}");
            parts.push(Part::ToolCall(ToolCall {
                id: id.clone(),
                name: "t".into(),
                arguments: "{}".into(),
            }));
            answers.push(ToolResult {
                call_id: id,
                output: ToolOutput::text("ä".repeat(100_000)),
                error: None,
            });
        }
        let mut messages = start();
        messages.extend([Message::Assistant(parts), Message::Tool(answers)]);
        assert!(fit(&mut messages, 200_000).size <= 200_000);
        assert_eq!(results(&messages[3]).unwrap().len(), 32);
    }

    #[test]
    fn escapes_count() {
        assert_eq!(
            json_len("a\"\n\u{1}ä"),
            serde_json::to_string("a\"\n\u{1}ä").unwrap().len() - 2
        );
    }
}
