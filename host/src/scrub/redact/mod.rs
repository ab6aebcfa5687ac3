//! Redaction as a stream, through a window of fixed size. What it makes of a text depends on the text alone, not on its
//! chunks and not on the window: a stretch is decided only when all that can decide it is in sight.

mod find;
mod header;
mod label;
mod pem;
mod region;
mod run;
mod shape;

use zeroize::Zeroizing;

use self::find::{Finder, GoesOn, What, Window};
use self::label::Atoms;
pub(super) use self::label::secret as placeholder;
use self::region::Region;
use super::secret::Forbidden;

/// The window, in bytes; more where the secrets are long.
pub(super) const WINDOW: usize = 128 * 1024;
/// How much text that is done with stays in sight, in bytes: the name of a header, and the beginning of a placeholder.
const BEHIND: usize = header::BEHIND + label::LABEL_MAX;

/// What is redacted and what takes its place.
pub(super) struct Rules {
    forbidden: Forbidden,
    labels: Vec<String>,
    atoms: Atoms,
}

impl Rules {
    /// Rules for secrets, each with a name and a value.
    pub(super) fn new(names: &[String], values: &[Zeroizing<String>]) -> Self {
        let labels: Vec<String> = names.iter().map(|name| label::secret(name)).collect();
        Self {
            forbidden: Forbidden::new(values),
            atoms: Atoms::new(labels.iter().map(String::as_str)),
            labels,
        }
    }

    /// The longest prefix of `text` with at most `max` characters that ends in no placeholder.
    pub(super) fn prefix<'a>(&self, text: &'a str, max: usize) -> &'a str {
        self.atoms.prefix(text, max)
    }

    /// What is looked for.
    pub(super) fn forbidden(&self) -> &Forbidden {
        &self.forbidden
    }

    /// What takes the place of the secret with this index.
    pub(super) fn placeholder(&self, owner: u32) -> &str {
        &self.labels[owner as usize]
    }

    fn label(&self, what: What) -> Option<&str> {
        match what {
            What::Atom => None,
            What::Secret(owner) => Some(self.placeholder(owner)),
            What::Key(kind) => Some(kind.label()),
        }
    }

    /// How far past its beginning a match must be in sight, in bytes: it may end where a placeholder begins.
    fn ahead(&self) -> usize {
        self.forbidden.span().max(shape::LOOK) + label::LABEL_MAX
    }
}

/// A text on its way through the window.
pub(super) struct Redactor {
    text: String,
    /// The first byte of `text` that isn't done with.
    from: usize,
    window: usize,
    region: Region,
    finder: Finder,
    count: u64,
}

impl Redactor {
    /// One that decides where its user says.
    pub(super) fn by_hand() -> Self {
        Self {
            text: String::new(),
            from: 0,
            window: usize::MAX,
            region: Region::default(),
            finder: Finder::default(),
            count: 0,
        }
    }

    /// A window of at least `window` bytes, and of as many as `rules` need.
    pub(super) fn new(rules: &Rules, window: usize) -> Self {
        let window = window.max(rules.ahead() + 2 * BEHIND);
        Self {
            text: String::with_capacity(window),
            window,
            ..Self::by_hand()
        }
    }

    /// Adds cleaned text, and hands out what is decided.
    pub(super) fn push(&mut self, rules: &Rules, mut text: &str, out: &mut impl FnMut(&str)) {
        loop {
            // The window is filled to the same byte whatever the chunks are.
            let fitting = crate::text::prefix(text, self.window - self.text.len());
            self.text.push_str(fitting);
            text = &text[fitting.len()..];
            if text.is_empty() {
                return;
            }
            self.decide(rules, false, out);
        }
    }

    /// Adds cleaned text, and decides nothing: see [`Self::decide_all_but`].
    pub(super) fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// What is not decided.
    pub(super) fn open(&self) -> &str {
        &self.text[self.from..]
    }

    /// Of that, what is neither part of a stretch that is redacted already nor passed over.
    pub(super) fn visible(&self) -> &str {
        &self.text[self.text.floor_char_boundary(self.from.max(self.region.end()))..]
    }

    /// The first secret in whose place something was handed out, since this was asked.
    pub(super) fn take_secret(&mut self) -> Option<u32> {
        self.region.take_secret()
    }

    /// Whether a private key goes on in what is not decided.
    pub(super) fn is_in_key(&self) -> bool {
        self.region.open_block().is_some()
    }

    /// Passes over what is not decided: it is not handed out, but what takes the place of a part of it.
    pub(super) fn pass_over(&mut self) {
        self.region.pass_over(self.text.len());
    }

    /// Hands out what is added but for about the last `ahead` bytes, where that is more than was handed out before.
    pub(super) fn decide_all_but(&mut self, rules: &Rules, ahead: usize, out: &mut impl FnMut(&str)) {
        self.decide_to(rules, self.text.len().saturating_sub(ahead), false, out);
        // Nothing is kept in reserve for what may come: there are many of these.
        if self.text.capacity() > 4 * self.text.len().max(BEHIND) {
            self.text.shrink_to_fit();
        }
        self.finder = Finder::default();
    }

    /// Hands out the rest.
    pub(super) fn finish(&mut self, rules: &Rules, out: &mut impl FnMut(&str)) {
        self.decide(rules, true, out);
    }

    /// How often something was replaced.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    fn decide(&mut self, rules: &Rules, at_end: bool, out: &mut impl FnMut(&str)) {
        let ahead = if at_end { 0 } else { rules.ahead() };
        self.decide_to(rules, self.text.len() - ahead, at_end, out);
    }

    fn decide_to(&mut self, rules: &Rules, end: usize, at_end: bool, out: &mut impl FnMut(&str)) {
        let block = self.region.resume(self.text.as_bytes(), at_end);
        let until = |at: usize, end: usize| self.text.floor_char_boundary(at.min(end)).max(self.from);
        let end = until(self.region.open_block().unwrap_or(end), end);
        let mut window = Window {
            text: &self.text,
            decided: self.from..end,
            at_end,
            block,
        };
        let events = self.finder.find(rules, &window);
        // Nothing is decided behind a private key whose end is not in sight.
        let open = events.iter().find(|event| matches!(event.goes_on, GoesOn::Block(_)));
        let end = until(open.map_or(end, |event| event.end), end);
        window.decided.end = end;
        let events = &events[..events.partition_point(|event| event.start < end)];
        self.count += self.region.apply(rules, &window, events, out);
        let done = self.text.floor_char_boundary(end.saturating_sub(BEHIND));
        self.text.drain(..done);
        self.region.shift(done);
        self.from = end - done;
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.text.capacity() + self.finder.held()
    }
}
