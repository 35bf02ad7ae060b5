//! `bringup mutate`: what notices that something is missing.

use std::path::Path;

use serde_json::{Value, json};

use crate::command::Room;

fn removable() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/removable.rs").display().to_string()
}

/// What stands in a row of the document: the source line, what came of it, and what noticed.
fn row(row: &Value) -> (String, String, Value) {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    (format!("{} {}", text("kind"), text("removed")), text("outcome"), row["by"].clone())
}

#[test]
fn removals_are_noticed_or_not_as_the_driver_says() {
    let room = Room::new();
    let said = room.bringup(&format!("mutate {} --device edu --lives 20 --json", removable()));
    assert_eq!(said.status, 1, "{said:?}");
    let document = said.json();
    let rows: Vec<_> = document["removals"].as_array().unwrap().iter().map(row).collect();
    let expected = [
        ("error values.iter().copied().max()?;", "not-built", Value::Null),
        ("check value == 0", "not-reached", Value::Null),
        ("error pdev.enable_device_mem()?;", "noticed", json!("bar-disabled")),
        ("write bar.write32(1, 0x4);", "noticed", json!("exercise")),
        ("check bar.read32(0x4) != !1", "not-reached", Value::Null),
        ("write bar.write32(3, 0x4);", "not-noticed", Value::Null),
        ("write bar.write32(3, 0x4);", "not-noticed", Value::Null),
        ("check register >= 0x100", "noticed", json!("exercise")),
        ("error bar.try_read32(register)?;", "not-reached", Value::Null),
        ("error never(0)?;", "not-reached", Value::Null),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(what, outcome, by)| (what.to_owned(), outcome.to_owned(), by)).collect();
    assert_eq!(rows, expected);
    let counts =
        ["noticed", "not_noticed", "not_reached", "not_built", "score", "exit"].map(|name| document[name].clone());
    assert_eq!(counts, [3, 2, 4, 1, 60, 1].map(|count| json!(count)));
    // Lines are those of the driver's own file, and nothing is left beside it or here.
    let place = document["removals"][3]["place"].as_str().unwrap();
    assert_eq!(place, format!("{}:40", removable()));
    assert!(room.names().is_empty());
    let beside = std::fs::read_dir(Path::new(&removable()).parent().unwrap()).unwrap();
    assert!(beside.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("mutate")));
}

#[test]
fn table_shows_what_was_noticed_and_the_score() {
    let said = Room::new().bringup(&format!("mutate {} --device edu --lives 5 --jobs 1", removable()));
    assert_eq!(said.status, 1, "{said:?}");
    let has = |words: &[&str]| said.out.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["removable.rs:40", "write", "exercise", "bar.write32(1, 0x4);"]), "{}", said.out);
    assert!(has(&["check", "NOT REACHED", "value == 0"]));
    assert!(has(&["does not build"]));
    assert!(has(&["noticed", "3 of 5", "60 %"]), "{}", said.out);
}

#[test]
fn what_cannot_be_tried_is_refused_in_one_line() {
    let room = Room::new();
    assert!(room.bringup("mutate no_such").refusal().starts_with("unknown driver \"no_such\""));
    assert!(room.bringup("mutate edu --device nothing").refusal().contains("nothing"));
    let path = removable();
    let line = room.bringup(&format!("mutate {path} --device edu --file elsewhere")).refusal().to_owned();
    assert!(line.contains("there is nothing to remove in these files"), "{line}");
    let line = room.bringup(&format!("mutate {path} --device virtio-blk --lives 1")).refusal().to_owned();
    assert!(line.contains("does not do what it is for with nothing removed: it binds to no device"), "{line}");
}
