//! The virtio devices that can be made by name, with QEMU's names for their options where it has them.

mod blk;
mod console;
mod net;
mod rng;

use bringup_core::Device;
use bringup_spec::virtio::feature;

pub(crate) use self::blk::KIND as BLK;
pub(crate) use self::console::KIND as CONSOLE;
pub(crate) use self::net::KIND as NET;
pub(crate) use self::rng::KIND as RNG;
use super::{Quirks, VirtioDevice, VirtioPci};
use crate::registry::{OptionDef, Options, ValueKind};

/// The options of the transport and the rings, which every virtio device has, before those of its own.
macro_rules! with_transport {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            switch("packed", "off", "offer packed rings"),
            switch("event_idx", "on", "offer event suppression by index"),
            switch("indirect_desc", "on", "offer indirect descriptors"),
            switch("in_order", "off", "offer use of buffers in order"),
            switch("notification_data", "off", "offer notification data"),
            switch("notif_config_data", "off", "offer notification config data"),
            switch("queue_reset", "on", "offer the reset of single queues"),
            switch("iommu_platform", "on", "offer ACCESS_PLATFORM"),
            switch("order_platform", "off", "offer ORDER_PLATFORM"),
            switch("suspend", "off", "offer SUSPEND"),
            switch("transitional", "off", "have the PCI id of a transitional device"),
            OptionDef { name: "vectors", value: ValueKind::Number, default: "", summary: "MSI-X vectors, 0 to 2048; one a queue and one more if not said" },
            OptionDef { name: "odd", value: ValueKind::Text, default: "", summary: "what is odd about it, such as torn-config+slow-reset (the book lists the words)" },
        ]
    };
}

const fn switch(name: &'static str, default: &'static str, summary: &'static str) -> OptionDef {
    OptionDef { name, value: ValueKind::Bool, default, summary }
}

const fn number(name: &'static str, default: &'static str, summary: &'static str) -> OptionDef {
    OptionDef { name, value: ValueKind::Number, default, summary }
}

const fn bytes(name: &'static str, default: &'static str, summary: &'static str) -> OptionDef {
    OptionDef { name, value: ValueKind::Bytes, default, summary }
}

const fn text(name: &'static str, summary: &'static str) -> OptionDef {
    OptionDef { name, value: ValueKind::Text, default: "", summary }
}

/// A number within bounds; `default` if it was not given.
fn within(options: &Options, name: &str, least: u64, most: u64, default: u64) -> Result<u64, String> {
    match options.number(name) {
        None => Ok(default),
        Some(value) if (least..=most).contains(&value) => Ok(value),
        Some(value) => Err(format!("{name} takes {least} to {most}, not {value}")),
    }
}

/// A power of two within bounds.
fn power(options: &Options, name: &str, least: u64, most: u64, default: u64) -> Result<u64, String> {
    let value = within(options, name, least, most, default)?;
    if value.is_power_of_two() { Ok(value) } else { Err(format!("{name} takes a power of two, not {value}")) }
}

/// Puts a device behind the transport that its options ask for.
fn behind_pci(device: impl VirtioDevice + 'static, options: &Options) -> Result<Box<dyn Device>, String> {
    let mut pci = VirtioPci::new(device);
    for (name, bit) in [
        ("packed", feature::RING_PACKED),
        ("event_idx", feature::EVENT_IDX),
        ("indirect_desc", feature::INDIRECT_DESC),
        ("in_order", feature::IN_ORDER),
        ("notification_data", feature::NOTIFICATION_DATA),
        ("notif_config_data", feature::NOTIF_CONFIG_DATA),
        ("queue_reset", feature::RING_RESET),
        ("iommu_platform", feature::ACCESS_PLATFORM),
        ("order_platform", feature::ORDER_PLATFORM),
        ("suspend", feature::SUSPEND),
    ] {
        if let Some(on) = options.flag(name) {
            pci = pci.offer(bit, on);
        }
    }
    if options.number("vectors").is_some() {
        pci = pci.msix_vectors(within(options, "vectors", 0, 2048, 0)? as u16);
    }
    if let Some(words) = options.text("odd") {
        pci = pci.quirks(Quirks::parse(words)?);
    }
    Ok(Box::new(pci.transitional(options.flag("transitional").unwrap_or(false))))
}

use with_transport;
