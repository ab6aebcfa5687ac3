//! Python and JavaScript guests: each once without any WASI import, once with all that its runtime wants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::stamp::Stamp;
use super::{name_of, sources};
use crate::{process, setup, tree};

/// A language whose guests carry an interpreter inside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Language {
    Python,
    JavaScript,
}

impl Language {
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "js",
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Python => "py",
            Self::JavaScript => "js",
        }
    }

    /// Builds `NAME.EXT` into `EXT-NAME.wasm` and `EXT-NAME-wasi.wasm`.
    ///
    /// The world is the one that a comment `world: NAME` names, else `tool`.
    pub(super) fn build(self, source: &Path) -> Result<()> {
        let text = fs::read_to_string(source).with_context(|| format!("{} can't be read", source.display()))?;
        let world = text
            .lines()
            .find_map(|line| line.split_once(" world: "))
            .map_or("tool", |(_, world)| world.trim());
        for (suffix, options) in [("", &["--stub-wasi"][..]), ("-wasi", &[])] {
            let result = format!("{}-{}{suffix}.wasm", self.extension(), name_of(source));
            self.build_one(source, world, options, &tree::test_guests().join(result))?;
        }
        Ok(())
    }

    fn build_one(self, source: &Path, world: &str, options: &[&str], result: &Path) -> Result<()> {
        let mut inputs = sources(&tree::at("wit"), "wit")?;
        inputs.extend([source.to_owned(), self.pinned_versions()]);
        let stamp = Stamp::of(result, &inputs, &[&[world], options].concat())?;
        if stamp.is_fresh() {
            return Ok(());
        }
        fs::create_dir_all(tree::test_guests())?;
        eprintln!("xtask: {} ({self:?}, world {world})", result.display());
        process::run(
            self.compiler(source, world, options, result)
                .current_dir(tree::target()),
        )?;
        stamp.set()
    }

    fn pinned_versions(self) -> PathBuf {
        match self {
            Self::Python => tree::at("xtask/tools/python.txt"),
            Self::JavaScript => tree::at("xtask/tools/package-lock.json"),
        }
    }

    fn compiler(self, source: &Path, world: &str, options: &[&str], result: &Path) -> Command {
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new(setup::python_tool("componentize-py"));
                // Bytecode beside the sources would lie about in the work tree.
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
                    .arg("-d")
                    .arg(tree::at("wit"))
                    .args(["-w", world, "componentize"]);
                command.arg(source.file_stem().unwrap_or_default());
                command.arg("-p").arg(source.parent().unwrap_or(Path::new(".")));
                command
            }
            Self::JavaScript => {
                let mut command = Command::new(setup::node_tool("componentize-qjs"));
                command.arg("--wit").arg(tree::at("wit")).arg("--js").arg(source);
                command.args(["-n", world, "--sync", "--opt-size"]);
                command
            }
        };
        command.args(options).arg("-o").arg(result);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_tells_the_commands_that_are_run() {
        let guide = fs::read_to_string(tree::at("docs/plugin-guide.md")).unwrap();
        for (language, source) in [(Language::Python, "tool.py"), (Language::JavaScript, "tool.js")] {
            let command = language.compiler(Path::new(source), "tool", &["--stub-wasi"], Path::new("tool.wasm"));
            let program = Path::new(command.get_program()).file_name().unwrap().to_string_lossy();
            let arguments = process::show(&command)
                .replace(&tree::at("wit").display().to_string(), "wit")
                // Where the guide's author is, and where the sources are.
                .replace(" -p \"\"", "");
            let arguments = arguments.split_once(' ').unwrap().1;
            let line = format!("{program} {arguments}");
            assert!(guide.lines().any(|told| told == line), "the guide has no line\n{line}");
        }
    }
}
