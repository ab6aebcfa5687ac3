//! Work that blocks or takes long, where nobody else waits for it.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, block_in_place, spawn_blocking};

/// How long work is left alone before it is seen to that it has a thread.
const AGAIN: Duration = Duration::from_secs(1);

/// Does `work` in a thread that may block. It goes on where this is dropped.
///
/// Where the system has no thread for a moment, tokio leaves work to whatever thread comes to be for work that is queued later, and there may be no later
/// work: so some that does nothing is queued behind it.
///
/// # Errors
/// It panicked.
pub async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let mut working = spawn_blocking(work);
    loop {
        if let Ok(done) = tokio::time::timeout(AGAIN, &mut working).await {
            return done;
        }
        drop(spawn_blocking(|| ()));
    }
}

/// Does `work` in this thread, whose other tasks go on in another one where the runtime has several.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}
