//! What passes through the scrubber before a guest sees it and before the journal keeps it: a tool's output, a child's report, and the words
//! of their errors. What is too long for its reader is kept whole on the run's blackboard, in the space `spill`.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::{Dimension, Refusal};
use crate::event::now_ms;
use crate::json;
use crate::scrub::{Budget, Scrubber, TAG_BYTES, fence};
use crate::session::Session;
use crate::session::end::End;
use crate::store::{SPILL_SPACE, Spill};
use crate::text;

/// Characters of an error's words.
const WORDS: usize = 2_000;
/// Blocks of a tool's output.
const BLOCKS: usize = 256;
/// Artifacts and open questions of a report, each.
const LIST: usize = 100;
/// Characters of one of them.
const LIST_LINE: usize = 500;
/// Characters of an error's kind, where it is none of the contract's.
const KIND: usize = 64;

/// Error words of a tool or a child: without secrets, and short.
pub fn scrub_words(session: &Session, words: &str) -> String {
    let words = session.run.secrets.redact(words);
    if words.chars().count() <= WORDS {
        return words.into_owned();
    }
    let mut cut: String = words.chars().take(WORDS - 1).collect();
    cut.push('…');
    cut
}

/// An error as a tool or a child tells it: its words and its kind's own name are both foreign.
pub fn scrub_error(session: &Session, mut error: types::Error) -> types::Error {
    error.message = scrub_words(session, &error.message);
    if let types::ErrorKind::Other(name) = &mut error.kind {
        *name = text::line(&session.run.secrets.redact(name), KIND);
    }
    error
}

/// The same for what a tool says that it is refused for, or the host does in its place.
pub(super) fn scrub_refusal(session: &Session, refusal: Refusal) -> Refusal {
    scrub_error(session, refusal.into()).into()
}

/// A tool's output as its caller reads it. `op` names the call. Texts, then what is beside them, share one budget of characters; what it has no
/// room for is kept whole, and said.
///
/// # Errors
/// The store failed.
pub async fn scrub_output(
    session: &Session,
    op: &str,
    mut output: types::ToolOutput,
) -> Result<types::ToolOutput, End> {
    let limits = &session.run.limits;
    let mut media = usize::try_from(limits.tool_result).unwrap_or(usize::MAX);
    // A person reads what he called as it is.
    let most = if session.run.keeping.is_run() {
        limits.scrub_tool
    } else {
        u64::MAX
    };
    let mut left = Left(usize::try_from(most).unwrap_or(usize::MAX).min(media));
    let (mut content, mut notes, mut rest, mut dropped) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (at, block) in std::mem::take(&mut output.content).into_iter().enumerate() {
        let key = Key::Output(if at == 0 { op.to_owned() } else { format!("{op}-{at}") });
        let room = left.0 > 0 && at < BLOCKS;
        content.push(match block {
            types::Content::Text(text) | types::Content::Other(text) if !room => {
                rest.push(text);
                continue;
            }
            types::Content::Media(_) if !room => {
                dropped += 1;
                continue;
            }
            types::Content::Text(text) => {
                let whose = Whose {
                    what: format!("tool output {op}"),
                    key,
                    fenced: Fenced::WhenShortened,
                };
                let clean = scrub_text(session, &whose, &text, left.0).await?;
                // A block costs something of what its reader takes in, however little is in it.
                left.take(clean.chars().count().max(1));
                types::Content::Text(clean)
            }
            types::Content::Other(text) => match aside(session, &mut left, "a block", &key, text).await? {
                Ok(clean) => types::Content::Other(clean),
                Err(note) => {
                    left.take(note.chars().count());
                    types::Content::Text(note)
                }
            },
            types::Content::Media(block) => {
                let bytes = block.data.len();
                match scrub_bytes(session, block.data).filter(|data| data.len() <= media) {
                    Some(data) => {
                        media -= data.len();
                        let media_type = text::line(&session.run.secrets.redact(&block.media_type), 127);
                        left.take(1 + media_type.chars().count());
                        types::Content::Media(types::Media { media_type, data })
                    }
                    None => {
                        let note = format!(
                            "[a block of {bytes} bytes left out: too large (limits.tool_result), or a secret in it]"
                        );
                        left.take(note.len());
                        types::Content::Text(note)
                    }
                }
            }
        });
    }
    for (name, part, text) in [
        ("structured content", "structured", &mut output.structured_content),
        ("_meta", "meta", &mut output.meta),
    ] {
        let Some(whole) = text.take() else { continue };
        match aside(session, &mut left, name, &Key::Output(format!("{op}-{part}")), whole).await? {
            Ok(clean) => *text = Some(clean),
            Err(note) => notes.push(note),
        }
    }
    if !rest.is_empty() {
        let kept = keep(session, &Key::Output(format!("{op}-rest")), &rest.join("\n")).await?;
        notes.push(format!(
            "[{} more blocks left out (limits.scrub.tool): {kept}]",
            rest.len()
        ));
    }
    if dropped > 0 {
        notes.push(format!(
            "[{dropped} more blocks of other media left out (limits.scrub.tool)]"
        ));
    }
    content.extend(notes.into_iter().map(types::Content::Text));
    output.content = content;
    Ok(output)
}

/// What is left of a budget of characters.
struct Left(usize);

impl Left {
    fn take(&mut self, chars: usize) {
        self.0 = self.0.saturating_sub(chars);
    }
}

/// JSON that belongs to a text: as it is, without secrets, where the budget has room for it. A note of where it is kept else, or why it is not.
async fn aside(
    session: &Session,
    left: &mut Left,
    name: &str,
    key: &Key,
    text: String,
) -> Result<Result<String, String>, End> {
    let chars = text.chars().count();
    if chars > left.0 {
        let kept = keep(session, key, &text).await?;
        return Ok(Err(format!("[{name} of {} bytes left out: {kept}]", text.len())));
    }
    left.take(chars);
    Ok(scrub_json(session, &text)
        .ok_or_else(|| format!("[{name} left out: it is no JSON, or none without the secrets in it]")))
}

/// Who reads a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The agent that delegated to its writer.
    Parent,
    /// The writer's next attempt.
    NextAttempt,
}

/// A child's report as its parent reads it, or its own next attempt: fenced, for what a child says is data to its parent. Its lists, its structured result and its summary
/// share one budget of characters; what it has no room for is kept whole, and said.
///
/// # Errors
/// The store failed.
pub async fn scrub_report(session: &Session, report: types::Report, reader: Reader) -> Result<types::Report, End> {
    let chars = usize::try_from(session.run.limits.scrub_report).unwrap_or(usize::MAX);
    let mut left = Left(chars);
    let mut notes = String::new();
    let mut lists = Vec::new();
    for (what, part, list) in [
        ("artifacts", "artifacts", report.artifacts),
        ("open questions", "questions", report.open_questions),
    ] {
        // What they point to is worth more than a summary's last words: a quarter each, at most.
        let shown = shown(session, &list, chars / 4);
        left.take(shown.iter().map(|line| line.chars().count()).sum());
        let cut = list
            .iter()
            .take(shown.len())
            .any(|line| line.chars().count() > LIST_LINE);
        if cut || shown.len() < list.len() {
            let kept = keep(session, &Key::Report(reader, part), &list.join("\n")).await?;
            notes.push_str(&match list.len() - shown.len() {
                0 => format!("\n[{what} shortened: {kept}]"),
                more => format!("\n[{more} more {what} left out: {kept}]"),
            });
        }
        lists.push(shown);
    }
    let mut result_json = None;
    if let Some(text) = report.result_json {
        let mut half = Left(left.0 / 2);
        match aside(
            session,
            &mut half,
            "structured result",
            &Key::Report(reader, "result"),
            text,
        )
        .await?
        {
            Ok(clean) => {
                left.take(clean.chars().count());
                result_json = Some(clean);
            }
            Err(note) => notes.push_str(&format!("\n{note}")),
        }
    }
    let whose = Whose {
        what: format!("report of {} ({})", text::line(&session.role, 40), session.id.number),
        key: Key::Report(reader, "report"),
        fenced: Fenced::Always,
    };
    let summary = scrub_text(session, &whose, &report.summary, left.0).await? + &notes;
    let open_questions = lists.pop().unwrap_or_default();
    let artifacts = lists.pop().unwrap_or_default();
    Ok(types::Report {
        outcome: report.outcome,
        summary,
        result_json,
        artifacts,
        open_questions,
    })
}

/// The first lines of a list, as far as they fit into `chars` characters.
fn shown(session: &Session, list: &[String], chars: usize) -> Vec<String> {
    let mut left = chars;
    let lines = list.iter().take(LIST);
    let lines = lines.map(|line| text::line(&session.run.secrets.redact(line), LIST_LINE));
    lines
        .take_while(|line| {
            let chars = line.chars().count();
            let fits = chars <= left;
            left = left.saturating_sub(chars);
            fits
        })
        .collect()
}

/// A root's report: for the person, so whole, but without what no record may hold.
pub fn redact_report(session: &Session, mut report: types::Report) -> types::Report {
    let secrets = &session.run.secrets;
    report.summary = secrets.without_secrets(&report.summary).into_owned();
    report.result_json = report.result_json.and_then(|text| {
        let clean = secrets.without_secrets(&json::plain(&text)).into_owned();
        json::is_object(&clean, session.run.limits.json_depth).ok()?;
        Some(clean)
    });
    for line in report.artifacts.iter_mut().chain(&mut report.open_questions) {
        *line = secrets.without_secrets(line).into_owned();
    }
    report
}

/// What a report says.
pub fn report_texts(report: &types::Report) -> impl Iterator<Item = &str> {
    let result = report.result_json.as_ref();
    let lists = report.artifacts.iter().chain(&report.open_questions);
    [&report.summary]
        .into_iter()
        .chain(result)
        .chain(lists)
        .map(String::as_str)
}

/// What an error says.
pub fn error_texts(error: &types::Error) -> impl Iterator<Item = &str> {
    let name = match &error.kind {
        types::ErrorKind::Other(name) => Some(name.as_str()),
        _ => None,
    };
    std::iter::once(error.message.as_str()).chain(name)
}

/// What a tool's output says, bytes that are no text among it as far as they are one.
pub fn output_texts(output: &types::ToolOutput) -> impl Iterator<Item = Cow<'_, str>> {
    let content = output.content.iter().flat_map(|block| match block {
        types::Content::Text(text) | types::Content::Other(text) => [Cow::Borrowed(text.as_str()), Cow::Borrowed("")],
        types::Content::Media(block) => [
            String::from_utf8_lossy(&block.data),
            Cow::Borrowed(block.media_type.as_str()),
        ],
    });
    let beside = output.structured_content.iter().chain(&output.meta);
    content.chain(beside.map(|text| Cow::Borrowed(text.as_str())))
}

/// JSON text without secrets, also such as would be there once it is read and written again. None where that is no JSON any more, or was none.
fn scrub_json(session: &Session, text: &str) -> Option<String> {
    let text = json::plain(text);
    let clean = session.run.secrets.redact(&text);
    json::is_object(&clean, session.run.limits.json_depth).ok()?;
    Some(clean.into_owned())
}

/// Bytes without secrets. None where they are no text and hold one, as nothing can be put in its place there.
fn scrub_bytes(session: &Session, data: Vec<u8>) -> Option<Vec<u8>> {
    let secrets = &session.run.secrets;
    match String::from_utf8(data) {
        Ok(text) => Some(secrets.without_secrets(&text).into_owned().into_bytes()),
        Err(no_text) => {
            let data = no_text.into_bytes();
            let lossy = String::from_utf8_lossy(&data);
            let holds_one = matches!(secrets.without_secrets(&lossy), Cow::Owned(_));
            (!holds_one).then_some(data)
        }
    }
}

struct Whose {
    /// For the fence.
    what: String,
    /// For the spill.
    key: Key,
    fenced: Fenced,
}

/// What a text is, among those of its session.
enum Key {
    /// A block of a tool's output.
    Output(String),
    /// A part of its report.
    Report(Reader, &'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fenced {
    Always,
    WhenShortened,
}

async fn scrub_text(session: &Session, whose: &Whose, text: &str, chars: usize) -> Result<String, End> {
    let (mut out, shortened) = if text.len() <= chars {
        (session.run.secrets.redact(text).into_owned(), false)
    } else {
        let budget = Budget {
            chars,
            spill: 0,
            piece: PIECE,
        };
        let mut scrubber = Scrubber::new(&session.run.secrets, budget, |_| {});
        scrubber.push(text.as_bytes());
        let scrubbed = scrubber.finish();
        (scrubbed.text, scrubbed.shortened)
    };
    if shortened || whose.fenced == Fenced::Always {
        out = fence(&out, &whose.what, &tag(session, &spill_prefix(session, &whose.key)));
    }
    if shortened {
        let kept = keep(session, &whose.key, text).await?;
        out.push_str(&format!("\n[{kept}]"));
    }
    Ok(out)
}

/// Bytes of one piece where nothing is spilled.
const PIECE: usize = 64 << 10;

/// Keeps a whole text, and says where: `whole text: spill/PREFIX, N bytes`.
async fn keep(session: &Session, key: &Key, text: &str) -> Result<String, End> {
    let no = "the whole text was not kept";
    if !session.run.keeping.is_run() {
        // What is cut outside of a run is a tool's result.
        return Ok(format!(
            "{no}: a single call keeps none; it is cut by limits.tool_result"
        ));
    }
    let limits = &session.run.limits;
    let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let prefix = spill_prefix(session, key);
    let mut pieces = Vec::new();
    let budget = Budget {
        chars: 0,
        spill: size(limits.scrub_spill),
        piece: size(limits.blackboard_value),
    };
    let mut scrubber = Scrubber::new(&session.run.secrets, budget, |piece: &str| {
        pieces.push(Spill {
            session: session.id.clone(),
            key: format!("{prefix}/{:04}", pieces.len() + 1),
            text: piece.to_owned(),
            at_ms: now_ms(),
        });
    });
    scrubber.push(text.as_bytes());
    let all = scrubber.finish();
    let bytes = Amounts::of(Dimension::StoredBytes, all.spilled_bytes);
    if pieces.is_empty() {
        return Ok(format!("{no} (limits.scrub.spill)"));
    }
    let Ok(room) = session.run.ledger.reserve(session.account, bytes) else {
        return Ok(format!("{no}: the budget of stored-bytes is used up"));
    };
    if !session.run.spill(pieces).await? {
        room.release();
        return Ok(format!(
            "{no}: the run's blackboard is full (limits.blackboard.bytes, limits.blackboard.keys)"
        ));
    }
    room.settle(bytes);
    let mut words = format!("whole text: {SPILL_SPACE}/{prefix}, {} bytes", all.spilled_bytes);
    if all.spilled_bytes < all.total_bytes {
        words.push_str(&format!(" of {} (limits.scrub.spill)", all.total_bytes));
    }
    Ok(words)
}

/// Where a text is kept: with those of the session that reads it, so that it may read it in full. A tool's output is read by the session
/// that called it, a report by its session's parent.
fn spill_prefix(session: &Session, key: &Key) -> String {
    let attempt = session.attempt();
    match (key, &session.parent) {
        (Key::Report(Reader::Parent, part), Some(parent)) => {
            format!("{}/child-{}-{attempt}-{part}", parent.number, session.id.number)
        }
        (Key::Report(_, part), _) => format!("{}/{attempt}-{part}", session.id.number),
        (Key::Output(op), _) => format!("{}/{attempt}-{op}", session.id.number),
    }
}

/// What fences the results of tools in what a provider is sent. It is one for the session, over all its attempts: what a provider has cached of a
/// conversation, and what is sent again, stays as it was.
pub(super) fn prompt_mark(session: &Session) -> String {
    tag(session, "results")
}

/// What closes a fence: nothing inside can know it before it is written.
fn tag(session: &Session, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(session.run.seed);
    hash.update(session.id.number.to_le_bytes());
    hash.update(key);
    hash.finalize()[..TAG_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
