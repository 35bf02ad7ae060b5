//! What of a kernel's ELF file has to be known before it is loaded: that it is one for this machine, where it will lie, and its PVH entry.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::layout;

/// A kernel's ELF file, as far as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Where it begins and ends in memory, what its file leaves out (its zeros) included.
    pub(super) extent: Range<u64>,
    /// Linux' 64-bit entry.
    pub(super) entry: u64,
    /// The entry of the PVH note, if there is one.
    pub(super) pvh: Option<u64>,
}

const X86_64: u16 = 62;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// The most program headers, and bytes of notes, that are looked at.
const MOST_HEADERS: u16 = 1024;
const MOST_NOTES: u64 = 1 << 20;

struct Segment {
    kind: u32,
    offset: u64,
    at: u64,
    in_file: u64,
    in_memory: u64,
}

impl Image {
    /// Looks at a file.
    ///
    /// # Errors
    /// What is wrong with it, in words for its user.
    pub(super) fn look(file: &mut File, memory: &GuestMemoryMmap) -> Result<Self, String> {
        let cut = |_: io::Error| "this ELF file is cut short".to_owned();
        let len = file.seek(SeekFrom::End(0)).map_err(cut)?;
        let header: [u8; 64] = read(file, 0).map_err(cut)?;
        let (class, order) = (header[4], header[5]);
        let machine = u16_at(&header, 18);
        if class != 2 || order != 1 || machine != X86_64 {
            return Err(format!("this ELF file is for another processor (machine {machine}), not for x86-64"));
        }
        let entry = u64_at(&header, 24);
        let (table, size, count) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
        if size != 56 || count > MOST_HEADERS {
            return Err(format!("this is no kernel: an ELF file with {count} program headers of {size} bytes"));
        }
        let (mut begin, mut end, mut pvh) = (u64::MAX, 0, None);
        let mut entry_inside = false;
        for index in 0..u64::from(count) {
            let at = table.checked_add(index * 56).ok_or("this ELF file is cut short")?;
            let raw: [u8; 56] = read(file, at).map_err(cut)?;
            let segment = Segment {
                kind: u32_at(&raw, 0),
                offset: u64_at(&raw, 8),
                at: u64_at(&raw, 24),
                in_file: u64_at(&raw, 32),
                in_memory: u64_at(&raw, 40),
            };
            match segment.kind {
                LOAD if segment.in_memory.max(segment.in_file) != 0 => {
                    let extent = segment.extent(memory, len)?;
                    entry_inside |= extent.contains(&entry);
                    (begin, end) = (begin.min(extent.start), end.max(extent.end));
                }
                NOTE if pvh.is_none() && segment.in_file <= MOST_NOTES => {
                    pvh = segment.pvh(file).map_err(cut)?;
                }
                _ => {}
            }
        }
        if end == 0 {
            return Err("this is no kernel: an ELF file with nothing to load".into());
        }
        let image = Self { extent: begin..end, entry, pvh };
        match pvh {
            Some(pvh) if !image.extent.contains(&pvh) => {
                Err(format!("this is no kernel: its PVH entry {pvh:#x} is not in what is loaded"))
            }
            None if !entry_inside => Err(format!("this is no kernel: its entry {entry:#x} is not in what is loaded")),
            _ => Ok(image),
        }
    }
}

impl Segment {
    /// Where it lies in memory.
    fn extent(&self, memory: &GuestMemoryMmap, file: u64) -> Result<Range<u64>, String> {
        if self.offset.checked_add(self.in_file).is_none_or(|end| end > file) {
            return Err("this ELF file is cut short: a segment goes beyond its end".into());
        }
        let len = self.in_memory.max(self.in_file);
        if self.at < layout::KERNEL {
            return Err(format!(
                "a segment at {:#x} lies where the machine keeps its own tables; a kernel begins at {:#x} or higher",
                self.at,
                layout::KERNEL
            ));
        }
        let inside = usize::try_from(len).is_ok_and(|len| memory.check_range(GuestAddress(self.at), len));
        inside.then(|| self.at..self.at + len).ok_or_else(|| super::does_not_fit(self.at.saturating_add(len), memory))
    }

    /// The entry that a PVH note in this segment gives.
    fn pvh(&self, file: &mut File) -> io::Result<Option<u64>> {
        const PHYS32_ENTRY: u32 = 18;
        let mut notes = vec![0; self.in_file as usize];
        file.seek(SeekFrom::Start(self.offset))?;
        file.read_exact(&mut notes)?;
        let mut rest = &notes[..];
        // Lengths of name and content, kind; each padded to 4 bytes.
        while let Some((head, after)) = rest.split_first_chunk::<12>() {
            let padded = |at: usize| (u32_at(head, at) as usize).checked_next_multiple_of(4);
            let (Some(name), Some(content)) = (padded(0), padded(4)) else { break };
            let Some((name, after)) = after.split_at_checked(name) else { break };
            let Some((content, after)) = after.split_at_checked(content) else { break };
            if u32_at(head, 8) == PHYS32_ENTRY && name.starts_with(b"Xen\0") {
                return Ok(match (u32_at(head, 4), content) {
                    (4, [a, b, c, d]) => Some(u32::from_le_bytes([*a, *b, *c, *d]).into()),
                    (8, [a, b, c, d, ..]) => Some(u32::from_le_bytes([*a, *b, *c, *d]).into()),
                    _ => None,
                });
            }
            rest = after;
        }
        Ok(None)
    }
}

fn read<const N: usize>(file: &mut File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn lanes<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut lanes = [0; N];
    for (to, from) in lanes.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    lanes
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(lanes(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(lanes(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(lanes(bytes, at))
}
