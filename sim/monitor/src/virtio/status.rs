//! The status register (virtio 1.4 §2.1, §3.1, §3.4).

use bringup_core::Sight;
use bringup_spec::virtio::{feature, status};

use super::judge::{blame, judge};
use super::kinds::Kind;
use super::layout::Layout;
use super::life::{Life, Negotiation, ResetState, Suspend};
use super::rules::registers;
use super::rules::status as rule;

const NAMES: [(u8, &str); 7] = [
    (status::ACKNOWLEDGE, "ACKNOWLEDGE"),
    (status::DRIVER, "DRIVER"),
    (status::DRIVER_OK, "DRIVER_OK"),
    (status::FEATURES_OK, "FEATURES_OK"),
    (status::SUSPEND, "SUSPEND"),
    (status::DEVICE_NEEDS_RESET, "DEVICE_NEEDS_RESET"),
    (status::FAILED, "FAILED"),
];

/// A status in words.
pub(super) fn words(value: u8) -> String {
    let names: Vec<&str> = NAMES.iter().filter(|(bit, _)| value & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "0".into() } else { names.join("|") }
}

impl Life {
    /// The driver read the status.
    pub(super) fn status_read(&mut self, sight: &mut Sight<'_>, value: u8) {
        if value == u8::MAX {
            return;
        }
        let shown = value & !status::DEVICE_NEEDS_RESET;
        self.needs_reset |= value & status::DEVICE_NEEDS_RESET != 0;
        if self.reset == ResetState::Asked && !self.started {
            if value == 0 {
                self.reset = ResetState::Done;
                if !self.draining.is_empty() {
                    sight.exercised(&rule::RESET_DONE);
                    self.draining.clear();
                }
            }
            return;
        }
        self.status = shown;
        if self.negotiation == Negotiation::Asked {
            let kept = shown & status::FEATURES_OK != 0;
            self.negotiation = if kept { Negotiation::Agreed } else { Negotiation::Refused };
        }
        let (rests, works) = (shown & status::SUSPEND != 0, shown & status::DRIVER_OK != 0);
        match self.suspend {
            Suspend::Asked if rests && !works => self.suspend = Suspend::Confirmed,
            Suspend::Resuming if works && !rests => {
                for rule in [&rule::SUSPEND_RESUME, &rule::SUSPEND_KICK, &rule::SUSPEND_CONFIG] {
                    sight.exercised(rule);
                }
                self.suspend = Suspend::Off;
            }
            _ => {}
        }
    }

    /// The driver writes the status.
    pub(super) fn status_written(&mut self, sight: &mut Sight<'_>, layout: &Layout, kind: &mut Kind, new: u8) {
        if new == 0 {
            self.reading.settle(sight);
            kind.ends(sight, &self.facts());
            *kind = Kind::new(layout.device_type);
            sight.forget_device(0, u64::MAX);
            self.restart();
            return;
        }
        self.begin(sight, new);
        // That bit is the device's: what the driver writes there means nothing.
        let new = new & !status::DEVICE_NEEDS_RESET;
        let old = self.status;
        if old & status::FAILED != 0 {
            if new != old {
                blame(sight, &rule::STATUS_FAILED, || {
                    format!("after FAILED {} was written without a reset", words(new))
                });
                *self = Self { started: true, reset: ResetState::Done, status: new, ..self.after_reset() };
            }
            return;
        }
        let added = new & !old;
        let mut dropped = old & !new;
        if self.suspend != Suspend::Off
            && new & status::DRIVER_OK != 0
            && (added & status::DRIVER_OK != 0 || dropped & status::SUSPEND != 0)
        {
            self.resume(sight);
            dropped &= !status::SUSPEND;
        }
        judge(sight, &rule::STATUS_DROPPED, dropped == 0, || {
            format!("{} was written over {}: {} is gone", words(new), words(old), words(dropped))
        });
        if new & status::FAILED == 0 {
            self.step(sight, layout, kind, old, added);
        } else if self.negotiation == Negotiation::Refused {
            sight.exercised(&rule::FEATURES_GIVE_UP);
            sight.exercised(&rule::INIT_AFTER_FAILURE);
        }
        self.status = new;
    }

    /// The first status after a reset, or in all.
    fn begin(&mut self, sight: &mut Sight<'_>, new: u8) {
        if self.started {
            return;
        }
        self.started = true;
        if !judge(sight, &rule::INIT_RESET, self.reset != ResetState::Never, || {
            format!("the first status that was written is {}, not 0", words(new))
        }) {
            // What the last driver left is not this one's.
            self.status = 0;
            return;
        }
        judge(sight, &rule::RESET_WAIT, self.reset == ResetState::Done, || {
            format!("{} was written, and the status was not read as 0 since the reset", words(new))
        });
        if self.had_failed {
            sight.exercised(&rule::STATUS_FAILED);
        }
    }

    /// The steps that a status stands for.
    fn step(&mut self, sight: &mut Sight<'_>, layout: &Layout, kind: &mut Kind, old: u8, added: u8) {
        let new = old | added;
        if added & status::DRIVER != 0 {
            judge(sight, &rule::INIT_ACKNOWLEDGE, new & status::ACKNOWLEDGE != 0, || {
                format!("{} was written over {}", words(added), words(old))
            });
        }
        if added & status::SUSPEND != 0 {
            let ready = old & status::DRIVER_OK != 0 && self.features.has(feature::SUSPEND);
            judge(sight, &rule::SUSPEND_TOO_EARLY, ready, || {
                let why = if old & status::DRIVER_OK == 0 { "without DRIVER_OK" } else { "without the feature" };
                format!("SUSPEND was set {why}")
            });
            if ready {
                self.suspend = Suspend::Asked;
            }
        }
        if self.negotiation == Negotiation::Refused {
            if added & (status::DRIVER_OK | status::FEATURES_OK) != 0 {
                blame(sight, &rule::INIT_AFTER_FAILURE, || {
                    format!("{} was set, but the device did not keep FEATURES_OK", words(added))
                });
            }
            return;
        }
        if added & status::FEATURES_OK != 0 {
            let ready = old & status::DRIVER != 0 && added & status::DRIVER_OK == 0;
            judge(sight, &rule::STATUS_STEPS, ready, || format!("{} was set over {}", words(added), words(old)));
            if ready {
                self.features_ok(sight, layout, kind);
            }
            self.negotiation = Negotiation::Asked;
        } else if added & status::DRIVER_OK != 0 && self.suspend == Suspend::Off {
            self.driver_ok(sight, old, added);
        }
    }

    fn driver_ok(&mut self, sight: &mut Sight<'_>, old: u8, added: u8) {
        let agreed = old & status::FEATURES_OK != 0 || self.negotiation != Negotiation::Open;
        if !judge(sight, &rule::STATUS_STEPS, agreed, || {
            format!("{} was set over {}, without FEATURES_OK", words(added), words(old))
        }) {
            return;
        }
        self.features_were_read_back(sight, "DRIVER_OK was set");
        sight.exercised(&rule::INIT_QUEUES);
        if let Some(vector) = self.config_vector.unread.take() {
            blame(sight, &registers::VECTOR_READ_BACK, || {
                format!("DRIVER_OK was set; config_msix_vector was written {vector} and not read")
            });
        }
        self.reading.settle(sight);
    }

    /// Something depends on the features: FEATURES_OK should have been read back.
    pub(super) fn features_were_read_back(&mut self, sight: &mut Sight<'_>, before: &str) {
        let known = self.negotiation != Negotiation::Asked;
        judge(sight, &rule::INIT_FEATURES_READ_BACK, known, || {
            format!("{before}, and the status was not read since FEATURES_OK was set")
        });
        if !known {
            // Said once.
            self.negotiation = Negotiation::Agreed;
        }
    }

    fn resume(&mut self, sight: &mut Sight<'_>) {
        judge(sight, &rule::SUSPEND_READ_BACK, self.suspend == Suspend::Confirmed, || {
            "the device was resumed, and the status was not seen with SUSPEND and without DRIVER_OK before".into()
        });
        self.suspend = Suspend::Resuming;
    }
}
