//! What holds for any tree of agents and whatever they do with their budgets. Beside the ledger a plain account of the same is kept, which
//! adds everything up anew each time.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const AGENTS: usize = 12;
const DEPTH: usize = 5;
/// What counts for nobody above an agent; but for time, it counts for the tree.
const OWN: [D; 4] = [D::Iterations, D::Fuel, D::WallClockMs, D::JournalBytes];

/// An account: an agent's by its number, or the tree's.
type At = Option<usize>;

/// What is done with the ledger, by one of the agents or with one of the reservations that are open.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A child with these limits: where they are shared, they are set aside for it.
    Spawn(Index, Caps),
    Reserve(Index, Amounts),
    /// More is set aside in an open reservation, whether it fits or not.
    Also(Index, Amounts),
    /// Something inside an open reservation is charged by itself.
    Inside(Index, Amounts),
    End(Index, Way, Amounts),
    Charge(Index, Amounts),
    ChargeWithin(Index, D, u64),
    Refund(Index),
    Resent(Index, Amounts),
    Close(Index),
    /// Another process goes on, and enters into its ledger what the journal has.
    Resume,
}

/// How a reservation ends. The amounts of [`Act::End`] are what the effect cost less or more than was set aside.
#[derive(Debug, Clone, Copy)]
enum Way {
    Less,
    Exactly,
    More,
    Release,
    Drop,
}

/// An agent, as the test keeps account of it.
struct Agent {
    id: AccountId,
    parent: Option<usize>,
    caps: Caps,
    closed: bool,
    own: Amounts,
    /// What it spent or set aside although no room was left for it.
    over: Amounts,
}

struct World {
    tree: Caps,
    ledger: Ledger,
    agents: Vec<Agent>,
    open: Vec<(usize, Reservation, Amounts)>,
    lost: Amounts,
    lost_over: Amounts,
}

impl World {
    fn new(tree: Caps, root: Caps) -> Self {
        let ledger = Ledger::new(tree);
        let agents = vec![agent(ledger.open_root(root), None, root)];
        Self {
            tree,
            ledger,
            agents,
            open: Vec::new(),
            lost: Amounts::ZERO,
            lost_over: Amounts::ZERO,
        }
    }

    /// The agent and all above it, in the accounts that its charges enter.
    fn enters(&self, agent: usize, d: D) -> Vec<At> {
        let above = std::iter::successors(Some(agent), |at| self.agents[*at].parent.filter(|_| !OWN.contains(&d)));
        let tree = (d != D::WallClockMs || agent == 0).then_some(None);
        above.map(Some).chain(tree).collect()
    }

    /// The part of those in which its reservations stand: up to an allotment.
    fn stands(&self, agent: usize, d: D) -> Vec<At> {
        let mut at = self.enters(agent, d);
        let allotted = |at: &At| at.is_some_and(|at| self.allotment(at).get(d) > 0);
        if let Some(last) = at.iter().position(allotted) {
            at.truncate(last + 1);
        }
        at
    }

    fn allotment(&self, agent: usize) -> Amounts {
        let Agent { parent, closed, .. } = self.agents[agent];
        match parent {
            Some(_) if !closed => allotment(&self.agents[agent].caps),
            _ => Amounts::ZERO,
        }
    }

    /// What is set aside for an agent above it: what it has not spent of its allotment.
    fn aside(&self, agent: usize, d: D) -> u64 {
        self.allotment(agent).get(d).saturating_sub(self.spent(Some(agent), d))
    }

    fn below(&self, at: At, d: D, count: impl Fn(&Agent) -> Amounts) -> u64 {
        let inside = (0..self.agents.len()).filter(|agent| self.enters(*agent, d).contains(&at));
        inside.map(|agent| count(&self.agents[agent]).get(d)).sum()
    }

    fn spent(&self, at: At, d: D) -> u64 {
        self.below(at, d, |agent| agent.own)
    }

    /// By how much its accounts may be beyond their limits.
    fn over(&self, at: At, d: D) -> u64 {
        let lost = if at.is_none() { self.lost_over.get(d) } else { 0 };
        self.below(at, d, |agent| agent.over) + lost
    }

    fn reserved(&self, at: At, d: D) -> u64 {
        let calls = self.open.iter().map(|(agent, _, amounts)| (*agent, amounts.get(d)));
        let children =
            (1..self.agents.len()).filter_map(|child| Some((self.agents[child].parent?, self.aside(child, d))));
        let standing = calls
            .chain(children)
            .filter(|(agent, _)| self.stands(*agent, d).contains(&at));
        standing.map(|(_, value)| value).sum()
    }

    fn rest(&self, at: At, d: D) -> Option<u64> {
        let (caps, lost) = match at {
            Some(agent) => (&self.agents[agent].caps, 0),
            None => (&self.tree, self.lost.get(d)),
        };
        let used = self.spent(at, d) + self.reserved(at, d) + lost;
        caps.get(d).map(|cap| cap.saturating_sub(used))
    }

    fn remaining(&self, agent: usize, d: D) -> Option<u64> {
        self.stands(agent, d)
            .into_iter()
            .filter_map(|at| self.rest(at, d))
            .min()
    }

    /// What of `amounts` has no room.
    fn beyond(&self, agent: usize, amounts: Amounts) -> Amounts {
        let beyond = |(d, value): (D, u64)| Some((d, value.saturating_sub(self.remaining(agent, d)?)));
        amounts.iter().filter_map(beyond).collect()
    }

    fn spends(&mut self, agent: usize, amounts: Amounts, over: Amounts) {
        let agent = &mut self.agents[agent];
        (agent.own, agent.over) = (agent.own.plus(&amounts), agent.over.plus(&over));
    }

    fn living(&self, which: Index) -> usize {
        let living: Vec<usize> = (0..self.agents.len()).filter(|at| !self.agents[*at].closed).collect();
        *which.get(&living)
    }

    fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Spawn(parent, caps) => self.spawn(self.living(parent), caps)?,
            Act::Reserve(agent, amounts) => self.reserve(self.living(agent), amounts)?,
            Act::Charge(agent, amounts) => {
                // What comes late is charged too.
                let agent = agent.index(self.agents.len());
                let over = self.beyond(agent, amounts);
                self.ledger.charge(self.agents[agent].id, amounts);
                self.spends(agent, amounts, over);
            }
            Act::ChargeWithin(agent, d, value) => {
                let (agent, amounts) = (self.living(agent), Amounts::of(d, value));
                let fits = self.beyond(agent, amounts) == Amounts::ZERO;
                let charged = self.ledger.charge_within(self.agents[agent].id, d, value);
                prop_assert_eq!(charged.is_ok(), fits, "{:?}", charged);
                if fits {
                    self.spends(agent, amounts, Amounts::ZERO);
                }
            }
            Act::Refund(agent) => {
                let agent = self.living(agent);
                let one = Amounts::of(D::Iterations, 1);
                if self.agents[agent].own.get(D::Iterations) > 0 {
                    prop_assert!(self.ledger.refund_iteration(self.agents[agent].id, u64::MAX));
                    self.agents[agent].own = self.agents[agent].own.minus(&one);
                }
            }
            Act::Resent(agent, amounts) => {
                let agent = self.living(agent);
                self.ledger.resent(self.agents[agent].id, amounts);
                let amounts = amounts.with(D::Iterations, 0);
                let beyond = |(d, value): (D, u64)| Some((d, value.saturating_sub(self.rest(None, d)?)));
                let over: Amounts = amounts.iter().filter_map(beyond).collect();
                (self.lost, self.lost_over) = (self.lost.plus(&amounts), self.lost_over.plus(&over));
            }
            Act::Close(agent) => {
                let agent = self.living(agent);
                let has_children = self
                    .agents
                    .iter()
                    .any(|other| other.parent == Some(agent) && !other.closed);
                if agent > 0 && !has_children && self.open.iter().all(|(of, ..)| *of != agent) {
                    self.ledger.close(self.agents[agent].id);
                    self.agents[agent].closed = true;
                }
            }
            Act::Resume => self.resume(),
            Act::Also(..) | Act::Inside(..) | Act::End(..) if self.open.is_empty() => {}
            Act::Also(which, more) => {
                let at = which.index(self.open.len());
                let agent = self.open[at].0;
                let over = self.beyond(agent, more);
                more.iter().for_each(|(d, value)| self.open[at].1.also(d, value));
                self.open[at].2 = self.open[at].2.plus(&more);
                self.spends(agent, Amounts::ZERO, over);
            }
            Act::Inside(which, amounts) => {
                let at = which.index(self.open.len());
                let (agent, reserved) = (self.open[at].0, self.open[at].2);
                let over = self.beyond(agent, amounts.minus(&reserved));
                self.ledger.charge(self.agents[agent].id, amounts);
                let held = self.open[at].1.held();
                amounts.iter().for_each(|(d, value)| held.spent(d, value));
                self.open[at].2 = reserved.minus(&amounts);
                self.spends(agent, amounts, over);
            }
            Act::End(which, way, amounts) => {
                let (agent, reservation, reserved) = self.open.swap_remove(which.index(self.open.len()));
                self.end((agent, reservation, reserved), way, amounts);
            }
        }
        Ok(())
    }

    /// Refused where a limit has no room, with the first such dimension; what is cut to what is left is not refused.
    fn spawn(&mut self, parent: usize, mut caps: Caps) -> Result<(), TestCaseError> {
        let depth = std::iter::successors(Some(parent), |at| self.agents[*at].parent).count();
        if self.agents.len() == AGENTS || depth == DEPTH {
            return Ok(());
        }
        let above = self.agents[parent].id;
        if let Some(first) = self.beyond(parent, allotment(&caps)).iter().next() {
            let refused = self.ledger.open_child(above, alone(&caps), allotment(&caps));
            prop_assert_eq!(refused.map_err(|e| e.dimension), Err(first.0));
            for (d, cap) in allotment(&caps).iter() {
                caps.set(d, self.remaining(parent, d).map_or(cap, |rest| rest.min(cap)));
            }
        }
        let child = self.ledger.open_child(above, alone(&caps), allotment(&caps));
        self.agents.push(agent(child.expect("it fits"), Some(parent), caps));
        Ok(())
    }

    /// As [`Self::spawn`].
    fn reserve(&mut self, agent: usize, mut amounts: Amounts) -> Result<(), TestCaseError> {
        let id = self.agents[agent].id;
        let beyond = self.beyond(agent, amounts);
        if let Some(first) = beyond.iter().next() {
            let refused = self.ledger.reserve(id, amounts);
            prop_assert_eq!(refused.map(drop).map_err(|e| e.dimension), Err(first.0));
            amounts = amounts.minus(&beyond);
        }
        let reservation = self.ledger.reserve(id, amounts);
        self.open.push((agent, reservation.expect("it fits"), amounts));
        Ok(())
    }

    fn end(&mut self, (agent, reservation, reserved): (usize, Reservation, Amounts), way: Way, amounts: Amounts) {
        let actual = match way {
            Way::Less => reserved.minus(&amounts),
            Way::Exactly | Way::Drop => reserved,
            Way::More => reserved.plus(&amounts),
            Way::Release => Amounts::ZERO,
        };
        // It still stands in the ledger, and no longer here.
        let more = actual.minus(&reserved);
        let over = more.iter().filter_map(|(d, value)| {
            let rest = self.ledger.remaining(self.agents[agent].id, d)?;
            Some((d, value.saturating_sub(rest)))
        });
        let over = over.collect();
        match way {
            Way::Release => reservation.release(),
            Way::Drop => drop(reservation),
            _ => reservation.settle(actual),
        }
        self.spends(agent, actual, over);
    }

    fn resume(&mut self) {
        self.ledger = Ledger::new(self.tree);
        for at in 0..self.agents.len() {
            let parent = self.agents[at].parent.map(|parent| self.agents[parent].id);
            let agent = &mut self.agents[at];
            agent.id = match parent {
                Some(parent) => self
                    .ledger
                    .reopen_child(parent, alone(&agent.caps), allotment(&agent.caps)),
                None => self.ledger.open_root(agent.caps),
            };
            self.ledger.charge(agent.id, agent.own);
            if agent.closed {
                self.ledger.close(agent.id);
            }
        }
        self.ledger.resent(self.agents[0].id, self.lost);
        for (agent, reservation, amounts) in &mut self.open {
            *reservation = self.ledger.reserve_again(self.agents[*agent].id, *amounts);
        }
    }

    /// The ledger has the same numbers.
    fn agrees(&self) -> Result<(), TestCaseError> {
        for (_, reservation, amounts) in &self.open {
            prop_assert_eq!(reservation.amounts(), *amounts);
        }
        for (number, agent) in self.agents.iter().enumerate() {
            prop_assert_eq!(self.ledger.own_spent(agent.id), agent.own);
            for d in D::ALL {
                let (left, mine) = (self.ledger.remaining(agent.id, d), self.remaining(number, d));
                prop_assert_eq!(left, mine, "left of {} for {}", d, number);
            }
        }
        let accounts = self.ledger.lock();
        let agents = (0..self.agents.len()).map(|agent| (Some(agent), &accounts.agents[self.agents[agent].id.0]));
        for (at, account) in agents.chain([(None, &accounts.tree)]) {
            for d in D::ALL {
                prop_assert_eq!(account.spent.get(d), self.spent(at, d), "spent of {} by {:?}", d, at);
                prop_assert_eq!(
                    account.reserved.get(d),
                    self.reserved(at, d),
                    "reserved of {} in {:?}",
                    d,
                    at
                );
                let aside = at.map_or(0, |agent| self.aside(agent, d));
                prop_assert_eq!(account.held.get(d), aside, "set aside of {} for {:?}", d, at);
            }
        }
        Ok(())
    }

    /// No limit is passed but by what was spent or set aside without asking.
    fn keeps_its_limits(&self) -> Result<(), TestCaseError> {
        let agents = (0..self.agents.len()).map(|agent| (Some(agent), &self.agents[agent].caps));
        for (at, caps) in agents.chain([(None, &self.tree)]) {
            for (d, cap) in caps.iter() {
                let lost = if at.is_none() { self.lost.get(d) } else { 0 };
                let used = self.spent(at, d) + self.reserved(at, d) + lost;
                prop_assert!(used <= cap + self.over(at, d), "{d}: {used} of {cap} by {at:?}");
            }
        }
        Ok(())
    }

    /// Of what is shared, nobody has more left than any agent above it, or than was set aside by that for those between. The tree's limit is
    /// above everybody.
    fn none_has_more_than_those_above(&self) -> Result<(), TestCaseError> {
        for agent in (0..self.agents.len()).filter(|at| !self.agents[*at].closed) {
            for d in D::ALL {
                let mine = self.ledger.remaining(self.agents[agent].id, d);
                let mut aside = None;
                for pair in self.enters(agent, d).windows(2) {
                    let (below, above) = (pair[0].expect("an agent"), pair[1]);
                    if self.allotment(below).get(d) > 0 {
                        aside = Some(self.aside(below, d) + self.over(Some(below), d));
                    }
                    let most = aside.or(match above {
                        Some(above) => self.ledger.remaining(self.agents[above].id, d),
                        None => self.rest(None, d),
                    });
                    let Some(most) = most else { continue };
                    let within = mine.is_some_and(|mine| mine <= most);
                    prop_assert!(within, "{d}: {agent} has {mine:?} left, {above:?} {most} for it");
                }
            }
        }
        Ok(())
    }

    fn holds(&self) -> Result<(), TestCaseError> {
        self.agrees()?;
        self.keeps_its_limits()?;
        self.none_has_more_than_those_above()
    }
}

fn agent(id: AccountId, parent: Option<usize>, caps: Caps) -> Agent {
    Agent {
        id,
        parent,
        caps,
        closed: false,
        own: Amounts::ZERO,
        over: Amounts::ZERO,
    }
}

/// What of a child's limits its parent sets aside for it.
fn allotment(caps: &Caps) -> Amounts {
    caps.iter().filter(|(d, _)| !OWN.contains(d)).collect()
}

/// The other limits.
fn alone(caps: &Caps) -> Caps {
    let allotted = allotment(caps);
    caps.iter().filter(|(d, _)| allotted.get(*d) == 0).collect()
}

fn some_of<T: Clone + std::fmt::Debug + 'static>(
    one_in: u32,
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<(D, T)>> {
    let maybe = proptest::option::weighted(1.0 / f64::from(one_in), value);
    proptest::collection::vec(maybe, D::ALL.len()).prop_map(|values| {
        D::ALL
            .into_iter()
            .zip(values)
            .filter_map(|(d, value)| Some((d, value?)))
            .collect()
    })
}

fn any_caps(one_in: u32, values: std::ops::Range<u64>) -> impl Strategy<Value = Caps> {
    some_of(one_in, values).prop_map(|caps| caps.into_iter().collect())
}

fn any_act() -> impl Strategy<Value = Act> {
    let index = || any::<Index>();
    let amounts = || some_of(3, 1..12u64).prop_map(|amounts| amounts.into_iter().collect::<Amounts>());
    let way = select(vec![Way::Less, Way::Exactly, Way::More, Way::Release, Way::Drop]);
    prop_oneof![
        4 => (index(), any_caps(3, 0..25)).prop_map(|(parent, caps)| Act::Spawn(parent, caps)),
        6 => (index(), amounts()).prop_map(|(agent, amounts)| Act::Reserve(agent, amounts)),
        1 => (index(), amounts()).prop_map(|(which, more)| Act::Also(which, more)),
        2 => (index(), amounts()).prop_map(|(which, amounts)| Act::Inside(which, amounts)),
        5 => (index(), way, amounts()).prop_map(|(which, way, amounts)| Act::End(which, way, amounts)),
        1 => (index(), amounts()).prop_map(|(agent, amounts)| Act::Charge(agent, amounts)),
        3 => (index(), select(&D::ALL[..]), 1..12u64).prop_map(|(agent, d, value)| Act::ChargeWithin(agent, d, value)),
        1 => index().prop_map(Act::Refund),
        1 => (index(), amounts()).prop_map(|(agent, amounts)| Act::Resent(agent, amounts)),
        3 => index().prop_map(Act::Close),
        1 => Just(Act::Resume),
    ]
}

proptest! {
    /// Whatever a tree of agents does, in the order in which it does it: each account is the sum of what entered it, no limit is passed
    /// but by what nobody asked for, nobody has more left than those above have or set aside, and in the end nothing stays reserved.
    #[test]
    fn no_descendant_has_more_left_than_its_ancestors(
        tree in any_caps(2, 20..80),
        root in any_caps(2, 20..60),
        acts in proptest::collection::vec(any_act(), 1..60),
    ) {
        let mut world = World::new(tree, root);
        for act in acts {
            world.act(act)?;
            world.holds()?;
        }
        for (agent, reservation, reserved) in std::mem::take(&mut world.open) {
            world.end((agent, reservation, reserved), Way::Drop, Amounts::ZERO);
        }
        for agent in world.agents.iter_mut().skip(1).rev().filter(|agent| !agent.closed) {
            world.ledger.close(agent.id);
            agent.closed = true;
        }
        world.holds()?;
        let accounts = world.ledger.lock();
        for account in accounts.agents.iter().chain([&accounts.tree]) {
            prop_assert_eq!((account.reserved, account.held), (Amounts::ZERO, Amounts::ZERO));
        }
    }
}
