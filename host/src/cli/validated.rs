//! The command line made sense of: each command with the configuration and its arguments checked. Nothing behind this sees
//! a raw flag.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use super::args;
use super::errors::Problem;
use super::hidden;
use super::runs::Which;
use super::stdio;
use crate::config::{Budget, Config};
use crate::ids::IdError;
use crate::limits::{self, Limits, Unit};
use crate::run::{
    AddSpec, AllowSpec, Ask, ForkSpec, Guessable, Hints, HostError, Place, PruneSpec, ReplaySpec, ResumeSpec, RunSpec,
    Standing, TrajectoryForm, WithPlugins, check_secret_name,
};

/// What to do.
pub(super) enum Command {
    Run(Config, RunSpec),
    Resume(Config, Resume),
    ResumeAll(Config),
    Replay(Config, ReplaySpec),
    Fork(Config, ForkSpec),
    Prune(Config, PruneSpec),
    Backup(Config, PathBuf),
    Cancel(Config, String),
    Inspect(Config, Inspect),
    Call(Config, Call),
    Runs(Config, Which),
    Show(Config, String),
    Answer(Config, String),
    Audit(Config, String),
    Grants(Config, String),
    Tree(Config, String),
    Export(Config, String, TrajectoryForm),
    ExportRun(Config, ExportRun),
    Import(Config, PathBuf),
    Blackboard(Config, Blackboard),
    Plugin(Config, Plugin),
    Secret(Config, Secret),
    ConfigShow(Config),
    Doctor(Config),
}

/// Which run to go on with.
pub(super) struct Resume {
    pub(super) spec: ResumeSpec,
    /// Whether what it has lost is given up.
    pub(super) accept_loss: bool,
}

/// Which run to write to which file.
pub(super) struct ExportRun {
    pub(super) run: String,
    pub(super) file: PathBuf,
    pub(super) plugins: WithPlugins,
}

/// What to look at.
pub(super) struct Inspect {
    pub(super) plugin: String,
    pub(super) ask: Ask,
    pub(super) allow: Vec<String>,
}

/// Which tool to call, with what.
pub(super) struct Call {
    pub(super) plugin: String,
    pub(super) tool: String,
    pub(super) arguments: String,
    pub(super) allow: Vec<String>,
}

/// What to do with the blackboard.
pub(super) enum Blackboard {
    Spaces,
    Keys {
        space: String,
        prefix: String,
    },
    Get {
        space: String,
        key: String,
    },
    Put {
        space: String,
        key: String,
        value: Vec<u8>,
        media_type: String,
        if_version: Option<u64>,
    },
    Watch {
        space: String,
        prefix: String,
    },
    Delete {
        space: String,
        key: String,
        if_version: Option<u64>,
    },
}

/// What to do with plugins.
pub(super) enum Plugin {
    Add(Add),
    Allow(AllowSpec),
    List,
    Remove(String),
}

/// A plugin to add.
pub(super) struct Add {
    pub(super) spec: AddSpec,
    /// Whether the operator has said yes.
    pub(super) yes: bool,
}

/// What to do with secrets.
pub(super) enum Secret {
    Set {
        name: String,
        value: Zeroizing<String>,
        place: Option<Place>,
        guessable: Guessable,
    },
    List,
    Remove {
        name: String,
    },
}

/// Whether it has a run under way, of which there are events.
pub(super) fn has_events(command: &args::Command) -> bool {
    use args::{Command, RunsCommand};
    match command {
        Command::Run(_) | Command::Resume(_) => true,
        Command::Replay(replay) => replay.fork,
        Command::Runs(runs) => match &runs.command {
            Some(RunsCommand::Replay(replay)) => replay.fork,
            command => matches!(command, Some(RunsCommand::Resume(_))),
        },
        _ => false,
    }
}

impl Command {
    /// Checks the arguments; reads standard input where one of them is `-`.
    pub(super) fn validate(command: args::Command, config: Config) -> Result<Self, Problem> {
        Ok(match command {
            args::Command::Run(run) => {
                let spec = spec(run, &config.limits)?;
                Self::Run(config, spec)
            }
            args::Command::Inspect(args::Inspect { plugin, ask, allow }) => {
                let ask = if ask { Ask::Yes } else { Ask::No };
                Self::Inspect(
                    config,
                    Inspect {
                        plugin: not_empty("the plugin", plugin)?,
                        ask,
                        allow,
                    },
                )
            }
            args::Command::Call(call) => {
                let call = Call {
                    plugin: not_empty("the plugin", call.plugin)?,
                    tool: not_empty("the tool", call.tool)?,
                    arguments: object(
                        "the arguments",
                        or_input(call.arguments, &config.limits, "the arguments")?,
                    )?,
                    allow: call.allow,
                };
                Self::Call(config, call)
            }
            args::Command::Runs(args::Runs { list, command: None }) => Self::Runs(config, which(&list)),
            args::Command::Runs(args::Runs {
                command: Some(command), ..
            }) => match command {
                args::RunsCommand::List(list) => Self::Runs(config, which(&list)),
                args::RunsCommand::Show(show) => Self::show(config, show)?,
                args::RunsCommand::Tree(of) => Self::Tree(config, id(of)?),
                args::RunsCommand::Export(export) => Self::export(config, export)?,
                args::RunsCommand::Import(import) => Self::import(config, import)?,
                args::RunsCommand::Resume(resume) => Self::resume(config, resume)?,
                args::RunsCommand::Replay(replay) => Self::replay(config, replay)?,
                args::RunsCommand::Cancel(of) => Self::Cancel(config, id(of)?),
                args::RunsCommand::Prune(prune) => Self::Prune(config, prune_spec(&prune)?),
            },
            args::Command::Show(show) => Self::show(config, show)?,
            args::Command::Tree(of) => Self::Tree(config, id(of)?),
            args::Command::Export(export) => Self::export(config, export)?,
            args::Command::Import(import) => Self::import(config, import)?,
            args::Command::Resume(resume) => Self::resume(config, resume)?,
            args::Command::Replay(replay) => Self::replay(config, replay)?,
            args::Command::Cancel(of) => Self::Cancel(config, id(of)?),
            args::Command::Backup(args::Backup { to }) => Self::Backup(config, to),
            args::Command::Blackboard(command) => {
                let command = Blackboard::validate(command, &config.limits)?;
                Self::Blackboard(config, command)
            }
            args::Command::Plugin(command) => Self::Plugin(config, Plugin::validate(command)?),
            args::Command::Secret(command) => {
                let command = Secret::validate(command, &config)?;
                Self::Secret(config, command)
            }
            args::Command::Config(_) => Self::ConfigShow(config),
            args::Command::Doctor => Self::Doctor(config),
        })
    }

    fn resume(config: Config, resume: args::Resume) -> Result<Self, Problem> {
        let args::Resume {
            run,
            all,
            accept_loss,
            budget: flags,
            deny,
        } = resume;
        Ok(match run {
            None if !all => {
                let problem = Problem::usage("which run? resume goes on with one, or with all that can");
                return Err(problem
                    .with_help("one         hermes-host resume RUN")
                    .with_help("all         hermes-host resume --all")
                    .with_help("list them   hermes-host runs --status interrupted"));
            }
            None => Self::ResumeAll(config),
            Some(run) => Self::Resume(
                config,
                Resume {
                    spec: ResumeSpec {
                        run: id(args::OfRun { run })?,
                        budget: budget(&flags)?,
                        deny,
                    },
                    accept_loss,
                },
            ),
        })
    }

    fn import(config: Config, import: args::Import) -> Result<Self, Problem> {
        is_file("import", &import.file)?;
        Ok(Self::Import(config, import.file))
    }

    fn show(config: Config, show: args::Show) -> Result<Self, Problem> {
        let args::Show {
            of,
            answer,
            audit,
            grants,
        } = show;
        let run = id(of)?;
        Ok(match (answer, audit, grants) {
            (true, ..) => Self::Answer(config, run),
            (_, true, _) => Self::Audit(config, run),
            (.., true) => Self::Grants(config, run),
            (false, false, false) => Self::Show(config, run),
        })
    }

    fn export(config: Config, export: args::Export) -> Result<Self, Problem> {
        let form = match export.form {
            args::Form::Sharegpt => TrajectoryForm::ShareGpt,
            args::Form::Provider => TrajectoryForm::Provider,
        };
        let run = id(export.of)?;
        let Some(file) = export.run_file else {
            return Ok(Self::Export(config, run, form));
        };
        is_file("--run-file", &file)?;
        let plugins = match export.with_plugins {
            true => WithPlugins::Yes,
            false => WithPlugins::No,
        };
        Ok(Self::ExportRun(config, ExportRun { run, file, plugins }))
    }

    fn replay(config: Config, replay: args::Replay) -> Result<Self, Problem> {
        let spec = ReplaySpec {
            run: id(replay.of)?,
            plugin: replay.plugin.map(|plugin| not_empty("--plugin", plugin)).transpose()?,
        };
        if !replay.fork {
            return Ok(Self::Replay(config, spec));
        }
        let spec = ForkSpec {
            replay: spec,
            budget: budget(&replay.budget)?,
            allow: replay.allow,
        };
        Ok(Self::Fork(config, spec))
    }

    /// The limits in force.
    pub(super) fn limits(&self) -> &Limits {
        match self {
            Self::Run(config, _)
            | Self::Resume(config, _)
            | Self::ResumeAll(config)
            | Self::Replay(config, _)
            | Self::Fork(config, _)
            | Self::Prune(config, _)
            | Self::Backup(config, _)
            | Self::Cancel(config, _)
            | Self::Inspect(config, _)
            | Self::Call(config, _)
            | Self::Runs(config, _)
            | Self::Show(config, _)
            | Self::Answer(config, _)
            | Self::Audit(config, _)
            | Self::Grants(config, _)
            | Self::Tree(config, _)
            | Self::Export(config, ..)
            | Self::ExportRun(config, _)
            | Self::Import(config, _)
            | Self::Blackboard(config, _)
            | Self::Plugin(config, _)
            | Self::Secret(config, _)
            | Self::ConfigShow(config)
            | Self::Doctor(config) => &config.limits,
        }
    }
}

impl Plugin {
    fn validate(command: args::Plugin) -> Result<Self, Problem> {
        Ok(match command {
            args::Plugin::Add(add) => {
                let digest = |flag: &str, named: Option<String>| {
                    let parsed = named.map(|digest| digest.parse()).transpose();
                    parsed.map_err(|e: IdError| Problem::usage(format!("{flag}: {e}")))
                };
                Self::Add(Add {
                    spec: AddSpec {
                        file: not_empty("the file", add.file)?,
                        name: add.name,
                        allow: add.allow,
                        own: add.own,
                        hints: if add.no_hints { Hints::Ignore } else { Hints::Approve },
                        digest: digest("--digest", add.digest)?,
                        manifest: digest("--manifest", add.manifest)?,
                    },
                    yes: add.yes,
                })
            }
            args::Plugin::Allow(args::Allow { name, allow, own, deny }) => {
                if allow.is_empty() && own.is_empty() && deny.is_empty() {
                    return Err(Problem::usage(format!("what may {} do?", crate::text::line(&name, 64)))
                        .with_help("give it a right     hermes-host plugin allow NAME GRANT")
                        .with_help("take one away       hermes-host plugin allow NAME --deny GRANT")
                        .with_help("see what it has     hermes-host plugin list"));
                }
                Self::Allow(AllowSpec { name, allow, own, deny })
            }
            args::Plugin::List => Self::List,
            args::Plugin::Remove { name } => Self::Remove(name),
        })
    }
}

impl Blackboard {
    fn validate(command: args::Blackboard, limits: &Limits) -> Result<Self, Problem> {
        Ok(match command {
            args::Blackboard::Ls { space: None, .. } => Self::Spaces,
            args::Blackboard::Ls {
                space: Some(space),
                prefix,
            } => Self::Keys { space, prefix },
            args::Blackboard::Get { space, key } => Self::Get { space, key },
            args::Blackboard::Put {
                space,
                key,
                value,
                media_type,
                if_version,
            } => {
                let value = match value.as_str() {
                    "-" => stdio::input_bytes(limits.blackboard_value, "limits.blackboard.value", "the value")?,
                    _ => value.into_bytes(),
                };
                Self::Put {
                    space,
                    key,
                    value,
                    media_type,
                    if_version,
                }
            }
            args::Blackboard::Watch { space, prefix } => Self::Watch { space, prefix },
            args::Blackboard::Delete { space, key, if_version } => Self::Delete { space, key, if_version },
        })
    }
}

impl Secret {
    /// What is wrong with the line is told before its value is asked for.
    fn validate(command: args::Secret, config: &Config) -> Result<Self, Problem> {
        Ok(match command {
            args::Secret::Set {
                name,
                header,
                query,
                guessable,
            } => {
                check_secret_name(&name).map_err(HostError::from)?;
                let place = match (header, query) {
                    (Some(header), _) => {
                        Some(Place::header(&header).map_err(|e| Problem::usage(format!("--header {e}")))?)
                    }
                    (None, Some(key)) => Some(Place::query(&key).map_err(|e| Problem::usage(format!("--query {e}")))?),
                    (None, None) => None,
                };
                let value = hidden::read(&name, config.limits.secret_value)?;
                Self::Set {
                    name,
                    value,
                    place,
                    guessable: if guessable {
                        Guessable::Accept
                    } else {
                        Guessable::Refuse
                    },
                }
            }
            args::Secret::List => Self::List,
            args::Secret::Remove { name } => Self::Remove { name },
        })
    }
}

/// What the line says; the host puts it over what the configuration says.
fn spec(run: args::Run, limits: &Limits) -> Result<RunSpec, Problem> {
    let task = not_empty("the task", or_input(run.task, limits, "the task")?)?;
    let budget = budget(&run.budget)?;
    Ok(RunSpec {
        plugin: not_empty("--plugin", run.plugin)?,
        task,
        inputs: run.inputs.map(|inputs| object("--inputs", inputs)).transpose()?,
        allow: run.allow,
        own: run.own,
        deny: run.deny,
        tools: run.tool,
        model: run.model,
        script: run.script,
        budget,
    })
}

fn prune_spec(prune: &args::Prune) -> Result<PruneSpec, Problem> {
    if prune.older_than.is_none() && prune.status.is_empty() && prune.keep_bytes.is_none() {
        let problem =
            Problem::usage("which runs? prune removes those that meet all conditions given, and none is given");
        return Err(problem
            .with_help("by age       --older-than 30d")
            .with_help(
                "by status    --status completed,failed,cancelled   (interrupted and damaged go only where named)",
            )
            .with_help("by size      --keep-bytes 1GiB   (the oldest go until the rest fits)")
            .with_help("look first   --dry-run"));
    }
    Ok(PruneSpec {
        older_than: prune.older_than.as_deref().map(age).transpose()?,
        standing: standing(&prune.status),
        keep_bytes: prune.keep_bytes.as_deref().map(bytes).transpose()?,
        dry_run: prune.dry_run,
    })
}

fn which(list: &args::List) -> Which {
    Which {
        limit: list.limit,
        standing: list.status.clone(),
    }
}

fn standing(named: &[args::Status]) -> Vec<Standing> {
    let standing = named.iter().map(|status| match status {
        args::Status::Completed => Standing::Completed,
        args::Status::Failed => Standing::Failed,
        args::Status::Cancelled => Standing::Cancelled,
        args::Status::Interrupted => Standing::Interrupted,
        args::Status::Damaged => Standing::Damaged,
    });
    standing.collect()
}

/// An age with its unit: days too, which no other duration of the host lasts.
fn age(text: &str) -> Result<Duration, Problem> {
    let wrong = || {
        Problem::usage(format!(
            "--older-than {}: an age is a number with its unit: d, h, m, s or ms, like 30d or 12h",
            crate::text::line(text, 40)
        ))
    };
    if text.trim().ends_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let millis = match text.trim().strip_suffix('d') {
        Some(days) => limits::parse(days, Unit::Count)
            .ok()
            .and_then(|days| days.checked_mul(86_400_000)),
        None => limits::parse(text, Unit::Millis).ok(),
    };
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

fn bytes(text: &str) -> Result<u64, Problem> {
    limits::parse(text, Unit::Bytes).map_err(|_| {
        Problem::usage(format!(
            "--keep-bytes {}: a size is a number of bytes, or one with its unit: KiB, MiB or GiB, like 1GiB",
            crate::text::line(text, 40)
        ))
    })
}

fn budget(flags: &[String]) -> Result<Budget, Problem> {
    Budget::parse(&flags.join(",")).map_err(|e| Problem::usage(format!("--budget: {e}")))
}

/// A run file is looked through before it is read, and moved to its place when it is whole: neither is possible with a stream.
fn is_file(what: &str, file: &Path) -> Result<(), Problem> {
    if file.as_os_str() == "-" {
        return Err(Problem::usage(format!(
            "{what} -: a run file can't be a stream; name a file (./- is one called so)"
        )));
    }
    Ok(())
}

fn not_empty(what: &str, text: String) -> Result<String, Problem> {
    if text.trim().is_empty() {
        Err(Problem::usage(format!("{what} is empty")))
    } else {
        Ok(text)
    }
}

fn or_input(text: String, limits: &Limits, what: &str) -> Result<String, Problem> {
    if text == "-" {
        stdio::input(limits.prompt, "limits.prompt", what)
    } else {
        Ok(text)
    }
}

/// JSON text of an object, as it was written.
fn object(what: &str, text: String) -> Result<String, Problem> {
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(_)) => Ok(text),
        Ok(_) => Err(Problem::usage(format!(
            "{what} must be a JSON object, like {{\"q\":\"x\"}}"
        ))),
        Err(error) => Err(Problem::usage(format!(
            "{what} must be a JSON object, and this is no JSON: {error}"
        ))),
    }
}

fn id(of: args::OfRun) -> Result<String, Problem> {
    let id = of.run;
    if !id.is_empty() && id.len() <= 10 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Ok(id);
    }
    let message = format!(
        "`{}` is no run: its id is 10 of the digits 0 to 9 and a to f, or how they begin",
        crate::text::line(&id, 40)
    );
    Err(Problem::usage(message).with_help("list them with  hermes-host runs"))
}
