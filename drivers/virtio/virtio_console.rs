// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Driver for virtio console devices (virtio 1.4 §5.3).
//!
//! Rust for Linux has no consoles or terminals yet, so each port of a device is a character device: `/dev/vcon0` is port 0
//! of the first device, `/dev/vcon0p1` its port 1, and so on. What is written goes out, what comes in is read. A read
//! waits for something to come, and gives 0 when nobody is at the other end.
//!
//! `TIOCGWINSZ` gives a terminal's size, `VCON_GET_NAME` a port's name.

use kernel::{
    device::Core,
    fs::{file::flags, File, Kiocb},
    ioctl::_IOR,
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    pci,
    prelude::*,
    sync::Arc,
    uaccess::UserSlice,
    InPlaceModule,
};

#[path = "virtio_console/ports.rs"]
mod ports;
mod virtio;

use ports::{Console, CONTROL_RX, MAX_PORTS, MAX_QUEUES, NAME_LEN, SLOTS, SLOT_SIZE, WANTED};
use virtio::{
    function::{Active, Function, Link, Owner},
    gate::Gate,
    node::{self, Minor, Node},
    pci::{Interrupts, Transport},
    requests::{Layout, Requests},
    ring::Shape,
};

/// PCI device ids: modern, and transitional.
const DEVICE: u32 = 0x1043;
const DEVICE_TRANSITIONAL: u32 = 0x1003;

/// Linux's ioctl for the size of a terminal: rows, columns, and two numbers that are 0 here, of 16 bits each.
const TIOCGWINSZ: u32 = 0x5413;

/// Gives the name of a port: 32 bytes, padded with zeros.
const VCON_GET_NAME: u32 = _IOR::<[u8; NAME_LEN]>('v' as u32, 1);

const NAMES: [[&CStr; MAX_PORTS]; 4] = [
    [
        c"vcon0", c"vcon0p1", c"vcon0p2", c"vcon0p3", c"vcon0p4", c"vcon0p5", c"vcon0p6",
        c"vcon0p7",
    ],
    [
        c"vcon1", c"vcon1p1", c"vcon1p2", c"vcon1p3", c"vcon1p4", c"vcon1p5", c"vcon1p6",
        c"vcon1p7",
    ],
    [
        c"vcon2", c"vcon2p1", c"vcon2p2", c"vcon2p3", c"vcon2p4", c"vcon2p5", c"vcon2p6",
        c"vcon2p7",
    ],
    [
        c"vcon3", c"vcon3p1", c"vcon3p2", c"vcon3p3", c"vcon3p4", c"vcon3p5", c"vcon3p6",
        c"vcon3p7",
    ],
];

module! {
    type: ConsoleModule,
    name: "virtio_console",
    authors: ["The Bringup developers"],
    description: "Virtio console device",
    license: "GPL v2",
}

#[pin_data]
struct ConsoleModule {
    #[pin]
    driver: kernel::driver::Registration<pci::Adapter<ConsoleDriver>>,
}

impl InPlaceModule for ConsoleModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: The module is being loaded, and its driver is registered below.
        unsafe { node::init() };
        try_pin_init!(Self {
            driver <- kernel::driver::Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}

/// What the ports of a device have in common.
#[pin_data]
struct Ports {
    #[pin]
    gate: Gate<Console>,
}

impl Owner for Ports {
    type Inner = Console;

    fn gate(&self) -> &Gate<Console> {
        &self.gate
    }
}

/// A port, which open files refer to.
struct Port {
    ports: Arc<Ports>,
    index: usize,
}

/// An open file. Its port is told when it is closed.
struct Opened {
    port: Arc<Port>,
    nonblock: bool,
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Ok(console) = self.port.ports.gate.enter() {
            console.close(self.port.index);
        }
    }
}

#[vtable]
impl MiscDevice for Port {
    type Ptr = KBox<Opened>;

    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Opened>> {
        // SAFETY: All registrations of this type are those of nodes.
        let port = unsafe { Node::target(misc) };
        let ports = port.ports.clone();
        let index = port.index;
        let console = ports.gate.enter()?;
        // Before the port is told, as nothing can fail after.
        let opened = KBox::<Opened>::new_uninit(GFP_KERNEL)?;
        console.open(index)?;
        let nonblock = file.flags() & flags::O_NONBLOCK != 0;
        Ok(KBox::write(opened, Opened { port, nonblock }))
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let Opened { port, nonblock } = kiocb.file();
        port.ports.gate.enter()?.read(port.index, *nonblock, iov)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let Opened { port, nonblock } = kiocb.file();
        port.ports.gate.enter()?.write(port.index, *nonblock, iov)
    }

    fn ioctl(opened: &Opened, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        let console = opened.port.ports.gate.enter()?;
        match cmd {
            TIOCGWINSZ => {
                let (columns, rows) = console.size(opened.port.index)?;
                UserSlice::new(arg, 8)
                    .writer()
                    .write(&[rows, columns, 0, 0])?;
            }
            VCON_GET_NAME => {
                let name = console.name(opened.port.index)?;
                UserSlice::new(arg, NAME_LEN).writer().write(&name)?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no users and no device, no interrupts.
struct ConsoleData<'bound> {
    _nodes: KVec<Pin<KBox<Node<Port>>>>,
    _active: Active<'bound, Ports>,
    _interrupts: Interrupts<'bound, Link>,
    _minor: Minor,
}

struct ConsoleDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <ConsoleDriver as pci::Driver>::IdInfo,
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

impl pci::Driver for ConsoleDriver {
    type IdInfo = ();
    type Data<'bound> = ConsoleData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let minor = Minor::new(NAMES.len())?;
            let names = NAMES.get(minor.index()).ok_or(ENOSPC)?;
            let transport = Transport::new(pdev, c"virtio_console")?;
            let link = Link::new(transport, MAX_QUEUES, Some(CONTROL_RX))?;
            let transport = link.transport();
            let features = transport.negotiate(WANTED, |features| features)?;
            let count = ports::read_port_count(transport, features).inspect_err(|_| {
                transport.fail();
            })?;

            let mut queues = KVec::new();
            for index in 0..ports::queue_count(count, features) {
                let size = transport.read_queue_size(index, SLOTS)?;
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
                let queue = Requests::new(pdev.as_ref(), index, layout)?;
                if ports::is_rx(index) {
                    queue.post_all(SLOT_SIZE);
                }
                queues.push(queue, GFP_KERNEL)?;
            }
            let queue_count = queues.len() as u16;
            // SAFETY: They are dropped with the driver's data, which the driver core does.
            let interrupts =
                unsafe { Interrupts::new(pdev, &link, queue_count, c"virtio_console")? };
            let function = Function::new(link.clone(), features, queues, &interrupts)?;
            let console = Console::new(function.clone(), count)?;
            let ports = Arc::pin_init(pin_init!(Ports { gate <- Gate::new() }), GFP_KERNEL)?;
            let active = Active::new(pdev, link, ports.clone());
            function.start()?;
            // The device tells of its ports from here on.
            console.service()?;

            let first = *names.first().ok_or(ENOSPC)?;
            let plural = if count == 1 { "" } else { "s" };
            dev_info!(
                pdev,
                "{}: {} port{}, {} queues, {}\n",
                first,
                count,
                plural,
                virtio::kind_of_ring(features),
                interrupts.kind()
            );
            active.open(console)?;

            let mut nodes = KVec::with_capacity(count, GFP_KERNEL)?;
            for (index, name) in names.iter().copied().enumerate().take(count) {
                let port = Port {
                    ports: ports.clone(),
                    index,
                };
                let node = Node::new(name, Arc::new(port, GFP_KERNEL)?);
                nodes.push(KBox::pin_init(node, GFP_KERNEL)?, GFP_KERNEL)?;
            }
            Ok(Ok(ConsoleData {
                _nodes: nodes,
                _active: active,
                _interrupts: interrupts,
                _minor: minor,
            }))
        })
    }
}
