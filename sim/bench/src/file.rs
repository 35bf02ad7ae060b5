//! Character devices as user space sees them, and the memory of user space.

use std::ptr::NonNull;

/// What stands behind a device node or a debugfs file. The user's buffers are addresses for
/// [`crate::rt::file::copy_from_user`] and [`copy_to_user`](crate::rt::file::copy_to_user).
pub trait CharDevice {
    /// Opens it; negative errno.
    ///
    /// # Errors
    /// The driver's.
    fn open(&self) -> Result<Box<dyn OpenFile>, i32>;
}

/// An open file. Results are as the kernel returns them: a count, or a negative errno.
pub trait OpenFile {
    /// Reads up to `len` bytes at `pos` to user address `buffer`.
    fn read(&mut self, buffer: usize, len: usize, pos: &mut i64) -> isize;

    /// Writes up to `len` bytes at `pos` from user address `buffer`.
    fn write(&mut self, buffer: usize, len: usize, pos: &mut i64) -> isize;

    /// A control operation.
    fn ioctl(&mut self, command: u32, argument: usize) -> isize;

    /// Closes it.
    fn release(self: Box<Self>);
}

enum Bytes {
    Own(Vec<u8>),
    /// A caller's buffer, which only this map uses while it is here.
    Lent(NonNull<[u8]>),
}

struct Area {
    start: usize,
    bytes: Bytes,
}

impl Area {
    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Lent(bytes) => bytes.len(),
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Own(bytes) => bytes,
            // SAFETY: `lend`'s caller promised that it is valid and nobody else uses it, and this is the only reference to it
            // that is ever made.
            Bytes::Lent(bytes) => unsafe { bytes.as_mut() },
        }
    }
}

/// The memory of user space: areas that exist for the length of a call, at addresses that are the same in every life.
#[derive(Default)]
pub(crate) struct UserMemory {
    areas: Vec<Area>,
}

/// Where the first area begins; the page before it and the pages between areas are not mapped.
const FIRST: usize = 0x7f00_0000_1000;

impl UserMemory {
    fn push(&mut self, bytes: Bytes) -> usize {
        let start = self.areas.last().map_or(FIRST, |area| (area.start + area.len()).next_multiple_of(4096) + 4096);
        self.areas.push(Area { start, bytes });
        start
    }

    /// Maps an area that holds `bytes`.
    pub(crate) fn map(&mut self, bytes: Vec<u8>) -> usize {
        self.push(Bytes::Own(bytes))
    }

    /// Maps the caller's buffer: what is written to the area is in it at once.
    ///
    /// # Safety
    /// Until it is unmapped, or the last use of this map, the buffer must be valid for reads and writes, and nobody else may use
    /// it.
    pub(crate) unsafe fn lend(&mut self, bytes: NonNull<[u8]>) -> usize {
        self.push(Bytes::Lent(bytes))
    }

    /// Unmaps the area that begins at `start` and returns its bytes, if they are its own.
    pub(crate) fn unmap(&mut self, start: usize) -> Vec<u8> {
        let index = self.areas.iter().rposition(|area| area.start == start);
        match index.map(|index| self.areas.remove(index).bytes) {
            Some(Bytes::Own(bytes)) => bytes,
            _ => Vec::new(),
        }
    }

    /// Unmaps everything: whoever is in a call never comes back.
    pub(crate) fn abandon(&mut self) {
        self.areas.clear();
    }

    fn range(&mut self, address: usize, len: usize) -> Option<&mut [u8]> {
        let area = self.areas.iter_mut().find(|area| address >= area.start && address - area.start <= area.len())?;
        let from = address - area.start;
        area.bytes().get_mut(from..from.checked_add(len)?)
    }

    pub(crate) fn available(&self, address: usize, len: usize) -> usize {
        let area = self.areas.iter().find(|area| address >= area.start && address - area.start <= area.len());
        area.map_or(0, |area| (area.len() - (address - area.start)).min(len))
    }

    pub(crate) fn read(&mut self, address: usize, into: &mut [u8]) -> Option<()> {
        if !into.is_empty() {
            into.copy_from_slice(self.range(address, into.len())?);
        }
        Some(())
    }

    pub(crate) fn write(&mut self, address: usize, from: &[u8]) -> Option<()> {
        if !from.is_empty() {
            self.range(address, from.len())?.copy_from_slice(from);
        }
        Some(())
    }
}
