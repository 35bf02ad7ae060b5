//! Open files.
//!
//! There are no file descriptors here, so nothing that takes or makes one.

use crate::bindings;
use crate::sync::aref::AlwaysRefCounted;
use crate::types::Opaque;
use core::ops::Deref;
use core::ptr::NonNull;

/// A position in a file, in bytes.
pub type Offset = bindings::loff_t;

/// The flags that a file is opened with. The numbers are those of x86 and Arm's generic ABI where both agree, else x86's.
pub mod flags {
    /// Which of [`O_RDONLY`], [`O_WRONLY`] and [`O_RDWR`] it is.
    pub const O_ACCMODE: u32 = 0o3;
    /// It can be read only.
    pub const O_RDONLY: u32 = 0o0;
    /// It can be written only.
    pub const O_WRONLY: u32 = 0o1;
    /// It can be read and written.
    pub const O_RDWR: u32 = 0o2;
    /// Was to be made if there was none.
    pub const O_CREAT: u32 = 0o100;
    /// Was to be made anew.
    pub const O_EXCL: u32 = 0o200;
    /// Does not become the controlling terminal.
    pub const O_NOCTTY: u32 = 0o400;
    /// Was to be emptied.
    pub const O_TRUNC: u32 = 0o1000;
    /// Each write goes to the end.
    pub const O_APPEND: u32 = 0o2000;
    /// Reads and writes fail with `EAGAIN` rather than wait.
    pub const O_NONBLOCK: u32 = 0o4000;
    /// The old name of [`O_NONBLOCK`].
    pub const O_NDELAY: u32 = O_NONBLOCK;
    /// Writes reach the medium before they return.
    pub const O_DSYNC: u32 = 0o10000;
    /// A signal says when it can be read or written.
    pub const O_ASYNC: u32 = 0o20000;
    /// Reads and writes go past the page cache.
    pub const O_DIRECT: u32 = 0o40000;
    /// It may be longer than 2 GiB; 64-bit kernels always set it.
    pub const O_LARGEFILE: u32 = 0o100000;
    /// It had to be a directory.
    pub const O_DIRECTORY: u32 = 0o200000;
    /// It could not be a symbolic link.
    pub const O_NOFOLLOW: u32 = 0o400000;
    /// Reading does not change the time of the last access.
    pub const O_NOATIME: u32 = 0o1000000;
    /// It is closed by `execve`.
    pub const O_CLOEXEC: u32 = 0o2000000;
    /// Writes and what is known about the file reach the medium before they return.
    pub const O_SYNC: u32 = 0o4000000 | O_DSYNC;
    /// It only names a place in the file system.
    pub const O_PATH: u32 = 0o10000000;
    /// It has no name.
    pub const O_TMPFILE: u32 = 0o20000000 | O_DIRECTORY;
}

/// An open file that any task may use. It counts its references: see [`ARef`](crate::sync::aref::ARef).
///
/// Differs from Linux: when the last reference goes, the driver's `release` runs at once; Linux waits until the task is
/// about to return to user space.
#[repr(transparent)]
pub struct File {
    inner: Opaque<bindings::file>,
}

// SAFETY: a machine has one thread, so its tasks cannot race for the count.
unsafe impl Send for File {}

// SAFETY: as above.
unsafe impl Sync for File {}

/// An open file in the hands of the task that called the driver.
#[repr(transparent)]
pub struct LocalFile {
    inner: Opaque<bindings::file>,
}

/// Counts the references of both kinds of file in C's structure.
macro_rules! counted_in_the_file {
    ($($ty:ident)*) => {$(
        // SAFETY: the structure is freed when its count is zero, not before.
        unsafe impl AlwaysRefCounted for $ty {
            fn inc_ref(&self) {
                // SAFETY: a file that is borrowed is valid.
                unsafe { bindings::get_file(self.inner.get()) };
            }

            unsafe fn dec_ref(obj: NonNull<Self>) {
                // SAFETY: the caller owns a reference.
                unsafe { bindings::fput(obj.as_ptr().cast()) };
            }
        }
    )*};
}

counted_in_the_file!(File LocalFile);

impl LocalFile {
    /// Looks at a file through its pointer.
    ///
    /// # Safety
    ///
    /// The pointer must be that of an open file that somebody holds a reference to during `'a`.
    #[inline]
    pub unsafe fn from_raw_file<'a>(ptr: *const bindings::file) -> &'a LocalFile {
        // SAFETY: the type is a transparent wrapper, and the caller answers for the file.
        unsafe { &*ptr.cast() }
    }

    /// Returns the pointer to the file.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::file {
        self.inner.get()
    }

    /// Returns the [`flags`] it was opened with.
    ///
    /// Differs from Linux: every file is opened for reading and writing, without other flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        // SAFETY: a file that is borrowed is valid.
        unsafe { (*self.as_ptr()).f_flags }
    }
}

impl File {
    /// Looks at a file through its pointer.
    ///
    /// # Safety
    ///
    /// The pointer must be that of an open file that somebody holds a reference to during `'a`.
    #[inline]
    pub unsafe fn from_raw_file<'a>(ptr: *const bindings::file) -> &'a File {
        // SAFETY: the type is a transparent wrapper, and the caller answers for the file.
        unsafe { &*ptr.cast() }
    }
}

impl Deref for File {
    type Target = LocalFile;

    #[inline]
    fn deref(&self) -> &LocalFile {
        // SAFETY: a file that is borrowed is valid.
        unsafe { LocalFile::from_raw_file(self.inner.get()) }
    }
}
