//! Notifications that nobody heard, and interrupts that wait: why a task waits for ever.

use std::sync::Arc;

use bringup_core::finding::Moment;
use bringup_core::{Finding, Nanos, Place};

use crate::irq::Source;
use crate::machine::Machine;
use crate::rules;

/// A notification that came when nobody waited.
#[derive(Debug)]
struct Notification {
    about: usize,
    at: Nanos,
    place: Place,
    who: Arc<str>,
}

/// The last notification of each thing that nobody waited for.
#[derive(Debug, Default)]
pub(crate) struct Missed(Vec<Notification>);

/// How many things are remembered.
const MOST: usize = 32;

impl Missed {
    fn add(&mut self, notification: Notification) {
        self.0.retain(|known| known.about != notification.about);
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(notification);
    }

    fn last(&self, about: usize) -> Option<&Notification> {
        self.0.iter().find(|known| known.about == about)
    }

    /// A fact for the report of a task that waits.
    pub(crate) fn note(&self, about: usize) -> Option<String> {
        let last = self.last(about)?;
        let (file, line) = (last.place.file(), last.place.line());
        Some(format!("{} notified at {file}:{line}, at {}, when nobody waited", last.who, Moment(last.at)))
    }
}

impl Machine {
    pub(crate) fn notified_nobody(&mut self, about: usize, place: Place) {
        let (at, who) = (self.now(), self.bus.fabric.context.clone());
        self.missed.add(Notification { about, at, place, who });
    }

    /// The finding about a wait whose notification came between the last look at the condition and the wait; `None` if it is
    /// not so, or a device was made to misbehave: then the next notification may be what is missing.
    pub(crate) fn lost_wakeup(
        &self,
        (about, checked): (usize, Nanos),
        since: Nanos,
        how: &str,
        place: Place,
    ) -> Option<Finding> {
        let missed = self.missed.last(about).filter(|missed| (checked..=since).contains(&missed.at))?;
        if self.bus.devices().any(|id| self.bus.fabric.is_faulted(id)) {
            return None;
        }
        let who = &self.bus.fabric.context;
        let what = format!("{who} {how}, and had been notified between its look at the condition and its wait");
        let (file, line) = (missed.place.file(), missed.place.line());
        let finding = Finding::new(&rules::LOST_WAKEUP, what)
            .at_place(Some(place))
            .note(format!("{who} took the lock at {} and waited from {}", Moment(checked), Moment(since)))
            .note(format!("{} notified at {file}:{line}, at {}, when nobody waited", missed.who, Moment(missed.at)));
        Some(finding)
    }

    /// Interrupts that were raised and do not arrive, for the report of a task that waits.
    pub(crate) fn kept_interrupts(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (irq, desc) in &self.irqs.descs {
            let raised = match desc.source {
                Source::Message { .. } => desc.pending > 0,
                Source::Line => self.line_is_asserted(*irq),
            };
            if !raised {
                continue;
            }
            if desc.handlers.is_empty() {
                notes.push(format!("irq {irq} is raised, and no handler is registered for it"));
            } else if desc.disabled > 0 {
                notes.push(format!("irq {irq} is raised and turned off"));
            }
        }
        notes
    }

    /// A fact for the report of a panic in a handler whose driver has not yet ended its probe.
    pub(crate) fn early_handler_note(&self) -> Option<String> {
        if self.irqs.depth() == 0 {
            return None;
        }
        let probing = self.devices.iter().any(|device| device.binding.as_ref().is_some_and(|binding| binding.probing));
        probing.then(|| "the handler came while probe was still running: what it uses may not be there yet".to_owned())
    }
}
