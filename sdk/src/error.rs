//! Making and reading [`Error`], the one error record of every interface.

use crate::{Error, ErrorKind};

impl Error {
    /// An error of any kind. The message is for a model: what happened and what to do instead, in a sentence or two.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The arguments can't be used; say which and what would do.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// There is no such tool, strategy, model or space. For a file or a page that is missing use [`Error::failed`]: an
    /// agent's loop takes this kind for a tool that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The operator has not granted what this needs.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, message)
    }

    /// A deadline passed.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TimedOut, message)
    }

    /// The tool did its part, and what it relies on failed or has no such thing.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Upstream, message)
    }

    /// Whether it says that the budget of iterations is used up, after which one completion without tools is let through.
    pub fn is_out_of_iterations(&self) -> bool {
        self.kind == ErrorKind::Exhausted(crate::Dimension::Iterations)
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::failed(message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::failed(message)
    }
}
