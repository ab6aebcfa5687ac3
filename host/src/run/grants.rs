//! Rights out of words: what the operator allowed by flags and configuration, and what was approved with each plugin, as the rights of a run's root
//! and of its tools.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{Config, DENIABLE, Source};
use crate::plugin::approval::Approval;
use crate::plugin::grant::{Allowed, FolderGrant, GivenBy, Grant, GrantContext, GrantError, Kind, ProviderFiles};
use crate::plugin::load::Found;
use crate::plugin::manifest::{Manifest, Wanted};
use crate::plugin::reader::GrantReader;
use crate::plugin::rights::{
    FlagCheck, Key, Rights, TakenBy, TakenIn, ToolRights, missing_key, with_one_key, would_get,
};
use crate::plugin::{Origin, Plugin};
use crate::run::HostError;
use crate::run::given::Given;
use crate::run::prepare::split_prefix;
use crate::run::spec::RunSpec;
use crate::secret::SecretFile;
use crate::text;

/// What the operator allowed, for whichever plugin, and what was approved with each.
pub(super) struct Grants {
    reader: GrantReader,
    allowed: Vec<Allowed>,
    /// What a tool has whichever agent calls it.
    own: Vec<Allowed>,
    denied: Vec<Kind>,
    /// The files that the configuration itself names as tools.
    files: Vec<PathBuf>,
    /// What was approved with the run's root: for it, and for the tools that come with the host.
    root: Vec<Allowed>,
}

/// What the operator says of rights, flag by flag.
#[derive(Default)]
pub(super) struct GrantFlags<'a> {
    pub(super) allow: &'a [String],
    pub(super) own: &'a [String],
    pub(super) deny: &'a [String],
}

impl<'a> GrantFlags<'a> {
    /// `--allow` alone.
    pub(super) fn allowing(allow: &'a [String]) -> Self {
        Self {
            allow,
            ..Self::default()
        }
    }
}

/// The plugin that rights are for, loaded or only found.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    name: &'a str,
    manifest: Option<&'a Manifest>,
    approval: Option<&'a Approval>,
    origin: &'a Origin,
}

impl<'a> From<&'a Plugin> for Whose<'a> {
    fn from(plugin: &'a Plugin) -> Self {
        Self {
            name: &plugin.name,
            manifest: plugin.manifest.as_ref(),
            approval: plugin.approval.as_deref(),
            origin: &plugin.origin,
        }
    }
}

impl<'a> From<&'a Found> for Whose<'a> {
    fn from(found: &'a Found) -> Self {
        Self {
            name: &found.name,
            manifest: found.manifest.as_ref(),
            approval: found.approval.as_deref(),
            origin: &found.origin,
        }
    }
}

impl Whose<'_> {
    /// That it lacks a manifest for a grant that takes two keys.
    fn without_manifest(&self, grant: &Grant) -> String {
        let name = self.name;
        match with_one_key(grant) {
            Some(_) => format!(
                "{name} may only read with {grant}: writing there takes a manifest that asks for fs:rw besides, as it is HOME, hidden in HOME or outside of it"
            ),
            None => format!("{name} does not get {grant}: that takes a manifest that asks for it besides"),
        }
    }

    /// That what the configuration says is no word for a grant that takes two keys, and how to give it. Short: a line of a run's progress is cut.
    fn without_word(&self, grant: &Grant, flag: &str) -> String {
        let name = self.name;
        let held = match with_one_key(grant) {
            Some(_) => "may only read with",
            None => "does not get",
        };
        let flagged = text::shell_word(&format!("{name}={grant}"));
        // What comes with the host is never approved, and what is named by its path was not.
        let approved = match self.origin {
            Origin::Home(_) => format!(", or once with hermes-host plugin allow {name}"),
            Origin::Standard | Origin::Path(_) | Origin::Kept => String::new(),
        };
        format!(
            "{name} {held} {grant} by the configuration alone: say it on the command line with {flag} {flagged}{approved}"
        )
    }

    /// That what the configuration gives to its name is not for it, and how to give it. As short.
    fn by_its_path(&self, grant: &Grant, flag: &str) -> String {
        let name = self.name;
        let flagged = text::shell_word(&format!("{name}={grant}"));
        format!(
            "{name}, named by its path, does not get {grant} by the configuration alone: say it on the command line with {flag} {flagged}"
        )
    }
}

impl Grants {
    /// Nothing but what was approved with a plugin.
    pub(super) fn approved_alone(config: &Config) -> Result<Self, HostError> {
        let providers = config.models.providers.values();
        let files = ProviderFiles {
            keys: providers.clone().filter_map(|p| p.key_file.clone()).collect(),
            scripts: providers.filter_map(|p| p.file.clone()).collect(),
        };
        let context = GrantContext::new(&config.home, config.user_home.as_deref(), files)?;
        let aliases = config.models.aliases.keys().cloned().collect();
        let named = config.tools.iter().filter_map(|text| split_prefix(text).ok());
        Ok(Self {
            reader: GrantReader::new(context, aliases, SecretFile::in_dir(&config.state_dir)),
            allowed: Vec::new(),
            own: Vec::new(),
            denied: Vec::new(),
            files: named.map(|(_, path)| PathBuf::from(path)).collect(),
            root: Vec::new(),
        })
    }

    pub(super) fn read(config: &Config, flags: &GrantFlags<'_>) -> Result<Self, HostError> {
        let mut grants = Self::approved_alone(config)?;
        let read = |key, configured: &[String], flags: &[String]| {
            let configured = configured.iter().map(|text| {
                let read = grants.parse(text, GivenBy::Configuration);
                read.map_err(|error| HostError::from(error).of_setting(key, config))
            });
            let flags = flags.iter().map(|text| Ok(grants.parse(text, GivenBy::Flag)?));
            configured.chain(flags).collect::<Result<Vec<_>, HostError>>()
        };
        let allowed = read("allow", &config.allow, flags.allow)?;
        let own = read("own", &config.own, flags.own)?;
        for Allowed { plugin, grant, .. } in &own {
            if plugin.is_none() {
                let what = "whose it is comes first: --own TOOL=GRANT";
                return Err(GrantError::new(&grant.to_string(), what).into());
            }
            may_be_own(grant)?;
        }
        let denied = config.deny.iter().chain(flags.deny).map(|text| {
            if DENIABLE.contains(&text.as_str()) {
                return text.parse::<Kind>();
            }
            let mut what = format!("what can be denied is {}", DENIABLE.join(", "));
            if let Ok(kind) = text.parse::<Kind>() {
                let kind = kind.name();
                what.push_str(&format!(
                    "; nobody has {kind} but by a grant: leave it out of --allow and --own, or of these keys of the configuration"
                ));
            }
            Err(GrantError::new(text, what))
        });
        let denied = denied.collect::<Result<Vec<_>, _>>()?;
        (grants.allowed, grants.own, grants.denied) = (allowed, own, denied);
        Ok(grants)
    }

    /// What is denied to every agent.
    pub(super) fn denied(&self) -> &[Kind] {
        &self.denied
    }

    /// Reads `[PLUGIN=]GRANT`, which this host has to be able to give.
    pub(super) fn parse(&self, text: &str, by: GivenBy) -> Result<Allowed, GrantError> {
        self.reader.parse(text, by)
    }

    /// The flag that allows what a manifest wants, or why there is none.
    pub(super) fn flag(&self, wanted: &Wanted) -> String {
        let flag = self.reader.flag(wanted);
        flag.unwrap_or_else(|refused| refused.to_string())
    }

    /// What was approved with a plugin: for it alone, and for whichever agent calls it.
    fn approved(&self, whose: Whose<'_>) -> Result<(Vec<Allowed>, Vec<Allowed>), HostError> {
        let Some(approval) = whose.approval else {
            return Ok((Vec::new(), Vec::new()));
        };
        Ok(approval.granted(&self.reader)?)
    }

    /// What a root strategy may do. What was approved with it is for the tools that come with the host too: it does nothing with a folder or a
    /// host itself. Others have what was approved with them.
    pub(super) fn root<'p>(&mut self, strategy: impl Into<Whose<'p>>) -> Result<Rights, HostError> {
        let whose = strategy.into();
        (self.root, _) = self.approved(whose)?;
        let allowed = [self.meant(&self.allowed, whose), self.root.clone()].concat();
        Ok(Rights::root(whose.name, &allowed, &self.denied, whose.manifest)?)
    }

    /// What a tool plugin may do.
    pub(super) fn tool<'p>(&self, tool: impl Into<Whose<'p>>) -> Result<ToolRights, HostError> {
        let whose = tool.into();
        let (allowed, own) = self.of_tool(whose)?;
        Ok(ToolRights::new(whose.name, &allowed, &own, whose.manifest)?)
    }

    /// What is allowed to a tool plugin, and what is its own, before it is held against what it wants.
    fn of_tool(&self, whose: Whose<'_>) -> Result<(Vec<Allowed>, Vec<Allowed>), HostError> {
        let (approved, own) = self.approved(whose)?;
        let root = if *whose.origin == Origin::Standard {
            &self.root[..]
        } else {
            &[]
        };
        Ok((
            [&self.meant(&self.allowed, whose)[..], &approved, root].concat(),
            [self.meant(&self.own, whose), own].concat(),
        ))
    }

    /// Whether a grant is for this plugin, if it is for its name. The configuration is written once and holds in every folder: the name that it gives
    /// something to is that of a plugin built in or of the home folder, or of a file that it names itself, and no file's that merely is called so.
    fn is_meant(&self, allowed: &Allowed, whose: Whose<'_>) -> bool {
        let standing = allowed.by == GivenBy::Configuration && allowed.plugin.is_some();
        !standing
            || match whose.origin {
                Origin::Standard | Origin::Home(_) => true,
                Origin::Path(file) => self.names_tool(file),
                Origin::Kept => false,
            }
    }

    /// Whether the configuration itself names this file as a tool, by a path that leads to it from every folder.
    fn names_tool(&self, file: &Path) -> bool {
        file.is_absolute() && self.files.iter().any(|named| named == file)
    }

    fn meant(&self, all: &[Allowed], whose: Whose<'_>) -> Vec<Allowed> {
        let meant = all.iter().filter(|allowed| self.is_meant(allowed, whose));
        meant.cloned().collect()
    }

    /// What the configuration gives to a plugin's name and not to this one, each as if the command line said it.
    fn not_meant(&self, all: &[Allowed], whose: Whose<'_>) -> Vec<Allowed> {
        let named = all.iter().filter(|allowed| allowed.is_for(whose.name));
        let others = named.filter(|allowed| !self.is_meant(allowed, whose));
        let said = |allowed: &Allowed| Allowed {
            by: GivenBy::Flag,
            ..allowed.clone()
        };
        others.map(said).collect()
    }

    /// What the configuration gives to the name of a run's root and not to this one, in words.
    pub(super) fn held_from_root<'p>(&self, strategy: impl Into<Whose<'p>>) -> Vec<String> {
        let whose = strategy.into();
        let given = self.meant(&self.allowed, whose);
        let has = |grant: &Grant| {
            let mut its = given.iter().filter(|other| other.is_for(whose.name));
            its.any(|other| covers(&other.grant, grant))
        };
        let held = self.not_meant(&self.allowed, whose).into_iter();
        let held = held.filter(|held| !has(&held.grant));
        held.map(|held| whose.by_its_path(&held.grant, "--allow")).collect()
    }

    /// What is held back from a tool plugin, in words: for want of its second key, or because the configuration means another by its name.
    pub(super) fn held_back<'p>(&self, tool: impl Into<Whose<'p>>) -> Result<Vec<String>, HostError> {
        let whose = tool.into();
        let (allowed, own) = self.of_tool(whose)?;
        let mut words = Vec::new();
        for (flag, given, said) in [("--allow", &allowed, &self.allowed), ("--own", &own, &self.own)] {
            let has = |grant: &Grant| {
                let its = given.iter().filter(|other| other.is_for(whose.name));
                let mut whole = its.filter(|other| missing_key(other, whose.manifest).is_none());
                whole.any(|other| covers(&other.grant, grant))
            };
            for held in self.not_meant(said, whose) {
                if part_of(&held, whose.manifest).is_some() && !has(&held.grant) {
                    words.push(whose.by_its_path(&held.grant, flag));
                }
            }
            for held in given.iter().filter(|a| a.is_for(whose.name)) {
                match missing_key(held, whose.manifest) {
                    None => {}
                    Some(Key::Manifest) => words.push(whose.without_manifest(&held.grant)),
                    // What it does not ask for it would not get by a flag either.
                    Some(Key::Word) if gains_nothing(held, whose.manifest) || has(&held.grant) => {}
                    Some(Key::Word) => words.push(whose.without_word(&held.grant, flag)),
                }
            }
        }
        Ok(words)
    }

    /// Which of these flags name a plugin that the run, or the `call`, does not have.
    pub(super) fn for_nobody(&self, spec: &RunSpec, plugins: &[&String], what: &str) -> Vec<String> {
        let mut unheard = Vec::new();
        for (name, allowed, flag) in self.flagged(spec) {
            if let Some(plugin) = allowed.plugin.as_ref().filter(|plugin| !plugins.contains(plugin)) {
                let near = text::nearest(plugin, plugins.iter().copied().map(String::as_str));
                let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                unheard.push(format!(
                    "--{name} {flag} is for nobody: no plugin of this {what} is called {plugin}{near}"
                ));
            }
        }
        unheard
    }

    /// Which of these flags grant a folder to be written that none of the tools writes, which may do this when they are called. One for a plugin that is
    /// not there is told otherwise.
    pub(super) fn unwritten(&self, spec: &RunSpec, plugins: &[&String], tools: &[Rights]) -> Vec<String> {
        let mut unwritten = Vec::new();
        for (name, allowed, flag) in self.flagged(spec) {
            let Grant::Fs(folder) = &allowed.grant else { continue };
            let is_here = allowed.plugin.as_ref().is_none_or(|plugin| plugins.contains(&plugin));
            if folder.writable() && is_here && !tools.iter().any(|rights| rights.writes_in(folder)) {
                unwritten.push(format!(
                    "--{name} {flag} lets nobody write: no tool that is given it may, as none asks for fs:rw; leave :rw out"
                ));
            }
        }
        unwritten
    }

    /// Which of these flags grant a secret that goes into no request of the tools, which may do this when the root calls them.
    pub(super) fn idle_secrets(&self, spec: &RunSpec, tools: &[Rights]) -> Vec<String> {
        let mut idle = Vec::new();
        for (name, allowed, flag) in self.flagged(spec) {
            let Grant::Secret(secret) = &allowed.grant else {
                continue;
            };
            let goes = tools.iter().any(|rights| {
                let held = rights.secrets().filter(|held| held.meet(secret).is_some());
                held.count() > rights.idle_secrets().filter(|held| held.meet(secret).is_some()).count()
            });
            if !goes {
                let hosts = &secret.hosts;
                idle.push(format!(
                    "--{name} {flag} goes into no request: no tool of this run is given it and may send requests there (--allow net:{hosts})"
                ));
            }
        }
        idle
    }

    /// What the flags of a run allow, each with the flag's name and its text.
    fn flagged<'s>(&'s self, spec: &'s RunSpec) -> impl Iterator<Item = (&'static str, &'s Allowed, &'s String)> {
        let lists = [("allow", &self.allowed, &spec.allow), ("own", &self.own, &spec.own)];
        lists.into_iter().flat_map(|(name, all, flags)| {
            let given = all.iter().filter(|allowed| allowed.by == GivenBy::Flag);
            given.zip(flags).map(move |(allowed, flag)| (name, allowed, flag))
        })
    }

    /// What the flags of a run with these plugins and this script are held against. Tools with these rights can't rewrite any of the plugins, where it is
    /// read from a file, nor the script.
    pub(super) fn spare<'p>(
        &self,
        plugins: impl Iterator<Item = &'p Plugin>,
        script: Option<&Path>,
        tools: &[Rights],
    ) -> Result<FlagCheck, GrantError> {
        let component = |plugin: &'p Plugin| match &plugin.origin {
            Origin::Path(component) | Origin::Home(component) => Some(component),
            Origin::Standard | Origin::Kept => None,
        };
        let check = FlagCheck {
            reader: self.reader.clone(),
            components: plugins.filter_map(component).cloned().collect(),
            script: script.map(Path::to_owned),
        };
        let mut folders = tools.iter().flat_map(Rights::folders);
        folders.try_for_each(|folder| check.spares(&folder))?;
        Ok(check)
    }

    /// Has these stand besides what was approved with a plugin.
    pub(super) fn stand(&mut self, standing: &Given) {
        (self.allowed, self.own) = (standing.allow.clone(), standing.own.clone());
    }

    /// What a plugin may do, as a root strategy or as a tool.
    pub(super) fn of<'p>(&mut self, plugin: impl Into<Whose<'p>>, strategy: bool) -> Result<Rights, HostError> {
        Ok(if strategy {
            self.root(plugin)?
        } else {
            self.tool(plugin)?.whole()
        })
    }
}

/// What a tool has of a grant by its manifest and by its keys: all of it, or a folder to read; none where it has nothing.
pub(super) fn part_of(allowed: &Allowed, manifest: Option<&Manifest>) -> Option<Allowed> {
    let whole = missing_key(allowed, manifest).is_none().then(|| allowed.clone());
    let to_read = with_one_key(&allowed.grant).map(|grant| Allowed {
        grant,
        two_keys: false,
        ..allowed.clone()
    });
    let mut parts = whole.into_iter().chain(to_read);
    parts.find(|part| !would_get(&part.grant, manifest).is_empty())
}

/// Whether a grant gives all that another one does.
fn covers(all: &Grant, some: &Grant) -> bool {
    match (all, some) {
        (Grant::Net(all), Grant::Net(some)) => some.within(all),
        (Grant::Fs(all), Grant::Fs(some)) => all.access >= some.access && some.dir.starts_with(&all.dir),
        _ => all == some,
    }
}

/// Whether a tool gets no more by both keys than it has by one.
fn gains_nothing(held: &Allowed, manifest: Option<&Manifest>) -> bool {
    let with_one = with_one_key(&held.grant);
    would_get(&held.grant, manifest)
        .iter()
        .all(|grant| Some(grant) == with_one.as_ref())
}

/// What tools with these rights may do at worst, where they may write folders.
pub(super) fn no_quota(tools: &[Rights]) -> Option<String> {
    let writable = tools.iter().flat_map(Rights::folders).filter(FolderGrant::writable);
    let folders: BTreeSet<String> = writable.map(|folder| folder.dir.display().to_string()).collect();
    let folders: Vec<String> = folders.into_iter().collect();
    (!folders.is_empty()).then(|| {
        format!(
            "tools may change or delete all that is in a folder, write what may be run as you, and fill the disk, as only the size of one file is bounded there (limits.file_size): {}",
            folders.join(", ")
        )
    })
}

/// Where the configuration takes rights away from roots.
pub(super) fn taken_by(config: &Config) -> TakenBy {
    let one = |(kind, from): (&String, &Source)| {
        let of = |place: String| match from {
            Source::Flag(_) => place,
            _ => format!("deny in {place}"),
        };
        let taken_in = TakenIn {
            told: of(from.short()),
            mend: format!("take {kind} out of {}", of(from.to_string())),
        };
        Some((kind.parse::<Kind>().ok()?, taken_in))
    };
    config.deny_from.iter().filter_map(one).collect()
}

/// What resumes took away: the run goes on without it, whatever the flags of a later one.
pub(super) fn taken_by_resumes(denied: &[Kind]) -> TakenBy {
    let one = |kind: &Kind| {
        let name = kind.name();
        let taken_in = TakenIn {
            told: format!("--deny {name}"),
            mend: format!("a resume took {name} away for good: a new run has it"),
        };
        (*kind, taken_in)
    };
    denied.iter().map(one).collect()
}

/// Whether a tool can have a grant whichever agent calls it.
pub(super) fn may_be_own(grant: &Grant) -> Result<(), GrantError> {
    let what = "folders are never a tool's own: its caller has them too, or it has none (--allow)";
    match grant {
        Grant::Fs(_) => Err(GrantError::new(&grant.to_string(), what)),
        _ => Ok(()),
    }
}
