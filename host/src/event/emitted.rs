//! What agents emit and what models say, on its way to one reader: piece by piece as it comes, without secrets. The end of what came in which a secret may
//! begin is told with what comes next, or before anything else that the agent does where it is too short to be a part of one. How long it is, and how long
//! it takes to find out, hangs on less than a whole secret: so it is done where a reader reads, and no guest waits for it.

use std::collections::HashMap;
use std::fmt;

use super::EventKind;
use crate::ids::{SessionId, StreamId};
use crate::scrub::{Coming, Secrets};

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

/// A text that goes on.
#[derive(Default)]
struct Held {
    /// The number of its next piece.
    next: u32,
    /// Its end, in which a secret may begin. What was told of that is passed over: what comes behind it is not told, if it is the rest of a secret.
    coming: Coming,
    /// So many bytes are left out before more of it is told, as a piece before them is missing: they may be the rest of a secret.
    left_out: usize,
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

    /// What is told when this piece comes, the one with this number of its text: none where that is nothing.
    pub(super) fn told(&mut self, source: &Source, number: u32, piece: Piece) -> Option<String> {
        let secrets = &self.secrets;
        let of_session = self.held.entry(source.stream.session.clone()).or_default();
        let held = of_session.entry(source.clone()).or_default();
        if number != held.next {
            *held = Held {
                left_out: if number == 0 { 0 } else { secrets.longest() },
                ..Held::default()
            };
        }
        held.next = number.saturating_add(1);
        match piece {
            Piece::Next(more) => {
                let more = held.leave_out(secrets, &more);
                held.coming.add(more);
                some(held.coming.decide_settled(secrets))
            }
            Piece::Before(more) => {
                held.coming.add(&more);
                // People were told of it as far as it is told at once.
                drop(held.coming.decide_settled(secrets));
                if held.short().is_some() {
                    held.coming.pass_over();
                }
                None
            }
            Piece::Void => {
                // It begins anew, and nothing of what was missed goes on.
                (held.coming, held.left_out) = (Coming::default(), 0);
                None
            }
            Piece::End => some(of_session.remove(source)?.coming.finish(secrets)),
        }
    }

    /// What is too short to be a part of a secret that anybody could read, before something else of this session is told. It stays held: its rest is not told.
    pub(super) fn short(&mut self, session: &SessionId) -> Vec<EventKind> {
        let Some(held) = self.held.get_mut(session) else {
            return Vec::new();
        };
        let untold = held.iter_mut().filter_map(|(source, held)| {
            let told = source.event(held.short()?.to_owned());
            held.coming.pass_over();
            Some(told)
        });
        untold.collect()
    }

    /// Nothing more comes of this session.
    pub(super) fn forget(&mut self, session: &SessionId) {
        self.held.remove(session);
    }
}

impl Held {
    /// What is open of it, where that is too short to be a part of a secret.
    fn short(&self) -> Option<&str> {
        let is_short = self.coming.open() < PART && !self.coming.is_in_key();
        is_short.then(|| self.coming.visible()).filter(|text| !text.is_empty())
    }

    /// Takes what is left out of the next piece: a secret may begin in it all the same. Gives the rest.
    fn leave_out<'a>(&mut self, secrets: &Secrets, piece: &'a str) -> &'a str {
        if self.left_out == 0 {
            return piece;
        }
        let (added, rest) = self.coming.add_first(piece, self.left_out);
        self.left_out = self.left_out.saturating_sub(added);
        drop(self.coming.decide_settled(secrets));
        self.coming.pass_over();
        rest
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
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

    /// A reader, and how many pieces it was given of each text.
    struct Reads(Emitting, HashMap<Source, u32>);

    impl Reads {
        /// The next piece, which it does not miss.
        fn told(&mut self, source: &Source, piece: Piece) -> Option<String> {
            let is_last = piece == Piece::End;
            let next = self.1.entry(source.clone()).or_default();
            let number = std::mem::replace(next, *next + 1);
            if is_last {
                self.1.remove(source);
            }
            self.0.told(source, number, piece)
        }
    }

    fn emitting() -> Reads {
        let secrets = Secrets::new([("x".to_owned(), VALUE.to_owned())]);
        Reads(Emitting::new(secrets), HashMap::new())
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
        assert_eq!(told(2, Piece::End), None);
        let held = emitting.0.held.remove(&of(1).stream.session);
        assert!(held.is_some_and(|held| held.is_empty()) && emitting.0.held.is_empty());
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
            assert_eq!(emitting.0.short(&session), vec![told; short]);
            assert_eq!(emitting.0.short(&session), [], "once");
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
                    for event in emitting.0.short(&session) {
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
        assert_eq!(emitting.0.short(&of(1).stream.session).len(), 1);
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
        emitting.0.forget(&of(1).stream.session);
        assert_eq!(emitting.told(&of(1), Piece::End), None);
    }

    #[test]
    fn of_a_long_secret_in_pieces_nothing_is_told() {
        let long: String = (0..300_u32)
            .map(|n| char::from(b'a' + u8::try_from(n * n % 23 + n % 3).unwrap_or(0)))
            .collect();
        for size in [8, 16, 127] {
            let mut emitting = Emitting::new(Secrets::new([("x".to_owned(), long.clone())]));
            let pieces = long
                .as_bytes()
                .chunks(size)
                .map(|piece| String::from_utf8_lossy(piece).into_owned());
            let mut told = String::new();
            for (number, piece) in (0..).zip(pieces.map(Piece::Next).chain([Piece::End])) {
                told.extend(emitting.told(&of(1), number, piece));
                // Something else is told between them.
                for event in emitting.short(&of(1).stream.session) {
                    assert!(
                        matches!(&event, EventKind::Emit { text } if text.len() < PART),
                        "{event:?}"
                    );
                }
            }
            assert_eq!(told, "[secret x]", "{size}");
        }
    }

    #[test]
    fn what_is_left_out_is_not_told_at_the_end_either() {
        for value in [VALUE.repeat(2), format!("{VALUE}-{VALUE}"), "a".repeat(32)] {
            for ends in ["", "?", "?".repeat(20_000).as_str()] {
                let mut emitting = Emitting::new(Secrets::new([("x".to_owned(), value.clone())]));
                assert_eq!(
                    emitting.told(&of(1), 0, Piece::Next("so".to_owned())).as_deref(),
                    Some("so")
                );
                // The one before it was missed.
                assert_eq!(emitting.told(&of(1), 2, Piece::Next(value[..16].to_owned())), None);
                assert_eq!(emitting.short(&of(1).stream.session), []);
                let told = emitting
                    .told(&of(1), 3, Piece::Next(ends.to_owned()))
                    .unwrap_or_default();
                let told = told + &emitting.told(&of(1), 4, Piece::End).unwrap_or_default();
                assert!(!told.contains(&value[..3]) && told.len() < ends.len().max(1), "{told}");
                // Enough came behind it.
                assert_eq!(told.is_empty(), ends.len() < 20_000, "{}", ends.len());
            }
        }
    }

    #[test]
    fn a_private_key_is_told_to_nobody_however_it_comes() {
        let key = format!(
            "-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n",
            "MIIEvQIBADANBgkqhkiG9w0BAQ\n".repeat(20)
        );
        for size in [27, 28, 100, key.len()] {
            let mut emitting = emitting();
            let text = format!("it is\n{key}and more");
            let pieces = text
                .as_bytes()
                .chunks(size)
                .map(|piece| String::from_utf8_lossy(piece).into_owned());
            let told: String = pieces
                .map(Piece::Next)
                .chain([Piece::End])
                .filter_map(|piece| emitting.told(&of(1), piece))
                .collect();
            // Its first line may come in two pieces, and is then no key's.
            assert!(size < 100 || !told.contains("MIIE"), "{size}: {told}");
            assert!(
                told.starts_with("it is\n") && told.ends_with("and more"),
                "{size}: {told}"
            );
        }
    }
}
