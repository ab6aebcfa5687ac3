//! Is everything that the store keeps what was written? Structure, records, bodies, rows, entries, components.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use rusqlite::Connection;

use super::error::{Fault, StoreError, of_the_disk_by};
use super::hidden::{NOT_LED_TO, is_led_to};
use super::listing::{self, Found, ROW_UNREADABLE};
use super::record::Record;
use super::request::damaged_requests;
use super::rows::SessionRow;
use super::runs::RunState;
use super::space::HOME;
use super::verify::{Look, verify};
use super::whole::Rows;
use super::{Store, component, schema, whole};
use crate::ids::{Digest, RunId};

/// Problems of the structure that SQLite tells at most.
const STRUCTURE: u32 = 20;

/// The result of looking through everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Records that were verified.
    pub records: u64,
    /// Message bodies that were verified.
    pub bodies: u64,
    /// Entries of the blackboard that were verified.
    pub entries: u64,
    /// Components that were verified.
    pub components: u64,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
}

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The run that it concerns; none where it is the whole database or the home folder's own spaces.
    pub run: Option<RunId>,
    /// What is wrong.
    pub what: String,
    /// The component that it is about, if it is that; there is one such problem for each run that uses it.
    pub component: Option<BadComponent>,
    /// Whether a page of the database can't be read there: no loss can be accepted then.
    pub unreadable: bool,
}

/// A component that is not what was kept. Whoever has its bytes can put them back, and nothing else mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadComponent {
    /// The digest of what was kept.
    pub digest: Digest,
    /// Where its bytes should be.
    pub path: PathBuf,
    /// Whether nothing is there.
    pub missing: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Some(run) => write!(f, "run {run}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl Integrity {
    fn add(&mut self, run: Option<&RunId>, what: impl Into<String>) {
        self.problems.push(Problem {
            run: run.cloned(),
            what: what.into(),
            component: None,
            unreadable: false,
        });
    }

    /// The same, of what lies on a page that can't be read.
    fn add_unreadable(&mut self, run: Option<&RunId>, what: impl Into<String>) {
        self.add(run, what);
        if let Some(problem) = self.problems.last_mut() {
            problem.unreadable = true;
        }
    }

    /// Takes over what a look found; a database too damaged for it is a problem too.
    fn look<T: Default>(
        &mut self,
        run: Option<&RunId>,
        what: &str,
        found: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match found {
            Err(StoreError::Corrupt { what: why, .. }) => {
                self.add_unreadable(run, format!("{what} can't be read: {why}"));
                Ok(T::default())
            }
            other => other,
        }
    }
}

impl Store {
    /// Looks through everything: the database's structure, every run's row, anchor, records with their chain, and bodies, every session's row, every
    /// space and entry of the blackboard, and the components that runs use; and what belongs to no run that is there.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn integrity(&self) -> Result<Integrity, StoreError> {
        let mut found = Integrity::default();
        let structure = self.read(structure);
        for line in found.look(None, "the database's structure", structure)? {
            found.add(None, format!("the database's structure: {line}"));
        }
        let runs = self.read(runs);
        let runs = found.look(None, "the list of runs", runs)?;
        let spaces = self.rows_of_spaces()?;
        let (mut names, mut recorded) = (BTreeMap::new(), BTreeSet::new());
        for LookedAt {
            number,
            id,
            imported,
            wrong,
            unreadable,
        } in runs
        {
            let Ok(run) = id.parse::<RunId>() else {
                found.add(None, format!("a run has the id {id:?}"));
                continue;
            };
            match wrong {
                Some(what) if unreadable => found.add_unreadable(Some(&run), what),
                Some(what) => found.add(Some(&run), what),
                None => {}
            }
            let used = self.look_at_run(&mut found, &run, number, spaces)?;
            // Of one that was imported they may never have come.
            recorded.extend(used.into_iter().filter(|_| !imported).map(|digest| (number, digest)));
            names.insert(number, run);
        }
        self.look_at_spaces(&mut found, None, HOME, spaces)?;
        let strays = self.read(strays);
        for what in found.look(None, "what belongs to runs", strays)? {
            found.add(None, what);
        }
        let components = self.read(components);
        let components = found.look(None, "the list of components", components)?;
        for (number, digest) in &recorded {
            if components.get(digest).is_some_and(|users| users.contains_key(number)) {
                continue;
            }
            // Unless the run was removed meanwhile.
            if let Some(run) = names.get(number)
                && self.is_known(run)?
            {
                let what = format!(
                    "the row that says that the run {run} uses the component {} is missing",
                    digest.short()
                );
                found.add(Some(run), what);
            }
        }
        self.look_at_components(&mut found, components, &names, &recorded)?;
        for (run, records) in self.lost_runs()? {
            // Unless the run was removed meanwhile, and its lock file just after it.
            if self.lost(&run)?.is_some() {
                found.add(Some(&run), format!("the database has none of its {records} records"));
            }
        }
        Ok(found)
    }

    /// Whether all of a run is what was written, its components apart.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that is not; [`StoreError::NotFound`]; failures of the disk.
    pub fn whole(&self, run: &RunId) -> Result<(), StoreError> {
        self.whole_by(run, Rows::OfTable)
    }

    /// The same, for one of several runs whose spaces' rows are looked for in this way.
    pub(super) fn whole_by(&self, run: &RunId, spaces: Rows) -> Result<(), StoreError> {
        self.run(run)?;
        let (number, _) = self.run_number(run)?;
        let mut found = Integrity::default();
        self.look_at_run(&mut found, run, number, spaces)?;
        match found.problems.into_iter().next() {
            Some(problem) => Err(StoreError::damaged(run, problem.what)),
            None => Ok(()),
        }
    }

    /// Where to look for the rows of spaces of one run after another.
    pub(super) fn rows_of_spaces(&self) -> Result<Rows, StoreError> {
        match self.read(|conn| Ok(Rows::chosen(conn))) {
            Err(StoreError::Corrupt { .. }) => Ok(Rows::OfTable),
            other => other,
        }
    }

    /// Gives the components of its strategies, as its records have them.
    fn look_at_run(
        &self,
        found: &mut Integrity,
        run: &RunId,
        number: i64,
        spaces: Rows,
    ) -> Result<BTreeSet<Digest>, StoreError> {
        let state = match self.check_anchor(run) {
            // It was removed meanwhile.
            Err(StoreError::NotFound { .. }) => return Ok(BTreeSet::new()),
            // Its row is, which is told already.
            Err(StoreError::Damaged { .. }) => Ok(RunState::Free),
            other => other,
        };
        if let RunState::Damaged(what) = found
            .look(Some(run), "its anchor", state.map(Some))?
            .unwrap_or(RunState::Free)
        {
            found.add(Some(run), what);
        }
        let (mut recorded, mut used) = (BTreeSet::new(), BTreeSet::new());
        let records = self.read(|conn| {
            verify(conn, (run, number), Look::Bodies, u64::MAX, |_, record| {
                if let Record::Session(new) = record {
                    recorded.insert(new.session.number);
                    used.insert(new.digest);
                }
                Ok(())
            })
        });
        let records = found.look(Some(run), "its records", records)?;
        found.records += records.records;
        found.bodies += records.bodies;
        match records.problem {
            Some(what) if records.unreadable => found.add_unreadable(Some(run), what),
            Some(what) => found.add(Some(run), what),
            None => {}
        }
        self.look_at_sessions(found, run, number, &recorded)?;
        self.look_at_spaces(found, Some(run), number, spaces)?;
        Ok(used)
    }

    /// Holds the rows of a run's sessions against those that its records tell of.
    fn look_at_sessions(
        &self,
        found: &mut Integrity,
        run: &RunId,
        number: i64,
        recorded: &BTreeSet<u32>,
    ) -> Result<(), StoreError> {
        let rows = self.read(|conn| sessions(conn, run, number)).map(Some);
        let Some(rows) = found.look(Some(run), "its sessions", rows)? else {
            return Ok(());
        };
        for (session, _) in rows.iter().filter(|(_, sound)| !**sound) {
            found.add(Some(run), format!("the row of session {session} is damaged"));
        }
        let missing: Vec<_> = recorded.iter().filter(|session| !rows.contains_key(*session)).collect();
        // Unless the run was removed meanwhile.
        if !missing.is_empty() && self.is_known(run)? {
            for session in missing {
                found.add(Some(run), format!("the row of session {session} is missing"));
            }
        }
        Ok(())
    }

    fn look_at_spaces(
        &self,
        found: &mut Integrity,
        run: Option<&RunId>,
        number: i64,
        rows: Rows,
    ) -> Result<(), StoreError> {
        let looked = self.read(|conn| whole::look(conn, number, rows));
        let spaces = found.look(run, "the blackboard", looked)?;
        found.entries += spaces.good;
        spaces.wrong.into_iter().for_each(|what| found.add(run, what));
        Ok(())
    }

    /// `recorded` are those that runs use by their records.
    fn look_at_components(
        &self,
        found: &mut Integrity,
        components: BTreeMap<Digest, BTreeMap<i64, bool>>,
        names: &BTreeMap<i64, RunId>,
        recorded: &BTreeSet<(i64, Digest)>,
    ) -> Result<(), StoreError> {
        for (digest, users) in components {
            let bad = match self.component(&digest) {
                Ok(_) => {
                    found.components += 1;
                    None
                }
                Err(StoreError::NoComponent { .. }) => Some((true, "is missing".to_owned())),
                Err(StoreError::Corrupt { what, .. }) => Some((false, format!("is damaged: {what}"))),
                Err(error) => return Err(error),
            };
            for (number, sound) in users {
                let Some(run) = names.get(&number) else { continue };
                // A damaged row may name a component that never was, of which nobody has the bytes.
                if !sound && (bad.is_none() || !recorded.contains(&(number, digest))) {
                    let digest = digest.short();
                    found.add(
                        Some(run),
                        format!("the row that says that the run {run} uses the component {digest} is damaged"),
                    );
                    continue;
                }
                let Some((missing, what)) = &bad else { continue };
                // Unless the run was removed meanwhile.
                if self.is_known(run)? {
                    found.problems.push(Problem {
                        run: Some(run.clone()),
                        what: format!("the component {} {what}", digest.short()),
                        component: Some(BadComponent {
                            digest,
                            path: self.component_path(&digest),
                            missing: *missing,
                        }),
                        unreadable: false,
                    });
                }
            }
        }
        Ok(())
    }
}

fn structure(conn: &Connection) -> Result<Vec<String>, Fault> {
    let mut check = conn.prepare(&format!("PRAGMA integrity_check({STRUCTURE})"))?;
    let lines = check.query_map([], |row| row.get::<_, String>(0))?;
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let wrong: Vec<_> = lines.into_iter().filter(|line| line != "ok").collect();
    // One entry may have several lines.
    match wrong.iter().flat_map(|told| told.lines()).find_map(of_the_disk_by) {
        Some(failed) => Err(failed),
        None => Ok(wrong),
    }
}

/// A run, and what is wrong where its row or the request for its end is not what was written, or the index hides it.
struct LookedAt {
    number: i64,
    id: String,
    /// Whether its row says that it came out of a file.
    imported: bool,
    wrong: Option<&'static str>,
    /// Whether that lies on a page that can't be read.
    unreadable: bool,
}

fn runs(conn: &Connection) -> Result<Vec<LookedAt>, Fault> {
    // A database that nobody has written since has no requests.
    let damaged = match schema::version(conn)? {
        0 | 1 => Vec::new(),
        _ => damaged_requests(conn)?,
    };
    let mut runs = Vec::new();
    for Found {
        number,
        id,
        row,
        unreadable,
        ..
    } in listing::every(conn)?
    {
        let imported = matches!(&row, Ok(row) if row.imported.is_some());
        let wrong = match row {
            _ if unreadable => Some(ROW_UNREADABLE),
            Ok(_) if !damaged.contains(&number) => (!is_led_to(conn, &id, number)?).then_some(NOT_LED_TO),
            _ => Some("its row is damaged"),
        };
        runs.push(LookedAt {
            number,
            id,
            imported,
            wrong,
            unreadable,
        });
    }
    Ok(runs)
}

/// A run's sessions, and whether the row of each is what was written.
fn sessions(conn: &Connection, run: &RunId, number: i64) -> Result<BTreeMap<u32, bool>, Fault> {
    let mut select = conn.prepare_cached("SELECT number, data, sum FROM session WHERE run = ?1 ORDER BY number")?;
    let mut rows = select.query([number])?;
    let mut sessions = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // One whose very number is damaged is missed among those that are recorded.
        let Ok(session) = row.get(0) else { continue };
        let sound = SessionRow::at((run, number, session), row, 1).is_ok();
        sessions.insert(session, sound);
    }
    Ok(sessions)
}

/// Spaces and uses of components that belong to no run, how many entries belong to no space, and removed runs with the number of one that is there: in
/// words.
fn strays(conn: &Connection) -> Result<Vec<String>, Fault> {
    // A database that nobody has written since has no such table.
    let knows_pruned = schema::version(conn)? > 1;
    let pruned = if knows_pruned {
        "UNION SELECT no FROM pruned"
    } else {
        ""
    };
    let of_no_run = format!("run NOT IN (SELECT no FROM run {pruned})");
    let mut select = conn.prepare(&format!("SELECT name FROM space WHERE run <> {HOME} AND {of_no_run}"))?;
    let names = select.query_map([], |row| row.get::<_, String>(0))?;
    let mut strays = names.collect::<Result<Vec<_>, _>>()?;
    for name in &mut strays {
        *name = format!("the space {name:?} belongs to no run");
    }
    let mut select = conn.prepare(&format!("SELECT DISTINCT digest FROM component WHERE {of_no_run}"))?;
    let digests = select.query_map([], |row| Ok(component::digest_at(row, 0).ok()))?;
    for digest in digests.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        strays.push(format!(
            "the component {} is used by no run that is there",
            digest.short()
        ));
    }
    if knows_pruned {
        let mut select = conn.prepare("SELECT id FROM pruned WHERE no IN (SELECT no FROM run)")?;
        let ids = select.query_map([], |row| row.get::<_, String>(0))?;
        for id in ids {
            strays.push(format!("the removed run {:?} has the number of one that is there", id?));
        }
    }
    let entries: i64 = conn.query_row(
        "SELECT count(*) FROM entry WHERE space NOT IN (SELECT no FROM space)",
        [],
        |row| row.get(0),
    )?;
    if entries > 0 {
        strays.push(format!("{entries} entries belong to no space"));
    }
    Ok(strays)
}

/// The components that runs use, each with the numbers of those runs, and whether the row that says so is what was written.
fn components(conn: &Connection) -> Result<BTreeMap<Digest, BTreeMap<i64, bool>>, Fault> {
    // A database that nobody has written since has no such column.
    let vouches = if schema::version(conn)? > 4 { "c.sum" } else { "NULL" };
    let mut select = conn.prepare(&format!(
        "SELECT c.digest, c.run, {vouches} FROM component c JOIN run r ON r.no = c.run"
    ))?;
    let mut rows = select.query([])?;
    let mut components: BTreeMap<_, BTreeMap<i64, bool>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // One whose digest is none is missed among those that are recorded.
        let Ok(digest) = component::digest_at(row, 0) else {
            continue;
        };
        let (run, sum): (_, Option<Option<i64>>) = (row.get(1)?, row.get(2).ok());
        let sound = sum.is_some_and(|sum| sum.is_none_or(|sum| sum == component::row_sum(run, &digest)));
        components.entry(digest).or_default().insert(run, sound);
    }
    Ok(components)
}
