//! What a tool is: a name, words for the model, arguments with a schema, and a function.
//!
//! The attribute [`tool`](macro@crate::tool) implements [`Tool`] for a function; implementing it by hand is for tools
//! that are made by other means.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Content, Error, ToolCall, ToolDef, ToolHints, ToolOutput, schema};

/// A tool of a plugin. The host gives each call a fresh instance: nothing is kept between calls.
pub trait Tool {
    /// What the model gives. Its root must be a struct.
    type Args: DeserializeOwned + JsonSchema;
    /// What the model calls it: 1 to 64 letters, digits, `_` and `-`.
    const NAME: &'static str;
    /// What people call it, if not by its name.
    const TITLE: Option<&'static str>;
    /// What it does and when to use it, for the model. The host cuts it after 1 KiB.
    const DESCRIPTION: &'static str;
    /// Hints for whoever calls it. None means: may write and destroy, is not idempotent, reaches an open world.
    const HINTS: Option<ToolHints>;

    /// The JSON Schema of the structured result, where it has one.
    fn output_schema() -> Option<String> {
        None
    }

    /// Runs it.
    ///
    /// # Errors
    /// Whatever the model should read and act on.
    fn run(arguments: Self::Args) -> Result<ToolOutput, Error>;
}

/// The arguments of a tool that takes none.
#[crate::args]
#[derive(Debug, Clone, Copy)]
pub struct NoArgs {}

/// A result that programs read too: the model sees it as JSON text, and callers as structured content with a schema.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

/// What a tool's function may return.
pub trait IntoOutput {
    /// The JSON Schema of the structured content, if there is any.
    fn schema() -> Option<String> {
        None
    }

    /// The result in the contract's words.
    ///
    /// # Errors
    /// A value that can't be written as JSON.
    fn into_output(self) -> Result<ToolOutput, Error>;
}

impl IntoOutput for ToolOutput {
    fn into_output(self) -> Result<ToolOutput, Error> {
        Ok(self)
    }
}

impl IntoOutput for String {
    fn into_output(self) -> Result<ToolOutput, Error> {
        Ok(ToolOutput {
            content: vec![Content::Text(self)],
            structured_content: None,
            meta: None,
        })
    }
}

impl IntoOutput for &str {
    fn into_output(self) -> Result<ToolOutput, Error> {
        self.to_owned().into_output()
    }
}

impl<T: Serialize + JsonSchema> IntoOutput for Json<T> {
    fn schema() -> Option<String> {
        Some(schema::of::<T>())
    }

    fn into_output(self) -> Result<ToolOutput, Error> {
        let json =
            serde_json::to_string(&self.0).map_err(|error| Error::failed(format!("the result is no JSON: {error}")))?;
        Ok(ToolOutput {
            content: vec![Content::Text(json.clone())],
            structured_content: Some(json),
            meta: None,
        })
    }
}

/// The definition of a tool, as hosts and models see it.
pub fn definition<T: Tool>() -> ToolDef {
    ToolDef {
        name: T::NAME.into(),
        title: T::TITLE.map(Into::into),
        description: T::DESCRIPTION.into(),
        input_schema: schema::of::<T::Args>(),
        output_schema: T::output_schema(),
        annotations: T::HINTS,
        meta: None,
    }
}

/// The definition of a tool that a strategy answers itself, with arguments of type `A`; see
/// [`Hooks::own_tools`](crate::Hooks::own_tools).
pub fn own<A: JsonSchema>(name: &str, description: &str) -> ToolDef {
    ToolDef {
        name: name.into(),
        title: None,
        description: description.into(),
        input_schema: schema::of::<A>(),
        output_schema: None,
        annotations: None,
        meta: None,
    }
}

/// The arguments of a call.
///
/// # Errors
/// `invalid-input` for what does not fit.
pub fn arguments<A: DeserializeOwned>(call: &ToolCall) -> Result<A, Error> {
    parse(&call.name, &call.arguments)
}

/// Reads the arguments and runs the tool.
///
/// # Errors
/// `invalid-input` for arguments that do not fit, else the tool's own.
pub fn call<T: Tool>(arguments: &str) -> Result<ToolOutput, Error> {
    T::run(parse(T::NAME, arguments)?)
}

fn parse<A: DeserializeOwned>(tool: &str, arguments: &str) -> Result<A, Error> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    serde_json::from_str(arguments)
        .map_err(|error| Error::invalid_input(format!("the arguments of `{tool}` do not fit: {error}")))
}

#[doc(hidden)]
pub fn output<T: IntoOutput>(result: Result<T, Error>) -> Result<ToolOutput, Error> {
    result.and_then(T::into_output)
}

#[doc(hidden)]
pub fn output_schema<A, T: IntoOutput>(_function: impl Fn(A) -> Result<T, Error>) -> Option<String> {
    T::schema()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, args};

    #[args]
    struct Sum {
        /// What to add up.
        numbers: Vec<i64>,
    }

    /// Adds
    /// numbers.
    ///
    /// Use it for sums.
    #[crate::tool(read_only, closed_world)]
    fn sum(args: Sum) -> Result<Json<i64>, Error> {
        Ok(Json(args.numbers.iter().sum()))
    }

    #[crate::tool(name = "hi", description = "Greets.")]
    fn hello() -> Result<&'static str, Error> {
        Ok("hello")
    }

    #[test]
    fn a_function_becomes_a_tool() {
        let definition = definition::<sum>();
        assert_eq!(
            (definition.name.as_str(), definition.description.as_str()),
            ("sum", "Adds numbers.\n\nUse it for sums.")
        );
        let hints = definition.annotations.unwrap();
        assert!(hints.read_only && !hints.destructive && !hints.idempotent && !hints.open_world);
        assert_eq!(definition.output_schema.as_deref(), Some(r#"{"type":"integer"}"#));
        let output = call::<sum>(r#"{"numbers":[1,2]}"#).unwrap();
        assert_eq!(output.structured_content.as_deref(), Some("3"));
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let error = call::<sum>(r#"{"number":[1]}"#).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(
            error.message.contains("`number`") && error.message.contains("`numbers`"),
            "{}",
            error.message
        );
    }

    #[args]
    struct Page {
        /// Where to begin.
        #[serde(default)]
        start: u32,
    }

    #[args]
    struct List {
        /// What to list.
        path: String,
        #[serde(flatten)]
        page: Page,
    }

    /// Lists.
    #[crate::tool]
    fn list(args: List) -> Result<String, Error> {
        Ok(format!("{} {}", args.path, args.page.start))
    }

    #[test]
    fn arguments_may_be_flattened() {
        let output = call::<list>(r#"{"path":"a","start":3}"#).unwrap();
        assert!(
            matches!(&output.content[..], [Content::Text(text)] if text == "a 3"),
            "{output:?}"
        );
        let schema = definition::<list>().input_schema;
        assert!(
            schema.contains("Where to begin.") && !schema.contains("additionalProperties"),
            "{schema}"
        );
    }

    #[test]
    fn a_tool_may_take_nothing() {
        assert!(matches!(&call::<hello>("").unwrap().content[..], [Content::Text(text)] if text == "hello"));
        assert_eq!(definition::<hello>().name, "hi");
        assert!(definition::<hello>().annotations.is_none());
    }
}
