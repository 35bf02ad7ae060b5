//! The network device (virtio 1.4 §5.1).
//!
//! Packets stand in the queues behind a header that says what is still to be done to them: the sum of a checksum, the cutting into
//! segments. What one driver leaves undone travels with the frame to the next one, if that one said that it takes such frames, and is
//! done here if not. Receive buffers that are not there make frames wait, and when too many wait, new ones are lost.

mod backend;
mod checksum;
mod control;
mod filter;
mod frame;
mod header;
mod pcapng;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bringup_core::{Nanos, Waker};
use bringup_spec::virtio::net::{config, ctrl, feature, link};
use bringup_spec::virtio::{device_type, ring};

pub use backend::{CableEnd, Cables, Loopback, NetBackend, NoPeer};
pub use filter::Mac;
pub use frame::{Frame, Gso, LONGEST, Offload};
pub use pcapng::{PacketWriter, PcapError, Recorded, Replayed, read_packets};

use self::filter::Filter;
use self::header::has;
use super::device::{Host, KICK_NS, VirtioDevice};
use super::queue::Chain;

/// How many packets a quantum carries each way.
const QUANTUM: usize = 64;
/// How many frames wait for receive buffers.
const MOST_WAITING: usize = 256;

/// The receive offloads that can be switched while the driver runs.
const GUEST_OFFLOADS: u128 = 1 << feature::GUEST_CSUM
    | 1 << feature::GUEST_TSO4
    | 1 << feature::GUEST_TSO6
    | 1 << feature::GUEST_ECN
    | 1 << feature::GUEST_USO4
    | 1 << feature::GUEST_USO6;

/// All that the device can offer.
const ABLE: u128 = GUEST_OFFLOADS
    | 1 << feature::CSUM
    | 1 << feature::CTRL_GUEST_OFFLOADS
    | 1 << feature::MTU
    | 1 << feature::MAC
    | 1 << feature::HOST_TSO4
    | 1 << feature::HOST_TSO6
    | 1 << feature::HOST_ECN
    | 1 << feature::MRG_RXBUF
    | 1 << feature::STATUS
    | 1 << feature::CTRL_VQ
    | 1 << feature::CTRL_RX
    | 1 << feature::CTRL_VLAN
    | 1 << feature::CTRL_RX_EXTRA
    | 1 << feature::GUEST_ANNOUNCE
    | 1 << feature::MQ
    | 1 << feature::CTRL_MAC_ADDR
    | 1 << feature::HOST_USO
    | 1 << feature::SPEED_DUPLEX;

/// A feature, and those of which it needs one (§5.1.3.1).
const NEEDS: &[(u32, &[u32])] = &[
    (feature::GUEST_TSO4, &[feature::GUEST_CSUM]),
    (feature::GUEST_TSO6, &[feature::GUEST_CSUM]),
    (feature::GUEST_ECN, &[feature::GUEST_TSO4, feature::GUEST_TSO6]),
    (feature::GUEST_USO4, &[feature::GUEST_CSUM]),
    (feature::GUEST_USO6, &[feature::GUEST_CSUM]),
    (feature::HOST_TSO4, &[feature::CSUM]),
    (feature::HOST_TSO6, &[feature::CSUM]),
    (feature::HOST_ECN, &[feature::HOST_TSO4, feature::HOST_TSO6]),
    (feature::HOST_USO, &[feature::CSUM]),
    (feature::CTRL_RX, &[feature::CTRL_VQ]),
    (feature::CTRL_VLAN, &[feature::CTRL_VQ]),
    (feature::CTRL_RX_EXTRA, &[feature::CTRL_VQ]),
    (feature::GUEST_ANNOUNCE, &[feature::CTRL_VQ]),
    (feature::MQ, &[feature::CTRL_VQ]),
    (feature::CTRL_MAC_ADDR, &[feature::CTRL_VQ]),
    (feature::CTRL_GUEST_OFFLOADS, &[feature::CTRL_VQ]),
];

/// What a network device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetOptions {
    /// Its address.
    pub mac: Mac,
    /// Feature bits that it is to offer. Those that it is not able to, or that need others, are left out.
    pub features: u128,
    /// How many pairs of queues there are, 1 to 64.
    pub pairs: u16,
    /// The size of each queue, a power of two.
    pub queue_size: u16,
    /// The longest IP packet, 68 to 65535; told only if the feature is offered.
    pub mtu: u16,
    /// In megabits a second; not known if all ones.
    pub speed: u32,
    /// 1 for full duplex, 0 for half, 0xff if not known.
    pub duplex: u8,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            mac: [0x52, 0x54, 0x00, 0x12, 0x34, 0x56],
            features: ABLE & !(1 << feature::MTU | 1 << feature::MQ | 1 << feature::SPEED_DUPLEX),
            pairs: 1,
            queue_size: 256,
            mtu: 1500,
            speed: u32::MAX,
            duplex: 0xff,
        }
    }
}

/// A network device.
#[derive(Debug)]
pub struct Net {
    backend: Box<dyn NetBackend>,
    options: NetOptions,
    cord: Cord,
    mac: Mac,
    negotiated: u128,
    /// The receive offloads that hold now.
    offloads: u128,
    filter: Filter,
    /// How many pairs are used.
    pairs: u16,
    announcing: bool,
    /// What the driver was last told of the link.
    link_was_up: bool,
    /// Frames that wait for buffers.
    waiting: VecDeque<Frame>,
    next_tx: u16,
}

/// A hand on a network device's cord, for tests and scenarios: pulls it and plugs it in, and asks the driver to announce itself.
/// What it does is seen when the device works next, which it makes it do.
#[derive(Clone, Debug, Default)]
pub struct Cord(Arc<Mutex<CordState>>);

#[derive(Debug, Default)]
struct CordState {
    pulled: bool,
    announce: bool,
    waker: Option<Waker>,
}

impl Cord {
    /// Plugs it in or pulls it.
    pub fn plug(&self, plugged: bool) {
        self.change(|state| state.pulled = !plugged);
    }

    /// Asks the driver to announce itself (§5.1.9.5.4).
    pub fn announce(&self) {
        self.change(|state| state.announce = true);
    }

    fn change(&self, change: impl FnOnce(&mut CordState)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(waker) = &state.waker {
            waker.wake();
        }
    }
}

impl Net {
    /// A device on a back-end.
    #[must_use]
    pub fn new(backend: impl NetBackend + 'static, options: NetOptions) -> Self {
        Self::from_box(Box::new(backend), options)
    }

    /// As [`new`](Self::new), for a back-end whose type is not known here.
    #[must_use]
    pub fn from_box(backend: Box<dyn NetBackend>, options: NetOptions) -> Self {
        let pairs = options.pairs.clamp(1, 64);
        let mut features = options.features & ABLE;
        // What needs something that is not there goes, and what needs that, too: the table has no longer chains.
        for _ in 0..3 {
            features = closed(features);
        }
        if pairs < 2 {
            features &= !(1 << feature::MQ);
        }
        Self {
            backend,
            cord: Cord::default(),
            mac: options.mac,
            negotiated: 0,
            offloads: 0,
            filter: Filter::new(false),
            pairs: 1,
            announcing: false,
            link_was_up: true,
            waiting: VecDeque::new(),
            next_tx: 0,
            options: NetOptions { features, pairs, mtu: options.mtu.max(68), ..options },
        }
    }

    /// A hand on its cord.
    #[must_use]
    pub fn cord(&self) -> Cord {
        self.cord.clone()
    }

    fn negotiated(&self, bit: u32) -> bool {
        has(self.negotiated, bit)
    }

    fn link_is_up(&self) -> bool {
        self.backend.link_is_up() && !self.cord.0.lock().unwrap_or_else(PoisonError::into_inner).pulled
    }

    /// The control queue follows all pairs that there could be (§5.1.2).
    fn control_queue(&self) -> u16 {
        if self.negotiated(feature::MQ) { 2 * self.options.pairs } else { 2 }
    }

    /// How many pairs there are for the driver.
    fn known_pairs(&self) -> u16 {
        if self.negotiated(feature::MQ) { self.options.pairs } else { 1 }
    }

    fn config_bytes(&self) -> [u8; config::LEN as usize] {
        let mut bytes = [0; config::LEN as usize];
        let mut put = |at: u32, value: &[u8]| bytes[at as usize..][..value.len()].copy_from_slice(value);
        let up = if self.link_is_up() { link::UP } else { 0 };
        let announce = if self.announcing { link::ANNOUNCE } else { 0 };
        put(config::MAC, &self.mac);
        put(config::STATUS, &(up | announce).to_le_bytes());
        put(config::MAX_VIRTQUEUE_PAIRS, &self.options.pairs.to_le_bytes());
        put(config::MTU, &self.options.mtu.to_le_bytes());
        put(config::SPEED, &self.options.speed.to_le_bytes());
        put(config::DUPLEX, &[self.options.duplex]);
        bytes
    }

    // --- From the driver -----------------------------------------------------------------------------------------

    /// Sends the next packet of a queue; `false` if there is none.
    fn send(&mut self, host: &mut Host<'_, '_>, pair: u16, now: Nanos, link: bool) -> bool {
        let queue = 2 * pair + 1;
        let Some(chain) = host.pop(queue) else { return false };
        if let Some(frame) = self.take_frame(host, &chain, pair)
            && link
        {
            host.trace_packets(true, || on_the_wire(&frame));
            self.backend.send(now, frame);
        }
        host.push(queue, chain, 0);
        true
    }

    /// The frame in a chain; `None` if there is none in it that could be sent.
    fn take_frame(&self, host: &mut Host<'_, '_>, chain: &Chain, pair: u16) -> Option<Frame> {
        let len = usize::try_from(chain.readable_len()).ok()?.checked_sub(header::LEN)?;
        if !(14..=LONGEST).contains(&len) {
            return None;
        }
        let mut head = [0; header::LEN];
        host.read(chain, 0, &mut head).ok().filter(|got| *got == head.len())?;
        let offload = header::parse(head, len, self.negotiated)?;
        let mut bytes = vec![0; len];
        host.read(chain, header::LEN as u64, &mut bytes).ok().filter(|got| *got == len)?;
        Some(Frame { bytes, offload, flow: u32::from(pair) })
    }

    // --- To the driver -------------------------------------------------------------------------------------------

    /// Takes what has arrived, as far as it is wanted, in the form in which the driver takes it.
    fn take_arrived(&mut self, now: Nanos, link: bool) {
        for _ in 0..QUANTUM {
            if self.waiting.len() >= MOST_WAITING {
                return;
            }
            let Some(frame) = self.backend.receive(now) else { return };
            if !link || !self.filter.admits(&frame.bytes, self.mac) {
                continue;
            }
            let frames = if header::is_taken(&frame.offload, self.offloads) { vec![frame] } else { frame.finish() };
            let most = usize::from(self.options.mtu) + 14;
            for frame in frames {
                let tagged = frame.bytes.get(12..14) == Some(&[0x81, 0x00]);
                let fits = frame.offload.segments.is_some() || frame.bytes.len() <= most + 4 * usize::from(tagged);
                if fits || !self.negotiated(feature::MTU) {
                    self.waiting.push_back(frame);
                }
            }
        }
    }

    /// Hands the oldest frame to the driver; `false` if it has to wait for buffers.
    fn deliver(&mut self, host: &mut Host<'_, '_>) -> bool {
        let Some(frame) = self.waiting.pop_front() else { return false };
        let queue = 2 * (frame.flow % u32::from(self.pairs)) as u16;
        let needed = (header::LEN + frame.bytes.len()) as u64;
        let mut chains: Vec<Chain> = Vec::new();
        let mut room = 0;
        while room < needed {
            let Some(chain) = host.pop(queue) else {
                // If these are all that the ring can hold, there is nothing to wait for.
                let full = chains.iter().map(|chain| chain.elements().len()).sum::<usize>() >= host.queue_size(queue);
                // Latest first, as they were taken.
                chains.into_iter().rev().for_each(|chain| host.unpop(queue, chain));
                if !full {
                    self.waiting.push_front(frame);
                }
                return full;
            };
            room += chain.writable_len();
            chains.push(chain);
            if !self.negotiated(feature::MRG_RXBUF) {
                break;
            }
        }
        if room < needed {
            // The driver's buffers are too small for it: it is lost, and the buffer stays for the next one.
            chains.into_iter().rev().for_each(|chain| host.unpop(queue, chain));
            return true;
        }
        let head = header::build(&frame, self.offloads, chains.len() as u16);
        let bytes = [&head[..], &frame.bytes].concat();
        let mut rest = &bytes[..];
        let mut given = Vec::with_capacity(chains.len());
        for chain in chains {
            let (piece, after) = rest.split_at(rest.len().min(chain.writable_len() as usize));
            let written = host.write(&chain, 0, piece).unwrap_or(0);
            given.push((chain, written as u32));
            rest = after;
        }
        host.trace_packets(false, || on_the_wire(&frame));
        host.push_all(queue, given);
        true
    }

    /// Sees what was done to the cord and the link.
    fn look_at_link(&mut self, host: &mut Host<'_, '_>) -> bool {
        let up = self.link_is_up();
        let announce = {
            let mut state = self.cord.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut state.announce)
        };
        if self.negotiated(feature::STATUS) && up != self.link_was_up {
            host.config_changed();
        }
        self.link_was_up = up;
        if announce && self.negotiated(feature::GUEST_ANNOUNCE) {
            self.announcing = true;
            host.config_changed();
        }
        up
    }
}

/// The frames that a wire carries for this one.
fn on_the_wire(frame: &Frame) -> Vec<Vec<u8>> {
    frame.clone().finish().into_iter().map(|whole| whole.bytes).collect()
}

/// The features of a set whose needs are in it.
fn closed(features: u128) -> u128 {
    let lacking = NEEDS.iter().filter(|(_, needs)| !needs.iter().any(|need| has(features, *need)));
    lacking.fold(features, |features, (bit, _)| features & !(1 << bit))
}

impl VirtioDevice for Net {
    fn device_type(&self) -> u16 {
        device_type::NETWORK
    }

    fn features(&self) -> u128 {
        self.options.features
    }

    fn accepts(&self, features: u128) -> bool {
        closed(features) == features
    }

    fn queues(&self) -> Vec<u16> {
        let size = self.options.queue_size.clamp(1, ring::MAX_SIZE);
        let control = usize::from(has(self.options.features, feature::CTRL_VQ));
        vec![size; 2 * usize::from(self.options.pairs) + control]
    }

    fn config_len(&self) -> usize {
        config::LEN as usize
    }

    fn read_config(&self, offset: usize, into: &mut [u8]) {
        let bytes = self.config_bytes();
        for (index, to) in into.iter_mut().enumerate() {
            *to = bytes.get(offset + index).copied().unwrap_or(0);
        }
    }

    fn start(&mut self, host: &mut Host<'_, '_>, features: u128) {
        self.negotiated = features;
        self.offloads = features & GUEST_OFFLOADS;
        self.filter = Filter::new(has(features, feature::CTRL_VLAN));
        self.pairs = ctrl::MQ_VQ_PAIRS_MIN;
        let waker = host.waker();
        self.backend.attach(host.now(), waker.clone());
        self.cord.0.lock().unwrap_or_else(PoisonError::into_inner).waker = Some(waker);
        self.link_was_up = self.link_is_up();
        // What arrives by itself has its time.
        host.wake_in(KICK_NS);
    }

    fn work(&mut self, host: &mut Host<'_, '_>) {
        let now = host.now();
        let up = self.look_at_link(host);
        let mut more = false;
        if self.negotiated(feature::CTRL_VQ) {
            let queue = self.control_queue();
            more |= (0..QUANTUM).take_while(|_| self.command(host, queue)).count() == QUANTUM;
        }
        let (pairs, mut idle, mut sent) = (self.known_pairs(), 0, 0);
        while idle < pairs && sent < QUANTUM {
            let pair = self.next_tx % pairs;
            self.next_tx = pair + 1;
            if self.send(host, pair, now, up) {
                (idle, sent) = (0, sent + 1);
            } else {
                idle += 1;
            }
        }
        more |= sent == QUANTUM;
        self.take_arrived(now, up);
        let delivered = (0..QUANTUM).take_while(|_| self.deliver(host)).count();
        more |= delivered == QUANTUM;
        if more {
            host.wake_in(KICK_NS);
        }
        // Frames that wait for buffers wait for a kick; others for their time.
        if self.waiting.len() < MOST_WAITING
            && let Some(at) = self.backend.next_at()
        {
            host.wake_in(at.saturating_sub(now).max(1));
        }
    }

    fn reset(&mut self) {
        self.mac = self.options.mac;
        self.negotiated = 0;
        self.offloads = 0;
        self.filter = Filter::new(false);
        self.pairs = ctrl::MQ_VQ_PAIRS_MIN;
        self.announcing = false;
        self.waiting.clear();
        self.next_tx = 0;
    }
}
