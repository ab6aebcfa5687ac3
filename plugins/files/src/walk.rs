//! Walking down a folder, in the order of names.

use crate::disk::{Disk, Fault, Kind};
use crate::effort::Effort;
use crate::place::Place;

/// Names that a walk passes by unless told otherwise: what machines put there.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// What a walk goes into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// Levels below the folder, 1 for its own names.
    pub(crate) depth: u32,
    /// Whether names that begin with a dot and the like are passed by.
    pub(crate) hidden: Hidden,
}

/// What becomes of hidden names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    Shown,
    Skipped,
}

impl From<bool> for Hidden {
    fn from(shown: bool) -> Self {
        if shown { Self::Shown } else { Self::Skipped }
    }
}

/// Whether a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    On,
    Stop,
}

/// Calls `visit` with each name below `folder`, files and folders, until it says stop. Folders that can't be read are
/// passed by, but for the first; so are those for which `effort` has no room left.
pub(crate) fn walk<D: Disk>(
    disk: &D,
    folder: &Place,
    scope: Scope,
    effort: &Effort,
    visit: &mut impl FnMut(&Place, Kind) -> Walk,
) -> Result<Walk, Fault> {
    let most = effort.folder();
    if most == 0 {
        return Ok(Walk::On);
    }
    let listing = disk.entries(folder.root, &folder.path, most)?;
    effort.read(&listing);
    let mut entries = listing.entries;
    entries.retain(|entry| scope.hidden == Hidden::Shown || !is_hidden(&entry.name));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let place = folder.child(&entry.name);
        if visit(&place, entry.kind) == Walk::Stop {
            return Ok(Walk::Stop);
        }
        if entry.kind == Kind::Folder && scope.depth <= 1 {
            effort.passed_by();
        } else if entry.kind == Kind::Folder {
            let below = Scope {
                depth: scope.depth - 1,
                ..scope
            };
            if walk(disk, &place, below, effort, visit).unwrap_or(Walk::On) == Walk::Stop {
                return Ok(Walk::Stop);
            }
        }
    }
    Ok(Walk::On)
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || SKIPPED.contains(&name)
}
