//! How one try can fail, and what the guest hears of it.

use std::time::Duration;

use crate::error::{Refusal, RefusalKind};
use crate::limits::{self, Unit};
use crate::text;

/// The most characters of a provider's own words in a message.
const QUOTE: usize = 300;

/// How one try failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// No connection: nothing was sent.
    Connect(String),
    /// No connection, as no file descriptor was free for one: nothing was sent.
    NoDescriptor(String),
    /// The provider was too slow.
    TimedOut {
        /// What it did not do in time.
        what: &'static str,
        /// The limit's key.
        key: &'static str,
        /// The limit, in milliseconds.
        limit: u64,
    },
    /// The provider answered with an error.
    Status(StatusFault),
    /// The answer broke off, or is not what the protocol says.
    Broken(String),
    /// Refused for good.
    Refused(Refusal),
}

/// An error that the provider put into words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StatusFault {
    /// The HTTP status, or the one that an error within a stream stands for.
    pub(super) status: u16,
    /// The provider's code and type of the error, joined by a space.
    pub(super) code: String,
    /// The provider's message; not yet safe to show.
    pub(super) message: String,
    /// How long to wait, as the provider says.
    pub(super) retry_after: Option<Duration>,
}

/// Whose fault it is, for the words of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blame<'a> {
    /// The provider's name.
    pub(super) provider: &'a str,
    /// The model's name at the provider.
    pub(super) model: &'a str,
    /// Where the key comes from, in words.
    pub(super) key: &'a str,
}

impl Fault {
    /// True where the provider has too much to do.
    pub(super) fn is_overload(&self) -> bool {
        matches!(self, Self::Status(fault) if matches!(fault.status, 429 | 503 | 529) && !fault.is_quota())
    }

    /// True where the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NoDescriptor(_) | Self::TimedOut { .. } | Self::Broken(_) => true,
            Self::Status(fault) => matches!(fault.status, 408 | 429 | 500..=599) && !fault.is_quota(),
            Self::Refused(_) => false,
        }
    }

    /// What the guest hears if this is the end.
    pub(super) fn refusal(&self, blame: Blame<'_>) -> Refusal {
        let provider = blame.provider;
        match self {
            Self::Connect(why) => Refusal::upstream(format!("The model provider {provider} can't be reached: {why}.")),
            Self::NoDescriptor(why) => Refusal::new(
                RefusalKind::RateLimited,
                format!(
                    "The model provider {provider} can't be reached, as no file descriptor of this process was free: {why} (limits.fds, ulimit -n)."
                ),
            ),
            Self::TimedOut { what, key, limit } => Refusal::new(
                RefusalKind::TimedOut,
                format!(
                    "The model provider {provider} {what} within {} (limits.{key}).",
                    limits::show(*limit, Unit::Millis)
                ),
            ),
            Self::Status(fault) => fault.refusal(blame),
            Self::Broken(why) => {
                Refusal::upstream(format!("The answer of the model provider {provider} broke off: {why}."))
            }
            Self::Refused(refusal) => refusal.clone(),
        }
    }
}

impl StatusFault {
    /// True where money or quota is used up: waiting does not help.
    fn is_quota(&self) -> bool {
        self.status == 402
            || self
                .code
                .split(' ')
                .any(|code| matches!(code, "insufficient_quota" | "billing_error"))
    }

    /// True where the request does not fit the model's window.
    fn is_too_long(&self) -> bool {
        const CODES: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
        const WORDS: [&str; 6] = [
            "context length",
            "context window",
            "context size",
            "maximum context",
            "prompt is too long",
            "input is too long",
        ];
        let message = self.message.to_lowercase();
        matches!(self.status, 400 | 413 | 422)
            && (self.code.split(' ').any(|code| CODES.contains(&code)) || WORDS.iter().any(|w| message.contains(w)))
    }

    fn refusal(&self, blame: Blame<'_>) -> Refusal {
        let Blame { provider, model, key } = blame;
        let status = self.status;
        let words = text::line(self.message.trim(), QUOTE);
        let said = if words.is_empty() {
            String::new()
        } else {
            format!(": {words}")
        };
        let other = |kind: &str| RefusalKind::Other(kind.to_owned());
        let (kind, message) = match status {
            _ if self.is_too_long() => (
                RefusalKind::InvalidInput,
                format!("The request is longer than the window of the model {model}{said}"),
            ),
            _ if self.is_quota() => (
                other("llm-quota"),
                format!("The account at the model provider {provider} is used up ({status}){said}"),
            ),
            401 | 403 => (
                other("llm-auth"),
                format!("The model provider {provider} refuses access ({status}; {key}){said}"),
            ),
            404 => (
                RefusalKind::NotFound,
                format!("The model provider {provider} does not know the model {model}{said}"),
            ),
            408 => (
                RefusalKind::TimedOut,
                format!("The model provider {provider} timed out ({status}){said}"),
            ),
            429 => (
                RefusalKind::RateLimited,
                format!("The model provider {provider} limits the rate of calls ({status}){said}"),
            ),
            300..=399 => (
                RefusalKind::Upstream,
                format!(
                    "The model provider {provider} redirects ({status}), which is not followed; set providers.{provider}.base_url to the final address"
                ),
            ),
            400..=499 => (
                RefusalKind::InvalidInput,
                format!("The model provider {provider} refuses the request ({status}){said}"),
            ),
            _ => (
                RefusalKind::Upstream,
                format!("The model provider {provider} failed ({status}){said}"),
            ),
        };
        let retry_after_ms = match kind {
            RefusalKind::RateLimited | RefusalKind::Upstream => self.retry_after.map(millis),
            _ => None,
        };
        Refusal {
            kind,
            message,
            retry_after_ms,
            lack: None,
        }
    }
}

/// `duration` in milliseconds, held at the largest that 32 bits take.
pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, code: &str, message: &str) -> Fault {
        Fault::Status(StatusFault {
            status,
            code: code.into(),
            message: message.into(),
            retry_after: None,
        })
    }

    fn kind(fault: &Fault) -> String {
        fault
            .refusal(Blame {
                provider: "p",
                model: "m",
                key: "its key comes from X",
            })
            .kind
            .to_string()
    }

    #[test]
    fn each_error_has_its_kind_and_may_pass_or_not() {
        let long = "This model's maximum context length is 10 tokens";
        let cases = [
            (status(401, "", ""), "llm-auth", false),
            (status(403, "", ""), "llm-auth", false),
            (status(404, "", ""), "not-found", false),
            (status(400, "", "bad"), "invalid-input", false),
            (status(422, "", "bad"), "invalid-input", false),
            (status(400, "context_length_exceeded", ""), "invalid-input", false),
            (status(429, "rate_limit_exceeded", long), "rate-limited", true),
            (status(429, "insufficient_quota", ""), "llm-quota", false),
            (status(402, "", ""), "llm-quota", false),
            (status(408, "", ""), "timed-out", true),
            (status(500, "", ""), "upstream", true),
            (status(529, "overloaded_error", ""), "upstream", true),
            (status(302, "", ""), "upstream", false),
            (Fault::Connect("refused".into()), "upstream", true),
            (Fault::NoDescriptor("too many".into()), "rate-limited", true),
            (Fault::Broken("cut".into()), "upstream", true),
            (
                Fault::TimedOut {
                    what: "did not answer",
                    key: "llm.idle",
                    limit: 5,
                },
                "timed-out",
                true,
            ),
        ];
        for (fault, want, again) in cases {
            assert_eq!(kind(&fault), want, "{fault:?}");
            assert_eq!(fault.may_pass(), again, "{fault:?}");
        }
    }

    #[test]
    fn a_provider_that_is_busy_or_away_is_asked_less() {
        for (fault, slower) in [
            (status(429, "", ""), true),
            (status(503, "", ""), true),
            (status(529, "", ""), true),
            (status(429, "insufficient_quota", ""), false),
            (status(500, "", ""), false),
        ] {
            assert_eq!(fault.is_overload(), slower, "{fault:?}");
        }
    }

    #[test]
    fn too_long_is_told_from_too_many() {
        let blame = Blame {
            provider: "p",
            model: "m",
            key: "",
        };
        let words = |fault: Fault| fault.refusal(blame).message;
        assert!(words(status(400, "", "prompt is too long: 9 > 8")).contains("longer than the window"));
        assert!(words(status(429, "", "context window")).contains("limits the rate"));
    }

    #[test]
    fn foreign_words_are_cleaned_and_cut() {
        let blame = Blame {
            provider: "p",
            model: "m",
            key: "",
        };
        let message = status(500, "", &format!("\u{1b}[31m{}", "x".repeat(1_000)))
            .refusal(blame)
            .message;
        assert!(!message.contains('\u{1b}'));
        assert!(message.chars().count() < 400);
    }
}
