//! Which grants a plugin can be given for good: those that it would get, as they are written down.

use crate::config::Config;
use crate::plugin::approval::Approval;
use crate::plugin::grant::{Allowed, GivenBy, GrantError, whose};
use crate::plugin::load::Found;
use crate::plugin::rights::asked_for;
use crate::run::adding::AddSpec;
use crate::run::grants::{Grants, may_be_own, part_of};

/// A right that a plugin would get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WouldGet {
    /// In the operator's notation.
    pub grant: String,
    /// What it makes possible at worst.
    pub at_worst: String,
    /// Who has it.
    pub holder: Holder,
}

impl WouldGet {
    /// A grant that `holder` was given, with what it makes possible.
    fn of(allowed: &Allowed, holder: Holder) -> Self {
        Self {
            grant: allowed.grant.to_string(),
            at_worst: allowed.grant.at_worst(),
            holder,
        }
    }
}

/// Who has a right that a plugin was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The tool, as far as whoever calls it has it too; the agent, where it is no tool.
    Caller,
    /// The tools that the agent calls, as far as their own manifests ask for it.
    Tools,
    /// The tool itself, for any agent that may call it.
    Own,
}

/// What a plugin is given.
#[derive(Default)]
pub(super) struct Given {
    pub(super) allow: Vec<Allowed>,
    pub(super) own: Vec<Allowed>,
    /// What was approved before and is not given any more, or stands in the configuration and can't be given here, with the reason.
    pub(super) dropped: Vec<String>,
}

/// A plugin that grants are asked for.
pub(super) struct Asked<'a> {
    pub(super) grants: &'a Grants,
    pub(super) found: &'a Found,
    pub(super) strategy: bool,
    pub(super) tool: bool,
}

impl Asked<'_> {
    /// What is given, with what each makes possible.
    pub(super) fn rights(&self, given: &Given) -> Vec<WouldGet> {
        let caller = given.allow.iter().map(|allowed| self.gets(allowed, Holder::Caller));
        let own = given.own.iter().map(|allowed| self.gets(allowed, Holder::Own));
        caller.chain(own).collect()
    }

    /// One grant, with who has it: no agent reaches a folder or a host itself.
    pub(super) fn gets(&self, allowed: &Allowed, holder: Holder) -> WouldGet {
        let holder = match holder {
            Holder::Caller if self.strategy && !self.tool && allowed.grant.kind().is_for_tools() => Holder::Tools,
            holder => holder,
        };
        WouldGet::of(allowed, holder)
    }

    /// What was given before, and what is given now.
    ///
    /// # Errors
    /// As [`Asked::parse`], of what is given now.
    pub(super) fn given(&self, spec: &AddSpec, before: Option<&Approval>) -> Result<Given, GrantError> {
        let Given {
            mut allow,
            mut own,
            mut dropped,
        } = Given::default();
        if let Some(before) = before {
            self.keep(&before.allow, Holder::Caller, &mut allow, &mut dropped);
            self.keep(&before.own, Holder::Own, &mut own, &mut dropped);
        }
        self.give(&spec.allow, Holder::Caller, &mut allow)?;
        self.give(&spec.own, Holder::Own, &mut own)?;
        Ok(Given { allow, own, dropped })
    }

    /// What the configuration gives it once it lies in the home folder: what is for its name, and what is for every plugin, as far as it has any of it.
    /// A grant that can't be read here may be one in another folder, and does not keep a plugin from being looked at.
    pub(super) fn standing(&self, config: &Config) -> Given {
        let mut standing = Given::default();
        for (texts, holder, all) in [
            (&config.allow, Holder::Caller, &mut standing.allow),
            (&config.own, Holder::Own, &mut standing.own),
        ] {
            let is_its = |text: &&String| whose(text).0.is_none_or(|plugin| plugin == self.found.name);
            let held_by_it = holder != Holder::Own || self.tool;
            for text in texts.iter().filter(is_its).filter(|_| held_by_it) {
                match self.grants.parse(text, GivenBy::Configuration) {
                    Ok(allowed) => all.extend(self.stands(allowed, holder)),
                    Err(error) => standing.dropped.push(error.to_string()),
                }
            }
        }
        standing
    }

    /// What it has of a grant that is for it.
    fn stands(&self, allowed: Allowed, holder: Holder) -> Option<Allowed> {
        let allowed = Allowed {
            plugin: None,
            ..allowed
        };
        match self.is_passed_on(&allowed, holder) {
            true => Some(allowed),
            false => part_of(&allowed, self.found.manifest.as_ref()),
        }
    }

    /// Whether what an agent is given is for its tools, so that its own manifest is not asked.
    fn is_passed_on(&self, allowed: &Allowed, holder: Holder) -> bool {
        self.strategy && holder == Holder::Caller && allowed.grant.kind().is_for_tools()
    }

    /// Adds what is given now.
    ///
    /// # Errors
    /// As [`Asked::parse`].
    pub(super) fn give(&self, given: &[String], holder: Holder, all: &mut Vec<Allowed>) -> Result<(), GrantError> {
        for text in given {
            let allowed = self.parse(text, holder)?;
            if !all.contains(&allowed) {
                all.push(allowed);
            }
        }
        Ok(())
    }

    /// Keeps what was given before, as far as it can be given still.
    fn keep(&self, before: &[String], holder: Holder, all: &mut Vec<Allowed>, dropped: &mut Vec<String>) {
        for text in before {
            match self.parse(text, holder) {
                Ok(allowed) if allowed.grant.to_string() == *text => all.push(allowed),
                Ok(_) => dropped.push(format!("{text}: it leads elsewhere now")),
                Err(error) => dropped.push(error.to_string()),
            }
        }
    }

    /// One grant for this plugin, which has to be one that it would get.
    ///
    /// # Errors
    /// It can't be read or given, it is for another plugin, or the plugin does not ask for it.
    pub(super) fn parse(&self, text: &str, holder: Holder) -> Result<Allowed, GrantError> {
        let allowed = self.grants.parse(text, GivenBy::Approval)?;
        let wrong = |what: &str| Err(GrantError::new(text, what));
        if allowed.plugin.as_ref().is_some_and(|plugin| *plugin != self.found.name) {
            return wrong(&format!("it is for another plugin than {}", self.found.name));
        }
        if holder == Holder::Own {
            may_be_own(&allowed.grant)?;
            if !self.tool {
                return wrong("only a tool has something of its own, and the plugin brings none");
            }
        }
        let allowed = Allowed {
            plugin: None,
            ..allowed
        };
        match asked_for(&allowed, self.found.manifest.as_ref()) {
            Err(what) if !self.is_passed_on(&allowed, holder) => wrong(&what),
            _ => Ok(allowed),
        }
    }
}
