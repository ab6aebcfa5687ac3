//! The end of a session that nobody hears of but its parent: what it would write down from then on is left to the parent, which writes it with the outcome of
//! the operation that the session is. So it costs one commit, and where that fails nothing of it was written or told.

use crate::event::EventKind;
use crate::session::end::End;
use crate::session::{Session, lock};
use crate::store::Record;

/// Records that are not written down yet, and what people are told once they are.
#[derive(Debug, Default)]
pub struct Unwritten {
    /// The records.
    pub records: Vec<Record>,
    /// What tells of them.
    pub events: Vec<EventKind>,
}

impl Unwritten {
    /// What comes behind it.
    pub fn extend(&mut self, more: Self) {
        self.records.extend(more.records);
        self.events.extend(more.events);
    }
}

/// Is told how it went that records were to be written down.
pub type Written = Box<dyn FnOnce(Result<(), &End>) + Send>;

impl Session {
    /// From here on it leaves to its parent what it would write down. Its instance must be gone, and none come in its place: what one is told is on record.
    pub fn leave_unwritten(&self) {
        lock(&self.unwritten).get_or_insert_default();
    }

    /// Whether it does that.
    pub fn leaves_unwritten(&self) -> bool {
        lock(&self.unwritten).is_some()
    }

    /// What it has left, for whoever writes it down. It leaves nothing more.
    pub fn take_unwritten(&self) -> Unwritten {
        lock(&self.unwritten).take().unwrap_or_default()
    }

    /// Leaves this to the parent. Gives it back where that is not done.
    fn leave(&self, more: Unwritten) -> Option<Unwritten> {
        match lock(&self.unwritten).as_mut() {
            Some(left) => {
                left.extend(more);
                None
            }
            None => Some(more),
        }
    }

    /// Writes this down and tells of it, or leaves it to the parent.
    ///
    /// # Errors
    /// As [`RunContext::append`](super::RunContext::append).
    pub async fn write(&self, more: Unwritten) -> Result<(), End> {
        let Some(more) = self.leave(more) else {
            return Ok(());
        };
        self.run.append_last(more.records).await?;
        more.events.into_iter().for_each(|event| self.event(event));
        Ok(())
    }
}
