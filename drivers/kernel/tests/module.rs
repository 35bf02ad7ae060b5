//! A module's life: loading with parameters, failing to load, unloading; device tables and log macros in a module.

#![allow(unsafe_code, reason = "device ids promise a layout")]

use kernel::device_id::{IdTable, RawDeviceId, RawDeviceIdIndex};
use kernel::module::{this_module, ModuleMetadata};
use kernel::prelude::*;
use kernel::types::ScopeGuard;
use kernel::{pr_cont, pr_info_once};
use std::cell::Cell;

module! {
    type: Probe,
    name: "probe",
    authors: ["Bringup"],
    description: "A module for its test",
    license: "GPL",
    params: {
        depth: u16 {
            default: 4,
            description: "How many of them",
        },
        polled: bool {
            default: false,
            description: "Whether to poll",
        },
        refuse: i32 {
            default: 0,
            description: "The error to fail with",
        },
    },
}

std::thread_local! {
    static LOADED: Cell<Option<(u16, bool)>> = const { Cell::new(None) };
}

struct Probe {
    depths: KVec<u16>,
}

impl kernel::Module for Probe {
    fn init(module: &'static ThisModule) -> Result<Self> {
        assert!(module.as_ptr().is_null());
        pr_info!("loading with depth {}\n", module_parameters::depth.value());
        pr_info_once!("only once");
        pr_cont!(" in each life\n");
        kernel::error::to_result(module_parameters::refuse.value())?;
        let mut depths = KVec::new();
        depths.push(*module_parameters::depth.value_ref(), GFP_KERNEL)?;
        LOADED.set(Some((depths[0], module_parameters::polled.value())));
        Ok(Self { depths })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        pr_debug!("unloading {:?}\n", self.depths);
        LOADED.set(None);
    }
}

/// Sets parameters as `modprobe probe name=value …` does, and loads the module.
fn load(values: &[(&str, &str)]) -> core::result::Result<kernel::module::Loaded, i32> {
    for param in BRINGUP_MODULE.params {
        param.target.reset();
    }
    for (name, value) in values {
        let param = BRINGUP_MODULE.params.iter().find(|param| param.name == *name).ok_or(ENOENT.to_errno())?;
        param.target.set(value)?;
    }
    (BRINGUP_MODULE.init)()
}

#[test]
fn module_lives_from_load_to_unload_with_its_defaults() {
    let loaded = load(&[]).unwrap();
    assert_eq!(LOADED.get(), Some((4, false)));
    drop(loaded);
    assert_eq!(LOADED.get(), None);
}

#[test]
fn parameters_hold_for_one_load() {
    drop(load(&[("depth", "0x20"), ("polled", "on")]).unwrap());
    let again = load(&[("polled", "y")]).unwrap();
    assert_eq!(LOADED.get(), Some((4, true)));
    drop(again);
}

#[test]
fn parameter_values_stay_with_the_machines_thread() {
    let loaded = load(&[("depth", "9")]).unwrap();
    let elsewhere = std::thread::spawn(|| module_parameters::depth.value()).join().unwrap();
    assert_eq!((module_parameters::depth.value(), elsewhere), (9, 4));
    drop(loaded);
}

#[test]
fn parameter_reference_outlives_the_next_load() {
    drop(load(&[("depth", "100")]).unwrap());
    let value = module_parameters::depth.value_ref();
    drop(load(&[("depth", "200")]).unwrap());
    assert_eq!((*value, module_parameters::depth.value()), (100, 200));
}

#[test]
fn bad_parameter_fails_the_load() {
    assert_eq!(load(&[("depth", "65536")]).err(), Some(EINVAL.to_errno()));
    assert_eq!(load(&[("depth", "-1")]).err(), Some(EINVAL.to_errno()));
    assert_eq!(load(&[("polled", "perhaps")]).err(), Some(EINVAL.to_errno()));
    assert_eq!(load(&[("depth", "1"), ("depth", "1")]).err(), Some(EEXIST.to_errno()));
}

#[test]
fn failing_init_fails_the_load_with_its_error() {
    assert_eq!(load(&[("refuse", "-19")]).err(), Some(-19));
    assert_eq!(LOADED.get(), None);
}

#[test]
fn description_is_what_module_says() {
    let types: std::vec::Vec<_> = BRINGUP_MODULE.params.iter().map(|param| (param.name, param.ty)).collect();
    assert_eq!((BRINGUP_MODULE.name, BRINGUP_MODULE.license), ("probe", "GPL"));
    assert_eq!(types, [("depth", "u16"), ("polled", "bool"), ("refuse", "i32")]);
    assert_eq!(<LocalModule as ModuleMetadata>::NAME, c"probe");
    assert!(this_module::<LocalModule>().as_ptr().is_null());
}

/// A bus's id: a number, and room for the driver's pointer.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawId {
    number: u32,
    driver_data: usize,
}

#[repr(transparent)]
struct Id(RawId);

impl Id {
    const fn new(number: u32) -> Self {
        Self(RawId { number, driver_data: 0 })
    }
}

// SAFETY: the one is a transparent wrapper of the other.
unsafe impl RawDeviceId for Id {
    type RawType = RawId;
}

// SAFETY: the field is as wide as a pointer.
unsafe impl RawDeviceIdIndex for Id {
    const DRIVER_DATA_OFFSET: usize = core::mem::offset_of!(RawId, driver_data);
}

kernel::module_device_table!("test", Id, WITH_INFO, &'static str, [(Id::new(7), "seven"), (Id::new(8), "eight"),]);
kernel::module_device_table!("test", Id, WITHOUT_INFO, @none, [Id::new(9)]);

#[test]
fn device_table_ends_in_zeroes_and_leads_to_its_infos() {
    let table: &dyn IdTable<Id, &'static str> = &WITH_INFO;
    let first = table.as_ptr().cast::<Id>();
    // SAFETY: the table has two ids and the end, and its infos are strings.
    unsafe {
        assert_eq!(((*first).0.number, *(*first).info_unchecked::<&'static str>()), (7, "seven"));
        assert_eq!((*first.add(1)).info_unchecked_opt::<&'static str>(), Some(&"eight"));
        assert_eq!((*first.add(2)).0.number, 0);
        assert_eq!((*first.add(2)).info_unchecked_opt::<&'static str>(), None);
    }
    let table: &dyn IdTable<Id, ()> = &WITHOUT_INFO;
    // SAFETY: the table has one id and the end.
    unsafe {
        assert_eq!((*table.as_ptr()).number, 9);
        assert_eq!((*table.as_ptr().add(1)).number, 0);
    }
}

#[test]
fn scope_guard_cleans_up_its_data_unless_dismissed() {
    let cleaned = Cell::new(0);
    let mut guard = ScopeGuard::new_with_data(1, |data| cleaned.set(data));
    *guard += 1;
    drop(guard);
    assert_eq!(cleaned.get(), 2);
    assert_eq!(ScopeGuard::new_with_data(5, |data| cleaned.set(data)).dismiss(), 5);
    assert_eq!(cleaned.get(), 2);
}
