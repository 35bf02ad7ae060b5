// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Driver for virtio network devices (virtio 1.4 §5.1).
//!
//! Rust for Linux has no network interfaces yet that a driver like this could be, so it offers character devices which
//! behave as a TAP device without headers does: a write sends one packet, a read receives one. `/dev/vnet0` is the first
//! pair of queues of the first device, `/dev/vnet0q1` its second, and so on; the device uses as many pairs as are open.
//!
//! Ioctls: `VNET_GET_MAC`, `VNET_SET_MAC`, `VNET_GET_MTU`, `VNET_GET_LINK`, `VNET_SET_RX_MODE`, `VNET_VLAN_ADD`,
//! `VNET_VLAN_DEL`.

use kernel::{
    device::Core,
    fs::{file::flags, File, Kiocb},
    ioctl::{_IOR, _IOW},
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    pci,
    prelude::*,
    sync::Arc,
    uaccess::UserSlice,
    InPlaceModule,
};

#[path = "virtio_net/interface.rs"]
mod interface;
#[path = "virtio_net/packet.rs"]
mod packet;
mod virtio;

use interface::{Interface, Properties, MAC_LEN, MAX_PAIRS, MAX_QUEUES, WANTED};
use virtio::{
    function::{Active, Function, Link, Owner},
    gate::Gate,
    node::{self, Minor, Node},
    pci::{Interrupts, Transport},
    requests::Requests,
};

/// PCI device ids: modern, and transitional.
const DEVICE: u32 = 0x1041;
const DEVICE_TRANSITIONAL: u32 = 0x1000;

const TYPE: u32 = 'v' as u32;
/// Gives the interface's address.
const VNET_GET_MAC: u32 = _IOR::<[u8; MAC_LEN]>(TYPE, 2);
/// Sets it.
const VNET_SET_MAC: u32 = _IOW::<[u8; MAC_LEN]>(TYPE, 3);
/// Gives the largest packet, without its Ethernet header, in bytes.
const VNET_GET_MTU: u32 = _IOR::<u32>(TYPE, 4);
/// Gives 1 if the link is up, 0 if not.
const VNET_GET_LINK: u32 = _IOR::<u32>(TYPE, 5);
/// Sets which packets come in beside those to the interface's address.
const VNET_SET_RX_MODE: u32 = _IOW::<u32>(TYPE, 6);
/// Lets packets of a VLAN in.
const VNET_VLAN_ADD: u32 = _IOW::<u16>(TYPE, 7);
/// Keeps them out.
const VNET_VLAN_DEL: u32 = _IOW::<u16>(TYPE, 8);

/// Bits of `VNET_SET_RX_MODE`: packets to anybody, and packets to any group.
const RX_PROMISCUOUS: u32 = 1;
const RX_ALL_MULTICAST: u32 = 2;

const NAMES: [[&CStr; MAX_PAIRS as usize]; 4] = [
    [
        c"vnet0", c"vnet0q1", c"vnet0q2", c"vnet0q3", c"vnet0q4", c"vnet0q5", c"vnet0q6",
        c"vnet0q7",
    ],
    [
        c"vnet1", c"vnet1q1", c"vnet1q2", c"vnet1q3", c"vnet1q4", c"vnet1q5", c"vnet1q6",
        c"vnet1q7",
    ],
    [
        c"vnet2", c"vnet2q1", c"vnet2q2", c"vnet2q3", c"vnet2q4", c"vnet2q5", c"vnet2q6",
        c"vnet2q7",
    ],
    [
        c"vnet3", c"vnet3q1", c"vnet3q2", c"vnet3q3", c"vnet3q4", c"vnet3q5", c"vnet3q6",
        c"vnet3q7",
    ],
];

module! {
    type: NetModule,
    name: "virtio_net",
    authors: ["The Bringup developers"],
    description: "Virtio network device",
    license: "GPL v2",
}

#[pin_data]
struct NetModule {
    #[pin]
    driver: kernel::driver::Registration<pci::Adapter<NetDriver>>,
}

impl InPlaceModule for NetModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: The module is being loaded, and its driver is registered below.
        unsafe { node::init() };
        try_pin_init!(Self {
            driver <- kernel::driver::Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}

/// What the pairs of a device have in common.
#[pin_data]
struct Pairs {
    #[pin]
    gate: Gate<Interface>,
}

impl Owner for Pairs {
    type Inner = Interface;

    fn gate(&self) -> &Gate<Interface> {
        &self.gate
    }
}

/// A pair of queues, which open files refer to.
struct Pair {
    pairs: Arc<Pairs>,
    index: u16,
}

/// An open file. Its pair is not used any more when the last is closed.
struct Opened {
    pair: Arc<Pair>,
    nonblock: bool,
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Ok(interface) = self.pair.pairs.gate.enter() {
            // A device that broke down uses nothing.
            let _ = interface.use_pair(self.pair.index, false);
        }
    }
}

#[vtable]
impl MiscDevice for Pair {
    type Ptr = KBox<Opened>;

    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Opened>> {
        // SAFETY: All registrations of this type are those of nodes.
        let pair = unsafe { Node::target(misc) };
        let (pairs, index) = (pair.pairs.clone(), pair.index);
        let interface = pairs.gate.enter()?;
        // Before the device is told, as nothing can fail after.
        let opened = KBox::<Opened>::new_uninit(GFP_KERNEL)?;
        interface.use_pair(index, true)?;
        let nonblock = file.flags() & flags::O_NONBLOCK != 0;
        Ok(KBox::write(opened, Opened { pair, nonblock }))
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let Opened { pair, nonblock } = kiocb.file();
        pair.pairs.gate.enter()?.receive(pair.index, *nonblock, iov)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let Opened { pair, nonblock } = kiocb.file();
        pair.pairs.gate.enter()?.send(pair.index, *nonblock, iov)
    }

    fn ioctl(opened: &Opened, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        let reader = |len| UserSlice::new(arg, len).reader();
        let writer = |len| UserSlice::new(arg, len).writer();
        let interface = opened.pair.pairs.gate.enter()?;
        match cmd {
            VNET_GET_MAC => writer(MAC_LEN).write(&interface.mac()?)?,
            VNET_SET_MAC => interface.set_mac(reader(MAC_LEN).read()?)?,
            VNET_GET_MTU => writer(4).write(&u32::from(interface.mtu()))?,
            VNET_GET_LINK => writer(4).write(&u32::from(interface.read_link()?))?,
            VNET_SET_RX_MODE => {
                let mode = reader(4).read::<u32>()?;
                if mode & !(RX_PROMISCUOUS | RX_ALL_MULTICAST) != 0 {
                    return Err(EINVAL);
                }
                interface.set_promiscuous(mode & RX_PROMISCUOUS != 0)?;
                interface.set_all_multicast(mode & RX_ALL_MULTICAST != 0)?;
            }
            VNET_VLAN_ADD => interface.set_vlan(reader(2).read()?, true)?,
            VNET_VLAN_DEL => interface.set_vlan(reader(2).read()?, false)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no users and no device, no interrupts.
struct NetData<'bound> {
    _nodes: KVec<Pin<KBox<Node<Pair>>>>,
    _active: Active<'bound, Pairs>,
    _interrupts: Interrupts<'bound, Link>,
    _minor: Minor,
}

struct NetDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <NetDriver as pci::Driver>::IdInfo,
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

impl pci::Driver for NetDriver {
    type IdInfo = ();
    type Data<'bound> = NetData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let minor = Minor::new(NAMES.len())?;
            let names = NAMES.get(minor.index()).ok_or(ENOSPC)?;
            let link = Link::new(Transport::new(pdev, c"virtio_net")?, MAX_QUEUES, None)?;
            let transport = link.transport();
            let features =
                transport.negotiate(WANTED, |features| interface::legal(transport, features))?;
            let properties = Properties::read(transport, features).inspect_err(|_| {
                dev_err!(pdev, "this interface cannot be used\n");
                transport.fail();
            })?;

            let mut queues = KVec::new();
            for index in 0..properties.queue_count() {
                let size = transport.read_queue_size(index, Properties::QUEUE_SIZE)?;
                let (layout, rx) = properties.layout(index, size, features);
                let queue = Requests::new(pdev.as_ref(), index, layout)?;
                if let Some(len) = rx {
                    queue.post_all(len);
                }
                queues.push(queue, GFP_KERNEL)?;
            }
            let queue_count = queues.len() as u16;
            // SAFETY: They are dropped with the driver's data, which the driver core does.
            let interrupts = unsafe { Interrupts::new(pdev, &link, queue_count, c"virtio_net")? };
            let (mtu, pairs) = (properties.mtu, properties.pairs);
            let function = Function::new(link.clone(), features, queues, &interrupts)?;
            let interface = Interface::new(function.clone(), properties)?;
            let owner = Arc::pin_init(pin_init!(Pairs { gate <- Gate::new() }), GFP_KERNEL)?;
            let active = Active::new(pdev, link, owner.clone());
            function.start()?;

            let plural = if pairs == 1 { "" } else { "s" };
            let [a, b, c, d, e, f] = interface.mac().unwrap_or_default();
            dev_info!(
                pdev,
                "{}: {:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}, MTU {}, {} pair{} of {} queues, {}\n",
                *names.first().ok_or(ENOSPC)?,
                a,
                b,
                c,
                d,
                e,
                f,
                mtu,
                pairs,
                plural,
                virtio::kind_of_ring(features),
                interrupts.kind()
            );
            active.open(interface)?;

            let mut nodes = KVec::with_capacity(usize::from(pairs), GFP_KERNEL)?;
            for (index, name) in (0..pairs).zip(names.iter().copied()) {
                let pair = Pair {
                    pairs: owner.clone(),
                    index,
                };
                let node = Node::new(name, Arc::new(pair, GFP_KERNEL)?);
                nodes.push(KBox::pin_init(node, GFP_KERNEL)?, GFP_KERNEL)?;
            }
            Ok(Ok(NetData {
                _nodes: nodes,
                _active: active,
                _interrupts: interrupts,
                _minor: minor,
            }))
        })
    }
}
