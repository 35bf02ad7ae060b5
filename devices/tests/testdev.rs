//! The rules of pci-testdev: its header, what it counts, and what it does not.

mod board;

use board::Board;
use bringup_core::Reset;
use bringup_core::pci::{command, offset};
use bringup_devices::TestDev;
use proptest::prelude::*;

fn testdev() -> Board {
    Board::new(TestDev::new())
}

fn name(board: &mut Board, bar: u8) -> String {
    let bytes = (0x10..0x40).map(|at| board.read(bar, at, 1) as u8);
    bytes.take_while(|byte| *byte != 0).map(char::from).collect()
}

#[test]
fn it_is_the_function_that_qemu_shows() {
    let mut board = testdev();
    let id = board.device;
    let words = [0x00, 0x08, 0x2c, 0x34, 0x3c].map(|at| board.bus.config_read(id, at, 4));
    assert_eq!(words, [0x0005_1b36, 0x00ff_0000, 0x1100_1af4, 0, 0]);
    assert_eq!([0, 1].map(|bar| board.bus.bar(id, bar).unwrap().1.size), [4096, 256]);
    assert_eq!(board.bus.bar(id, 2), None);
}

#[test]
fn without_a_test_everything_reads_as_zero_and_nothing_is_counted() {
    let mut board = testdev();
    board.write(0, 0x800, 1, 0xfa);
    assert_eq!([0x4, 0x8, 0xc].map(|at| board.read(0, at, 4)), [0; 3]);
    assert_eq!(board.read(1, 0x1, 1), 0);
}

#[test]
fn selecting_a_test_shows_its_header() {
    let mut board = testdev();
    let headers = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)].map(|(bar, number)| {
        board.write(bar, 0x0, 1, number);
        let [offset, data, count] = [0x4, 0x8, 0xc].map(|at| board.read(bar, at, 4));
        (board.read(bar, 0x1, 1), offset, data, count, name(&mut board, bar))
    });
    assert_eq!(
        headers,
        [
            (1, 0x800, 0xfa, 0, "mmio-no-eventfd".into()),
            (1, 0x801, 0xce, 0, "mmio-wildcard-eventfd".into()),
            (1, 0x802, 0xfa, 0, "mmio-datamatch-eventfd".into()),
            (1, 0x83, 0xfa, 0, "portio-no-eventfd".into()),
            (1, 0x84, 0xce, 0, "portio-wildcard-eventfd".into()),
            (1, 0x85, 0xfa, 0, "portio-datamatch-eventfd".into()),
        ]
    );
    assert_eq!(board.broken_rules(), [""; 0]);
}

#[test]
fn a_number_without_a_test_ends_testing() {
    let mut board = testdev();
    board.write(0, 0x0, 1, 0);
    board.write(0, 0x0, 1, 3);
    assert_eq!((board.read(0, 0x1, 1), board.read(0, 0x4, 4)), (0, 0));
}

#[test]
fn matching_writes_are_counted_and_others_are_not() {
    let mut board = testdev();
    board.write(0, 0x0, 1, 0);
    board.write(0, 0x800, 1, 0xfa);
    assert_eq!(board.read(0, 0xc, 4), 1);
    board.write(0, 0x800, 1, 0xce);
    board.write(0, 0x801, 1, 0xfa);
    assert_eq!(board.read(0, 0xc, 4), 1);
    board.write(0, 0x800, 4, 0x1234_56fa);
    assert_eq!(board.read(0, 0xc, 4), 2);
}

#[test]
fn a_wide_write_counts_by_the_byte_at_the_offset() {
    let mut board = testdev();
    board.write(1, 0x0, 1, 0);
    board.write(1, 0x80, 4, 0xfa00_0000);
    assert_eq!(board.read(1, 0xc, 4), 1);
    board.write(1, 0x80, 4, 0x00fa_fafa);
    assert_eq!(board.read(1, 0xc, 4), 1);
}

#[test]
fn selecting_a_test_again_starts_the_count_anew() {
    let mut board = testdev();
    board.write(0, 0x0, 1, 0);
    board.write(0, 0x800, 1, 0xfa);
    board.write(0, 0x0, 1, 0);
    assert_eq!(board.read(0, 0xc, 4), 0);
}

#[test]
fn what_an_eventfd_takes_is_not_counted() {
    let mut board = testdev();
    board.write(0, 0x0, 1, 1);
    board.write(0, 0x801, 1, 0x55);
    assert_eq!(board.read(0, 0xc, 4), 0);
    board.write(0, 0x800, 4, 0);
    assert_eq!(board.read(0, 0xc, 4), 1);
    board.write(0, 0x0, 1, 2);
    board.write(0, 0x802, 1, 0xfa);
    assert_eq!(board.read(0, 0xc, 4), 0);
    board.write(0, 0x802, 2, 0xfa);
    assert_eq!(board.read(0, 0xc, 4), 1);
}

#[test]
fn the_documented_rights_of_the_header_are_checked() {
    let mut board = testdev();
    board.write(0, 0x0, 1, 0);
    assert_eq!((board.read(0, 0x0, 1), board.broken_rules()), (0xff, vec!["bar-write-only"]));
    assert_eq!((board.read(0, 0x2, 1), board.broken_rules()), (0xff, vec!["bar-no-register"]));
    board.write(0, 0xc, 4, 9);
    assert_eq!((board.read(0, 0xc, 4), board.broken_rules()), (0, vec!["bar-read-only"]));
}

#[test]
fn the_membar_is_there_only_when_asked_for_and_has_no_storage() {
    let mut board = Board::new(TestDev::new().with_membar(1 << 20));
    let id = board.device;
    let (_, bar) = board.bus.bar(id, 2).unwrap();
    assert_eq!((bar.size, bar.prefetchable), (1 << 20, true));
    board.write(2, 0x10, 4, 5);
    assert_eq!((board.read(2, 0x10, 4), board.broken_rules().len()), (0xffff_ffff, 2));
}

#[test]
fn a_reset_ends_testing() {
    let mut board = testdev();
    board.write(0, 0x0, 1, 0);
    board.bus.reset(board.device, Reset::Function);
    board.bus.config_write(board.device, offset::COMMAND, 2, command::MEMORY.into());
    assert_eq!(board.read(0, 0x4, 4), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_accesses_breaks_the_device(
        accesses in prop::collection::vec(
            (
                0..7_u8,
                prop_oneof![4 => 0..0x40_u64, 2 => 0x7f8..0x810_u64, 2 => 0x78..0x90_u64, 1 => any::<u64>()],
                prop_oneof![Just(1_u8), Just(2), Just(4), Just(8)],
                prop_oneof![any::<u64>(), 0..4_u64, Just(0xfa)],
                any::<bool>(),
            ),
            0..300,
        ),
    ) {
        let mut board = Board::new(TestDev::new().with_membar(4096));
        let mut writes = 0;
        for (bar, at, width, value, is_write) in accesses {
            if is_write { board.write(bar, at, width, value) } else { board.read(bar, at, width); }
            writes += u64::from(is_write);
            prop_assert!(board.read(0, 0xc, 4) <= writes);
        }
        board.write(0, 0x0, 1, 0);
        prop_assert_eq!(board.read(0, 0x4, 4), 0x800);
    }
}
