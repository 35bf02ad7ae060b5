// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Takes what a driver needs step by step and holds it by pointers, each step with what undoes it: the shape of a driver that
//! was ported from C. It does nothing else with `edu` than to ask whether it is alive, which is the last step of probe.

use core::marker::PhantomData;
use kernel::{
    device::Core,
    dma::Coherent,
    fs::{File, Kiocb},
    io::Io,
    iov::IovIterDest,
    irq,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    pci,
    prelude::*,
    types::ScopeGuard,
};

/// Offsets in BAR 0.
const LIVENESS: usize = 0x04;
const IRQ_STATUS: usize = 0x24;
const IRQ_ACKNOWLEDGE: usize = 0x64;

/// What a register reads as when the device is gone.
const GONE: u32 = u32::MAX;

kernel::module_pci_driver! {
    type: Driver,
    name: "edu_steps",
    authors: ["The Bringup developers"],
    description: "Probes step by step",
    license: "GPL v2",
}

type Vectors<'bound> = pci::IrqVectorRegistration<'bound>;
type Line<'bound> = irq::Registration<'bound, Interrupts>;
type Node = MiscDeviceRegistration<User>;

struct Interrupts(pci::DevresBar<0x100>);

impl irq::Handler for Interrupts {
    fn handle(&self) -> irq::IrqReturn {
        let Some(bar) = self.0.try_access() else {
            return irq::IrqReturn::None;
        };
        match bar.read32(IRQ_STATUS) {
            0 | GONE => irq::IrqReturn::None,
            reasons => {
                bar.write32(reasons, IRQ_ACKNOWLEDGE);
                irq::IrqReturn::Handled
            }
        }
    }
}

/// What the driver remembers of a device.
struct Context {
    pattern: u32,
}

/// Gives back what `KBox::into_raw` gave.
fn free<T>(raw: *mut T) {
    // SAFETY: Called once for each pointer, which is from `KBox::into_raw`.
    drop(unsafe { KBox::from_raw(raw) });
}

/// What belongs to a bound device.
struct Data<'bound> {
    context: *mut Context,
    memory: *mut Coherent<[u8]>,
    vectors: *mut Vectors<'bound>,
    line: *mut Line<'bound>,
    node: *mut Node,
    bound: PhantomData<&'bound ()>,
}

// SAFETY: All that is pointed to may be used from anywhere.
unsafe impl Send for Data<'_> {}
// SAFETY: As above.
unsafe impl Sync for Data<'_> {}

impl Drop for Data<'_> {
    fn drop(&mut self) {
        free(self.node);
        free(self.line);
        free(self.vectors);
        free(self.memory);
        free(self.context);
    }
}

/// An open file.
struct User;

#[vtable]
impl MiscDevice for User {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(User, GFP_KERNEL)?)
    }

    fn read_iter(_kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        Ok(iov.copy_to_iter(b"alive\n"))
    }
}

/// `value`, in memory of its own that is not given back by itself.
fn keep<T>(value: T) -> Result<*mut T> {
    Ok(KBox::into_raw(KBox::new(value, GFP_KERNEL)?))
}

/// As [`keep`], for what is made where it stays.
fn keep_pinned<T>(init: impl PinInit<T, Error>) -> Result<*mut T> {
    let pinned = KBox::pin_init(init, GFP_KERNEL)?;
    // SAFETY: It stays where it is until it is dropped.
    Ok(KBox::into_raw(unsafe { Pin::into_inner_unchecked(pinned) }))
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
            let bar = pdev.iomap_region_sized::<0x100>(0, c"edu_steps")?;

            let context = keep(Context {
                pattern: 0x5aa5_0ff0,
            })?;
            let context = ScopeGuard::new_with_data(context, free);

            let memory = keep(Coherent::zeroed_slice(pdev.as_ref(), 64, GFP_KERNEL)?)?;
            let memory = ScopeGuard::new_with_data(memory, free);

            let line = pci::IrqTypes::default().with(pci::IrqType::Intx);
            let vectors = keep(pdev.alloc_irq_vectors(1, 1, line)?)?;
            let vectors = ScopeGuard::new_with_data(vectors, free);

            // SAFETY: They are given back after the handler.
            let request = unsafe { &**vectors }.index(0)?.into();
            let handler = Ok(Interrupts(bar.into_devres()?));
            // SAFETY: It is unregistered before the device loses its driver, by `Data` or by the guard.
            let line = keep_pinned(unsafe {
                Line::new(request, irq::Flags::SHARED, c"edu_steps", handler)
            })?;
            let line = ScopeGuard::new_with_data(line, free);

            let options = MiscDeviceOptions { name: c"edu_steps" };
            let node = keep_pinned(Node::register(options))?;
            let node = ScopeGuard::new_with_data(node, free);

            // SAFETY: Both are there until a guard or `Data` gives them back.
            let (context_now, line_now) = unsafe { (&**context, &**line) };
            let bar = line_now.handler().0.try_access().ok_or(ENODEV)?;
            bar.write32(context_now.pattern, LIVENESS);
            if bar.read32(LIVENESS) != !context_now.pattern {
                dev_err!(pdev, "the device is not alive\n");
                return Err(EIO);
            }

            Ok(try_init!(Data {
                context: context.dismiss(),
                memory: memory.dismiss(),
                vectors: vectors.dismiss(),
                line: line.dismiss(),
                node: node.dismiss(),
                bound: PhantomData,
            }))
        })
    }
}
