//! What the driver does for its users, and how it leaves.

use bringup_bench::{Bench, Errno, Report};
use bringup_core::choice::Seeded;
use bringup_core::fault::{Behaviour, Fault, Verb};
use bringup_core::Plan;
use bringup_devices::virtio::{Rng, VirtioPci};
use bringup_spec::virtio::feature;

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
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn it_binds_and_says_so() {
    let bench = bench(device());
    assert_eq!(bench.driver_of("rng"), Some("virtio_rng"));
    assert_eq!(
        bench.log(),
        "virtio_rng 0000:00:03.0: vrng0: split queue of 8, MSI-X\n"
    );
    assert_clean(&bench.finish());
}

#[test]
fn a_read_is_filled_with_bytes_of_the_device() {
    let bench = bench(device());
    let file = bench.open("vrng0").unwrap();
    let mut bytes = [0; 1300];
    assert_eq!(file.read(&mut bytes), Ok(1300));
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    assert!(zeros < 30, "{zeros} of 1300 are zero");
    drop(file);
    assert_clean(&bench.finish());
}
