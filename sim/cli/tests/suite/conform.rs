//! `bringup conform`: a driver's clauses, with a driver of a user's own, right and with one mistake at a time.

use std::path::Path;

use crate::command::Room;
use serde_json::Value;

fn tiny() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/tiny_rng.rs").display().to_string()
}

/// The ids of the clauses with this verdict.
fn ids<'a>(document: &'a Value, verdict: &str) -> Vec<&'a str> {
    let clauses = document["clauses"].as_array().unwrap().iter().filter(|clause| clause["verdict"] == verdict);
    clauses.map(|clause| clause["id"].as_str().unwrap()).collect()
}

#[test]
fn bundled_drivers_violate_nothing() {
    for driver in ["virtio_blk", "virtio_rng", "virtio_net", "virtio_console"] {
        let said = Room::new().bringup(&format!("conform {driver} --seeds 0 --json"));
        let document = said.json();
        assert_eq!((said.status, &document["exit"]), (0, &Value::from(0)), "{driver}: {document}");
        assert_eq!(ids(&document, "violated"), [""; 0], "{driver}");
        assert!(ids(&document, "passed").len() > 90, "{driver}: {}", ids(&document, "passed").len());
        assert_eq!(document["others"], Value::Array(Vec::new()), "{driver}");
    }
}

#[test]
fn driver_of_a_users_own_that_is_right_passes() {
    let room = Room::new();
    let said = room.bringup(&format!("conform {} --seeds 3 --json", tiny()));
    let document = said.json();
    assert_eq!((said.status, &*said.err), (0, ""));
    assert_eq!(document["device"], "virtio-rng");
    assert!(document["lives"].as_u64() > Some(100));
    assert_eq!(ids(&document, "violated"), [""; 0]);
    for clause in ["INIT-D-04", "FEAT-D-08", "PCI-CAP-D-02", "VQ-SPLIT-D-14", "PCI-COMMON-D-05", "RNG-D-01"] {
        assert!(ids(&document, "passed").contains(&clause), "{clause}");
    }
    // There is no configuration that could change while it is read.
    assert!(ids(&document, "not exercised").contains(&"CFG-D-01"));
    assert!(room.names().is_empty());
}

#[test]
fn each_mistake_is_named_by_its_clause() {
    let room = Room::new();
    for (plant, clauses) in [
        (1, &["FEAT-D-05"][..]),
        (2, &["INIT-D-04"]),
        (3, &["PCI-ACC-D-01"]),
        (4, &["PCI-COMMON-D-04"]),
        (5, &["INIT-D-11"]),
        (6, &["PCI-COMMON-D-05"]),
        (7, &["PCI-MSIX-D-05"]),
        (8, &["PCI-CAP-D-02"]),
        (9, &["FEAT-D-04", "FEAT-D-08"]),
        (10, &["FEAT-D-07"]),
        (11, &["INIT-D-02"]),
        (12, &["STATUS-D-02"]),
        (13, &["VQ-SPLIT-D-14"]),
        (14, &["VQ-SPLIT-EVT-D-09"]),
    ] {
        let said = room.bringup(&format!("conform {} --seeds 2 --param plant={plant} --json", tiny()));
        let document = said.json();
        assert_eq!((said.status, ids(&document, "violated")), (1, clauses.to_vec()), "plant {plant}");
        let clause = document["clauses"].as_array().unwrap().iter().find(|clause| clause["verdict"] == "violated");
        let again = clause.unwrap()["reproduce"].as_str().unwrap();
        assert!(again.contains(&format!("--param plant={plant}")), "{again}");
    }
}

#[test]
fn table_shows_what_is_violated_in_full_and_fits() {
    let room = Room::new();
    let said = room.bringup(&format!("conform {} --seeds 0 --param plant=2", tiny()));
    assert_eq!(said.status, 1);
    let row = said.out.lines().find(|line| line.starts_with("  VIOLATED ")).unwrap();
    assert!(row.contains("INIT-D-04") && row.contains("§3.1.1"), "{row}");
    assert!(said.out.contains("\nerror[INIT-D-04]"), "{}", said.out);
    let again = said.out.lines().find_map(|line| line.trim().strip_prefix("= again: bringup ")).unwrap();
    assert!(room.bringup(again).out.contains("error[INIT-D-04]"), "{again}");
    assert!(said.out.contains("  violated      1, and 0 rules that are no clauses of VIRTIO\n"), "{}", said.out);
    let table = said.out.split("\nerror[").next().unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn every_clause_has_its_line_when_all_are_asked_for() {
    let said = Room::new().bringup("conform virtio_rng --seeds 0 --all");
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.lines().all(|line| line.chars().count() <= 100));
    for id in ["STATUS-D-01", "NET-CFG-D-01", "VQ-PACKED-D-02", "IMP-RNG-01"] {
        let rows = said.out.lines().filter(|line| line.split_whitespace().any(|word| word == id));
        assert_eq!(rows.count(), 1, "{id}");
    }
}

#[test]
fn driver_that_is_no_virtio_driver_is_refused() {
    let room = Room::new();
    let kinds = "is no virtio driver, or has no device here: it binds to none of virtio-";
    for driver in
        ["edu", "first", &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/hello.rs").display().to_string()]
    {
        let said = room.bringup(&format!("conform {driver}"));
        assert!(said.refusal().starts_with(&format!("{driver} {kinds}")), "{said:?}");
        assert_eq!(said.out, "");
    }
    assert!(room.bringup("conform virtio_blkk").refusal().starts_with("unknown driver \"virtio_blkk\"; did you mean"));
    assert_eq!(room.bringup("conform nothing.rs").refusal(), "cannot read nothing.rs: No such file or directory");
    let refusal = |options: &str| room.bringup(&format!("conform virtio_rng {options}")).refusal().to_owned();
    assert!(refusal("--device virtio-rgn").contains("unknown device \"virtio-rgn\"; did you mean \"virtio-rng\"?"));
    assert!(refusal("--device of,name=a,compatible=b").ends_with("is no virtio device, and conform is about those"));
    assert!(refusal("--param plant=1").starts_with("virtio_rng has no parameter \"plant\""));
    assert!(refusal("--seeds many").contains("many"));
    assert!(room.names().is_empty());
}

#[test]
fn device_of_another_type_is_refused() {
    let room = Room::new();
    for device in ["edu", "virtio-blk"] {
        let said = room.bringup(&format!("conform virtio_rng --device {device} --seeds 0"));
        assert_eq!((said.status, &*said.out), (2, ""), "{device}: {said:?}");
        assert!(said.refusal().contains(device), "{said:?}");
    }
}

#[test]
fn every_field_of_the_document_is_documented() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let document = Room::new().bringup("conform virtio_rng --seeds 0 --json").json();
    let fields = document.as_object().unwrap().keys().chain(document["clauses"][0].as_object().unwrap().keys());
    for field in fields {
        assert!(readme.contains(&format!("`{field}`")), "{field}");
    }
}
