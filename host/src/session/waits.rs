//! What an instance waits for, kept apart from the instance: one that only waits for somebody else can be dropped, and is built again from its
//! journal when what it waits for is there.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Notify;

use crate::session::guest::Guest;
use crate::session::lock;

/// Ends when what is waited for is there.
type Until = Shared<BoxFuture<'static, ()>>;

/// A wait that ends by itself at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timed {
    /// The timer of this number.
    Timer(u64),
    /// The call that will be this observation.
    Call(u64),
}

/// The waits of one instance.
#[derive(Default)]
pub struct Waits {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Until>,
    deadlines: BTreeMap<Timed, Duration>,
    parked: Option<Parked>,
}

/// What is left of an instance that was given up.
#[derive(Default)]
struct Parked {
    until: Vec<Until>,
    deadlines: BTreeMap<Timed, Duration>,
}

/// One wait, for as long as it lives.
struct Open<'w> {
    waits: &'w Waits,
    number: u64,
}

impl Waits {
    /// Those of an instance in the place of one with `before`: what was to end at some time ends then.
    pub fn after(before: &Self) -> Self {
        let parked = before.state().parked.take().unwrap_or_default();
        let waits = Self::default();
        waits.state().deadlines = parked.deadlines;
        waits
    }

    /// That a wait ends when its session has been awake for `at`, or when one of an instance before this one was to end that is the same.
    pub fn ends(&self, of: Timed, at: Duration) -> Duration {
        *self.state().deadlines.entry(of).or_insert(at)
    }

    /// That wait is over.
    pub fn forget(&self, of: Timed) {
        self.state().deadlines.remove(&of);
    }

    /// Returns once the instance waits.
    pub async fn begun(&self) {
        self.until(|state| !state.open.is_empty()).await;
    }

    /// Returns once the instance waits for nothing.
    pub async fn over(&self) {
        self.until(|state| state.open.is_empty()).await;
    }

    /// Gives the instance up, if it waits: it does not go on. False where it went on already.
    pub fn give_up(&self) -> bool {
        let mut state = self.state();
        if state.open.is_empty() {
            return false;
        }
        let until = state.open.values().cloned().collect();
        let deadlines = std::mem::take(&mut state.deadlines);
        state.parked = Some(Parked { until, deadlines });
        true
    }

    /// Whether the instance was given up: another one goes on in its place.
    pub fn is_given_up(&self) -> bool {
        self.state().parked.is_some()
    }

    /// Returns when something is there that the instance waited for when it was given up.
    pub async fn woken(&self) {
        let until = {
            let state = self.state();
            state.parked.as_ref().map(|parked| parked.until.clone())
        };
        match until {
            Some(until) if !until.is_empty() => drop(futures_util::future::select_all(until).await),
            _ => {}
        }
    }

    fn open(&self, until: Until) -> Open<'_> {
        let number = {
            let mut state = self.state();
            state.next += 1;
            let number = state.next;
            state.open.insert(number, until);
            number
        };
        self.changed.notify_waiters();
        Open { waits: self, number }
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.waits.state().open.remove(&self.number);
        self.waits.changed.notify_waiters();
    }
}

impl Guest {
    /// Waits for `until`, which somebody else brings about. A strategy's instance may be given up meanwhile, and built again when it is there:
    /// then this does not return, and the call is made once more.
    pub async fn waits_for(&self, until: impl Future<Output = ()> + Send + 'static) {
        if !self.is_strategy() {
            return until.await;
        }
        let until: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(until);
        let until = until.shared();
        if until.clone().now_or_never().is_some() {
            return;
        }
        let open = self.waits.open(until.clone());
        until.await;
        // From here on it can't be given up any more.
        drop(open);
        if self.waits.is_given_up() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_instance_that_goes_on_is_not_given_up() {
        let waits = Waits::default();
        assert!(!waits.give_up(), "it does not wait");
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let until: BoxFuture<'static, ()> = Box::pin(async move { drop(receiver.await) });
        let open = waits.open(until.shared());
        waits.begun().await;
        assert!(waits.give_up());
        assert!(waits.is_given_up());
        drop(open);
        waits.over().await;
        assert!(waits.woken().now_or_never().is_none(), "nothing has come");
        drop(sender);
        waits.woken().await;
    }

    #[tokio::test]
    async fn a_deadline_stands_for_the_instance_in_its_place() {
        let waits = Waits::default();
        let (soon, far) = (Duration::from_secs(60), Duration::from_secs(3600));
        let (timer, call) = (Timed::Timer(1), Timed::Call(7));
        assert_eq!((waits.ends(timer, far), waits.ends(call, far)), (far, far));
        waits.forget(call);
        let open = waits.open(futures_util::future::pending().boxed().shared());
        assert!(waits.give_up());
        drop(open);
        // The instance that is dropped forgets its timers: those of the next stand.
        waits.forget(timer);
        let next = Waits::after(&waits);
        assert_eq!(next.ends(timer, soon), far);
        assert_eq!(next.ends(call, soon), soon, "that one was over");
    }
}
