//! A module with two debugfs files: a level that is read, and a limit that is only set.

use kernel::debugfs::{Dir, File};
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;

module! {
    type: Shows,
    name: "shows",
    authors: ["Bringup"],
    description: "Shows a level in debugfs",
    license: "GPL",
}

struct Shows {
    _level: Pin<KBox<File<Atomic<i32>>>>,
    _limit: Pin<KBox<File<Atomic<i32>>>>,
    _dir: Dir,
}

impl kernel::Module for Shows {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let dir = Dir::new(c"shows");
        Ok(Self {
            _level: KBox::pin_init(dir.read_only_file(c"level", Atomic::new(40i32)), GFP_KERNEL)?,
            _limit: KBox::pin_init(dir.write_only_file(c"limit", Atomic::new(50i32)), GFP_KERNEL)?,
            _dir: dir,
        })
    }
}
