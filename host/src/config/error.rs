//! What can be wrong with a configuration. Each message names the key, where it stands and what would be right.

use std::fmt;
use std::path::PathBuf;

use super::source::Source;
use crate::text;

/// A configuration that can't be used; nothing has run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no home folder.
    #[error("no home folder: neither HERMES_HOME nor HOME is set")]
    NoHome,
    /// The home folder can't be one.
    #[error("{variable} is no folder that can be used: {reason}")]
    BadHome {
        /// The variable or flag that names it.
        variable: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A file of the configuration can't be read.
    #[error("{} can't be read as configuration: {reason}", text::path(path))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file is not TOML.
    #[error("{}:{line} is not TOML: {message}", text::path(path))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// No setting has this key.
    #[error("{}: there is no setting `{key}`{}", Where(from, key), DidYouMean(nearest.as_deref()))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Where it stands.
        from: Source,
        /// The key that may have been meant.
        nearest: Option<String>,
    },
    /// No setting has this variable.
    #[error("there is no variable `{name}`{}", DidYouMean(nearest.as_deref()))]
    UnknownVariable {
        /// Its name.
        name: String,
        /// The name that may have been meant.
        nearest: Option<String>,
    },
    /// A setting with a value that it can't have.
    #[error("{} can't be {value}: {reason}", Named(from, key))]
    Value {
        /// The key.
        key: String,
        /// The value as written, cut and cleaned.
        value: String,
        /// Where it stands.
        from: Source,
        /// What is wrong with it.
        reason: String,
    },
    /// Providers, aliases or models that don't make sense.
    #[error("{from}: {reason}")]
    Models {
        /// Where they stand.
        from: Source,
        /// What is wrong with them.
        reason: String,
    },
    /// A project's file that would widen what the operator allows.
    #[error("{from}: a project's file may not set `{key}`: {reason}")]
    Project {
        /// The key.
        key: String,
        /// Where it stands.
        from: Source,
        /// What a project may do with this key.
        reason: String,
        /// The operator's own file.
        home: PathBuf,
    },
    /// A `--set` without a value.
    #[error("--set takes KEY=VALUE, like --set limits.memory=128MiB; `{0}` has no `=`")]
    NoValue(String),
}

impl ConfigError {
    /// Lines that say what a person can do about it.
    pub fn help(&self) -> Vec<String> {
        match self {
            Self::NoHome => vec!["try  HERMES_HOME=/path/to/folder hermes-host …".to_owned()],
            Self::Project { key, home, .. } => vec![
                format!("if you want it, put it into  {}", home.display()),
                format!("or say it for this once      --set {key}=…"),
            ],
            Self::UnknownKey { .. } | Self::UnknownVariable { .. } => {
                vec!["all settings:  hermes-host config reference".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// Where a key stands, without the key: a flag names it too.
struct Where<'a>(&'a Source, &'a str);

impl fmt::Display for Where<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Source::Flag(flag) if flag.strip_prefix("--set ") == Some(self.1) => f.write_str("--set"),
            other => write!(f, "{other}"),
        }
    }
}

/// A key and where it stands. A flag that names the key is enough.
struct Named<'a>(&'a Source, &'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Source::Flag(flag) if flag.strip_prefix("--set ") == Some(self.1) => f.write_str(flag),
            other => write!(f, "{other}: `{}`", self.1),
        }
    }
}

/// `; did you mean …?`, or nothing.
pub(super) struct DidYouMean<'a>(pub(super) Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

/// A value as messages show it: one short, clean line in quotes.
pub(super) fn quoted(value: &str) -> String {
    format!("`{}`", text::line(value, 60))
}
