//! What the task's inputs say: strategies and toolsets to choose from, and a plan that is made already.

use hermes_sdk::Error;
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
    /// One of those that is called nearly as one with a meaning, and that one.
    misspelt: Option<(String, &'static str)>,
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
        let (named, plan) = (entries.remove("strategies"), entries.remove("plan"));
        let nearly = |name: &String| Some((name.clone(), *KEYS.iter().find(|key| is_nearly(name, key))?));
        let misspelt = entries.keys().find_map(nearly);
        Self {
            strategies: strategies(named.as_ref()),
            toolsets,
            plan,
            other: (!entries.is_empty()).then(|| Value::Object(entries).to_string()),
            misspelt,
        }
    }

    /// Whether they say what somebody meant.
    ///
    /// # Errors
    /// One of them is called nearly as one that has a meaning: it would be passed over without a word.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.misspelt {
            None => Ok(()),
            Some((name, meant)) => Err(Error::invalid_input(format!(
                "there is no input `{name}`; did you mean `{meant}`?"
            ))),
        }
    }
}

/// The inputs that have a meaning of their own.
const KEYS: [&str; 3] = ["strategies", "toolsets", "plan"];

/// Whether a name is a key with one or two slips: letters that are too many, too few or others, whatever their case.
fn is_nearly(name: &str, key: &str) -> bool {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let key: Vec<char> = key.chars().collect();
    let slips = if key.len() > 4 { 2 } else { 1 };
    name.len().abs_diff(key.len()) <= slips && distance(&name, &key) <= slips
}

/// How many letters one has to change, add or take away.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
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
        let both = Inputs::read(Some(r#"{"strategies":["a","b"]}"#));
        assert_eq!(both.strategies.len(), 2);
    }

    #[test]
    fn an_input_that_is_misspelt_is_refused_with_the_name_that_was_meant() {
        let read = |name: &str| Inputs::read(Some(&format!(r#"{{"{name}":[]}}"#)));
        for (name, meant) in [
            ("plann", "plan"),
            ("Plan", "plan"),
            ("strategys", "strategies"),
            ("toolset", "toolsets"),
        ] {
            let words = format!("there is no input `{name}`; did you mean `{meant}`?");
            assert_eq!(read(name).check().unwrap_err().message, words);
        }
        for data in ["planet", "year", "tools", "strategic goals"] {
            assert!(read(data).check().is_ok(), "{data}");
        }
    }
}
