//! The keys of a budget, and the words that name them where a limit was met. Records of refusals and rows of agents keep no more of such a limit than
//! these words, so that what makes them and what reads them stand here together.

use std::fmt;

use crate::error::Dimension;

/// What stands before keys where words name them.
const FLAG: &str = "--budget ";

/// Whom a limit of a budget binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The root: a bare key.
    Root,
    /// A child whose spec names no such limit: `child.KEY`.
    Child,
    /// The whole run: `tree.KEY`.
    Tree,
}

/// Which limit of a budget. As text it is the limit's key, in the spelling for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetKey {
    /// Whom it binds.
    pub(crate) scope: Scope,
    /// What it limits.
    pub(crate) dimension: Dimension,
}

impl BudgetKey {
    /// Reads a key, in the spelling for people or in the contract's.
    pub(crate) fn read(key: &str) -> Option<Self> {
        let (scope, name) = scoped(key);
        let dimension = match name {
            "usd" => Dimension::CostMicroUsd,
            "wall" => Dimension::WallClockMs,
            name => name.parse().ok()?,
        };
        Some(Self { scope, dimension })
    }

    /// The first limit that words name with the flag that raises it, those of earlier hosts too, which wrote `cost-micro-usd` and `wall-clock-ms`.
    pub(crate) fn named(words: &str) -> Option<Self> {
        let (_, key) = words.split_once(FLAG)?;
        let (key, _) = key.split_once('=')?;
        Self::read(key)
    }

    /// What stands for a value where none is meant.
    pub(crate) const fn any_value(self) -> &'static str {
        match self.dimension {
            Dimension::WallClockMs => "TIME",
            _ => "N",
        }
    }
}

impl fmt::Display for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scope {
            Scope::Root => "",
            Scope::Child => "child.",
            Scope::Tree => "tree.",
        })?;
        f.write_str(match self.dimension {
            Dimension::CostMicroUsd => "usd",
            Dimension::WallClockMs => "wall",
            other => other.name(),
        })
    }
}

/// Whom a key binds, and what is left of it.
pub(super) fn scoped(key: &str) -> (Scope, &str) {
    match key.split_once('.') {
        Some(("child", name)) => (Scope::Child, name),
        Some(("tree", name)) => (Scope::Tree, name),
        _ => (Scope::Root, key),
    }
}

/// The flag that raises these limits of a dimension, in words: `--budget usd=N, tree.usd=N`.
pub(crate) fn raised_with(dimension: Dimension, scopes: &[Scope]) -> String {
    let key = |scope: &Scope| {
        let scope = *scope;
        let key = BudgetKey { scope, dimension };
        format!("{key}={}", key.any_value())
    };
    let keys: Vec<String> = scopes.iter().map(key).collect();
    format!("{FLAG}{}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_words_name_is_read_out_of_them() {
        for (scope, before) in [(Scope::Root, ""), (Scope::Child, "child."), (Scope::Tree, "tree.")] {
            for dimension in Dimension::ALL {
                let key = BudgetKey { scope, dimension };
                assert_eq!(BudgetKey::read(&key.to_string()), Some(key));
                for scopes in [&[scope][..], &[scope, Scope::Tree]] {
                    let words = format!("it was used up ({}).", raised_with(dimension, scopes));
                    assert_eq!(BudgetKey::named(&words), Some(key), "{words}");
                }
                // As earlier hosts wrote it.
                let words = format!("It is raised with --budget {before}{dimension}=N.");
                assert_eq!(BudgetKey::named(&words), Some(key), "{words}");
            }
        }
        let cost = raised_with(Dimension::CostMicroUsd, &[Scope::Root, Scope::Tree]);
        assert_eq!(cost, "--budget usd=N, tree.usd=N");
        let time = raised_with(Dimension::WallClockMs, &[Scope::Root, Scope::Child]);
        assert_eq!(time, "--budget wall=TIME, child.wall=TIME");
    }

    #[test]
    fn words_without_a_key_name_no_limit() {
        for none in [
            "",
            "it trapped",
            "--budget ",
            "--budget usd",
            "--budget a b=N",
            "--budget =N",
            "--budget tree.=N",
            "--budget tree.child.usd=N",
            "--budget USD=N",
        ] {
            assert_eq!(BudgetKey::named(none), None, "{none}");
        }
    }
}
