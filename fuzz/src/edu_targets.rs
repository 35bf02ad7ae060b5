//! What the two `edu` targets do with their input. Shared with the test that runs the seeds on stable (drivers/edu).

#![allow(dead_code, reason = "each target uses one of the two")]

use bringup_bench::Bench;
use bringup_core::choice::Bytes;
use bringup_core::dma::{Direction, MappingKind, NewMapping};
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::{Bus, BusConfig, Plan, Ram};
use bringup_devices::Edu;
use vm_memory::Bytes as _;

const FACTORIAL: u32 = 0xc004_6500;

fn hostile(verb: Verb) -> Fault {
    Fault::new(verb, Behaviour::Choose)
}

/// A whole life of the driver. The first byte says how many reads are honest before the device begins to lie (a driver that
/// never binds learns nothing); the others are the choices, the device's answers among them.
pub(crate) fn hostile_device(data: &[u8]) {
    let Some((honest, choices)) = data.split_first() else {
        return;
    };
    let lies = Fault {
        after: u64::from(*honest % 16),
        ..hostile(Verb::BarRead)
    };
    let plan = Plan::new(vec![lies, hostile(Verb::DmaWrite)]);
    let chooser = Bytes::new(choices);
    let Ok(bench) = Bench::builder()
        .device("edu", Edu::default())
        .chooser(chooser)
        .plan(plan)
        .build()
    else {
        return;
    };
    if bench.load(&edu::BRINGUP_MODULE).is_ok() {
        // Errors are right answers to lies; what counts is the report.
        if let Ok(file) = bench.open("edu") {
            let _ = file.write(&[0x5a; 600]);
            file.seek(0);
            let _ = file.read(&mut [0; 600]);
            let _ = file.ioctl_with(FACTORIAL, &mut 7_u32.to_ne_bytes());
        }
        let _ = bench.unload("edu");
    }
    let report = bench.finish();
    assert!(
        report.is_clean(),
        "{:#?}\n{}",
        report.findings,
        report.log_text()
    );
}

/// Random accesses to the device, valid ones by default. Checks that the device stays within its mappings.
pub(crate) fn hostile_driver(data: &[u8]) {
    let Ok(ram) = Ram::new(1 << 20) else { return };
    let mut bus = Bus::new(BusConfig::quiet(ram));
    let Ok(id) = bus.plug("edu", Box::new(Edu::default())) else {
        return;
    };
    bus.config_write(id, 4, 2, 6);
    let Some(physical) = bus.fabric.ram.alloc(3 * 4096, 0x11) else {
        return;
    };
    let new = NewMapping {
        physical: vm_memory::GuestAddress(physical.0 + 4096),
        len: 4096,
        mask: 0x0fff_ffff,
        direction: Direction::Bidirectional,
        kind: MappingKind::Coherent,
        place: None,
        at: 0,
    };
    let Some(iova) = bus.port(id).io_space().map(&new) else {
        return;
    };
    for action in data.chunks_exact(6) {
        let value = u64::from(u32::from_le_bytes([
            action[2], action[3], action[4], action[5],
        ]));
        let width = 1 << (action[1] & 3);
        let offset = u64::from(action[1] >> 2) * 4;
        match action[0] % 10 {
            0 => drop(bus.bar_read(id, 0, offset, 4, None)),
            1 => bus.bar_write(id, 0, offset, 4, value, None),
            2 => drop(bus.bar_read(id, action[1] % 7, value, width, None)),
            3 => bus.bar_write(
                id,
                action[1] % 7,
                value & 0xfffff,
                width,
                value.rotate_left(13),
                None,
            ),
            4 => drop(bus.config_read(id, (value % 300) as u16, width.min(4))),
            5 => drop(bus.config_write(id, (value % 300) as u16, width.min(4), value as u32)),
            // A whole transfer, mostly inside the mapping.
            6 | 7 => {
                let inside = iova + value % 4200;
                let device = 0x40000 + u64::from(action[5]) * 17 % 4200;
                let (from, to) = if action[0] & 16 == 0 {
                    (inside, device)
                } else {
                    (device, inside)
                };
                for (register, number) in [(0x80, from), (0x88, to), (0x90, value >> 8 & 0x1fff)] {
                    bus.bar_write(id, 0, register, 8, number, None);
                }
                bus.bar_write(id, 0, 0x98, 4, 1 | u64::from(action[1] & 6), None);
            }
            8 => bus.fabric.advance(value % 300_000_000),
            _ => bus.fabric.advance(value % 300),
        }
        // A bounded quantum each: a device that never comes to rest would be a bug of its own.
        for _ in 0..4 {
            let Some(device) = bus.due_device() else {
                break;
            };
            bus.work(device);
        }
        while bus.take_message().is_some() {}
    }
    for (start, what) in [(physical.0, "below"), (physical.0 + 8192, "above")] {
        let mut guard = [0; 4096];
        let read = bus
            .fabric
            .ram
            .memory()
            .read_slice(&mut guard, vm_memory::GuestAddress(start));
        assert!(
            read.is_ok() && guard == [0x11; 4096],
            "the device wrote {what} its mapping"
        );
    }
}
