//! `config show`.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::style::{Ink, fit, left, width};
use super::{Context, json, stdio, terminal};
use crate::config::{Config, Source};

/// The longest value, in columns.
const WIDTH: usize = 120;

/// Prints each value and where it came from.
pub(super) fn show(context: Context, config: &Config) -> Result<u8, Problem> {
    if context.output != Output::Text {
        let rows: Vec<Value> = config
            .shown
            .iter()
            .map(|s| json!({ "key": s.key, "value": s.value, "source": s.source.to_string() }))
            .collect();
        return stdio::print_line(&json::line(&rows.into())).map(|()| 0);
    }
    let paint = terminal::paint_output(context.color);
    let columns = config
        .shown
        .iter()
        .map(|s| width(&s.key))
        .max()
        .unwrap_or_default()
        .min(60);
    let rows = config.shown.iter().map(|s| {
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
    let home = fit(&config.home.display().to_string(), WIDTH);
    let rows: String = rows.collect();
    stdio::print(&format!("{}  {home}\n{rows}", left("home", columns))).map(|()| 0)
}
