//! What a plugin is and wants, from its bytes alone. Nothing of it runs, unless it is asked for its tools, in a sandbox without grants.

use serde_json::Value;

use crate::bindings::types;
use crate::engine::precheck::Outline;
use crate::ids::Digest;
use crate::instance::describe;
use crate::json::{self, Most};
use crate::limits::Limits;
use crate::plugin::grant::{GrantError, Kind};
use crate::plugin::load::{Found, Shelf, load};
use crate::plugin::manifest::{self, Wanted};
use crate::plugin::rights::Rights;
use crate::plugin::toolbox::says_repeatable;
use crate::plugin::{Origin, Plugin, exports_agent, exports_toolset};
use crate::run::error::Question;
use crate::run::grants::{GrantFlags, Grants};
use crate::run::prepare::apart;
use crate::run::{Host, HostError, outside};
use crate::text::{self, Shape};

/// Whether to ask the plugin itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Ask it for its tools and its description, in a sandbox without grants.
    Yes,
    /// Run nothing.
    No,
}

/// Whether a plugin that is built in has these bytes. It takes the place of one that a run used and that is gone.
pub fn is_built_in(digest: &Digest) -> bool {
    Shelf::has_built_in(digest)
}

/// One thing that a plugin wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The grant or its kind.
    pub grant: String,
    /// What it makes possible at worst.
    pub at_worst: String,
    /// Why, cleaned; empty where the plugin gives no reason.
    pub reason: String,
    /// Whether those are the plugin's words; else the host's, of what the plugin imports.
    pub is_said: bool,
    /// Whether what is allowed now covers it.
    pub granted: bool,
    /// The flag that would allow it, or why none would.
    pub flag: String,
}

/// A right that every agent has without being granted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRight {
    /// Its kind, by name.
    pub right: String,
    /// What more there is to say of it.
    pub about: String,
    /// What it makes possible at worst.
    pub at_worst: String,
}

/// A tool that a plugin says it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolInfo {
    /// Its name, cleaned.
    pub name: String,
    /// What it does, cleaned.
    pub description: String,
    /// What it takes: first what no call can do without.
    pub arguments: Vec<ArgumentInfo>,
    /// Its schema as JSON, not cleaned; null where it is none that a run could use, or all schemas of the plugin together are too long.
    pub schema: Value,
    /// What its plugin says of a call of it: `read-only`, `destructive`, `idempotent`, `open-world`; none where it says nothing.
    pub hints: Vec<&'static str>,
    /// Whether it says that a second call does no harm. Its word counts where the operator approves it.
    pub says_repeatable: bool,
}

/// An argument that a tool takes, as its schema says plainly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentInfo {
    /// Its name, cleaned.
    pub name: String,
    /// Its type, or the values that it may have, cleaned.
    pub kind: String,
    /// Whether no call can do without it.
    pub required: bool,
    /// What it is for, cleaned.
    pub description: String,
}

/// Whether a plugin was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approved {
    /// As it is.
    Yes,
    /// It was, and has changed since: it does not run by its name.
    Changed,
    /// It was never added, or is named by its path.
    Never,
    /// It comes with the host.
    BuiltIn,
}

/// What a plugin is.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The manifest's name, else the file's.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// The manifest's description.
    pub description: String,
    /// Its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// `strategy`, `tool`.
    pub kinds: Vec<String>,
    /// Its exports.
    pub exports: Vec<String>,
    /// Its imports.
    pub imports: Vec<String>,
    /// What it wants.
    pub wants: Vec<Want>,
    /// Of a strategy, what it has as every agent.
    pub has: Vec<DefaultRight>,
    /// Its tools, where it was asked.
    pub tools: Option<Vec<ToolInfo>>,
    /// The toolset it is, or those it would like.
    pub toolsets: Vec<String>,
    /// Whether it was approved.
    pub approved: Approved,
    /// Where its manifest is.
    pub manifest: String,
    /// What made it, by its `producers` section.
    pub producers: Vec<String>,
}

impl Host {
    /// Looks at a plugin. With [`Ask::No`] nothing of it runs.
    ///
    /// # Errors
    /// It can't be found or read, or is nothing that this host runs.
    pub async fn inspect(&self, plugin: &str, ask: Ask, allow: &[String]) -> Result<Inspection, HostError> {
        let (shelf, limits, name) = (self.shelf(), self.config().limits.clone(), plugin.to_owned());
        let mut found = apart(move || shelf.look(&name, &limits)).await??;
        let approved = match found.origin {
            Origin::Standard => Approved::BuiltIn,
            Origin::Path(_) | Origin::Kept => Approved::Never,
            Origin::Home(_) => match self.shelf().approvals.of(&found.name)? {
                None => Approved::Never,
                Some(approval) if approval.covers(&found).is_err() => Approved::Changed,
                Some(approval) => {
                    found.approval = Some(approval.into());
                    Approved::Yes
                }
            },
        };
        let mut grants = Grants::read(self.config(), &GrantFlags::allowing(allow))?;
        let plugin = self.checked(&found).await?;
        let mut inspection = inspection(&found, &plugin.outline, &mut grants)?;
        inspection.approved = approved;
        if ask == Ask::Yes {
            self.ask_it(&plugin, &mut inspection).await?;
        }
        Ok(inspection)
    }

    /// A plugin that was found, all of whose bytes are checked, tried before or not.
    pub(super) async fn checked(&self, found: &Found) -> Result<Plugin, HostError> {
        let (found, limits) = (found.clone(), self.config().limits.clone());
        Ok(apart(move || load(found, &limits)).await??)
    }

    async fn ask_it(&self, plugin: &Plugin, inspection: &mut Inspection) -> Result<(), HostError> {
        if plugin.is_toolset() {
            let defs = self.ask_tools(plugin).await?;
            inspection.tools = Some(infos(&defs, &self.config().limits));
        }
        if plugin.is_strategy() {
            let prepared = self.resolve(plugin).await?;
            let guest = outside::guest(self, plugin);
            let said = describe(&self.instances, &guest, prepared).await;
            let said = said.map_err(|stopped| outside::unanswered(plugin, Question::Description, &stopped))?;
            if inspection.description.is_empty() {
                inspection.description = text::line(&said.description, 300);
            }
            if inspection.version.is_empty() {
                // Where a manifest could have it: beside the name, among the host's own words.
                inspection.version = Some(said.version)
                    .filter(|it| manifest::is_version(it))
                    .unwrap_or_default();
            }
        }
        Ok(())
    }
}

/// What the bytes of a plugin say of it, and what it would get by these grants.
pub(super) fn inspection(found: &Found, outline: &Outline, grants: &mut Grants) -> Result<Inspection, HostError> {
    let mut kinds = Vec::new();
    if exports_agent(outline) {
        kinds.push("strategy".to_owned());
    }
    if exports_toolset(outline) {
        kinds.push("tool".to_owned());
    }
    let manifest = found.manifest.as_ref();
    let toolsets = manifest
        .map(|m| m.toolset.iter().chain(&m.toolsets).cloned().collect())
        .unwrap_or_default();
    let strategy = exports_agent(outline);
    let rights = grants.of(found, strategy)?;
    let wanted = manifest.map_or_else(|| by_imports(&outline.imports, strategy), |m| m.wants.clone());
    let is_said = manifest.is_some();
    let wants = wanted.iter().map(|want| {
        let (granted, flag) = (rights.covers(&want.grant), grants.flag(&want.grant));
        view(want, is_said, granted, flag)
    });
    let place = match manifest {
        Some(m) if m.beside.is_some() => "a file beside the component",
        Some(_) => "inside the component",
        None => "none: what it may want is told by its imports",
    };
    Ok(Inspection {
        name: found.name.clone(),
        version: manifest.map(|m| m.version.clone()).unwrap_or_default(),
        description: manifest.map(|m| m.description.clone()).unwrap_or_default(),
        digest: found.digest,
        size: found.bytes.len() as u64,
        kinds,
        exports: cleaned(&outline.exports),
        imports: cleaned(&outline.imports),
        wants: wants.collect(),
        has: by_default(strategy, grants.denied())?,
        tools: None,
        toolsets,
        approved: Approved::Never,
        manifest: place.to_owned(),
        producers: cleaned(&outline.producers),
    })
}

/// What a strategy has, as every agent, of which nothing was granted to it, unless it is denied: told by the names of kinds alone. Nothing of what is none.
pub(super) fn by_default(strategy: bool, denied: &[Kind]) -> Result<Vec<DefaultRight>, GrantError> {
    if !strategy {
        return Ok(Vec::new());
    }
    let list = Rights::root("", &[], denied, None)?.list().into_iter();
    let named = list.filter_map(|right| {
        let kind: Kind = right.grant.parse().ok()?;
        Some(DefaultRight {
            right: right.grant,
            about: right.about,
            at_worst: kind.at_worst_by_default(),
        })
    });
    Ok(named.collect())
}

/// What tools say of themselves, cleaned.
pub(super) fn infos(defs: &[types::ToolDef], limits: &Limits) -> Vec<ToolInfo> {
    let most = usize::try_from(limits.tool_description).unwrap_or(usize::MAX);
    let mut room = limits.json_schema.saturating_mul(SCHEMAS);
    let info = |def: &types::ToolDef| {
        let schema = schema(&def.input_schema, &mut room, limits);
        ToolInfo {
            name: text::line(&def.name, 64),
            description: text::cut(&text::clean(&def.description, Shape::Block), most).into_owned(),
            arguments: arguments(&schema),
            schema,
            hints: hints(def),
            says_repeatable: says_repeatable(def),
        }
    };
    defs.iter().map(info).collect()
}

/// What the schemas of a plugin's tools may have together to be told, as a multiple of the length that one may have: read they take far more than as text.
const SCHEMAS: u64 = 16;

/// A tool's schema, where there is `room` for so many bytes.
fn schema(text: &str, room: &mut u64, limits: &Limits) -> Value {
    let bytes = text.len() as u64;
    if bytes > limits.json_schema || bytes > *room {
        return Value::Null;
    }
    *room -= bytes;
    let most = Most {
        depth: limits.json_schema_depth,
        values: limits.json_values,
    };
    json::parse(text, most).unwrap_or_default()
}

/// What a schema says of the arguments, as far as it does so without references and alternatives.
fn arguments(schema: &Value) -> Vec<ArgumentInfo> {
    let Some(properties) = schema["properties"].as_object() else {
        return Vec::new();
    };
    let required = |name: &str| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    let argument = |(name, of): (&String, &Value)| ArgumentInfo {
        name: text::line(name, 64),
        kind: kind(of),
        required: required(name),
        description: text::line(of["description"].as_str().unwrap_or_default(), 300),
    };
    let mut arguments: Vec<ArgumentInfo> = properties.iter().map(argument).collect();
    arguments.sort_by_key(|argument| !argument.required);
    arguments
}

/// The type of an argument, in few words. That it may be null as well says no more than that a call can do without it.
fn kind(schema: &Value) -> String {
    let words = match (&schema["enum"], &schema["type"]) {
        (Value::Array(values), _) => {
            let values: Vec<String> = values.iter().take(VALUES).map(ToString::to_string).collect();
            format!("one of {}", values.join(", "))
        }
        (_, Value::String(name)) => match schema["items"]["type"].as_str() {
            Some(items) if name == "array" => format!("array of {items}"),
            _ => name.clone(),
        },
        (_, Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    };
    text::line(&words, 80)
}

/// Values that an argument may have that are named.
const VALUES: usize = 20;

/// What a tool says of its calls, in the contract's words.
fn hints(def: &types::ToolDef) -> Vec<&'static str> {
    let Some(hints) = &def.annotations else {
        return Vec::new();
    };
    let said = [
        ("read-only", hints.read_only),
        ("destructive", hints.destructive && !hints.read_only),
        ("idempotent", hints.idempotent),
        ("open-world", hints.open_world),
    ];
    said.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
}

/// `is_said` where a manifest says it.
fn view(want: &manifest::Want, is_said: bool, granted: bool, flag: String) -> Want {
    let at_worst = match is_said {
        true => want.grant.at_worst(),
        false => want.grant.at_worst_unsaid(),
    };
    Want {
        grant: want.grant.to_string(),
        at_worst,
        reason: want.reason.clone(),
        is_said,
        granted,
        flag,
    }
}

/// What a plugin without a manifest can use at all: for each kind of right the first import that needs it.
/// Folders and the network are a tool's alone, whatever a strategy imports.
fn by_imports(imports: &[String], strategy: bool) -> Vec<manifest::Want> {
    let kinds = [
        ("hermes:plugin/llm", Kind::Llm),
        ("hermes:plugin/blackboard", Kind::Blackboard),
        ("hermes:plugin/delegation", Kind::Delegation),
        ("hermes:plugin/lessons", Kind::Lessons),
        ("wasi:filesystem/preopens", Kind::Fs),
        ("wasi:http/outgoing-handler", Kind::Net),
    ];
    let want = |(needs, kind)| {
        if strategy && matches!(kind, Kind::Fs | Kind::Net) {
            return None;
        }
        let import = imports.iter().find(|import| import.starts_with(needs))?;
        Some(manifest::Want {
            grant: Wanted { kind, detail: None },
            reason: format!("it has no manifest; it imports {}", text::line(import, 80)),
        })
    };
    kinds.into_iter().filter_map(want).collect()
}

fn cleaned(names: &[String]) -> Vec<String> {
    names.iter().map(|name| text::line(name, 200)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_tool_takes_is_told_with_what_it_needs_first() {
        let schema = json!({
            "properties": {
                "limit": { "type": ["integer", "null"], "description": "How\u{1b}[2J many." },
                "names": { "type": "array", "items": { "type": "string" } },
                "path": { "type": "string" },
                "side": { "enum": ["left", "right"] },
                "x": {},
            },
            "required": ["path"],
        });
        let told = arguments(&schema);
        let told: Vec<(&str, &str, bool)> = told.iter().map(|a| (&*a.name, &*a.kind, a.required)).collect();
        assert_eq!(
            told,
            [
                ("path", "string", true),
                ("limit", "integer", false),
                ("names", "array of string", false),
                ("side", "one of \"left\", \"right\"", false),
                ("x", "any", false),
            ]
        );
        assert!(!arguments(&schema)[1].description.contains('\u{1b}'));
        assert!(arguments(&json!(true)).is_empty());
    }

    #[test]
    fn schemas_are_told_as_far_as_there_is_room() {
        let limits = Limits {
            json_schema: 20,
            ..Limits::default()
        };
        let mut room = 30;
        assert_eq!(schema("{}", &mut room, &limits), json!({}));
        assert_eq!(schema(&format!("{{{:19}}}", ""), &mut room, &limits), Value::Null);
        assert_eq!(schema(&format!("{{{:18}}}", ""), &mut room, &limits), json!({}));
        assert_eq!(room, 8);
        assert_eq!(schema(&format!("{{{:7}}}", ""), &mut room, &limits), Value::Null);
        assert_eq!(schema(&format!("{{{:6}}}", ""), &mut room, &limits), json!({}));
        assert_eq!(schema("{", &mut room, &limits), Value::Null);
    }
}
