//! Files that are read as text made at the moment of reading.

use crate::bindings;
use crate::error::{code::EFAULT, Result};
use crate::fmt::{self, Write as _};
use crate::page::PAGE_SIZE;
use crate::types::{NotThreadSafe, Opaque};
use crate::uaccess::{copy_out, UserPtr};
use std::string::String;

/// The text of a file while it is made: [`seq_print!`] appends to it.
///
/// Differs from Linux: the only such files are those of debugfs, which this crate reads; a misc device has no
/// `show_fdinfo`.
#[repr(transparent)]
pub struct SeqFile {
    file: Opaque<bindings::seq_file>,
    _not_send: NotThreadSafe,
}

impl SeqFile {
    /// Looks at C's structure.
    ///
    /// # Safety
    ///
    /// During `'a` it must be valid and used through the result only.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::seq_file) -> &'a SeqFile {
        // SAFETY: the type is a transparent wrapper, and the caller answers for the rest.
        unsafe { &*ptr.cast() }
    }

    /// Appends text; [`seq_print!`] calls it.
    pub fn call_printf(&self, args: fmt::Arguments<'_>) {
        let mut text = String::new();
        // A value that cannot be formatted ends its text, as in C.
        let _ = text.write_fmt(args);
        // SAFETY: the structure is valid and belongs to one task, and nothing that runs in this statement knows of it.
        unsafe { (*self.file.get()).text.extend_from_slice(text.as_bytes()) };
    }
}

/// Appends formatted text to a [`SeqFile`].
#[macro_export]
macro_rules! seq_print {
    ($file:expr, $($message:tt)+) => { $file.call_printf($crate::prelude::fmt!($($message)+)) };
}
pub use seq_print;

/// A file that shows one thing, opened: C's `single_open()` and `seq_read()`.
///
/// The text is made when the file is read at its beginning, or at a place where the last read did not end, and kept until
/// the reader has had all of it.
#[derive(Default)]
pub(crate) struct Single {
    file: bindings::seq_file,
    /// Where the last read ended.
    read_pos: i64,
    /// What of the text has not been read yet.
    rest: core::ops::Range<usize>,
    /// Whether the text was made already.
    shown: bool,
    /// The buffer's size in pages, as a power of two.
    order: u32,
}

impl Single {
    /// Makes the text. What does not fit the buffer is made again with one of twice the size, as often as it takes.
    fn show(&mut self, show: &dyn Fn(&SeqFile)) {
        loop {
            self.file.text.clear();
            // SAFETY: the structure is this value's, which is borrowed alone.
            show(unsafe { SeqFile::from_raw(&mut self.file) });
            if self.file.text.len() < PAGE_SIZE << self.order {
                break;
            }
            self.order += 1;
        }
        self.rest = 0..self.file.text.len();
        self.shown = true;
    }

    /// Copies what is left of the text to the buffer; returns how much of it had room.
    fn copy(&mut self, buffer: UserPtr, room: usize) -> usize {
        let count = self.rest.len().min(room);
        let from = self.rest.start;
        let copied = copy_out(&self.file.text[from..from + count], buffer);
        self.rest.start += copied;
        copied
    }

    /// Reads up to `len` bytes at `pos`; `show` makes the text. Returns 0 at its end.
    pub(crate) fn read(
        &mut self,
        show: &dyn Fn(&SeqFile),
        buffer: UserPtr,
        len: usize,
        pos: &mut i64,
    ) -> Result<usize> {
        if len == 0 {
            return Ok(0);
        }
        if *pos == 0 {
            self.rest = 0..0;
            self.shown = false;
        }
        if *pos != self.read_pos {
            // Somebody moved: what stands there now is found by making all of the text.
            self.rest = 0..0;
            self.shown = false;
            if *pos > 0 {
                self.show(show);
                let end = self.rest.end;
                self.rest.start = usize::try_from(*pos).map_or(end, |pos| pos.min(end));
            }
            self.read_pos = *pos;
        }
        let mut copied = self.copy(buffer, len);
        if self.rest.is_empty() && !self.shown {
            self.show(show);
            copied += self.copy(buffer.wrapping_byte_add(copied), len - copied);
        }
        if copied == 0 && !self.rest.is_empty() {
            return Err(EFAULT);
        }
        *pos += copied as i64;
        self.read_pos += copied as i64;
        Ok(copied)
    }
}
