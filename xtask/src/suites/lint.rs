//! Checks of the text and the dependencies, each counted as a test.

use std::process::Command;

use anyhow::Result;

use super::report::{Report, Verdict};
use super::{contract, libtest};
use crate::{process, setup, tree};

/// The cargo workspaces: the root, then those of the guests.
const WORKSPACES: [(&str, &str); 3] = [("root", "."), ("plugins", "plugins"), ("test-guests", "tests/guests")];
/// One more, of the fuzzers: cargo-fuzz alone compiles it, with flags of its own and for minutes, as a check of it would take that has every dependency read
/// once more and libFuzzer compiled. A unit test of the host holds each of its files to the letter, and what they call is compiled with the host.
const FUZZERS: (&str, &str) = ("fuzz", "tests/fuzz");

/// Runs every check; one that fails does not keep the others from being run.
pub(super) fn run(report: &mut Report) {
    check(report, "contract", contract::check);
    for (name, folder) in lock_files() {
        check(report, &format!("fmt-{name}"), || fmt(folder));
        check(report, &format!("locked-{name}"), || locked(folder));
        check(report, &format!("unused-dependencies-{name}"), || unused(folder));
        check(report, &format!("deny-{name}"), || deny(folder));
    }
    for (name, folder) in workspaces() {
        check(report, &format!("clippy-{name}"), || clippy(folder));
    }
    advisories(report);
}

/// Has clippy read the guests, which it does again when it is asked what it found.
pub(super) fn compile_ahead() {
    for (_, folder) in workspaces().filter(|(_, folder)| *folder != ".") {
        drop(clippy(folder));
    }
}

/// Those that are compiled here.
fn workspaces() -> impl Iterator<Item = (&'static str, &'static str)> {
    WORKSPACES.into_iter().filter(is_there)
}

/// All that have a lock file.
fn lock_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    WORKSPACES.into_iter().chain([FUZZERS]).filter(is_there)
}

fn is_there((_, folder): &(&str, &str)) -> bool {
    tree::at(folder).join("Cargo.toml").is_file()
}

fn check(report: &mut Report, name: &str, check: impl FnOnce() -> Result<()>) {
    let name = format!("lint::{name}");
    match check() {
        Ok(()) => report.add(Verdict::Pass, &name),
        Err(error) => report.fail(&name, &error),
    }
}

fn fmt(folder: &str) -> Result<()> {
    process::run(process::cargo().current_dir(tree::at(folder)).args([
        "fmt",
        "--all",
        "--check",
        "--",
        "--color=never",
    ]))
}

/// The lock file says all that the manifests ask for.
fn locked(folder: &str) -> Result<()> {
    let mut command = process::cargo();
    command
        .current_dir(tree::at(folder))
        .args(["metadata", "--locked", "--format-version=1"]);
    process::capture(&mut command).map(drop)
}

fn unused(folder: &str) -> Result<()> {
    process::run(
        Command::new(setup::python_tool("cargo-shear"))
            .arg("--color=never")
            .current_dir(tree::at(folder)),
    )
}

fn deny(folder: &str) -> Result<()> {
    process::run(cargo_deny(folder).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

/// Known vulnerabilities in what any of the lock files names, where their database can be had.
fn advisories(report: &mut Report) {
    if !process::succeeds(cargo_deny(".").args(["fetch", "db"])) {
        eprintln!("xtask: advisories were not checked: their database can't be fetched here");
        report.add(Verdict::Skip, "lint::advisories");
        return;
    }
    for (name, folder) in lock_files() {
        check(report, &format!("advisories-{name}"), || {
            process::run(cargo_deny(folder).args(["check", "--hide-inclusion-graph", "advisories"]))
        });
    }
}

fn cargo_deny(folder: &str) -> Command {
    let mut command = Command::new(setup::python_tool("cargo-deny"));
    command.current_dir(tree::root()).arg("--color=never");
    command.arg("--manifest-path").arg(tree::at(folder).join("Cargo.toml"));
    command.arg("--config").arg(tree::at("deny.toml"));
    command
}

fn clippy(folder: &str) -> Result<()> {
    match folder {
        "." => libtest::build().map(drop),
        _ => {
            let mut command = libtest::for_this_machine("clippy", folder);
            process::run(command.args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
        }
    }
}
