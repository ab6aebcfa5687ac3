//! What is set aside for one effect, and how that ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AccountId, Exhausted, Ledger};
use crate::amounts::Amounts;
use crate::error::Dimension;

/// An amount set aside for one effect. It ends once: settled with what the effect cost, released when nothing was
/// sent, or, when it is dropped because its owner died, charged in full.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is charged in full"]
pub struct Reservation {
    held: Held,
    pub(super) closing: bool,
}

/// What a reservation still sets aside, for those who spend of it before it ends. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Held {
    ledger: Ledger,
    account: AccountId,
    amounts: Arc<Mutex<Option<Amounts>>>,
}

impl Held {
    fn amounts(&self) -> MutexGuard<'_, Option<Amounts>> {
        self.amounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much of it was spent, and charged: it is set aside no longer.
    pub fn spent(&self, dimension: Dimension, value: u64) {
        let mut accounts = self.ledger.lock();
        let mut amounts = self.amounts();
        let Some(amounts) = amounts.as_mut() else { return };
        let taken = value.min(amounts.get(dimension));
        *amounts = amounts.minus(&Amounts::of(dimension, taken));
        accounts.stands_in(self.account, dimension, |a| a.release(dimension, taken));
    }
}

impl Reservation {
    pub(super) fn new(ledger: &Ledger, account: AccountId, amounts: Amounts) -> Self {
        Self {
            held: Held {
                ledger: ledger.clone(),
                account,
                amounts: Arc::new(Mutex::new(Some(amounts))),
            },
            closing: false,
        }
    }

    /// What is set aside.
    pub fn amounts(&self) -> Amounts {
        self.held.amounts().unwrap_or_default()
    }

    /// Sets so much more aside, whether it fits or not.
    pub fn also(&self, dimension: Dimension, value: u64) {
        let held = &self.held;
        let mut accounts = held.ledger.lock();
        if let Some(amounts) = held.amounts().as_mut() {
            let more = Amounts::of(dimension, value);
            *amounts = amounts.plus(&more);
            accounts.set_aside(held.account, more);
        }
    }

    /// A handle for those who spend of it.
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// That of a closing call, which was under way when a crash came.
    pub fn of_closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// True when this completion is the closing call.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The limits that `actual` passes because it is more than was set aside, from the agent's own up to the tree's; `used` is what is
    /// spent with it.
    pub fn overshoot(&self, actual: Amounts) -> Vec<Exhausted> {
        let reserved = self.amounts();
        let accounts = self.held.ledger.lock();
        let more = actual.iter().filter(|(d, value)| *value > reserved.get(*d));
        more.flat_map(|(d, value)| accounts.passed(self.held.account, d, value))
            .collect()
    }

    /// The effect cost `actual`.
    pub fn settle(mut self, actual: Amounts) {
        self.end(actual);
    }

    /// Nothing was sent.
    pub fn release(mut self) {
        if self.closing {
            self.held.ledger.lock().agents[self.held.account.0].reopen_closing();
        }
        self.end(Amounts::ZERO);
    }

    fn end(&mut self, actual: Amounts) {
        let account = self.held.account;
        let mut accounts = self.held.ledger.lock();
        if let Some(reserved) = self.held.amounts().take() {
            for (dimension, value) in reserved.iter() {
                accounts.stands_in(account, dimension, |a| a.release(dimension, value));
            }
            accounts.charge(account, &actual);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let amounts = self.amounts();
        self.end(amounts);
    }
}
