//! Chains as long as the ring, at both ends of what sizes there are.

use crate::naive::{packed::Packed, split::Split, Device, Element};
use crate::ram::{self, Window};
use kernel::error::code::{EINVAL, ENOSPC};
use virtio_ring::{
    feature,
    ring::{Segment, Shape},
};

const VERSION_1: u64 = feature::bit(feature::VERSION_1);
const PACKED: u64 = feature::bit(feature::RING_PACKED);
const INDIRECT: u64 = feature::bit(feature::INDIRECT_DESC);
const IN_ORDER: u64 = feature::bit(feature::IN_ORDER);
const EVENT_IDX: u64 = feature::bit(feature::EVENT_IDX);

/// Three chains as long as the ring go through it, one after the other.
fn longest_chains_go_through<D: Device>(
    shape: Shape,
    device: impl FnOnce(Window, Shape, [u64; 3]) -> D,
) {
    let (_, size) = ram::plan(shape);
    let ram = Window::new(size);
    let mut queue = ram::queue(&ram, shape);
    let mut device = device(ram, shape, queue.addresses());
    let count = u64::from(shape.size);
    let all: Vec<_> = (0..count + 1)
        .map(|at| Segment {
            address: at << 12,
            len: 2,
        })
        .collect();
    for token in 0..3u32 {
        assert_eq!(queue.add(&all, &[], 9), Err(EINVAL));
        let (out, input) = all[..shape.size.into()].split_at(shape.size as usize / 2);
        queue.add(out, input, token).unwrap();
        assert_eq!(queue.publish(), Ok(true));
        let taken = device.pop().unwrap();
        let expected = (0..count).map(|at| Element {
            address: at << 12,
            len: 2,
            writable: at >= count / 2,
        });
        assert!(expected.eq(taken.elements.iter().copied()));
        assert!(!device.listen(0));
        let written = 2 * input.len() as u32;
        device.push(taken, written);
        let done = queue.pop().unwrap().unwrap();
        assert_eq!((done.token, done.written), (token, written));
        assert_eq!(queue.free(), shape.size);
    }
}

fn shape(size: u16, features: u64, table: u16) -> Shape {
    Shape {
        size,
        features: VERSION_1 | features,
        table,
    }
}

#[test]
fn split_of_two_takes_chains_of_two() {
    longest_chains_go_through(shape(2, 0, 0), Split::new);
    longest_chains_go_through(shape(2, IN_ORDER | EVENT_IDX, 0), Split::new);
}

#[test]
fn split_of_32768_takes_chains_of_32768() {
    longest_chains_go_through(shape(32768, 0, 0), Split::new);
    longest_chains_go_through(shape(32768, IN_ORDER | EVENT_IDX, 0), Split::new);
}

#[test]
fn packed_of_one_takes_chains_of_one() {
    longest_chains_go_through(shape(1, PACKED, 0), Packed::new);
    longest_chains_go_through(shape(1, PACKED | IN_ORDER | EVENT_IDX, 0), Packed::new);
}

#[test]
fn packed_of_32768_takes_chains_of_32768() {
    longest_chains_go_through(shape(32768, PACKED, 0), Packed::new);
    longest_chains_go_through(shape(32768, PACKED | IN_ORDER | EVENT_IDX, 0), Packed::new);
}

#[test]
fn tables_as_long_as_the_ring_take_one_element() {
    longest_chains_go_through(shape(4, INDIRECT, 4), Split::new);
    longest_chains_go_through(shape(5, PACKED | INDIRECT, 5), Packed::new);
}

#[test]
fn full_queue_has_no_room_and_is_as_before() {
    let shape = shape(2, 0, 0);
    let (_, size) = ram::plan(shape);
    let ram = Window::new(size);
    let mut queue = ram::queue(&ram, shape);
    let one = [Segment {
        address: 0x5000,
        len: 1,
    }];
    queue.add(&one, &[], 1).unwrap();
    assert_eq!(queue.add(&one, &one, 2), Err(ENOSPC));
    assert_eq!((queue.free(), queue.in_flight()), (1, 1));
    queue.add(&[], &one, 3).unwrap();
    assert!(!queue.has_room(1));
}
