//! What every agent of a run may spend and has spent: reservations before an effect, charges after it, refunds by reservation.
//!
//! One ledger holds the accounts of a whole run, so that a charge enters an agent's account and its ancestors' at
//! once. Iterations and fuel are an agent's own; every other dimension counts for its ancestors too. The tree's cap, where one
//! was asked for, counts everything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::amounts::Amounts;
use crate::error::{Dimension, Refusal};

/// Limits by dimension; an absent one has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps([Option<u64>; Dimension::ALL.len()]);

impl Caps {
    /// The cap of `dimension`.
    pub fn get(&self, dimension: Dimension) -> Option<u64> {
        self.0[dimension as usize]
    }

    /// Sets the cap of `dimension`.
    pub fn set(&mut self, dimension: Dimension, cap: u64) {
        self.0[dimension as usize] = Some(cap);
    }

    /// The dimensions that have a cap.
    pub fn iter(&self) -> impl Iterator<Item = (Dimension, u64)> + '_ {
        Dimension::ALL.into_iter().filter_map(|d| Some((d, self.get(d)?)))
    }
}

impl FromIterator<(Dimension, u64)> for Caps {
    fn from_iter<I: IntoIterator<Item = (Dimension, u64)>>(pairs: I) -> Self {
        let mut caps = Self::default();
        for (dimension, cap) in pairs {
            caps.set(dimension, cap);
        }
        caps
    }
}

/// An agent's account in a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountId(usize);

/// All accounts of one run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Mutex<Accounts>>);

#[derive(Debug)]
struct Accounts {
    tree: Account,
    agents: Vec<Account>,
}

#[derive(Debug, Default)]
struct Account {
    parent: Option<AccountId>,
    caps: Caps,
    spent: Amounts,
    reserved: Amounts,
    totals: Totals,
    ending: Option<Dimension>,
    closing: Closing,
}

/// The closing call: the one completion without tools after the iterations ran out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// Nothing was refused yet.
    #[default]
    Shut,
    /// A completion was refused in iterations: the next one without tools may go.
    Open,
    /// It went.
    Used,
}

/// Numbers beside the contract's dimensions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Closing calls made.
    pub closing: u64,
    /// Iterations given back.
    pub refunded: u64,
    /// Calls sent again because a crash lost their answer.
    pub resent: u64,
}

/// How a completion is to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// As an iteration.
    Iteration,
    /// As the closing call, if it is open: a completion without tools after iterations ran out.
    MayClose,
}

/// A refused reservation: which dimension, whose limit, and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{dimension}: {used} of {cap} used")]
pub struct Exhausted {
    /// The dimension.
    pub dimension: Dimension,
    /// Its limit.
    pub cap: u64,
    /// Spent and reserved so far.
    pub used: u64,
    /// True when it is the whole run's limit, not the agent's.
    pub tree: bool,
}

impl From<Exhausted> for Refusal {
    fn from(e: Exhausted) -> Self {
        let (whose, key) = if e.tree {
            ("this run", "tree.")
        } else {
            ("this agent", "")
        };
        let message = format!(
            "The budget of {whose} for {d} is used up: {used} of {cap}. It is raised with --budget {key}{d}=N.",
            d = e.dimension,
            used = e.used,
            cap = e.cap,
        );
        Self::exhausted(e.dimension, message)
    }
}

impl Ledger {
    /// A ledger whose whole tree may spend `tree`.
    pub fn new(tree: Caps) -> Self {
        Self(Arc::new(Mutex::new(Accounts {
            tree: Account {
                caps: tree,
                ..Account::default()
            },
            agents: Vec::new(),
        })))
    }

    /// A new account, charged to `parent` too in all but iterations and fuel.
    pub fn open(&self, parent: Option<AccountId>, caps: Caps) -> AccountId {
        let mut accounts = self.lock();
        accounts.agents.push(Account {
            parent,
            caps,
            ..Account::default()
        });
        AccountId(accounts.agents.len() - 1)
    }

    /// Reserves `amounts`, all or nothing.
    ///
    /// # Errors
    /// The first dimension, in the contract's order, that has no room for it.
    pub fn reserve(&self, account: AccountId, amounts: Amounts) -> Result<Reservation, Exhausted> {
        let mut accounts = self.lock();
        for (dimension, value) in amounts.iter() {
            if let Err(refused) = accounts.room(account, dimension, value) {
                accounts.note_refusal(account, refused.dimension);
                return Err(refused);
            }
        }
        accounts.each(account, |a, d| a.reserve(d, &amounts));
        Ok(Reservation {
            ledger: self.clone(),
            account,
            amounts: Some(amounts),
            closing: false,
        })
    }

    /// Reserves a completion: one iteration, or the closing call where `count` allows it and it is open, and `rest` besides.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub fn reserve_completion(
        &self,
        account: AccountId,
        count: Count,
        rest: Amounts,
    ) -> Result<Reservation, Exhausted> {
        let closing = count == Count::MayClose && {
            let mut accounts = self.lock();
            let agent = &mut accounts.agents[account.0];
            let open = agent.closing == Closing::Open;
            if open {
                agent.closing = Closing::Used;
                agent.totals.closing += 1;
            }
            open
        };
        let amounts = if closing {
            rest
        } else {
            rest.with(Dimension::Iterations, 1)
        };
        let mut reservation = self.reserve(account, amounts)?;
        reservation.closing = closing;
        Ok(reservation)
    }

    /// Opens the closing call, once, if iterations were refused. Tokens, money or time that ran out open none.
    pub fn open_closing(&self, account: AccountId) {
        let mut accounts = self.lock();
        let agent = &mut accounts.agents[account.0];
        if agent.closing == Closing::Shut && agent.ending == Some(Dimension::Iterations) {
            agent.closing = Closing::Open;
        }
    }

    /// Charges what needed no reservation: fuel, time, host calls, bytes of the journal, and what a journal recorded earlier.
    pub fn charge(&self, account: AccountId, amounts: Amounts) {
        self.lock().each(account, |a, d| a.charge(d, &amounts));
    }

    /// Gives one iteration back.
    pub fn refund_iteration(&self, account: AccountId) {
        let mut accounts = self.lock();
        let one = Amounts::of(Dimension::Iterations, 1);
        accounts.tree.spent = accounts.tree.spent.minus(&one);
        let agent = &mut accounts.agents[account.0];
        agent.spent = agent.spent.minus(&one);
        agent.totals.refunded += 1;
    }

    /// Counts a call that was sent again, with what the lost send may have cost the tree.
    pub fn resent(&self, account: AccountId, estimate: Amounts) {
        let mut accounts = self.lock();
        accounts.tree.spent = accounts.tree.spent.plus(&estimate);
        accounts.agents[account.0].totals.resent += 1;
    }

    /// What is left and not reserved; none where there is no limit. The smallest of the account's and its ancestors' rests.
    pub fn remaining(&self, account: AccountId, dimension: Dimension) -> Option<u64> {
        let accounts = self.lock();
        let mut least = accounts.tree.rest(dimension);
        accounts.walk(account, dimension, |a| {
            least = match (least, a.rest(dimension)) {
                (Some(x), Some(y)) => Some(x.min(y)),
                (x, y) => x.or(y),
            };
        });
        least
    }

    /// What the account spent, reservations apart.
    pub fn spent(&self, account: AccountId) -> Amounts {
        self.lock().agents[account.0].spent
    }

    /// Numbers beside the dimensions.
    pub fn totals(&self, account: AccountId) -> Totals {
        self.lock().agents[account.0].totals
    }

    /// What the whole run spent.
    pub fn spent_by_all(&self) -> (Amounts, Totals) {
        let accounts = self.lock();
        let totals = accounts.agents.iter().fold(Totals::default(), |sum, a| Totals {
            closing: sum.closing + a.totals.closing,
            refunded: sum.refunded + a.totals.refunded,
            resent: sum.resent + a.totals.resent,
        });
        (accounts.tree.spent, totals)
    }

    /// The account's limits.
    pub fn caps(&self, account: AccountId) -> Caps {
        self.lock().agents[account.0].caps
    }

    /// The dimension whose refusal ends the session, whatever it returns.
    pub fn ending(&self, account: AccountId) -> Option<Dimension> {
        self.lock().agents[account.0].ending
    }

    /// Notes that `dimension` ran out without a reservation: fuel, time, host calls, journal bytes.
    pub fn ran_out(&self, account: AccountId, dimension: Dimension) {
        self.lock().note_refusal(account, dimension);
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // Every change below leaves the accounts whole, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True for dimensions that are an agent's own and never charged to its ancestors.
const fn is_own(dimension: Dimension) -> bool {
    matches!(dimension, Dimension::Iterations | Dimension::Fuel)
}

impl Accounts {
    fn room(&self, account: AccountId, dimension: Dimension, value: u64) -> Result<(), Exhausted> {
        let mut result = self
            .tree
            .room(dimension, value)
            .map_err(|e| Exhausted { tree: true, ..e });
        self.walk(account, dimension, |a| {
            result = result.and_then(|()| a.room(dimension, value));
        });
        result
    }

    fn note_refusal(&mut self, account: AccountId, dimension: Dimension) {
        use Dimension as D;
        // Refusals in children, tool calls and stored bytes are values that an agent may live with.
        if !matches!(dimension, D::Children | D::ToolCalls | D::StoredBytes) {
            self.agents[account.0].ending.get_or_insert(dimension);
        }
    }

    /// Visits the accounts that a charge of `dimension` enters, the agent's own first.
    fn walk(&self, account: AccountId, dimension: Dimension, mut visit: impl FnMut(&Account)) {
        let mut next = Some(account);
        while let Some(id) = next {
            let a = &self.agents[id.0];
            visit(a);
            next = a.parent.filter(|_| !is_own(dimension));
        }
    }

    /// Changes, for each dimension, every account that it enters.
    fn each(&mut self, account: AccountId, mut change: impl FnMut(&mut Account, Dimension)) {
        for dimension in Dimension::ALL {
            change(&mut self.tree, dimension);
            let mut next = Some(account);
            while let Some(id) = next {
                let a = &mut self.agents[id.0];
                change(a, dimension);
                next = a.parent.filter(|_| !is_own(dimension));
            }
        }
    }
}

impl Account {
    fn rest(&self, dimension: Dimension) -> Option<u64> {
        let used = self.spent.get(dimension).saturating_add(self.reserved.get(dimension));
        self.caps.get(dimension).map(|cap| cap.saturating_sub(used))
    }

    fn room(&self, dimension: Dimension, value: u64) -> Result<(), Exhausted> {
        match (self.rest(dimension), self.caps.get(dimension)) {
            (Some(rest), Some(cap)) if rest < value => Err(Exhausted {
                dimension,
                cap,
                used: cap.saturating_sub(rest),
                tree: false,
            }),
            _ => Ok(()),
        }
    }

    fn reserve(&mut self, d: Dimension, amounts: &Amounts) {
        self.reserved = self.reserved.plus(&Amounts::of(d, amounts.get(d)));
    }

    fn release(&mut self, d: Dimension, amounts: &Amounts) {
        self.reserved = self.reserved.minus(&Amounts::of(d, amounts.get(d)));
    }

    fn charge(&mut self, d: Dimension, amounts: &Amounts) {
        self.spent = self.spent.plus(&Amounts::of(d, amounts.get(d)));
    }
}

/// An amount set aside for one effect. It ends once: settled with what the effect cost, released when nothing was
/// sent, or, when it is dropped because its owner died, charged in full.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is charged in full"]
pub struct Reservation {
    ledger: Ledger,
    account: AccountId,
    amounts: Option<Amounts>,
    closing: bool,
}

impl Reservation {
    /// What was set aside.
    pub fn amounts(&self) -> Amounts {
        self.amounts.unwrap_or_default()
    }

    /// True when this completion is the closing call.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The effect cost `actual`.
    pub fn settle(mut self, actual: Amounts) {
        self.end(actual);
    }

    /// Nothing was sent.
    pub fn release(mut self) {
        if self.closing {
            let mut accounts = self.ledger.lock();
            let agent = &mut accounts.agents[self.account.0];
            agent.closing = Closing::Open;
            agent.totals.closing -= 1;
        }
        self.end(Amounts::ZERO);
    }

    fn end(&mut self, actual: Amounts) {
        if let Some(reserved) = self.amounts.take() {
            self.ledger.lock().each(self.account, |a, d| {
                a.release(d, &reserved);
                a.charge(d, &actual);
            });
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end(self.amounts());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dimension as D;

    fn caps(pairs: &[(D, u64)]) -> Caps {
        pairs.iter().copied().collect()
    }

    #[test]
    fn iterations_are_exact_and_one_closing_call_follows() {
        let ledger = Ledger::new(Caps::default());
        let agent = ledger.open(None, caps(&[(D::Iterations, 2)]));
        for _ in 0..2 {
            let one = ledger
                .reserve_completion(agent, Count::Iteration, Amounts::ZERO)
                .expect("room");
            one.settle(Amounts::of(D::Iterations, 1));
        }
        let refused = ledger
            .reserve_completion(agent, Count::MayClose, Amounts::ZERO)
            .expect_err("used up");
        assert_eq!((refused.dimension, refused.used, refused.cap), (D::Iterations, 2, 2));
        ledger.open_closing(agent);
        let closing = ledger
            .reserve_completion(agent, Count::MayClose, Amounts::ZERO)
            .expect("the closing call");
        assert!(closing.is_closing());
        closing.settle(Amounts::ZERO);
        ledger.open_closing(agent);
        assert!(
            ledger
                .reserve_completion(agent, Count::MayClose, Amounts::ZERO)
                .is_err()
        );
        assert_eq!(ledger.spent(agent).get(D::Iterations), 2);
        assert_eq!(ledger.totals(agent).closing, 1);
        assert_eq!(ledger.ending(agent), Some(D::Iterations));
    }

    #[test]
    fn a_reservation_ends_once_in_each_of_its_ways() {
        let ledger = Ledger::new(Caps::default());
        let agent = ledger.open(None, caps(&[(D::Tokens, 100)]));
        let all = || Amounts::of(D::Tokens, 100);
        ledger.reserve(agent, all()).expect("room").release();
        assert_eq!(ledger.remaining(agent, D::Tokens), Some(100));
        let held = ledger.reserve(agent, all()).expect("room");
        assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
        held.settle(Amounts::of(D::Tokens, 40));
        assert_eq!(ledger.remaining(agent, D::Tokens), Some(60));
        drop(ledger.reserve(agent, Amounts::of(D::Tokens, 60)).expect("room"));
        assert_eq!(
            ledger.remaining(agent, D::Tokens),
            Some(0),
            "a dropped reservation is charged in full"
        );
    }

    #[test]
    fn an_overshoot_is_recorded_and_the_next_refused() {
        let ledger = Ledger::new(Caps::default());
        let agent = ledger.open(None, caps(&[(D::Tokens, 100)]));
        ledger
            .reserve(agent, Amounts::of(D::Tokens, 90))
            .expect("room")
            .settle(Amounts::of(D::Tokens, 130));
        assert_eq!(ledger.spent(agent).get(D::Tokens), 130);
        assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
    }

    #[test]
    fn a_child_spends_its_parents_money_and_its_own_iterations() {
        let ledger = Ledger::new(caps(&[(D::Iterations, 3)]));
        let root = ledger.open(None, caps(&[(D::CostMicroUsd, 10), (D::Iterations, 1)]));
        let child = ledger.open(Some(root), caps(&[(D::Iterations, 5)]));
        let cost = Amounts::of(D::CostMicroUsd, 10).with(D::Iterations, 1);
        ledger.reserve(child, cost).expect("room").settle(cost);
        assert_eq!(ledger.remaining(root, D::CostMicroUsd), Some(0));
        assert_eq!(
            ledger.remaining(root, D::Iterations),
            Some(1),
            "its own, within the tree's 2"
        );
        assert_eq!(
            ledger.remaining(child, D::Iterations),
            Some(2),
            "the tree's, not its own 4"
        );
        let refused = ledger
            .reserve(child, Amounts::of(D::CostMicroUsd, 1))
            .expect_err("the parent's money");
        assert_eq!(refused.dimension, D::CostMicroUsd);
        for _ in 0..2 {
            let one = Amounts::of(D::Iterations, 1);
            ledger.reserve(child, one).expect("room").settle(one);
        }
        assert!(
            ledger
                .reserve(child, Amounts::of(D::Iterations, 1))
                .expect_err("the tree's cap")
                .tree
        );
    }

    #[test]
    fn refusals_that_an_agent_may_live_with_end_nothing() {
        let ledger = Ledger::new(Caps::default());
        let agent = ledger.open(None, caps(&[(D::ToolCalls, 0), (D::Tokens, 0)]));
        assert!(ledger.reserve(agent, Amounts::of(D::ToolCalls, 1)).is_err());
        assert_eq!(ledger.ending(agent), None);
        assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
        assert_eq!(ledger.ending(agent), Some(D::Tokens));
    }
}
