//! What a guest emits, on its way into the journal: piece by piece and without secrets, one of which may begin in one piece and end in another. So what is
//! written stays behind what came, by as much as any secret may take up, whatever stands there: a guest sees what a piece counts as and how long it takes,
//! and would learn how far a guess is right. People are told sooner, where no guest waits: see [`Events::emit`](crate::event::Events::emit).

use std::borrow::Cow;

use crate::scrub::{BEHIND, Coming, Known, Secrets};

/// Stands before the number that a note ends with. No text holds it.
const MARK: u8 = 0xFF;

/// What one instance emits.
#[derive(Debug, Default)]
pub(super) struct Emits {
    /// What is not written yet: a secret may begin in it.
    coming: Coming,
    /// Something was emitted.
    any: bool,
}

/// What is written down of one piece, or at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// What is told by it, of it and of what was held before it, without secrets.
    pub told: String,
    /// The bytes that it counts as.
    pub counted: u32,
}

impl Emits {
    /// The next piece, and what was replaced by now and not said before.
    pub(super) fn next<'a>(&mut self, secrets: &'a Secrets, piece: &str) -> (Emitted, Option<Known<'a>>) {
        self.any = true;
        let cleaned = self.coming.add(piece);
        let mut told = String::new();
        // Of many small pieces, not each is searched with all that is held. Whether there are secrets has no say: that may change before a run goes on.
        if self.coming.open() > 2 * BEHIND {
            told = self.coming.decide_all_but(secrets, BEHIND);
        }
        // What stands for a secret may be longer than it. For one that goes over an edge a record's overhead has room.
        let longest = match secrets.without_secrets(piece) {
            Cow::Borrowed(_) => cleaned,
            Cow::Owned(told) => cleaned.max(told.len()),
        };
        let emitted = Emitted {
            told,
            counted: u32::try_from(longest).unwrap_or(u32::MAX),
        };
        (emitted, self.coming.take_secret(secrets))
    }

    /// Whether something was emitted whose end is not told yet.
    pub(super) fn goes_on(&self) -> bool {
        self.any
    }

    /// The rest, where nothing more comes, and what was replaced. There is one wherever something was emitted, though nothing may be left of it.
    pub(super) fn last<'a>(&mut self, secrets: &'a Secrets) -> Option<(Emitted, Option<Known<'a>>)> {
        let Self { mut coming, any } = std::mem::take(self);
        let told = coming.finish(secrets);
        any.then(|| (Emitted { told, counted: 0 }, coming.take_secret(secrets)))
    }
}

impl Emitted {
    /// The body of its note: what is told, and what that counts as where that is not its length.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.told.clone().into_bytes();
        if self.told.len() != self.counted as usize {
            body.push(MARK);
            body.extend_from_slice(self.counted.to_string().as_bytes());
        }
        body
    }

    /// What the body of a note tells.
    pub fn read(body: &[u8]) -> Self {
        let (told, counted) = parts(body);
        Self {
            told: String::from_utf8_lossy(told).into_owned(),
            counted,
        }
    }
}

/// What was told of each piece that an instance emitted, by its notes in order: their text is written behind the pieces, and stands where these were given
/// again, but for as much as a placeholder is longer or shorter than what it stands for.
pub fn by_piece(notes: &[Emitted]) -> Vec<String> {
    let told: String = notes.iter().map(|note| note.told.as_str()).collect();
    let mut rest = told.as_str();
    let last = notes.iter().rposition(|note| note.counted > 0);
    let piece = |(at, note): (usize, &Emitted)| {
        let end = match Some(at) < last {
            true => rest.floor_char_boundary(note.counted as usize),
            false => rest.len(),
        };
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        piece.to_owned()
    };
    notes.iter().enumerate().map(piece).collect()
}

/// The bytes that a note of this body counts as.
pub(super) fn counted(body: &[u8]) -> usize {
    parts(body).1 as usize
}

/// What a body tells, and the bytes that it counts as.
fn parts(body: &[u8]) -> (&[u8], u32) {
    let marked = memchr::memrchr(MARK, body).and_then(|at| {
        let number = std::str::from_utf8(&body[at + 1..]).ok()?;
        Some((&body[..at], number.parse().ok()?))
    });
    marked.unwrap_or((body, u32::try_from(body.len()).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";

    fn secrets() -> Secrets {
        Secrets::new([("x".to_owned(), VALUE.to_owned())])
    }

    /// What is told of these pieces, and what each of them and their end counts as.
    fn emitted(pieces: &[&str]) -> (String, Vec<u32>) {
        let (secrets, mut emits) = (secrets(), Emits::default());
        let mut all: Vec<Emitted> = pieces.iter().map(|piece| emits.next(&secrets, piece).0).collect();
        all.extend(emits.last(&secrets).map(|(rest, _)| rest));
        assert!(all.iter().all(|one| Emitted::read(&one.body()) == *one), "{all:?}");
        assert!(all.iter().all(|one| counted(&one.body()) == one.counted as usize));
        let told = all.iter().map(|one| one.told.as_str()).collect();
        (told, all.iter().map(|one| one.counted).collect())
    }

    #[test]
    fn what_is_emitted_is_told_whole_and_counts_piece_by_piece() {
        assert_eq!(emitted(&[]), (String::new(), vec![]));
        assert_eq!(emitted(&["a", "", "é"]), ("aé".to_owned(), vec![1, 0, 2, 0]));
        let (a, b) = VALUE.split_at(9);
        let (told, counted) = emitted(&[&format!("<{a}"), &format!("{b}>"), "."]);
        assert_eq!((told.as_str(), counted), ("<[secret x]>.", vec![10, 24, 1, 0]));
    }

    #[test]
    fn what_was_replaced_is_said_when_that_is_told() {
        let (secrets, mut emits) = (secrets(), Emits::default());
        assert_eq!(emits.next(&secrets, VALUE).1, None);
        assert_eq!(
            emits.next(&secrets, &"-".repeat(2 * BEHIND)).1,
            Some(Known::Secret("x"))
        );
        assert_eq!(emits.next(&secrets, &VALUE[..9]).1, None);
        assert_eq!(emits.last(&secrets).map(|(_, known)| known), Some(None));
        emits.next(&secrets, VALUE);
        assert_eq!(
            emits.last(&secrets).map(|(_, known)| known),
            Some(Some(Known::Secret("x")))
        );
    }

    #[test]
    fn a_guess_counts_as_much_whether_it_is_right() {
        let unicode = |text: &str| text.bytes().map(|byte| format!("\\u00{byte:02x}")).collect::<String>();
        let wrong = VALUE.replace('K', "L");
        for (right, wrong) in [(VALUE.to_owned(), wrong.clone()), (unicode(VALUE), unicode(&wrong))] {
            for len in 1..right.len() {
                let guess = |text: &str| emitted(&["#", &format!("~{}", &text[..len]), "!!!"]).1;
                assert_eq!(guess(&right), guess(&wrong), "{len}");
            }
        }
    }

    #[test]
    fn no_more_is_told_than_counts() {
        let short = Secrets::new([("n".repeat(60), "Kq7z".to_owned())]);
        for piece in ["Kq7z", "Kq7zKq7z-Kq7z", "a://u:p@h b://u:p@h", "Kq", "7zKq", "7z"] {
            let mut emits = Emits::default();
            let (next, _) = emits.next(&short, piece);
            let (last, _) = emits.last(&short).expect("something was emitted");
            assert!(next.told.len() + last.told.len() <= next.counted as usize, "{piece}");
        }
    }

    #[test]
    fn what_was_told_stands_where_it_was_emitted() {
        let note = |told: &str, counted: u32| Emitted {
            told: told.to_owned(),
            counted,
        };
        let all = |notes: &[Emitted]| by_piece(notes);
        assert_eq!(all(&[]), Vec::<String>::new());
        let pieces = [note("", 4), note("", 0), note("", 3), note("One.Two", 1), note("!", 0)];
        assert_eq!(all(&pieces), ["One.", "", "Two", "!", ""]);
        // The last one has what is left, and a run that was killed has less.
        assert_eq!(
            all(&[note("", 2), note("a[secret x]", 2), note("", 0)]),
            ["a[", "secret x]", ""]
        );
        assert_eq!(all(&[note("", 4), note("abé", 4), note("", 9)]), ["abé", "", ""]);
        assert_eq!(all(&[note("", 3), note("abé", 1)]), ["ab", "é"]);
    }

    #[test]
    fn what_is_not_told_of_a_piece_counts_as_nothing() {
        let (told, counted) = emitted(&["a\r", "\nb\u{200b}", "\u{1b}[1mc", "\u{200b}"]);
        assert_eq!((told.as_str(), counted), ("a\nb[1mc", vec![2, 1, 4, 0, 0]));
    }

    #[test]
    fn a_body_that_only_looks_marked_is_a_text() {
        for body in [&b"a\xff"[..], b"a\xff1x", b"\xff99999999999999999999", b"12", b""] {
            assert_eq!(counted(body), body.len(), "{body:?}");
        }
        assert_eq!(counted(b"a\xff0"), 0);
        assert_eq!(counted(b"a\xff4294967295"), u32::MAX as usize);
    }
}
