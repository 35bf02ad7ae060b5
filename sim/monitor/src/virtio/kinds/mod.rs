//! What the types of devices want of their drivers (virtio 1.4 §5): which queues there are, what is written to the configuration, and
//! what the chains carry.

mod blk;
mod console;
mod net;
mod payload;

use bringup_core::Sight;
use bringup_spec::virtio::{device_type, iommu};

use self::blk::Blk;
use self::console::Console;
use self::net::Net;
use super::judge::judge;
use super::life::Facts;
use super::ring::{Exposed, Returned};
use super::rules::{kinds as rule, net as net_rule};

/// The checks of a device's type.
#[derive(Debug)]
pub(in crate::virtio) enum Kind {
    Blk(Blk),
    Console(Console),
    Net(Net),
    /// A type of which chains are not looked into.
    Other(u16),
}

impl Kind {
    /// As they are after a reset.
    pub(super) fn new(device_type: u16) -> Self {
        match device_type {
            device_type::BLOCK => Self::Blk(Blk::default()),
            device_type::CONSOLE => Self::Console(Console::default()),
            device_type::NETWORK => Self::Net(Net::default()),
            other => Self::Other(other),
        }
    }

    /// The driver set FEATURES_OK.
    pub(super) fn negotiated(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>) {
        match self {
            Self::Blk(_) => blk::negotiated(sight, facts),
            Self::Other(device_type::I2C) => {
                // ZERO_LENGTH_REQUEST, the only feature of the type.
                let (offered, accepted) = (facts.features.offers(0), facts.has(0));
                if offered {
                    judge(sight, &rule::I2C_ZERO_LENGTH, accepted, || {
                        "ZERO_LENGTH_REQUEST (bit 0) is offered and was not accepted".into()
                    });
                } else if facts.features.looked_for(0) {
                    judge(sight, &rule::I2C_GIVE_UP, false, || {
                        "FEATURES_OK was set on an adapter that does not offer ZERO_LENGTH_REQUEST".into()
                    });
                }
                if accepted {
                    sight.exercised(&rule::I2C_GIVE_UP);
                }
            }
            _ => {}
        }
    }

    /// How many elements the device takes in one chain, if its type says so and the driver read it.
    pub(super) fn limit(&self, facts: &Facts<'_>) -> Option<u32> {
        match self {
            Self::Blk(_) => blk::limit(facts),
            _ => None,
        }
    }

    /// The driver enabled a queue.
    pub(super) fn enabled(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16) {
        match self {
            Self::Blk(_) => blk::enabled(sight, facts, index),
            Self::Console(_) => console::enabled(sight, facts, index),
            Self::Net(_) => net::enabled(sight, facts, index),
            Self::Other(device_type::ENTROPY) => {
                judge(sight, &rule::RNG_QUEUE, index == 0, || {
                    format!("queue {index} of an entropy device was enabled")
                });
            }
            Self::Other(_) => {}
        }
    }

    /// The driver made a chain available.
    pub(super) fn exposed(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16, chain: &Exposed) {
        if chain.elements.is_empty() {
            return;
        }
        match self {
            Self::Blk(blk) => blk.exposed(sight, facts, &chain.elements),
            Self::Console(console) => console.exposed(sight, index, &chain.elements),
            Self::Net(net) => net.exposed(sight, facts, index, &chain.elements),
            Self::Other(device_type::ENTROPY) => {
                let readable = chain.elements.iter().any(|element| !element.writable);
                judge(sight, &rule::RNG_READABLE, !readable, || {
                    "a buffer for an entropy device has a part that the device can only read".into()
                });
            }
            Self::Other(_) => {}
        }
    }

    /// Chains of a queue came and went unseen.
    pub(super) fn missed(&mut self, facts: &Facts<'_>, index: u16) {
        match self {
            Self::Console(console) => console.missed(index),
            Self::Net(net) => net.missed(facts, index),
            _ => {}
        }
    }

    /// The driver read the device's configuration.
    pub(super) fn config_read(&mut self, facts: &Facts<'_>) {
        if let Self::Blk(blk) = self {
            blk.config_read(facts);
        }
    }

    /// The device gave a chain back.
    pub(super) fn returned(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16, chain: &Returned) {
        match self {
            Self::Console(console) => console.returned(sight, index, chain),
            Self::Net(net) => net.returned(sight, facts, index, chain),
            _ => {}
        }
    }

    /// The driver writes to the device's configuration.
    pub(super) fn config_written(&mut self, sight: &mut Sight<'_>, _facts: &Facts<'_>, offset: u64, value: u64) {
        let what = || format!("{value:#x} was written at offset {offset:#x} of the device's configuration");
        match self {
            Self::Net(_) => {
                judge(sight, &net_rule::CONFIG_WRITTEN, false, what);
            }
            Self::Other(device_type::FS) => {
                judge(sight, &rule::FS_CONFIG, false, what);
            }
            Self::Other(device_type::MEMORY) => {
                judge(sight, &rule::MEM_CONFIG, false, what);
            }
            Self::Other(device_type::IOMMU) => {
                let bypass = offset == u64::from(iommu::config::BYPASS);
                if judge(sight, &rule::IOMMU_CONFIG, bypass, what) {
                    judge(sight, &rule::IOMMU_BYPASS, value <= 1, || format!("{value} was written to bypass"));
                }
            }
            _ => {}
        }
    }

    /// Nothing goes on: whoever should have answered had the time.
    pub(super) fn idle(&mut self, facts: &Facts<'_>) {
        if !facts.running {
            return;
        }
        match self {
            Self::Console(console) => console.idle(),
            Self::Net(net) => net.idle(),
            _ => {}
        }
    }

    /// The driver resets the device, or lets go of it.
    pub(super) fn ends(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>) {
        match self {
            Self::Console(console) if facts.running => console.ends(sight),
            Self::Net(net) => net.ends(sight, facts),
            _ => {}
        }
    }
}
