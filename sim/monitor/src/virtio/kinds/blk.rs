//! Block devices (virtio 1.4 §5.2).

use bringup_core::{Rule, Sight};
use bringup_spec::virtio::blk::{self, config, feature, request, segment};

use super::payload;
use crate::virtio::judge::judge;
use crate::virtio::life::Facts;
use crate::virtio::ring::Element;
use crate::virtio::rules::blk as rule;

/// The zoned model of a disk whose zones must be written in sequence.
const HOST_MANAGED: u64 = 1;
/// The zoned fields of the configuration (virtio 1.4 §5.2.4).
const ZONE_SECTORS: u32 = 72;
const MAX_APPEND_SECTORS: u32 = 84;
const WRITE_GRANULARITY: u32 = 88;
const MODEL: u32 = 92;
/// Types of requests for zones (virtio 1.4 §5.2.6).
const ZONE_APPEND: u32 = 15;
const ZONE_REPORT: u32 = 16;
const ZONE_OPEN: u32 = 18;
const ZONE_CLOSE: u32 = 20;
const ZONE_FINISH: u32 = 22;
const ZONE_RESET: u32 = 24;
const ZONE_RESET_ALL: u32 = 26;
/// The most segments of a request that are looked at.
const MOST: u64 = 256;

/// What is followed of a disk.
#[derive(Debug, Default)]
pub(in crate::virtio) struct Blk {
    /// It was judged whether the driver knows zones.
    zones_judged: bool,
    /// The largest capacity that the driver read.
    largest: u64,
}

/// A request: its header, and how much data it carries.
#[derive(Clone, Copy, Debug)]
struct Request {
    kind: u32,
    sector: u64,
    /// Bytes for the device to read, after the header.
    out: u64,
    /// Bytes for the device to write, before the status.
    into: u64,
}

fn name(kind: u32) -> String {
    match kind {
        request::IN => "a read".into(),
        request::OUT => "a write".into(),
        request::FLUSH => "a flush".into(),
        request::GET_ID => "a request for the id".into(),
        request::GET_LIFETIME => "a request for the lifetime".into(),
        request::DISCARD => "a discard".into(),
        request::WRITE_ZEROES => "a write of zeroes".into(),
        request::SECURE_ERASE => "a secure erase".into(),
        other => format!("a request of type {other}"),
    }
}

/// The driver set FEATURES_OK.
pub(super) fn negotiated(sight: &mut Sight<'_>, facts: &Facts<'_>) {
    if facts.features.offers(feature::RO) {
        judge(sight, &rule::READ_ONLY_ACCEPTED, facts.has(feature::RO), || "RO is offered and was not accepted".into());
    }
    if facts.config.get(MODEL, 1) == Some(HOST_MANAGED) && facts.features.offers(feature::ZONED) {
        let zoned = facts.has(feature::ZONED);
        judge(sight, &rule::HOST_MANAGED_REFUSED, zoned, || {
            "FEATURES_OK was set without ZONED on a host-managed disk".into()
        });
        judge(sight, &rule::ZONED_DISCARD, !(zoned && facts.has(feature::DISCARD)), || {
            "ZONED and DISCARD were both accepted on a host-managed disk".into()
        });
    }
}

/// With SEG_MAX: so many segments, and header and status.
pub(super) fn limit(facts: &Facts<'_>) -> Option<u32> {
    let most = facts.config.get(config::SEG_MAX, 4).filter(|_| facts.has(feature::SEG_MAX))?;
    u32::try_from(most).ok()?.checked_add(2)
}

/// The driver enabled a queue.
pub(super) fn enabled(sight: &mut Sight<'_>, facts: &Facts<'_>, index: u16) {
    let count = if facts.has(feature::MQ) { facts.config.get(config::NUM_QUEUES, 2) } else { Some(1) };
    judge(sight, &rule::QUEUES, index == 0 || count.is_some_and(|count| u64::from(index) < count), || match count {
        Some(count) => format!("queue {index} was enabled; the disk has {count}"),
        None => format!("queue {index} was enabled, and num_queues was not read"),
    });
}

impl Blk {
    /// The driver read the configuration.
    pub(super) fn config_read(&mut self, facts: &Facts<'_>) {
        self.largest = self.largest.max(facts.config.get(config::CAPACITY, 8).unwrap_or(0));
    }

    /// How many sectors a request may reach, if the driver knows. Where processors run while devices work, a request may have been made
    /// before the disk was seen to shrink.
    fn reach(&self, sight: &Sight<'_>, facts: &Facts<'_>) -> Option<u64> {
        let now = facts.config.get(config::CAPACITY, 8)?;
        Some(if sight.is_concurrent() { self.largest } else { now })
    }

    /// The driver made a request available.
    pub(super) fn exposed(&mut self, sight: &mut Sight<'_>, facts: &Facts<'_>, elements: &[Element]) {
        let (readable, writable) = (payload::len(elements, false), payload::len(elements, true));
        let whole = readable >= blk::HEADER && writable >= 1;
        if !judge(sight, &rule::LAYOUT, whole, || {
            format!(
                "a request has {readable} readable and {writable} writable bytes; it takes 16 for its header and 1 for its status"
            )
        }) {
            return;
        }
        let Some(header) = payload::bytes::<16>(sight, elements, false, 0) else { return };
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let request = Request {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            sector: u64::from_le_bytes(sector),
            out: readable - blk::HEADER,
            into: writable - 1,
        };
        if facts.has(feature::ZONED) && !self.zones_judged {
            self.zones_judged = true;
            judge(sight, &rule::ZONES_KNOWN, facts.config.get(MODEL, 1).is_some(), || {
                "ZONED was accepted, and the disk is used without having read its zoned model".into()
            });
        }
        segments(sight, facts, elements, readable, writable);
        let reach = self.reach(sight, facts);
        request.check(sight, facts, elements, reach);
    }
}

/// The pieces of a request against the limits of the disk.
fn segments(sight: &mut Sight<'_>, facts: &Facts<'_>, elements: &[Element], readable: u64, writable: u64) {
    let limit = |bit, at| if facts.has(bit) { facts.config.get(at, 4) } else { None };
    let (most, longest) = (limit(feature::SEG_MAX, config::SEG_MAX), limit(feature::SIZE_MAX, config::SIZE_MAX));
    if most.is_none() && longest.is_none() {
        return;
    }
    let data = [blk::HEADER..readable, readable..readable + writable - 1];
    let (mut at, mut count, mut long) = (0, 0_u64, 0);
    for element in elements {
        let (start, end) = (at, at + u64::from(element.len));
        at = end;
        let in_data = data.iter().map(|part| end.min(part.end).saturating_sub(start.max(part.start))).max();
        if let Some(len) = in_data.filter(|len| *len > 0) {
            count += 1;
            long = len.max(long);
        }
    }
    let fits = most.is_none_or(|most| count <= most) && longest.is_none_or(|longest| long <= longest);
    judge(sight, &rule::SEGMENTS, fits, || {
        let limit = |limit: Option<u64>| limit.map_or("any".into(), |limit| limit.to_string());
        format!(
            "a request has {count} segments of up to {long} bytes; the disk takes {} of {} bytes",
            limit(most),
            limit(longest)
        )
    });
}

impl Request {
    fn check(self, sight: &mut Sight<'_>, facts: &Facts<'_>, elements: &[Element], reach: Option<u64>) {
        let needs = match self.kind {
            request::FLUSH => Some((feature::FLUSH, "FLUSH")),
            request::GET_LIFETIME => Some((feature::LIFETIME, "LIFETIME")),
            request::DISCARD => Some((feature::DISCARD, "DISCARD")),
            request::WRITE_ZEROES => Some((feature::WRITE_ZEROES, "WRITE_ZEROES")),
            request::SECURE_ERASE => Some((feature::SECURE_ERASE, "SECURE_ERASE")),
            ZONE_APPEND..=ZONE_RESET_ALL => Some((feature::ZONED, "ZONED")),
            _ => None,
        };
        if let Some((bit, feature)) = needs
            && !judge(sight, &rule::COMMAND, facts.has(bit), || {
                format!("{} was sent, and {feature} was not accepted", name(self.kind))
            })
        {
            return;
        }
        match self.kind {
            request::IN | request::OUT => self.transfer(sight, facts, reach),
            request::FLUSH => {
                judge(sight, &rule::FLUSH_SECTOR, self.sector == 0, || format!("a flush names sector {}", self.sector));
                judge(sight, &rule::FLUSH_DATA, self.out == 0 && self.into == 0, || {
                    format!("a flush carries {} bytes of data", self.out + self.into)
                });
            }
            request::GET_ID => {
                judge(sight, &rule::ID_LEN, self.into == blk::ID_LEN as u64, || {
                    format!("{} has {} bytes for it; it takes {}", name(self.kind), self.into, blk::ID_LEN)
                });
            }
            request::DISCARD | request::WRITE_ZEROES | request::SECURE_ERASE => {
                self.ranges(sight, facts, elements, reach);
            }
            ZONE_APPEND..=ZONE_RESET_ALL => self.zones(sight, facts, reach),
            _ => {}
        }
        if matches!(
            self.kind,
            request::GET_ID | request::GET_LIFETIME | request::DISCARD | request::WRITE_ZEROES | request::SECURE_ERASE
        ) {
            judge(sight, &rule::SECTOR_UNUSED, self.sector == 0, || {
                format!("{} names sector {}", name(self.kind), self.sector)
            });
        }
    }

    fn transfer(self, sight: &mut Sight<'_>, facts: &Facts<'_>, reach: Option<u64>) {
        let bytes = if self.kind == request::IN { self.into } else { self.out };
        if judge(sight, &rule::DATA_LEN, bytes.is_multiple_of(blk::SECTOR), || {
            format!("{} of {bytes} bytes, which is no multiple of 512", name(self.kind))
        }) {
            in_capacity(sight, reach, self.kind, self.sector, bytes / blk::SECTOR);
        }
        if self.kind == request::OUT {
            judge(sight, &rule::READ_ONLY_WRITE, !facts.features.offers(feature::RO), || {
                format!("a write to sector {} of a read-only disk", self.sector)
            });
        }
    }

    fn ranges(self, sight: &mut Sight<'_>, facts: &Facts<'_>, elements: &[Element], reach: Option<u64>) {
        if !judge(sight, &rule::SEGMENT_LEN, self.out.is_multiple_of(segment::SIZE), || {
            format!("{} carries {} bytes, which is no multiple of 16", name(self.kind), self.out)
        }) {
            return;
        }
        let count = self.out / segment::SIZE;
        let (most_rule, at): (&'static Rule, u32) = match self.kind {
            request::DISCARD => (&rule::DISCARD_SEGMENTS, config::MAX_DISCARD_SEG),
            request::WRITE_ZEROES => (&rule::ZEROES_SEGMENTS, config::MAX_WRITE_ZEROES_SEG),
            _ => (&rule::ERASE_SEGMENTS, config::MAX_SECURE_ERASE_SEG),
        };
        if let Some(most) = facts.config.get(at, 4) {
            judge(sight, most_rule, count <= most, || {
                format!("{} has {count} segments; the disk takes {most}", name(self.kind))
            });
        }
        for number in 0..count.min(MOST) {
            let at = blk::HEADER + number * segment::SIZE;
            let Some(bytes) = payload::bytes::<16>(sight, elements, false, at) else { return };
            let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = bytes;
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
            let flags = u32::from_le_bytes(flags);
            in_capacity(sight, reach, self.kind, sector, sectors.into());
            if self.kind == request::DISCARD {
                judge(sight, &rule::DISCARD_UNMAP, flags & segment::UNMAP == 0, || {
                    format!("segment {number} of a discard has flags {flags:#x}")
                });
            }
            if self.kind == request::SECURE_ERASE
                && facts.has(feature::ZONED)
                && let Some(zone) = facts.config.get(ZONE_SECTORS, 4).filter(|zone| *zone != 0)
            {
                judge(sight, &rule::ERASE_ZONES, u64::from(sectors).is_multiple_of(zone), || {
                    format!("segment {number} of a secure erase has {sectors} sectors; a zone has {zone}")
                });
            }
        }
    }

    fn zones(self, sight: &mut Sight<'_>, facts: &Facts<'_>, reach: Option<u64>) {
        let known = |at| facts.config.get(at, 4).filter(|value| *value != 0);
        let first = |zone: u64| self.sector.is_multiple_of(zone);
        let what = || format!("{} names sector {}", name(self.kind), self.sector);
        match self.kind {
            ZONE_REPORT => {
                if let Some(capacity) = reach {
                    judge(sight, &rule::ZONE_REPORT, self.sector < capacity, || {
                        format!("{}; the disk has {capacity}", what())
                    });
                }
            }
            ZONE_RESET_ALL => {
                judge(sight, &rule::ZONE_RESET_ALL, self.sector == 0, what);
            }
            ZONE_OPEN | ZONE_CLOSE | ZONE_FINISH | ZONE_RESET => {
                if let Some(zone) = known(ZONE_SECTORS) {
                    judge(sight, &rule::ZONE_START, first(zone), || format!("{}; a zone has {zone}", what()));
                }
            }
            ZONE_APPEND => {
                if let Some(zone) = known(ZONE_SECTORS) {
                    judge(sight, &rule::APPEND_START, first(zone), || format!("{}; a zone has {zone}", what()));
                }
                if let Some(unit) = known(WRITE_GRANULARITY) {
                    judge(sight, &rule::APPEND_UNIT, self.out.is_multiple_of(unit), || {
                        format!("an append of {} bytes; the disk writes {unit} bytes at a time", self.out)
                    });
                }
                if let Some(most) = known(MAX_APPEND_SECTORS) {
                    judge(sight, &rule::APPEND_LEN, self.out <= most * blk::SECTOR, || {
                        format!("an append of {} bytes; the disk takes {most} sectors", self.out)
                    });
                }
            }
            _ => {}
        }
    }
}

fn in_capacity(sight: &mut Sight<'_>, reach: Option<u64>, kind: u32, sector: u64, sectors: u64) {
    let Some(capacity) = reach else { return };
    judge(sight, &rule::CAPACITY, sector.checked_add(sectors).is_some_and(|end| end <= capacity), || {
        format!("{} of {sectors} sectors at sector {sector}; the disk has {capacity}", name(kind))
    });
}
