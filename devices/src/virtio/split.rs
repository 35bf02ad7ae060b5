//! Split virtqueues, on rust-vmm's `virtio-queue` (virtio 1.4 §2.7).

use std::sync::atomic::Ordering;

use bringup_core::dma::DeviceMemory;
use bringup_spec::virtio::{feature, ring::split};
use virtio_queue::{Queue as RawQueue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::queue::{Broken, Chain, Element, Setup};

#[derive(Debug)]
pub(super) struct Split {
    raw: RawQueue,
    event_idx: bool,
    avail: u64,
}

impl Split {
    /// `None` if the set-up cannot be one of a split ring.
    pub(super) fn new(setup: &Setup, features: u128) -> Option<Self> {
        let event_idx = features >> feature::EVENT_IDX & 1 != 0;
        let mut raw = RawQueue::new(setup.size).ok()?;
        raw.try_set_desc_table_address(GuestAddress(setup.descriptors)).ok()?;
        raw.try_set_avail_ring_address(GuestAddress(setup.driver)).ok()?;
        raw.try_set_used_ring_address(GuestAddress(setup.device)).ok()?;
        raw.set_event_idx(event_idx);
        raw.set_ready(true);
        // The rings' ends must be addresses too: what is added to them further on cannot overflow then.
        let most = u64::from(setup.size) * 16 + 16;
        [setup.descriptors, setup.driver, setup.device].iter().all(|at| at.checked_add(most).is_some()).then_some(())?;
        Some(Self { raw, event_idx, avail: setup.driver })
    }

    pub(super) fn pop(&mut self, memory: &DeviceMemory, mut elements: Vec<Element>) -> Result<Option<Chain>, Broken> {
        let mut available = self.raw.iter(memory).map_err(|_| Broken)?;
        let Some(descriptors) = available.next() else {
            // Either there is nothing, or the ring's entry cannot be read.
            let idx = self.raw.avail_idx(memory, Ordering::Acquire).map_err(|_| Broken)?;
            return if idx.0 == self.raw.next_avail() { Ok(None) } else { Err(Broken) };
        };
        let head = descriptors.head_index();
        let mut ended = false;
        for descriptor in descriptors {
            ended = !descriptor.has_next();
            let address = descriptor.addr().0;
            elements.push(Element { address, len: descriptor.len(), writable: descriptor.is_write_only() });
        }
        // The crate ends a chain that it cannot follow without a word.
        if !ended {
            return Err(Broken);
        }
        Chain::new(head, 0, elements).map(Some).ok_or(Broken)
    }

    pub(super) fn unpop(&mut self, _chain: &Chain) {
        self.raw.go_to_previous_position();
    }

    pub(super) fn push(&mut self, memory: &DeviceMemory, chain: &Chain, written: u32) -> Result<(), Broken> {
        self.raw.add_used(memory, chain.id, written).map_err(|_| Broken)
    }

    pub(super) fn quiet(&mut self, memory: &DeviceMemory) -> Result<(), Broken> {
        self.raw.disable_notification(memory).map_err(|_| Broken)
    }

    pub(super) fn listen(&mut self, memory: &DeviceMemory) -> Result<bool, Broken> {
        self.raw.enable_notification(memory).map_err(|_| Broken)
    }

    pub(super) fn wants_interrupt(&mut self, memory: &DeviceMemory) -> Result<bool, Broken> {
        if !self.raw.needs_notification(memory).map_err(|_| Broken)? {
            return Ok(false);
        }
        if self.event_idx {
            return Ok(true);
        }
        // The crate leaves the flag to its user.
        let flags: u16 = memory.load(GuestAddress(self.avail), Ordering::Relaxed).map_err(|_| Broken)?;
        Ok(u16::from_le(flags) & split::AVAIL_NO_INTERRUPT == 0)
    }
}
