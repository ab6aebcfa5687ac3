//! Takes a provider's own key out of what it says: of whole texts, and of text that comes in pieces with the key cut
//! anywhere. A model may have read the key in an error of its server, or be asked to say it.

use std::sync::{Mutex, PoisonError};

use super::key::Key;
use super::protocol::Tell;
use super::request::Delta;

/// Whoever hears of text as it comes, without the key.
pub(super) struct Veil<'a> {
    key: Option<&'a Key>,
    tell: &'a Tell<'a>,
    held: Mutex<Held>,
}

/// The ends of what came so far that may be the beginning of the key.
#[derive(Default)]
struct Held {
    text: String,
    reasoning: String,
}

impl<'a> Veil<'a> {
    pub(super) fn new(key: Option<&'a Key>, tell: &'a Tell<'a>) -> Self {
        Self {
            key,
            tell,
            held: Mutex::default(),
        }
    }

    /// Tells of `delta` as far as it can't be the beginning of the key.
    pub(super) fn tell(&self, delta: Delta) {
        let Some(secret) = self.key.and_then(Key::secret) else {
            return (self.tell)(delta);
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match delta {
            Delta::Text(more) => self.show(Delta::Text, pass(&mut held.text, &more, secret)),
            Delta::Reasoning(more) => self.show(Delta::Reasoning, pass(&mut held.reasoning, &more, secret)),
            other => (self.tell)(other),
        }
    }

    /// Tells of what was held back: nothing more comes.
    pub(super) fn end(self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        self.show(Delta::Reasoning, held.reasoning);
        self.show(Delta::Text, held.text);
    }

    fn show(&self, delta: fn(String) -> Delta, text: String) {
        if !text.is_empty() {
            (self.tell)(delta(text));
        }
    }
}

/// Adds `more` to what is held and gives what can be shown of both, `secret` replaced.
fn pass(held: &mut String, more: &str, secret: &str) -> String {
    held.push_str(more);
    let mut text = held.replace(secret, super::key::HIDDEN);
    let kept = (1..secret.len()).rev().find(|n| text.ends_with(&secret[..*n]));
    *held = text.split_off(text.len() - kept.unwrap_or(0));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-abcabcabd-1234";

    fn told(pieces: &[&str], key: &str) -> String {
        let key = Key::from_env("K", key.to_owned()).expect("a key");
        let told = Mutex::new(String::new());
        let tell = |delta| match delta {
            Delta::Text(text) => told.lock().expect("whole").push_str(&text),
            other => panic!("{other:?}"),
        };
        let veil = Veil::new(Some(&key), &tell);
        pieces
            .iter()
            .for_each(|piece| veil.tell(Delta::Text((*piece).to_owned())));
        veil.end();
        told.into_inner().expect("whole")
    }

    #[test]
    fn a_key_is_found_wherever_it_is_cut() {
        let text = format!("é {SECRET}{SECRET} sk-abcabcabc sk-abc");
        for cut in (1..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let (a, b) = text.split_at(cut);
            assert_eq!(told(&[a, b], SECRET), "é [key][key] sk-abcabcabc sk-abc", "{cut}");
        }
        let each: Vec<String> = text.chars().map(String::from).collect();
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        assert_eq!(told(&each, SECRET), "é [key][key] sk-abcabcabc sk-abc");
    }

    #[test]
    fn a_word_that_stands_for_no_key_is_no_secret() {
        assert_eq!(told(&["start lm-studio"], "lm-studio"), "start lm-studio");
    }
}
