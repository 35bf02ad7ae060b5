//! Where a virtio function has its structures, from its own capabilities (virtio 1.4 §4.1.2, §4.1.4).

use bringup_core::pci::{ConfigSpace, Function, capability, offset, status};
use bringup_spec::virtio::pci::{CAP_VENDOR, cap, cfg_type};
use bringup_spec::virtio::{MODERN_DEVICE_BASE, TRANSITIONAL, TYPES, TypeFacts, VENDOR};

/// The most capabilities that are followed: 192 bytes hold no more, so a list that is longer is a ring.
const MOST: usize = 48;
/// The id of the SR-IOV extended capability (PCIe 6.0 §9.3.3).
const SR_IOV: u32 = 0x10;

/// A structure that lies in a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Structure {
    Common,
    /// With what a queue's `queue_notify_off` is multiplied by.
    Notify(u32),
    Isr,
    Device,
    /// Only the device type knows what is in it.
    SharedMemory,
}

#[derive(Clone, Copy, Debug)]
struct Region {
    structure: Structure,
    bar: u8,
    start: u64,
    end: u64,
}

/// A virtio capability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capability {
    /// Where it begins in configuration space.
    pub(super) at: u16,
    /// In bytes.
    pub(super) len: u16,
    /// One of `cfg_type`.
    pub(super) kind: u8,
}

/// A virtio function as its configuration space describes it.
#[derive(Debug)]
pub(super) struct Layout {
    /// The device's type.
    pub(super) device_type: u16,
    /// The tables of its type, if there are any.
    pub(super) facts: Option<&'static TypeFacts>,
    /// It has the id of a transitional device: legacy feature bits mean something.
    pub(super) transitional: bool,
    pub(super) capabilities: Vec<Capability>,
    regions: Vec<Region>,
    /// Entries of its MSI-X table; 0 without one.
    pub(super) vectors: u16,
    /// Where the SR-IOV extended capability begins.
    pub(super) sr_iov: Option<u16>,
}

impl Layout {
    /// Reads it from a function; `None` if it is not virtio, or has no modern interface.
    pub(super) fn parse(function: &Function, config: &ConfigSpace) -> Option<Self> {
        let (vendor, device) = function.id();
        let old = TRANSITIONAL.iter().find(|(id, _)| *id == device);
        let device_type = match old {
            Some((_, kind)) => *kind,
            None => device.checked_sub(MODERN_DEVICE_BASE).filter(|kind| (1..0x40).contains(kind))?,
        };
        if vendor != VENDOR || config.read16(offset::STATUS) & status::CAPABILITIES == 0 {
            return None;
        }
        let mut this = Self {
            device_type,
            facts: TYPES.iter().find(|facts| facts.id == device_type),
            transitional: old.is_some(),
            capabilities: Vec::new(),
            regions: Vec::new(),
            vectors: 0,
            sr_iov: find_extended(config, SR_IOV),
        };
        this.walk(config);
        this.regions.iter().any(|region| region.structure == Structure::Common).then_some(this)
    }

    fn walk(&mut self, config: &ConfigSpace) {
        let mut at = config.read(offset::CAPABILITIES, 1) as u16 & !3;
        for _ in 0..MOST {
            if at < 0x40 {
                return;
            }
            let id = config.read(at, 1) as u8;
            if id == CAP_VENDOR {
                self.add(config, at);
            } else if id == capability::MSIX {
                self.vectors = (config.read16(at + 2) & 0x7ff) + 1;
            }
            at = config.read(at + 1, 1) as u16 & !3;
        }
    }

    fn add(&mut self, config: &ConfigSpace, at: u16) {
        let byte = |field: u8| config.read(at + u16::from(field), 1) as u8;
        let word = |field: u8| u64::from(config.read(at + u16::from(field), 4));
        let (kind, len, bar) = (byte(cap::CFG_TYPE), u16::from(byte(cap::LEN)), byte(cap::BAR));
        self.capabilities.push(Capability { at, len, kind });
        let (mut start, mut length) = (word(cap::OFFSET), word(cap::LENGTH));
        let structure = match kind {
            cfg_type::COMMON => Structure::Common,
            cfg_type::NOTIFY => Structure::Notify(word(cap::NOTIFY_OFF_MULTIPLIER) as u32),
            cfg_type::ISR => Structure::Isr,
            cfg_type::DEVICE => Structure::Device,
            cfg_type::SHARED_MEMORY => {
                start |= word(cap::OFFSET_HI) << 32;
                length |= word(cap::LENGTH_HI) << 32;
                Structure::SharedMemory
            }
            _ => return,
        };
        if bar < 6 {
            self.regions.push(Region { structure, bar, start, end: start.saturating_add(length) });
        }
    }

    /// What lies at an offset of a BAR, and how far into it. Where structures overlap (their lengths may be as long as the BAR is),
    /// it is the one that begins last.
    #[inline]
    pub(super) fn locate(&self, bar: u8, offset: u64) -> Option<(Structure, u64)> {
        let holds = |region: &&Region| region.bar == bar && (region.start..region.end).contains(&offset);
        let found = self.regions.iter().filter(holds).max_by_key(|region| region.start)?;
        Some((found.structure, offset - found.start))
    }

    /// Whether a range lies in one that a capability names.
    pub(super) fn names(&self, bar: u8, offset: u64, len: u64) -> bool {
        let Some(end) = offset.checked_add(len) else { return false };
        self.regions.iter().any(|region| region.bar == bar && region.start <= offset && end <= region.end)
    }
}

/// Where an extended capability begins.
fn find_extended(config: &ConfigSpace, id: u32) -> Option<u16> {
    let mut at = 0x100;
    for _ in 0..256 {
        if usize::from(at) >= config.size() {
            return None;
        }
        let header = config.read(at, 4);
        if header & 0xffff == id {
            return Some(at);
        }
        at = (header >> 20) as u16 & !3;
        if at < 0x100 {
            return None;
        }
    }
    None
}
