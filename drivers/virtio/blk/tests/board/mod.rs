//! A disk in a machine, for the tests here.

use bringup_bench::{Bench, Builder, Report};
use bringup_devices::virtio::{Blk, BlkOptions, MemoryImage, VirtioPci};
use bringup_spec::virtio::feature;

/// A disk of so many bytes.
pub(crate) fn disk(bytes: u64, options: BlkOptions) -> VirtioPci {
    VirtioPci::new(Blk::new(MemoryImage::new(bytes), options))
}

/// How a transport can be set: which ring and transport features are offered beside VERSION_1.
pub(crate) const MODES: [(&str, &[u32]); 12] = [
    ("plain split", &[]),
    ("indirect", &[feature::INDIRECT_DESC]),
    ("event index", &[feature::EVENT_IDX]),
    ("in order", &[feature::IN_ORDER]),
    (
        "all split",
        &[
            feature::INDIRECT_DESC,
            feature::EVENT_IDX,
            feature::IN_ORDER,
            feature::ACCESS_PLATFORM,
            feature::ORDER_PLATFORM,
            feature::RING_RESET,
            feature::NOTIFICATION_DATA,
        ],
    ),
    ("notification data", &[feature::NOTIFICATION_DATA]),
    ("packed", &[feature::RING_PACKED]),
    (
        "packed indirect",
        &[feature::RING_PACKED, feature::INDIRECT_DESC],
    ),
    (
        "packed event index",
        &[feature::RING_PACKED, feature::EVENT_IDX],
    ),
    (
        "packed in order",
        &[feature::RING_PACKED, feature::IN_ORDER],
    ),
    (
        "packed notification data",
        &[feature::RING_PACKED, feature::NOTIFICATION_DATA],
    ),
    (
        "all packed",
        &[
            feature::RING_PACKED,
            feature::INDIRECT_DESC,
            feature::EVENT_IDX,
            feature::IN_ORDER,
            feature::ACCESS_PLATFORM,
            feature::ORDER_PLATFORM,
            feature::RING_RESET,
            feature::NOTIFICATION_DATA,
            feature::NOTIF_CONFIG_DATA,
        ],
    ),
];

/// All features of [`MODES`].
const ALL: [u32; 9] = [
    feature::INDIRECT_DESC,
    feature::EVENT_IDX,
    feature::ACCESS_PLATFORM,
    feature::RING_PACKED,
    feature::IN_ORDER,
    feature::ORDER_PLATFORM,
    feature::NOTIFICATION_DATA,
    feature::NOTIF_CONFIG_DATA,
    feature::RING_RESET,
];

/// The device with just these features of rings and transport.
pub(crate) fn in_mode(mut device: VirtioPci, features: &[u32]) -> VirtioPci {
    for feature in ALL {
        device = device.offer(feature, features.contains(&feature));
    }
    device
}

/// A machine with the disk and its driver.
pub(crate) fn bench(device: VirtioPci) -> Bench {
    loaded(Bench::builder().device("disk", device))
}

pub(crate) fn loaded(builder: Builder) -> Bench {
    let bench = builder.build().unwrap();
    bench.load(&virtio_blk::BRINGUP_MODULE).unwrap();
    bench
}

pub(crate) fn assert_clean(report: &Report) {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{}\n{}",
        findings.join("\n"),
        report.log_text()
    );
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
