//! What a right makes possible at worst, in one line that a person reads before giving it. `docs/security.md` has the same in its table of grants.

use crate::egress::NetRule;
use crate::plugin::grant::{Access, Grant, Kind, SecretGrant, space};
use crate::plugin::manifest::Wanted;

impl Grant {
    /// What its holder can do with it at worst.
    pub fn at_worst(&self) -> String {
        match self {
            Self::Fs(folder) => files(&folder.dir.display().to_string(), folder.access),
            Self::Net(rule) => requests(rule),
            Self::Blackboard { name, access } => notes(&format!("the space {name} of the home folder"), *access),
            Self::Llm(None) => spending("the default model"),
            Self::Llm(Some(alias)) => spending(&format!("the model {alias}")),
            Self::Secret(secret) => in_your_name(secret),
            Self::Terminal(program) => format!("whatever {program} can do as you is done"),
        }
    }
}

impl Wanted {
    /// What a plugin can do at worst that is given this.
    pub fn at_worst(&self) -> String {
        let detail = self.detail.as_deref();
        match self.kind {
            Kind::Fs if detail == Some("rw") => files("the folders that you name", Access::Write),
            Kind::Fs => files("the folders that you name", Access::Read),
            Kind::Net => match detail.and_then(|rule| rule.parse().ok()) {
                Some(rule) => requests(&rule),
                None => {
                    "what an agent knows is sent to the hosts that you name, which may be any public host (net:*), and things there are changed".to_owned()
                }
            },
            Kind::Blackboard => match detail {
                Some(detail) => {
                    let (name, access) = space(detail);
                    notes(&format!("the space {name}"), access)
                }
                None => notes("the spaces that you name", Access::Write),
            },
            Kind::Llm => match detail {
                Some(alias) => spending(&format!("the model {alias}")),
                None => spending("the default model"),
            },
            Kind::Secret => match detail.and_then(|secret| SecretGrant::parse(secret).ok()) {
                Some(secret) => in_your_name(&secret),
                None => "whatever the secrets that you name allow is done in your name at their hosts".to_owned(),
            },
            Kind::Terminal => "whatever the programs that you name can do as you is done".to_owned(),
            Kind::Delegation => "the run's budget is spent by sub-agents".to_owned(),
            Kind::Lessons => "later runs are taught something wrong".to_owned(),
        }
    }

    /// The same of a plugin without a manifest, which wants whatever it is granted: a folder to be written too.
    pub fn at_worst_unsaid(&self) -> String {
        match self.kind {
            Kind::Fs => format!(
                "{}; {}",
                files("the folders that you name", Access::Read),
                files("those that you name with :rw", Access::Write)
            ),
            _ => self.at_worst(),
        }
    }
}

impl Kind {
    /// What an agent can do at worst that has a right of this kind without being granted it.
    pub fn at_worst_by_default(self) -> String {
        match self {
            Self::Blackboard => "other agents of its run read what this one was talked into writing".to_owned(),
            kind => Wanted { kind, detail: None }.at_worst(),
        }
    }
}

fn files(dir: &str, access: Access) -> String {
    match access {
        Access::Read => format!("everything in {dir} goes to the model's server"),
        Access::Write => format!(
            "everything in {dir} is changed or deleted, the disk filled, and what is written there may be run as you"
        ),
    }
}

fn requests(rule: &NetRule) -> String {
    let place = rule.place();
    let place = if rule.is_everything() {
        "any public host"
    } else {
        &place
    };
    match rule.may_change() {
        true => format!("what an agent knows is sent to {place}, and things there are changed"),
        false => format!("what an agent knows is sent to {place}"),
    }
}

fn notes(space: &str, access: Access) -> String {
    match access {
        Access::Read => format!("what is in {space} goes to the model's server"),
        Access::Write => format!("later runs read in {space} what this one was talked into writing"),
    }
}

fn in_your_name(secret: &SecretGrant) -> String {
    let SecretGrant { name, hosts } = secret;
    format!("whatever the secret {name} allows is done in your name at {hosts}, which learns it; the plugin does not")
}

fn spending(model: &str) -> String {
    format!("the run's budget is spent on {model}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_the_network_tells_where_to_and_whether_things_are_changed() {
        let worst = |rule: &str| Grant::Net(rule.parse().expect("a rule")).at_worst();
        assert!(worst("GET,HEAD@api.x.org").ends_with("what an agent knows is sent to api.x.org"));
        assert!(worst("GET,POST@*.x.org:8443").contains("sent to *.x.org:8443, and things there are changed"));
        assert!(worst("*").contains("any public host, and things"));
    }

    #[test]
    fn a_want_is_told_as_far_as_its_manifest_says_it() {
        let worst = |kind, detail: Option<&str>| {
            let detail = detail.map(str::to_owned);
            Wanted { kind, detail }.at_worst()
        };
        for words in ["deleted", "may be run as you"] {
            assert!(worst(Kind::Fs, Some("rw")).contains(words));
            assert!(!worst(Kind::Fs, None).contains(words));
        }
        assert!(worst(Kind::Net, Some("GET@x.org")).contains("x.org"));
        // A kind alone asks for any of it.
        for words in ["you name", "any public host", "things there are changed"] {
            assert!(worst(Kind::Net, None).contains(words), "{words}");
        }
        let unsaid = |kind| Wanted { kind, detail: None }.at_worst_unsaid();
        assert!(unsaid(Kind::Fs).contains("with :rw is changed or deleted"));
        assert_eq!(unsaid(Kind::Llm), worst(Kind::Llm, None));
        assert!(worst(Kind::Blackboard, Some("glossary")).contains("glossary"));
        assert!(
            worst(Kind::Secret, Some("key@*.x.org")).contains("the secret key allows is done in your name at *.x.org")
        );
        assert!(worst(Kind::Secret, None).contains("you name"));
    }
}
