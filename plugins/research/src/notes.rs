//! Notes on the blackboard, in the space `notes`; without that space they last as long as the run.

use hermes_sdk::blackboard::Space;
use hermes_sdk::session::{LogLevel, log};
use hermes_sdk::{Error, args};

/// The space, by the name that the strategy knows.
const SPACE: &str = "notes";
/// What one note keeps, in bytes.
const NOTE_BYTES: usize = 8_000;
/// What the plan and all notes take together when they are shown again, in bytes.
pub(crate) const SHOWN_BYTES: usize = 24_000;
/// What keys of notes begin with. A run that shares the space with others may write there alone.
const NOTE: &str = "note/";
/// What the plan's key begins with: others have plans too.
const PLAN: &str = "note/plan-";
/// Notes that the report names.
const ARTIFACTS: usize = 50;

/// What `take_note` takes.
#[args]
#[derive(Debug)]
pub(crate) struct Note {
    /// What to keep, in your own words.
    pub(crate) text: String,
    /// Where it is from, as file:line or a URL.
    pub(crate) source: Option<String>,
}

/// What `make_plan` takes.
#[args]
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to do, in order, one short line each.
    pub(crate) steps: Vec<String>,
}

/// The plan and the notes of this run.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    space: Option<Space>,
    plan: String,
    plan_key: Option<String>,
    texts: Vec<String>,
    keys: Vec<String>,
}

impl Notes {
    /// Opens the space. A run that may not have it goes on without.
    pub(crate) fn open() -> Self {
        let space = Space::open(SPACE);
        if let Err(error) = &space {
            log(LogLevel::Warn, &format!("notes are not kept: {}", error.message));
        }
        Self {
            space: space.ok(),
            ..Self::default()
        }
    }

    /// Whether there is a plan.
    pub(crate) fn has_plan(&self) -> bool {
        !self.plan.is_empty()
    }

    /// Keeps the plan, a new one in place of an old one, and answers what the model is told.
    ///
    /// # Errors
    /// A plan of nothing.
    pub(crate) fn make_plan(&mut self, plan: &Plan) -> Result<String, Error> {
        let steps = plan
            .steps
            .iter()
            .map(|step| step.trim())
            .filter(|step| !step.is_empty());
        let lines: Vec<_> = steps
            .enumerate()
            .map(|(at, step)| format!("{}. {step}", at + 1))
            .collect();
        if lines.is_empty() {
            return Err(Error::invalid_input("a plan needs at least one step in `steps`"));
        }
        Ok(self.plan(&lines.join("\n")))
    }

    /// Keeps a plan in the model's own words.
    pub(crate) fn plan(&mut self, plan: &str) -> String {
        hermes_sdk::text::prefix(plan, NOTE_BYTES).clone_into(&mut self.plan);
        let kept = self.space.as_ref().map(|space| match &self.plan_key {
            Some(key) => space.put_text(key, &self.plan).map(|_| None),
            None => space.append_text(PLAN, &self.plan).map(Some),
        });
        let kept = kept.transpose().map(|kept| {
            let is_kept = kept.is_some();
            if let Some(key) = kept.flatten() {
                self.keys.insert(0, key.clone());
                self.plan_key = Some(key);
            }
            is_kept
        });
        told("planned", kept)
    }

    /// Keeps a note and answers what the model is told.
    pub(crate) fn take(&mut self, note: &Note) -> String {
        let text = match &note.source {
            Some(source) => format!("{} ({source})", note.text.trim()),
            None => note.text.trim().to_owned(),
        };
        let text = hermes_sdk::text::prefix(&text, NOTE_BYTES).to_owned();
        let kept = self
            .space
            .as_ref()
            .map(|space| space.append_text(NOTE, &text))
            .transpose();
        self.texts.push(text);
        let kept = kept.map(|key| {
            let is_kept = key.is_some();
            self.keys.extend(key);
            is_kept
        });
        told("noted", kept)
    }

    /// The plan and all notes as a list, in at most `bytes` bytes, the newest kept where they are too many; empty without any.
    pub(crate) fn shown(&self, bytes: usize) -> String {
        let plan = if self.has_plan() {
            format!("Your plan:\n{}\n", self.plan)
        } else {
            String::new()
        };
        let plan = hermes_sdk::text::prefix(&plan, bytes / 4);
        const HEAD: &str = "Your notes:\n";
        let mut room = bytes.saturating_sub(plan.len() + HEAD.len());
        let mut lines = vec![];
        for text in self.texts.iter().rev() {
            let line = format!("- {text}\n");
            let Some(left) = room.checked_sub(line.len()) else {
                break;
            };
            room = left;
            lines.insert(0, line);
        }
        let head = if lines.is_empty() { "" } else { HEAD };
        format!("{plan}{head}{}", lines.concat()).trim_end().to_owned()
    }

    /// The entries on the blackboard, as a report names them.
    pub(crate) fn artifacts(&self) -> Vec<String> {
        self.keys
            .iter()
            .take(ARTIFACTS)
            .map(|key| format!("{SPACE}/{key}"))
            .collect()
    }
}

/// What the model is told of something that was kept: on the blackboard, for this run where there is none, or not there
/// because of an error.
fn told(done: &str, kept: Result<bool, Error>) -> String {
    match kept {
        Ok(true) => done.into(),
        Ok(false) => format!("{done} for this run"),
        Err(error) => format!("{done} for this run, not on the blackboard: {}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Note {
        Note {
            text: text.into(),
            source: Some("a.md:1".into()),
        }
    }

    #[test]
    fn without_a_space_plan_and_notes_last_for_the_run() {
        let mut notes = Notes::default();
        assert_eq!(notes.shown(SHOWN_BYTES), "");
        assert_eq!(notes.take(&note("first")), "noted for this run");
        notes.take(&note("second"));
        assert_eq!(
            notes.shown(SHOWN_BYTES),
            "Your notes:\n- first (a.md:1)\n- second (a.md:1)"
        );
        let plan = Plan {
            steps: vec!["look".into(), " ".into(), "answer".into()],
        };
        assert_eq!(notes.make_plan(&plan).unwrap(), "planned for this run");
        assert!(
            notes
                .shown(SHOWN_BYTES)
                .starts_with("Your plan:\n1. look\n2. answer\nYour notes:\n- first")
        );
        assert!(notes.artifacts().is_empty());
        assert!(notes.make_plan(&Plan { steps: vec![] }).is_err() && notes.has_plan());
    }

    #[test]
    fn what_is_shown_again_is_bounded_and_keeps_the_newest() {
        let mut notes = Notes::default();
        notes.plan(&"p".repeat(9_000));
        for number in 0..40 {
            notes.take(&note(&format!("{number} {}", "ä".repeat(500))));
        }
        for bytes in [0, 10, 500, 2_000, SHOWN_BYTES] {
            let shown = notes.shown(bytes);
            assert!(shown.len() <= bytes, "{} > {bytes}", shown.len());
            assert_eq!(shown.contains("- 39 "), bytes >= 2_000, "{bytes}");
        }
    }
}
