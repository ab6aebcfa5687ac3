//! A tool's schema, held against what checking arguments with it may take. A schema of a few kilobytes can ask for more steps than anybody
//! has time for: by references that unfold, or by one to itself that is followed twice at each level of a value.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::json;
use crate::limits::Limits;
use crate::text;

/// Keywords whose schemas are for what lies in a value, and not for the value itself.
const INNER: [&str; 10] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
];
/// Keywords that hold schemas by name.
const NAMED: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];
/// Keywords whose schemas count only where something refers to them.
const DEFINED: [&str; 2] = ["$defs", "definitions"];
/// Keywords that hold values.
const VALUES: [&str; 4] = ["enum", "const", "default", "examples"];
/// Keywords that make a reference mean something else than a path.
const MOVING: [&str; 5] = [
    "$dynamicRef",
    "$recursiveRef",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$anchor",
];

/// Reads a schema and makes what checks arguments with it.
///
/// # Errors
/// It is none, is over a cap, or could take without end; in words that follow "the schema of X:".
pub(crate) fn read(text: &str, limits: &Limits) -> Result<(jsonschema::Validator, Value), String> {
    if text.len() as u64 > limits.json_schema {
        return Err(format!(
            "{} bytes, over limits.json.schema ({})",
            text.len(),
            limits.json_schema
        ));
    }
    let depth = limits.json_schema_depth;
    let value = json::parse(text, depth).map_err(|e| match e {
        json::JsonError::TooDeep(_) => format!("it nests deeper than {depth} (limits.json.schema_depth)"),
        json::JsonError::Malformed(what) => what,
    })?;
    if !value.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    let steps = Graph::of(&value)?.steps()?;
    if steps > limits.json_schema_steps {
        return Err(format!(
            "with its references followed it has more than {} parts (limits.json.schema_steps)",
            limits.json_schema_steps
        ));
    }
    // No reference leaves the schema, and patterns run in linear time.
    let validator = jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(&value)
        .map_err(|e| text::line(&e.to_string(), 200))?;
    Ok((validator, value))
}

/// One part of a schema asks another.
#[derive(Debug, Clone, Copy)]
struct Edge {
    to: usize,
    /// For what lies in the value.
    inner: bool,
    /// By `properties`: of these, one alone is for any one inner value.
    property: bool,
}

/// The objects of a schema, and which asks which.
struct Graph(Vec<Vec<Edge>>);

impl Graph {
    fn of(root: &Value) -> Result<Self, String> {
        let mut graph = Self(Vec::new());
        let (mut places, mut references) = (HashMap::new(), Vec::new());
        let mut open = vec![(String::new(), root, None)];
        while let Some((path, schema, asked)) = open.pop() {
            if !schema.is_object() && !schema.is_boolean() {
                continue;
            }
            let node = graph.0.len();
            graph.0.push(Vec::new());
            if let Some((from, inner, property)) = asked {
                let edges: &mut Vec<Edge> = &mut graph.0[from];
                edges.push(Edge {
                    to: node,
                    inner,
                    property,
                });
            }
            places.insert(path.clone(), node);
            let Value::Object(schema) = schema else { continue };
            references.extend(reference(schema, node == 0)?.map(|to| (node, to)));
            for (key, value) in schema {
                let name = key.as_str();
                let asked = (!DEFINED.contains(&name)).then_some((node, INNER.contains(&name), name == "properties"));
                let at = format!("{path}/{}", escaped(name));
                match value {
                    _ if VALUES.contains(&name) => {}
                    Value::Object(named) if NAMED.contains(&name) || DEFINED.contains(&name) => {
                        open.extend(
                            named
                                .iter()
                                .map(|(name, inside)| (format!("{at}/{}", escaped(name)), inside, asked)),
                        );
                    }
                    Value::Array(items) => {
                        open.extend(
                            items
                                .iter()
                                .enumerate()
                                .map(|(n, item)| (format!("{at}/{n}"), item, asked)),
                        );
                    }
                    inside => open.push((at, inside, asked)),
                }
            }
        }
        for (node, path) in references {
            let to = *places
                .get(&path)
                .ok_or_else(|| format!("it refers to {:?}, which it does not have", text::line(&path, 80)))?;
            graph.0[node].push(Edge {
                to,
                inner: false,
                property: false,
            });
        }
        Ok(graph)
    }

    /// Parts that are asked for one value at most, all references followed.
    fn steps(&self) -> Result<u64, String> {
        let round = |inner: bool| self.components(|edge: &Edge| inner || !edge.inner);
        // What comes back to itself for the same value never ends.
        let (same, sizes) = round(false);
        let ends = |node: usize| {
            self.0[node]
                .iter()
                .all(|edge| edge.inner || same[edge.to] != same[node])
        };
        if sizes.iter().any(|size| *size > 1) || !(0..self.0.len()).all(ends) {
            return Err("it refers to itself for the same value".to_owned());
        }
        let (all, sizes) = round(true);
        let mut steps = vec![0u64; sizes.len()];
        // A component's number is higher than those of all that it asks.
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|node| all[*node]);
        for node in order {
            let (back, out): (Vec<&Edge>, Vec<&Edge>) = self.0[node].iter().partition(|edge| all[edge.to] == all[node]);
            let ways =
                back.iter().filter(|edge| !edge.property).count() + usize::from(back.iter().any(|edge| edge.property));
            if ways > 1 {
                return Err("it refers to itself in more than one way at once".to_owned());
            }
            let asked = out.iter().map(|edge| steps[all[edge.to]]).fold(1, u64::saturating_add);
            steps[all[node]] = steps[all[node]].saturating_add(asked);
        }
        Ok(steps[all[0]])
    }

    /// Which nodes reach each other over these edges: a number for each node, and how many have it. Whoever is asked has the lower number.
    /// (Tarjan's algorithm, with a stack of its own.)
    fn components(&self, follows: impl Fn(&Edge) -> bool) -> (Vec<usize>, Vec<usize>) {
        const NONE: usize = usize::MAX;
        let count = self.0.len();
        let (mut number, mut low, mut of) = (vec![NONE; count], vec![0; count], vec![NONE; count]);
        let (mut sizes, mut seen, mut path) = (Vec::new(), 0, Vec::new());
        for root in 0..count {
            let mut work = if number[root] == NONE {
                vec![(root, 0)]
            } else {
                Vec::new()
            };
            while let Some((node, next)) = work.pop() {
                if next == 0 {
                    (number[node], low[node]) = (seen, seen);
                    seen += 1;
                    path.push(node);
                } else {
                    let before = self.0[node][next - 1].to;
                    if of[before] == NONE && follows(&self.0[node][next - 1]) {
                        low[node] = low[node].min(low[before]);
                    }
                }
                if let Some(edge) = self.0[node].get(next) {
                    work.push((node, next + 1));
                    if follows(edge) && number[edge.to] == NONE {
                        work.push((edge.to, 0));
                    }
                } else if low[node] == number[node] {
                    let from = path.iter().rposition(|other| *other == node).unwrap_or_default();
                    sizes.push(path.len() - from);
                    path.drain(from..).for_each(|other| of[other] = sizes.len() - 1);
                }
            }
        }
        (of, sizes)
    }
}

/// The path within the schema that an object refers to.
fn reference(object: &Map<String, Value>, is_root: bool) -> Result<Option<String>, String> {
    if let Some(key) = MOVING
        .iter()
        .find(|key| object.get(**key).is_some_and(Value::is_string))
    {
        return Err(format!(
            "it uses {key}; refer by a path in the schema (\"#/$defs/NAME\")"
        ));
    }
    if !is_root && object.get("$id").is_some_and(Value::is_string) {
        return Err("it has another schema with an $id in it".to_owned());
    }
    let Some(Value::String(to)) = object.get("$ref") else {
        return Ok(None);
    };
    let path = to
        .strip_prefix('#')
        .filter(|path| path.is_empty() || path.starts_with('/'));
    match path {
        Some(path) if !path.contains('%') => Ok(Some(path.to_owned())),
        _ => Err(format!(
            "it refers to {:?}; refer by a path in the schema (\"#/$defs/NAME\")",
            text::line(to, 80)
        )),
    }
}

/// A name as a step of a path (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(schema: &Value) -> Result<u64, String> {
        Graph::of(schema)?.steps()
    }

    fn levels(n: usize) -> Value {
        let level = |at: usize| {
            let next = json!({ "$ref": format!("#/$defs/l{}", at + 1) });
            (format!("l{at}"), json!({ "anyOf": [next, next] }))
        };
        let mut defs: Map<String, Value> = (0..n).map(level).collect();
        defs.insert(format!("l{n}"), json!({}));
        json!({ "$defs": defs, "properties": { "a": { "$ref": "#/$defs/l0" } } })
    }

    #[test]
    fn references_are_counted_as_often_as_they_are_followed() {
        assert_eq!(steps(&json!({ "properties": { "a": {}, "b": {} } })), Ok(3));
        let flat = steps(&levels(3)).expect("no cycle");
        let deeper = steps(&levels(4)).expect("no cycle");
        assert_eq!((flat, deeper), (31, 63));
        assert_eq!(steps(&levels(200)), Ok(u64::MAX));
        let wide = json!({ "$defs": { "a": { "type": "string" } }, "properties": { "x": { "$ref": "#/$defs/a" }, "y": { "$ref": "#/$defs/a" } } });
        assert!(steps(&wide).expect("no cycle") < 12);
    }

    #[test]
    fn a_bound_holds_from_both_sides() {
        let exact = |steps| Limits {
            json_schema_steps: steps,
            ..Limits::default()
        };
        let schema = levels(4);
        let needs = steps(&schema).expect("no cycle");
        assert!(read(&schema.to_string(), &exact(needs)).is_ok());
        let refused = read(&schema.to_string(), &exact(needs - 1)).expect_err("one too many");
        assert!(refused.contains("limits.json.schema_steps"), "{refused}");
    }

    #[test]
    fn a_schema_may_refer_to_itself_one_level_deeper_and_once() {
        let tree = json!({ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } });
        assert!(steps(&tree).is_ok());
        let list = json!({ "$defs": { "n": { "properties": { "next": { "items": { "$ref": "#/$defs/n" } } } } }, "$ref": "#/$defs/n" });
        assert!(steps(&list).is_ok());
        for itself in [json!({ "$ref": "#" }), json!({ "allOf": [{ "not": { "$ref": "#" } }] })] {
            assert!(
                steps(&itself).is_err_and(|e| e.contains("for the same value")),
                "{itself}"
            );
        }
        let twice = json!({ "anyOf": [{ "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } } }] });
        let both = json!({ "items": { "$ref": "#" }, "contains": { "$ref": "#" } });
        for itself in [twice, both] {
            assert!(
                steps(&itself).is_err_and(|e| e.contains("more than one way")),
                "{itself}"
            );
        }
    }

    #[test]
    fn a_reference_is_a_path_in_the_schema() {
        for to in ["other.json", "#name", "#/%41", "http://x/#/a", "#/nowhere"] {
            assert!(steps(&json!({ "$ref": to })).is_err(), "{to}");
        }
        assert!(steps(&json!({ "$defs": { "a/b": {} }, "$ref": "#/$defs/a~1b" })).is_ok());
        // A schema may be no more than true or false.
        assert_eq!(
            steps(&json!({ "$defs": { "no": false }, "$ref": "#/$defs/no", "additionalProperties": true })),
            Ok(3)
        );
        // What only looks like one is a value.
        assert!(steps(&json!({ "enum": [{ "a": 1 }], "const": { "b": 2 } })).is_ok());
    }
}
