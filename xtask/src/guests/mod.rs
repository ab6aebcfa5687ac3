//! Guests: everything that becomes a component, from every language.

mod component;
mod rust;
mod script;
pub(crate) mod stamp;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::tree;
use script::Language;

pub(crate) use toolchain::{DEBIAN_PACKAGES, TARGET, Toolchain};

/// How a Rust guest is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Release,
    Debug,
}

/// Builds the standard plugins into `target/plugins/NAME.wasm`.
pub(crate) fn build_plugins(toolchain: Toolchain, profile: Profile) -> Result<()> {
    for module in rust::build(&tree::at("plugins"), toolchain, profile)? {
        let bytes = componentize(&module.file)?;
        if !component::has_manifest(&bytes)? {
            bail!(
                "plugin `{}` has no manifest: no custom section `hermes:manifest`",
                module.name
            );
        }
        write(&tree::plugins().join(format!("{}.wasm", module.name)), &bytes)?;
    }
    Ok(())
}

/// Builds the guests of the tests, of every language, into `target/test-guests/NAME.wasm`.
pub(crate) fn build_test_guests(toolchain: Toolchain) -> Result<()> {
    let folder = tree::at("tests/guests");
    if folder.join("Cargo.toml").is_file() {
        for module in rust::build(&folder, toolchain, Profile::Release)? {
            write(
                &tree::test_guests().join(format!("{}.wasm", module.name)),
                &componentize(&module.file)?,
            )?;
        }
    }
    for source in sources(&folder.join("wat"), "wat")? {
        let text = fs::read_to_string(&source).with_context(|| format!("{} can't be read", source.display()))?;
        let bytes = component::assemble(&text).with_context(|| format!("{} is no guest", source.display()))?;
        write(&tree::test_guests().join(format!("{}.wasm", name_of(&source))), &bytes)?;
    }
    for language in [Language::Python, Language::JavaScript] {
        for source in sources(&folder.join(language.folder()), language.extension())? {
            language.build(&source)?;
        }
    }
    Ok(())
}

fn componentize(module: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(module).with_context(|| format!("{} can't be read", module.display()))?;
    component::encode(&bytes).with_context(|| format!("{} can't be made a component", module.display()))
}

/// The files of a folder with an extension, in the order of their names; none where there is no folder.
fn sources(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let mut files = vec![];
    for entry in fs::read_dir(folder).with_context(|| format!("{} can't be listed", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(source: &Path) -> String {
    source
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('_', "-")
}

/// Writes a file unless it has these bytes already, so that what depends on it is not built again for nothing.
fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    fs::write(file, bytes).with_context(|| format!("{} can't be written", file.display()))?;
    eprintln!("xtask: {} ({:.1} kB)", file.display(), bytes.len() as f64 / 1000.0);
    Ok(())
}
