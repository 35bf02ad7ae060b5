//! Module parameters: their types, their values in the current life, and how text becomes a value.

use crate::error::{code::*, Error, Result};
use crate::machine::module::{ParamDef, ParamTarget};
use crate::str::{kstrtobool_bytes, parse_int::ParseInt, BStr};
use core::any::Any;
use core::cell::RefCell;
use core::ffi::c_void;
use std::boxed::Box;
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

/// Types that a module parameter can have.
pub trait ModuleParam: Sized + Copy {
    /// Parses the text after `name=`.
    ///
    /// `EINVAL` for text that is no such value, and for one that is out of range.
    fn try_from_param_arg(arg: &BStr) -> Result<Self>;
}

/// Integers are parsed as [`ParseInt`] says.
macro_rules! integers {
    ($($int:ty),*) => {$(
        impl ModuleParam for $int {
            fn try_from_param_arg(arg: &BStr) -> Result<Self> {
                ParseInt::from_str(arg)
            }
        }
    )*};
}

integers!(i8, u8, i16, u16, i32, u32, i64, u64, isize, usize);

impl ModuleParam for bool {
    fn try_from_param_arg(arg: &BStr) -> Result<Self> {
        kstrtobool_bytes(arg)
    }
}

/// A value that was set once. Set values are kept for good, see [`keep`].
type Kept = &'static (dyn Any + Send + Sync);

std::thread_local! {
    /// The values set for the life on this thread, by the address of the parameter's static. Only looked up by address,
    /// never walked, so that addresses decide nothing.
    static SET: RefCell<Vec<(usize, Kept)>> = const { RefCell::new(Vec::new()) };
}

/// All values that were ever set: for each parameter and text one, so that they stay few.
static KEPT: Mutex<Vec<(usize, Box<str>, Kept)>> = Mutex::new(Vec::new());

/// Returns a value that lives for good, because [`ModuleParamAccess::value_ref`] hands out references to it. The same
/// text for the same parameter gives the same value again, so that a long campaign does not grow.
fn keep<T: ModuleParam + Send + Sync + 'static>(parameter: usize, text: &str) -> Result<Kept> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, value)) = kept.iter().find(|(p, t, _)| *p == parameter && **t == *text) {
        return Ok(*value);
    }
    let value: Kept = Box::leak(Box::new(T::try_from_param_arg(BStr::from_bytes(text.as_bytes()))?));
    kept.push((parameter, text.into(), value));
    Ok(value)
}

/// A parameter of a module: `module_parameters::name`, made by `module!`.
///
/// Differs from Linux: one process holds many machines, each on a thread of its own, so the value is that of the current
/// thread's machine; on other threads it is the default.
#[repr(C)]
pub struct ModuleParamAccess<T> {
    /// Keeps the parameter from being zero-sized and `default` from sharing its address: the address is its key.
    _identity: u8,
    default: T,
}

impl<T> ModuleParamAccess<T> {
    /// A parameter with its default.
    #[doc(hidden)]
    pub const fn new(default: T) -> Self {
        Self { _identity: 0, default }
    }

    /// Returns the address of the parameter, which names it.
    pub const fn as_void_ptr(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    fn key(&self) -> usize {
        self.as_void_ptr().addr()
    }
}

impl<T: 'static> ModuleParamAccess<T> {
    /// Returns a copy of the value given at load, or of the default.
    pub fn value(&self) -> T
    where
        T: Copy,
    {
        *self.value_ref()
    }

    /// Returns the value given at load, or the default.
    pub fn value_ref(&self) -> &T {
        let set = SET.with_borrow(|set| set.iter().find(|(key, _)| *key == self.key()).map(|(_, value)| *value));
        set.and_then(|value| value.downcast_ref()).unwrap_or(&self.default)
    }
}

impl<T: ModuleParam + Send + Sync + 'static> ParamTarget for ModuleParamAccess<T> {
    /// A second value in one load fails with `EEXIST`.
    fn set(&self, text: &str) -> core::result::Result<(), i32> {
        let value = keep::<T>(self.key(), text).map_err(Error::to_errno)?;
        SET.with_borrow_mut(|set| {
            if set.iter().any(|(key, _)| *key == self.key()) {
                return Err(EEXIST.to_errno());
            }
            set.push((self.key(), value));
            Ok(())
        })
    }

    fn reset(&self) {
        SET.with_borrow_mut(|set| set.retain(|(key, _)| *key != self.key()));
    }
}

/// Describes a parameter to the machine; `ty` is the name of `T` as `modinfo` shows it.
#[doc(hidden)]
pub const fn param_def<T: ModuleParam + Send + Sync + 'static>(
    access: &'static ModuleParamAccess<T>,
    name: &'static str,
    ty: &'static str,
    description: &'static str,
) -> ParamDef {
    ParamDef { name, ty, description, target: access }
}
