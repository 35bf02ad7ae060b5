// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Driver for `edu`, QEMU's educational PCI device.
//!
//! The device computes factorials, raises interrupts and copies data by DMA between memory and a buffer
//! of its own. This driver offers it as a character device, `/dev/edu`:
//!
//! - a write carries data into the device's buffer at the file's position,
//! - a read carries them back from there,
//! - the ioctl `EDU_FACTORIAL` replaces a number by its factorial, modulo 2^32.
//!
//! Every wait for the device is bounded and ends early when the device is unbound.
//!
//! Documentation of the device: `docs/specs/edu.rst` in QEMU's sources.

use kernel::{
    device::Core,
    dma::{Coherent, Device as _, DmaMask},
    fs::{File, Kiocb},
    io::{io_project, poll::read_poll_timeout, Io},
    ioctl::_IOWR,
    iov::{IovIterDest, IovIterSource},
    irq,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_condvar, new_mutex, new_spinlock_irq, pci,
    prelude::*,
    sync::{Arc, ArcBorrow, CondVar, CondVarTimeoutResult, Mutex, SpinLockIrq},
    time::{msecs_to_jiffies, Delta},
    uaccess::UserSlice,
};

/// The registers in BAR 0.
mod regs {
    use kernel::io::register;

    /// What is mapped: all registers. The device's buffer lies behind them and is reached by DMA only.
    pub(super) const SIZE: usize = 0x100;

    register! {
        /// Identification: `0xRRrr00ed`.
        pub(super) ID(u32) @ 0x00 {
            31:24 major;
            23:16 minor;
            15:0 magic;
        }

        /// Holds the inverse of what was written to it.
        pub(super) LIVENESS(u32) @ 0x04 {
            31:0 value;
        }

        /// Takes a number, and holds its factorial when the computation is done.
        pub(super) FACTORIAL(u32) @ 0x08 {
            31:0 value;
        }

        /// What the computation does.
        pub(super) STATUS(u32) @ 0x20 {
            0:0 computing => bool;
            7:7 interrupt_when_done => bool;
        }

        /// Why the device interrupts.
        pub(super) IRQ_STATUS(u32) @ 0x24 {
            0:0 factorial => bool;
            8:8 dma => bool;
        }

        /// Clears the bits written.
        pub(super) IRQ_ACKNOWLEDGE(u32) @ 0x64 {
            31:0 bits;
        }

        /// Where a transfer begins. The device's addresses fit in 32 bits, and a 32-bit write sets the whole register.
        pub(super) DMA_SOURCE(u32) @ 0x80 {
            31:0 address;
        }

        /// Where it goes.
        pub(super) DMA_DESTINATION(u32) @ 0x88 {
            31:0 address;
        }

        /// How many bytes.
        pub(super) DMA_COUNT(u32) @ 0x90 {
            31:0 bytes;
        }

        /// Starts a transfer; `run` stays set until it is done.
        pub(super) DMA_COMMAND(u32) @ 0x98 {
            0:0 run => bool;
            1:1 from_device => bool;
            2:2 interrupt_when_done => bool;
        }
    }
}

/// QEMU's vendor id. It is not among the constants of [`pci::Vendor`], so the driver binds by class.
const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x11e8;

/// The low half of [`regs::ID`].
const MAGIC: u32 = 0x00ed;

/// The device's own buffer: its address in the device, and its size in bytes.
const BUFFER_ADDRESS: u32 = 0x40000;
const BUFFER_SIZE: usize = 4096;

/// Bits of [`regs::IRQ_STATUS`].
const IRQ_FACTORIAL: u32 = 0x001;
const IRQ_DMA: u32 = 0x100;

/// How long the device may take for anything. A transfer takes it about 100 ms.
const TIMEOUT_MS: u32 = 1000;

/// What a register reads as when the device is gone.
const GONE: u32 = u32::MAX;

/// Replaces a `u32` by its factorial, modulo 2^32.
const EDU_FACTORIAL: u32 = _IOWR::<u32>('e' as u32, 0);

kernel::module_pci_driver! {
    type: EduDriver,
    name: "edu",
    authors: ["The Bringup developers"],
    description: "QEMU's educational PCI device",
    license: "GPL v2",
}

type Bar0<'a> = pci::Bar<'a, { regs::SIZE }>;

/// What the interrupt handler leaves for whoever waits.
struct Events {
    /// Interrupt reasons that were acknowledged and not yet consumed.
    raised: u32,
    /// The device is being unbound.
    gone: bool,
}

/// What a transfer needs; exists as long as the device is bound.
struct Engine {
    buffer: Coherent<[u8]>,
}

#[derive(Clone, Copy, PartialEq)]
enum Transfer {
    ToDevice,
    FromDevice,
}

/// A device, shared by the driver, its interrupt handler and the files that are open.
#[pin_data]
struct Edu {
    bar: pci::DevresBar<{ regs::SIZE }>,
    #[pin]
    events: SpinLockIrq<Events>,
    #[pin]
    interrupted: CondVar,
    /// One thing at a time: held from the start of an operation to its end.
    #[pin]
    engine: Mutex<Option<Engine>>,
}

impl Edu {
    fn new(bar: pci::DevresBar<{ regs::SIZE }>, buffer: Coherent<[u8]>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                bar,
                events <- new_spinlock_irq!(Events { raised: 0, gone: false }),
                interrupted <- new_condvar!(),
                engine <- new_mutex!(Some(Engine { buffer })),
            }),
            GFP_KERNEL,
        )
    }

    /// Runs `f` on the registers. It must not sleep: the device cannot be unbound meanwhile.
    fn with_bar<R>(&self, f: impl FnOnce(&Bar0<'_>) -> R) -> Result<R> {
        let bar = self.bar.try_access().ok_or(ENODEV)?;
        Ok(f(&bar))
    }

    /// Waits until the device neither computes nor copies: an operation that was interrupted may still be under way.
    fn wait_until_idle(&self) -> Result {
        read_poll_timeout(
            || self.with_bar(|bar| (bar.read(regs::STATUS), bar.read(regs::DMA_COMMAND))),
            |(status, command)| !status.computing() && !command.run() || command.into_raw() == GONE,
            Delta::from_millis(1),
            Delta::from_millis(i64::from(TIMEOUT_MS)),
        )
        .and_then(|(_, command)| {
            if command.into_raw() == GONE {
                Err(ENODEV)
            } else {
                Ok(())
            }
        })
    }

    /// Sleeps until the device interrupts with `event` and `is_done` says that this is no late interrupt of an earlier
    /// operation.
    fn wait_for(&self, event: u32, is_done: impl Fn(&Bar0<'_>) -> bool) -> Result {
        let mut events = self.events.lock();
        let mut left = msecs_to_jiffies(TIMEOUT_MS);
        loop {
            if events.gone {
                return Err(ENODEV);
            }
            if events.raised & event != 0 {
                events.raised &= !event;
                if self.with_bar(&is_done)? {
                    return Ok(());
                }
            }
            match self
                .interrupted
                .wait_interruptible_timeout(&mut events, left)
            {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
                CondVarTimeoutResult::Timeout if events.raised & event == 0 => {
                    return Err(ETIMEDOUT)
                }
                // It came at the last moment: look once more, without waiting again.
                CondVarTimeoutResult::Timeout => left = 0,
            }
        }
    }

    /// Copies between memory and the device's buffer at `offset`. The device must be idle.
    fn transfer(&self, engine: &Engine, direction: Transfer, offset: usize, len: usize) -> Result {
        let memory = u32::try_from(engine.buffer.dma_address())?;
        let device = BUFFER_ADDRESS + u32::try_from(offset)?;
        let count = u32::try_from(len)?;
        let (source, destination) = match direction {
            Transfer::ToDevice => (memory, device),
            Transfer::FromDevice => (device, memory),
        };

        self.events.lock().raised &= !IRQ_DMA;
        self.with_bar(|bar| {
            bar.write_reg(regs::DMA_SOURCE::from(source));
            bar.write_reg(regs::DMA_DESTINATION::from(destination));
            bar.write_reg(regs::DMA_COUNT::from(count));
            bar.write_reg(
                regs::DMA_COMMAND::from(0)
                    .with_run(true)
                    .with_from_device(direction == Transfer::FromDevice)
                    .with_interrupt_when_done(true),
            );
        })?;
        self.wait_for(IRQ_DMA, |bar| !bar.read(regs::DMA_COMMAND).run())
    }

    /// Carries `bytes` into the device's buffer at `offset`.
    fn store(&self, offset: usize, bytes: &[u8]) -> Result {
        let engine = self.engine.lock();
        let engine = engine.as_ref().ok_or(ENODEV)?;
        // A transfer that timed out earlier may still read the buffer.
        self.wait_until_idle()?;
        io_project!(engine.buffer, [try: ..bytes.len()]).copy_from_slice(bytes);
        self.transfer(engine, Transfer::ToDevice, offset, bytes.len())
    }

    /// Carries `bytes.len()` bytes back from the device's buffer at `offset`.
    fn load(&self, offset: usize, bytes: &mut [u8]) -> Result {
        let engine = self.engine.lock();
        let engine = engine.as_ref().ok_or(ENODEV)?;
        self.wait_until_idle()?;
        self.transfer(engine, Transfer::FromDevice, offset, bytes.len())?;
        io_project!(engine.buffer, [try: ..bytes.len()]).copy_to_slice(bytes);
        Ok(())
    }

    /// Lets the device compute a factorial.
    fn factorial(&self, number: u32) -> Result<u32> {
        let engine = self.engine.lock();
        if engine.is_none() {
            return Err(ENODEV);
        }
        self.wait_until_idle()?;
        self.events.lock().raised &= !IRQ_FACTORIAL;
        self.with_bar(|bar| {
            bar.write_reg(regs::STATUS::from(0).with_interrupt_when_done(true));
            bar.write_reg(regs::FACTORIAL::from(number));
        })?;
        self.wait_for(IRQ_FACTORIAL, |bar| !bar.read(regs::STATUS).computing())?;
        self.with_bar(|bar| bar.read(regs::FACTORIAL).into_raw())
    }

    /// Ends what is under way and lets no more begin. The device cannot reach memory any more when this returns.
    fn stop(&self, pdev: &pci::Device<Core<'_>>) {
        self.events.lock().gone = true;
        self.interrupted.notify_all();

        // Whoever was waiting is on the way out and lets go of the engine.
        let mut engine = self.engine.lock();
        if self.wait_until_idle().is_err() {
            dev_warn!(pdev, "the device did not come to rest\n");
            // A factorial cannot be stopped, but it need not interrupt when nobody listens any more.
            let _ = self.with_bar(|bar| bar.write_reg(regs::STATUS::from(0)));
        }
        disable_bus_master(pdev);
        *engine = None;
    }

    /// Acknowledges what nobody waits for any more: a pin that stays up troubles those who share it.
    fn lower_pin(&self) {
        // A device that is gone has no pin.
        let _ = self.with_bar(|bar| {
            let reasons = bar.read(regs::IRQ_STATUS).into_raw();
            if reasons != 0 && reasons != GONE {
                bar.write_reg(regs::IRQ_ACKNOWLEDGE::from(reasons));
            }
        });
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

/// The interrupt handler.
struct Interrupts(Arc<Edu>);

impl irq::Handler for Interrupts {
    fn handle(&self) -> irq::IrqReturn {
        let edu = &self.0;
        let acknowledged = edu.with_bar(|bar| {
            let reasons = bar.read(regs::IRQ_STATUS).into_raw();
            if reasons != 0 && reasons != GONE {
                bar.write_reg(regs::IRQ_ACKNOWLEDGE::from(reasons));
            }
            reasons
        });
        match acknowledged {
            Err(_) | Ok(0) | Ok(GONE) => irq::IrqReturn::None,
            Ok(reasons) => {
                edu.events.lock().raised |= reasons;
                edu.interrupted.notify_all();
                irq::IrqReturn::Handled
            }
        }
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no interrupts, no vectors.
#[pin_data]
struct EduData<'bound> {
    #[pin]
    misc: MiscDeviceRegistration<Edu>,
    #[pin]
    irq: irq::Registration<'bound, Interrupts>,
    vectors: pci::IrqVectorRegistration<'bound>,
    edu: Arc<Edu>,
}

#[vtable]
impl MiscDevice for Edu {
    type Ptr = Arc<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Self>> {
        // SAFETY: The only registration of this type is the field of `EduData`, whose `edu` is initialised before and
        // dropped after the registration, so it is there while a file is being opened.
        let edu = unsafe {
            &(*kernel::container_of!(core::ptr::from_ref(misc), EduData<'static>, misc)).edu
        };
        Ok(edu.clone())
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let offset = usize::try_from(kiocb.ki_pos())?;
        let len = iov.len().min(BUFFER_SIZE.saturating_sub(offset));
        if len == 0 {
            return Ok(0);
        }
        let mut bytes = KVec::from_elem(0u8, len, GFP_KERNEL)?;
        kiocb.file().load(offset, &mut bytes)?;
        let copied = iov.copy_to_iter(&bytes);
        if copied == 0 {
            return Err(EFAULT);
        }
        *kiocb.ki_pos_mut() += i64::try_from(copied)?;
        Ok(copied)
    }

    fn write_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let offset = usize::try_from(kiocb.ki_pos())?;
        if iov.is_empty() {
            return Ok(0);
        }
        let len = iov.len().min(BUFFER_SIZE.saturating_sub(offset));
        if len == 0 {
            return Err(ENOSPC);
        }
        let mut bytes = KVec::from_elem(0u8, len, GFP_KERNEL)?;
        let copied = iov.copy_from_iter(&mut bytes);
        if copied == 0 {
            return Err(EFAULT);
        }
        kiocb.file().store(offset, &bytes[..copied])?;
        *kiocb.ki_pos_mut() += i64::try_from(copied)?;
        Ok(copied)
    }

    fn ioctl(edu: ArcBorrow<'_, Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if cmd != EDU_FACTORIAL {
            return Err(ENOTTY);
        }
        let (mut reader, mut writer) =
            UserSlice::new(UserPtr::from_addr(arg), core::mem::size_of::<u32>()).reader_writer();
        let number = reader.read::<u32>()?;
        writer.write(&edu.factorial(number)?)?;
        Ok(0)
    }
}

struct EduDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <EduDriver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(0x00ff00, 0xffffff), ())]
);

impl pci::Driver for EduDriver {
    type IdInfo = ();
    type Data<'bound> = EduData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            // The class is one for devices that fit no other.
            if (pdev.vendor_id().as_raw(), pdev.device_id()) != (VENDOR, DEVICE) {
                return Err(ENODEV);
            }

            pdev.enable_device_mem()?;
            let bar = pdev.iomap_region_sized::<{ regs::SIZE }>(0, c"edu")?;
            let id = bar.read(regs::ID);
            if u32::from(id.magic()) != MAGIC {
                dev_err!(
                    pdev,
                    "no edu device: identification {:#010x}\n",
                    id.into_raw()
                );
                return Err(ENODEV);
            }
            const PATTERN: u32 = 0x5aa5_0ff0;
            bar.write_reg(regs::LIVENESS::from(PATTERN));
            if bar.read(regs::LIVENESS).into_raw() != !PATTERN {
                dev_err!(pdev, "the device does not answer\n");
                return Err(EIO);
            }
            // A transfer that an earlier user left behind would go on as soon as the device may master the bus.
            if read_poll_timeout(
                || Ok(bar.read(regs::DMA_COMMAND)),
                |command| !command.run(),
                Delta::from_millis(1),
                Delta::from_millis(i64::from(TIMEOUT_MS)),
            )
            .is_err()
            {
                dev_err!(pdev, "the device is busy\n");
                return Err(EBUSY);
            }
            pdev.set_master();
            // SAFETY: Nothing was allocated or mapped for the device yet.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<28>())? };

            // Nor may its interrupts be taken for ours.
            let stale = bar.read(regs::IRQ_STATUS).into_raw();
            if stale != 0 {
                bar.write_reg(regs::IRQ_ACKNOWLEDGE::from(stale));
            }

            let buffer = Coherent::<u8>::zeroed_slice(pdev.as_ref(), BUFFER_SIZE, GFP_KERNEL)?;
            let edu = Edu::new(bar.into_devres()?, buffer)?;

            let msi = pci::IrqTypes::default().with(pci::IrqType::Msi);
            let intx = pci::IrqTypes::default().with(pci::IrqType::Intx);
            let vectors = pdev
                .alloc_irq_vectors(1, 1, msi)
                .or_else(|_| pdev.alloc_irq_vectors(1, 1, intx))?;

            dev_info!(
                pdev,
                "edu {}.{}, {}\n",
                u32::from(id.major()),
                u32::from(id.minor()),
                match vectors.irq_type() {
                    pci::IrqType::Intx => "INTx",
                    _ => "MSI",
                }
            );

            Ok(try_pin_init!(EduData {
                edu,
                vectors,
                irq <- {
                    // SAFETY: `vectors` is a field of the same structure, which is pinned, and is dropped after `irq`.
                    let vectors = unsafe { &*core::ptr::from_ref::<pci::IrqVectorRegistration<'bound>>(vectors) };
                    let request = vectors.index(0)?.into();
                    // SAFETY: `EduData` is the driver's data, which the driver core drops.
                    unsafe { irq::Registration::new(request, irq::Flags::SHARED, c"edu", Ok(Interrupts(edu.clone()))) }
                },
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"edu" }),
            }))
        })
    }

    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.edu.stop(pdev);
        if matches!(this.vectors.irq_type(), pci::IrqType::Intx) {
            this.edu.lower_pin();
        }
        dev_dbg!(pdev, "unbound\n");
    }
}
