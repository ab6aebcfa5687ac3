//! Notes on the blackboard, in the space `notes`; without that space they last as long as the run.

use hermes_sdk::blackboard::Space;
use hermes_sdk::session::{LogLevel, log};
use hermes_sdk::{Error, args};

/// The space, by the name that the strategy knows.
const SPACE: &str = "notes";
/// What one note keeps, in bytes.
const NOTE_BYTES: usize = 8_000;
/// What all notes take together when they are shown again, in bytes.
const SHOWN_BYTES: usize = 24_000;
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

/// The notes of this run.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    space: Option<Space>,
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

    /// Keeps the plan.
    pub(crate) fn plan(&mut self, plan: &str) {
        if let Some(space) = &self.space
            && space
                .put_text("plan", hermes_sdk::text::prefix(plan, NOTE_BYTES))
                .is_ok()
        {
            self.keys.insert(0, "plan".into());
        }
    }

    /// Keeps a note and answers what the model is told.
    pub(crate) fn take(&mut self, note: &Note) -> Result<String, Error> {
        let text = match &note.source {
            Some(source) => format!("{} ({source})", note.text.trim()),
            None => note.text.trim().to_owned(),
        };
        let text = hermes_sdk::text::prefix(&text, NOTE_BYTES).to_owned();
        let kept = self
            .space
            .as_ref()
            .map(|space| space.append_text("note/", &text))
            .transpose();
        self.texts.push(text);
        match kept {
            Ok(Some(key)) => {
                self.keys.push(key);
                Ok("noted".into())
            }
            Ok(None) => Ok("noted for this run".into()),
            Err(error) => Ok(format!("noted for this run, not on the blackboard: {}", error.message)),
        }
    }

    /// All notes as a list, the newest kept where they are too many; empty without any.
    pub(crate) fn shown(&self) -> String {
        let (mut lines, mut bytes) = (vec![], 0);
        for text in self.texts.iter().rev() {
            bytes += text.len() + 3;
            if bytes > SHOWN_BYTES {
                break;
            }
            lines.push(format!("- {text}"));
        }
        lines.reverse();
        lines.join("\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_space_notes_last_for_the_run() {
        let mut notes = Notes::default();
        let note = |text: &str| Note {
            text: text.into(),
            source: Some("a.md:1".into()),
        };
        notes.take(&note("first")).unwrap();
        notes.take(&note("second")).unwrap();
        assert_eq!(notes.shown(), "- first (a.md:1)\n- second (a.md:1)");
        for _ in 0..20 {
            notes.take(&note(&"ä".repeat(9_000))).unwrap();
        }
        assert!(notes.shown().len() <= SHOWN_BYTES && notes.artifacts().is_empty());
    }
}
