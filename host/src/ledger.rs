//! What every agent of a run may spend and has spent: reservations before an effect, charges after it, refunds by reservation.
//!
//! One ledger holds the accounts of a whole run, so that a charge enters an agent's account and its ancestors' at
//! once. Iterations, fuel, time and the journal are an agent's own; every other dimension counts for its ancestors too. A
//! child may be given an *allotment* of such a dimension: it is reserved from its parent at once, spending it turns the reserved
//! into spent, and what is left goes back when the child ends. The tree's cap, where one was asked for, counts everything.

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
    /// Dimensions that were set aside for it in its ancestors' accounts when it was opened.
    allotted: Caps,
    /// What of that is neither spent nor given back.
    held: Amounts,
    spent: Amounts,
    /// What of that it spent by itself, its children's apart.
    own: Amounts,
    reserved: Amounts,
    /// Of the tree: what sends that a crash lost may have cost.
    lost: Amounts,
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

/// Whose limit a reservation met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The agent's that asked.
    Agent,
    /// One of those above it.
    Ancestor,
    /// The whole run's.
    Tree,
}

impl Whose {
    /// In words, and how a key of the budget names it.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => ("this agent", ""),
            Self::Ancestor => ("the agents above this one", ""),
            Self::Tree => ("this run", "tree."),
        }
    }
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
    /// Whose limit it is.
    pub whose: Whose,
}

impl From<Exhausted> for Refusal {
    fn from(e: Exhausted) -> Self {
        let (whose, key) = e.whose.words();
        let (d, used, cap) = (e.dimension, e.used, e.cap);
        let what = match cap.saturating_sub(used) {
            0 => format!("is used up: {used} of {cap}"),
            rest => format!("has {rest} left of {cap}, less than this may cost"),
        };
        let message = format!("The budget of {whose} for {d} {what}. It is raised with --budget {key}{d}=N.");
        Self::exhausted(d, message)
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

    /// The root's account.
    pub fn open_root(&self, caps: Caps) -> AccountId {
        self.lock().open(Account {
            caps,
            ..Account::default()
        })
    }

    /// An account below `parent`'s. `allotment` is reserved from the parent and limits the child; what is in `caps` limits the child
    /// alone.
    ///
    /// # Errors
    /// The first dimension of the allotment that the parent, or one above it, has no room for; nothing is reserved then.
    pub fn open_child(&self, parent: AccountId, mut caps: Caps, allotment: Amounts) -> Result<AccountId, Exhausted> {
        let mut accounts = self.lock();
        for (dimension, value) in allotment.iter() {
            accounts.room(parent, dimension, value)?;
        }
        for (dimension, value) in allotment.iter() {
            caps.set(dimension, value);
        }
        Ok(accounts.open_below(parent, caps, allotment))
    }

    /// As [`Ledger::open_child`], for a child that had it before: whether it fits is no question any more.
    pub fn reopen_child(&self, parent: AccountId, mut caps: Caps, allotment: Amounts) -> AccountId {
        let mut accounts = self.lock();
        for (dimension, value) in allotment.iter().filter(|(d, _)| !is_own(*d)) {
            caps.set(dimension, value);
        }
        accounts.open_below(parent, caps, allotment)
    }

    /// A child ended: what is left of its allotment goes back.
    pub fn close(&self, account: AccountId) {
        let mut accounts = self.lock();
        let closed = &mut accounts.agents[account.0];
        let held = std::mem::take(&mut closed.held);
        // Whatever comes late is its parent's to pay.
        closed.allotted = Caps::default();
        let Some(parent) = closed.parent else { return };
        for (dimension, rest) in held.iter() {
            accounts.stands_in(parent, dimension, |a| a.release(dimension, rest));
        }
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
        for (dimension, value) in amounts.iter() {
            accounts.stands_in(account, dimension, |a| a.reserve(dimension, value));
        }
        Ok(Reservation::new(self, account, amounts))
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
        let reserved = self.reserve(account, amounts);
        if closing && reserved.is_err() {
            self.lock().agents[account.0].reopen_closing();
        }
        let mut reservation = reserved?;
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
        self.lock().charge(account, &amounts);
    }

    /// Charges as [`Ledger::charge`] does, where there is room for it: what is set aside for others is not.
    ///
    /// # Errors
    /// The limit that it would pass, the first from the agent's own up to the tree's. Nothing is charged.
    pub fn charge_within(&self, account: AccountId, dimension: Dimension, value: u64) -> Result<(), Exhausted> {
        let mut accounts = self.lock();
        accounts.room(account, dimension, value)?;
        accounts.charge(account, &Amounts::of(dimension, value));
        Ok(())
    }

    /// Sets aside what a send that a crash interrupted had set aside: whether it fits is no question any more.
    pub fn reserve_again(&self, account: AccountId, amounts: Amounts) -> Reservation {
        let mut accounts = self.lock();
        for (dimension, value) in amounts.iter() {
            accounts.stands_in(account, dimension, |a| a.reserve(dimension, value));
        }
        Reservation::new(self, account, amounts)
    }

    /// Gives one iteration back, at most `most` times for an agent. False when it has had them all.
    pub fn refund_iteration(&self, account: AccountId, most: u64) -> bool {
        let mut accounts = self.lock();
        let one = Amounts::of(Dimension::Iterations, 1);
        let agent = &mut accounts.agents[account.0];
        if agent.totals.refunded >= most {
            return false;
        }
        agent.totals.refunded += 1;
        agent.spent = agent.spent.minus(&one);
        agent.own = agent.own.minus(&one);
        accounts.tree.spent = accounts.tree.spent.minus(&one);
        true
    }

    /// Counts a call that is sent again. What the lost send may have cost counts against the tree's cap, never against an agent;
    /// the iteration is the same one.
    pub fn resent(&self, account: AccountId, estimate: Amounts) {
        let mut accounts = self.lock();
        let estimate = estimate.with(Dimension::Iterations, 0);
        accounts.tree.lost = accounts.tree.lost.plus(&estimate);
        accounts.agents[account.0].totals.resent += 1;
    }

    /// A closing call stands in the journal: there is no other.
    pub fn closing_made(&self, account: AccountId) {
        let mut accounts = self.lock();
        let agent = &mut accounts.agents[account.0];
        if agent.closing != Closing::Used {
            agent.closing = Closing::Used;
            agent.totals.closing += 1;
        }
    }

    /// What is left and not reserved; none where there is no limit. The smallest of the account's and its ancestors' rests; what
    /// was set aside for the account is not looked for above it.
    pub fn remaining(&self, account: AccountId, dimension: Dimension) -> Option<u64> {
        let accounts = self.lock();
        let mut least: Option<u64> = None;
        let mut next = Some(Slot::Agent(account));
        while let Some(slot) = next {
            least = match (least, accounts.at(slot).rest(dimension)) {
                (Some(x), Some(y)) => Some(x.min(y)),
                (x, y) => x.or(y),
            };
            next = accounts.above_unless_allotted(slot, dimension);
        }
        least
    }

    /// What the account spent, reservations apart.
    pub fn spent(&self, account: AccountId) -> Amounts {
        self.lock().agents[account.0].spent
    }

    /// What the account spent by itself: what was charged to its children and counts for it too is left out.
    pub fn own_spent(&self, account: AccountId) -> Amounts {
        self.lock().agents[account.0].own
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

    /// The smallest limit of `dimension` that a charge to the account enters: its own, or the tree's.
    pub fn cap_in_force(&self, account: AccountId, dimension: Dimension) -> Option<u64> {
        let accounts = self.lock();
        let slots = accounts.entered(account, dimension);
        slots.filter_map(|slot| accounts.at(slot).caps.get(dimension)).min()
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
pub const fn is_own(dimension: Dimension) -> bool {
    use Dimension as D;
    matches!(dimension, D::Iterations | D::Fuel | D::WallClockMs | D::JournalBytes)
}

/// An agent's account, or the whole tree's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Agent(AccountId),
    Tree,
}

impl Accounts {
    fn open(&mut self, account: Account) -> AccountId {
        self.agents.push(account);
        AccountId(self.agents.len() - 1)
    }

    fn open_below(&mut self, parent: AccountId, caps: Caps, allotment: Amounts) -> AccountId {
        let mut allotted = Caps::default();
        for (dimension, value) in allotment.iter().filter(|(d, _)| !is_own(*d)) {
            self.stands_in(parent, dimension, |a| a.reserve(dimension, value));
            allotted.set(dimension, value);
        }
        self.open(Account {
            parent: Some(parent),
            caps,
            allotted,
            held: allotted.iter().collect(),
            ..Account::default()
        })
    }

    fn at(&self, slot: Slot) -> &Account {
        match slot {
            Slot::Agent(id) => &self.agents[id.0],
            Slot::Tree => &self.tree,
        }
    }

    fn at_mut(&mut self, slot: Slot) -> &mut Account {
        match slot {
            Slot::Agent(id) => &mut self.agents[id.0],
            Slot::Tree => &mut self.tree,
        }
    }

    /// The next account that a charge of `dimension` enters.
    fn above(&self, slot: Slot, dimension: Dimension) -> Option<Slot> {
        let Slot::Agent(id) = slot else { return None };
        match self.agents[id.0].parent {
            Some(parent) if !is_own(dimension) => Some(Slot::Agent(parent)),
            // Time passes for all agents at once: the tree's is the root's.
            Some(_) if dimension == Dimension::WallClockMs => None,
            _ => Some(Slot::Tree),
        }
    }

    /// Every account that a charge of `dimension` to `account` enters, from its own up.
    fn entered(&self, account: AccountId, dimension: Dimension) -> impl Iterator<Item = Slot> {
        std::iter::successors(Some(Slot::Agent(account)), move |slot| self.above(*slot, dimension))
    }

    /// The limits that are passed when `more` is spent, from the account's own up to the tree's.
    fn passed(&self, account: AccountId, dimension: Dimension, more: u64) -> impl Iterator<Item = Exhausted> {
        self.entered(account, dimension).filter_map(move |slot| {
            let at = self.at(slot);
            let used = at.spent.get(dimension).saturating_add(more);
            let cap = at.caps.get(dimension).filter(|cap| used > *cap)?;
            let whose = self.whose(slot, account);
            Some(Exhausted {
                dimension,
                cap,
                used,
                whose,
            })
        })
    }

    /// The next account that a reservation of `dimension` stands in: above an allotment it does already.
    fn above_unless_allotted(&self, slot: Slot, dimension: Dimension) -> Option<Slot> {
        let allotted = self.at(slot).allotted.get(dimension).is_some();
        self.above(slot, dimension).filter(|_| !allotted)
    }

    /// Whose account `slot` is, as `account` sees it.
    fn whose(&self, slot: Slot, account: AccountId) -> Whose {
        match slot {
            Slot::Agent(id) if id == account => Whose::Agent,
            Slot::Agent(_) => Whose::Ancestor,
            Slot::Tree => Whose::Tree,
        }
    }

    fn room(&self, account: AccountId, dimension: Dimension, value: u64) -> Result<(), Exhausted> {
        let mut next = Some(Slot::Agent(account));
        while let Some(slot) = next {
            let whose = self.whose(slot, account);
            self.at(slot).room(dimension, value, whose)?;
            next = self.above_unless_allotted(slot, dimension);
        }
        Ok(())
    }

    /// Changes every account in which a reservation of `dimension` by `account` stands.
    fn stands_in(&mut self, account: AccountId, dimension: Dimension, mut change: impl FnMut(&mut Account)) {
        let mut next = Some(Slot::Agent(account));
        while let Some(slot) = next {
            next = self.above_unless_allotted(slot, dimension);
            change(self.at_mut(slot));
        }
    }

    /// Enters what was spent, all the way up. Where an allotment is spent, what was reserved for it above becomes spent.
    fn charge(&mut self, account: AccountId, amounts: &Amounts) {
        let own = &mut self.agents[account.0].own;
        *own = own.plus(amounts);
        for (dimension, value) in amounts.iter() {
            let mut taken = 0;
            let mut next = Some(Slot::Agent(account));
            while let Some(slot) = next {
                next = self.above(slot, dimension);
                let a = self.at_mut(slot);
                a.release(dimension, taken);
                a.spent = a.spent.plus(&Amounts::of(dimension, value));
                if a.allotted.get(dimension).is_some() {
                    taken = a.held.get(dimension).min(value);
                    a.held = a.held.minus(&Amounts::of(dimension, taken));
                }
            }
        }
    }

    fn note_refusal(&mut self, account: AccountId, dimension: Dimension) {
        use Dimension as D;
        // Refusals in children, tool calls and stored bytes are values that an agent may live with.
        if !matches!(dimension, D::Children | D::ToolCalls | D::StoredBytes) {
            self.agents[account.0].ending.get_or_insert(dimension);
        }
    }
}

impl Account {
    fn rest(&self, dimension: Dimension) -> Option<u64> {
        let used = [self.spent, self.reserved, self.lost]
            .iter()
            .fold(0u64, |sum, amounts| sum.saturating_add(amounts.get(dimension)));
        self.caps.get(dimension).map(|cap| cap.saturating_sub(used))
    }

    fn room(&self, dimension: Dimension, value: u64, whose: Whose) -> Result<(), Exhausted> {
        match (self.rest(dimension), self.caps.get(dimension)) {
            (Some(rest), Some(cap)) if rest < value => Err(Exhausted {
                dimension,
                cap,
                used: cap.saturating_sub(rest),
                whose,
            }),
            _ => Ok(()),
        }
    }

    fn reserve(&mut self, dimension: Dimension, value: u64) {
        self.reserved = self.reserved.plus(&Amounts::of(dimension, value));
    }

    fn release(&mut self, dimension: Dimension, value: u64) {
        self.reserved = self.reserved.minus(&Amounts::of(dimension, value));
    }

    fn reopen_closing(&mut self) {
        self.closing = Closing::Open;
        self.totals.closing -= 1;
    }
}

/// An amount set aside for one effect. It ends once: settled with what the effect cost, released when nothing was
/// sent, or, when it is dropped because its owner died, charged in full.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is charged in full"]
pub struct Reservation {
    held: Held,
    closing: bool,
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
    fn new(ledger: &Ledger, account: AccountId, amounts: Amounts) -> Self {
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
            *amounts = amounts.plus(&Amounts::of(dimension, value));
            accounts.stands_in(held.account, dimension, |a| a.reserve(dimension, value));
        }
    }

    /// A handle for those who spend of it.
    pub fn held(&self) -> Held {
        self.held.clone()
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
        let agent = ledger.open_root(caps(&[(D::Iterations, 2)]));
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
        let agent = ledger.open_root(caps(&[(D::Tokens, 100)]));
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
    fn what_is_spent_of_a_reservation_is_set_aside_no_longer() {
        let ledger = Ledger::new(caps(&[(D::Fuel, 100)]));
        let agent = ledger.open_root(caps(&[(D::Fuel, 100)]));
        let fuel = |n: u64| Amounts::of(D::Fuel, n);
        let outer = ledger.reserve(agent, fuel(60)).expect("room");
        let held = outer.held();
        assert_eq!(ledger.remaining(agent, D::Fuel), Some(40));
        // A call inside sets nothing aside of its own.
        ledger.reserve(agent, Amounts::ZERO).expect("room").settle(fuel(20));
        held.spent(D::Fuel, 20);
        assert_eq!(
            (ledger.remaining(agent, D::Fuel), outer.amounts()),
            (Some(40), fuel(40)),
            "it is not counted twice"
        );
        outer.settle(fuel(10));
        let left = || (ledger.spent(agent).get(D::Fuel), ledger.remaining(agent, D::Fuel));
        assert_eq!(left(), (30, Some(70)));
        held.spent(D::Fuel, 20);
        assert_eq!(left(), (30, Some(70)), "what has ended sets nothing aside");
        let other = ledger.reserve(agent, fuel(50)).expect("room");
        held.spent(D::Fuel, 20);
        assert_eq!(left(), (30, Some(20)), "nor does it touch another's");
        other.release();
        assert_eq!(left(), (30, Some(70)));
    }

    #[test]
    fn no_more_is_spent_of_a_reservation_than_it_sets_aside() {
        let ledger = Ledger::new(Caps::default());
        let agent = ledger.open_root(caps(&[(D::Fuel, 100)]));
        let fuel = |n: u64| Amounts::of(D::Fuel, n);
        let beside = ledger.reserve(agent, fuel(30)).expect("room");
        let outer = ledger.reserve(agent, fuel(10)).expect("room");
        let held = outer.held();
        ledger.charge(agent, fuel(15));
        held.spent(D::Fuel, 15);
        assert_eq!(
            (ledger.remaining(agent, D::Fuel), outer.amounts()),
            (Some(55), Amounts::ZERO)
        );
        held.spent(D::ToolCalls, 1);
        outer.settle(Amounts::ZERO);
        assert_eq!(
            ledger.remaining(agent, D::Fuel),
            Some(55),
            "what stands beside it stays"
        );
        beside.release();
        assert_eq!(ledger.remaining(agent, D::Fuel), Some(85));
    }

    #[test]
    fn what_needs_no_reservation_takes_nothing_that_is_set_aside_for_others() {
        let ledger = Ledger::new(Caps::default());
        let root = ledger.open_root(caps(&[(D::HostCalls, 500)]));
        let allotted = ledger
            .open_child(root, Caps::default(), Amounts::of(D::HostCalls, 300))
            .expect("room");
        let beside = ledger.open_child(root, Caps::default(), Amounts::ZERO).expect("room");
        let once = |agent: AccountId| ledger.charge_within(agent, D::HostCalls, 1);
        let spent = |agent: AccountId| ledger.spent(agent).get(D::HostCalls);
        assert!((0..200).all(|_| once(beside).is_ok()));
        let refused = Exhausted {
            dimension: D::HostCalls,
            cap: 500,
            used: 500,
            whose: Whose::Ancestor,
        };
        assert_eq!(once(beside), Err(refused));
        assert_eq!(
            (spent(beside), spent(root)),
            (200, 200),
            "what is refused is not charged"
        );
        assert!(
            (0..300).all(|_| once(allotted).is_ok()),
            "it has what was set aside for it"
        );
        let refused = Exhausted {
            cap: 300,
            used: 300,
            whose: Whose::Agent,
            ..refused
        };
        assert_eq!(once(allotted), Err(refused));
        assert_eq!((spent(allotted), spent(beside), spent(root)), (300, 200, 500));
    }

    #[test]
    fn what_a_crash_interrupted_is_set_aside_again_whatever_is_left() {
        let ledger = Ledger::new(caps(&[(D::Iterations, 1)]));
        let root = ledger.open_root(Caps::default());
        let child = ledger.open_child(root, Caps::default(), Amounts::ZERO).expect("room");
        let one = Amounts::of(D::Iterations, 1);
        let again = ledger.reserve_again(child, one);
        assert_eq!(ledger.reserve(root, one).expect_err("the child's").whose, Whose::Tree);
        again.release();
        ledger.charge(root, one);
        let again = ledger.reserve_again(child, one);
        assert_eq!(
            (again.amounts(), ledger.remaining(child, D::Iterations)),
            (one, Some(0))
        );
        again.settle(one);
        assert_eq!(ledger.spent_by_all().0.get(D::Iterations), 2);
    }

    #[test]
    fn an_overshoot_is_recorded_and_the_next_refused() {
        let ledger = Ledger::new(Caps::default());
        let agent = ledger.open_root(caps(&[(D::Tokens, 100)]));
        let call = ledger.reserve(agent, Amounts::of(D::Tokens, 90)).expect("room");
        assert_eq!(call.overshoot(Amounts::of(D::Tokens, 100)), []);
        let passed = call.overshoot(Amounts::of(D::Tokens, 130));
        assert_eq!(passed.iter().map(|p| (p.used, p.cap)).collect::<Vec<_>>(), [(130, 100)]);
        call.settle(Amounts::of(D::Tokens, 130));
        assert_eq!(ledger.spent(agent).get(D::Tokens), 130);
        assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
    }

    #[test]
    fn a_child_spends_its_parents_money_and_its_own_iterations() {
        let ledger = Ledger::new(caps(&[(D::Iterations, 3)]));
        let root = ledger.open_root(caps(&[(D::CostMicroUsd, 10), (D::Iterations, 1)]));
        let child = ledger
            .open_child(root, caps(&[(D::Iterations, 5)]), Amounts::ZERO)
            .expect("room");
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
        let refused = ledger
            .reserve(child, Amounts::of(D::Iterations, 1))
            .expect_err("the tree's cap");
        assert_eq!(refused.whose, Whose::Tree);
    }

    #[test]
    fn refusals_that_an_agent_may_live_with_end_nothing() {
        let ledger = Ledger::new(Caps::default());
        let agent = ledger.open_root(caps(&[(D::ToolCalls, 0), (D::Tokens, 0)]));
        assert!(ledger.reserve(agent, Amounts::of(D::ToolCalls, 1)).is_err());
        assert_eq!(ledger.ending(agent), None);
        assert!(ledger.reserve(agent, Amounts::of(D::Tokens, 1)).is_err());
        assert_eq!(ledger.ending(agent), Some(D::Tokens));
    }

    #[test]
    fn an_allotment_is_set_aside_spent_and_given_back() {
        let ledger = Ledger::new(Caps::default());
        let root = ledger.open_root(caps(&[(D::Tokens, 100)]));
        let child = ledger
            .open_child(root, Caps::default(), Amounts::of(D::Tokens, 60))
            .expect("room");
        assert_eq!(ledger.remaining(root, D::Tokens), Some(40));
        assert_eq!(ledger.remaining(child, D::Tokens), Some(60));
        assert!(
            ledger
                .open_child(root, Caps::default(), Amounts::of(D::Tokens, 41))
                .is_err()
        );
        let grandchild = ledger
            .open_child(child, Caps::default(), Amounts::of(D::Tokens, 50))
            .expect("room");
        assert_eq!(
            (ledger.remaining(child, D::Tokens), ledger.remaining(root, D::Tokens)),
            (Some(10), Some(40))
        );
        ledger.charge(grandchild, Amounts::of(D::Tokens, 20));
        assert_eq!(ledger.remaining(grandchild, D::Tokens), Some(30));
        assert_eq!(
            ledger.remaining(root, D::Tokens),
            Some(40),
            "what was set aside is what was spent"
        );
        ledger.close(grandchild);
        assert_eq!(ledger.remaining(child, D::Tokens), Some(40));
        ledger.close(child);
        assert_eq!(ledger.remaining(root, D::Tokens), Some(80));
        assert_eq!(ledger.spent(root).get(D::Tokens), 20);
        assert_eq!(ledger.own_spent(root).get(D::Tokens), 0);
    }

    #[test]
    fn an_allotment_that_is_overshot_is_charged_to_all_above() {
        let ledger = Ledger::new(Caps::default());
        let root = ledger.open_root(caps(&[(D::Tokens, 100)]));
        let child = ledger
            .open_child(root, Caps::default(), Amounts::of(D::Tokens, 10))
            .expect("room");
        ledger
            .reserve(child, Amounts::of(D::Tokens, 10))
            .expect("room")
            .settle(Amounts::of(D::Tokens, 25));
        assert_eq!(
            (ledger.spent(root).get(D::Tokens), ledger.remaining(root, D::Tokens)),
            (25, Some(75))
        );
        assert!(ledger.reserve(child, Amounts::of(D::Tokens, 1)).is_err());
        ledger.close(child);
        assert_eq!(ledger.remaining(root, D::Tokens), Some(75));
    }

    #[test]
    fn iterations_are_given_back_so_many_times() {
        let ledger = Ledger::new(caps(&[(D::Iterations, 2)]));
        let root = ledger.open_root(caps(&[(D::Iterations, 2)]));
        ledger.charge(root, Amounts::of(D::Iterations, 2));
        assert!(ledger.refund_iteration(root, 1));
        assert!(!ledger.refund_iteration(root, 1));
        assert_eq!(
            (ledger.spent(root).get(D::Iterations), ledger.totals(root).refunded),
            (1, 1)
        );
        assert_eq!(ledger.remaining(root, D::Iterations), Some(1));
    }

    #[test]
    fn time_is_the_roots_for_the_tree() {
        let ledger = Ledger::new(caps(&[(D::WallClockMs, 50)]));
        let root = ledger.open_root(Caps::default());
        let child = ledger.open_child(root, Caps::default(), Amounts::ZERO).expect("room");
        ledger.charge(child, Amounts::of(D::WallClockMs, 40));
        ledger.charge(root, Amounts::of(D::WallClockMs, 40));
        assert_eq!(ledger.spent_by_all().0.get(D::WallClockMs), 40);
        assert_eq!(ledger.cap_in_force(root, D::WallClockMs), Some(50));
    }

    #[test]
    fn a_lost_send_counts_against_the_tree_and_no_agent() {
        let ledger = Ledger::new(caps(&[(D::Tokens, 100), (D::Iterations, 5)]));
        let root = ledger.open_root(Caps::default());
        ledger.resent(root, Amounts::of(D::Tokens, 30).with(D::Iterations, 1));
        assert_eq!(ledger.remaining(root, D::Tokens), Some(70));
        assert_eq!(
            ledger.remaining(root, D::Iterations),
            Some(5),
            "it is the same iteration"
        );
        assert_eq!(
            (ledger.spent_by_all().0, ledger.spent(root)),
            (Amounts::ZERO, Amounts::ZERO)
        );
        assert_eq!(ledger.totals(root).resent, 1);
    }

    /// What a tree of agents does with its ledger.
    #[derive(Debug, Clone)]
    enum Act {
        Spawn { parent: usize, tokens: Option<u64> },
        Spend { agent: usize, tokens: u64, calls: u64 },
        Refuse { agent: usize, tokens: u64 },
        Close { agent: usize },
    }

    fn any_act() -> impl proptest::strategy::Strategy<Value = Act> {
        use proptest::prelude::*;
        prop_oneof![
            (0..6usize, proptest::option::of(0..60u64)).prop_map(|(parent, tokens)| Act::Spawn { parent, tokens }),
            (0..6usize, 0..40u64, 0..3u64).prop_map(|(agent, tokens, calls)| Act::Spend { agent, tokens, calls }),
            (0..6usize, 0..40u64).prop_map(|(agent, tokens)| Act::Refuse { agent, tokens }),
            (1..6usize).prop_map(|agent| Act::Close { agent }),
        ]
    }

    proptest::proptest! {
        /// Whatever the tree does: no cap is passed, nobody has more left than those above have or set aside, and in the end nothing
        /// stays reserved.
        #[test]
        fn no_descendant_has_more_left_than_its_ancestors(acts in proptest::collection::vec(any_act(), 1..60)) {
            let ledger = Ledger::new(caps(&[(D::Tokens, 200), (D::ToolCalls, 12)]));
            let root = ledger.open_root(caps(&[(D::Tokens, 150), (D::ToolCalls, 10)]));
            let mut agents: Vec<(AccountId, Option<usize>, bool)> = vec![(root, None, true)];
            for act in acts {
                match act {
                    Act::Spawn { parent, tokens } => {
                        let parent = parent % agents.len();
                        if agents[parent].2 {
                            let share = tokens.map_or(Amounts::ZERO, |n| Amounts::of(D::Tokens, n));
                            if let Ok(child) = ledger.open_child(agents[parent].0, Caps::default(), share) {
                                agents.push((child, Some(parent), true));
                            }
                        }
                    }
                    Act::Spend { agent, tokens, calls } => {
                        let agent = agents[agent % agents.len()];
                        let cost = Amounts::of(D::Tokens, tokens).with(D::ToolCalls, calls);
                        if let Some(Ok(held)) = agent.2.then(|| ledger.reserve(agent.0, cost)) {
                            held.settle(cost);
                        }
                    }
                    Act::Refuse { agent, tokens } => {
                        let agent = agents[agent % agents.len()];
                        let cost = Amounts::of(D::Tokens, tokens);
                        if let Some(Ok(held)) = agent.2.then(|| ledger.reserve(agent.0, cost)) {
                            held.release();
                        }
                    }
                    Act::Close { agent } => {
                        let at = agent % agents.len();
                        let has_children = agents.iter().any(|(_, parent, open)| *parent == Some(at) && *open);
                        if at > 0 && agents[at].2 && !has_children {
                            ledger.close(agents[at].0);
                            agents[at].2 = false;
                        }
                    }
                }
                for d in [D::Tokens, D::ToolCalls] {
                    let (all, _) = ledger.spent_by_all();
                    let cap = if d == D::Tokens { 150 } else { 10 };
                    proptest::prop_assert!(all.get(d) <= cap, "{d}: {}", all.get(d));
                    for (agent, parent, open) in &agents {
                        let Some(parent) = parent.filter(|_| *open) else { continue };
                        let inner = ledger.lock();
                        let aside = inner.agents[agent.0].allotted.get(d).is_some();
                        drop(inner);
                        let (mine, theirs) = (ledger.remaining(*agent, d), ledger.remaining(agents[parent].0, d));
                        proptest::prop_assert!(aside || mine <= theirs, "{d}: {mine:?} of {theirs:?}");
                        proptest::prop_assert!(ledger.spent(*agent).get(d) <= ledger.spent(agents[parent].0).get(d));
                    }
                }
            }
            for (agent, _, open) in agents.iter().skip(1).rev() {
                if *open {
                    ledger.close(*agent);
                }
            }
            proptest::prop_assert_eq!(ledger.lock().agents[0].reserved, Amounts::ZERO);
            proptest::prop_assert_eq!(ledger.lock().tree.reserved, Amounts::ZERO);
        }
    }
}
