//! What a process under way holds: memory, files, threads.

use std::collections::BTreeSet;
use std::fs;

use crate::Process;

/// The runtime's threads for what blocks come and go: so many more may be there.
pub const FEW: usize = 6;

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Memory, in KiB.
    pub resident_kib: u64,
    /// Connections to the database.
    pub connections: usize,
    /// Memory images that the engine keeps: one for each plugin that is ready.
    pub images: usize,
    /// Open files beside those.
    pub files: usize,
    /// Threads.
    pub threads: usize,
}

impl Held {
    /// What this process holds now.
    pub fn by(process: &Process) -> Self {
        Self::of(process.id())
    }

    /// What the calling process holds now.
    pub fn own() -> Self {
        Self::of(std::process::id())
    }

    fn of(id: u32) -> Self {
        let of = |what: &str| format!("/proc/{id}/{what}");
        let open = fs::read_dir(of("fd")).unwrap();
        // One that was closed meanwhile is none.
        let open: Vec<_> = open.flatten().flat_map(|fd| fs::read_link(fd.path())).collect();
        let ends = |end: &str| open.iter().filter(|file| file.to_string_lossy().ends_with(end)).count();
        let (databases, logs) = (ends("hermes.db"), ends("hermes.db-wal"));
        let images = open
            .iter()
            .filter(|file| file.to_string_lossy().starts_with("/memfd:wasm-memory-image"))
            .count();
        Self {
            resident_kib: resident_kib(id),
            connections: databases,
            images,
            files: open.len() - databases - logs - images,
            threads: fs::read_dir(of("task")).unwrap().count(),
        }
    }
}

/// Processes that the calling one has started and that are not gone.
pub fn children() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter()
        .flat_map(|list| list.split_whitespace().map(str::to_owned))
        .collect()
}

fn resident_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
