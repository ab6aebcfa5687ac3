//! What agents emit and what models say, on its way to one reader: piece by piece as it comes, without secrets. The end of what came in which a secret may
//! begin is told with what comes next, or before anything else that the agent does where it is too short to be a part of one. How long it is, and how long
//! it takes to find out, hangs on less than a whole secret: so it is done where a reader reads, and no guest waits for it.

use std::collections::HashMap;
use std::fmt;

use super::EventKind;
use crate::ids::{SessionId, StreamId};
use crate::scrub::{Cleaner, Secrets};

/// So many bytes may be a part of a secret. What is shorter is told before what the agent does next: most words end as some form of a secret begins.
const PART: usize = 4;

/// Where a text comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Source {
    /// The instance.
    pub(super) stream: StreamId,
    /// Its completion, as its text comes; none for what it emits itself.
    pub(super) op: Option<String>,
}

impl Source {
    /// What is told of it.
    pub(super) fn event(&self, text: String) -> EventKind {
        match self.op.clone() {
            Some(op) => EventKind::CompletionText { op, text },
            None => EventKind::Emit { text },
        }
    }
}

/// A piece of such a text.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next one.
    Next(String),
    /// One that people were told before: a secret may begin in it all the same.
    Before(String),
    /// Nothing more comes.
    End,
    /// What came is void, and what is not told yet is not told.
    Void,
}

impl Piece {
    /// The same, of which people were told before.
    #[must_use]
    pub fn told_before(self) -> Self {
        match self {
            Self::Next(text) => Self::Before(text),
            other => other,
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Next(text) | Self::Before(text) => text,
            Self::End | Self::Void => "",
        }
    }

    /// Its text, in bytes.
    pub(super) fn len(&self) -> usize {
        self.text().len()
    }
}

/// Without its text, which may hold a secret.
impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// What is not told yet of texts.
pub(super) struct Emitting {
    secrets: Secrets,
    /// By session, then by where it comes from.
    held: HashMap<SessionId, HashMap<Source, Held>>,
}

/// The end of what came, in which a secret may begin.
#[derive(Default)]
struct Held {
    text: String,
    /// So many bytes of it were told: what comes behind them is not, if it is the rest of a secret.
    told: usize,
    cleaner: Cleaner,
}

impl fmt::Debug for Emitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitting").finish_non_exhaustive()
    }
}

impl Emitting {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            held: HashMap::new(),
        }
    }

    /// What is told when this piece comes: none where that is nothing.
    pub(super) fn told(&mut self, source: &Source, piece: Piece) -> Option<String> {
        let (is_new, is_last) = (!matches!(piece, Piece::Before(_)), piece == Piece::End);
        let session = &source.stream.session;
        let of_session = self.held.get_mut(session);
        let held = of_session.and_then(|held| held.remove(source)).unwrap_or_default();
        let Held {
            mut text,
            told,
            mut cleaner,
        } = held;
        match piece {
            Piece::Next(more) | Piece::Before(more) => cleaner.push(&more, &mut |clean| text.push_str(clean)),
            Piece::End => {}
            Piece::Void => return None,
        }
        let settled = if is_last {
            text.len()
        } else {
            self.secrets.settled(&text)
        };
        let rest = text.split_off(settled);
        if !is_last && (!rest.is_empty() || cleaner.goes_on()) {
            // What people were told before, they were told as far as it is told at once.
            let told = match is_new {
                true => told.saturating_sub(settled),
                false if rest.len() < PART => rest.len(),
                false => 0,
            };
            let held = Held {
                text: rest,
                told,
                cleaner,
            };
            self.held
                .entry(session.clone())
                .or_default()
                .insert(source.clone(), held);
        }
        if !is_new {
            return None;
        }
        let clean = self.secrets.without_secrets(&text);
        let begun = &text[..told.min(text.len())];
        let new = clean.strip_prefix(begun).unwrap_or(&clean);
        (!new.is_empty()).then(|| new.to_owned())
    }

    /// What is too short to be a part of a secret that anybody could read, before something else of this session is told. It stays held: its rest is not told.
    pub(super) fn short(&mut self, session: &SessionId) -> Vec<EventKind> {
        let Some(held) = self.held.get_mut(session) else {
            return Vec::new();
        };
        let untold = held.iter_mut().filter_map(|(source, held)| {
            let new = &held.text[held.told..];
            let is_short = held.text.len() < PART && !new.is_empty();
            let event = is_short.then(|| source.event(new.to_owned()))?;
            held.told = held.text.len();
            Some(event)
        });
        untold.collect()
    }

    /// Nothing more comes of this session.
    pub(super) fn forget(&mut self, session: &SessionId) {
        self.held.remove(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RunId, Scope};

    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";

    fn of(attempt: u32) -> Source {
        let stream = StreamId {
            session: "28e03b6aae".parse::<RunId>().expect("an id").root(),
            attempt,
            scope: Scope::ROOT,
        };
        Source { stream, op: None }
    }

    fn emitting() -> Emitting {
        Emitting::new(Secrets::new([("x".to_owned(), VALUE.to_owned())]))
    }

    #[test]
    fn a_secret_over_the_edges_of_pieces_is_told_to_nobody_and_all_else_at_once() {
        let (a, b) = VALUE.split_at(9);
        let mut emitting = emitting();
        let mut told = |n: u32, piece: Piece| emitting.told(&of(n), piece);
        let next = |text: &str| Piece::Next(text.to_owned());
        assert_eq!(told(1, next(&format!("<{a}"))).as_deref(), Some("<"));
        // Another instance's piece is none of this one's.
        assert_eq!(told(2, next(b)).as_deref(), Some(b));
        assert_eq!(told(1, next(b)).as_deref(), Some("[secret x]"));
        assert_eq!(told(1, next(a)), None);
        assert_eq!(told(1, next("")), None);
        assert_eq!(told(1, Piece::End).as_deref(), Some(a));
        assert_eq!(told(1, Piece::End), None);
        assert_eq!(told(1, next("é")).as_deref(), Some("é"));
        // What a try of a completion said that broke off is void.
        assert_eq!(told(1, next(a)), None);
        assert_eq!(told(1, Piece::Void), None);
        assert_eq!(told(1, next(b)).as_deref(), Some(b));
        assert_eq!(told(1, Piece::End), None);
        let held = emitting.held.remove(&of(1).stream.session);
        assert!(held.is_some_and(|held| held.is_empty()) && emitting.held.is_empty());
    }

    #[test]
    fn however_small_the_pieces_are_a_secret_in_them_is_told_to_nobody() {
        let hex: String = VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
        let unseen: String = VALUE.chars().flat_map(|c| [c, '\u{200b}']).collect();
        for form in [VALUE, &hex, &unseen] {
            let characters: Vec<String> = form.chars().map(String::from).collect();
            for size in 1..characters.len() {
                let mut emitting = emitting();
                let pieces = characters.chunks(size).map(|piece| Piece::Next(piece.concat()));
                let told: String = pieces
                    .chain([Piece::Next(">".to_owned()), Piece::End])
                    .filter_map(|piece| emitting.told(&of(1), piece))
                    .collect();
                assert_eq!(told, "[secret x]>", "{size} of {form:?}");
            }
        }
    }

    #[test]
    fn what_is_too_short_to_be_a_part_of_a_secret_is_told_before_anything_else() {
        let mut emitting = emitting();
        let session = of(1).stream.session;
        for (ends, short) in [(&VALUE[..3], 1), (&VALUE[..4], 0)] {
            let told = emitting.told(&of(1), Piece::Next(format!("so{ends}")));
            assert_eq!(told.as_deref(), Some("so"));
            let told = EventKind::Emit { text: ends.to_owned() };
            assert_eq!(emitting.short(&session), vec![told; short]);
            assert_eq!(emitting.short(&session), [], "once");
            emitting.told(&of(1), Piece::Void);
        }
        assert_eq!(emitting.told(&of(1), Piece::End), None);
    }

    #[test]
    fn of_a_secret_whose_first_signs_were_told_the_rest_is_not() {
        for cut in 1..PART {
            for size in [1, 2, 3, VALUE.len()] {
                let mut emitting = emitting();
                let session = of(1).stream.session;
                let mut told = emitting
                    .told(&of(1), Piece::Next(VALUE[..cut].to_owned()))
                    .unwrap_or_default();
                let rest = VALUE[cut..].to_owned() + "> and";
                for piece in rest.as_bytes().chunks(size) {
                    for event in emitting.short(&session) {
                        let EventKind::Emit { text } = event else {
                            panic!("{event:?}")
                        };
                        told.push_str(&text);
                    }
                    let piece = String::from_utf8(piece.to_vec()).expect("ASCII");
                    told.extend(emitting.told(&of(1), Piece::Next(piece)));
                }
                told.extend(emitting.told(&of(1), Piece::End));
                assert!(
                    !told.contains(&VALUE[4..8]) && told.ends_with("[secret x]> and"),
                    "{told}"
                );
            }
        }
        // What was told of a text that goes on otherwise is not told again.
        let mut emitting = emitting();
        emitting.told(&of(1), Piece::Next("so Kq".to_owned()));
        assert_eq!(emitting.short(&of(1).stream.session).len(), 1);
        assert_eq!(emitting.told(&of(1), Piece::Next("?".to_owned())).as_deref(), Some("?"));
    }

    #[test]
    fn an_end_of_line_over_an_edge_is_one() {
        let mut emitting = emitting();
        let told = ["a\r", "\nb\r", "\r", "\nc"].map(|piece| emitting.told(&of(1), Piece::Next(piece.to_owned())));
        assert_eq!(told.into_iter().flatten().collect::<String>(), "a\nb\n\nc");
    }

    #[test]
    fn what_was_told_before_is_not_told_again_and_a_secret_may_begin_in_it() {
        let (a, b) = VALUE.split_at(9);
        let mut emitting = emitting();
        let before = Piece::Next(format!("before {a}")).told_before();
        assert_eq!(emitting.told(&of(1), before), None);
        let told = emitting.told(&of(1), Piece::Next(format!("{b}>")));
        assert_eq!(told.as_deref(), Some("[secret x]>"));
        emitting.told(&of(1), Piece::Next(a.to_owned()));
        emitting.forget(&of(1).stream.session);
        assert_eq!(emitting.told(&of(1), Piece::End), None);
    }
}
