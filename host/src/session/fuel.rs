//! What an instance may burn: of its step, and of the budget that it shares with others.

use std::sync::atomic::Ordering;

use crate::amounts::Amounts;
use crate::config::{Scope, raised_with};
use crate::error::Dimension;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::store::Observation;

/// That a budget of fuel ended an instance.
pub fn no_fuel() -> End {
    let dimension = Dimension::Fuel;
    let raised = raised_with(dimension, &[Scope::Root, Scope::Child, Scope::Tree]);
    End::Exhausted {
        dimension,
        message: format!("its budget for fuel is used up ({raised})"),
    }
}

impl Guest {
    /// Charges the fuel burnt since the last time. A tool's is settled with its call, and a replay's was charged when it was burnt.
    pub fn charge_fuel(&self) {
        if self.is_strategy() && !self.is_replaying() {
            let used = self.step.settle_fuel();
            let amount = Amounts::of(Dimension::Fuel, used);
            self.session.run.ledger.charge(self.session.account, amount);
        }
    }

    /// Fuel that this step may still burn: the rest of its limit, or of its budget, the smaller.
    pub fn fuel_rest(&self) -> u64 {
        let rest = self.fuel.saturating_sub(self.step.step_fuel_used());
        self.budget_rest().map_or(rest, |budget| budget.min(rest))
    }

    /// What is left of its budget: of a strategy's, what nobody burnt; of a tool's share, what neither it nor the calls inside it burnt, or
    /// may. None where there is no budget.
    fn budget_rest(&self) -> Option<u64> {
        if !self.fuel_is_budgeted {
            return None;
        }
        if self.is_strategy() {
            let rest = self.session.run.ledger.remaining(self.session.account, Dimension::Fuel);
            // What it burns again was charged when the instance before it burnt it.
            return rest.map(|rest| rest.saturating_add(self.step.to_burn_again()));
        }
        let gone = self.step.fuel_used().saturating_add(self.step.lent());
        self.share.map(|share| share.saturating_sub(gone))
    }

    /// What is left of its budget for calls that it makes. None where there is no budget.
    pub fn fuel_to_share(&self) -> Option<u64> {
        if self.fuel_is_budgeted {
            self.charge_fuel();
        }
        self.budget_rest()
    }

    /// The budget of fuel that this strategy shares with others is used up. Its own part shows by itself, as its store runs out; what others burnt
    /// beside it shows here, each time that its code hands over what it has burnt.
    pub fn out_of_fuel(&self) -> Option<End> {
        if !self.fuel_is_budgeted || !self.is_strategy() || self.is_replaying() {
            return None;
        }
        self.charge_fuel();
        (self.budget_rest() == Some(0)).then(no_fuel)
    }

    /// Brings the store's fuel in line with its budget, of which others burn too. Called before the guest goes on.
    pub fn share_fuel(&self) {
        let replays = self.is_strategy() && self.is_replaying();
        if self.fuel_is_budgeted && !replays {
            self.charge_fuel();
            self.step.give_fuel(self.fuel_rest());
        }
    }

    /// Fuel that was set aside for operation `op`, as the journal has it.
    pub fn fuel_set_aside(&self, op: u32) -> u64 {
        let tape = self.tape();
        tape.recorded(op).map_or(0, |op| op.reserved.get(Dimension::Fuel))
    }

    /// Fuel that the calls made inside operation `op` burnt, as the journal has it.
    pub fn fuel_inside(&self, op: u32) -> u64 {
        self.attempt.recorded_fuel(&self.stream.scope.child(op))
    }

    /// The instance has started: its first step begins, with the fuel of one.
    pub fn begin_step(&self) {
        self.charge_fuel();
        if self.is_replaying() {
            self.replayed_step.store(self.step.fuel_used(), Ordering::Release);
        }
        self.step.begin(self.fuel);
        self.share_fuel();
    }

    /// A model's reply ends a strategy's step; a tool call is one step whatever it asks for.
    pub(super) fn new_step(&self, recorded_fuel: Option<u64>) {
        if !self.is_strategy() {
            return;
        }
        if let Some(used) = recorded_fuel {
            self.replayed_step.store(used, Ordering::Release);
            self.step.begin(self.fuel);
            return;
        }
        self.charge_fuel();
        self.step.begin(self.fuel);
        self.step.give_fuel(self.fuel_rest());
    }

    /// The last thing to replay was replayed: from here on meters count on from what the record says.
    pub(super) fn goes_live(&self, last: &Observation) {
        if self.is_strategy() {
            self.session.wakes();
        }
        // Whatever call ended the replay, the code that made it reads its fuel anew.
        self.step.calls();
        let before_step = self.replayed_step.load(Ordering::Acquire);
        let in_step = last.fuel.saturating_sub(before_step);
        self.step
            .recorded_fuel(last.fuel, before_step, self.fuel.saturating_sub(in_step));
        self.charge_fuel();
        self.step.give_fuel(self.fuel_rest());
    }
}
