//! Globs: `*`, `?`, `**`, `{a,b}` and `[a-z]`, by translation to a regular expression.

use hermes_sdk::Error;
use regex::Regex;

/// A glob that matches names, or paths if it has a `/`.
#[derive(Debug)]
pub(crate) struct Glob {
    regex: Regex,
    whole_path: bool,
}

impl Glob {
    /// # Errors
    /// A glob that is not closed properly.
    pub(crate) fn new(glob: &str) -> Result<Self, Error> {
        let glob = glob.trim_start_matches("./").trim_start_matches('/');
        let fail = || {
            Error::invalid_input(format!(
                "`{glob}` is no glob; write for example `*.md` or `src/**/*.rs`"
            ))
        };
        let regex = Regex::new(&translate(glob)).map_err(|_| fail())?;
        Ok(Self {
            regex,
            whole_path: glob.contains('/'),
        })
    }

    /// Whether a path below the folder that is walked matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.regex.is_match(if self.whole_path { path } else { name })
    }
}

fn translate(glob: &str) -> String {
    let mut regex = String::from("^");
    let (mut rest, mut depth) = (glob, 0_usize);
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            regex.push_str("(?:.*/)?");
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix("**") {
            regex.push_str(".*");
            rest = after;
            continue;
        }
        if let Some((class, after)) = rest.strip_prefix('[').and_then(class) {
            regex.push_str(&class);
            rest = after;
            continue;
        }
        match c {
            // Never closed: no regular expression either.
            '[' => regex.push('['),
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '{' => {
                regex.push_str("(?:");
                depth += 1;
            }
            '}' if depth > 0 => {
                regex.push(')');
                depth -= 1;
            }
            ',' if depth > 0 => regex.push('|'),
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
        rest = &rest[c.len_utf8()..];
    }
    regex.push('$');
    regex
}

/// What follows a `[`, up to its `]`, as a class of a regular expression, and the rest.
fn class(inside: &str) -> Option<(String, &str)> {
    let (negated, members) = match inside.strip_prefix(['!', '^']) {
        Some(members) => (true, members),
        None => (false, inside),
    };
    // A `]` that comes first is a member.
    let first = members.chars().next()?.len_utf8();
    let end = first + members[first..].find(']')?;
    let mut class = String::from(if negated { "[^/" } else { "[" });
    for c in members[..end].chars() {
        if c == '-' {
            class.push('-');
        } else {
            class.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        }
    }
    class.push(']');
    Some((class, &members[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_names_or_paths() {
        let is = |glob: &str, path: &str| Glob::new(glob).unwrap().matches(path);
        assert!(is("*.md", "a/b/c.md") && !is("*.md", "a/c.mdx"));
        assert!(is("src/**/*.rs", "src/a.rs") && is("src/**/*.rs", "src/x/y/a.rs") && !is("src/**/*.rs", "b/src/a.rs"));
        assert!(is("src/*.rs", "src/a.rs") && !is("src/*.rs", "src/x/a.rs"));
        assert!(is("*.{md,txt}", "é.txt") && is("a?.md", "aä.md") && is("[a-c]*", "b") && !is("[a-c]*", "d"));
        assert!(is("**", "x/y") && is("a.b", "a.b") && !is("a.b", "axb"));
        assert!(is("[!a]*", "b") && !is("[!a]*", "a") && is("[^a-c]x", "dx") && !is("[^a-c]x", "bx"));
        assert!(is("[]a]", "]") && is("[!]]", "a") && is("[&&x]", "&") && is("[a^]", "^") && !is("a[!b]c", "a/c"));
        assert!(is("a-b]", "a-b]") && is("[a-]", "-"));
        assert!(Glob::new("a{b").is_err() && Glob::new("a[").is_err());
    }
}
