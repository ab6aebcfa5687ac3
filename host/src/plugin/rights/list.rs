//! Rights as people read them, told by the same sets by which calls are decided.

use super::space::{Share, SpaceRights};
use super::{Models, Rights, ToolRights};
use crate::plugin::grant::{Access, FolderGrant, Grant, Kind, SecretGrant};

/// One right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// As `--allow` takes it, or the name of a kind that is had by default.
    pub grant: String,
    /// What more there is to say of it.
    pub about: String,
    /// Whether it is for tools alone: folders, hosts and secrets, which no strategy reaches itself.
    pub by_tools: bool,
    /// Of a tool, whether it has it whichever agent calls it.
    pub own: bool,
}

impl Right {
    fn new(grant: impl Into<String>, about: impl Into<String>) -> Self {
        Self {
            grant: grant.into(),
            about: about.into(),
            by_tools: false,
            own: false,
        }
    }

    fn by_tools(self) -> Self {
        Self { by_tools: true, ..self }
    }
}

impl Rights {
    /// Every right, folders, hosts and secrets first.
    pub fn list(&self) -> Vec<Right> {
        let Self {
            folders,
            net,
            secrets,
            spaces,
            run_spaces,
            llm: Models { default, aliases },
            delegation,
            lessons,
            // Which tools it holds is said beside its rights.
            tools: _,
        } = self;
        let folder = |folder: &FolderGrant| {
            let access = match folder.access {
                Access::Read => "to read",
                Access::Write => "to read and write",
            };
            Right::new(
                Grant::Fs(folder.clone()).to_string(),
                format!("/{}, {access}", folder.name),
            )
            .by_tools()
        };
        let mut list: Vec<Right> = folders.values().map(folder).collect();
        list.extend(net.iter().map(|rule| Right::new(format!("net:{rule}"), "").by_tools()));
        let secret = |secret: &SecretGrant| {
            let about = format!("put into requests to {}", secret.hosts);
            Right::new(Grant::Secret(secret.clone()).to_string(), about).by_tools()
        };
        list.extend(secrets.iter().map(secret));
        if *run_spaces {
            list.push(Right::new(Kind::Blackboard.name(), "any space of its run"));
        }
        for (name, space) in spaces {
            list.extend(space.shares.iter().map(|share| share_of(name, space, share)));
        }
        if *default {
            list.push(Right::new(Kind::Llm.name(), "the default model"));
        }
        list.extend(aliases.iter().map(|alias| Right::new(format!("llm:{alias}"), "")));
        if *delegation {
            list.push(Right::new(Kind::Delegation.name(), ""));
        }
        if *lessons {
            list.push(Right::new(Kind::Lessons.name(), ""));
        }
        list
    }

    /// The right by which an entry of a space, or all below a prefix, is used so, as the audit names it: of a space of the home folder as it is listed,
    /// else the run's own.
    pub fn space_grant(&self, space: &str, key: &str, access: Access) -> String {
        let Some(home) = self.spaces.get(space).filter(|rights| rights.home) else {
            return Kind::Blackboard.name().to_owned();
        };
        let enough = || home.shares.iter().filter(move |share| share.access >= access);
        // What is asked of more keys than a share has is answered for those that it has.
        let by = enough().find(|share| share.holds(key)).or_else(|| enough().next());
        space_text(space, by.map_or(access, |share| share.access))
    }
}

impl ToolRights {
    /// What it may do when an agent calls it that may do this, and which of it is its own.
    pub fn list(&self, caller: &Rights) -> Vec<Right> {
        let shared = self.shared.cut(caller).list();
        let own = |right: Right| Right {
            own: !shared.contains(&right),
            ..right
        };
        self.called_by(caller).list().into_iter().map(own).collect()
    }
}

/// A right to a space, as `--allow` takes it.
fn space_text(name: &str, access: Access) -> String {
    let ro = if access == Access::Read { ":ro" } else { "" };
    format!("blackboard:{name}{ro}")
}

fn share_of(name: &str, space: &SpaceRights, share: &Share) -> Right {
    let access = match share.access {
        Access::Read => "to read",
        Access::Write => "to read and write",
    };
    let whose = if space.home { "the home folder's" } else { "its run's" };
    let keys = match share.prefix.as_str() {
        "" => String::new(),
        prefix => format!(", keys below {prefix}"),
    };
    Right::new(space_text(name, share.access), format!("{whose}, {access}{keys}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{all, folder};
    use super::super::{SpaceWish, Wishes};
    use super::*;
    use crate::plugin::grant::{Allowed, GivenBy};

    fn grants(list: &[Right]) -> Vec<&str> {
        list.iter().map(|right| right.grant.as_str()).collect()
    }

    fn net(rule: &str) -> Grant {
        Grant::Net(rule.parse().expect("a rule"))
    }

    fn secret(text: &str) -> Grant {
        Grant::Secret(SecretGrant::parse(text).expect("a secret"))
    }

    #[test]
    fn a_root_lists_what_it_was_given_and_what_it_has_by_default() {
        let given = all(vec![
            folder("papers", "/srv/papers", Access::Read),
            folder("out", "/srv/made", Access::Write),
            net("GET@x.org"),
            secret("key@x.org"),
            Grant::Blackboard {
                name: "shared".to_owned(),
                access: Access::Read,
            },
            Grant::Llm(Some("fast".to_owned())),
        ]);
        let root = Rights::root("r", &given, &[], None).expect("rights");
        let list = root.list();
        let expected = [
            "fs:out=/srv/made:rw",
            "fs:/srv/papers",
            "net:GET@x.org",
            "secret:key@x.org",
            "blackboard",
            "blackboard:shared:ro",
            "llm",
            "llm:fast",
            "delegation",
            "lessons",
        ];
        assert_eq!(grants(&list), expected);
        assert!(
            list.iter()
                .all(|right| right.by_tools == right.grant.starts_with(['f', 'n', 's']))
        );
        assert!(Rights::none().list().is_empty());
    }

    #[test]
    fn a_child_lists_its_part_of_a_space() {
        let root = Rights::root("r", &[], &[], None).expect("rights");
        let spaces = [SpaceWish {
            space: "notes".to_owned(),
            prefix: "a/".to_owned(),
            access: Access::Read,
        }];
        let none = [
            "llm:none".to_owned(),
            "delegation:none".to_owned(),
            "lessons:none".to_owned(),
        ];
        let wishes = Wishes {
            parent: "r",
            spaces: &spaces,
            grants: &none,
            cwd: std::path::Path::new("/nowhere"),
        };
        let list = root.for_child(&wishes).expect("rights").list();
        assert_eq!(grants(&list), ["blackboard:notes:ro"]);
        assert_eq!(list[0].about, "its run's, to read, keys below a/");
    }

    #[test]
    fn what_is_a_tools_own_is_marked_and_what_its_caller_lacks_is_not_there() {
        let for_tool = |grants: Vec<Grant>| {
            let plugin = Some("web".to_owned());
            let allowed = |grant| Allowed {
                plugin: plugin.clone(),
                grant,
                by: GivenBy::Flag,
                two_keys: false,
            };
            grants.into_iter().map(allowed).collect::<Vec<_>>()
        };
        let shared = for_tool(vec![net("a.org"), net("b.org"), secret("key@a.org")]);
        let own = for_tool(vec![net("c.org"), net("a.org"), secret("key@c.org")]);
        let tool = ToolRights::new("web", &shared, &own, None).expect("rights");
        let caller = Rights::root("r", &all(vec![net("a.org")]), &[], None).expect("rights");
        let marks = |list: Vec<Right>| -> Vec<(String, bool)> {
            list.into_iter().map(|right| (right.grant, right.own)).collect()
        };
        let expected = |grants: &[(&str, bool)]| -> Vec<(String, bool)> {
            grants.iter().map(|(grant, own)| ((*grant).to_owned(), *own)).collect()
        };
        assert_eq!(
            marks(tool.list(&caller)),
            expected(&[("net:a.org", false), ("net:c.org", true), ("secret:key@c.org", true)])
        );
        assert_eq!(
            marks(tool.list(&Rights::none())),
            expected(&[("net:a.org", true), ("net:c.org", true), ("secret:key@c.org", true)])
        );
    }
}
