//! Memory that a driver and its device see at once.

use crate::testdev::{in_probe, machine, plain, Testdev};
use kernel::device::{Bound, Core};
use kernel::dma::{attrs, Coherent, CoherentBox, CoherentHandle, Device as _, DmaAddress, DmaMask};
use kernel::io::{io_project, io_read, io_write, Io};
use kernel::pci;
use kernel::prelude::*;

/// Lets the device do DMA.
fn enable(pdev: &pci::Device<Core<'_>>) -> Result {
    pdev.set_master();
    pdev.enable_device_mem()
}

/// Lets the device add up memory; `None` if it cannot get at it.
pub(crate) fn sum(pdev: &pci::Device<Bound>, address: DmaAddress, start: u32) -> Result<Option<u32>> {
    let bar = pdev.iomap_region_sized::<0x20>(0, c"sum")?;
    bar.try_write64(address, Testdev::ADDRESS)?;
    bar.write32(start, Testdev::START);
    Ok(Some(bar.read32(Testdev::SUM)).filter(|sum| *sum != u32::MAX))
}

#[derive(FromBytes, IntoBytes, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Entry {
    tag: u16,
    flags: u16,
    len: u32,
}

// SAFETY: it has no padding.
unsafe impl kernel::transmute::AsBytes for Entry {}
// SAFETY: any bytes make one.
unsafe impl kernel::transmute::FromBytes for Entry {}

#[test]
fn mask_has_as_many_ones_as_bits() {
    assert_eq!(DmaMask::new::<32>().value(), 0xffff_ffff);
    assert_eq!((DmaMask::try_new(0).unwrap().value(), DmaMask::try_new(64).unwrap().value()), (0, u64::MAX));
    assert_eq!(DmaMask::try_new(65), Err(EINVAL));
}

#[test]
fn device_and_driver_see_each_others_bytes_in_coherent_memory() {
    let report = in_probe(machine(plain), |pdev| {
        enable(pdev)?;
        let ring = Coherent::<Entry>::zeroed_slice(pdev.as_ref(), 3, GFP_KERNEL)?;
        assert_eq!((ring.len(), ring.size()), (3, 24));
        assert_eq!(io_project!(ring, [try: 1]).copy_read(), Entry { tag: 0, flags: 0, len: 0 });
        io_project!(ring, [try: 1]).copy_write(Entry { tag: 0x0102, flags: 0, len: 0x10 });
        io_write!(ring, [try: 2].flags, 5);
        assert_eq!(io_project!(ring, [try: 2].flags).dma_address(), ring.dma_address() + 18);

        assert_eq!(sum(pdev, ring.dma_address(), 24)?, Some(1 + 2 + 0x10 + 5));
        let second = io_project!(ring, [try: 1]).dma_address();
        assert_eq!(sum(pdev, second, 8 | Testdev::INVERT)?, Some(1 + 2 + 0x10));
        assert_eq!(io_read!(ring, [try: 1].tag), !0x0102);
        assert_eq!(io_read!(ring, [try: 2].flags), 5);
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn memory_is_the_drivers_alone_until_the_device_may_know_it() {
    let report = in_probe(machine(plain), |pdev| {
        enable(pdev)?;
        let mut table = CoherentBox::<[u16]>::zeroed_slice(pdev.as_ref(), 2, GFP_KERNEL)?;
        table[0] = 7;
        table.init_at(1, Ok::<u16, Error>(9))?;
        assert_eq!(table.init_at(2, Ok::<u16, Error>(9)), Err(EINVAL));
        let table: Coherent<[u16]> = table.into();
        assert_eq!(sum(pdev, table.dma_address(), 4)?, Some(16));

        let copy = Coherent::from_slice(pdev.as_ref(), &[1u8, 2, 3], GFP_KERNEL)?;
        assert_eq!(sum(pdev, copy.dma_address(), 3)?, Some(6));
        let one = Coherent::<u32>::init(pdev.as_ref(), GFP_KERNEL, Ok::<u32, Error>(0x0101))?;
        assert_eq!(one.copy_read(), 0x0101);
        assert_eq!(sum(pdev, one.dma_address(), 4)?, Some(2));
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn failing_initialiser_and_empty_slices_leave_no_memory() {
    let report = in_probe(machine(plain), |pdev| {
        let failed = Coherent::<u32>::init(pdev.as_ref(), GFP_KERNEL, Err::<u32, Error>(EPROTO));
        assert_eq!(failed.err(), Some(EPROTO));
        assert_eq!(Coherent::<u32>::zeroed_slice(pdev.as_ref(), 0, GFP_KERNEL).err(), Some(EINVAL));
        assert_eq!(Coherent::<u32>::zeroed_slice(pdev.as_ref(), usize::MAX, GFP_KERNEL).err(), Some(ENOMEM));
        assert_eq!(CoherentHandle::alloc(pdev.as_ref(), 0, GFP_KERNEL).err(), Some(EINVAL));
        let wish = attrs::DMA_ATTR_FORCE_CONTIGUOUS | attrs::DMA_ATTR_NO_WARN;
        let handle = CoherentHandle::alloc_with_attrs(pdev.as_ref(), 10_000, GFP_KERNEL, wish)?;
        assert_eq!(handle.size(), 10_000);
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn addresses_fit_the_coherent_mask_and_masks_that_reach_nothing_are_refused() {
    let report = in_probe(machine(plain), |pdev| {
        // SAFETY: there is no DMA memory meanwhile.
        unsafe {
            assert_eq!(pdev.dma_set_mask_and_coherent(DmaMask::new::<12>()), Err(EIO));
            pdev.dma_set_mask(DmaMask::new::<64>())?;
            pdev.dma_set_coherent_mask(DmaMask::new::<28>())?;
        }
        let low = Coherent::<u64>::zeroed(pdev.as_ref(), GFP_KERNEL)?;
        assert!(low.dma_address() < 1 << 28, "{:#x}", low.dma_address());
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn memory_that_outlives_the_driver_is_found() {
    let report = in_probe(machine(plain), |pdev| {
        core::mem::forget(Coherent::<u64>::zeroed(pdev.as_ref(), GFP_KERNEL)?);
        Ok(())
    });
    assert_eq!(report.rules(), ["leak-mapping"]);
}
