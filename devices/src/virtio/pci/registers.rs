//! The common configuration structure (virtio 1.4 §4.1.4.3) and what its registers do.

use bringup_core::{Cx, Nanos};
use bringup_spec::virtio::pci::{NO_VECTOR, common};
use bringup_spec::virtio::{feature, status};

use super::super::device::{KICK_NS, Requests};
use super::super::queue::Queue;
use super::layout::NOTIF_CONFIG_DATA;
use super::torn::Tearing;
use super::{VirtioPci, bit};

/// What the registers hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) device_select: u32,
    pub(super) driver_select: u32,
    pub(super) accepted: u128,
    pub(super) config_vector: u16,
    pub(super) status: u8,
    pub(super) generation: u8,
    pub(super) queue_select: u16,
    pub(super) isr: u8,
    /// The configuration changed while the device rested, and the driver is to be told.
    pub(super) config_pending: bool,
    /// Kicks since the device was made, for quirks.
    pub(super) kicks: u32,
    /// Changes that a quirk has in store.
    pub(super) tearing: Tearing,
    /// A quirk: what status still shows, until when, though the device was reset.
    pub(super) lingering: Option<(u8, Nanos)>,
}

impl VirtioPci {
    pub(super) fn reset_registers(&mut self) {
        self.state = Registers {
            config_vector: NO_VECTOR,
            tearing: Tearing::new(self.quirks.config_changes),
            generation: self.state.generation,
            kicks: self.state.kicks,
            ..Registers::default()
        };
        self.requests = Requests::default();
        for queue in &mut self.queues {
            queue.reset();
        }
    }

    /// A quirk keeps the device from having finished its reset.
    pub(super) fn is_being_reset(&self, cx: &Cx<'_>) -> bool {
        self.state.lingering.is_some_and(|(_, until)| cx.now() < until)
    }

    fn selected(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(self.state.queue_select))
    }

    pub(super) fn read_common(&mut self, cx: &Cx<'_>, offset: u64, width: u8) -> u64 {
        let bytes = self.common(cx);
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(bytes.iter().skip(offset as usize)).take(usize::from(width)) {
            *to = *from;
        }
        u64::from_le_bytes(value)
    }

    /// The structure as bytes.
    fn common(&self, cx: &Cx<'_>) -> [u8; common::LEN_1_4 as usize] {
        let mut bytes = [0; common::LEN_1_4 as usize];
        let mut put = |at: u64, value: &[u8]| bytes[at as usize..][..value.len()].copy_from_slice(value);
        let window = |features: u128, select: u32| match select {
            0..=3 => (features >> (32 * select)) as u32,
            _ => 0,
        };
        let (state, offers) = (&self.state, self.offers());
        let shown = match state.lingering {
            Some((old, until)) if cx.now() < until => old,
            _ => state.status,
        };
        put(common::DEVICE_FEATURE_SELECT, &state.device_select.to_le_bytes());
        put(common::DEVICE_FEATURE, &window(offers, state.device_select).to_le_bytes());
        put(common::DRIVER_FEATURE_SELECT, &state.driver_select.to_le_bytes());
        put(common::DRIVER_FEATURE, &window(state.accepted, state.driver_select).to_le_bytes());
        put(common::CONFIG_MSIX_VECTOR, &state.config_vector.to_le_bytes());
        put(common::NUM_QUEUES, &(self.queues.len() as u16).to_le_bytes());
        put(common::DEVICE_STATUS, &[shown]);
        put(common::CONFIG_GENERATION, &[state.generation]);
        put(common::QUEUE_SELECT, &state.queue_select.to_le_bytes());
        let index = state.queue_select;
        if let Some(queue) = self.queues.get(usize::from(index)) {
            let setup = &queue.setup;
            // Until it is over, a reset shows in both registers (§4.1.4.3.1).
            let resetting = queue.resetting_until.is_some_and(|until| cx.now() < until);
            put(common::QUEUE_SIZE, &setup.size.to_le_bytes());
            put(common::QUEUE_MSIX_VECTOR, &setup.vector.to_le_bytes());
            put(common::QUEUE_ENABLE, &u16::from(queue.enabled || resetting).to_le_bytes());
            put(common::QUEUE_NOTIFY_OFF, &index.to_le_bytes());
            put(common::QUEUE_DESC, &setup.descriptors.to_le_bytes());
            put(common::QUEUE_DRIVER, &setup.driver.to_le_bytes());
            put(common::QUEUE_DEVICE, &setup.device.to_le_bytes());
            put(common::QUEUE_RESET, &u16::from(resetting).to_le_bytes());
            if offers & bit(feature::NOTIF_CONFIG_DATA) != 0 {
                put(common::QUEUE_NOTIF_CONFIG_DATA, &(NOTIF_CONFIG_DATA | index).to_le_bytes());
            }
        } else {
            put(common::QUEUE_MSIX_VECTOR, &NO_VECTOR.to_le_bytes());
        }
        bytes
    }

    pub(super) fn write_common(&mut self, cx: &mut Cx<'_>, offset: u64, width: u8, value: u64) {
        let Some(field) = common::FIELDS
            .iter()
            .rev()
            .find(|field| offset >= field.offset && offset < field.offset + u64::from(field.width))
        else {
            return;
        };
        // A part of a field is merged with what the rest of it holds.
        let whole = self.common(cx);
        let mut bytes = [0; 8];
        let held = &whole[field.offset as usize..][..usize::from(field.width)];
        bytes[..held.len()].copy_from_slice(held);
        for (lane, byte) in value.to_le_bytes().into_iter().enumerate().take(usize::from(width)) {
            if let Some(at) = bytes[..held.len()].get_mut((offset - field.offset) as usize + lane) {
                *at = byte;
            }
        }
        self.set_field(cx, field.offset, u64::from_le_bytes(bytes));
        // An access that runs over into the next fields writes them too.
        let end = field.offset + u64::from(field.width);
        if offset + u64::from(width) > end {
            let done = end - offset;
            self.write_common(cx, end, width - done as u8, value >> (8 * done));
        }
    }

    fn set_field(&mut self, cx: &mut Cx<'_>, field: u64, value: u64) {
        let vectors = if self.quirks.no_vectors { 0 } else { self.vectors };
        let vector = |value: u64| {
            let vector = value as u16;
            if vector < vectors { vector } else { NO_VECTOR }
        };
        let packed = self.negotiated(feature::RING_PACKED);
        let now = cx.now();
        let free = |queue: &&mut Queue| !queue.enabled && queue.resetting_until.is_none_or(|until| until <= now);
        match field {
            common::DEVICE_FEATURE_SELECT => self.state.device_select = value as u32,
            common::DRIVER_FEATURE_SELECT => self.state.driver_select = value as u32,
            // Once they are agreed on, they stay (§2.2.1, §3.1.1).
            common::DRIVER_FEATURE if self.state.status & status::FEATURES_OK == 0 && self.state.driver_select < 4 => {
                let shift = 32 * self.state.driver_select;
                let mask = u128::from(u32::MAX) << shift;
                self.state.accepted = self.state.accepted & !mask | u128::from(value as u32) << shift;
            }
            common::CONFIG_MSIX_VECTOR => self.state.config_vector = vector(value),
            common::DEVICE_STATUS => self.set_status(cx, value as u8),
            common::QUEUE_SELECT => self.state.queue_select = value as u16,
            common::QUEUE_SIZE => {
                if let Some(queue) = self.selected().filter(free) {
                    let size = value as u16;
                    if size != 0 && size <= queue.max_size() && (packed || size.is_power_of_two()) {
                        queue.setup.size = size;
                    }
                }
            }
            common::QUEUE_MSIX_VECTOR => {
                let vector = vector(value);
                if let Some(queue) = self.selected() {
                    queue.setup.vector = vector;
                }
            }
            common::QUEUE_ENABLE if value as u16 == 1 => {
                let (live, features) = (self.is_live(), self.state.accepted);
                if let Some(queue) = self.selected().filter(free) {
                    queue.enabled = true;
                    if live {
                        queue.start(features);
                        // What is in it already would wait for a kick; looking does no harm.
                        cx.wake_in(KICK_NS);
                        self.settle(cx);
                    }
                }
            }
            common::QUEUE_DESC | common::QUEUE_DRIVER | common::QUEUE_DEVICE => {
                if let Some(queue) = self.selected().filter(free) {
                    match field {
                        common::QUEUE_DESC => queue.setup.descriptors = value,
                        common::QUEUE_DRIVER => queue.setup.driver = value,
                        _ => queue.setup.device = value,
                    }
                }
            }
            common::QUEUE_RESET if value as u16 == 1 && self.negotiated(feature::RING_RESET) => {
                let (index, slow) = (self.state.queue_select, self.quirks.slow_queue_reset);
                if let Some(queue) = self.selected() {
                    queue.reset();
                    queue.resetting_until = (slow != 0).then(|| now.saturating_add(slow));
                    if packed {
                        queue.allow_any_size();
                    }
                    self.device.reset_queue(index);
                }
            }
            // The others are read-only, or not to be written now or so: the write is lost.
            _ => {}
        }
    }

    fn set_status(&mut self, cx: &mut Cx<'_>, value: u8) {
        let before = self.state.status;
        if value == 0 {
            self.device.reset();
            self.reset_registers();
            cx.set_intx(false);
            if self.quirks.slow_reset != 0 && before != 0 {
                self.state.lingering = Some((before, cx.now().saturating_add(self.quirks.slow_reset)));
            }
            return;
        }
        if self.is_suspended() {
            return self.resume(cx, value);
        }
        let was_live = self.is_live();
        // Only the device says that it needs a reset, and only a reset takes any of them back.
        let settable = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK | status::FAILED;
        let mut added = value & settable & !before;
        if added & status::FEATURES_OK != 0 && !self.accepts() {
            added &= !status::FEATURES_OK;
        }
        self.state.status |= added;
        if added & status::FEATURES_OK != 0 && self.negotiated(feature::RING_PACKED) {
            self.queues.iter_mut().for_each(Queue::allow_any_size);
        }
        if self.is_live() && !was_live {
            let features = self.state.accepted;
            for queue in &mut self.queues {
                queue.start(features);
            }
            self.with_host(cx, |device, host| device.start(host, features));
        }
        if value & status::SUSPEND != 0 && was_live && self.negotiated(feature::SUSPEND) {
            self.with_host(cx, |device, host| device.suspend(host));
            if self.is_live() {
                self.state.status = self.state.status & !status::DRIVER_OK | status::SUSPEND;
            }
        }
    }

    /// The driver wrote status while the device rests: DRIVER_OK without SUSPEND wakes it (§3.4).
    fn resume(&mut self, cx: &mut Cx<'_>, value: u8) {
        if value & status::SUSPEND == 0 && value & status::DRIVER_OK != 0 {
            self.state.status = self.state.status & !status::SUSPEND | status::DRIVER_OK;
            // Kicks were not heard meanwhile.
            cx.wake_in(KICK_NS);
            self.settle(cx);
        }
        self.state.status |= value & status::FAILED;
    }
}
