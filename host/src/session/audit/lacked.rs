//! What a denial is counted with: the kind of right that was missing, or, where no right would have allowed it, why.

use crate::plugin::grant::Kind;

/// Reasons that are told apart. There are few, and no guest words them.
pub(super) const REASONS: usize = 8;

/// What was missing, as far as denials are told apart by it: a flood of one hides nothing of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lacked<'a> {
    /// The kind of right, where one would have allowed it.
    pub(super) kind: Option<Kind>,
    /// Why none would; nothing where that was not said.
    pub(super) why: &'a str,
}

impl<'a> Lacked<'a> {
    /// Of a denial that this right would have lifted, or none for this reason.
    pub(super) fn of(right: Option<&str>, why: Option<&'a str>) -> Self {
        let kind = right.and_then(|right| right.split(':').next()?.parse().ok());
        let why = why.filter(|_| kind.is_none()).unwrap_or_default();
        Self { kind, why }
    }

    /// Where there is no room for another reason.
    pub(super) const OTHER: Self = Self { kind: None, why: "" };

    /// Whether a right was missing, or nothing is known of it: there are only so many of these.
    pub(super) const fn is_one_of_few(&self) -> bool {
        self.kind.is_some() || self.why.is_empty()
    }
}
