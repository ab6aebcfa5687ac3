//! A tool that fetches a page and returns it as readable text, in parts.

mod address;
mod charset;
mod entity;
mod fetch;
mod html;
mod page;
mod render;

use hermes_sdk::{Error, args, tool, tools};

/// What `fetch_page` takes.
#[args]
#[derive(Debug)]
struct FetchPage {
    /// Address, for example `https://example.org/paper`.
    url: String,
    /// Characters to skip, to read on in a long page. Default 0.
    #[serde(default)]
    start: usize,
    /// How many characters at most. Default 20000.
    max_chars: Option<usize>,
}

/// Fetches a web page by GET and returns its text: headings, paragraphs, lists, tables, code, and links as [text](url).
/// Plain text and JSON come as they are. Long pages come in parts.
#[tool(read_only, idempotent, title = "Fetch page")]
fn fetch_page(args: FetchPage) -> Result<String, Error> {
    let address = address::Address::parse(&args.url)?;
    let response = fetch::get(&address)?;
    page::show(&response, args.start, args.max_chars)
}

tools! { manifest = "manifest.toml", tools = [fetch_page] }
