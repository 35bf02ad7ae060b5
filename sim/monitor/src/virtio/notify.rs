//! Kicks (virtio 1.4 §4.1.4.4, §4.1.5.2).

use bringup_core::Sight;
use bringup_spec::virtio::feature;
use bringup_spec::virtio::pci::kick;

use super::judge::{blame, judge};
use super::life::{Life, Suspend};
use super::queues::Queue;
use super::ring::Kick;
use super::rules::{notify as rule, registers, status as status_rule};

/// Where a queue is notified.
fn address(queue: &Queue, multiplier: u32) -> Option<u64> {
    Some(u64::from(queue.notify_off?) * u64::from(multiplier))
}

impl Life {
    /// The driver writes to the notify structure. Gives the queue that is meant, if it may be notified now.
    #[inline]
    pub(super) fn kick(
        &mut self,
        sight: &mut Sight<'_>,
        multiplier: u32,
        offset: u64,
        width: u8,
        value: u64,
    ) -> Option<(u16, Kick)> {
        if !self.may_kick(sight) {
            return None;
        }
        let with_data = self.features.has(feature::NOTIFICATION_DATA);
        let (rule, wanted) =
            if with_data { (&rule::WIDTH_WITH_DATA, kick::WIDTH_WITH_DATA) } else { (&rule::WIDTH, kick::WIDTH) };
        judge(sight, rule, width == wanted, || format!("a queue was notified with {width} bytes; it takes {wanted}"));
        let index = self.kicked_queue(sight, multiplier, offset, value as u16, with_data)?;
        let enabled = self.queues.get(usize::from(index)).is_some_and(|queue| queue.enabled);
        judge(sight, &registers::SETUP, enabled, || format!("queue {index} was notified, and is not enabled"));
        enabled.then_some((index, Kick { value: value as u32, width }))
    }

    fn may_kick(&self, sight: &mut Sight<'_>) -> bool {
        match self.suspend {
            Suspend::Off => {}
            Suspend::Resuming => {
                blame(sight, &status_rule::SUSPEND_RESUME, || {
                    "a queue was notified before the status showed that the device works again".into()
                });
                return true;
            }
            Suspend::Asked | Suspend::Confirmed => {
                blame(sight, &status_rule::SUSPEND_KICK, || "a queue was notified after SUSPEND was set".into());
                return false;
            }
        }
        judge(sight, &status_rule::INIT_EARLY_KICK, self.is_running(), || {
            format!("a queue was notified while the status was {}", super::status::words(self.status))
        })
    }

    /// Which queue a kick is for: what it carries must be what the queue at this address wants.
    fn kicked_queue(
        &self,
        sight: &mut Sight<'_>,
        multiplier: u32,
        offset: u64,
        carried: u16,
        with_data: bool,
    ) -> Option<u16> {
        let with_cookie = self.features.has(feature::NOTIF_CONFIG_DATA);
        let rule = match (with_cookie, with_data) {
            (false, false) => &rule::INDEX,
            (false, true) => &rule::INDEX_WITH_DATA,
            (true, false) => &rule::COOKIE,
            (true, true) => &rule::COOKIE_WITH_DATA,
        };
        // Mostly the number is right, and at the right address.
        if !with_cookie
            && let Some(queue) = self.queues.get(usize::from(carried))
            && address(queue, multiplier) == Some(offset)
        {
            sight.exercised(rule);
            sight.exercised(&rule::ADDRESS);
            return Some(carried);
        }
        let at_address = || (0..).zip(&self.queues).filter(|(_, queue)| address(queue, multiplier) == Some(offset));
        let first = at_address().next();
        judge(sight, &rule::ADDRESS, first.is_some(), || {
            format!(
                "{carried:#x} was written at offset {offset:#x} of the notify structure, where no queue is notified"
            )
        });
        let (first, queue) = first?;
        let meant = |(index, queue): &(u16, &Queue)| {
            if with_cookie { queue.cookie == Some(carried) } else { *index == carried }
        };
        let found = at_address().find(meant);
        judge(sight, rule, found.is_some(), || match (with_cookie, queue.cookie) {
            (true, Some(cookie)) => {
                format!("queue {first} was notified with {carried:#x}; its notification data is {cookie:#x}")
            }
            (true, None) => {
                format!("queue {first} was notified with {carried:#x}; its queue_notif_config_data was never read")
            }
            (false, _) => format!("queue {first} was notified with {carried:#x}; its number is {first}"),
        });
        Some(found.map_or(first, |(index, _)| index))
    }
}
