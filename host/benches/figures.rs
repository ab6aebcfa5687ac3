//! What the host costs, each figure beside what it is compared with, in one run: a tool call in a fresh sandbox against the bare engine, a warm
//! instance and a subprocess; a durable iteration against an append and a sync of the same size; a start with and without the cache; a
//! host call.
//!
//! `cargo xtask bench`. Read the ratios: absolute times vary with the machine and its load.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that fails shall stop")]
#![allow(clippy::cast_precision_loss, reason = "numbers of steps are small")]

mod common;

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{BATCH, guest, host, root, script};
use criterion::{Criterion, criterion_group, criterion_main};
use hermes_host::amounts::Amounts;
use hermes_host::bindings::{ToolsetPre, types};
use hermes_host::engine::Engine;
use hermes_host::run::{Host, RunSpec};
use hermes_host::session::call::{Begins, Under};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Component, Linker};
use wasmtime::{Store, UpdateDeadline};

/// A record of the size that a small observation has.
const RECORD: [u8; 300] = [7; 300];

fn call() -> types::ToolCall {
    types::ToolCall {
        id: String::new(),
        name: "echo".to_owned(),
        arguments: r#"{"text":"hello"}"#.to_owned(),
    }
}

/// The engine with the host's settings and nothing else of the host: fuel, epochs, a fresh instance, one call.
struct Bare {
    engine: Engine,
    pre: ToolsetPre<()>,
}

impl Bare {
    fn new() -> Self {
        let engine = Engine::new(&hermes_host::limits::Limits::default()).unwrap();
        let bytes = std::fs::read(guest("pure-echo")).unwrap();
        let component = Component::from_binary(engine.wasmtime(), &bytes).unwrap();
        let linker: Linker<()> = Linker::new(engine.wasmtime());
        let pre = ToolsetPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        Self { engine, pre }
    }

    fn store(&self) -> Store<()> {
        let mut store = Store::new(self.engine.wasmtime(), ());
        store.set_fuel(10_000_000_000).unwrap();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        store
    }

    async fn fresh(&self) {
        let _running = self.engine.running();
        let mut store = self.store();
        let toolset = self.pre.instantiate_async(&mut store).await.unwrap();
        black_box(
            toolset
                .hermes_plugin_toolset()
                .call_call(&mut store, &call())
                .await
                .unwrap(),
        )
        .unwrap();
    }
}

fn tool_call(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path(), &[]);
    let tools = runtime
        .block_on(host.tools_of(&guest("pure-echo").display().to_string(), &[]))
        .unwrap();
    let bare = Bare::new();
    let mut group = c.benchmark_group("tool call");
    group.bench_function("bare engine, fresh instance", |b| {
        b.iter(|| runtime.block_on(bare.fresh()));
    });
    group.bench_function("bare engine, warm instance", |b| {
        let _running = bare.engine.running();
        let mut store = bare.store();
        let toolset = runtime.block_on(bare.pre.instantiate_async(&mut store)).unwrap();
        b.iter(|| {
            store.set_fuel(10_000_000_000).unwrap();
            let answer = runtime.block_on(toolset.hermes_plugin_toolset().call_call(&mut store, &call()));
            black_box(answer.unwrap()).unwrap()
        });
    });
    group.bench_function("sandbox: fresh, with every limit, WASI and rights", |b| {
        let guest = tools.guest();
        let tool = guest.session.run.toolbox.get("echo").unwrap();
        let nothing = guest.session.run.ledger.reserve(guest.session.account, Amounts::ZERO);
        let held = nothing.unwrap().held();
        let mut op = 0;
        b.iter(|| {
            op += 1;
            let under = Under {
                guest: Arc::clone(guest),
                op,
                cancel: CancellationToken::new(),
                reserved: Amounts::ZERO,
                held: held.clone(),
                begins: Begins::Now,
                at_ms: 0,
                awake_ms: 0,
            };
            let run = guest.session.run.runner.run(under, Arc::clone(&tool), call(), None);
            black_box(runtime.block_on(run).unwrap().answer).unwrap()
        });
    });
    group.bench_function("mediated: the whole path, without a journal", |b| {
        b.iter_custom(|n| {
            let batches = (0..n.div_ceil(BATCH)).map(|batch| BATCH.min(n - batch * BATCH));
            let time = |calls| {
                let tools = runtime
                    .block_on(host.tools_of(&guest("pure-echo").display().to_string(), &[]))
                    .unwrap();
                let begun = Instant::now();
                for _ in 0..calls {
                    black_box(runtime.block_on(tools.call("echo", r#"{"text":"hello"}"#))).unwrap();
                }
                begun.elapsed()
            };
            batches.map(time).sum()
        });
    });
    group.sample_size(10);
    group.bench_function("mediated: the whole path, journalled durably, from a strategy", |b| {
        b.iter_custom(|n| {
            steps(
                &runtime,
                &host,
                n,
                r#"{"do":"call","name":"echo","arguments":{"text":"hello"}}"#,
            )
        });
    });
    group.sample_size(100);
    group.bench_function("subprocess: /bin/true", |b| {
        b.iter(|| Command::new("/bin/true").status().unwrap());
    });
    group.finish();
}

/// The time of `n` equal steps of the probe, the run around them left out: of whole programs, brought to `n`.
fn steps(runtime: &Runtime, host: &Host, n: u64, step: &str) -> Duration {
    let programs = n.div_ceil(BATCH);
    let time = |_| {
        let none = run(runtime, host, 0, step);
        run(runtime, host, BATCH, step).saturating_sub(none)
    };
    let total: Duration = (0..programs).map(time).sum();
    total.mul_f64(n as f64 / (programs * BATCH) as f64)
}

fn run(runtime: &Runtime, host: &Host, times: u64, step: &str) -> Duration {
    let program = format!(r#"{{"steps":[{{"do":"repeat","n":{times},"steps":[{step}]}}],"summary":"done"}}"#);
    let spec = RunSpec {
        plugin: guest("probe").display().to_string(),
        task: program,
        tools: vec![guest("pure-echo").display().to_string()],
        model: Some("scripted".to_owned()),
        script: Some(script()),
        ..RunSpec::default()
    };
    let begun = Instant::now();
    let outcome = runtime.block_on(async { host.start(spec).await.unwrap().wait().await.unwrap() });
    assert_eq!(outcome.code, 0, "{:?}", outcome.error);
    begun.elapsed()
}

fn iteration(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let home = tempfile::tempdir_in(root().join("target")).unwrap();
    let host = host(home.path(), &["budget=iterations=1000000"]);
    let mut group = c.benchmark_group("iteration");
    group.bench_function("append of 300 bytes and fdatasync", |b| {
        let mut file = File::create(home.path().join("raw")).unwrap();
        b.iter(|| {
            file.write_all(&RECORD).unwrap();
            file.sync_data().unwrap();
        });
    });
    group.sample_size(10);
    group.bench_function("durable iteration with a scripted model", |b| {
        let step = r#"{"do":"complete","messages":[{"User":[{"Text":"Go on."}]}]}"#;
        b.iter_custom(|n| steps(&runtime, &host, n, step));
    });
    group.finish();
}

fn host_call(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path(), &["limits.host_calls=1000000"]);
    let mut group = c.benchmark_group("host call");
    group.sample_size(10);
    group.bench_function("budget.remaining, recorded", |b| {
        b.iter_custom(|n| steps(&runtime, &host, n, r#"{"do":"remaining","dimension":"Tokens"}"#));
    });
    group.finish();
}

fn start(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let plugin = guest("probe-tool").display().to_string();
    let called = async |host: &Host, plugin: &str| {
        let tools = host.tools_of(plugin, &[]).await.unwrap();
        tools.call("echo", r#"{"text":"hello"}"#).await.unwrap()
    };
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    group.bench_function("engine and plugin, compiled", |b| {
        let home = tempfile::tempdir().unwrap();
        b.iter(|| {
            let host = host(home.path(), &["compile_cache=false"]);
            black_box(runtime.block_on(called(&host, &plugin)));
        });
    });
    group.bench_function("engine and plugin, from the cache", |b| {
        let home = tempfile::tempdir().unwrap();
        b.iter(|| {
            let host = host(home.path(), &[]);
            black_box(runtime.block_on(called(&host, &plugin)));
        });
    });
    group.finish();
}

criterion_group!(figures, tool_call, iteration, host_call, start);
criterion_main!(figures);
