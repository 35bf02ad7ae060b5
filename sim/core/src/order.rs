//! The memory model: which of the CPU's stores a device is bound to see, which of a device's the CPU is, and when a write to a BAR
//! arrives. By Linux's rules (Documentation/memory-barriers.txt, Documentation/driver-api/device-io.rst), not by the host's.
//!
//! Every store to coherent memory, by whomever, and every write to a BAR gets a *stamp* from one sequence. Three things follow
//! from the stamps:
//!
//! - The CPU's *view*: all that devices stored up to it is seen by every load. Barriers raise it to what loads before them saw, and
//!   other events to now. A load of what was stored after the view may return older bytes.
//! - What each device is *guaranteed*: having seen one of the CPU's stores, it is bound to see all that barriers order before it.
//! - *Waiting* stores and writes to BARs: those that nobody but the CPU itself has seen. They land in any order that barriers allow.
//!
//! A machine that answers 0 to every choice lets nothing wait and loads the newest bytes always. What such a life would have
//! risked on another machine is still known from the stamps, and filed: see the rules `missing-read-barrier`,
//! `missing-write-barrier` and `doorbell-before-data`.

mod cpu;
mod device;
mod history;
mod past;
mod shadow;
mod suspects;
mod waiting;

use history::History;
use past::Past;
use shadow::{Regions, by_cpu};
use suspects::Suspects;
pub(crate) use waiting::Posted;
use waiting::Waiting;

use crate::choice::{Choices, Point};
use crate::device::Access;
use crate::dma::{Logging, Ram};
use crate::fabric::Fabric;
use crate::finding::{Finding, Place};
use crate::rules;
use crate::trace::DeviceId;

/// For how many points in a row something may wait, and how often in a row an old value be loaded. A bound, so that no stream
/// starves whoever looks for it.
const MOST_PUT_OFF: u8 = 24;
/// The last stamp that is given: a life this long is over for the model, not for the machine.
const LAST_STAMP: u32 = (1 << 30) - 1;
/// How many allocations are remembered that were freed while a write was under way.
const MOST_FREED: usize = 64;

/// Who is kept in order by a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The CPUs among each other (`smp_mb` and its like). Devices are not among them.
    Cpus,
    /// Accesses to memory, as devices see them (`dma_wmb`, `dma_rmb`).
    Memory,
    /// Accesses to memory and to devices (`mb`, `wmb`, `rmb`).
    All,
}

/// Coherent memory that the model lost sight of: its driver took a raw pointer into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// Where the pointer was taken.
    pub place: Place,
    /// Where the memory was allocated.
    pub allocated: Place,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whose memory it is.
    pub device: DeviceId,
}

/// A load that saw a device's store.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    stamp: u32,
    at: u64,
    len: u64,
    context: u32,
    place: Place,
}

/// Memory that was freed while a write to its device was under way.
#[derive(Clone, Copy, Debug)]
struct Freed {
    device: DeviceId,
    iova: u64,
    len: u64,
    write: Option<Place>,
    at: Access,
}

/// What a device saw of the CPU's stores.
#[derive(Clone, Copy, Debug, Default)]
struct Observer {
    /// All stores up to this one are seen by every read.
    guaranteed: u32,
    /// The latest store to memory that it saw …
    memory: u32,
    /// … and the latest relaxed write to a BAR.
    relaxed: u32,
}

/// The memory model of a machine. It is off unless whoever runs the CPUs turns it on and tells it of all they do.
#[derive(Debug, Default)]
pub struct Order {
    on: bool,
    /// Some answer may be other than 0: what they are for is worth keeping.
    loose: bool,
    /// The stamp given last.
    now: u32,
    /// The task or handler that runs.
    context: u32,
    regions: Regions,
    history: History,
    /// The CPU is bound to see what devices stored up to here.
    view: u32,
    seen: Option<Sighting>,
    /// The stamp that was given last when a store of the CPU's landed last: a load that is made after that sees as much.
    landed_at: u32,
    /// As `seen`, for the last relaxed read of a BAR.
    register: Option<Sighting>,
    /// The suspect that the last load made, if it made one.
    last_load: Option<u32>,
    observers: Vec<Observer>,
    suspects: Suspects,
    waiting: Waiting,
    past: Past,
    put_off: u8,
    stale_in_row: u8,
    freed: Vec<Freed>,
    uncovered: Vec<Uncovered>,
    /// The last load that was made before a store of the same context landed: store, load.
    overtaken: Option<(Place, Place)>,
    /// The last load that returned an old value.
    stale: Option<Place>,
}

impl Order {
    /// Turns the model on. `quiet`: all choices will be answered 0.
    pub fn enable(&mut self, quiet: bool) {
        self.on = true;
        self.loose = !quiet;
    }

    /// Whether it is on.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether choices may be answered with other than 0.
    #[inline]
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.loose
    }

    /// Whether `physical` lies in coherent memory that it follows.
    #[inline]
    #[must_use]
    pub fn follows(&self, physical: u64) -> bool {
        self.on && self.regions.at(physical).is_some_and(|region| !region.plain)
    }

    /// What devices' views of memory are to keep for it.
    #[inline]
    pub(crate) fn logging(&self) -> Logging {
        match (self.on, self.loose) {
            (false, _) => Logging::Off,
            (true, false) => Logging::Accesses,
            (true, true) => Logging::Old,
        }
    }

    /// Makes it as new, but keeps its memory: for the next life.
    pub fn recycle(&mut self) {
        (self.on, self.loose) = (false, false);
        (self.now, self.context, self.view, self.landed_at) = (0, 0, 0, 0);
        (self.seen, self.register, self.last_load) = (None, None, None);
        (self.put_off, self.stale_in_row) = (0, 0);
        (self.overtaken, self.stale) = (None, None);
        self.regions.clear();
        self.history.clear();
        self.observers.clear();
        self.suspects.clear();
        self.waiting.clear();
        self.past.clear();
        self.freed.clear();
        self.uncovered.clear();
    }

    /// Says which task or handler runs from now on, and gives the one that did. Accesses of different ones are not held against
    /// each other.
    pub fn set_context(&mut self, context: u32) -> u32 {
        self.last_load = None;
        std::mem::replace(&mut self.context, context)
    }

    /// Where the memory model lost sight of memory.
    pub fn take_uncovered(&mut self) -> Vec<Uncovered> {
        std::mem::take(&mut self.uncovered)
    }

    /// Facts that may explain why a driver waits for ever, or panicked: what came in another order than it was written in.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let line = |place: Place| format!("{}:{}", place.file(), place.line());
        let mut notes = Vec::new();
        if let Some((store, load)) = self.overtaken {
            let (store, load) = (line(store), line(load));
            notes.push(format!(
                "the store at {store} had not landed when the load at {load} was made; mb(Full) between the two orders them"
            ));
        }
        if let Some(load) = self.stale {
            let load = line(load);
            notes.push(format!(
                "the load at {load} returned an old value; dma_mb(Read) before it orders it after what was loaded earlier"
            ));
        }
        notes
    }

    fn observer(&mut self, device: DeviceId) -> &mut Observer {
        let index = usize::from(device.0);
        if index >= self.observers.len() {
            self.observers.resize(index + 1, Observer::default());
        }
        &mut self.observers[index]
    }

    /// The next stamp; none when there are no more, and then the model is off.
    #[inline]
    fn stamp(&mut self) -> Option<u32> {
        if self.now == LAST_STAMP {
            self.on = false;
            return None;
        }
        self.now += 1;
        Some(self.now)
    }

    /// Lands the stores that are wanted, and all that must land before them.
    fn land_stores(&mut self, ram: &Ram, wanted: impl Fn(&waiting::Store) -> bool) {
        if self.waiting.stores.is_empty() {
            return;
        }
        for store in self.waiting.take_stores(&self.history, wanted) {
            ram.put(store.at, store.data());
            self.landed(store.stamp, store.at, store.len.into());
        }
    }

    /// Books a store that memory holds now.
    #[inline]
    fn landed(&mut self, stamp: u32, at: u64, len: usize) {
        self.landed_at = self.now;
        self.regions.fill(at, len, by_cpu(stamp));
        if self.loose {
            self.past.cpu_stored(at, len as u64);
        }
    }

    /// The CPU is bound to see what devices stored up to here.
    fn raise_view(&mut self, to: u32) {
        if to > self.view {
            self.view = to;
            if self.loose {
                self.past.forget(to);
            }
        }
    }
}

/// What whoever runs the CPUs tells of coherent memory, by the machine's addresses.
impl Fabric {
    /// Coherent memory was allocated.
    pub fn coherent_allocated(&mut self, device: DeviceId, physical: u64, len: u64, place: Place) {
        if self.order.on {
            self.order.regions.add(device, physical, len, place);
        }
    }

    /// Coherent memory is about to be freed.
    pub fn coherent_freed(&mut self, device: DeviceId, physical: u64, iova: u64, len: u64) {
        self.memory_released(device, iova, len);
        let order = &mut self.order;
        order.land_stores(&self.ram, |store| store.overlaps(physical, len));
        order.past.forget_region(physical, len);
        order.suspects.overwritten(physical, len);
        let inside = |s: &Sighting| s.at < physical + len && physical < s.at + s.len;
        order.seen = order.seen.filter(|seen| !inside(seen));
        order.regions.remove(physical);
        self.file_suspects();
    }

    /// Memory is no longer lent to a device: what is under way to the device meanwhile comes too late.
    pub fn memory_released(&mut self, device: DeviceId, iova: u64, len: u64) {
        let order = &mut self.order;
        if let Some(posted) = order.waiting.last_posted(device)
            && order.freed.len() < MOST_FREED
        {
            order.freed.push(Freed { device, iova, len, write: posted.place, at: posted.at });
        }
    }

    /// The finding about DMA to memory that was freed while a write to its device was under way; `None` if it was not.
    pub(crate) fn freed_too_early(&self, device: DeviceId, iova: u64, tried: &str) -> Option<Finding> {
        let freed = self.order.freed.iter().rev();
        let freed = freed.clone().find(|f| f.device == device && f.iova <= iova && iova - f.iova < f.len)?;
        let at = format!("BAR {} offset {:#x}", freed.at.bar, freed.at.offset);
        let what = format!("{tried}, which was freed while the write to {at} was still under way");
        Some(
            Finding::new(&rules::POSTED_WRITE_NOT_FLUSHED, what)
                .at_place(freed.write)
                .note("a write to a BAR is posted: the driver went on before the device had it")
                .note("a read of any register of the device returns only when the write has arrived"),
        )
    }

    /// The CPU filled memory that the device was not told of yet (an initialiser ran, a `CoherentBox` was turned into `Coherent`).
    pub fn coherent_filled(&mut self, physical: u64, len: usize, place: Place) {
        if !self.order.follows(physical) {
            return;
        }
        let Some(stamp) = self.order.stamp() else { return };
        let context = self.order.context;
        self.order.history.note(stamp, context, place);
        self.order.landed(stamp, physical, len);
    }

    /// A raw pointer into memory was taken: from now on it cannot be followed, and stores to it land at once.
    #[cold]
    pub fn coherent_uncovered(&mut self, physical: u64, place: Place) {
        let order = &mut self.order;
        let Some(region) = order.regions.at_mut(physical).filter(|region| !region.plain) else { return };
        region.plain = true;
        let (device, at, len, allocated) = (region.device, region.physical, region.len, region.place);
        order.uncovered.push(Uncovered { place, allocated, bytes: len, device });
        order.land_stores(&self.ram, |store| store.overlaps(at, len));
        order.past.forget_region(at, len);
        let what =
            format!("{len} bytes of coherent memory are not followed any more: a raw pointer into them was taken");
        let note = format!("the memory was allocated at {}:{}", allocated.file(), allocated.line());
        self.report(Finding::new(&rules::COVERAGE_LOST, what).at_place(Some(place)).note(note));
    }

    /// Files what turned out to matter.
    #[inline]
    fn file_suspects(&mut self) {
        if !self.order.suspects.confirmed.is_empty() {
            self.file_confirmed();
        }
    }

    #[cold]
    fn file_confirmed(&mut self) {
        for suspect in std::mem::take(&mut self.order.suspects.confirmed) {
            // A device that a fault met may look where it was never told to.
            if !self.is_faulted(suspect.device) {
                let name = self.names.get(usize::from(suspect.device.0)).map_or("?", String::as_str).to_owned();
                self.report(suspect.finding(&name));
            }
        }
    }

    /// The life is over: what was read in no order, and never again, counts.
    pub fn end_order(&mut self) {
        self.order.suspects.end();
        self.file_suspects();
    }

    /// Whether stores or writes to BARs wait.
    #[inline]
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.order.waiting.is_empty()
    }
}

/// Which of the things that wait land, as the chooser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// All, whatever they wait for.
    All,
    /// All but those that wait for as long as they can.
    Ready,
    /// None yet.
    Nothing,
    /// The oldest write to a device.
    Write(DeviceId),
    /// A store, by its stamp.
    Store(u32),
}

impl Order {
    /// Everything has landed: the next that waits may do so for as long as any.
    pub(crate) fn nothing_waits(&mut self) {
        self.put_off = 0;
    }

    /// Chooses what lands now.
    pub(crate) fn choose_landing(&mut self, choices: &mut Choices) -> Landing {
        let targets = self.waiting.targets();
        let options = (2 + targets.len() + self.waiting.stores.len()).min(8) as u32;
        let answer = choices.choose(Point::Land, options) as usize;
        if self.put_off == MOST_PUT_OFF {
            self.put_off = 0;
            return Landing::All;
        }
        self.put_off += 1;
        let index = answer.wrapping_sub(2);
        match (answer, targets.get(index), self.waiting.stores.get(index.wrapping_sub(targets.len()))) {
            (0, ..) => Landing::Ready,
            (1, ..) => Landing::Nothing,
            (_, Some(device), _) => Landing::Write(*device),
            (_, None, Some(store)) => Landing::Store(store.stamp),
            _ => Landing::All,
        }
    }
}
