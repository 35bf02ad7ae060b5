// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A virtio entropy device whose driver keeps one buffer filled: the start of a device, and what comes back from it.
//!
//! `/dev/vstart`: a read waits until the device has filled the buffer, gives what is in it, and lets the device fill it anew.

use kernel::{
    device::{Bound, Core, Device},
    dma::Coherent,
    fs::{File, Kiocb},
    io::{io_project, io_read, io_write, Io},
    iov::IovIterDest,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_condvar, new_spinlock_irq, pci,
    prelude::*,
    sync::{
        barrier::{dma_mb, mb, Full, Read, Write},
        Arc, CondVar, CondVarTimeoutResult, SpinLockIrq,
    },
    time::msecs_to_jiffies,
};

mod virtio;

use virtio::{
    feature,
    pci::{disable_bus_master, Doorbell, Events, Interrupts, Transport},
};

/// PCI device id of an entropy device.
const DEVICE: u32 = 0x1044;

/// The requestq, and its elements.
const QUEUE: u16 = 0;
const SIZE: usize = 4;

/// Bytes of the buffer.
const LEN: usize = 64;

/// How long the device may take.
const TIMEOUT_MS: u32 = 100;

/// A flag of a descriptor: the device writes.
const WRITE: u32 = 2;

/// Words of 16 bits in the available ring (flags, index, entries, event), of 32 bits in the used ring (flags and index,
/// entries of two, event) and in a descriptor (address in two, length, flags and next).
const AVAIL: usize = 2 + SIZE + 1;
const USED: usize = 1 + 2 * SIZE + 1;
const DESCRIPTOR: usize = 4;

kernel::module_pci_driver! {
    type: Driver,
    name: "vstart",
    authors: ["The Bringup developers"],
    description: "Keeps a buffer of random bytes",
    license: "GPL v2",
}

/// The queue and its one buffer, while the device is bound.
struct Queue {
    descriptors: Coherent<[u32]>,
    avail: Coherent<[u16]>,
    used: Coherent<[u32]>,
    buffer: Coherent<[u8]>,
    doorbell: Option<Doorbell>,
    /// Buffers that were made available, and those that came back.
    given: u16,
    taken: u16,
}

impl Queue {
    fn new(dev: &Device<Bound>) -> Result<Self> {
        Ok(Self {
            descriptors: Coherent::<u32>::zeroed_slice(dev, DESCRIPTOR * SIZE, GFP_KERNEL)?,
            avail: Coherent::<u16>::zeroed_slice(dev, AVAIL, GFP_KERNEL)?,
            used: Coherent::<u32>::zeroed_slice(dev, USED, GFP_KERNEL)?,
            buffer: Coherent::<u8>::zeroed_slice(dev, LEN, GFP_KERNEL)?,
            doorbell: None,
            given: 0,
            taken: 0,
        })
    }

    /// Gives the device the buffer, as the chain that begins at descriptor 0, and kicks it.
    fn give(&mut self, transport: &Transport) -> Result {
        let address = self.buffer.dma_address();
        io_write!(self.descriptors, [try: 0], (address as u32).to_le());
        io_write!(self.descriptors, [try: 1], ((address >> 32) as u32).to_le());
        io_write!(self.descriptors, [try: 2], (LEN as u32).to_le());
        io_write!(self.descriptors, [try: 3], WRITE.to_le());
        io_write!(self.avail, [try: 2 + usize::from(self.given) % SIZE], 0);
        self.given = self.given.wrapping_add(1);
        // The chain before the index that shows it, and the index before the look at what the device wants.
        dma_mb(Write);
        io_write!(self.avail, [try: 1], self.given.to_le());
        mb(Full);
        let no_notify = u32::from_le(io_read!(self.used, [try: 0])) & 1 != 0;
        match &self.doorbell {
            Some(doorbell) if !no_notify => transport.kick(doorbell, 0),
            _ => Ok(()),
        }
    }

    /// How many bytes the device has written to the buffer, if it has given it back.
    fn take(&mut self) -> Result<Option<usize>> {
        let index = (u32::from_le(io_read!(self.used, [try: 0])) >> 16) as u16;
        if index == self.taken {
            return Ok(None);
        }
        // The index before the entry, and before the bytes.
        dma_mb(Read);
        let entry = 1 + 2 * (usize::from(self.taken) % SIZE);
        let id = u32::from_le(io_read!(self.used, [try: entry]));
        let len = u32::from_le(io_read!(self.used, [try: entry + 1])) as usize;
        self.taken = self.taken.wrapping_add(1);
        if id != 0 || len > LEN {
            return Err(EIO);
        }
        Ok(Some(len))
    }
}

#[pin_data]
struct Function {
    #[pin]
    transport: Transport,
    #[pin]
    queue: SpinLockIrq<Option<Queue>>,
    #[pin]
    filled: CondVar,
}

impl Function {
    /// Copies out what the device has filled, and lets it fill the buffer anew.
    fn read(&self, bytes: &mut [u8; LEN]) -> Result<usize> {
        let mut guard = self.queue.lock();
        let mut left = msecs_to_jiffies(TIMEOUT_MS);
        loop {
            let queue = (*guard).as_mut().ok_or(ENODEV)?;
            if let Some(len) = queue.take()? {
                io_project!(queue.buffer, [try: ..LEN]).copy_to_slice(bytes);
                queue.give(&self.transport)?;
                return Ok(len);
            }
            if left == 0 {
                return Err(ETIMEDOUT);
            }
            left = match self.filled.wait_interruptible_timeout(&mut guard, left) {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
                // It may have been filled at the last moment.
                CondVarTimeoutResult::Timeout => 0,
            };
        }
    }

    /// Resets the device, and frees the queue when that is done.
    fn stop(&self) {
        let queue = self.queue.lock().take();
        self.filled.notify_all();
        // A device that is gone does not reach memory either.
        let _ = self.transport.reset();
        drop(queue);
    }
}

impl Events for Function {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn queue_event(&self, _index: u16) {
        self.filled.notify_all();
    }

    fn config_event(&self) {}
}

/// The device runs; it is stopped when this is dropped.
struct Running(Arc<Function>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no device, no interrupts.
#[pin_data]
struct Data<'bound> {
    #[pin]
    misc: MiscDeviceRegistration<User>,
    running: Running,
    interrupts: Interrupts<'bound, Function>,
    function: Arc<Function>,
}

/// An open file.
struct User(Arc<Function>);

#[vtable]
impl MiscDevice for User {
    type Ptr = KBox<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        // SAFETY: The only registration of this type is the field of `Data`, whose `function` is initialised before and
        // dropped after it.
        let function = unsafe {
            &(*kernel::container_of!(core::ptr::from_ref(misc), Data<'static>, misc)).function
        };
        Ok(KBox::new(User(function.clone()), GFP_KERNEL)?)
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut bytes = [0; LEN];
        let len = kiocb.file().0.read(&mut bytes)?;
        Ok(iov.copy_to_iter(&bytes[..len]))
    }
}

struct Driver;

kernel::pci_device_table!(
    TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, DEVICE),
        ()
    )]
);

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Data<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let transport = Transport::new(pdev, c"vstart")?;
            let function = Arc::pin_init(
                try_pin_init!(Function {
                    transport <- transport,
                    queue <- new_spinlock_irq!(None),
                    filled <- new_condvar!(),
                }),
                GFP_KERNEL,
            )?;
            let transport = &function.transport;
            transport.negotiate(feature::bit(feature::ACCESS_PLATFORM), |features| features)?;
            if transport.read_queue_size(QUEUE, SIZE as u16)? != SIZE as u16 {
                return Err(ENODEV);
            }
            // SAFETY: They are dropped with the driver's data, which the driver core does.
            let interrupts = unsafe { Interrupts::new(pdev, &function, 1, c"vstart")? };
            let mut queue = Queue::new(pdev.as_ref())?;
            let addresses = [
                queue.descriptors.dma_address(),
                queue.avail.dma_address(),
                queue.used.dma_address(),
            ];
            let running = Running(function.clone());
            let vector = interrupts.queue_vector(QUEUE);
            let doorbell = transport.enable_queue(QUEUE, SIZE as u16, addresses, vector)?;
            queue.doorbell = Some(doorbell);
            transport.driver_ok()?;
            queue.give(transport)?;
            *function.queue.lock() = Some(queue);
            Ok(try_pin_init!(Data {
                function,
                interrupts,
                running,
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"vstart" }),
            }))
        })
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.function.stop();
        disable_bus_master(pdev);
    }
}
