//! rust-vmm's device side of a split queue, as a device of these tests.

use crate::naive::{Device, Element, Taken};
use crate::ram::Window;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use virtio_ring::{feature, ring::Shape};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use std::sync::atomic::Ordering;

#[derive(Debug)]
pub(crate) struct RustVmm {
    memory: GuestMemoryMmap,
    queue: Queue,
    areas: [u64; 3],
    event_idx: bool,
}

impl RustVmm {
    pub(crate) fn new(ram: Window, shape: Shape, areas: [u64; 3]) -> Self {
        let event_idx = shape.features & feature::bit(feature::EVENT_IDX) != 0;
        let mut this = Self {
            memory: ram.memory,
            queue: Queue::new(shape.size).unwrap(),
            areas,
            event_idx,
        };
        this.start();
        this
    }

    fn start(&mut self) {
        self.queue.reset();
        let [descriptors, driver, device] = self.areas.map(GuestAddress);
        self.queue.try_set_desc_table_address(descriptors).unwrap();
        self.queue.try_set_avail_ring_address(driver).unwrap();
        self.queue.try_set_used_ring_address(device).unwrap();
        self.queue.set_event_idx(self.event_idx);
        self.queue.set_ready(true);
        assert!(self.queue.is_valid(&self.memory));
    }
}

impl Device for RustVmm {
    fn pop(&mut self) -> Option<Taken> {
        let chain = self.queue.iter(&self.memory).unwrap().next()?;
        let id = chain.head_index();
        let element = |one: virtio_queue::desc::split::Descriptor| Element {
            address: one.addr().0,
            len: one.len(),
            writable: one.is_write_only(),
        };
        Some(Taken {
            id,
            elements: chain.map(element).collect(),
            slots: 0,
            start: 0,
            images: Vec::new(),
        })
    }

    fn push(&mut self, taken: Taken, written: u32) {
        self.queue
            .add_used(&self.memory, taken.id, written)
            .unwrap();
    }

    fn push_batch(&mut self, _batch: &[Taken], _written: u32) -> bool {
        false
    }

    fn wants_interrupt(&mut self) -> bool {
        let wants = self.queue.needs_notification(&self.memory).unwrap();
        // The crate leaves the flag to its user.
        let flags: u16 = self
            .memory
            .load(GuestAddress(self.areas[1]), Ordering::Relaxed)
            .unwrap();
        wants && (self.event_idx || flags & 1 == 0)
    }

    fn quiet(&mut self) {
        self.queue.disable_notification(&self.memory).unwrap();
    }

    fn listen(&mut self, _delay: u16) -> bool {
        self.queue.enable_notification(&self.memory).unwrap()
    }

    fn reset(&mut self) {
        self.start();
    }
}
