// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Carries bytes into the buffer of `edu` and back by DMA, and looks at registers; every wait is bounded, no interrupts.
//!
//! What lies in the device is a record: a header with the record's length, then up to 60 bytes. A write puts one there, a read
//! gives what is in it. The ioctl reads one of the registers that may be read at any time. A device that is gone answers all
//! ones, which no register of this one reads as.

use kernel::{
    device::{Bound, Core, Device},
    dma::{Coherent, Device as _, DmaMask},
    fs::{File, Kiocb},
    io::{io_project, poll::read_poll_timeout, Io},
    ioctl::_IO,
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_mutex, pci,
    prelude::*,
    sync::{aref::ARef, Arc, Mutex},
    time::Delta,
};

/// Offsets in BAR 0.
const ID: usize = 0x00;
const LIVENESS: usize = 0x04;
const DMA_SOURCE: usize = 0x80;
const DMA_DESTINATION: usize = 0x88;
const DMA_COUNT: usize = 0x90;
const DMA_COMMAND: usize = 0x98;

/// Bits of `DMA_COMMAND`.
const RUN: u32 = 1;
const FROM_DEVICE: u32 = 2;

/// What a register reads as when the device is gone.
const GONE: u32 = u32::MAX;

/// The device's own buffer, as it names it.
const INSIDE: u32 = 0x40000;

/// The bytes of a transfer, which is a whole record.
const LEN: usize = 64;

/// The bytes of a record's header. The first is the record's length with the header, the others are 0.
const HEADER: usize = 4;

/// How long a transfer may take. It takes the device about 100 ms.
const PATIENCE: Delta = Delta::from_millis(500);

/// Reads the register whose offset is the argument.
const EDU_REGISTER: u32 = _IO('e' as u32, 1);

kernel::module_pci_driver! {
    type: Driver,
    name: "edu_copy",
    authors: ["The Bringup developers"],
    description: "Copies by DMA, with patience",
    license: "GPL v2",
}

#[pin_data]
struct Shared {
    dev: ARef<Device>,
    bar: pci::DevresBar<0x100>,
    /// What the device reaches; there as long as it is bound. Held while a transfer runs.
    #[pin]
    memory: Mutex<Option<Coherent<[u8]>>>,
}

impl Shared {
    fn with_bar<R>(&self, f: impl FnOnce(&pci::Bar<'_, 0x100>) -> R) -> Result<R> {
        let bar = self.bar.try_access().ok_or(ENODEV)?;
        Ok(f(&bar))
    }

    /// Waits until no transfer runs.
    fn settle(&self) -> Result {
        let command = read_poll_timeout(
            || self.with_bar(|bar| bar.read32(DMA_COMMAND)),
            |command| command & RUN == 0 || *command == GONE,
            Delta::from_millis(10),
            PATIENCE,
        )?;
        if command == GONE {
            return Err(ENODEV);
        }
        Ok(())
    }

    /// Runs a transfer, and says how many bytes it moved.
    fn transfer(&self, source: u32, destination: u32, direction: u32) -> Result<usize> {
        self.settle()?;
        self.with_bar(|bar| {
            bar.write32(source, DMA_SOURCE);
            bar.write32(destination, DMA_DESTINATION);
            bar.write32(LEN as u32, DMA_COUNT);
            bar.write32(direction | RUN, DMA_COMMAND);
        })?;
        self.settle()?;
        let moved = self.with_bar(|bar| bar.read32(DMA_COUNT))? as usize;
        if moved > LEN {
            dev_err!(self.dev, "the device says that it moved {moved} bytes\n");
            return Err(EIO);
        }
        Ok(moved)
    }

    fn store(&self, bytes: &[u8; LEN]) -> Result {
        let memory = self.memory.lock();
        let memory = memory.as_ref().ok_or(ENODEV)?;
        // A transfer that took too long may still read the memory.
        self.settle()?;
        io_project!(memory, [try: ..LEN]).copy_from_slice(bytes);
        let address = u32::try_from(memory.dma_address())?;
        self.transfer(address, INSIDE, 0).map(drop)
    }

    fn load(&self, bytes: &mut [u8; LEN]) -> Result<usize> {
        let memory = self.memory.lock();
        let memory = memory.as_ref().ok_or(ENODEV)?;
        let address = u32::try_from(memory.dma_address())?;
        let moved = self.transfer(INSIDE, address, FROM_DEVICE)?;
        io_project!(memory, [try: ..LEN]).copy_to_slice(bytes);
        Ok(moved)
    }

    /// Reads a register for user space.
    fn register(&self, offset: usize) -> Result<u32> {
        if !matches!(offset, ID | LIVENESS) {
            return Err(EINVAL);
        }
        self.with_bar(|bar| bar.try_read32(offset))?
    }

    /// Ends what is under way. The device cannot reach memory any more when this returns.
    fn stop(&self, pdev: &pci::Device<Core<'_>>) {
        let mut memory = self.memory.lock();
        // Whether it came to rest or not.
        let _ = self.settle();
        disable_bus_master(pdev);
        *memory = None;
    }
}

/// Keeps the device from reaching memory, whatever it does. [`pci::Device`] has no method for it yet.
fn disable_bus_master(pdev: &pci::Device<Core<'_>>) {
    kernel::io::register! {
        COMMAND(u16) @ 0x4 {
            2:2 bus_master => bool;
        }
    }

    pdev.config_space()
        .update(COMMAND, |command| command.with_bus_master(false));
}

/// What is in a record that came from the device.
fn content(record: &[u8]) -> Result<KVec<u8>> {
    let total = usize::from(*record.first().ok_or(EIO)?);
    if total < HEADER || total > record.len() {
        return Err(EIO);
    }
    let len = total - HEADER;
    let mut content = KVec::with_capacity(LEN - HEADER, GFP_KERNEL)?;
    content.extend_from_slice(&record[HEADER..HEADER + len], GFP_KERNEL)?;
    Ok(content)
}

/// What belongs to a bound device.
#[pin_data]
struct Data {
    #[pin]
    misc: MiscDeviceRegistration<User>,
    shared: Arc<Shared>,
}

/// An open file.
struct User(Arc<Shared>);

#[vtable]
impl MiscDevice for User {
    type Ptr = KBox<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        // SAFETY: The only registration of this type is the field of `Data`, whose `shared` is initialised before and
        // dropped after it.
        let shared =
            unsafe { &(*kernel::container_of!(core::ptr::from_ref(misc), Data, misc)).shared };
        Ok(KBox::new(User(shared.clone()), GFP_KERNEL)?)
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut bytes = [0; LEN];
        let moved = kiocb.file().0.load(&mut bytes)?;
        let content = content(&bytes[..moved])?;
        Ok(iov.copy_to_iter(&content))
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let mut bytes = [0; LEN];
        let len = iov.copy_from_iter(&mut bytes[HEADER..]);
        bytes[0] = (HEADER + len) as u8;
        kiocb.file().0.store(&bytes)?;
        Ok(len)
    }

    fn ioctl(user: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if cmd != EDU_REGISTER {
            return Err(ENOTTY);
        }
        Ok((user.0.register(arg)? & 0xffff) as isize)
    }
}

struct Driver;

kernel::pci_device_table!(
    TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(0x00ff00, 0xffffff), ())]
);

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Data;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            pdev.enable_device_mem()?;
            let bar = pdev.iomap_region_sized::<0x100>(0, c"edu_copy")?;
            // SAFETY: Nothing was allocated or mapped for the device yet.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<28>())? };
            let dev: &Device<Bound> = pdev.as_ref();
            let memory = Coherent::<u8>::zeroed_slice(dev, LEN, GFP_KERNEL)?;
            let bar = bar.into_devres()?;
            let shared = Arc::pin_init(
                pin_init!(Shared { dev: dev.into(), bar, memory <- new_mutex!(Some(memory)) }),
                GFP_KERNEL,
            )?;
            // A transfer that an earlier user left behind would go on as soon as the device may master the bus.
            shared.settle()?;
            pdev.set_master();
            Ok(try_pin_init!(Data {
                shared,
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"edu_copy" }),
            }))
        })
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.shared.stop(pdev);
    }
}
