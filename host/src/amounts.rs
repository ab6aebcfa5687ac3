//! Amounts of the contract's dimensions, as budgets, reservations, charges and totals hold them.

use serde::{Deserialize, Serialize};

use crate::error::Dimension;

/// One number for each dimension; 0 where nothing was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts([u64; Dimension::ALL.len()]);

impl Amounts {
    /// Nothing of anything.
    pub const ZERO: Self = Self([0; Dimension::ALL.len()]);

    /// `value` of one dimension.
    pub fn of(dimension: Dimension, value: u64) -> Self {
        Self::ZERO.with(dimension, value)
    }

    /// The same with `value` of `dimension`.
    #[must_use]
    pub fn with(mut self, dimension: Dimension, value: u64) -> Self {
        self.0[dimension as usize] = value;
        self
    }

    /// How much of `dimension`.
    pub fn get(&self, dimension: Dimension) -> u64 {
        self.0[dimension as usize]
    }

    /// The sum, each number held at the largest that 64 bits take.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
        self
    }

    /// The difference, each number held at 0.
    #[must_use]
    pub fn minus(mut self, other: &Self) -> Self {
        for (rest, less) in self.0.iter_mut().zip(other.0) {
            *rest = rest.saturating_sub(less);
        }
        self
    }

    /// The dimensions that are not 0, in the contract's order.
    pub fn iter(&self) -> impl Iterator<Item = (Dimension, u64)> + '_ {
        Dimension::ALL
            .into_iter()
            .map(|d| (d, self.get(d)))
            .filter(|(_, value)| *value > 0)
    }
}

impl FromIterator<(Dimension, u64)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (Dimension, u64)>>(pairs: I) -> Self {
        pairs
            .into_iter()
            .fold(Self::ZERO, |sum, (d, v)| sum.plus(&Self::of(d, v)))
    }
}
