//! A module that says hello, and how often.

use kernel::prelude::*;

module! {
    type: Hello,
    name: "hello",
    authors: ["Bringup"],
    description: "Says hello",
    license: "GPL",
    params: {
        times: u8 {
            default: 1,
            description: "How often",
        },
    },
}

struct Hello {
    said: KVec<u8>,
}

impl kernel::Module for Hello {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut said = KVec::new();
        for number in 0..module_parameters::times.value() {
            said.push(number, GFP_KERNEL)?;
            pr_info!("hello {}\n", number);
        }
        Ok(Self { said })
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        pr_info!("bye, after {}\n", self.said.len());
    }
}
