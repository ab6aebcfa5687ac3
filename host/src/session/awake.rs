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

    #[tokio::test]
    async fn time_goes_on_from_where_it_was() {
        let (before, time) = (Duration::from_secs(50), Duration::from_secs(60));
        let awake = Awake::after(before);
        assert_eq!((awake.now(), awake.instant(time)), (before, None), "nobody has it");
        assert!(awake.reaches(Duration::ZERO).now_or_never().is_none());
        let earliest = Instant::now();
        awake.begins();
        let latest = Instant::now();
        awake.begins();
        let rest = time - before;
        let at = awake.instant(time).expect("it is awake");
        assert!(earliest + rest <= at && at <= latest + rest, "the first time counts");
        // That is over.
        awake.reaches(before).await;
        assert!(awake.reaches(time).now_or_never().is_none());
    }

    #[tokio::test]
    async fn many_days_are_as_long_as_they_are() {
        let awake = Awake::after(Duration::ZERO);
        let earliest = Instant::now();
        awake.begins();
        let at = awake.instant(3 * DAY).expect("it is awake");
        assert!(at >= earliest + 3 * DAY);
        assert!(awake.reaches(3 * DAY).now_or_never().is_none());
        assert_eq!(awake.instant(Duration::MAX), None);
        assert!(awake.reaches(Duration::MAX).now_or_never().is_none());
    }
}
