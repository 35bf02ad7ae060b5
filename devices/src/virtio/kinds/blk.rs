//! `virtio-blk`.

use bringup_core::Device;
use bringup_spec::virtio::{MODERN_DEVICE_BASE, VENDOR, device_type};

use super::super::{Blk, BlkOptions, FileImage, Image, MemoryImage};
use super::{behind_pci, bytes, number, power, switch, text, with_transport, within};
use crate::registry::{DeviceKind, OptionDef, Options, ValueKind};

/// The block device.
pub(crate) const KIND: DeviceKind = DeviceKind {
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
    behind_pci(Blk::from_box(image, blk).tell(options.notices()), options)
}
