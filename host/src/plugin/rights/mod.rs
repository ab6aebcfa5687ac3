//! What one strategy or tool may do, in one place: what it wants, cut by what was granted, cut by what its caller has. An empty set means
//! nothing.

mod child;
mod list;
mod offer;
mod remedy;
mod secret;
mod space;
mod tool;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::egress::NetRule;
use crate::error::{Lack, Refusal};
use crate::plugin::grant::{Allowed, FolderGrant, GivenBy, Grant, GrantError, Kind, SecretGrant, is_name, space};
use crate::plugin::manifest::{Manifest, Wanted};
use crate::text;

use self::space::{Share, SpaceRights};
pub use crate::plugin::grant::Access;
pub use child::{SpaceWish, Wishes};
pub use list::Right;
pub use offer::FlagCheck;
pub use remedy::{Asker, Remedy, TakenBy, TakenIn, remedy, wanted_in_vain, worded};
pub use tool::{Caller, ToolRights};

/// The effective rights of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    folders: BTreeMap<String, FolderGrant>,
    net: BTreeSet<NetRule>,
    /// What is put into requests to which hosts.
    secrets: BTreeSet<SecretGrant>,
    /// Spaces by name.
    spaces: BTreeMap<String, SpaceRights>,
    /// Whether any other name may be opened, as a space of the run.
    run_spaces: bool,
    llm: Models,
    delegation: bool,
    lessons: bool,
    tools: bool,
}

/// Which models may be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Models {
    default: bool,
    aliases: BTreeSet<String>,
}

impl Rights {
    /// Nothing at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// A root strategy's: its defaults, less what was denied, and what was allowed as far as it wants it. Folders, hosts and secrets are what its
    /// tools' rights are cut from; the strategy itself never gets them.
    ///
    /// # Errors
    /// Two folders of one name.
    pub fn root(
        plugin: &str,
        allowed: &[Allowed],
        denied: &[Kind],
        manifest: Option<&Manifest>,
    ) -> Result<Self, GrantError> {
        let has = |kind| !denied.contains(&kind);
        let mut rights = Self {
            run_spaces: has(Kind::Blackboard),
            delegation: has(Kind::Delegation),
            lessons: has(Kind::Lessons),
            tools: true,
            ..Self::default()
        };
        rights.llm.default = has(Kind::Llm);
        // Rights that need two keys are held back from tools whose manifest does not ask for them, not from the strategy that calls them.
        for grant in for_plugin(plugin, allowed).filter(|grant| has(grant.kind())) {
            let given = match manifest {
                Some(manifest) if !grant.kind().is_for_tools() => wanted_of(grant, manifest),
                _ => vec![grant.clone()],
            };
            given.iter().try_for_each(|grant| rights.add(grant))?;
        }
        Ok(rights)
    }

    /// The same as far as the plugin wants it that has it: spaces of the home folder, and models by their aliases. What agents have by default stays,
    /// and so does what is for its tools, whose own manifests are asked.
    #[must_use]
    pub fn as_wanted(mut self, manifest: Option<&Manifest>) -> Self {
        let Some(manifest) = manifest else { return self };
        let wanted = |grant: &Grant| manifest.wants.iter().any(|want| wants(&want.grant, grant));
        self.spaces.retain(|name, space| {
            let most = match space.home {
                true => wanted_space(manifest, name),
                false => Some(Access::Write),
            };
            let Some(most) = most else { return false };
            space
                .shares
                .iter_mut()
                .for_each(|share| share.access = share.access.min(most));
            true
        });
        self.llm
            .aliases
            .retain(|alias| wanted(&Grant::Llm(Some(alias.clone()))));
        self
    }

    /// A tool's, before its caller's cut it: what was allowed, as far as it wants it.
    ///
    /// # Errors
    /// Two folders of one name.
    pub fn tool(plugin: &str, allowed: &[Allowed], manifest: Option<&Manifest>) -> Result<Self, GrantError> {
        // What a tool calls is cut by the tool's own rights, so that calling others gives it nothing that it has not.
        let mut rights = Self {
            tools: true,
            ..Self::default()
        };
        for allowed in allowed.iter().filter(|allowed| allowed.is_for(plugin)) {
            let grant = match missing_key(allowed, manifest) {
                None => Some(allowed.grant.clone()),
                Some(_) => with_one_key(&allowed.grant),
            };
            let Some(grant) = grant else { continue };
            let Some(manifest) = manifest else {
                rights.add(&grant)?;
                continue;
            };
            let given = wanted_of(&grant, manifest);
            given.iter().try_for_each(|grant| rights.add(grant))?;
        }
        Ok(rights)
    }

    /// Takes away everything of these kinds.
    pub fn take_away(&mut self, denied: &[Kind]) {
        for kind in denied {
            match kind {
                Kind::Fs => self.folders.clear(),
                Kind::Net => self.net.clear(),
                Kind::Blackboard => {
                    self.spaces.clear();
                    self.run_spaces = false;
                }
                Kind::Llm => self.llm = Models::default(),
                Kind::Delegation => self.delegation = false,
                Kind::Lessons => self.lessons = false,
                Kind::Secret => self.secrets.clear(),
                // Nothing has one in this version.
                Kind::Terminal => {}
            }
        }
    }

    fn add(&mut self, grant: &Grant) -> Result<(), GrantError> {
        match grant {
            Grant::Fs(folder) => match self.folders.get(&folder.name) {
                Some(other) if other.dir != folder.dir => {
                    let what = format!(
                        "two folders would be /{}: {} too; name one, like fs:NAME={}",
                        folder.name,
                        other.dir.display(),
                        folder.dir.display()
                    );
                    return Err(GrantError::new(&grant.to_string(), what));
                }
                Some(other) if other.access >= folder.access => {}
                _ => {
                    self.folders.insert(folder.name.clone(), folder.clone());
                }
            },
            Grant::Net(rule) => {
                self.net.insert(rule.clone());
            }
            Grant::Blackboard { name, access } => {
                let space = self.spaces.entry(name.clone()).or_insert(SpaceRights {
                    home: true,
                    shares: Vec::new(),
                });
                space.shares.push(Share::all(*access));
            }
            Grant::Llm(None) => self.llm.default = true,
            Grant::Llm(Some(alias)) => {
                self.llm.aliases.insert(alias.clone());
            }
            Grant::Secret(secret) => {
                self.secrets.insert(secret.clone());
            }
            // Refused where grants are read: this version has none.
            Grant::Terminal(_) => {}
        }
        Ok(())
    }

    /// Of two folders of which one lies in the other, the inner one, under its own name and with the lesser access.
    fn common_folders(&self, caller: &Self) -> BTreeMap<String, FolderGrant> {
        let mut common: BTreeMap<String, FolderGrant> = BTreeMap::new();
        for mine in self.folders.values() {
            for theirs in caller.folders.values() {
                let inner = if mine.dir.starts_with(&theirs.dir) {
                    mine
                } else if theirs.dir.starts_with(&mine.dir) {
                    theirs
                } else {
                    continue;
                };
                let access = mine.access.min(theirs.access);
                match common.get(&inner.name) {
                    Some(other) if other.dir != inner.dir || other.access >= access => {}
                    _ => {
                        common.insert(
                            inner.name.clone(),
                            FolderGrant {
                                access,
                                ..inner.clone()
                            },
                        );
                    }
                }
            }
        }
        common
    }

    /// What both this and `caller` may do: a tool's rights when `caller` calls it.
    #[must_use]
    pub fn cut(&self, caller: &Self) -> Self {
        let net = self
            .net
            .iter()
            .flat_map(|mine| caller.net.iter().filter_map(|theirs| mine.meet(theirs)));
        let spaces = self.spaces.iter().filter_map(|(name, mine)| {
            let theirs = caller.spaces.get(name).filter(|theirs| theirs.home == mine.home)?;
            Some((name.clone(), mine.meet(theirs)))
        });
        Self {
            folders: self.common_folders(caller),
            net: net.collect(),
            secrets: self.common_secrets(caller),
            spaces: spaces.collect(),
            run_spaces: self.run_spaces && caller.run_spaces,
            llm: Models {
                default: self.llm.default && caller.llm.default,
                aliases: self.llm.aliases.intersection(&caller.llm.aliases).cloned().collect(),
            },
            delegation: self.delegation && caller.delegation,
            lessons: self.lessons && caller.lessons,
            tools: self.tools && caller.tools,
        }
    }

    /// Folders, for a tool's instance.
    pub fn folders(&self) -> Vec<FolderGrant> {
        self.folders.values().cloned().collect()
    }

    /// Whether it writes in a folder that is granted, or in one below.
    pub fn writes_in(&self, granted: &FolderGrant) -> bool {
        let mut folders = self.folders.values();
        folders.any(|folder| folder.writable() && folder.dir.starts_with(&granted.dir))
    }

    /// Rules of the way out, for a tool's instance.
    pub fn net_rules(&self) -> Vec<NetRule> {
        self.net.iter().cloned().collect()
    }

    /// Whether it reaches anything outside the host: what may have been changed when the host went down.
    pub fn reaches_out(&self) -> bool {
        !self.folders.is_empty() || !self.net.is_empty()
    }

    /// Whether it reaches anything that is not its run's own: folders, hosts, secrets, spaces of the home folder.
    pub fn reaches_beyond_its_run(&self) -> bool {
        self.reaches_out() || !self.secrets.is_empty() || self.spaces.values().any(|space| space.home)
    }

    /// Whether a standard toolset's needs are granted.
    pub fn brings(&self, toolset: &str) -> bool {
        match toolset {
            "filesystem" => !self.folders.is_empty(),
            "web" => !self.net.is_empty(),
            _ => true,
        }
    }

    /// Whether `name` means a space of the home folder here.
    pub fn space_is_home(&self, name: &str) -> bool {
        self.spaces.get(name).is_some_and(|space| space.home)
    }

    /// Whether a space may be opened.
    ///
    /// # Errors
    /// `denied`, with the same words whether or not the space exists.
    pub fn may_open(&self, plugin: &str, space: &str) -> Result<(), Refusal> {
        if self.spaces.get(space).map_or(self.run_spaces, |s| !s.shares.is_empty()) {
            return Ok(());
        }
        let right = right_to(space, Access::Read);
        let space = text::line(space, 64);
        Err(denied(
            plugin,
            Lack {
                what: format!("open the blackboard space {space}"),
                why: right.is_none().then(|| UNNAMEABLE.to_owned()),
                right,
                target: space,
            },
        ))
    }

    /// Whether an entry may be used so.
    ///
    /// # Errors
    /// `denied`, with the same words whether or not the entry exists.
    pub fn may_entry(&self, plugin: &str, space: &str, key: &str, access: Access) -> Result<(), Refusal> {
        let allowed = match self.spaces.get(space) {
            Some(space) => space.shares.iter().any(|s| s.access >= access && s.holds(key)),
            None => self.run_spaces,
        };
        if allowed {
            return Ok(());
        }
        let what = match access {
            Access::Read => "read",
            Access::Write => "write",
        };
        let right = right_to(space, access);
        let (space, key) = (text::line(space, 64), text::line(key, 64));
        Err(denied(
            plugin,
            Lack {
                what: format!("{what} {key} in the blackboard space {space}"),
                why: right.is_none().then(|| UNNAMEABLE.to_owned()),
                right,
                target: format!("{space}/{key}"),
            },
        ))
    }

    /// Whether a key is seen in lists of a space.
    pub fn sees_key(&self, space: &str, key: &str) -> bool {
        match self.spaces.get(space) {
            Some(space) => space.shares.iter().any(|share| share.holds(key)),
            None => self.run_spaces,
        }
    }

    /// Whether a model may be asked: the default one, or this alias.
    ///
    /// # Errors
    /// `denied`.
    pub fn may_llm(&self, plugin: &str, alias: Option<&str>) -> Result<(), Refusal> {
        let held = match alias {
            None => self.llm.default,
            Some(alias) => self.llm.aliases.contains(alias),
        };
        if held {
            return Ok(());
        }
        Err(denied(
            plugin,
            match alias {
                None => Lack {
                    what: "ask a model".to_owned(),
                    right: Some("llm".to_owned()),
                    target: "the default model".to_owned(),
                    why: None,
                },
                Some(alias) => {
                    let shown = text::line(alias, 64);
                    Lack {
                        what: format!("ask the model {shown}"),
                        // Shortened or cleaned it would be another's.
                        right: Some(format!("llm:{alias}")),
                        target: shown,
                        why: None,
                    }
                }
            },
        ))
    }

    /// The models besides the default one that may be asked, by the names that they were granted by.
    pub fn llm_aliases(&self) -> impl Iterator<Item = &str> {
        self.llm.aliases.iter().map(String::as_str)
    }

    /// Whether it may delegate.
    ///
    /// # Errors
    /// `denied`.
    pub fn may_delegate(&self, plugin: &str) -> Result<(), Refusal> {
        if self.delegation {
            Ok(())
        } else {
            Err(taken_away(plugin, "delegate", Kind::Delegation))
        }
    }

    /// Whether it may use lessons.
    ///
    /// # Errors
    /// `denied`.
    pub fn may_lessons(&self, plugin: &str) -> Result<(), Refusal> {
        if self.lessons {
            Ok(())
        } else {
            Err(taken_away(plugin, "use lessons", Kind::Lessons))
        }
    }

    /// Whether it may call tools.
    pub fn may_call_tools(&self) -> bool {
        self.tools
    }

    /// Whether what a manifest wants is granted.
    pub fn covers(&self, wanted: &Wanted) -> bool {
        let detail = wanted.detail.as_deref();
        match wanted.kind {
            Kind::Fs if detail == Some("rw") => self.folders.values().any(FolderGrant::writable),
            Kind::Fs => !self.folders.is_empty(),
            Kind::Net => match detail.and_then(|d| d.parse::<NetRule>().ok()) {
                Some(rule) => self
                    .net
                    .iter()
                    .any(|granted| rule.within(granted) || granted.meet(&rule).as_ref() == Some(&rule)),
                None => !self.net.is_empty(),
            },
            Kind::Blackboard => match detail.map(space) {
                Some((name, access)) => {
                    let held = |rights: &SpaceRights| rights.shares.iter().any(|share| share.access >= access);
                    self.spaces.get(name).map_or(self.run_spaces, held)
                }
                None => self.run_spaces || !self.spaces.is_empty(),
            },
            Kind::Llm => detail.map_or(self.llm.default, |alias| self.llm.aliases.contains(alias)),
            Kind::Delegation => self.delegation,
            Kind::Lessons => self.lessons,
            Kind::Secret => self.covers_secret(detail),
            Kind::Terminal => false,
        }
    }
}

fn for_plugin<'a>(plugin: &'a str, allowed: &'a [Allowed]) -> impl Iterator<Item = &'a Grant> {
    allowed.iter().filter(move |a| a.is_for(plugin)).map(|a| &a.grant)
}

/// Whether a manifest's want covers a grant, in kind and in detail.
fn wants(wanted: &Wanted, grant: &Grant) -> bool {
    if wanted.kind != grant.kind() {
        return false;
    }
    match (grant, wanted.detail.as_deref()) {
        (_, None) | (Grant::Fs(_), Some("rw")) => true,
        (Grant::Net(rule), Some(detail)) => detail.parse::<NetRule>().is_ok_and(|want| rule.meet(&want).is_some()),
        (Grant::Blackboard { name, .. }, Some(detail)) => space(detail).0 == name,
        (Grant::Llm(alias), Some(detail)) => alias.as_deref() == Some(detail),
        (Grant::Secret(secret), Some(detail)) => {
            SecretGrant::parse(detail).is_ok_and(|want| secret.meet(&want).is_some())
        }
        _ => true,
    }
}

/// What of a space of the home folder a manifest asks for; none where it asks for nothing of it.
fn wanted_space(manifest: &Manifest, name: &str) -> Option<Access> {
    let wants = manifest.wants.iter().filter(|want| want.grant.kind == Kind::Blackboard);
    let wanted = wants.filter_map(|want| match want.grant.detail.as_deref().map(space) {
        None => Some(Access::Write),
        Some((wanted, access)) => (wanted == name).then_some(access),
    });
    wanted.max()
}

/// What there is of a grant for a plugin with this manifest.
fn wanted_of(grant: &Grant, manifest: &Manifest) -> Vec<Grant> {
    match manifest.wants.iter().any(|want| wants(&want.grant, grant)) {
        true => narrowed(grant, manifest),
        false => Vec::new(),
    }
}

/// What a tool gets of a grant that nothing is held back of: as much as it asks for, where it says what that is.
pub fn would_get(grant: &Grant, manifest: Option<&Manifest>) -> Vec<Grant> {
    manifest.map_or_else(|| vec![grant.clone()], |manifest| wanted_of(grant, manifest))
}

/// Whether a tool gets a grant, and gets it whole, by what its manifest asks for.
///
/// # Errors
/// Why not, in words.
pub fn asked_for(allowed: &Allowed, manifest: Option<&Manifest>) -> Result<(), String> {
    let grant = &allowed.grant;
    if allowed.two_keys && manifest.is_none() {
        let words = "it takes two keys, your word and a manifest that asks for it, and the plugin has no manifest";
        return Err(words.to_owned());
    }
    let gets = would_get(grant, manifest);
    if gets.contains(grant) {
        return Ok(());
    }
    Err(match (grant, &gets[..]) {
        (_, []) => "the plugin does not ask for it, and so would not get it".to_owned(),
        (Grant::Fs(_), _) => {
            "it would be read-only, as the plugin asks for fs and not for fs:rw; leave :rw out".to_owned()
        }
        (_, less) => {
            let less: Vec<String> = less.iter().map(Grant::to_string).collect();
            let less = less.join(", ");
            format!("the plugin asks for less and would get only {less}; give it that")
        }
    })
}

/// What a tool lacks for a grant that takes two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The operator's word for this run or this plugin: what stands in the configuration is for every plugin that will ever ask.
    Word,
    /// A manifest that asks for it.
    Manifest,
}

/// The key that a tool lacks for a grant that takes two; none where it has both, or one is enough.
pub fn missing_key(allowed: &Allowed, manifest: Option<&Manifest>) -> Option<Key> {
    match (allowed.two_keys, manifest, allowed.by) {
        (false, ..) => None,
        (true, None, _) => Some(Key::Manifest),
        (true, Some(_), GivenBy::Configuration) => Some(Key::Word),
        (true, Some(_), GivenBy::Flag | GivenBy::Approval) => None,
    }
}

/// What is left of a grant that takes two keys for a tool that has not both: a folder is read-only, and all else is held back.
pub fn with_one_key(grant: &Grant) -> Option<Grant> {
    match grant {
        Grant::Fs(folder) => Some(Grant::Fs(FolderGrant {
            access: Access::Read,
            ..folder.clone()
        })),
        _ => None,
    }
}

/// A grant as far as a manifest wants it, which wants some of it: a folder or a space is read-only for a plugin that does not ask to write; of hosts and
/// secrets there is what each thing that is asked for has in common with the grant.
fn narrowed(grant: &Grant, manifest: &Manifest) -> Vec<Grant> {
    let details = |kind| {
        manifest
            .wants
            .iter()
            .filter(move |w| w.grant.kind == kind)
            .map(|w| w.grant.detail.as_deref())
    };
    let all = |kind| details(kind).any(|d| d.is_none());
    match grant {
        Grant::Fs(folder) if !details(Kind::Fs).any(|d| d == Some("rw")) => vec![Grant::Fs(FolderGrant {
            access: Access::Read,
            ..folder.clone()
        })],
        Grant::Blackboard { name, access } => vec![Grant::Blackboard {
            name: name.clone(),
            access: wanted_space(manifest, name).map_or(*access, |most| most.min(*access)),
        }],
        Grant::Net(rule) if !all(Kind::Net) => {
            let met = details(Kind::Net).flatten().filter_map(|d| rule.meet(&d.parse().ok()?));
            met.map(Grant::Net).collect()
        }
        Grant::Secret(secret) if !all(Kind::Secret) => {
            let wanted = details(Kind::Secret).flatten();
            let met = wanted.filter_map(|d| secret.meet(&SecretGrant::parse(d).ok()?));
            met.map(Grant::Secret).collect()
        }
        other => vec![other.clone()],
    }
}

/// Why no right opens a space.
const UNNAMEABLE: &str = "no grant names such a space";

/// The least right by which a space of the home folder can be used so; none where no grant names it.
fn right_to(name: &str, access: Access) -> Option<String> {
    let grant = Grant::Blackboard {
        name: name.to_owned(),
        access,
    };
    is_name(name).then(|| grant.to_string())
}

fn denied(plugin: &str, lack: Lack) -> Refusal {
    let (what, offer) = (&lack.what, remedy::offer(lack.right.as_deref()));
    let words = format!("{plugin} may not {what}: it holds no grant for it{offer}");
    Refusal::denied(words).about(lack)
}

fn taken_away(plugin: &str, what: &str, kind: Kind) -> Refusal {
    let kind = kind.name();
    let words =
        format!("{plugin} may not {what}: that was taken away from the run, or is not among what its parent gave it");
    Refusal::denied(words).about(Lack {
        what: what.to_owned(),
        target: kind.to_owned(),
        right: Some(kind.to_owned()),
        why: None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn folder(name: &str, dir: &str, access: Access) -> Grant {
        Grant::Fs(FolderGrant {
            name: name.to_owned(),
            dir: dir.into(),
            access,
        })
    }

    pub(super) fn all(grants: Vec<Grant>) -> Vec<Allowed> {
        grants
            .into_iter()
            .map(|grant| Allowed {
                two_keys: matches!(&grant, Grant::Net(rule) if rule.is_everything()),
                plugin: None,
                grant,
                by: GivenBy::Flag,
            })
            .collect()
    }

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text).expect("a manifest")
    }

    #[test]
    fn a_root_has_its_defaults_and_no_more() {
        let root = Rights::root("r", &[], &[], None).expect("rights");
        assert!(root.may_llm("r", None).is_ok() && root.may_delegate("r").is_ok());
        assert!(root.may_entry("r", "notes", "k", Access::Write).is_ok());
        assert!(!root.brings("filesystem") && !root.brings("web") && root.brings("code_execution"));
        let less = Rights::root("r", &[], &[Kind::Llm, Kind::Blackboard], None).expect("rights");
        let denial = less.may_llm("r", None).expect_err("denied");
        assert!(denial.message.contains("--allow llm"), "{denial}");
        assert!(less.may_open("r", "notes").is_err());
    }

    #[test]
    fn a_root_gets_the_spaces_and_models_that_it_wants_of_what_is_granted() {
        let space = Grant::Blackboard {
            name: "shared".to_owned(),
            access: Access::Write,
        };
        let grants = all(vec![
            space,
            Grant::Llm(Some("fast".to_owned())),
            folder("p", "/p", Access::Read),
        ]);
        let root = |wants: &str| {
            let manifest = manifest(&format!("name = \"r\"\n{wants}"));
            Rights::root("r", &grants, &[], Some(&manifest)).expect("rights")
        };
        let nothing = root("");
        assert!(!nothing.spaces.contains_key("shared") && nothing.llm.aliases.is_empty());
        assert!(nothing.brings("filesystem"), "its tools' own manifests are asked");
        let reads = root("[[wants]]\ngrant = \"blackboard:shared:ro\"\n");
        let may = |access| reads.may_entry("r", "shared", "k", access).is_ok();
        assert!(
            may(Access::Read) && !may(Access::Write),
            "it asks for no more than to read there"
        );
        let want = |detail: &str| Wanted {
            kind: Kind::Blackboard,
            detail: Some(detail.to_owned()),
        };
        assert!(reads.covers(&want("shared:ro")) && !reads.covers(&want("shared")));
        let both = root("[[wants]]\ngrant = \"blackboard:shared\"\n[[wants]]\ngrant = \"llm:fast\"\n");
        assert!(both.spaces.contains_key("shared") && both.llm.aliases.contains("fast"));
    }

    #[test]
    fn an_agent_keeps_of_what_it_is_given_what_it_wants() {
        let space = Grant::Blackboard {
            name: "shared".to_owned(),
            access: Access::Write,
        };
        let given = all(vec![
            space,
            Grant::Llm(Some("fast".to_owned())),
            folder("p", "/p", Access::Read),
        ]);
        let given = Rights::root("r", &given, &[], None).expect("rights");
        let kept = |wants: &str| {
            let manifest = manifest(&format!("name = \"c\"\n{wants}"));
            given.clone().as_wanted(Some(&manifest))
        };
        let alone = all(vec![folder("p", "/p", Access::Read)]);
        let alone = Rights::root("r", &alone, &[], None).expect("rights");
        assert_eq!(kept(""), alone, "its tools' own manifests are asked");
        let both = "[[wants]]\ngrant = \"blackboard:shared\"\n[[wants]]\ngrant = \"llm:fast\"\n";
        assert_eq!(kept(both), given);
        let reads = kept("[[wants]]\ngrant = \"blackboard:shared:ro\"\n");
        let may = |access| reads.may_entry("c", "shared", "k", access).is_ok();
        assert!(may(Access::Read) && !may(Access::Write));
        assert_eq!(
            kept("[[wants]]\ngrant = \"blackboard\"\n[[wants]]\ngrant = \"llm\"\n"),
            given
        );
        assert_eq!(given.clone().as_wanted(None), given);
    }

    #[test]
    fn a_tool_gets_what_it_wants_of_what_is_granted() {
        let grants = all(vec![
            folder("p", "/p", Access::Write),
            Grant::Net("x.org".parse().expect("a rule")),
        ]);
        let reads = manifest("name = \"files\"\n[[wants]]\ngrant = \"fs\"\n");
        let files = Rights::tool("files", &grants, Some(&reads)).expect("rights");
        assert!(files.net_rules().is_empty());
        assert_eq!(files.folders()[0].access, Access::Read, "it did not ask to write");
        let unsaid = Rights::tool("any", &grants, None).expect("rights");
        assert_eq!((unsaid.folders().len(), unsaid.net_rules().len()), (1, 1));
    }

    #[test]
    fn of_models_a_tool_gets_those_that_it_wants() {
        let grants = all(vec![Grant::Llm(None), Grant::Llm(Some("cheap".to_owned()))]);
        for (wants, default, cheap) in [
            ("llm", true, true),
            ("llm:cheap", false, true),
            ("lessons", false, false),
        ] {
            let manifest = manifest(&format!("name = \"t\"\n[[wants]]\ngrant = \"{wants}\"\n"));
            let rights = Rights::tool("t", &grants, Some(&manifest)).expect("rights");
            let may = [None, Some("cheap")].map(|alias| rights.may_llm("t", alias).is_ok());
            assert_eq!(may, [default, cheap], "{wants}");
        }
    }

    #[test]
    fn of_two_folders_the_inner_one_is_common() {
        let rights = |grants| Rights::tool("t", &all(grants), None).expect("rights");
        let tool = rights(vec![folder("papers", "/papers", Access::Write)]);
        let child = rights(vec![folder("a", "/papers/a", Access::Read)]);
        for cut in [tool.cut(&child), child.cut(&tool)] {
            let [common] = &cut.folders()[..] else {
                panic!("{cut:?}")
            };
            assert_eq!((&*common.name, common.access), ("a", Access::Read));
            assert_eq!(common.dir, std::path::Path::new("/papers/a"));
        }
        let other = rights(vec![folder("papers2", "/papers2", Access::Read)]);
        assert!(tool.cut(&other).folders().is_empty());
    }

    #[test]
    fn of_hosts_and_secrets_a_tool_gets_each_that_it_wants() {
        let secret = |text| Grant::Secret(SecretGrant::parse(text).expect(text));
        let net = Grant::Net("*.x.org".parse().expect("a rule"));
        let grants = all(vec![net, secret("k@*.x.org"), secret("other@x.org")]);
        let wants = |wants: &[&str]| {
            let wants = wants.iter().map(|want| format!("[[wants]]\ngrant = \"{want}\"\n"));
            let manifest = manifest(&format!("name = \"t\"\n{}", wants.collect::<String>()));
            Rights::tool("t", &grants, Some(&manifest)).expect("rights")
        };
        let held = |rights: &Rights| rights.secrets().map(ToString::to_string).collect::<Vec<_>>();
        let two = wants(&[
            "net:a.x.org",
            "net:b.x.org",
            "secret:k@a.x.org",
            "secret:k@b.x.org",
            "secret:k@y.org",
        ]);
        assert_eq!(two.net_rules().len(), 2);
        assert_eq!(held(&two), ["k@a.x.org", "k@b.x.org"]);
        assert_eq!(held(&wants(&["secret"])), ["k@*.x.org", "other@x.org"]);
        assert!(held(&wants(&["net"])).is_empty());
        let want = |text: &str| Manifest::parse(&format!("name = \"t\"\n[[wants]]\ngrant = \"{text}\"")).expect(text);
        for (text, covered) in [
            ("secret", true),
            ("secret:k@a.x.org", true),
            ("secret:k@y.org", false),
            ("secret:l@x.org", false),
        ] {
            assert_eq!(two.covers(&want(text).wants[0].grant), covered, "{text}");
        }
        let mut less = two.clone();
        less.take_away(&[Kind::Secret]);
        assert!(held(&less).is_empty() && two.reaches_beyond_its_run());
    }

    #[test]
    fn the_whole_network_needs_two_keys() {
        let grants = all(vec![Grant::Net("*".parse().expect("a rule"))]);
        assert!(
            Rights::tool("any", &grants, None)
                .expect("rights")
                .net_rules()
                .is_empty()
        );
        let asks = manifest("name = \"web\"\n[[wants]]\ngrant = \"net\"\n");
        assert_eq!(
            Rights::tool("web", &grants, Some(&asks))
                .expect("rights")
                .net_rules()
                .len(),
            1
        );
    }

    #[test]
    fn writing_where_two_keys_are_needed_takes_a_manifest_that_asks() {
        let mut grants = all(vec![folder("srv", "/srv", Access::Write)]);
        let access = |grants: &[Allowed], manifest: Option<&Manifest>| {
            Rights::tool("t", grants, manifest).expect("rights").folders()[0].access
        };
        assert_eq!(access(&grants, None), Access::Write, "one key is enough");
        grants[0].two_keys = true;
        assert_eq!(access(&grants, None), Access::Read);
        let asks = manifest("name = \"t\"\n[[wants]]\ngrant = \"fs:rw\"\n");
        assert_eq!(access(&grants, Some(&asks)), Access::Write);
        let root = Rights::root("r", &grants, &[], None).expect("rights");
        assert_eq!(root.folders()[0].access, Access::Write, "its tools are asked");
    }

    #[test]
    fn what_the_configuration_says_is_no_word_for_what_takes_two_keys() {
        let asks = manifest("name = \"t\"\n[[wants]]\ngrant = \"net\"\n[[wants]]\ngrant = \"fs:rw\"\n");
        let of = |by| {
            let mut grants = all(vec![
                Grant::Net("*".parse().expect("a rule")),
                Grant::Net("x.org".parse().expect("a rule")),
                folder("srv", "/srv", Access::Write),
            ]);
            grants[2].two_keys = true;
            grants.iter_mut().for_each(|allowed| allowed.by = by);
            grants
        };
        for (by, rules, access) in [
            (GivenBy::Flag, 2, Access::Write),
            (GivenBy::Approval, 2, Access::Write),
            (GivenBy::Configuration, 1, Access::Read),
        ] {
            let tool = ToolRights::new("t", &of(by), &of(by)[..2], Some(&asks)).expect("rights");
            let whole = tool.whole();
            assert_eq!(
                (whole.net_rules().len(), whole.folders()[0].access),
                (rules, access),
                "{by:?}"
            );
            let own = tool.called_by(&Rights::none());
            assert_eq!(own.net_rules().len(), rules, "{by:?}, as its own");
        }
        // A word that is meant for it beside the configuration's is enough.
        let both = [of(GivenBy::Configuration), of(GivenBy::Flag)].concat();
        let tool = Rights::tool("t", &both, Some(&asks)).expect("rights");
        assert_eq!((tool.net_rules().len(), tool.folders()[0].access), (2, Access::Write));
        // What an agent has goes to tools alone, each of which is asked.
        let root = Rights::root("r", &of(GivenBy::Configuration), &[], None).expect("rights");
        assert_eq!(root.folders()[0].access, Access::Write);
    }

    #[test]
    fn two_folders_of_one_name_are_refused() {
        let grants = all(vec![
            folder("p", "/a/p", Access::Read),
            folder("p", "/b/p", Access::Read),
        ]);
        assert!(Rights::root("r", &grants, &[], None).is_err());
    }

    fn any_grant() -> impl Strategy<Value = Grant> {
        let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
        prop_oneof![
            (prop_oneof![Just("/a"), Just("/a/b"), Just("/c")], access.clone())
                .prop_map(|(dir, access)| { folder(&dir.replace('/', "_"), dir, access) }),
            prop_oneof![
                Just("x.org"),
                Just("*.x.org"),
                Just("GET@a.x.org"),
                Just("http://127.0.0.1"),
                Just("GET,POST@x.org")
            ]
            .prop_map(|rule| Grant::Net(rule.parse().expect("a rule"))),
            (prop_oneof![Just("s"), Just("t")], access).prop_map(|(name, access)| Grant::Blackboard {
                name: name.to_owned(),
                access
            }),
            prop_oneof![Just(None), Just(Some("fast".to_owned()))].prop_map(Grant::Llm),
            prop_oneof![
                Just("k@x.org"),
                Just("k@*.x.org"),
                Just("k@a.x.org"),
                Just("l@x.org"),
                Just("k@x.org:81")
            ]
            .prop_map(|secret| Grant::Secret(SecretGrant::parse(secret).expect("a secret"))),
        ]
    }

    fn any_rights() -> impl Strategy<Value = Rights> {
        proptest::collection::vec(any_grant(), 0..6).prop_filter_map("two folders of one name", |grants| {
            Rights::tool("t", &all(grants), None).ok()
        })
    }

    fn holds(rights: &Rights, other: &Rights) -> bool {
        rights.folders().iter().all(|f| {
            other
                .folders()
                .iter()
                .any(|o| f.dir.starts_with(&o.dir) && f.access <= o.access)
        }) && rights
            .net_rules()
            .iter()
            .all(|r| other.net_rules().iter().any(|o| r.within(o)))
            && rights.secrets().all(|s| other.secrets().any(|o| s.within(o)))
            && rights.spaces.iter().all(|(name, mine)| {
                other.spaces.get(name).map_or(other.run_spaces && !mine.home, |theirs| {
                    let covered = |share| theirs.shares.iter().any(|o| o.covers(share));
                    theirs.home == mine.home && mine.shares.iter().all(covered)
                })
            })
            && (!rights.run_spaces || other.run_spaces)
            && (!rights.delegation || other.delegation)
            && (!rights.lessons || other.lessons)
            && (!rights.tools || other.tools)
            && (!rights.llm.default || other.llm.default)
            && rights.llm.aliases.is_subset(&other.llm.aliases)
    }

    proptest! {
        #[test]
        fn a_cut_never_widens(a in any_rights(), b in any_rights()) {
            let cut = a.cut(&b);
            prop_assert!(holds(&cut, &a), "{cut:?} within {a:?}");
            prop_assert!(holds(&cut, &b), "{cut:?} within {b:?}");
            prop_assert_eq!(cut.cut(&cut), cut.clone());
            prop_assert_eq!(a.cut(&Rights::none()), Rights::none());
        }
    }
}
