//! From checked bytes to compiled code: in a process of its own that the system bounds, and through the cache on disk.

mod error;
mod process;
mod program;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Component;

pub use error::CompileError;
use process::Failure;
pub use program::{ThisProgram, this_program};

use crate::blocking;
use crate::engine::cache::{Cache, Kind, Lookup};
use crate::engine::precheck::LoadError;
use crate::engine::{Engine, fingerprint, to_compile};
use crate::ids::Digest;
use crate::limits::Limits;

/// Components that this process has compiled at the moment, or that wait for their place.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Whether this process has a component compiled at the moment: one that is not in the cache.
pub fn is_compiling() -> bool {
    UNDER_WAY.load(Ordering::Relaxed) > 0
}

/// One of those that are under way, until it is dropped.
struct UnderWay;

impl UnderWay {
    fn begin() -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A component waits at most as long for its place as so many others may take.
const QUEUE: u32 = 10;

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum CompileIn {
    /// In processes of this program, each for one component and under all of `limits.compile`.
    ThisProgram(ThisProgram),
    /// The same, in processes of the `hermes-host` of this build that lies there. What it answers is run as code of this process: name no other
    /// program.
    Program(PathBuf),
    /// In this process. For programs that trust the components they compile: memory and computing are not bounded then, and when
    /// `limits.compile.wall` is over nobody waits any more, but the compiler goes on to its end.
    ThisProcess,
    /// Nowhere: what is not in the cache is refused.
    Nowhere,
}

impl CompileIn {
    /// Starts what compiles, as for a component, and ends it again.
    ///
    /// # Errors
    /// Why it does not work here, in words that follow "the compiler".
    pub async fn check(&self, limits: &Limits) -> Result<(), String> {
        let Some(program) = self.program()? else {
            return Ok(());
        };
        let engine = to_compile(limits).map_err(|e| e.to_string())?;
        process::check(&program, fingerprint(&engine), limits).await
    }

    /// The program whose processes compile; none where that is none of their work.
    fn program(&self) -> Result<Option<PathBuf>, String> {
        match self {
            Self::ThisProgram(_) => {
                let program = process::this_program();
                Ok(Some(program.map_err(|e| format!("can't be found: {e}"))?))
            }
            Self::Program(path) => Ok(Some(path.clone())),
            Self::ThisProcess => Ok(None),
            Self::Nowhere => Err("is not used by what only looks".to_owned()),
        }
    }
}

impl From<ThisProgram> for CompileIn {
    fn from(program: ThisProgram) -> Self {
        Self::ThisProgram(program)
    }
}

/// Compiles components. Cheap to clone.
#[derive(Clone)]
pub struct Compiler(Arc<Inner>);

struct Inner {
    engine: Engine,
    cache: Option<Cache>,
    limits: Limits,
    compile_in: CompileIn,
    slots: Arc<Semaphore>,
    notices: Mutex<Vec<String>>,
}

impl Compiler {
    /// A compiler that keeps its work in `cache`, where there is one.
    pub fn new(engine: Engine, cache: Option<Cache>, limits: &Limits, compile_in: CompileIn) -> Self {
        let slots = Arc::new(Semaphore::new(usize::try_from(limits.compile_parallel).unwrap_or(1)));
        Self(Arc::new(Inner {
            engine,
            cache,
            limits: limits.clone(),
            compile_in,
            slots,
            notices: Mutex::default(),
        }))
    }

    /// Compiles the bytes of a component that was checked, or takes its code from the cache. Dropped before its end, it leaves no process behind.
    ///
    /// # Errors
    /// It can't be compiled under these limits, now or when that was tried before; the compiler does not work here; no place to compile it came
    /// free.
    pub async fn compile(&self, bytes: Arc<[u8]>, digest: Digest) -> Result<Component, LoadError> {
        // What is in the cache waits for nobody.
        if let Some(known) = self.apart(move |inner| inner.known(digest, SystemTime::now())).await? {
            return known;
        }
        let _under_way = UnderWay::begin();
        let slot = self.slot().await?;
        let Some(program) = self.0.compile_in.program().map_err(LoadError::Compiler)? else {
            return self.here(bytes, digest, slot).await;
        };
        let engine = fingerprint(self.0.engine.wasmtime());
        let compiled = process::compile(&program, engine, &self.0.limits, &bytes).await;
        drop(slot);
        match compiled {
            Ok(code) => self.apart(move |inner| inner.loaded(digest, &code)).await?,
            Err(Failure::Compiler(why)) => Err(LoadError::Compiler(why)),
            Err(Failure::Component(error)) => {
                let kept = Kept {
                    error: error.clone(),
                    at: SystemTime::now(),
                };
                self.apart(move |inner| inner.remember(digest, &kept)).await?;
                Err(error.into())
            }
        }
    }

    /// A place among those that compile.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, LoadError> {
        let limits = &self.0.limits;
        let wait = Duration::from_millis(limits.compile_wall).saturating_mul(QUEUE);
        let slot = tokio::time::timeout(wait, self.0.slots.clone().acquire_owned()).await;
        slot.ok().and_then(Result::ok).ok_or(LoadError::CompileBusy {
            places: limits.compile_parallel,
        })
    }

    /// Compiles in this process, which can't be stopped: the place is held until the work ends, for which nobody may wait any more.
    async fn here(&self, bytes: Arc<[u8]>, digest: Digest, slot: OwnedSemaphorePermit) -> Result<Component, LoadError> {
        let limit_ms = self.0.limits.compile_wall;
        let work = self.apart(move |inner| {
            let _slot = slot;
            let code = inner.engine.wasmtime().precompile_component(&bytes);
            let code = code.map_err(|e| CompileError::Refused(format!("{e:#}")))?;
            inner.loaded(digest, &code)
        });
        match tokio::time::timeout(Duration::from_millis(limit_ms), work).await {
            Ok(component) => component?,
            Err(_) => Err(CompileError::Wall { limit_ms }.into()),
        }
    }

    /// Off the threads that serve others: reading, mapping and writing code takes long.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> Result<T, LoadError> {
        let inner = self.0.clone();
        let done = blocking::apart(move || work(&inner)).await;
        done.map_err(|panic| LoadError::Compiler(format!("broke: {panic}")))
    }

    /// Where it has components compiled.
    pub fn compile_in(&self) -> CompileIn {
        self.0.compile_in.clone()
    }

    /// Whether this component was compiled before, or can't be: it was checked then.
    pub fn was_tried(&self, digest: &Digest) -> bool {
        let inner = &self.0;
        inner.cache.as_ref().is_some_and(|cache| {
            cache.has(&inner.code_name(*digest), Kind::Code) || cache.has(&inner.refusal_name(*digest), Kind::Refusal)
        })
    }

    /// What the cache has of a component beside its code, under this name.
    pub fn kept(&self, digest: Digest, what: &str) -> Option<Vec<u8>> {
        self.0.look_up(&aside(digest, what), Kind::Answer, "made again")
    }

    /// Keeps something of a component beside its code.
    pub fn keep(&self, digest: Digest, what: &str, bytes: &[u8]) {
        self.0
            .store(&aside(digest, what), Kind::Answer, bytes, "what a plugin answered");
    }

    /// What a person should know of the cache, since this was last asked.
    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a component can't be compiled, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    error: CompileError,
    /// Since when.
    at: SystemTime,
}

impl Kept {
    /// Whether it still says what would come of it. Where the clock was set back, nobody knows.
    fn stands(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.at);
        self.error
            .stands_for()
            .is_none_or(|most| age.is_ok_and(|age| age < most))
    }
}

impl Inner {
    /// The component from the cache, or why there is none; nothing where it has to be compiled.
    fn known(&self, digest: Digest, now: SystemTime) -> Option<Result<Component, LoadError>> {
        if let Some(code) = self.look_up(&self.code_name(digest), Kind::Code, "compiled again") {
            match self.trusted(&code) {
                Ok(component) => return Some(Ok(component)),
                Err(e) if counted(&e).is_some() => return Some(Err(refused(&e))),
                Err(e) => self.notice(format!(
                    "a cache entry does not fit this engine and is compiled again: {e:#}"
                )),
            }
        }
        let name = self.refusal_name(digest);
        let kept = self.look_up(&name, Kind::Refusal, "tried again")?;
        let kept: Kept = postcard::from_bytes(&kept).ok()?;
        let file = self.cache.as_ref()?.path(&name, Kind::Refusal);
        let error = kept.stands(now).then_some(kept.error)?;
        Some(Err(LoadError::CompiledBefore { error, file }))
    }

    /// Keeps code that was just compiled, and loads it.
    fn loaded(&self, digest: Digest, code: &[u8]) -> Result<Component, LoadError> {
        self.store(&self.code_name(digest), Kind::Code, code, "compiled code");
        self.trusted(code).map_err(|e| refused(&e))
    }

    /// Keeps why a component can't be compiled.
    fn remember(&self, digest: Digest, kept: &Kept) {
        let bytes =
            postcard::to_stdvec(kept).expect("an error of the compiler holds nothing that postcard can't encode");
        let what = "why it can't be compiled";
        self.store(&self.refusal_name(digest), Kind::Refusal, &bytes, what);
    }

    /// What the cache has under `name`, and a notice where it has something that must not be used.
    fn look_up(&self, name: &Digest, kind: Kind, again: &str) -> Option<Vec<u8>> {
        match self.cache.as_ref()?.load(name, kind) {
            Lookup::Hit(bytes) => return Some(bytes),
            Lookup::Miss => {}
            Lookup::Rejected(why) => self.notice(format!("a cache entry was rejected and is {again}: {why}")),
            Lookup::Unavailable(why) => self.notice(format!("the compile cache can't be used: {why}")),
        }
        None
    }

    fn store(&self, name: &Digest, kind: Kind, bytes: &[u8], what: &str) {
        if let Some(cache) = &self.cache
            && let Err(why) = cache.store(name, kind, bytes)
            && !self.has_told(&why)
        {
            self.notice(format!("{what} could not be kept: {why}"));
        }
    }

    /// Loads code that this process or its compiler made, or that the cache vouches for.
    #[expect(unsafe_code, reason = "loading compiled code trusts it; see the comment")]
    fn trusted(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: what `deserialize` is given is run as it is: it has to be, unchanged, what `precompile_component` made. Each caller has it so:
        // - `here` from a call of it in this process.
        // - `compile` from a process of the program that `CompileIn` names, which makes no other answer, over a pipe that this process made for it
        //   and nobody else has. That the program is this build is the word of whoever built the `CompileIn`, and its engine's fingerprint is
        //   compared.
        // - `known` from the cache: `Cache::load` gives it only under a MAC over kind, name and bytes, whose key this user alone can read, and `loaded`
        //   is all that keeps anything as `Kind::Code`: what comes by one of the ways above, under the name of its component, engine and host.
        // A version or an engine that does not fit is refused by `deserialize` itself.
        unsafe { Component::deserialize(self.engine.wasmtime(), code) }
    }

    /// Names code by component, engine configuration and host version.
    fn code_name(&self, digest: Digest) -> Digest {
        let engine = fingerprint(self.engine.wasmtime());
        let name = format!("{digest} {engine:016x} {}", env!("CARGO_PKG_VERSION"));
        Digest::of(name.as_bytes())
    }

    /// Names why there is no code: as code, and by the limits, so that others are tried.
    fn refusal_name(&self, digest: Digest) -> Digest {
        let Limits {
            compile_wall: wall,
            compile_cpu: cpu,
            compile_address_space: memory,
            compile_code: code,
            ..
        } = self.limits;
        let name = format!("{} refused {wall} {cpu} {memory} {code}", self.code_name(digest));
        Digest::of(name.as_bytes())
    }

    /// Whether a notice that nobody has asked for yet gives this reason: what the cache lacks is told once.
    fn has_told(&self, why: &str) -> bool {
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.iter().any(|notice| notice.ends_with(why))
    }

    fn notice(&self, message: String) {
        tracing::warn!(%message, "compile cache");
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if !notices.contains(&message) {
            notices.push(message);
        }
    }
}

/// What code can't be loaded for.
fn refused(error: &wasmtime::Error) -> LoadError {
    counted(error).unwrap_or_else(|| CompileError::Refused(format!("{error:#}")).into())
}

/// Of which part a component has more than it may. The engine has no types for this, but says it in words.
fn counted(error: &wasmtime::Error) -> Option<LoadError> {
    let words = format!("{error:#}");
    // The last row is a module's by itself; so are its tables'.
    let all = [
        (
            "core module instances, which exceeds",
            "core instances",
            "core_instances",
        ),
        ("Wasm linear memories, which exceeds", "memories", "memories"),
        ("tables, which exceeds", "tables", "tables"),
        ("defined tables count", "tables", "tables"),
        ("exceeds the per-instance limit of", "memories", "memories"),
    ];
    let (_, what, key) = *all.iter().find(|(said, ..)| words.contains(said))?;
    // It says what is needed, then the limit.
    let numbers = words.rsplit(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.filter_map(|n| n.parse().ok());
    let (limit, needs) = (numbers.next()?, numbers.next()?);
    Some(LoadError::StartsTooLarge {
        what,
        needs,
        limit,
        key,
    })
}

/// Names what is kept of a component beside its code, for this version of the host.
fn aside(digest: Digest, what: &str) -> Digest {
    Digest::of(format!("{digest} {what} {}", env!("CARGO_PKG_VERSION")).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cache::Use;

    #[test]
    fn a_refusal_for_the_clocks_sake_stands_for_an_hour_and_any_other_for_good() {
        let dir = tempfile::tempdir().expect("a folder");
        let limits = Limits::default();
        let engine = Engine::new(&limits).expect("an engine");
        let cache = Cache::open(&dir.path().join("cache"), 1 << 20, Use::Write);
        let compiler = Compiler::new(engine, Some(cache), &limits, CompileIn::Nowhere);
        let at = SystemTime::now();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let years = 100_000 * hour;
        let (wall, cpu) = (
            CompileError::Wall { limit_ms: 60_000 },
            CompileError::Cpu { limit_ms: 60_000 },
        );
        for (error, stands, falls) in [
            (
                wall,
                vec![at, at + hour - second],
                vec![at - second, at + hour, at + years],
            ),
            (cpu, vec![at - second, at, at + hour, at + years], vec![]),
        ] {
            let digest = Digest::of(error.to_string().as_bytes());
            compiler.0.remember(
                digest,
                &Kept {
                    error: error.clone(),
                    at,
                },
            );
            let known = |now| match compiler.0.known(digest, now) {
                Some(Err(LoadError::CompiledBefore { error, .. })) => Some(error),
                Some(_) => panic!("nothing was compiled"),
                None => None,
            };
            assert!(
                stands.into_iter().all(|now| known(now).as_ref() == Some(&error)),
                "{error}"
            );
            assert!(falls.into_iter().all(|now| known(now).is_none()), "{error}");
        }
    }
}
