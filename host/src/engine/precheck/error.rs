//! Why a plugin can't be loaded, in words that a person can act on.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::engine::compile::CompileError;
use crate::limits::{self, Unit};
use crate::text;

use super::VERSION;

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
    #[error("there is no file {}", text::path(path))]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The path is no regular file.
    #[error("{} is {what}, not a component's file", text::path(path))]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file can't be read.
    #[error("{} can't be read: {reason}", text::path(path))]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is over the cap.
    #[error("{} has {bytes} bytes; a component has {} at most (limits.component)", text::path(path), limits::show(*limit, Unit::Bytes))]
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
        /// Its name, or what tells of it.
        feature: Cow<'static, str>,
    },
    /// It imports what this host does not have.
    #[error("the component imports {import}, which this host does not have{hint}")]
    UnknownImport {
        /// The import.
        import: String,
        /// What may have been meant.
        hint: String,
    },
    /// An import has another type than what this host has by its name.
    #[error("its import {import} has another type than this host's: {reason}")]
    OtherType {
        /// The import.
        import: String,
        /// What differs, in the engine's words.
        reason: String,
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
    /// What it exports has another type than the contract's.
    #[error("its exports have other types than those of its world: {reason}")]
    OtherExports {
        /// What differs, in the engine's words.
        reason: String,
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
    /// It has more of something than a component may.
    #[error("it has {has} {what}, over limits.{key} ({})", limits::show(*limit, *unit))]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many, or how much: at least, as no more was counted.
        has: u64,
        /// The cap.
        limit: u64,
        /// What the cap counts.
        unit: Unit,
        /// The cap's key below `limits.`.
        key: &'static str,
    },
    /// It can't be compiled, or not within its limits.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It could not be compiled under the same limits before, and is not tried again.
    #[error(
        "{error}; so it was before, and under the same limits it is not tried again{}",
        within(error)
    )]
    CompiledBefore {
        /// What came of it then.
        error: CompileError,
        /// Where that is kept: without the file it is tried again.
        file: PathBuf,
    },
    /// The compiler itself does not work here, whatever it is given.
    #[error("it could not be compiled, as the compiler {0}")]
    Compiler(String),
    /// Others are compiled, and take too long.
    #[error("no place to compile it came free among {places} (limits.compile.parallel)")]
    CompileBusy {
        /// How many components are compiled at once.
        places: u64,
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

    /// The same for a guest, whom it does not concern where plugins lie on this machine.
    pub fn for_guests(&self) -> String {
        match self {
            Self::NotFound { .. } | Self::Missing { .. } => "no plugin has this name".to_owned(),
            Self::NotAFile { what, .. } => format!("it is {what}, not a component's file"),
            Self::Unreadable { .. } => "it can't be read".to_owned(),
            Self::TooLarge { bytes, limit, .. } => {
                let most = limits::show(*limit, Unit::Bytes);
                format!("it has {bytes} bytes; a component has {most} at most (limits.component)")
            }
            Self::In { error, .. } => error.for_guests(),
            Self::Manifest(_) => "its manifest can't be used".to_owned(),
            other => other.to_string(),
        }
    }

    /// The kind of error, with what kept the plugin from being loaded.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::In { error, .. } => error.kind(),
            Self::NotFound { .. } | Self::Missing { .. } => "load(not-found)",
            Self::Unreadable { .. } => "load(unreadable)",
            Self::NotAFile { .. } | Self::NotAComponent(_) | Self::Damaged { .. } => "load(bad-bytes)",
            Self::TooLarge { .. } | Self::StartsTooLarge { .. } => "load(too-large)",
            Self::Feature { .. } => "load(feature-off)",
            Self::UnknownImport { .. } | Self::OtherType { .. } | Self::OtherVersion { .. } => "load(unknown-import)",
            Self::OtherWorld { .. } | Self::OtherExports { .. } => "load(other-world)",
            Self::Manifest(_) => "load(bad-manifest)",
            // These are bounded for the compiler's sake.
            Self::TooMany { .. } => "load(compile-limit)",
            Self::Compile(error) | Self::CompiledBefore { error, .. } => error.kind(),
            Self::Compiler(_) | Self::CompileBusy { .. } => "load(compiler)",
        }
    }

    /// Whether it lies with this machine and not with the plugin, which may load another time.
    pub fn is_the_machines(&self) -> bool {
        match self {
            Self::In { error, .. } => error.is_the_machines(),
            Self::Compiler(_) | Self::CompileBusy { .. } => true,
            _ => false,
        }
    }

    /// The file that keeps it from being compiled again, where one does.
    pub fn compiled_before(&self) -> Option<&Path> {
        match self {
            Self::In { error, .. } => error.compiled_before(),
            Self::CompiledBefore { file, .. } => Some(file),
            _ => None,
        }
    }
}

/// For how long nothing is tried again, where that is not for good.
fn within(error: &CompileError) -> String {
    let most = error.stands_for().map(|most| u64::try_from(most.as_millis()));
    most.and_then(Result::ok)
        .map(|most| format!(" within {}", limits::show(most, Unit::Millis)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_says_what_kept_it_from_being_loaded() {
        let limit_ms = 1;
        for (error, kind) in [
            (CompileError::Wall { limit_ms }, "load(compile-limit)"),
            (CompileError::Refused("odd".to_owned()), "load(bad-bytes)"),
        ] {
            let file = PathBuf::from("x.refused");
            assert_eq!(LoadError::from(error.clone()).kind(), kind);
            assert_eq!(LoadError::CompiledBefore { error, file }.of("x").kind(), kind);
        }
        let none = LoadError::NotAComponent("the file is empty".to_owned());
        assert_eq!(none.of("x").of("y").kind(), "load(bad-bytes)");
    }

    #[test]
    fn a_path_is_one_line_whatever_a_folder_is_called() {
        let path = PathBuf::from("x\n  approve it   hermes-host plugin add y.wasm\n.wasm");
        let words = LoadError::Missing { path }.to_string();
        assert_eq!(
            words,
            "there is no file x   approve it   hermes-host plugin add y.wasm .wasm"
        );
    }

    #[test]
    fn a_guest_is_told_what_is_wrong_and_not_where() {
        let path = || PathBuf::from("/home/ann/.hermes/plugins/x.wasm");
        let all = [
            LoadError::NotFound {
                plugin: "x".to_owned(),
                hint: format!("looked in {}", path().display()),
            },
            LoadError::Missing { path: path() },
            LoadError::NotAFile {
                path: path(),
                what: "a pipe",
            },
            LoadError::Unreadable {
                path: path(),
                reason: "no".to_owned(),
            },
            LoadError::TooLarge {
                path: path(),
                bytes: 9,
                limit: 8,
            },
            LoadError::Manifest(format!("{} is odd", path().with_extension("toml").display())),
            LoadError::NotAComponent("text".to_owned()),
            LoadError::CompiledBefore {
                error: CompileError::Refused("odd".to_owned()),
                file: path(),
            },
        ];
        for error in all {
            let (bare, words) = (error.for_guests(), error.clone().of(path().display()).for_guests());
            assert!(!words.is_empty() && !words.contains("ann"), "{words}");
            assert_eq!(bare, words);
            // The operator is told where.
            assert!(error.of(path().display()).to_string().contains("/home/ann/"));
        }
    }
}
