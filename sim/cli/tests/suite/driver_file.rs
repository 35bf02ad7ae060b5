//! Drivers from files: built, cached, run, and shown with their paths as they were given.

use std::path::{Path, PathBuf};

use crate::command::Room;
use serde_json::json;

/// A test driver, put into the room under its own name.
fn driver(room: &Room, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name);
    room.put(name, std::fs::read(source).expect("the driver is there"))
}

/// The test drivers where they are: nothing of them need be built twice.
fn in_place(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name).display().to_string()
}

#[test]
fn clean_driver_is_run_from_load_to_unload() {
    let room = Room::new();
    let said = room.bringup(&format!("run {} --param times=2", in_place("hello.rs")));
    assert_eq!(said.status, 0, "{said:?}");
    let log = "[    0.000000] hello: hello 0\n[    0.000000] hello: hello 1\n[    1.000000] hello: bye, after 2\n";
    assert!(said.out.starts_with(log), "{}", said.out);
    assert!(said.out.contains("  findings    none\n"));
    assert!(room.names().is_empty());
}

#[test]
fn report_is_there_as_json() {
    let path = in_place("hello.rs");
    let report = Room::new().bringup(&format!("run {path} --json")).json();
    assert_eq!((&report["exit"], &report["crashed"], &report["from_file"]), (&json!(0), &json!(false), &json!(true)));
    assert_eq!(report["log"][0], json!({"at": 0, "level": 6, "text": "hello: hello 0"}));
    assert_eq!((&report["findings"], &report["reproduce"]), (&json!([]), &json!(null)));
}

#[test]
fn driver_binds_to_the_device_that_it_wants_and_only_that_is_shown() {
    let said = Room::new().bringup(&format!("run {}", in_place("binds.rs")));
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("mine\n"), "{}", said.out);
    assert!(said.out.contains("  devices     pci-testdev  1b36:0005  0000:00:04.0  bound to binds\n"), "{}", said.out);
    assert!(!said.out.contains("not bound"));
}

#[test]
fn driver_without_its_device_is_refused_with_the_device_it_wants() {
    let path = in_place("binds.rs");
    let said = Room::new().bringup(&format!("run {path} --device edu"));
    let line = "found no device: it wants 1b36:0005, and none that is plugged in is one; bundled: --device pci-testdev";
    assert_eq!(said.refusal(), format!("{path} {line}"));
}

#[test]
fn debugfs_files_are_read_and_a_refusal_is_told() {
    let said = Room::new().bringup(&format!("run {}", in_place("shows.rs")));
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("  debugfs/shows/level \"40\"\n"), "{}", said.out);
    assert!(said.out.contains("  debugfs/shows/limit refused: Invalid argument (errno 22)\n"), "{}", said.out);
}

#[test]
fn panic_is_a_finding_at_its_place() {
    let room = Room::new();
    let path = in_place("panics.rs");
    let said = room.bringup(&format!("run {path}"));
    assert_eq!(said.status, 1);
    assert!(said.out.contains("fatal[driver-panic]: kernel BUG: index out of bounds: the len is 1 but the index is 3"));
    assert!(said.out.contains(&format!("  --> {path}:19:38\n")), "{}", said.out);
}

#[test]
fn leak_is_found_saved_and_replayed_to_the_same_output() {
    let room = Room::new();
    let said = room.bringup(&format!("run {}", in_place("leaks.rs")));
    assert_eq!(said.status, 1);
    assert!(said.out.contains("error[leak-memory]: 24 bytes in 1 allocations of module leaks"), "{}", said.out);
    let names = room.names();
    let [stream] = &names[..] else { panic!("one file: {names:?}") };
    assert!(stream.starts_with("bringup-leaks-"));
    assert!(said.out.ends_with(&format!("run it again: bringup replay {stream}\n")));

    let again = room.bringup(&format!("replay {stream}"));

    assert_eq!(again, said);
    assert_eq!(room.names(), names);
}

#[test]
fn replay_refuses_a_driver_that_has_changed() {
    let room = Room::at("changes");
    let path = driver(&room, "leaks.rs");
    let said = room.bringup("run leaks.rs --save-choices life");
    assert_eq!(said.status, 1);
    assert!(said.out.contains("  --> leaks.rs:17:20\n"), "{}", said.out);
    assert_eq!(room.bringup("replay life --json").json()["findings"][0]["place"], "leaks.rs:17:20");
    std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"\n"))
        .unwrap();
    assert_eq!(room.bringup("replay life").refusal(), "life: leaks.rs has changed since it was recorded");
}

#[test]
fn replay_refuses_a_stream_of_another_release() {
    let room = Room::new();
    room.bringup(&format!("run {} --save-choices life", in_place("hello.rs")));
    let text = std::fs::read_to_string(room.path("life")).unwrap();
    let (body, _) = text
        .replace("bringup 0.1.0", "bringup 0.0.9")
        .rsplit_once("crc ")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    room.put("old", format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes())));
    let refusal = room.bringup("replay old").refusal().to_owned();
    assert_eq!(refusal, "old: recorded by bringup 0.0.9, and this is bringup 0.1.0");
}

#[test]
fn compile_error_is_rustcs_own_with_the_path_as_given() {
    let room = Room::at("breaks");
    driver(&room, "broken.rs");
    let said = room.bringup("run broken.rs");
    assert_eq!((said.status, &*said.out), (2, ""));
    assert!(said.err.starts_with("error[E0308]: mismatched types\n"), "{}", said.err);
    assert!(said.err.contains("--> broken.rs:17:27\n"), "{}", said.err);
    assert!(said.err.ends_with("error: broken.rs does not compile: 1 error\n"));
    assert!(!said.err.contains("Compiling"));
}

#[test]
fn file_without_a_module_is_refused_and_its_warnings_are_shown() {
    let said = Room::new().bringup(&format!("run {}", in_place("no_module.rs")));
    assert_eq!(said.status, 2);
    assert!(said.err.starts_with("warning: unused variable: `unused`\n"), "{}", said.err);
    assert!(said.err.lines().last().unwrap().contains("declares no module (no BRINGUP_MODULE)"));
}

#[test]
fn driver_that_did_not_change_comes_from_the_cache() {
    let room = Room::at("caches");
    let source = std::fs::read_to_string(in_place("hello.rs")).unwrap();
    let run = |source: &str| {
        room.put("cached.rs", source);
        room.bringup("run --verbose cached.rs").err
    };
    let (built, cached) = ("cached.rs: building\n", "cached.rs: taken from the cache\n");
    run(&source);
    assert_eq!(run(&source), cached);
    assert_eq!(run(&source.replace("hello {}", "good day {}")), built);
    assert_eq!(run(&source), built);
}

#[test]
fn older_file_in_the_place_of_the_driver_is_built() {
    let room = Room::at("ages");
    let source = std::fs::read_to_string(in_place("hello.rs")).unwrap();
    room.put("aging.rs", source.replace("hello {}", "good day {}"));
    assert!(room.bringup("run aging.rs").out.contains("good day 0"));
    let path = room.put("aging.rs", source);
    std::fs::File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(room.bringup("run aging.rs").out.contains("hello 0"));
}

#[test]
fn parameter_of_the_wrong_type_is_refused() {
    let room = Room::new();
    let path = in_place("hello.rs");
    let refusal =
        |param: &str| room.bringup(&format!("run {path} --param {param}")).refusal().replace(&path, "hello.rs");
    assert_eq!(
        refusal("times=300"),
        "parameter times of hello.rs takes a u8, not \"300\": Invalid argument (errno 22)"
    );
    assert_eq!(refusal("time=3"), "hello.rs has no parameter \"time\"; did you mean \"times\"? (it has times)");
    assert_eq!(refusal("times=3 --param times=4"), "parameter times of hello.rs is given twice");
}

#[test]
fn file_that_cannot_be_written_is_said_after_the_result() {
    let room = Room::new();
    let path = in_place("hello.rs");
    std::os::unix::fs::symlink("/dev/full", room.path("full.txt")).unwrap();
    for (option, line) in [
        ("--trace full.txt", "error: cannot write the trace to full.txt: No space left on device\n"),
        ("--save-choices full.txt", "error: cannot save the choices to full.txt: No space left on device\n"),
        ("--trace no/where.txt", "error: cannot write the trace to no/where.txt: No such file or directory\n"),
    ] {
        let said = room.bringup(&format!("run {path} {option}"));
        assert_eq!((said.status, &*said.err), (2, line));
        assert!(said.out.contains("  findings    none\n"));
    }
    assert_eq!(room.names(), ["full.txt"]);
}
