//! A driver by hand: it finds a virtio function's structures, sets it up and fills its rings, in either layout, byte by byte. It shares
//! numbers with the device and nothing else.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "each test program includes it as a private module")]

use std::collections::BTreeMap;

use bringup_core::dma::Direction;
use bringup_core::pci::offset;
use bringup_devices::virtio::VirtioPci;
use bringup_spec::virtio::pci::{CAP_VENDOR, cap, cfg_type, common};
use bringup_spec::virtio::{feature, ring, status};

use crate::board::{Board, Window};

pub const VERSION_1: u128 = 1 << feature::VERSION_1;
pub const PACKED: u128 = 1 << feature::RING_PACKED;
pub const EVENT_IDX: u128 = 1 << feature::EVENT_IDX;
pub const INDIRECT: u128 = 1 << feature::INDIRECT_DESC;
pub const IN_ORDER: u128 = 1 << feature::IN_ORDER;
pub const RING_RESET: u128 = 1 << feature::RING_RESET;
pub const SUSPEND: u128 = 1 << feature::SUSPEND;

/// What a driver negotiates if nothing else is said.
pub const BASIC: u128 = VERSION_1 | 1 << feature::ACCESS_PLATFORM;

/// A part of a BAR that a capability points to.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub bar: u8,
    pub offset: u64,
    pub len: u64,
    pub multiplier: u32,
}

/// A virtio function and the driver's hand on it.
pub struct Rig {
    pub board: Board,
    pub features: u128,
    common: Part,
    notify: Part,
    isr: Part,
    config: Option<Part>,
}

/// A buffer for a chain.
#[derive(Clone, Copy)]
pub struct Buffer {
    pub window: Window,
    pub writable: bool,
}

impl Rig {
    pub fn new(device: VirtioPci) -> Self {
        let mut board = Board::new(device);
        let mut part = |kind: u8| Self::parts(&mut board, kind).first().copied();
        let (common, notify, isr) = (part(cfg_type::COMMON), part(cfg_type::NOTIFY), part(cfg_type::ISR));
        let config = part(cfg_type::DEVICE);
        Self { board, features: 0, common: common.unwrap(), notify: notify.unwrap(), isr: isr.unwrap(), config }
    }

    /// The capabilities of a kind whose BAR exists.
    pub fn parts(board: &mut Board, kind: u8) -> Vec<Part> {
        let (bus, device) = (&mut board.bus, board.device);
        let mut at = bus.config_read(device, offset::CAPABILITIES, 1) as u16;
        let mut found = Vec::new();
        while at != 0 {
            let mut byte = |field: u8| bus.config_read(device, at + u16::from(field), 1) as u8;
            let matches = byte(0) == CAP_VENDOR && byte(cap::CFG_TYPE) == kind && byte(cap::BAR) <= 5;
            let bar = byte(cap::BAR);
            let next = byte(1);
            if matches {
                let offset = bus.config_read(device, at + u16::from(cap::OFFSET), 4).into();
                let len = bus.config_read(device, at + u16::from(cap::LENGTH), 4).into();
                let multiplier = bus.config_read(device, at + u16::from(cap::NOTIFY_OFF_MULTIPLIER), 4);
                found.push(Part { bar, offset, len, multiplier });
            }
            at = next.into();
        }
        found
    }

    // --- Registers ---------------------------------------------------------------------------------------------

    pub fn get(&mut self, register: u64, width: u8) -> u64 {
        self.board.read(self.common.bar, self.common.offset + register, width)
    }

    pub fn set(&mut self, register: u64, width: u8, value: u64) {
        self.board.write(self.common.bar, self.common.offset + register, width, value);
    }

    pub fn status(&mut self) -> u8 {
        self.get(common::DEVICE_STATUS, 1) as u8
    }

    pub fn set_status(&mut self, value: u8) {
        self.set(common::DEVICE_STATUS, 1, value.into());
    }

    pub fn isr(&mut self) -> u8 {
        self.board.read(self.isr.bar, self.isr.offset, 1) as u8
    }

    pub fn generation(&mut self) -> u8 {
        self.get(common::CONFIG_GENERATION, 1) as u8
    }

    pub fn config(&mut self, offset: u32, width: u8) -> u64 {
        let part = self.config.unwrap();
        self.board.read(part.bar, part.offset + u64::from(offset), width)
    }

    pub fn set_config(&mut self, offset: u32, width: u8, value: u64) {
        let part = self.config.unwrap();
        self.board.write(part.bar, part.offset + u64::from(offset), width, value);
    }

    pub fn offered(&mut self) -> u128 {
        (0..4).fold(0, |all, window| {
            self.set(common::DEVICE_FEATURE_SELECT, 4, window);
            all | u128::from(self.get(common::DEVICE_FEATURE, 4)) << (32 * window)
        })
    }

    /// Resets the device and negotiates; whether FEATURES_OK stays.
    pub fn negotiate(&mut self, features: u128) -> bool {
        self.set_status(0);
        assert_eq!(self.status(), 0);
        let mut value = status::ACKNOWLEDGE | status::DRIVER;
        self.set_status(value);
        for window in 0..4_u64 {
            self.set(common::DRIVER_FEATURE_SELECT, 4, window);
            self.set(common::DRIVER_FEATURE, 4, u64::from((features >> (32 * window)) as u32));
        }
        value |= status::FEATURES_OK;
        self.set_status(value);
        self.features = features;
        self.status() & status::FEATURES_OK != 0
    }

    pub fn driver_ok(&mut self) {
        let value = self.status() | status::DRIVER_OK;
        self.set_status(value);
    }

    /// Gives each queue the vector of its number plus one, and configuration changes vector 0.
    pub fn enable_msix(&mut self) {
        let at = self.board.bus.port(self.board.device).config().msix_offset().unwrap();
        let (bus, device) = (&mut self.board.bus, self.board.device);
        let vectors = (bus.config_read(device, at + 2, 2) & 0x7ff) + 1;
        let table = bus.config_read(device, at + 4, 4);
        for vector in 0..vectors {
            let entry = u64::from(table & !7) + 16 * u64::from(vector);
            for (field, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x40 + vector), (12, 0)] {
                bus.bar_write(device, (table & 7) as u8, entry + field, 4, value.into(), None);
            }
        }
        bus.config_write(device, at + 2, 2, 0x8000);
        self.set(common::CONFIG_MSIX_VECTOR, 2, 0);
    }

    // --- Queues ------------------------------------------------------------------------------------------------

    /// Sets up a queue with `size` elements.
    pub fn queue(&mut self, index: u16, size: u16) -> Ring {
        let packed = self.features & PACKED != 0;
        let n = u64::from(size);
        let (desc, driver, device) = (16 * n, if packed { 4 } else { 6 + 2 * n }, if packed { 4 } else { 6 + 8 * n });
        let map = |board: &mut Board, len| {
            let window = board.map(len, u64::MAX, Direction::Bidirectional);
            board.fill(window, &vec![0; len as usize]);
            window
        };
        let ring = Ring {
            index,
            size,
            packed,
            desc: map(&mut self.board, desc),
            driver: map(&mut self.board, driver),
            device: map(&mut self.board, device),
            free: (0..size).rev().collect(),
            chains: BTreeMap::new(),
            avail: 0,
            avail_wrap: true,
            used: 0,
            used_wrap: true,
        };
        self.set(common::QUEUE_SELECT, 2, index.into());
        self.set(common::QUEUE_SIZE, 2, size.into());
        assert_eq!(self.get(common::QUEUE_SIZE, 2), u64::from(size));
        self.set(common::QUEUE_MSIX_VECTOR, 2, u64::from(index) + 1);
        for (register, window) in
            [(common::QUEUE_DESC, ring.desc), (common::QUEUE_DRIVER, ring.driver), (common::QUEUE_DEVICE, ring.device)]
        {
            self.set(register, 4, window.iova & 0xffff_ffff);
            self.set(register + 4, 4, window.iova >> 32);
        }
        self.set(common::QUEUE_ENABLE, 2, 1);
        ring
    }

    /// Tells the device of a queue, as the negotiated features have it.
    pub fn kick(&mut self, ring: &Ring) {
        self.set(common::QUEUE_SELECT, 2, ring.index.into());
        let place = self.get(common::QUEUE_NOTIFY_OFF, 2) * u64::from(self.notify.multiplier);
        let has = |bit: u32| self.features >> bit & 1 != 0;
        let (data, named) = (has(feature::NOTIFICATION_DATA), has(feature::NOTIF_CONFIG_DATA));
        let index = if named { self.get(common::QUEUE_NOTIF_CONFIG_DATA, 2) } else { ring.index.into() };
        let (width, value) = if data { (4, index | u64::from(ring.avail) << 16) } else { (2, index) };
        self.board.write(self.notify.bar, self.notify.offset + place, width, value);
    }

    /// Lets a millisecond pass.
    pub fn run(&mut self) {
        self.board.step(1_000_000);
    }

    /// A buffer for the device to read.
    pub fn out(&mut self, bytes: &[u8]) -> Buffer {
        let window = self.board.map(bytes.len() as u64, u64::MAX, Direction::ToDevice);
        self.board.fill(window, bytes);
        Buffer { window, writable: false }
    }

    /// A buffer for the device to write.
    pub fn room(&mut self, len: u64) -> Buffer {
        Buffer { window: self.board.map(len, u64::MAX, Direction::FromDevice), writable: true }
    }

    pub fn bytes(&self, buffer: Buffer) -> Vec<u8> {
        self.board.bytes(buffer.window)
    }

    /// Adds a chain, kicks, lets time pass and takes what came back: how many bytes were written.
    pub fn transact(&mut self, ring: &mut Ring, buffers: &[Buffer]) -> u32 {
        let id = ring.add(&mut self.board, buffers);
        self.kick(ring);
        self.run();
        let (used, len) = ring.take(&self.board).expect("the chain comes back");
        assert_eq!(used, id);
        len
    }

    fn read16(&self, window: Window, offset: u64) -> u16 {
        let bytes = self.board.bytes(window.part(offset).first(2));
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    /// The device's suppression structure: flags, and the place of the event.
    pub fn device_event(&self, ring: &Ring) -> (u16, u16) {
        if ring.packed {
            (self.read16(ring.device, 2), self.read16(ring.device, 0))
        } else {
            (self.read16(ring.device, 0), self.read16(ring.device, 4 + 8 * u64::from(ring.size)))
        }
    }

    /// Says when interrupts are wanted: flags, and the place of the event.
    pub fn set_driver_event(&mut self, ring: &Ring, flags: u16, event: u16) {
        let (flags_at, event_at) = if ring.packed { (2, 0) } else { (0, 4 + 2 * u64::from(ring.size)) };
        self.board.fill(ring.driver.part(flags_at), &flags.to_le_bytes());
        self.board.fill(ring.driver.part(event_at), &event.to_le_bytes());
    }

    /// The vectors that were raised since the last time.
    pub fn vectors(&mut self) -> Vec<u16> {
        self.board.messages().into_iter().map(|message| message.vector).collect()
    }
}

/// A ring, as the driver writes it.
pub struct Ring {
    pub index: u16,
    pub size: u16,
    pub packed: bool,
    pub desc: Window,
    pub driver: Window,
    pub device: Window,
    /// Descriptors (split) or buffer ids (packed) that are free; the next one last.
    free: Vec<u16>,
    /// By head or id: the descriptors that a chain takes.
    chains: BTreeMap<u16, Vec<u16>>,
    /// Split: the index of the available ring. Packed: the next slot.
    pub avail: u16,
    avail_wrap: bool,
    used: u16,
    used_wrap: bool,
}

fn descriptor(address: u64, len: u32, third: u16, fourth: u16) -> Vec<u8> {
    [&address.to_le_bytes()[..], &len.to_le_bytes(), &third.to_le_bytes(), &fourth.to_le_bytes()].concat()
}

impl Ring {
    /// Makes a chain available; its head or id.
    pub fn add(&mut self, board: &mut Board, buffers: &[Buffer]) -> u16 {
        let elements: Vec<(u64, u32, u16)> = buffers
            .iter()
            .map(|buffer| {
                (buffer.window.iova, buffer.window.len as u32, if buffer.writable { ring::desc::WRITE } else { 0 })
            })
            .collect();
        self.add_raw(board, &elements)
    }

    /// Makes a chain available that stands in a table of its own.
    pub fn add_indirect(&mut self, board: &mut Board, buffers: &[Buffer]) -> u16 {
        let table = board.map(16 * buffers.len() as u64, u64::MAX, Direction::ToDevice);
        for (index, buffer) in buffers.iter().enumerate() {
            let write = if buffer.writable { ring::desc::WRITE } else { 0 };
            let next = if index + 1 < buffers.len() && !self.packed { ring::desc::NEXT } else { 0 };
            let (address, len) = (buffer.window.iova, buffer.window.len as u32);
            let bytes = match self.packed {
                true => descriptor(address, len, 0, write),
                false => descriptor(address, len, write | next, index as u16 + 1),
            };
            board.fill(table.part(16 * index as u64), &bytes);
        }
        self.add_raw(board, &[(table.iova, table.len as u32, ring::desc::INDIRECT)])
    }

    /// Makes a chain available of addresses, lengths and flags, whatever they are.
    pub fn add_raw(&mut self, board: &mut Board, elements: &[(u64, u32, u16)]) -> u16 {
        match self.packed {
            true => self.add_packed(board, elements),
            false => self.add_split(board, elements),
        }
    }

    fn add_split(&mut self, board: &mut Board, elements: &[(u64, u32, u16)]) -> u16 {
        let taken: Vec<u16> = elements.iter().map(|_| self.free.pop().unwrap()).collect();
        for (index, (address, len, flags)) in elements.iter().enumerate() {
            let next = taken.get(index + 1).copied();
            let flags = flags | if next.is_some() { ring::desc::NEXT } else { 0 };
            let bytes = descriptor(*address, *len, flags, next.unwrap_or(0));
            board.fill(self.desc.part(16 * u64::from(taken[index])), &bytes);
        }
        let head = taken[0];
        board.fill(self.driver.part(4 + 2 * u64::from(self.avail % self.size)), &head.to_le_bytes());
        self.avail = self.avail.wrapping_add(1);
        board.fill(self.driver.part(2), &self.avail.to_le_bytes());
        self.chains.insert(head, taken);
        head
    }

    fn add_packed(&mut self, board: &mut Board, elements: &[(u64, u32, u16)]) -> u16 {
        let taken: Vec<u16> = elements.iter().map(|_| self.free.pop().unwrap()).collect();
        let id = taken[0];
        let mut head = None;
        for (index, (address, len, flags)) in elements.iter().enumerate() {
            let next = if index + 1 < elements.len() { ring::desc::NEXT } else { 0 };
            let available = if self.avail_wrap { ring::packed::AVAIL } else { ring::packed::USED };
            let slot = self.desc.part(16 * u64::from(self.avail));
            let bytes = descriptor(*address, *len, id, flags | next | available);
            match head {
                // The flags of the first come last.
                None => {
                    board.fill(slot, &bytes[..14]);
                    head = Some((slot.part(14), bytes[14..].to_vec()));
                }
                Some(_) => board.fill(slot, &bytes),
            }
            (self.avail, self.avail_wrap) = self.after(self.avail, self.avail_wrap, 1);
        }
        let (at, flags) = head.unwrap();
        board.fill(at, &flags);
        self.chains.insert(id, taken);
        id
    }

    fn after(&self, slot: u16, wrap: bool, slots: u16) -> (u16, bool) {
        let next = slot + slots;
        if next >= self.size { (next - self.size, !wrap) } else { (next, wrap) }
    }

    /// Takes the next chain that came back: its head or id, and how many bytes were written.
    pub fn take(&mut self, board: &Board) -> Option<(u16, u32)> {
        let (id, len) = match self.packed {
            true => {
                let bytes = board.bytes(self.desc.part(16 * u64::from(self.used)).first(16));
                let flags = u16::from_le_bytes([bytes[14], bytes[15]]);
                let mark = if self.used_wrap { ring::packed::AVAIL | ring::packed::USED } else { 0 };
                if flags & (ring::packed::AVAIL | ring::packed::USED) != mark {
                    return None;
                }
                let len = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
                let id = u16::from_le_bytes([bytes[12], bytes[13]]);
                let written = if flags & ring::desc::WRITE == 0 { 0 } else { len };
                (id, written)
            }
            false => {
                let idx = board.bytes(self.device.part(2).first(2));
                if u16::from_le_bytes([idx[0], idx[1]]) == self.used {
                    return None;
                }
                let bytes = board.bytes(self.device.part(4 + 8 * u64::from(self.used % self.size)).first(8));
                let id = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as u16;
                (id, u32::from_le_bytes(bytes[4..].try_into().unwrap()))
            }
        };
        let taken = self.chains.remove(&id).expect("what comes back was given");
        if self.packed {
            (self.used, self.used_wrap) = self.after(self.used, self.used_wrap, taken.len() as u16);
        } else {
            self.used = self.used.wrapping_add(1);
        }
        self.free.extend(taken);
        Some((id, len))
    }

    /// All that came back.
    pub fn take_all(&mut self, board: &Board) -> Vec<(u16, u32)> {
        std::iter::from_fn(|| self.take(board)).collect()
    }
}
