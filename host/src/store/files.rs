//! Where the store's files are, and the checks and openings that come before the first statement.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{Fault, StoreError, forget_failures};
use super::schema;
use crate::own_file::{self, Trust};

/// The oldest SQLite without the race of two connections that reset a write-ahead log.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long an opening or a read waits while another process recovers, closes or has locked the database altogether.
const WAIT: Duration = Duration::from_secs(5);

/// The paths in a store's folder.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
}

/// A connection that reads.
pub(super) struct Reader {
    pub(super) conn: Connection,
    /// How the database was before it was opened, where it is read as a file that does not change.
    pub(super) unchanging: Option<Stamp>,
}

/// What tells whether somebody has changed a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    /// When it was written last, in seconds and nanoseconds.
    at: (i64, i64),
}

impl Stamp {
    /// A number that is another one after each change.
    pub(super) const fn version(self) -> i64 {
        let (seconds, nanoseconds) = self.at;
        seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
    }
}

impl Files {
    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("hermes.db")
    }

    pub(super) fn wal(&self) -> PathBuf {
        self.dir.join("hermes.db-wal")
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    pub(super) fn components(&self) -> PathBuf {
        self.dir.join("components")
    }

    /// Makes the folders and, where there is none, the database.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        for dir in [self.dir.clone(), self.runs(), self.components()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|e| StoreError::not_made(&dir, &e))?;
            let mode = dir
                .metadata()
                .map_err(|e| StoreError::io(&dir, &e))?
                .permissions()
                .mode();
            if mode & 0o077 != 0 {
                std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).map_err(|e| StoreError::io(&dir, &e))?;
            }
        }
        if read_only(&self.dir) {
            return Err(StoreError::ReadOnly { path: self.dir.clone() });
        }
        self.refuse_network()?;
        if !self.database().exists() {
            self.refuse_remains()?;
            self.create()?;
        }
        Ok(())
    }

    /// Checks the database's header without opening it as a database, so that nothing is touched.
    pub(super) fn check_header(&self) -> Result<(), StoreError> {
        let path = self.database();
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(StoreError::internal(format!(
                "SQLite {} is too old",
                rusqlite::version()
            )));
        }
        let mut header = [0u8; 100];
        // A link leads where somebody has put the database; a pipe would hold us for ever.
        let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let opened = OpenOptions::new().read(true).custom_flags(no_wait).open(&path);
        match opened.and_then(|mut file| file.read_exact(&mut header)) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.refuse_remains()?;
                return Err(StoreError::Missing { path });
            }
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                return Err(StoreError::Corrupt {
                    path,
                    what: "it is shorter than a database's header".into(),
                });
            }
            Err(e) => {
                return Err(StoreError::Io {
                    path,
                    what: e.to_string(),
                });
            }
        }
        if &header[..16] != b"SQLite format 3\0" {
            return Err(StoreError::Corrupt {
                path,
                what: "it does not begin like a database".into(),
            });
        }
        if word(&header, 68) != schema::APPLICATION_ID {
            return Err(StoreError::NotOurs { path });
        }
        self.refuse_newer(word(&header, 60))
    }

    /// Refuses a format that this host doesn't know.
    pub(super) fn refuse_newer(&self, found: u32) -> Result<(), StoreError> {
        if found > schema::VERSION {
            return Err(StoreError::FormatTooNew {
                path: self.database(),
                found,
                known: schema::VERSION,
            });
        }
        Ok(())
    }

    /// A connection that writes, its format brought up to date by the caller. It copies nothing out of the log by itself: SQLite tells nobody when a sync
    /// fails there.
    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        let path = self.database();
        let open = || -> Result<Connection, Fault> {
            let conn = Connection::open_with_flags(&path, flags() | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            set_up(&conn)?;
            conn.execute_batch(
                "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864; PRAGMA wal_autocheckpoint=0",
            )?;
            Ok(conn)
        };
        let conn = open().map_err(|e| e.at(&path))?;
        self.refuse_newer(schema::version(&conn).map_err(|e| e.at(&path))?)?;
        self.refuse_shortened(&conn)?;
        Ok(conn)
    }

    /// Refuses a database that says that it is shorter than its file: new pages would be written over those behind its end. One whose process was killed
    /// just before it made the file shorter is sound.
    fn refuse_shortened(&self, conn: &Connection) -> Result<(), StoreError> {
        let path = self.database();
        let looked = || -> Result<Option<String>, Fault> {
            let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let said = pragma("page_size")?
                .saturating_mul(pragma("page_count")?)
                .unsigned_abs();
            if path.metadata().map_or(0, |meta| meta.len()) <= said {
                return Ok(None);
            }
            let first = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
            Ok((first != "ok").then_some(first))
        };
        match looked().map_err(|e| e.at(&path))? {
            None => Ok(()),
            Some(what) => Err(StoreError::Corrupt {
                path,
                what: format!("it says that it is shorter than it is ({what})"),
            }),
        }
    }

    /// Refuses what another program or a newer host has written, in the log too, and what is damaged, before anything is touched.
    pub(super) fn refuse_untouched(&self) -> Result<(), StoreError> {
        match self.check_header() {
            // Whether it can be made there is seen then.
            Err(StoreError::Missing { .. } | StoreError::Io { .. }) => return Ok(()),
            checked => checked?,
        }
        if self.has_log() {
            // One that only reads leaves the log as it is. What else is wrong with it is told by those who use it.
            if let Err(error @ StoreError::FormatTooNew { .. }) = self.connect_reader() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// A connection that only reads, and waits up to 5 s for whoever has locked the database altogether. Where the log's index may not be made, or there is
    /// no room for it, the database is read as a file that does not change, provided that no log waits beside it.
    pub(super) fn connect_reader(&self) -> Result<Reader, StoreError> {
        let (path, before) = (self.database(), self.stamp());
        let plain = || -> Result<Connection, Fault> {
            let conn = Connection::open_with_flags(&path, flags() | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            set_up(&conn)?;
            schema::version(&conn)?;
            Ok(conn)
        };
        let (conn, unchanging) = match (plain(), before) {
            (Ok(conn), _) => (conn, None),
            (Err(e), Some(stamp)) if e.is_beside() || read_only(&self.dir) => (self.connect_unchanging()?, Some(stamp)),
            (Err(e), _) => return Err(e.at(&path)),
        };
        self.refuse_newer(schema::version(&conn).map_err(|e| e.at(&path))?)?;
        Ok(Reader { conn, unchanging })
    }

    /// Whether a log waits whose pages are not in the database yet.
    fn has_log(&self) -> bool {
        self.wal().metadata().is_ok_and(|meta| meta.len() > 0)
    }

    /// How the database is now; nothing while a log waits beside it.
    fn stamp(&self) -> Option<Stamp> {
        let meta = self.database().metadata().ok()?;
        (!self.has_log()).then(|| Stamp {
            bytes: meta.len(),
            at: (meta.mtime(), meta.mtime_nsec()),
        })
    }

    /// Whether what this connection reads is what there is: nobody has changed a database that it takes for one that does not change.
    pub(super) fn is_current(&self, reader: &Reader) -> bool {
        reader.unchanging.is_none() || self.stamp() == reader.unchanging
    }

    /// A connection that reads the database as a file that nobody changes: no log, no locks.
    pub(super) fn connect_unchanging(&self) -> Result<Connection, StoreError> {
        let path = self.database();
        let open = || -> Result<Connection, Fault> {
            let uri = format!("file:{}?immutable=1", uri_path(&path));
            let flags = flags() | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            let conn = Connection::open_with_flags(uri, flags)?;
            set_up(&conn)?;
            Ok(conn)
        };
        open().map_err(|e| e.at(&path))
    }

    /// Makes a database beside its place and moves it there whole, so that a half-made one is never seen.
    fn create(&self) -> Result<(), StoreError> {
        let path = self.database();
        let draft = self.dir.join(format!("hermes.db.{}.draft", std::process::id()));
        let _ = std::fs::remove_file(&draft);
        let made = self.create_at(&draft).and_then(|()| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            match renameat_with(CWD, &draft, CWD, &path, RenameFlags::NOREPLACE) {
                Ok(()) => sync_dir(&self.dir),
                // Another process was faster; its database is as good.
                Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(e) => Err(StoreError::io(&path, &e.into())),
            }
        });
        let _ = std::fs::remove_file(&draft);
        made
    }

    fn create_at(&self, draft: &Path) -> Result<(), StoreError> {
        let io = |e: std::io::Error| StoreError::io(&self.dir, &e);
        private().create_new(true).open(draft).map_err(io)?;
        let fill = || -> Result<(), Fault> {
            let conn = Connection::open_with_flags(draft, flags() | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            // So that free pages can be given back in small steps. It can't be set later without writing the whole file anew.
            conn.pragma_update(None, "auto_vacuum", "incremental")?;
            conn.execute_batch("BEGIN IMMEDIATE")?;
            conn.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            schema::upgrade(&conn, 0)?;
            conn.execute_batch("COMMIT")?;
            conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            conn.close().map_err(|(_, e)| e)?;
            Ok(())
        };
        fill().map_err(|e| e.at(draft))?;
        File::open(draft).and_then(|f| f.sync_all()).map_err(io)
    }

    /// A folder with runs or a log but without its database has lost it: a new one would hide that.
    fn refuse_remains(&self) -> Result<(), StoreError> {
        let log = self.has_log();
        let runs = std::fs::read_dir(self.runs()).is_ok_and(|mut entries| entries.next().is_some());
        // Looked for once more, after what is only there beside it: another process may have made it meanwhile.
        if (log || runs) && !self.database().exists() {
            let what = "it is missing, but files of its runs are still there".to_owned();
            return Err(StoreError::Corrupt {
                path: self.database(),
                what,
            });
        }
        Ok(())
    }

    /// Locks and shared memory between machines are what a write-ahead log can't have. FUSE is let through: rootless
    /// containers use it for local folders.
    fn refuse_network(&self) -> Result<(), StoreError> {
        #[cfg(target_os = "linux")]
        {
            let kind = match rustix::fs::statfs(&self.dir).map(|s| s.f_type as u32) {
                Ok(0x6969) => "NFS",
                Ok(0xff53_4d42 | 0xfe53_4d42 | 0x517b) => "SMB",
                Ok(0x5346_414f | 0x6b41_4653) => "AFS",
                Ok(0x7375_7245) => "Coda",
                Ok(0x00c3_6400) => "Ceph",
                Ok(0x0bd0_0bd0) => "Lustre",
                _ => "",
            };
            if !kind.is_empty() {
                return Err(StoreError::NetworkFileSystem {
                    path: self.dir.clone(),
                    kind,
                });
            }
        }
        Ok(())
    }
}

/// Opens a file that tells processes of one another: no link and no pipe in its place.
pub(super) fn shared(options: &mut OpenOptions, path: &Path) -> std::io::Result<File> {
    own_file::open(options, path, Trust::Checked)
}

/// Options for reading and writing a file that only its owner may open.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Makes names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| StoreError::io(dir, &e))
}

fn set_up(conn: &Connection) -> Result<(), Fault> {
    forget_failures();
    conn.set_prepared_statement_cache_capacity(64);
    conn.busy_timeout(WAIT)?;
    // Without it a statement whose plan looked at a value would be compiled anew each time that it is used: statistics are compiled in.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.execute_batch("PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-8000")?;
    Ok(())
}

/// One thread at a time uses a connection, by its mutex or its pool.
fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn word(header: &[u8; 100], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn read_only(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_err()
}

fn uri_path(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(String::new(), |mut uri, &byte| {
            use std::fmt::Write as _;
            if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                let _ = write!(uri, "%{byte:02X}");
            }
            uri
        })
}
