//! The denials of a run, each kind of them once, for the page that a person reads at its end.

use crate::amounts::sum;
use crate::ids::Digest;
use crate::plugin::rights::Remedy;
use crate::session::audit::{Audited, Entry, Missing, Way};

/// Different denials that the page may name.
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
        let by = |denial: &Self| denial.digest == other.digest && denial.plugin == other.plugin;
        by(self) && self.what == other.what && self.message == other.message && self.remedy == other.remedy
    }
}

/// The denials of a run.
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
        } else if self.met.len() < MOST {
            self.met.push(denial);
        } else {
            self.further = self.further.saturating_add(denial.count);
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

    #[test]
    fn each_denial_is_named_once_and_those_without_room_are_counted() {
        let denial = |n: usize| Denial {
            plugin: "p".to_owned(),
            digest: Digest::of(b"p"),
            what: Some(format!("ask the model {n}")),
            target: Some(n.to_string()),
            grant: Some(format!("llm:{n}")),
            message: "no".to_owned(),
            remedy: Remedy::default(),
            count: 1,
        };
        let mut denials = Denials::default();
        (0..MOST).for_each(|n| denials.add(denial(n)));
        assert_eq!((denials.met.len(), denials.further), (MOST, 0));
        denials.add(denial(0));
        denials.add(denial(MOST));
        denials.add(denial(MOST));
        assert_eq!((denials.met.len(), denials.further), (MOST, 2));
        assert_eq!(denials.met[0].count, 2);
        assert_eq!(denials.count(), MOST as u64 + 3);
    }
}
