//! The meter of a step: what one instance does between two model replies, or one whole tool call. It counts host calls, fuel
//! and log bytes, and its clock stops while the host waits for somebody else on the guest's behalf.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// One instance's meter. Shared between the store's hooks, the host functions and the task that watches the clock.
#[derive(Debug)]
pub struct Step {
    clock: Mutex<Clock>,
    changed: Notify,
    wall: Duration,
    made: AtomicU64,
    all_calls: AtomicU64,
    log_bytes: AtomicU64,
    fuel: Mutex<Fuel>,
    /// How deep the guest's code is in the host, and how deep it was when it last called one of the host's own interfaces; 0 outside.
    depth: AtomicU64,
    called: AtomicU64,
}

/// What an instance burnt. Amounts are given to its store one after another; all but the last are used up or were replaced.
#[derive(Debug, Default)]
struct Fuel {
    /// Burnt before the present amount was given.
    before: u64,
    /// The present amount.
    given: u64,
    /// What the store had left of it when that was last looked at.
    left: u64,
    /// Burnt before this step.
    step: u64,
    /// Burnt and charged.
    settled: u64,
    /// The present amount is not in the store yet.
    due: bool,
    /// Of this instance's amount, what the calls that it made inside its own call burnt, or may.
    lent: u64,
}

impl Fuel {
    fn used(&self) -> u64 {
        self.before.saturating_add(self.given.saturating_sub(self.left))
    }

    fn give(&mut self, amount: u64) {
        self.before = self.used();
        (self.given, self.left, self.due) = (amount, amount, true);
    }
}

#[derive(Debug)]
struct Clock {
    used: Duration,
    since: Option<Instant>,
    waits: u32,
}

/// The clock stands while this lives.
#[derive(Debug)]
pub struct Pause<'a>(&'a Step);

impl Step {
    /// A meter whose clock runs out after `wall` and that begins with `fuel`.
    pub fn new(wall: Duration, fuel: u64) -> Self {
        Self {
            clock: Mutex::new(Clock {
                used: Duration::ZERO,
                since: None,
                waits: 0,
            }),
            changed: Notify::new(),
            wall,
            made: AtomicU64::new(0),
            all_calls: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            fuel: Mutex::new(Fuel {
                given: fuel,
                left: fuel,
                ..Fuel::default()
            }),
            depth: AtomicU64::new(0),
            called: AtomicU64::new(0),
        }
    }

    /// Starts the clock of a new step, with all counters at 0 and `fuel` to burn from the next return into the guest on.
    pub fn begin(&self, fuel: u64) {
        {
            let mut meter = self.fuel();
            meter.step = meter.used();
            meter.give(fuel);
        }
        for counter in [&self.made, &self.all_calls, &self.log_bytes] {
            counter.store(0, Ordering::Release);
        }
        self.restart_clock();
    }

    /// A stretch of a replay begins: its clock is at 0 and it has `fuel` to burn. The counters of the step go on.
    pub fn begin_stretch(&self, fuel: u64) {
        // Whatever call ended the stretch before, the code that made it reads its fuel anew.
        self.calls();
        self.fuel().give(fuel);
        self.restart_clock();
    }

    fn restart_clock(&self) {
        let mut clock = self.lock();
        clock.used = Duration::ZERO;
        clock.since = (clock.waits == 0).then(Instant::now);
        drop(clock);
        self.changed.notify_waiters();
    }

    /// Stops the clock until the answer is dropped.
    pub fn pause(&self) -> Pause<'_> {
        let mut clock = self.lock();
        clock.waits += 1;
        if let Some(since) = clock.since.take() {
            clock.used += since.elapsed();
        }
        drop(clock);
        self.changed.notify_waiters();
        Pause(self)
    }

    /// Whether the host waits for somebody else on the guest's behalf.
    pub fn is_paused(&self) -> bool {
        self.lock().waits > 0
    }

    /// Returns when the host waits for nobody any more.
    pub async fn goes_on(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.is_paused() {
                return;
            }
            changed.await;
        }
    }

    /// Returns when the step's time is used up.
    pub async fn ran_out(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let rest = {
                let clock = self.lock();
                clock
                    .since
                    .map(|since| self.wall.saturating_sub(clock.used + since.elapsed()))
            };
            match rest {
                Some(Duration::ZERO) => return,
                Some(rest) => tokio::select! { () = tokio::time::sleep(rest) => {}, () = changed => {} },
                None => changed.await,
            }
        }
    }

    /// The guest's code enters the host, for whatever cause.
    pub fn leaves(&self) {
        self.depth.fetch_add(1, Ordering::AcqRel);
    }

    /// The host returns into the guest's code.
    pub fn comes_back(&self) {
        let depth = self.depth.fetch_sub(1, Ordering::AcqRel);
        let _ = self
            .called
            .compare_exchange(depth, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether the code that runs next reads anew what fuel it has: it does so after a call that it made, and where it begins. The engine's own
    /// entries into the host (a growing memory, a turn for others) are no calls to it: it goes on counting from the amount that it has in a register,
    /// whatever the store was given meanwhile.
    pub fn reads_fuel(&self) -> bool {
        self.depth.load(Ordering::Acquire) == self.called.load(Ordering::Acquire)
    }

    /// The present entry into the host is a call that the guest's code made.
    pub fn calls(&self) {
        self.called.store(self.depth.load(Ordering::Acquire), Ordering::Release);
    }

    /// Counts one call of the host's own interfaces and says how many there were in this step.
    pub fn count_call(&self) -> u64 {
        self.calls();
        self.made.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Counts one entry into the host, whatever its cause, and says how many there were in this step.
    pub fn count_entry(&self) -> u64 {
        self.all_calls.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The last entry was the engine's own, at a tick of its clock: it does not count.
    pub fn uncount_entry(&self) {
        let _ = self
            .all_calls
            .try_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    }

    /// Counts `bytes` of log and says how many there were before in this step.
    pub fn count_log(&self, bytes: u64) -> u64 {
        self.log_bytes.fetch_add(bytes, Ordering::AcqRel)
    }

    /// Notes how much fuel the store has left.
    pub fn note_fuel(&self, left: u64) {
        let mut meter = self.fuel();
        // Until the store has the new amount, it tells of the old one.
        if !meter.due {
            meter.left = left;
        }
    }

    /// The amount to put into the store before the guest goes on, where a new one was given.
    pub fn refuel(&self) -> Option<u64> {
        let mut meter = self.fuel();
        std::mem::take(&mut meter.due).then_some(meter.given)
    }

    /// Gives another amount in the middle of a step.
    pub fn give_fuel(&self, amount: u64) {
        let mut meter = self.fuel();
        if meter.left != amount {
            meter.give(amount);
        }
    }

    /// What the store was given last.
    pub fn fuel_given(&self) -> u64 {
        self.fuel().given
    }

    /// All fuel that the instance used so far.
    pub fn fuel_used(&self) -> u64 {
        self.fuel().used()
    }

    /// What this step burnt so far.
    pub fn step_fuel_used(&self) -> u64 {
        let meter = self.fuel();
        meter.used().saturating_sub(meter.step)
    }

    /// Sets `amount` aside for a call inside this one.
    pub fn lend(&self, amount: u64) {
        let mut meter = self.fuel();
        meter.lent = meter.lent.saturating_add(amount);
    }

    /// Such a call ended: of `amount` it burnt `burnt`.
    pub fn lent_back(&self, amount: u64, burnt: u64) {
        let mut meter = self.fuel();
        meter.lent = meter.lent.saturating_sub(amount).saturating_add(burnt);
    }

    /// What calls inside this one burnt, or may.
    pub fn lent(&self) -> u64 {
        self.fuel().lent
    }

    /// The fuel used since the last time that this was asked: what is to be charged.
    pub fn settle_fuel(&self) -> u64 {
        let mut meter = self.fuel();
        let used = meter.used();
        let due = used.saturating_sub(meter.settled);
        meter.settled = meter.settled.max(used);
        due
    }

    /// What was charged and is not burnt yet: an instance in the place of another burns it once more.
    pub fn to_burn_again(&self) -> u64 {
        let meter = self.fuel();
        meter.settled.saturating_sub(meter.used())
    }

    /// What `lost` burnt was charged: this meter is that of the instance in its place, which burns the same again.
    pub fn takes_over(&self, lost: &Self) {
        let settled = lost.fuel().settled;
        self.fuel().settled = settled;
    }

    /// Takes over what a journal says: so much was burnt in all, so much of it before this step. `rest` is left for it.
    pub fn recorded_fuel(&self, used: u64, before_step: u64, rest: u64) {
        let mut meter = self.fuel();
        *meter = Fuel {
            before: used,
            given: rest,
            left: rest,
            step: before_step.min(used),
            settled: meter.settled,
            due: true,
            lent: meter.lent,
        };
    }

    fn fuel(&self) -> std::sync::MutexGuard<'_, Fuel> {
        self.fuel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let mut clock = self.0.lock();
        clock.waits -= 1;
        if clock.waits == 0 {
            clock.since = Some(Instant::now());
        }
        drop(clock);
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_paused_clock_does_not_run_out() {
        let step = Step::new(Duration::from_millis(5), 10);
        step.begin(10);
        let pause = step.pause();
        // Ten times the step's time, in which a clock that ran would have run out.
        let early = tokio::time::timeout(Duration::from_millis(50), step.ran_out()).await;
        assert!(early.is_err());
        drop(pause);
        step.ran_out().await;
    }

    #[test]
    fn fuel_adds_up_over_steps() {
        let step = Step::new(Duration::from_secs(1), 100);
        step.note_fuel(70);
        assert_eq!((step.fuel_used(), step.settle_fuel(), step.settle_fuel()), (30, 30, 0));
        step.begin(50);
        step.note_fuel(60);
        assert_eq!(step.fuel_used(), 30, "the store still tells of the amount before");
        assert_eq!(step.refuel(), Some(50));
        assert_eq!(step.refuel(), None);
        step.note_fuel(45);
        assert_eq!((step.fuel_used(), step.settle_fuel()), (35, 5));
        assert_eq!(step.step_fuel_used(), 5);
    }
}
