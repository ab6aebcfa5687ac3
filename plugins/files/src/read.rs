//! `read_file`.

use hermes_sdk::Error;

use crate::ReadFile;
use crate::disk::{Disk, Fault};
use crate::output::{Output, Room, shown_line};
use crate::place::{Place, first, places};

const LINES: u64 = 400;
/// Bytes read at once.
const PIECE: usize = 64 * 1024;
/// What of a line is kept while it is read; the rest is counted.
const LINE_KEPT: usize = 8 * 1024;
/// Where counting a large file's lines ends, in bytes.
const COUNT_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) fn run(disk: &impl Disk, args: &ReadFile) -> Result<String, Error> {
    let found = places(disk, Some(&args.path))?;
    let (place, file) = first(disk, &args.path, &found, |place| disk.open(place.root, &place.path))?;
    let start = args.start.unwrap_or(1).max(1);
    let mut page = Page::new(start, args.lines.unwrap_or(LINES).max(1));
    page.fill(disk, &file).map_err(|fault| failed(disk, &place, &fault))?;
    page.finish(&place.shown(disk))
}

fn failed(disk: &impl Disk, place: &Place, fault: &Fault) -> Error {
    Error::failed(format!("{} could not be read: {fault:?}", place.shown(disk)))
}

/// The lines asked for, while the file goes by.
struct Page {
    start: u64,
    /// The first line that is not wanted.
    end: u64,
    output: Output,
    /// The line under way, as far as it is kept, and how much of it was dropped.
    line: Vec<u8>,
    dropped: usize,
    /// Lines that have ended.
    ended: u64,
    /// The next line to show.
    next: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The result is full.
    Full,
    /// The file is no text.
    Binary,
    /// The file is so large that its lines were not counted to the end.
    Uncounted,
}

impl Page {
    fn new(start: u64, lines: u64) -> Self {
        Self {
            start,
            end: start.saturating_add(lines),
            output: Output::default(),
            line: vec![],
            dropped: 0,
            ended: 0,
            next: start,
            state: State::Open,
        }
    }

    fn fill<D: Disk>(&mut self, disk: &D, file: &D::File) -> Result<(), Fault> {
        let mut offset = 0;
        loop {
            let (piece, at_end) = disk.read(file, offset, PIECE)?;
            if offset == 0 && piece.contains(&0) {
                self.state = State::Binary;
                return Ok(());
            }
            offset += piece.len() as u64;
            self.take(&piece);
            if at_end || piece.is_empty() {
                if !self.line.is_empty() || self.dropped > 0 {
                    self.end_line();
                }
                return Ok(());
            }
            if offset >= COUNT_BYTES && (self.next >= self.end || self.state == State::Full) {
                self.state = State::Uncounted;
                return Ok(());
            }
        }
    }

    fn take(&mut self, mut piece: &[u8]) {
        while let Some(length) = piece.iter().position(|byte| *byte == b'\n') {
            self.keep(&piece[..length]);
            self.end_line();
            piece = &piece[length + 1..];
        }
        self.keep(piece);
    }

    fn keep(&mut self, part: &[u8]) {
        let kept = part.len().min(LINE_KEPT.saturating_sub(self.line.len()));
        self.line.extend_from_slice(&part[..kept]);
        self.dropped += part.len() - kept;
    }

    fn end_line(&mut self) {
        self.ended += 1;
        if self.ended == self.next && self.next < self.end && self.state == State::Open {
            let line = shown_line(&self.line, self.line.len() + self.dropped);
            match self.output.line(&format!("{}: {line}", self.ended)) {
                Room::Taken => self.next += 1,
                Room::Full => self.state = State::Full,
            }
        }
        self.line.clear();
        self.dropped = 0;
    }

    fn finish(self, shown: &str) -> Result<String, Error> {
        if self.state == State::Binary {
            return Err(Error::failed(format!("{shown} is not a text file")));
        }
        let total = match self.state {
            State::Uncounted => format!("more than {}", self.ended),
            _ => self.ended.to_string(),
        };
        if self.ended == 0 {
            return Ok(format!("[{shown}: the file is empty]"));
        }
        if self.next == self.start {
            return Err(Error::invalid_input(format!(
                "{shown} has {total} lines; line {} is past its end",
                self.start
            )));
        }
        let head = format!("[{shown}, lines {}-{} of {total}]\n", self.start, self.next - 1);
        let more = self.next <= self.ended || self.state == State::Uncounted;
        let notes = if more {
            vec![format!("go on with start={}", self.next)]
        } else {
            vec![]
        };
        Ok(head + &self.output.finish(&notes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn read(text: &str, start: Option<u64>, lines: Option<u64>) -> Result<String, Error> {
        let disk = Folder::new(&["d"], &[("d/a.md", text)]);
        run(
            &disk,
            &ReadFile {
                path: "a.md".into(),
                start,
                lines,
            },
        )
    }

    #[test]
    fn lines_are_numbered_and_paged() {
        assert_eq!(
            read("one\r\ntwo\n\nfour", None, None).unwrap(),
            "[/d/a.md, lines 1-4 of 4]\n1: one\n2: two\n3: \n4: four"
        );
        assert_eq!(
            read("a\nb\nc\nd\n", Some(2), Some(2)).unwrap(),
            "[/d/a.md, lines 2-3 of 4]\n2: b\n3: c\n[go on with start=4]"
        );
        assert!(read("a\n", Some(3), None).unwrap_err().message.contains("has 1 lines"));
        assert_eq!(read("", None, None).unwrap(), "[/d/a.md: the file is empty]");
        assert!(
            read("a\0b", None, None)
                .unwrap_err()
                .message
                .contains("not a text file")
        );
    }

    #[test]
    fn a_full_result_says_where_to_go_on() {
        let text = "ä".repeat(150) + "\n";
        let page = read(&text.repeat(1_000), None, Some(1_000)).unwrap();
        let last = page.lines().last().unwrap();
        let next: u64 = last
            .trim_start_matches("[go on with start=")
            .trim_end_matches(']')
            .parse()
            .unwrap();
        assert!(page.len() < 45_000 && page.contains("of 1000]"));
        assert!(page.contains(&format!("\n{}: ", next - 1)) && !page.contains(&format!("\n{next}: ")));
    }

    #[test]
    fn one_long_line_is_bounded_and_says_how_long_it_is() {
        let page = read(&"x".repeat(1_000_000), None, None).unwrap();
        assert!(page.len() < 3_000, "{}", page.len());
        assert!(page.ends_with("x… (+998000 bytes)"), "{page}");
    }
}
