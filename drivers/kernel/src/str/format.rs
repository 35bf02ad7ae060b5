//! Writers into memory of a fixed size.

use crate::fmt::{self, Write};
use core::marker::PhantomData;
use core::ops::Deref;

/// A writer that keeps what fits and counts all of it.
///
/// Writing never fails: [`bytes_written`](Self::bytes_written) tells how much room the whole text needs.
pub struct RawFormatter {
    /// The memory from `start`, `room` bytes of it, may be written; null when there is no room.
    start: *mut u8,
    room: usize,
    /// How many bytes were given, whether they had room or not.
    given: usize,
}

impl RawFormatter {
    /// A writer without room, to learn a length.
    pub(crate) const fn measuring() -> Self {
        Self { start: core::ptr::null_mut(), room: 0, given: 0 }
    }

    /// Returns the number of bytes given to the writer so far, also those that had no room.
    pub fn bytes_written(&self) -> usize {
        self.given
    }
}

impl Write for RawFormatter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = self.room.saturating_sub(self.given).min(text.len());
        if fits > 0 {
            // SAFETY: something fits, so `given` lies within the room, and `fits` bytes more do as well.
            unsafe { self.start.add(self.given).copy_from_nonoverlapping(text.as_ptr(), fits) };
        }
        self.given = self.given.saturating_add(text.len());
        Ok(())
    }
}

/// A writer into a buffer that fails when the text does not fit; what fits is written then, too.
pub struct Formatter<'a>(RawFormatter, PhantomData<&'a mut ()>);

impl Formatter<'_> {
    /// Makes a writer into `buffer`.
    ///
    /// Differs from Linux: the result borrows the buffer, so that it cannot be used after it.
    pub fn new(buffer: &mut [u8]) -> Formatter<'_> {
        let raw = RawFormatter { start: buffer.as_mut_ptr(), room: buffer.len(), given: 0 };
        Formatter(raw, PhantomData)
    }
}

impl Deref for Formatter<'_> {
    type Target = RawFormatter;

    fn deref(&self) -> &RawFormatter {
        &self.0
    }
}

impl Write for Formatter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)?;
        if self.0.given <= self.0.room {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

/// A writer into a buffer that always ends in a NUL and takes each piece of text whole or not at all.
pub struct NullTerminatedFormatter<'a> {
    /// What is left of the buffer; never empty, and its first byte is the NUL.
    rest: &'a mut [u8],
}

impl<'a> NullTerminatedFormatter<'a> {
    /// Makes a writer into `buffer`, or `None` when there is no room for the NUL.
    pub fn new(buffer: &'a mut [u8]) -> Option<NullTerminatedFormatter<'a>> {
        *buffer.first_mut()? = 0;
        Some(Self { rest: buffer })
    }
}

impl Write for NullTerminatedFormatter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() >= self.rest.len() {
            return Err(fmt::Error);
        }
        let (room, rest) = core::mem::take(&mut self.rest).split_at_mut(text.len());
        room.copy_from_slice(text.as_bytes());
        rest[0] = 0;
        self.rest = rest;
        Ok(())
    }
}
