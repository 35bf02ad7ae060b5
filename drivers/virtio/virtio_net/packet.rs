// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! What stands before a packet, and what it asks for (virtio 1.4 §5.1.6).

use kernel::prelude::*;

/// Bytes of the header, and where its fields are.
pub(crate) const HEADER_SIZE: usize = 12;
const FLAGS: usize = 0;
const GSO_TYPE: usize = 1;
const CSUM_START: usize = 6;
const CSUM_OFFSET: usize = 8;
const NUM_BUFFERS: usize = 10;

/// Flag: the checksum is to be completed.
const NEEDS_CSUM: u8 = 1;

/// No segmentation.
const GSO_NONE: u8 = 0;

/// The header of a packet that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// How many buffers the packet takes, if buffers are merged.
    pub(crate) buffers: u16,
    /// Where the part that the checksum is for begins, and where in it the checksum is to be put; if that is to be done.
    checksum: Option<(usize, usize)>,
    /// It asks for nothing that was not negotiated: segments to be made, or a checksum.
    is_legal: bool,
}

impl Header {
    /// Takes a header apart.
    pub(crate) fn parse(bytes: &[u8; HEADER_SIZE], takes_checksums: bool) -> Self {
        let number = |at: usize| usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8;
        let needs = bytes[FLAGS] & NEEDS_CSUM != 0;
        Self {
            buffers: number(NUM_BUFFERS) as u16,
            checksum: needs.then(|| (number(CSUM_START), number(CSUM_OFFSET))),
            is_legal: bytes[GSO_TYPE] == GSO_NONE && (takes_checksums || !needs),
        }
    }

    /// Completes the checksum of a packet, where that is to be done. `EIO` if there is no place for it in the packet, or the
    /// header asks for what was not negotiated.
    pub(crate) fn complete(&self, packet: &mut [u8]) -> Result {
        if !self.is_legal {
            return Err(EIO);
        }
        let Some((start, offset)) = self.checksum else {
            return Ok(());
        };
        let part = packet.get_mut(start..).ok_or(EIO)?;
        let sum = checksum(part);
        let place = part.get_mut(offset..).ok_or(EIO)?;
        let place = place.first_chunk_mut::<2>().ok_or(EIO)?;
        *place = sum.to_be_bytes();
        Ok(())
    }
}

/// The internet checksum of bytes, which hold the sum of what else belongs to it where it is to be put. Never zero, which
/// would mean that there is none.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        sum += u64::from(pair[0]) << 8 | u64::from(pair[1]);
    }
    if let [last] = pairs.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        sum => sum,
    }
}
