//! What one instance has done with its rights so far, by right, way and target: each target once, however often it is used, and of one right no
//! more of them than `limits.audit.targets`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{At, DeniedEntry, Entry, ToldBy, Use, Way};
use crate::scrub::Secrets;
use crate::text;

/// Bytes of a target, and of what else a guest has a say in.
pub(super) const TARGET: usize = 1024;

/// What of it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// What was done for the first time: how often it was done again waits for the end.
    New,
    /// All of it.
    All,
    /// All of it, for the last time: what comes later is refused.
    Last,
}

/// A right that was missing.
#[derive(Debug, Clone)]
pub(in crate::session) struct Missing {
    /// The right, where one would have allowed it.
    pub(super) right: Option<String>,
    /// What it would have been used on.
    pub(super) target: Option<String>,
    /// The words.
    pub(super) denied: DeniedEntry,
}

/// What an instance has done so far.
#[derive(Debug)]
pub(in crate::session) struct Gathered {
    /// Targets of one line.
    most: usize,
    secrets: Secrets,
    lines: Vec<Line>,
    /// Something is in it that was never written down.
    is_new: bool,
    is_closed: bool,
}

/// The targets of one right, used in one way; all denials are one line.
#[derive(Debug)]
struct Line {
    way: Way,
    grant: String,
    targets: BTreeMap<String, Seen>,
    /// Those for which there was no room.
    further: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    at: At,
    told_by: ToldBy,
    count: u64,
    failed: u64,
    /// How much of both is written down.
    written: (u64, u64),
    missing: Option<Box<Missing>>,
}

impl Seen {
    fn new(at: At, told_by: ToldBy) -> Self {
        Self {
            at,
            told_by,
            count: 0,
            failed: 0,
            written: (0, 0),
            missing: None,
        }
    }
}

impl Gathered {
    /// Nothing yet, and of each right at most so many targets, none of which is cut within one of these secrets.
    pub(in crate::session) fn new(most: u64, secrets: Secrets) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            secrets,
            lines: Vec::new(),
            is_new: false,
            is_closed: false,
        }
    }

    /// A right is used. False where all was written down for the last time.
    pub(in crate::session) fn uses(&mut self, used: &Use<'_>, at: At) -> bool {
        if self.is_closed {
            return false;
        }
        let new = || Seen::new(at, used.told_by);
        self.change(used.way, &used.grant, &used.target, new, |seen| seen.count += 1);
        true
    }

    /// That came to an error.
    pub(in crate::session) fn failed(&mut self, used: &Use<'_>) {
        let new = || Seen::new(At::Call, used.told_by);
        self.change(used.way, &used.grant, &used.target, new, |seen| seen.failed += 1);
    }

    /// A right was missing.
    pub(in crate::session) fn denied(&mut self, missing: Missing, at: At) {
        let key = missing.denied.what.as_ref().unwrap_or(&missing.denied.message).clone();
        let new = || Seen {
            missing: Some(Box::new(missing)),
            ..Seen::new(at, ToldBy::Audit)
        };
        self.change(Way::Denied, "", &key, new, |seen| seen.count += 1);
    }

    /// Whether any right was missing.
    pub(super) fn has_denials(&self) -> bool {
        self.lines.iter().any(|line| line.way == Way::Denied)
    }

    fn change(
        &mut self,
        way: Way,
        grant: &str,
        target: &str,
        new: impl FnOnce() -> Seen,
        change: impl FnOnce(&mut Seen),
    ) {
        let cut = shortened(&self.secrets, target);
        let place = self
            .lines
            .iter()
            .position(|line| line.way == way && line.grant == grant);
        let place = place.unwrap_or_else(|| {
            self.lines.push(Line {
                way,
                grant: grant.to_owned(),
                targets: BTreeMap::new(),
                further: None,
            });
            self.lines.len() - 1
        });
        let line = &mut self.lines[place];
        if let Some(seen) = line.targets.get_mut(&*cut) {
            return change(seen);
        }
        if line.targets.len() < self.most {
            let mut seen = new();
            change(&mut seen);
            line.targets.insert(cut.into_owned(), seen);
            self.is_new = true;
            return;
        }
        self.is_new |= line.further.is_none();
        let further = line.further.get_or_insert_with(|| Seen {
            // What stands for all of them is nobody's words.
            missing: None,
            ..new()
        });
        change(further);
    }

    /// What is to be written down now, and what tells of it.
    pub(in crate::session) fn take(&mut self, which: Which) -> Vec<(Entry, ToldBy)> {
        if which == Which::New && !std::mem::take(&mut self.is_new) {
            return Vec::new();
        }
        self.is_new = false;
        self.is_closed |= which == Which::Last;
        let mut taken = Vec::new();
        for line in &mut self.lines {
            let named = line
                .targets
                .iter_mut()
                .map(|(target, seen)| (Some(target.as_str()), seen));
            let further = line.further.iter_mut().map(|seen| (None, seen));
            for (target, seen) in named.chain(further) {
                let is_first = seen.written == (0, 0);
                if (is_first || which != Which::New) && seen.written != (seen.count, seen.failed) {
                    let entry = entry(line.way, &line.grant, target, seen);
                    seen.written = (seen.count, seen.failed);
                    // Of what an operation tells, people are told the first time alone.
                    if is_first || seen.told_by == ToldBy::Audit {
                        taken.push((entry, seen.told_by));
                    }
                }
            }
        }
        taken
    }
}

/// A text of [`TARGET`] bytes, and what is missing; a short one as it is. A long one is without secrets, which are looked for before it is cut.
pub(super) fn shortened<'a>(secrets: &Secrets, text: &'a str) -> Cow<'a, str> {
    if text.len() <= TARGET {
        return Cow::Borrowed(text);
    }
    let (kept, missing) = secrets.beginning(text, TARGET);
    text::with_missing(kept, missing)
}

fn entry(way: Way, grant: &str, target: Option<&str>, seen: &Seen) -> Entry {
    let (op, observation) = match seen.at {
        At::Call => (None, None),
        At::Operation(op) => (Some(op), None),
        At::Observation(number) => (None, Some(number)),
    };
    let entry = Entry {
        way,
        grant: Some(grant.to_owned()).filter(|grant| !grant.is_empty()),
        target: target.map(str::to_owned),
        op,
        observation,
        count: seen.count - seen.written.0,
        failed: seen.failed - seen.written.1,
        denied: None,
    };
    match seen.missing.as_deref() {
        Some(missing) => Entry {
            grant: missing.right.clone(),
            target: missing.target.clone(),
            denied: Some(Box::new(missing.denied.clone())),
            ..entry
        },
        None => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::rights::Remedy;
    use crate::scrub::BEHIND;

    fn read(target: &str) -> Use<'_> {
        Use {
            way: Way::Read,
            grant: "fs:/p".into(),
            target: target.into(),
            told_by: ToldBy::Audit,
        }
    }

    fn taken(gathered: &mut Gathered, which: Which) -> Vec<(Option<String>, u64, u64)> {
        let taken = gathered.take(which).into_iter();
        taken
            .map(|(entry, _)| (entry.target, entry.count, entry.failed))
            .collect()
    }

    fn named(target: &str, count: u64, failed: u64) -> (Option<String>, u64, u64) {
        (Some(target.to_owned()), count, failed)
    }

    #[test]
    fn a_target_is_told_when_it_is_new_and_counted_at_the_end() {
        let mut gathered = Gathered::new(10, Secrets::none());
        assert!(taken(&mut gathered, Which::New).is_empty());
        for target in ["/p/a", "/p/a", "/p/b"] {
            assert!(gathered.uses(&read(target), At::Call));
        }
        gathered.failed(&read("/p/b"));
        assert_eq!(
            taken(&mut gathered, Which::New),
            [named("/p/a", 2, 0), named("/p/b", 1, 1)]
        );
        gathered.uses(&read("/p/a"), At::Call);
        assert!(taken(&mut gathered, Which::New).is_empty(), "nothing of it is new");
        gathered.uses(&read("/p/c"), At::Call);
        assert_eq!(taken(&mut gathered, Which::New), [named("/p/c", 1, 0)]);
        assert_eq!(taken(&mut gathered, Which::Last), [named("/p/a", 1, 0)]);
        assert!(
            !gathered.uses(&read("/p/d"), At::Call),
            "nothing is done that is not told"
        );
        assert!(taken(&mut gathered, Which::All).is_empty());
    }

    #[test]
    fn of_each_right_and_way_so_many_are_named_and_the_rest_is_counted() {
        let mut gathered = Gathered::new(2, Secrets::none());
        for target in ["/p/a", "/p/b", "/p/a"] {
            gathered.uses(&read(target), At::Call);
        }
        assert_eq!(
            taken(&mut gathered, Which::New),
            [named("/p/a", 2, 0), named("/p/b", 1, 0)]
        );
        for target in ["/p/c", "/p/d", "/p/c"] {
            gathered.uses(&read(target), At::Call);
        }
        gathered.failed(&read("/p/d"));
        let write = Use {
            way: Way::Write,
            ..read("/p/c")
        };
        gathered.uses(&write, At::Call);
        assert_eq!(
            taken(&mut gathered, Which::New),
            [(None, 3, 1), named("/p/c", 1, 0)],
            "a flood of reads hides no write"
        );
        gathered.uses(&read("/p/e"), At::Call);
        assert_eq!(taken(&mut gathered, Which::All), [(None, 1, 0)]);
    }

    #[test]
    fn what_an_operation_tells_of_is_told_to_people_once() {
        let mut gathered = Gathered::new(2, Secrets::none());
        let ask = Use {
            way: Way::Ask,
            grant: "llm".into(),
            target: "m".into(),
            told_by: ToldBy::Operation,
        };
        gathered.uses(&ask, At::Operation(1));
        let first = gathered.take(Which::New);
        assert_eq!(
            (first.len(), first[0].0.op, first[0].1),
            (1, Some(1), ToldBy::Operation)
        );
        gathered.uses(&ask, At::Operation(2));
        assert!(gathered.take(Which::Last).is_empty());
    }

    #[test]
    fn denials_are_one_line_whatever_they_are_of() {
        let mut gathered = Gathered::new(2, Secrets::none());
        let missing = |n: u32| Missing {
            right: Some(format!("llm:{n}")),
            target: Some(n.to_string()),
            denied: DeniedEntry {
                what: Some(format!("ask the model {n}")),
                message: "no".to_owned(),
                remedy: Remedy::default(),
            },
        };
        for n in [1, 2, 1, 3, 4] {
            gathered.denied(missing(n), At::Operation(n));
        }
        let taken = gathered.take(Which::New);
        let seen: Vec<_> = taken.iter().map(|(e, _)| (e.grant.as_deref(), e.count)).collect();
        assert_eq!(seen, [(Some("llm:1"), 2), (Some("llm:2"), 1), (None, 2)]);
        assert_eq!(taken[0].0.op, Some(1));
        assert!(taken[2].0.denied.is_none() && taken[2].0.way == Way::Denied);
    }

    #[test]
    fn a_guess_at_the_cut_tells_nothing_and_nothing_is_left_of_a_secret() {
        const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
        let secrets = Secrets::new([("x".to_owned(), VALUE.to_owned())]);
        let unicode = |text: &str| text.bytes().map(|byte| format!("\\u00{byte:02x}")).collect::<String>();
        let other = VALUE.replace('K', "L");
        for (right, wrong) in [(VALUE.to_owned(), other.clone()), (unicode(VALUE), unicode(&other))] {
            for begun in (1..right.len()).step_by(right.len() / 31) {
                let before = "y".repeat(TARGET - begun);
                for behind in ["-".to_owned(), "-".repeat(2 * BEHIND)] {
                    let left = |guess: &str| shortened(&secrets, &format!("{before}{guess}{behind}")).into_owned();
                    assert_eq!(
                        left(&right[..begun]).len(),
                        left(&wrong[..begun]).len(),
                        "{begun} {}",
                        behind.len()
                    );
                    let whole = left(&right);
                    let told = whole.trim_start_matches('y').split(['-', '…']).next().expect("a part");
                    assert!("[secret x]".starts_with(told), "{begun}: {told}");
                }
            }
        }
        assert!(secrets.longest() <= BEHIND);
        assert_eq!(shortened(&secrets, &VALUE.repeat(40)), "[secret x]".repeat(40));
        let many = VALUE.repeat(2 * BEHIND / VALUE.len()) + &VALUE[..20];
        let left = shortened(&secrets, &many);
        assert!(!left.contains("Kq7z") && left.contains("…[+"), "{left}");
    }

    #[test]
    fn a_long_target_is_cut() {
        let mut gathered = Gathered::new(2, Secrets::none());
        let long = "x".repeat(TARGET);
        gathered.uses(&read(&long), At::Call);
        gathered.uses(&read(&format!("{long}y")), At::Call);
        let taken = taken(&mut gathered, Which::New);
        let targets: Vec<_> = taken.iter().filter_map(|(target, ..)| target.as_deref()).collect();
        assert_eq!(targets, [long.as_str(), &format!("{long}…[+1]")]);
    }
}
