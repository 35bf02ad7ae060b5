//! What the files of debugfs do when they are read and written.

use super::entry::Dentry;
use super::traits::{BinaryReader, BinaryWriter, Reader, Writer};
use crate::error::{code::*, Result};
use crate::fmt;
use crate::fs::file::Offset;
use crate::fs::syscall::{checked_count, returned};
use crate::seq_file::{SeqFile, Single};
use crate::types::ScopeGuard;
use crate::uaccess::{UserPtr, UserSlice, UserSliceReader, UserSliceWriter};
use bringup_bench::file::{CharDevice, OpenFile};
use std::boxed::Box;
use std::rc::Rc;

type Show<T> = dyn Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;
type Store<T> = dyn Fn(&T, &mut UserSliceReader) -> Result;
type Export<T> = dyn Fn(&T, &mut UserSliceWriter, &mut Offset) -> Result<usize>;
type Import<T> = dyn Fn(&T, &mut UserSliceReader, &mut Offset) -> Result<usize>;

/// How a file is read.
enum Read<T: 'static> {
    /// As the text that this writes.
    Text(&'static Show<T>),
    /// As bytes, by position.
    Bytes(&'static Export<T>),
}

/// How a file is written.
enum Write<T: 'static> {
    /// Whole, by each write.
    Text(&'static Store<T>),
    /// As bytes, by position.
    Bytes(&'static Import<T>),
}

/// How a file with a `T` behind it is read and written.
pub(super) struct Handlers<T: 'static> {
    read: Option<Read<T>>,
    write: Option<Write<T>>,
}

impl<T: 'static> Clone for Read<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Read<T> {}

impl<T: 'static> Clone for Write<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Write<T> {}

impl<T: 'static> Clone for Handlers<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Handlers<T> {}

impl<T: 'static> Handlers<T> {
    /// Handlers of a file that can be neither read nor written.
    pub(super) const fn none() -> Self {
        Self { read: None, write: None }
    }

    pub(super) fn shown_by<F>(self, show: &'static F) -> Self
    where
        F: Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
    {
        const { assert!(size_of::<F>() == 0, "a callback is a function, or a closure that captures nothing") };
        Self { read: Some(Read::Text(show)), ..self }
    }

    pub(super) fn stored_by<W>(self, store: &'static W) -> Self
    where
        W: Fn(&T, &mut UserSliceReader) -> Result,
    {
        const { assert!(size_of::<W>() == 0, "a callback is a function, or a closure that captures nothing") };
        Self { write: Some(Write::Text(store)), ..self }
    }

    pub(super) fn shown(self) -> Self
    where
        T: Writer,
    {
        self.shown_by(&<T as Writer>::write)
    }

    pub(super) fn stored(self) -> Self
    where
        T: Reader,
    {
        self.stored_by(&<T as Reader>::read_from_slice)
    }

    pub(super) fn exported(self) -> Self
    where
        T: BinaryWriter,
    {
        Self { read: Some(Read::Bytes(&<T as BinaryWriter>::write_to_slice)), ..self }
    }

    pub(super) fn imported(self) -> Self
    where
        T: BinaryReader,
    {
        Self { write: Some(Write::Bytes(&<T as BinaryReader>::read_from_slice)), ..self }
    }
}

/// A file of debugfs as the machine sees it.
pub(super) struct Node<T: 'static> {
    data: *const T,
    handlers: Handlers<T>,
    dentry: Rc<Dentry>,
}

impl<T: 'static> Node<T> {
    /// Makes one.
    ///
    /// # Safety
    ///
    /// `data` must stay valid, and be shared only, until `dentry` is removed.
    pub(super) unsafe fn make(data: *const T, handlers: Handlers<T>, dentry: Rc<Dentry>) -> Rc<dyn CharDevice> {
        Rc::new(Self { data, handlers, dentry })
    }
}

impl<T: 'static> CharDevice for Node<T> {
    fn open(&self) -> Result<Box<dyn OpenFile>, i32> {
        if self.dentry.is_removed() {
            return Err(ENOENT.to_errno());
        }
        let (data, handlers, dentry) = (self.data, self.handlers, self.dentry.clone());
        Ok(Box::new(Opened { data, handlers, dentry, text: Single::default() }))
    }
}

/// A file of debugfs, opened.
struct Opened<T: 'static> {
    data: *const T,
    handlers: Handlers<T>,
    dentry: Rc<Dentry>,
    text: Single,
}

/// Shows a value as its file does.
struct Shown<'a, T: 'static>(&'a T, &'static Show<T>);

impl<T: 'static> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.1)(self.0, f)
    }
}

impl<T: 'static> Opened<T> {
    /// Lets `f` use the data, which cannot be removed meanwhile. `EIO` when it is removed already.
    fn with_data<R>(data: *const T, dentry: &Dentry, f: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        if !dentry.get() {
            return Err(EIO);
        }
        let _in_use = ScopeGuard::new(|| dentry.put());
        // SAFETY: the data is valid until the entry is removed, which waits for what was got.
        f(unsafe { &*data })
    }

    fn try_read(&mut self, buffer: usize, len: usize, pos: &mut i64) -> Result<usize> {
        let count = checked_count(buffer, len, *pos)?;
        let buffer = UserPtr::from_addr(buffer);
        let Self { data, handlers, dentry, text } = self;
        let read = handlers.read.ok_or(EINVAL)?;
        Self::with_data(*data, dentry, |data| match read {
            Read::Text(show) => {
                text.read(&|file: &SeqFile| crate::seq_print!(file, "{}", Shown(data, show)), buffer, count, pos)
            }
            Read::Bytes(export) => export(data, &mut UserSlice::new(buffer, count).writer(), pos),
        })
    }

    fn try_write(&mut self, buffer: usize, len: usize, pos: &mut i64) -> Result<usize> {
        let count = checked_count(buffer, len, *pos)?;
        let write = self.handlers.write.ok_or(EINVAL)?;
        let mut reader = UserSlice::new(UserPtr::from_addr(buffer), count).reader();
        Self::with_data(self.data, &self.dentry, |data| match write {
            Write::Text(store) => store(data, &mut reader).map(|()| count),
            Write::Bytes(import) => import(data, &mut reader, pos),
        })
    }
}

/// Moves a file's position only if the read or write works.
fn at_position(pos: &mut i64, transfer: impl FnOnce(&mut i64) -> Result<usize>) -> isize {
    let mut moved = *pos;
    let result = transfer(&mut moved);
    if result.is_ok() {
        *pos = moved;
    }
    returned(result)
}

impl<T: 'static> OpenFile for Opened<T> {
    fn read(&mut self, buffer: usize, len: usize, pos: &mut i64) -> isize {
        at_position(pos, |pos| self.try_read(buffer, len, pos))
    }

    fn write(&mut self, buffer: usize, len: usize, pos: &mut i64) -> isize {
        at_position(pos, |pos| self.try_write(buffer, len, pos))
    }

    fn ioctl(&mut self, _command: u32, _argument: usize) -> isize {
        ENOTTY.to_errno() as isize
    }

    fn release(self: Box<Self>) {
        drop(self);
    }
}
