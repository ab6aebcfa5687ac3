//! Pieces of text that meet each rule, and secrets to find among them.

use std::sync::LazyLock;

use super::super::Secrets;

/// A secret with everything that an encoding changes.
pub(super) const ODD: &str = "p@ss: \"wört\"/\\+&=-_\n~x";

/// Secrets that overlap one another. None is long, so that a window can be small and its borders are met often.
pub(super) fn secrets() -> Secrets {
    static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
        let named = [
            ("SHORT", "q7#z"),
            ("PLAIN", "hunter2hunter2"),
            ("OVERLAP", "ter2hunter2sk-"),
            ("ODD", ODD),
            ("AAA", "aaaaaaaa"),
            ("KEY", "sk-0123456789abcdef"),
        ];
        Secrets::new(named.map(|(name, value)| (name.to_owned(), value.to_owned())))
    });
    SECRETS.clone()
}

/// The shortest of them, for the smallest windows.
pub(super) fn few() -> Secrets {
    let named = [("PLAIN", "hunter2hunter2"), ("SHORT", "q7#z")];
    Secrets::new(named.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// Pieces that are secrets, keys, parts of them, or stand before or after them.
pub(super) const PIECES: &[&str] = &[
    "q7#z",
    "hunter2hunter2",
    "hunter2",
    "68756E7465723268756E74657232",
    "68:75:6e:74:65:72:32:68:75:6e:74:65:72:32",
    "aHVudGVyMmh1bnRlcjI=",
    "aHVudGVyMmh1\nbnRlcjI",
    "%68%75%6e%74%65%72%32%68%75%6E%74%65%72%32",
    "\\u0068\\u0075\\u006e\\u0074\\u0065\\u0072\\u0032hunter2",
    ODD,
    "p%40ss%3A+%22w%C3%B6rt%22%2F%5C%2B%26%3D-_%0A~x",
    "p@ss: \\\"w\\u00f6rt\\\"/\\\\+&=-_\\n~x",
    "aaaaaaaaaaaaaa",
    "sk-",
    "sk-0123456789abcdef",
    "sk-0123456789abcdef0123456789abcdef",
    "sk-ant-api03-AbCd_efgh-0123",
    "ghp_0123456789abcdefghij0123456789",
    "github_pat_0123456789abcdefghij",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA0123456789-abcdefghijklmnopqrstu",
    "xoxb-0123456789-abcdef",
    "sk_live_0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "eyJ",
    ".eyJ",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n",
    "Proc-Type: 4,ENCRYPTED [é]\n",
    "-----END RSA PRIVATE KEY-----",
    "Authorization: Bearer abcdef.0123",
    "authorization",
    "\": \"Basic ",
    "https://user:pa@ss@host/path",
    "://",
    "user:",
    "@",
    "[secret PLAIN]",
    "[secret ",
    "[redacted jwt]",
    "[redacted ",
    "]",
    "\r\n",
    "\r",
    "\u{200b}",
    "\u{202e}",
    "\u{1b}[31m",
    "\u{fffd}",
    "é",
    "😀",
    "e\u{301}",
    "\\n",
    "%3D",
    "\n\n",
    "# Heading\n",
    "error: 12 ms\n",
    "a long line of ordinary words that says nothing\n",
    "                    ",
    "/",
    ".",
    "0",
    "x",
];

/// All pieces twice, the second time in another order, with invalid bytes between them.
pub(super) fn bytes() -> Vec<u8> {
    let mut bytes = vec![];
    for (index, piece) in PIECES.iter().enumerate() {
        bytes.extend_from_slice(piece.as_bytes());
        bytes.extend_from_slice([&b" "[..], b"\xff", b"", b"\xf0\x9f", b"\n"][index % 5]);
    }
    bytes.extend(PIECES.iter().rev().step_by(2).flat_map(|piece| piece.bytes()));
    bytes
}
