//! What happens in which order when a driver gets a device and loses it, and what managed resources do meanwhile.

use crate::testdev::{live, machine, messages, plain, FailAllocation};
use core::cell::RefCell;
use kernel::device::{Core, Device};
use kernel::devres::{self, Devres, DevresLt};
use kernel::pci;
use kernel::prelude::*;
use kernel::sync::aref::ARef;

/// Says when it is dropped.
struct Loud {
    dev: ARef<Device>,
    name: &'static str,
}

impl Loud {
    fn new(pdev: &pci::Device, name: &'static str) -> Self {
        Self { dev: pdev.as_ref().into(), name }
    }
}

impl Drop for Loud {
    fn drop(&mut self) {
        dev_info!(self.dev, "{} goes\n", self.name);
    }
}

/// A driver with data, two managed resources and an `unbind`.
mod orderly {
    use super::*;

    struct Orderly;

    kernel::pci_device_table!(IDS, (), [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]);

    impl pci::Driver for Orderly {
        type IdInfo = ();
        type Data<'bound> = Loud;
        const ID_TABLE: pci::IdTable<()> = &IDS;

        fn probe<'bound>(
            pdev: &'bound pci::Device<Core<'_>>,
            _info: Option<&'bound ()>,
        ) -> impl PinInit<Loud, Error> + 'bound {
            devres::register(pdev.as_ref(), Loud::new(pdev, "first resource"), GFP_KERNEL)?;
            devres::register(pdev.as_ref(), Loud::new(pdev, "second resource"), GFP_KERNEL)?;
            dev_info!(pdev, "probed\n");
            Ok(Loud::new(pdev, "data"))
        }

        fn unbind(pdev: &pci::Device<Core<'_>>, this: Pin<&Loud>) {
            dev_info!(pdev, "unbind with {}\n", this.name);
        }
    }

    kernel::module_pci_driver! {
        type: Orderly,
        name: "orderly",
        authors: ["Bringup"],
        description: "Says what happens",
        license: "GPL",
    }
}

#[test]
fn unbind_comes_before_data_and_managed_resources_come_last_in_reverse() {
    let report = live(machine(plain), &orderly::BRINGUP_MODULE);

    let order = ["probed", "unbind with data", "data goes", "second resource goes", "first resource goes"];
    assert_eq!(messages(&report, "orderly"), order);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn whichever_allocation_fails_nothing_is_left_and_the_device_has_no_driver() {
    // Two resources with a node each, and the data.
    for failing in 0..5 {
        let report = live(machine(plain).chooser(FailAllocation(failing)), &orderly::BRINGUP_MODULE);

        let messages = messages(&report, "orderly");
        assert_eq!(report.probe_errors, [("orderly".into(), "testdev".into(), -12)], "allocation {failing}");
        assert!(!messages.iter().any(|message| message.starts_with("unbind")), "{messages:?}");
        assert!(report.is_clean(), "allocation {failing}: {:?}", report.findings);
    }
    let report = live(machine(plain).chooser(FailAllocation(5)), &orderly::BRINGUP_MODULE);
    assert_eq!(report.probe_errors, []);
}

/// A driver whose initialiser fails halfway.
mod fickle {
    use super::*;

    struct Fickle;

    #[pin_data]
    struct Parts {
        first: Loud,
        second: Loud,
    }

    kernel::pci_device_table!(IDS, (), [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]);

    impl pci::Driver for Fickle {
        type IdInfo = ();
        type Data<'bound> = Parts;
        const ID_TABLE: pci::IdTable<()> = &IDS;

        fn probe<'bound>(
            pdev: &'bound pci::Device<Core<'_>>,
            _info: Option<&'bound ()>,
        ) -> impl PinInit<Parts, Error> + 'bound {
            try_pin_init!(Parts {
                first: {
                    devres::register(pdev.as_ref(), Loud::new(pdev, "resource"), GFP_KERNEL)?;
                    Loud::new(pdev, "first")
                },
                second: Err(EPROTO)?,
            })
        }
    }

    kernel::module_pci_driver! {
        type: Fickle,
        name: "fickle",
        authors: ["Bringup"],
        description: "Fails to probe",
        license: "GPL",
    }
}

#[test]
fn failing_initialiser_drops_what_it_made_and_then_the_resources() {
    let report = live(machine(plain), &fickle::BRINGUP_MODULE);

    assert_eq!(
        messages(&report, "fickle"),
        ["first goes", "resource goes", "probe with driver fickle failed with error -71"]
    );
    assert_eq!(report.probe_errors, [("fickle".into(), "testdev".into(), -71)]);
    assert!(report.is_clean(), "{:?}", report.findings);
}

std::thread_local! {
    /// What a driver leaves behind for its test.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Things that may outlive the binding.
struct Kept {
    dev: ARef<pci::Device>,
    number: Devres<u32>,
    bar: pci::DevresBar<16>,
}

mod keeper {
    use super::*;

    struct Keeper;

    kernel::pci_device_table!(IDS, (), [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]);

    impl pci::Driver for Keeper {
        type IdInfo = ();
        type Data<'bound> = ();
        const ID_TABLE: pci::IdTable<()> = &IDS;

        fn probe<'bound>(
            pdev: &'bound pci::Device<Core<'_>>,
            _info: Option<&'bound ()>,
        ) -> impl PinInit<(), Error> + 'bound {
            pdev.enable_device_mem()?;
            let short_lived = Devres::new(pdev.as_ref(), Loud::new(pdev, "short-lived"))?;
            drop(short_lived);
            let number = Devres::new(pdev.as_ref(), 5)?;
            let bar = pdev.iomap_region_sized::<16>(2, c"keeper")?.into_devres()?;
            assert_eq!(*number.access(pdev.as_ref())?, 5);
            assert!(bar.access(pdev.as_ref()).is_ok());
            KEPT.set(Some(Kept { dev: pdev.into(), number, bar }));
            Ok(())
        }
    }

    kernel::module_pci_driver! {
        type: Keeper,
        name: "keeper",
        authors: ["Bringup"],
        description: "Leaves things behind",
        license: "GPL",
    }
}

#[test]
fn what_is_kept_beyond_the_binding_is_revoked_and_the_device_stays() {
    let report = bringup_bench::life(machine(plain), |bench| {
        bench.load(&keeper::BRINGUP_MODULE).unwrap();
        let accessible = || {
            KEPT.with_borrow(|kept| {
                let kept = kept.as_ref().unwrap();
                dev_info!(kept.dev, "has a number: {}\n", kept.number.try_access().is_some());
                (kept.number.try_access_with(|number| *number), kept.bar.try_access().is_some())
            })
        };
        assert_eq!(bench.run("while bound", accessible), Ok((Some(5), true)));
        bench.unbind("testdev").unwrap();
        assert_eq!(bench.run("afterwards", accessible), Ok((None, false)));
        bench.bind("testdev").unwrap();
        bench.unload("keeper").unwrap();
        bench.run("drop what is left", || KEPT.set(None)).unwrap();
    })
    .unwrap();

    let text = report.log_text();
    assert!(
        text.contains("keeper 0000:00:03.0: short-lived goes\nkeeper 0000:00:03.0: has a number: true\n"),
        "{text}"
    );
    assert!(text.contains("\npci 0000:00:03.0: has a number: false\n"), "{text}");
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn data_that_borrows_is_kept_with_its_lifetime_as_a_type() {
    use kernel::types::CovariantForLt;

    let report = bringup_bench::life(machine(plain), |bench| {
        bench
            .run("faux", || {
                let one = kernel::faux::Registration::new(c"one", None).unwrap();
                let two = kernel::faux::Registration::new(c"two", None).unwrap();
                let dev: &Device<kernel::device::Bound> = one.as_ref().as_ref();
                // SAFETY: a borrowed device stays as long as it is bound.
                let kept = unsafe {
                    DevresLt::<CovariantForLt!(&'_ Device<kernel::device::Bound>)>::new(dev, Ok::<_, Error>(dev))
                }
                .unwrap();
                assert_eq!(kept.access(dev).unwrap().name(), c"one");
                assert_eq!(kept.access_with(dev, |dev| dev.name().to_bytes().len()), Ok(3));
                assert_eq!(kept.access(two.as_ref().as_ref()).err(), Some(EINVAL));
                drop(one);
                assert!(kept.try_access().is_none());
                assert_eq!(kept.try_access_with(|_| ()), None);
                assert_eq!(kept.device().name(), c"one");
            })
            .unwrap();
    })
    .unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}
