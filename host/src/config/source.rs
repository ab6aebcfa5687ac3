//! Where a value of the configuration came from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::text;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// `$HERMES_HOME/host/config.toml`, the operator's own file.
    Home {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// `hermes.toml` in the current folder, which may be a stranger's.
    Project {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// A variable of the environment, by name.
    Variable(String),
    /// A flag of the command line, as written.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Home { path, line } | Self::Project { path, line } => write!(f, "{}:{line}", text::path(path)),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl Source {
    /// The same for whoever may not know where on this machine the files are: a file by its name alone.
    pub fn short(&self) -> String {
        match self {
            Self::Home { path, .. } | Self::Project { path, .. } => {
                text::path(Path::new(path.file_name().unwrap_or_default()))
            }
            Self::Default | Self::Variable(_) | Self::Flag(_) => self.to_string(),
        }
    }
}
