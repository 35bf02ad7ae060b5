//! Puts a kernel into memory, with all that it is to find there, and says how its first vCPU starts.
//!
//! Two protocols: PVH (the kernel's 32-bit entry, in a note of its ELF file) and Linux' 64-bit one
//! (Documentation/arch/x86/boot.rst), which a bzImage speaks and an ELF file without the note is taken to.

mod linux;
mod pvh;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use bringup_core::Ram;
use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{self, KernelLoader, KernelLoaderResult, bzimage, elf};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::acpi::Tables;
use crate::error::Error;
use crate::layout;

/// How the first vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// In protected mode without paging, at this address, with [`layout::START_INFO`] in EBX.
    Pvh(u64),
    /// In long mode, at this address, with [`layout::ZERO_PAGE`] in RSI.
    Linux(u64),
}

/// What is put into memory.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initrd: &'a [u8],
    pub(crate) command_line: &'a str,
    /// Firmware's tables.
    pub(crate) tables: &'a Tables,
}

/// A part of the memory map that software is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    at: u64,
    len: u64,
    usable: bool,
}

/// Where the first file system lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Initrd {
    at: u64,
    len: u64,
}

/// Loads everything.
pub(crate) fn load(images: &Images<'_>, ram: &Ram) -> Result<Start, Error> {
    let memory = ram.memory();
    memory
        .write_slice(&images.tables.bytes, GuestAddress(images.tables.address))
        .map_err(|_| Error::Memory("the memory ends below the firmware's tables; a machine needs 2 MiB".into()))?;
    let line = images.command_line;
    if line.len() >= layout::COMMAND_LINE_MOST || line.contains('\0') {
        return Err(Error::CommandLine(format!(
            "the kernel's command line has {} bytes; it takes {}, none of them zero",
            line.len(),
            layout::COMMAND_LINE_MOST - 1
        )));
    }
    let fits = memory
        .write_slice(line.as_bytes(), GuestAddress(layout::COMMAND_LINE))
        .and_then(|()| memory.write_obj(0_u8, GuestAddress(layout::COMMAND_LINE + line.len() as u64)));
    fits.map_err(|_| Error::Memory("the memory ends below the command line; a machine needs 2 MiB".into()))?;
    let kernel = Kernel::load(images.kernel, memory)?;
    let initrd = place_initrd(images.initrd, kernel.loaded.kernel_end, kernel.initrd_limit(), memory)?;
    if let elf::PvhBootCapability::PvhEntryPresent(entry) = kernel.loaded.pvh_boot_cap {
        pvh::write(memory, initrd)?;
        return Ok(Start::Pvh(entry.0));
    }
    linux::write(memory, kernel.loaded.setup_header, line.len(), initrd)?;
    Ok(Start::Linux(kernel.entry))
}

struct Kernel {
    loaded: KernelLoaderResult,
    /// Linux' 64-bit entry.
    entry: u64,
}

impl Kernel {
    fn load(path: &Path, memory: &GuestMemoryMmap) -> Result<Self, Error> {
        let refuse = |why: String| Error::Kernel { path: path.to_owned(), why };
        let mut file = File::open(path).map_err(|error| refuse(format!("cannot open it: {error}")))?;
        let mut magic = [0; 4];
        let known = file.read_exact(&mut magic).and_then(|()| file.rewind());
        known.map_err(|error| refuse(format!("cannot read a kernel from it: {error}")))?;
        if magic == *b"\x7fELF" {
            let loaded = elf::Elf::load(memory, None, &mut file, Some(GuestAddress(layout::KERNEL)))
                .map_err(|error| refuse(explain(&error, "ELF", memory)))?;
            return Ok(Self { entry: loaded.kernel_load.0, loaded });
        }
        let loaded = bzimage::BzImage::load(memory, None, &mut file, Some(GuestAddress(layout::KERNEL)))
            .map_err(|error| refuse(explain(&error, "bzImage", memory)))?;
        let header = loaded.setup_header.unwrap_or_default();
        // Documentation/arch/x86/boot.rst: XLF_KERNEL_64, in version 2.12 and later.
        let (version, flags, need) = (header.version, header.xloadflags, u64::from(header.init_size));
        if version < 0x020c || flags & 1 == 0 {
            return Err(refuse("this bzImage has no 64-bit entry; a kernel for x86-64 has one".into()));
        }
        let loaded = KernelLoaderResult { kernel_end: loaded.kernel_end.max(header.pref_address + need), ..loaded };
        Ok(Self { entry: loaded.kernel_load.0 + 0x200, loaded })
    }

    /// The first address that the first file system may not take.
    fn initrd_limit(&self) -> u64 {
        self.loaded.setup_header.map_or(u64::MAX, |header: setup_header| u64::from(header.initrd_addr_max) + 1)
    }
}

/// What is wrong with a kernel's file, to its user.
fn explain(error: &loader::Error, kind: &str, memory: &GuestMemoryMmap) -> String {
    match error {
        loader::Error::Elf(elf::Error::ReadKernelImage) | loader::Error::MemoryOverflow => {
            let mib = memory.iter().map(GuestMemoryRegion::len).sum::<u64>() >> 20;
            format!(
                "the kernel does not fit into {mib} MiB of memory, or its file is cut short; give it more (--memory)"
            )
        }
        loader::Error::Bzimage(bzimage::Error::ReadBzImageCompressedKernel) => {
            "the kernel does not fit into the memory, or its file is cut short; give it more (--memory)".into()
        }
        loader::Error::Bzimage(bzimage::Error::InvalidBzImage) => {
            "this is no kernel: neither an ELF file (vmlinux) nor a bzImage".into()
        }
        other => format!("this is no kernel that can be booted ({kind}): {other}"),
    }
}

/// Puts the first file system as high as it may be below 4 GiB.
fn place_initrd(bytes: &[u8], kernel_end: u64, limit: u64, memory: &GuestMemoryMmap) -> Result<Option<Initrd>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let low_end = memory.iter().find(|region| region.start_addr().0 == 0).map_or(0, GuestMemoryRegion::len);
    let len = bytes.len() as u64;
    let at = low_end.min(limit).checked_sub(len).map(|at| at & !0xfff).filter(|at| *at >= kernel_end);
    let placed = at.and_then(|at| memory.write_slice(bytes, GuestAddress(at)).is_ok().then_some(Initrd { at, len }));
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    placed.map(Some).ok_or_else(|| {
        Error::Initrd(format!(
            "the initrd ({} MiB) does not fit beside the kernel into {} MiB of memory; give it more (--memory)",
            mib(len),
            mib(memory.iter().map(GuestMemoryRegion::len).sum())
        ))
    })
}

/// The memory map.
fn map(memory: &GuestMemoryMmap) -> Vec<Area> {
    let mut areas = Vec::new();
    for region in memory.iter() {
        let (at, len) = (region.start_addr().0, region.len());
        if at == 0 {
            let usable = |at: u64, end: u64| Area { at, len: end.saturating_sub(at), usable: true };
            areas.push(usable(0, layout::FIRMWARE.min(len)));
            areas.push(Area { at: layout::FIRMWARE, len: layout::KERNEL - layout::FIRMWARE, usable: false });
            areas.push(usable(layout::KERNEL, len));
        } else {
            areas.push(Area { at, len, usable: true });
        }
    }
    // Linux takes ECAM for true only where firmware keeps it reserved.
    let ecam = layout::ECAM;
    areas.push(Area { at: ecam.start, len: ecam.end - ecam.start, usable: false });
    areas.retain(|area| area.len != 0);
    areas.sort_by_key(|area| area.at);
    areas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi;

    fn memory(ranges: &[(u64, usize)]) -> GuestMemoryMmap {
        let ranges: Vec<_> = ranges.iter().map(|(at, len)| (GuestAddress(*at), *len)).collect();
        GuestMemoryMmap::from_ranges(&ranges).unwrap()
    }

    fn load_file(content: &[u8], line: &str, initrd: &[u8]) -> Result<Start, Error> {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("kernel");
        std::fs::write(&kernel, content).unwrap();
        let ram = Ram::open(memory(&[(0, 8 << 20)]));
        load(&Images { kernel: &kernel, initrd, command_line: line, tables: &acpi::tables(1) }, &ram)
    }

    /// The smallest ELF file that loads: one segment of 16 bytes at 1 MiB.
    fn elf(entry: u64) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        let program = &mut file[64..];
        program[0] = 1;
        program[8..16].copy_from_slice(&120_u64.to_le_bytes());
        program[24..32].copy_from_slice(&layout::KERNEL.to_le_bytes());
        program[32..40].copy_from_slice(&16_u64.to_le_bytes());
        program[40..48].copy_from_slice(&16_u64.to_le_bytes());
        file.extend_from_slice(&[0x90; 16]);
        file
    }

    #[test]
    fn elf_without_a_note_starts_by_the_64_bit_protocol() {
        assert_eq!(load_file(&elf(layout::KERNEL), "", &[]).unwrap(), Start::Linux(layout::KERNEL));
    }

    #[test]
    fn file_that_is_no_kernel_is_refused_in_a_line() {
        for content in [&b"hello, world"[..], &[0; 4096], b"", b"\x7fELF", b"\x7fELF\x02\x01garbage garbage"] {
            let said = load_file(content, "", &[]).unwrap_err().to_string();
            assert!(said.contains("kernel") && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn initrd_that_does_not_fit_is_refused() {
        let said = load_file(&elf(layout::KERNEL), "", &vec![0; 8 << 20]).unwrap_err().to_string();
        assert!(said.contains("the initrd (8 MiB) does not fit"), "{said}");
    }

    #[test]
    fn command_line_that_is_too_long_is_refused() {
        let said = load_file(&elf(layout::KERNEL), &"x".repeat(70_000), &[]).unwrap_err().to_string();
        assert!(said.contains("70000 bytes"), "{said}");
    }

    #[test]
    fn memory_map_leaves_the_firmware_out_and_ends_where_the_memory_does() {
        let areas = map(&memory(&[(0, 8 << 20), (layout::HIGH_MEMORY, 4 << 20)]));
        let usable: Vec<_> = areas.iter().filter(|a| a.usable).map(|a| (a.at, a.at + a.len)).collect();
        assert_eq!(
            usable,
            [(0, layout::FIRMWARE), (layout::KERNEL, 8 << 20), (layout::HIGH_MEMORY, layout::HIGH_MEMORY + (4 << 20))]
        );
    }
}
