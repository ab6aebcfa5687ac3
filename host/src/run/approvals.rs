//! What was approved with plugins: listed with whether it still holds, widened, narrowed, taken back.

use std::path::PathBuf;

use crate::blocking;
use crate::config::Config;
use crate::engine::precheck::{self, LoadError};
use crate::ids::Digest;
use crate::limits::Limits;
use crate::plugin::approval::{Approval, ApprovalError, Change};
use crate::plugin::grant::{GivenBy, GrantError, Kind};
use crate::plugin::load::{Found, Shelf};
use crate::plugin::{exports_agent, exports_toolset};
use crate::run::given::{Asked, Holder, WouldGet};
use crate::run::grants::Grants;
use crate::run::inspect::{DefaultRight, by_default};
use crate::run::{Host, HostError};
use crate::text;

/// A plugin of the home folder, with what was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedPlugin {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The bytes that were approved, or that are there where none were; none where there are none that can be read.
    pub digest: Option<Digest>,
    /// The version that goes with them.
    pub version: String,
    /// What it may do.
    pub allow: Vec<String>,
    /// What it may do whichever agent calls it.
    pub own: Vec<String>,
    /// Of a strategy that can run, what it has besides as every agent.
    pub has: Vec<DefaultRight>,
    /// Its tools that are called again where it is not known how a call ended.
    pub repeatable: Vec<String>,
    /// Whether that holds.
    pub holds: Holds,
    /// When it was approved, in milliseconds since 1970.
    pub approved_ms: Option<u64>,
}

/// Whether what was approved is what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// It is.
    Yes,
    /// It is not: the plugin does not run by its name.
    Changed(Box<Change>),
    /// There is nothing that could be read.
    Unreadable(String),
    /// It was never added: it runs with what flags give it.
    NotAdded,
}

impl Holds {
    /// Its name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Yes => "approved",
            Self::Changed(_) => "changed",
            Self::Unreadable(_) => "unreadable",
            Self::NotAdded => "not-added",
        }
    }
}

/// How an approval shall change.
#[derive(Debug, Clone, Default)]
pub struct AllowSpec {
    /// The plugin.
    pub name: String,
    /// Grants to add.
    pub allow: Vec<String>,
    /// Grants to add that it has whichever agent calls it.
    pub own: Vec<String>,
    /// Grants to take away, or whole kinds of them.
    pub deny: Vec<String>,
}

impl ApprovedPlugin {
    /// One whose approval holds.
    pub(super) fn of(approval: &Approval, path: PathBuf, has: Vec<DefaultRight>) -> Self {
        Self {
            name: approval.name.clone(),
            path,
            digest: Some(approval.digest),
            version: approval.version.clone(),
            allow: approval.allow.clone(),
            own: approval.own.clone(),
            has,
            repeatable: approval.repeatable.clone(),
            holds: Holds::Yes,
            approved_ms: Some(approval.at_ms),
        }
    }
}

impl Host {
    /// The plugins of the home folder, added or not, by name.
    ///
    /// # Errors
    /// The approvals can't be read.
    pub fn plugins(&self) -> Result<Vec<ApprovedPlugin>, HostError> {
        let shelf = self.shelf();
        let approvals = shelf.approvals.read()?;
        let is_added = |name: &String| approvals.iter().any(|approval| approval.name == *name);
        let others = shelf.names().into_iter().filter(|name| !is_added(name));
        let added = approvals.iter().map(|approval| {
            let found = shelf.at_home(&approval.name, &self.config().limits);
            let holds = match &found {
                Ok(found) => approval
                    .change(found)
                    .map_or(Holds::Yes, |change| Holds::Changed(Box::new(change))),
                Err(LoadError::NotFound { .. }) => Holds::Unreadable("its file is not there".to_owned()),
                Err(error) => Holds::Unreadable(error.to_string()),
            };
            // What has changed does not run by its name, and so has nothing.
            let runs = found.ok().filter(|_| holds == Holds::Yes);
            let has = runs.map_or_else(|| Ok(Vec::new()), |found| self.has_by_default(&found))?;
            Ok(ApprovedPlugin {
                holds,
                ..ApprovedPlugin::of(approval, shelf.path(&approval.name), has)
            })
        });
        let others = others.map(|name| self.not_added(&shelf, name));
        let mut all = added.chain(others).collect::<Result<Vec<_>, HostError>>()?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// What a plugin has as every agent, where it is one. A configuration is not asked: it denies that to runs, not to plugins.
    fn has_by_default(&self, found: &Found) -> Result<Vec<DefaultRight>, HostError> {
        let outline = precheck::check_again(&found.bytes, &self.config().limits);
        Ok(by_default(outline.is_ok_and(|outline| exports_agent(&outline)), &[])?)
    }

    fn not_added(&self, shelf: &Shelf, name: String) -> Result<ApprovedPlugin, HostError> {
        let found = shelf.at_home(&name, &self.config().limits);
        let manifest = found.as_ref().ok().and_then(|found| found.manifest.as_ref());
        let has = found
            .as_ref()
            .map_or_else(|_| Ok(Vec::new()), |found| self.has_by_default(found))?;
        Ok(ApprovedPlugin {
            path: shelf.path(&name),
            digest: found.as_ref().ok().map(|found| found.digest),
            version: manifest.map(|m| m.version.clone()).unwrap_or_default(),
            allow: Vec::new(),
            own: Vec::new(),
            has,
            repeatable: Vec::new(),
            holds: match &found {
                Ok(_) => Holds::NotAdded,
                Err(error) => Holds::Unreadable(error.to_string()),
            },
            approved_ms: None,
            name,
        })
    }

    /// The rights that a plugin would get and has not yet, with what each makes possible at worst. Nothing is written.
    ///
    /// # Errors
    /// As [`Host::allow`].
    pub async fn would_allow(&self, spec: &AllowSpec) -> Result<Vec<WouldGet>, HostError> {
        let shelf = self.shelf();
        let (config, spec) = (self.config().clone(), spec.clone());
        let looking = blocking::apart(move || {
            let mut all = shelf.approvals.read()?;
            changed(&mut all, &spec, &shelf, &config).map(|(_, gets)| gets)
        });
        let gets = looking.await;
        gets.map_err(|e| HostError::Run(format!("looking at an approval: {e}")))?
    }

    /// Widens or narrows what was approved with a plugin.
    ///
    /// # Errors
    /// It was never added, or has changed since; a grant can't be read, or the plugin would not get it or has it not; the approvals can't be written.
    pub async fn allow(&self, spec: &AllowSpec) -> Result<ApprovedPlugin, HostError> {
        let shelf = self.shelf();
        let (config, spec) = (self.config().clone(), spec.clone());
        let changing = blocking::apart(move || {
            let approvals = &shelf.approvals;
            approvals.change(|all| changed(all, &spec, &shelf, &config).map(|(plugin, _)| plugin))
        });
        let changed = changing.await;
        changed.map_err(|e| HostError::Run(format!("changing an approval: {e}")))?
    }

    /// Takes a plugin out of the home folder, and what was approved with it back. Answers where it was.
    ///
    /// # Errors
    /// It was never added; the home can't be written.
    pub fn remove_plugin(&self, name: &str) -> Result<PathBuf, HostError> {
        let shelf = self.shelf();
        let removed = shelf.approvals.change(|all| {
            approved(&shelf, all, name)?;
            // The bytes first: what was approved with them is nothing by itself.
            shelf.take_out(name)?;
            all.retain(|approval| approval.name != name);
            Ok::<_, ApprovalError>(shelf.path(name))
        });
        Ok(removed?)
    }
}

/// The approval of a plugin.
fn approved<'a>(shelf: &Shelf, all: &'a mut [Approval], name: &str) -> Result<&'a mut Approval, ApprovalError> {
    let shown = text::line(name, 64);
    if Shelf::is_built_in(name) {
        return Err(ApprovalError::BuiltIn { name: shown });
    }
    let found = all.iter_mut().find(|approval| approval.name == name);
    found.ok_or_else(|| match shelf.names().iter().any(|there| there == name) {
        true => ApprovalError::NotAdded {
            name: shown,
            path: shelf.path(name),
        },
        false => ApprovalError::Never { name: shown },
    })
}

/// The plugin that grants are asked for, which passed when it was added.
fn asked<'a>(found: &'a Found, grants: &'a Grants, limits: &Limits) -> Result<Asked<'a>, HostError> {
    let outline = precheck::check_again(&found.bytes, limits);
    let outline = outline.map_err(|e| e.of(found.origin.shown(&found.name)))?;
    Ok(Asked {
        grants,
        found,
        strategy: exports_agent(&outline),
        tool: exports_toolset(&outline),
    })
}

/// Changes an approval among all. What it is then, and what the plugin gets that it had not.
fn changed(
    all: &mut [Approval],
    spec: &AllowSpec,
    shelf: &Shelf,
    config: &Config,
) -> Result<(ApprovedPlugin, Vec<WouldGet>), HostError> {
    let mut grants = Grants::approved_alone(config)?;
    let approval = approved(shelf, all, &spec.name)?;
    let mut found = shelf.at_home(&spec.name, &config.limits)?;
    approval.covers(&found)?;
    let asked = asked(&found, &grants, &config.limits)?;
    let strategy = asked.strategy;
    let gets = change(approval, spec, &asked)?;
    // All of it together has to be something that it can be given.
    found.approval = Some(approval.clone().into());
    grants.of(&found, strategy)?;
    let has = by_default(strategy, &[])?;
    Ok((ApprovedPlugin::of(approval, shelf.path(&spec.name), has), gets))
}

fn change(approval: &mut Approval, spec: &AllowSpec, asked: &Asked<'_>) -> Result<Vec<WouldGet>, GrantError> {
    for text in &spec.deny {
        take(approval, asked, text)?;
    }
    let mut gets = Vec::new();
    for (given, holder, texts) in [
        (&spec.allow, Holder::Caller, &mut approval.allow),
        (&spec.own, Holder::Own, &mut approval.own),
    ] {
        let mut new = Vec::new();
        asked.give(given, holder, &mut new)?;
        for allowed in new {
            let text = allowed.grant.to_string();
            if !texts.contains(&text) {
                texts.push(text);
                gets.push(asked.gets(&allowed, holder));
            }
        }
    }
    Ok(gets)
}

/// Takes a grant away, as it is listed or in the operator's words, or all of a kind.
fn take(approval: &mut Approval, asked: &Asked<'_>, text: &str) -> Result<(), GrantError> {
    let kind = text.parse::<Kind>().ok();
    // A folder that is gone can't be read any more, and is taken away as it is listed.
    let same = asked.grants.parse(text, GivenBy::Approval);
    let same = same.map(|allowed| allowed.grant.to_string());
    let meant = |listed: &String| {
        let of_kind = kind.is_some_and(|kind| listed.split(':').next() == Some(kind.name()));
        listed == text || of_kind || same.as_ref() == Ok(listed)
    };
    let had = approval.allow.len() + approval.own.len();
    approval.allow.retain(|listed| !meant(listed));
    approval.own.retain(|listed| !meant(listed));
    if approval.allow.len() + approval.own.len() < had {
        return Ok(());
    }
    let all: Vec<&str> = approval.allow.iter().chain(&approval.own).map(String::as_str).collect();
    let has = if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join(", ")
    };
    Err(GrantError::new(
        text,
        format!("{} was not given it; it was given {has}", approval.name),
    ))
}
