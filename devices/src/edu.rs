//! QEMU's educational device (`-device edu`): registers that answer, a factorial that takes time, interrupts and DMA.
//!
//! Two things go on at once, each started by a register and finished by the device's own work:
//!
//! ```text
//!             write FACTORIAL                         write DMA_COMMAND with START
//!   idle ───────────────────────▶ computing     idle ─────────────────────────────▶ running
//!     ▲                               │           ▲                                    │
//!     └── result, raise if asked ─────┘           └── copy, clear START, raise if asked ┘
//! ```
//!
//! Specification: QEMU 11 `docs/specs/edu`. Where that is silent, the model answers as QEMU 11.1 does, and
//! `tests/qemu.rs` holds it against the real one. Behaviour worth knowing, most of it QEMU's own:
//!
//! - A 4-byte write to a 64-bit DMA register sets its upper half to zero; the upper half has no access of its own.
//! - A DMA command without START is ignored. While a transfer runs all writes to DMA registers are lost, and while a
//!   factorial is computed so are writes to the operand; here they are a `device-misuse` finding too.
//! - A bus address is cut to the DMA mask: DMA then goes somewhere else. Here that is a `device-misuse` finding too, and
//!   usually one of `dma-unmapped` at the shorter address.
//! - A transfer that leaves the device's buffer takes its time, moves nothing and ends as others do; here it is a
//!   `device-misuse` finding too.
//! - DMA that fails on the bus still finishes, and what could not be read arrives as zeros.
//! - Every raise sends a message when MSI is on, also when bits are still pending; the pin stays up until all are
//!   acknowledged.
//!
//! Differs from QEMU:
//!
//! - A 1- or 2-byte read gives all ones; QEMU's bus gives zero.
//! - A reset puts everything back; QEMU's edu keeps its registers and its transfer.
//! - A factorial takes [`Edu::FACTORIAL_BASE_NS`] and one nanosecond for each multiplication, of virtual time; QEMU's takes
//!   what the host takes.

use bringup_core::{Access, Bar, Cx, Device, Function, Nanos, Refusal, Register, Reply, Reset, Rights};
use bringup_spec::edu::{self as spec, dma, interrupt, register, status};

use crate::registry::{DeviceKind, OptionDef, ValueKind};

/// The first operand whose factorial is 0 in 32 bits: 34! has 32 factors of two.
const FACTORIAL_ZERO: u32 = 34;

static REGISTERS: [Register; 11] = [
    Register::new32("IDENTIFICATION", register::IDENTIFICATION, Rights::ReadOnly),
    Register::new32("LIVENESS", register::LIVENESS, Rights::ReadWrite),
    Register::new32("FACTORIAL", register::FACTORIAL, Rights::ReadWrite),
    Register::new32("STATUS", register::STATUS, Rights::ReadWrite),
    Register::new32("INTERRUPT_STATUS", register::INTERRUPT_STATUS, Rights::ReadOnly),
    Register::new32("INTERRUPT_RAISE", register::INTERRUPT_RAISE, Rights::WriteOnly),
    Register::new32("INTERRUPT_ACKNOWLEDGE", register::INTERRUPT_ACKNOWLEDGE, Rights::WriteOnly),
    Register::new64("DMA_SOURCE", register::DMA_SOURCE, Rights::ReadWrite),
    Register::new64("DMA_DESTINATION", register::DMA_DESTINATION, Rights::ReadWrite),
    Register::new64("DMA_COUNT", register::DMA_COUNT, Rights::ReadWrite),
    Register::new64("DMA_COMMAND", register::DMA_COMMAND, Rights::ReadWrite),
];

const UPPER_HALF: Refusal =
    Refusal::Misuse("the upper half of a DMA register has no access of its own; use one 8-byte access");
const COMPUTING: Refusal =
    Refusal::Misuse("a factorial is being computed, the operand is lost; wait until STATUS bit 0 is clear");
const RUNNING: Refusal = Refusal::Misuse(
    "a DMA transfer runs, what is written to DMA registers is lost; wait until DMA_COMMAND bit 0 is clear",
);
const OUTSIDE: &str = "the DMA transfer leaves the device's buffer (4096 bytes at 0x40000), nothing is moved";
const CUT: &str = "the bus address does not fit the DMA mask, its upper bits are lost";

/// How the registry makes one.
pub(crate) const KIND: DeviceKind = DeviceKind {
    name: "edu",
    summary: "QEMU's educational device: factorial, interrupts, DMA",
    ids: &[(spec::VENDOR, spec::DEVICE)],
    options: &[
        OptionDef {
            name: "dma_mask",
            value: ValueKind::Number,
            default: "0xfffffff",
            summary: "the bus address bits that its DMA uses",
        },
        OptionDef {
            name: "dma_time_us",
            value: ValueKind::Number,
            default: "100000",
            summary: "virtual microseconds that a DMA transfer takes",
        },
    ],
    make: |options| {
        let mut edu = Edu::new();
        if let Some(mask) = options.number("dma_mask") {
            edu = edu.with_dma_mask(mask);
        }
        if let Some(micros) = options.number("dma_time_us") {
            let nanos = micros.checked_mul(1000).ok_or("dma_time_us is more than 584 years")?;
            edu = edu.with_dma_time_ns(nanos);
        }
        Ok(Box::new(edu))
    },
};

/// QEMU's edu device: PCI 1234:11e8, one memory BAR, INTA#, one MSI vector.
#[derive(Clone, Debug)]
pub struct Edu {
    dma_mask: u64,
    dma_time: Nanos,
    state: State,
}

/// All that a reset forgets.
#[derive(Clone, Debug)]
struct State {
    liveness: u32,
    factorial: u32,
    raise_factorial: bool,
    interrupts: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    buffer: [u8; spec::BUFFER_LEN as usize],
    /// When the factorial that is being computed is finished.
    computed_at: Option<Nanos>,
    /// When the transfer that runs is finished.
    moved_at: Option<Nanos>,
}

impl State {
    const fn new() -> Self {
        Self {
            liveness: 0,
            factorial: 0,
            raise_factorial: false,
            interrupts: 0,
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            buffer: [0; spec::BUFFER_LEN as usize],
            computed_at: None,
            moved_at: None,
        }
    }
}

impl Default for Edu {
    fn default() -> Self {
        Self::new()
    }
}

impl Edu {
    /// What the shortest factorial takes, in virtual nanoseconds: long enough that a driver which does not wait is seen.
    pub const FACTORIAL_BASE_NS: Nanos = 1_000;

    /// As QEMU makes it: 28 bits of bus address, 100 ms for a transfer.
    #[must_use]
    pub const fn new() -> Self {
        Self { dma_mask: spec::DMA_MASK, dma_time: spec::DMA_TIME_NS, state: State::new() }
    }

    /// Sets which bits of a bus address its DMA uses (QEMU's property `dma_mask`).
    #[must_use]
    pub const fn with_dma_mask(mut self, mask: u64) -> Self {
        self.dma_mask = mask;
        self
    }

    /// Sets how long a transfer takes, in virtual nanoseconds. QEMU's takes 100 ms, which is the default.
    #[must_use]
    pub const fn with_dma_time_ns(mut self, nanos: Nanos) -> Self {
        self.dma_time = nanos;
        self
    }

    fn raise(&mut self, cx: &mut Cx<'_>, bits: u32) {
        self.state.interrupts |= bits;
        if self.state.interrupts != 0 {
            cx.interrupt();
        }
    }

    fn acknowledge(&mut self, cx: &mut Cx<'_>, bits: u32) {
        self.state.interrupts &= !bits;
        if self.state.interrupts == 0 {
            cx.set_intx(false);
        }
    }

    fn compute(&mut self, cx: &mut Cx<'_>, operand: u32) -> Reply<()> {
        if self.state.computed_at.is_some() {
            return Err(COMPUTING);
        }
        let takes = Self::FACTORIAL_BASE_NS + Nanos::from(operand);
        self.state.factorial = operand;
        self.state.computed_at = Some(cx.now().saturating_add(takes));
        cx.wake_in(takes);
        Ok(())
    }

    fn finish_factorial(&mut self, cx: &mut Cx<'_>) {
        self.state.computed_at = None;
        self.state.factorial = factorial(self.state.factorial);
        if self.state.raise_factorial {
            self.raise(cx, interrupt::FACTORIAL);
        }
    }

    fn write_dma(&mut self, cx: &mut Cx<'_>, offset: u64, value: u64) -> Reply<()> {
        if self.state.moved_at.is_some() {
            return Err(RUNNING);
        }
        match offset {
            register::DMA_SOURCE => self.state.source = value,
            register::DMA_DESTINATION => self.state.destination = value,
            register::DMA_COUNT => self.state.count = value,
            _ if value & dma::START == 0 => {}
            _ => return self.start_transfer(cx, value),
        }
        Ok(())
    }

    fn start_transfer(&mut self, cx: &mut Cx<'_>, command: u64) -> Reply<()> {
        if self.slice(command).is_none() {
            cx.misuse(OUTSIDE);
        }
        let bus_address = if command & dma::TO_MEMORY == 0 { self.state.source } else { self.state.destination };
        if bus_address & !self.dma_mask != 0 {
            cx.misuse(CUT);
        }
        self.state.command = command;
        self.state.moved_at = Some(cx.now().saturating_add(self.dma_time));
        cx.wake_in(self.dma_time);
        Ok(())
    }

    /// The part of the buffer that a transfer is about; `None` if it leaves the buffer.
    fn slice(&mut self, command: u64) -> Option<&mut [u8]> {
        let state = &mut self.state;
        let inside = if command & dma::TO_MEMORY == 0 { state.destination } else { state.source };
        let first = inside.checked_sub(spec::BUFFER)?;
        let end = first.checked_add(state.count)?;
        state.buffer.get_mut(usize::try_from(first).ok()?..usize::try_from(end).ok()?)
    }

    fn finish_transfer(&mut self, cx: &mut Cx<'_>) {
        let command = self.state.command;
        let to_memory = command & dma::TO_MEMORY != 0;
        let outside = if to_memory { self.state.destination } else { self.state.source };
        let iova = outside & self.dma_mask;
        if let Some(bytes) = self.slice(command) {
            if to_memory {
                // The device has no way to tell its driver that this failed; the bus has filed it.
                let _ = cx.dma_write(iova, bytes);
            } else if cx.dma_read(iova, bytes).is_err() {
                bytes.fill(0);
            }
        }
        self.state.moved_at = None;
        self.state.command &= !dma::START;
        if command & dma::RAISE != 0 {
            self.raise(cx, interrupt::DMA);
        }
    }
}

/// `operand!` in 32 bits, as repeated multiplication gives it.
fn factorial(operand: u32) -> u32 {
    if operand >= FACTORIAL_ZERO { 0 } else { (1..=operand).fold(1, u32::wrapping_mul) }
}

/// Whether an access is to the upper half of a 64-bit register.
fn is_upper_half(at: Access) -> bool {
    at.offset >= register::DMA_SOURCE && at.offset % 8 == 4
}

impl Device for Edu {
    fn function(&self) -> Function {
        Function::new(spec::VENDOR, spec::DEVICE)
            .class(spec::CLASS)
            .revision(spec::REVISION)
            .subsystem(spec::SUBSYSTEM_VENDOR, spec::SUBSYSTEM)
            .bar(Bar::memory32(spec::BAR, spec::BAR_SIZE).registers(&REGISTERS))
            .intx()
            .msi(spec::MSI_VECTORS)
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        let state = &self.state;
        Ok(match at.offset {
            register::IDENTIFICATION => spec::IDENTIFICATION.into(),
            register::LIVENESS => state.liveness.into(),
            register::FACTORIAL => state.factorial.into(),
            register::STATUS => {
                let computing = if state.computed_at.is_some() { status::COMPUTING } else { 0 };
                let raise = if state.raise_factorial { status::RAISE } else { 0 };
                (computing | raise).into()
            }
            register::INTERRUPT_STATUS => state.interrupts.into(),
            register::DMA_SOURCE => state.source,
            register::DMA_DESTINATION => state.destination,
            register::DMA_COUNT => state.count,
            register::DMA_COMMAND => state.command,
            _ if is_upper_half(at) => return Err(UPPER_HALF),
            _ => return Err(Refusal::NoRegister),
        })
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        let low = value as u32;
        match at.offset {
            register::LIVENESS => self.state.liveness = !low,
            register::FACTORIAL => return self.compute(cx, low),
            register::STATUS => self.state.raise_factorial = low & status::RAISE != 0,
            register::INTERRUPT_RAISE => self.raise(cx, low),
            register::INTERRUPT_ACKNOWLEDGE => self.acknowledge(cx, low),
            register::DMA_SOURCE | register::DMA_DESTINATION | register::DMA_COUNT | register::DMA_COMMAND => {
                return self.write_dma(cx, at.offset, value);
            }
            _ if is_upper_half(at) => return Err(UPPER_HALF),
            _ => return Err(Refusal::NoRegister),
        }
        Ok(())
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if self.state.computed_at.is_some_and(|at| at <= now) {
            self.finish_factorial(cx);
        }
        if self.state.moved_at.is_some_and(|at| at <= now) {
            self.finish_transfer(cx);
        }
        // There is one wake-up for both activities: ask again for the one that is left.
        for at in [self.state.computed_at, self.state.moved_at].into_iter().flatten() {
            cx.wake_in(at.saturating_sub(cx.now()));
        }
    }

    fn reset(&mut self, cx: &mut Cx<'_>, _kind: Reset) {
        self.state = State::new();
        cx.set_intx(false);
    }
}
