// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Two events of `edu` on one interrupt line: a factorial is ready, and a bell that the driver has the device ring.
//!
//! A write of four bytes computes the factorial of the number in them. A read of four bytes has the bell rung, waits for it,
//! and gives the last factorial. Both sleep until the interrupt handler says that their event came.

use kernel::{
    device::Core,
    fs::{File, Kiocb},
    io::{poll::read_poll_timeout, Io},
    iov::{IovIterDest, IovIterSource},
    irq,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_condvar, new_mutex, pci,
    prelude::*,
    sync::{Arc, CondVar, Mutex},
    time::Delta,
};
use kernel::{new_spinlock_irq as new_events, sync::SpinLockIrq as EventsLock};

/// Offsets in BAR 0.
const FACTORIAL: usize = 0x08;
const STATUS: usize = 0x20;
const IRQ_STATUS: usize = 0x24;
const IRQ_RAISE: usize = 0x60;
const IRQ_ACKNOWLEDGE: usize = 0x64;

/// Bits of `STATUS`.
const COMPUTING: u32 = 0x01;
const INTERRUPT_WHEN_DONE: u32 = 0x80;

/// Why the device interrupts.
const IRQ_FACTORIAL: u32 = 0x1;
const IRQ_BELL: u32 = 0x2;

/// What a register reads as when the device is gone.
const GONE: u32 = u32::MAX;

/// How many interrupts are kept for a look at them.
const TRAIL: usize = 8;

kernel::module_pci_driver! {
    type: Driver,
    name: "edu_irq",
    authors: ["The Bringup developers"],
    description: "Two events of edu on one line",
    license: "GPL v2",
}

/// What the interrupt handler and those who wait tell each other.
struct Events {
    /// Events that came and were not consumed.
    raised: u32,
    /// Rings that the device was asked for and has not announced.
    rings: u32,
    /// The device is being unbound.
    gone: bool,
    /// The reasons of the first interrupts.
    trail: KVec<u32>,
}

#[pin_data]
struct Shared {
    bar: pci::DevresBar<0x100>,
    #[pin]
    events: EventsLock<Events>,
    #[pin]
    raised: CondVar,
    /// One computation at a time. Taken before `result`.
    #[pin]
    turn: Mutex<()>,
    /// One ring of the bell at a time.
    #[pin]
    bell: Mutex<()>,
    /// The last factorial.
    #[pin]
    result: Mutex<u32>,
}

impl Shared {
    /// Runs `f` on the registers. It must not sleep: the device cannot be unbound meanwhile.
    fn with_bar<R>(&self, f: impl FnOnce(&pci::Bar<'_, 0x100>) -> R) -> Result<R> {
        let bar = self.bar.try_access().ok_or(ENODEV)?;
        Ok(f(&bar))
    }

    /// Sleeps until the device interrupted with `event`.
    fn wait_for(&self, event: u32) -> Result {
        let mut events = self.events.lock();
        while events.raised & event == 0 {
            if events.gone {
                return Err(ENODEV);
            }
            self.raised.wait(&mut events);
        }
        events.raised &= !event;
        Ok(())
    }

    fn compute(&self, number: u32) -> Result {
        let _turn = self.turn.lock();
        if self.events.lock().gone {
            return Err(ENODEV);
        }
        self.with_bar(|bar| bar.write32(number, FACTORIAL))?;
        self.wait_for(IRQ_FACTORIAL)?;
        *self.result.lock() = self.with_bar(|bar| bar.read32(FACTORIAL))?;
        Ok(())
    }

    fn ring(&self) -> Result {
        let _bell = self.bell.lock();
        if self.events.lock().gone {
            return Err(ENODEV);
        }
        self.events.lock().rings += 1;
        self.with_bar(|bar| bar.write32(IRQ_BELL, IRQ_RAISE))?;
        self.wait_for(IRQ_BELL)
    }

    /// The last factorial; that of a computation under way is waited for.
    fn last(&self) -> u32 {
        let _turn = self.turn.lock();
        let result = self.result.lock();
        *result
    }

    /// Ends what is under way and lets no more begin.
    fn stop(&self) {
        self.events.lock().gone = true;
        self.raised.notify_all();
        let _bell = self.bell.lock();
        let _turn = self.turn.lock();
        let idle = read_poll_timeout(
            || self.with_bar(|bar| bar.read32(STATUS)),
            |status| status & COMPUTING == 0 || *status == GONE,
            Delta::from_millis(1),
            Delta::from_millis(100),
        );
        if idle.is_err() {
            pr_warn!("the device did not come to rest\n");
        }
    }
}

struct Interrupts(Arc<Shared>);

impl irq::Handler for Interrupts {
    fn handle(&self) -> irq::IrqReturn {
        let shared = &self.0;
        let reasons = shared.with_bar(|bar| {
            let reasons = bar.read32(IRQ_STATUS);
            if reasons != 0 && reasons != GONE {
                bar.write32(reasons, IRQ_ACKNOWLEDGE);
            }
            reasons
        });
        let reasons = match reasons {
            Err(_) | Ok(0) | Ok(GONE) => return irq::IrqReturn::None,
            Ok(reasons) => reasons,
        };
        let mut events = shared.events.lock();
        if reasons & IRQ_BELL != 0 {
            events.rings -= 1;
        }
        events.raised |= reasons;
        if events.trail.len() < TRAIL {
            // It is only there to be looked at.
            let _ = events.trail.push(reasons, GFP_ATOMIC);
        }
        drop(events);
        shared.raised.notify_all();
        irq::IrqReturn::Handled
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no interrupts, no vectors.
#[pin_data]
struct Data<'bound> {
    #[pin]
    misc: MiscDeviceRegistration<User>,
    #[pin]
    irq: irq::Registration<'bound, Interrupts>,
    vectors: pci::IrqVectorRegistration<'bound>,
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
        let shared = unsafe {
            &(*kernel::container_of!(core::ptr::from_ref(misc), Data<'static>, misc)).shared
        };
        Ok(KBox::new(User(shared.clone()), GFP_KERNEL)?)
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let shared = &kiocb.file().0;
        shared.ring()?;
        Ok(iov.copy_to_iter(&shared.last().to_le_bytes()))
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let mut bytes = [0; 4];
        if iov.copy_from_iter(&mut bytes) != bytes.len() {
            return Err(EINVAL);
        }
        kiocb.file().0.compute(u32::from_le_bytes(bytes))?;
        Ok(bytes.len())
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
    type Data<'bound> = Data<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            pdev.enable_device_mem()?;
            let bar = pdev.iomap_region_sized::<0x100>(0, c"edu_irq")?;
            // What an earlier user left must not be taken for ours.
            let stale = bar.read32(IRQ_STATUS);
            if stale != 0 {
                bar.write32(stale, IRQ_ACKNOWLEDGE);
            }
            bar.write32(INTERRUPT_WHEN_DONE, STATUS);
            let events = Events {
                raised: 0,
                rings: 0,
                gone: false,
                trail: KVec::new(),
            };
            let bar = bar.into_devres()?;
            let shared = Arc::pin_init(
                pin_init!(Shared {
                    bar,
                    events <- new_events!(events),
                    raised <- new_condvar!(),
                    turn <- new_mutex!(()),
                    bell <- new_mutex!(()),
                    result <- new_mutex!(1),
                }),
                GFP_KERNEL,
            )?;
            let line = pci::IrqTypes::default().with(pci::IrqType::Intx);
            let vectors = pdev.alloc_irq_vectors(1, 1, line)?;
            Ok(try_pin_init!(Data {
                shared,
                vectors,
                irq <- {
                    // SAFETY: `vectors` is a field of the same structure, which is pinned, and is dropped after `irq`.
                    let vectors = unsafe { &*core::ptr::from_ref::<pci::IrqVectorRegistration<'bound>>(vectors) };
                    let request = vectors.index(0)?.into();
                    let handler = Ok(Interrupts(shared.clone()));
                    // SAFETY: `Data` is the driver's data, which the driver core drops.
                    unsafe { irq::Registration::new(request, irq::Flags::SHARED, c"edu_irq", handler) }
                },
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"edu_irq" }),
            }))
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.shared.stop();
    }
}
