//! What a plugin is and wants, from its bytes alone. Nothing of it runs, unless it is asked for its tools, in a sandbox without grants.

use crate::bindings::types;
use crate::engine::precheck::{self, Outline};
use crate::ids::Digest;
use crate::instance::describe;
use crate::limits::Limits;
use crate::plugin::grant::Kind;
use crate::plugin::load::{Found, Shelf, load};
use crate::plugin::manifest::{self, Wanted};
use crate::plugin::rights::Rights;
use crate::plugin::toolbox::says_repeatable;
use crate::plugin::{Origin, exports_agent, exports_toolset};
use crate::run::grants::{GrantFlags, Grants};
use crate::run::{Host, HostError, outside};
use crate::text::{self, Shape};

/// Whether to ask the plugin itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Ask it for its tools and its description, in a sandbox without grants.
    Yes,
    /// Run nothing.
    No,
}

/// Whether a plugin that is built in has these bytes. It takes the place of one that a run used and that is gone.
pub fn is_built_in(digest: &Digest) -> bool {
    Shelf::has_built_in(digest)
}

/// One thing that a plugin wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The grant or its kind.
    pub grant: String,
    /// What it makes possible at worst.
    pub at_worst: String,
    /// Why, in the plugin's words, cleaned.
    pub reason: String,
    /// Whether what is allowed now covers it.
    pub granted: bool,
    /// The flag that would allow it.
    pub flag: String,
}

/// A tool that a plugin says it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolInfo {
    /// Its name, cleaned.
    pub name: String,
    /// What it does, cleaned.
    pub description: String,
    /// What its plugin says of a call of it: `read-only`, `destructive`, `idempotent`, `open-world`; none where it says nothing.
    pub hints: Vec<&'static str>,
    /// Whether it says that a second call does no harm. Its word counts where the operator approves it.
    pub says_repeatable: bool,
}

/// Whether a plugin was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approved {
    /// As it is.
    Yes,
    /// It was, and has changed since: it does not run by its name.
    Changed,
    /// It was never added, or is named by its path.
    Never,
    /// It comes with the host.
    BuiltIn,
}

/// What a plugin is.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The manifest's name, else the file's.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// The manifest's description.
    pub description: String,
    /// Its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// `strategy`, `tool`.
    pub kinds: Vec<String>,
    /// Its exports.
    pub exports: Vec<String>,
    /// Its imports.
    pub imports: Vec<String>,
    /// What it wants.
    pub wants: Vec<Want>,
    /// Its tools, where it was asked.
    pub tools: Option<Vec<ToolInfo>>,
    /// The toolset it is, or those it would like.
    pub toolsets: Vec<String>,
    /// Whether it was approved.
    pub approved: Approved,
    /// Where its manifest is.
    pub manifest: String,
    /// What made it, by its `producers` section.
    pub producers: Vec<String>,
}

impl Host {
    /// Looks at a plugin. With [`Ask::No`] nothing of it runs.
    ///
    /// # Errors
    /// It can't be found or read, or is nothing that this host runs.
    pub async fn inspect(&self, plugin: &str, ask: Ask, allow: &[String]) -> Result<Inspection, HostError> {
        let mut found = self.shelf().look(plugin, &self.config().limits)?;
        let approved = match found.origin {
            Origin::Standard => Approved::BuiltIn,
            Origin::Path(_) | Origin::Kept => Approved::Never,
            Origin::Home(_) => match self.shelf().approvals.of(&found.name)? {
                None => Approved::Never,
                Some(approval) if approval.covers(&found).is_err() => Approved::Changed,
                Some(approval) => {
                    found.approval = Some(approval.into());
                    Approved::Yes
                }
            },
        };
        let mut grants = Grants::read(self.config(), &GrantFlags::allowing(allow))?;
        let mut inspection = self.inspection(&found, &mut grants)?;
        inspection.approved = approved;
        if ask == Ask::Yes {
            self.ask_it(found, &mut inspection).await?;
        }
        Ok(inspection)
    }

    /// What the bytes of a plugin say of it, and what it would get by these grants.
    pub(super) fn inspection(&self, found: &Found, grants: &mut Grants<'_>) -> Result<Inspection, HostError> {
        let checked = precheck::check(&found.bytes, &self.config().limits);
        let outline: Outline = checked.map_err(|e| e.of(found.origin.shown(&found.name)))?;
        let mut kinds = Vec::new();
        if exports_agent(&outline) {
            kinds.push("strategy".to_owned());
        }
        if exports_toolset(&outline) {
            kinds.push("tool".to_owned());
        }
        let manifest = found.manifest.as_ref();
        let toolsets = manifest
            .map(|m| m.toolset.iter().chain(&m.toolsets).cloned().collect())
            .unwrap_or_default();
        let strategy = exports_agent(&outline);
        let rights = grants.of(found, strategy)?;
        let wanted = manifest.map_or_else(|| by_imports(&outline.imports, strategy), |m| m.wants.clone());
        let wants = wanted.iter().map(|want| view(want, &rights)).collect();
        let place = match manifest {
            Some(m) if m.beside.is_some() => "a file beside the component",
            Some(_) => "inside the component",
            None => "none: what it may want is told by its imports",
        };
        Ok(Inspection {
            name: found.name.clone(),
            version: manifest.map(|m| m.version.clone()).unwrap_or_default(),
            description: manifest.map(|m| m.description.clone()).unwrap_or_default(),
            digest: found.digest,
            size: found.bytes.len() as u64,
            kinds,
            exports: cleaned(&outline.exports),
            imports: cleaned(&outline.imports),
            wants,
            tools: None,
            toolsets,
            approved: Approved::Never,
            manifest: place.to_owned(),
            producers: cleaned(&outline.producers),
        })
    }

    async fn ask_it(&self, found: Found, inspection: &mut Inspection) -> Result<(), HostError> {
        let plugin = load(found, &self.config().limits)?;
        if plugin.is_toolset() {
            let defs = self.ask_tools(&plugin).await?;
            inspection.tools = Some(infos(&defs, &self.config().limits));
        }
        if plugin.is_strategy() {
            let prepared = self.resolve(&plugin).await?;
            let guest = outside::guest(self, &plugin);
            let said = describe(&self.instances, &guest, prepared).await;
            let said = said.map_err(|stopped| outside::unanswered(&plugin, "what it is", &stopped))?;
            if inspection.description.is_empty() {
                inspection.description = text::line(&said.description, 300);
            }
            if inspection.version.is_empty() {
                inspection.version = text::line(&said.version, 40);
            }
        }
        Ok(())
    }
}

/// What tools say of themselves, cleaned.
pub(super) fn infos(defs: &[types::ToolDef], limits: &Limits) -> Vec<ToolInfo> {
    let most = usize::try_from(limits.tool_description).unwrap_or(usize::MAX);
    let info = |def: &types::ToolDef| ToolInfo {
        name: text::line(&def.name, 64),
        description: text::cut(&text::clean(&def.description, Shape::Block), most).into_owned(),
        hints: hints(def),
        says_repeatable: says_repeatable(def),
    };
    defs.iter().map(info).collect()
}

/// What a tool says of its calls, in the contract's words.
fn hints(def: &types::ToolDef) -> Vec<&'static str> {
    let Some(hints) = &def.annotations else {
        return Vec::new();
    };
    let said = [
        ("read-only", hints.read_only),
        ("destructive", hints.destructive && !hints.read_only),
        ("idempotent", hints.idempotent),
        ("open-world", hints.open_world),
    ];
    said.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
}

fn view(want: &manifest::Want, rights: &Rights) -> Want {
    Want {
        grant: want.grant.to_string(),
        at_worst: want.grant.at_worst(),
        reason: want.reason.clone(),
        granted: rights.covers(&want.grant),
        flag: want.grant.flag(),
    }
}

/// What a plugin without a manifest can use at all: for each kind of right the first import that needs it.
/// Folders and the network are a tool's alone, whatever a strategy imports.
fn by_imports(imports: &[String], strategy: bool) -> Vec<manifest::Want> {
    let kinds = [
        ("hermes:plugin/llm", Kind::Llm),
        ("hermes:plugin/blackboard", Kind::Blackboard),
        ("hermes:plugin/delegation", Kind::Delegation),
        ("hermes:plugin/lessons", Kind::Lessons),
        ("wasi:filesystem/preopens", Kind::Fs),
        ("wasi:http/outgoing-handler", Kind::Net),
    ];
    let want = |(needs, kind)| {
        if strategy && matches!(kind, Kind::Fs | Kind::Net) {
            return None;
        }
        let import = imports.iter().find(|import| import.starts_with(needs))?;
        Some(manifest::Want {
            grant: Wanted { kind, detail: None },
            reason: format!("it imports {}", text::line(import, 80)),
        })
    };
    kinds.into_iter().filter_map(want).collect()
}

fn cleaned(names: &[String]) -> Vec<String> {
    names.iter().map(|name| text::line(name, 200)).collect()
}
