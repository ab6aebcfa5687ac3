//! What agents emit, on its way to one reader: piece by piece as it comes, without secrets. The end of what came in which a secret may begin is told with what
//! comes next. How long that is, and how long it takes to find out, hangs on less than a whole secret: so it is done where a reader reads, and no guest
//! waits for it.

use std::collections::HashMap;

use crate::ids::{SessionId, StreamId};
use crate::scrub::Secrets;

/// A piece of what an instance emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next one.
    Next(String),
    /// One that people were told before: a secret may begin in it all the same.
    Before(String),
    /// Nothing more comes.
    End,
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

    /// Its text, in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Next(text) | Self::Before(text) => text.len(),
            Self::End => 0,
        }
    }
}

/// What is not told yet of what instances emitted.
#[derive(Debug)]
pub(super) struct Emitting {
    secrets: Secrets,
    /// By session, then by instance; no text is empty.
    held: HashMap<SessionId, HashMap<StreamId, String>>,
}

impl Emitting {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            held: HashMap::new(),
        }
    }

    /// What is told when this instance emits a piece: none where that is nothing.
    pub(super) fn told(&mut self, stream: &StreamId, piece: Piece) -> Option<String> {
        let (is_new, is_last) = (!matches!(piece, Piece::Before(_)), piece == Piece::End);
        let session = self.held.get_mut(&stream.session);
        let mut text = session.and_then(|held| held.remove(stream)).unwrap_or_default();
        if let Piece::Next(more) | Piece::Before(more) = piece {
            text.push_str(&more);
        }
        let settled = if is_last {
            text.len()
        } else {
            self.secrets.settled(&text)
        };
        let rest = text.split_off(settled);
        if !rest.is_empty() {
            let session = self.held.entry(stream.session.clone()).or_default();
            session.insert(stream.clone(), rest);
        }
        let is_told = is_new && !text.is_empty();
        is_told.then(|| self.secrets.without_secrets(&text).into_owned())
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

    fn stream(attempt: u32) -> StreamId {
        StreamId {
            session: "28e03b6aae".parse::<RunId>().expect("an id").root(),
            attempt,
            scope: Scope::ROOT,
        }
    }

    fn emitting() -> Emitting {
        Emitting::new(Secrets::new([("x".to_owned(), VALUE.to_owned())]))
    }

    #[test]
    fn a_secret_over_the_edges_of_pieces_is_told_to_nobody_and_all_else_at_once() {
        let (a, b) = VALUE.split_at(9);
        let mut emitting = emitting();
        let mut told = |of: u32, piece: Piece| emitting.told(&stream(of), piece);
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
        assert_eq!(emitting.held, HashMap::from([(stream(1).session, HashMap::new())]));
    }

    #[test]
    fn what_was_told_before_is_not_told_again_and_a_secret_may_begin_in_it() {
        let (a, b) = VALUE.split_at(9);
        let mut emitting = emitting();
        let before = Piece::Next(format!("before {a}")).told_before();
        assert_eq!(emitting.told(&stream(1), before), None);
        let told = emitting.told(&stream(1), Piece::Next(format!("{b}>")));
        assert_eq!(told.as_deref(), Some("[secret x]>"));
        emitting.told(&stream(1), Piece::Next(a.to_owned()));
        emitting.forget(&stream(1).session);
        assert_eq!(emitting.told(&stream(1), Piece::End), None);
    }
}
