//! Devices that break the rules: the queue gives up, loses nothing, and can begin anew.

use crate::ram::{self, Window};
use crate::virtio_ring_target::hostile_device;
use kernel::error::code::{EINVAL, EIO};
use proptest::{collection::vec, prelude::*};
use virtio_ring::{
    feature,
    ring::{Completion, Memory, Queue, Segment, Shape},
};

const SPLIT: u64 = feature::bit(feature::VERSION_1);
const PACKED: u64 = SPLIT | feature::bit(feature::RING_PACKED);
const IN_ORDER: u64 = feature::bit(feature::IN_ORDER);

const PLACE: Segment = Segment {
    address: 0x1234_5000,
    len: 100,
};

/// A queue of four, its memory, and the device's offsets in it: ring, device area.
struct Board {
    ram: Window,
    queue: Queue<u32, Window>,
    ring: usize,
    device: usize,
}

impl Board {
    fn new(features: u64) -> Self {
        let shape = Shape {
            size: 4,
            features,
            table: 0,
        };
        let ([ring, _, device, _], size) = ram::plan(shape);
        let ram = Window::new(size);
        let queue = ram::queue(&ram, shape);
        Self {
            ram,
            queue,
            ring,
            device,
        }
    }

    /// The device has chains with these tokens.
    fn gives(features: u64, tokens: &[u32]) -> Self {
        let mut board = Self::new(features);
        for token in tokens {
            board.queue.add(&[], &[PLACE], *token).unwrap();
        }
        board.queue.publish().unwrap();
        board
    }

    /// The device of a split queue writes an entry, and the index.
    fn uses(&self, entry: usize, id: u32, written: u32, idx: u16) {
        let at = self.device + 4 + 8 * entry;
        self.ram.write_bytes(at, &id.to_le_bytes()).unwrap();
        self.ram
            .write_bytes(at + 4, &written.to_le_bytes())
            .unwrap();
        self.ram.write16(self.device + 2, idx).unwrap();
    }

    /// The device of a packed queue writes a slot.
    fn uses_slot(&self, slot: usize, id: u16, written: u32, flags: u16) {
        let at = self.ring + 16 * slot;
        self.ram
            .write_bytes(at + 8, &written.to_le_bytes())
            .unwrap();
        self.ram.write16(at + 12, id).unwrap();
        self.ram.write16(at + 14, flags).unwrap();
    }

    /// The queue gives up, gives nothing back, and begins anew with these tokens returned.
    fn gives_up_with(mut self, tokens: &[u32]) {
        assert_eq!(self.queue.pop(), Err(EIO));
        assert!(self.queue.is_broken());
        assert_eq!(self.queue.pop(), Err(EIO));
        assert_eq!(self.queue.add(&[], &[PLACE], 9), Err(EIO));
        assert_eq!(self.queue.publish(), Err(EIO));
        assert_eq!(self.queue.enable_interrupts(), Err(EIO));
        let mut back = Vec::new();
        self.queue.reset(|token| back.push(token)).unwrap();
        back.sort_unstable();
        assert_eq!(back, tokens);
        assert_eq!((self.queue.free(), self.queue.in_flight()), (4, 0));
        self.queue.add(&[], &[PLACE], 9).unwrap();
        assert_eq!(self.queue.publish(), Ok(true));
    }
}

/// AVAIL and USED as a device writes them in the first lap, with WRITE.
const FIRST_LAP: u16 = 0x8082;

#[test]
fn split_id_out_of_the_queue_is_refused() {
    let board = Board::gives(SPLIT, &[7, 8]);
    board.uses(0, 4, 1, 1);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn split_id_beyond_16_bits_is_refused() {
    let board = Board::gives(SPLIT, &[7, 8]);
    board.uses(0, 0x1_0000, 1, 1);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn split_id_that_the_device_does_not_have_is_refused() {
    let board = Board::gives(SPLIT, &[7, 8]);
    board.uses(0, 2, 1, 1);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn split_length_beyond_the_chain_is_refused() {
    let board = Board::gives(SPLIT, &[7, 8]);
    board.uses(0, 0, 101, 1);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn split_chain_that_came_back_does_not_come_again() {
    let mut board = Board::gives(SPLIT, &[7, 8]);
    board.uses(0, 0, 100, 1);
    let done = Completion {
        token: 7,
        written: 100,
    };
    assert_eq!(board.queue.pop(), Ok(Some(done)));
    board.uses(1, 0, 100, 2);
    board.gives_up_with(&[8]);
}

#[test]
fn split_index_that_runs_ahead_is_refused() {
    let board = Board::gives(SPLIT, &[7, 8]);
    board.uses(0, 0, 1, 3);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn split_index_that_goes_back_is_refused() {
    let mut board = Board::gives(SPLIT, &[7, 8]);
    board.uses(0, 0, 1, 1);
    board.queue.pop().unwrap();
    board.uses(0, 0, 1, 0);
    board.gives_up_with(&[8]);
}

#[test]
fn split_chain_that_was_not_shown_does_not_come_back() {
    let mut board = Board::gives(SPLIT, &[7]);
    board.queue.add(&[], &[PLACE], 8).unwrap();
    board.uses(0, 1, 1, 1);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn split_batch_that_ends_with_no_chain_is_refused() {
    let board = Board::gives(SPLIT | IN_ORDER, &[7, 8]);
    board.uses(0, 3, 1, 2);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn split_batch_longer_than_the_index_says_is_refused() {
    let board = Board::gives(SPLIT | IN_ORDER, &[7, 8]);
    board.uses(0, 1, 1, 1);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn packed_id_out_of_the_queue_is_refused() {
    let board = Board::gives(PACKED, &[7, 8]);
    board.uses_slot(0, 4, 1, FIRST_LAP);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn packed_id_that_the_device_does_not_have_is_refused() {
    let board = Board::gives(PACKED, &[7, 8]);
    board.uses_slot(0, 2, 1, FIRST_LAP);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn packed_length_beyond_the_chain_is_refused() {
    let board = Board::gives(PACKED, &[7, 8]);
    board.uses_slot(0, 0, 101, FIRST_LAP);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn packed_length_counts_only_where_the_device_wrote() {
    let mut board = Board::gives(PACKED, &[7, 8]);
    board.uses_slot(0, 0, 101, 0x8080);
    let done = Completion {
        token: 7,
        written: 0,
    };
    assert_eq!(board.queue.pop(), Ok(Some(done)));
}

#[test]
fn packed_chain_that_came_back_does_not_come_again() {
    let mut board = Board::gives(PACKED, &[7, 8]);
    board.uses_slot(0, 0, 1, FIRST_LAP);
    board.queue.pop().unwrap();
    board.uses_slot(1, 0, 1, FIRST_LAP);
    board.gives_up_with(&[8]);
}

#[test]
fn packed_chain_that_was_not_shown_does_not_come_back() {
    let mut board = Board::gives(PACKED, &[7]);
    board.queue.add(&[], &[PLACE], 8).unwrap();
    board.uses_slot(0, 1, 1, FIRST_LAP);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn packed_slot_without_chains_in_flight_says_nothing() {
    let mut board = Board::new(PACKED);
    board.uses_slot(0, 0, 1, FIRST_LAP);
    assert_eq!(board.queue.pop(), Ok(None));
}

#[test]
fn packed_batch_that_ends_with_no_chain_is_refused() {
    let board = Board::gives(PACKED | IN_ORDER, &[7, 8]);
    board.uses_slot(0, 3, 1, FIRST_LAP);
    board.gives_up_with(&[7, 8]);
}

#[test]
fn chains_over_four_gibibytes_are_refused() {
    let whole = Segment {
        address: 0x1000,
        len: u32::MAX,
    };
    let byte = Segment {
        address: 0x1000,
        len: 1,
    };
    let mut board = Board::new(SPLIT);
    assert_eq!(board.queue.add(&[whole], &[byte, byte], 7), Err(EINVAL));
    assert_eq!((board.queue.free(), board.queue.in_flight()), (4, 0));
    assert_eq!(board.queue.add(&[whole], &[byte], 7), Ok(()));
}

#[test]
fn shapes_that_no_queue_has_are_refused() {
    let shape = |size, features| Shape {
        size,
        features,
        table: 0,
    };
    let made = |shape: Shape| {
        let area = |len| Window::new(len + 64);
        let [descriptors, driver, device, _] = shape.areas();
        let areas = virtio_ring::ring::Areas {
            descriptors: area(descriptors),
            driver: area(driver),
            device: area(device),
            tables: None,
        };
        Queue::<u32, Window>::with_memory(shape, areas).is_ok()
    };
    let refused = [
        (0, SPLIT),
        (1, SPLIT),
        (3, SPLIT),
        (32769, SPLIT),
        (0, PACKED),
        (32769, PACKED),
        (65535, PACKED),
    ];
    assert!(!refused
        .iter()
        .any(|(size, features)| made(shape(*size, *features))));
    let there = [
        (2, SPLIT),
        (32768, SPLIT),
        (1, PACKED),
        (3, PACKED),
        (32767, PACKED),
        (32768, PACKED),
    ];
    assert!(there
        .iter()
        .all(|(size, features)| made(shape(*size, *features))));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_that_a_device_writes_confuses_the_queue(data in vec(any::<u8>(), 3..400)) {
        hostile_device(&data);
    }
}
