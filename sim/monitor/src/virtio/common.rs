//! Accesses to the common configuration structure (virtio 1.4 §4.1.4.3).

use bringup_core::Sight;
use bringup_spec::virtio::feature;
use bringup_spec::virtio::pci::{Field, common};

use super::judge::judge;
use super::kinds::Kind;
use super::layout::Layout;
use super::life::Life;
use super::queues::part;
use super::rules::registers as rule;

/// The register that an access meets, and whether it is made as the register wants it.
fn field_at(sight: &mut Sight<'_>, verb: &str, offset: u64, width: u8) -> Option<(&'static Field, bool)> {
    let field =
        common::FIELDS.iter().find(|field| (field.offset..field.offset + u64::from(field.width)).contains(&offset))?;
    let into = offset - field.offset;
    let right = if field.width == 8 { width == 4 && into.is_multiple_of(4) } else { width == field.width && into == 0 };
    judge(sight, &rule::WIDTH, right, || {
        let takes = if field.width == 8 { "two accesses of 4 bytes".into() } else { format!("{} bytes", field.width) };
        format!("{width}-byte {verb} at {}{}; it takes {takes}", field.name, plus(into))
    });
    Some((field, right))
}

pub(super) fn plus(into: u64) -> String {
    if into == 0 { String::new() } else { format!(" + {into}") }
}

impl Life {
    /// The driver read from the structure.
    pub(super) fn common_read(&mut self, sight: &mut Sight<'_>, offset: u64, width: u8, value: u64) {
        let Some((field, right)) = field_at(sight, "read", offset, width) else { return };
        if !right {
            // It was read all the same, which is not to be held against the driver twice.
            if field.offset == common::QUEUE_SIZE
                && offset == field.offset
                && width > field.width
                && let Some((_, queue)) = self.selected(sight, field.name)
            {
                queue.size_read(value as u16);
            }
            return;
        }
        match field.offset {
            common::DEVICE_FEATURE => self.device_feature_read(sight, value as u32),
            common::DEVICE_STATUS => self.status_read(sight, value as u8),
            common::NUM_QUEUES => self.num_queues = Some(value as u16),
            common::CONFIG_GENERATION => self.reading.generation_read(sight),
            common::CONFIG_MSIX_VECTOR => self.config_vector.unread = None,
            common::ADMIN_QUEUE_INDEX | common::ADMIN_QUEUE_NUM => {
                let known = self.feature_of(sight, field, feature::ADMIN_VQ).then_some(value as u16);
                if field.offset == common::ADMIN_QUEUE_INDEX {
                    self.admin_index = known;
                } else {
                    self.admin_num = known;
                }
            }
            common::QUEUE_NOTIF_CONFIG_DATA => {
                let there = self.feature_of(sight, field, feature::NOTIF_CONFIG_DATA);
                if let Some((_, queue)) = self.selected(sight, field.name)
                    && there
                {
                    queue.cookie = Some(value as u16);
                }
            }
            common::QUEUE_RESET => {
                let there = self.feature_of(sight, field, feature::RING_RESET);
                if let Some((_, queue)) = self.selected(sight, field.name)
                    && there
                {
                    queue.reset_read(value as u16);
                }
            }
            common::QUEUE_SIZE..=common::QUEUE_DEVICE => {
                let Some((_, queue)) = self.selected(sight, field.name) else { return };
                match field.offset {
                    common::QUEUE_SIZE => queue.size_read(value as u16),
                    common::QUEUE_MSIX_VECTOR => queue.vector.unread = None,
                    common::QUEUE_NOTIFY_OFF => queue.notify_off = Some(value as u16),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The driver writes to the structure.
    pub(super) fn common_write(
        &mut self,
        sight: &mut Sight<'_>,
        layout: &Layout,
        kind: &mut Kind,
        offset: u64,
        width: u8,
        value: u64,
    ) {
        let Some((field, right)) = field_at(sight, "write", offset, width) else { return };
        if !right {
            // Both halves at once set the address all the same.
            if field.width == 8 && width == 8 && offset == field.offset {
                self.address_written(sight, field, 0, value as u32);
                self.address_written(sight, field, 4, (value >> 32) as u32);
            }
            return;
        }
        match field.offset {
            common::ADMIN_QUEUE_INDEX | common::ADMIN_QUEUE_NUM => {
                judge(sight, &rule::ADMIN_READ_ONLY, false, || format!("{value:#x} was written to {}", field.name));
                return;
            }
            _ if !field.writable => {
                judge(sight, &rule::READ_ONLY, false, || format!("{value:#x} was written to {}", field.name));
                return;
            }
            _ => sight.exercised(&rule::READ_ONLY),
        }
        match field.offset {
            common::DEVICE_FEATURE_SELECT => self.features.device_select = Some(value as u32),
            common::DRIVER_FEATURE_SELECT => self.features.driver_select = Some(value as u32),
            common::DRIVER_FEATURE => self.driver_feature_written(sight, value as u32),
            common::CONFIG_MSIX_VECTOR => {
                let vector = Self::vector_written(sight, layout, "config_msix_vector", value as u16);
                self.config_vector.unread = vector;
            }
            common::DEVICE_STATUS => self.status_written(sight, layout, kind, value as u8),
            common::QUEUE_SELECT => self.queue_select = Some(value as u16),
            common::QUEUE_SIZE => self.queue_size_written(sight, value as u16),
            common::QUEUE_MSIX_VECTOR => self.queue_vector_written(sight, layout, value as u16),
            common::QUEUE_ENABLE => self.queue_enable_written(sight, kind, value as u16),
            common::QUEUE_RESET => self.queue_reset_written(sight, field, value as u16),
            common::QUEUE_DESC | common::QUEUE_DRIVER | common::QUEUE_DEVICE => {
                self.address_written(sight, field, offset - field.offset, value as u32);
            }
            _ => {}
        }
    }

    /// A half of an address is written.
    fn address_written(&mut self, sight: &mut Sight<'_>, field: &Field, into: u64, value: u32) {
        let part = match field.offset {
            common::QUEUE_DESC => part::DESCRIPTORS,
            common::QUEUE_DRIVER => part::DRIVER,
            _ => part::DEVICE,
        };
        self.queue_address_written(sight, part, into, value);
    }

    /// Whether the feature that a register exists with was accepted.
    pub(super) fn feature_of(&self, sight: &mut Sight<'_>, field: &Field, bit: u32) -> bool {
        judge(sight, &rule::NO_FEATURE, self.features.has(bit), || {
            format!("{} was accessed, and feature bit {bit} was not accepted", field.name)
        })
    }
}
