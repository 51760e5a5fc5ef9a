//! What is written about unsafe code, ours and others', is what the code has.

use std::fs;

use mcr_lab::{dependencies, unsafe_inventory};

#[test]
fn every_dependency_with_unsafe_code_has_its_note() {
    let faults = dependencies::faults().unwrap();
    assert!(faults.is_empty(), "supply-chain/audits.toml:\n  {}", faults.join("\n  "));
}

#[test]
fn the_inventory_of_unsafe_code_is_that_of_the_code() {
    let text = fs::read_to_string(unsafe_inventory::path()).unwrap();
    let stale = "crates/mcr-sys/unsafe.toml is stale: run `cargo run -p mcr-lab -- document`";
    assert!(text == unsafe_inventory::renewed().unwrap(), "{stale}");
    for (module, entry) in unsafe_inventory::written().unwrap() {
        assert!(!entry.holds.trim().is_empty(), "{module}: say in `holds` by what it is sound");
    }
}
