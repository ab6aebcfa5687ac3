//! The blackboard's writes: versions, compare-and-set and quotas, inside the transaction that records them.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::entry::{EntryParts, WholeEntry};
use super::error::{Fault, StoreError, unless_unreadable};
use super::hidden::not_found;
use super::prune::none_is_shared;
use super::record::{Effect, EffectResult, SpaceId};
use super::rows::StoredEntry;
use super::seal::{encode, int, sum, uint};
use super::whole::{none_is_hidden, tolerant};
use crate::ids::{RunId, StreamId};
use crate::limits::Limits;

/// Whose the spaces of the home folder are, in the place of a run's number.
pub(super) const HOME: i64 = 0;

/// Whose a space is whose row has no run's number: no run has this one.
const NOBODY: i64 = -1;

/// Deleted keys that a space remembers for its watchers; the oldest are forgotten first.
const TOMBSTONES: u64 = 10_000;

/// So many are forgotten at once: the oldest are looked for among all that the space holds.
const FORGOTTEN: u64 = 1_000;

/// What all spaces of a run, or one of the home folder, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys, media types and values.
    pub bytes: u64,
}

impl Quota {
    /// Under these limits.
    pub fn of(limits: &Limits) -> Self {
        Self {
            keys: limits.blackboard_keys,
            bytes: limits.blackboard_bytes,
        }
    }
}

/// Who writes, as part of which operation, and when.
pub(super) struct Writing {
    pub(super) author: String,
    pub(super) op: Option<(StreamId, u32)>,
    pub(super) at_ms: u64,
}

/// A space's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Space {
    /// Its run's number, [`HOME`] for a space of the home folder.
    pub(super) run: i64,
    pub(super) number: i64,
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    pub(super) tombstones: u64,
}

/// A space's row as the table has it.
pub(super) struct StoredSpace {
    /// What it says.
    pub(super) space: Space,
    /// Whether that is what was written.
    pub(super) sound: bool,
    /// Its checksum; none where that is of another type, or a database has none that nobody has written since.
    sum: Option<i64>,
}

impl StoredSpace {
    /// A row with a value of another type than was written is not sound, and hides no other.
    pub(super) fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let number: i64 = row.get("no")?;
        let stored: Result<Option<i64>, _> = match row.get("sum") {
            Err(rusqlite::Error::InvalidColumnName(_)) => Ok(None),
            stored => stored,
        };
        let count = |column: &str| row.get(column).map(uint);
        let typed = || {
            Ok::<_, rusqlite::Error>(Space {
                run: row.get("run")?,
                number,
                name: row.get("name")?,
                version: count("version")?,
                keys: count("keys")?,
                bytes: count("bytes")?,
                tombstones: count("tombstones")?,
            })
        };
        if let (Ok(space), Ok(sum)) = (typed(), &stored) {
            let sound = sum.is_none_or(|sum| sum == space.sum());
            return Ok(Self {
                space,
                sound,
                sum: *sum,
            });
        }
        let space = Space {
            run: row.get("run").unwrap_or(NOBODY),
            number,
            name: row.get("name").unwrap_or_default(),
            version: count("version").unwrap_or_default(),
            keys: count("keys").unwrap_or_default(),
            bytes: count("bytes").unwrap_or_default(),
            tombstones: count("tombstones").unwrap_or_default(),
        };
        Ok(Self {
            space,
            sound: false,
            sum: stored.ok().flatten(),
        })
    }

    /// Whether a checksum says that it is what was written.
    pub(super) const fn is_vouched_for(&self) -> bool {
        self.sound && self.sum.is_some()
    }

    /// Whether it is what was written of a space of the run with this number.
    pub(super) fn was_of(&self, run: i64) -> bool {
        match self.sound {
            true => self.space.run == run,
            false => {
                let space = Space {
                    run,
                    ..self.space.clone()
                };
                self.sum == Some(space.sum())
            }
        }
    }
}

/// What a key has before a write.
struct Present {
    version: u64,
    deleted: bool,
    bytes: u64,
}

/// What is found under a key.
enum Found {
    Nothing,
    Entry(WholeEntry),
    /// The row with this id is not what was written.
    Damaged(i64),
}

/// What is written under a key; nothing for a removal.
struct Value<'v> {
    media_type: &'v str,
    data: &'v [u8],
}

/// Applies one effect.
pub(super) fn apply(conn: &Connection, effect: &Effect, by: &Writing, quota: Quota) -> Result<EffectResult, Fault> {
    match effect {
        Effect::Put {
            space: id,
            key,
            media_type,
            data,
            if_version,
        } => {
            let Some(mut space) = Space::open_within(conn, id, quota.keys)? else {
                return Ok(EffectResult::TooManyKeys(quota.keys));
            };
            let present = space.present(conn, id, key, *if_version)?;
            if let Some(conflict) = conflict(present.as_ref(), *if_version) {
                return Ok(conflict);
            }
            let written = space.put(conn, key, present.as_ref(), &Value { media_type, data }, by, quota)?;
            Ok(written.unwrap_or(EffectResult::Written(space.version)))
        }
        Effect::Append {
            space,
            prefix,
            media_type,
            data,
        } => {
            let Some(mut space) = Space::open_within(conn, space, quota.keys)? else {
                return Ok(EffectResult::TooManyKeys(quota.keys));
            };
            let mut key = format!("{prefix}{:020}", space.version + 1);
            // A key that someone chose to look like this one is passed over: a longer one still sorts before the next version's.
            while !matches!(space.find(conn, &key)?, Found::Nothing) {
                key.push('0');
            }
            let written = space.put(conn, &key, None, &Value { media_type, data }, by, quota)?;
            Ok(written.unwrap_or(EffectResult::Appended(key, space.version)))
        }
        Effect::Delete {
            space: id,
            key,
            if_version,
        } => {
            let Some(mut space) = Space::open_within(conn, id, quota.keys)? else {
                return Ok(conflict(None, *if_version).unwrap_or(EffectResult::Deleted));
            };
            let present = space.present(conn, id, key, *if_version)?;
            if let Some(conflict) = conflict(present.as_ref(), *if_version) {
                return Ok(conflict);
            }
            if let Some(present) = present.filter(|p| !p.deleted) {
                space.delete(conn, key, &present, by)?;
            }
            Ok(EffectResult::Deleted)
        }
    }
}

/// Writes an entry of a copy of `run` as it is.
pub(super) fn copy(conn: &Connection, run: &RunId, entry: &StoredEntry) -> Result<(), Fault> {
    let id = SpaceId {
        run: Some(run.clone()),
        name: entry.space.clone(),
    };
    Space::open(conn, &id)?.copy(conn, entry)
}

fn conflict(present: Option<&Present>, if_version: Option<u64>) -> Option<EffectResult> {
    let found = present.filter(|p| !p.deleted).map_or(0, |p| p.version);
    if_version
        .filter(|wanted| *wanted != found)
        .map(|_| EffectResult::Conflict(found))
}

impl Space {
    /// The same as [`Space::open`]; nothing where it would have to be made, and its run has `most` already, which each count like a key.
    fn open_within(conn: &Connection, id: &SpaceId, most: u64) -> Result<Option<Self>, Fault> {
        if let Some(space) = Self::open_to_read(conn, id)? {
            return Ok(Some(space));
        }
        if let Some(run) = run_number(conn, id)?.filter(|run| *run != HOME) {
            let mut select = conn.prepare_cached("SELECT count(*) FROM space WHERE run = ?1")?;
            if uint(select.query_row([run], |row| row.get(0))?) >= most {
                return Ok(None);
            }
        }
        Self::open(conn, id).map(Some)
    }

    /// The space, which is made where there is none.
    fn open(conn: &Connection, id: &SpaceId) -> Result<Self, Fault> {
        let none = || StoreError::NotFound {
            what: format!("run of space {}", id.name),
        };
        let run = run_number(conn, id)?.ok_or_else(none)?;
        if let Some(space) = Self::named(conn, id, run)? {
            return Ok(space);
        }
        // Of a run this was looked for when it was taken. A number that entries have, though no space has it, is not given again.
        if run == HOME {
            none_is_hidden(conn, None, run)?;
        }
        conn.prepare_cached(
            "INSERT INTO space (no, run, name, version, keys, bytes, tombstones)
             SELECT 1 + max(coalesce((SELECT max(no) FROM space), 0), coalesce((SELECT max(space) FROM entry WHERE space < 1 << 48), 0)),
             ?1, ?2, 0, 0, 0, 0",
        )?
        .execute(params![run, id.name])?;
        Ok(Self::named(conn, id, run)?.ok_or_else(none)?)
    }

    /// The row of a space, verified, where there is one.
    pub(super) fn open_to_read(conn: &Connection, id: &SpaceId) -> Result<Option<Self>, Fault> {
        match run_number(conn, id)? {
            Some(run) => Self::named(conn, id, run),
            None => Ok(None),
        }
    }

    /// The row of a space of the run with this number, verified.
    pub(super) fn named(conn: &Connection, id: &SpaceId, run: i64) -> Result<Option<Self>, Fault> {
        let mut select = conn.prepare_cached("SELECT * FROM space WHERE run = ?1 AND name = ?2")?;
        let found = select.query_row(params![run, id.name], Self::read).optional()?;
        found
            .map(|(space, sound)| {
                sound
                    .then_some(space)
                    .ok_or_else(|| damaged(id.run.as_ref(), not_written(&id.name)))
            })
            .transpose()
    }

    /// The rows of all spaces of the run with this number, by name, verified.
    pub(super) fn all(conn: &Connection, id: Option<&RunId>, run: i64) -> Result<Vec<Self>, Fault> {
        let mut select = conn.prepare_cached("SELECT * FROM space WHERE run = ?1 ORDER BY name")?;
        let rows = select.query_map([run], Self::read)?.collect::<Result<Vec<_>, _>>()?;
        rows.into_iter()
            .map(|(space, sound)| match sound {
                true => Ok(space),
                false => Err(damaged(id, not_written(&space.name))),
            })
            .collect()
    }

    /// A row as it is, and whether it is what was written. One with a value of another type than was written is not, and hides no other.
    pub(super) fn read(row: &Row<'_>) -> Result<(Self, bool), rusqlite::Error> {
        let StoredSpace { space, sound, .. } = StoredSpace::read(row)?;
        Ok((space, sound))
    }

    pub(super) fn sum(&self) -> i64 {
        let Self {
            run,
            number,
            name,
            version,
            keys,
            bytes,
            tombstones,
        } = self;
        let counts = [version, keys, bytes, tombstones].map(|count| count.to_le_bytes());
        sum(&[
            b"space",
            &run.to_le_bytes(),
            &number.to_le_bytes(),
            name.as_bytes(),
            counts.as_flattened(),
        ])
    }

    fn find(&self, conn: &Connection, key: &str) -> Result<Found, Fault> {
        let mut select = conn.prepare_cached("SELECT * FROM entry WHERE space = ?1 AND key = ?2")?;
        let found = select.query_row(params![self.number, key.as_bytes()], |row| {
            Ok((row.get("id")?, WholeEntry::of(row)))
        });
        Ok(match found.optional()? {
            None => Found::Nothing,
            Some((_, Some(entry))) if entry.is_under(self.number, key.as_bytes()) => Found::Entry(entry),
            Some((id, _)) => Found::Damaged(id),
        })
    }

    /// What is under a key, a removed entry included.
    pub(super) fn entry(&self, conn: &Connection, id: &SpaceId, key: &str) -> Result<Option<WholeEntry>, Fault> {
        match self.find(conn, key)? {
            Found::Nothing => Ok(None),
            Found::Entry(entry) => Ok(Some(entry)),
            Found::Damaged(_) => Err(damaged(id.run.as_ref(), self.entry_damaged(key.as_bytes()))),
        }
    }

    /// What a key has, for a write that wants it to have this version. A write to the home folder that wants none takes the place of an entry that is
    /// damaged; of a run's spaces the loss is accepted as a whole.
    fn present(
        &mut self,
        conn: &Connection,
        id: &SpaceId,
        key: &str,
        if_version: Option<u64>,
    ) -> Result<Option<Present>, Fault> {
        let row = match self.find(conn, key)? {
            Found::Nothing => return Ok(None),
            Found::Entry(entry) => {
                return Ok(Some(Present {
                    version: uint(entry.version),
                    deleted: entry.deleted,
                    bytes: entry.bytes(),
                }));
            }
            Found::Damaged(row) => row,
        };
        if if_version.is_some() || id.run.is_some() {
            return Err(damaged(id.run.as_ref(), self.entry_damaged(key.as_bytes())));
        }
        none_is_shared(conn)?;
        tracing::warn!(
            space = id.name,
            key,
            "a damaged entry is given up for the one that takes its place"
        );
        tolerant(conn, || self.give_up(conn, &BTreeSet::from([row])))?;
        // It counts as an empty one, which the write is about to replace.
        self.keys += 1;
        Ok(Some(Present {
            version: 0,
            deleted: false,
            bytes: 0,
        }))
    }

    /// What is wrong with an entry, in words.
    pub(super) fn entry_damaged(&self, key: &[u8]) -> String {
        let (key, name) = (String::from_utf8_lossy(key), &self.name);
        let mends = if self.run == HOME {
            " (to put or delete it mends that)"
        } else {
            ""
        };
        format!("the entry {key:?} of the space {name:?} is damaged{mends}")
    }

    /// Writes an entry, or answers which quota forbids it.
    fn put(
        &mut self,
        conn: &Connection,
        key: &str,
        present: Option<&Present>,
        value: &Value<'_>,
        by: &Writing,
        quota: Quota,
    ) -> Result<Option<EffectResult>, Fault> {
        let old = present.filter(|p| !p.deleted);
        let keys = self.keys + u64::from(old.is_none());
        let size = (key.len() + value.media_type.len() + value.data.len()) as u64;
        let bytes = self.bytes - old.map_or(0, |p| p.bytes) + size;
        let (other_keys, other_bytes) = self.others(conn)?;
        if old.is_none() && other_keys + keys > quota.keys {
            return Ok(Some(EffectResult::TooManyKeys(quota.keys)));
        }
        if other_bytes + bytes > quota.bytes && bytes > self.bytes {
            return Ok(Some(EffectResult::TooManyBytes(quota.bytes)));
        }
        self.tombstones -= u64::from(present.is_some_and(|p| p.deleted));
        (self.keys, self.bytes) = (keys, bytes);
        self.write(conn, key, Some(value), by)?;
        Ok(None)
    }

    /// Keys and bytes of the run's other spaces: they share one quota. A space of the home folder has one of its own.
    fn others(&self, conn: &Connection) -> Result<(u64, u64), Fault> {
        if self.run == HOME {
            return Ok((0, 0));
        }
        let mut select = conn.prepare_cached(
            "SELECT coalesce(sum(keys), 0), coalesce(sum(bytes), 0) FROM space WHERE run = ?1 AND no <> ?2",
        )?;
        Ok(select.query_row([self.run, self.number], |row| {
            Ok((uint(row.get(0)?), uint(row.get(1)?)))
        })?)
    }

    fn delete(&mut self, conn: &Connection, key: &str, present: &Present, by: &Writing) -> Result<(), Fault> {
        self.keys -= 1;
        self.bytes -= present.bytes;
        self.tombstones += 1;
        self.write(conn, key, None, by)?;
        if self.tombstones >= TOMBSTONES + FORGOTTEN {
            conn.prepare_cached(
                "DELETE FROM entry WHERE id IN
                 (SELECT id FROM entry WHERE space = ?1 AND deleted = 1 ORDER BY version LIMIT ?2)",
            )?
            .execute([self.number, int(FORGOTTEN)])?;
            self.tombstones -= FORGOTTEN;
            self.save(conn)?;
        }
        Ok(())
    }

    fn write(&mut self, conn: &Connection, key: &str, value: Option<&Value<'_>>, by: &Writing) -> Result<(), Fault> {
        self.version += 1;
        let deleted = value.is_none();
        let Value { media_type, data } = value.unwrap_or(&Value {
            media_type: "",
            data: &[],
        });
        let op = encode(&by.op)?;
        let row = EntryParts {
            space: self.number,
            version: int(self.version),
            deleted,
            key: key.as_bytes(),
            at_ms: int(by.at_ms),
            author: &by.author,
            op: &op,
            media_type,
            data,
        };
        row.write(conn)?;
        self.save(conn)
    }

    /// Writes an entry of a copy as it is.
    fn copy(&mut self, conn: &Connection, entry: &StoredEntry) -> Result<(), Fault> {
        let op = encode(&entry.op)?;
        let row = EntryParts {
            space: self.number,
            version: int(entry.version),
            deleted: entry.deleted,
            key: entry.key.as_bytes(),
            at_ms: int(entry.at_ms),
            author: &entry.author,
            op: &op,
            media_type: &entry.media_type,
            data: &entry.data,
        };
        row.write(conn)?;
        self.version = self.version.max(entry.version);
        self.keys += u64::from(!entry.deleted);
        self.tombstones += u64::from(entry.deleted);
        self.bytes += (entry.key.len() + entry.media_type.len() + entry.data.len()) as u64 * u64::from(!entry.deleted);
        self.save(conn)
    }

    pub(super) fn save(&self, conn: &Connection) -> Result<(), Fault> {
        conn.prepare_cached(
            "UPDATE space SET version = ?2, keys = ?3, bytes = ?4, tombstones = ?5, sum = ?6 WHERE no = ?1",
        )?
        .execute([
            self.number,
            int(self.version),
            int(self.keys),
            int(self.bytes),
            int(self.tombstones),
            self.sum(),
        ])?;
        Ok(())
    }
}

/// A space that is not used any more, as this is not what was written.
pub(super) fn damaged(run: Option<&RunId>, what: String) -> Fault {
    match run {
        Some(run) => StoreError::damaged(run, what).into(),
        None => Fault::Corrupt(what),
    }
}

pub(super) fn not_written(name: &str) -> String {
    format!("the row of the space {name:?} is damaged")
}

/// The number of the space's run; 0 for the home folder's own spaces, and nothing for a run that isn't there.
///
/// # Errors
/// [`StoreError::Damaged`] where the index of runs does not lead to it, or leads to another's row.
pub(super) fn run_number(conn: &Connection, id: &SpaceId) -> Result<Option<i64>, Fault> {
    let Some(run) = &id.run else { return Ok(Some(HOME)) };
    let mut select = conn.prepare_cached("SELECT no FROM run WHERE id = ?1")?;
    let number = select.query_row([run.as_str()], |row| row.get(0)).optional();
    if let Some(number) = unless_unreadable(number.map_err(Fault::from))? {
        // Of a row that can't be read the index is believed.
        let mut others = conn.prepare_cached("SELECT 1 FROM run NOT INDEXED WHERE no = ?1 AND id IS NOT ?2")?;
        let is_others = others.exists(params![number, run.as_str()]).map_err(Fault::from);
        if !unless_unreadable(is_others)? {
            return Ok(Some(number));
        }
    }
    match not_found(conn, run)? {
        StoreError::NotFound { .. } => Ok(None),
        damaged => Err(damaged.into()),
    }
}
