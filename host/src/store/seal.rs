//! Checksums of rows, and the encoding of what is in them. A checksum is the first 8 bytes of a BLAKE3 hash: against
//! damage, not against an attacker who can write the database.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Fault;

/// The checksum of these parts; each part's length is part of it.
pub(super) fn sum(parts: &[&[u8]]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut first = [0u8; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    i64::from_le_bytes(first)
}

/// The checksum of a run's rows up to one whose own is `sum`, `before` being that of the rows before it.
pub(super) fn link(before: i64, row: i64) -> i64 {
    sum(&[&before.to_le_bytes(), &row.to_le_bytes()])
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    Ok(postcard::to_stdvec(value)?)
}

/// Decodes what a valid checksum has vouched for; nothing when it is of another shape all the same.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

/// A number as the database keeps it. Versions and counts never reach 2^63.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number as the database kept it.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_tells_where_parts_end() {
        assert_ne!(sum(&[b"ab", b"c"]), sum(&[b"a", b"bc"]));
        assert_ne!(link(1, 2), link(2, 1));
        assert_eq!(sum(&[b"ab"]), sum(&[b"ab"]));
    }
}
