//! `plugin`: adds plugins after they were looked at, and lists, widens, narrows and takes back what was approved with them.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::{Problem, notices};
use super::inspect::Screen;
use super::pasted::pasted;
use super::run::listen;
use super::style::{Ink, Paint, fit, left, width};
use super::validated::{Add, Plugin};
use super::{Context, inspect, json, progress, question, run, stdio, terminal};
use crate::config::Config;
use crate::run::{AllowSpec, ApprovedPlugin, Holds, Host, Review};
use crate::text::{self, shell_word};

/// Columns of a name, and of a version.
const NAME: usize = 24;
const VERSION: usize = 12;
/// What a list shows of a digest.
const SHORT: usize = 12;
/// Columns of a line that is no table's.
const WIDTH: usize = 400;
/// What a strategy has besides what it was given.
const EVERY_AGENT: &str = "what every agent has";

/// Does what was asked for.
pub(super) async fn serve(config: Config, context: Context, command: Plugin) -> Result<u8, Problem> {
    match command {
        Plugin::Add(add) => self::add(&Host::open(config, context.compile_in)?, context, &add).await,
        Plugin::Allow(spec) => allow(&Host::to_read(config)?, context, &spec).await,
        Plugin::List => list(&Host::to_read(config)?, context),
        Plugin::Remove(name) => remove(&Host::to_read(config)?, context, &name),
    }
}

/// Shows a plugin, asks, and adds it.
async fn add(host: &Host, context: Context, add: &Add) -> Result<u8, Problem> {
    const BEFORE: &str = "before the plugin was approved: nothing is written";
    let mut stop = listen()?;
    let review = tokio::select! {
        biased;
        () = stop.next() => return Err(Problem::stopped(BEFORE)),
        review = progress::until_ready(run::mode(context), host.review(&add.spec)) => review?,
    };
    stdio::tell(&notices(context.paint, &host.notices()));
    if !review.stands {
        stdio::tell(&screen(context).review(&review));
        if !add.yes {
            if !question::can_be_asked() {
                return Err(unasked(&review));
            }
            let name = &review.inspection.name;
            if !question::ask(&format!("Add {name} so?"), &mut stop, BEFORE).await? {
                return Err(denied(format!("{name} was not approved: nothing is written")));
            }
        }
    }
    let already = review.stands;
    let added = host.approve(review).await?;
    let what = if already { "was approved before" } else { "is added" };
    told(
        context,
        &added,
        &format!("{} {what}, with: {}", added.name, rights(&added)),
    )
}

/// That nobody said yes, with the line that does.
fn unasked(review: &Review) -> Problem {
    let found = &review.inspection;
    let mut words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some(program) = words.first_mut() {
        "hermes-host".clone_into(program);
    }
    // Behind a `--` a flag would be none.
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let mut more = Vec::new();
    for (flag, digest) in [("--digest", Some(found.digest)), ("--manifest", review.beside())] {
        let is_there =
            |word: &String| word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
        if let Some(digest) = digest.filter(|_| !words.iter().any(is_there)) {
            more.extend([flag.to_owned(), digest.to_string()]);
        }
    }
    more.push("--yes".to_owned());
    words.splice(end..end, more);
    let line: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    denied(format!(
        "{} is not approved, and nobody can be asked: this is no terminal",
        found.name
    ))
    .with_help(format!("approve it with  {}", line.join(" ")))
}

fn denied(message: String) -> Problem {
    Problem {
        code: 4,
        kind: "denied",
        ..Problem::usage(message)
    }
}

fn screen(context: Context) -> Screen {
    Screen {
        paint: context.paint,
        columns: terminal::error_columns().unwrap_or(WIDTH),
    }
}

/// Says what would be possible at worst, and then changes what was approved.
async fn allow(host: &Host, context: Context, spec: &AllowSpec) -> Result<u8, Problem> {
    let gets = host.would_allow(spec).await?;
    stdio::tell(&screen(context).further(&gets));
    let changed = host.allow(spec).await?;
    let name = &changed.name;
    told(context, &changed, &format!("{name} may now: {}", rights(&changed)))
}

/// What stands now: for people a line, for programs the object of a list.
fn told(context: Context, plugin: &ApprovedPlugin, words: &str) -> Result<u8, Problem> {
    match context.output {
        Output::Text => stdio::tell(&format!("{}\n", fit(words, WIDTH))),
        Output::Json | Output::Events => stdio::print_line(&json::line(&object(plugin)))?,
    }
    Ok(0)
}

fn remove(host: &Host, context: Context, name: &str) -> Result<u8, Problem> {
    let path = host.remove_plugin(name)?.display().to_string();
    match context.output {
        Output::Text => stdio::tell(&format!(
            "{name} is removed; runs that it was part of keep their own copy\n"
        )),
        Output::Json | Output::Events => {
            stdio::print_line(&json::line(&json!({ "name": name, "path": path })))?;
        }
    }
    Ok(0)
}

fn list(host: &Host, context: Context) -> Result<u8, Problem> {
    let plugins = host.plugins()?;
    if context.output != Output::Text {
        let rows: Vec<Value> = plugins.iter().map(object).collect();
        return stdio::print_line(&json::line(&rows.into())).map(|()| 0);
    }
    if plugins.is_empty() {
        let home = host.config().home.join("plugins").display().to_string();
        stdio::tell(&format!(
            "no plugins in {}; add one with  {}\n",
            text::line(&home, 200),
            pasted("hermes-host plugin add ./NAME.wasm")
        ));
        return Ok(0);
    }
    let screen = Screen {
        paint: terminal::paint_output(context.color),
        columns: terminal::columns().unwrap_or(inspect::WIDTH),
    };
    let mut out = table(&plugins, screen.paint);
    // It is the same of each.
    let agent = plugins.iter().find(|plugin| !plugin.has.is_empty());
    if let Some(agent) = agent {
        screen.by_default(&mut out, EVERY_AGENT, &agent.has);
    }
    stdio::print(&out)?;
    Ok(0)
}

fn table(plugins: &[ApprovedPlugin], paint: Paint) -> String {
    let name = plugins
        .iter()
        .map(|p| width(&p.name))
        .max()
        .unwrap_or_default()
        .clamp(4, NAME);
    let version = plugins
        .iter()
        .map(|p| width(&p.version))
        .max()
        .unwrap_or_default()
        .clamp(7, VERSION);
    let line = |columns: [&str; 4]| {
        let [n, d, v, g] = columns;
        format!(
            "{}  {}  {}  {}",
            left(n, name),
            left(d, SHORT),
            left(v, version),
            fit(g, WIDTH)
        )
    };
    let head = line(["name", "digest", "version", "grants"]);
    let mut out = format!("{}\n", paint.ink(Ink::Dim, &head));
    for plugin in plugins {
        let digest = plugin.digest.map(|digest| digest.short()).unwrap_or_default();
        let row = line([&plugin.name, &digest, &plugin.version, &rights(plugin)]);
        out.push_str(&format!("{}\n", row.trim_end()));
        if let Some(words) = mend(plugin) {
            out.push_str(&format!("  {}\n", paint.ink(Ink::Warn, &fit(&pasted(&words), WIDTH))));
        }
    }
    out
}

/// What is wrong, and what to do about it.
fn mend(plugin: &ApprovedPlugin) -> Option<String> {
    let (name, path) = (&plugin.name, shell_word(&plugin.path.display().to_string()));
    Some(match &plugin.holds {
        Holds::Yes => return None,
        Holds::Changed(change) if change.damaged.is_some() => {
            let why = change.damaged.as_deref().unwrap_or_default();
            format!("can't be used: {why}   hermes-host plugin remove {name}")
        }
        Holds::Changed(_) => format!("has changed since it was approved   hermes-host plugin add {path}"),
        Holds::Unreadable(why) => format!("can't be read: {why}   hermes-host plugin remove {name}"),
        Holds::NotAdded => format!("was never added   hermes-host plugin add {path}"),
    })
}

fn rights(plugin: &ApprovedPlugin) -> String {
    let own = plugin.own.iter().map(|grant| format!("own {grant}"));
    let by_default = (!plugin.has.is_empty()).then(|| EVERY_AGENT.to_owned());
    let all: Vec<String> = plugin.allow.iter().cloned().chain(own).chain(by_default).collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

fn object(plugin: &ApprovedPlugin) -> Value {
    json!({
        "name": plugin.name,
        "digest": plugin.digest.map(|digest| digest.to_string()),
        "version": plugin.version,
        "allow": plugin.allow,
        "own": plugin.own,
        "has": plugin.has.iter().map(|has| &has.right).collect::<Vec<_>>(),
        "repeatable": plugin.repeatable,
        "status": plugin.holds.name(),
        "approved_ms": plugin.approved_ms,
        "path": plugin.path.display().to_string(),
    })
}
