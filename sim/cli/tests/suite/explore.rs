//! Campaigns on the command line: what they say, that threads and processes make no difference, and what becomes of a finding.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::command::Room;

fn driver(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name).display().to_string()
}

/// A report without what depends on the computer.
fn timeless(mut report: Value) -> Value {
    let fields = report.as_object_mut().expect("an object");
    for field in ["seconds", "lives_per_second"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    report
}

#[test]
fn campaign_is_the_same_with_any_threads_and_in_any_process() {
    for (driver, strategy) in
        [("edu", "mixed"), ("virtio_blk", "random"), ("virtio_blk", "pct"), ("edu", "exhaustive:1")]
    {
        let run = |jobs: u32| {
            let command = format!("run {driver} --explore 600 --strategy {strategy} --seed 3 --jobs {jobs} --json");
            timeless(Room::new().bringup(&command).json())
        };
        let alone = run(1);
        assert_eq!(alone, run(1), "{driver} {strategy}");
        assert_eq!(alone, run(2), "{driver} {strategy}");
        assert!(alone["lives"].as_u64().is_some_and(|lives| lives > 1), "{alone}");
        assert_eq!(alone["finished"], json!(strategy == "exhaustive:1"));
    }
}

#[test]
fn clean_campaign_says_what_was_seen() {
    let said = Room::new().bringup("run virtio_console --explore 60");
    assert_eq!((said.status, &*said.err), (0, ""), "{}", said.out);
    for word in ["strategy    mixed, seed 0", "ring-wrapped", "allocation-failed", "findings    none"] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
}

#[test]
fn finding_is_saved_short_and_repeats() {
    let room = Room::at("explore-forgets");
    let file = driver("forgets.rs");
    let report = room.bringup(&format!("run {file} --explore 40 --json")).json();
    assert_eq!((&report["exit"], &report["failed"]), (&json!(1), &json!(report["findings"][0]["lives"])));
    let found = &report["findings"][0];
    assert_eq!((&found["rule"], &found["life"]), (&json!("leak-memory"), &json!(2)));
    assert_eq!((&found["choices"], &found["deviations"]), (&json!(2), &json!(1)));
    assert_eq!(room.names(), ["bringup-forgets-leak-memory.stream"]);
    let again = room.bringup("replay bringup-forgets-leak-memory.stream");
    assert_eq!(again.status, 1, "{}", again.err);
    assert!(again.out.contains("error[leak-memory]"), "{}", again.out);

    // A long stream of the same bug comes to the same short one.
    let text = std::fs::read_to_string(room.path("bringup-forgets-leak-memory.stream")).unwrap();
    let mut stream = bringup_core::Stream::parse(&text).unwrap();
    let short = std::mem::replace(&mut stream.choices, [&[0, 1][..], &[1; 500][..]].concat());
    room.put("long.stream", stream.to_string());
    let said = room.bringup("shrink long.stream -o short.stream --json").json();
    assert_eq!(said["after"], json!({"choices": 2, "deviations": 1}));
    let shrunk = std::fs::read_to_string(room.path("short.stream")).unwrap();
    assert_eq!(bringup_core::Stream::parse(&shrunk).unwrap().choices, short);
}

#[test]
fn what_cannot_be_shrunk_is_refused_in_one_line() {
    let room = Room::new();
    assert_eq!(room.bringup("run edu --save-choices quiet.stream").status, 0);
    let nothing = room.bringup("shrink quiet.stream");
    assert_eq!(nothing.refusal(), "quiet.stream: nothing is found in its life, so there is nothing to keep");
    let text = std::fs::read_to_string(room.path("quiet.stream")).unwrap();
    room.put("old.stream", text.replacen("bringup-stream 2", "bringup-stream 1", 1));
    let old = room.bringup("shrink old.stream");
    assert_eq!(old.refusal(), "old.stream: stream file of version 1; this bringup reads version 2");
}

#[test]
fn what_does_not_go_with_a_campaign_is_refused_in_one_line() {
    let room = Room::new();
    room.put("disk.img", vec![0; 4096]);
    for (arguments, word) in [
        ("run edu --explore 0", "1 or more"),
        ("run virtio_blk --explore 5 --device virtio-blk,image=disk.img", "image="),
        ("run edu --explore 5 --trace x.txt", "--trace"),
        ("run edu --strategy random", "--explore"),
        ("run virtio_rng --explore 5 --device edu", "found no device"),
    ] {
        let said = room.bringup(arguments);
        assert!(said.refusal().contains(word), "{arguments}: {}", said.err);
    }
    assert_eq!(room.names(), ["disk.img"]);
}

#[test]
fn driver_that_hangs_in_a_life_ends_the_campaign_and_leaves_that_life() {
    let room = Room::new();
    let patience = [("BRINGUP_PATIENCE_MS", "3000")];
    let said = room.bringup_with(&format!("run {} --explore 20", driver("spins.rs")), &patience);
    assert_eq!(said.status, 1, "{}", said.err);
    assert!(said.err.contains("hangs in one life") && said.err.contains("run it again"), "{}", said.err);
    assert_eq!(room.names(), ["bringup-spins-watchdog-lockup.stream"]);
}

#[test]
fn interrupted_campaign_still_reports() {
    let room = Room::new();
    let inner = room.command("run edu --explore 1000000000 --strategy random --json");
    // What runs in the background may have inherited that signals are ignored.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(inner.get_program()).args(inner.get_args()).current_dir(room.path("."));
    command.args(["--time", "1h"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    // It listens from before the first life on.
    while !listens(child.id()) {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["finished"], &report["exit"]), (&json!(false), &json!(0)));
}

/// Whether the process has a handler for SIGINT.
fn listens(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
}

/// The string that a constant of a program is set to.
fn text_of(file: &syn::File, name: &str) -> String {
    let item = file.items.iter().find_map(|item| match item {
        syn::Item::Const(item) if item.ident == name => Some(&*item.expr),
        _ => None,
    });
    match item {
        Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. })) => text.value(),
        _ => panic!("{name} is no text"),
    }
}

#[test]
fn emitted_test_is_rust_and_holds_the_short_life() {
    let room = Room::at("explore-emit");
    let file = driver("forgets.rs");
    assert_eq!(room.bringup(&format!("run {file} --explore 40")).status, 1);
    let said = room.bringup("replay bringup-forgets-leak-memory.stream --emit-test emitted.rs");
    assert_eq!((said.status, &*said.out, &*said.err), (0, "", ""));
    let text = std::fs::read_to_string(room.path("emitted.rs")).unwrap();
    let printed = room.bringup("replay bringup-forgets-leak-memory.stream --emit-test");
    assert_eq!(printed.out, text);

    let parsed = syn::parse_file(&text).expect("it is Rust");
    let tests: Vec<_> = parsed
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Fn(f) => Some(f),
            _ => None,
        })
        .collect();
    assert_eq!(tests.len(), 1);
    assert_eq!(tests[0].sig.ident, "forgets_is_free_of_leak_memory");
    assert!(tests[0].attrs.iter().any(|attribute| attribute.path().is_ident("test")));
    let life = bringup_core::Stream::parse(&text_of(&parsed, "LIFE")).unwrap();
    assert_eq!(life.choices, [0, 1]);
    room.put("life.stream", life.to_string());
    assert!(room.bringup("replay life.stream").out.contains("error[leak-memory]"));
}

/// Builds the crate that an emitted test is for, with the test in it, and runs it.
#[test]
fn emitted_test_fails_for_the_same_reason() {
    if std::env::var_os("BRINGUP_TEST_EMITTED").is_none() {
        return crate::command::skip(
            "emitted_test_fails_for_the_same_reason",
            "BRINGUP_TEST_EMITTED is not set: it takes minutes",
        );
    }
    let room = Room::at("explore-emit-run");
    let file = driver("forgets.rs");
    assert_eq!(room.bringup(&format!("run {file} --explore 40")).status, 1);
    std::fs::create_dir_all(room.path("tests")).unwrap();
    assert_eq!(room.bringup("replay bringup-forgets-leak-memory.stream --emit-test tests/emitted.rs").status, 0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let root = root.display();
    room.put(
        "Cargo.toml",
        format!(
            "[package]\nname = \"forgets\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[lib]\npath = \"{file}\"\n\n[dependencies]\n\
             kernel = {{ path = \"{root}/drivers/kernel\" }}\npin-init = {{ path = \"{root}/drivers/pin-init\" }}\n\n\
             [dev-dependencies]\nbringup = {{ path = \"{root}/sim/cli\" }}\n\n[workspace]\n"
        ),
    );
    std::fs::copy(format!("{root}/Cargo.lock"), room.path("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--offline", "--test", "emitted"]).current_dir(room.path("."));
    let output = cargo.env("CARGO_TARGET_DIR", room.path("../explore-emit-target")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("forgets_is_free_of_leak_memory ... FAILED") && said.contains("error[leak-memory]"),
        "{said}"
    );
}
