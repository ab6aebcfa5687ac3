//! Finds a plugin by path or name, reads it once, and checks it, also against what was approved with it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::precheck::{self, LoadError};
use crate::engine::source::read_component;
use crate::ids::Digest;
use crate::limits::Limits;
use crate::plugin::approval::{Approval, ApprovalError, Approvals, replace};
use crate::plugin::manifest::{self, Manifest};
use crate::plugin::{Origin, Plugin, standard};
use crate::text;

/// Where plugins are looked for.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// The home folder's `plugins/`.
    pub home: PathBuf,
    /// What was approved with those of them that were added.
    pub approvals: Approvals,
}

/// Why a plugin that was named is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// It can't be found or read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is not what was approved, or the approvals can't be read.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
}

/// A plugin that was found and read.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its file's name, without `.wasm`.
    pub name: String,
    /// Names its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Where they came from.
    pub origin: Origin,
    /// What it wants.
    pub manifest: Option<Manifest>,
    /// What was approved with it.
    pub approval: Option<Arc<Approval>>,
}

impl Shelf {
    /// Finds a plugin to use it: a path when it has a slash or ends in `.wasm`, else a name, first of those built in, then of the home folder.
    /// One of the home folder that was added is the one that was approved.
    ///
    /// # Errors
    /// Nothing is there, it can't be read, its manifest is malformed, or it is not what was approved.
    pub fn find(&self, plugin: &str, limits: &Limits) -> Result<Found, FindError> {
        let mut found = self.look(plugin, limits)?;
        if matches!(found.origin, Origin::Home(_))
            && let Some(approval) = self.approvals.of(&found.name)?
        {
            approval.covers(&found)?;
            found.approval = Some(Arc::new(approval));
        }
        Ok(found)
    }

    /// Finds a plugin to look at it, approved or not.
    ///
    /// # Errors
    /// Nothing is there, it can't be read, or its manifest is malformed.
    pub fn look(&self, plugin: &str, limits: &Limits) -> Result<Found, LoadError> {
        if is_path(plugin) {
            return self.read(Path::new(plugin), Origin::Path, limits);
        }
        if let Some(bytes) = standard::find(plugin) {
            let manifest = manifest::read(bytes, None).map_err(LoadError::from)?;
            return Ok(Found {
                name: plugin.to_owned(),
                digest: Digest::of(bytes),
                bytes: bytes.into(),
                origin: Origin::Standard,
                manifest,
                approval: None,
            });
        }
        self.at_home(plugin, limits)
    }

    /// The plugin of this name that lies in the home folder, approved or not.
    ///
    /// # Errors
    /// Nothing is there, it can't be read, or its manifest is malformed.
    pub fn at_home(&self, name: &str, limits: &Limits) -> Result<Found, LoadError> {
        let path = self.path(name);
        if !is_name(name) || !path.exists() {
            return Err(self.unknown(name));
        }
        self.read(&path, Origin::Home, limits)
    }

    /// Where the plugin of this name lies in the home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.wasm"))
    }

    /// The names of the plugins that lie in the home folder, added or not.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.home).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".wasm")?.to_owned()));
        let mut names: Vec<String> = named.filter(|name| is_name(name)).collect();
        names.sort();
        names
    }

    /// Whether a plugin can be added under this name: one that no other plugin and no word of the host's has.
    ///
    /// # Errors
    /// [`ApprovalError::Name`].
    pub fn may_be_called(name: &str) -> Result<(), ApprovalError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let good = name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(plain);
        let what = match name {
            _ if !good => format!(
                "{:?} can't be a plugin's name here: that is 1 to 64 of a-z, 0-9, - and _, a letter first",
                text::line(name, 64)
            ),
            _ if standard::find(name).is_some() => format!("there is a plugin {name} already, which is built in"),
            _ if RESERVED.contains(&name) => format!("{name} has a meaning of its own here"),
            _ => return Ok(()),
        };
        Err(ApprovalError::Name { what })
    }

    /// Whether a plugin of this name is built in.
    pub fn is_built_in(name: &str) -> bool {
        standard::find(name).is_some()
    }

    /// Puts a plugin into the home folder, with the manifest that lies beside it. Whoever calls it holds the approvals.
    ///
    /// # Errors
    /// It can't be written.
    pub fn put(&self, name: &str, found: &Found) -> Result<(), ApprovalError> {
        let unwritten = |path: &Path, e: &std::io::Error| ApprovalError::Unwritten {
            path: path.to_owned(),
            what: e.to_string(),
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.home);
        made.map_err(|e| unwritten(&self.home, &e))?;
        let (path, beside) = (self.path(name), self.path(name).with_extension("toml"));
        match found.manifest.as_ref().and_then(|m| m.beside.as_ref()) {
            Some(text) => replace(&beside, text.as_bytes())?,
            None => remove(&beside).map_err(|e| unwritten(&beside, &e))?,
        }
        replace(&path, &found.bytes)
    }

    /// Takes a plugin out of the home folder, if it is there.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn take_out(&self, name: &str) -> Result<(), ApprovalError> {
        let path = self.path(name);
        for file in [path.clone(), path.with_extension("toml")] {
            remove(&file).map_err(|e| ApprovalError::Unwritten {
                path: file.clone(),
                what: e.to_string(),
            })?;
        }
        Ok(())
    }

    /// The plugins that every run may draw tools from.
    pub fn standard(&self) -> impl Iterator<Item = &'static str> {
        standard::names()
    }

    /// The standard plugin of this name, where its bytes are these.
    pub fn built_in(&self, name: &str, digest: &Digest, limits: &Limits) -> Option<Found> {
        standard::find(name)?;
        let found = self.look(name, limits).ok()?;
        (found.digest == *digest).then_some(found)
    }

    /// Whether a standard plugin has these bytes.
    pub fn has_built_in(digest: &Digest) -> bool {
        standard::names()
            .filter_map(standard::find)
            .any(|bytes| Digest::of(bytes) == *digest)
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
            digest: Digest::of(&bytes),
            bytes: bytes.into(),
            origin: origin(path.to_owned()),
            manifest,
            approval: None,
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

/// Names that a plugin can't be added under: the host's own, and those of toolsets.
const RESERVED: [&str; 5] = ["host", "hermes-host", "filesystem", "terminal", "code_execution"];

/// Removes a file, if it is there.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
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
    // A run's own passed when the run began, and its digest is the same. One that came in a run file may never have passed: the engine, which has on
    // what the check has on, refuses it then.
    let checked = if found.origin == Origin::Kept || was_tried(&found.digest) {
        precheck::check_again(&found.bytes, limits)
    } else {
        precheck::check(&found.bytes, limits)
    };
    let outline = checked.map_err(|e| e.of(found.origin.shown(&found.name)))?;
    Ok(Plugin {
        name: found.name,
        digest: found.digest,
        bytes: found.bytes,
        origin: found.origin,
        manifest: found.manifest,
        approval: found.approval,
        outline,
    })
}
