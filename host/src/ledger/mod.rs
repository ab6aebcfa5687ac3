//! What every agent of a run may spend and has spent: reservations before an effect, charges after it, refunds by reservation.
//!
//! One ledger holds the accounts of a whole run, so that a charge enters an agent's account and its ancestors' at
//! once. Iterations, fuel, time and the journal are an agent's own; every other dimension counts for its ancestors too. A
//! child may be given an *allotment* of such a dimension: it is reserved from its parent at once, spending it turns the reserved
//! into spent, and what is left goes back when the child ends. The tree's cap, where one was asked for, counts everything.

mod reservation;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::amounts::Amounts;
use crate::config::{BudgetKey, Item, Scope, raised_with};
use crate::error::{Dimension, Refusal};

pub use reservation::{Held, Reservation};

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
    /// Whether anything was refused to it, or ran out.
    refused: bool,
    ending: Option<Dimension>,
    /// That refusal's words, where a reservation met a limit.
    ended_with: Option<String>,
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
    /// What those may have cost before: estimated, and counted against the tree's cap alone.
    pub lost: Amounts,
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
    /// The same, where it is somebody's child.
    Child,
    /// One of those above it.
    Ancestor,
    /// The whole run's.
    Tree,
}

impl Whose {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Agent | Self::Child => "this agent",
            Self::Ancestor => "the agents above this one",
            Self::Tree => "this run",
        }
    }

    /// How a key of the budget names it.
    pub(crate) const fn scope(self) -> Scope {
        match self {
            Self::Agent | Self::Ancestor => Scope::Root,
            Self::Child => Scope::Child,
            Self::Tree => Scope::Tree,
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
    /// What of that is set aside for what is under way.
    pub reserved: u64,
    /// Whose limit it is.
    pub whose: Whose,
}

impl From<Exhausted> for Refusal {
    fn from(e: Exhausted) -> Self {
        let (whose, raised) = (e.whose.words(), raised_with(e.dimension, &[e.whose.scope()]));
        let (dimension, scope) = (e.dimension, Scope::Root);
        let shown = |value| {
            Item {
                scope,
                dimension,
                value,
            }
            .to_string()
        };
        let (used, cap) = (shown(e.used), shown(e.cap));
        let what = match (e.cap.saturating_sub(e.used), e.reserved) {
            (0, 0) => format!("is used up: {used} of {cap}"),
            (0, aside) => format!(
                "has nothing left of {cap}, with {} set aside for what is under way",
                shown(aside)
            ),
            (rest, _) => format!("has {} left of {cap}, less than this may cost", shown(rest)),
        };
        let key = BudgetKey { scope, dimension };
        let message = format!("The budget of {whose} for {key} {what}. It is raised with {raised}.");
        Self::exhausted(dimension, message)
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
            if let Err(refused) = accounts.room(parent, dimension, value) {
                accounts.agents[parent.0].refused = true;
                return Err(refused);
            }
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
                let words = Refusal::from(refused).message;
                accounts.note_refusal(account, refused.dimension, Some(&words));
                return Err(refused);
            }
        }
        accounts.set_aside(account, amounts);
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
        self.lock().set_aside(account, amounts);
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
        let totals = &mut accounts.agents[account.0].totals;
        totals.resent += 1;
        totals.lost = totals.lost.plus(&estimate);
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
        let slots = accounts.reserved_in(account, dimension);
        slots.filter_map(|slot| accounts.at(slot).rest(dimension)).min()
    }

    /// Whether a limit is spent to its end: what is only set aside for others may come back.
    pub fn is_used_up(&self, account: AccountId, dimension: Dimension) -> bool {
        let accounts = self.lock();
        let mut slots = accounts.reserved_in(account, dimension);
        slots.any(|slot| {
            let at = accounts.at(slot);
            let gone = at.spent.get(dimension).saturating_add(at.lost.get(dimension));
            at.caps.get(dimension).is_some_and(|cap| gone >= cap)
        })
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
            lost: sum.lost.plus(&a.totals.lost),
        });
        (accounts.tree.spent, totals)
    }

    /// The smallest limit of `dimension` that a charge to the account enters: its own, that of one above it, or the tree's.
    pub fn cap_in_force(&self, account: AccountId, dimension: Dimension) -> Option<u64> {
        self.limit_in_force(account, dimension).map(|(cap, _)| cap)
    }

    /// The same, and whose limit that is.
    pub fn limit_in_force(&self, account: AccountId, dimension: Dimension) -> Option<(u64, Whose)> {
        let accounts = self.lock();
        let slots = accounts.entered(account, dimension);
        let limit = |slot| {
            let cap = accounts.at(slot).caps.get(dimension)?;
            Some((cap, accounts.whose(slot, account)))
        };
        slots.filter_map(limit).min_by_key(|(cap, _)| *cap)
    }

    /// The limits in force, of each dimension that has any.
    pub fn caps_in_force(&self, account: AccountId) -> Caps {
        let dimensions = Dimension::ALL.into_iter();
        let in_force = dimensions.filter_map(|dimension| Some((dimension, self.cap_in_force(account, dimension)?)));
        in_force.collect()
    }

    /// The account's limits.
    pub fn caps(&self, account: AccountId) -> Caps {
        self.lock().agents[account.0].caps
    }

    /// The dimension whose refusal ends the session, whatever it returns.
    pub fn ending(&self, account: AccountId) -> Option<Dimension> {
        self.lock().agents[account.0].ending
    }

    /// That refusal's words, where a reservation met a limit, now or by the record.
    pub fn ended_with(&self, account: AccountId) -> Option<String> {
        self.lock().agents[account.0].ended_with.clone()
    }

    /// Notes that `dimension` ran out without a reservation: fuel, time, host calls, journal bytes.
    pub fn ran_out(&self, account: AccountId, dimension: Dimension) {
        self.lock().note_refusal(account, dimension, None);
    }

    /// Notes a refusal in `dimension`, in these words, that a record tells of.
    pub fn refused_before(&self, account: AccountId, dimension: Dimension, words: &str) {
        self.lock().note_refusal(account, dimension, Some(words));
    }

    /// Notes that the account was too poor for a child, which ends nothing.
    pub fn had_too_little(&self, account: AccountId) {
        self.lock().agents[account.0].refused = true;
    }

    /// Whether anything was refused to the account, or ran out.
    pub fn was_refused(&self, account: AccountId) -> bool {
        self.lock().agents[account.0].refused
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
        let shared: Amounts = allotment.iter().filter(|(d, _)| !is_own(*d)).collect();
        self.set_aside(parent, shared);
        self.open(Account {
            parent: Some(parent),
            caps,
            allotted: shared.iter().collect(),
            held: shared,
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
                reserved: 0,
                whose,
            })
        })
    }

    /// The next account that a reservation of `dimension` stands in: above an allotment it does already.
    fn above_unless_allotted(&self, slot: Slot, dimension: Dimension) -> Option<Slot> {
        let allotted = self.at(slot).allotted.get(dimension).is_some();
        self.above(slot, dimension).filter(|_| !allotted)
    }

    /// Every account in which a reservation of `dimension` by `account` stands, from its own up.
    fn reserved_in(&self, account: AccountId, dimension: Dimension) -> impl Iterator<Item = Slot> {
        std::iter::successors(Some(Slot::Agent(account)), move |slot| {
            self.above_unless_allotted(*slot, dimension)
        })
    }

    /// Whose account `slot` is, as `account` sees it.
    fn whose(&self, slot: Slot, account: AccountId) -> Whose {
        match slot {
            Slot::Agent(id) if id == account => match self.agents[id.0].parent {
                None => Whose::Agent,
                Some(_) => Whose::Child,
            },
            Slot::Agent(_) => Whose::Ancestor,
            Slot::Tree => Whose::Tree,
        }
    }

    fn room(&self, account: AccountId, dimension: Dimension, value: u64) -> Result<(), Exhausted> {
        let mut slots = self.reserved_in(account, dimension);
        slots.try_for_each(|slot| self.at(slot).room(dimension, value, self.whose(slot, account)))
    }

    /// Changes every account in which a reservation of `dimension` by `account` stands.
    fn stands_in(&mut self, account: AccountId, dimension: Dimension, mut change: impl FnMut(&mut Account)) {
        let mut next = Some(Slot::Agent(account));
        while let Some(slot) = next {
            next = self.above_unless_allotted(slot, dimension);
            change(self.at_mut(slot));
        }
    }

    /// Sets `amounts` aside for `account`, whether it fits or not.
    fn set_aside(&mut self, account: AccountId, amounts: Amounts) {
        for (dimension, value) in amounts.iter() {
            self.stands_in(account, dimension, |a| a.reserve(dimension, value));
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

    fn note_refusal(&mut self, account: AccountId, dimension: Dimension, words: Option<&str>) {
        use Dimension as D;
        let agent = &mut self.agents[account.0];
        agent.refused = true;
        // Refusals in children, tool calls and stored bytes are values that an agent may live with.
        if !matches!(dimension, D::Children | D::ToolCalls | D::StoredBytes) && agent.ending.is_none() {
            (agent.ending, agent.ended_with) = (Some(dimension), words.map(str::to_owned));
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
                reserved: self.reserved.get(dimension),
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
