//! Which features of WebAssembly this host has on, and which one a component needs that is off.

use std::borrow::Cow;

use wasmparser::{BinaryReaderError, Validator, WasmFeatures};

use super::{LoadError, damaged};
use crate::text;

/// The features that this host has on, for the check as for the engine: what one of them lets pass the other does.
pub(in crate::engine) fn on() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::FLOATS
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::COMPONENT_MODEL
}

/// Features that are off, by the names that people know.
const OFF: [(WasmFeatures, &str); 28] = [
    (WasmFeatures::THREADS, "threads (shared memory and atomics)"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "shared-everything threads"),
    (WasmFeatures::RELAXED_SIMD, "relaxed SIMD"),
    (WasmFeatures::MEMORY64, "64-bit memories"),
    (WasmFeatures::EXCEPTIONS, "exceptions"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "exceptions (the legacy proposal)"),
    (WasmFeatures::GC, "garbage collection"),
    (WasmFeatures::GC_TYPES, "references to objects of the host (externref)"),
    (WasmFeatures::FUNCTION_REFERENCES, "typed function references"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::MEMORY_CONTROL, "memory control"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (WasmFeatures::CM_ASYNC, "component-model async"),
    (WasmFeatures::CM_ASYNC_STACKFUL, "component-model async (stackful)"),
    (
        WasmFeatures::CM_MORE_ASYNC_BUILTINS,
        "component-model async (more built-ins)",
    ),
    (WasmFeatures::CM_THREADING, "component-model threads"),
    (WasmFeatures::CM_ERROR_CONTEXT, "component-model error contexts"),
    (WasmFeatures::CM_VALUES, "component-model values"),
    (WasmFeatures::CM_NESTED_NAMES, "component-model nested names"),
    (
        WasmFeatures::CM_FIXED_LENGTH_LISTS,
        "component-model lists of fixed length",
    ),
    (WasmFeatures::CM_GC, "garbage collection in the component model"),
    (WasmFeatures::CM_MAP, "component-model maps"),
    (WasmFeatures::CM64, "64-bit memories in the component model"),
    (
        WasmFeatures::CM_IMPLEMENTS,
        "component-model names that implement an interface",
    ),
    (WasmFeatures::CM_CANON_NAMES, "component-model canonical names"),
    (WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors"),
    (WasmFeatures::COMPACT_IMPORTS, "compact import sections"),
];

/// A component of more bytes is not searched for the feature that it needs, where the check itself does not name it: each of [`OFF`] is tried by validating
/// the whole component, up to twice. All these passes together read less than one over the largest component (`limits.component`) does.
const SEARCHED: usize = 1 << 20;

/// Checks all of a component's bytes, in at most two passes where it has more than [`SEARCHED`].
///
/// # Errors
/// It needs a feature that is off, or is damaged.
pub(super) fn validate(bytes: &[u8]) -> Result<(), LoadError> {
    let passes = |features| Validator::new_with_features(features).validate_all(bytes);
    let Err(error) = passes(on()) else {
        return Ok(());
    };
    // Garbage can look like an instruction of any proposal: it is a feature that is missing only where nothing else is wrong.
    if passes(WasmFeatures::all()).is_err() {
        return Err(damaged(&error));
    }
    let first = |is_missing: &dyn Fn(WasmFeatures) -> bool| OFF.into_iter().find(|(feature, _)| is_missing(*feature));
    let missing = match error.missing_wasm_feature() {
        Some(missing) => first(&|feature| missing.intersects(feature)),
        None if bytes.len() > SEARCHED => None,
        // The one that is all it lacks; or one of several without which it is refused.
        None => first(&|feature| passes(on() | feature).is_ok())
            .or_else(|| first(&|feature| passes(WasmFeatures::all() - feature).is_err())),
    };
    let feature = missing.map_or_else(|| unnamed(&error), |(_, feature)| feature.into());
    Err(LoadError::Feature { feature })
}

/// A feature of which nothing is known but what the check says where it is missing.
fn unnamed(error: &BinaryReaderError) -> Cow<'static, str> {
    let (at, said) = (error.offset(), text::line(error.message(), 200));
    format!("a feature of WebAssembly (at byte {at}: {said})").into()
}
