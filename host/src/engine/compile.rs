//! From checked bytes to compiled code, through the cache on disk.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::Component;

use crate::engine::Engine;
use crate::engine::cache::{Cache, Lookup};
use crate::engine::precheck::LoadError;
use crate::ids::Digest;
use crate::limits::Limits;

/// A component waits at most as long for its place as so many others may take.
const QUEUE: u32 = 10;

/// Compiles components. Cheap to clone.
#[derive(Clone)]
pub struct Compiler(Arc<Inner>);

struct Inner {
    engine: Engine,
    cache: Option<Cache>,
    limits: Limits,
    slots: Arc<Semaphore>,
    compiling: Mutex<HashSet<Digest>>,
    notices: Mutex<Vec<String>>,
}

impl Compiler {
    /// A compiler that keeps its work in `cache`, where there is one.
    pub fn new(engine: Engine, cache: Option<Cache>, limits: &Limits) -> Self {
        let slots = Arc::new(Semaphore::new(usize::try_from(limits.compile_parallel).unwrap_or(1)));
        Self(Arc::new(Inner {
            engine,
            cache,
            limits: limits.clone(),
            slots,
            compiling: Mutex::default(),
            notices: Mutex::default(),
        }))
    }

    /// Compiles the bytes of a component that was checked, or takes its code from the cache.
    ///
    /// # Errors
    /// The compiler refused it, or took too long; no place to compile it came free.
    pub async fn compile(&self, bytes: Arc<[u8]>, digest: Digest) -> Result<Component, LoadError> {
        let limits = &self.0.limits;
        let wall = Duration::from_millis(limits.compile_wall);
        let slot = tokio::time::timeout(wall.saturating_mul(QUEUE), self.0.slots.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else {
            return Err(LoadError::CompileBusy {
                places: limits.compile_parallel,
            });
        };
        let inner = self.0.clone();
        let work = tokio::task::spawn_blocking(move || {
            // Held until the work ends, for which nobody may wait any more: the compiler can't be interrupted.
            let _slot = slot;
            inner.compiling().insert(digest);
            let component = inner.component(&bytes, digest);
            inner.compiling().remove(&digest);
            component
        });
        match tokio::time::timeout(wall, work).await {
            Ok(Ok(component)) => component,
            Ok(Err(panic)) => Err(LoadError::Compile(panic.to_string())),
            Err(_) => Err(LoadError::CompileTime {
                limit_ms: limits.compile_wall,
            }),
        }
    }

    /// Whether this component is being compiled.
    pub fn is_compiling(&self, digest: &Digest) -> bool {
        self.0.compiling().contains(digest)
    }

    /// What the cache has of a component beside its code, under this name.
    pub fn kept(&self, digest: Digest, what: &str) -> Option<Vec<u8>> {
        self.0.look_up(&aside(digest, what), "made again")
    }

    /// Keeps something of a component beside its code.
    pub fn keep(&self, digest: Digest, what: &str, bytes: &[u8]) {
        self.0.store(&aside(digest, what), bytes, "what a plugin answered");
    }

    /// What a person should know of the cache, since this was last asked.
    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn compiling(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn component(&self, bytes: &[u8], digest: Digest) -> Result<Component, LoadError> {
        let key = self.key(digest);
        if let Some(code) = self.look_up(&key, "compiled again") {
            match self.trusted(&code) {
                Ok(component) => return Ok(component),
                Err(e) if counted(&e).is_some() => return Err(refused(&e)),
                Err(e) => self.notice(format!(
                    "a cache entry does not fit this engine and is compiled again: {e:#}"
                )),
            }
        }
        let engine = self.engine.wasmtime();
        let code = engine
            .precompile_component(bytes)
            .map_err(|e| LoadError::Compile(format!("{e:#}")))?;
        self.store(&key, &code, "compiled code");
        self.trusted(&code).map_err(|e| refused(&e))
    }

    /// What the cache has under `name`, and a notice where it has something that must not be used.
    fn look_up(&self, name: &Digest, again: &str) -> Option<Vec<u8>> {
        match self.cache.as_ref()?.load(name) {
            Lookup::Hit(bytes) => return Some(bytes),
            Lookup::Miss => {}
            Lookup::Rejected(why) => self.notice(format!("a cache entry was rejected and is {again}: {why}")),
            Lookup::Unavailable(why) => self.notice(format!("the compile cache can't be used: {why}")),
        }
        None
    }

    fn store(&self, name: &Digest, bytes: &[u8], what: &str) {
        if let Some(cache) = &self.cache
            && let Err(why) = cache.store(name, bytes)
            && !self.has_told(&why)
        {
            self.notice(format!("{what} could not be kept: {why}"));
        }
    }

    /// Loads code that this process compiled, or that the cache vouches for.
    #[expect(unsafe_code, reason = "loading compiled code trusts it; see the comment")]
    fn trusted(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` requires bytes that `precompile_component` made. They come from the call above, or from a cache
        // entry whose keyed MAC over digest, engine, host version and bytes was checked, with a key that only this user can read.
        unsafe { Component::deserialize(self.engine.wasmtime(), code) }
    }

    /// Names code by component, engine configuration and host version.
    fn key(&self, digest: Digest) -> Digest {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = Fnv::default();
        self.engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("{digest} {:016x} {}", hasher.finish(), env!("CARGO_PKG_VERSION"));
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
    counted(error).unwrap_or_else(|| LoadError::Compile(format!("{error:#}")))
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

/// FNV-1a: the same from process to process, as the standard library's hasher need not be.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
