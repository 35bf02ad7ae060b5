//! The drivers that come with Bringup; a new one is one more entry here.

use bringup_bench::module::Loadable;

use crate::exercise::work::{Takes, Work};
use crate::exercise::{self, Exercised, Session};
use crate::failure::Failure;
use crate::suggest;

/// A bundled driver, and what to do with it once it is loaded.
#[derive(Debug)]
pub(crate) struct Bundled {
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    pub(crate) module: &'static Loadable,
    /// Its file, from the top of our sources.
    pub(crate) source: &'static str,
    /// The devices it is given if the command line names none, as `--device` takes them.
    pub(crate) default_devices: &'static [&'static str],
    /// What of the command line the exercise has a use for.
    pub(crate) takes: Takes,
    /// Uses the driver as user space would.
    pub(crate) exercise: fn(&mut Session<'_>, &mut Work<'_>) -> Exercised,
}

static ALL: &[Bundled] = &[
    Bundled {
        name: "edu",
        summary: "QEMU's educational device: DMA both ways through /dev/edu, factorials by ioctl",
        module: &edu::BRINGUP_MODULE,
        source: "drivers/edu/edu.rs",
        default_devices: &["edu"],
        takes: Takes::INPUT,
        exercise: exercise::edu::exercise,
    },
    Bundled {
        name: "first",
        summary: "the book's first driver: binds to QEMU's PCI test device and reads a register",
        module: &first::BRINGUP_MODULE,
        source: "drivers/first/first.rs",
        default_devices: &["pci-testdev"],
        takes: Takes::NOTHING,
        exercise: exercise::generic,
    },
    Bundled {
        name: "virtio_blk",
        summary: "virtio disk: sectors through /dev/vblk0, by read, write and Linux's ioctls for disks",
        module: &virtio_blk::BRINGUP_MODULE,
        source: "drivers/virtio/virtio_blk.rs",
        default_devices: &["virtio-blk"],
        takes: Takes::ALL,
        exercise: exercise::blk::exercise,
    },
    Bundled {
        name: "virtio_console",
        summary: "virtio consoles: bytes both ways through /dev/vcon0 and one file more for each port",
        module: &virtio_console::BRINGUP_MODULE,
        source: "drivers/virtio/virtio_console.rs",
        default_devices: &["virtio-console"],
        takes: Takes::FILES,
        exercise: exercise::console::exercise,
    },
    Bundled {
        name: "virtio_net",
        summary: "virtio network devices: a packet a read or write through /dev/vnet0, as with TAP",
        module: &virtio_net::BRINGUP_MODULE,
        source: "drivers/virtio/virtio_net.rs",
        default_devices: &["virtio-net"],
        takes: Takes::FILES,
        exercise: exercise::net::exercise,
    },
    Bundled {
        name: "virtio_rng",
        summary: "virtio entropy source: random bytes from /dev/vrng0",
        module: &virtio_rng::BRINGUP_MODULE,
        source: "drivers/virtio/virtio_rng.rs",
        default_devices: &["virtio-rng"],
        takes: Takes { output: true, ..Takes::NOTHING },
        exercise: exercise::rng::exercise,
    },
];

pub(crate) fn all() -> &'static [Bundled] {
    ALL
}

pub(crate) fn find(name: &str) -> Result<&'static Bundled, Failure> {
    ALL.iter().find(|driver| driver.name == name).ok_or_else(|| {
        let hint = suggest::hint(name, ALL.iter().map(|driver| driver.name));
        Failure::new(format_args!(
            "unknown driver \"{name}\"{hint} (bringup list drivers shows them; a driver of your own is given by the path of its .rs file)"
        ))
    })
}
