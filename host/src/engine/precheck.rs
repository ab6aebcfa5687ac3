//! Looks at a component's bytes before anything is compiled or run: what it is, whether this host runs its kind, what it imports and exports.
//! Nothing here recurses on what a stranger wrote.

use std::path::PathBuf;

use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::limits::{self, Limits, Unit};
use crate::text;

/// The contract's package, and the version that this host offers.
const PACKAGE: &str = "hermes:plugin/";
/// The contract's version.
const VERSION: &str = "0.1.0";

/// The contract's interfaces, for messages.
const INTERFACES: [&str; 9] = [
    "types",
    "session",
    "budget",
    "blackboard",
    "llm",
    "tools",
    "delegation",
    "lessons",
    "toolset",
];

/// Bytes of a page of a memory.
const PAGE: u64 = 64 << 10;

/// Names in an import's or export's list that are kept; a component with more has them counted.
const NAMES: usize = 1000;

/// A plugin that can't be loaded. Nothing of it ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No plugin has this name.
    #[error("there is no plugin {plugin}; {hint}")]
    NotFound {
        /// What was asked for.
        plugin: String,
        /// Where it was looked for.
        hint: String,
    },
    /// No file is at this path.
    #[error("there is no file {}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The path is no regular file.
    #[error("{} is {what}, not a component's file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file can't be read.
    #[error("{} can't be read: {reason}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is over the cap.
    #[error("{} has {bytes} bytes; a component has {} at most (limits.component)", path.display(), limits::show(*limit, Unit::Bytes))]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// How many it has.
        bytes: u64,
        /// The cap.
        limit: u64,
    },
    /// What is wrong with the bytes of a plugin.
    #[error("{plugin}: {error}")]
    In {
        /// Its file, or its name.
        plugin: String,
        /// What is wrong.
        error: Box<LoadError>,
    },
    /// The bytes are no component.
    #[error("it is no component: {0}")]
    NotAComponent(String),
    /// The bytes are a damaged component.
    #[error("the component is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What the validator says.
        reason: String,
    },
    /// The component needs a feature of WebAssembly that this host leaves off.
    #[error("the component needs {feature}, which this host leaves off")]
    Feature {
        /// Its name.
        feature: &'static str,
    },
    /// It imports what this host does not have.
    #[error("the component imports {import}, which this host does not have{hint}")]
    UnknownImport {
        /// The import.
        import: String,
        /// What may have been meant.
        hint: String,
    },
    /// It was built for another version of the contract.
    #[error("the component was built for another version of the contract: it names {name}; this host has {VERSION}")]
    OtherVersion {
        /// The import or export that shows it, with its version.
        name: String,
    },
    /// It exports nothing that this host can call.
    #[error(
        "the component was built for another world: it exports {exports}, and neither hermes:plugin/agent nor hermes:plugin/toolset"
    )]
    OtherWorld {
        /// What it exports.
        exports: String,
    },
    /// It needs more to begin with than it may have.
    #[error("it begins with {needs} {what}, over limits.{key} ({limit})")]
    StartsTooLarge {
        /// Of what.
        what: &'static str,
        /// How much.
        needs: u64,
        /// The cap.
        limit: u64,
        /// The cap's key below `limits.`.
        key: &'static str,
    },
    /// Its manifest can't be used.
    #[error("its manifest can't be used: {0}")]
    Manifest(String),
    /// The compiler refused it.
    #[error("it can't be compiled: {0}")]
    Compile(String),
    /// Others are compiled, and take too long.
    #[error("no place to compile it came free among {places} (limits.compile.parallel)")]
    CompileBusy {
        /// How many components are compiled at once.
        places: u64,
    },
    /// Compiling takes too long.
    #[error("compiling took longer than {} (limits.compile.wall)", limits::show(*limit_ms, Unit::Millis))]
    CompileTime {
        /// The cap, in milliseconds.
        limit_ms: u64,
    },
}

impl LoadError {
    /// The same, naming whose bytes they are.
    #[must_use]
    pub fn of(self, plugin: impl std::fmt::Display) -> Self {
        Self::In {
            plugin: text::line(&plugin.to_string(), 200),
            error: Box::new(self),
        }
    }
}

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
    let read = outline(bytes)?;
    validate(bytes)?;
    held(bytes, read, limits)
}

/// As [`check`], for bytes that passed it before: its code, which takes the longest by far, is not validated again. (Who compiles it does that in any
/// case.)
///
/// # Errors
/// As [`check`], where another host wrote it down or caps have changed.
pub fn check_again(bytes: &[u8], limits: &Limits) -> Result<Outline, LoadError> {
    kind(bytes)?;
    held(bytes, outline(bytes)?, limits)
}

/// What a component says of itself, held against the caps and the contract.
fn held(bytes: &[u8], (outline, initial): (Outline, Initial), limits: &Limits) -> Result<Outline, LoadError> {
    initial.fits(limits)?;
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

fn outline(bytes: &[u8]) -> Result<(Outline, Initial), LoadError> {
    let (mut outline, mut initial, mut depth) = (Outline::default(), Initial::default(), 0u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| damaged(&e))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    push(&mut outline.imports, import.map_err(|e| damaged(&e))?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    push(&mut outline.exports, export.map_err(|e| damaged(&e))?.name.name);
                }
            }
            Payload::CustomSection(section) if section.name() == "producers" => {
                producers(section.data(), section.data_offset(), &mut outline.producers);
            }
            // What can't be read of these is found when everything is validated, and said better.
            Payload::MemorySection(section) => {
                for memory in section.into_iter().flatten() {
                    initial.memory = initial.memory.max(memory.initial.saturating_mul(PAGE));
                }
            }
            Payload::TableSection(section) => {
                for table in section.into_iter().flatten() {
                    initial.table_elements = initial.table_elements.max(table.ty.initial);
                }
            }
            _ => {}
        }
    }
    Ok((outline, initial))
}

/// How large the largest memory and table are to begin with.
#[derive(Debug, Default)]
struct Initial {
    memory: u64,
    table_elements: u64,
}

impl Initial {
    /// Neither is larger than all of an instance together may be. What several of them need together shows when they are instantiated.
    fn fits(&self, limits: &Limits) -> Result<(), LoadError> {
        let all = [
            ("bytes of memory", self.memory, limits.memory, "memory"),
            (
                "table elements",
                self.table_elements,
                limits.table_elements,
                "table_elements",
            ),
        ];
        match all.into_iter().find(|(_, needs, limit, _)| needs > limit) {
            Some((what, needs, limit, key)) => Err(LoadError::StartsTooLarge {
                what,
                needs,
                limit,
                key,
            }),
            None => Ok(()),
        }
    }
}

fn push(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES {
        names.push(text::line(name, 200));
    }
}

fn producers(data: &[u8], offset: usize, names: &mut Vec<String>) {
    let reader = wasmparser::BinaryReader::new(data, offset);
    let Ok(section) = wasmparser::ProducersSectionReader::new(reader) else {
        return;
    };
    for value in section
        .into_iter()
        .flatten()
        .flat_map(|field| field.values.into_iter().flatten())
    {
        let name = text::line(&format!("{} {}", value.name, value.version), 80);
        if !names.contains(&name) && names.len() < NAMES {
            names.push(name);
        }
    }
}

/// The features that this host has on.
fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::FLOATS
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::COMPONENT_MODEL
        | WasmFeatures::GC_TYPES
}

/// Features that are off, by the names that people know, in the order in which they are tried.
const OFF: [(WasmFeatures, &str); 9] = [
    (WasmFeatures::THREADS, "threads (shared memory and atomics)"),
    (WasmFeatures::RELAXED_SIMD, "relaxed SIMD"),
    (WasmFeatures::MEMORY64, "64-bit memories"),
    (WasmFeatures::EXCEPTIONS, "exceptions"),
    (WasmFeatures::FUNCTION_REFERENCES, "typed function references"),
    (WasmFeatures::GC, "garbage collection"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::CM_ASYNC, "component-model async"),
];

fn validate(bytes: &[u8]) -> Result<(), LoadError> {
    let Err(error) = Validator::new_with_features(features()).validate_all(bytes) else {
        return Ok(());
    };
    // Which single feature, or all of them, would have let it pass?
    for (feature, name) in OFF {
        let with = features() | feature | WasmFeatures::FUNCTION_REFERENCES;
        if Validator::new_with_features(with).validate_all(bytes).is_ok() {
            return Err(LoadError::Feature { feature: name });
        }
    }
    Err(damaged(&error))
}

fn damaged(error: &wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Damaged {
        offset: error.offset(),
        reason: text::line(error.message(), 200),
    }
}

/// Whether this host has an import: the contract's, WASI 0.2's, or a type alone.
fn known(import: &str) -> Result<(), LoadError> {
    if let Some(rest) = import.strip_prefix(PACKAGE) {
        version(import)?;
        let name = rest.split('@').next().unwrap_or_default();
        if INTERFACES.contains(&name) {
            return Ok(());
        }
        let near = text::nearest(name, INTERFACES);
        return Err(LoadError::UnknownImport {
            import: text::line(import, 120),
            hint: meant(near),
        });
    }
    if import.starts_with("wasi:") && import.split('@').nth(1).is_none_or(|v| v.starts_with("0.2.")) {
        return Ok(());
    }
    let near = text::nearest(
        import,
        ["hermes:plugin/llm", "hermes:plugin/tools", "hermes:plugin/session"],
    );
    let worlds = "; the worlds of hermes:plugin are strategy, tool and pure-tool";
    Err(LoadError::UnknownImport {
        import: text::line(import, 120),
        hint: format!("{}{worlds}", meant(near)),
    })
}

fn meant(near: Option<&str>) -> String {
    near.map(|n| format!("; the nearest is {n}")).unwrap_or_default()
}

/// A name of the contract must be of a version that this one serves: the same, or another of 0.1.
fn version(name: &str) -> Result<(), LoadError> {
    let version = name.split_once('@').map_or("", |(_, version)| version);
    if version.is_empty() || version.starts_with("0.1.") {
        return Ok(());
    }
    Err(LoadError::OtherVersion {
        name: text::line(name, 120),
    })
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
        assert!(known("hermes:plugin/llm@0.1.0").is_ok());
        assert!(known("hermes:plugin/llm@0.1.7").is_ok());
        assert!(known("wasi:io/poll@0.2.6").is_ok());
        assert!(matches!(
            known("hermes:plugin/llm@0.2.0"),
            Err(LoadError::OtherVersion { .. })
        ));
        let Err(LoadError::UnknownImport { hint, .. }) = known("hermes:plugin/1lm@0.1.0") else {
            panic!("known?")
        };
        assert!(hint.contains("llm"), "{hint}");
        assert!(matches!(
            known("wasi:io/poll@0.3.0"),
            Err(LoadError::UnknownImport { .. })
        ));
        assert!(matches!(known("acme:db/sql"), Err(LoadError::UnknownImport { .. })));
    }
}
