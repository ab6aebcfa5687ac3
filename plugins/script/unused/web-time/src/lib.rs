//! Stands in for a crate that rhai asks for on WebAssembly and, without its feature of time, does not use: the real one
//! brings the bindings of a browser.
