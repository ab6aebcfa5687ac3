//! Why nothing ran, in words that a person can act on.

use crate::config::Config;
use crate::engine::EngineError;
use crate::engine::precheck::LoadError;
use crate::llm::ModelError;
use crate::plugin::approval::ApprovalError;
use crate::plugin::grant::GrantError;
use crate::plugin::load::FindError;
use crate::plugin::toolbox::ToolboxError;
use crate::run::WayOn;
use crate::secret::SecretError;
use crate::session::end::End;
use crate::store::StoreError;
use crate::text;

/// Why nothing ran, or a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine can't start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A plugin can't be found, read or compiled.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A grant is malformed or forbidden.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A plugin is not what was approved, or approvals can't be read or written.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// No model can be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tools can't be used.
    #[error(transparent)]
    Toolbox(#[from] ToolboxError),
    /// Secrets can't be read or changed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Two secrets were granted that one request would have in one place.
    #[error(
        "secret:{first} and secret:{second} would both be {place} of one request; grant one of them, or set one for another place: hermes-host secret set NAME --header 'NAME: TEMPLATE'"
    )]
    OnePlace {
        /// `NAME@HOST`.
        first: String,
        /// The other.
        second: String,
        /// Where.
        place: String,
    },
    /// What an agent would be told holds a secret.
    #[error("{what} holds {secret}, which the agent would read; leave it out: {way}")]
    Told {
        /// What.
        what: &'static str,
        /// The secret, as in `the secret x`.
        secret: String,
        /// How it gets to where it belongs.
        way: String,
    },
    /// A plugin was asked to run that is none of the contract's strategies.
    #[error("{plugin} is no strategy: it exports {}; {}", if *tool { "tools" } else { "nothing of hermes:plugin" },
        if *tool { "call one of its tools with `hermes-host call`, or give it to a strategy with --tool" } else { "it was built for another world" })]
    NotAStrategy {
        /// Its name.
        plugin: String,
        /// Whether it exports tools.
        tool: bool,
    },
    /// A plugin was given as a tool that exports none.
    #[error("{plugin} brings no tools: it does not export hermes:plugin/toolset")]
    NotATool {
        /// Its name.
        plugin: String,
    },
    /// A plugin was named where a file is added.
    #[error("{plugin} is a name, and what is added is a file: its path has a slash, or ends in .wasm")]
    NotAPath {
        /// What was given.
        plugin: String,
    },
    /// Two plugins of a run are called alike.
    #[error("{first} and {second} are both called {name}, and grants are given by name; rename one of the files")]
    SameName {
        /// What both are called.
        name: String,
        /// Where one is.
        first: String,
        /// Where the other is.
        second: String,
    },
    /// A child's default is more than a child may have.
    #[error("child.iterations={asked} is more than a child may have: {most} (limits.iterations.child_max)")]
    ChildIterations {
        /// What the budget says.
        asked: u64,
        /// The limit.
        most: u64,
    },
    /// A tool's prefix is no name.
    #[error("--tool {prefix}=…: a prefix is letters, digits, _ and -")]
    ToolPrefix {
        /// What was given.
        prefix: String,
    },
    /// A plugin did not say what it is.
    #[error("{plugin} was asked for {} and did not answer: {reason}", what.words())]
    Asked {
        /// Its name.
        plugin: String,
        /// What it was asked for.
        what: Question,
        /// Why there is no answer.
        reason: String,
    },
    /// A budget in money, and a model whose price is unknown.
    #[error(
        "the budget has a limit in money, but the price of {model} is not known; set it, 0 included: models.\"{model}\".price in the configuration"
    )]
    NoPrice {
        /// `provider/name`.
        model: String,
    },
    /// A script, and another model than the one that plays it.
    #[error("--script has the turns of the model `scripted`, but --model names {model}; leave one of them out")]
    ScriptUnused {
        /// The other model.
        model: String,
    },
    /// A setting of the configuration can't be used.
    #[error("{from}: `{key}`: {error}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// Where it was set.
        from: String,
        /// Why it can't be used.
        error: Box<HostError>,
    },
    /// The inputs are no JSON object.
    #[error("the inputs are not usable: {0}")]
    Inputs(String),
    /// A tool was called that the plugin does not have.
    #[error("{plugin} has no tool {tool}; it has {has}")]
    NoSuchTool {
        /// The plugin.
        plugin: String,
        /// What was asked for.
        tool: String,
        /// What there is.
        has: String,
    },
    /// The run can't go on: what it was made of is not what the record says.
    #[error("run {run} can't go on: {reason}")]
    CantResume {
        /// The run.
        run: String,
        /// Why.
        reason: String,
    },
    /// The host went down between the run's row and its start.
    #[error("run {run} can't go on: it never began, as it was stopped before its start was written down; it is ended")]
    NeverBegan {
        /// The run.
        run: crate::ids::RunId,
    },
    /// A folder that the run was granted is not there.
    #[error(
        "the folder {folder}, which the run was granted, can't be found; it is as it was, and goes on when the folder is back (or without it: --deny fs)"
    )]
    FolderGone {
        /// The folder.
        folder: String,
    },
    /// The bytes of a plugin of the run are not here.
    #[error(
        "the run's plugin {plugin} is not here; put it back as {}, from a backup or from where the plugin came from, or remove the run and import it from a file that was exported --with-plugins",
        path.display()
    )]
    PluginGone {
        /// Its name.
        plugin: String,
        /// Where its bytes should be.
        path: std::path::PathBuf,
    },
    /// The run can't go on: it has ended.
    #[error("run {run} can't go on: it has ended ({status}); a recorded end is final")]
    Ended {
        /// The run.
        run: crate::ids::RunId,
        /// How it stands.
        status: &'static str,
        /// How a fork of it goes on, where that is known.
        way_on: Option<WayOn>,
    },
    /// The run can't be cancelled: it has ended.
    #[error("run {run} has ended ({status}); there is nothing to cancel")]
    NothingToCancel {
        /// The run.
        run: crate::ids::RunId,
        /// How it stands.
        status: &'static str,
    },
    /// The home folder can't be one.
    #[error("{path} can't be the home folder: {what}")]
    Home {
        /// The folder.
        path: String,
        /// Why not, and what to do.
        what: String,
    },
    /// A run's end was asked for, and the process that owns it takes longer than it should.
    #[error(
        "run {run} was asked to end and has not ended yet; the request stands, and its owner or whoever takes the run next ends it"
    )]
    NotEnded {
        /// The run.
        run: crate::ids::RunId,
    },
    /// The loss of a run that the database has nothing of was accepted.
    #[error(
        "run {run} gives up all of its {records} records: nothing is left of it to go on from, and it is forgotten"
    )]
    Forgotten {
        /// The run.
        run: crate::ids::RunId,
        /// The records.
        records: u64,
    },
    /// The run can't be replayed.
    #[error("run {run} can't be replayed: {reason}")]
    CantReplay {
        /// The run.
        run: String,
        /// Why.
        reason: String,
    },
    /// The run can't be forked.
    #[error("run {run} can't be forked: {reason}")]
    CantFork {
        /// The run.
        run: String,
        /// Why.
        reason: String,
    },
    /// A run file can't be written or read. Nothing of it is kept.
    #[error("{path}: {what}")]
    RunFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// Bytes of plugins that shall go along with a run are not what was kept. Nothing of the file is kept.
    #[error(
        "run {run} can't be exported with its plugins: {}; put them back, from a backup or from where the plugin came from, or export it without --with-plugins",
        lost.join(", ")
    )]
    PluginsLost {
        /// The run.
        run: crate::ids::RunId,
        /// Which, in words.
        lost: Vec<String>,
    },
    /// A run file of a newer host.
    #[error(
        "{path} has version {found} of the run file's format, and this hermes-host reads version {known}; use the newer hermes-host"
    )]
    NewerRunFile {
        /// The file.
        path: String,
        /// Its version.
        found: u64,
        /// The newest version that this host reads.
        known: u64,
    },
    /// A run of this id is here already.
    #[error("run {run} is here already; nothing was imported")]
    RunIsHere {
        /// The run.
        run: String,
    },
    /// The blackboard refused.
    #[error("the blackboard: {0}")]
    Blackboard(String),
    /// The run's start could not be written down.
    #[error("the run could not begin: {0}")]
    NotBegun(String),
    /// What a run did can't be written down. It stops where it can go on.
    #[error("the run stopped: {0}")]
    Unwritten(String),
    /// There was no room for the instance of a run's root. The run stops where it can go on.
    #[error("the run stopped: {0}")]
    NoRoom(String),
    /// The host failed in a run.
    #[error("the run failed: {0}")]
    Run(String),
}

/// What a plugin is asked before anything of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Which tools it has.
    Tools,
    /// What it is.
    Description,
}

impl Question {
    fn words(self) -> &'static str {
        match self {
            Self::Tools => "its tools",
            Self::Description => "what it is",
        }
    }

    /// The kind of error where there is no answer.
    fn kind(self) -> &'static str {
        match self {
            Self::Tools => "load(bad-tools)",
            Self::Description => "load(bad-description)",
        }
    }
}

impl From<End> for HostError {
    fn from(end: End) -> Self {
        match end {
            End::Storage(what) => Self::Unwritten(what),
            End::NoRoom(what) => Self::NoRoom(what),
            other => Self::Run(other.to_string()),
        }
    }
}

impl From<FindError> for HostError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Load(error) => error.into(),
            FindError::Approval(error) => error.into(),
        }
    }
}

impl HostError {
    /// The same, of a value that the configuration has for `key`.
    pub(super) fn of_setting(self, key: &'static str, config: &Config) -> Self {
        match config.shown.iter().find(|shown| shown.key == key) {
            None => self,
            Some(shown) => Self::Setting {
                key,
                from: shown.source.to_string(),
                error: Box::new(self),
            },
        }
    }

    /// The process's exit code: 1 where a run failed, is damaged or did not end, 4 where an approval is missing, else 2.
    pub fn code(&self) -> u8 {
        match self {
            Self::Setting { error, .. } => error.code(),
            Self::Approval(error) if error.refuses() => 4,
            Self::Run(_) | Self::Unwritten(_) | Self::NoRoom(_) | Self::NotEnded { .. } | Self::PluginsLost { .. } => 1,
            Self::Store(StoreError::Damaged { .. } | StoreError::NothingLeft { .. } | StoreError::Lost { .. }) => 1,
            _ => 2,
        }
    }

    /// True where what is stored is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Store(
                StoreError::Corrupt { .. }
                    | StoreError::Damaged { .. }
                    | StoreError::NothingLeft { .. }
                    | StoreError::Lost { .. }
            )
        )
    }

    /// The run whose journal is damaged, where that is what it tells.
    pub fn damaged_run(&self) -> Option<&crate::ids::RunId> {
        match self {
            Self::Store(StoreError::Damaged { run, .. }) => Some(run),
            _ => None,
        }
    }

    /// The provider that a model was named of and that is not configured, as a key of the configuration.
    pub fn missing_provider(&self) -> Option<String> {
        let provider = match self {
            Self::Setting { error, .. } => return error.missing_provider(),
            Self::Model(ModelError::NoProvider { provider, .. }) => provider,
            _ => return None,
        };
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_bare = !provider.is_empty() && provider.chars().all(bare);
        Some(if is_bare {
            provider.clone()
        } else {
            format!("{:?}", text::line(provider, 60))
        })
    }

    /// The kind of error, for `--output json`. What is refused before anything ran says in brackets for what.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Setting { error, .. } => error.kind(),
            Self::Engine(_) => "engine",
            Self::Load(error) => error.kind(),
            Self::NotAStrategy { .. } | Self::NotATool { .. } => "load(other-world)",
            Self::Asked { what, .. } => what.kind(),
            Self::SameName { .. } => "load(name-clash)",
            Self::Grant(_) => "grant",
            Self::Approval(error) => error.kind(),
            Self::Secret(_) | Self::OnePlace { .. } | Self::Told { .. } => "secret",
            Self::Model(_) | Self::NoPrice { .. } | Self::ScriptUnused { .. } => "model",
            Self::Store(StoreError::Damaged { .. } | StoreError::NothingLeft { .. } | StoreError::Lost { .. })
            | Self::Forgotten { .. }
            | Self::PluginsLost { .. } => "journal-damaged",
            Self::Store(_) | Self::Home { .. } | Self::NotBegun(_) | Self::Unwritten(_) => "storage",
            Self::NoRoom(_) => "rate-limited",
            Self::Toolbox(error) => error.kind(),
            Self::Inputs(_)
            | Self::NotAPath { .. }
            | Self::NoSuchTool { .. }
            | Self::ChildIterations { .. }
            | Self::ToolPrefix { .. } => "invalid-input",
            Self::CantResume { .. }
            | Self::NeverBegan { .. }
            | Self::FolderGone { .. }
            | Self::PluginGone { .. }
            | Self::Ended { .. } => "resume",
            Self::NothingToCancel { .. } => "cancel",
            Self::NotEnded { .. } => "timed-out",
            Self::CantReplay { .. } => "replay",
            Self::CantFork { .. } => "fork",
            Self::RunFile { .. } | Self::NewerRunFile { .. } => "run-file",
            Self::RunIsHere { .. } => "conflict",
            Self::Blackboard(_) => "blackboard",
            Self::Run(_) => "host-bug",
        }
    }
}
