//! Puts a kernel into memory, with all that it is to find there, and says how its first vCPU starts.
//!
//! Two protocols: PVH (the kernel's 32-bit entry, in a note of its ELF file) and Linux' 64-bit one
//! (Documentation/arch/x86/boot.rst), which a bzImage speaks and an ELF file without the note is taken to.

mod elf;
mod linux;
mod pvh;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use bringup_core::Ram;
use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{self, KernelLoader, bzimage};
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
    let limit = kernel.header.map_or(u64::MAX, |header| u64::from(header.initrd_addr_max) + 1);
    let initrd = place_initrd(images.initrd, kernel.end, limit, memory)?;
    if let Start::Pvh(_) = kernel.start {
        pvh::write(memory, initrd)?;
    } else {
        linux::write(memory, kernel.header, line.len(), initrd)?;
    }
    Ok(kernel.start)
}

/// A kernel that was loaded.
struct Kernel {
    start: Start,
    /// Of a bzImage.
    header: Option<setup_header>,
    /// Where it ends in memory, with all that it needs while it unpacks itself.
    end: u64,
}

impl Kernel {
    fn load(path: &Path, memory: &GuestMemoryMmap) -> Result<Self, Error> {
        let refuse = |why: String| Error::Kernel { path: path.to_owned(), why };
        let mut file = open(path).map_err(refuse)?;
        let mut magic = [0; 4];
        let known = file.read_exact(&mut magic).and_then(|()| file.rewind());
        known.map_err(|error| refuse(format!("cannot read a kernel from it: {error}")))?;
        if magic == *b"\x7fELF" { Self::from_elf(&mut file, memory) } else { Self::from_bzimage(&mut file, memory) }
            .map_err(refuse)
    }

    fn from_elf(file: &mut File, memory: &GuestMemoryMmap) -> Result<Self, String> {
        let image = elf::Image::look(file, memory)?;
        loader::elf::Elf::load(memory, None, file, None).map_err(|error| explain(&error))?;
        let start = image.pvh.map_or(Start::Linux(image.entry), Start::Pvh);
        Ok(Self { start, header: None, end: image.extent.end })
    }

    fn from_bzimage(file: &mut File, memory: &GuestMemoryMmap) -> Result<Self, String> {
        let len = file.seek(io::SeekFrom::End(0)).map_err(|error| format!("cannot read it: {error}"))?;
        let loaded = bzimage::BzImage::load(memory, None, file, Some(GuestAddress(layout::KERNEL)))
            .map_err(|error| explain(&error))?;
        let header = loaded.setup_header.unwrap_or_default();
        // Documentation/arch/x86/boot.rst: XLF_KERNEL_64, in version 2.12 and later; sectors of 512 bytes, paragraphs of 16.
        let (version, flags, paragraphs) = (header.version, header.xloadflags, u64::from(header.syssize));
        let setup = (u64::from(if header.setup_sects == 0 { 4 } else { header.setup_sects }) + 1) * 512;
        if version < 0x020c || flags & 1 == 0 {
            return Err("this bzImage has no 64-bit entry; a kernel for x86-64 has one".into());
        }
        if setup + paragraphs * 16 > len {
            return Err(format!("this bzImage is cut short: {len} bytes of {}", setup + paragraphs * 16));
        }
        let (preferred, need) = (header.pref_address, u64::from(header.init_size));
        let end =
            preferred.checked_add(need).ok_or("this is no kernel: a bzImage for an address that does not exist")?;
        let end = end.max(loaded.kernel_end);
        let inside = usize::try_from(need).is_ok_and(|need| memory.check_range(GuestAddress(preferred), need));
        if !inside || preferred < layout::KERNEL {
            return Err(does_not_fit(end, memory));
        }
        Ok(Self { start: Start::Linux(loaded.kernel_load.0 + 0x200), header: loaded.setup_header, end })
    }
}

/// Opens a kernel's file, which must be one: a pipe may never give anything.
fn open(path: &Path) -> Result<File, String> {
    let cannot = |error: io::Error| format!("cannot open it: {error}");
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("this is no kernel: not a regular file".into());
    }
    File::open(path).map_err(cannot)
}

fn does_not_fit(end: u64, memory: &GuestMemoryMmap) -> String {
    let mib = memory.iter().map(GuestMemoryRegion::len).sum::<u64>() >> 20;
    let need = end.div_ceil(1 << 20);
    format!("the kernel takes the memory up to {need} MiB and does not fit into {mib} MiB; give it more (--memory)")
}

/// What is wrong with a kernel's file, to its user.
fn explain(error: &loader::Error) -> String {
    match error {
        loader::Error::Bzimage(bzimage::Error::ReadBzImageCompressedKernel) | loader::Error::MemoryOverflow => {
            "the kernel does not fit into the memory; give it more (--memory)".into()
        }
        loader::Error::Bzimage(bzimage::Error::InvalidBzImage) => {
            "this is no kernel: neither an ELF file (vmlinux) nor a bzImage".into()
        }
        other => format!("this is no kernel that can be booted: {other}"),
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
        file[18] = 62;
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

    fn refused(content: &[u8]) -> String {
        load_file(content, "", &[]).unwrap_err().to_string()
    }

    /// The file with a number of it changed.
    fn with(mut file: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    }

    #[test]
    fn elf_that_this_machine_cannot_hold_or_run_is_refused_and_says_why() {
        let file = || elf(layout::KERNEL);
        assert!(refused(&with(file(), 18, &[183, 0])).contains("another processor (machine 183)"));
        assert!(refused(&with(file(), 64 + 40, &(1_u64 << 40).to_le_bytes())).contains("does not fit into 8 MiB"));
        assert!(refused(&with(file(), 64 + 40, &u64::MAX.to_le_bytes())).contains("does not fit"));
        assert!(refused(&with(file(), 64 + 24, &0x9000_u64.to_le_bytes())).contains("its own tables"));
        assert!(refused(&elf(0x40_0000)).contains("its entry 0x400000 is not in what is loaded"));
        assert!(refused(&file()[..130]).contains("cut short"));
    }

    #[test]
    fn initrd_does_not_lie_on_what_the_file_leaves_out_of_the_kernel() {
        // 16 bytes of file, 6 MiB of memory: no room for 2 MiB behind it in 8.
        let file = with(elf(layout::KERNEL), 64 + 40, &(6_u64 << 20).to_le_bytes());
        let said = load_file(&file, "", &vec![0; 2 << 20]).unwrap_err().to_string();
        assert!(said.contains("does not fit beside the kernel"), "{said}");
    }

    /// The file with one more program header, of notes, and the notes behind it.
    fn with_notes(notes: &[&[u8]]) -> Vec<u8> {
        let mut file = elf(layout::KERNEL);
        let segment = file.split_off(64 + 56);
        let count = 1 + notes.len();
        file[56] = count as u8;
        let code_at = 64 + 56 * count;
        file[64 + 8..64 + 16].copy_from_slice(&(code_at as u64).to_le_bytes());
        let mut at = code_at + segment.len();
        for note in notes {
            let mut header = [0; 56];
            header[0] = 4;
            header[8..16].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(note.len() as u64).to_le_bytes());
            file.extend_from_slice(&header);
            at += note.len();
        }
        file.extend_from_slice(&segment);
        notes.iter().for_each(|note| file.extend_from_slice(note));
        file
    }

    fn note(name: &[u8; 4], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for field in [4, content.len() as u32, kind] {
            note.extend_from_slice(&field.to_le_bytes());
        }
        note.extend_from_slice(name);
        note.extend_from_slice(content);
        note
    }

    #[test]
    fn pvh_note_counts_wherever_it_stands_among_others() {
        let entry = (layout::KERNEL as u32 + 8).to_le_bytes();
        let (pvh, gnu) = (note(b"Xen\0", 18, &entry), note(b"GNU\0", 3, &[1; 20]));
        let both = [&gnu[..], &pvh].concat();
        for notes in [&[&pvh[..]][..], &[&pvh, &gnu], &[&gnu, &pvh], &[&both]] {
            assert_eq!(load_file(&with_notes(notes), "", &[]).unwrap(), Start::Pvh(layout::KERNEL + 8));
        }
        let outside = note(b"Xen\0", 18, &0xf000_0000_u32.to_le_bytes());
        assert!(refused(&with_notes(&[&outside])).contains("PVH entry 0xf0000000"));
        // A length that runs out of the segment is no note.
        let torn = with(pvh, 4, &u32::MAX.to_le_bytes());
        assert_eq!(load_file(&with_notes(&[&torn]), "", &[]).unwrap(), Start::Linux(layout::KERNEL));
    }

    /// The smallest bzImage: a header, and `paragraphs` of code.
    fn bzimage(preferred: u64, need: u32, paragraphs: u32) -> Vec<u8> {
        let mut file = vec![0; 1024 + 16 * paragraphs as usize];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[1]);
        put(0x1f4, &paragraphs.to_le_bytes());
        put(0x202, b"HdrS");
        put(0x206, &0x020f_u16.to_le_bytes());
        put(0x211, &[1]);
        put(0x214, &0x10_0000_u32.to_le_bytes());
        put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
        put(0x236, &1_u16.to_le_bytes());
        put(0x258, &preferred.to_le_bytes());
        put(0x260, &need.to_le_bytes());
        file
    }

    #[test]
    fn bzimage_is_held_against_its_own_header() {
        assert_eq!(load_file(&bzimage(0x10_0000, 4096, 8), "", &[]).unwrap(), Start::Linux(layout::KERNEL + 0x200));
        assert!(refused(&bzimage(u64::MAX, 4096, 8)).contains("address that does not exist"));
        assert!(refused(&bzimage(0x10_0000, 1 << 30, 8)).contains("does not fit into 8 MiB"));
        assert!(refused(&bzimage(0x10_0000, 4096, 8)[..1100]).contains("cut short"));
    }

    #[test]
    fn file_that_is_no_kernel_is_refused_in_a_line() {
        for content in
            [&b"hello, world"[..], &[0; 4096], b"", b"\x7fELF", b"\x7fELF\x02\x01garbage garbage", &[0x55; 2048]]
        {
            let said = load_file(content, "", &[]).unwrap_err().to_string();
            assert!((said.contains("kernel") || said.contains("ELF")) && !said.contains('\n'), "{said}");
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
