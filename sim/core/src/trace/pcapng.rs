//! The packets of a trace as a pcapng file (draft-ietf-opsawg-pcapng), as Wireshark reads it; and the blocks that such files are
//! made of.

use std::io::{self, Write};

use super::{DeviceId, Event, Record};
use crate::time::Nanos;

/// Type of the block that begins a section.
pub const SECTION: u32 = 0x0a0d_0d0a;
/// What tells in which order a section has its bytes.
pub const MAGIC: u32 = 0x1a2b_3c4d;
/// Type of the block that describes an interface.
pub const INTERFACE: u32 = 1;
/// Type of the block that holds a packet and its circumstances.
pub const ENHANCED: u32 = 6;
/// Link type: Ethernet.
pub const ETHERNET: u16 = 1;
/// Option of an interface: its name.
const NAME: u16 = 2;
/// Option of an interface: the unit of its timestamps.
pub const TSRESOL: u16 = 9;
/// Option of a packet: its direction among others.
const FLAGS: u16 = 2;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A block: its length stands before and behind its body, whose length must be a multiple of four.
#[must_use]
pub fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

/// The block that begins a file, low bytes first.
#[must_use]
pub fn section() -> Vec<u8> {
    block(SECTION, &[&MAGIC.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat())
}

/// The block that describes an Ethernet interface whose times are in nanoseconds; without a name if that is empty.
#[must_use]
pub fn interface(name: &str) -> Vec<u8> {
    let name = if name.is_empty() { Vec::new() } else { option(NAME, name.as_bytes()) };
    let options = [&name[..], &option(TSRESOL, &[9]), &[0; 4]].concat();
    block(INTERFACE, &[&ETHERNET.to_le_bytes()[..], &[0; 6], &options].concat())
}

/// The block of a frame that an interface, counted from 0, carried at a moment; `sent` by the driver, or for it.
#[must_use]
pub fn packet(interface: u32, at: Nanos, sent: bool, bytes: &[u8]) -> Vec<u8> {
    let len = (bytes.len() as u32).to_le_bytes();
    let flags = option(FLAGS, &if sent { OUTBOUND } else { INBOUND }.to_le_bytes());
    let time = [((at >> 32) as u32).to_le_bytes(), (at as u32).to_le_bytes()].concat();
    let body = [&interface.to_le_bytes()[..], &time, &len, &len, bytes, padding(bytes.len()), &flags, &[0; 4]];
    block(ENHANCED, &body.concat())
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value, padding(value.len())].concat()
}

fn padding(len: usize) -> &'static [u8] {
    &[0; 3][..len.next_multiple_of(4) - len]
}

/// Writes the packets of a trace: an interface for each device that carried any, called as the device, times in virtual
/// nanoseconds, both directions.
///
/// # Errors
/// Those of `out`.
pub fn write_pcapng(out: &mut dyn Write, records: &[Record], names: &[String]) -> io::Result<()> {
    let packets = || {
        records.iter().filter_map(|record| match &record.event {
            Event::Packet { device, sent, bytes } => Some((record.at, *device, *sent, bytes)),
            _ => None,
        })
    };
    let mut devices: Vec<DeviceId> = packets().map(|(_, device, ..)| device).collect();
    devices.sort_unstable();
    devices.dedup();
    out.write_all(&section())?;
    for device in &devices {
        out.write_all(&interface(names.get(usize::from(device.0)).map_or("", String::as_str)))?;
    }
    for (at, device, sent, bytes) in packets() {
        let index = devices.iter().position(|known| *known == device).unwrap_or_default();
        out.write_all(&packet(index as u32, at, sent, bytes))?;
    }
    Ok(())
}
