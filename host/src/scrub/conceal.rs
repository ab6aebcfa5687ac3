//! Bytes of any kind that pass as they are, but for the values of secrets: what a server sends to a guest, and what a guest hands on.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use super::reading::Reading;
use super::secret::{Match, SPAN, View};
use super::secrets::{Known, Secrets};
use super::through;
use crate::json;

/// How deep JSON is looked into that stands in strings of JSON. Each level escapes the ones in it once more, and may read the whole text again.
const LEVELS: u32 = 8;

/// What is longer than so many times the text, and so many bytes, has more placeholders in it than anybody needs.
const GROWTH: usize = 2;
const GROWN: usize = 4 * 1024;

/// Small pieces are joined up to about so many bytes before they are searched.
const JOINED: usize = 64 * 1024;

/// Stretches of a text that are taken out, each with whose placeholder comes there.
type Cuts = Vec<(Range<usize>, Option<u32>)>;

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

    /// `text` with a placeholder for each stretch that is a secret; also for one that whoever reads it as JSON, and its strings as JSON, would find in it, or whoever
    /// leaves out what can't be seen. What was JSON is JSON still, and no text becomes much longer: where that can't be, a placeholder is all that is left.
    pub fn conceal_text(&self, text: String) -> String {
        let places = match self.is_empty() {
            true => Vec::new(),
            false => self.places(&text, LEVELS),
        };
        match places.first() {
            Some(first) => {
                let owner = first.owner;
                self.replaced(&text, places, owner)
            }
            None => text,
        }
    }

    /// `texts` as [`Self::conceal_text`] gives each, also without secrets that stand over an edge of theirs, where they stand one behind the other in one of these
    /// `orders`.
    pub fn conceal_texts(&self, texts: &mut [&mut String], orders: &[Vec<usize>]) {
        let mut cuts: Vec<Cuts> = vec![Cuts::new(); texts.len()];
        for order in orders {
            self.cut_over_edges(texts, order, &mut cuts);
        }
        for (text, cuts) in texts.iter_mut().zip(cuts) {
            self.cut_out(text, cuts);
            **text = self.conceal_text(std::mem::take(text));
        }
        // What stands in their place may make another one of them.
        for order in orders {
            let Some(known) = self.find_over_edges(order.iter().map(|at| texts[*at].as_str())) else {
                continue;
            };
            let mut placeholder = Some(known.placeholder());
            for at in order {
                *texts[*at] = placeholder.take().unwrap_or_default();
            }
        }
    }

    /// Where a secret stands in `text`, however it is read: as it is, without what can't be seen, with its escapes as what they mean, and so in its strings of JSON.
    fn places(&self, text: &str, levels: u32) -> Vec<Match> {
        let mut found = self.seen(text);
        if json::has_needless_escapes(text.as_bytes()) {
            let read = Reading::unescaped(text);
            found.extend(placed(&read, self.seen(&read.text), 0));
        }
        for literal in json::literals(text).filter(|_| levels > 0) {
            let inner = text[literal.clone()].strip_prefix('"').unwrap_or_default();
            // With fewer backslashes it reads as the text that it is in.
            if memchr::memmem::find(inner.as_bytes(), br"\\").is_some() {
                let read = Reading::unescaped(inner);
                found.extend(placed(&read, self.places(&read.text, levels - 1), literal.start + 1));
            }
        }
        found
    }

    fn seen(&self, text: &str) -> Vec<Match> {
        let mut found = self.matches(text.as_bytes());
        if let Some(read) = Reading::visible(text) {
            found.extend(placed(&read, self.matches(read.text.as_bytes()), 0));
        }
        found
    }

    fn replaced(&self, text: &str, places: Vec<Match>, owner: u32) -> String {
        let was_json = json::is_json(text);
        let most = text.len().saturating_mul(GROWTH).saturating_add(GROWN);
        let is_good = |clean: &String| {
            clean.len() <= most && (!was_json || json::is_json(clean)) && self.places(clean, LEVELS).is_empty()
        };
        let put_in = |places: Vec<Match>, quote: &str| {
            let placeholder = |owner| format!("{quote}{}{quote}", self.rules().placeholder(owner));
            let places = joined(places).into_iter();
            with_others(text, places.map(|(place, owner)| (place, placeholder(owner))))
        };
        let clean = Some(put_in(places.clone(), "")).filter(is_good);
        // It begins in the middle of an escape, or is a number.
        let clean = clean.or_else(|| {
            Some(put_in(whole_literals(text, places), "\""))
                .filter(|_| was_json)
                .filter(is_good)
        });
        clean.unwrap_or_else(|| {
            let placeholder = self.known(owner).placeholder();
            match was_json {
                true => Value::String(placeholder).to_string(),
                false => placeholder,
            }
        })
    }

    /// What of each text belongs to a secret that stands over an edge of it.
    fn cut_over_edges(&self, texts: &[&mut String], order: &[usize], cuts: &mut [Cuts]) {
        let pieces = || order.iter().map(|at| texts[*at].as_str());
        if self.find_over_edges(pieces()).is_none() {
            return;
        }
        let whole: String = pieces().collect();
        let places = joined(self.places(&whole, 0));
        let (mut from, mut rest) = (0, &places[..]);
        for at in order {
            let here = from..from + texts[*at].len();
            from = here.end;
            rest = &rest[rest.partition_point(|(place, _)| place.end <= here.start)..];
            let inside = rest.iter().take_while(|(place, _)| place.start < here.end);
            let over = inside.filter(|(place, _)| place.start < here.start || place.end > here.end);
            cuts[*at].extend(over.map(|(place, owner)| {
                let begun = (place.start >= here.start).then_some(*owner);
                let start = place.start.max(here.start) - here.start;
                (start..place.end.min(here.end) - here.start, begun)
            }));
        }
    }

    /// Takes these stretches out, with a placeholder for each secret that begins there.
    fn cut_out(&self, text: &mut String, mut cuts: Cuts) {
        if cuts.is_empty() {
            return;
        }
        cuts.sort_unstable_by_key(|(place, begun)| (place.start, *begun));
        let placeholder = |owner| self.rules().placeholder(owner);
        let cuts = cuts.into_iter();
        *text = with_others(text, cuts.map(|(place, begun)| (place, begun.map_or("", placeholder))));
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

/// `text` with another one in the place of each of these stretches, which are in order; none for one that begins in the one before it.
fn with_others(text: &str, places: impl Iterator<Item = (Range<usize>, impl AsRef<str>)>) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (place, other) in places {
        if let Some(before) = text.get(from..place.start) {
            out.push_str(before);
            out.push_str(other.as_ref());
        }
        from = from.max(place.end);
    }
    out + &text[from..]
}

/// Where in the text these stretches of what is read stand; the text begins at `start`.
fn placed(read: &Reading, found: Vec<Match>, start: usize) -> impl Iterator<Item = Match> {
    found.into_iter().map(move |hit| {
        let place = read.place(hit.start..hit.end);
        Match {
            start: start + place.start,
            end: start + place.end,
            ..hit
        }
    })
}

/// These stretches of a JSON text, each with all of the strings and numbers that it touches.
fn whole_literals(text: &str, places: Vec<Match>) -> Vec<Match> {
    let literals: Vec<Range<usize>> = json::literals(text).collect();
    let whole = |hit: Match| {
        let from = literals.partition_point(|literal| literal.end <= hit.start);
        let to = literals.partition_point(|literal| literal.start < hit.end);
        let touched = literals.get(from..to).unwrap_or_default();
        Match {
            start: touched.first().map_or(hit.start, |first| first.start.min(hit.start)),
            end: touched.last().map_or(hit.end, |last| last.end.max(hit.end)),
            ..hit
        }
    };
    places.into_iter().map(whole).collect()
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
                assert!(
                    !text.starts_with("{\"a") && !text.starts_with("{\"b") || json::is_json(&clean),
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
            let order = (0..texts.len()).collect();
            secrets().conceal_texts(&mut texts.iter_mut().collect::<Vec<_>>(), &[order]);
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
    fn nothing_is_left_of_a_long_secret_wherever_it_is_cut_or_escaped() {
        let value: String = (0u32..)
            .map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)))
            .take(80)
            .collect();
        for length in [129, 137, 160, 200, 300, 600] {
            let value = &value[..length];
            let secrets = Secrets::new([("x".to_owned(), value.to_owned())]);
            let nothing_is_left = |text: &str| {
                let left = value
                    .as_bytes()
                    .windows(8)
                    .find(|part| text.contains(&*String::from_utf8_lossy(part)));
                assert_eq!(left, None, "{length}: {text}");
            };
            for cut in [1, 8, length / 2, length - 8, length - 1] {
                let (a, b) = value.split_at(cut);
                let mut texts = [format!("<{a}"), "-".to_owned(), format!("{b}>")];
                let [first, between, last] = &mut texts;
                secrets.conceal_texts(&mut [first, between, last], &[vec![0, 2], vec![0, 1, 2]]);
                assert_eq!(texts, ["<[secret x]", "-", ">"], "{length} {cut}");
                let escaped = format!("{a}\\u{:04x}{}", b.as_bytes()[0], &b[1..]);
                for text in [
                    format!("is {escaped}"),
                    format!("{{\"a\":\"{escaped}\"}}"),
                    format!("{a}\u{200b}{b}"),
                ] {
                    let clean = secrets.conceal_text(text);
                    assert!(clean.contains("[secret x]"), "{clean}");
                    nothing_is_left(&clean);
                }
            }
        }
    }

    #[test]
    fn a_long_secret_beyond_ascii_is_taken_out_whole() {
        let value: String = ('ä'..).filter(|c| c.is_alphabetic()).take(200).collect();
        let secrets = Secrets::new([("x".to_owned(), value.clone())]);
        let escaped: String = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let (a, b) = (&value[..200], &escaped[600..]);
        for text in [
            &value,
            &escaped,
            &format!("{a}{b}"),
            &format!("{a}\u{200b}{}", &value[200..]),
        ] {
            assert_eq!(secrets.conceal_text(format!("é{text}ж")), "é[secret x]ж");
            assert_eq!(secrets.conceal_text(format!("[\"é{text}\"]")), "[\"é[secret x]\"]");
        }
    }

    #[test]
    fn a_value_that_stands_in_a_placeholder_hides_no_other() {
        let secrets = Secrets::new([
            ("prod-token".to_owned(), VALUE.to_owned()),
            ("y".to_owned(), "prod-token".to_owned()),
        ]);
        let deep = serde_json::json!({ "a": format!("{{\"b\":\"\\u004b{}\"}}", &VALUE[1..]) }).to_string();
        let clean = secrets.conceal_text(deep);
        assert_eq!(clean, "\"[secret prod-token]\"");
    }

    #[test]
    fn a_text_of_secrets_alone_becomes_no_longer_than_somebody_may_say() {
        let (name, value) = ("n".repeat(64), "Kq7zT0pW");
        let secrets = Secrets::new([(name, value.to_owned())]);
        let clean = |times: usize| secrets.conceal_text(value.repeat(times)).len();
        let (few, many) = (clean(70), clean(80));
        assert_eq!(few, 70 * 73);
        assert_eq!(many, 73, "{GROWTH} {GROWN}");
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
