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
    /// What of it is linear memory: that of instances, and pages that the engine's pool keeps for the next.
    pub memories_kib: u64,
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

    /// What the calling process holds now. What its allocator keeps for later is given back first: how much that is hangs on what was there at once.
    pub fn own() -> Self {
        give_back();
        Self::of(std::process::id())
    }

    /// Memory that is not linear memory, in KiB.
    pub fn own_kib(&self) -> u64 {
        self.resident_kib - self.memories_kib
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
            memories_kib: memories_kib(id),
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

#[expect(unsafe_code, reason = "the allocator is asked by a call of C; see the comment")]
fn give_back() {
    // SAFETY: `malloc_trim` may be called at any time by any thread: it locks each arena before it looks at it, gives back pages of free chunks alone, and
    // takes and returns no pointer.
    unsafe { libc::malloc_trim(0) };
}

/// What lies between guards as large as only the engine puts them between linear memories.
fn memories_kib(id: u32) -> u64 {
    const GUARD: u64 = 1 << 30;
    let smaps = fs::read_to_string(format!("/proc/{id}/smaps")).unwrap();
    let (mut total, mut is_memory, mut last) = (0, false, 0);
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = |text: &str| u64::from_str_radix(text, 16).ok();
        let mapped = words[0].split_once('-');
        if let Some((Some(from), Some(to))) = mapped.map(|(from, to)| (address(from), address(to))) {
            let is_image = words.get(5).is_none_or(|file| file.starts_with("/memfd:"));
            let is_guard = words[1].starts_with("---") && to - from >= GUARD;
            is_memory = is_guard || is_memory && is_image && from == last;
            last = to;
        } else if words[0] == "Rss:" && is_memory {
            total += words[1].parse::<u64>().unwrap();
        }
    }
    total
}

fn resident_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
