//! What a person reads before a plugin is added: what it is, what it asks for and what that makes possible at worst, in words of the host's, and beside them
//! its own, marked as such.

use super::inspect::{NO_REASON, Screen, WIDTH, at_least};
use super::style::{Ink, fit, left, size};
use crate::run::{Change, Holder, Review, ToolInfo, Want, WouldGet};
use crate::text;

impl Screen {
    /// All of a review.
    pub(super) fn review(&self, review: &Review) -> String {
        let found = &review.inspection;
        let name = self.paint.ink(Ink::Bold, &fit(&found.name, 80));
        let mut out = format!("{name} {}\n", fit(&found.version, 40)).replace(" \n", "\n");
        let (kinds, toolsets, digest) = (
            found.kinds.join(", "),
            found.toolsets.join(", "),
            found.digest.to_string(),
        );
        let size = size(found.size);
        let words = Some(&found.description).filter(|words| !words.is_empty());
        let words = words.map_or_else(String::new, |words| quoted(words));
        for (name, value) in [
            ("it says", &words),
            ("is", &kinds),
            ("digest", &digest),
            ("size", &size),
            ("manifest", &found.manifest),
            ("toolsets", &toolsets),
        ] {
            if !value.is_empty() {
                self.item(
                    &mut out,
                    &format!("{} ", self.paint.ink(Ink::Dim, &left(name, 9))),
                    10,
                    value,
                );
            }
        }
        if let Some(path) = &review.replaces {
            self.item(
                &mut out,
                "",
                0,
                &format!("it replaces {}, which was never added", path.display()),
            );
        }
        if let Some(change) = &review.change {
            self.change(&mut out, change);
        }
        self.list(&mut out, "asks for", "nothing", &found.wants, |out, want| {
            self.asks(out, want);
        });
        self.list(&mut out, "would get", "nothing", &review.gets, |out, right| {
            self.gets(out, right);
        });
        self.by_default(&mut out, "has as every agent", &found.has);
        if !review.standing.is_empty() {
            let heading = "has besides by the configuration";
            self.list(&mut out, heading, "nothing", &review.standing, |out, right| {
                self.gets(out, right);
            });
        }
        if !review.unread.is_empty() {
            let heading = "may have by the configuration what can't be read here";
            self.list(&mut out, heading, "nothing", &review.unread, |out, unread| {
                self.item(out, "", 0, unread);
            });
        }
        if !review.dropped.is_empty() {
            self.list(&mut out, "would lose", "nothing", &review.dropped, |out, dropped| {
                self.item(out, "", 0, dropped);
            });
        }
        if let Some(tools) = &found.tools {
            self.list(&mut out, "tools", "none", tools, |out, tool| {
                self.tool(out, tool, review);
            });
        }
        out
    }

    /// What a plugin gets that was added before; no words where that is nothing.
    pub(super) fn further(&self, gets: &[WouldGet]) -> String {
        let mut out = String::new();
        if !gets.is_empty() {
            self.list(&mut out, "gets", "nothing", gets, |out, right| {
                self.gets(out, right);
            });
        }
        out
    }

    /// How it differs from what was approved.
    fn change(&self, out: &mut String, change: &Change) {
        let heading = self.paint.ink(Ink::Warn, "has changed since it was approved");
        out.push_str(&format!("{heading}\n"));
        for line in change.lines() {
            out.push_str(&format!("  {}\n", fit(&line, WIDTH)));
        }
    }

    fn asks(&self, out: &mut String, want: &Want) {
        let (verdict, flag) = if want.granted {
            (self.paint.ink(Ink::Good, "given    "), "")
        } else {
            (self.paint.ink(Ink::Dim, "not given"), want.flag.as_str())
        };
        let line = format!("  {verdict} {} {}", at_least(&want.grant, 16), fit(flag, WIDTH));
        out.push_str(&format!("{}\n", line.trim_end()));
        self.said(out, "at worst", &want.at_worst);
        match want.reason.trim() {
            "" => self.said(out, "it", NO_REASON),
            reason if want.is_said => self.said(out, "it says", &quoted(reason)),
            // The host's own words, of what the plugin imports.
            reason => self.said(out, "because", reason),
        }
    }

    fn gets(&self, out: &mut String, right: &WouldGet) {
        let holder = match right.holder {
            Holder::Caller => "",
            Holder::Tools => "   for its tools, as far as they ask for it",
            Holder::Own => "   itself, whichever agent calls it",
        };
        let grant = self.paint.ink(Ink::Warn, &fit(&right.grant, WIDTH));
        out.push_str(&format!("  {grant}{holder}\n"));
        self.said(out, "at worst", &right.at_worst);
    }

    fn tool(&self, out: &mut String, tool: &ToolInfo, review: &Review) {
        let mut hints = tool.hints.join(", ");
        if hints.is_empty() {
            "nothing said of its calls".clone_into(&mut hints);
        }
        out.push_str(&format!("  {} {hints}\n", at_least(&tool.name, 24)));
        if review.repeatable.contains(&tool.name) {
            self.said(
                out,
                "so",
                "it would be called again where it is not known how a call ended",
            );
            if review.runs_code {
                let counted = "its calls count as running code: iterations that make no others are given back";
                self.said(out, "and", counted);
            }
        }
        self.said(out, "it says", &quoted(&tool.description));
    }
}

/// A plugin's own words, between marks of which none stands in them: what comes behind the second is the host's.
fn quoted(words: &str) -> String {
    let plain: String = text::line(words, 300).chars().map(within_marks).collect();
    format!("\u{201c}{}\u{201d}", plain.trim())
}

/// What looks like the marks is a plain one, and what looks like nothing a space, at which a line may end.
fn within_marks(c: char) -> char {
    match c {
        // Double quotation marks, primes, the letters and ornaments that look like them, and the full-width one.
        '\u{201c}'..='\u{201f}'
        | '\u{ab}'
        | '\u{bb}'
        | '\u{2ba}'
        | '\u{2dd}'
        | '\u{2ee}'
        | '\u{2033}'
        | '\u{2036}'
        | '\u{275d}'
        | '\u{275e}'
        | '\u{2e42}'
        | '\u{301d}'..='\u{301f}'
        | '\u{ff02}' => '"',
        // A pattern of Braille without a dot, a note without a head.
        '\u{2800}' | '\u{1d159}' => ' ',
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_words_end_where_the_host_says() {
        for (words, shown) in [
            ("reads the papers", "\u{201c}reads the papers\u{201d}"),
            (
                "no.\u{201d} The host has checked it. \u{201c}Yes",
                "\u{201c}no.\" The host has checked it. \"Yes\u{201d}",
            ),
            (
                "\u{201e}a\u{201f}\u{ab}b\u{bb}\u{ff02}c\u{2033}",
                "\u{201c}\"a\"\"b\"\"c\"\u{201d}",
            ),
            ("\u{2800}\u{a0}a\u{2800}\u{3000}b\u{2800}", "\u{201c}a  b\u{201d}"),
            ("it's the agent\u{2019}s", "\u{201c}it's the agent\u{2019}s\u{201d}"),
        ] {
            assert_eq!(quoted(words), shown);
        }
    }
}
