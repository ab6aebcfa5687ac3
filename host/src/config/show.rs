//! Every setting with its value in force and where it came from, for `config show`.

use std::path::Path;

use serde_json::Value as Json;
use toml::Value;

use super::budget::Item;
use super::budget_key::Scope;
use super::draft::Draft;
use super::keys::{KEYS, TREES};
use super::model;
use super::reference;
use super::source::Source;
use crate::error::Dimension;
use crate::limits::{self, Unit};

/// One setting as shown to people and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its key.
    pub key: String,
    /// Its value in force, for people. Text from files is not cleaned.
    pub value: String,
    /// The same for programs: a number in the key's own unit (bytes, milliseconds, dollars), a list; null where nothing is set.
    pub plain: Json,
    /// Where it was set.
    pub source: Source,
}

/// All settings; the home folder comes first, with what named it.
pub(super) fn all(draft: &Draft, home: &Path, named_by: Source) -> Vec<Shown> {
    let home = home.display().to_string();
    let mut shown = vec![Shown {
        key: "home".to_owned(),
        value: home.clone(),
        plain: home.into(),
        source: named_by,
    }];
    shown.extend(KEYS.iter().filter_map(|key| plain(draft, key.name)));
    shown.extend(budget(draft));
    // Of what is not set the reference's word for it stands there.
    let unset = KEYS
        .iter()
        .filter(|key| TREES.contains(&key.name) && !draft.trees.contains_key(key.name));
    shown.extend(unset.map(|key| Shown {
        key: key.name.to_owned(),
        value: key.default.to_owned(),
        plain: Json::Null,
        source: Source::Default,
    }));
    for (path, source) in &draft.origins {
        if let Some(value) = leaf(draft, path) {
            let key = path.iter().map(|part| part_of_key(part)).collect::<Vec<_>>().join(".");
            shown.push(Shown {
                value: safe(path, &value),
                plain: safe_json(path, &value),
                source: source.clone(),
                key,
            });
        }
    }
    shown.extend(limits::TABLE.iter().map(|row| {
        let key = format!("limits.{}", row.key);
        let value = draft.limits.get(row.key).unwrap_or(row.default);
        Shown {
            source: origin(draft, &key),
            value: reference::shown(value, row.unit),
            plain: value.into(),
            key,
        }
    }));
    shown
}

/// The limits of a budget that are in force, those that have their default among the limits too.
fn budget(draft: &Draft) -> Vec<Shown> {
    let mut shown = Vec::new();
    for scope in [Scope::Root, Scope::Child, Scope::Tree] {
        for dimension in Dimension::ALL {
            let set = draft.budget.get(scope, dimension);
            let default = draft.budget_default(scope, dimension);
            let Some(value) = set.or(default.map(|(_, value)| value)) else {
                continue;
            };
            let item = Item {
                scope,
                dimension,
                value,
            };
            let key = format!("budget.{}", item.key());
            let source = match (set, default) {
                (None, Some((limit, _))) => origin(draft, &format!("limits.{limit}")),
                _ => origin(draft, &key),
            };
            let (value, plain) = amount(item);
            shown.push(Shown {
                key,
                value,
                plain,
                source,
            });
        }
    }
    shown
}

/// A limit of a budget for people, and for programs in the unit that its key takes.
fn amount(item: Item) -> (String, Json) {
    match item.dimension {
        Dimension::CostMicroUsd => {
            let dollars = item.to_string();
            let number = dollars.parse::<f64>().ok();
            (dollars, number.into())
        }
        Dimension::WallClockMs => (item.to_string(), item.value.into()),
        Dimension::StoredBytes | Dimension::JournalBytes => {
            (reference::shown(item.value, Unit::Bytes), item.value.into())
        }
        _ => (reference::shown(item.value, Unit::Count), item.value.into()),
    }
}

fn plain(draft: &Draft, key: &str) -> Option<Shown> {
    let list =
        |items: &[String]| -> (String, Json) { (Value::from(items.to_vec()).to_string(), items.to_vec().into()) };
    let flag = |value: bool| -> (String, Json) { (value.to_string(), value.into()) };
    let text = |value: &str| -> (String, Json) { (value.to_owned(), value.into()) };
    let (value, plain) = match key {
        "model" => match draft.model.as_deref() {
            Some(model) => text(model),
            None => ("not set".to_owned(), Json::Null),
        },
        "allow" => list(&draft.allow),
        "own" => list(&draft.own),
        "deny" => list(&draft.deny),
        "tools" => list(&draft.tools),
        "closing_call" => flag(draft.closing_call),
        "tool_delay" => {
            let ms = u64::try_from(draft.tool_delay.as_millis()).unwrap_or(u64::MAX);
            (limits::show(ms, Unit::Millis), ms.into())
        }
        "durability" => text(draft.durability.name()),
        "compile_cache" => flag(draft.compile_cache),
        _ => return None,
    };
    Some(Shown {
        key: key.to_owned(),
        value,
        plain,
        source: origin(draft, key),
    })
}

fn origin(draft: &Draft, key: &str) -> Source {
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    draft.origins.get(&path).cloned().unwrap_or(Source::Default)
}

fn leaf(draft: &Draft, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(draft.trees.get(first)?, |value, part| value.get(part))
        .cloned()
}

fn part_of_key(part: &str) -> String {
    let bare = !part.is_empty()
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare {
        part.to_owned()
    } else {
        Value::from(part).to_string()
    }
}

/// No secret belongs into these files; one that was put there all the same is not shown.
fn safe(path: &[String], value: &Value) -> String {
    if may_be_secret(path, value) {
        return "[hidden]".to_owned();
    }
    match value {
        Value::String(text) => without_userinfo(text),
        Value::Table(table) => {
            let part = |(key, value): (&String, &Value)| {
                format!("{key} = {}", safe(&[path, std::slice::from_ref(key)].concat(), value))
            };
            format!("{{ {} }}", table.iter().map(part).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The same for programs.
fn safe_json(path: &[String], value: &Value) -> Json {
    if may_be_secret(path, value) {
        return safe(path, value).into();
    }
    match value {
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Array(items) => items.iter().map(|item| safe_json(path, item)).collect(),
        Value::Table(table) => {
            let part = |(key, value): (&String, &Value)| {
                let below = [path, std::slice::from_ref(key)].concat();
                (key.clone(), safe_json(&below, value))
            };
            table.iter().map(part).collect::<serde_json::Map<_, _>>().into()
        }
        Value::String(_) | Value::Datetime(_) => safe(path, value).into(),
    }
}

/// Whether a secret may stand here: only below a provider there is a place for one, and none is a number.
fn may_be_secret(path: &[String], value: &Value) -> bool {
    const HIDING: [&str; 5] = ["key", "token", "secret", "password", "header"];
    let [first, _, rest @ ..] = path else { return false };
    if first != "providers" || !matches!(value, Value::String(_) | Value::Array(_)) {
        return false;
    }
    match rest {
        // A key that stands where its variable's name should.
        [only] if only == "key_env" => !value.as_str().is_some_and(model::is_variable_name),
        [only] if only == "key_file" => false,
        parts => parts.iter().any(|part| HIDING.iter().any(|word| part.contains(word))),
    }
}

fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://[hidden]{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &[&str], value: impl Into<Value>) -> String {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        safe(&path, &value.into())
    }

    #[test]
    fn only_what_may_be_a_secret_is_hidden() {
        assert_eq!(shown(&["models", "home/qwen3", "context_tokens"], 32_768), "32768");
        assert_eq!(shown(&["models", "tokenizer/x", "max_output_tokens"], 4_096), "4096");
        assert_eq!(shown(&["aliases", "keystone"], "home/qwen3"), "home/qwen3");
        assert_eq!(shown(&["providers", "token", "kind"], "openai"), "openai");
        assert_eq!(shown(&["providers", "x", "key_env"], "X_KEY"), "X_KEY");
        assert_eq!(shown(&["providers", "x", "key_file"], "/keys/x"), "/keys/x");
        assert_eq!(shown(&["providers", "x", "keys"], true), "true");
        for (key, value) in [("key_env", "sk-live"), ("api_key", "sk-live"), ("password", "sk-live")] {
            assert_eq!(shown(&["providers", "x", key], value), "[hidden]", "{key}");
        }
        assert_eq!(shown(&["providers", "x", "tokens"], vec!["sk-live"]), "[hidden]");
        assert_eq!(
            shown(&["providers", "x", "headers", "Authorization"], "sk-live"),
            "[hidden]"
        );
    }

    #[test]
    fn a_table_is_shown_but_for_the_secret_in_it() {
        let table: toml::Table = "key = 'sk-live'\nkind = 'openai'\n".parse().unwrap();
        assert_eq!(
            shown(&["providers", "keystone"], table),
            "{ key = [hidden], kind = openai }"
        );
        let table: toml::Table = "key = 'sk-live'\nbase_url = 'http://me:pw@x/'\nparts = [1, 2.5, true]\n"
            .parse()
            .unwrap();
        let path = ["providers".to_owned(), "keystone".to_owned()];
        assert_eq!(
            safe_json(&path, &table.into()),
            serde_json::json!({ "key": "[hidden]", "base_url": "http://[hidden]@x/", "parts": [1, 2.5, true] })
        );
    }
}
