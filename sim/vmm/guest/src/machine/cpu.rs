//! Ports, ring 0's services, time stamps, and what the interrupt handlers count.
#![expect(unsafe_code, reason = "ports and ring 0 are reached by instructions that Rust has no word for")]

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// How often each vector came. The handlers count here.
#[unsafe(no_mangle)]
static INTERRUPTS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

/// For each vector: 0, or one more than the IOAPIC pin that its handler masks.
#[unsafe(no_mangle)]
static ONE_SHOT_PINS: [AtomicU8; 256] = [const { AtomicU8::new(0) }; 256];

/// Timer ticks until the watchdog reports; 0 is off.
#[unsafe(no_mangle)]
static WATCHDOG: AtomicU32 = AtomicU32::new(0);

/// Physical address of the local APIC, as the handlers use it.
#[unsafe(no_mangle)]
static LAPIC_BASE: AtomicU64 = AtomicU64::new(0xfee0_0000);

/// Physical address of the IOAPIC, as the handlers use it.
#[unsafe(no_mangle)]
static IOAPIC_BASE: AtomicU64 = AtomicU64::new(0xfec0_0000);

/// How many other CPUs came out of their SIPI.
#[unsafe(no_mangle)]
static APS_STARTED: AtomicU32 = AtomicU32::new(0);

unsafe extern "sysv64" {
    /// Ring 0's services (`entry.s`).
    fn gate(function: u64, a: u64, b: u64, c: u64) -> u64;
}

fn ring0(function: u64, a: u64, b: u64, c: u64) -> u64 {
    // SAFETY: each caller in this file keeps to what the function does with its arguments; all keep the C convention.
    unsafe { gate(function, a, b, c) }
}

/// How often `vector` came so far.
pub(crate) fn interrupts(vector: u8) -> u32 {
    INTERRUPTS.get(usize::from(vector)).map_or(0, |count| count.load(Ordering::Acquire))
}

/// Sleeps until the next interrupt, but not at all when `vector` has not come exactly `seen` times.
pub(crate) fn sleep_unless(vector: u8, seen: u32) {
    ring0(0, u64::from(vector), u64::from(seen), 0);
}

/// Reads a model specific register that this CPU has; one that it has not is an exception.
pub(crate) fn read_msr(register: u32) -> u64 {
    ring0(1, u64::from(register), 0, 0)
}

/// Reads 32 bits at `register` in ring 0, `count` times; nothing for 0.
pub(crate) fn read_often(register: super::map::Place, count: u64) {
    if count > 0 {
        ring0(3, register.address(), count, 0);
    }
}

/// Reads a byte of `port` in ring 0, `count` times; nothing for 0.
pub(crate) fn read_port_often(port: u16, count: u64) {
    if count > 0 {
        ring0(4, u64::from(port), count, 0);
    }
}

/// Writes 16 bits to `register` in ring 0, `count` times; nothing for 0.
pub(crate) fn write_often(register: super::map::Place, value: u16, count: u64) {
    if count > 0 {
        ring0(5, register.address(), count, u64::from(value));
    }
}

/// Reads a register of the IOAPIC by its index.
pub(crate) fn read_ioapic(index: u32) -> u32 {
    ring0(6, u64::from(index), 0, 0) as u32
}

/// Writes a register of the IOAPIC by its index.
pub(crate) fn write_ioapic(index: u32, value: u32) {
    ring0(7, u64::from(index), u64::from(value), 0);
}

/// Ends the machine by an exception without an IDT.
pub(crate) fn triple_fault() -> ! {
    ring0(8, 0, 0, 0);
    halt()
}

/// Stops this CPU; not even an interrupt wakes it.
pub(crate) fn halt() -> ! {
    loop {
        ring0(9, 0, 0, 0);
    }
}

/// Keeps this CPU busy without interrupts.
pub(crate) fn spin() -> ! {
    loop {
        ring0(10, 0, 0, 0);
    }
}

/// Stops this CPU, but it takes interrupts.
pub(crate) fn sleep_for_ever() -> ! {
    loop {
        ring0(11, 0, 0, 0);
    }
}

/// Lets the handler of `vector` mask this IOAPIC pin, as a level interrupt needs it; or not any more.
pub(crate) fn set_one_shot(vector: u8, pin: Option<u8>) {
    if let Some(place) = ONE_SHOT_PINS.get(usize::from(vector)) {
        place.store(pin.map_or(0, |pin| pin.saturating_add(1)), Ordering::Release);
    }
}

/// Sets the watchdog to so many timer ticks; 0 is off.
pub(crate) fn set_watchdog(ticks: u32) {
    WATCHDOG.store(ticks, Ordering::Release);
}

/// Says where the handlers find the interrupt controllers.
pub(crate) fn set_controllers(lapic: u64, ioapic: u64) {
    LAPIC_BASE.store(lapic, Ordering::Release);
    IOAPIC_BASE.store(ioapic, Ordering::Release);
}

/// How many other CPUs came out of their SIPI.
pub(crate) fn started() -> u32 {
    APS_STARTED.load(Ordering::Acquire)
}

/// The time stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// CPUID: eax, ebx, ecx, edx.
pub(crate) fn identify(leaf: u32, subleaf: u32) -> [u32; 4] {
    let found = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// An access width of a port.
pub(crate) trait PortWidth: Sized {
    /// Reads a port.
    fn port_in(port: u16) -> Self;
    /// Writes a port.
    fn port_out(port: u16, value: Self);
}

macro_rules! port_width {
    ($type:ty, $register:tt) => {
        impl PortWidth for $type {
            fn port_in(port: u16) -> Self {
                let value;
                // SAFETY: no port of this machine changes this program's memory by itself.
                unsafe {
                    asm!(concat!("in ", $register, ", dx"), out($register) value, in("dx") port, options(nostack, preserves_flags));
                }
                value
            }
            fn port_out(port: u16, value: Self) {
                // SAFETY: as above; a device that is told to do DMA is told addresses of `Dma`.
                unsafe {
                    asm!(concat!("out dx, ", $register), in("dx") port, in($register) value, options(nostack, preserves_flags));
                }
            }
        }
    };
}
port_width!(u8, "al");
port_width!(u16, "ax");
port_width!(u32, "eax");

/// Reads a port.
pub(crate) fn port_in<T: PortWidth>(port: u16) -> T {
    T::port_in(port)
}

/// Writes a port.
pub(crate) fn port_out<T: PortWidth>(port: u16, value: T) {
    T::port_out(port, value);
}

/// Where the local APIC is.
pub(crate) fn lapic() -> u64 {
    LAPIC_BASE.load(Ordering::Acquire)
}
