//! The Internet checksum, and where the headers of a frame are.

/// Adds the 16-bit words of `bytes` (the last one filled up with zero) to a sum in one's complement.
pub(super) fn add(sum: u32, bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    // A frame has fewer than 2^16 words: the sum cannot overflow when it is folded each time.
    words.fold(sum, |sum, word| fold(sum + word))
}

fn fold(sum: u32) -> u32 {
    (sum & 0xffff) + (sum >> 16)
}

/// What goes into a checksum field for a sum.
pub(super) fn finish(sum: u32) -> u16 {
    !(fold(fold(sum)) as u16)
}

/// A protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where the checksum is in its header.
    pub(super) const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// Where things are in a frame that carries TCP or UDP over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// Where the IP header begins.
    pub(super) ip: usize,
    /// It is version 6.
    pub(super) v6: bool,
    /// Where the TCP or UDP header begins.
    pub(super) transport: usize,
    pub(super) kind: Transport,
    /// Where the payload begins.
    pub(super) payload: usize,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

impl Headers {
    /// Finds the headers; `None` if the frame is not of that kind, or too short for what it says.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let mut ip = 14;
        let mut ethertype = be16(frame, 12)?;
        for _ in 0..2 {
            if matches!(ethertype, 0x8100 | 0x88a8) {
                ethertype = be16(frame, ip + 2)?;
                ip += 4;
            }
        }
        let (v6, protocol, transport) = match ethertype {
            0x0800 => {
                let len = usize::from(frame.get(ip)? & 0xf) * 4;
                // A fragment has no transport header that could be relied on.
                if len < 20 || be16(frame, ip + 6)? & 0x3fff != 0 {
                    return None;
                }
                (false, *frame.get(ip + 9)?, ip + len)
            }
            0x86dd => {
                let (mut next, mut at) = (*frame.get(ip + 6)?, ip + 40);
                // Hop-by-hop, routing and destination options.
                for _ in 0..8 {
                    if !matches!(next, 0 | 43 | 60) {
                        break;
                    }
                    next = *frame.get(at)?;
                    at += usize::from(*frame.get(at + 1)?) * 8 + 8;
                }
                (true, next, at)
            }
            _ => return None,
        };
        let (kind, len) = match protocol {
            6 => (Transport::Tcp, usize::from(frame.get(transport + 12)? >> 4) * 4),
            17 => (Transport::Udp, 8),
            _ => return None,
        };
        let payload = transport + len;
        let least = if kind == Transport::Tcp { 20 } else { 8 };
        (len >= least && payload <= frame.len()).then_some(Self { ip, v6, transport, kind, payload })
    }

    /// The sum of the pseudo header for a segment of `len` bytes, transport header included.
    pub(super) fn pseudo_sum(&self, frame: &[u8], len: usize) -> u32 {
        let addresses = if self.v6 { self.ip + 8..self.ip + 40 } else { self.ip + 12..self.ip + 20 };
        let sum = add(0, frame.get(addresses).unwrap_or_default());
        let sum = add(sum, &(len as u32).to_be_bytes());
        add(sum, &[0, self.kind.number()])
    }

    /// Computes the transport checksum anew.
    pub(super) fn complete(&self, frame: &mut [u8]) {
        let field = self.transport + self.kind.checksum_offset();
        if let Some(bytes) = frame.get_mut(field..field + 2) {
            bytes.fill(0);
        }
        let sum = add(self.pseudo_sum(frame, frame.len() - self.transport), frame.get(self.transport..).unwrap_or(&[]));
        let sum = match (finish(sum), self.kind) {
            // In UDP zero means that there is none.
            (0, Transport::Udp) => 0xffff,
            (sum, _) => sum,
        };
        put16(frame, field, sum);
    }

    /// Whether the transport checksum is right.
    pub(super) fn is_valid(&self, frame: &[u8]) -> bool {
        let end = self.end(frame).min(frame.len());
        let Some(segment) = frame.get(self.transport..end) else { return false };
        finish(add(self.pseudo_sum(frame, segment.len()), segment)) == 0
    }

    /// Where the IP packet ends, as its header says: a short frame is filled up behind it.
    fn end(&self, frame: &[u8]) -> usize {
        let at = if self.v6 { self.ip + 4 } else { self.ip + 2 };
        let len = usize::from(be16(frame, at).unwrap_or(0));
        if self.v6 { self.ip + 40 + len } else { self.ip + len }
    }
}

/// Writes a number in network order, if there is room.
pub(super) fn put16(frame: &mut [u8], at: usize, value: u16) {
    if let Some(bytes) = frame.get_mut(at..at + 2) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_rfc_1071() {
        let sum = add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(finish(sum), !0xddf2);
        assert_eq!(add(0, &[0xab]), 0xab00);
    }

    #[test]
    fn frames_that_end_early_have_no_headers() {
        let mut frame = vec![0; 14 + 20 + 8];
        frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
        frame[23] = 17;
        assert_eq!(Headers::of(&frame).map(|headers| headers.payload), Some(42));
        assert!((0..42).all(|len| Headers::of(&frame[..len]).is_none()));
    }
}
