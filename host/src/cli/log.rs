//! The host's log of itself, on standard error where `HERMES_HOST_LOG` asks for it, and the last words of a panic. Both may
//! hold foreign text, so both are cleaned.

use std::any::Any;
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

/// A panic is a fault of this program. Nothing of what was put into its message is told: that may be what a guest sent, or a secret.
pub(super) fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(|place| format!(" at {}:{}", place.file(), place.line()))
            .unwrap_or_default();
        let words = own_words(panic.payload())
            .map(|words| format!(": {words}"))
            .unwrap_or_default();
        stdio::tell(&format!("error: a fault in hermes-host itself{place}{words}\n"));
        // Nobody catches what unwinds the main thread: it would leave with another exit code, or wait for threads that wait for it.
        if std::thread::current().name() == Some("main") {
            std::process::exit(1);
        }
    }));
}

/// The message of a panic where it stands in the program as it is. One that was put together is a `String`.
fn own_words(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
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

#[cfg(test)]
mod tests {
    use super::own_words;

    #[test]
    fn of_a_panic_only_the_programs_own_words_are_told() {
        assert_eq!(own_words(&"an own word"), Some("an own word"));
        assert_eq!(own_words(&format!("words over {}", "a canary")), None);
    }
}
