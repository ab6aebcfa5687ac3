//! The macros of `hermes-sdk`, which documents and re-exports them: [`macro@args`], [`macro@tool`], [`tools!`] and
//! [`macro@strategy`].

mod args;
mod attributes;
mod manifest;
mod strategy;
mod tool;
mod toolset;

use proc_macro::TokenStream;

/// Makes a struct the arguments of a tool: it derives `Deserialize` and `JsonSchema`, and unknown fields are refused, unless
/// one of its fields is `#[serde(flatten)]`.
///
/// Doc comments of the struct's fields become the descriptions that the model reads. `serde`'s and `schemars`'s own
/// attributes work as usual, but for their `crate`; an author's crate needs neither as a dependency.
#[proc_macro_attribute]
pub fn args(_attributes: TokenStream, item: TokenStream) -> TokenStream {
    finish(args::expand(item.into()))
}

/// Makes a function a tool of the function's name.
///
/// The function takes one argument of a type with `Deserialize` and `JsonSchema` (or none) and returns
/// `Result<T, Error>`, where `T` is text, a `ToolOutput`, or `Json` of any type with `Serialize` and `JsonSchema`. Its
/// doc comment is the description that the model reads.
///
/// Options: `name = "…"`, `title = "…"`, `description = "…"`, and the hints `read_only`, `destructive`, `idempotent`,
/// `closed_world`. Without any hint, readers assume the cautious defaults of MCP.
#[proc_macro_attribute]
pub fn tool(attributes: TokenStream, item: TokenStream) -> TokenStream {
    finish(tool::expand(attributes.into(), item.into()))
}

/// Exports tools as a plugin: `tools! { manifest = "manifest.toml", tools = [search, read] }`.
///
/// The manifest is a file beside `Cargo.toml`, checked when the crate is compiled; `name`, `version` and `description`
/// are the package's where it leaves them out.
#[proc_macro]
pub fn tools(input: TokenStream) -> TokenStream {
    finish(toolset::expand(input.into()))
}

/// Exports a function `fn(Task) -> Result<Report, Error>` as a strategy: `#[strategy(manifest = "manifest.toml")]`.
///
/// The manifest is as for [`tools!`].
#[proc_macro_attribute]
pub fn strategy(attributes: TokenStream, item: TokenStream) -> TokenStream {
    finish(strategy::expand(attributes.into(), item.into()))
}

fn finish(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}
