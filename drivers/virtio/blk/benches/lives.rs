//! What a whole life of virtio_blk costs: machine on, load, probe, 16 requests, unload, machine off.
//!
//! `cargo bench -p virtio_blk --bench lives`: lives a second in several settings and the ratios between them, measured in one run.
//! With `BRINGUP_LIVES=WAY:N` it only lives N lives one way, to be profiled (valgrind's callgrind counts instructions
//! repeatably).

use bringup_bench::{Bench, Report};
use bringup_core::choice::Seeded;
use bringup_devices::virtio::{Blk, BlkOptions, MemoryImage, VirtioPci};
use bringup_spec::virtio::feature;
use std::time::Instant;

/// Bytes of a request.
const BLOCK: usize = 4096;
/// Requests of a life: half of them write, half of them read back.
const REQUESTS: usize = 16;
const DISK: u64 = 64 << 10;
/// Elements of the queue.
const QUEUE: u16 = 32;

#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    packed: bool,
    monitors: bool,
    /// Chance decides: the memory model's choices are taken.
    seeded: bool,
}

const WAYS: [Way; 5] = [
    Way {
        name: "bare",
        packed: false,
        monitors: false,
        seeded: false,
    },
    Way {
        name: "quiet",
        packed: false,
        monitors: true,
        seeded: false,
    },
    Way {
        name: "quiet-packed",
        packed: true,
        monitors: true,
        seeded: false,
    },
    Way {
        name: "random",
        packed: false,
        monitors: true,
        seeded: true,
    },
    Way {
        name: "random-packed",
        packed: true,
        monitors: true,
        seeded: true,
    },
];

fn life(way: Way, seed: u64) -> Report {
    // A machine to explore in is a small one: the driver clears all the memory it shares at the beginning of each life.
    let options = BlkOptions {
        queue_size: QUEUE,
        seg_max: 1,
        size_max: BLOCK as u32,
        ..BlkOptions::default()
    };
    let device = VirtioPci::new(Blk::new(MemoryImage::new(DISK), options))
        .offer(feature::RING_PACKED, way.packed)
        .offer(feature::EVENT_IDX, true)
        .offer(feature::INDIRECT_DESC, true);
    let mut builder = Bench::builder()
        .device("disk", device)
        .monitors(way.monitors);
    if way.seeded {
        builder = builder.chooser(Seeded::new(seed));
    }
    let bench = builder.build().expect("a bench");
    // Where chance decides, memory may be short: then there is no disk, and the life is over sooner.
    if bench.load(&virtio_blk::BRINGUP_MODULE).is_ok() {
        let _ = bench.run("user", || {
            let Ok(file) = bringup_bench::open("vblk0") else {
                return;
            };
            let mut piece = [7; BLOCK];
            for request in 0..REQUESTS / 2 {
                file.seek((request * BLOCK) as i64);
                let _ = file.write(&piece);
                file.seek((request * BLOCK) as i64);
                let _ = file.read(&mut piece);
            }
        });
    }
    bench.finish()
}

/// Nanoseconds of one life, the best of several rounds.
fn nanoseconds(way: Way) -> f64 {
    const LIVES: u64 = 400;
    (0..7)
        .map(|round| {
            let start = Instant::now();
            for number in 0..LIVES {
                let report = life(way, round * LIVES + number);
                assert!(report.is_clean(), "{}: {:?}", way.name, report.findings);
            }
            start.elapsed().as_nanos() as f64 / LIVES as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    if let Ok(wish) = std::env::var("BRINGUP_LIVES") {
        let (name, count) = wish.split_once(':').expect("WAY:N");
        let way = WAYS
            .into_iter()
            .find(|way| way.name == name)
            .expect("a way");
        (0..count.parse().expect("a number")).for_each(|seed| drop(life(way, seed)));
        return;
    }
    println!("lives of virtio_blk with {REQUESTS} requests of {BLOCK} bytes, measured in one run");
    let bare = nanoseconds(WAYS[0]);
    for way in WAYS {
        let time = nanoseconds(way);
        println!(
            "  {:16} {:8.1} us {:8.0} lives/s {:6.2} of bare",
            way.name,
            time / 1e3,
            1e9 / time,
            time / bare
        );
    }
}
