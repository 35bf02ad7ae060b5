//! Devices that a driver makes of parts of its own.

use crate::testdev::{in_probe, machine, plain, FailAllocation};
use bringup_bench::life;
use kernel::auxiliary::{self, DeviceId, Registration};
use kernel::device::Core;
use kernel::driver;
use kernel::prelude::*;
use kernel::types::CovariantForLt;

struct PartDriver;

kernel::auxiliary_device_table!(
    IDS,
    u32,
    [(DeviceId::new(c"other", c"part"), 1), (DeviceId::new(c"maker", c"part"), 2)]
);

struct Part<'bound> {
    adev: &'bound auxiliary::Device<kernel::device::Bound>,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        dev_info!(self.adev, "data goes\n");
    }
}

impl auxiliary::Driver for PartDriver {
    type IdInfo = u32;
    type Data<'bound> = Part<'bound>;
    const ID_TABLE: auxiliary::IdTable<u32> = &IDS;

    fn probe<'bound>(
        adev: &'bound auxiliary::Device<Core<'_>>,
        info: &'bound u32,
    ) -> impl PinInit<Part<'bound>, Error> + 'bound {
        if adev.id() == 13 {
            return Err(EPROTO);
        }
        assert_eq!(adev.registration_data::<CovariantForLt!(&'_ CStr)>().err(), Some(EINVAL));
        let said = adev.registration_data::<CovariantForLt!(&'_ str)>()?;
        dev_info!(adev, "part {} of {:?}, row {info}: {}\n", adev.id(), adev.parent().name(), *said);
        Ok(Part { adev })
    }

    fn unbind<'bound>(adev: &'bound auxiliary::Device<Core<'_>>, _this: Pin<&Part<'bound>>) {
        let said = adev.registration_data_with::<Said, _>(|said| said.len());
        dev_info!(adev, "unbind: {said:?}\n");
    }
}

kernel::module_auxiliary_driver! {
    type: PartDriver,
    name: "part_driver",
    authors: ["Bringup"],
    description: "Drives parts",
    license: "GPL",
}

type Said = CovariantForLt!(&'_ str);

#[test]
fn driver_gets_devices_that_were_there_before_it_and_leaves_them_in_reverse() {
    let report = life(machine(plain), |bench| {
        bench
            .run("maker", || {
                let parent = kernel::faux::Registration::new(c"maker", None).unwrap();
                let dev = parent.as_ref().as_ref();
                let hello = || Ok::<_, Error>("hello");
                // SAFETY: it is dropped below.
                let make = |id| unsafe { Registration::<Said>::new_with_lt(dev, c"part", id, c"maker", hello()) };
                let parts = (make(1).unwrap(), make(2).unwrap(), make(13).unwrap());
                assert_eq!(make(1).err(), Some(EEXIST));
                let driver = KBox::pin_init(
                    driver::Registration::<auxiliary::Adapter<PartDriver>>::new(
                        c"drv",
                        kernel::module::this_module::<LocalModule>(),
                    ),
                    GFP_KERNEL,
                )
                .unwrap();
                drop(driver);
                drop(parts);
            })
            .unwrap();
    })
    .unwrap();

    let said = [
        "auxiliary maker.part.1: adding auxiliary device failed!: -17",
        "drv.drv maker.part.1: part 1 of \"maker\", row 2: hello",
        "drv.drv maker.part.2: part 2 of \"maker\", row 2: hello",
        "drv.drv maker.part.13: probe with driver drv.drv failed with error -71",
        "drv.drv maker.part.2: unbind: Ok(5)",
        "drv.drv maker.part.2: data goes",
        "drv.drv maker.part.1: unbind: Ok(5)",
        "drv.drv maker.part.1: data goes",
    ];
    assert_eq!(report.log_text().lines().collect::<std::vec::Vec<_>>(), said);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn device_leaves_its_driver_before_its_maker_takes_the_data_back() {
    struct Said<'a>(&'a str);
    impl Drop for Said<'_> {
        fn drop(&mut self) {
            pr_info!("{} goes\n", self.0);
        }
    }

    let report = life(machine(plain), |bench| {
        bench.load(&BRINGUP_MODULE).unwrap();
        bench
            .run("maker", || {
                let parent = kernel::faux::Registration::new(c"maker", None).unwrap();
                let said = Ok::<_, Error>(Said("what was said"));
                // SAFETY: it is dropped below.
                let part = unsafe {
                    Registration::<CovariantForLt!(Said<'_>)>::new_with_lt(
                        parent.as_ref().as_ref(),
                        c"part",
                        7,
                        c"maker",
                        said,
                    )
                };
                // The driver wants data of another type.
                assert!(part.is_ok());
                drop(part);
            })
            .unwrap();
        bench.unload("part_driver").unwrap();
    })
    .unwrap();

    let driver = "part_driver.part_driver maker.part.7";
    let said = format!(
        "{driver}: probe with driver part_driver.part_driver failed with error -22\nbuses: what was said goes\n"
    );
    assert_eq!(report.log_text(), said);
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn whichever_allocation_fails_no_device_is_left() {
    for failing in 0..2 {
        let report = in_probe(machine(plain).chooser(FailAllocation(failing)), |pdev| {
            let dev = pdev.as_ref();
            let hello = || Ok::<_, Error>("hello");
            // SAFETY: it is dropped below.
            let make = || unsafe { Registration::<Said>::new_with_lt(dev, c"part", 1, c"maker", hello()) };
            assert_eq!(make().err(), Some(ENOMEM));
            assert!(make().is_ok());
            Ok(())
        });
        assert!(report.is_clean(), "allocation {failing}: {:?}", report.findings);
    }
}
