//! What the journal costs: iterations a second of many sessions that write at once, against a bare file; the journal's part of one iteration; how
//! soon a run goes on live again; and how large its journal is beside the messages in it.
//!
//! `cargo xtask bench`. Read the ratios: absolute times vary with the machine and its load.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that fails shall stop")]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{compiler, guest, host, root, script};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hermes_host::amounts::Amounts;
use hermes_host::config::{Config, Sources};
use hermes_host::ids::{Digest, RunId, Scope, SessionId, StreamId};
use hermes_host::limits::Limits;
use hermes_host::run::{Host, ResumeSpec, RunSpec};
use hermes_host::store::{
    Access, Answer, Durability, Intent, NewRun, Observation, OpKind, Outcome, OutcomeStatus, Owner, Record, Store,
    StoreOptions, Sync,
};
use hermes_tests::home::provider;
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use serde_json::json;
use tokio::runtime::Runtime;

/// Bytes of a message and of an answer.
const TEXT: usize = 300;

/// Bytes that an iteration adds to a bare file: two texts, and what names them.
const RAW: [u8; 2 * TEXT + 200] = [7; 2 * TEXT + 200];

/// Sessions that write at once.
const SESSIONS: [u32; 4] = [1, 16, 256, 1000];

fn store(folder: &Path, durability: Durability) -> Store {
    let mut options = StoreOptions::new(&Limits::default(), Access::Write);
    options.durability = durability;
    options.busy = Duration::from_secs(60);
    Store::open(folder, options).unwrap()
}

fn new_run(runtime: &Runtime, store: &Store, id: RunId) -> Owner {
    let new = NewRun {
        id,
        task: String::new(),
        strategy: String::new(),
        cwd: String::new(),
        argv: Vec::new(),
        at_ms: 1,
    };
    runtime.block_on(store.create_run(new)).unwrap()
}

/// A completion as its session writes it down: what the guest was told before and the intent, then the outcome, which nobody hears of before
/// it is durable.
fn written_before(stream: &StreamId, op: u32) -> Vec<Record> {
    let mut message = vec![7; TEXT];
    message[..4].copy_from_slice(&op.to_le_bytes());
    message[4..8].copy_from_slice(&stream.session.number.to_le_bytes());
    let seen = Observation {
        stream: stream.clone(),
        seq: op.into(),
        call: "llm.complete".to_owned(),
        args: Digest::of(&message),
        answer: Answer::Delivered(op),
        fuel: op.into(),
        awake_ms: op.into(),
        at_ms: 1,
    };
    let intent = Intent {
        stream: stream.clone(),
        op,
        kind: OpKind::Completion,
        name: "test/test-model".to_owned(),
        request: vec![Digest::of(&message)],
        reserved: Amounts::ZERO,
        at_ms: 1,
        shared: false,
    };
    vec![
        Record::Observation(seen),
        Record::Body(Digest::of(&message), message),
        Record::Intent(intent),
    ]
}

fn written_after(stream: &StreamId, op: u32) -> Vec<Record> {
    vec![Record::Outcome(Outcome {
        stream: stream.clone(),
        op,
        status: OutcomeStatus::Done,
        body: vec![7; TEXT],
        charged: Amounts::ZERO,
        at_ms: 1,
    })]
}

async fn iterate(store: Store, owner: Owner, stream: StreamId, iterations: u32) {
    for op in 1..=iterations {
        let (before, after) = (written_before(&stream, op), written_after(&stream, op));
        store.append(&owner, before, None, Sync::Commit).await.unwrap();
        store.append(&owner, after, None, Sync::Durable).await.unwrap();
    }
}

/// The time of so many iterations of each session.
fn iterations(runtime: &Runtime, durability: Durability, sessions: u32, each: u32) -> Duration {
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    let store = store(folder.path(), durability);
    let owner = new_run(runtime, &store, RunId::random());
    let stream = |number| StreamId {
        session: SessionId {
            run: owner.run().clone(),
            number,
        },
        attempt: 1,
        scope: Scope::ROOT,
    };
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks = (0..sessions).map(|n| tokio::spawn(iterate(store.clone(), owner.clone(), stream(n), each)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    begun.elapsed()
}

/// Of `n` iterations, by as many of all sessions as come near.
fn shared(n: u64, sessions: u32, time: impl FnOnce(u32) -> Duration) -> Duration {
    let each = n.div_ceil(sessions.into()).max(1);
    let done = each * u64::from(sessions);
    #[expect(clippy::cast_precision_loss, reason = "numbers of iterations are small")]
    time(u32::try_from(each).unwrap()).mul_f64(n as f64 / done as f64)
}

fn writing(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("iterations of all sessions");
    group.sample_size(10).throughput(Throughput::Elements(1));
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for sessions in SESSIONS {
        for (name, durability) in [("power", Durability::Power), ("process", Durability::Process)] {
            group.bench_function(format!("{sessions} sessions, durability {name}"), |b| {
                b.iter_custom(|n| shared(n, sessions, |each| iterations(&runtime, durability, sessions, each)));
            });
        }
        let folder = tempfile::tempdir_in(root().join("target")).unwrap();
        let mut file = File::create(folder.path().join("raw")).unwrap();
        let together = RAW.repeat(sessions as usize);
        group.bench_function(format!("bare file, {sessions} at once and one fdatasync"), |b| {
            b.iter_custom(|n| {
                shared(n, sessions, |each| {
                    let begun = Instant::now();
                    for _ in 0..each {
                        file.write_all(&together).unwrap();
                        file.sync_data().unwrap();
                    }
                    begun.elapsed()
                })
            });
        });
    }
    group.finish();
}

/// What one append held.
type Written = Vec<(Vec<Record>, Sync)>;

/// What a run's root wrote down of its completions, append by append.
fn completions(store: &Store, run: &RunId) -> Written {
    let (mut all, mut open, mut after) = (Vec::new(), Vec::new(), 0);
    let mut known = std::collections::HashSet::new();
    loop {
        let page = store.records(run, after, 1000).unwrap();
        let Some((last, _)) = page.last() else { return all };
        after = *last;
        for (_, record) in page {
            match record {
                Record::Intent(intent) => {
                    let fresh = intent.request.iter().filter(|digest| known.insert(**digest));
                    let bodies = fresh.map(|digest| Record::Body(*digest, store.body(run, digest).unwrap()));
                    open.extend(bodies.collect::<Vec<_>>());
                    open.push(Record::Intent(intent));
                    all.push((std::mem::take(&mut open), Sync::Commit));
                }
                Record::Outcome(_) => all.push((vec![record], Sync::Durable)),
                Record::Observation(_) => open.push(record),
                _ => {}
            }
        }
    }
}

/// Rounds of which the medians are told.
const ROUNDS: usize = 5;

/// Iterations of one round.
const ROUND: u64 = 500;

/// Iterations with a scripted model, which answers at once, and what of that is the journal's: the same records, written again in the same
/// appends. By turns, so that both meet the same disk.
fn share(_: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for (name, durability) in [("power", Durability::Power), ("process", Durability::Process)] {
        let home = tempfile::tempdir_in(root().join("target")).unwrap();
        let host = host(
            home.path(),
            &["budget=iterations=1000000", &format!("durability={name}")],
        );
        let time = |times: u64| {
            let spec = RunSpec {
                model: Some("scripted".to_owned()),
                script: Some(script()),
                ..program(&[json!({ "do": "repeat", "n": times, "steps": [ask("Go on.")] })])
            };
            let begun = Instant::now();
            let outcome = runtime.block_on(async { host.start(spec).await.unwrap().wait().await.unwrap() });
            assert_eq!(outcome.code, 0, "{:?}", outcome.error);
            (begun.elapsed(), outcome.run)
        };
        let kept = store(&home.path().join("host"), durability);
        let folder = tempfile::tempdir_in(root().join("target")).unwrap();
        let again = store(folder.path(), durability);
        let (mut whole, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let around = time(0).0;
            let (took, run) = time(ROUND);
            let written = completions(&kept, &run);
            assert_eq!(written.len() as u64, 2 * ROUND);
            whole.push(took.saturating_sub(around));
            alone.push(write_again(&runtime, &again, written));
        }
        let (whole, alone) = (each(whole), each(alone));
        println!(
            "one iteration, durability {name}: {whole:?}, of which the journal's {alone:?}, {:.0} %\n",
            100.0 * alone.as_secs_f64() / whole.as_secs_f64()
        );
    }
}

/// One iteration's time in the round in the middle.
fn each(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort_unstable();
    rounds[ROUNDS / 2] / u32::try_from(ROUND).unwrap()
}

/// Into a run of its own in a database whose log has grown by the middle round: what is told is not a file that grows.
fn write_again(runtime: &Runtime, store: &Store, written: Written) -> Duration {
    let owner = new_run(runtime, store, RunId::random());
    let own = |mut record: Record| {
        if let Record::Intent(Intent { stream, .. })
        | Record::Outcome(Outcome { stream, .. })
        | Record::Observation(Observation { stream, .. }) = &mut record
        {
            stream.session.run = owner.run().clone();
        }
        record
    };
    let appends = written
        .into_iter()
        .map(|(records, sync)| (records.into_iter().map(own).collect::<Vec<_>>(), sync));
    let appends: Written = appends.collect();
    let begun = Instant::now();
    runtime.block_on(async {
        for (records, sync) in appends {
            store.append(&owner, records, None, sync).await.unwrap();
        }
    });
    begun.elapsed()
}

fn ask(words: &str) -> serde_json::Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }] })
}

fn program(steps: &[serde_json::Value]) -> RunSpec {
    RunSpec {
        plugin: guest("probe").display().to_string(),
        task: json!({ "steps": steps, "summary": "done" }).to_string(),
        tools: vec![guest("pure-echo").display().to_string()],
        ..RunSpec::default()
    }
}

/// A run that stands at its first live call, as a kill leaves it: copied for each time that it is resumed.
struct Stopped {
    home: PathBuf,
    run: String,
    server: ModelServer,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

const LONG: Duration = Duration::from_secs(60);

impl Stopped {
    /// A run that does `step`, in which it asks the model `asks` times, and then waits for the model.
    fn after(step: &serde_json::Value, asks: usize) -> Self {
        let folder = tempfile::tempdir_in(root().join("target")).unwrap();
        let home = folder.path().join("home");
        let echo = Turn::call("echo", &json!({ "text": "x".repeat(1000) }));
        let script = Script::from(vec![echo; asks]).then(Turn::fault(Fault::StallBeforeHeaders));
        let server = ModelServer::start(script);
        std::fs::create_dir_all(home.join("host")).unwrap();
        let settings = provider(&server, Format::OpenAi);
        // Without a key: the one of the tests is in their environment.
        let settings = settings.lines().filter(|line| !line.starts_with("key_env"));
        std::fs::write(home.join("host/config.toml"), settings.collect::<Vec<_>>().join("\n")).unwrap();
        let runtime = Runtime::new().unwrap();
        let host = open(&home);
        let run = runtime.block_on(async {
            let handle = host.start(program(&[step.clone(), ask("And now?")])).await.unwrap();
            tokio::task::block_in_place(|| server.wait_for(asks + 1, LONG));
            handle.suspend();
            handle.wait().await.unwrap().run
        });
        drop(host);
        Self {
            home,
            run: run.to_string(),
            server,
            runtime,
            _folder: folder,
        }
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir_in(root().join("target")).unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.home.join("host"))
            .arg(copy.path())
            .status();
        assert!(copied.unwrap().success());
        copy
    }

    /// From `begun` on until the model is asked.
    fn until_asked(&self, before: usize, begun: Instant) -> Duration {
        let asked = tokio::task::block_in_place(|| self.server.wait_for(before + 1, LONG));
        asked.at.duration_since(begun)
    }

    /// From the call of `Host::resume` in a process that is there already.
    fn called(&self) -> Duration {
        let (copy, before) = (self.copy(), self.server.requests().len());
        let host = open(copy.path());
        self.runtime.block_on(async {
            let begun = Instant::now();
            let handle = host.resume(&ResumeSpec::of(&self.run)).await.unwrap();
            let took = self.until_asked(before, begun);
            handle.suspend();
            handle.wait().await.unwrap();
            took
        })
    }

    /// From the start of a process.
    fn started(&self) -> Duration {
        let (copy, before) = (self.copy(), self.server.requests().len());
        let mut command = Command::new(env!("CARGO_BIN_EXE_hermes-host"));
        command.args(["resume", &self.run]).env("HERMES_HOME", copy.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let mut process = command.spawn().unwrap();
        let took = self.runtime.block_on(async { self.until_asked(before, begun) });
        process.kill().unwrap();
        process.wait().unwrap();
        took
    }

    /// Bytes of the journal on disk, and of the messages of the longest request: all that were said.
    fn sizes(&self) -> (u64, usize) {
        let disk = std::fs::metadata(self.home.join("host/hermes.db")).unwrap().len();
        let requests = self.server.requests();
        let messages = requests.iter().map(|asked| asked.body["messages"].to_string().len());
        (disk, messages.max().unwrap())
    }
}

fn open(home: &Path) -> Host {
    let sources = Sources {
        env: Vec::new(),
        cwd: None,
        home: Some(home.to_owned()),
        set: vec![
            "budget=iterations=1000".to_owned(),
            "limits.host_calls=1000000".to_owned(),
        ],
    };
    Host::open(Config::load(&sources).unwrap(), compiler()).unwrap()
}

fn resume(c: &mut Criterion) {
    let agent = json!({ "do": "agent", "user": "Go on.", "turns": 90 });
    let looks = json!({ "do": "repeat", "n": 10_000, "steps": [{ "do": "remaining", "dimension": "Tokens" }] });
    let runs = [("90 iterations", agent, 90), ("10,000 observations", looks, 0)];
    for (name, step, asks) in runs {
        let stopped = Stopped::after(&step, asks);
        let mut group = c.benchmark_group(format!("until the first live call, {name}"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(3));
        group.bench_function("from Host::resume", |b| {
            b.iter_custom(|n| (0..n).map(|_| stopped.called()).sum());
        });
        group.bench_function("from the process's start", |b| {
            b.iter_custom(|n| (0..n).map(|_| stopped.started()).sum());
        });
        group.finish();
        if asks > 0 {
            let (disk, messages) = stopped.sizes();
            println!(
                "journal of {name}: {disk} bytes on disk; the messages in it have {messages} as the model gets them\n"
            );
        }
    }
}

criterion_group!(journal, writing, share, resume);
criterion_main!(journal);
