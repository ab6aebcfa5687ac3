//! Rust types and host traits generated from the contract in `wit/`, one set for all three worlds.
//!
//! The strategy world imports everything a guest may ever import, so its traits serve tools too; the tool world
//! adds only the export `toolset`. Data types derive `serde` because the journal keeps them.

use crate::ids::Digest;

mod strategy {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, unused_qualifications)]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "hermes:plugin/strategy",
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        with: {
            "hermes:plugin/llm.pending-completion": crate::bindings::PendingCompletion,
            "hermes:plugin/tools.pending-call": crate::bindings::PendingCall,
            "hermes:plugin/blackboard.space": crate::bindings::Space,
            "hermes:plugin/delegation.child": crate::bindings::Child,
        },
    });
}

mod tool {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, unused_qualifications)]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "hermes:plugin/pure-tool",
        imports: { default: async | trappable },
        exports: { default: async },
        require_store_data_send: true,
        with: { "hermes:plugin/types": crate::bindings::types },
    });
}

pub use strategy::StrategyPre;
pub use strategy::exports::hermes::plugin::agent;
pub use strategy::hermes::plugin::{blackboard, budget, delegation, lessons, llm, session, tools, types};
pub use tool::PureToolPre as ToolsetPre;
pub use tool::exports::hermes::plugin::toolset;

/// A completion that a guest started: the number of its operation.
#[derive(Debug, Clone, Copy)]
pub struct PendingCompletion(pub u32);

/// A tool call that a guest started.
#[derive(Debug, Clone, Copy)]
pub struct PendingCall {
    /// The number of its operation.
    pub op: u32,
    /// What it asks for.
    pub asked: Digest,
}

/// A child that a guest spawned: the number of its operation.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    /// The number.
    pub op: u32,
    counted: bool,
}

impl Child {
    /// One whose handle counts among those that may be open at once.
    pub fn counted(op: u32) -> Self {
        Self { op, counted: true }
    }

    /// One whose handle does not.
    pub fn uncounted(op: u32) -> Self {
        Self { op, counted: false }
    }

    /// Whether its handle counts.
    pub fn is_counted(&self) -> bool {
        self.counted
    }
}

/// A space that a guest opened, by the name it knows.
#[derive(Debug, Clone)]
pub struct Space(pub String);
