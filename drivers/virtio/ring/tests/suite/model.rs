//! A driver's ring and a device against a plain model of a queue: what was added is shown, taken, given back and returned,
//! and nothing else; and who has to be notified.

use crate::naive::{self, Common, Device, Element, Taken};
use crate::ram::{self, Window};
use kernel::error::code::{EINVAL, ENOSPC};
use proptest::{collection::vec, prelude::*};
use std::collections::{HashMap, HashSet, VecDeque};
use virtio_ring::{
    feature,
    ring::{Memory, Queue, Segment, Shape},
};

/// Something that one of the two sides does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Driver: adds a chain of segments of these lengths, to read and to write.
    Add(Vec<u8>, Vec<u8>),
    /// Driver: shows what was added.
    Publish,
    /// Driver: takes back up to so many.
    DriverPop(u8),
    /// Driver.
    Disable,
    /// Driver.
    Enable,
    /// Driver.
    EnableLate,
    /// Device: takes up to so many.
    DevicePop(u8),
    /// Device: gives one back, with a part of it written.
    Push(u8, u8),
    /// Device: gives up to so many back by one entry.
    Batch(u8, u8),
    /// Device: wants no kicks.
    Quiet,
    /// Device: wants a kick, after so many more.
    Listen(u8),
    /// Device: considers an interrupt.
    Check,
    /// Both begin anew.
    Reset,
}

/// Sequences of up to `most` of them, with chains of up to `segments` segments.
pub(crate) fn ops(most: usize, segments: usize) -> impl Strategy<Value = Vec<Op>> {
    let lens = move || vec(0u8..12, 0..=segments.div_ceil(2));
    let op = prop_oneof![
        12 => (lens(), lens()).prop_map(|(out, input)| Op::Add(out, input)),
        8 => Just(Op::Publish),
        8 => (1u8..6).prop_map(Op::DriverPop),
        2 => Just(Op::Disable),
        3 => Just(Op::Enable),
        2 => Just(Op::EnableLate),
        8 => (1u8..6).prop_map(Op::DevicePop),
        10 => any::<(u8, u8)>().prop_map(|(which, part)| Op::Push(which, part)),
        4 => (1u8..5, any::<u8>()).prop_map(|(most, part)| Op::Batch(most, part)),
        2 => Just(Op::Quiet),
        3 => prop_oneof![3 => Just(0), 1 => 0u8..16].prop_map(Op::Listen),
        5 => Just(Op::Check),
        1 => Just(Op::Reset),
    ];
    vec(op, 1..most)
}

/// What a queue is made like, and how much has gone through it before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) shape: Shape,
    /// Chains.
    pub(crate) warm: u64,
}

/// Ring features as bits of a small number: INDIRECT_DESC, EVENT_IDX, IN_ORDER, NOTIFICATION_DATA.
fn features(packed: bool, bits: u8) -> u64 {
    let all = [
        feature::INDIRECT_DESC,
        feature::EVENT_IDX,
        feature::IN_ORDER,
        feature::NOTIFICATION_DATA,
    ];
    let chosen = all
        .iter()
        .enumerate()
        .filter(|(at, _)| bits >> at & 1 != 0)
        .map(|(_, bit)| feature::bit(*bit));
    chosen.sum::<u64>()
        | feature::bit(feature::VERSION_1)
        | if packed {
            feature::bit(feature::RING_PACKED)
        } else {
            0
        }
}

/// Settings of small queues: every size, every combination of features, new or about to come round.
pub(crate) fn settings(packed: bool) -> impl Strategy<Value = Setting> {
    let sizes = if packed {
        (1u16..=16).boxed()
    } else {
        (1u32..=4).prop_map(|power| 1 << power).boxed()
    };
    let warm = prop_oneof![12 => 0u64..40, 1 => 65530u64..65537];
    (sizes, 0u8..16, 0u16..20, warm).prop_map(move |(size, bits, table, warm)| Setting {
        shape: Shape {
            size,
            features: features(packed, bits),
            table,
        },
        warm,
    })
}

/// Settings of the largest queues.
pub(crate) fn large_settings(packed: bool) -> impl Strategy<Value = Setting> {
    (
        0u8..16,
        prop_oneof![Just(0u64), 32760u64..32770, 65530u64..65537],
    )
        .prop_map(move |(bits, warm)| Setting {
            shape: Shape {
                size: 32768,
                features: features(packed, bits),
                table: 3,
            },
            warm,
        })
}

/// A chain that was added.
struct Chain {
    elements: Vec<Element>,
    slots: u16,
    place: u64,
}

/// Bytes for the data of a chain.
const PLACE: u64 = 512;

pub(crate) struct Rig<D> {
    shape: Shape,
    ram: Window,
    queue: Queue<u64, Window>,
    device: D,
    /// Whether the device interrupts only when it must.
    exact: bool,
    common: Common<Window>,
    // The model: chains by what has become of them.
    chains: HashMap<u64, Chain>,
    added: VecDeque<u64>,
    shown: VecDeque<u64>,
    taken: Vec<(u64, Taken)>,
    used: VecDeque<(u64, u32)>,
    next_token: u64,
    places: Vec<u64>,
    free: u16,
    /// What was shown since the last reset, in chains and in slots.
    shown_chains: u64,
    shown_slots: u64,
    // Who waits for whom.
    /// The device found nothing and sleeps until it is kicked.
    asleep: bool,
    /// The driver found nothing and sleeps until it is interrupted.
    armed: bool,
    /// The driver sleeps until these were used.
    late: Option<HashSet<u64>>,
    /// It must be interrupted at the next opportunity.
    owed: bool,
    /// It asked not to be.
    disabled: bool,
    pushed: bool,
}

fn pattern(token: u64, at: u64) -> u8 {
    (token.wrapping_mul(37) ^ at.wrapping_mul(11)) as u8 | 1
}

/// What memory for the device to write holds before.
const BLANK: u8 = 0;

impl<D: Device> Rig<D> {
    pub(crate) fn new(
        setting: Setting,
        exact: bool,
        device: impl FnOnce(Window, Shape, [u64; 3]) -> D,
    ) -> Self {
        let shape = setting.shape;
        let (_, data) = ram::plan(shape);
        let places = u64::from(shape.size) + 1;
        let ram = Window::new(data + (places * PLACE) as usize);
        let queue = ram::queue(&ram, shape);
        let areas = queue.addresses();
        let mut rig = Self {
            shape,
            device: device(ram.clone(), shape, areas),
            common: Common::new(ram.clone(), shape, areas),
            exact,
            chains: HashMap::new(),
            added: VecDeque::new(),
            shown: VecDeque::new(),
            taken: Vec::new(),
            used: VecDeque::new(),
            next_token: 0,
            places: (0..places)
                .map(|place| ram.address() + data as u64 + place * PLACE)
                .collect(),
            free: shape.size,
            shown_chains: 0,
            shown_slots: 0,
            asleep: false,
            armed: true,
            late: None,
            owed: false,
            disabled: false,
            pushed: false,
            queue,
            ram,
        };
        rig.warm_up(setting.warm);
        rig
    }

    fn packed(&self) -> bool {
        self.shape.features & feature::bit(feature::RING_PACKED) != 0
    }

    /// Lets so many chains through.
    fn warm_up(&mut self, chains: u64) {
        while self.shown_chains < chains {
            let most = u64::from(self.shape.size)
                .min(64)
                .min(chains - self.shown_chains);
            for _ in 0..most {
                self.step(&Op::Add(vec![1], vec![]));
            }
            self.step(&Op::Publish);
            self.step(&Op::DevicePop(64));
            for _ in 0..most {
                self.step(&Op::Push(0, 0));
            }
            self.step(&Op::Check);
            self.step(&Op::DriverPop(64));
        }
    }

    pub(crate) fn run(&mut self, ops: &[Op]) {
        for op in ops {
            self.step(op);
            assert_eq!(self.queue.free(), self.free);
            let in_flight =
                self.added.len() + self.shown.len() + self.taken.len() + self.used.len();
            assert_eq!(usize::from(self.queue.in_flight()), in_flight);
            assert!(!self.queue.is_broken());
        }
        self.finish();
    }

    /// Everything comes back in the end.
    fn finish(&mut self) {
        self.step(&Op::Publish);
        while !self.shown.is_empty() {
            self.step(&Op::DevicePop(255));
        }
        while !self.taken.is_empty() {
            self.step(&Op::Push(0, 200));
        }
        self.step(&Op::Check);
        while !self.used.is_empty() {
            self.step(&Op::DriverPop(255));
        }
        assert_eq!(self.queue.pop().unwrap(), None);
        assert_eq!(
            (self.queue.free(), self.queue.in_flight()),
            (self.shape.size, 0)
        );
        assert!(self.chains.is_empty());
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Add(out, input) => self.add(out, input),
            Op::Publish => self.publish(),
            Op::DriverPop(most) => (0..*most).for_each(|_| self.driver_pop()),
            Op::Disable => {
                self.queue.disable_interrupts().unwrap();
                (self.disabled, self.armed, self.owed, self.late) = (true, false, false, None);
            }
            Op::Enable => {
                let more = self.queue.enable_interrupts().unwrap();
                assert_eq!(more, !self.used.is_empty());
                (self.disabled, self.armed, self.owed, self.late) = (false, !more, false, None);
            }
            Op::EnableLate => self.enable_late(),
            Op::DevicePop(most) => (0..*most).for_each(|_| self.device_pop()),
            Op::Push(which, part) => self.push(*which, *part),
            Op::Batch(most, part) => self.batch(*most, *part),
            Op::Quiet => {
                self.device.quiet();
                self.asleep = false;
            }
            Op::Listen(delay) => {
                let delay = u16::from(*delay) % self.shape.size;
                let more = self.device.listen(delay);
                assert_eq!(more, !self.shown.is_empty());
                self.asleep = !more && delay == 0;
            }
            Op::Check => self.check_interrupt(),
            Op::Reset => self.reset(),
        }
    }

    fn add(&mut self, out: &[u8], input: &[u8]) {
        let segments = out.len() + input.len();
        let table = self.shape.features & feature::bit(feature::INDIRECT_DESC) != 0
            && (2..=usize::from(self.shape.table)).contains(&segments);
        let slots = if table { 1 } else { segments as u16 };
        let expected = if segments == 0 || segments > usize::from(self.shape.size) {
            Err(EINVAL)
        } else if slots > self.free {
            Err(ENOSPC)
        } else {
            Ok(())
        };
        assert_eq!(self.queue.has_room(segments), expected.is_ok());
        let (token, place) = (self.next_token, *self.places.last().unwrap());
        let mut address = place;
        let mut element = |len: &u8, writable| {
            let element = Element {
                address,
                len: u32::from(*len),
                writable,
            };
            address += u64::from(*len);
            element
        };
        let mut elements: Vec<_> = out.iter().map(|len| element(len, false)).collect();
        elements.extend(input.iter().map(|len| element(len, true)));
        assert!(address - place <= PLACE);
        let segment = |element: &Element| Segment {
            address: element.address,
            len: element.len,
        };
        let all: Vec<_> = elements.iter().map(segment).collect();
        let (readable, writable) = all.split_at(out.len());
        assert_eq!(self.queue.add(readable, writable, token), expected);
        if expected.is_err() {
            return;
        }
        for element in &elements {
            let filled = |at| {
                if element.writable {
                    BLANK
                } else {
                    pattern(token, at)
                }
            };
            let bytes: Vec<u8> = (0..u64::from(element.len))
                .map(|at| filled(element.address + at))
                .collect();
            self.ram.put(element.address, &bytes);
        }
        self.places.pop();
        self.next_token += 1;
        self.free -= slots;
        self.chains.insert(
            token,
            Chain {
                elements,
                slots,
                place,
            },
        );
        self.added.push_back(token);
    }

    fn publish(&mut self) {
        let slots: u64 = self
            .added
            .iter()
            .map(|token| u64::from(self.chains[token].slots))
            .sum();
        let (old, new) = (self.shown_slots, self.shown_slots + slots);
        let chains = self.shown_chains + self.added.len() as u64;
        let due = if self.packed() {
            naive::packed::kick_is_due(&self.common, old, new)
        } else {
            naive::split::kick_is_due(&self.common, self.shown_chains, chains)
        };
        assert!(
            !self.asleep || self.added.is_empty() || due,
            "the model of kicks is wrong"
        );
        assert_eq!(self.queue.publish().unwrap(), due);
        self.asleep &= !due;
        (self.shown_slots, self.shown_chains) = (new, chains);
        self.shown.append(&mut self.added);
        let data = self.queue.notification_data();
        let size = u64::from(self.shape.size);
        let wraps = u16::from((new / size).is_multiple_of(2));
        assert_eq!(
            data,
            if self.packed() {
                (new % size) as u16 | wraps << 15
            } else {
                chains as u16
            }
        );
    }

    fn device_pop(&mut self) {
        let taken = self.device.pop();
        let token = self.shown.pop_front();
        assert_eq!(taken.is_some(), token.is_some());
        let (Some(taken), Some(token)) = (taken, token) else {
            return;
        };
        let chain = &self.chains[&token];
        assert_eq!(taken.elements, chain.elements);
        for element in chain.elements.iter().filter(|element| !element.writable) {
            let bytes = self.ram.bytes(element.address, element.len as usize);
            assert!(bytes
                .iter()
                .zip(element.address..)
                .all(|(byte, at)| *byte == pattern(token, at)));
        }
        self.taken.push((token, taken));
    }

    /// The device writes so many bytes to a chain.
    fn fill(&mut self, token: u64, taken: &Taken, written: u32) {
        let mut left = written;
        for element in taken.elements.iter().filter(|element| element.writable) {
            let len = left.min(element.len);
            let bytes: Vec<u8> = (element.address..)
                .take(len as usize)
                .map(|at| pattern(token, at))
                .collect();
            self.ram.put(element.address, &bytes);
            left -= len;
        }
        assert_eq!(left, 0);
        self.used.push_back((token, written));
        self.pushed = true;
        self.owed |= self.armed;
        if let Some(late) = &mut self.late {
            late.remove(&token);
            self.owed |= late.is_empty();
        }
    }

    fn push(&mut self, which: u8, part: u8) {
        if self.taken.is_empty() {
            return;
        }
        let at = if self.common.in_order {
            0
        } else {
            usize::from(which) % self.taken.len()
        };
        let (token, taken) = self.taken.remove(at);
        let written = taken.writable() * u32::from(part) / 255;
        self.fill(token, &taken, written);
        self.device.push(taken, written);
    }

    fn batch(&mut self, most: u8, part: u8) {
        let len = usize::from(most).min(self.taken.len());
        let batch: Vec<_> = self.taken[..len]
            .iter()
            .map(|(_, taken)| taken.clone())
            .collect();
        let Some(last) = batch.last().filter(|_| self.common.in_order) else {
            return;
        };
        let written = last.writable() * u32::from(part) / 255;
        if !self.device.push_batch(&batch, written) {
            return;
        }
        let tokens: Vec<_> = self.taken.drain(..len).map(|(token, _)| token).collect();
        for (at, (token, taken)) in tokens.into_iter().zip(&batch).enumerate() {
            // Those before the last are used whole.
            let written = if at + 1 == len {
                written
            } else {
                taken.writable()
            };
            self.fill(token, taken, written);
        }
    }

    fn driver_pop(&mut self) {
        let completion = self.queue.pop().unwrap();
        let expected = self.used.pop_front();
        assert_eq!(
            completion.map(|completion| (completion.token, completion.written)),
            expected
        );
        let Some((token, written)) = expected else {
            return;
        };
        let chain = self.chains.remove(&token).unwrap();
        let mut left = written;
        for element in chain.elements.iter().filter(|element| element.writable) {
            let len = left.min(element.len);
            left -= len;
            let bytes = self.ram.bytes(element.address, element.len as usize);
            let expected = (element.address..).zip(0..element.len);
            let expected = expected.map(|(at, index)| {
                if index < len {
                    pattern(token, at)
                } else {
                    BLANK
                }
            });
            assert!(expected.eq(bytes));
        }
        self.places.push(chain.place);
        self.free += chain.slots;
    }

    fn enable_late(&mut self) {
        let more = self.queue.enable_interrupts_late().unwrap();
        assert!(!more || !self.used.is_empty());
        (self.disabled, self.armed, self.owed, self.late) = (false, false, false, None);
        if !more {
            let waits: HashSet<_> = self
                .shown
                .iter()
                .chain(self.taken.iter().map(|(token, _)| token))
                .copied()
                .collect();
            // With nothing at the device it waits for what comes next.
            self.armed = waits.is_empty();
            self.late = (!waits.is_empty()).then_some(waits);
        }
    }

    fn check_interrupt(&mut self) {
        let wants = self.device.wants_interrupt();
        assert!(wants || !self.owed, "a lost interrupt");
        if self.exact {
            assert!(
                !wants || (self.pushed && !self.disabled),
                "an interrupt that nobody wanted"
            );
        }
        (self.pushed, self.owed) = (false, false);
        if wants && self.common.event_idx {
            (self.armed, self.late) = (false, None);
        }
    }

    fn reset(&mut self) {
        let mut back = Vec::new();
        self.queue.reset(|token| back.push(token)).unwrap();
        self.device.reset();
        back.sort_unstable();
        let mut all: Vec<_> = self.chains.keys().copied().collect();
        all.sort_unstable();
        assert_eq!(back, all);
        self.places
            .extend(self.chains.drain().map(|(_, chain)| chain.place));
        self.added.clear();
        self.shown.clear();
        self.taken.clear();
        self.used.clear();
        self.free = self.shape.size;
        (self.shown_chains, self.shown_slots) = (0, 0);
        (
            self.asleep,
            self.armed,
            self.owed,
            self.disabled,
            self.pushed,
        ) = (false, true, false, false, false);
        self.late = None;
    }
}
