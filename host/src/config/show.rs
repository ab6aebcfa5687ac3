//! Every setting with its value in force and where it came from, for `config show`.

use toml::Value;

use super::draft::Draft;
use super::keys::KEYS;
use super::model;
use super::source::Source;
use crate::limits;

/// One setting as shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its key.
    pub key: String,
    /// Its value in force. Text from files is not cleaned.
    pub value: String,
    /// Where it was set.
    pub source: Source,
}

pub(super) fn all(draft: &Draft) -> Vec<Shown> {
    let mut shown: Vec<Shown> = KEYS.iter().filter_map(|key| plain(draft, key.name)).collect();
    shown.extend(draft.budget.items().map(|item| {
        let key = format!("budget.{}", item.key());
        Shown {
            source: origin(draft, &key),
            value: item.to_string(),
            key,
        }
    }));
    for (path, source) in &draft.origins {
        if let Some(value) = leaf(draft, path) {
            let key = path.iter().map(|part| part_of_key(part)).collect::<Vec<_>>().join(".");
            shown.push(Shown {
                value: safe(path, &value),
                source: source.clone(),
                key,
            });
        }
    }
    shown.extend(limits::TABLE.iter().map(|row| {
        let key = format!("limits.{}", row.key);
        let value = limits::show(draft.limits.get(row.key).unwrap_or(row.default), row.unit);
        Shown {
            source: origin(draft, &key),
            value,
            key,
        }
    }));
    shown
}

fn plain(draft: &Draft, key: &str) -> Option<Shown> {
    let list = |items: &[String]| Value::from(items.to_vec()).to_string();
    let value = match key {
        "model" => draft.model.clone().unwrap_or_else(|| "not set".to_owned()),
        "allow" => list(&draft.allow),
        "own" => list(&draft.own),
        "deny" => list(&draft.deny),
        "tools" => list(&draft.tools),
        "closing_call" => draft.closing_call.to_string(),
        "tool_delay" => format!("{} ms", draft.tool_delay.as_millis()),
        "durability" => draft.durability.name().to_owned(),
        "compile_cache" => draft.compile_cache.to_string(),
        _ => return None,
    };
    Some(Shown {
        key: key.to_owned(),
        value,
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
    }
}
