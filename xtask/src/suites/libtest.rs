//! Builds Rust tests with cargo, runs each test binary, and reads what it prints.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::report::{Report, Verdict};
use super::{Sweeps, Which, rustc, rustdoc};
use crate::{host, process, tree};

/// From when on it is said how long a test binary took.
const LONG: Duration = Duration::from_secs(10);

/// A test binary.
pub(super) struct Binary {
    pub(super) name: String,
    pub(super) is_integration: bool,
    /// The names of its tests, with their modules.
    tests: Vec<String>,
    file: PathBuf,
    /// Of its package: a test starts there, as under `cargo test`.
    folder: PathBuf,
}

/// Builds all that the root workspace holds, and has clippy read it on the way. Dependencies are compiled: a clippy that builds nothing would check
/// each of them once more, which takes as long as half of them take to compile.
pub(super) fn build() -> Result<Vec<Binary>> {
    build_with(checked()?.arg("--all-targets"))
}

/// A `cargo test` of the root workspace in the profile of the tests. Each use has the same variables, so that nothing is compiled twice. What fuzzers call is
/// compiled as it is for them, not only as unit tests have it.
fn checked() -> std::io::Result<Command> {
    let mut command = host::cargo("test");
    command.args([
        "--profile",
        "checked",
        "--workspace",
        "--features",
        "hermes-host/fuzzing",
    ]);
    rustc::checked(&mut command)?;
    Ok(command)
}

/// Builds the unit tests of the plugins, which run on this machine, as what needs no host is plain Rust.
pub(super) fn build_plugins() -> Result<Vec<Binary>> {
    let mut command = for_this_machine("test", "plugins");
    build_with(command.args(["--workspace", "--tests"]))
}

/// A cargo that compiles guests of this folder for this machine, where nobody debugs them: clippy comes with the host's compiler, which may lack the
/// guests' target. All have one folder: what their workspaces have in common is compiled once.
pub(super) fn for_this_machine(subcommand: &str, folder: &str) -> Command {
    let mut command = process::cargo();
    command.current_dir(tree::at(folder)).arg(subcommand);
    command.arg("--target-dir").arg(tree::target().join("plugin-tests"));
    command
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    command
}

fn build_with(command: &mut Command) -> Result<Vec<Binary>> {
    command.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let messages = process::capture(command)?;
    let mut binaries = vec![];
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo printed something that is not JSON")?;
        if let Some(mut binary) = binary_of(&message) {
            binary.tests = binary.list()?;
            binaries.push(binary);
        }
    }
    binaries.sort_by(|a, b| (a.is_integration, &a.name).cmp(&(b.is_integration, &b.name)));
    Ok(binaries)
}

fn binary_of(message: &Value) -> Option<Binary> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let target = &message["target"];
    let kinds = target["kind"].as_array()?;
    let is = |name: &str| kinds.iter().any(|kind| kind == name);
    // What measures is read by clippy, and tests nothing.
    if is("bench") {
        return None;
    }
    Some(Binary {
        name: target["name"].as_str()?.to_owned(),
        is_integration: is("test"),
        tests: vec![],
        file: message["executable"].as_str()?.into(),
        folder: PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned(),
    })
}

impl Binary {
    /// The names of its tests, as it lists them.
    fn list(&self) -> Result<Vec<String>> {
        let mut command = Command::new(&self.file);
        let listed = process::capture(command.current_dir(&self.folder).args(["--list", "--format=terse"]))?;
        Ok(names(&listed))
    }

    /// Runs those of its tests that the suite has, with this variable set for them.
    pub(super) fn run(
        &self,
        suite: &str,
        has: impl Fn(&str) -> bool,
        which: Which<'_>,
        variable: Option<(&str, &str)>,
        report: &mut Report,
    ) -> Result<()> {
        let is_named = |test: &str| which.name.is_none_or(|name| test.contains(name));
        let tests = self.tests.iter().filter(|test| has(test) && is_named(test));
        let tests: Vec<&String> = tests.collect();
        // Without a name libtest would run all.
        if tests.is_empty() {
            return Ok(());
        }
        let mut command = Command::new(&self.file);
        command.envs(variable);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder);
        if tests.len() < self.tests.len() {
            command.arg("--exact").args(tests);
        }
        command.arg("--color=never").arg(threads());
        if which.sweeps == Sweeps::Full {
            // What is shipped, and not what was built for the tests.
            command
                .env("HERMES_TEST_FULL", "1")
                .env("HERMES_HOST_BIN", tree::host_binary());
        }
        let (name, begun) = (format!("{suite}::{}", self.name), Instant::now());
        follow(&mut command, &name, report)?;
        let took = begun.elapsed();
        if took > LONG {
            eprintln!("xtask: {name} took {} s", took.as_secs());
        }
        Ok(())
    }
}

/// The names in a list of tests: `a::b: test`, one a line.
fn names(listed: &str) -> Vec<String> {
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(ToOwned::to_owned).collect()
}

/// Checks doc comments, and runs the examples in them.
pub(super) fn run_doc_tests(suite: &str, which: Which<'_>, report: &mut Report) -> Result<()> {
    let mut command = checked()?;
    command.args(["--doc", "--quiet", "--", "--format=pretty", "--color=never"]);
    command.args(which.name);
    follow(
        rustdoc::checked(command.arg(threads()))?,
        &format!("{suite}::doc"),
        report,
    )
}

/// With one thread libtest prints a test's name before its result, and what the test prints may come between.
fn threads() -> String {
    format!(
        "--test-threads={}",
        available_parallelism().map_or(2, |cores| cores.get().max(2))
    )
}

/// Runs a command that prints as libtest does. Results go into the report; all else, such as what a failed test said, goes
/// to standard error.
fn follow(command: &mut Command, prefix: &str, report: &mut Report) -> Result<()> {
    let shown = process::show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` could not be started"))?;
    let output = child.stdout.take().context("the output is piped")?;
    let mut seen = Seen::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        match Line::parse(&line) {
            Line::Test(name, verdict) => {
                seen.count(verdict);
                report.add(verdict, &format!("{prefix}::{name}"));
            }
            Line::Total(total) => seen.total += total,
            Line::Noise => {}
            Line::Text => eprintln!("{line}"),
        }
    }
    let status = child.wait()?;
    if let Some(problem) = seen.problem(status.success()) {
        eprintln!("xtask: `{shown}` ended with {status}: {problem}");
        report.add(Verdict::Fail, &format!("{prefix} ({problem})"));
    }
    Ok(())
}

/// One line of libtest's output.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Test(&'a str, Verdict),
    /// The closing line, with the number of tests in it.
    Total(usize),
    Noise,
    Text,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let line = line.trim_end();
        if let Some(counts) = line.strip_prefix("test result: ") {
            return Self::Total(total(counts));
        }
        if let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            let name = name.trim_end_matches(" - should panic");
            match result.split(',').next() {
                Some("ok") => return Self::Test(name, Verdict::Pass),
                Some("FAILED") => return Self::Test(name, Verdict::Fail),
                Some("ignored") => return Self::Test(name, Verdict::Skip),
                _ => {}
            }
        }
        let is_header = line.starts_with("running ") && (line.ends_with(" test") || line.ends_with(" tests"));
        if line.is_empty() || is_header {
            Self::Noise
        } else {
            Self::Text
        }
    }
}

/// Adds up `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`.
fn total(counts: &str) -> usize {
    let parts = counts.split(['.', ';']).filter_map(|part| part.trim().split_once(' '));
    let counted = parts.filter(|(_, word)| ["passed", "failed", "ignored"].contains(word));
    counted.filter_map(|(number, _)| number.parse::<usize>().ok()).sum()
}

/// What one command has printed, to find what it has not.
#[derive(Debug, Default)]
struct Seen {
    tests: usize,
    failed: usize,
    total: usize,
}

impl Seen {
    fn count(&mut self, verdict: Verdict) {
        self.tests += 1;
        self.failed += usize::from(verdict == Verdict::Fail);
    }

    /// Why the lines do not tell the whole story, if so.
    fn problem(&self, success: bool) -> Option<&'static str> {
        if self.tests != self.total {
            Some("not all of its tests reported a result")
        } else if !success && self.failed == 0 {
            Some("it failed outside of a test")
        } else {
            None
        }
    }
}

#[cfg(test)]
impl Binary {
    /// One of integration tests that is not there.
    pub(super) fn integration(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_integration: true,
            tests: vec![],
            file: PathBuf::new(),
            folder: PathBuf::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tests_is_read() {
        assert_eq!(names("a::b: test\na07_c: test\nd: benchmark\n"), ["a::b", "a07_c"]);
    }

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(Line::parse("test a::b ... ok"), Line::Test("a::b", Verdict::Pass));
        assert_eq!(
            Line::parse("test a - should panic ... ok"),
            Line::Test("a", Verdict::Pass)
        );
        assert_eq!(Line::parse("test x ... FAILED"), Line::Test("x", Verdict::Fail));
        assert_eq!(
            Line::parse("test x ... ignored, needs a disk"),
            Line::Test("x", Verdict::Skip)
        );
        assert_eq!(
            Line::parse("test sdk/src/lib.rs - tool (line 3) ... ok"),
            Line::Test("sdk/src/lib.rs - tool (line 3)", Verdict::Pass)
        );
        assert_eq!(Line::parse("test x has been running for over 60 seconds"), Line::Text);
        assert_eq!(Line::parse("running 3 tests"), Line::Noise);
        assert_eq!(
            Line::parse(
                "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.1s"
            ),
            Line::Total(6)
        );
    }

    #[test]
    fn lost_tests_and_crashes_are_noticed() {
        let seen = |tests, failed, total| Seen { tests, failed, total };
        assert_eq!(seen(3, 0, 3).problem(true), None);
        assert_eq!(seen(3, 1, 3).problem(false), None);
        assert!(seen(2, 0, 0).problem(false).is_some(), "ended before its closing line");
        assert!(seen(3, 0, 4).problem(true).is_some());
        assert!(seen(0, 0, 0).problem(false).is_some());
    }
}
