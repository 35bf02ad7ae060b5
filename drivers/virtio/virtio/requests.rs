// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A virtqueue with memory of its own: slots, each of which carries one request or receives one message.
//!
//! ```text
//!         take            submit             (ring)            reap            release
//! Free ----------> Taken ---------> Pending --------> Flying ---------> Done ----------> Free
//! ```
//!
//! Whoever takes a slot owns its memory until it submits it, and again when it is done. A request that waits for room in
//! the ring, or for the device to come back from a reset, is pending. One whose owner gave up is an orphan: its slot is
//! free when the device has let go of it.

use super::{
    function::Link,
    pci::Doorbell,
    ring::{Queue, Segment, Shape},
    signal::Signal,
};
use ::pin_init::pin_init_array_from_fn;
use kernel::{
    device::{Bound, Device},
    dma::{Coherent, DmaAddress},
    io::{io_project, Io},
    iov::{IovIterDest, IovIterSource},
    new_mutex,
    prelude::*,
    sync::Mutex,
};

/// The most segments of a request, those for the device to read and those for it to write together.
pub(crate) const MAX_SEGMENTS: usize = 20;

/// The most parts of a request.
const MAX_PARTS: usize = 4;

/// How often a request is tried when the device broke down under it.
const MAX_ATTEMPTS: u8 = 3;

/// Signals of a queue, each for those of its slots whose numbers differ by a multiple of this.
const SIGNALS: usize = 32;

/// How many are told at once that their requests are done.
const TOLD: usize = 16;

/// What is copied from or to user space at once, in bytes.
const PIECE: usize = 1024;

/// Parts of a slot that make a request: for the device to read, then for it to write.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parts {
    list: [(u32, u32, bool); MAX_PARTS],
    count: usize,
}

impl Parts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn with(mut self, at: usize, len: usize, writable: bool) -> Self {
        if let Some(part) = self.list.get_mut(self.count) {
            *part = (at as u32, len as u32, writable);
            self.count += 1;
        }
        self
    }

    /// With `len` bytes at `at` in the slot for the device to read. All of them come before those it writes.
    pub(crate) fn readable(self, at: usize, len: usize) -> Self {
        self.with(at, len, false)
    }

    /// With `len` bytes at `at` in the slot for the device to write.
    pub(crate) fn writable(self, at: usize, len: usize) -> Self {
        self.with(at, len, true)
    }
}

/// How a queue and its slots are laid out.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// The queue's.
    pub(crate) shape: Shape,
    /// How many slots there are.
    pub(crate) slots: u16,
    /// Bytes of a slot.
    pub(crate) stride: usize,
    /// The longest segment, in bytes.
    pub(crate) piece: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Taken,
    Pending,
    Flying,
    Done,
}

/// How the owner of a slot sleeps until its request is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// It looks after the queue: the device's interrupts wake it.
    OnQueue,
    /// Whoever finds its request done wakes it.
    OnSlot,
}

#[derive(Clone, Copy)]
struct Slot {
    state: State,
    sleep: Sleep,
    /// It is in the list of those whose owners are to be woken.
    called: bool,
    parts: Parts,
    /// Its place in the order of submission.
    serial: u64,
    attempts: u8,
    /// Its owner does not wait for it any more.
    orphan: bool,
    /// It receives a message, whenever one comes.
    receives: bool,
    /// The device may still have it, though it is done with.
    lost: bool,
    /// Once it is done: how many bytes the device wrote.
    result: Result<u32>,
}

const FREE: Slot = Slot {
    state: State::Free,
    sleep: Sleep::Awake,
    called: false,
    parts: Parts {
        list: [(0, 0, false); MAX_PARTS],
        count: 0,
    },
    serial: 0,
    attempts: 0,
    orphan: false,
    receives: false,
    lost: false,
    result: Ok(0),
};

/// A list of slots, first in, first out. No slot is in one twice, so there is always room.
struct Line {
    slots: KVec<u16>,
    first: usize,
    len: usize,
}

impl Line {
    fn new(slots: u16) -> Result<Self> {
        Ok(Self {
            slots: KVec::from_elem(0, usize::from(slots), GFP_KERNEL)?,
            first: 0,
            len: 0,
        })
    }

    fn push(&mut self, slot: u16) {
        let most = self.slots.len();
        let at = self.first + self.len;
        let at = if at < most { at } else { at - most };
        if let Some(place) = self.slots.get_mut(at).filter(|_| self.len < most) {
            *place = slot;
            self.len += 1;
        }
    }

    fn front(&self) -> Option<u16> {
        self.slots
            .get(self.first)
            .copied()
            .filter(|_| self.len != 0)
    }

    fn pop(&mut self) -> Option<u16> {
        let slot = self.front()?;
        self.first += 1;
        if self.first == self.slots.len() {
            self.first = 0;
        }
        self.len -= 1;
        Some(slot)
    }
}

/// What the lock of a queue guards.
pub(crate) struct Ring {
    queue: Queue<u16>,
    /// How to kick; `None` while the device does not work.
    doorbell: Option<Doorbell>,
    slots: KVec<Slot>,
    free: KVec<u16>,
    pending: Line,
    /// Messages that were received, in their order.
    received: Line,
    serial: u64,
    /// How many chains came back since the device was set up.
    completed: u64,
    /// Somebody waits for a free slot.
    starving: bool,
    /// How many look after the queue: they sleep until the device interrupts, or something is finished that may be for
    /// them, and see to the queue then.
    keepers: usize,
    /// How many of these wait for whatever comes.
    browsers: usize,
    /// How many sleep until their own requests are done. There is a keeper then, or one of them is on the way to be one.
    clients: usize,
    /// Something was finished that may be for a keeper.
    news: bool,
    /// Which of them that is. It is not until it was up.
    appointed: Option<u16>,
    /// Slots whose owners are to be woken.
    called: Line,
    /// Room to sort slots in.
    order: KVec<(u64, u16)>,
    memory: DmaAddress,
    stride: usize,
    piece: u32,
}

/// A queue, its memory and its slots.
#[pin_data]
pub(crate) struct Requests {
    index: u16,
    memory: Coherent<[u8]>,
    stride: usize,
    slots: u16,
    #[pin]
    ring: Mutex<Ring>,
    #[pin]
    signals: [Signal; SIGNALS],
}

/// Who is to be woken, once the lock of the ring is free.
pub(super) struct Calls {
    /// The keepers of the queue.
    keepers: bool,
    /// Owners of slots.
    slots: [u16; TOLD],
    count: usize,
    /// There are more.
    more: bool,
}

impl Requests {
    /// A queue that is not set up yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINVAL` if there is no such queue.
    pub(crate) fn new(dev: &Device<Bound>, index: u16, layout: Layout) -> Result<Pin<KBox<Self>>> {
        let Layout {
            shape,
            slots,
            stride,
            piece,
        } = layout;
        let size = stride.checked_mul(usize::from(slots)).ok_or(EINVAL)?;
        let memory = Coherent::<u8>::zeroed_slice(dev, size, GFP_KERNEL)?;
        let mut free = KVec::with_capacity(usize::from(slots), GFP_KERNEL)?;
        for slot in (0..slots).rev() {
            free.push(slot, GFP_KERNEL)?;
        }
        let ring = Ring {
            queue: Queue::new(dev, shape)?,
            doorbell: None,
            slots: KVec::from_elem(FREE, usize::from(slots), GFP_KERNEL)?,
            free,
            pending: Line::new(slots)?,
            received: Line::new(slots)?,
            serial: 0,
            completed: 0,
            starving: false,
            keepers: 0,
            browsers: 0,
            clients: 0,
            news: false,
            appointed: None,
            called: Line::new(slots)?,
            order: KVec::with_capacity(usize::from(slots), GFP_KERNEL)?,
            memory: memory.dma_address(),
            stride,
            piece,
        };
        KBox::pin_init(
            try_pin_init!(Self {
                index,
                memory,
                stride,
                slots,
                ring <- new_mutex!(ring),
                signals <- pin_init_array_from_fn(|_| Signal::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// The queue's number.
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> u16 {
        self.slots
    }

    /// Bytes of a slot.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Runs `f` on the ring.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Ring) -> R) -> R {
        f(&mut self.ring.lock())
    }

    /// What the owner of a slot is woken by. Some wake-ups are for others.
    pub(super) fn signal(&self, slot: u16) -> Result<&Signal> {
        let signal = self.signals.get(usize::from(slot) % SIGNALS);
        signal.ok_or(EINVAL)
    }

    /// Wakes those who are to be.
    pub(super) fn call(&self, link: &Link, mut calls: Calls) {
        loop {
            if calls.keepers {
                link.wake(self.index);
            }
            for slot in calls.slots.iter().take(calls.count) {
                if let Ok(signal) = self.signal(*slot) {
                    signal.raise();
                }
            }
            if !calls.more {
                return;
            }
            calls = self.with(Ring::take_calls);
        }
    }

    /// Submits requests: slots, and what of them is for the device. A device that breaks down meanwhile is met by whoever
    /// [waits](super::function::Function::wait).
    pub(crate) fn submit(&self, link: &Link, requests: impl IntoIterator<Item = (u16, Parts)>) {
        self.with(|ring| {
            for (slot, parts) in requests {
                ring.submit(slot, parts, false);
            }
            let _ = ring.push_on(link);
        });
    }

    /// Fills the queue with buffers: all slots, with so many bytes each for the device to write. It sees them when it is
    /// started.
    pub(crate) fn post_all(&self, len: usize) {
        self.with(|ring| {
            let mut slot = [0];
            while ring.take(&mut slot) == 1 {
                ring.submit(slot[0], Parts::new().writable(0, len), true);
            }
        });
    }

    /// Gives a buffer that was received back to the queue.
    pub(crate) fn post(&self, link: &Link, slot: u16, len: usize) {
        self.with(|ring| {
            ring.submit(slot, Parts::new().writable(0, len), true);
            // A device that broke down is met by whoever waits.
            let _ = ring.push_on(link);
        });
    }

    /// Releases slots, whatever they are used for.
    pub(crate) fn release(&self, link: &Link, slots: &[u16]) {
        let starving = self.with(|ring| {
            for slot in slots {
                ring.release(*slot);
            }
            core::mem::take(&mut ring.starving)
        });
        if starving {
            link.wake(self.index);
        }
    }

    fn start_of(&self, slot: u16, at: usize) -> usize {
        usize::from(slot) * self.stride + at
    }

    /// Copies bytes into a slot. They must fit.
    pub(crate) fn write(&self, slot: u16, at: usize, bytes: &[u8]) -> Result {
        let start = self.start_of(slot, at);
        io_project!(self.memory, [try: start..start.wrapping_add(bytes.len())])
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Copies bytes out of a slot. The device may write to it at any time, so what was copied is what counts.
    pub(crate) fn read(&self, slot: u16, at: usize, bytes: &mut [u8]) -> Result {
        let start = self.start_of(slot, at);
        io_project!(self.memory, [try: start..start.wrapping_add(bytes.len())])
            .copy_to_slice(bytes);
        Ok(())
    }

    /// Copies up to `len` bytes from a user's buffer into a slot; returns how many there were.
    pub(crate) fn write_from(
        &self,
        slot: u16,
        at: usize,
        len: usize,
        iov: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut piece = [0; PIECE];
        let mut done = 0;
        while done < len {
            let wanted = PIECE.min(len - done);
            let got = iov.copy_from_iter(&mut piece[..wanted]);
            self.write(slot, at + done, &piece[..got])?;
            done += got;
            if got < wanted {
                break;
            }
        }
        Ok(done)
    }

    /// Copies up to `len` bytes from a slot to a user's buffer; returns how many had room.
    pub(crate) fn read_to(
        &self,
        slot: u16,
        at: usize,
        len: usize,
        iov: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let mut piece = [0; PIECE];
        let mut done = 0;
        while done < len {
            let wanted = PIECE.min(len - done);
            self.read(slot, at + done, &mut piece[..wanted])?;
            let put = iov.copy_to_iter(&piece[..wanted]);
            done += put;
            if put < wanted {
                break;
            }
        }
        Ok(done)
    }
}

impl Ring {
    fn slot(&mut self, slot: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(slot))
    }

    /// Takes up to as many free slots as there is room for; returns how many. Whoever gets none may wait.
    pub(crate) fn take(&mut self, into: &mut [u16]) -> usize {
        let mut taken = 0;
        for place in into {
            let Some(slot) = self.free.pop() else {
                self.starving |= taken == 0;
                break;
            };
            if let Some(entry) = self.slot(slot) {
                *entry = Slot {
                    state: State::Taken,
                    called: entry.called,
                    ..FREE
                };
            }
            *place = slot;
            taken += 1;
        }
        taken
    }

    /// Puts a slot that was taken, or is done, into the queue. It goes on with [`push_on`](Self::push_on).
    ///
    /// One that `receives` is done when a message came, whenever that is, and then among those that were
    /// [received](Self::receive).
    pub(crate) fn submit(&mut self, slot: u16, parts: Parts, receives: bool) {
        let serial = self.serial;
        let Some(entry) = self.slot(slot) else {
            return;
        };
        if !matches!(entry.state, State::Taken | State::Done) || entry.lost {
            return;
        }
        *entry = Slot {
            state: State::Pending,
            parts,
            serial,
            receives,
            called: entry.called,
            ..FREE
        };
        self.serial += 1;
        self.pending.push(slot);
    }

    /// How a request ended: how many bytes the device wrote. `None` if it did not yet.
    pub(crate) fn result(&self, slot: u16) -> Option<Result<u32>> {
        let entry = self.slots.get(usize::from(slot))?;
        (entry.state == State::Done).then_some(entry.result)
    }

    /// The next message that was received: its slot, and how many bytes the device wrote there. The slot is to be submitted
    /// again.
    pub(crate) fn receive(&mut self) -> Option<(u16, u32)> {
        let slot = self.received.pop()?;
        let len = self.result(slot)?.unwrap_or(0);
        Some((slot, len))
    }

    /// Whether there is a message.
    pub(crate) fn has_received(&self) -> bool {
        self.received.len != 0
    }

    fn release(&mut self, slot: u16) {
        let Some(entry) = self.slot(slot) else {
            return;
        };
        match entry.state {
            State::Free => {}
            State::Pending | State::Flying => entry.orphan = true,
            State::Taken | State::Done if entry.lost => entry.orphan = true,
            State::Taken | State::Done => {
                entry.state = State::Free;
                // It came from there.
                let _ = self.free.push_within_capacity(slot);
            }
        }
    }

    /// A slot is done, for whoever waits for it.
    fn finish(&mut self, slot: u16, result: Result<u32>) {
        let Some(entry) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        entry.state = State::Done;
        entry.result = result;
        let (orphan, receives) = (entry.orphan, entry.receives);
        match entry.sleep {
            Sleep::OnSlot => {
                entry.sleep = Sleep::Awake;
                self.clients -= 1;
                self.call_owner(slot);
            }
            Sleep::OnQueue => self.news = true,
            Sleep::Awake => self.news |= self.browsers != 0,
        }
        if orphan {
            self.release(slot);
        } else if receives {
            self.received.push(slot);
        }
    }

    /// Shows the device what is pending, as far as there is room, and kicks it.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules, `ENODEV` if it is gone.
    pub(crate) fn push_on(&mut self, link: &Link) -> Result {
        let Some(doorbell) = self.doorbell else {
            return Ok(());
        };
        while let Some(slot) = self.pending.front() {
            match self.add(slot) {
                Ok(()) => {
                    self.pending.pop();
                    if let Some(entry) = self.slot(slot) {
                        entry.state = State::Flying;
                    }
                }
                Err(error) if error == ENOSPC => break,
                Err(error) if error == EINVAL => {
                    // It never fits.
                    self.pending.pop();
                    self.finish(slot, Err(EINVAL));
                }
                Err(error) => return Err(error),
            }
        }
        if self.queue.publish()? {
            link.transport()
                .kick(&doorbell, self.queue.notification_data())?;
        }
        Ok(())
    }

    /// Adds a slot to the queue, in segments.
    fn add(&mut self, slot: u16) -> Result {
        let entry = self.slots.get(usize::from(slot)).ok_or(EINVAL)?;
        let start = self.memory + (usize::from(slot) * self.stride) as DmaAddress;
        let nothing = Segment { address: 0, len: 0 };
        let mut segments = [nothing; MAX_SEGMENTS];
        let (mut count, mut readable) = (0, 0);
        for (at, len, writable) in entry.parts.list.iter().take(entry.parts.count).copied() {
            let mut done = 0;
            while done < len {
                let piece = self.piece.min(len - done);
                *segments.get_mut(count).ok_or(EINVAL)? = Segment {
                    address: start + DmaAddress::from(at + done),
                    len: piece,
                };
                count += 1;
                done += piece;
            }
            if !writable {
                readable = count;
            }
        }
        let segments = segments.get(..count).ok_or(EINVAL)?;
        let (out, input) = segments.split_at_checked(readable).ok_or(EINVAL)?;
        self.queue.add(out, input, slot)
    }

    /// Takes back what the device is done with, and shows it what is pending.
    ///
    /// # Errors
    ///
    /// `EIO` if the device broke the rules, `ENODEV` if it is gone.
    pub(crate) fn reap(&mut self, link: &Link) -> Result {
        if self.doorbell.is_none() {
            return Ok(());
        }
        self.queue.disable_interrupts()?;
        while let Some(completion) = self.queue.pop()? {
            self.completed += 1;
            self.finish(completion.token, Ok(completion.written));
        }
        if self.pending.front().is_some() {
            self.push_on(link)?;
        }
        Ok(())
    }

    /// Who is to be woken: whoever takes something out of the queue tells them, as the device may not.
    pub(super) fn take_calls(&mut self) -> Calls {
        if self.keepers == 0 && self.clients != 0 && self.appointed.is_none() {
            self.appoint();
        }
        let mut calls = Calls {
            keepers: core::mem::take(&mut self.news) && self.keepers != 0,
            slots: [0; TOLD],
            count: 0,
            more: false,
        };
        for place in &mut calls.slots {
            let Some(slot) = self.called.pop() else {
                break;
            };
            if let Some(entry) = self.slot(slot) {
                entry.called = false;
            }
            *place = slot;
            calls.count += 1;
        }
        calls.more = self.called.len != 0;
        calls
    }

    /// The owner of a slot is to be woken.
    fn call_owner(&mut self, slot: u16) {
        let Some(entry) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        // No slot is in the list twice.
        if !core::mem::replace(&mut entry.called, true) {
            self.called.push(slot);
        }
    }

    /// Has one of those who sleep until their own requests are done woken, to look after the queue.
    #[cold]
    fn appoint(&mut self) {
        let client = |slot: &Slot| slot.sleep == Sleep::OnSlot;
        if let Some(at) = self.slots.iter().position(client) {
            self.appointed = Some(at as u16);
            self.call_owner(at as u16);
        }
    }

    /// The keepers are to look: something came that the device may not interrupt for.
    pub(super) fn alert(&mut self) {
        self.news = true;
    }

    /// Whether anybody looks after the queue.
    pub(super) fn has_keeper(&self) -> bool {
        self.keepers != 0
    }

    /// The caller is going to sleep until whatever comes, with the lock given back, or is up again. It looks after the
    /// queue meanwhile.
    pub(super) fn count_browser(&mut self, asleep: bool) {
        if asleep {
            self.keepers += 1;
            self.browsers += 1;
        } else {
            self.keepers -= 1;
            self.browsers -= 1;
        }
    }

    /// The owner of a slot is going to sleep until its request is done, with the lock given back. `true` if nobody else
    /// looks after the queue, so that it has to.
    pub(super) fn put_owner_to_sleep(&mut self, slot: u16) -> bool {
        let keeps = self.keepers == 0;
        if let Some(entry) = self.slot(slot) {
            if keeps {
                entry.sleep = Sleep::OnQueue;
                self.keepers += 1;
            } else {
                entry.sleep = Sleep::OnSlot;
                self.clients += 1;
            }
        }
        keeps
    }

    /// The owner of a slot is up again.
    pub(super) fn wake_owner(&mut self, slot: u16) {
        let Some(entry) = self.slot(slot) else {
            return;
        };
        match core::mem::replace(&mut entry.sleep, Sleep::Awake) {
            Sleep::Awake => {}
            Sleep::OnQueue => self.keepers -= 1,
            Sleep::OnSlot => self.clients -= 1,
        }
        if self.appointed == Some(slot) {
            self.appointed = None;
        }
    }

    /// Asks the device to interrupt when it is done with something; `true` if it is, and may not.
    pub(crate) fn listen(&mut self) -> Result<bool> {
        if self.doorbell.is_none() {
            return Ok(false);
        }
        self.queue.enable_interrupts()
    }

    /// The queue's size, in elements.
    pub(crate) fn size(&self) -> u16 {
        self.queue.size()
    }

    /// The queue's size in elements, and where it is.
    pub(super) fn place(&self) -> (u16, [DmaAddress; 3]) {
        (self.queue.size(), self.queue.addresses())
    }

    /// The device works: it may be kicked.
    pub(super) fn start(&mut self, doorbell: Doorbell, link: &Link) -> Result {
        self.doorbell = Some(doorbell);
        self.push_on(link)?;
        self.listen().map(|_| ())
    }

    /// The device does not work: what is submitted waits.
    pub(super) fn stop(&mut self) {
        self.doorbell = None;
    }

    /// How many chains came back since it was last asked.
    pub(super) fn take_completed(&mut self) -> u64 {
        core::mem::take(&mut self.completed)
    }

    /// The device, or the queue, was reset: what it had is pending again, in the order in which it was submitted, or has
    /// failed if it was tried often enough.
    pub(super) fn restart(&mut self) -> Result {
        // It is known by the slots what the device had.
        self.queue.reset(|_| ())?;
        for slot in 0..self.slots.len() as u16 {
            let Some(entry) = self.slot(slot) else {
                continue;
            };
            if core::mem::take(&mut entry.lost) && entry.orphan {
                self.release(slot);
                continue;
            }
            match entry.state {
                State::Flying | State::Pending if entry.orphan => self.finish(slot, Err(EIO)),
                State::Flying if !entry.receives => {
                    entry.attempts += 1;
                    if entry.attempts >= MAX_ATTEMPTS {
                        self.finish(slot, Err(EIO));
                    } else {
                        entry.state = State::Pending;
                    }
                }
                State::Flying => entry.state = State::Pending,
                _ => {}
            }
        }
        self.order.clear();
        for (slot, entry) in self.slots.iter().enumerate() {
            if entry.state == State::Pending {
                // There is room for all slots.
                let _ = self.order.push_within_capacity((entry.serial, slot as u16));
                // Down to its place; the library's sort is a lot of code for so few.
                let mut at = self.order.len() - 1;
                while at > 0 && self.order[at - 1] > self.order[at] {
                    self.order.swap(at - 1, at);
                    at -= 1;
                }
            }
        }
        while self.pending.pop().is_some() {}
        for (_, slot) in self.order.iter() {
            self.pending.push(*slot);
        }
        Ok(())
    }

    /// The device does not come back: all requests have failed. Those that it had stay where they are, as it may still
    /// write to them, until it was reset.
    pub(super) fn give_up(&mut self, error: Error) {
        for slot in 0..self.slots.len() as u16 {
            let Some(entry) = self.slot(slot) else {
                continue;
            };
            match entry.state {
                State::Flying if !entry.receives => {
                    entry.lost = true;
                    self.finish(slot, Err(error));
                }
                State::Pending if !entry.receives => self.finish(slot, Err(error)),
                _ => {}
            }
        }
        let mut rest = self.pending.len;
        while rest != 0 {
            rest -= 1;
            if let Some(slot) = self.pending.pop() {
                if self
                    .slot(slot)
                    .is_some_and(|entry| entry.state == State::Pending)
                {
                    self.pending.push(slot);
                }
            }
        }
    }
}
