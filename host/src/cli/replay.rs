//! `replay`: whether a run's agents do again what was recorded, and where they first do something else.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::{Problem, block, notices};
use super::progress::until_ready;
use super::run::{listen, mode, print_text, so_far};
use super::style::{Ink, Paint, fit, left, number, width, wrap};
use super::{Context, json, stdio, terminal};
use crate::config::Config;
use crate::run::{DifferenceView, Host, Replay, ReplaySpec, SideView};
use crate::text::{Shape, clean, cut};

/// What differs exits with this.
const DIVERGED: u8 = 1;
/// Columns where standard error is no terminal.
const WIDTH: usize = 120;
/// With fewer columns the two sides stand below one another.
const BESIDE: usize = 60;
/// Characters of a side that a person is shown, and a program.
const SHOWN: usize = 600;
const TOLD: usize = 16_000;
/// Characters that are shown before those that differ.
const BEFORE: usize = 60;

/// Replays a run and says whether it is the same.
pub(super) async fn replay(config: Config, context: Context, spec: &ReplaySpec) -> Result<u8, Problem> {
    let mut stop = listen()?;
    let replay = tokio::select! {
        biased;
        () = stop.next() => return Err(Problem::stopped("before the replay was through: nothing was written")),
        replay = until_ready(mode(context), Host::replay(config, context.compile_in, spec)) => replay?,
    };
    stdio::tell(&notices(context.paint, &replay.notices));
    let code = if replay.is_same() { 0 } else { DIVERGED };
    if context.output != Output::Text {
        stdio::print_line(&json::line(&object(&replay)))?;
        return Ok(code);
    }
    match &replay.difference {
        Some(difference) => {
            let columns = terminal::error_columns().unwrap_or(WIDTH);
            stdio::tell(
                &Screen {
                    paint: context.paint,
                    columns,
                }
                .text(&replay, difference),
            );
        }
        None => {
            if !context.quiet {
                stdio::tell(&same(&replay, context.paint));
                stdio::tell(&so_far(context.paint, replay.checkpoint.as_deref()));
            }
            replay.answer.as_deref().map_or(Ok(()), print_text)?;
        }
    }
    Ok(code)
}

fn same(replay: &Replay, paint: Paint) -> String {
    let mut parts = vec![
        number(replay.sessions, "agent"),
        number(replay.observations, "observation"),
    ];
    if replay.attempts > replay.sessions {
        parts.insert(1, number(replay.attempts, "attempt"));
    }
    if replay.tool_calls > 0 {
        parts.push(format!(
            "{} with calls of their own",
            number(replay.tool_calls, "tool call")
        ));
    }
    let end = match replay.answer {
        Some(_) => "",
        None => ", where the record stops; it has no answer",
    };
    block(
        paint,
        "the same",
        Ink::Good,
        &format!("run {}, {}{end}", replay.run, parts.join(", ")),
    )
}

/// What the lines are made for.
struct Screen {
    paint: Paint,
    columns: usize,
}

impl Screen {
    fn text(&self, replay: &Replay, difference: &DifferenceView) -> String {
        let inside = difference
            .scope
            .as_ref()
            .map(|call| format!(", inside its call {call}"));
        let attempt = match difference.attempt {
            1 => String::new(),
            n => format!(", attempt {n}"),
        };
        let head = format!(
            "run {} parts from its record at observation {} of {} (session {}){attempt}{}",
            replay.run,
            difference.observation,
            difference.role,
            difference.session.number,
            inside.unwrap_or_default(),
        );
        let mut out = block(self.paint, "diverged", Ink::Bad, &head);
        let same = difference.expected.call == difference.got.call;
        let what = match (&difference.part, same) {
            (Some(part), _) => format!("{}: its {part} differs", difference.got.call),
            (None, true) => format!("{}: it differs", difference.got.call),
            (None, false) => String::new(),
        };
        if !what.is_empty() {
            out.push_str(&format!("  {}\n", clean(&what, Shape::Line)));
        }
        let (expected, got) = sides(difference, SHOWN);
        let (expected, got) = (
            self.side(&difference.expected, &expected, same),
            self.side(&difference.got, &got, same),
        );
        if self.columns < BESIDE {
            self.below(&mut out, &expected, &got);
        } else {
            self.beside(&mut out, &expected, &got);
        }
        let were = if replay.observations == 1 { "was" } else { "were" };
        let observations = number(replay.observations, "observation");
        out.push_str(&format!("  {observations} {were} the same\n"));
        out
    }

    /// The lines of a side.
    fn side(&self, side: &SideView, text: &str, same: bool) -> Vec<String> {
        let columns = self.side_columns();
        let mut lines = Vec::new();
        if !same {
            lines.push(clean(&side.call, Shape::Line).into_owned());
        }
        let cleaned = clean(text, Shape::Block);
        let wrapped = cleaned.lines().flat_map(|line| wrap(line, columns));
        lines.extend(wrapped.flat_map(|line| broken(&line, columns)));
        lines
    }

    /// Next to one another, with a mark between lines that are not the same.
    fn beside(&self, out: &mut String, expected: &[String], got: &[String]) {
        let columns = self.side_columns();
        let row = |one: &str, mark: &str, other: &str| {
            let line = format!("{} {mark} {}", left(one, columns), fit(other, columns));
            line.trim_end().to_owned()
        };
        out.push_str(&format!(
            "  {}\n",
            self.paint.ink(Ink::Dim, &row("recorded", " ", "now"))
        ));
        for at in 0..expected.len().max(got.len()) {
            let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
            let (one, other) = (line(expected), line(got));
            let mark = if one == other { " " } else { "≠" };
            out.push_str(&format!("  {}\n", row(&one, mark, &other)));
        }
    }

    /// Columns of the text of a side.
    fn side_columns(&self) -> usize {
        let columns = if self.columns < BESIDE {
            self.columns.saturating_sub(4)
        } else {
            self.columns.saturating_sub(5) / 2
        };
        columns.max(16)
    }

    fn below(&self, out: &mut String, expected: &[String], got: &[String]) {
        for (name, lines) in [("recorded", expected), ("now", got)] {
            out.push_str(&format!("  {}\n", self.paint.ink(Ink::Dim, name)));
            lines.iter().for_each(|line| out.push_str(&format!("    {line}\n")));
        }
    }
}

/// A line in pieces of at most `columns` columns. Words that are longer are broken too: their end may be what differs.
fn broken(line: &str, columns: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in line.chars() {
        let more = width(c.encode_utf8(&mut [0; 4]));
        if pieces.last().is_some_and(|piece| width(piece) + more > columns) {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(c);
        }
    }
    pieces
}

/// Both sides from a little before the first character that differs, at most `most` characters of each.
fn sides(difference: &DifferenceView, most: usize) -> (String, String) {
    let unknown = "(its arguments are not known: the record has their digest alone)";
    let text = |side: &SideView| side.text.clone().unwrap_or_else(|| unknown.to_owned());
    let (one, other) = (text(&difference.expected), text(&difference.got));
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let skip = if one == other { 0 } else { same.saturating_sub(BEFORE) };
    let from = |text: &str| {
        let rest: String = text.chars().skip(skip).collect();
        let lead = if skip > 0 { "…" } else { "" };
        format!("{lead}{}", cut(&rest, most))
    };
    (from(&one), from(&other))
}

fn object(replay: &Replay) -> Value {
    let side = |side: &SideView| json!({ "call": side.call, "text": side.text.as_deref().map(|text| cut(text, TOLD)) });
    let difference = replay.difference.as_ref().map(|difference| {
        json!({
            "session": difference.session.to_string(),
            "role": difference.role,
            "attempt": difference.attempt,
            "call": difference.scope,
            "observation": difference.observation,
            "part": difference.part,
            "expected": side(&difference.expected),
            "got": side(&difference.got),
        })
    });
    let error = replay.difference.as_ref().map(|difference| {
        let (session, observation) = (difference.session.to_string(), difference.observation);
        let message = format!("observation {observation} of session {session} is not the recorded one");
        json!({ "kind": "diverged", "message": message })
    });
    json!({
        "run": replay.run,
        "same": replay.is_same(),
        "agents": replay.sessions,
        "attempts": replay.attempts,
        "tool_calls": replay.tool_calls,
        "observations": replay.observations,
        "answer": replay.answer.as_ref().filter(|_| replay.is_same()),
        "checkpoint": replay.checkpoint.as_ref().filter(|_| replay.is_same()),
        "notices": replay.notices,
        "difference": difference,
        "error": error,
    })
}
