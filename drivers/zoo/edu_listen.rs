// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Counts the rings of the bell of `edu` for whoever listens: the handler reaches both counters by pointers, as drivers that
//! came from C do.
//!
//! The file that was opened last listens. A write has the bell rung, a read gives how often the file heard it (four bytes).

use core::ptr::NonNull;
use kernel::{
    device::Core,
    fs::{File, Kiocb},
    io::Io,
    iov::{IovIterDest, IovIterSource},
    irq,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_spinlock_irq, pci,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SetOnce, SpinLockIrq,
    },
};

/// Offsets in BAR 0.
const ID: usize = 0x00;
const IRQ_STATUS: usize = 0x24;
const IRQ_RAISE: usize = 0x60;
const IRQ_ACKNOWLEDGE: usize = 0x64;

/// Why the device interrupts: the bell.
const IRQ_BELL: u32 = 0x2;

/// What a register reads as when the device is gone.
const GONE: u32 = u32::MAX;

kernel::module_pci_driver! {
    type: Driver,
    name: "edu_listen",
    authors: ["The Bringup developers"],
    description: "Counts rings for whoever listens",
    license: "GPL v2",
}

/// What an open file heard.
struct Listener {
    heard: u32,
}

/// Who listens.
struct Ears {
    listener: Option<NonNull<Listener>>,
}

// SAFETY: A listener may be written to from anywhere by whoever holds the lock.
unsafe impl Send for Ears {}

#[pin_data]
struct Shared {
    bar: pci::DevresBar<0x100>,
    /// The device's revision, which the handler reports with. Set before the handler is registered.
    revision: SetOnce<u32>,
    #[pin]
    ears: SpinLockIrq<Ears>,
}

impl Shared {
    fn with_bar<R>(&self, f: impl FnOnce(&pci::Bar<'_, 0x100>) -> R) -> Result<R> {
        let bar = self.bar.try_access().ok_or(ENODEV)?;
        Ok(f(&bar))
    }

    fn ring(&self) -> Result {
        self.with_bar(|bar| bar.write32(IRQ_BELL, IRQ_RAISE))
    }
}

/// All rings since the driver was bound, by revision of the device.
struct Tally {
    revision: Atomic<u32>,
    rings: Atomic<u32>,
}

struct Interrupts {
    shared: Arc<Shared>,
    tally: NonNull<Tally>,
}

// SAFETY: What `tally` points to is `Sync`.
unsafe impl Send for Interrupts {}
// SAFETY: As above.
unsafe impl Sync for Interrupts {}

impl irq::Handler for Interrupts {
    fn handle(&self) -> irq::IrqReturn {
        let shared = &self.shared;
        // SAFETY: The tally is dropped after the handler was unregistered.
        let tally = unsafe { self.tally.as_ref() };
        let reasons = shared.with_bar(|bar| {
            let reasons = bar.read32(IRQ_STATUS);
            if reasons != 0 && reasons != GONE {
                bar.write32(reasons, IRQ_ACKNOWLEDGE);
            }
            reasons
        });
        tally.rings.add(1u32, Relaxed);
        let revision = shared.revision.as_ref().expect("probe has set it");
        tally.revision.store(*revision, Relaxed);
        if matches!(reasons, Err(_) | Ok(0) | Ok(GONE)) {
            return irq::IrqReturn::None;
        }
        let ears = shared.ears.lock();
        if let Some(mut listener) = ears.listener {
            // SAFETY: A file that is closed takes its listener away, under the lock.
            let listener = unsafe { listener.as_mut() };
            listener.heard = listener.heard.wrapping_add(1);
        }
        irq::IrqReturn::Handled
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no interrupts, no vectors, what the handler used.
#[pin_data]
struct Data<'bound> {
    #[pin]
    misc: MiscDeviceRegistration<User>,
    #[pin]
    irq: irq::Registration<'bound, Interrupts>,
    vectors: pci::IrqVectorRegistration<'bound>,
    tally: KBox<Tally>,
    shared: Arc<Shared>,
}

/// An open file.
struct User {
    shared: Arc<Shared>,
    listener: KBox<Listener>,
}

impl User {
    /// The listener, as the handler knows it.
    fn pointer(&self) -> NonNull<Listener> {
        NonNull::from(&*self.listener)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut ears = self.shared.ears.lock();
        if ears.listener == Some(self.pointer()) {
            ears.listener = None;
        }
    }
}

#[vtable]
impl MiscDevice for User {
    type Ptr = KBox<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        // SAFETY: The only registration of this type is the field of `Data`, whose `shared` is initialised before and
        // dropped after it.
        let shared = unsafe {
            &(*kernel::container_of!(core::ptr::from_ref(misc), Data<'static>, misc)).shared
        };
        let listener = KBox::new(Listener { heard: 0 }, GFP_KERNEL)?;
        let shared = shared.clone();
        let user = KBox::new(User { shared, listener }, GFP_KERNEL)?;
        user.shared.ears.lock().listener = Some(user.pointer());
        Ok(user)
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let user = kiocb.file();
        let ears = user.shared.ears.lock();
        // SAFETY: The handler writes to it under the lock only.
        let heard = unsafe { (*user.pointer().as_ptr()).heard };
        drop(ears);
        Ok(iov.copy_to_iter(&heard.to_le_bytes()))
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        kiocb.file().shared.ring()?;
        Ok(iov.len())
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
            let bar = pdev.iomap_region_sized::<0x100>(0, c"edu_listen")?;
            let revision = bar.read32(ID) >> 16;
            let bar = bar.into_devres()?;
            let shared = Arc::pin_init(
                pin_init!(Shared {
                    bar,
                    revision: SetOnce::new(),
                    ears <- new_spinlock_irq!(Ears { listener: None }),
                }),
                GFP_KERNEL,
            )?;
            shared.revision.populate(revision);
            let tally = Tally {
                revision: Atomic::new(0),
                rings: Atomic::new(0),
            };
            let tally = KBox::new(tally, GFP_KERNEL)?;
            let line = pci::IrqTypes::default().with(pci::IrqType::Intx);
            let vectors = pdev.alloc_irq_vectors(1, 1, line)?;
            Ok(try_pin_init!(Data {
                shared,
                tally,
                vectors,
                irq <- {
                    // SAFETY: `vectors` is a field of the same structure, which is pinned, and is dropped after `irq`.
                    let vectors = unsafe { &*core::ptr::from_ref::<pci::IrqVectorRegistration<'bound>>(vectors) };
                    let request = vectors.index(0)?.into();
                    let handler = Ok(Interrupts { shared: shared.clone(), tally: NonNull::from(&**tally) });
                    // SAFETY: `Data` is the driver's data, which the driver core drops.
                    unsafe { irq::Registration::new(request, irq::Flags::SHARED, c"edu_listen", handler) }
                },
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"edu_listen" }),
                _: {
                    // The first ring tells whether the line works. Nothing can fail any more: the interrupt may come late.
                    shared.ring()?;
                },
            }))
        })
    }
}
