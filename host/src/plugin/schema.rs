//! A tool's schema, held against what checking arguments with it may take. A schema of a few kilobytes can ask for more steps than anybody
//! has time for: by references that unfold, by one to itself that is followed twice at each level of a value, or by patterns.

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

/// What the states of a compiled pattern may take, as a multiple of the length that it may have.
const COMPILED: u64 = 512;

/// Bytes of states up to which a pattern is a small one, and for how many of those a larger one counts: a text may be held against each of its states.
const SMALL: usize = 16 * 1024;
const LARGE: u64 = 16;

/// What checks a tool's arguments.
#[derive(Debug)]
pub(crate) struct Checker {
    validator: jsonschema::Validator,
    /// Patterns in the schema.
    pub(crate) patterns: u64,
    /// Bytes of arguments up to which their patterns have time for them; none where there is no pattern.
    most: Option<u64>,
}

impl Checker {
    /// Holds arguments, of so many bytes as they were written, against the schema.
    ///
    /// # Errors
    /// The first thing that does not fit, in words that follow "the arguments of X". All of them would be too many: a stranger's schema can find
    /// half a million.
    pub(crate) fn check(&self, arguments: &Value, bytes: usize) -> Result<(), String> {
        if let Some(most) = self.most.filter(|most| bytes as u64 > *most) {
            return Err(format!(
                "have {bytes} bytes, and of a tool with so many patterns in its schema no more than {most} are checked (limits.json.matching)"
            ));
        }
        self.validator.validate(arguments).map_err(|error| {
            format!(
                "do not fit its schema: {} (at {})",
                text::line(&error.to_string(), 200),
                text::line(&error.instance_path().to_string(), 80)
            )
        })
    }
}

/// Reads a schema and makes what checks arguments with it.
///
/// # Errors
/// It is none, is over a cap, or could take without end; in words that follow "the schema of X:".
pub(crate) fn read(text: &str, limits: &Limits) -> Result<(Checker, Value), String> {
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
    let graph = Graph::of(&value, limits)?;
    let steps = graph.steps()?;
    if steps.parts > limits.json_schema_steps {
        return Err(format!(
            "with its references followed it has more than {} parts (limits.json.schema_steps)",
            limits.json_schema_steps
        ));
    }
    let patterns = graph.patterns.iter().map(|own| own.count).sum();
    let compiled = usize::try_from(limits.json_pattern.saturating_mul(COMPILED)).unwrap_or(usize::MAX);
    // No reference leaves the schema, and patterns run in time that grows with their text and their size alone.
    let options = jsonschema::PatternOptions::regex()
        .size_limit(compiled)
        .dfa_size_limit(compiled / 4);
    let validator = jsonschema::options()
        .with_pattern_options(options)
        // An argument is compiled as a pattern for nobody.
        .with_format("regex", |_: &str| true)
        .build(&value)
        .map_err(|error| unusable(&error, patterns))?;
    let most = limits.json_matching.checked_div(steps.weight);
    let checker = Checker {
        validator,
        patterns,
        most,
    };
    Ok((checker, value))
}

/// What is wrong with a schema that is none.
fn unusable(error: &jsonschema::ValidationError<'_>, patterns: u64) -> String {
    let words = text::line(&error.to_string(), 200);
    if patterns > 0 && words.contains("regex") {
        return format!("{words} that compiles to {COMPILED} times limits.json.pattern at most");
    }
    words
}

/// The patterns of one part of a schema.
#[derive(Debug, Clone, Copy, Default)]
struct Patterns {
    count: u64,
    /// By their sizes.
    weight: u64,
}

/// What is asked for one value at most, all references followed.
#[derive(Debug, Clone, Copy, Default)]
struct Steps {
    parts: u64,
    /// Of the patterns in them.
    weight: u64,
}

impl Steps {
    const fn and(self, other: Self) -> Self {
        Self {
            parts: self.parts.saturating_add(other.parts),
            weight: self.weight.saturating_add(other.weight),
        }
    }
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

/// The objects of a schema.
struct Graph {
    /// Which of them asks which.
    edges: Vec<Vec<Edge>>,
    /// The patterns that each of them has itself.
    patterns: Vec<Patterns>,
}

impl Graph {
    fn of(root: &Value, limits: &Limits) -> Result<Self, String> {
        let mut graph = Self {
            edges: Vec::new(),
            patterns: Vec::new(),
        };
        let (mut places, mut references, mut count) = (HashMap::new(), Vec::new(), 0);
        let mut open = vec![(String::new(), root, None)];
        while let Some((path, schema, asked)) = open.pop() {
            if !schema.is_object() && !schema.is_boolean() {
                continue;
            }
            let node = graph.edges.len();
            graph.edges.push(Vec::new());
            let own = patterns(schema, limits.json_patterns - count, limits)?;
            count += own.count;
            graph.patterns.push(own);
            if let Some((from, inner, property)) = asked {
                let edges: &mut Vec<Edge> = &mut graph.edges[from];
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
            graph.edges[node].push(Edge {
                to,
                inner: false,
                property: false,
            });
        }
        Ok(graph)
    }

    fn steps(&self) -> Result<Steps, String> {
        let round = |inner: bool| self.components(|edge: &Edge| inner || !edge.inner);
        // What comes back to itself for the same value never ends.
        let (same, sizes) = round(false);
        let ends = |node: usize| {
            self.edges[node]
                .iter()
                .all(|edge| edge.inner || same[edge.to] != same[node])
        };
        if sizes.iter().any(|size| *size > 1) || !(0..self.edges.len()).all(ends) {
            return Err("it refers to itself for the same value".to_owned());
        }
        let (all, sizes) = round(true);
        let mut steps = vec![Steps::default(); sizes.len()];
        // A component's number is higher than those of all that it asks.
        let mut order: Vec<usize> = (0..self.edges.len()).collect();
        order.sort_by_key(|node| all[*node]);
        for node in order {
            let (back, out): (Vec<&Edge>, Vec<&Edge>) =
                self.edges[node].iter().partition(|edge| all[edge.to] == all[node]);
            let ways =
                back.iter().filter(|edge| !edge.property).count() + usize::from(back.iter().any(|edge| edge.property));
            if ways > 1 {
                return Err("it refers to itself in more than one way at once".to_owned());
            }
            let own = Steps {
                parts: 1,
                weight: self.patterns[node].weight,
            };
            let asked = out.iter().map(|edge| steps[all[edge.to]]).fold(own, Steps::and);
            steps[all[node]] = steps[all[node]].and(asked);
        }
        Ok(steps[all[0]])
    }

    /// Which nodes reach each other over these edges: a number for each node, and how many have it. Whoever is asked has the lower number.
    /// (Tarjan's algorithm, with a stack of its own.)
    fn components(&self, follows: impl Fn(&Edge) -> bool) -> (Vec<usize>, Vec<usize>) {
        const NONE: usize = usize::MAX;
        let count = self.edges.len();
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
                    let before = self.edges[node][next - 1].to;
                    if of[before] == NONE && follows(&self.edges[node][next - 1]) {
                        low[node] = low[node].min(low[before]);
                    }
                }
                if let Some(edge) = self.edges[node].get(next) {
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

/// The patterns that a part has itself, if there are no more than `room`.
fn patterns(part: &Value, room: u64, limits: &Limits) -> Result<Patterns, String> {
    let own = part.get("pattern").and_then(Value::as_str);
    let names = part.get("patternProperties").and_then(Value::as_object);
    let names = names.into_iter().flat_map(|names| names.keys().map(String::as_str));
    let mut found = Patterns::default();
    for pattern in own.into_iter().chain(names) {
        let (most, bytes) = (limits.json_pattern, pattern.len());
        if bytes as u64 > most {
            return Err(format!(
                "it has a pattern of {bytes} bytes, over limits.json.pattern ({most})"
            ));
        }
        if found.count == room {
            let most = limits.json_patterns;
            return Err(format!("it has more than {most} patterns (limits.json.patterns)"));
        }
        found.count += 1;
        found.weight += if is_small(pattern) { 1 } else { LARGE };
    }
    Ok(found)
}

fn is_small(pattern: &str) -> bool {
    let options = jsonschema::PatternOptions::regex().size_limit(SMALL);
    let alone = serde_json::json!({ "pattern": pattern });
    jsonschema::options()
        .with_pattern_options(options)
        .build(&alone)
        .is_ok()
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
        Ok(Graph::of(schema, &Limits::default())?.steps()?.parts)
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
    fn patterns_are_counted_once_and_weigh_as_often_as_they_are_held_against_a_value() {
        let limits = Limits {
            json_matching: 1000,
            ..Limits::default()
        };
        let counted = |schema: &Value| {
            let read = read(&schema.to_string(), &limits);
            read.map(|(checker, _)| (checker.patterns, checker.most))
        };
        let none = json!({ "properties": { "a": { "type": "string" } } });
        assert_eq!(counted(&none), Ok((0, None)));
        let word = json!({ "$ref": "#/$defs/word" });
        let thrice = json!({
            "$defs": { "word": { "pattern": "^[a-z]+$" }, "unused": { "pattern": "^b" } },
            "properties": { "a": word, "b": word, "c": word },
            "patternProperties": { "^x": {}, "^y": {} },
        });
        assert_eq!(counted(&thrice), Ok((4, Some(1000 / 5))));
        let large = json!({ "properties": { "a": { "pattern": "^[^/x]{1,60}y$" } } });
        assert_eq!(counted(&large), Ok((1, Some(1000 / LARGE))));
    }

    #[test]
    fn patterns_are_so_many_so_long_and_so_large() {
        let limits = Limits {
            json_pattern: 64,
            json_patterns: 2,
            ..Limits::default()
        };
        let refused = |patterns: &[&str]| {
            let properties: Map<String, Value> = patterns
                .iter()
                .map(|pattern| ((*pattern).to_owned(), json!({ "pattern": pattern })))
                .collect();
            read(&json!({ "properties": properties }).to_string(), &limits).err()
        };
        assert_eq!(refused(&[&"a".repeat(64), "b"]), None);
        let says = |patterns: &[&str], words: &str| {
            let refused = refused(patterns).expect(words);
            assert!(refused.contains(words), "{refused}");
        };
        says(&[&"a".repeat(65)], "65 bytes, over limits.json.pattern (64)");
        says(&["a", "b", "c"], "more than 2 patterns (limits.json.patterns)");
        says(&["^(?:\\p{L}{64}){64}$"], "512 times limits.json.pattern");
    }

    /// Patterns as tools have them.
    #[test]
    fn what_is_usual_fits() {
        for pattern in [
            "^.{1,100}$",
            "^[^/]{1,255}$",
            "^[a-z0-9-]{1,512}$",
            r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$",
            "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
            r"^(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$",
            r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$",
            r"^arn:aws[a-zA-Z-]*:lambda:[a-z0-9-]+:\d{12}:function:[a-zA-Z0-9_-]{1,140}(?::\$LATEST|:[a-zA-Z0-9_-]+)?$",
        ] {
            let schema = json!({ "properties": { "a": { "pattern": pattern } } });
            let read = read(&schema.to_string(), &Limits::default());
            assert!(read.is_ok(), "{pattern}: {:?}", read.err());
        }
    }

    #[test]
    fn what_patterns_are_held_against_is_bounded_from_both_sides() {
        let limits = Limits {
            json_matching: 1024,
            ..Limits::default()
        };
        let schema = json!({ "properties": { "a": { "pattern": "b$" }, "c": { "pattern": "^d" } } });
        let (checker, _) = read(&schema.to_string(), &limits).expect("a schema");
        let value = json!({ "a": "b" });
        assert_eq!(checker.check(&value, 512), Ok(()));
        let refused = checker.check(&value, 513).expect_err("too long for two patterns");
        assert!(
            refused.contains("no more than 512") && refused.contains("limits.json.matching"),
            "{refused}"
        );
        // What has no pattern is not held back.
        let (checker, _) = read("{}", &limits).expect("a schema");
        assert_eq!(checker.check(&value, 1 << 20), Ok(()));
    }

    #[test]
    fn no_argument_is_compiled_as_a_pattern() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": { "a": { "format": "regex" }, "b": { "format": "ipv4" } },
        });
        let (checker, _) = read(&schema.to_string(), &Limits::default()).expect("a schema");
        assert_eq!(checker.check(&json!({ "a": "(" }), 9), Ok(()));
        assert!(
            checker.check(&json!({ "b": "(" }), 9).is_err(),
            "other formats are asserted"
        );
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
