//! Private keys in PEM: from the BEGIN line to the END line, however far that is.

use super::run::Class;

/// What a block begins with.
pub(super) const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// The longest rest of a BEGIN or END line, in bytes.
const LINE: usize = 64;
/// How many bytes must be known past a position to decide about it.
pub(super) const LOOK: usize = 96;

/// A block that is being passed over.
///
/// Without an END line it ends where something stands that a key, its headers, and the quotes and line prefixes around
/// them don't hold, so that a text that only speaks of BEGIN lines isn't lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Nothing but white space and quotes has come since the last line break.
    at_line: bool,
    /// In a line like `Proc-Type: 4,ENCRYPTED`.
    in_header: bool,
}

/// The end of the BEGIN line that `text` begins with, in bytes, if it announces a private key.
pub(super) fn begin(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(BEGIN)?;
    let label = crate::text::prefix(rest, LINE).split(DASHES).next()?;
    let known = label.contains("PRIVATE KEY") && !label.contains('\n') && rest[label.len()..].starts_with(DASHES);
    known.then_some(BEGIN.len() + label.len() + DASHES.len())
}

impl Block {
    /// Just after a BEGIN line.
    pub(super) fn new() -> Self {
        Self {
            at_line: false,
            in_header: false,
        }
    }

    /// Passes over the block in `text` from `at` on. Returns where it stopped, and the block if it goes on there, which
    /// is so only in a text that isn't at its `end`.
    pub(super) fn pass(mut self, text: &[u8], mut at: usize, end: bool) -> (usize, Option<Self>) {
        while at < text.len() {
            if !end && at + LOOK > text.len() {
                return (at, Some(self));
            }
            match self.step(&text[at..]) {
                Step::Over(count) => at += count,
                Step::Done(count) => return (at + count, None),
            }
        }
        (at, (!end).then_some(self))
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        let byte = rest[0];
        if byte == b'-' && rest.starts_with(END.as_bytes()) {
            return Step::Done(end_line(rest));
        }
        let escaped_break = rest.starts_with(b"\\n") || rest.starts_with(b"\\r");
        if byte == b'\n' || escaped_break {
            (self.at_line, self.in_header) = (true, false);
            return Step::Over(1 + usize::from(escaped_break));
        }
        if self.at_line && !byte.is_ascii_whitespace() && !QUOTES.contains(&byte) {
            (self.at_line, self.in_header) = (false, is_header(rest));
        }
        if self.in_header || belongs(byte) {
            Step::Over(1)
        } else {
            Step::Done(0)
        }
    }
}

enum Step {
    /// This many bytes belong to the block.
    Over(usize),
    /// This many more bytes belong to it, and no others.
    Done(usize),
}

/// The length of the END line that `rest` begins with.
fn end_line(rest: &[u8]) -> usize {
    let line = &rest[..rest.len().min(END.len() + LINE)];
    let close = memchr::memmem::find(&line[END.len()..], DASHES.as_bytes());
    let label = close.filter(|len| !line[END.len()..END.len() + len].contains(&b'\n'));
    END.len() + label.map_or(0, |len| len + DASHES.len())
}

/// Whether `line` begins with a name, a colon and a space.
fn is_header(line: &[u8]) -> bool {
    let name = line
        .iter()
        .take(32)
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'-');
    let name = name.count();
    name > 0 && line[name..].starts_with(b": ")
}

/// What may stand before a line in a mail, a source or a list.
const QUOTES: &[u8] = b"\"'>|#*+";

/// Whether `byte` may stand in a key, or around its lines.
fn belongs(byte: u8) -> bool {
    Class::Token.has(byte) || byte.is_ascii_whitespace() || QUOTES.contains(&byte) || b"\\:,".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(text: &str) -> &str {
        let start = begin(text).expect("a private key begins");
        let (end, open) = Block::new().pass(text.as_bytes(), start, true);
        assert_eq!(open, None);
        &text[end..]
    }

    #[test]
    fn only_private_keys_begin() {
        assert_eq!(begin("-----BEGIN PRIVATE KEY-----x"), Some(27));
        assert_eq!(begin("-----BEGIN OPENSSH PRIVATE KEY-----"), Some(35));
        assert_eq!(begin("-----BEGIN PGP PRIVATE KEY BLOCK-----"), Some(37));
        for other in [
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY",
            "-----BEGIN A\nPRIVATE KEY-----",
        ] {
            assert_eq!(begin(other), None, "{other}");
        }
    }

    #[test]
    fn a_block_ends_with_its_end_line() {
        let long = "MIIEvQ+/=\n".repeat(10_000);
        let text = format!(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED (x)\n\n{long}-----END RSA PRIVATE KEY-----\nz"
        );
        assert_eq!(passed(&text), "\nz");
        let escaped = r#"-----BEGIN PRIVATE KEY-----\nVersion: G (é)\n\nMIIE\n-----END PRIVATE KEY-----\n", "#;
        assert_eq!(passed(escaped), r#"\n", "#);
    }

    #[test]
    fn a_block_without_an_end_line_ends_with_what_no_key_holds() {
        assert_eq!(passed("-----BEGIN PRIVATE KEY-----\") {\nnext"), ") {\nnext");
        assert_eq!(passed("-----BEGIN PRIVATE KEY-----\n> MIIE\né"), "é");
        assert_eq!(passed("-----BEGIN PRIVATE KEY-----\n> MIIE"), "");
        assert_eq!(passed("-----BEGIN PRIVATE KEY-----A-----END x\ny"), "x\ny");
    }
}
