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
        match c {
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' | ']' => regex.push(c),
            '{' => {
                regex.push_str("(?:");
                depth += 1;
            }
            '}' if depth > 0 => {
                regex.push(')');
                depth -= 1;
            }
            ',' if depth > 0 => regex.push('|'),
            '-' => regex.push('-'),
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
        rest = &rest[c.len_utf8()..];
    }
    regex.push('$');
    regex
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
        assert!(Glob::new("a{b").is_err() && Glob::new("a[").is_err());
    }
}
