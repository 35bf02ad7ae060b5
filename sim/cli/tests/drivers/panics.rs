//! A module that reads past the end of what it has.

use kernel::prelude::*;

module! {
    type: Panics,
    name: "panics",
    authors: ["Bringup"],
    description: "Panics in its init",
    license: "GPL",
}

struct Panics;

impl kernel::Module for Panics {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut bytes = KVec::new();
        bytes.push(3u8, GFP_KERNEL)?;
        pr_info!("number {}\n", bytes[usize::from(bytes[0])]);
        Ok(Self)
    }
}
