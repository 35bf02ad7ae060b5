// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Keeps a virtio device going.
//!
//! Whoever waits for the device does it here, in bounded time. When the device breaks the rules, asks for a reset, or
//! does not answer in time, it is reset and set up again, and what it had is submitted once more. A device that breaks
//! down again and again is given up: what it had fails. The next user tries once more.

use super::{
    feature,
    gate::Gate,
    pci::{disable_bus_master, status, Events, Interrupts, Transport},
    requests::{Requests, Ring},
    signal::{Signal, Wake},
};
use kernel::{
    device::Bound,
    new_mutex, new_spinlock, pci,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex, SpinLock,
    },
    time::{msecs_to_jiffies, Jiffies},
};

/// How long a request may take.
const TIMEOUT_MS: u32 = 10_000;

/// How often the device may be reset without doing anything in between.
const MAX_FAILURES: u32 = 3;

/// What of a device outlives its unbinding: its registers, though they are gone then, and who waits for it.
#[pin_data]
pub(crate) struct Link {
    #[pin]
    transport: Transport,
    signals: KVec<Pin<KBox<Signal>>>,
    /// Configuration changed, or the device needs a reset; nobody looked yet.
    config_event: Atomic<bool>,
    /// Configuration changed; the driver did not look yet.
    config_changed: Atomic<bool>,
    /// The queue by which the device tells of itself, if there is one: whatever it says may concern all.
    control: Option<u16>,
    /// It said something; the driver did not look yet.
    control_event: Atomic<bool>,
}

impl Link {
    /// A device that was found, with up to `queues` queues, one of which may be for `control`: what comes there wakes those
    /// who wait for any.
    pub(crate) fn new(
        transport: impl PinInit<Transport, Error>,
        queues: u16,
        control: Option<u16>,
    ) -> Result<Arc<Self>> {
        let mut signals = KVec::with_capacity(usize::from(queues), GFP_KERNEL)?;
        for _ in 0..queues {
            signals.push(KBox::pin_init(Signal::new(), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Arc::pin_init(
            try_pin_init!(Self {
                transport <- transport,
                signals,
                config_event: Atomic::new(false),
                config_changed: Atomic::new(false),
                control,
                control_event: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Wakes those who wait for a queue.
    pub(crate) fn wake(&self, index: u16) {
        if let Some(signal) = self.signals.get(usize::from(index)) {
            signal.raise();
        }
    }

    /// Wakes those who wait for any queue.
    pub(crate) fn wake_all(&self) {
        for signal in self.signals.iter() {
            signal.raise();
        }
    }

    /// Ends all waits for good.
    fn close(&self) {
        for signal in self.signals.iter() {
            signal.close();
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether configuration changed since this was last asked.
    pub(crate) fn take_config_changed(&self) -> bool {
        self.config_changed.xchg(false, Relaxed)
    }

    /// Whether something may have come in the control queue since this was last asked.
    pub(crate) fn take_control_event(&self) -> bool {
        self.control_event.xchg(false, Relaxed)
    }
}

impl Events for Link {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn queue_event(&self, index: u16) {
        if self.control == Some(index) {
            self.control_event.store(true, Relaxed);
            self.wake_all();
        } else {
            self.wake(index);
        }
    }

    fn config_event(&self) {
        self.config_event.store(true, Relaxed);
        self.config_changed.store(true, Relaxed);
        self.wake_all();
    }
}

struct Recovery {
    /// How often the device was reset since it last did something.
    failures: u32,
}

/// Why nothing can be asked of the device now, and how often it was set up.
#[derive(Clone, Copy)]
struct Condition {
    epoch: u32,
    dead: Option<Error>,
}

/// A virtio device with its queues. It owns memory that the device reaches: see [`Active`].
#[pin_data]
pub(crate) struct Function {
    link: Arc<Link>,
    features: u64,
    queues: KVec<Pin<KBox<Requests>>>,
    config_vector: u16,
    vectors: KVec<u16>,
    #[pin]
    condition: SpinLock<Condition>,
    /// Held while the device is reset and set up.
    #[pin]
    recovery: Mutex<Recovery>,
}

impl Function {
    /// A device that agreed on `features`, with its queues, the first of which is number 0.
    pub(crate) fn new(
        link: Arc<Link>,
        features: u64,
        queues: KVec<Pin<KBox<Requests>>>,
        interrupts: &Interrupts<'_, Link>,
    ) -> Result<Arc<Self>> {
        let mut vectors = KVec::with_capacity(queues.len(), GFP_KERNEL)?;
        for queue in queues.iter() {
            vectors.push(interrupts.queue_vector(queue.index()), GFP_KERNEL)?;
        }
        Arc::pin_init(
            try_pin_init!(Self {
                link,
                features,
                queues,
                config_vector: interrupts.config_vector(),
                vectors,
                condition <- new_spinlock!(Condition { epoch: 0, dead: None }),
                recovery <- new_mutex!(Recovery { failures: 0 }),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Whether a feature was negotiated.
    pub(crate) fn has(&self, bit: u32) -> bool {
        self.features & feature::bit(bit) != 0
    }

    /// The queue with this number.
    pub(crate) fn queue(&self, index: u16) -> Result<&Requests> {
        let queue = self.queues.get(usize::from(index)).ok_or(EINVAL)?;
        Ok(queue)
    }

    /// How many queues are used.
    pub(crate) fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    /// How often the device was set up; it changes when the device was reset.
    pub(crate) fn epoch(&self) -> u32 {
        self.condition.lock().epoch
    }

    /// Sets the queues up and lets the device work. It was reset, and agreed on the features.
    ///
    /// # Errors
    ///
    /// When the device is gone, or cannot be used. It was told then.
    pub(crate) fn start(&self) -> Result {
        let result = self.set_up();
        if result.is_err() {
            self.link.transport.fail();
        }
        result
    }

    fn set_up(&self) -> Result {
        let transport = &self.link.transport;
        transport.set_config_vector(self.config_vector)?;
        let mut doorbells = KVec::with_capacity(self.queues.len(), GFP_KERNEL)?;
        for (queue, vector) in self.queues.iter().zip(self.vectors.iter()) {
            let (size, addresses) = queue.with(|ring| ring.place());
            let doorbell = transport.enable_queue(queue.index(), size, addresses, *vector)?;
            doorbells.push(doorbell, GFP_KERNEL)?;
        }
        transport.driver_ok()?;
        for (queue, doorbell) in self.queues.iter().zip(doorbells.iter()) {
            queue.with(|ring| ring.start(*doorbell, &self.link))?;
        }
        Ok(())
    }

    /// Resets the device and sets it up again, unless somebody else did since the `epoch`.
    ///
    /// # Errors
    ///
    /// When the device does not come back, or breaks down again and again. What it had has failed then.
    fn recover(&self, epoch: u32, reason: Error) -> Result {
        let mut recovery = self.recovery.lock();
        let condition = *self.condition.lock();
        if condition.epoch != epoch {
            return condition.dead.map_or(Ok(()), Err);
        }
        self.say("the device is reset", reason);
        let mut completed = 0;
        for queue in self.queues.iter() {
            completed += queue.with(|ring| {
                ring.stop();
                ring.take_completed()
            });
        }
        recovery.failures = if completed == 0 {
            recovery.failures.saturating_add(1)
        } else {
            1
        };
        let result = self.begin_again(recovery.failures <= MAX_FAILURES);
        if let Err(error) = result {
            self.say("the device is given up", error);
            for queue in self.queues.iter() {
                queue.with(|ring| {
                    ring.stop();
                    ring.give_up(error);
                });
            }
        }
        {
            let mut condition = self.condition.lock();
            condition.epoch = condition.epoch.wrapping_add(1);
            condition.dead = result.err();
        }
        self.link.wake_all();
        result
    }

    fn say(&self, what: &'static str, reason: Error) {
        // One that is gone needs no word.
        if reason != ENODEV {
            if let Some(device) = self.link.transport.device() {
                dev_warn!(device, "{}: error {}\n", what, reason.to_errno());
            }
        }
    }

    fn begin_again(&self, in_earnest: bool) -> Result {
        self.link.transport.reset()?;
        for queue in self.queues.iter() {
            queue.with(Ring::restart)?;
        }
        if !in_earnest {
            return Err(EIO);
        }
        let features = self.link.transport.negotiate(self.features, |same| same)?;
        if features != self.features {
            self.link.transport.fail();
            return Err(EIO);
        }
        self.start()
    }

    /// Whether the device can be used: one that asks for a reset gets it, and one that was given up another chance.
    ///
    /// # Errors
    ///
    /// `EIO` or `ENODEV` when it does not take it.
    pub(crate) fn revive(&self) -> Result {
        let condition = *self.condition.lock();
        if condition.dead.is_some() {
            self.recovery.lock().failures = 0;
            return self.recover(condition.epoch, EAGAIN);
        }
        if self.link.config_event.xchg(false, Relaxed) {
            if let Err(reason) = self.check_status() {
                return self.recover(condition.epoch, reason);
            }
        }
        Ok(())
    }

    /// Looks at the status after a configuration event. `EIO` if the device must be reset, `ENODEV` if it is gone.
    fn check_status(&self) -> Result {
        if self.link.transport.read_status()? & status::DEVICE_NEEDS_RESET != 0 {
            return Err(EIO);
        }
        Ok(())
    }

    /// Takes back what the device is done with in a queue, and lets `ready` look at it; the device interrupts for what comes
    /// later. A device that breaks down is set up again.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the device is gone, `EIO` when it is given up.
    pub(crate) fn poll<R>(
        &self,
        index: u16,
        mut ready: impl FnMut(&mut Ring) -> Option<R>,
    ) -> Result<Option<R>> {
        loop {
            let condition = *self.condition.lock();
            match self.look(index, &mut ready, &mut false, false) {
                Ok(Look::Found(found)) => return Ok(Some(found)),
                Ok(Look::More) => {}
                Ok(Look::Nothing | Look::NotMine) => {
                    return condition.dead.map_or(Ok(None), Err);
                }
                Err(error) => self.recover(condition.epoch, error)?,
            }
        }
    }

    fn look<R>(
        &self,
        index: u16,
        ready: &mut impl FnMut(&mut Ring) -> Option<R>,
        asleep: &mut bool,
        sleeps: bool,
    ) -> Result<Look<R>> {
        let queue = self.queue(index)?;
        let (looked, calls) = queue.with(|ring| {
            if core::mem::take(asleep) {
                ring.count_browser(false);
            }
            let looked = self.see(ring, ready);
            if sleeps && matches!(looked, Ok(Look::Nothing)) {
                *asleep = true;
                ring.count_browser(true);
            }
            (looked, ring.take_calls())
        });
        queue.call(&self.link, calls);
        looked
    }

    /// Takes back what the device is done with, lets `ready` look, and has the device interrupt for what comes later, if
    /// anybody waits for that.
    fn see<R>(
        &self,
        ring: &mut Ring,
        ready: &mut impl FnMut(&mut Ring) -> Option<R>,
    ) -> Result<Look<R>> {
        let reaped = ring.reap(&self.link);
        // What came before the device broke counts.
        if let Some(found) = ready(ring) {
            if ring.has_keeper() && ring.listen().unwrap_or(true) {
                ring.alert();
            }
            return Ok(Look::Found(found));
        }
        reaped?;
        let more = ring.listen()?;
        Ok(if more { Look::More } else { Look::Nothing })
    }

    /// As [`look`](Self::look), for the owner of a slot, who goes to sleep if its request is not done. If somebody else looks
    /// after the queue, it leaves it alone, unless it is `late`.
    fn look_for(&self, queue: &Requests, slot: u16, late: bool) -> Result<Look<Result<u32>>> {
        let (looked, calls) = queue.with(|ring| {
            ring.wake_owner(slot);
            let looked = match ring.result(slot) {
                Some(result) => Ok(Look::Found(result)),
                None if ring.has_keeper() && !late => Ok(Look::Nothing),
                None => self.see(ring, &mut |ring| ring.result(slot)),
            };
            let looked = match looked {
                Ok(Look::Nothing) if !ring.put_owner_to_sleep(slot) => Ok(Look::NotMine),
                looked => looked,
            };
            (looked, ring.take_calls())
        });
        queue.call(&self.link, calls);
        looked
    }

    /// As [`poll`](Self::poll), until `ready` finds what it looks for. Between looks the caller sleeps.
    ///
    /// With `patience` the device has done something wrong when that takes too long, and is reset; without, it may take any
    /// time.
    ///
    /// # Errors
    ///
    /// `EINTR` on a signal, `ENODEV` when the device is unbound or gone, `EIO` when it is given up. What was submitted
    /// stays submitted.
    pub(crate) fn wait<R>(
        &self,
        index: u16,
        patience: Patience,
        mut ready: impl FnMut(&mut Ring) -> Option<R>,
    ) -> Result<R> {
        let queue = self.queue(index)?;
        let signal = self.link.signals.get(usize::from(index)).ok_or(EINVAL)?;
        let mut asleep = false;
        let result = self.wait_with(patience, signal, signal, |_| {
            self.look(index, &mut ready, &mut asleep, true)
        });
        if asleep {
            let calls = queue.with(|ring| {
                ring.count_browser(false);
                ring.take_calls()
            });
            queue.call(&self.link, calls);
        }
        result
    }

    /// As [`wait`](Self::wait), until a request is done whose slot is the caller's; gives how it ended: how many bytes the
    /// device wrote.
    ///
    /// Of those who wait so, the device's interrupts wake one, and that one the others when their requests are done.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn wait_done(
        &self,
        index: u16,
        slot: u16,
        patience: Patience,
    ) -> Result<Result<u32>> {
        let queue = self.queue(index)?;
        if let Some(result) = queue.with(|ring| ring.result(slot)) {
            return Ok(result);
        }
        let shared = self.link.signals.get(usize::from(index)).ok_or(EINVAL)?;
        let own = queue.signal(slot)?;
        let result = self.wait_with(patience, shared, own, |late| {
            self.look_for(queue, slot, late)
        });
        if result.is_err() {
            let calls = queue.with(|ring| {
                ring.wake_owner(slot);
                ring.take_calls()
            });
            queue.call(&self.link, calls);
        }
        result
    }

    /// Looks until something is found, and sleeps in between: on `own` if somebody else looks after the queue, or on `shared`.
    /// `look` is told whether the time is over.
    fn wait_with<R>(
        &self,
        patience: Patience,
        shared: &Signal,
        own: &Signal,
        mut look: impl FnMut(bool) -> Result<Look<R>>,
    ) -> Result<R> {
        let mut left: Jiffies = msecs_to_jiffies(TIMEOUT_MS);
        let mut expired = false;
        loop {
            let (seen_shared, seen_own) = (shared.count(), own.count());
            let condition = *self.condition.lock();
            let mut signal = (shared, seen_shared);
            let mut trouble = match look(expired) {
                Ok(Look::Found(found)) => return Ok(found),
                Ok(Look::More) => continue,
                Ok(Look::Nothing) => Ok(()),
                Ok(Look::NotMine) => {
                    signal = (own, seen_own);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Some(error) = condition.dead {
                return Err(error);
            }
            if trouble.is_ok() && (self.link.config_event.xchg(false, Relaxed) || expired) {
                trouble = self.check_status();
            }
            if trouble.is_ok() && expired && patience == Patience::Bounded {
                trouble = Err(ETIMEDOUT);
            }
            if expired || trouble.is_err() {
                (expired, left) = (false, msecs_to_jiffies(TIMEOUT_MS));
            }
            if let Err(reason) = trouble {
                // Whether it worked is seen at the next look.
                let _ = self.recover(condition.epoch, reason);
                continue;
            }
            let (signal, seen) = signal;
            match signal.wait(seen, left) {
                Wake::Raised(rest) => left = rest,
                Wake::Timeout => expired = true,
                Wake::Interrupted => return Err(EINTR),
                Wake::Closed => return Err(ENODEV),
            }
        }
    }
}

/// What a look at a queue showed.
enum Look<R> {
    Found(R),
    /// Something came meanwhile.
    More,
    Nothing,
    /// Nothing, and somebody else looks after the queue.
    NotMine,
}

/// How long the device may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It must answer in [`TIMEOUT_MS`], or is reset.
    Bounded,
    /// It answers when there is something to answer.
    Unbounded,
}

/// What the files of a device refer to.
pub(crate) trait Owner: Send + Sync {
    /// What belongs to the device while it is bound.
    type Inner;

    /// The way to it.
    fn gate(&self) -> &Gate<Self::Inner>;
}

/// A bound device at work. Dropping it ends what is under way and stops the device, which cannot reach memory any more
/// then.
pub(crate) struct Active<'bound, T: Owner> {
    pdev: &'bound pci::Device<Bound>,
    link: Arc<Link>,
    owner: Arc<T>,
}

impl<'bound, T: Owner> Active<'bound, T> {
    /// To be called before the device is started, so that it is stopped whatever happens.
    pub(crate) fn new(pdev: &'bound pci::Device<Bound>, link: Arc<Link>, owner: Arc<T>) -> Self {
        Self { pdev, link, owner }
    }

    /// Lets users in.
    pub(crate) fn open(&self, inner: Arc<T::Inner>) -> Result {
        self.owner.gate().open(inner)
    }
}

impl<T: Owner> Drop for Active<'_, T> {
    fn drop(&mut self) {
        let inner = self.owner.gate().close();
        // Whoever waits is on the way out.
        self.link.close();
        self.owner.gate().wait_empty();
        match self.link.transport.reset() {
            Err(error) if error != ENODEV => dev_warn!(self.pdev, "the device cannot be reset\n"),
            _ => {}
        }
        disable_bus_master(self.pdev);
        drop(inner);
    }
}
