//! `search_files`.

use hermes_sdk::Error;
use regex::bytes::{Regex, RegexBuilder};

use crate::SearchFiles;
use crate::disk::{Disk, Fault, Kind};
use crate::effort::Effort;
use crate::glob::Glob;
use crate::output::{Output, Room, shown_around, shown_line, trimmed};
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
/// What one search reads in all, so that it ends well before its time does.
const TOTAL_BYTES: usize = 128 * 1024 * 1024;

pub(crate) fn run(disk: &impl Disk, args: &SearchFiles) -> Result<String, Error> {
    search(disk, args, Effort::default())
}

fn search(disk: &impl Disk, args: &SearchFiles, effort: Effort) -> Result<String, Error> {
    let glob = args.glob.as_deref().map(Glob::new).transpose()?;
    let found = places(disk, args.path.as_deref())?;
    let mut search = Search {
        disk,
        regex: pattern(args)?,
        context: (args.context as usize).min(CONTEXT_MAX),
        limit: args.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
        effort,
        output: Output::default(),
        matches: 0,
        count: Count::default(),
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
            if search.end.is_some() {
                break;
            }
            let one = std::slice::from_ref(folder);
            first(disk, &folder.shown(disk), one, |place| {
                search.folder(place, scope, glob.as_ref())
            })?;
        }
    } else {
        let path = args.path.as_deref().unwrap_or_default();
        first(disk, path, &found, |place| match disk.open(place.root, &place.path) {
            Ok(file) => search.file(place, &file),
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
    effort: Effort,
    output: Output,
    matches: u32,
    count: Count,
    bytes: usize,
    end: Option<End>,
}

/// What became of the files that were come upon.
#[derive(Debug, Default)]
struct Count {
    searched: usize,
    binary: usize,
    unreadable: usize,
    /// Links to folders, which a walk doesn't follow.
    links: usize,
}

impl<D: Disk> Search<'_, D> {
    fn folder(&mut self, folder: &Place, scope: Scope, glob: Option<&Glob>) -> Result<(), Fault> {
        let below = folder.path.len() + usize::from(!folder.path.is_empty());
        let disk = self.disk;
        let effort = std::mem::take(&mut self.effort);
        let walked = walk(disk, folder, scope, &effort, &mut |place, kind| {
            // A link may lead to a file of the folder, which `read_file` would read.
            let is_file = matches!(kind, Kind::File | Kind::Link);
            if is_file && glob.is_none_or(|glob| glob.matches(&place.path[below..])) {
                if effort.file() {
                    self.pass(place);
                } else {
                    self.end = Some(End::Budget);
                }
            }
            if self.end.is_some() { Walk::Stop } else { Walk::On }
        });
        self.effort = effort;
        walked.map(drop)
    }

    /// Searches a file that a walk came upon. One that can't be read is passed by: the others may hold the answer.
    fn pass(&mut self, place: &Place) {
        let searched = match self.disk.open(place.root, &place.path) {
            Ok(file) => self.file(place, &file),
            Err(Fault::Folder) => {
                self.count.links += 1;
                return;
            }
            Err(fault) => Err(fault),
        };
        self.count.unreadable += usize::from(searched.is_err());
    }

    /// Searches one file, in windows that end at a line's end.
    fn file(&mut self, place: &Place, file: &D::File) -> Result<(), Fault> {
        let shown = place.shown(self.disk);
        let (mut window, mut offset, mut line) = (Vec::new(), 0_u64, 1_u64);
        while self.end.is_none() {
            let (piece, at_end) = self.disk.read(file, offset, PIECE)?;
            let at_end = at_end || piece.is_empty();
            if offset == 0 && piece[..piece.len().min(SNIFFED)].contains(&0) {
                self.count.binary += 1;
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
        self.count.searched += 1;
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
            if let Some(found) = self.regex.find(trimmed(&text[start..end])) {
                let line = shown_around(&text[start..end], found.range());
                printed = self.show(shown, text, start, &line, number, printed);
            }
            at = end + 1;
            number += 1;
        }
        newlines(text) + u64::from(text.last().is_some_and(|byte| *byte != b'\n'))
    }

    /// Shows a match, whose line is `found`, with the lines around it. Answers the number of the last line shown.
    fn show(&mut self, shown: &str, text: &[u8], start: usize, found: &str, number: u64, printed: u64) -> u64 {
        if self.matches == self.limit {
            self.end = Some(End::Limit);
            return printed;
        }
        self.matches += 1;
        let around = |line: &[u8]| shown_line(line, trimmed(line).len());
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
            lines.insert(0, (number - back, '-', around(&text[before..end])));
        }
        if number > printed {
            lines.push((number, ':', found.to_owned()));
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
                lines.push((last, '-', around(&text[at..end])));
            }
            at = end + 1;
        }
        for (number, mark, line) in lines {
            if self.output.line(&format!("{shown}:{number}{mark} {line}")) == Room::Full {
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
            _ if self.matches == 0 => notes.push(format!(
                "no match in {} file{}; try other words, a shorter `pattern`, or `ignore_case`",
                self.count.searched,
                if self.count.searched == 1 { "" } else { "s" }
            )),
            _ => {}
        }
        if self.end == Some(End::Budget) || self.effort.is_stopped() {
            notes.push(format!(
                "stopped after {} names, {} files and {} MiB; narrow it with `path` or `glob`",
                self.effort.names(),
                self.count.searched,
                self.bytes >> 20
            ));
        }
        notes.extend(self.count.note());
        notes.extend(self.effort.note());
        let deeper = self.effort.deeper();
        if deeper > 0 {
            notes.push(format!(
                "folders not searched, as they lie more than {DEPTH} levels down: {deeper}; name one as `path`"
            ));
        }
        self.output.finish(&notes)
    }
}

impl Count {
    /// What was not searched, if anything.
    fn note(&self) -> Option<String> {
        let kinds = [
            ("binary", self.binary),
            ("unreadable", self.unreadable),
            ("links to folders", self.links),
        ];
        let passed = kinds.iter().filter(|(_, count)| *count > 0);
        let passed: Vec<_> = passed.map(|(kind, count)| format!("{kind} {count}")).collect();
        (!passed.is_empty()).then(|| format!("files not searched: {}", passed.join(", ")))
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
            "/d/a.md:6: dendrites end\n/d/b.txt:3: last dendrite\n[files not searched: binary 1]"
        );
        let all = search(&SearchFiles {
            ignore_case: true,
            ..args("DENDRITE")
        });
        assert_eq!(all.lines().count(), 4, "{all}");
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
        assert!(search(&args(r"one\s+Dendrite")).starts_with("[no match in 2 files;"));
        let in_one = SearchFiles {
            path: Some("/d/a.md".into()),
            ..args("nowhere")
        };
        assert!(search(&in_one).starts_with("[no match in 1 file;"));
        assert!(search(&args(r"o(ne|ur)$")).starts_with("/d/a.md:1: one\n/d/a.md:4: four\n[files not"));
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

    #[test]
    fn a_match_far_into_a_line_is_shown() {
        let text = format!("one\n{} needle {}\nthree\n", "x".repeat(9_000), "y".repeat(9_000));
        let disk = Folder::new(&["d"], &[("d/long.txt", &text)]);
        let found = run(&disk, &args("needle")).unwrap();
        assert!(
            found.starts_with("/d/long.txt:2: (+") && found.contains("x needle y"),
            "{found}"
        );
        assert!(found.len() < 2_200, "{}", found.len());
    }

    #[test]
    fn a_large_folder_ends_it_with_what_was_found() {
        let disk = Folder::new(&["d"], &["d/a", "d/b", "d/c"].map(|file| (file, "needle\n")));
        let found = |names, files| super::search(&disk, &args("needle"), Effort::new(names, files)).unwrap();
        assert_eq!(found(9, 3), "/d/a:1: needle\n/d/b:1: needle\n/d/c:1: needle");
        assert_eq!(
            found(9, 2),
            "/d/a:1: needle\n/d/b:1: needle\n[stopped after 3 names, 2 files and 0 MiB; narrow it with `path` or `glob`]"
        );
        let few_names = found(8, 3);
        assert!(few_names.contains("[stopped after 2 names, 2 files and"), "{few_names}");
    }

    #[test]
    fn links_are_followed_to_files_and_counted_otherwise() {
        use std::os::unix::fs::symlink;
        let disk = Folder::new(&["d"], &[("d/sub/a.md", "needle\n")]);
        symlink("sub/a.md", disk.on_disk("d/link.md")).unwrap();
        symlink("sub", disk.on_disk("d/again")).unwrap();
        symlink("nowhere", disk.on_disk("d/broken")).unwrap();
        assert_eq!(
            run(&disk, &args("needle")).unwrap(),
            "/d/link.md:1: needle\n/d/sub/a.md:1: needle\n\
             [files not searched: unreadable 1, links to folders 1]"
        );
    }
}
