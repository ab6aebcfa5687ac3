//! Finds a plugin by path or name, reads it once, and checks it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::precheck::{self, LoadError};
use crate::engine::source::read_component;
use crate::ids::Digest;
use crate::limits::Limits;
use crate::plugin::manifest::{self, Manifest};
use crate::plugin::{Origin, Plugin, standard};
use crate::text;

/// Where plugins are looked for.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// The home folder's `plugins/`.
    pub home: PathBuf,
}

/// A plugin that was found and read.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its file's name, without `.wasm`.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Where they came from.
    pub origin: Origin,
    /// What it wants.
    pub manifest: Option<Manifest>,
}

impl Shelf {
    /// Finds a plugin: a path when it has a slash or ends in `.wasm`, else a name, first of those built in, then of the home folder.
    ///
    /// # Errors
    /// Nothing is there, it can't be read, or its manifest is malformed.
    pub fn find(&self, plugin: &str, limits: &Limits) -> Result<Found, LoadError> {
        if is_path(plugin) {
            return self.read(Path::new(plugin), Origin::Path, limits);
        }
        if let Some(bytes) = standard::find(plugin) {
            let manifest = manifest::read(bytes, None).map_err(LoadError::from)?;
            return Ok(Found {
                name: plugin.to_owned(),
                bytes: bytes.into(),
                origin: Origin::Standard,
                manifest,
            });
        }
        let path = self.home.join(format!("{plugin}.wasm"));
        if !is_name(plugin) || !path.exists() {
            return Err(self.unknown(plugin));
        }
        self.read(&path, Origin::Home, limits)
    }

    /// The plugins that every run may draw tools from.
    pub fn standard(&self) -> impl Iterator<Item = &'static str> {
        standard::names()
    }

    /// The standard plugin of this name, where its bytes are these.
    pub fn built_in(&self, name: &str, digest: &Digest, limits: &Limits) -> Option<Found> {
        standard::find(name)?;
        let found = self.find(name, limits).ok()?;
        (Digest::of(&found.bytes) == *digest).then_some(found)
    }

    /// Whether a plugin has the name of a standard one, and is none.
    pub fn is_another(&self, plugin: &Plugin) -> bool {
        let differs = |bytes| Digest::of(bytes) != plugin.digest;
        plugin.origin != Origin::Standard && standard::find(&plugin.name).is_some_and(differs)
    }

    fn read(&self, path: &Path, origin: fn(PathBuf) -> Origin, limits: &Limits) -> Result<Found, LoadError> {
        let bytes = read_component(path, limits)?;
        let manifest = manifest::read(&bytes, Some(path)).map_err(|e| LoadError::from(e).of(path.display()))?;
        let stem = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        // Grants are given to what the operator named: not to what a plugin calls itself.
        Ok(Found {
            name: text::line(&stem, 64),
            bytes: bytes.into(),
            origin: origin(path.to_owned()),
            manifest,
        })
    }

    fn unknown(&self, name: &str) -> LoadError {
        let shown = text::line(name, 64);
        let near = text::nearest(name, standard::names());
        let hint = near.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        let built_in: Vec<&str> = standard::names().collect();
        let built_in = if built_in.is_empty() {
            "none".to_owned()
        } else {
            built_in.join(", ")
        };
        LoadError::NotFound {
            plugin: shown,
            hint: format!(
                "built in: {built_in}; looked in {}{hint}; a file needs a slash or .wasm",
                self.home.display()
            ),
        }
    }
}

/// True when a plugin is named by its path.
pub fn is_path(plugin: &str) -> bool {
    plugin.contains('/') || plugin.ends_with(".wasm")
}

fn is_name(name: &str) -> bool {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    good && !name.is_empty() && name.len() <= 64
}

/// Checks what was found.
///
/// # Errors
/// Bytes that this host does not run, in the words of the check.
pub fn load(found: Found, limits: &Limits) -> Result<Plugin, LoadError> {
    load_tried(found, limits, |_| false)
}

/// As [`load`]; what was tried before, by its digest, is not validated again. The compiler does that with all that it compiles.
///
/// # Errors
/// As [`load`].
pub fn load_tried(found: Found, limits: &Limits, was_tried: impl FnOnce(&Digest) -> bool) -> Result<Plugin, LoadError> {
    let digest = Digest::of(&found.bytes);
    // A run's own passed when the run began, and its digest is the same.
    let checked = if found.origin == Origin::Kept || was_tried(&digest) {
        precheck::check_again(&found.bytes, limits)
    } else {
        precheck::check(&found.bytes, limits)
    };
    let outline = checked.map_err(|e| e.of(found.origin.shown(&found.name)))?;
    Ok(Plugin {
        name: found.name,
        digest,
        bytes: found.bytes,
        origin: found.origin,
        manifest: found.manifest,
        outline,
    })
}
