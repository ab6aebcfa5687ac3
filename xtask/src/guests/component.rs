//! From a core module to a component: types embedded, manifest hoisted, the whole validated.

use anyhow::{Context as _, Result, bail};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::tree;

/// The custom section that holds a plugin's manifest.
const MANIFEST_SECTION: &str = "hermes:manifest";

/// Makes a component from a core module that knows its world, as those of `wit-bindgen` do.
///
/// The manifest, if the module has one, is moved from the module to the component's top level, where a reader finds it
/// without walking into nested modules.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let (module, manifest) = take_manifest(module)?;
    let mut component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .context("the module's component types can't be read")?
        .encode()
        .context("the module does not fit its world")?;
    if let Some(manifest) = manifest {
        std::str::from_utf8(&manifest).context("the manifest is not text")?;
        append_section(&mut component, MANIFEST_SECTION, &manifest)?;
    }
    wasmparser::Validator::new()
        .validate_all(&component)
        .context("the component is not valid")?;
    Ok(component)
}

/// Assembles WebAssembly text. A component is taken as it is; a core module names its world of this project's contract in a
/// comment `;; world: NAME`.
pub(crate) fn assemble(text: &str) -> Result<Vec<u8>> {
    let mut module = wat::parse_str(text)?;
    if !Parser::is_core_wasm(&module) {
        return Ok(module);
    }
    let world = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(";; world:"))
        .context("a core module must name its world in a comment `;; world: NAME`")?;
    let mut contract = Resolve::default();
    let (package, _) = contract.push_path(tree::at("wit"))?;
    let world = contract.select_world(&[package], Some(world.trim()))?;
    embed_component_metadata(&mut module, &contract, world, StringEncoding::UTF8)?;
    encode(&module)
}

/// Whether a component has a manifest at its top level.
pub(crate) fn has_manifest(component: &[u8]) -> Result<bool> {
    // Sections of nested modules come between a start and an end payload of their own.
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 0 && section.name() == MANIFEST_SECTION => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// Splits a core module into all but its manifest, and the manifest.
fn take_manifest(module: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    const HEADER: usize = 8;
    let mut rest = module.get(..HEADER).context("the module has no header")?.to_vec();
    let mut manifest = None;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::CustomSection(section) = &payload
            && section.name() == MANIFEST_SECTION
        {
            if manifest.replace(section.data().to_vec()).is_some() {
                bail!("the module has two `{MANIFEST_SECTION}` sections");
            }
        } else if let Some((id, range)) = payload.as_section() {
            push_section(&mut rest, id, &module[range])?;
        }
    }
    Ok((rest, manifest))
}

fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) -> Result<()> {
    let mut body = Vec::with_capacity(name.len() + data.len() + 5);
    push_leb128(&mut body, name.len())?;
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    push_section(component, 0, &body)
}

fn push_section(binary: &mut Vec<u8>, id: u8, body: &[u8]) -> Result<()> {
    binary.push(id);
    push_leb128(binary, body.len())?;
    binary.extend_from_slice(body);
    Ok(())
}

fn push_leb128(binary: &mut Vec<u8>, value: usize) -> Result<()> {
    let mut value = u32::try_from(value).context("a section is larger than 4 GiB")?;
    while value >= 0x80 {
        binary.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    binary.push(value as u8);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURE_TOOL: &str = r#";; world: pure-tool
        (module
          (memory (export "memory") 1)
          (@custom "hermes:manifest" "name = \"tiny\"")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
          (func (export "hermes:plugin/toolset@0.1.0#list-tools") (result i32) i32.const 0)
          (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32) i32.const 0))"#;

    #[test]
    fn the_manifest_moves_to_the_top_level() {
        let core = wat::parse_str(PURE_TOOL).unwrap();
        let (rest, manifest) = take_manifest(&core).unwrap();
        assert_eq!(manifest.as_deref(), Some(b"name = \"tiny\"".as_slice()));
        assert_eq!(take_manifest(&rest).unwrap().1, None);

        let component = assemble(PURE_TOOL).unwrap();
        assert!(has_manifest(&component).unwrap());
        let times = component
            .windows(MANIFEST_SECTION.len())
            .filter(|part| *part == MANIFEST_SECTION.as_bytes())
            .count();
        assert_eq!(times, 1, "moved, not copied");
    }

    #[test]
    fn a_core_module_must_name_its_world() {
        let error = assemble("(module)").unwrap_err().to_string();
        assert!(error.contains(";; world: NAME"), "{error}");
        assert!(!Parser::is_core_wasm(&assemble("(component)").unwrap()));
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (value, expected) in [
            (0, vec![0]),
            (127, vec![127]),
            (128, vec![0x80, 1]),
            (16_384, vec![0x80, 0x80, 1]),
        ] {
            let mut bytes = vec![];
            push_leb128(&mut bytes, value).unwrap();
            assert_eq!(bytes, expected);
        }
    }
}
