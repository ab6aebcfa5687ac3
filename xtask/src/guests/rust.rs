//! Rust guests: a workspace of `cdylib` crates becomes core modules.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Profile, Toolchain};
use crate::{process, tree};

/// A core module that cargo has made.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) file: PathBuf,
}

/// Builds all libraries and examples of a guest workspace that are core modules.
///
/// All guest workspaces share one target folder, so that the standard library is built once; it is not the host's, whose
/// lock an outer cargo may hold.
pub(super) fn build(workspace: &Path, toolchain: Toolchain, profile: Profile) -> Result<Vec<Module>> {
    let mut command = toolchain.cargo_build(workspace);
    command
        .args([
            "--workspace",
            "--lib",
            "--examples",
            "--message-format=json-render-diagnostics",
            "--target-dir",
        ])
        .arg(tree::target().join("guests"));
    if profile == Profile::Release {
        command.arg("--release");
    }
    eprintln!("xtask: guests of {} ({toolchain:?})", workspace.display());
    let messages = process::capture(command.stderr(Stdio::inherit()))?;
    let mut modules = vec![];
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo printed something that is not JSON")?;
        modules.extend(module_of(&message));
    }
    Ok(modules)
}

/// The core module that a message of cargo tells of, if it does.
fn module_of(message: &Value) -> Option<Module> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let target = &message["target"];
    if !target["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib") {
        return None;
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    let file = files
        .map(PathBuf::from)
        .find(|file| file.extension().is_some_and(|found| found == "wasm"))?;
    Some(Module {
        name: target["name"].as_str()?.replace('_', "-"),
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_modules_are_taken_from_the_messages() {
        let artifact = |kind: &str, file: &str| json!({"reason": "compiler-artifact", "target": {"name": "a_b", "crate_types": [kind]}, "filenames": [file]});
        let module = module_of(&artifact("cdylib", "/t/a_b.wasm")).unwrap();
        assert_eq!(
            (module.name.as_str(), module.file.to_str()),
            ("a-b", Some("/t/a_b.wasm"))
        );
        assert!(module_of(&artifact("rlib", "/t/liba_b.rlib")).is_none());
        assert!(module_of(&json!({"reason": "build-finished", "success": true})).is_none());
    }
}
