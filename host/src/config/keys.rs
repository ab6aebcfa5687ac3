//! Every key of the configuration, in one table: what it holds, its default, what it is for, and whether a project's
//! file may set it. Limits have their own table, [`crate::limits::TABLE`], and stand here below `limits.`.

use super::error::ConfigError;
use super::source::Source;
use crate::limits::{self, Limit};
use crate::text;

/// A key besides the limits.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// What the reference says that it takes.
    pub(super) takes: &'static str,
    /// What the reference shows as default.
    pub(super) default: &'static str,
    /// What a project's file may do with it; none: nothing.
    pub(super) project: Option<&'static str>,
    /// What it is for.
    pub(super) about: &'static str,
}

/// All keys besides the limits, in the order in which documentation shows them.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "model",
        takes: "`provider/name` or an alias",
        default: "found: environment keys and base URLs, then a local server",
        project: Some("choose among the aliases of the operator's own file"),
        about: "The model of a root agent.",
    },
    Key {
        name: "allow",
        takes: "list of `[PLUGIN=]GRANT`",
        default: "none",
        project: None,
        about: "Grants for every run, before those of `--allow`. Paths are taken from the current folder. What a single plugin of yours \
                may do is better approved with it: `hermes-host plugin add`. `PLUGIN=` is for a plugin that is built in or lies in \
                `$HERMES_HOME/plugins`, and for a file only where [`tools`](#tools) has its whole path ([why](decisions/0046-to-whom-a-standing-grant-goes.md)). \
                For what takes [two keys](security.md#grants), as `net:*` does, this is not enough: say it with `--allow`, or approve it with the plugin.",
    },
    Key {
        name: "own",
        takes: "list of `TOOL=GRANT`",
        default: "none",
        project: None,
        about: "Grants that a tool has itself, for any agent that may call it, before those of `--own`. Never folders. For what takes \
                [two keys](security.md#grants) this is not enough, and `TOOL=` is for the same plugins, as with [`allow`](#allow).",
    },
    Key {
        name: "deny",
        takes: "list of `llm`, `blackboard`, `delegation`, `lessons`",
        default: "none",
        project: Some("add to it"),
        about: "What a root agent has by default and shall not have, as `--deny`.",
    },
    Key {
        name: "tools",
        takes: "list of `[PREFIX=]PATH`",
        default: "none",
        project: None,
        about: "Tools for every run, before those of `--tool`. Paths are taken from the current folder.",
    },
    Key {
        name: "budget",
        takes: "`iterations=20,usd=0.50,wall=5m`, or a table of the same keys",
        default: "iterations 90, a child's 50, wall 10 min",
        project: Some("lower it"),
        about: "Limits of a run: a bare key limits the root, `child.KEY` is a child's default, `tree.KEY` the whole run. \
                `--budget` goes over it key by key.",
    },
    Key {
        name: "closing_call",
        takes: "`true` or `false`",
        default: "true",
        project: None,
        about: "Whether an agent that has used up its iterations may make one more call, without tools, to sum up.",
    },
    Key {
        name: "tool_delay",
        takes: "milliseconds, or a duration like `2s`, up to 10 min",
        default: "0",
        project: None,
        about: "The least time between the starts of two tool calls of one agent.",
    },
    Key {
        name: "durability",
        takes: "`power` or `process`",
        default: "power",
        project: None,
        about: "What a record that is called durable survives: loss of power, or only the end of the process (faster).",
    },
    Key {
        name: "compile_cache",
        takes: "`true` or `false`",
        default: "true",
        project: None,
        about: "Whether compiled plugins are kept on disk, up to `limits.compile.cache`.",
    },
    Key {
        name: "providers",
        takes: "tables `[providers.NAME]` of `kind` (`openai`, `anthropic`, `scripted`), `base_url`, `key_env` or `key_file`, `file`",
        default: "none",
        project: None,
        about: "Where models are, which protocol they speak, and where the key is kept (never the key itself): `key_env` is the \
                name of an environment variable, `key_file` a file that you alone may read. Paths are taken from the folder of \
                the file that they stand in, `~/` is your own.",
    },
    Key {
        name: "aliases",
        takes: "`NAME = \"provider/name\"`",
        default: "none",
        project: None,
        about: "Short names of models; a strategy sees these only.",
    },
    Key {
        name: "models",
        takes: "tables `[models.\"provider/name\"]` of `context_tokens`, `max_output_tokens`, `price`",
        default: "built-in list",
        project: None,
        about: "Prices and sizes of models, over those of the [built-in list](#models-with-known-prices).",
    },
];

/// Keys that hold tables of the operator's own names.
pub(super) const TREES: [&str; 3] = ["providers", "aliases", "models"];

/// What a path of table names and key leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    /// A plain setting.
    Key(&'static Key),
    /// A limit.
    Limit(&'static Limit),
    /// One limit of the budget.
    Budget,
    /// Something within providers, aliases or models.
    Tree(&'static Key),
    /// A table without a value in it, which sets nothing.
    Table,
}

/// What `path` leads to; an unknown one is an error with the nearest key. The value may be an empty table.
pub(super) fn find(path: &[String], empty: bool, from: &Source) -> Result<Known, ConfigError> {
    let name = path.join(".");
    let first = path.first().map_or("", String::as_str);
    if TREES.contains(&first) {
        return match KEYS.iter().find(|key| key.name == first) {
            Some(key) if path.len() > 1 => Ok(Known::Tree(key)),
            _ if empty => Ok(Known::Table),
            _ => Err(ConfigError::Value {
                key: name,
                value: "this".to_owned(),
                from: from.clone(),
                reason: "it is a table".to_owned(),
            }),
        };
    }
    if let Some(limit) = name.strip_prefix("limits.").and_then(limit) {
        return Ok(Known::Limit(limit));
    }
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Ok(if empty && name == "budget" {
            Known::Table
        } else {
            Known::Key(key)
        });
    }
    let beginning = format!("{name}.");
    if empty && (name == "limits" || names().any(|known| known.starts_with(&beginning))) {
        return Ok(Known::Table);
    }
    if first == "budget" && path.len() > 1 {
        return Ok(Known::Budget);
    }
    let nearest = names().collect::<Vec<_>>();
    let nearest = text::nearest(&name, nearest.iter().map(String::as_str)).map(str::to_owned);
    Err(ConfigError::UnknownKey {
        key: text::line(&name, 80),
        from: from.clone(),
        nearest,
    })
}

/// The key that the variable `name` sets, as a path; none when there is none.
pub(super) fn of_variable(name: &str) -> Option<Vec<String>> {
    let key = settable().find(|key| variable(key) == name)?;
    Some(key.split('.').map(str::to_owned).collect())
}

/// The variable that sets `key`: `limits.llm.first_byte` → `HERMES_HOST_LIMITS_LLM_FIRST_BYTE`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Keys that a variable can set: all but those below the operator's own names.
pub(super) fn settable() -> impl Iterator<Item = String> {
    names().filter(|name| !TREES.contains(&name.as_str()))
}

/// What variables of the configuration start with.
pub(super) const PREFIX: &str = "HERMES_HOST_";

fn names() -> impl Iterator<Item = String> {
    let limits = limits::TABLE.iter().map(|row| format!("limits.{}", row.key));
    KEYS.iter().map(|key| key.name.to_owned()).chain(limits)
}

fn limit(key: &str) -> Option<&'static Limit> {
    limits::TABLE.iter().find(|row| row.key == key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_share_a_variable() {
        let variables: Vec<String> = settable().map(|key| variable(&key)).collect();
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
        assert!(
            !variables.contains(&format!("{PREFIX}LOG")),
            "HERMES_HOST_LOG is the log's own"
        );
        for key in settable() {
            assert_eq!(of_variable(&variable(&key)).unwrap().join("."), key);
        }
    }
}
