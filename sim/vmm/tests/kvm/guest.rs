//! The bare guest program in the machine: PCI by both mechanisms, BARs moved, edu, virtio through a ring of its own and through the
//! `virtio-drivers` crate, interrupts through its own table, several CPUs.

use bringup_devices::registry;
use bringup_vmm::{End, Outcome};

use crate::program::program;
use crate::stand::Stand;

const DEVICES: [&str; 6] = ["edu", "pci-testdev", "virtio-blk", "virtio-net", "virtio-rng", "virtio-console"];

fn stand(words: &str, devices: &[&str]) -> Stand {
    with(Stand::booting(program(), words), devices)
}

fn with(stand: Stand, devices: &[&str]) -> Stand {
    devices.iter().fold(stand, |stand, spec| {
        let (name, device) = registry::parse(spec).unwrap();
        stand.boxed(&name, device)
    })
}

/// Runs the program, and gives the lines that it said.
fn run(stand: Stand) -> Option<(Vec<String>, Outcome)> {
    let console = stand.console.clone();
    let outcome = stand.run()?;
    Some((console.text().lines().map(|line| line.trim_end().to_owned()).collect(), outcome))
}

fn assert_well(lines: &[String]) {
    let whole = lines.join("\n");
    assert!(lines.last().is_some_and(|line| line == "done") && !whole.contains("FAILED"), "{whole}");
}

#[test]
fn every_step_of_the_guest_program_is_well_also_those_of_a_driver_that_nobody_here_wrote() {
    let Some((lines, outcome)) = run(stand("", &DEVICES)) else { return };
    assert_well(&lines);
    assert_eq!(outcome.end, End::PowerOff);
    let steps = [
        "pci.ecam",
        "move.below",
        "move.above",
        "edu.msi",
        "edu.intx",
        "blk.msix",
        "blk.masked",
        "crate.blk",
        "crate.net",
        "crate.rng",
        "crate.console",
    ];
    for step in steps {
        assert!(lines.iter().any(|line| line.starts_with(&format!("ok {step}"))), "{step} did not run: {lines:#?}");
    }
    assert!(outcome.rings > 0, "no doorbell rang without an exit");
    assert!(outcome.interrupts.iter().any(|count| count.messages > 0 && count.pins > 0 && count.lost == 0));
}

#[test]
fn no_checker_objects_to_what_the_guest_program_does_rightly() {
    let Some((lines, outcome)) = run(stand("polite tests=pci,move,edu,testdev,blk", &DEVICES)) else { return };
    assert_well(&lines);
    assert!(outcome.bus.fabric.findings.is_empty(), "{:#?}", outcome.bus.fabric.findings);
}

#[test]
fn guest_program_sees_the_same_machine_with_doorbells_that_stop_it_more_cpus_and_memory_above_4_gib() {
    let big = Stand::booting(program(), "polite tests=pci,blk smp").memory(4 << 30).cpus(3).doorbells(false);
    let big = with(big, &DEVICES);
    let Some((lines, outcome)) = run(big) else { return };
    assert_well(&lines);
    assert_eq!(outcome.rings, 0);
    for said in ["ok smp.start: 3 CPUs", "ok blk.high"] {
        assert!(lines.iter().any(|line| line.starts_with(said)), "{said}: {lines:#?}");
    }
}

#[test]
fn devices_with_files_of_the_host_work_under_the_filters() {
    let room = tempfile::tempdir().unwrap();
    let path = |name: &str| room.path().join(name).display().to_string();
    std::fs::write(path("disk"), vec![0; 4 << 20]).unwrap();
    std::fs::write(path("in"), "typed").unwrap();
    let blk = format!("virtio-blk,image={}", path("disk"));
    let net = format!("virtio-net,pcap-out={}", path("packets.pcapng"));
    let console = format!("virtio-console,input={},output={}", path("in"), path("out"));
    let Some((lines, outcome)) = run(stand("", &[&blk, &net, &console, "virtio-rng", "edu"])) else { return };
    assert_well(&lines);
    assert_eq!(outcome.end, End::PowerOff);
    assert!(std::fs::read(path("disk")).unwrap().iter().any(|byte| *byte != 0), "nothing was written");
    assert!(std::fs::metadata(path("packets.pcapng")).unwrap().len() > 100);
}

#[test]
fn dma_without_bus_mastering_is_found_behind_a_real_trap() {
    let Some((lines, outcome)) = run(stand("tests=edu", &["edu"])) else { return };
    assert_well(&lines);
    let rules: Vec<_> = outcome.bus.fabric.findings.iter().map(|finding| finding.rule.id).collect();
    assert_eq!(rules, ["dma-no-bus-master"]);
}

#[test]
fn two_devices_of_one_kind_are_two_devices() {
    let Some((lines, _)) = run(stand("polite tests=pci,blk", &["virtio-blk", "virtio-blk,size=1M"])) else {
        return;
    };
    assert_well(&lines);
    let found = lines.iter().filter(|line| line.contains("1af4:1042")).count();
    assert_eq!(found, 2, "{lines:#?}");
}

#[test]
fn hostile_guest_ends_its_machine_in_peace() {
    for seed in 1..4 {
        let Some((lines, outcome)) = run(stand(&format!("fuzz={seed},400"), &DEVICES)) else { return };
        assert_eq!((lines.last().map(String::as_str), outcome.end), (Some("done"), End::PowerOff), "seed {seed}");
    }
}

#[test]
fn echo_and_the_second_port_carry_what_is_said() {
    use std::io::Write as _;
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"over\n").unwrap();
    let Some((lines, outcome)) = run(stand("echo com2=status-7", &[]).input(reader.into())) else { return };
    assert_well(&lines);
    assert!(lines.iter().any(|line| line.contains("over")), "{lines:#?}");
    assert_eq!(String::from_utf8_lossy(&outcome.said).trim_end(), "status-7");
}
