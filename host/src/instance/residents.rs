//! Which instances are resident: at most `limits.resident` in a process. Where one more is wanted, the strategy that has waited longest gives its
//! place up, and is built again when what it waits for is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::session::waits::Waits;

/// Set to `always`, every strategy is given up at every wait: what it does then must not differ.
const ALWAYS: &str = "HERMES_TEST_PASSIVATE";

/// The places of a process.
pub(super) struct Residents {
    most: usize,
    state: Mutex<State>,
    always: bool,
}

#[derive(Default)]
struct State {
    next: u64,
    /// How many places nobody has.
    free: usize,
    /// Those that look for a place, in the order in which they began to.
    wanted: BTreeMap<u64, Arc<Notify>>,
    /// Those that only wait, in the order in which they began to.
    waiting: BTreeMap<u64, Arc<Notify>>,
    /// How many were told to leave their place and have it still.
    leaving: usize,
    /// Since when how many cancelled agents have had a place to hear of their end.
    last: Option<(Instant, usize)>,
}

/// A place among the resident instances.
pub(super) struct Place {
    residents: Arc<Residents>,
    leaving: bool,
}

impl Residents {
    /// With `most` places.
    pub(super) fn new(most: u64) -> Arc<Self> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Arc::new(Self {
            most,
            state: Mutex::new(State {
                free: most,
                ..State::default()
            }),
            always: std::env::var(ALWAYS).is_ok_and(|value| value == "always"),
        })
    }

    /// A place, once one is free. None is ever refused: the caller bounds the wait.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        if let Some(wanted) = Wanted::new(self) {
            wanted.given().await;
        }
        Place {
            residents: self.clone(),
            leaving: false,
        }
    }

    /// Whether a cancelled agent that lost its place has one more to hear of its end: within each `grace` as many have as there are places. More would not
    /// have their turn within theirs.
    pub(super) fn last_place(&self, now: Instant, grace: Duration) -> bool {
        let mut state = self.state();
        let (since, taken) = state.last.filter(|(since, _)| now - *since < grace).unwrap_or((now, 0));
        let is_one = taken < self.most;
        state.last = Some((since, taken + usize::from(is_one)));
        is_one
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Calls as many away as places are wanted, those that have waited longest first.
    fn balance(&mut self) {
        while self.wanted.len() > self.leaving
            && let Some((_, called)) = self.waiting.pop_first()
        {
            self.call_away(&called);
        }
    }

    fn call_away(&mut self, called: &Notify) {
        self.leaving += 1;
        called.notify_one();
    }

    /// A place is left: whoever has looked for one longest has it from now on.
    fn pass_on(&mut self) {
        match self.wanted.pop_first() {
            Some((_, given)) => given.notify_one(),
            None => self.free += 1,
        }
    }
}

/// Somebody who looks for a place.
struct Wanted<'r> {
    residents: &'r Residents,
    number: u64,
    given: Arc<Notify>,
    taken: bool,
}

impl<'r> Wanted<'r> {
    /// None where a place was free, which is the caller's now.
    fn new(residents: &'r Residents) -> Option<Self> {
        let mut state = residents.state();
        if let Some(rest) = state.free.checked_sub(1) {
            state.free = rest;
            return None;
        }
        let (number, given) = (state.number(), Arc::new(Notify::new()));
        state.wanted.insert(number, given.clone());
        state.balance();
        drop(state);
        Some(Self {
            residents,
            number,
            given,
            taken: false,
        })
    }

    /// Returns when the place is the caller's.
    async fn given(mut self) {
        self.given.notified().await;
        self.taken = true;
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut state = self.residents.state();
        if state.wanted.remove(&self.number).is_none() {
            // It was given one meanwhile.
            state.pass_on();
        }
    }
}

/// An instance that only waits, for as long as it does.
struct Waiting<'r> {
    residents: &'r Residents,
    number: u64,
    called: Arc<Notify>,
    left: bool,
}

impl<'r> Waiting<'r> {
    fn new(residents: &'r Residents) -> Self {
        let called = Arc::new(Notify::new());
        let mut state = residents.state();
        let number = state.number();
        if residents.always {
            state.call_away(&called);
        } else {
            state.waiting.insert(number, called.clone());
            state.balance();
        }
        drop(state);
        Self {
            residents,
            number,
            called,
            left: false,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.residents.state();
        let is_called_away = state.waiting.remove(&self.number).is_none();
        if is_called_away && !self.left {
            // It went on before it heard: another one leaves.
            state.leaving -= 1;
            state.balance();
        }
    }
}

impl Place {
    /// Returns when the instance that has this place, whose `waits` these are, was given up for another.
    pub(super) async fn called_away(&mut self, waits: &Waits) {
        loop {
            waits.begun().await;
            let mut waiting = Waiting::new(&self.residents);
            tokio::select! {
                biased;
                () = waits.over() => {}
                () = waiting.called.notified() => {
                    if waits.give_up() {
                        waiting.left = true;
                        self.leaving = true;
                        return;
                    }
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // At once: between the two a place would seem to be wanted that is on its way already.
        let mut state = self.residents.state();
        state.leaving -= usize::from(self.leaving);
        state.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn residents(most: u64) -> Arc<Residents> {
        let mut residents = Residents::new(most);
        Arc::get_mut(&mut residents).expect("it is new").always = false;
        residents
    }

    fn is_called_away(waiting: &Waiting<'_>) -> bool {
        !waiting.residents.state().waiting.contains_key(&waiting.number)
    }

    fn counts(residents: &Residents) -> (usize, usize, usize) {
        let state = residents.state();
        (state.waiting.len(), state.wanted.len(), state.leaving)
    }

    #[tokio::test]
    async fn the_one_that_waited_longest_leaves_first() {
        let residents = residents(2);
        let (first, second) = (residents.place().await, residents.place().await);
        let (a, b) = (Waiting::new(&residents), Waiting::new(&residents));
        let mut third = Box::pin(residents.place());
        assert!((&mut third).now_or_never().is_none());
        assert!(is_called_away(&a) && !is_called_away(&b));
        assert_eq!(counts(&residents), (1, 1, 1));
        // It goes on instead: then the next one is called.
        drop(a);
        assert!(is_called_away(&b));
        assert_eq!(counts(&residents), (0, 1, 1));
        drop(b);
        assert_eq!(counts(&residents), (0, 1, 0));
        // One that begins to wait while a place is wanted is called at once.
        let c = Waiting::new(&residents);
        assert!(is_called_away(&c));
        drop(first);
        drop(third.await);
        drop((c, second));
        assert_eq!(counts(&residents), (0, 0, 0));
        assert_eq!(residents.state().free, 2);
    }

    #[tokio::test]
    async fn one_place_is_left_for_one_that_is_wanted() {
        let residents = residents(2);
        let (mut first, second) = (residents.place().await, residents.place().await);
        let mut leaves = Waiting::new(&residents);
        let mut third = Box::pin(residents.place());
        assert!((&mut third).now_or_never().is_none());
        assert!(is_called_away(&leaves));
        (leaves.left, first.leaving) = (true, true);
        drop((leaves, first));
        // Whoever gets the place has not been told yet.
        let waits = Waiting::new(&residents);
        assert!(!is_called_away(&waits));
        assert_eq!(counts(&residents), (1, 0, 0));
        // It looks for none any more: the place that it was given is the next one's.
        let mut fourth = Box::pin(residents.place());
        assert!((&mut fourth).now_or_never().is_none());
        drop(waits);
        drop(third);
        let fourth = fourth.now_or_never().expect("it has a place");
        drop((second, fourth));
        assert_eq!(residents.state().free, 2);
    }

    #[tokio::test]
    async fn who_looks_for_a_place_no_more_is_given_none() {
        let residents = residents(1);
        let first = residents.place().await;
        let mut second = Box::pin(residents.place());
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        drop(first);
        assert_eq!((counts(&residents), residents.state().free), ((0, 0, 0), 1));
    }

    #[test]
    fn as_many_cancelled_agents_hear_of_their_end_within_a_grace_as_there_are_places() {
        let (residents, grace) = (residents(2), Duration::from_secs(5));
        let begun = Instant::now();
        let have_one = |after: Duration| (0..4).filter(|_| residents.last_place(begun + after, grace)).count();
        assert_eq!(have_one(Duration::ZERO), 2);
        assert_eq!(have_one(grace - Duration::from_millis(1)), 0);
        assert_eq!(have_one(grace), 2);
    }

    #[tokio::test]
    async fn nobody_leaves_where_places_are_free() {
        let residents = residents(2);
        let place = residents.place().await;
        let waiting = Waiting::new(&residents);
        let other = residents.place().await;
        assert!(!is_called_away(&waiting));
        drop((place, other, waiting));
        assert_eq!(counts(&residents), (0, 0, 0));
    }
}
