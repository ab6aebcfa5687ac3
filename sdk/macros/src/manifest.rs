//! The manifest: read beside `Cargo.toml`, completed from the package, checked, and put into the module.

use std::env;
use std::fs;
use std::path::Path;

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::LitStr;
use toml::{Table, Value};

const KEYS: [&str; 6] = ["name", "version", "description", "toolset", "toolsets", "wants"];

/// The kinds of grants.
const GRANTS: [&str; 8] = [
    "fs",
    "net",
    "secret",
    "blackboard",
    "llm",
    "delegation",
    "lessons",
    "terminal",
];

/// Which kind of plugin the manifest is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tools,
    Strategy,
}

/// A manifest that was checked.
pub(crate) struct Manifest {
    table: Table,
    path: String,
}

impl Manifest {
    /// Reads the manifest at `file`, relative to the package.
    pub(crate) fn read(file: &LitStr, kind: Kind) -> syn::Result<Self> {
        let fail = |message: String| syn::Error::new(file.span(), message);
        let root = env::var("CARGO_MANIFEST_DIR").map_err(|_| fail("CARGO_MANIFEST_DIR is not set".into()))?;
        let path = Path::new(&root).join(file.value());
        let text = fs::read_to_string(&path).map_err(|error| fail(format!("{}: {error}", path.display())))?;
        let mut table: Table = toml::from_str(&text).map_err(|error| fail(format!("{}: {error}", path.display())))?;
        for (key, variable) in [
            ("name", "CARGO_PKG_NAME"),
            ("version", "CARGO_PKG_VERSION"),
            ("description", "CARGO_PKG_DESCRIPTION"),
        ] {
            if !table.contains_key(key)
                && let Ok(value) = env::var(variable)
            {
                table.insert(key.into(), Value::String(value));
            }
        }
        check(&table, kind).map_err(|message| fail(format!("{}: {message}", path.display())))?;
        Ok(Self {
            table,
            path: path.to_string_lossy().into_owned(),
        })
    }

    /// The text under `key`, empty if there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.table.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The toolsets that a strategy would like.
    pub(crate) fn toolsets(&self) -> Vec<&str> {
        self.table
            .get("toolsets")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// The names of the blackboard spaces that it wants.
    pub(crate) fn spaces(&self) -> Vec<&str> {
        let wants = self.table.get("wants").and_then(Value::as_array).into_iter().flatten();
        let grants = wants.filter_map(|want| want.get("grant").and_then(Value::as_str));
        grants
            .filter_map(|grant| grant.strip_prefix("blackboard:"))
            .map(|name| name.trim_end_matches(":ro"))
            .collect()
    }

    /// The section, and a reason for cargo to build again when the file changes.
    pub(crate) fn tokens(&self) -> TokenStream {
        let text = self.table.to_string();
        let (bytes, length, path) = (Literal::byte_string(text.as_bytes()), text.len(), &self.path);
        quote! {
            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code)]
            #[used]
            #[unsafe(link_section = "hermes:manifest")]
            static MANIFEST: [u8; #length] = *#bytes;
            const _: &[u8] = ::core::include_bytes!(#path);
        }
    }
}

fn check(table: &Table, kind: Kind) -> Result<(), String> {
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("there is no key `{key}`; there are {}", KEYS.join(", ")));
    }
    let text = |key: &str| match table.get(key).map(Value::as_str) {
        Some(Some(text)) if !text.trim().is_empty() => Ok(text),
        _ => Err(format!("`{key}` must be a text that is not empty")),
    };
    let name = text("name")?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > 64 || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain) {
        return Err(format!(
            "`name` is `{name}`: it begins with a-z and has 1 to 64 of a-z, 0-9 and `-`"
        ));
    }
    if text("version")?.split('.').count() < 3 {
        return Err("`version` must be a semantic version, for example `0.1.0`".into());
    }
    text("description")?;
    match kind {
        Kind::Tools if table.contains_key("toolsets") => return Err("`toolsets` is for strategies".into()),
        Kind::Strategy if table.contains_key("toolset") => return Err("`toolset` is for tools".into()),
        Kind::Tools if table.contains_key("toolset") => drop(text("toolset")?),
        _ => {}
    }
    if let Some(toolsets) = table.get("toolsets")
        && !toolsets.as_array().is_some_and(|names| names.iter().all(Value::is_str))
    {
        return Err("`toolsets` must be a list of names".into());
    }
    check_wants(table)
}

fn check_wants(table: &Table) -> Result<(), String> {
    const EXAMPLE: &str = "each of `[[wants]]` has a `grant` and a `reason`, both texts, and nothing else";
    let Some(wants) = table.get("wants") else { return Ok(()) };
    for want in wants.as_array().ok_or(EXAMPLE)? {
        let want = want.as_table().ok_or(EXAMPLE)?;
        let filled = |key: &str| {
            want.get(key)
                .and_then(Value::as_str)
                .is_some_and(|text| !text.trim().is_empty())
        };
        if want.len() != 2 || !filled("grant") || !filled("reason") {
            return Err(EXAMPLE.into());
        }
        check_grant(want.get("grant").and_then(Value::as_str).unwrap_or_default())?;
    }
    Ok(())
}

/// Whether a grant is of a kind that there is. What stands behind the kind is the host's to read.
fn check_grant(grant: &str) -> Result<(), String> {
    let (kind, exact) = grant.split_once(':').unwrap_or((grant, ""));
    if !GRANTS.contains(&kind) {
        return Err(format!(
            "`grant` is `{grant}`, and there is no `{kind}`; there are {}",
            GRANTS.join(", ")
        ));
    }
    if kind == "fs" && !["", "rw"].contains(&exact) {
        return Err(format!(
            "`grant` is `{grant}`: which folders is the operator's affair; there are `fs` and `fs:rw`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: Kind, extra: &str) -> Result<(), String> {
        let head = "name = \"a-b\"\nversion = \"0.1.0\"\ndescription = \"Does it.\"\n";
        check(&toml::from_str(&format!("{head}{extra}")).unwrap(), kind)
    }

    #[test]
    fn manifests_are_checked() {
        assert_eq!(verdict(Kind::Tools, "toolset = \"filesystem\""), Ok(()));
        assert_eq!(
            verdict(Kind::Strategy, "[[wants]]\ngrant = \"llm\"\nreason = \"Thinks.\""),
            Ok(())
        );
        for (kind, extra) in [
            (Kind::Strategy, "toolset = \"x\""),
            (Kind::Tools, "toolsets = [\"x\"]"),
            (Kind::Tools, "wishes = 1"),
            (Kind::Strategy, "toolsets = [1]"),
            (Kind::Tools, "[[wants]]\ngrant = \"llm\""),
        ] {
            assert!(verdict(kind, extra).is_err(), "{extra}");
        }
        let asks = |grant: &str| {
            let want = format!("[[wants]]\ngrant = \"{grant}\"\nreason = \"Needs it.\"");
            verdict(Kind::Tools, &want)
        };
        for grant in [
            "fs",
            "fs:rw",
            "net:GET@api.example.org",
            "blackboard:glossary:ro",
            "secret:x@a.org",
            "lessons",
        ] {
            assert_eq!(asks(grant), Ok(()), "{grant}");
        }
        for (grant, words) in [
            ("fss", "there is no `fss`; there are fs, net,"),
            ("Net", "there is no `Net`"),
            ("fs:ro", "there are `fs` and `fs:rw`"),
            (" fs", "there is no ` fs`"),
        ] {
            assert!(asks(grant).unwrap_err().contains(words), "{grant}");
        }
        let bad = "name = \"A\"\nversion = \"1.0.0\"\ndescription = \"x\"";
        assert!(
            check(&toml::from_str(bad).unwrap(), Kind::Tools)
                .unwrap_err()
                .contains("`name`")
        );
    }
}
