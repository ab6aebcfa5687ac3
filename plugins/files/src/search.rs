//! `search_files`.

use hermes_sdk::Error;
use regex::bytes::{Regex, RegexBuilder};

use crate::SearchFiles;
use crate::disk::{Disk, Fault, Kind};
use crate::glob::Glob;
use crate::output::{Output, Room, shown_line};
use crate::place::{Place, first, places};
use crate::walk::{Hidden, Scope, Walk, walk};

const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 500;
const CONTEXT_MAX: usize = 10;
const DEPTH: u32 = 32;
/// Bytes read at once.
const PIECE: usize = 64 * 1024;
/// Bytes of a file that are in memory at once; lines around a match come from the same part.
const WINDOW: usize = 4 * 1024 * 1024;
/// Where a NUL makes a file no text.
const SNIFFED: usize = 8 * 1024;
/// What one search reads and opens in all, so that it ends well before its time does.
const TOTAL_BYTES: usize = 128 * 1024 * 1024;
const TOTAL_FILES: usize = 20_000;

pub(crate) fn run(disk: &impl Disk, args: &SearchFiles) -> Result<String, Error> {
    let glob = args.glob.as_deref().map(Glob::new).transpose()?;
    let found = places(disk, args.path.as_deref())?;
    let mut search = Search {
        disk,
        regex: pattern(args)?,
        context: (args.context as usize).min(CONTEXT_MAX),
        limit: args.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
        output: Output::default(),
        matches: 0,
        files: 0,
        bytes: 0,
        end: None,
    };
    let scope = Scope {
        depth: DEPTH,
        hidden: Hidden::from(args.hidden),
    };
    let everywhere = found.iter().all(|place| place.path.is_empty());
    if everywhere {
        for folder in &found {
            let one = std::slice::from_ref(folder);
            first(disk, &folder.shown(disk), one, |place| {
                search.folder(place, scope, glob.as_ref())
            })?;
        }
    } else {
        let path = args.path.as_deref().unwrap_or_default();
        first(disk, path, &found, |place| match disk.open(place.root, &place.path) {
            Ok(file) => search.file(place, &file).map(drop),
            Err(Fault::Folder) => search.folder(place, scope, glob.as_ref()),
            Err(fault) => Err(fault),
        })?;
    }
    Ok(search.finish())
}

fn pattern(args: &SearchFiles) -> Result<Regex, Error> {
    let text = if args.literal {
        regex::escape(&args.pattern)
    } else {
        args.pattern.clone()
    };
    if text.is_empty() {
        return Err(Error::invalid_input("`pattern` is empty"));
    }
    let mut builder = RegexBuilder::new(&text);
    builder
        .case_insensitive(args.ignore_case)
        .multi_line(true)
        .crlf(true)
        .size_limit(4 * 1024 * 1024);
    builder.build().map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim().to_owned();
        Error::invalid_input(format!(
            "`pattern` is no regular expression ({reason}); for plain text set `literal` to true"
        ))
    })
}

/// Why a search ended before all was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Limit,
    Full,
    Budget,
}

struct Search<'a, D> {
    disk: &'a D,
    regex: Regex,
    context: usize,
    limit: u32,
    output: Output,
    matches: u32,
    files: usize,
    bytes: usize,
    end: Option<End>,
}

impl<D: Disk> Search<'_, D> {
    fn folder(&mut self, folder: &Place, scope: Scope, glob: Option<&Glob>) -> Result<(), Fault> {
        let below = folder.path.len() + usize::from(!folder.path.is_empty());
        let disk = self.disk;
        walk(disk, folder, scope, &mut |place, kind| {
            if kind == Kind::File && glob.is_none_or(|glob| glob.matches(&place.path[below..])) {
                // A file that can't be opened is passed by, like a folder: the others may hold the answer.
                if let Ok(file) = disk.open(place.root, &place.path) {
                    drop(self.file(place, &file));
                }
            }
            if self.end.is_some() { Walk::Stop } else { Walk::On }
        })?;
        Ok(())
    }

    /// Searches one file, in windows that end at a line's end.
    fn file(&mut self, place: &Place, file: &D::File) -> Result<(), Fault> {
        self.files += 1;
        if self.files > TOTAL_FILES {
            self.end = Some(End::Budget);
        }
        let shown = place.shown(self.disk);
        let (mut window, mut offset, mut line) = (Vec::new(), 0_u64, 1_u64);
        while self.end.is_none() {
            let (piece, at_end) = self.disk.read(file, offset, PIECE)?;
            let at_end = at_end || piece.is_empty();
            if offset == 0 && piece[..piece.len().min(SNIFFED)].contains(&0) {
                return Ok(());
            }
            offset += piece.len() as u64;
            self.bytes += piece.len();
            window.extend_from_slice(&piece);
            if self.bytes > TOTAL_BYTES {
                self.end = Some(End::Budget);
            }
            if at_end || window.len() >= WINDOW || self.end.is_some() {
                let whole = if at_end { window.len() } else { last_line_end(&window) };
                line += self.window(&shown, &window[..whole], line);
                window.drain(..whole);
            }
            if at_end {
                break;
            }
        }
        Ok(())
    }

    /// Searches whole lines, the first of which has this number. Answers how many lines they are.
    fn window(&mut self, shown: &str, text: &[u8], first: u64) -> u64 {
        let (mut at, mut number, mut printed) = (0, first, 0_u64);
        while self.end.is_none() && at < text.len() {
            let Some(found) = self.regex.find_at(text, at) else {
                break;
            };
            // A match of nothing after the last line's end is in no line.
            if found.start() >= text.len() {
                break;
            }
            let start = text[..found.start()]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
            let end = line_end(text, found.start());
            number += newlines(&text[at.min(start)..start]);
            // What was found may reach into the next line; it counts if the line alone has a match too.
            if self.regex.is_match(trimmed(&text[start..end])) {
                printed = self.show(shown, text, start, number, printed);
            }
            at = end + 1;
            number += 1;
        }
        newlines(text) + u64::from(text.last().is_some_and(|byte| *byte != b'\n'))
    }

    /// Shows a match with the lines around it. Answers the number of the last line shown.
    fn show(&mut self, shown: &str, text: &[u8], start: usize, number: u64, printed: u64) -> u64 {
        if self.matches == self.limit {
            self.end = Some(End::Limit);
            return printed;
        }
        self.matches += 1;
        let mut lines = vec![];
        let mut before = start;
        for back in 1..=self.context as u64 {
            if before == 0 || number - back <= printed || number <= back {
                break;
            }
            let end = before - 1;
            before = text[..end]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
            lines.insert(0, (number - back, '-', &text[before..end]));
        }
        if number > printed {
            lines.push((number, ':', &text[start..line_end(text, start)]));
        }
        let (mut at, mut last) = (line_end(text, start) + 1, number);
        for _ in 0..self.context {
            // A matching line is left for its own turn, so that it is marked as one.
            let end = line_end(text, at.min(text.len()));
            if at >= text.len() || self.regex.is_match(trimmed(&text[at..end])) {
                break;
            }
            last += 1;
            if last > printed {
                lines.push((last, '-', &text[at..end]));
            }
            at = end + 1;
        }
        for (number, mark, line) in lines {
            if self
                .output
                .line(&format!("{shown}:{number}{mark} {}", shown_line(line)))
                == Room::Full
            {
                self.end = Some(End::Full);
                break;
            }
        }
        last.max(printed)
    }

    fn finish(self) -> String {
        let mut notes = vec![];
        match self.end {
            Some(End::Limit) => notes.push(format!(
                "more than {} matches; narrow it with `path`, `glob` or a longer `pattern`, or raise `limit`",
                self.limit
            )),
            Some(End::Full) => {
                notes.push("the result is full; narrow it with `path`, `glob` or a longer `pattern`".into());
            }
            Some(End::Budget) => notes.push(format!(
                "stopped after {} files and {} MiB; narrow it with `path` or `glob`",
                self.files,
                self.bytes >> 20
            )),
            None if self.matches == 0 => notes.push(format!(
                "no match in {} files; try other words, a shorter `pattern`, or `ignore_case`",
                self.files
            )),
            None => {}
        }
        self.output.finish(&notes)
    }
}

fn line_end(text: &[u8], from: usize) -> usize {
    text[from..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(text.len(), |length| from + length)
}

fn last_line_end(text: &[u8]) -> usize {
    text.iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(text.len(), |end| end + 1)
}

fn newlines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn disk() -> Folder {
        Folder::new(
            &["d"],
            &[
                ("d/a.md", "one\nDendrite grows\nthree\nfour\nfive\ndendrites end\n"),
                ("d/b.txt", "x\r\nno match here\r\nlast dendrite"),
                ("d/bin", "dendrite\0"),
                ("d/target/c.md", "dendrite"),
            ],
        )
    }

    fn search(args: &SearchFiles) -> String {
        run(&disk(), args).unwrap()
    }

    fn args(pattern: &str) -> SearchFiles {
        SearchFiles {
            pattern: pattern.into(),
            ..SearchFiles::default()
        }
    }

    #[test]
    fn matches_have_path_and_line() {
        assert_eq!(
            search(&args("dendrite")),
            "/d/a.md:6: dendrites end\n/d/b.txt:3: last dendrite"
        );
        let all = search(&SearchFiles {
            ignore_case: true,
            ..args("DENDRITE")
        });
        assert_eq!(all.lines().count(), 3, "{all}");
        assert_eq!(
            search(&SearchFiles {
                path: Some("b.txt".into()),
                ..args("^x$")
            }),
            "/d/b.txt:1: x"
        );
        assert_eq!(
            search(&SearchFiles {
                glob: Some("*.txt".into()),
                ..args("dendrite")
            }),
            "/d/b.txt:3: last dendrite"
        );
        let hidden = search(&SearchFiles {
            hidden: true,
            ..args("dendrite")
        });
        assert!(hidden.contains("/d/target/c.md:1:"), "{hidden}");
    }

    #[test]
    fn context_is_shown_once() {
        let text = search(&SearchFiles {
            context: 3,
            path: Some("/d/a.md".into()),
            ..args("(?i)dendrite")
        });
        assert_eq!(
            text,
            "/d/a.md:1- one\n/d/a.md:2: Dendrite grows\n/d/a.md:3- three\n/d/a.md:4- four\n/d/a.md:5- five\n\
             /d/a.md:6: dendrites end"
        );
    }

    #[test]
    fn a_match_stays_in_its_line() {
        assert!(search(&args(r"one\s+Dendrite")).starts_with("[no match in 3 files"));
        assert_eq!(search(&args(r"o(ne|ur)$")), "/d/a.md:1: one\n/d/a.md:4: four");
    }

    #[test]
    fn limits_and_bad_patterns_say_what_to_do() {
        let one = search(&SearchFiles {
            limit: Some(1),
            ..args("e")
        });
        assert!(one.starts_with("/d/a.md:1: one\n[more than 1 matches"), "{one}");
        assert!(run(&disk(), &args("a(")).unwrap_err().message.contains("`literal`"));
        let literal = run(
            &disk(),
            &SearchFiles {
                literal: true,
                ..args("a(")
            },
        )
        .unwrap();
        assert!(literal.starts_with("[no match"));
    }

    #[test]
    fn large_files_keep_their_numbers() {
        let text = "filler line\n".repeat(600_000) + "needle\n" + &"more\n".repeat(10);
        let disk = Folder::new(&["d"], &[("d/big.txt", &text)]);
        assert_eq!(run(&disk, &args("needle")).unwrap(), "/d/big.txt:600001: needle");
    }
}
