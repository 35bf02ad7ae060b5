//! ACPI tables: how a kernel finds processors, interrupt controllers, the PCI bus and the way to power off.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, PackageBuilder,
    Path, ResourceTemplate, Scope,
};
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};

use crate::layout::{self, line, port};

/// All tables of a machine, as one piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Where they go: physical, in bytes; the root pointer (RSDP) is what comes first.
    pub address: u64,
    /// What goes there.
    pub bytes: Vec<u8>,
}

/// The tables of a machine with processors 0 to `cpus - 1`, whose local interrupt controllers have these same ids.
///
/// They end below 1 MiB whatever the number is. The interrupt controllers must be wired as they say: the timer (GSI 0 of KVM) to pin
/// [`line::TIMER`] of the I/O interrupt controller, every other line to the pin of its own number.
#[must_use]
pub fn tables(cpus: u8) -> Tables {
    let mut tables = Tables { address: layout::RSDP, bytes: vec![0; Rsdp::len()] };
    let dsdt = tables.add(dsdt(cpus).as_slice());
    let facs = tables.add(&bytes_of(&FACS::new()));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    for table in [bytes_of(&fadt(facs, dsdt)), madt(cpus).as_slice().to_vec(), bytes_of(&mcfg())] {
        xsdt.add_entry(tables.add(&table));
    }
    let xsdt = tables.add(&bytes_of(&xsdt));
    let root = bytes_of(&Rsdp::new(OEM, xsdt));
    tables.bytes[..root.len()].copy_from_slice(&root);
    tables
}

/// The line that pin A of the function in `slot` of bus 0 is wired to: what firmware ([`bringup_core::Bus::plug`]) writes into
/// its interrupt line register.
#[must_use]
pub const fn pin_line(slot: u8) -> u32 {
    // The first device is in slot 3 and has the first line.
    line::PINS[(slot as usize + 1) % line::PINS.len()]
}

/// Who made the tables, as the headers have it.
const OEM: [u8; 6] = *b"BRNGUP";
const OEM_TABLE: [u8; 8] = *b"BRINGUP ";
const OEM_REVISION: u32 = 1;

/// Length of the header that every table but RSDP and FACS begins with (ACPI 6.5 §5.2.6), in bytes.
const HEADER: u32 = 36;

/// Slots of a PCI bus.
const SLOTS: u8 = 32;

impl Tables {
    /// Puts a table behind the others, at an address that suits each kind (FACS wants 64 bytes: ACPI 6.5 §5.2.10).
    fn add(&mut self, table: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0);
        let at = self.address + self.bytes.len() as u64;
        self.bytes.extend_from_slice(table);
        at
    }
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn register(width: u8, access: AccessSize, address: u16) -> GAS {
    GAS::new(Space::SystemIo, width, 0, access, address.into())
}

/// Fixed hardware (ACPI 6.5 §5.2.9). There is no SMI command: the machine is in ACPI mode from the start.
fn fadt(facs: u64, dsdt: u64) -> FADT {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .firmware_ctrl_32(facs as u32)
        .preferred_pm_profile(PmProfile::Unspecified)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // No fixed buttons and no wake-up by a clock: these three say that they are elsewhere, if anywhere.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    // Kernels complain if one of the two is missing or they differ.
    fadt.dsdt = (dsdt as u32).into();
    fadt.x_dsdt = dsdt.into();
    fadt.sci_int = (line::SCI as u16).into();
    fadt.pm1a_evt_blk = u32::from(port::PM1_EVENT).into();
    fadt.pm1_evt_len = 4;
    fadt.x_pm1a_evt_blk = register(32, AccessSize::WordAccess, port::PM1_EVENT);
    fadt.pm1a_cnt_blk = u32::from(port::PM1_CONTROL).into();
    fadt.pm1_cnt_len = 2;
    fadt.x_pm1a_cnt_blk = register(16, AccessSize::WordAccess, port::PM1_CONTROL);
    fadt.pm_tmr_blk = u32::from(port::PM_TIMER).into();
    fadt.pm_tmr_len = 4;
    fadt.x_pm_tmr_blk = register(32, AccessSize::DwordAccess, port::PM_TIMER);
    fadt.reset_reg = register(8, AccessSize::ByteAccess, port::RESET);
    fadt.reset_value = layout::RESET_VALUE;
    // Latencies above 100 and 1000 µs mean that there is no C2 and no C3.
    fadt.p_lvl2_lat = 0xfff.into();
    fadt.p_lvl3_lat = 0xfff.into();
    fadt.iapc_boot_arch = (boot::LEGACY_DEVICES | boot::NO_VGA | boot::NO_CMOS_CLOCK).into();
    fadt.finalize()
}

/// Bits of the boot architecture flags (ACPI 6.5 §5.2.9.3).
mod boot {
    pub(super) const LEGACY_DEVICES: u16 = 1 << 0;
    pub(super) const NO_VGA: u16 = 1 << 2;
    pub(super) const NO_CMOS_CLOCK: u16 = 1 << 5;
}

/// Interrupt controllers (ACPI 6.5 §5.2.12).
fn madt(cpus: u8) -> Sdt {
    // Bit 0 of the flags: there is a pair of 8259s too. (The crate's builder cannot say so.)
    const BOTH_8259: u32 = 1;
    let mut madt = Sdt::new(*b"APIC", HEADER, 5, OEM, OEM_TABLE, OEM_REVISION);
    let mut body = [layout::LAPIC.to_le_bytes(), BOTH_8259.to_le_bytes()].concat();
    for cpu in 0..cpus {
        ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled).to_aml_bytes(&mut body);
    }
    IoApic::new(0, layout::IOAPIC, 0).to_aml_bytes(&mut body);
    override_line(&mut body, 0, line::TIMER, CONFORMS);
    for line in [line::SCI].into_iter().chain(line::PINS) {
        override_line(&mut body, line as u8, line, LEVEL_HIGH);
    }
    // Pin LINT1 of every local interrupt controller takes the NMI (§5.2.12.7).
    body.extend_from_slice(&[4, 6, 0xff, 0, 0, 1]);
    madt.append_slice(&body);
    madt
}

/// Polarity and trigger of an override (ACPI 6.5 §5.2.12.5): those of the ISA bus.
const CONFORMS: u16 = 0;
/// Active high, level-triggered.
const LEVEL_HIGH: u16 = 0b1101;

/// ISA interrupt `from` is global interrupt `to` (ACPI 6.5 §5.2.12.5).
fn override_line(body: &mut Vec<u8>, from: u8, to: u32, flags: u16) {
    body.extend_from_slice(&[2, 10, 0, from]);
    body.extend_from_slice(&to.to_le_bytes());
    body.extend_from_slice(&flags.to_le_bytes());
}

/// Where configuration space is in memory (PCI Firmware 3.3 §4.1.2).
fn mcfg() -> MCFG {
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(layout::ECAM.start, 0, 0, 0);
    mcfg
}

/// What is not fixed: buses, devices and their resources.
fn dsdt(cpus: u8) -> Sdt {
    let mut dsdt = Sdt::new(*b"DSDT", HEADER, 2, OEM, OEM_TABLE, OEM_REVISION);
    let mut body = Vec::new();
    let (bridge, board) = (host_bridge(), board());
    let ports = [serial_port("COM1", 1, port::COM1, line::COM1), serial_port("COM2", 2, port::COM2, line::COM2)];
    let processors: Vec<Raw> = (0..cpus).map(processor).collect();
    let mut children: Vec<&dyn Aml> = vec![&bridge, &board, &ports[0], &ports[1]];
    children.extend(processors.iter().map(|processor| -> &dyn Aml { processor }));
    Scope::new(Path::new("\\_SB_"), children).to_aml_bytes(&mut body);
    // Sleep type for PM1a control, for PM1b control, and two reserved ones (§7.4.2).
    let off = layout::SLEEP_TYPE_OFF;
    Name::new(Path::new("_S5_"), &Package::new(vec![&off, &off, &aml::ZERO, &aml::ZERO])).to_aml_bytes(&mut body);
    dsdt.append_slice(&body);
    dsdt
}

/// A piece of AML that is ready.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

fn device(name: &str, children: Vec<&dyn Aml>) -> Raw {
    Raw(bytes_of(&Device::new(Path::new(name), children)))
}

fn name(name: &str, value: &dyn Aml) -> Name {
    Name::new(Path::new(name), value)
}

/// What a device decodes and interrupts with (§6.2.2).
fn resources(descriptors: Vec<&dyn Aml>) -> Name {
    name("_CRS", &ResourceTemplate::new(descriptors))
}

/// The root of the PCI bus: PCI Express, that works for software which knows only PCI too.
fn host_bridge() -> Raw {
    let (memory32, memory64, io) = (layout::MEMORY32, layout::MEMORY64, layout::IO);
    let windows = resources(vec![
        &AddressSpace::<u16>::new_bus_number(0, 0),
        &IO::new(port::CONFIG_ADDRESS, port::CONFIG_ADDRESS, 1, 8),
        &AddressSpace::<u16>::new_io(io.start as u16, (io.end - 1) as u16, None),
        &AddressSpace::<u32>::new_memory(
            AddressSpaceCacheable::NotCacheable,
            true,
            memory32.start as u32,
            (memory32.end - 1) as u32,
            None,
        ),
        &AddressSpace::<u64>::new_memory(
            AddressSpaceCacheable::NotCacheable,
            true,
            memory64.start,
            memory64.end - 1,
            None,
        ),
    ]);
    device(
        "PCI0",
        vec![
            &name("_HID", &EISAName::new("PNP0A08")),
            &name("_CID", &EISAName::new("PNP0A03")),
            &name("_SEG", &aml::ZERO),
            &name("_BBN", &aml::ZERO),
            &name("_UID", &aml::ZERO),
            &windows,
            &name("_PRT", &routes()),
        ],
    )
}

/// Which line pin A of each slot is wired to (§6.2.13). Functions have no other pins.
fn routes() -> PackageBuilder {
    let mut routes = PackageBuilder::new();
    for slot in 0..SLOTS {
        // All functions of the slot, pin A, no interrupt link device.
        let address = u32::from(slot) << 16 | 0xffff;
        let gsi = pin_line(slot);
        routes.add_element(&Package::new(vec![&address, &aml::ZERO, &aml::ZERO, &gsi]));
    }
    routes
}

/// What belongs to nobody else. Linux uses the ECAM only if it is reserved in this way.
fn board() -> Raw {
    let ecam = layout::ECAM;
    let power = port::PM_TIMER + 4 - port::PM1_EVENT;
    let resources = resources(vec![
        &Memory32Fixed::new(true, ecam.start as u32, (ecam.end - ecam.start) as u32),
        &IO::new(port::PM1_EVENT, port::PM1_EVENT, 1, power as u8),
    ]);
    device("MRES", vec![&name("_HID", &EISAName::new("PNP0C02")), &resources])
}

fn serial_port(path: &str, number: u8, base: u16, line: u32) -> Raw {
    let resources = resources(vec![&IO::new(base, base, 1, 8), &Interrupt::new(true, true, false, false, line)]);
    device(path, vec![&name("_HID", &EISAName::new("PNP0501")), &name("_UID", &number), &resources])
}

/// A processor, under the number that the MADT gives it.
fn processor(number: u8) -> Raw {
    device(&format!("C{number:03X}"), vec![&name("_HID", &"ACPI0007"), &name("_UID", &number)])
}
