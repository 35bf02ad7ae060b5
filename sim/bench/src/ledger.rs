//! The ledger: what a driver took and has to give back, with where it took it.

use bringup_core::{DeviceId, Place, Rule};

use crate::rules;

/// What kind of thing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A DMA mapping: coherent memory or a mapped table.
    Mapping,
    /// A requested PCI region.
    Region,
    /// A mapped BAR.
    IoMap,
    /// Interrupt vectors.
    Vectors,
    /// An interrupt handler.
    Handler,
    /// A running high-resolution timer.
    Timer,
    /// Work that is queued or runs.
    Work,
    /// A misc device.
    Chardev,
    /// A debugfs entry.
    Debugfs,
    /// A registered driver.
    Driver,
    /// A device that the module made itself (faux).
    Device,
}

impl Kind {
    pub(crate) fn rule(self) -> &'static Rule {
        match self {
            Self::Mapping => &rules::LEAK_MAPPING,
            Self::Region | Self::IoMap => &rules::LEAK_REGION,
            Self::Vectors => &rules::LEAK_VECTORS,
            Self::Handler => &rules::LEAK_HANDLER,
            Self::Timer => &rules::LEAK_TIMER,
            Self::Work => &rules::LEAK_WORK,
            Self::Chardev | Self::Debugfs | Self::Driver | Self::Device => &rules::LEAK_REGISTRATION,
        }
    }

    /// Whether it must be given back when its device is unbound; the rest must be when the module is unloaded.
    pub(crate) fn belongs_to_binding(self) -> bool {
        matches!(self, Self::Mapping | Self::Region | Self::IoMap | Self::Vectors | Self::Handler)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Mapping => "DMA mapping",
            Self::Region => "PCI region",
            Self::IoMap => "mapped BAR",
            Self::Vectors => "interrupt vectors",
            Self::Handler => "interrupt handler",
            Self::Timer => "timer",
            Self::Work => "work item",
            Self::Chardev => "misc device",
            Self::Debugfs => "debugfs entry",
            Self::Driver => "driver registration",
            Self::Device => "device",
        }
    }
}

/// One thing that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: LedgerId,
    pub(crate) kind: Kind,
    pub(crate) device: Option<DeviceId>,
    pub(crate) module: u32,
    pub(crate) place: Option<Place>,
    /// Two numbers that the kind knows how to print.
    pub(crate) detail: (u64, u64),
    pub(crate) name: &'static str,
}

impl Entry {
    pub(crate) fn describe(&self) -> String {
        let word = self.kind.word();
        match self.kind {
            Kind::Mapping => format!("{word} {:#x} +{:#x}", self.detail.0, self.detail.1),
            Kind::Region | Kind::IoMap => format!("{word}: BAR {}", self.detail.0),
            Kind::Vectors => format!("{word}: {} from irq {}", self.detail.1, self.detail.0),
            Kind::Handler => format!("{word} \"{}\" of irq {}", self.name, self.detail.0),
            _ if self.name.is_empty() => word.to_owned(),
            _ => format!("{word} \"{}\"", self.name),
        }
    }
}

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerId(u32);

/// All that is taken at the moment.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    next: u32,
}

impl Ledger {
    pub(crate) fn take(&mut self, mut entry: Entry) -> LedgerId {
        self.next += 1;
        entry.id = LedgerId(self.next);
        let id = entry.id;
        self.entries.push(entry);
        id
    }

    pub(crate) fn place(&self, id: LedgerId) -> Option<Place> {
        self.entries.iter().rev().find(|entry| entry.id == id)?.place
    }

    pub(crate) fn give_back(&mut self, id: LedgerId) -> Option<Entry> {
        let index = self.entries.iter().rposition(|entry| entry.id == id)?;
        Some(self.entries.remove(index))
    }

    /// What was taken with these and not given back. They are forgotten: a leak is reported once.
    pub(crate) fn left(&mut self, belongs: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut left = Vec::new();
        self.entries.retain(|entry| {
            let is_left = belongs(entry);
            if is_left {
                left.push(entry.clone());
            }
            !is_left
        });
        left
    }
}

pub(crate) const NO_ID: LedgerId = LedgerId(0);
