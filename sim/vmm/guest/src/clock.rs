//! Time: the time stamp counter, measured against ACPI's PM timer (ACPI 6.5 §4.8.3.3: 3.579545 MHz, 24 bits at least).

use alloc::format;
use alloc::string::String;

use crate::machine::cpu;

/// What the time stamp counter makes of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Cycles of one millisecond.
    cycles: u64,
}

impl Clock {
    /// When nothing is known: cycles of 1 GHz.
    pub(crate) const UNKNOWN: Self = Self { cycles: 1_000_000 };

    /// Lets 10 ms of the PM timer pass.
    pub(crate) fn measure(port: u16) -> Result<Self, String> {
        let read = || cpu::port_in::<u32>(port) & 0x00ff_ffff;
        let first = read();
        let begin = cpu::time_stamp();
        for _ in 0..10_000_000 {
            let ticks = read().wrapping_sub(first) & 0x00ff_ffff;
            if ticks >= 35_795 {
                let cycles = cpu::time_stamp().wrapping_sub(begin);
                // Ticks of 3579.545 kHz.
                return Ok(Self { cycles: (cycles.saturating_mul(3_579_545) / (u64::from(ticks) * 1000)).max(1) });
            }
        }
        Err(format!("the PM timer at port {port:#x} stays at {first}"))
    }

    /// Cycles of one millisecond.
    pub(crate) fn cycles_of_ms(&self) -> u64 {
        self.cycles
    }

    /// So many cycles in nanoseconds.
    pub(crate) fn nanoseconds(&self, cycles: u64) -> u64 {
        u64::try_from(u128::from(cycles) * 1_000_000 / u128::from(self.cycles)).unwrap_or(u64::MAX)
    }

    /// The time stamp that comes `ms` from now.
    pub(crate) fn deadline(&self, ms: u64) -> u64 {
        cpu::time_stamp().saturating_add(self.cycles.saturating_mul(ms))
    }

    /// Asks until the answer is yes, or `ms` have passed.
    pub(crate) fn wait(&self, ms: u64, mut yes: impl FnMut() -> bool) -> bool {
        let deadline = self.deadline(ms);
        loop {
            if yes() {
                return true;
            }
            if cpu::time_stamp() > deadline {
                return yes();
            }
            core::hint::spin_loop();
        }
    }
}
