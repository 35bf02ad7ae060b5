//! A module that forgets its first allocation where the second one fails.

use kernel::prelude::*;

module! {
    type: Forgets,
    name: "forgets",
    authors: ["Bringup"],
    description: "Leaks on the error path of its init",
    license: "GPL",
}

struct Forgets;

impl kernel::Module for Forgets {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let first = KBox::new([0u8; 24], GFP_KERNEL)?;
        let Ok(_second) = KBox::new([0u8; 24], GFP_KERNEL) else {
            KBox::leak(first);
            return Err(ENOMEM);
        };
        Ok(Self)
    }
}
