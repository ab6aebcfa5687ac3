//! What a person sees of a run while it goes on: the picture on a terminal, lines elsewhere, nothing when told so.

use std::future::Future;
use std::time::Duration;

use super::errors::notices;
use super::plain::Lines;
use super::stdio;
use super::style::Paint;
use super::terminal::{self, Kind, Screen};
use super::view::{Frame, View};
use crate::event::{EventKind, RunEvent, now_ms};
use crate::run::{SessionView, is_compiling};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A picture, drawn again and again.
    Picture,
    /// Lines.
    Lines {
        /// Plugins' own log lines too.
        verbose: bool,
    },
    /// Nothing.
    Nothing,
}

/// What a start says that takes long.
const GETTING_READY: &str = "getting ready; plugins that are new here are compiled once";
/// A start that takes longer says so on a terminal.
const QUICK: Duration = Duration::from_millis(400);
/// Elsewhere one says so that is seen to compile so often, at looks so far apart: for a second in all.
const LOOKS: usize = 4;
const APART: Duration = Duration::from_millis(250);

/// Waits for a run to be ready. It is said what takes so long: on a terminal while it does, elsewhere once, where something is compiled.
pub(super) async fn until_ready<T>(mode: Mode, ready: impl Future<Output = T>) -> T {
    tokio::pin!(ready);
    match mode {
        Mode::Picture => {
            if let Ok(done) = tokio::time::timeout(QUICK, &mut ready).await {
                return done;
            }
            let mut screen = Screen::open();
            screen.draw(vec![GETTING_READY.to_owned()]);
            let done = ready.await;
            screen.close(&[]);
            done
        }
        Mode::Lines { .. } => {
            let mut seen = 0;
            while seen < LOOKS {
                if let Ok(done) = tokio::time::timeout(APART, &mut ready).await {
                    return done;
                }
                seen += usize::from(is_compiling());
            }
            stdio::tell(&format!("{GETTING_READY}\n"));
            ready.await
        }
        Mode::Nothing => ready.await,
    }
}

/// Shows one run.
#[derive(Debug)]
pub(super) struct Progress {
    mode: Mode,
    paint: Paint,
    screen: Screen,
    view: View,
    lines: Lines,
}

impl Progress {
    pub(super) fn new(mode: Mode, paint: Paint) -> Self {
        Self {
            mode,
            paint,
            screen: Screen::open(),
            view: View::default(),
            lines: Lines::default(),
        }
    }

    /// Whether it is a picture, which begins with who was there before.
    pub(super) fn is_picture(&self) -> bool {
        self.mode == Mode::Picture
    }

    /// Takes in who was there before a run went on.
    pub(super) fn went_before(&mut self, sessions: &[SessionView]) {
        self.view.went_before(sessions, now_ms());
    }

    /// Takes one event in.
    pub(super) fn apply(&mut self, event: &RunEvent) {
        match self.mode {
            Mode::Picture => {
                self.view.apply(event);
                if let EventKind::Notice { message } = &event.kind {
                    self.screen.above(&notices(self.paint, std::slice::from_ref(message)));
                }
            }
            Mode::Lines { verbose } => {
                if let Some(line) = self.lines.line(event, verbose) {
                    self.screen.line(&line);
                }
            }
            Mode::Nothing => {}
        }
    }

    /// Draws the picture as it is now.
    pub(super) fn tick(&mut self) {
        if self.mode == Mode::Picture {
            self.screen.draw(self.view.lines(self.frame()));
        }
    }

    /// Leaves what shall stay and gives the terminal back.
    pub(super) fn close(self) {
        let summary = if self.mode == Mode::Picture {
            self.view.summary(self.frame())
        } else {
            Vec::new()
        };
        self.screen.close(&summary);
    }

    fn frame(&self) -> Frame {
        let (width, height) = terminal::size();
        // The last column stays free: some terminals wrap as soon as it is written.
        Frame {
            width: width.saturating_sub(1),
            height: height.saturating_sub(1),
            now_ms: now_ms(),
            paint: self.paint,
        }
    }
}

/// How to show progress on this standard error. A log of the host's own is lines, so all is.
pub(super) fn mode(verbose: bool, logging: bool) -> Mode {
    match terminal::kind() {
        Kind::Terminal if !verbose && !logging => Mode::Picture,
        _ => Mode::Lines { verbose },
    }
}
