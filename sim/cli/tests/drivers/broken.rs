//! A module that does not compile.

use kernel::prelude::*;

module! {
    type: Broken,
    name: "broken",
    authors: ["Bringup"],
    description: "Does not compile",
    license: "GPL",
}

struct Broken;

impl kernel::Module for Broken {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let number: u32 = "three";
        Ok(Self)
    }
}
