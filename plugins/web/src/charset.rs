//! From bytes to text: UTF-8, UTF-16 by its mark, and Windows-1252, which is what pages that say Latin-1 are in.

/// What bytes 0x80 to 0x9f are in Windows-1252; those that it leaves open stay what they are in Latin-1.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
/// Where a page must have named its charset, in bytes.
const META_BYTES: usize = 2_048;

/// The text of a body, and the charset that was named but is not known here.
pub(crate) fn decode(body: &[u8], content_type: &str) -> (String, Option<String>) {
    match body {
        [0xef, 0xbb, 0xbf, rest @ ..] => return (lossy(rest), None),
        [0xff, 0xfe, rest @ ..] => return (utf16(rest, u16::from_le_bytes), None),
        [0xfe, 0xff, rest @ ..] => return (utf16(rest, u16::from_be_bytes), None),
        _ => {}
    }
    let head = String::from_utf8_lossy(&body[..body.len().min(META_BYTES)]);
    match named(content_type).or_else(|| named(&head)).as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii" | "ascii") => (lossy(body), None),
        Some("iso-8859-1" | "latin1" | "windows-1252" | "cp1252" | "iso-8859-15") => {
            let wide = |byte: &u8| match byte {
                0x80..=0x9f => WINDOWS[usize::from(byte - 0x80)],
                byte => char::from(*byte),
            };
            (body.iter().map(wide).collect(), None)
        }
        Some(other) => (lossy(body), Some(other.to_owned())),
    }
}

/// The value of `charset=` in a header or in the beginning of a page.
fn named(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (_, after) = text.split_once("charset")?;
    let value = after
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .trim_start_matches(['"', '\'']);
    let end = value
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .unwrap_or(value.len());
    (end > 0).then(|| value[..end].to_owned())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_are_read_from_header_mark_or_page() {
        let is = |body: &[u8], content_type: &str| decode(body, content_type).0;
        assert_eq!(is("ä".as_bytes(), "text/html"), "ä");
        assert_eq!(is(b"\xe4\x80", "text/html; charset=ISO-8859-1"), "ä€");
        assert_eq!(
            is(b"<meta charset='windows-1252'>\x93", ""),
            "<meta charset='windows-1252'>“"
        );
        assert_eq!(is(b"\xff\xfea\0\xe4\0", "text/plain"), "aä");
        assert_eq!(is(b"\xef\xbb\xbfa", ""), "a");
        assert_eq!(
            decode(b"a", "text/html; charset=\"koi8-r\""),
            ("a".into(), Some("koi8-r".into()))
        );
    }
}
