//! How the store fails: what happened, to which file or run, and what a person can do about it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{ErrorCode, ffi};
use rustix::io::Errno;

use crate::ids::RunId;

/// A database can't be opened with less than this free on its disk, in bytes: the index of its log alone takes half of it.
const NO_ROOM: u64 = 64 << 10;

/// A failure of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A newer host wrote the database. Nothing was touched.
    #[error(
        "{} has format {found}, and this hermes-host knows formats up to {known}; use the newer hermes-host, or another HERMES_HOME",
        path.display()
    )]
    FormatTooNew {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this host reads.
        known: u32,
    },
    /// The file is a database of another program.
    #[error("{} is a database, but not of hermes-host; move it away, or use another HERMES_HOME", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The database can't be read. It was left as it is.
    #[error("{} is damaged: {what}; restore a backup, or move hermes.db*, runs and components beside it away to begin anew", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is no database, and this opening may not make one.
    #[error("there is no database at {}; it is made by the first run", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A write where nothing may be written.
    #[error("{} can't be written; make it writable, or set HERMES_HOME to a folder that is", path.display())]
    ReadOnly {
        /// The folder or file.
        path: PathBuf,
    },
    /// The folder can't be made.
    #[error("{} can't be made: {what}; set HERMES_HOME to a folder that can", path.display())]
    NotMade {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        what: String,
    },
    /// The folder lies on a file system whose locks can't be relied on.
    #[error("{} lies on a network file system ({kind}), where a database is not safe; set HERMES_HOME to a local folder", path.display())]
    NetworkFileSystem {
        /// The folder.
        path: PathBuf,
        /// NFS, SMB, …
        kind: &'static str,
    },
    /// Others held the database for longer than `store.busy`.
    #[error(
        "the database was busy for {} ms{}; try again, or raise limits.store.busy",
        waited.as_millis(),
        holder.as_ref().map_or_else(String::new, |h| format!(" (held by {h})"))
    )]
    Busy {
        /// Who holds it, where that is known.
        holder: Option<String>,
        /// How long this call waited.
        waited: Duration,
    },
    /// The disk is full. What was being written is undone.
    #[error("the disk is full: {} has {free} bytes free; make space, then go on", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// Bytes free on its file system.
        free: u64,
    },
    /// What is free is kept for what is under way: nothing new begins. What was to be written is not.
    #[error(
        "the disk is almost full: {} has {free} bytes free, and below {reserve} (limits.disk_reserve) nothing new begins; make space, then go on",
        path.display()
    )]
    Reserve {
        /// The store's folder.
        path: PathBuf,
        /// Bytes free on its file system.
        free: u64,
        /// Bytes that must be.
        reserve: u64,
    },
    /// The folder for a copy is there already and not empty, or no place for one.
    #[error("{} can't take a backup: {what}", path.display())]
    NoPlace {
        /// The folder.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// A copy was given up because its caller asked for that. Nothing of it is left.
    #[error("the backup was given up")]
    GivenUp,
    /// The operating system failed a read or a write. What was being written is undone.
    #[error("{}: {what}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        what: String,
    },
    /// A sync failed earlier: what is on the disk is not known, so this process writes no more.
    #[error("{} failed earlier and is no longer written ({what}); check the disk, then start again", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// The failure.
        what: String,
    },
    /// Another owner took the run since.
    #[error("run {run} was taken over by another process; this one writes to it no more")]
    NotOwner {
        /// The run.
        run: RunId,
    },
    /// Another process owns the run.
    #[error("run {run} is owned by {}; end that process, or wait for it", holder(*pid, *since_ms))]
    Owned {
        /// The run.
        run: RunId,
        /// The owner's process; 0 where the run's lock file does not say.
        pid: u32,
        /// When it took the run, in milliseconds since 1970; 0 where the run's lock file does not say.
        since_ms: u64,
    },
    /// Somebody took the run while it was read in parts.
    #[error(
        "run {run} was taken by another process meanwhile, so what was read of it is not of one moment; wait for that process, then try again"
    )]
    TakenMeanwhile {
        /// The run.
        run: RunId,
    },
    /// What may be written once was written already.
    #[error("{what} is recorded already")]
    Duplicate {
        /// The operation, observation, attempt or run.
        what: String,
    },
    /// A text that was too long for its reader doesn't fit on the blackboard. Nothing of the append was kept.
    #[error("{key} doesn't fit into the run's blackboard (limits.blackboard.bytes, limits.blackboard.keys)")]
    SpillFull {
        /// Where it should have gone.
        key: String,
    },
    /// A run's records are not what was written. Other runs are not concerned.
    #[error("the journal of run {run} is damaged: {what}")]
    Damaged {
        /// The run.
        run: RunId,
        /// What is wrong.
        what: String,
    },
    /// Not even a run's first records are what was written. Other runs are not concerned.
    #[error("the journal of run {run} is damaged: {what}, and there is nothing before it to go on from")]
    NothingLeft {
        /// The run.
        run: RunId,
        /// What is wrong.
        what: String,
    },
    /// The database has nothing of a run whose lock file tells of records.
    #[error("run {run} is lost: the database has none of its {records} records")]
    Lost {
        /// The run.
        run: RunId,
        /// The records that were synced.
        records: u64,
    },
    /// The bytes of a plugin that a run uses are not where they were kept.
    #[error("{} is not there, the bytes of a plugin that a run uses; put it back, from a backup or from where the plugin came from", path.display())]
    NoComponent {
        /// Where they should be.
        path: PathBuf,
    },
    /// No run, session or body of this name.
    #[error("there is no {what}; `hermes-host runs` lists the runs")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// Several runs begin like this.
    #[error("{prefix} may be any of these runs: {}; give more of the id", candidates.iter().map(RunId::as_str).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was looked for.
        prefix: String,
        /// The first runs that fit.
        candidates: Vec<RunId>,
    },
    /// The host used the store wrongly, or the library failed in a way that should not happen.
    #[error("a mistake in the host's store: {what}")]
    Internal {
        /// What happened.
        what: String,
    },
}

impl StoreError {
    /// A folder of the host's own can't be made.
    pub(super) fn not_made(path: &Path, error: &std::io::Error) -> Self {
        match Self::io(path, error) {
            Self::Io { path, what } => Self::NotMade { path, what },
            other => other,
        }
    }

    /// An operating system's error about `path`.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let path = path.to_path_buf();
        match error.kind() {
            K::ReadOnlyFilesystem | K::PermissionDenied => Self::ReadOnly { path },
            K::StorageFull | K::QuotaExceeded => Self::full(&path),
            _ => Self::Io {
                what: error.to_string(),
                path,
            },
        }
    }

    /// A full disk under `path`.
    pub(super) fn full(path: &Path) -> Self {
        Self::Full {
            path: path.to_path_buf(),
            free: free(path).unwrap_or_default(),
        }
    }

    /// True where the disk failed or is full, which may be over the next time.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Io { .. } | Self::Failed { .. })
    }

    pub(crate) fn damaged(run: &RunId, what: impl Into<String>) -> Self {
        Self::Damaged {
            run: run.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }
}

/// Bytes that are free where the file `path` lies.
fn free(path: &Path) -> Option<u64> {
    free_in(path.parent().unwrap_or(path))
}

/// Bytes that are free on the file system of this folder.
pub(super) fn free_in(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Who owns a run, in words.
fn holder(pid: u32, since_ms: u64) -> String {
    match pid {
        0 => "another process".to_owned(),
        pid => format!("process {pid}, for {} s now", seconds_since(since_ms)),
    }
}

fn seconds_since(ms: u64) -> u64 {
    let then = UNIX_EPOCH + Duration::from_millis(ms);
    SystemTime::now().duration_since(then).unwrap_or_default().as_secs()
}

/// A failure inside a transaction, before the path is known to which it belongs.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Store(StoreError),
    /// What no run owns is not what was written.
    Corrupt(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if is_unread(&error) {
            FAILED_READS.with(|reads| reads.set(reads.get() + 1));
        }
        let failed = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => of_the_disk(),
            _ => None,
        };
        failed.unwrap_or(Self::Sql(error))
    }
}

thread_local! {
    /// Reads that SQLite has failed in this thread, those included whose failure is passed over.
    static FAILED_READS: Cell<u64> = const { Cell::new(0) };
}

/// How many reads SQLite has failed in this thread so far. Where there are none more afterwards, whatever was found was read.
pub(super) fn failed_reads() -> u64 {
    FAILED_READS.with(Cell::get)
}

/// True where SQLite could not read a page, or make sense of it.
fn is_unread(error: &rusqlite::Error) -> bool {
    use ErrorCode as E;
    let code = error.sqlite_error_code();
    matches!(code, Some(E::DatabaseCorrupt | E::NotADatabase | E::SystemIoFailure))
}

/// Puts a failure that is none of a disk in the place of this thread's last one, before the database is read: what the system said of another file, as of a
/// socket in the place of a lock file, is not taken for what it said of the database.
pub(super) fn forget_failures() {
    // No file has no name.
    let _ = std::fs::metadata("");
}

/// The failure of the disk that SQLite has just told as damage. Where a read fails with one of these errors, SQLite says that the page is damaged, and what the
/// system said is still this thread's last error: it said nothing of the kind before ([`forget_failures`]).
fn of_the_disk() -> Option<Fault> {
    let said = std::io::Error::last_os_error();
    let errors = [Errno::IO, Errno::NXIO, Errno::UCLEAN].map(|errno| Some(errno.raw_os_error()));
    errors.contains(&said.raw_os_error()).then(|| {
        let failure = ffi::Error::new(ffi::SQLITE_IOERR_CORRUPTFS);
        Fault::Sql(rusqlite::Error::SqliteFailure(
            failure,
            Some(format!("disk I/O error: {said}")),
        ))
    })
}

/// The same for a line of SQLite's check of the structure: it says what code a page that can't be read has failed with.
pub(super) fn of_the_disk_by(line: &str) -> Option<Fault> {
    let code = line.split_once("unable to get the page. error code=");
    let code = code.and_then(|(_, code)| code.trim().parse::<i32>().ok());
    let failure = code.map(ffi::Error::new);
    match failure.filter(|failure| failure.code == ErrorCode::SystemIoFailure) {
        Some(failure) => Some(Fault::Sql(rusqlite::Error::SqliteFailure(failure, None))),
        None => of_the_disk(),
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<postcard::Error> for Fault {
    fn from(error: postcard::Error) -> Self {
        Self::Store(StoreError::internal(format!("encoding a record: {error}")))
    }
}

impl Fault {
    /// The failure as callers see it, for the database at `path`.
    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sql(error) => from_sql(path, &error),
            Self::Corrupt(what) => StoreError::Corrupt {
                path: path.to_path_buf(),
                what,
            },
        }
    }

    /// True when another connection held the lock that was needed.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sql(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)))
    }

    /// True when the file's structure is not a database's, or a value in it has not the type that was written.
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Sql(e) if is_mistyped(e)
            || matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)))
    }

    /// True when a row that must be the only one of its kind was there already.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Sql(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) && !is_mistyped(e))
    }

    /// True where a file that SQLite keeps beside the database, its log or the index of that, could not be made.
    pub(super) fn is_beside(&self) -> bool {
        matches!(self, Self::Sql(rusqlite::Error::SqliteFailure(failure, _))
            if matches!(failure.code, ErrorCode::CannotOpen | ErrorCode::DiskFull)
            || matches!(failure.extended_code, ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP))
    }

    /// True for a read that the operating system failed.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Sql(rusqlite::Error::SqliteFailure(failure, _))
            if matches!(failure.extended_code, ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS))
    }

    /// True for a read, write or sync that the operating system failed.
    pub(super) fn is_io(&self) -> bool {
        matches!(self, Self::Sql(e) if e.sqlite_error_code() == Some(ErrorCode::SystemIoFailure))
    }
}

/// What was found; nothing where it can't be read, as what can't be read leads nowhere.
pub(super) fn unless_unreadable<T: Default>(found: Result<T, Fault>) -> Result<T, Fault> {
    match found {
        Err(fault) if fault.is_corrupt() => Ok(T::default()),
        found => found,
    }
}

/// True for a value that has not the type that was written, where it is read, and where SQLite is to write its row again. What the host writes always has.
fn is_mistyped(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        E::InvalidColumnType(..)
        | E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..) => true,
        E::SqliteFailure(failure, _) => failure.extended_code == ffi::SQLITE_CONSTRAINT_DATATYPE,
        _ => false,
    }
}

fn from_sql(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    let what = error.to_string();
    if is_mistyped(error) {
        return StoreError::Corrupt { path, what };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy {
            holder: None,
            waited: Duration::ZERO,
        },
        Some(ErrorCode::DiskFull) => StoreError::full(&path),
        // SQLite calls a full disk so in some places.
        Some(ErrorCode::SystemIoFailure) if free(&path).is_some_and(|free| free < NO_ROOM) => StoreError::full(&path),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => StoreError::Io { path, what },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt { path, what },
        _ => StoreError::internal(what),
    }
}
