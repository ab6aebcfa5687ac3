//! Everything that CI runs, in suites, each test on a line of its own.

mod contract;
mod libtest;
mod lint;
mod report;
pub(crate) mod rustc;
pub(crate) mod rustdoc;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::guests::{Profile, Toolchain};
use crate::{guests, host, setup};
use libtest::Binary;
use report::Report;

/// A suite, in the order in which all are run: what fails soonest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Lint,
    Unit,
    Main,
    Supervision,
    Faults,
    Attacks,
    Docs,
    Passivated,
}

const SUITES: [(Suite, &str, &str); 8] = [
    (
        Suite::Lint,
        "lint",
        "format, clippy, licences, unused dependencies, compatibility of the contract",
    ),
    (
        Suite::Unit,
        "unit",
        "pure logic beside the code, of host and plugins; the layers; doc comments and the examples in them",
    ),
    (
        Suite::Main,
        "main",
        "the host as a whole: real components, sockets and files",
    ),
    (
        Suite::Supervision,
        "supervision",
        "sub-agents: budgets, rights, restarts, hostile children, going on after a crash",
    ),
    (
        Suite::Faults,
        "faults",
        "processes killed at any write, disks that fail, files damaged, locks held, clocks that jump, a host that panics",
    ),
    (
        Suite::Attacks,
        "attacks",
        "guests, models and texts made to break, hang, drain, deceive or steal; the host is well after each",
    ),
    (Suite::Docs, "docs", "the commands in the README and the documentation"),
    (
        Suite::Passivated,
        "passivated",
        "all from main to attacks again in which agents wait, each of them given up and built anew meanwhile",
    ),
];

/// Set to `always`, the host gives each agent's instance up whenever it waits.
const PASSIVATE: &str = "HERMES_TEST_PASSIVATE";

/// The suites, for people.
pub(crate) fn list() -> String {
    SUITES
        .map(|(_, name, about)| format!("    {name:<11} {about}\n"))
        .concat()
        .trim_end()
        .to_owned()
}

/// How much of its sweeps a suite does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweeps {
    /// What a gate has time for.
    Short,
    /// All of it.
    Full,
}

/// Which tests of a suite are run.
#[derive(Clone, Copy, Debug)]
struct Which<'a> {
    /// Those with this in their name.
    name: Option<&'a str>,
    sweeps: Sweeps,
}

/// Sets up, builds, and runs all suites, or the one that is chosen, or its tests with a name; succeeds if there was a test and none failed.
pub(crate) fn run(chosen: &[&str], sweeps: Sweeps) -> Result<ExitCode> {
    let (only, name) = (chosen.first().copied(), chosen.get(1).copied());
    let which = Which { name, sweeps };
    let chosen: Vec<_> = SUITES
        .iter()
        .filter(|(_, name, _)| only.is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        bail!(
            "there is no suite `{}`; there are:\n{}",
            only.unwrap_or_default(),
            list()
        );
    }
    let toolchain = setup::for_testing()?;
    let mut report = Report::default();
    // First, for every suite: a host compiled with other plugins inside would be compiled again.
    if let Err(error) = guests::build_plugins(toolchain, Profile::Release) {
        report.fail("plugins", &error);
    }
    if sweeps == Sweeps::Full
        && let Err(error) = host::build(Profile::Release)
    {
        report.fail("release", &error);
    }
    let mut ahead = chosen.iter().any(|(suite, ..)| *suite == Suite::Lint).then(|| {
        let for_tests = chosen.len() > 1;
        std::thread::spawn(move || compile_ahead(toolchain, for_tests))
    });
    let mut binaries = None;
    for (suite, name, _) in chosen {
        if *suite != Suite::Lint
            && let Some(ahead) = ahead.take()
        {
            finish(ahead);
        }
        eprintln!("xtask: suite {name}");
        let begun = Instant::now();
        if let Err(error) = suite.run(name, toolchain, which, &mut binaries, &mut report) {
            report.fail(name, &error);
        }
        eprintln!("xtask: suite {name} took {} s", begun.elapsed().as_secs());
    }
    ahead.into_iter().for_each(finish);
    Ok(report.close())
}

/// Compiles what is the guests' beside the host, whose crate is minutes of one processor's work. Whoever needs it next finds it there, or meets what is
/// wrong with it and says so.
fn compile_ahead(toolchain: Toolchain, for_tests: bool) {
    lint::compile_ahead();
    if for_tests {
        drop(guests::build_test_guests(toolchain));
        drop(libtest::build_plugins());
    }
}

fn finish(ahead: std::thread::JoinHandle<()>) {
    if ahead.join().is_err() {
        eprintln!("xtask: the guests were not compiled ahead");
    }
}

impl Suite {
    /// Builds what the suite needs and runs it. The test binaries are asked for once, by the first suite that has any.
    fn run(
        self,
        name: &str,
        toolchain: Toolchain,
        which: Which<'_>,
        binaries: &mut Option<Vec<Binary>>,
        report: &mut Report,
    ) -> Result<()> {
        if self == Self::Lint {
            lint::run(report);
            return Ok(());
        }
        if matches!(
            self,
            Self::Main | Self::Supervision | Self::Passivated | Self::Faults | Self::Attacks | Self::Docs
        ) {
            guests::build_test_guests(toolchain)?;
        }
        let binaries = match binaries {
            Some(built) => built,
            None => binaries.insert(libtest::build()?),
        };
        let plugins = match self {
            Self::Unit => libtest::build_plugins()?,
            _ => vec![],
        };
        for binary in binaries.iter().chain(&plugins) {
            let passivate = (self == Self::Passivated).then_some((PASSIVATE, "always"));
            binary.run(name, |test| self.has(binary, test), which, passivate, report)?;
        }
        if self == Self::Unit {
            libtest::run_doc_tests(name, which, report)?;
        }
        Ok(())
    }

    /// Whether this test is part of it.
    fn has(self, binary: &Binary, test: &str) -> bool {
        match (self, suite_of(binary, test)) {
            (Self::Passivated, of) => of != Self::Unit && has_agents_that_wait(binary),
            (suite, of) => suite == of,
        }
    }
}

/// Whether agents wait in a binary's tests for more than a moment: the others are of commands, of components before they run, and of the host's terminal.
fn has_agents_that_wait(binary: &Binary) -> bool {
    !matches!(
        binary.name.as_str(),
        "adding"
            | "compiling"
            | "connecting"
            | "docs"
            | "housekeeping"
            | "inspect"
            | "languages"
            | "operator"
            | "screens"
            | "startup"
    )
}

fn suite_of(binary: &Binary, test: &str) -> Suite {
    match (binary.is_integration, binary.name.as_str()) {
        (false, _) | (true, "architecture") => Suite::Unit,
        (true, _) if is_attack(test) => Suite::Attacks,
        (true, "docs") => Suite::Docs,
        (true, "faults" | "panics") => Suite::Faults,
        (true, "attacks" | "flipped_bits" | "storm") => Suite::Attacks,
        (
            true,
            "agents" | "delegation" | "hostile_children" | "lost_task" | "restarts" | "resuming" | "supervisor"
            | "tasks",
        ) => Suite::Supervision,
        (true, _) => Suite::Main,
    }
}

/// Whether a test's name begins with an attack's number, wherever it stands: `a07_…`.
fn is_attack(test: &str) -> bool {
    let name = test.rsplit("::").next().unwrap_or(test).as_bytes();
    matches!(name, [b'a', b'0'..=b'9', b'0'..=b'9', b'_', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_is_in_the_suite_of_attacks_wherever_it_stands() {
        let of = |name, test| suite_of(&Binary::integration(name), test);
        assert_eq!(of("compiling", "a19_seven_megabytes_of_one_function"), Suite::Attacks);
        assert_eq!(of("compiling", "each_part_is_counted_to_the_exact_bound"), Suite::Main);
        assert_eq!(of("delegation", "deep::a29_a_bomb"), Suite::Attacks);
        assert_eq!(of("delegation", "a29::a_bomb"), Suite::Supervision);
        assert_eq!(of("attacks", "table::the_page_of_attacks_has_them_all"), Suite::Attacks);
        assert_eq!(of("main", "a_run_answers"), Suite::Main);
        let [agents, compiling] = ["delegation", "compiling"].map(Binary::integration);
        assert!(!Suite::Main.has(&agents, "a29_a_bomb") && Suite::Passivated.has(&agents, "a29_a_bomb"));
        assert!(!Suite::Passivated.has(&compiling, "a41_a_key") && Suite::Attacks.has(&compiling, "a41_a_key"));
    }
}
