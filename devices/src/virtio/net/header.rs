//! The header before each packet in a queue (virtio 1.4 §5.1.6): from what a driver wrote to what is to be done, and back.

use bringup_spec::virtio::net::{feature, header};

use super::frame::{Frame, Gso, Offload};

/// Bytes of a header with VERSION_1.
pub(super) const LEN: usize = header::SIZE as usize;

/// Feature bits as a set.
pub(super) const fn has(features: u128, bit: u32) -> bool {
    features >> bit & 1 != 0
}

/// What a driver asks for with a packet of `len` bytes; `None` if that cannot be done.
pub(super) fn parse(bytes: [u8; LEN], len: usize, features: u128) -> Option<Offload> {
    let [flags, gso, _, _, s0, s1, c0, c1, o0, o1, _, _] = bytes;
    let (size, start, offset) =
        (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([c0, c1]), u16::from_le_bytes([o0, o1]));
    // Without the feature the flag means nothing, and flags that are not known never do (§5.1.9.2.2).
    let wanted = flags & header::NEEDS_CSUM != 0 && has(features, feature::CSUM);
    let checksum = wanted.then_some((start, offset));
    if wanted && usize::from(start) + usize::from(offset) + 2 > len {
        return None;
    }
    let ecn = gso & header::GSO_ECN != 0;
    let (kind, allowed) = match gso & !header::GSO_ECN {
        header::GSO_NONE => return Some(Offload { checksum, segments: None, ecn: false }),
        header::GSO_TCPV4 => (Gso::Tcp4, has(features, feature::HOST_TSO4)),
        header::GSO_TCPV6 => (Gso::Tcp6, has(features, feature::HOST_TSO6)),
        header::GSO_UDP_L4 => (Gso::Udp, has(features, feature::HOST_USO)),
        _ => return None,
    };
    let ecn_allowed = !ecn || (kind != Gso::Udp && has(features, feature::HOST_ECN));
    let possible = allowed && ecn_allowed && checksum.is_some() && size != 0;
    possible.then_some(Offload { checksum, segments: Some((kind, size)), ecn })
}

/// Whether a driver that takes these offloads can be given the frame as it is.
pub(super) fn is_taken(offload: &Offload, offloads: u128) -> bool {
    let checksum = offload.checksum.is_none() || has(offloads, feature::GUEST_CSUM);
    let segments = match offload.segments {
        None => true,
        Some((Gso::Tcp4, _)) => has(offloads, feature::GUEST_TSO4),
        Some((Gso::Tcp6, _)) => has(offloads, feature::GUEST_TSO6),
        // The frame does not say here which IP it is: both are to be taken.
        Some((Gso::Udp, _)) => has(offloads, feature::GUEST_USO4) && has(offloads, feature::GUEST_USO6),
    };
    checksum && segments && (!offload.ecn || has(offloads, feature::GUEST_ECN))
}

/// The header of a received frame that takes `buffers` chains.
pub(super) fn build(frame: &Frame, offloads: u128, buffers: u16) -> [u8; LEN] {
    let mut flags = 0;
    let (mut start, mut offset) = (0, 0);
    if let Some(checksum) = frame.offload.checksum {
        flags = header::NEEDS_CSUM;
        (start, offset) = checksum;
    } else if has(offloads, feature::GUEST_CSUM) && frame.has_valid_checksum() {
        flags = header::DATA_VALID;
    }
    let ecn = if frame.offload.ecn { header::GSO_ECN } else { 0 };
    let (gso, size) = frame.offload.segments.map_or((header::GSO_NONE, 0), |(gso, size)| (gso.number() | ecn, size));
    let len = if size == 0 { 0 } else { frame.header_len().unwrap_or(0) as u16 };
    let mut bytes = [0; LEN];
    bytes[0] = flags;
    bytes[1] = gso;
    for (at, value) in [(2, len), (4, size), (6, start), (8, offset), (10, buffers)] {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u128 = 1 << feature::CSUM | 1 << feature::HOST_TSO4 | 1 << feature::HOST_USO;

    fn header(flags: u8, gso: u8, size: u16, start: u16, offset: u16) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        (bytes[0], bytes[1]) = (flags, gso);
        for (at, value) in [(4, size), (6, start), (8, offset)] {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn checksum_place_must_be_in_the_packet() {
        assert!(parse(header(1, 0, 0, 34, 16), 52, ALL).is_some());
        assert_eq!(parse(header(1, 0, 0, 34, 16), 51, ALL), None);
        assert_eq!(parse(header(1, 0, 0, 0xffff, 0xffff), 60, ALL), None);
        assert_eq!(parse(header(0, 0, 0, 0xffff, 0xffff), 60, ALL), Some(Offload::default()));
        assert_eq!(parse(header(1, 0, 0, 0xffff, 0xffff), 60, 0), Some(Offload::default()));
    }

    #[test]
    fn segmentation_needs_its_feature_a_size_and_a_checksum() {
        let wanted = Offload { checksum: Some((34, 16)), segments: Some((Gso::Tcp4, 1448)), ecn: false };
        assert_eq!(parse(header(1, 1, 1448, 34, 16), 4000, ALL), Some(wanted));
        assert_eq!(parse(header(1, 4, 1448, 34, 16), 4000, ALL), None);
        assert_eq!(parse(header(1, 1, 0, 34, 16), 4000, ALL), None);
        assert_eq!(parse(header(0, 1, 1448, 34, 16), 4000, ALL), None);
        assert_eq!(parse(header(1, 0x81, 1448, 34, 16), 4000, ALL), None);
        assert_eq!(parse(header(1, 3, 1448, 34, 16), 4000, ALL), None);
    }

    #[test]
    fn flags_that_are_not_known_mean_nothing() {
        assert_eq!(parse(header(0xfe, 0, 0, 0, 0), 60, ALL), Some(Offload::default()));
    }
}
