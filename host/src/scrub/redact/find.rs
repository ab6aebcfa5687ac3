//! Everything in one window that counts, in the order of the text: placeholders, secrets and keys.

use std::ops::Range;

use super::Rules;
use super::label::Kind;
use super::pem::Block;
use super::run::{Class, Runs};
use super::shape::{self, Found, Tail};
use crate::scrub::reading::Reading;
use crate::scrub::secret::View;

/// A part of the text, and what is known about it. Offsets are in bytes from its beginning.
pub(super) struct Window<'a> {
    /// Some text that is done with, for what looks back; then text to decide about; then text to look ahead at.
    pub(super) text: &'a str,
    /// Where what begins is decided now.
    pub(super) decided: Range<usize>,
    /// Nothing comes after `text`.
    pub(super) at_end: bool,
    /// The last private key that began earlier ends here, as far as is known.
    pub(super) block: usize,
}

/// Something that stands in the text, with offsets as in its window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) start: usize,
    pub(super) end: usize,
    /// It counts only if nothing was redacted from here to `start`.
    pub(super) anchor: usize,
    /// It counts only just after something redacted.
    pub(super) glued: bool,
    pub(super) what: What,
    pub(super) goes_on: GoesOn,
}

/// What an event is. Of two at one place, the lesser gives its name to the redaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Atom,
    Secret(u32),
    Key(Kind),
}

/// How an event goes on past the window's end, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoesOn {
    No,
    Run(Class),
    Block(Block),
}

/// Finds events. It keeps memory that one window leaves to the next.
#[derive(Default)]
pub(super) struct Finder {
    events: Vec<Event>,
    view: View,
}

impl Finder {
    /// The events that begin where the window is decided, by their beginnings.
    pub(super) fn find(&mut self, rules: &Rules, window: &Window<'_>) -> &[Event] {
        self.events.clear();
        let (mut start, mut tails) = (0, Tails::new(window));
        for atom in rules.atoms.find(window.text) {
            self.between(rules, window, start..atom.start, &mut tails);
            start = atom.end;
            if window.decided.contains(&atom.start) {
                self.events.push(Event::new(atom, What::Atom));
            }
        }
        self.between(rules, window, start..window.text.len(), &mut tails);
        // Not by their ends, which may lie beyond the window.
        self.events.sort_unstable_by_key(|event| (event.start, event.what));
        &self.events
    }

    /// Adds what is found in a `range` without placeholders.
    fn between(&mut self, rules: &Rules, window: &Window<'_>, range: Range<usize>, tails: &mut Tails) {
        let Self { events, view } = self;
        let decided = window.decided.start.max(range.start)..window.decided.end.min(range.end);
        if decided.is_empty() {
            return;
        }
        let here = decided.start - range.start..decided.end - range.start;
        let text = &window.text[range.clone()];
        let mut secret = |place: Range<usize>, owner| {
            let place = range.start + place.start..range.start + place.end;
            events.push(Event::new(place, What::Secret(owner)));
        };
        rules.forbidden.find(text.as_bytes(), &here, view, |hit| {
            secret(hit.start..hit.end, hit.owner);
        });
        if !rules.forbidden.is_empty()
            && let Some(read) = Reading::bare(text)
        {
            let here = read.begun_in(here);
            rules.forbidden.find_bare(read.text.as_bytes(), &here, view, |hit| {
                secret(read.place(hit.start..hit.end), hit.owner);
            });
        }
        let block = &mut tails.block;
        shape::find(window.text, range, &mut tails.runs, |found, runs| {
            if decided.contains(&found.start) {
                events.extend(key(window, &found, runs, block));
            }
        });
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.view.held() + self.events.capacity() * size_of::<Event>()
    }
}

/// How far what is dropped after keys goes in one window.
struct Tails {
    runs: Runs,
    block: usize,
}

impl Tails {
    fn new(window: &Window<'_>) -> Self {
        Self {
            runs: Runs::default(),
            block: window.block,
        }
    }
}

/// `found` with what is dropped after it; `None` for a private key within the last one, which went on to `block`.
fn key(window: &Window<'_>, found: &Found, runs: &mut Runs, block: &mut usize) -> Option<Event> {
    let text = window.text.as_bytes();
    let (end, goes_on) = match found.tail {
        Tail::Nothing => (found.end, GoesOn::No),
        Tail::Run(class) => {
            let end = runs.end(class, text, found.end);
            let open = end == text.len() && !window.at_end;
            (end, if open { GoesOn::Run(class) } else { GoesOn::No })
        }
        Tail::Block if found.start < *block => return None,
        Tail::Block => {
            let (end, open) = Block::new().pass(text, found.end, window.at_end);
            *block = end;
            (end, open.map_or(GoesOn::No, GoesOn::Block))
        }
    };
    Some(Event {
        start: found.start,
        end,
        anchor: found.anchor,
        glued: found.glued,
        what: What::Key(found.kind),
        goes_on,
    })
}

impl Event {
    fn new(place: Range<usize>, what: What) -> Self {
        Self {
            start: place.start,
            end: place.end,
            anchor: place.start,
            glued: false,
            what,
            goes_on: GoesOn::No,
        }
    }
}
