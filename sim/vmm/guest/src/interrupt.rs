//! The local APIC, the IOAPIC, and waiting for a vector.

use bringup_guest::acpi::Acpi;
use bringup_guest::start::Start;

use crate::clock::Clock;
use crate::machine::cpu;
use crate::machine::map::Registers;

/// Ticks each 10 ms.
pub(crate) const TIMER: u8 = 0x20;
/// Messages of edu, INTx of edu, messages of virtio, INTx of virtio, the other CPUs' messages, one for nothing else.
pub(crate) const EDU_MSI: u8 = 0x41;
pub(crate) const EDU_PIN: u8 = 0x42;
pub(crate) const QUEUE: u8 = 0x43;
pub(crate) const CONFIG: u8 = 0x44;
pub(crate) const QUEUE_PIN: u8 = 0x45;
pub(crate) const OTHERS: u8 = 0x50;

const ID: u64 = 0x20;
const TASK_PRIORITY: u64 = 0x80;
const SPURIOUS: u64 = 0xf0;
const COMMAND: u64 = 0x300;
const COMMAND_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const TIMER_INITIAL: u64 = 0x380;
const TIMER_CURRENT: u64 = 0x390;
const TIMER_DIVIDE: u64 = 0x3e0;
const PERIODIC: u32 = 1 << 17;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const PENDING: u32 = 1 << 12;

/// The interrupt controllers of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupts {
    lapic: Registers,
    clock: Clock,
}

impl Interrupts {
    /// Silences the PICs, enables the local APIC, and starts its timer.
    pub(crate) fn start(start: &Start, acpi: &Acpi, clock: Clock) -> Option<Self> {
        let (ioapic, _) = acpi.ioapic?;
        let _mapped = Registers::map(start, ioapic, 0x1000)?;
        let lapic = Registers::map(start, acpi.lapic, 0x1000)?;
        cpu::set_controllers(acpi.lapic, ioapic);
        // ICW1 to ICW4, away from the exceptions, then all masked.
        for (port, value) in [
            (0x20, 0x11_u8),
            (0xa0, 0x11),
            (0x21, 0xf0),
            (0xa1, 0xf8),
            (0x21, 4),
            (0xa1, 2),
            (0x21, 1),
            (0xa1, 1),
            (0x21, 0xff),
            (0xa1, 0xff),
        ] {
            cpu::port_out(port, value);
        }
        let this = Self { lapic, clock };
        enable(&lapic);
        // Measured, as the timer's clock is not said anywhere.
        lapic.write32(TIMER_DIVIDE, 0xb);
        lapic.write32(LVT_TIMER, MASKED);
        lapic.write32(TIMER_INITIAL, u32::MAX);
        let end = clock.deadline(10);
        while cpu::time_stamp() < end {
            core::hint::spin_loop();
        }
        let ticks = u32::MAX - lapic.read32(TIMER_CURRENT);
        lapic.write32(LVT_TIMER, PERIODIC | u32::from(TIMER));
        lapic.write32(TIMER_INITIAL, ticks.max(1000));
        Some(this)
    }

    /// Stops or starts the timer, for measurements. Without it there is no watchdog.
    pub(crate) fn pause_timer(&self, pause: bool) {
        self.lapic.write32(LVT_TIMER, PERIODIC | u32::from(TIMER) | if pause { MASKED } else { 0 });
    }

    /// Id of this CPU's local APIC.
    pub(crate) fn id(&self) -> u8 {
        (self.lapic.read32(ID) >> 24) as u8
    }

    /// Address and data of a message that brings `vector` to this CPU.
    pub(crate) fn message(&self, vector: u8) -> (u64, u32) {
        (0xfee0_0000 | u64::from(self.id()) << 12, u32::from(vector))
    }

    /// Sends another CPU a message: the lower half of the interrupt command register.
    pub(crate) fn send(&self, id: u8, command: u32) -> bool {
        self.lapic.write32(COMMAND_HIGH, u32::from(id) << 24);
        self.lapic.write32(COMMAND, command);
        self.clock.wait(100, || self.lapic.read32(COMMAND) & PENDING == 0)
    }

    /// Brings the level of `pin` to this CPU as `vector`, one interrupt at a time: the handler masks the pin, `unmask` opens it
    /// again. `false` when the IOAPIC has no such pin.
    pub(crate) fn route(&self, pin: u8, vector: u8) -> bool {
        let pins = (cpu::read_ioapic(1) >> 16 & 0xff) as u8;
        if pin > pins {
            return false;
        }
        let index = 0x10 + 2 * u32::from(pin);
        cpu::set_one_shot(vector, Some(pin));
        cpu::write_ioapic(index, MASKED);
        cpu::write_ioapic(index + 1, u32::from(self.id()) << 24);
        cpu::write_ioapic(index, LEVEL | u32::from(vector));
        true
    }

    /// Sleeps until `vector` came more than `seen` times, or `ms` have passed.
    pub(crate) fn wait(&self, vector: u8, seen: u32, ms: u64) -> bool {
        let deadline = self.clock.deadline(ms);
        while cpu::interrupts(vector) == seen {
            if cpu::time_stamp() > deadline {
                return false;
            }
            // The timer wakes it too.
            cpu::sleep_unless(vector, seen);
        }
        true
    }

    /// Lets `ms` pass; whether `vector` did not come in it.
    pub(crate) fn quiet(&self, vector: u8, ms: u64) -> bool {
        let seen = cpu::interrupts(vector);
        !self.wait(vector, seen, ms)
    }
}

/// Enables a local APIC.
pub(crate) fn enable(lapic: &Registers) {
    lapic.write32(TASK_PRIORITY, 0);
    lapic.write32(SPURIOUS, 0x1ff);
}

/// Opens the pin after its interrupt was acknowledged at the device.
pub(crate) fn unmask(pin: u8) {
    let index = 0x10 + 2 * u32::from(pin);
    cpu::write_ioapic(index, cpu::read_ioapic(index) & !MASKED);
}

/// Closes the pin for good.
pub(crate) fn unroute(pin: u8, vector: u8) {
    cpu::write_ioapic(0x10 + 2 * u32::from(pin), MASKED);
    cpu::set_one_shot(vector, None);
}
