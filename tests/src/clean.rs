//! What the host prints and keeps is clean: no key in any of the spellings that are searched for, nothing that steers a terminal, no panic, and no path
//! that is none of the test's business.

use std::path::Path;
use std::sync::LazyLock;

use memchr::memmem;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::home::KEY;
use crate::host::target;
use crate::output::steering;
use crate::{Home, Output};

/// What no message may hold: words of a panic, and places in the sources of others.
const WORDS: [&str; 5] = [
    "panicked at",
    "a fault in hermes-host itself",
    "RUST_BACKTRACE",
    "/rustc/",
    ".cargo/registry",
];

/// Where a system has what is no file of anybody's.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Panics when what a command printed is not clean.
#[track_caller]
pub fn printed(folder: &Path, what: &str, output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        is_clean(what, text);
        for word in WORDS {
            assert!(!text.contains(word), "{what} says {word:?}: {text}");
        }
        let is_known = |path: &Path| path.starts_with(folder) || path.starts_with(target());
        let is_kernels = |path: &Path| KERNELS.iter().any(|folder| path.starts_with(folder));
        let foreign = paths(text).find(|path| !is_known(path) && !is_kernels(path));
        assert!(foreign.is_none(), "{what} names {foreign:?}: {text}");
    }
}

/// Panics when what a home keeps is not clean.
#[track_caller]
pub fn kept(home: &Home) {
    for (path, bytes) in home.files() {
        for (spelling, secret) in of_the_key() {
            let found = memmem::find(&bytes, secret.as_bytes()).is_some();
            assert!(!found, "{} holds the key ({spelling})", path.display());
        }
    }
    let database = Connection::open_with_flags(home.path().join("host/hermes.db"), OpenFlags::SQLITE_OPEN_READ_ONLY);
    // An attack that was refused before anything ran leaves none.
    let Ok(database) = database else { return };
    let tables = column(&database, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    for table in tables {
        let texts = column(
            &database,
            &format!("SELECT name FROM pragma_table_info('{table}') WHERE type = 'TEXT'"),
        );
        for text in texts {
            for value in column(&database, &format!("SELECT {text} FROM {table}")) {
                is_clean(&format!("{table}.{text}"), &value);
            }
        }
    }
}

#[track_caller]
fn is_clean(what: &str, text: &str) {
    let odd = steering(text);
    assert!(odd.is_none(), "{what} holds {odd:?}: {text:?}");
    for (spelling, secret) in of_the_key() {
        assert!(!text.contains(secret), "{what} holds the key ({spelling}): {text}");
    }
}

/// The one column of a query, each value of which is UTF-8.
fn column(database: &Connection, query: &str) -> Vec<String> {
    let mut statement = database.prepare(query).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut values = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        match row.get_ref(0).unwrap() {
            ValueRef::Text(text) => values.push(String::from_utf8(text.to_vec()).expect("a text is UTF-8")),
            other => assert_eq!(other, ValueRef::Null),
        }
    }
    values
}

/// Paths of this machine in a text: absolute, and below a folder that the machine has.
pub fn paths(text: &str) -> impl Iterator<Item = &Path> {
    let begins = |(at, _): &(usize, &str)| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"/.:_-~<>*\\".contains(c))
    };
    text.match_indices('/').filter(begins).filter_map(|(at, _)| {
        let path = text[at..]
            .split(|c: char| c.is_whitespace() || "\"'`\\,;:()[]{}<>".contains(c))
            .next()?;
        let first = path
            .split('/')
            .nth(1)
            .filter(|first| !first.is_empty() && *first != "..")?;
        Path::new("/").join(first).exists().then(|| Path::new(path))
    })
}

/// Those of the key.
fn of_the_key() -> &'static [(&'static str, String)] {
    static SPELLINGS: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| spellings(KEY));
    &SPELLINGS
}

/// The spellings of a secret that are searched for.
pub fn spellings(secret: &str) -> Vec<(&'static str, String)> {
    let each = |of: fn(u8) -> String| secret.bytes().map(of).collect::<String>();
    let mut spellings = vec![
        ("as it is", secret.to_owned()),
        ("hexadecimal", each(|byte| format!("{byte:02x}"))),
        ("hexadecimal, upper case", each(|byte| format!("{byte:02X}"))),
        ("percent", each(|byte| format!("%{byte:02x}"))),
        ("percent, upper case", each(|byte| format!("%{byte:02X}"))),
        ("JSON escapes", each(|byte| format!("\\u{byte:04x}"))),
    ];
    for shift in 0..3 {
        let code = base64(secret.as_bytes(), shift);
        spellings.push(("base64url", code.replace('+', "-").replace('/', "_")));
        spellings.push(("base64", code));
    }
    let escaped = html(secret).into_iter().filter(|form| form != secret);
    spellings.extend(escaped.map(|form| ("HTML escapes", form)));
    spellings
}

/// A text in a page, in each of the ways in which quotes are escaped there.
pub fn html(text: &str) -> [String; 5] {
    let signs = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let quotes = [
        ("\"", "'"),
        ("&quot;", "'"),
        ("&quot;", "&#x27;"),
        ("&quot;", "&#39;"),
        ("&#34;", "&#39;"),
    ];
    quotes.map(|(quote, apostrophe)| signs.replace('"', quote).replace('\'', apostrophe))
}

/// The characters that hold nothing but `bytes` where these stand behind `shift` others.
fn base64(bytes: &[u8], shift: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |n: usize| (bytes[n / 8] >> (7 - n % 8)) & 1;
    // The first character that begins within them, and those that end within them.
    let first = (6 - shift * 8 % 6) % 6;
    let last = bytes.len() * 8 - 6;
    let letter = |at: usize| (at..at + 6).fold(0, |code, n| (code << 1) | bit(n));
    let letters = (first..=last).step_by(6).map(letter);
    letters.map(|code| char::from(LETTERS[usize::from(code)])).collect()
}
