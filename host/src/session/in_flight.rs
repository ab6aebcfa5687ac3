//! What the calls of one session hold that are in flight: each keeps what was asked of it until it ends, whether or not its guest can still name it; and
//! the bodies of HTTP that its tools send and have been answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Refusal, RefusalKind};
use crate::limits::{self, Unit};

/// Bytes of a call beside those that were asked of it, roughly: its task, its handle, its reservation.
const CALL: u64 = 4 << 10;

/// The calls of a session that are in flight, those inside its tools among them.
#[derive(Debug, Default, Clone)]
pub struct InFlight(Arc<AtomicU64>);

/// One of them, or a body, until it is dropped.
#[derive(Debug)]
pub struct Flying {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl InFlight {
    /// One more, of which so many bytes are kept; all together hold `most` at most.
    ///
    /// # Errors
    /// They would hold more, and this one alone or all together: waiting helps in the second case.
    pub(super) fn admit(&self, asked: u64, most: u64) -> Result<Flying, Refusal> {
        let bytes = asked.saturating_add(CALL);
        let show = |bytes| limits::show(bytes, Unit::Bytes);
        if bytes > most {
            let (bytes, most) = (show(bytes), show(most));
            let message = format!(
                "This call would hold {bytes} while it is in flight, and {most} are the most (limits.in_flight)."
            );
            return Err(Refusal::invalid(message));
        }
        let more = |now: u64| now.checked_add(bytes).filter(|all| *all <= most);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(self.flying(bytes)),
            Err(now) => {
                let message = format!(
                    "The calls in flight hold {}, this one would hold {} more, and {} are the most together (limits.in_flight). Wait for some first.",
                    show(now),
                    show(bytes),
                    show(most)
                );
                Err(Refusal::new(RefusalKind::RateLimited, message))
            }
        }
    }

    /// One that was in flight when the host went down: it was admitted then.
    pub(super) fn again(&self, asked: u64) -> Flying {
        let bytes = asked.saturating_add(CALL);
        self.0.fetch_add(bytes, Ordering::AcqRel);
        self.flying(bytes)
    }

    /// A body of which nothing has come yet.
    pub fn nothing(&self) -> Flying {
        self.flying(0)
    }

    fn flying(&self, bytes: u64) -> Flying {
        Flying {
            all: self.0.clone(),
            bytes,
        }
    }
}

impl Flying {
    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds so many bytes from now on, unless these are more than before and all together would hold more than `most`. Whether it does.
    #[must_use]
    pub fn resize(&mut self, to: u64, most: u64) -> bool {
        let resized = |now: u64| {
            let all = (now - self.bytes).checked_add(to)?;
            (to <= self.bytes || all <= most).then_some(all)
        };
        let is_done = self
            .all
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, resized)
            .is_ok();
        if is_done {
            self.bytes = to;
        }
        is_done
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_so_much_and_no_more() {
        let all = InFlight::default();
        let (mut one, mut other) = (all.nothing(), all.nothing());
        assert!(one.resize(6, 10) && other.resize(4, 10) && !one.resize(7, 10));
        assert!(one.resize(3, 10) && other.resize(7, 10) && !other.resize(8, 10));
        assert_eq!((one.bytes(), other.bytes()), (3, 7));
        drop(other);
        assert!(one.resize(10, 10) && !one.resize(11, 10));
    }

    #[test]
    fn what_holds_less_fits_also_where_more_is_held_than_may_be() {
        let all = InFlight::default();
        let mut one = all.nothing();
        assert!(one.resize(6, 10));
        let before = all.again(10);
        assert!(!one.resize(7, 10) && one.resize(6, 10) && one.resize(5, 10));
        drop(before);
        assert!(one.resize(10, 10));
    }

    #[test]
    fn calls_in_flight_hold_so_much_and_no_more() {
        let all = InFlight::default();
        let most = 3 * CALL + 10;
        let first = all.admit(10, most).unwrap();
        let second = all.admit(CALL, most).unwrap();
        let refusal = all.admit(0, most).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::RateLimited);
        assert!(refusal.message.contains("limits.in_flight"), "{refusal:?}");
        drop(second);
        assert!(all.admit(CALL + 1, most).is_err());
        drop(first);
        let never = all.admit(most - CALL + 1, most).unwrap_err();
        assert_eq!(never.kind, RefusalKind::InvalidInput, "waiting does not help");
        drop(all.admit(most - CALL, most).unwrap());
        let before = all.again(most);
        assert!(all.admit(0, most).is_err());
        drop(before);
        all.admit(most - CALL, most).unwrap();
    }
}
