//! A plan: sub-tasks, what each needs of the others, and the checks that it makes sense.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inputs::Strategy;
use crate::json;

/// Sub-tasks that a model may make.
pub(crate) const MOST_PLANNED: usize = 6;
/// And at least: less is no division of work.
const LEAST_PLANNED: usize = 2;
/// Sub-tasks of a plan that somebody gave.
const MOST_GIVEN: usize = 16;
/// Letters of an id and of a role.
const ID_CHARS: usize = 32;
const ROLE_CHARS: usize = 40;
/// Iterations that a sub-task may name.
const ITERATIONS: std::ops::RangeInclusive<u64> = 3..=100;
/// The role of a sub-task that has none.
const ROLE: &str = "researcher";

/// One piece of the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubTask {
    pub(crate) id: String,
    /// What the sub-agent is, in a word or two.
    pub(crate) role: String,
    /// All that it will know.
    pub(crate) prompt: String,
    pub(crate) strategy: String,
    pub(crate) toolsets: Vec<String>,
    /// Ids of those whose results it needs.
    pub(crate) after: Vec<String>,
    pub(crate) iterations: Option<u64>,
}

impl SubTask {
    /// What people call it: its role and its id.
    pub(crate) fn label(&self) -> String {
        if self.role == self.id {
            self.id.clone()
        } else {
            format!("{} {}", self.role, self.id)
        }
    }
}

/// Who made a plan, which says how far it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A model: it has 2 to 6 sub-tasks and strategies and toolsets from what it was told.
    Model,
    /// The same, asked a second time: one sub-task will do, and toolsets that there are not are left out.
    ModelAgain,
    /// Whoever gave the task: 1 to 16 sub-tasks, any strategy and any toolsets.
    Giver,
}

/// What there is to choose from.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// The default first; never empty.
    pub(crate) strategies: Vec<Strategy>,
    pub(crate) toolsets: Vec<String>,
}

/// Reads a plan from a model's answer or from inputs.
///
/// # Errors
/// What is wrong with it, in words for its maker.
pub(crate) fn read(answer: &Value, choice: &Choice, maker: Maker) -> Result<Vec<SubTask>, String> {
    let items = json::list(answer, &["tasks", "plan", "sub_tasks", "subtasks"]).ok_or("there is no list `tasks`")?;
    let tasks = items
        .iter()
        .enumerate()
        .map(|(place, item)| sub_task(item, place, choice, maker))
        .collect::<Result<Vec<_>, _>>()?;
    let (least, most) = match maker {
        Maker::Model => (LEAST_PLANNED, MOST_PLANNED),
        Maker::ModelAgain => (1, MOST_PLANNED),
        Maker::Giver => (1, MOST_GIVEN),
    };
    if !(least..=most).contains(&tasks.len()) {
        return Err(format!("it has {} sub-tasks; {least} to {most} are right", tasks.len()));
    }
    check(&tasks)?;
    Ok(tasks)
}

fn sub_task(item: &Value, place: usize, choice: &Choice, maker: Maker) -> Result<SubTask, String> {
    let id = json::text(item, "id").map_or_else(|| format!("t{}", place + 1), |id| slug(&id));
    let prompt = json::text(item, "prompt")
        .or_else(|| json::text(item, "task"))
        .ok_or_else(|| format!("sub-task `{id}` has no `prompt`"))?;
    let default = &choice.strategies[0].name;
    let strategy = json::text(item, "strategy").unwrap_or_else(|| default.clone());
    if maker != Maker::Giver && choice.strategies.iter().all(|known| known.name != strategy) {
        let names: Vec<_> = choice.strategies.iter().map(|known| known.name.as_str()).collect();
        return Err(format!(
            "sub-task `{id}` has the strategy `{strategy}`; there are {}",
            names.join(", ")
        ));
    }
    let mut toolsets = json::texts(item, "toolsets").unwrap_or_else(|| choice.toolsets.clone());
    let unknown = toolsets.iter().find(|name| !choice.toolsets.contains(name)).cloned();
    match (unknown, maker) {
        (Some(name), Maker::Model) => {
            let names = choice.toolsets.join(", ");
            let there_are = if names.is_empty() {
                "there are none".into()
            } else {
                format!("there are {names}")
            };
            return Err(format!("sub-task `{id}` has the toolset `{name}`; {there_are}"));
        }
        (Some(_), Maker::ModelAgain) => toolsets.retain(|name| choice.toolsets.contains(name)),
        _ => {}
    }
    Ok(SubTask {
        after: json::texts(item, "after")
            .unwrap_or_default()
            .iter()
            .map(|id| slug(id))
            .collect(),
        role: role(&json::text(item, "role").unwrap_or_else(|| ROLE.into())),
        iterations: iterations(item),
        id,
        prompt,
        strategy,
        toolsets,
    })
}

/// The iterations that a sub-task names, within what is sensible.
pub(crate) fn iterations(item: &Value) -> Option<u64> {
    let named = item.get("iterations")?.as_u64().filter(|named| *named > 0)?;
    Some(named.clamp(*ITERATIONS.start(), *ITERATIONS.end()))
}

/// An id that fits a key of the blackboard.
fn slug(id: &str) -> String {
    let letters = id
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' });
    letters.take(ID_CHARS).collect::<String>().to_lowercase()
}

fn role(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(ROLE_CHARS).collect()
}

/// Ids are there once, what a sub-task needs is there, and none waits for itself.
fn check(tasks: &[SubTask]) -> Result<(), String> {
    for (place, task) in tasks.iter().enumerate() {
        if tasks[..place].iter().any(|other| other.id == task.id) {
            return Err(format!("two sub-tasks have the id `{}`", task.id));
        }
        if let Some(other) = task.after.iter().find(|id| tasks.iter().all(|task| task.id != **id)) {
            return Err(format!(
                "sub-task `{}` comes after `{other}`, which is not there",
                task.id
            ));
        }
    }
    // Take away what waits for nothing that is left, until nothing more goes.
    let mut left: Vec<&SubTask> = tasks.iter().collect();
    loop {
        let waits = |task: &SubTask| task.after.iter().any(|id| left.iter().any(|other| other.id == *id));
        let rest: Vec<_> = left.iter().copied().filter(|task| waits(task)).collect();
        if rest.is_empty() {
            return Ok(());
        }
        if rest.len() == left.len() {
            let ids: Vec<_> = rest.iter().map(|task| task.id.as_str()).collect();
            return Err(format!("these sub-tasks wait for one another: {}", ids.join(", ")));
        }
        left = rest;
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
