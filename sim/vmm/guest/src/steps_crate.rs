//! Steps with drivers that no one here wrote: the `virtio-drivers` crate over our PCI.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;

use bringup_guest::arithmetic::{crc32, pattern};
use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::net::VirtIONet;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{DeviceFunction, PciRoot};

use crate::Machine;
use crate::machine::hal::{Bare, Configuration};
use crate::pci::{self, Function, Space};
use crate::report::{Outcome, skipped, step};
use crate::virtio::device_type;

/// Sector that the disk step writes: behind those of the `blk` steps.
const SECTOR: usize = 40;
const FRAME: usize = 60;

/// One step for each virtio device that the crate has a driver for.
pub(crate) fn run(machine: &Machine) {
    let mut found = false;
    for function in &machine.functions {
        let run: fn(&Machine, &Function) -> Outcome = match device_type(function) {
            Some(1) => net,
            Some(2) => blk,
            Some(3) => console,
            Some(4) => rng,
            _ => continue,
        };
        found = true;
        let name = match device_type(function) {
            Some(1) => "crate.net",
            Some(2) => "crate.blk",
            Some(3) => "crate.console",
            _ => "crate.rng",
        };
        step(name, || run(machine, function));
        machine.pci.command(function.at, 0, pci::MASTER);
    }
    if !found {
        skipped("crate", format_args!("no virtio device that it drives"));
    }
}

fn transport(machine: &Machine, function: &Function) -> Result<PciTransport, String> {
    // The crate maps nothing by itself: BARs above 4 GiB are mapped here.
    for bar in function.bars.iter().filter(|bar| bar.space != Space::Io) {
        function
            .map(&machine.pci, &machine.start, bar.index)
            .ok_or_else(|| format!("BAR {} cannot be mapped", bar.index))?;
    }
    machine.pci.command(function.at, pci::MEMORY | pci::MASTER, 0);
    let mut root = PciRoot::new(Configuration(machine.pci));
    let at = DeviceFunction { bus: 0, device: function.at.device, function: function.at.function };
    PciTransport::new::<Bare, _>(&mut root, at).map_err(|error| format!("{}: {error}", function.at))
}

fn blk(machine: &Machine, function: &Function) -> Outcome {
    let text = |what: &str, error: virtio_drivers::Error| format!("{} {what}: {error}", function.at);
    let mut disk = VirtIOBlk::<Bare, _>::new(transport(machine, function)?).map_err(|error| text("start", error))?;
    if disk.capacity() < SECTOR as u64 + 4 {
        return Err(format!("{} the disk has only {} sectors", function.at, disk.capacity()));
    }
    let mut data = vec![0; 2048];
    if disk.readonly() {
        disk.read_blocks(0, &mut data).map_err(|error| text("read", error))?;
        return Ok(format!("{} {} sectors, read only, crc {:08x}", function.at, disk.capacity(), crc32(0, &data)));
    }
    for (index, byte) in data.iter_mut().enumerate() {
        *byte = pattern(0x44, index);
    }
    let written = crc32(0, &data);
    disk.write_blocks(SECTOR, &data).map_err(|error| text("write", error))?;
    disk.flush().map_err(|error| text("flush", error))?;
    data.fill(0);
    disk.read_blocks(SECTOR, &mut data).map_err(|error| text("read", error))?;
    let read = crc32(0, &data);
    if read != written {
        return Err(format!("{} crc {written:08x} written, {read:08x} read", function.at));
    }
    Ok(format!("{} {} sectors, 2048 bytes written, flushed and read, crc {read:08x}", function.at, disk.capacity()))
}

fn net(machine: &Machine, function: &Function) -> Outcome {
    let text = |what: &str, error: virtio_drivers::Error| format!("{} {what}: {error}", function.at);
    // On the heap: the driver holds its receive buffers in itself.
    let mut card = Box::new(
        VirtIONet::<Bare, _, 8>::new(transport(machine, function)?, 2048).map_err(|error| text("start", error))?,
    );
    let mac = card.mac_address();
    let mut frame = card.new_tx_buffer(FRAME);
    for (index, byte) in frame.packet_mut().iter_mut().enumerate() {
        // To all; a type that no protocol has.
        *byte = match index {
            0..=5 => 0xff,
            6..=11 => mac.get(index - 6).copied().unwrap_or(0),
            12 | 13 => 0x88 + (index as u8 - 12) * 0x2d,
            _ => pattern(0x66, index),
        };
    }
    let sent = crc32(0, frame.packet());
    card.send(frame).map_err(|error| text("send", error))?;
    if !machine.clock.wait(500, || card.can_recv()) {
        return Ok(format!("{} mac {mac:02x?}, a frame sent, none came back", function.at));
    }
    let back = card.receive().map_err(|error| text("receive", error))?;
    let received = crc32(0, back.packet());
    let len = back.packet_len();
    card.recycle_rx_buffer(back).map_err(|error| text("give a buffer back", error))?;
    if received != sent || len != FRAME {
        return Err(format!("{} crc {sent:08x} sent, {len} bytes of crc {received:08x} received", function.at));
    }
    Ok(format!("{} mac {mac:02x?}, a frame of {len} bytes came back, crc {received:08x}", function.at))
}

fn rng(machine: &Machine, function: &Function) -> Outcome {
    let text = |what: &str, error: virtio_drivers::Error| format!("{} {what}: {error}", function.at);
    let mut source = VirtIORng::<Bare, _>::new(transport(machine, function)?).map_err(|error| text("start", error))?;
    let mut bytes = vec![0; 64];
    let len = source.request_entropy(&mut bytes).map_err(|error| text("request", error))?;
    let got = bytes.get(..len).ok_or_else(|| format!("{} says {len} of 64 bytes", function.at))?;
    if len == 0 || got.iter().all(|byte| *byte == 0) {
        return Err(format!("{} gave {len} bytes, all zero", function.at));
    }
    Ok(format!("{} gave {len} bytes", function.at))
}

fn console(machine: &Machine, function: &Function) -> Outcome {
    let text = |what: &str, error: virtio_drivers::Error| format!("{} {what}: {error}", function.at);
    let mut console =
        VirtIOConsole::<Bare, _>::new(transport(machine, function)?).map_err(|error| text("start", error))?;
    console.send_bytes(b"hello from the guest\n").map_err(|error| text("send", error))?;
    let mut came = 0;
    machine.clock.wait(100, || {
        while let Ok(Some(_)) = console.recv(true) {
            came += 1;
        }
        came > 0
    });
    Ok(format!("{} 21 bytes sent, {came} received", function.at))
}
