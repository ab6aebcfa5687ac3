//! Runs that the database has lost whole: a lock file tells of their records, and nothing else of them is there. A torn or removed log takes
//! them so, or a database that was put back from an earlier day.

use super::Store;
use super::error::StoreError;
use super::runs::now_ms;
use crate::ids::RunId;

impl Store {
    /// The runs whose lock files tell of synced records and that the database doesn't know, each with the number of those. A run that is being
    /// made has its row before its first record.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn lost_runs(&self) -> Result<Vec<(RunId, u64)>, StoreError> {
        let dir = self.0.files.runs();
        let entries = match std::fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| StoreError::io(&dir, &e))?,
        };
        let mut lost = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| StoreError::io(&dir, &e))?.file_name();
            let run = name.to_str().and_then(|name| name.strip_suffix(".lock")?.parse().ok());
            let Some(run) = run else { continue };
            if let Some(records) = self.lost(&run)? {
                lost.push((run, records));
            }
        }
        Ok(lost)
    }

    /// The first such run whose id begins with `prefix`.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn lost_run(&self, prefix: &str) -> Result<Option<StoreError>, StoreError> {
        let mut lost = self.lost_runs()?.into_iter();
        let found = lost.find(|(run, _)| run.as_str().starts_with(prefix));
        Ok(found.map(|(run, records)| StoreError::Lost { run, records }))
    }

    /// Forgets such a run: its lock file goes.
    ///
    /// # Errors
    /// [`StoreError::Owned`]; failures of the disk.
    pub fn forget_lost(&self, run: &RunId) -> Result<(), StoreError> {
        let lock = self.0.files.take_lock(run, self.0.options.durability, now_ms())?;
        if self.lost(run)?.is_some() {
            let path = self.0.files.lock_path(run);
            std::fs::remove_file(&path).map_err(|e| StoreError::io(&path, &e))?;
        }
        drop(lock);
        Ok(())
    }

    /// How many records this run had, if it is such a run.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn lost(&self, run: &RunId) -> Result<Option<u64>, StoreError> {
        let records = self.0.files.synced(run)?;
        if records == 0 || self.is_known(run)? || self.was_removed(run)? {
            return Ok(None);
        }
        Ok(Some(records))
    }
}
