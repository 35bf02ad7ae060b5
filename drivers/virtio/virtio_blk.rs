// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Driver for virtio block devices (virtio 1.4 §5.2).
//!
//! Rust for Linux has no disks yet that a driver like this could be, so it offers character devices, `/dev/vblk0` and so
//! on, which behave as a disk would: they are read and written at any position and length, and know the ioctls that
//! programs ask disks with: `BLKGETSIZE64`, `BLKGETSIZE`, `BLKSSZGET`, `BLKROGET`, `BLKFLSBUF`, `BLKDISCARD`,
//! `BLKZEROOUT`. `VBLK_GET_ID` gives the device's own name.
//!
//! What was written is durable after `BLKFLSBUF`.

use kernel::{
    device::Core,
    fs::{file::flags, File, Kiocb},
    ioctl::{_IO, _IOR},
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    pci,
    prelude::*,
    sync::{Arc, ArcBorrow},
    uaccess::UserSlice,
    InPlaceModule,
};

#[path = "virtio_blk/disk.rs"]
mod disk;
#[path = "virtio_blk/geometry.rs"]
mod geometry;
mod virtio;

use disk::{Disk, Transfer, ID_LEN};
use geometry::{Geometry, WANTED};
use virtio::{
    function::{Active, Function, Link, Owner},
    gate::Gate,
    node::{self, Minor, Node},
    pci::{Interrupts, Transport},
    requests::Requests,
};

/// PCI device ids: modern, and transitional.
const DEVICE: u32 = 0x1042;
const DEVICE_TRANSITIONAL: u32 = 0x1001;

/// The most queues that are used.
const MAX_QUEUES: u16 = 4;

/// The number of Linux's ioctls of disks, and the ioctls.
const BLK: u32 = 0x12;
const BLKROGET: u32 = _IO(BLK, 94);
const BLKGETSIZE: u32 = _IO(BLK, 96);
const BLKFLSBUF: u32 = _IO(BLK, 97);
const BLKSSZGET: u32 = _IO(BLK, 104);
const BLKGETSIZE64: u32 = _IOR::<usize>(BLK, 114);
const BLKDISCARD: u32 = _IO(BLK, 119);
const BLKZEROOUT: u32 = _IO(BLK, 127);

/// Gives the device's id: 20 bytes, padded with zeros.
const VBLK_GET_ID: u32 = _IOR::<[u8; ID_LEN]>('v' as u32, 0);

const NAMES: [&CStr; 16] = [
    c"vblk0", c"vblk1", c"vblk2", c"vblk3", c"vblk4", c"vblk5", c"vblk6", c"vblk7", c"vblk8",
    c"vblk9", c"vblk10", c"vblk11", c"vblk12", c"vblk13", c"vblk14", c"vblk15",
];

module! {
    type: BlkModule,
    name: "virtio_blk",
    authors: ["The Bringup developers"],
    description: "Virtio block device",
    license: "GPL v2",
}

#[pin_data]
struct BlkModule {
    #[pin]
    driver: kernel::driver::Registration<pci::Adapter<BlkDriver>>,
}

impl InPlaceModule for BlkModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: The module is being loaded, and its driver is registered below.
        unsafe { node::init() };
        try_pin_init!(Self {
            driver <- kernel::driver::Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}

/// What open files refer to.
#[pin_data]
struct Blk {
    #[pin]
    gate: Gate<Disk>,
}

impl Owner for Blk {
    type Inner = Disk;

    fn gate(&self) -> &Gate<Disk> {
        &self.gate
    }
}

impl Blk {
    /// Carries data between a file's position and the disk, and moves the position on.
    fn transfer(&self, pos: &mut i64, transfer: Transfer<'_, '_>) -> Result<usize> {
        let disk = self.gate.enter()?;
        disk.refresh()?;
        let start = u64::try_from(*pos)?;
        let done = disk.transfer(start, transfer)?;
        *pos += i64::try_from(done)?;
        Ok(done)
    }

    /// Discards or zeroes a range, which is given as two numbers: where it begins, and how long it is, in bytes.
    fn erase(&self, file: &File, arg: UserPtr, erase: fn(&Disk, u64, u64) -> Result) -> Result {
        if file.flags() & flags::O_ACCMODE == flags::O_RDONLY {
            return Err(EBADF);
        }
        let mut range = UserSlice::new(arg, 16).reader();
        let (start, len) = (range.read::<u64>()?, range.read::<u64>()?);
        let disk = self.gate.enter()?;
        disk.refresh()?;
        erase(&disk, start, len)
    }
}

#[vtable]
impl MiscDevice for Blk {
    type Ptr = Arc<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Self>> {
        // SAFETY: All registrations of this type are those of nodes.
        Ok(unsafe { Node::target(misc) })
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let blk = kiocb.file();
        blk.transfer(kiocb.ki_pos_mut(), Transfer::Read(iov))
    }

    fn write_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let blk = kiocb.file();
        blk.transfer(kiocb.ki_pos_mut(), Transfer::Write(iov))
    }

    fn ioctl(blk: ArcBorrow<'_, Self>, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        match cmd {
            BLKDISCARD => blk.erase(file, arg, Disk::discard)?,
            BLKZEROOUT => blk.erase(file, arg, Disk::zero)?,
            _ => {
                let disk = blk.gate.enter()?;
                disk.refresh()?;
                let sectors = disk.sectors();
                match cmd {
                    BLKGETSIZE64 => UserSlice::new(arg, 8).writer().write(&(sectors * 512))?,
                    BLKGETSIZE => UserSlice::new(arg, size_of::<usize>())
                        .writer()
                        .write(&usize::try_from(sectors)?)?,
                    BLKSSZGET => UserSlice::new(arg, 4)
                        .writer()
                        .write(&disk.geometry().block)?,
                    BLKROGET => UserSlice::new(arg, 4)
                        .writer()
                        .write(&u32::from(disk.geometry().read_only))?,
                    BLKFLSBUF => disk.flush()?,
                    VBLK_GET_ID => UserSlice::new(arg, ID_LEN).writer().write(&disk.id()?)?,
                    _ => return Err(ENOTTY),
                }
            }
        }
        Ok(0)
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no users and no device, no interrupts.
#[pin_data]
struct BlkData<'bound> {
    #[pin]
    node: Node<Blk>,
    active: Active<'bound, Blk>,
    interrupts: Interrupts<'bound, Link>,
    minor: Minor,
}

struct BlkDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <BlkDriver as pci::Driver>::IdInfo,
    [
        (
            pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, DEVICE),
            ()
        ),
        (
            pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, DEVICE_TRANSITIONAL),
            ()
        ),
    ]
);

impl pci::Driver for BlkDriver {
    type IdInfo = ();
    type Data<'bound> = BlkData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let minor = Minor::new(NAMES.len())?;
            let name = *NAMES.get(minor.index()).ok_or(ENOSPC)?;
            let link = Link::new(Transport::new(pdev, c"virtio_blk")?, MAX_QUEUES, None)?;
            let transport = link.transport();
            let features = transport.negotiate(WANTED, |features| features)?;
            let given_up = |error: Error| {
                dev_err!(pdev, "this disk cannot be used\n");
                transport.fail();
                error
            };
            let geometry = Geometry::read(transport, features).map_err(given_up)?;

            let count = geometry.queues.min(MAX_QUEUES);
            let mut queues = KVec::new();
            let mut size = 0;
            for index in 0..count {
                size = transport.read_queue_size(index, geometry::QUEUE_SIZE)?;
                let layout = geometry.layout(size, features).map_err(given_up)?;
                queues.push(Requests::new(pdev.as_ref(), index, layout)?, GFP_KERNEL)?;
            }
            // SAFETY: They are dropped with the driver's data, which the driver core does.
            let interrupts = unsafe { Interrupts::new(pdev, &link, count, c"virtio_blk")? };
            let function = Function::new(link.clone(), features, queues, &interrupts)?;
            let disk = Disk::new(function.clone(), geometry)?;
            let blk = Arc::pin_init(pin_init!(Blk { gate <- Gate::new() }), GFP_KERNEL)?;
            let active = Active::new(pdev, link, blk.clone());
            function.start()?;

            let plural = if count == 1 { "" } else { "s" };
            dev_info!(
                pdev,
                "{}: {} sectors, blocks of {}{}, {} {} queue{} of {}, {}\n",
                name,
                disk.sectors(),
                disk.geometry().block,
                if disk.geometry().read_only {
                    ", read-only"
                } else {
                    ""
                },
                count,
                virtio::kind_of_ring(features),
                plural,
                size,
                interrupts.kind()
            );
            active.open(disk)?;

            Ok(try_pin_init!(BlkData {
                minor,
                interrupts,
                active,
                node <- Node::new(name, blk),
            }))
        })
    }
}
