//! The modern PCI transport (virtio 1.4 §4.1): registers over any [`VirtioDevice`].
//!
//! One BAR holds the structures, each on a page of its own, and another the MSI-X table. The life of a device: reset, negotiating
//! (ACKNOWLEDGE, DRIVER, FEATURES_OK), set up (queues), live (DRIVER_OK), and from anywhere broken (DEVICE_NEEDS_RESET) or given up
//! (FAILED), until the next reset (§2.1, §3.1).

use bringup_core::pci::{Capability, ConfigWindow, Msix};
use bringup_core::{Access, Bar, Cx, Device, Function, InterruptMode, Refusal, Reply, Reset};
use bringup_spec::virtio::pci::{NO_VECTOR, cap, cfg_type, common, isr};
use bringup_spec::virtio::{MODERN_DEVICE_BASE, TRANSITIONAL, VENDOR, device_type, feature, ring, status};

use super::device::{Host, Requests, VirtioDevice};
use super::queue::Queue;
use super::quirks::Quirks;

/// The BAR that holds the structures.
const BAR: u8 = 4;
/// The BAR that holds the MSI-X table and pending bits.
const MSIX_BAR: u8 = 1;
/// Where the structures begin in the BAR, a page each.
const COMMON: u64 = 0x0000;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const PAGE: u64 = 0x1000;
const BAR_SIZE: u64 = 0x4000;
/// What a queue's `queue_notify_off` is multiplied by.
const NOTIFY_MULTIPLIER: u32 = 4;
/// The most queues there is room for to notify.
const MOST_QUEUES: usize = 1024;
/// With NOTIF_CONFIG_DATA a kick carries this plus the queue's number.
const NOTIF_CONFIG_DATA: u16 = 0x4000;

const fn bit(number: u32) -> u128 {
    1 << number
}

/// Ring and transport features that are offered if nothing else is said.
const OFFERED: u128 = bit(feature::VERSION_1)
    | bit(feature::ACCESS_PLATFORM)
    | bit(feature::INDIRECT_DESC)
    | bit(feature::EVENT_IDX)
    | bit(feature::RING_RESET);

/// A virtio device behind the modern PCI transport.
pub struct VirtioPci {
    device: Box<dyn VirtioDevice>,
    quirks: Quirks,
    /// Ring and transport features that are offered.
    offered: u128,
    transitional: bool,
    vectors: u16,
    state: Registers,
    queues: Vec<Queue>,
    requests: Requests,
}

impl std::fmt::Debug for VirtioPci {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtioPci").field("type", &self.device.device_type()).finish_non_exhaustive()
    }
}

/// What the driver's registers hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Registers {
    device_select: u32,
    driver_select: u32,
    accepted: u128,
    config_vector: u16,
    status: u8,
    generation: u8,
    /// The driver saw the generation as it is.
    generation_seen: bool,
    queue_select: u16,
    isr: u8,
    /// Kicks, for quirks.
    kicks: u32,
    /// Changes that a quirk still has in store.
    changes: u32,
}

impl VirtioPci {
    /// The device behind a transport that offers VERSION_1, ACCESS_PLATFORM, INDIRECT_DESC, EVENT_IDX and RING_RESET, with an
    /// MSI-X vector for each queue and one for configuration changes.
    #[must_use]
    pub fn new(device: impl VirtioDevice + 'static) -> Self {
        Self::from_box(Box::new(device))
    }

    /// As [`new`](Self::new), for a device whose type is not known here.
    #[must_use]
    pub fn from_box(device: Box<dyn VirtioDevice>) -> Self {
        let queues: Vec<Queue> = device.queues().into_iter().take(MOST_QUEUES).map(Queue::new).collect();
        let vectors = (queues.len() as u16 + 1).min(2048);
        let quirks = Quirks::default();
        let mut this = Self {
            device,
            quirks,
            offered: OFFERED,
            transitional: false,
            vectors,
            state: Registers::default(),
            queues,
            requests: Requests::default(),
        };
        this.reset_registers();
        this
    }

    /// Offers a ring or transport feature, by its number, or does not.
    #[must_use]
    pub fn offer(mut self, number: u32, offered: bool) -> Self {
        let mask = 1_u128.checked_shl(number).unwrap_or(0);
        self.offered = if offered { self.offered | mask } else { self.offered & !mask };
        self
    }

    /// How many MSI-X vectors it has, up to 2048; with 0 it has only its pin.
    #[must_use]
    pub fn msix_vectors(mut self, vectors: u16) -> Self {
        self.vectors = vectors.min(2048);
        self
    }

    /// Gives it the transitional PCI id of its type, if the type has one (§4.1.2.1). There is no legacy interface behind it.
    #[must_use]
    pub fn transitional(mut self, transitional: bool) -> Self {
        self.transitional = transitional;
        self
    }

    /// Limits the size of all queues, in elements.
    #[must_use]
    pub fn queue_size(mut self, most: u16) -> Self {
        let sizes = self.device.queues();
        self.queues = sizes.into_iter().take(MOST_QUEUES).map(|size| Queue::new(size.min(most.max(1)))).collect();
        self
    }

    /// Makes it odd.
    #[must_use]
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self.reset_registers();
        self
    }

    fn offers(&self) -> u128 {
        // What the type offers beyond its own range would collide with rings and transport.
        let ours = self.device.features() & !(((1 << 26) - 1) << 24);
        ours | self.offered | self.quirks.unknown_features
    }

    fn negotiated(&self, number: u32) -> bool {
        self.state.status & status::FEATURES_OK != 0 && self.state.accepted & bit(number) != 0
    }

    fn reset_registers(&mut self) {
        self.state = Registers {
            config_vector: NO_VECTOR,
            changes: self.quirks.config_changes,
            generation: self.state.generation,
            ..Registers::default()
        };
        self.requests = Requests::default();
        for queue in &mut self.queues {
            queue.reset();
        }
    }

    fn config_len(&self) -> usize {
        (self.device.config_len() + usize::from(self.quirks.longer_config)).min(PAGE as usize)
    }

    // --- Capabilities ------------------------------------------------------------------------------------------

    fn structure(&self, kind: u8, at: u64, len: u64, more: &[u8]) -> Capability {
        let len = if self.quirks.huge_lengths { BAR_SIZE - at } else { len };
        let mut body = vec![0, kind, BAR, 0, 0, 0];
        body.extend_from_slice(&(at as u32).to_le_bytes());
        body.extend_from_slice(&(len as u32).to_le_bytes());
        body.extend_from_slice(more);
        body.extend(std::iter::repeat_n(0, usize::from(self.quirks.longer_capabilities.min(8) & !3)));
        Self::capability(body)
    }

    /// A vendor-specific capability; the first byte of its body is its length.
    fn capability(mut body: Vec<u8>) -> Capability {
        body[0] = (body.len() + 2) as u8;
        let writable = vec![0; body.len()];
        Capability { id: bringup_spec::virtio::pci::CAP_VENDOR, body, writable, window: None }
    }

    fn capabilities(&self) -> Vec<Capability> {
        let mut all = Vec::new();
        if self.quirks.unknown_capability {
            all.push(Self::capability(vec![0, 0x80, BAR, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        }
        if self.quirks.reserved_bar {
            all.push(Self::capability(vec![0, cfg_type::COMMON, 6, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0]));
        }
        if self.quirks.vendor_capability {
            all.push(Self::capability(vec![0, cfg_type::VENDOR, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
        }
        all.push(self.structure(cfg_type::COMMON, COMMON, common::LEN_1_4, &[]));
        all.push(self.structure(cfg_type::ISR, ISR, 1, &[]));
        if self.config_len() != 0 {
            all.push(self.structure(cfg_type::DEVICE, DEVICE, self.config_len().next_multiple_of(4) as u64, &[]));
        }
        let notify_len = u64::from(NOTIFY_MULTIPLIER) * self.queues.len().max(1) as u64;
        all.push(self.structure(cfg_type::NOTIFY, NOTIFY, notify_len, &NOTIFY_MULTIPLIER.to_le_bytes()));
        all.push(Self::window());
        all
    }

    /// The window of configuration space to the BARs (§4.1.4.9): BAR, offset and length are the driver's to write.
    fn window() -> Capability {
        let mut capability = Self::capability(vec![0; usize::from(cap::PCI_CFG_SIZE) - 2]);
        capability.body[1] = cfg_type::PCI;
        capability.writable[usize::from(cap::BAR) - 2] = 0xff;
        capability.writable[usize::from(cap::OFFSET) - 2..].fill(0xff);
        capability.window =
            Some(ConfigWindow { bar: cap::BAR, offset: cap::OFFSET, length: cap::LENGTH, data: cap::PCI_CFG_DATA });
        capability
    }

    // --- Registers ---------------------------------------------------------------------------------------------

    fn selected(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(self.state.queue_select))
    }

    /// The common configuration structure as bytes.
    fn common(&mut self) -> [u8; common::LEN_1_4 as usize] {
        let mut bytes = [0; common::LEN_1_4 as usize];
        let mut put = |at: u64, value: &[u8]| bytes[at as usize..][..value.len()].copy_from_slice(value);
        let window = |features: u128, select: u32| match select {
            0..=3 => (features >> (32 * select)) as u32,
            _ => 0,
        };
        let (state, offers) = (&self.state, self.offers());
        put(common::DEVICE_FEATURE_SELECT, &state.device_select.to_le_bytes());
        put(common::DEVICE_FEATURE, &window(offers, state.device_select).to_le_bytes());
        put(common::DRIVER_FEATURE_SELECT, &state.driver_select.to_le_bytes());
        put(common::DRIVER_FEATURE, &window(state.accepted, state.driver_select).to_le_bytes());
        put(common::CONFIG_MSIX_VECTOR, &state.config_vector.to_le_bytes());
        put(common::NUM_QUEUES, &(self.queues.len() as u16).to_le_bytes());
        put(common::DEVICE_STATUS, &[state.status]);
        put(common::CONFIG_GENERATION, &[state.generation]);
        put(common::QUEUE_SELECT, &state.queue_select.to_le_bytes());
        let index = state.queue_select;
        if let Some(queue) = self.queues.get(usize::from(index)) {
            let setup = &queue.setup;
            put(common::QUEUE_SIZE, &setup.size.to_le_bytes());
            put(common::QUEUE_MSIX_VECTOR, &setup.vector.to_le_bytes());
            put(common::QUEUE_ENABLE, &u16::from(queue.enabled).to_le_bytes());
            put(common::QUEUE_NOTIFY_OFF, &index.to_le_bytes());
            put(common::QUEUE_DESC, &setup.descriptors.to_le_bytes());
            put(common::QUEUE_DRIVER, &setup.driver.to_le_bytes());
            put(common::QUEUE_DEVICE, &setup.device.to_le_bytes());
            if offers & bit(feature::NOTIF_CONFIG_DATA) != 0 {
                put(common::QUEUE_NOTIF_CONFIG_DATA, &(NOTIF_CONFIG_DATA | index).to_le_bytes());
            }
        } else {
            put(common::QUEUE_MSIX_VECTOR, &NO_VECTOR.to_le_bytes());
        }
        bytes
    }

    fn read_config(&mut self, offset: u64, width: u8) -> u64 {
        let mut bytes = [0; 8];
        let into = &mut bytes[..usize::from(width)];
        if (offset as usize) < self.device.config_len() {
            self.device.read_config(offset as usize, into);
        }
        if self.state.changes > 0 && offset > 0 {
            // The driver comes back for more: what it reads now belongs to another version than what it read before.
            self.state.changes -= 1;
            self.state.generation = self.state.generation.wrapping_add(1);
            into.iter_mut().for_each(|byte| *byte = !*byte);
        }
        u64::from_le_bytes(bytes)
    }

    fn write_common(&mut self, cx: &mut Cx<'_>, offset: u64, width: u8, value: u64) {
        let Some(field) = common::FIELDS
            .iter()
            .rev()
            .find(|field| offset >= field.offset && offset < field.offset + u64::from(field.width))
        else {
            return;
        };
        // A part of a field is merged with what the rest of it holds.
        let whole = self.common();
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
        let vectors = self.vectors;
        let vector = |value: u64| {
            let vector = value as u16;
            if vector < vectors { vector } else { NO_VECTOR }
        };
        let packed = self.negotiated(feature::RING_PACKED);
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
                if let Some(queue) = self.selected().filter(|queue| !queue.enabled) {
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
            common::QUEUE_ENABLE if value as u16 == 1 => self.enable_queue(),
            common::QUEUE_DESC | common::QUEUE_DRIVER | common::QUEUE_DEVICE => {
                if let Some(queue) = self.selected().filter(|queue| !queue.enabled) {
                    match field {
                        common::QUEUE_DESC => queue.setup.descriptors = value,
                        common::QUEUE_DRIVER => queue.setup.driver = value,
                        _ => queue.setup.device = value,
                    }
                }
            }
            common::QUEUE_RESET if value as u16 == 1 && self.negotiated(feature::RING_RESET) => {
                let index = self.state.queue_select;
                if let Some(queue) = self.selected() {
                    queue.reset();
                    self.device.reset_queue(index);
                }
            }
            // The others are read-only, or not to be written now or so: the write is lost.
            _ => {}
        }
    }

    fn enable_queue(&mut self) {
        let (live, features) = (self.is_live(), self.state.accepted);
        if let Some(queue) = self.selected() {
            queue.enabled = true;
            if live {
                queue.start(features);
                self.requests.needs_reset |= queue.is_broken();
            }
        }
    }

    /// DRIVER_OK is set and means something.
    fn is_live(&self) -> bool {
        let both = status::FEATURES_OK | status::DRIVER_OK;
        self.state.status & both == both && self.state.status & (status::DEVICE_NEEDS_RESET | status::FAILED) == 0
    }

    fn set_status(&mut self, cx: &mut Cx<'_>, value: u8) {
        if value == 0 {
            self.device.reset();
            self.reset_registers();
            cx.set_intx(false);
            return;
        }
        let before = self.state.status;
        // Only the device says that it needs a reset, and only a reset takes it back.
        let kept = before & status::DEVICE_NEEDS_RESET;
        let mut now = value & !status::DEVICE_NEEDS_RESET | kept;
        if now & !before & status::FEATURES_OK != 0 && !self.accepts() {
            now &= !status::FEATURES_OK;
        }
        self.state.status = now;
        if now & !before & status::DRIVER_OK != 0 && self.is_live() {
            let features = self.state.accepted;
            for queue in &mut self.queues {
                queue.start(features);
                self.requests.needs_reset |= queue.is_broken();
            }
            self.with_host(cx, |device, host| device.start(host, features));
        }
    }

    /// Whether the accepted features make sense (§2.2.2).
    fn accepts(&self) -> bool {
        let accepted = self.state.accepted;
        let real = self.offers() & !self.quirks.unknown_features;
        accepted & !real == 0 && accepted & bit(feature::VERSION_1) != 0 && self.device.accepts(accepted)
    }

    // --- Work --------------------------------------------------------------------------------------------------

    fn with_host(&mut self, cx: &mut Cx<'_>, act: impl FnOnce(&mut dyn VirtioDevice, &mut Host<'_, '_>)) {
        let mut host = Host { cx, queues: &mut self.queues, requests: &mut self.requests };
        act(&mut *self.device, &mut host);
        self.settle(cx);
    }

    /// Interrupts the driver for what the device did.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if !self.is_live() {
            self.requests = Requests::default();
            return;
        }
        for index in 0..self.queues.len() {
            if self.queues[index].take_interrupt(cx) {
                let vector = self.queues[index].setup.vector;
                self.interrupt(cx, vector, isr::QUEUE);
            }
            self.requests.needs_reset |= self.queues[index].is_broken();
        }
        let Requests { config_changed, needs_reset } = std::mem::take(&mut self.requests);
        if needs_reset {
            self.state.status |= status::DEVICE_NEEDS_RESET;
        }
        if config_changed {
            self.state.generation = self.state.generation.wrapping_add(1);
        }
        if config_changed || needs_reset {
            self.interrupt(cx, self.state.config_vector, isr::CONFIG);
        }
    }

    fn interrupt(&mut self, cx: &mut Cx<'_>, vector: u16, cause: u8) {
        if cx.interrupt_mode() == InterruptMode::Msix {
            if vector != NO_VECTOR {
                cx.send_message(vector);
            }
        } else {
            self.state.isr |= cause;
            cx.set_intx(true);
        }
    }

    fn kick(&mut self, cx: &mut Cx<'_>, index: u16) {
        if !self.is_live() || usize::from(index) >= self.queues.len() {
            return;
        }
        self.state.kicks = self.state.kicks.wrapping_add(1);
        if self.quirks.spurious_every != 0 && self.state.kicks.is_multiple_of(self.quirks.spurious_every) {
            let vector = self.queues[usize::from(index)].setup.vector;
            self.interrupt(cx, vector, isr::QUEUE);
            self.interrupt(cx, self.state.config_vector, isr::CONFIG);
        }
        if self.queues[usize::from(index)].is_live() {
            self.with_host(cx, |device, host| device.kick(host, index));
        }
    }
}

impl Device for VirtioPci {
    fn function(&self) -> Function {
        let kind = self.device.device_type();
        let class = match kind {
            device_type::NETWORK => 0x02_0000,
            device_type::BLOCK => 0x01_0000,
            device_type::CONSOLE => 0x07_8000,
            _ => 0x00_ff00,
        };
        let old = TRANSITIONAL.iter().find(|(_, of)| *of == kind && self.transitional);
        let (id, revision, subsystem) = match old {
            Some((id, _)) => (*id, 0, kind),
            None => (MODERN_DEVICE_BASE + kind, 1, 0x1100),
        };
        let mut function = Function::new(VENDOR, id)
            .class(class)
            .revision(self.quirks.revision.unwrap_or(revision))
            .subsystem(VENDOR, subsystem)
            .intx()
            .bar(Bar::memory64(BAR, BAR_SIZE).prefetchable());
        for capability in self.capabilities() {
            function = function.capability(capability);
        }
        if self.vectors != 0 {
            let table = (u64::from(self.vectors) * 16).next_multiple_of(2048);
            let size = (table + 256).next_power_of_two().max(PAGE);
            function = function.bar(Bar::memory32(MSIX_BAR, size)).msix(Msix {
                vectors: self.vectors,
                table: (MSIX_BAR, 0),
                pending: (MSIX_BAR, table as u32),
            });
        }
        function
    }

    fn read(&mut self, cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        let Access { bar: BAR, offset, width: 1 | 2 | 4 } = at else { return Err(Refusal::Width) };
        let (page, offset) = (offset & !(PAGE - 1), offset & (PAGE - 1));
        let width = at.width;
        match page {
            COMMON => {
                let bytes = self.common();
                let mut value = [0; 8];
                for (to, from) in value.iter_mut().zip(bytes.iter().skip(offset as usize)).take(usize::from(width)) {
                    *to = *from;
                }
                Ok(u64::from_le_bytes(value))
            }
            ISR => {
                if offset != 0 {
                    return Ok(0);
                }
                cx.set_intx(false);
                Ok(u64::from(std::mem::take(&mut self.state.isr)))
            }
            DEVICE => Ok(self.read_config(offset, width)),
            // Nothing is to be read from the notification area.
            _ => Ok(0),
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        let Access { bar: BAR, offset, width: 1 | 2 | 4 } = at else { return Err(Refusal::Width) };
        let (page, offset) = (offset & !(PAGE - 1), offset & (PAGE - 1));
        match page {
            COMMON => self.write_common(cx, offset, at.width, value),
            DEVICE => {
                let len = self.device.config_len() as u64;
                if offset + u64::from(at.width) <= len {
                    let bytes = value.to_le_bytes();
                    let from = bytes.get(..usize::from(at.width)).unwrap_or_default();
                    self.with_host(cx, |device, host| device.write_config(host, offset as usize, from));
                }
            }
            NOTIFY => self.kick(cx, (offset / u64::from(NOTIFY_MULTIPLIER)) as u16),
            // The ISR status is read-only.
            _ => {}
        }
        Ok(())
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        if !self.is_live() {
            return;
        }
        for queue in &mut self.queues {
            queue.quiet(cx);
        }
        let mut host = Host { cx, queues: &mut self.queues, requests: &mut self.requests };
        self.device.work(&mut host);
        let mut more = false;
        for queue in &mut self.queues {
            more |= queue.listen(cx);
        }
        if more {
            cx.wake_in(super::device::KICK_NS);
        }
        self.settle(cx);
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        self.device.reset();
        self.reset_registers();
    }
}

const _: () = assert!(ring::MAX_SIZE == 32768 && NOTIFY + MOST_QUEUES as u64 * NOTIFY_MULTIPLIER as u64 <= BAR_SIZE);
