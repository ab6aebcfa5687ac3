//! A run into a file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::line::{Bytes, ComponentLine, Header, Line, PluginLine, Writer};
use super::redacted::{Redaction, Renamed};
use super::{PIECE, VERSION};
use crate::ids::{Digest, RunId, SessionId};
use crate::limits::Limits;
use crate::plugin::load::Shelf;
use crate::run::plugins_of::{PluginsOf, bytes_of};
use crate::run::{Host, HostError};
use crate::session::codec;
use crate::store::{EntryCursor, Intent, Note, NoteKind, Record, Store, StoreError};
use crate::text;

/// Records in one read.
const RECORDS: u32 = 256;
/// Entries in one read: each may be large.
const ENTRIES: u32 = 8;
/// Bytes of a file's name that the name of its draft has, so that this is no name that is too long.
const NAME: usize = 64;

/// Whether the plugins' bytes go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithPlugins {
    /// They do: the file is all that a replay needs.
    Yes,
    /// Their digests alone.
    No,
}

/// A run that was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The run.
    pub run: RunId,
    /// The file.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Whether secrets were taken out, now or when it was exported before, so that it can be looked at and not replayed.
    pub view_only: bool,
}

impl Host {
    /// Writes all that is kept of a run to a new file. Known keys and the shapes of keys are taken out.
    ///
    /// # Errors
    /// There is no such run, it is damaged, a process owns it or takes it meanwhile, bytes of a plugin that shall go along are missing or damaged, or the
    /// file is there already or can't be written. Nothing is left of it then.
    pub async fn export_run(&self, run: &str, file: &Path, plugins: WithPlugins) -> Result<Exported, HostError> {
        let store = self.store_to_read()?;
        let id = store.find_run(run)?;
        let unowned = store.unowned(&id)?;
        let secrets = self.known_secrets()?;
        let draft = Draft::new(file)?;
        let to = draft.open()?;
        let view_only = store.run(&id)?.is_for_viewing();
        // Their rows are not in the file, and one that is damaged is told all the same.
        store.sessions(&id)?;
        let mut export = Export {
            store: &store,
            run: &id,
            file,
            to: Writer::new(BufWriter::new(to)),
            redaction: Redaction::new(secrets),
            renamed: Renamed::default(),
            written: HashSet::new(),
            searched: HashSet::new(),
            emitted: HashMap::new(),
            plugins: PluginsOf::run(&store, &id)?.with_awaited(&store)?,
        };
        export.header()?;
        export.rows()?;
        export.records()?;
        export.entries()?;
        if plugins == WithPlugins::Yes {
            export.components(&self.shelf(), &self.config.limits)?;
        }
        store.is_as_it_was(&unowned)?;
        // What was taken out once is not there to be found again.
        let view_only = view_only || export.redaction.changed();
        let written = export
            .to
            .end(view_only)
            .and_then(|to| to.into_inner().map_err(Into::into));
        let to = written.map_err(|e| wrong(file, &e.to_string()))?;
        to.sync_all().map_err(|e| wrong(file, &e.to_string()))?;
        let bytes = to.metadata().map_or(0, |meta| meta.len());
        draft.keep()?;
        Ok(Exported {
            run: id,
            file: file.to_owned(),
            bytes,
            view_only,
        })
    }
}

/// A file that is not whole yet, beside its place; removed where it is not kept.
struct Draft<'a> {
    file: &'a Path,
    draft: PathBuf,
}

impl<'a> Draft<'a> {
    fn new(file: &'a Path) -> Result<Self, HostError> {
        if file.exists() {
            return Err(wrong(file, "it is there already; choose another name, or remove it"));
        }
        let name = file.file_name().ok_or_else(|| wrong(file, "it is no file's name"))?;
        let name = name.to_string_lossy();
        // Of two names that begin alike each has its own.
        static DRAFTS: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed));
        let draft = format!(".{}.{process}-{number}.draft", text::prefix(&name, NAME));
        let draft = file.with_file_name(draft);
        Ok(Self { file, draft })
    }

    fn open(&self) -> Result<std::fs::File, HostError> {
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&self.draft);
        opened.map_err(|e| wrong(self.file, &e.to_string()))
    }

    fn keep(&self) -> Result<(), HostError> {
        let linked = std::fs::hard_link(&self.draft, self.file).or_else(|_| match self.file.exists() {
            true => Err(std::io::ErrorKind::AlreadyExists.into()),
            // Not every file system has links.
            false => std::fs::rename(&self.draft, self.file),
        });
        linked.map_err(|e| wrong(self.file, &e.to_string()))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.draft);
    }
}

/// A run on its way into a file.
struct Export<'a> {
    store: &'a Store,
    run: &'a RunId,
    file: &'a Path,
    to: Writer<BufWriter<std::fs::File>>,
    redaction: Redaction,
    renamed: Renamed,
    /// Bodies that are in the file.
    written: HashSet<Digest>,
    /// Sessions of which all that they emitted was searched.
    searched: HashSet<SessionId>,
    /// What was made of that in notes that are not in the file yet, by their numbers.
    emitted: HashMap<u64, Option<Vec<u8>>>,
    /// The run's plugins.
    plugins: BTreeMap<Digest, String>,
}

impl Export<'_> {
    fn header(&mut self) -> Result<(), HostError> {
        let plugins = self.plugins.iter().map(|(digest, name)| PluginLine {
            name: name.clone(),
            digest: digest.to_string(),
        });
        let plugins = plugins.collect();
        let task = self.store.run(self.run)?.task;
        let header = Header {
            hermes_run: VERSION,
            host: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.run.clone(),
            task: self.redaction.text(&task),
            plugins,
        };
        self.to.line(&header).map_err(|e| wrong(self.file, &e.to_string()))
    }

    fn rows(&mut self) -> Result<(), HostError> {
        let row = self.redaction.row(self.store.run(self.run)?);
        self.encoded(Line::Row, &row)
    }

    fn records(&mut self) -> Result<(), HostError> {
        let mut after = 0;
        loop {
            let page = self.store.records(self.run, after, RECORDS)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            for (number, record) in page {
                let mut record = match record {
                    Record::Note(note) if note.kind == NoteKind::Emit => self.emitted(number, note)?,
                    record => self.redaction.record(record),
                };
                if let Record::Intent(intent) = &mut record {
                    self.bodies(intent)?;
                    self.renamed.request(&mut intent.request);
                }
                self.encoded(Line::Record, &record)?;
            }
        }
    }

    /// A note of what was emitted, with what was made of it where all that its instance emitted was searched.
    fn emitted(&mut self, number: u64, mut note: Note) -> Result<Record, HostError> {
        let session = &note.stream.session;
        if self.searched.insert(session.clone()) {
            let notes = self.store.notes(session, &[NoteKind::Emit], 0, usize::MAX)?;
            self.emitted.extend(self.redaction.emitted(notes));
        }
        match self.emitted.remove(&number) {
            Some(body) => note.body = body.unwrap_or(note.body),
            // An index hides it from its session.
            None => return Ok(self.redaction.record(Record::Note(note))),
        }
        Ok(Record::Note(note))
    }

    /// The bodies of a request, each once.
    fn bodies(&mut self, intent: &Intent) -> Result<(), HostError> {
        for digest in &intent.request {
            if !self.written.insert(*digest) {
                continue;
            }
            let body = self.redaction.body(intent.kind, self.store.body(self.run, digest)?);
            self.renamed.keep(*digest, Digest::of(&body));
            self.line(&Line::Body(Bytes(body)))?;
        }
        Ok(())
    }

    fn entries(&mut self) -> Result<(), HostError> {
        let mut after: Option<EntryCursor> = None;
        loop {
            let page = self.store.stored_entries(self.run, after.as_ref(), ENTRIES)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.space.clone(), last.version));
            for entry in page {
                let entry = self.redaction.entry(entry);
                self.encoded(Line::Entry, &entry)?;
            }
        }
    }

    /// The bytes of all plugins, or which of them are not there.
    fn components(&mut self, shelf: &Shelf, limits: &Limits) -> Result<(), HostError> {
        let mut lost = Vec::new();
        for (digest, name) in std::mem::take(&mut self.plugins) {
            let shown = text::line(&name, 64);
            let bytes = match bytes_of(self.store, shelf, (&digest, &name), limits) {
                Err(StoreError::NoComponent { path }) => {
                    lost.push(format!("the bytes of {shown} are missing ({})", path.display()));
                    continue;
                }
                Err(StoreError::Corrupt { path, .. }) => {
                    lost.push(format!("the bytes of {shown} are damaged ({})", path.display()));
                    continue;
                }
                bytes => bytes?,
            };
            self.line(&Line::Component(ComponentLine {
                digest: digest.to_string(),
                bytes: bytes.len() as u64,
            }))?;
            for piece in bytes.chunks(PIECE) {
                self.line(&Line::Piece(Bytes(piece.to_vec())))?;
            }
        }
        match lost.is_empty() {
            true => Ok(()),
            false => Err(HostError::PluginsLost {
                run: self.run.clone(),
                lost,
            }),
        }
    }

    fn encoded<T: serde::Serialize>(&mut self, line: fn(Bytes) -> Line, value: &T) -> Result<(), HostError> {
        self.line(&line(Bytes(codec::encode(value))))
    }

    fn line(&mut self, line: &Line) -> Result<(), HostError> {
        self.to.line(line).map_err(|e| wrong(self.file, &e.to_string()))
    }
}

pub(super) fn wrong(file: &Path, what: &str) -> HostError {
    HostError::RunFile {
        path: file.display().to_string(),
        what: what.to_owned(),
    }
}
