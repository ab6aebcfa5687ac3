//! A changed plan for a sub-task that failed: what the model makes of it, or the same once more with what is known now.

use crate::json;
use crate::plan::{Choice, SubTask, iterations};

/// What a sub-agent has by itself, for raising it where nothing was named.
const ITERATIONS: u64 = 50;
/// The most that raising leads to.
const MOST_ITERATIONS: u64 = 100;

/// The form of the model's answer.
pub(crate) const SCHEMA: &str = r#"{"type":"object","properties":{"give_up":{"type":"string"},"role":{"type":"string"},"prompt":{"type":"string"},"strategy":{"type":"string"},"toolsets":{"type":"array","items":{"type":"string"}},"iterations":{"type":"integer"}},"required":["give_up","role","prompt","strategy","toolsets","iterations"],"additionalProperties":false}"#;

/// What becomes of a sub-task that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Again(SubTask),
    /// It is not worth another try, for this reason.
    GiveUp(String),
}

/// Reads the model's answer; none where it says nothing that can be used. Strategies and toolsets that there are not stay as
/// they were.
pub(crate) fn read(answer: &str, task: &SubTask, choice: &Choice) -> Option<Change> {
    let answer = json::find(answer)?;
    let prompt = json::text(&answer, "prompt");
    if let Some(why) = json::text(&answer, "give_up")
        && prompt.is_none()
    {
        return Some(Change::GiveUp(why));
    }
    let mut changed = task.clone();
    changed.prompt = prompt?;
    if let Some(strategy) =
        json::text(&answer, "strategy").filter(|name| choice.strategies.iter().any(|s| s.name == *name))
    {
        changed.strategy = strategy;
    }
    if let Some(toolsets) = json::texts(&answer, "toolsets")
        && toolsets.iter().all(|name| choice.toolsets.contains(name))
    {
        changed.toolsets = toolsets;
    }
    changed.iterations = iterations(&answer).or(task.iterations);
    Some(Change::Again(changed))
}

/// The change that needs no model: the same with more iterations.
pub(crate) fn plain(task: &SubTask) -> SubTask {
    let before = task.iterations.unwrap_or(ITERATIONS);
    SubTask {
        iterations: Some((before * 3 / 2).min(MOST_ITERATIONS).max(before)),
        ..task.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Strategy;

    fn task() -> SubTask {
        SubTask {
            id: "a".into(),
            role: "researcher".into(),
            prompt: "Find it.".into(),
            strategy: "research".into(),
            toolsets: vec!["web".into()],
            after: vec!["z".into()],
            iterations: Some(20),
        }
    }

    fn choice() -> Choice {
        let strategies = ["research", "critic"].map(|name| Strategy {
            name: name.into(),
            about: String::new(),
        });
        Choice {
            strategies: strategies.to_vec(),
            toolsets: vec!["filesystem".into(), "web".into()],
        }
    }

    #[test]
    fn the_model_may_change_prompt_strategy_tools_and_budget() {
        let answer = r#"{"give_up":"","role":"x","prompt":"Look in /b.","strategy":"critic","toolsets":["filesystem"],"iterations":40}"#;
        let Some(Change::Again(changed)) = read(answer, &task(), &choice()) else {
            panic!()
        };
        assert_eq!(
            (changed.prompt.as_str(), changed.strategy.as_str()),
            ("Look in /b.", "critic")
        );
        assert_eq!(
            (&changed.toolsets[..], changed.iterations),
            (&["filesystem".to_owned()][..], Some(40))
        );
        assert_eq!(
            (changed.id.as_str(), &changed.after[..]),
            ("a", &["z".to_owned()][..]),
            "its place in the plan stays"
        );
    }

    #[test]
    fn what_there_is_not_changes_nothing() {
        let answer = r#"{"prompt":"Look again.","strategy":"hack","toolsets":["terminal"]}"#;
        let Some(Change::Again(changed)) = read(answer, &task(), &choice()) else {
            panic!()
        };
        assert_eq!(
            changed,
            SubTask {
                prompt: "Look again.".into(),
                ..task()
            }
        );
        assert_eq!(read("no idea", &task(), &choice()), None);
    }

    #[test]
    fn it_may_give_up() {
        let answer = r#"{"give_up":"there is no such paper","prompt":""}"#;
        let gave_up = Some(Change::GiveUp("there is no such paper".into()));
        assert_eq!(read(answer, &task(), &choice()), gave_up);
    }

    #[test]
    fn without_a_model_it_gets_more_time() {
        assert_eq!(plain(&task()).iterations, Some(30));
        let unnamed = SubTask {
            iterations: None,
            ..task()
        };
        assert_eq!(plain(&unnamed).iterations, Some(75));
        let large = SubTask {
            iterations: Some(100),
            ..task()
        };
        assert_eq!(plain(&large).iterations, Some(100));
    }
}
