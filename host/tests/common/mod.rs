//! What tests in the library's process have in common: the tasks of its runtime.

use std::time::Duration;

use tokio::runtime::Handle;

/// Waits until so many tasks are alive and no more; those that ended a moment ago may still be counted.
pub(crate) async fn falls_to(tasks: usize) {
    let falls = async {
        while Handle::current().metrics().num_alive_tasks() > tasks {
            tokio::task::yield_now().await;
        }
    };
    let net = tokio::time::timeout(Duration::from_secs(60), falls).await;
    let alive = Handle::current().metrics().num_alive_tasks();
    assert!(net.is_ok(), "{alive} tasks are alive, and {tasks} should be");
}
