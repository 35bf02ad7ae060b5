//! The driver's side carries its own numbers, because upstream it can import only `kernel`. They must be the specification's.
//! Those of the transport, which all virtio drivers share, are looked at here.

use bringup_spec::virtio as spec;

const PCI: &str = include_str!("../../virtio/pci.rs");
const CAPABILITIES: &str = include_str!("../../virtio/pci/capabilities.rs");
const FEATURE: &str = include_str!("../../virtio/feature.rs");
const DRIVER: &str = include_str!("../../virtio_rng.rs");

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
fn registers_are_where_the_specification_has_them() {
    use spec::pci::common::*;
    for (name, expected) in [
        ("DEVICE_FEATURE_SELECT", DEVICE_FEATURE_SELECT),
        ("DEVICE_FEATURE", DEVICE_FEATURE),
        ("DRIVER_FEATURE_SELECT", DRIVER_FEATURE_SELECT),
        ("DRIVER_FEATURE", DRIVER_FEATURE),
        ("CONFIG_MSIX_VECTOR", CONFIG_MSIX_VECTOR),
        ("NUM_QUEUES", NUM_QUEUES),
        ("DEVICE_STATUS", DEVICE_STATUS),
        ("CONFIG_GENERATION", CONFIG_GENERATION),
        ("QUEUE_SELECT", QUEUE_SELECT),
        ("QUEUE_SIZE", QUEUE_SIZE),
        ("QUEUE_MSIX_VECTOR", QUEUE_MSIX_VECTOR),
        ("QUEUE_ENABLE", QUEUE_ENABLE),
        ("QUEUE_NOTIFY_OFF", QUEUE_NOTIFY_OFF),
        ("QUEUE_DESC", QUEUE_DESC),
        ("QUEUE_DRIVER", QUEUE_DRIVER),
        ("QUEUE_DEVICE", QUEUE_DEVICE),
        ("QUEUE_NOTIF_CONFIG_DATA", QUEUE_NOTIF_CONFIG_DATA),
        ("QUEUE_RESET", QUEUE_RESET),
    ] {
        assert_eq!(constant(PCI, "mod common", name), expected, "{name}");
    }
}

#[test]
fn bits_are_the_specifications() {
    use spec::pci::{isr, NO_VECTOR};
    use spec::{feature, status};
    for (name, expected) in [
        ("ACKNOWLEDGE", status::ACKNOWLEDGE),
        ("DRIVER", status::DRIVER),
        ("DRIVER_OK", status::DRIVER_OK),
        ("FEATURES_OK", status::FEATURES_OK),
        ("DEVICE_NEEDS_RESET", status::DEVICE_NEEDS_RESET),
        ("FAILED", status::FAILED),
    ] {
        let value = constant(PCI, "mod status", name);
        assert_eq!(value, u64::from(expected), "{name}");
    }
    assert_eq!(constant(PCI, "", "ISR_QUEUE"), u64::from(isr::QUEUE));
    assert_eq!(constant(PCI, "", "ISR_CONFIG"), u64::from(isr::CONFIG));
    assert_eq!(constant(PCI, "", "NO_VECTOR"), u64::from(NO_VECTOR));
    for (name, expected) in [
        ("INDIRECT_DESC", feature::INDIRECT_DESC),
        ("EVENT_IDX", feature::EVENT_IDX),
        ("VERSION_1", feature::VERSION_1),
        ("ACCESS_PLATFORM", feature::ACCESS_PLATFORM),
        ("RING_PACKED", feature::RING_PACKED),
        ("IN_ORDER", feature::IN_ORDER),
        ("ORDER_PLATFORM", feature::ORDER_PLATFORM),
        ("NOTIFICATION_DATA", feature::NOTIFICATION_DATA),
        ("NOTIF_CONFIG_DATA", feature::NOTIF_CONFIG_DATA),
        ("RING_RESET", feature::RING_RESET),
    ] {
        assert_eq!(constant(FEATURE, "", name), u64::from(expected), "{name}");
    }
}

#[test]
fn capabilities_and_ids_are_the_specifications() {
    use spec::pci::{cap, cfg_type, CAP_VENDOR};
    for (name, expected) in [
        ("CAP_VENDOR", u64::from(CAP_VENDOR)),
        ("CAP_BAR", u64::from(cap::BAR)),
        ("CAP_OFFSET", u64::from(cap::OFFSET)),
        ("CAP_LENGTH", u64::from(cap::LENGTH)),
        ("COMMON", u64::from(cfg_type::COMMON)),
        ("NOTIFY", u64::from(cfg_type::NOTIFY)),
        ("ISR", u64::from(cfg_type::ISR)),
        ("DEVICE", u64::from(cfg_type::DEVICE)),
    ] {
        assert_eq!(constant(CAPABILITIES, "", name), expected, "{name}");
    }
    let kind = spec::device_type::ENTROPY;
    let modern = spec::MODERN_DEVICE_BASE + kind;
    assert_eq!(constant(DRIVER, "", "DEVICE"), u64::from(modern));
    let old = spec::TRANSITIONAL.iter().find(|(_, of)| *of == kind);
    assert_eq!(
        constant(DRIVER, "", "DEVICE_TRANSITIONAL"),
        u64::from(old.unwrap().0)
    );
}
