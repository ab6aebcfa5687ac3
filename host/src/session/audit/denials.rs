//! The denials of a run, each kind of them once, for the page that a person reads at its end.

use std::collections::BTreeSet;

use crate::amounts::sum;
use crate::ids::Digest;
use crate::plugin::rights::Remedy;
use crate::session::audit::lacked::{Lacked, REASONS};
use crate::session::audit::{Audited, Entry, Missing, Way};

/// Denials of one plugin for lack of the same that are kept.
const MOST: usize = 32;

/// Something that a plugin was denied, so many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The plugin, by name.
    pub plugin: String,
    /// Its bytes.
    pub digest: Digest,
    /// What was not done, after "may not", where that is known apart from the message.
    pub what: Option<String>,
    /// What it would have been done with.
    pub target: Option<String>,
    /// The right that would allow it, where one would.
    pub grant: Option<String>,
    /// What the plugin was told.
    pub message: String,
    /// What an operator can do about it.
    pub remedy: Remedy,
    /// How often.
    pub count: u64,
}

impl Denial {
    pub(super) fn of(plugin: &str, digest: Digest, missing: &Missing) -> Self {
        let Missing { right, target, denied } = missing.clone();
        Self {
            plugin: plugin.to_owned(),
            digest,
            what: denied.what,
            target,
            grant: right,
            message: denied.message,
            remedy: denied.remedy,
            count: 1,
        }
    }

    /// Whether it says the same, however often.
    fn says(&self, other: &Self) -> bool {
        let is_same = self.what == other.what && self.message == other.message && self.remedy == other.remedy;
        is_same && self.is_like(other)
    }

    /// Whether it is one of the same plugin.
    fn is_of(&self, other: &Self) -> bool {
        self.digest == other.digest && self.plugin == other.plugin
    }

    /// Whether the same plugin lacked the same kind of right, or was refused for the same reason.
    pub fn is_like(&self, other: &Self) -> bool {
        self.lacked() == other.lacked() && self.is_of(other)
    }

    fn lacked(&self) -> Lacked<'_> {
        Lacked::of(self.grant.as_deref(), self.remedy.words.as_deref())
    }
}

/// The denials of a run: of each of its plugins so many for each kind of right, and for each of so many reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denials {
    /// Those that differ, in the order in which they were first met.
    pub met: Vec<Denial>,
    /// How often something else was denied, for which there was no room.
    pub further: u64,
}

impl Denials {
    /// One more.
    pub fn add(&mut self, denial: Denial) {
        if let Some(met) = self.met.iter_mut().find(|met| met.says(&denial)) {
            met.count = met.count.saturating_add(denial.count);
        } else if self.has_room(&denial) {
            self.met.push(denial);
        } else {
            self.further = self.further.saturating_add(denial.count);
        }
    }

    /// Whether one that differs from all others is kept. What one plugin was denied takes no room from another, nor one kind of right from another.
    fn has_room(&self, denial: &Denial) -> bool {
        let lacked = denial.lacked();
        let by_same = || self.met.iter().filter(|met| met.is_of(denial)).map(Denial::lacked);
        match by_same().filter(|met| *met == lacked).count() {
            0 => {
                let reasons: BTreeSet<&str> = by_same().map(|met| met.why).filter(|why| !why.is_empty()).collect();
                lacked.is_one_of_few() || reasons.len() < REASONS
            }
            n => n < MOST,
        }
    }

    /// Those that a record of the audit tells of.
    pub fn add_recorded(&mut self, audited: Audited) {
        let Audited {
            plugin,
            digest,
            entries,
        } = audited;
        for entry in entries.into_iter().filter(|entry| entry.way == Way::Denied) {
            let Entry {
                grant,
                target,
                count,
                denied,
                ..
            } = entry;
            match denied {
                Some(denied) => self.add(Denial {
                    plugin: plugin.clone(),
                    digest,
                    what: denied.what,
                    target,
                    grant,
                    message: denied.message,
                    remedy: denied.remedy,
                    count,
                }),
                None => self.further = self.further.saturating_add(count),
            }
        }
    }

    /// How often something was denied.
    pub fn count(&self) -> u64 {
        sum(self.met.iter().map(|denial| denial.count).chain([self.further]))
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.met.is_empty() && self.further == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(plugin: &str, right: &str, n: usize) -> Denial {
        Denial {
            plugin: plugin.to_owned(),
            digest: Digest::of(b"p"),
            what: Some(format!("do {n}")),
            target: Some(n.to_string()),
            grant: Some(format!("{right}:{n}")),
            message: "no".to_owned(),
            remedy: Remedy::default(),
            count: 1,
        }
    }

    #[test]
    fn each_denial_is_named_once_and_those_without_room_are_counted() {
        let mut denials = Denials::default();
        (0..MOST).for_each(|n| denials.add(denial("p", "llm", n)));
        assert_eq!((denials.met.len(), denials.further), (MOST, 0));
        denials.add(denial("p", "llm", 0));
        denials.add(denial("p", "llm", MOST));
        denials.add(denial("p", "llm", MOST));
        assert_eq!((denials.met.len(), denials.further), (MOST, 2));
        assert_eq!(denials.met[0].count, 2);
        assert_eq!(denials.count(), MOST as u64 + 3);
    }

    #[test]
    fn a_flood_takes_no_room_from_another_plugin_or_kind_of_right() {
        let mut denials = Denials::default();
        (0..2 * MOST).for_each(|n| denials.add(denial("p", "llm", n)));
        denials.add(denial("p", "net", 0));
        denials.add(denial("q", "llm", 0));
        assert_eq!((denials.met.len(), denials.further), (MOST + 2, MOST as u64));
        let reason = |n: usize| Denial {
            grant: None,
            remedy: Remedy {
                flags: Vec::new(),
                words: Some(format!("reason {n}")),
            },
            ..denial("p", "", n)
        };
        (0..=REASONS).for_each(|n| denials.add(reason(n)));
        assert_eq!(denials.met.len(), MOST + 2 + REASONS, "reasons are bounded");
        denials.add(denial("p", "fs", 0));
        assert_eq!(denials.met.len(), MOST + 3 + REASONS, "kinds of rights are few");
    }
}
