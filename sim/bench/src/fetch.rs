//! Double fetches: the same bytes of a device's, loaded twice where nothing in between says that they may have changed.
//!
//! Between two loads a device can change its memory. Whoever checks the value of the first and uses that of the second has checked
//! nothing. Which value a driver uses cannot be seen, so every second load at another place counts, unless a barrier, an access to
//! a register, a wait or a handler stands between: then the driver looks again because there may be news.

use bringup_core::{Finding, Place};

use crate::machine::Machine;
use crate::rules;

/// One load.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    at: u64,
    len: u64,
    value: u64,
    place: Place,
}

/// The loads of device-written memory since the last thing that makes a driver look again.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    list: Vec<Fetch>,
    /// The switch of tasks and the depth of handlers in which they were made.
    run: (u64, u32),
}

/// How many loads are remembered.
const MOST: usize = 32;

impl Fetches {
    /// What was loaded before may be loaded again.
    #[inline]
    pub(crate) fn renew(&mut self) {
        self.list.clear();
    }

    /// Notes a load; the first one of any of the same bytes at another place, if there was one.
    fn note(&mut self, fetch: Fetch, run: (u64, u32)) -> Option<Fetch> {
        if self.run != run {
            self.list.clear();
            self.run = run;
        }
        let overlaps = |old: &&Fetch| old.at < fetch.at + fetch.len && fetch.at < old.at + old.len;
        let mut same = self.list.iter().filter(overlaps).copied();
        let first = same.next();
        // The same place again is a loop.
        let is_known =
            first.is_some_and(|first| first.place == fetch.place) || same.any(|old| old.place == fetch.place);
        if !is_known && self.list.len() < MOST {
            self.list.push(fetch);
        }
        first.filter(|first| first.place != fetch.place)
    }
}

impl Machine {
    /// The driver loaded `len` bytes of memory that it shares with a device, `physical` in the machine's memory.
    #[inline]
    pub(crate) fn fetched(&mut self, physical: u64, len: u64, value: u64, place: Place) {
        if self.bus.fabric.order.device_wrote(physical, len as usize) {
            self.fetched_from_device(Fetch { at: physical, len, value, place });
        }
    }

    fn fetched_from_device(&mut self, fetch: Fetch) {
        if self.crashed || self.tasks.current.is_none() {
            return;
        }
        let run = (self.stats.switches, self.irqs.depth());
        let Some(first) = self.fetches.note(fetch, run) else { return };
        let (file, line) = (first.place.file(), first.place.line());
        let change = match (first.at, first.len) == (fetch.at, fetch.len) && first.value != fetch.value {
            true => format!("it changed in between: from {:#x} to {:#x}", first.value, fetch.value),
            false => "the device may change it in between".to_owned(),
        };
        let what =
            format!("what the device wrote is loaded here, and was loaded at {file}:{line} just before; {change}");
        self.report(Finding::new(&rules::DOUBLE_FETCH, what).at_place(Some(fetch.place)));
    }
}
