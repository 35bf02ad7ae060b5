//! The ACPI tables that the program needs (ACPI 6.5 §5.2), found and checked: RSDP, XSDT, FADT, MADT, MCFG, and the \_S5
//! package of the DSDT.

use crate::Memory;

/// The most bytes of a table that are looked at.
const LONGEST: u64 = 1 << 20;
/// The most CPUs that are kept.
pub const CPUS: usize = 256;

/// Where a table is, and how long it says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Physical address of its header.
    pub address: u64,
    /// With its header, in bytes.
    pub len: u64,
}

/// What the tables say.
#[derive(Clone, Debug)]
pub struct Acpi {
    /// Whether there is an XSDT, and not only an RSDT.
    pub extended: bool,
    /// How many tables it lists.
    pub tables: usize,
    /// Physical address of ECAM for segment 0, and its first and last bus.
    pub ecam: Option<(u64, u8, u8)>,
    /// Port of PM1a's event block.
    pub pm1a_event: u16,
    /// Port of PM1a's control register.
    pub pm1a_control: u16,
    /// Port of the PM timer.
    pub timer: u16,
    /// Port and value of the reset register, where there is one in I/O space.
    pub reset: Option<(u16, u8)>,
    /// SLP_TYP of \_S5 for PM1a.
    pub sleep5: Option<u8>,
    /// System control interrupt.
    pub sci: u16,
    /// Physical address of the local APIC.
    pub lapic: u64,
    /// Physical address and first GSI of the first IOAPIC.
    pub ioapic: Option<(u64, u32)>,
    /// APIC ids of the CPUs that can be used, in the MADT's order.
    cpus: [u8; CPUS],
    cpu_count: usize,
}

impl Acpi {
    /// APIC ids of the CPUs that can be used.
    #[must_use]
    pub fn cpus(&self) -> &[u8] {
        self.cpus.get(..self.cpu_count).unwrap_or(&[])
    }

    /// Follows the RSDP at `rsdp`.
    ///
    /// # Errors
    /// One line that says which table is wrong, and what with it.
    pub fn read(memory: &impl Memory, rsdp: u64) -> Result<Self, &'static str> {
        let mut signature = [0; 8];
        if !memory.read(rsdp, &mut signature) || &signature != b"RSD PTR " {
            return Err("the RSDP does not begin with its signature");
        }
        if sum(memory, rsdp, 20) != Some(0) {
            return Err("the RSDP's first checksum is wrong");
        }
        // Revision 0 is ACPI 1.0's, which has an RSDT of 32-bit addresses (QEMU's q35 has that one).
        let extended = memory.u8(rsdp + 15).is_some_and(|revision| revision >= 2);
        if extended && sum(memory, rsdp, 36) != Some(0) {
            return Err("the RSDP's second checksum is wrong");
        }
        let (list, width) = if extended {
            let list = memory.u64(rsdp + 24).ok_or("the RSDP cannot be read")?;
            (table(memory, list, b"XSDT")?.ok_or("the RSDP's XSDT has another signature")?, 8)
        } else {
            let list = memory.u32(rsdp + 16).ok_or("the RSDP cannot be read")?;
            (table(memory, list.into(), b"RSDT")?.ok_or("the RSDP's RSDT has another signature")?, 4)
        };
        let mut acpi = Self {
            extended,
            tables: 0,
            ecam: None,
            pm1a_event: 0,
            pm1a_control: 0,
            timer: 0,
            reset: None,
            sleep5: None,
            sci: 0,
            lapic: 0,
            ioapic: None,
            cpus: [0; CPUS],
            cpu_count: 0,
        };
        let mut entry = list.address + 36;
        let mut has_fadt = false;
        while entry + width <= list.address + list.len {
            let address = memory.number(entry, width as usize).ok_or("the XSDT cannot be read")?;
            acpi.tables += 1;
            if let Some(found) = table(memory, address, b"FACP")? {
                has_fadt = true;
                acpi.fadt(memory, found)?;
            } else if let Some(found) = table(memory, address, b"APIC")? {
                acpi.madt(memory, found).ok_or("the MADT cannot be read")?;
            } else if let Some(found) = table(memory, address, b"MCFG")? {
                acpi.mcfg(memory, found);
            }
            entry += width;
        }
        if has_fadt { Ok(acpi) } else { Err("the XSDT lists no FADT") }
    }

    fn mcfg(&mut self, memory: &impl Memory, found: Table) {
        let mut at = found.address + 44;
        while at + 16 <= found.address + found.len {
            if let (Some(base), Some(0), Some(first), Some(last)) =
                (memory.u64(at), memory.number(at + 8, 2), memory.u8(at + 10), memory.u8(at + 11))
            {
                self.ecam = Some((base, first, last));
            }
            at += 16;
        }
    }

    fn fadt(&mut self, memory: &impl Memory, found: Table) -> Result<(), &'static str> {
        let short = "the FADT is shorter than its fields";
        let field = |offset: u64, width: usize| {
            if offset + width as u64 > found.len { None } else { memory.number(found.address + offset, width) }
        };
        let port = |offset: u64| field(offset, 4).and_then(|port| u16::try_from(port).ok()).ok_or(short);
        self.sci = field(46, 2).and_then(|sci| u16::try_from(sci).ok()).ok_or(short)?;
        self.pm1a_event = port(56)?;
        self.pm1a_control = port(64)?;
        self.timer = port(76)?;
        let flags = field(112, 4).ok_or(short)?;
        if flags & (1 << 10) != 0 && field(116, 1) == Some(1) {
            let port = field(120, 8).and_then(|port| u16::try_from(port).ok());
            let value = field(128, 1).and_then(|value| u8::try_from(value).ok());
            self.reset = port.zip(value);
        }
        let dsdt = field(140, 8).filter(|address| *address != 0).or_else(|| field(40, 4)).ok_or(short)?;
        let dsdt = table(memory, dsdt, b"DSDT")?.ok_or("the FADT's DSDT has another signature")?;
        self.sleep5 = sleep5(memory, dsdt);
        Ok(())
    }

    fn madt(&mut self, memory: &impl Memory, found: Table) -> Option<()> {
        self.lapic = u64::from(memory.u32(found.address + 36)?);
        let mut at = found.address + 44;
        while at + 2 <= found.address + found.len {
            let (kind, len) = (memory.u8(at)?, memory.u8(at + 1)?);
            match kind {
                0 if memory.u32(at + 4)? & 1 != 0 => {
                    if let Some(place) = self.cpus.get_mut(self.cpu_count) {
                        *place = memory.u8(at + 3)?;
                        self.cpu_count += 1;
                    }
                }
                1 if self.ioapic.is_none() => {
                    self.ioapic = Some((u64::from(memory.u32(at + 4)?), memory.u32(at + 8)?));
                }
                5 => self.lapic = memory.u64(at + 4)?,
                _ => {}
            }
            at += u64::from(len.max(2));
        }
        Some(())
    }
}

/// The table at `address` when it has this signature: its checksum has to be right then.
fn table(memory: &impl Memory, address: u64, signature: &[u8; 4]) -> Result<Option<Table>, &'static str> {
    let mut found = [0; 4];
    if !memory.read(address, &mut found) {
        return Err("a table that the XSDT or FADT names is not in memory");
    }
    if &found != signature {
        return Ok(None);
    }
    let len = memory.u32(address + 4).map(u64::from).ok_or("a table's header cannot be read")?;
    if !(36..=LONGEST).contains(&len) || sum(memory, address, len) != Some(0) {
        return Err(match signature {
            b"XSDT" => "the XSDT's checksum is wrong",
            b"RSDT" => "the RSDT's checksum is wrong",
            b"FACP" => "the FADT's checksum is wrong",
            b"APIC" => "the MADT's checksum is wrong",
            b"MCFG" => "the MCFG's checksum is wrong",
            _ => "the DSDT's checksum is wrong",
        });
    }
    Ok(Some(Table { address, len }))
}

fn sum(memory: &impl Memory, address: u64, len: u64) -> Option<u8> {
    let mut sum = 0_u8;
    let mut chunk = [0; 64];
    let mut done = 0;
    while done < len {
        let part = chunk.get_mut(..usize::try_from((len - done).min(64)).ok()?)?;
        if !memory.read(address.checked_add(done)?, part) {
            return None;
        }
        sum = part.iter().fold(sum, |sum, byte| sum.wrapping_add(*byte));
        done += part.len() as u64;
    }
    Some(sum)
}

/// The first number of `Name (_S5, Package () { … })`, wherever in the AML it stands (ACPI 6.5 §7.4.2, §20.2).
fn sleep5(memory: &impl Memory, dsdt: Table) -> Option<u8> {
    let end = dsdt.address + dsdt.len;
    let mut at = dsdt.address + 36;
    while at + 8 <= end {
        if memory.u32(at)? == u32::from_le_bytes(*b"_S5_") && memory.u8(at + 4)? == 0x12 {
            // The package's length takes one byte and as many more as its two upper bits say; a count follows.
            let mut number = at + 5;
            number += 1 + u64::from(memory.u8(number)? >> 6);
            number += 1;
            return match memory.u8(number)? {
                value @ (0 | 1) => Some(value),
                0x0a => memory.u8(number + 1),
                _ => None,
            };
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::pretend::Pieces;
    use std::vec;
    use std::vec::Vec;

    fn sdt(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 36];
        bytes[..4].copy_from_slice(signature);
        bytes.extend(body);
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[9] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes
    }

    fn rsdp() -> Vec<u8> {
        let mut bytes = vec![0; 36];
        bytes[..8].copy_from_slice(b"RSD PTR ");
        bytes[15] = 2;
        bytes[24..32].copy_from_slice(&0x1000_u64.to_le_bytes());
        bytes[8] = bytes[..20].iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes[32] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes
    }

    fn fadt() -> Vec<u8> {
        let mut body = vec![0; 244 - 36];
        for (offset, value) in [(40_usize, 0x5000_u32), (56, 0x600), (64, 0x604), (76, 0x608), (112, 1 << 10)] {
            body[offset - 36..offset - 32].copy_from_slice(&value.to_le_bytes());
        }
        body[46 - 36] = 9;
        body[116 - 36] = 1;
        body[120 - 36..122 - 36].copy_from_slice(&0xcf9_u16.to_le_bytes());
        body[128 - 36] = 6;
        sdt(b"FACP", &body)
    }

    fn machine(fadt: Vec<u8>) -> Pieces {
        let pointers: Vec<u8> = [0x2000_u64, 0x3000, 0x4000].iter().flat_map(|at| at.to_le_bytes()).collect();
        let mut madt = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
        madt.extend([0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 4, 1, 0, 0, 0, 0, 8, 2, 5, 0, 0, 0, 0]);
        madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
        let mut mcfg = vec![0; 8];
        mcfg.extend(0xe000_0000_u64.to_le_bytes());
        mcfg.extend([0, 0, 0, 0, 0, 0, 0, 0]);
        let dsdt = sdt(b"DSDT", &[8, b'_', b'S', b'5', b'_', 0x12, 6, 4, 0x0a, 5, 0, 0, 0]);
        Pieces::default()
            .with(0xe_0000, rsdp())
            .with(0x1000, sdt(b"XSDT", &pointers))
            .with(0x2000, fadt)
            .with(0x3000, sdt(b"APIC", &madt))
            .with(0x4000, sdt(b"MCFG", &mcfg))
            .with(0x5000, dsdt)
    }

    #[test]
    fn tables_are_followed_from_the_rsdp() {
        let acpi = Acpi::read(&machine(fadt()), 0xe_0000).unwrap();
        assert!(acpi.extended);
        assert_eq!(acpi.tables, 3);
        assert_eq!((acpi.pm1a_event, acpi.pm1a_control, acpi.timer, acpi.sci), (0x600, 0x604, 0x608, 9));
        assert_eq!(acpi.reset, Some((0xcf9, 6)));
        assert_eq!(acpi.sleep5, Some(5));
        assert_eq!(acpi.ecam, Some((0xe000_0000, 0, 0)));
        assert_eq!(acpi.lapic, 0xfee0_0000);
        assert_eq!(acpi.ioapic, Some((0xfec0_0000, 0)));
        assert_eq!(acpi.cpus(), [0, 4]);
    }

    #[test]
    fn one_flipped_bit_is_a_wrong_checksum() {
        let mut bad = fadt();
        bad[60] ^= 1;
        assert_eq!(Acpi::read(&machine(bad), 0xe_0000).unwrap_err(), "the FADT's checksum is wrong");
    }

    #[test]
    fn an_rsdp_that_is_not_one_is_refused() {
        assert!(Acpi::read(&machine(fadt()), 0x1000).unwrap_err().contains("signature"));
    }
}
