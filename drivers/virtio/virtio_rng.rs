// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Driver for virtio entropy devices (virtio 1.4 §5.4).
//!
//! The device fills buffers with random bytes. This driver offers them as character devices, `/dev/vrng0` and so on: a
//! read gives as many bytes as the device has for it, at least one, and waits for them in bounded time.

use kernel::{
    device::Core,
    fs::{File, Kiocb},
    iov::IovIterDest,
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    pci,
    prelude::*,
    sync::Arc,
    InPlaceModule,
};

mod virtio;

use virtio::{
    feature,
    function::{Active, Function, Link, Owner, Patience},
    gate::Gate,
    node::{self, Minor, Node},
    pci::{Interrupts, Transport},
    requests::{Layout, Parts, Requests},
    ring::Shape,
};

/// PCI device ids: modern, and transitional.
const DEVICE: u32 = 0x1044;
const DEVICE_TRANSITIONAL: u32 = 0x1005;

/// The queue that buffers go into.
const REQUESTQ: u16 = 0;

/// Buffers, each for a read of up to so many bytes.
const SLOTS: u16 = 8;
const SLOT_SIZE: usize = 512;

const NAMES: [&CStr; 8] = [
    c"vrng0", c"vrng1", c"vrng2", c"vrng3", c"vrng4", c"vrng5", c"vrng6", c"vrng7",
];

module! {
    type: RngModule,
    name: "virtio_rng",
    authors: ["The Bringup developers"],
    description: "Virtio entropy device",
    license: "GPL v2",
}

#[pin_data]
struct RngModule {
    #[pin]
    driver: kernel::driver::Registration<pci::Adapter<RngDriver>>,
}

impl InPlaceModule for RngModule {
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
struct Rng {
    #[pin]
    gate: Gate<Function>,
}

impl Owner for Rng {
    type Inner = Function;

    fn gate(&self) -> &Gate<Function> {
        &self.gate
    }
}

impl Rng {
    /// Reads up to `len` bytes.
    fn read(&self, len: usize, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let function = self.gate.enter()?;
        function.revive()?;
        let queue = function.queue(REQUESTQ)?;
        let slot = function.wait(REQUESTQ, Patience::Bounded, |ring| {
            let mut slot = [0];
            (ring.take(&mut slot) == 1).then_some(slot[0])
        })?;
        let result = Self::fill(&function, queue, slot, len.min(SLOT_SIZE), iov);
        queue.release(function.link(), &[slot]);
        result
    }

    fn fill(
        function: &Function,
        queue: &Requests,
        slot: u16,
        len: usize,
        iov: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        queue.submit(function.link(), [(slot, Parts::new().writable(0, len))]);
        let written = function.wait(REQUESTQ, Patience::Bounded, |ring| ring.result(slot))??;
        // Bytes that the device did not write are none of its randomness (§5.4.6.1).
        let copied = queue.read_to(slot, 0, len.min(written as usize), iov)?;
        match copied {
            0 if written == 0 => Err(EIO),
            0 => Err(EFAULT),
            copied => Ok(copied),
        }
    }
}

#[vtable]
impl MiscDevice for Rng {
    type Ptr = Arc<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Self>> {
        // SAFETY: All registrations of this type are those of nodes.
        Ok(unsafe { Node::target(misc) })
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut done = 0;
        while !iov.is_empty() {
            match kiocb.file().read(iov.len(), iov) {
                Ok(read) => done += read,
                Err(_) if done != 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no users and no device, no interrupts.
#[pin_data]
struct RngData<'bound> {
    #[pin]
    node: Node<Rng>,
    active: Active<'bound, Rng>,
    interrupts: Interrupts<'bound, Link>,
    minor: Minor,
}

struct RngDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <RngDriver as pci::Driver>::IdInfo,
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

impl pci::Driver for RngDriver {
    type IdInfo = ();
    type Data<'bound> = RngData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let minor = Minor::new(NAMES.len())?;
            let name = *NAMES.get(minor.index()).ok_or(ENOSPC)?;
            let link = Link::new(Transport::new(pdev, c"virtio_rng")?, 1, None)?;
            let transport = link.transport();
            let features = transport.negotiate(feature::ALL, |features| features)?;

            let size = transport.read_queue_size(REQUESTQ, SLOTS)?;
            let layout = Layout {
                shape: Shape {
                    size,
                    features,
                    table: 0,
                },
                slots: SLOTS,
                stride: SLOT_SIZE,
                piece: SLOT_SIZE as u32,
            };
            let mut queues = KVec::new();
            queues.push(Requests::new(pdev.as_ref(), REQUESTQ, layout)?, GFP_KERNEL)?;
            // SAFETY: They are dropped with the driver's data, which the driver core does.
            let interrupts = unsafe { Interrupts::new(pdev, &link, 1, c"virtio_rng")? };
            let function = Function::new(link.clone(), features, queues, &interrupts)?;
            let rng = Arc::pin_init(pin_init!(Rng { gate <- Gate::new() }), GFP_KERNEL)?;
            let active = Active::new(pdev, link, rng.clone());
            function.start()?;
            // Should this fail, the rings must still be there while `active` stops the device.
            active.open(function.clone())?;

            dev_info!(
                pdev,
                "{}: {} queue of {}, {}\n",
                name,
                virtio::kind_of_ring(features),
                size,
                interrupts.kind()
            );

            Ok(try_pin_init!(RngData {
                minor,
                interrupts,
                active,
                node <- Node::new(name, rng),
            }))
        })
    }
}
