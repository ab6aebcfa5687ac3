//! Reads back why an instance ended: from the host's own cause, from a trap, or from the engine's words.

use wasmtime::Trap;

use crate::error::Dimension;
use crate::session::end::End;
use crate::text;

/// Frames of a guest's backtrace that are kept.
const FRAMES: usize = 20;

/// Why an instance ended before its export returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The host ended it.
    Host(End),
    /// It was never made: it can't be compiled or linked, or a folder that it was granted can't be opened.
    Unusable(String),
    /// It trapped, in words with its backtrace.
    Trapped(String),
    /// It called `exit`.
    Exited(i32),
}

/// Classifies the error of a call into a guest. This is the one place that reads the engine's words; a test breaks when they change.
pub(super) fn classify(error: &wasmtime::Error, fuel_limit: u64) -> Stopped {
    if let Some(end) = error.downcast_ref::<End>() {
        return Stopped::Host(end.clone());
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Stopped::Exited(exit.0);
    }
    if let Some(full) = error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>() {
        return Stopped::Host(End::NoRoom(format!("{full} (limits.resident)")));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            let message = format!("it burnt {fuel_limit} units of fuel, the most in one step (limits.fuel)");
            Stopped::Host(End::Exhausted {
                dimension: Dimension::Fuel,
                message,
            })
        }
        Some(Trap::StackOverflow) => trapped("stack overflow (limits.wasm_stack)", error),
        Some(trap) => trapped(&trap.to_string(), error),
        None => trapped(&engine_words(error), error),
    }
}

/// The engine's own limits have no types: it says them in words.
fn engine_words(error: &wasmtime::Error) -> String {
    let words = format!("{:#}", error.root_cause());
    if words.contains("fuel allocated for hostcalls") {
        return "a call's arguments or result are too large (limits.hostcall_bytes)".to_owned();
    }
    if words.contains("resource table has no free keys")
        || words.contains("too many component handles")
        || words.contains("handle table")
        || words.contains("handle limit exceeded")
    {
        return format!("{words} (limits.handles)");
    }
    if words.starts_with("requested len") {
        return format!("it asked for too many random bytes at once (limits.random): {words}");
    }
    if words.contains("exceeds memory limits") || words.starts_with("memory index") {
        return format!("it needs more memory to begin with than it may have (limits.memory): {words}");
    }
    if words.contains("exceeds table limits") || words.starts_with("table index") {
        return format!("it needs larger tables to begin with than it may have (limits.table_elements): {words}");
    }
    words
}

/// The words of a trap, with the last error in the instance's log on the line behind its cause: a panic's text, where the plugin logs that.
pub(super) fn with_log(words: &str, logged: Option<String>) -> String {
    let Some(logged) = logged else { return words.to_owned() };
    let (cause, trace) = words.split_once('\n').unwrap_or((words, ""));
    let logged = text::line(&logged, 300);
    format!("{cause}\n  its log says: {logged}\n{trace}")
        .trim_end()
        .to_owned()
}

fn trapped(cause: &str, error: &wasmtime::Error) -> Stopped {
    let mut words = text::line(cause, 300);
    if let Some(trace) = error.downcast_ref::<wasmtime::WasmBacktrace>() {
        for frame in trace.frames().iter().take(FRAMES) {
            let name = frame
                .func_name()
                .map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
            words.push_str("\n  at ");
            words.push_str(&text::line(&name, 120));
        }
    }
    Stopped::Trapped(words)
}
