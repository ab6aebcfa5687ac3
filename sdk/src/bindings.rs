//! What `wit-bindgen` makes of the contract in `wit/`. Nothing outside this crate names these modules; authors see the
//! plain names that the crate's root gives their items.

/// The world of strategies. It imports every interface there is, and a component keeps only those that its code uses.
#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod strategy {
    wit_bindgen::generate!({
        path: "../wit",
        world: "hermes:plugin/strategy",
        pub_export_macro: true,
        export_macro_name: "export_strategy",
        default_bindings_module: "hermes_sdk::__private::bindings::strategy",
        additional_derives: [PartialEq],
        runtime_path: "::hermes_sdk::__private::wit_bindgen::rt",
    });
}

/// The world of tools, as far as it is not the strategies': the export alone.
#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod tool {
    wit_bindgen::generate!({
        path: "../wit",
        world: "hermes:plugin/pure-tool",
        pub_export_macro: true,
        export_macro_name: "export_toolset",
        default_bindings_module: "hermes_sdk::__private::bindings::tool",
        runtime_path: "::hermes_sdk::__private::wit_bindgen::rt",
        with: { "hermes:plugin/types@0.1.0": super::strategy::hermes::plugin::types },
    });
}

pub use strategy::exports::hermes::plugin::agent;
pub use strategy::hermes::plugin::{blackboard, budget, delegation, lessons, llm, session, tools, types};
pub use tool::exports::hermes::plugin::toolset;
