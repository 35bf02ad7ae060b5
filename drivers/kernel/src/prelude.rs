//! The names that nearly every driver uses: `use kernel::prelude::*;`.

#[doc(no_inline)]
pub use core::mem::{align_of, align_of_val, size_of, size_of_val};
#[doc(no_inline)]
pub use core::pin::Pin;

#[doc(no_inline)]
pub use crate::ffi::{
    c_char, c_int, c_long, c_longlong, c_schar, c_short, c_uchar, c_uint, c_ulong, c_ulonglong, c_ushort, c_void, CStr,
};

#[doc(no_inline)]
pub use macros::{export, fmt, kunit_tests, module, vtable};

#[doc(no_inline)]
pub use pin_init::{init, pin_data, pin_init, pinned_drop, InPlaceWrite, Init, PinInit, Zeroable};

// Each name is zerocopy's trait and its derive macro at once.
#[doc(no_inline)]
pub use zerocopy::{FromBytes, IntoBytes};

#[doc(no_inline)]
pub use crate::alloc::{flags::*, Box, KBox, KVBox, KVVec, KVec, VBox, VVec, Vec};

#[doc(no_inline)]
pub use crate::build_assert::{build_assert, build_error, const_assert, static_assert};

#[doc(no_inline)]
pub use crate::error::{code::*, Error, Result};

#[doc(no_inline)]
pub use crate::{init::InPlaceInit, str::CStrExt as _, try_init, try_pin_init, uaccess::UserPtr, ThisModule};

#[doc(no_inline)]
pub use crate::{current, dbg, pr_alert, pr_crit, pr_debug, pr_emerg, pr_err, pr_info, pr_notice, pr_warn};

#[doc(no_inline)]
pub use crate::{dev_alert, dev_crit, dev_dbg, dev_emerg, dev_err, dev_info, dev_notice, dev_warn};
