//! Documentation is checked where the examples in it are run: this program stands in the place of rustdoc there. `cargo doc` would check each
//! dependency once more to read it; for examples cargo passes what was compiled.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::tree;

/// Set where this program is to be rustdoc.
const STANDS_IN: &str = "XTASK_IS_RUSTDOC";

/// Has `cargo test --doc` check the documentation too.
pub(super) fn checked(command: &mut Command) -> std::io::Result<&mut Command> {
    Ok(command.env("RUSTDOC", std::env::current_exe()?).env(STANDS_IN, "1"))
}

/// Whether cargo calls it as rustdoc.
pub(crate) fn is_meant() -> bool {
    std::env::var_os(STANDS_IN).is_some()
}

/// Documents the crate whose examples are to be run, denying warnings, then runs them.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    if let Some(documents) = without_tests(&arguments) {
        let mut rustdoc = Command::new("rustdoc");
        rustdoc.args(documents).args(["-D", "warnings", "--out-dir"]);
        if !succeeds(rustdoc.arg(tree::target().join("doc"))) {
            return ExitCode::FAILURE;
        }
    }
    match succeeds(Command::new("rustdoc").args(arguments)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("xtask: rustdoc could not be started: {error}");
            false
        }
    }
}

/// The arguments that document what these would test; none where they test nothing.
fn without_tests(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let mut documents = Vec::new();
    let mut tests = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--test") => tests = true,
            Some("--test-args" | "--test-run-directory") => drop(rest.next()),
            _ => documents.push(argument.clone()),
        }
    }
    tests.then_some(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_examples_documents_them_without_its_words_on_tests() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let line =
            "--edition=2024 --test src/lib.rs --test-run-directory /a --extern b=c --test-args --color=never -Dx";
        assert_eq!(
            without_tests(&words(line)),
            Some(words("--edition=2024 src/lib.rs --extern b=c -Dx"))
        );
        assert_eq!(without_tests(&words("-vV")), None);
    }
}
