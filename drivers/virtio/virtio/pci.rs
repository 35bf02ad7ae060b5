// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! The modern PCI transport as its driver sees it (virtio 1.4 §4.1).
//!
//! ```text
//! Transport::new   finds the structures, maps them, resets the device
//! negotiate        ACKNOWLEDGE, DRIVER, features, FEATURES_OK
//! enable_queue     for each queue
//! driver_ok        the device is live: kick
//! reset            from anywhere, to begin again or to leave
//! ```
//!
//! Registers that the device selects by queue or by feature word are used by [`negotiate`](Transport::negotiate) and those
//! that set queues up or reset them: these take turns by a lock. The others may be called at any time, also from an
//! interrupt handler.

use super::feature;
use kernel::{
    bindings,
    device::{Bound, Core, Device},
    dma::{Device as _, DmaAddress, DmaMask},
    io::{poll::read_poll_timeout, Io},
    new_mutex, pci,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Mutex,
    },
    time::Delta,
};

mod capabilities;
mod interrupts;

use capabilities::Structures;
pub(crate) use interrupts::{Events, Interrupts};

/// Offsets in the common configuration structure (§4.1.4.3).
pub(crate) mod common {
    pub(crate) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(crate) const DEVICE_FEATURE: usize = 0x04;
    pub(crate) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(crate) const DRIVER_FEATURE: usize = 0x0c;
    pub(crate) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(crate) const NUM_QUEUES: usize = 0x12;
    pub(crate) const DEVICE_STATUS: usize = 0x14;
    pub(crate) const CONFIG_GENERATION: usize = 0x15;
    pub(crate) const QUEUE_SELECT: usize = 0x16;
    pub(crate) const QUEUE_SIZE: usize = 0x18;
    pub(crate) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(crate) const QUEUE_ENABLE: usize = 0x1c;
    pub(crate) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub(crate) const QUEUE_DESC: usize = 0x20;
    pub(crate) const QUEUE_DRIVER: usize = 0x28;
    pub(crate) const QUEUE_DEVICE: usize = 0x30;
    pub(crate) const QUEUE_NOTIF_CONFIG_DATA: usize = 0x38;
    pub(crate) const QUEUE_RESET: usize = 0x3a;
}

/// Bits of the device status (§2.1).
pub(crate) mod status {
    pub(crate) const ACKNOWLEDGE: u8 = 1;
    pub(crate) const DRIVER: u8 = 2;
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const DEVICE_NEEDS_RESET: u8 = 64;
    pub(crate) const FAILED: u8 = 128;
    /// What a device that is gone answers.
    pub(crate) const GONE: u8 = u8::MAX;
}

/// Bits of the ISR status (§4.1.4.5).
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// A vector register's value for none (§4.1.5.1.2).
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// How long a reset of the device or of a queue may take.
const RESET_TIMEOUT: Delta = Delta::from_millis(2000);

/// How often configuration is read anew because it changed meanwhile.
const CONFIG_ATTEMPTS: usize = 256;

/// Where the driver kicks for a queue, and what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doorbell {
    /// Offset in the BAR of the notification structure.
    at: usize,
    /// The queue, by the number that the device wants to hear.
    value: u16,
    /// 32 bits: the queue's [`notification_data`](super::ring::Queue::notification_data) goes along.
    with_data: bool,
}

/// A virtio function on PCI.
///
/// Its registers go when the device is unbound; from then on everything fails with `ENODEV`.
#[pin_data]
pub(crate) struct Transport {
    structures: Structures,
    /// What was negotiated.
    features: Atomic<u64>,
    /// A queue had to share the vector of configuration changes.
    shares_vector: Atomic<bool>,
    /// Held while registers are used that depend on a selector.
    #[pin]
    selectors: Mutex<()>,
}

impl Transport {
    /// Finds and maps the structures of a function, resets the device, and lets it reach memory.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has no usable modern interface or is gone, `ETIMEDOUT` if the reset does not end.
    pub(crate) fn new(
        pdev: &pci::Device<Core<'_>>,
        name: &'static CStr,
    ) -> Result<impl PinInit<Self, Error> + use<>> {
        pdev.enable_device_mem()?;
        let structures = Structures::find(pdev, name)?;
        // Whatever a previous user left behind must not reach memory when it may.
        structures.reset()?;
        // SAFETY: Nothing was allocated or mapped for the device yet.
        unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
        pdev.set_master();
        Ok(try_pin_init!(Self {
            structures,
            features: Atomic::new(0),
            shares_vector: Atomic::new(false),
            selectors <- new_mutex!(()),
        }))
    }

    /// The function, for messages.
    pub(crate) fn device(&self) -> Option<&Device> {
        self.structures.bars.device()
    }

    /// Resets the device and waits until it is (§2.4, §4.1.4.3.2). It does not touch memory any more then.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the device is gone, `ETIMEDOUT`.
    pub(crate) fn reset(&self) -> Result {
        self.features.store(0, Relaxed);
        self.structures.reset()
    }

    /// The device status; `ENODEV` if the device is gone.
    #[track_caller]
    pub(crate) fn read_status(&self) -> Result<u8> {
        self.structures.read_status()
    }

    /// Sets bits of the status, beside those that are set.
    #[track_caller]
    fn add_status(&self, bits: u8) -> Result {
        let status = self.read_status()?;
        self.structures
            .common
            .write8(&self.structures.bars, common::DEVICE_STATUS, status | bits)
    }

    /// Tells the device that the driver gave up. Only a reset goes on from there.
    pub(crate) fn fail(&self) {
        // A device that is gone need not know.
        let _ = self.add_status(status::FAILED);
    }

    #[track_caller]
    fn common16(&self, at: usize) -> Result<u16> {
        self.structures.common.read16(&self.structures.bars, at)
    }

    #[track_caller]
    fn common32(&self, at: usize) -> Result<u32> {
        self.structures.common.read32(&self.structures.bars, at)
    }

    #[track_caller]
    fn set_common16(&self, at: usize, value: u16) -> Result {
        self.structures
            .common
            .write16(&self.structures.bars, at, value)
    }

    #[track_caller]
    fn set_common32(&self, at: usize, value: u32) -> Result {
        self.structures
            .common
            .write32(&self.structures.bars, at, value)
    }

    /// Sets a 64-bit register, which is written in halves (§4.1.3.1).
    #[track_caller]
    fn set_common64(&self, at: usize, value: u64) -> Result {
        self.set_common32(at, value as u32)?;
        self.set_common32(at + 4, (value >> 32) as u32)
    }

    /// Begins with a device that was reset, and agrees on features: those of `wanted` that it offers, as far as `legal` lets
    /// them stand together (§3.1.1). The caller sets queues up next, and reads configuration.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the device is gone, cannot do without a legacy driver, or does not accept the features. It was told then.
    pub(crate) fn negotiate(&self, wanted: u64, legal: impl FnOnce(u64) -> u64) -> Result<u64> {
        let _selectors = self.selectors.lock();
        self.add_status(status::ACKNOWLEDGE)?;
        self.add_status(status::DRIVER)?;

        let mut offered = 0;
        for word in 0..2 {
            self.set_common32(common::DEVICE_FEATURE_SELECT, word)?;
            offered |= u64::from(self.common32(common::DEVICE_FEATURE)?) << (32 * word);
        }
        let mut features = offered & (wanted | feature::bit(feature::VERSION_1));
        // Features whose registers lie beyond the end of the structure cannot be used.
        for (bit, register) in [
            (feature::NOTIF_CONFIG_DATA, common::QUEUE_NOTIF_CONFIG_DATA),
            (feature::RING_RESET, common::QUEUE_RESET),
        ] {
            if !self.structures.common.has(register, 2) {
                features &= !feature::bit(bit);
            }
        }
        let features = legal(features);
        if features & feature::bit(feature::VERSION_1) == 0 {
            self.fail();
            return Err(ENODEV);
        }
        for word in 0..2 {
            self.set_common32(common::DRIVER_FEATURE_SELECT, word)?;
            self.set_common32(common::DRIVER_FEATURE, (features >> (32 * word)) as u32)?;
        }
        self.add_status(status::FEATURES_OK)?;
        if self.read_status()? & status::FEATURES_OK == 0 {
            self.fail();
            return Err(ENODEV);
        }
        self.features.store(features, Relaxed);
        Ok(features)
    }

    /// Whether a feature was negotiated.
    pub(crate) fn has(&self, bit: u32) -> bool {
        self.features.load(Relaxed) & feature::bit(bit) != 0
    }

    /// How many queues the device has at most.
    pub(crate) fn read_num_queues(&self) -> Result<u16> {
        self.common16(common::NUM_QUEUES)
    }

    /// Selects a queue, for whoever holds the lock.
    #[track_caller]
    fn select(&self, index: u16) -> Result {
        self.set_common16(common::QUEUE_SELECT, index)
    }

    /// The largest size of a queue that is no larger than `most`, in elements.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the device does not have the queue.
    pub(crate) fn read_queue_size(&self, index: u16, most: u16) -> Result<u16> {
        let _selectors = self.selectors.lock();
        self.select(index)?;
        let size = self.common16(common::QUEUE_SIZE)?;
        let size = size.min(most).min(super::ring::MAX_SIZE);
        if size == 0 {
            return Err(ENOENT);
        }
        if self.has(feature::RING_PACKED) {
            Ok(size)
        } else {
            // Powers of two only (§2.7).
            Ok(1 << size.ilog2())
        }
    }

    /// Tells the device which vector configuration changes have.
    pub(crate) fn set_config_vector(&self, vector: u16) -> Result {
        let _selectors = self.selectors.lock();
        self.set_vector(common::CONFIG_MSIX_VECTOR, vector)
    }

    /// Writes a vector register and reads it back, as the device may have run out of what it needs (§4.1.5.1.2).
    #[track_caller]
    fn set_vector(&self, register: usize, vector: u16) -> Result {
        if vector == NO_VECTOR {
            return Ok(());
        }
        self.set_common16(register, vector)?;
        if self.common16(register)? == vector {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Tells the device of a queue and enables it (§4.1.5.1.3). It is new, or was reset.
    ///
    /// A device that has no room for the queue's own vector gets vector 0, which is that of configuration changes.
    ///
    /// # Errors
    ///
    /// `EIO` if what the device says of the queue cannot be, `EBUSY` if there is no vector for it at all.
    pub(crate) fn enable_queue(
        &self,
        index: u16,
        size: u16,
        addresses: [DmaAddress; 3],
        vector: u16,
    ) -> Result<Doorbell> {
        let _selectors = self.selectors.lock();
        self.select(index)?;
        // After a reset it is the device's largest again, and none if the device does not have the queue any more.
        if self.common16(common::QUEUE_SIZE)? < size {
            return Err(EIO);
        }
        let doorbell = self.doorbell(index)?;
        self.set_common16(common::QUEUE_SIZE, size)?;
        if self.set_vector(common::QUEUE_MSIX_VECTOR, vector).is_err() {
            self.set_vector(common::QUEUE_MSIX_VECTOR, 0)?;
            self.shares_vector.store(true, Relaxed);
        }
        let [descriptors, driver, device] = addresses;
        self.set_common64(common::QUEUE_DESC, descriptors)?;
        self.set_common64(common::QUEUE_DRIVER, driver)?;
        self.set_common64(common::QUEUE_DEVICE, device)?;
        self.set_common16(common::QUEUE_ENABLE, 1)?;
        Ok(doorbell)
    }

    /// Where the selected queue is kicked (§4.1.4.4).
    fn doorbell(&self, index: u16) -> Result<Doorbell> {
        let with_data = self.has(feature::NOTIFICATION_DATA);
        let value = if self.has(feature::NOTIF_CONFIG_DATA) {
            self.common16(common::QUEUE_NOTIF_CONFIG_DATA)?
        } else {
            index
        };
        let offset = u64::from(self.common16(common::QUEUE_NOTIFY_OFF)?)
            * u64::from(self.structures.notify_multiplier);
        let at = usize::try_from(offset).map_err(|_| EIO)?;
        let width = if with_data { 4 } else { 2 };
        if !self.structures.notify.has(at, width) {
            return Err(EIO);
        }
        Ok(Doorbell {
            at,
            value,
            with_data,
        })
    }

    /// Kicks: `data` is the queue's [`notification_data`](super::ring::Queue::notification_data), asked for after it was
    /// published.
    pub(crate) fn kick(&self, doorbell: &Doorbell, data: u16) -> Result {
        let Structures { notify, bars, .. } = &self.structures;
        if doorbell.with_data {
            let value = u32::from(doorbell.value) | u32::from(data) << 16;
            notify.write32(bars, doorbell.at, value)
        } else {
            notify.write16(bars, doorbell.at, doorbell.value)
        }
    }

    /// Resets a queue and waits until it is (§2.6.1). It is enabled again with [`enable_queue`](Self::enable_queue).
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` unless RING_RESET was negotiated, `ETIMEDOUT`.
    pub(crate) fn reset_queue(&self, index: u16) -> Result {
        if !self.has(feature::RING_RESET) {
            return Err(EOPNOTSUPP);
        }
        let _selectors = self.selectors.lock();
        self.select(index)?;
        self.set_common16(common::QUEUE_RESET, 1)?;
        read_poll_timeout(
            || {
                Ok((
                    self.common16(common::QUEUE_RESET)?,
                    self.common16(common::QUEUE_ENABLE)?,
                ))
            },
            |(resetting, enabled)| (*resetting, *enabled) == (0, 0),
            Delta::from_millis(1),
            RESET_TIMEOUT,
        )
        .map(|_| ())
    }

    /// The device is set up: it may work, and may be kicked.
    pub(crate) fn driver_ok(&self) -> Result {
        self.add_status(status::DRIVER_OK)
    }

    /// Why the device raised its pin; reading lets it go. 0 if it did not, or is gone.
    fn read_isr(&self) -> u8 {
        let Structures { isr, bars, .. } = &self.structures;
        match isr.read8(bars, 0) {
            Ok(status::GONE) | Err(_) => 0,
            Ok(isr) => isr,
        }
    }

    /// Reads configuration of the device's type: `read` is called until nothing changed meanwhile (§2.5.1).
    ///
    /// # Errors
    ///
    /// Those of `read`; `EIO` if it changes without end.
    pub(crate) fn read_config<R>(&self, read: impl Fn(&Config<'_>) -> Result<R>) -> Result<R> {
        let Structures { common, bars, .. } = &self.structures;
        for _ in 0..CONFIG_ATTEMPTS {
            let before = common.read8(bars, common::CONFIG_GENERATION)?;
            let value = read(&Config(&self.structures))?;
            if common.read8(bars, common::CONFIG_GENERATION)? == before {
                return Ok(value);
            }
        }
        Err(EIO)
    }

    /// Writes a byte of configuration. The driver must have negotiated the field's feature.
    pub(crate) fn write_config8(&self, at: usize, value: u8) -> Result {
        let config = self.structures.config.as_ref().ok_or(EIO)?;
        config.write8(&self.structures.bars, at, value)
    }
}

/// Configuration of the device's type, while it is read.
///
/// A field is read with the method of its width; `EIO` if the device's structure ends before it.
pub(crate) struct Config<'a>(&'a Structures);

impl Config<'_> {
    fn place(&self, at: usize, width: usize) -> Result<&capabilities::Structure> {
        let config = self.0.config.as_ref().ok_or(EIO)?;
        if config.has(at, width) {
            Ok(config)
        } else {
            Err(EIO)
        }
    }

    pub(crate) fn read8(&self, at: usize) -> Result<u8> {
        self.place(at, 1)?.read8(&self.0.bars, at)
    }

    pub(crate) fn read16(&self, at: usize) -> Result<u16> {
        self.place(at, 2)?.read16(&self.0.bars, at)
    }

    pub(crate) fn read32(&self, at: usize) -> Result<u32> {
        self.place(at, 4)?.read32(&self.0.bars, at)
    }

    /// In halves (§4.1.3.1).
    pub(crate) fn read64(&self, at: usize) -> Result<u64> {
        let low = self.read32(at)?;
        let high = self.read32(at + 4)?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }
}

/// Keeps a device from reaching memory, whatever it does. [`pci::Device`] has no method for it yet.
pub(crate) fn disable_bus_master(pdev: &pci::Device<Bound>) {
    kernel::io::register! {
        COMMAND(u16) @ 0x4 {
            2:2 bus_master => bool;
        }
    }

    pdev.config_space()
        .update(COMMAND, |command| command.with_bus_master(false));
}

/// A function's BAR may be as large as the bus has room.
type BarLen = bindings::resource_size_t;
