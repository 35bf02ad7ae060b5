//! Numbers of `ioctl` operations: building them from their parts and taking them apart.
//!
//! A number has four parts, from the lowest bit: 8 bits that count, 8 bits of a driver's letter, 14 bits with the size of
//! what the argument points to, and 2 bits that say which way it is copied, seen from user space.

#![allow(non_snake_case, reason = "C's own names")]

use crate::build_assert::build_assert;

/// Bits of one part of a number: where they begin, and how many there are.
#[derive(Clone, Copy)]
struct Part {
    shift: u32,
    bits: u32,
}

impl Part {
    const fn max(self) -> u32 {
        (1 << self.bits) - 1
    }

    const fn of(self, number: u32) -> u32 {
        number >> self.shift & self.max()
    }
}

const NR: Part = Part { shift: 0, bits: 8 };
const TYPE: Part = Part { shift: 8, bits: 8 };
const SIZE: Part = Part { shift: 16, bits: 14 };
const DIR: Part = Part { shift: 30, bits: 2 };

/// User space writes: the kernel reads the argument.
const WRITE: u32 = 1;
/// User space reads: the kernel writes the argument.
const READ: u32 = 2;

/// Puts a number together; parts that do not fit fail the build.
#[inline(always)]
const fn number(dir: u32, ty: u32, nr: u32, size: usize) -> u32 {
    build_assert!(ty <= TYPE.max());
    build_assert!(nr <= NR.max());
    build_assert!(size <= SIZE.max() as usize);
    dir << DIR.shift | (size as u32) << SIZE.shift | ty << TYPE.shift | nr << NR.shift
}

/// The number of an operation whose argument points to nothing.
#[inline(always)]
pub const fn _IO(ty: u32, nr: u32) -> u32 {
    number(0, ty, nr, 0)
}

/// The number of an operation from which user space gets a `T`.
#[inline(always)]
pub const fn _IOR<T>(ty: u32, nr: u32) -> u32 {
    number(READ, ty, nr, size_of::<T>())
}

/// The number of an operation to which user space gives a `T`.
#[inline(always)]
pub const fn _IOW<T>(ty: u32, nr: u32) -> u32 {
    number(WRITE, ty, nr, size_of::<T>())
}

/// The number of an operation to which user space gives a `T`, and from which it gets one in the same place.
#[inline(always)]
pub const fn _IOWR<T>(ty: u32, nr: u32) -> u32 {
    number(READ | WRITE, ty, nr, size_of::<T>())
}

/// Returns which way the argument goes: bit 0 is set if user space gives, bit 1 if it gets.
pub const fn _IOC_DIR(nr: u32) -> u32 {
    DIR.of(nr)
}

/// Returns the driver's letter.
pub const fn _IOC_TYPE(nr: u32) -> u32 {
    TYPE.of(nr)
}

/// Returns the part that counts.
pub const fn _IOC_NR(nr: u32) -> u32 {
    NR.of(nr)
}

/// Returns the size in bytes of what the argument points to.
pub const fn _IOC_SIZE(nr: u32) -> usize {
    SIZE.of(nr) as usize
}
