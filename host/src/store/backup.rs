//! A copy of the store while it is in use: a folder that can stand in the place of the one that it was made of.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FlockOperation;
use tokio_util::sync::CancellationToken;

use super::error::{Fault, StoreError, unless_unreadable};
use super::files::{private, sync_dir};
use super::listing::{self, Found};
use super::owner::{LockState, RunLock};
use super::prune::entries;
use super::runs::{chain_at, now_ms};
use super::write::head;
use super::{Files, Store};
use crate::ids::RunId;
use crate::own_file::FileLock;

/// Pages that are copied before it is looked again whether to go on.
const STEP: i32 = 1024;

/// How often a sweep of components is waited for.
const POLL: Duration = Duration::from_millis(10);

/// What a copy holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Runs.
    pub runs: u64,
    /// Components.
    pub components: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Store {
    /// Copies the store as it stands at one moment to the folder `to`, which must not be there or be empty: database, components, the anchors of runs,
    /// and the operator's configuration and approvals. Whoever writes meanwhile is not held up. The folder appears whole or not at all. Takes its time, in the
    /// caller's thread.
    ///
    /// # Errors
    /// [`StoreError::NoPlace`]; [`StoreError::GivenUp`] when `stop` is raised; [`StoreError::Busy`] while components are swept away; failures of the disk.
    pub fn backup(&self, to: &Path, stop: &CancellationToken) -> Result<Copied, StoreError> {
        // Nothing can be moved to `DIR/.`, which is `DIR`.
        let to: PathBuf = to.components().collect();
        let draft = self.place(&to)?;
        let copied = self.copy_to(&draft, stop).and_then(|copied| {
            fs::rename(&draft, &to).map_err(|e| StoreError::io(&to, &e))?;
            sync_dir(draft.parent().unwrap_or(&to))?;
            Ok(copied)
        });
        if copied.is_err() {
            let _ = fs::remove_dir_all(&draft);
        }
        copied
    }

    /// Makes a folder beside `to`, to be moved there.
    fn place(&self, to: &Path) -> Result<PathBuf, StoreError> {
        let refused = |what: &str| {
            Err(StoreError::NoPlace {
                path: to.to_path_buf(),
                what: what.to_owned(),
            })
        };
        let (Some(name), Some(above)) = (to.file_name(), to.parent()) else {
            return refused("it has no name of its own");
        };
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        let there = to.symlink_metadata();
        if there.as_ref().is_ok_and(Metadata::is_symlink) {
            return refused("it is a link; name a folder that is not there yet");
        }
        match fs::read_dir(to).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return refused("it is not empty; name a folder that is not there yet"),
            Err(_) if there.is_ok() => return refused("it is a file; name a folder that is not there yet"),
            Err(_) => {}
        }
        let Ok(real) = above.canonicalize() else {
            return refused(&format!(
                "its parent folder {} is not there; make that first",
                above.display()
            ));
        };
        if self.dir().canonicalize().is_ok_and(|own| real.starts_with(own)) {
            return refused("it lies in the folder that is copied");
        }
        let mut draft = name.to_os_string();
        draft.push(format!(".{}.draft", std::process::id()));
        let draft = above.join(draft);
        let make = || DirBuilder::new().mode(0o700).create(&draft);
        if let Err(e) = make() {
            return refused(&format!("its parent folder {}: {e}", above.display()));
        }
        if there.is_err() {
            return Ok(draft);
        }
        // Whether a folder can take the place of the one that is there is tried before anything is copied, with an empty one.
        if let Err(e) = fs::rename(&draft, to) {
            let _ = fs::remove_dir(&draft);
            return match e.kind() {
                ErrorKind::ResourceBusy => refused("something is mounted there; name a folder that is not there yet"),
                _ => refused(&e.to_string()),
            };
        }
        make().map_err(|e| StoreError::not_made(&draft, &e))?;
        Ok(draft)
    }

    fn copy_to(&self, draft: &Path, stop: &CancellationToken) -> Result<Copied, StoreError> {
        let own = &self.0.files;
        let copy = Files {
            dir: draft.to_path_buf(),
        };
        for folder in [copy.runs(), copy.components()] {
            let made = DirBuilder::new().mode(0o700).create(&folder);
            made.map_err(|e| StoreError::not_made(&folder, &e))?;
        }
        let _held = self.rely_on_components()?;
        // Read before the database is: an anchor that is ahead of the copy then tells of damage that was there.
        let mut anchors = Vec::new();
        for listed in self.runs(u32::MAX)? {
            if let Ok(run) = listed.id.parse::<RunId>() {
                let state = own.lock_state(&run)?;
                anchors.push((run, state));
            }
        }
        self.copy_database(&copy, stop)?;
        let mut copied = Copied {
            runs: self.copy_anchors(&copy, &anchors)?,
            components: self.copy_components(&copy, stop)?,
            bytes: 0,
        };
        for name in ["config.toml", "approvals.toml"] {
            let file = own.dir.join(name);
            if file.is_file() {
                copy_file(&file, &copy.dir.join(name))?;
            }
        }
        for folder in [copy.runs(), copy.components(), copy.dir.clone()] {
            sync_dir(&folder)?;
            for path in entries(&folder)? {
                copied.bytes += path
                    .metadata()
                    .map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
            }
        }
        Ok(copied)
    }

    /// Keeps components from being swept away while somebody relies on them. Where the folder can't be written nobody can sweep.
    pub(super) fn rely_on_components(&self) -> Result<Option<FileLock>, StoreError> {
        let began = Instant::now();
        loop {
            match self.0.files.hold_components(FlockOperation::NonBlockingLockShared) {
                Err(StoreError::ReadOnly { .. }) => return Ok(None),
                Ok(None) if began.elapsed() < self.0.options.busy => std::thread::sleep(POLL),
                Ok(None) => {
                    return Err(StoreError::Busy {
                        holder: None,
                        waited: began.elapsed(),
                    });
                }
                held => return held,
            }
        }
    }

    fn copy_database(&self, copy: &Files, stop: &CancellationToken) -> Result<(), StoreError> {
        let path = copy.database();
        private()
            .create_new(true)
            .open(&path)
            .map_err(|e| StoreError::io(&path, &e))?;
        let reader = self.0.files.connect_reader()?;
        let (source, database) = (&reader.conn, self.0.files.database());
        let begin = || -> Result<(), Fault> {
            // One read transaction around all steps: without it the copy would begin anew whenever another process commits.
            source.execute_batch("BEGIN")?;
            source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
            Ok(())
        };
        begin().map_err(|e| e.at(&database))?;
        let fill = || -> Result<(), Fault> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut target = Connection::open_with_flags(&path, flags)?;
            let backup = Backup::new(source, &mut target)?;
            loop {
                match backup.step(STEP)? {
                    StepResult::Done => return Ok(()),
                    StepResult::More if stop.is_cancelled() => return Err(StoreError::GivenUp.into()),
                    StepResult::More => {}
                    // Nobody else has the copy, and the source's transaction is open already.
                    other => return Err(StoreError::internal(format!("a copy is {other:?}")).into()),
                }
            }
        };
        fill().map_err(|e| {
            // What is copied is read, and its copy is written.
            let failed = if e.is_read() { &database } else { &path };
            self.told(e, failed)
        })?;
        if !self.0.files.is_current(&reader) {
            // A disk that was full has room again, and somebody writes.
            return Err(StoreError::Busy {
                holder: None,
                waited: Duration::ZERO,
            });
        }
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|e| StoreError::io(&path, &e))
    }

    /// Gives each run of the copy the anchor that fits its journal there, unless the run was damaged: then it is so in the copy.
    fn copy_anchors(&self, copy: &Files, anchors: &[(RunId, LockState)]) -> Result<u64, StoreError> {
        let conn = copy.connect_unchanging()?;
        let read = || -> Result<Vec<_>, Fault> {
            let mut heads = Vec::new();
            for Found { number, id, .. } in listing::every(&conn)? {
                let Ok(run) = id.parse::<RunId>() else { continue };
                let known = anchors.iter().find(|(of, _)| *of == run).map(|(_, state)| state);
                let sound = match known {
                    // It began after the anchors were read.
                    None => true,
                    Some(LockState::Line(line)) if line.head.seq == 0 => true,
                    Some(LockState::Line(line)) => chain_at(&conn, number, line.head.seq)? == Some(line.head.chain),
                    Some(LockState::Missing | LockState::Broken) => false,
                };
                // Nothing fits a journal whose end can't be read.
                let end = match unless_unreadable(head(&conn, number).map(Some))? {
                    Some(end) if end.seq == 0 || chain_at(&conn, number, end.seq)? == Some(end.chain) => Some(end),
                    _ => None,
                };
                heads.push((run, end.filter(|_| sound)));
            }
            Ok(heads)
        };
        let heads = read().map_err(|e| self.told(e, &copy.database()))?;
        let mut runs = 0;
        for (run, head) in heads {
            let (from, path) = (self.0.files.lock_path(&run), copy.lock_path(&run));
            if let Some(head) = head {
                RunLock::leave(&path, self.0.options.durability, now_ms(), head)
                    .map_err(|e| StoreError::io(&path, &e))?;
            } else if from.is_file() {
                copy_file(&from, &path)?;
            }
            runs += 1;
        }
        Ok(runs)
    }

    /// All that are kept: the rows that say which of them runs use may be damaged, or can't be seen to be gone. A prune sweeps away what no run uses.
    fn copy_components(&self, copy: &Files, stop: &CancellationToken) -> Result<u64, StoreError> {
        let mut components = 0;
        for digest in self.kept_components()? {
            if stop.is_cancelled() {
                return Err(StoreError::GivenUp);
            }
            let from = self.component_path(&digest);
            // What is no file is missing in the copy, and the doctor tells of it in both.
            if from.is_file() {
                copy_file(&from, &copy.components().join(format!("{digest}.wasm")))?;
                components += 1;
            }
        }
        Ok(components)
    }

    /// The failure of a read or write of the copy's database at `path`: what is damaged in it is so in the one that it was made of.
    fn told(&self, fault: Fault, path: &Path) -> StoreError {
        match fault.at(path) {
            StoreError::Corrupt { what, .. } => StoreError::Corrupt {
                path: self.0.files.database(),
                what,
            },
            other => other,
        }
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    let bytes = fs::read(from).map_err(|e| StoreError::io(from, &e))?;
    let io = |e: std::io::Error| StoreError::io(to, &e);
    let mut target = private().create_new(true).open(to).map_err(io)?;
    target.write_all(&bytes).map_err(io)?;
    target.sync_all().map_err(io)
}
