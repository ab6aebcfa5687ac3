//! Amounts of the contract's dimensions, as budgets, reservations, charges and totals hold them.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Dimension;

/// One number for each dimension; 0 where nothing was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

    /// The larger of both, in each dimension.
    #[must_use]
    pub fn max(mut self, other: &Self) -> Self {
        for (most, more) in self.0.iter_mut().zip(other.0) {
            *most = (*most).max(more);
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

/// What the journal keeps: the numbers alone, in the contract's order.
type Numbers = [u64; Dimension::ALL.len()];

impl Serialize for Amounts {
    /// For people and programs an object by name; for the journal the numbers alone.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_map(self.iter().map(|(d, value)| (d.name(), value)))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Numbers::deserialize(deserializer).map(Self);
        }
        let named = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let amount = |(name, value): (String, u64)| {
            let dimension = name
                .parse()
                .map_err(|()| D::Error::custom(format!("{name} is no dimension")))?;
            Ok((dimension, value))
        };
        named.into_iter().map(amount).collect()
    }
}

/// The sum of counts, held at the largest that 64 bits take: those of a run that came out of a file are whatever its writer liked.
pub fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_names_and_the_journal_keeps_numbers() {
        let amounts = Amounts::of(Dimension::Iterations, 3).with(Dimension::Tokens, 70);
        let json = serde_json::to_string(&amounts).expect("JSON");
        assert_eq!(json, r#"{"iterations":3,"tokens":70}"#);
        assert_eq!(serde_json::from_str::<Amounts>(&json).expect("read"), amounts);
        let bytes = postcard::to_stdvec(&amounts).expect("bytes");
        assert_eq!(bytes.len(), 10);
        assert_eq!(postcard::from_bytes::<Amounts>(&bytes).expect("read"), amounts);
    }

    #[test]
    fn sums_and_differences_stay_in_range() {
        let most = Amounts::of(Dimension::Fuel, u64::MAX);
        assert_eq!(most.plus(&Amounts::of(Dimension::Fuel, 1)), most);
        assert_eq!(Amounts::ZERO.minus(&most), Amounts::ZERO);
        assert_eq!((sum([]), sum([1, 2]), sum([u64::MAX, 1])), (0, 3, u64::MAX));
    }
}
