//! The tools of a run: asked once, cleaned, checked, and frozen. Models see bare names, so two tools of one name are refused rather
//! than one of them chosen.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bindings::types;
use crate::error::Refusal;
use crate::limits::Limits;
use crate::plugin::rights::ToolRights;
use crate::plugin::schema::{self, Patterns};
use crate::plugin::{Origin, Plugin};
use crate::text::{self, Shape};

/// One tool, as a run has it.
pub struct Tool {
    /// The name that models see.
    pub name: String,
    /// The name that its plugin gave it.
    pub own_name: String,
    /// As models are told of it.
    pub def: types::ToolDef,
    /// Who serves it.
    pub plugin: Arc<Plugin>,
    /// The toolset that it belongs to.
    pub toolset: Option<String>,
    /// What its plugin may do.
    pub rights: Arc<ToolRights>,
    /// Whether a call whose end is unknown may be made again: approved by the operator, or built in.
    pub repeatable: bool,
    schema: schema::Checker,
}

/// Which tools of a plugin may be called again where it is not known how a call ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repeatable {
    /// None.
    #[default]
    Never,
    /// All: they are built in.
    Always,
    /// Those of these names that their plugin gave them, which were approved with it.
    Approved(BTreeSet<String>),
}

impl Repeatable {
    /// Those of a plugin. Its own word counts for nothing but where it was approved.
    pub fn of(plugin: &Plugin) -> Self {
        match (&plugin.origin, &plugin.approval) {
            (Origin::Standard, _) => Self::Always,
            (_, Some(approval)) => Self::Approved(approval.repeatable.iter().cloned().collect()),
            _ => Self::Never,
        }
    }

    /// Whether the tool is one of them that its plugin calls so.
    pub fn has(&self, own_name: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Approved(names) => names.contains(own_name),
        }
    }
}

/// Whether a plugin says of a tool that a second call does no harm. Its own word.
pub fn says_repeatable(def: &types::ToolDef) -> bool {
    let hints = def.annotations.as_ref();
    hints.is_some_and(|hints| hints.read_only || hints.idempotent)
}

/// The toolset whose calls run programs.
pub const CODE: &str = "code_execution";

impl Tool {
    /// The toolset that it belongs to: its plugin's own where the manifest names none.
    pub fn toolset_name(&self) -> &str {
        self.toolset.as_deref().unwrap_or(&self.plugin.name)
    }

    /// Whether a call of it is nothing but running a program. A manifest alone can't say so, as iterations hang on it: the operator approved
    /// it, or it is built in.
    pub fn runs_code(&self) -> bool {
        self.repeatable && self.toolset.as_deref() == Some(CODE)
    }

    /// Whether `arguments` are an object that fits the tool's schema.
    ///
    /// # Errors
    /// `invalid-input` with the first thing that does not fit.
    pub fn check(&self, arguments: &Value) -> Result<(), Refusal> {
        if !arguments.is_object() {
            return Err(Refusal::invalid(format!(
                "The arguments of {} must be a JSON object.",
                self.name
            )));
        }
        let fits = self.schema.check(arguments);
        fits.map_err(|what| Refusal::invalid(format!("The arguments of {} {what}.", self.name)))
    }
}

/// A plugin whose tools can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolboxError {
    /// Two tools of one name.
    #[error("two tools are called {name}: one of {first}, one of {second}; rename one with --tool PREFIX=PATH")]
    Clash {
        /// The name.
        name: String,
        /// Whose.
        first: String,
        /// Whose else.
        second: String,
    },
    /// A list over a limit, or a tool that is not well-formed.
    #[error("the tools of {plugin} can't be used: {what}")]
    Bad {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        what: String,
    },
}

impl ToolboxError {
    /// The kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Clash { .. } => "load(name-clash)",
            Self::Bad { .. } => "load(bad-tools)",
        }
    }
}

/// The tools of a run. Cheap to clone.
#[derive(Clone, Default)]
pub struct Toolbox(Arc<BTreeMap<String, Arc<Tool>>>);

impl Toolbox {
    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Tool>> {
        self.0.get(name).cloned()
    }

    /// All tools, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.0.values()
    }

    /// A toolbox of these tools.
    ///
    /// # Errors
    /// Two of one name.
    pub fn new(tools: Vec<Tool>) -> Result<Self, ToolboxError> {
        let mut by_name: BTreeMap<String, Arc<Tool>> = BTreeMap::new();
        for tool in tools {
            if let Some(other) = by_name.get(&tool.name) {
                let (first, second) = (other.plugin.name.clone(), tool.plugin.name.clone());
                return Err(ToolboxError::Clash {
                    name: tool.name,
                    first,
                    second,
                });
            }
            by_name.insert(tool.name.clone(), Arc::new(tool));
        }
        Ok(Self(Arc::new(by_name)))
    }
}

/// What the tools of one plugin are made from.
pub struct Listed {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// What its `list-tools` answered.
    pub defs: Vec<types::ToolDef>,
    /// Put before each name.
    pub prefix: Option<String>,
    /// What the plugin may do.
    pub rights: Arc<ToolRights>,
    /// Which of its tools may be called again.
    pub repeatable: Repeatable,
}

/// The tools of one plugin, checked and cleaned.
///
/// # Errors
/// Too many, an odd name, a schema over its limits or that is no JSON Schema.
pub fn tools(listed: &Listed, limits: &Limits) -> Result<Vec<Tool>, ToolboxError> {
    let bad = |what: String| ToolboxError::Bad {
        plugin: listed.plugin.name.clone(),
        what,
    };
    if listed.defs.len() as u64 > limits.tool_list {
        return Err(bad(format!(
            "it lists {} tools, over limits.tool_list ({})",
            listed.defs.len(),
            limits.tool_list
        )));
    }
    let toolset = listed.plugin.manifest.as_ref().and_then(|m| m.toolset.clone());
    let (mut tools, mut patterns) = (Vec::new(), Patterns::default());
    for def in listed.defs.clone() {
        let own_name = def.name.clone();
        let name = full_name(listed.prefix.as_deref(), &own_name);
        if !name_is_good(&name) {
            let shown = text::line(&name, 80);
            return Err(bad(format!(
                "{shown:?} is no tool name (1 to 64 letters, digits, _ and -)"
            )));
        }
        let (schema, said) =
            schema::read(&def.input_schema, limits).map_err(|what| bad(format!("the schema of {name}: {what}")))?;
        patterns = patterns.and(schema.patterns);
        patterns
            .within(limits)
            .map_err(|what| bad(format!("the schemas of its tools up to {name} have {what}")))?;
        tools.push(Tool {
            def: clean(def, &name, said, limits),
            name,
            repeatable: listed.repeatable.has(&own_name),
            own_name,
            plugin: listed.plugin.clone(),
            toolset: toolset.clone(),
            rights: listed.rights.clone(),
            schema,
        });
    }
    Ok(tools)
}

/// The name by which models know a tool.
pub fn full_name(prefix: Option<&str>, own: &str) -> String {
    match prefix {
        Some(prefix) => format!("{prefix}_{own}"),
        None => own.to_owned(),
    }
}

fn name_is_good(name: &str) -> bool {
    let letters = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    letters && (1..=64).contains(&name.len())
}

fn clean(mut def: types::ToolDef, name: &str, mut schema: Value, limits: &Limits) -> types::ToolDef {
    let most = usize::try_from(limits.tool_description).unwrap_or(usize::MAX);
    name.clone_into(&mut def.name);
    def.description = text::cut(&text::clean(&def.description, Shape::Block), most).into_owned();
    def.title = def.title.map(|title| text::line(&title, 80));
    if clean_annotations(&mut schema) {
        def.input_schema = schema.to_string();
    }
    def
}

/// What JSON Schema says to readers and not to validators.
const ANNOTATIONS: [&str; 3] = ["title", "description", "$comment"];

/// Cleans what a schema says to its readers, at any depth; whether that changed anything. What it validates by stays as it is.
fn clean_annotations(schema: &mut Value) -> bool {
    let mut changed = false;
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| changed |= clean_annotations(item)),
        Value::Object(keys) => {
            for (key, value) in keys {
                match value {
                    Value::String(said) if ANNOTATIONS.contains(&key.as_str()) => {
                        if let Cow::Owned(cleaned) = text::clean(said, Shape::Block) {
                            *said = cleaned;
                            changed = true;
                        }
                    }
                    value => changed |= clean_annotations(value),
                }
            }
        }
        _ => {}
    }
    changed
}
