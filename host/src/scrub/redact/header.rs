//! Secrets that are known by what stands before them: the value of an `Authorization` header, and a user with a password
//! in a URL.

use std::ops::Range;

use super::run::Class;

/// What is searched for to find an `Authorization` header; its first letter may be of either case.
pub(super) const AUTHORIZATION: [&str; 2] = ["uthorization", "UTHORIZATION"];
/// What is searched for to find a URL.
pub(super) const URL: &str = "://";
/// How far before a value its header can begin, in bytes.
pub(super) const BEHIND: usize = 64;
/// The shortest value that is redacted, in bytes.
const VALUE_MIN: usize = 4;
const USER_MAX: usize = 128;
const PASSWORD_MAX: usize = 512;
/// How far past its beginning a match must be known, in bytes.
pub(super) const LOOK: usize = BEHIND + USER_MAX + PASSWORD_MAX + 8;

/// The beginning of the value of the header whose name ends where `text` begins. In `Authorization: Bearer x` and
/// `"Authorization", "Basic x"` it is `x`.
pub(super) fn authorization(text: &[u8]) -> Option<Range<usize>> {
    let between = text
        .iter()
        .take(16)
        .take_while(|b| b.is_ascii_whitespace() || b"\"'`\\:=,".contains(b));
    let between = between.count();
    if !text[..between].iter().any(|b| b"\":=".contains(b)) {
        return None;
    }
    let scheme = ["bearer", "basic"].into_iter().find(|scheme| {
        let word = text[between..].get(..scheme.len());
        word.is_some_and(|word| word.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    let after = between + scheme.len();
    let spaces = text[after..].iter().take(8).take_while(|b| matches!(b, b' ' | b'\t'));
    let start = after + spaces.count();
    let value = text[start..]
        .iter()
        .take(VALUE_MIN)
        .take_while(|b| Class::Value.has(**b));
    (start > after && value.count() == VALUE_MIN).then_some(start..start + VALUE_MIN)
}

/// The user and the password of the URL whose `://` ends where `text` begins.
pub(super) fn credentials(text: &[u8]) -> Option<Range<usize>> {
    let user = text
        .iter()
        .take(USER_MAX)
        .take_while(|b| in_url(**b) && !b":@?#".contains(b))
        .count();
    let rest = text[user..].strip_prefix(b":")?;
    let len = rest.iter().take(PASSWORD_MAX).take_while(|b| in_url(**b)).count();
    // A password that should be encoded but isn't may hold an `@`.
    let password = rest[..len].iter().rposition(|b| *b == b'@')?;
    (password > 0).then_some(0..user + 1 + password)
}

fn in_url(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"/\"'`<>[]\\|".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_header_is_found() {
        for (text, value) in [
            (": Bearer abcd.e", Some("abcd")),
            ("\": \"Basic dTpw\"", Some("dTpw")),
            ("=bearer  abcde", Some("abcd")),
            ("\\\": \\\"BASIC abcd", Some("abcd")),
            (": Bearer abc", None),
            (": Bearer [redacted authorization]", None),
            (": Bearer <token>", None),
            (": Digest abcd", None),
            (" bearer tokens", None),
            (": Bearerabcd", None),
        ] {
            let found = authorization(text.as_bytes()).map(|range| &text[range]);
            assert_eq!(found, value, "{text}");
        }
    }

    #[test]
    fn a_user_with_a_password_is_found() {
        for (text, found) in [
            ("u:p@h/x", Some("u:p")),
            (":p@h", Some(":p")),
            ("u:p@ss:w?#@h:5/a@b", Some("u:p@ss:w?#")),
            ("é:ж@h", Some("é:ж")),
            ("u@h", None),
            ("u:@h", None),
            ("h:80/a@b", None),
            ("h:80 a@b", None),
            ("[redacted credentials]@h:80", None),
        ] {
            let range = credentials(text.as_bytes());
            assert_eq!(range.map(|range| &text[range]), found, "{text}");
        }
        for (len, found) in [(PASSWORD_MAX - 1, true), (PASSWORD_MAX, false)] {
            let text = format!("u:{}@h", "p".repeat(len));
            assert_eq!(credentials(text.as_bytes()).is_some(), found, "{len}");
        }
    }
}
