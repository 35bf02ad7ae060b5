//! What a virtio device is to its transport, and what the transport does for it (virtio 1.4 §2).

use bringup_core::Nanos;
use bringup_core::dma::DeviceMemory;
use bringup_core::{Cx, DmaError, Waker};

use super::queue::{Chain, Queue};

/// A virtio device of some type: blocks, packets, random numbers. It is written once and knows no transport: it says what it
/// offers, and works off its queues when the transport lets it.
///
/// It is plain data, reads no clock and draws no random numbers, and never panics on what a driver puts into its queues.
pub trait VirtioDevice: Send {
    /// Its type, a number of virtio 1.4 §5 (`bringup_spec::virtio::device_type`).
    fn device_type(&self) -> u16;

    /// The feature bits of its type that it offers: bits 0 to 23 and 50 to 127. Those of rings and transport (24 to 49) are the
    /// transport's to offer.
    fn features(&self) -> u128;

    /// Whether a set of features that the driver accepted (a subset of those offered) makes sense for the type.
    fn accepts(&self, _features: u128) -> bool {
        true
    }

    /// The largest size of each of its queues, in elements; as many as it has queues at most.
    fn queues(&self) -> Vec<u16>;

    /// How long its configuration space is, in bytes; 0 if its type has none.
    fn config_len(&self) -> usize {
        0
    }

    /// Reads configuration space. What lies outside reads as zero.
    fn read_config(&self, _offset: usize, into: &mut [u8]) {
        into.fill(0);
    }

    /// The driver writes configuration space, inside its length.
    fn write_config(&mut self, _host: &mut Host<'_, '_>, _offset: usize, _from: &[u8]) {}

    /// The driver accepted these features (a subset of those offered, those of rings and transport included), and set
    /// DRIVER_OK: the queues that it enabled are live from now on.
    fn start(&mut self, _host: &mut Host<'_, '_>, _features: u128) {}

    /// The driver said that there is work in a queue (or may have; a kick is a hint).
    fn kick(&mut self, host: &mut Host<'_, '_>, index: u16) {
        let _ = index;
        host.wake_in(KICK_NS);
    }

    /// Does a bounded quantum of work; called after the delay that was asked for with [`Host::wake_in`]. A device with more to do
    /// asks for another one.
    fn work(&mut self, host: &mut Host<'_, '_>);

    /// A queue was reset (`VIRTIO_F_RING_RESET`): what the device took from it is to be forgotten. (If it gives a chain of it back
    /// all the same, nothing happens.)
    fn reset_queue(&mut self, _index: u16) {}

    /// The driver wants the device to rest (§3.4): what was taken from queues is to be finished and given back before this
    /// returns. After it the device is not asked to work until the driver resumes it.
    fn suspend(&mut self, _host: &mut Host<'_, '_>) {}

    /// The regions of memory that it shares with the driver through its transport (§2.10), 1 to 255, each with an id of its own.
    fn shared_memory(&self) -> Vec<SharedMemory> {
        Vec::new()
    }

    /// The driver reads a shared memory region, inside its length.
    fn read_shared(&mut self, _id: u8, _offset: u64, into: &mut [u8]) {
        into.fill(0);
    }

    /// The driver writes a shared memory region, inside its length.
    fn write_shared(&mut self, _id: u8, _offset: u64, _from: &[u8]) {}

    /// Back to how it was when it was made; what is durable stays.
    fn reset(&mut self);
}

/// A region of memory of the device that the driver can reach (§2.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemory {
    /// What the device type calls it.
    pub id: u8,
    /// Its length in bytes, at least 1.
    pub len: u64,
}

/// How long after a kick a device looks at its queues, if it says nothing else, in virtual nanoseconds.
pub const KICK_NS: Nanos = 1_000;

/// What a device may do to its transport and its machine. Its queues are in it.
#[derive(Debug)]
pub struct Host<'a, 'b> {
    pub(super) cx: &'a mut Cx<'b>,
    pub(super) queues: &'a mut [Queue],
    pub(super) requests: &'a mut Requests,
}

/// What a device asked of its transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// Its configuration space changed.
    pub(super) config_changed: bool,
    /// It met something that only a reset mends (virtio 1.4 §2.1.2).
    pub(super) needs_reset: bool,
}

impl Host<'_, '_> {
    /// Virtual time, in nanoseconds.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.cx.now()
    }

    /// Puts the frames that a wire carries into the trace, if there is one: those that the driver `sent`, or those for it.
    pub(super) fn trace_packets(&mut self, sent: bool, frames: impl FnOnce() -> Vec<Vec<u8>>) {
        if self.cx.is_traced() {
            frames().into_iter().for_each(|bytes| self.cx.packet(sent, || bytes));
        }
    }

    /// Asks for [`VirtioDevice::work`] in `delay` nanoseconds. There is one wake-up; the earliest stands.
    pub fn wake_in(&mut self, delay: Nanos) {
        self.cx.wake_in(delay);
    }

    /// A handle that wakes the device, for those it is connected with other than through the machine.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.cx.waker()
    }

    /// Takes a choice: a number below `options` (2 to 256), 0 in the friendliest machine.
    pub fn choose(&mut self, options: u32) -> u32 {
        self.cx.choose(options)
    }

    /// How many queues the device has.
    #[must_use]
    pub fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    /// How many elements a queue has as the driver set it up; 0 if there is no such queue.
    #[must_use]
    pub fn queue_size(&self, index: u16) -> usize {
        self.queues.get(usize::from(index)).map_or(0, |queue| usize::from(queue.setup.size))
    }

    /// Whether a queue was enabled by the driver and works.
    #[must_use]
    pub fn is_live(&self, index: u16) -> bool {
        self.queues.get(usize::from(index)).is_some_and(Queue::is_live)
    }

    /// Takes the next chain that the driver made available in a queue; `None` if there is none, or the queue is not live. A ring
    /// that cannot be right makes the device ask for a reset, and gives nothing from then on.
    pub fn pop(&mut self, index: u16) -> Option<Chain> {
        let queue = self.queues.get_mut(usize::from(index))?;
        match queue.pop(self.cx) {
            Ok(chain) => chain,
            Err(_broken) => {
                self.requests.needs_reset = true;
                None
            }
        }
    }

    /// Gives a chain back, `written` bytes of its writable part holding data, from its start. The driver is interrupted when the
    /// quantum ends, if it wants to be.
    pub fn push(&mut self, index: u16, chain: Chain, written: u32) {
        if let Some(queue) = self.queues.get_mut(usize::from(index))
            && queue.push(self.cx, chain, written).is_err()
        {
            self.requests.needs_reset = true;
        }
    }

    /// As [`push`](Self::push), for chains that belong together, all of one queue: the driver sees all of them or none.
    pub fn push_all(&mut self, index: u16, chains: Vec<(Chain, u32)>) {
        if let Some(queue) = self.queues.get_mut(usize::from(index))
            && queue.push_all(self.cx, chains).is_err()
        {
            self.requests.needs_reset = true;
        }
    }

    /// Forgets what a chain is made of, which then only waits to be given back: a device that holds many saves memory so.
    pub fn strip(&mut self, index: u16, chain: &mut Chain) {
        let elements = chain.strip();
        if let Some(queue) = self.queues.get_mut(usize::from(index)) {
            queue.keep(elements);
        }
    }

    /// Puts the chain that was taken last back, as if it had not been taken (a packet that does not fit yet).
    pub fn unpop(&mut self, index: u16, chain: Chain) {
        if let Some(queue) = self.queues.get_mut(usize::from(index)) {
            queue.unpop(chain);
        }
    }

    /// Reads from the readable part of a chain, from `offset` bytes into it. Gives how many bytes were read: fewer than asked for at
    /// the end of the part.
    ///
    /// # Errors
    /// When the driver gave the chain memory that the device cannot read.
    pub fn read(&mut self, chain: &Chain, offset: u64, into: &mut [u8]) -> Result<usize, DmaError> {
        chain.read(self.cx, offset, into)
    }

    /// Writes to the writable part of a chain, from `offset` bytes into it. Gives how many bytes were written: fewer than given at the
    /// end of the part.
    ///
    /// # Errors
    /// When the driver gave the chain memory that the device cannot write.
    pub fn write(&mut self, chain: &Chain, offset: u64, from: &[u8]) -> Result<usize, DmaError> {
        chain.write(self.cx, offset, from)
    }

    /// The device's view of memory, for code written against vm-memory.
    #[must_use]
    pub fn memory(&self) -> &DeviceMemory {
        self.cx.memory()
    }

    /// Says that configuration space changed on the device's side: bumps the generation and interrupts the driver.
    pub fn config_changed(&mut self) {
        self.requests.config_changed = true;
    }

    /// Says that the device met something only a reset mends.
    pub fn needs_reset(&mut self) {
        self.requests.needs_reset = true;
    }
}
