//! The interrupts of a PCI function: its pin, MSI and MSI-X.

use super::Device;
use crate::device::Bound;
use crate::error::{code::EINVAL, Error, Result};
use crate::irq::IrqRequest;
use crate::machine::irq::{self as machine_irq, IrqKind, IrqKinds};

/// How interrupts get from the device to the processor.
#[derive(Clone, Copy, Debug)]
pub enum IrqType {
    /// By its pin, which it may share with others.
    Intx,
    /// By messages, with a block of up to 32 vectors.
    Msi,
    /// By messages, with a table of up to 2048 vectors.
    MsiX,
}

/// A set of [`IrqType`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct IrqTypes(u32);

impl IrqTypes {
    /// All of them.
    pub const fn all() -> Self {
        Self(0).with(IrqType::Intx).with(IrqType::Msi).with(IrqType::MsiX)
    }

    /// The set with one more type.
    ///
    /// ```
    /// use kernel::pci::{IrqType, IrqTypes};
    ///
    /// let messages = IrqTypes::default().with(IrqType::Msi).with(IrqType::MsiX);
    /// # let _ = messages;
    /// ```
    pub const fn with(self, irq_type: IrqType) -> Self {
        Self(self.0 | 1 << irq_type as u32)
    }

    fn kinds(self) -> IrqKinds {
        let has = |irq_type| self.0 & 1 << irq_type as u32 != 0;
        IrqKinds { intx: has(IrqType::Intx), msi: has(IrqType::Msi), msix: has(IrqType::MsiX) }
    }
}

/// One vector of an [`IrqVectorRegistration`]: what handlers are registered on.
pub struct IrqVector<'a> {
    one_of: &'a IrqVectorRegistration<'a>,
    irq: IrqRequest<'a>,
}

impl<'a> IrqVector<'a> {
    /// The vectors that it is one of.
    pub fn vectors(&self) -> &'a IrqVectorRegistration<'a> {
        self.one_of
    }

    /// How it travels.
    pub fn irq_type(&self) -> IrqType {
        self.vectors().irq_type()
    }
}

impl<'a> From<IrqVector<'a>> for IrqRequest<'a> {
    fn from(IrqVector { irq, .. }: IrqVector<'a>) -> Self {
        irq
    }
}

/// The vectors of a device; dropping this gives them back.
///
/// Differs from Linux: the number and type of the vectors are those at the time of the allocation, where Linux asks the
/// device's state again.
pub struct IrqVectorRegistration<'a> {
    dev: &'a Device<Bound>,
    vectors: machine_irq::Vectors,
}

impl<'a> IrqVectorRegistration<'a> {
    /// How many there are, at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.vectors.count as usize
    }

    /// How they travel.
    pub fn irq_type(&self) -> IrqType {
        match self.vectors.kind {
            IrqKind::Intx => IrqType::Intx,
            IrqKind::Msi => IrqType::Msi,
            IrqKind::Msix => IrqType::MsiX,
        }
    }

    /// Returns one of them. `EINVAL` for an index that is not below [`len`](Self::len).
    pub fn index(&self, index: usize) -> Result<IrqVector<'_>> {
        let index = u32::try_from(index)?;
        if index >= self.vectors.count {
            return Err(EINVAL);
        }
        // SAFETY: the irq is this device's while `self` lives.
        let irq = unsafe { IrqRequest::new(self.vectors.first + index) };
        Ok(IrqVector { one_of: self, irq })
    }
}

impl Drop for IrqVectorRegistration<'_> {
    fn drop(&mut self) {
        machine_irq::free_vectors(self.dev.fields().id);
    }
}

impl Device<Bound> {
    /// Allocates between `min_vecs` and `max_vecs` vectors of one of the given types, and enables them in the device:
    /// MSI-X if it can be had, otherwise MSI, otherwise the pin.
    ///
    /// `ENOSPC` when no type has so many, `ERANGE` for a maximum below the minimum, `EINVAL` when the last type that was tried
    /// is not there.
    ///
    /// Differs from Linux: a device that has vectors gets no second set but `EBUSY`. Linux would hand one out, and dropping
    /// either would free both.
    #[track_caller]
    pub fn alloc_irq_vectors(
        &self,
        min_vecs: u32,
        max_vecs: u32,
        irq_types: IrqTypes,
    ) -> Result<IrqVectorRegistration<'_>> {
        let vectors = machine_irq::alloc_vectors(self.fields().id, min_vecs, max_vecs, irq_types.kinds());
        vectors.map(|vectors| IrqVectorRegistration { dev: self, vectors }).map_err(Error::from_errno)
    }
}
