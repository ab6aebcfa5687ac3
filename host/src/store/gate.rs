//! The lock that writers of several processes queue on, before SQLite's own. The kernel frees it when its holder dies.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use super::files::{private, shared};

/// Two files: whoever waits for `main` holds `turn` meanwhile, so that a holder that lets go and wants it again stands
/// behind those that wait already.
#[derive(Debug)]
pub(super) struct Gate {
    turn: File,
    main: File,
    shared_memory: std::path::PathBuf,
}

/// The gate is held until this is dropped.
#[derive(Debug)]
pub(super) struct Held<'g>(&'g Gate);

impl Gate {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let open = |name: &str| {
            let path = dir.join(name);
            let file = shared(private().create(true).truncate(false), &path);
            file.map_err(|e| match e.kind() {
                std::io::ErrorKind::InvalidInput => StoreError::io(&path, &e),
                _ => StoreError::io(dir, &e),
            })
        };
        Ok(Self {
            turn: open("write.turn")?,
            main: open("write.lock")?,
            shared_memory: dir.join("hermes.db-shm"),
        })
    }

    /// The gate, if nobody has it and nobody waits for it.
    pub(super) fn try_hold(&self) -> Option<Held<'_>> {
        flock(&self.turn, FlockOperation::NonBlockingLockExclusive).ok()?;
        let main = flock(&self.main, FlockOperation::NonBlockingLockExclusive);
        let _ = flock(&self.turn, FlockOperation::Unlock);
        main.ok().map(|()| Held(self))
    }

    /// Waits for the gate, without end: for a thread that has nothing else to do.
    pub(super) fn hold(&self) -> Option<Held<'_>> {
        wait(&self.turn)?;
        let main = wait(&self.main);
        let _ = flock(&self.turn, FlockOperation::Unlock);
        main.map(|()| Held(self))
    }

    /// Who holds the gate or the database, as far as the kernel tells.
    pub(super) fn holder(&self) -> Option<String> {
        let mut inodes = vec![self.main.metadata().ok()?.ino()];
        inodes.extend(self.shared_memory.metadata().map(|m| m.ino()));
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let pid = holder_in(&locks, &inodes)?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(format!("process {pid} {}", name.trim()).trim_end().to_owned())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = flock(&self.0.main, FlockOperation::Unlock);
    }
}

fn wait(file: &File) -> Option<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Ok(()) => return Some(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// The process of the first exclusive lock on one of these inodes, in the kernel's list (proc_locks(5)):
/// `1: FLOCK ADVISORY WRITE 4711 fd:01:1234 0 EOF`. Lines of waiters have `->` after the number.
fn holder_in(locks: &str, inodes: &[u64]) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, _, _, "WRITE", pid, file, ..] = fields[..] else {
            return None;
        };
        let inode: u64 = file.rsplit(':').next()?.parse().ok()?;
        let pid: u32 = pid.parse().ok()?;
        (inodes.contains(&inode) && pid != std::process::id() && pid != 0).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_the_gate_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let (a, b) = (
            Gate::open(dir.path()).expect("opens"),
            Gate::open(dir.path()).expect("opens"),
        );
        let held = a.try_hold().expect("free");
        assert!(b.try_hold().is_none());
        drop(held);
        let held = b.hold().expect("free");
        assert!(a.try_hold().is_none());
        drop(held);
        assert!(a.try_hold().is_some());
    }

    #[test]
    fn the_holder_is_read_from_the_kernels_list() {
        let list = "1: POSIX  ADVISORY  READ 11 fd:01:77 128 128\n2: FLOCK  ADVISORY  WRITE 12 fd:01:78 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 13 fd:01:77 0 EOF\n3: FLOCK  ADVISORY  WRITE 14 fd:01:77 0 EOF\n";
        assert_eq!(holder_in(list, &[77]), Some(14));
        assert_eq!(holder_in(list, &[79]), None);
    }
}
