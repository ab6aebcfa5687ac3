//! The page on what a run was denied: each missing right once, with the flags that would allow it; and the same for programs.

use serde_json::{Value, json};

use super::style::{Ink, Paint, fit, number};
use crate::amounts::sum;
use crate::ids::RunId;
use crate::run::{Denial, Denials};
use crate::text::{Shape, clean};

/// Columns of a line that a plugin may have worded.
const WIDTH: usize = 160;
/// Lines of one remedy, and remedies, that the page names beside the first of each plugin and kind of right.
const LINES: usize = 4;
const REMEDIES: usize = 8;

/// The page; nothing where nothing was denied. `run` is what the audit is asked for, where it was a run.
pub(super) fn page(paint: Paint, denials: &Denials, run: Option<&RunId>) -> String {
    if denials.is_empty() {
        return String::new();
    }
    let often = match denials.count() {
        1 => "once".to_owned(),
        n => number(n, "time"),
    };
    let mut out = format!("{} {often}\n", paint.ink(Ink::Warn, "denied:"));
    let (mut unnamed, mut flags) = (denials.further, Vec::new());
    for (n, group) in by_remedy(&denials.met).iter().enumerate() {
        let among = |line: usize| n < REMEDIES && line < LINES;
        let named = group.iter().enumerate();
        let named = named.filter(|(line, denial)| among(*line) || is_first(denial, &denials.met));
        let named: Vec<&Denial> = named.map(|(_, denial)| *denial).collect();
        let Some(first) = named.first() else {
            unnamed = sum(group.iter().map(|denial| denial.count).chain([unnamed]));
            continue;
        };
        named.iter().for_each(|denial| out.push_str(&line(denial)));
        if group.len() > named.len() {
            out.push_str(&format!("  … and {} more like these\n", group.len() - named.len()));
        }
        if let Some(remedy) = remedy(first) {
            out.push_str(&format!("    {}\n", paint.ink(Ink::Bold, &remedy)));
        }
        for flag in shown(first) {
            if !flags.contains(flag) {
                flags.push(flag.clone());
            }
        }
    }
    if unnamed > 0 {
        out.push_str(&format!("  … and {} more\n", number(unnamed, "denial")));
    }
    if flags.len() > 1 {
        out.push_str(&format!("  all of it   {}\n", flags.join(" ")));
    }
    if let Some(run) = run {
        out.push_str(&format!("  see more    hermes-host show {run} --audit\n"));
    }
    out
}

/// Denials with the same remedy beside one another, in the order in which they were first met.
fn by_remedy(met: &[Denial]) -> Vec<Vec<&Denial>> {
    let mut groups: Vec<Vec<&Denial>> = Vec::new();
    for denial in met {
        let same = |group: &&mut Vec<&Denial>| group.first().is_some_and(|first| first.remedy == denial.remedy);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(denial),
            None => groups.push(vec![denial]),
        }
    }
    groups
}

fn line(denial: &Denial) -> String {
    let words = match &denial.what {
        Some(what) => format!("{} may not {what}", denial.plugin),
        None => format!("{}: {}", denial.plugin, denial.message),
    };
    let often = match denial.count {
        1 => String::new(),
        n => format!("   {n} times"),
    };
    format!("  {}{often}\n", fit(&words, WIDTH))
}

/// What to do about a denial, where anything helps.
fn remedy(denial: &Denial) -> Option<String> {
    let mut parts: Vec<String> = shown(denial).cloned().collect();
    parts.extend(denial.remedy.words.as_ref().map(|words| match parts.is_empty() {
        true => words.clone(),
        false => format!("  ({words})"),
    }));
    let remedy = parts.join(" ");
    // A flag is no use in part.
    (!remedy.is_empty()).then(|| clean(&remedy, Shape::Line).into_owned())
}

/// Whether it is the first of its plugin that lacked the same: no flood of others takes its place on the page.
fn is_first(denial: &Denial, met: &[Denial]) -> bool {
    let first = met.iter().find(|other| other.is_like(denial));
    first.is_some_and(|first| std::ptr::eq(first, denial))
}

/// The flags of a denial that can be shown as they are. Cleaned, one would allow something else.
fn shown(denial: &Denial) -> impl Iterator<Item = &String> {
    let flags = denial.remedy.flags.iter();
    flags.filter(|flag| clean(flag, Shape::Line) == flag.as_str())
}

/// The same as programs read it.
pub(super) fn array(denials: &Denials) -> Value {
    let denial = |denial: &Denial| {
        json!({
            "plugin": denial.plugin,
            "digest": denial.digest.to_string(),
            "what": denial.what,
            "grant": denial.grant,
            "target": denial.target,
            "message": denial.message,
            "flags": denial.remedy.flags,
            "remedy": denial.remedy.words,
            "count": denial.count,
        })
    };
    let mut array: Vec<Value> = denials.met.iter().map(denial).collect();
    if denials.further > 0 {
        array.push(json!({
            "plugin": null,
            "digest": null,
            "what": null,
            "grant": null,
            "target": null,
            "message": "further denials, which differ from these",
            "flags": [],
            "remedy": null,
            "count": denials.further,
        }));
    }
    array.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;

    fn denial(what: &str, flags: &[&str], words: Option<&str>, count: u64) -> Denial {
        let mut denials = Denials::default();
        let entry = json!({
            "way": "denied",
            "grant": "llm:x",
            "target": what,
            "count": count,
            "denied": { "what": what, "message": "no", "flags": flags, "words": words },
        });
        let digest = Digest::of(b"p").to_string();
        let audited = json!({ "plugin": "p", "digest": digest, "entries": [entry] });
        denials.add_recorded(serde_json::from_value(audited).expect("a record"));
        denials.met.remove(0)
    }

    #[test]
    fn each_remedy_is_named_once_under_what_it_is_for() {
        let mut denials = Denials::default();
        for one in [
            denial("write /p/a", &["--allow fs:/p:rw"], None, 3),
            denial("ask a model", &[], Some("leave out --deny llm"), 1),
            denial("write /p/b\u{1b}[2J", &["--allow fs:/p:rw"], None, 1),
            denial(
                "send GET https://x.org/",
                &["--allow net:GET@x.org"],
                Some("its parent too"),
                1,
            ),
        ] {
            denials.add(one);
        }
        let run: RunId = "7f3a09c1d2".parse().expect("an id");
        assert_eq!(
            page(Paint::Plain, &denials, Some(&run)),
            "denied: 6 times\n  \
               p may not write /p/a   3 times\n  \
               p may not write /p/b\u{fffd}[2J\n    \
                 --allow fs:/p:rw\n  \
               p may not ask a model\n    \
                 leave out --deny llm\n  \
               p may not send GET https://x.org/\n    \
                 --allow net:GET@x.org   (its parent too)\n  \
               all of it   --allow fs:/p:rw --allow net:GET@x.org\n  \
               see more    hermes-host show 7f3a09c1d2 --audit\n"
        );
        let array = array(&denials);
        assert_eq!(array.as_array().map(Vec::len), Some(4));
        assert_eq!(
            (&array[0]["count"], &array[0]["flags"][0]),
            (&json!(3), &json!("--allow fs:/p:rw"))
        );
        assert_eq!(page(Paint::Plain, &Denials::default(), None), "");
    }

    #[test]
    fn it_is_one_page_however_much_was_denied() {
        let mut denials = Denials::default();
        for n in 0..100 {
            let flag = format!("--allow llm:{}", n % 10);
            denials.add(denial(&format!("ask {n}"), &[&flag], None, 1));
        }
        let last = Denial {
            plugin: "q".to_owned(),
            ..denial("ask last", &["--allow llm:last"], None, 1)
        };
        denials.add(last);
        let page = page(Paint::Plain, &denials, None);
        assert!(page.lines().count() <= 60, "{page}");
        assert!(page.starts_with("denied: 101 times\n"), "{page}");
        assert!(page.contains("more"), "{page}");
        assert!(
            page.contains("  q may not ask last\n    --allow llm:last\n"),
            "no flood of one plugin hides what another was denied: {page}"
        );
        let all = page
            .lines()
            .find_map(|line| line.strip_prefix("  all of it   "))
            .expect("a line");
        for flag in all.split(" --allow ").map(|right| right.trim_start_matches("--allow ")) {
            assert!(
                page.contains(&format!("    --allow {flag}\n")),
                "{flag} is named: {page}"
            );
        }
        assert_eq!(all.matches("--allow").count(), REMEDIES + 1, "{all}");
    }
}
