//! A tool's rights: those that whoever calls it has too, and its own, which it has for any agent that holds the tool.

use serde::{Deserialize, Serialize};

use super::Rights;
use crate::plugin::grant::{Allowed, GrantError, Kind};
use crate::plugin::manifest::Manifest;

/// Who calls a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// An agent that holds it.
    Agent,
    /// Another tool.
    Tool,
}

/// What a tool may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolRights {
    /// Of these what its caller has as well.
    pub(super) shared: Rights,
    /// These whichever agent calls it. Never folders.
    own: Rights,
    /// Whether it reached anything outside the host before rights were taken from it. Records have its rights as they were, and not this.
    #[serde(skip)]
    reached_out: bool,
}

impl ToolRights {
    /// What was allowed and what was given as its own, as far as it wants it.
    ///
    /// # Errors
    /// Two folders of one name.
    pub fn new(
        plugin: &str,
        allowed: &[Allowed],
        own: &[Allowed],
        manifest: Option<&Manifest>,
    ) -> Result<Self, GrantError> {
        Ok(Self {
            shared: Rights::tool(plugin, allowed, manifest)?,
            own: Rights::tool(plugin, own, manifest)?,
            reached_out: false,
        })
    }

    /// Takes away everything of these kinds. What calls may have done that began before that stays known.
    pub fn take_away(&mut self, denied: &[Kind]) {
        self.reached_out |= self.reaches_out();
        self.shared.take_away(denied);
        self.own.take_away(denied);
    }

    /// What it may do in a call of somebody who may do this.
    pub fn in_call_of(&self, caller: Caller, rights: &Rights) -> Rights {
        match caller {
            Caller::Agent => self.called_by(rights),
            Caller::Tool => self.called_by_tool(rights),
        }
    }

    /// What it may do when another tool calls it: nothing that this one may not, so that nobody reaches further by a tool that he was not told of.
    fn called_by_tool(&self, caller: &Rights) -> Rights {
        let whole = self.whole();
        whole.cut(caller)
    }

    /// What it may do when an agent calls it that may do this.
    pub fn called_by(&self, caller: &Rights) -> Rights {
        let mut rights = self.shared.cut(caller);
        let own = &self.own;
        rights.net.extend(own.net.iter().cloned());
        rights.secrets.extend(own.secrets.iter().cloned());
        for (name, mine) in &own.spaces {
            // A name that is its own means the home folder's space, whatever it meant to its caller.
            match rights.spaces.get_mut(name).filter(|shared| shared.home) {
                Some(shared) => shared.shares.extend(mine.shares.iter().cloned()),
                None => {
                    rights.spaces.insert(name.clone(), mine.clone());
                }
            }
        }
        rights.llm.default |= own.llm.default;
        rights.llm.aliases.extend(own.llm.aliases.iter().cloned());
        rights
    }

    /// What it may do when somebody calls it who may do all of it.
    pub fn whole(&self) -> Rights {
        self.called_by(&self.shared)
    }

    /// Whether it may reach anything outside the host: what may have been changed when the host went down.
    pub fn reaches_out(&self) -> bool {
        self.shared.reaches_out() || self.own.reaches_out()
    }

    /// The same, or whether it was so before rights were taken from it.
    pub fn reached_out(&self) -> bool {
        self.reached_out || self.reaches_out()
    }

    /// Whether the needs of a standard toolset are the tool's own.
    pub fn brings(&self, toolset: &str) -> bool {
        self.own.brings(toolset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;
    use crate::plugin::grant::{Access, GivenBy, Grant, SecretGrant};

    fn allowed(grants: &[Grant]) -> Vec<Allowed> {
        let of = |grant: &Grant| Allowed {
            plugin: Some("weather".to_owned()),
            grant: grant.clone(),
            by: GivenBy::Flag,
            two_keys: false,
        };
        grants.iter().map(of).collect()
    }

    fn space(name: &str, access: Access) -> Grant {
        Grant::Blackboard {
            name: name.to_owned(),
            access,
        }
    }

    fn reads(rights: &Rights, name: &str) -> Result<(), Refusal> {
        rights.may_entry("weather", name, "k", Access::Read)
    }

    #[test]
    fn what_it_reached_stays_known_when_it_is_taken_away() {
        let net = Grant::Net("a.org".parse().expect("a rule"));
        let of = |shared: &[Grant], own: &[Grant]| {
            ToolRights::new("weather", &allowed(shared), &allowed(own), None).expect("rights")
        };
        for mut tool in [of(std::slice::from_ref(&net), &[]), of(&[], std::slice::from_ref(&net))] {
            tool.take_away(&[Kind::Fs]);
            assert!(tool.reaches_out() && tool.reached_out());
            for denied in [Kind::Net, Kind::Llm] {
                tool.take_away(&[denied]);
                assert!(!tool.reaches_out() && tool.reached_out());
            }
        }
        let mut never = of(&[Grant::Llm(None)], &[]);
        never.take_away(&[Kind::Net]);
        assert!(!never.reached_out());
    }

    #[test]
    fn its_own_rights_stay_whoever_calls_it_and_the_others_are_cut() {
        let net = |rule: &str| Grant::Net(rule.parse().expect("a rule"));
        let secret = |text| Grant::Secret(SecretGrant::parse(text).expect("a secret"));
        let shared = allowed(&[net("a.org"), secret("a@a.org"), space("both", Access::Write)]);
        let own = allowed(&[
            net("b.org"),
            secret("b@b.org"),
            space("mine", Access::Read),
            space("both", Access::Read),
            Grant::Llm(Some("small".to_owned())),
        ]);
        let tool = ToolRights::new("weather", &shared, &own, None).expect("rights");
        let nobody = tool.called_by(&Rights::none());
        assert_eq!(nobody.net_rules(), ["b.org".parse().expect("a rule")]);
        let held = |rights: &Rights| rights.secrets().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(held(&nobody), ["b@b.org"]);
        assert_eq!(held(&tool.whole()), ["a@a.org", "b@b.org"]);
        assert!(reads(&nobody, "mine").is_ok() && nobody.may_llm("weather", Some("small")).is_ok());
        let write = |rights: &Rights| rights.may_entry("weather", "mine", "k", Access::Write);
        assert!(write(&nobody).is_err() && write(&tool.whole()).is_err());
        assert!(nobody.may_llm("weather", None).is_err() && !nobody.may_call_tools());
        let wrote = |name: &str| tool.whole().may_entry("weather", name, "k", Access::Write);
        assert!(wrote("both").is_ok(), "what it has itself takes nothing away");
        assert_eq!(tool.called_by_tool(&Rights::none()), Rights::none());
        assert_eq!(tool.called_by_tool(&tool.whole()), tool.whole());
        assert_eq!(tool.whole().net_rules().len(), 2);
        let other = ToolRights::new("other", &shared, &own, None).expect("rights");
        assert_eq!(other.called_by(&Rights::none()), Rights::none());
    }
}
