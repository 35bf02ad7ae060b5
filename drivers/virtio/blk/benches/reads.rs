//! What a read of 4 KiB through driver, ring and device costs.
//!
//! `cargo bench -p virtio_blk`: criterion's own numbers, then the ratios measured in one run. With `BRINGUP_READS=WAY:N` it only
//! makes N reads one way (`mock`, or one of `batch`, `32` and `1`, with `-packed`, `-monitor` or both behind it), to be
//! profiled (valgrind's callgrind counts instructions repeatably).
//!
//! A request is one header, 4 KiB of data and one status on the device's queue, with all that belongs to it: the user's call,
//! locks, ring, kick, DMA, image, interrupt, wake-up, and the copy to the user. In the ways they differ in who asks:
//!
//! - *batch*: one process reads 1 MiB a call. The device takes no more than 4 KiB in a request, so the driver makes 256 of a
//!   call, of which up to 32 are under way.
//! - *32*: 32 processes read 4 KiB a call.
//! - *1*: one process does: nothing is shared by two requests.
//! - *mock*: no machine at all. rust-vmm's mock of a driver, its device queue and a copy, in plain memory: the floor.

use bringup_bench::{Bench, File, Limits};
use bringup_devices::virtio::{Blk, BlkOptions, MemoryImage, VirtioPci};
use bringup_spec::virtio::feature;
use criterion::{criterion_group, Criterion, Throughput};
use std::hint::black_box;
use std::time::{Duration, Instant};
use virtio_queue::desc::{split::Descriptor, RawDescriptor};
use virtio_queue::{mock::MockSplitQueue, Queue as RustVmmQueue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Bytes of a request.
const BLOCK: usize = 4096;
/// Bytes of a call in a batch.
const CALL: usize = 1 << 20;
/// Bytes of the disk.
const DISK: usize = 4 << 20;
/// Requests of a round.
const ROUND: usize = 2048;
const PROCESSES: usize = 32;

/// A way to make reads: [`ROUND`] of them each time.
trait Way {
    fn reads(&mut self);
}

/// Block numbers of one process, which look random.
struct Blocks(u64);

impl Blocks {
    fn next(&mut self) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % (DISK / BLOCK)
    }
}

/// Each block begins with its number.
fn assert_is_block(bytes: &[u8], block: usize) {
    assert_eq!(bytes[..4], (block as u32).to_le_bytes());
}

fn read_blocks(file: &File, seed: usize, count: usize) {
    let mut blocks = Blocks(seed as u64);
    let mut bytes = [0; BLOCK];
    for _ in 0..count {
        let block = blocks.next();
        file.seek((block * BLOCK) as i64);
        assert_eq!(file.read(&mut bytes), Ok(BLOCK));
        assert_is_block(&bytes, block);
    }
}

fn open() -> File {
    bringup_bench::open("vblk0").expect("the disk opens")
}

#[derive(Clone, Copy)]
enum Who {
    /// One process, with calls of 1 MiB.
    Batch,
    Processes(usize),
}

/// The driver and its disk in a machine.
struct Disk {
    bench: Option<Bench>,
    who: Who,
}

impl Disk {
    fn new(who: Who, packed: bool, monitor: bool) -> Self {
        let options = BlkOptions {
            size_max: BLOCK as u32,
            seg_max: 1,
            ..BlkOptions::default()
        };
        let device = VirtioPci::new(Blk::new(MemoryImage::new(DISK as u64), options))
            .offer(feature::RING_PACKED, packed)
            .offer(feature::EVENT_IDX, true)
            .offer(feature::INDIRECT_DESC, true);
        // A benchmark is busy for longer than a watchdog likes.
        let limits = Limits {
            busy_ns: u64::MAX,
            busy_operations: u64::MAX,
            call_ns: u64::MAX,
            ..Limits::default()
        };
        let builder = Bench::builder().device("disk", device).limits(limits);
        let bench = builder.monitors(monitor).build().expect("a bench");
        bench
            .load(&virtio_blk::BRINGUP_MODULE)
            .expect("the driver loads");
        let mut image = vec![0; DISK];
        for (block, bytes) in image.chunks_mut(BLOCK).enumerate() {
            bytes[..4].copy_from_slice(&(block as u32).to_le_bytes());
        }
        let written = bench.run("writer", || open().write(&image));
        assert_eq!(written, Ok(Ok(DISK)));
        Self {
            bench: Some(bench),
            who,
        }
    }
}

impl Way for Disk {
    fn reads(&mut self) {
        let Some(bench) = &self.bench else { return };
        match self.who {
            Who::Batch => bench
                .run("reader", || {
                    let file = open();
                    let mut bytes = vec![0; CALL];
                    for call in 0..ROUND * BLOCK / CALL {
                        let at = call * CALL % DISK;
                        file.seek(at as i64);
                        assert_eq!(file.read(&mut bytes), Ok(CALL));
                        for (index, piece) in bytes.chunks(BLOCK).enumerate() {
                            assert_is_block(piece, at / BLOCK + index);
                        }
                    }
                })
                .expect("the reader ends"),
            Who::Processes(count) => {
                let jobs: Vec<_> = (0..count)
                    .map(|seed| {
                        bench.spawn("reader", move || read_blocks(&open(), seed, ROUND / count))
                    })
                    .collect();
                for job in &jobs {
                    bench.join(job).expect("the reader ends");
                }
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(bench) = self.bench.take() {
            assert!(bench.finish().is_clean());
        }
    }
}

/// Requests that the mock has under way at once.
const DEPTH: usize = 64;
const SIZE: u16 = 256;
const HEADER: u32 = 16;
const MOCK_DATA: u64 = 16384;

/// rust-vmm's mock of a driver and its device queue. The mock takes nothing back: it begins anew each time.
struct Mock {
    memory: GuestMemoryMmap,
    image: Vec<u8>,
    user: Vec<u8>,
}

impl Mock {
    fn new() -> Self {
        let bytes = MOCK_DATA as usize + DEPTH * 2 * BLOCK;
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]);
        Self {
            memory: memory.expect("memory"),
            image: vec![1; DISK],
            user: vec![0; BLOCK],
        }
    }

    fn place(at: usize, offset: u64) -> u64 {
        MOCK_DATA + (at * 2 * BLOCK) as u64 + offset
    }

    fn batch(&mut self) {
        let memory = &self.memory;
        let mock = MockSplitQueue::new(memory, SIZE);
        mock.avail().idx().store(0);
        mock.used().idx().store(0);
        let mut queue: RustVmmQueue = mock.create_queue().expect("a queue");
        let mut descriptors: Vec<RawDescriptor> = Vec::with_capacity(3 * DEPTH);
        for at in 0..DEPTH {
            let mut header = [0; HEADER as usize];
            header[8..16].copy_from_slice(&(8 * at as u64).to_le_bytes());
            memory
                .write_slice(&header, GuestAddress(Self::place(at, 0)))
                .unwrap();
            let next = descriptors.len() as u16 + 1;
            for (offset, len, flags, next) in [
                (0, HEADER, 1, next),
                (BLOCK as u64, BLOCK as u32, 3, next + 1),
                (64, 1, 2, 0),
            ] {
                let one = Descriptor::new(Self::place(at, offset), len, flags, next);
                descriptors.push(one.into());
            }
        }
        mock.add_desc_chains(&descriptors, 0).unwrap();
        while let Some(mut chain) = queue.iter(memory).unwrap().next() {
            let id = chain.head_index();
            let (header, data) = (chain.next().unwrap(), chain.next().unwrap());
            let status = chain.next().unwrap();
            let mut request = [0; HEADER as usize];
            memory.read_slice(&mut request, header.addr()).unwrap();
            let sector: [u8; 8] = request[8..16].try_into().unwrap();
            let from = u64::from_le_bytes(sector) as usize * 512;
            let from = &self.image[from..from + data.len() as usize];
            memory.write_slice(from, data.addr()).unwrap();
            memory.write_slice(&[0], status.addr()).unwrap();
            queue.add_used(memory, id, BLOCK as u32 + 1).unwrap();
        }
        assert!(queue.needs_notification(memory).unwrap());
        let back = mock.used().idx().load();
        assert_eq!(usize::from(back), DEPTH);
        for at in 0..usize::from(back) {
            let entry = mock.used().ring().ref_at(at).unwrap().load();
            assert_eq!(entry.len(), BLOCK as u32 + 1);
            // The user gets a copy, as the driver's user does.
            let data = GuestAddress(Self::place(at, BLOCK as u64));
            memory.read_slice(&mut self.user, data).unwrap();
            black_box(&mut self.user);
        }
    }
}

impl Way for Mock {
    fn reads(&mut self) {
        (0..ROUND / DEPTH).for_each(|_| self.batch());
    }
}

const WAYS: [&str; 13] = [
    "mock",
    "batch",
    "batch-packed",
    "batch-monitor",
    "batch-packed-monitor",
    "32",
    "32-packed",
    "32-monitor",
    "32-packed-monitor",
    "1",
    "1-packed",
    "1-monitor",
    "1-packed-monitor",
];

fn way(name: &str) -> Box<dyn Way> {
    let mut words = name.split('-');
    let who = match words.next() {
        Some("mock") => return Box::new(Mock::new()),
        Some("batch") => Who::Batch,
        Some("32") => Who::Processes(PROCESSES),
        Some("1") => Who::Processes(1),
        _ => panic!("the ways are {WAYS:?}"),
    };
    let (mut packed, mut monitor) = (false, false);
    for word in words {
        match word {
            "packed" => packed = true,
            "monitor" => monitor = true,
            _ => panic!("the ways are {WAYS:?}"),
        }
    }
    Box::new(Disk::new(who, packed, monitor))
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("4 KiB reads of virtio_blk");
    group.throughput(Throughput::Elements(ROUND as u64));
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(600));
    for name in WAYS {
        let mut way = way(name);
        group.bench_function(name, |b| b.iter(|| way.reads()));
    }
    group.finish();
}

criterion_group!(criterion_benches, benches);

/// Nanoseconds of one read, the best of several rounds.
fn nanoseconds(name: &str) -> f64 {
    let mut way = way(name);
    way.reads();
    let round = |_| {
        let start = Instant::now();
        (0..4).for_each(|_| way.reads());
        start.elapsed().as_nanos() as f64 / (4 * ROUND) as f64
    };
    (0..7).map(round).fold(f64::INFINITY, f64::min)
}

fn main() {
    if let Ok(wish) = std::env::var("BRINGUP_READS") {
        let (name, count) = wish.split_once(':').expect("WAY:N");
        let count: usize = count.parse().expect("a number");
        let mut way = way(name);
        (0..count / ROUND).for_each(|_| way.reads());
        return;
    }
    criterion_benches();
    println!("\n4 KiB reads, measured in one run: time, reads a second, ratio to the mock");
    let mock = nanoseconds("mock");
    for name in WAYS {
        let time = nanoseconds(name);
        println!(
            "  {name:20} {time:8.1} ns {:10.0}/s {:6.2}",
            1e9 / time,
            time / mock
        );
    }
    Criterion::default().configure_from_args().final_summary();
}
