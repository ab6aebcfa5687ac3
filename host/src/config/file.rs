//! Reads a file of the configuration into settings, each with its line.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::value::Raw;
use crate::own_file::{self, Trust};

/// The largest file that is read, in bytes.
const MAX: u64 = 1024 * 1024;

/// One setting of a file.
#[derive(Debug)]
pub(super) struct Line {
    /// Its key, table by table.
    pub(super) path: Vec<String>,
    /// Its value.
    pub(super) value: Raw,
    /// Its line, from 1.
    pub(super) number: usize,
}

/// Whose file of the configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The operator's: what it says is allowed, so nobody else may have written it.
    Operators,
    /// A project's, which may only narrow that.
    Projects,
}

/// The settings of the file at `path`, in key order; none when there is no such file.
pub(super) fn read(path: &Path, whose: Whose) -> Result<Vec<Line>, ConfigError> {
    let Some(text) = text(path, whose)? else {
        return Ok(Vec::new());
    };
    let starts = Starts::of(&text);
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: starts.line_at(error.span().map_or(0, |span| span.start)),
        message: crate::text::line(error.message(), 200),
    };
    let spanned = DeTable::parse(&text).map_err(syntax)?;
    let values: toml::Table = toml::from_str(&text).map_err(syntax)?;
    let mut lines = Vec::new();
    flatten(&starts, &mut Vec::new(), spanned.get_ref(), &values, &mut lines);
    Ok(lines)
}

/// Opens without waiting, so that a pipe in the place of the file can't stop the start.
fn text(path: &Path, whose: Whose) -> Result<Option<String>, ConfigError> {
    let failed = |reason: String| ConfigError::File {
        path: path.to_owned(),
        reason,
    };
    let file = match open(path, whose) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let meta = file.metadata().map_err(|e| failed(e.to_string()))?;
    if !meta.is_file() {
        return Err(failed("it is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| failed(e.to_string()))?;
    if bytes.len() as u64 > MAX {
        return Err(failed("it is larger than 1 MiB".to_owned()));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| failed("it is not UTF-8 text".to_owned()))
}

fn open(path: &Path, whose: Whose) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    match whose {
        Whose::Operators => own_file::open(&mut options, path, Trust::Configured),
        Whose::Projects => options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path),
    }
}

fn flatten(starts: &Starts, path: &mut Vec<String>, spans: &DeTable<'_>, values: &toml::Table, lines: &mut Vec<Line>) {
    for (key, spanned) in spans {
        let Some(value) = values.get(key.get_ref().as_ref()) else {
            continue;
        };
        path.push(key.get_ref().to_string());
        match (spanned.get_ref(), value) {
            (DeValue::Table(inner), toml::Value::Table(table)) if !table.is_empty() => {
                flatten(starts, path, inner, table, lines);
            }
            _ => lines.push(Line {
                path: path.clone(),
                value: Raw::Toml(value.clone()),
                number: starts.line_at(key.span().start),
            }),
        }
        path.pop();
    }
}

/// Where the lines of a text begin, but for the first.
struct Starts(Vec<usize>);

impl Starts {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    fn line_at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|start| *start <= offset)
    }
}
