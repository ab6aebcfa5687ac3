//! The compiler as a program: reads one component from standard input, writes its code to standard output, and ends. The system holds it to its
//! limits, and it does not outlive the host that started it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read as _, Write};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::engine::{fingerprint, to_compile};
use crate::limits::Limits;
use crate::text;

/// The first argument of a process that shall compile.
const ASKED: &str = "compile-one-component";

/// What the compiler says when it is ready for its component; its engine's fingerprint follows.
pub(super) const GREETING: &[u8; 8] = b"hermescc";

/// What an answer begins with, before its length and its bytes: code, or in words why there is none.
pub(super) const CODE: u8 = 0;
pub(super) const REFUSED: u8 = 1;
pub(super) const NO_MEMORY: u8 = 2;

/// Bytes of the reason why a component was refused.
pub(super) const REASON: u64 = 64 << 10;

/// Descriptors that it may have open: the standard ones, and a few to look at the machine.
const DESCRIPTORS: u64 = 16;

/// The exit code of a process that could not begin.
const UNABLE: u8 = 2;

/// Shows that this program compiles when the host starts it for that: it is what [`this_program`] gives.
#[derive(Debug, Clone, Copy)]
pub struct ThisProgram(());

/// Makes the program that this process runs the compiler of its own components. `main` calls this first: where the host has started the program to
/// compile, this does so and does not return.
pub fn this_program() -> ThisProgram {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == ASKED) {
        let Err(why) = serve(args);
        // Nobody reads it but a host, or a person who started this by hand.
        let _ = writeln!(io::stderr(), "{why}");
        std::process::exit(UNABLE.into());
    }
    ThisProgram(())
}

/// What a process is to compile, and under which limits: its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// Bytes of address space.
    pub(super) address_space: u64,
    /// Seconds of processor time.
    pub(super) cpu_s: u64,
    /// [`Limits::wasm_stack`] and [`Limits::async_stack`], which the engine is made with.
    pub(super) wasm_stack: u64,
    pub(super) async_stack: u64,
    /// The component's bytes.
    pub(super) component: u64,
}

impl Order {
    pub(super) fn of(limits: &Limits, component: &[u8]) -> Self {
        Self {
            address_space: limits.compile_address_space,
            cpu_s: limits.compile_cpu.div_ceil(1000),
            wasm_stack: limits.wasm_stack,
            async_stack: limits.async_stack,
            component: component.len() as u64,
        }
    }

    pub(super) fn args(&self) -> [String; 6] {
        let numbers = [
            self.address_space,
            self.cpu_s,
            self.wasm_stack,
            self.async_stack,
            self.component,
        ];
        let [a, b, c, d, e] = numbers.map(|number| number.to_string());
        [ASKED.to_owned(), a, b, c, d, e]
    }

    /// From the arguments that follow the first.
    fn parse(args: impl Iterator<Item = OsString>) -> Option<Self> {
        let number = |arg: OsString| arg.to_str()?.parse().ok();
        let numbers: Vec<u64> = args.map(number).collect::<Option<_>>()?;
        let [address_space, cpu_s, wasm_stack, async_stack, component] = numbers[..] else {
            return None;
        };
        Some(Self {
            address_space,
            cpu_s,
            wasm_stack,
            async_stack,
            component,
        })
    }
}

/// Compiles, and ends the process.
fn serve(args: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    let order = Order::parse(args).ok_or("this is how hermes-host starts its compiler; it is of no use to people")?;
    confine(&order).map_err(|e| format!("its limits could not be set: {e}"))?;
    let limits = Limits {
        wasm_stack: order.wasm_stack,
        async_stack: order.async_stack,
        ..Limits::default()
    };
    let engine = to_compile(&limits).map_err(|e| e.to_string())?;
    let mut out = io::stdout().lock();
    let said = |e: io::Error| e.to_string();
    out.write_all(GREETING).map_err(said)?;
    out.write_all(&fingerprint(&engine).to_le_bytes()).map_err(said)?;
    out.flush().map_err(said)?;
    let component = component(order.component).map_err(said)?;
    end_with_the_host().map_err(said)?;
    match engine.precompile_component(&component) {
        Ok(code) => answer(&mut out, CODE, &code),
        Err(error) if lacks_memory(&error) => answer(&mut out, NO_MEMORY, b""),
        Err(error) => {
            let reason = format!("{error:#}");
            let most = usize::try_from(REASON).unwrap_or_default();
            answer(&mut out, REFUSED, text::prefix(&reason, most).as_bytes())
        }
    }
    .map_err(said)?;
    std::process::exit(0)
}

fn component(length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    io::stdin().lock().take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn answer(out: &mut impl Write, kind: u8, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&[kind])?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(bytes)?;
    out.flush()
}

fn lacks_memory(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let errno = cause.downcast_ref::<rustix::io::Errno>();
        cause.is::<wasmtime::OutOfMemory>()
            || io == Some(io::ErrorKind::OutOfMemory)
            || errno == Some(&rustix::io::Errno::NOMEM)
    })
}

/// Standard input stays open for as long as the host lives, however it dies: then this process has nobody to compile for. (A parent's death signal
/// would come when the thread ends that started this process.)
fn end_with_the_host() -> io::Result<()> {
    let wait = || {
        let _ = io::stdin().lock().read(&mut [0]);
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    };
    let thread = std::thread::Builder::new().name("host".to_owned()).stack_size(64 << 10);
    thread.spawn(wait).map(drop)
}

/// Gives up what a compiler does not need, and bounds what it does.
fn confine(order: &Order) -> io::Result<()> {
    close_inherited()?;
    bound(Resource::Core, 0, 0)?;
    bound(Resource::Fsize, 0, 0)?;
    bound(Resource::Nofile, DESCRIPTORS, DESCRIPTORS)?;
    bound(Resource::As, order.address_space, order.address_space)?;
    // The first is a signal that tells the host why, the second the end in any case.
    bound(Resource::Cpu, order.cpu_s, order.cpu_s.saturating_add(1))?;
    #[cfg(target_os = "linux")]
    {
        rustix::thread::set_no_new_privs(true)?;
        // `ps` would show the name of the link that the host starts.
        rustix::thread::set_name(c"hermes-compiler")?;
    }
    Ok(())
}

/// Sets a limit, or a lower one that this process has been given already.
fn bound(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let given = getrlimit(resource).maximum;
    let within = |limit: u64| Some(given.map_or(limit, |given| limit.min(given)));
    let limit = Rlimit {
        current: within(current),
        maximum: within(maximum),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Closes what the host itself was given by whoever started it; of its own files it leaves nothing open to its children.
#[expect(unsafe_code, reason = "closing a descriptor by its number; see the comment")]
fn close_inherited() -> io::Result<()> {
    let folder = if cfg!(target_os = "linux") {
        is_the_only_thread()?;
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let open: Vec<i32> = std::fs::read_dir(folder)?.filter_map(number).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // SAFETY: `close` takes the descriptor from whatever owns it, so nothing may use or close it later. Nothing can: this is the only thread
        // (asked of the system on Linux; elsewhere by what `this_program` says of its place in `main`), and `serve`, which alone comes here, ends
        // the process and never goes back to code that could own one. What it opens itself it opens later. (The list's own descriptor is among
        // them, and closed by now; to close it once more is an error that is passed over.)
        unsafe { rustix::io::close(descriptor) };
    }
    Ok(())
}

/// Closing all descriptors would take them from other threads.
fn is_the_only_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        threads => Err(io::Error::other(format!(
            "the process has {threads} threads already; `this_program` is the first that `main` calls"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_with_other_threads_closes_nothing() {
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv().is_err());
        let file = std::fs::File::open("/proc/self/exe").expect("this program");
        let error = close_inherited().expect_err("there are two threads at least");
        assert!(error.to_string().contains("threads already"), "{error}");
        file.metadata().expect("it is open as before");
        drop(end);
        assert!(other.join().expect("it ends"));
    }

    #[test]
    fn an_order_reads_back_from_its_arguments() {
        let limits = Limits {
            compile_cpu: 1001,
            ..Limits::default()
        };
        let order = Order::of(&limits, b"abc");
        assert_eq!(order.cpu_s, 2, "rounded up");
        let args = order.args().map(OsString::from);
        assert_eq!(args[0], ASKED);
        assert_eq!(Order::parse(args.iter().skip(1).cloned()), Some(order));
        assert_eq!(Order::parse(args.iter().cloned()), None);
        assert_eq!(Order::parse(args.iter().skip(2).cloned()), None);
    }
}
