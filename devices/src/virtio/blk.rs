//! The block device (virtio 1.4 §5.2).
//!
//! A request is a header of 16 bytes, data or segments, and a byte of status at the end, in whatever elements the driver likes.
//! Requests are taken from the queues in bounded quanta, carried out at once, and given back when the device's latency is over.

mod file;
mod image;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bringup_core::{Nanos, Waker};
use bringup_spec::virtio::blk::{CONFIG, HEADER, ID_LEN, SECTOR, config, feature, request, segment, status};
use bringup_spec::virtio::{device_type, ring};

pub use file::{FileImage, ImageError};
pub use image::{Image, MemoryImage};

use super::device::{Host, VirtioDevice};
use super::queue::Chain;
use crate::hosted::reason;
use crate::notices::Notices;

/// How many requests a quantum takes.
const REQUESTS: usize = 256;
/// How many bytes it moves, about.
const BYTES: u64 = 4 << 20;
/// What is moved at once.
const CHUNK: usize = 64 << 10;
/// The most segments of a discard or write-zeroes request.
const MOST_SEGMENTS: u32 = 16;
/// The most sectors of a segment of one.
const MOST_SECTORS: u32 = 1 << 21;

/// What a block device is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlkOptions {
    /// The driver is told that it may not write.
    pub read_only: bool,
    /// How many request queues there are, 1 to 64.
    pub queues: u16,
    /// The size of each, a power of two.
    pub queue_size: u16,
    /// The id, as far as it fits in 20 bytes.
    pub serial: String,
    /// The logical block size in bytes, a power of two from 512.
    pub block_size: u32,
    /// The physical one, not below.
    pub physical_block_size: u32,
    /// The most segments of a request, data only.
    pub seg_max: u32,
    /// The longest segment in bytes; not limited if 0.
    pub size_max: u32,
    /// FLUSH is offered, and with it a cache that the driver may turn off.
    pub flush: bool,
    /// DISCARD is offered.
    pub discard: bool,
    /// WRITE_ZEROES is offered.
    pub write_zeroes: bool,
    /// How long a request takes, in virtual nanoseconds.
    pub latency: Nanos,
}

impl Default for BlkOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            queues: 1,
            queue_size: 256,
            serial: "bringup".into(),
            block_size: 512,
            physical_block_size: 512,
            seg_max: 254,
            size_max: 0,
            flush: true,
            discard: true,
            write_zeroes: true,
            latency: 10_000,
        }
    }
}

/// A block device.
#[derive(Debug)]
pub struct Blk {
    image: Box<dyn Image>,
    options: BlkOptions,
    notices: Notices,
    /// The cache is on: a write is durable when it was flushed.
    writeback: bool,
    negotiated: u128,
    /// What is moved between an image that lends nothing and the driver's memory.
    buffer: Vec<u8>,
    hand: BlkHand,
    /// What was carried out and waits for its time.
    done: VecDeque<Done>,
    next_queue: u16,
}

/// A hand on a block device from outside, for tests and scenarios. What it does is seen when the device works next, which it makes it
/// do.
#[derive(Clone, Debug, Default)]
pub struct BlkHand(Arc<Mutex<HandState>>);

#[derive(Debug, Default)]
struct HandState {
    size: Option<u64>,
    waker: Option<Waker>,
}

impl BlkHand {
    /// Makes the image larger or smaller, in bytes, and the driver is told (§5.2.6.2). Of an image that has the size that it has
    /// nothing changes.
    pub fn resize(&self, size: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.size = Some(size - size % SECTOR);
        if let Some(waker) = &state.waker {
            waker.wake();
        }
    }
}

#[derive(Debug)]
struct Done {
    at: Nanos,
    queue: u16,
    chain: Chain,
    written: u32,
}

/// How a request ended, and how many bytes of data the device wrote.
struct Outcome {
    status: u8,
    data: u64,
}

impl Outcome {
    const FAILED: Self = Self { status: status::IOERR, data: 0 };
    const UNSUPPORTED: Self = Self { status: status::UNSUPP, data: 0 };

    fn of(result: Result<(), u8>) -> Self {
        Self { status: result.err().unwrap_or(status::OK), data: 0 }
    }
}

impl Blk {
    /// A device over an image.
    #[must_use]
    pub fn new(image: impl Image + 'static, options: BlkOptions) -> Self {
        Self::from_box(Box::new(image), options)
    }

    /// As [`new`](Self::new), for an image whose type is not known here.
    #[must_use]
    pub fn from_box(image: Box<dyn Image>, options: BlkOptions) -> Self {
        let read_only = options.read_only || image.is_read_only();
        Self {
            image,
            options: BlkOptions { read_only, ..options },
            notices: Notices::default(),
            writeback: true,
            negotiated: 0,
            buffer: vec![0; CHUNK],
            hand: BlkHand::default(),
            done: VecDeque::new(),
            next_queue: 0,
        }
    }

    /// A device of `bytes` zeros in memory.
    #[must_use]
    pub fn memory(bytes: u64) -> Self {
        Self::new(MemoryImage::new(bytes), BlkOptions::default())
    }

    /// Has it say what the host's storage said somewhere else.
    #[must_use]
    pub fn tell(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }

    /// A hand on it.
    #[must_use]
    pub fn hand(&self) -> BlkHand {
        self.hand.clone()
    }

    /// Where it says what the host's storage said.
    #[must_use]
    pub fn notices(&self) -> Notices {
        self.notices.clone()
    }

    fn has(&self, bit: u32) -> bool {
        self.negotiated >> bit & 1 != 0
    }

    fn capacity(&self) -> u64 {
        self.image.size() / SECTOR
    }

    /// Whether what is written must be durable when the request ends.
    fn writes_through(&self) -> bool {
        !self.has(feature::FLUSH) || (self.has(feature::CONFIG_WCE) && !self.writeback)
    }

    /// The host's storage failed: says so, and fails the request.
    fn checked(&self, verb: &str, result: io::Result<()>) -> Result<(), u8> {
        result.map_err(|error| {
            self.notices.add(format!("cannot {verb} {}: {}", self.image.name(), reason(&error)));
            status::IOERR
        })
    }

    fn config_bytes(&self) -> [u8; config::LEN as usize] {
        let options = &self.options;
        let mut bytes = [0; config::LEN as usize];
        let mut put = |at: u32, value: &[u8]| bytes[at as usize..][..value.len()].copy_from_slice(value);
        let capacity = self.capacity();
        put(config::CAPACITY, &capacity.to_le_bytes());
        put(config::SIZE_MAX, &options.size_max.to_le_bytes());
        put(config::SEG_MAX, &options.seg_max.to_le_bytes());
        // A made-up geometry, as disks of this size have it.
        put(config::CYLINDERS, &(capacity / (16 * 63)).min(16383).to_le_bytes()[..2]);
        put(config::HEADS, &[16]);
        put(config::SECTORS, &[63]);
        put(config::BLK_SIZE, &options.block_size.to_le_bytes());
        let exponent = (options.physical_block_size / options.block_size.max(1)).max(1).trailing_zeros();
        put(config::PHYSICAL_BLOCK_EXP, &[exponent as u8]);
        put(config::MIN_IO_SIZE, &1_u16.to_le_bytes());
        put(config::WRITEBACK, &[u8::from(self.writeback)]);
        put(config::NUM_QUEUES, &options.queues.to_le_bytes());
        put(config::MAX_DISCARD_SECTORS, &MOST_SECTORS.to_le_bytes());
        put(config::MAX_DISCARD_SEG, &MOST_SEGMENTS.to_le_bytes());
        put(config::DISCARD_SECTOR_ALIGNMENT, &(options.block_size / SECTOR as u32).to_le_bytes());
        put(config::MAX_WRITE_ZEROES_SECTORS, &MOST_SECTORS.to_le_bytes());
        put(config::MAX_WRITE_ZEROES_SEG, &MOST_SEGMENTS.to_le_bytes());
        put(config::WRITE_ZEROES_MAY_UNMAP, &[1]);
        bytes
    }

    // --- Requests ------------------------------------------------------------------------------------------------

    /// Carries out one request and gives it back, at once or later.
    fn carry_out(&mut self, host: &mut Host<'_, '_>, queue: u16, mut chain: Chain, began: Nanos) -> u64 {
        let moved = chain.readable_len() + chain.writable_len();
        // Without a byte for the status nothing can be said.
        let Some(room) = chain.writable_len().checked_sub(1) else {
            host.push(queue, chain, 0);
            return moved;
        };
        let mut header = [0; HEADER as usize];
        let outcome = match host.read(&chain, 0, &mut header) {
            Ok(got) if got as u64 == HEADER => self.perform(host, &chain, &header, room),
            _ => Outcome::FAILED,
        };
        let written = match host.write(&chain, room, &[outcome.status]) {
            // All bytes up to the status count as written only if they were.
            Ok(1) if outcome.data == room => room + 1,
            Ok(1) => outcome.data.max(u64::from(room == 0)),
            _ => 0,
        };
        host.strip(queue, &mut chain);
        let done = Done {
            at: began.saturating_add(self.options.latency),
            queue,
            chain,
            written: u32::try_from(written).unwrap_or(u32::MAX),
        };
        // A device may answer in another order.
        let place = match self.done.len() {
            waiting @ 1.. => waiting - host.choose(2) as usize,
            0 => 0,
        };
        let at = self.done.get(place).map_or(done.at, |later| later.at.min(done.at));
        self.done.insert(place, Done { at, ..done });
        moved
    }

    fn perform(&mut self, host: &mut Host<'_, '_>, chain: &Chain, header: &[u8; 16], room: u64) -> Outcome {
        let [t0, t1, t2, t3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = *header;
        let kind = u32::from_le_bytes([t0, t1, t2, t3]);
        if !self.keeps_limits(chain, room) {
            return Outcome::FAILED;
        }
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        match kind {
            request::IN => self.read(host, chain, sector, room),
            request::OUT => Outcome::of(self.write(host, chain, sector)),
            request::FLUSH if self.has(feature::FLUSH) => {
                let flushed = self.image.flush();
                Outcome::of(self.checked("flush", flushed))
            }
            request::GET_ID => self.get_id(host, chain, room),
            request::DISCARD if self.has(feature::DISCARD) => Outcome::of(self.zero_segments(host, chain, kind)),
            request::WRITE_ZEROES if self.has(feature::WRITE_ZEROES) => {
                Outcome::of(self.zero_segments(host, chain, kind))
            }
            _ => Outcome::UNSUPPORTED,
        }
    }

    /// Whether the data are in no more segments, and no longer ones, than the driver was told (§5.2.5.1).
    fn keeps_limits(&self, chain: &Chain, room: u64) -> bool {
        let BlkOptions { seg_max, size_max, .. } = self.options;
        let few = seg_max == 0 || chain.elements().len() <= seg_max as usize;
        if few && size_max == 0 {
            return true;
        }
        // Header and status may share elements with data.
        let (mut header, mut data, mut count) = (HEADER, room, 0);
        for element in chain.elements() {
            let len = u64::from(element.len);
            let part = if element.writable {
                let part = len.min(data);
                data -= part;
                part
            } else {
                let skipped = len.min(header);
                header -= skipped;
                len - skipped
            };
            count += u32::from(part != 0);
            if size_max != 0 && part > u64::from(size_max) {
                return false;
            }
        }
        seg_max == 0 || count <= seg_max
    }

    /// The place of `len` bytes from a sector on, if the device has them.
    fn place(&self, sector: u64, len: u64) -> Result<u64, u8> {
        let whole = len != 0 && len.is_multiple_of(SECTOR);
        let end = sector.checked_add(len / SECTOR).filter(|end| *end <= self.capacity());
        end.filter(|_| whole).map(|_| sector * SECTOR).ok_or(status::IOERR)
    }

    fn read(&mut self, host: &mut Host<'_, '_>, chain: &Chain, sector: u64, room: u64) -> Outcome {
        let Ok(place) = self.place(sector, room) else { return Outcome::FAILED };
        let mut data = 0;
        while data < room {
            let piece = (room - data).min(CHUNK as u64) as usize;
            let (asked, written) = if let Some(lent) = self.image.lend(place + data, piece) {
                (lent.len(), host.write(chain, data, lent).unwrap_or(0))
            } else {
                let Some(buffer) = self.buffer.get_mut(..piece) else { return Outcome::FAILED };
                let got = self.image.read(place + data, buffer);
                let written = if got.is_ok() { host.write(chain, data, buffer).unwrap_or(0) } else { 0 };
                if let Err(status) = self.checked("read", got) {
                    return Outcome { status, data };
                }
                (piece, written)
            };
            if written != asked || asked == 0 {
                return Outcome { status: status::IOERR, data };
            }
            data += asked as u64;
        }
        Outcome { status: status::OK, data }
    }

    fn write(&mut self, host: &mut Host<'_, '_>, chain: &Chain, sector: u64) -> Result<(), u8> {
        let len = chain.readable_len().saturating_sub(HEADER);
        let place = self.place(sector, len)?;
        if self.options.read_only {
            return Err(status::IOERR);
        }
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(CHUNK as u64) as usize;
            let (asked, got) = if let Some(lent) = self.image.lend_mut(place + done, piece) {
                (lent.len(), host.read(chain, HEADER + done, lent).unwrap_or(0))
            } else {
                let buffer = self.buffer.get_mut(..piece).ok_or(status::IOERR)?;
                let got = host.read(chain, HEADER + done, buffer).unwrap_or(0);
                if got == piece {
                    let stored = self.image.write(place + done, buffer);
                    self.checked("write", stored)?;
                }
                (piece, got)
            };
            if got != asked || asked == 0 {
                return Err(status::IOERR);
            }
            done += asked as u64;
        }
        self.settle_write()
    }

    fn settle_write(&mut self) -> Result<(), u8> {
        if self.writes_through() {
            let flushed = self.image.flush();
            self.checked("flush", flushed)?;
        }
        Ok(())
    }

    fn get_id(&self, host: &mut Host<'_, '_>, chain: &Chain, room: u64) -> Outcome {
        let mut id = [0; ID_LEN];
        for (to, from) in id.iter_mut().zip(self.options.serial.bytes()) {
            *to = from;
        }
        let piece = room.min(ID_LEN as u64);
        match host.write(chain, 0, &id[..piece as usize]) {
            Ok(written) if written as u64 == piece && piece == ID_LEN as u64 => {
                Outcome { status: status::OK, data: piece }
            }
            Ok(written) => Outcome { status: status::IOERR, data: written as u64 },
            Err(_) => Outcome::FAILED,
        }
    }

    /// Discards or zeroes the segments of a request. Both make zeros of them here. All are checked before the first is touched.
    fn zero_segments(&mut self, host: &mut Host<'_, '_>, chain: &Chain, kind: u32) -> Result<(), u8> {
        let len = chain.readable_len().saturating_sub(HEADER);
        let count = len / segment::SIZE;
        if !len.is_multiple_of(segment::SIZE) || count == 0 || count > u64::from(MOST_SEGMENTS) {
            return Err(status::IOERR);
        }
        if self.options.read_only {
            return Err(status::IOERR);
        }
        let mut ranges = Vec::with_capacity(count as usize);
        for index in 0..count {
            let mut bytes = [0; segment::SIZE as usize];
            let got = host.read(chain, HEADER + index * segment::SIZE, &mut bytes).unwrap_or(0);
            if got != bytes.len() {
                return Err(status::IOERR);
            }
            let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, f0, f1, f2, f3] = bytes;
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
            let flags = u32::from_le_bytes([f0, f1, f2, f3]);
            // Of the flags, zeroing knows one and discarding none (§5.2.6.2).
            let known = if kind == request::WRITE_ZEROES { segment::UNMAP } else { 0 };
            if flags & !known != 0 {
                return Err(status::UNSUPP);
            }
            if sectors > MOST_SECTORS {
                return Err(status::IOERR);
            }
            let len = u64::from(sectors) * SECTOR;
            // What is discarded may go, what is zeroed only if the driver says so.
            let deallocate = kind == request::DISCARD || flags & segment::UNMAP != 0;
            ranges.push((self.place(sector, len)?, len, deallocate));
        }
        for (place, len, deallocate) in ranges {
            let zeroed = self.image.zero(place, len, deallocate);
            self.checked("write", zeroed)?;
        }
        self.settle_write()
    }

    /// Gives back what is due, and asks to be woken for the rest.
    fn give_back(&mut self, host: &mut Host<'_, '_>) {
        let now = host.now();
        while let Some(queue) = self.done.front().filter(|done| done.at <= now).map(|done| done.queue) {
            // Those of a queue that follow each other are shown at once.
            let due = self.done.iter().take_while(|done| done.at <= now && done.queue == queue).count();
            let chains = self.done.drain(..due).map(|done| (done.chain, done.written)).collect();
            host.push_all(queue, chains);
        }
        if let Some(next) = self.done.front() {
            host.wake_in(next.at.saturating_sub(now));
        }
    }

    /// Sees what was done to it from outside.
    fn look_at_hand(&mut self, host: &mut Host<'_, '_>) {
        let size = self.hand.0.lock().unwrap_or_else(PoisonError::into_inner).size.take();
        if size.is_some_and(|size| self.image.resize(size).is_ok()) {
            host.config_changed();
        }
    }
}

impl VirtioDevice for Blk {
    fn device_type(&self) -> u16 {
        device_type::BLOCK
    }

    fn features(&self) -> u128 {
        let options = &self.options;
        let bit = |number: u32, on: bool| u128::from(on) << number;
        bit(feature::SEG_MAX, options.seg_max != 0)
            | bit(feature::SIZE_MAX, options.size_max != 0)
            | bit(feature::GEOMETRY, true)
            | bit(feature::RO, options.read_only)
            | bit(feature::BLK_SIZE, true)
            | bit(feature::FLUSH, options.flush)
            | bit(feature::CONFIG_WCE, options.flush)
            | bit(feature::TOPOLOGY, true)
            | bit(feature::MQ, options.queues > 1)
            | bit(feature::DISCARD, options.discard && !options.read_only)
            | bit(feature::WRITE_ZEROES, options.write_zeroes && !options.read_only)
    }

    fn queues(&self) -> Vec<u16> {
        vec![self.options.queue_size.clamp(1, ring::MAX_SIZE); usize::from(self.options.queues.clamp(1, 64))]
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

    fn write_config(&mut self, _host: &mut Host<'_, '_>, offset: usize, from: &[u8]) {
        let field = CONFIG.iter().find(|field| field.writable && field.offset as usize == offset);
        if let (Some(_), [value]) = (field, from)
            && self.has(feature::CONFIG_WCE)
        {
            self.writeback = *value != 0;
            if !self.writeback {
                // What was cached until now is made durable before the cache is off.
                let flushed = self.image.flush();
                let _ = self.checked("flush", flushed);
            }
        }
    }

    fn start(&mut self, host: &mut Host<'_, '_>, features: u128) {
        self.negotiated = features;
        // A driver that cannot flush is told that there is nothing to flush (§5.2.5.2).
        self.writeback = self.has(feature::FLUSH);
        self.hand.0.lock().unwrap_or_else(PoisonError::into_inner).waker = Some(host.waker());
    }

    fn suspend(&mut self, host: &mut Host<'_, '_>) {
        for done in self.done.drain(..) {
            host.push(done.queue, done.chain, done.written);
        }
    }

    fn work(&mut self, host: &mut Host<'_, '_>) {
        // What is taken in one quantum ends at one time, and interrupts once.
        let began = host.now();
        self.look_at_hand(host);
        self.give_back(host);
        let queues = host.queue_count().max(1);
        let (mut taken, mut moved, mut empty) = (0, 0, 0);
        // Turn by turn, so that no queue starves another.
        while empty < queues {
            if taken == REQUESTS || moved >= BYTES {
                host.wake_in(super::device::KICK_NS);
                break;
            }
            let queue = self.next_queue % queues;
            self.next_queue = (queue + 1) % queues;
            match host.pop(queue) {
                Some(chain) => {
                    moved += self.carry_out(host, queue, chain, began);
                    taken += 1;
                    empty = 0;
                }
                None => empty += 1,
            }
        }
        self.give_back(host);
    }

    fn reset_queue(&mut self, index: u16) {
        self.done.retain(|done| done.queue != index);
    }

    fn reset(&mut self) {
        self.done.clear();
        self.writeback = true;
        self.negotiated = 0;
        self.next_queue = 0;
    }
}
