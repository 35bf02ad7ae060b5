// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Has a work item talk to `edu` some time after it was asked to.
//!
//! A write queues the work, a read gives how often it ran (four bytes). At unbind the driver waits until work that is queued
//! says that it is done: Linux 7.3 has no call for Rust drivers that takes work back, or waits for its end.

use kernel::{
    device::Core,
    fs::{File, Kiocb},
    io::Io,
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_condvar, new_delayed_work, new_mutex, pci,
    prelude::*,
    sync::{Arc, CondVar, Mutex},
    time::msecs_to_jiffies,
    workqueue::{self, impl_has_delayed_work, DelayedWork, WorkItem},
};

/// Offset in BAR 0 of the register that inverts what it is given.
const LIVENESS: usize = 0x04;

kernel::module_pci_driver! {
    type: Driver,
    name: "edu_work",
    authors: ["The Bringup developers"],
    description: "Works later",
    license: "GPL v2",
}

struct State {
    /// The work is queued or runs.
    queued: bool,
    /// The device is being unbound.
    gone: bool,
}

#[pin_data]
struct Shared {
    bar: pci::DevresBar<0x100>,
    #[pin]
    work: DelayedWork<Shared>,
    #[pin]
    state: Mutex<State>,
    /// The work has ended.
    #[pin]
    idle: CondVar,
    /// How often the work ran.
    #[pin]
    runs: Mutex<u32>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Shared { self.work }
}

impl WorkItem for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(bar) = this.bar.try_access() {
            bar.write32(0x5aa5_0ff0, LIVENESS);
        }
        *this.runs.lock() += 1;
        this.state.lock().queued = false;
        this.idle.notify_all();
    }
}

impl Shared {
    fn queue(this: &Arc<Self>) -> Result {
        let mut state = this.state.lock();
        if state.gone {
            return Err(ENODEV);
        }
        if !state.queued {
            let delay = msecs_to_jiffies(20);
            let queued = workqueue::system().enqueue_delayed(this.clone(), delay);
            state.queued = queued.is_ok();
        }
        Ok(())
    }

    /// Lets no more work begin, and waits for what there is.
    fn stop(&self) {
        let mut state = self.state.lock();
        state.gone = true;
        while state.queued {
            self.idle.wait(&mut state);
        }
    }
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
        let runs = *kiocb.file().0.runs.lock();
        Ok(iov.copy_to_iter(&runs.to_le_bytes()))
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        Shared::queue(&kiocb.file().0)?;
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
    type Data<'bound> = Data;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            pdev.enable_device_mem()?;
            let bar = pdev.iomap_region_sized::<0x100>(0, c"edu_work")?;
            let bar = bar.into_devres()?;
            let shared = Arc::pin_init(
                pin_init!(Shared {
                    bar,
                    work <- new_delayed_work!("Shared::work"),
                    state <- new_mutex!(State { queued: false, gone: false }),
                    idle <- new_condvar!(),
                    runs <- new_mutex!(0),
                }),
                GFP_KERNEL,
            )?;
            Ok(try_pin_init!(Data {
                shared,
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"edu_work" }),
            }))
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.shared.stop();
    }
}
