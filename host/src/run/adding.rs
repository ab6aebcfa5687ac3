//! Adds plugins: what one is, asks for and would get is looked at first; what the operator then approves is pinned to its bytes, which go into the home
//! folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bindings::types;
use crate::blocking;
use crate::event::now_ms;
use crate::ids::Digest;
use crate::limits::Limits;
use crate::plugin::Plugin;
use crate::plugin::approval::{self, Approval, ApprovalError, Change};
use crate::plugin::grant::Allowed;
use crate::plugin::load::{Found, Shelf, is_path};
use crate::plugin::toolbox::{CODE, Listed, Repeatable, says_repeatable, tools};
use crate::run::approvals::ApprovedPlugin;
use crate::run::given::{Asked, Given, WouldGet};
use crate::run::grants::Grants;
use crate::run::inspect::{Approved, Inspection, infos, inspection};
use crate::run::prepare::apart;
use crate::run::{Host, HostError, check_home};
use crate::text;

/// A plugin to add, and what it shall get.
#[derive(Debug, Clone, Default)]
pub struct AddSpec {
    /// Its file.
    pub file: String,
    /// What it is called here; none: as its file is.
    pub name: Option<String>,
    /// Grants in the operator's notation.
    pub allow: Vec<String>,
    /// Grants that it has whichever agent calls it.
    pub own: Vec<String>,
    /// Whether its word is taken that a second call of a tool does no harm.
    pub hints: Hints,
    /// The digest that its bytes must have.
    pub digest: Option<Digest>,
    /// The digest that the manifest beside them must have: where theirs is named, none may lie there that this does not name.
    pub manifest: Option<Digest>,
}

/// Whether a plugin's word is taken that a second call of a tool does no harm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hints {
    /// It is.
    #[default]
    Approve,
    /// It is not: no tool of it is called again where it is not known how a call ended.
    Ignore,
}

/// A plugin that was looked at and can be approved. Nothing of it is written yet, and nothing is when this is dropped.
#[derive(Debug)]
pub struct Review {
    /// What it is and asks for, each with whether it would get it.
    pub inspection: Inspection,
    /// What it would get.
    pub gets: Vec<WouldGet>,
    /// What it has besides, as the configuration gives that to its name or to every plugin.
    pub standing: Vec<WouldGet>,
    /// What the configuration gives to its name or to every plugin and can't be read here, with the reason.
    pub unread: Vec<String>,
    /// Tools that would be called again where it is not known how a call ended.
    pub repeatable: Vec<String>,
    /// Whether calls of those count as running code, whose iterations are given back.
    pub runs_code: bool,
    /// How it differs from what was approved under its name.
    pub change: Option<Change>,
    /// What was approved under its name, and it would not get any more, with the reason.
    pub dropped: Vec<String>,
    /// The plugin that lies in its place and was never added, where that has other bytes.
    pub replaces: Option<PathBuf>,
    /// Whether all of this is approved already, so that nobody need be asked.
    pub stands: bool,
    found: Found,
    before: Option<Approval>,
    approval: Approval,
}

impl Review {
    /// The digest of the manifest that lies beside its bytes.
    pub fn beside(&self) -> Option<Digest> {
        self.approval.beside
    }
}

impl Host {
    /// Looks at a plugin that shall be added: its bytes are read once. It is asked for its tools, in a sandbox without grants.
    ///
    /// # Errors
    /// It can't be found, read, compiled or linked, or its tools can't be used; its name is taken; it would not get a grant; its bytes, or the manifest beside
    /// them, are not those that were named.
    pub async fn review(&self, spec: &AddSpec) -> Result<Review, HostError> {
        check_home(self.config())?;
        let shelf = self.shelf();
        let (at, asked_for, limits) = (shelf.clone(), spec.clone(), self.config().limits.clone());
        let mut found = apart(move || read(&at, &asked_for, &limits)).await??;
        let before = shelf.approvals.of(&found.name)?;
        let plugin = Arc::new(self.checked(&found).await?);
        let mut grants = Grants::approved_alone(self.config())?;
        let asked = Asked {
            grants: &grants,
            found: &found,
            strategy: plugin.is_strategy(),
            tool: plugin.is_toolset(),
        };
        let given = asked.given(spec, before.as_ref())?;
        let gets = asked.rights(&given);
        let configured = asked.standing(self.config());
        let standing = asked.rights(&configured);
        // A plugin that can't run is not added.
        if plugin.is_strategy() {
            self.resolve(&plugin).await?;
        }
        let defs = self.listed(&plugin).await?;
        let approval = proposed(&found, &given, &defs, spec.hints);
        let stands = before.as_ref().is_some_and(|before| before.says_the_same(&approval));
        let there = blocking::in_place(|| shelf.at_home(&found.name, &self.config().limits)).ok();
        let replaces = there.filter(|it| before.is_none() && it.bytes != found.bytes);
        let change = before.as_ref().and_then(|before| before.change(&found));
        found.approval = Some(Arc::new(approval.clone()));
        grants.stand(&configured);
        let mut inspection = inspection(&found, &plugin.outline, &mut grants)?;
        inspection.approved = match (&before, &change) {
            (None, _) => Approved::Never,
            (Some(_), None) => Approved::Yes,
            (Some(_), Some(_)) => Approved::Changed,
        };
        inspection.tools = plugin.is_toolset().then(|| infos(&defs, &self.config().limits));
        Ok(Review {
            inspection,
            gets,
            standing,
            unread: configured.dropped,
            repeatable: approval.repeatable.clone(),
            runs_code: approval.toolset.as_deref() == Some(CODE) && !approval.repeatable.is_empty(),
            change,
            dropped: given.dropped,
            replaces: replaces.map(|it| shelf.path(&it.name)),
            stands,
            found,
            before,
            approval,
        })
    }

    /// The tools of a plugin that brings any, which a run could use.
    async fn listed(&self, plugin: &Arc<Plugin>) -> Result<Vec<types::ToolDef>, HostError> {
        if !plugin.is_toolset() {
            return Ok(Vec::new());
        }
        let listed = Listed {
            plugin: plugin.clone(),
            defs: self.ask_tools(plugin).await?,
            prefix: None,
            rights: Arc::default(),
            repeatable: Repeatable::Never,
        };
        tools(&listed, &self.config().limits)?;
        Ok(listed.defs)
    }

    /// Approves what was looked at: puts its bytes, the very ones, into the home folder, and writes the approval down.
    ///
    /// # Errors
    /// Another process approved it otherwise meanwhile; the home can't be written.
    pub async fn approve(&self, review: Review) -> Result<ApprovedPlugin, HostError> {
        let shelf = self.shelf();
        let Review {
            inspection: Inspection { has, .. },
            found,
            before,
            mut approval,
            ..
        } = review;
        approval.at_ms = now_ms();
        // A component is large, and its sync may take long: not in a thread that serves other tasks.
        let writing = blocking::apart(move || {
            shelf.approvals.change(|all| {
                let now = all.iter().position(|other| other.name == approval.name);
                if now.map(|at| &all[at]) != before.as_ref() {
                    return Err(ApprovalError::Meanwhile { name: approval.name });
                }
                // The bytes first: without their approval they are those of a plugin that was never added, or that has changed.
                shelf.put(&approval.name, &found)?;
                match now {
                    Some(at) => all[at] = approval.clone(),
                    None => all.push(approval.clone()),
                }
                Ok(ApprovedPlugin::of(&approval, shelf.path(&approval.name), has))
            })
        });
        let written = writing.await;
        Ok(written.map_err(|e| HostError::Run(format!("adding a plugin: {e}")))??)
    }
}

/// The plugin of a file, under the name that it shall have here.
fn read(shelf: &Shelf, spec: &AddSpec, limits: &Limits) -> Result<Found, HostError> {
    let file = &spec.file;
    if !is_path(file) {
        let shown = text::line(file, 64);
        return Err(match Shelf::is_built_in(file) {
            true => ApprovalError::BuiltIn { name: shown }.into(),
            false => HostError::NotAPath { plugin: shown },
        });
    }
    let mut found = shelf.look(file, limits)?;
    if let Some(name) = &spec.name {
        name.clone_into(&mut found.name);
    }
    Shelf::may_be_called(&found.name)?;
    is_what_was_named(&found, spec)?;
    Ok(found)
}

/// Whether a plugin is the one whose digests were named.
fn is_what_was_named(plugin: &Found, spec: &AddSpec) -> Result<(), ApprovalError> {
    let path = || Path::new(&spec.file).to_owned();
    if let Some(named) = spec.digest.filter(|named| *named != plugin.digest) {
        return Err(ApprovalError::OtherDigest {
            path: path(),
            found: plugin.digest,
            named,
        });
    }
    let (found, named) = (approval::beside(plugin), spec.manifest);
    if found != named && (named.is_some() || spec.digest.is_some()) {
        return Err(ApprovalError::OtherManifest {
            path: path(),
            found,
            named,
        });
    }
    Ok(())
}

/// What is approved where the operator says yes.
fn proposed(found: &Found, given: &Given, defs: &[types::ToolDef], hints: Hints) -> Approval {
    let manifest = found.manifest.as_ref();
    let repeatable = defs
        .iter()
        .filter(|def| hints == Hints::Approve && says_repeatable(def));
    let texts = |of: &[Allowed]| of.iter().map(|allowed| allowed.grant.to_string()).collect();
    Approval {
        name: found.name.clone(),
        digest: found.digest,
        beside: approval::beside(found),
        version: manifest.map(|m| m.version.clone()).unwrap_or_default(),
        wants: approval::wants(found),
        toolset: manifest.and_then(|m| m.toolset.clone()),
        tools: defs.iter().map(|def| def.name.clone()).collect(),
        repeatable: repeatable.map(|def| def.name.clone()).collect(),
        allow: texts(&given.allow),
        own: texts(&given.own),
        at_ms: now_ms(),
    }
}
