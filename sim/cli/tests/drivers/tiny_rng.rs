//! A virtio entropy driver as a newcomer would write it: one file, one split queue of eight, no interrupts. It is right, unless the
//! parameter `plant` says which mistake it is to make.

use kernel::{
    device::Core,
    dma::{Coherent, Device as _, DmaMask},
    fs::{File, Kiocb},
    io::{io_project, poll::read_poll_timeout, Io},
    iov::IovIterDest,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_mutex, pci,
    prelude::*,
    sync::{
        barrier::{dma_mb, mb, Full, Read, Write},
        Arc, Mutex,
    },
    time::Delta,
    InPlaceModule,
};

/// Offsets in the common configuration (virtio 1.4 §4.1.4.3).
const DEVICE_FEATURE_SELECT: usize = 0x00;
const DEVICE_FEATURE: usize = 0x04;
const DRIVER_FEATURE_SELECT: usize = 0x08;
const DRIVER_FEATURE: usize = 0x0c;
const STATUS: usize = 0x14;
const QUEUE_SELECT: usize = 0x16;
const QUEUE_SIZE: usize = 0x18;
const QUEUE_VECTOR: usize = 0x1a;
const QUEUE_ENABLE: usize = 0x1c;
const QUEUE_NOTIFY_OFF: usize = 0x1e;
const QUEUE_ADDRESSES: [usize; 3] = [0x20, 0x28, 0x30];

/// Bits of the device status (§2.1).
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const FAILED: u8 = 128;

/// Features that are accepted: VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM; and those that VIRTIO 1.4 has for all types.
const WANTED: u64 = 1 << 32 | 1 << 33 | 1 << 36;
const KNOWN: u64 = 0xff_ff00_0000 & !(1 << 25 | 1 << 26) | 1 << 40 | 1 << 41;

/// The queue: how many elements, and where its parts and the buffer are in the memory that it shares with the device.
const ELEMENTS: u16 = 8;
const AVAILABLE: usize = 128;
const USED: usize = 256;
const BUFFER: usize = 512;
const BUFFER_SIZE: usize = 512;

const TIMEOUT: Delta = Delta::from_millis(1000);

/// Mistakes, by their numbers.
const ACCEPTS_UNKNOWN: u8 = 1;
const NO_READ_BACK: u8 = 2;
const WIDE_ACCESS: u8 = 3;
const ENABLES_EARLY: u8 = 4;
const KICKS_EARLY: u8 = 5;
const NO_RESET_WAIT: u8 = 6;
const VECTOR_UNREAD: u8 = 7;
const TAKES_ANY_CAPABILITY: u8 = 8;
const GIVES_UP: u8 = 9;
const NO_BARRIER: u8 = 10;
const NO_KICK: u8 = 11;
const LEAVES_SILENTLY: u8 = 12;
const NO_ACKNOWLEDGE: u8 = 13;
const DROPS_BITS: u8 = 14;

fn plant(mistake: u8) -> bool {
    module_parameters::plant.value() == mistake
}

module! {
    type: TinyModule,
    name: "tiny_rng",
    authors: ["Bringup"],
    description: "A small virtio entropy driver",
    license: "GPL",
    params: {
        plant: u8 {
            default: 0,
            description: "The mistake to make",
        },
    },
}

#[pin_data]
struct TinyModule {
    #[pin]
    driver: kernel::driver::Registration<pci::Adapter<TinyDriver>>,
}

impl InPlaceModule for TinyModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            driver <- kernel::driver::Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}

/// Where the structures are in their BAR.
struct Place {
    bar: u32,
    common: usize,
    notify: usize,
    multiplier: usize,
}

impl Place {
    fn find(pdev: &pci::Device<Core<'_>>) -> Result<Self> {
        let space = pdev.config_space();
        let (mut common, mut notify) = (None, None);
        let mut at = usize::from(space.try_read8(0x34)? & !3);
        for _ in 0..48 {
            if at < 0x40 {
                break;
            }
            let kind = space.try_read8(at + 3)?;
            let bar = u32::from(space.try_read8(at + 4)?);
            if space.try_read8(at)? == 0x09 && bar <= 5 {
                let offset = space.try_read32(at + 8)? as usize;
                let takes_any = plant(TAKES_ANY_CAPABILITY) && !(2..=5).contains(&kind);
                if common.is_none() && (kind == 1 || takes_any) {
                    common = Some((bar, offset));
                }
                if notify.is_none() && kind == 2 {
                    notify = Some((bar, offset, space.try_read32(at + 16)? as usize));
                }
            }
            at = usize::from(space.try_read8(at + 1)? & !3);
        }
        match (common, notify) {
            (Some((bar, common)), Some((same, notify, multiplier))) if bar == same => Ok(Self {
                bar,
                common,
                notify,
                multiplier,
            }),
            _ => Err(ENODEV),
        }
    }
}

struct Ring {
    memory: Coherent<[u8]>,
    /// Buffers that were made available so far.
    available: u16,
}

impl Ring {
    fn write(&self, at: usize, bytes: &[u8]) -> Result {
        io_project!(self.memory, [try: at..at + bytes.len()]).copy_from_slice(bytes);
        Ok(())
    }

    fn write16(&self, at: usize, value: u16) -> Result {
        let place = io_project!(self.memory, [try: at..at + 2]).try_cast::<u16>()?;
        place.write_val(value.to_le());
        Ok(())
    }

    fn read16(&self, at: usize) -> Result<u16> {
        let place = io_project!(self.memory, [try: at..at + 2]).try_cast::<u16>()?;
        Ok(u16::from_le(place.read_val()))
    }

    fn read32(&self, at: usize) -> Result<u32> {
        let place = io_project!(self.memory, [try: at..at + 4]).try_cast::<u32>()?;
        Ok(u32::from_le(place.read_val()))
    }
}

#[pin_data]
struct Tiny {
    bar: pci::DevresBar,
    common: usize,
    doorbell: usize,
    /// Gone when the device is.
    #[pin]
    ring: Mutex<Option<Ring>>,
}

fn read_status(bar: &pci::DevresBar, common: usize) -> Result<u8> {
    bar.try_access_with(|bar| bar.try_read8(common + STATUS))
        .ok_or(ENODEV)?
}

fn reset(bar: &pci::DevresBar, common: usize) -> Result {
    bar.try_access_with(|bar| bar.try_write8(0, common + STATUS))
        .ok_or(ENODEV)??;
    if plant(NO_RESET_WAIT) {
        return Ok(());
    }
    read_poll_timeout(
        || read_status(bar, common),
        |status| *status == 0,
        Delta::from_millis(1),
        TIMEOUT,
    )
    .map(|_| ())
}

/// Negotiates and sets the queue up; returns where it is kicked.
fn start(bar: &pci::Bar<'_>, place: &Place, ring: &Ring) -> Result<usize> {
    let at = |register: usize| place.common + register;
    let add_status = |bits: u8| {
        let before = bar.try_read8(at(STATUS))?;
        bar.try_write8(before | bits, at(STATUS))
    };
    let refuse = || {
        add_status(FAILED)?;
        Err(ENODEV)
    };
    if !plant(NO_ACKNOWLEDGE) {
        add_status(ACKNOWLEDGE)?;
    }
    add_status(DRIVER)?;

    let mut offered = 0u64;
    for word in 0..2 {
        bar.try_write32(word, at(DEVICE_FEATURE_SELECT))?;
        offered |= u64::from(bar.try_read32(at(DEVICE_FEATURE))?) << (32 * word);
    }
    if plant(GIVES_UP) && offered & !KNOWN & !0xff_ffff != 0 {
        return refuse();
    }
    let mut accepted = offered & WANTED;
    if plant(ACCEPTS_UNKNOWN) {
        accepted |= offered & !KNOWN;
    }
    if accepted & 1 << 32 == 0 {
        return refuse();
    }
    for word in 0..2 {
        bar.try_write32(word, at(DRIVER_FEATURE_SELECT))?;
        bar.try_write32((accepted >> (32 * word)) as u32, at(DRIVER_FEATURE))?;
    }
    add_status(FEATURES_OK)?;
    if !plant(NO_READ_BACK) && bar.try_read8(at(STATUS))? & FEATURES_OK == 0 {
        return if plant(LEAVES_SILENTLY) {
            Err(ENODEV)
        } else {
            refuse()
        };
    }

    bar.try_write16(0, at(QUEUE_SELECT))?;
    let size = if plant(WIDE_ACCESS) {
        bar.try_read32(at(QUEUE_SIZE))? as u16
    } else {
        bar.try_read16(at(QUEUE_SIZE))?
    };
    if size < ELEMENTS {
        return refuse();
    }
    let doorbell =
        place.notify + usize::from(bar.try_read16(at(QUEUE_NOTIFY_OFF))?) * place.multiplier;
    bar.try_write16(ELEMENTS, at(QUEUE_SIZE))?;
    if plant(VECTOR_UNREAD) {
        bar.try_write16(0, at(QUEUE_VECTOR))?;
    }
    if plant(ENABLES_EARLY) {
        bar.try_write16(1, at(QUEUE_ENABLE))?;
    }
    let memory = ring.memory.dma_address();
    for (register, part) in QUEUE_ADDRESSES.into_iter().zip([0, AVAILABLE, USED]) {
        let address = memory + part as u64;
        bar.try_write32(address as u32, at(register))?;
        bar.try_write32((address >> 32) as u32, at(register + 4))?;
    }
    if !plant(ENABLES_EARLY) {
        bar.try_write16(1, at(QUEUE_ENABLE))?;
    }
    if plant(KICKS_EARLY) {
        bar.try_write16(0, doorbell)?;
    }
    if plant(DROPS_BITS) {
        bar.try_write8(DRIVER_OK | FEATURES_OK, at(STATUS))?;
    } else {
        add_status(DRIVER_OK)?;
    }
    Ok(doorbell)
}

impl Tiny {
    /// Lets the device fill the buffer, and gives what it wrote.
    fn fill(&self, ring: &mut Ring) -> Result<usize> {
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&(ring.memory.dma_address() + BUFFER as u64).to_le_bytes());
        descriptor[8..12].copy_from_slice(&(BUFFER_SIZE as u32).to_le_bytes());
        // For the device to write.
        descriptor[12] = 2;
        ring.write(0, &descriptor)?;
        ring.write16(AVAILABLE + 4 + 2 * usize::from(ring.available % ELEMENTS), 0)?;
        if !plant(NO_BARRIER) {
            dma_mb(Write);
        }
        let before = ring.available;
        ring.available = before.wrapping_add(1);
        ring.write16(AVAILABLE + 2, ring.available)?;
        mb(Full);
        if ring.read16(USED)? & 1 == 0 && !plant(NO_KICK) {
            self.bar
                .try_access_with(|bar| bar.try_write16(0, self.doorbell))
                .ok_or(ENODEV)??;
        }
        read_poll_timeout(
            || ring.read16(USED + 2),
            |used| *used == ring.available,
            Delta::from_micros(10),
            TIMEOUT,
        )?;
        dma_mb(Read);
        let element = USED + 4 + 8 * usize::from(before % ELEMENTS);
        let (id, written) = (ring.read32(element)?, ring.read32(element + 4)? as usize);
        if id != 0 || written > BUFFER_SIZE {
            return Err(EIO);
        }
        Ok(written)
    }

    /// The device is left alone: it is reset, and its memory goes when it cannot be reached any more.
    fn stop(&self) {
        let mut ring = self.ring.lock();
        // A device that is gone reaches nothing.
        if ring.is_some() && reset(&self.bar, self.common) != Err(ETIMEDOUT) {
            *ring = None;
        }
    }
}

#[vtable]
impl MiscDevice for Tiny {
    type Ptr = Arc<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Self>> {
        // SAFETY: The only registration of this type is the field of `Data`, whose `tiny` outlives it.
        let tiny =
            unsafe { &(*kernel::container_of!(core::ptr::from_ref(misc), Data, misc)).tiny };
        Ok(tiny.clone())
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let tiny = kiocb.file();
        let mut bytes = [0; BUFFER_SIZE];
        let written = {
            let mut guard = tiny.ring.lock();
            let ring = (*guard).as_mut().ok_or(ENODEV)?;
            let written = tiny.fill(ring);
            if let Ok(written) = written {
                io_project!(ring.memory, [try: BUFFER..BUFFER + written])
                    .copy_to_slice(&mut bytes[..written]);
            }
            written
        };
        match written {
            Ok(written) => Ok(iov.copy_to_iter(&bytes[..written.min(iov.len())])),
            Err(error) => {
                tiny.stop();
                Err(error)
            }
        }
    }
}

#[pin_data]
struct Data {
    #[pin]
    misc: MiscDeviceRegistration<Tiny>,
    tiny: Arc<Tiny>,
}

struct TinyDriver;

kernel::pci_device_table!(
    TABLE,
    <TinyDriver as pci::Driver>::IdInfo,
    [
        (pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, 0x1044), ()),
        (pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, 0x1005), ()),
    ]
);

impl pci::Driver for TinyDriver {
    type IdInfo = ();
    type Data<'bound> = Data;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _row: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            pdev.enable_device_mem()?;
            let place = Place::find(pdev)?;
            let bar = pdev.iomap_region(place.bar, c"tiny_rng")?.into_devres()?;
            reset(&bar, place.common)?;
            // SAFETY: Nothing was allocated or mapped for the device yet.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
            pdev.set_master();
            let memory = Coherent::<u8>::zeroed_slice(pdev.as_ref(), 4096, GFP_KERNEL)?;
            let ring = Ring { memory, available: 0 };
            // Nobody listens to interrupts.
            ring.write16(AVAILABLE, 1)?;
            let doorbell = bar.try_access_with(|bar| start(bar, &place, &ring)).ok_or(ENODEV)??;
            let tiny = Arc::pin_init(
                try_pin_init!(Tiny {
                    bar,
                    common: place.common,
                    doorbell,
                    ring <- new_mutex!(Some(ring)),
                }),
                GFP_KERNEL,
            )?;
            dev_info!(pdev, "ready\n");
            Ok(try_pin_init!(Data {
                tiny,
                misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"tiny_rng" }),
            }))
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        this.tiny.stop();
    }
}
