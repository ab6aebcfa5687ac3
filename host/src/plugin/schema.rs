//! A tool's schema, held against what checking arguments with it may take. A schema of a few kilobytes can ask for more steps than anybody
//! has time for, and for more stack than anybody has: by references that unfold, by a chain of them that is followed at each level of a value, by one to
//! itself that is followed twice there, by patterns, or by what it lists.

use std::collections::HashMap;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use crate::blocking;
use crate::json::{self, Most};
use crate::limits::Limits;
use crate::text;

/// Keywords whose schemas are for what lies in a value, and not for the value itself.
const INNER: [&str; 8] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
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

/// Keywords for what nothing else in a schema has looked at. To know that, all that is beside and below them is asked again, at each level of them once more.
const ASKING_AGAIN: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];

/// Keywords that go through a text, and how often each counts as a state of a pattern does.
const THROUGH_TEXT: [(&str, u64); 5] = [
    ("minLength", 1),
    ("maxLength", 1),
    ("format", 16),
    ("contentEncoding", 16),
    ("contentMediaType", 16),
];

/// Keywords that list values, each of which is one more thing to look for.
const LISTS: [&str; 3] = ["enum", "required", "dependentRequired"];

/// What a compiled pattern may take, as a multiple of the length that it may have; and what all of a plugin's may take, as a multiple of that.
const COMPILED: u64 = 512;
const ALL_COMPILED: u64 = 16;

/// What the smallest compiled patterns take, in bytes; others are counted by the double of it, of that, and so on.
const SMALLEST: u64 = 4 * 1024;

/// Bytes of a compiled pattern for one of its states. A text is held against each of them at worst, byte by byte.
const STATE: u64 = 64;

/// How many parts may ask each other for one value and what lies in it, each from within the one before: each takes some of the stack on which the guest
/// runs. (9,000 fit where it has 2 MiB.)
const DEEP: u64 = 1_000;

/// Values times parts, and bytes times states, from which on checking may take milliseconds.
const LIGHT: u64 = 100_000;

/// What may be copied to say what does not fit: an error may hold the value that it is about, and the part of the schema, and there may be one for each part
/// and value. In bytes.
const SAID: u64 = 64 << 20;

/// Arguments that are named where another was given.
const NAMES: usize = 20;

/// What checks a tool's arguments.
#[derive(Debug)]
pub(crate) struct Checker {
    validator: jsonschema::Validator,
    /// Patterns in the schema.
    pub(crate) patterns: Patterns,
    steps: Steps,
    /// What the schema itself takes, in bytes.
    bytes: u64,
    /// The most values times parts, and pairs of items times parts that compare them.
    checking: u64,
    /// The most bytes of text times states of patterns.
    matching: u64,
    /// The arguments that the schema names, as words; empty where it names none.
    names: String,
}

impl Checker {
    /// Holds arguments against the schema.
    ///
    /// # Errors
    /// They are more than there is time for, or do not fit, in words that follow "the arguments of X": with the first thing that does not, where finding
    /// words for it takes little.
    pub(crate) fn check(&self, arguments: &Value) -> Result<(), String> {
        let Steps { parts, states, unique } = self.steps;
        let size = Size::of(arguments);
        let visits = size.values.saturating_mul(parts);
        let checking = visits.saturating_add(size.pairs.saturating_mul(unique));
        let matching = size.text.saturating_mul(states);
        if checking > self.checking {
            return Err(format!(
                "have {} values and keys, too many for a schema of {parts} parts ({} in all, limits.json.checking)",
                size.values, self.checking
            ));
        }
        if matching > self.matching {
            return Err(format!(
                "have {} bytes of text, too many for the patterns in its schema, which have {states} states ({} in all, limits.json.matching)",
                size.text, self.matching
            ));
        }
        let validate = || {
            if self.validator.is_valid(arguments) {
                return Ok(());
            }
            if visits.saturating_mul(size.bytes().saturating_add(self.bytes)) > SAID {
                return Err("do not fit its schema".to_owned());
            }
            self.validator.validate(arguments).map_err(|error| self.said(&error))
        };
        if checking.saturating_add(matching) > LIGHT {
            blocking::in_place(validate)
        } else {
            validate()
        }
    }

    /// What does not fit, where, and which arguments there are where one is none of them.
    fn said(&self, error: &ValidationError<'_>) -> String {
        let mut said = format!("do not fit its schema: {}", text::line(&error.to_string(), 200));
        let place = error.instance_path().to_string();
        let unexpected = matches!(
            error.kind(),
            ValidationErrorKind::AdditionalProperties { .. } | ValidationErrorKind::UnevaluatedProperties { .. }
        );
        if !place.is_empty() {
            said.push_str(&format!(" (at {})", text::line(&place, 80)));
        } else if unexpected && !self.names.is_empty() {
            said.push_str(&format!("; its arguments are {}", self.names));
        }
        said
    }
}

/// The arguments that a schema names, as words.
fn names(schema: &Value) -> String {
    let Some(properties) = schema["properties"].as_object() else {
        return String::new();
    };
    let mut names: Vec<String> = properties.keys().take(NAMES).map(|name| text::line(name, 40)).collect();
    if properties.len() > NAMES {
        names.push("…".to_owned());
    }
    names.join(", ")
}

/// What there is to check in arguments.
#[derive(Debug, Default, PartialEq, Eq)]
struct Size {
    /// Values, and keys.
    values: u64,
    /// Bytes of strings and keys.
    text: u64,
    /// Pairs of items of one array.
    pairs: u64,
}

impl Size {
    /// What it takes in memory, roughly.
    fn bytes(&self) -> u64 {
        self.values.saturating_mul(64).saturating_add(self.text)
    }

    fn of(arguments: &Value) -> Self {
        let mut size = Self::default();
        let mut open = vec![arguments];
        while let Some(value) = open.pop() {
            size.values += 1;
            match value {
                Value::String(text) => size.text += text.len() as u64,
                Value::Array(items) => {
                    size.pairs = size.pairs.saturating_add((items.len() as u64).saturating_pow(2));
                    open.extend(items);
                }
                Value::Object(items) => {
                    size.values += items.len() as u64;
                    size.text += items.keys().map(|key| key.len() as u64).sum::<u64>();
                    open.extend(items.values());
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        size
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
    let most = Most {
        depth,
        values: limits.json_values,
    };
    let value = json::parse(text, most).map_err(|e| match e {
        json::JsonError::TooDeep(_) => format!("it nests deeper than {depth} (limits.json.schema_depth)"),
        other => other.to_string(),
    })?;
    if !value.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    let graph = Graph::of(&value, limits)?;
    let steps = graph.steps(limits.json_depth)?;
    if steps.parts > limits.json_schema_steps {
        return Err(format!(
            "with its references followed it has more than {} parts (limits.json.schema_steps)",
            limits.json_schema_steps
        ));
    }
    let compiled = compiled(limits);
    // No reference leaves the schema, and patterns run in time that grows with their text and their size alone.
    let options = jsonschema::PatternOptions::regex()
        .size_limit(size(compiled))
        .dfa_size_limit(size(compiled / 4));
    let validator = jsonschema::options()
        .with_pattern_options(options)
        // An argument is compiled as a pattern for nobody.
        .with_format("regex", |_: &str| true)
        .build(&value)
        .map_err(|error| text::line(&error.to_string(), 200))?;
    let checker = Checker {
        validator,
        patterns: graph.patterns,
        steps,
        bytes: Size::of(&value).bytes(),
        checking: limits.json_checking,
        matching: limits.json_matching,
        names: names(&value),
    };
    Ok((checker, value))
}

/// What one compiled pattern may take, in bytes.
fn compiled(limits: &Limits) -> u64 {
    limits.json_pattern.saturating_mul(COMPILED)
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Patterns of one part of a schema, of a schema, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Patterns {
    pub(crate) count: u64,
    /// What they take when they are compiled.
    pub(crate) bytes: u64,
}

impl Patterns {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Whether one plugin may have so many.
    ///
    /// # Errors
    /// It may not, in words that follow "it has".
    pub(crate) fn within(self, limits: &Limits) -> Result<(), String> {
        if self.count > limits.json_patterns {
            return Err(format!(
                "more than {} patterns (limits.json.patterns)",
                limits.json_patterns
            ));
        }
        if self.bytes > compiled(limits).saturating_mul(ALL_COMPILED) {
            return Err(format!(
                "patterns that compile to more than {ALL_COMPILED} times {COMPILED} times limits.json.pattern ({}) together",
                limits.json_pattern
            ));
        }
        Ok(())
    }
}

/// What is asked for one value at most, all references followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Steps {
    parts: u64,
    /// Of the patterns in them, and what else goes through a text.
    states: u64,
    /// Those that compare all items of an array with each other.
    unique: u64,
}

impl Steps {
    const fn and(self, other: Self) -> Self {
        Self {
            parts: self.parts.saturating_add(other.parts),
            states: self.states.saturating_add(other.states),
            unique: self.unique.saturating_add(other.unique),
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
    /// The patterns of all of them.
    patterns: Patterns,
    /// What each of them asks itself: one thing, and all that it lists.
    own: Vec<Steps>,
}

impl Graph {
    fn of(root: &Value, limits: &Limits) -> Result<Self, String> {
        let mut graph = Self {
            edges: Vec::new(),
            patterns: Patterns::default(),
            own: Vec::new(),
        };
        let (mut places, mut references) = (HashMap::new(), Vec::new());
        let mut open = vec![(String::new(), root, None)];
        while let Some((path, schema, asked)) = open.pop() {
            if !schema.is_object() && !schema.is_boolean() {
                continue;
            }
            let node = graph.edges.len();
            graph.edges.push(Vec::new());
            let own = patterns(schema, &mut graph.patterns, limits)?;
            graph.own.push(asked_by(schema, own));
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

    /// What is asked for a value that nests so deep.
    fn steps(&self, depth: u64) -> Result<Steps, String> {
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
        let chain = self.longest(&same, |edge| !edge.inner);
        let (all, sizes) = round(true);
        let comes_back = |node: usize| self.edges[node].iter().any(|edge| all[edge.to] == all[node]);
        let deep = if (0..self.edges.len()).any(comes_back) {
            chain.saturating_mul(depth + 1)
        } else {
            self.longest(&all, |_| true)
        };
        if deep > DEEP {
            return Err(format!(
                "its parts ask each other {deep} deep for one value, over {DEEP}: its chains of references are too long"
            ));
        }
        let mut steps = vec![Steps::default(); sizes.len()];
        for node in upward(&all) {
            let (back, out): (Vec<&Edge>, Vec<&Edge>) =
                self.edges[node].iter().partition(|edge| all[edge.to] == all[node]);
            let ways =
                back.iter().filter(|edge| !edge.property).count() + usize::from(back.iter().any(|edge| edge.property));
            if ways > 1 {
                return Err("it refers to itself in more than one way at once".to_owned());
            }
            let asked = out.iter().map(|edge| steps[all[edge.to]]);
            let asked = asked.fold(self.own[node], Steps::and);
            steps[all[node]] = steps[all[node]].and(asked);
        }
        Ok(steps[all[0]])
    }

    /// How many nodes the longest way over these edges has. No way comes back.
    fn longest(&self, number: &[usize], follows: impl Fn(&Edge) -> bool) -> u64 {
        let mut ways = vec![0u64; self.edges.len()];
        for node in upward(number) {
            let asked = self.edges[node].iter().filter(|edge| follows(edge));
            ways[node] = 1 + asked.map(|edge| ways[edge.to]).max().unwrap_or_default();
        }
        ways.into_iter().max().unwrap_or_default()
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

/// Nodes by their numbers, so that each comes behind all that it asks: whoever is asked has the lower number.
fn upward(number: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..number.len()).collect();
    order.sort_by_key(|node| number[*node]);
    order
}

/// The patterns that a part has itself, counted with all that were found before.
fn patterns(part: &Value, all: &mut Patterns, limits: &Limits) -> Result<Patterns, String> {
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
        let one = Patterns {
            count: 1,
            bytes: taken(pattern, compiled(limits))?,
        };
        (found, *all) = (found.and(one), all.and(one));
        all.within(limits).map_err(|what| format!("it has {what}"))?;
    }
    Ok(found)
}

/// What a pattern takes when it is compiled: the least of `SMALLEST`, its double, the double of that, up to `most`, within which it fits.
fn taken(pattern: &str, most: u64) -> Result<u64, String> {
    let alone = serde_json::json!({ "pattern": pattern });
    let fits = |bytes: u64| {
        let options = jsonschema::PatternOptions::regex().size_limit(size(bytes));
        jsonschema::options()
            .with_pattern_options(options)
            .build(&alone)
            .is_ok()
    };
    let classes = std::iter::successors(Some(SMALLEST.min(most)), |bytes| {
        (*bytes < most).then(|| bytes.saturating_mul(2).min(most))
    });
    classes.into_iter().find(|bytes| fits(*bytes)).ok_or_else(|| {
        format!(
            "its pattern {:?} is no regular expression, or compiles to more than {COMPILED} times limits.json.pattern",
            text::line(pattern, 80)
        )
    })
}

/// What a part asks itself, with these patterns.
fn asked_by(part: &Value, patterns: Patterns) -> Steps {
    let lists = LISTS.iter().filter_map(|key| part.get(key));
    let through = THROUGH_TEXT.iter().filter(|(key, _)| part.get(key).is_some());
    Steps {
        parts: 1 + lists.map(|list| Size::of(list).values).sum::<u64>(),
        states: patterns.bytes / STATE + through.map(|(_, states)| states).sum::<u64>(),
        unique: u64::from(part.get("uniqueItems") == Some(&Value::Bool(true))),
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
    if let Some(key) = ASKING_AGAIN.iter().find(|key| object.contains_key(**key)) {
        return Err(format!("it uses {key}; say which properties and items there are"));
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
        Ok(Graph::of(schema, &Limits::default())?.steps(64)?.parts)
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
    fn patterns_are_counted_once_and_their_states_as_often_as_they_are_held_against_a_value() {
        let counted = |schema: &Value| {
            let read = read(&schema.to_string(), &Limits::default());
            read.map(|(checker, _)| (checker.patterns, checker.steps.states))
        };
        let patterns = |count, bytes| Patterns { count, bytes };
        let none = json!({ "properties": { "a": { "type": "string" } } });
        assert_eq!(counted(&none), Ok((Patterns::default(), 0)));
        let word = json!({ "$ref": "#/$defs/word" });
        let thrice = json!({
            "$defs": { "word": { "pattern": "^[a-z]+$" }, "unused": { "pattern": "^b" } },
            "properties": { "a": word, "b": word, "c": word },
            "patternProperties": { "^x": {}, "^y": {} },
        });
        assert_eq!(counted(&thrice), Ok((patterns(4, 4 * SMALLEST), 5 * SMALLEST / STATE)));
        let large = json!({ "properties": { "a": { "pattern": "^(?:[a-m][n-z]){250}$" } } });
        let (found, states) = counted(&large).expect("it fits");
        assert!(found.count == 1 && found.bytes.is_multiple_of(SMALLEST), "{found:?}");
        assert!((500..2500).contains(&states), "{states}");
    }

    #[test]
    fn all_patterns_together_compile_to_so_much() {
        let limits = Limits {
            json_pattern: 64,
            ..Limits::default()
        };
        let of = |count: usize| {
            let property = |n: usize| {
                (
                    format!("p{n}"),
                    json!({ "pattern": format!("^(?:[a-m][n-z]){{150}}{n}$") }),
                )
            };
            let properties: Map<String, Value> = (0..count).map(property).collect();
            read(&json!({ "properties": properties }).to_string(), &limits).map(|(checker, _)| checker.patterns.bytes)
        };
        let one = of(1).expect("it fits");
        let fit = usize::try_from(compiled(&limits) * ALL_COMPILED / one).expect("a few");
        assert_eq!(of(fit), Ok(one * fit as u64));
        let refused = of(fit + 1).expect_err("one too many");
        assert!(refused.contains("limits.json.pattern (64) together"), "{refused}");
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
        says(&["(?P<"], "\"(?P<\" is no regular expression");
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
            json_matching: 100 * 2 * SMALLEST / STATE,
            ..Limits::default()
        };
        let schema = json!({ "properties": { "a": { "pattern": "b$" }, "c": { "pattern": "^d" } } });
        let (checker, _) = read(&schema.to_string(), &limits).expect("a schema");
        let of = |bytes: usize| json!({ "a": "b".repeat(bytes - 1), "n": [1, 2, 3] });
        assert_eq!(checker.check(&of(99)), Ok(()));
        let refused = checker.check(&of(100)).expect_err("too long for two patterns");
        assert!(
            refused.contains("101 bytes") && refused.contains("limits.json.matching"),
            "{refused}"
        );
        // What has no pattern is not held back.
        let (checker, _) = read("{}", &limits).expect("a schema");
        assert_eq!(checker.check(&of(10_000)), Ok(()));
    }

    #[test]
    fn what_goes_through_a_text_counts_as_patterns_do() {
        let limits = Limits {
            json_matching: 100 * (1 + 1 + 16),
            ..Limits::default()
        };
        let schema = json!({ "properties": { "a": { "minLength": 1, "maxLength": 500, "format": "uri" } } });
        let (checker, _) = read(&schema.to_string(), &limits).expect("a schema");
        let of = |bytes: usize| json!({ "a": "b".repeat(bytes - 1) });
        assert_eq!(checker.check(&of(100)), Ok(()));
        let refused = checker.check(&of(101)).expect_err("too long");
        assert!(refused.contains("limits.json.matching"), "{refused}");
    }

    #[test]
    fn items_that_are_compared_are_bounded_from_both_sides() {
        // A hundred items, the array, its key and its object, for three parts: the keyword's `true` counts as one.
        let limits = Limits {
            json_checking: 103 * 3 + 100 * 100,
            ..Limits::default()
        };
        let (checker, _) = read(r#"{ "properties": { "a": { "uniqueItems": true } } }"#, &limits).expect("a schema");
        let of = |items: u64| json!({ "a": (0..items).collect::<Vec<_>>() });
        assert_eq!(checker.check(&of(100)), Ok(()));
        let refused = checker.check(&of(101)).expect_err("too many");
        assert!(refused.contains("limits.json.checking"), "{refused}");
    }

    #[test]
    fn what_does_not_fit_is_said_in_few_words_where_more_would_copy_much() {
        let schema =
            |parts: usize| json!({ "properties": { "a": { "anyOf": vec![json!({ "type": "string" }); parts] } } });
        let refused = |parts: usize, items: usize| {
            let (checker, _) = read(&schema(parts).to_string(), &Limits::default()).expect("a schema");
            checker.check(&json!({ "a": vec![0; items] })).expect_err("no string")
        };
        assert!(refused(2, 3).contains("(at /a)"));
        assert_eq!(refused(1000, 40_000), "do not fit its schema");
    }

    #[test]
    fn an_argument_that_is_none_is_told_with_those_that_there_are() {
        let schema =
            json!({ "properties": { "path": {}, "limit": { "type": "integer" } }, "additionalProperties": false });
        let (checker, _) = read(&schema.to_string(), &Limits::default()).expect("a schema");
        let refused = |arguments: Value| checker.check(&arguments).expect_err("it does not fit");
        assert_eq!(
            refused(json!({ "pat": 1 })),
            "do not fit its schema: Additional properties are not allowed ('pat' was unexpected); its arguments are path, limit"
        );
        assert!(refused(json!({ "limit": "x" })).ends_with("(at /limit)"));
        let (checker, _) = read(r#"{ "required": ["path"] }"#, &Limits::default()).expect("a schema");
        let refused = checker.check(&json!({})).expect_err("it lacks one");
        assert!(!refused.contains("(at"), "{refused}");
    }

    #[test]
    fn what_would_be_asked_again_and_again_is_refused() {
        for key in ASKING_AGAIN {
            let nested = json!({ "allOf": [{ key: false }] });
            let refused = steps(&nested).expect_err(key);
            assert!(refused.contains(key), "{refused}");
        }
    }

    #[test]
    fn what_is_checked_is_bounded_from_both_sides() {
        let limits = Limits {
            json_checking: 100 * 8,
            ..Limits::default()
        };
        // The object, its property, what is listed, and the items.
        let schema = json!({ "required": ["a"], "properties": { "a": { "items": { "enum": [0, 1] } } } });
        assert_eq!(steps(&schema), Ok(8));
        let (checker, _) = read(&schema.to_string(), &limits).expect("a schema");
        let of = |values: usize| json!({ "a": vec![1; values - 3] });
        assert_eq!(checker.check(&of(100)), Ok(()));
        let refused = checker.check(&of(101)).expect_err("too many values");
        assert!(
            refused.contains("101 values") && refused.contains("limits.json.checking"),
            "{refused}"
        );
    }

    #[test]
    fn chains_of_references_are_as_deep_as_the_values_for_which_they_are_followed() {
        let chain = |length: usize, end: Value| {
            let link = |at: usize| (format!("a{at}"), json!({ "$ref": format!("#/$defs/a{}", at + 1) }));
            let mut defs: Map<String, Value> = (0..length).map(link).collect();
            defs.insert(format!("a{length}"), end);
            json!({ "$defs": defs, "$ref": "#/$defs/a0" })
        };
        let back = |length: usize| chain(length, json!({ "properties": { "x": { "$ref": "#/$defs/a0" } } }));
        // The root, the chain, what ends it.
        let most = usize::try_from(DEEP).expect("it fits") - 2;
        assert!(steps(&chain(most, json!({}))).is_ok());
        assert!(steps(&chain(most + 1, json!({}))).is_err_and(|e| e.contains("1001 deep")));
        // At each level of a value that is 64 deep: what refers to the chain, the chain, what ends it.
        let most = usize::try_from(DEEP / 65).expect("it fits") - 2;
        assert!(steps(&back(most)).is_ok());
        assert!(steps(&back(most + 1)).is_err_and(|e| e.contains(" deep")));
    }

    #[test]
    fn no_argument_is_compiled_as_a_pattern() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": { "a": { "format": "regex" }, "b": { "format": "ipv4" } },
        });
        let (checker, _) = read(&schema.to_string(), &Limits::default()).expect("a schema");
        assert_eq!(checker.check(&json!({ "a": "(" })), Ok(()));
        assert!(
            checker.check(&json!({ "b": "(" })).is_err(),
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
