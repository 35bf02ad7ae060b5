// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A network interface: packets in and out by pairs of queues, and commands.

use super::packet::{Header, HEADER_SIZE};
use super::virtio::{
    feature,
    function::{Function, Patience},
    pci::Transport,
    requests::{Layout, Parts, Requests, Ring},
    ring::Shape,
};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    new_condvar, new_mutex,
    prelude::*,
    sync::{Arc, CondVar, Mutex},
};

/// Feature bits of network devices (§5.1.3).
mod bits {
    pub(super) const GUEST_CSUM: u32 = 1;
    pub(super) const MTU: u32 = 3;
    pub(super) const MAC: u32 = 5;
    pub(super) const MRG_RXBUF: u32 = 15;
    pub(super) const STATUS: u32 = 16;
    pub(super) const CTRL_VQ: u32 = 17;
    pub(super) const CTRL_RX: u32 = 18;
    pub(super) const CTRL_VLAN: u32 = 19;
    pub(super) const MQ: u32 = 22;
    pub(super) const CTRL_MAC_ADDR: u32 = 23;
}

/// Those that work by commands.
const BY_COMMAND: u64 = feature::bit(bits::CTRL_RX)
    | feature::bit(bits::CTRL_VLAN)
    | feature::bit(bits::MQ)
    | feature::bit(bits::CTRL_MAC_ADDR);

/// What is used of what a device may offer. Users give and get whole packets, so of offloads there is one: the checksum of
/// a packet that came in is completed here.
pub(crate) const WANTED: u64 = feature::ALL
    | feature::bit(bits::GUEST_CSUM)
    | feature::bit(bits::MTU)
    | feature::bit(bits::MAC)
    | feature::bit(bits::MRG_RXBUF)
    | feature::bit(bits::STATUS)
    | feature::bit(bits::CTRL_VQ)
    | BY_COMMAND;

/// Offsets in configuration space (§5.1.4).
mod config {
    pub(super) const MAC: usize = 0;
    pub(super) const STATUS: usize = 6;
    pub(super) const MAX_VIRTQUEUE_PAIRS: usize = 8;
    pub(super) const MTU: usize = 10;
}

/// Bit of the status field.
const LINK_UP: u16 = 1;

/// Commands: class and number (§5.1.9).
mod command {
    pub(super) const PROMISC: [u8; 2] = [0, 0];
    pub(super) const ALLMULTI: [u8; 2] = [0, 1];
    pub(super) const MAC_ADDR_SET: [u8; 2] = [1, 1];
    pub(super) const VLAN_ADD: [u8; 2] = [2, 0];
    pub(super) const VLAN_DEL: [u8; 2] = [2, 1];
    pub(super) const VQ_PAIRS_SET: [u8; 2] = [4, 0];
}

/// What the device answers to one that it carried out.
const ACK_OK: u8 = 0;
const ACK_NONE: u8 = 0xff;

/// The most pairs of queues that are used.
pub(crate) const MAX_PAIRS: u16 = 8;

/// The most queues.
pub(crate) const MAX_QUEUES: u16 = 2 * MAX_PAIRS + 1;

/// An Ethernet header, with a VLAN's tag and without.
const ETHERNET: usize = 14;
const TAG: usize = 4;

/// What goes through without a word on MTU.
const DEFAULT_MTU: u16 = 1500;

/// The longest packet that is put together of merged buffers, and the size of those.
const MAX_PACKET: usize = 65_550;
const MERGED_SIZE: usize = 2048;

/// Slots of a queue.
const SLOTS: u16 = 64;

/// A command's slot: class, number, data, answer.
const COMMAND_SIZE: usize = 64;
const COMMAND_ACK: usize = 32;

/// Bytes of an address.
pub(crate) const MAC_LEN: usize = 6;

/// What an interface is like.
pub(crate) struct Properties {
    pub(crate) mac: Option<[u8; MAC_LEN]>,
    pub(crate) mtu: u16,
    pub(crate) pairs: u16,
    merges: bool,
    has_commands: bool,
}

/// The features that can stand together, of those that a device offers.
pub(crate) fn legal(transport: &Transport, mut features: u64) -> u64 {
    if features & feature::bit(bits::CTRL_VQ) == 0 {
        features &= !BY_COMMAND;
    }
    if features & feature::bit(bits::MQ) != 0 {
        // Commands go by the queue behind all pairs, so the pairs must be few. It may be read before this is agreed on
        // (§3.1.1).
        let pairs = transport.read_config(|config| config.read16(config::MAX_VIRTQUEUE_PAIRS));
        if !pairs.is_ok_and(|pairs| (1..=MAX_PAIRS).contains(&pairs)) {
            features &= !feature::bit(bits::MQ);
        }
    }
    features
}

impl Properties {
    /// Reads the device's configuration. `EINVAL` if there is no such interface.
    pub(crate) fn read(transport: &Transport, features: u64) -> Result<Self> {
        let has = |bit| features & feature::bit(bit) != 0;
        let this = transport.read_config(|config| {
            let mac = if has(bits::MAC) {
                let mut mac = [0; MAC_LEN];
                for (at, byte) in mac.iter_mut().enumerate() {
                    *byte = config.read8(config::MAC + at)?;
                }
                Some(mac)
            } else {
                None
            };
            Ok(Self {
                mac,
                mtu: if has(bits::MTU) {
                    config.read16(config::MTU)?
                } else {
                    DEFAULT_MTU
                },
                pairs: if has(bits::MQ) {
                    config.read16(config::MAX_VIRTQUEUE_PAIRS)?
                } else {
                    1
                },
                merges: has(bits::MRG_RXBUF),
                has_commands: has(bits::CTRL_VQ),
            })
        })?;
        // 68 bytes are the least that IPv4 lets a link carry (§5.1.4.1).
        if this.mtu < 68 || !(1..=MAX_PAIRS).contains(&this.pairs) {
            return Err(EINVAL);
        }
        Ok(this)
    }

    /// How many queues the interface has.
    pub(crate) fn queue_count(&self) -> u16 {
        2 * self.pairs + u16::from(self.has_commands)
    }

    /// The longest packet, without what is before it.
    fn longest(&self) -> usize {
        usize::from(self.mtu) + ETHERNET + TAG
    }

    /// Bytes of a buffer for packets that come in.
    fn rx_size(&self) -> usize {
        if self.merges {
            MERGED_SIZE
        } else {
            // A device may fill as many as a packet of 1514 bytes takes, whatever it says of its MTU (§5.1.6.3.1).
            HEADER_SIZE
                + self
                    .longest()
                    .max(ETHERNET + TAG + usize::from(DEFAULT_MTU))
        }
    }

    /// What a queue is made like, and how many bytes of each slot are for packets that come in.
    pub(crate) fn layout(&self, queue: u16, size: u16, features: u64) -> (Layout, Option<usize>) {
        let (stride, rx) = if queue == 2 * self.pairs {
            (COMMAND_SIZE, None)
        } else if queue & 1 == 0 {
            (self.rx_size(), Some(self.rx_size()))
        } else {
            (HEADER_SIZE + self.longest(), None)
        };
        let layout = Layout {
            shape: Shape {
                size,
                features,
                table: 0,
            },
            slots: SLOTS.min(size),
            stride: (stride + 15) & !15,
            piece: u32::MAX,
        };
        (layout, rx)
    }

    /// The largest size of a queue that is of use.
    pub(crate) const QUEUE_SIZE: u16 = 2 * SLOTS;
}

/// What the user wants of the device, to be said again after a reset.
struct Settings {
    /// At which start of the device it was said.
    epoch: u32,
    /// How many have each pair open, and how many pairs the device uses.
    users: [usize; MAX_PAIRS as usize],
    pairs: u16,
    promiscuous: Option<bool>,
    all_multicast: Option<bool>,
    mac: Option<[u8; MAC_LEN]>,
    /// Bits of VLANs that are let in.
    vlans: KVec<u64>,
}

/// Who reads from a pair: one at a time, with room for a packet.
struct Reader {
    packet: Option<KVec<u8>>,
}

#[pin_data]
struct Readers {
    #[pin]
    reader: Mutex<Reader>,
    #[pin]
    free: CondVar,
}

/// An interface that is bound.
#[pin_data]
pub(crate) struct Interface {
    function: Arc<Function>,
    properties: Properties,
    readers: KVec<Pin<KBox<Readers>>>,
    #[pin]
    settings: Mutex<Settings>,
}

impl Interface {
    pub(crate) fn new(function: Arc<Function>, properties: Properties) -> Result<Arc<Self>> {
        let room = if properties.merges {
            MAX_PACKET
        } else {
            properties.rx_size()
        };
        let mut readers = KVec::with_capacity(usize::from(properties.pairs), GFP_KERNEL)?;
        for _ in 0..properties.pairs {
            let packet = Some(KVec::with_capacity(room, GFP_KERNEL)?);
            let reader = pin_init!(Readers {
                reader <- new_mutex!(Reader { packet }),
                free <- new_condvar!(),
            });
            readers.push(KBox::pin_init(reader, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let settings = Settings {
            epoch: function.epoch(),
            users: [0; MAX_PAIRS as usize],
            pairs: 1,
            promiscuous: None,
            all_multicast: None,
            mac: None,
            vlans: KVec::from_elem(0, 4096 / 64, GFP_KERNEL)?,
        };
        Arc::pin_init(
            try_pin_init!(Self {
                function,
                properties,
                readers,
                settings <- new_mutex!(settings),
            }),
            GFP_KERNEL,
        )
    }

    /// The address that the interface has.
    pub(crate) fn mac(&self) -> Result<[u8; MAC_LEN]> {
        let set = self.settings.lock().mac;
        set.or(self.properties.mac).ok_or(EOPNOTSUPP)
    }

    pub(crate) fn mtu(&self) -> u16 {
        self.properties.mtu
    }

    /// Whether the link is up; one that does not tell is.
    pub(crate) fn read_link(&self) -> Result<bool> {
        if !self.function.has(bits::STATUS) {
            return Ok(true);
        }
        let transport = self.function.link().transport();
        let status = transport.read_config(|config| config.read16(config::STATUS))?;
        Ok(status & LINK_UP != 0)
    }

    /// Notices that the device was given up or reset, and tells it again what it was told.
    fn refresh(&self) -> Result {
        self.function.revive()?;
        let epoch = self.function.epoch();
        let mut settings = self.settings.lock();
        if settings.epoch == epoch {
            return Ok(());
        }
        if settings.pairs != 1 {
            self.command(command::VQ_PAIRS_SET, &settings.pairs.to_le_bytes())?;
        }
        if let Some(on) = settings.promiscuous {
            self.command(command::PROMISC, &[on.into()])?;
        }
        if let Some(on) = settings.all_multicast {
            self.command(command::ALLMULTI, &[on.into()])?;
        }
        if let Some(mac) = settings.mac {
            self.command(command::MAC_ADDR_SET, &mac)?;
        }
        for id in 0..4096u16 {
            let word = settings.vlans.get(usize::from(id / 64));
            if word.is_some_and(|word| word >> (id % 64) & 1 != 0) {
                self.command(command::VLAN_ADD, &id.to_le_bytes())?;
            }
        }
        settings.epoch = epoch;
        Ok(())
    }

    /// Carries out a command. The caller holds the settings, so there is one at a time.
    fn command(&self, command: [u8; 2], data: &[u8]) -> Result {
        if !self.properties.has_commands {
            return Err(EOPNOTSUPP);
        }
        let index = 2 * self.properties.pairs;
        let queue = self.function.queue(index)?;
        let link = self.function.link();
        let slot = self.take(index, false)?;
        let run = || {
            queue.write(slot, 0, &command)?;
            queue.write(slot, 2, data)?;
            queue.write(slot, COMMAND_ACK, &[ACK_NONE])?;
            let parts = Parts::new()
                .readable(0, 2)
                .readable(2, data.len())
                .writable(COMMAND_ACK, 1);
            queue.submit(link, [(slot, parts)]);
            let written = self
                .function
                .wait(index, Patience::Bounded, |ring| ring.result(slot))??;
            let mut ack = [0];
            queue.read(slot, COMMAND_ACK, &mut ack)?;
            if written == 1 && ack == [ACK_OK] {
                Ok(())
            } else {
                Err(EIO)
            }
        };
        let result = run();
        queue.release(link, &[slot]);
        result
    }

    /// Takes a free slot.
    fn take(&self, index: u16, nonblock: bool) -> Result<u16> {
        let take = |ring: &mut Ring| {
            let mut slot = [0];
            (ring.take(&mut slot) == 1).then_some(slot[0])
        };
        if nonblock {
            self.function.poll(index, take)?.ok_or(EAGAIN)
        } else {
            self.function.wait(index, Patience::Bounded, take)
        }
    }

    /// Carries out a command for a feature, and remembers it.
    fn set(
        &self,
        bit: u32,
        command: [u8; 2],
        data: &[u8],
        remember: impl FnOnce(&mut Settings),
    ) -> Result {
        if !self.function.has(bit) {
            return Err(EOPNOTSUPP);
        }
        self.refresh()?;
        let mut settings = self.settings.lock();
        self.command(command, data)?;
        remember(&mut settings);
        Ok(())
    }

    /// Lets packets to any address in, or not.
    pub(crate) fn set_promiscuous(&self, on: bool) -> Result {
        self.set(bits::CTRL_RX, command::PROMISC, &[on.into()], |settings| {
            settings.promiscuous = Some(on);
        })
    }

    /// Lets packets to any group in, or not.
    pub(crate) fn set_all_multicast(&self, on: bool) -> Result {
        self.set(bits::CTRL_RX, command::ALLMULTI, &[on.into()], |settings| {
            settings.all_multicast = Some(on);
        })
    }

    /// Gives the interface another address. `EADDRNOTAVAIL` for one of a group, or zero.
    pub(crate) fn set_mac(&self, mac: [u8; MAC_LEN]) -> Result {
        if mac[0] & 1 != 0 || mac == [0; MAC_LEN] {
            return Err(EADDRNOTAVAIL);
        }
        let command = command::MAC_ADDR_SET;
        self.set(bits::CTRL_MAC_ADDR, command, &mac, |settings| {
            settings.mac = Some(mac);
        })
    }

    /// Lets packets of a VLAN in, or not any more.
    pub(crate) fn set_vlan(&self, id: u16, on: bool) -> Result {
        if id >= 4096 {
            return Err(EINVAL);
        }
        let command = if on {
            command::VLAN_ADD
        } else {
            command::VLAN_DEL
        };
        self.set(bits::CTRL_VLAN, command, &id.to_le_bytes(), |settings| {
            if let Some(word) = settings.vlans.get_mut(usize::from(id / 64)) {
                *word = *word & !(1 << (id % 64)) | u64::from(on) << (id % 64);
            }
        })
    }

    /// A pair of queues was opened, or closed: the device uses as many as it takes for the last that is open.
    pub(crate) fn use_pair(&self, pair: u16, opened: bool) -> Result {
        self.refresh()?;
        let mut settings = self.settings.lock();
        let users = settings.users.get_mut(usize::from(pair)).ok_or(ENXIO)?;
        *users = if opened {
            *users + 1
        } else {
            users.saturating_sub(1)
        };
        let last = settings.users.iter().rposition(|users| *users != 0);
        let pairs = last.map_or(1, |last| last as u16 + 1);
        if pairs != settings.pairs {
            let result = self.command(command::VQ_PAIRS_SET, &pairs.to_le_bytes());
            if result.is_err() && opened {
                settings.users[usize::from(pair)] -= 1;
            }
            result?;
            settings.pairs = pairs;
        }
        Ok(())
    }

    /// Sends a packet: a whole one, with its Ethernet header. It is on its way when this returns.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no packet, `EMSGSIZE` if it is too long, `EAGAIN` if there is no room and the caller does not wait.
    pub(crate) fn send(
        &self,
        pair: u16,
        nonblock: bool,
        iov: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let len = iov.len();
        if len < ETHERNET {
            return Err(EINVAL);
        }
        if len > self.properties.longest() {
            return Err(EMSGSIZE);
        }
        self.refresh()?;
        let index = 2 * pair + 1;
        let queue = self.function.queue(index)?;
        let link = self.function.link();
        let slot = self.take(index, nonblock)?;
        let mut fill = || {
            // Nothing is left to the device, so the header says nothing.
            queue.write(slot, 0, &[0; HEADER_SIZE])?;
            match queue.write_from(slot, HEADER_SIZE, len, iov)? {
                got if got < len => Err(EFAULT),
                _ => Ok(()),
            }
        };
        let result = fill();
        if result.is_ok() {
            let parts = Parts::new().readable(0, HEADER_SIZE + len);
            queue.submit(link, [(slot, parts)]);
        }
        // The slot is free when the device has sent the packet.
        queue.release(link, &[slot]);
        result.map(|()| len)
    }

    /// Receives one packet, and waits for it if there is none. What has no room in the user's buffer is lost.
    pub(crate) fn receive(
        &self,
        pair: u16,
        nonblock: bool,
        iov: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let readers = self.readers.get(usize::from(pair)).ok_or(ENXIO)?;
        let mut reader = readers.reader.lock();
        let mut packet = loop {
            match reader.packet.take() {
                Some(packet) => break packet,
                None if nonblock => return Err(EAGAIN),
                None => {
                    if readers.free.wait_interruptible(&mut reader) {
                        return Err(EINTR);
                    }
                }
            }
        };
        drop(reader);
        let result = self.next_packet(2 * pair, nonblock, &mut packet);
        let result = result.and_then(|()| {
            let wanted = packet.len().min(iov.len());
            match iov.copy_to_iter(&packet[..wanted]) {
                copied if copied < wanted => Err(EFAULT),
                copied => Ok(copied),
            }
        });
        readers.reader.lock().packet = Some(packet);
        readers.free.notify_one();
        result
    }

    fn next_packet(&self, index: u16, nonblock: bool, packet: &mut KVec<u8>) -> Result {
        let queue = self.function.queue(index)?;
        loop {
            self.refresh()?;
            let first = if nonblock {
                self.function
                    .poll(index, |ring| ring.receive())?
                    .ok_or(EAGAIN)?
            } else {
                self.function
                    .wait(index, Patience::Unbounded, |ring| ring.receive())?
            };
            match self.gather(index, queue, first, packet) {
                // A packet that cannot be one is dropped, as on any wire.
                Err(error) if error == EIO => {}
                result => return result,
            }
        }
    }

    /// Puts a packet together from its buffers, the first of which came.
    fn gather(
        &self,
        index: u16,
        queue: &Requests,
        first: (u16, u32),
        packet: &mut KVec<u8>,
    ) -> Result {
        packet.clear();
        let mut bytes = [0; HEADER_SIZE];
        let (slot, len) = first;
        queue.read(slot, 0, &mut bytes)?;
        let header = Header::parse(&bytes, self.function.has(bits::GUEST_CSUM));
        let mut result = self.append(queue, slot, HEADER_SIZE, len, packet);
        if (len as usize) < HEADER_SIZE {
            return Err(EIO);
        }
        if self.properties.merges {
            // All of them came before the first could be seen (§5.1.6.4).
            for _ in 1..header.buffers {
                let (slot, len) = self
                    .function
                    .poll(index, |ring| ring.receive())?
                    .ok_or(EIO)?;
                result = result.and(self.append(queue, slot, 0, len, packet));
            }
            if header.buffers == 0 {
                return Err(EIO);
            }
        }
        result?;
        if packet.len() < ETHERNET {
            return Err(EIO);
        }
        header.complete(packet)
    }

    /// Appends what a buffer holds from `start` on, and gives the buffer back to the device.
    fn append(
        &self,
        queue: &Requests,
        slot: u16,
        start: usize,
        len: u32,
        packet: &mut KVec<u8>,
    ) -> Result {
        let len = (len as usize).min(self.properties.rx_size());
        let more = len.saturating_sub(start);
        let old = packet.len();
        let fits = old + more <= packet.capacity();
        let result = if fits {
            // There is room, so nothing is allocated.
            packet.extend_with(more, 0, GFP_KERNEL)?;
            queue.read(slot, start, &mut packet[old..])
        } else {
            Err(EIO)
        };
        queue.post(self.function.link(), slot, self.properties.rx_size());
        result
    }
}
