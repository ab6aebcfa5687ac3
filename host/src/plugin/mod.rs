//! Plugins: bytes with a digest, what they want, what was approved with them, what they get, and the tools that they bring.

pub mod approval;
pub mod grant;
pub mod load;
pub mod manifest;
pub mod reader;
pub mod rights;
pub(crate) mod schema;
mod standard;
pub mod toolbox;
mod worst;

use std::sync::Arc;

use crate::engine::precheck::Outline;
use crate::ids::Digest;
use approval::Approval;
use manifest::Manifest;

/// Where a plugin's bytes came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file that the operator named.
    Path(std::path::PathBuf),
    /// Built into the binary.
    Standard,
    /// The home folder's `plugins/`.
    Home(std::path::PathBuf),
    /// The store, which keeps what runs use.
    Kept,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) | Self::Home(path) => write!(f, "{}", path.display()),
            Self::Standard => f.write_str("built into hermes-host"),
            Self::Kept => f.write_str("kept with the run"),
        }
    }
}

impl Origin {
    /// How a plugin of this name from here is called in messages: by its file, or by its name where it has none.
    pub fn shown(&self, name: &str) -> String {
        match self {
            Self::Path(path) | Self::Home(path) => path.display().to_string(),
            Self::Standard | Self::Kept => format!("{name} ({self})"),
        }
    }
}

/// A plugin whose bytes were checked. It is compiled when it is first needed.
pub struct Plugin {
    /// Its name: the manifest's, else the file's.
    pub name: String,
    /// Names its bytes.
    pub digest: Digest,
    /// Its bytes, as they were read once: those hashed are those compiled.
    pub bytes: Arc<[u8]>,
    /// Where they came from.
    pub origin: Origin,
    /// What it wants; none when it does not say.
    pub manifest: Option<Manifest>,
    /// What was approved with it, where it was added and is found by its name.
    pub approval: Option<Arc<Approval>>,
    /// Its imports and exports.
    pub outline: Outline,
}

/// The contract's exports, without their version.
const AGENT: &str = "hermes:plugin/agent";
const TOOLSET: &str = "hermes:plugin/toolset";

impl Plugin {
    /// True when it exports an agent.
    pub fn is_strategy(&self) -> bool {
        exports(&self.outline, AGENT)
    }

    /// True when it exports tools.
    pub fn is_toolset(&self) -> bool {
        exports(&self.outline, TOOLSET)
    }
}

/// Whether a component exports `interface`, in whichever version.
pub fn exports(outline: &Outline, interface: &str) -> bool {
    outline
        .exports
        .iter()
        .any(|name| name.split('@').next() == Some(interface))
}

/// True for a component that exports an agent.
pub fn exports_agent(outline: &Outline) -> bool {
    exports(outline, AGENT)
}

/// True for a component that exports tools.
pub fn exports_toolset(outline: &Outline) -> bool {
    exports(outline, TOOLSET)
}
