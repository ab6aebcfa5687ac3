//! Secrets of the operator: named values that the host puts into requests of tools, and that nobody else ever sees. They lie in one private file.

mod file;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::egress::Place;
use crate::limits::{self, Unit};
use crate::text;

pub use file::{SecretFile, Set};

/// The longest name, in bytes: a placeholder shows all of it.
const NAME_MAX: usize = 64;
/// The shortest value, in bytes: a shorter one would be found where it is not, and is not looked for in its encodings.
pub const VALUE_MIN: usize = 8;

/// The least room, in bits, in which nobody finds a value by trying.
const BITS: f64 = 64.0;

/// Whether a value is set that can be found by trying.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Guessable {
    /// It is refused.
    #[default]
    Refuse,
    /// It is set all the same.
    Accept,
}

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name, which is none.
    pub name: String,
    /// Where in a request it is put.
    pub place: Place,
    /// When it was set, in milliseconds since 1970.
    pub set_ms: u64,
    /// What it is.
    value: Arc<Zeroizing<String>>,
}

impl Secret {
    /// What it is, for the egress and for whoever keeps it out of everything else.
    pub fn value(&self) -> &Arc<Zeroizing<String>> {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, {})", self.name, self.place)
    }
}

/// Secrets that can't be read or changed. No variant holds any of their values.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A name is none.
    #[error("{name}: a secret's name is 1 to {NAME_MAX} letters, digits, - and _, a letter or a digit first")]
    Name {
        /// What was given, cleaned.
        name: String,
    },
    /// A value is none that can be kept, put into a request and found again.
    #[error("the value of a secret {what}")]
    Value {
        /// What is wrong with it.
        what: String,
    },
    /// There is no secret of this name.
    #[error("there is no secret {name}{hint}")]
    Missing {
        /// The name.
        name: String,
        /// Another that was meant, or nothing.
        hint: String,
    },
    /// All secrets together are too much.
    #[error("all secrets together have more than {} (limits.secret.total)", limits::show(*most, Unit::Bytes))]
    Full {
        /// The most, in bytes.
        most: u64,
    },
    /// The file can't be read, or others may read it too.
    #[error("{} can't be read: {error}", text::path(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what was written.
    #[error(
        "{} is damaged: {what}; mend it, or move it away and set the secrets anew",
        text::path(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        what: String,
    },
    /// The file can't be written.
    #[error("{} can't be written: {error}", text::path(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another process changes the file, for longer than that takes.
    #[error("{} is being changed by another process; try again", text::path(path))]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl SecretError {
    /// That there is no secret of this name; `names` are those that there are.
    pub fn missing<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let hint = text::nearest(name, names).map(|near| format!("; did you mean {near}?"));
        Self::Missing {
            name: text::line(name, NAME_MAX),
            hint: hint.unwrap_or_default(),
        }
    }
}

/// Whether a secret can be called so.
///
/// # Errors
/// It can't.
pub fn check_name(name: &str) -> Result<(), SecretError> {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good && first && name.len() <= NAME_MAX {
        return Ok(());
    }
    Err(SecretError::Name {
        name: text::line(name, NAME_MAX),
    })
}

/// Whether a value can be kept, put into a header, and found again; `most` is its longest, in bytes.
///
/// # Errors
/// It can't: why, without any of it.
pub fn check_value(value: &str, most: u64) -> Result<(), SecretError> {
    let bad = |what: String| Err(SecretError::Value { what });
    if value.bytes().any(|byte| byte == b'\n' || byte == b'\r') {
        return bad("is one line, and this has several".to_owned());
    }
    if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return bad("is visible ASCII characters and spaces: a header carries no others".to_owned());
    }
    if value.trim() != value {
        return bad("neither begins nor ends with a space".to_owned());
    }
    if value.len() < VALUE_MIN {
        return bad(format!(
            "has {VALUE_MIN} characters at least, which no key changes: a shorter one would be found where it is not"
        ));
    }
    if value.len() as u64 > most {
        let most = limits::show(most, Unit::Bytes);
        return bad(format!("has {most} at most (limits.secret.value)"));
    }
    Ok(())
}

/// Whether a value can't be found by trying, as far as its length and its characters tell: a word that somebody chose may be found sooner. A plugin may
/// try as many as it likes: that its call or request holds a secret is told to it.
///
/// # Errors
/// It can be: what it lacks, without any of it.
pub fn check_guess(value: &str) -> Result<(), SecretError> {
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        _ => 3,
    };
    let once = once(value.as_bytes());
    let kinds: BTreeSet<usize> = once.iter().copied().map(kind).collect();
    let alphabet: u32 = kinds.into_iter().map(|kind| [10_u32, 26, 26, 33][kind]).sum();
    let seen = once.iter().fold(0_u128, |seen, byte| seen | (1_u128 << (byte & 127)));
    let distinct = seen.count_ones();
    let length = u32::try_from(once.len()).unwrap_or(u32::MAX);
    // Where it has far fewer than there could be, those alone are what it is made of.
    let few = 2 * distinct < alphabet.min(length);
    let symbols = if few { distinct } else { alphabet };
    let needed = (BITS / f64::from(symbols).log2()).ceil();
    if f64::from(length) >= needed {
        return Ok(());
    }
    let which = if few { "these few" } else { "such" };
    let repeated = if once.len() < value.len() {
        " without what is repeated"
    } else {
        ""
    };
    Err(SecretError::Value {
        what: format!(
            "can't be found by trying: a plugin may try, as it is told when its call holds a secret. Of {which} characters it takes {needed}, and this has {length}{repeated}; --guessable sets it all the same"
        ),
    })
}

/// The text that a value repeats, or all of it.
fn once(value: &[u8]) -> &[u8] {
    let repeats = |length: &usize| value[*length..] == value[..value.len() - length];
    let length = (1..=value.len() / 2).find(repeats);
    &value[..length.unwrap_or(value.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        for name in ["a", "7", "weather", "GITHUB_TOKEN", "a-b_c", &"n".repeat(64)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "-a",
            "_a",
            "a b",
            "a@b",
            "a:b",
            "a/b",
            "a.b",
            "ä",
            "a\n",
            &"n".repeat(65),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_value_fits_into_a_header_and_is_found_again() {
        for value in ["12345678", "two words", "~!#$%^&*(){}\"'\\", &"v".repeat(64)] {
            assert!(check_value(value, 64).is_ok(), "{value}");
        }
        for (value, words) in [
            ("1234567", "8 characters"),
            (&*"v".repeat(65), "limits.secret.value"),
            ("12345678\n9", "one line"),
            ("1234\t5678", "visible ASCII"),
            ("12345678é", "visible ASCII"),
            (" 12345678", "begins"),
            ("12345678 ", "begins"),
        ] {
            let error = check_value(value, 64).expect_err(value).to_string();
            assert!(error.contains(words) && !error.contains("1234"), "{error}");
        }
    }

    #[test]
    fn a_value_that_can_be_found_by_trying_is_told() {
        for value in [
            "31415926535897932384",
            "q3vx9k2m7t1zb",
            "Kq7zT0pW4nX",
            "kqvxzjwhgmtbdp",
            "#Kq7 zT0p~",
            &"0123456789abcdef".repeat(4),
            // So few, and so long that it is many all the same.
            "0110100110010110100101100110100110010110011010010110100110010110",
        ] {
            assert!(check_guess(value).is_ok(), "{value}");
        }
        for (value, words) in [
            ("31415926", "such characters it takes 20, and this has 8;"),
            ("3141592653589793238", "takes 20, and this has 19;"),
            ("q3vx9k2m7t1z", "takes 13, and this has 12;"),
            ("Kq7zT0pW4n", "takes 11, and this has 10;"),
            ("kqvxzjwhgmtbd", "takes 14, and this has 13;"),
            ("#Kq7 zT0p", "takes 10, and this has 9;"),
            (&*"a".repeat(200), "this has 1 without what is repeated;"),
            (&*"01".repeat(31), "this has 2 without what is repeated;"),
            ("passwordpassword", "takes 14, and this has 8 without what is repeated;"),
            ("hunter2hunter2", "takes 13, and this has 7 without what is repeated;"),
            ("hunter2hunter2hun", "this has 7 without what is repeated;"),
            (
                "011010011001011010010110011010011001011001101001011010011001011",
                "these few characters it takes 64, and this has 63;",
            ),
        ] {
            let error = check_guess(value).expect_err(value).to_string();
            assert!(error.contains(words) && error.contains("--guessable"), "{error}");
            assert!(!error.contains(value), "{error}");
        }
    }
}
