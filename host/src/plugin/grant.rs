//! What an operator can grant, as it is written: `fs:[NAME=]DIR[:rw]`, `net:[METHOD,..@][http://]HOST[:PORT]`, `blackboard:NAME[:ro]`,
//! `llm[:ALIAS]`, `secret:NAME@HOST[:PORT]`, `terminal:PROGRAM`; before it, for one plugin alone, `PLUGIN=`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::egress::{HostRule, NetRule, RuleError};
use crate::secret;
use crate::text;

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grant {
    /// A folder, for tools.
    Fs(FolderGrant),
    /// Requests to hosts.
    Net(NetRule),
    /// A space of the home folder.
    Blackboard {
        /// Its name.
        name: String,
        /// Whether it may be written.
        access: Access,
    },
    /// A model: the default one, or this alias.
    Llm(Option<String>),
    /// A secret, put into requests to hosts.
    Secret(SecretGrant),
    /// A program.
    Terminal(String),
}

/// Whether a thing may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// Looked at.
    Read,
    /// Changed too.
    Write,
}

/// A folder that tools may use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FolderGrant {
    /// Guests see it as `/NAME`.
    pub name: String,
    /// Where it is: absolute, links resolved when it was granted.
    pub dir: PathBuf,
    /// Whether it may be written.
    pub access: Access,
}

/// A secret that requests to some hosts get. Only its name: its value is the host's alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretGrant {
    /// Its name.
    pub name: String,
    /// The hosts.
    pub hosts: HostRule,
}

impl SecretGrant {
    /// Reads `NAME@HOST[:PORT]`.
    ///
    /// # Errors
    /// It is none: why, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, hosts) = text
            .split_once('@')
            .filter(|(name, hosts)| !name.is_empty() && !hosts.is_empty())
            .ok_or("it needs more, like secret:NAME@api.example.org")?;
        secret::check_name(name).map_err(|e| e.to_string())?;
        Ok(Self {
            name: name.to_owned(),
            hosts: hosts.parse().map_err(|e: crate::egress::HostRuleError| e.to_string())?,
        })
    }

    /// Whether all that this gives `other` gives too.
    pub fn within(&self, other: &Self) -> bool {
        self.name == other.name && self.hosts.within(&other.hosts)
    }

    /// What both give, where that is a grant.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let hosts = self.hosts.meet(&other.hosts).filter(|_| self.name == other.name)?;
        Some(Self {
            name: self.name.clone(),
            hosts,
        })
    }
}

impl fmt::Display for SecretGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.hosts)
    }
}

impl FolderGrant {
    /// Whether it may be written.
    pub fn writable(&self) -> bool {
        self.access == Access::Write
    }
}

/// A kind of right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Folders.
    Fs,
    /// The network.
    Net,
    /// The blackboard.
    Blackboard,
    /// Models.
    Llm,
    /// Secrets.
    Secret,
    /// Programs.
    Terminal,
    /// Sub-agents.
    Delegation,
    /// Lessons.
    Lessons,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Fs,
        Self::Net,
        Self::Blackboard,
        Self::Llm,
        Self::Secret,
        Self::Terminal,
        Self::Delegation,
        Self::Lessons,
    ];

    /// Its name in grants.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fs => "fs",
            Self::Net => "net",
            Self::Blackboard => "blackboard",
            Self::Llm => "llm",
            Self::Secret => "secret",
            Self::Terminal => "terminal",
            Self::Delegation => "delegation",
            Self::Lessons => "lessons",
        }
    }
}

impl FromStr for Kind {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let hint = text::nearest(text, names)
                .map(|n| format!("; did you mean {n}?"))
                .unwrap_or_default();
            GrantError::new(text, format!("the kinds are {}{hint}", names.join(", ")))
        })
    }
}

/// A grant that can't be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{grant}: {what}")]
pub struct GrantError {
    grant: String,
    what: String,
}

impl GrantError {
    pub(crate) fn new(grant: &str, what: impl Into<String>) -> Self {
        Self {
            grant: text::line(grant, 200),
            what: what.into(),
        }
    }
}

impl From<(&str, RuleError)> for GrantError {
    fn from((grant, error): (&str, RuleError)) -> Self {
        Self::new(grant, error.to_string())
    }
}

/// Where a grant's paths start, what may never be granted, and what needs two keys.
#[derive(Debug, Clone)]
pub struct GrantContext {
    cwd: PathBuf,
    /// The host's own folder.
    home: PathBuf,
    /// The operator's own folder.
    user: Option<PathBuf>,
}

impl GrantContext {
    /// From the current folder; `home` is the home folder of the host, `user` the operator's own folder where it is known.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn new(home: &Path, user: Option<&Path>) -> Result<Self, GrantError> {
        let cwd = std::env::current_dir()
            .map_err(|e| GrantError::new(".", format!("the current folder can't be found: {e}")))?;
        Ok(Self {
            cwd,
            home: home.to_owned(),
            user: user.map(canonical_start),
        })
    }

    /// Whether a folder lies in the operator's own. Where that is the root of all, none does.
    fn is_users(&self, dir: &Path) -> bool {
        let user = self.user.as_ref().filter(|user| user.parent().is_some());
        user.is_some_and(|user| dir.starts_with(user))
    }
}

/// A grant to one plugin, or to whichever wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The plugin; none for all.
    pub plugin: Option<String>,
    /// What it may do.
    pub grant: Grant,
    /// Whether that needs two keys: this word of the operator's, and a manifest that asks for it.
    pub two_keys: bool,
}

impl Allowed {
    /// Reads `[PLUGIN=]GRANT`.
    ///
    /// # Errors
    /// It can't be read, its folder is missing, or it would give away the host's own state.
    pub fn parse(text: &str, context: &GrantContext) -> Result<Self, GrantError> {
        let (plugin, grant) = whose(text);
        let grant = Grant::parse(grant, context)?;
        let two_keys = grant.needs_two_keys(context);
        Ok(Self {
            plugin: plugin.map(str::to_owned),
            grant,
            two_keys,
        })
    }

    /// The secret that a grant is of, and for which plugin; none where it is another grant, or can't be read. No folder is looked up for it.
    pub fn secret(text: &str) -> Option<(Option<String>, SecretGrant)> {
        let (plugin, grant) = whose(text);
        let (kind, rest) = grant.split_once(':')?;
        let secret = matches!(kind.parse(), Ok(Kind::Secret)).then(|| SecretGrant::parse(rest).ok())??;
        Some((plugin.map(str::to_owned), secret))
    }

    /// Whether it is for the plugin of this name.
    pub fn is_for(&self, plugin: &str) -> bool {
        self.plugin.as_deref().is_none_or(|name| name == plugin)
    }
}

/// The plugin that a grant is for, where it names one, and the rest.
fn whose(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((plugin, grant)) if is_plugin(plugin) => (Some(plugin), grant),
        _ => (None, text),
    }
}

fn is_plugin(name: &str) -> bool {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    good && !name.is_empty()
}

impl Grant {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Fs(_) => Kind::Fs,
            Self::Net(_) => Kind::Net,
            Self::Blackboard { .. } => Kind::Blackboard,
            Self::Llm(_) => Kind::Llm,
            Self::Secret(_) => Kind::Secret,
            Self::Terminal(_) => Kind::Terminal,
        }
    }

    /// Whether it takes more than the operator's word: the whole network, writing outside of the operator's own folder, any program.
    fn needs_two_keys(&self, context: &GrantContext) -> bool {
        match self {
            Self::Fs(folder) => folder.writable() && !context.is_users(&folder.dir),
            Self::Net(rule) => rule.is_everything(),
            Self::Terminal(_) => true,
            Self::Blackboard { .. } | Self::Llm(_) | Self::Secret { .. } => false,
        }
    }

    /// Reads a grant. Folders are looked up now: what is granted is what is there.
    ///
    /// # Errors
    /// As [`Allowed::parse`].
    pub fn parse(text: &str, context: &GrantContext) -> Result<Self, GrantError> {
        let (kind, rest) = text
            .split_once(':')
            .map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let kind: Kind = kind.parse().map_err(|e: GrantError| GrantError::new(text, e.what))?;
        let bad = |what: &str| GrantError::new(text, what);
        let needs = |example: &str| GrantError::new(text, format!("it needs more, like {example}"));
        match (kind, rest) {
            (Kind::Fs, Some(rest)) => Ok(Self::Fs(folder(text, rest, context)?)),
            (Kind::Fs, None) => Err(needs("fs:./papers")),
            (Kind::Net, Some(rest)) => Ok(Self::Net(rest.parse().map_err(|e| GrantError::from((text, e)))?)),
            (Kind::Net, None) => Err(needs("net:example.org")),
            (Kind::Blackboard, Some(rest)) => {
                let (name, access) = match rest.strip_suffix(":ro") {
                    Some(name) => (name, Access::Read),
                    None => (rest, Access::Write),
                };
                if name.is_empty() || name.contains(['/', ':']) || name.chars().any(char::is_control) {
                    return Err(bad("a space's name has no slash and no colon"));
                }
                Ok(Self::Blackboard {
                    name: name.to_owned(),
                    access,
                })
            }
            (Kind::Blackboard, None) => Err(needs("blackboard:notes")),
            (Kind::Llm, rest) => Ok(Self::Llm(rest.filter(|r| !r.is_empty()).map(str::to_owned))),
            (Kind::Secret, Some(rest)) => SecretGrant::parse(rest).map(Self::Secret).map_err(|what| bad(&what)),
            (Kind::Secret, None) => Err(needs("secret:NAME@api.example.org")),
            (Kind::Terminal, Some(program)) if !program.is_empty() => Ok(Self::Terminal(program.to_owned())),
            (Kind::Terminal, _) => Err(needs("terminal:git")),
            (Kind::Delegation | Kind::Lessons, _) => Err(bad(
                "a root agent has it already; it is taken away with --deny, and can't be granted",
            )),
        }
    }
}

/// `[NAME=]DIR[:rw]`.
fn folder(text: &str, rest: &str, context: &GrantContext) -> Result<FolderGrant, GrantError> {
    let bad = |what: String| GrantError::new(text, what);
    let (rest, access) = match (rest.strip_suffix(":rw"), rest.strip_suffix(":ro")) {
        (Some(rest), _) => (rest, Access::Write),
        (_, Some(rest)) => (rest, Access::Read),
        _ => (rest, Access::Read),
    };
    let (name, path) = match rest.split_once('=') {
        Some((name, path)) if is_plugin(name) => (Some(name), path),
        _ => (None, rest),
    };
    if path.is_empty() {
        return Err(bad("it names no folder; an example is fs:./papers".to_owned()));
    }
    let dir = context.cwd.join(path);
    let dir = dir
        .canonicalize()
        .map_err(|e| bad(format!("the folder can't be found: {e}")))?;
    if !dir.is_dir() {
        return Err(bad("it is no folder; a single file is granted by its folder".to_owned()));
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => match dir.file_name() {
            Some(last) => last.to_string_lossy().into_owned(),
            None => return Err(bad("it has no name of its own; give one, like fs:all=/".to_owned())),
        },
    };
    not_ours(text, &dir, access, context)?;
    Ok(FolderGrant { name, dir, access })
}

/// No grant reaches the host's own state, nor writes its plugins or the configuration of the current folder.
fn not_ours(text: &str, dir: &Path, access: Access, context: &GrantContext) -> Result<(), GrantError> {
    // A folder that is not there yet is placed by its nearest parent that is.
    let touches = |name: &str| {
        let ours = canonical_start(&context.home.join(name));
        ours.starts_with(dir) || dir.starts_with(&ours)
    };
    if touches("host") {
        return Err(GrantError::new(
            text,
            "it would open the host's own state (the home folder's host/), which is never granted",
        ));
    }
    if access == Access::Write && touches("plugins") {
        return Err(GrantError::new(
            text,
            "it would let a plugin put others into the home folder's plugins/; grant another folder, or read-only",
        ));
    }
    let project = canonical_start(&context.cwd.join("hermes.toml"));
    if access == Access::Write && project.exists() && project.starts_with(dir) {
        return Err(GrantError::new(
            text,
            "it would let a plugin rewrite hermes.toml; grant a folder below it, or read-only",
        ));
    }
    Ok(())
}

fn canonical_start(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut start = path;
    loop {
        if let Ok(found) = start.canonicalize() {
            return rest.into_iter().rev().fold(found, |path, part| path.join(part));
        }
        match (start.parent(), start.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                start = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fs(folder) => {
                let shown = folder.dir.to_string_lossy();
                let rw = match folder.access {
                    Access::Write => ":rw",
                    // Or the name's own end would be read as one.
                    Access::Read if shown.ends_with(":rw") || shown.ends_with(":ro") => ":ro",
                    Access::Read => "",
                };
                if folder.dir.file_name().is_some_and(|last| *last == *folder.name) {
                    write!(f, "fs:{shown}{rw}")
                } else {
                    write!(f, "fs:{}={shown}{rw}", folder.name)
                }
            }
            Self::Net(rule) => write!(f, "net:{rule}"),
            Self::Blackboard {
                name,
                access: Access::Read,
            } => write!(f, "blackboard:{name}:ro"),
            Self::Blackboard { name, .. } => write!(f, "blackboard:{name}"),
            Self::Llm(None) => f.write_str("llm"),
            Self::Llm(Some(alias)) => write!(f, "llm:{alias}"),
            Self::Secret(secret) => write!(f, "secret:{secret}"),
            Self::Terminal(program) => write!(f, "terminal:{program}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _dir: tempfile::TempDir,
        context: GrantContext,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().expect("a folder");
        let cwd = dir.path().canonicalize().expect("a path");
        for name in [
            "papers",
            "odd:name",
            "odd:rw",
            "home/host/cache",
            "home/plugins",
            "work",
            "me/out",
        ] {
            std::fs::create_dir_all(cwd.join(name)).expect("made");
        }
        std::fs::write(cwd.join("work/hermes.toml"), "").expect("written");
        let (home, user) = (cwd.join("home"), Some(cwd.join("me")));
        Place {
            _dir: dir,
            context: GrantContext { cwd, home, user },
        }
    }

    fn parse(place: &Place, text: &str) -> Result<Allowed, GrantError> {
        Allowed::parse(text, &place.context)
    }

    #[test]
    fn folders_are_read_only_unless_said() {
        let place = place();
        let Grant::Fs(folder) = parse(&place, "fs:./papers").expect("granted").grant else {
            panic!("a folder")
        };
        assert_eq!((folder.name.as_str(), folder.access), ("papers", Access::Read));
        assert!(folder.dir.is_absolute());
        let Grant::Fs(folder) = parse(&place, "files=fs:p=papers:rw").expect("granted").grant else {
            panic!("a folder")
        };
        assert_eq!((folder.name.as_str(), folder.access), ("p", Access::Write));
        let Grant::Fs(folder) = parse(&place, "fs:odd:name").expect("granted").grant else {
            panic!("a folder")
        };
        assert_eq!(folder.name, "odd:name");
    }

    #[test]
    fn a_prefix_names_the_plugin() {
        let place = place();
        let allowed = parse(&place, "web=net:GET@x.org").expect("granted");
        assert_eq!(allowed.plugin.as_deref(), Some("web"));
        assert!(allowed.is_for("web") && !allowed.is_for("files"));
        assert!(parse(&place, "net:x.org").expect("granted").is_for("files"));
    }

    #[test]
    fn the_hosts_own_state_is_never_granted() {
        let place = place();
        for text in [
            "fs:.",
            "fs:home",
            "fs:home/host",
            "fs:home/host/cache",
            "fs:h=home/host:rw",
        ] {
            let error = parse(&place, text).expect_err(text).to_string();
            assert!(error.contains("own state"), "{error}");
        }
        let mut inside = place.context.clone();
        inside.cwd = inside.cwd.join("work");
        assert!(Grant::parse("fs:../work:rw", &inside).is_err());
        assert!(Grant::parse("fs:../work", &inside).is_ok());
    }

    #[test]
    fn nobody_writes_into_the_folder_of_plugins() {
        let place = place();
        let error = parse(&place, "fs:home/plugins:rw").expect_err("refused").to_string();
        assert!(error.contains("plugins/"), "{error}");
        assert!(parse(&place, "fs:home/plugins").is_ok());
    }

    #[test]
    fn what_is_dangerous_needs_two_keys() {
        let place = place();
        let two_keys = |text: &str| parse(&place, text).expect(text).two_keys;
        for text in ["net:*", "net:GET@http://*:8080", "fs:papers:rw", "terminal:git"] {
            assert!(two_keys(text), "{text}");
        }
        for text in [
            "net:*.x.org",
            "fs:papers",
            "fs:me/out:rw",
            "fs:me:rw",
            "llm",
            "blackboard:notes",
        ] {
            assert!(!two_keys(text), "{text}");
        }
        for user in [None, Some(PathBuf::from("/"))] {
            let context = GrantContext {
                user,
                ..place.context.clone()
            };
            assert!(Allowed::parse("fs:me/out:rw", &context).expect("granted").two_keys);
        }
    }

    #[test]
    fn odd_grants_say_what_is_wrong() {
        let place = place();
        for (text, words) in [
            ("fz:x", "did you mean fs"),
            ("fs", "fs:./papers"),
            ("fs:missing", "can't be found"),
            ("fs:", "no folder"),
            ("net:ftp://x", "http or https"),
            ("blackboard:a/b", "no slash"),
            ("secret:x", "secret:NAME@"),
            ("secret:a b@x.org", "a secret's name is"),
            ("secret:x@*", "hosts that are named"),
            ("secret:x@http://x.org", "net:http://HOST"),
            ("delegation", "--deny"),
            ("terminal:", "terminal:git"),
        ] {
            let error = parse(&place, text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn grants_print_what_they_read() {
        let place = place();
        for text in [
            "net:GET@x.org",
            "blackboard:notes:ro",
            "blackboard:notes",
            "llm",
            "llm:fast",
            "secret:k@x.org",
            "secret:GITHUB_TOKEN@*.x.org:8443",
            "terminal:git",
        ] {
            assert_eq!(parse(&place, text).expect(text).grant.to_string(), text);
        }
        for text in [
            "fs:papers",
            "fs:papers:rw",
            "fs:p=papers",
            "fs:odd:rw:ro",
            "fs:odd:rw:rw",
            "fs:odd:name",
        ] {
            let grant = parse(&place, text).expect(text).grant;
            let again = parse(&place, &grant.to_string()).expect(text).grant;
            assert_eq!(again, grant, "{text} is {grant}");
        }
    }
}
