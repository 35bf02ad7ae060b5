//! Status, initialisation, reset and suspend.

use bringup_devices::virtio::{Rng, VirtioPci};
use bringup_spec::virtio::pci::common;
use bringup_spec::virtio::{device_type, feature, status};

use crate::device::{Anything, Twisted};
use crate::plan::{Plan, planted};

/// An entropy device and a driver that fetches some bytes.
pub(crate) fn entropy() -> Plan {
    Plan::new(|| VirtioPci::new(Rng::default()), u128::MAX, &[0]).then(|rig| {
        rig.request(0, &[], &[16]);
    })
}

/// A device that refuses all features, and a driver that gives up.
fn refused() -> Plan {
    let device = || {
        let anything = Anything { refuses: true, ..Anything::new(device_type::ENTROPY, &[]) };
        VirtioPci::new(anything)
    };
    Plan::new(device, u128::MAX, &[]).skip("features ok read", "unbind").before("unbind", |rig| {
        rig.status &= !status::FEATURES_OK;
        rig.add_status(status::FAILED);
    })
}

/// A device that can be suspended, and a driver that does so, and resumes.
pub(crate) fn suspend() -> Plan {
    let device =
        || Twisted::new(VirtioPci::new(Anything::new(device_type::CONSOLE, &[2])).offer(feature::SUSPEND, true));
    Plan::of(move || Box::new(device()), u128::MAX, &[1])
        .before("end", |rig| {
            rig.request(1, &[b"before"], &[]);
        })
        .before("end", |rig| rig.add_status(status::SUSPEND))
        .before("end", |rig| {
            let now = rig.read_status();
            assert_eq!(now & (status::SUSPEND | status::DRIVER_OK), status::SUSPEND);
        })
        .before("end", |rig| {
            rig.status &= !status::SUSPEND;
            rig.add_status(status::DRIVER_OK);
        })
        .before("end", |rig| {
            rig.read_status();
        })
        .before("end", |rig| {
            rig.request(1, &[b"after"], &[]);
        })
}

/// Ends the life after a suspend.
fn suspended(use_it: fn(&mut crate::rig::Rig)) -> Plan {
    let device =
        || Twisted::new(VirtioPci::new(Anything::new(device_type::CONSOLE, &[2])).offer(feature::SUSPEND, true));
    Plan::of(move || Box::new(device()), u128::MAX, &[1]).before("end", move |rig| {
        rig.add_status(status::SUSPEND);
        rig.read_status();
        use_it(rig);
    })
}

/// Suspends, and resumes in these steps.
fn resumed(resume: fn(&mut crate::rig::Rig)) -> Plan {
    suspended(resume)
}

planted! {
    features_ok_before_driver_is_out_of_order: "STATUS-D-01",
        entropy(),
        |plan| plan.without("driver").before("features ok read", |rig| rig.add_status(status::DRIVER))
            .instead("features ok", |rig| {
                rig.add_status(status::FEATURES_OK);
            });
    a_status_stored_without_the_old_bits_drops_them: "STATUS-D-02",
        entropy(),
        |plan| plan.instead("driver", |rig| rig.set_status(status::DRIVER));
    another_try_after_failed_needs_a_reset: "STATUS-D-03",
        entropy().skip("driver", "end").before("end", |rig| rig.add_status(status::FAILED)),
        |plan| plan.before("end", |rig| rig.set_status(status::ACKNOWLEDGE));
    a_first_status_that_is_no_reset_is_found: "INIT-D-01",
        entropy(),
        |plan| plan.without("reset").without("reset read");
    driver_without_acknowledge_is_found: "INIT-D-02",
        entropy(),
        |plan| plan.without("acknowledge");
    features_ok_without_writing_features_is_found: "INIT-D-03",
        entropy().skip("features ok read", "end"),
        |plan| plan.without("features");
    features_ok_that_nobody_read_back_is_found: "INIT-D-04",
        entropy(),
        |plan| plan.without("features ok read");
    a_queue_set_up_before_the_features_is_too_early: "INIT-D-05",
        entropy(),
        |plan| plan.before("features ok", |rig| {
            rig.select(0);
            rig.write_address(common::QUEUE_DESC, 0x1000);
        });
    features_written_after_features_ok_are_too_late: "INIT-D-08",
        entropy(),
        |plan| plan.after("features ok read", |rig| rig.write_features(rig.accepted));
    going_on_after_features_were_refused_is_found: "INIT-D-10",
        refused(),
        |plan| plan.after("features ok read", |rig| {
            rig.status &= !status::FEATURES_OK;
            rig.add_status(status::DRIVER_OK);
        });
    a_kick_before_driver_ok_is_found: "INIT-D-11",
        entropy(),
        |plan| plan.before("driver ok", |rig| rig.notify(0, 2, 0));
    leaving_after_a_refusal_without_failed_is_found: "FEAT-D-07",
        refused(),
        |plan| plan.skip("features ok read", "unbind");
    going_on_before_the_reset_is_over_is_found: "PCI-COMMON-D-05",
        entropy(),
        |plan| plan.without("reset read");
    freeing_queues_before_the_reset_is_over_is_found: "RESET-D-01",
        entropy(),
        |plan| plan.without("end read");
    suspend_without_the_feature_is_found: "SUSPEND-D-01",
        entropy(),
        |plan| plan.before("end", |rig| rig.add_status(status::SUSPEND));
    resuming_what_was_not_seen_suspended_is_found: "SUSPEND-D-02",
        resumed(|rig| {
            rig.set_status(15);
            rig.read_status();
        }),
        |plan| plan.before("end", |rig| {
            rig.add_status(status::SUSPEND);
            rig.set_status(15);
            rig.read_status();
        });
    a_kick_while_suspended_is_found: "SUSPEND-D-04",
        suspended(|_| {}),
        |plan| plan.before("end", |rig| {
            let (at, width, value) = rig.queue(1).kick(rig);
            rig.notify(at, width, value);
        });
    configuration_written_while_suspended_is_found: "SUSPEND-D-05",
        suspended(|_| {}),
        |plan| plan.before("end", |rig| rig.set_config(8, 4, 65));
    using_the_device_before_it_was_seen_resumed_is_found: "SUSPEND-D-06",
        resumed(|rig| {
            rig.set_status(15);
            rig.read_status();
            rig.request(1, &[b"after"], &[]);
        }),
        |plan| plan.before("end", |rig| {
            rig.add_status(status::SUSPEND);
            rig.read_status();
            rig.set_status(15);
            rig.request(1, &[b"after"], &[]);
        });
}

#[test]
fn a_queue_enabled_for_the_first_time_after_driver_ok_is_too_late() {
    let base = Plan::new(|| VirtioPci::new(Anything::new(device_type::CONSOLE, &[])), u128::MAX, &[0]);

    let broken = base.before("end", |rig| rig.set_up(1)).run().broken();

    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["INIT-D-05"]);
}

#[test]
fn acknowledge_and_driver_in_one_write_are_let_pass() {
    let plan = entropy().without("acknowledge").instead("driver", |rig| {
        rig.set_status(status::ACKNOWLEDGE | status::DRIVER);
    });

    plan.is_silent();
}
