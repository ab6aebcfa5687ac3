//! A model behind a real HTTP/1.1 server on loopback: it speaks the wire formats of OpenAI chat completions and of
//! Anthropic Messages, plays the turns that a test gives it, with their faults, and remembers every request.

mod anthropic;
mod connection;
mod http;
mod openai;
mod request;
mod script;
mod server;
mod wire;

pub use request::{Format, Request};
pub use script::{Delivery, Fault, Part, Script, Turn, Usage};
pub use server::ModelServer;
