//! What monitors watch of memory: the CPU's loads and stores there, and its barriers, are shown to them.

use std::cell::{Cell, RefCell};

use bringup_core::dma::{PAGE_SIZE, RAM_BASE};
use bringup_core::{Barrier, DeviceId, Place, Seen};
use vm_memory::GuestAddress;

use crate::machine::Machine;

thread_local! {
    /// Where the machine's memory lies in this process, and its length; length 0 while there is no machine.
    static MEMORY: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// Anything is watched.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// A bit for each page of it that is watched.
    static PAGES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Where in the machine's memory `ptr` points, in bytes from its start.
#[inline]
pub(crate) fn offset(ptr: *const u8) -> Option<u64> {
    let (base, size) = MEMORY.get();
    let at = ptr.addr().wrapping_sub(base);
    (at < size).then_some(at as u64)
}

/// Whether any of `len` bytes at `ptr`, which is in the machine's memory, lie in a page that is watched.
#[inline]
pub(crate) fn is_watched(ptr: *const u8, len: usize) -> bool {
    WATCHING.get() && page_is_watched(ptr.addr().wrapping_sub(MEMORY.get().0), len)
}

#[cold]
fn page_is_watched(at: usize, len: usize) -> bool {
    let page = PAGE_SIZE as usize;
    PAGES.with_borrow(|pages| {
        (at / page..=(at + len.max(1) - 1) / page)
            .any(|page| pages.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 != 0))
    })
}

/// Shows a load or store to whoever watches the memory at `offset`.
#[cold]
pub(crate) fn show_access(m: &mut Machine, offset: u64, len: usize, store: bool, place: Place) {
    let physical = RAM_BASE + offset;
    let page = physical / PAGE_SIZE;
    let watches = m.bus.fabric.watched.list();
    let at = |w: &bringup_core::monitor::Watch| {
        w.physical / PAGE_SIZE <= page && page <= (w.physical + w.len.max(1) - 1) / PAGE_SIZE
    };
    let mut seen: Vec<(DeviceId, u64)> = Vec::new();
    for watch in watches.iter().filter(|w| at(w)) {
        let found = (watch.device, watch.iova.wrapping_add(physical).wrapping_sub(watch.physical));
        if !seen.contains(&found) {
            seen.push(found);
        }
    }
    for (device, iova) in seen {
        let len = len as u64;
        let seen = if store { Seen::Store { iova, len } } else { Seen::Load { iova, len } };
        m.bus.show(device, Some(place), seen);
    }
    m.follow_watches();
}

/// Shows a barrier to all monitors.
pub(crate) fn show_barrier(m: &mut Machine, barrier: Barrier, place: Place) {
    if m.monitored {
        m.bus.show_barrier(barrier, Some(place));
        m.follow_watches();
    }
}

impl Machine {
    /// Tells monitors that nothing goes on before time passes.
    pub(crate) fn show_idle(&mut self) {
        if self.monitored {
            self.bus.show_idle();
        }
    }

    /// Brings what is filtered in step with what monitors watch.
    #[inline]
    pub(crate) fn follow_watches(&mut self) {
        if self.watches != self.bus.fabric.watched.generation() {
            self.rebuild_watches();
        }
    }

    #[cold]
    fn rebuild_watches(&mut self) {
        self.watches = self.bus.fabric.watched.generation();
        let size = self.bus.fabric.ram.size();
        let watches = self.bus.fabric.watched.list();
        PAGES.with_borrow_mut(|pages| {
            pages.clear();
            pages.resize((size / PAGE_SIZE).div_ceil(64) as usize, 0);
            for watch in watches {
                let first = watch.physical.saturating_sub(RAM_BASE) / PAGE_SIZE;
                let last = (watch.physical + watch.len.max(1) - 1).saturating_sub(RAM_BASE) / PAGE_SIZE;
                for page in first..=last {
                    if let Some(word) = pages.get_mut((page / 64) as usize) {
                        *word |= 1 << (page % 64);
                    }
                }
            }
        });
        WATCHING.set(!watches.is_empty());
    }
}

/// There is a machine with this memory.
pub(crate) fn remember(m: &Machine) {
    let ram = &m.bus.fabric.ram;
    let base = ram.host_address(GuestAddress(RAM_BASE)).map_or(0, |ptr| ptr.addr());
    MEMORY.set((base, if base == 0 { 0 } else { ram.size() as usize }));
    WATCHING.set(false);
}

/// Nothing is watched any more: the machine is gone.
pub(crate) fn forget() {
    MEMORY.set((0, 0));
    WATCHING.set(false);
}
