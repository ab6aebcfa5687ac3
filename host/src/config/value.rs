//! Values as they are written, in TOML or as the text of a variable or flag, and their reading as what a key holds.

use toml::Value;

use crate::limits::{self, Unit};

/// A value as written.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    /// In a file.
    Toml(Value),
    /// In a variable or a flag.
    Text(String),
}

impl Raw {
    /// As messages and `config show` write it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Toml(Value::String(text)) | Self::Text(text) => text.clone(),
            Self::Toml(value) => value.to_string(),
        }
    }

    pub(super) fn text(&self) -> Result<String, String> {
        match self {
            Self::Toml(Value::String(text)) | Self::Text(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Self::Toml(Value::String(_)) | Self::Text(_) => Err("it is empty".to_owned()),
            Self::Toml(_) => Err("it must be text in quotes".to_owned()),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, String> {
        match self {
            Self::Toml(Value::Boolean(value)) => Ok(*value),
            Self::Text(text) if text == "true" => Ok(true),
            Self::Text(text) if text == "false" => Ok(false),
            _ => Err("it must be true or false".to_owned()),
        }
    }

    /// A list; text is a TOML array when it starts with `[`, else the one item itself.
    pub(super) fn list(&self) -> Result<Vec<String>, String> {
        let wrong = || "it must be a list of texts, like [\"a\", \"b\"]".to_owned();
        let array = match self {
            Self::Toml(Value::Array(array)) => array.clone(),
            Self::Text(text) if text.trim_start().starts_with('[') => {
                let table: toml::Table = toml::from_str(&format!("list = {text}")).map_err(|_| wrong())?;
                match table.get("list") {
                    Some(Value::Array(array)) if table.len() == 1 => array.clone(),
                    _ => return Err(wrong()),
                }
            }
            Self::Text(_) => return Ok(vec![self.text()?]),
            Self::Toml(_) => return Err(wrong()),
        };
        array
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    /// A number in `unit`.
    pub(super) fn number(&self, unit: Unit) -> Result<u64, String> {
        match self {
            Self::Toml(Value::Integer(number)) => u64::try_from(*number).map_err(|_| "it is negative".to_owned()),
            Self::Toml(Value::String(text)) | Self::Text(text) => limits::parse(text, unit).map_err(|e| e.to_string()),
            Self::Toml(_) => Err(limits::LimitError::Syntax { unit }.to_string()),
        }
    }

    /// A part of a provider, an alias or a model: text is what TOML makes of it, else a string.
    pub(super) fn tree(&self) -> Value {
        match self {
            Self::Toml(value) => value.clone(),
            Self::Text(text) => {
                let table: Option<toml::Table> = toml::from_str(&format!("value = {text}")).ok();
                let value = table
                    .filter(|table| table.len() == 1)
                    .and_then(|mut table| table.remove("value"));
                value.unwrap_or_else(|| Value::String(text.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_by_the_kind_of_its_key() {
        let text = |s: &str| Raw::Text(s.to_owned());
        assert_eq!(text("[\"fs:./a\", \"fs:./b\"]").list().unwrap(), ["fs:./a", "fs:./b"]);
        assert_eq!(text("net:[GET,POST@]x.org").list().unwrap(), ["net:[GET,POST@]x.org"]);
        assert!(text("[\"a\"]\nallow = []").list().is_err());
        assert!(text("").list().is_err());
        assert!(text("yes").flag().is_err());
        assert_eq!(text("64MiB").number(Unit::Bytes), Ok(64 << 20));
        assert!(Raw::Toml(Value::Float(f64::NAN)).number(Unit::Count).is_err());
        assert_eq!(text("0.5").tree(), Value::Float(0.5));
        assert_eq!(text("http://x/").tree(), Value::String("http://x/".to_owned()));
    }
}
