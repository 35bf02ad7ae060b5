//! Interrupts: vectors, handlers, delivery.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use bringup_core::choice::Point;
use bringup_core::pci::offset;
use bringup_core::trace::Event;
use bringup_core::{Coverage, DeviceId, Finding, Place};

use super::errno::{EBUSY, EINVAL, ENOMEM, ENOSPC, ERANGE};
use crate::irq::{Freed, Handler, Interrupts, Source, VectorsId};
use crate::ledger::Kind;
use crate::machine::{Callback, Machine, with};
use crate::rules;
use crate::task;

/// What a primary handler returns (include/linux/irqreturn.h).
pub mod irqreturn {
    /// Not from this device.
    pub const NONE: u32 = 0;
    /// Handled.
    pub const HANDLED: u32 = 1;
    /// The threaded handler is to run.
    pub const WAKE_THREAD: u32 = 2;
}

/// Flags of `request_irq` that the machine looks at (include/linux/interrupt.h).
pub mod irqflags {
    /// The line may be shared.
    pub const SHARED: u32 = 0x80;
    /// The irq stays off until the threaded handler ended.
    pub const ONESHOT: u32 = 0x2000;
}

/// How a device's interrupts travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqKind {
    /// The pin.
    Intx,
    /// MSI.
    Msi,
    /// MSI-X.
    Msix,
}

/// Which kinds a driver accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqKinds {
    /// The pin.
    pub intx: bool,
    /// MSI.
    pub msi: bool,
    /// MSI-X.
    pub msix: bool,
}

/// The vectors a device was given: irq numbers `first` to `first + count - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vectors {
    /// The first irq number.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// How they travel.
    pub kind: IrqKind,
}

/// Enables one kind of messages, for between so many and so many vectors.
type Enable = fn(&mut Machine, DeviceId, u32, u32) -> Result<Vectors, i32>;

/// Gives a device between `min` and `max` vectors, trying MSI-X, MSI and the pin in this order (`pci_alloc_irq_vectors`, whose
/// errors these are: the last kind that was tried says why not).
///
/// # Errors
/// `ENOSPC` when there are fewer than `min`, `ERANGE` for `max` below `min`, `EINVAL` for a kind that the device does not have.
/// `EBUSY` when the device has vectors already; Linux would give a second set, and freeing either would free both.
#[track_caller]
pub fn alloc_vectors(device: DeviceId, min: u32, max: u32, kinds: IrqKinds) -> Result<Vectors, i32> {
    let place = Location::caller();
    with(|m| m.check_sleep("the allocation of interrupt vectors", place));
    if with(|m| m.device(device).vectors.is_some()) {
        return Err(EBUSY);
    }
    if with(|m| m.refuses("alloc_irq_vectors", place)) {
        return Err(ENOSPC);
    }
    let mut why = ENOSPC;
    let tries: [(bool, Enable); 2] = [(kinds.msix, Machine::enable_msix), (kinds.msi, Machine::enable_msi)];
    let mut vectors = None;
    for (accepted, enable) in tries {
        if accepted && vectors.is_none() {
            match with(|m| enable(m, device, min, max)) {
                Ok(given) => vectors = Some(given),
                Err(code) => why = code,
            }
        }
    }
    if vectors.is_none() && kinds.intx && min == 1 {
        vectors = with(|m| m.enable_intx(device));
    }
    vectors.map(|vectors| with(|m| m.book_vectors(device, vectors, place))).ok_or(why)
}

impl Machine {
    fn enable_msix(&mut self, device: DeviceId, min: u32, max: u32) -> Result<Vectors, i32> {
        if max < min {
            return Err(ERANGE);
        }
        let at = self.bus.port(device).config().msix_offset().filter(|_| max > 0).ok_or(EINVAL)?;
        let control = self.bus.config_read(device, at + 2, 2);
        let count = ((control & 0x7ff) + 1).min(max);
        if count < min {
            return Err(ENOSPC);
        }
        let table = self.bus.config_read(device, at + 4, 4);
        // What the function says of its table may not be so: Linux maps the table first, and has none then.
        let end = u64::from(table & !7) + u64::from(count) * 16;
        let has_table = |bar: &bringup_core::Bar| u32::from(bar.index) == table & 7 && end <= bar.size;
        if !self.bus.port(device).function().bars().iter().any(has_table) {
            return Err(ENOMEM);
        }
        let first = self.irqs.take_messages(device, count, true);
        // Enable with everything masked, program the table, then unmask the function: as Linux does.
        self.bus.config_write(device, at + 2, 2, control | 0xc000);
        for vector in 0..count {
            let entry = u64::from(table & !7) + u64::from(vector) * 16;
            let bar = (table & 7) as u8;
            for (index, value) in [MESSAGE_ADDRESS, 0, first + vector, 1].into_iter().enumerate() {
                self.bus.bar_write(device, bar, entry + 4 * index as u64, 4, u64::from(value), None);
            }
        }
        self.bus.config_write(device, at + 2, 2, control & !0x4000 | 0x8000);
        self.set_intx_disable(device, true);
        Ok(Vectors { first, count, kind: IrqKind::Msix })
    }

    fn enable_msi(&mut self, device: DeviceId, min: u32, max: u32) -> Result<Vectors, i32> {
        if min == 0 {
            return Err(EINVAL);
        }
        if max < min {
            return Err(ERANGE);
        }
        let at = self.bus.port(device).config().msi_offset().ok_or(EINVAL)?;
        let control = self.bus.config_read(device, at + 2, 2);
        let count = max.min(1 << (control >> 1 & 7));
        if count < min {
            return Err(ENOSPC);
        }
        let (maskable, wide) = (control & 0x100 != 0, control & 0x80 != 0);
        let first = self.irqs.take_messages_aligned(device, count, maskable);
        self.bus.config_write(device, at + 4, 4, MESSAGE_ADDRESS);
        if wide {
            self.bus.config_write(device, at + 8, 4, 0);
        }
        self.bus.config_write(device, at + if wide { 12 } else { 8 }, 2, first);
        if maskable {
            self.bus.config_write(device, at + if wide { 16 } else { 12 }, 4, u32::MAX);
        }
        let granted = control & !0x70 | count.next_power_of_two().trailing_zeros() << 4;
        self.bus.config_write(device, at + 2, 2, granted | 1);
        self.set_intx_disable(device, true);
        Ok(Vectors { first, count, kind: IrqKind::Msi })
    }

    fn enable_intx(&mut self, device: DeviceId) -> Option<Vectors> {
        if self.bus.config_read(device, offset::INTERRUPT_PIN, 1) == 0 {
            return None;
        }
        let line = self.bus.config_read(device, offset::INTERRUPT_LINE, 1) as u8;
        let irq = Interrupts::line_of(line);
        self.irqs.ensure_line(irq);
        self.device(device).line = Some(irq);
        self.set_intx_disable(device, false);
        Some(Vectors { first: irq, count: 1, kind: IrqKind::Intx })
    }
}

/// Where messages are written to: the local APIC of the first processor.
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// Takes a device's vectors back (`pci_free_irq_vectors`). Handlers that are still registered on them are a finding.
#[track_caller]
pub fn free_vectors(device: DeviceId) {
    let place = Location::caller();
    with(|m| {
        m.check_sleep("the release of interrupt vectors", place);
        let Some(vectors) = m.device(device).vectors.take() else { return };
        m.ledger.give_back(vectors.ledger);
        let irqs = vectors.first..vectors.first + vectors.count;
        for irq in irqs.clone() {
            let Some(desc) = m.irqs.descs.get(&irq) else { continue };
            let mine: Vec<(&'static str, Place)> =
                desc.handlers.iter().filter(|h| h.device == Some(device)).map(|h| (h.name, h.place)).collect();
            for (name, place) in mine {
                let what = format!(
                    "the vectors of {} were freed while handler \"{name}\" is on irq {irq}",
                    m.device_name(device)
                );
                m.find(&rules::LEAK_HANDLER, what, Some(place));
            }
        }
        let at = m.bus.port(device);
        let (msi, msix) = (at.config().msi_offset(), at.config().msix_offset());
        match vectors.kind {
            IrqKind::Msix => m.clear_control(device, msix, 0x8000),
            IrqKind::Msi => m.clear_control(device, msi, 1),
            IrqKind::Intx => {}
        }
        if vectors.kind != IrqKind::Intx {
            for irq in irqs {
                m.retire_message_irq(irq);
            }
            m.set_intx_disable(device, false);
        }
    });
}

/// Registers a handler (`request_threaded_irq`). `thread` is the threaded part, run in a task of its own when the primary
/// handler returns [`irqreturn::WAKE_THREAD`]. Returns a number for [`free_irq`].
///
/// # Errors
/// `EINVAL` for an irq that does not exist, or for a threaded handler without primary part and without
/// [`irqflags::ONESHOT`]; `EBUSY` when the line is taken by a handler and not both share it.
#[track_caller]
pub fn request_irq(
    irq: u32,
    flags: u32,
    name: &'static str,
    primary: Callback,
    thread: Option<Callback>,
) -> Result<u32, i32> {
    request_irq_at(irq, flags, name, primary, thread, Location::caller())
}

/// As [`request_irq`], for a place that is known.
///
/// # Errors
/// As there.
pub fn request_irq_at(
    irq: u32,
    flags: u32,
    name: &'static str,
    primary: Callback,
    thread: Option<Callback>,
    place: Place,
) -> Result<u32, i32> {
    let shared = flags & irqflags::SHARED != 0;
    let id = with(|m| {
        m.check_sleep("request_irq", place);
        let raised = m.is_raised(irq);
        let Some(desc) = m.irqs.descs.get(&irq) else { return Err(EINVAL) };
        if desc.handlers.iter().any(|h| !(shared && h.shared)) {
            return Err(EBUSY);
        }
        let device = match desc.source {
            Source::Message { device, .. } => Some(device),
            Source::Line => m
                .devices
                .iter()
                .position(|d| d.vectors.as_ref().is_some_and(|v| v.first == irq))
                .map(|i| DeviceId(i as u16)),
        };
        let first = desc.handlers.is_empty();
        if m.refuses("request_irq", place) {
            return Err(ENOMEM);
        }
        let id = m.id();
        let ledger = m.take(Kind::Handler, device, Some(place), (u64::from(irq), 0), name);
        let label = format!("irq {irq} ({name})").into();
        let handler = Handler {
            id,
            name,
            label,
            primary,
            thread,
            oneshot: flags & irqflags::ONESHOT != 0,
            shared,
            device,
            ledger,
            thread_active: false,
            thread_again: false,
            place,
        };
        if let Some(desc) = m.irqs.descs.get_mut(&irq) {
            desc.handlers.push(handler);
            (desc.early, desc.freed) = (raised && first, None);
        }
        if first {
            m.set_vector_mask(irq, false);
        }
        Ok(id)
    })?;
    if shared {
        test_handler(irq, id);
    }
    super::point();
    Ok(id)
}

/// Takes a handler back (`free_irq`). Waits until neither it nor its thread runs.
#[track_caller]
pub fn free_irq(irq: u32, id: u32) {
    synchronize(irq);
    // The driver ought to be prepared for one more interrupt until this returns: another device of the line may raise it.
    if with(|m| m.irqs.descs.get(&irq).is_some_and(|d| d.handlers.iter().any(|h| h.id == id && h.shared))) {
        test_handler(irq, id);
    }
    with(|m| {
        // What was raised before this is still under way; what is raised from here on should not be.
        m.take_messages();
        let Some(desc) = m.irqs.descs.get_mut(&irq) else { return };
        let Some(index) = desc.handlers.iter().position(|h| h.id == id) else { return };
        let handler = desc.handlers.remove(index);
        let last = desc.handlers.is_empty();
        let (unclaimed, claimed, early) = (desc.delivered - desc.excused, desc.claimed, desc.early);
        m.ledger.give_back(handler.ledger);
        if last {
            m.set_vector_mask(irq, true);
            let faulted = handler.device.is_some_and(|device| m.bus.fabric.is_faulted(device));
            if unclaimed > 0 && claimed == 0 && !faulted {
                let what =
                    format!("irq {irq}: {unclaimed} interrupts came and handler \"{}\" handled none", handler.name);
                let rule = if early { &rules::IRQ_BEFORE_READY } else { &rules::IRQ_UNHANDLED };
                m.find(rule, what, Some(handler.place));
            }
            let freed = Freed { name: handler.name, place: handler.place, at: m.now() };
            if let Some(desc) = m.irqs.descs.get_mut(&irq) {
                (desc.delivered, desc.excused, desc.claimed, desc.unhandled) = (0, 0, 0, 0);
                (desc.early, desc.freed) = (false, Some(freed));
            }
        }
    });
}

/// Calls a shared handler once more, as CONFIG_DEBUG_SHIRQ does, if the chooser says so: an interrupt of another device on the
/// line may come at any time at which the handler is registered. What it answers does not count.
fn test_handler(irq: u32, id: u32) {
    let outer = with(|m| {
        if m.tasks.current.is_none() || m.crashed || m.bus.fabric.choices.choose(Point::Interrupt, 2) == 0 {
            return None;
        }
        let handler = m.irqs.descs.get(&irq)?.handlers.iter().find(|h| h.id == id)?;
        let (callback, name) = (handler.primary, handler.name);
        let label = format!("irq {irq} ({name}), called once more to test it (CONFIG_DEBUG_SHIRQ)").into();
        m.enter_irq();
        m.irq_event(|| Event::IrqEnter { irq, name: name.into() });
        Some((callback, std::mem::replace(&mut m.bus.fabric.context, label), m.preemption()))
    });
    let Some((callback, context, before)) = outer else { return };
    if catch_unwind(AssertUnwindSafe(|| callback.call())).is_err() {
        task::bug();
        task::die();
    }
    with(|m| {
        m.leave_handler(before);
        m.irq_event(|| Event::IrqExit { irq, result: "a test" });
        m.irqs.leave();
        m.bus.fabric.context = context;
    });
}

/// Waits until no handler of the irq runs, its threads included (`synchronize_irq`).
#[track_caller]
pub fn synchronize(irq: u32) {
    let place = Location::caller();
    let busy = || {
        with(|m| {
            let desc = m.irqs.descs.get(&irq);
            !m.crashed && desc.is_some_and(|desc| desc.running != 0 || desc.handlers.iter().any(|h| h.thread_active))
        })
    };
    super::sched::might_sleep_at("synchronize_irq", place);
    let threads: Vec<(u32, &'static str, Place)> = with(|m| {
        let handlers = m.irqs.descs.get(&irq).map(|desc| desc.handlers.as_slice()).unwrap_or_default();
        handlers.iter().filter(|h| h.thread.is_some()).map(|h| (h.id, h.name, h.place)).collect()
    });
    for (id, name, handler) in threads {
        super::lock::activity_awaited(thread_class(handler), thread_key(id), place, || thread_name(name));
    }
    while busy() {
        task::wait(irq_key(irq), None, false, "synchronize_irq", place);
    }
}

/// How the lock checker knows the thread of a handler that was registered here.
fn thread_class(place: Place) -> (usize, usize) {
    (std::ptr::from_ref(place).addr(), 1)
}

fn thread_key(id: u32) -> usize {
    // Below any address, and none of the irqs'.
    id as usize + 0x10_0000
}

fn thread_name(name: &str) -> String {
    format!("the thread of handler {name}")
}

fn irq_key(irq: u32) -> usize {
    // Below any address, so it is no lock's key.
    irq as usize + 1
}

impl Machine {
    /// Notes what an interrupt comes in the middle of.
    fn cover_interrupt(&mut self) {
        if let Some(state) = self.in_binding {
            self.bus.fabric.cover(state);
        }
        if self.tasks.running().is_some_and(|task| !task.idle) {
            self.bus.fabric.cover(Coverage::InterruptInTask);
        }
    }
}

/// Delivers an irq: runs its handlers on the running stack.
pub(crate) fn handle(irq: u32) {
    let outer = with(|m| {
        m.bus.fabric.choices.history.cpu(irq.into());
        m.enter_irq();
        m.cover_interrupt();
        let accesses = m.bar_accesses;
        let desc = m.irqs.descs.get_mut(&irq)?;
        desc.running += 1;
        desc.seen_to = desc.pending > 0 && desc.raised_at != accesses;
        if desc.pending > 0 {
            desc.pending -= 1;
            m.irqs.pending -= 1;
            let stamp = desc.stamps[0];
            desc.stamps[0] = desc.stamps[1];
            m.bus.fabric.cpu_takes_message(stamp);
        }
        Some(m.bus.fabric.context.clone())
    });
    let outer_preemption = with(Machine::preemption);
    let mut claimed = false;
    let mut index = 0;
    while let Some((id, callback)) = with(|m| {
        let handler = m.irqs.descs.get(&irq)?.handlers.get(index)?;
        let (id, callback, label, name) = (handler.id, handler.primary, handler.label.clone(), handler.name);
        m.bus.fabric.context = label;
        m.irq_event(|| Event::IrqEnter { irq, name: name.into() });
        Some((id, callback))
    }) {
        let result = catch_unwind(AssertUnwindSafe(|| callback.call()));
        let Ok(result) = result else {
            task::bug();
            task::die();
        };
        with(|m| m.leave_handler(outer_preemption));
        let word = match result {
            irqreturn::HANDLED => "handled",
            irqreturn::WAKE_THREAD => "wakes thread",
            _ => "not mine",
        };
        with(|m| m.irq_event(|| Event::IrqExit { irq, result: word }));
        claimed |= result != irqreturn::NONE;
        if result == irqreturn::WAKE_THREAD {
            wake_thread(irq, id);
        }
        index += 1;
    }
    with(|m| {
        if let Some(desc) = m.irqs.descs.get_mut(&irq) {
            desc.running -= 1;
        }
        m.leave_irq();
        m.book_irq(irq, claimed);
        if let Some(outer) = outer {
            m.bus.fabric.context = outer;
        }
        m.wake(irq_key(irq), usize::MAX);
    });
}

fn wake_thread(irq: u32, id: u32) {
    let spawn = with(|m| {
        let desc = m.irqs.descs.get_mut(&irq)?;
        let handler = desc.handlers.iter_mut().find(|h| h.id == id)?;
        let Some(thread) = handler.thread else {
            let (name, place) = (handler.name, handler.place);
            m.find(
                &rules::IRQ_UNHANDLED,
                format!("handler \"{name}\" wakes a thread that it does not have"),
                Some(place),
            );
            return None;
        };
        if handler.thread_active {
            handler.thread_again = true;
            return None;
        }
        handler.thread_active = true;
        let (oneshot, name, place) = (handler.oneshot, handler.name, handler.place);
        if oneshot {
            desc.disabled += 1;
        }
        Some((thread, oneshot, name, place))
    });
    let Some((thread, oneshot, name, place)) = spawn else { return };
    task::spawn(
        format!("irq/{irq}-{name}"),
        false,
        Box::new(move || {
            loop {
                super::lock::activity_begins(thread_class(place), thread_key(id), place, || thread_name(name));
                thread.call();
                super::lock::activity_ends(thread_key(id));
                let again = with(|m| {
                    let handler =
                        m.irqs.descs.get_mut(&irq).and_then(|desc| desc.handlers.iter_mut().find(|h| h.id == id));
                    let Some(handler) = handler else { return false };
                    let again = std::mem::take(&mut handler.thread_again);
                    handler.thread_active = again;
                    again
                });
                if !again {
                    break;
                }
            }
            with(|m| {
                if oneshot && let Some(desc) = m.irqs.descs.get_mut(&irq) {
                    desc.disabled = desc.disabled.saturating_sub(1);
                }
                m.wake(irq_key(irq), usize::MAX);
            });
        }),
    );
}

impl Machine {
    /// How often pre-emption and interrupts are off in the running task.
    pub(crate) fn preemption(&mut self) -> (u32, u32) {
        self.tasks.running().map_or((0, 0), |task| (task.preempt, task.irqs_off))
    }

    /// A handler has returned to what it interrupted, which is as it was before.
    pub(crate) fn leave_handler(&mut self, before: (u32, u32)) {
        self.check_nothing_held("when it returns");
        if let Some(task) = self.tasks.running() {
            (task.preempt, task.irqs_off) = before;
        }
    }

    fn book_vectors(&mut self, device: DeviceId, vectors: Vectors, place: Place) -> Vectors {
        let detail = (u64::from(vectors.first), u64::from(vectors.count));
        let ledger = self.take(Kind::Vectors, Some(device), Some(place), detail, "");
        self.device(device).vectors =
            Some(VectorsId { first: vectors.first, count: vectors.count, kind: vectors.kind, ledger });
        vectors
    }

    fn set_intx_disable(&mut self, device: DeviceId, disable: bool) {
        let old = self.bus.config_read(device, offset::COMMAND, 2);
        let bit = u32::from(bringup_core::pci::command::INTX_DISABLE);
        let new = if disable { old | bit } else { old & !bit };
        if new != old {
            self.bus.config_write(device, offset::COMMAND, 2, new);
        }
    }

    fn clear_control(&mut self, device: DeviceId, at: Option<u16>, bit: u32) {
        if let Some(at) = at {
            let control = self.bus.config_read(device, at + 2, 2);
            self.bus.config_write(device, at + 2, 2, control & !bit);
        }
    }

    /// Masks or unmasks the vector behind a message irq, where the device has mask bits.
    fn set_vector_mask(&mut self, irq: u32, masked: bool) {
        let Some(Source::Message { device, vector, maskable: true }) =
            self.irqs.descs.get(&irq).map(|desc| desc.source)
        else {
            return;
        };
        let kind = self.device(device).vectors.as_ref().map(|vectors| vectors.kind);
        let port = self.bus.port(device);
        match (kind, port.config().msix_offset(), port.config().msi_offset()) {
            (Some(IrqKind::Msix), Some(at), _) => {
                let table = self.bus.config_read(device, at + 4, 4);
                let entry = u64::from(table & !7) + u64::from(vector) * 16 + 12;
                self.bus.bar_write(device, (table & 7) as u8, entry, 4, u64::from(masked), None);
            }
            (Some(IrqKind::Msi), _, Some(at)) => {
                let control = self.bus.config_read(device, at + 2, 2);
                let mask = at + if control & 0x80 != 0 { 16 } else { 12 };
                let old = self.bus.config_read(device, mask, 4);
                let bit = 1 << vector;
                self.bus.config_write(device, mask, 4, if masked { old | bit } else { old & !bit });
            }
            _ => {}
        }
    }

    fn retire_message_irq(&mut self, irq: u32) {
        let Some(desc) = self.irqs.descs.remove(&irq) else { return };
        self.irqs.pending -= u32::from(desc.pending);
        if let (true, Source::Message { device, .. }) = (desc.pending > 0, desc.source)
            && !self.bus.fabric.is_faulted(device)
            && desc.delivered == 0
            && desc.freed.is_none()
        {
            let name = self.device_name(device);
            let what = format!("{name} sent an interrupt on irq {irq}, and no handler ever took it");
            self.report(Finding::new(&rules::IRQ_UNHANDLED, what).on_device(name));
        }
    }
}
