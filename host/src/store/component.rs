//! The bytes of the components that runs use, kept by digest, so that a run can go on after its plugin was rebuilt.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use rustix::fs::OFlags;

use super::Store;
use super::commit::Done;
use super::error::{Fault, StoreError};
use super::files::{private, sync_dir};
use super::owner::Owner;
use super::prune::{entries, named};
use super::record::Sync;
use super::seal::sum;
use super::write::check_epoch;
use crate::blocking;
use crate::ids::{Digest, RunId};

impl Store {
    /// Keeps a component for a run, and answers its digest.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`], failures of the disk.
    pub async fn keep_component(&self, owner: &Owner, bytes: Bytes) -> Result<Digest, StoreError> {
        let store = self.clone();
        // Components are large, and a sync may take long: not in a thread that serves other tasks.
        let keeping = blocking::apart(move || {
            let digest = Digest::of(&bytes);
            let held = store.rely_on_components()?;
            keep(&store.component_path(&digest), &digest, &bytes).map(|()| (digest, held))
        });
        // Until the run's row of it is there, no run may use it.
        let (digest, held) = keeping
            .await
            .map_err(|e| StoreError::internal(format!("writing a component: {e}")))??;
        self.link_component(owner, digest).await?;
        drop(held);
        Ok(digest)
    }

    /// Writes down that the run uses a component.
    async fn link_component(&self, owner: &Owner, digest: Digest) -> Result<(), StoreError> {
        let by = owner.clone();
        let work = move |conn: &Connection| {
            check_epoch(conn, &by)?;
            link(conn, by.0.number, &digest)?;
            Ok(Done { value: (), head: None })
        };
        self.submit(Sync::Commit, None, work).await
    }

    /// Writes down that a run which nobody owns uses these components, which are kept.
    ///
    /// # Errors
    /// [`StoreError::Owned`], [`StoreError::NotFound`]; failures of the disk.
    pub async fn name_components(&self, run: &RunId, digests: Vec<Digest>) -> Result<(), StoreError> {
        let lock = self.hold_run(run).await?;
        let (number, _) = self.run_number(run)?;
        let work = move |conn: &Connection| {
            digests.iter().try_for_each(|digest| link(conn, number, digest))?;
            Ok(Done { value: (), head: None })
        };
        self.submit(Sync::Durable, None, work).await?;
        drop(lock);
        Ok(())
    }

    /// A component's bytes, verified.
    ///
    /// # Errors
    /// [`StoreError::NoComponent`]; [`StoreError::Corrupt`] when the file has not that digest any more.
    pub fn component(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.component_path(digest);
        match read(&path) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(bytes),
            Ok(_) => Err(StoreError::Corrupt {
                path,
                what: "it is not the component that was kept".into(),
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(StoreError::NoComponent { path }),
            Err(_) if path.metadata().is_ok_and(|meta| !meta.is_file()) => Err(StoreError::Corrupt {
                path,
                what: "it is no regular file".into(),
            }),
            Err(e) => Err(StoreError::io(&path, &e)),
        }
    }

    /// Digests of the components that a run uses.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run.
    pub fn components(&self, run: &RunId) -> Result<Vec<Digest>, StoreError> {
        let (number, _) = self.run_number(run)?;
        self.read(|conn| {
            let mut select = conn.prepare_cached("SELECT digest FROM component WHERE run = ?1 ORDER BY digest")?;
            let rows = select.query_map([number], |row| digest_at(row, 0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The components of which there are files.
    pub(super) fn kept_components(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let files = entries(&self.0.files.components())?;
        Ok(files.iter().filter_map(|path| named(path)).collect())
    }

    pub(super) fn component_path(&self, digest: &Digest) -> PathBuf {
        self.0.files.components().join(format!("{digest}.wasm"))
    }
}

/// The bytes of a file; what stands in its place is not waited for where it is a pipe.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes the row that says that the run with this number uses a component, or vouches for it anew.
pub(super) fn link(conn: &Connection, run: i64, digest: &Digest) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO component (run, digest, sum) VALUES (?1, ?2, ?3)
         ON CONFLICT (run, digest) DO UPDATE SET sum = excluded.sum",
    )?
    .execute(params![run, digest.as_bytes(), row_sum(run, digest)])?;
    Ok(())
}

/// The digest in this column, whatever type its value has.
pub(super) fn digest_at(row: &Row<'_>, column: usize) -> Result<Digest, rusqlite::Error> {
    let value = row.get_ref(column)?;
    let bytes = value.as_bytes().ok().and_then(|bytes| bytes.try_into().ok());
    let other = || rusqlite::Error::InvalidColumnType(column, "digest".to_owned(), value.data_type());
    bytes.map(Digest::from_bytes).ok_or_else(other)
}

/// Gives rows of components back to the runs whose they are by their checksums: the plugin of a run that is there stays, though its row strayed to this
/// one's.
pub(super) fn give_back(conn: &Connection, number: i64) -> Result<(), Fault> {
    let mut select = conn.prepare_cached("SELECT digest, sum FROM component WHERE run = ?1 AND sum IS NOT NULL")?;
    // One whose digest or checksum has not the type that was written tells of nobody.
    let rows = select.query_map([number], |row| Ok(digest_at(row, 0).ok().zip(row.get(1).ok())))?;
    let rows = rows.collect::<Result<Vec<Option<(Digest, i64)>>, _>>()?;
    let mut strays: Vec<_> = rows.into_iter().flatten().collect();
    strays.retain(|(digest, sum)| row_sum(number, digest) != *sum);
    if strays.is_empty() {
        return Ok(());
    }
    let mut select = conn.prepare_cached("SELECT no FROM run NOT INDEXED")?;
    let runs = select.query_map([], |row| row.get(0))?;
    let runs = runs.collect::<Result<Vec<i64>, _>>()?;
    for (digest, sum) in strays {
        if let Some(run) = runs.iter().find(|run| row_sum(**run, &digest) == sum) {
            link(conn, *run, &digest)?;
            conn.prepare_cached("DELETE FROM component WHERE run = ?1 AND digest = ?2")?
                .execute(params![number, digest.as_bytes()])?;
        }
    }
    Ok(())
}

/// Gives the rows of this run that are another's back to it, vouches for the others anew, and has one for each of the components that its sessions use;
/// writes nothing where that is so. `kept` are those of which there are files: of a damaged row its checksum says which of them it names.
pub(super) fn mend(
    conn: &Connection,
    run: i64,
    used: impl Iterator<Item = Digest>,
    kept: &BTreeSet<Digest>,
) -> Result<(), Fault> {
    give_back(conn, run)?;
    let mut select = conn.prepare_cached("SELECT digest, sum FROM component WHERE run = ?1")?;
    let rows = select.query_map([run], |row| Ok((digest_at(row, 0).ok(), row.get(1).ok())))?;
    let rows = rows.collect::<Result<Vec<(Option<Digest>, Option<Option<i64>>)>, _>>()?;
    let is_sound = |(digest, sum): &(Option<Digest>, Option<Option<i64>>)| {
        digest.is_some_and(|digest| sum.flatten() == Some(row_sum(run, &digest)))
    };
    let used: BTreeSet<_> = used.collect();
    let has = |digest: &Digest| rows.iter().any(|(known, _)| *known == Some(*digest));
    if rows.iter().all(is_sound) && used.iter().all(has) {
        return Ok(());
    }
    conn.prepare_cached("DELETE FROM component WHERE run = ?1")?
        .execute([run])?;
    let right = rows.into_iter().filter_map(|(digest, sum)| match sum.flatten() {
        Some(sum) if digest.is_none_or(|digest| row_sum(run, &digest) != sum) => {
            // The digest is damaged, or the checksum.
            let meant = kept.iter().find(|digest| row_sum(run, digest) == sum);
            meant.copied().or(digest.filter(|digest| kept.contains(digest)))
        }
        _ => digest,
    });
    for digest in right.chain(used) {
        link(conn, run, &digest)?;
    }
    Ok(())
}

/// The checksum of the row that says that a run uses a component.
pub(super) fn row_sum(run: i64, digest: &Digest) -> i64 {
    sum(&[b"component", &run.to_le_bytes(), digest.as_bytes()])
}

/// Writes the file beside its place and moves it there, unless it is there already and whole.
fn keep(path: &Path, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    if read(path).is_ok_and(|kept| Digest::of(&kept) == *digest) {
        return Ok(());
    }
    let draft = path.with_extension(format!(
        "{}.{}.draft",
        std::process::id(),
        DRAFTS.fetch_add(1, Ordering::Relaxed)
    ));
    let written = private()
        .create_new(true)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&draft, path));
    if let Err(e) = written {
        let _ = std::fs::remove_file(&draft);
        return Err(StoreError::io(path, &e));
    }
    sync_dir(path.parent().unwrap_or(path))
}
