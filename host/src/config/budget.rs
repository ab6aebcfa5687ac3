//! Budgets as the operator writes them, on the command line, in a variable or in a file: `iterations=20,usd=0.50,
//! wall=5m,child.iterations=10,tree.usd=1`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::budget_key::{BudgetKey, Scope, scoped};
use super::error::DidYouMean;
use crate::error::Dimension;
use crate::limits::{self, Limit, TABLE, Unit};
use crate::text;

/// Limits as the operator gave them; what is absent has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// The root's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub root: Vec<(Dimension, u64)>,
    /// A child's default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub child: Vec<(Dimension, u64)>,
    /// The whole run's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tree: Vec<(Dimension, u64)>,
}

/// One limit of a budget, its value in the dimension's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    /// Whom it binds.
    pub(crate) scope: Scope,
    /// What it limits.
    pub(crate) dimension: Dimension,
    /// How much.
    pub(crate) value: u64,
}

/// A budget that can't be read. No variant shows more of the text than its key or value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// A part without `=`.
    #[error("a budget is KEY=VALUE with commas between, like iterations=20,usd=0.50,wall=5m; `{0}` has no `=`")]
    NoValue(String),
    /// No dimension has this name.
    #[error("a budget has no key `{key}`{}", near_or_all(*nearest))]
    Unknown {
        /// The key as written.
        key: String,
        /// The key that may have been meant.
        nearest: Option<&'static str>,
    },
    /// The same limit twice, also by its two spellings.
    #[error("the budget names `{0}` twice")]
    Twice(String),
    /// The value is no number of the key's kind.
    #[error("`{value}` is no value for the budget's `{key}`: {wanted}")]
    Value {
        /// The key as written.
        key: String,
        /// The value as written.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The value is more than the limit may be that is its default.
    #[error("`{value}` is no value for the budget's `{key}`: {most} is the most, as for limits.{limit}")]
    TooMuch {
        /// The key as written.
        key: String,
        /// The value as written.
        value: String,
        /// The most, with its unit.
        most: String,
        /// The limit's key.
        limit: &'static str,
    },
}

/// The key that may have been meant, or all that there are.
fn near_or_all(nearest: Option<&str>) -> String {
    match nearest {
        Some(_) => DidYouMean(nearest).to_string(),
        None => format!(
            "; its keys are {}, each also as child.KEY and tree.KEY",
            KEYS.join(", ")
        ),
    }
}

/// The human spellings, and all names of the contract.
pub(crate) const KEYS: [&str; 12] = [
    "usd",
    "wall",
    "iterations",
    "tool-calls",
    "tokens",
    "cost-micro-usd",
    "fuel",
    "wall-clock-ms",
    "stored-bytes",
    "journal-bytes",
    "host-calls",
    "children",
];

impl Budget {
    /// Reads `KEY=VALUE,…`. White space around keys and values is ignored, and so is a comma at the end.
    ///
    /// # Errors
    /// An unknown key, a key given twice, or a value that is no such number.
    pub fn parse(text: &str) -> Result<Self, BudgetError> {
        let mut budget = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| BudgetError::NoValue(text::line(part, 60)))?;
            let item = Item::read(key.trim(), value.trim())?;
            if budget.get(item.scope, item.dimension).is_some() {
                return Err(BudgetError::Twice(key.trim().to_owned()));
            }
            budget.set(item);
        }
        Ok(budget)
    }

    /// This budget with the limits that `later` names put over it.
    #[must_use]
    pub fn overlaid(mut self, later: &Self) -> Self {
        later.items().for_each(|item| self.set(item));
        self
    }

    /// Its limits one by one.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> + '_ {
        [Scope::Root, Scope::Child, Scope::Tree].into_iter().flat_map(|scope| {
            self.of(scope).iter().map(move |&(dimension, value)| Item {
                scope,
                dimension,
                value,
            })
        })
    }

    pub(crate) fn get(&self, scope: Scope, dimension: Dimension) -> Option<u64> {
        self.of(scope)
            .iter()
            .find(|(d, _)| *d == dimension)
            .map(|(_, value)| *value)
    }

    pub(crate) fn set(&mut self, item: Item) {
        let list = match item.scope {
            Scope::Root => &mut self.root,
            Scope::Child => &mut self.child,
            Scope::Tree => &mut self.tree,
        };
        list.retain(|(d, _)| *d != item.dimension);
        list.push((item.dimension, item.value));
        list.sort_unstable_by_key(|(d, _)| *d);
    }

    fn of(&self, scope: Scope) -> &[(Dimension, u64)] {
        match scope {
            Scope::Root => &self.root,
            Scope::Child => &self.child,
            Scope::Tree => &self.tree,
        }
    }
}

impl From<Item> for Budget {
    fn from(item: Item) -> Self {
        let mut budget = Self::default();
        budget.set(item);
        budget
    }
}

impl Item {
    /// Reads one limit.
    pub(crate) fn read(key: &str, value: &str) -> Result<Self, BudgetError> {
        let (scope, name) = scoped(key);
        let wrong = |wanted| BudgetError::Value {
            key: key.to_owned(),
            value: text::line(value, 40),
            wanted,
        };
        let (dimension, number) = match name {
            "usd" => (Dimension::CostMicroUsd, micro_usd(value).ok_or_else(|| wrong(USD))?),
            "wall" => (Dimension::WallClockMs, duration_ms(value).ok_or_else(|| wrong(WALL))?),
            name => {
                let dimension = name.parse().map_err(|()| BudgetError::Unknown {
                    key: text::line(key, 60),
                    nearest: text::nearest(name, KEYS),
                })?;
                let (unit, wanted) = match dimension {
                    Dimension::StoredBytes | Dimension::JournalBytes => (Unit::Bytes, BYTES),
                    _ => (Unit::Count, COUNT),
                };
                (dimension, limits::parse(value, unit).map_err(|_| wrong(wanted))?)
            }
        };
        let item = Self {
            scope,
            dimension,
            value: number,
        };
        match item.default_limit().filter(|limit| number > limit.max) {
            Some(limit) => Err(BudgetError::TooMuch {
                key: key.to_owned(),
                value: text::line(value, 40),
                most: limits::show(limit.max, limit.unit),
                limit: limit.key,
            }),
            None => Ok(item),
        }
    }

    /// The limit of the configuration that is its default: it goes no further than that may.
    fn default_limit(&self) -> Option<&'static Limit> {
        let key = match (self.scope, self.dimension) {
            (_, Dimension::WallClockMs) => "run_wall",
            (Scope::Root, Dimension::Iterations) => "iterations.root",
            (Scope::Child, Dimension::Iterations) => "iterations.child",
            _ => return None,
        };
        TABLE.iter().find(|row| row.key == key)
    }

    /// The limit as a flag takes it.
    pub(crate) fn flag(&self) -> String {
        let value = self.to_string().replace(' ', "");
        let value = match self.dimension {
            Dimension::CostMicroUsd => value.trim_end_matches('0').trim_end_matches('.'),
            _ => value.as_str(),
        };
        format!("{}={value}", self.key())
    }

    /// The limit's key below `budget.`, in the spelling for people.
    pub(crate) fn key(&self) -> String {
        let Self { scope, dimension, .. } = *self;
        BudgetKey { scope, dimension }.to_string()
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dimension {
            Dimension::CostMicroUsd => write!(f, "{}.{:06}", self.value / 1_000_000, self.value % 1_000_000),
            Dimension::WallClockMs => f.write_str(&limits::show(self.value, Unit::Millis)),
            _ => write!(f, "{}", self.value),
        }
    }
}

const USD: &str = "it takes US dollars like 0.50, to the millionth";
const WALL: &str = "it takes a duration with its unit, like 90s or 5m";
const COUNT: &str = "it takes a whole number from 0";
const BYTES: &str = "it takes a number of bytes, like 64MiB";

/// Dollars with at most six decimals, exactly, as millionths.
fn micro_usd(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 6 || (whole.is_empty() && decimals.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let micro: u64 = format!("{decimals:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(micro)
}

/// A duration with a unit: a bare number could be taken for seconds or for milliseconds.
fn duration_ms(text: &str) -> Option<u64> {
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    has_unit.then(|| limits::parse(text, Unit::Millis).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_exactly() {
        let budget = Budget::parse("iterations=20, usd=0.50,wall=5m,child.iterations=10,tree.usd=1,").unwrap();
        let root = [
            (Dimension::Iterations, 20),
            (Dimension::CostMicroUsd, 500_000),
            (Dimension::WallClockMs, 300_000),
        ];
        assert_eq!(budget.root, root);
        assert_eq!(budget.child, [(Dimension::Iterations, 10)]);
        assert_eq!(budget.tree, [(Dimension::CostMicroUsd, 1_000_000)]);
        assert_eq!(Budget::parse("").unwrap(), Budget::default());
        let bytes = Budget::parse("journal-bytes=64MiB,tree.stored-bytes=1_000").unwrap();
        assert_eq!(bytes.root, [(Dimension::JournalBytes, 64 << 20)]);
        assert_eq!(bytes.tree, [(Dimension::StoredBytes, 1000)]);
        for (text, micro) in [("0", 0), (".5", 500_000), ("1.", 1_000_000), ("0.000001", 1)] {
            assert_eq!(micro_usd(text), Some(micro), "{text}");
        }
    }

    #[test]
    fn a_limit_is_told_as_it_was_written() {
        for text in [
            "usd=5",
            "usd=0.25",
            "usd=0",
            "tree.usd=10",
            "iterations=100",
            "wall=5min",
        ] {
            let budget = Budget::parse(text).unwrap();
            let flags: Vec<String> = budget.items().map(|item| item.flag()).collect();
            assert_eq!(flags, [text]);
        }
    }

    #[test]
    fn every_name_of_the_contract_is_a_key() {
        for dimension in Dimension::ALL {
            assert!(KEYS.contains(&dimension.name()));
            let budget = Budget::parse(&format!("tree.{dimension}=7")).unwrap();
            assert_eq!(budget.tree, [(dimension, 7)]);
        }
    }

    #[test]
    fn odd_budgets_are_refused() {
        for text in [
            "usd=-1",
            "usd=NaN",
            "usd=inf",
            "usd=0.0000001",
            "usd=",
            "usd=.",
            "usd=1e3",
            "usd=99999999999999999999",
            "wall=5",
            "wall=-5m",
            "wall=5x",
            "wall=m",
            "iterations=1.5",
            "iterations=-1",
            "iterations=",
            "iterations",
            "iterations=1000001",
            "child.iterations=1000001",
            "wall=721h",
            "tree.wall-clock-ms=2592000001",
        ] {
            assert!(Budget::parse(text).is_err(), "{text}");
        }
        let most = "iterations=1000000,child.iterations=1000000,tree.iterations=2000000,wall=720h,tree.wall=720h";
        assert!(Budget::parse(most).is_ok());
        assert_eq!(
            Budget::parse("wall=1000h").unwrap_err().to_string(),
            "`1000h` is no value for the budget's `wall`: 720 h is the most, as for limits.run_wall"
        );
        let unknown = Budget::parse("child.iteratoins=1").unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "a budget has no key `child.iteratoins`; did you mean `iterations`?"
        );
        let strange = Budget::parse("zzzzzzzz=1").unwrap_err().to_string();
        assert!(
            strange.contains("`zzzzzzzz`; its keys are usd, wall, iterations,"),
            "{strange}"
        );
        assert_eq!(
            Budget::parse("usd=1,cost-micro-usd=5"),
            Err(BudgetError::Twice("cost-micro-usd".to_owned()))
        );
    }

    #[test]
    fn later_limits_are_put_over_earlier_ones() {
        let config = Budget::parse("iterations=20,tree.usd=1").unwrap();
        let flags = Budget::parse("iterations=5,usd=2").unwrap();
        assert_eq!(
            config.overlaid(&flags),
            Budget::parse("iterations=5,usd=2,tree.usd=1").unwrap()
        );
    }
}
