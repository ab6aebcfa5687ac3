//! WASI as guests see it: linked whole, because Python, JavaScript and Go guests import it, and empty. No environment, arguments
//! or sockets; folders in tool instances only; the clock and random numbers are the session's own; output goes to the log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiView as _};
use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};

use crate::interfaces::State;
use crate::interfaces::folders::{GrantedFolders, folders};
use crate::interfaces::preopened::{self, FolderError};
use crate::interfaces::session::log;
use crate::interfaces::sockets::{NoSockets, denies};
use crate::plugin::grant::FolderGrant;
use crate::scrub::BEHIND;
use crate::session::guest::Guest;
use crate::session::waits::Timed;

pub(super) fn context(guest: &Arc<Guest>, folders: &[FolderGrant]) -> Result<WasiCtx, FolderError> {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(LogStream {
            guest: guest.clone(),
            level: "info",
        })
        .stderr(LogStream {
            guest: guest.clone(),
            level: "warn",
        })
        .secure_random(random_numbers(guest, b"secure"))
        .insecure_random(random_numbers(guest, b"insecure"))
        .insecure_random_seed(u128::from_le_bytes(
            seed(guest, b"seed")[..16].try_into().unwrap_or_default(),
        ))
        .max_random_size(guest.session.run.limits.random);
    for folder in folders {
        preopened::show(&mut builder, folder)?;
    }
    Ok(builder.build())
}

/// All randomness of an instance derives from the run's seed and the instance's place in the run, not from the run's id: a fork goes on with
/// the numbers of the run that it comes from.
fn seed(guest: &Guest, purpose: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(guest.session.run.seed);
    hash.update(guest.stream.session.number.to_le_bytes());
    hash.update(guest.stream.attempt.to_le_bytes());
    hash.update(guest.stream.scope.to_string());
    hash.update([0]);
    hash.update(purpose);
    hash.finalize().into()
}

fn random_numbers(guest: &Guest, purpose: &[u8]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(seed(guest, purpose))
}

/// Defines all of WASI 0.2 but HTTP, with our clocks in the place of the machine's.
pub(super) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = sockets::network::LinkOptions::default();
    error::add_to_linker::<State, GuestsOwn>(l, own)?;
    poll::add_to_linker::<State, GuestsOwn>(l, own)?;
    streams::add_to_linker::<State, HasSelf<ResourceTable>>(l, |state| &mut state.table)?;
    clocks::wall_clock::add_to_linker::<State, GuestsOwn>(l, own)?;
    clocks::monotonic_clock::add_to_linker::<State, GuestsOwn>(l, own)?;
    filesystem::preopens::add_to_linker::<State, GrantedFolders>(l, folders)?;
    filesystem::types::add_to_linker::<State, GrantedFolders>(l, folders)?;
    random::random::add_to_linker::<State, WasiRandom>(l, |s| s.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, |s| s.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |s| s.ctx().ctx.random())?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    sockets::tcp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::udp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<State, NoSockets>(l, denies)?;
    sockets::tcp_create_socket::add_to_linker::<State, NoSockets>(l, denies)?;
    sockets::instance_network::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::network::add_to_linker::<State, WasiSockets>(l, &options, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<State, NoSockets>(l, denies)
}

/// What of WASI is the guest's own, as data of the linker: its clocks, and the polls of its timers.
struct GuestsOwn;

impl HasData for GuestsOwn {
    type Data<'a> = Own<'a>;
}

struct Own<'a> {
    guest: &'a Arc<Guest>,
    table: &'a mut ResourceTable,
}

fn own(state: &mut State) -> Own<'_> {
    Own {
        guest: &state.guest,
        table: &mut state.table,
    }
}

impl error::Host for Own<'_> {}

impl error::HostError for Own<'_> {
    fn drop(&mut self, error: Resource<streams::Error>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }

    /// What it says, with its causes, and never where in the host it arose: the host's environment would decide that.
    fn to_debug_string(&mut self, error: Resource<streams::Error>) -> wasmtime::Result<String> {
        Ok(format!("{:#}", self.table.get(&error)?))
    }
}

impl clocks::wall_clock::Host for Own<'_> {
    fn now(&mut self) -> wasmtime::Result<clocks::wall_clock::Datetime> {
        self.guest.read_clock();
        let ms = self.guest.clock.now_ms();
        let nanoseconds = u32::try_from(ms % 1000).unwrap_or_default() * 1_000_000;
        Ok(clocks::wall_clock::Datetime {
            seconds: ms / 1000,
            nanoseconds,
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<clocks::wall_clock::Datetime> {
        Ok(clocks::wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1_000_000,
        })
    }
}

impl clocks::monotonic_clock::Host for Own<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.guest.read_clock();
        Ok(self.guest.clock.monotonic_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000_000)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let rest = when.saturating_sub(self.guest.clock.monotonic_ns());
        self.subscribe_duration(rest)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let number = self.guest.next_timer();
        let timer = self.table.push(Timer {
            guest: self.guest.clone(),
            number,
            ends: self
                .guest
                .wait_ends(Timed::Timer(number), Duration::from_nanos(duration)),
            due_ms: self.guest.clock.now_ms().saturating_add(duration.div_ceil(1_000_000)),
            ended: false,
        })?;
        subscribe(self.table, timer)
    }
}

/// Polls as the engine's WASI has them, counted: so that a replay ends a timer in the same of them.
impl poll::Host for Own<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.guest.begins_poll();
        let answer = <ResourceTable as poll::Host>::poll(self.table, pollables).await;
        self.guest.ends_poll();
        answer
    }
}

impl poll::HostPollable for Own<'_> {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.guest.begins_poll();
        let answer = <ResourceTable as poll::HostPollable>::ready(self.table, pollable).await;
        self.guest.ends_poll();
        answer
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.guest.begins_poll();
        let answer = <ResourceTable as poll::HostPollable>::block(self.table, pollable).await;
        self.guest.ends_poll();
        answer
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        <ResourceTable as poll::HostPollable>::drop(self.table, pollable)
    }
}

/// A guest's sleep. Its end is an observation, so that the guest's clock goes on and a replay does not sleep.
struct Timer {
    guest: Arc<Guest>,
    /// Its number among the guest's timers.
    number: u64,
    /// How long its session will have been awake when it ends.
    ends: Duration,
    /// The same in the guest's time, in milliseconds since 1970.
    due_ms: u64,
    ended: bool,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if self.ended {
            return;
        }
        if self.guest.is_replaying() || self.guest.is_told_again() {
            self.comes_again().await;
        } else {
            if self.guest.was_polled() {
                // It ended later, where the guest did not wait for it alone.
                tokio::task::yield_now().await;
            }
            let _pause = self.guest.is_strategy().then(|| self.guest.step.pause());
            let (session, ends) = (self.guest.session.clone(), self.ends);
            self.guest
                .waits_for(async move { session.awake.reaches(ends).await })
                .await;
        }
        self.guest.waited(self.number, self.due_ms);
        self.ended = true;
    }
}

impl Timer {
    /// In the record it ended in one of the guest's calls: in that it ends again, however late it is by now.
    async fn comes_again(&self) {
        let ends = || self.guest.replays_wait(self.number);
        if ends() == Some(self.guest.poll()) {
            return;
        }
        // Whoever asks is told no, and another that is ready ends the call: only who waits here for nothing else comes back. A guest that is not the recorded
        // one may wait for the same end in another call; for something that the record does not have, which is a difference, it waits no longer.
        tokio::task::yield_now().await;
        if !self.guest.is_strategy() && self.guest.rights.reaches_out() && ends().is_none() {
            // What it reached out for may still come.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.guest.waits.forget(Timed::Timer(self.number));
    }
}

/// A guest's standard output or error, as lines of its log.
#[derive(Clone)]
struct LogStream {
    guest: Arc<Guest>,
    level: &'static str,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LogLines {
            to: self.clone(),
            line: Vec::new(),
            more: 0,
        })
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(LogLines {
            to: self.clone(),
            line: Vec::new(),
            more: 0,
        })
    }
}

struct LogLines {
    to: LogStream,
    line: Vec<u8>,
    /// Bytes of the line that came behind those.
    more: usize,
}

/// Bytes that one write may bring.
const WRITE: usize = 64 << 10;

impl LogLines {
    fn take(&mut self, bytes: &[u8]) {
        let run = &self.to.guest.session.run;
        // A secret that goes on past the limit is still found.
        let most = usize::try_from(run.limits.log_line)
            .unwrap_or(WRITE)
            .saturating_add(BEHIND);
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                // One byte over the limit is kept, so that the line is seen to be cut.
                byte if self.line.len() <= most => self.line.push(*byte),
                _ => self.more = self.more.saturating_add(1),
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let more = std::mem::take(&mut self.more);
        // A journal that is full ends the guest at its next call; its output is no place to say so.
        let _ = log(&self.to.guest, self.to.level, &String::from_utf8_lossy(&line), more);
    }
}

impl Drop for LogLines {
    fn drop(&mut self) {
        // An instance that is built again says the whole line, when it comes to its end.
        let guest = &self.to.guest;
        let is_suspended = guest.is_strategy() && guest.session.run.suspend.is_cancelled();
        let is_built_again = guest.waits.is_given_up() || is_suspended;
        if !self.line.is_empty() && !is_built_again {
            self.end_line();
        }
    }
}

impl OutputStream for LogLines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogLines {
    async fn ready(&mut self) {}
}

impl tokio::io::AsyncWrite for LogLines {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
