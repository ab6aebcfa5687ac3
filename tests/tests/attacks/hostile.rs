//! Hostile guests, each a tiny program of its own in `tests/hostile`. The constants are made from that folder, so that one without a test does not
//! compile.

use hermes_tests::guests;

/// What hostile guests import beside the contract, a package after those that it needs.
const FOREIGN: [&str; 7] = [
    include_str!("../../hostile/wit/io.wit"),
    include_str!("../../hostile/wit/clocks.wit"),
    include_str!("../../hostile/wit/random.wit"),
    include_str!("../../hostile/wit/cli.wit"),
    include_str!("../../hostile/wit/filesystem.wit"),
    include_str!("../../hostile/wit/http.wit"),
    include_str!("../../hostile/wit/sockets.wit"),
];

/// A hostile guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

impl Guest {
    /// Its component.
    pub(crate) fn bytes(self) -> Vec<u8> {
        guests::assemble(self.text, &FOREIGN)
    }

    /// Its component with `text` where its own has `;; MARKER`.
    pub(crate) fn with(self, marker: &str, text: &str) -> Vec<u8> {
        let marker = format!(";; {marker}\n");
        assert!(self.text.contains(&marker), "{} has no {marker}", self.name);
        guests::assemble(&self.text.replace(&marker, text), &FOREIGN)
    }
}

pub(crate) use list::*;

#[deny(dead_code, reason = "each hostile guest needs a test")]
mod list {
    use super::Guest;

    include!(concat!(env!("OUT_DIR"), "/hostile.rs"));
}
