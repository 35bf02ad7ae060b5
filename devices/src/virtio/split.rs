//! Split virtqueues, on rust-vmm's `virtio-queue` (virtio 1.4 §2.7).

use std::sync::atomic::{Ordering, fence};

use bringup_core::dma::DeviceMemory;
use bringup_spec::virtio::{feature, ring::split};
use virtio_queue::{Queue as RawQueue, QueueOwnedT, QueueT};
use vm_memory::GuestAddress;

use super::queue::{Broken, Chain, Element, Setup, longest_chain};

#[derive(Debug)]
pub(super) struct Split {
    raw: RawQueue,
    event_idx: bool,
    /// The driver area and the device area.
    driver: u64,
    device: u64,
    /// How many elements were pushed, modulo 2^16; the crate knows how many were published.
    used: u16,
    /// How many since the driver was last considered for an interrupt.
    since: u32,
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
        Some(Self { raw, event_idx, driver: setup.driver, device: setup.device, used: 0, since: 0 })
    }

    pub(super) fn pop(&mut self, memory: &DeviceMemory, mut elements: Vec<Element>) -> Result<Option<Chain>, Broken> {
        let mut next = self.raw.iter(memory).map_err(|_| Broken)?.next();
        if next.is_none() {
            // Either there is nothing, or the ring's entry cannot be read. Or the driver, which may run meanwhile, has just filled it.
            let idx = self.raw.avail_idx(memory, Ordering::Acquire).map_err(|_| Broken)?;
            if idx.0 == self.raw.next_avail() {
                return Ok(None);
            }
            next = self.raw.iter(memory).map_err(|_| Broken)?.next();
        }
        let descriptors = next.ok_or(Broken)?;
        let head = descriptors.head_index();
        let mut ended = false;
        let most = longest_chain(self.raw.size());
        for descriptor in descriptors.take(most) {
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

    /// Writes the next used element; the driver sees it when it is published.
    pub(super) fn push(&mut self, memory: &DeviceMemory, chain: &Chain, written: u32) -> Result<(), Broken> {
        // The first descriptor of a chain is in the table: the crate has read it there.
        let slot = self.used % self.raw.size();
        let mut element = [0; split::USED_ENTRY as usize];
        element[..4].copy_from_slice(&u32::from(chain.id).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        let at = self.device + split::USED_RING + u64::from(slot) * split::USED_ENTRY;
        memory.write_slice(&element, GuestAddress(at)).map_err(|_| Broken)?;
        self.used = self.used.wrapping_add(1);
        self.since = self.since.saturating_add(1);
        Ok(())
    }

    /// Shows the driver all that was pushed, at once.
    pub(super) fn publish(&mut self, memory: &DeviceMemory) -> Result<(), Broken> {
        if self.used == self.raw.next_used() {
            return Ok(());
        }
        self.raw.set_next_used(self.used);
        let at = GuestAddress(self.device + split::USED_IDX);
        memory.store(self.used.to_le(), at, Ordering::Release).map_err(|_| Broken)
    }

    pub(super) fn quiet(&mut self, memory: &DeviceMemory) -> Result<(), Broken> {
        self.raw.disable_notification(memory).map_err(|_| Broken)
    }

    pub(super) fn listen(&mut self, memory: &DeviceMemory) -> Result<bool, Broken> {
        self.raw.enable_notification(memory).map_err(|_| Broken)
    }

    /// Whether the driver wants to be interrupted for what was published since this was last asked (§2.7.7.2).
    pub(super) fn wants_interrupt(&mut self, memory: &DeviceMemory) -> Result<bool, Broken> {
        // What was published must be in memory before the driver's wish is read: else both sides could wait.
        fence(Ordering::SeqCst);
        let since = std::mem::take(&mut self.since);
        let load = |offset: u64| -> Result<u16, Broken> {
            let value: u16 = memory.load(GuestAddress(self.driver + offset), Ordering::Relaxed).map_err(|_| Broken)?;
            Ok(u16::from_le(value))
        };
        if !self.event_idx {
            return Ok(load(split::AVAIL_FLAGS)? & split::AVAIL_NO_INTERRUPT == 0);
        }
        let event = load(split::AVAIL_RING + u64::from(self.raw.size()) * split::AVAIL_ENTRY)?;
        // The last of the published ones is at `used - 1`: is the one that was named at most as far back as there were?
        Ok(u32::from(self.used.wrapping_sub(1).wrapping_sub(event)) < since)
    }
}
