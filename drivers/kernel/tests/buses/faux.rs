//! Devices without hardware.

use crate::testdev::{machine, plain};
use bringup_bench::{life, Report};
use kernel::devres;
use kernel::dma::Coherent;
use kernel::faux;
use kernel::prelude::*;

/// Runs code in a machine.
fn in_kernel(body: impl FnOnce()) -> Report {
    life(machine(plain), |bench| bench.run("test", body).expect("no crash")).expect("the machine is built")
}

#[test]
fn messages_name_the_driver_of_the_bus_and_afterwards_the_bus() {
    let report = in_kernel(|| {
        let registration = faux::Registration::new(c"clock", None).unwrap();
        let dev: kernel::sync::aref::ARef<kernel::device::Device> = registration.as_ref().as_ref().into();
        dev_warn!(registration.as_ref(), "ticks\n");
        drop(registration);
        dev_info!(dev, "is gone\n");
    });

    assert_eq!(report.log_text(), "faux_driver clock: ticks\nfaux clock: is gone\n");
    assert_eq!((report.log[0].level, report.log[1].level), (4, 6));
}

#[test]
fn name_that_is_taken_is_refused_until_it_is_free() {
    let report = in_kernel(|| {
        let clock = faux::Registration::new(c"clock", None).unwrap();
        assert_eq!(faux::Registration::new(c"clock", None).err(), Some(ENODEV));
        drop(clock);
        assert!(faux::Registration::new(c"clock", None).is_ok());
    });

    assert!(report.log_text().contains("device_add for faux device 'clock' failed with -17"));
}

#[test]
fn parent_stays_while_it_has_a_child_and_resources_go_with_the_device() {
    struct Last(&'static str);
    impl Drop for Last {
        fn drop(&mut self) {
            pr_info!("{}\n", self.0);
        }
    }

    let report = in_kernel(|| {
        let parent = faux::Registration::new(c"parent", None).unwrap();
        let child = faux::Registration::new(c"child", Some(parent.as_ref().as_ref())).unwrap();
        devres::register(child.as_ref().as_ref(), Last("resource"), GFP_KERNEL).unwrap();
        drop(parent);
        drop(child);
        pr_info!("end\n");
    });

    assert_eq!(report.log_text(), "buses: resource\nbuses: end\n");
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn dma_for_a_device_without_a_mask_fails_with_a_warning() {
    let report = in_kernel(|| {
        let clock = faux::Registration::new(c"clock", None).unwrap();
        let memory = Coherent::<u32>::zeroed(clock.as_ref().as_ref(), GFP_KERNEL);
        assert_eq!(memory.err(), Some(ENOMEM));
    });

    assert_eq!(report.rules(), ["kernel-warning"]);
}
