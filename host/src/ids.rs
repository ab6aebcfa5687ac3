//! New types for everything that has a name or a number: runs, sessions, attempts, operations, digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Names one command's whole tree: 10 lowercase hexadecimal digits, chosen at random.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

/// What was written is not believed: it becomes the name of a file.
impl TryFrom<String> for RunId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl RunId {
    /// A new random id. Uniqueness is settled by whoever creates the run's row.
    pub fn random() -> Self {
        let mut bytes = [0u8; 5];
        getrandom::fill(&mut bytes).expect("the operating system's random source answers");
        Self(hex(&bytes))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The root session of this run.
    pub fn root(&self) -> SessionId {
        SessionId {
            run: self.clone(),
            number: 0,
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let good = s.len() == 10 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good {
            Ok(Self(s.to_owned()))
        } else {
            Err(IdError("a run id is 10 hexadecimal digits"))
        }
    }
}

/// Names one agent's life in a run: `RUN.N`, the root being number 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId {
    /// The run that it belongs to.
    pub run: RunId,
    /// Numbered in order of creation.
    pub number: u32,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.number)
    }
}

impl FromStr for SessionId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let (run, number) = s.split_once('.').ok_or(IdError("a session id is RUN.N"))?;
        let number = number.parse().map_err(|_| IdError("a session id ends in a number"))?;
        Ok(Self {
            run: run.parse()?,
            number,
        })
    }
}

/// Text that is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(&'static str);

/// Where in a session a call was made: empty for the strategy itself, `7` for the instance that serves the session's
/// operation 7 (a tool call), `7.2` for an instance inside that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope(Vec<u32>);

impl Scope {
    /// The strategy's own scope.
    pub const ROOT: Self = Self(Vec::new());

    /// The scope of the instance that serves operation `op` of this scope.
    pub fn child(&self, op: u32) -> Self {
        let mut path = self.0.clone();
        path.push(op);
        Self(path)
    }

    /// The scope of the caller, and the operation of it that this instance serves; none for the strategy.
    pub fn outer(&self) -> Option<(Self, u32)> {
        let (op, outer) = self.0.split_last()?;
        Some((Self(outer.to_vec()), *op))
    }

    /// True for `outer` and every scope inside it.
    pub fn starts_with(&self, outer: &Self) -> bool {
        self.0.starts_with(&outer.0)
    }

    /// How many tool calls lie between the strategy and here; 0 for the strategy.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// The operation of the strategy that this is inside of.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// True for the strategy's own scope.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Operation `op` of this scope, as people read it: `7`, or `7.2` inside a tool call.
    pub fn op_name(&self, op: u32) -> String {
        self.child(op).to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, n) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{n}")?;
        }
        Ok(())
    }
}

impl FromStr for Scope {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        if s.is_empty() {
            return Ok(Self::ROOT);
        }
        let path = s.split('.').map(str::parse).collect::<Result<_, _>>();
        path.map(Self)
            .map_err(|_| IdError("a scope is numbers with points between them"))
    }
}

/// One instance's sequence of operations and observations: a session's attempt, and the scope within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// The session.
    pub session: SessionId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The strategy's own, or a tool call's.
    pub scope: Scope,
}

/// SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let mut bytes = [0u8; 32];
        if s.len() != 64 || !s.is_ascii() {
            return Err(IdError("a digest is 64 hexadecimal digits"));
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16)
                .map_err(|_| IdError("a digest is 64 hexadecimal digits"))?;
        }
        Ok(Self(bytes))
    }
}

/// A digest as its hexadecimal text, for what people and other programs read.
pub mod digest_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Digest;

    /// Writes it.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(digest: &Digest, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(digest)
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is no digest.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let session = RunId::random().root();
        assert_eq!(session.to_string().parse(), Ok(session));
        let scope = Scope::ROOT.child(7).child(2);
        assert_eq!(scope.to_string(), "7.2");
        assert_eq!("7.2".parse(), Ok(scope));
        assert_eq!("".parse(), Ok(Scope::ROOT));
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn odd_ids_are_refused() {
        for text in ["", "7F3A000000", "7f3a", "7f3a00000g", "../../etc/x"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
