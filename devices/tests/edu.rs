//! The rules of edu, register by register, and its DMA against an independent model.

mod board;

use board::Board;
use bringup_core::Reset;
use bringup_core::dma::Direction;
use bringup_core::pci::{command, offset};
use bringup_devices::Edu;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn edu() -> Board {
    Board::new(Edu::new())
}

/// Programs a transfer, with 8-byte accesses, and starts it.
fn start(board: &mut Board, source: u64, destination: u64, count: u64, command: u64) {
    for (at, value) in [(0x80, source), (0x88, destination), (0x90, count), (0x98, command)] {
        board.write(0, at, 8, value);
    }
}

#[test]
fn it_is_the_function_that_qemu_shows() {
    let mut board = edu();
    let id = board.device;
    let words = [0x00, 0x08, 0x2c].map(|at| board.bus.config_read(id, at, 4));
    assert_eq!(words, [0x11e8_1234, 0x00ff_0010, 0x1100_1af4]);
    assert_eq!(board.bus.config_read(id, 0x3d, 1), 1);
    assert_eq!(board.bus.config_read(id, 0x34, 1), 0x40);
    assert_eq!(board.bus.config_read(id, 0x40, 4), 0x0080_0005);
    assert_eq!(board.bus.bar(id, 0).unwrap().1.size, 1 << 20);
}

#[test]
fn identification_is_version_1_0() {
    assert_eq!(edu().read(0, 0x00, 4), 0x0100_00ed);
}

#[test]
fn liveness_reads_as_the_inverse_of_what_was_written() {
    let mut board = edu();
    assert_eq!(board.read(0, 0x04, 4), 0);
    board.write(0, 0x04, 4, 0x1234_5678);
    assert_eq!(board.read(0, 0x04, 4), 0xedcb_a987);
}

#[test]
fn a_factorial_is_its_operand_until_it_is_computed() {
    let mut board = edu();
    board.write(0, 0x08, 4, 10);
    assert_eq!((board.read(0, 0x20, 4), board.read(0, 0x08, 4)), (1, 10));
    board.step(Edu::FACTORIAL_BASE_NS + 10);
    assert_eq!((board.read(0, 0x20, 4), board.read(0, 0x08, 4)), (0, 3_628_800));
    assert!(!board.bus.intx(board.device));
}

#[test]
fn factorials_wrap_at_32_bits() {
    let mut board = edu();
    let results = [0, 1, 12, 13, 33, 34, u32::MAX].map(|operand| {
        board.write(0, 0x08, 4, operand.into());
        board.step(5_000 * MS);
        board.read(0, 0x08, 4)
    });
    assert_eq!(results, [1, 1, 479_001_600, 1_932_053_504, 0x8000_0000, 0, 0]);
}

#[test]
fn an_operand_written_while_computing_is_lost_and_found() {
    let mut board = edu();
    board.write(0, 0x08, 4, 5);
    board.write(0, 0x08, 4, 6);
    assert_eq!(board.broken_rules(), ["device-misuse"]);
    board.step(MS);
    assert_eq!(board.read(0, 0x08, 4), 120);
}

#[test]
fn a_factorial_raises_its_interrupt_only_when_asked_to() {
    let mut board = edu();
    board.write(0, 0x20, 4, 0xffff_ffff);
    assert_eq!(board.read(0, 0x20, 4), 0x80);
    board.write(0, 0x08, 4, 3);
    assert_eq!(board.read(0, 0x20, 4), 0x81);
    board.step(MS);
    assert_eq!((board.read(0, 0x24, 4), board.bus.intx(board.device)), (1, true));
}

#[test]
fn the_pin_stays_up_until_everything_is_acknowledged() {
    let mut board = edu();
    board.write(0, 0x60, 4, 0x0000_0101);
    board.write(0, 0x64, 4, 0x0000_0001);
    assert_eq!((board.read(0, 0x24, 4), board.bus.intx(board.device)), (0x100, true));
    board.write(0, 0x64, 4, 0x0000_0100);
    assert_eq!((board.read(0, 0x24, 4), board.bus.intx(board.device)), (0, false));
}

#[test]
fn raising_nothing_while_nothing_is_pending_raises_nothing() {
    let mut board = edu();
    board.write(0, 0x60, 4, 0);
    assert!(!board.bus.intx(board.device));
}

#[test]
fn every_raise_sends_a_message_when_msi_is_on() {
    let mut board = edu();
    board.set_msi(0xfee0_0000, 0x41, true);
    board.write(0, 0x60, 4, 2);
    board.write(0, 0x60, 4, 2);
    board.write(0, 0x60, 4, 0);
    let messages: Vec<_> = board.messages().iter().map(|message| (message.address, message.data)).collect();
    assert_eq!(messages, [(0xfee0_0000, 0x41); 3]);
    assert!(!board.bus.intx(board.device));
}

#[test]
fn accesses_the_documentation_rules_out_are_found_and_change_nothing() {
    let mut board = edu();
    let cases = [
        (0x00, 1, "bar-width"),
        (0x04, 2, "bar-width"),
        (0x08, 8, "bar-width"),
        (0x80, 1, "bar-width"),
        (0x82, 2, "bar-width"),
        (0x84, 4, "device-misuse"),
        (0x84, 8, "bar-misaligned"),
        (0x0c, 4, "bar-no-register"),
        (0xa0, 8, "bar-no-register"),
        (0x4_0000, 4, "bar-no-register"),
        (0x10_0000, 4, "bar-out-of-range"),
        (0x60, 4, "bar-write-only"),
        (0x64, 4, "bar-write-only"),
    ];
    for (at, width, rule) in cases {
        let ones = u64::MAX >> (64 - 8 * u32::from(width));
        assert_eq!((board.read(0, at, width), board.broken_rules()), (ones, vec![rule]), "{width} bytes at {at:#x}");
    }
    for at in [0x00, 0x24] {
        board.write(0, at, 4, 7);
        assert_eq!(board.broken_rules(), ["bar-read-only"], "{at:#x}");
    }
    assert_eq!((board.read(0, 0x00, 4), board.read(0, 0x24, 4)), (0x0100_00ed, 0));
}

#[test]
fn a_4_byte_write_to_a_dma_register_clears_its_upper_half() {
    let mut board = edu();
    board.write(0, 0x80, 8, 0x1122_3344_5566_7788);
    assert_eq!(board.read(0, 0x80, 4), 0x5566_7788);
    board.write(0, 0x84, 4, 0xffff_ffff);
    assert_eq!((board.read(0, 0x80, 8), board.broken_rules()), (0x1122_3344_5566_7788, vec!["device-misuse"]));
    board.write(0, 0x80, 4, 0xaabb_ccdd);
    assert_eq!((board.read(0, 0x80, 8), board.broken_rules()), (0xaabb_ccdd, vec![]));
}

#[test]
fn a_dma_command_without_start_is_ignored() {
    let mut board = edu();
    board.write(0, 0x98, 4, 6);
    assert_eq!(board.read(0, 0x98, 4), 0);
}

#[test]
fn dma_takes_100_ms_and_then_raises_its_interrupt_if_asked_to() {
    let mut board = edu();
    let window = board.map(64, 0x0fff_ffff, Direction::Bidirectional);
    start(&mut board, window.iova, 0x4_0000, 64, 5);
    board.step(99 * MS);
    assert_eq!((board.read(0, 0x98, 4), board.read(0, 0x24, 4)), (5, 0));
    board.step(MS);
    assert_eq!((board.read(0, 0x98, 4), board.read(0, 0x24, 4)), (4, 0x100));
    assert!(board.bus.intx(board.device));
    assert_eq!(board.broken_rules(), [""; 0]);
}

#[test]
fn dma_time_is_configurable() {
    let mut board = Board::new(Edu::new().with_dma_time_ns(10_000));
    start(&mut board, 0, 0x4_0000, 0, 1);
    assert_eq!(board.read(0, 0x98, 4), 1);
    board.step(10_000);
    assert_eq!(board.read(0, 0x98, 4), 0);
}

#[test]
fn dma_registers_keep_what_they_hold_while_a_transfer_runs() {
    let mut board = edu();
    start(&mut board, 0x1000, 0x4_0000, 0, 1);
    for at in [0x80, 0x88, 0x90, 0x98] {
        board.write(0, at, 4, 7);
        assert_eq!(board.broken_rules(), ["device-misuse"], "{at:#x}");
    }
    assert_eq!([0x80, 0x88, 0x90, 0x98].map(|at| board.read(0, at, 8)), [0x1000, 0x4_0000, 0, 1]);
}

#[test]
fn a_bus_address_beyond_the_dma_mask_is_told() {
    let mut board = edu();
    start(&mut board, 0x1000_0000, 0x4_0000, 0, 1);
    assert_eq!(board.broken_rules(), ["device-misuse"]);
}

#[test]
fn transfers_that_leave_the_buffer_move_nothing_and_end() {
    let cases = [
        (0x3_ffff, 1),
        (0x4_0000, 4097),
        (0x4_0fff, 2),
        (0x4_1000, 1),
        (0x4_1001, 0),
        (0, 16),
        (u64::MAX, 1),
        (0x4_0000, u64::MAX),
        (0x4_0001, u64::MAX),
    ];
    for (inside, count) in cases {
        let mut board = edu();
        let window = board.map(8192, 0x0fff_ffff, Direction::Bidirectional);
        for (source, destination, command) in [(window.iova, inside, 5), (inside, window.iova, 7)] {
            start(&mut board, source, destination, count, command);
            assert_eq!(board.broken_rules(), ["device-misuse"], "{count} bytes at {inside:#x}");
            board.step(200 * MS);
            assert_eq!((board.read(0, 0x98, 4) & 1, board.read(0, 0x24, 4)), (0, 0x100));
            board.write(0, 0x64, 4, 0x100);
        }
        assert!(board.bytes(window).iter().all(|byte| *byte == bringup_core::dma::DIRTY));
    }
}

#[test]
fn bus_addresses_are_cut_to_the_mask() {
    let mut board = edu();
    let window = board.map(16, 0x0fff_ffff, Direction::Bidirectional);
    start(&mut board, 0x4_0000, window.iova | 0xf_3000_0000, 16, 3);
    board.step(100 * MS);
    assert_eq!(board.bytes(window), [0; 16]);
}

#[test]
fn a_wider_mask_reaches_higher_memory() {
    let mut board = Board::new(Edu::new().with_dma_mask(0xffff_ffff));
    let window = board.map(16, 0xffff_ffff, Direction::FromDevice);
    start(&mut board, 0x4_0000, window.iova, 16, 3);
    board.step(100 * MS);
    assert!(window.iova > 0x0fff_ffff);
    assert_eq!((board.bytes(window), board.broken_rules()), (vec![0; 16], vec![]));
}

#[test]
fn what_cannot_be_read_arrives_as_zeros_and_the_transfer_still_finishes() {
    let mut board = edu();
    let window = board.map(16, 0x0fff_ffff, Direction::Bidirectional);
    start(&mut board, window.iova, 0x4_0000, 16, 1);
    board.step(100 * MS);
    board.bus.config_write(board.device, offset::COMMAND, 2, command::MEMORY.into());
    start(&mut board, window.iova, 0x4_0000, 8, 5);
    board.step(100 * MS);
    assert_eq!(board.read(0, 0x24, 4), 0x100);
    board.bus.config_write(board.device, offset::COMMAND, 2, (command::MEMORY | command::BUS_MASTER).into());
    board.fill(window, &[0x77; 16]);
    start(&mut board, 0x4_0000, window.iova, 16, 3);
    board.step(100 * MS);
    assert_eq!(board.bytes(window), [0, 0, 0, 0, 0, 0, 0, 0, 165, 165, 165, 165, 165, 165, 165, 165]);
}

#[test]
fn a_factorial_and_a_transfer_go_on_at_once() {
    let mut board = edu();
    start(&mut board, 0, 0x4_0000, 0, 5);
    board.write(0, 0x20, 4, 0x80);
    board.write(0, 0x08, 4, 4);
    board.step(MS);
    assert_eq!((board.read(0, 0x24, 4), board.read(0, 0x98, 4)), (1, 5));
    board.step(99 * MS);
    assert_eq!((board.read(0, 0x24, 4), board.read(0, 0x98, 4)), (0x101, 4));
}

#[test]
fn a_reset_forgets_everything_and_stops_what_runs() {
    let mut board = edu();
    start(&mut board, 0x1000, 0x4_0000, 0, 5);
    board.write(0, 0x04, 4, 1);
    board.write(0, 0x20, 4, 0x80);
    board.write(0, 0x08, 4, 4);
    board.write(0, 0x60, 4, 8);
    board.bus.reset(board.device, Reset::Power);
    board.bus.config_write(board.device, offset::COMMAND, 2, command::MEMORY.into());
    board.step(200 * MS);
    let registers = [0x04, 0x08, 0x20, 0x24, 0x80, 0x88, 0x90, 0x98].map(|at| board.read(0, at, 4));
    assert_eq!((registers, board.bus.intx(board.device)), ([0; 8], false));
}

/// One transfer of the property below.
#[derive(Clone, Debug)]
struct Transfer {
    to_memory: bool,
    outside: u64,
    inside: u64,
    count: u64,
    wide: bool,
}

/// Mostly right ones; some run over an edge, and a few are arbitrary.
fn transfer() -> impl Strategy<Value = Transfer> {
    let inside = prop_oneof![6 => 0x4_0000..0x4_1000_u64, 2 => 0x3_fff0..0x4_1010_u64, 1 => any::<u64>()];
    let count = prop_oneof![6 => 0..600_u64, 2 => 3000..4200_u64, 1 => any::<u64>()];
    let outside = prop_oneof![8 => 0..5000_u64, 1 => 7000..9000_u64];
    (any::<bool>(), outside, inside, count, any::<bool>())
        .prop_map(|(to_memory, outside, inside, count, wide)| Transfer { to_memory, outside, inside, count, wide })
}

/// What memory and buffer should hold, kept with none of the device's code.
struct Expected {
    memory: Vec<u8>,
    buffer: Vec<u8>,
}

impl Expected {
    /// Does a transfer byte by byte; gives the rule that it breaks.
    fn apply(&mut self, transfer: &Transfer) -> Option<&'static str> {
        let Transfer { to_memory, outside, inside, count, .. } = *transfer;
        let first = i128::from(inside) - 0x4_0000;
        if first < 0 || first + i128::from(count) > 4096 {
            return Some("device-misuse");
        }
        let reaches = outside + count <= self.memory.len() as u64 || count == 0;
        for byte in 0..count as usize {
            let (memory, buffer) = (outside as usize + byte, first as usize + byte);
            match (to_memory, reaches) {
                (true, true) => self.memory[memory] = self.buffer[buffer],
                (true, false) => {}
                (false, true) => self.buffer[buffer] = self.memory[memory],
                (false, false) => self.buffer[buffer] = 0,
            }
        }
        let starts_inside = outside < self.memory.len() as u64;
        match (reaches, starts_inside) {
            (true, _) => None,
            (false, true) => Some("dma-overrun"),
            (false, false) => Some("dma-unmapped"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dma_moves_exactly_the_bytes_it_should(
        transfers in prop::collection::vec(transfer(), 1..12),
        seed in prop::collection::vec(any::<u8>(), 8192),
    ) {
        let mut board = edu();
        let window = board.map(8192, 0x0fff_ffff, Direction::Bidirectional);
        board.fill(window, &seed);
        let mut expected = Expected { memory: seed, buffer: vec![0; 4096] };
        for transfer in &transfers {
            let outside = window.iova + transfer.outside;
            let (source, destination) =
                if transfer.to_memory { (transfer.inside, outside) } else { (outside, transfer.inside) };
            board.write(0, 0x80, 8, source);
            board.write(0, 0x88, 8, destination);
            board.write(0, 0x90, 8, transfer.count);
            board.write(0, 0x98, if transfer.wide { 8 } else { 4 }, 1 | u64::from(transfer.to_memory) << 1);
            board.step(100 * MS);
            let rule = expected.apply(transfer);
            prop_assert_eq!(board.broken_rules(), rule.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(board.read(0, 0x98, 4) & 1, 0);
            prop_assert_eq!(&board.bytes(window), &expected.memory);
        }
        start(&mut board, 0x4_0000, window.iova, 4096, 3);
        board.step(100 * MS);
        prop_assert_eq!(&board.bytes(window)[..4096], &expected.buffer[..]);
    }

    #[test]
    fn no_sequence_of_accesses_breaks_the_device(
        accesses in prop::collection::vec(
            (
                0..7_u8,
                prop_oneof![6 => 0..0x100_u64, 1 => 0x3_fff0..0x4_1010_u64, 1 => any::<u64>()],
                prop_oneof![Just(1_u8), Just(2), Just(4), Just(8)],
                prop_oneof![2 => any::<u64>(), 2 => 0..16_u64, 1 => 0x4_0000..0x4_1000_u64],
                any::<bool>(),
                prop_oneof![Just(0), Just(MS), Just(150 * MS)],
            ),
            0..200,
        ),
    ) {
        let mut board = edu();
        board.map(8192, 0x0fff_ffff, Direction::Bidirectional);
        for (bar, at, width, value, is_write, pause) in accesses {
            let bar = bar.saturating_sub(5);
            if is_write { board.write(bar, at, width, value) } else { board.read(bar, at, width); }
            board.step(pause);
        }
        board.step(5_000 * MS);
        prop_assert_eq!(board.read(0, 0x00, 4), 0x0100_00ed);
        prop_assert_eq!(board.read(0, 0x20, 4) & 1, 0);
        prop_assert_eq!(board.read(0, 0x98, 4) & 1, 0);
        prop_assert_eq!(board.read(0, 0x24, 4) != 0, board.bus.intx(board.device));
    }
}
