//! Running other programs, with errors that name the command.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Variables that an outer cargo or rustup sets for its own build. A cargo for another toolchain or workspace must not see
/// them; what configures registries and proxies stays.
const OUTER: [&str; 12] = [
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_LINKER",
    "RUSTC_BOOTSTRAP",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
    "CARGO",
    "CARGO_MAKEFLAGS",
    "LD_LIBRARY_PATH",
];
const OUTER_PREFIXES: [&str; 11] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_CRATE_",
    "CARGO_BIN_",
    "CARGO_PRIMARY_",
    "CARGO_BUILD_",
    "CARGO_PROFILE_",
];

/// Runs a command to its end, its output on standard error, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("`{shown}` could not be started"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command to its end and returns what it printed on standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{shown}` could not be started"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed something that is not text"))
}

/// Whether a command starts and succeeds; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Finds a program in `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The cargo that runs this xtask.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::tree::root());
    command
}

/// Takes away what an outer cargo set for its own build.
pub(crate) fn shed_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if is_outer(&name) {
            command.env_remove(name);
        }
    }
}

fn is_outer(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    OUTER.contains(&name.as_ref()) || OUTER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(shown_word).collect::<Vec<_>>().join(" ")
}

fn shown_word(word: &OsStr) -> String {
    let word = Path::new(word).display().to_string();
    if word.is_empty() || word.contains([' ', '\'', '"']) {
        format!("{word:?}")
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outer_build_is_shed_but_registries_stay() {
        for name in [
            "RUSTC",
            "CARGO_PKG_NAME",
            "CARGO_TARGET_DIR",
            "CARGO_MANIFEST_DIR",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(is_outer(OsStr::new(name)), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_REGISTRIES_X_INDEX",
            "PATH",
            "RUSTUP_HOME",
        ] {
            assert!(!is_outer(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn commands_are_shown_as_typed() {
        assert_eq!(
            show(Command::new("cargo").args(["build", "a b"])),
            "cargo build \"a b\""
        );
    }
}
