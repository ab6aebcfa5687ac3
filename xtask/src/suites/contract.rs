//! Whether guests built against the released contract still load.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wit_parser::{PackageId, Resolve};

use crate::tree;

/// The contract as it was released, never edited. A new release adds a folder beside it.
const RELEASED: &str = "wit/released/0.1.0";

/// Checks each world of the released contract against the one of the same name now.
pub(super) fn check() -> Result<()> {
    check_folders(&tree::at(RELEASED), &tree::at("wit"))
}

/// Every component that targets a world of `released` must fit the world of `current`.
///
/// # Errors
/// Names the world that is gone, or that has another shape.
fn check_folders(released: &Path, current: &Path) -> Result<()> {
    let (released, old_package) = load(released)?;
    for (name, _) in &released.packages[old_package].worlds {
        check_world(&released, old_package, current, name)
            .with_context(|| format!("world `{name}` breaks guests built against the released contract"))?;
    }
    Ok(())
}

fn check_world(released: &Resolve, old_package: PackageId, current: &Path, name: &str) -> Result<()> {
    let (mut both, new_package) = load(current)?;
    let Some(&new) = both.packages[new_package].worlds.get(name) else {
        bail!("the world is gone")
    };
    let old = released.packages[old_package].worlds[name];
    let remap = both.merge(renamed(released.clone(), old_package))?;
    let old = remap.map_world(old, wit_parser::Span::default())?;
    wit_component::semver_check(both, old, new)
}

/// Gives a package another version, so that it can stand beside itself; the check looks at no version.
fn renamed(mut released: Resolve, package: PackageId) -> Resolve {
    let name = &mut released.packages[package].name;
    released.package_names.shift_remove(name);
    if let Some(version) = &mut name.version {
        version.patch += 1_000_000;
    }
    let name = name.clone();
    released.package_names.insert(name, package);
    released
}

fn load(folder: &Path) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(folder)
        .with_context(|| format!("{} is no valid contract", folder.display()))?;
    Ok((resolve, package))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// A copy of the released contract in which one text is replaced by another.
    fn changed(name: &str, file: &str, from: &str, to: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-contract-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(tree::at(RELEASED)).unwrap() {
            let path = entry.unwrap().path();
            let mut text = fs::read_to_string(&path).unwrap();
            if path.file_name().unwrap() == file {
                assert!(text.contains(from), "{file} has no `{from}`");
                text = text.replacen(from, to, 1);
            }
            fs::write(folder.join(path.file_name().unwrap()), text).unwrap();
        }
        folder
    }

    fn verdict(name: &str, file: &str, from: &str, to: &str) -> Result<()> {
        let folder = changed(name, file, from, to);
        let verdict = check_folders(&tree::at(RELEASED), &folder);
        fs::remove_dir_all(&folder).unwrap();
        verdict
    }

    #[test]
    fn additions_are_welcome() {
        verdict("same", "budget.wit", "", "").unwrap();
        verdict(
            "function",
            "budget.wit",
            "spent: func",
            "more: func();\n    spent: func",
        )
        .unwrap();
        verdict(
            "import",
            "worlds.wit",
            "    import session;",
            "    import session;\n    import lessons;",
        )
        .unwrap();
    }

    #[test]
    fn what_breaks_a_guest_is_refused() {
        for (name, file, from, to) in [
            ("renamed", "budget.wit", "remaining: func", "left: func"),
            ("reshaped", "budget.wit", "option<u64>;", "u64;"),
            ("parameter", "budget.wit", "spent: func(dimension:", "spent: func(of:"),
            (
                "field",
                "delegation.wit",
                "max-attempts: u32,",
                "max-attempts: u32, extra: u32,",
            ),
            ("world", "worlds.wit", "world pure-tool", "world purest-tool"),
            ("export", "agent.wit", "run: func", "stop: func();\n    run: func"),
        ] {
            assert!(verdict(name, file, from, to).is_err(), "{name}");
        }
    }
}
