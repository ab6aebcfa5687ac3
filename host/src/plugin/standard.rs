//! The plugins inside the binary.

include!(concat!(env!("OUT_DIR"), "/standard.rs"));

/// The bytes of the standard plugin of this name.
pub(super) fn find(name: &str) -> Option<&'static [u8]> {
    STANDARD
        .iter()
        .find(|(standard, _)| *standard == name)
        .map(|(_, bytes)| *bytes)
}

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    STANDARD.iter().map(|(name, _)| *name)
}
