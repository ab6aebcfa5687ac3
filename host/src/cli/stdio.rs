//! Standard input, output and error. A closed standard output is a quiet end; any other failure to write the answer is
//! told.

use std::io::{ErrorKind, Read as _, Write as _};

use super::errors::Problem;
use crate::limits::{Unit, show};

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Problem> {
    print_bytes(text.as_bytes())
}

/// Writes a line to standard output.
pub(super) fn print_line(text: &str) -> Result<(), Problem> {
    print(&format!("{text}\n"))
}

/// Writes to standard output as it is.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), Problem> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Problem {
            code: 1,
            kind: "other",
            message: format!("standard output could not be written: {error}"),
            help: Vec::new(),
            run: None,
        }),
        _ => Ok(()),
    }
}

/// Writes to standard error; a closed one changes nothing.
pub(super) fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// All of standard input as text, at most `max` bytes; `key` is that limit's.
pub(super) fn input(max: u64, key: &str, what: &str) -> Result<String, Problem> {
    let bytes = input_bytes(max, key, what)?;
    String::from_utf8(bytes).map_err(|_| Problem::usage(format!("{what} on standard input is not UTF-8 text")))
}

/// All of standard input, at most `max` bytes; `key` is that limit's.
pub(super) fn input_bytes(max: u64, key: &str, what: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes);
    read.map_err(|e| Problem::usage(format!("{what} could not be read from standard input: {e}")))?;
    if bytes.len() as u64 > max {
        let max = show(max, Unit::Bytes);
        return Err(Problem::usage(format!(
            "{what} on standard input is longer than {max} ({key})"
        )));
    }
    Ok(bytes)
}
