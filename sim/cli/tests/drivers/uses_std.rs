//! A module that uses what only a program has.

use kernel::prelude::*;

mod part;

module! {
    type: UsesStd,
    name: "uses_std",
    authors: ["Bringup"],
    description: "Uses std:: and says so in a string",
    license: "GPL",
}

struct UsesStd;

impl kernel::Module for UsesStd {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let smaller = std::cmp::min(part::one(), 2);
        pr_info!("not std:: but {}\n", smaller);
        Ok(Self)
    }
}
