//! What an operation and a life cost, as ratios to the bare device call.
//!
//! `cargo bench -p edu`: criterion's own numbers, then the ratios measured in one run. With `BRINGUP_LIVES=N` it only lives N
//! lives, to be profiled (valgrind's callgrind counts instructions repeatably).

use std::hint::black_box;
use std::time::Instant;

use bringup_bench::{rt, Bench, Limits};
use bringup_core::{Bus, BusConfig, Ram};
use bringup_devices::Edu;
use criterion::{criterion_group, Criterion};

/// Watchdogs off: the benchmark is a task that never sleeps.
fn patient() -> Limits {
    Limits {
        busy_ns: u64::MAX,
        busy_operations: u64::MAX,
        hung_ns: u64::MAX,
        ..Limits::default()
    }
}

fn bare_bus() -> (Bus, bringup_core::DeviceId) {
    let mut bus = Bus::new(BusConfig::quiet(Ram::new(1 << 20).expect("memory")));
    let id = bus.plug("edu", Box::new(Edu::default())).expect("a device");
    bus.config_write(id, 4, 2, 6);
    (bus, id)
}

fn one_life() {
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .build()
        .expect("a bench");
    bench.load(&edu::BRINGUP_MODULE).expect("the driver loads");
    bench
        .run("user", || {
            let file = bringup_bench::open("edu").expect("it opens");
            let mut piece = [7; 256];
            for _ in 0..8 {
                file.seek(0);
                file.write(&piece).expect("a transfer");
                file.seek(0);
                file.read(&mut piece).expect("a transfer");
            }
        })
        .expect("no crash");
    let report = bench.finish();
    assert!(report.is_clean() && report.stats.interrupts == 16);
}

/// Nanoseconds of one `operation`, the best of several rounds.
fn nanoseconds(rounds: u32, times: u32, mut operation: impl FnMut()) -> f64 {
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..times {
                operation();
            }
            start.elapsed().as_nanos() as f64 / f64::from(times)
        })
        .fold(f64::INFINITY, f64::min)
}

fn in_kernel_api<R: 'static>(f: impl FnOnce(usize) -> R) -> R {
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .limits(patient())
        .build()
        .expect("a bench");
    let device = bench.with_bus(|bus| bus.find("edu")).expect("it is there");
    bench
        .run("reader", || {
            rt::pci::enable_device_mem(device);
            let (address, _) = rt::pci::iomap(device, 0).expect("it maps");
            let result = f(address);
            rt::pci::iounmap(address);
            result
        })
        .expect("no crash")
}

type Registers = kernel::io::Region<0x100>;

/// The BAR as a driver sees it.
fn registers(address: usize) -> kernel::io::Mmio<'static, Registers> {
    let raw = kernel::io::MmioRaw::<Registers>::new_region(address, 0x100).expect("it fits");
    // SAFETY: The address comes from `iomap`, and the mapping outlives the use in `in_kernel_api`.
    unsafe { kernel::io::Mmio::from_raw(raw) }
}

fn benches(c: &mut Criterion) {
    c.bench_function("BAR read through the kernel API", |b| {
        in_kernel_api(|_| ());
        b.iter_custom(|times| {
            in_kernel_api(move |address| {
                use kernel::io::Io;
                let io = registers(address);
                let start = Instant::now();
                for _ in 0..times {
                    black_box(io.read32(0x00));
                }
                start.elapsed()
            })
        });
    });
    c.bench_function(
        "life of edu: load, probe, 16 DMA operations with interrupts, unbind, unload",
        |b| b.iter(one_life),
    );
}

criterion_group!(criterion_benches, benches);

fn main() {
    if let Some(lives) = std::env::var("BRINGUP_LIVES")
        .ok()
        .and_then(|lives| lives.parse().ok())
    {
        (0..lives).for_each(|_: u32| one_life());
        return;
    }
    criterion_benches();
    let (mut bus, id) = bare_bus();
    let bare = nanoseconds(7, 200_000, || {
        black_box(bus.bar_read(id, 0, 0, 4, None));
    });
    let api = in_kernel_api(|address| {
        use kernel::io::Io;
        let io = registers(address);
        nanoseconds(7, 200_000, || {
            black_box(io.read32(0x00));
        })
    });
    let life = nanoseconds(7, 500, one_life);
    println!("\nratios, measured in one run");
    println!("  raw device call (bus)              {bare:8.1} ns    1.0");
    println!(
        "  BAR read through the kernel API    {api:8.1} ns  {:5.1}",
        api / bare
    );
    println!(
        "  life of edu, 16 DMA operations     {life:8.0} ns  {:5.0}",
        life / bare
    );
    Criterion::default().configure_from_args().final_summary();
}
