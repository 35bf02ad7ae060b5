//! Devices that break, lie, vanish or are odd; signals, unbinding and lack of memory.

mod board;

use board::*;
use bringup_bench::{Bench, Errno};
use bringup_core::choice::Seeded;
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::virtio::{BlkOptions, Host, Quirks, VirtioDevice, VirtioPci};

const MIB: u64 = 1 << 20;
const EINTR: Errno = Errno(-4);
const EIO: Errno = Errno(-5);
const ENODEV: Errno = Errno(-19);

fn plain() -> VirtioPci {
    disk(MIB, BlkOptions::default())
}

fn with_faults(device: VirtioPci, faults: Vec<Fault>) -> Bench {
    loaded(
        Bench::builder()
            .device("disk", device)
            .plan(Plan::new(faults)),
    )
}

#[test]
fn a_lost_interrupt_costs_time_and_nothing_else() {
    let fault = Fault {
        times: Some(1),
        ..Fault::new(Verb::Irq, Behaviour::Drop)
    };
    let bench = with_faults(plain(), vec![fault]);
    let file = bench.open("vblk0").unwrap();
    assert_eq!(file.write(&[3; 4096]), Ok(4096));
    let mut back = [0; 4096];
    file.seek(0);
    assert_eq!(file.read(&mut back), Ok(4096));
    assert_eq!(back, [3; 4096]);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn a_request_that_is_lost_is_submitted_again_after_a_reset() {
    // The device sleeps through its first wake-up, and is woken by the reset only.
    let fault = Fault {
        times: Some(1),
        ..Fault::new(Verb::Time, Behaviour::Drop)
    };
    for features in [&[][..], &[bringup_spec::virtio::feature::RING_PACKED]] {
        let bench = with_faults(in_mode(plain(), features), vec![fault.clone()]);
        let file = bench.open("vblk0").unwrap();
        let data = pattern(5, 300_000);
        assert_eq!(file.write(&data), Ok(data.len()));
        assert!(bench.now() >= 10_000_000_000, "{}", bench.now());
        let mut back = vec![0; data.len()];
        file.seek(0);
        assert_eq!(file.read(&mut back), Ok(data.len()));
        assert!(back == data);
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_device_that_never_answers_is_given_up_in_bounded_time() {
    let bench = with_faults(plain(), vec![Fault::new(Verb::Time, Behaviour::Drop)]);
    let file = bench.open("vblk0").unwrap();
    assert_eq!(file.read(&mut [0; 4096]), Err(EIO));
    let first = bench.now();
    assert!(first < 120_000_000_000, "{first}");
    assert_eq!(file.read(&mut [0; 4096]), Err(EIO));
    assert!(bench.now() - first < 120_000_000_000);
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn rings_that_the_device_fills_with_nonsense_do_no_harm() {
    for seed in 0..60 {
        let fault = Fault {
            after: seed % 7,
            times: Some(1 + seed % 5),
            mask: Some(0xffff_ffff_ffff_ffff >> (seed % 63)),
            ..Fault::new(Verb::DmaWrite, Behaviour::Corrupt)
        };
        let features: &[u32] = if seed % 2 == 0 {
            &[]
        } else {
            &[bringup_spec::virtio::feature::RING_PACKED]
        };
        let bench = with_faults(in_mode(plain(), features), vec![fault]);
        let file = bench.open("vblk0").unwrap();
        for _ in 0..4 {
            let _ = file.write(&[1; 3000]);
            file.seek(0);
            let _ = file.read(&mut [0; 5000]);
        }
        // What was corrupted may have been data; now there is nothing wrong any more.
        file.seek(0);
        assert_eq!(file.write(&[9; 4096]), Ok(4096), "{seed}");
        file.seek(0);
        let mut back = [0; 4096];
        assert_eq!(file.read(&mut back), Ok(4096), "{seed}");
        assert_eq!(back, [9; 4096], "{seed}");
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn unbinding_ends_what_is_under_way() {
    for seed in 0..60 {
        let options = BlkOptions {
            queues: 2,
            latency: 5_000_000,
            ..BlkOptions::default()
        };
        let bench = Bench::builder()
            .device("disk", disk(MIB, options))
            .chooser(Seeded::new(seed))
            .build()
            .unwrap();
        if bench.load(&virtio_blk::BRINGUP_MODULE).is_err() || bench.driver_of("disk").is_none() {
            // There was no memory.
            assert_clean(&bench.finish());
            continue;
        }
        let jobs: Vec<_> = (0..3)
            .map(|_| {
                bench.spawn("writer", || {
                    let file = bringup_bench::open("vblk0")?;
                    file.seek(100);
                    file.write(&[7; 300_000])
                })
            })
            .collect();
        bench.advance(seed * 400_000);
        bench.unbind("disk").unwrap();
        for job in &jobs {
            let outcome = bench.join(job).unwrap();
            assert!(
                matches!(outcome, Ok(1..=300_000) | Err(ENODEV | Errno(-12 | -2))),
                "{outcome:?}"
            );
        }
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_file_that_is_open_across_unbind_gets_no_device() {
    let bench = bench(plain());
    let file = bench.open("vblk0").unwrap();
    bench.unbind("disk").unwrap();
    assert_eq!(file.write(b"late"), Err(ENODEV));
    assert_eq!(bench.open("vblk0").err(), Some(Errno(-2)));
    drop(file);
    bench.bind("disk").unwrap();
    assert_eq!(bench.open("vblk0").unwrap().write(&[1; 512]), Ok(512));
    assert_clean(&bench.finish());
}

#[test]
fn a_disk_that_is_pulled_out_ends_its_requests() {
    let options = BlkOptions {
        latency: 50_000_000,
        ..BlkOptions::default()
    };
    let bench = bench(disk(MIB, options));
    let job = bench.spawn("writer", || bringup_bench::open("vblk0")?.write(&[7; 4096]));
    bench.advance(1_000_000);
    bench.surprise_remove("disk").unwrap();
    assert_eq!(bench.join(&job).unwrap(), Err(ENODEV));
    assert_clean(&bench.finish());
}

fn plain_with_latency(latency: u64) -> VirtioPci {
    let options = BlkOptions {
        latency,
        ..BlkOptions::default()
    };
    disk(MIB, options)
}

#[test]
fn a_signal_ends_a_wait_and_the_slot_comes_back_later() {
    let options = BlkOptions {
        latency: 50_000_000,
        ..BlkOptions::default()
    };
    let bench = bench(disk(MIB, options));
    let job = bench.spawn("writer", || bringup_bench::open("vblk0")?.write(&[7; 4096]));
    bench.advance(1_000_000);
    bench.signal(&job);
    assert_eq!(bench.join(&job).unwrap(), Err(EINTR));
    let file = bench.open("vblk0").unwrap();
    // More than there are slots, one after the other.
    for _ in 0..70 {
        file.seek(0);
        assert_eq!(file.read(&mut [0; 512]), Ok(512));
    }
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn an_interrupt_wakes_only_those_whose_requests_are_done() {
    let bench = bench(plain_with_latency(1_000_000));
    let reader = |_| {
        bench.spawn("reader", || {
            let file = bringup_bench::open("vblk0")?;
            for _ in 0..10 {
                file.seek(0);
                file.read(&mut [0; 512])?;
            }
            Ok::<_, Errno>(())
        })
    };
    let jobs: Vec<_> = (0..30).map(reader).collect();
    for job in &jobs {
        assert_eq!(bench.join(job).unwrap(), Ok(()));
    }
    let report = bench.finish();
    assert_clean(&report);
    // 300 requests: each puts its reader to sleep once. With every reader woken by every interrupt it would be a multiple.
    assert!(report.stats.switches < 900, "{}", report.stats.switches);
}

#[test]
fn whoever_looks_after_the_queue_and_gives_up_leaves_it_to_another() {
    let bench = bench(plain_with_latency(50_000_000));
    let read = || bringup_bench::open("vblk0")?.read(&mut [0; 512]);
    let first = bench.spawn("first", read);
    let others = [bench.spawn("second", read), bench.spawn("third", read)];
    bench.advance(1_000_000);
    bench.signal(&first);
    assert_eq!(bench.join(&first).unwrap(), Err(EINTR));
    for other in &others {
        assert_eq!(bench.join(other).unwrap(), Ok(512));
    }
    // Nobody waited for a time-out.
    assert!(bench.now() < 1_000_000_000, "{}", bench.now());
    assert_clean(&bench.finish());
}

#[test]
fn all_who_wait_are_sent_away_when_the_device_is_unbound() {
    let bench = bench(plain_with_latency(5_000_000_000));
    let read = || bringup_bench::open("vblk0")?.read(&mut [0; 512]);
    let jobs = [(); 3].map(|()| bench.spawn("reader", read));
    bench.advance(1_000_000);
    bench.unbind("disk").unwrap();
    for job in &jobs {
        assert_eq!(bench.join(job).unwrap(), Err(ENODEV));
    }
    assert!(bench.now() < 1_000_000_000, "{}", bench.now());
    assert_clean(&bench.finish());
}

#[test]
fn oddities_that_are_allowed_make_no_difference() {
    let every = Quirks {
        unknown_features: (1 << 3) | (1 << 25) | (1 << 44) | (1 << 49) | (1 << 90),
        unknown_capability: true,
        reserved_bar: true,
        longer_capabilities: 8,
        huge_lengths: true,
        vendor_capability: true,
        revision: Some(77),
        longer_config: 300,
        config_changes: 5,
        spurious_every: 1,
        ..Quirks::default()
    };
    for vectors in [0, 1, 2048] {
        let bench = bench(plain().quirks(every.clone()).msix_vectors(vectors));
        assert!(
            bench.log().contains("2048 sectors, blocks of 512"),
            "{}",
            bench.log()
        );
        let file = bench.open("vblk0").unwrap();
        let data = pattern(8, 50_000);
        assert_eq!(file.write(&data), Ok(data.len()));
        let mut back = vec![0; data.len()];
        file.seek(0);
        assert_eq!(file.read(&mut back), Ok(data.len()));
        assert!(back == data);
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_device_that_asks_for_a_reset_gets_it_and_its_requests_again() {
    for features in [&[][..], &[bringup_spec::virtio::feature::RING_PACKED]] {
        let quirks = Quirks {
            needs_reset_after: 3,
            ..Quirks::default()
        };
        let bench = bench(in_mode(plain(), features).quirks(quirks));
        let file = bench.open("vblk0").unwrap();
        for round in 0..10_u8 {
            file.seek(0);
            assert_eq!(file.write(&[round; 5000]), Ok(5000), "{round}");
            let mut back = [0xff; 5000];
            file.seek(0);
            assert_eq!(file.read(&mut back), Ok(5000));
            assert_eq!(back, [round; 5000]);
        }
        drop(file);
        assert!(bench.log().contains("the device is reset"));
        // Nobody waited for a time-out.
        assert!(bench.now() < 5_000_000_000, "{}", bench.now());
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_device_that_does_not_agree_is_told_and_left() {
    let quirks = Quirks {
        refuse_features: true,
        ..Quirks::default()
    };
    let bench = bench(plain().quirks(quirks));
    assert_eq!(bench.driver_of("disk"), None);
    assert_clean(&bench.finish());
}

#[test]
fn a_slow_reset_is_waited_for() {
    let quirks = Quirks {
        slow_reset: 300_000_000,
        one_notify_address: true,
        ..Quirks::default()
    };
    let bench = bench(plain().quirks(quirks));
    assert_eq!(bench.open("vblk0").unwrap().write(&[1; 512]), Ok(512));
    assert_clean(&bench.finish());
}

#[test]
fn a_device_without_vectors_to_give_is_driven_by_its_pin() {
    let quirks = Quirks {
        no_vectors: true,
        ..Quirks::default()
    };
    let bench = bench(plain().quirks(quirks));
    assert!(bench.log().contains("INTx"), "{}", bench.log());
    assert_eq!(bench.open("vblk0").unwrap().write(&[1; 512]), Ok(512));
    assert_clean(&bench.finish());
}

/// A disk that says all is well and that it wrote no more than that.
#[derive(Debug)]
struct Liar;

impl VirtioDevice for Liar {
    fn device_type(&self) -> u16 {
        bringup_spec::virtio::device_type::BLOCK
    }

    fn features(&self) -> u128 {
        0
    }

    fn queues(&self) -> Vec<u16> {
        vec![8]
    }

    fn config_len(&self) -> usize {
        60
    }

    fn read_config(&self, offset: usize, into: &mut [u8]) {
        // A capacity of 0x0101 sectors, and the rest zeros.
        for (at, byte) in (offset..).zip(into) {
            *byte = u8::from(at < 2);
        }
    }

    fn work(&mut self, host: &mut Host<'_, '_>) {
        while let Some(chain) = host.pop(0) {
            let last = chain.writable_len() - 1;
            host.write(&chain, last, &[0]).unwrap();
            host.push(0, chain, 1);
        }
    }

    fn reset(&mut self) {}
}

#[test]
fn bytes_that_the_device_does_not_say_it_wrote_are_not_handed_on() {
    for features in [&[][..], &[bringup_spec::virtio::feature::RING_PACKED]] {
        let bench = bench(in_mode(VirtioPci::new(Liar), features));
        let file = bench.open("vblk0").unwrap();
        assert_eq!(file.read(&mut [0; 512]), Err(EIO));
        // Of a write it writes no more than that.
        assert_eq!(file.write(&[1; 512]), Ok(512));
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn every_schedule_gives_the_right_bytes() {
    for seed in 0..150 {
        let (name, features) = MODES[seed as usize % MODES.len()];
        let options = BlkOptions {
            queues: 1 + (seed % 3) as u16,
            queue_size: 4 << (seed % 4),
            ..BlkOptions::default()
        };
        let device = in_mode(disk(MIB, options), features).msix_vectors((seed % 5) as u16);
        let bench = Bench::builder()
            .device("disk", device)
            .chooser(Seeded::new(seed))
            .build()
            .unwrap();
        if bench.load(&virtio_blk::BRINGUP_MODULE).is_err() || bench.driver_of("disk").is_none() {
            assert_clean(&bench.finish());
            continue;
        }
        let jobs: Vec<_> = (0..3_u64)
            .map(|user| {
                bench.spawn("user", move || {
                    let file = bringup_bench::open("vblk0")?;
                    let data = pattern(seed * 3 + user, 20_000 + user as usize * 7777);
                    let at = (user * 200_000 + seed) as i64;
                    file.seek(at);
                    let written = file.write(&data)?;
                    let mut back = vec![0; data.len()];
                    file.seek(at);
                    let read = file.read(&mut back)?;
                    Ok::<_, Errno>(back[..read] == data[..read] && written == read)
                })
            })
            .collect();
        for job in &jobs {
            let outcome = bench.join(job).unwrap();
            assert_eq!(outcome, Ok(true), "{name}, seed {seed}");
        }
        // Nothing was lost, so nobody waited for a time-out.
        assert!(
            !bench.log().contains("reset"),
            "{name}, seed {seed}: {}",
            bench.log()
        );
        assert_clean(&bench.finish());
    }
}
