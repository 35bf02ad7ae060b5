// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! A disk: requests, and what a user asks for made of them.

use super::{
    geometry::{bits, config, Erase, Geometry, DATA_SIZE, HEADER, HEADER_SIZE, SECTOR, STATUS},
    virtio::{
        function::{Function, Patience},
        requests::{Parts, Requests},
    },
};
use core::num::{NonZeroU32, NonZeroUsize};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    new_condvar, new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, CondVar, Mutex,
    },
};

/// Types of requests (§5.2.6).
mod request {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
    pub(super) const DISCARD: u32 = 11;
    pub(super) const WRITE_ZEROES: u32 = 13;
}

/// How requests end.
const STATUS_OK: u8 = 0;
const STATUS_UNSUPP: u8 = 2;
/// What the device replaces.
const STATUS_NONE: u8 = 0xff;

/// Bytes of a device's id.
pub(crate) const ID_LEN: usize = 20;

/// How many requests of one call are under way at most.
const DEPTH: usize = 32;

/// A range of a discard or write-zeroes request: sector, number of sectors, flags.
const RANGE_SIZE: usize = 16;

/// The device may deallocate what it zeroes.
const RANGE_UNMAP: u32 = 1;

/// Which way data go, and the user's buffer.
pub(crate) enum Transfer<'a, 'b> {
    Read(&'a mut IovIterDest<'b>),
    Write(&'a mut IovIterSource<'b>),
}

impl Transfer<'_, '_> {
    fn len(&self) -> usize {
        match self {
            Transfer::Read(iov) => iov.len(),
            Transfer::Write(iov) => iov.len(),
        }
    }
}

/// Who writes at present.
struct Writers {
    /// Writers of whole blocks.
    whole: usize,
    /// Somebody changes a part of a block.
    partial: bool,
    /// So many wait to change a part of one.
    waiting: usize,
}

/// A disk that is bound.
#[pin_data]
pub(crate) struct Disk {
    function: Arc<Function>,
    geometry: Geometry,
    sectors: Atomic<u64>,
    /// How often the function was set up when the capacity was read.
    epoch: Atomic<u32>,
    /// Bytes of data in a request.
    limit: NonZeroUsize,
    turn: Atomic<u32>,
    #[pin]
    writers: Mutex<Writers>,
    #[pin]
    written: CondVar,
}

/// A request under way.
#[derive(Clone, Copy, Default)]
struct Job {
    slot: u16,
    /// Bytes of data.
    len: usize,
    /// Where the user's part of the data begins, and how long it is.
    skip: usize,
    wanted: usize,
}

/// Requests under way, in their order. What is left of them when this is dropped has no owner any more.
struct Window<'a> {
    disk: &'a Disk,
    queue: &'a Requests,
    jobs: [Job; DEPTH],
    first: usize,
    len: usize,
}

impl<'a> Window<'a> {
    fn new(disk: &'a Disk) -> Result<Self> {
        let turn = disk.turn.fetch_add(1, Relaxed);
        let count = NonZeroU32::new(disk.function.queue_count().into()).ok_or(ENODEV)?;
        Ok(Self {
            disk,
            queue: disk.function.queue((turn % count) as u16)?,
            jobs: [Job::default(); DEPTH],
            first: 0,
            len: 0,
        })
    }

    /// Takes up to as many slots as there is room for. It waits for one, unless there are requests to wait for instead.
    fn take(&self, slots: &mut [u16]) -> Result<usize> {
        let most = slots.len().min(DEPTH - self.len);
        let slots = slots.get_mut(..most).ok_or(EINVAL)?;
        let taken = self.queue.with(|ring| ring.take(slots));
        if taken != 0 || self.len != 0 {
            return Ok(taken);
        }
        self.disk
            .function
            .wait(self.queue.index(), Patience::Bounded, |ring| {
                match ring.take(slots) {
                    0 => None,
                    taken => Some(taken),
                }
            })
    }

    fn push(&mut self, job: Job) {
        if let Some(place) = self.jobs.get_mut((self.first + self.len) % DEPTH) {
            *place = job;
            self.len += 1;
        }
    }

    /// Takes the oldest out, for the caller to release.
    fn pop(&mut self) -> Option<Job> {
        if self.len == 0 {
            return None;
        }
        let job = self.jobs.get(self.first).copied();
        self.first = (self.first + 1) % DEPTH;
        self.len -= 1;
        job
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        while let Some(job) = self.pop() {
            self.queue.release(self.disk.function.link(), &[job.slot]);
        }
    }
}

/// How many bytes were carried: all before an error count, which is met again at the next call.
fn carried(done: usize, error: Error) -> Result<usize> {
    if done == 0 {
        Err(error)
    } else {
        Ok(done)
    }
}

impl Disk {
    pub(crate) fn new(function: Arc<Function>, geometry: Geometry) -> Result<Arc<Self>> {
        let mut limit = DATA_SIZE;
        for index in 0..function.queue_count() {
            let size = function.queue(index)?.with(|ring| ring.size());
            limit = limit.min(geometry.limits(size)?.1);
        }
        Arc::pin_init(
            try_pin_init!(Self {
                function,
                sectors: Atomic::new(geometry.sectors),
                epoch: Atomic::new(0),
                geometry,
                limit: NonZeroUsize::new(limit).ok_or(EINVAL)?,
                turn: Atomic::new(0),
                writers <- new_mutex!(Writers { whole: 0, partial: false, waiting: 0 }),
                written <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The capacity, in sectors of 512 bytes: whole blocks.
    pub(crate) fn sectors(&self) -> u64 {
        let bytes = self.sectors.load(Relaxed) * SECTOR;
        (bytes - self.geometry.inside(bytes)) / SECTOR
    }

    /// Notices that the device was given up, or has another size now.
    pub(crate) fn refresh(&self) -> Result {
        self.function.revive()?;
        let epoch = self.function.epoch();
        let changed = self.function.link().take_config_changed();
        if changed || epoch != self.epoch.load(Relaxed) {
            let sectors = self
                .function
                .link()
                .transport()
                .read_config(|config| config.read64(config::CAPACITY))?;
            if sectors <= i64::MAX as u64 / SECTOR {
                self.sectors.store(sectors, Relaxed);
            }
            self.epoch.store(epoch, Relaxed);
        }
        Ok(())
    }

    /// Carries data between the disk, from a position on, and the user's buffer; returns how many bytes. There are fewer
    /// than asked for at the end of the disk, and after an error.
    pub(crate) fn transfer(&self, start: u64, mut transfer: Transfer<'_, '_>) -> Result<usize> {
        if matches!(transfer, Transfer::Write(_)) && self.geometry.read_only {
            return Err(EROFS);
        }
        let left = (self.sectors() * SECTOR).saturating_sub(start);
        let len = usize::try_from(left).map_or(usize::MAX, |left| left.min(transfer.len()));
        if len == 0 {
            return match transfer {
                Transfer::Write(iov) if !iov.is_empty() => Err(ENOSPC),
                _ => Ok(0),
            };
        }
        match &mut transfer {
            Transfer::Read(_) => self.carry(start, len, &mut transfer),
            Transfer::Write(iov) => {
                let block = self.geometry.block as usize;
                let mut done = 0;
                while done < len {
                    let at = start + done as u64;
                    let into = self.geometry.inside(at) as usize;
                    let rest = len - done;
                    let whole = rest - self.geometry.inside(rest as u64) as usize;
                    let (wanted, result) = if into == 0 && whole != 0 {
                        let _writing = self.write_whole()?;
                        let mut part = Transfer::Write(iov);
                        (whole, self.carry(at, whole, &mut part))
                    } else {
                        let wanted = rest.min(block - into);
                        (wanted, self.write_partial(at, wanted, iov))
                    };
                    match result {
                        Ok(written) => {
                            done += written;
                            if written < wanted {
                                break;
                            }
                        }
                        Err(error) => return carried(done, error),
                    }
                }
                Ok(done)
            }
        }
    }

    /// Carries data in requests, several of which are under way. What is written must be whole blocks.
    fn carry(&self, start: u64, len: usize, transfer: &mut Transfer<'_, '_>) -> Result<usize> {
        let mut window = Window::new(self)?;
        let (mut submitted, mut done) = (0, 0);
        // Less was found in the user's memory than it should have.
        let mut short = false;
        loop {
            if submitted < len && !short && window.len <= DEPTH / 2 {
                let result = self.fill(
                    &mut window,
                    start,
                    len,
                    &mut submitted,
                    &mut short,
                    transfer,
                );
                if let (Err(error), 0) = (result, window.len) {
                    return carried(done, error);
                }
            }
            let Some(job) = window.pop() else {
                break;
            };
            let finished = self.finish(&window, &job, transfer);
            window.queue.release(self.function.link(), &[job.slot]);
            match finished {
                Ok(carried) => done += carried,
                Err(error) => return carried(done, error),
            }
            if finished.is_ok_and(|carried| carried < job.wanted) {
                break;
            }
        }
        if done == 0 {
            return Err(EFAULT);
        }
        Ok(done)
    }

    /// Submits more requests, as there is room.
    fn fill(
        &self,
        window: &mut Window<'_>,
        start: u64,
        len: usize,
        submitted: &mut usize,
        short: &mut bool,
        transfer: &mut Transfer<'_, '_>,
    ) -> Result {
        let mut slots = [0; DEPTH];
        let limit = self.limit.get();
        // How many requests the rest takes, of which the first may begin inside a block.
        let inside = self.geometry.inside(start + *submitted as u64) as usize;
        let needed = (inside + len - *submitted + limit - 1) / self.limit;
        let taken = window.take(&mut slots[..needed.min(DEPTH)])?;
        let begun = window.len;
        let mut unused = 0;
        for index in 0..taken {
            let slot = slots[index];
            let at = start + *submitted as u64;
            let skip = self.geometry.inside(at) as usize;
            let wanted = (len - *submitted).min(limit - skip);
            if wanted == 0 || *short {
                slots[unused] = slot;
                unused += 1;
                continue;
            }
            let block = self.geometry.block as usize;
            let mut job = Job {
                slot,
                len: (skip + wanted + block - 1) & !(block - 1),
                skip,
                wanted,
            };
            if let Transfer::Write(iov) = transfer {
                let got = window.queue.write_from(slot, 0, wanted, iov)?;
                if got < wanted {
                    *short = true;
                    // Whole blocks of it.
                    job.len = got - self.geometry.inside(got as u64) as usize;
                    job.wanted = job.len;
                }
                if job.len == 0 {
                    slots[unused] = slot;
                    unused += 1;
                    continue;
                }
            }
            let kind = match transfer {
                Transfer::Read(_) => request::IN,
                Transfer::Write(_) => request::OUT,
            };
            self.prepare(window.queue, slot, kind, (at - skip as u64) / SECTOR)?;
            *submitted += job.wanted;
            window.push(job);
        }
        let new = (begun..window.len).filter_map(|index| {
            let job = window.jobs.get((window.first + index) % DEPTH)?;
            let parts = match transfer {
                Transfer::Read(_) => parts(0, job.len),
                Transfer::Write(_) => parts(job.len, 0),
            };
            Some((job.slot, parts))
        });
        window.queue.submit(self.function.link(), new);
        window.queue.release(self.function.link(), &slots[..unused]);
        Ok(())
    }

    /// Waits for a request of a transfer; returns how many of the user's bytes it carried.
    fn finish(
        &self,
        window: &Window<'_>,
        job: &Job,
        transfer: &mut Transfer<'_, '_>,
    ) -> Result<usize> {
        match transfer {
            Transfer::Read(iov) => {
                self.wait(window.queue, job.slot, job.len)?;
                window.queue.read_to(job.slot, job.skip, job.wanted, iov)
            }
            Transfer::Write(_) => {
                self.wait(window.queue, job.slot, 0)?;
                Ok(job.wanted)
            }
        }
    }

    /// Changes a part of a block: reads it, and writes all of it. Nobody else may write meanwhile.
    fn write_partial(&self, at: u64, len: usize, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let _writing = self.write_alone()?;
        let block = self.geometry.block as usize;
        let into = self.geometry.inside(at) as usize;
        let sector = (at - into as u64) / SECTOR;
        self.with_slot(|queue, slot| {
            self.run(queue, slot, request::IN, sector, 0, block)?;
            let got = queue.write_from(slot, into, len, iov)?;
            if got == 0 {
                return Err(EFAULT);
            }
            self.run(queue, slot, request::OUT, sector, block, 0)?;
            Ok(got)
        })
    }

    /// Makes what was written durable.
    pub(crate) fn flush(&self) -> Result {
        if !self.function.has(bits::FLUSH) {
            // It is when it was written (§5.2.6.2).
            return Ok(());
        }
        self.with_slot(|queue, slot| self.run(queue, slot, request::FLUSH, 0, 0, 0))
    }

    /// The device's name for itself.
    pub(crate) fn id(&self) -> Result<[u8; ID_LEN]> {
        self.with_slot(|queue, slot| {
            self.run(queue, slot, request::GET_ID, 0, 0, ID_LEN)?;
            let mut id = [0; ID_LEN];
            queue.read(slot, 0, &mut id)?;
            Ok(id)
        })
    }

    /// Says that a range is not needed any more. What is read there from now on can be anything.
    pub(crate) fn discard(&self, start: u64, len: u64) -> Result {
        let limits = self.geometry.discard.ok_or(EOPNOTSUPP)?;
        self.erase(request::DISCARD, limits, 0, start, len)
    }

    /// Fills a range with zeros.
    pub(crate) fn zero(&self, start: u64, len: u64) -> Result {
        match self.geometry.zeroes {
            Some(limits) => {
                match self.erase(request::WRITE_ZEROES, limits, RANGE_UNMAP, start, len) {
                    Err(error) if error == EOPNOTSUPP => self.write_zeros(start, len),
                    result => result,
                }
            }
            None => self.write_zeros(start, len),
        }
    }

    /// The range in sectors. `EINVAL` unless it is whole blocks of the disk.
    fn range(&self, start: u64, len: u64) -> Result<(u64, u64)> {
        if self.geometry.read_only {
            return Err(EROFS);
        }
        let end = start.checked_add(len).ok_or(EINVAL)?;
        if self.geometry.inside(start | len) != 0 || end > self.sectors() * SECTOR {
            return Err(EINVAL);
        }
        Ok((start / SECTOR, end / SECTOR))
    }

    fn erase(&self, kind: u32, limits: Erase, flags: u32, start: u64, len: u64) -> Result {
        let (mut next, end) = self.range(start, len)?;
        let bytes = limits.max_sectors * SECTOR;
        let most = (bytes - self.geometry.inside(bytes)) / SECTOR;
        let ranges = limits.max_ranges.min(self.limit.get() / RANGE_SIZE);
        if most == 0 || ranges == 0 {
            return Err(EOPNOTSUPP);
        }
        let _writing = self.write_whole()?;
        self.with_slot(|queue, slot| {
            while next < end {
                let mut count = 0;
                while count < ranges && next < end {
                    let sectors = most.min(end - next).min(u32::MAX.into());
                    let mut range = [0; RANGE_SIZE];
                    range[..8].copy_from_slice(&next.to_le_bytes());
                    range[8..12].copy_from_slice(&(sectors as u32).to_le_bytes());
                    range[12..].copy_from_slice(&flags.to_le_bytes());
                    queue.write(slot, count * RANGE_SIZE, &range)?;
                    next += sectors;
                    count += 1;
                }
                self.run(queue, slot, kind, 0, count * RANGE_SIZE, 0)?;
            }
            Ok(())
        })
    }

    /// Zeros for a device that has no request for them.
    fn write_zeros(&self, start: u64, len: u64) -> Result {
        let (mut next, end) = self.range(start, len)?;
        let _writing = self.write_whole()?;
        self.with_slot(|queue, slot| {
            const ZEROS: [u8; 512] = [0; 512];
            for at in (0..self.limit.get()).step_by(ZEROS.len()) {
                queue.write(slot, at, &ZEROS)?;
            }
            while next < end {
                let bytes = (self.limit.get() as u64).min((end - next) * SECTOR);
                self.run(queue, slot, request::OUT, next, bytes as usize, 0)?;
                next += bytes / SECTOR;
            }
            Ok(())
        })
    }

    /// Runs `f` with a slot.
    fn with_slot<R>(&self, f: impl FnOnce(&Requests, u16) -> Result<R>) -> Result<R> {
        let window = Window::new(self)?;
        let mut slot = [0];
        window.take(&mut slot)?;
        let result = f(window.queue, slot[0]);
        window.queue.release(self.function.link(), &slot);
        result
    }

    /// Writes the header of a request, and a status that the device must replace.
    fn prepare(&self, queue: &Requests, slot: u16, kind: u32, sector: u64) -> Result {
        let mut header = [0; HEADER_SIZE + 1];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&sector.to_le_bytes());
        header[HEADER_SIZE] = STATUS_NONE;
        queue.write(slot, HEADER, &header)
    }

    /// Carries out one request with data in the slot, and waits for it.
    fn run(
        &self,
        queue: &Requests,
        slot: u16,
        kind: u32,
        sector: u64,
        out: usize,
        input: usize,
    ) -> Result {
        self.prepare(queue, slot, kind, sector)?;
        queue.submit(self.function.link(), [(slot, parts(out, input))]);
        self.wait(queue, slot, input)
    }

    /// Waits for a request that reads `input` bytes.
    fn wait(&self, queue: &Requests, slot: u16, input: usize) -> Result {
        let index = queue.index();
        let done = self.function.wait_done(index, slot, Patience::Bounded)?;
        let written = done?;
        let mut status = [0];
        queue.read(slot, STATUS, &mut status)?;
        match status[0] {
            // All of it must have been written, and the status behind it.
            STATUS_OK if written as usize == input + 1 => Ok(()),
            STATUS_UNSUPP => Err(EOPNOTSUPP),
            _ => Err(EIO),
        }
    }

    /// Writes whole blocks, with others who do. Interruptible.
    fn write_whole(&self) -> Result<Writing<'_>> {
        let mut writers = self.writers.lock();
        while writers.partial || writers.waiting != 0 {
            if self.written.wait_interruptible(&mut writers) {
                return Err(EINTR);
            }
        }
        writers.whole += 1;
        Ok(Writing(self))
    }

    /// Writes alone. Interruptible.
    fn write_alone(&self) -> Result<Writing<'_>> {
        let mut writers = self.writers.lock();
        writers.waiting += 1;
        let mut interrupted = false;
        while !interrupted && (writers.partial || writers.whole != 0) {
            interrupted = self.written.wait_interruptible(&mut writers);
        }
        writers.waiting -= 1;
        if interrupted {
            drop(writers);
            self.written.notify_all();
            return Err(EINTR);
        }
        writers.partial = true;
        Ok(Writing(self))
    }
}

/// Somebody writes, until this is dropped.
struct Writing<'a>(&'a Disk);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        {
            let mut writers = self.0.writers.lock();
            // Who writes alone is the only one.
            if writers.partial {
                writers.partial = false;
            } else {
                writers.whole -= 1;
            }
        }
        self.0.written.notify_all();
    }
}

/// The parts of a request with so many bytes of data for the device to read, or to write.
fn parts(out: usize, input: usize) -> Parts {
    let mut parts = Parts::new().readable(HEADER, HEADER_SIZE);
    if out != 0 {
        parts = parts.readable(0, out);
    }
    if input != 0 {
        parts = parts.writable(0, input);
    }
    parts.writable(STATUS, 1)
}
