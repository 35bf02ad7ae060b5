//! What takes how long: exits, doorbells, disk reads. A line each, `bench …`, in cycles and nanoseconds.

use alloc::format;
use alloc::string::String;

use bringup_guest::arithmetic::Random;
use bringup_guest::words::Bench;

use crate::Machine;
use crate::machine::cpu;
use crate::machine::dma::Dma;
use crate::machine::map::Registers;
use crate::pci::{Function, Pci, Space};
use crate::report::{failed, line, step};
use crate::steps_blk::{Disk, Notice};
use crate::virtio::{device_type, structure};

/// One read of a disk, in bytes.
const READ: u32 = 4096;

/// Runs one.
pub(crate) fn run(machine: &Machine, what: Bench, count: u64, depth: u64) {
    let outcome = match what {
        Bench::Exit => exits(machine, count),
        Bench::Bell => bells(machine, count),
        Bench::Blk => disk(machine, count, depth, Notice::Poll),
        Bench::Irq => disk(machine, count, depth, Notice::Message),
    };
    if let Err(text) = outcome {
        failed("bench", format_args!("{text}"));
    }
}

fn say(machine: &Machine, name: &str, count: u64, cycles: u64) {
    let each = cycles / count.max(1);
    line(format_args!(
        "bench {name}: {count} times, {cycles} cycles, {each} cycles each, {} ns each",
        machine.clock.nanoseconds(cycles) / count.max(1)
    ));
}

/// Runs without the timer, which would be counted too.
fn timed(machine: &Machine, run: impl FnOnce()) -> Result<u64, String> {
    let interrupts = machine.interrupts()?;
    interrupts.pause_timer(true);
    let begin = cpu::time_stamp();
    run();
    let cycles = cpu::time_stamp().wrapping_sub(begin);
    interrupts.pause_timer(false);
    Ok(cycles)
}

/// A register to read: edu's identification, else a virtio device's number of queues, else any memory BAR's first.
fn register<'a>(machine: &'a Machine, function: &'a Function) -> Option<(&'a Function, Registers, u64)> {
    let (pci, start) = (&machine.pci, &machine.start);
    if (function.vendor, function.device) == (bringup_spec::edu::VENDOR, bringup_spec::edu::DEVICE) {
        return function.map(pci, start, 0).map(|bar| (function, bar, 0));
    }
    if device_type(function).is_some() {
        let (bar, offset, _) = structure(pci, function, bringup_spec::virtio::pci::cfg_type::COMMON)?;
        let offset = u64::from(offset) + bringup_spec::virtio::pci::common::DEVICE_FEATURE;
        return function.map(pci, start, bar).map(|bar| (function, bar, offset));
    }
    let bar = function.bars.iter().find(|bar| bar.space != Space::Io)?;
    function.map(pci, start, bar.index).map(|bar| (function, bar, 0))
}

fn exits(machine: &Machine, count: u64) -> Result<(), String> {
    let found = machine
        .functions
        .iter()
        .filter(|function| function.at.device != 0)
        .filter_map(|function| register(machine, function))
        .min_by_key(|(function, ..)| function.vendor != bringup_spec::edu::VENDOR);
    // Once before, so that nothing is counted that happens only once.
    cpu::read_port_often(0x80, 1);
    let cycles = timed(machine, || cpu::read_port_often(0x80, count))?;
    say(machine, "port 0x80", count, cycles);
    let Some((function, bar, offset)) = found else {
        return Err("no function with a register to read".into());
    };
    let place = bar.place(offset, 4);
    cpu::read_often(place, 1);
    let cycles = timed(machine, || cpu::read_often(place, count))?;
    say(machine, &format!("register of {:04x}:{:04x}", function.vendor, function.device), count, cycles);
    if let Some(ecam) = machine.pci.ecam() {
        let place = ecam.place(0, 4);
        cpu::read_often(place, 1);
        let cycles = timed(machine, || cpu::read_often(place, count))?;
        say(machine, "ecam", count, cycles);
    }
    let _window = Pci::port_read32(crate::pci::Address { device: 0, function: 0 }, 0);
    Ok(())
}

fn blk(machine: &Machine) -> Result<&Function, String> {
    machine.functions.iter().find(|function| device_type(function) == Some(2)).ok_or_else(|| "no virtio-blk".into())
}

fn bells(machine: &Machine, count: u64) -> Result<(), String> {
    let function = blk(machine)?;
    let disk = Disk::open(machine, function, Notice::Poll)?;
    let (place, value) = disk.queue.bell();
    cpu::write_often(place, value, 1);
    let cycles = timed(machine, || cpu::write_often(place, value, count))?;
    say(machine, "bell", count, cycles);
    disk.close(function)
}

fn disk(machine: &Machine, count: u64, depth: u64, notice: Notice) -> Result<(), String> {
    let function = blk(machine)?;
    let mut disk = Disk::open(machine, function, notice)?;
    disk.strict = false;
    let depth = depth.clamp(1, 5).min(count);
    let pages = disk.capacity / 8;
    if pages == 0 {
        return Err("the disk has no 4096 bytes".into());
    }
    let memory = Dma::new((depth * u64::from(READ)) as usize).ok_or("no memory")?;
    let mut random = Random::new(1);
    let mut slots: [Option<u16>; 5] = [None; 5];
    let mut outcome = Ok(());
    let mut read = |cycles_done: &mut u64| -> Result<(), String> {
        let mut started = 0;
        let mut finished = 0;
        while finished < count {
            let mut added = false;
            for (slot, head) in slots.iter_mut().enumerate().take(depth as usize) {
                if head.is_none() && started < count {
                    let at = memory.address() + slot as u64 * u64::from(READ);
                    let sector = random.below(pages) * 8;
                    *head = Some(disk.submit(slot, 0, sector, Some((at, READ, true))).ok_or("the ring is full")?);
                    started += 1;
                    added = true;
                }
            }
            if added {
                disk.queue.kick();
            }
            let (head, len) = disk.wait()?;
            let slot =
                slots.iter().position(|found| *found == Some(head)).ok_or("a chain was used that was not made")?;
            if disk.status(slot) != 0 || len != READ + 1 {
                return Err(format!("status {}, {len} bytes", disk.status(slot)));
            }
            if let Some(place) = slots.get_mut(slot) {
                *place = None;
            }
            finished += 1;
        }
        *cycles_done = finished;
        Ok(())
    };
    let mut done = 0;
    let begin = cpu::time_stamp();
    let went = step("bench.reads", || {
        outcome = read(&mut done);
        outcome.clone().map(|()| format!("{count} reads of {READ} bytes"))
    });
    let cycles = cpu::time_stamp().wrapping_sub(begin);
    if went {
        let name = if notice == Notice::Poll { "blk polled" } else { "blk with interrupts" };
        say(machine, &format!("{name} depth {depth}"), done, cycles);
    }
    disk.close(function)
}
