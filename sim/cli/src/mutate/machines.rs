//! The machines that a driver lives in without what was removed.

use crate::args::MutateArgs;
use crate::conform::odd_devices;
use crate::life::{Driver, default_devices, twin};

/// The devices of each machine, as `--device` takes them. If the user names some, there is one machine. A virtio driver of ours, or a
/// variant of one, also meets the odd devices of `bringup conform`.
pub(super) fn machines(args: &MutateArgs, driver: &Driver) -> Vec<Vec<String>> {
    if !args.device.is_empty() {
        return vec![args.device.clone()];
    }
    let Some(twin) = twin(driver.module()) else { return vec![default_devices(driver)] };
    let plain: Vec<String> = twin.default_devices.iter().map(ToString::to_string).collect();
    let odd: Vec<Vec<String>> = match &*plain {
        [only] if only.starts_with("virtio-") => odd_devices(only).map(|spec| vec![spec]).collect(),
        _ => Vec::new(),
    };
    std::iter::once(plain).chain(odd).collect()
}
