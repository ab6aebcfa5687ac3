//! What instances do with their rights and what they are denied, as the journal keeps it for people: no replay compares it. An instance's uses are
//! gathered by target and written down with whatever it commits next, so that they cost no commit of their own.

mod denials;
mod gathered;
mod lacked;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Lack, Refusal, RefusalKind};
use crate::event::EventKind;
use crate::ids::{Digest, Scope};
use crate::plugin::manifest::Wanted;
use crate::plugin::rights::{Asker, Remedy, remedy, wanted_in_vain, worded};
use crate::plugin::toolbox::Tool;
use crate::scrub::Known;
use crate::session::guest::Guest;
use crate::session::tape::Tape;
use crate::store::{Note, NoteKind, Record, RunRow};

pub use denials::{Denial, Denials};
pub use gathered::Which;
pub(super) use gathered::{Gathered, Missing};
use gathered::{TARGET, shortened};
use lacked::Lacked;

/// What was taken to be committed, and what people are told once it is.
pub(super) type Taken = (Vec<Record>, Vec<EventKind>);

/// How a right is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A model is asked.
    Ask,
    /// A child is spawned.
    Spawn,
    /// Something is looked at: a file, a folder, an entry, lessons.
    Read,
    /// Something is changed, made or removed.
    Write,
    /// A request leaves.
    Send,
    /// The host puts a secret into it.
    Put,
    /// It was not there, and something was denied.
    Denied,
}

impl Way {
    /// As people and programs read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Spawn => "spawn",
            Self::Read => "read",
            Self::Write => "write",
            Self::Send => "send",
            Self::Put => "put",
            Self::Denied => "denied",
        }
    }
}

/// One use of a right.
#[derive(Debug, Clone)]
pub struct Use<'a> {
    /// How.
    pub way: Way,
    /// The right, as `--allow` takes it, or the name of a kind that is had by default.
    pub grant: Cow<'a, str>,
    /// What it is used on.
    pub target: Cow<'a, str>,
    /// What tells of it.
    pub told_by: ToldBy,
}

/// What of the journal tells of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// The audit's own record.
    Audit,
    /// The records of the operation that it is: the audit needs none.
    Operation,
}

/// Where in a stream something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Anywhere in the tool call that the instance serves.
    Call,
    /// In an operation of the instance.
    Operation(u32),
    /// In a call that is no operation: the number of its observation.
    Observation(u64),
}

/// A record of the audit: what one instance did with its rights since its last one. Written as JSON, which a run file shows as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// The plugin, by name.
    pub plugin: String,
    /// Its bytes.
    #[serde(with = "crate::ids::digest_text")]
    pub digest: Digest,
    /// What it did.
    pub entries: Vec<Entry>,
}

/// A target of a right, used in one way so many times, or something that was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How.
    pub way: Way,
    /// The right; of a denial, the one that would allow it, where one would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What it was used on; none for all further targets together, of denials for all that are for lack of one kind of right, which is then the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The operation that it was done in first, where it was done in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<u32>,
    /// The observation of the call that it was done in first, where that is no operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<u64>,
    /// How often, since the last record that has it.
    pub count: u64,
    /// How many of those times it came to an error.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// What was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<Box<DeniedEntry>>,
}

/// Words of a denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedEntry {
    /// What was not done, after "may not", where that is known apart from the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// What the guest was told.
    pub message: String,
    /// What an operator can do about it.
    #[serde(flatten)]
    pub remedy: Remedy,
}

/// The words of denials that are counted and not named.
const FURTHER: &str = "further denials are counted, and the last of them is named (limits.audit.targets)";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Audited {
    /// The body of its record.
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// What a note tells, where it is one of the audit's.
    pub fn read(note: &Note) -> Option<Self> {
        let is_one = note.kind == NoteKind::Audit;
        is_one.then(|| serde_json::from_slice(&note.body).ok()).flatten()
    }

    /// What a note of this run tells people, where it is one of the audit's. Of a run that was imported the advice is left out.
    pub fn told_of(run: &RunRow, note: &Note) -> Option<Self> {
        let audited = Self::read(note)?;
        Some(match run.imported.is_some() {
            true => audited.without_advice(),
            false => audited,
        })
    }

    /// The same without what would allow what was denied: anybody can write a file, and what it advises is not this host's word. Of a right that was
    /// missing its kind is left.
    #[must_use]
    pub fn without_advice(mut self) -> Self {
        for entry in &mut self.entries {
            if entry.way == Way::Denied {
                let kind = Lacked::of(entry.grant.as_deref(), None).kind;
                entry.grant = kind.map(|kind| kind.name().to_owned());
            }
            if let Some(denied) = &mut entry.denied {
                denied.remedy = Remedy::default();
            }
        }
        self
    }

    /// The entries as people are told of them as they happen.
    fn events(self, scope: &Scope) -> Vec<EventKind> {
        let Self {
            plugin,
            digest,
            entries,
        } = self;
        let event = |entry| event(&plugin, digest, scope, entry);
        entries.into_iter().map(event).collect()
    }
}

impl Entry {
    /// The number of the call that it was done in first: an operation's, or that of the tool call that the instance of `scope` serves.
    pub fn call(&self, scope: &Scope) -> Option<String> {
        match self.op {
            Some(op) => Some(scope.op_name(op)),
            None => (!scope.is_root()).then(|| scope.to_string()),
        }
    }
}

/// What is told of the audit's records among these, once they are committed.
pub(super) fn told(records: &[Record]) -> Vec<EventKind> {
    let notes = records.iter().filter_map(|record| match record {
        Record::Note(note) => Some((Audited::read(note)?, &note.stream.scope)),
        _ => None,
    });
    notes.flat_map(|(audited, scope)| audited.events(scope)).collect()
}

fn event(plugin: &str, digest: Digest, scope: &Scope, entry: Entry) -> EventKind {
    let (plugin, call) = (plugin.to_owned(), entry.call(scope));
    if entry.way != Way::Denied {
        return EventKind::Used {
            plugin,
            digest,
            call,
            way: entry.way.name().to_owned(),
            grant: entry.grant.unwrap_or_default(),
            target: entry.target,
            count: entry.count,
            failed: entry.failed,
        };
    }
    let (message, flags) = match entry.denied {
        Some(denied) => (denied.message, denied.remedy.flags),
        None => (FURTHER.to_owned(), Vec::new()),
    };
    EventKind::Denied {
        plugin,
        digest,
        call,
        grant: entry.grant,
        target: entry.target,
        message,
        flags,
        count: entry.count,
    }
}

impl Guest {
    /// Something is about to be done with a right, which no operation tells of. False where the instance has ended and its record is written:
    /// then it must not be done.
    pub fn uses(&self, used: &Use<'_>) -> bool {
        self.tape().gathered.uses(used, At::Call)
    }

    /// That came to an error.
    pub fn failed(&self, used: &Use<'_>) {
        self.tape().gathered.failed(used);
    }

    /// Something was denied to it, in none of its operations: a file, a request.
    pub fn is_denied(&self, refusal: &Refusal) {
        self.note_denial(Some(refusal), At::Call);
    }

    /// What it tells people or whoever called it holds this secret, for which they read something else. `place` is where that is, in words that follow "in".
    pub fn tells_secret(&self, known: Known<'_>, place: &str) {
        let why = known.way();
        let refusal = Refusal::denied(format!(
            "{} may not hand on {known}, which stands in {place}, where {} stands in its place: {why}",
            self.plugin,
            known.placeholder()
        ));
        self.is_denied(&refusal.about(Lack {
            what: format!("hand on {known} in {place}"),
            target: place.to_owned(),
            right: None,
            why: Some(why.to_owned()),
        }));
    }

    /// The same of what it returned, which only now is known.
    pub fn returns(&self, texts: impl IntoIterator<Item = impl AsRef<str>>, place: &str) {
        // What it returned while it was made again was told of before.
        let secrets = &self.session.run.secrets;
        if secrets.is_empty() || self.is_replaying() {
            return;
        }
        if let Some(known) = texts.into_iter().find_map(|text| secrets.replaced_in(text.as_ref())) {
            self.tells_secret(known, place);
        }
    }

    /// The tool says that something was denied to it in a call of `caller`. Where the host denied it nothing, what is told is not its word but what it
    /// wants of a kind of right of which it has nothing.
    pub fn says_denied(&self, caller: &Self) {
        let Some(tool) = self.tool().filter(|_| !self.tape().gathered.has_denials()) else {
            return;
        };
        let Some(manifest) = &tool.plugin.manifest else { return };
        for (kind, denial) in wanted_in_vain(&self.plugin, manifest, &self.rights) {
            let any = Wanted { kind, detail: None };
            let is_root = caller.is_strategy() && caller.session.parent.is_none();
            // A right takes both of them.
            let only = match (tool.rights.whole().covers(&any), caller.rights.covers(&any)) {
                (false, true) => Some(self.plugin.as_str()),
                (true, false) if is_root => Some(caller.plugin.as_str()),
                _ => None,
            };
            self.note_denial_of(&denial, At::Call, only);
        }
    }

    /// The tool that it is.
    fn tool(&self) -> Option<&Arc<Tool>> {
        let mut tools = self.session.run.toolbox.iter();
        tools.find(|tool| tool.plugin.digest == self.digest && !self.is_strategy())
    }

    /// Who it is to whom something is denied.
    fn asker(&self) -> Asker<'_> {
        let plugin = match self.is_strategy() {
            true => self.session.plugin.as_ref(),
            false => self.tool().map(|tool| &tool.plugin),
        };
        Asker {
            rights: &self.rights,
            manifest: plugin.and_then(|plugin| plugin.manifest.as_ref()),
            is_tool: !self.is_strategy(),
            is_child: self.session.parent.is_some(),
            only: None,
            flags: self.session.run.flags.as_ref(),
            taken: &self.session.run.taken,
        }
    }

    /// A refusal as the guest is told of it.
    pub(super) fn worded(&self, refusal: Refusal) -> Refusal {
        if refusal.lack.is_none() {
            return refusal;
        }
        worded(refusal, &self.plugin, self.asker())
    }

    /// Keeps a denial for the person and for the next commit.
    pub(super) fn note_denial(&self, refusal: Option<&Refusal>, at: At) {
        // A tool that others have is not found by who was not given it.
        let is_denial = |refusal: &&Refusal| refusal.kind == RefusalKind::Denied || refusal.lack.is_some();
        if let Some(refusal) = refusal.filter(is_denial) {
            self.note_denial_of(refusal, at, None);
        }
    }

    /// `only` is the plugin that a grant has to name.
    fn note_denial_of(&self, refusal: &Refusal, at: At, only: Option<&str>) {
        let run = &self.session.run;
        let asker = Asker { only, ..self.asker() };
        // A guest chooses how long a method, a path or a key is.
        let clean = |text: &str| {
            let cut = shortened(&run.secrets, text);
            run.secrets.without_secrets(&cut).into_owned()
        };
        let lack = refusal.lack.as_deref().map(|lack| Lack {
            what: clean(&lack.what),
            target: clean(&lack.target),
            // What is cut short allows something else.
            right: lack
                .right
                .as_ref()
                .filter(|right| right.len() <= TARGET)
                .map(|right| clean(right)),
            why: lack.why.as_deref().map(clean),
        });
        let missing = Missing {
            denied: DeniedEntry {
                what: lack.as_ref().map(|lack| lack.what.clone()),
                message: clean(&refusal.message),
                remedy: lack.as_ref().map(|lack| remedy(lack, asker)).unwrap_or_default(),
            },
            target: lack.as_ref().map(|lack| lack.target.clone()),
            right: lack.and_then(|lack| lack.right),
        };
        run.denied(Denial::of(&self.plugin, self.digest, &missing));
        self.tape().gathered.denied(missing, at);
    }

    /// What waits for a commit once `keep` has kept what belongs to it, in one step, with the audit's record of what was done meanwhile; and what people
    /// are told once it is committed.
    pub(super) fn take(&self, which: Which, keep: impl FnOnce(&mut Tape)) -> Taken {
        let (mut records, gathered) = {
            let mut tape = self.tape();
            keep(&mut tape);
            (tape.take_pending(), tape.gathered.take(which))
        };
        if gathered.is_empty() {
            return (records, Vec::new());
        }
        let secrets = &self.session.run.secrets;
        let (mut entries, mut events) = (Vec::new(), Vec::new());
        for (mut entry, told_by) in gathered {
            if let Some(target) = entry.target.as_mut().filter(|_| entry.denied.is_none()) {
                *target = secrets.without_secrets(target).into_owned();
            }
            match told_by {
                ToldBy::Audit => entries.push(entry),
                ToldBy::Operation => events.push(event(&self.plugin, self.digest, &self.stream.scope, entry)),
            }
        }
        if !entries.is_empty() {
            let audited = Audited {
                plugin: self.plugin.clone(),
                digest: self.digest,
                entries,
            };
            let note = Record::Note(self.new_note(NoteKind::Audit, audited.body()));
            // It tells of what has happened: it is written where the session's part of the journal is full too, and whatever follows is not.
            drop(self.count_written(&note));
            events.extend(audited.events(&self.stream.scope));
            records.push(note);
        }
        (records, events)
    }
}
