//! A strategy that leads others: it splits its task into parts, gives them to sub-agents that work at the same time, judges
//! what comes back, tries once more what failed, and puts the rest together.

mod answer;
mod board;
mod brief;
mod change;
mod citations;
mod delegate;
mod finish;
mod grade;
mod host;
mod inputs;
mod json;
mod judging;
mod memory;
mod plan;
mod planning;
mod room;
mod supervisor;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod words;

use hermes_sdk::{Error, Report, Task, session, strategy};

use host::Live;
use supervisor::Supervisor;

#[strategy(manifest = "manifest.toml")]
fn run(task: Task) -> Result<Report, Error> {
    let host = Live::open();
    let report = Supervisor::new(&host, &task).run()?;
    session::emit(&report.summary);
    Ok(report)
}
