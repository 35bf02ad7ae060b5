// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Looks at `edu` each millisecond, from a timer's callback.
//!
//! A read waits for the next look and gives how many there were (four bytes). Unbinding stops the timer.

use kernel::{
    device::{Core, Device},
    fs::{File, Kiocb},
    impl_has_hr_timer,
    io::Io,
    iov::IovIterDest,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_condvar, pci,
    prelude::*,
    sync::{aref::ARef, Arc, ArcBorrow, CondVar},
    time::{
        hrtimer::{
            ArcHrTimerHandle, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer,
            HrTimerRestart, RelativeMode,
        },
        Delta, Monotonic,
    },
};
use kernel::{new_spinlock_irq as new_looks, sync::SpinLockIrq as LooksLock};

/// Offset in BAR 0 of the register that is looked at.
const LIVENESS: usize = 0x04;

const PERIOD: Delta = Delta::from_millis(1);

kernel::module_pci_driver! {
    type: Driver,
    name: "edu_tick",
    authors: ["The Bringup developers"],
    description: "Looks each millisecond",
    license: "GPL v2",
}

/// What was seen.
struct Looks {
    count: u32,
    gone: bool,
}

#[pin_data]
struct Shared {
    dev: ARef<Device>,
    bar: pci::DevresBar<0x100>,
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    looks: LooksLock<Looks>,
    #[pin]
    looked: CondVar,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Shared {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for Shared {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        let Some(bar) = this.bar.try_access() else {
            return HrTimerRestart::NoRestart;
        };
        let _ = bar.read32(LIVENESS);
        let mut looks = this.looks.lock();
        looks.count = looks.count.wrapping_add(1);
        drop(looks);
        this.looked.notify_all();
        context.forward_now(PERIOD);
        HrTimerRestart::Restart
    }
}

impl Shared {
    /// Waits for the next look.
    fn next(&self) -> Result<u32> {
        let mut looks = self.looks.lock();
        let before = looks.count;
        while looks.count == before {
            if looks.gone {
                return Err(ENODEV);
            }
            self.looked.wait(&mut looks);
        }
        Ok(looks.count)
    }

    /// Ends all waiting.
    fn stop(&self) {
        self.looks.lock().gone = true;
        self.looked.notify_all();
    }
}

/// What belongs to a bound device.
#[pin_data]
struct Data {
    #[pin]
    misc: MiscDeviceRegistration<User>,
    /// Dropping it stops the timer.
    timer: ArcHrTimerHandle<Shared>,
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
        let count = kiocb.file().0.next()?;
        Ok(iov.copy_to_iter(&count.to_le_bytes()))
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
            let bar = pdev.iomap_region_sized::<0x100>(0, c"edu_tick")?;
            let dev: &Device<_> = pdev.as_ref();
            let bar = bar.into_devres()?;
            let shared = Arc::pin_init(
                pin_init!(Shared {
                    dev: dev.into(),
                    bar,
                    timer <- HrTimer::new(),
                    looks <- new_looks!(Looks { count: 0, gone: false }),
                    looked <- new_condvar!(),
                }),
                GFP_KERNEL,
            )?;
            let timer = shared.clone().start(PERIOD);
            Ok(try_pin_init!(Data {
                shared,
                timer,
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"edu_tick" }),
            }))
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.shared.stop();
        dev_dbg!(this.shared.dev, "unbound\n");
    }
}
