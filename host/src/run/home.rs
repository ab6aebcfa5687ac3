//! Whether the home folder can be one, looked at before its database is opened or made.

use std::path::Path;

use crate::config::Config;
use crate::run::HostError;
use crate::store::Store;

/// Looks at the home folder, and changes nothing. One that is not there yet is as good as one that is.
///
/// # Errors
/// A file is in its way, or it is a backup, which is no home but what a home's `host` holds.
pub fn check_home(config: &Config) -> Result<(), HostError> {
    let (home, state) = (&config.home, &config.state_dir);
    let wrong = |what: String| {
        Err(HostError::Home {
            path: home.display().to_string(),
            what,
        })
    };
    if let Some(file) = in_the_way(state) {
        return wrong(format!(
            "{} is no folder; set HERMES_HOME to one, or to a place for one",
            file.display()
        ));
    }
    if Store::lies_in(home) && !Store::lies_in(state) {
        return wrong(format!(
            "it looks like a backup; move it to HOME/host, and set HERMES_HOME to HOME: mkdir -p HOME && mv {} HOME/host",
            home.display()
        ));
    }
    Ok(())
}

/// What stands in the place of this folder or of one above it, and is no folder.
fn in_the_way(folder: &Path) -> Option<&Path> {
    let found = folder.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    (!found.is_dir()).then_some(found)
}
