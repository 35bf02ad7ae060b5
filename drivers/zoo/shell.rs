// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! What the zoo's virtqueues are used by: a driver for virtio entropy devices that leaves the ring to whoever includes it.
//!
//! `/dev/vzoo`: a read gives random bytes. As many chains as the ring holds are in flight at a time.

use kernel::{
    device::{Bound, Core, Device},
    dma::{Coherent, DmaAddress},
    fs::{File, Kiocb},
    io::{io_project, Io},
    iov::IovIterDest,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_condvar, new_mutex, new_spinlock_irq, pci,
    prelude::*,
    sync::{Arc, CondVar, CondVarTimeoutResult, Mutex, SpinLockIrq},
    time::msecs_to_jiffies,
};

use crate::virtio::{
    feature,
    pci::{disable_bus_master, Doorbell, Events, Interrupts, Transport},
};

/// PCI device id of an entropy device.
pub(crate) const DEVICE: u32 = 0x1044;

/// Elements of the queue: few, so that it comes round soon, and a chain can be as long as the ring.
pub(crate) const SIZE: u16 = 4;

/// Bytes of a chain, in as many pieces as the driver's parameter says.
pub(crate) const CHAIN: usize = 32;

/// The requestq.
const QUEUE: u16 = 0;

/// How long the device may take.
const TIMEOUT_MS: u32 = 100;

/// A virtqueue with chains in fixed places, each of which is a number below [`slots`](Self::slots).
pub(crate) trait Ring: Sized + Send + Unpin + 'static {
    /// Allocates a queue of [`SIZE`] elements for chains of so many pieces, whose bytes are at `buffers`.
    fn new(dev: &Device<Bound>, features: u64, pieces: u16, buffers: DmaAddress) -> Result<Self>;

    /// Where descriptors, driver area and device area are.
    fn addresses(&self) -> [DmaAddress; 3];

    /// How many chains there are room for.
    fn slots(&self) -> usize;

    /// Adds a chain.
    fn add(&mut self, slot: usize) -> Result;

    /// Shows the device what was added; says whether it wants a kick.
    fn publish(&mut self) -> Result<bool>;

    /// Takes a chain that the device has used, and how many bytes it wrote. What it says is not checked yet.
    fn take(&mut self) -> Result<Option<(usize, u32)>>;

    /// Asks for an interrupt; says whether there is something to take already.
    fn want_interrupt(&mut self) -> Result<bool>;
}

/// Where the pieces of a chain are, and how long they are.
pub(crate) fn pieces(
    buffers: DmaAddress,
    slot: usize,
    pieces: u16,
) -> impl Iterator<Item = (DmaAddress, u32)> {
    let len = CHAIN / usize::from(pieces);
    (0..usize::from(pieces))
        .map(move |piece| (buffers + (slot * CHAIN + piece * len) as u64, len as u32))
}

/// The queue while the device is bound.
struct Queue<R> {
    ring: R,
    buffers: Coherent<[u8]>,
    /// By slot: what the device wrote; none while it has the chain.
    written: [Option<u32>; SIZE as usize],
    failed: bool,
}

/// A device, shared by the driver, its interrupt handlers and the files that are open.
#[pin_data]
pub(crate) struct Function<R: Ring> {
    #[pin]
    transport: Transport,
    #[pin]
    queue: SpinLockIrq<Option<(Queue<R>, Option<Doorbell>)>>,
    #[pin]
    completed: CondVar,
    /// Held by whoever reads.
    #[pin]
    user: Mutex<()>,
}

impl<R: Ring> Function<R> {
    /// Fills `bytes`, at most as many as all chains have.
    fn read(&self, bytes: &mut [u8]) -> Result {
        let _user = self.user.lock();
        let mut guard = self.queue.lock();
        let chains = bytes.len().div_ceil(CHAIN);
        {
            let (queue, doorbell) = (*guard).as_mut().ok_or(ENODEV)?;
            let doorbell = doorbell.as_ref().ok_or(ENODEV)?;
            if queue.failed || chains > queue.ring.slots() {
                return Err(EIO);
            }
            for slot in 0..chains {
                *queue.written.get_mut(slot).ok_or(EINVAL)? = None;
                queue.ring.add(slot)?;
                if queue.ring.publish()? {
                    self.transport.kick(doorbell, 0)?;
                }
            }
        }
        let mut left = msecs_to_jiffies(TIMEOUT_MS);
        loop {
            let (queue, _) = (*guard).as_mut().ok_or(ENODEV)?;
            if queue.failed {
                return Err(EIO);
            }
            if queue.written.iter().take(chains).all(Option::is_some) {
                break;
            }
            if left == 0 {
                queue.failed = true;
                return Err(ETIMEDOUT);
            }
            // Not interruptible: the chains are the device's until it gives them back.
            left = match self.completed.wait_interruptible_timeout(&mut guard, left) {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Signal { jiffies } => jiffies,
                CondVarTimeoutResult::Timeout => 0,
            };
        }
        let (queue, _) = (*guard).as_ref().ok_or(ENODEV)?;
        if queue
            .written
            .iter()
            .take(chains)
            .any(|written| *written != Some(CHAIN as u32))
        {
            return Err(EIO);
        }
        io_project!(queue.buffers, [try: ..bytes.len()]).copy_to_slice(bytes);
        Ok(())
    }

    /// Resets the device, and frees the queue when that is done.
    fn stop(&self) {
        let queue = self.queue.lock().take();
        self.completed.notify_all();
        // A device that is gone does not reach memory either.
        let _ = self.transport.reset();
        drop(queue);
    }
}

impl<R: Ring> Queue<R> {
    /// Takes all that the device has used, and asks to be told of more.
    fn drain(&mut self) -> Result {
        loop {
            while let Some((slot, len)) = self.ring.take()? {
                let written = self.written.get_mut(slot).ok_or(EIO)?;
                if written.is_some() || len as usize > CHAIN {
                    return Err(EIO);
                }
                *written = Some(len);
            }
            if !self.ring.want_interrupt()? {
                return Ok(());
            }
        }
    }
}

impl<R: Ring> Events for Function<R> {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn queue_event(&self, _index: u16) {
        {
            let mut queue = self.queue.lock();
            if let Some((queue, _)) = (*queue).as_mut() {
                if queue.drain().is_err() {
                    queue.failed = true;
                }
            }
        }
        self.completed.notify_all();
    }

    fn config_event(&self) {}
}

/// The device runs; it is stopped when this is dropped.
struct Running<R: Ring>(Arc<Function<R>>);

impl<R: Ring> Drop for Running<R> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no device, no interrupts.
#[pin_data]
pub(crate) struct Data<'bound, R: Ring> {
    #[pin]
    misc: MiscDeviceRegistration<Function<R>>,
    _running: Running<R>,
    _interrupts: Interrupts<'bound, Function<R>>,
    function: Arc<Function<R>>,
}

#[vtable]
impl<R: Ring> MiscDevice for Function<R> {
    type Ptr = Arc<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Self>> {
        // SAFETY: The only registration of this type is the field of `Data`, whose `function` is initialised before and
        // dropped after the registration, so it is there while a file is being opened.
        let function = unsafe {
            &(*kernel::container_of!(core::ptr::from_ref(misc), Data<'static, R>, misc)).function
        };
        Ok(function.clone())
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let len = iov.len().min(usize::from(SIZE) * CHAIN);
        let mut bytes = KVec::from_elem(0u8, len, GFP_KERNEL)?;
        kiocb.file().read(&mut bytes)?;
        Ok(iov.copy_to_iter(&bytes))
    }
}

/// Binds to an entropy device, with chains of so many pieces.
pub(crate) fn probe<'bound, 'core, R: Ring>(
    pdev: &'bound pci::Device<Core<'core>>,
    wanted: u64,
    pieces: u16,
) -> impl PinInit<Data<'bound, R>, Error> + use<'bound, 'core, R> {
    pin_init::pin_init_scope(move || {
        let transport = Transport::new(pdev, c"vzoo")?;
        let function = Arc::pin_init(
            try_pin_init!(Function::<R> {
                transport <- transport,
                queue <- new_spinlock_irq!(None),
                completed <- new_condvar!(),
                user <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )?;
        let features = function.transport.negotiate(wanted, |features| features)?;
        if function.transport.read_queue_size(QUEUE, SIZE)? != SIZE
            || wanted & feature::bit(feature::RING_PACKED) & !features != 0
        {
            return Err(ENODEV);
        }
        let dev: &Device<Bound> = pdev.as_ref();
        let buffers = Coherent::<u8>::zeroed_slice(dev, usize::from(SIZE) * CHAIN, GFP_KERNEL)?;
        let ring = R::new(dev, features, pieces, buffers.dma_address())?;
        // SAFETY: They are dropped with the driver's data, which the driver core does.
        let interrupts = unsafe { Interrupts::new(pdev, &function, 1, c"vzoo")? };
        let addresses = ring.addresses();
        *function.queue.lock() = Some((
            Queue {
                ring,
                buffers,
                written: [Some(0); SIZE as usize],
                failed: false,
            },
            None,
        ));
        let running = Running(function.clone());
        let vector = interrupts.queue_vector(QUEUE);
        let doorbell = function
            .transport
            .enable_queue(QUEUE, SIZE, addresses, vector)?;
        if let Some((queue, place)) = (*function.queue.lock()).as_mut() {
            queue.ring.want_interrupt()?;
            *place = Some(doorbell);
        }
        function.transport.driver_ok()?;
        Ok(try_pin_init!(Data {
            function,
            _interrupts: interrupts,
            _running: running,
            misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"vzoo" }),
        }))
    })
}

/// Lets the device go. It does not reach memory any more.
pub(crate) fn unbind<R: Ring>(pdev: &pci::Device<Core<'_>>, this: Pin<&Data<'_, R>>) {
    this.function.stop();
    disable_bus_master(pdev);
}
