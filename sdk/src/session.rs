//! The run that this code is part of: progress for people, the answer as it grows, the log, and reports so far.

use crate::Report;
use crate::bindings::session as host;
use crate::text::prefix;

pub use host::{LogLevel, SessionInfo};

/// What the host keeps of one progress message, in bytes.
const PROGRESS_BYTES: usize = 256;
/// What a checkpoint's summary may take, so that the whole stays below the host's limit for a checkpoint (64 KiB) even
/// when it is encoded.
const CHECKPOINT_BYTES: usize = 24 * 1024;

/// Tells whoever watches what the run is doing now.
pub fn progress(message: &str) {
    host::progress(prefix(message, PROGRESS_BYTES), None);
}

/// The same, with how much is done: 0 to 1.
pub fn progress_at(message: &str, fraction: f32) {
    host::progress(prefix(message, PROGRESS_BYTES), Some(fraction.clamp(0.0, 1.0)));
}

/// Adds to the answer that is streamed to whoever watches. What the run answers in the end is its report's summary.
pub fn emit(text: &str) {
    host::emit(text);
}

/// Writes into the run's log, which people read and models do not.
pub fn log(level: LogLevel, message: &str) {
    host::log(level, message);
}

/// Has a panic say its text and its place in the run's log, as an error, before the plugin traps: whoever is told of the trap reads it.
///
/// [`macro@crate::strategy`] does this for an agent. A tool calls it first thing, if it wants that: it then imports the interface `session`, which
/// a tool needs for nothing else.
pub fn log_panics() {
    static SET: std::sync::Once = std::sync::Once::new();
    SET.call_once(|| std::panic::set_hook(Box::new(|panic| log(LogLevel::Error, &panic.to_string()))));
}

/// Keeps a report of what there is so far, in case that this attempt returns none. A long summary is shortened.
pub fn checkpoint(mut report: Report) {
    report.summary = crate::text::shorten(&report.summary, CHECKPOINT_BYTES, "");
    report.result_json = report.result_json.filter(|json| json.len() <= CHECKPOINT_BYTES / 2);
    host::checkpoint(&report);
}

/// Whether the run was cancelled. Long computations ask now and then.
pub fn cancelled() -> bool {
    host::cancelled()
}

/// Who this session is in the run's tree.
pub fn info() -> SessionInfo {
    host::info()
}
