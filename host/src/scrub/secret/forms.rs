//! The forms in which a secret's value may stand in a text: as it is, and as base64, hex, percent, JSON and HTML escapes.

use zeroize::{Zeroize as _, Zeroizing};

use super::view;
use crate::scrub::reading::Reading;

/// Values shorter than this many bytes are not looked for: they would match everywhere.
pub(super) const VALUE_MIN: usize = 4;
/// Values shorter than this many bytes are looked for in their exact form only.
pub(super) const ENCODED_MIN: usize = 8;
/// The bytes of a value that are looked for; what follows them is not.
pub(super) const VALUE_MAX: usize = 16 * 1024;
/// A longer value is looked for in overlapping parts of this many bytes, which bounds how long a match can be.
const PART: usize = 128;
/// How many bytes two neighbouring parts share at least, so that their matches overlap in each encoding.
const OVERLAP: usize = 8;
/// The most bytes that a form has: six for one of a part, whose two ends are moved to where characters begin.
pub(super) const LONGEST: usize = 6 * (PART + 2 * 3);

/// What encoders for URLs leave as it is beside letters and digits, and what they make of a space: those of RFC 3986 and of forms, JavaScript's
/// `encodeURIComponent` and `encodeURI`, the form encoding of browsers, Python's `quote`, and Go's `PathEscape`.
const PERCENT: [(&str, &str); 8] = [
    ("-._~", "%20"),
    ("-._~", "+"),
    ("-_.!~*'()", "%20"),
    ("-_.!~*'();/?:@&=+$,#", "%20"),
    ("-._*", "+"),
    ("-._~/", "%20"),
    ("-._~/", "+"),
    ("-._~$&+=:@", "%20"),
];

/// What encoders for JSON escape without need; U+007F in it means all that isn't ASCII. The last five are .NET's, Gson's, Flask's, Symfony's, and Django's for
/// scripts.
const JSON: [&str; 10] = [
    "",
    "/",
    "<>&",
    "\u{7f}",
    "/\u{7f}",
    "\"<>&'+`\u{7f}",
    "<>&='",
    "<>&'\u{7f}",
    "\"/<>&'\u{7f}",
    "\"\\<>&'=-;`",
];

/// What encoders for HTML and XML escape beside `&`, `<` and `>`, and how.
const HTML: [&[(char, &str)]; 14] = [
    // Texts, and attributes between double quotes.
    &[],
    &[('"', "&quot;")],
    // Python's `html` and React; PHP; Ruby and lodash; XML.
    &[('"', "&quot;"), ('\'', "&#x27;")],
    &[('"', "&quot;"), ('\'', "&#039;")],
    &[('"', "&quot;"), ('\'', "&#39;")],
    &[('"', "&quot;"), ('\'', "&apos;")],
    // Jinja and Go's `html`; Go's templates, and their attributes without quotes.
    &[('"', "&#34;"), ('\'', "&#39;")],
    &[('"', "&#34;"), ('\'', "&#39;"), ('+', "&#43;")],
    &[
        ('"', "&#34;"),
        ('\'', "&#39;"),
        ('+', "&#43;"),
        ('=', "&#61;"),
        ('`', "&#96;"),
        (' ', "&#32;"),
    ],
    // What OWASP advises; Handlebars; mustache.
    &[('"', "&quot;"), ('\'', "&#x27;"), ('/', "&#x2F;")],
    &[('"', "&quot;"), ('\'', "&#x27;"), ('=', "&#x3D;"), ('`', "&#x60;")],
    &[
        ('"', "&quot;"),
        ('\'', "&#39;"),
        ('/', "&#x2F;"),
        ('=', "&#x3D;"),
        ('`', "&#x60;"),
    ],
    // ASP.NET's Razor; ESAPI.
    &[('"', "&quot;"), ('\'', "&#x27;"), ('+', "&#x2B;")],
    &[
        ('"', "&quot;"),
        ('\'', "&#x27;"),
        ('+', "&#x2B;"),
        ('/', "&#x2F;"),
        ('=', "&#x3D;"),
        ('`', "&#x60;"),
    ],
];

/// The patterns of one value.
#[derive(Default)]
pub(super) struct Forms {
    /// Looked for in the text as it is.
    pub(super) exact: Vec<Zeroizing<Vec<u8>>>,
    /// Looked for in the text without backslashes, and without them themselves.
    pub(super) bare: Vec<Zeroizing<Vec<u8>>>,
    /// Looked for in the squeezed view, and squeezed themselves.
    pub(super) squeezed: Vec<Zeroizing<Vec<u8>>>,
    /// Looked for in names of hosts: the value in lower case.
    pub(super) folded: Vec<Zeroizing<Vec<u8>>>,
}

impl Forms {
    /// All forms of `value`, white space around it ignored. `cleaned` is what the cleaner leaves of it.
    pub(super) fn of(value: &str, cleaned: &str) -> Self {
        let (value, cleaned) = (first(value.trim()), first(cleaned.trim()));
        let mut forms = Self::default();
        if cleaned.len() >= VALUE_MIN {
            forms.exact.extend(parts(cleaned).map(|part| owned(part.as_bytes())));
            let bare = parts(cleaned).map(|part| Zeroizing::new(Reading::all_bare(part).text.into_bytes()));
            forms.bare.extend(bare.filter(|part| part.len() >= VALUE_MIN));
        }
        if cleaned.len() >= ENCODED_MIN {
            let lower = parts(cleaned).map(|part| Zeroizing::new(part.to_ascii_lowercase().into_bytes()));
            forms.folded.extend(lower);
        }
        for text in [value, cleaned] {
            if text.len() >= ENCODED_MIN {
                parts(text).for_each(|part| forms.encode(part));
            }
        }
        forms
    }

    fn encode(&mut self, part: &str) {
        self.add(part, &hex(part.as_bytes(), ""));
        self.add(part, &hex(part.as_bytes(), "%"));
        for (kept, space) in PERCENT {
            self.add(part, &percent(part, kept, space));
        }
        for escaped in JSON {
            self.add(part, &json(part, escaped));
        }
        self.add(part, &unicode(part));
        for escapes in HTML {
            self.add(part, &html(part, escapes));
        }
        for symbols in [*b"+/", *b"-_"] {
            (0..3).for_each(|shift| self.add(part, &base64(part.as_bytes(), shift, symbols)));
        }
    }

    /// Adds `form` of `part`, unless it is the exact form.
    fn add(&mut self, part: &str, form: &str) {
        let pattern = view::squeezed(form);
        if form != part && pattern.len() >= ENCODED_MIN && !self.squeezed.contains(&pattern) {
            self.squeezed.push(pattern);
        }
    }
}

fn owned(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

fn first(value: &str) -> &str {
    crate::text::prefix(value, VALUE_MAX)
}

/// `value` in parts of about [`PART`] bytes that overlap.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let room = value.len().saturating_sub(PART);
    let steps = room.div_ceil(PART - OVERLAP);
    (0..=steps).map(move |step| {
        let start = (step * room).checked_div(steps).unwrap_or(0);
        let end = value.ceil_char_boundary(start + PART.min(value.len()));
        &value[value.floor_char_boundary(start)..end]
    })
}

/// A text that is written once, into memory that is never moved, and wiped.
fn build(capacity: usize, write: impl FnOnce(&mut String)) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    write(&mut text);
    text
}

/// Two digits for each byte, each pair after `before`.
fn hex(bytes: &[u8], before: &str) -> Zeroizing<String> {
    build(bytes.len() * (2 + before.len()), |out| {
        for byte in bytes {
            out.push_str(before);
            push_hex(out, u32::from(*byte), 2);
        }
    })
}

/// Percent-encoding of all but letters, digits and `kept`.
fn percent(text: &str, kept: &str, space: &str) -> Zeroizing<String> {
    build(text.len() * 3, |out| {
        for byte in text.bytes() {
            match char::from(byte) {
                ' ' => out.push_str(space),
                c if c.is_ascii_alphanumeric() || kept.contains(c) => out.push(c),
                _ => {
                    out.push('%');
                    push_hex(out, u32::from(byte), 2);
                }
            }
        }
    })
}

/// The inside of a JSON string. `escaped` is one of [`JSON`].
fn json(text: &str, escaped: &str) -> Zeroizing<String> {
    build(text.len() * 6, |out| {
        for c in text.chars() {
            match c {
                '"' | '\\' if escaped.contains(c) => push_unicode(out, c),
                '"' | '\\' => out.extend(['\\', c]),
                '/' if escaped.contains('/') => out.push_str("\\/"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{C}' => out.push_str("\\f"),
                c if c < ' ' || escaped.contains(c) => push_unicode(out, c),
                c if !c.is_ascii() && escaped.contains('\u{7f}') => push_unicode(out, c),
                c => out.push(c),
            }
        }
    })
}

/// With the signs of HTML escaped, and these. No escape is longer than six bytes.
fn html(text: &str, escapes: &[(char, &str)]) -> Zeroizing<String> {
    build(text.len() * 6, |out| {
        for c in text.chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                c => match escapes.iter().find(|(escaped, _)| *escaped == c) {
                    Some((_, escape)) => out.push_str(escape),
                    None => out.push(c),
                },
            }
        }
    })
}

/// `\uXXXX` for each UTF-16 unit.
fn unicode(text: &str) -> Zeroizing<String> {
    build(text.len() * 6, |out| text.chars().for_each(|c| push_unicode(out, c)))
}

fn push_unicode(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str("\\u");
        push_hex(out, u32::from(*unit), 4);
    }
}

/// The last `digits` hexadecimal digits of `number`.
fn push_hex(out: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = (number >> (4 * place)) & 0xF;
        out.push(char::from_digit(digit, 16).expect("four bits are one digit"));
    }
}

/// Those characters of a base64 text that `bytes` alone decide, where `shift` other bytes come before them in the group
/// of three. At most four bits at either end, which share a character with a neighbour, are not among them.
fn base64(bytes: &[u8], shift: usize, symbols: [u8; 2]) -> Zeroizing<String> {
    let (first, end) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8 / 6);
    build(end, |out| {
        for place in first..end {
            let bit = place * 6 - shift * 8;
            let pair = u16::from(bytes[bit / 8]) << 8 | bytes.get(bit / 8 + 1).map_or(0, |b| u16::from(*b));
            let six = (pair >> (10 - bit % 8) & 0x3F) as u8;
            out.push(char::from(symbol(six, symbols)));
        }
    })
}

fn symbol(six: u8, symbols: [u8; 2]) -> u8 {
    match six {
        0..26 => b'A' + six,
        26..52 => b'a' + six - 26,
        52..62 => b'0' + six - 52,
        _ => symbols[usize::from(six - 62)],
    }
}

impl Drop for Forms {
    fn drop(&mut self) {
        self.exact.zeroize();
        self.squeezed.zeroize();
        self.folded.zeroize();
    }
}
