//! What a function tells its driver in its capability list: where the structures are (virtio 1.4 §4.1.4).

use bringup_core::pci::{Capability, ConfigWindow};
use bringup_spec::virtio::pci::{CAP_VENDOR, cap, cfg_type, common};

use super::super::device::SharedMemory;
use super::super::quirks::Quirks;
use super::layout::{BAR, BAR_SIZE, COMMON, DEVICE, ISR, NOTIFY, SHARED_BAR};

/// What the capabilities say.
pub(super) struct Structures<'a> {
    /// Bytes of the device's own configuration.
    pub(super) config_len: usize,
    /// How many queues there are.
    pub(super) queues: usize,
    /// What a queue's offset is multiplied by.
    pub(super) multiplier: u32,
    /// Regions and where each begins in its BAR.
    pub(super) shared: &'a [(SharedMemory, u64)],
    pub(super) quirks: &'a Quirks,
}

impl Structures<'_> {
    /// All capabilities, those that are odd first.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        let mut all = Vec::new();
        if self.quirks.unknown_capability {
            // It leads to where no structure is: whoever takes it for one notices.
            all.push(capability(vec![0, 0x80, BAR, 0, 0, 0, 0x00, 0x08, 0, 0, 64, 0, 0, 0]));
        }
        if self.quirks.reserved_bar {
            all.push(capability(vec![0, cfg_type::COMMON, 6, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0]));
        }
        if self.quirks.vendor_capability {
            all.push(capability(vec![0, cfg_type::VENDOR, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
        }
        all.push(self.structure(cfg_type::COMMON, COMMON, common::LEN_1_4, &[]));
        all.push(self.structure(cfg_type::ISR, ISR, 1, &[]));
        if self.config_len != 0 {
            all.push(self.structure(cfg_type::DEVICE, DEVICE, self.config_len.next_multiple_of(4) as u64, &[]));
        }
        // Room for a kick of four bytes at each queue's place.
        let notify_len = u64::from(self.multiplier) * self.queues.saturating_sub(1) as u64 + 4;
        all.push(self.structure(cfg_type::NOTIFY, NOTIFY, notify_len, &self.multiplier.to_le_bytes()));
        all.push(window());
        all.extend(self.shared.iter().map(|(region, at)| shared(*region, *at)));
        all
    }

    fn structure(&self, kind: u8, at: u64, len: u64, more: &[u8]) -> Capability {
        let len = if self.quirks.huge_lengths { BAR_SIZE - at } else { len };
        let mut body = vec![0, kind, BAR, 0, 0, 0];
        body.extend_from_slice(&(at as u32).to_le_bytes());
        body.extend_from_slice(&(len as u32).to_le_bytes());
        body.extend_from_slice(more);
        body.extend(std::iter::repeat_n(0, usize::from(self.quirks.longer_capabilities.min(8) & !3)));
        capability(body)
    }
}

/// A vendor-specific capability; the first byte of its body is its length.
fn capability(mut body: Vec<u8>) -> Capability {
    body[0] = (body.len() + 2) as u8;
    let writable = vec![0; body.len()];
    Capability { id: CAP_VENDOR, body, writable, window: None }
}

/// A shared memory region (§4.1.4.7).
fn shared(region: SharedMemory, at: u64) -> Capability {
    let mut body = vec![0, cfg_type::SHARED_MEMORY, SHARED_BAR, region.id, 0, 0];
    body.extend_from_slice(&(at as u32).to_le_bytes());
    body.extend_from_slice(&(region.len as u32).to_le_bytes());
    body.extend_from_slice(&((at >> 32) as u32).to_le_bytes());
    body.extend_from_slice(&((region.len >> 32) as u32).to_le_bytes());
    capability(body)
}

/// The window of configuration space to the BARs (§4.1.4.9): BAR, offset and length are the driver's to write.
fn window() -> Capability {
    let mut capability = capability(vec![0; usize::from(cap::PCI_CFG_SIZE) - 2]);
    capability.body[1] = cfg_type::PCI;
    capability.writable[usize::from(cap::BAR) - 2] = 0xff;
    capability.writable[usize::from(cap::OFFSET) - 2..].fill(0xff);
    capability.window =
        Some(ConfigWindow { bar: cap::BAR, offset: cap::OFFSET, length: cap::LENGTH, data: cap::PCI_CFG_DATA });
    capability
}
