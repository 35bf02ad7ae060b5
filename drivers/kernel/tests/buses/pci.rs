//! What a driver sees of a PCI function: identity, BARs, configuration space, vectors.

use crate::testdev::{in_probe, live, machine, messages, plain, Testdev};
use bringup_core::pci::Msix;
use bringup_core::{Bar, Function};
use kernel::device::{Bound, Device};
use kernel::io::Io;
use kernel::pci::{self, Class, ClassMask, IrqType, IrqTypes, Vendor};
use kernel::prelude::*;

#[test]
fn identity_is_that_of_the_device() {
    let report = in_probe(machine(plain), |pdev| {
        assert_eq!(pdev.vendor_id(), Vendor::REDHAT);
        assert_eq!(pdev.device_id(), 0x5);
        assert_eq!(pdev.revision_id(), 7);
        assert_eq!(pdev.subsystem_vendor_id(), 0x1af4);
        assert_eq!(pdev.subsystem_device_id(), 0x1100);
        assert!(pdev.pci_class() == Class::STORAGE_EXPRESS);
        assert_eq!(pdev.dev_id(), 3 << 3);
        assert_eq!(pdev.sriov_get_totalvfs(), None);
        dev_info!(pdev, "{} {:?} {} {:?}\n", pdev.vendor_id(), pdev.vendor_id(), pdev.pci_class(), pdev.pci_class());
        Ok(())
    });

    assert_eq!(messages(&report, "scripted"), ["REDHAT 0x1b36 STORAGE_EXPRESS 0x010802"]);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn classes_and_vendors_have_the_numbers_of_their_names() {
    assert_eq!((Vendor::THREECOM.as_raw(), Vendor::INTEL.as_raw(), Vendor::NCUBE.as_raw()), (0x10b7, 0x8086, 0x10ff));
    assert_eq!((Class::NOT_DEFINED.as_raw(), Class::NETWORK_ETHERNET.as_raw()), (0, 0x02_0000));
    assert_eq!(ClassMask::try_from(0xff_ff00), Ok(ClassMask::ClassSubclass));
    assert_eq!(ClassMask::try_from(0xff_0000), Err(EINVAL));
}

#[test]
fn device_of_another_bus_is_no_pci_function() {
    let report = in_probe(machine(plain), |pdev| {
        let dev: &Device<kernel::device::Core<'_>> = pdev.as_ref();
        let back: &pci::Device<_> = dev.try_into()?;
        assert!(core::ptr::eq(back, pdev));
        let faux = kernel::faux::Registration::new(c"clock", None)?;
        let dev: &Device<Bound> = faux.as_ref().as_ref();
        let none: Result<&pci::Device<Bound>> = dev.try_into();
        assert_eq!(none.err(), Some(EINVAL));
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn bar_is_mapped_for_one_at_a_time_and_free_after_it_was_dropped() {
    let report = in_probe(machine(plain), |pdev| {
        pdev.enable_device_mem()?;
        assert_eq!((pdev.resource_len(0), pdev.resource_len(1), pdev.resource_len(17)), (Ok(4096), Ok(0), Err(EINVAL)));
        assert_ne!(pdev.resource_start(0), Ok(0));

        let bar = pdev.iomap_region_sized::<16>(0, c"first")?;
        assert_eq!(pdev.iomap_region(0, c"second").err(), Some(EBUSY));
        bar.write32(0xcafe, Testdev::SCRATCH);
        drop(bar);
        let bar = pdev.iomap_region(0, c"second")?;
        assert_eq!(bar.try_read32(Testdev::SCRATCH), Ok(0xcafe));
        assert_eq!(bar.size(), 4096);
        assert_eq!(bar.try_read32(4096), Err(EINVAL));
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn bar_that_is_missing_or_too_short_is_refused_and_nothing_is_left() {
    let report = in_probe(machine(plain), |pdev| {
        assert_eq!(pdev.iomap_region(1, c"missing").err(), Some(ENOMEM));
        assert_eq!(pdev.iomap_region(17, c"impossible").err(), Some(EINVAL));
        assert_eq!(pdev.iomap_region_sized::<32>(2, c"short").err(), Some(EINVAL));
        assert!(pdev.iomap_region_sized::<16>(2, c"whole").is_ok());
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn bar_that_is_leaked_is_found() {
    let report = in_probe(machine(plain), |pdev| {
        core::mem::forget(pdev.iomap_region(0, c"leaked")?);
        Ok(())
    });
    assert_eq!(report.rules(), ["leak-region"]);
    let place = report.findings[0].place.expect("it says where");
    assert!(place.file().ends_with("buses/pci.rs"), "{place}");
}

#[test]
fn config_space_is_read_and_written_in_three_widths() {
    let report = in_probe(machine(plain), |pdev| {
        let config = pdev.config_space();
        assert_eq!((config.read32(0x0), config.read16(0x2), config.read8(0x8)), (0x0005_1b36, 0x5, 7));
        config.write8(0x2a, 0x3c);
        assert_eq!(config.read8(0x3c), 0x2a);
        assert_eq!(config.try_read32(0x100), Err(EINVAL));
        assert_eq!(config.size(), 256);
        assert_eq!(pdev.config_space_extended().err().map(|e| e.to_errno()), Some(-22));
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn express_device_has_extended_config_space() {
    let report = in_probe(machine(|| plain().express()), |pdev| {
        assert!(pdev.cfg_size() == pci::ConfigSpaceSize::Extended);
        assert_eq!(pdev.config_space_extended()?.size(), 4096);
        assert_eq!(pdev.config_space().size(), 4096);
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn vectors_are_those_of_the_best_type_and_go_back_when_dropped() {
    fn with_messages() -> Function {
        plain().msi(4).msix(Msix { vectors: 8, table: (4, 0), pending: (4, 0x800) }).bar(Bar::memory32(4, 4096)).intx()
    }

    let report = in_probe(machine(with_messages), |pdev| {
        pdev.enable_device_mem()?;
        pdev.set_master();
        let vectors = pdev.alloc_irq_vectors(1, 3, IrqTypes::all())?;
        assert_eq!(vectors.len(), 3);
        assert!(matches!(vectors.irq_type(), IrqType::MsiX));
        assert!(vectors.index(2).is_ok());
        assert_eq!(vectors.index(3).err(), Some(EINVAL));
        drop(vectors);

        let msi = IrqTypes::default().with(IrqType::Msi).with(IrqType::Intx);
        let vectors = pdev.alloc_irq_vectors(1, 4, msi)?;
        assert!(matches!(vectors.index(0)?.irq_type(), IrqType::Msi));
        assert_eq!(vectors.index(0)?.vectors().len(), 4);
        drop(vectors);

        let pin = pdev.alloc_irq_vectors(1, 1, IrqTypes::default().with(IrqType::Intx))?;
        assert!(matches!(pin.irq_type(), IrqType::Intx));
        drop(pin);
        assert_eq!(pdev.alloc_irq_vectors(9, 9, IrqTypes::all()).err(), Some(ENOSPC));
        Ok(())
    });
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// A driver for classes of devices, with a row that matches and one that would as well.
mod by_class {
    use super::*;

    struct ByClass;

    kernel::pci_device_table!(
        IDS,
        &'static str,
        [
            (pci::DeviceId::from_id(Vendor::INTEL, 0x5), "not this"),
            (pci::DeviceId::from_class_and_vendor(Class::STORAGE_SATA, ClassMask::Full, Vendor::REDHAT), "nor this"),
            (
                pci::DeviceId::from_class_and_vendor(Class::STORAGE_EXPRESS, ClassMask::ClassSubclass, Vendor::REDHAT),
                "this"
            ),
            (pci::DeviceId::from_class(0x01_0802, 0xff_ffff), "too late"),
        ]
    );

    impl pci::Driver for ByClass {
        type IdInfo = &'static str;
        type Data<'bound> = ();
        const ID_TABLE: pci::IdTable<&'static str> = &IDS;

        fn probe<'bound>(
            pdev: &'bound pci::Device<kernel::device::Core<'_>>,
            info: Option<&'bound &'static str>,
        ) -> impl PinInit<(), Error> + 'bound {
            dev_info!(pdev, "{}\n", info.ok_or(ENODEV)?);
            Ok(())
        }
    }

    kernel::module_pci_driver! {
        type: ByClass,
        name: "by_class",
        authors: ["Bringup"],
        description: "Goes by class",
        license: "GPL",
    }
}

#[test]
fn first_row_that_matches_says_what_there_is_to_know() {
    let report = live(machine(plain), &by_class::BRINGUP_MODULE);
    assert_eq!(messages(&report, "by_class"), ["this"]);
}

#[test]
fn device_that_no_row_matches_is_left_alone() {
    let report = live(machine(|| Function::new(0x1b36, 0x6).class(0x02_0000)), &by_class::BRINGUP_MODULE);
    assert_eq!(report.log_text(), "");
    assert_eq!(report.probe_errors, []);
}
