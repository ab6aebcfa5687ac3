//! What a plugin says that it wants: TOML in the custom section `hermes:manifest`, or in a file beside the component. It is read and never run,
//! and it only asks.

use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

use crate::engine::precheck::LoadError;
use crate::engine::source;
use crate::plugin::grant::{Kind, SecretGrant, is_name as is_name_in_grants};
use crate::text;

/// The custom section.
const SECTION: &str = "hermes:manifest";
/// Bytes of a manifest.
const MOST_BYTES: usize = 64 << 10;
/// Wants of a manifest.
const MOST_WANTS: usize = 64;
/// Characters of a version.
const MOST_VERSION: usize = 40;
/// Characters of a name behind a kind of right.
const MOST_NAME: usize = 64;
/// Characters of a reason or a description.
const MOST_WORDS: usize = 300;
/// How deep modules and components may lie inside one another by any `limits.parts.depth`.
const DEEPEST: usize = 100;

/// What a plugin says of itself and wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence, cleaned.
    pub description: String,
    /// The toolset that its tools form.
    pub toolset: Option<String>,
    /// Toolsets that a strategy would like.
    pub toolsets: Vec<String>,
    /// What it wants.
    pub wants: Vec<Want>,
    /// The text, where it lay in a file beside the component.
    pub beside: Option<String>,
}

/// One thing that a plugin wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// What.
    pub grant: Wanted,
    /// Why, in its words, cleaned.
    pub reason: String,
}

/// A kind of right, or one of it, as a manifest writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The kind.
    pub kind: Kind,
    /// More exactly: `rw` of `fs`, a host, a name.
    pub detail: Option<String>,
}

impl Wanted {
    /// The flag that would allow it, with a place for what only the operator knows.
    pub fn flag(&self) -> String {
        let name = self.kind.name();
        match (self.kind, self.detail.as_deref(), self.kind.to_fill_in()) {
            (Kind::Fs, Some("rw"), Some(dir)) => format!("--allow {name}:{dir}:rw"),
            (Kind::Fs, _, Some(any)) | (_, None, Some(any)) => format!("--allow {name}:{any}"),
            (Kind::Delegation | Kind::Lessons, ..) => format!("without --deny {name}"),
            _ => format!("--allow {}", text::shell_word(&self.to_string())),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}:{detail}", self.kind.name()),
            None => f.write_str(self.kind.name()),
        }
    }
}

/// A manifest that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

impl From<ManifestError> for LoadError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    toolset: Option<String>,
    #[serde(default)]
    toolsets: Vec<String>,
    #[serde(default)]
    wants: Vec<WrittenWant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWant {
    grant: String,
    #[serde(default)]
    reason: String,
}

impl Manifest {
    /// Reads a manifest's text.
    ///
    /// # Errors
    /// It is no such TOML, or over a cap.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MOST_BYTES {
            return Err(ManifestError(format!(
                "it has {} bytes, {MOST_BYTES} are the most",
                text.len()
            )));
        }
        let written: Written = toml::from_str(text).map_err(|e| ManifestError(text::line(&e.to_string(), 300)))?;
        if !is_name(&written.name) {
            let shown = text::line(&written.name, 64);
            return Err(ManifestError(format!(
                "name = {shown:?}: a name is 1 to 64 of a-z, 0-9 and -, a letter first"
            )));
        }
        if !is_version(&written.version) {
            let shown = text::line(&written.version, 64);
            return Err(ManifestError(format!(
                "version = {shown:?}: a version is up to {MOST_VERSION} of 0-9, A-Z, a-z, ., + and -"
            )));
        }
        if written.wants.len() > MOST_WANTS {
            return Err(ManifestError(format!(
                "it has {} wants, {MOST_WANTS} are the most",
                written.wants.len()
            )));
        }
        let toolsets = written.toolset.iter().chain(&written.toolsets);
        if let Some(odd) = toolsets.clone().find(|name| !is_toolset(name)) {
            return Err(ManifestError(format!("{:?} is no toolset's name", text::line(odd, 64))));
        }
        let wants = written.wants.iter().map(want).collect::<Result<_, _>>()?;
        Ok(Self {
            name: written.name,
            version: written.version,
            description: text::line(&written.description, MOST_WORDS),
            toolset: written.toolset,
            toolsets: written.toolsets,
            wants,
            beside: None,
        })
    }

    /// Reads the text of a file beside a component.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn beside(text: &str) -> Result<Self, ManifestError> {
        Ok(Self {
            beside: Some(text.to_owned()),
            ..Self::parse(text)?
        })
    }
}

fn want(written: &WrittenWant) -> Result<Want, ManifestError> {
    let (kind, detail) = match written.grant.split_once(':') {
        Some((kind, detail)) => (kind, Some(detail)),
        None => (written.grant.as_str(), None),
    };
    let kind: Kind = kind
        .parse()
        .map_err(|e: crate::plugin::grant::GrantError| ManifestError(e.to_string()))?;
    let detail = detail.filter(|d| !d.is_empty());
    detail.map_or(Ok(()), |detail| check_detail(kind, detail))?;
    Ok(Want {
        grant: Wanted {
            kind,
            detail: detail.map(str::to_owned),
        },
        reason: text::line(&written.reason, MOST_WORDS),
    })
}

/// Whether this may stand behind a kind of right. It is told among the host's own words, so it is no text of the plugin's: a rule, a name, or nothing.
fn check_detail(kind: Kind, detail: &str) -> Result<(), ManifestError> {
    let bad = |what: &str| {
        let shown = text::line(&format!("{}:{detail}", kind.name()), 200);
        Err(ManifestError(format!("grant = {shown:?}: {what}")))
    };
    let is_short = |name: &str| name.len() <= MOST_NAME;
    match kind {
        Kind::Net => {
            let rule = detail.parse::<crate::egress::NetRule>();
            rule.map(drop).map_err(|e| ManifestError(e.to_string()))
        }
        Kind::Secret => SecretGrant::parse(detail).map(drop).or_else(|e| bad(&e)),
        Kind::Fs if detail == "rw" => Ok(()),
        Kind::Fs => bad("which folders is the operator's affair; there are fs and fs:rw"),
        Kind::Blackboard => match detail.strip_suffix(":ro").unwrap_or(detail) {
            space if is_short(space) && is_name_in_grants(space) => Ok(()),
            _ => bad("a space's name is up to 64 of A-Z, a-z, 0-9, -, _ and ."),
        },
        Kind::Llm | Kind::Terminal if is_short(detail) && detail.bytes().all(is_of_names) => Ok(()),
        Kind::Llm | Kind::Terminal => bad("a name is up to 64 of A-Z, a-z, 0-9, -, _, ., :, / and +"),
        Kind::Delegation | Kind::Lessons => bad("nothing stands behind it"),
    }
}

/// What the names of models and programs are made of.
fn is_of_names(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+')
}

/// Whether this may stand beside a plugin's name, among the host's own words.
pub fn is_version(version: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-');
    version.len() <= MOST_VERSION && version.bytes().all(good)
}

fn is_name(name: &str) -> bool {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    good && name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_toolset(name: &str) -> bool {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    good && (1..=64).contains(&name.len())
}

/// The manifest in a component's bytes, else in the file `NAME.toml` beside `NAME.wasm`; none where there is neither.
///
/// # Errors
/// It is malformed, or there is more than one.
pub fn read(bytes: &[u8], path: Option<&Path>) -> Result<Option<Manifest>, ManifestError> {
    if let Some(section) = section(bytes)? {
        let text = std::str::from_utf8(section).map_err(|_| ManifestError("it is no UTF-8 text".to_owned()))?;
        return Manifest::parse(text).map(Some);
    }
    // A file that is called as a manifest is none of itself.
    let beside = path
        .map(|p| p.with_extension("toml"))
        .filter(|beside| path != Some(beside.as_path()));
    let Some(path) = beside else {
        return Ok(None);
    };
    let Some(text) = text_of(&path).map_err(|what| ManifestError(format!("{} {what}", text::path(&path))))? else {
        return Ok(None);
    };
    let manifest = Manifest::beside(&text).map_err(|e| ManifestError(format!("{}: {e}", text::path(&path))))?;
    Ok(Some(manifest))
}

/// The text of the file at `path`, none where there is none; or what is wrong with it, in words that follow the path. It is opened once: what was
/// looked at is what is read.
fn text_of(path: &Path) -> Result<Option<String>, String> {
    let unreadable = |e: io::Error| format!("can't be read: {e}");
    let file = match source::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(e)),
    };
    let odd = || format!("is no regular file of {MOST_BYTES} bytes at most");
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(odd());
    }
    let mut text = String::new();
    let read = file.take(MOST_BYTES as u64 + 1).read_to_string(&mut text);
    match read.map_err(unreadable)? {
        bytes if bytes > MOST_BYTES => Err(odd()),
        _ => Ok(Some(text)),
    }
}

/// The manifest's section, at the top level or in a module inside. Bytes that can't be parsed, or nest too deep, have none: the check of the bytes says
/// why. The parser keeps something for each level that it is in.
fn section(bytes: &[u8]) -> Result<Option<&[u8]>, ManifestError> {
    let (mut found, mut depth): (Option<&[u8]>, usize) = (None, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) if depth < DEEPEST => depth += 1,
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) | Err(_) => return Ok(None),
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CustomSection(custom)) if custom.name() == SECTION => {
                let data = custom.data();
                if found.is_some_and(|first| first != data) {
                    return Err(ManifestError("the component has more than one".to_owned()));
                }
                found = Some(data);
            }
            Ok(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_and_cleaned() {
        let text = "name = \"files\"\nversion = \"0.1.0\"\ntoolset = \"filesystem\"\n[[wants]]\ngrant = \"fs:rw\"\nreason = \"a\\u001bb\"\n";
        let manifest = Manifest::parse(text).expect("a manifest");
        assert_eq!(manifest.toolset.as_deref(), Some("filesystem"));
        assert_eq!(
            manifest.wants.iter().map(|want| want.grant.kind).collect::<Vec<_>>(),
            [Kind::Fs]
        );
        assert_eq!(manifest.wants[0].reason, "a\u{fffd}b");
        assert_eq!(manifest.wants[0].grant.flag(), "--allow fs:DIR:rw");
    }

    #[test]
    fn odd_manifests_are_refused() {
        for text in [
            "",
            "name = \"Bad Name\"",
            "name = \"x\"\nextra = 1",
            "name = \"x\"\n[[wants]]\ngrant = \"everything\"",
            "name = \"x\"\n[[wants]]\ngrant = \"net:ftp://x\"",
            "name = \"x\"\n[[wants]]\ngrant = \"secret:x\"",
            "name = \"x\"\ntoolset = \"a b\"",
            "name = \"x\"\nversion = \"1.0.0, checked\"",
        ] {
            assert!(Manifest::parse(text).is_err(), "{text}");
        }
        let version = |characters: usize| Manifest::parse(&format!("name = \"x\"\nversion = \"{:1<characters$}\"", ""));
        assert!(version(0).is_ok() && version(MOST_VERSION).is_ok() && version(MOST_VERSION + 1).is_err());
        let many = format!("name = \"x\"\n{}", "[[wants]]\ngrant = \"fs\"\n".repeat(65));
        assert!(Manifest::parse(&many).is_err());
    }

    #[test]
    fn what_stands_behind_a_kind_is_a_rule_or_a_name_and_no_text() {
        let asks = |grant: &str| Manifest::parse(&format!("name = \"x\"\n[[wants]]\ngrant = \"{grant}\"\n"));
        let longest = "a".repeat(MOST_NAME);
        for grant in [
            "fs",
            "fs:",
            "fs:rw",
            "net:GET@http://*.x.org:8080",
            "secret:x@a.org",
            "blackboard:glossary",
            "blackboard:glossary.v2:ro",
            "llm:careful",
            "llm:openai/gpt-5:free",
            "terminal:g++",
            "lessons",
            format!("blackboard:{longest}:ro").as_str(),
            format!("llm:{longest}").as_str(),
        ] {
            assert!(asks(grant).is_ok(), "{grant}");
        }
        for grant in [
            "fs:ro",
            "fs:./papers",
            "fs:rw, which was verified",
            "net:x.org, which was verified",
            "secret:a b@x.org",
            "blackboard:its own run",
            "blackboard:..",
            "blackboard:a:rw",
            "blackboard:a\u{2800}b",
            "llm:default; nothing leaves this machine",
            "terminal:git (verified)",
            "delegation:x",
            "lessons:x",
            format!("blackboard:{longest}a").as_str(),
            format!("llm:{longest}a").as_str(),
        ] {
            assert!(asks(grant).is_err(), "{grant}");
        }
    }

    #[test]
    fn the_section_is_found_in_the_bytes() {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        let text = b"name = \"x\"";
        let content: Vec<u8> = [&[15u8][..], b"hermes:manifest", text].concat();
        bytes.push(0);
        bytes.push(u8::try_from(content.len()).expect("short"));
        bytes.extend_from_slice(&content);
        assert_eq!(read(&bytes, None).expect("readable").expect("there").name, "x");
        assert_eq!(read(b"\0asm\x0d\0\x01\0", None), Ok(None));
    }

    #[test]
    fn the_section_is_looked_for_as_deep_as_a_component_may_nest() {
        let mut limits = crate::limits::Limits::default();
        assert!(limits.set("parts.depth", DEEPEST as u64).is_ok());
        assert!(limits.set("parts.depth", DEEPEST as u64 + 1).is_err());
        let header = b"\0asm\x0d\0\x01\0";
        let innermost = [&header[..], &[0, 26, 15], b"hermes:manifestname = \"x\""].concat();
        let nested = |depth: usize| {
            (0..depth).fold(innermost.clone(), |inner, _| {
                let length = u16::try_from(inner.len()).expect("short");
                // Two bytes of LEB128, whatever the number.
                let length = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
                [&header[..], &[4], &length, &inner].concat()
            })
        };
        let name = |depth| read(&nested(depth), None).map(|found| found.map(|manifest| manifest.name));
        assert_eq!(name(0), Ok(Some("x".to_owned())));
        assert_eq!(name(DEEPEST), Ok(Some("x".to_owned())));
        assert_eq!(name(DEEPEST + 1), Ok(None));
    }

    #[test]
    fn what_lies_beside_a_component_is_read_where_it_is_a_small_file_and_waited_for_nowhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let (bytes, path) = (b"\0asm\x0d\0\x01\0", dir.path().join("x.wasm"));
        let beside = path.with_extension("toml");
        let name = || read(bytes, Some(&path)).map(|found| found.map(|manifest| manifest.name));
        let is_odd = |what: &str| name().expect_err(what).to_string().contains("no regular file");
        assert_eq!(name(), Ok(None));
        // Filled up to the last byte that it may have, and one more.
        let name_alone = "name = \"x\"\n";
        let text = |bytes: usize| name_alone.to_owned() + &" ".repeat(bytes - name_alone.len());
        std::fs::write(&beside, text(MOST_BYTES)).expect("written");
        assert_eq!(name(), Ok(Some("x".to_owned())));
        std::fs::write(&beside, text(MOST_BYTES + 1)).expect("written");
        assert!(is_odd("too long"));
        // What has no length: a link to a device that never ends, and a pipe that nobody writes.
        std::fs::remove_file(&beside).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &beside).expect("linked");
        assert!(is_odd("a device"));
        std::fs::remove_file(&beside).expect("removed");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &beside, fifo, 0o600.into(), 0).expect("made");
        assert!(is_odd("a pipe"));
    }
}
