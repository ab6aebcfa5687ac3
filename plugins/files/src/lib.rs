//! Tools over granted folders: list, search, and read by lines. They write nothing.
//!
//! A call opens what it needs, reads in large pieces, and answers in a bounded size with a note on how to get the rest.

mod disk;
mod effort;
mod glob;
mod list;
mod output;
mod place;
mod read;
mod search;
#[cfg(test)]
mod testing;
mod walk;
mod wasi;

use hermes_sdk::{Error, args, tool, tools};

use wasi::Preopens;

/// What `list_files` takes.
#[args]
#[derive(Debug, Default)]
struct ListFiles {
    /// Folder to list, for example `/papers/2024`. Default: all granted folders.
    path: Option<String>,
    /// Only files like this: `*.md` by name at any depth, `src/**/*.rs` by path below the folder.
    glob: Option<String>,
    /// How many levels to go down. Default 2, with `glob` 16.
    depth: Option<u32>,
    /// How many names at most. Default 200.
    limit: Option<u32>,
    /// Also names that begin with a dot, `target` and `node_modules`.
    #[serde(default)]
    hidden: bool,
}

/// Lists files and folders. Folders end with `/`. Use it to see what there is before searching or reading.
#[tool(read_only, idempotent, closed_world, title = "List files")]
fn list_files(args: ListFiles) -> Result<String, Error> {
    list::run(&Preopens::new(), &args)
}

/// What `search_files` takes.
#[args]
#[derive(Debug, Default)]
struct SearchFiles {
    /// Regular expression to look for in each line, for example `grow(s|th)`.
    pattern: String,
    /// Take `pattern` as plain text.
    #[serde(default)]
    literal: bool,
    /// Take upper and lower case as the same.
    #[serde(default)]
    ignore_case: bool,
    /// File or folder to search. Default: all granted folders.
    path: Option<String>,
    /// Only files like this: `*.md` by name at any depth, `src/**/*.rs` by path below the folder.
    glob: Option<String>,
    /// Lines to show before and after each match, 0 to 10.
    #[serde(default)]
    context: u32,
    /// How many matching lines at most. Default 50.
    limit: Option<u32>,
    /// Also in names that begin with a dot, `target` and `node_modules`.
    #[serde(default)]
    hidden: bool,
}

/// Searches text files by lines. Answers `path:line: text` for matches and `path:line- text` for lines around them.
/// Read on around a match with `read_file`.
#[tool(read_only, idempotent, closed_world, title = "Search files")]
fn search_files(args: SearchFiles) -> Result<String, Error> {
    search::run(&Preopens::new(), &args)
}

/// What `read_file` takes.
#[args]
#[derive(Debug, Default)]
struct ReadFile {
    /// File to read, for example `/papers/li2024.md`.
    path: String,
    /// First line, from 1. Default 1.
    start: Option<u64>,
    /// How many lines. Default 400.
    lines: Option<u64>,
}

/// Reads lines of a text file. Answers `line: text` for each, the file's number of lines, and where to go on.
#[tool(read_only, idempotent, closed_world, title = "Read file")]
fn read_file(args: ReadFile) -> Result<String, Error> {
    read::run(&Preopens::new(), &args)
}

tools! { manifest = "manifest.toml", tools = [list_files, search_files, read_file] }
