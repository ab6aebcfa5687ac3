//! Finding the JSON in what a model answered: alone, in a fence, or between words.

use serde_json::{Deserializer, Value};

/// The first object or list in a text that can be read.
pub(crate) fn find(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str::<Value>(text.trim())
        && (value.is_object() || value.is_array())
    {
        return Some(value);
    }
    text.match_indices(['{', '[']).find_map(|(at, _)| {
        let mut values = Deserializer::from_str(&text[at..]).into_iter::<Value>();
        // `[1]` in a sentence is a footnote rather than an answer.
        let is_answer = |value: &Value| match value {
            Value::Object(entries) => !entries.is_empty(),
            Value::Array(items) => items.iter().any(Value::is_object),
            _ => false,
        };
        values.next()?.ok().filter(is_answer)
    })
}

/// The list that an answer holds: the answer itself, or what stands under one of these names, or its only list.
pub(crate) fn list(answer: &Value, names: &[&str]) -> Option<Vec<Value>> {
    if let Some(items) = answer.as_array() {
        return Some(items.clone());
    }
    let named = names.iter().find_map(|name| answer.get(name)?.as_array());
    let lists = || answer.as_object()?.values().find_map(Value::as_array);
    named.or_else(lists).cloned()
}

/// The text under a name, trimmed; none where it is empty or no text.
pub(crate) fn text(value: &Value, name: &str) -> Option<String> {
    let text = value.get(name)?;
    let text = match text {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The texts of the list under a name; none where there is no list. A single text is a list of one.
pub(crate) fn texts(value: &Value, name: &str) -> Option<Vec<String>> {
    match value.get(name)? {
        Value::Array(items) => {
            let texts = items.iter().filter_map(|item| match item {
                Value::String(text) => Some(text.trim().to_owned()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
            Some(texts.filter(|text| !text.is_empty()).collect())
        }
        Value::String(text) if !text.trim().is_empty() => Some(vec![text.trim().to_owned()]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_found_wherever_it_stands() {
        let value = json!({ "tasks": [{ "id": "a" }] });
        for text in [
            value.to_string(),
            format!("  {value}\n"),
            format!("Here is the plan [1]:\n```json\n{value}\n```\nGood luck {{}}."),
            format!("I think {{ so }}: {value}"),
        ] {
            assert_eq!(find(&text), Some(value.clone()), "{text}");
        }
        assert_eq!(find("no plan [1] {}"), None);
    }

    #[test]
    fn lists_and_texts_are_read_leniently() {
        assert_eq!(list(&json!({ "steps": [1] }), &["tasks"]), Some(vec![json!(1)]));
        assert_eq!(list(&json!([1]), &["tasks"]), Some(vec![json!(1)]));
        assert_eq!(list(&json!({ "x": 1 }), &["tasks"]), None);
        let value = json!({ "a": " x ", "b": 3, "c": "", "d": ["p", 2, null, ""] });
        assert_eq!(
            (text(&value, "a"), text(&value, "b"), text(&value, "c")),
            (Some("x".into()), Some("3".into()), None)
        );
        assert_eq!(texts(&value, "d"), Some(vec!["p".into(), "2".into()]));
        assert_eq!((texts(&value, "a"), texts(&value, "e")), (Some(vec!["x".into()]), None));
    }
}
