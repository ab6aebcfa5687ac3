//! The blackboard's writes: versions, compare-and-set and quotas, inside the transaction that records them.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{Fault, StoreError};
use super::record::{Effect, EffectResult, SpaceId};
use super::rows::StoredEntry;
use super::seal::{encode, int, sum, uint};
use crate::ids::{RunId, StreamId};

/// Deleted keys that a space remembers for its watchers; the oldest are forgotten first.
const TOMBSTONES: u64 = 10_000;

/// What all spaces of a run, or one of the home folder, may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    pub(super) keys: u64,
    pub(super) bytes: u64,
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
    /// Its run's number; 0 for a space of the home folder.
    run: i64,
    pub(super) number: i64,
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    tombstones: u64,
}

/// What a key has before a write.
struct Present {
    version: u64,
    deleted: bool,
    bytes: u64,
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
            space,
            key,
            media_type,
            data,
            if_version,
        } => {
            let mut space = Space::open(conn, space)?;
            let present = space.find(conn, key)?;
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
            let mut space = Space::open(conn, space)?;
            let mut key = format!("{prefix}{:020}", space.version + 1);
            // A key that someone chose to look like this one is passed over: a longer one still sorts before the next version's.
            while space.find(conn, &key)?.is_some() {
                key.push('0');
            }
            let written = space.put(conn, &key, None, &Value { media_type, data }, by, quota)?;
            Ok(written.unwrap_or(EffectResult::Appended(key, space.version)))
        }
        Effect::Delete { space, key, if_version } => {
            let mut space = Space::open(conn, space)?;
            let present = space.find(conn, key)?;
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
    fn open(conn: &Connection, id: &SpaceId) -> Result<Self, Fault> {
        let none = || StoreError::NotFound {
            what: format!("run of space {}", id.name),
        };
        let run = run_number(conn, id)?.ok_or_else(none)?;
        conn.prepare_cached(
            "INSERT OR IGNORE INTO space (run, name, version, keys, bytes, tombstones) VALUES (?1, ?2, 0, 0, 0, 0)",
        )?
        .execute(params![run, id.name])?;
        Ok(Self::named(conn, id, run)?.ok_or_else(none)?)
    }

    /// The row of a space of the run with this number, verified.
    pub(super) fn named(conn: &Connection, id: &SpaceId, run: i64) -> Result<Option<Self>, Fault> {
        let mut select = conn.prepare_cached("SELECT * FROM space WHERE run = ?1 AND name = ?2")?;
        let found = select.query_row(params![run, id.name], Self::read).optional()?;
        found
            .map(|(space, sound)| sound.then_some(space).ok_or_else(|| damaged(id.run.as_ref(), &id.name)))
            .transpose()
    }

    /// The rows of all spaces of the run with this number, by name, verified.
    pub(super) fn all(conn: &Connection, id: Option<&RunId>, run: i64) -> Result<Vec<Self>, Fault> {
        let spaces = Self::rows(conn, run)?.into_iter();
        spaces
            .map(|(space, sound)| match sound {
                true => Ok(space),
                false => Err(damaged(id, &space.name)),
            })
            .collect()
    }

    /// The rows of all spaces of the run with this number, by name, and whether each is what was written.
    pub(super) fn rows(conn: &Connection, run: i64) -> Result<Vec<(Self, bool)>, Fault> {
        let mut select = conn.prepare_cached("SELECT * FROM space WHERE run = ?1 ORDER BY name")?;
        let rows = select.query_map([run], Self::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn read(row: &Row<'_>) -> Result<(Self, bool), rusqlite::Error> {
        let space = Self {
            run: row.get("run")?,
            number: row.get("no")?,
            name: row.get("name")?,
            version: uint(row.get("version")?),
            keys: uint(row.get("keys")?),
            bytes: uint(row.get("bytes")?),
            tombstones: uint(row.get("tombstones")?),
        };
        // A database that nobody has written since has no such column.
        let stored: Option<i64> = match row.get("sum") {
            Err(rusqlite::Error::InvalidColumnName(_)) => None,
            stored => stored?,
        };
        let sound = stored.is_none_or(|stored| stored == space.sum());
        Ok((space, sound))
    }

    fn sum(&self) -> i64 {
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

    /// The row as its entries say that it is: the newest of them has the space's version.
    pub(super) fn counted(&self, conn: &Connection) -> Result<Self, Fault> {
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

    fn find(&self, conn: &Connection, key: &str) -> Result<Option<Present>, Fault> {
        let mut select = conn.prepare_cached(
            "SELECT version, deleted, length(key) + octet_length(media_type) + length(data) FROM entry
             WHERE space = ?1 AND key = ?2",
        )?;
        let found = select.query_row(params![self.number, key.as_bytes()], |row| {
            Ok(Present {
                version: uint(row.get(0)?),
                deleted: row.get(1)?,
                bytes: uint(row.get(2)?),
            })
        });
        Ok(found.optional()?)
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
        if self.run == 0 {
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
        if self.tombstones > TOMBSTONES {
            conn.prepare_cached(
                "DELETE FROM entry WHERE id =
                 (SELECT id FROM entry WHERE space = ?1 AND deleted = 1 ORDER BY version LIMIT 1)",
            )?
            .execute([self.number])?;
            self.tombstones -= 1;
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

    fn save(&self, conn: &Connection) -> Result<(), Fault> {
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

/// What is wrong with the spaces of the run with this number, 0 for those of the home folder: a row that is not what was written, or that has other
/// entries than it says.
pub(super) fn problems(conn: &Connection, run: i64) -> Result<Vec<String>, Fault> {
    let mut problems = Vec::new();
    for (space, sound) in Space::rows(conn, run)? {
        if !sound {
            problems.push(not_written(&space.name));
        } else if space.counted(conn)? != space {
            problems.push(format!("the space {:?} has not the entries that it says", space.name));
        }
    }
    Ok(problems)
}

/// Gives up what is damaged in the spaces of the run with this number: entries that are not what was written go, and the rows say what is left. Gives how
/// many entries went.
pub(super) fn mend(conn: &Connection, run: i64) -> Result<u64, Fault> {
    let mut lost = 0;
    for (space, _) in Space::rows(conn, run)? {
        let damaged = damaged_entries(conn, space.number)?;
        let mut delete = conn.prepare_cached("DELETE FROM entry WHERE id = ?1")?;
        for id in &damaged {
            delete.execute([id])?;
        }
        lost += damaged.len() as u64;
        space.counted(conn)?.save(conn)?;
    }
    Ok(lost)
}

fn damaged_entries(conn: &Connection, space: i64) -> Result<Vec<i64>, Fault> {
    let mut select = conn.prepare_cached("SELECT * FROM entry WHERE space = ?1")?;
    let mut rows = select.query([space])?;
    let mut damaged = Vec::new();
    while let Some(row) = rows.next()? {
        if !is_whole(row)? {
            damaged.push(row.get("id")?);
        }
    }
    Ok(damaged)
}

/// Whether an entry is what was written.
pub(super) fn is_whole(row: &Row<'_>) -> Result<bool, Fault> {
    let (key, author, op): (Vec<u8>, String, Vec<u8>) = (row.get("key")?, row.get("author")?, row.get("op")?);
    let (media_type, data): (String, Vec<u8>) = (row.get("media_type")?, row.get("data")?);
    let parts = EntryParts {
        space: row.get("space")?,
        version: row.get("version")?,
        deleted: row.get("deleted")?,
        key: &key,
        at_ms: row.get("at_ms")?,
        author: &author,
        op: &op,
        media_type: &media_type,
        data: &data,
    };
    Ok(parts.sum() == row.get::<_, i64>("sum")?)
}

/// A space that is not used any more, as its row is not what was written.
fn damaged(run: Option<&RunId>, name: &str) -> Fault {
    match run {
        Some(run) => StoreError::damaged(run, not_written(name)).into(),
        None => Fault::Corrupt(not_written(name)),
    }
}

fn not_written(name: &str) -> String {
    format!("the row of the space {name:?} is damaged")
}

/// All that the checksum of an entry covers.
pub(super) struct EntryParts<'e> {
    pub(super) space: i64,
    pub(super) version: i64,
    pub(super) deleted: bool,
    pub(super) key: &'e [u8],
    pub(super) at_ms: i64,
    pub(super) author: &'e str,
    pub(super) op: &'e [u8],
    pub(super) media_type: &'e str,
    pub(super) data: &'e [u8],
}

impl EntryParts<'_> {
    fn write(&self, conn: &Connection) -> Result<(), Fault> {
        conn.prepare_cached(
            "INSERT INTO entry (space, version, deleted, key, at_ms, author, op, sum, media_type, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (space, key) DO UPDATE SET version = excluded.version, deleted = excluded.deleted,
             at_ms = excluded.at_ms, author = excluded.author, op = excluded.op, sum = excluded.sum,
             media_type = excluded.media_type, data = excluded.data",
        )?
        .execute(params![
            self.space,
            self.version,
            self.deleted,
            self.key,
            self.at_ms,
            self.author,
            self.op,
            self.sum(),
            self.media_type,
            self.data
        ])?;
        Ok(())
    }

    pub(super) fn sum(&self) -> i64 {
        sum(&[
            b"entry",
            &self.space.to_le_bytes(),
            &self.version.to_le_bytes(),
            &[u8::from(self.deleted)],
            self.key,
            &self.at_ms.to_le_bytes(),
            self.author.as_bytes(),
            self.op,
            self.media_type.as_bytes(),
            self.data,
        ])
    }
}

/// The number of the space's run; 0 for the home folder's own spaces, and nothing for a run that isn't there.
pub(super) fn run_number(conn: &Connection, id: &SpaceId) -> Result<Option<i64>, Fault> {
    let Some(run) = &id.run else { return Ok(Some(0)) };
    let mut select = conn.prepare_cached("SELECT no FROM run WHERE id = ?1")?;
    Ok(select.query_row([run.as_str()], |row| row.get(0)).optional()?)
}
