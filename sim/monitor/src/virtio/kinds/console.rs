//! Consoles (virtio 1.4 §5.3).

use std::collections::BTreeMap;

use bringup_core::Sight;
use bringup_spec::virtio::console::{control, feature, queue};

use super::payload;
use crate::virtio::judge::{blame, judge};
use crate::virtio::life::Facts;
use crate::virtio::ring::{Element, Returned};
use crate::virtio::rules::kinds as rule;

/// The most ports that are followed.
const MOST: usize = 4096;

/// What is followed of a console.
#[derive(Debug, Default)]
pub(in crate::virtio) struct Console {
    /// The queue for control messages was enabled.
    controlled: bool,
    /// Nothing went on since.
    rested: bool,
    /// DEVICE_READY was sent.
    ready: bool,
    /// Its absence was reported.
    blamed: bool,
    /// Ports that were added and not answered; whether there was time to.
    added: BTreeMap<u32, bool>,
    /// Ports that are consoles and were not opened; whether there was time to.
    consoles: BTreeMap<u32, bool>,
}

/// A control message: port, event and value.
fn message(sight: &Sight<'_>, elements: &[Element], writable: bool) -> Option<(u32, u16, u16)> {
    let [p0, p1, p2, p3, e0, e1, v0, v1] = payload::bytes::<8>(sight, elements, writable, 0)?;
    Some((u32::from_le_bytes([p0, p1, p2, p3]), u16::from_le_bytes([e0, e1]), u16::from_le_bytes([v0, v1])))
}

/// The driver enabled a queue.
pub(super) fn enabled(sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16) {
    judge(sight, &rule::CONSOLE_QUEUES, index < queue::CONTROL_RX || facts.has(feature::MULTIPORT), || {
        format!("queue {index} of a console was enabled without MULTIPORT")
    });
}

impl Console {
    /// The driver made a buffer available.
    pub(super) fn exposed(&mut self, sight: &mut Sight<'_>, index: u16, elements: &[Element]) {
        let receives = index.is_multiple_of(2);
        if receives {
            judge(sight, &rule::CONSOLE_RECEIVE, !payload::has(elements, false), || {
                format!("a buffer of queue {index}, which receives, has a part that the device can only read")
            });
        } else {
            judge(sight, &rule::CONSOLE_TRANSMIT, !payload::has(elements, true), || {
                format!("a buffer of queue {index}, which transmits, has a part for the device to write")
            });
        }
        self.controlled |= index == queue::CONTROL_RX;
        if index == queue::CONTROL_TX
            && let Some((port, event, value)) = message(sight, elements, false)
        {
            self.sent(sight, port, event, value);
        }
    }

    /// Control messages may have come and gone unseen: nothing that they might have answered is owed.
    pub(super) fn missed(&mut self, index: u16) {
        if index == queue::CONTROL_TX {
            self.ready = true;
            self.added.clear();
            self.consoles.clear();
        }
    }

    fn sent(&mut self, sight: &mut Sight<'_>, port: u32, event: u16, value: u16) {
        if event == control::DEVICE_READY {
            self.ready = true;
            sight.exercised(&rule::DEVICE_READY);
            return;
        }
        if !self.ready && !self.blamed {
            self.blamed = true;
            blame(sight, &rule::DEVICE_READY, || format!("control message {event} was sent before DEVICE_READY"));
        }
        if event == control::PORT_READY && self.added.remove(&port).is_some() {
            sight.exercised(&rule::PORT_READY);
        }
        if event == control::PORT_OPEN && self.consoles.remove(&port).is_some() {
            sight.exercised(&rule::PORT_OPEN);
            judge(sight, &rule::PORT_OPEN_VALUE, value == 1, || {
                format!("port {port}, a console, was answered with PORT_OPEN {value}")
            });
        }
    }

    /// The device gave a buffer back.
    pub(super) fn returned(&mut self, sight: &mut Sight<'_>, index: u16, chain: &Returned) {
        if index != queue::CONTROL_RX || u64::from(chain.written) < control::SIZE {
            return;
        }
        let Some((port, event, _)) = message(sight, &chain.elements, true) else { return };
        match event {
            control::DEVICE_ADD if self.added.len() < MOST => {
                self.added.insert(port, false);
            }
            control::CONSOLE_PORT if self.consoles.len() < MOST => {
                self.consoles.insert(port, false);
            }
            control::DEVICE_REMOVE => {
                self.added.remove(&port);
                self.consoles.remove(&port);
            }
            _ => {}
        }
    }

    pub(super) fn idle(&mut self) {
        self.rested |= self.controlled;
        self.added.values_mut().chain(self.consoles.values_mut()).for_each(|rested| *rested = true);
    }

    pub(super) fn ends(&mut self, sight: &mut Sight<'_>) {
        if self.rested && !self.ready && !self.blamed {
            blame(sight, &rule::DEVICE_READY, || "MULTIPORT was negotiated, and DEVICE_READY never sent".into());
        }
        for (port, _) in self.added.iter().filter(|(_, rested)| **rested) {
            blame(sight, &rule::PORT_READY, || format!("port {port} was added, and PORT_READY never sent for it"));
        }
        for (port, _) in self.consoles.iter().filter(|(_, rested)| **rested) {
            blame(sight, &rule::PORT_OPEN, || format!("port {port} is a console, and PORT_OPEN was never sent for it"));
        }
    }
}
