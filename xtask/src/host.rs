//! The host and everything else of the root workspace, always built in one way.

use std::process::Command;

use anyhow::Result;

use crate::guests::Profile;
use crate::{process, tree};

/// Where the host's build script finds the plugins to carry inside.
const STANDARD_PLUGINS: &str = "HERMES_STANDARD_PLUGINS";

/// A cargo for the root workspace. Each use has the same variables, so that nothing is compiled twice.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = process::cargo();
    command.arg(subcommand);
    if tree::STANDARD_PLUGINS
        .iter()
        .all(|name| tree::plugins().join(format!("{name}.wasm")).is_file())
    {
        command.env(STANDARD_PLUGINS, tree::plugins());
    }
    command
}

/// Builds the binary, with the standard plugins inside.
pub(crate) fn build(profile: Profile) -> Result<()> {
    let mut command = cargo("build");
    // All members are selected, so that crates get the features that the tests give them too, and are compiled once.
    command.args(["--workspace", "--bin", "hermes-host"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    process::run(&mut command)
}
