//! C's integer types with the widths and signs that the kernel gives them, which are not those of `core::ffi`.

pub use core::ffi::{c_void, CStr};

/// Names the types and checks each width against the host's C.
macro_rules! c_types {
    ($($(#[$doc:meta])* $name:ident is $int:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "C's own names")]
        pub type $name = $int;

        const _: () = assert!(size_of::<$name>() == size_of::<core::ffi::$name>());
    )*};
}

c_types! {
    /// `char`, which the kernel compiles as unsigned.
    c_char is u8,
    /// `signed char`.
    c_schar is i8,
    /// `unsigned char`.
    c_uchar is u8,
    /// `short`.
    c_short is i16,
    /// `unsigned short`.
    c_ushort is u16,
    /// `int`.
    c_int is i32,
    /// `unsigned int`.
    c_uint is u32,
    /// `long`, as wide as a pointer.
    c_long is isize,
    /// `unsigned long`, as wide as a pointer.
    c_ulong is usize,
    /// `long long`.
    c_longlong is i64,
    /// `unsigned long long`.
    c_ulonglong is u64,
}
