//! Who may write to a run: the holder of its lock file, with the newest epoch. The file also keeps the anchor, which tells
//! when the database has lost records that were durable.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::Durability;
use super::error::StoreError;
use super::files::{Files, private, shared, sync_dir};
use super::seal;
use crate::ids::RunId;
use crate::own_file::FileLock;

/// Length of the lock file's one line: it fits a sector, which disks write whole.
const LINE: usize = 256;

/// What is wrong with a run whose lock file is gone.
pub(super) const NO_ANCHOR: &str = "its anchor (the run's lock file) is missing";

/// The right to write to a run. Cheap to clone; the run is free again when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Owner(pub(super) Arc<Ownership>);

#[derive(Debug)]
pub(super) struct Ownership {
    pub(super) run: RunId,
    pub(super) number: i64,
    pub(super) epoch: u64,
    pub(super) lock: Arc<RunLock>,
    pub(super) lost_tail: Option<u64>,
}

impl Owner {
    /// The run.
    pub fn run(&self) -> &RunId {
        &self.0.run
    }

    /// How often the run was taken; the newest owner has the highest.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// How many records a power failure took since the last owner, where the durability configured then allows that.
    pub fn lost_tail(&self) -> Option<u64> {
        self.0.lost_tail
    }
}

/// The end of a run's journal: the last record's number, and the checksum over all records up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) chain: i64,
}

/// An open, locked lock file.
#[derive(Debug)]
pub(super) struct RunLock {
    file: FileLock,
    since_ms: u64,
    boot: String,
    durability: Durability,
    anchored: AtomicU64,
}

/// What a lock file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LockLine {
    pub(super) pid: u32,
    pub(super) since_ms: u64,
    pub(super) head: Head,
    pub(super) boot: String,
    pub(super) durability: Durability,
}

/// A lock file as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LockState {
    Line(LockLine),
    Missing,
    Broken,
}

impl Files {
    pub(super) fn lock_path(&self, run: &RunId) -> PathBuf {
        self.runs().join(format!("{run}.lock"))
    }

    /// What the run's lock file says, owned or not.
    pub(super) fn lock_state(&self, run: &RunId) -> Result<LockState, StoreError> {
        let path = self.lock_path(run);
        let file = match shared(OpenOptions::new().read(true), &path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(LockState::Missing),
            Err(_) if is_odd(&path) => return Ok(LockState::Broken),
            Err(e) => return Err(StoreError::io(&path, &e)),
        };
        // A read may fall into its owner's write; then the next one does not.
        for _ in 0..3 {
            let mut bytes = [0u8; LINE];
            let length = file.read_at(&mut bytes, 0).map_err(|e| StoreError::io(&path, &e))?;
            if length == 0 {
                return Ok(LockState::Missing);
            }
            if let Some(line) = LockLine::parse(&bytes[..length]) {
                return Ok(LockState::Line(line));
            }
        }
        Ok(LockState::Broken)
    }

    /// How many synced records the run's lock file tells of.
    pub(super) fn synced(&self, run: &RunId) -> Result<u64, StoreError> {
        Ok(match self.lock_state(run)? {
            LockState::Line(line) => line.head.seq,
            LockState::Missing | LockState::Broken => 0,
        })
    }

    /// Makes and locks the lock file of a new run.
    pub(super) fn new_lock(&self, run: &RunId, durability: Durability, since_ms: u64) -> Result<RunLock, StoreError> {
        let path = self.lock_path(run);
        let io = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => StoreError::Duplicate {
                what: format!("run {run}"),
            },
            _ => StoreError::io(&path, &e),
        };
        let file = private().create_new(true).open(&path).map_err(io)?;
        let Locked::Ours(file) = locked(&path, file).map_err(io)? else {
            // Whoever sweeps up took it for the remains of a run that was removed just before.
            return Err(StoreError::Duplicate {
                what: format!("run {run}"),
            });
        };
        let lock = RunLock::new(file, durability, since_ms);
        lock.write(Head::default())
            .and_then(|()| lock.file.0.sync_all())
            .map_err(io)?;
        sync_dir(&self.runs())?;
        Ok(lock)
    }

    /// Locks the lock file of a run that exists. The line in it stays until the first anchor. Makes no file: one beside no run's row would be
    /// left for good where the run was removed just before.
    pub(super) fn take_lock(&self, run: &RunId, durability: Durability, since_ms: u64) -> Result<RunLock, StoreError> {
        match self.hold_lock(run, &mut private(), durability, since_ms) {
            Err(Untaken::File(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::damaged(run, NO_ANCHOR))
            }
            Err(Untaken::File(e)) if is_odd(&self.lock_path(run)) => {
                let path = self.lock_path(run);
                Err(StoreError::damaged(run, format!("{e}: {}", path.display())))
            }
            other => other.map_err(|e| self.untaken(run, e)),
        }
    }

    /// As [`Files::take_lock`], and makes the file where it is missing.
    pub(super) fn mend_lock(&self, run: &RunId, durability: Durability, since_ms: u64) -> Result<RunLock, StoreError> {
        let taken = self.hold_lock(run, private().create(true).truncate(false), durability, since_ms);
        taken.map_err(|e| self.untaken(run, e))
    }

    fn hold_lock(
        &self,
        run: &RunId,
        options: &mut OpenOptions,
        durability: Durability,
        since_ms: u64,
    ) -> Result<RunLock, Untaken> {
        let path = self.lock_path(run);
        for _ in 0..REPLACED {
            let file = shared(options, &path).map_err(Untaken::File)?;
            match locked(&path, file).map_err(Untaken::File)? {
                Locked::Ours(file) => return Ok(RunLock::new(file, durability, since_ms)),
                Locked::Theirs => break,
                // The run was removed meanwhile, and may be there again.
                Locked::Replaced => {}
            }
        }
        Err(Untaken::Owned)
    }

    fn untaken(&self, run: &RunId, why: Untaken) -> StoreError {
        match why {
            Untaken::File(error) => StoreError::io(&self.lock_path(run), &error),
            Untaken::Owned => self.owned(run).unwrap_or_else(|error| error),
        }
    }

    /// That the run is owned, and by whom, as far as its lock file says.
    pub(super) fn owned(&self, run: &RunId) -> Result<StoreError, StoreError> {
        let (pid, since_ms) = match self.lock_state(run)? {
            LockState::Line(line) => (line.pid, line.since_ms),
            LockState::Missing | LockState::Broken => (0, 0),
        };
        Ok(StoreError::Owned {
            run: run.clone(),
            pid,
            since_ms,
        })
    }

    /// Whether a live process owns the run.
    pub(super) fn is_locked(&self, run: &RunId) -> Result<bool, StoreError> {
        let path = self.lock_path(run);
        let file = match shared(OpenOptions::new().read(true), &path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(StoreError::io(&path, &e)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                drop(FileLock(file));
                Ok(false)
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(e) => Err(StoreError::io(&path, &e.into())),
        }
    }
}

/// Whether something else than a file stands in the place of a lock file: a folder, a pipe, a link.
fn is_odd(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| !meta.is_file())
}

/// How often a lock file is opened anew that was replaced before it was locked.
const REPLACED: u32 = 4;

/// Why a run is not taken.
enum Untaken {
    /// Another process owns it, or is just about to.
    Owned,
    /// Its lock file can't be opened or locked.
    File(std::io::Error),
}

/// How locking an open file went.
#[derive(Debug)]
enum Locked {
    Ours(FileLock),
    Theirs,
    /// Another file is at its path, or none: the lock on this one says nothing.
    Replaced,
}

/// Locks a file that was opened at `path`, if it is still the one there.
fn locked(path: &Path, file: File) -> std::io::Result<Locked> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Locked::Theirs),
        Err(e) => return Err(e.into()),
    }
    let file = FileLock(file);
    let ours = file.0.metadata()?;
    let is_it = |there: &Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
    match std::fs::symlink_metadata(path) {
        Ok(there) if is_it(&there) => Ok(Locked::Ours(file)),
        Ok(_) => Ok(Locked::Replaced),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Locked::Replaced),
        Err(e) => Err(e),
    }
}

impl RunLock {
    fn new(file: FileLock, durability: Durability, since_ms: u64) -> Self {
        Self {
            file,
            since_ms,
            boot: boot_id(),
            durability,
            anchored: AtomicU64::new(0),
        }
    }

    /// Notes that the journal up to `head` is durable.
    pub(super) fn anchor(&self, head: Head) {
        if self.anchored.fetch_max(head.seq, Ordering::Relaxed) > head.seq {
            return;
        }
        // An anchor behind the journal is normal, so a failure here costs only some of the protection.
        if let Err(error) = self.write(head) {
            tracing::warn!(%error, "a run's anchor could not be written");
        }
    }

    /// Writes a line into a file that is no lock yet, for a copy of the store that nobody owns.
    pub(super) fn leave(path: &Path, durability: Durability, since_ms: u64, head: Head) -> std::io::Result<()> {
        let file = private().create_new(true).open(path)?;
        let lock = Self::new(FileLock(file), durability, since_ms);
        lock.write(head)?;
        lock.file.0.sync_all()
    }

    /// Writes the line, in place: no sync is needed beyond the database's.
    pub(super) fn write(&self, head: Head) -> std::io::Result<()> {
        let line = LockLine {
            pid: std::process::id(),
            since_ms: self.since_ms,
            head,
            boot: self.boot.clone(),
            durability: self.durability,
        };
        self.file.0.write_all_at(&line.render(), 0)
    }
}

impl LockLine {
    fn render(&self) -> [u8; LINE] {
        let mode = match self.durability {
            Durability::Power => "power",
            Durability::Process => "process",
        };
        let Head { seq, chain } = self.head;
        let text = format!(
            "hermes-run 1 {} {} {seq} {chain} {mode} {}",
            self.pid, self.since_ms, self.boot
        );
        let text = format!("{text} {}", seal::sum(&[text.as_bytes()]));
        let mut line = [b' '; LINE];
        let length = text.len().min(LINE - 1);
        line[..length].copy_from_slice(&text.as_bytes()[..length]);
        line[LINE - 1] = b'\n';
        line
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.trim_end();
        let (content, sum) = text.rsplit_once(' ')?;
        if sum.parse() != Ok(seal::sum(&[content.as_bytes()])) {
            return None;
        }
        let fields: Vec<&str> = content.split(' ').collect();
        let ["hermes-run", "1", pid, since, seq, chain, mode, boot] = fields[..] else {
            return None;
        };
        Some(Self {
            pid: pid.parse().ok()?,
            since_ms: since.parse().ok()?,
            head: Head {
                seq: seq.parse().ok()?,
                chain: chain.parse().ok()?,
            },
            boot: boot.to_owned(),
            durability: if mode == "power" {
                Durability::Power
            } else {
                Durability::Process
            },
        })
    }

    /// True if the machine was not started anew since the line was written.
    pub(super) fn is_this_boot(&self) -> bool {
        self.boot == boot_id()
    }
}

/// Linux gives each start of the machine an id; without one all starts look alike, which only makes a lost tail look like damage.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String = text
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect();
    if id.is_empty() { "unknown".to_owned() } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_file_that_was_replaced_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = Files {
            dir: dir.path().to_owned(),
        };
        std::fs::create_dir(files.runs()).expect("made");
        let run = RunId::random();
        let path = files.lock_path(&run);
        let opened = || shared(&mut private(), &path).expect("opens");
        drop(files.new_lock(&run, Durability::Power, 1).expect("new"));
        let (before, still) = (opened(), opened());
        assert!(matches!(locked(&path, still), Ok(Locked::Ours(_))));
        // Somebody removes the run, and somebody imports it again.
        std::fs::remove_file(&path).expect("removed");
        let gone = files.take_lock(&run, Durability::Power, 1);
        assert!(matches!(gone, Err(StoreError::Damaged { .. })), "{gone:?}");
        let _owner = files.new_lock(&run, Durability::Power, 1).expect("new");
        let late = locked(&path, before);
        assert!(matches!(late, Ok(Locked::Replaced)), "{late:?}");
        let taken = files.take_lock(&run, Durability::Power, 1);
        assert!(matches!(taken, Err(StoreError::Owned { .. })), "{taken:?}");
    }

    #[test]
    fn a_lock_line_reads_back_and_any_flipped_byte_is_noticed() {
        let line = LockLine {
            pid: 7,
            since_ms: 1_700_000_000_000,
            head: Head { seq: 42, chain: -5 },
            boot: boot_id(),
            durability: Durability::Power,
        };
        let bytes = line.render();
        assert_eq!(LockLine::parse(&bytes), Some(line.clone()));
        let used = bytes.iter().rposition(|b| *b != b' ' && *b != b'\n').expect("text");
        for at in 0..=used {
            let mut bad = bytes;
            bad[at] ^= 1;
            assert_ne!(LockLine::parse(&bad), Some(line.clone()), "byte {at}");
            assert_eq!(LockLine::parse(&bad), None, "byte {at}");
        }
        assert_eq!(LockLine::parse(&[0; LINE]), None);
    }
}
