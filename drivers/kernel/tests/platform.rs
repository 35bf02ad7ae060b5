//! The platform bus: which driver gets which device, what it learns about it, and how it leaves.

#![allow(unsafe_code, reason = "an adapter is asked directly what its tables say")]

use bringup_bench::rt::platform::{Firmware, Node, PlatformDevice, Property};
use bringup_bench::{Bench, Report};
use kernel::device::property::{FwNode, NArgs};
use kernel::device::{Bound, Core};
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::aref::ARef;
use kernel::{acpi, driver, of, platform};
use std::cell::RefCell;

kernel::module_platform_driver! {
    type: Fan,
    name: "fan",
    authors: ["Bringup"],
    description: "Drives platform devices",
    license: "GPL",
}

kernel::of_device_table!(
    OF_IDS,
    &'static str,
    [(of::DeviceId::new(c"acme,fan"), "plain"), (of::DeviceId::new(c"acme,fan-v2"), "second")]
);
kernel::acpi_device_table!(ACPI_IDS, &'static str, [(acpi::DeviceId::new(c"ACME0001"), "acpi")]);

std::thread_local! {
    /// What a test does with the device in `probe`.
    static PROBE: RefCell<fn(&platform::Device<Bound>) -> Result> = const { RefCell::new(|_| Ok(())) };
}

struct Fan {
    pdev: ARef<platform::Device>,
}

impl platform::Driver for Fan {
    type IdInfo = &'static str;
    type Data<'bound> = Self;

    const OF_ID_TABLE: Option<of::IdTable<&'static str>> = Some(&OF_IDS);
    const ACPI_ID_TABLE: Option<acpi::IdTable<&'static str>> = Some(&ACPI_IDS);

    fn probe<'bound>(
        pdev: &'bound platform::Device<Core<'_>>,
        info: Option<&'bound &'static str>,
    ) -> impl PinInit<Self, Error> + 'bound {
        dev_info!(pdev, "probe: {:?}\n", info);
        PROBE.with_borrow(|probe| probe(pdev))?;
        Ok(Fan { pdev: pdev.into() })
    }

    fn unbind(pdev: &platform::Device<Core<'_>>, this: Pin<&Self>) {
        let device: &platform::Device = pdev;
        assert!(core::ptr::eq(device, &*this.pdev));
        dev_info!(pdev, "unbind\n");
    }
}

impl Drop for Fan {
    fn drop(&mut self) {
        dev_info!(self.pdev, "drop\n");
    }
}

/// Loads and unloads the driver in a machine with these devices.
fn life(devices: impl IntoIterator<Item = PlatformDevice>) -> Report {
    let bench =
        devices.into_iter().fold(Bench::builder(), |builder, device| builder.platform_device(device)).build().unwrap();
    bench.load(&BRINGUP_MODULE).unwrap();
    bench.finish()
}

/// Runs `probe` with a device that has these properties.
fn with_properties(device: PlatformDevice, probe: fn(&platform::Device<Bound>) -> Result) {
    PROBE.set(probe);
    let report = life([device]);
    assert!(report.is_clean() && !report.log_text().contains("failed"), "{}", report.log_text());
}

#[test]
fn device_is_driven_from_probe_to_unload_in_linux_order() {
    let report = life([PlatformDevice::acpi("ACME0001", 0)]);

    let log = "fan ACME0001:00: probe: Some(\"acpi\")\nfan ACME0001:00: unbind\nfan ACME0001:00: drop\n";
    assert_eq!(report.log_text(), log);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn row_is_found_by_what_the_device_says_first() {
    let probed = |device| life([device]).log_text().lines().next().map(ToString::to_string);

    let newest = PlatformDevice::device_tree("fan@1", &["acme,fan-v3", "acme,fan-v2", "acme,fan"]);
    assert_eq!(probed(newest).as_deref(), Some("fan fan@1: probe: Some(\"second\")"));
    let like_a_tree = PlatformDevice::acpi("PRP0001", 0).texts("compatible", &["acme,fan"]);
    assert_eq!(probed(like_a_tree).as_deref(), Some("fan PRP0001:00: probe: Some(\"plain\")"));
    let by_name = PlatformDevice { firmware: Firmware::None, ..PlatformDevice::acpi("", 0) };
    assert_eq!(probed(PlatformDevice { name: "fan".into(), ..by_name }).as_deref(), Some("fan fan: probe: None"));
    assert_eq!(probed(PlatformDevice::acpi("ACME0002", 0).texts("compatible", &["acme,fan"])), None);
}

#[test]
fn adapter_knows_what_its_tables_say_about_a_device() {
    PROBE.set(|pdev| {
        // SAFETY: the device is being bound to this driver.
        let info = unsafe { <platform::Adapter<Fan> as driver::Adapter>::id_info(pdev.as_ref()) };
        dev_info!(pdev, "the adapter says {:?}\n", info);
        Ok(())
    });
    let says = |device| life([device]).log_text().lines().nth(1).map(ToString::to_string);

    let in_a_tree = says(PlatformDevice::device_tree("f", &["acme,fan-v2"]));
    let by_name = says(PlatformDevice { firmware: Firmware::None, name: "fan".into(), ..PlatformDevice::acpi("", 0) });

    assert_eq!(in_a_tree.as_deref(), Some("fan f: the adapter says Some(\"second\")"));
    assert_eq!(by_name.as_deref(), Some("fan fan: the adapter says None"));
}

#[test]
fn failed_probe_leaves_the_device_alone() {
    PROBE.set(|_| Err(EIO));

    let report = life([PlatformDevice::acpi("ACME0001", 3)]);

    let log = "fan ACME0001:03: probe: Some(\"acpi\")\nfan ACME0001:03: probe with driver fan failed with error -5\n";
    assert_eq!(report.log_text(), log);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn numbers_are_read_in_the_width_asked_for() {
    let device = PlatformDevice::device_tree("f", &["acme,fan"]).numbers("speeds", &[200, 65535]).numbers("one", &[7]);

    with_properties(device, |pdev| {
        let node = pdev.as_ref().fwnode().ok_or(ENOENT)?;
        assert_eq!(node.property_read::<[u16; 2]>(c"speeds").optional(), Some([200, 65535]));
        assert_eq!(node.property_read::<i16>(c"speeds").optional(), Some(200));
        assert_eq!(node.property_read::<[i16; 2]>(c"speeds").optional(), Some([200, -1]));
        assert_eq!(node.property_read::<[u8; 2]>(c"speeds").optional(), None);
        assert_eq!(node.property_read::<[u32; 3]>(c"speeds").or([9; 3]), [9; 3]);
        assert_eq!(node.property_read::<u64>(c"missing").or_default(), 0);
        assert_eq!(node.property_count_elem::<u8>(c"speeds"), Ok(2));
        let speeds = node.property_read_array_vec::<u32>(c"speeds", 2)?.required_by(pdev.as_ref())?;
        assert_eq!(&speeds[..], [200, 65535]);
        Ok(())
    });
}

#[test]
fn texts_and_flags_are_what_they_are() {
    let device = PlatformDevice::device_tree("f", &["acme,fan", "acme,any"]).flag("quiet").texts("label", &["front"]);

    with_properties(device, |pdev| {
        let node = pdev.as_ref().fwnode().ok_or(ENOENT)?;
        assert!(node.is_of_node() && node.property_read_bool(c"quiet") && !node.property_present(c"loud"));
        let label = node.property_read::<CString>(c"label").required_by(pdev.as_ref())?;
        assert_eq!(label.to_bytes(), b"front");
        assert_eq!(node.property_match_string(c"compatible", c"acme,any"), Ok(1));
        assert_eq!(node.property_match_string(c"compatible", c"acme"), Err(ENODATA));
        assert_eq!(node.property_read::<u32>(c"label").optional(), None);
        assert_eq!(CString::try_from_fmt(fmt!("{} {}", node, node.display_name()))?.to_bytes(), b"/f f");
        Ok(())
    });
}

#[test]
fn missing_property_that_is_required_is_an_error_message() {
    PROBE.set(|pdev| {
        let node = pdev.as_ref().fwnode().ok_or(ENOENT)?;
        node.property_read::<u32>(c"speed").required_by(pdev.as_ref()).map(|_| ())
    });

    let log = life([PlatformDevice::device_tree("f", &["acme,fan"])]).log_text();

    assert!(log.contains("fan f: /f: property 'speed' is missing\n"), "{log}");
}

#[test]
fn nodes_below_refer_to_each_other() {
    let cells = Property::Numbers(std::vec![1]);
    let device = PlatformDevice::device_tree("f", &["acme,fan"])
        .child(Node::new("motor@0").reference("sensor", "sensor@1", &[7]))
        .child(Node::new("sensor@1").property("#cells", cells));

    with_properties(device, |pdev| {
        let node = pdev.as_ref().fwnode().ok_or(ENOENT)?;
        let motor = node.get_child_by_name(c"motor").ok_or(ENOENT)?;
        let sensor = motor.property_get_reference_args(c"sensor", NArgs::Prop(c"#cells"), 0)?;
        let wrong = motor.property_get_reference_args(c"sensor", NArgs::N(2), 0);
        let missing = motor.property_get_reference_args(c"sensor", NArgs::N(1), 1);
        assert_eq!((sensor.as_slice(), wrong.err(), missing.err()), (&[7][..], Some(EINVAL), Some(ENOENT)));
        let mut names = KVec::<CString>::new();
        for child in node.children() {
            let child: &FwNode = &child;
            names.push(CString::try_from_fmt(fmt!("{child}"))?, GFP_KERNEL)?;
        }
        assert_eq!((names[0].to_bytes(), names[1].to_bytes()), (&b"/f/motor@0"[..], &b"/f/sensor@1"[..]));
        Ok(())
    });
}
