//! Reads JSON that a stranger wrote: within a depth and a number of values, with no key twice, and nothing but one value. Beside that, escapes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::text;

/// Characters of a key that an error repeats.
const KEY: usize = 64;

/// JSON text that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It nests deeper than allowed.
    #[error("it nests deeper than {0} (limits.json.depth)")]
    TooDeep(u64),
    /// It has more in it than allowed: a value of three bytes takes a hundred times as much when it is read.
    #[error("it has more than {0} values and keys (limits.json.values)")]
    TooMany(u64),
    /// It is no JSON, or has a key twice.
    #[error("{0}")]
    Malformed(String),
}

/// What a text may have that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// How deep it nests.
    pub depth: u64,
    /// Values, and keys.
    pub values: u64,
}

/// Reads one JSON value.
///
/// # Errors
/// It is over a bound of `most`, has a key twice in one object, or is not exactly one JSON value (RFC 8259).
pub fn parse(text: &str, most: Most) -> Result<Value, JsonError> {
    let outline = Outline::of(text);
    if outline.depth > most.depth {
        return Err(JsonError::TooDeep(most.depth));
    }
    if outline.values > most.values {
        return Err(JsonError::TooMany(most.values));
    }
    let strict: Strict = serde_json::from_str(text).map_err(|e| JsonError::Malformed(e.to_string()))?;
    Ok(strict.0)
}

/// Whether a text is exactly one JSON value, whatever is in it. None of it is kept.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether a text is JSON that [`parse`] would read, however many values it has; and then whether it is an object. None of it is kept.
///
/// # Errors
/// It nests deeper than `depth`, has a key twice in one object, or is not exactly one JSON value.
pub fn is_object(text: &str, depth: u64) -> Result<bool, JsonError> {
    if nesting(text) > depth {
        return Err(JsonError::TooDeep(depth));
    }
    let seen: Seen = serde_json::from_str(text).map_err(|e| JsonError::Malformed(e.to_string()))?;
    Ok(seen.is_object)
}

/// JSON text in which each character of a string stands as serde_json writes it: `\u004b` and `\/`, which need no escape, as themselves. It reads as the
/// same values; what stands in it is what whoever writes these again sends on.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !has_needless_escapes(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    unescape(text.as_bytes(), |piece| match piece {
        Piece::Bytes(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Piece::Escaped(c) => {
            let quoted = Value::String(c.into()).to_string();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    });
    Cow::Owned(out)
}

/// Bytes in which what a reader of JSON takes for an escape stands as what it means. None where there is no escape but those that JSON needs.
pub fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    if !has_needless_escapes(bytes) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len());
    unescape(bytes, |piece| match piece {
        Piece::Bytes(bytes) => out.extend_from_slice(bytes),
        Piece::Escaped(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    });
    Some(out)
}

/// Where the strings, with their quotes, and the numbers of a JSON text stand, keys among them, in order. Of a text that is no JSON, any stretches.
pub fn literals(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let is_begun = |byte: &u8| matches!(byte, b'"' | b'-' | b'0'..=b'9');
        let from = at + bytes[at..].iter().position(is_begun)?;
        at = match bytes[from] {
            b'"' => string_end(bytes, from + 1),
            _ => {
                let is_over = |byte: &u8| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let rest = bytes[from..].iter().position(is_over);
                rest.map_or(bytes.len(), |length| from + length)
            }
        };
        Some(from..at)
    })
}

/// Where a string of JSON ends that has begun: behind its closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(next) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        match bytes[at + next] {
            b'"' => return at + next + 1,
            _ => at += next + 2,
        }
    }
    bytes.len()
}

/// Whether there is an escape that JSON does not need: of a character that could stand there as itself.
pub fn has_needless_escapes(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', bytes).any(|at| matches!(bytes.get(at + 1), Some(b'u' | b'/')))
}

/// A piece of a text with escapes.
enum Piece<'a> {
    Bytes(&'a [u8]),
    Escaped(char),
}

/// Takes a text apart at its escapes. A backslash that begins none is one of the bytes.
fn unescape(bytes: &[u8], mut take: impl FnMut(Piece<'_>)) {
    let mut from = 0;
    for (place, c) in escapes(bytes) {
        take(Piece::Bytes(&bytes[from..place.start]));
        take(Piece::Escaped(c));
        from = place.end;
    }
    take(Piece::Bytes(&bytes[from..]));
}

/// Where a reader of JSON takes something for an escape, and what it means, in order.
pub fn escapes(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, char)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += memchr::memchr(b'\\', &bytes[at..])?;
            match escape(&bytes[at..]) {
                Some((c, length)) => {
                    let place = at..at + length;
                    at = place.end;
                    return Some((place, c));
                }
                None => at += 1,
            }
        }
    })
}

/// The escape that these bytes begin with: what it means, and how many bytes it takes.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let [b'\\', kind, ..] = bytes else { return None };
    let c = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => {
            let units = [unit(bytes), bytes.get(6..).and_then(unit)];
            let units = units.into_iter().map_while(|unit| unit);
            let c = char::decode_utf16(units).next()?.ok()?;
            return Some((c, 6 * c.len_utf16()));
        }
        _ => return None,
    };
    Some((c, 2))
}

/// The UTF-16 unit of the escape `\uXXXX` that these bytes begin with.
fn unit(bytes: &[u8]) -> Option<u16> {
    code(bytes.strip_prefix(b"\\")?)
}

/// The same of an escape whose backslash stands before these bytes.
fn code(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"u")?.get(..4)?;
    let digits = str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

/// The most bytes that a character takes in JSON in strings of JSON four levels deep: an escape of 16 backslashes.
pub const WRITTEN: usize = 16 + "u0000".len();

/// An escape that is a backslash, behind one.
const BACKSLASH: &[u8] = b"u005c";

/// What stands in a text for something else, in order, where it is told without backslashes: however deep it lies in strings of JSON, and whichever of its
/// characters are escapes, it comes to the same. An escape `\u004b` is its character, a line break and a tab are the letters of their escapes, and all other
/// backslashes are nothing. What is found hangs on what is near it alone, and so halves of characters, which come in pairs, are none.
pub fn bare(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Option<char>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = at + memchr::memchr3(b'\\', b'\n', b'\t', bytes.get(at..)?)?;
        if bytes[from] != b'\\' {
            at = from + 1;
            return Some((from..at, Some(letter(char::from(bytes[from])))));
        }
        at = row_end(bytes, from);
        let read = code(&bytes[at..]).and_then(|unit| char::from_u32(unit.into()));
        if read.is_some() {
            at += BACKSLASH.len();
        }
        Some((from..at, read.map(letter)))
    })
}

/// How many bytes at the end may be the beginning of an escape that goes on, as [`bare`] reads it.
pub fn begun(bytes: &[u8]) -> usize {
    let begun = (0..BACKSLASH.len()).filter_map(|length| {
        let (before, escape) = bytes.split_at_checked(bytes.len().checked_sub(length)?)?;
        let is_one =
            escape.first().is_none_or(|byte| *byte == b'u') && escape.iter().skip(1).all(u8::is_ascii_hexdigit);
        let row = is_one.then(|| row_behind(before))?;
        (row > 0).then_some(row + length)
    });
    begun.max().unwrap_or(0)
}

/// Where a row of backslashes ends that begins here, some of which may be escapes themselves.
fn row_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
        match bytes[at..].get(..BACKSLASH.len()) {
            Some(next) if next.eq_ignore_ascii_case(BACKSLASH) => at += BACKSLASH.len(),
            _ => return at,
        }
    }
}

/// How long the row is that these bytes end with.
fn row_behind(bytes: &[u8]) -> usize {
    let (mut rest, mut length) = (bytes, 0);
    loop {
        if let Some(before) = rest.strip_suffix(b"\\") {
            rest = before;
            length = bytes.len() - rest.len();
        } else if let Some((before, last)) = rest.split_last_chunk::<5>()
            && last.eq_ignore_ascii_case(BACKSLASH)
        {
            rest = before;
        } else {
            return length;
        }
    }
}

/// The letter of the escape that a character has in JSON, where that is one.
fn letter(c: char) -> char {
    match c {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        other => other,
    }
}

/// How deep brackets nest outside strings; a bound for text that is no JSON, too.
pub fn nesting(text: &str) -> u64 {
    Outline::of(text).depth
}

/// How many values and keys there are; a bound for text that is no JSON, too.
pub fn values(text: &str) -> u64 {
    Outline::of(text).values
}

/// A text as its signs outside of strings show it, JSON or not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outline {
    depth: u64,
    /// Values and keys: at most so many.
    values: u64,
}

impl Outline {
    fn of(text: &str) -> Self {
        let (mut depth, mut in_string, mut escaped) = (0u64, false, false);
        let mut outline = Self { depth: 0, values: 1 };
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'[' | b'{' => {
                    depth += 1;
                    outline.depth = outline.depth.max(depth);
                    outline.values += 1;
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' | b':' => outline.values += 1,
                _ => {}
            }
        }
        outline
    }
}

/// What was read and not kept.
struct Seen {
    is_object: bool,
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeenVisitor)
    }
}

struct SeenVisitor;

impl SeenVisitor {
    const PLAIN: Seen = Seen { is_object: false };
}

impl<'de> Visitor<'de> for SeenVisitor {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Self::PLAIN)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Self::PLAIN)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Self::PLAIN)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
        Ok(Self::PLAIN)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Self::PLAIN)
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Self::PLAIN)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Seen, A::Error> {
        while seq.next_element::<Seen>()?.is_some() {}
        Ok(Self::PLAIN)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Seen>()?;
            if keys.contains(&key) {
                return Err(twice(&key));
            }
            keys.insert(key);
        }
        Ok(Seen { is_object: true })
    }
}

fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(format!("the key {:?} is there twice", text::line(key, KEY)))
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            if object.contains_key(&key) {
                return Err(twice(&key));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most {
        depth: 64,
        values: 1000,
    };

    #[test]
    fn depth_holds_from_both_sides() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(&nested(64), MOST).is_ok());
        assert_eq!(parse(&nested(65), MOST), Err(JsonError::TooDeep(64)));
        assert!(parse(&nested(100_000), MOST).is_err());
        assert!(parse(r#"{"a":"[[[[\"[["}"#, Most { depth: 1, ..MOST }).is_ok());
        assert!(is_object(&nested(64), 64).is_ok());
        assert_eq!(is_object(&nested(65), 64), Err(JsonError::TooDeep(64)));
    }

    #[test]
    fn values_and_keys_are_counted_from_both_sides() {
        let most = |values| Most { values, ..MOST };
        for (text, values) in [("1", 1), ("[1]", 2), ("[1,2,3]", 4), (r#"{"a":[1,{"b":",:[{"}]}"#, 7)] {
            assert!(parse(text, most(values)).is_ok(), "{text}");
            assert_eq!(
                parse(text, most(values - 1)),
                Err(JsonError::TooMany(values - 1)),
                "{text}"
            );
        }
        let many = format!("[{}1]", "1,".repeat(100_000));
        assert_eq!(is_object(&many, 64), Ok(false), "what is not kept is not bounded");
    }

    #[test]
    fn strings_and_numbers_are_found_where_they_stand() {
        let literals = |text: &str| -> Vec<String> { literals(text).map(|place| text[place].to_owned()).collect() };
        let text = r#" {"a\\":[-1.5e+3,"\\\"é",{},true, 0],"": "x"}"#;
        assert_eq!(
            literals(text),
            [r#""a\\""#, "-1.5e+3", r#""\\\"é""#, "0", r#""""#, r#""x""#]
        );
        assert_eq!(literals("17"), ["17"]);
        assert_eq!(literals("null"), [""; 0]);
        assert_eq!(literals(r#""é\"#), [r#""é\"#], "it is no JSON");
    }

    #[test]
    fn needless_escapes_are_gone_and_needed_ones_stay() {
        for (text, expected) in [
            (
                r#"{"\u004b\u0022":"a\/b\\\u005c\n\u000a\u001F\ud83d\ude00é"}"#,
                r#"{"K\"":"a/b\\\\\n\n\u001f😀é"}"#,
            ),
            (r#""\\u004b \" \\/""#, r#""\\u004b \" \\/""#),
            (r#"{"a": [1.0e2, "\""]}"#, r#"{"a": [1.0e2, "\""]}"#),
        ] {
            let plain = plain(text);
            assert_eq!(plain, expected);
            assert_eq!(parse(&plain, MOST), parse(text, MOST));
            assert_eq!(super::plain(&plain), plain);
        }
        // What is no escape stays.
        for text in [r"\ud800 \u00g1 \u+041 \x \u00", r"\ud83d\u0041 \u"] {
            assert_eq!(plain(text).replace('A', r"\u0041"), text);
        }
        assert_eq!(unescaped(b"\xff\\u004b\\\"\\"), Some(b"\xffK\"\\".to_vec()));
        assert_eq!(unescaped(br#"\n\""#), None);
    }

    /// The text without backslashes, and where what stands for something else does.
    fn read(text: &str) -> String {
        let (mut out, mut from) = (String::new(), 0);
        for (place, c) in bare(text.as_bytes()) {
            out.push_str(&text[from..place.start]);
            out.extend(c);
            from = place.end;
        }
        out + &text[from..]
    }

    #[test]
    fn a_text_is_the_same_without_backslashes_however_deep_it_lies() {
        let value = "a\"b\\c/d\n\té\\u004b";
        assert_eq!(read(value), "a\"bc/dntéK");
        let mut text = value.to_owned();
        for _ in 0..5 {
            text = Value::String(text).to_string().trim_matches('"').to_owned();
            assert_eq!(read(&text), read(value), "{text}");
        }
        for text in [
            r"a\u0022b\u005Cc\/d\u000a\u0009\u00e9\u005cu004b",
            r"\u005c\u005c\\u0061\\\u0022b\u005cc\\\\/d\n\t\u005c\u005cu00e9\u005cu005cu004b",
        ] {
            assert_eq!(read(text), read(value), "{text}");
        }
        assert_eq!(read(r"\ud83d\ude00 \u00g1 C:\users\"), "ud83dude00 u00g1 C:users");
    }

    #[test]
    fn an_escape_that_goes_on_is_held_from_its_first_backslash() {
        for escape in [
            r"\u004b",
            r"\\\\\\\\\\\\\\\\u004b",
            r"\u005cu004b",
            r"\u005C\u005c\u004b",
        ] {
            for length in 1..escape.len() {
                let text = format!("é{}", &escape[..length]);
                assert_eq!(begun(text.as_bytes()), length, "{text}");
            }
            assert_eq!(begun(escape.as_bytes()), 0, "{escape}");
        }
        for text in ["", "u", "u005c", r"\n", r"\ug", r"\u00/", r"\/"] {
            assert_eq!(begun(text.as_bytes()), 0, "{text}");
        }
    }

    #[test]
    fn an_error_repeats_no_more_of_a_key_than_a_line_has_room_for() {
        let long = "k".repeat(1_000_000);
        let error = parse(&format!("{{\"{long}\":1,\"{long}\":2}}"), MOST).expect_err("it is there twice");
        let words = error.to_string();
        assert!(words.contains(&"k".repeat(KEY - 1)) && words.len() < 200, "{words}");
    }

    #[test]
    fn odd_text_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            "1e999",
            "",
            "{} {}",
            "NaN",
            "{'a':1}",
            r#"{"a":{"b":1,"b":1}}"#,
        ] {
            assert!(parse(text, MOST).is_err(), "{text}");
            assert!(is_object(text, 64).is_err(), "{text}");
        }
        for (text, object) in [
            (r#" {"a": null}"#, true),
            ("[{}]", false),
            ("\"{}\"", false),
            ("-1.5", false),
        ] {
            assert_eq!(is_object(text, 64), Ok(object), "{text}");
        }
    }
}
