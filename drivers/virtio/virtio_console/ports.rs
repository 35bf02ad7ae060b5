// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Ports of a console device: bytes both ways, and what the device says of them.
//!
//! With MULTIPORT the device tells of its ports in control messages. They are read by whoever uses a port: what comes in
//! the control queue wakes all, and the first takes it.

use super::virtio::{
    feature,
    function::{Function, Patience},
    pci::Transport,
    requests::Parts,
};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    new_condvar, new_mutex,
    prelude::*,
    sync::{Arc, CondVar, Mutex},
    time::{delay::fsleep, Delta},
};

/// Feature bits of console devices (§5.3.3).
const SIZE: u32 = 0;
const MULTIPORT: u32 = 1;

/// What is used of what a device may offer.
pub(crate) const WANTED: u64 = feature::ALL | feature::bit(SIZE) | feature::bit(MULTIPORT);

/// Offsets in configuration space (§5.3.4).
const CONFIG_COLS: usize = 0;
const CONFIG_ROWS: usize = 2;
const CONFIG_MAX_NR_PORTS: usize = 4;

/// The control queues (§5.3.2).
pub(crate) const CONTROL_RX: u16 = 2;
pub(crate) const CONTROL_TX: u16 = 3;

/// Control messages (§5.3.6.2): port, event, value, and perhaps more.
const MESSAGE_SIZE: usize = 8;
const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const DEVICE_REMOVE: u16 = 2;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
const RESIZE: u16 = 5;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// The most ports that are used.
pub(crate) const MAX_PORTS: usize = 8;

/// The most queues that they take.
pub(crate) const MAX_QUEUES: u16 = 2 * (MAX_PORTS as u16 + 1);

/// Bytes of a port's name that are kept.
pub(crate) const NAME_LEN: usize = 32;

/// Bytes of a slot, and slots of a queue.
pub(crate) const SLOT_SIZE: usize = 1024;
pub(crate) const SLOTS: u16 = 16;

/// How many slots of a write are under way.
const DEPTH: usize = 4;

/// How often, and how far apart, one looks for a port that the device has yet to tell of.
const ADD_ATTEMPTS: u32 = 50;
const ADD_PAUSE: Delta = Delta::from_millis(10);

/// The queue that a port's bytes come in by; the one that they go out by follows.
const fn rx_queue(port: usize) -> u16 {
    if port == 0 {
        0
    } else {
        2 * (port as u16 + 1)
    }
}

/// What the device said of a port.
#[derive(Clone, Copy)]
struct Port {
    /// It is there, as far as the device told since it was last set up.
    added: bool,
    /// It was taken away.
    removed: bool,
    /// More was said of it than that it is there: what it is would have been too.
    described: bool,
    /// It is a console, which is open always.
    console: bool,
    /// Nobody is at the other end any more, or yet, as the device said.
    hung_up: bool,
    /// How many have it open here.
    users: usize,
    /// Columns and rows, of a terminal that has some.
    size: Option<(u16, u16)>,
    name: [u8; NAME_LEN],
}

const NO_PORT: Port = Port {
    added: false,
    removed: false,
    described: false,
    console: false,
    hung_up: false,
    users: 0,
    size: None,
    name: [0; NAME_LEN],
};

/// What was said of all of them, and at which start of the device.
struct Control {
    ports: [Port; MAX_PORTS],
    epoch: Option<u32>,
}

/// Who reads from a port. There is one at a time.
#[derive(Clone, Copy, Default)]
struct Reader {
    busy: bool,
    /// What is left of a buffer: its slot, where the rest begins, and where it ends.
    rest: Option<(u16, usize, usize)>,
}

#[pin_data]
struct Readers {
    #[pin]
    reader: Mutex<Reader>,
    #[pin]
    free: CondVar,
}

/// A console that is bound.
#[pin_data]
pub(crate) struct Console {
    function: Arc<Function>,
    count: usize,
    readers: KVec<Pin<KBox<Readers>>>,
    #[pin]
    control: Mutex<Control>,
}

/// How many ports a device has that agreed on `features`: all that are used.
pub(crate) fn read_port_count(transport: &Transport, features: u64) -> Result<usize> {
    if features & feature::bit(MULTIPORT) == 0 {
        return Ok(1);
    }
    let count = transport.read_config(|config| config.read32(CONFIG_MAX_NR_PORTS))?;
    if count == 0 {
        return Err(EINVAL);
    }
    Ok((count as usize).min(MAX_PORTS))
}

/// How many queues a device with so many ports has.
pub(crate) fn queue_count(ports: usize, features: u64) -> u16 {
    if features & feature::bit(MULTIPORT) == 0 {
        2
    } else {
        2 * (ports as u16 + 1)
    }
}

/// Whether the device writes to a queue.
pub(crate) fn is_rx(queue: u16) -> bool {
    queue & 1 == 0
}

/// What a reader woke up for.
enum Event {
    Data(u16, u32),
    Control,
}

impl Console {
    pub(crate) fn new(function: Arc<Function>, count: usize) -> Result<Arc<Self>> {
        let mut readers = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let reader = pin_init!(Readers {
                reader <- new_mutex!(Reader::default()),
                free <- new_condvar!(),
            });
            readers.push(KBox::pin_init(reader, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Arc::pin_init(
            try_pin_init!(Self {
                function,
                count,
                readers,
                control <- new_mutex!(Control { ports: [NO_PORT; MAX_PORTS], epoch: None }),
            }),
            GFP_KERNEL,
        )
    }

    fn has_control(&self) -> bool {
        self.function.has(MULTIPORT)
    }

    /// Reads what the device said, and answers.
    ///
    /// # Errors
    ///
    /// When the device is gone or was given up.
    pub(crate) fn service(&self) -> Result {
        self.function.revive()?;
        let mut control = self.control.lock();
        let _ = self.function.link().take_control_event();
        let epoch = self.function.epoch();
        if control.epoch != Some(epoch) {
            self.begin(&mut control)?;
            control.epoch = Some(epoch);
        }
        if self.function.link().take_config_changed() && !self.has_control() {
            self.read_size(&mut control);
        }
        if !self.has_control() {
            return Ok(());
        }
        let mut changed = false;
        let queue = self.function.queue(CONTROL_RX)?;
        while let Some((slot, len)) = self.function.poll(CONTROL_RX, |ring| ring.receive())? {
            let mut message = [0; MESSAGE_SIZE + NAME_LEN];
            let len = message.len().min(len as usize);
            queue.read(slot, 0, &mut message[..len])?;
            queue.post(self.function.link(), slot, SLOT_SIZE);
            changed |= self.hear(&mut control, &message[..len])?;
        }
        drop(control);
        if changed {
            self.function.link().wake_all();
        }
        Ok(())
    }

    /// The device was set up: it knows nothing of this driver, nor the driver of its ports.
    fn begin(&self, control: &mut Control) -> Result {
        for port in control.ports.iter_mut() {
            *port = Port {
                users: port.users,
                ..NO_PORT
            };
        }
        if self.has_control() {
            self.say(u32::MAX, DEVICE_READY, 1)
        } else {
            control.ports[0].added = true;
            self.read_size(control);
            Ok(())
        }
    }

    /// Reads the size of port 0, which the configuration has.
    fn read_size(&self, control: &mut Control) {
        if self.function.has(SIZE) {
            let transport = self.function.link().transport();
            let size = transport.read_config(|config| {
                Ok((config.read16(CONFIG_COLS)?, config.read16(CONFIG_ROWS)?))
            });
            control.ports[0].size = size.ok();
        }
    }

    /// Takes in a message; says whether it changed something.
    fn hear(&self, control: &mut Control, message: &[u8]) -> Result<bool> {
        let Some((head, more)) = message.split_first_chunk::<MESSAGE_SIZE>() else {
            return Ok(false);
        };
        let [a, b, c, d, e, f, g, h] = *head;
        let id = u32::from_le_bytes([a, b, c, d]);
        let (event, value) = (u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
        let ports = control.ports.get_mut(..self.count).unwrap_or_default();
        let Some(port) = ports.get_mut(id as usize) else {
            // A port beyond those that are used is told that it is not.
            if event == DEVICE_ADD {
                self.say(id, PORT_READY, 0)?;
            }
            return Ok(false);
        };
        match event {
            DEVICE_ADD => {
                port.added = true;
                port.removed = false;
                let is_used = port.users != 0;
                self.say(id, PORT_READY, 1)?;
                if is_used {
                    self.say(id, PORT_OPEN, 1)?;
                }
            }
            DEVICE_REMOVE => {
                *port = Port {
                    users: port.users,
                    removed: true,
                    ..NO_PORT
                }
            }
            CONSOLE_PORT => {
                port.console = true;
                self.say(id, PORT_OPEN, 1)?;
            }
            RESIZE => {
                if let Some(&[a, b, c, d]) = more.first_chunk::<4>() {
                    port.size = Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])));
                }
            }
            PORT_OPEN => port.hung_up = value == 0,
            PORT_NAME => {
                port.name = [0; NAME_LEN];
                for (to, from) in port.name.iter_mut().zip(more) {
                    *to = *from;
                }
            }
            _ => return Ok(false),
        }
        port.described = port.added && event != DEVICE_ADD;
        Ok(true)
    }

    /// Sends a control message.
    fn say(&self, port: u32, event: u16, value: u16) -> Result {
        let queue = self.function.queue(CONTROL_TX)?;
        let slot = self.function.wait(CONTROL_TX, Patience::Bounded, |ring| {
            let mut slot = [0];
            (ring.take(&mut slot) == 1).then_some(slot[0])
        })?;
        let mut message = [0; MESSAGE_SIZE];
        message[..4].copy_from_slice(&port.to_le_bytes());
        message[4..6].copy_from_slice(&event.to_le_bytes());
        message[6..].copy_from_slice(&value.to_le_bytes());
        queue.write(slot, 0, &message)?;
        let link = self.function.link();
        queue.submit(link, [(slot, Parts::new().readable(0, MESSAGE_SIZE))]);
        // Its slot is free when the device has read it.
        queue.release(link, &[slot]);
        Ok(())
    }

    fn port(&self, index: usize) -> Port {
        let control = self.control.lock();
        control.ports.get(index).copied().unwrap_or(NO_PORT)
    }

    /// Waits until the device has told of a port, which takes it a moment after it was set up.
    fn await_port(&self, index: usize, error: Error) -> Result {
        for _ in 0..ADD_ATTEMPTS {
            self.service()?;
            let port = self.port(index);
            if port.added {
                return Ok(());
            }
            if port.removed {
                break;
            }
            fsleep(ADD_PAUSE);
        }
        Err(error)
    }

    /// Opens a port. The device may have yet to tell of it: it gets some time.
    ///
    /// # Errors
    ///
    /// `ENXIO` if the device does not have the port.
    pub(crate) fn open(&self, index: usize) -> Result {
        self.await_port(index, ENXIO)?;
        let mut control = self.control.lock();
        let port = control.ports.get_mut(index).ok_or(ENXIO)?;
        port.users += 1;
        if port.users == 1 && self.has_control() && !port.console {
            drop(control);
            self.say(index as u32, PORT_OPEN, 1)?;
        }
        Ok(())
    }

    /// The last file that [opened](Self::open) a port tells the device.
    pub(crate) fn close(&self, index: usize) {
        // Whether it is a console may have come just now. A device that broke down will not hear of anything.
        if self.service().is_err() {
            return;
        }
        let mut control = self.control.lock();
        let Some(port) = control.ports.get_mut(index) else {
            return;
        };
        port.users = port.users.saturating_sub(1);
        let tells = port.users == 0 && port.described && !port.console;
        drop(control);
        if tells && self.has_control() {
            // A device that broke down will not hear of it.
            let _ = self.say(index as u32, PORT_OPEN, 0);
        }
    }

    /// A port's size in columns and rows. `ENOTTY` if it has none.
    pub(crate) fn size(&self, index: usize) -> Result<(u16, u16)> {
        self.service()?;
        self.port(index).size.ok_or(ENOTTY)
    }

    /// A port's name, padded with zeros.
    pub(crate) fn name(&self, index: usize) -> Result<[u8; NAME_LEN]> {
        self.service()?;
        Ok(self.port(index).name)
    }

    /// Reads what has come, and waits for something if nothing has. Nothing comes any more when nobody is at the other end.
    pub(crate) fn read(
        &self,
        index: usize,
        nonblock: bool,
        iov: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        if iov.is_empty() {
            return Ok(0);
        }
        let readers = self.readers.get(index).ok_or(ENXIO)?;
        let mut reader = readers.reader.lock();
        while reader.busy {
            if nonblock {
                return Err(EAGAIN);
            }
            if readers.free.wait_interruptible(&mut reader) {
                return Err(EINTR);
            }
        }
        reader.busy = true;
        let mut mine = *reader;
        drop(reader);
        let result = self.read_alone(index, nonblock, &mut mine, iov);
        *readers.reader.lock() = Reader {
            busy: false,
            ..mine
        };
        readers.free.notify_one();
        result
    }

    fn read_alone(
        &self,
        index: usize,
        nonblock: bool,
        reader: &mut Reader,
        iov: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let rx = rx_queue(index);
        let queue = self.function.queue(rx)?;
        let mut done = 0;
        while !iov.is_empty() {
            let (slot, start, end) = match reader.rest.take() {
                Some(rest) => rest,
                None => match self.next_buffer(index, rx, nonblock || done != 0) {
                    Ok(Some((slot, len))) => (slot, 0, len),
                    Ok(None) => break,
                    Err(_) if done != 0 => break,
                    Err(error) => return Err(error),
                },
            };
            let wanted = iov.len().min(end - start);
            let copied = queue.read_to(slot, start, wanted, iov)?;
            done += copied;
            if start + copied < end {
                reader.rest = Some((slot, start + copied, end));
                if copied < wanted {
                    return if done == 0 { Err(EFAULT) } else { Ok(done) };
                }
            } else {
                queue.post(self.function.link(), slot, SLOT_SIZE);
            }
        }
        Ok(done)
    }

    /// The next buffer with something in it. `None` at the end.
    fn next_buffer(&self, index: usize, rx: u16, nonblock: bool) -> Result<Option<(u16, usize)>> {
        let link = self.function.link();
        let queue = self.function.queue(rx)?;
        loop {
            self.service()?;
            let found = self.function.poll(rx, |ring| ring.receive())?;
            let event = match found {
                Some((slot, len)) => Event::Data(slot, len),
                None => {
                    let port = self.port(index);
                    if port.removed {
                        return Err(ENODEV);
                    }
                    if port.hung_up {
                        return Ok(None);
                    }
                    if nonblock {
                        return Err(EAGAIN);
                    }
                    let epoch = self.function.epoch();
                    self.function.wait(rx, Patience::Unbounded, |ring| {
                        if let Some((slot, len)) = ring.receive() {
                            return Some(Event::Data(slot, len));
                        }
                        let told = link.take_control_event() || self.function.epoch() != epoch;
                        told.then_some(Event::Control)
                    })?
                }
            };
            match event {
                Event::Data(slot, 0) => queue.post(link, slot, SLOT_SIZE),
                Event::Data(slot, len) => return Ok(Some((slot, SLOT_SIZE.min(len as usize)))),
                Event::Control => {}
            }
        }
    }

    /// Writes, and waits until the device has taken it.
    pub(crate) fn write(
        &self,
        index: usize,
        nonblock: bool,
        iov: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        self.await_port(index, ENODEV)?;
        let tx = rx_queue(index) + 1;
        let queue = self.function.queue(tx)?;
        let link = self.function.link();
        let mut done = 0;
        while !iov.is_empty() {
            let mut slots = [0; DEPTH];
            let needed = iov.len().div_ceil(SLOT_SIZE).min(DEPTH);
            let take =
                |ring: &mut super::virtio::requests::Ring| match ring.take(&mut slots[..needed]) {
                    0 => None,
                    taken => Some(taken),
                };
            let taken = if nonblock {
                self.function.poll(tx, take)?.ok_or(EAGAIN)
            } else {
                self.function.wait(tx, Patience::Unbounded, take)
            };
            let taken = match taken {
                Ok(taken) => taken,
                Err(_) if done != 0 => break,
                Err(error) => return Err(error),
            };
            let slots = &slots[..taken];
            let mut lens = [0; DEPTH];
            let mut fault = false;
            for (slot, len) in slots.iter().zip(lens.iter_mut()) {
                let wanted = iov.len().min(SLOT_SIZE);
                *len = queue.write_from(*slot, 0, wanted, iov)?;
                if *len < wanted {
                    fault = true;
                    break;
                }
            }
            let filled = core::iter::zip(slots.iter().copied(), lens).filter(|(_, len)| *len != 0);
            let requests = Iterator::map(filled.clone(), |(slot, len)| {
                (slot, Parts::new().readable(0, len))
            });
            queue.submit(link, requests);
            let mut result = Ok(());
            for (slot, len) in filled {
                // With nobody waiting, what was submitted is on its way.
                if result.is_ok() && !nonblock {
                    result = self
                        .function
                        .wait(tx, Patience::Unbounded, |ring| ring.result(slot))
                        .and_then(|ended| ended.map(|_| ()));
                }
                if result.is_ok() {
                    done += len;
                }
            }
            queue.release(link, slots);
            match result {
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
                Ok(()) if fault => {
                    return if done == 0 { Err(EFAULT) } else { Ok(done) };
                }
                Ok(()) => {}
            }
        }
        Ok(done)
    }
}
