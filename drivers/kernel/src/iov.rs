//! The buffers of reads and writes, as `read_iter` and `write_iter` get them.

use crate::alloc::{Allocator, Flags, Vec};
use crate::bindings;
use crate::error::{code::EINVAL, Result};
use crate::types::Opaque;
use crate::uaccess::{copy_in, copy_out};
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// What both kinds have; the lines of documentation are the same for both.
macro_rules! iov_iter {
    ($(#[$doc:meta])* $name:ident, $data:ty, $is_source:literal) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub struct $name<'data> {
            iov: Opaque<bindings::iov_iter>,
            _data: PhantomData<$data>,
        }

        impl<'data> $name<'data> {
            /// Looks at C's structure. Panics when it is one for the other direction.
            ///
            /// # Safety
            ///
            /// The structure must be valid, and during `'iov` be used through the result only; its memory must stay
            /// during `'data`.
            #[track_caller]
            #[inline]
            pub unsafe fn from_raw<'iov>(ptr: *mut bindings::iov_iter) -> &'iov mut $name<'data> {
                // SAFETY: the caller says that the structure is valid.
                let is_source = unsafe { (*ptr).data_source };
                assert!(is_source == $is_source, "a buffer is read or written, not both");
                // SAFETY: this type is a transparent wrapper, and the caller uses nothing else meanwhile.
                unsafe { &mut *ptr.cast() }
            }

            /// Returns C's structure.
            #[inline]
            pub fn as_raw(&mut self) -> *mut bindings::iov_iter {
                self.iov.get()
            }

            fn raw(&self) -> &bindings::iov_iter {
                // SAFETY: the structure is valid, and borrowed as this value is.
                unsafe { &*self.iov.get() }
            }

            fn raw_mut(&mut self) -> &mut bindings::iov_iter {
                // SAFETY: the structure is valid, and borrowed as this value is.
                unsafe { &mut *self.iov.get() }
            }

            /// Returns how many bytes are left. The user's memory may end before that.
            #[inline]
            pub fn len(&self) -> usize {
                self.raw().count
            }

            /// Says whether no bytes are left.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Goes on by `bytes`, at most to the end.
            #[inline]
            pub fn advance(&mut self, bytes: usize) {
                self.raw_mut().advance(bytes);
            }

            /// Goes back by `bytes`.
            ///
            /// # Safety
            ///
            /// It must have gone on by as many before.
            #[inline]
            pub unsafe fn revert(&mut self, bytes: usize) {
                self.raw_mut().revert(bytes);
            }
        }
    };
}

iov_iter! {
    /// A buffer that a write is read from, front to back.
    ///
    /// What it holds may change at any moment; going back and reading again may give something else. It belongs to the
    /// task that writes.
    IovIterSource, &'data [u8], true
}

iov_iter! {
    /// A buffer that a read is written to, front to back. It belongs to the task that reads.
    IovIterDest, &'data mut [u8], false
}

impl<'data> IovIterSource<'data> {
    /// Copies to `out`; returns how many bytes there were. They are fewer than `out` holds only at the end of the buffer or
    /// of the user's memory. May sleep.
    #[inline]
    #[track_caller]
    pub fn copy_from_iter(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.len());
        let copied = copy_in(self.raw().user, &mut out[..count]);
        self.advance(copied);
        copied
    }

    /// Appends all that is left to `out`; returns how many bytes there were. `ENOMEM` when there is no room for them. May
    /// sleep.
    #[inline]
    #[track_caller]
    pub fn copy_from_iter_vec<A: Allocator>(&mut self, out: &mut Vec<u8, A>, flags: Flags) -> Result<usize> {
        out.reserve(self.len(), flags)?;
        let count = self.copy_from_iter_raw(out.spare_capacity_mut()).len();
        // SAFETY: as many bytes of the spare capacity were just initialised.
        unsafe { out.inc_len(count) };
        Ok(count)
    }

    /// As [`copy_from_iter`](Self::copy_from_iter), for memory that holds nothing yet; returns what was initialised.
    ///
    /// Differs from Linux: the result borrows `out` as well, so that it cannot outlive it.
    #[inline]
    #[track_caller]
    pub fn copy_from_iter_raw<'a>(&'a mut self, out: &'a mut [MaybeUninit<u8>]) -> &'a mut [u8] {
        out.fill(MaybeUninit::new(0));
        // SAFETY: all of these bytes were just initialised.
        let out = unsafe { &mut *(core::ptr::from_mut(out) as *mut [u8]) };
        let copied = self.copy_from_iter(out);
        &mut out[..copied]
    }
}

impl<'data> IovIterDest<'data> {
    /// Copies `input` to the buffer; returns how many bytes had room. May sleep.
    #[inline]
    #[track_caller]
    pub fn copy_to_iter(&mut self, input: &[u8]) -> usize {
        let count = input.len().min(self.len());
        let copied = copy_out(&input[..count], self.raw().user);
        self.advance(copied);
        copied
    }

    /// Answers a read of a file whose whole contents are `contents`: copies what stands at `ppos` and moves it on.
    ///
    /// Returns how many bytes that were, 0 at the end. `EINVAL` for a negative position.
    #[inline]
    #[track_caller]
    pub fn simple_read_from_buffer(&mut self, ppos: &mut i64, contents: &[u8]) -> Result<usize> {
        if *ppos < 0 {
            return Err(EINVAL);
        }
        let rest = usize::try_from(*ppos).ok().and_then(|pos| contents.get(pos..)).unwrap_or_default();
        if rest.is_empty() {
            return Ok(0);
        }
        let count = self.copy_to_iter(rest);
        *ppos += count as i64;
        Ok(count)
    }
}
