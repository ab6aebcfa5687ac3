//! A run out of a file: looked through whole first, then written in batches that nobody sees before all of them are there.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::VERSION;
use super::contents::Contents;
use super::export::wrong;
use super::line::{Bytes, ComponentLine, End, Header, Line, Reader, Wrong};
use crate::engine::source;
use crate::event::now_ms;
use crate::ids::{Digest, RunId};
use crate::limits::{self, Limits, Unit};
use crate::plugin::load::Shelf;
use crate::run::plugins_of::{PluginsOf, bytes_of};
use crate::run::{Host, HostError};
use crate::session::codec;
use crate::store::{Imported, Owner, Record, RunRow, Store, StoreError, StoredEntry, Transition, WhatFor};

/// Records of one batch, and their bytes.
const RECORDS: usize = 256;
const BYTES: usize = 1 << 20;
/// Bytes of a run's row: its command line holds its task.
const ROW: usize = 4 << 20;
/// How deep any host lets agents nest: the most that `limits.delegation.depth` can be.
const DEEPEST: u64 = 64;

/// A run that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedRun {
    /// The run.
    pub run: RunId,
    /// Whether it can be looked at and not replayed: secrets were taken out of it.
    pub view_only: bool,
    /// Plugins of it that are not here, by name and digest.
    pub missing: Vec<(String, String)>,
    /// Whether `resume` takes it: it has not ended, and nothing forbids that it goes on here.
    pub can_go_on: bool,
}

/// What a file's lines are, in order: a row, bodies and records, entries, components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Row,
    Records,
    Entries,
    Components,
}

/// A file's lines, one after another, with what each of them must be.
struct Lines<'a> {
    path: &'a Path,
    reader: Reader<BufReader<File>>,
    header: Header,
    part: Part,
    component: Option<Component>,
    most: u64,
}

/// A component whose pieces come.
struct Component {
    digest: Digest,
    /// How many bytes it has.
    whole: u64,
    bytes: Vec<u8>,
}

/// What a line brings.
enum Item {
    Row(Box<RunRow>),
    /// With the bytes of its line.
    Record(Box<Record>, usize),
    Entry(StoredEntry),
    Component(Vec<u8>),
    End(End),
}

impl Host {
    /// Brings a run out of a file into the store, under the id that it had. All of it or nothing.
    ///
    /// # Errors
    /// The file is damaged, of a newer format or over a limit, the id is taken, or the store can't be written.
    pub async fn import_run(&self, file: &Path) -> Result<ImportedRun, HostError> {
        let store = self.store()?;
        store.sweep_copies().await?;
        let (row, seen, plugins) = self.look_through(file)?;
        let run = row.id.clone();
        let owner = store.begin_copy(row).await.map_err(|error| match error {
            StoreError::Duplicate { .. } => HostError::RunIsHere { run: run.to_string() },
            other => other.into(),
        })?;
        match self.bring(&store, &owner, file, (&seen, plugins)).await {
            Ok((row, missing)) => {
                let view_only = row.imported.as_ref().is_some_and(|i| i.what_for == WhatFor::Viewing);
                drop(store.finish_copy(owner, row).await?);
                let row = store.run(&run)?;
                let can_go_on = missing.is_empty() && !row.status.is_final() && self.would_go_on(&store, &row);
                Ok(ImportedRun {
                    run,
                    view_only,
                    missing,
                    can_go_on,
                })
            }
            Err(error) => {
                store.drop_copy(owner).await?;
                Err(error)
            }
        }
    }

    /// Reads the whole file and keeps nothing: every line is what it should be, and the last one tells of those before it. Gives the run's row,
    /// the last line, and the plugins that its records use.
    fn look_through(&self, file: &Path) -> Result<(RunRow, End, PluginsOf), HostError> {
        let mut lines = self.lines(file)?;
        let (mut row, mut plugins) = (None, PluginsOf::default());
        let (mut agents, mut contents) = (Agents::default(), Contents::default());
        loop {
            match lines.next()? {
                Item::Row(of_run) => row = Some(*of_run),
                Item::End(end) if contents.are_for_viewing() && !end.view_only => {
                    return Err(wrong(file, "it is damaged: bodies of its records are missing"));
                }
                Item::End(end) => {
                    contents.are_whole(end.view_only).map_err(|what| wrong(file, what))?;
                    let row = row.ok_or_else(|| wrong(file, "it is damaged: the run's row is missing"))?;
                    return Ok((row, end, plugins));
                }
                Item::Record(record, _) => {
                    agents.follow(&record).map_err(|what| lines.damaged(what))?;
                    contents.follow(&record).map_err(|what| lines.damaged(&what))?;
                    plugins.follow(&record).map_err(|e| lines.damaged(&e.to_string()))?;
                }
                Item::Entry(entry) => contents
                    .entry(&entry, &self.config.limits)
                    .map_err(|what| lines.damaged(&what))?,
                Item::Component(_) => {}
            }
        }
    }

    /// Writes everything of the file that was looked through, whose last line is `seen` and whose records use `plugins`. Gives the run's row as it shall
    /// be, and the plugins that are not here.
    async fn bring(
        &self,
        store: &Store,
        owner: &Owner,
        file: &Path,
        (seen, plugins): (&End, PluginsOf),
    ) -> Result<(RunRow, Vec<(String, String)>), HostError> {
        let mut lines = self.lines(file)?;
        let mut batch = Batch::default();
        let mut row = None;
        let end = loop {
            match lines.next()? {
                Item::Row(of_run) => row = Some(*of_run),
                Item::Record(record, bytes) => {
                    batch.push(*record, bytes);
                    if batch.is_full() {
                        batch.write(store, owner, file).await?;
                    }
                }
                Item::Entry(entry) => store.copy_entries(owner, vec![entry]).await?,
                Item::Component(bytes) => drop(store.keep_component(owner, bytes.into()).await?),
                Item::End(end) => break end,
            }
        };
        batch.write(store, owner, file).await?;
        if end != *seen {
            return Err(wrong(file, "it was changed while it was read"));
        }
        let plugins = lines.plugins(&plugins)?;
        let missing = missing(store, owner, &self.shelf(), &plugins, &self.config.limits).await?;
        let mut row = row.ok_or_else(|| wrong(file, "it is damaged: the run's row is missing"))?;
        row.imported = Some(Imported {
            at_ms: now_ms(),
            what_for: match end.view_only {
                true => WhatFor::Viewing,
                false => WhatFor::Everything,
            },
        });
        Ok((row, missing))
    }

    fn lines<'a>(&self, path: &'a Path) -> Result<Lines<'a>, HostError> {
        let limits = &self.config.limits;
        let file = source::open(path).map_err(|e| wrong(path, &e.to_string()))?;
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            return Err(wrong(path, "it is no file"));
        }
        let mut reader = Reader::new(BufReader::new(file), limits);
        let header = reader.header().map_err(|what| refused(path, what))?;
        Ok(Lines {
            path,
            reader,
            header,
            part: Part::Row,
            component: None,
            most: limits.component,
        })
    }
}

/// The agents of a run, as far as its records must fit them: what goes on with a run, or shows it, goes through its attempts one by one, and down from
/// each agent to those below.
#[derive(Default)]
struct Agents(HashMap<u32, AgentSoFar>);

#[derive(Default)]
struct AgentSoFar {
    depth: u64,
    /// Attempts whose starts have come.
    starts: u32,
}

impl Agents {
    fn follow(&mut self, record: &Record) -> Result<(), &'static str> {
        match record {
            Record::Session(new) => {
                let depth = match &new.parent {
                    None => 0,
                    Some(address) => {
                        let parent = self.0.get(&address.session.number);
                        parent.ok_or("it is the child of nobody")?.depth + 1
                    }
                };
                if depth > DEEPEST {
                    return Err("its agents nest deeper than any host lets them");
                }
                let agent = AgentSoFar { depth, starts: 0 };
                self.0.insert(new.session.number, agent);
            }
            Record::Start(start) => {
                let agent = self.0.get_mut(&start.session.number).ok_or("it starts nobody")?;
                if start.attempt != agent.starts + 1 {
                    return Err("its attempts do not follow each other");
                }
                agent.starts = start.attempt;
            }
            Record::Update(update) => {
                let agent = self.0.get(&update.session.number).ok_or("it is nobody's")?;
                if let Transition::Active { attempt } = update.transition
                    && attempt > agent.starts
                {
                    return Err("it is of an attempt that has no start");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Records that are written together.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, record: Record, bytes: usize) {
        self.bytes += bytes;
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= RECORDS || self.bytes >= BYTES
    }

    async fn write(&mut self, store: &Store, owner: &Owner, file: &Path) -> Result<(), HostError> {
        self.bytes = 0;
        let records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return Ok(());
        }
        let written = store.copy_records(owner, records).await;
        written.map_err(|error| match error {
            StoreError::Duplicate { .. } | StoreError::NotFound { .. } | StoreError::Internal { .. } => {
                wrong(file, &format!("its records are not those of one run: {error}"))
            }
            other => other.into(),
        })
    }
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Item, HostError> {
        loop {
            let line = self.reader.next().map_err(|what| refused(self.path, what))?;
            if let Some(item) = self.item(line)? {
                return Ok(item);
            }
        }
    }

    /// What a line brings; nothing for one that is a part of something.
    fn item(&mut self, line: Line) -> Result<Option<Item>, HostError> {
        if self.component.is_some() && !matches!(line, Line::Piece(_)) {
            return Err(self.damaged("the component before it is not whole"));
        }
        Ok(match line {
            Line::Row(bytes) => {
                self.at(Part::Row)?;
                if bytes.0.len() > ROW {
                    return Err(self.damaged("no run has so large a row"));
                }
                let row: RunRow = self.decoded(&bytes)?;
                if row.id != self.header.run {
                    return Err(self.damaged("it is another run's"));
                }
                self.part = Part::Records;
                Some(Item::Row(Box::new(row)))
            }
            Line::Body(Bytes(body)) => {
                self.at(Part::Records)?;
                let bytes = body.len();
                Some(Item::Record(Box::new(Record::Body(Digest::of(&body), body)), bytes))
            }
            Line::Record(bytes) => {
                self.at(Part::Records)?;
                let record: Record = self.decoded(&bytes)?;
                if matches!(record, Record::Body(..) | Record::Spill(_)) {
                    return Err(self.damaged("it is no record of a journal"));
                }
                Some(Item::Record(Box::new(record), bytes.0.len()))
            }
            Line::Entry(bytes) => {
                self.at(Part::Entries)?;
                Some(Item::Entry(self.decoded(&bytes)?))
            }
            Line::Component(of) => {
                self.at(Part::Components)?;
                self.component = Some(self.begun(&of)?);
                None
            }
            Line::Piece(Bytes(piece)) => self.piece(&piece)?.map(Item::Component),
            Line::End(end) => {
                self.at(Part::Components)?;
                Some(Item::End(end))
            }
        })
    }

    /// A line of this part comes: those of earlier parts are over.
    fn at(&mut self, part: Part) -> Result<(), HostError> {
        if self.part > part || self.part == Part::Row && part != Part::Row {
            return Err(self.damaged("it stands in a wrong place"));
        }
        self.part = part;
        Ok(())
    }

    fn begun(&self, of: &ComponentLine) -> Result<Component, HostError> {
        let digest = of.digest.parse().map_err(|_| self.damaged("it names no component"))?;
        if of.bytes > self.most {
            let most = limits::show(self.most, Unit::Bytes);
            let what = format!("it brings a component of more than {most} (limits.component)");
            return Err(wrong(self.path, &what));
        }
        Ok(Component {
            digest,
            whole: of.bytes,
            bytes: Vec::new(),
        })
    }

    fn piece(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        let mut component = self
            .component
            .take()
            .ok_or_else(|| self.damaged("it is a piece of nothing"))?;
        component.bytes.extend_from_slice(piece);
        let there = component.bytes.len() as u64;
        if there < component.whole && !piece.is_empty() {
            self.component = Some(component);
            return Ok(None);
        }
        if there != component.whole || Digest::of(&component.bytes) != component.digest {
            return Err(self.damaged("the component is not the one that was exported"));
        }
        Ok(Some(component.bytes))
    }

    /// The plugins that the first line names, and those that the records use, whatever it names.
    fn plugins(&self, used: &PluginsOf) -> Result<BTreeMap<Digest, String>, HostError> {
        let mut plugins = BTreeMap::new();
        for plugin in &self.header.plugins {
            let digest = plugin.digest.parse();
            let digest = digest.map_err(|_| wrong(self.path, "its first line names no plugin"))?;
            plugins.insert(digest, plugin.name.clone());
        }
        plugins.extend(used.used().clone());
        Ok(plugins)
    }

    fn decoded<T: DeserializeOwned>(&self, bytes: &Bytes) -> Result<T, HostError> {
        codec::decode(&bytes.0).map_err(|e| self.damaged(&e.to_string()))
    }

    fn damaged(&self, what: &str) -> HostError {
        wrong(self.path, &format!("line {} is damaged: {what}", self.reader.number()))
    }
}

/// Those of a run's plugins that are not here, by name and digest. Those that are, also as they are built in, are kept for it.
async fn missing(
    store: &Store,
    owner: &Owner,
    shelf: &Shelf,
    plugins: &BTreeMap<Digest, String>,
    limits: &Limits,
) -> Result<Vec<(String, String)>, HostError> {
    let mut missing = Vec::new();
    for (digest, name) in plugins {
        match bytes_of(store, shelf, (digest, name), limits) {
            Err(StoreError::NoComponent { .. }) => missing.push((name.clone(), digest.to_string())),
            bytes => drop(store.keep_component(owner, bytes?).await?),
        }
    }
    Ok(missing)
}

fn refused(path: &Path, what: Wrong) -> HostError {
    match what {
        Wrong::Newer(found) => HostError::NewerRunFile {
            path: path.display().to_string(),
            found,
            known: VERSION,
        },
        Wrong::Damaged(what) => wrong(path, &what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::store::{Edge, NewSession, ReturnAddress, SessionUpdate, Start};

    fn id(number: u32) -> SessionId {
        SessionId {
            run: "0123456789".parse().expect("an id"),
            number,
        }
    }

    fn session(number: u32, parent: Option<u32>) -> Record {
        Record::Session(NewSession {
            session: id(number),
            parent: parent.map(|parent| ReturnAddress {
                session: id(parent),
                attempt: 1,
                op: 1,
            }),
            edge: Edge::Root,
            role: String::new(),
            task: String::new(),
            strategy: String::new(),
            digest: Digest::of(b""),
            model: None,
            budget: Vec::new(),
            toolsets: Vec::new(),
            at_ms: 0,
        })
    }

    fn start(number: u32, attempt: u32) -> Record {
        Record::Start(Start {
            session: id(number),
            attempt,
            body: Vec::new(),
            at_ms: 0,
        })
    }

    fn active(number: u32, attempt: u32) -> Record {
        Record::Update(SessionUpdate {
            session: id(number),
            transition: Transition::Active { attempt },
            spent: None,
            at_ms: 0,
        })
    }

    #[test]
    fn attempts_follow_each_other() {
        let mut agents = Agents::default();
        for record in [
            session(0, None),
            start(0, 1),
            active(0, 1),
            active(0, 1),
            start(0, 2),
            active(0, 2),
        ] {
            assert_eq!(agents.follow(&record), Ok(()));
        }
        for record in [
            active(0, 3),
            active(0, u32::MAX),
            start(0, 2),
            start(0, 4),
            start(1, 1),
            active(1, 1),
        ] {
            assert!(agents.follow(&record).is_err(), "{record:?}");
        }
    }

    #[test]
    fn agents_nest_as_deep_as_a_host_lets_them() {
        let mut agents = Agents::default();
        assert_eq!(agents.follow(&session(0, None)), Ok(()));
        let deepest = u32::try_from(DEEPEST).expect("a small number");
        for number in 1..=deepest {
            assert_eq!(agents.follow(&session(number, Some(number - 1))), Ok(()));
        }
        assert!(agents.follow(&session(deepest + 1, Some(deepest))).is_err());
        assert!(agents.follow(&session(99, Some(98))).is_err(), "the child of nobody");
    }
}
