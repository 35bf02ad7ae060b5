//! Feature negotiation (virtio 1.4 §2.2, §5.1.3.1, §6).

use bringup_core::Sight;
use bringup_spec::virtio::{device_type, feature, net};

use super::judge::judge;
use super::kinds::Kind;
use super::layout::Layout;
use super::life::Life;
use super::rules::features as rule;
use super::rules::status as status_rule;

const fn bits(numbers: &[u32]) -> u128 {
    let mut all = 0;
    let mut at = 0;
    while at < numbers.len() {
        all |= 1 << numbers[at];
        at += 1;
    }
    all
}

/// Bits of rings, transport and negotiation that mean something, whatever the type.
const COMMON: u128 = bits(&[
    feature::INDIRECT_DESC,
    feature::EVENT_IDX,
    feature::VERSION_1,
    feature::ACCESS_PLATFORM,
    feature::RING_PACKED,
    feature::IN_ORDER,
    feature::ORDER_PLATFORM,
    feature::SR_IOV,
    feature::NOTIFICATION_DATA,
    feature::NOTIF_CONFIG_DATA,
    feature::RING_RESET,
    feature::ADMIN_VQ,
    feature::SUSPEND,
]);

/// Bits that belong to device types.
const OF_TYPES: u128 = 0xff_ffff | u128::MAX << 50;

/// Bits that transitional devices have for their legacy drivers: two of all types, then those of a type.
fn legacy(kind: u16) -> u128 {
    let own = match kind {
        device_type::NETWORK => bits(&[6, 41, 42]),
        device_type::BLOCK => bits(&[0, 7]),
        _ => 0,
    };
    own | bits(&[feature::NOTIFY_ON_EMPTY, feature::ANY_LAYOUT])
}

/// What a feature needs: it goes with one feature at least out of each of these sets.
struct Need {
    feature: u32,
    all_of: &'static [&'static [u32]],
}

const fn need(feature: u32, all_of: &'static [&'static [u32]]) -> Need {
    Need { feature, all_of }
}

/// The prerequisites of a network device's features (virtio 1.4 §5.1.3.1).
const NET: &[Need] = {
    use net::feature as f;
    const GUEST_GSO: &[&[u32]] = &[&[f::GUEST_TSO4], &[f::GUEST_TSO6], &[f::GUEST_USO4], &[f::GUEST_USO6]];
    const HOST_GSO: &[&[u32]] = &[&[f::HOST_TSO4], &[f::HOST_TSO6], &[f::HOST_USO]];
    const CTRL: &[&[u32]] = &[&[f::CTRL_VQ]];
    &[
        need(f::GUEST_TSO4, &[&[f::GUEST_CSUM]]),
        need(f::GUEST_TSO6, &[&[f::GUEST_CSUM]]),
        need(f::GUEST_UFO, &[&[f::GUEST_CSUM]]),
        need(f::GUEST_USO4, &[&[f::GUEST_CSUM]]),
        need(f::GUEST_USO6, &[&[f::GUEST_CSUM]]),
        need(f::GUEST_ECN, &[&[f::GUEST_TSO4, f::GUEST_TSO6]]),
        need(f::GUEST_UDP_TUNNEL_GSO, GUEST_GSO),
        need(f::GUEST_UDP_TUNNEL_GSO_CSUM, &[&[f::GUEST_UDP_TUNNEL_GSO]]),
        need(f::HOST_TSO4, &[&[f::CSUM]]),
        need(f::HOST_TSO6, &[&[f::CSUM]]),
        need(f::HOST_UFO, &[&[f::CSUM]]),
        need(f::HOST_USO, &[&[f::CSUM]]),
        need(f::HOST_ECN, &[&[f::HOST_TSO4, f::HOST_TSO6]]),
        need(f::HOST_UDP_TUNNEL_GSO, HOST_GSO),
        need(f::HOST_UDP_TUNNEL_GSO_CSUM, &[&[f::HOST_UDP_TUNNEL_GSO]]),
        need(f::CTRL_RX, CTRL),
        need(f::CTRL_VLAN, CTRL),
        need(f::CTRL_RX_EXTRA, CTRL),
        need(f::CTRL_MAC_ADDR, CTRL),
        need(f::GUEST_ANNOUNCE, CTRL),
        need(f::MQ, CTRL),
        need(f::RSS, CTRL),
        need(f::NOTF_COAL, CTRL),
        need(f::VQ_NOTF_COAL, CTRL),
        need(f::RSC_EXT, &[&[f::HOST_TSO4, f::HOST_TSO6]]),
        need(f::HASH_TUNNEL, &[&[f::CTRL_VQ], &[f::RSS, f::HASH_REPORT]]),
        need(f::RSS_CONTEXT, &[&[f::CTRL_VQ], &[f::RSS]]),
    ]
};

/// A feature's name.
fn name(layout: &Layout, bit: u32) -> String {
    let own = layout.facts.map_or(&[][..], |facts| facts.features);
    let known = own.iter().chain(feature::NAMES).find(|(number, _)| *number == bit);
    known.map_or_else(|| format!("bit {bit}"), |(_, name)| format!("{} (bit {bit})", name.to_uppercase()))
}

/// The lowest bit of a set.
fn lowest(set: u128) -> u32 {
    set.trailing_zeros().min(127)
}

impl Life {
    pub(super) fn device_feature_read(&mut self, sight: &mut Sight<'_>, value: u32) {
        let known = judge(sight, &rule::WINDOW, self.features.device_select.is_some(), || {
            "device_feature was read; device_feature_select was not written since the reset".into()
        });
        self.features.read = true;
        let Some(select) = self.features.device_select.filter(|select| known && *select < 4) else { return };
        let shift = 32 * select;
        self.features.offered = self.features.offered & !(u128::from(u32::MAX) << shift) | u128::from(value) << shift;
        self.features.windows |= 1 << select;
    }

    /// The driver writes which features it accepts.
    pub(super) fn driver_feature_written(&mut self, sight: &mut Sight<'_>, value: u32) {
        use super::life::Negotiation;
        use bringup_spec::virtio::status;
        if self.has_failed() {
            judge(sight, &status_rule::INIT_AFTER_FAILURE, false, || {
                "driver_feature was written after the initialisation had failed".into()
            });
            return;
        }
        let open = self.negotiation == Negotiation::Open;
        judge(sight, &status_rule::INIT_FEATURES_LATE, open, || {
            format!("driver_feature was written {value:#x} while FEATURES_OK was set")
        });
        if !open {
            return;
        }
        self.features.written |= self.is(status::DRIVER);
        let Some(select) = self.features.driver_select.filter(|select| *select < 4) else { return };
        let shift = 32 * select;
        self.features.accepted = self.features.accepted & !(u128::from(u32::MAX) << shift) | u128::from(value) << shift;
    }

    /// FEATURES_OK is set: the driver stands by what it accepted.
    pub(super) fn features_ok(&mut self, sight: &mut Sight<'_>, layout: &Layout, kind: &mut Kind) {
        let features = self.features;
        if !judge(sight, &status_rule::INIT_FEATURES, features.read && features.written, || {
            let what = if features.read { "no features were written since DRIVER was set" } else { "none were read" };
            format!("FEATURES_OK was set, but {what}")
        }) {
            return;
        }
        let seen = (0..4).filter(|select| features.windows >> select & 1 != 0);
        let seen = seen.fold(0, |seen, select| seen | u128::from(u32::MAX) << (32 * select));
        let missing = features.accepted & seen & !features.offered;
        judge(sight, &rule::NOT_OFFERED, missing == 0, || {
            format!("{} was accepted, which the device does not offer", name(layout, lowest(missing)))
        });
        let legal = COMMON
            | layout.facts.map_or(OF_TYPES, |facts| facts.features.iter().fold(0, |set, (bit, _)| set | 1 << bit))
            | if layout.transitional { legacy(layout.device_type) } else { 0 };
        let unknown = features.accepted & features.offered & !legal;
        judge(sight, &rule::UNKNOWN_FEATURE, unknown == 0, || {
            format!("bit {} was accepted, which means nothing for this type of device", lowest(unknown))
        });
        if layout.device_type == device_type::NETWORK {
            let lacks = |need: &&Need| {
                features.has(need.feature) && need.all_of.iter().any(|any| !any.iter().any(|bit| features.has(*bit)))
            };
            let lacking = NET.iter().find(lacks);
            judge(sight, &rule::NO_PREREQUISITE, lacking.is_none(), || {
                let bit = lacking.map_or(0, |need| need.feature);
                format!("{} was accepted without a feature that it needs", name(layout, bit))
            });
        }
        self.version_and_platform(sight, layout);
        kind.negotiated(sight, &self.facts());
    }

    fn version_and_platform(&self, sight: &mut Sight<'_>, layout: &Layout) {
        let features = &self.features;
        if features.offers(feature::VERSION_1) {
            judge(sight, &rule::VERSION_1, features.has(feature::VERSION_1), || {
                "VERSION_1 (bit 32) is offered and was not accepted".into()
            });
        } else if features.looked_for(feature::VERSION_1) {
            judge(sight, &rule::VERSION_1_MISSING, false, || {
                "FEATURES_OK was set on a device that does not offer VERSION_1".into()
            });
        }
        if features.offers(feature::VERSION_1) && features.has(feature::VERSION_1) {
            sight.exercised(&rule::VERSION_1_MISSING);
        }
        if features.offers(feature::ACCESS_PLATFORM) {
            judge(sight, &rule::ACCESS_PLATFORM, features.has(feature::ACCESS_PLATFORM), || {
                "ACCESS_PLATFORM (bit 33) is offered and was not accepted".into()
            });
        }
        if features.has(feature::SR_IOV) {
            judge(sight, &rule::NO_SR_IOV, layout.sr_iov.is_some(), || {
                "SR_IOV (bit 37) was accepted on a function without the capability".into()
            });
        }
    }

    /// Configuration space was written: if that enabled virtual functions, SR_IOV must have been agreed on.
    pub(super) fn sr_iov_written(
        &mut self,
        sight: &mut Sight<'_>,
        layout: &Layout,
        offset: u16,
        width: u8,
        value: u32,
    ) {
        use super::life::Negotiation;
        // SR-IOV control, 16 bits, VF Enable first (PCIe 6.0 §9.3.3.3).
        const CONTROL: u16 = 8;
        let Some(at) = layout.sr_iov.map(|at| at + CONTROL) else { return };
        if offset <= at && at < offset + u16::from(width) && value >> (8 * (at - offset)) & 1 != 0 {
            let agreed = self.negotiation == Negotiation::Agreed && self.features.has(feature::SR_IOV);
            judge(sight, &rule::SR_IOV_EARLY, agreed, || "VF Enable was set before SR_IOV had been agreed on".into());
        }
    }
}
