//! The configuration: built-in defaults, the operator's file, the project's file, variables and flags, each put over
//! the one before, every value with where it came from.
//!
//! The project's file, `hermes.toml` in the current folder, may be a stranger's: it may narrow what the operator
//! allows, and nothing else.

mod budget;
mod budget_key;
mod draft;
mod error;
mod file;
mod keys;
pub mod known;
pub mod model;
mod paths;
mod reference;
mod show;
mod source;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::limits::Limits;
use crate::text;
use draft::{Draft, Setting};
use file::Whose;
use model::ModelsConfig;
use value::Raw;

pub(crate) use budget::Item;
pub use budget::{Budget, BudgetError};
pub(crate) use budget_key::{BudgetKey, Scope, raised_with};
pub use draft::DENIABLE;
pub use error::ConfigError;
pub use reference::{markdown as reference, values as reference_values};
pub use show::Shown;
pub use source::Source;

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// The home folder, absolute: `HERMES_HOME`, else `~/.hermes`. It need not exist.
    pub home: PathBuf,
    /// Where the host keeps its state: `host` in the home folder.
    pub state_dir: PathBuf,
    /// The operator's own folder, `HOME`, where it is set: writing into it itself, what is hidden in it, or outside of it takes two keys.
    pub user_home: Option<PathBuf>,
    /// Every cap.
    pub limits: Limits,
    /// Providers, aliases and models.
    pub models: ModelsConfig,
    /// The model of a root agent: `provider/name` or an alias.
    pub model: Option<String>,
    /// Grants for every run, in the operator's notation.
    pub allow: Vec<String>,
    /// `TOOL=GRANT`: what a tool may do whichever agent calls it.
    pub own: Vec<String>,
    /// Defaults that a root agent shall not have.
    pub deny: Vec<String>,
    /// Where each of those was denied.
    pub deny_from: BTreeMap<String, Source>,
    /// `[PREFIX=]PATH` of tools for every run.
    pub tools: Vec<String>,
    /// Limits of every run.
    pub budget: Budget,
    /// What durable records survive.
    pub durability: Durability,
    /// Whether an agent out of iterations gets a closing call.
    pub closing_call: bool,
    /// The least time between the starts of two tool calls of one agent.
    pub tool_delay: Duration,
    /// Whether compiled plugins are kept on disk.
    pub compile_cache: bool,
    /// Every setting with its value in force and where it came from; the home folder comes first.
    pub shown: Vec<Shown>,
}

/// What a record that is called durable survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power.
    Power,
    /// The end of the process.
    Process,
}

/// Where a configuration is read from, besides files.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// The current folder; none when it is gone.
    pub cwd: Option<PathBuf>,
    /// `--home`.
    pub home: Option<PathBuf>,
    /// `--set KEY=VALUE`, in the order given.
    pub set: Vec<String>,
}

impl Config {
    /// Reads all layers. Touches no file but the two of the configuration, and writes nothing.
    ///
    /// # Errors
    /// No home folder, a file that can't be read, an unknown key or variable, a value that its key can't have, or a
    /// project's file that would widen what the operator allows.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let (home, named_by) = home(sources)?;
        let state_dir = home.join("host");
        let home_file = state_dir.join("config.toml");
        let mut draft = Draft::new(home_file.clone());
        draft.put(lines(&home_file, Whose::Operators, |path, line| Source::Home {
            path,
            line,
        })?)?;
        if let Some(cwd) = &sources.cwd {
            draft.put(lines(&cwd.join("hermes.toml"), Whose::Projects, |path, line| {
                Source::Project { path, line }
            })?)?;
        }
        draft.put(variables(&sources.env)?)?;
        draft.put(flags(&sources.set)?)?;
        let mut models = draft.models()?;
        paths::resolve(&mut models, &draft, sources);
        let shown = show::all(&draft, &home, named_by);
        Ok(Self {
            home,
            state_dir,
            user_home: paths::home(sources),
            models,
            shown,
            limits: draft.limits,
            model: draft.model,
            allow: draft.allow,
            own: draft.own,
            deny: draft.deny,
            deny_from: draft.deny_from,
            tools: draft.tools,
            budget: draft.budget,
            durability: draft.durability,
            closing_call: draft.closing_call,
            tool_delay: draft.tool_delay,
            compile_cache: draft.compile_cache,
        })
    }
}

impl Durability {
    /// As the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Process => "process",
        }
    }
}

impl FromStr for Durability {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        [Self::Power, Self::Process]
            .into_iter()
            .find(|durability| durability.name() == s)
            .ok_or_else(|| "it must be `power` or `process`".to_owned())
    }
}

/// The home folder, and what named it.
fn home(sources: &Sources) -> Result<(PathBuf, Source), ConfigError> {
    let variable = |name: &str| {
        sources
            .env
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| PathBuf::from(value))
    };
    let (named_by, path) = match (&sources.home, variable("HERMES_HOME"), variable("HOME")) {
        (Some(path), _, _) => ("--home", path.clone()),
        (None, Some(path), _) => ("HERMES_HOME", path),
        (None, None, Some(home)) if !home.as_os_str().is_empty() => ("HOME", home.join(".hermes")),
        _ => return Err(ConfigError::NoHome),
    };
    let bad = |reason| ConfigError::BadHome {
        variable: named_by,
        reason,
    };
    let source = match named_by {
        "--home" => Source::Flag(named_by.to_owned()),
        "HERMES_HOME" => Source::Variable(named_by.to_owned()),
        _ => Source::Default,
    };
    match &sources.cwd {
        _ if path.as_os_str().is_empty() => Err(bad("it is empty")),
        _ if path.is_absolute() => Ok((path, source)),
        // HOME is nobody's word for this host: taken from the current folder it would make a stranger's `.hermes` the operator's.
        _ if named_by == "HOME" => Err(bad("it is not absolute")),
        Some(cwd) => Ok((cwd.join(path), source)),
        None => Err(bad("it is not absolute, and the current folder is gone")),
    }
}

fn lines(path: &Path, whose: Whose, source: impl Fn(PathBuf, usize) -> Source) -> Result<Vec<Setting>, ConfigError> {
    let lines = file::read(path, whose)?.into_iter();
    Ok(lines
        .map(|l| Setting {
            path: l.path,
            value: l.value,
            from: source(path.to_owned(), l.number),
        })
        .collect())
}

fn variables(env: &[(OsString, OsString)]) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for (name, value) in env {
        let name = name.to_string_lossy();
        if !name.starts_with(keys::PREFIX) || name == LOG_VARIABLE {
            continue;
        }
        let Some(path) = keys::of_variable(&name) else {
            // What all of them begin with makes none of them near.
            let rest = |variable: &str| variable.strip_prefix(keys::PREFIX).unwrap_or(variable).to_owned();
            let known: Vec<String> = keys::settable().map(|key| rest(&keys::variable(&key))).collect();
            let nearest = text::nearest(&rest(&name), known.iter().map(String::as_str));
            let nearest = nearest.map(|nearest| format!("{}{nearest}", keys::PREFIX));
            return Err(ConfigError::UnknownVariable {
                name: text::line(&name, 80),
                nearest,
            });
        };
        let Some(value) = value.to_str() else {
            return Err(ConfigError::Value {
                key: path.join("."),
                value: error::quoted(&value.to_string_lossy()),
                from: Source::Variable(name.into_owned()),
                reason: "it is not UTF-8 text".to_owned(),
            });
        };
        let from = Source::Variable(name.into_owned());
        settings.push(Setting {
            path,
            value: Raw::Text(value.to_owned()),
            from,
        });
    }
    Ok(settings)
}

fn flags(set: &[String]) -> Result<Vec<Setting>, ConfigError> {
    set.iter()
        .map(|text| {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| ConfigError::NoValue(text::line(text, 80)))?;
            let path = key_path(key.trim());
            Ok(Setting {
                path,
                value: Raw::Text(value.to_owned()),
                from: Source::Flag(format!("--set {}", text::line(key, 80))),
            })
        })
        .collect()
}

/// The parts of a dotted key; a part in quotes may have points in it, as in TOML.
fn key_path(key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in key.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => parts.last_mut().map_or((), |part| part.push(c)),
        }
    }
    parts
}

/// The variable that chooses what the host logs about itself; it is no part of the configuration.
pub const LOG_VARIABLE: &str = "HERMES_HOST_LOG";

#[cfg(test)]
mod tests;
