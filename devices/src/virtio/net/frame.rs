//! A frame on its way, which may still have to be segmented and checksummed (virtio 1.4 §5.1.9.2), and how that is done.

use bringup_spec::virtio::net::header;

use super::checksum::{Headers, Transport, add, finish, put16};

/// The longest frame that is carried: 64 KiB of IP with an Ethernet header and two tags.
pub const LONGEST: usize = 65535 + 14 + 8;

/// What a segmented frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gso {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams.
    Udp,
}

impl Gso {
    /// The header's word for it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp4 => header::GSO_TCPV4,
            Self::Tcp6 => header::GSO_TCPV6,
            Self::Udp => header::GSO_UDP_L4,
        }
    }
}

/// What remains to be done before a frame is one that a wire carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum of all from the first number on belongs at the second, counted from the first; both in bytes.
    pub checksum: Option<(u16, u16)>,
    /// It is to be cut into segments with so much payload each, in bytes.
    pub segments: Option<(Gso, u16)>,
    /// With TCP: congestion is signalled (ECN).
    pub ecn: bool,
}

/// An Ethernet frame, without its check sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the destination's address on.
    pub bytes: Vec<u8>,
    /// What remains to be done.
    pub offload: Offload,
    /// Tells flows apart: frames of one keep their order, and go to one receive queue.
    pub flow: u32,
}

impl Frame {
    /// A frame as a wire carries it.
    #[must_use]
    pub fn whole(bytes: Vec<u8>) -> Self {
        // Addresses and ports are in the first bytes of most frames.
        let flow = bytes.iter().take(38).fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        Self { bytes, offload: Offload::default(), flow }
    }

    /// Does what remains to be done: the frames that a wire carries, in order. A frame that is not what it is said to be is left as
    /// it is.
    #[must_use]
    pub fn finish(mut self) -> Vec<Self> {
        if let Some((gso, size)) = self.offload.segments.take()
            && let Some(segments) = segment(&self.bytes, gso, usize::from(size))
        {
            let whole = |bytes| Self { bytes, offload: Offload::default(), flow: self.flow };
            return segments.into_iter().map(whole).collect();
        }
        if let Some((start, offset)) = self.offload.checksum.take() {
            complete(&mut self.bytes, usize::from(start), usize::from(offset));
        }
        vec![Self { offload: Offload::default(), ..self }]
    }

    /// Whether it carries TCP or UDP with a checksum that is right.
    #[must_use]
    pub fn has_valid_checksum(&self) -> bool {
        self.offload == Offload::default()
            && Headers::of(&self.bytes).is_some_and(|headers| headers.is_valid(&self.bytes))
    }

    /// How long its headers are, if it carries TCP or UDP.
    #[must_use]
    pub fn header_len(&self) -> Option<usize> {
        Headers::of(&self.bytes).map(|headers| headers.payload)
    }
}

/// Sums up what follows `start` and puts the checksum `offset` further. (What the driver left there, the sum of the pseudo
/// header, takes part.)
fn complete(bytes: &mut [u8], start: usize, offset: usize) {
    let sum = add(0, bytes.get(start..).unwrap_or_default());
    let sum = match finish(sum) {
        0 => 0xffff,
        sum => sum,
    };
    put16(bytes, start + offset, sum);
}

/// Cuts a frame into segments with at most `size` bytes of payload; `None` if it is not of the kind, or `size` is 0.
fn segment(frame: &[u8], gso: Gso, size: usize) -> Option<Vec<Vec<u8>>> {
    const FIN_PSH: u8 = 0x09;
    const CWR: u8 = 0x80;
    let headers = Headers::of(frame)?;
    let fits = match gso {
        Gso::Tcp4 => headers.kind == Transport::Tcp && !headers.v6,
        Gso::Tcp6 => headers.kind == Transport::Tcp && headers.v6,
        Gso::Udp => headers.kind == Transport::Udp,
    };
    if !fits || size == 0 {
        return None;
    }
    let (head, payload) = frame.split_at_checked(headers.payload)?;
    let last = payload.len().div_ceil(size).max(1) - 1;
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let id = (number(headers.ip + 4)? >> 16) as u16;
    let segments = (0..=last).map(|index| {
        let piece = payload.get(index * size..).map(|rest| rest.get(..size).unwrap_or(rest)).unwrap_or_default();
        let mut segment = [head, piece].concat();
        let len = segment.len();
        if headers.v6 {
            put16(&mut segment, headers.ip + 4, (len - headers.ip - 40) as u16);
        } else {
            put16(&mut segment, headers.ip + 2, (len - headers.ip) as u16);
            put16(&mut segment, headers.ip + 4, id.wrapping_add(index as u16));
            put16(&mut segment, headers.ip + 10, 0);
            let sum = add(0, segment.get(headers.ip..headers.transport)?);
            put16(&mut segment, headers.ip + 10, finish(sum));
        }
        match headers.kind {
            Transport::Tcp => {
                let sequence = number(headers.transport + 4)?.wrapping_add((index * size) as u32);
                segment.get_mut(headers.transport + 4..headers.transport + 8)?.copy_from_slice(&sequence.to_be_bytes());
                // The end is in the last one, the answer to a congestion signal in the first.
                let flags = segment.get_mut(headers.transport + 13)?;
                *flags &= if index == last { 0xff } else { !FIN_PSH };
                *flags &= if index == 0 { 0xff } else { !CWR };
            }
            Transport::Udp => put16(&mut segment, headers.transport + 4, (len - headers.transport) as u16),
        }
        headers.complete(&mut segment);
        Some(segment)
    });
    segments.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with TCP or UDP over IP, whose checksum is still to be completed.
    fn frame(v6: bool, kind: Transport, payload: usize) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let header = if kind == Transport::Tcp { 20 } else { 8 };
        if v6 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(((header + payload) as u16).to_be_bytes());
            bytes.extend([kind.number(), 64]);
            bytes.extend((0..32).map(|byte| byte + 1));
        } else {
            bytes.extend([0x08, 0x00, 0x45, 0]);
            bytes.extend(((20 + header + payload) as u16).to_be_bytes());
            bytes.extend([0xff, 0xff, 0x40, 0, 64, kind.number(), 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        let start = bytes.len();
        match kind {
            Transport::Tcp => {
                bytes.extend([0, 80, 1, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 7, 0x50, 0x99, 4, 0, 0, 0, 0, 0]);
            }
            Transport::Udp => bytes.extend([0, 53, 1, 0, 0, (8 + payload) as u8, 0, 0]),
        }
        bytes.extend((0..payload).map(|byte| byte as u8));
        let headers = Headers::of(&bytes).unwrap();
        let sum = headers.pseudo_sum(&bytes, bytes.len() - start);
        put16(&mut bytes, start + kind.checksum_offset(), !finish(sum));
        let offload = Offload { checksum: Some((start as u16, kind.checksum_offset() as u16)), ..Offload::default() };
        Frame { bytes, offload, flow: 7 }
    }

    fn payloads(frames: &[Frame]) -> Vec<u8> {
        frames.iter().flat_map(|frame| frame.bytes[frame.header_len().unwrap()..].to_vec()).collect()
    }

    #[test]
    fn completed_checksum_is_valid_and_a_flipped_bit_is_not() {
        for (v6, kind) in
            [(false, Transport::Tcp), (true, Transport::Tcp), (false, Transport::Udp), (true, Transport::Udp)]
        {
            let mut done = frame(v6, kind, 33).finish();
            assert_eq!(done.len(), 1);
            assert!(done[0].has_valid_checksum(), "{v6} {kind:?}");
            *done[0].bytes.last_mut().unwrap() ^= 1;
            assert!(!done[0].has_valid_checksum());
        }
    }

    #[test]
    fn tcp_is_cut_into_segments_that_make_up_the_whole() {
        for (v6, gso) in [(false, Gso::Tcp4), (true, Gso::Tcp6)] {
            let mut long = frame(v6, Transport::Tcp, 250);
            long.offload.segments = Some((gso, 100));
            let segments = long.clone().finish();
            assert_eq!(segments.len(), 3);
            assert!(segments.iter().all(Frame::has_valid_checksum));
            assert_eq!(payloads(&segments), payloads(&[long]));
            let at = if v6 { 54 } else { 34 };
            let flags: Vec<u8> = segments.iter().map(|segment| segment.bytes[at + 13]).collect();
            // FIN and PSH end in the last, CWR stays in the first, the rest in all.
            assert_eq!(flags, [0x90, 0x10, 0x19]);
            let sequences: Vec<[u8; 4]> =
                segments.iter().map(|s| s.bytes[at + 4..at + 8].try_into().unwrap()).collect();
            assert_eq!(sequences, [[0xff, 0xff, 0xff, 0xf0], [0, 0, 0, 0x54], [0, 0, 0, 0xb8]]);
        }
    }

    #[test]
    fn ipv4_segments_have_lengths_ids_and_checksums_of_their_own() {
        let mut long = frame(false, Transport::Tcp, 150);
        long.offload.segments = Some((Gso::Tcp4, 100));
        let segments = long.finish();
        let headers: Vec<&[u8]> = segments.iter().map(|segment| &segment.bytes[14..34]).collect();
        assert!(headers.iter().all(|header| finish(add(0, header)) == 0));
        assert_eq!((&headers[0][2..6], &headers[1][2..6]), (&[0, 140, 0xff, 0xff][..], &[0, 90, 0, 0][..]));
    }

    #[test]
    fn udp_is_cut_into_datagrams() {
        let mut long = frame(true, Transport::Udp, 90);
        long.offload.segments = Some((Gso::Udp, 40));
        let segments = long.clone().finish();
        let lengths: Vec<u8> = segments.iter().map(|segment| segment.bytes[54 + 5]).collect();
        assert_eq!(lengths, [48, 48, 18]);
        assert!(segments.iter().all(Frame::has_valid_checksum));
        assert_eq!(payloads(&segments), payloads(&[long]));
    }

    #[test]
    fn frame_that_is_not_what_it_is_said_to_be_stays_whole() {
        let mut udp = frame(false, Transport::Udp, 90);
        udp.offload.segments = Some((Gso::Tcp4, 40));
        assert_eq!(udp.finish().len(), 1);
        let mut none = frame(false, Transport::Tcp, 90);
        none.offload.segments = Some((Gso::Tcp4, 0));
        assert_eq!(none.finish().len(), 1);
    }
}
