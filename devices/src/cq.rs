//! `cq`, a copy engine with a submission and a completion ring: the shape of a NIC's or an NVMe controller's hot path, and little else.
//!
//! ```text
//!            tail doorbell, or its own look at the ring            the copy takes its time
//!   waiting ────────────────────────────────────────▶ in flight ───────────────────────────▶ completed
//!                                                                                               │
//!      head doorbell makes room ◀──── interrupt, unless masked or not asked for ◀───────────────┘
//! ```
//!
//! Its documentation is `devices/spec/src/cq.rs`. Behaviour worth knowing:
//!
//! - One descriptor is taken, and one completion written, for each quantum of work; copies end in the order of their descriptors
//!   unless `reorder` is on.
//! - A message is sent when a bit of the interrupt status becomes set that is not masked, not for one that is set already: a driver
//!   that acknowledges after its last look at the ring loses what came between.
//! - A completion ring that is full stops the device until the head doorbell is rung.
//! - A reset takes [`Cq::RESET_NS`], and what is in flight may still end meanwhile.
//! - What the documentation forbids is a `device-misuse` finding, and mostly also sets FAILED.

mod engine;
mod odd;

use bringup_core::pci::Msix;
use bringup_core::{Access, Bar, Cx, Device, Function, InterruptMode, Nanos, Refusal, Register, Reply, Reset, Rights};
use bringup_spec::cq::{self as spec, caps, control, interrupt, register, status};

use crate::registry::{DeviceKind, OptionDef, ValueKind};
use engine::{Engine, Geometry};
pub use odd::Oddity;

static REGISTERS: [Register; 16] = [
    Register::new32("ID", register::ID, Rights::ReadOnly),
    Register::new32("CAPS", register::CAPS, Rights::ReadOnly),
    Register::new32("CONTROL", register::CONTROL, Rights::ReadWrite),
    Register::new32("STATUS", register::STATUS, Rights::ReadOnly),
    Register::new32("IRQ_STATUS", register::IRQ_STATUS, Rights::ReadOnly),
    Register::new32("IRQ_MASK", register::IRQ_MASK, Rights::ReadWrite),
    Register::new32("IRQ_ACK", register::IRQ_ACK, Rights::WriteOnly),
    Register::new32("RING_ENTRIES", register::RING_ENTRIES, Rights::ReadWrite),
    Register::new64("SQ_BASE", register::SQ_BASE, Rights::ReadWrite),
    Register::new64("CQ_BASE", register::CQ_BASE, Rights::ReadWrite),
    Register::new64("EVENT_BASE", register::EVENT_BASE, Rights::ReadWrite),
    Register::new32("INFO_LEN", register::INFO_LEN, Rights::ReadOnly),
    Register::new32("SQ_TAIL", register::SQ_TAIL, Rights::WriteOnly),
    Register::new32("CQ_HEAD", register::CQ_HEAD, Rights::WriteOnly),
    Register::range("INFO", register::INFO, spec::INFO_SIZE, Rights::ReadOnly),
    // Nothing answers there; drivers that look for more than there is are told so.
    Register::new32("RESERVED", 0xffc, Rights::ReadOnly),
];

/// What the device is called.
const NAME: &[u8] = b"bringup copy engine";

const BUSY: Refusal = Refusal::Misuse("rings are set up while the device does not run; disable it first");
const RESETTING: Refusal = Refusal::Misuse("a reset is under way; wait until STATUS bit 1 is clear");
const OFF: Refusal = Refusal::Misuse("a doorbell of a device that is not enabled");
const TOO_MANY: &str = "the tail is further ahead than the ring has entries";
const NOT_WRITTEN: &str = "the head is ahead of what was completed";
const NO_RING: &str = "the device is enabled without rings: RING_ENTRIES, SQ_BASE and CQ_BASE come first";
const NO_AREA: &str = "the event index is enabled without an event area, or the device has none (CAPS bit 9)";
const NO_POLL: &str = "the device does not poll (CAPS bit 10)";
const UNALIGNED: &str = "a ring or the event area is not aligned to 16 bytes";

/// How the registry makes one.
pub(crate) const KIND: DeviceKind = DeviceKind {
    name: "cq",
    summary: "copy engine with submission and completion rings, as in NICs and NVMe controllers",
    ids: &[(spec::VENDOR, spec::DEVICE)],
    options: &[
        OptionDef {
            name: "entries",
            value: ValueKind::Number,
            default: "64",
            summary: "the most entries of a ring: a power of two, 2 to 256",
        },
        OptionDef { name: "wide", value: ValueKind::Bool, default: "off", summary: "completions of 16 bytes, not 8" },
        OptionDef {
            name: "stores",
            value: ValueKind::Number,
            default: "1",
            summary: "in how many stores a completion is written: 1, or 2 with the phase last",
        },
        OptionDef { name: "event_idx", value: ValueKind::Bool, default: "on", summary: "it can have an event area" },
        OptionDef { name: "poll", value: ValueKind::Bool, default: "on", summary: "it can look at the ring by itself" },
        OptionDef {
            name: "reorder",
            value: ValueKind::Bool,
            default: "off",
            summary: "copies end in any order: a choice of the life",
        },
        OptionDef {
            name: "latency_ns",
            value: ValueKind::Number,
            default: "2000",
            summary: "virtual nanoseconds that a copy takes",
        },
        OptionDef {
            name: "id_bits",
            value: ValueKind::Number,
            default: "16",
            summary: "how many bits of an id it gives back, 8 to 16: there is hardware that keeps fewer",
        },
        OptionDef {
            name: "fetch_ns",
            value: ValueKind::Number,
            default: "200",
            summary: "virtual nanoseconds that taking a descriptor takes",
        },
        OptionDef { name: "msix", value: ValueKind::Bool, default: "on", summary: "it has MSI-X, beside its pin" },
        OptionDef {
            name: "odd",
            value: ValueKind::Text,
            default: "",
            summary: "what it does wrong now and then, such as wrong-id+duplicate (the book lists the words)",
        },
    ],
    make: |options| {
        let mut cq = Cq::new();
        let entries = options.number("entries").unwrap_or(64);
        if !entries.is_power_of_two() || !(2..=256).contains(&entries) {
            return Err(format!("entries takes a power of two from 2 to 256, not {entries}"));
        }
        cq.log_entries = entries.trailing_zeros();
        cq.geometry.wide = options.flag("wide").unwrap_or(false);
        cq.geometry.split_stores = match options.number("stores") {
            None | Some(1) => false,
            Some(2) => true,
            Some(other) => return Err(format!("stores takes 1 or 2, not {other}")),
        };
        cq.event_idx = options.flag("event_idx").unwrap_or(true);
        cq.poll = options.flag("poll").unwrap_or(true);
        cq.geometry.reorder = options.flag("reorder").unwrap_or(false);
        cq.geometry.latency = options.number("latency_ns").unwrap_or(cq.geometry.latency).max(1);
        cq.geometry.id_mask = match options.number("id_bits").unwrap_or(16) {
            bits @ 8..=16 => u16::MAX >> (16 - bits),
            other => return Err(format!("id_bits takes 8 to 16, not {other}")),
        };
        cq.geometry.fetch = options.number("fetch_ns").unwrap_or(cq.geometry.fetch).max(1);
        cq.msix = options.flag("msix").unwrap_or(true);
        if let Some(words) = options.text("odd") {
            cq.odd = Oddity::parse(words)?;
        }
        Ok(Box::new(cq))
    },
};

/// The copy engine: PCI 1234:11c9, registers in BAR 0, INTA# and two MSI-X vectors.
#[derive(Clone, Debug)]
pub struct Cq {
    log_entries: u32,
    event_idx: bool,
    poll: bool,
    msix: bool,
    odd: Oddity,
    geometry: Geometry,
    state: State,
}

/// All that a reset forgets.
#[derive(Clone, Debug, Default)]
struct State {
    control: u32,
    failed: bool,
    irq_status: u32,
    irq_mask: u32,
    entries: u32,
    sq_base: u64,
    cq_base: u64,
    event_base: u64,
    engine: Engine,
    /// When the reset that is under way is over.
    reset_at: Option<Nanos>,
}

impl Default for Cq {
    fn default() -> Self {
        Self::new()
    }
}

impl Cq {
    /// How long a reset takes, in virtual nanoseconds.
    pub const RESET_NS: Nanos = spec::RESET_NS;

    /// One that does everything right: 64 entries, short completions in one store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            log_entries: 6,
            event_idx: true,
            poll: true,
            msix: true,
            odd: Oddity::default(),
            geometry: Geometry {
                wide: false,
                split_stores: false,
                reorder: false,
                latency: 2_000,
                fetch: engine::FETCH_NS,
                id_mask: u16::MAX,
            },
            state: State::default(),
        }
    }

    /// The same, odd in some way.
    #[must_use]
    pub fn with_oddity(mut self, odd: Oddity) -> Self {
        self.odd = odd;
        self
    }

    fn read_caps(&self) -> u32 {
        let bit = |has, bit| if has { bit } else { 0 };
        self.log_entries & caps::LOG_ENTRIES
            | bit(self.geometry.wide, caps::WIDE)
            | bit(self.event_idx, caps::EVENT_INDEX)
            | bit(self.poll, caps::POLL)
    }

    fn read_status(&self) -> u32 {
        let state = &self.state;
        let running = state.control & control::ENABLE != 0 || state.engine.is_busy();
        let bit = |is, bit| if is { bit } else { 0 };
        bit(running, status::RUNNING)
            | bit(state.reset_at.is_some(), status::RESETTING)
            | bit(state.failed, status::FAILED)
    }

    fn write_control(&mut self, cx: &mut Cx<'_>, value: u32) -> Reply<()> {
        if value & control::RESET != 0 {
            let takes = if self.odd.slow_reset { 50 * Self::RESET_NS } else { Self::RESET_NS };
            self.state.control = 0;
            self.state.reset_at = Some(cx.now().saturating_add(takes));
            cx.wake_in(takes);
            return Ok(());
        }
        let was_enabled = self.state.control & control::ENABLE != 0;
        self.state.control = value & (control::ENABLE | control::POLL | control::EVENT_INDEX);
        if value & control::ENABLE == 0 || was_enabled {
            return Ok(());
        }
        if let Some(why) = self.refuses_to_start() {
            self.state.control = 0;
            self.state.failed = true;
            return Err(Refusal::Misuse(why));
        }
        if self.odd.irq_at_once && self.odd.strikes(cx) {
            self.raise(cx, interrupt::COMPLETION);
        }
        if value & control::POLL != 0 {
            cx.wake_in(engine::POLL_NS);
        }
        Ok(())
    }

    /// What is wrong with how the device was set up.
    fn refuses_to_start(&self) -> Option<&'static str> {
        let State { control, entries, sq_base, cq_base, event_base, .. } = self.state;
        let events = control & control::EVENT_INDEX != 0;
        if !entries.is_power_of_two() || entries < 2 || entries > 1 << self.log_entries || sq_base == 0 || cq_base == 0
        {
            Some(NO_RING)
        } else if events && (!self.event_idx || event_base == 0) {
            Some(NO_AREA)
        } else if control & control::POLL != 0 && !self.poll {
            Some(NO_POLL)
        } else if (sq_base | cq_base | if events { event_base } else { 0 }) % 16 != 0 {
            Some(UNALIGNED)
        } else {
            None
        }
    }

    fn ring_tail(&mut self, cx: &mut Cx<'_>, tail: u16) -> Reply<()> {
        if self.state.control & control::ENABLE == 0 {
            return Err(OFF);
        }
        if self.state.engine.untaken(tail) > self.state.entries {
            self.fail(cx);
            return Err(Refusal::Misuse(TOO_MANY));
        }
        self.state.engine.tail = tail;
        if self.odd.spurious_irq && self.odd.strikes(cx) {
            self.raise(cx, interrupt::COMPLETION);
        }
        cx.wake_in(engine::FETCH_NS);
        Ok(())
    }

    fn ring_head(&mut self, cx: &mut Cx<'_>, head: u16) -> Reply<()> {
        if self.state.control & control::ENABLE == 0 {
            return Err(OFF);
        }
        if !self.state.engine.take_head(head) {
            return Err(Refusal::Misuse(NOT_WRITTEN));
        }
        cx.wake_in(engine::FETCH_NS);
        Ok(())
    }

    fn fail(&mut self, cx: &mut Cx<'_>) {
        self.state.failed = true;
        self.state.control = 0;
        self.raise(cx, interrupt::ERROR);
    }

    /// Sets bits of the interrupt status, and interrupts for those that were clear and are not masked.
    fn raise(&mut self, cx: &mut Cx<'_>, bits: u32) {
        let new = bits & !self.state.irq_status;
        self.state.irq_status |= bits;
        self.signal(cx, new & !self.state.irq_mask);
    }

    fn signal(&self, cx: &mut Cx<'_>, bits: u32) {
        if cx.interrupt_mode() == InterruptMode::Intx {
            cx.set_intx(self.state.irq_status & !self.state.irq_mask != 0);
            return;
        }
        for (bit, vector) in [(interrupt::COMPLETION, 0), (interrupt::ERROR, 1)] {
            if bits & bit != 0 {
                cx.send_message(vector);
            }
        }
    }

    /// Does one thing, and says whether completions or errors are to be told of.
    fn step(&mut self, cx: &mut Cx<'_>) {
        let told = {
            let Self { state, geometry, odd, .. } = self;
            let rings = engine::Rings {
                entries: state.entries,
                sq_base: state.sq_base,
                cq_base: state.cq_base,
                event_base: if state.control & control::EVENT_INDEX == 0 { None } else { Some(state.event_base) },
                polled: state.control & control::POLL != 0,
                enabled: state.control & control::ENABLE != 0 && !state.failed && state.reset_at.is_none(),
            };
            state.engine.work(cx, &rings, *geometry, odd)
        };
        if told.too_many {
            cx.misuse(TOO_MANY);
            self.fail(cx);
        }
        if told.completed {
            self.raise(cx, interrupt::COMPLETION);
        }
        if told.error {
            self.raise(cx, interrupt::ERROR);
        }
    }
}

impl Device for Cq {
    fn function(&self) -> Function {
        let function = Function::new(spec::VENDOR, spec::DEVICE)
            .class(spec::CLASS)
            .bar(Bar::memory32(spec::BAR, spec::BAR_SIZE).registers(&REGISTERS))
            .intx();
        if !self.msix {
            return function;
        }
        let (table, pending) = ((spec::MSIX_BAR, 0), (spec::MSIX_BAR, spec::MSIX_PENDING));
        function.bar(Bar::memory32(spec::MSIX_BAR, spec::MSIX_BAR_SIZE)).msix(Msix {
            vectors: spec::VECTORS,
            table,
            pending,
        })
    }

    fn read(&mut self, _cx: &mut Cx<'_>, at: Access) -> Reply<u64> {
        if at.bar != spec::BAR {
            return Err(Refusal::NoRegister);
        }
        let state = &self.state;
        let wide = |base: u64, from: u64| {
            let value = base >> (8 * (at.offset - from));
            if at.width == 8 { value } else { value & 0xffff_ffff }
        };
        Ok(match at.offset {
            register::ID => spec::IDENTIFICATION.into(),
            register::CAPS => self.read_caps().into(),
            register::CONTROL => state.control.into(),
            register::STATUS => self.read_status().into(),
            register::IRQ_STATUS => state.irq_status.into(),
            register::IRQ_MASK => state.irq_mask.into(),
            register::RING_ENTRIES => state.entries.into(),
            register::SQ_BASE..register::CQ_BASE => wide(state.sq_base, register::SQ_BASE),
            register::CQ_BASE..register::EVENT_BASE => wide(state.cq_base, register::CQ_BASE),
            register::EVENT_BASE..register::INFO_LEN => wide(state.event_base, register::EVENT_BASE),
            register::INFO_LEN if self.odd.info_large => 0x1_0000,
            register::INFO_LEN => NAME.len() as u64,
            register::INFO.. if at.offset < register::INFO + spec::INFO_SIZE => {
                let first = (at.offset - register::INFO) as usize;
                let byte = |index: usize| u64::from(NAME.get(first + index).copied().unwrap_or(0));
                (0..usize::from(at.width)).fold(0, |value, index| value | byte(index) << (8 * index))
            }
            _ => return Err(Refusal::NoRegister),
        })
    }

    fn write(&mut self, cx: &mut Cx<'_>, at: Access, value: u64) -> Reply<()> {
        if at.bar != spec::BAR {
            return Err(Refusal::NoRegister);
        }
        // Interrupts are still served: what was in flight ends meanwhile.
        if self.state.reset_at.is_some() && !matches!(at.offset, register::IRQ_MASK | register::IRQ_ACK) {
            return Err(RESETTING);
        }
        let low = value as u32;
        let running = self.read_status() & status::RUNNING != 0;
        let set = |base: &mut u64, from: u64| {
            if running {
                return Err(BUSY);
            }
            *base = match (at.width, at.offset - from) {
                (8, _) => value,
                (_, 0) => *base & !0xffff_ffff | u64::from(low),
                _ => *base & 0xffff_ffff | u64::from(low) << 32,
            };
            Ok(())
        };
        match at.offset {
            register::CONTROL => return self.write_control(cx, low),
            register::IRQ_MASK => {
                let unmasked = self.state.irq_mask & !low;
                self.state.irq_mask = low;
                self.signal(cx, unmasked & self.state.irq_status);
            }
            register::IRQ_ACK => {
                self.state.irq_status &= !low;
                if cx.interrupt_mode() == InterruptMode::Intx {
                    self.signal(cx, 0);
                }
            }
            register::RING_ENTRIES if running => return Err(BUSY),
            register::RING_ENTRIES => self.state.entries = low,
            register::SQ_BASE..register::CQ_BASE => return set(&mut self.state.sq_base, register::SQ_BASE),
            register::CQ_BASE..register::EVENT_BASE => return set(&mut self.state.cq_base, register::CQ_BASE),
            register::EVENT_BASE..register::INFO_LEN => return set(&mut self.state.event_base, register::EVENT_BASE),
            register::SQ_TAIL => return self.ring_tail(cx, low as u16),
            register::CQ_HEAD => return self.ring_head(cx, low as u16),
            _ => return Err(Refusal::NoRegister),
        }
        Ok(())
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if self.state.reset_at.is_some_and(|at| at <= now) {
            self.state = State::default();
            cx.set_intx(false);
            return;
        }
        self.step(cx);
        if let Some(at) = self.state.reset_at {
            cx.wake_in(at.saturating_sub(now));
        }
    }

    fn reset(&mut self, cx: &mut Cx<'_>, _kind: Reset) {
        self.state = State::default();
        cx.set_intx(false);
    }
}
