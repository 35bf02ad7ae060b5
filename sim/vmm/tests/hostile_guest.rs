//! Hostile guests: the seeds of the fuzz target, written here and checked to be what is committed, and random inputs.

#[path = "../../../fuzz/src/vmm_targets.rs"]
mod vmm_targets;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use vmm_targets::{DEVICES, hostile_guest};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/vmm_hostile_guest")
}

fn action(kind: u8, small: u8, place: u16, value: u32) -> Vec<u8> {
    [&[kind, small][..], &place.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// A machine without faults, and what its guest does.
fn seed(name: &str, actions: impl IntoIterator<Item = Vec<u8>>) -> (String, Vec<u8>) {
    let mut bytes = vec![0];
    bytes.extend(actions.into_iter().flatten());
    (name.into(), bytes)
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let devices = 0..=DEVICES.len() as u8;
    let enumerate = devices.clone().flat_map(|number| (0..64).map(move |at| action(4, number + 3, at << 5, 0)));
    let sizes = devices.clone().flat_map(|number| [0, 1].map(|bar| action(7, number, bar, 0)));
    let moves = (0..16).flat_map(|to| devices.clone().map(move |n| action(5, n, to << 12 | 0x44, 0xf0f0_0000)));
    let accesses = (0..16).flat_map(|width| devices.clone().map(move |n| action(8, n, width << 12 | 8, 0x7000_0004)));
    let ports = (0..64).map(|at| action(2, at * 4, at.into(), 0x1234_5678));
    let addresses = (0..4).map(|flip| action(3, flip << 3, 4, 0));
    // Around the configuration ports, one, two and four bytes; and an I/O BAR behind the last port.
    let around = (0..10).flat_map(|at| [0, 1, 3].map(|len| action(12, at, 6 << 6 | len << 3, 0x8000_1804)));
    let beyond =
        [action(5, 1 | 0x80, 13 << 12 | 1, 0), action(12, 1, 7 << 6 | 3 << 3, 0), action(12, 3, 7 << 6 | 1 << 3, 0)];
    let ends = around.chain(beyond);
    // Enable, mask each vector or not, ring, look at the pending bits, unmask, reset.
    let mut rings = vec![action(16, 0x80, 0, 0)];
    for (vector, masked) in [(0, 0), (1, 1), (2, 1), (3, 0)] {
        rings.push(action(14, 0, vector << 2 | 1, masked));
        rings.push(action(14, 0, vector << 2, 0xfee0_0000));
        rings.push(action(17, vector as u8, 0x8000, 0));
    }
    rings.push(action(19, DEVICES.len() as u8, 0xc000, 0));
    rings.push(action(16, 0xc0, 0, 0));
    rings.push(action(17, 0, 0x8000, 0));
    rings.extend((1..3).map(|vector| action(14, 0, vector << 2 | 1, 0)));
    rings.extend([action(16, 0x80, 0, 0), action(23, 1, 0, 0), action(19, DEVICES.len() as u8, 0xc000, 0)]);
    // Pended while masked; unmasked while the function may not master the bus; then it may.
    let bell = DEVICES.len() as u8;
    let ring = [action(14, 0, 5, 1), action(17, 1, 0x8000, 0)];
    let stays = [action(13, bell, 1, 2), action(14, 0, 5, 0), action(19, bell, 0xc000, 0), action(13, bell, 1, 7)];
    rings.extend([action(16, 0x80, 0, 0)].into_iter().chain(ring).chain(stays));
    let windows = (0..4).flat_map(|number| [0, 8].map(|way| action(20, number, 0x8c00 | way, 0x14)));
    let transfers = (0..8).flat_map(|place| [0, 1].map(move |way| action(21, place, way, 0x0200_0010)));
    let chains = (0..4).flat_map(|n| (0..8).map(move |place| action(22, place * 8 + n, 0x100 | 2, 0x0000_0020)));
    let unmastered = (0..6).map(|number| action(13, number, 5, 2)).chain(transfers.clone()).chain(chains.clone());
    let mut all = vec![
        seed("enumerate", enumerate),
        seed("sizes", sizes),
        seed("moves", moves),
        seed("accesses", accesses),
        seed("ports", ports),
        seed("addresses", addresses),
        seed("port_ends", ends),
        seed("vectors", rings.clone()),
        seed("windows", windows),
        seed("transfers", transfers),
        seed("chains", chains.clone()),
        seed("unmastered", unmastered),
    ];
    for (name, first) in [("lying_device", 0xa6), ("lost_writes", 0xb0), ("lost_configuration", 0x90)] {
        let mut bytes = seed(name, rings.iter().cloned().chain(chains.clone())).1;
        bytes[0] = first;
        all.push((name.into(), bytes));
    }
    all
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
        hostile_guest(&bytes);
    }
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let step = (any::<u8>(), any::<u8>(), any::<u16>(), any::<u32>())
        .prop_map(|(kind, small, place, value)| action(kind, small, place, value));
    let faults = prop_oneof![3 => Just(0_u8), 1 => any::<u8>()];
    (faults, prop::collection::vec(step, 1..80)).prop_map(|(first, steps)| {
        let mut bytes = vec![first];
        bytes.extend(steps.concat());
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_guest_harms_the_machine_or_gets_out_of_it(bytes in input()) {
        hostile_guest(&bytes);
    }
}
