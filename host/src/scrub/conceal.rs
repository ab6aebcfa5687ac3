//! Bytes of any kind that pass as they are, but for the values of secrets: what a server sends to a guest, and what a guest hands on.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::secret::{Match, SPAN, View};
use super::secrets::{Known, Secrets};
use super::through;
use crate::json;

/// How deep JSON is looked into that stands in strings of JSON. Each level escapes the ones in it once more, and may read the whole text again.
const LEVELS: u32 = 8;

/// Small pieces are joined up to about so many bytes before they are searched.
const JOINED: usize = 64 * 1024;

/// The first part of some bytes, without secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct First<'a> {
    /// What is shown of it.
    pub bytes: Cow<'a, [u8]>,
    /// Whether more comes behind it.
    pub cut: bool,
}

impl Secrets {
    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.rules().forbidden().is_empty()
    }

    /// The most bytes that one form of a secret takes up, whatever the secrets are: what hangs on it may be seen. Nothing where there are none.
    pub fn longest(&self) -> usize {
        match self.is_empty() {
            true => 0,
            false => SPAN,
        }
    }

    /// A secret that stands in `bytes`, as it is or in one of its encodings, also where some of its characters are escaped as JSON has it: whoever reads JSON and
    /// writes it again would send it on without.
    pub fn find(&self, bytes: &[u8]) -> Option<Known<'_>> {
        if self.is_empty() {
            return None;
        }
        let first = |bytes: &[u8]| self.matches(bytes).into_iter().min_by_key(|hit| hit.start);
        let first = first(bytes).or_else(|| first(&json::unescaped(bytes)?))?;
        Some(self.known(first.owner))
    }

    /// A secret that stands in these pieces one behind the other, over an edge of theirs: each piece is taken to hold none by itself. Of a large piece only
    /// its ends are looked at, and no byte more than a few times, however small the pieces are.
    pub fn find_over_edges<'b>(&self, pieces: impl IntoIterator<Item = &'b str>) -> Option<Known<'_>> {
        if self.is_empty() {
            return None;
        }
        // What goes on behind an edge began no further before it.
        let reach = self.longest().saturating_sub(1);
        let mut joined = Vec::new();
        for piece in pieces {
            let piece = piece.as_bytes();
            let is_large = piece.len() > 2 * reach;
            joined.extend_from_slice(if is_large { &piece[..reach] } else { piece });
            if !is_large && joined.len() < JOINED + 2 * reach {
                continue;
            }
            if let Some(known) = self.find(&joined) {
                return Some(known);
            }
            if is_large {
                joined.clear();
                joined.extend_from_slice(&piece[piece.len() - reach..]);
            } else {
                joined.drain(..joined.len() - reach);
            }
        }
        self.find(&joined)
    }

    /// A secret that stands in a host's name, in which case means nothing and points may stand anywhere.
    pub fn find_in_host(&self, host: &str) -> Option<Known<'_>> {
        if self.is_empty() {
            return None;
        }
        let lower = host.to_ascii_lowercase();
        [lower.replace('.', ""), lower].iter().find_map(|host| {
            let folded = self.rules().forbidden().find_folded(host.as_bytes());
            folded
                .map(|owner| self.known(owner))
                .or_else(|| self.find(host.as_bytes()))
        })
    }

    /// `bytes` with a placeholder for each stretch that is a secret.
    pub fn conceal<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.concealed(bytes, bytes.len(), usize::MAX).bytes
    }

    /// `text` with a placeholder for each stretch that is a secret; also for one that whoever reads it as JSON, and its strings as JSON, would find in it. What was
    /// JSON is JSON still.
    pub fn conceal_text(&self, text: String) -> String {
        if self.is_empty() {
            return text;
        }
        self.concealed_text(&text, LEVELS).unwrap_or(text)
    }

    /// None where there is no secret in it. So many `levels` of JSON in strings of JSON are looked into.
    fn concealed_text(&self, text: &str, levels: u32) -> Option<String> {
        let known = self.find(text.as_bytes());
        let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
        let was_json = is_json(text);
        // A placeholder may begin in the middle of an escape.
        let is_good = |clean: &String| self.find(clean.as_bytes()).is_none() && (!was_json || is_json(clean));
        let concealed = |form: &str| match self.conceal(form.as_bytes()) {
            Cow::Borrowed(_) => None,
            Cow::Owned(clean) => Some(String::from_utf8_lossy(&clean).into_owned()).filter(is_good),
        };
        let clean = known
            .as_ref()
            .and_then(|_| concealed(text).or_else(|| concealed(&json::plain(text))));
        let is_clean = known.is_none() || clean.is_some();
        // Where a backslash is, it may escape signs of a secret once more.
        let looks_within = was_json && levels > 0 && (!is_clean || text.contains('\\'));
        let within = looks_within
            .then(|| self.within(clean.as_deref().unwrap_or(text), levels - 1))
            .flatten()
            .filter(is_good);
        let clean = within.or(clean);
        // At the worst nothing is left.
        clean.or_else(|| {
            let placeholder = known?.placeholder();
            Some(match was_json {
                true => Value::String(placeholder).to_string(),
                false => placeholder,
            })
        })
    }

    /// JSON with each of its strings and numbers without secrets, and all else of it as it was; none where there is none in them.
    fn within(&self, text: &str, levels: u32) -> Option<String> {
        let (mut out, mut from) = (String::new(), 0);
        for place in json::literals(text) {
            let literal = &text[place.clone()];
            let clean = match serde_json::from_str(literal) {
                Ok(Value::String(string)) => self.concealed_text(&string, levels),
                _ => self.find(literal.as_bytes()).map(|known| known.placeholder()),
            };
            if let Some(clean) = clean {
                out.push_str(&text[from..place.start]);
                out.push_str(&Value::String(clean).to_string());
                from = place.end;
            }
        }
        (from > 0).then(|| out + &text[from..])
    }

    /// Takes each secret out of these texts that stands in them one behind the other, over an edge of theirs. Each is taken to hold none by itself.
    pub fn conceal_over_edges(&self, texts: &mut [&mut String]) {
        let Some(known) = self.find_over_edges(texts.iter().map(|text| text.as_str())) else {
            return;
        };
        let whole: String = texts.iter().map(|text| text.as_str()).collect();
        let places = joined(self.matches(whole.as_bytes()));
        let (mut from, mut rest) = (0, &places[..]);
        for text in texts.iter_mut() {
            let here = from..from + text.len();
            let (mut clean, mut at) = (Vec::new(), here.start);
            rest = &rest[rest.partition_point(|(place, _)| place.end <= here.start)..];
            for (place, owner) in rest.iter().take_while(|(place, _)| place.start < here.end) {
                clean.extend_from_slice(&whole.as_bytes()[at..place.start.max(at)]);
                if place.start >= here.start {
                    clean.extend_from_slice(self.rules().placeholder(*owner).as_bytes());
                }
                at = place.end.min(here.end);
            }
            clean.extend_from_slice(&whole.as_bytes()[at..here.end]);
            **text = String::from_utf8_lossy(&clean).into_owned();
            from = here.end;
        }
        // With escapes over the edges, nothing is left.
        if self.find_over_edges(texts.iter().map(|text| text.as_str())).is_some() {
            let mut placeholder = Some(known.placeholder());
            texts
                .iter_mut()
                .for_each(|text| **text = placeholder.take().unwrap_or_default());
        }
    }

    /// The first `settled` of `bytes`, and of these `most`, with a placeholder for each stretch that is a secret, also for one that goes on behind them: with
    /// placeholders that are longer than what they stand for no more than `most` bytes, each placeholder whole or not at all. Nothing but a whole secret
    /// changes what is shown: whoever wrote the bytes would learn by how much where a guess goes wrong.
    pub fn conceal_first<'a>(&self, bytes: &'a [u8], settled: usize, most: usize) -> First<'a> {
        self.concealed(bytes, settled.min(most), most)
    }

    /// What comes of the first `shown` of `bytes`, of which `most` bytes are taken.
    fn concealed<'a>(&self, bytes: &'a [u8], shown: usize, most: usize) -> First<'a> {
        let first = &bytes[..shown.min(bytes.len())];
        let cut = first.len() < bytes.len();
        let mut places = match self.is_empty() {
            true => Vec::new(),
            false => joined(self.matches(bytes)),
        };
        places.retain(|(place, _)| place.start < first.len());
        if places.is_empty() {
            let bytes = Cow::Borrowed(first);
            return First { bytes, cut };
        }
        let (mut out, mut from) = (Vec::with_capacity(first.len()), 0);
        for (place, owner) in places {
            let fitted = put(&mut out, &first[from..place.start], most);
            let placeholder = self.rules().placeholder(owner).as_bytes();
            if !fitted || placeholder.len() > most - out.len() {
                let bytes = Cow::Owned(out);
                return First { bytes, cut: true };
            }
            out.extend_from_slice(placeholder);
            from = place.end.min(first.len());
        }
        let fitted = put(&mut out, &first[from..], most);
        First {
            bytes: Cow::Owned(out),
            cut: cut || !fitted,
        }
    }

    fn matches(&self, bytes: &[u8]) -> Vec<Match> {
        let mut found = Vec::new();
        let all = 0..bytes.len();
        let forbidden = self.rules().forbidden();
        through(bytes.len(), || {
            forbidden.find(bytes, &all, &mut View::default(), |hit| found.push(hit));
        });
        found
    }
}

/// Appends so much of `bytes` that there are `most` at most. Whether that is all of them.
fn put(out: &mut Vec<u8>, bytes: &[u8], most: usize) -> bool {
    let fits = bytes.len().min(most - out.len());
    out.extend_from_slice(&bytes[..fits]);
    fits == bytes.len()
}

/// Stretches in order, those that overlap as one that has the first one's owner.
fn joined(mut found: Vec<Match>) -> Vec<(Range<usize>, u32)> {
    found.sort_unstable_by_key(|hit| (hit.start, hit.owner));
    let mut places: Vec<(Range<usize>, u32)> = Vec::new();
    for hit in found {
        match places.last_mut() {
            Some((last, _)) if hit.start < last.end => last.end = last.end.max(hit.end),
            _ => places.push((hit.start..hit.end, hit.owner)),
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";

    fn secrets() -> Secrets {
        Secrets::new([("x".to_owned(), VALUE.to_owned())])
    }

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_no_secret_passes_byte_by_byte() {
        let bytes = b"\xff\x00\r\n sk-0123456789abcdefghij Authorization: Bearer abcdefgh \x1b[0m\xc3";
        assert!(matches!(secrets().conceal(bytes), Cow::Borrowed(same) if same == bytes));
        assert_eq!(secrets().find(bytes), None);
        assert_eq!(Secrets::none().find(VALUE.as_bytes()), None);
    }

    #[test]
    fn a_secret_among_other_bytes_is_replaced() {
        let text = [b"\xff\x00<", VALUE.as_bytes(), b">\xfe", hex(VALUE).as_bytes(), b"\0"].concat();
        assert_eq!(&*secrets().conceal(&text), b"\xff\x00<[secret x]>\xfe[secret x]\0");
        assert_eq!(secrets().find(&text), Some(Known::Secret("x")));
    }

    #[test]
    fn json_without_secrets_is_json() {
        let conceal = |text: &str| secrets().conceal_text(text.to_owned());
        let untouched = r#"{"b": "\/", "a":1}"#;
        assert_eq!(conceal(untouched), untouched);
        let escaped: String = VALUE.bytes().map(|byte| format!("\\u00{byte:02x}")).collect();
        let inner = serde_json::json!({ "x": escaped, VALUE: [format!("<{VALUE}>"), 1] }).to_string();
        let clean = r#"{"x":"[secret x]","[secret x]":["<[secret x]>",1]}"#;
        assert_eq!(conceal(&inner), clean);
        let outer = serde_json::json!({ "inner": inner }).to_string();
        assert_eq!(conceal(&outer), serde_json::json!({ "inner": clean }).to_string());
        assert_eq!(conceal(&format!("it is {escaped}")), "it is [secret x]");
        assert_eq!(conceal(&format!("{{{VALUE}")), "{[secret x]");
        let digits = Secrets::new([("pin".to_owned(), "7046182935".to_owned())]);
        assert_eq!(digits.conceal_text("[7046182935]".to_owned()), r#"["[secret pin]"]"#);
    }

    #[test]
    fn escapes_that_are_the_secrets_own_hide_nothing() {
        for value in [
            r"Kq7zT0pW\/4nXv9Ls",
            r"Kq7zT0pW4nXv9LsAe\u003d",
            r"Kq7zT0pW4nXv9Ls\",
            r#"{"key":"Kq7zT0pW\u003d\u003d"}"#,
        ] {
            let secrets = Secrets::new([("x".to_owned(), value.to_owned())]);
            let once = serde_json::json!({ "a": value, "n": 1 }).to_string();
            let twice = serde_json::json!({ "b": once }).to_string();
            let solidus = once.replace('/', "\\/");
            for text in [value.to_owned(), format!("it is {value} yes"), once, twice, solidus] {
                let clean = secrets.conceal_text(text.clone());
                assert!(
                    clean.contains("[secret x]") && !clean.contains(&value[..12]),
                    "{text}: {clean}"
                );
                assert_eq!(secrets.find(clean.as_bytes()), None, "{text}: {clean}");
                let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
                assert!(
                    !text.starts_with("{\"a") && !text.starts_with("{\"b") || is_json(&clean),
                    "{text}: {clean}"
                );
            }
        }
    }

    #[test]
    fn json_in_strings_of_json_takes_no_more_of_the_stack_however_often() {
        let mut text = Value::from(VALUE).to_string();
        for _ in 0..6 {
            let string = Value::from(text).to_string();
            text = "[".repeat(120) + &string + &"]".repeat(120);
        }
        let concealed = move || secrets().conceal_text(text);
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(concealed);
        let clean = thread.expect("a thread").join().expect("it ends");
        assert!(!clean.contains(VALUE), "{clean}");
    }

    #[test]
    fn what_stands_beside_a_secret_in_json_stays_as_it_is() {
        let text = |value: &str| format!("{{\"n\": 123456789012345678901234567890, \"a\":\"{value}\", \"a\":1.0}}");
        assert_eq!(secrets().conceal_text(text(VALUE)), text("[secret x]"));
        let partly = format!("\\u004b{}", &VALUE[1..]);
        assert_eq!(secrets().conceal_text(format!("it is {partly}")), "it is [secret x]");
        assert_eq!(secrets().conceal_text(text(&partly)), text("[secret x]"));
        // In strings of JSON, as far as it is looked into.
        let wrapped =
            |value: &str| (1..LEVELS).fold(text(value), |text, _| serde_json::json!({ "a": text }).to_string());
        let twice = Value::String(format!("\\u004b{}", &VALUE[1..])).to_string();
        let twice = &twice[1..twice.len() - 1];
        assert_eq!(secrets().conceal_text(wrapped(twice)), wrapped("[secret x]"));
        // What reads as no text is none of it.
        let broken = format!("[1, \"\\ud800{VALUE}\", 1e999, \"{partly}\"]");
        assert_eq!(
            secrets().conceal_text(broken),
            "[1, \"\\ud800[secret x]\", 1e999, \"[secret x]\"]"
        );
    }

    #[test]
    fn a_secret_over_edges_is_taken_out_of_each_text() {
        let conceal = |texts: &[&str]| {
            let mut texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            secrets().conceal_over_edges(&mut texts.iter_mut().collect::<Vec<_>>());
            texts
        };
        let (a, b) = VALUE.split_at(9);
        let (c, d) = b.split_at(5);
        assert_eq!(conceal(&["é", a, "x", b]), ["é", a, "x", b]);
        assert_eq!(conceal(&[&format!("é{a}"), b, "."]), ["é[secret x]", "", "."]);
        assert_eq!(
            conceal(&[a, c, "", &format!("{d}-{a}"), &format!("{b}é")]),
            ["[secret x]", "", "", "-[secret x]", "é"]
        );
        assert_eq!(conceal(&["\\u004b", &VALUE[1..]]), ["[secret x]", ""]);
        assert_eq!(conceal(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_secret_is_found_over_the_edges_of_pieces_wherever_they_are() {
        let secrets = secrets();
        let found = |pieces: &[&str]| secrets.find_over_edges(pieces.iter().copied());
        let large = "1".repeat(3 * secrets.longest());
        let hex = hex(VALUE);
        for form in [VALUE, &hex] {
            for cut in 1..form.len() {
                let (a, b) = form.split_at(cut);
                assert_eq!(found(&["x", a, b, "y"]), Some(Known::Secret("x")), "{a} {b}");
                let (a, b) = (format!("{large}{a}"), format!("{b}{large}"));
                assert_eq!(found(&[&large, &a, &b]), Some(Known::Secret("x")), "{cut}");
                assert_eq!(found(&[&a, "-", "", &large]), None, "{cut}");
            }
            // Each of its bytes by itself, behind so many small pieces that some of them are given up.
            for before in [0, 1, JOINED, JOINED + 2 * secrets.longest() - 20] {
                let pieces = std::iter::repeat_n("1", before).chain(form.split("").filter(|piece| !piece.is_empty()));
                assert_eq!(secrets.find_over_edges(pieces), Some(Known::Secret("x")), "{before}");
            }
        }
        assert_eq!(found(&[&VALUE[16..], &VALUE[..16]]), None);
        assert_eq!(found(&[]), None);
        assert_eq!(Secrets::none().find_over_edges([&VALUE[..16], &VALUE[16..]]), None);
    }

    #[test]
    fn a_form_that_is_broken_into_lines_is_found_whichever_way_lines_end() {
        for end in ["\n", "\r\n", "\r", "\r\n\t"] {
            let lines: Vec<String> = hex(VALUE)
                .as_bytes()
                .chunks(20)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            let text = format!("<{}>", lines.join(end));
            assert_eq!(secrets().find(text.as_bytes()), Some(Known::Secret("x")), "{text:?}");
            assert_eq!(&*secrets().conceal(text.as_bytes()), b"<[secret x]>");
            let shown = text.len() - 9;
            let first = secrets().conceal_first(text.as_bytes(), shown, shown);
            assert_eq!((&*first.bytes, first.cut), (&b"<[secret x]"[..], true), "{shown}");
        }
    }

    #[test]
    fn of_a_secret_that_goes_on_behind_what_is_shown_nothing_is_left() {
        for form in [VALUE.to_owned(), hex(VALUE), format!("\\u00{}", hex("K"))] {
            let is_secret = secrets().find(form.as_bytes()).is_some();
            let text = format!("before {form} after");
            for shown in "before ".len() + 1..="before ".len() + form.len() {
                let out = secrets().conceal_first(text.as_bytes(), shown, shown);
                let expected = match is_secret {
                    true if shown < "before [secret x]".len() => b"before ".as_slice(),
                    true => b"before [secret x]".as_slice(),
                    false => &text.as_bytes()[..shown],
                };
                assert_eq!((&*out.bytes, out.cut), (expected, true), "{shown}");
            }
        }
    }

    #[test]
    fn placeholders_that_are_longer_than_a_secret_take_no_more_than_is_shown() {
        let (name, value) = ("n".repeat(64), "Kq7zT0pW");
        let secrets = Secrets::new([(name.clone(), value.to_owned())]);
        let placeholder = format!("[secret {name}]");
        let most = 3 * placeholder.len() + 1;
        for (text, expected, cut) in [
            (value.repeat(3), placeholder.repeat(3), false),
            (value.repeat(3) + "-", placeholder.repeat(3) + "-", false),
            (value.repeat(3) + "-+", placeholder.repeat(3) + "-", true),
            (
                format!("-{}", value.repeat(3)),
                format!("-{}", placeholder.repeat(3)),
                false,
            ),
            (
                format!("--{}", value.repeat(3)),
                format!("--{}", placeholder.repeat(2)),
                true,
            ),
            (value.repeat(4), placeholder.repeat(3), true),
        ] {
            let out = secrets.conceal_first(text.as_bytes(), most, most);
            assert_eq!((&*out.bytes, out.cut), (expected.as_bytes(), cut), "{text}");
            assert!(secrets.conceal(text.as_bytes()).len() >= out.bytes.len());
        }
    }

    #[test]
    fn a_guess_tells_nothing_by_what_is_left_of_it() {
        let (value, other) = (VALUE.to_owned(), VALUE.replace('K', "L"));
        for form in [|text: &str| text.to_owned(), hex] {
            let (right, wrong) = (form(&value), form(&other));
            for begun in 1..right.len() {
                for beyond in [0, 1, 64] {
                    let cut = |guess: &str| {
                        let text = format!("before {}{}", &guess[..begun], "-".repeat(beyond));
                        let shown = "before ".len() + begun;
                        secrets().conceal_first(text.as_bytes(), shown, shown).bytes.len()
                    };
                    assert_eq!(cut(&right), cut(&wrong), "{begun} {beyond}");
                }
            }
        }
    }

    #[test]
    fn how_much_a_secret_takes_up_tells_nothing_of_how_long_it_is() {
        let longest = |len: usize| Secrets::new([("x".to_owned(), "Kq7z".repeat(len / 4))]).longest();
        assert_eq!([8, 32, 300].map(longest), [longest(4); 3]);
        assert_eq!(Secrets::none().longest(), 0);
    }

    #[test]
    fn a_page_that_repeats_a_secret_hides_it_by_no_escape() {
        let value = "Kq7z<T0p&W4n\"Xv9'Ls>B2m+Yc6/RdG=8h`Jf3";
        let base64 = "q83vEjRWeJCrze8SNFZ+kKvN7xI0V/iQq83vEg==";
        let secrets = Secrets::new([("x".to_owned(), value.to_owned()), ("y".to_owned(), base64.to_owned())]);
        let texts = [value, base64].map(|text| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
        for escapes in [
            "",
            "\"&quot;",
            "\"&quot; '&#x27;",
            "\"&quot; '&#X27;",
            "\"&quot; '&#039;",
            "\"&quot; '&#39;",
            "\"&quot; '&apos;",
            "\"&#34; '&#39;",
            "\"&#34; '&#39; +&#43;",
            "\"&#34; '&#39; +&#43; =&#61; `&#96;",
            "\"&quot; '&#x27; /&#x2F;",
            "\"&quot; '&#x27; =&#x3D; `&#x60;",
            "\"&quot; '&#x27; =&#x3d; `&#x60;",
            "\"&quot; '&#39; /&#x2F; =&#x3D; `&#x60;",
        ] {
            let escaped = |text: &String| {
                escapes.split_whitespace().fold(text.clone(), |text, escape| {
                    let (sign, escape) = escape.split_at(1);
                    text.replace(sign, escape)
                })
            };
            let pages = texts.each_ref().map(escaped);
            let concealed = pages
                .each_ref()
                .map(|page| secrets.conceal(page.as_bytes()).into_owned());
            assert_eq!(concealed, [b"[secret x]", b"[secret y]"], "{pages:?}");
        }
    }

    #[test]
    fn in_a_hosts_name_neither_case_nor_points_hide_it() {
        let lower = VALUE.to_lowercase();
        let (a, b) = lower.split_at(11);
        for host in [
            format!("{lower}.x.org"),
            format!("{}.X.ORG", VALUE.to_uppercase()),
            format!("{a}.{b}.x.org"),
            format!("{}.x.org", hex(VALUE)),
        ] {
            assert_eq!(secrets().find_in_host(&host), Some(Known::Secret("x")), "{host}");
        }
        assert_eq!(secrets().find_in_host("api.x.org"), None);
    }

    proptest! {
        #[test]
        fn nothing_of_a_secret_is_left_and_nothing_else_is_lost(
            before in proptest::collection::vec(any::<u8>(), 0..60),
            after in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let bytes = [&before[..], VALUE.as_bytes(), &after[..]].concat();
            let out = secrets().conceal(&bytes).into_owned();
            let expected = [&before[..], b"[secret x]", &after[..]].concat();
            prop_assert_eq!(out, expected);
        }
    }
}
