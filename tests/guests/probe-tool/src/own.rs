//! What a tool may call beside the contract: the granted folders, granted hosts and random numbers, by WASI.

use serde::Deserialize;
use serde_json::Value;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::random::random::get_random_bytes;

use crate::hermes::plugin::types::{Error, ErrorKind};
use crate::steps::{ok, seen};

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// `random.get-random-bytes`, as how many came.
    Random { bytes: u64 },
    /// What both clocks show.
    Clocks,
    /// What this text is.
    Say { text: String },
    /// Sends a request, its body in these pieces; what came back.
    Fetch {
        url: String,
        #[serde(default = "get")]
        method: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        body: Vec<String>,
    },
    /// Writes `text`, `times` over, as a file `/FOLDER/NAME`; how many bytes were taken.
    WriteFile {
        path: String,
        text: String,
        #[serde(default = "once")]
        times: usize,
    },
}

fn once() -> usize {
    1
}

fn get() -> String {
    "GET".into()
}

/// No handle.
#[derive(Default)]
pub struct Handles;

impl Handles {
    /// Does one step.
    pub fn step(&mut self, step: Step) -> Value {
        match step {
            Step::Random { bytes } => ok(get_random_bytes(bytes).len()),
            Step::Clocks => {
                let now = wall_clock::now();
                ok((now.seconds, now.nanoseconds, monotonic_clock::now()))
            }
            Step::Say { text } => ok(text),
            Step::Fetch {
                url,
                method,
                headers,
                body,
            } => seen(crate::http::fetch(&url, &method, &headers, &body)),
            Step::WriteFile { path, text, times } => seen(write(&path, text.repeat(times).as_bytes()).map_err(refused)),
        }
    }
}

/// Makes the file anew, and writes on until all is written or something is refused.
fn write(path: &str, bytes: &[u8]) -> Result<u64, ErrorCode> {
    let inside = |root: &str| path.strip_prefix(root)?.strip_prefix('/');
    let folders = get_directories();
    let found = folders.iter().find_map(|(folder, root)| Some((folder, inside(root)?)));
    let (folder, name) = found.ok_or(ErrorCode::NoEntry)?;
    let file = folder.open_at(
        PathFlags::empty(),
        name,
        OpenFlags::CREATE | OpenFlags::TRUNCATE,
        DescriptorFlags::WRITE,
    )?;
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        written += file.write(rest, written as u64)? as usize;
    }
    Ok(written as u64)
}

/// WASI's own name of what went wrong, as the contract's error.
fn refused(code: ErrorCode) -> Error {
    Error {
        kind: ErrorKind::Upstream,
        message: code.name().into(),
        retry_after_ms: None,
    }
}
