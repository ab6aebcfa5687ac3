//! Anthropic's Messages.

mod decode;
mod encode;

pub(super) use decode::Decoder;
pub(super) use encode::body;

/// The version of the protocol, sent with each request.
pub(super) const VERSION: &str = "2023-06-01";
