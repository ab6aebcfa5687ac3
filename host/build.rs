//! Puts the standard plugins into the binary, so that `--plugin research` works from the one file. The folder that holds them is named by
//! `HERMES_STANDARD_PLUGINS`; without it the binary has none and says so.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// The plugins that every release carries.
const STANDARD: [&str; 5] = ["files", "research", "script", "supervisor", "web"];

fn main() {
    println!("cargo::rerun-if-env-changed=HERMES_STANDARD_PLUGINS");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let folder = env::var_os("HERMES_STANDARD_PLUGINS").map(PathBuf::from);
    if let Err(message) = write(&out, folder.as_deref()) {
        println!("cargo::error={message}");
        process::exit(1);
    }
}

fn write(out: &Path, folder: Option<&Path>) -> Result<(), String> {
    let mut code = String::from("pub(super) const STANDARD: &[(&str, &[u8])] = &[\n");
    for name in STANDARD {
        let Some(folder) = folder else { break };
        let file = folder.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.is_file() {
            return Err(format!("HERMES_STANDARD_PLUGINS: there is no {}", file.display()));
        }
        let _ = writeln!(
            code,
            "    ({name:?}, include_bytes!({:?})),",
            file.display().to_string()
        );
    }
    code.push_str("];\n");
    fs::write(out.join("standard.rs"), code).map_err(|e| format!("the list of standard plugins can't be written: {e}"))
}
