//! Strings: bytes without UTF-8 ([`BStr`]), C strings ([`CStr`], [`CString`]) and writers into buffers.

use crate::alloc::{flags::GFP_KERNEL, AllocError, KVec};
use crate::error::{code::*, Error, Result};
use crate::ffi::c_char;
use crate::fmt::{self, Write};
use core::ops::{Deref, DerefMut, Index};

pub use crate::ffi::CStr;

mod format;
pub mod parse_int;

pub use format::{Formatter, NullTerminatedFormatter, RawFormatter};

/// A string of bytes that need not be UTF-8. It dereferences to the bytes.
#[repr(transparent)]
pub struct BStr([u8]);

impl BStr {
    /// Looks at bytes as a string.
    pub const fn from_bytes(bytes: &[u8]) -> &Self {
        // SAFETY: `BStr` is a transparent wrapper of `[u8]`.
        unsafe { &*(core::ptr::from_ref(bytes) as *const Self) }
    }

    /// Returns the length in bytes.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether the length is zero.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what follows `pattern`, or `None` when the string does not start with it.
    pub fn strip_prefix(&self, pattern: impl AsRef<Self>) -> Option<&BStr> {
        self.0.strip_prefix(&pattern.as_ref().0).map(Self::from_bytes)
    }

    /// Writes the bytes with escapes; `quoted` escapes also what ends or escapes a quoted string.
    fn write_escaped(&self, f: &mut fmt::Formatter<'_>, quoted: bool) -> fmt::Result {
        for &byte in &self.0 {
            match byte {
                b'\t' => f.write_str("\\t"),
                b'\n' => f.write_str("\\n"),
                b'\r' => f.write_str("\\r"),
                b'"' | b'\\' if quoted => f.write_char('\\').and_then(|()| f.write_char(byte.into())),
                b' '..=b'~' => f.write_char(byte.into()),
                _ => write!(f, "\\x{byte:02x}"),
            }?;
        }
        Ok(())
    }
}

impl fmt::Display for BStr {
    /// Printable ASCII stands for itself; tab, newline and return are `\t`, `\n` and `\r`; the rest is `\x` and two digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_escaped(f, false)
    }
}

impl fmt::Debug for BStr {
    /// As the displayed form, in double quotes, with `"` and `\` escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.write_escaped(f, true)?;
        f.write_char('"')
    }
}

impl Deref for BStr {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for BStr {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<Idx> Index<Idx> for BStr
where
    [u8]: Index<Idx, Output = [u8]>,
{
    type Output = Self;

    fn index(&self, index: Idx) -> &Self {
        Self::from_bytes(&self.0[index])
    }
}

impl AsRef<BStr> for BStr {
    fn as_ref(&self) -> &BStr {
        self
    }
}

impl AsRef<BStr> for [u8] {
    fn as_ref(&self) -> &BStr {
        BStr::from_bytes(self)
    }
}

impl AsRef<BStr> for CStr {
    fn as_ref(&self) -> &BStr {
        BStr::from_bytes(self.to_bytes())
    }
}

/// Makes a constant [`BStr`] of a string literal, which may hold any UTF-8.
#[macro_export]
macro_rules! b_str {
    ($text:literal) => {
        const { $crate::str::BStr::from_bytes(::core::primitive::str::as_bytes($text)) }
    };
}

/// Makes a constant [`CStr`] of a string known at build time, such as a `concat!`.
///
/// A literal is better written `c"…"`. The build fails when the string holds a NUL.
///
/// # Examples
///
/// ```
/// const WHERE: &kernel::str::CStr = kernel::c_str!(concat!("queue", 7));
/// assert_eq!(WHERE, c"queue7");
/// ```
#[macro_export]
macro_rules! c_str {
    ($text:expr) => {
        const {
            match $crate::str::CStr::from_bytes_with_nul(::core::concat!($text, "\0").as_bytes()) {
                Ok(string) => string,
                Err(_) => ::core::panic!("a C string cannot hold a NUL"),
            }
        }
    };
}

/// Returns the string's pointer in C's type, in a constant.
pub const fn as_char_ptr_in_const_context(c_str: &CStr) -> *const c_char {
    c_str.as_ptr().cast()
}

mod private {
    /// Only `CStr` is extended.
    pub trait Sealed {}

    impl Sealed for super::CStr {}
}

/// What the kernel adds to [`CStr`].
pub trait CStrExt: private::Sealed {
    /// Returns the string's pointer in C's type.
    fn as_char_ptr(&self) -> *const c_char;

    /// Looks at a C string through its pointer.
    ///
    /// # Safety
    ///
    /// The pointer must lead to a string that ends in a NUL and that neither changes nor goes away during `'a`.
    unsafe fn from_char_ptr<'a>(ptr: *const c_char) -> &'a Self;

    /// Looks at bytes as a C string that may be changed.
    ///
    /// # Safety
    ///
    /// The bytes must end in a NUL and hold no other.
    unsafe fn from_bytes_with_nul_unchecked_mut(bytes: &mut [u8]) -> &mut Self;

    /// Copies the string into an allocation of its own.
    #[track_caller]
    fn to_cstring(&self) -> Result<CString, AllocError>;

    /// Turns `A` to `Z` into `a` to `z` in place.
    fn make_ascii_lowercase(&mut self);

    /// Turns `a` to `z` into `A` to `Z` in place.
    fn make_ascii_uppercase(&mut self);

    /// Copies the string with `A` to `Z` as `a` to `z`.
    #[track_caller]
    fn to_ascii_lowercase(&self) -> Result<CString, AllocError>;

    /// Copies the string with `a` to `z` as `A` to `Z`.
    #[track_caller]
    fn to_ascii_uppercase(&self) -> Result<CString, AllocError>;
}

/// The bytes of a C string, its NUL included.
///
/// # Safety
///
/// When the borrow ends, the bytes must again end in their only NUL.
unsafe fn bytes_mut(string: &mut CStr) -> &mut [u8] {
    // SAFETY: a `CStr` is its bytes with the NUL; the caller keeps its invariant.
    unsafe { &mut *(core::ptr::from_mut(string) as *mut [u8]) }
}

impl CStrExt for CStr {
    fn as_char_ptr(&self) -> *const c_char {
        as_char_ptr_in_const_context(self)
    }

    unsafe fn from_char_ptr<'a>(ptr: *const c_char) -> &'a Self {
        // SAFETY: the caller's contract.
        unsafe { CStr::from_ptr(ptr.cast()) }
    }

    unsafe fn from_bytes_with_nul_unchecked_mut(bytes: &mut [u8]) -> &mut Self {
        // SAFETY: a `CStr` is its bytes with the NUL, and the caller says that these are such.
        unsafe { &mut *(core::ptr::from_mut(bytes) as *mut CStr) }
    }

    fn to_cstring(&self) -> Result<CString, AllocError> {
        CString::try_from(self)
    }

    fn make_ascii_lowercase(&mut self) {
        // SAFETY: changing the case makes and removes no NUL.
        unsafe { bytes_mut(self) }.make_ascii_lowercase();
    }

    fn make_ascii_uppercase(&mut self) {
        // SAFETY: changing the case makes and removes no NUL.
        unsafe { bytes_mut(self) }.make_ascii_uppercase();
    }

    fn to_ascii_lowercase(&self) -> Result<CString, AllocError> {
        let mut copy = CString::try_from(self)?;
        copy.make_ascii_lowercase();
        Ok(copy)
    }

    fn to_ascii_uppercase(&self) -> Result<CString, AllocError> {
        let mut copy = CString::try_from(self)?;
        copy.make_ascii_uppercase();
        Ok(copy)
    }
}

impl fmt::Display for CStr {
    /// Printable ASCII stands for itself; the rest is `\x` and two digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|&byte| match byte {
            b' '..=b'~' => f.write_char(byte.into()),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

/// Reads a truth value the way module parameters and sysfs files have it.
///
/// `1`, and words with `y`, `t` or `e` in front or `on` are true; `0`, and words with `n`, `f` or `d` in front or `of`
/// are false; either case. Only the first two characters count. `EINVAL` for anything else.
pub fn kstrtobool(string: &CStr) -> Result<bool> {
    kstrtobool_bytes(string.to_bytes())
}

/// As [`kstrtobool`], for bytes that need not end in a NUL.
pub fn kstrtobool_bytes(bytes: &[u8]) -> Result<bool> {
    match bytes {
        [b'1' | b'y' | b'Y' | b't' | b'T' | b'e' | b'E', ..] => Ok(true),
        [b'0' | b'n' | b'N' | b'f' | b'F' | b'd' | b'D', ..] => Ok(false),
        [b'o' | b'O', b'n' | b'N', ..] => Ok(true),
        [b'o' | b'O', b'f' | b'F', ..] => Ok(false),
        _ => Err(EINVAL),
    }
}

/// An owned C string: bytes that end in their only NUL. It dereferences to [`CStr`].
pub struct CString {
    /// The bytes with the NUL.
    buf: KVec<u8>,
}

impl CString {
    /// Writes the arguments into a new string.
    ///
    /// `ENOMEM` when the allocation fails; `EINVAL` when the text holds a NUL, or is longer the second time it is
    /// formatted than the first.
    #[track_caller]
    pub fn try_from_fmt(args: fmt::Arguments<'_>) -> Result<Self, Error> {
        // The first pass measures, the second writes.
        let mut measure = RawFormatter::measuring();
        measure.write_fmt(args)?;
        let room = measure.bytes_written() + 1;

        let mut buf = KVec::zeroed(room, GFP_KERNEL)?;
        let mut text = Formatter::new(&mut buf[..room - 1]);
        text.write_fmt(args)?;
        let len = text.bytes_written();

        if buf[..len].contains(&0) {
            return Err(EINVAL);
        }
        buf.truncate(len + 1);
        Ok(Self { buf })
    }
}

impl Deref for CString {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        // SAFETY: the bytes end in their only NUL.
        unsafe { CStr::from_bytes_with_nul_unchecked(&self.buf) }
    }
}

impl DerefMut for CString {
    fn deref_mut(&mut self) -> &mut CStr {
        // SAFETY: the bytes end in their only NUL.
        unsafe { CStr::from_bytes_with_nul_unchecked_mut(&mut self.buf) }
    }
}

impl<'a> TryFrom<&'a CStr> for CString {
    type Error = AllocError;

    #[track_caller]
    fn try_from(string: &'a CStr) -> Result<CString, AllocError> {
        let mut buf = KVec::new();
        buf.extend_from_slice(string.to_bytes_with_nul(), GFP_KERNEL)?;
        Ok(CString { buf })
    }
}

impl fmt::Debug for CString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
