//! How long a session has been awake, over all processes that it lived in. What it does again to find its place is not counted, and neither is the
//! time in which no process has it: durations that its guest waits for are measured so.

use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::Instant;

/// A session's time awake.
#[derive(Debug)]
pub struct Awake {
    before: Duration,
    since: SetOnce<Instant>,
}

impl Awake {
    /// Of a session that was awake for `before` in earlier processes, and is not yet in this one.
    pub fn after(before: Duration) -> Self {
        Self {
            before,
            since: SetOnce::new(),
        }
    }

    /// It is awake from now on, where it was not.
    pub fn begins(&self) {
        // The first time counts.
        let _ = self.since.set(Instant::now());
    }

    /// How long it was awake in earlier processes.
    pub fn before(&self) -> Duration {
        self.before
    }

    /// How long it has been awake.
    pub fn now(&self) -> Duration {
        let elapsed = self.since.get().map(Instant::elapsed);
        self.before.saturating_add(elapsed.unwrap_or_default())
    }

    /// When it will have been awake for `time`: a moment that is over where it was already. None where it is not awake yet, or further off than any clock goes.
    pub fn instant(&self, time: Duration) -> Option<Instant> {
        self.since.get()?.checked_add(time.saturating_sub(self.before))
    }

    /// Returns when it has been awake for `time`.
    pub async fn reaches(&self, time: Duration) {
        self.since.wait().await;
        match self.instant(time) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_from_where_it_was() {
        let awake = Awake::after(Duration::from_secs(50));
        tokio::time::advance(DAY).await;
        assert_eq!(awake.now(), Duration::from_secs(50), "nobody has it");
        assert!(
            awake.reaches(Duration::ZERO).now_or_never().is_none(),
            "it is not awake"
        );
        awake.begins();
        let begun = Instant::now();
        awake.reaches(Duration::from_secs(60)).await;
        assert_eq!(begun.elapsed().as_secs(), 10);
        assert!(awake.reaches(Duration::from_secs(60)).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_of_many_days_is_not_there_before() {
        let awake = Awake::after(Duration::ZERO);
        awake.begins();
        let long = awake.reaches(3 * DAY);
        tokio::pin!(long);
        tokio::time::advance(3 * DAY - Duration::from_millis(1)).await;
        assert!(long.as_mut().now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(long.now_or_never().is_some());
        assert!(awake.reaches(Duration::MAX).now_or_never().is_none());
    }
}
