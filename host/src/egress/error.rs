//! Why a request got no answer, in words that name the grant or the limit that would change it.

use std::error::Error as _;
use std::fmt;

use crate::limits::{self, Unit};
use crate::text;

/// What the HTTP client says of a head that has more headers, or more bytes, than it reads.
const TOO_LARGE: &str = "message head is too large";
/// Which addresses requests may have.
const FETCHED: &str = "only http and https URLs without a user name, of 16 KiB at most, are fetched";
/// Bytes of a reason that others wrote.
const REASON: usize = 300;

/// A request that did not get its answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// No rule allows it, or it leads to an address that is not of the public internet.
    #[error("{what}{}", offered(grant.as_deref(), is.as_deref()))]
    Denied {
        /// What was refused.
        what: String,
        /// Method and address, without the query.
        target: String,
        /// The grant that would allow it, where one can.
        grant: Option<String>,
        /// What is to be known before it is granted: that its address is not of the public internet, that its method takes a grant of all.
        is: Option<String>,
    },
    /// A secret would go where the host did not put it.
    #[error("{what}")]
    Secret {
        /// What was refused.
        what: String,
        /// What it is, as in `the secret x`.
        name: String,
        /// Where it would have gone: scheme, host and port.
        host: String,
    },
    /// The request, or what a server makes of it by a redirect, is none that is ever sent, whatever is granted.
    #[error("{target} can't be sent: {fault}")]
    Malformed {
        /// Method and address, without the query.
        target: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A part of a message is over its cap.
    #[error("the {} is larger than {most} ({})", part.name(), part.key())]
    TooLarge {
        /// Which part.
        part: Part,
        /// The cap, as it is shown.
        most: String,
    },
    /// Too many redirects.
    #[error("more than {0} redirects (limits.http.redirects)")]
    Redirects(u64),
    /// It took longer than the host waits, in milliseconds.
    #[error("no whole answer within {} (limits.http.total)", limits::show(*.0, Unit::Millis))]
    TimedOut(u64),
    /// It took longer than the plugin said that it would wait.
    #[error("no answer within the time that the plugin itself set for {0}")]
    OwnTimeOut(&'static str),
    /// The name has no address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// Nobody accepted the connection, or its certificate is not trusted.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The other side broke off, or does not speak HTTP.
    #[error("the exchange broke off: {0}")]
    Protocol(String),
    /// Its connection would leave the process fewer file descriptors than are kept free.
    #[error("no connection is made: {0} file descriptors of this process are kept free (limits.fds, ulimit -n)")]
    NoDescriptor(u64),
    /// There is no room for its answer beside what the agent's calls hold.
    #[error("the calls in flight of its agent hold as much as they may (limits.in_flight)")]
    NoRoom,
    /// It was cancelled.
    #[error("it was cancelled")]
    Cancelled,
}

/// Why a request is never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its scheme is none of the web's.
    Scheme,
    /// Its address is no URL, names a user or is too long.
    Address,
    /// A server redirected it to such an address, or to such a scheme.
    Redirect,
    /// Its method.
    Method,
    /// It has a body, and its method gives that no meaning.
    Body,
}

impl fmt::Display for Fault {
    /// In words of which plugins and servers choose none: denials are told apart by them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme | Self::Address => f.write_str(FETCHED),
            Self::Redirect => write!(f, "a server redirected it there, and {FETCHED}"),
            Self::Method => f.write_str(
                "CONNECT and TRACE are never sent, and a method that a grant can name only in capital letters",
            ),
            Self::Body => f.write_str(
                "a GET, HEAD or OPTIONS is sent without a body: servers leave it unread, and may take it for the next request",
            ),
        }
    }
}

/// The flag for a grant, and what is said beside it.
fn offered(grant: Option<&str>, is: Option<&str>) -> String {
    let is = is.map(|is| format!(" ({is})")).unwrap_or_default();
    let flag = |grant| format!(". Allow it with --allow {}{is}", text::shell_word(grant));
    grant.map(flag).unwrap_or_default()
}

/// A part of an HTTP message that has a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A request's body.
    RequestBody,
    /// A request's headers, in bytes.
    RequestHeaders,
    /// How many headers a request has.
    RequestHeaderCount,
    /// An answer's headers, in bytes.
    AnswerHeaders,
    /// How many headers an answer has.
    AnswerHeaderCount,
    /// An answer's headers, where the client gave up reading them.
    AnswerHead,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::RequestBody => "request's body",
            Self::RequestHeaders => "request's header section",
            Self::RequestHeaderCount => "request's number of headers",
            Self::AnswerHeaders => "answer's header section",
            Self::AnswerHeaderCount => "answer's number of headers",
            Self::AnswerHead => "answer's head",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::RequestBody => "limits.http.body",
            Self::RequestHeaders | Self::AnswerHeaders => "limits.http.headers",
            Self::RequestHeaderCount | Self::AnswerHeaderCount => "limits.http.header_count",
            Self::AnswerHead => "limits.http.headers, limits.http.header_count",
        }
    }
}

impl EgressError {
    /// Whether the client read no further in an answer's head.
    pub(super) fn is_of_the_head(&self) -> bool {
        matches!(self, Self::Protocol(reason) if reason == TOO_LARGE)
    }

    /// An error of the HTTP client: its causes without its URL, whose path and query are not for everybody to see.
    pub(super) fn client(error: reqwest::Error) -> Self {
        let connect = error.is_connect();
        let error = error.without_url();
        // The outermost words only say that a request failed; the innermost say why.
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = cause.to_string();
            source = cause.source();
        }
        let reason = text::line(&reason, REASON);
        if connect {
            Self::Unreachable(reason)
        } else {
            Self::Protocol(reason)
        }
    }
}
