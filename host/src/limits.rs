//! Every cap of the host, in one table: its default, its configuration key, its range and what it bounds. Nothing else in the host holds such a
//! number.

mod written;

use std::time::Duration;

/// What a limit's number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Count,
    /// Bytes; configuration takes `64MiB` too.
    Bytes,
    /// Milliseconds; configuration takes `30s`, `5m`, `250ms`.
    Millis,
    /// Units of guest execution.
    Fuel,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The key below `limits.`.
    pub key: &'static str,
    /// What its number counts.
    pub unit: Unit,
    /// The built-in value.
    pub default: u64,
    /// The smallest value that configuration may set.
    pub min: u64,
    /// The largest value that configuration may set.
    pub max: u64,
    /// Which values allow more.
    pub looser: Looser,
    /// What it bounds, and what happens there.
    pub about: &'static str,
}

/// Which values of a limit allow more: where somebody else's word may only narrow, they are the ones refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looser {
    /// Larger ones: it caps what somebody may use.
    More,
    /// Smaller ones: it is kept free, waited for, counted over or written down.
    Less,
}

impl Limit {
    /// Whether `value` allows more than `other`.
    pub const fn is_looser(&self, value: u64, other: u64) -> bool {
        match self.looser {
            Looser::More => value > other,
            Looser::Less => value < other,
        }
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const SEC: u64 = 1000;
const MIN: u64 = 60 * SEC;
const HOUR: u64 = 60 * MIN;

/// A row whose looser values are not named caps something.
macro_rules! looser {
    () => {
        Looser::More
    };
    ($looser:ident) => {
        Looser::$looser
    };
}

macro_rules! limits {
    ($( #[doc = $about:literal] $field:ident: $key:literal, $unit:ident, $default:expr, $min:expr, $max:expr $(, $looser:ident)?; )*) => {
        /// The caps in force. Numbers are in the unit of their row in [`TABLE`].
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits { $( #[doc = $about] pub $field: u64, )* }

        /// All limits, in the order in which documentation shows them.
        pub const TABLE: &[Limit] = &[ $( Limit {
            key: $key, unit: Unit::$unit, default: $default, min: $min, max: $max, looser: looser!($($looser)?), about: $about,
        }, )* ];

        impl Default for Limits {
            fn default() -> Self { Self { $( $field: $default, )* } }
        }

        impl Limits {
            /// The value of the limit with this key.
            pub fn get(&self, key: &str) -> Option<u64> {
                match key { $( $key => Some(self.$field), )* _ => None }
            }

            /// Sets the limit with this key.
            ///
            /// # Errors
            /// An unknown key, or a value outside the limit's range.
            pub fn set(&mut self, key: &str, value: u64) -> Result<(), LimitError> {
                let row = TABLE.iter().find(|row| row.key == key).ok_or(LimitError::Unknown)?;
                if !(row.min..=row.max).contains(&value) {
                    return Err(LimitError::Range { min: row.min, max: row.max, unit: row.unit });
                }
                self.put(key, value);
                Ok(())
            }

            /// Sets the limit with this key, whatever its range; one that there is not is passed over.
            fn put(&mut self, key: &str, value: u64) {
                match key { $( $key => self.$field = value, )* _ => {} }
            }
        }
    };
}

limits! {
    #[doc = "All linear memories of one instance together; growth past it is refused to the guest."]
    memory: "memory", Bytes, 64 * MIB, 64 * KIB, 3 * GIB;
    #[doc = "Elements of all tables of one instance together; growth past it is refused to the guest."]
    table_elements: "table_elements", Count, 20_000, 0, 10_000_000;
    #[doc = "Linear memories in one instance."]
    memories: "memories", Count, 16, 1, 100;
    #[doc = "Tables in one instance."]
    tables: "tables", Count, 64, 1, 1_000;
    #[doc = "Core instances in one component instance."]
    core_instances: "core_instances", Count, 256, 1, 10_000;
    #[doc = "The guest's stack; past it the guest traps."]
    wasm_stack: "wasm_stack", Bytes, 512 * KIB, 64 * KIB, 8 * MIB;
    #[doc = "The stack that a guest and the host functions it calls share."]
    async_stack: "async_stack", Bytes, 2 * MIB, MIB, 64 * MIB;
    #[doc = "Instantiating a plugin, its initialisers included."]
    start_wall: "start_wall", Millis, 5 * SEC, 1, HOUR;
    #[doc = "One step of guest and host work, waits for models, tools, children, changes, timers and the database apart."]
    step_wall: "step_wall", Millis, 30 * SEC, 1, 24 * HOUR;
    #[doc = "The whole run, waits included; the default of the budget's wall."]
    run_wall: "run_wall", Millis, 10 * MIN, 1, 30 * 24 * HOUR;
    #[doc = "Between a cancel and the drop of an instance that ignores it."]
    cancel_grace: "cancel_grace", Millis, 5 * SEC, 0, 10 * MIN;
    #[doc = "Fuel of one step: what an instance does between two model replies, or one whole tool call."]
    fuel: "fuel", Fuel, 10_000_000_000, 0, i64::MAX as u64;
    #[doc = "Iterations of a root agent; the default of the budget's iterations."]
    iterations_root: "iterations.root", Count, 90, 0, 1_000_000;
    #[doc = "Iterations of a child, where its spec names none."]
    iterations_child: "iterations.child", Count, 50, 0, 1_000_000;
    #[doc = "The most iterations that a child's spec may name."]
    iterations_child_max: "iterations.child_max", Count, 200, 0, 1_000_000;
    #[doc = "Turns that did nothing but run code and are given back, for each agent."]
    free_turns: "free_turns", Count, 20, 0, 1_000_000;
    #[doc = "Calls of the host's own interfaces in one step, exact."]
    host_calls: "host_calls", Count, 10_000, 1, 1_000_000_000;
    #[doc = "Calls into the host in one step, those of WASI and of the engine itself included, coarse."]
    host_calls_all: "host_calls_all", Count, 100_000, 1_000, 10_000_000_000;
    #[doc = "One line of a guest's log; the rest of it is cut."]
    log_line: "log_line", Bytes, 4 * KIB, 64, MIB;
    #[doc = "A guest's log in one step, each line with 64 bytes besides; the rest is dropped, and a line says so."]
    log_step: "log_step", Bytes, 64 * KIB, 128, 64 * MIB;
    #[doc = "A progress message; the rest of it is cut."]
    progress: "progress", Bytes, 256, 16, 64 * KIB;
    #[doc = "A checkpoint's report, encoded."]
    checkpoint: "checkpoint", Bytes, 64 * KIB, KIB, 16 * MIB;
    #[doc = "A report that a strategy returns, encoded."]
    report: "report", Bytes, MIB, KIB, 16 * MIB;
    #[doc = "A key on the blackboard."]
    blackboard_key: "blackboard.key", Bytes, 256, 8, 4 * KIB;
    #[doc = "A value on the blackboard."]
    blackboard_value: "blackboard.value", Bytes, 256 * KIB, KIB, 16 * MIB;
    #[doc = "Keys of all spaces of a run together, or in one space of the home folder."]
    blackboard_keys: "blackboard.keys", Count, 10_000, 1, 10_000_000;
    #[doc = "Bytes of all keys and values of all spaces of a run together, or in one space of the home folder."]
    blackboard_bytes: "blackboard.bytes", Bytes, 32 * MIB, KIB, 64 * GIB;
    #[doc = "All messages and tools of one completion, encoded."]
    prompt: "prompt", Bytes, 4 * MIB, KIB, 64 * MIB;
    #[doc = "A model's reply without its protocol's frames; a longer one is broken off and refused. With them it may take 32 times as much."]
    reply: "reply", Bytes, MIB, KIB, 64 * MIB;
    #[doc = "Tool calls in one reply; a reply with more is refused whole."]
    tool_calls: "tool_calls", Count, 32, 1, 10_000;
    #[doc = "A tool's result, encoded; a larger one is shortened."]
    tool_result: "tool_result", Bytes, 256 * KIB, KIB, 16 * MIB;
    #[doc = "Tools that one plugin may list."]
    tool_list: "tool_list", Count, 128, 1, 10_000;
    #[doc = "A tool's description; the rest of it is cut."]
    tool_description: "tool_description", Bytes, KIB, 64, MIB;
    #[doc = "How deep tool calls may nest."]
    tool_depth: "tool_depth", Count, 4, 1, 32;
    #[doc = "Tool calls of one session that run at the same time, of those inside other calls so many at each depth; further ones wait."]
    tool_parallel: "tool_parallel", Count, 16, 1, 1_000;
    #[doc = "What the model and tool calls of one session hold that are in flight: what was asked of each, encoded, and 4 KiB besides, and the bodies of HTTP that its tools have; a further one is refused."]
    in_flight: "in_flight", Bytes, 64 * MIB, 64 * KIB, 64 * GIB;
    #[doc = "Delegation: how deep."]
    delegation_depth: "delegation.depth", Count, 4, 0, 64;
    #[doc = "Delegation: children alive at once in a run."]
    delegation_alive: "delegation.alive", Count, 16, 0, 100_000;
    #[doc = "Delegation: children in all in a run."]
    delegation_total: "delegation.total", Count, 64, 0, 1_000_000;
    #[doc = "How often an agent is started in all after traps and hangs, where nothing else is said."]
    restart_attempts: "restart.attempts", Count, 4, 1, 1_000;
    #[doc = "Restarts of one agent within restart.window; one more ends it."]
    restart_intensity: "restart.intensity", Count, 3, 0, 1_000;
    #[doc = "The stretch of awake time in which restarts are counted."]
    restart_window: "restart.window", Millis, MIN, 1, 24 * HOUR, Less;
    #[doc = "The wait before the first restart; it doubles with each further one, give or take a fifth."]
    restart_backoff: "restart.backoff", Millis, 100, 0, HOUR, Less;
    #[doc = "The longest wait before a restart."]
    restart_backoff_max: "restart.backoff_max", Millis, 5 * SEC, 0, HOUR, Less;
    #[doc = "Characters of a child's report that its parent reads; the whole goes to the blackboard."]
    scrub_report: "scrub.report", Count, 24_000, 500, 10_000_000;
    #[doc = "Characters of a tool's result that its caller reads; the whole goes to the blackboard."]
    scrub_tool: "scrub.tool", Count, 48_000, 500, 10_000_000;
    #[doc = "Bytes of a text too long for its reader that are kept on the blackboard; the rest is dropped, and said so."]
    scrub_spill: "scrub.spill", Bytes, 4 * MIB, 0, GIB;
    #[doc = "Instances resident in the process; agents that only wait give their place to further ones, which wait for one."]
    resident: "resident", Count, 1_000, 1, 8_000;
    #[doc = "A component's bytes."]
    component: "component", Bytes, 64 * MIB, KIB, GIB;
    #[doc = "Functions in all modules of a component together."]
    parts_functions: "parts.functions", Count, 100_000, 1, 1_000_000;
    #[doc = "One function's code."]
    parts_function_bytes: "parts.function_bytes", Bytes, 2 * MIB, KIB, 8 * MIB;
    #[doc = "Local variables of one function."]
    parts_locals: "parts.locals", Count, 10_000, 1, 50_000;
    #[doc = "Core modules in a component, at any depth."]
    parts_modules: "parts.modules", Count, 256, 1, 10_000;
    #[doc = "Components inside a component, at any depth."]
    parts_components: "parts.components", Count, 256, 1, 10_000;
    #[doc = "How deep modules and components may lie inside one another."]
    parts_depth: "parts.depth", Count, 16, 1, 100;
    #[doc = "Types, imports, exports, instances, aliases and canonical functions in a component, at any depth."]
    parts_definitions: "parts.definitions", Count, 100_000, 100, 10_000_000;
    #[doc = "Compiling one component, from the start of the compiler's process to its last byte."]
    compile_wall: "compile.wall", Millis, 60 * SEC, 100, HOUR;
    #[doc = "Processor time of compiling one component, all threads together; in whole seconds, rounded up."]
    compile_cpu: "compile.cpu", Millis, 5 * MIN, SEC, 24 * HOUR;
    #[doc = "Address space of the process that compiles one component."]
    compile_address_space: "compile.address_space", Bytes, 4 * GIB, 512 * MIB, 1024 * GIB;
    #[doc = "Compiled code of one component."]
    compile_code: "compile.code", Bytes, GIB, KIB, 64 * GIB;
    #[doc = "Components compiled at once."]
    compile_parallel: "compile.parallel", Count, 2, 1, 256;
    #[doc = "Compiled code kept on disk; the oldest goes first."]
    compile_cache: "compile.cache", Bytes, 2 * GIB, 0, 1024 * GIB;
    #[doc = "A body that crosses the egress, either way; an answer's is cut there."]
    http_body: "http.body", Bytes, MIB, KIB, GIB;
    #[doc = "Bytes of all headers of one HTTP message."]
    http_headers: "http.headers", Bytes, 32 * KIB, KIB, MIB;
    #[doc = "Headers of one HTTP message."]
    http_header_count: "http.header_count", Count, 100, 8, 10_000;
    #[doc = "Redirects followed for one request."]
    http_redirects: "http.redirects", Count, 3, 0, 20;
    #[doc = "A guest's HTTP request, from connect to the last byte."]
    http_total: "http.total", Millis, 30 * SEC, 1, HOUR;
    #[doc = "HTTP requests that one instance has open at once, each until its answer is dropped; past it the guest traps."]
    http_open: "http.open", Count, 128, 1, 10_000;
    #[doc = "Names of hosts that one run looks up at once; further ones wait."]
    http_lookups: "http.lookups", Count, 4, 1, 16;
    #[doc = "The value of one secret."]
    secret_value: "secret.value", Bytes, 4 * KIB, 8, 16 * KIB;
    #[doc = "The values of all secrets together. Looking for them takes 64 MiB of memory, or 3,000 times as much as they have where that is more."]
    secret_total: "secret.total", Bytes, 16 * KIB, 8, 256 * KIB;
    #[doc = "Connecting to a model's provider."]
    llm_connect: "llm.connect", Millis, 10 * SEC, 1, HOUR;
    #[doc = "From the beginning of a request to the first byte of the answer's body, connecting included."]
    llm_first_byte: "llm.first_byte", Millis, 2 * MIN, 1, HOUR;
    #[doc = "Between two bytes of a provider's answer."]
    llm_idle: "llm.idle", Millis, 30 * SEC, 1, HOUR;
    #[doc = "One completion, all its tries included."]
    llm_total: "llm.total", Millis, 5 * MIN, 1, 24 * HOUR;
    #[doc = "Tries of one completion."]
    llm_tries: "llm.tries", Count, 4, 1, 100;
    #[doc = "The longest Retry-After that is waited for."]
    llm_retry_after: "llm.retry_after", Millis, MIN, 0, HOUR;
    #[doc = "Completions of one provider in flight at once; the adaptive limiter starts below it."]
    llm_parallel: "llm.parallel", Count, 64, 1, 10_000;
    #[doc = "Bytes lifted from a guest in one host call; past it the guest traps."]
    hostcall_bytes: "hostcall_bytes", Bytes, 16 * MIB, 64 * KIB, GIB;
    #[doc = "Component handles of one instance; past it the guest traps."]
    handles: "handles", Count, 1_024, 16, 1_000_000;
    #[doc = "Live resources of one instance, from which on it is told to drop some."]
    resources: "resources", Count, 256, 8, 1_000_000;
    #[doc = "Entries of all folders that one instance has open to be listed."]
    listing: "listing", Count, 100_000, 16, 10_000_000;
    #[doc = "Random bytes in one call; past it the guest traps."]
    random: "random", Bytes, 64 * KIB, 64, 64 * MIB;
    #[doc = "Nesting of JSON text."]
    json_depth: "json.depth", Count, 64, 4, 100;
    #[doc = "Values and keys of JSON text that is read: the arguments of a tool, its JSON Schema."]
    json_values: "json.values", Count, 50_000, 100, 10_000_000;
    #[doc = "A tool's JSON Schema."]
    json_schema: "json.schema", Bytes, 64 * KIB, KIB, 16 * MIB;
    #[doc = "Parts of a tool's JSON Schema, each counted as often as references lead to it."]
    json_schema_steps: "json.schema_steps", Count, 10_000, 16, 1_000_000;
    #[doc = "Nesting of a tool's JSON Schema."]
    json_schema_depth: "json.schema_depth", Count, 32, 4, 100;
    #[doc = "Values in a call's arguments times the parts of its tool's JSON Schema."]
    json_checking: "json.checking", Count, 100_000_000, 1_000, 100_000_000_000;
    #[doc = "One pattern in a tool's JSON Schema; compiled it may take 512 times as much, and all of a plugin's together 16 times that."]
    json_pattern: "json.pattern", Bytes, 512, 16, 64 * KIB;
    #[doc = "Patterns in the JSON Schemas of one plugin's tools."]
    json_patterns: "json.patterns", Count, 256, 0, 10_000;
    #[doc = "Bytes of the texts in a call's arguments times the states of the compiled patterns in its tool's JSON Schema, each counted as often as references lead to it."]
    json_matching: "json.matching", Count, 64_000_000, 1_000, 100_000_000_000;
    #[doc = "Events that one reader of a run may be behind; further ones are left out, and a notice counts them."]
    events: "events", Bytes, 16 * MIB, 64 * KIB, GIB;
    #[doc = "What one session's part of the journal may grow by, over all its attempts."]
    journal_bytes: "journal_bytes", Bytes, 64 * MIB, 64 * KIB, 64 * GIB;
    #[doc = "Records of one session's part of the journal, over all its attempts."]
    journal_records: "journal_records", Count, 50_000, 100, 100_000_000;
    #[doc = "A stretch of a replay between two observations; one that takes longer differs from its record."]
    replay_wall: "replay.wall", Millis, 30 * SEC, 1, HOUR;
    #[doc = "A run file that is imported."]
    run_file: "run_file.bytes", Bytes, GIB, KIB, 1024 * GIB;
    #[doc = "One line of a run file that is imported."]
    run_file_line: "run_file.line", Bytes, 96 * MIB, 4 * KIB, 4 * GIB;
    #[doc = "How long a busy database is waited for."]
    store_busy: "store.busy", Millis, 5 * SEC, 0, 10 * MIN;
    #[doc = "What is kept free on the disk of the home folder: with less no run begins, and no model, tool, child or write of a run."]
    disk_reserve: "disk_reserve", Bytes, 16 * MIB, 0, 1024 * GIB, Less;
    #[doc = "Runs that `resume --all` has under way at once; further ones wait."]
    resume_parallel: "resume_parallel", Count, 4, 1, 1_000;
    #[doc = "Threads for file access and other blocking work."]
    threads: "threads", Count, 64, 1, 1_024;
    #[doc = "File descriptors of the process that are kept free; no instance starts while there are fewer, and no file is opened and no connection made for a plugin that would leave fewer."]
    fds: "fds", Count, 16, 0, 100_000, Less;
    #[doc = "One file that a guest writes."]
    file_size: "file_size", Bytes, 8 * GIB, MIB, 1024 * GIB;
    #[doc = "Files, hosts and keys of one right, used in one way, that the audit names for each instance, and denials for lack of one kind of right; further ones are counted, and the last is named."]
    audit_targets: "audit.targets", Count, 100, 1, 10_000, Less;
}

impl Limits {
    /// Whether configuration might have set each of them so: what comes out of a file need not have come from one.
    pub fn are_in_range(&self) -> bool {
        let fits = |row: &Limit| {
            self.get(row.key)
                .is_some_and(|value| (row.min..=row.max).contains(&value))
        };
        TABLE.iter().all(fits)
    }

    /// The limits in which these allow more than `other`.
    pub fn looser_than(&self, other: &Self) -> Vec<&'static Limit> {
        let mut looser = Vec::new();
        for row in TABLE {
            let values = self.get(row.key).zip(other.get(row.key));
            if values.is_some_and(|(mine, theirs)| row.is_looser(mine, theirs)) {
                looser.push(row);
            }
        }
        looser
    }

    /// [`Limits::start_wall`] as a duration; likewise below.
    pub const fn millis(value: u64) -> Duration {
        Duration::from_millis(value)
    }
}

/// A limit that can't be set so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No limit has this key.
    #[error("there is no such limit")]
    Unknown,
    /// The value is outside the limit's range.
    #[error("it must lie between {} and {}", show(*min, *unit), show(*max, *unit))]
    Range {
        /// The smallest value allowed.
        min: u64,
        /// The largest value allowed.
        max: u64,
        /// What the numbers count.
        unit: Unit,
    },
    /// The text is no number of this unit.
    #[error("it must be a number{}", match unit { Unit::Bytes => " of bytes, like 64MiB", Unit::Millis => " of milliseconds, or a duration like 30s", _ => "" })]
    Syntax {
        /// What the number should count.
        unit: Unit,
    },
}

/// Reads a number in `unit`: digits (with `_`), or digits with a suffix (`KiB` `MiB` `GiB`, `ms` `s` `m` `h`).
///
/// # Errors
/// [`LimitError::Syntax`] for anything else, numbers over 64 bits included.
pub fn parse(text: &str, unit: Unit) -> Result<u64, LimitError> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(split);
    let factor = match (unit, suffix.trim()) {
        (_, "") | (Unit::Bytes, "B") | (Unit::Millis, "ms") => 1,
        (Unit::Bytes, "KiB") => KIB,
        (Unit::Bytes, "MiB") => MIB,
        (Unit::Bytes, "GiB") => GIB,
        (Unit::Millis, "s") => SEC,
        (Unit::Millis, "m" | "min") => MIN,
        (Unit::Millis, "h") => HOUR,
        _ => return Err(LimitError::Syntax { unit }),
    };
    let number: u64 = digits
        .replace('_', "")
        .parse()
        .map_err(|_| LimitError::Syntax { unit })?;
    number.checked_mul(factor).ok_or(LimitError::Syntax { unit })
}

/// `value` in the largest unit that divides it: `64 MiB`, `30 s`.
pub fn show(value: u64, unit: Unit) -> String {
    let steps: &[(u64, &str)] = match unit {
        Unit::Bytes => &[(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "bytes")],
        Unit::Millis => &[(HOUR, "h"), (MIN, "min"), (SEC, "s"), (1, "ms")],
        Unit::Count | Unit::Fuel => &[(1, "")],
    };
    let (factor, name) = steps
        .iter()
        .find(|(f, _)| value != 0 && value.is_multiple_of(*f))
        .unwrap_or(&steps[steps.len() - 1]);
    format!("{} {name}", value / factor).trim_end().to_owned()
}

/// `value` as [`parse`] reads it, in one word: `64MiB`, `30s`.
pub fn word(value: u64, unit: Unit) -> String {
    show(value, unit).replace(" bytes", "").replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set_within_its_range_only() {
        for row in TABLE {
            let mut limits = Limits::default();
            assert_eq!(limits.get(row.key), Some(row.default), "{}", row.key);
            assert!((row.min..=row.max).contains(&row.default), "{}", row.key);
            for value in [row.min, row.max] {
                assert_eq!(limits.set(row.key, value), Ok(()), "{}", row.key);
                assert_eq!(limits.get(row.key), Some(value), "{}", row.key);
                assert!(limits.are_in_range(), "{}", row.key);
            }
            if row.min > 0 {
                assert!(limits.set(row.key, row.min - 1).is_err(), "{}", row.key);
            }
            assert!(limits.set(row.key, row.max + 1).is_err(), "{}", row.key);
        }
        assert_eq!(Limits::default().set("memroy", 1), Err(LimitError::Unknown));
        let none = Limits {
            memory: 3 * GIB + 1,
            ..Limits::default()
        };
        assert!(!none.are_in_range());
    }

    #[test]
    fn of_a_cap_more_is_looser_and_of_what_is_kept_back_less() {
        let less = TABLE.iter().filter(|row| row.looser == Looser::Less);
        assert_eq!(
            less.map(|row| row.key).collect::<Vec<_>>(),
            [
                "restart.window",
                "restart.backoff",
                "restart.backoff_max",
                "disk_reserve",
                "fds",
                "audit.targets",
            ]
        );
        let own = Limits::default();
        assert!(own.looser_than(&own).is_empty());
        let changed = |by: fn(u64) -> u64| Limits {
            memory: by(own.memory),
            disk_reserve: by(own.disk_reserve),
            ..own.clone()
        };
        let keys = |limits: Limits| limits.looser_than(&own).iter().map(|row| row.key).collect::<Vec<_>>();
        assert_eq!(keys(changed(|value| value + 1)), ["memory"]);
        assert_eq!(keys(changed(|value| value - 1)), ["disk_reserve"]);
    }

    #[test]
    fn a_guests_call_fits_the_largest_prompt_twice() {
        let limits = Limits::default();
        assert!(limits.hostcall_bytes >= 2 * limits.prompt);
    }

    #[test]
    fn numbers_are_read_with_their_units() {
        assert_eq!(parse("64MiB", Unit::Bytes), Ok(64 << 20));
        assert_eq!(parse("1_000", Unit::Count), Ok(1000));
        assert_eq!(parse("5m", Unit::Millis), Ok(300_000));
        for bad in ["", "-1", "1e9", "5x", "99999999999999999999", "18446744073709551615KiB"] {
            assert!(parse(bad, Unit::Bytes).is_err(), "{bad}");
        }
        assert!(parse("5MiB", Unit::Millis).is_err());
        assert_eq!(show(64 << 20, Unit::Bytes), "64 MiB");
        assert_eq!(show(30_000, Unit::Millis), "30 s");
        assert_eq!(show(0, Unit::Count), "0");
        for row in TABLE {
            for value in [row.min, row.default, row.max, row.max - 1] {
                assert_eq!(parse(&word(value, row.unit), row.unit), Ok(value), "{}", row.key);
            }
        }
    }
}
