//! The driver carries its own numbers, because upstream it can import only `kernel`. They must be the specification's.

use bringup_spec::virtio as spec;

const DRIVER: &str = include_str!("../../virtio_console.rs");
const PORTS: &str = include_str!("../../virtio_console/ports.rs");

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
    let kind = spec::device_type::CONSOLE;
    let modern = spec::MODERN_DEVICE_BASE + kind;
    assert_eq!(constant(DRIVER, "", "DEVICE"), u64::from(modern));
    let old = spec::TRANSITIONAL.iter().find(|(_, of)| *of == kind);
    assert_eq!(
        constant(DRIVER, "", "DEVICE_TRANSITIONAL"),
        u64::from(old.unwrap().0)
    );
}

#[test]
fn numbers_of_consoles_are_the_specifications() {
    use spec::console::{config, control, feature, queue};
    for (source, after, name, expected) in [
        (PORTS, "", "SIZE", u64::from(feature::SIZE)),
        (PORTS, "", "MULTIPORT", u64::from(feature::MULTIPORT)),
        (PORTS, "", "CONFIG_COLS", u64::from(config::COLS)),
        (PORTS, "", "CONFIG_ROWS", u64::from(config::ROWS)),
        (
            PORTS,
            "",
            "CONFIG_MAX_NR_PORTS",
            u64::from(config::MAX_NR_PORTS),
        ),
        (PORTS, "", "CONTROL_RX", u64::from(queue::CONTROL_RX)),
        (PORTS, "", "CONTROL_TX", u64::from(queue::CONTROL_TX)),
        (PORTS, "", "MESSAGE_SIZE", control::SIZE),
        (PORTS, "", "DEVICE_READY", u64::from(control::DEVICE_READY)),
        (PORTS, "", "DEVICE_ADD", u64::from(control::DEVICE_ADD)),
        (
            PORTS,
            "",
            "DEVICE_REMOVE",
            u64::from(control::DEVICE_REMOVE),
        ),
        (PORTS, "", "PORT_READY", u64::from(control::PORT_READY)),
        (PORTS, "", "CONSOLE_PORT", u64::from(control::CONSOLE_PORT)),
        (PORTS, "", "RESIZE", u64::from(control::RESIZE)),
        (PORTS, "", "PORT_OPEN", u64::from(control::PORT_OPEN)),
        (PORTS, "", "PORT_NAME", u64::from(control::PORT_NAME)),
    ] {
        assert_eq!(constant(source, after, name), expected, "{name}");
    }
}
