//! Linux's own samples, unedited from a kernel tree: they compile, print what they print on real Linux, and nothing is found.

use std::path::PathBuf;

use crate::command::{Room, Said, skip};

/// Names a kernel source tree.
const TREE: &str = "BRINGUP_KERNEL_TREE";

/// A sample, and what it is given.
struct Sample {
    path: PathBuf,
    device: &'static str,
}

impl Sample {
    /// `None`, and said so, where there is no kernel tree.
    fn find(name: &str, device: &'static str) -> Option<Self> {
        let Some(tree) = std::env::var_os(TREE).filter(|tree| !tree.is_empty()) else {
            skip(&format!("sample {name}"), &format!("{TREE} does not name a kernel source tree"));
            return None;
        };
        let path = PathBuf::from(tree).join("samples/rust").join(format!("{name}.rs"));
        // Whoever sets the variable wants the test.
        let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Some(Self { path, device })
    }

    /// Runs it once undisturbed and under thirty seeds; what the undisturbed run said.
    fn live(&self) -> Said {
        let room = Room::new();
        let command = format!("run {} {}", self.path.display(), self.device);
        for seed in 1..=30 {
            let said = room.bringup(&format!("{command} --seed {seed}"));
            assert_eq!((said.status, &*said.err), (0, ""), "seed {seed}: {}", said.out);
            assert!(said.out.contains("  findings    none\n"), "seed {seed}: {}", said.out);
        }
        let said = room.bringup(&command);
        assert_eq!((said.status, &*said.err), (0, ""), "{}", said.out);
        assert!(said.out.contains("  findings    none\n"), "{}", said.out);
        said
    }
}

/// The kernel log without its times.
fn log(said: &Said) -> Vec<&str> {
    let stamped = said.out.lines().filter(|line| line.starts_with('['));
    stamped.filter_map(|line| line.split_once("] ").map(|(_, text)| text)).collect()
}

#[test]
fn rust_minimal_says_its_numbers() {
    let Some(sample) = Sample::find("rust_minimal", "") else { return };
    let said = sample.live();
    let lines = [
        "Rust minimal sample (init)",
        "Am I built-in? false",
        "test_parameter: 1",
        "test_bool_parameter: false",
        "My numbers are [72, 108, 200]",
        "Rust minimal sample (exit)",
    ];
    assert_eq!(log(&said), lines.map(|line| format!("rust_minimal: {line}")));
}

#[test]
fn rust_driver_faux_greets_from_its_device() {
    let Some(sample) = Sample::find("rust_driver_faux", "") else { return };
    let said = sample.live();
    let lines = [
        "rust_faux_driver: Initialising Rust Faux Device Sample",
        "faux_driver rust-faux-sample-device: Hello from faux device!",
    ];
    assert_eq!(log(&said), lines);
}

#[test]
fn rust_driver_pci_finds_its_registers() {
    let Some(sample) = Sample::find("rust_driver_pci", "--device pci-testdev") else { return };
    let said = sample.live();
    let lines = [
        "pci-testdev data-match count: 1",
        "pci-testdev config space read8 rev ID: 0",
        "pci-testdev config space read16 vendor ID: 1b36",
        "pci-testdev config space read32 BAR 0: 80000000",
    ];
    // The driver's debugging lines are there only in a build for debugging.
    let told: Vec<&str> = log(&said).into_iter().filter(|line| line.contains("pci-testdev")).collect();
    assert_eq!(told, lines.map(|line| format!("rust_driver_pci 0000:00:03.0: {line}")));
}

#[test]
fn rust_dma_maps_its_pages_and_tells_every_segment() {
    let Some(sample) = Sample::find("rust_dma", "--device pci-testdev") else { return };
    let said = sample.live();
    let log = log(&said);
    let (head, segments) = log.split_at(2);
    let lines = ["Probe DMA test driver.", "Unload DMA test driver."];
    assert_eq!(head, lines.map(|line| format!("rust_dma 0000:00:03.0: {line}")));
    let expected = (0..segments.len()).map(|number| format!("rust_dma 0000:00:03.0: Entry[{number}]: DMA address: 0x"));
    assert!(!segments.is_empty());
    assert!(segments.iter().zip(expected).all(|(line, start)| line.starts_with(&start)), "{segments:?}");
}

#[test]
fn rust_misc_device_gives_back_what_was_written() {
    let Some(sample) = Sample::find("rust_misc_device", "") else { return };
    let said = sample.live();
    let lines = [
        "rust_misc_device: Initialising Rust Misc Device Sample",
        "misc rust-misc-device: Opening Rust Misc Device Sample",
        "misc rust-misc-device: Writing to Rust Misc Device Sample",
        "misc rust-misc-device: Reading from Rust Misc Device Sample",
        "misc rust-misc-device: IOCTLing Rust Misc Device Sample",
        "misc rust-misc-device: -> IOCTL not recognised: 0",
        "misc rust-misc-device: Exiting the Rust Misc Device Sample",
    ];
    assert_eq!(log(&said), lines);
    assert!(said.out.contains("  /dev/rust-misc-device wrote 256 bytes; read 256 bytes, the same\n"), "{}", said.out);
}

#[test]
fn rust_debugfs_shows_its_files() {
    let Some(sample) = Sample::find("rust_debugfs", "--device acpi,hid=LNUXBEEF,compatible=sample-debugfs") else {
        return;
    };
    let said = sample.live();
    assert!(said.out.contains("LNUXBEEF:00  acpi:LNUXBEEF  \\_SB_.D000  bound to rust_debugfs\n"), "{}", said.out);
    for (file, content) in [
        ("compatible", "\"\\\"sample-debugfs\\\"\""),
        ("counter", "\"91\""),
        ("pair", "\"Inner { x: 10, y: 42 }\""),
        ("array_blob", "\"blob\""),
    ] {
        let row = format!("debugfs/sample_debugfs/{file}");
        let found = said.out.lines().find_map(|line| line.trim_start().strip_prefix(&row));
        assert_eq!(found.map(str::trim), Some(content), "{}", said.out);
    }
}
