//! The seeds of the fuzz target: written here, checked to be what is committed, and run on stable.

use crate::virtio_ring_target::hostile_device;

use std::path::Path;

/// What the queue is like: features, size, segments of a table.
const SPLIT_OF_FOUR: [u8; 3] = [0b0000, 1, 0];
const PACKED_OF_FOUR: [u8; 3] = [0b0001, 3, 0];
const ALL_PACKED_OF_FIVE: [u8; 3] = [0b1111, 4, 3];
const ALL_SPLIT_OF_EIGHT: [u8; 3] = [0b1110, 2, 3];

/// One segment to read, one to write, of 100 bytes.
const ADD: [u8; 3] = [0, 0b1001, 100];
const PUBLISH: [u8; 1] = [3];
const POP: [u8; 1] = [5];
const ENABLE: [u8; 1] = [13];
const RESET: [u8; 1] = [15];

/// The device uses a chain: id, bytes written, and how far it goes on.
fn uses(id: u8, written: u8, on: u8) -> [u8; 4] {
    [7, id, written, on]
}

/// Inputs with a purpose: name and bytes.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |parts: &[&[u8]]| parts.concat();
    let honest = |queue: &[u8], slots| {
        let used = uses(0, 50, slots);
        seed(&[queue, &ADD, &PUBLISH, &ENABLE, &used, &POP, &POP, &RESET])
    };
    let twice = [&uses(0, 1, 1)[..], &POP, &uses(0, 1, 1), &POP].concat();
    vec![
        ("split_honest", honest(&SPLIT_OF_FOUR, 1)),
        ("packed_honest", honest(&PACKED_OF_FOUR, 2)),
        ("split_all_features", honest(&ALL_SPLIT_OF_EIGHT, 1)),
        ("packed_all_features", honest(&ALL_PACKED_OF_FIVE, 1)),
        ("twice", seed(&[&SPLIT_OF_FOUR, &ADD, &PUBLISH, &twice])),
        (
            "too_long",
            seed(&[&SPLIT_OF_FOUR, &ADD, &PUBLISH, &uses(0, 200, 1), &POP]),
        ),
        (
            "ahead",
            seed(&[&SPLIT_OF_FOUR, &ADD, &PUBLISH, &uses(0, 1, 3), &POP]),
        ),
        (
            "never_shown",
            seed(&[&PACKED_OF_FOUR, &ADD, &uses(0, 1, 2), &POP]),
        ),
    ]
}

#[test]
fn seeds_are_what_is_committed_and_run_clean() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../../../fuzz/seeds/virtio_ring_hostile_device");
    for (name, bytes) in seeds() {
        let path = folder.join(name);
        if std::env::var_os("BRINGUP_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let committed = std::fs::read(&path).unwrap_or_default();
        assert_eq!(
            committed,
            bytes,
            "{} is out of date: run this test with BRINGUP_WRITE_SEEDS=1",
            path.display()
        );
        hostile_device(&bytes);
    }
}
