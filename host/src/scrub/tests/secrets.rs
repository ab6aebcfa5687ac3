//! No configured secret comes through.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const FORMS: usize = 20;

fn base64(bytes: &[u8], symbols: &[u8; 64]) -> String {
    let groups = bytes.chunks(3).map(|group| {
        let number = group.iter().fold(0, |number, b| number << 8 | usize::from(*b)) << (8 * (3 - group.len()));
        (0..=group.len())
            .map(|place| char::from(symbols[number >> (18 - 6 * place) & 63]))
            .collect::<String>()
    });
    groups.collect()
}

fn each(bytes: &[u8], write: impl Fn(&mut String, u8)) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write(&mut out, *byte);
        out
    })
}

/// An encoding of `value`, `None` for the last number, and the part of it that mustn't come through.
fn form(value: &str, number: usize) -> (String, String) {
    let bytes = value.as_bytes();
    let standard = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let safe = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let reserved = |byte: u8| !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte);
    let same = |text: String| (text.clone(), text);
    same(match number {
        0 => value.to_owned(),
        1 => each(bytes, |out, b| write!(out, "{b:02x}").expect("written")),
        2 => each(bytes, |out, b| write!(out, "{b:02X}").expect("written")),
        3 => each(bytes, |out, b| write!(out, "{b:02x}:").expect("written")),
        4 => each(bytes, |out, b| write!(out, "{b:02X} ").expect("written")),
        5 => each(bytes, |out, b| write!(out, "%{b:02x}").expect("written")),
        6 => each(bytes, |out, b| {
            if b % 2 == 0 {
                write!(out, "%{b:02X}")
            } else {
                write!(out, "%{b:02x}")
            }
            .expect("written");
        }),
        7 => each(bytes, |out, b| {
            if reserved(b) {
                write!(out, "%{b:02X}").expect("written");
            } else {
                out.push(char::from(b));
            }
        }),
        8 => each(bytes, |out, b| match b {
            b' ' => out.push('+'),
            b if reserved(b) => write!(out, "%{b:02x}").expect("written"),
            b => out.push(char::from(b)),
        }),
        9 => value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
            .replace('\t', "\\t"),
        10 => value
            .encode_utf16()
            .fold(String::new(), |out, unit| out + &format!("\\u{unit:04X}")),
        11..=13 => {
            let shift = number - 11;
            let padded = [&b"xy"[..shift], bytes, b"z"].concat();
            let text = base64(&padded, if bytes.len().is_multiple_of(2) { standard } else { safe });
            let core = text[(shift * 8).div_ceil(6)..(shift + bytes.len()) * 8 / 6].to_owned();
            return (text, core);
        }
        14..=18 => {
            let (quote, apostrophe) = [
                ("\"", "'"),
                ("&quot;", "'"),
                ("&quot;", "&#x27;"),
                ("&quot;", "&#39;"),
                ("&#34;", "&#39;"),
            ][number - 14];
            let signs = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            signs.replace('"', quote).replace('\'', apostrophe)
        }
        _ => {
            let text = base64(bytes, standard);
            let lines: Vec<&str> = (0..text.len())
                .step_by(7)
                .map(|at| &text[at..text.len().min(at + 7)])
                .collect();
            lines.join("\n  ")
        }
    })
}

fn filler() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z ,.:\n-]{0,300}",
        1 => "[éж€😀\\[\\]\"'a-f0-9 =%+/\\\\]{0,200}",
        2 => (0..40_000usize).prop_map(|len| "word ж, ".repeat(len / 9) + &"x".repeat(len % 9)),
    ]
}

proptest! {
    #[test]
    fn no_form_of_a_secret_comes_through(
        value in "[!-~é]([ -~éж😀\n]{6,60}|[a-z0-9]{200,700})[!-~]",
        number in 0..FORMS,
        (before, after) in (filler(), filler()),
        window in 0..600usize,
    ) {
        let secrets = Secrets::new([("NAME".to_owned(), format!(" {value}\r\n"))]);
        let (whole, core) = form(&value, number);
        let core = core.trim_end_matches([' ', ':', '\n']);
        // What isn't in the last bits of its base64 must be gone.
        let core = if number == FORMS - 1 { &core[..core.len() - 1] } else { core };
        let text = format!("{before}{whole}{after}");
        let (out, count) = secrets.redact_counted(&text, window);
        prop_assert!(count > 0, "{whole:?} stays in {out:?}");
        prop_assert!(!out.contains(core), "{core:?} stays in {out:?}");
        let pieces: Vec<&str> = core.as_bytes().chunks(24).filter_map(|piece| str::from_utf8(piece).ok()).collect();
        for piece in pieces.iter().filter(|piece| piece.len() == 24 && !text.replace(core, "").contains(**piece)) {
            prop_assert!(!out.contains(piece), "{piece:?} stays in {out:?}");
        }
        prop_assert!(out.contains("[secret NAME]") || out.contains("[redacted "));
    }
}

#[test]
fn short_values_are_found_as_they_are() {
    let secrets = Secrets::new(["abc", "abcd", "abcdefg"].map(|value| (value.to_uppercase(), value.to_owned())));
    assert_eq!(
        secrets.redact("abc abcd abcdefg ABCD"),
        "abc [secret ABCD] [secret ABCDEFG] ABCD"
    );
    assert_eq!(
        secrets.redact("61626364656667 YWJjZGVmZw=="),
        "61626364656667 YWJjZGVmZw=="
    );
    let secrets = Secrets::new([("N".to_owned(), "abcdefgh".to_owned())]);
    assert_eq!(
        secrets.redact("6162636465666768 YWJjZGVmZ2g="),
        "[secret N] [secret N]g="
    );
}

#[test]
fn a_secret_split_by_what_is_dropped_is_found() {
    let secrets = sample::secrets();
    let text = "x hun\u{200b}ter2\u{1b}hun\u{202e}ter\u{0}2\u{fe0f}. 6875\u{200d}6e7465723268756e74657232";
    assert_eq!(secrets.redact(text), "x [secret PLAIN]. [secret PLAIN]");
}

#[test]
fn a_long_secret_is_one_redaction() {
    let value: String = (0..3_000u32).map(|n| char::from(b'!' + (n * n % 89) as u8)).collect();
    let secrets = Secrets::new([("L".to_owned(), value.clone())]);
    for number in 0..FORMS {
        let (text, _) = form(&value, number);
        let (out, count) = secrets.redact_counted(&format!("<{text}>"), 0);
        assert_eq!(count, 1, "form {number}: {out}");
        assert!(out.len() < 30, "form {number}: {out}");
    }
}

#[test]
fn nothing_shows_a_value() {
    let secrets = sample::secrets();
    let shown = format!("{secrets:?} {secrets:#?}");
    assert!(
        shown.contains("PLAIN") && !shown.contains("hunter2") && !shown.contains("q7#z"),
        "{shown}"
    );
    assert_eq!(format!("{:?}", Secrets::none()), "Secrets([])");
}

#[test]
fn a_name_or_value_like_a_placeholder_does_no_harm() {
    let named = [
        ("a]b [redacted jwt]", "secret"),
        ("B", "redacted"),
        ("", "[secret B]"),
        ("ghp_", "[secret"),
    ];
    let secrets = Secrets::new(named.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for text in [
        "a secret redacted [secret B] [secret [redacted jwt] [secret ",
        "[[secret secret][redacted]",
    ] {
        let once = secrets.redact(text).into_owned();
        assert!(secrets.is_clean(&once), "{once}");
    }
    assert_eq!(secrets.redact("my secret!"), "my [secret a_b__redacted_jwt_]!");
}

/// The same with digits in lower case after each percent sign.
fn lower_digits(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + "%" + &part[..2].to_lowercase() + &part[2..])
}

#[test]
fn a_secret_is_found_as_each_encoder_for_urls_writes_it() {
    let value = "ab/cd+ef=gh:ij@kl";
    // RFC 3986, forms and `encodeURIComponent`; Python's `quote`; Go's `PathEscape`; JavaScript's `encodeURI`.
    let all = "ab%2Fcd%2Bef%3Dgh%3Aij%40kl";
    let heads = [all, "ab/cd%2Bef%3Dgh%3Aij%40kl", "ab%2Fcd+ef=gh:ij@kl", value];
    // What each of them makes of a space and of what only some leave as it is.
    let cases = [
        ("", vec![""; 4]),
        (" mn%op", vec!["%20mn%25op"; 4]),
        (
            "$&,;?#",
            vec!["%24%26%2C%3B%3F%23", "%24%26%2C%3B%3F%23", "$&%2C%3B%3F%23", "$&,;?#"],
        ),
        (
            "!~*'()é",
            vec![
                "!~*'()%C3%A9",
                "%21~%2A%27%28%29%C3%A9",
                "%21~%2A%27%28%29%C3%A9",
                "!~*'()%C3%A9",
            ],
        ),
    ];
    for (end, tails) in cases {
        let secrets = Secrets::new([("NAME".to_owned(), format!("{value}{end}"))]);
        for (head, tail) in heads.iter().zip(tails) {
            let upper = format!("{head}{tail}");
            for text in [lower_digits(&upper), upper] {
                let (out, count) = secrets.redact_counted(&format!("<{text}>."), 0);
                assert_eq!((&*out, count), ("<[secret NAME]>.", 1), "{text}");
            }
        }
    }
    // Forms write a space as a plus sign, and so does Python's `quote_plus`, which can be told to keep `/`.
    let secrets = Secrets::new([("NAME".to_owned(), format!("{value} mn"))]);
    for upper in [format!("{all}+mn"), "ab/cd%2Bef%3Dgh%3Aij%40kl+mn".to_owned()] {
        for text in [lower_digits(&upper), upper] {
            assert_eq!(secrets.redact(&text), "[secret NAME]", "{text}");
        }
    }
}

#[test]
fn of_a_text_that_is_cut_no_part_of_a_secret_is_left_however_many_go_before_it() {
    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
    let secrets = Secrets::new([("x".to_owned(), VALUE.to_owned())]);
    assert!(secrets.longest() <= BEHIND);
    let most = 4 << 10;
    // What is looked at ends in the midst of one, and is much shorter without them.
    for more in 0..VALUE.len() {
        let text = "-".repeat(more) + &VALUE.repeat(2 * BEHIND / VALUE.len());
        let (kept, missing) = secrets.beginning(&text, most);
        assert!(!kept.contains("Kq7z") && missing > 0, "{more}: {kept}");
    }
    let plain = "y".repeat(most + 1);
    assert_eq!(secrets.beginning(&plain[1..], most), (plain[1..].into(), 0));
    assert_eq!(secrets.beginning(&plain, most), (plain[1..].into(), 1));
    let long = "y".repeat(most + BEHIND + 7);
    assert_eq!(secrets.beginning(&long, most), (plain[1..].into(), BEHIND + 7));
    // Of a line as well, wherever its cut would be.
    for before in 0..=40 {
        let text = format!("{}{VALUE}{}", "y".repeat(before), "z".repeat(before * BEHIND));
        let line = secrets.line(&text, 40);
        assert!(!line.contains("Kq7z") && line.chars().count() <= 40, "{before}: {line}");
        assert_eq!(line.ends_with('…'), before > 0, "{before}: {line}");
    }
}
