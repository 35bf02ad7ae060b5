//! Protocol monitors: checkers on the waist that follow a driver and name the clause of the specification that it breaks.
//!
//! A monitor sees what crosses the waist of one function ([`bringup_core::Seen`]) and shares no logic with the device models, so a
//! misreading of the specification there is not repeated here unseen.

#![forbid(unsafe_code)]

pub mod virtio;

use bringup_core::pci::{ConfigSpace, Function};
use bringup_core::{Monitor, Rule};

/// The monitor for a function, if there is one for its kind.
#[must_use]
pub fn for_function(function: &Function, config: &ConfigSpace) -> Option<Box<dyn Monitor>> {
    virtio::VirtioMonitor::new(function, config).map(|monitor| Box::new(monitor) as Box<dyn Monitor>)
}

/// The rules of all monitors.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    virtio::rules::all()
}
