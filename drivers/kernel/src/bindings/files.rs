//! C's structures of files: open files, the position and buffer of a read or write, and what a driver does with them.

use super::{device, loff_t};
use crate::ffi::{c_int, c_uint, c_void, CStr};
use crate::uaccess::UserPtr;
use core::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

/// The operations of a character device's driver. Those that are missing are refused as the kernel refuses them.
pub struct file_operations {
    /// Called with a file that has the device in its private data; 0, or a negative error number.
    pub(crate) open: unsafe fn(*mut file) -> c_int,
    /// Called when the last reference to the file goes.
    pub(crate) release: unsafe fn(*mut file),
    /// The number of bytes read, or a negative error number.
    pub(crate) read_iter: Option<unsafe fn(*mut kiocb, *mut iov_iter) -> isize>,
    /// The number of bytes written, or a negative error number.
    pub(crate) write_iter: Option<unsafe fn(*mut kiocb, *mut iov_iter) -> isize>,
    /// What the operation returns, or a negative error number.
    pub(crate) unlocked_ioctl: Option<unsafe fn(*mut file, c_uint, usize) -> isize>,
}

/// An open file.
pub struct file {
    pub(crate) f_op: &'static file_operations,
    pub(crate) f_flags: u32,
    pub(crate) private_data: Cell<*mut c_void>,
    /// Counts the references: the file is released when there is none.
    pub(crate) f_ref: Cell<usize>,
}

/// One read or write of a file.
pub struct kiocb {
    pub(crate) ki_filp: *mut file,
    pub(crate) ki_pos: loff_t,
}

/// The user's buffer of one read or write.
pub struct iov_iter {
    /// Whether it is read, by a write.
    pub(crate) data_source: bool,
    /// Where the rest of it begins.
    pub(crate) user: UserPtr,
    /// How long the rest is, in bytes.
    pub(crate) count: usize,
}

impl iov_iter {
    pub(crate) fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.count);
        self.user = self.user.wrapping_byte_add(bytes);
        self.count -= bytes;
    }

    pub(crate) fn revert(&mut self, bytes: usize) {
        self.user = self.user.wrapping_byte_add(bytes.wrapping_neg());
        self.count += bytes;
    }
}

/// The text that a file is read as.
#[derive(Default)]
pub struct seq_file {
    pub(crate) text: Vec<u8>,
}

/// A misc device, see [`crate::miscdevice`].
pub struct miscdevice {
    pub(crate) name: &'static CStr,
    pub(crate) fops: &'static file_operations,
    /// Null until it is registered.
    pub(crate) this_device: *mut device,
    /// What the machine calls it, and who opens it; `None` until it is registered.
    pub(crate) node: Option<(u32, Rc<crate::miscdevice::Gate>)>,
}

impl file {
    /// Opens: calls the driver. The file has one reference then.
    ///
    /// # Safety
    ///
    /// `private` must be what the driver's `open` expects to find in the file.
    pub(crate) unsafe fn open(
        f_op: &'static file_operations,
        f_flags: u32,
        private: *mut c_void,
    ) -> Result<*mut file, c_int> {
        let file = file { f_op, f_flags, private_data: Cell::new(private), f_ref: Cell::new(1) };
        let file = std::boxed::Box::into_raw(std::boxed::Box::new(file));
        // SAFETY: the file is valid, and the caller answers for the private data.
        match unsafe { (f_op.open)(file) } {
            0 => Ok(file),
            error => {
                // SAFETY: the file came from a box, and after an error the driver has not kept it.
                drop(unsafe { std::boxed::Box::from_raw(file) });
                Err(error)
            }
        }
    }
}

/// Counts one reference to an open file more.
///
/// # Safety
///
/// The file must be valid.
pub(crate) unsafe fn get_file(file: *mut file) {
    // SAFETY: the caller's contract.
    let count = unsafe { &(*file).f_ref };
    count.set(count.get() + 1);
}

/// Counts one reference to an open file less; with the last the driver releases it and it is gone.
///
/// # Safety
///
/// The file must be valid, and the caller must own a reference.
pub(crate) unsafe fn fput(file: *mut file) {
    // SAFETY: the caller's contract.
    let count = unsafe { &(*file).f_ref };
    count.set(count.get() - 1);
    if count.get() > 0 {
        return;
    }
    // SAFETY: the file is valid and was opened.
    unsafe { ((*file).f_op.release)(file) };
    // SAFETY: it came from a box, and nobody refers to it any more.
    drop(unsafe { std::boxed::Box::from_raw(file) });
}
