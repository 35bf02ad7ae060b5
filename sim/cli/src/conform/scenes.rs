//! The machines that a virtio driver is tried in for conformance: devices with other features, and odd ones.

/// A machine, as options of the device, and the clauses that it is the stimulus for.
#[derive(Debug)]
pub(super) struct Scene {
    /// What is special about it.
    pub(super) what: &'static str,
    /// Options that are added to the device's specification.
    pub(super) options: &'static str,
    /// Clauses that are passed when the driver works here as it does in the plain machine.
    pub(super) clauses: &'static [&'static str],
    /// What the driver is to do there.
    pub(super) expect: Expect,
}

impl Scene {
    /// Whether it provokes anything of the driver of a device of this kind: an entropy source has no configuration to tear.
    pub(super) fn provokes(&self, kind: &str) -> bool {
        self.expect != Expect::Same || kind != "virtio-rng"
    }
}

/// What a driver that conforms does in a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// It binds and does its work.
    Works,
    /// And it finds and says what it does in the plain machine.
    Same,
    /// It refuses the device.
    GivesUp,
}

const fn plain(what: &'static str, options: &'static str) -> Scene {
    Scene { what, options, clauses: &[], expect: Expect::Works }
}

const fn stimulus(what: &'static str, options: &'static str, clauses: &'static [&'static str]) -> Scene {
    Scene { what, options, clauses, expect: Expect::Works }
}

/// All scenes. The first is the plain machine.
pub(super) static SCENES: &[Scene] = &[
    stimulus("a device as it comes", "", &["PCI-ID-D-01"]),
    plain("packed rings", "packed=on"),
    plain("no event suppression by index", "event_idx=off"),
    plain("packed rings without event suppression by index", "packed=on,event_idx=off"),
    plain("no indirect descriptors", "indirect_desc=off"),
    plain("packed rings without indirect descriptors", "packed=on,indirect_desc=off"),
    plain("buffers used in order", "in_order=on"),
    plain("packed rings, buffers used in order", "packed=on,in_order=on"),
    plain("notification data", "notification_data=on"),
    plain("packed rings with notification data", "packed=on,notification_data=on"),
    plain("notification config data", "notif_config_data=on"),
    plain("notification data and config data", "notification_data=on,notif_config_data=on"),
    plain("no reset of single queues", "queue_reset=off"),
    plain("no ACCESS_PLATFORM", "iommu_platform=off"),
    plain("ORDER_PLATFORM", "order_platform=on"),
    plain("no MSI-X", "vectors=0"),
    stimulus(
        "one MSI-X vector for queues and configuration",
        "vectors=1,odd=spurious-interrupts",
        &["PCI-MSIX-D-01", "PCI-CFGIRQ-D-01"],
    ),
    stimulus("two MSI-X vectors", "vectors=2", &["PCI-MSIX-D-01"]),
    stimulus("2048 MSI-X vectors", "vectors=2048", &["PCI-MSIX-D-01"]),
    stimulus("the PCI id of a transitional device", "transitional=on", &["PCI-ID-D-02"]),
    stimulus("another revision", "odd=revision", &["PCI-ID-D-03"]),
    stimulus("feature bits that nobody knows", "odd=unknown-features", &["FEAT-D-04", "FEAT-D-08"]),
    Scene {
        what: "a configuration that changes while it is read",
        options: "odd=torn-config",
        clauses: &["CFG-D-01"],
        expect: Expect::Same,
    },
    stimulus("a longer configuration space", "odd=longer-config", &["CFG-D-04"]),
    stimulus("interrupts without cause", "odd=spurious-interrupts", &["VQ-SPLIT-EVT-D-05"]),
    stimulus(
        "interrupts without cause, without event suppression by index",
        "event_idx=off,odd=spurious-interrupts",
        &["VQ-SPLIT-EVT-D-05"],
    ),
    stimulus("a capability of a type that does not exist", "odd=unknown-capability", &["PCI-CAP-D-02"]),
    stimulus("longer capabilities", "odd=longer-capabilities", &["PCI-CAP-D-04"]),
    stimulus("a capability in a BAR that does not exist", "odd=reserved-bar", &["PCI-CAP-D-05"]),
    stimulus("structures as long as the BAR", "odd=huge-lengths", &["PCI-CAP-D-07"]),
    stimulus("another vendor's data", "odd=vendor-data", &["PCI-VNDR-D-02"]),
    plain("one address for all notifications", "odd=one-notify-address"),
    plain("a reset that takes its time", "odd=slow-reset"),
    plain("queues whose reset takes its time", "odd=slow-queue-reset+needs-reset"),
    plain("no MSI-X vector to be had", "odd=no-vectors"),
    plain("a device that needs a reset", "odd=needs-reset"),
    plain("packed rings, and a device that needs a reset", "packed=on,odd=needs-reset"),
    Scene {
        what: "a device that never agrees to the features",
        options: "odd=refused-features",
        clauses: &[],
        expect: Expect::GivesUp,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of VIRTIO 1.4 that a driver is only seen to keep when it is provoked.
    const PROVOKED: [&str; 15] = [
        "FEAT-D-04",
        "FEAT-D-08",
        "CFG-D-01",
        "CFG-D-04",
        "VQ-SPLIT-EVT-D-05",
        "PCI-ID-D-01",
        "PCI-ID-D-02",
        "PCI-ID-D-03",
        "PCI-CAP-D-02",
        "PCI-CAP-D-04",
        "PCI-CAP-D-05",
        "PCI-CAP-D-07",
        "PCI-VNDR-D-02",
        "PCI-MSIX-D-01",
        "PCI-CFGIRQ-D-01",
    ];

    #[test]
    fn every_provoked_clause_has_a_scene() {
        for clause in PROVOKED {
            assert!(SCENES.iter().any(|scene| scene.clauses.contains(&clause)), "{clause}");
        }
    }

    #[test]
    fn every_scene_is_a_device_of_every_virtio_kind() {
        for kind in bringup_devices::registry::kinds().iter().filter(|kind| kind.name.starts_with("virtio-")) {
            for scene in SCENES {
                let spec = super::super::spec(kind.name, scene.options);
                assert!(bringup_devices::registry::parse(&spec).is_ok(), "{spec}");
            }
        }
    }
}
