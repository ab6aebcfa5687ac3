//! Where things are: the one place that knows the folders of this project.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The standard plugins, which a built host carries inside.
pub(crate) const STANDARD_PLUGINS: [&str; 5] = ["research", "supervisor", "files", "web", "script"];

/// The root of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A path under the root.
pub(crate) fn at(relative: &str) -> PathBuf {
    root().join(relative)
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` under the root.
pub(crate) fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    root().join(set.unwrap_or_else(|| OsString::from("target")))
}

/// The host's release binary.
pub(crate) fn host_binary() -> PathBuf {
    target()
        .join("release")
        .join(format!("hermes-host{}", std::env::consts::EXE_SUFFIX))
}

/// Components of the `plugins` workspace.
pub(crate) fn plugins() -> PathBuf {
    target().join("plugins")
}

/// Components of `tests/guests`.
pub(crate) fn test_guests() -> PathBuf {
    target().join("test-guests")
}

/// Tools of other languages that set-up installs, kept out of the system.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}
