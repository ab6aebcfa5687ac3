//! A value that nobody shall see: read from standard input, or typed on a terminal that does not show it.

use std::io::{IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::errors::Problem;
use super::stdio;

/// Ctrl-C, Ctrl-D, Ctrl-U, backspace in both of its forms.
const INTERRUPT: u8 = 3;
const END: u8 = 4;
const KILL: u8 = 21;
const ERASE: [u8; 2] = [8, 127];

/// The value of the secret `name`, without the line break at its end; of `most` bytes at most, in memory that is wiped.
pub(super) fn read(name: &str, most: u64) -> Result<Zeroizing<String>, Problem> {
    // Room for a byte too many and a line break, so that it is never moved.
    let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(3);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    if std::io::stdin().is_terminal() {
        typed(name, &mut bytes, room)?;
    } else {
        let read = std::io::stdin().lock().take(room as u64).read_to_end(&mut bytes);
        read.map_err(|e| Problem::usage(format!("the value could not be read from standard input: {e}")))?;
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .map_err(|_| Problem::usage("the value of a secret is visible ASCII characters and spaces"))?;
    if text.is_empty() {
        let none = Problem::usage("no value came from standard input");
        return Err(none
            .with_help(format!("type it       hermes-host secret set {name}"))
            .with_help(format!("from a file   hermes-host secret set {name} < FILE")));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Asks, and takes keys until the line ends.
fn typed(name: &str, line: &mut Vec<u8>, most: usize) -> Result<(), Problem> {
    let broken = |e: std::io::Error| Problem::usage(format!("the terminal can't be read: {e}"));
    // What was typed before was shown, and is thrown away.
    let _quiet = Quiet::begin().map_err(broken)?;
    stdio::tell(&format!("the value of {name} (it is not shown): "));
    let mut keys = std::io::stdin().lock();
    let mut key = [0];
    loop {
        if keys.read(&mut key).map_err(broken)? == 0 {
            return Ok(());
        }
        match key[0] {
            b'\n' | b'\r' | END => return Ok(()),
            INTERRUPT => return Err(Problem::stopped("nothing was set")),
            KILL => line.clear(),
            erase if ERASE.contains(&erase) => drop(line.pop()),
            _ if line.len() == most => {}
            other => line.push(other),
        }
    }
}

/// A terminal that shows nothing and leaves every key to us, until this is dropped: so that no key ends us before.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        stdio::tell("\n");
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
