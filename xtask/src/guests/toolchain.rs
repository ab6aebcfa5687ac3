//! The compiler for Rust guests: rustup's, or Debian's, whose standard library is built from source.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// The target of every Rust guest: no WASI unless the guest itself asks for it.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages that compile a Rust guest.
pub(crate) const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// Debian's linker for WebAssembly, as the package `lld-22` names it.
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-22";

/// Where the compiler for Rust guests comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    Rustup,
    Debian,
}

impl Toolchain {
    /// `GUEST_TOOLCHAIN` decides; without it, rustup where there is one.
    pub(crate) fn choose() -> Result<Self> {
        match env::var("GUEST_TOOLCHAIN").as_deref() {
            Ok("rustup") => Ok(Self::Rustup),
            Ok("debian") => Ok(Self::Debian),
            Ok("") | Err(_) if has_target() || process::find("rustup").is_some() => Ok(Self::Rustup),
            Ok("") | Err(_) => Ok(Self::Debian),
            Ok(other) => bail!("GUEST_TOOLCHAIN is `{other}`: it may be `rustup` or `debian`"),
        }
    }

    /// Whether it can compile a guest now.
    pub(crate) fn is_ready(self) -> bool {
        match self {
            Self::Rustup => has_target(),
            Self::Debian => DEBIAN_PACKAGES
                .iter()
                .all(|package| crate::setup::debian::is_installed(package)),
        }
    }

    /// A cargo that compiles guests for [`TARGET`].
    pub(crate) fn cargo_build(self, folder: &Path) -> Command {
        let mut command = match self {
            Self::Rustup => Command::new("cargo"),
            Self::Debian => Command::new("/usr/bin/cargo"),
        };
        process::shed_cargo(&mut command);
        command.current_dir(folder).arg("build");
        if self == Self::Debian {
            // A compiler and a standard library of two versions don't fit together: all of these are Debian's.
            command
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTDOC", "/usr/bin/rustdoc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                .args(["-Z", "build-std=std,panic_abort"]);
        }
        command.args(["--target", TARGET]);
        command
    }
}

/// Whether the compiler in use has the standard library of [`TARGET`].
fn has_target() -> bool {
    let mut command = Command::new("rustc");
    process::shed_cargo(&mut command);
    let Ok(sysroot) = process::capture(command.args(["--print", "sysroot"])) else {
        return false;
    };
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    fs::read_dir(libraries).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
    })
}
