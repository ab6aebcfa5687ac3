//! The journal's encoding of what guests are told and what they ask: postcard behind one byte of version. It is canonical (one
//! value, one encoding), so that a digest of it names the value.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::Digest;

/// The encoding's version, the first byte of every body.
pub const VERSION: u8 = 1;

/// A body that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It was written by a newer host.
    #[error("a record has encoding version {0}, this host reads {VERSION}")]
    Newer(u8),
    /// Its bytes are not what was written.
    #[error("a record is damaged: {0}")]
    Damaged(String),
}

/// Encodes `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let bytes = vec![VERSION];
    postcard::to_extend(value, bytes).expect("the journal's types hold nothing that postcard can't encode")
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// Another version, or damaged bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|e| CodecError::Damaged(e.to_string())),
        Some((&version, _)) => Err(CodecError::Newer(version)),
        None => Err(CodecError::Damaged("it is empty".to_owned())),
    }
}

/// The digest that names a call: its function and its arguments.
pub fn digest<T: Serialize>(call: &str, args: &T) -> Digest {
    Digest::of(&of_call(call, args))
}

/// A call: its function and its arguments.
pub fn of_call<T: Serialize>(call: &str, args: &T) -> Vec<u8> {
    encode(&(call, args))
}
