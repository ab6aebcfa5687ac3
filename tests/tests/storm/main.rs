//! All attacks that are a run each, at once and in random order in one process that lives on, beside healthy runs which end as ever and in time. After that
//! the process holds what it held before.
//!
//! What needs a process of its own is not among them: an odd command line or environment, a terminal, a signal, and a name service in the system's place.
//!
//! The order hangs on a seed, which is printed; `HERMES_TEST_SEED` sets it. With `HERMES_TEST_FULL` there are many rounds, each in another order.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

#[path = "../attacks/cases/mod.rs"]
mod cases;
#[path = "../attacks/hostile.rs"]
mod hostile;
#[path = "../attacks/raw.rs"]
mod raw;
#[path = "../attacks/serves.rs"]
mod serves;

mod all;
mod changed;
mod compiling;
mod healthy;
mod place;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use hermes_tests::held::{Held, children};
use hermes_tests::host::PASSIVATE;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

use place::{CLOCK, Place};

/// How many storms there are, and how many where nothing is to be left out.
const ROUNDS: (u64, u64) = (2, 100);

/// How many where each agent that waits is given up: what the process holds after another one the others ask.
const ROUNDS_PASSIVATED: u64 = 1;

/// Healthy runs of a quiet host.
const QUIET: usize = 20;

/// Linear memory that may be kept of each attack that was made at once, in KiB: the engine's pool keeps some pages in the place of an instance and gives
/// it to the next.
const PLACE_KIB: u64 = 4 << 10;

/// What the process may hold beside that after the first storm, of each attack, in KiB: compiled code, stacks, and pages of its allocator that are not wholly free.
const FIRST_KIB: u64 = 4 << 10;

/// And after each further one, in all: how its allocator's pages lie is another each time.
const MORE_KIB: u64 = 128 << 10;

/// Connections to the database that a process may hold: one writes, one watches, four are kept for those that read.
const CONNECTIONS: usize = 6;

/// The store's thread is there from when it is needed first, which may be in a storm.
const STORE: usize = 1;

/// A net for what falls back to what it was.
const LONG: Duration = Duration::from_secs(60);

/// How long the runtime keeps a thread that has nothing to do.
const IDLE: Duration = Duration::from_millis(100);

#[test]
fn all_attacks_at_once_beside_healthy_runs() {
    let runtime = Builder::new_multi_thread().thread_keep_alive(IDLE).enable_all().build();
    runtime.unwrap().block_on(storms());
}

async fn storms() {
    let place = Place::new(all::cases());
    let full = std::env::var_os("HERMES_TEST_FULL").is_some_and(|set| !set.is_empty());
    let rounds = match (full, std::env::var_os(PASSIVATE)) {
        (true, _) => ROUNDS.1,
        (false, None) => ROUNDS.0,
        (false, Some(_)) => ROUNDS_PASSIVATED,
    };
    let seed = seed();
    report(&format!("HERMES_TEST_SEED={seed} has the same order"));
    // What the host and its pools keep is there after the first.
    place.healthy().await;
    let mut quiet = Latencies::default();
    for _ in 0..QUIET {
        quiet.add(place.healthy().await);
    }
    let before = Before::now();
    let attacks = place.attacks.len() as u64;
    let mut most_kib = before.held.own_kib() + attacks * FIRST_KIB;
    for round in 0..rounds {
        let order = shuffled(place.attacks.len(), seed + round);
        let begun = Instant::now();
        let mut under_way = JoinSet::new();
        for n in order {
            let place = place.clone();
            under_way.spawn(async move { (n, place.attack(n).await) });
        }
        let mut storm = Latencies::default();
        let mut ended = Vec::new();
        while !under_way.is_empty() {
            let healthy = place.healthy();
            tokio::pin!(healthy);
            loop {
                tokio::select! {
                    took = &mut healthy => break storm.add(took),
                    Some(attack) = under_way.join_next() => ended.push(attack.unwrap()),
                }
            }
        }
        let took = begun.elapsed();
        let by_a_clock = ended.iter().filter(|(n, _)| place.attacks[*n].case.by_a_clock);
        let ratio = storm.against(&quiet);
        report(&format!("a healthy run, quiet: {quiet}; meanwhile: {storm}; {ratio}"));
        let late = place.judge(&ended);
        report(&format!(
            "{} attacks at once, {} of them until a clock of {CLOCK:?} ended them, and {} more; all over after {:.1} s",
            ended.len(),
            by_a_clock.count(),
            late.len(),
            took.as_secs_f64()
        ));
        for name in &late {
            report(&format!("a clock ended what should end otherwise: {name}"));
        }
        drop(ended);
        place.forget();
        let held = before.is_back().await;
        assert!(
            held.memories_kib <= attacks * PLACE_KIB,
            "its pool keeps too much: {held:?}"
        );
        let kib = held.own_kib();
        assert!(
            kib <= most_kib,
            "it may hold {most_kib} KiB beside linear memory: {held:?}"
        );
        if round == 0 {
            most_kib = kib + MORE_KIB;
        }
    }
    // It is as quick as ever.
    place.healthy().await;
    place.is_well();
}

/// Says it to whoever runs the suite, whether or not the test succeeds.
fn report(words: &str) {
    // Not by `eprintln!`, which libtest keeps to itself.
    let _ = writeln!(std::io::stderr(), "storm: {words}");
}

/// The order's seed.
fn seed() -> u64 {
    let set = std::env::var("HERMES_TEST_SEED").ok();
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    set.map_or_else(now, |seed| seed.parse().expect("HERMES_TEST_SEED is a number"))
}

/// The numbers below `count` in an order that hangs on the seed.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        let other = number(seed, at as u64) % (at as u64 + 1);
        order.swap(at, usize::try_from(other).unwrap());
    }
    order
}

/// Numbers that look like chance and are the same each time (SplitMix64).
fn number(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How long healthy runs took.
#[derive(Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    fn add(&mut self, took: Duration) {
        self.0.push(took);
        self.0.sort_unstable();
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    fn worst(&self) -> Duration {
        *self.0.last().unwrap()
    }

    /// How much longer they took than those.
    fn against(&self, quiet: &Self) -> String {
        let ratio = |storm: Duration, quiet: Duration| storm.as_secs_f64() / quiet.as_secs_f64();
        let (median, worst) = (ratio(self.median(), quiet.median()), ratio(self.worst(), quiet.worst()));
        format!("{median:.1} times the median, {worst:.1} times the worst")
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "median {:.0} ms, worst {:.0} ms of {}",
            ms(self.median()),
            ms(self.worst()),
            self.0.len()
        )
    }
}

/// What the process held before the storm.
struct Before {
    held: Held,
    tasks: usize,
}

impl Before {
    fn now() -> Self {
        Self {
            held: Held::own(),
            tasks: tasks(),
        }
    }

    /// Panics unless the process comes back to it, but for its memory: what it holds then.
    async fn is_back(&self) -> Held {
        let now = || (tasks(), Held::own(), children());
        let is_back = |(tasks, held, children): &(usize, Held, BTreeSet<String>)| {
            *tasks <= self.tasks
                && held.threads <= self.held.threads + STORE
                && held.files <= self.held.files
                && held.connections <= CONNECTIONS
                && children.is_empty()
        };
        let comes = async {
            while !is_back(&now()) {
                tokio::task::yield_now().await;
            }
        };
        let net = tokio::time::timeout(LONG, comes).await;
        let (tasks, held, children) = now();
        let words = format!(
            "{} tasks and {:?} before, {tasks} tasks and {held:?} after",
            self.tasks, self.held
        );
        assert!(
            net.is_ok(),
            "it does not come back: {words}; its processes: {children:?}"
        );
        report(&words);
        held
    }
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}
