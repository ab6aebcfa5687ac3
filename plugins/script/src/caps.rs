//! What a script may use, so that a slip ends in words: a loop without end, a list that grows and grows, a function that calls
//! itself. What is costly within these, like sorting a long list over and over, meets the host's fuel.

use rhai::Engine;

/// The script's text, in bytes.
pub(crate) const SCRIPT_BYTES: usize = 64 * 1024;
/// Steps of the interpreter. An assignment takes about three.
pub(crate) const OPERATIONS: u64 = 500_000;
/// Elements of an array or a map, those inside it included. The interpreter counts them at most changes.
pub(crate) const ELEMENTS: usize = 10_000;
/// Bytes of a string, or of all strings in one value.
pub(crate) const STRING_BYTES: usize = 64 * 1024;
/// Functions that call one another. Together with how deep expressions nest in them this bounds the stack: about 400 KiB.
pub(crate) const CALLS: usize = 24;
/// Variables at one time.
const VARIABLES: usize = 1_000;
/// Functions that a script may have.
const FUNCTIONS: usize = 200;
/// How deep expressions nest, outside of functions and in them.
const DEPTHS: (usize, usize) = (56, 32);
/// The result as JSON, in bytes.
pub(crate) const RESULT_BYTES: usize = 40_000;
/// How deep a result nests.
pub(crate) const RESULT_DEPTH: usize = 32;
/// What is kept of what a script prints, in bytes.
pub(crate) const PRINTED_BYTES: usize = 8_000;

/// An interpreter that is held to these.
pub(crate) fn engine() -> Engine {
    let mut engine = Engine::new();
    engine
        .set_max_operations(OPERATIONS)
        .set_max_array_size(ELEMENTS)
        .set_max_map_size(ELEMENTS)
        .set_max_string_size(STRING_BYTES)
        .set_max_call_levels(CALLS)
        .set_max_variables(VARIABLES)
        .set_max_functions(FUNCTIONS)
        .set_max_expr_depths(DEPTHS.0, DEPTHS.1)
        .disable_symbol("eval");
    engine
}
