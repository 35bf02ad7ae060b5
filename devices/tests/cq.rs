//! The copy engine against its documentation, by hand; and what no driver can do to it.

mod board;

use board::{Board, Window};
use bringup_core::dma::Direction;
use bringup_core::{DeviceId, pci};
use bringup_devices::{Cq, Oddity, registry};
use bringup_spec::cq::{control, interrupt, register, status};
use proptest::prelude::*;

const US: u64 = 1_000;
const ENTRIES: u64 = 4;

/// A device with rings of four entries and two pages to copy between.
struct Rig {
    board: Board,
    sq: Window,
    cq: Window,
    events: Window,
    data: Window,
    tail: u16,
}

impl Rig {
    fn new(spec: &str) -> Self {
        let (_, device) = registry::parse(spec).unwrap();
        let mut board = Board::new_boxed(device);
        let mut map = |len| board.map(len, u64::MAX, Direction::Bidirectional);
        let (sq, cq, events, data) = (map(32 * ENTRIES), map(16 * ENTRIES), map(16), map(8192));
        board.fill(cq, &[0; 64]);
        board.fill(events, &[0; 16]);
        board.fill(data, &[0x11; 4096]);
        Self { board, sq, cq, events, data, tail: 0 }
    }

    fn start(&mut self, bits: u32) {
        self.board.write(0, register::RING_ENTRIES, 4, ENTRIES);
        for (at, window) in
            [(register::SQ_BASE, self.sq), (register::CQ_BASE, self.cq), (register::EVENT_BASE, self.events)]
        {
            self.board.write(0, at, 8, window.iova);
        }
        self.board.write(0, register::CONTROL, 4, (control::ENABLE | bits).into());
    }

    /// Writes a descriptor for `len` bytes of the first page to the second.
    fn submit(&mut self, id: u16, len: u32, flags: u16) {
        let mut bytes = self.data.iova.to_le_bytes().to_vec();
        bytes.extend((self.data.iova + 4096).to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend([0; 8]);
        let place = u64::from(self.tail) % ENTRIES;
        self.board.fill(self.sq.part(32 * place), &bytes);
        self.tail += 1;
    }

    fn ring(&mut self) {
        self.board.write(0, register::SQ_TAIL, 4, self.tail.into());
    }

    /// A short completion: length, id, status and phase.
    fn completion(&self, place: usize) -> (u32, u16, u16) {
        let bytes = self.board.bytes(self.cq);
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let at = 8 * place;
        (u32::from(half(at)) | u32::from(half(at + 2)) << 16, half(at + 4), half(at + 6))
    }

    fn status(&mut self) -> u32 {
        self.board.read(0, register::STATUS, 4) as u32
    }

    fn irq_status(&mut self) -> u32 {
        self.board.read(0, register::IRQ_STATUS, 4) as u32
    }
}

#[test]
fn copy_is_completed_with_its_id_length_and_phase_and_the_pin_goes_up() {
    let mut rig = Rig::new("cq");
    rig.start(0);
    rig.submit(7, 100, 0);
    rig.ring();
    rig.board.step(10 * US);
    assert_eq!(rig.completion(0), (100, 7, 1));
    assert_eq!(rig.board.bytes(rig.data)[4096..4196], [0x11; 100]);
    assert_eq!(rig.irq_status(), interrupt::COMPLETION);
    assert!(rig.board.bus.intx(rig.board.device));
    rig.board.write(0, register::IRQ_ACK, 4, interrupt::COMPLETION.into());
    assert!(!rig.board.bus.intx(rig.board.device));
    assert_eq!(rig.board.broken_rules(), [""; 0]);
}

#[test]
fn full_completion_ring_waits_for_the_head_and_the_second_pass_has_phase_zero() {
    let mut rig = Rig::new("cq");
    rig.start(0);
    (0..4).for_each(|id| rig.submit(id, 1, 0));
    rig.ring();
    rig.board.step(20 * US);
    assert_eq!([0, 1, 2, 3].map(|place| rig.completion(place).2), [1, 1, 1, 1]);
    rig.submit(9, 1, 0);
    rig.ring();
    rig.board.step(20 * US);
    assert_eq!(rig.completion(0), (1, 0, 1));
    rig.board.write(0, register::CQ_HEAD, 4, 1);
    rig.board.step(20 * US);
    assert_eq!(rig.completion(0), (1, 9, 0));
}

#[test]
fn polling_device_takes_a_descriptor_when_its_phase_is_there() {
    let mut rig = Rig::new("cq");
    rig.board.fill(rig.sq, &[0; 128]);
    rig.start(control::POLL);
    rig.board.step(50 * US);
    assert_eq!(rig.completion(0).2, 0);
    rig.submit(3, 8, 1);
    rig.board.step(50_000 * US);
    assert_eq!(rig.completion(0), (8, 3, 1));
}

#[test]
fn doorbell_is_asked_for_in_the_event_area_and_the_counter_there_is_enough() {
    let mut rig = Rig::new("cq");
    rig.start(control::EVENT_INDEX);
    rig.submit(1, 8, 0);
    rig.ring();
    rig.board.step(20 * US);
    // It wants to hear of the second descriptor.
    assert_eq!(rig.board.bytes(rig.events)[4..8], 1_u32.to_le_bytes());
}

#[test]
fn reset_takes_its_time_and_forgets_everything() {
    let mut rig = Rig::new("cq");
    rig.start(0);
    rig.board.write(0, register::CONTROL, 4, control::RESET.into());
    assert_eq!(rig.status() & status::RESETTING, status::RESETTING);
    rig.board.step(Cq::RESET_NS + 1);
    assert_eq!(rig.status(), 0);
    assert_eq!(rig.board.read(0, register::SQ_BASE, 8), 0);
}

#[test]
fn what_the_documentation_forbids_is_found() {
    for (name, act) in [
        ("doorbell while off", (|rig| rig.board.write(0, register::SQ_TAIL, 4, 1)) as fn(&mut Rig)),
        ("start without rings", |rig| rig.board.write(0, register::CONTROL, 4, control::ENABLE.into())),
        ("tail too far", |rig| {
            rig.start(0);
            rig.board.write(0, register::SQ_TAIL, 4, 5);
        }),
        ("head too far", |rig| {
            rig.start(0);
            rig.board.write(0, register::CQ_HEAD, 4, 1);
        }),
        ("ring moved while running", |rig| {
            rig.start(0);
            rig.board.write(0, register::SQ_BASE, 8, 0);
        }),
    ] {
        let mut rig = Rig::new("cq");
        act(&mut rig);
        assert_eq!(rig.board.broken_rules(), ["device-misuse"], "{name}");
    }
}

#[test]
fn copy_of_too_many_bytes_and_from_nowhere_fails_with_a_code() {
    let mut rig = Rig::new("cq");
    rig.start(0);
    rig.submit(0, 5000, 0);
    rig.data.iova += 1 << 40;
    rig.submit(1, 8, 0);
    rig.ring();
    rig.board.step(20 * US);
    assert_eq!((rig.completion(0).2, rig.completion(1).2), (1 << 1 | 1, 2 << 1 | 1));
    assert_eq!(rig.irq_status(), interrupt::COMPLETION | interrupt::ERROR);
    assert!(rig.board.broken_rules().contains(&"dma-unmapped"));
}

#[test]
fn wide_completion_has_its_phase_in_the_last_word() {
    let mut rig = Rig::new("cq,wide=on,stores=2");
    rig.start(0);
    rig.submit(5, 16, 0);
    rig.ring();
    rig.board.step(20 * US);
    let bytes = rig.board.bytes(rig.cq);
    assert_eq!(bytes[..8], [16, 0, 0, 0, 5, 0, 1, 0]);
    assert_eq!(bytes[12..16], [1, 0, 0, 0]);
}

#[test]
fn oddities_never_strike_in_a_quiet_machine() {
    let words = Oddity::WORDS.iter().filter(|word| !["info-large", "slow-reset"].contains(word));
    let all = words.copied().collect::<Vec<_>>().join("+");
    let mut rig = Rig::new(&format!("cq,odd={all}"));
    rig.start(0);
    rig.submit(7, 100, 0);
    rig.ring();
    rig.board.step(10 * US);
    assert_eq!(rig.completion(0), (100, 7, 1));
}

#[test]
fn device_that_keeps_eight_bits_of_an_id_gives_back_eight() {
    let mut rig = Rig::new("cq,id_bits=8");
    rig.start(0);
    rig.submit(0xabcd, 100, 0);
    rig.ring();
    rig.board.step(10 * US);
    assert_eq!(rig.completion(0), (100, 0x00cd, 1));
    assert_eq!(rig.board.broken_rules(), [""; 0]);
}

#[test]
fn refused_options_are_named() {
    let refusal = |spec| registry::parse(spec).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(refusal("cq,entries=3"), "cq: entries takes a power of two from 2 to 256, not 3");
    assert_eq!(refusal("cq,stores=4"), "cq: stores takes 1 or 2, not 4");
    assert_eq!(refusal("cq,id_bits=7"), "cq: id_bits takes 8 to 16, not 7");
    assert!(refusal("cq,odd=late").starts_with("cq: odd takes words with + between them, and \"late\" is none"));
}

/// Anything that a driver can do: registers, memory, time.
fn action() -> impl Strategy<Value = (u8, u16, u32)> {
    (0..8_u8, any::<u16>(), prop_oneof![0..9_u32, any::<u32>()])
}

proptest! {
    #[test]
    fn no_driver_harms_the_device(actions in prop::collection::vec(action(), 1..60), wide in any::<bool>()) {
        let all = Oddity::WORDS.join("+");
        let mut rig = Rig::new(&format!("cq,wide={},odd={all}", if wide { "on" } else { "off" }));
        rig.start(control::EVENT_INDEX);
        for (kind, place, value) in actions {
            let at = (u64::from(place) % 0x100) & !3;
            match kind {
                0..=2 => rig.board.write(0, at, 4, value.into()),
                3 => drop(rig.board.read(0, at, 4)),
                4 => rig.submit(place, value, place),
                5 => rig.ring(),
                6 => rig.start(value),
                _ => rig.board.step(u64::from(value) % 100_000),
            }
        }
        rig.board.step(100_000);
    }
}

#[test]
fn function_has_a_pin_and_two_vectors_unless_told_otherwise() {
    let capability = |board: &mut Board, id: DeviceId| board.bus.config_read(id, pci::offset::STATUS, 2) & 0x10;
    let mut with = Rig::new("cq").board;
    let mut without = Rig::new("cq,msix=off").board;
    let (a, b) = (with.device, without.device);
    assert_eq!((capability(&mut with, a), capability(&mut without, b)), (0x10, 0));
}
