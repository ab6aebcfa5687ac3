//! What may come of compiling a component but code. But for the clock's sake it is final: under the same limits the same comes of it again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{Unit, show};

/// A component that can't be compiled under these limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CompileError {
    /// It takes too long.
    #[error("compiling takes longer than {} (limits.compile.wall)", show(*.limit_ms, Unit::Millis))]
    Wall {
        /// The cap, in milliseconds.
        limit_ms: u64,
    },
    /// It takes too much computing.
    #[error("compiling takes more than {} of processor time (limits.compile.cpu)", show(*.limit_ms, Unit::Millis))]
    Cpu {
        /// The cap, in milliseconds.
        limit_ms: u64,
    },
    /// It takes too much memory.
    #[error("compiling takes more than {} of memory (limits.compile.address_space)", show(*.limit, Unit::Bytes))]
    Memory {
        /// The cap, in bytes.
        limit: u64,
    },
    /// What comes of it is too large.
    #[error("it has {bytes} bytes of compiled code, over limits.compile.code ({})", show(*.limit, Unit::Bytes))]
    Code {
        /// How many.
        bytes: u64,
        /// The cap, in bytes.
        limit: u64,
    },
    /// The compiler refused it.
    #[error("it can't be compiled: {0}")]
    Refused(String),
    /// The compiler broke on it. Memory that it lacks can show so too.
    #[error("the compiler crashed on it: {how}; it had {} of memory (limits.compile.address_space)", show(*.limit, Unit::Bytes))]
    Crashed {
        /// Its last words, or the signal that ended it.
        how: String,
        /// The cap on its memory, in bytes.
        limit: u64,
    },
}

impl CompileError {
    /// The kind of error. A crash counts as a limit that was met, as memory that the compiler lacks can show so.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "load(bad-bytes)",
            Self::Wall { .. } | Self::Cpu { .. } | Self::Memory { .. } | Self::Code { .. } | Self::Crashed { .. } => {
                "load(compile-limit)"
            }
        }
    }

    /// For how long it stands, where that is not for good: the clock goes on for a compiler, too, that the rest of the machine keeps from its work.
    pub fn stands_for(&self) -> Option<Duration> {
        matches!(self, Self::Wall { .. }).then_some(Duration::from_secs(3600))
    }
}
