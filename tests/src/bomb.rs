//! Components that are small, or just within the format's own limits, and hard on whoever checks or compiles them.

use std::fmt::Write as _;

/// A component in text, with what a host looks for in a toolset and nothing behind it: it can be inspected and compiled, not called.
pub fn toolset(parts: &str) -> Vec<u8> {
    let text =
        format!("(component {parts} (instance $none) (export \"hermes:plugin/toolset@0.1.0\" (instance $none)))");
    wat::parse_str(text).unwrap()
}

/// `component` with one more core module in it, given in text, that it makes no use of.
pub fn with_module(component: &[u8], module: &str) -> Vec<u8> {
    const CORE_MODULE: u8 = 1;
    with_section(component, CORE_MODULE, &wat::parse_str(module).unwrap())
}

/// `component` with others in it, each inside the one before, so deep.
pub fn with_nested(component: &[u8], depth: usize) -> Vec<u8> {
    const COMPONENT: u8 = 4;
    let empty = wat::parse_str("(component)").unwrap();
    // From the innermost outwards: what comes before it in each.
    let mut length = empty.len();
    let mut heads = Vec::new();
    for _ in 1..depth {
        let head = [empty.clone(), section(COMPONENT, length)].concat();
        length += head.len();
        heads.push(head);
    }
    heads.reverse();
    with_section(component, COMPONENT, &[heads.concat(), empty].concat())
}

/// `component` with a custom section of zeroes behind it, so that it has so many bytes: between 16 KiB and 2 MiB more than it had.
pub fn padded(component: &[u8], bytes: usize) -> Vec<u8> {
    // The section's number, and three bytes of its length.
    const HEAD: usize = 4;
    let padded = with_section(component, 0, &vec![0; bytes - component.len() - HEAD]);
    assert_eq!(padded.len(), bytes);
    padded
}

fn with_section(component: &[u8], id: u8, content: &[u8]) -> Vec<u8> {
    [component, &section(id, content.len()), content].concat()
}

/// What a section of so many bytes begins with.
fn section(id: u8, mut length: usize) -> Vec<u8> {
    let mut bytes = vec![id];
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes
}

/// A module of so many functions.
pub fn functions(count: usize) -> String {
    format!("(module {})", "(func)".repeat(count))
}

/// A module of one function with so many local variables, of two types by turns, that writes each of them from another behind a branch, in so many rounds.
pub fn function(locals: usize, rounds: usize) -> String {
    let mut text = String::from("(module (func (param i32)");
    text.push_str(&"(local i32 i64)".repeat(locals / 2));
    let local = |n: usize| 1 + (n * 2) % locals;
    let targets = "0 1 2 3 ".repeat(64);
    for round in 0..rounds {
        let (to, from) = (local(round * 7919), local(round * 104_729 + 1));
        write!(
            text,
            "(block (block (block (block (br_table {targets} (local.get 0))) (local.set {to} (local.get {from})))\
             (local.set {from} (i32.const {round}))) (local.set {to} (i32.add (local.get {to}) (local.get {from}))))"
        )
        .unwrap();
    }
    text.push_str("))");
    text
}

/// Parts of a component: others inside one another, each of which has the next one instantiated ten times, `10^depth` times in all.
pub fn instances(depth: u32) -> String {
    match depth {
        0 => String::new(),
        _ => {
            let inner = instances(depth - 1);
            format!(
                "(component $inner {inner}){}",
                "(instance (instantiate $inner))".repeat(10)
            )
        }
    }
}
