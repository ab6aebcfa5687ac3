//! The description of a sub-agent, one word at a time.

use serde::Serialize;

use super::{Access, ChildHandle, ChildSpec, SpaceGrant, spawn};
use crate::{Amount, Dimension, Error};

/// How often a child may be started in all, where its parent says nothing: what the host does by itself.
const ATTEMPTS: u32 = 4;

/// A sub-agent to be.
///
/// Without further words it runs its parent's strategy on its parent's model with the host's budget for children, holds its
/// parent's folders and sites, and has no toolsets and no spaces.
#[derive(Debug, Clone)]
pub struct Child {
    spec: ChildSpec,
    /// Why the inputs are no JSON object, told when it is spawned.
    bad_inputs: Option<String>,
}

impl Child {
    /// A child for this role, which is a word or two for people and for lessons, with this prompt, which is all that it
    /// will know of its task.
    pub fn new(role: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self {
            spec: ChildSpec {
                strategy: None,
                role: role.into(),
                prompt: prompt.into(),
                inputs: None,
                model: None,
                toolsets: vec![],
                spaces: vec![],
                grants: vec![],
                budget: vec![],
                max_attempts: ATTEMPTS,
            },
            bad_inputs: None,
        }
    }

    /// Runs this strategy.
    #[must_use]
    pub fn strategy(mut self, name: impl Into<String>) -> Self {
        self.spec.strategy = Some(name.into());
        self
    }

    /// Asks this one of its parent's models, by its alias.
    #[must_use]
    pub fn model(mut self, alias: impl Into<String>) -> Self {
        self.spec.model = Some(alias.into());
        self
    }

    /// Has this one of its parent's toolsets.
    #[must_use]
    pub fn toolset(mut self, name: impl Into<String>) -> Self {
        self.spec.toolsets.push(name.into());
        self
    }

    /// Has these of its parent's toolsets.
    #[must_use]
    pub fn toolsets(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.spec.toolsets.extend(names.into_iter().map(Into::into));
        self
    }

    /// Shares a space of the blackboard, as far as its keys start with `prefix`; all of it for an empty one. The child
    /// sees the keys under their full names.
    #[must_use]
    pub fn space(mut self, name: impl Into<String>, prefix: impl Into<String>, access: Access) -> Self {
        self.spec.spaces.push(SpaceGrant {
            space: name.into(),
            prefix: prefix.into(),
            access,
        });
        self
    }

    /// Holds this grant of a kind, in the operator's notation, instead of all that its parent holds of it:
    /// `fs:./papers/a`, `net:example.org`, or `fs:none` for nothing of that kind.
    #[must_use]
    pub fn grant(mut self, grant: impl Into<String>) -> Self {
        self.spec.grants.push(grant.into());
        self
    }

    /// May use this much. Iterations and fuel are its own; any other dimension is set apart from what its parent has
    /// left, and what the child leaves comes back. Said twice, the last counts.
    #[must_use]
    pub fn limit(mut self, dimension: Dimension, value: u64) -> Self {
        self.spec.budget.retain(|amount| amount.dimension != dimension);
        self.spec.budget.push(Amount { dimension, value });
        self
    }

    /// Ends after this long, in milliseconds, and never later than its parent.
    #[must_use]
    pub fn deadline_ms(self, milliseconds: u64) -> Self {
        self.limit(Dimension::WallClockMs, milliseconds)
    }

    /// Is started this often in all, after crashes and hangs; 1 for no restart. All attempts share one budget.
    #[must_use]
    pub fn attempts(mut self, most: u32) -> Self {
        self.spec.max_attempts = most.max(1);
        self
    }

    /// Gets these inputs: anything that serializes to a JSON object.
    #[must_use]
    pub fn inputs(mut self, inputs: &impl Serialize) -> Self {
        match serde_json::to_value(inputs) {
            Ok(value) if value.is_object() => {
                self.spec.inputs = Some(value.to_string());
                self.bad_inputs = None;
            }
            Ok(_) => self.bad_inputs = Some("they must be a JSON object".into()),
            Err(error) => self.bad_inputs = Some(error.to_string()),
        }
        self
    }

    /// The contract's record of it.
    ///
    /// # Errors
    /// `invalid-input` for inputs that are no JSON object.
    pub fn spec(&self) -> Result<ChildSpec, Error> {
        match &self.bad_inputs {
            None => Ok(self.spec.clone()),
            Some(why) => Err(Error::invalid_input(format!(
                "the inputs of `{}` can't be used: {why}",
                self.spec.role
            ))),
        }
    }

    /// Starts it, and returns at once.
    ///
    /// # Errors
    /// As for [`Child::spec`] and [`spawn`].
    pub fn spawn(&self) -> Result<ChildHandle, Error> {
        spawn(&self.spec()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn what_is_not_said_is_the_parents_or_nothing() {
        let spec = Child::new("researcher", "Find it.").spec().unwrap();
        assert_eq!((spec.role.as_str(), spec.prompt.as_str()), ("researcher", "Find it."));
        assert_eq!((spec.strategy, spec.model, spec.inputs), (None, None, None));
        assert!(spec.toolsets.is_empty() && spec.spaces.is_empty() && spec.grants.is_empty() && spec.budget.is_empty());
        assert_eq!(spec.max_attempts, 4);
    }

    #[test]
    fn every_word_lands_in_its_field() {
        let child = Child::new("researcher", "Find it.")
            .strategy("research")
            .model("small")
            .toolset("filesystem")
            .toolsets(["web"])
            .space("notes", "a/", Access::ReadOnly)
            .grant("fs:./papers/a")
            .limit(Dimension::Iterations, 10)
            .limit(Dimension::Iterations, 20)
            .deadline_ms(60_000)
            .attempts(0)
            .inputs(&serde_json::json!({ "year": 2024 }));
        let spec = child.spec().unwrap();
        assert_eq!(
            (spec.strategy.as_deref(), spec.model.as_deref()),
            (Some("research"), Some("small"))
        );
        assert_eq!(spec.toolsets, ["filesystem", "web"]);
        assert_eq!(
            (spec.spaces[0].prefix.as_str(), spec.spaces[0].access),
            ("a/", Access::ReadOnly)
        );
        assert_eq!(spec.grants, ["fs:./papers/a"]);
        let amounts: Vec<_> = spec.budget.iter().map(|a| (a.dimension, a.value)).collect();
        assert_eq!(amounts, [(Dimension::Iterations, 20), (Dimension::WallClockMs, 60_000)]);
        assert_eq!(
            (spec.max_attempts, spec.inputs.as_deref()),
            (1, Some(r#"{"year":2024}"#))
        );
    }

    #[test]
    fn inputs_must_be_an_object() {
        let error = Child::new("analyst", "Reckon.").inputs(&[1, 2]).spec().unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(error.message.contains("`analyst`"), "{}", error.message);
        let mended = Child::new("analyst", "Reckon.")
            .inputs(&[1])
            .inputs(&serde_json::json!({}));
        assert!(mended.spec().is_ok());
    }
}
