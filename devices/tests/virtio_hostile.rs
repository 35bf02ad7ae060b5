//! Hostile drivers: the seeds of the fuzz target, written here and checked to be what is committed, and random inputs.

#[path = "../../fuzz/src/virtio_targets.rs"]
mod virtio_targets;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use virtio_targets::{DEVICES, hostile_driver};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/virtio_hostile_driver")
}

/// Elements and which of them the device writes, and their lengths: all readable, all writable and mixed, as requests, packets and
/// commands have them.
const SHAPES: [(u16, u32); 7] =
    [(0x1d, 0o41), (0x1c, 0o3), (0x00, 0o6), (0x06, 0o230), (0x0a, 0o230), (0x05, 0o20), (0x05, 0o25)];

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
                bytes.extend((0..4).flat_map(|queue| action(1, queue, 0, 2)));
                bytes.extend(action(3, 0, 0, 0));
                // What carries a packet through the loop, and writes and reads sectors; then all shapes in all queues.
                let packet = [(0, (0x00, 0o6), 0), (1, (0x1d, 0o41), 0)];
                let sectors = [(0, (0x0a, 0o230), 1), (0, (0x06, 0o230), 0)];
                let all = (0..4).flat_map(|queue| SHAPES.map(|shape| (queue, shape, 0)));
                for (queue, (shape, lengths), first) in packet.into_iter().chain(sectors).chain(all) {
                    bytes.extend(action(16, queue, shape, lengths << 16 | first));
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

/// Actions: negotiated and live at first, then chains of the usual shapes among anything.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let usual = (0..4_u8, prop::sample::select(&SHAPES[..]), 0..16_u32)
        .prop_map(|(queue, (shape, lengths), first)| action(16, queue, shape, lengths << 16 | first));
    let anything = (any::<u8>(), any::<u8>(), any::<u16>(), any::<u32>())
        .prop_map(|(kind, small, place, value)| action(kind, small, place, value));
    let chains = (16..24_u8, any::<u8>(), any::<u16>(), any::<u32>())
        .prop_map(|(kind, small, place, value)| action(kind, small, place, value));
    let steps = prop::collection::vec(prop_oneof![4 => usual, 2 => chains, 1 => anything], 1..80);
    (0..DEVICES.len() as u8, any::<bool>(), steps).prop_map(|(device, packed, steps)| {
        let mut bytes = vec![device];
        bytes.extend(action(0, 0, 0, if packed { 0 } else { 0x0004_0000 }));
        bytes.extend((0..4).flat_map(|queue| action(1, queue, 0, 2)));
        bytes.extend(action(3, 0, 0, 0));
        bytes.extend(steps.concat());
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_input_harms_the_device_or_lets_it_out_of_its_memory(bytes in input()) {
        hostile_driver(&bytes);
    }
}
