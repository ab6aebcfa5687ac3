//! A trial with many agents in one process, all of which wait for the model: what each costs in memory, how fast they go on once it answers, and
//! how long it takes until all of them are suspended, and cancelled.
//!
//! `cargo xtask bench agents [NUMBER]`. The root has as many children as each of these has, all are the probe, and each asks the model once. The
//! model's server is a process of its own, and holds every answer until it is told to go on. Of the requests a few are under way; the others
//! queue in the host's limiter of its provider (`limits.llm.parallel`), as they would at any provider.

#![allow(clippy::unwrap_used, reason = "a trial that fails shall stop")]
#![allow(clippy::cast_precision_loss, reason = "numbers of agents are small")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::{Home, Host, Process, Script, Turn};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Agents, where the command line names no other number.
const AGENTS: usize = 1_000;

/// Longer than any part of the trial.
const LONG: &str = "10h";
const LIMIT: Duration = Duration::from_secs(3600);

/// All wait when the process has used next to no processor time for so long.
const QUIET: Duration = Duration::from_secs(2);

/// What every limit of a number allows beside the agents.
const ROOM: usize = 8;

/// What the root says to the model.
const ROOT: &str = "I AM THE ROOT";

fn main() {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let shape = Shape::of(asked.unwrap_or(AGENTS));
    println!(
        "{} agents: {} children of the root, each with {} of its own",
        shape.agents(),
        shape.0,
        shape.0 - 1
    );
    answered(shape);
    suspended(shape);
    asked_to_end(shape);
    cancelled(shape);
}

/// So many children of the root, each with one less of its own.
#[derive(Clone, Copy)]
struct Shape(usize);

impl Shape {
    fn of(agents: usize) -> Self {
        Self(agents.isqrt().max(1))
    }

    /// Agents but the root.
    fn agents(self) -> usize {
        self.0 * self.0
    }

    /// A child that has children, asks, and waits for them. What it sees of them is not kept.
    fn child(self) -> ChildSpec {
        let leaf = ChildSpec::probe(&json!({ "steps": [ask("I am a leaf.")], "summary": "done" }));
        let mut steps = vec![repeat(self.0 - 1, &leaf.spawn()), ask("I am a branch.")];
        steps.extend((0..self.0 - 1).map(joined));
        ChildSpec::probe(&json!({ "steps": steps, "summary": "done" }))
    }

    /// The root that waits for its children.
    fn joins(self) -> Value {
        let mut steps = vec![repeat(self.0, &self.child().spawn())];
        steps.extend((0..self.0).map(joined));
        json!({ "steps": steps, "summary": "done" })
    }

    /// The root that ends when the model answers it, and its children with it.
    fn leaves(self) -> Value {
        let asks = json!({ "do": "start", "messages": [{ "User": [{ "Text": ROOT }] }] });
        let steps = [
            asks,
            repeat(self.0, &self.child().spawn()),
            json!({ "do": "wait", "pending": 0 }),
        ];
        json!({ "steps": steps, "summary": "done" })
    }
}

fn ask(words: &str) -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }] })
}

fn repeat(n: usize, step: &Value) -> Value {
    json!({ "do": "repeat", "n": n, "steps": [step] })
}

fn joined(child: usize) -> Value {
    json!({ "do": "if-failed", "step": join(child), "steps": [] })
}

/// A model that answers when it is told to, and a home that knows it.
struct Model {
    server: Child,
    files: Home,
    home: Home,
}

impl Model {
    fn start() -> Self {
        let files = Home::new();
        let held = |file: &str| Script::always(Turn::text("go on").held_until(files.work().join(file)));
        let script = held("all").when(ROOT, held("root"));
        let path = files.write("script.json", serde_json::to_vec(&script).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_model-server"));
        let mut server = command.arg(path).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        let printed = server.stdout.take().unwrap();
        BufReader::new(printed).read_line(&mut address).unwrap();
        let home = Home::with_model_at(address.trim());
        Self { server, files, home }
    }

    /// From here on it answers everybody, or the root alone.
    fn answers(&self, whom: &str) {
        self.files.write(whom, "");
    }

    /// Starts the root on `program`, under limits that let all of the trial be.
    fn run(&self, program: &Value, agents: usize) -> Process {
        let host = self.home.host().within(LIMIT).arg("--quiet");
        let host = host.args(["--budget", &format!("wall={LONG},child.wall={LONG}")]);
        let counts = ["limits.delegation.alive", "limits.delegation.total", "limits.resources"];
        let host = counts.iter().fold(host, |host: Host, key| host.set(key, agents + ROOM));
        let waits = ["llm.total", "llm.first_byte", "start_wall", "step_wall", "store.busy"];
        let host = waits
            .iter()
            .fold(host, |host, key| host.set(&format!("limits.{key}"), "10m"));
        host.probe(program).start()
    }

    /// Megabytes of the home's database and its log.
    fn database(&self) -> f64 {
        let files = ["hermes.db", "hermes.db-wal"].map(|file| self.home.path().join("host").join(file));
        let bytes = files
            .iter()
            .filter_map(|file| file.metadata().ok())
            .map(|meta| meta.len());
        bytes.sum::<u64>() as f64 / 1e6
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Waits until the process does nothing any more: all its agents wait. Gives how long it had worked for that.
fn settle(mut process: Process, begun: Instant) -> (Process, Duration) {
    let (mut before, mut since) = (process.processor_ticks(), Instant::now());
    while since.elapsed() < QUIET {
        assert!(begun.elapsed() < LIMIT, "the agents don't come to rest");
        std::thread::sleep(Duration::from_millis(100));
        assert!(!process.has_ended(), "it ended by itself: {:?}", process.finish());
        let now = process.processor_ticks();
        // Its clocks go on: a hundredth of a second in a tenth of one is nothing yet.
        if now > before + 1 {
            since = Instant::now();
        }
        before = now;
    }
    let worked = since.duration_since(begun);
    (process, worked)
}

/// How long it takes until all wait, what they hold by then, and how fast they go on.
fn answered(shape: Shape) {
    let alone = {
        let model = Model::start();
        let root = json!({ "steps": [ask("I am alone.")], "summary": "done" });
        let (process, _) = settle(model.run(&root, 1), Instant::now());
        let memory = process.resident_kib();
        model.answers("all");
        process.finish().expect(0);
        memory
    };
    let (model, begun) = (Model::start(), Instant::now());
    let (process, spawned) = settle(model.run(&shape.joins(), shape.agents()), begun);
    let agents = shape.agents() as f64;
    let memory = (process.resident_kib() - alone) as f64 / agents;
    println!(
        "waiting: all after {:.1} s ({:.0} agents a second); {memory:.1} KiB each, beside {:.0} MiB of the process; {:.0} MB of database",
        spawned.as_secs_f64(),
        agents / spawned.as_secs_f64(),
        alone as f64 / 1024.0,
        model.database()
    );
    let answered = Instant::now();
    model.answers("all");
    let output = process.finish().expect(0);
    let took = answered.elapsed().as_secs_f64();
    println!(
        "answered: all ended after {took:.1} s ({:.0} agents a second)",
        agents / took
    );
    assert_eq!(output.spent("iterations"), agents as u64, "each asked once");
}

/// How long SIGINT takes, and then a cancel of the suspended run.
fn suspended(shape: Shape) {
    let (model, begun) = (Model::start(), Instant::now());
    let (process, _) = settle(model.run(&shape.joins(), shape.agents()), begun);
    let stopped = Instant::now();
    process.signal(Signal::INT);
    let output = process.finish().expect(130);
    println!("SIGINT: all suspended after {:.1} s", stopped.elapsed().as_secs_f64());
    let run = output.json();
    assert_eq!(count(&run, "interrupted"), shape.agents() + 1);
    let id = run["run"].as_str().unwrap();
    let ended = Instant::now();
    model.home.host().within(LIMIT).args(["cancel", id]).output().expect(0);
    println!(
        "cancel: all of the suspended run cancelled after {:.1} s",
        ended.elapsed().as_secs_f64()
    );
}

/// How long a cancel by another process takes, while all wait.
fn asked_to_end(shape: Shape) {
    let (model, begun) = (Model::start(), Instant::now());
    let (process, _) = settle(model.run(&shape.joins(), shape.agents()), begun);
    let run = model.home.newest_run();
    let asked = Instant::now();
    // The grace says only how long this waits for the run's owner.
    let cancel = model.home.host().within(LIMIT).set("limits.cancel_grace", "10m");
    cancel.args(["cancel", &run]).output().expect(0);
    println!(
        "cancel by another process: all cancelled after {:.1} s",
        asked.elapsed().as_secs_f64()
    );
    let output = process.finish().expect(1);
    assert_eq!(count(&output.json(), "cancelled"), shape.agents() + 1);
}

/// How long the end of a parent takes to reach all below it.
fn cancelled(shape: Shape) {
    let (model, begun) = (Model::start(), Instant::now());
    let (process, _) = settle(model.run(&shape.leaves(), shape.agents()), begun);
    let ended = Instant::now();
    model.answers("root");
    let output = process.finish().expect(0);
    println!(
        "parent's end: all cancelled after {:.1} s",
        ended.elapsed().as_secs_f64()
    );
    assert_eq!(count(&output.json(), "cancelled"), shape.agents());
}

/// Agents of this status.
fn count(run: &Value, status: &str) -> usize {
    let agents = run["agents"].as_array().unwrap();
    agents.iter().filter(|agent| agent["status"] == status).count()
}
