//! What the target of the driver's virtqueue does with its input. Shared with the test that runs it on stable
//! (drivers/virtio/ring).
//!
//! The input says what the queue is like, and then what happens: the driver adds, shows, takes back and asks, and the device
//! writes: what an honest device would, or anything, anywhere in the memory that it may write. Whatever it does, a token
//! comes back once and only if it was shown, no more was written than there is room for, and a queue that gave up can begin
//! anew.

use kernel::error::{code::EINVAL, Result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use virtio_ring::{
    feature,
    ring::{Areas, Memory, Queue, Segment, Shape},
};

/// Memory of both sides.
#[derive(Clone)]
struct Area {
    bytes: Rc<RefCell<Vec<u8>>>,
    address: u64,
}

impl Area {
    fn new(size: usize, address: u64) -> Self {
        Self {
            bytes: Rc::new(RefCell::new(vec![0; size])),
            address,
        }
    }

    fn get<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let bytes = self.bytes.borrow();
        let place = at.checked_add(N).and_then(|end| bytes.get(at..end));
        place.and_then(|place| place.try_into().ok()).ok_or(EINVAL)
    }

    /// What the device writes; nothing outside.
    fn put(&self, at: usize, from: &[u8]) {
        let mut bytes = self.bytes.borrow_mut();
        if let Some(place) = at
            .checked_add(from.len())
            .and_then(|end| bytes.get_mut(at..end))
        {
            place.copy_from_slice(from);
        }
    }
}

impl Memory for Area {
    fn address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> usize {
        self.bytes.borrow().len()
    }

    fn read16(&self, at: usize) -> Result<u16> {
        self.get(at).map(u16::from_le_bytes)
    }

    fn read32(&self, at: usize) -> Result<u32> {
        self.get(at).map(u32::from_le_bytes)
    }

    fn write16(&self, at: usize, value: u16) -> Result {
        self.write_bytes(at, &value.to_le_bytes())
    }

    fn write_bytes(&self, at: usize, from: &[u8]) -> Result {
        let mut bytes = self.bytes.borrow_mut();
        let place = at
            .checked_add(from.len())
            .and_then(|end| bytes.get_mut(at..end))
            .ok_or(EINVAL)?;
        place.copy_from_slice(from);
        Ok(())
    }
}

/// The rest of the input; zeros when it is at its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// A chain as the driver remembers it.
struct Given {
    writable: u64,
    shown: bool,
}

/// A driver that uses the queue, and what it knows.
struct Driver {
    queue: Queue<u64, Area>,
    given: HashMap<u64, Given>,
    next: u64,
    /// The device's own idea of what it has used.
    used: u16,
    wrap: bool,
    shape: Shape,
    areas: [Area; 3],
}

impl Driver {
    fn new(input: &mut Input<'_>) -> Self {
        let bits = input.byte();
        let bit = |at: u8, number| {
            if bits >> at & 1 != 0 {
                feature::bit(number)
            } else {
                0
            }
        };
        let features = bit(0, feature::RING_PACKED)
            | bit(1, feature::INDIRECT_DESC)
            | bit(2, feature::EVENT_IDX)
            | bit(3, feature::IN_ORDER);
        let packed = bits & 1 != 0;
        let size = input.byte() % 16;
        let size = if packed {
            u16::from(size) + 1
        } else {
            2 << (size % 4)
        };
        let shape = Shape {
            size,
            features,
            table: u16::from(input.byte() % 6),
        };
        let [descriptors, driver, device, tables] = shape.areas();
        let areas = [
            Area::new(descriptors, 0x1_0000_0000),
            Area::new(driver, 0x2_0000_0000),
            Area::new(device, 0x3_0000_0000),
        ];
        let [descriptors, driver, device] = areas.clone();
        let tables = (tables != 0).then(|| Area::new(tables, 0x4_0000_0000));
        let queue = Queue::with_memory(
            shape,
            Areas {
                descriptors,
                driver,
                device,
                tables,
            },
        );
        let queue = queue.expect("a shape that exists");
        Self {
            queue,
            given: HashMap::new(),
            next: 0,
            used: 0,
            wrap: true,
            shape,
            areas,
        }
    }

    fn add(&mut self, input: &mut Input<'_>) {
        let counts = input.byte();
        let len = input.byte();
        let long = if len & 0x80 != 0 {
            u32::MAX
        } else {
            u32::from(len)
        };
        let segment = |at: u8| Segment {
            address: 0x5_0000_0000 + u64::from(at),
            len: long,
        };
        let out: Vec<_> = (0..counts & 7).map(segment).collect();
        let writable: Vec<_> = (0..counts >> 3 & 7).map(segment).collect();
        if self.queue.add(&out, &writable, self.next).is_ok() {
            let writable = writable.iter().map(|one| u64::from(one.len)).sum();
            self.given.insert(
                self.next,
                Given {
                    writable,
                    shown: false,
                },
            );
        }
        self.next += 1;
    }

    fn publish(&mut self) {
        if self.queue.publish().is_ok() {
            self.given.values_mut().for_each(|given| given.shown = true);
        }
    }

    fn pop(&mut self) {
        match self.queue.pop() {
            Ok(Some(done)) => {
                let given = self.given.remove(&done.token).expect("a token that is out");
                assert!(given.shown, "a chain that the device never saw came back");
                assert!(u64::from(done.written) <= given.writable);
            }
            Ok(None) => {}
            Err(_) => assert!(self.queue.is_broken()),
        }
        assert_eq!(usize::from(self.queue.in_flight()), self.given.len());
    }

    fn reset(&mut self) {
        let mut back = Vec::new();
        self.queue
            .reset(|token| back.push(token))
            .expect("memory of its own");
        for token in back {
            assert!(self.given.remove(&token).is_some());
        }
        assert!(self.given.is_empty());
        assert_eq!(self.queue.free(), self.queue.size());
        (self.used, self.wrap) = (0, true);
    }

    /// What an honest device might write, for an id of the fuzzer's.
    fn device_uses(&mut self, input: &mut Input<'_>) {
        let id = u16::from(input.byte());
        let written = u16::from(input.byte());
        let [ring, _, device] = &self.areas;
        if self.shape.features & feature::bit(feature::RING_PACKED) != 0 {
            let at = usize::from(self.used) * 16;
            let flags = if self.wrap { 0x8080 } else { 0 } | if written != 0 { 2 } else { 0 };
            ring.put(at + 8, &u32::from(written).to_le_bytes());
            ring.put(at + 12, &id.to_le_bytes());
            ring.put(at + 14, &u16::to_le_bytes(flags));
            let slots = u16::from(input.byte() % 8).min(self.shape.size);
            self.used += slots;
            if self.used >= self.shape.size {
                self.used -= self.shape.size;
                self.wrap = !self.wrap;
            }
        } else {
            let at = 4 + 8 * usize::from(self.used & (self.shape.size - 1));
            device.put(at, &u32::from(id).to_le_bytes());
            device.put(at + 4, &u32::from(written).to_le_bytes());
            self.used = self.used.wrapping_add(u16::from(input.byte() % 8));
            device.put(2, &self.used.to_le_bytes());
        }
    }
}

/// A driver's queue and a device that writes what the fuzzer says.
pub(crate) fn hostile_device(data: &[u8]) {
    let mut input = Input(data);
    let mut driver = Driver::new(&mut input);
    while !input.is_over() {
        match input.byte() % 16 {
            0..=2 => driver.add(&mut input),
            3 | 4 => driver.publish(),
            5 | 6 => driver.pop(),
            7..=9 => driver.device_uses(&mut input),
            10 => {
                let at = usize::from(input.word());
                let area = &driver.areas[2];
                area.put(at % area.size(), &input.word().to_le_bytes());
            }
            11 if driver.shape.features & feature::bit(feature::RING_PACKED) != 0 => {
                let at = usize::from(input.word());
                let area = &driver.areas[0];
                area.put(at % area.size(), &input.word().to_le_bytes());
            }
            12 => assert!(driver.queue.disable_interrupts().is_ok()),
            13 => assert!(driver.queue.enable_interrupts().is_ok() || driver.queue.is_broken()),
            14 => {
                assert!(driver.queue.enable_interrupts_late().is_ok() || driver.queue.is_broken());
            }
            15 => driver.reset(),
            _ => {}
        }
    }
    // Nothing that it did takes anything from the driver for ever.
    driver.reset();
}
