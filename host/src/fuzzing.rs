//! Every parser of foreign bytes, and what must hold of any input: for fuzzers (`tests/fuzz`), and for this crate's own tests, which try
//! mutations of good input. It is in no release.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::LazyLock;

use url::Url;

use crate::egress::NetRule;
use crate::engine::precheck::{check, check_again};
use crate::json::{self, Most};
use crate::limits::Limits;
use crate::llm::fuzzing::pieces;
use crate::plugin::grant::{Allowed, GivenBy, Grant, GrantContext, ProviderFiles};
use crate::plugin::manifest::{self, Manifest};
use crate::plugin::schema;
use crate::scrub::{Budget, Coming, Scrubber, Secrets};
use crate::text::{self, Shape, clean};
use crate::{interfaces, llm, run};

/// A parser with all that is asked of it. It panics where that does not hold.
pub type Target = fn(&[u8]);

/// All of them by name. Good input to begin with stands in `tests/fuzz/corpus`, in a folder of each one's name.
pub const TARGETS: [(&str, Target); 18] = [
    ("manifest", manifest),
    ("manifest-section", manifest_section),
    ("component", component),
    ("grant", grant),
    ("address", address),
    ("path", interfaces::fuzzing::path),
    ("json", json_text),
    ("schema", tool_schema),
    ("text", shown),
    ("sse", llm::fuzzing::sse),
    ("openai", llm::fuzzing::openai),
    ("anthropic", llm::fuzzing::anthropic),
    ("models", llm::fuzzing::models),
    ("scrubber", scrubber),
    ("conceal", conceal),
    ("coming", coming),
    ("run-file", run::fuzzing::run_file),
    ("record", run::fuzzing::record),
];

/// Tries the parser of this name.
///
/// # Panics
/// There is none, or it does not keep its word.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    target.expect("a target's name").1(data);
}

/// What is read of a manifest is clean, whatever it says.
fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(&String::from_utf8_lossy(data)) {
        is_clean(&manifest);
    }
}

/// So is what is read of one that lies in a component, however that is made.
fn manifest_section(data: &[u8]) {
    if let Ok(Some(manifest)) = manifest::read(data, None) {
        assert_eq!(manifest.beside, None);
        is_clean(&manifest);
    }
}

fn is_clean(manifest: &Manifest) {
    let reasons = manifest.wants.iter().map(|want| &want.reason);
    for words in reasons.chain([&manifest.description, &manifest.version]) {
        assert_eq!(clean(words, Shape::Line), words.as_str());
    }
}

/// A component that passes the check passes it again.
fn component(data: &[u8]) {
    let limits = Limits::default();
    if let Ok(outline) = check(data, &limits) {
        assert_eq!(check_again(data, &limits), Ok(outline));
    }
}

/// A home folder for grants, whose own part no grant may reach.
static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = std::env::temp_dir().join(format!("hermes-fuzz-{}", std::process::id()));
    for folder in ["host", "plugins"] {
        std::fs::create_dir_all(home.join(folder)).expect("a folder for what is temporary");
    }
    home.canonicalize().expect("it was just made")
});

/// A grant is what it says, read again, and opens nothing of the host's own.
fn grant(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let rule = text.strip_prefix("net:").unwrap_or(&text);
    if let Ok(rule) = rule.parse::<NetRule>() {
        let grant = Grant::Net(rule.clone()).to_string();
        let again = grant.strip_prefix("net:").map(str::parse::<NetRule>);
        assert_eq!(again, Some(Ok(rule)), "{grant}");
    }
    let context = GrantContext::new(&HOME, None, ProviderFiles::default()).expect("there is a current folder");
    let Ok(Allowed { grant, .. }) = Allowed::parse(&text, GivenBy::Flag, &context) else {
        return;
    };
    let again = Grant::parse(&grant.to_string(), &context);
    assert_eq!(again.as_ref(), Ok(&grant), "{grant}");
    if let Grant::Fs(folder) = &grant {
        let touches = |ours: PathBuf| ours.starts_with(&folder.dir) || folder.dir.starts_with(&ours);
        assert!(!touches(HOME.join("host")), "{grant}");
        assert!(!(folder.writable() && touches(HOME.join("plugins"))), "{grant}");
    }
}

/// What a rule allows has a notation of its own, and an address is allowed where it is named, or everything is.
fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((rule, url)) = text.split_once('\n') else {
        return;
    };
    let rule = rule.strip_prefix("net:").unwrap_or(rule).parse::<NetRule>();
    let (Ok(rule), Ok(url)) = (rule, Url::parse(url)) else {
        return;
    };
    if !rule.allows("GET", &url) {
        return;
    }
    let narrow = NetRule::for_request("GET", &url).expect("what a rule allows has a notation");
    assert!(narrow.allows("GET", &url) && narrow.names(&url));
    let is_name = matches!(url.host(), Some(url::Host::Domain(_)));
    assert!(is_name || rule.names(&url) || rule.is_everything());
}

/// What is read is within the depth, and the same when it is read again; what is not kept is held to be the same.
fn json_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let most = Most { depth: 8, values: 1000 };
    let is_object = json::is_object(&text, most.depth);
    match json::parse(&text, most) {
        Ok(value) => {
            let again = value.to_string();
            assert!(json::nesting(&again) <= most.depth);
            assert_eq!(json::parse(&again, most).as_ref(), Ok(&value));
            assert_eq!(is_object, Ok(value.is_object()));
        }
        Err(json::JsonError::TooMany(_)) => {}
        Err(error) => assert_eq!(is_object, Err(error)),
    }
}

/// A schema that is taken is an object within its caps, and what checks with it comes to an end.
fn tool_schema(data: &[u8]) {
    let limits = Limits {
        json_schema: 4096,
        json_schema_steps: 256,
        ..Limits::default()
    };
    let text = String::from_utf8_lossy(data);
    if let Ok((checker, value)) = schema::read(&text, &limits) {
        assert!(value.is_object() && text.len() as u64 <= limits.json_schema);
        // Schemas nest as values do: each is one that may be checked.
        let _ = checker.check(&value);
    }
}

/// What a person is shown steers no terminal, and is the same when it is cleaned again.
fn shown(data: &[u8]) {
    let foreign = String::from_utf8_lossy(data);
    for shape in [Shape::Line, Shape::Block] {
        let once = clean(&foreign, shape);
        assert!(
            once.chars()
                .all(|c| !c.is_control() || shape == Shape::Block && matches!(c, '\n' | '\t'))
        );
        assert_eq!(clean(&once, shape), once);
    }
    let line = text::line(&foreign, 20);
    assert!(line.chars().count() <= 20 && clean(&line, Shape::Line) == line.as_str());
    assert!(text::prefix(&foreign, 20).len() <= 20);
}

/// The secrets that no text may hold which is handed out: one as it is in most places, and one that is written in another way almost everywhere.
const PLAIN: &str = "secret-value-1234";
const SIGNS: &str = "p/q\"r\\s<&t>+u=1'";

static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
    let named = [("KEY", PLAIN), ("SIGNS", SIGNS)];
    Secrets::new(named.map(|(name, value)| (name.to_owned(), value.to_owned())))
});

/// Panics where some form of a secret is left.
#[track_caller]
fn holds_none(bytes: &[u8]) {
    let kept = matches!(SECRETS.conceal(bytes), Cow::Borrowed(_));
    assert!(kept, "{}", String::from_utf8_lossy(bytes));
}

/// Texts, and what they are one behind the other.
fn texts(data: &[u8]) -> (Vec<String>, String) {
    let texts: Vec<String> = pieces(data)
        .0
        .into_iter()
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect();
    let whole = texts.concat();
    (texts, whole)
}

/// A text comes out the same however it is cut, within its budget, without a secret and without what steers a terminal.
fn scrubber(data: &[u8]) {
    let (pieces, whole) = pieces(data);
    let budget = Budget {
        chars: 500,
        spill: 1 << 16,
        piece: 64,
    };
    let scrub = |pieces: &[&[u8]]| {
        let mut spilled = String::new();
        let mut scrubber = Scrubber::new(&SECRETS, budget, |piece| spilled.push_str(piece));
        pieces.iter().for_each(|piece| scrubber.push(piece));
        let scrubbed = scrubber.finish();
        (scrubbed, spilled)
    };
    let (scrubbed, spilled) = scrub(&pieces);
    assert_eq!((scrubbed.clone(), spilled.clone()), scrub(&[whole]), "a cut changes it");
    assert!(scrubbed.text.chars().count() <= budget.chars);
    for text in [&scrubbed.text, &spilled] {
        holds_none(text.as_bytes());
        assert_eq!(clean(text, Shape::Block), text.as_str());
    }
}

/// Of what passes as it is, and of what a model says, no secret is left; JSON stays JSON; and where there is no secret, nothing is changed.
fn conceal(data: &[u8]) {
    let (texts, whole) = texts(data);
    concealed_bytes(pieces(data));
    concealed_over_edges(&texts, &whole);
    llm::fuzzing::said(&texts, &SECRETS);
    let concealed = SECRETS.conceal_text(whole.clone());
    assert_eq!(SECRETS.find(concealed.as_bytes()), None, "{concealed:?}");
    assert!(!json::is_json(&whole) || json::is_json(&concealed), "{concealed:?}");
    assert_eq!(SECRETS.conceal_text(concealed.clone()), concealed);
    // Where a backslash is, a string of JSON may hold what the text does not, and so may it without what can't be seen.
    let may_hold = whole.contains('\\') || !SECRETS.is_clean(&whole);
    assert!(may_hold || concealed == whole, "{concealed:?}");
}

/// Neither the whole nor any first part of it, which is what the whole begins with.
fn concealed_bytes((pieces, whole): (Vec<&[u8]>, &[u8])) {
    let concealed = SECRETS.conceal(whole);
    holds_none(&concealed);
    assert!(matches!(concealed, Cow::Borrowed(_)) || SECRETS.find(whole).is_some());
    let settled = pieces.first().map_or(0, |piece| piece.len());
    for most in [settled / 2, settled, whole.len()] {
        let first = SECRETS.conceal_first(whole, settled, most);
        assert!(first.bytes.len() <= most && concealed.starts_with(&first.bytes));
        assert!(first.cut || first.bytes == concealed);
    }
}

/// No cut hides one.
fn concealed_over_edges(texts: &[String], whole: &str) {
    let found = SECRETS.find_over_edges(texts.iter().map(String::as_str));
    assert_eq!(found, SECRETS.find(whole.as_bytes()), "a cut hides it");
    let mut after = texts.to_vec();
    let order = (0..texts.len()).collect();
    SECRETS.conceal_texts(&mut after.iter_mut().collect::<Vec<_>>(), &[order]);
    assert_eq!(SECRETS.find(after.concat().as_bytes()), None, "{after:?}");
    let by_itself = texts.iter().any(|text| SECRETS.conceal_text(text.clone()) != *text);
    let held_one = by_itself || SECRETS.find(whole.as_bytes()).is_some();
    assert!(held_one || after == texts, "{texts:?}: {after:?}");
}

/// A text comes out the same however it is cut, as the whole of it does. Of one that is handed out as it comes no secret is left; and where there is
/// none, nothing is missing.
fn coming(data: &[u8]) {
    let (texts, whole) = texts(data);
    let redacted = SECRETS.redact(&whole);
    let (mut late, mut early, mut told) = (Coming::default(), Coming::default(), String::new());
    let mut added = 0;
    for text in &texts {
        let (first, rest) = early.add_first(text, 3);
        let more = first + early.add(rest);
        assert_eq!(late.add(text), more, "a cut changes its length");
        told.push_str(&early.decide_settled(&SECRETS));
        added += more;
    }
    assert_eq!(late.open(), added);
    assert_eq!(late.finish(&SECRETS), redacted, "a cut changes it");
    told.push_str(&early.finish(&SECRETS));
    holds_none(told.as_bytes());
    assert!(!SECRETS.is_clean(&whole) || told == whole, "{told:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    /// What a target's fuzzer begins with: files that are named `seed-…`. What fuzzers find stands beside them, on the machine that found it.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        let all = std::fs::read_dir(corpus.join(target)).expect("a target has a corpus of its name");
        let mut files: Vec<PathBuf> = all.map(|file| file.expect("it is read").path()).collect();
        files.retain(|file| {
            file.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("seed-"))
        });
        // The same cases on every machine.
        files.sort();
        let seeds = files.iter().map(|file| std::fs::read(file).expect("it was listed"));
        seeds.collect()
    }

    /// Good input with some of its bytes changed, left out or doubled.
    fn mutated(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let change = (any::<prop::sample::Index>(), any::<u8>(), 0u8..4);
        (prop::sample::select(seeds), prop::collection::vec(change, 0..6)).prop_map(|(mut bytes, changes)| {
            for (place, byte, what) in changes {
                let at = place.index(bytes.len().max(1));
                match what {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    2 => bytes.insert(at.min(bytes.len()), byte),
                    _ => bytes.extend_from_within(at.min(bytes.len())..),
                }
            }
            bytes
        })
    }

    #[test]
    fn each_parser_keeps_its_word_for_good_input_and_mutations_of_it() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name} has nothing to begin with");
            seeds.iter().for_each(|seed| target(seed));
            let mut runner = TestRunner::new_with_rng(
                Config::with_cases(300),
                proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
            );
            let all = runner.run(&mutated(seeds), |bytes| {
                target(&bytes);
                Ok(())
            });
            assert!(all.is_ok(), "{name}: {}", all.unwrap_err());
        }
    }

    #[test]
    fn each_has_a_target_of_its_name() {
        let manifest = include_str!("../../tests/fuzz/Cargo.toml");
        let page = include_str!("../../docs/security.md");
        let targets = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/targets");
        for (name, _) in TARGETS {
            let target = targets.join(format!("{name}.rs"));
            let fuzzer = std::fs::read_to_string(&target).expect("a target has a file of its name");
            // To the letter: nothing here compiles it.
            let expected = format!(
                "//! Fuzzes `{name}` of `hermes_host::fuzzing`.\n\n#![no_main]\n\n\
                 libfuzzer_sys::fuzz_target!(|data: &[u8]| hermes_host::fuzzing::run(\"{name}\", data));\n"
            );
            assert_eq!(fuzzer, expected, "{}", target.display());
            assert!(
                manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"\n")),
                "tests/fuzz has no {name}"
            );
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/security.md doesn't name {name}"
            );
        }
        let there = manifest.matches("[[bin]]").count();
        assert_eq!(there, TARGETS.len(), "tests/fuzz has others");
    }

    /// Else no mutation of it would reach what lies inside.
    #[test]
    fn the_component_to_begin_with_is_a_good_one() {
        let text = include_str!("../../tests/fuzz/component.wat");
        let component = &seeds("component")[0];
        assert!(
            hermes_tests::guests::assemble(text, &[]) == *component,
            "it is another text's"
        );
        let outline = check(component, &Limits::default()).expect("a good component");
        assert_eq!(outline.exports, ["hermes:plugin/toolset@0.1.0"]);
        assert_eq!(outline.producers, ["x 1"]);
    }

    #[test]
    fn nothing_is_lost_where_it_is_cut() {
        let data: Vec<u8> = (0..=255).collect();
        let (cut, whole) = pieces(&data);
        assert_eq!(cut.concat(), whole);
        assert_eq!(
            pieces(b"\x02\x01\x02abcd"),
            (vec![&b"a"[..], b"bc", b"d"], &b"abcd"[..])
        );
    }
}
