//! Looks at a component's bytes before anything is compiled or run: what it is, whether this host runs its kind, what it imports and exports.
//! Nothing here recurses on what a stranger wrote.

mod error;
pub(super) mod features;
mod parts;

use std::path::PathBuf;

use wasmparser::{Parser, Payload};

use crate::limits::Limits;
use crate::text;

pub use error::LoadError;
use parts::Parts;

/// The contract's package, and the version that this host offers.
const PACKAGE: &str = "hermes:plugin/";
/// The contract's version.
const VERSION: &str = "0.1.0";
/// All versions of the contract that it serves begin so.
const TRACK: &str = "0.1";

/// The contract's interfaces that a guest can import.
const INTERFACES: [&str; 8] = [
    "types",
    "session",
    "budget",
    "blackboard",
    "llm",
    "tools",
    "delegation",
    "lessons",
];

/// What the names of WASI's interfaces begin with.
const WASI: &str = "wasi:";
/// All versions of WASI that this host serves begin so.
const WASI_TRACK: &str = "0.2";

/// WASI's interfaces that a guest can import.
const WASI_INTERFACES: [&str; 29] = [
    "io/error",
    "io/poll",
    "io/streams",
    "clocks/wall-clock",
    "clocks/monotonic-clock",
    "filesystem/preopens",
    "filesystem/types",
    "random/random",
    "random/insecure",
    "random/insecure-seed",
    "cli/exit",
    "cli/environment",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "sockets/tcp",
    "sockets/udp",
    "sockets/udp-create-socket",
    "sockets/tcp-create-socket",
    "sockets/instance-network",
    "sockets/network",
    "sockets/ip-name-lookup",
    "http/types",
    "http/outgoing-handler",
];

/// All that a guest can import: what names begin with, and how they may go on. What is linked is the same: a test holds that.
pub const OFFERED: [(&str, &[&str]); 2] = [(PACKAGE, &INTERFACES), (WASI, &WASI_INTERFACES)];

/// Names in an import's or export's list that are kept; a component with more has them counted.
const NAMES: usize = 1000;

/// What a component's bytes say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// Names of its imports, in their order.
    pub imports: Vec<String>,
    /// Names of its exports, in their order.
    pub exports: Vec<String>,
    /// What made it: `NAME VERSION` from its `producers` sections.
    pub producers: Vec<String>,
}

/// Checks that `bytes` are a component that this host can run, and says what it imports and exports.
///
/// # Errors
/// Something else, damaged, over a cap, or built for another host.
pub fn check(bytes: &[u8], limits: &Limits) -> Result<Outline, LoadError> {
    kind(bytes)?;
    let read = outline(bytes, limits)?;
    features::validate(bytes)?;
    held(bytes, read, limits)
}

/// As [`check`], for bytes that passed it before: its code, which takes the longest by far, is not validated again. (Who compiles it does that in any
/// case.)
///
/// # Errors
/// As [`check`], where another host wrote it down or caps have changed.
pub fn check_again(bytes: &[u8], limits: &Limits) -> Result<Outline, LoadError> {
    kind(bytes)?;
    held(bytes, outline(bytes, limits)?, limits)
}

/// What a component says of itself, held against the caps and the contract.
fn held(bytes: &[u8], (outline, parts): (Outline, Parts), limits: &Limits) -> Result<Outline, LoadError> {
    parts.fit(limits)?;
    for import in &outline.imports {
        known(import)?;
    }
    let ours = |name: &str| outline.exports.iter().any(|e| e.split('@').next() == Some(name));
    for export in outline.exports.iter().filter(|e| e.starts_with(PACKAGE)) {
        version(export)?;
    }
    if !ours("hermes:plugin/agent") && !ours("hermes:plugin/toolset") {
        let exports = match outline.exports.as_slice() {
            [] => "nothing".to_owned(),
            some => text::line(&some.join(", "), 200),
        };
        return Err(LoadError::OtherWorld { exports });
    }
    if bytes.len() as u64 > limits.component {
        let bytes = bytes.len() as u64;
        return Err(LoadError::TooLarge {
            path: PathBuf::from("the component"),
            bytes,
            limit: limits.component,
        });
    }
    Ok(outline)
}

/// Tells a component from all else that is mistaken for one.
fn kind(bytes: &[u8]) -> Result<(), LoadError> {
    let not = |what: &str| Err(LoadError::NotAComponent(what.to_owned()));
    match bytes {
        [] => not("the file is empty"),
        [0x7f, b'E', b'L', b'F', ..] => not("it is native or compiled code (ELF); give the .wasm it was made from"),
        [0, b'a', b's', b'm', version @ ..] if version.len() < 4 => not("the file ends within its header"),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            not("it is a core module; make a component of it, for example with `wasm-tools component new`")
        }
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', ..] => not("its header names a version of WebAssembly that this host does not know"),
        _ if looks_like_text(bytes) => not("it is WebAssembly's text form; assemble it first"),
        _ => not("its first bytes are not those of WebAssembly"),
    }
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    start.starts_with(b"(module") || start.starts_with(b"(component") || start.starts_with(b";;")
}

fn outline(bytes: &[u8], limits: &Limits) -> Result<(Outline, Parts), LoadError> {
    let (mut outline, mut parts, mut left) = (Outline::default(), Parts::default(), NAMES);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|e| damaged(&e))?;
        parts.count(&payload, limits)?;
        match payload {
            Payload::ComponentImportSection(section) if parts.is_outermost() => {
                for import in section {
                    push(&mut outline.imports, import.map_err(|e| damaged(&e))?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if parts.is_outermost() => {
                for export in section {
                    push(&mut outline.exports, export.map_err(|e| damaged(&e))?.name.name);
                }
            }
            Payload::CustomSection(section) if section.name() == "producers" => {
                producers(section.data(), section.data_offset(), &mut outline.producers, &mut left);
            }
            _ => {}
        }
    }
    Ok((outline, parts))
}

fn push(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES {
        names.push(text::line(name, 200));
    }
}

/// `left` is how many values are read yet, over all sections: no more than are shown, as each is compared with those before it.
fn producers(data: &[u8], offset: usize, names: &mut Vec<String>, left: &mut usize) {
    let reader = wasmparser::BinaryReader::new(data, offset);
    let Ok(section) = wasmparser::ProducersSectionReader::new(reader) else {
        return;
    };
    let values = section
        .into_iter()
        .flatten()
        .flat_map(|field| field.values.into_iter().flatten());
    for value in values.take(*left) {
        *left -= 1;
        let name = text::line(&format!("{} {}", value.name, value.version), 80);
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

fn damaged(error: &wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Damaged {
        offset: error.offset(),
        reason: text::line(error.message(), 200),
    }
}

/// Whether this host has an import: one of the contract's, or of WASI 0.2.
fn known(import: &str) -> Result<(), LoadError> {
    let (name, at) = import.split_once('@').unwrap_or((import, ""));
    if let Some(interface) = name.strip_prefix(PACKAGE) {
        version(import)?;
        if INTERFACES.contains(&interface) {
            return Ok(());
        }
    }
    let is_of_wasi = name
        .strip_prefix(WASI)
        .is_some_and(|rest| WASI_INTERFACES.contains(&rest));
    if is_of_wasi && is_served(at, WASI_TRACK) {
        return Ok(());
    }
    let meant = match is_of_wasi {
        true => Some(format!("; of WASI it has version {WASI_TRACK}")),
        false => nearest(name).map(|near| format!("; the nearest is {near}")),
    };
    Err(LoadError::UnknownImport {
        import: text::line(import, 120),
        hint: format!(
            "{}; the worlds of hermes:plugin are strategy, tool and pure-tool",
            meant.unwrap_or_default()
        ),
    })
}

/// What a guest can import whose name is near this one.
fn nearest(name: &str) -> Option<String> {
    let begins = OFFERED.into_iter().find(|(begin, _)| name.starts_with(begin));
    let Some((begin, interfaces)) = begins else {
        let all = OFFERED
            .into_iter()
            .flat_map(|(begin, interfaces)| interfaces.iter().map(move |rest| format!("{begin}{rest}")));
        let all: Vec<String> = all.collect();
        return text::nearest(name, all.iter().map(String::as_str)).map(str::to_owned);
    };
    // Where it begins right, the rest alone tells what is near: all names that begin so are near one another otherwise.
    let near = text::nearest(name.strip_prefix(begin)?, interfaces.iter().copied());
    near.map(|near| format!("{begin}{near}"))
}

/// A name of the contract must be of a version that this one serves: the same, or another of 0.1.
fn version(name: &str) -> Result<(), LoadError> {
    let (_, version) = name.split_once('@').unwrap_or_default();
    if is_served(version, TRACK) {
        return Ok(());
    }
    Err(LoadError::OtherVersion {
        name: text::line(name, 120),
    })
}

/// Whether the linker takes a version for its own: any of the track that was released.
fn is_served(version: &str, track: &str) -> bool {
    let patch = version.strip_prefix(track).and_then(|rest| rest.strip_prefix('.'));
    // What stands behind a `+` tells no versions apart.
    let patch = patch.and_then(|rest| rest.split('+').next()).unwrap_or_default();
    !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> LoadError {
        check(bytes, &Limits::default()).expect_err("refused")
    }

    #[test]
    fn everything_that_is_no_component_gets_its_own_sentence() {
        for (bytes, words) in [
            (&b""[..], "empty"),
            (b"\0asm", "header"),
            (b"\0asm\x01\0\0\0", "core module"),
            (b"\0asm\x09\0\x09\0", "does not know"),
            (b"\x7fELF....", "ELF"),
            (b"  (component)", "text form"),
            (b"hello", "first bytes"),
        ] {
            let LoadError::NotAComponent(said) = refused(bytes) else {
                panic!("{bytes:?}")
            };
            assert!(said.contains(words), "{said}");
        }
        assert!(matches!(refused(b"\0asm\x0d\0\x01\0"), LoadError::OtherWorld { .. }));
        assert!(matches!(
            refused(b"\0asm\x0d\0\x01\0\x07\x50"),
            LoadError::Damaged { .. }
        ));
    }

    #[test]
    fn imports_are_known_by_name_and_version() {
        const WORLDS: &str = "; the worlds of hermes:plugin are strategy, tool and pure-tool";
        assert!(known("hermes:plugin/llm@0.1.0").is_ok());
        assert!(known("hermes:plugin/llm@0.1.7").is_ok());
        for import in [
            "wasi:io/poll@0.2.0",
            "wasi:io/poll@0.2.6",
            "wasi:io/poll@0.2.99",
            "wasi:http/outgoing-handler@0.2.3+odd",
        ] {
            assert!(known(import).is_ok(), "{import}");
        }
        for import in [
            "hermes:plugin/llm",
            "hermes:plugin/llm@0.1.0-rc.1",
            "hermes:plugin/llm@0.2.0",
        ] {
            assert!(matches!(known(import), Err(LoadError::OtherVersion { .. })), "{import}");
        }
        for (import, near) in [
            ("hermes:plugin/1lm@0.1.0", Some("hermes:plugin/llm")),
            ("hermes:plugins/llm@0.1.0", Some("hermes:plugin/llm")),
            ("hermes:host/llm@0.1.0", Some("hermes:plugin/llm")),
            ("hermes-host:plugin/llm@0.1.0", Some("hermes:plugin/llm")),
            ("hermes:plugin/sessions@0.1.0", Some("hermes:plugin/session")),
            ("hermes:plugns/delegation", Some("hermes:plugin/delegation")),
            ("hermes:plugin/toolset@0.1.0", Some("hermes:plugin/tools")),
            ("hermes:plugin/agent@0.1.0", None),
            ("wasi:io/streems@0.2.0", Some("wasi:io/streams")),
            ("wasi:http/outgoing-handlr@0.2.0", Some("wasi:http/outgoing-handler")),
            ("wasi-nn:io/poll@0.2.0", Some("wasi:io/poll")),
            ("wasi:nn/tensor@0.2.0", None),
            ("wasi:threads/threads@0.2.0", None),
            ("acme:db/sql", None),
            ("acme:rockets/launch@1.0.0", None),
        ] {
            let Err(LoadError::UnknownImport { hint, .. }) = known(import) else {
                panic!("{import} is known?")
            };
            let near = near.map(|near| format!("; the nearest is {near}"));
            assert_eq!(hint, near.unwrap_or_default() + WORLDS, "{import}");
        }
        for import in [
            "wasi:io/poll",
            "wasi:io/poll@0.2",
            "wasi:io/poll@0.2.0-rc.1",
            "wasi:io/poll@0.20.0",
            "wasi:io/poll@0.3.0",
        ] {
            let Err(LoadError::UnknownImport { hint, .. }) = known(import) else {
                panic!("{import} is known?")
            };
            assert_eq!(hint, format!("; of WASI it has version 0.2{WORLDS}"), "{import}");
        }
    }
}
