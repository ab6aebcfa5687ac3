//! `budget`: what a session may still use and what it used. Read-only.

use serde::Serialize;

use crate::bindings::{budget, types};
use crate::error::Dimension;
use crate::interfaces::State;
use crate::session::call::{Call, Look, Missed};
use crate::session::guest::Guest;

#[derive(Serialize)]
struct Remaining(Dimension);

impl Call for Remaining {
    const NAME: &'static str = "budget.remaining";
}

impl Look for Remaining {
    type Answer = Option<u64>;

    async fn look(&self, guest: &Guest) -> Result<Option<u64>, Missed> {
        settle(guest);
        Ok(guest.session.run.ledger.remaining(guest.session.account, self.0))
    }
}

#[derive(Serialize)]
struct Spent(Dimension);

impl Call for Spent {
    const NAME: &'static str = "budget.spent";
}

impl Look for Spent {
    type Answer = u64;

    async fn look(&self, guest: &Guest) -> Result<u64, Missed> {
        settle(guest);
        Ok(guest.session.run.ledger.spent(guest.session.account).get(self.0))
    }
}

/// Brings the dimensions up to date that are charged as they are used.
fn settle(guest: &Guest) {
    guest.charge_fuel();
    guest.session.charge_wall();
}

impl budget::Host for State {
    async fn remaining(&mut self, dimension: types::Dimension) -> wasmtime::Result<Option<u64>> {
        Ok(self.guest.look(&Remaining(dimension.into())).await?.unwrap_or(None))
    }

    async fn spent(&mut self, dimension: types::Dimension) -> wasmtime::Result<u64> {
        Ok(self.guest.look(&Spent(dimension.into())).await?.unwrap_or(0))
    }
}
