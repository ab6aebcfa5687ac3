//! How many requests one provider gets at once: it starts at [`START`], grows by one for each window of successes,
//! and is halved when the provider says that it is overloaded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Requests in flight at first.
const START: u32 = 8;

/// The limiter of one provider.
#[derive(Debug)]
pub(super) struct Limiter {
    max: u32,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: u32,
    in_flight: u32,
    successes: u32,
    /// Counts the halvings, so that the failures of one burst halve once.
    epoch: u64,
}

/// The right to have one request in flight; ends when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Arc<Limiter>,
    epoch: u64,
}

impl Limiter {
    /// A limiter that never lets more than `max` through.
    pub(super) fn new(max: u64) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX).max(1);
        let state = State {
            limit: START.min(max),
            in_flight: 0,
            successes: 0,
            epoch: 0,
        };
        Self {
            max,
            state: Mutex::new(state),
            freed: Notify::new(),
        }
    }

    /// Waits for a free place. Dropping the future gives up the wait.
    pub(super) async fn acquire(self: &Arc<Self>) -> Permit {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on no release is missed, even one between the look and the wait.
            freed.as_mut().enable();
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            freed.await;
        }
    }

    fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.lock();
        (state.in_flight < state.limit).then(|| {
            state.in_flight += 1;
            Permit {
                limiter: Arc::clone(self),
                epoch: state.epoch,
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every section below leaves the state whole, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The request was answered.
    pub(super) fn succeeded(self) {
        let mut state = self.limiter.lock();
        state.successes += 1;
        if state.successes >= state.limit && state.limit < self.limiter.max {
            state.limit += 1;
            state.successes = 0;
            drop(state);
            // Besides the place that this permit frees when it is dropped.
            self.limiter.freed.notify_one();
        }
    }

    /// The provider said that it has too much to do.
    pub(super) fn overloaded(self) {
        let mut state = self.limiter.lock();
        if state.epoch == self.epoch {
            state.limit = (state.limit / 2).max(1);
            state.successes = 0;
            state.epoch += 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.lock().in_flight -= 1;
        self.limiter.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn limit(limiter: &Limiter) -> u32 {
        limiter.lock().limit
    }

    fn take(limiter: &Arc<Limiter>, n: usize) -> Vec<Permit> {
        (0..n).map(|_| limiter.try_acquire().expect("a free place")).collect()
    }

    #[test]
    fn a_burst_of_overloads_halves_once() {
        let limiter = Arc::new(Limiter::new(64));
        let permits = take(&limiter, 8);
        assert!(limiter.acquire().now_or_never().is_none());
        permits.into_iter().for_each(Permit::overloaded);
        assert_eq!(limit(&limiter), 4);
        for want in [2, 1, 1] {
            take(&limiter, 1).pop().expect("one").overloaded();
            assert_eq!(limit(&limiter), want);
        }
    }

    #[test]
    fn a_window_of_successes_adds_one_up_to_the_maximum() {
        let limiter = Arc::new(Limiter::new(9));
        for _ in 0..8 {
            assert_eq!(limit(&limiter), 8);
            take(&limiter, 1).pop().expect("one").succeeded();
        }
        assert_eq!(limit(&limiter), 9);
        for _ in 0..100 {
            take(&limiter, 1).pop().expect("one").succeeded();
        }
        assert_eq!(limit(&limiter), 9);
        assert_eq!(limit(&Limiter::new(2)), 2);
    }

    #[tokio::test]
    async fn a_waiter_gets_the_place_that_is_freed_and_a_dropped_one_loses_none() {
        let limiter = Arc::new(Limiter::new(1));
        let held = limiter.acquire().await;
        let mut first = Box::pin(limiter.acquire());
        let mut second = Box::pin(limiter.acquire());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        // The first was told; it goes away without taking its place, and the second gets it.
        drop(first);
        assert!(second.now_or_never().is_some());
    }
}
