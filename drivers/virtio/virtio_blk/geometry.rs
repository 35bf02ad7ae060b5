// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! What a disk is like, and how requests to it are laid out.

use super::virtio::{feature, pci::Transport, requests::Layout, ring::Shape};
use core::num::NonZeroU32;
use kernel::prelude::*;

/// Feature bits of block devices (§5.2.3).
pub(crate) mod bits {
    pub(crate) const SIZE_MAX: u32 = 1;
    pub(crate) const SEG_MAX: u32 = 2;
    pub(crate) const RO: u32 = 5;
    pub(crate) const BLK_SIZE: u32 = 6;
    pub(crate) const FLUSH: u32 = 9;
    pub(crate) const MQ: u32 = 12;
    pub(crate) const DISCARD: u32 = 13;
    pub(crate) const WRITE_ZEROES: u32 = 14;
}

/// What is used of what a device may offer.
pub(crate) const WANTED: u64 = feature::ALL
    | feature::bit(bits::SIZE_MAX)
    | feature::bit(bits::SEG_MAX)
    | feature::bit(bits::RO)
    | feature::bit(bits::BLK_SIZE)
    | feature::bit(bits::FLUSH)
    | feature::bit(bits::MQ)
    | feature::bit(bits::DISCARD)
    | feature::bit(bits::WRITE_ZEROES);

/// Offsets in configuration space (§5.2.4).
pub(crate) mod config {
    pub(crate) const CAPACITY: usize = 0;
    pub(crate) const SIZE_MAX: usize = 8;
    pub(crate) const SEG_MAX: usize = 12;
    pub(crate) const BLK_SIZE: usize = 20;
    pub(crate) const NUM_QUEUES: usize = 34;
    pub(crate) const MAX_DISCARD_SECTORS: usize = 36;
    pub(crate) const MAX_DISCARD_SEG: usize = 40;
    pub(crate) const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    pub(crate) const MAX_WRITE_ZEROES_SEG: usize = 52;
}

/// The unit of positions and capacities, whatever the size of blocks.
pub(crate) const SECTOR: u64 = 512;

/// The largest size of a queue that is of use.
pub(crate) const QUEUE_SIZE: u16 = 256;

/// A slot: data, header, status.
pub(crate) const DATA_SIZE: usize = 16384;
pub(crate) const HEADER: usize = DATA_SIZE;
pub(crate) const HEADER_SIZE: usize = 16;
pub(crate) const STATUS: usize = HEADER + HEADER_SIZE;
pub(crate) const STRIDE: usize = STATUS + 16;

/// Slots of a queue: so many requests are under way at most.
pub(crate) const SLOTS: u16 = 64;

/// The longest segment, unless the device has few of them.
pub(crate) const PIECE: u32 = 4096;

/// The most segments of data in a request: there are slots of four pages, and pages of a smaller size.
pub(crate) const MAX_DATA_SEGMENTS: u32 = 16;

/// Limits of requests that erase.
#[derive(Clone, Copy)]
pub(crate) struct Erase {
    pub(crate) max_sectors: u64,
    pub(crate) max_ranges: usize,
}

/// What a disk is like.
pub(crate) struct Geometry {
    /// Bytes of a block: what is read and written is whole blocks.
    pub(crate) block: u32,
    pub(crate) read_only: bool,
    /// How many queues the device has.
    pub(crate) queues: u16,
    pub(crate) sectors: u64,
    size_max: u32,
    seg_max: u32,
    pub(crate) discard: Option<Erase>,
    pub(crate) zeroes: Option<Erase>,
}

impl Geometry {
    /// Reads the device's configuration. `EINVAL` if there is no such disk.
    pub(crate) fn read(transport: &Transport, features: u64) -> Result<Self> {
        let has = |bit| features & feature::bit(bit) != 0;
        let this = transport.read_config(|config| {
            let erase = |bit, sectors, ranges| -> Result<Option<Erase>> {
                if !has(bit) {
                    return Ok(None);
                }
                Ok(Some(Erase {
                    max_sectors: config.read32(sectors)?.into(),
                    max_ranges: config.read32(ranges)? as usize,
                }))
            };
            Ok(Self {
                block: if has(bits::BLK_SIZE) {
                    config.read32(config::BLK_SIZE)?
                } else {
                    SECTOR as u32
                },
                read_only: has(bits::RO),
                queues: if has(bits::MQ) {
                    config.read16(config::NUM_QUEUES)?
                } else {
                    1
                },
                sectors: config.read64(config::CAPACITY)?,
                size_max: if has(bits::SIZE_MAX) {
                    config.read32(config::SIZE_MAX)?
                } else {
                    u32::MAX
                },
                seg_max: if has(bits::SEG_MAX) {
                    config.read32(config::SEG_MAX)?
                } else {
                    1
                },
                discard: erase(
                    bits::DISCARD,
                    config::MAX_DISCARD_SECTORS,
                    config::MAX_DISCARD_SEG,
                )?,
                zeroes: erase(
                    bits::WRITE_ZEROES,
                    config::MAX_WRITE_ZEROES_SECTORS,
                    config::MAX_WRITE_ZEROES_SEG,
                )?,
            })
        })?;
        let block_fits = this.block.is_power_of_two()
            && this.block >= SECTOR as u32
            && this.block as usize <= DATA_SIZE;
        if !block_fits || this.sectors > i64::MAX as u64 / SECTOR || this.queues == 0 {
            return Err(EINVAL);
        }
        Ok(this)
    }

    /// How far into its block a position is, in bytes. A block's size is a power of two.
    pub(crate) fn inside(&self, position: u64) -> u64 {
        position & (u64::from(self.block) - 1)
    }

    /// The longest segment, and the most data in a request, in bytes; the data are whole blocks.
    pub(crate) fn limits(&self, queue_size: u16) -> Result<(u32, usize)> {
        // Header and status take one each.
        let room = u32::from(queue_size).saturating_sub(2);
        let segments = self.seg_max.min(room).min(MAX_DATA_SEGMENTS);
        let segments = NonZeroU32::new(segments).ok_or(EINVAL)?;
        let share = (DATA_SIZE as u32 + segments.get() - 1) / segments;
        let piece = PIECE.max(share).min(self.size_max);
        let most = (u64::from(piece) * u64::from(segments.get())).min(DATA_SIZE as u64);
        let data = most - self.inside(most);
        // A header is a segment too.
        if data == 0 || piece < HEADER_SIZE as u32 {
            return Err(EINVAL);
        }
        Ok((piece, data as usize))
    }

    /// What a queue of a size is made like.
    pub(crate) fn layout(&self, size: u16, features: u64) -> Result<Layout> {
        let (piece, _) = self.limits(size)?;
        Ok(Layout {
            shape: Shape {
                size,
                features,
                table: MAX_DATA_SEGMENTS as u16 + 2,
            },
            slots: SLOTS.min(size),
            stride: STRIDE,
            piece,
        })
    }
}
