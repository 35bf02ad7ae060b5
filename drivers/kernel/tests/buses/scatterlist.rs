//! Pages that a driver lends to its device.

use crate::dma::sum;
use crate::testdev::{in_probe, machine, plain, FailAllocation, Testdev};
use kernel::alloc::{KBox, VBox};
use kernel::dma::{DataDirection, Device as _};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::scatterlist::{Owned, SGTable};

type Table = SGTable<Owned<VVec<u8>>>;

#[test]
fn device_sees_what_was_in_the_pages_when_they_were_lent() {
    let report = in_probe(machine(plain), |pdev| {
        pdev.set_master();
        pdev.enable_device_mem()?;
        let pages: VVec<u8> = VVec::from_elem(1, 2 * PAGE_SIZE + 100, GFP_KERNEL)?;
        let table = SGTable::new(pdev.as_ref(), pages, DataDirection::ToDevice, GFP_KERNEL);
        let table: Pin<KBox<Table>> = KBox::pin_init(table, GFP_KERNEL)?;
        let (mut total, mut bytes) = (0, 0);
        for entry in table.iter() {
            bytes += entry.dma_len();
            total += sum(pdev, entry.dma_address(), entry.dma_len() as u32)?.ok_or(EIO)?;
        }
        assert_eq!((bytes, total), (2 * PAGE_SIZE as u64 + 100, 2 * PAGE_SIZE as u32 + 100));
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn device_that_writes_what_it_may_only_read_is_found() {
    let report = in_probe(machine(plain), |pdev| {
        pdev.set_master();
        pdev.enable_device_mem()?;
        let pages: VVec<u8> = VVec::from_elem(0, PAGE_SIZE, GFP_KERNEL)?;
        let table = SGTable::new(pdev.as_ref(), pages, DataDirection::ToDevice, GFP_KERNEL);
        let table: Pin<KBox<Table>> = KBox::pin_init(table, GFP_KERNEL)?;
        let entry = table.iter().next().ok_or(EIO)?;
        assert_eq!(sum(pdev, entry.dma_address(), 4 | Testdev::INVERT)?, None);
        Ok(())
    });
    assert_eq!(report.rules(), ["dma-direction"]);
    // It says where the pages were lent, which is not where the table was initialised.
    let mapped_here = format!("mapped at {}", file!());
    assert!(report.findings[0].to_string().contains(&mapped_here), "{}", report.findings[0]);
}

#[test]
fn pieces_are_no_longer_than_the_device_takes() {
    let report = in_probe(machine(plain), |pdev| {
        // SAFETY: there is no DMA memory meanwhile.
        unsafe { pdev.dma_set_max_seg_size(PAGE_SIZE as u32) };
        let pages: VVec<u8> = VVec::with_capacity(3 * PAGE_SIZE, GFP_KERNEL)?;
        let table = SGTable::new(pdev.as_ref(), pages, DataDirection::Bidirectional, GFP_KERNEL);
        let table: Pin<KBox<Table>> = KBox::pin_init(table, GFP_KERNEL)?;
        let lens: std::vec::Vec<u64> = table.iter().map(|entry| entry.dma_len()).collect();
        assert_eq!(lens, [PAGE_SIZE as u64; 3]);
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn boxes_are_lent_and_no_pages_are_refused() {
    let report = in_probe(machine(plain), |pdev| {
        let page = VBox::new([0u8; 64], GFP_KERNEL)?;
        let table = SGTable::new(pdev.as_ref(), page, DataDirection::FromDevice, GFP_KERNEL);
        let table = KBox::pin_init(table, GFP_KERNEL)?;
        assert_eq!(table.iter().map(|entry| entry.dma_len()).sum::<u64>(), 64);

        let nothing = SGTable::new(pdev.as_ref(), VVec::<u8>::new(), DataDirection::ToDevice, GFP_KERNEL);
        assert_eq!(KBox::pin_init(nothing, GFP_KERNEL).err(), Some(EINVAL));
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn whichever_allocation_fails_the_pages_come_back() {
    // The pages, the box, the list of pages, the table, the mapping and the managed resource.
    for failing in 0..6 {
        let report = in_probe(machine(plain).chooser(FailAllocation(failing)), |pdev| {
            let lend = || -> Result {
                let pages: VVec<u8> = VVec::with_capacity(PAGE_SIZE, GFP_KERNEL)?;
                let table = SGTable::new(pdev.as_ref(), pages, DataDirection::ToDevice, GFP_KERNEL);
                let _table: Pin<KBox<Table>> = KBox::pin_init(table, GFP_KERNEL)?;
                Ok(())
            };
            assert_eq!(lend(), Err(ENOMEM));
            assert_eq!(lend(), Ok(()));
            Ok(())
        });
        assert!(report.is_clean(), "allocation {failing}: {:?}", report.findings);
    }
}
