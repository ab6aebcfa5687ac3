//! What a flag goes through before a run gives it, asked before the flag is named to an operator: what would be refused is not offered.

use std::path::PathBuf;

use super::{Asker, asked_for, missing_key};
use crate::plugin::grant::{Access, FolderGrant, GivenBy, Grant, GrantError, Kind};
use crate::plugin::reader::GrantReader;

/// What the flags of a run are held against besides its plugins' manifests.
#[derive(Debug, Clone)]
pub struct FlagCheck {
    /// What they are read with.
    pub reader: GrantReader,
    /// The plugins that the run reads from files.
    pub components: Vec<PathBuf>,
    /// The script that its model is played from.
    pub script: Option<PathBuf>,
}

impl FlagCheck {
    /// Whether tools that have this folder can't rewrite what the run uses.
    ///
    /// # Errors
    /// They can.
    pub fn spares(&self, folder: &FolderGrant) -> Result<(), GrantError> {
        let mut components = self.components.iter();
        components.try_for_each(|component| self.reader.context().spares(folder, component))?;
        let mut script = self.script.iter();
        script.try_for_each(|script| self.reader.context().spares_script(folder, script))
    }

    /// Whether a flag with this right gives it to `asker`, whose manifest asks for it where there is one.
    ///
    /// # Errors
    /// The flag would be refused, or it would get less by it.
    pub(super) fn gives(&self, right: &str, asker: Asker<'_>) -> Result<(), GrantError> {
        if is_folder(right) && !is_to_one_of(right, &asker.rights.folders()) {
            return Err(GrantError::new(right, "it is none of the folders that are granted"));
        }
        let allowed = self.reader.parse(right, GivenBy::Flag)?;
        if let Grant::Fs(folder) = &allowed.grant {
            self.spares(folder)?;
        }
        // Of an agent only its tools are asked for their manifests.
        if asker.is_tool && missing_key(&allowed, asker.manifest).is_some() {
            asked_for(&allowed, asker.manifest).map_err(|why| GrantError::new(right, why))?;
        }
        Ok(())
    }
}

fn is_folder(right: &str) -> bool {
    right.split(':').next() == Some(Kind::Fs.name())
}

/// Whether a right is to a folder that is among these, to be read or written. No other is looked up: whoever asks would choose what the host looks at.
fn is_to_one_of(right: &str, folders: &[FolderGrant]) -> bool {
    let is_to = |folder: &FolderGrant, access| {
        let folder = FolderGrant {
            access,
            ..folder.clone()
        };
        Grant::Fs(folder).to_string() == right
    };
    let accesses = [Access::Read, Access::Write];
    folders
        .iter()
        .any(|folder| accesses.into_iter().any(|access| is_to(folder, access)))
}
