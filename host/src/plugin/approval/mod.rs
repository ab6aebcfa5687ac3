//! What an operator approved with a plugin: its bytes and its manifest by their digests, what it may do, and which of its tools may be called
//! again. Whatever differs from that needs a new approval.

mod file;

use std::path::PathBuf;

use crate::engine::precheck::{self, LoadError};
use crate::ids::Digest;
use crate::limits::Limits;
use crate::plugin::Origin;
use crate::plugin::grant::{Allowed, GivenBy, GrantError};
use crate::plugin::load::Found;
use crate::plugin::reader::GrantReader;
use crate::text;

pub use file::Approvals;
pub(super) use file::replace;

/// What was approved with one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its name in the home folder's `plugins/`.
    pub name: String,
    /// Its bytes.
    pub digest: Digest,
    /// The text of its manifest, where that lies beside it.
    pub beside: Option<Digest>,
    /// The version that its manifest gave.
    pub version: String,
    /// What it asked for, as its manifest writes it; none where it had no manifest and so wants whatever it is granted.
    pub wants: Option<Vec<String>>,
    /// The toolset that its tools form.
    pub toolset: Option<String>,
    /// Its tools, by their own names.
    pub tools: Vec<String>,
    /// Those of them that may be called again where it is not known how a call ended.
    pub repeatable: Vec<String>,
    /// What it may do, in the operator's notation, folders as they were resolved.
    pub allow: Vec<String>,
    /// What it may do whichever agent calls it.
    pub own: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How a plugin differs from what was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The bytes that were approved, and those that are there.
    pub digests: (Digest, Digest),
    /// The versions of both, as they say.
    pub versions: (String, String),
    /// What is wrong with the bytes that are there, where they are no component any more: what that asks for means nothing.
    pub damaged: Option<String>,
    /// What it asks for besides.
    pub asks_more: Vec<String>,
    /// What it asks for no longer.
    pub asks_less: Vec<String>,
    /// The toolsets of both, where they differ.
    pub toolsets: Option<(String, String)>,
}

/// Approvals that can't be used, or don't cover what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The plugin is not the one that was approved.
    #[error("{0}")]
    Changed(Box<Change>),
    /// A folder is not the one that was approved.
    #[error("{plugin} was approved with {approved}, which leads to {found} now")]
    Elsewhere {
        /// The plugin.
        plugin: String,
        /// The grant as it was approved.
        approved: String,
        /// What it would be now.
        found: String,
    },
    /// A grant can't be given any more.
    #[error("{plugin} was approved with {error}")]
    Grant {
        /// The plugin.
        plugin: String,
        /// The grant.
        grant: String,
        /// Why.
        error: GrantError,
    },
    /// The file can't be used. It is never taken for an empty one.
    #[error("{} can't be used: {what}", text::path(path))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        what: String,
    },
    /// A newer host wrote the file.
    #[error(
        "{} has version {found} of its format, and this hermes-host reads version {known}; use the newer hermes-host",
        text::path(path)
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this host reads.
        known: i64,
    },
    /// The file, or a plugin's, can't be written.
    #[error("{} can't be written: {what}", text::path(path))]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The plugin's approval is not the one that was looked at.
    #[error("the approval of {name} was changed meanwhile; look again")]
    Meanwhile {
        /// The plugin.
        name: String,
    },
    /// The bytes are not those that were named.
    #[error(
        "{} is not what was named: its digest is {found}, and --digest says {named}",
        text::path(path)
    )]
    OtherDigest {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: Digest,
        /// What was named.
        named: Digest,
    },
    /// The manifest beside the bytes is not the one that was named.
    #[error("{} is not what was named: {}", text::path(path), manifests(*found, *named))]
    OtherManifest {
        /// The file of the bytes.
        path: PathBuf,
        /// What lies beside it.
        found: Option<Digest>,
        /// What was named.
        named: Option<Digest>,
    },
    /// There is no such approval.
    #[error("there is no plugin {name}")]
    Never {
        /// The plugin.
        name: String,
    },
    /// It lies in the home folder and has no approval.
    #[error("{name} was never added: {} lies there without an approval", text::path(path))]
    NotAdded {
        /// The plugin.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// It can't be approved, as it comes with the host.
    #[error(
        "{name} is built in and needs no approval; its grants are kept in the configuration: allow = [\"{name}=GRANT\"]"
    )]
    BuiltIn {
        /// The plugin.
        name: String,
    },
    /// A plugin can't be called so.
    #[error("{what}; call it otherwise with --name NAME")]
    Name {
        /// Why, in words.
        what: String,
    },
    /// There are too many.
    #[error("{most} plugins are added, which is the most; remove one first")]
    TooMany {
        /// The most.
        most: usize,
    },
}

impl ApprovalError {
    /// Whether it is the approval that is missing, and not that something is wrong with the file.
    pub fn refuses(&self) -> bool {
        matches!(
            self,
            Self::Changed(_) | Self::Elsewhere { .. } | Self::OtherDigest { .. } | Self::OtherManifest { .. }
        )
    }

    /// The kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) | Self::OtherDigest { .. } | Self::OtherManifest { .. } => "denied(digest-changed)",
            error if error.refuses() => "denied",
            _ => "approval",
        }
    }
}

impl Approval {
    /// Whether it is for what was found.
    ///
    /// # Errors
    /// [`ApprovalError::Changed`], with all that differs.
    pub fn covers(&self, found: &Found) -> Result<(), ApprovalError> {
        match self.change(found) {
            None => Ok(()),
            Some(change) => Err(ApprovalError::Changed(Box::new(change))),
        }
    }

    /// Whether another approves the same, whenever it was given.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let at_ms = other.at_ms;
        Self { at_ms, ..self.clone() } == *other
    }

    /// How what was found differs; none where it does not.
    pub fn change(&self, found: &Found) -> Option<Change> {
        let digest = found.digest;
        if digest == self.digest && beside(found) == self.beside {
            return None;
        }
        let manifest = found.manifest.as_ref();
        let (before, after) = (asked(self.wants.clone()), asked(wants(found)));
        let only = |of: &[String], not: &[String]| of.iter().filter(|want| !not.contains(want)).cloned().collect();
        let toolset = |name: Option<&String>| name.map_or("none", String::as_str).to_owned();
        let toolsets = (
            toolset(self.toolset.as_ref()),
            toolset(manifest.and_then(|m| m.toolset.as_ref())),
        );
        Some(Change {
            name: self.name.clone(),
            path: match &found.origin {
                Origin::Path(path) | Origin::Home(path) => path.clone(),
                Origin::Standard | Origin::Kept => PathBuf::new(),
            },
            digests: (self.digest, digest),
            versions: (
                self.version.clone(),
                manifest.map(|m| m.version.clone()).unwrap_or_default(),
            ),
            damaged: (digest != self.digest).then(|| damage(found)).flatten(),
            asks_more: only(&after, &before),
            asks_less: only(&before, &after),
            toolsets: Some(toolsets).filter(|(before, after)| before != after),
        })
    }

    /// What it may do, and what it may do whichever agent calls it. Folders must be those that were approved.
    ///
    /// # Errors
    /// A grant can't be given any more, or its folder leads elsewhere.
    pub fn granted(&self, reader: &GrantReader) -> Result<(Vec<Allowed>, Vec<Allowed>), ApprovalError> {
        let read = |grants: &[String]| {
            let read = grants.iter().map(|text| {
                let allowed = reader.parse(text, GivenBy::Approval);
                let allowed = allowed.map_err(|error| ApprovalError::Grant {
                    plugin: self.name.clone(),
                    grant: text.clone(),
                    error,
                })?;
                let found = allowed.grant.to_string();
                if found == *text {
                    return Ok(allowed);
                }
                Err(ApprovalError::Elsewhere {
                    plugin: self.name.clone(),
                    approved: text.clone(),
                    found,
                })
            });
            read.collect::<Result<Vec<_>, _>>()
        };
        Ok((read(&self.allow)?, read(&self.own)?))
    }
}

/// What a plugin asks for, as its manifest writes it.
pub fn wants(found: &Found) -> Option<Vec<String>> {
    let manifest = found.manifest.as_ref()?;
    Some(manifest.wants.iter().map(|want| want.grant.to_string()).collect())
}

/// What is wrong with bytes that are no whole component.
fn damage(found: &Found) -> Option<String> {
    match precheck::check_again(&found.bytes, &Limits::default()) {
        Err(error @ (LoadError::Damaged { .. } | LoadError::NotAComponent(_))) => Some(error.to_string()),
        _ => None,
    }
}

/// The text of its manifest, where that lies beside it.
pub fn beside(found: &Found) -> Option<Digest> {
    let text = found.manifest.as_ref()?.beside.as_ref()?;
    Some(Digest::of(text.as_bytes()))
}

/// How the manifest beside a plugin is not the one that was named.
fn manifests(found: Option<Digest>, named: Option<Digest>) -> String {
    let found = found.map_or_else(
        || "no manifest lies beside it".to_owned(),
        |found| format!("the digest of the manifest beside it is {found}"),
    );
    let named = named.map_or_else(
        || "--digest stands without --manifest".to_owned(),
        |named| format!("--manifest says {named}"),
    );
    format!("{found}, and {named}")
}

/// Wants as they are compared: without a manifest they are everything.
fn asked(wants: Option<Vec<String>>) -> Vec<String> {
    wants.unwrap_or_else(|| vec!["whatever it is granted, as it has no manifest".to_owned()])
}

impl Change {
    /// What differs, a line each.
    pub fn lines(&self) -> Vec<String> {
        let (approved, found) = &self.digests;
        let mut lines = vec![format!("approved  {approved}"), format!("now       {found}")];
        if let Some(damaged) = &self.damaged {
            lines.push(text::line(damaged, 200));
            return lines;
        }
        if approved == found {
            lines.push("its bytes are the same, and the manifest beside it is another".to_owned());
        }
        let (before, after) = &self.versions;
        if before != after {
            lines.push(format!("version   {} before, {} now", or_none(before), or_none(after)));
        }
        if let Some((before, after)) = &self.toolsets {
            lines.push(format!("toolset   {before} before, {after} now"));
        }
        lines.extend(self.asks_more.iter().map(|want| format!("it asks for more: {want}")));
        lines.extend(
            self.asks_less
                .iter()
                .map(|want| format!("it no longer asks for {want}")),
        );
        lines
    }
}

fn or_none(version: &str) -> &str {
    if version.is_empty() { "none" } else { version }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not what was approved: it has changed", self.name)?;
        self.lines().iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::plugin::grant::{GrantContext, ProviderFiles};
    use crate::plugin::manifest::Manifest;
    use crate::secret::SecretFile;

    fn found(bytes: &[u8], manifest: Option<&str>) -> Found {
        Found {
            name: "weather".to_owned(),
            digest: Digest::of(bytes),
            bytes: bytes.into(),
            origin: Origin::Home(PathBuf::from("/home/plugins/weather.wasm")),
            manifest: manifest.map(|text| Manifest::beside(text).expect("a manifest")),
            approval: None,
        }
    }

    fn approval(of: &Found) -> Approval {
        Approval {
            name: of.name.clone(),
            digest: of.digest,
            beside: beside(of),
            version: "0.1.0".to_owned(),
            wants: wants(of),
            toolset: None,
            tools: Vec::new(),
            repeatable: Vec::new(),
            allow: Vec::new(),
            own: Vec::new(),
            at_ms: 0,
        }
    }

    const MANIFEST: &str =
        "name = \"weather\"\nversion = \"0.1.0\"\n[[wants]]\ngrant = \"net:x.org\"\n[[wants]]\ngrant = \"fs\"\n";

    #[test]
    fn only_the_same_bytes_with_the_same_manifest_are_covered() {
        let approved = found(b"a", Some(MANIFEST));
        let approval = approval(&approved);
        assert_eq!(approval.covers(&approved), Ok(()));
        assert!(approval.covers(&found(b"b", Some(MANIFEST))).is_err());
        assert!(approval.covers(&found(b"a", None)).is_err());
        // Narrower, and in its words alone: it is not what was read by whoever approved it.
        let narrower = MANIFEST.replace("[[wants]]\ngrant = \"fs\"\n", "");
        assert!(approval.covers(&found(b"a", Some(&narrower))).is_err());
        assert!(
            approval
                .covers(&found(b"a", Some(&format!("{MANIFEST}reason = \"x\"\n"))))
                .is_err()
        );
    }

    /// The shortest component.
    const OTHER: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_change_tells_what_is_asked_for_besides_and_no_longer() {
        let approval = approval(&found(b"a", Some(MANIFEST)));
        let wider = MANIFEST.replace("\"fs\"", "\"fs:rw\"").replace("0.1.0", "0.2.0");
        let change = approval.change(&found(OTHER, Some(&wider))).expect("a change");
        assert_eq!(change.asks_more, ["fs:rw"]);
        assert_eq!(change.asks_less, ["fs"]);
        let words = change.to_string();
        for part in [
            &approval.digest.to_string(),
            &Digest::of(OTHER).to_string(),
            "0.1.0 before, 0.2.0 now",
        ] {
            assert!(words.contains(part), "{part:?} in {words}");
        }
        let bare = approval.change(&found(b"a", None)).expect("a change");
        assert_eq!(bare.asks_more.len(), 1, "{bare}");
        assert!(bare.to_string().contains("no manifest"), "{bare}");
        // What is left of a component asks for nothing.
        let damaged = approval.change(&found(&OTHER[..4], None)).expect("a change");
        assert!(damaged.damaged.is_some(), "{damaged:?}");
        assert!(!damaged.to_string().contains("asks for"), "{damaged}");
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_not_the_one_that_was_approved() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        for name in ["papers", "secret"] {
            std::fs::create_dir(root.join(name)).expect("made");
        }
        let nowhere = Path::new("/nowhere");
        let context = GrantContext::new(nowhere, None, ProviderFiles::default()).expect("a place");
        let reader = GrantReader::new(context, BTreeSet::new(), SecretFile::in_dir(nowhere));
        let mut approval = approval(&found(b"a", None));
        approval.allow = vec![format!("fs:{}", root.join("papers").display())];
        assert_eq!(approval.granted(&reader).expect("granted").0.len(), 1);
        std::fs::remove_dir(root.join("papers")).expect("removed");
        let gone = approval.granted(&reader).expect_err("gone");
        assert!(matches!(gone, ApprovalError::Grant { .. }) && !gone.refuses(), "{gone}");
        std::os::unix::fs::symlink(root.join("secret"), root.join("papers")).expect("linked");
        let elsewhere = approval.granted(&reader).expect_err("elsewhere");
        assert!(elsewhere.refuses(), "{elsewhere}");
    }
}
