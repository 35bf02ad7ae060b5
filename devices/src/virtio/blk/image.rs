//! What a block device's sectors are kept in, and the simplest of it: memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;

/// Where the sectors of a block device are kept. An image is taken for as large as it says; the device asks for nothing outside.
pub trait Image: fmt::Debug + Send {
    /// What it is called in messages.
    fn name(&self) -> &str;

    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Whether it can only be read.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Reads `into.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// The host's; then `into` holds anything.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes `from` from `offset` on.
    ///
    /// # Errors
    /// The host's; then each sector holds what it did or what it should.
    fn write(&mut self, offset: u64, from: &[u8]) -> io::Result<()>;

    /// The bytes from `offset` on, at least one and at most `len` of them, if the image keeps them in memory: they need no copy on
    /// their way.
    fn lend(&mut self, _offset: u64, _len: usize) -> Option<&[u8]> {
        None
    }

    /// As [`lend`](Self::lend), to be written.
    fn lend_mut(&mut self, _offset: u64, _len: usize) -> Option<&mut [u8]> {
        None
    }

    /// Makes `len` bytes from `offset` on zeros. What keeps them may be given back to the host if `deallocate`.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    fn zero(&mut self, offset: u64, len: u64, deallocate: bool) -> io::Result<()>;

    /// Comes back when all that was written and zeroed outlasts the end of the process and of the host's power.
    ///
    /// # Errors
    /// The host's; then nothing can be said of what was written since the last time.
    fn flush(&mut self) -> io::Result<()>;

    /// Makes it larger, by zeros, or smaller.
    ///
    /// # Errors
    /// When it has the size that it has.
    fn resize(&mut self, size: u64) -> io::Result<()>;
}

const BLOCK: usize = 64 << 10;

/// Sectors in memory, all zeros at first, and gone with the device. Only what was written takes room.
#[derive(Default)]
pub struct MemoryImage {
    size: u64,
    /// By their place in units of themselves.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl MemoryImage {
    /// `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, blocks: BTreeMap::new() }
    }

    /// Where `len` bytes from `offset` on end, if they are inside.
    fn end(&self, offset: u64, len: u64) -> io::Result<u64> {
        let end = offset.checked_add(len).filter(|end| *end <= self.size);
        end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "outside of the image"))
    }

    /// The block that `offset` is in, and the bytes of it from there on, at most `len`, if they are inside.
    fn piece(&self, offset: u64, len: usize) -> Option<(u64, Range<usize>)> {
        self.end(offset, len as u64).ok()?;
        let start = (offset % BLOCK as u64) as usize;
        (len != 0).then(|| (offset / BLOCK as u64, start..BLOCK.min(start + len)))
    }

    /// The blocks that `len` bytes from `offset` on touch: each one's place, the bytes in it, and those of the buffer.
    fn pieces(
        &self,
        offset: u64,
        len: usize,
    ) -> io::Result<impl Iterator<Item = (u64, Range<usize>, Range<usize>)> + use<>> {
        let end = self.end(offset, len as u64)?;
        let mut at = offset;
        Ok(std::iter::from_fn(move || {
            let start = (at % BLOCK as u64) as usize;
            let piece = (end - at).min((BLOCK - start) as u64) as usize;
            let done = (at - offset) as usize;
            let block = at / BLOCK as u64;
            at += piece as u64;
            (piece != 0).then_some((block, start..start + piece, done..done + piece))
        }))
    }
}

impl fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImage").field("size", &self.size).field("blocks", &self.blocks.len()).finish()
    }
}

impl Image for MemoryImage {
    fn name(&self) -> &str {
        "memory"
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        for (block, bytes, range) in self.pieces(offset, into.len())? {
            match self.blocks.get(&block) {
                Some(block) => into[range].copy_from_slice(&block[bytes]),
                None => into[range].fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        for (block, bytes, range) in self.pieces(offset, from.len())? {
            let block = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK].into());
            block[bytes].copy_from_slice(&from[range]);
        }
        Ok(())
    }

    fn lend(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        static ZEROS: [u8; BLOCK] = [0; BLOCK];
        let (block, range) = self.piece(offset, len)?;
        self.blocks.get(&block).map_or(&ZEROS[..], |block| block).get(range)
    }

    fn lend_mut(&mut self, offset: u64, len: usize) -> Option<&mut [u8]> {
        let (block, range) = self.piece(offset, len)?;
        self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK].into()).get_mut(range)
    }

    fn zero(&mut self, offset: u64, len: u64, _deallocate: bool) -> io::Result<()> {
        let end = self.end(offset, len)?;
        let size = BLOCK as u64;
        let mut whole = Vec::new();
        // A range can be much longer than what was ever written in it.
        for (place, block) in self.blocks.range_mut(offset / size..end.div_ceil(size)) {
            let base = place * size;
            let (from, to) = (offset.saturating_sub(base), (end - base).min(size));
            match to - from == size {
                true => whole.push(*place),
                false => block[from as usize..to as usize].fill(0),
            }
        }
        for place in whole {
            self.blocks.remove(&place);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        if size < self.size {
            // What grows again grows by zeros.
            self.zero(size, self.size - size, true)?;
        }
        self.size = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u64 = 3 * BLOCK as u64 + 512;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, u64, u8),
        Zero(u64, u64),
        Resize(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..SIZE, 0..SIZE, any::<u8>()).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
            1 => (0..SIZE, 0..SIZE).prop_map(|(at, len)| Step::Zero(at, len)),
            1 => (0..=SIZE).prop_map(Step::Resize),
        ];
        proptest::collection::vec(step, 1..12)
    }

    proptest! {
        #[test]
        fn memory_holds_what_a_plain_vector_holds(steps in steps()) {
            let mut image = MemoryImage::new(SIZE);
            let mut model = vec![0_u8; SIZE as usize];
            for step in steps {
                match step {
                    Step::Write(at, len, byte) => {
                        let written = image.write(at, &vec![byte; len as usize]);
                        let range = model.get_mut(at as usize..(at + len) as usize);
                        prop_assert_eq!(written.is_ok(), range.is_some());
                        if let Some(range) = range {
                            range.fill(byte);
                        }
                    }
                    Step::Zero(at, len) => {
                        let zeroed = image.zero(at, len, true);
                        let range = model.get_mut(at as usize..(at + len) as usize);
                        prop_assert_eq!(zeroed.is_ok(), range.is_some());
                        if let Some(range) = range {
                            range.fill(0);
                        }
                    }
                    Step::Resize(size) => {
                        image.resize(size).unwrap();
                        model.resize(size as usize, 0);
                    }
                }
                let mut bytes = vec![0xaa; model.len()];
                image.read(0, &mut bytes).unwrap();
                prop_assert!(bytes == model);
            }
        }
    }

    #[test]
    fn only_what_was_written_takes_room() {
        let mut image = MemoryImage::new(1 << 50);
        image.write((1 << 50) - 512, &[1; 512]).unwrap();
        assert_eq!(image.blocks.len(), 1);
        image.zero((1 << 50) - BLOCK as u64, BLOCK as u64, true).unwrap();
        assert_eq!(image.blocks.len(), 0);
    }

    #[test]
    fn offsets_that_wrap_are_outside() {
        let mut image = MemoryImage::new(SIZE);
        assert!(image.read(u64::MAX, &mut [0; 2]).is_err());
        assert!(image.write(SIZE, &[0]).is_err());
    }
}
