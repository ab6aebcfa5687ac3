//! `export`: the conversations of a run, as JSON Lines.

use super::errors::Problem;
use super::{Context, json, stdio};
use crate::run::{Host, TrajectoryForm};

/// Prints one line for each conversation.
pub(super) async fn export(host: &Host, _context: Context, run: &str, form: TrajectoryForm) -> Result<u8, Problem> {
    for line in host.trajectories(run, form).await? {
        stdio::print_line(&json::line(&line))?;
    }
    Ok(0)
}
