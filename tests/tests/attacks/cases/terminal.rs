//! Texts that would steer a terminal.

use super::Case;
use crate::hostile;

/// A crash in functions whose names would.
pub(crate) fn crash() -> Case {
    Case::run(hostile::A40_NAMES, "x").fails("trapped", &["unreachable", "inner-name"])
}
