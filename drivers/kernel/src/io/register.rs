//! Registers as types: where they are and what fields they have, said once.
//!
//! [`register!`](crate::register!) defines them. Every register is a [`bitfield`](mod@crate::bitfield) of the width
//! of its accesses, and has a location that the methods of [`Io`](super::Io) take:
//!
//! ```
//! use kernel::{io::{register, Io, Mmio, Region}, prelude::*};
//!
//! register! {
//!     /// Starts and resets the engine.
//!     CONTROL(u32) @ 0x10 {
//!         /// How many requests are taken at a time, less one.
//!         11:8 burst;
//!         1:1 reset;
//!         0:0 enable;
//!     }
//! }
//!
//! fn start(regs: Mmio<'_, Region<0x100>>) {
//!     let before = regs.read(CONTROL);
//!     // The value knows where it belongs ...
//!     regs.write_reg(before.with_reset(false));
//!     // ... or is told; a register at a fixed offset needs no more than `()`.
//!     regs.write((), CONTROL::zeroed().with_const_burst::<7>());
//!     regs.update(CONTROL, |control| control.with_enable(true));
//! }
//! ```
//!
//! # Kinds
//!
//! | written | location |
//! |---|---|
//! | `NAME(u32) @ 0x10` | `NAME` |
//! | `NAME(u32)[8] @ 0x10`, `NAME(u32)[8, stride = 16] @ 0x10` | `NAME::at(i)`, `NAME::try_at(i)` |
//! | `NAME(u32) @ Base + 0x10` | `NAME::of::<B>()` |
//! | `NAME(u32)[8] @ Base + 0x10`, with a stride or without | `NAME::of::<B>().at(i)`, `NAME::of::<B>().try_at(i)` |
//! | `NAME(u32) => OTHER`, `NAME(u32) => OTHER[3]` | `NAME` |
//! | `NAME(u32) => Base + OTHER`, `NAME(u32) => Base + OTHER[3]` | `NAME::of::<B>()` |
//!
//! - **Arrays** have that many registers, one every `stride` bytes, or side by side. `at` needs an index that is
//!   provably in bounds, `try_at` answers with an `Option`. Both come with the trait [`Array`].
//! - **Relative** registers exist once per block of a device that has several alike. `Base` is a type that names the
//!   kind of block, and `B` one of the blocks, which says where it starts by implementing [`RegisterBase<Base>`].
//!   `of` comes with the trait [`WithBase`].
//! - **Aliases** are other fields for the place of another register, or of one of an array of them.
//!
//! ```
//! use kernel::{io::{register, register::{Array, RegisterBase, WithBase}, Io, Mmio, Region}, prelude::*};
//!
//! /// The blocks that serve one queue each.
//! struct QueueBlock;
//!
//! struct Admin;
//! impl RegisterBase<QueueBlock> for Admin {
//!     const BASE: usize = 0x400;
//! }
//!
//! struct Bulk;
//! impl RegisterBase<QueueBlock> for Bulk {
//!     const BASE: usize = 0x800;
//! }
//!
//! register! {
//!     LEVEL(u16) @ QueueBlock + 0x2 {
//!         15:0 entries;
//!     }
//!
//!     /// One per interrupt vector and queue.
//!     MASK(u32)[4, stride = 8] @ QueueBlock + 0x40 {
//!         0:0 masked;
//!     }
//!
//!     MAILBOX(u32)[16] @ 0x80 {
//!         31:0 word;
//!     }
//!
//!     /// What the firmware leaves in the last word once it has started.
//!     STARTED(u32) => MAILBOX[15] {
//!         31:16 version;
//!         0:0 ready;
//!     }
//! }
//!
//! fn quiesce(regs: Mmio<'_, Region<0x1000>>, vector: usize) -> Result<bool> {
//!     let mask = MASK::of::<Bulk>().try_at(vector).ok_or(EINVAL)?;
//!     regs.update(mask, |mask| mask.with_masked(true));
//!     regs.write(MAILBOX::at(3), 0xdead.into());
//!     let idle = regs.read(LEVEL::of::<Admin>()).entries() == 0;
//!     Ok(idle && regs.read(STARTED).ready().into_bool())
//! }
//! ```
//!
//! Drivers import [`Array`], [`WithBase`] and [`RegisterBase`]; what else is public here is for the macro.

use super::{IoLoc, Region};
use crate::build_assert::build_assert;
use core::marker::PhantomData;

/// A register of any kind.
pub trait Register: Sized {
    /// The unsigned integer it is accessed as.
    type Storage: Into<Self> + From<Self>;

    /// Bytes from where its kind counts to it, or to the first of an array.
    const OFFSET: usize;
}

/// A register that is at one place of the region.
pub trait FixedRegister: Register {}

/// Registers that are [`SIZE`](Self::SIZE) times in the region, or in each block.
pub trait RegisterArray: Register {
    /// How many there are.
    const SIZE: usize;

    /// Bytes from the start of one to the start of the next.
    const STRIDE: usize;
}

/// A block of a device, of the kind `T`. A type that is several kinds of block implements it once for each.
pub trait RegisterBase<T> {
    /// Bytes from the start of the region to the block.
    const BASE: usize;
}

/// Registers that are once in each block of a kind.
pub trait WithBase {
    /// The kind of block.
    type BaseFamily;

    /// Where it is in the block `B`.
    #[inline(always)]
    fn of<B>() -> RelativeRegisterLoc<Self, B>
    where
        B: RegisterBase<Self::BaseFamily>,
        Self: Register,
    {
        <RelativeRegisterLoc<Self, B>>::new()
    }
}

/// A single register of each block of a kind.
pub trait RelativeRegister: Register + WithBase {}

/// An array of registers of each block of a kind.
pub trait RelativeRegisterArray: RegisterArray + WithBase {}

/// Gives the locations of an array's elements.
pub trait Array {
    /// Where element `idx` is; a build error unless it provably exists.
    #[inline(always)]
    #[track_caller]
    fn at(idx: usize) -> RegisterArrayLoc<Self>
    where
        Self: RegisterArray,
    {
        <RegisterArrayLoc<Self>>::new(idx)
    }

    /// Where element `idx` is, if it exists.
    #[inline(always)]
    fn try_at(idx: usize) -> Option<RegisterArrayLoc<Self>>
    where
        Self: RegisterArray,
    {
        <RegisterArrayLoc<Self>>::try_new(idx)
    }
}

/// The location of a register at a fixed offset.
pub struct FixedRegisterLoc<T: FixedRegister>(PhantomData<T>);

impl<T: FixedRegister> FixedRegisterLoc<T> {
    /// The location of `T`.
    #[inline(always)]
    #[expect(clippy::new_without_default, reason = "`Default` could not be called in constants")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// The location of an element of an array at a fixed offset.
pub struct RegisterArrayLoc<T: RegisterArray>(usize, PhantomData<T>);

impl<T: RegisterArray> RegisterArrayLoc<T> {
    /// Element `idx`; a build error unless it provably exists.
    #[inline(always)]
    #[track_caller]
    pub fn new(idx: usize) -> Self {
        build_assert!(idx < T::SIZE, "the array has no register of that index");
        Self(idx, PhantomData)
    }

    /// Element `idx`, if it exists.
    #[inline(always)]
    pub fn try_new(idx: usize) -> Option<Self> {
        (idx < T::SIZE).then_some(Self(idx, PhantomData))
    }
}

/// The location of a relative register in the block `B`, or of an array of them, one of which [`at`](Self::at) picks.
pub struct RelativeRegisterLoc<T: WithBase, B: ?Sized>(PhantomData<T>, PhantomData<B>);

impl<T: Register + WithBase, B: ?Sized + RegisterBase<T::BaseFamily>> RelativeRegisterLoc<T, B> {
    /// Bytes from the start of the region, to the first if it is an array.
    const START: usize = B::BASE + T::OFFSET;

    /// The location of `T` in `B`.
    #[inline(always)]
    #[expect(clippy::new_without_default, reason = "`Default` could not be called in constants")]
    pub const fn new() -> Self {
        Self(PhantomData, PhantomData)
    }
}

impl<T: RelativeRegisterArray, B: ?Sized + RegisterBase<T::BaseFamily>> RelativeRegisterLoc<T, B> {
    /// Where element `idx` is; a build error unless it provably exists.
    #[inline(always)]
    #[track_caller]
    pub fn at(self, idx: usize) -> RelativeRegisterArrayLoc<T, B> {
        RelativeRegisterArrayLoc::new(idx)
    }

    /// Where element `idx` is, if it exists.
    #[inline(always)]
    pub fn try_at(self, idx: usize) -> Option<RelativeRegisterArrayLoc<T, B>> {
        RelativeRegisterArrayLoc::try_new(idx)
    }
}

/// The location of an element of a relative array in the block `B`.
pub struct RelativeRegisterArrayLoc<T, B>(usize, RelativeRegisterLoc<T, B>)
where
    T: RelativeRegisterArray,
    B: RegisterBase<T::BaseFamily> + ?Sized;

impl<T: RelativeRegisterArray, B: ?Sized + RegisterBase<T::BaseFamily>> RelativeRegisterArrayLoc<T, B> {
    /// Element `idx`; a build error unless it provably exists.
    #[inline(always)]
    #[track_caller]
    pub fn new(idx: usize) -> Self {
        build_assert!(idx < T::SIZE, "the array has no register of that index");
        Self(idx, RelativeRegisterLoc::new())
    }

    /// Element `idx`, if it exists.
    #[inline(always)]
    pub fn try_new(idx: usize) -> Option<Self> {
        (idx < T::SIZE).then_some(Self(idx, RelativeRegisterLoc::new()))
    }
}

/// Makes locations of registers: for `T` at each of the types given, the offset that the expression computes.
macro_rules! locations {
    ($(
        [$($generics:tt)*] $location:ty { $($bounds:tt)* } |$this:pat_param| $offset:expr;
    )*) => {$(
        impl<const SIZE: usize, T, $($generics)*> IoLoc<Region<SIZE>, T> for $location
        where
            $($bounds)*
        {
            type IoType = T::Storage;

            #[inline(always)]
            fn offset(self) -> usize {
                let $this = self;
                $offset
            }
        }
    )*};
}

locations! {
    [] FixedRegisterLoc<T> { T: FixedRegister } |_| T::OFFSET;
    // The value to be written says where it belongs, so nothing else has to.
    [] () { T: FixedRegister } |()| T::OFFSET;
    // A value at hand can stand for its own location.
    [] T { T: FixedRegister } |_| T::OFFSET;
    [] RegisterArrayLoc<T> { T: RegisterArray } |Self(idx, _)| T::OFFSET + T::STRIDE * idx;
    [B: ?Sized] RelativeRegisterLoc<T, B> {
        T: RelativeRegister,
        B: RegisterBase<T::BaseFamily>
    } |_| Self::START;
    [B: ?Sized] RelativeRegisterArrayLoc<T, B> {
        T: RelativeRegisterArray,
        B: RegisterBase<T::BaseFamily>
    } |Self(idx, _)| RelativeRegisterLoc::<T, B>::START + T::STRIDE * idx;
}

/// A register value that knows where in a `Base` it belongs, for [`Io::write_reg`](super::Io::write_reg).
pub trait LocatedRegister<Base: ?Sized> {
    /// The register.
    type Value: Register;

    /// What its location is.
    type Location: IoLoc<Base, Self::Value>;

    /// Splits it into where and what to write.
    fn into_io_op(self) -> (Self::Location, Self::Value);
}

impl<const SIZE: usize, T: FixedRegister> LocatedRegister<Region<SIZE>> for T {
    type Value = T;
    type Location = FixedRegisterLoc<T>;

    #[inline(always)]
    fn into_io_op(self) -> (Self::Location, T) {
        (FixedRegisterLoc::new(), self)
    }
}

/// Defines registers; see the [module](mod@crate::io::register) for what can be written and how they are accessed.
///
/// Each is `[attributes] [visibility] NAME(storage) where { fields }`, with the storage and fields of a
/// [`bitfield!`](crate::bitfield!). Attributes, doc comments included, go to the type, and to the constant of the
/// same name that a fixed register also has.
#[macro_export]
macro_rules! register {
    // How each kind is written, and what that means: an offset, and perhaps an array or a base or both.
    (@kind [$($head:tt)*] $name:ident $storage:ty, @ $offset:literal) => {
        $crate::register!(@define [$($head)*] $name $storage, $offset, [] []);
    };
    (@kind [$($head:tt)*] $name:ident $storage:ty, @ $base:ident + $offset:literal) => {
        $crate::register!(@define [$($head)*] $name $storage, $offset, [] [$base]);
    };
    (@kind [$($head:tt)*] $name:ident $storage:ty, [$size:expr $(, $stride:expr)?] @ $offset:literal) => {
        $crate::register!(@define [$($head)*] $name $storage, $offset, [$size $(, $stride)?] []);
    };
    (@kind [$($head:tt)*] $name:ident $storage:ty, [$size:expr $(, $stride:expr)?] @ $base:ident + $offset:literal) => {
        $crate::register!(@define [$($head)*] $name $storage, $offset, [$size $(, $stride)?] [$base]);
    };
    (@kind [$($head:tt)*] $name:ident $storage:ty, => $other:ident $([$idx:expr])?) => {
        $crate::register!(
            @define [$($head)*] $name $storage,
            $crate::register!(@offset_of $other $([$idx])?), [] []
        );
    };
    (@kind [$($head:tt)*] $name:ident $storage:ty, => $base:ident + $other:ident $([$idx:expr])?) => {
        $crate::register!(
            @define [$($head)*] $name $storage,
            $crate::register!(@offset_of $other $([$idx])?), [] [$base]
        );
    };

    // Where an alias is: at the other register, or at one of an array of them.
    (@offset_of $other:ident) => {
        <$other as $crate::io::register::Register>::OFFSET
    };
    (@offset_of $other:ident [$idx:expr]) => {{
        ::core::assert!(
            $idx < <$other as $crate::io::register::RegisterArray>::SIZE,
            "the array has no register of that index"
        );
        <$other as $crate::io::register::Register>::OFFSET
            + <$other as $crate::io::register::RegisterArray>::STRIDE * $idx
    }};

    // What all registers have.
    (
        @define [{ $($fields:tt)* } $(#[$meta:meta])* $vis:vis]
        $name:ident $storage:ty, $offset:expr, [$($array:tt)*] [$($base:ident)?]
    ) => {
        $crate::bitfield! {
            $(#[$meta])*
            $vis struct $name($storage) { $($fields)* }
        }

        impl $crate::io::register::Register for $name {
            type Storage = $storage;
            const OFFSET: usize = $offset;
        }

        $(
            impl $crate::io::register::WithBase for $name {
                type BaseFamily = $base;
            }
        )?

        $crate::register!(@array $name [$($array)*]);
        $crate::register!(@marker [$(#[$meta])* $vis] $name [$($array)*] [$($base)?]);
    };

    // What all arrays have. Forces the evaluation of the offset and of the stride, used or not.
    (@array $name:ident []) => {
        const _: usize = <$name as $crate::io::register::Register>::OFFSET;
    };
    (@array $name:ident [$size:expr]) => {
        $crate::register!(@array $name [
            $size, ::core::mem::size_of::<<$name as $crate::io::register::Register>::Storage>()
        ]);
    };
    (@array $name:ident [$size:expr, $stride:expr]) => {
        impl $crate::io::register::RegisterArray for $name {
            const STRIDE: usize = $stride;
            const SIZE: usize = $size;
        }

        $crate::build_assert::static_assert!(
            <$name as $crate::io::register::RegisterArray>::STRIDE
                >= ::core::mem::size_of::<<$name as $crate::io::register::Register>::Storage>(),
            "the registers of an array must not overlap"
        );
    };

    // What says of which kind it is.
    (@marker [$(#[$meta:meta])* $vis:vis] $name:ident [] []) => {
        impl $crate::io::register::FixedRegister for $name {}

        $(#[$meta])*
        $vis const $name: $crate::io::register::FixedRegisterLoc<$name> =
            $crate::io::register::FixedRegisterLoc::new();
    };
    (@marker $head:tt $name:ident [$($array:tt)+] []) => {
        impl $crate::io::register::Array for $name {}
    };
    (@marker $head:tt $name:ident [] [$base:ident]) => {
        impl $crate::io::register::RelativeRegister for $name {}
    };
    (@marker $head:tt $name:ident [$($array:tt)+] [$base:ident]) => {
        impl $crate::io::register::RelativeRegisterArray for $name {}
    };

    // The registers of one invocation, each on its own.
    ($(
        $(#[$meta:meta])* $vis:vis $name:ident($storage:ty)
            $([$size:expr $(, stride = $stride:expr)?])?
            $(@ $($base:ident +)? $offset:literal)?
            $(=> $alias:ident $(+ $relative_alias:ident)? $([$idx:expr])?)?
        { $($fields:tt)* }
    )*) => {$(
        $crate::register!(
            @kind [{ $($fields)* } $(#[$meta])* $vis] $name $storage,
            $([$size $(, $stride)?])?
            $(@ $($base +)? $offset)?
            $(=> $alias $(+ $relative_alias)? $([$idx])?)?
        );
    )*};
}
