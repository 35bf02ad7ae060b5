//! What a 4 KiB read through a virtqueue costs.
//!
//! `cargo bench -p virtio-ring`: criterion's own numbers, then the ratios measured in one run. With `BRINGUP_READS=WAY:N` it only
//! makes N reads one way (`ring`, `mock`, `split`, `packed`, `split-monitor`, `packed-monitor`), to be profiled (valgrind's
//! callgrind counts instructions repeatably).
//!
//! - *ring* and *mock*: header, data and status go through a split queue between a driver and rust-vmm's device side, in plain
//!   memory; the driver is our ring, or the crate's mock.
//! - *split* and *packed*: our ring, bus, PCI transport, block device and its image, interrupts included; with and without the
//!   protocol monitor.

#[path = "../tests/machine/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod machine;
#[path = "../tests/suite/ram.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod ram;

use bringup_devices::virtio::{Blk, BlkOptions, MemoryImage, VirtioPci};
use criterion::{criterion_group, Criterion, Throughput};
use machine::Machine;
use std::hint::black_box;
use std::time::Instant;
use virtio_queue::desc::{split::Descriptor, RawDescriptor};
use virtio_queue::{mock::MockSplitQueue, Queue as RustVmmQueue, QueueOwnedT, QueueT};
use virtio_ring::{
    feature,
    ring::{Memory, Queue, Segment, Shape},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Requests that are under way at once.
const DEPTH: usize = 64;
/// Elements of a queue: three for each request.
const SIZE: u16 = 256;
const HEADER: u32 = 16;
const DATA: u32 = 4096;
/// Bytes for one request.
const PLACE: usize = 8192;

/// A way to make reads: [`DEPTH`] of them each time.
trait Way {
    fn reads(&mut self);
}

/// rust-vmm's device side serves reads from an image.
struct PlainDevice {
    memory: GuestMemoryMmap,
    queue: RustVmmQueue,
    image: Vec<u8>,
}

impl PlainDevice {
    fn serve(&mut self) -> bool {
        while let Some(mut chain) = self.queue.iter(&self.memory).unwrap().next() {
            let id = chain.head_index();
            let (header, data) = (chain.next().unwrap(), chain.next().unwrap());
            let status = chain.next().unwrap();
            let mut request = [0; HEADER as usize];
            self.memory.read_slice(&mut request, header.addr()).unwrap();
            let from = usize::from(request[8]) * DATA as usize;
            let from = &self.image[from..from + data.len() as usize];
            self.memory.write_slice(from, data.addr()).unwrap();
            self.memory.write_slice(&[0], status.addr()).unwrap();
            self.queue.add_used(&self.memory, id, DATA + 1).unwrap();
        }
        self.queue.needs_notification(&self.memory).unwrap()
    }
}

fn requests(base: u64) -> impl Iterator<Item = [Segment; 3]> {
    (0..DEPTH).map(move |at| {
        let place = base + (at * PLACE) as u64;
        [(place, HEADER), (place + 4096, DATA), (place + 64, 1)]
            .map(|(address, len)| Segment { address, len })
    })
}

fn image() -> Vec<u8> {
    (0..DEPTH * DATA as usize)
        .map(|at| (at / 7) as u8)
        .collect()
}

fn headers(memory: &GuestMemoryMmap, base: u64) {
    for (at, [header, ..]) in requests(base).enumerate() {
        let mut bytes = [0; HEADER as usize];
        bytes[8] = at as u8;
        memory
            .write_slice(&bytes, GuestAddress(header.address))
            .unwrap();
    }
}

/// Our ring.
struct Ring {
    queue: Queue<usize, ram::Window>,
    device: PlainDevice,
    base: u64,
}

impl Ring {
    fn new() -> Self {
        let shape = Shape {
            size: SIZE,
            features: feature::bit(feature::VERSION_1),
            table: 0,
        };
        let (_, data) = ram::plan(shape);
        let data = data.next_multiple_of(4096);
        let ram = ram::Window::new(data + DEPTH * PLACE);
        let queue = ram::queue(&ram, shape);
        let base = ram.address() + data as u64;
        headers(&ram.memory, base);
        let mut raw = RustVmmQueue::new(SIZE).unwrap();
        let [descriptors, driver, device] = queue.addresses().map(GuestAddress);
        raw.try_set_desc_table_address(descriptors).unwrap();
        raw.try_set_avail_ring_address(driver).unwrap();
        raw.try_set_used_ring_address(device).unwrap();
        raw.set_ready(true);
        let device = PlainDevice {
            memory: ram.memory,
            queue: raw,
            image: image(),
        };
        Self {
            queue,
            device,
            base,
        }
    }
}

impl Way for Ring {
    fn reads(&mut self) {
        for (token, [header, data, status]) in requests(self.base).enumerate() {
            self.queue.add(&[header], &[data, status], token).unwrap();
        }
        assert!(self.queue.publish().unwrap());
        assert!(self.device.serve());
        let mut back = 0;
        while let Some(done) = self.queue.pop().unwrap() {
            assert_eq!(done.written, DATA + 1);
            back += 1;
        }
        assert_eq!(back, DEPTH);
    }
}

/// The crate's mock of a driver. It takes nothing back: it begins anew each time.
struct Mock {
    device: PlainDevice,
    base: u64,
}

impl Mock {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16384 + DEPTH * PLACE)]);
        let memory = memory.unwrap();
        headers(&memory, 16384);
        let device = PlainDevice {
            queue: MockSplitQueue::new(&memory, SIZE).create_queue().unwrap(),
            memory,
            image: image(),
        };
        Self {
            device,
            base: 16384,
        }
    }
}

impl Way for Mock {
    fn reads(&mut self) {
        let memory = self.device.memory.clone();
        let mock = MockSplitQueue::new(&memory, SIZE);
        mock.avail().idx().store(0);
        mock.used().idx().store(0);
        self.device.queue = mock.create_queue().unwrap();
        let mut descriptors: Vec<RawDescriptor> = Vec::with_capacity(3 * DEPTH);
        for [header, data, status] in requests(self.base) {
            let next = descriptors.len() as u16 + 1;
            let all = [(header, 1, next), (data, 3, next + 1), (status, 2, 0)];
            descriptors.extend(all.map(|(one, flags, next)| {
                RawDescriptor::from(Descriptor::new(one.address, one.len, flags, next))
            }));
        }
        mock.add_desc_chains(&descriptors, 0).unwrap();
        assert!(self.device.serve());
        let back = mock.used().idx().load();
        for at in 0..back {
            let entry = mock.used().ring().ref_at(at.into()).unwrap().load();
            assert_eq!(entry.len(), DATA + 1);
        }
        assert_eq!(usize::from(back), DEPTH);
    }
}

/// A block device on the bus.
struct Disk {
    machine: Machine,
    queue: Queue<usize, machine::Window>,
    data: machine::Window,
    requests: Vec<[Segment; 3]>,
}

impl Disk {
    fn new(packed: bool, monitor: bool) -> Self {
        let device = Blk::new(MemoryImage::new(1 << 20), BlkOptions::default());
        let device = VirtioPci::new(device)
            .offer(bringup_spec::virtio::feature::RING_PACKED, packed)
            .offer(bringup_spec::virtio::feature::EVENT_IDX, true);
        let wanted = [
            feature::VERSION_1,
            feature::ACCESS_PLATFORM,
            feature::RING_PACKED,
            feature::EVENT_IDX,
        ];
        let wanted = wanted.iter().map(|bit| feature::bit(*bit)).sum();
        let mut machine = Machine::new(device, wanted, monitor);
        assert_eq!(machine.features >> feature::RING_PACKED & 1 != 0, packed);
        let queue = machine.queue(SIZE, 0);
        machine.driver_ok();
        let data = machine.memory(DEPTH * PLACE, 0);
        let segment = |at: usize, offset, len| data.segment(at * PLACE + offset, len);
        let requests: Vec<_> = (0..DEPTH)
            .map(|at| {
                [
                    segment(at, 0, HEADER),
                    segment(at, 4096, DATA),
                    segment(at, 64, 1),
                ]
            })
            .collect();
        for at in 0..DEPTH {
            let sector = 8 * at as u16;
            data.write_bytes(at * PLACE + 8, &sector.to_le_bytes())
                .unwrap();
        }
        Self {
            machine,
            queue,
            data,
            requests,
        }
    }
}

impl Way for Disk {
    fn reads(&mut self) {
        for (token, [header, data, status]) in self.requests.iter().enumerate() {
            self.queue
                .add(&[*header], &[*data, *status], token)
                .unwrap();
        }
        if self.queue.publish().unwrap() {
            self.machine.kick(self.queue.notification_data());
        }
        let mut back = 0;
        loop {
            self.queue.disable_interrupts().unwrap();
            while let Some(done) = self.queue.pop().unwrap() {
                assert_eq!(done.written, DATA + 1);
                let mut status = [1];
                self.data.read(done.token * PLACE + 64, &mut status);
                assert_eq!(status, [0]);
                back += 1;
            }
            if back == DEPTH {
                return;
            }
            if !self.queue.enable_interrupts().unwrap() {
                assert!(self.machine.wait());
            }
        }
    }
}

const WAYS: [&str; 6] = [
    "ring",
    "mock",
    "split",
    "packed",
    "split-monitor",
    "packed-monitor",
];

fn way(name: &str) -> Option<Box<dyn Way>> {
    Some(match name {
        "ring" => Box::new(Ring::new()),
        "mock" => Box::new(Mock::new()),
        "split" => Box::new(Disk::new(false, false)),
        "packed" => Box::new(Disk::new(true, false)),
        "split-monitor" => Box::new(Disk::new(false, true)),
        "packed-monitor" => Box::new(Disk::new(true, true)),
        _ => return None,
    })
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("4 KiB reads");
    group.throughput(Throughput::Elements(DEPTH as u64));
    for name in WAYS {
        let mut way = way(name).expect("one of them");
        group.bench_function(name, |b| b.iter(|| black_box(&mut way).reads()));
    }
    group.finish();
}

criterion_group!(criterion_benches, benches);

/// Nanoseconds of one read, the best of several rounds.
fn nanoseconds(name: &str) -> f64 {
    let mut way = way(name).expect("one of them");
    way.reads();
    let round = |_| {
        let start = Instant::now();
        for _ in 0..200 {
            way.reads();
        }
        start.elapsed().as_nanos() as f64 / (200 * DEPTH) as f64
    };
    (0..9).map(round).fold(f64::INFINITY, f64::min)
}

fn main() {
    if let Ok(wish) = std::env::var("BRINGUP_READS") {
        let (name, count) = wish.split_once(':').expect("WAY:N");
        let mut way = way(name).expect("a way");
        let count: usize = count.parse().expect("a number");
        (0..count / DEPTH).for_each(|_| way.reads());
        return;
    }
    criterion_benches();
    println!("\n4 KiB reads, measured in one run: time, reads a second, ratio to the mock");
    let mock = nanoseconds("mock");
    for name in WAYS {
        let time = nanoseconds(name);
        println!(
            "  {name:16} {time:8.1} ns {:10.0}/s {:6.2}",
            1e9 / time,
            time / mock
        );
    }
    Criterion::default().configure_from_args().final_summary();
}
