//! What the benchmarks share: a host in a home of its own, guests, a scripted model.

use std::path::{Path, PathBuf};

use hermes_host::config::{Config, Sources};
use hermes_host::run::{CompileIn, Host};

/// Steps that one program holds: few enough for every limit of a run, and so many that the run around them weighs little.
pub(crate) const BATCH: u64 = 4000;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn guest(name: &str) -> PathBuf {
    let path = root().join("target/test-guests").join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing: `cargo xtask bench` builds it",
        path.display()
    );
    path
}

/// Plugins are compiled as the command does it.
pub(crate) fn compiler() -> CompileIn {
    CompileIn::Program(env!("CARGO_BIN_EXE_hermes-host").into())
}

pub(crate) fn host(home: &Path, set: &[&str]) -> Host {
    let set = set.iter().map(|s| (*s).to_owned()).collect();
    let sources = Sources {
        env: Vec::new(),
        cwd: None,
        home: Some(home.to_owned()),
        set,
    };
    Host::open(Config::load(&sources).unwrap(), compiler()).unwrap()
}

/// A scripted model that always has one more word to say.
pub(crate) fn script() -> PathBuf {
    let path = root().join("target/always.toml");
    if !path.exists() {
        let turn = "[[turn]]\n[turn.reply]\ntext = \"Go on.\"\n";
        std::fs::write(&path, turn.repeat(usize::try_from(BATCH).unwrap())).unwrap();
    }
    path
}
