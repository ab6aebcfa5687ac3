//! What the task's inputs say: strategies and toolsets to choose from, and a plan that is made already.

use serde_json::Value;

use crate::json;

/// The strategy that a sub-task has where nobody names one.
pub(crate) const RESEARCH: &str = "research";
const RESEARCH_ABOUT: &str = "answers a question from documents and pages, with sources that it has checked";

/// A strategy that sub-agents may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strategy {
    pub(crate) name: String,
    /// What it is good at, for the model that plans; may be empty.
    pub(crate) about: String,
}

/// What was asked for besides the task itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// To choose from, the default first; never empty.
    pub(crate) strategies: Vec<Strategy>,
    /// Toolsets to pass on, where the task names them.
    pub(crate) toolsets: Option<Vec<String>>,
    /// A plan that is made already.
    pub(crate) plan: Option<Value>,
    /// All other inputs, as JSON, for whoever plans.
    pub(crate) other: Option<String>,
}

impl Inputs {
    /// Reads the task's inputs.
    pub(crate) fn read(inputs: Option<&str>) -> Self {
        let parsed = inputs.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let mut entries = match parsed {
            Some(Value::Object(entries)) => entries,
            _ => serde_json::Map::new(),
        };
        let toolsets = Value::Object(entries.clone());
        let toolsets = json::texts(&toolsets, "toolsets");
        entries.remove("toolsets");
        Self {
            strategies: strategies(entries.remove("strategies").as_ref()),
            toolsets,
            plan: entries.remove("plan"),
            other: (!entries.is_empty()).then(|| Value::Object(entries).to_string()),
        }
    }
}

/// From a list of names, or from names with what each is good at.
fn strategies(named: Option<&Value>) -> Vec<Strategy> {
    let strategy = |name: &str, about: &str| Strategy {
        name: name.trim().to_owned(),
        about: about.trim().to_owned(),
    };
    let mut strategies: Vec<_> = match named {
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| strategy(name, ""))
            .collect(),
        Some(Value::Object(names)) => {
            let about = |words: &Value| words.as_str().unwrap_or_default().to_owned();
            names
                .iter()
                .map(|(name, words)| strategy(name, &about(words)))
                .collect()
        }
        _ => vec![],
    };
    strategies.retain(|strategy| !strategy.name.is_empty());
    if strategies.is_empty() {
        strategies.push(strategy(RESEARCH, RESEARCH_ABOUT));
    }
    for strategy in &mut strategies {
        if strategy.name == RESEARCH && strategy.about.is_empty() {
            strategy.about = RESEARCH_ABOUT.into();
        }
    }
    // The names of an object have no order that anybody chose.
    if named.is_some_and(Value::is_object) {
        strategies.sort_by_key(|strategy| strategy.name != RESEARCH);
    }
    strategies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_inputs_it_is_research() {
        for text in [None, Some("{}"), Some("no json"), Some("[1]")] {
            let inputs = Inputs::read(text);
            assert_eq!(inputs.strategies[0].name, RESEARCH);
            assert!(inputs.plan.is_none() && inputs.other.is_none() && inputs.toolsets.is_none());
        }
    }

    #[test]
    fn what_is_named_is_read_and_the_rest_kept() {
        let inputs = Inputs::read(Some(
            r#"{"strategies":{"critic":"finds mistakes","research":""},"toolsets":["web"],"plan":[],"year":2024}"#,
        ));
        let names: Vec<_> = inputs
            .strategies
            .iter()
            .map(|s| (s.name.as_str(), s.about.as_str()))
            .collect();
        assert_eq!(names, [(RESEARCH, RESEARCH_ABOUT), ("critic", "finds mistakes")]);
        assert_eq!(inputs.toolsets, Some(vec!["web".to_owned()]));
        assert!(inputs.plan.is_some());
        assert_eq!(inputs.other.as_deref(), Some(r#"{"year":2024}"#));
        assert_eq!(Inputs::read(Some(r#"{"strategies":["a","b"]}"#)).strategies.len(), 2);
    }
}
