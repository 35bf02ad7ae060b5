//! The registers of the queues (virtio 1.4 §2.6, §4.1.4.3, §4.1.5.1.3).

use bringup_core::Sight;
use bringup_spec::virtio::pci::{Field, NO_VECTOR};
use bringup_spec::virtio::{feature, ring as numbers, status};

use super::judge::{blame, judge};
use super::kinds::Kind;
use super::layout::Layout;
use super::life::{Life, Negotiation, Vector};
use super::ring::{Ring, Setup};
use super::rules::registers as rule;
use super::rules::status as status_rule;

/// Which register of a queue: a bit each, in what was written; the addresses are numbered by them, too.
pub(super) mod part {
    pub(in super::super) const DESCRIPTORS: usize = 0;
    pub(in super::super) const DRIVER: usize = 1;
    pub(in super::super) const DEVICE: usize = 2;
    pub(super) const ADDRESSES: u8 = 7;
    pub(super) const SIZE: u8 = 1 << 3;
    pub(super) const VECTOR: u8 = 1 << 4;
    pub(super) const NAMES: [&str; 5] =
        ["queue_desc", "queue_driver", "queue_device", "queue_size", "queue_msix_vector"];
}

/// How far the reset of a queue is (virtio 1.4 §2.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum QueueReset {
    /// It is not being reset, and was not.
    #[default]
    No,
    /// 1 was written to `queue_reset`.
    Asked,
    /// `queue_reset` read 1.
    GoesOn,
    /// It read 0: the queue waits to be set up again.
    Done,
}

/// A queue's registers as the driver wrote and read them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The size that the device has it in, as it was read.
    max: Option<u16>,
    /// The size that was written.
    size: Option<u16>,
    pub(super) notify_off: Option<u16>,
    /// Its `queue_notif_config_data`.
    pub(super) cookie: Option<u16>,
    pub(super) vector: Vector,
    addresses: [u64; 3],
    /// Bits of [`part`]: what was written since the device or the queue was reset.
    written: u8,
    /// What had been written before the queue was reset.
    before: u8,
    pub(super) enabled: bool,
    pub(super) reset: QueueReset,
    /// Where its parts lie, and their lengths, since it was enabled last.
    pub(super) areas: [(u64, u64); 3],
    pub(super) ring: Option<Box<Ring>>,
}

/// The first register of a set, by name.
fn first_of(set: u8) -> &'static str {
    part::NAMES.get(set.trailing_zeros() as usize).copied().unwrap_or("a register")
}

impl Queue {
    pub(super) fn size_read(&mut self, value: u16) {
        if self.size.is_none() && !self.enabled {
            self.max = Some(value);
        }
    }

    pub(super) fn reset_read(&mut self, value: u16) {
        if matches!(self.reset, QueueReset::Asked | QueueReset::GoesOn) {
            self.reset = if value & 1 != 0 { QueueReset::GoesOn } else { QueueReset::Done };
        }
    }

    /// Something presupposes that its reset is over.
    pub(super) fn reset_is_over(&mut self, sight: &mut Sight<'_>, index: usize, what: impl FnOnce() -> String) {
        match self.reset {
            QueueReset::No => return,
            QueueReset::Asked => blame(sight, &rule::RESET_UNCHECKED, || {
                format!("queue {index} was reset, and queue_reset was not read before {}", what())
            }),
            QueueReset::GoesOn => blame(sight, &rule::RESET_PENDING, || {
                format!("queue {index} was being reset (queue_reset read 1) when {}", what())
            }),
            QueueReset::Done => {
                sight.exercised(&rule::RESET_UNCHECKED);
                sight.exercised(&rule::RESET_PENDING);
            }
        }
        self.reset = QueueReset::Done;
    }

    fn lengths(size: u16, packed: bool) -> [u64; 3] {
        let size = u64::from(size);
        let descriptors = size * numbers::desc::SIZE;
        if packed {
            return [descriptors, numbers::packed::EVENT_SIZE, numbers::packed::EVENT_SIZE];
        }
        let driver = numbers::split::AVAIL_EXTRA + size * numbers::split::AVAIL_ENTRY;
        [descriptors, driver, numbers::split::USED_EXTRA + size * numbers::split::USED_ENTRY]
    }
}

impl Life {
    /// The queue that is selected, and its number.
    pub(super) fn selected(&mut self, sight: &mut Sight<'_>, register: &str) -> Option<(u16, &mut Queue)> {
        judge(sight, &rule::NO_SELECT, self.queue_select.is_some(), || {
            format!("{register} was accessed; queue_select was not written since the reset")
        });
        let index = self.queue_select?;
        if self.queues.len() <= usize::from(index) {
            self.queues.resize_with(usize::from(index) + 1, Queue::default);
        }
        Some((index, self.queues.get_mut(usize::from(index))?))
    }

    /// The selected queue, about to be set up: whether this is the time for it.
    fn set_up(&mut self, sight: &mut Sight<'_>, register: &str) -> Option<(u16, &mut Queue)> {
        let (negotiation, failed) = (self.negotiation, self.has_failed());
        let (index, queue) = self.selected(sight, register)?;
        let at = usize::from(index);
        let timely = if failed {
            blame(sight, &status_rule::INIT_AFTER_FAILURE, || {
                format!("{register} of queue {index} was written after the initialisation had failed")
            });
            false
        } else {
            judge(sight, &status_rule::INIT_QUEUES, negotiation != Negotiation::Open, || {
                format!("{register} of queue {index} was written before FEATURES_OK")
            })
        };
        queue.reset_is_over(sight, at, || format!("{register} was written"));
        timely.then_some((index, queue))
    }

    /// As [`set_up`](Self::set_up), for what must be written before the queue is enabled.
    fn set_up_before(&mut self, sight: &mut Sight<'_>, register: &str) -> Option<(u16, &mut Queue)> {
        let (index, queue) = self.set_up(sight, register)?;
        judge(sight, &rule::ENABLE_LAST, !queue.enabled, || {
            format!("{register} of queue {index} was written when the queue was enabled already")
        });
        (!queue.enabled).then_some((index, queue))
    }

    pub(super) fn queue_size_written(&mut self, sight: &mut Sight<'_>, value: u16) {
        let packed = self.is_packed();
        let Some((index, queue)) = self.set_up_before(sight, "queue_size") else { return };
        let right = if packed {
            judge(sight, &rule::SIZE_ZERO, value != 0, || format!("0 was written to queue_size of queue {index}"))
        } else {
            judge(sight, &rule::SIZE_POWER, value.is_power_of_two(), || {
                format!("{value} was written to queue_size of queue {index}, a split queue")
            })
        };
        if let (true, Some(max)) = (right, queue.max) {
            judge(sight, &rule::SIZE_RAISED, value <= max, || {
                format!("{value} was written to queue_size of queue {index}, which has at most {max}")
            });
        }
        queue.written |= part::SIZE;
        queue.size = Some(value);
    }

    /// A vector is written: the one to be read back, if there is one.
    pub(super) fn vector_written(sight: &mut Sight<'_>, layout: &Layout, register: &str, value: u16) -> Option<u16> {
        judge(sight, &rule::VECTOR_RANGE, value == NO_VECTOR || value < layout.vectors, || {
            format!("{value:#x} was written to {register}; the MSI-X table has {} entries", layout.vectors)
        });
        (value != NO_VECTOR).then_some(value)
    }

    pub(super) fn queue_vector_written(&mut self, sight: &mut Sight<'_>, layout: &Layout, value: u16) {
        let unread = Self::vector_written(sight, layout, "queue_msix_vector", value);
        // Taking a vector away is part of tearing down, at any time.
        let queue = if value == NO_VECTOR {
            self.selected(sight, "queue_msix_vector")
        } else {
            self.set_up_before(sight, "queue_msix_vector")
        };
        let Some((_, queue)) = queue else { return };
        queue.vector.unread = unread;
        if value != NO_VECTOR {
            queue.written |= part::VECTOR;
        }
    }

    pub(super) fn queue_address_written(&mut self, sight: &mut Sight<'_>, which: usize, half: u64, value: u32) {
        let register = part::NAMES.get(which).copied().unwrap_or_default();
        let Some((_, queue)) = self.set_up_before(sight, register) else { return };
        let Some(address) = queue.addresses.get_mut(which) else { return };
        if half == 0 {
            *address = *address & !u64::from(u32::MAX) | u64::from(value);
            queue.written |= 1 << which;
        } else {
            *address = *address & u64::from(u32::MAX) | u64::from(value) << 32;
        }
    }

    pub(super) fn queue_reset_written(&mut self, sight: &mut Sight<'_>, field: &Field, value: u16) {
        let there = self.feature_of(sight, field, feature::RING_RESET);
        let Some((index, queue)) = self.selected(sight, field.name) else { return };
        if value != 1 || !there {
            return;
        }
        let (ring, len) = queue.areas[part::DESCRIPTORS];
        sight.forget_device(ring, len);
        let max = queue.max;
        *queue = Queue {
            max,
            notify_off: queue.notify_off,
            cookie: queue.cookie,
            before: queue.written | queue.before,
            areas: queue.areas,
            reset: QueueReset::Asked,
            ..Queue::default()
        };
        self.live.retain(|live| *live != index);
    }

    pub(super) fn queue_enable_written(&mut self, sight: &mut Sight<'_>, kind: &mut Kind, value: u16) {
        if !judge(sight, &rule::ENABLE_ZERO, value != 0, || {
            format!("0 was written to queue_enable of queue {}", self.queue_select.unwrap_or_default())
        }) {
            return;
        }
        if !self.has_failed() && self.negotiation != Negotiation::Open {
            self.features_were_read_back(sight, "a queue was enabled");
        }
        let running = self.is(status::DRIVER_OK);
        let Some((index, queue)) = self.set_up(sight, "queue_enable") else { return };
        if queue.enabled {
            return;
        }
        if queue.reset == QueueReset::No {
            judge(sight, &status_rule::INIT_QUEUES, !running, || {
                format!("queue {index} was enabled when DRIVER_OK was set already")
            });
        }
        let complete = Self::is_complete(sight, index, queue);
        if let Some(vector) = queue.vector.unread.take() {
            blame(sight, &rule::VECTOR_READ_BACK, || {
                format!("queue {index} was enabled; its queue_msix_vector was written {vector} and not read")
            });
        } else if queue.written & part::VECTOR != 0 {
            sight.exercised(&rule::VECTOR_READ_BACK);
        }
        queue.enabled = true;
        queue.reset = QueueReset::No;
        if !self.exists(sight, index) {
            return;
        }
        if let Err(at) = self.live.binary_search(&index) {
            self.live.insert(at, index);
        }
        kind.enabled(sight, &self.facts(), index);
        if complete {
            self.follow(sight, index);
            self.limit_rings(kind);
        }
    }

    /// Whether all was written that must be.
    fn is_complete(sight: &mut Sight<'_>, index: u16, queue: &Queue) -> bool {
        if queue.reset == QueueReset::No {
            let missing = part::ADDRESSES & !queue.written;
            return judge(sight, &rule::ENABLE_LAST, missing == 0, || {
                format!("queue {index} was enabled, and {} was not written", first_of(missing))
            });
        }
        let missing = (part::ADDRESSES | queue.before) & !queue.written;
        judge(sight, &rule::REENABLE, missing == 0, || {
            format!("queue {index} was enabled again after its reset, and {} was not written again", first_of(missing))
        });
        missing & part::ADDRESSES == 0
    }

    /// Whether there is a queue of this number.
    fn exists(&mut self, sight: &mut Sight<'_>, index: u16) -> bool {
        if self.features.has(feature::ADMIN_VQ)
            && let Some(count) = self.num_queues
            && index >= count
        {
            let first = self.admin_index.unwrap_or(count);
            let end = u32::from(first) + u32::from(self.admin_num.unwrap_or(0));
            return judge(sight, &rule::ADMIN_INDEX, (u32::from(first)..end).contains(&u32::from(index)), || {
                format!("queue {index} was enabled; the administration queues are those from {first} on, before {end}")
            });
        }
        let queue = self.queues.get(usize::from(index));
        let max = queue.and_then(|queue| queue.max);
        judge(sight, &rule::SETUP, max.is_some_and(|max| max != 0), || match max {
            None => format!("queue {index} was enabled, and its size was never read"),
            Some(_) => format!("queue {index} was enabled, which is not there: its size is 0"),
        })
    }

    /// Follows the ring of a queue that was set up in whole.
    fn follow(&mut self, sight: &mut Sight<'_>, index: u16) {
        let (packed, features) = (self.is_packed(), self.features.accepted);
        let Some(queue) = self.queues.get_mut(usize::from(index)) else { return };
        let Some(size) = queue.size.or(queue.max).filter(|size| (1..=numbers::MAX_SIZE).contains(size)) else { return };
        let [descriptors, driver, device] = queue.addresses;
        let lengths = Queue::lengths(size, packed);
        queue.areas = [(descriptors, lengths[0]), (driver, lengths[1]), (device, lengths[2])];
        let setup = Setup { index, size, descriptors, driver, device, features };
        queue.ring = Some(Box::new(Ring::enabled(setup, sight)));
    }
}
