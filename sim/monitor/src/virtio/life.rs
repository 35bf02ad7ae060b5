//! What a monitor knows of a function between two resets: the registers as the driver wrote and read them.

use bringup_core::Sight;
use bringup_spec::virtio::{feature, status};

use super::judge::judge;
use super::kinds::Kind;
use super::queues::{Queue, QueueReset};
use super::ring::{Phase, Ring};
use super::rules;

/// How far the driver came with the reset that an initialisation begins with (virtio 1.4 §3.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ResetState {
    /// This driver did not reset the device yet.
    #[default]
    Never,
    /// It wrote 0 to the status.
    Asked,
    /// It read 0 from it.
    Done,
}

/// How far the driver came with FEATURES_OK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Negotiation {
    /// Not set.
    #[default]
    Open,
    /// Set, not read back.
    Asked,
    /// Read back as set.
    Agreed,
    /// Read back as clear.
    Refused,
}

/// How far the driver came with suspending the device (virtio 1.4 §3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Suspend {
    #[default]
    Off,
    /// SUSPEND was written.
    Asked,
    /// The status showed that the device is suspended.
    Confirmed,
    /// DRIVER_OK was written again.
    Resuming,
}

/// Features as the driver read and wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    /// What the device was seen to offer.
    pub(super) offered: u128,
    /// A bit for each 32 bits of them that the driver read; they outlast a reset, as the offer does.
    pub(super) windows: u8,
    pub(super) device_select: Option<u32>,
    pub(super) driver_select: Option<u32>,
    pub(super) accepted: u128,
    /// Some were read since the reset.
    pub(super) read: bool,
    /// Some were written since DRIVER was set.
    pub(super) written: bool,
}

impl Features {
    /// Whether a feature was accepted.
    pub(super) fn has(&self, bit: u32) -> bool {
        self.accepted >> bit & 1 != 0
    }

    /// Whether the driver saw that a feature is offered.
    pub(super) fn offers(&self, bit: u32) -> bool {
        self.offered >> bit & 1 != 0
    }

    /// Whether the driver looked if a feature is offered.
    pub(super) fn looked_for(&self, bit: u32) -> bool {
        self.windows >> (bit / 32) & 1 != 0
    }
}

/// A vector register.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vector {
    /// A vector was written, and not read back.
    pub(super) unread: Option<u16>,
}

/// The part of the device's configuration that the driver read, as it read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    bytes: [u8; 128],
    /// A bit for each byte that is known.
    known: u128,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { bytes: [0; 128], known: 0 }
    }
}

impl Snapshot {
    pub(super) fn put(&mut self, offset: u64, width: u8, value: u64) {
        for (lane, byte) in value.to_le_bytes().into_iter().enumerate().take(usize::from(width)) {
            let Ok(at) = usize::try_from(offset.saturating_add(lane as u64)) else { return };
            let Some(place) = self.bytes.get_mut(at) else { return };
            *place = byte;
            self.known |= 1 << at;
        }
    }

    /// The field of `width` bytes at an offset, if the driver read all of it.
    pub(super) fn get(&self, offset: u32, width: u8) -> Option<u64> {
        let mut value = [0; 8];
        for (lane, byte) in value.iter_mut().enumerate().take(usize::from(width)) {
            let at = offset as usize + lane;
            *byte = *self.bytes.get(at).filter(|_| self.known >> at & 1 != 0)?;
        }
        Some(u64::from_le_bytes(value))
    }
}

/// What the checks of a device type may know of the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) features: &'a Features,
    pub(super) config: &'a Snapshot,
    /// The queues that are enabled, ascending.
    pub(super) live: &'a [u16],
    /// DRIVER_OK is set, and the driver did not give up.
    pub(super) running: bool,
}

impl Facts<'_> {
    /// Whether a feature was accepted.
    pub(super) fn has(&self, bit: u32) -> bool {
        self.features.has(bit)
    }
}

/// A function between two resets.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Status as the driver wrote it, or read it last; without DEVICE_NEEDS_RESET.
    pub(super) status: u8,
    pub(super) reset: ResetState,
    /// A status that is not 0 was written since the reset.
    pub(super) started: bool,
    /// The driver had given up before the reset.
    pub(super) had_failed: bool,
    pub(super) negotiation: Negotiation,
    pub(super) suspend: Suspend,
    /// The driver saw DEVICE_NEEDS_RESET.
    pub(super) needs_reset: bool,
    pub(super) features: Features,
    pub(super) config_vector: Vector,
    pub(super) queue_select: Option<u16>,
    pub(super) num_queues: Option<u16>,
    pub(super) admin_index: Option<u16>,
    pub(super) admin_num: Option<u16>,
    pub(super) queues: Vec<Queue>,
    /// The numbers of those that are enabled, ascending.
    pub(super) live: Vec<u16>,
    pub(super) config: Snapshot,
    pub(super) reading: super::config::Reading,
    /// Memory of the queues of the life before, while the reset that ended it is not seen to be over.
    pub(super) draining: Vec<(u64, u64)>,
}

impl Life {
    /// The state after a reset that the driver did not ask for by the status register.
    pub(super) fn after_reset(&self) -> Self {
        let Features { offered, windows, .. } = self.features;
        Self { features: Features { offered, windows, ..Features::default() }, ..Self::default() }
    }

    /// The driver wrote 0 to the status.
    pub(super) fn restart(&mut self) {
        let areas = |queue: &Queue| if queue.enabled { queue.areas } else { [(0, 0); 3] };
        let mut draining: Vec<(u64, u64)> = self.queues.iter().flat_map(areas).filter(|(_, len)| *len != 0).collect();
        draining.append(&mut self.draining);
        let had_failed = self.is(status::FAILED);
        *self = Self { draining, had_failed, reset: ResetState::Asked, ..self.after_reset() };
    }

    /// Whether a status bit is set.
    pub(super) fn is(&self, bit: u8) -> bool {
        self.status & bit != 0
    }

    /// The driver set the device going and did not end it.
    pub(super) fn is_running(&self) -> bool {
        self.is(status::DRIVER_OK) || self.suspend != Suspend::Off
    }

    /// The driver gave up, or the features were refused.
    pub(super) fn has_failed(&self) -> bool {
        self.is(status::FAILED) || self.negotiation == Negotiation::Refused
    }

    pub(super) fn phase(&self) -> Phase {
        Phase {
            driver_ok: self.is_running(),
            suspended: self.suspend != Suspend::Off,
            broken: self.needs_reset || self.is(status::FAILED),
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        let running = self.is_running() && !self.is(status::FAILED);
        Facts { features: &self.features, config: &self.config, live: &self.live, running }
    }

    /// Whether RING_PACKED was accepted.
    pub(super) fn is_packed(&self) -> bool {
        self.features.has(feature::RING_PACKED)
    }

    /// The live queue one of whose parts lies at an address.
    pub(super) fn queue_of(&self, iova: u64) -> Option<u16> {
        let holds = |(start, len): &(u64, u64)| iova.wrapping_sub(*start) < *len;
        self.live
            .iter()
            .copied()
            .find(|index| self.queues.get(usize::from(*index)).is_some_and(|queue| queue.areas.iter().any(holds)))
    }

    #[inline]
    pub(super) fn ring_mut(&mut self, index: u16) -> Option<&mut Ring> {
        self.queues.get_mut(usize::from(index))?.ring.as_deref_mut()
    }

    /// Tells the queues how many elements the device takes in one chain, if its type says so.
    pub(super) fn limit_rings(&mut self, kind: &Kind) {
        let Some(limit) = kind.limit(&self.facts()) else { return };
        for ring in self.queues.iter_mut().filter_map(|queue| queue.ring.as_deref_mut()) {
            ring.limit(limit);
        }
    }

    /// Memory is no longer mapped: it should not be that of a queue which the device may still use.
    pub(super) fn unmapped(&mut self, sight: &mut Sight<'_>, iova: u64, len: u64) {
        let overlaps = |area: &(u64, u64)| {
            area.1 != 0 && area.0 < iova.saturating_add(len) && iova < area.0.saturating_add(area.1)
        };
        if self.draining.iter().any(overlaps) {
            judge(sight, &rules::status::RESET_DONE, self.reset != ResetState::Asked, || {
                format!(
                    "{len:#x} bytes at {iova:#x} were unmapped: a queue's, and the status was not read as 0 since the reset"
                )
            });
            self.draining.clear();
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if queue.reset != QueueReset::No && queue.areas.iter().any(overlaps) {
                queue.reset_is_over(sight, index, || format!("its memory at {iova:#x} was unmapped"));
            }
        }
    }

    /// The driver let go of the function.
    pub(super) fn left(&mut self, sight: &mut Sight<'_>) {
        if self.negotiation == Negotiation::Refused {
            judge(sight, &rules::status::FEATURES_GIVE_UP, self.is(status::FAILED), || {
                format!("the device did not keep FEATURES_OK, and the driver left with status {:#04x}", self.status)
            });
        }
    }
}
