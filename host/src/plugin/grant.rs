//! What an operator can grant, as it is written: `fs:[NAME=]DIR[:rw]`, `net:[METHOD,..@][http://]HOST[:PORT]`, `blackboard:NAME[:ro]`,
//! `llm[:ALIAS]`, `secret:NAME@HOST[:PORT]`, `terminal:PROGRAM`; before it, for one plugin alone, `PLUGIN=`.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
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

    /// Whether an agent has this for the tools that it calls, whose own manifests are asked.
    pub const fn is_for_tools(self) -> bool {
        matches!(self, Self::Fs | Self::Net | Self::Secret)
    }

    /// What stands in a flag for the part that only the operator knows; none where a kind needs no more.
    pub const fn to_fill_in(self) -> Option<&'static str> {
        match self {
            Self::Fs => Some("DIR"),
            Self::Net => Some("HOST"),
            Self::Blackboard => Some("NAME"),
            Self::Secret => Some("NAME@HOST"),
            Self::Terminal => Some("PROGRAM"),
            Self::Llm | Self::Delegation | Self::Lessons => None,
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
        Self::new(grant, error.reason())
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
    files: ProviderFiles,
    /// The host's own program: where it lies, and how it was called.
    program: Vec<PathBuf>,
}

/// Files by which the configuration has providers.
#[derive(Debug, Clone, Default)]
pub struct ProviderFiles {
    /// Those that hold their keys.
    pub keys: Vec<PathBuf>,
    /// Those with the turns of scripted ones.
    pub scripts: Vec<PathBuf>,
}

impl GrantContext {
    /// From the current folder; `home` is the home folder of the host, `user` the operator's own folder where it is known, `files` are those of
    /// providers.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn new(home: &Path, user: Option<&Path>, files: ProviderFiles) -> Result<Self, GrantError> {
        let cwd = std::env::current_dir()
            .map_err(|e| GrantError::new(".", format!("the current folder can't be found: {e}")))?;
        Ok(Self {
            home: home.to_owned(),
            user: user.map(|user| Way::to(&cwd.join(user)).end),
            files,
            program: own_program(&cwd),
            cwd,
        })
    }

    /// Whether the tools of a run may have this folder where a plugin of the run is named by its path. To be written it holds neither the component, nor
    /// the manifest beside it, nor a link by which they are found: whoever writes there decides what that plugin is the next time, and what it asks for.
    ///
    /// # Errors
    /// They may not.
    pub fn spares(&self, folder: &FolderGrant, component: &Path) -> Result<(), GrantError> {
        let what = "which this run uses, or the manifest beside it; put the component elsewhere";
        self.spares_files(folder, &[component, &component.with_extension("toml")], what)
    }

    /// The same of the script that its model is played from.
    ///
    /// # Errors
    /// They may not have the folder.
    pub fn spares_script(&self, folder: &FolderGrant, script: &Path) -> Result<(), GrantError> {
        self.spares_files(
            folder,
            &[script],
            "from which the model's answers are read; put it elsewhere",
        )
    }

    fn spares_files(&self, folder: &FolderGrant, files: &[&Path], what: &str) -> Result<(), GrantError> {
        let mut ways = files.iter().map(|file| Way::to(&self.cwd.join(file)));
        let is_in = |way: &Way| way.ends_in(&folder.dir) || way.link_in(&folder.dir).is_some();
        if !folder.writable() || !ways.any(|way| is_in(&way)) {
            return Ok(());
        }
        let shown = text::line(&self.cwd.join(files[0]).to_string_lossy(), 200);
        Err(GrantError::new(
            &Grant::Fs(folder.clone()).to_string(),
            format!("it would let a plugin rewrite {shown}, {what}, or grant a folder below, or read-only"),
        ))
    }

    /// Where these flags lead that grant a folder by a link, each in words.
    pub fn led_by_links(&self, flags: &[String]) -> Vec<String> {
        let led = flags
            .iter()
            .filter_map(|flag| Some((flag, self.led_by_link(whose(flag).1)?)));
        led.map(|(flag, led)| format!("--allow {}: {led}", text::line(flag, 200)))
            .collect()
    }

    /// Where a grant of a folder leads by a link which a plugin that could write there, or whoever a folder comes from, may have put in its way; none where
    /// there is no such link.
    fn led_by_link(&self, grant: &str) -> Option<String> {
        let (_, path, _) = parts_of_folder(grant.strip_prefix("fs:")?);
        let way = Way::to(&self.cwd.join(path));
        let link = way.links.iter().find(|link| !self.is_the_systems(link))?;
        let [link, end] = [link, &way.end].map(|path| text::line(&path.to_string_lossy(), 200));
        Some(format!("it leads to {end}, by the link {link}"))
    }

    /// Whether a link is one of the system's, as `/tmp` is one on macOS: the superuser's, above the current folder. Where the host runs as that user all may be
    /// his, and those in the root folder alone count.
    fn is_the_systems(&self, link: &Path) -> bool {
        let is_roots = link.symlink_metadata().is_ok_and(|there| there.uid() == 0);
        let is_on_top = link.parent().is_some_and(|at| at.parent().is_none());
        let is_elsewhere = !rustix::process::geteuid().is_root() && !link.starts_with(&self.cwd);
        is_roots && (is_on_top || is_elsewhere)
    }

    /// Whether a folder lies in the operator's own, and neither is nor lies in one there that is hidden: in those, as in that folder itself, are keys and
    /// what shells and desktops run. Where the operator's own is the root of all, none does.
    fn is_users(&self, dir: &Path) -> bool {
        let user = self.user.as_ref().filter(|user| user.parent().is_some());
        let is_hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
        user.and_then(|user| dir.strip_prefix(user).ok())
            .is_some_and(|below| below.components().next().is_some() && !below.components().any(is_hidden))
    }
}

/// Where the operator gave a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenBy {
    /// For this run or call: `--allow`, `--own`.
    Flag,
    /// Once for every run: the keys `allow` and `own`.
    Configuration,
    /// With one plugin, after what it makes possible at worst was shown.
    Approval,
}

/// A grant to one plugin, or to whichever wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The plugin; none for all.
    pub plugin: Option<String>,
    /// What it may do.
    pub grant: Grant,
    /// Where that was said.
    pub by: GivenBy,
    /// Whether that needs two keys: a word of the operator's that is meant for this run or this plugin, and a manifest that asks for it.
    pub two_keys: bool,
}

impl Allowed {
    /// Reads `[PLUGIN=]GRANT`.
    ///
    /// # Errors
    /// It can't be read, its folder is missing, or it would give away the host's own state.
    pub fn parse(text: &str, by: GivenBy, context: &GrantContext) -> Result<Self, GrantError> {
        let (plugin, words) = whose(text);
        let grant = Grant::parse(words, context)?;
        if by == GivenBy::Configuration
            && let Some(led) = context.led_by_link(words)
        {
            let what = "the configuration grants no folder by a link, which others may have put there; name the folder itself if it is meant";
            return Err(GrantError::new(text, format!("{led}; {what}")));
        }
        let two_keys = grant.needs_two_keys(context);
        Ok(Self {
            plugin: plugin.map(str::to_owned),
            grant,
            by,
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
pub fn whose(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((plugin, grant)) if is_name(plugin) => (Some(plugin), grant),
        _ => (None, text),
    }
}

/// Whether a plugin, a folder or a space can be called so in a grant: by what is seen as what it is, and nothing that leads elsewhere in a path.
pub fn is_name(name: &str) -> bool {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    good && !name.bytes().all(|b| b == b'.')
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

    /// Whether it takes more than the operator's word: the whole network or a top-level domain of it, writing into the operator's own folder
    /// itself, what is hidden in it, or what lies outside of it, any program.
    fn needs_two_keys(&self, context: &GrantContext) -> bool {
        match self {
            Self::Fs(folder) => folder.writable() && !context.is_users(&folder.dir),
            Self::Net(rule) => rule.is_wide(),
            Self::Terminal(_) => true,
            Self::Blackboard { .. } | Self::Llm(_) | Self::Secret { .. } => false,
        }
    }

    /// Reads a grant. Folders are looked up now: what is granted is what is there.
    ///
    /// # Errors
    /// As [`Allowed::parse`].
    pub fn parse(text: &str, context: &GrantContext) -> Result<Self, GrantError> {
        let grant = Self::read(text, context)?;
        // What is approved or recorded is its text, which is read again for the next run.
        match Self::read(&grant.to_string(), context) {
            Ok(again) if again == grant => Ok(grant),
            _ => Err(GrantError::new(
                text,
                "it can't be written down: read again, it would be another",
            )),
        }
    }

    fn read(text: &str, context: &GrantContext) -> Result<Self, GrantError> {
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
                let (name, access) = space(rest);
                if !is_name(name) {
                    return Err(bad(
                        "a space's name has letters, digits, -, _ and . in it, and no slash, colon or space",
                    ));
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

/// A space's name, and what may be done there, of `NAME[:ro]`.
pub fn space(text: &str) -> (&str, Access) {
    match text.strip_suffix(":ro") {
        Some(name) => (name, Access::Read),
        None => (text, Access::Write),
    }
}

/// The parts of `[NAME=]DIR[:rw]`.
fn parts_of_folder(rest: &str) -> (Option<&str>, &str, Access) {
    let (rest, access) = match (rest.strip_suffix(":rw"), rest.strip_suffix(":ro")) {
        (Some(rest), _) => (rest, Access::Write),
        (_, Some(rest)) => (rest, Access::Read),
        _ => (rest, Access::Read),
    };
    match rest.split_once('=') {
        Some((name, path)) if is_name(name) => (Some(name), path, access),
        _ => (None, rest, access),
    }
}

/// `[NAME=]DIR[:rw]`.
fn folder(text: &str, rest: &str, context: &GrantContext) -> Result<FolderGrant, GrantError> {
    let bad = |what: String| GrantError::new(text, what);
    let (name, path, access) = parts_of_folder(rest);
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
    if dir.to_str().is_none() {
        return Err(bad(
            "it can't be written down, as its path is no UTF-8 text; rename the folder".to_owned(),
        ));
    }
    not_the_kernels(text, &dir)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => match dir.file_name() {
            Some(last) => last.to_string_lossy().into_owned(),
            None => return Err(bad("it has no name of its own; give one, like fs:NAME=DIR".to_owned())),
        },
    };
    not_ours(text, &dir, access, context)?;
    Ok(FolderGrant { name, dir, access })
}

/// Where the kernel shows processes, itself and devices as files.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// In the midst of those a folder as any other, in memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// No grant reaches what the kernel shows as files: among them are the memory and the environment of each process of this user, and so of the host.
fn not_the_kernels(text: &str, dir: &Path) -> Result<(), GrantError> {
    let bad = |what: String| GrantError::new(text, what);
    let shown = |what: &str| {
        let why = "where the kernel shows processes and devices as files, which are never granted";
        bad(format!("it would open {what}, {why}"))
    };
    let mut kernels = KERNELS.into_iter();
    if let Some(at) = kernels.find(|at| dir.starts_with(at) || Path::new(at).starts_with(dir))
        && !dir.starts_with(SHARED_MEMORY)
    {
        return Err(shown(at));
    }
    let mounted = rustix::fs::statfs(dir).map_err(|e| bad(format!("its file system can't be told: {e}")))?;
    // The same, mounted elsewhere: proc, sysfs, and those below it (magic.h of Linux: debugfs, tracefs, securityfs, configfs, cgroup2, devpts; cgroup, bpf,
    // pstore, selinux, smack, efivarfs, binfmt_misc).
    let is_shown = matches!(
        mounted.f_type,
        0x9fa0 | 0x6265_6572 | 0x6462_6720 | 0x7472_6163 | 0x7363_6673 | 0x6265_6570 | 0x6367_7270 | 0x1cd1
    ) || matches!(
        mounted.f_type,
        0x0027_e0eb | 0xcafe_4a11 | 0x6165_676c | 0xf97c_ff8c | 0x4341_5d53 | 0xde5e_81e4 | 0x4249_4e4d
    );
    if is_shown {
        return Err(shown("a file system"));
    }
    Ok(())
}

/// Where the host's own program lies, and where it was found by what it was called, which may be a link to it.
fn own_program(cwd: &Path) -> Vec<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from).and_then(|called| {
        if called.components().count() > 1 {
            return Some(cwd.join(called));
        }
        let folders = std::env::var_os("PATH")?;
        let mut files = std::env::split_paths(&folders).map(|folder| cwd.join(folder).join(&called));
        files.find(|file| file.is_file())
    });
    std::env::current_exe().ok().into_iter().chain(called).collect()
}

/// What is the host's own in a home folder.
struct Own {
    /// What is never granted, with what it is called: the folder of its state, those in it, each of which may be mounted elsewhere too, and where links in it
    /// lead, as one does of a cache that was moved to another disk.
    state: Vec<(String, Way)>,
    /// The operator's configuration. A link to it may lead to a folder that is one as any other to be read.
    config: Way,
    /// The folder of plugins.
    plugins: Way,
}

impl Own {
    /// In this home folder, whose state is called so.
    fn of(home: &Path, called: &str) -> Self {
        let host = home.join("host");
        let entries = std::fs::read_dir(&host).into_iter().flatten().flatten();
        let below = entries.filter_map(|entry| {
            let (kind, name) = (entry.file_type().ok()?, entry.file_name());
            let called = match kind {
                _ if kind.is_dir() => called.to_owned(),
                _ if kind.is_symlink() && name != "config.toml" => {
                    format!("{called}, by its link {}", text::line(&name.to_string_lossy(), 80))
                }
                _ => return None,
            };
            Some((called, Way::to(&entry.path())))
        });
        Self {
            state: std::iter::once((called.to_owned(), Way::to(&host)))
                .chain(below)
                .collect(),
            config: Way::to(&host.join("config.toml")),
            plugins: Way::to(&home.join("plugins")),
        }
    }

    /// In the home folder, and in the one that the host has where nothing names another, if it has ever been one.
    fn in_homes(context: &GrantContext) -> Vec<Self> {
        let home = Self::of(&context.cwd.join(&context.home), "the home folder's host/");
        let usual = context.user.as_ref().map(|user| user.join(".hermes"));
        let usual = usual.filter(|usual| usual.join("host").is_dir());
        std::iter::once(home)
            .chain(usual.map(|usual| Self::of(&usual, "host/ of the usual home folder, ~/.hermes")))
            .collect()
    }

    /// All ways to it.
    fn ways(&self) -> impl Iterator<Item = &Way> {
        let state = self.state.iter().map(|(_, way)| way);
        state.chain([&self.config, &self.plugins])
    }
}

/// No grant reaches the host's own state or a provider's key, nor writes its program, its plugins, the configuration of the current folder or a provider's
/// script, nor leads the host to others by changing a link that leads to them.
fn not_ours(text: &str, dir: &Path, access: Access, context: &GrantContext) -> Result<(), GrantError> {
    let bad = |what: &str| Err(GrantError::new(text, what));
    let is_written = access == Access::Write;
    let touches = |way: &Way| way.ends_in(dir) || lies_in(dir, &way.end);
    let homes = Own::in_homes(context);
    for own in &homes {
        let opened = own.state.iter().find(|(_, way)| touches(way));
        if let Some((called, _)) = opened.or(own.state.first().filter(|_| is_written && touches(&own.config))) {
            return bad(&format!(
                "it would open the host's own state ({called}), which is never granted"
            ));
        }
    }
    let ways = |files: &[PathBuf]| -> Vec<Way> { files.iter().map(|file| Way::to(&context.cwd.join(file))).collect() };
    let held = |ways: &[Way]| {
        let held = ways.iter().find(|way| way.ends_in(dir))?;
        Some(text::line(&held.end.to_string_lossy(), 200))
    };
    let (keys, scripts) = (ways(&context.files.keys), ways(&context.files.scripts));
    if let Some(key) = held(&keys) {
        return bad(&format!(
            "it would open {key}, which holds a provider's key (key_file) and is never granted; keep it in a folder of its own"
        ));
    }
    if !is_written {
        return Ok(());
    }
    if let Some(script) = held(&scripts) {
        return bad(&format!(
            "it would let a plugin rewrite {script}, which a provider answers from (file); grant another folder, or read-only"
        ));
    }
    let program: Vec<Way> = context.program.iter().map(|file| Way::to(file)).collect();
    if let Some(file) = held(&program) {
        return bad(&format!(
            "it would let a plugin rewrite {file}, which is the host's own program; grant another folder, or read-only"
        ));
    }
    if homes.iter().any(|own| touches(&own.plugins)) {
        return bad(
            "it would let a plugin put others into the home folder's plugins/; grant another folder, or read-only",
        );
    }
    let project = Way::to(&context.cwd.join("hermes.toml"));
    if project.end.exists() && project.ends_in(dir) {
        return bad("it would let a plugin rewrite hermes.toml; grant a folder below it, or read-only");
    }
    let led = homes
        .iter()
        .flat_map(Own::ways)
        .chain([&project])
        .chain(&keys)
        .chain(&scripts)
        .chain(&program)
        .find_map(|way| way.link_in(dir));
    led.map_or(Ok(()), |link| {
        let link = text::line(&link.to_string_lossy(), 200);
        bad(&format!(
            "it would let a plugin change the link {link}, by which the host finds what is its own; grant another folder, or read-only"
        ))
    })
}

/// Whether what is at `path` lies in `dir`, or is it: by their paths, which have no links in them, or by what the folders are, as one that is mounted a second
/// time has two paths.
fn lies_in(path: &Path, dir: &Path) -> bool {
    let is = |path: &Path| path.metadata().ok().map(|there| (there.dev(), there.ino()));
    path.starts_with(dir) || is(dir).is_some_and(|dir| path.ancestors().any(|above| is(above) == Some(dir)))
}

/// Where a path leads.
struct Way {
    /// The links on the way there, each where it lies. Whoever may write the folder that holds one may lead it elsewhere.
    links: Vec<PathBuf>,
    /// Its end, as far as it is there without a link in it.
    end: PathBuf,
}

impl Way {
    /// More links than the system follows in one path.
    const MOST: usize = 64;

    /// From the root; what is not there yet has no links.
    fn to(path: &Path) -> Self {
        let mut way = Self {
            links: Vec::new(),
            end: PathBuf::from("/"),
        };
        // The last comes first.
        let parts = |path: &Path| -> Vec<OsString> {
            let parts = path.components().rev().filter(|part| *part != Component::CurDir);
            parts.map(|part| part.as_os_str().to_owned()).collect()
        };
        let mut rest = parts(path);
        while let Some(part) = rest.pop() {
            if part == ".." {
                way.end.pop();
                continue;
            }
            // Where it is the root, what follows begins there.
            let next = way.end.join(&part);
            match next.read_link() {
                Ok(target) if way.links.len() < Self::MOST => {
                    way.links.push(next);
                    rest.extend(parts(&target));
                }
                _ => way.end = next,
            }
        }
        way
    }

    /// Whether it ends in this folder.
    fn ends_in(&self, dir: &Path) -> bool {
        lies_in(&self.end, dir)
    }

    /// A link on it that lies in this folder.
    fn link_in(&self, dir: &Path) -> Option<&PathBuf> {
        let mut links = self.links.iter();
        links.find(|link| link.parent().is_some_and(|at| lies_in(at, dir)))
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
            "me/.ssh",
            "me/.config/autostart",
            "me/out/.git/hooks",
            "me/dots..x",
            "meadow",
        ] {
            std::fs::create_dir_all(cwd.join(name)).expect("made");
        }
        std::fs::write(cwd.join("work/hermes.toml"), "").expect("written");
        let (home, user) = (cwd.join("home"), Some(cwd.join("me")));
        Place {
            _dir: dir,
            context: GrantContext {
                cwd,
                home,
                user,
                files: ProviderFiles::default(),
                program: Vec::new(),
            },
        }
    }

    fn parse(place: &Place, text: &str) -> Result<Allowed, GrantError> {
        Allowed::parse(text, GivenBy::Flag, &place.context)
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
    fn a_folder_whose_path_can_not_be_written_down_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let place = place();
        let odd = place.context.cwd.join(std::ffi::OsStr::from_bytes(b"papers/\xff"));
        std::fs::create_dir_all(odd.join("below")).expect("made");
        std::os::unix::fs::symlink(&odd, place.context.cwd.join("linked")).expect("linked");
        for text in ["fs:linked", "fs:n=linked:rw", "fs:linked/below"] {
            let error = parse(&place, text).expect_err(text).to_string();
            assert!(error.contains("its path is no UTF-8 text"), "{error}");
        }
        assert!(
            parse(&place, "fs:papers:rw").is_ok(),
            "what lies in it is no part of its path"
        );
    }

    #[test]
    fn a_prefix_names_the_plugin() {
        let place = place();
        let allowed = parse(&place, "web=net:GET@x.org").expect("granted");
        assert_eq!(allowed.plugin.as_deref(), Some("web"));
        assert!(allowed.is_for("web") && !allowed.is_for("files"));
        assert!(parse(&place, "net:x.org").expect("granted").is_for("files"));
        for (name, is) in [
            ("a", true),
            ("..a", true),
            (".", false),
            ("..", false),
            ("...", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), is, "{name:?}");
        }
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
    fn what_the_hosts_own_links_lead_to_is_the_hosts_own() {
        let place = place();
        let cwd = &place.context.cwd;
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, cwd.join(name)).expect("linked");
        for dir in ["disk/cache", "disk/below", "data", "other", "conf"] {
            std::fs::create_dir_all(cwd.join(dir)).expect("made");
        }
        std::fs::remove_dir(cwd.join("home/host/cache")).expect("removed");
        link("../../disk/cache", "home/host/cache");
        // By a second link, and to what is not there yet.
        link("../../other/runs", "home/host/runs");
        link("../data/runs", "other/runs");
        link(
            &cwd.join("me/out/hermes.db").display().to_string(),
            "home/host/hermes.db",
        );
        link("../../conf/host.toml", "home/host/config.toml");
        for (text, name) in [
            ("fs:disk", "cache"),
            ("fs:disk/cache", "cache"),
            ("fs:disk:rw", "cache"),
            ("fs:data", "runs"),
            ("fs:me/out", "hermes.db"),
            ("fs:me:rw", "hermes.db"),
        ] {
            let error = parse(&place, text).expect_err(text).to_string();
            let words = format!("own state (the home folder's host/, by its link {name})");
            assert!(error.contains(&words), "{text}: {error}");
        }
        let error = parse(&place, "fs:other:rw").expect_err("a link").to_string();
        assert!(error.contains("other/runs, by which the host finds"), "{error}");
        for good in ["fs:disk/below:rw", "fs:other", "fs:conf", "fs:me/.ssh", "fs:papers:rw"] {
            assert!(parse(&place, good).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_usual_home_is_the_hosts_own_also_where_another_is_named() {
        let place = place();
        assert!(parse(&place, "fs:me").is_ok(), "none is there");
        std::fs::create_dir_all(place.context.cwd.join("me/.hermes/host/cache")).expect("made");
        std::fs::create_dir_all(place.context.cwd.join("me/.hermes/plugins")).expect("made");
        for text in ["fs:me", "fs:me/.hermes", "fs:me/.hermes/host/cache", "fs:me:rw"] {
            let error = parse(&place, text).expect_err(text).to_string();
            assert!(error.contains("the usual home folder, ~/.hermes"), "{error}");
        }
        assert!(parse(&place, "fs:me/.hermes/plugins:rw").is_err());
        for good in ["fs:me/.hermes/plugins", "fs:me/out:rw"] {
            assert!(parse(&place, good).is_ok(), "{good}");
        }
    }

    #[test]
    fn nobody_writes_into_the_folder_of_plugins() {
        let place = place();
        let error = parse(&place, "fs:home/plugins:rw").expect_err("refused").to_string();
        assert!(error.contains("plugins/"), "{error}");
        assert!(parse(&place, "fs:home/plugins").is_ok());
    }

    #[test]
    fn links_to_what_is_the_hosts_own_are_not_for_plugins_to_change() {
        let place = place();
        let cwd = &place.context.cwd;
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, cwd.join(name)).expect("linked");
        for name in ["dots", "links", "conf", "project", "disk/state", "half/plugins"] {
            std::fs::create_dir_all(cwd.join(name)).expect("made");
        }
        for file in ["conf/host.toml", "conf/project.toml"] {
            std::fs::write(cwd.join(file), "").expect("written");
        }
        link("../links/there", "dots/hermes");
        link(&cwd.join("home").display().to_string(), "links/there");
        link("../../conf/host.toml", "home/host/config.toml");
        link("../disk/state", "half/host");
        link("../conf/project.toml", "project/hermes.toml");
        let from = |cwd: PathBuf, home: &str, text: &str| {
            let home = place.context.cwd.join(home);
            let context = GrantContext {
                cwd,
                home,
                user: None,
                files: ProviderFiles::default(),
                program: Vec::new(),
            };
            Grant::parse(text, &context).map_err(|e| e.to_string())
        };
        let project = || cwd.join("project");
        for (at, home, text, words) in [
            (cwd.clone(), "dots/hermes", "fs:dots:rw", "dots/hermes"),
            (cwd.clone(), "dots/hermes", "fs:links:rw", "links/there"),
            (cwd.clone(), "dots/hermes", "fs:conf:rw", "own state"),
            (cwd.clone(), "dots/hermes", "fs:home", "own state"),
            (cwd.clone(), "half", "fs:disk", "own state"),
            (cwd.clone(), "half", "fs:half:rw", "plugins/"),
            (project(), "half", "fs:.:rw", "project/hermes.toml"),
            (project(), "half", "fs:../conf:rw", "rewrite hermes.toml"),
        ] {
            let error = from(at.clone(), home, text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        // To be read, a folder that holds a link is one as any other, and so it is beside one.
        for (at, home, text) in [
            (cwd.clone(), "dots/hermes", "fs:dots"),
            (cwd.clone(), "dots/hermes", "fs:links"),
            (cwd.clone(), "dots/hermes", "fs:conf"),
            (cwd.clone(), "dots/hermes", "fs:papers:rw"),
            (project(), "half", "fs:."),
            (project(), "half", "fs:../conf"),
        ] {
            assert!(from(at, home, text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_providers_key_is_never_granted_and_its_script_never_written() {
        let mut place = place();
        let cwd = place.context.cwd.clone();
        std::fs::write(cwd.join("work/key"), "").expect("written");
        std::os::unix::fs::symlink("../work/key", cwd.join("papers/linked")).expect("linked");
        place.context.files = ProviderFiles {
            keys: vec![cwd.join("papers/linked"), cwd.join("me/not-yet")],
            scripts: vec![cwd.join("odd:name/script.toml")],
        };
        for (text, words) in [
            ("fs:work", "work/key"),
            ("fs:work:rw", "work/key"),
            ("fs:me", "me/not-yet"),
            ("fs:me:rw", "me/not-yet"),
            // Through it, none is read; another can be put into its place.
            ("fs:papers:rw", "the link"),
            ("fs:odd:name:rw", "script.toml"),
        ] {
            let error = parse(&place, text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        for good in ["fs:papers", "fs:odd:name", "fs:me/out:rw"] {
            assert!(parse(&place, good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_folder_to_be_written_holds_no_plugin_that_is_named_by_its_path() {
        let place = place();
        let cwd = &place.context.cwd;
        std::fs::write(cwd.join("me/x.wasm"), "").expect("written");
        std::os::unix::fs::symlink("../me/x.wasm", cwd.join("papers/y.wasm")).expect("linked");
        let spares = |folder: &str, component: &str| {
            let Grant::Fs(folder) = parse(&place, folder).expect("granted").grant else {
                panic!("a folder")
            };
            let spared = place.context.spares(&folder, Path::new(component));
            spared.map_err(|e| e.to_string())
        };
        for (folder, component) in [
            ("fs:me:rw", "me/x.wasm"),
            ("fs:me:rw", "./work/../me/x.wasm"),
            // By a link: where it lies, and where it leads.
            ("fs:papers:rw", "papers/y.wasm"),
            ("fs:me:rw", "papers/y.wasm"),
        ] {
            let error = spares(folder, component).expect_err(component);
            assert!(error.contains(".wasm") && error.contains("elsewhere"), "{error}");
        }
        for (folder, component) in [
            ("fs:me", "me/x.wasm"),
            ("fs:me/out:rw", "me/x.wasm"),
            ("fs:papers:rw", "me/x.wasm"),
            ("fs:work:rw", "papers/y.wasm"),
        ] {
            assert_eq!(spares(folder, component), Ok(()), "{folder} {component}");
        }
    }

    #[test]
    fn what_the_kernel_shows_as_files_is_never_granted() {
        let place = place();
        std::os::unix::fs::symlink("/proc", place.context.cwd.join("innocent")).expect("linked");
        for text in [
            "fs:/proc",
            "fs:p=/proc/self",
            "fs:p=/proc/self/task",
            "fs:innocent",
            "fs:/sys",
            "fs:/sys/kernel",
            "fs:/dev",
            "fs:/dev/fd",
            "fs:all=/",
        ] {
            for access in ["", ":rw"] {
                let text = format!("{text}{access}");
                let error = parse(&place, &text).expect_err(&text).to_string();
                assert!(error.contains("processes and devices"), "{text}: {error}");
            }
        }
        let there = ["/usr", SHARED_MEMORY]
            .into_iter()
            .filter(|dir| Path::new(dir).is_dir());
        for good in there {
            assert!(parse(&place, &format!("fs:{good}")).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_dangerous_needs_two_keys() {
        let place = place();
        let two_keys = |text: &str| parse(&place, text).expect(text).two_keys;
        for text in [
            "net:*",
            "net:GET@http://*:8080",
            "net:*.com",
            "net:GET@*.org:8443",
            "fs:papers:rw",
            "fs:meadow:rw",
            "fs:me:rw",
            "fs:u=me/out/..:rw",
            "fs:me/.ssh:rw",
            "fs:me/.config/autostart:rw",
            "fs:me/out/.git:rw",
            "fs:me/out/.git/hooks:rw",
            "terminal:git",
        ] {
            assert!(two_keys(text), "{text}");
        }
        for text in [
            "net:*.x.org",
            "fs:papers",
            "fs:me/out:rw",
            "fs:me/dots..x:rw",
            "fs:me",
            "fs:me/.ssh",
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
            let allowed = Allowed::parse("fs:me/out:rw", GivenBy::Flag, &context).expect("granted");
            assert!(allowed.two_keys);
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
            ("blackboard:", "no slash, colon or space"),
            ("blackboard: ", "no slash, colon or space"),
            ("blackboard:a b", "no slash, colon or space"),
            ("blackboard:a:b", "no slash, colon or space"),
            ("blackboard:\u{200b}", "letters, digits"),
            ("blackboard:a=b", "letters, digits"),
            ("blackboard:..", "letters, digits"),
            // No name, and so the beginning of a path that leads nowhere.
            ("fs:.=papers", "can't be found"),
            ("fs:..=papers", "can't be found"),
            ("secret:x", "secret:NAME@"),
            ("secret:a b@x.org", "a secret's name is"),
            ("secret:x@*", "hosts that are named"),
            ("secret:x@\u{ff0a}", "HOST is a name or an address"),
            ("net:\u{ff0a}", "HOST is a name or an address"),
            ("net:GET@\u{ff0a}.com", "HOST is a name or an address"),
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
        let odd = [
            "a=b", "n=fs:x", "=", ":rw:ro", "x:ro", " ", "a\nb", "\u{ff0a}", "none", "@x.org", "-", "...",
        ];
        for name in odd {
            std::fs::create_dir_all(place.context.cwd.join("more").join(name)).expect("made");
        }
        // Each in the folder itself, and by a name besides.
        let odd = odd.map(|name| {
            let dir = format!("more/{name}");
            [
                format!("fs:{dir}:ro"),
                format!("fs:{dir}:rw"),
                format!("fs:p={dir}:ro"),
                format!("fs:{dir}/"),
            ]
        });
        let all = [
            "fs:papers",
            "fs:papers:rw",
            "fs:p=papers",
            "fs:papers=papers",
            "fs:odd:rw:ro",
            "fs:odd:rw:rw",
            "fs:odd:name",
            "blackboard:a.b",
            "blackboard:..a",
            "blackboard:ro",
            "fs:..p=papers",
            "llm:a:b=c@d",
            "llm:",
            "llm:\u{ff0a}",
            "net:POST,GET@HTTPS://B\u{fc}cher.example:0443",
            "net:http://x.org:443",
            "secret:k@*.x.org.:00443",
            "secret:k@x.org:80",
            "terminal:a b=c",
        ];
        for text in all.into_iter().map(str::to_owned).chain(odd.into_iter().flatten()) {
            let grant = parse(&place, &text).expect(&text).grant;
            let again = parse(&place, &grant.to_string()).expect(&text).grant;
            assert_eq!(again, grant, "{text} is {grant}");
        }
    }
}
