//! Chat completions, as OpenAI and most local servers speak them.

mod decode;
mod encode;

pub(super) use decode::Decoder;
pub(super) use encode::{Dialect, OutputLimit, body};
