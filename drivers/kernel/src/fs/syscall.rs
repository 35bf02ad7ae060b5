//! The kernel's side of `read`, `write`, `ioctl` and `close` on a character device: what is checked before the driver is
//! called.

use super::file::{flags, File};
use crate::bindings;
use crate::error::{code::*, Error, Result};
use crate::ffi::c_void;
use crate::sync::aref::ARef;
use crate::uaccess::UserPtr;
use bringup_bench::file::OpenFile;
use core::ptr::NonNull;
use std::boxed::Box;

/// The most bytes that one read or write moves: what fits an `int`, in whole pages.
const MAX_RW_COUNT: usize = i32::MAX as usize & crate::page::PAGE_MASK;

/// Where user space ends: x86-64 with four levels of page tables.
const TASK_SIZE_MAX: usize = (1 << 47) - crate::page::PAGE_SIZE;

/// Checks the buffer and the position of a read or write; returns how many bytes of it the driver is asked for.
///
/// `EFAULT` when the buffer is not user space's, `EINVAL` for a negative position or a length that is none.
pub(crate) fn checked_count(buffer: usize, len: usize, pos: i64) -> Result<usize> {
    let end = buffer.checked_add(len).ok_or(EFAULT)?;
    if end > TASK_SIZE_MAX {
        return Err(EFAULT);
    }
    if pos < 0 || pos.checked_add_unsigned(len as u64).is_none() {
        return Err(EINVAL);
    }
    Ok(len.min(MAX_RW_COUNT))
}

/// Turns a result into what a system call returns.
pub(crate) fn returned(result: Result<usize>) -> isize {
    match result {
        Ok(count) => count as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// A character device's file, opened.
pub(crate) struct Opened {
    file: ARef<File>,
}

impl Opened {
    /// Opens one for reading and writing.
    ///
    /// # Safety
    ///
    /// `private` must be what the driver's `open` expects to find in the file.
    pub(crate) unsafe fn open(
        fops: &'static bindings::file_operations,
        private: *mut c_void,
    ) -> Result<Box<dyn OpenFile>, i32> {
        // SAFETY: the caller's contract.
        let file = unsafe { bindings::file::open(fops, flags::O_RDWR | flags::O_LARGEFILE, private) }?;
        let file = NonNull::new(file.cast::<File>()).ok_or(ENOMEM.to_errno())?;
        // SAFETY: the file was opened with one reference, which is given to this value.
        Ok(Box::new(Self { file: unsafe { ARef::from_raw(file) } }))
    }

    fn fops(&self) -> &'static bindings::file_operations {
        // SAFETY: the reference that this value owns keeps the file valid.
        unsafe { (*self.file.as_ptr()).f_op }
    }

    /// Reads or writes with one of the driver's operations.
    fn transfer(
        &self,
        operation: Transfer,
        is_source: bool,
        buffer: usize,
        len: usize,
        pos: &mut i64,
    ) -> Result<usize> {
        let operation = operation.ok_or(EINVAL)?;
        let count = checked_count(buffer, len, *pos)?;
        let mut kiocb = bindings::kiocb { ki_filp: self.file.as_ptr(), ki_pos: *pos };
        let mut iter = bindings::iov_iter { data_source: is_source, user: UserPtr::from_addr(buffer), count };
        // SAFETY: both structures are valid during the call, and the file was opened with these operations.
        let result = unsafe { operation(&mut kiocb, &mut iter) };
        let count = usize::try_from(result).map_err(|_| Error::from_errno(result as i32))?;
        // The position stays where it was after an error.
        *pos = kiocb.ki_pos;
        Ok(count)
    }
}

/// `read_iter` or `write_iter`.
type Transfer = Option<unsafe fn(*mut bindings::kiocb, *mut bindings::iov_iter) -> isize>;

impl OpenFile for Opened {
    fn read(&mut self, buffer: usize, len: usize, pos: &mut i64) -> isize {
        returned(self.transfer(self.fops().read_iter, false, buffer, len, pos))
    }

    fn write(&mut self, buffer: usize, len: usize, pos: &mut i64) -> isize {
        returned(self.transfer(self.fops().write_iter, true, buffer, len, pos))
    }

    fn ioctl(&mut self, command: u32, argument: usize) -> isize {
        let no_such = ENOTTY.to_errno() as isize;
        let Some(ioctl) = self.fops().unlocked_ioctl else { return no_such };
        // SAFETY: the file is valid and was opened with these operations.
        let result = unsafe { ioctl(self.file.as_ptr(), command, argument) };
        // User space never sees the kernel's own word for it.
        if result == ENOIOCTLCMD.to_errno() as isize {
            return no_such;
        }
        result
    }

    fn release(self: Box<Self>) {
        drop(self);
    }
}
