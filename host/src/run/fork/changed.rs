//! Another plugin in the place of a run's root. What the run's own was granted was for its bytes, or for the flags of that day: this one has what is given
//! to it today, as far as its manifest asks for it and the run had it.

use std::sync::Arc;

use crate::config::Config;
use crate::plugin::Plugin;
use crate::plugin::grant::{Allowed, GivenBy, GrantError};
use crate::plugin::rights::{Right, Rights};
use crate::run::HostError;
use crate::run::grants::{GrantFlags, Grants};
use crate::supervisor::start::{AgentStart, PluginRef, ToolRef};

/// Another plugin than the run's root had.
pub(super) struct Changed {
    pub(super) plugin: Arc<Plugin>,
    /// What it may do.
    pub(super) rights: Rights,
    /// What a person should know of that.
    pub(super) notices: Vec<String>,
}

impl Changed {
    /// A plugin in the place of the one that `agent` has, beside these tools of the run; none where it is the same one.
    pub(super) fn of(
        plugin: &Arc<Plugin>,
        config: &Config,
        allow: &[String],
        agent: &AgentStart,
        tools: &[ToolRef],
    ) -> Result<Option<Self>, HostError> {
        let own = PluginRef::of(plugin);
        if own.digest == agent.strategy.digest && own.manifest == agent.strategy.manifest {
            return Ok(None);
        }
        // Grants are given by name: two plugins of one name would share them.
        let twin = |tool: &&ToolRef| tool.plugin.name == plugin.name && tool.plugin.digest != plugin.digest;
        if let Some(tool) = tools.iter().find(twin) {
            return Err(HostError::SameName {
                name: plugin.name.clone(),
                first: plugin.origin.shown(&plugin.name),
                second: format!("a tool of the run ({})", tool.plugin.digest),
            });
        }
        let mut grants = Grants::read(config, &GrantFlags::allowing(allow))?;
        let rights = grants.root(&**plugin)?.cut(&agent.rights);
        let reach: Vec<Rights> = tools.iter().map(|tool| tool.rights.called_by(&rights)).collect();
        grants.spare(std::iter::once(&**plugin), None, &reach)?;
        let mut notices = Vec::new();
        for flag in allow {
            if gives_nothing(&plugin.name, &grants.parse(flag, GivenBy::Flag)?, &agent.rights)? {
                notices.push(format!(
                    "--allow {flag} gives it nothing: a fork has no right that its run had not"
                ));
            }
        }
        notices.extend(lost(&plugin.name, &agent.rights, &rights));
        Ok(Some(Self {
            plugin: plugin.clone(),
            rights,
            notices,
        }))
    }
}

/// Whether a grant adds nothing to what a root has by default, of what the run had.
fn gives_nothing(plugin: &str, allowed: &Allowed, had: &Rights) -> Result<bool, GrantError> {
    let of_it = |allowed: &[Allowed]| -> Result<Vec<Right>, GrantError> {
        Ok(Rights::root(plugin, allowed, &[], None)?.cut(had).list())
    };
    Ok(of_it(std::slice::from_ref(allowed))? == of_it(&[])?)
}

/// Of each right that the run's own plugin had and this one has not, that it has it not.
fn lost(plugin: &str, had: &Rights, has: &Rights) -> Vec<String> {
    let has: Vec<String> = has.list().into_iter().map(|right| right.grant).collect();
    let had = had.list().into_iter().map(|right| right.grant);
    let lost = had.filter(|grant| !has.contains(grant));
    let told = |grant: String| {
        format!(
            "{plugin} is another plugin than the run had, and goes on without {grant}: what it shall have is named with --allow"
        )
    };
    lost.map(told).collect()
}
