//! What the driver does for its users, and how it leaves.

use bringup_bench::{Bench, Errno, Report};
use bringup_core::choice::Seeded;
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::virtio::{Quirks, Rng, VirtioPci};
use bringup_spec::virtio::feature;

const EIO: Errno = Errno(-5);
const ENODEV: Errno = Errno(-19);

fn device() -> VirtioPci {
    VirtioPci::new(Rng::default())
}

fn bench(device: VirtioPci) -> Bench {
    let bench = Bench::builder().device("rng", device).build().unwrap();
    bench.load(&virtio_rng::BRINGUP_MODULE).unwrap();
    bench
}

fn assert_clean(report: &Report) {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{}\n{}",
        findings.join("\n"),
        report.log_text()
    );
}

/// Whether so many bytes can be random: the odds against it are astronomical.
fn looks_random(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| **byte == 0).count() < bytes.len() / 20
}

#[test]
fn it_binds_and_says_so() {
    let bench = bench(device());
    assert_eq!(bench.driver_of("rng"), Some("virtio_rng"));
    assert_eq!(
        bench.log(),
        "virtio_rng 0000:00:03.0: vrng0: split queue of 8, MSI-X\n"
    );
    bench.unload("virtio_rng").unwrap();
    assert_eq!(bench.driver_of("rng"), None);
    assert_clean(&bench.finish());
}

#[test]
fn a_read_is_filled_with_bytes_of_the_device_in_every_mode() {
    for features in [
        &[][..],
        &[feature::EVENT_IDX],
        &[feature::RING_PACKED],
        &[feature::RING_PACKED, feature::EVENT_IDX, feature::IN_ORDER],
        &[feature::NOTIFICATION_DATA],
    ] {
        for vectors in [0, 1, 2] {
            let mut device = device().msix_vectors(vectors);
            for bit in [
                feature::EVENT_IDX,
                feature::RING_PACKED,
                feature::IN_ORDER,
                feature::NOTIFICATION_DATA,
            ] {
                device = device.offer(bit, features.contains(&bit));
            }
            let bench = bench(device);
            let file = bench.open("vrng0").unwrap();
            let mut bytes = [0; 1300];
            assert_eq!(file.read(&mut bytes), Ok(1300));
            assert!(looks_random(&bytes));
            assert_eq!(file.read(&mut []), Ok(0));
            drop(file);
            assert_clean(&bench.finish());
        }
    }
}

#[test]
fn only_what_the_device_wrote_is_handed_on() {
    // It gives seven bytes at a time; between them nothing else may turn up.
    let bench = bench(VirtioPci::new(Rng::new(5).most(7)));
    let file = bench.open("vrng0").unwrap();
    let mut bytes = [0; 700];
    assert_eq!(file.read(&mut bytes), Ok(700));
    assert!(looks_random(&bytes));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn a_device_that_claims_more_than_there_was_room_for_is_reset() {
    // The third write is the used ring's length, the fourth its index: a length of all ones cannot be.
    for after in 0..6 {
        let fault = Fault {
            after,
            times: Some(1),
            mask: Some(u64::MAX),
            ..Fault::new(Verb::DmaWrite, Behaviour::Corrupt)
        };
        let bench = Bench::builder()
            .device("rng", device())
            .plan(Plan::new(vec![fault]))
            .build()
            .unwrap();
        bench.load(&virtio_rng::BRINGUP_MODULE).unwrap();
        let file = bench.open("vrng0").unwrap();
        let mut bytes = [0; 512];
        for _ in 0..3 {
            assert_eq!(file.read(&mut bytes), Ok(512), "{after}");
        }
        assert!(looks_random(&bytes));
        drop(file);
        assert_clean(&bench.finish());
    }
}

#[test]
fn a_device_that_never_answers_is_given_up() {
    let bench = Bench::builder()
        .device("rng", device())
        .plan(Plan::new(vec![Fault::new(Verb::Time, Behaviour::Drop)]))
        .build()
        .unwrap();
    bench.load(&virtio_rng::BRINGUP_MODULE).unwrap();
    let file = bench.open("vrng0").unwrap();
    assert_eq!(file.read(&mut [0; 64]), Err(EIO));
    drop(file);
    assert!(bench.now() < 120_000_000_000);
    assert_clean(&bench.finish());
}

#[test]
fn oddities_and_resets_make_no_difference() {
    let quirks = Quirks {
        unknown_features: (1 << 3) | (1 << 44) | (1 << 90),
        unknown_capability: true,
        reserved_bar: true,
        longer_capabilities: 8,
        huge_lengths: true,
        vendor_capability: true,
        revision: Some(9),
        spurious_every: 1,
        needs_reset_after: 4,
        slow_reset: 100_000_000,
        ..Quirks::default()
    };
    let bench = bench(device().quirks(quirks));
    let file = bench.open("vrng0").unwrap();
    let mut bytes = [0; 16_000];
    assert_eq!(file.read(&mut bytes), Ok(16_000));
    assert!(looks_random(&bytes));
    drop(file);
    assert_clean(&bench.finish());
}

#[test]
fn pulling_it_out_and_unbinding_end_reads_under_every_schedule() {
    for seed in 0..60 {
        let bench = Bench::builder()
            .device("rng", VirtioPci::new(Rng::new(seed).delay(3_000_000)))
            .chooser(Seeded::new(seed))
            .build()
            .unwrap();
        if bench.load(&virtio_rng::BRINGUP_MODULE).is_err() || bench.driver_of("rng").is_none() {
            // There was no memory.
            assert_clean(&bench.finish());
            continue;
        }
        let jobs: Vec<_> = (0..3)
            .map(|_| {
                bench.spawn("reader", || {
                    bringup_bench::open("vrng0")?.read(&mut [0; 3000])
                })
            })
            .collect();
        bench.advance(seed * 300_000);
        if seed % 2 == 0 {
            bench.unbind("rng").unwrap();
        } else {
            bench.surprise_remove("rng").unwrap();
        }
        for job in &jobs {
            let outcome = bench.join(job).unwrap();
            assert!(
                matches!(outcome, Ok(1..=3000) | Err(ENODEV | Errno(-12 | -2))),
                "{outcome:?}"
            );
        }
        assert_clean(&bench.finish());
    }
}
