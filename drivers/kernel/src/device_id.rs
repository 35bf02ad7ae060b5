//! Tables of the devices that a driver can drive, each with what the driver wants to know about it.

use core::marker::PhantomData;
use core::mem::{size_of, transmute_copy, ManuallyDrop, MaybeUninit};

/// Device ids of one bus.
///
/// # Safety
///
/// The implementor and [`RawType`](Self::RawType) must have the same layout, such that one can be read as the other.
pub unsafe trait RawDeviceId {
    /// What a table holds: the bus's structure, or one like it.
    type RawType: Copy;
}

/// Device ids that have room for one pointer of the driver's.
///
/// # Safety
///
/// At [`DRIVER_DATA_OFFSET`](Self::DRIVER_DATA_OFFSET) the raw type must have a field as wide as a pointer.
pub unsafe trait RawDeviceIdIndex: RawDeviceId {
    /// Where the pointer is, in bytes.
    const DRIVER_DATA_OFFSET: usize;

    /// Returns what the driver's table says about this device.
    ///
    /// # Safety
    ///
    /// The id must be in an [`IdArray`] whose second type is `U`.
    unsafe fn info_unchecked<U>(&self) -> &'static U {
        // SAFETY: `IdArray::new` put the reference there.
        unsafe { core::ptr::from_ref(self).byte_add(Self::DRIVER_DATA_OFFSET).cast::<&'static U>().read() }
    }

    /// Returns what the driver's table says about this device, or `None` for an id from elsewhere, which has null there.
    ///
    /// # Safety
    ///
    /// The id must be in an [`IdArray`] whose second type is `U`, or have null there.
    unsafe fn info_unchecked_opt<U>(&self) -> Option<&'static U> {
        let info = core::ptr::from_ref(self).wrapping_byte_add(Self::DRIVER_DATA_OFFSET);
        // SAFETY: `IdArray::new` put the reference there, or it is null, which is `None`.
        unsafe { info.cast::<Option<&'static U>>().read() }
    }
}

/// A table of device ids that ends in one of zeroes.
///
/// The ids are `MaybeUninit`, so that one can hold a pointer in a field that is an integer to C.
#[repr(C)]
pub struct IdArray<T: RawDeviceId, U: 'static, const N: usize> {
    ids: [MaybeUninit<T::RawType>; N],
    end: MaybeUninit<T::RawType>,
    _info: PhantomData<&'static U>,
}

// SAFETY: the table never changes; it holds numbers and shared references.
unsafe impl<T: RawDeviceId, U: Sync + 'static, const N: usize> Sync for IdArray<T, U, N> {}

// SAFETY: as above.
unsafe impl<T: RawDeviceId, U: Sync + 'static, const N: usize> Send for IdArray<T, U, N> {}

impl<T: RawDeviceId, U: 'static, const N: usize> IdArray<T, U, N> {
    /// Turns one id into what the table holds.
    const fn raw(id: &T) -> MaybeUninit<T::RawType> {
        const { assert!(size_of::<T>() == size_of::<T::RawType>()) };
        // SAFETY: the implementor says that both have the same layout.
        unsafe { transmute_copy(id) }
    }

    const fn ending(ids: [MaybeUninit<T::RawType>; N]) -> Self {
        Self { ids, end: MaybeUninit::zeroed(), _info: PhantomData }
    }
}

impl<T: RawDeviceIdIndex, U: 'static, const N: usize> IdArray<T, U, N> {
    /// Makes a table of ids and what there is to know about them.
    pub const fn new(ids: [(T, &'static U); N]) -> Self {
        // An id may have a destructor as far as the compiler knows, and a constant cannot run it.
        let ids = ManuallyDrop::new(ids);
        // SAFETY: `ManuallyDrop` adds nothing to the layout.
        let pairs: &[(T, &'static U); N] = unsafe { &*(&raw const ids).cast() };
        let mut raw = [const { MaybeUninit::uninit() }; N];
        let mut at = 0;
        while at < N {
            raw[at] = Self::raw(&pairs[at].0);
            // SAFETY: the implementor says that there is a field for a pointer at the offset.
            unsafe { raw[at].as_mut_ptr().byte_add(T::DRIVER_DATA_OFFSET).cast::<&'static U>().write(pairs[at].1) };
            at += 1;
        }
        Self::ending(raw)
    }
}

impl<T: RawDeviceId, const N: usize> IdArray<T, (), N> {
    /// Makes a table of ids with nothing to know about them.
    pub const fn new_without_index(ids: [T; N]) -> Self {
        let ids = ManuallyDrop::new(ids);
        // SAFETY: `ManuallyDrop` adds nothing to the layout.
        let each: &[T; N] = unsafe { &*(&raw const ids).cast() };
        let mut raw = [const { MaybeUninit::uninit() }; N];
        let mut at = 0;
        while at < N {
            raw[at] = Self::raw(&each[at]);
            at += 1;
        }
        Self::ending(raw)
    }
}

/// A table of device ids of any length.
pub trait IdTable<T: RawDeviceId, U> {
    /// Returns a pointer to the first id; one of zeroes follows the last.
    fn as_ptr(&self) -> *const T::RawType;
}

impl<T: RawDeviceId, U, const N: usize> IdTable<T, U> for IdArray<T, U, N> {
    fn as_ptr(&self) -> *const T::RawType {
        // Not a pointer to `ids`: it has to reach the end as well.
        core::ptr::from_ref(self).cast()
    }
}

/// Defines the static that holds a driver's device table; the buses' `*_device_table!` macros use it.
///
/// Differs from Linux: it emits no symbol for `modpost`, since nothing loads modules by alias.
#[macro_export]
macro_rules! module_device_table {
    ($bus:literal, $Id:ty, $name:ident, @none, [$($id:expr),* $(,)?]) => {
        static $name: $crate::device_id::IdArray<$Id, (), { <[$Id]>::len(&[$($id),*]) }> =
            $crate::device_id::IdArray::new_without_index([$($id),*]);
    };
    ($bus:literal, $Id:ty, $name:ident, $Info:ty, [$(($id:expr, $info:expr $(,)?)),* $(,)?]) => {
        static $name: $crate::device_id::IdArray<$Id, $Info, { <[$Id]>::len(&[$($id),*]) }> =
            $crate::device_id::IdArray::new([$(($id, &$info)),*]);
    };
}
