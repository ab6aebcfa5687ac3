//! What the operating system may do to the host, done to it on purpose: `tests/shim/shim.c`, loaded into its process.
//!
//! The library is compiled once, by the C compiler that the host's own build needs for SQLite.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::Host;
use crate::host::target;

const SOURCE: &str = include_str!("../shim/shim.c");

/// As many rules as the library takes.
const RULES: usize = 16;

/// Where the offset of the time of day stands in the file of the counts: behind them.
const OFFSET: u64 = 8 * RULES as u64;

/// No space left on the device.
pub const ENOSPC: i32 = 28;
/// The device failed.
pub const EIO: i32 = 5;
/// It is not allowed.
pub const EACCES: i32 = 13;
/// There is too little of something for now.
pub const EAGAIN: i32 = 11;
/// The process has as many files open as it may.
pub const EMFILE: i32 = 24;
/// Nobody listens there.
pub const ECONNREFUSED: i32 = 111;

/// What happens at a call.
#[derive(Debug, Clone)]
pub enum Action {
    /// Nothing: it is counted.
    Count,
    /// It fails with this error.
    Errno(i32),
    /// Of a write or read, so many bytes are enough.
    Short(u64),
    /// It begins so much later.
    Delay(Duration),
    /// The process dies instead.
    KillBefore,
    /// The process dies when it is done.
    KillAfter,
    /// Of a write, so many bytes are done, and the process dies.
    Tear(u64),
    /// Of a sync that succeeded: the file is copied into this folder, as what survives a loss of power.
    Copy(PathBuf),
}

/// From the how manyth call on a rule acts.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// At each.
    Always,
    /// At this one alone, counted from 1.
    At(u64),
    /// At this one and all that follow.
    From(u64),
}

/// Faults for one process: rules, and how many calls each has seen.
#[derive(Debug)]
pub struct Shim {
    rules: Vec<String>,
    hosts: Vec<String>,
    counts: NamedTempFile,
    variables: Vec<(&'static str, String)>,
}

impl Default for Shim {
    fn default() -> Self {
        Self::new()
    }
}

impl Shim {
    /// Without a rule.
    pub fn new() -> Self {
        let counts = NamedTempFile::new().unwrap();
        counts.as_file().set_len(OFFSET + 8).unwrap();
        Self {
            rules: Vec::new(),
            hosts: Vec::new(),
            counts,
            variables: Vec::new(),
        }
    }

    /// A rule about `calls` (`write`, `sync`, `truncate`, `open`, `read`, `socket`, `rename`, `link`, `unlink`, `thread`, several with commas) on files
    /// whose path ends with `path`, or holds what follows a `*`. The path of a `connect` is its address, like `8.8.8.8:80`, and that of a `resolve` the name.
    #[must_use]
    pub fn rule(mut self, calls: &str, path: &str, when: When, action: &Action) -> Self {
        let (from, to) = match when {
            When::Always => (1, 0),
            When::At(n) => (n, n),
            When::From(n) => (n, 0),
        };
        let action = match action {
            Action::Count => "count".to_owned(),
            Action::Errno(number) => format!("errno:{number}"),
            Action::Short(bytes) => format!("short:{bytes}"),
            Action::Delay(time) => format!("delay:{}", time.as_millis()),
            Action::KillBefore => "kill-before".to_owned(),
            Action::KillAfter => "kill-after".to_owned(),
            Action::Tear(bytes) => format!("tear:{bytes}"),
            Action::Copy(folder) => format!("copy:{}", folder.display()),
        };
        self.rules.push(format!("{calls} {path} {from} {to} {action}"));
        assert!(self.rules.len() <= RULES);
        self
    }

    /// The process dies so long after its start.
    #[must_use]
    pub fn killed_after(mut self, time: Duration) -> Self {
        self.variables.push(("SHIM_KILL_US", time.as_micros().to_string()));
        self
    }

    /// The time of day is off by the next of these seconds after every so many readings, over and over.
    #[must_use]
    pub fn clock(mut self, every: u32, offsets: &[i64]) -> Self {
        let words: Vec<String> = offsets.iter().map(ToString::to_string).collect();
        self.variables
            .push(("SHIM_CLOCK", format!("{every} {}", words.join(" "))));
        self
    }

    /// From now on the time of day is off by so many seconds, also in a process that is under way.
    pub fn jumps(&self, seconds: i64) {
        let counts = self.counts.as_file();
        counts.write_all_at(&seconds.to_ne_bytes(), OFFSET).unwrap();
    }

    /// What the questions for a name are answered with, one after another; the last answer stands.
    #[must_use]
    pub fn host(mut self, name: &str, answers: &[&[&str]]) -> Self {
        let answers: Vec<String> = answers.iter().map(|addresses| addresses.join(",")).collect();
        self.hosts.push(format!("{name} {}", answers.join(";")));
        self
    }

    /// Loads it into this command's process.
    pub fn on(&self, host: Host) -> Host {
        let host = host.env("LD_PRELOAD", library()).env("SHIM_COUNTS", self.counts.path());
        let host = host
            .env("SHIM_RULES", self.rules.join("\n"))
            .env("SHIM_HOSTS", self.hosts.join("\n"));
        self.variables
            .iter()
            .fold(host, |host, (name, value)| host.env(name, value))
    }

    /// How many calls the rule has seen, in the order in which rules were given.
    pub fn count(&self, rule: usize) -> u64 {
        let bytes = fs::read(self.counts.path()).unwrap();
        u64::from_ne_bytes(bytes[8 * rule..8 * rule + 8].try_into().unwrap())
    }
}

/// The compiled library.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(compile)
}

/// Other test processes may do the same: each makes its own, and the last to move it into place is as good as the first.
fn compile() -> PathBuf {
    let folder = target().join("tests-shim");
    fs::create_dir_all(&folder).unwrap();
    let work = tempfile::tempdir_in(&folder).unwrap();
    let (source, draft) = (work.path().join("shim.c"), work.path().join("shim.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&draft).arg(&source);
    let status = cc
        .status()
        .unwrap_or_else(|e| panic!("the C compiler can't be started: {e}"));
    assert!(status.success(), "{cc:?} ended with {status}");
    let library = folder.join("shim.so");
    fs::rename(&draft, &library).unwrap();
    library
}
