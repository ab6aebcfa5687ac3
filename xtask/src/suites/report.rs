//! The result of a test run: one plain line for each test, and one at the end.

use std::io::Write as _;
use std::process::ExitCode;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail,
    Skip,
}

/// Counts of what has been run.
#[derive(Debug, Default)]
pub(super) struct Report {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

impl Report {
    /// Prints a test's line and counts it.
    pub(super) fn add(&mut self, verdict: Verdict, name: &str) {
        print(&self.count(verdict, name));
    }

    /// Counts something that could not be run as a failed test, and says why.
    pub(super) fn fail(&mut self, name: &str, error: &anyhow::Error) {
        eprintln!("xtask: {name}: {error:#}");
        self.add(Verdict::Fail, name);
    }

    /// Prints the closing line. A run without any test has failed.
    pub(super) fn close(&self) -> ExitCode {
        if !self.failed.is_empty() {
            eprintln!("xtask: failed:\n  {}", self.failed.join("\n  "));
        }
        print(&self.closing_line());
        if self.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn count(&mut self, verdict: Verdict, name: &str) -> String {
        let word = match verdict {
            Verdict::Pass => {
                self.passed += 1;
                "PASS"
            }
            Verdict::Fail => {
                self.failed.push(name.to_owned());
                "FAIL"
            }
            Verdict::Skip => {
                self.skipped += 1;
                "SKIP"
            }
        };
        format!("{word} {name}")
    }

    fn is_success(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }

    fn closing_line(&self) -> String {
        let line = format!("{} passed, {} failed", self.passed, self.failed.len());
        if self.skipped == 0 {
            line
        } else {
            format!("{line}, {} skipped", self.skipped)
        }
    }
}

/// One line on standard output. Who has closed it does not want to know.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_succeeds_if_something_passed_and_nothing_failed() {
        let mut report = Report::default();
        assert!(!report.is_success(), "a run of nothing is no success");
        assert_eq!(report.count(Verdict::Pass, "a"), "PASS a");
        assert_eq!(
            (report.closing_line().as_str(), report.is_success()),
            ("1 passed, 0 failed", true)
        );
        assert_eq!(report.count(Verdict::Skip, "c"), "SKIP c");
        assert_eq!(report.count(Verdict::Fail, "b"), "FAIL b");
        assert_eq!(
            (report.closing_line().as_str(), report.is_success()),
            ("1 passed, 1 failed, 1 skipped", false)
        );
    }
}
