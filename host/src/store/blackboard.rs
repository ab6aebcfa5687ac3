//! The blackboard's reads, the wait for a change, and writes from outside a run.

use std::time::Duration;

use rusqlite::{Connection, Row, params};
use tokio::time::Instant;

use super::commit::{Done, lock};
use super::error::StoreError;
use super::record::{Effect, EffectResult, SpaceId, Sync};
use super::rows::{Change, Entry, SpaceRow};
use super::seal::{int, uint};
use super::space::{self, Space, Writing, run_number};
use super::whole::Rows;
use super::{Looked, Store, whole};
use crate::ids::RunId;
use crate::limits::Limits;

/// How many keys or changes one answer holds at most.
const PAGE: u32 = 1000;

/// How often it is looked whether another process wrote.
const POLL: Duration = Duration::from_millis(50);

/// Whether a space may have such a key.
///
/// # Errors
/// What a key must be, and the limit.
pub fn key_fits(limits: &Limits, key: &str) -> Result<(), String> {
    let (limit, bytes) = (limits.blackboard_key, key.len());
    if key.is_empty() || bytes as u64 > limit {
        return Err(format!(
            "A key has 1 to {limit} bytes (limits.blackboard.key); this one has {bytes}."
        ));
    }
    if key.chars().any(char::is_control) {
        return Err("A key holds no control characters.".to_owned());
    }
    Ok(())
}

/// Whether a key may have such a value.
///
/// # Errors
/// What a value must be, and the limit.
pub fn value_fits(limits: &Limits, media_type: &str, data: &[u8]) -> Result<(), String> {
    let (limit, bytes) = (limits.blackboard_value, data.len());
    if bytes as u64 > limit {
        return Err(format!(
            "A value has at most {limit} bytes (limits.blackboard.value); this one has {bytes}."
        ));
    }
    if media_type.len() > 127 || media_type.chars().any(char::is_control) {
        return Err("A media type is a short line of text, like text/plain.".to_owned());
    }
    Ok(())
}

impl Store {
    /// The entry under `key`, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or, for the home folder, [`StoreError::Corrupt`] when it is not what was written, or something that is not may hide it;
    /// failures of the disk.
    pub fn get(&self, space: &SpaceId, key: &str) -> Result<Option<Entry>, StoreError> {
        let found = self.read(|conn| match Space::open_to_read(conn, space)? {
            Some(found) => found.entry(conn, space, key),
            None => Ok(None),
        })?;
        let Some(entry) = found else {
            // That it is not there follows from all that is.
            self.looked_at(space)?;
            return Ok(None);
        };
        Ok((!entry.deleted).then(|| Entry {
            key: entry.key,
            media_type: entry.media_type,
            data: entry.data,
            version: uint(entry.version),
            author: entry.author,
            op: entry.op,
            at_ms: uint(entry.at_ms),
        }))
    }

    /// The first `limit` keys (at most 1000) that begin with `prefix` and come after `after`, in byte order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or, for the home folder, [`StoreError::Corrupt`] when the space is not what was written; failures of the disk.
    pub fn keys(
        &self,
        space: &SpaceId,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let Some(number) = self.looked_at(space)? else {
            return Ok(Vec::new());
        };
        self.read(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT key FROM entry WHERE space = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3)
                 AND (?4 IS NULL OR key > ?4) AND deleted = 0 ORDER BY key LIMIT ?5",
            )?;
            let (from, to) = range(prefix);
            // The later of the two lower bounds lets the index begin there.
            let from = after.map_or(from, |after| from.max(after.as_bytes()));
            let after = after.map(str::as_bytes);
            let keys = select.query_map(params![number, from, to, after, limit.min(PAGE)], |row| {
                key_text(row, 0)
            })?;
            Ok(keys.collect::<Result<_, _>>()?)
        })
    }

    /// The keys under `prefix` that were written after version `since`, each with its latest write, in version order: the first
    /// `limit` of them, at most 1000. Of deleted keys at least the last 10,000 of a space are remembered.
    ///
    /// # Errors
    /// As [`Store::keys`].
    pub fn changes(&self, space: &SpaceId, prefix: &str, since: u64, limit: u32) -> Result<Vec<Change>, StoreError> {
        let Some(number) = self.looked_at(space)? else {
            return Ok(Vec::new());
        };
        self.read(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT key, version, author, deleted FROM entry WHERE space = ?1 AND version > ?2
                 AND key >= ?3 AND (?4 IS NULL OR key < ?4) ORDER BY version LIMIT ?5",
            )?;
            let (from, to) = range(prefix);
            let rows = select.query_map(params![number, int(since), from, to, limit.min(PAGE)], |row| {
                let version = uint(row.get(1)?);
                Ok(Change {
                    key: key_text(row, 0)?,
                    version,
                    author: row.get(2)?,
                    deleted: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// As [`Store::changes`]; where there are none, waits for one up to `wait`, and then answers nothing. Writes of this
    /// process are seen at once, those of others within 50 ms.
    ///
    /// # Errors
    /// As [`Store::keys`].
    pub async fn changed(
        &self,
        space: &SpaceId,
        prefix: &str,
        since: u64,
        wait: Duration,
    ) -> Result<Vec<Change>, StoreError> {
        let deadline = Instant::now() + wait.min(Duration::from_secs(86_400 * 365));
        let mut own = self.0.spaces.subscribe();
        let mut seen = self.0.pool.data_version()?;
        loop {
            own.mark_unchanged();
            let changes = self.changes(space, prefix, since, PAGE)?;
            if !changes.is_empty() || Instant::now() >= deadline {
                return Ok(changes);
            }
            loop {
                let tick = deadline.min(Instant::now() + POLL);
                if let Ok(Ok(())) = tokio::time::timeout_at(tick, own.changed()).await {
                    break;
                }
                let version = self.0.pool.data_version()?;
                if version != std::mem::replace(&mut seen, version) || Instant::now() >= deadline {
                    break;
                }
            }
        }
    }

    /// The spaces of a run, or those of the home folder, by name.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or, for the home folder, [`StoreError::Corrupt`] when one is not what was written, or may be hidden; failures of the disk.
    pub fn spaces(&self, run: Option<&RunId>) -> Result<Vec<SpaceRow>, StoreError> {
        self.spaces_by(run, Rows::OfTable)
    }

    /// The same of each of these, where none stands for the home folder. The database is looked through once for all of them.
    ///
    /// # Errors
    /// Failures of the disk. What is wrong with the spaces of one stands in their place.
    pub fn spaces_of_each(&self, runs: &[Option<RunId>]) -> Result<Vec<Result<Vec<SpaceRow>, StoreError>>, StoreError> {
        let rows = self.rows_of_spaces()?;
        Ok(runs.iter().map(|run| self.spaces_by(run.as_ref(), rows)).collect())
    }

    fn spaces_by(&self, run: Option<&RunId>, rows: Rows) -> Result<Vec<SpaceRow>, StoreError> {
        self.read(|conn| {
            let any = SpaceId {
                run: run.cloned(),
                name: String::new(),
            };
            let Some(number) = run_number(conn, &any)? else {
                return Ok(Vec::new());
            };
            if rows == Rows::OfTable {
                whole::none_is_hidden(conn, run, number)?;
            }
            let spaces = Space::all(conn, run, number)?.into_iter();
            let written = spaces.filter(|space| space.version > 0).map(|space| SpaceRow {
                name: space.name,
                version: space.version,
                keys: space.keys,
                bytes: space.bytes,
            });
            Ok(written.collect())
        })
    }

    /// Writes to a space of the home folder from outside a run, durably; `author` is shown as the entry's writer.
    ///
    /// # Errors
    /// [`StoreError::Internal`] for a run's space, which its owner alone writes; [`StoreError::Corrupt`] when what is compared is not what was written;
    /// [`StoreError::Busy`]; failures of the disk.
    pub async fn write_home(&self, effect: Effect, author: &str, at_ms: u64) -> Result<EffectResult, StoreError> {
        if effect.space().run.is_some() {
            return Err(StoreError::internal("a run's space can only be written by its owner"));
        }
        self.look_before(&effect)?;
        let by = Writing {
            author: author.to_owned(),
            op: None,
            at_ms,
        };
        let quota = self.quota();
        let work = move |conn: &Connection| {
            let value = space::apply(conn, &effect, &by, quota)?;
            Ok(Done { value, head: None })
        };
        let result = self.submit(Sync::Durable, None, work).await?;
        self.spaces_changed();
        Ok(result)
    }

    /// The number of a space whose entries are what was written, and none of which is hidden; nothing where there is no such space. This process looks
    /// once: what is written since it does not doubt.
    fn looked_at(&self, space: &SpaceId) -> Result<Option<i64>, StoreError> {
        let (one, all) = (Looked::Space(space.clone()), Looked::Spaces(space.run.clone()));
        let known = {
            let looked = lock(&self.0.looked);
            (looked.contains(&one), looked.contains(&all))
        };
        let number = self.read(|conn| {
            let Some(run) = run_number(conn, space)? else {
                return Ok(None);
            };
            let found = Space::named(conn, space, run)?;
            match &found {
                Some(found) if !known.0 => found.check(conn, space.run.as_ref())?,
                None if !known.1 => whole::none_is_hidden(conn, space.run.as_ref(), run)?,
                _ => {}
            }
            Ok(Some(found.map(|found| found.number)))
        })?;
        // Of runs that are not there nothing is remembered.
        let Some(number) = number else { return Ok(None) };
        let is_new = if number.is_some() { !known.0 } else { !known.1 };
        if is_new {
            lock(&self.0.looked).insert(if number.is_some() { one } else { all });
        }
        Ok(number)
    }

    /// That all spaces of a run are what was written, with all that is in them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that is not; [`StoreError::NotFound`]; failures of the disk.
    pub(super) fn spaces_are_whole(&self, run: &RunId) -> Result<(), StoreError> {
        let (number, _) = self.run_number(run)?;
        let spaces = self.read(|conn| whole::look(conn, number, Rows::OfTable))?;
        if let Some(what) = spaces.wrong.into_iter().next() {
            return Err(StoreError::damaged(run, what));
        }
        let of = |name| {
            Looked::Space(SpaceId {
                run: Some(run.clone()),
                name,
            })
        };
        let mut looked = lock(&self.0.looked);
        looked.extend(spaces.names.into_iter().map(of));
        looked.insert(Looked::Spaces(Some(run.clone())));
        Ok(())
    }

    /// What is compared before it is written must be there to be found.
    pub(super) fn look_before(&self, effect: &Effect) -> Result<(), StoreError> {
        match effect.compares() {
            true => self.looked_at(effect.space()).map(drop),
            false => Ok(()),
        }
    }
}

/// Keys that begin with `prefix` are those from the first of these up to, but without, the second, where there is one.
fn range(prefix: &str) -> (&[u8], Option<Vec<u8>>) {
    // The last byte of UTF-8 is never 255, so adding 1 to it can't overflow.
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    (prefix.as_bytes(), Some(end).filter(|end| !end.is_empty()))
}

fn key_text(row: &Row<'_>, column: usize) -> Result<String, rusqlite::Error> {
    let bytes: Vec<u8> = row.get(column)?;
    String::from_utf8(bytes).map_err(|e| rusqlite::Error::Utf8Error(column, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_of_bytes() {
        assert_eq!(range(""), (&b""[..], None));
        assert_eq!(range("a%"), (&b"a%"[..], Some(b"a&".to_vec())));
        assert_eq!(range("é").1, Some(vec![0xc3, 0xaa]));
    }
}
