//! What the files of debugfs can show, and what can be set through them.

use crate::alloc::{Allocator, Box, Vec};
use crate::dma::Coherent;
use crate::error::{code::EINVAL, Result};
use crate::fmt;
use crate::fs::file::Offset;
use crate::ptr::KnownSize;
use crate::sync::atomic::{Atomic, AtomicBasicOps, AtomicType, Relaxed};
use crate::sync::{Arc, Mutex};
use crate::transmute::AsBytes;
use crate::uaccess::{UserSliceReader, UserSliceWriter};
use core::pin::Pin;
use core::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Things that can be shown as text.
///
/// What has `Debug` has this: its form with `{:?}`, and a newline. A mutex shows what it holds, and is locked meanwhile.
pub trait Writer {
    /// Writes the text.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T: fmt::Debug> Writer for T {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)?;
        f.write_str("\n")
    }
}

impl<T: Writer> Writer for Mutex<T> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.lock();
        T::write(&guard, f)
    }
}

/// Things that can be set by text.
///
/// Atomic numbers have this, and mutexes of what has `FromStr`: space around the text is ignored. `EINVAL` for a text that
/// is no value, or longer than any.
pub trait Reader {
    /// Takes the text from the reader and sets the value.
    fn read_from_slice(&self, reader: &mut UserSliceReader) -> Result;
}

/// Reads all that is left as text of at most `N` bytes, and makes a value of it.
#[track_caller]
fn parse<T: FromStr, const N: usize>(reader: &mut UserSliceReader) -> Result<T> {
    let mut room = [0; N];
    let text = room.get_mut(..reader.len()).ok_or(EINVAL)?;
    reader.read_slice(text)?;
    core::str::from_utf8(text)?.trim().parse().map_err(|_| EINVAL)
}

impl<T: FromStr + Unpin> Reader for Mutex<T> {
    fn read_from_slice(&self, reader: &mut UserSliceReader) -> Result {
        let value = parse::<T, 128>(reader)?;
        *self.lock() = value;
        Ok(())
    }
}

impl<T: AtomicType<Repr: AtomicBasicOps> + FromStr> Reader for Atomic<T> {
    fn read_from_slice(&self, reader: &mut UserSliceReader) -> Result {
        // As long as a sign and the digits of 64 bits.
        self.store(parse::<T, 21>(reader)?, Relaxed);
        Ok(())
    }
}

/// Things that can be read as bytes.
///
/// What has zerocopy's `IntoBytes` has this, and boxes, vectors, `Arc`s and mutexes of such.
pub trait BinaryWriter {
    /// Writes the bytes that stand at `offset`, as many as have room, moves the offset on, and returns how many they were.
    fn write_to_slice(&self, writer: &mut UserSliceWriter, offset: &mut Offset) -> Result<usize>;
}

/// Things that can be written as bytes by whoever has them alone.
///
/// What has zerocopy's `FromBytes` and `IntoBytes` has this, and boxes and vectors of such.
pub trait BinaryReaderMut {
    /// Sets the bytes that stand at `offset`, as many as the reader has, moves the offset on, and returns how many they were.
    fn read_from_slice_mut(&mut self, reader: &mut UserSliceReader, offset: &mut Offset) -> Result<usize>;
}

/// Things that can be written as bytes though they are shared.
///
/// Mutexes of what has [`BinaryReaderMut`] have this, and boxes and `Arc`s of such.
pub trait BinaryReader {
    /// Sets the bytes that stand at `offset`, as many as the reader has, moves the offset on, and returns how many they were.
    fn read_from_slice(&self, reader: &mut UserSliceReader, offset: &mut Offset) -> Result<usize>;
}

impl<T: Immutable + IntoBytes> BinaryWriter for T {
    fn write_to_slice(&self, writer: &mut UserSliceWriter, offset: &mut Offset) -> Result<usize> {
        writer.write_slice_file(IntoBytes::as_bytes(self), offset)
    }
}

impl<T: Immutable + IntoBytes, A: Allocator> BinaryWriter for Vec<T, A> {
    fn write_to_slice(&self, writer: &mut UserSliceWriter, offset: &mut Offset) -> Result<usize> {
        writer.write_slice_file(IntoBytes::as_bytes(self.as_slice()), offset)
    }
}

impl<T: FromBytes + IntoBytes> BinaryReaderMut for T {
    fn read_from_slice_mut(&mut self, reader: &mut UserSliceReader, offset: &mut Offset) -> Result<usize> {
        reader.read_slice_file(IntoBytes::as_mut_bytes(self), offset)
    }
}

impl<T: FromBytes + IntoBytes, A: Allocator> BinaryReaderMut for Vec<T, A> {
    fn read_from_slice_mut(&mut self, reader: &mut UserSliceReader, offset: &mut Offset) -> Result<usize> {
        reader.read_slice_file(IntoBytes::as_mut_bytes(self.as_mut_slice()), offset)
    }
}

impl<T: ?Sized + BinaryReaderMut, A: Allocator> BinaryReaderMut for Box<T, A> {
    fn read_from_slice_mut(&mut self, reader: &mut UserSliceReader, offset: &mut Offset) -> Result<usize> {
        T::read_from_slice_mut(self, reader, offset)
    }
}

impl<T: BinaryWriter> BinaryWriter for Mutex<T> {
    fn write_to_slice(&self, writer: &mut UserSliceWriter, offset: &mut Offset) -> Result<usize> {
        let guard = self.lock();
        T::write_to_slice(&guard, writer, offset)
    }
}

impl<T: BinaryReaderMut + Unpin> BinaryReader for Mutex<T> {
    fn read_from_slice(&self, reader: &mut UserSliceReader, offset: &mut Offset) -> Result<usize> {
        let mut guard = self.lock();
        T::read_from_slice_mut(&mut guard, reader, offset)
    }
}

/// The bytes that the device sees at the moment.
impl<T: KnownSize + AsBytes + ?Sized> BinaryWriter for Coherent<T> {
    fn write_to_slice(&self, writer: &mut UserSliceWriter, offset: &mut Offset) -> Result<usize> {
        if *offset < 0 {
            return Err(EINVAL);
        }
        // Past the end, or past every index, is the end of the file.
        let Some((start, rest)) =
            usize::try_from(*offset).ok().and_then(|start| Some((start, self.size().checked_sub(start)?)))
        else {
            return Ok(0);
        };
        let count = rest.min(writer.len());
        writer.write_dma(self, start, count)?;
        *offset += count as Offset;
        Ok(count)
    }
}

/// Passes reads as bytes on to what a pointer points to.
macro_rules! written_through {
    ($([$($param:tt)*] $pointer:ty),* $(,)?) => {$(
        impl<T: BinaryWriter, $($param)*> BinaryWriter for $pointer {
            fn write_to_slice(&self, writer: &mut UserSliceWriter, offset: &mut Offset) -> Result<usize> {
                T::write_to_slice(self, writer, offset)
            }
        }
    )*};
}

written_through!([A: Allocator] Box<T, A>, [A: Allocator] Pin<Box<T, A>>, [] Arc<T>);

/// Passes writes as bytes on to what a pointer points to.
macro_rules! read_through {
    ($([$($param:tt)*] $pointer:ty),* $(,)?) => {$(
        impl<T: ?Sized + BinaryReader, $($param)*> BinaryReader for $pointer {
            fn read_from_slice(&self, reader: &mut UserSliceReader, offset: &mut Offset) -> Result<usize> {
                T::read_from_slice(self, reader, offset)
            }
        }
    )*};
}

read_through!([A: Allocator] Box<T, A>, [A: Allocator] Pin<Box<T, A>>, [] Arc<T>);
