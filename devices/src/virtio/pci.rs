//! The modern PCI transport (virtio 1.4 §4.1): registers over any [`VirtioDevice`].
//!
//! One BAR holds the structures, each on a page of its own, another the MSI-X table, and a third the shared memory regions if the
//! device has any. The life of a device: reset, negotiating (ACKNOWLEDGE, DRIVER, FEATURES_OK), set up (queues), live (DRIVER_OK),
//! perhaps resting (SUSPEND), and from anywhere broken (DEVICE_NEEDS_RESET) or given up (FAILED), until the next reset (§2.1, §3.1).

mod capabilities;
mod layout;
mod registers;
mod torn;

use bringup_core::pci::{Doorbell, Msix};
use bringup_core::{Access, Bar, Cx, Device, Function, InterruptMode, Refusal, Reply, Reset};
use bringup_spec::virtio::pci::{NO_VECTOR, isr};
use bringup_spec::virtio::{MODERN_DEVICE_BASE, TRANSITIONAL, VENDOR, device_type, feature, status};

use self::capabilities::Structures;
use self::layout::{
    BAR, BAR_SIZE, COMMON, DEVICE, ISR, MOST_QUEUES, MSIX_BAR, NOTIF_CONFIG_DATA, NOTIFY, NOTIFY_MULTIPLIER, PAGE,
    SHARED_BAR,
};
use self::registers::Registers;
use super::device::{Host, KICK_NS, Requests, SharedMemory, VirtioDevice};
use super::queue::Queue;
use super::quirks::Quirks;

const fn bit(number: u32) -> u128 {
    1 << number
}

/// The features that are the transport's and the rings' to offer: 24 to 49.
const OURS: u128 = ((1 << 26) - 1) << 24;

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
    /// Shared memory regions and where each begins in its BAR.
    shared: Vec<(SharedMemory, u64)>,
    state: Registers,
    queues: Vec<Queue>,
    requests: Requests,
}

impl std::fmt::Debug for VirtioPci {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtioPci").field("type", &self.device.device_type()).finish_non_exhaustive()
    }
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
        let mut end = 0_u64;
        let place = |region: SharedMemory| {
            let at = end;
            end = at.saturating_add(region.len).next_multiple_of(PAGE);
            (region, at)
        };
        let shared = device.shared_memory().into_iter().map(place).collect();
        let mut this = Self {
            device,
            quirks: Quirks::default(),
            offered: OFFERED,
            transitional: false,
            vectors,
            shared,
            state: Registers::default(),
            queues,
            requests: Requests::default(),
        };
        this.reset_registers();
        this
    }

    /// Offers a ring or transport feature, by its number (24 to 49), or does not. Other numbers change nothing.
    #[must_use]
    pub fn offer(mut self, number: u32, offered: bool) -> Self {
        let mask = 1_u128.checked_shl(number).unwrap_or(0) & OURS;
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

    /// Limits the size of all queues, in elements. What is no power of two counts only when packed rings are negotiated.
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
        self.device.features() & !OURS | self.offered | self.quirks.unknown_features
    }

    fn negotiated(&self, number: u32) -> bool {
        self.state.status & status::FEATURES_OK != 0 && self.state.accepted & bit(number) != 0
    }

    /// Whether the accepted features make sense (§2.2.2).
    fn accepts(&self) -> bool {
        let accepted = self.state.accepted;
        let real = self.offers() & !self.quirks.unknown_features;
        !self.quirks.refuse_features
            && accepted & !real == 0
            && accepted & bit(feature::VERSION_1) != 0
            && self.device.accepts(accepted)
    }

    fn config_len(&self) -> usize {
        (self.device.config_len() + usize::from(self.quirks.longer_config)).min(PAGE as usize)
    }

    fn notify_multiplier(&self) -> u32 {
        if self.quirks.one_notify_address { 0 } else { NOTIFY_MULTIPLIER }
    }

    // --- Work --------------------------------------------------------------------------------------------------

    /// DRIVER_OK is set and means something.
    fn is_live(&self) -> bool {
        let both = status::FEATURES_OK | status::DRIVER_OK;
        self.state.status & both == both && self.state.status & (status::DEVICE_NEEDS_RESET | status::FAILED) == 0
    }

    fn is_suspended(&self) -> bool {
        self.state.status & status::SUSPEND != 0
    }

    fn with_host(&mut self, cx: &mut Cx<'_>, act: impl FnOnce(&mut dyn VirtioDevice, &mut Host<'_, '_>)) {
        let mut host = Host { cx, queues: &mut self.queues, requests: &mut self.requests };
        act(&mut *self.device, &mut host);
        self.settle(cx);
    }

    /// Interrupts the driver for what the device did. All that it used is in memory by now, and whether the driver wants to know is
    /// asked after that.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        let Requests { config_changed, mut needs_reset } = std::mem::take(&mut self.requests);
        if config_changed {
            self.state.generation = self.state.generation.wrapping_add(1);
        }
        if self.is_suspended() {
            // It is said on resumption (§3.4.2).
            self.state.config_pending |= config_changed;
            return;
        }
        if !self.is_live() {
            return;
        }
        for index in 0..self.queues.len() {
            if self.queues[index].take_interrupt(cx) {
                let vector = self.queues[index].setup.vector;
                self.interrupt(cx, vector, isr::QUEUE);
            }
            needs_reset |= self.queues[index].is_broken();
        }
        let config_changed = config_changed | std::mem::take(&mut self.state.config_pending);
        if needs_reset {
            self.state.status |= status::DEVICE_NEEDS_RESET;
        }
        if config_changed || needs_reset {
            self.interrupt(cx, self.state.config_vector, isr::CONFIG);
        }
    }

    fn interrupt(&mut self, cx: &mut Cx<'_>, vector: u16, cause: u8) {
        let messages = cx.interrupt_mode() == InterruptMode::Msix;
        if cause == isr::CONFIG || !messages {
            // Configuration changes show in the register in either case (§4.1.4.5.1).
            self.state.isr |= cause;
        }
        if !messages {
            cx.set_intx(true);
        } else if vector != NO_VECTOR {
            cx.send_message(vector);
        }
    }

    fn kick(&mut self, cx: &mut Cx<'_>, offset: u64, value: u64) {
        let index = match offset.checked_div(u64::from(self.notify_multiplier())) {
            Some(index) => index as u16,
            None if self.negotiated(feature::NOTIF_CONFIG_DATA) => value as u16 & !NOTIF_CONFIG_DATA,
            None => value as u16,
        };
        if !self.is_live() || usize::from(index) >= self.queues.len() {
            return;
        }
        self.state.kicks = self.state.kicks.wrapping_add(1);
        if self.state.kicks == self.quirks.needs_reset_after {
            self.requests.needs_reset = true;
            return self.settle(cx);
        }
        if self.quirks.spurious_every != 0 && self.state.kicks.is_multiple_of(self.quirks.spurious_every) {
            let vector = self.queues[usize::from(index)].setup.vector;
            self.interrupt(cx, vector, isr::QUEUE);
            self.interrupt(cx, self.state.config_vector, isr::CONFIG);
        }
        if self.queues[usize::from(index)].is_live() {
            self.with_host(cx, |device, host| device.kick(host, index));
        }
    }

    // --- Shared memory -----------------------------------------------------------------------------------------

    /// Which region an access is inside of, and where in it.
    fn shared_at(&self, offset: u64, width: u8) -> Option<(u8, u64)> {
        self.shared.iter().find_map(|(region, at)| {
            let inside = offset.checked_sub(*at)?;
            (inside.checked_add(u64::from(width))? <= region.len).then_some((region.id, inside))
        })
    }

    fn read_shared(&mut self, at: Access) -> u64 {
        let mut bytes = [0; 8];
        if let (Some((id, offset)), Some(into)) =
            (self.shared_at(at.offset, at.width), bytes.get_mut(..usize::from(at.width)))
        {
            self.device.read_shared(id, offset, into);
        }
        u64::from_le_bytes(bytes)
    }

    fn write_shared(&mut self, at: Access, value: u64) {
        let bytes = value.to_le_bytes();
        if let (Some((id, offset)), Some(from)) =
            (self.shared_at(at.offset, at.width), bytes.get(..usize::from(at.width)))
        {
            self.device.write_shared(id, offset, from);
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
        let structures = Structures {
            config_len: self.config_len(),
            queues: self.queues.len(),
            multiplier: self.notify_multiplier(),
            shared: &self.shared,
            quirks: &self.quirks,
        };
        for capability in structures.capabilities() {
            function = function.capability(capability);
        }
        for index in 0..self.queues.len() as u16 {
            // Without NOTIFICATION_DATA a kick is the queue's number, of 16 bits (§4.1.5.2).
            let offset = NOTIFY + u64::from(index) * u64::from(self.notify_multiplier());
            function = function.doorbell(Doorbell { bar: BAR, offset, width: 2, value: index.into() });
        }
        if let Some((last, at)) = self.shared.last() {
            let size = at.saturating_add(last.len).max(PAGE).checked_next_power_of_two().unwrap_or(1 << 63);
            function = function.bar(Bar::memory64(SHARED_BAR, size).prefetchable());
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
        if at.bar == SHARED_BAR {
            return Ok(self.read_shared(at));
        }
        if at.width == 8 {
            let low = self.read(cx, Access { width: 4, ..at })?;
            let high = self.read(cx, Access { offset: at.offset + 4, width: 4, ..at })?;
            return Ok(low | high << 32);
        }
        let Access { bar: BAR, offset, width: 1 | 2 | 4 } = at else { return Err(Refusal::Width) };
        let (page, offset) = (offset & !(PAGE - 1), offset & (PAGE - 1));
        match page {
            COMMON => Ok(self.read_common(cx, offset, at.width)),
            ISR if offset == 0 => {
                cx.set_intx(false);
                Ok(u64::from(std::mem::take(&mut self.state.isr)))
            }
            DEVICE => Ok(self.read_config(cx, offset, at.width)),
            // Nothing is to be read from the notification area.
            _ => Ok(0),
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if at.bar == SHARED_BAR {
            self.write_shared(at, value);
            return Ok(());
        }
        if at.width == 8 {
            // A driver is to write halves (§4.1.3.1), and a monitor says so; a bus between may well do it for the driver.
            self.write(cx, Access { width: 4, ..at }, value & 0xffff_ffff)?;
            return self.write(cx, Access { offset: at.offset + 4, width: 4, ..at }, value >> 32);
        }
        let Access { bar: BAR, offset, width: 1 | 2 | 4 } = at else { return Err(Refusal::Width) };
        let (page, offset) = (offset & !(PAGE - 1), offset & (PAGE - 1));
        match page {
            COMMON if !self.is_being_reset(cx) => self.write_common(cx, offset, at.width, value),
            // A device that rests takes no changes (§3.4.2).
            DEVICE if !self.is_suspended() && !self.is_being_reset(cx) => {
                let len = self.device.config_len() as u64;
                if offset + u64::from(at.width) <= len {
                    let bytes = value.to_le_bytes();
                    let from = bytes.get(..usize::from(at.width)).unwrap_or_default();
                    self.with_host(cx, |device, host| device.write_config(host, offset as usize, from));
                }
            }
            NOTIFY => self.kick(cx, offset, value),
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
            cx.wake_in(KICK_NS);
        }
        self.settle(cx);
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {
        self.device.reset();
        self.reset_registers();
    }
}
