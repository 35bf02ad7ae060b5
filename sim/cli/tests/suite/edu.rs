//! The bundled edu driver on the command line: a file through the device, the same life again, and what is left of it.

use crate::command::Room;
use serde_json::{Value, json};

/// A file of two whole pieces and a bit, in which no two pieces are the same.
fn payload() -> Vec<u8> {
    (0u32..9000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn factorial_is_computed_when_there_is_no_input() {
    let said = Room::new().bringup("run edu");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("  factorial   10! = 3628800\n"), "{}", said.out);
    assert!(said.out.contains("bound to edu\n"));
}

#[test]
fn file_goes_through_the_device_and_comes_back_the_same() {
    let room = Room::new();
    room.put("file", payload());
    let report = room.bringup("run edu --input file --json").json();
    let crc32 = format!("{:08x}", crc32fast::hash(&payload()));
    assert_eq!(report["exit"], 0, "{report}");
    assert_eq!(report["exercise"]["sent"], json!({"bytes": 9000, "crc32": crc32, "pieces": 3}));
    assert_eq!(report["exercise"]["received"], json!({"bytes": 9000, "crc32": crc32, "same": true}));
    assert!(report["interrupts"].as_u64() >= Some(6));
}

#[test]
fn same_seed_gives_the_same_output_and_trace_and_replay_gives_them_too() {
    let room = Room::new();
    room.put("file", payload());
    for seed in [1, 7, 1000] {
        let run = |trace: &str| {
            let said = room.bringup(&format!("run edu --input file --seed {seed} --save-choices life --trace {trace}"));
            (said, std::fs::read(room.path(trace)).unwrap())
        };
        let (first, again) = (run("a.txt"), run("b.txt"));
        let replayed = (room.bringup("replay life --trace c.txt"), std::fs::read(room.path("c.txt")).unwrap());
        assert!(!first.1.is_empty());
        assert_eq!(first, again);
        assert_eq!(first, replayed);
    }
}

#[test]
fn choices_of_a_saved_life_give_its_trace() {
    let room = Room::new();
    room.bringup("run edu --seed 5 --save-choices life --trace a.txt");
    let said = room.bringup("run edu --choices life --trace b.txt");
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(std::fs::read(room.path("a.txt")).unwrap(), std::fs::read(room.path("b.txt")).unwrap());
}

#[test]
fn every_field_of_the_report_is_documented() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let report = Room::new().bringup("run edu --json").json();
    let fields = report.as_object().unwrap();
    assert!(fields.len() > 10);
    for field in fields.keys() {
        assert!(readme.contains(&format!("`{field}`")), "{field}");
    }
}

#[test]
fn replay_refuses_an_input_that_has_changed() {
    let room = Room::new();
    room.put("file", payload());
    room.bringup("run edu --input file --save-choices life");
    room.put("file", "something else");
    assert_eq!(room.bringup("replay life").refusal(), "life: file has changed since it was recorded");
}

#[test]
fn trace_as_json_is_one_object_a_record() {
    let room = Room::new();
    assert_eq!(room.bringup("run edu --trace trace.jsonl").status, 0);
    let trace = std::fs::read_to_string(room.path("trace.jsonl")).unwrap();
    let records: Vec<Value> = trace.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.windows(2).all(|pair| pair[0]["position"].as_u64() <= pair[1]["position"].as_u64()));
    let write = records.iter().find(|record| record["kind"] == "bar-write" && record["fields"]["offset"] == 8).unwrap();
    assert_eq!((&write["device"], &write["fields"]["value"]), (&json!("edu"), &json!(10)));
}

#[test]
fn trace_for_viewers_has_a_lane_for_tasks_interrupts_registers_dma_and_mappings() {
    let room = Room::new();
    assert_eq!(room.bringup("run edu --trace trace.json").status, 0);
    let trace: Value = serde_json::from_slice(&std::fs::read(room.path("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let lane = |group: &str, name: &str| {
        let named = |what: &'static str, name: String| {
            move |event: &&Value| event["name"] == what && event["args"]["name"] == name.as_str()
        };
        let group = events.iter().find(named("process_name", group.into())).unwrap();
        let in_group = |event: &&Value| event["pid"] == group["pid"];
        let thread = events.iter().filter(in_group).find(named("thread_name", name.into())).unwrap();
        let slice = |event: &&Value| event["ph"] == "X" && event["tid"] == thread["tid"];
        events.iter().filter(in_group).filter(slice).cloned().collect::<Vec<Value>>()
    };
    assert!(lane("CPU", "interrupts").iter().all(|slice| slice["args"]["result"] == "handled"));
    assert!(lane("CPU", "task write").iter().any(|slice| slice["cat"] == "waits"));
    assert!(lane("edu", "MMIO").iter().any(|slice| slice["name"] == "BAR0 write 0x0008"));
    // The driver's buffer is mapped once, and until the end.
    assert_eq!(lane("edu", "mapped").len(), 1);
    assert!(!lane("edu", "configuration").is_empty());
}

#[test]
fn traces_of_the_same_life_are_the_same_in_every_form() {
    let room = Room::new();
    for ending in ["json", "jsonl", "perfetto-trace"] {
        for name in ["a", "b"] {
            assert_eq!(room.bringup(&format!("run edu --seed 7 --trace {name}.{ending}")).status, 0);
        }
        let content = |name: &str| std::fs::read(room.path(&format!("{name}.{ending}"))).unwrap();
        assert!(content("a") == content("b") && !content("a").is_empty(), "{ending}");
    }
}

#[test]
fn plan_that_changes_data_excuses_a_wrong_answer_but_it_is_shown() {
    let room = Room::new();
    room.put("file", payload());
    room.put(
        "plan.toml",
        "version = 1\n[[fault]]\nverb = \"dma-write\"\ndevice = \"edu\"\ntimes = 1\ndo = \"corrupt\"\nmask = 1\n",
    );
    let report = room.bringup("run edu --input file --plan plan.toml --json").json();
    assert_eq!((&report["exit"], &report["exercise"]["received"]["same"]), (&json!(0), &json!(false)));
    assert_eq!(report["mishaps"][0]["excused"], true);
}

#[test]
fn driver_without_its_device_says_which_it_wants() {
    let said = Room::new().bringup("run edu --device pci-testdev");
    assert_ne!(said.status, 0);
    assert!(said.out.contains("pci-testdev  1b36:0005"), "{said:?}");
    assert!(said.out.contains("refused by edu"), "{said:?}");
}
