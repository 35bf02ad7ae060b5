//! No kick and no interrupt is lost: the driver's ring and a device, three chains through rings of one and two elements, in
//! every order in which single loads and stores can happen (virtio 1.4 §2.7.13.4.1, §2.8.21.3.1).

#[path = "../naive/mod.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod naive;
mod scheduler;

use kernel::error::Result;
use naive::{packed::Packed, split::Split, Device};
use scheduler::{explore, Outcome, Phase, Program, Side, Without};
use virtio_ring::{
    feature,
    ring::{Areas, Queue, Segment, Shape},
};

use std::rc::Rc;

const CHAINS: u64 = 3;

/// How the two sides go about it.
#[derive(Clone, Copy, Debug)]
struct Habits {
    shape: Shape,
    /// Driver: shows chains only when the ring is full or there are no more.
    in_batches: bool,
    /// Driver: asks not to be interrupted while it takes back.
    disables: bool,
    /// Driver: asks to be interrupted late.
    late: bool,
    /// Device: asks not to be kicked while it works.
    quiet: bool,
    /// Device: considers an interrupt only when there is nothing more to do.
    gathers: bool,
}

const DRIVER: usize = 0;
const DEVICE: usize = 1;

fn starts(shape: Shape) -> ([usize; 3], usize) {
    let mut next = 0;
    let [descriptors, driver, device, _] = shape.areas();
    let starts = [descriptors, driver, device].map(|len| {
        let start = next;
        next += len.next_multiple_of(16);
        start
    });
    (starts, next)
}

fn segment(token: u64) -> Segment {
    Segment {
        address: (token + 1) << 12,
        len: 100 + token as u32,
    }
}

fn drive(side: Side<'_>, habits: Habits) -> Result {
    let shape = habits.shape;
    let ([at0, at1, at2], _) = starts(shape);
    let [descriptors, driver, device, _] = shape.areas();
    let areas = Areas {
        descriptors: side.part(at0, descriptors),
        driver: side.part(at1, driver),
        device: side.part(at2, device),
        tables: None,
    };
    let mut queue: Queue<u64, _> = Queue::with_memory(shape, areas)?;
    let (mut added, mut back) = (0, 0);
    loop {
        while added < CHAINS && queue.has_room(1) {
            queue.add(&[], &[segment(added)], added)?;
            added += 1;
            let more = habits.in_batches && added < CHAINS && queue.has_room(1);
            side.enter(Phase::Give);
            if !more && queue.publish()? {
                side.ring();
            }
            side.checkpoint((1, added, back, &queue));
        }
        if habits.disables {
            queue.disable_interrupts()?;
        }
        while let Some(done) = queue.pop()? {
            assert!(done.token < CHAINS && done.written == segment(done.token).len);
            back += 1;
            side.checkpoint((2, added, back, &queue));
        }
        if back == CHAINS {
            return Ok(());
        }
        if added < CHAINS && queue.has_room(1) {
            continue;
        }
        side.enter(Phase::Listen);
        let more = if habits.late {
            queue.enable_interrupts_late()?
        } else {
            queue.enable_interrupts()?
        };
        if !more && !side.wait() {
            return Ok(());
        }
        side.checkpoint((3, added, back, &queue));
    }
}

fn serve(side: Side<'_>, habits: Habits, mut device: impl Device) {
    let mut served = 0;
    loop {
        if habits.quiet {
            device.quiet();
        }
        let mut gave = false;
        while let Some(taken) = device.pop() {
            let segment = segment(served);
            assert_eq!(
                (taken.elements[0].address, taken.elements[0].len),
                (segment.address, segment.len),
                "a descriptor that was not there yet"
            );
            served += 1;
            device.push(taken, segment.len);
            gave = true;
            side.enter(Phase::Give);
            if !habits.gathers && device.wants_interrupt() {
                side.ring();
            }
            side.checkpoint((1, served, &device));
        }
        side.enter(Phase::Give);
        if habits.gathers && gave && device.wants_interrupt() {
            side.ring();
        }
        side.enter(Phase::Listen);
        if !device.listen(0) && !side.wait() {
            return;
        }
        side.checkpoint((2, served, &device));
    }
}

fn run(habits: Habits, without: Without) -> Outcome {
    let (starts, size) = starts(habits.shape);
    let areas = starts.map(|at| at as u64);
    let driver: Program = Rc::new(move |side| {
        // It fails only when it is stopped: a broken device would not end in the right state.
        let ended = drive(side, habits);
        assert!(
            ended.is_ok() || ended == Err(kernel::error::code::EINTR),
            "the ring broke"
        );
    });
    let device: Program = Rc::new(move |side| {
        if habits.shape.features & feature::bit(feature::RING_PACKED) != 0 {
            serve(side, habits, Packed::new(side, habits.shape, areas));
        } else {
            serve(side, habits, Split::new(side, habits.shape, areas));
        }
    });
    explore(&[driver, device], size, without)
}

fn shape(size: u16, packed: bool, event_idx: bool) -> Shape {
    let bit = |on, bit| if on { feature::bit(bit) } else { 0 };
    let features = feature::bit(feature::VERSION_1)
        | bit(packed, feature::RING_PACKED)
        | bit(event_idx, feature::EVENT_IDX);
    Shape {
        size,
        features,
        table: 0,
    }
}

/// Habits in which each two of the five stand with all their values.
fn habits_of(shape: Shape) -> impl Iterator<Item = Habits> {
    (0..8u8).map(move |bits| {
        let bit = |at: u8| bits >> at & 1 != 0;
        Habits {
            shape,
            in_batches: bit(0),
            disables: bit(1),
            late: bit(2),
            quiet: bit(0) != bit(1),
            gathers: bit(0) != bit(2),
        }
    })
}

/// Nothing is lost, whatever the habits.
fn nothing_is_lost(shape: Shape) {
    let (mut all_states, mut all_lives) = (0, 0);
    for habits in habits_of(shape) {
        let outcome = run(habits, Without::default());
        let Outcome::Right { states, lives } = outcome else {
            panic!("{habits:?}: {outcome:?}");
        };
        assert!(states > 100, "hardly anything was searched");
        all_states += states;
        all_lives += lives;
    }
    println!("{all_states} states, {all_lives} lives");
}

#[test]
fn split_ring_of_two_with_event_idx_loses_nothing() {
    nothing_is_lost(shape(2, false, true));
}

#[test]
fn split_ring_of_two_with_flags_loses_nothing() {
    nothing_is_lost(shape(2, false, false));
}

#[test]
fn packed_ring_of_one_with_event_idx_loses_nothing() {
    nothing_is_lost(shape(1, true, true));
}

#[test]
fn packed_ring_of_one_with_flags_loses_nothing() {
    nothing_is_lost(shape(1, true, false));
}

#[test]
fn packed_ring_of_two_with_event_idx_loses_nothing() {
    nothing_is_lost(shape(2, true, true));
}

#[test]
fn packed_ring_of_two_with_flags_loses_nothing() {
    nothing_is_lost(shape(2, true, false));
}

/// Habits with which each barrier is needed.
fn plain(size: u16, packed: bool) -> Habits {
    Habits {
        shape: shape(size, packed, true),
        in_batches: false,
        disables: true,
        late: false,
        quiet: true,
        gathers: true,
    }
}

fn without_full(side: usize, phase: Phase) -> Without {
    Without {
        full: Some((side, phase)),
        write: None,
    }
}

#[test]
fn kick_is_lost_without_the_full_barrier_of_publish() {
    let without = without_full(DRIVER, Phase::Give);
    assert_eq!(run(plain(2, false), without), Outcome::Stuck);
    assert_eq!(run(plain(2, true), without), Outcome::Stuck);
    assert_eq!(run(plain(1, true), without), Outcome::Stuck);
}

#[test]
fn interrupt_is_lost_without_the_full_barrier_of_enable_interrupts() {
    let without = without_full(DRIVER, Phase::Listen);
    assert_eq!(run(plain(2, false), without), Outcome::Stuck);
    assert_eq!(run(plain(2, true), without), Outcome::Stuck);
    assert_eq!(run(plain(1, true), without), Outcome::Stuck);
}

#[test]
fn notifications_are_lost_without_the_full_barriers_of_the_device() {
    let give = without_full(DEVICE, Phase::Give);
    let listen = without_full(DEVICE, Phase::Listen);
    assert_eq!(run(plain(2, false), give), Outcome::Stuck);
    assert_eq!(run(plain(2, true), give), Outcome::Stuck);
    assert_eq!(run(plain(2, false), listen), Outcome::Stuck);
    assert_eq!(run(plain(2, true), listen), Outcome::Stuck);
}

#[test]
fn half_a_chain_is_seen_without_the_write_barrier_of_publish() {
    let without = Without {
        full: None,
        write: Some(DRIVER),
    };
    assert!(matches!(run(plain(2, false), without), Outcome::Failed(_)));
    assert!(matches!(run(plain(2, true), without), Outcome::Failed(_)));
}
