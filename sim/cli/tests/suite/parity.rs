//! What would not build in a kernel tree is said here: the standard library, and assertions that the optimiser cannot prove.

use std::path::Path;

use crate::command::{Room, Said};

fn run(name: &str) -> Said {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name);
    Room::new().bringup(&format!("run {}", path.display()))
}

#[test]
fn standard_library_does_not_exist_for_a_driver() {
    let room = Room::at("std");
    for name in ["uses_std.rs", "part.rs"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name);
        room.put(name, std::fs::read(source).unwrap());
    }
    let said = room.bringup("run uses_std.rs");
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.err.contains("uses_std.rs:19"), "{}", said.err);
}

#[test]
fn driver_that_names_no_standard_library_is_not_warned_of() {
    assert_eq!(run("hello.rs").err, "");
}

/// Only an optimised runner shows what the optimiser could not prove: `cargo test --release`.
#[cfg(not(debug_assertions))]
#[test]
fn access_at_an_unproven_offset_is_a_warning() {
    let said = run("beyond.rs");
    assert_eq!(said.status, 0, "{said:?}");
    let line = "a build_assert! is left that the optimiser cannot prove";
    assert!(said.err.contains(line) && said.err.lines().count() == 1, "{}", said.err);
}

#[test]
fn proven_accesses_are_no_warning() {
    for name in ["edu/edu.rs", "first/first.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers").join(name);
        let said = Room::new().bringup(&format!("run {}", path.display()));
        assert_eq!((said.status, &*said.err), (0, ""), "{name}");
    }
}
