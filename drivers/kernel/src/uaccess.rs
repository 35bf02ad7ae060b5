//! The memory of user space: pointers into it, and readers and writers that never touch a byte twice.

use crate::alloc::{Allocator, Flags, Vec};
use crate::dma::Coherent;
use crate::error::{code::*, Result};
use crate::ffi::{c_void, CStr};
use crate::fs::file;
use crate::io::{IoCopyable, SysMem, SysMemBackend};
use crate::machine::file as machine_file;
use crate::ptr::KnownSize;
use crate::transmute::{AsBytes, FromBytes};
use core::mem::MaybeUninit;
use pin_init::Zeroable;

/// An address of user space, C's `void __user *`. It is a number: only the functions of this module go through it.
#[repr(transparent)]
#[derive(Copy, Clone, Zeroable)]
pub struct UserPtr(*mut c_void);

impl UserPtr {
    /// Makes one of an address, such as an `ioctl` has as its argument.
    #[inline]
    pub fn from_addr(addr: usize) -> Self {
        Self(core::ptr::without_provenance_mut(addr))
    }

    /// Makes one of a pointer.
    #[inline]
    pub fn from_ptr(addr: *mut c_void) -> Self {
        Self(addr)
    }

    /// Returns it as a pointer to what is not to be written. It must not be dereferenced.
    #[inline]
    pub fn as_const_ptr(self) -> *const c_void {
        self.0
    }

    /// Returns it as a pointer. It must not be dereferenced.
    #[inline]
    pub fn as_mut_ptr(self) -> *mut c_void {
        self.0
    }

    /// Goes `add` bytes on; past the last address it begins at zero again.
    #[inline]
    pub fn wrapping_byte_add(self, add: usize) -> UserPtr {
        Self(self.0.wrapping_byte_add(add))
    }

    fn addr(self) -> usize {
        self.0.addr()
    }
}

/// Copies from user space up to the first byte that is not there; returns how many bytes that were.
///
/// May sleep.
#[track_caller]
pub(crate) fn copy_in(from: UserPtr, into: &mut [u8]) -> usize {
    machine_file::copy_in(from.addr(), into)
}

/// Copies to user space up to the first byte that is not there; returns how many bytes that were.
///
/// May sleep.
#[track_caller]
pub(crate) fn copy_out(from: &[u8], to: UserPtr) -> usize {
    machine_file::copy_out(to.addr(), from)
}

/// A piece of user space: an address and a length in bytes, neither of them checked yet.
///
/// What it holds may change at any moment, since other tasks of the process go on. Reading a place twice can give two
/// answers, so a driver reads each place once, into memory of its own, and looks only at that. The readers and writers
/// help: they only go forward, and making one uses the slice up.
///
/// # Examples
///
/// ```no_run
/// use kernel::prelude::*;
/// use kernel::uaccess::UserSlice;
///
/// /// Turns the bytes of the caller's buffer round.
/// fn reverse(buffer: UserPtr, len: usize) -> Result {
///     let (from_user, mut to_user) = UserSlice::new(buffer, len).reader_writer();
///     let mut bytes = KVec::new();
///     from_user.read_all(&mut bytes, GFP_KERNEL)?;
///     bytes.reverse();
///     to_user.write_slice(&bytes)
/// }
/// ```
pub struct UserSlice {
    start: UserPtr,
    length: usize,
}

impl UserSlice {
    /// Makes one. Whether the memory is there shows when it is read or written.
    pub fn new(ptr: UserPtr, length: usize) -> Self {
        Self { start: ptr, length }
    }

    /// Appends all of it to `buf`. `EFAULT` when not all of it can be read, `ENOMEM` when there is no room for it.
    #[track_caller]
    pub fn read_all<A: Allocator>(self, buf: &mut Vec<u8, A>, flags: Flags) -> Result {
        self.reader().read_all(buf, flags)
    }

    /// Turns it into a reader.
    pub fn reader(self) -> UserSliceReader {
        UserSliceReader { start: self.start, length: self.length }
    }

    /// Turns it into a writer.
    pub fn writer(self) -> UserSliceWriter {
        UserSliceWriter { start: self.start, length: self.length }
    }

    /// Turns it into both, which go forward independently: for what is read first and overwritten then.
    pub fn reader_writer(self) -> (UserSliceReader, UserSliceWriter) {
        let Self { start, length } = self;
        (UserSliceReader { start, length }, UserSliceWriter { start, length })
    }
}

/// Looks at bytes as such that need no value yet.
fn as_uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: both have the same layout; users of the result, all in this file, write nothing but initialised bytes.
    unsafe { &mut *(core::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) }
}

/// Sets bytes to zero and looks at them as such.
fn zeroed(bytes: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    bytes.fill(MaybeUninit::new(0));
    // SAFETY: all of them were initialised just now.
    unsafe { &mut *(core::ptr::from_mut(bytes) as *mut [u8]) }
}

/// Turns a file position into an index. `None` for one that is past every buffer, `EINVAL` for a negative one.
fn index_of(offset: file::Offset) -> Result<Option<usize>> {
    if offset < 0 {
        return Err(EINVAL);
    }
    Ok(usize::try_from(offset).ok())
}

/// Reads a [`UserSlice`] from its beginning on.
///
/// After an `EFAULT` of any method the reader is where it was before, and the buffer holds what could be read and then
/// zeroes. All methods that read may sleep.
pub struct UserSliceReader {
    start: UserPtr,
    length: usize,
}

impl UserSliceReader {
    /// Goes on without reading. `EFAULT` when fewer bytes are left.
    pub fn skip(&mut self, num_skip: usize) -> Result {
        let left = self.length.checked_sub(num_skip).ok_or(EFAULT)?;
        *self = Self { start: self.start.wrapping_byte_add(num_skip), length: left };
        Ok(())
    }

    /// Makes a second reader of what is left. What both read may differ.
    pub fn clone_reader(&self) -> UserSliceReader {
        Self { start: self.start, length: self.length }
    }

    /// Returns how many bytes are left, whether they can be read or not.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Says whether no bytes are left.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Fills `out`, which is all initialised after success. `EFAULT` when fewer bytes are left, or not all can be read.
    #[track_caller]
    pub fn read_raw(&mut self, out: &mut [MaybeUninit<u8>]) -> Result {
        if out.len() > self.length {
            return Err(EFAULT);
        }
        let out = zeroed(out);
        if copy_in(self.start, out) < out.len() {
            return Err(EFAULT);
        }
        self.skip(out.len())
    }

    /// As [`read_raw`](Self::read_raw), for bytes that have a value.
    #[track_caller]
    pub fn read_slice(&mut self, out: &mut [u8]) -> Result {
        self.read_raw(as_uninit(out))
    }

    /// Fills `out` from `offset` on as far as the bytes that are left go; returns how many they were.
    ///
    /// Nothing is read when the offset is past the end of `out`. `EFAULT` when not all of them can be read.
    #[track_caller]
    pub fn read_slice_partial(&mut self, out: &mut [u8], offset: usize) -> Result<usize> {
        let Some(rest) = out.get_mut(offset..) else { return Ok(0) };
        let count = rest.len().min(self.length);
        self.read_slice(&mut rest[..count])?;
        Ok(count)
    }

    /// As [`read_slice_partial`](Self::read_slice_partial) at a file position, which goes on by what was read: C's
    /// `simple_write_to_buffer()`. `EINVAL` for a negative position.
    #[track_caller]
    pub fn read_slice_file(&mut self, out: &mut [u8], offset: &mut file::Offset) -> Result<usize> {
        let Some(index) = index_of(*offset)? else { return Ok(0) };
        let count = self.read_slice_partial(out, index)?;
        *offset += count as file::Offset;
        Ok(count)
    }

    /// Reads a value. `EFAULT` when fewer bytes are left than it has, or not all can be read.
    #[track_caller]
    pub fn read<T: FromBytes>(&mut self) -> Result<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the bytes of a `MaybeUninit` are bytes that need no value.
        let bytes = unsafe { core::slice::from_raw_parts_mut(value.as_mut_ptr().cast(), size_of::<T>()) };
        self.read_raw(bytes)?;
        // SAFETY: all its bytes were read, and any bytes are a value.
        Ok(unsafe { value.assume_init() })
    }

    /// Appends all that is left to `buf`. `EFAULT` when not all of it can be read, `ENOMEM` when there is no room for it.
    #[track_caller]
    pub fn read_all<A: Allocator>(mut self, buf: &mut Vec<u8, A>, flags: Flags) -> Result {
        let count = self.length;
        buf.reserve(count, flags)?;
        self.read_raw(&mut buf.spare_capacity_mut()[..count])?;
        // SAFETY: as many bytes of the spare capacity were just read.
        unsafe { buf.inc_len(count) };
        Ok(())
    }

    /// Reads a string up to its NUL, or until `buf` is full; then its last byte becomes the NUL.
    ///
    /// `EINVAL` when `buf` has no room for a NUL. `EFAULT` when what is left ends before the string does and before `buf`
    /// is full, or a byte cannot be read.
    #[doc(alias = "strncpy_from_user")]
    #[track_caller]
    pub fn strcpy_into_buf(self, buf: &mut [u8]) -> Result<&CStr> {
        let Some(last) = buf.len().checked_sub(1) else { return Err(EINVAL) };
        let wanted = buf.len().min(self.length);
        let mut read = std::vec![0; wanted];
        let count = copy_in(self.start, &mut read);
        let end = match read[..count].iter().position(|&byte| byte == 0) {
            Some(end) => end,
            None if count == buf.len() => last,
            None => return Err(EFAULT),
        };
        buf[..end].copy_from_slice(&read[..end]);
        buf[end] = 0;
        CStr::from_bytes_with_nul(&buf[..=end]).map_err(|_| EINVAL)
    }
}

/// Writes a [`UserSlice`] from its beginning on.
///
/// After an `EFAULT` of any method the writer is where it was before; user space may have been written up to the first
/// byte that cannot be. All methods that write may sleep.
pub struct UserSliceWriter {
    start: UserPtr,
    length: usize,
}

impl UserSliceWriter {
    /// Returns how many bytes there is room for, whether they can be written or not.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Says whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes all of `data`. `EFAULT` when there is not enough room, or not all of it can be written.
    #[track_caller]
    pub fn write_slice(&mut self, data: &[u8]) -> Result {
        let left = self.length.checked_sub(data.len()).ok_or(EFAULT)?;
        if copy_out(data, self.start) < data.len() {
            return Err(EFAULT);
        }
        *self = Self { start: self.start.wrapping_byte_add(data.len()), length: left };
        Ok(())
    }

    /// Writes `count` bytes of memory that a device shares, from `offset` on. What the device writes meanwhile may be among them
    /// in part.
    ///
    /// `EOVERFLOW` when the two sum up to more than any length, `ERANGE` when the memory or the room is shorter, `EFAULT` when
    /// not all of it can be written.
    #[track_caller]
    pub fn write_dma<T: KnownSize + AsBytes + ?Sized>(
        &mut self,
        memory: &Coherent<T>,
        offset: usize,
        count: usize,
    ) -> Result {
        let end = offset.checked_add(count).ok_or(EOVERFLOW)?;
        if end > memory.size() || count > self.length {
            return Err(ERANGE);
        }
        let start = memory.as_mut_ptr().cast::<u8>().wrapping_add(offset);
        // SAFETY: the bytes are within the allocation, which is initialised and accessed through views while it is borrowed.
        let shared = unsafe { SysMem::new(core::ptr::slice_from_raw_parts_mut(start, count)) };
        let mut copy = std::vec![0; count];
        // SAFETY: the copy has as many bytes.
        unsafe { SysMemBackend::copy_from_io(shared, copy.as_mut_ptr()) };
        self.write_slice(&copy)
    }

    /// Writes `data` from `offset` on as far as the room goes; returns how many bytes that were.
    ///
    /// Nothing is written when the offset is past the end of `data`. `EFAULT` when not all of them can be written.
    #[track_caller]
    pub fn write_slice_partial(&mut self, data: &[u8], offset: usize) -> Result<usize> {
        let Some(rest) = data.get(offset..) else { return Ok(0) };
        let count = rest.len().min(self.length);
        self.write_slice(&rest[..count])?;
        Ok(count)
    }

    /// As [`write_slice_partial`](Self::write_slice_partial) at a file position, which goes on by what was written: C's
    /// `simple_read_from_buffer()`. `EINVAL` for a negative position.
    #[track_caller]
    pub fn write_slice_file(&mut self, data: &[u8], offset: &mut file::Offset) -> Result<usize> {
        let Some(index) = index_of(*offset)? else { return Ok(0) };
        let count = self.write_slice_partial(data, index)?;
        *offset += count as file::Offset;
        Ok(count)
    }

    /// Writes a value. `EFAULT` when there is not enough room, or not all of it can be written.
    #[track_caller]
    pub fn write<T: AsBytes>(&mut self, value: &T) -> Result {
        self.write_slice(value.as_bytes())
    }
}
