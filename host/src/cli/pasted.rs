//! Commands that are printed to be pasted: where the home folder was named on the command line, they name it too.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use super::args::COMMANDS;
use crate::text::{self, shell_word};

const PROGRAM: &str = "hermes-host";
const FLAG: &str = "--home";

/// Characters of a path at most: as long as the system lets one be.
const PATH: usize = 4096;

/// The folder that this process was given, as a shell reads it back.
static HOME: OnceLock<String> = OnceLock::new();

/// This process was given a home folder.
pub(super) fn at_home(home: &Path) {
    // There is one command line. A name with signs that no screen is shown is told as all names are, and then can't be pasted.
    let _ = HOME.set(shell_word(&text::line(&home.display().to_string(), PATH)));
}

/// `text` with the home folder in each of its commands.
pub(super) fn pasted(text: &str) -> Cow<'_, str> {
    match HOME.get() {
        Some(home) => Cow::Owned(with_home(text, home)),
        None => Cow::Borrowed(text),
    }
}

/// Puts `home` behind the program's name where a command follows, or a flag, in lines that name no home folder yet.
fn with_home(text: &str, home: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.contains(FLAG) {
            out.push_str(line);
            continue;
        }
        let mut rest = line;
        while let Some(at) = rest.find(PROGRAM) {
            let begins = rest[..at].chars().next_back().is_none_or(|c| c == ' ' || c == '`');
            let (before, after) = rest.split_at(at + PROGRAM.len());
            out.push_str(before);
            if begins && is_command(after) {
                out.push_str(&format!(" {FLAG} {home}"));
            }
            rest = after;
        }
        out.push_str(rest);
    }
    out
}

/// Whether a command follows the program's name.
fn is_command(after: &str) -> bool {
    let Some(words) = after.strip_prefix(' ') else {
        return false;
    };
    let word = words.split([' ', '`', '\n']).next().unwrap_or_default();
    word.starts_with("--") || COMMANDS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_names_the_home_folder() {
        for (text, told) in [
            (
                "it:  hermes-host show 7f3a\nall `hermes-host runs`",
                "it:  hermes-host --home '/a b' show 7f3a\nall `hermes-host --home '/a b' runs`",
            ),
            ("hermes-host --plugin p", "hermes-host --home '/a b' --plugin p"),
            ("hermes-host reads version 1", "hermes-host reads version 1"),
            ("rm /x/hermes-host show", "rm /x/hermes-host show"),
            ("hermes-host --home /b show 1", "hermes-host --home /b show 1"),
        ] {
            assert_eq!(with_home(text, "'/a b'"), told);
        }
    }
}
