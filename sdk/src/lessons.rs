//! What earlier runs taught: how to do tasks, and how to delegate them.

use crate::bindings::lessons as host;
use crate::{Error, Lesson, LessonLayer};

/// Up to `limit` adopted lessons, the most relevant to `query` first; without any, an empty list.
///
/// # Errors
/// `denied` if the operator took lessons away.
pub fn recall(layer: LessonLayer, query: &str, limit: u32) -> Result<Vec<Lesson>, Error> {
    host::recall(layer, query, limit)
}

/// Offers a lesson, with what in this run supports it. The host adopts it only if it measurably helps later runs.
///
/// # Errors
/// `denied` as for [`recall`], and whatever the host has against this lesson.
pub fn propose(layer: LessonLayer, text: &str, evidence: &str) -> Result<(), Error> {
    host::propose(layer, text, evidence)
}
