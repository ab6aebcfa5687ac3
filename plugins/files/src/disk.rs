//! What the tools need of a file system: so little that tests run them on real files without WASI.

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    /// Not followed when walking: it may lead in a circle.
    Link,
    /// Nothing that can be read.
    Other,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// In no certain order.
    pub(crate) entries: Vec<Entry>,
    /// Names that are no plain text, or of things that were gone.
    pub(crate) unreadable: usize,
    /// There are more than were asked for.
    pub(crate) more: bool,
}

impl Listing {
    /// Reads up to `most` names, one by one. One that can't be read takes none of the others with it.
    pub(crate) fn collect(most: usize, mut next: impl FnMut() -> Result<Option<Entry>, Fault>) -> Self {
        let mut listing = Self::default();
        for _ in 0..most {
            match next() {
                Ok(Some(entry)) if entry.name.chars().any(is_lost) => listing.unreadable += 1,
                Ok(Some(entry)) => listing.entries.push(entry),
                Ok(None) => return listing,
                Err(_) => listing.unreadable += 1,
            }
        }
        listing.more = !matches!(next(), Ok(None));
        listing
    }
}

/// Whether a character of a name doesn't reach whoever reads a result: the host takes out what can't be seen or turns a line around, and there is no
/// file of the name that is left. A line's end could pass for one of a result besides.
fn is_lost(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// Why something could not be opened or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No such name, or a part of the path is no folder.
    Missing,
    /// It is a folder where a file was wanted.
    Folder,
    /// It is a file where a folder was wanted.
    File,
    /// The host, or the machine below it, does not permit it.
    Refused(String),
    /// Anything else, in words.
    Failed(String),
}

/// Granted folders and what is in them. Paths are relative to a root, parts separated by `/`, the root itself is empty.
pub(crate) trait Disk {
    /// An open file; closed when dropped.
    type File;

    /// The granted folders' names, without slashes, in the order of their grants.
    fn roots(&self) -> &[String];

    /// What is in a folder, up to `most` names.
    fn entries(&self, root: usize, path: &str, most: usize) -> Result<Listing, Fault>;

    /// Opens a file for reading.
    fn open(&self, root: usize, path: &str) -> Result<Self::File, Fault>;

    /// Up to `length` bytes from `offset`, and whether that was the end.
    fn read(&self, file: &Self::File, offset: u64, length: usize) -> Result<(Vec<u8>, bool), Fault>;
}
