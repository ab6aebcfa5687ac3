//! Values of a script as JSON, and JSON as values of a script.

use rhai::{Array, Blob, Dynamic, ImmutableString, Map};
use serde_json::{Number, Value};

use crate::caps::RESULT_DEPTH;

/// A script's value from JSON. A whole number that is too large becomes a float.
pub(crate) fn from_json(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => number.as_i64().map_or_else(
            || number.as_f64().map_or(Dynamic::UNIT, Dynamic::from_float),
            Dynamic::from_int,
        ),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(from_json).collect::<Array>().into(),
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.as_str().into(), from_json(value)));
            entries.collect::<Map>().into()
        }
    }
}

/// JSON from a script's value.
///
/// # Errors
/// In words, what JSON has no form for: functions, numbers that are none, values that nest too deep.
pub(crate) fn to_json(value: Dynamic) -> Result<Value, String> {
    at_depth(value, 0)
}

fn at_depth(value: Dynamic, depth: usize) -> Result<Value, String> {
    if depth > RESULT_DEPTH {
        return Err(format!("it nests deeper than {RESULT_DEPTH}"));
    }
    let value = value.flatten();
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(truth) = value.as_bool() {
        return Ok(truth.into());
    }
    if let Ok(number) = value.as_int() {
        return Ok(number.into());
    }
    if let Ok(number) = value.as_float() {
        let number =
            Number::from_f64(number).ok_or_else(|| format!("it holds the number {number}, which JSON lacks"))?;
        return Ok(Value::Number(number));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(letter.to_string().into());
    }
    let name = value.type_name();
    if value.is::<ImmutableString>() {
        return Ok(value.into_string().unwrap_or_default().into());
    }
    if value.is::<Array>() {
        let items = value.cast::<Array>().into_iter();
        return items.map(|item| at_depth(item, depth + 1)).collect();
    }
    if value.is::<Map>() {
        let entries = value.cast::<Map>().into_iter();
        return entries
            .map(|(key, value)| Ok((key.to_string(), at_depth(value, depth + 1)?)))
            .collect();
    }
    if value.is::<Blob>() {
        return Ok(value.cast::<Blob>().into());
    }
    Err(format!("it holds a value of the type {name}, which JSON lacks"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_comes_back_as_it_went() {
        let value = json!({ "a": [1, 2.5, "x", null, true, { "b": [] }], "ü": -9_007_199_254_740_993_i64 });
        assert_eq!(to_json(from_json(&value)), Ok(value));
        assert_eq!(to_json(from_json(&json!(u64::MAX))), Ok(json!(u64::MAX as f64)));
    }

    #[test]
    fn what_json_lacks_is_named() {
        assert!(to_json(Dynamic::from_float(f64::NAN)).unwrap_err().contains("NaN"));
        assert!(to_json(Dynamic::from(0_i64..3)).unwrap_err().contains("range"));
        let deep = (0..100).fold(Dynamic::UNIT, |inner, _| vec![inner].into());
        assert!(to_json(deep).unwrap_err().contains("deeper than 32"));
    }
}
