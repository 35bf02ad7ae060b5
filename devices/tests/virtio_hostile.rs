//! Hostile drivers: the seeds of the fuzz target, written here and checked to be what is committed, and random inputs.

#[path = "../../fuzz/src/virtio_targets.rs"]
mod virtio_targets;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use virtio_targets::{DEVICES, hostile_driver};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/virtio_hostile_driver")
}

fn action(kind: u8, small: u8, place: u16, value: u32) -> Vec<u8> {
    [&[kind, small][..], &place.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// For each device: negotiation of split or packed rings, a queue, a chain and a kick; and a reset in between.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (number, spec) in DEVICES.iter().enumerate() {
        let name = spec.split(',').next().unwrap_or_default();
        // Packed rings and the features from there on are left out, or nothing is.
        for (layout, left_out) in [("split", 0x0004_0000), ("packed", 0)] {
            let mut bytes = vec![number as u8];
            for _ in 0..2 {
                bytes.extend(action(0, 0, 0, left_out));
                bytes.extend((0..3).flat_map(|queue| action(1, queue, 0, 2)));
                bytes.extend(action(3, 0, 0, 0));
                // Two descriptors, an index and a kick for each queue.
                for queue in 0..3_u8 {
                    bytes.extend(action(7, 0, 0x0940, 0x1000));
                    bytes.extend(action(7, 0, 0x0a40, u32::from(queue) << 26 | 0x1200));
                    bytes.extend(action(9, 0, u16::from(queue) * 1024 + 256 + 2, 1));
                    bytes.extend(action(5, queue, 0, 0));
                }
            }
            seeds.push((format!("{number}_{name}_{layout}"), bytes));
        }
    }
    seeds.push(("status".into(), [vec![0], action(4, 4, 0, 0), action(4, 31, 0, 0), action(4, 0x40, 0, 0)].concat()));
    seeds
}

/// Set `BRINGUP_WRITE_SEEDS` to write them.
#[test]
fn committed_seeds_are_those_that_are_written_here() {
    for (name, bytes) in seeds() {
        let path = folder().join(name);
        if std::env::var_os("BRINGUP_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
}

#[test]
fn seeds_end_without_harm() {
    for (_, bytes) in seeds() {
        hostile_driver(&bytes);
    }
}

/// Actions: negotiated and live at first, then anything.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let any_action = (any::<u8>(), any::<u8>(), any::<u16>(), any::<u32>());
    let steps = prop::collection::vec(any_action, 1..80);
    (0..DEVICES.len() as u8, any::<bool>(), steps).prop_map(|(device, packed, steps)| {
        let mut bytes = vec![device];
        bytes.extend(action(0, 0, 0, if packed { 0 } else { 0x0004_0000 }));
        bytes.extend((0..4).flat_map(|queue| action(1, queue, 0, 2)));
        bytes.extend(action(3, 0, 0, 0));
        bytes.extend(steps.into_iter().flat_map(|(kind, small, place, value)| action(kind, small, place, value)));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_input_harms_the_device_or_lets_it_out_of_its_memory(bytes in input()) {
        hostile_driver(&bytes);
    }
}
