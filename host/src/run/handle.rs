//! A run under way, as whoever started it holds it.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::event::{EventReceiver, Events};
use crate::ids::RunId;
use crate::run::{HostError, RunOutcome};

/// A run under way. Dropping it suspends the run.
pub struct RunHandle {
    id: RunId,
    events: Events,
    first: Mutex<Option<EventReceiver>>,
    suspend: CancellationToken,
    cancel: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<Result<RunOutcome, HostError>>>>,
}

/// What stops a run.
pub(super) struct Stops {
    /// So that it can be resumed.
    pub(super) suspend: CancellationToken,
    /// For good.
    pub(super) cancel: CancellationToken,
}

impl RunHandle {
    pub(super) fn new(
        id: RunId,
        events: Events,
        first: Option<EventReceiver>,
        stops: Stops,
        task: JoinHandle<Result<RunOutcome, HostError>>,
    ) -> Self {
        let Stops { suspend, cancel } = stops;
        Self {
            id,
            events,
            first: Mutex::new(first),
            suspend,
            cancel,
            task: tokio::sync::Mutex::new(Some(task)),
        }
    }

    /// The run.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Its events: the first subscriber gets all of them, a later one those from then on.
    pub fn subscribe(&self) -> EventReceiver {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.events.subscribe())
    }

    /// Stops it so that it can be resumed: guests are told nothing.
    pub fn suspend(&self) {
        self.suspend.cancel();
    }

    /// Ends it for good: guests are told, and dropped after a grace.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for its end, once.
    ///
    /// # Errors
    /// The host failed in it.
    pub async fn wait(&self) -> Result<RunOutcome, HostError> {
        let mut task = self.task.lock().await;
        let Some(running) = task.as_mut() else {
            return Err(HostError::Run("it was waited for twice".to_owned()));
        };
        let ended = running.await.map_err(|panic| HostError::Run(panic.to_string()));
        *task = None;
        ended?
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        self.suspend.cancel();
    }
}
