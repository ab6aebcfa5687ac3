//! Writes progress to standard error: a picture that is drawn over and over on a terminal, lines elsewhere. A thread of
//! its own writes, so that a terminal that stands still holds up no run.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::args::Color;
use super::style::{Paint, width};

/// Pieces that wait for the writer; past it pictures are skipped and lines dropped.
const BACKLOG: usize = 256;
/// Lines that wait are written together up to so many bytes: with the last of them, what a pipe takes in one piece.
const TOGETHER: usize = 2048;
/// How long the end waits for a terminal that stands still.
const PATIENCE: Duration = Duration::from_secs(1);

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
/// A line that is too long after all is cut by the terminal, not wrapped, while a picture stands.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// What standard error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A terminal that can move its cursor.
    Terminal,
    /// A file, a pipe, or a terminal that can't.
    Stream,
}

/// What standard error is, by the environment and the file itself.
pub(super) fn kind() -> Kind {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if std::io::stderr().is_terminal() && !dumb {
        Kind::Terminal
    } else {
        Kind::Stream
    }
}

/// Whether to colour standard error.
pub(super) fn paint(color: Color) -> Paint {
    painted(color, kind() == Kind::Terminal)
}

/// Whether to colour standard output.
pub(super) fn paint_output(color: Color) -> Paint {
    painted(color, kind() == Kind::Terminal && std::io::stdout().is_terminal())
}

fn painted(color: Color, terminal: bool) -> Paint {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => Paint::Colour,
        Color::Auto if terminal && !refused => Paint::Colour,
        Color::Auto | Color::Never => Paint::Plain,
    }
}

/// Columns and rows of standard error; 80 by 24 where it does not say.
pub(super) fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// Columns of standard error, where that is a terminal.
pub(super) fn error_columns() -> Option<usize> {
    (kind() == Kind::Terminal).then(|| size().0)
}

/// Columns of standard output, where that is a terminal.
pub(super) fn columns() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then(|| size.ws_col.into())
}

/// Standard error while a run goes on.
#[derive(Debug)]
pub(super) struct Screen {
    sender: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
    drawn: Vec<String>,
    /// Whether the cursor is away.
    hidden: bool,
    dropped: u64,
}

impl Screen {
    /// Starts the writer.
    pub(super) fn open() -> Self {
        let (sender, pieces) = sync_channel::<String>(BACKLOG);
        let writer = std::thread::Builder::new().name("screen".to_owned()).spawn(move || {
            while let Ok(mut piece) = pieces.recv() {
                while piece.len() < TOGETHER
                    && let Ok(more) = pieces.try_recv()
                {
                    piece.push_str(&more);
                }
                // A closed standard error is nobody's fault: the run goes on unseen.
                let _ = std::io::stderr().write_all(piece.as_bytes());
            }
        });
        Self {
            sender: Some(sender),
            writer: writer.ok(),
            drawn: Vec::new(),
            hidden: false,
            dropped: 0,
        }
    }

    /// Writes a line that stays.
    pub(super) fn line(&mut self, line: &str) {
        let piece = match self.dropped {
            0 => format!("{line}\n"),
            n => format!("({n} lines were dropped: standard error did not take them)\n{line}\n"),
        };
        if self.send(piece) {
            self.dropped = 0;
        } else {
            self.dropped += 1;
        }
    }

    /// Draws `lines` over the picture before.
    pub(super) fn draw(&mut self, lines: Vec<String>) {
        if lines == self.drawn {
            return;
        }
        if self.send(format!("{HIDE_CURSOR}{}", self.over(&lines))) {
            self.drawn = lines;
            self.hidden = true;
        }
    }

    /// Writes lines that stay above the picture, which is drawn anew below them.
    pub(super) fn above(&mut self, lines: &str) {
        let back = self.back();
        if self.send(format!("{back}{lines}")) {
            self.drawn.clear();
        }
    }

    /// Leaves `lines` in the picture's place and gives the cursor back. Waits a moment for the terminal to take it.
    pub(super) fn close(mut self, lines: &[String]) {
        let picture = self.over(lines);
        let piece = match self.hidden {
            true => format!("{picture}{SHOW_CURSOR}"),
            false => picture,
        };
        self.hidden = false;
        self.finish(piece);
    }

    fn over(&self, lines: &[String]) -> String {
        let mut piece = self.back();
        let (before, after) = if kind() == Kind::Terminal {
            (NO_WRAP, WRAP)
        } else {
            ("", "")
        };
        piece.push_str(before);
        lines.iter().for_each(|line| {
            piece.push_str(line);
            piece.push('\n');
        });
        piece.push_str(after);
        piece
    }

    /// Takes the picture away, the cursor to where it began.
    fn back(&self) -> String {
        if self.drawn.is_empty() {
            return String::new();
        }
        let (columns, _) = size();
        let rows: usize = self.drawn.iter().map(|line| rows(line, columns)).sum();
        format!("\x1b[{rows}A\r\x1b[J")
    }

    fn send(&self, piece: String) -> bool {
        self.sender
            .as_ref()
            .is_some_and(|sender| sender.try_send(piece).is_ok())
    }

    fn finish(&mut self, last: String) {
        let start = Instant::now();
        let mut last = Some(last);
        while let (Some(piece), Some(sender)) = (last.take(), &self.sender) {
            if let Err(std::sync::mpsc::TrySendError::Full(piece)) = sender.try_send(piece)
                && start.elapsed() < PATIENCE
            {
                last = Some(piece);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            while !writer.is_finished() && start.elapsed() < PATIENCE {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
}

/// How many rows a line takes that was drawn when the terminal had more columns than now: one that is narrowed breaks lines that are too long.
fn rows(line: &str, columns: usize) -> usize {
    let mut pieces = line.split('\x1b');
    let first = pieces.next().map_or(0, width);
    // Nothing but our own colours steers: up to their `m` nothing is seen of them.
    let others = pieces.map(|piece| piece.split_once('m').map_or(0, |(_, text)| width(text)));
    (first + others.sum::<usize>()).div_ceil(columns.max(1)).max(1)
}

impl Drop for Screen {
    /// However the run ends, the cursor comes back.
    fn drop(&mut self) {
        if self.hidden {
            self.finish(SHOW_CURSOR.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_the_rows_that_its_columns_need() {
        for (line, columns, taken) in [
            ("", 10, 1),
            ("0123456789", 10, 1),
            ("0123456789a", 10, 2),
            ("\x1b[1m0123\x1b[0m \x1b[2m56789\x1b[0m", 10, 1),
            ("\x1b[1m0123\x1b[0m \x1b[2m56789\x1b[0ma", 10, 2),
            ("漢字漢字", 4, 2),
            ("x", 0, 1),
        ] {
            assert_eq!(rows(line, columns), taken, "{line:?} in {columns}");
        }
    }
}
