//! A module that loses an allocation.

use kernel::prelude::*;

module! {
    type: Leaks,
    name: "leaks",
    authors: ["Bringup"],
    description: "Leaks in its init",
    license: "GPL",
}

struct Leaks;

impl kernel::Module for Leaks {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let lost = KBox::new([0u8; 24], GFP_KERNEL)?;
        KBox::leak(lost);
        Ok(Self)
    }
}
