//! A bus with a function that does nothing, and a monitor that is told of one queue. Memory, and what is shown of it, are the test's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bringup_core::dma::{Direction, MappingKind, NewMapping, Ram};
use bringup_core::pci::command;
use bringup_core::{
    Access, Bar, Barrier, Bus, BusConfig, Cx, Device, DeviceId, Function, Monitor, Reply, Reset, Seen, Sight,
};
use vm_memory::{Bytes, GuestAddress};

use crate::virtio::ring::{Exposed, Kick, News, Phase, Returned, Ring, Setup};

/// Where a write enables the queue, and where one kicks it.
const ENABLE: u64 = 0x100;
const KICK: u64 = 0;

struct Null;

impl Device for Null {
    fn function(&self) -> Function {
        Function::new(0x1af4, 0x1040).bar(Bar::memory32(0, 4096))
    }

    fn read(&mut self, _cx: &mut Cx<'_>, _at: Access) -> Reply<u64> {
        Ok(0)
    }

    fn write(&mut self, _cx: &mut Cx<'_>, _at: Access, _value: u64) -> Reply<()> {
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: Reset) {}
}

/// What test and monitor share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) setup: Option<Setup>,
    pub(super) phase: Phase,
    pub(super) ring: Option<Ring>,
    pub(super) exposed: Vec<Exposed>,
    pub(super) returned: Vec<Returned>,
}

impl Shared {
    fn take(&mut self, news: News) {
        self.exposed.extend(news.exposed.iter().cloned());
        self.returned.extend(news.returned.iter().cloned());
        if let Some(ring) = &mut self.ring {
            ring.recycle(news);
        }
    }
}

/// The smallest monitor of a queue. `kick` and `enable` are offsets in the BAR `bar`.
pub(super) struct Watcher {
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) bar: u8,
    pub(super) kick: u64,
    pub(super) enable: u64,
}

impl Monitor for Watcher {
    fn see(&mut self, sight: &mut Sight<'_>, seen: Seen) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let phase = shared.phase;
        if let Seen::BarWrite { at: Access { bar, offset, .. }, .. } = seen
            && bar == self.bar
            && offset == self.enable
            && let Some(setup) = shared.setup.take()
        {
            shared.ring = Some(Ring::enabled(setup, sight));
            return;
        }
        let Some(ring) = &mut shared.ring else { return };
        let news = match seen {
            Seen::BarWrite { at: Access { bar, offset, width }, value } if bar == self.bar && offset == self.kick => {
                ring.kicked(sight, phase, Kick { value: value as u32, width })
            }
            Seen::Working => ring.working(sight, phase),
            Seen::Worked => ring.worked(sight, phase),
            Seen::Load { iova, len } => ring.accessed(sight, phase, iova, len, false),
            Seen::Store { iova, len } => ring.accessed(sight, phase, iova, len, true),
            Seen::Idle => ring.idle(sight, phase),
            Seen::Barrier(barrier) => {
                ring.barrier(barrier);
                return;
            }
            Seen::Unmapped { iova, len } => {
                ring.unmapped(sight, iova, len);
                return;
            }
            _ => return,
        };
        shared.take(news);
    }
}

/// What a life came to.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The rules that were found broken, each once.
    pub(super) found: Vec<&'static str>,
    pub(super) exercised: BTreeSet<&'static str>,
}

pub(super) struct Stand {
    pub(super) bus: Bus,
    pub(super) id: DeviceId,
    pub(super) shared: Arc<Mutex<Shared>>,
    /// Stores, loads and barriers are shown.
    pub(super) shown: bool,
    /// The device stores, not the driver.
    working: bool,
}

impl Stand {
    pub(super) fn new(shown: bool) -> Self {
        let mut bus = Bus::new(BusConfig::quiet(Ram::new(8 << 20).unwrap()));
        bus.fabric.exercised = Some(BTreeSet::new());
        let id = bus.plug("queue", Box::new(Null)).unwrap();
        bus.config_write(id, 4, 2, (command::MEMORY | command::BUS_MASTER).into());
        let shared = Arc::new(Mutex::new(Shared::default()));
        bus.watch(id, Box::new(Watcher { shared: shared.clone(), bar: 0, kick: KICK, enable: ENABLE }));
        Self { bus, id, shared, shown, working: false }
    }

    pub(super) fn share<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap())
    }

    pub(super) fn verdict(&self) -> Verdict {
        let found: BTreeSet<&str> = self.bus.fabric.findings.iter().map(|finding| finding.rule.id).collect();
        Verdict { found: found.into_iter().collect(), exercised: self.bus.fabric.exercised.clone().unwrap_or_default() }
    }

    // --- Memory ------------------------------------------------------------------------------------------------

    /// Zeroed memory that is mapped for the device.
    pub(super) fn map(&mut self, len: u64, direction: Direction) -> u64 {
        let physical = self.bus.fabric.ram.alloc(len, 0).unwrap();
        let kind = MappingKind::Coherent;
        let mapping = NewMapping { physical, len, mask: u64::MAX, direction, kind, place: None, at: 0 };
        self.bus.port(self.id).io_space().map(&mapping).unwrap()
    }

    pub(super) fn unmap(&mut self, iova: u64) {
        let mapping = self.bus.port(self.id).io_space().unmap(iova, 0).unwrap();
        self.bus.show_unmapped(self.id, iova, mapping.len, None);
    }

    /// The device loads.
    pub(super) fn fetch<const N: usize>(&self, iova: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.bus.port(self.id).memory().read_slice(&mut bytes, GuestAddress(iova)).unwrap();
        bytes
    }

    fn physical(&self, iova: u64, len: usize) -> GuestAddress {
        let mapping =
            self.bus.port(self.id).io_space().mapping_at(iova, len as u64).expect("the test maps what it uses");
        GuestAddress(mapping.physical.0 + (iova - mapping.iova))
    }

    /// Processors run while the device works, and their loads and stores are not shown.
    pub(super) fn race(&mut self) {
        self.bus.fabric.concurrent = true;
        self.shown = false;
    }

    /// The device stores.
    pub(super) fn place(&mut self, iova: u64, bytes: &[u8]) {
        if self.working {
            self.bus.port(self.id).memory().write_slice(bytes, GuestAddress(iova)).unwrap();
            return;
        }
        let at = self.physical(iova, bytes.len());
        self.bus.fabric.ram.memory().write_slice(bytes, at).unwrap();
    }

    pub(super) fn get<const N: usize>(&self, iova: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.bus.fabric.ram.memory().read_slice(&mut bytes, self.physical(iova, N)).unwrap();
        bytes
    }

    pub(super) fn get16(&self, iova: u64) -> u16 {
        u16::from_le_bytes(self.get(iova))
    }

    /// The driver stores, in pieces of up to 8 bytes.
    pub(super) fn put(&mut self, iova: u64, bytes: &[u8]) {
        let mut at = iova;
        let mut rest = bytes;
        while !rest.is_empty() {
            let widest = 1 << at.trailing_zeros().min(3);
            let (piece, more) = rest.split_at((1 << rest.len().ilog2()).min(widest));
            self.place(at, piece);
            self.show(Seen::Store { iova: at, len: piece.len() as u64 });
            at += piece.len() as u64;
            rest = more;
        }
    }

    pub(super) fn put16(&mut self, iova: u64, value: u16) {
        self.put(iova, &value.to_le_bytes());
    }

    /// The driver loads.
    pub(super) fn load(&mut self, iova: u64, len: u64) {
        self.show(Seen::Load { iova, len });
    }

    pub(super) fn barrier(&mut self, barrier: Barrier) {
        self.show(Seen::Barrier(barrier));
    }

    fn show(&mut self, seen: Seen) {
        if self.shown {
            self.bus.show(self.id, None, seen);
        }
    }

    // --- Events ------------------------------------------------------------------------------------------------

    pub(super) fn enable(&mut self, setup: Setup) {
        self.share(|shared| shared.setup = Some(setup));
        self.bus.bar_write(self.id, 0, ENABLE, 4, 1, None);
    }

    pub(super) fn kick(&mut self, value: u32, width: u8) {
        self.bus.bar_write(self.id, 0, KICK, width, value.into(), None);
    }

    pub(super) fn device(&mut self, act: impl FnOnce(&mut Self)) {
        self.begin();
        act(self);
        self.end();
    }

    /// The device begins to work …
    pub(super) fn begin(&mut self) {
        self.bus.show(self.id, None, Seen::Working);
        self.working = true;
    }

    /// … while the driver does something …
    pub(super) fn pause(&mut self) {
        self.working = false;
    }

    /// … goes on …
    pub(super) fn resume(&mut self) {
        self.working = true;
    }

    /// … and is done.
    pub(super) fn end(&mut self) {
        self.working = false;
        self.bus.show(self.id, None, Seen::Worked);
    }

    pub(super) fn idle(&mut self) {
        self.bus.show(self.id, None, Seen::Idle);
    }

    pub(super) fn phase(&mut self, act: impl FnOnce(&mut Phase)) {
        self.share(|shared| act(&mut shared.phase));
    }
}
