//! The lines of a run file, written and read one at a time. What is read is within its caps, and digested as it comes.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::base64;
use crate::ids::{Digest, RunId};
use crate::limits::{self, Limits, Unit};

use super::VERSION;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// The format's version.
    pub(super) hermes_run: u64,
    /// The host that wrote it.
    pub(super) host: String,
    /// The run.
    pub(super) run: RunId,
    /// Its task.
    pub(super) task: String,
    /// The plugins that it used.
    pub(super) plugins: Vec<PluginLine>,
}

/// What the first line of every version has.
#[derive(Deserialize)]
struct Format {
    hermes_run: u64,
}

/// A plugin of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginLine {
    /// Its name.
    pub(super) name: String,
    /// SHA-256 of its bytes.
    pub(super) digest: String,
}

/// Any line between the first and the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    /// The run's row.
    Row(Bytes),
    /// A body that records refer to by its digest.
    Body(Bytes),
    /// A record.
    Record(Bytes),
    /// An entry of one of the run's spaces.
    Entry(Bytes),
    /// The bytes of a component begin.
    Component(ComponentLine),
    /// A piece of them.
    Piece(Bytes),
    /// The last line.
    End(End),
}

/// A component whose bytes follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentLine {
    /// SHA-256 of them.
    pub(super) digest: String,
    /// How many there are.
    pub(super) bytes: u64,
}

/// Bytes, in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = base64::decode(&text).ok_or_else(|| serde::de::Error::custom("it is no base64"))?;
        Ok(Self(bytes))
    }
}

/// What the last line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// Lines before it.
    pub(super) lines: u64,
    /// SHA-256 of their bytes.
    pub(super) sha256: String,
    /// Whether secrets were taken out, so that the run can be looked at and not replayed.
    pub(super) view_only: bool,
}

/// Writes lines.
pub(super) struct Writer<W: Write> {
    to: W,
    lines: u64,
    digest: Sha256,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            lines: 0,
            digest: Sha256::new(),
        }
    }

    pub(super) fn line<T: Serialize>(&mut self, line: &T) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.lines += 1;
        self.digest.update(&text);
        self.to.write_all(&text)
    }

    /// The last line. Gives what was written to.
    pub(super) fn end(mut self, view_only: bool) -> std::io::Result<W> {
        let end = End {
            lines: self.lines,
            sha256: Digest::from_bytes(self.digest.finalize().into()).to_string(),
            view_only,
        };
        let mut text = serde_json::to_vec(&json!({ "end": end }))?;
        text.push(b'\n');
        self.to.write_all(&text)?;
        Ok(self.to)
    }
}

/// Reads lines.
pub(super) struct Reader<R: BufRead> {
    from: R,
    bytes: u64,
    lines: u64,
    most: u64,
    longest: u64,
    digest: Sha256,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A newer host wrote it, in this version of the format.
    Newer(u64),
    /// Anything else.
    Damaged(String),
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self::Damaged(what)
    }
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(from: R, limits: &Limits) -> Self {
        Self {
            from,
            bytes: 0,
            lines: 0,
            most: limits.run_file,
            longest: limits.run_file_line,
            digest: Sha256::new(),
        }
    }

    /// The number of the last line that was read, from 1.
    pub(super) fn number(&self) -> u64 {
        self.lines
    }

    /// The first line.
    pub(super) fn header(&mut self) -> Result<Header, Wrong> {
        let text = self.text()?;
        // Of a line that is large on purpose nothing but the version is made.
        let format: Format = serde_json::from_slice(&text).map_err(|_| "it is no run file".to_owned())?;
        if format.hermes_run > VERSION {
            return Err(Wrong::Newer(format.hermes_run));
        }
        let header = serde_json::from_slice(&text).map_err(|e| format!("its first line is damaged: {e}"))?;
        self.digest.update(&text);
        Ok(header)
    }

    /// The next line. The last one is held against those before it, and nothing may follow it.
    pub(super) fn next(&mut self) -> Result<Line, Wrong> {
        let text = self.text()?;
        let line = serde_json::from_slice(&text).map_err(|e| format!("line {} is damaged: {e}", self.lines))?;
        let Line::End(end) = &line else {
            self.digest.update(&text);
            return Ok(line);
        };
        let digest = Digest::from_bytes(self.digest.clone().finalize().into()).to_string();
        if end.lines != self.lines - 1 || end.sha256 != digest {
            return Err("it is damaged: its lines are not those that its last line tells of"
                .to_owned()
                .into());
        }
        match self.from.fill_buf() {
            Ok([]) => Ok(line),
            Ok(_) => Err("something follows its last line".to_owned().into()),
            Err(error) => Err(error.to_string().into()),
        }
    }

    fn text(&mut self) -> Result<Vec<u8>, Wrong> {
        let mut text = Vec::new();
        let room = self.longest.saturating_add(1);
        let read = std::io::Read::take(&mut self.from, room).read_until(b'\n', &mut text);
        let read = read.map_err(|e| e.to_string())? as u64;
        self.bytes += read;
        self.lines += 1;
        if self.bytes > self.most {
            let most = limits::show(self.most, Unit::Bytes);
            return Err(format!("it is longer than {most} (limits.run_file.bytes)").into());
        }
        if read > self.longest {
            let longest = limits::show(self.longest, Unit::Bytes);
            return Err(format!("line {} is longer than {longest} (limits.run_file.line)", self.lines).into());
        }
        if text.last() != Some(&b'\n') {
            return Err("it ends too early".to_owned().into());
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[Line]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        let header = Header {
            hermes_run: VERSION,
            host: "0.1.0".to_owned(),
            run: RunId::random(),
            task: "a task".to_owned(),
            plugins: Vec::new(),
        };
        writer.line(&header).expect("memory takes all");
        lines
            .iter()
            .for_each(|line| writer.line(line).expect("memory takes all"));
        writer.end(false).expect("memory takes all")
    }

    fn read(file: &[u8], limits: &Limits) -> Result<Vec<Line>, Wrong> {
        let mut reader = Reader::new(file, limits);
        reader.header()?;
        let mut lines = Vec::new();
        loop {
            match reader.next()? {
                Line::End(_) => return Ok(lines),
                line => lines.push(line),
            }
        }
    }

    #[test]
    fn what_was_written_is_read_and_any_other_byte_is_refused() {
        let lines = [Line::Row(Bytes(vec![1, 2, 3])), Line::Piece(Bytes(Vec::new()))];
        let whole = file(&lines);
        assert_eq!(read(&whole, &Limits::default()), Ok(lines.to_vec()));
        for at in 0..whole.len() {
            assert!(read(&whole[..at], &Limits::default()).is_err(), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(read(&flipped, &Limits::default()).is_err(), "flipped at {at}");
        }
        let more = [&whole[..], b"\n"].concat();
        assert!(read(&more, &Limits::default()).is_err());
    }

    #[test]
    fn caps_are_exact() {
        let whole = file(&[Line::Row(Bytes(vec![7; 3000]))]);
        let longest = whole
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::len)
            .max()
            .unwrap_or(0) as u64;
        let with = |bytes: u64, line: u64| {
            let limits = Limits {
                run_file: bytes,
                run_file_line: line,
                ..Limits::default()
            };
            read(&whole, &limits)
        };
        let bytes = whole.len() as u64;
        assert!(with(bytes, longest).is_ok());
        assert!(matches!(with(bytes - 1, longest), Err(Wrong::Damaged(what)) if what.contains("run_file.bytes")));
        assert!(matches!(with(bytes, longest - 1), Err(Wrong::Damaged(what)) if what.contains("run_file.line")));
    }

    #[test]
    fn a_newer_version_is_told_whatever_else_it_has() {
        let newer = format!("{{\"hermes_run\":{},\"what\":[]}}\n", VERSION + 1);
        let mut reader = Reader::new(newer.as_bytes(), &Limits::default());
        assert_eq!(reader.header(), Err(Wrong::Newer(VERSION + 1)));
    }
}
