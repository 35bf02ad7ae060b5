//! The copy engine against its documentation (`devices/spec/src/cq.rs`), by rings that are written by hand.

mod board;

use board::{Board, Window};
use bringup_core::dma::Direction;
use bringup_devices::registry;

const ENTRIES: u64 = 2;

/// A device that runs, with rings of two entries.
struct Rings {
    board: Board,
    submissions: Window,
    completions: Window,
    memory: Window,
}

fn rings(spec: &str) -> Rings {
    let mut board = Board::new_boxed(registry::parse(spec).unwrap().1);
    let mut map = |len| board.map(len, u64::MAX, Direction::Bidirectional);
    let (submissions, completions, memory) = (map(32 * ENTRIES), map(8 * ENTRIES), map(256));
    board.fill(completions, &[0; 8 * ENTRIES as usize]);
    board.write(0, 0x1c, 4, ENTRIES);
    board.write(0, 0x20, 8, submissions.iova);
    board.write(0, 0x28, 8, completions.iova);
    board.write(0, 0x08, 4, 1);
    Rings { board, submissions, completions, memory }
}

impl Rings {
    /// Submits a copy of eight bytes from the start of the memory to its offset 128, as descriptor number `at`.
    fn submit(&mut self, at: u64, id: u16) {
        let mut bytes = Vec::new();
        bytes.extend(self.memory.iova.to_le_bytes());
        bytes.extend((self.memory.iova + 128).to_le_bytes());
        bytes.extend(8_u32.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes.extend([0; 10]);
        self.board.fill(self.submissions.part(32 * (at % ENTRIES)), &bytes);
        self.board.write(0, 0x40, 4, at + 1);
        self.board.step(1_000_000);
    }

    /// Length, id and status of the completion in a place of the ring.
    fn completion(&self, at: u64) -> (u32, u16, u16) {
        let bytes = self.board.bytes(self.completions.part(8 * at).first(8));
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (u32::from(half(0)) | u32::from(half(2)) << 16, half(4), half(6))
    }
}

#[test]
fn a_copy_moves_the_bytes_and_completes_with_its_id_and_the_first_phase() {
    let mut rings = rings("cq");
    rings.board.fill(rings.memory, b"bringup!");
    rings.submit(0, 0xabcd);
    assert_eq!(rings.completion(0), (8, 0xabcd, 1));
    assert_eq!(rings.board.bytes(rings.memory.part(128).first(8)), b"bringup!");
    assert_eq!(rings.board.read(0, 0x10, 4), 1);
    assert!(rings.board.broken_rules().is_empty());
}

#[test]
fn the_phase_turns_when_the_ring_comes_round() {
    let mut rings = rings("cq");
    for at in 0..3 {
        rings.submit(at, at as u16);
        rings.board.write(0, 0x44, 4, at + 1);
    }
    assert_eq!((rings.completion(0), rings.completion(1)), ((8, 2, 0), (8, 1, 1)));
}

#[test]
fn a_completion_ring_that_is_full_stops_it_until_the_head_is_rung() {
    let mut rings = rings("cq");
    for at in 0..3 {
        rings.submit(at, 0x10 + at as u16);
    }
    assert_eq!(rings.completion(0), (8, 0x10, 1));
    rings.board.write(0, 0x44, 4, 1);
    rings.board.step(1_000_000);
    assert_eq!(rings.completion(0), (8, 0x12, 0));
}

#[test]
fn a_device_that_keeps_eight_bits_of_an_id_gives_back_eight() {
    let mut rings = rings("cq,id_bits=8");
    rings.submit(0, 0xabcd);
    assert_eq!(rings.completion(0), (8, 0x00cd, 1));
    assert!(rings.board.broken_rules().is_empty());
}

#[test]
fn a_head_ahead_of_what_was_completed_is_found() {
    let mut rings = rings("cq");
    rings.submit(0, 0);
    rings.board.write(0, 0x44, 4, 2);
    assert_eq!(rings.board.broken_rules(), ["device-misuse"]);
}
