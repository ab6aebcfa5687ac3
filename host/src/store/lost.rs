//! Runs that the database has lost whole: a lock file tells of their records, and nothing else of them is there. A torn or removed log takes
//! them so, or a database that was put back from an earlier day.

use super::Store;
use super::error::StoreError;
use super::owner::LockState;
use crate::ids::RunId;

impl Store {
    /// The runs whose lock files tell of synced records and that the database doesn't know, each as the damage that it is. A run that is being
    /// made has its row before its first record.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn lost_runs(&self) -> Result<Vec<StoreError>, StoreError> {
        let dir = self.0.files.runs();
        let entries = match std::fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| StoreError::io(&dir, &e))?,
        };
        let mut lost = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| StoreError::io(&dir, &e))?.file_name();
            let run = name.to_str().and_then(|name| name.strip_suffix(".lock")?.parse().ok());
            lost.extend(run.map(|run| self.lost(&run)).transpose()?.flatten());
        }
        Ok(lost)
    }

    /// The first such run whose id begins with `prefix`.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn lost_run(&self, prefix: &str) -> Result<Option<StoreError>, StoreError> {
        let begins =
            |lost: &StoreError| matches!(lost, StoreError::Damaged { run, .. } if run.as_str().starts_with(prefix));
        Ok(self.lost_runs()?.into_iter().find(begins))
    }

    /// Whether this is such a run.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn lost(&self, run: &RunId) -> Result<Option<StoreError>, StoreError> {
        let LockState::Line(line) = self.0.files.lock_state(run)? else {
            return Ok(None);
        };
        if line.head.seq == 0 || self.is_known(run)? || self.was_removed(run)? {
            return Ok(None);
        }
        let what = format!("the database has none of its {} records", line.head.seq);
        Ok(Some(StoreError::damaged(run, what)))
    }
}
