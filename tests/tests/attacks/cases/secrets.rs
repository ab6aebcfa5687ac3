//! Plugins that hand on a secret of the operator's, or look for one where the host has it from.

use super::Case;
use crate::hostile;

/// 32 random characters, which [`hostile::A34_TELLS`] has too, and the operator has set as the secret `x`.
pub(crate) const SECRET: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
/// What people and plugins have in its place.
pub(crate) const HIDDEN: &str = "[secret x]";

/// A plugin that was made with the secret logs, emits and returns it.
pub(crate) fn tells() -> [Case; 4] {
    [("l0", "done"), ("e0", "done"), ("r0", HIDDEN), ("h0", HIDDEN)]
        .map(|(what, answer)| Case::run(hostile::A34_TELLS, what).answers(answer))
}

/// A tool that counts the variables and arguments that it was started with, and is told no folder either.
pub(crate) fn environment() -> Case {
    Case::measures(hostile::A34_ENVIRONMENT, "0")
}
