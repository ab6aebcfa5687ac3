//! Builds, demonstrates and checks this project: `cargo xtask help` lists the commands.

mod demo;
mod guests;
mod host;
mod local_model;
mod process;
mod setup;
mod suites;
mod tree;

use std::process::ExitCode;

use anyhow::{Result, bail};

use guests::Profile;
use suites::Sweeps;

const HELP: &str = "\
cargo xtask COMMAND

  setup              installs what the other commands need, and says what
  build [--debug]    host at target/release/hermes-host, plugins at target/plugins/NAME.wasm
  demo [--model M]   builds, then has an agent answer a question from this project's own docs
  bench              builds, then measures what the host costs beside what it is compared with
  bench agents [N]   builds, then has N agents (1000) wait for a model at once, go on, be suspended and be cancelled
  test [SUITE [NAME]] [--full]
                      builds, then runs everything that CI runs, or one suite, or its tests whose name has NAME in it; --full leaves
                      nothing of a sweep out, and starts the host as it is released:";

fn main() -> ExitCode {
    if let Some(arguments) = suites::rustc::meant() {
        return suites::rustc::run(arguments);
    }
    if suites::rustdoc::is_meant() {
        return suites::rustdoc::run(std::env::args_os().skip(1).collect());
    }
    match command(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn command(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help" | "-h" | "--help"] => println!("{HELP}\n{}", suites::list()),
        ["setup"] => {
            let toolchain = setup::for_testing()?;
            eprintln!("xtask: ready; Rust guests are compiled by the toolchain of {toolchain:?}");
        }
        ["build"] => build(Profile::Release)?,
        ["build", "--debug"] => build(Profile::Debug)?,
        ["demo"] => return demo::run(None),
        ["demo", "--model", model] => return demo::run(Some(model)),
        ["demo", option] if option.starts_with("--model=") => return demo::run(option.strip_prefix("--model=")),
        ["bench"] => bench(&["figures", "journal"], &[])?,
        ["bench", "agents", number @ ..] => bench(&["agents"], number)?,
        ["test", chosen @ .., "--full"] if chosen.len() <= 2 => return suites::run(chosen, Sweeps::Full),
        ["test", chosen @ ..] if chosen.len() <= 2 => return suites::run(chosen, Sweeps::Short),
        _ => bail!("`{}` is no command:\n{HELP}\n{}", words.join(" "), suites::list()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets up, then builds the plugins and the host that carries them.
fn build(profile: Profile) -> Result<()> {
    let toolchain = setup::for_building()?;
    guests::build_plugins(toolchain, profile)?;
    host::build(profile)
}

/// Builds all that is measured, and measures it.
fn bench(names: &[&str], arguments: &[&str]) -> Result<()> {
    let toolchain = setup::for_building()?;
    guests::build_plugins(toolchain, Profile::Release)?;
    guests::build_test_guests(toolchain)?;
    host::build(Profile::Release)?;
    let mut command = host::cargo("bench");
    command
        .arg("--workspace")
        .args(names.iter().flat_map(|name| ["--bench", name]));
    process::run(command.arg("--").args(arguments))
}
