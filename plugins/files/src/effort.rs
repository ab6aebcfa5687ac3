//! How much one call asks of the host, so that a large folder ends it with what was found and not as a breach of a limit.

use std::cell::Cell;

use crate::disk::Listing;

/// Names that are read in all. With [`FILES`] this stays below the host's `limits.host_calls_all`, 100,000 by default: a name
/// is one call.
const NAMES: usize = 40_000;
/// What opening, reading and closing a folder costs besides its names, in calls.
const FOLDER: usize = 6;
/// Files that are opened in all, each about 6 calls.
const FILES: usize = 8_000;

/// What is left for one call of a tool, and what it has come upon.
#[derive(Debug)]
pub(crate) struct Effort {
    names_left: Cell<usize>,
    files_left: Cell<usize>,
    names: Cell<usize>,
    unreadable: Cell<usize>,
    stopped: Cell<bool>,
    deeper: Cell<usize>,
}

impl Default for Effort {
    fn default() -> Self {
        Self::new(NAMES, FILES)
    }
}

impl Effort {
    /// For so many names and files; a folder counts as [`FOLDER`] names more.
    pub(crate) fn new(names: usize, files: usize) -> Self {
        Self {
            names_left: Cell::new(names),
            files_left: Cell::new(files),
            names: Cell::new(0),
            unreadable: Cell::new(0),
            stopped: Cell::new(false),
            deeper: Cell::new(0),
        }
    }

    /// How many names the next folder may give; with 0 it must not be opened.
    pub(crate) fn folder(&self) -> usize {
        let most = self.names_left.get().saturating_sub(FOLDER);
        if most == 0 {
            self.stopped.set(true);
        }
        most
    }

    /// A folder was read.
    pub(crate) fn read(&self, listing: &Listing) {
        let names = listing.entries.len() + listing.unreadable;
        self.names_left
            .set(self.names_left.get().saturating_sub(names + FOLDER));
        self.names.set(self.names.get() + names);
        self.unreadable.set(self.unreadable.get() + listing.unreadable);
        if listing.more {
            self.stopped.set(true);
        }
    }

    /// Whether one more file may be opened.
    pub(crate) fn file(&self) -> bool {
        let left = self.files_left.get().checked_sub(1);
        match left {
            Some(left) => self.files_left.set(left),
            None => self.stopped.set(true),
        }
        left.is_some()
    }

    /// Whether something was passed by for want of room.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Names that were read.
    pub(crate) fn names(&self) -> usize {
        self.names.get()
    }

    /// A folder lies deeper than a walk goes.
    pub(crate) fn passed_by(&self) {
        self.deeper.set(self.deeper.get() + 1);
    }

    /// Folders that lay deeper than a walk goes.
    pub(crate) fn deeper(&self) -> usize {
        self.deeper.get()
    }

    /// What a result says about names that could not be read.
    pub(crate) fn note(&self) -> Option<String> {
        let count = self.unreadable.get();
        (count > 0).then(|| format!("names left out, as they are no plain text or could not be read: {count}"))
    }
}
