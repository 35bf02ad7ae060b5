//! The same stream gives the same trace, byte for byte: again, in another process, and from its recording.

use std::process::Command;

use bringup_bench::{Bench, Report};
use bringup_core::choice::{Replay, Seeded};
use bringup_core::Chooser;
use bringup_devices::Edu;

fn live(chooser: impl Chooser + 'static) -> Report {
    let bench = Bench::builder()
        .device("edu", Edu::default())
        .chooser(chooser)
        .trace(true)
        .build()
        .unwrap();
    if bench.load(&edu::BRINGUP_MODULE).is_ok() {
        let jobs: Vec<_> = (0..3)
            .map(|n| {
                bench.spawn("user", move || {
                    let file = bringup_bench::open("edu")?;
                    file.seek(n * 100);
                    file.write(&[n as u8; 64])?;
                    file.read(&mut [0; 64])
                })
            })
            .collect();
        for job in &jobs {
            let _ = bench.join(job);
        }
    }
    bench.finish()
}

fn trace(seed: u64) -> String {
    live(Seeded::new(seed)).trace_text()
}

#[test]
fn a_replayed_stream_gives_the_same_trace() {
    for seed in 0..60 {
        let first = live(Seeded::new(seed));
        let again = live(Replay::new(first.stream.choices.clone()));
        assert_eq!(first.trace_text(), again.trace_text(), "seed {seed}");
        assert_eq!(first.stream, again.stream);
    }
}

#[test]
fn seeds_lead_to_different_lives() {
    let traces: std::collections::BTreeSet<String> = (0..40).map(trace).collect();
    assert!(traces.len() > 20, "{} different traces of 40", traces.len());
}

/// Prints a trace when the test below runs this binary again; does nothing otherwise.
#[test]
fn child() {
    if let Ok(seed) = std::env::var("BRINGUP_TEST_SEED") {
        std::fs::write(
            std::env::var("BRINGUP_TEST_OUT").unwrap(),
            trace(seed.parse().unwrap()),
        )
        .unwrap();
    }
}

#[test]
fn another_process_at_another_address_gives_the_same_trace() {
    // A life on a thread of its own, after other lives: other addresses, other leftovers.
    let folder = std::env::temp_dir().join(format!("bringup-determinism-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // Lives in which something happens: in some, the first allocation fails.
    let seeds: Vec<u64> = (0..100)
        .filter(|seed| trace(*seed).lines().count() > 20)
        .take(3)
        .collect();
    assert_eq!(seeds.len(), 3);
    for seed in seeds {
        let out = folder.join(seed.to_string());
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child"])
            .env("BRINGUP_TEST_SEED", seed.to_string())
            .env("BRINGUP_TEST_OUT", &out)
            .output()
            .unwrap();
        assert!(status.status.success());
        let theirs = std::fs::read_to_string(&out).unwrap();
        assert_eq!(theirs, trace(seed), "seed {seed}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
