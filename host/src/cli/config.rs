//! `config show` and `config reference`.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::style::{Ink, fit, left, width};
use super::{Context, json, stdio, terminal};
use crate::config::{Config, Shown, Source};
use crate::run::usual_model;

/// The longest value, in columns.
const WIDTH: usize = 120;

/// Prints each value and where it came from.
pub(super) fn show(context: Context, config: &Config) -> Result<u8, Problem> {
    let all = settings(config);
    if context.output != Output::Text {
        let rows: Vec<Value> = all
            .iter()
            .map(|s| json!({ "key": s.key, "value": s.plain, "shown": s.value, "source": s.source.to_string() }))
            .collect();
        return stdio::print_line(&json::line(&rows.into())).map(|()| 0);
    }
    let paint = terminal::paint_output(context.color);
    let columns = all.iter().map(|s| width(&s.key)).max().unwrap_or_default().min(60);
    let rows = all.iter().map(|s| {
        let (key, value, source) = (
            left(&s.key, columns),
            fit(&s.value, WIDTH),
            fit(&s.source.to_string(), WIDTH),
        );
        match s.source {
            Source::Default => paint.ink(Ink::Dim, &format!("{key}  {value}")) + "\n",
            _ => format!("{key}  {value}  {}\n", paint.ink(Ink::Good, &format!("({source})"))),
        }
    });
    stdio::print(&rows.collect::<String>()).map(|()| 0)
}

/// Prints what each key takes: the page, or one object for programs.
pub(super) fn reference(context: Context) -> Result<(), Problem> {
    match context.output {
        Output::Text => stdio::print(&crate::config::reference()),
        Output::Json | Output::Events => stdio::print_line(&json::line(&crate::config::reference_values())),
    }
}

/// All settings. Where no model is set, the one that a run would ask stands there, as far as it is known without asking a server.
fn settings(config: &Config) -> Vec<Shown> {
    let mut all = config.shown.clone();
    let unset = all.iter_mut().find(|s| s.key == "model" && config.model.is_none());
    if let Some(row) = unset {
        match usual_model(config) {
            Some((variable, model)) => {
                row.source = Source::Variable(variable.to_owned());
                row.value = model.clone().unwrap_or_else(|| "whichever its server lists".to_owned());
                row.plain = model.into();
            }
            None => row.value = "not set: a run asks a local server, if one answers".to_owned(),
        }
    }
    all
}
