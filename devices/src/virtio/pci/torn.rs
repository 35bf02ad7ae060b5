//! Reading the device's own configuration, with changes between the parts of a field if a quirk asks for them
//! (virtio 1.4 §2.5.1, §4.1.4.3.1).

use bringup_core::Cx;
use bringup_spec::virtio::pci::isr;
use bringup_spec::virtio::{ConfigField, TYPES};

use super::VirtioPci;

/// Changes that are to happen while the driver reads.
///
/// The device goes back and forth between its true configuration and one in which the first part of every field is something
/// else. Each time it does, the generation changes; in the end it is the true one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tearing {
    left: u32,
    /// The configuration is the other one.
    other: bool,
}

impl Tearing {
    pub(super) fn new(times: u32) -> Self {
        Self { left: times, other: false }
    }
}

/// Which end of a field an access touches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

impl VirtioPci {
    pub(super) fn read_config(&mut self, cx: &mut Cx<'_>, offset: u64, width: u8) -> u64 {
        let mut bytes = [0; 8];
        let Some(into) = bytes.get_mut(..usize::from(width)) else { return 0 };
        if (offset as usize) < self.device.config_len() {
            self.device.read_config(offset as usize, into);
        }
        if self.state.tearing.left != 0 {
            match self.touches(offset, width) {
                Some(End::First) => {
                    into.iter_mut().for_each(|byte| *byte = !*byte);
                    if !self.state.tearing.other {
                        self.tear(cx, true);
                    }
                }
                Some(End::Last) if self.state.tearing.other => {
                    self.state.tearing.left -= 1;
                    self.tear(cx, false);
                }
                _ => {}
            }
        }
        u64::from_le_bytes(bytes)
    }

    fn tear(&mut self, cx: &mut Cx<'_>, other: bool) {
        self.state.tearing.other = other;
        self.state.generation = self.state.generation.wrapping_add(1);
        if self.is_live() {
            self.interrupt(cx, self.state.config_vector, isr::CONFIG);
        }
    }

    /// Whether an access reads the first or the last part, and not all, of a field that takes several accesses.
    fn touches(&self, offset: u64, width: u8) -> Option<End> {
        let facts = TYPES.iter().find(|facts| facts.id == self.device.device_type())?;
        let field = facts.config.iter().find(|field| {
            let (start, end) = span(field);
            (start..end).contains(&offset)
        })?;
        let (start, end) = span(field);
        let last = offset + u64::from(width);
        match (field.width > 4 || field.count > 1, offset == start, last >= end) {
            (true, true, false) => Some(End::First),
            (true, false, true) => Some(End::Last),
            _ => None,
        }
    }
}

/// Where a field begins and ends.
fn span(field: &ConfigField) -> (u64, u64) {
    let start = u64::from(field.offset);
    (start, start + u64::from(field.width) * u64::from(field.count))
}
