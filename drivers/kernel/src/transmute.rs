//! Types that are their bytes: [`AsBytes`] can be looked at as bytes, [`FromBytes`] can be made of any.

/// Types for which all bytes are a value.
///
/// Padding is allowed; a `bool` or an enum is not, since some of their bytes are no value.
///
/// # Safety
///
/// Every pattern of bytes must be a value of the type, and it must have no interior mutability.
pub unsafe trait FromBytes {
    /// Looks at bytes as a value. `None` unless the length is the type's size and the bytes are aligned for it.
    fn from_bytes(bytes: &[u8]) -> Option<&Self>
    where
        Self: Sized,
    {
        let value = bytes.as_ptr().cast::<Self>();
        // SAFETY: length and alignment are right, and all bytes are a value.
        fits(bytes, value).then(|| unsafe { &*value })
    }

    /// As [`from_bytes`](Self::from_bytes) with the first bytes; returns the rest as well.
    fn from_bytes_prefix(bytes: &[u8]) -> Option<(&Self, &[u8])>
    where
        Self: Sized,
    {
        let (value, rest) = bytes.split_at_checked(size_of::<Self>())?;
        Some((Self::from_bytes(value)?, rest))
    }

    /// Looks at bytes as a value that may be changed. `None` as for [`from_bytes`](Self::from_bytes).
    fn from_bytes_mut(bytes: &mut [u8]) -> Option<&mut Self>
    where
        Self: AsBytes + Sized,
    {
        let value = bytes.as_mut_ptr().cast::<Self>();
        // SAFETY: length and alignment are right, all bytes are a value, and all values are bytes.
        fits(bytes, value).then(|| unsafe { &mut *value })
    }

    /// As [`from_bytes_mut`](Self::from_bytes_mut) with the first bytes; returns the rest as well.
    fn from_bytes_mut_prefix(bytes: &mut [u8]) -> Option<(&mut Self, &mut [u8])>
    where
        Self: AsBytes + Sized,
    {
        let (value, rest) = bytes.split_at_mut_checked(size_of::<Self>())?;
        Some((Self::from_bytes_mut(value)?, rest))
    }

    /// Copies a value out of bytes of any alignment. `None` unless the length is the type's size.
    fn from_bytes_copy(bytes: &[u8]) -> Option<Self>
    where
        Self: Sized,
    {
        // SAFETY: the length is right, the alignment does not matter, and all bytes are a value.
        (bytes.len() == size_of::<Self>()).then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    /// As [`from_bytes_copy`](Self::from_bytes_copy) with the first bytes; returns the rest as well.
    fn from_bytes_copy_prefix(bytes: &[u8]) -> Option<(Self, &[u8])>
    where
        Self: Sized,
    {
        let (value, rest) = bytes.split_at_checked(size_of::<Self>())?;
        Some((Self::from_bytes_copy(value)?, rest))
    }
}

/// Says whether bytes have the length and the alignment of what `value` points to.
fn fits<T>(bytes: &[u8], value: *const T) -> bool {
    bytes.len() == size_of::<T>() && value.is_aligned()
}

/// Types whose values can be looked at as bytes.
///
/// # Safety
///
/// A value must have no uninitialised bytes, so no padding, and no interior mutability.
pub unsafe trait AsBytes {
    /// Returns the bytes of the value.
    fn as_bytes(&self) -> &[u8] {
        let first = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: the bytes of a value are readable while it is borrowed, and all of them are initialised.
        unsafe { core::slice::from_raw_parts(first, size_of_val(self)) }
    }

    /// Returns the bytes of the value for writing.
    fn as_bytes_mut(&mut self) -> &mut [u8]
    where
        Self: FromBytes,
    {
        let len = size_of_val(self);
        let first = core::ptr::from_mut(self).cast::<u8>();
        // SAFETY: the bytes of a value are its borrower's alone, and whatever is written to them is a value.
        unsafe { core::slice::from_raw_parts_mut(first, len) }
    }
}

/// Marks types of this kind as both.
macro_rules! both {
    ($($ty:ty),* $(,)?) => {$(
        // SAFETY: the integers have a value for all bytes, and `()` has none.
        unsafe impl FromBytes for $ty {}
        // SAFETY: neither has padding.
        unsafe impl AsBytes for $ty {}
    )*};
}

both!((), i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

// SAFETY: it has no bytes.
unsafe impl<T> FromBytes for core::marker::PhantomData<T> {}
// SAFETY: it has no bytes.
unsafe impl<T> AsBytes for core::marker::PhantomData<T> {}

// SAFETY: the elements stand side by side, and each may be any bytes.
unsafe impl<T: FromBytes> FromBytes for [T] {}
// SAFETY: the elements stand side by side, and none has padding.
unsafe impl<T: AsBytes> AsBytes for [T] {}

// SAFETY: as for slices.
unsafe impl<T: FromBytes, const N: usize> FromBytes for [T; N] {}
// SAFETY: as for slices.
unsafe impl<T: AsBytes, const N: usize> AsBytes for [T; N] {}

// SAFETY: a `bool` is one byte, 0 or 1.
unsafe impl AsBytes for bool {}
// SAFETY: a `char` is four bytes without padding.
unsafe impl AsBytes for char {}
// SAFETY: a `str` is its bytes.
unsafe impl AsBytes for str {}

#[cfg(test)]
mod tests {
    use super::{AsBytes, FromBytes};

    /// Bytes that start at an address divisible by eight.
    #[repr(align(8))]
    struct Aligned([u8; 9]);

    #[test]
    fn bytes_are_a_value_when_length_and_alignment_fit() {
        let bytes = Aligned([1, 0, 0, 0, 2, 0, 0, 0, 3]).0;
        let aligned = &bytes[..4];
        let start = bytes.as_ptr().align_offset(4);
        assert_eq!(u32::from_bytes_copy(aligned), Some(u32::from_le_bytes([1, 0, 0, 0])));
        assert!(u32::from_bytes(&bytes[start..start + 4]).is_some());
        assert!(u32::from_bytes(&bytes[start + 1..start + 5]).is_none());
        assert!(u16::from_bytes(&bytes[start..start + 4]).is_none());
    }

    #[test]
    fn prefix_leaves_the_rest() {
        let (first, rest) = u16::from_bytes_copy_prefix(&[1, 2, 3]).unwrap();
        assert_eq!((first.to_ne_bytes(), rest), ([1, 2], &[3][..]));
        assert!(u64::from_bytes_copy_prefix(&[0; 7]).is_none());
    }

    #[test]
    fn written_bytes_change_the_value() {
        let mut value = [0u16; 2];
        value.as_bytes_mut()[2..].copy_from_slice(&0xbeefu16.to_ne_bytes());
        assert_eq!(value, [0, 0xbeef]);
        *u16::from_bytes_mut(value[..1].as_bytes_mut()).unwrap() = 7;
        assert_eq!(value.as_bytes(), [7u16.to_ne_bytes(), 0xbeefu16.to_ne_bytes()].as_flattened());
    }
}
