//! What the command says to input that it cannot use: one clear line and exit status 2. And its lists and pages.

use crate::command::Room;
use serde_json::json;

#[test]
fn unknown_words_are_named_with_the_nearest_known_one() {
    let room = Room::new();
    for (arguments, line) in [
        (
            "rnu edu",
            "unknown command \"rnu\"; did you mean \"run\"? (there are run, conform, replay, mutate, shrink, list, zoo, vm, upstream, explain)",
        ),
        ("run edu --device edo", "unknown device \"edo\"; did you mean \"edu\"?"),
        ("run edu --device edu,dma-mask=1", "edu has no option \"dma-mask\"; did you mean \"dma_mask\"?"),
        (
            "explain dma-unmaped",
            "unknown rule \"dma-unmaped\"; did you mean \"dma-unmapped\"? (bringup list checks shows them all)",
        ),
    ] {
        assert_eq!(room.bringup(arguments).refusal(), line);
    }
    assert!(room.bringup("run edo").refusal().starts_with("unknown driver \"edo\"; did you mean \"edu\"?"));
    assert!(room.bringup("run edu --sed 1").refusal().contains("'--seed'"));
    assert!(room.bringup("list device").refusal().contains("devices"));
}

#[test]
fn missing_and_unreadable_files_are_named_with_the_reason() {
    let room = Room::new();
    for option in ["--plan", "--input", "--choices"] {
        let said = room.bringup(&format!("run edu {option} nowhere"));
        assert_eq!(said.refusal(), "cannot read nowhere: No such file or directory");
    }
    assert_eq!(room.bringup("run nowhere.rs").refusal(), "cannot read nowhere.rs: No such file or directory");
    assert_eq!(room.bringup("replay .").refusal(), "cannot read .: Is a directory");
}

#[test]
fn damaged_files_are_refused_with_what_is_wrong_with_them() {
    let room = Room::new();
    room.put("plan", "version = 7");
    room.put("noise", [0xff, 0x00, 0x80]);
    room.put("old", "bringup-stream 9\ncrc 00000000\n");
    room.put("short", "bringup-stream 2\ndriver edu\n");
    room.put("bent", "bringup-stream 2\ndriver edu\ncrc 00000000\n");
    let refusal = |arguments: &str| room.bringup(arguments).refusal().to_owned();
    assert_eq!(refusal("run edu --plan plan"), "bad fault plan plan: it is of version 7; this bringup reads version 1");
    assert_eq!(refusal("run edu --plan noise"), "cannot read noise: it is not text");
    assert!(refusal("replay noise").starts_with("noise: not a bringup stream file"));
    assert!(refusal("replay old").starts_with("old: stream file of version 9"));
    assert!(refusal("replay short").starts_with("short: damaged stream file"));
    assert!(refusal("run edu --choices bent").starts_with("bent: damaged stream file: its check sum"));
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let room = Room::new();
    room.put("driver.rs", "");
    let refusal = |arguments: &str| room.bringup(arguments).refusal().to_owned();
    assert!(refusal("run edu --seed x").contains("it takes a number"));
    assert!(refusal("run edu --seed 1 --choices x").contains("cannot be used with"));
    assert!(refusal("run edu --param depth").contains("NAME=VALUE"));
    assert!(refusal("run edu --param no_such=1").starts_with("edu has no parameter \"no_such\""));
    assert!(refusal("run edu --trace t.pcap").contains("cannot tell the form of the trace"));
    assert!(refusal("run edu --trace t.pcapng").starts_with("t.pcapng would be empty"));
    assert!(refusal("run first --input x").starts_with("first has no use for --input; drivers that have: edu"));
}

#[test]
fn help_and_version_are_no_errors() {
    let room = Room::new();
    assert_eq!((room.bringup("--help").status, room.bringup("--version").out), (0, "bringup 0.1.0\n".into()));
    assert_eq!(room.bringup("").status, 2);
}

#[test]
fn lists_are_the_same_as_text_and_as_json() {
    let room = Room::new();
    for list in ["devices", "drivers", "checks", "faults"] {
        let text = room.bringup(&format!("list {list}")).out;
        let objects = room.bringup(&format!("list {list} --json")).json();
        let objects = objects.as_array().expect("an array");
        assert!(!objects.is_empty());
        for object in objects {
            let name = ["name", "id", "do"].iter().find_map(|key| object[*key].as_str()).expect("a name");
            assert!(text.lines().any(|line| line.starts_with(name)), "{list}: {name} in\n{text}");
        }
    }
}

#[test]
fn every_check_has_a_page() {
    let room = Room::new();
    for check in room.bringup("list checks --json").json().as_array().expect("an array") {
        let id = check["id"].as_str().expect("an id");
        let said = room.bringup(&format!("explain {id}"));
        assert_eq!(said.status, 0);
        for part in
            [id, "What it means", "Why it matters", "How to mend it", check["reference"].as_str().expect("a reference")]
        {
            let whole = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(whole.contains(part), "{id}: {part}");
        }
    }
}

#[test]
fn page_is_there_as_json() {
    let page = Room::new().bringup("explain leak-memory --json").json();
    assert_eq!((&page["id"], &page["severity"]), (&json!("leak-memory"), &json!("error")));
    assert!(page["page"].as_str().is_some_and(|page| page.starts_with("## What it means")));
}

#[test]
fn clauses_of_virtio_are_listed_with_their_totals() {
    let room = Room::new();

    let text = room.bringup("list checks --virtio").out;
    let json = room.bringup("list checks --virtio --json").json();

    let clauses = json["clauses"].as_array().expect("an array");
    let totals = json["totals"]["all"].as_object().expect("an object");
    assert_eq!(clauses.len(), 370);
    assert_eq!(totals.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 370);
    assert_eq!(json["totals"]["core"]["checked"], 84);
    for clause in clauses {
        let id = clause["id"].as_str().expect("an id");
        let row = text.lines().find(|line| line.split_whitespace().next() == Some(id)).expect("a row");
        assert!(row.contains(clause["state"].as_str().expect("a state")), "{row}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    assert!(text.contains(&format!("{:>5}  checked", totals["checked"])));
}

#[test]
fn clauses_go_with_checks_only() {
    let room = Room::new();

    let said = room.bringup("list faults --virtio");

    assert_eq!((said.status, said.err.as_str()), (2, "error: --virtio goes with \"list checks\"\n"));
}

#[test]
fn a_rule_is_found_in_any_case() {
    let room = Room::new();

    let said = room.bringup("explain vq-split-d-04");

    assert!(said.out.starts_with("error[VQ-SPLIT-D-04]"), "{}", said.out);
}
