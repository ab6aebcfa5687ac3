//! The compiler as the gate has it: this program stands in its place for what is the workspace's own. Clippy reads all of it on the way, and what only
//! tests or measures is not optimised: that takes minutes, and saves its tests seconds.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Set where this program is to be the compiler.
const STANDS_IN: &str = "XTASK_IS_RUSTC";

/// Has cargo compile through this program.
pub(super) fn checked(command: &mut Command) -> std::io::Result<&mut Command> {
    command.env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?);
    // As `cargo clippy` passes its own arguments on.
    command.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    Ok(command.env(STANDS_IN, "1"))
}

/// What cargo has it compile, if it does: the compiler, and what to pass to it.
pub(crate) fn meant() -> Option<Vec<OsString>> {
    std::env::var_os(STANDS_IN)?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let compiler = Path::new(arguments.first()?).file_stem()?;
    (compiler == OsStr::new("rustc")).then_some(arguments)
}

/// Becomes clippy, which compiles what it has read.
pub(crate) fn run(mut arguments: Vec<OsString>) -> ExitCode {
    if only_tests(&arguments) {
        let optimised = |argument: &&mut OsString| argument.to_string_lossy().starts_with("opt-level=");
        arguments
            .iter_mut()
            .filter(optimised)
            .for_each(|argument| *argument = "opt-level=0".into());
    }
    let error = Command::new("clippy-driver").args(arguments).exec();
    eprintln!("xtask: clippy-driver could not be started: {error}");
    ExitCode::FAILURE
}

/// Whether these compile tests, or what measures.
fn only_tests(arguments: &[OsString]) -> bool {
    let of_tests = |argument: &OsString| {
        let folder = Path::new(argument).parent().and_then(Path::file_name);
        argument == "--test" || folder == Some(OsStr::new("benches"))
    };
    arguments.iter().any(of_tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_tests_or_measures_is_told_apart() {
        let is = |line: &str| only_tests(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(!is(
            "rustc --crate-name host host/src/lib.rs --crate-type lib -C opt-level=3"
        ));
        assert!(is("rustc --crate-name host host/src/lib.rs --test -C opt-level=3"));
        assert!(is(
            "rustc --crate-name figures host/benches/figures.rs --crate-type bin"
        ));
        assert!(!is("rustc -vV"));
    }
}
