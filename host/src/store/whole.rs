//! Is the blackboard what was written, all of it and nothing hidden? And giving up what is not.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::entry::WholeEntry;
use super::error::{Fault, unless_unreadable};
use super::runs;
use super::seal::uint;
use super::space::{HOME, Space, StoredSpace, damaged, not_written};
use crate::ids::RunId;

/// What there is in a space.
#[derive(Default)]
struct Seen {
    /// Entries that are what was written.
    good: u64,
    /// What is wrong, in words.
    wrong: Vec<String>,
    /// The rows of entries that are not what was written.
    damaged: BTreeSet<i64>,
    /// Whether the indexes lead to all that is whole.
    indexed: bool,
}

/// What there is in the spaces of a run, or in those of the home folder.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    /// Their names.
    pub(super) names: Vec<String>,
    /// Entries that are what was written.
    pub(super) good: u64,
    /// What is wrong, in words: a row or an entry that is not what was written, one that an index hides, others than the row says.
    pub(super) wrong: Vec<String>,
}

/// Where the rows of the spaces of a run are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// In the whole table: one that is not what was written may say that it is another run's.
    OfTable,
    /// By their index.
    OfIndex,
}

impl Rows {
    /// By their index where it leads to every row of the table, and each is what was written: one pass for all runs that are looked at then.
    pub(super) fn chosen(conn: &Connection) -> Self {
        match every_row(conn) {
            Ok(rows) => match all_are_found(conn, rows) {
                Ok(true) => Self::OfIndex,
                Ok(false) | Err(_) => Self::OfTable,
            },
            // Whose the row is that can't be read, the index says: it is damage of that run, and of no other.
            Err(fault) if fault.is_corrupt() => Self::OfIndex,
            Err(_) => Self::OfTable,
        }
    }
}

/// All rows of the table.
fn every_row(conn: &Connection) -> Result<Vec<StoredSpace>, Fault> {
    let mut select = conn.prepare_cached("SELECT * FROM space NOT INDEXED")?;
    let rows = select.query_map([], StoredSpace::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn all_are_found(conn: &Connection, rows: Vec<StoredSpace>) -> Result<bool, Fault> {
    if rows.iter().any(|row| !row.sound) {
        return Ok(false);
    }
    let stored = rows
        .into_iter()
        .map(|StoredSpace { space, .. }| (space.run, space.name, space.number));
    let mut stored: Vec<_> = stored.collect();
    stored.sort_unstable();
    let mut select =
        conn.prepare("SELECT run, name, no FROM space INDEXED BY sqlite_autoindex_space_1 ORDER BY run, name")?;
    let listed = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(listed.collect::<Result<Vec<(i64, String, i64)>, _>>()? == stored)
}

/// Looks at all spaces of the run with this number, 0 for those of the home folder.
pub(super) fn look(conn: &Connection, run: i64, rows: Rows) -> Result<Spaces, Fault> {
    let mut spaces = Spaces::default();
    let stored = match rows {
        Rows::OfTable => Space::stored(conn, run)?,
        Rows::OfIndex => Space::listed(conn, run)?,
    };
    if !is_indexed(conn, run, &stored)? {
        spaces.wrong.push(not_indexed(run));
    }
    for (space, sound) in stored {
        let seen = space.look(conn, sound)?;
        spaces.good += seen.good;
        spaces.wrong.extend(seen.wrong);
        spaces.names.push(space.name);
    }
    Ok(spaces)
}

/// That no row of a space of this run is hidden, so that a space that is not found is not there.
pub(super) fn none_is_hidden(conn: &Connection, id: Option<&RunId>, run: i64) -> Result<(), Fault> {
    let stored = Space::stored(conn, run)?;
    if let Some((space, _)) = stored.iter().find(|(_, sound)| !sound) {
        return Err(damaged(id, not_written(&space.name)));
    }
    match is_indexed(conn, run, &stored)? {
        true => Ok(()),
        false => Err(damaged(id, not_indexed(run))),
    }
}

/// What is wrong with a run, or with the home folder, some of whose spaces are not found.
fn not_indexed(run: i64) -> String {
    match run {
        HOME => format!("the index of the home folder's spaces is damaged{MENDS_HOME}"),
        _ => "the index of its spaces is damaged".to_owned(),
    }
}

/// What mends an index for the home folder.
const MENDS_HOME: &str = " (hermes-host resume RUN --accept-loss makes it again, whichever run that is)";

/// Whether the index by which spaces are found leads to these, and to no others of the run.
fn is_indexed(conn: &Connection, run: i64, stored: &[(Space, bool)]) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached(
        "SELECT name, no FROM space INDEXED BY sqlite_autoindex_space_1 WHERE run = ?1 ORDER BY name",
    )?;
    let listed = select.query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let listed = match listed.collect::<Result<Vec<(String, i64)>, _>>().map_err(Fault::from) {
        Ok(listed) => listed,
        Err(fault @ Fault::Sql(rusqlite::Error::SqliteFailure(..))) if !fault.is_corrupt() => return Err(fault),
        // One that can't be read leads nowhere.
        Err(_) => return Ok(false),
    };
    let ours = stored.iter().filter(|(space, _)| space.run == run);
    let mut ours: Vec<_> = ours.map(|(space, _)| (space.name.clone(), space.number)).collect();
    ours.sort_unstable();
    Ok(listed == ours)
}

/// The rows of the table, one by one. One that can't be read is damage of the run to which the index leads; of all where it leads to none.
fn readable_rows(conn: &Connection, run: i64) -> Result<Vec<StoredSpace>, Fault> {
    let mut select = conn.prepare_cached("SELECT no FROM space NOT INDEXED")?;
    let numbers = select.query_map([], |row| row.get(0))?;
    let numbers = numbers.collect::<Result<Vec<i64>, _>>()?;
    let mut rows = Vec::new();
    for number in numbers {
        match row_of(conn, number) {
            Err(fault) if fault.is_corrupt() && claims(conn, number)?.iter().any(|claim| *claim != run) => {}
            // One that its number does not find is missed by who holds these against the index.
            row => rows.extend(row?),
        }
    }
    Ok(rows)
}

/// The row of the space with this number, where there is one.
pub(super) fn row_of(conn: &Connection, number: i64) -> Result<Option<StoredSpace>, Fault> {
    let mut select = conn.prepare_cached("SELECT * FROM space WHERE no = ?1")?;
    Ok(select.query_row([number], StoredSpace::read).optional()?)
}

/// The number of the run whose this space is by its checksum, of those whose it is by its row and its index; none where that says nothing.
pub(super) fn whose(conn: &Connection, row: &StoredSpace) -> Result<Option<i64>, Fault> {
    if row.is_vouched_for() {
        return Ok(Some(row.space.run));
    }
    Ok(claims(conn, row.space.number)?.into_iter().find(|run| row.was_of(*run)))
}

/// Whether it may be a space of this run where no checksum says whose it is: the index leads from this run to it, or its row says so and the index leads from no
/// other that is there.
fn may_be_of(conn: &Connection, row: &StoredSpace, run: i64) -> Result<bool, Fault> {
    if let Some(owner) = whose(conn, row)? {
        return Ok(owner == run);
    }
    let claims = claims(conn, row.space.number)?;
    if row.space.run != run || claims.contains(&run) {
        return Ok(claims.contains(&run));
    }
    for other in claims {
        if other == HOME || runs::is_there(conn, other)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The numbers of the spaces to which the index leads from this run.
fn led_to(conn: &Connection, run: i64) -> Result<BTreeSet<i64>, Fault> {
    let all = "SELECT no FROM space INDEXED BY sqlite_autoindex_space_1 WHERE run = ?1 ORDER BY name";
    numbers(conn, all, run)
}

/// The numbers that this statement finds.
pub(super) fn numbers(conn: &Connection, select: &str, of: i64) -> Result<BTreeSet<i64>, Fault> {
    let mut select = conn.prepare_cached(select)?;
    let numbers = select.query_map([of], |row| row.get(0))?;
    Ok(numbers.collect::<Result<_, _>>()?)
}

/// The numbers of the runs from which the index by which spaces are found leads to this one. An index that can't be read leads from none.
pub(super) fn claims(conn: &Connection, number: i64) -> Result<Vec<i64>, Fault> {
    let mut select = conn.prepare_cached(
        "SELECT run FROM space INDEXED BY sqlite_autoindex_space_1 WHERE +no = ?1 ORDER BY run, name",
    )?;
    let runs = select.query_map([number], |row| row.get(0))?;
    unless_unreadable(runs.collect::<Result<_, _>>().map_err(Fault::from))
}

/// The spaces of which only the index by which they are found tells, as damage to the table hides their rows: as if they had no entries.
pub(super) fn only_listed(conn: &Connection) -> Result<Vec<Space>, Fault> {
    let mut select = conn.prepare_cached(
        "SELECT run, name, no FROM space i INDEXED BY sqlite_autoindex_space_1
         WHERE NOT EXISTS (SELECT 1 FROM space r NOT INDEXED WHERE r.no = i.no)
         AND NOT EXISTS (SELECT 1 FROM space r NOT INDEXED WHERE r.run = i.run AND r.name = i.name) ORDER BY run, name",
    )?;
    let rows = select.query_map([], |row| {
        Ok(Space {
            run: row.get(0)?,
            name: row.get(1)?,
            number: row.get(2)?,
            version: 0,
            keys: 0,
            bytes: 0,
            tombstones: 0,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Why the index of spaces is not made again.
fn only_listed_still(space: &Space) -> Fault {
    Fault::Corrupt(format!(
        "only the index of spaces tells of {:?} of another run, whose row can't be read; so that index is not made again",
        space.name
    ))
}

/// Gives each row that strayed back to the run whose it is by its checksum, where SQLite is [`tolerant`]. The index is as it was.
fn give_back(conn: &Connection) -> Result<(), Fault> {
    for row in every_row(conn)?.into_iter().filter(|row| !row.sound) {
        if let Some(owner) = whose(conn, &row)? {
            set_owner(conn, row.space.number, owner)?;
        }
    }
    Ok(())
}

/// Says in a space's row whose it is. Whether it said another thing: then the index is to be made again, as SQLite takes out of it what it has for the other
/// run's space of the same name.
pub(super) fn set_owner(conn: &Connection, number: i64, run: i64) -> Result<bool, Fault> {
    let changed = conn
        .prepare_cached("UPDATE space SET run = ?2 WHERE no = ?1 AND run <> ?2")?
        .execute([number, run])?;
    Ok(changed > 0)
}

/// Whether the index does not lead to all spaces of the home folder, and the rows say what it would be made of: nobody else has it made again for those.
fn home_is_hidden(conn: &Connection) -> Result<bool, Fault> {
    Ok(is_complete(conn)?
        && unless_unreadable(only_listed(conn))?.is_empty()
        && !is_indexed(conn, HOME, &Space::stored(conn, HOME)?)?)
}

/// Makes the indexes of entries again where they do not lead to all that is in the spaces of the home folder, and the rows say what they would be made of:
/// nobody else has them made again for those.
fn mend_index_of_home(conn: &Connection) -> Result<(), Fault> {
    let home = unless_unreadable(Space::stored(conn, HOME))?;
    for (space, sound) in &home {
        if *sound && !space.look(conn, true)?.indexed && unless_unreadable(entries_are_whole(conn, &home))? {
            return reindex(conn, "entry");
        }
    }
    Ok(())
}

/// Whether each row of the table of entries is what was written, and those of each of these spaces are as many as its row says.
fn entries_are_whole(conn: &Connection, spaces: &[(Space, bool)]) -> Result<bool, Fault> {
    let emptied = spaces.iter().map(|(space, _)| (space.number, space.emptied()));
    let mut counted: BTreeMap<i64, Space> = emptied.collect();
    let mut select = conn.prepare_cached("SELECT * FROM entry NOT INDEXED")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let Some(entry) = WholeEntry::of(row) else {
            return Ok(false);
        };
        if let Some(space) = counted.get_mut(&row.get("space")?) {
            space.count(&entry);
        }
    }
    let are_as_many = |(space, sound): &(Space, bool)| {
        let counted = counted.get(&space.number);
        *sound && counted.is_some_and(|counted| counted.is_as_full_as(space))
    };
    Ok(spaces.iter().all(are_as_many))
}

/// Whether the table tells of all spaces by itself: each row is what was written, and no entry belongs to none.
fn is_complete(conn: &Connection) -> Result<bool, Fault> {
    let sound = every_row(conn).map(|rows| rows.iter().all(|row| row.sound));
    let mut strays = conn.prepare_cached(
        "SELECT 1 FROM entry NOT INDEXED WHERE space NOT IN (SELECT no FROM space NOT INDEXED) LIMIT 1",
    )?;
    let none = strays.exists([]).map(|any| !any).map_err(Fault::from);
    Ok(unless_unreadable(sound)? && unless_unreadable(none)?)
}

/// Gives a space whose row is damaged the name by which the index leads from this run to it. Whether it had another one.
fn set_name(conn: &Connection, number: i64, run: i64) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached(
        "SELECT name FROM space INDEXED BY sqlite_autoindex_space_1 WHERE run = ?1 AND +no = ?2 ORDER BY name",
    )?;
    let name = select.query_row([run, number], |row| row.get::<_, String>(0));
    let Some(name) = unless_unreadable(name.optional().map_err(Fault::from))? else {
        return Ok(false);
    };
    let changed = conn
        .prepare_cached("UPDATE space SET name = ?2 WHERE no = ?1 AND name IS NOT ?2")?
        .execute(params![number, name])?;
    Ok(changed > 0)
}

/// Gives up what is damaged in the spaces of the run with this number: entries that are not what was written go, and the rows say what is left. Gives how
/// many entries are lost, those among them that are not there any more.
pub(super) fn mend(conn: &Connection, run: i64) -> Result<u64, Fault> {
    tolerant(conn, || {
        let stored = Space::stored(conn, run)?;
        let mut strayed = false;
        for (space, sound) in &stored {
            strayed |= set_owner(conn, space.number, run)?;
            if !sound {
                strayed |= set_name(conn, space.number, run)?;
            }
        }
        let mut stored = Space::stored(conn, run)?;
        if strayed || !is_indexed(conn, run, &stored)? || home_is_hidden(conn)? {
            let hidden = match only_listed(conn) {
                // What can't be read tells of nothing.
                Err(fault) if fault.is_corrupt() && is_complete(conn)? => Vec::new(),
                hidden => hidden?,
            };
            if let Some(other) = hidden.iter().find(|space| space.run != run) {
                return Err(only_listed_still(other));
            }
            give_back(conn)?;
            reindex(conn, "space")?;
            for space in hidden {
                space.counted(conn)?.insert(conn)?;
            }
            stored = Space::stored(conn, run)?;
        }
        let mut lost = 0;
        for (space, sound) in stored {
            lost += space.mend(conn, sound)?;
        }
        mend_index_of_home(conn)?;
        Ok(lost)
    })
}

/// Does `work` where a row may be removed to which an index does not lead; SQLite refuses that otherwise.
pub(super) fn tolerant<T>(conn: &Connection, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    conn.pragma_update(None, "writable_schema", true)?;
    let done = work();
    conn.pragma_update(None, "writable_schema", false)?;
    done
}

/// Makes the indexes of a table again from its rows.
///
/// # Errors
/// [`Fault::Corrupt`] where two rows say the same of what they are, of which an index can have but one.
pub(super) fn reindex(conn: &Connection, table: &str) -> Result<(), Fault> {
    match conn.execute_batch(&format!("REINDEX {table}")).map_err(Fault::from) {
        Err(fault) if fault.is_duplicate() => Err(Fault::Corrupt(format!(
            "two rows of the table {table} say that they are the same one, so its index is not made again"
        ))),
        made => made,
    }
}

/// The spaces from which the indexes of entries lead to this one. An index that can't be read leads from none.
fn spaces_of_entry(conn: &Connection, id: i64) -> Result<BTreeSet<i64>, Fault> {
    let mut spaces = BTreeSet::new();
    for (index, order) in [
        ("sqlite_autoindex_entry_1", "key"),
        ("sqlite_autoindex_entry_2", "version"),
    ] {
        let select = format!("SELECT space FROM entry INDEXED BY {index} WHERE +id = ?1 ORDER BY space, {order}");
        spaces.extend(unless_unreadable(numbers(conn, &select, id))?);
    }
    Ok(spaces)
}

impl Space {
    /// The rows of all spaces of the run with this number as the table has them, and whether each is what was written: one whose checksum says that it
    /// is the run's is among them, whatever its row says, and none whose checksum says that it is another's.
    fn stored(conn: &Connection, run: i64) -> Result<Vec<(Self, bool)>, Fault> {
        let rows = match every_row(conn) {
            Err(fault) if fault.is_corrupt() => readable_rows(conn, run)?,
            rows => rows?,
        };
        let led = unless_unreadable(led_to(conn, run))?;
        let mut stored = Vec::new();
        for row in rows {
            if row.sound && row.space.run != run && !led.contains(&row.space.number) {
                continue;
            }
            if row.was_of(run) || may_be_of(conn, &row, run)? {
                stored.push((row.space, row.sound));
            }
        }
        Ok(stored)
    }

    /// The rows of all spaces of the run with this number as their index has them, and whether each is what was written.
    fn listed(conn: &Connection, run: i64) -> Result<Vec<(Self, bool)>, Fault> {
        let mut select =
            conn.prepare_cached("SELECT * FROM space INDEXED BY sqlite_autoindex_space_1 WHERE run = ?1 ORDER BY no")?;
        let rows = select.query_map([run], Self::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Puts a row back that damage to the table hides.
    pub(super) fn insert(&self, conn: &Connection) -> Result<(), Fault> {
        conn.prepare_cached(
            "INSERT INTO space (no, run, name, version, keys, bytes, tombstones) VALUES (?1, ?2, ?3, 0, 0, 0, 0)",
        )?
        .execute(params![self.number, self.run, self.name])?;
        self.save(conn)
    }

    /// The row as its entries say that it is: the newest of them has the space's version.
    fn counted(&self, conn: &Connection) -> Result<Self, Fault> {
        let mut select = conn.prepare_cached(
            "SELECT coalesce(max(version), 0), count(*) FILTER (WHERE deleted = 0),
             coalesce(sum(length(key) + octet_length(media_type) + length(data)) FILTER (WHERE deleted = 0), 0),
             count(*) FILTER (WHERE deleted <> 0) FROM entry WHERE space = ?1",
        )?;
        Ok(select.query_row([self.number], |row| {
            Ok(Self {
                version: uint(row.get(0)?),
                keys: uint(row.get(1)?),
                bytes: uint(row.get(2)?),
                tombstones: uint(row.get(3)?),
                ..self.clone()
            })
        })?)
    }

    /// Looks at every entry: that it is what was written, that both indexes lead to it, and that there are as many as the row says.
    fn look(&self, conn: &Connection, sound: bool) -> Result<Seen, Fault> {
        let mut seen = Seen::default();
        let mut left = self.emptied();
        let indexed = match self.walk(conn, &mut seen, &mut left) {
            Err(fault) if fault.is_corrupt() => false,
            walked => walked?,
        };
        if !sound {
            seen.wrong.push(not_written(&self.name));
        }
        if !indexed {
            let name = &self.name;
            let mends = if self.run == HOME { MENDS_HOME } else { "" };
            seen.wrong.push(format!(
                "the index of the entries of the space {name:?} is damaged{mends}"
            ));
        } else if sound && seen.damaged.is_empty() && !left.is_as_full_as(self) {
            let name = &self.name;
            seen.wrong
                .push(format!("the space {name:?} has not the entries that it says"));
        }
        seen.indexed = indexed;
        Ok(seen)
    }

    /// The row of such a space in which nothing was written yet.
    fn emptied(&self) -> Self {
        Self {
            version: 0,
            keys: 0,
            bytes: 0,
            tombstones: 0,
            ..self.clone()
        }
    }

    /// Whether what was counted so is what this row says.
    fn is_as_full_as(&self, row: &Self) -> bool {
        (self.keys, self.bytes, self.tombstones) == (row.keys, row.bytes, row.tombstones) && self.version <= row.version
    }

    /// Counts into `left` what is whole. False where one of the indexes does not lead to it, or leads elsewhere.
    fn walk(&self, conn: &Connection, seen: &mut Seen, left: &mut Self) -> Result<bool, Fault> {
        let mut by_key = conn.prepare_cached(
            "SELECT id, key FROM entry INDEXED BY sqlite_autoindex_entry_1 WHERE space = ?1 ORDER BY key",
        )?;
        let mut one = conn.prepare_cached("SELECT * FROM entry WHERE id = ?1")?;
        let (mut indexed, mut before, mut versions) = (true, None::<Vec<u8>>, Vec::new());
        let mut rows = by_key.query([self.number])?;
        while let Some(row) = rows.next()? {
            let (Ok(id), Ok(key)) = (row.get(0), row.get::<_, Vec<u8>>(1)) else {
                return Ok(false);
            };
            indexed &= before.as_ref().is_none_or(|before| *before < key);
            match one.query_row([id], |row| Ok(WholeEntry::of(row))).optional()? {
                Some(Some(entry)) if entry.is_under(self.number, &key) => {
                    left.count(&entry);
                    versions.push((entry.version, id));
                }
                Some(None) => {
                    seen.damaged.insert(id);
                    seen.wrong.push(self.entry_damaged(&key));
                }
                Some(Some(_)) | None => indexed = false,
            }
            before = Some(key);
        }
        seen.good += versions.len() as u64;
        versions.sort_unstable();
        let mut by_version = conn.prepare_cached(
            "SELECT version, id FROM entry INDEXED BY sqlite_autoindex_entry_2 WHERE space = ?1 ORDER BY version",
        )?;
        let listed = by_version.query_map([self.number], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut listed = match listed.collect::<Result<Vec<(i64, i64)>, _>>() {
            Ok(listed) => listed,
            Err(error @ rusqlite::Error::SqliteFailure(..)) => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        listed.retain(|(_, id)| !seen.damaged.contains(id));
        Ok(indexed && listed == versions)
    }

    fn count(&mut self, entry: &WholeEntry) {
        self.version = self.version.max(uint(entry.version));
        self.tombstones += u64::from(entry.deleted);
        if !entry.deleted {
            self.keys += 1;
            self.bytes += entry.bytes();
        }
    }

    /// That its entries are what was written and none is hidden, so that one that is not found is not there.
    pub(super) fn check(&self, conn: &Connection, run: Option<&RunId>) -> Result<(), Fault> {
        match self.look(conn, true)?.wrong.into_iter().next() {
            Some(what) => Err(damaged(run, what)),
            None => Ok(()),
        }
    }

    /// Removes these rows, which are not what was written, and says anew what is left. A version that was given once is not given again.
    pub(super) fn give_up(&mut self, conn: &Connection, rows: &BTreeSet<i64>) -> Result<(), Fault> {
        let mut delete = conn.prepare_cached("DELETE FROM entry WHERE id = ?1")?;
        for id in rows {
            delete.execute([id])?;
        }
        // With a row SQLite takes out of an index what that has for another row which it takes for this one.
        if !rows.is_empty() || !self.look(conn, true)?.indexed {
            reindex(conn, "entry")?;
        }
        let left = self.counted(conn)?;
        *self = Self {
            version: left.version.max(self.version),
            ..left
        };
        self.save(conn)
    }

    /// Gives up what is damaged of it, or says what is left where its row is; gives how many entries are lost.
    fn mend(mut self, conn: &Connection, sound: bool) -> Result<u64, Fault> {
        let seen = self.look(conn, sound)?;
        if seen.wrong.is_empty() {
            return Ok(0);
        }
        let mut damaged = seen.damaged;
        damaged.extend(self.damaged_rows(conn)?);
        let had = if sound { self.keys + self.tombstones } else { 0 };
        if !sound {
            // What it says of its version may be anything.
            self.version = 0;
        }
        self.give_up(conn, &damaged)?;
        let gone = had.saturating_sub(self.keys + self.tombstones);
        Ok(gone.max(damaged.len() as u64))
    }

    /// Its rows that are not what was written, those among them to which no index leads.
    fn damaged_rows(&self, conn: &Connection) -> Result<Vec<i64>, Fault> {
        let mut select = conn.prepare_cached("SELECT * FROM entry NOT INDEXED WHERE space = ?1")?;
        let mut rows = select.query([self.number])?;
        let (mut damaged, mut strayed) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            if WholeEntry::of(row).is_some() {
                continue;
            }
            let id = row.get("id")?;
            let others = spaces_of_entry(conn, id)?;
            match others.into_iter().find(|other| WholeEntry::was_of(row, *other)) {
                Some(other) => strayed.push((id, other)),
                None => damaged.push(id),
            }
        }
        // Those of another space are given back to it.
        for (id, other) in strayed {
            conn.prepare_cached("UPDATE entry SET space = ?2 WHERE id = ?1")?
                .execute([id, other])?;
        }
        Ok(damaged)
    }
}
