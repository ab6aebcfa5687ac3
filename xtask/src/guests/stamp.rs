//! What a slow build was made from, kept beside its result, so that nothing is built twice from the same.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A digest of the inputs of one result.
pub(crate) struct Stamp {
    file: PathBuf,
    digest: String,
}

impl Stamp {
    /// Of files, and of words that change the result (versions, options), in their order.
    pub(crate) fn of(result: &Path, files: &[PathBuf], words: &[&str]) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        words.hash(&mut hasher);
        for file in files {
            let bytes = fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
            (file.file_name(), bytes).hash(&mut hasher);
        }
        let mut name = result.as_os_str().to_owned();
        name.push(".stamp");
        Ok(Self {
            file: name.into(),
            digest: format!("{:016x}\n", hasher.finish()),
        })
    }

    /// Whether the result was made from the same inputs.
    pub(crate) fn is_fresh(&self) -> bool {
        self.file.with_extension("").exists() && fs::read_to_string(&self.file).is_ok_and(|old| old == self.digest)
    }

    /// Notes that the result is made.
    pub(crate) fn set(&self) -> Result<()> {
        fs::write(&self.file, &self.digest).with_context(|| format!("{} can't be written", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_stale_when_an_input_or_the_result_is_gone() {
        let folder = std::env::temp_dir().join(format!("xtask-stamp-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (input, result) = (folder.join("in"), folder.join("out.wasm"));
        fs::write(&input, "1").unwrap();
        fs::write(&result, "made").unwrap();
        let stamp = |word: &str| Stamp::of(&result, std::slice::from_ref(&input), &[word]).unwrap();
        assert!(!stamp("a").is_fresh());
        stamp("a").set().unwrap();
        assert!(stamp("a").is_fresh());
        assert!(!stamp("b").is_fresh());
        fs::write(&input, "2").unwrap();
        assert!(!stamp("a").is_fresh());
        fs::write(&input, "1").unwrap();
        fs::remove_file(&result).unwrap();
        assert!(!stamp("a").is_fresh());
        fs::remove_dir_all(&folder).unwrap();
    }
}
