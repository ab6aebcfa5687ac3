//! A text that comes piece by piece, redacted as far as its user has it decided: where a secret begins in one piece and ends in another, none of it is handed
//! out.

use std::fmt;

use super::clean::Cleaner;
use super::redact::Redactor;
use super::secret::View;
use super::secrets::{Known, Secrets};

/// What came of a text, and is not handed out yet.
pub struct Coming {
    cleaner: Cleaner,
    redactor: Redactor,
}

impl Default for Coming {
    fn default() -> Self {
        Self {
            cleaner: Cleaner::default(),
            redactor: Redactor::by_hand(),
        }
    }
}

impl Coming {
    /// Adds the next piece. Gives how many bytes it has, cleaned.
    pub fn add(&mut self, piece: &str) -> usize {
        let mut added = 0;
        let redactor = &mut self.redactor;
        self.cleaner.push(piece, &mut |clean| {
            added += clean.len();
            redactor.add(clean);
        });
        added
    }

    /// Adds the next piece up to where it has `most` bytes, cleaned. Gives how many it has, and what follows them.
    pub fn add_first<'a>(&mut self, piece: &'a str, most: usize) -> (usize, &'a str) {
        let mut added = 0;
        for (at, c) in piece.char_indices() {
            if added >= most {
                return (added, &piece[at..]);
            }
            added += self.add(&piece[at..at + c.len_utf8()]);
        }
        (added, "")
    }

    /// The bytes that are not decided.
    pub fn open(&self) -> usize {
        self.redactor.open().len()
    }

    /// Of that, what stands in no secret that is known by now, and is not passed over.
    pub fn visible(&self) -> &str {
        self.redactor.visible()
    }

    /// Whether a private key goes on in what is not decided.
    pub fn is_in_key(&self) -> bool {
        self.redactor.is_in_key()
    }

    /// Passes over what is not decided: it is not handed out any more, but what takes the place of a secret in it.
    pub fn pass_over(&mut self) {
        self.redactor.pass_over();
    }

    /// Hands out all but about the last `open` bytes. Whoever learns how much that is learns of a secret what these hang on.
    pub fn decide_all_but(&mut self, secrets: &Secrets, open: usize) -> String {
        let mut out = String::new();
        self.redactor
            .decide_all_but(secrets.rules(), open, &mut |text| out.push_str(text));
        out
    }

    /// Hands out all in which no secret may begin that goes on. That hangs on less than a whole secret, and so neither it nor anything that is measured of it may
    /// reach a guest: it is for people who watch.
    pub fn decide_settled(&mut self, secrets: &Secrets) -> String {
        let begun = secrets
            .rules()
            .forbidden()
            .begun(self.redactor.open(), &mut View::default());
        self.decide_all_but(secrets, begun)
    }

    /// The first secret in whose place something was handed out, since this was asked.
    pub fn take_secret<'a>(&mut self, secrets: &'a Secrets) -> Option<Known<'a>> {
        self.redactor.take_secret().map(|owner| secrets.known(owner))
    }

    /// Hands out the rest: nothing more comes.
    pub fn finish(&mut self, secrets: &Secrets) -> String {
        let mut out = String::new();
        self.redactor.finish(secrets.rules(), &mut |text| out.push_str(text));
        out
    }
}

/// Without its text, which may hold a secret.
impl fmt::Debug for Coming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coming")
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrub::BEHIND;

    fn long(len: usize) -> String {
        let mut state = 7_u32;
        let letter = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + u8::try_from(state >> 24).unwrap_or(0) % 26)
        };
        (0..len).map(letter).collect()
    }

    fn unicode(text: &str) -> String {
        text.bytes().map(|byte| format!("\\u00{byte:02x}")).collect()
    }

    /// Some of its characters as escapes of so many backslashes.
    fn mixed(text: &str, backslashes: usize) -> String {
        let written = |(at, byte): (usize, u8)| match at % 3 {
            0 => format!("{}u00{byte:02X}", "\\".repeat(backslashes)),
            _ => char::from(byte).to_string(),
        };
        text.bytes().enumerate().map(written).collect()
    }

    fn spread(text: &str) -> String {
        let hex: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        hex.join("                ")
    }

    /// What is handed out of a text in pieces of `size` bytes, each decided by `decide`.
    fn told(secrets: &Secrets, text: &str, size: usize, decide: impl Fn(&mut Coming) -> String) -> String {
        let (mut coming, mut told) = (Coming::default(), String::new());
        for piece in text.as_bytes().chunks(size) {
            coming.add(std::str::from_utf8(piece).expect("ASCII"));
            told.push_str(&decide(&mut coming));
        }
        told + &coming.finish(secrets)
    }

    #[test]
    fn of_a_secret_of_any_length_nothing_is_told_wherever_it_is_cut() {
        for len in [32, 128, 129, 164, 300, 1000, 4000] {
            let value = long(len);
            let secrets = Secrets::new([("x".to_owned(), value.clone())]);
            for text in [
                value.clone(),
                unicode(&value),
                spread(&value),
                mixed(&value, 2),
                mixed(&value, 16),
            ] {
                let text = format!("<{text}> and");
                for size in [7, 16, 90, 128, 500] {
                    let settled = told(&secrets, &text, size, |coming| coming.decide_settled(&secrets));
                    assert_eq!(settled, "<[secret x]> and", "{len} in pieces of {size}");
                    let behind = told(&secrets, &text, size, |coming| match coming.open() > 2 * BEHIND {
                        true => coming.decide_all_but(&secrets, BEHIND),
                        false => String::new(),
                    });
                    assert_eq!(behind, "<[secret x]> and", "{len} in pieces of {size}, behind");
                }
            }
        }
    }

    #[test]
    fn all_is_settled_but_what_may_begin_a_secret() {
        let value = long(32);
        let secrets = Secrets::new([("x".to_owned(), value.clone())]);
        let mut coming = Coming::default();
        assert_eq!(
            coming.add(&format!("é\r\n {value} \u{200b}é {}", &value[..9])),
            2 + 2 + 32 + 1 + 2 + 1 + 9
        );
        assert_eq!(coming.decide_settled(&secrets), "é\n [secret x] é ");
        assert_eq!((coming.open(), coming.visible()), (9, &value[..9]));
        coming.pass_over();
        assert_eq!((coming.open(), coming.visible()), (9, ""));
        assert_eq!(coming.decide_settled(&secrets), "");
        assert_eq!(coming.add_first("-+é", 2), (2, "é"));
        assert_eq!(coming.decide_settled(&secrets), "-+");
        coming.add(&value);
        assert_eq!(coming.decide_settled(&secrets), "[secret x]");
        assert_eq!(
            (
                coming.finish(&secrets).as_str(),
                coming_of("a").decide_settled(&Secrets::none()).as_str()
            ),
            ("", "a")
        );
    }

    #[test]
    fn a_secret_is_told_to_nobody_however_deep_its_escapes_lie() {
        let value = "Kq7z\"pW4n\\9LsB2mYc6\"dG8h/Jf3AeU";
        let secrets = Secrets::new([("x".to_owned(), value.to_owned())]);
        let json = |text: &str| {
            let quoted = serde_json::json!(text).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        };
        let once = json(value);
        let mixed = once.replacen("\\\"", "\\u0022", 1);
        let (first, rest) = (format!("\\u00{:02x}", value.as_bytes()[0]), &once[1..]);
        let begun = first.clone() + rest;
        let as_escape = begun.replace('\\', "\\u005C");
        for text in [
            value.to_owned(),
            json(&once),
            mixed.clone(),
            json(&mixed),
            begun.clone(),
            json(&json(&begun)),
            as_escape,
        ] {
            for size in [1, 2, 3, 5, 7, 16, 400] {
                let settled = told(&secrets, &format!("<{text}> and"), size, |coming| {
                    coming.decide_settled(&secrets)
                });
                assert_eq!(settled, "<[secret x]> and", "{text} in pieces of {size}");
            }
            assert_eq!(secrets.redact(&text), "[secret x]", "{text}");
        }
    }

    #[test]
    fn what_was_replaced_is_known_once() {
        let value = long(32);
        let secrets = Secrets::new([("x".to_owned(), value.clone())]);
        let mut coming = coming_of(&value[..9]);
        assert_eq!(
            (coming.decide_settled(&secrets).as_str(), coming.take_secret(&secrets)),
            ("", None)
        );
        coming.add(&value[9..]);
        coming.finish(&secrets);
        assert_eq!(coming.take_secret(&secrets), Some(Known::Secret("x")));
        assert_eq!(coming.take_secret(&secrets), None);
        assert_eq!(secrets.replaced_in("sk-0123456789abcdefghij [secret x]"), None);
        for told in [
            mixed(&value, 1),
            format!("https://u:{value}@x.org/"),
            format!("ghp_{}{value}", long(36)),
        ] {
            assert_eq!(secrets.replaced_in(&told), Some(Known::Secret("x")), "{told}");
        }
    }

    fn coming_of(text: &str) -> Coming {
        let mut coming = Coming::default();
        coming.add(text);
        coming
    }

    #[test]
    fn what_is_handed_out_is_not_kept() {
        let secrets = Secrets::new([("x".to_owned(), long(300))]);
        let mut coming = Coming::default();
        coming.add(&"-".repeat(1 << 20));
        assert_eq!(coming.decide_settled(&secrets).len(), 1 << 20);
        assert!(coming.redactor.held() < 4096, "{}", coming.redactor.held());
    }
}
