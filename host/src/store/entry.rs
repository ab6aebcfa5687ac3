//! An entry of the blackboard and its row, which a checksum covers.

use rusqlite::{Connection, Row, params};

use super::error::Fault;
use super::seal::{decode, sum};
use crate::ids::StreamId;

/// An entry that is what was written.
pub(super) struct WholeEntry {
    pub(super) space: i64,
    pub(super) version: i64,
    pub(super) deleted: bool,
    pub(super) key: String,
    pub(super) at_ms: i64,
    pub(super) author: String,
    pub(super) op: Option<(StreamId, u32)>,
    pub(super) media_type: String,
    pub(super) data: Vec<u8>,
}

impl WholeEntry {
    /// That of this row of the table's columns; nothing where they are not what was written. A value of another type is that too.
    pub(super) fn of(row: &Row<'_>) -> Option<Self> {
        Self::read(row, row.get("space").ok()?).ok().flatten()
    }

    /// Whether this row is what was written into this space, whatever it says of whose it is.
    pub(super) fn was_of(row: &Row<'_>, space: i64) -> bool {
        matches!(Self::read(row, space), Ok(Some(_)))
    }

    fn read(row: &Row<'_>, space: i64) -> Result<Option<Self>, rusqlite::Error> {
        let (deleted, key, op): (i64, Vec<u8>, Vec<u8>) = (row.get("deleted")?, row.get("key")?, row.get("op")?);
        let (author, media_type, data): (String, String, Vec<u8>) =
            (row.get("author")?, row.get("media_type")?, row.get("data")?);
        let parts = EntryParts {
            space,
            version: row.get("version")?,
            deleted: deleted == 1,
            key: &key,
            at_ms: row.get("at_ms")?,
            author: &author,
            op: &op,
            media_type: &media_type,
            data: &data,
        };
        if parts.sum() != row.get::<_, i64>("sum")? || !matches!(deleted, 0 | 1) {
            return Ok(None);
        }
        let EntryParts {
            space,
            version,
            deleted,
            at_ms,
            ..
        } = parts;
        let (Some(op), Ok(key)) = (decode(&op), String::from_utf8(key)) else {
            return Ok(None);
        };
        Ok(Some(Self {
            space,
            version,
            deleted,
            key,
            at_ms,
            author,
            op,
            media_type,
            data,
        }))
    }

    /// Whether it is the one of this key in this space.
    pub(super) fn is_under(&self, space: i64, key: &[u8]) -> bool {
        self.space == space && self.key.as_bytes() == key
    }

    /// What it counts in its space.
    pub(super) fn bytes(&self) -> u64 {
        (self.key.len() + self.media_type.len() + self.data.len()) as u64
    }
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
    pub(super) fn write(&self, conn: &Connection) -> Result<(), Fault> {
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

    fn sum(&self) -> i64 {
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
