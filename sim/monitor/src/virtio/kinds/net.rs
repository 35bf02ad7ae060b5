//! Network devices (virtio 1.4 §5.1).

use bringup_core::Sight;
use bringup_spec::virtio::net::{config, ctrl, feature, header, link};

use super::payload;
use crate::virtio::judge::judge;
use crate::virtio::life::Facts;
use crate::virtio::ring::{Element, Returned};
use crate::virtio::rules::net as rule;

/// Bits of `gso_type`: the kind of segmentation.
const GSO_KIND: u8 = 0x1f;
/// Bits of `gso_type`: a tunnel inside IPv4, inside IPv6.
const TUNNEL: u8 = 0x60;
/// Flag: the outer checksum of a tunnel is to be completed.
const TUNNEL_CSUM: u8 = 8;
/// Bytes that the hash report adds to the header.
const HASH_REPORT: u64 = 8;
/// Ethernet header and a VLAN tag.
const LINK_HEADER: u64 = 14;
const VLAN_TAG: u64 = 4;
/// Commands of notification coalescing.
const COAL_RX: u8 = 1;
const COAL_VQ: u8 = 2;
const COAL_VQ_GET: u8 = 3;

/// What is followed of a network device.
#[derive(Debug, Default)]
pub(in crate::virtio) struct Net {
    /// How many queue pairs the driver set; `None` before it did.
    pairs: Option<u16>,
    /// An announcement was acknowledged.
    acknowledged: bool,
    /// There was a time at which nothing went on: the driver could have answered.
    rested: bool,
    /// Commands came and went unseen: any number of pairs may have been set.
    unsure: bool,
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Receive,
    Transmit,
    Control,
}

/// How many queue pairs there are; `None` if the driver did not read it.
fn max_pairs(facts: &Facts<'_>) -> Option<u16> {
    if facts.has(feature::MQ) || facts.has(feature::RSS) {
        facts.config.get(config::MAX_VIRTQUEUE_PAIRS, 2).map(|pairs| pairs as u16)
    } else {
        Some(1)
    }
}

fn role(facts: &Facts<'_>, index: u16) -> Option<Role> {
    let queues = u32::from(max_pairs(facts)?) * 2;
    match u32::from(index) {
        index if index == queues && facts.has(feature::CTRL_VQ) => Some(Role::Control),
        index if index >= queues => None,
        index if index % 2 == 0 => Some(Role::Receive),
        _ => Some(Role::Transmit),
    }
}

fn header_len(facts: &Facts<'_>) -> u64 {
    header::SIZE + if facts.has(feature::HASH_REPORT) { HASH_REPORT } else { 0 }
}

fn is_live(facts: &Facts<'_>, index: u32) -> bool {
    u16::try_from(index).is_ok_and(|index| facts.live.binary_search(&index).is_ok())
}

/// The driver enabled a queue.
pub(super) fn enabled(sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16) {
    if let Some(pairs) = max_pairs(facts) {
        judge(sight, &rule::QUEUES, role(facts, index).is_some(), || {
            format!("queue {index} was enabled; there are {pairs} pairs, and what was accepted gives no other")
        });
    }
}

impl Net {
    pub(super) fn idle(&mut self) {
        self.rested = true;
    }

    /// Commands may have come and gone unseen.
    pub(super) fn missed(&mut self, facts: &Facts<'_>, index: u16) {
        if role(facts, index) == Some(Role::Control) {
            (self.acknowledged, self.unsure) = (true, true);
        }
    }

    /// The driver is done with the device: what it was asked should have been answered.
    pub(super) fn ends(&self, sight: &mut Sight<'_>, facts: &Facts<'_>) {
        let asked = facts.config.get(config::STATUS, 2).is_some_and(|status| status & u64::from(link::ANNOUNCE) != 0);
        if asked && self.rested && facts.has(feature::GUEST_ANNOUNCE) && facts.running {
            judge(sight, &rule::ANNOUNCED, self.acknowledged, || {
                "the status asked for an announcement, and ANNOUNCE_ACK was never sent".into()
            });
        }
    }

    /// The driver made a chain available.
    pub(super) fn exposed(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16, elements: &[Element]) {
        match role(facts, index) {
            Some(Role::Receive) => receive(sight, facts, index, elements),
            Some(Role::Transmit) => self.transmit(sight, facts, index, elements),
            Some(Role::Control) => self.command(sight, facts, elements),
            None => {}
        }
    }

    /// The device gave a chain back: a command that was done.
    pub(super) fn returned(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16, chain: &Returned) {
        if role(facts, index) == Some(Role::Control)
            && let Some([ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, low, high]) = payload::bytes(sight, &chain.elements, false, 0)
            && let Some([ctrl::OK]) = payload::bytes(sight, &chain.elements, true, 0)
        {
            self.pairs = Some(u16::from_le_bytes([low, high]));
        }
    }

    fn transmit(&self, sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16, elements: &[Element]) {
        judge(sight, &rule::DIRECTION, !payload::has(elements, true), || {
            format!("a packet in queue {index}, which transmits, has a part for the device to write")
        });
        let pair = index / 2;
        match self.pairs {
            _ if self.unsure => true,
            None => judge(sight, &rule::FIRST_PAIR, pair == 0, || {
                format!("a packet in queue {index}, and the number of queue pairs was not set")
            }),
            Some(pairs) => judge(sight, &rule::USED_PAIRS, pair < pairs, || {
                format!("a packet in queue {index}; {pairs} queue pairs are used")
            }),
        };
        let (len, header) = (payload::len(elements, false), header_len(facts));
        if !judge(sight, &rule::HEADER_LEN, len >= header, || {
            format!("a packet of {len} bytes, and its header alone takes {header}")
        }) {
            return;
        }
        if let Some(bytes) = payload::bytes::<12>(sight, elements, false, 0) {
            Header::parse(bytes).check(sight, facts, len - header);
        }
    }

    /// A command (virtio 1.4 §5.1.9.5).
    fn command(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, elements: &[Element]) {
        let (readable, writable) = (payload::len(elements, false), payload::len(elements, true));
        if !judge(sight, &rule::COMMAND, readable >= 2 && writable >= 1, || {
            format!("a command has {readable} readable and {writable} writable bytes; it takes 2 and 1")
        }) {
            return;
        }
        let Some([class, command]) = payload::bytes::<2>(sight, elements, false, 0) else { return };
        let what = |needs: &str| format!("command {command} of class {class} was sent without {needs}");
        match (class, command) {
            (ctrl::ANNOUNCE, ctrl::ANNOUNCE_ACK) => self.acknowledged = true,
            (ctrl::RX, ctrl::RX_PROMISC | ctrl::RX_ALLMULTI) => {
                judge(sight, &rule::CTRL_RX, facts.has(feature::CTRL_RX), || what("CTRL_RX"));
            }
            (ctrl::RX, ctrl::RX_ALLUNI..=ctrl::RX_NOBCAST) => {
                judge(sight, &rule::CTRL_RX_EXTRA, facts.has(feature::CTRL_RX_EXTRA), || what("CTRL_RX_EXTRA"));
            }
            (ctrl::MAC, ctrl::MAC_TABLE_SET) => {
                judge(sight, &rule::CTRL_MAC, facts.has(feature::CTRL_RX), || what("CTRL_RX"));
                mac_table(sight, elements, readable - 2);
            }
            (ctrl::MAC, ctrl::MAC_ADDR_SET) => {
                let any = facts.has(feature::CTRL_RX) || facts.has(feature::CTRL_MAC_ADDR);
                judge(sight, &rule::CTRL_MAC, any, || what("CTRL_MAC_ADDR"));
            }
            (ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET) => self.set_pairs(sight, facts, elements),
            (ctrl::MQ, ctrl::MQ_RSS_CONFIG) => self.set_rss(sight, facts, elements),
            (ctrl::MQ, ctrl::MQ_HASH_CONFIG) => {
                if let Some(reserved) = payload::bytes::<8>(sight, elements, false, 6) {
                    judge(sight, &rule::HASH_RESERVED, reserved == [0; 8], || {
                        format!("the reserved fields of a hash configuration hold {reserved:02x?}")
                    });
                }
            }
            (ctrl::GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET) => {
                let Some(bytes) = payload::bytes(sight, elements, false, 2) else { return };
                let more = u128::from(u64::from_le_bytes(bytes)) & !facts.features.accepted;
                judge(sight, &rule::OFFLOADS, more == 0, || {
                    format!("receive offload {} was turned on, and was not accepted", more.trailing_zeros())
                });
            }
            (ctrl::NOTF_COAL, ..=COAL_RX) => {
                judge(sight, &rule::COALESCING, facts.has(feature::NOTF_COAL), || what("NOTF_COAL"));
            }
            (ctrl::NOTF_COAL, COAL_VQ | COAL_VQ_GET) => {
                judge(sight, &rule::QUEUE_COALESCING, facts.has(feature::VQ_NOTF_COAL), || what("VQ_NOTF_COAL"));
                let Some(bytes) = payload::bytes(sight, elements, false, 2) else { return };
                let index = u16::from_le_bytes(bytes);
                let carries = matches!(role(facts, index), Some(Role::Receive | Role::Transmit));
                judge(sight, &rule::COALESCED_QUEUE, carries && is_live(facts, index.into()), || {
                    format!("coalescing of queue {index}, which is no enabled receive or transmit queue")
                });
            }
            _ => {}
        }
    }

    fn set_pairs(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, elements: &[Element]) {
        let Some(bytes) = payload::bytes(sight, elements, false, 2) else { return };
        let pairs = u16::from_le_bytes(bytes);
        let most = max_pairs(facts).unwrap_or(ctrl::MQ_VQ_PAIRS_MAX);
        if !judge(sight, &rule::PAIRS, (ctrl::MQ_VQ_PAIRS_MIN..=most).contains(&pairs), || {
            format!("{pairs} queue pairs were set; there are {most}")
        }) {
            return;
        }
        let missing = (0..u32::from(pairs) * 2).find(|index| !is_live(facts, *index));
        judge(sight, &rule::PAIRS_ENABLED, missing.is_none(), || {
            format!("{pairs} queue pairs were set, and queue {} is not enabled", missing.unwrap_or_default())
        });
        // Until the device is done both numbers may be in use.
        self.pairs = Some(self.pairs.unwrap_or(1).max(pairs));
    }

    /// Hash types (4 bytes), mask of the table (2), queue for the rest (2), table, number of transmit queues (2), key.
    fn set_rss(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, elements: &[Element]) {
        if !judge(sight, &rule::RSS, facts.has(feature::RSS), || "RSS_CONFIG was sent without RSS".into()) {
            return;
        }
        let Some([t0, t1, t2, t3, m0, m1]) = payload::bytes(sight, elements, false, 2) else { return };
        let (types, mask) = (u32::from_le_bytes([t0, t1, t2, t3]), u16::from_le_bytes([m0, m1]));
        let size = u32::from(mask) + 1;
        if let Some(supported) = facts.config.get(config::SUPPORTED_HASH_TYPES, 4) {
            judge(sight, &rule::RSS_TYPES, u64::from(types) & !supported == 0, || {
                format!("hash types {types:#x} were set; {supported:#x} are supported")
            });
        }
        judge(sight, &rule::RSS_POWER, size.is_power_of_two(), || {
            format!("an indirection table of {size} entries, which is no power of two")
        });
        if let Some(most) = facts.config.get(config::RSS_MAX_INDIRECTION_TABLE_LENGTH, 2) {
            judge(sight, &rule::RSS_SIZE, u64::from(mask) < most, || {
                format!("an indirection table of {size} entries; the device has room for {most}")
            });
        }
        let entry =
            |number: u32| payload::bytes(sight, elements, false, 10 + u64::from(number) * 2).map(u16::from_le_bytes);
        // An entry names a receive queue by half its number.
        let entries = (0..size).map_while(entry);
        let receives = |index: u32| {
            is_live(facts, index) && u16::try_from(index).is_ok_and(|index| role(facts, index) == Some(Role::Receive))
        };
        let dead = entries.map(|entry| u32::from(entry & 0x7fff) * 2).find(|index| !receives(*index));
        let queues = entry(size);
        judge(sight, &rule::RSS_QUEUES, dead.is_none(), || {
            format!("the indirection table names queue {}, which is no enabled receive queue", dead.unwrap_or_default())
        });
        if let Some(pairs) = queues {
            self.pairs = Some(self.pairs.unwrap_or(1).max(pairs));
        }
    }
}

fn receive(sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16, elements: &[Element]) {
    judge(sight, &rule::DIRECTION, !payload::has(elements, false), || {
        format!("a buffer of queue {index}, which receives, has a part that the device can only read")
    });
    let (len, header) = (payload::len(elements, true), header_len(facts));
    if facts.has(feature::MRG_RXBUF) {
        judge(sight, &rule::RECEIVE_LEN, len >= header, || {
            format!("a receive buffer of {len} bytes; a header takes {header}")
        });
    } else if facts.has(feature::MTU)
        && let Some(mtu) = facts.config.get(config::MTU, 2)
    {
        let needed = header + LINK_HEADER + mtu;
        judge(sight, &rule::RECEIVE_MTU, len >= needed, || {
            format!("a receive buffer of {len} bytes; a packet of the advised MTU takes {needed}")
        });
    }
}

/// Two lists, each 32 bits of length and as many addresses of six bytes.
fn mac_table(sight: &mut Sight<'_>, elements: &[Element], len: u64) {
    let mut at = 0;
    for _ in 0..2 {
        let count = payload::bytes(sight, elements, false, 2 + at).map_or(u32::MAX, u32::from_le_bytes);
        at += 4 + u64::from(count) * 6;
    }
    judge(sight, &rule::MAC_TABLE, at == len, || {
        format!("a table of MAC addresses of {len} bytes; its lists take {at}")
    });
}

/// The header before a packet (virtio 1.4 §5.1.9).
#[derive(Clone, Copy, Debug)]
struct Header {
    flags: u8,
    gso: u8,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
    num_buffers: u16,
}

impl Header {
    fn parse([flags, gso, _, _, g0, g1, s0, s1, o0, o1, n0, n1]: [u8; 12]) -> Self {
        Self {
            flags,
            gso,
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
            num_buffers: u16::from_le_bytes([n0, n1]),
        }
    }

    /// Checks it as the header of a packet of `len` bytes that the driver sends.
    fn check(self, sight: &mut Sight<'_>, facts: &Facts<'_>, len: u64) {
        let Self { flags, gso, .. } = self;
        judge(sight, &rule::NUM_BUFFERS, self.num_buffers == 0, || {
            format!("num_buffers of a packet that is sent is {}", self.num_buffers)
        });
        let received = header::DATA_VALID | header::RSC_INFO;
        judge(sight, &rule::RECEIVE_FLAGS, flags & received == 0, || {
            format!("flags of a packet that is sent are {flags:#04x}")
        });
        if !facts.has(feature::CSUM) {
            judge(sight, &rule::NO_CSUM, flags & !received == 0, || {
                format!("flags of a packet are {flags:#04x}, and CSUM was not accepted")
            });
        }
        if self.segmentation(sight, facts) {
            self.tunnel(sight, facts);
        }
        if flags & header::NEEDS_CSUM != 0 {
            let end = u64::from(self.csum_start) + u64::from(self.csum_offset) + 2;
            judge(sight, &rule::CSUM_PLACE, end <= len, || {
                format!("the checksum of a packet of {len} bytes would end at byte {end}")
            });
        }
        if gso & GSO_KIND == header::GSO_NONE
            && facts.has(feature::MTU)
            && let Some(mtu) = facts.config.get(config::MTU, 2)
        {
            let most = mtu + LINK_HEADER + VLAN_TAG;
            judge(sight, &rule::MTU, len <= most, || format!("a packet of {len} bytes; the advised MTU allows {most}"));
        }
    }

    /// Gives whether it was judged; if no segmentation was accepted, there is no more to say about it.
    fn segmentation(self, sight: &mut Sight<'_>, facts: &Facts<'_>) -> bool {
        use feature::{HOST_TSO4, HOST_TSO6, HOST_UFO, HOST_USO};
        let gso = self.gso;
        if ![HOST_TSO4, HOST_TSO6, HOST_UFO, HOST_USO].iter().any(|bit| facts.has(*bit)) {
            judge(sight, &rule::NO_GSO, gso == header::GSO_NONE, || {
                format!("gso_type of a packet is {gso:#04x}, and no segmentation was accepted")
            });
            return gso == header::GSO_NONE;
        }
        let (rule, bit) = match gso & GSO_KIND {
            header::GSO_TCPV4 => (&rule::GSO_TCPV4, HOST_TSO4),
            header::GSO_TCPV6 => (&rule::GSO_TCPV6, HOST_TSO6),
            header::GSO_UDP => (&rule::GSO_UDP, HOST_UFO),
            header::GSO_UDP_L4 => (&rule::GSO_UDP_L4, HOST_USO),
            _ => return true,
        };
        judge(sight, rule, facts.has(bit), || {
            format!("gso_type of a packet is {gso:#04x}, and feature bit {bit} was not accepted")
        });
        judge(sight, &rule::GSO_CSUM, self.flags & header::NEEDS_CSUM != 0, || {
            format!("a packet with gso_type {gso:#04x} without NEEDS_CSUM")
        });
        judge(sight, &rule::GSO_SIZE, self.gso_size != 0, || {
            format!("a packet with gso_type {gso:#04x} and gso_size 0")
        });
        true
    }

    fn tunnel(self, sight: &mut Sight<'_>, facts: &Facts<'_>) {
        let (gso, tunnel, csum) = (self.gso, self.gso & TUNNEL, self.flags & TUNNEL_CSUM != 0);
        let what = || format!("gso_type of a packet is {gso:#04x}, its flags are {:#04x}", self.flags);
        if tunnel != 0 && facts.has(feature::CSUM) {
            judge(sight, &rule::TUNNEL, facts.has(feature::HOST_UDP_TUNNEL_GSO), what);
            judge(sight, &rule::TUNNEL_BOTH, tunnel != TUNNEL, what);
            judge(sight, &rule::TUNNEL_UFO, gso & GSO_KIND != header::GSO_UDP, what);
        }
        if csum && facts.has(feature::CSUM) {
            let accepted = facts.has(feature::HOST_UDP_TUNNEL_GSO_CSUM);
            if judge(sight, &rule::TUNNEL_CSUM, accepted, what) {
                judge(sight, &rule::TUNNEL_CSUM_ALONE, tunnel != 0, what);
            }
        }
    }
}
