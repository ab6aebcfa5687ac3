//! JSON Schemas of an author's types, kept small: every model call that offers the tool pays for them.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};

/// The schema of `T`, as text.
pub(crate) fn of<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(strip).transform(&mut schema);
    // A type's own doc comment is about the type; the model reads the tool's description instead.
    schema.remove("description");
    if schema.get("type").and_then(|kind| kind.as_str()) == Some("object")
        && !schema.as_value()["properties"].is_object()
    {
        schema.insert("properties".into(), serde_json::json!({}));
    }
    schema.as_value().to_string()
}

/// Takes away what tells a model nothing: names of Rust types, formats that JSON Schema does not know, empty defaults.
fn strip(schema: &mut Schema) {
    schema.remove("title");
    let rust_format = |format: &serde_json::Value| {
        format
            .as_str()
            .is_some_and(|format| format.starts_with("uint") || format.starts_with("int") || format == "double")
    };
    if schema.get("format").is_some_and(rust_format) {
        schema.remove("format");
    }
    if schema.get("default").is_some_and(serde_json::Value::is_null) {
        schema.remove("default");
    }
}

#[cfg(test)]
mod tests {
    use crate::{NoArgs, args};
    use serde_json::{Value, json};

    /// Not for models.
    #[args]
    #[allow(dead_code)]
    struct Search {
        /// What to look for.
        pattern: String,
        /// Where to begin.
        #[serde(default)]
        offset: Option<u32>,
        kind: Kind,
    }

    #[args]
    #[allow(dead_code)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Text,
        Regex,
    }

    #[test]
    fn schemas_are_small_and_keep_descriptions() {
        let schema: Value = serde_json::from_str(&super::of::<Search>()).unwrap();
        assert_eq!(
            schema,
            json!({
                "type": "object",
                "properties": {
                    "pattern": { "type": "string", "description": "What to look for." },
                    "offset": { "type": ["integer", "null"], "minimum": 0, "description": "Where to begin." },
                    "kind": { "type": "string", "enum": ["text", "regex"] },
                },
                "required": ["pattern", "kind"],
                "additionalProperties": false,
            })
        );
    }

    #[test]
    fn no_arguments_are_an_empty_object() {
        let schema: Value = serde_json::from_str(&super::of::<NoArgs>()).unwrap();
        assert_eq!(
            schema,
            json!({ "type": "object", "properties": {}, "additionalProperties": false })
        );
    }
}
