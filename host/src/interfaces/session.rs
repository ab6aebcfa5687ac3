//! `session`: who the guest is, and what it says to the people who watch.

use serde::Serialize;

use crate::bindings::{session, types};
use crate::error::Refusal;
use crate::event::{EventKind, Piece};
use crate::interfaces::{State, redact_report, report_texts};
use crate::scrub::{BEHIND, Known, Secrets};
use crate::session::call::{Call, Look, Missed};
use crate::session::codec;
use crate::session::emitted::Emitted;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::store::{NoteKind, Sync};
use crate::text;

#[derive(Serialize)]
struct Info;

impl Call for Info {
    const NAME: &'static str = "session.info";
}

impl Look for Info {
    type Answer = (String, Option<String>, u32);

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Missed> {
        let session = &guest.session;
        Ok((
            session.id.to_string(),
            session.parent.as_ref().map(ToString::to_string),
            session.depth,
        ))
    }
}

#[derive(Serialize)]
struct Cancelled;

impl Call for Cancelled {
    const NAME: &'static str = "session.cancelled";
}

impl Look for Cancelled {
    type Answer = bool;

    async fn look(&self, guest: &Guest) -> Result<bool, Missed> {
        Ok(guest.cancel.is_cancelled())
    }
}

/// What a line of a log takes besides its words: even an empty one is a record and an event.
const LINE: u64 = 64;

/// The level of a line that says why something failed.
const ERROR: &str = "error";

/// Keeps a line of a guest's log, within the limits of a line and of a step. So many bytes of it as `more` came behind `message`.
pub(super) fn log(guest: &Guest, level: &str, message: &str, more: usize) -> wasmtime::Result<()> {
    let limits = &guest.session.run.limits;
    if guest.step.count_log(0) > limits.log_step {
        return Ok(());
    }
    let most = usize::try_from(limits.log_line).unwrap_or(usize::MAX);
    let secrets = &guest.session.run.secrets;
    let (kept, missing) = secrets.beginning(message, most);
    let replaced = replaced(secrets, message, &kept);
    let message = text::with_missing(kept, missing.saturating_add(more));
    let bytes = LINE.saturating_add(message.len() as u64);
    let before = guest.step.count_log(bytes);
    let line = if before.saturating_add(bytes) <= limits.log_step {
        message.into_owned()
    } else {
        format!(
            "…[the rest of this step's log is dropped: limits.log_step is {} bytes]",
            limits.log_step
        )
    };
    if level == ERROR {
        guest.keep_logged(&line);
    }
    if guest.note(NoteKind::Log, format!("{level} {}: {line}", guest.plugin).into_bytes())? {
        if let Some(known) = replaced {
            guest.tells_secret(known, "its log");
        }
        let (level, plugin) = (level.to_owned(), guest.plugin.clone());
        guest.session.event(EventKind::Log {
            level,
            plugin,
            message: line,
        });
    }
    Ok(())
}

/// The secret that `kept` does not hold any more, which is the beginning of `text` without any.
fn replaced<'a>(secrets: &'a Secrets, text: &str, kept: &str) -> Option<Known<'a>> {
    match text.starts_with(kept) {
        true => None,
        false => secrets.replaced_in(text::prefix(text, kept.len().saturating_add(2 * BEHIND))),
    }
}

/// Writes that a guest emitted a piece, and hands it to whoever tells people. It is written though nothing of it may be told by that: a guest sees what a
/// record costs, of the journal and of time.
async fn emit(guest: &Guest, (written, replaced): (Emitted, Option<Known<'_>>), piece: Piece) -> Result<(), End> {
    let events = &guest.session.run.events;
    if guest.note(NoteKind::Emit, written.body())? {
        if let Some(known) = replaced {
            guest.tells_secret(known, "what it emits");
        }
        guest.flush(Sync::Durable).await?;
        events.emit(&guest.stream, piece);
    } else if !guest.is_again {
        // A process before this one told it.
        events.emit(&guest.stream, piece.told_before());
    }
    Ok(())
}

/// Tells the rest of what a guest emitted that has returned.
///
/// # Errors
/// What would end the guest.
pub async fn end_emit(guest: &Guest) -> Result<(), End> {
    match guest.last_emit() {
        Some(rest) => emit(guest, rest, Piece::End).await,
        None => Ok(()),
    }
}

impl session::Host for State {
    async fn info(&mut self) -> wasmtime::Result<session::SessionInfo> {
        let (id, parent, depth) = self.guest.look(&Info).await?.unwrap_or_default();
        Ok(session::SessionInfo { id, parent, depth })
    }

    async fn log(&mut self, level: session::LogLevel, message: String) -> wasmtime::Result<()> {
        self.guest.enter()?;
        let level = match level {
            session::LogLevel::Trace => "trace",
            session::LogLevel::Debug => "debug",
            session::LogLevel::Info => "info",
            session::LogLevel::Warn => "warn",
            session::LogLevel::Error => ERROR,
        };
        log(&self.guest, level, &message, 0)
    }

    async fn progress(&mut self, message: String, fraction: Option<f32>) -> wasmtime::Result<()> {
        self.guest.enter()?;
        let most = usize::try_from(self.guest.session.run.limits.progress).unwrap_or(usize::MAX);
        let secrets = &self.guest.session.run.secrets;
        let (kept, _) = secrets.beginning(&message, most);
        let replaced = replaced(secrets, &message, &kept);
        let message = kept.into_owned();
        // An instance in the place of another says again what was said, and heard, before.
        let before = self.guest.is_again && self.guest.is_replaying();
        if self.guest.is_strategy() && !before {
            self.guest.session.keep_progress(&message);
        }
        if self.guest.note(NoteKind::Progress, message.clone().into_bytes())? {
            if let Some(known) = replaced {
                self.guest.tells_secret(known, "its progress");
            }
            let fraction = fraction.filter(|f| f.is_finite()).map(|f| f.clamp(0.0, 1.0));
            self.guest.session.event(EventKind::Progress { message, fraction });
        }
        Ok(())
    }

    async fn emit(&mut self, text: String) -> wasmtime::Result<()> {
        self.guest.enter()?;
        let written = self.guest.next_emit(&text);
        Ok(emit(&self.guest, written, Piece::Next(text)).await?)
    }

    async fn checkpoint(&mut self, report: types::Report) -> wasmtime::Result<()> {
        self.guest.enter()?;
        let limit = self.guest.session.run.limits.checkpoint;
        let body = codec::encode(&report);
        if body.len() as u64 > limit {
            let message = format!(
                "a checkpoint of {} bytes is over limits.checkpoint ({limit}); the last one stays",
                body.len()
            );
            return log(&self.guest, "warn", &message, 0);
        }
        let clean = redact_report(&self.guest.session, report.clone());
        let body = codec::encode(&clean);
        if self.guest.note(NoteKind::Checkpoint, body)? {
            self.guest.returns(report_texts(&report), "its checkpoint");
            // A replay has the last one already.
            self.guest.session.keep_checkpoint(clean);
            self.guest.session.event(EventKind::Checkpoint);
        }
        Ok(())
    }

    async fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.guest.look(&Cancelled).await?.unwrap_or(false))
    }
}

/// A report's size against `limits.report`, for whoever ends a session.
pub fn report_fits(report: &types::Report, limit: u64) -> Result<(), Refusal> {
    let bytes = codec::encode(report).len() as u64;
    if bytes <= limit {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "its report has {bytes} bytes, over limits.report ({limit})"
    )))
}
