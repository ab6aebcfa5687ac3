//! What this session may still use, and what it has used. The host alone charges and gives back.

use crate::Dimension;
use crate::bindings::budget as host;

/// What is left of a dimension and not reserved, in its own unit: the smallest of this session's rest and of those above
/// it. None means no limit. Completions under way have reserved what they may cost at most.
pub fn remaining(dimension: Dimension) -> Option<u64> {
    host::remaining(dimension)
}

/// What was charged so far, in all attempts.
pub fn spent(dimension: Dimension) -> u64 {
    host::spent(dimension)
}
