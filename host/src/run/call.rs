//! One tool, once, in a fresh sandbox: a run whose root is the person at the terminal.

use std::sync::Arc;

use crate::bindings::types;
use crate::error::Refusal;
use crate::ids::Digest;
use crate::interfaces::call_tool;
use crate::plugin::rights::{FlagCheck, Rights};
use crate::plugin::toolbox::{Listed, Repeatable, Toolbox, tools};
use crate::run::grants::{GrantFlags, Grants, no_quota};
use crate::run::secrets::RunSecrets;
use crate::run::{Host, HostError, RunSpec, outside};
use crate::session::audit::Denials;
use crate::session::guest::Guest;
use crate::text;

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// Its texts, and a line for each block that is none.
    pub content: Vec<String>,
    /// Its structured content, JSON text.
    pub structured: Option<String>,
    /// Why it failed: kind and words.
    pub error: Option<(String, String)>,
    /// Rights that were missing.
    pub denials: Denials,
}

/// The tools of one plugin, held by the person at the terminal. Each call has a fresh instance.
pub struct ToolCaller {
    guest: Arc<Guest>,
    plugin: String,
    names: Vec<String>,
    notices: Vec<String>,
    idle: Vec<String>,
}

impl Host {
    /// The tools of one plugin, under what is allowed to it. Nothing of their calls is kept: they are no run.
    ///
    /// # Errors
    /// The plugin or a grant is not usable.
    pub async fn tools_of(&self, plugin: &str, allow: &[String]) -> Result<ToolCaller, HostError> {
        let plugin = self.load(plugin).await?;
        if !plugin.is_toolset() {
            return Err(HostError::NotATool {
                plugin: plugin.name.clone(),
            });
        }
        let grants = Grants::read(self.config(), &GrantFlags::allowing(allow))?;
        let rights = Arc::new(grants.tool(&*plugin)?);
        let flags = grants.spare(std::iter::once(&*plugin), None, &[rights.whole()])?;
        let spec = RunSpec {
            allow: allow.to_vec(),
            ..RunSpec::default()
        };
        let named = [&plugin.name];
        let idle = grants.for_nobody(&spec, &named, "call");
        let mut notices = flags.reader.context().led_by_links(allow);
        notices.extend(grants.unwritten(&spec, &named, &[rights.whole()]));
        notices.extend(no_quota(&[rights.whole()]));
        notices.extend(grants.held_back(&*plugin)?);
        notices.extend(self.instead_of_built_in(&plugin));
        let defs = self.ask_tools(&plugin).await?;
        let listed = Listed {
            plugin: plugin.clone(),
            defs,
            prefix: None,
            rights: rights.clone(),
            repeatable: Repeatable::Never,
        };
        let toolbox = Toolbox::new(tools(&listed, &self.config().limits)?)?;
        let names = toolbox.iter().map(|tool| tool.name.clone()).collect();
        let secrets = self.run_secrets(&[rights.whole()], &self.config().limits)?;
        let run = (toolbox, secrets, flags);
        let guest = self.person(plugin.digest, rights.whole(), run);
        Ok(ToolCaller {
            guest,
            plugin: plugin.name.clone(),
            names,
            notices,
            idle,
        })
    }

    /// The person at the terminal, as a guest that holds these tools, and stands for the plugin with these bytes.
    fn person(
        &self,
        digest: Digest,
        rights: Rights,
        (toolbox, secrets, flags): (Toolbox, RunSecrets, FlagCheck),
    ) -> Arc<Guest> {
        let held = toolbox.iter().map(|tool| tool.name.clone()).collect();
        let mut seed = [0; 32];
        // Without randomness from the system the numbers that the tool sees are fixed; nothing else hangs on them.
        let _ = getrandom::fill(&mut seed);
        let run = outside::context(self, toolbox, seed, secrets, Some(flags));
        outside::as_guest(&run, ("call", digest), (rights, held), crate::event::now_ms())
    }
}

impl ToolCaller {
    /// The person, as the guest that holds the tools.
    pub fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    /// What a person should know before a call: what is held back from the tools, what a folder that they may write has no bound for,
    /// and that they are not those that are built in.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What is wrong with flags of the line that do nothing.
    pub fn idle_flags(&self) -> &[String] {
        &self.idle
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// There is no such tool, or the host failed; what the tool says is its answer.
    pub async fn call(&self, tool: &str, arguments: &str) -> Result<ToolAnswer, HostError> {
        if !self.names.iter().any(|name| name == tool) {
            let (plugin, has) = (self.plugin.clone(), self.names.join(", "));
            return Err(HostError::NoSuchTool {
                plugin,
                tool: text::line(tool, 64),
                has,
            });
        }
        let call = types::ToolCall {
            id: String::new(),
            name: tool.to_owned(),
            arguments: arguments.to_owned(),
        };
        // Each call of a person is a step of its own.
        self.guest.step.begin(self.guest.fuel);
        let result = call_tool(&self.guest, call).await?;
        Ok(answer(result, &self.guest))
    }
}

impl Drop for ToolCaller {
    fn drop(&mut self) {
        self.guest.over.cancel();
    }
}

fn answer(result: types::ToolResult, guest: &Guest) -> ToolAnswer {
    let shown = |content: types::Content| match content {
        types::Content::Text(text) | types::Content::Other(text) => text,
        types::Content::Media(media) => {
            format!("[{} of {} bytes]", text::line(&media.media_type, 80), media.data.len())
        }
    };
    let denials = guest.session.run.denials();
    ToolAnswer {
        content: result.output.content.into_iter().map(shown).collect(),
        structured: result.output.structured_content,
        error: result.error.map(|e| {
            let refusal = Refusal::from(e);
            (refusal.kind.to_string(), refusal.message)
        }),
        denials,
    }
}
