//! The seeds of the fuzz targets: written here, checked to be what is committed, and run on stable.

#[path = "../../../fuzz/src/edu_targets.rs"]
mod edu_targets;

use std::path::{Path, PathBuf};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target)
}

/// Inputs with a purpose: name and bytes.
fn device_seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("honest", vec![15]),
        ("gone_from_the_start", vec![0, 2, 2, 2, 2, 2, 2, 2, 2]),
        ("gone_after_probe", [vec![6], vec![2; 60]].concat()),
        ("zeros", [vec![4], vec![1; 60]].concat()),
        (
            "bytes",
            [
                vec![5],
                (0..200_u8).map(|n| n.wrapping_mul(37) | 3).collect(),
            ]
            .concat(),
        ),
        ("no_memory", vec![3, 0xff, 0xff, 0xff, 0xff]),
    ]
}

fn action(kind: u8, register: u8, value: u32) -> Vec<u8> {
    [vec![kind, register], value.to_le_bytes().to_vec()].concat()
}

fn driver_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let factorial = [
        action(1, 0x08, 5),
        action(9, 0, 200),
        action(0, 0x08, 0),
        action(0, 0x20, 0),
    ]
    .concat();
    let there = [
        action(6, 0, 0x0001_0000),
        action(8, 0, 200_000_000),
        action(22, 6, 0x0001_0000),
        action(8, 0, 200_000_000),
    ];
    let beyond = [action(6, 0, 0xffff_ffff), action(8, 0, 200_000_000)];
    let config = [
        action(5, 2, 0x0000_0004),
        action(5, 2, 0xffff_ffff),
        action(4, 1, 299),
    ];
    vec![
        ("factorial", factorial),
        ("transfers", there.concat()),
        ("beyond", beyond.concat()),
        ("config", config.concat()),
    ]
}

fn check(target: &str, seeds: Vec<(&'static str, Vec<u8>)>, run: fn(&[u8])) {
    for (name, bytes) in seeds {
        let path = folder(target).join(name);
        if std::env::var_os("BRINGUP_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(folder(target)).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let committed = std::fs::read(&path).unwrap_or_default();
        assert_eq!(
            committed,
            bytes,
            "{} is out of date: run this test with BRINGUP_WRITE_SEEDS=1",
            path.display()
        );
        run(&bytes);
    }
}

#[test]
fn hostile_device_seeds_run_clean() {
    check(
        "edu_hostile_device",
        device_seeds(),
        edu_targets::hostile_device,
    );
}

#[test]
fn hostile_driver_seeds_run_clean() {
    check(
        "edu_hostile_driver",
        driver_seeds(),
        edu_targets::hostile_driver,
    );
}
