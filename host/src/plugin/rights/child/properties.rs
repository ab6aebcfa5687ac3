//! What holds for any tree of agents, whatever each asks for its children, and any tools that they call. What somebody may do is tried thing by thing:
//! entries, folders, requests, secrets, models and the rest.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use url::Url;

use super::*;
use crate::error::RefusalKind;
use crate::plugin::grant::{Allowed, GivenBy, Grant};
use crate::plugin::rights::{Caller, ToolRights};

/// The name of any tool.
const TOOL: &str = "tool";
const AGENTS: usize = 8;
const DEPTH: usize = 5;
const SPACES: [&str; 3] = ["notes", "shared", SPILL_SPACE];
const FOLDERS: [&str; 4] = ["a", "a/b", "a/b/c", "d"];
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "PURGE"];
const URLS: [&str; 7] = [
    "https://x.org/",
    "https://a.x.org/",
    "https://b.a.x.org/",
    "https://y.org/",
    "https://x.org:8443/",
    "http://x.org/",
    "https://127.0.0.1/",
];
const RULES: [&str; 9] = [
    "net:x.org",
    "net:GET@x.org",
    "net:GET,POST@x.org",
    "net:*.x.org",
    "net:GET@*.a.x.org",
    "net:http://x.org",
    "net:x.org:8443",
    "net:*",
    "net:127.0.0.1",
];
/// Where one of them gives less than another, a request to one of [`URLS`] tells it.
const SECRETS: [&str; 6] = [
    "secret:k@x.org",
    "secret:k@*.x.org",
    "secret:k@a.x.org",
    "secret:k@x.org:8443",
    "secret:l@x.org",
    "secret:l@y.org",
];
/// What a tool may be granted beside rules and secrets; its own are never folders.
const FOLDERS_OF_TOOLS: [&str; 4] = ["fs:a", "fs:a:rw", "fs:a/b:rw", "fs:d"];
const OTHERS_OF_TOOLS: [&str; 6] = [
    "blackboard:shared",
    "blackboard:shared:rw",
    "blackboard:notes:rw",
    "llm",
    "llm:fast",
    "llm:deep",
];
/// The root's own, and two aliases.
const MODELS: [&str; 3] = ["usual", "fast", "deep"];

/// One thing that an agent may do or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    /// With an entry of a space, the home folder's or the run's.
    Entry(&'static str, bool, String, Access),
    Folder(&'static str, Access),
    Request(&'static str, &'static str),
    /// To have this secret put into a request to there.
    Secret(&'static str, &'static str),
    Model(&'static str),
    Delegate,
    Lessons,
    Tools,
}

fn deeds() -> Vec<Deed> {
    let accesses = [Access::Read, Access::Write];
    let spills = (1..AGENTS).flat_map(|n| [n.to_string(), format!("{n}/7/0001")]);
    let keys = ["", "a", "a/", "a/b", "a/b/c", "ab", "b"]
        .map(str::to_owned)
        .into_iter()
        .chain(spills);
    let mut deeds = vec![Deed::Delegate, Deed::Lessons, Deed::Tools];
    for key in keys {
        for (space, access) in SPACES.iter().flat_map(|space| accesses.map(|access| (space, access))) {
            deeds.extend([true, false].map(|home| Deed::Entry(space, home, key.clone(), access)));
        }
    }
    deeds.extend(
        FOLDERS
            .iter()
            .flat_map(|dir| accesses.map(|access| Deed::Folder(dir, access))),
    );
    deeds.extend(
        URLS.iter()
            .flat_map(|url| METHODS.map(|method| Deed::Request(method, url))),
    );
    deeds.extend(
        URLS.iter()
            .flat_map(|url| ["k", "l"].map(|name| Deed::Secret(name, url))),
    );
    deeds.extend(MODELS.map(Deed::Model));
    deeds
}

/// A folder that is asked for: by a path of the operator's, or below one of those that the parent sees.
#[derive(Debug, Clone)]
struct FolderWish {
    name: Option<&'static str>,
    seen: Option<Index>,
    path: &'static str,
    access: Access,
}

/// What a spec says of rights.
#[derive(Debug, Clone)]
struct Spec {
    spaces: Vec<SpaceWish>,
    folders: Vec<FolderWish>,
    grants: Vec<&'static str>,
    model: Option<&'static str>,
}

impl Spec {
    fn names(&self, kind: &str) -> bool {
        let named = self.grants.iter().any(|grant| grant.split(':').next() == Some(kind));
        named || kind == "fs" && !self.folders.is_empty()
    }
}

struct Agent {
    parent: Option<usize>,
    rights: Rights,
    model: &'static str,
    may: BTreeSet<Deed>,
}

/// A tool that any agent may call.
struct Tool {
    rights: ToolRights,
    /// Of these it has what its caller has too.
    shared: Rights,
    own: Rights,
}

impl Tool {
    /// With these grants of the operator's.
    fn new(shared: &[&'static str], own: &[&'static str], root: &Path) -> Self {
        let of = |texts: &[&str]| -> Vec<Allowed> { texts.iter().map(|text| all(grant(text, root))).collect() };
        let (shared, own) = (of(shared), of(own));
        let rights = |allowed: &[Allowed]| Rights::tool(TOOL, allowed, None).expect("rights");
        Self {
            rights: ToolRights::new(TOOL, &shared, &own, None).expect("rights"),
            shared: rights(&shared),
            own: rights(&own),
        }
    }
}

struct Tree {
    root: PathBuf,
    deeds: Vec<Deed>,
    agents: Vec<Agent>,
}

impl Tree {
    /// What whoever has these rights may do, where `model` is the default model.
    fn may(&self, rights: &Rights, model: &str) -> BTreeSet<Deed> {
        let may = |deed: &&Deed| match deed {
            Deed::Entry(space, home, key, access) => {
                rights.space_is_home(space) == *home && rights.may_entry("a", space, key, *access).is_ok()
            }
            Deed::Folder(dir, access) => holds(rights, &self.root.join(dir), *access),
            Deed::Request(method, url) => reaches(&rights.net_rules(), method, url),
            Deed::Secret(name, url) => rights.secrets().any(|secret| puts(secret, name, url)),
            Deed::Model(name) => {
                let own = *name == model && rights.may_llm("a", None).is_ok();
                own || rights.may_llm("a", Some(name)).is_ok()
            }
            Deed::Delegate => rights.may_delegate("a").is_ok(),
            Deed::Lessons => rights.may_lessons("a").is_ok(),
            Deed::Tools => rights.may_call_tools(),
        };
        self.deeds.iter().filter(may).cloned().collect()
    }

    fn add(&mut self, parent: Option<usize>, rights: Rights, model: &'static str) {
        let may = self.may(&rights, model);
        self.agents.push(Agent {
            parent,
            rights,
            model,
            may,
        });
    }

    /// The agent and all above it.
    fn line(&self, agent: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(agent), |at| self.agents[*at].parent)
    }

    /// A folder's grant, where it leads by its words, and where it is.
    fn folder(&self, parent: &Agent, wish: &FolderWish) -> (String, PathBuf, Option<PathBuf>) {
        let seen = parent.rights.folders();
        let seen = wish
            .seen
            .filter(|_| !seen.is_empty())
            .map(|which| which.get(&seen).clone());
        let base = seen.as_ref().map_or(&self.root, |folder| &folder.dir);
        let path = seen
            .as_ref()
            .map_or(wish.path.to_owned(), |folder| format!("/{}/{}", folder.name, wish.path));
        let name = wish.name.map(|name| format!("{name}=")).unwrap_or_default();
        let rw = if wish.access == Access::Write { ":rw" } else { "" };
        let at = base.join(wish.path);
        let above = at.parent().and_then(|above| above.canonicalize().ok());
        let words = above
            .zip(at.file_name())
            .map_or(at.clone(), |(above, last)| above.join(last));
        (format!("fs:{name}{path}{rw}"), words, at.canonicalize().ok())
    }

    /// Takes out of a spec what the parent has not, and says how each is called.
    fn lacking(&self, parent: &Agent, spec: &mut Spec) -> Vec<String> {
        let mut lacking = Vec::new();
        let mut has = |has: bool, name: String| {
            if !has {
                lacking.push(name);
            }
            has
        };
        spec.spaces.retain(|wish| {
            let mut asked = self.deeds.iter().filter(|deed| asks_entry(wish, deed));
            let held = asked.all(|deed| parent.may.contains(deed) || parent.may.contains(&elsewhere(deed)));
            let ro = if wish.access == Access::Read { ":ro" } else { "" };
            has(held, format!("blackboard:{}{ro}", wish.space))
        });
        spec.folders.retain(|wish| {
            let (text, words, dir) = self.folder(parent, wish);
            let held = |dir: &Path| holds(&parent.rights, dir, wish.access);
            has(held(&words) && dir.is_some_and(|dir| held(&dir)), text)
        });
        spec.grants
            .retain(|grant| has(self.has(parent, grant), (*grant).to_owned()));
        lacking
    }

    fn has(&self, parent: &Agent, grant: &str) -> bool {
        match grant.split_once(':') {
            Some((_, "none")) => true,
            None if grant == "llm" => parent.rights.may_llm("a", None).is_ok(),
            Some(("llm", alias)) => parent.rights.may_llm("a", Some(alias)).is_ok(),
            // It is one rule that has to hold it.
            Some(("net", _)) => parent.rights.net_rules().into_iter().any(|rule| {
                let mut asked = self.deeds.iter().filter(|deed| asks(grant, deed));
                asked.all(|deed| matches!(deed, Deed::Request(m, u) if reaches(std::slice::from_ref(&rule), m, u)))
            }),
            Some(("secret", _)) => parent.rights.secrets().any(|held| {
                let mut asked = self.deeds.iter().filter(|deed| asks(grant, deed));
                asked.all(|deed| matches!(deed, Deed::Secret(name, url) if puts(held, name, url)))
            }),
            Some(_) => false,
            None => self
                .deeds
                .iter()
                .filter(|deed| asks(grant, deed))
                .all(|deed| parent.may.contains(deed)),
        }
    }

    /// What a child may do that gets all that it asks for.
    fn expected(&self, parent: &Agent, spec: &Spec) -> BTreeSet<Deed> {
        let own_texts = self.agents.len().to_string();
        let folders: Vec<PathBuf> = spec
            .folders
            .iter()
            .filter_map(|wish| self.folder(parent, wish).2)
            .collect();
        let may = |deed: &&Deed| match deed {
            Deed::Entry(space, home, key, access) => {
                let asked = spec.spaces.iter().any(|wish| asks_entry(wish, deed));
                let own = *space == SPILL_SPACE && *access == Access::Read && is_below(&own_texts, key);
                (asked || own) && parent.rights.space_is_home(space) == *home
            }
            Deed::Folder(dir, access) if spec.names("fs") => {
                let mut asked = folders.iter().zip(&spec.folders);
                asked.any(|(folder, wish)| self.root.join(dir).starts_with(folder) && wish.access >= *access)
            }
            Deed::Model(name) => {
                let alias = match spec.names("llm") {
                    true => spec.grants.iter().any(|grant| asks(grant, deed)),
                    false => parent.rights.may_llm("a", Some(name)).is_ok(),
                };
                let default = match spec.names("llm") {
                    true => spec.grants.contains(&"llm"),
                    false => parent.rights.may_llm("a", None).is_ok(),
                };
                let own = *name == spec.model.unwrap_or(parent.model);
                alias || own && (default || spec.model.is_some())
            }
            Deed::Request(..) if spec.names("net") => spec.grants.iter().any(|grant| asks(grant, deed)),
            Deed::Secret(..) if spec.names("secret") => spec.grants.iter().any(|grant| asks(grant, deed)),
            Deed::Delegate if spec.names("delegation") => spec.grants.contains(&"delegation"),
            Deed::Lessons if spec.names("lessons") => spec.grants.contains(&"lessons"),
            _ => parent.may.contains(deed),
        };
        self.deeds.iter().filter(may).cloned().collect()
    }

    fn child(&self, parent: &Agent, spec: &Spec) -> Result<Rights, Refusal> {
        let folders = spec.folders.iter().map(|wish| self.folder(parent, wish).0);
        let grants: Vec<String> = folders
            .chain(spec.grants.iter().map(|grant| (*grant).to_owned()))
            .collect();
        parent.rights.for_child(&Wishes {
            parent: "boss",
            spaces: &spec.spaces,
            grants: &grants,
            cwd: &self.root,
        })
    }

    /// As the supervisor does it: refused with the name of something that is lacking; what the parent has is given as it was asked for.
    fn spawn(&mut self, parent: usize, mut spec: Spec) -> Result<(), TestCaseError> {
        let (number, boss) = (self.agents.len(), &self.agents[parent]);
        let delegates = boss.rights.may_delegate("boss").is_ok();
        if number == AGENTS || self.line(parent).count() == DEPTH || !delegates {
            return Ok(());
        }
        let all = spec.clone();
        let lacking = self.lacking(boss, &mut spec);
        if !lacking.is_empty() {
            let refused = self.child(boss, &all);
            prop_assert!(refused.is_err(), "it lacks {lacking:?}: {refused:?}");
            let refusal = refused.expect_err("refused");
            let named = lacking.iter().any(|what| refusal.message.contains(what));
            let is_denied = refusal.kind == RefusalKind::Denied && named;
            prop_assert!(is_denied || is_clash(&refusal, &all), "{refusal}: {lacking:?}");
        }
        spec.model = spec.model.filter(|name| boss.may.contains(&Deed::Model(name)));
        let mut rights = match self.child(boss, &spec) {
            Ok(rights) => rights,
            Err(refusal) => {
                prop_assert!(is_clash(&refusal, &spec), "it has all: {refusal}");
                return Ok(());
            }
        };
        let expected = self.expected(boss, &spec);
        let model = spec.model.unwrap_or(boss.model);
        if spec.model.is_some() {
            rights = rights.with_default_model();
        }
        self.add(Some(parent), rights.with_spill(&number.to_string()), model);
        prop_assert_eq!(&self.agents[number].may, &expected);
        Ok(())
    }

    /// An agent's own texts that were too long for it apart.
    fn none_may_what_an_ancestor_may_not(&self) -> Result<(), TestCaseError> {
        for agent in 0..self.agents.len() {
            let mut own = Vec::new();
            for above in self.line(agent) {
                let (mine, theirs) = (&self.agents[agent].may, &self.agents[above].may);
                for deed in mine.difference(theirs) {
                    let is_own = matches!(deed, Deed::Entry(SPILL_SPACE, false, key, Access::Read)
                        if own.iter().any(|number: &String| is_below(number, key)));
                    prop_assert!(is_own, "{agent} may {deed:?}, and {above} may not");
                }
                own.push(above.to_string());
            }
        }
        Ok(())
    }

    /// In a call of an agent a tool may do what both may, and what is its own; what another one may do in a call of that tool is among that.
    fn no_tool_may_more_than_its_caller_but_what_is_its_own(&self, tools: &[Tool]) -> Result<(), TestCaseError> {
        for (agent, tool) in self
            .agents
            .iter()
            .flat_map(|agent| tools.iter().map(move |tool| (agent, tool)))
        {
            let held = tool.rights.in_call_of(Caller::Agent, &agent.rights);
            let may = self.may(&held, agent.model);
            let (shared, own) = (self.may(&tool.shared, agent.model), self.may(&tool.own, agent.model));
            for deed in &may {
                let is_held = agent.may.contains(deed) || own.contains(deed);
                prop_assert!(is_held, "it may {deed:?}, and its caller may not");
            }
            for deed in &self.deeds {
                // A model has two names, by which it is not the same right.
                let both = shared.contains(deed) && agent.may.contains(deed) && !matches!(deed, Deed::Model(_));
                let is_due = both || own.contains(deed);
                prop_assert!(
                    !is_due || may.contains(deed),
                    "it may not {deed:?}, and both may, or it is its own"
                );
                let is_given = shared.contains(deed) || own.contains(deed) || matches!(deed, Deed::Model(_));
                prop_assert!(
                    is_given || !may.contains(deed),
                    "it may {deed:?}, which it was not given"
                );
            }
            for inner in tools {
                let inner = self.may(&inner.rights.in_call_of(Caller::Tool, &held), agent.model);
                let more: Vec<&Deed> = inner.difference(&may).collect();
                prop_assert!(more.is_empty(), "called by a tool it may {more:?}, and that may not");
            }
        }
        Ok(())
    }
}

/// That two folders would have one name, which is no matter of rights.
fn is_clash(refusal: &Refusal, spec: &Spec) -> bool {
    refusal.kind == RefusalKind::InvalidInput
        && spec.folders.len() > 1
        && refusal.message.contains("Two folders would be /")
}

fn holds(rights: &Rights, dir: &Path, access: Access) -> bool {
    let folders = rights.folders();
    folders
        .iter()
        .any(|folder| dir.starts_with(&folder.dir) && folder.access >= access)
}

/// An address of this machine is reached by its own name only.
fn reaches(rules: &[NetRule], method: &str, url: &str) -> bool {
    let url: Url = url.parse().expect("a URL");
    let local = url.host_str() == Some("127.0.0.1");
    rules
        .iter()
        .any(|rule| rule.allows(method, &url) && (!local || rule.names(&url)))
}

fn puts(secret: &SecretGrant, name: &str, url: &str) -> bool {
    secret.name == name && secret.hosts.allows(&url.parse().expect("a URL"))
}

fn is_below(prefix: &str, key: &str) -> bool {
    let whole = prefix.trim_end_matches('/');
    prefix.is_empty() || key == prefix || key.starts_with(&format!("{whole}/"))
}

fn asks_entry(wish: &SpaceWish, deed: &Deed) -> bool {
    matches!(deed, Deed::Entry(space, _, key, access)
        if *space == wish.space && *access <= wish.access && is_below(&wish.prefix, key))
}

/// The same in the other of a name's two spaces, of which an agent has but one.
fn elsewhere(deed: &Deed) -> Deed {
    match deed {
        Deed::Entry(space, home, key, access) => Deed::Entry(space, !home, key.clone(), *access),
        other => other.clone(),
    }
}

/// Whether a grant asks for this, folders and the default model apart.
fn asks(grant: &str, deed: &Deed) -> bool {
    match (grant.split_once(':').unwrap_or((grant, "")), deed) {
        ((_, "none"), _) => false,
        (("net", rule), Deed::Request(method, url)) => reaches(&[rule.parse().expect("a rule")], method, url),
        (("secret", secret), Deed::Secret(name, url)) => puts(&SecretGrant::parse(secret).expect("one"), name, url),
        (("llm", alias), Deed::Model(name)) => alias == *name,
        (("delegation", _), Deed::Delegate) | (("lessons", _), Deed::Lessons) => true,
        _ => false,
    }
}

fn any_access() -> impl Strategy<Value = Access> {
    select(vec![Access::Read, Access::Write])
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let prefixes = ["", "a", "a/", "a/b", "ab", "1", "2", "3"];
    let space =
        (select(&SPACES[..]), select(prefixes.to_vec()), any_access()).prop_map(|(space, prefix, access)| SpaceWish {
            space: space.to_owned(),
            prefix: prefix.to_owned(),
            access,
        });
    let name = proptest::option::of(select(vec!["x", "y", "z"]));
    let by_path = (
        Just(None),
        select(vec!["a", "./a/b", "a/b/c", "d", "a/out", "a/../d", "nothing", "/etc"]),
    );
    let as_seen = (
        any::<Index>().prop_map(Some),
        select(vec!["", "b", "./b/c", "../d", "out"]),
    );
    let folder =
        (name, prop_oneof![by_path, as_seen], any_access()).prop_map(|(name, (seen, path), access)| FolderWish {
            name,
            seen,
            path,
            access,
        });
    let others = vec![
        "fs:none",
        "net:none",
        "llm",
        "llm:fast",
        "llm:deep",
        "llm:none",
        "delegation",
        "delegation:none",
        "lessons",
        "lessons:none",
        "blackboard:none",
        "secret:none",
        "terminal:none",
        "terminal:sh",
    ];
    let grant = prop_oneof![select(&RULES[..]), select(&SECRETS[..]), select(others)];
    (
        proptest::collection::vec(space, 0..4),
        proptest::collection::vec(folder, 0..3),
        proptest::collection::vec(grant, 0..4),
        proptest::option::of(select(&MODELS[..])),
    )
        .prop_map(|(spaces, folders, grants, model)| Spec {
            spaces,
            folders,
            grants,
            model,
        })
}

/// What the operator allows.
#[derive(Debug)]
struct Given {
    /// Everybody: folders, rules, secrets and models.
    folders: Vec<(&'static str, Access)>,
    others: Vec<&'static str>,
    shared: Option<Access>,
    /// One tool alone: rules and secrets, of which no agent hears.
    of_a_tool: Vec<&'static str>,
    /// What is taken away from the root.
    denied: Vec<Kind>,
}

fn any_root() -> impl Strategy<Value = Given> {
    let others = [&RULES[..], &SECRETS[..], &["llm:fast", "llm:deep"]].concat();
    let kinds = vec![Kind::Llm, Kind::Blackboard, Kind::Lessons, Kind::Secret];
    (
        proptest::collection::vec((select(&FOLDERS[..]), any_access()), 0..3),
        subsequence(others, 0..=RULES.len()),
        proptest::option::of(any_access()),
        subsequence([&RULES[..], &SECRETS[..]].concat(), 0..4),
        proptest::collection::vec(select(kinds), 0..2),
    )
        .prop_map(|(folders, others, shared, of_a_tool, denied)| Given {
            folders,
            others,
            shared,
            of_a_tool,
            denied,
        })
}

/// What a tool is granted, and what is its own.
fn any_tool() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>)> {
    let own = [&RULES[..], &SECRETS[..], &OTHERS_OF_TOOLS[..]].concat();
    let shared = [&own[..], &FOLDERS_OF_TOOLS[..]].concat();
    let half = own.len() / 2;
    (subsequence(shared, 0..=half), subsequence(own, 0..4))
}

/// A grant in the operator's notation, but that a space is read-only like a folder where nothing else is said.
fn grant(text: &str, root: &Path) -> Grant {
    let (kind, what) = text.split_once(':').unwrap_or((text, ""));
    let (place, access) = match what.strip_suffix(":rw") {
        Some(place) => (place, Access::Write),
        None => (what, Access::Read),
    };
    match kind {
        "fs" => Grant::Fs(FolderGrant {
            name: place.replace('/', "-"),
            dir: root.join(place),
            access,
        }),
        "blackboard" => Grant::Blackboard {
            name: place.to_owned(),
            access,
        },
        "net" => Grant::Net(what.parse().expect("a rule")),
        "secret" => Grant::Secret(SecretGrant::parse(what).expect("a secret")),
        _ => Grant::Llm(Some(what).filter(|alias| !alias.is_empty()).map(str::to_owned)),
    }
}

/// It, for whoever is there.
fn all(grant: Grant) -> Allowed {
    Allowed {
        plugin: None,
        grant,
        by: GivenBy::Flag,
        two_keys: false,
    }
}

proptest! {
    /// In any tree, whatever is asked for: who asks for what the parent lacks is told a name of it, who asks for no more gets exactly that,
    /// and nobody may do what an ancestor may not, nor by a tool what is not that tool's own.
    #[test]
    fn no_descendant_may_what_an_ancestor_may_not(
        given in any_root(),
        specs in proptest::collection::vec((any::<Index>(), any_spec()), 1..16),
        tools in proptest::collection::vec(any_tool(), 1..3),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        for dir in FOLDERS {
            std::fs::create_dir_all(root.join(dir)).expect("made");
        }
        std::os::unix::fs::symlink(root.join("d"), root.join("a/out")).expect("linked");
        let rw = |access: Access| if access == Access::Write { ":rw" } else { "" };
        let folders = given.folders.iter().map(|(path, access)| format!("fs:{path}{}", rw(*access)));
        let shared = given.shared.map(|access| format!("blackboard:shared{}", rw(access)));
        let others = given.others.iter().map(|text| (*text).to_owned());
        let texts = folders.chain(others).chain(shared);
        let mut allowed: Vec<Allowed> = texts.map(|text| all(grant(&text, &root))).collect();
        let rights = Rights::root("root", &allowed, &given.denied, None).expect("rights");
        allowed.extend(given.of_a_tool.iter().map(|text| Allowed {
            plugin: Some(TOOL.to_owned()),
            ..all(grant(text, &root))
        }));
        let beside = Rights::root("root", &allowed, &given.denied, None).expect("rights");
        prop_assert_eq!(&rights, &beside, "what is a tool's is no agent's");
        let tools: Vec<Tool> = tools
            .iter()
            .map(|(shared, own)| Tool::new(&[&given.of_a_tool[..], &shared[..]].concat(), own, &root))
            .collect();
        let mut tree = Tree { root, deeds: deeds(), agents: Vec::new() };
        tree.add(None, rights, MODELS[0]);
        for (parent, spec) in specs {
            tree.spawn(parent.index(tree.agents.len()), spec)?;
            tree.none_may_what_an_ancestor_may_not()?;
        }
        tree.no_tool_may_more_than_its_caller_but_what_is_its_own(&tools)?;
    }
}
