//! What firmware says about a device: named properties, whoever the firmware is.
//!
//! Differs from Linux: only platform devices have such a node, and it refers to nodes of the same device only.

use super::{Device, DeviceContext};
use crate::alloc::{flags::GFP_KERNEL, KVec};
use crate::bindings::{self, bus_type};
use crate::error::{code::*, Result};
use crate::fmt;
use crate::machine::platform::{Firmware, PlatformDevice, Property as Value};
use crate::str::{CStr, CStrExt as _, CString};
use crate::sync::aref::{ARef, AlwaysRefCounted};
use crate::types::Opaque;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

impl<Ctx: DeviceContext> Device<Ctx> {
    /// What firmware says about the device; `None` when no firmware knows it.
    pub fn fwnode(&self) -> Option<&FwNode> {
        if self.fields().bus != bus_type::platform {
            return None;
        }
        // SAFETY: devices of this bus are the first field of such a structure.
        let pdev = unsafe { &*self.as_raw().cast::<bindings::platform_device>() };
        if pdev.fwnode.description.firmware == Firmware::None {
            return None;
        }
        // SAFETY: the type is a transparent wrapper.
        Some(unsafe { &*core::ptr::from_ref(&pdev.fwnode).cast::<FwNode>() })
    }
}

/// A node of firmware's description of the machine.
#[repr(transparent)]
pub struct FwNode(Opaque<bindings::fwnode_handle>);

// SAFETY: a node is part of its device, which counts its references.
unsafe impl AlwaysRefCounted for FwNode {
    fn inc_ref(&self) {
        // SAFETY: the device is there as long as its node.
        unsafe { bindings::get_device(self.raw().dev.get()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller owns a reference, so the node is valid.
        let dev = unsafe { obj.as_ref() }.raw().dev.get();
        // SAFETY: the reference is to the device.
        unsafe { bindings::put_device(dev) };
    }
}

impl FwNode {
    fn raw(&self) -> &bindings::fwnode_handle {
        // SAFETY: a node that is borrowed is valid, and its changing part is in a cell.
        unsafe { &*self.0.get() }
    }

    /// What firmware says about the device that the node is one of.
    pub(crate) fn description(&self) -> &PlatformDevice {
        &self.raw().description
    }

    /// Finds a property. `EINVAL` when there is none of the name.
    fn value(&self, name: &CStr) -> Result<&Value> {
        let properties = &self.raw().node().properties;
        let found = properties.iter().find(|(known, _)| known.as_bytes() == name.to_bytes());
        found.map(|(_, value)| value).ok_or(EINVAL)
    }

    /// Finds a property's numbers. `EPROTO` when it has others, `ENODATA` when it has none.
    fn numbers(&self, name: &CStr) -> Result<&[u64]> {
        match self.value(name)? {
            Value::Numbers(numbers) => Ok(numbers),
            Value::Texts(_) | Value::References(_) => Err(EPROTO),
            Value::Flag => Err(ENODATA),
        }
    }

    /// Finds a property's strings, with errors as above.
    fn texts(&self, name: &CStr) -> Result<&[std::string::String]> {
        match self.value(name)? {
            Value::Texts(texts) => Ok(texts),
            Value::Numbers(_) | Value::References(_) => Err(EPROTO),
            Value::Flag => Err(ENODATA),
        }
    }

    /// Says whether it is a node of a device tree.
    pub fn is_of_node(&self) -> bool {
        self.raw().description.firmware == Firmware::DeviceTree
    }

    /// Returns the node's own name, without those above it.
    pub fn display_name(&self) -> impl fmt::Display + '_ {
        self.raw().node().name.as_str()
    }

    /// Says whether there is a property of this name.
    pub fn property_present(&self, name: &CStr) -> bool {
        self.value(name).is_ok()
    }

    /// Reads a truth value: a property that is there is true.
    pub fn property_read_bool(&self, name: &CStr) -> bool {
        self.property_present(name)
    }

    /// Finds a string among those of a property; returns its index. `ENODATA` when it is not there.
    pub fn property_match_string(&self, name: &CStr, match_str: &CStr) -> Result<usize> {
        let texts = self.texts(name)?;
        texts.iter().position(|text| text.as_bytes() == match_str.to_bytes()).ok_or(ENODATA)
    }

    /// Reads `count` numbers. The outer error is `ENOMEM`; the guard's is `EOVERFLOW` when there are fewer, or one does not fit.
    #[track_caller]
    pub fn property_read_array_vec<'fwnode, 'name, T: PropertyInt>(
        &'fwnode self,
        name: &'name CStr,
        count: usize,
    ) -> Result<PropertyGuard<'fwnode, 'name, KVec<T>>> {
        let mut values = KVec::with_capacity(count, GFP_KERNEL)?;
        let read =
            T::read_array_from_fwnode_property(self, name, &mut values.spare_capacity_mut()[..count]).map(|_| ());
        if read.is_ok() {
            // SAFETY: as many elements were just initialised.
            unsafe { values.inc_len(count) };
        }
        Ok(PropertyGuard { value: read.map(|()| values), fwnode: self, name })
    }

    /// Returns how many numbers a property has.
    pub fn property_count_elem<T: PropertyInt>(&self, name: &CStr) -> Result<usize> {
        T::read_array_len_from_fwnode_property(self, name)
    }

    /// Reads a property: a string, a number, or an array of numbers. The guard says what a missing one means.
    #[track_caller]
    pub fn property_read<'fwnode, 'name, T: Property>(
        &'fwnode self,
        name: &'name CStr,
    ) -> PropertyGuard<'fwnode, 'name, T> {
        PropertyGuard { value: T::read_from_fwnode_property(self, name), fwnode: self, name }
    }
}

impl FwNode {
    /// Wraps a handle.
    fn of(raw: &bindings::fwnode_handle) -> &Self {
        // SAFETY: the type is a transparent wrapper.
        unsafe { &*core::ptr::from_ref(raw).cast() }
    }

    /// Finds a node below this one by its name, which in a device tree has no unit address here.
    pub fn get_child_by_name(&self, name: &CStr) -> Option<ARef<Self>> {
        let is_tree = self.is_of_node();
        let is_it = |child: &&bindings::fwnode_handle| {
            let full = child.node().name.as_str();
            let plain = full.split_once('@').map_or(full, |(plain, _unit)| plain);
            (if is_tree { plain } else { full }).as_bytes() == name.to_bytes()
        };
        self.raw().children.iter().find(is_it).map(|child| Self::of(child).into())
    }

    /// Returns the nodes below this one.
    pub fn children<'a>(&'a self) -> impl Iterator<Item = ARef<FwNode>> + 'a {
        self.raw().children.iter().map(|child| Self::of(child).into())
    }

    /// Reads the `index`th reference of a property.
    ///
    /// `ENOENT` when it is missing or refers to nothing, `EINVAL` when it has another number of arguments.
    #[allow(clippy::needless_pass_by_value, reason = "the signature is Linux's")]
    pub fn property_get_reference_args(
        &self,
        name: &CStr,
        nargs: NArgs<'_>,
        index: u32,
    ) -> Result<FwNodeReferenceArgs> {
        let Ok(Value::References(references)) = self.value(name) else { return Err(ENOENT) };
        let reference = references.get(index as usize).ok_or(ENOENT)?;
        // SAFETY: nodes are the device's, which is a platform device with its own node at this place.
        let own = unsafe { &(*self.raw().dev.get().cast::<bindings::platform_device>()).fwnode };
        let target = own.children.iter().find(|child| child.node().name == reference.child).ok_or(ENOENT)?;
        let target = Self::of(target);
        let wanted = match nargs {
            NArgs::N(count) => u64::from(count),
            NArgs::Prop(count) => *target.numbers(count).ok().and_then(|numbers| numbers.first()).ok_or(EINVAL)?,
        };
        let count = reference.arguments.len();
        if count as u64 != wanted || count > bindings::NR_FWNODE_REFERENCE_ARGS {
            return Err(EINVAL);
        }
        let mut args = [0; bindings::NR_FWNODE_REFERENCE_ARGS];
        args[..count].copy_from_slice(&reference.arguments);
        let fwnode = ARef::into_raw(ARef::from(target)).as_ptr().cast();
        Ok(FwNodeReferenceArgs(bindings::fwnode_reference_args { fwnode, nargs: count, args }))
    }
}

/// How many arguments a reference has.
pub enum NArgs<'a> {
    /// As many as this property of the node says that is referred to.
    Prop(&'a CStr),
    /// So many.
    N(u32),
}

/// The arguments of a reference, and the node that is referred to, which stays as long.
pub struct FwNodeReferenceArgs(bindings::fwnode_reference_args);

impl Default for FwNodeReferenceArgs {
    /// A reference to nothing.
    fn default() -> Self {
        let args = [0; bindings::NR_FWNODE_REFERENCE_ARGS];
        Self(bindings::fwnode_reference_args { fwnode: core::ptr::null_mut(), nargs: 0, args })
    }
}

impl Drop for FwNodeReferenceArgs {
    fn drop(&mut self) {
        if let Some(node) = NonNull::new(self.0.fwnode.cast::<FwNode>()) {
            // SAFETY: the reference is this value's.
            drop(unsafe { ARef::from_raw(node) });
        }
    }
}

impl FwNodeReferenceArgs {
    /// Returns the arguments.
    pub fn as_slice(&self) -> &[u64] {
        &self.0.args[..self.0.nargs]
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.nargs
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for FwNodeReferenceArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl fmt::Display for FwNode {
    /// The node's name with those above it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlatformDevice { above, node, firmware, .. } = &*self.raw().description;
        write!(f, "{above}{}", node.name)?;
        let separator = if *firmware == Firmware::DeviceTree { '/' } else { '.' };
        let mut node = node;
        for index in &self.raw().down {
            node = &node.children[*index];
            write!(f, "{separator}{}", node.name)?;
        }
        Ok(())
    }
}

mod sealed {
    /// Keeps others from adding kinds of properties.
    pub trait Kind {}
}

/// What a property can be read as.
pub trait Property: Sized + sealed::Kind {
    /// Reads it. `EINVAL` when it is missing, `EPROTO` when it is something else, `EOVERFLOW` when it does not fit.
    fn read_from_fwnode_property(fwnode: &FwNode, name: &CStr) -> Result<Self>;
}

/// What the numbers of a property can be read as.
pub trait PropertyInt: Copy + sealed::Kind {
    /// Reads as many as `slots` has room for; returns them. Errors are as for [`Property`]; also `EOVERFLOW` when there are fewer.
    fn read_array_from_fwnode_property<'a>(
        node: &FwNode,
        name: &CStr,
        slots: &'a mut [MaybeUninit<Self>],
    ) -> Result<&'a mut [Self]>;

    /// Returns how many there are.
    fn read_array_len_from_fwnode_property(fwnode: &FwNode, name: &CStr) -> Result<usize>;
}

impl sealed::Kind for CString {}

impl Property for CString {
    #[track_caller]
    fn read_from_fwnode_property(fwnode: &FwNode, name: &CStr) -> Result<Self> {
        let text = fwnode.texts(name)?.first().ok_or(ENODATA)?;
        let text = std::ffi::CString::new(text.as_str()).map_err(|_| EINVAL)?;
        Ok(text.as_c_str().to_cstring()?)
    }
}

/// Reads numbers of each width; signed ones have the bits of the unsigned ones of their width.
macro_rules! numbers_of {
    ($($unsigned:ident as $($int:ident)*;)*) => {$($(
        impl sealed::Kind for $int {}
        impl<const N: usize> sealed::Kind for [$int; N] {}

        impl PropertyInt for $int {
            fn read_array_from_fwnode_property<'a>(
                node: &FwNode,
                name: &CStr,
                slots: &'a mut [MaybeUninit<Self>],
            ) -> Result<&'a mut [Self]> {
                let numbers = node.numbers(name)?.get(..slots.len()).ok_or(EOVERFLOW)?;
                for (slot, number) in slots.iter_mut().zip(numbers) {
                    slot.write($unsigned::try_from(*number).map_err(|_| EOVERFLOW)? as $int);
                }
                // SAFETY: there was a number for each of them.
                Ok(unsafe { &mut *(core::ptr::from_mut(slots) as *mut [$int]) })
            }

            fn read_array_len_from_fwnode_property(fwnode: &FwNode, name: &CStr) -> Result<usize> {
                fwnode.numbers(name).map(<[u64]>::len)
            }
        }

        impl Property for $int {
            fn read_from_fwnode_property(fwnode: &FwNode, name: &CStr) -> Result<Self> {
                <[$int; 1]>::read_from_fwnode_property(fwnode, name).map(|[number]| number)
            }
        }

        impl<const N: usize> Property for [$int; N] {
            fn read_from_fwnode_property(fwnode: &FwNode, name: &CStr) -> Result<Self> {
                let mut numbers = [MaybeUninit::uninit(); N];
                let numbers = $int::read_array_from_fwnode_property(fwnode, name, &mut numbers)?;
                <[$int; N]>::try_from(&*numbers).map_err(|_| EOVERFLOW)
            }
        }
    )*)*};
}

numbers_of! {
    u8 as u8 i8;
    u16 as u16 i16;
    u32 as u32 i32;
    u64 as u64 i64;
}

/// A property that was read, or was not there: what that means, its methods say.
pub struct PropertyGuard<'fwnode, 'name, T> {
    value: Result<T>,
    fwnode: &'fwnode FwNode,
    name: &'name CStr,
}

impl<T> PropertyGuard<'_, '_, T> {
    /// The device cannot do without: prints an error about it if the property could not be read.
    pub fn required_by(self, dev: &Device) -> Result<T> {
        self.value.inspect_err(|_| {
            crate::dev_err!(dev, "{}: property '{}' is missing\n", self.fwnode, self.name);
        })
    }

    /// It may be missing; errors of other kinds are none either.
    pub fn optional(self) -> Option<T> {
        self.value.ok()
    }

    /// Takes another value instead.
    pub fn or(self, default: T) -> T {
        self.value.unwrap_or(default)
    }
}

impl<T: Default> PropertyGuard<'_, '_, T> {
    /// Takes the type's default instead.
    pub fn or_default(self) -> T {
        self.value.unwrap_or_default()
    }
}
