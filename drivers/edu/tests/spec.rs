//! The driver carries its own numbers, because upstream it can import only `kernel`. They must be the specification's.

use bringup_spec::edu as spec;

const SOURCE: &str = include_str!("../edu.rs");

/// The offset that the driver gives a register.
fn offset(register: &str) -> u64 {
    let line = SOURCE
        .lines()
        .find(|line| line.contains(&format!("pub(super) {register}(u32) @ ")))
        .unwrap();
    let number = line
        .split("@ 0x")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    u64::from_str_radix(number, 16).unwrap()
}

/// The value of a constant.
fn constant(name: &str) -> u64 {
    let line = SOURCE
        .lines()
        .find(|line| line.contains(&format!("const {name}: ")))
        .unwrap();
    let number = line
        .split("= ")
        .nth(1)
        .unwrap()
        .trim_end_matches(';')
        .replace('_', "");
    number.strip_prefix("0x").map_or_else(
        || number.parse().unwrap(),
        |hex| u64::from_str_radix(hex, 16).unwrap(),
    )
}

#[test]
fn registers_are_where_the_specification_has_them() {
    use spec::register::*;
    let pairs = [
        ("ID", IDENTIFICATION),
        ("LIVENESS", LIVENESS),
        ("FACTORIAL", FACTORIAL),
        ("STATUS", STATUS),
        ("IRQ_STATUS", INTERRUPT_STATUS),
        ("IRQ_ACKNOWLEDGE", INTERRUPT_ACKNOWLEDGE),
        ("DMA_SOURCE", DMA_SOURCE),
        ("DMA_DESTINATION", DMA_DESTINATION),
        ("DMA_COUNT", DMA_COUNT),
        ("DMA_COMMAND", DMA_COMMAND),
    ];
    for (register, expected) in pairs {
        assert_eq!(offset(register), expected, "{register}");
    }
}

#[test]
fn constants_are_the_specifications() {
    assert_eq!(constant("VENDOR"), u64::from(spec::VENDOR));
    assert_eq!(constant("DEVICE"), u64::from(spec::DEVICE));
    assert_eq!(constant("BUFFER_ADDRESS"), spec::BUFFER);
    assert_eq!(constant("BUFFER_SIZE"), spec::BUFFER_LEN);
    assert_eq!(
        constant("IRQ_FACTORIAL"),
        u64::from(spec::interrupt::FACTORIAL)
    );
    assert_eq!(constant("IRQ_DMA"), u64::from(spec::interrupt::DMA));
    assert_eq!(constant("MAGIC"), u64::from(spec::IDENTIFICATION & 0xffff));
}
