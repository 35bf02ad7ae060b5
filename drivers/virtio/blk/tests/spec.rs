//! The driver carries its own numbers, because upstream it can import only `kernel`. They must be the specification's.

use bringup_spec::virtio as spec;

const DRIVER: &str = include_str!("../../virtio_blk.rs");
const DISK: &str = include_str!("../../virtio_blk/disk.rs");
const GEOMETRY: &str = include_str!("../../virtio_blk/geometry.rs");

/// The value of a constant in a source, from `after` on.
fn constant(source: &str, after: &str, name: &str) -> u64 {
    let (_, rest) = source.split_once(after).unwrap();
    let line = rest
        .lines()
        .find(|line| line.contains(&format!("const {name}: ")))
        .unwrap_or_else(|| panic!("no {name}"));
    let (_, number) = line.split_once("= ").unwrap();
    let number = number.trim_end_matches(';').replace('_', "");
    match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => number.parse().unwrap(),
    }
}

#[test]
fn ids_are_the_specifications() {
    let kind = spec::device_type::BLOCK;
    let modern = spec::MODERN_DEVICE_BASE + kind;
    assert_eq!(constant(DRIVER, "", "DEVICE"), u64::from(modern));
    let old = spec::TRANSITIONAL.iter().find(|(_, of)| *of == kind);
    assert_eq!(
        constant(DRIVER, "", "DEVICE_TRANSITIONAL"),
        u64::from(old.unwrap().0)
    );
}

#[test]
fn numbers_of_disks_are_the_specifications() {
    use spec::blk::{config, feature, request, segment, status, HEADER, SECTOR};
    for (source, after, name, expected) in [
        (
            GEOMETRY,
            "mod bits",
            "SIZE_MAX",
            u64::from(feature::SIZE_MAX),
        ),
        (GEOMETRY, "mod bits", "SEG_MAX", u64::from(feature::SEG_MAX)),
        (GEOMETRY, "mod bits", "RO", u64::from(feature::RO)),
        (
            GEOMETRY,
            "mod bits",
            "BLK_SIZE",
            u64::from(feature::BLK_SIZE),
        ),
        (GEOMETRY, "mod bits", "FLUSH", u64::from(feature::FLUSH)),
        (GEOMETRY, "mod bits", "MQ", u64::from(feature::MQ)),
        (GEOMETRY, "mod bits", "DISCARD", u64::from(feature::DISCARD)),
        (
            GEOMETRY,
            "mod bits",
            "WRITE_ZEROES",
            u64::from(feature::WRITE_ZEROES),
        ),
        (
            GEOMETRY,
            "mod config",
            "CAPACITY",
            u64::from(config::CAPACITY),
        ),
        (
            GEOMETRY,
            "mod config",
            "SIZE_MAX",
            u64::from(config::SIZE_MAX),
        ),
        (
            GEOMETRY,
            "mod config",
            "SEG_MAX",
            u64::from(config::SEG_MAX),
        ),
        (
            GEOMETRY,
            "mod config",
            "BLK_SIZE",
            u64::from(config::BLK_SIZE),
        ),
        (
            GEOMETRY,
            "mod config",
            "NUM_QUEUES",
            u64::from(config::NUM_QUEUES),
        ),
        (
            GEOMETRY,
            "mod config",
            "MAX_DISCARD_SECTORS",
            u64::from(config::MAX_DISCARD_SECTORS),
        ),
        (
            GEOMETRY,
            "mod config",
            "MAX_DISCARD_SEG",
            u64::from(config::MAX_DISCARD_SEG),
        ),
        (
            GEOMETRY,
            "mod config",
            "MAX_WRITE_ZEROES_SECTORS",
            u64::from(config::MAX_WRITE_ZEROES_SECTORS),
        ),
        (
            GEOMETRY,
            "mod config",
            "MAX_WRITE_ZEROES_SEG",
            u64::from(config::MAX_WRITE_ZEROES_SEG),
        ),
        (DISK, "mod request", "IN", u64::from(request::IN)),
        (DISK, "mod request", "OUT", u64::from(request::OUT)),
        (DISK, "mod request", "FLUSH", u64::from(request::FLUSH)),
        (DISK, "mod request", "GET_ID", u64::from(request::GET_ID)),
        (DISK, "mod request", "DISCARD", u64::from(request::DISCARD)),
        (
            DISK,
            "mod request",
            "WRITE_ZEROES",
            u64::from(request::WRITE_ZEROES),
        ),
        (DISK, "", "STATUS_OK", u64::from(status::OK)),
        (DISK, "", "STATUS_UNSUPP", u64::from(status::UNSUPP)),
        (DISK, "", "RANGE_SIZE", segment::SIZE),
        (DISK, "", "RANGE_UNMAP", u64::from(segment::UNMAP)),
        (GEOMETRY, "", "SECTOR", SECTOR),
        (GEOMETRY, "", "HEADER_SIZE", HEADER),
    ] {
        assert_eq!(constant(source, after, name), expected, "{name}");
    }
}
