//! Reads JSON that a stranger wrote: within a depth, with no key twice, and nothing but one value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// JSON text that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It nests deeper than allowed.
    #[error("it nests deeper than {0} (limits.json.depth)")]
    TooDeep(u64),
    /// It is no JSON, or has a key twice.
    #[error("{0}")]
    Malformed(String),
}

/// Reads one JSON value.
///
/// # Errors
/// It nests deeper than `depth`, has a key twice in one object, or is not exactly one JSON value (RFC 8259).
pub fn parse(text: &str, depth: u64) -> Result<Value, JsonError> {
    if nesting(text) > depth {
        return Err(JsonError::TooDeep(depth));
    }
    let strict: Strict = serde_json::from_str(text).map_err(|e| JsonError::Malformed(e.to_string()))?;
    Ok(strict.0)
}

/// How deep brackets nest outside strings; a bound for text that is no JSON, too.
pub fn nesting(text: &str) -> u64 {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0u64, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_holds_from_both_sides() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(&nested(64), 64).is_ok());
        assert_eq!(parse(&nested(65), 64), Err(JsonError::TooDeep(64)));
        assert!(parse(&nested(100_000), 64).is_err());
        assert!(parse(r#"{"a":"[[[[\"[["}"#, 1).is_ok());
    }

    #[test]
    fn odd_text_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            "1e999",
            "",
            "{} {}",
            "NaN",
            "{'a':1}",
            r#"{"a":{"b":1,"b":1}}"#,
        ] {
            assert!(parse(text, 64).is_err(), "{text}");
        }
    }
}
