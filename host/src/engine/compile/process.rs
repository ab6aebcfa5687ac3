//! The host's side of a compiler: starts its process, gives it the component, takes what it answers, and ends it, whatever happens in between.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::error::CompileError;
use super::program::{CODE, GREETING, NO_MEMORY, Order, REASON, REFUSED};
use crate::limits::Limits;
use crate::text;

/// Threads of one compiler at most.
const THREADS: u64 = 16;

/// Bytes of its address space for each of them: a thread sets some aside before it needs any.
const FOR_A_THREAD: u64 = 256 << 20;

/// How much of its address space the allocator sets aside at a time. It would be a gibibyte, which a compiler may not have.
const ALLOCATED_AHEAD: &str = "64MiB";

/// Bytes of what a compiler says on standard error that are kept.
const WORDS: u64 = 4 << 10;

/// What is wrong with a compiler that says what ours does not.
const OTHER: &str = "is another build than this host, or another program";

/// Why there is no code.
#[derive(Debug)]
pub(super) enum Failure {
    /// It lies with the component.
    Component(CompileError),
    /// It lies with the compiler's process, in words that follow "the compiler".
    Compiler(String),
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        Self::Component(error)
    }
}

/// Where the program lies that this process runs, also when its file was replaced since.
pub(super) fn this_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

/// Compiles `component` in a process of its own. `fingerprint` is of the engine that shall load the code. Dropped before its end, it leaves
/// nothing running.
pub(super) async fn compile(
    program: &Path,
    fingerprint: u64,
    limits: &Limits,
    component: &[u8],
) -> Result<Vec<u8>, Failure> {
    let order = Order::of(limits, component);
    let mut child = start(program, &order).map_err(|e| Failure::Compiler(format!("can't be started: {e}")))?;
    let talk = talk(&mut child, fingerprint, limits, component);
    let wall = Duration::from_millis(limits.compile_wall);
    let done = tokio::time::timeout(wall, talk).await;
    // It has said all that it will be asked for.
    let _ = child.kill().await;
    done.unwrap_or(Err(Failure::Component(CompileError::Wall {
        limit_ms: limits.compile_wall,
    })))
}

/// Whether a compiler starts, with the limits that one has, and is one for the engine of this fingerprint.
pub(super) async fn check(program: &Path, fingerprint: u64, limits: &Limits) -> Result<(), String> {
    let mut child = start(program, &Order::of(limits, b"")).map_err(|e| format!("can't be started: {e}"))?;
    let wall = Duration::from_millis(limits.compile_wall);
    let ready = tokio::time::timeout(wall, ready(&mut child, fingerprint)).await;
    let _ = child.kill().await;
    match ready {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) => Err(why),
        Err(_) => Err("did not begin in time".to_owned()),
    }
}

fn start(program: &Path, order: &Order) -> std::io::Result<Child> {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let fit = (order.address_space / FOR_A_THREAD).clamp(1, THREADS);
    let threads = processors.min(fit);
    let mut command = Command::new(program);
    command.args(order.args());
    // Nothing of the host's own environment, and nothing but what the compiler's library of threads and its allocator read.
    command.env_clear().env("RAYON_NUM_THREADS", threads.to_string());
    command.env("MIMALLOC_ARENA_RESERVE", ALLOCATED_AHEAD);
    command.current_dir("/");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A terminal's signals are for the host, which ends what it has started itself.
    command.process_group(0);
    command.kill_on_drop(true).spawn()
}

/// Gives the compiler its component and takes its answer. Standard input stays open meanwhile: where it ends, the compiler does.
async fn talk(child: &mut Child, fingerprint: u64, limits: &Limits, component: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut pipes = ready(child, fingerprint).await.map_err(Failure::Compiler)?;
    match answered(&mut pipes, limits, component).await {
        Some(answer) => answer,
        None => {
            let words = last_words(&mut pipes.stderr).await;
            let status = child.wait().await;
            Err(status.map_or_else(
                |e| Failure::Compiler(format!("can't be waited for: {e}")),
                |status| meant(status, &words, limits),
            ))
        }
    }
}

/// What the host and a compiler have between them.
struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

/// Waits until the compiler is ready; or why it is not, in words that follow "the compiler".
async fn ready(child: &mut Child, fingerprint: u64) -> Result<Pipes, String> {
    let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
    let ((stdin, stdout), stderr) = pipes.ok_or("has no pipes")?;
    let mut pipes = Pipes { stdin, stdout, stderr };
    match greeted(&mut pipes.stdout, fingerprint).await {
        Some(true) => Ok(pipes),
        Some(false) => Err(OTHER.to_owned()),
        None => {
            let words = last_words(&mut pipes.stderr).await;
            let ended = child.wait().await.map_or_else(|e| e.to_string(), how);
            Err(format!("did not begin: {ended}, {words}"))
        }
    }
}

/// Whether the compiler that is ready now is the one for this host; none where it ended before.
async fn greeted(stdout: &mut ChildStdout, fingerprint: u64) -> Option<bool> {
    let mut greeting = [0; GREETING.len()];
    stdout.read_exact(&mut greeting).await.ok()?;
    let theirs = stdout.read_u64_le().await.ok()?;
    Some(greeting == *GREETING && theirs == fingerprint)
}

/// The compiler's answer; none where it ended before it had given one.
async fn answered(pipes: &mut Pipes, limits: &Limits, component: &[u8]) -> Option<Result<Vec<u8>, Failure>> {
    let Pipes { stdin, stdout, .. } = pipes;
    // Where nobody reads the component any more there is no answer either.
    let (_, kind) = tokio::join!(stdin.write_all(component), stdout.read_u8());
    let (kind, length) = (kind.ok()?, stdout.read_u64_le().await.ok()?);
    let most = match kind {
        CODE => limits.compile_code,
        REFUSED | NO_MEMORY => REASON,
        _ => return Some(Err(Failure::Compiler(OTHER.to_owned()))),
    };
    if length > most {
        return Some(Err(CompileError::Code {
            bytes: length,
            limit: most,
        }
        .into()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    stdout.take(length).read_to_end(&mut bytes).await.ok()?;
    if bytes.len() as u64 != length {
        return None;
    }
    Some(match kind {
        CODE => Ok(bytes),
        REFUSED => {
            let reason = text::line(&String::from_utf8_lossy(&bytes), 600);
            Err(CompileError::Refused(reason).into())
        }
        _ => Err(no_memory(limits).into()),
    })
}

/// What the end of a compiler means that has not answered.
fn meant(status: ExitStatus, words: &str, limits: &Limits) -> Failure {
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    if is(Signal::XCPU) {
        return CompileError::Cpu {
            limit_ms: limits.compile_cpu,
        }
        .into();
    }
    // What the standard library says before it aborts for want of memory, and what it hears where no room for a thread is left.
    if words.contains("memory allocation of") || words.contains("Cannot allocate memory") {
        return no_memory(limits).into();
    }
    let from_outside = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    if from_outside.into_iter().any(is) {
        let by = "another process did that, or the kernel for want of memory";
        return Failure::Compiler(format!("was ended by {}: {by}", how(status)));
    }
    CompileError::Crashed {
        how: format!("{}, {words}", how(status)),
        limit: limits.compile_address_space,
    }
    .into()
}

fn how(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", status.code().unwrap_or_default()),
    }
}

fn no_memory(limits: &Limits) -> CompileError {
    CompileError::Memory {
        limit: limits.compile_address_space,
    }
}

/// The beginning of what a compiler that ended said on standard error.
async fn last_words(stderr: &mut ChildStderr) -> String {
    let mut words = Vec::new();
    let _ = stderr.take(WORDS).read_to_end(&mut words).await;
    let words = String::from_utf8_lossy(&words);
    // The standard library's advice is for whoever runs a program.
    let lines = words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("note:"));
    match lines.collect::<Vec<_>>().join(" ").as_str() {
        "" => "without a word".to_owned(),
        words => text::line(words, 300),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_an_answer_is_told_by_its_cause() {
        let limits = Limits::default();
        let by = |signal: Signal, words: &str| meant(ExitStatus::from_raw(signal.as_raw()), words, &limits);
        let final_ = |failure: Failure| match failure {
            Failure::Component(error) => error,
            Failure::Compiler(why) => panic!("{why}"),
        };
        assert!(matches!(final_(by(Signal::XCPU, "")), CompileError::Cpu { .. }));
        let memory = by(Signal::ABORT, "memory allocation of 4096 bytes failed");
        assert!(matches!(final_(memory), CompileError::Memory { .. }));
        let crash = final_(by(Signal::SEGV, "thread 'main' has overflowed its stack")).to_string();
        assert!(crash.contains("signal 11") && crash.contains("overflowed"), "{crash}");
        let panic = meant(ExitStatus::from_raw(101 << 8), "panicked at x", &limits);
        assert!(matches!(final_(panic), CompileError::Crashed { .. }));
        // Nothing is known of the component then.
        assert!(matches!(by(Signal::KILL, ""), Failure::Compiler(_)));
    }
}
