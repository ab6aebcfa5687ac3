//! From bytes to text, by the charset that a page's mark, header or beginning names.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Where a page must have named its charset, in bytes.
const META_BYTES: usize = 2_048;

/// The text of a body, and the charset that was named but is not known here. Where the body is cut in the middle of a character, the text
/// ends before it.
pub(crate) fn decode(body: &[u8], content_type: &str, cut: bool) -> (String, Option<String>) {
    if let Some((encoding, mark)) = Encoding::for_bom(body) {
        return (text(encoding, &body[mark..], cut), None);
    }
    match named(content_type, "charset").or_else(|| named_inside(body, content_type)) {
        None => (text(guess(body), body, cut), None),
        Some(name) => match Encoding::for_label(name.as_bytes()) {
            Some(encoding) => (text(encoding, body, cut), None),
            None => (text(UTF_8, body, cut), Some(name)),
        },
    }
}

fn text(encoding: &'static Encoding, body: &[u8], cut: bool) -> String {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let most = decoder.max_utf8_buffer_length(body.len());
    let mut text = String::with_capacity(most.expect("a body is far smaller than the address space"));
    let _ = decoder.decode_to_string(body, &mut text, !cut);
    text
}

/// What a page names in its own beginning. One that was read so far is not of UTF-16, whatever it says.
fn named_inside(body: &[u8], content_type: &str) -> Option<String> {
    let is_markup = content_type.is_empty() || content_type.contains("html") || content_type.contains("xml");
    let head = String::from_utf8_lossy(&body[..body.len().min(META_BYTES)]);
    let key = if head.trim_start().starts_with("<?xml") {
        "encoding"
    } else {
        "charset"
    };
    let name = named(&head, key).filter(|_| is_markup)?;
    Some(if name.starts_with("utf-16") {
        "utf-8".into()
    } else {
        name
    })
}

/// Pages that name nothing are of UTF-8, or older than it.
fn guess(body: &[u8]) -> &'static Encoding {
    match std::str::from_utf8(body) {
        // A character at the end may be cut in two.
        Err(error) if error.error_len().is_some() => WINDOWS_1252,
        _ => UTF_8,
    }
}

/// The value of `key=` in a header or in the beginning of a page.
fn named(text: &str, key: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (_, after) = text.split_once(key)?;
    let value = after
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .trim_start_matches(['"', '\'']);
    let end = value
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c))
        .unwrap_or(value.len());
    (end > 0).then(|| value[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_are_read_from_header_mark_or_page() {
        let is = |body: &[u8], content_type: &str| decode(body, content_type, false).0;
        assert_eq!(is("ä".as_bytes(), "text/html"), "ä");
        assert_eq!(is(b"\xe4\x80", "text/html; charset=ISO-8859-1"), "ä€");
        assert_eq!(
            is(b"<meta charset='windows-1252'>\x93", ""),
            "<meta charset='windows-1252'>“"
        );
        assert_eq!(is(b"\xff\xfea\0\xe4\0", "text/plain"), "aä");
        assert_eq!(is(b"\xef\xbb\xbfa", ""), "a");
        assert_eq!(
            is(b"<?xml encoding=\"iso-8859-2\"?>\xb1", "text/xml"),
            "<?xml encoding=\"iso-8859-2\"?>ą"
        );
        assert_eq!(
            is(b"charset=koi8-r \xc1", "text/plain"),
            "charset=koi8-r Á",
            "prose names nothing"
        );
    }

    #[test]
    fn charsets_of_the_whole_world_are_known() {
        for (name, bytes, text) in [
            ("koi8-r", &b"\xd2\xd5"[..], "ру"),
            ("Shift_JIS", b"\x8e\x7d", "枝"),
            ("gb18030", b"\xd6\xa6", "枝"),
            ("Big5", b"\xaa\x4b", "枝"),
            ("euc-kr", b"\xb0\xa1", "가"),
            ("windows-1251", b"\xe0", "а"),
        ] {
            let header = format!("text/html; charset=\"{name}\"");
            assert_eq!(decode(bytes, &header, false), (text.into(), None), "{name}");
        }
        assert_eq!(
            decode(b"a", "text/html; charset=klingon", false),
            ("a".into(), Some("klingon".into()))
        );
    }

    #[test]
    fn pages_that_name_nothing_are_of_utf_8_or_older() {
        assert_eq!(decode(b"na\xefve", "text/plain", false).0, "naïve");
        assert_eq!(decode(b"\xc3\xa4\xc3", "text/plain", false).0, "ä\u{fffd}", "broken");
    }

    #[test]
    fn a_cut_text_ends_before_the_character_that_was_cut() {
        for (name, bytes, text) in [
            ("utf-8", &b"\xc3\xa4\xe2\x82"[..], "ä"),
            ("Shift_JIS", b"\x8e\x7d\x8e", "枝"),
            ("windows-1251", b"\xe0\xe1", "аб"),
        ] {
            let header = format!("text/plain; charset={name}");
            assert_eq!(decode(bytes, &header, true).0, text, "{name}");
        }
        assert_eq!(decode(b"\xc3\xa4\xc3", "", true).0, "ä");
        assert_eq!(decode(b"\xff\xfea\0\xe4", "", true).0, "a");
        assert_eq!(
            decode(b"\xc3\xff\xc3", "text/plain; charset=utf-8", true).0,
            "\u{fffd}\u{fffd}",
            "broken before"
        );
    }
}
