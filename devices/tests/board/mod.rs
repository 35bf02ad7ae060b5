//! A machine with one device on its bus, for the tests of device models.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "each test program includes it as a private module")]

use bringup_core::dma::{Direction, MappingKind, NewMapping};
use bringup_core::pci::{command, offset};
use bringup_core::{Bus, BusConfig, Device, DeviceId, Message, Nanos, Ram};
use vm_memory::{Bytes, GuestAddress};

/// A quiet bus with one device, its decoding and bus mastering on.
pub struct Board {
    pub bus: Bus,
    pub device: DeviceId,
}

/// Memory that a board's device can reach.
#[derive(Clone, Copy)]
pub struct Window {
    pub iova: u64,
    pub len: u64,
    at: GuestAddress,
}

impl Window {
    /// The window from `offset` on.
    pub fn part(self, offset: u64) -> Self {
        Self { iova: self.iova + offset, len: self.len - offset, at: GuestAddress(self.at.0 + offset) }
    }
}

impl Window {
    /// The first `len` bytes of the window.
    pub fn first(self, len: u64) -> Self {
        Self { len, ..self }
    }
}

impl Board {
    pub fn new(device: impl Device + 'static) -> Self {
        Self::new_boxed(Box::new(device))
    }

    pub fn new_boxed(device: Box<dyn Device>) -> Self {
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(8 << 20).unwrap()));
        let device = bus.plug("dut", device).unwrap();
        let all = command::IO | command::MEMORY | command::BUS_MASTER;
        bus.config_write(device, offset::COMMAND, 2, all.into());
        Self { bus, device }
    }

    pub fn read(&mut self, bar: u8, offset: u64, width: u8) -> u64 {
        self.bus.bar_read(self.device, bar, offset, width, None)
    }

    pub fn write(&mut self, bar: u8, offset: u64, width: u8, value: u64) {
        self.bus.bar_write(self.device, bar, offset, width, value, None);
    }

    /// Lets time pass, and the device work whenever its moment comes.
    pub fn step(&mut self, span: Nanos) {
        let end = self.bus.fabric.now() + span;
        loop {
            while let Some(due) = self.bus.due_device() {
                self.bus.work(due);
            }
            let now = self.bus.fabric.now();
            let next = self.bus.next_event().unwrap_or(end).min(end);
            self.bus.fabric.advance(next.saturating_sub(now));
            if next >= end && self.bus.due_device().is_none() {
                return;
            }
        }
    }

    /// Maps fresh, dirty memory for the device.
    pub fn map(&mut self, len: u64, mask: u64, direction: Direction) -> Window {
        let at = self.bus.fabric.ram.alloc(len, bringup_core::dma::DIRTY).unwrap();
        let (kind, place) = (MappingKind::Coherent, None);
        let wanted = NewMapping { physical: at, len, mask, direction, kind, place, at: self.bus.fabric.now() };
        let iova = self.bus.port(self.device).io_space().map(&wanted).unwrap();
        Window { iova, len, at }
    }

    pub fn fill(&mut self, window: Window, bytes: &[u8]) {
        self.bus.fabric.ram.memory().write_slice(bytes, window.at).unwrap();
    }

    pub fn bytes(&self, window: Window) -> Vec<u8> {
        let mut bytes = vec![0; window.len as usize];
        self.bus.fabric.ram.memory().read_slice(&mut bytes, window.at).unwrap();
        bytes
    }

    /// Points the device's MSI at an address and turns it on or off.
    pub fn set_msi(&mut self, address: u32, data: u16, on: bool) {
        let at = self.bus.port(self.device).config().msi_offset().unwrap();
        self.bus.config_write(self.device, at + 4, 4, address);
        self.bus.config_write(self.device, at + 8, 4, 0);
        self.bus.config_write(self.device, at + 12, 2, data.into());
        self.bus.config_write(self.device, at + 2, 2, on.into());
    }

    pub fn messages(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.bus.take_message()).collect()
    }

    /// The rules that were broken since the last time this was asked.
    pub fn broken_rules(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.bus.fabric.findings).into_iter().map(|finding| finding.rule.id).collect()
    }
}
