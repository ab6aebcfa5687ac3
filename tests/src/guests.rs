//! Guests: those that are built, and odd ones made on the spot.

use std::path::PathBuf;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, PackageId, Resolve};

use crate::host::{root, target};

/// A guest of the tests, `target/test-guests/NAME.wasm`.
pub fn built(name: &str) -> PathBuf {
    present(target().join("test-guests").join(format!("{name}.wasm")))
}

/// A standard plugin, `target/plugins/NAME.wasm`.
pub fn plugin(name: &str) -> PathBuf {
    present(target().join("plugins").join(format!("{name}.wasm")))
}

/// A standard plugin as `wasm-tools component new` makes it of cargo's module: with the crate behind that command, and
/// without what `cargo xtask build` does besides.
pub fn componentized(name: &str) -> Vec<u8> {
    let folder = target().join("guests/wasm32-unknown-unknown/release");
    encode(&std::fs::read(present(folder.join(format!("{name}.wasm")))).unwrap())
}

fn present(path: PathBuf) -> PathBuf {
    assert!(
        path.is_file(),
        "{} is missing; `cargo xtask test` makes it",
        path.display()
    );
    path
}

/// Assembles WebAssembly text. A component is taken as it is; a core module names its world in a comment `;; world: strategy`, and what it imports
/// beside that world in others, `;; import: wasi:io/poll@0.2.0`, which `foreign` declares.
pub fn assemble(text: &str, foreign: &[&str]) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap_or_else(|e| panic!("{e}"));
    let said = |key: &str| {
        let words = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(";; ")?.strip_prefix(key));
        words.map(|words| words.trim().to_owned()).collect::<Vec<_>>()
    };
    let Some(world) = said("world:").pop() else {
        return module;
    };
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit")).unwrap();
    for wit in foreign {
        resolve.push_str("foreign.wit", wit).unwrap();
    }
    let imports: String = said("import:").iter().map(|name| format!("import {name}; ")).collect();
    let odd = format!("package test:odd;\nworld odd {{ include hermes:plugin/{world}@0.1.0; {imports} }}\n");
    let package = resolve.push_str("odd.wit", &odd).unwrap();
    let world = resolve.select_world(&[package], Some("odd")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    encode(&module)
}

/// A strategy against a contract of version 0.2.0 that is otherwise ours.
pub fn newer_contract() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root().join("wit")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let text = std::fs::read_to_string(&path).unwrap().replace("0.1.0", "0.2.0");
            std::fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
        }
    }
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder.path()).unwrap();
    component(&resolve, package, "strategy")
}

/// A strategy that imports a newer `llm` beside our own interfaces.
pub fn newer_llm() -> Vec<u8> {
    importing(
        "package hermes:plugin@0.2.0;\ninterface llm { models: func() -> list<string>; }\n",
        "hermes:plugin/llm@0.2.0",
    )
}

/// A strategy that imports something of somebody else.
pub fn unknown_import() -> Vec<u8> {
    importing(
        "package acme:rockets@1.0.0;\ninterface launch { fire: func(); }\n",
        "acme:rockets/launch@1.0.0",
    )
}

/// A component that exports nothing of ours.
pub fn other_world() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let text = "package acme:rockets@1.0.0;\ninterface launch { fire: func(); }\nworld rocket { export launch; }\n";
    let package = resolve.push_str("rocket.wit", text).unwrap();
    component(&resolve, package, "rocket")
}

/// A strategy that imports `interface`, which `wit` declares.
pub fn importing(wit: &str, interface: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit")).unwrap();
    resolve.push_str("foreign.wit", wit).unwrap();
    let world = format!("package test:odd;\nworld odd {{ import {interface}; export hermes:plugin/agent@0.1.0; }}\n");
    let package = resolve.push_str("odd.wit", &world).unwrap();
    component(&resolve, package, "odd")
}

/// A component of this world whose exports trap.
fn component(resolve: &Resolve, package: PackageId, world: &str) -> Vec<u8> {
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = dummy_module(resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    encode(&module)
}

/// A component from a module that knows its world.
fn encode(module: &[u8]) -> Vec<u8> {
    let encoder = ComponentEncoder::default().validate(true);
    let mut encoder = encoder.module(module).unwrap_or_else(|e| panic!("{e:#}"));
    encoder.encode().unwrap_or_else(|e| panic!("{e:#}"))
}
