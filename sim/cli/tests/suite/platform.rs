//! Platform devices on the command line.

use std::path::Path;

use crate::command::Room;
use serde_json::json;

fn fan() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/fan.rs").display().to_string()
}

#[test]
fn acpi_device_and_device_tree_node_are_bound_and_shown() {
    let devices = "--device acpi,hid=ACME0001,blades=6 --device of,name=fan@1,compatible=acme,fan,blades=0x4";
    let said = Room::new().bringup(&format!("run {} {devices}", fan()));
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("fan ACME0001:00: 6 blades\n") && said.out.contains("fan fan@1: 4 blades\n"));
    let rows = "  devices     ACME0001:00  acpi:ACME0001  \\_SB_.D000  bound to fan\n              \
                fan@1        of:acme,fan    /fan@1      bound to fan\n";
    assert!(said.out.contains(rows), "{}", said.out);
}

#[test]
fn device_of_another_id_stays_unbound_and_json_says_so() {
    let devices = "--device acpi,hid=ACME0001,blades=6 --device acpi,hid=ACME0002";
    let report = Room::new().bringup(&format!("run {} {devices} --json", fan())).json();
    assert_eq!(report["devices"][0]["driver"], "fan");
    let unbound = json!({"name": "ACME0002:00", "id": "acpi:ACME0002", "address": "\\_SB_.D001", "driver": null, "probe_error": null});
    assert_eq!(report["devices"][1], unbound);
}

#[test]
fn refused_probe_is_a_failure_with_its_error() {
    let room = Room::new();
    let said = room.bringup(&format!("run {} --device acpi,hid=ACME0001", fan()));
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.out.contains("refused by fan: Invalid argument (errno 22)\n"), "{}", said.out);
    assert!(said.out.contains("  FAILED      probe of ACME0001:00 by fan: Invalid argument"), "{}", said.out);
}

#[test]
fn platform_driver_without_its_device_says_which_it_wants() {
    for device in ["", " --device edu", " --device of,name=x,compatible=acme,pump"] {
        let said = Room::new().bringup(&format!("run {}{device}", fan()));
        let line = "found no device: it wants ACPI's ACME0001, \"acme,fan\", and none that is plugged in is one; \
                    plug one in: --device acpi,hid=ACME0001";
        assert_eq!(said.refusal(), format!("{} {line}", fan()));
    }
}

#[test]
fn platform_devices_are_kept_in_the_stream_and_named_in_the_command() {
    let room = Room::new();
    let device = "--device acpi,hid=ACME0001,blades=6";
    let report = room.bringup(&format!("run {} {device} --seed 3 --save-choices life --json", fan()));
    let replayed = room.bringup("replay life --json");
    let logs = (report.json()["log"].clone(), replayed.json()["log"].clone());
    assert!(logs.0[0]["text"].as_str().is_some_and(|text| text.ends_with("6 blades")), "{logs:?}");
    assert_eq!(logs.0, logs.1);
    assert_eq!(report.json()["devices"], replayed.json()["devices"]);
}

#[test]
fn bad_specifications_are_refused() {
    let room = Room::new();
    let refusal = |spec: &str| room.bringup(&format!("run edu --device {spec}")).refusal().to_owned();
    assert_eq!(refusal("acpi"), "acpi: it needs hid=ID, such as hid=LNUXBEEF");
    assert_eq!(refusal("acpj,hid=X"), "unknown device \"acpj\"; did you mean \"acpi\"?");
    assert_eq!(refusal("of,name=a,compatible=b --device of,name=a,compatible=c"), "two devices are called \"a\"");
}
