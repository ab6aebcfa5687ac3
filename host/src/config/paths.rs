//! Where the files of providers are: `~/` is the user's own folder, and a relative path is taken from the folder of the file
//! that it stands in, so that a run finds it wherever it is started. A flag's is taken from the current folder.

use std::path::{Path, PathBuf};

use super::Sources;
use super::draft::Draft;
use super::model::ModelsConfig;
use super::source::Source;

/// Makes the paths in `models`, which `draft` has, absolute.
pub(super) fn resolve(models: &mut ModelsConfig, draft: &Draft, sources: &Sources) {
    for (name, provider) in &mut models.providers {
        for (key, path) in [("key_file", &mut provider.key_file), ("file", &mut provider.file)] {
            if let Some(path) = path {
                let base = base(draft, &["providers", name, key], sources);
                *path = absolute(path, base, home(sources).as_deref());
            }
        }
    }
}

/// The folder that a relative path at this key is taken from.
fn base<'a>(draft: &'a Draft, key: &[&str], sources: &'a Sources) -> Option<&'a Path> {
    // A table that was set whole is the origin of what is in it.
    let origin = (1..=key.len()).rev().find_map(|n| {
        let key: Vec<String> = key[..n].iter().map(|part| (*part).to_owned()).collect();
        draft.origins.get(&key)
    });
    match origin {
        Some(Source::Home { path, .. } | Source::Project { path, .. }) => path.parent(),
        _ => sources.cwd.as_deref(),
    }
}

/// The operator's own folder, `HOME`.
pub(super) fn home(sources: &Sources) -> Option<PathBuf> {
    let home = sources.env.iter().find(|(name, _)| name == "HOME");
    home.map(|(_, value)| PathBuf::from(value))
        .filter(|home| home.is_absolute())
}

fn absolute(path: &Path, base: Option<&Path>, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home, base) {
        (Ok(rest), Some(home), _) => home.join(rest),
        (_, _, Some(base)) => base.join(path),
        _ => path.to_owned(),
    }
}
