//! Guests that want more room than they may have: stack, memory, tables.

use hermes_tests::Host;
use hermes_tests::child::{ChildSpec, exit, join, words};
use serde_json::json;

use crate::cases;
use crate::hostile::{self, Guest};
use crate::site::Site;

const MEMORY: u64 = 64 << 20;

#[test]
fn a08_a_stack_without_end() {
    let site = Site::new();
    for case in cases::room::stacks() {
        site.tries(&case).holding(2 << 20);
    }
    let file = cases::room::wide().file(&site.home, "wide");
    let plugins = site.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(&file, plugins.join("wide.wasm")).unwrap();
    let lived = site.lives(site.host(), &[ChildSpec::of("wide", "go").spawn(), join(0)]);
    assert_eq!(exit(&lived.seen[1]), "Trapped");
    assert!(words(&lived.seen[1]).contains("limits.wasm_stack"), "{}", lived.seen[1]);
    site.is_well();
}

#[test]
fn a08_a_tool_that_calls_itself_is_another_instance() {
    let site = Site::new();
    site.tries(&cases::room::calls_itself());
    site.is_well();
}

#[test]
fn a08_brackets_without_end() {
    let site = Site::new();
    site.tries(&cases::room::brackets());
    site.is_well();
}

/// What the tool `measure` of a guest answers in a run, and how much the run may hold.
#[track_caller]
fn measured(site: &Site, host: Host, guest: Guest, bytes: u64) -> String {
    let host = host.arg("--tool").arg(guest.file(&site.home));
    let lived = site.lives(host, &[json!({ "do": "call", "name": "measure" })]);
    let answer = lived.seen[0]["ok"]["output"]["content"][0]["Text"].as_str();
    let answer = answer.unwrap().to_owned();
    lived.attacked(site).holding(bytes);
    answer
}

#[test]
fn a10_memory_to_the_last_page() {
    let site = Site::new();
    let [memories, own_maximum, _] = cases::room::measured();
    site.tries(&memories).holding(MEMORY);
    site.tries(&own_maximum).holding(MEMORY);
    for bytes in [40 * 65_536, 41 * 65_536 - 1] {
        let host = site.host().set("limits.memory", bytes);
        assert_eq!(measured(&site, host, hostile::A10_OWN_MAXIMUM, MEMORY), "40");
    }
    site.is_well();
}

#[test]
fn a10_memory_that_is_too_much_from_the_beginning() {
    let site = Site::new();
    let [initial, together] = cases::room::initial_memory();
    site.tries(&initial).holding(0);
    site.tries(&together).holding(0);
    let file = hostile::A10_INITIAL_TOGETHER.file(&site.home);
    site.attack(site.host().set("limits.memory", "80MiB").run(&file, "go"))
        .answers("done");
    let less = site.host().set("limits.memory", (80 << 20) - 1).run(&file, "go");
    site.attack(less)
        .refused(&["83886080 bytes of memory", "limits.memory (83886079)"])
        .of_kind("load(too-large)");
    site.is_well();
}

#[test]
fn a11_tables_to_the_last_element() {
    let site = Site::new();
    let [_, _, tables] = cases::room::measured();
    site.tries(&tables).holding(1 << 20);
    for case in cases::room::initial_elements() {
        site.tries(&case);
    }
    for guest in [hostile::A11_INITIAL_TOGETHER, hostile::A11_BESIDE_IMPORTS] {
        let host = site.host().set("limits.table_elements", 20_001);
        site.attack(host.run(&guest.file(&site.home), "go")).answers("done");
    }
    let file = hostile::A11_INITIAL_TOGETHER.file(&site.home);
    let host = site.host().set("limits.table_elements", 19_999).run(&file, "go");
    site.attack(host)
        .refused(&["20001 table elements", "limits.table_elements (19999)"])
        .of_kind("load(too-large)");
    site.is_well();
}

#[test]
fn a24_an_instance_finds_nothing_of_the_one_before_it() {
    let site = Site::new();
    let left = cases::room::left();
    site.tries(&left).holding(8 << 20);
    // One place is its agent's: all calls have the other.
    site.tries_on(site.host().set("limits.resident", 2), &left);
    site.is_well();
}

#[test]
fn a11_as_many_tables_as_an_instance_may_have() {
    let site = Site::new();
    for case in cases::room::tables() {
        site.tries(&case);
    }
    site.is_well();
}
