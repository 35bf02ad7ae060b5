// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Driver for `cq`, Bringup's copy engine with a submission and a completion ring.
//!
//! `/dev/cq` copies: a write has the device copy what is written from one buffer to another, in pieces, and a read gives
//! what is in the other one then. The parameter `mode` says how the device learns of descriptors: by a doorbell for each
//! batch (0), by a doorbell only when it asks for one in the event area (1), or by looking at the ring itself (2).

use kernel::{
    device::{Bound, Core, Device},
    dma::{Coherent, Device as _, DmaMask},
    fs::{File, Kiocb},
    io::{io_project, io_read, io_write, poll::read_poll_timeout, Io},
    iov::{IovIterDest, IovIterSource},
    irq,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_condvar, new_mutex, new_spinlock_irq, pci,
    prelude::*,
    sync::{
        barrier::{dma_mb, mb, Full, Read, Write},
        Arc, CondVar, CondVarTimeoutResult, Mutex, SpinLockIrq,
    },
    time::{msecs_to_jiffies, Delta},
    transmute::{AsBytes, FromBytes},
};

/// Registers in BAR 0, by their offsets.
mod reg {
    pub(super) const SIZE: usize = 0x100;

    pub(super) const ID: usize = 0x00;
    pub(super) const CAPS: usize = 0x04;
    pub(super) const CONTROL: usize = 0x08;
    pub(super) const STATUS: usize = 0x0c;
    pub(super) const IRQ_STATUS: usize = 0x10;
    pub(super) const IRQ_MASK: usize = 0x14;
    pub(super) const IRQ_ACK: usize = 0x18;
    pub(super) const RING_ENTRIES: usize = 0x1c;
    pub(super) const SQ_BASE: usize = 0x20;
    pub(super) const CQ_BASE: usize = 0x28;
    pub(super) const EVENT_BASE: usize = 0x30;
    pub(super) const INFO_LEN: usize = 0x38;
    pub(super) const SQ_TAIL: usize = 0x40;
    pub(super) const CQ_HEAD: usize = 0x44;
    pub(super) const INFO: usize = 0x80;
}

const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x11c9;
const IDENTIFICATION: u32 = 0x0001_7163;

const CAPS_WIDE: u32 = 1 << 8;
const CAPS_EVENT_INDEX: u32 = 1 << 9;
const CAPS_POLL: u32 = 1 << 10;

const CONTROL_ENABLE: u32 = 1 << 0;
const CONTROL_RESET: u32 = 1 << 1;
const CONTROL_POLL: u32 = 1 << 2;
const CONTROL_EVENT_INDEX: u32 = 1 << 3;

const STATUS_RESETTING: u32 = 1 << 1;

const IRQ_COMPLETION: u32 = 1 << 0;
const IRQ_ERROR: u32 = 1 << 1;

/// What a register reads as when the device is gone.
const GONE: u32 = u32::MAX;

/// Entries of either ring; a power of two. Few, so that they are soon used again.
const ENTRIES: u16 = 4;

/// Bytes of a piece, and of each of the two buffers.
const PIECE: usize = 64;
const BUFFER: usize = 16 * PIECE;

/// Room for the device's name.
const INFO_SIZE: usize = 64;

/// Words of the event area.
const EVENT_SQ_TAIL: usize = 0;
const EVENT_SQ_EVENT: usize = 1;
const EVENT_CQ_EVENT: usize = 2;
const EVENT_WORDS: usize = 4;

/// How long the device may take for anything.
const TIMEOUT_MS: u32 = 100;
const RESET_TIMEOUT: Delta = Delta::from_millis(100);

/// How the device learns of descriptors.
const MODE_DOORBELL: u8 = 0;
const MODE_EVENTS: u8 = 1;
const MODE_POLL: u8 = 2;

kernel::module_pci_driver! {
    type: CqDriver,
    name: "cq",
    authors: ["The Bringup developers"],
    description: "Bringup's copy engine",
    license: "GPL v2",
    params: {
        mode: u8 {
            default: 0,
            description: "0: doorbells, 1: doorbells on demand, 2: the device polls",
        },
    },
}

type Bar0<'a> = pci::Bar<'a, { reg::SIZE }>;

/// A descriptor, little-endian.
#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    source: u64,
    destination: u64,
    len: u32,
    /// The id, and above it the flags.
    id_flags: u32,
    reserved: u64,
}

// SAFETY: Five numbers without gaps.
unsafe impl AsBytes for Descriptor {}
// SAFETY: Any bytes are five numbers.
unsafe impl FromBytes for Descriptor {}

/// A piece that the device has.
#[derive(Clone, Copy)]
struct Piece {
    len: u32,
}

/// The rings, and all that the device reaches.
struct Rings {
    sq: Coherent<[Descriptor]>,
    /// Entries of two words, or of four.
    cq: Coherent<[u32]>,
    events: Coherent<[u32]>,
    source: Coherent<[u8]>,
    destination: Coherent<[u8]>,
    mode: u8,
    /// Words of a completion.
    stride: usize,
    /// Descriptors submitted, and those the device was told of.
    tail: u16,
    told: u16,
    /// Completions taken.
    head: u16,
    /// By id: what the device has.
    pieces: [Option<Piece>; ENTRIES as usize],
    /// Bytes copied since the last submission of a batch.
    copied: usize,
    failed: bool,
    /// The device is not being reset.
    live: bool,
}

impl Rings {
    fn new(dev: &Device<Bound>, mode: u8, wide: bool) -> Result<Self> {
        let entries = usize::from(ENTRIES);
        let stride = if wide { 4 } else { 2 };
        Ok(Self {
            sq: Coherent::<Descriptor>::zeroed_slice(dev, entries, GFP_KERNEL)?,
            cq: Coherent::<u32>::zeroed_slice(dev, entries * stride, GFP_KERNEL)?,
            events: Coherent::<u32>::zeroed_slice(dev, EVENT_WORDS, GFP_KERNEL)?,
            source: Coherent::<u8>::zeroed_slice(dev, BUFFER, GFP_KERNEL)?,
            destination: Coherent::<u8>::zeroed_slice(dev, BUFFER, GFP_KERNEL)?,
            mode,
            stride,
            tail: 0,
            told: 0,
            head: 0,
            pieces: [None; ENTRIES as usize],
            copied: 0,
            failed: false,
            live: true,
        })
    }

    /// As new, for a device that was reset.
    fn clear(&mut self) -> Result {
        for word in 0..self.cq.len() {
            io_write!(self.cq, [try: word], 0);
        }
        for word in 0..EVENT_WORDS {
            io_write!(self.events, [try: word], 0);
        }
        for index in 0..usize::from(ENTRIES) {
            io_write!(self.sq, [try: index].id_flags, 0);
        }
        (self.tail, self.told, self.head) = (0, 0, 0);
        self.pieces = [None; ENTRIES as usize];
        self.failed = false;
        self.live = true;
        Ok(())
    }

    /// Tells the device where everything is, and starts it.
    fn start(&self, bar: &Bar0<'_>) -> Result {
        bar.write32(u32::from(ENTRIES), reg::RING_ENTRIES);
        bar.try_write64(self.sq.dma_address(), reg::SQ_BASE)?;
        bar.try_write64(self.cq.dma_address(), reg::CQ_BASE)?;
        bar.try_write64(self.events.dma_address(), reg::EVENT_BASE)?;
        // The status of each completion says what went wrong.
        bar.write32(IRQ_ERROR, reg::IRQ_MASK);
        let mode = match self.mode {
            MODE_EVENTS => CONTROL_EVENT_INDEX,
            MODE_POLL => CONTROL_POLL,
            _ => 0,
        };
        bar.write32(CONTROL_ENABLE | mode, reg::CONTROL);
        Ok(())
    }

    /// Whether one more piece can be submitted.
    fn has_room(&self) -> bool {
        self.pieces.iter().any(Option::is_none)
    }

    /// Puts a descriptor for the bytes at `offset` into the ring.
    fn submit(&mut self, offset: usize, len: u32) -> Result {
        let id = self.pieces.iter().position(Option::is_none).ok_or(ENOSPC)?;
        let index = usize::from(self.tail % ENTRIES);
        let phase = u32::from(1 - self.tail / ENTRIES % 2);
        let source = self.source.dma_address() + offset as u64;
        let destination = self.destination.dma_address() + offset as u64;
        io_write!(self.sq, [try: index].source, source.to_le());
        io_write!(self.sq, [try: index].destination, destination.to_le());
        io_write!(self.sq, [try: index].len, len.to_le());
        // A device that polls takes the descriptor when it sees the phase.
        dma_mb(Write);
        let id_flags = id as u32 | phase << 16;
        io_write!(self.sq, [try: index].id_flags, id_flags.to_le());
        self.pieces[id] = Some(Piece { len });
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Tells the device of what was submitted, if it does not see it by itself.
    fn ring(&mut self, bar: &Bar0<'_>) -> Result {
        let (old, new) = (self.told, self.tail);
        self.told = new;
        match self.mode {
            MODE_POLL => return Ok(()),
            MODE_EVENTS => {
                // Descriptors before the counter that shows them.
                dma_mb(Write);
                io_write!(self.events, [try: EVENT_SQ_TAIL], u32::from(new).to_le());
                // The counter before the look at what the device wants: it writes that, and then looks at the counter.
                mb(Full);
                let wanted = u32::from_le(io_read!(self.events, [try: EVENT_SQ_EVENT])) as u16;
                if !passed(wanted, new, old) {
                    return Ok(());
                }
            }
            _ => {}
        }
        bar.write32(u32::from(new), reg::SQ_TAIL);
        Ok(())
    }

    /// Takes what was completed; says whether there was anything.
    fn drain(&mut self, bar: &Bar0<'_>) -> Result<bool> {
        let before = self.head;
        loop {
            while self.take()? {}
            if self.mode != MODE_EVENTS {
                break;
            }
            // Ask for an interrupt, and look again: the device may have looked before.
            io_write!(self.events, [try: EVENT_CQ_EVENT], u32::from(self.head).to_le());
            mb(Full);
            if !self.is_next_there()? {
                break;
            }
        }
        if self.head == before {
            return Ok(false);
        }
        bar.write32(u32::from(self.head), reg::CQ_HEAD);
        Ok(true)
    }

    /// The first word of the next completion.
    fn next_entry(&self) -> usize {
        usize::from(self.head % ENTRIES) * self.stride
    }

    /// Reads the status of the next completion, and its phase.
    fn read_status(&self) -> Result<u32> {
        let last = self.next_entry() + self.stride - 1;
        let word = u32::from_le(io_read!(self.cq, [try: last]));
        Ok(if self.stride == 2 { word >> 16 } else { word })
    }

    fn is_next_there(&self) -> Result<bool> {
        let phase = u32::from(1 - self.head / ENTRIES % 2);
        Ok(self.read_status()? & 1 == phase)
    }

    /// Takes one completion, if there is one.
    fn take(&mut self) -> Result<bool> {
        let phase = u32::from(1 - self.head / ENTRIES % 2);
        let status = self.read_status()?;
        if status & 1 != phase {
            return Ok(false);
        }
        // The phase before the rest of the entry, and before the bytes that were copied.
        dma_mb(Read);
        let entry = self.next_entry();
        let len = u32::from_le(io_read!(self.cq, [try: entry]));
        let id = usize::from(u32::from_le(io_read!(self.cq, [try: entry + 1])) as u16);
        self.head = self.head.wrapping_add(1);
        let piece = self.pieces.get_mut(id).and_then(Option::take);
        match piece {
            Some(piece) if status >> 1 == 0 && len <= piece.len => self.copied += len as usize,
            // An id that was not submitted, an error, or more bytes than there is room for.
            _ => self.failed = true,
        }
        Ok(true)
    }

    /// Whether the device has nothing left.
    fn is_idle(&self) -> bool {
        self.pieces.iter().all(Option::is_none)
    }
}

/// Whether a counter came by `wanted` on its way from `old` to `new`.
fn passed(wanted: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(wanted).wrapping_sub(1) < new.wrapping_sub(old)
}

/// A device, shared by the driver, its interrupt handler and the files that are open.
#[pin_data]
struct Cq {
    bar: pci::DevresBar<{ reg::SIZE }>,
    #[pin]
    rings: SpinLockIrq<Option<Rings>>,
    #[pin]
    completed: CondVar,
    /// Held by whoever copies, or reads what was copied.
    #[pin]
    user: Mutex<()>,
}

impl Cq {
    fn new(bar: pci::DevresBar<{ reg::SIZE }>, rings: Rings) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                bar,
                rings <- new_spinlock_irq!(Some(rings)),
                completed <- new_condvar!(),
                user <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// Runs `f` on the registers. It must not sleep: the device cannot be unbound meanwhile.
    fn with_bar<R>(&self, f: impl FnOnce(&Bar0<'_>) -> R) -> Result<R> {
        let bar = self.bar.try_access().ok_or(ENODEV)?;
        Ok(f(&bar))
    }

    /// Starts the device.
    fn start(&self) -> Result {
        let rings = self.rings.lock();
        let rings = rings.as_ref().ok_or(ENODEV)?;
        self.with_bar(|bar| rings.start(bar))?
    }

    /// Resets the device, and waits until it cannot reach memory any more.
    fn reset(&self) -> Result {
        self.with_bar(|bar| bar.write32(CONTROL_RESET, reg::CONTROL))?;
        read_poll_timeout(
            || self.with_bar(|bar| bar.read32(reg::STATUS)),
            |status| status & STATUS_RESETTING == 0 || *status == GONE,
            Delta::from_micros(50),
            RESET_TIMEOUT,
        )
        .map(|_| ())
    }

    /// Begins again after the device did not do what it should.
    fn recover(&self) -> Result {
        // Interrupts that are still to come are about what is given up here.
        (*self.rings.lock()).as_mut().ok_or(ENODEV)?.live = false;
        self.reset()?;
        let mut rings = self.rings.lock();
        let rings = (*rings).as_mut().ok_or(ENODEV)?;
        rings.clear()?;
        self.with_bar(|bar| rings.start(bar))?
    }

    /// Copies `bytes` from one buffer to the other.
    fn copy(&self, bytes: &[u8]) -> Result {
        let _user = self.user.lock();
        let result = self.copy_pieces(bytes);
        if matches!(result, Err(error) if error == ETIMEDOUT || error == EIO) {
            self.recover()?;
        }
        result
    }

    fn copy_pieces(&self, bytes: &[u8]) -> Result {
        let mut rings = self.rings.lock();
        {
            let rings = (*rings).as_mut().ok_or(ENODEV)?;
            io_project!(rings.source, [try: ..bytes.len()]).copy_from_slice(bytes);
            rings.copied = 0;
        }
        let mut submitted = 0;
        let mut left = msecs_to_jiffies(TIMEOUT_MS);
        loop {
            let ready = (*rings).as_mut().ok_or(ENODEV)?;
            if ready.failed {
                return Err(EIO);
            }
            while submitted < bytes.len() && ready.has_room() {
                let len = PIECE.min(bytes.len() - submitted);
                ready.submit(submitted, len as u32)?;
                submitted += len;
            }
            if ready.told != ready.tail {
                self.with_bar(|bar| ready.ring(bar))??;
            }
            if submitted == bytes.len() && ready.is_idle() {
                return if ready.copied == bytes.len() {
                    Ok(())
                } else {
                    Err(EIO)
                };
            }
            if left == 0 {
                return Err(ETIMEDOUT);
            }
            left = match self.completed.wait_interruptible_timeout(&mut rings, left) {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Signal { .. } => return Err(EIO),
                // Look once more: it may have been completed at the last moment.
                CondVarTimeoutResult::Timeout => 0,
            };
        }
    }

    /// Reads what was copied, at `offset`.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result {
        let _user = self.user.lock();
        let rings = self.rings.lock();
        let rings = rings.as_ref().ok_or(ENODEV)?;
        io_project!(rings.destination, [try: offset..offset + bytes.len()]).copy_to_slice(bytes);
        Ok(())
    }

    /// Ends what is under way and lets no more begin. The device does not reach memory any more when this returns.
    fn stop(&self) {
        // From here on nobody starts the device again.
        let rings = self.rings.lock().take();
        self.completed.notify_all();
        // A device that is gone does not reach memory either.
        let _ = self.reset();
        drop(rings);
    }
}

/// The interrupt handler.
struct Interrupts(Arc<Cq>);

impl irq::Handler for Interrupts {
    fn handle(&self) -> irq::IrqReturn {
        let cq = &self.0;
        let mut rings = cq.rings.lock();
        let reasons = cq.with_bar(|bar| {
            let reasons = bar.read32(reg::IRQ_STATUS);
            if reasons & IRQ_COMPLETION != 0 && reasons != GONE {
                bar.write32(IRQ_COMPLETION, reg::IRQ_ACK);
                // Posted until it is read back: what is completed from here on raises an interrupt again.
                bar.read32(reg::IRQ_STATUS);
            }
            reasons
        });
        let Ok(reasons) = reasons else {
            return irq::IrqReturn::None;
        };
        if reasons & IRQ_COMPLETION == 0 || reasons == GONE {
            return irq::IrqReturn::None;
        }
        if let Some(rings) = (*rings).as_mut().filter(|rings| rings.live) {
            if !matches!(cq.with_bar(|bar| rings.drain(bar)), Ok(Ok(_))) {
                rings.failed = true;
            }
        }
        drop(rings);
        cq.completed.notify_all();
        irq::IrqReturn::Handled
    }
}

/// The device runs; it is stopped when this is dropped.
struct Running(Arc<Cq>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What belongs to a bound device. Dropped from top to bottom: no new users, no device, no interrupts, no vectors.
#[pin_data]
struct CqData<'bound> {
    #[pin]
    misc: MiscDeviceRegistration<Cq>,
    running: Running,
    #[pin]
    irq: irq::Registration<'bound, Interrupts>,
    vectors: pci::IrqVectorRegistration<'bound>,
    cq: Arc<Cq>,
}

#[vtable]
impl MiscDevice for Cq {
    type Ptr = Arc<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Self>> {
        // SAFETY: The only registration of this type is the field of `CqData`, whose `cq` is initialised before and
        // dropped after the registration, so it is there while a file is being opened.
        let cq = unsafe {
            &(*kernel::container_of!(core::ptr::from_ref(misc), CqData<'static>, misc)).cq
        };
        Ok(cq.clone())
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let offset = usize::try_from(kiocb.ki_pos())?;
        let len = iov.len().min(BUFFER.saturating_sub(offset));
        if len == 0 {
            return Ok(0);
        }
        let mut bytes = KVec::from_elem(0u8, len, GFP_KERNEL)?;
        kiocb.file().read(offset, &mut bytes)?;
        let copied = iov.copy_to_iter(&bytes);
        if copied == 0 {
            return Err(EFAULT);
        }
        *kiocb.ki_pos_mut() += i64::try_from(copied)?;
        Ok(copied)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let len = iov.len().min(BUFFER);
        if len == 0 {
            return Ok(0);
        }
        let mut bytes = KVec::from_elem(0u8, len, GFP_KERNEL)?;
        let copied = iov.copy_from_iter(&mut bytes);
        if copied == 0 {
            return Err(EFAULT);
        }
        kiocb.file().copy(&bytes[..copied])?;
        Ok(copied)
    }
}

struct CqDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <CqDriver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(0x120000, 0xffffff), ())]
);

/// Reads the device's name, which is as long as the device says.
fn read_name(bar: &Bar0<'_>) -> Result<KVec<u8>> {
    let len = bar.read32(reg::INFO_LEN) as usize;
    let mut name = KVec::new();
    for at in 0..len.min(INFO_SIZE) {
        name.push(bar.try_read8(reg::INFO + at)?, GFP_KERNEL)?;
    }
    Ok(name)
}

/// How the device is to be used: as the parameter says, if it can.
fn mode_for(caps: u32) -> u8 {
    match *module_parameters::mode.value_ref() {
        MODE_EVENTS if caps & CAPS_EVENT_INDEX != 0 => MODE_EVENTS,
        MODE_POLL if caps & CAPS_POLL != 0 => MODE_POLL,
        _ => MODE_DOORBELL,
    }
}

impl pci::Driver for CqDriver {
    type IdInfo = ();
    type Data<'bound> = CqData<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            if (pdev.vendor_id().as_raw(), pdev.device_id()) != (VENDOR, DEVICE) {
                return Err(ENODEV);
            }
            pdev.enable_device_mem()?;
            let bar = pdev.iomap_region_sized::<{ reg::SIZE }>(0, c"cq")?;
            let id = bar.read32(reg::ID);
            if id != IDENTIFICATION {
                dev_err!(pdev, "no copy engine: {:#010x}\n", id);
                return Err(ENODEV);
            }
            // Whatever an earlier user left behind must not reach memory when it may.
            bar.write32(CONTROL_RESET, reg::CONTROL);
            read_poll_timeout(
                || Ok(bar.read32(reg::STATUS)),
                |status| status & STATUS_RESETTING == 0,
                Delta::from_micros(50),
                RESET_TIMEOUT,
            )?;
            // SAFETY: Nothing was allocated or mapped for the device yet.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
            pdev.set_master();

            let caps = bar.read32(reg::CAPS);
            let name = read_name(&bar)?;
            let rings = Rings::new(pdev.as_ref(), mode_for(caps), caps & CAPS_WIDE != 0)?;
            let cq = Cq::new(bar.into_devres()?, rings)?;
            let vectors = pdev.alloc_irq_vectors(1, 1, pci::IrqTypes::all())?;
            dev_info!(pdev, "copy engine, a name of {} bytes\n", name.len());

            Ok(try_pin_init!(CqData {
                cq,
                vectors,
                irq <- {
                    // SAFETY: `vectors` is a field of the same structure, which is pinned, and is dropped after `irq`.
                    let vectors = unsafe { &*core::ptr::from_ref::<pci::IrqVectorRegistration<'bound>>(vectors) };
                    let request = vectors.index(0)?.into();
                    // SAFETY: `CqData` is the driver's data, which the driver core drops.
                    unsafe { irq::Registration::new(request, irq::Flags::SHARED, c"cq", Ok(Interrupts(cq.clone()))) }
                },
                running: {
                    cq.start()?;
                    Running(cq.clone())
                },
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"cq" }),
            }))
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.cq.stop();
    }
}
