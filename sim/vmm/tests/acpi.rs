//! The ACPI tables, taken apart again by code that knows nothing of how they were made.

use std::collections::BTreeMap;
use std::process::Command;

use bringup_core::{Bus, BusConfig, Ram};
use bringup_devices::registry;
use bringup_vmm::{acpi, layout};

/// The tables of a machine as its memory has them.
struct Memory {
    start: u64,
    bytes: Vec<u8>,
}

impl Memory {
    fn new(cpus: u8) -> Self {
        let tables = acpi::tables(cpus);
        Self { start: tables.address, bytes: tables.bytes }
    }

    fn at(&self, address: u64, len: usize) -> &[u8] {
        &self.bytes[(address - self.start) as usize..][..len]
    }

    /// The table at `address`, as long as its header says, with its checksum checked.
    fn table(&self, address: u64) -> &[u8] {
        let table = self.at(address, u32_at(self.at(address, 8), 4) as usize);
        assert_eq!(sum(table), 0, "{:?}", std::str::from_utf8(&table[..4]));
        table
    }

    /// All tables by signature, found from the root pointer on.
    fn all(&self) -> BTreeMap<String, &[u8]> {
        let root = self.at(layout::RSDP, 36);
        assert_eq!((&root[..8], root[15], sum(&root[..20]), sum(root)), (&b"RSD PTR "[..], 2, 0, 0));
        let xsdt = self.table(u64_at(root, 24));
        assert_eq!(&xsdt[..4], b"XSDT");
        let mut found: BTreeMap<String, &[u8]> = xsdt[36..]
            .chunks(8)
            .map(|entry| self.table(u64_at(entry, 0)))
            .map(|table| (String::from_utf8_lossy(&table[..4]).into_owned(), table))
            .collect();
        let fadt = found["FACP"];
        found.insert("DSDT".into(), self.table(u64_at(fadt, 140)));
        assert_eq!(u64::from(u32_at(fadt, 40)), u64_at(fadt, 140));
        let facs = u64::from(u32_at(fadt, 36));
        assert_eq!((facs % 64, u32_at(self.at(facs, 64), 4)), (0, 64));
        found.insert("FACS".into(), self.at(facs, 64));
        found
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..][..2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..][..4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..][..8].try_into().unwrap())
}

/// The entries of a MADT, each with its type and length at its start.
fn entries(madt: &[u8]) -> Vec<&[u8]> {
    let mut left = &madt[44..];
    let mut entries = Vec::new();
    while !left.is_empty() {
        let (entry, rest) = left.split_at(usize::from(left[1]));
        entries.push(entry);
        left = rest;
    }
    entries
}

#[test]
fn every_table_is_found_from_the_root_pointer_and_sums_to_zero() {
    let memory = Memory::new(4);
    let names: Vec<String> = memory.all().into_keys().collect();
    assert_eq!(names, ["APIC", "DSDT", "FACP", "FACS", "MCFG"]);
}

#[test]
fn the_tables_of_the_largest_machine_end_below_1_mib() {
    let tables = acpi::tables(u8::MAX);
    assert!(tables.address + (tables.bytes.len() as u64) < 0x10_0000);
    assert_eq!(tables.address % 16, 0);
}

#[test]
fn fixed_hardware_is_at_the_ports_of_the_machine() {
    let memory = Memory::new(1);
    let fadt = memory.all()["FACP"];
    assert_eq!((fadt.len(), fadt[8], fadt[131]), (276, 6, 5));
    assert_eq!((u16_at(fadt, 46), u32_at(fadt, 48)), (9, 0), "SCI; no SMI command");
    assert_eq!((u32_at(fadt, 56), u32_at(fadt, 64), u32_at(fadt, 76)), (0x600, 0x604, 0x608));
    assert_eq!((fadt[88], fadt[89], fadt[91]), (4, 2, 4));
    let flags = u32_at(fadt, 112);
    assert_eq!((flags >> 8 & 1, flags >> 10 & 1, flags >> 20 & 1), (1, 1, 0), "32-bit timer, reset, not reduced");
    // Reset: I/O space, 8 bits, one byte at 0xcf9, the value 6.
    assert_eq!((&fadt[116..120], u64_at(fadt, 120), fadt[128]), (&[1, 8, 0, 1][..], 0xcf9, 6));
    assert_eq!(u16_at(fadt, 109), 0b10_0101, "legacy devices, no keyboard controller, no VGA, no CMOS clock");
    for (at, width, port) in [(148, 32, 0x600), (172, 16, 0x604), (208, 32, 0x608)] {
        assert_eq!((fadt[at], fadt[at + 1], u64_at(fadt, at + 4)), (1, width, port));
    }
}

#[test]
fn every_processor_has_a_local_interrupt_controller_with_its_number() {
    let memory = Memory::new(254);
    let madt = memory.all()["APIC"];
    assert_eq!((u32_at(madt, 36), u32_at(madt, 40)), (0xfee0_0000, 1));
    let entries = entries(madt);
    let local: Vec<[u8; 8]> =
        entries.iter().filter(|entry| entry[0] == 0).map(|entry| (*entry).try_into().unwrap()).collect();
    let expected: Vec<[u8; 8]> = (0..254).map(|cpu| [0, 8, cpu, cpu, 1, 0, 0, 0]).collect();
    assert_eq!(local, expected);
}

#[test]
fn interrupt_lines_arrive_where_the_controllers_are_wired() {
    let memory = Memory::new(1);
    let entries = entries(memory.all()["APIC"]);
    let io: Vec<&&[u8]> = entries.iter().filter(|entry| entry[0] == 1).collect();
    assert_eq!(io, [&[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]]);
    let overrides: Vec<(u8, u32, u16)> = entries
        .iter()
        .filter(|entry| entry[0] == 2)
        .map(|entry| (entry[3], u32_at(entry, 4), u16_at(entry, 8)))
        .collect();
    assert_eq!(overrides, [(0, 2, 0), (9, 9, 13), (10, 10, 13), (11, 11, 13)]);
}

#[test]
fn configuration_space_in_memory_is_that_of_bus_0() {
    let memory = Memory::new(1);
    let mcfg = memory.all()["MCFG"];
    assert_eq!((mcfg.len(), u64_at(mcfg, 44), &mcfg[52..56]), (60, 0xe000_0000, &[0, 0, 0, 0][..]));
}

#[test]
fn pins_are_routed_to_the_line_that_firmware_writes() {
    let mut bus = Bus::new(BusConfig { windows: layout::windows(), ..BusConfig::quiet(Ram::new(1 << 20).unwrap()) });
    let mut lines = Vec::new();
    for number in 0..28 {
        let (_, device) = registry::parse("edu").unwrap();
        let id = bus.plug(&format!("edu{number}"), device).unwrap();
        let slot = (bus.requester_id(id) >> 3) as u8;
        lines.push((acpi::pin_line(slot), bus.config_read(id, 0x3c, 1)));
    }
    assert!(lines.iter().all(|(routed, written)| routed == written), "{lines:?}");
}

/// What `iasl` makes of the tables of a machine with so many processors: source by signature, and all that it printed.
fn disassemble(cpus: u8) -> Option<(BTreeMap<String, String>, String)> {
    if Command::new("iasl").arg("-v").output().is_err() {
        println!("SKIPPED: no iasl (Debian: acpica-tools), which disassembles the ACPI tables");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let memory = Memory::new(cpus);
    let mut sources = BTreeMap::new();
    let mut printed = String::new();
    for (signature, table) in memory.all() {
        let file = directory.path().join(&signature);
        std::fs::write(&file, table).unwrap();
        let output = Command::new("iasl").arg("-d").arg(&file).output().unwrap();
        printed += &String::from_utf8_lossy(&output.stdout);
        printed += &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}");
        sources.insert(signature, std::fs::read_to_string(file.with_extension("dsl")).unwrap());
    }
    // What was disassembled must compile again: then the byte code is well-formed and every name in it is defined.
    let output = Command::new("iasl").arg("-tc").arg(directory.path().join("DSDT.dsl")).output().unwrap();
    printed += &String::from_utf8_lossy(&output.stdout);
    printed += &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    Some((sources, printed))
}

#[test]
fn the_tables_disassemble_and_compile_without_a_complaint() {
    let Some((sources, printed)) = disassemble(3) else { return };
    let complaint = ["Error ", "Warning ", "Could not", "Invalid", "xception", "ncorrect"];
    let complaints: Vec<&str> =
        printed.lines().filter(|line| complaint.iter().any(|word| line.contains(word))).collect();
    assert!(complaints.is_empty(), "{printed}");
    assert!(printed.contains("0 Errors, 0 Warnings"), "{printed}");
    let doubtful = ["Invalid", "Unknown", "ncorrect"];
    for (signature, source) in &sources {
        assert!(!doubtful.iter().any(|word| source.contains(word)), "{signature}: {source}");
    }
    let dsdt = &sources["DSDT"];
    for part in [
        "Device (PCI0)",
        "\"PNP0A08\"",
        "\"PNP0A03\"",
        "\"PNP0C02\"",
        "\"PNP0501\"",
        "Device (C002)",
        "0x0000008000000000",
        "0x000000FFFFFFFFFF",
        "0xC0000000",
        "0xDFFFFFFF",
        "0xE0000000",
        "0x0CF8",
        "_S5",
    ] {
        assert!(dsdt.contains(part), "no {part} in {dsdt}");
    }
    assert!(!dsdt.contains("Device (C003)"));
    assert_eq!(dsdt.matches("0x001FFFFF").count(), 1, "the last slot's route");
}
