//! What one instance has done with its rights so far, by right, way and target, and what it was denied, by what was missing: each target once, however
//! often it is used, of one right no more of them than `limits.audit.targets`, and of those for which there was no room the last one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::lacked::{Lacked, REASONS};
use super::{At, DeniedEntry, Entry, ToldBy, Use, Way};
use crate::plugin::grant::Kind;
use crate::scrub::{BEHIND, Secrets};
use crate::text;

/// Bytes of a target, and of what else a guest has a say in.
pub(super) const TARGET: usize = 1024;
/// How many of them are of its end, where it is cut: a guest would hide that behind a long beginning.
const END: usize = TARGET / 4;

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

/// What a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Of<'a> {
    way: Way,
    /// The right; of denials the kind of it.
    grant: &'a str,
    /// Of denials that no right would have lifted, why.
    why: &'a str,
}

impl<'a> Of<'a> {
    fn used(used: &'a Use<'_>) -> Self {
        Self {
            way: used.way,
            grant: &used.grant,
            why: "",
        }
    }

    fn denied(lacked: Lacked<'a>) -> Self {
        Self {
            way: Way::Denied,
            grant: lacked.kind.map(Kind::name).unwrap_or_default(),
            why: lacked.why,
        }
    }
}

/// The targets of one right, used in one way, or of denials for lack of the same.
#[derive(Debug)]
struct Line {
    way: Way,
    grant: String,
    why: String,
    targets: BTreeMap<String, Seen>,
    /// Those for which there was no room.
    beyond: Option<Beyond>,
}

impl Line {
    fn of(&self) -> Of<'_> {
        Of {
            way: self.way,
            grant: &self.grant,
            why: &self.why,
        }
    }

    /// How often a target that has a name was met.
    fn named(&mut self, target: &str) -> Option<&mut Seen> {
        let last = self.beyond.as_mut().filter(|beyond| beyond.target == target);
        self.targets.get_mut(target).or(last.map(|beyond| &mut beyond.last))
    }
}

/// Targets for which there was no room: how often all of them were met, and which was the last.
#[derive(Debug)]
struct Beyond {
    target: String,
    last: Seen,
    others: Option<Seen>,
    /// The last one was written down once.
    was_written: bool,
}

impl Beyond {
    /// Another one is the last.
    fn then(self, target: String, last: Seen) -> Self {
        let before = self.last;
        let mut others = self.others.unwrap_or_else(|| Seen::new(before.at, before.told_by));
        others.count += before.count - before.written.0;
        others.failed += before.failed - before.written.1;
        Self {
            target,
            last,
            others: Some(others),
            ..self
        }
    }
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
        self.meets(Of::used(used), &used.target, || Seen::new(at, used.told_by));
        true
    }

    /// That came to an error.
    pub(in crate::session) fn failed(&mut self, used: &Use<'_>) {
        let target = shortened(&self.secrets, &used.target);
        let mut lines = self.lines.iter_mut();
        let Some(line) = lines.find(|line| line.of() == Of::used(used)) else {
            return;
        };
        if let Some(seen) = line.named(&target) {
            seen.failed += 1;
        } else if let Some(others) = line.beyond.as_mut().and_then(|beyond| beyond.others.as_mut()) {
            // Others came since.
            others.failed += 1;
        }
    }

    /// A right was missing.
    pub(in crate::session) fn denied(&mut self, missing: Missing, at: At) {
        let what = missing.denied.what.as_ref().unwrap_or(&missing.denied.message).clone();
        let why = missing.denied.remedy.words.clone();
        let lacked = self.told_apart(Lacked::of(missing.right.as_deref(), why.as_deref()));
        self.meets(Of::denied(lacked), &what, || Seen {
            missing: Some(Box::new(missing)),
            ..Seen::new(at, ToldBy::Audit)
        });
    }

    /// What stands for this, as one instance tells only so many reasons apart.
    fn told_apart<'a>(&self, lacked: Lacked<'a>) -> Lacked<'a> {
        let of = Of::denied(lacked);
        let is_there = lacked.is_one_of_few() || self.lines.iter().any(|line| line.of() == of);
        let reasons = self.lines.iter().filter(|line| !line.why.is_empty());
        match is_there || reasons.count() < REASONS {
            true => lacked,
            false => Lacked::OTHER,
        }
    }

    /// Whether any right was missing.
    pub(super) fn has_denials(&self) -> bool {
        self.lines.iter().any(|line| line.way == Way::Denied)
    }

    fn meets(&mut self, of: Of<'_>, target: &str, new: impl FnOnce() -> Seen) {
        let target = shortened(&self.secrets, target);
        let place = self.lines.iter().position(|line| line.of() == of);
        let place = place.unwrap_or_else(|| {
            self.lines.push(Line {
                way: of.way,
                grant: of.grant.to_owned(),
                why: of.why.to_owned(),
                targets: BTreeMap::new(),
                beyond: None,
            });
            self.lines.len() - 1
        });
        let line = &mut self.lines[place];
        if let Some(seen) = line.named(&target) {
            seen.count += 1;
            return;
        }
        let (target, first) = (target.into_owned(), Seen { count: 1, ..new() });
        if line.targets.len() < self.most {
            line.targets.insert(target, first);
            self.is_new = true;
            return;
        }
        self.is_new |= line.beyond.is_none();
        line.beyond = Some(match line.beyond.take() {
            Some(beyond) => beyond.then(target, first),
            None => Beyond {
                target,
                last: first,
                others: None,
                was_written: false,
            },
        });
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
            let (mut others, mut last) = (None, None);
            if let Some(beyond) = &mut line.beyond {
                others = beyond.others.as_mut().map(|others| (None, others));
                // The last one changes each time: it is written once before the end, and there.
                let is_due = which != Which::New || !beyond.was_written;
                last = is_due.then_some((Some(beyond.target.as_str()), &mut beyond.last));
                beyond.was_written = true;
            }
            for (target, seen) in named.chain(others).chain(last) {
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

/// A text of [`TARGET`] bytes, of its beginning and its end, and what is missing between; a short one as it is. A long one is without secrets, which are
/// looked for before it is cut. Of one that is longer than any path and any address, so that it is not looked at whole, the beginning alone.
pub(super) fn shortened<'a>(secrets: &Secrets, text: &'a str) -> Cow<'a, str> {
    if text.len() <= TARGET {
        return Cow::Borrowed(text);
    }
    if text.len() > TARGET + BEHIND {
        let (kept, missing) = secrets.beginning(text, TARGET);
        return text::with_missing(kept, missing);
    }
    let clean = secrets.without_secrets(text);
    if clean.len() <= TARGET {
        return clean;
    }
    let beginning = text::prefix(&clean, TARGET - END);
    let end = &clean[clean.ceil_char_boundary(clean.len() - END)..];
    let missing = clean.len() - beginning.len() - end.len();
    Cow::Owned(format!(
        "{}{end}",
        text::with_missing(Cow::Borrowed(beginning), missing)
    ))
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
    fn of_each_right_and_way_so_many_and_the_last_are_named_and_the_rest_is_counted() {
        let mut gathered = Gathered::new(2, Secrets::none());
        for target in ["/p/a", "/p/b", "/p/a"] {
            gathered.uses(&read(target), At::Call);
        }
        assert_eq!(
            taken(&mut gathered, Which::New),
            [named("/p/a", 2, 0), named("/p/b", 1, 0)]
        );
        for target in ["/p/c", "/p/d", "/p/c", "/p/e", "/p/e"] {
            gathered.uses(&read(target), At::Call);
        }
        gathered.failed(&read("/p/d"));
        gathered.failed(&read("/p/e"));
        let write = Use {
            way: Way::Write,
            ..read("/p/c")
        };
        gathered.uses(&write, At::Call);
        assert_eq!(
            taken(&mut gathered, Which::New),
            [(None, 3, 1), named("/p/e", 2, 1), named("/p/c", 1, 0)],
            "a flood of reads hides no write"
        );
        for target in ["/p/e", "/p/f", "/p/g"] {
            gathered.uses(&read(target), At::Call);
        }
        assert!(taken(&mut gathered, Which::New).is_empty(), "nothing of it is new");
        let write = Use {
            target: "/p/d".into(),
            ..write
        };
        gathered.uses(&write, At::Call);
        assert_eq!(
            taken(&mut gathered, Which::New),
            [named("/p/d", 1, 0)],
            "which was the last is written at the end"
        );
        assert_eq!(taken(&mut gathered, Which::All), [(None, 2, 0), named("/p/g", 1, 0)]);
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

    fn missing(right: Option<&str>, why: Option<&str>, n: usize) -> Missing {
        Missing {
            right: right.map(str::to_owned),
            target: Some(n.to_string()),
            denied: DeniedEntry {
                what: Some(format!("do {n}")),
                message: "no".to_owned(),
                remedy: Remedy {
                    flags: Vec::new(),
                    words: why.map(str::to_owned),
                },
            },
        }
    }

    #[test]
    fn denials_are_apart_by_what_was_missing() {
        let mut gathered = Gathered::new(2, Secrets::none());
        for n in [1, 2, 1, 3, 4, 5] {
            let right = format!("llm:{n}");
            gathered.denied(missing(Some(&right), None, n), At::Operation(1));
        }
        gathered.denied(missing(Some("net:GET@x.org"), Some("beside it"), 6), At::Call);
        gathered.denied(missing(Some("net:GET@y.org"), None, 7), At::Call);
        gathered.denied(missing(None, Some("it leads out"), 8), At::Call);
        let taken = gathered.take(Which::New);
        let seen: Vec<_> = taken
            .iter()
            .map(|(e, _)| (e.grant.as_deref(), e.target.as_deref(), e.count))
            .collect();
        assert_eq!(
            seen,
            [
                (Some("llm:1"), Some("1"), 2),
                (Some("llm:2"), Some("2"), 1),
                (Some("llm"), None, 2),
                (Some("llm:5"), Some("5"), 1),
                (Some("net:GET@x.org"), Some("6"), 1),
                (Some("net:GET@y.org"), Some("7"), 1),
                (None, Some("8"), 1),
            ]
        );
        assert_eq!(taken[0].0.op, Some(1));
        assert!(taken[2].0.denied.is_none() && taken[2].0.way == Way::Denied);
        assert!(taken[3].0.denied.is_some());
    }

    #[test]
    fn so_many_reasons_are_apart_and_every_kind_of_right() {
        let mut gathered = Gathered::new(1, Secrets::none());
        for n in 0..3 * REASONS {
            gathered.denied(missing(None, Some(&format!("reason {n}")), n), At::Call);
        }
        assert_eq!(gathered.lines.len(), REASONS + 1, "one for all other reasons");
        for kind in [
            "fs",
            "net",
            "blackboard",
            "llm",
            "secret",
            "terminal",
            "delegation",
            "lessons",
            "none",
        ] {
            gathered.denied(missing(Some(&format!("{kind}:x")), None, 1), At::Call);
        }
        assert_eq!(
            gathered.lines.len(),
            REASONS + 1 + 8,
            "what is no kind is one of the others"
        );
        let total: u64 = gathered.take(Which::Last).iter().map(|(entry, _)| entry.count).sum();
        assert_eq!(total, 3 * REASONS as u64 + 9);
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
    fn the_end_of_a_long_target_is_kept_and_nothing_of_a_secret_at_either_cut() {
        const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
        let secrets = Secrets::new([("x".to_owned(), VALUE.to_owned())]);
        for begun in 1..VALUE.len() {
            let (before, after) = ("y".repeat(TARGET - END - begun), "z".repeat(END - begun));
            let between = "-".repeat(2 * TARGET);
            let left = shortened(&secrets, &format!("{before}{VALUE}{between}{VALUE}{after}")).into_owned();
            assert!(
                left.starts_with(&before) && left.ends_with(&after) && left.contains("…[+"),
                "{left}"
            );
            let mut parts = (0..=VALUE.len() - 4).map(|at| &VALUE[at..at + 4]);
            assert!(!parts.any(|part| left.contains(part)), "{begun}: {left}");
            let guess = |guess: &str| shortened(&secrets, &format!("{before}{guess}{between}{guess}{after}")).len();
            assert_eq!(
                guess(&VALUE[..begun]),
                guess(&VALUE.replace('K', "L")[..begun]),
                "{begun}"
            );
        }
        let long = |bytes: usize| format!("{}end", "x".repeat(bytes - 3));
        assert!(shortened(&secrets, &long(TARGET + BEHIND)).ends_with("end"));
        assert!(shortened(&secrets, &long(TARGET + BEHIND + 1)).ends_with(&format!("…[+{}]", BEHIND + 1)));
        let wide = shortened(&secrets, &"é".repeat(TARGET)).into_owned();
        assert_eq!(
            wide,
            format!("{}…[+{TARGET}]{}", "é".repeat((TARGET - END) / 2), "é".repeat(END / 2))
        );
    }

    #[test]
    fn a_long_target_is_cut() {
        let mut gathered = Gathered::new(2, Secrets::none());
        let long = "x".repeat(TARGET);
        gathered.uses(&read(&long), At::Call);
        gathered.uses(&read(&format!("{long}y")), At::Call);
        let taken = taken(&mut gathered, Which::New);
        let targets: Vec<_> = taken.iter().filter_map(|(target, ..)| target.as_deref()).collect();
        let (beginning, end) = (&long[..TARGET - END], &long[..END - 1]);
        assert_eq!(targets, [long.as_str(), &format!("{beginning}…[+1]{end}y")]);
    }
}
