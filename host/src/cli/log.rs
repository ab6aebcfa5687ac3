//! The host's log of itself, on standard error where `HERMES_HOST_LOG` asks for it, and the last words of a panic. Both may
//! hold foreign text, so both are cleaned.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

use super::errors::Problem;
use super::stdio;
use crate::config::LOG_VARIABLE;
use crate::text::{Shape, clean};

/// Whether a log was asked for.
pub(super) fn is_on() -> bool {
    std::env::var_os(LOG_VARIABLE).is_some_and(|value| !value.is_empty())
}

/// Starts the log, if one was asked for.
pub(super) fn start() -> Result<(), Problem> {
    if !is_on() {
        return Ok(());
    }
    let wrong =
        || Problem::usage(format!("{LOG_VARIABLE} is no filter")).with_help(format!("try  {LOG_VARIABLE}=debug"));
    let filter = std::env::var(LOG_VARIABLE).map_err(|_| wrong())?;
    let filter = EnvFilter::try_new(filter).map_err(|_| wrong())?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(|| Clean)
        .finish();
    tracing::subscriber::set_global_default(log).map_err(|_| wrong())
}

/// A panic is a fault of this program; its message may quote what a guest sent.
pub(super) fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic
            .location()
            .map(|place| format!(" at {}:{}", place.file(), place.line()))
            .unwrap_or_default();
        let message = crate::text::line(message, 400);
        stdio::tell(&format!("error: a fault in hermes-host itself{place}: {message}\n"));
        // Nobody catches what unwinds the main thread: it would leave with another exit code, or wait for threads that wait for it.
        if std::thread::current().name() == Some("main") {
            std::process::exit(1);
        }
    }));
}

/// Standard error, cleaned. The log writes one whole event at a time.
struct Clean;

impl Write for Clean {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        stdio::tell(&clean(&String::from_utf8_lossy(bytes), Shape::Block));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
