//! ACPI's fixed registers: events, sleep control and the timer (ACPI 6.5 §4.8.3).

use std::time::Duration;

use crate::layout::{SLEEP_TYPE_OFF, port};

/// What a write to the registers asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Turn the machine off.
    PowerOff,
}

/// The registers.
#[derive(Debug, Default)]
pub(crate) struct Power {
    enable: u16,
    control: u16,
}

/// The PM timer's frequency, in hertz.
const TIMER_HZ: u128 = 3_579_545;
const SCI_ENABLE: u16 = 1;
const SLEEP_ENABLE: u16 = 1 << 13;

impl Power {
    /// Reads a register; `up` is for how long the machine has been on. `false` if none is there.
    pub(crate) fn read(&self, at: u16, into: &mut [u8], up: Duration) -> bool {
        let ticks = (up.as_nanos() * TIMER_HZ / 1_000_000_000) as u32;
        let (base, bytes) = match at {
            // Status: nothing ever happens here. The machine is in ACPI mode from the beginning.
            port::PM1_EVENT..=0x603 => (port::PM1_EVENT, u32::from(self.enable) << 16),
            port::PM1_CONTROL..=0x605 => (port::PM1_CONTROL, u32::from(self.control | SCI_ENABLE)),
            port::PM_TIMER..=0x60b => (port::PM_TIMER, ticks),
            _ => return false,
        };
        let lanes = bytes.to_le_bytes().into_iter().chain(std::iter::repeat(0)).skip(usize::from(at - base));
        into.iter_mut().zip(lanes).for_each(|(to, from)| *to = from);
        true
    }

    /// Writes a register. `None` if none is there.
    pub(crate) fn write(&mut self, at: u16, from: &[u8]) -> Option<Option<Asks>> {
        match (at, from) {
            (0x602, [low, high]) => self.enable = u16::from_le_bytes([*low, *high]),
            (port::PM1_EVENT, [_, _, low, high]) => self.enable = u16::from_le_bytes([*low, *high]),
            (port::PM1_CONTROL, [low, high, ..]) => {
                let value = u16::from_le_bytes([*low, *high]);
                self.control = value & !SLEEP_ENABLE;
                let off = value & SLEEP_ENABLE != 0 && (value >> 10 & 7) as u8 == SLEEP_TYPE_OFF;
                return Some(off.then_some(Asks::PowerOff));
            }
            (port::PM1_EVENT..=0x605 | port::PM_TIMER..=0x60b, _) => {}
            _ => return None,
        }
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sleep_type_that_stands_for_it_with_the_enable_bit_turns_the_machine_off() {
        let mut power = Power::default();
        assert_eq!(power.write(port::PM1_CONTROL, &0x2000_u16.to_le_bytes()), Some(Some(Asks::PowerOff)));
        assert_eq!(power.write(port::PM1_CONTROL, &0x0000_u16.to_le_bytes()), Some(None));
        assert_eq!(power.write(port::PM1_CONTROL, &0x2400_u16.to_le_bytes()), Some(None));
        assert_eq!(power.write(0x700, &[0]), None);
    }

    #[test]
    fn timer_counts_at_its_frequency_and_reads_in_any_width() {
        let (power, mut whole, mut part) = (Power::default(), [0; 4], [0; 1]);
        assert!(power.read(port::PM_TIMER, &mut whole, Duration::from_secs(2)));
        assert_eq!(u32::from_le_bytes(whole), 2 * 3_579_545);
        assert!(power.read(port::PM_TIMER + 1, &mut part, Duration::from_secs(2)));
        assert_eq!(part[0], whole[1]);
    }

    #[test]
    fn control_says_that_the_machine_is_in_acpi_mode() {
        let mut value = [0; 2];
        assert!(Power::default().read(port::PM1_CONTROL, &mut value, Duration::ZERO));
        assert_eq!(value[0] & 1, 1);
    }
}
