//! The device's configuration, the ISR status, and configuration space of the function (virtio 1.4 §2.5, §4.1.3, §4.1.4).

use bringup_core::{InterruptMode, Sight};
use bringup_spec::virtio::pci::{cap, cfg_type};
use bringup_spec::virtio::{ConfigField, blk, console, device_type};

use super::common::plus;
use super::judge::{blame, judge};
use super::layout::Layout;
use super::life::{Life, Negotiation, Suspend};
use super::rules::config as rule;
use super::rules::{blk as blk_rule, registers, status as status_rule};

/// Whether the halves of a 64-bit field are read as one (virtio 1.4 §2.5.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// The generation was read, and nothing of 64 bits since.
    generation: bool,
    /// The field whose halves are being read, which of them were, and whether the generation was read before.
    halves: Option<(&'static str, u8, bool)>,
    /// Both halves of a field were read; the generation was not read again yet.
    owed: Option<&'static str>,
}

impl Reading {
    pub(super) fn generation_read(&mut self, sight: &mut Sight<'_>) {
        if self.owed.take().is_some() {
            sight.exercised(&rule::TORN);
        }
        self.generation = true;
        self.halves = None;
    }

    fn half_read(&mut self, sight: &mut Sight<'_>, name: &'static str, half: u8) {
        // Where processors run side by side, several may be reading at a time: only a generation that nobody read is missing then.
        let racing = sight.is_concurrent();
        let (read, guarded) = match self.halves {
            Some((of, read, guarded)) if of == name => (read, guarded),
            _ => {
                if !racing {
                    self.settle(sight);
                }
                (0, self.generation)
            }
        };
        self.generation &= racing;
        let read = read | half;
        if read != 3 {
            self.halves = Some((name, read, guarded));
            return;
        }
        self.halves = None;
        if guarded {
            self.owed = Some(name);
        } else {
            blame(sight, &rule::TORN, || {
                format!("both halves of {name} were read, and config_generation not before them")
            });
        }
    }

    /// The driver goes on: it should have looked whether what it read belongs together.
    pub(super) fn settle(&mut self, sight: &mut Sight<'_>) {
        if let Some(name) = self.owed.take() {
            blame(sight, &rule::TORN, || {
                format!("both halves of {name} were read, and config_generation not after them")
            });
        }
    }
}

/// The field at an offset, and how far into it that is.
fn field_at(layout: &Layout, offset: u64) -> Option<(&'static ConfigField, u64)> {
    let fields = layout.facts?.config;
    let field = fields.iter().find(|field| {
        let start = u64::from(field.offset);
        (start..start + u64::from(field.width) * u64::from(field.count)).contains(&offset)
    })?;
    Some((field, offset - u64::from(field.offset)))
}

impl Life {
    /// The field that an access meets, if it is made as the field wants it and the field is there.
    fn field(
        &self,
        sight: &mut Sight<'_>,
        layout: &Layout,
        verb: &str,
        offset: u64,
        width: u8,
    ) -> Option<(&'static ConfigField, u64)> {
        let (field, into) = field_at(layout, offset)?;
        let wanted = field.width.min(4);
        let right = width == wanted && into.is_multiple_of(u64::from(wanted));
        judge(sight, &registers::WIDTH, right, || {
            let takes = if field.width == 8 { "two accesses of 4 bytes".into() } else { format!("{wanted} bytes") };
            format!(
                "{width}-byte {verb} at {}{} of the device's configuration; it takes {takes}",
                field.name,
                plus(into)
            )
        });
        if !field.needs.is_empty() {
            let offered = field.needs.iter().any(|bit| self.features.offers(*bit));
            judge(sight, &rule::OPTIONAL, offered, || {
                let looked = field.needs.iter().any(|bit| self.features.looked_for(*bit));
                let why = if looked {
                    "the device offers none of the features"
                } else {
                    "the driver did not look for the features"
                };
                format!("{verb} of {}: {why} that it exists with", field.name)
            });
        }
        right.then_some((field, into))
    }

    /// The driver read the device's configuration.
    pub(super) fn config_read(&mut self, sight: &mut Sight<'_>, layout: &Layout, offset: u64, width: u8, value: u64) {
        let Some((field, into)) = self.field(sight, layout, "read", offset, width) else { return };
        self.config.put(offset, width, value);
        if field.width == 8 {
            let half = if into == 0 { 1 } else { 2 };
            self.reading.half_read(sight, field.name, half);
        }
        if layout.device_type == device_type::BLOCK && field.offset == blk::config::WRITEBACK {
            judge(sight, &blk_rule::WRITEBACK_EARLY, self.negotiation != Negotiation::Open, || {
                "writeback was read before FEATURES_OK".into()
            });
        }
    }

    /// The driver writes the device's configuration.
    pub(super) fn config_write(&mut self, sight: &mut Sight<'_>, layout: &Layout, offset: u64, width: u8, _value: u64) {
        let field = self.field(sight, layout, "write", offset, width);
        let name = field.map_or("the device's configuration", |(field, _)| field.name);
        match self.suspend {
            Suspend::Off => {}
            Suspend::Resuming => blame(sight, &status_rule::SUSPEND_RESUME, || {
                format!("{name} was written before the status showed that the device works again")
            }),
            Suspend::Asked | Suspend::Confirmed => {
                blame(sight, &status_rule::SUSPEND_CONFIG, || format!("{name} was written after SUSPEND was set"));
            }
        }
        let emergency = layout.device_type == device_type::CONSOLE && offset == u64::from(console::config::EMERG_WR);
        if !emergency {
            judge(sight, &rule::EARLY_WRITE, self.negotiation != Negotiation::Open, || {
                format!("{name} was written before FEATURES_OK")
            });
        }
    }
}

/// The driver read the ISR status.
pub(super) fn isr_read(sight: &mut Sight<'_>, offset: u64, width: u8) {
    if offset != 0 {
        return;
    }
    judge(sight, &registers::WIDTH, width == 1, || format!("{width}-byte read of the ISR status; it takes 1 byte"));
    let messages = sight.interrupt_mode() == InterruptMode::Msix;
    judge(sight, &registers::QUEUE_WITHOUT_MODE_ISR, !messages, || {
        "the ISR status was read while MSI-X was enabled".into()
    });
}

/// Configuration space is written: not at a virtio capability, except for the window.
pub(super) fn capability_written(sight: &mut Sight<'_>, layout: &Layout, offset: u16, width: u8) {
    let end = offset.saturating_add(u16::from(width));
    let hit = layout.capabilities.iter().find(|capability| {
        matches!(
            capability.kind,
            cfg_type::COMMON | cfg_type::NOTIFY | cfg_type::ISR | cfg_type::DEVICE | cfg_type::SHARED_MEMORY
        ) && offset < capability.at + capability.len
            && capability.at < end
    });
    if let Some(capability) = hit {
        blame(sight, &registers::CAPABILITY_WRITTEN, || {
            format!(
                "{width} bytes were written at {offset:#x} of configuration space, in the capability of type {} at {:#x}",
                capability.kind, capability.at
            )
        });
    } else {
        sight.exercised(&registers::CAPABILITY_WRITTEN);
    }
}

/// Configuration space is accessed: if that is the data of the window, the window must be right (virtio 1.4 §4.1.4.9).
///
/// Reading it before the window was set means nothing: whoever dumps configuration space does that.
pub(super) fn window_access(sight: &mut Sight<'_>, layout: &Layout, offset: u16, width: u8, write: bool) {
    let Some(window) = layout.capabilities.iter().find(|capability| capability.kind == cfg_type::PCI) else { return };
    let data = window.at + u16::from(cap::PCI_CFG_DATA);
    if offset.saturating_add(u16::from(width)) <= data || offset >= data + 4 {
        return;
    }
    let register = |field: u8, width: u8| sight.config().read(window.at + u16::from(field), width);
    let (bar, start, len) = (register(cap::BAR, 1) as u8, register(cap::OFFSET, 4), register(cap::LENGTH, 4));
    if len == 0 && !write {
        return;
    }
    if !judge(sight, &rule::WINDOW_LENGTH, matches!(len, 1 | 2 | 4), || {
        format!("the window was used with length {len}")
    }) {
        return;
    }
    judge(sight, &rule::WINDOW_OFFSET, start.is_multiple_of(len), || {
        format!("the window was used with offset {start:#x} and length {len}")
    });
    judge(sight, &rule::WINDOW_ACCESS, offset == data && u32::from(width) <= len, || {
        format!(
            "{width} bytes were accessed at byte {} of the window's data; its length is {len}",
            offset.saturating_sub(data)
        )
    });
    judge(sight, &rule::WINDOW_RANGE, layout.names(bar, start.into(), len.into()), || {
        format!("the window was pointed to BAR {bar} offset {start:#x}, where no virtio structure is")
    });
}
