//! The virtio devices that can be made by name, with QEMU's names for their options where it has them.

use bringup_core::Device;
use bringup_spec::virtio::{MODERN_DEVICE_BASE, VENDOR, device_type, feature};

use super::{Blk, BlkOptions, FileImage, Image, MemoryImage, Rng, VirtioDevice, VirtioPci};
use crate::registry::{DeviceKind, OptionDef, Options, ValueKind};

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
            switch("transitional", "off", "have the PCI id of a transitional device"),
            OptionDef { name: "vectors", value: ValueKind::Number, default: "", summary: "MSI-X vectors, 0 to 2048; one a queue and one more if not said" },
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
    ] {
        if let Some(on) = options.flag(name) {
            pci = pci.offer(bit, on);
        }
    }
    if options.number("vectors").is_some() {
        pci = pci.msix_vectors(within(options, "vectors", 0, 2048, 0)? as u16);
    }
    Ok(Box::new(pci.transitional(options.flag("transitional").unwrap_or(false))))
}

/// The block device.
pub(crate) const BLK: DeviceKind = DeviceKind {
    name: "virtio-blk",
    summary: "virtio block device over an image file or memory",
    ids: &[(VENDOR, MODERN_DEVICE_BASE + device_type::BLOCK), (VENDOR, 0x1001)],
    options: with_transport![
        text("image", "the file that holds the sectors; memory if not said"),
        bytes("size", "64M", "without an image: how large the memory is"),
        switch("read-only", "off", "tell the driver that it may not write, and open the image for reading"),
        text("serial", "its id, up to 20 bytes"),
        number("num-queues", "1", "request queues, 1 to 64"),
        number("queue-size", "256", "elements of a queue, a power of two to 32768"),
        number("seg-max", "254", "the most segments of a request; 0: not said"),
        bytes("size-max", "0", "the longest segment; 0: not said"),
        bytes("logical_block_size", "512", "a power of two, 512 to 32K"),
        bytes("physical_block_size", "512", "a power of two, 512 to 32K"),
        switch("flush", "on", "offer FLUSH, and the cache to be turned off"),
        switch("discard", "on", "offer DISCARD"),
        switch("write-zeroes", "on", "offer WRITE_ZEROES"),
        number("latency_ns", "10000", "virtual nanoseconds that a request takes"),
    ],
    make: make_blk,
};

fn make_blk(options: &Options) -> Result<Box<dyn Device>, String> {
    let read_only = options.flag("read-only").unwrap_or(false);
    let block_size = power(options, "logical_block_size", 512, 32 << 10, 512)?;
    let physical = power(options, "physical_block_size", 512, 32 << 10, block_size.max(512))?;
    if physical < block_size {
        return Err(format!("physical_block_size {physical} is less than logical_block_size {block_size}"));
    }
    let serial = options.text("serial").unwrap_or("bringup");
    if serial.len() > 20 {
        return Err(format!("serial takes up to 20 bytes, not {}", serial.len()));
    }
    let defaults = BlkOptions::default();
    let blk = BlkOptions {
        read_only,
        queues: within(options, "num-queues", 1, 64, 1)? as u16,
        queue_size: power(options, "queue-size", 1, 32768, 256)? as u16,
        serial: serial.into(),
        block_size: block_size as u32,
        physical_block_size: physical as u32,
        seg_max: within(options, "seg-max", 0, 32766, u64::from(defaults.seg_max))? as u32,
        size_max: within(options, "size-max", 0, u64::from(u32::MAX), 0)? as u32,
        flush: options.flag("flush").unwrap_or(true),
        discard: options.flag("discard").unwrap_or(true),
        write_zeroes: options.flag("write-zeroes").unwrap_or(true),
        latency: within(options, "latency_ns", 0, 1 << 60, defaults.latency)?,
    };
    let image: Box<dyn Image> = match (options.text("image"), options.number("size")) {
        (Some(_), Some(_)) => return Err("size is for a device without an image: give one of the two".into()),
        (Some(path), None) => Box::new(FileImage::open(path.as_ref(), read_only).map_err(|error| error.to_string())?),
        (None, size) => {
            let size = size.unwrap_or(64 << 20);
            if size == 0 || size % 512 != 0 || size > 1 << 34 {
                return Err(format!("size takes a multiple of 512, up to 16G, not {size}"));
            }
            Box::new(MemoryImage::new(size))
        }
    };
    if !image.size().is_multiple_of(block_size) {
        return Err(format!("{} bytes are no multiple of logical_block_size {block_size}", image.size()));
    }
    behind_pci(Blk::from_box(image, blk), options)
}

/// The entropy device.
pub(crate) const RNG: DeviceKind = DeviceKind {
    name: "virtio-rng",
    summary: "virtio entropy source, the same bytes for the same seed",
    ids: &[(VENDOR, MODERN_DEVICE_BASE + device_type::ENTROPY), (VENDOR, 0x1005)],
    options: with_transport![
        number("seed", "1", "where its bytes begin"),
        bytes("most", "4G", "how many bytes it gives for a request at most"),
        number("latency_ns", "10000", "virtual nanoseconds that a request takes"),
    ],
    make: |options| {
        let most = within(options, "most", 1, 4 << 30, 4 << 30)?;
        let rng = Rng::new(options.number("seed").unwrap_or(1))
            .most(u32::try_from(most).unwrap_or(u32::MAX))
            .delay(within(options, "latency_ns", 0, 1 << 60, 10_000)?);
        behind_pci(rng, options)
    },
};
