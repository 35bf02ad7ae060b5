//! The PCI host bridge: a guest's accesses to ports and memory become accesses to configuration space and BARs.

use bringup_core::pci::{ConfigChange, ConfigSpace};
use bringup_core::{Bus, DeviceId, Function};

use crate::layout::{ECAM, port};

/// The host bridge of the machine: bus 0, on which the devices of a [`Bus`] are in their slots (function 0 of each), and itself
/// at 00:00.0.
///
/// It owns the address latch of the port mechanism and its own configuration space. Everything that it is asked for is answered: what
/// nobody claims reads as all ones, and writes there are lost, as a master abort is (PCI Local Bus 3.0 §3.3.3.1).
#[derive(Clone, Debug)]
pub struct PciHost {
    /// What was last written to 0xCF8, as far as the register has the bits.
    address: u32,
    config: ConfigSpace,
}

/// A device's configuration space holds something else now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whose.
    pub device: DeviceId,
    /// What. A function-level reset (`reset`) takes BARs and command register back too.
    pub change: ConfigChange,
}

/// The bits that the address register has: enable, bus, device, function, dword (PCI Local Bus 3.0 §3.2.2.3.2).
const ADDRESS_BITS: u32 = 0x80ff_fffc;
const ENABLE: u32 = 1 << 31;

/// Who answers in configuration space.
enum Target {
    Bridge,
    Device(DeviceId),
}

impl Default for PciHost {
    fn default() -> Self {
        Self::new()
    }
}

impl PciHost {
    /// As after power-on.
    #[must_use]
    pub fn new() -> Self {
        // "PCIe host bridge" of Red Hat: what kernels know from QEMU, and have no quirks for.
        Self { address: 0, config: ConfigSpace::new(&Function::new(0x1b36, 0x0008).class(0x06_0000)) }
    }

    /// Reads from I/O ports: `port` and as many as `into` is long. One access of the CPU; repeated ones (`rep ins`) are several.
    pub fn port_read(&mut self, bus: &mut Bus, port: u16, into: &mut [u8]) {
        for Piece { at, range } in pieces(port.into(), into.len(), 4) {
            let Some(lanes) = into.get_mut(range) else { return };
            let value = self.port_load(bus, at, lanes.len() as u8);
            lanes.copy_from_slice(&value.to_le_bytes()[..lanes.len()]);
        }
    }

    /// Writes to I/O ports: `port` and as many as `from` is long. One access of the CPU; repeated ones (`rep outs`) are several.
    pub fn port_write(&mut self, bus: &mut Bus, port: u16, from: &[u8]) -> Option<Changed> {
        let mut changed = None;
        for Piece { at, range } in pieces(port.into(), from.len(), 4) {
            let Some(lanes) = from.get(range) else { break };
            join(&mut changed, self.port_store(bus, at, lanes.len() as u8, value_of(lanes) as u32));
        }
        changed
    }

    /// Reads from memory in which there is no RAM. Pieces that are naturally aligned, of up to 8 bytes, are one access each.
    pub fn memory_read(&mut self, bus: &mut Bus, address: u64, into: &mut [u8]) {
        for Piece { at, range } in pieces(address, into.len(), 8) {
            let Some(lanes) = into.get_mut(range) else { return };
            let value = self.memory_load(bus, at, lanes.len() as u8);
            lanes.copy_from_slice(&value.to_le_bytes()[..lanes.len()]);
        }
    }

    /// Writes to memory in which there is no RAM. Pieces that are naturally aligned, of up to 8 bytes, are one access each.
    pub fn memory_write(&mut self, bus: &mut Bus, address: u64, from: &[u8]) -> Option<Changed> {
        let mut changed = None;
        for Piece { at, range } in pieces(address, from.len(), 8) {
            let Some(lanes) = from.get(range) else { break };
            join(&mut changed, self.memory_store(bus, at, lanes.len() as u8, value_of(lanes)));
        }
        changed
    }

    /// Which device an access to memory reaches, through configuration space or a BAR.
    pub(crate) fn memory_target(bus: &Bus, address: u64) -> Option<DeviceId> {
        if !ECAM.contains(&address) {
            return bus.decode(false, address).map(|(device, ..)| device);
        }
        match target(bus, address - ECAM.start)? {
            Target::Bridge => None,
            Target::Device(device) => Some(device),
        }
    }

    /// Which device an access to a port reaches.
    pub(crate) fn port_target(&self, bus: &Bus, port: u16) -> Option<DeviceId> {
        let Some(offset) = self.data_port(port.into()) else {
            return decode_port(bus, port.into()).map(|(device, ..)| device);
        };
        match target(bus, offset)? {
            Target::Bridge => None,
            Target::Device(device) => Some(device),
        }
    }

    fn port_load(&mut self, bus: &mut Bus, at: u64, width: u8) -> u32 {
        if at == u64::from(port::CONFIG_ADDRESS) && width == 4 {
            return self.address;
        }
        if let Some(offset) = self.data_port(at) {
            return self.config_load(bus, offset, width);
        }
        match decode_port(bus, at) {
            Some((device, bar, offset)) => bus.bar_read(device, bar, offset, width, None) as u32,
            None => u32::MAX,
        }
    }

    fn port_store(&mut self, bus: &mut Bus, at: u64, width: u8, value: u32) -> Option<Changed> {
        if at == u64::from(port::CONFIG_ADDRESS) && width == 4 {
            self.address = value & ADDRESS_BITS;
        } else if let Some(offset) = self.data_port(at) {
            return self.config_store(bus, offset, width, value);
        } else if let Some((device, bar, offset)) = decode_port(bus, at) {
            bus.bar_write(device, bar, offset, width, value.into(), None);
        }
        None
    }

    /// Where an access to port `at` goes in configuration space, as ECAM counts: enabled, and to one of the four data ports.
    fn data_port(&self, at: u64) -> Option<u64> {
        let lane = at.checked_sub(port::CONFIG_DATA.into()).filter(|lane| *lane < 4)?;
        let (function, register) = (self.address >> 8 & 0xffff, self.address & 0xfc);
        (self.address & ENABLE != 0).then_some(u64::from(function) << 12 | u64::from(register) | lane)
    }

    fn memory_load(&mut self, bus: &mut Bus, at: u64, width: u8) -> u64 {
        if ECAM.contains(&at) {
            let offset = at - ECAM.start;
            let low = self.config_load(bus, offset, width.min(4));
            let high = if width == 8 { self.config_load(bus, offset + 4, 4) } else { 0 };
            return u64::from(low) | u64::from(high) << 32;
        }
        match bus.decode(false, at) {
            Some((device, bar, offset)) => bus.bar_read(device, bar, offset, width, None),
            None => u64::MAX,
        }
    }

    fn memory_store(&mut self, bus: &mut Bus, at: u64, width: u8, value: u64) -> Option<Changed> {
        if ECAM.contains(&at) {
            let offset = at - ECAM.start;
            let mut changed = self.config_store(bus, offset, width.min(4), value as u32);
            if width == 8 {
                join(&mut changed, self.config_store(bus, offset + 4, 4, (value >> 32) as u32));
            }
            return changed;
        }
        if let Some((device, bar, offset)) = bus.decode(false, at) {
            bus.bar_write(device, bar, offset, width, value, None);
        }
        None
    }

    /// Reads 1, 2 or 4 aligned bytes of configuration space, at an offset as in the ECAM of all buses.
    fn config_load(&mut self, bus: &mut Bus, at: u64, width: u8) -> u32 {
        let offset = (at & 0xfff) as u16;
        match target(bus, at) {
            Some(Target::Bridge) => self.config.read(offset, width),
            Some(Target::Device(device)) => bus.config_read(device, offset, width),
            None => u32::MAX,
        }
    }

    fn config_store(&mut self, bus: &mut Bus, at: u64, width: u8, value: u32) -> Option<Changed> {
        let offset = (at & 0xfff) as u16;
        match target(bus, at)? {
            Target::Bridge => {
                self.config.write(offset, width, value);
                None
            }
            Target::Device(device) => {
                let change = bus.config_write(device, offset, width, value);
                (change != ConfigChange::default()).then_some(Changed { device, change })
            }
        }
    }
}

/// Who is at an offset in the ECAM of all buses: bus in bits 20 to 27, device in 15 to 19, function in 12 to 14 (PCIe 6.0 §7.2.2).
fn target(bus: &Bus, at: u64) -> Option<Target> {
    let (number, slot, function) = (at >> 20, (at >> 15 & 31) as u8, at >> 12 & 7);
    if number != 0 || function != 0 {
        return None;
    }
    if slot == 0 { Some(Target::Bridge) } else { bus.device_at(slot).map(Target::Device) }
}

/// Which I/O BAR answers at a port. There are 64 Ki of them; a BAR may hold an address beyond.
fn decode_port(bus: &Bus, at: u64) -> Option<(DeviceId, u8, u64)> {
    bus.decode(true, at).filter(|_| at <= u16::MAX.into())
}

/// One write changes one function at most: between two of them lie seven that are not there, and those are longer than a write. With
/// more bytes than a CPU writes at once, the last function counts.
fn join(all: &mut Option<Changed>, one: Option<Changed>) {
    let Some(one) = one else { return };
    match all {
        Some(all) if all.device == one.device => {
            all.change.command |= one.change.command;
            all.change.bars |= one.change.bars;
            all.change.msi |= one.change.msi;
            all.change.msix |= one.change.msix;
            all.change.reset |= one.change.reset;
        }
        _ => *all = Some(one),
    }
}

/// A part of an access that reaches one dword (or two, in memory) as it is: naturally aligned, a power of two long.
struct Piece {
    at: u64,
    /// Which bytes of the access.
    range: std::ops::Range<usize>,
}

/// Cuts an access into naturally aligned pieces of at most `most` bytes, as processors and root complexes do. One that runs over the
/// end of the address space goes on at its beginning.
fn pieces(address: u64, len: usize, most: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = address.wrapping_add(done as u64);
        let fits = 1 << (len - done).checked_ilog2()?.min(3);
        let aligned = 1 << at.trailing_zeros().min(3);
        let range = done..done + most.min(fits).min(aligned);
        done = range.end;
        Some(Piece { at, range })
    })
}

fn value_of(lanes: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (byte, lane) in bytes.iter_mut().zip(lanes) {
        *byte = *lane;
    }
    u64::from_le_bytes(bytes)
}
