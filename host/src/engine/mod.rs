//! The wasmtime engine as this host uses it: pooled instances, fuel for budgets, epochs for deadlines, and nothing
//! enabled that guests do not need. One engine serves the whole process.

pub mod cache;
pub mod compile;
pub mod limiter;
pub mod precheck;
pub mod source;
mod ticker;

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig, WasmBacktraceDetails,
};

pub use ticker::Running;

use crate::limits::{self, Limits, Unit};
use precheck::features;
use ticker::Ticker;

/// Memory that a slot keeps between guests, so that a small guest needs no memory-map call. Measured: half the latency of a
/// fresh instance, and two to four times the throughput over two threads.
const KEEP_RESIDENT: usize = 1 << 20;

/// The same for tables.
const TABLE_KEEP_RESIDENT: usize = 64 << 10;

/// Fuel for each 64 KiB page that a memory grows by: about what it costs to touch it once. By default growing is free.
const GROW_COST: u8 = 200;

/// Bytes of instance data that a component may need; the largest seen (CPython) is under a tenth of it.
const INSTANCE_SIZE: usize = 16 << 20;

/// The process's engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    ticker: Arc<Ticker>,
}

/// An engine that can't be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine can't start: {0}")]
pub struct EngineError(String);

/// Today's limits, but what an engine is made for as `recorded`: what its instances may have can't change while it lives.
pub fn made_as(recorded: &Limits, today: &Limits) -> Limits {
    Limits {
        memory: recorded.memory,
        memories: recorded.memories,
        tables: recorded.tables,
        table_elements: recorded.table_elements,
        core_instances: recorded.core_instances,
        wasm_stack: recorded.wasm_stack,
        async_stack: recorded.async_stack,
        ..today.clone()
    }
}

/// What the host's functions have of the stack that they share with a guest's, in bytes, at least: overflowing that ends the process.
const HOST_STACK: u64 = 1 << 20;

impl Engine {
    /// An engine under these limits.
    ///
    /// # Errors
    /// A guest's stack leaves the host's functions less than 1 MiB of the one that they share. The machine has too little address space or too few mappings for `limits.resident` instances.
    pub fn new(limits: &Limits) -> Result<Self, EngineError> {
        let (own, all) = (limits.wasm_stack, limits.async_stack);
        if own.saturating_add(HOST_STACK) > all {
            let show = |bytes| limits::show(bytes, Unit::Bytes);
            return Err(EngineError(format!(
                "a guest's stack, {} (limits.wasm_stack), and {} for the host's functions have no room in the one they share, {} (limits.async_stack)",
                show(own),
                show(HOST_STACK),
                show(all)
            )));
        }
        let mut config = config(limits);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
        let engine = wasmtime::Engine::new(&config).map_err(|e| EngineError(format!("{e:#}")))?;
        let ticker = Arc::new(Ticker::start(&engine).map_err(|e| EngineError(e.to_string()))?);
        Ok(Self { engine, ticker })
    }

    /// The engine itself.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Says that a guest runs for as long as the answer lives: epochs tick only then.
    pub fn running(&self) -> Running {
        Ticker::running(&self.ticker)
    }
}

/// An engine that only compiles, for one that [`Engine::new`] makes under these limits: it sets no room for instances aside.
fn to_compile(limits: &Limits) -> Result<wasmtime::Engine, EngineError> {
    wasmtime::Engine::new(&config(limits)).map_err(|e| EngineError(format!("{e:#}")))
}

/// Names all that compiled code depends on beside the component: where two engines have the same, one loads what the other compiles.
fn fingerprint(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = Fnv::default();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// What is the same for all engines of these limits; how instances get their memory is none of what code depends on.
fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(size(limits.wasm_stack))
        .async_stack_size(size(limits.async_stack))
        .async_stack_zeroing(false)
        .cranelift_nan_canonicalization(true)
        .wasm_features(features::on().complement(), false)
        .wasm_features(features::on(), true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .concurrency_support(false);
    let mut cost = OperatorCost::default();
    cost.variable.memory_grow_per_page = GROW_COST;
    config.operator_cost(cost);
    config
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let slots = count(limits.resident);
    // What guests have on average, interpreters among them; one that takes all that a component may fits in any case.
    let total = |each: u32, most: u64| slots.saturating_mul(each).max(count(most));
    pool.total_component_instances(slots)
        .total_core_instances(total(16, limits.core_instances))
        .total_memories(total(3, limits.memories))
        .total_tables(total(8, limits.tables))
        .total_stacks(slots)
        .max_core_instances_per_component(count(limits.core_instances))
        .max_memories_per_component(count(limits.memories))
        .max_memories_per_module(count(limits.memories))
        .max_tables_per_component(count(limits.tables))
        .max_tables_per_module(count(limits.tables))
        .max_component_instance_size(INSTANCE_SIZE)
        .max_core_instance_size(INSTANCE_SIZE)
        .max_memory_size(size(limits.memory))
        .table_elements(size(limits.table_elements))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    pool
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A component of one core module, which uses a feature that is off.
    fn component(types: &[u8]) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0\x01".to_vec();
        module.push(u8::try_from(types.len()).expect("it is short"));
        module.extend_from_slice(types);
        let mut component = b"\0asm\x0d\0\x01\0\x01".to_vec();
        component.push(u8::try_from(module.len()).expect("it is short"));
        component.extend_from_slice(&module);
        component
    }

    #[test]
    fn the_engine_itself_has_off_what_the_check_refuses() {
        let engine = to_compile(&Limits::default()).expect("an engine");
        let plain = component(b"\x01\x60\0\0");
        engine.precompile_component(&plain).expect("a type of a function");
        for (types, feature) in [
            (&b"\x02\x60\0\0\x60\x01\x63\0\0"[..], "typed function references"),
            (b"\x01\x5f\x01\x7f\0", "structures that are collected"),
            (b"\x01\x4e\x01\x60\0\0", "groups of types"),
            (b"\x01\x60\x01\x6f\0", "references to objects of the host"),
            (b"\x01\x60\x01\x71\0", "references to nothing"),
        ] {
            let compiled = engine.precompile_component(&component(types));
            assert!(compiled.is_err(), "{feature} are compiled");
        }
    }
}
