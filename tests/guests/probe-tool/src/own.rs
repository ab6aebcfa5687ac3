//! What a tool may call beside the contract: the granted folders, granted hosts and random numbers, by WASI.

use serde::Deserialize;
use serde_json::Value;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::io::poll::poll;
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
    /// Waits for so many milliseconds: the clock then.
    Sleep { ms: u64 },
    /// Waits for the bytes of a file `/FOLDER/NAME` and beside them for so many milliseconds: which of the two were there.
    ReadOrSleep { path: String, ms: u64 },
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
    /// Does one thing with a file or a folder `/FOLDER/NAME`, or with `count` of them, each with its number in the place of `{}`: how many it
    /// could be done with.
    Files {
        deed: Deed,
        path: String,
        #[serde(default = "once")]
        count: usize,
    },
}

/// What is done with a file or a folder.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Opens it to read.
    Read,
    /// Opens it to read, and writes to it.
    WriteUnasked,
    /// Asks for its size.
    Stat,
    /// Lists the folder.
    List,
    /// Makes a folder.
    Make,
    /// Removes the file.
    Remove,
    /// Gives the file another name: its own with `.new` behind it.
    Rename,
}

/// In nanoseconds.
const MILLISECOND: u64 = 1_000_000;

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
            Step::Sleep { ms } => {
                monotonic_clock::subscribe_duration(ms * MILLISECOND).block();
                ok(monotonic_clock::now())
            }
            Step::ReadOrSleep { path, ms } => seen(read_or_sleep(&path, ms).map_err(refused)),
            Step::Say { text } => ok(text),
            Step::Fetch {
                url,
                method,
                headers,
                body,
            } => seen(crate::http::fetch(&url, &method, &headers, &body)),
            Step::WriteFile { path, text, times } => seen(write(&path, text.repeat(times).as_bytes()).map_err(refused)),
            Step::Files { deed, path, count } => {
                let folders = get_directories();
                let done = |n: usize| does(&folders, deed, &path.replace("{}", &n.to_string()));
                let all: Vec<Result<(), ErrorCode>> = (0..count).map(done).collect();
                match all.iter().find_map(|done| done.err()) {
                    Some(code) if all.iter().all(Result::is_err) => seen::<()>(Err(refused(code))),
                    _ => ok(all.iter().filter(|done| done.is_ok()).count()),
                }
            }
        }
    }
}

/// The granted folder that a path lies in, and the path inside it.
fn place<'a>(folders: &'a [(Descriptor, String)], path: &'a str) -> Result<(&'a Descriptor, &'a str), ErrorCode> {
    let inside = |root: &str| match path.strip_prefix(root)? {
        "" => Some("."),
        rest => rest.strip_prefix('/'),
    };
    let mut found = folders
        .iter()
        .filter_map(|(folder, root)| Some((folder, inside(root)?)));
    found.next().ok_or(ErrorCode::NoEntry)
}

fn does(folders: &[(Descriptor, String)], deed: Deed, path: &str) -> Result<(), ErrorCode> {
    let (folder, name) = place(folders, path)?;
    let follow = PathFlags::SYMLINK_FOLLOW;
    let open = || folder.open_at(follow, name, OpenFlags::empty(), DescriptorFlags::READ);
    match deed {
        Deed::Read => open().map(drop),
        Deed::WriteUnasked => open()?.write_via_stream(0).map(drop),
        Deed::Stat => folder.stat_at(follow, name).map(drop),
        Deed::List if name == "." => folder.read_directory().map(drop),
        Deed::List => open()?.read_directory().map(drop),
        Deed::Make => folder.create_directory_at(name),
        Deed::Remove => folder.unlink_file_at(name),
        Deed::Rename => folder.rename_at(name, folder, &format!("{name}.new")),
    }
}

/// Makes the file anew, and writes on until all is written or something is refused.
fn write(path: &str, bytes: &[u8]) -> Result<u64, ErrorCode> {
    let folders = get_directories();
    let (folder, name) = place(&folders, path)?;
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

fn read_or_sleep(path: &str, ms: u64) -> Result<Vec<u32>, ErrorCode> {
    let folders = get_directories();
    let (folder, name) = place(&folders, path)?;
    let file = folder.open_at(PathFlags::empty(), name, OpenFlags::empty(), DescriptorFlags::READ)?;
    let bytes = file.read_via_stream(0)?;
    let (there, over) = (bytes.subscribe(), monotonic_clock::subscribe_duration(ms * MILLISECOND));
    Ok(poll(&[&there, &over]))
}

/// WASI's own name of what went wrong, as the contract's error.
fn refused(code: ErrorCode) -> Error {
    Error {
        kind: ErrorKind::Upstream,
        message: code.name().into(),
        retry_after_ms: None,
    }
}
