//! The binary as a person or a script starts it: an environment of its own, a time-out of its own.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use crate::Output;
use crate::home::{Home, KEY, KEY_VARIABLE, Printed};

/// Set to `always`, the host gives every strategy's instance up at every wait, and builds it again.
pub const PASSIVATE: &str = "HERMES_TEST_PASSIVATE";

/// No command of a test may take longer: this is a net, not a measure. Python's first compile alone takes half of it.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What the instances of a command hold together at most of which nothing else is said, in bytes: an agent's and one that it calls or spawns, each as
/// large as `limits.memory` lets it be. Most hold far less.
const INSTANCES: u64 = 2 * (64 << 20);

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder with what was built, the binary, plugins and guests: `CARGO_TARGET_DIR`, else `target`.
pub fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    root().join(set.unwrap_or_else(|| "target".into()))
}

/// The binary: `HERMES_HOST_BIN`, else the one that was built with the program that asks.
pub fn binary() -> PathBuf {
    let binary = std::env::var_os("HERMES_HOST_BIN").map_or_else(built, PathBuf::from);
    assert!(
        binary.is_file(),
        "{} is missing; `cargo xtask test` makes it",
        binary.display()
    );
    binary
}

/// Tests and benchmarks lie in a folder beside it.
fn built() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).unwrap_or(root()).join("hermes-host")
}

/// Whether this system lets somebody mount disks and folders of his own, by `unshare --map-root-user --mount`. Where it does not, a test that needs that is
/// passed over, and says so.
pub fn lets_mount() -> bool {
    let namespaces = Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .status();
    if namespaces.is_ok_and(|status| status.success()) {
        return true;
    }
    // Where all is to be tested nothing is passed over.
    let must_run = geteuid().is_root() || std::env::var_os("CI").is_some();
    assert!(!must_run, "this system lets nobody mount a disk of his own");
    eprintln!("this system lets nobody mount a disk of his own: what needs one is passed over");
    false
}

/// One command line.
#[derive(Debug)]
pub struct Host {
    command: Command,
    timeout: Duration,
    printed: Printed,
}

impl Host {
    /// `hermes-host` in the working folder of `home`, with nothing in its environment but `PATH`, `HOME`, the home, and the
    /// key of the tests' provider.
    pub fn new(home: &Home) -> Self {
        let mut command = Command::new(binary());
        command.env_clear().current_dir(home.work()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HERMES_HOME", home.path()).env(KEY_VARIABLE, KEY);
        command.env("HOME", home.user());
        // Whoever runs a suite says whether instances are given up at every wait.
        if let Some(when) = std::env::var_os(PASSIVATE) {
            command.env(PASSIVATE, when);
        }
        Self {
            command,
            timeout: TIMEOUT,
            printed: home.prints(),
        }
    }

    /// One argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs `plugin` on `task` and asks for JSON.
    #[must_use]
    pub fn run(self, plugin: &Path, task: &str) -> Self {
        self.arg("--plugin").arg(plugin).arg(task).args(["--output", "json"])
    }

    /// Runs the strategy `probe` on a program: `{"steps":[…]}`.
    #[must_use]
    pub fn probe(self, program: &Value) -> Self {
        self.run(&crate::guests::built("probe"), &program.to_string())
    }

    /// The same, and asks for its events as they come.
    #[must_use]
    pub fn probe_events(self, program: &Value) -> Self {
        self.args(["--output", "events", "--plugin"])
            .arg(crate::guests::built("probe"))
            .arg(program.to_string())
    }

    /// A configuration value for this once.
    #[must_use]
    pub fn set(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.arg("--set").arg(format!("{key}={value}"))
    }

    /// One variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With this file as its standard input.
    #[must_use]
    pub fn reads(mut self, file: &Path) -> Self {
        self.command.stdin(std::fs::File::open(file).unwrap());
        self
    }

    /// Without this variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Started in this folder.
    #[must_use]
    pub fn at(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// With another time-out.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Started by this line of a shell, which runs it as `"$0" "$@"`: `ulimit -n 64 && exec "$0" "$@"`.
    #[must_use]
    pub fn by(self, line: &str) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .arg(self.command.get_program())
            .args(self.command.get_args());
        shell.env_clear().stdin(Stdio::null());
        shell.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(self.command.get_current_dir().unwrap());
        Self {
            command: shell,
            timeout: self.timeout,
            printed: self.printed,
        }
    }

    /// The command for whoever starts it in another way.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Starts it.
    pub fn start(mut self) -> Process {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let stdout = reading(child.stdout.take().unwrap());
        let stderr = reading(child.stderr.take().unwrap());
        Process {
            child,
            stdout,
            stderr,
            started: Instant::now(),
            timeout: self.timeout,
            line: format!("{:?}", self.command),
            printed: self.printed,
        }
    }

    /// Runs it to its end.
    pub fn output(self) -> Output {
        self.start().finish()
    }
}

/// A command under way.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    started: Instant,
    timeout: Duration,
    line: String,
    printed: Printed,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The most memory that it has held so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:").unwrap()
    }

    /// The memory that it holds now, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:").unwrap()
    }

    /// None where it has ended: what the system says of an ended child counts the test that started it too.
    fn status_kib(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse().ok()
    }

    /// The processor time that it has used, in hundredths of a second.
    pub fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // Its name is in brackets, and may hold anything.
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Output {
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = self.status_kib("VmHWM:").unwrap_or(peak_kib);
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.started.elapsed() > self.timeout {
                let _ = self.child.kill();
                let stderr = self.stderr.join().unwrap_or_default();
                panic!(
                    "{} took longer than {:?}:\n{}",
                    self.line,
                    self.timeout,
                    String::from_utf8_lossy(&stderr)
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let ended = Instant::now();
        let text = |bytes: JoinHandle<Vec<u8>>| String::from_utf8(bytes.join().unwrap()).expect("output is UTF-8");
        let output = Output {
            stdout: text(self.stdout),
            stderr: text(self.stderr),
            code: status.code(),
            took: ended - self.started,
            peak_kib,
            instances: INSTANCES,
            ended,
        };
        let mut all = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((self.line, output.clone()));
        output
    }
}

fn reading(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}
