//! The console device (virtio 1.4 §5.3): one port, or with MULTIPORT several that are talked about on two control queues.
//!
//! Each port is on its own: what the driver sends goes to the port's back-end, and waits in the queue while that has no room; what
//! the back-end has waits there until the driver gave buffers. The life of a port with MULTIPORT: told of (DEVICE_ADD), ready
//! (PORT_READY), open for the driver (PORT_OPEN), and perhaps gone (DEVICE_REMOVE).

mod backend;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bringup_core::Waker;
use bringup_spec::virtio::console::{config, control, feature, queue};
use bringup_spec::virtio::{device_type, ring};

pub use backend::{Echo, Files, NoTerminal, PortBackend, Terminal};

use super::device::{Host, KICK_NS, VirtioDevice};
use super::queue::Chain;

/// How many chains of a port, or control messages, a quantum carries each way.
const QUANTUM: usize = 32;
/// What is moved at once, in bytes.
const PIECE: usize = 4 << 10;
/// How many control messages wait for the driver; while there are so many, it is not listened to.
const MOST_WAITING: usize = 128;
/// The most ports.
const MOST_PORTS: usize = 31;

/// A port.
#[derive(Debug)]
pub struct ConsolePort {
    /// The name that the driver is told; none if empty.
    pub name: String,
    /// It is a console: a terminal, open from the start.
    pub is_console: bool,
    /// The other end.
    pub backend: Box<dyn PortBackend>,
}

/// What a console device is like.
#[derive(Debug)]
pub struct ConsoleOptions {
    /// Its ports, 1 to 31. Those after the first can be reached only with MULTIPORT.
    pub ports: Vec<ConsolePort>,
    /// MULTIPORT is offered.
    pub multiport: bool,
    /// SIZE is offered, and how many columns and rows there are.
    pub size: Option<(u16, u16)>,
    /// EMERG_WRITE is offered.
    pub emergency_write: bool,
    /// The size of each queue, a power of two.
    pub queue_size: u16,
}

/// A console device.
#[derive(Debug)]
pub struct Console {
    options: ConsoleOptions,
    ports: Vec<PortState>,
    negotiated: u128,
    hand: ConsoleHand,
    size: (u16, u16),
    /// The driver said that it is ready for messages.
    driver_ready: bool,
    /// Control messages that wait for buffers.
    messages: VecDeque<Vec<u8>>,
}

/// What the driver knows of a port, and what is under way.
#[derive(Debug, Default)]
struct PortState {
    ready: bool,
    open: bool,
    removed: bool,
    /// A chain from the driver, and how much of it was taken.
    partial: Option<(Chain, u64)>,
}

/// A hand on a console from outside, for tests and scenarios. What it does is seen when the device works next, which it makes it do.
#[derive(Clone, Debug, Default)]
pub struct ConsoleHand(Arc<Mutex<HandState>>);

#[derive(Debug, Default)]
struct HandState {
    size: Option<(u16, u16)>,
    removed: Vec<usize>,
    waker: Option<Waker>,
}

impl ConsoleHand {
    /// Gives the terminal another size, in columns and rows (§5.3.6.2).
    pub fn resize(&self, columns: u16, rows: u16) {
        self.change(|state| state.size = Some((columns, rows)));
    }

    /// Takes a port away (§5.3.6.2). It does not come back before the device is reset.
    pub fn remove(&self, port: usize) {
        self.change(|state| state.removed.push(port));
    }

    fn change(&self, change: impl FnOnce(&mut HandState)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(waker) = &state.waker {
            waker.wake();
        }
    }
}

fn message(port: usize, event: u16, value: u16, more: &[u8]) -> Vec<u8> {
    [&(port as u32).to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes(), more].concat()
}

impl Console {
    /// A device with these ports; without any it has one that leads nowhere.
    #[must_use]
    pub fn new(mut options: ConsoleOptions) -> Self {
        options.ports.truncate(MOST_PORTS);
        if options.ports.is_empty() {
            options.ports.push(ConsolePort { name: String::new(), is_console: true, backend: Box::new(NoTerminal) });
        }
        let mut console = Self {
            ports: Vec::new(),
            negotiated: 0,
            hand: ConsoleHand::default(),
            size: options.size.unwrap_or((80, 25)),
            driver_ready: false,
            messages: VecDeque::new(),
            options,
        };
        console.forget();
        console
    }

    /// A device with one port, and no more than that.
    #[must_use]
    pub fn single(backend: impl PortBackend + 'static) -> Self {
        let port = ConsolePort { name: String::new(), is_console: true, backend: Box::new(backend) };
        Self::new(ConsoleOptions {
            ports: vec![port],
            multiport: false,
            size: Some((80, 25)),
            emergency_write: true,
            queue_size: 64,
        })
    }

    /// A hand on it.
    #[must_use]
    pub fn hand(&self) -> ConsoleHand {
        self.hand.clone()
    }

    fn forget(&mut self) {
        self.ports = self.options.ports.iter().map(|_| PortState::default()).collect();
        self.driver_ready = false;
        self.messages.clear();
    }

    fn has(&self, bit: u32) -> bool {
        self.negotiated >> bit & 1 != 0
    }

    /// How many ports the driver can know of.
    fn reachable(&self) -> usize {
        if self.has(feature::MULTIPORT) { self.ports.len() } else { 1 }
    }

    /// The queues of a port: to the driver and from it.
    fn queues_of(port: usize) -> (u16, u16) {
        match port {
            0 => (queue::RX0, queue::TX0),
            _ => (queue::RX1 + 2 * (port as u16 - 1), queue::RX1 + 2 * (port as u16 - 1) + 1),
        }
    }

    // --- Data ----------------------------------------------------------------------------------------------------

    /// Moves what the driver sent to a port's back-end. Gives whether there may be more at once, and whether any went.
    fn output(&mut self, host: &mut Host<'_, '_>, index: usize) -> (bool, bool) {
        let (_, tx) = Self::queues_of(index);
        let (Some(port), Some(state)) = (self.options.ports.get_mut(index), self.ports.get_mut(index)) else {
            return (false, false);
        };
        let mut moved = false;
        for _ in 0..QUANTUM {
            let Some((chain, mut done)) = state.partial.take().or_else(|| host.pop(tx).map(|chain| (chain, 0))) else {
                return (false, moved);
            };
            let mut bytes = [0; PIECE];
            // What cannot be read is not there; the chain is given back all the same.
            let got = host.read(&chain, done, &mut bytes).unwrap_or(0);
            let sent = bytes.get(..got).unwrap_or_default();
            let taken = if state.removed { got } else { port.backend.write(host.now(), sent).min(got) };
            done += taken as u64;
            moved |= taken > 0;
            if got == 0 || done >= chain.readable_len() {
                host.push(tx, chain, 0);
            } else {
                state.partial = Some((chain, done));
                if taken < got {
                    return (false, moved);
                }
            }
        }
        (true, moved)
    }

    /// Moves what a port's back-end has to the driver, as far as that gave buffers. Gives whether there may be more at once, and
    /// whether any went.
    fn input(&mut self, host: &mut Host<'_, '_>, index: usize) -> (bool, bool) {
        let (rx, _) = Self::queues_of(index);
        let multiport = self.has(feature::MULTIPORT);
        let (Some(port), Some(state)) = (self.options.ports.get_mut(index), self.ports.get(index)) else {
            return (false, false);
        };
        // With control messages the driver says when it listens.
        if state.removed || (multiport && !(state.ready && (state.open || port.is_console))) {
            return (false, false);
        }
        let mut moved = false;
        for _ in 0..QUANTUM {
            let Some(chain) = host.pop(rx) else { return (false, moved) };
            let mut bytes = [0; PIECE];
            let room = chain.writable_len().min(PIECE as u64) as usize;
            let got = bytes.get_mut(..room).map_or(0, |room| port.backend.read(host.now(), room)).min(room);
            if got == 0 && room != 0 {
                host.unpop(rx, chain);
                return (false, moved);
            }
            let written = host.write(&chain, 0, bytes.get(..got).unwrap_or_default()).unwrap_or(0);
            host.push(rx, chain, written as u32);
            moved |= written > 0;
        }
        (true, moved)
    }

    // --- Control -------------------------------------------------------------------------------------------------

    /// Listens to the driver and talks to it.
    fn converse(&mut self, host: &mut Host<'_, '_>) -> bool {
        let mut more = false;
        for turn in 0..=QUANTUM {
            if self.messages.len() >= MOST_WAITING {
                break;
            }
            let Some(chain) = host.pop(queue::CONTROL_TX) else { break };
            let mut bytes = [0; control::SIZE as usize];
            if let Ok(got) = host.read(&chain, 0, &mut bytes)
                && got == bytes.len()
            {
                self.listen(bytes);
            }
            host.push(queue::CONTROL_TX, chain, 0);
            more = turn == QUANTUM;
        }
        while let Some(message) = self.messages.pop_front() {
            let Some(chain) = host.pop(queue::CONTROL_RX) else {
                self.messages.push_front(message);
                break;
            };
            let written = host.write(&chain, 0, &message).unwrap_or(0);
            host.push(queue::CONTROL_RX, chain, written as u32);
        }
        more
    }

    fn listen(&mut self, bytes: [u8; control::SIZE as usize]) {
        let [p0, p1, p2, p3, e0, e1, v0, v1] = bytes;
        let index = u32::from_le_bytes([p0, p1, p2, p3]) as usize;
        let (event, value) = (u16::from_le_bytes([e0, e1]), u16::from_le_bytes([v0, v1]));
        if event == control::DEVICE_READY {
            if value == 1 && !self.driver_ready {
                self.driver_ready = true;
                let ports = (0..self.ports.len()).filter(|index| self.ports.get(*index).is_some_and(|p| !p.removed));
                let added: Vec<Vec<u8>> = ports.map(|index| message(index, control::DEVICE_ADD, 1, &[])).collect();
                self.messages.extend(added);
            }
            return;
        }
        let sized = self.has(feature::SIZE);
        let (Some(port), Some(state)) = (self.options.ports.get(index), self.ports.get_mut(index)) else { return };
        if state.removed {
            return;
        }
        match event {
            control::PORT_READY if value == 1 => {
                state.ready = true;
                if port.is_console {
                    self.messages.push_back(message(index, control::CONSOLE_PORT, 1, &[]));
                }
                if port.is_console && sized {
                    self.messages.push_back(resized(index, self.size));
                }
                if !port.name.is_empty() {
                    self.messages.push_back(message(index, control::PORT_NAME, 1, port.name.as_bytes()));
                }
                self.messages.push_back(message(index, control::PORT_OPEN, 1, &[]));
            }
            control::PORT_OPEN => state.open = value != 0,
            _ => {}
        }
    }

    /// Sees what was done to it from outside.
    fn look_at_hand(&mut self, host: &mut Host<'_, '_>) {
        let (size, removed) = {
            let mut state = self.hand.0.lock().unwrap_or_else(PoisonError::into_inner);
            (state.size.take(), std::mem::take(&mut state.removed))
        };
        let multiport = self.has(feature::MULTIPORT);
        if let Some(size) = size {
            self.size = size;
            if self.has(feature::SIZE) {
                host.config_changed();
            }
            let consoles = (0..self.ports.len()).filter(|index| {
                let (port, state) = (self.options.ports.get(*index), self.ports.get(*index));
                port.is_some_and(|port| port.is_console) && state.is_some_and(|state| state.ready && !state.removed)
            });
            let messages: Vec<Vec<u8>> = consoles.map(|index| resized(index, size)).collect();
            if multiport && self.has(feature::SIZE) {
                self.messages.extend(messages);
            }
        }
        for index in removed {
            if let Some(state) = self.ports.get_mut(index).filter(|state| !state.removed && multiport) {
                state.removed = true;
                if self.driver_ready {
                    self.messages.push_back(message(index, control::DEVICE_REMOVE, 1, &[]));
                }
            }
        }
    }
}

/// The message that a console has another size (§5.3.6.2).
fn resized(port: usize, (columns, rows): (u16, u16)) -> Vec<u8> {
    message(port, control::RESIZE, 1, &[columns.to_le_bytes(), rows.to_le_bytes()].concat())
}

impl VirtioDevice for Console {
    fn device_type(&self) -> u16 {
        device_type::CONSOLE
    }

    fn features(&self) -> u128 {
        let options = &self.options;
        u128::from(options.size.is_some()) << feature::SIZE
            | u128::from(options.multiport) << feature::MULTIPORT
            | u128::from(options.emergency_write) << feature::EMERG_WRITE
    }

    fn queues(&self) -> Vec<u16> {
        let ports = if self.options.multiport { self.options.ports.len() + 1 } else { 1 };
        vec![self.options.queue_size.clamp(1, ring::MAX_SIZE); 2 * ports]
    }

    fn config_len(&self) -> usize {
        config::LEN as usize
    }

    fn read_config(&self, offset: usize, into: &mut [u8]) {
        let (columns, rows) = if self.options.size.is_some() { self.size } else { (0, 0) };
        let ports = if self.options.multiport { self.options.ports.len() as u32 } else { 0 };
        let bytes: Vec<u8> = [&columns.to_le_bytes()[..], &rows.to_le_bytes(), &ports.to_le_bytes()].concat();
        for (index, to) in into.iter_mut().enumerate() {
            *to = bytes.get(offset + index).copied().unwrap_or(0);
        }
    }

    fn write_config(&mut self, host: &mut Host<'_, '_>, offset: usize, from: &[u8]) {
        // It works at any time, without negotiation (§5.3.5.1).
        if let (true, config::EMERG_WR, Some(byte), Some(port)) =
            (self.options.emergency_write, offset as u32, from.first(), self.options.ports.first_mut())
        {
            port.backend.write(host.now(), &[*byte]);
        }
    }

    fn start(&mut self, host: &mut Host<'_, '_>, features: u128) {
        self.negotiated = features;
        let waker = host.waker();
        self.hand.0.lock().unwrap_or_else(PoisonError::into_inner).waker = Some(waker.clone());
        for port in &mut self.options.ports {
            port.backend.attach(waker.clone());
        }
        // A back-end may have something from the start.
        host.wake_in(KICK_NS);
    }

    fn work(&mut self, host: &mut Host<'_, '_>) {
        self.look_at_hand(host);
        let mut more = self.has(feature::MULTIPORT) && self.converse(host);
        for index in 0..self.reachable() {
            let (more_output, sent) = self.output(host, index);
            let (more_input, received) = self.input(host, index);
            // What was received made room for what could not be sent, or what was sent comes back.
            let waits = self.ports.get(index).is_some_and(|port| port.partial.is_some());
            more |= more_output || more_input || (received && waits) || (sent && waits);
        }
        if more {
            host.wake_in(KICK_NS);
        }
    }

    fn reset_queue(&mut self, index: u16) {
        for (port, state) in self.ports.iter_mut().enumerate() {
            if Self::queues_of(port).1 == index {
                state.partial = None;
            }
        }
    }

    fn reset(&mut self) {
        self.negotiated = 0;
        self.forget();
    }
}
