//! Reads of 4 KiB through a split ring and the block device, against the copy of the same bytes alone.
//!
//! The ring is written once; a round moves the available index on by a batch, kicks, and lets the device work until all came back.

#![allow(missing_docs, reason = "criterion makes the functions")]

use bringup_core::dma::{DIRTY, Direction, MappingKind, NewMapping};
use bringup_core::pci::{command, offset};
use bringup_core::{Bus, BusConfig, DeviceId, Ram};
use bringup_devices::virtio::{Blk, BlkOptions, MemoryImage, VirtioPci};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vm_memory::{Bytes, GuestAddress};

const SIZE: u64 = 256;
const CHAINS: u64 = 64;
const BLOCK: u64 = 4096;
const IMAGE: u64 = 64 << 20;

struct Bench {
    bus: Bus,
    id: DeviceId,
    avail: GuestAddress,
    used: GuestAddress,
    index: u16,
}

impl Bench {
    fn new(features: u32) -> Self {
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(4 << 20).expect("memory")));
        let options = BlkOptions { latency: 0, ..BlkOptions::default() };
        let blk = Blk::new(MemoryImage::new(IMAGE), options);
        let id = bus.plug("blk", Box::new(VirtioPci::new(blk))).expect("a slot");
        bus.config_write(id, offset::COMMAND, 2, (command::MEMORY | command::BUS_MASTER).into());
        let (ring, ring_at) = map(&mut bus, id, 0x4000);
        let (requests, requests_at) = map(&mut bus, id, 32 * CHAINS);
        let (data, _) = map(&mut bus, id, BLOCK * CHAINS);
        let memory = bus.fabric.ram.memory();
        let put = |at: u64, bytes: &[u8]| memory.write_slice(bytes, GuestAddress(at)).expect("memory");
        put(ring_at.0, &[0; 0x4000]);
        for chain in 0..CHAINS {
            let descriptors = [
                (requests + 32 * chain, 16_u32, 1_u16, 3 * chain + 1),
                (data + BLOCK * chain, BLOCK as u32, 3, 3 * chain + 2),
                (requests + 32 * chain + 16, 1, 2, 0),
            ];
            for (at, (address, len, flags, next)) in descriptors.into_iter().enumerate() {
                let bytes = [
                    &address.to_le_bytes()[..],
                    &len.to_le_bytes(),
                    &flags.to_le_bytes(),
                    &(next as u16).to_le_bytes(),
                ];
                put(ring_at.0 + 16 * (3 * chain + at as u64), &bytes.concat());
            }
            let sector = (chain * 7919 * 8) % (IMAGE / 512);
            put(requests_at.0 + 32 * chain, &[[0; 8], sector.to_le_bytes()].concat());
        }
        for entry in 0..SIZE {
            put(ring_at.0 + 0x1000 + 4 + 2 * entry, &((entry % CHAINS * 3) as u16).to_le_bytes());
        }
        for (register, width, value) in
            [(0x14, 1, 3), (0x08, 4, 0), (0x0c, 4, u64::from(features)), (0x08, 4, 1), (0x0c, 4, 3)]
        {
            bus.bar_write(id, 4, register, width, value, None);
        }
        let setup =
            [(0x14, 1, 11), (0x18, 2, SIZE), (0x20, 4, ring), (0x28, 4, ring + 0x1000), (0x30, 4, ring + 0x2000)];
        for (register, width, value) in setup.into_iter().chain([(0x1c, 2, 1), (0x14, 1, 15)]) {
            bus.bar_write(id, 4, register, width, value, None);
        }
        let (avail, used) = (GuestAddress(ring_at.0 + 0x1002), GuestAddress(ring_at.0 + 0x2002));
        Self { bus, id, avail, used, index: 0 }
    }

    /// `count` requests, together.
    fn round(&mut self, count: u64) {
        self.index = self.index.wrapping_add(count as u16);
        self.bus.fabric.ram.memory().write_obj(self.index, self.avail).expect("memory");
        self.bus.bar_write(self.id, 4, 0x3000, 2, 0, None);
        while self.bus.fabric.ram.memory().read_obj::<u16>(self.used).expect("memory") != self.index {
            let at = self.bus.next_event().expect("the device goes on");
            let now = self.bus.fabric.now();
            self.bus.fabric.advance(at.saturating_sub(now));
            let due = self.bus.due_device().expect("it is due");
            self.bus.work(due);
        }
    }
}

fn map(bus: &mut Bus, id: DeviceId, len: u64) -> (u64, GuestAddress) {
    let physical = bus.fabric.ram.alloc(len, DIRTY).expect("memory");
    let (direction, kind) = (Direction::Bidirectional, MappingKind::Coherent);
    let wanted = NewMapping { physical, len, mask: u64::from(u32::MAX), direction, kind, place: None, at: 0 };
    (bus.port(id).io_space().map(&wanted).expect("addresses"), physical)
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("virtio-blk 4 KiB reads");
    for (name, features) in [("flags", 0), ("event_idx", 1 << 29)] {
        for batch in [1, 32] {
            let mut bench = Bench::new(features);
            group.throughput(Throughput::Elements(batch));
            group.bench_function(format!("device, {name}, batches of {batch}"), |b| b.iter(|| bench.round(batch)));
        }
    }
    let (from, mut to) = (vec![1_u8; BLOCK as usize], vec![0_u8; BLOCK as usize]);
    group.throughput(Throughput::Elements(1));
    group.bench_function("copy alone", |b| b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from))));
    group.finish();
}

criterion_group!(benches, reads);
criterion_main!(benches);
