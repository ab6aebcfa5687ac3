//! A configuration in the making: layers are put over one another here, each value checked where it stands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize as _;
use toml::{Table, Value};

use super::Durability;
use super::budget::{Budget, Item};
use super::budget_key::Scope;
use super::error::{ConfigError, quoted};
use super::keys::{self, Key, Known};
use super::model::ModelsConfig;
use super::source::Source;
use super::value::Raw;
use crate::error::Dimension;
use crate::limits::{self, Limit, Limits, Looser, Unit};
use crate::text;

/// What a root agent may be denied.
pub const DENIABLE: [&str; 4] = ["llm", "blackboard", "delegation", "lessons"];
/// The most that `tool_delay` may be, in milliseconds.
const MAX_TOOL_DELAY: u64 = 10 * 60 * 1000;

/// A configuration in the making.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) limits: Limits,
    pub(super) model: Option<String>,
    pub(super) allow: Vec<String>,
    pub(super) own: Vec<String>,
    pub(super) deny: Vec<String>,
    /// Where each of those was denied first.
    pub(super) deny_from: BTreeMap<String, Source>,
    pub(super) tools: Vec<String>,
    pub(super) budget: Budget,
    pub(super) durability: Durability,
    pub(super) closing_call: bool,
    pub(super) tool_delay: Duration,
    pub(super) compile_cache: bool,
    /// Providers, aliases and models as tables.
    pub(super) trees: Table,
    /// Where each key that was set was set last.
    pub(super) origins: BTreeMap<Vec<String>, Source>,
    /// The operator's own file, for messages.
    home_file: PathBuf,
}

/// One setting of a layer.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) path: Vec<String>,
    pub(super) value: Raw,
    pub(super) from: Source,
}

impl Draft {
    pub(super) fn new(home_file: PathBuf) -> Self {
        Self {
            limits: Limits::default(),
            model: None,
            allow: Vec::new(),
            own: Vec::new(),
            deny: Vec::new(),
            deny_from: BTreeMap::new(),
            tools: Vec::new(),
            budget: Budget::default(),
            durability: Durability::Power,
            closing_call: true,
            tool_delay: Duration::ZERO,
            compile_cache: true,
            trees: Table::new(),
            origins: BTreeMap::new(),
            home_file,
        }
    }

    /// Puts a layer over this one. A project's layer is held to what this one allows it.
    pub(super) fn put(&mut self, layer: Vec<Setting>) -> Result<(), ConfigError> {
        let below = self.clone();
        for setting in layer {
            let empty = matches!(&setting.value, Raw::Toml(Value::Table(table)) if table.is_empty());
            match keys::find(&setting.path, empty, &setting.from)? {
                Known::Table => {}
                Known::Limit(row) => self.put_limit(row, &setting, &below)?,
                Known::Budget => {
                    let name = setting.path[1..].join(".");
                    let item = Item::read(&name, &setting.value.show()).map_err(|e| setting.wrong(e.to_string()))?;
                    self.put_budget(&Budget::from(item), &setting, &below)?;
                }
                Known::Key(key) => self.put_key(key, &setting, &below)?,
                Known::Tree(key) => self.put_tree(key, &setting)?,
            }
        }
        Ok(())
    }

    fn put_key(&mut self, key: &Key, setting: &Setting, below: &Self) -> Result<(), ConfigError> {
        let in_project = matches!(setting.from, Source::Project { .. });
        if in_project && key.project.is_none() {
            return Err(self.not_in_project(key, setting, None));
        }
        let value = &setting.value;
        let wrong = |reason: String| setting.wrong(reason);
        match key.name {
            "model" => {
                let model = value.text().map_err(wrong)?;
                let alias = below.trees.get("aliases").and_then(|aliases| aliases.get(&model));
                if in_project && alias.is_none() {
                    return Err(self.not_in_project(
                        key,
                        setting,
                        Some(format!("{} is no such alias", quoted(&model))),
                    ));
                }
                self.model = Some(model);
            }
            "allow" => self.allow = value.list().map_err(wrong)?,
            "own" => self.own = value.list().map_err(wrong)?,
            "deny" => {
                let kinds = value.list().and_then(deniable).map_err(wrong)?;
                // A project's file adds to what there is.
                let (mut deny, mut from) = match in_project {
                    true => (below.deny.clone(), below.deny_from.clone()),
                    false => (Vec::new(), BTreeMap::new()),
                };
                for kind in &kinds {
                    from.entry(kind.clone()).or_insert_with(|| setting.from.clone());
                }
                deny.extend(kinds);
                (self.deny, self.deny_from) = (deny, from);
            }
            "tools" => self.tools = value.list().map_err(wrong)?,
            "budget" => {
                let budget = value
                    .text()
                    .and_then(|text| Budget::parse(&text).map_err(|e| e.to_string()));
                return self.put_budget(&budget.map_err(wrong)?, setting, below);
            }
            "closing_call" => self.closing_call = value.flag().map_err(wrong)?,
            "compile_cache" => self.compile_cache = value.flag().map_err(wrong)?,
            "tool_delay" => {
                let ms = value.number(Unit::Millis).map_err(wrong)?;
                if ms > MAX_TOOL_DELAY {
                    return Err(wrong("it must be at most 10 min".to_owned()));
                }
                self.tool_delay = Duration::from_millis(ms);
            }
            "durability" => self.durability = value.text().and_then(|text| text.parse()).map_err(wrong)?,
            other => unreachable!("the table of keys has `{other}`, and nothing reads it"),
        }
        self.origins.insert(setting.path.clone(), setting.from.clone());
        Ok(())
    }

    fn put_limit(&mut self, row: &Limit, setting: &Setting, below: &Self) -> Result<(), ConfigError> {
        let value = setting.value.number(row.unit).map_err(|e| setting.wrong(e))?;
        let in_force = below.limits.get(row.key).unwrap_or(row.default);
        if matches!(setting.from, Source::Project { .. }) && row.is_looser(value, in_force) {
            return Err(self.too_loose(setting, row.looser, &limits::show(in_force, row.unit)));
        }
        self.limits
            .set(row.key, value)
            .map_err(|e| setting.wrong(e.to_string()))?;
        self.origins.insert(setting.path.clone(), setting.from.clone());
        Ok(())
    }

    fn put_budget(&mut self, budget: &Budget, setting: &Setting, below: &Self) -> Result<(), ConfigError> {
        for item in budget.items() {
            if matches!(setting.from, Source::Project { .. })
                && let Some(in_force) = below.budget_in_force(item)
                && item.value > in_force
            {
                return Err(self.too_loose(
                    setting,
                    Looser::More,
                    &Item {
                        value: in_force,
                        ..item
                    }
                    .to_string(),
                ));
            }
            let path = std::iter::once("budget".to_owned())
                .chain(item.key().split('.').map(str::to_owned))
                .collect();
            self.origins.insert(path, setting.from.clone());
        }
        self.budget = std::mem::take(&mut self.budget).overlaid(budget);
        Ok(())
    }

    /// The limit that binds: the one that is set, else its default.
    fn budget_in_force(&self, item: Item) -> Option<u64> {
        let default = self.budget_default(item.scope, item.dimension);
        let set = self.budget.get(item.scope, item.dimension);
        set.or(default.map(|(_, value)| value))
    }

    /// What binds where a budget sets no limit: some have their default among the limits, under this key.
    pub(super) fn budget_default(&self, scope: Scope, dimension: Dimension) -> Option<(&'static str, u64)> {
        let key = match (scope, dimension) {
            (Scope::Root, Dimension::Iterations) => "iterations.root",
            (Scope::Child, Dimension::Iterations) => "iterations.child",
            (Scope::Root, Dimension::WallClockMs) => "run_wall",
            (Scope::Root | Scope::Child, Dimension::JournalBytes) => "journal_bytes",
            _ => return None,
        };
        Some((key, self.limits.get(key)?))
    }

    fn put_tree(&mut self, key: &Key, setting: &Setting) -> Result<(), ConfigError> {
        if matches!(setting.from, Source::Project { .. }) {
            return Err(self.not_in_project(key, setting, None));
        }
        let (last, tables) = setting.path.split_last().unwrap_or((&setting.path[0], &[]));
        let mut table = &mut self.trees;
        for name in tables {
            let inner = table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
            table = inner
                .as_table_mut()
                .ok_or_else(|| setting.wrong(format!("`{name}` is a value, not a table")))?;
        }
        table.insert(last.clone(), setting.value.tree());
        self.origins.insert(setting.path.clone(), setting.from.clone());
        Ok(())
    }

    /// The typed form of providers, aliases and models; an error names the entry that is to blame where one alone is.
    pub(super) fn models(&self) -> Result<ModelsConfig, ConfigError> {
        ModelsConfig::deserialize(Value::Table(self.trees.clone())).map_err(|whole| {
            let culprit = self.origins.iter().find_map(|(path, from)| {
                let entry = self.trees.get(path.first()?)?.get(path.get(1)?)?;
                let alone = Table::from_iter([(path[1].clone(), entry.clone())]);
                let alone = Value::Table(Table::from_iter([(path[0].clone(), Value::Table(alone))]));
                let error = ModelsConfig::deserialize(alone).err()?;
                Some((path[..2].join("."), from.clone(), error))
            });
            let (name, from, error) = culprit.unwrap_or(("models".to_owned(), Source::Default, whole));
            ConfigError::Models {
                from,
                reason: format!("`{name}`: {}", text::line(error.message(), 200)),
            }
        })
    }

    fn not_in_project(&self, key: &Key, setting: &Setting, why: Option<String>) -> ConfigError {
        let reason = match key.project {
            Some(may) => format!("it may only {may}"),
            None => "it would change what strangers' code may do or where keys and prompts go".to_owned(),
        };
        self.project_error(
            setting,
            why.map_or(reason.clone(), |why| format!("{reason}, and {why}")),
        )
    }

    fn too_loose(&self, setting: &Setting, looser: Looser, in_force: &str) -> ConfigError {
        let value = quoted(&setting.value.show());
        let (may, is) = match looser {
            Looser::More => ("lower", "more"),
            Looser::Less => ("raise", "less"),
        };
        self.project_error(
            setting,
            format!("it may only {may} it, and {value} is {is} than {in_force}"),
        )
    }

    fn project_error(&self, setting: &Setting, reason: String) -> ConfigError {
        let (key, from) = (text::line(&setting.path.join("."), 80), setting.from.clone());
        ConfigError::Project {
            key,
            from,
            reason,
            home: self.home_file.clone(),
        }
    }
}

impl Setting {
    fn wrong(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            key: text::line(&self.path.join("."), 80),
            value: quoted(&self.value.show()),
            from: self.from.clone(),
            reason: reason.into(),
        }
    }
}

fn deniable(names: Vec<String>) -> Result<Vec<String>, String> {
    match names.iter().find(|name| !DENIABLE.contains(&name.as_str())) {
        None => Ok(names),
        Some(odd) => Err(format!(
            "what can be denied is {}, not {}",
            DENIABLE.join(", "),
            quoted(odd)
        )),
    }
}
