//! Findings about what a driver leaves behind point to the line where the driver asked for it, also where it asked for an
//! initialiser and the thing itself was taken later.

use bringup_bench::Bench;
use core::mem::forget;
use kernel::debugfs::Dir;
use kernel::device::Core;
use kernel::driver::Registration;
use kernel::fs::File;
use kernel::miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::time::hrtimer::{
    HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer, HrTimerRestart, RelativeMode,
};
use kernel::time::{Delta, Monotonic};
use kernel::workqueue::{
    self, impl_has_delayed_work, impl_has_work, new_delayed_work, new_work, DelayedWork, Work, WorkItem,
};
use kernel::{impl_has_hr_timer, pci, platform};
use std::cell::Cell;

module! {
    type: Leaver,
    name: "leaver",
    authors: ["Bringup"],
    description: "Leaves behind what a test says",
    license: "GPL",
}

/// What a test has the module leave behind.
type Leave = fn(&'static ThisModule) -> Result;

std::thread_local! {
    static LEAVE: Cell<Leave> = const { Cell::new(|_| Ok(())) };
}

struct Leaver;

impl kernel::Module for Leaver {
    fn init(module: &'static ThisModule) -> Result<Self> {
        LEAVE.get()(module)?;
        Ok(Self)
    }
}

/// Loads and unloads the module; returns the lines of this file that the findings of a rule point to.
fn lines(rule: &str, leave: Leave) -> Vec<&'static str> {
    LEAVE.set(leave);
    let bench = Bench::builder().build().unwrap();
    bench.load(&BRINGUP_MODULE).unwrap();
    let report = bench.finish();
    let places = report.findings.iter().filter(|finding| finding.rule.id == rule).map(|finding| finding.place.unwrap());
    let line = |place: &core::panic::Location<'_>| {
        assert!(place.file().ends_with("tests/places.rs"), "{place}");
        include_str!("places.rs").lines().nth(place.line() as usize - 1).unwrap().trim()
    };
    places.map(line).collect()
}

/// The usual `Vec`, which the prelude's hides.
type Vec<T> = std::vec::Vec<T>;

#[pin_data]
struct Later {
    #[pin]
    now: Work<Self, 0>,
    #[pin]
    later: DelayedWork<Self, 1>,
}

impl_has_work! {
    impl HasWork<Self, 0> for Later { self.now }
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self, 1> for Later { self.later }
}

impl WorkItem<0> for Later {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>) {
        kernel::machine::sleep(1_000_000_000);
    }
}

impl WorkItem<1> for Later {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>) {}
}

#[test]
fn work_points_to_where_it_was_queued() {
    let queued = lines("leak-work", |_| {
        let new = pin_init!(Later { now <- new_work!(), later <- new_delayed_work!() });
        let later = Arc::pin_init(new, GFP_KERNEL)?;
        drop(workqueue::system().enqueue_delayed::<_, 1>(later.clone(), 1_000_000));
        drop(workqueue::system().enqueue::<_, 0>(later));
        workqueue::system().try_spawn(GFP_KERNEL, || kernel::machine::sleep(1_000_000_000))?;
        Ok(())
    });

    assert_eq!(
        queued,
        [
            "drop(workqueue::system().enqueue_delayed::<_, 1>(later.clone(), 1_000_000));",
            "drop(workqueue::system().enqueue::<_, 0>(later));",
            "workqueue::system().try_spawn(GFP_KERNEL, || kernel::machine::sleep(1_000_000_000))?;",
        ]
    );
}

#[pin_data]
struct Watchdog {
    #[pin]
    timer: HrTimer<Self>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Watchdog {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for Watchdog {
    type Pointer<'a> = Arc<Self>;

    fn run(_this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        ctx.forward_now(Delta::from_secs(1_000));
        HrTimerRestart::Restart
    }
}

#[test]
fn timer_points_to_where_it_was_started() {
    let started = lines("leak-timer", |_| {
        let watchdog = Arc::pin_init(pin_init!(Watchdog { timer <- HrTimer::new() }), GFP_KERNEL)?;
        forget(watchdog.clone().start(Delta::from_secs(1_000)));
        Ok(())
    });

    assert_eq!(started, ["forget(watchdog.clone().start(Delta::from_secs(1_000)));"]);
}

#[test]
fn timer_that_restarts_itself_still_points_to_where_it_was_started() {
    let started = lines("leak-timer", |_| {
        let watchdog = Arc::pin_init(pin_init!(Watchdog { timer <- HrTimer::new() }), GFP_KERNEL)?;
        forget(watchdog.clone().start(Delta::from_micros(10)));
        kernel::machine::sleep(1_000_000);
        Ok(())
    });

    assert_eq!(started, ["forget(watchdog.clone().start(Delta::from_micros(10)));"]);
}

struct Node;

#[vtable]
impl MiscDevice for Node {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }
}

#[test]
fn misc_device_points_to_where_it_was_registered() {
    let registered = lines("leak-registration", |_| {
        let node = MiscDeviceRegistration::<Node>::register(MiscDeviceOptions { name: c"node" });
        forget(KBox::pin_init(node, GFP_KERNEL)?);
        Ok(())
    });

    assert_eq!(
        registered,
        ["let node = MiscDeviceRegistration::<Node>::register(MiscDeviceOptions { name: c\"node\" });"]
    );
}

#[test]
fn debugfs_entries_point_to_where_they_were_made() {
    let made = lines("leak-registration", |_| {
        let dir = Dir::new(c"leaver");
        let file = dir.read_only_file(c"level", 3);
        forget(KBox::pin_init(file, GFP_KERNEL)?);
        let scope = dir.scope(5, c"scope", |value, dir| dir.read_only_file(c"value", value));
        forget(KBox::pin_init(scope, GFP_KERNEL)?);
        forget(dir);
        Ok(())
    });

    assert_eq!(
        made,
        [
            "let dir = Dir::new(c\"leaver\");",
            "let file = dir.read_only_file(c\"level\", 3);",
            "let scope = dir.scope(5, c\"scope\", |value, dir| dir.read_only_file(c\"value\", value));",
            "let scope = dir.scope(5, c\"scope\", |value, dir| dir.read_only_file(c\"value\", value));",
        ]
    );
}

struct Nothing;

kernel::pci_device_table!(IDS, (), [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5), ())]);

impl pci::Driver for Nothing {
    type IdInfo = ();
    type Data<'bound> = ();

    const ID_TABLE: pci::IdTable<()> = &IDS;

    fn probe<'bound>(_: &'bound pci::Device<Core<'_>>, _: Option<&'bound ()>) -> impl PinInit<(), Error> + 'bound {
        Ok(())
    }
}

impl platform::Driver for Nothing {
    type IdInfo = ();
    type Data<'bound> = ();

    fn probe<'bound>(_: &'bound platform::Device<Core<'_>>, _: Option<&'bound ()>) -> impl PinInit<(), Error> + 'bound {
        Ok(())
    }
}

#[test]
fn driver_points_to_where_it_was_registered() {
    let registered = lines("leak-registration", |module| {
        let on_pci = Registration::<pci::Adapter<Nothing>>::new(c"pci", module);
        forget(KBox::pin_init(on_pci, GFP_KERNEL)?);
        let on_platform = Registration::<platform::Adapter<Nothing>>::new(c"platform", module);
        forget(KBox::pin_init(on_platform, GFP_KERNEL)?);
        Ok(())
    });

    assert_eq!(
        registered,
        [
            "let on_pci = Registration::<pci::Adapter<Nothing>>::new(c\"pci\", module);",
            "let on_platform = Registration::<platform::Adapter<Nothing>>::new(c\"platform\", module);",
        ]
    );
}
