//! Powers of two from 1 KiB to 2 GiB, under the names that Linux gives them.
//!
//! The constants of the module are [`usize`]; [`SizeConstants`] has the same ones as constants of [`u32`], [`u64`] and
//! [`usize`], for addresses whose width is the device's and not the CPU's.
//!
//! ```
//! use kernel::sizes::{SizeConstants, SZ_4K, SZ_1M};
//!
//! assert_eq!(SZ_1M / SZ_4K, 256);
//! assert_eq!(3 * u64::SZ_2G, 0x1_8000_0000);
//! ```

/// Defines each size once as a constant and once as a member of [`SizeConstants`].
macro_rules! sizes {
    ($($name:ident = 1 << $power:literal, $text:literal;)*) => {
        $(
            #[doc = concat!($text, ", in bytes.")]
            pub const $name: usize = 1 << $power;
        )*

        /// The sizes of this module as constants of an integer type.
        ///
        /// All of them fit in the narrowest implementor, [`u32`].
        pub trait SizeConstants {
            $(
                #[doc = concat!($text, ", in bytes.")]
                const $name: Self;
            )*
        }

        impl SizeConstants for u32 {
            $(const $name: Self = 1 << $power;)*
        }

        impl SizeConstants for u64 {
            $(const $name: Self = 1 << $power;)*
        }

        impl SizeConstants for usize {
            $(const $name: Self = 1 << $power;)*
        }
    };
}

sizes! {
    SZ_1K = 1 << 10, "1 KiB";
    SZ_2K = 1 << 11, "2 KiB";
    SZ_4K = 1 << 12, "4 KiB";
    SZ_8K = 1 << 13, "8 KiB";
    SZ_16K = 1 << 14, "16 KiB";
    SZ_32K = 1 << 15, "32 KiB";
    SZ_64K = 1 << 16, "64 KiB";
    SZ_128K = 1 << 17, "128 KiB";
    SZ_256K = 1 << 18, "256 KiB";
    SZ_512K = 1 << 19, "512 KiB";
    SZ_1M = 1 << 20, "1 MiB";
    SZ_2M = 1 << 21, "2 MiB";
    SZ_4M = 1 << 22, "4 MiB";
    SZ_8M = 1 << 23, "8 MiB";
    SZ_16M = 1 << 24, "16 MiB";
    SZ_32M = 1 << 25, "32 MiB";
    SZ_64M = 1 << 26, "64 MiB";
    SZ_128M = 1 << 27, "128 MiB";
    SZ_256M = 1 << 28, "256 MiB";
    SZ_512M = 1 << 29, "512 MiB";
    SZ_1G = 1 << 30, "1 GiB";
    SZ_2G = 1 << 31, "2 GiB";
}
