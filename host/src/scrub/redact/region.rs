//! The stretch that is being redacted: it opens where something counts, grows by whatever overlaps it, and may outlast
//! the window.

use super::Rules;
use super::find::{Event, GoesOn, What, Window};
use super::label::Kind;
use super::pem::Block;
use super::run::Class;

/// The last redacted stretch. Offsets are in bytes from the window's beginning, or 0 for anything before it.
#[derive(Debug, Default)]
pub(super) struct Region {
    /// Where the last stretch ends, as far as is known.
    until: usize,
    /// Where the last placeholder that stood in the text ends.
    atom: usize,
    /// It ends with a run of these that goes on at `until`.
    runs: [Option<Class>; 2],
    /// It has a private key that goes on at `block_end`.
    block: Option<Block>,
    /// Where the last private key ends, as far as is known.
    block_end: usize,
    /// What stands before this is not handed out as it is.
    passed_over: usize,
    /// The first secret in whose place something was handed out.
    secret: Option<u32>,
}

impl Region {
    /// Goes on with a stretch that outlasted the last window, in a text that is at its end or isn't. Returns where the
    /// last private key ends, as far as is known.
    pub(super) fn resume(&mut self, text: &[u8], at_end: bool) -> usize {
        let from = self.until;
        for run in &mut self.runs {
            if let Some(class) = *run {
                let end = class.end(text, from);
                self.until = self.until.max(end);
                *run = run.filter(|_| end == text.len() && !at_end);
            }
        }
        if let Some(block) = self.block {
            let (end, open) = block.pass(text, self.block_end, at_end);
            self.until = self.until.max(end);
            (self.block, self.block_end) = (open, end);
        }
        self.block_end
    }

    /// Hands out the decided text with what counts replaced. Returns the number of replacements.
    pub(super) fn apply(
        &mut self,
        rules: &Rules,
        window: &Window<'_>,
        events: &[Event],
        out: &mut impl FnMut(&str),
    ) -> u64 {
        let mut replaced = 0;
        for event in events {
            if event.start < self.until {
                self.replaces(event);
                self.grow(event);
                continue;
            }
            let fresh = self.until.max(self.atom);
            if event.anchor < fresh || (event.glued && event.start > fresh) {
                continue;
            }
            let Some(label) = rules.label(event.what) else {
                self.atom = event.end;
                continue;
            };
            self.plain(window, event.start, out);
            out(label);
            self.replaces(event);
            replaced += 1;
            self.grow(event);
        }
        self.plain(window, window.decided.end, out);
        replaced
    }

    /// Something stands in the place of this.
    fn replaces(&mut self, event: &Event) {
        if let What::Secret(owner) = event.what {
            self.secret.get_or_insert(owner);
        }
    }

    /// Hands out what follows the last stretch, up to `end`.
    fn plain(&self, window: &Window<'_>, end: usize, out: &mut impl FnMut(&str)) {
        let start = window.decided.start.max(self.until).max(self.passed_over);
        if start < end {
            out(&window.text[start..end]);
        }
    }

    fn grow(&mut self, event: &Event) {
        if event.what == What::Atom || event.glued && event.start < self.until {
            return;
        }
        self.until = self.until.max(event.end);
        if event.what == What::Key(Kind::PrivateKey) {
            self.block_end = event.end;
        }
        match event.goes_on {
            GoesOn::No => {}
            GoesOn::Run(class) => self.runs[usize::from(class == Class::Value)] = Some(class),
            GoesOn::Block(block) => self.block = Some(block),
        }
    }

    /// The first secret in whose place something was handed out, since this was asked.
    pub(super) fn take_secret(&mut self) -> Option<u32> {
        self.secret.take()
    }

    /// Where what is handed out as it is may begin: behind the last stretch, as far as is known, and behind what is passed over.
    pub(super) fn end(&self) -> usize {
        self.until.max(self.passed_over)
    }

    /// Where a private key is passed over that goes on: what follows may belong to it.
    pub(super) fn open_block(&self) -> Option<usize> {
        self.block.map(|_| self.block_end)
    }

    /// Hands out nothing that stands before `end`, but what takes the place of it.
    pub(super) fn pass_over(&mut self, end: usize) {
        self.passed_over = end;
    }

    /// Notes that the window's first `count` bytes are gone.
    pub(super) fn shift(&mut self, count: usize) {
        self.until = self.until.saturating_sub(count);
        self.atom = self.atom.saturating_sub(count);
        self.block_end = self.block_end.saturating_sub(count);
        self.passed_over = self.passed_over.saturating_sub(count);
    }
}
