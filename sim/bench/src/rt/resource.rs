//! The ledger's side of the runtime: taking things and giving them back.

use std::panic::Location;

use bringup_core::choice::Point;
use bringup_core::trace::Event;
use bringup_core::{DeviceId, Place};

use crate::ledger::{Entry, Kind, LedgerId, NO_ID};
use crate::machine::{Machine, with};

impl Machine {
    pub(crate) fn take(
        &mut self,
        kind: Kind,
        device: Option<DeviceId>,
        place: Option<Place>,
        detail: (u64, u64),
        name: &'static str,
    ) -> LedgerId {
        let entry = Entry { id: NO_ID, kind, device, module: self.module, place, detail, name };
        self.ledger.take(entry)
    }
}

impl Machine {
    /// Whether a call of the driver's that can fail is chosen to.
    pub(crate) fn refuses(&mut self, call: &'static str, place: Place) -> bool {
        let fails =
            self.tasks.current.is_some() && !self.crashed && self.bus.fabric.choices.choose(Point::Allocation, 2) == 1;
        if fails {
            self.stats.failed_allocations += 1;
            self.event(|| Event::CallFailed { call, place: Some(place) });
        }
        fails
    }
}

/// Records that the running module took something that it must give back.
#[track_caller]
pub fn take(kind: Kind, device: Option<DeviceId>, name: &'static str) -> LedgerId {
    let place = Location::caller();
    with(|m| m.take(kind, device, Some(place), (0, 0), name))
}

/// Records that it was given back.
pub fn give_back(id: LedgerId) {
    with(|m| m.ledger.give_back(id));
}
