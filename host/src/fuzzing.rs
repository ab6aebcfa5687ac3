//! Every parser of foreign bytes, and what must hold of any input: for fuzzers (`tests/fuzz`), and for this crate's own tests, which try
//! mutations of good input. Compiled for nothing else.

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
use crate::scrub::{Budget, Scrubber, Secrets};
use crate::text::{self, Shape, clean};
use crate::{interfaces, llm, run};

/// A parser with all that is asked of it. It panics where that does not hold.
pub type Target = fn(&[u8]);

/// All of them by name, each with good input to begin with.
pub const TARGETS: [(&str, Target, &[&[u8]]); 15] = [
    ("manifest", manifest, &[MANIFEST]),
    ("manifest-section", manifest_section, &[IN_COMPONENT, IN_MODULE]),
    ("component", component, &[COMPONENT, b"\0asm\x01\0\0\0"]),
    (
        "grant",
        grant,
        &[
            b"a=fs:n=/tmp:rw",
            b"fs:../..:ro",
            b"blackboard:notes:ro",
            b"secret:k@*.x.org",
            b"net:GET,POST@http://*.x.org:81",
            b"net:\xef\xbc\x8a.\xef\xbc\x8e",
        ],
    ),
    (
        "address",
        address,
        &[b"net:*\nhttp://0x7f.1/", b"net:x.org\nhttps://u@[::ffff:7f00:1]:8/"],
    ),
    ("path", interfaces::fuzzing::path, &[b"./a//b/../c", b"/etc/passwd"]),
    ("json", json_text, &[b"{\"a\":[1,{\"b\":null}],\"c\":\"\\u0000\"}"]),
    (
        "schema",
        tool_schema,
        &[br##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"pattern":"^a+$"}}}"##],
    ),
    ("text", shown, &["a\u{202e}b\t\u{1b}[31m\u{2764}\u{fe0f}\n".as_bytes()]),
    (
        "sse",
        llm::fuzzing::sse,
        &[b"\x02\x05\x09event: a\ndata: b\rdata:c\r\n\r\n: d\n\ndata"],
    ),
    ("openai", llm::fuzzing::openai, &[OPENAI]),
    ("anthropic", llm::fuzzing::anthropic, &[ANTHROPIC]),
    ("scrubber", scrubber, &[SCRUBBED]),
    (
        "run-file",
        run::fuzzing::run_file,
        &[b"{\"hermes_run\":1}\n{\"end\":{}}\n"],
    ),
    ("record", run::fuzzing::record, &[NOTE, ENTRY]),
];

/// Tries the parser of this name.
///
/// # Panics
/// There is none, or it does not keep its word.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, ..)| *target == name);
    target.expect("a target's name").1(data);
}

const MANIFEST: &[u8] = b"name = \"a\"\ntoolset = \"t\"\n[[wants]]\ngrant = \"net:x.org\"\nreason = \"why\"\n";
/// A component with a manifest, and one with a module that has it.
const IN_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\0\x1a\x0fhermes:manifestname = \"x\"";
const IN_MODULE: &[u8] = b"\0asm\x0d\0\x01\0\x01\x24\0asm\x01\0\0\0\0\x1a\x0fhermes:manifestname = \"x\"";
/// A component with a part of each kind: what `tests/fuzz/component.wat` says.
const COMPONENT: &[u8] = include_bytes!("../../tests/fuzz/corpus/component/toolset.wasm");
/// A note of a run's root, and an entry of its blackboard, as the journal encodes them.
const NOTE: &[u8] = b"\x01\x07\x0a0123456789\0\x01\0\0\x02hi\x09";
const ENTRY: &[u8] = b"\x01\x05notes\x01k\x01\0\x0atext/plain\x02hi\x04root\x01\x0a0123456789\0\x01\0\x03\x09";
const OPENAI: &[u8] = b"\x02\x10\x20data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\",\"tool_calls\":[{\"index\":0,\"id\":\"c\",\
\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n";
const ANTHROPIC: &[u8] = b"\x01\x30event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\
\r\n\r\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"a\"}}\n\n\
data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
const SCRUBBED: &[u8] =
    b"\x03\x01\x08\x20a line with c2VjcmV0LXZhbHVlLTEyMzQ= and secret-value-1234\x1b[31m\nerror: it failed\n";

/// The secret that no scrubbed text may hold.
const SECRET: &str = "secret-value-1234";

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

/// A text comes out the same however it is cut, within its budget, without the secret and without what steers a terminal.
fn scrubber(data: &[u8]) {
    let (pieces, whole) = pieces(data);
    static SECRETS: LazyLock<Secrets> = LazyLock::new(|| Secrets::new([("KEY".to_owned(), SECRET.to_owned())]));
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
        assert!(!text.contains(SECRET));
        assert_eq!(clean(text, Shape::Block), text.as_str());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    /// Good input with some of its bytes changed, left out or doubled.
    fn mutated(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
        let change = (any::<prop::sample::Index>(), any::<u8>(), 0u8..4);
        (prop::sample::select(seeds), prop::collection::vec(change, 0..6)).prop_map(|(seed, changes)| {
            let mut bytes = seed.to_vec();
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
    fn each_parser_keeps_its_word_for_mutations_of_good_input() {
        for (name, target, seeds) in TARGETS {
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
        for (name, ..) in TARGETS {
            let target = targets.join(format!("{name}.rs"));
            let fuzzer = std::fs::read_to_string(&target).expect("a target has a file of its name");
            assert!(
                fuzzer.contains(&format!("run(\"{name}\"")),
                "{} fuzzes something else",
                target.display()
            );
            assert!(
                manifest.contains(&format!("name = \"{name}\"\n")),
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
        assert!(
            hermes_tests::guests::assemble(text, &[]) == COMPONENT,
            "it is another text's"
        );
        let outline = check(COMPONENT, &Limits::default()).expect("a good component");
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
