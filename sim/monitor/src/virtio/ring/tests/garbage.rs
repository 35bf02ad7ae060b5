//! Whatever stands in a ring's memory, the followers neither panic nor run on.

use bringup_core::dma::Direction;
use bringup_spec::virtio::feature;
use proptest::prelude::*;

use super::model::Dice;
use super::stand::Stand;
use crate::virtio::ring::Setup;

/// Mostly small numbers and ends of ranges, where arithmetic goes wrong.
fn odd(dice: &mut Dice) -> u64 {
    match dice.roll(6) {
        0 => 0,
        1 => u64::MAX - dice.roll(20),
        2 => 1 << dice.roll(64),
        3 => dice.roll(1 << 16),
        4 => dice.roll(9),
        _ => dice.roll(u64::MAX),
    }
}

fn live(features: u128, size: u16, shown: bool, racing: bool, seed: u64) {
    let mut stand = Stand::new(shown);
    if racing {
        stand.race();
    }
    let mut dice = Dice(seed);
    let areas = [0; 3].map(|_| stand.map(4096, Direction::Bidirectional));
    let tables = stand.map(4096, Direction::Bidirectional);
    let address = |area: u64, dice: &mut Dice| if dice.roll(8) == 0 { odd(dice) } else { area + 16 * dice.roll(4) };
    let [descriptors, driver, device] = areas.map(|area| address(area, &mut dice));
    stand.enable(Setup { index: 0, size, descriptors, driver, device, features });
    stand.phase(|phase| phase.driver_ok = true);
    for _ in 0..200 {
        let area = areas[dice.roll(3) as usize];
        let at = area + 8 * dice.roll(24);
        let value = match dice.roll(4) {
            // Something that leads to a table, at times.
            0 => tables + 16 * dice.roll(8),
            1 => odd(&mut dice) & 0xffff | odd(&mut dice) << 32,
            _ => odd(&mut dice),
        };
        match dice.roll(8) {
            0..=2 => stand.put(at, &value.to_le_bytes()),
            3 => stand.put16(at + 2 * dice.roll(4), value as u16),
            4 => stand.device(|stand| stand.place(at, &value.to_le_bytes())),
            5 => stand.kick(value as u32, 4),
            6 => stand.load(odd(&mut dice), odd(&mut dice)),
            _ => stand.idle(),
        }
        stand.place(tables + 8 * dice.roll(32), &odd(&mut dice).to_le_bytes());
        if dice.roll(50) == 0 {
            stand.bus.show_unmapped(stand.id, odd(&mut dice), odd(&mut dice), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_survived(seed: u64, size in 0_u16..=9, packed: bool, set: u32, shown: bool, racing: bool) {
        let features = u128::from(set) | u128::from(packed) << feature::RING_PACKED | u128::from(set & 3) << feature::IN_ORDER;
        live(features & !(u128::from(!packed) << feature::RING_PACKED), size, shown, racing, seed);
    }
}
