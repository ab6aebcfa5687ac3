//! `blackboard`: the notes that agents share, from outside a run.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::Output;
use super::errors::{NOTHING_RAN, Problem};
use super::pasted::pasted;
use super::signals::Stop;
use super::style::{Ink, fit, left, right, size, width};
use super::validated::Blackboard;
use super::{Context, json, stdio, terminal};
use crate::run::Host;
use crate::run::view::{ChangeView, EntryView, SpaceView};
use crate::text::{Shape, clean};

/// How long one wait for changes lasts before the next begins.
const WAIT: Duration = Duration::from_secs(10);
/// Between two waits that told of nothing.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest key or name shown, in columns.
const WIDTH: usize = 256;
/// Columns of a space's name in a table, and of what stands beside it.
const NAME: usize = 40;
const BESIDE: usize = 20;
/// Columns of an author.
const AUTHOR: usize = 40;

/// Does what the command says. Exit code 1 where not all spaces can be told for damage that is not one run's alone.
pub(super) async fn serve(host: &Host, context: Context, command: Blackboard) -> Result<u8, Problem> {
    let board = host.blackboard();
    match command {
        Blackboard::Spaces => {
            let all = board.spaces().await?;
            spaces(&all, context)?;
            return Ok(u8::from(all.iter().any(|space| space.of_database)));
        }
        Blackboard::Keys { space, prefix } => keys(host, context, &space, &prefix).await?,
        Blackboard::Get { space, key } => match board.get(&space, &key).await? {
            Some(entry) => print_entry(&key, &entry, context)?,
            None => return Err(absent(&space, &key)),
        },
        Blackboard::Put {
            space,
            key,
            value,
            media_type,
            if_version,
        } => {
            let version = board.put(&space, &key, &media_type, value, if_version).await?;
            match context.output {
                Output::Text => stdio::tell(&format!("written as version {version}\n")),
                Output::Json | Output::Events => stdio::print_line(&json::line(&json!({ "version": version })))?,
            }
        }
        Blackboard::Watch { space, prefix } => return watch(host, context, &space, &prefix).await,
        Blackboard::Delete { space, key, if_version } => {
            // With a version the write itself tells that there is none. A damaged one can't be read, and is removed all the same.
            if if_version.is_none() && matches!(board.get(&space, &key).await, Ok(None)) {
                return Err(absent(&space, &key));
            }
            board.delete(&space, &key, if_version).await?;
        }
    }
    Ok(0)
}

/// The keys of a space, or the spaces of a run. That there is no such space is an error for a person; a program reads that it has no keys.
async fn keys(host: &Host, context: Context, space: &str, prefix: &str) -> Result<(), Problem> {
    let board = host.blackboard();
    let keys = board.keys(space, prefix).await?;
    if keys.is_empty() && !board.is_there(space).await? {
        match board.spaces_of(space).await? {
            Some(of_run) if of_run.is_empty() && context.output == Output::Text => {
                stdio::tell(&format!(
                    "run {} has written nothing to its spaces\n",
                    fit(space, WIDTH)
                ));
                return Ok(());
            }
            Some(of_run) => return spaces(&of_run, context),
            None if context.output == Output::Text => return Err(no_space(space)),
            None => {}
        }
    }
    match context.output {
        Output::Text => {
            let lines = keys.iter().map(|key| format!("{}\n", fit(key, WIDTH)));
            stdio::print(&lines.collect::<String>())
        }
        Output::Json | Output::Events => stdio::print_line(&json::line(&keys.into())),
    }
}

fn spaces(spaces: &[SpaceView], context: Context) -> Result<(), Problem> {
    if context.output == Output::Text {
        let columns = terminal::columns().map_or(NAME, |columns| columns.saturating_sub(BESIDE).min(NAME));
        let row = |name: &str, keys: &str, size: &str| {
            format!("{} {} {}", left(name, columns), right(keys, 8), right(size, 10))
        };
        let mut out = String::new();
        if !spaces.is_empty() {
            let head = row("space", "keys", "size");
            out.push_str(&format!(
                "{}\n",
                terminal::paint_output(context.color).ink(Ink::Dim, &head)
            ));
        }
        for space in spaces {
            let row = match &space.damaged {
                Some(what) => format!("{} {}", left(&space.name, columns), fit(what, WIDTH)),
                None => row(&space.name, &space.keys.to_string(), &size(space.bytes)),
            };
            out.push_str(&format!("{row}\n"));
        }
        stdio::print(&out)?;
        if spaces.iter().any(|space| space.damaged.is_some()) {
            stdio::tell(&pasted(
                "not all spaces are listed; see all that is damaged:  hermes-host doctor\n",
            ));
        }
        return Ok(());
    }
    let rows: Vec<Value> = spaces
        .iter()
        .map(|s| json!({ "space": s.name, "keys": s.keys, "bytes": s.bytes, "damaged": s.damaged }))
        .collect();
    stdio::print_line(&json::line(&rows.into()))
}

/// The value as it is into a file or a pipe, clean onto a terminal.
fn print_entry(key: &str, entry: &EntryView, context: Context) -> Result<(), Problem> {
    if context.output != Output::Text {
        let text = std::str::from_utf8(&entry.data).ok();
        return stdio::print_line(&json::line(&json!({
            "key": key,
            "version": entry.version,
            "media_type": entry.media_type,
            "author": entry.author,
            "written_at_ms": entry.at_ms,
            "bytes": entry.data.len(),
            "text": text,
        })));
    }
    if !std::io::stdout().is_terminal() {
        return stdio::print_bytes(&entry.data);
    }
    match std::str::from_utf8(&entry.data) {
        Ok(text) => {
            // The prompt comes in a line of its own.
            let text = clean(text, Shape::Block);
            stdio::print_line(text.strip_suffix('\n').unwrap_or(&text))
        }
        Err(_) => {
            let (kind, bytes) = (fit(&entry.media_type, 60), size(entry.data.len() as u64));
            Err(Problem::usage(format!("the value is not text: {bytes} of {kind}"))
                .with_help("send it to a file with  > FILE"))
        }
    }
}

async fn watch(host: &Host, context: Context, space: &str, prefix: &str) -> Result<u8, Problem> {
    let mut stop = Stop::listen().map_err(|e| Problem::usage(format!("signals can't be heard: {e}")))?;
    let board = host.blackboard();
    let mut since = 0;
    loop {
        let changes = tokio::select! {
            changes = board.changes(space, prefix, since, WAIT) => changes?,
            // Whoever watches ends it so: it did what was wanted.
            () = stop.next() => {
                if terminal::kind() == terminal::Kind::Terminal {
                    // Below the `^C` that stands there.
                    stdio::tell("\n");
                }
                return Ok(0);
            }
        };
        if changes.is_empty() {
            // There may be no database yet, and then the answer comes at once.
            tokio::time::sleep(PAUSE).await;
        }
        for change in changes {
            since = since.max(change.version);
            let line = match context.output {
                Output::Text => told(&change),
                Output::Json | Output::Events => json::line(&json!({
                    "key": change.key,
                    "version": change.version,
                    "author": change.author,
                    "deleted": change.deleted,
                })),
            };
            stdio::print_line(&line)?;
        }
    }
}

/// A change in one line: as wide as a terminal, where it goes to one.
fn told(change: &ChangeView) -> String {
    let what = if change.deleted { "deleted" } else { "written" };
    let head = format!("{} {what} ", right(&change.version.to_string(), 6));
    let columns = terminal::columns();
    let author = fit(
        &change.author,
        columns.map_or(AUTHOR, |columns| AUTHOR.min(columns / 3)),
    );
    let tail = format!(" by {author}");
    let room = columns.map_or(WIDTH, |columns| columns.saturating_sub(width(&head) + width(&tail)));
    format!("{head}{}{tail}", fit(&change.key, room.min(WIDTH)))
}

fn no_space(space: &str) -> Problem {
    Problem {
        code: NOTHING_RAN,
        kind: "not-found",
        message: format!("there is no space `{}`", fit(space, WIDTH)),
        help: vec!["all spaces:  hermes-host blackboard ls".to_owned()],
        run: None,
    }
}

fn absent(space: &str, key: &str) -> Problem {
    let (space, key) = (fit(space, WIDTH), fit(key, WIDTH));
    let message = format!("there is no entry `{key}` in `{space}`");
    Problem {
        code: NOTHING_RAN,
        kind: "not-found",
        message,
        help: vec![format!("its keys:  hermes-host blackboard ls {space}")],
        run: None,
    }
}
