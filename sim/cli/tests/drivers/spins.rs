//! A module that spins without a call into the kernel: when it is loaded, or only when it is unloaded.

use core::sync::atomic::{AtomicBool, Ordering};

use kernel::prelude::*;

module! {
    type: Spins,
    name: "spins",
    authors: ["Bringup"],
    description: "Spins",
    license: "GPL",
    params: {
        late: u8 {
            default: 0,
            description: "Spins at unload",
        },
    },
}

struct Spins;

static NEVER: AtomicBool = AtomicBool::new(false);

fn spin() {
    while !NEVER.load(Ordering::Relaxed) {
        core::hint::spin_loop();
    }
}

impl kernel::Module for Spins {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("going round\n");
        if module_parameters::late.value() == 0 {
            spin();
        }
        Ok(Self)
    }
}

impl Drop for Spins {
    fn drop(&mut self) {
        spin();
    }
}
