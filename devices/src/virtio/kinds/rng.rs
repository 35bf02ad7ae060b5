//! `virtio-rng`.

use bringup_spec::virtio::{MODERN_DEVICE_BASE, VENDOR, device_type};

use super::super::Rng;
use super::{behind_pci, bytes, number, switch, with_transport, within};
use crate::registry::{DeviceKind, OptionDef, ValueKind};

/// The entropy device.
pub(crate) const KIND: DeviceKind = DeviceKind {
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
