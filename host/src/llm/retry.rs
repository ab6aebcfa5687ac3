//! When a failed try is made again, and after how long.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::fault::{Blame, Fault, millis};
use crate::error::Refusal;
use crate::limits::{self, Limits, Unit};

/// The wait before the second try; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait that the host chooses by itself.
const LONGEST: Duration = Duration::from_secs(30);

/// What follows a failed try.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// The same request again, after this long.
    Again(Duration),
    /// The end.
    Stop(Refusal),
}

/// What follows `fault` after `tries` tries, with `left` until its answer is of no use. `random` lies in 0..1.
pub(super) fn next(fault: &Fault, tries: u32, left: Duration, limits: &Limits, random: f64, blame: Blame<'_>) -> Next {
    let refusal = fault.refusal(blame);
    if !fault.may_pass() {
        return Next::Stop(refusal);
    }
    let asked = match fault {
        Fault::Status(status) => status.retry_after,
        _ => None,
    };
    if let Some(asked) = asked.filter(|asked| *asked > Duration::from_millis(limits.llm_retry_after)) {
        return Next::Stop(too_long_a_wait(asked, &refusal, limits));
    }
    let wait = asked.map_or_else(|| backoff(tries, random), |asked| asked + jitter(random));
    if u64::from(tries) >= limits.llm_tries || wait >= left {
        return Next::Stop(Refusal {
            retry_after_ms: refusal.retry_after_ms.or(asked.map(millis)),
            ..refusal
        });
    }
    Next::Again(wait)
}

fn too_long_a_wait(asked: Duration, refusal: &Refusal, limits: &Limits) -> Refusal {
    let most = limits::show(limits.llm_retry_after, Unit::Millis);
    let wait = limits::show(millis(asked).into(), Unit::Millis);
    Refusal {
        kind: refusal.kind.clone(),
        message: format!(
            "{}. It asks to wait {wait}; up to {most} is waited for (limits.llm.retry_after).",
            refusal.message.trim_end_matches('.')
        ),
        retry_after_ms: Some(millis(asked)),
        lack: None,
    }
}

/// Half a second for the first wait, doubling, each between a half and one and a half of it.
fn backoff(tries: u32, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(LONGEST);
    doubled.mul_f64(0.5 + random.clamp(0.0, 1.0))
}

/// A little on top of what the provider asked for, so that clients told the same don't come back at once.
fn jitter(random: f64) -> Duration {
    Duration::from_millis(250).mul_f64(random.clamp(0.0, 1.0))
}

/// A random number in 0..1.
pub(super) fn random() -> f64 {
    let mut bytes = [0u8; 4];
    // Jitter is a courtesy: without random numbers the middle does.
    getrandom::fill(&mut bytes).map_or(0.5, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

/// How long the provider asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1_000.0).ok();
    }
    let text = text("retry-after")?;
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RefusalKind;
    use crate::llm::fault::StatusFault;

    const BLAME: Blame<'_> = Blame {
        provider: "p",
        model: "m",
        key: "",
    };

    fn status(status: u16, retry_after: Option<u64>) -> Fault {
        let retry_after = retry_after.map(Duration::from_secs);
        Fault::Status(StatusFault {
            status,
            code: String::new(),
            message: String::new(),
            retry_after,
        })
    }

    fn after(fault: &Fault, tries: u32, left: u64) -> Next {
        next(fault, tries, Duration::from_secs(left), &Limits::default(), 0.5, BLAME)
    }

    #[test]
    fn waits_double_and_end_with_the_tries() {
        let waits: Vec<Next> = (1..=4).map(|tries| after(&status(500, None), tries, 300)).collect();
        let again = |ms| Next::Again(Duration::from_millis(ms));
        assert_eq!(waits[..3], [again(500), again(1_000), again(2_000)]);
        assert!(matches!(&waits[3], Next::Stop(refusal) if refusal.kind == RefusalKind::Upstream));
        assert!(backoff(u32::MAX, 1.0) <= LONGEST * 2);
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_limit() {
        assert_eq!(
            after(&status(429, Some(60)), 1, 300),
            Next::Again(Duration::from_millis(60_125))
        );
        for (asked, ms) in [(61, 61_000), (1_000_000_000, u32::MAX)] {
            let Next::Stop(refusal) = after(&status(429, Some(asked)), 1, 300) else {
                panic!("waits {asked}")
            };
            assert_eq!(
                (refusal.kind, refusal.retry_after_ms),
                (RefusalKind::RateLimited, Some(ms))
            );
        }
        // The deadline comes first.
        let Next::Stop(refusal) = after(&status(429, Some(30)), 1, 20) else {
            panic!("waits")
        };
        assert_eq!(
            (refusal.kind, refusal.retry_after_ms),
            (RefusalKind::RateLimited, Some(30_000))
        );
    }

    #[test]
    fn refusals_of_access_are_final() {
        assert!(matches!(after(&status(401, Some(1)), 1, 300), Next::Stop(_)));
        assert!(matches!(after(&status(403, None), 1, 300), Next::Stop(_)));
    }

    #[test]
    fn odd_headers_are_no_wait() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let read = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header"));
            retry_after(&headers, now)
        };
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(read("retry-after-ms", "1500"), Some(Duration::from_millis(1_500)));
        let later = httpdate::fmt_http_date(now + Duration::from_secs(9));
        assert_eq!(read("retry-after", &later), Some(Duration::from_secs(9)));
        let earlier = httpdate::fmt_http_date(now - Duration::from_secs(9));
        assert_eq!(read("retry-after", &earlier), Some(Duration::ZERO));
        for junk in ["-5", "soon", "1e9", ""] {
            assert_eq!(read("retry-after", junk), None, "{junk}");
        }
        assert_eq!(read("retry-after-ms", "NaN"), None);
    }
}
