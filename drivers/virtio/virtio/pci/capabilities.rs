// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT

//! Where a function has its structures: capabilities, and the BARs that they lead to (virtio 1.4 §4.1.4).

use super::*;

/// In configuration space: the status register with its bit for a list of capabilities, and where the list begins.
const STATUS: usize = 0x06;
const STATUS_CAP_LIST: u16 = 0x10;
const CAP_POINTER: usize = 0x34;
/// A capability is no shorter than 4 bytes, and the list is in 256 of them.
const MOST_CAPABILITIES: usize = 48;

/// Vendor-specific capabilities, and offsets in those of virtio.
const CAP_VENDOR: u8 = 0x09;
const CAP_LEN: usize = 2;
const CAP_CFG_TYPE: usize = 3;
const CAP_BAR: usize = 4;
const CAP_OFFSET: usize = 8;
const CAP_LENGTH: usize = 12;
const CAP_NOTIFY_MULTIPLIER: usize = 16;
const CAP_SIZE: u8 = 16;
const CAP_NOTIFY_SIZE: u8 = 20;

/// Types of structures. Others, also those to come, are ignored (§4.1.4.1).
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;

/// The shortest common configuration structure, that of virtio 1.0.
const COMMON_SIZE: usize = 0x38;

/// The BARs that were mapped, by their index.
pub(super) struct Bars(KVec<(u32, pci::DevresBar)>);

impl Bars {
    /// Maps a BAR, unless it is; returns its place in the list.
    fn map(&mut self, pdev: &pci::Device<Bound>, index: u32, name: &'static CStr) -> Result<usize> {
        if let Some(place) = self.0.iter().position(|(mapped, _)| *mapped == index) {
            return Ok(place);
        }
        let bar = pdev.iomap_region(index, name)?.into_devres()?;
        self.0.push((index, bar), GFP_KERNEL)?;
        Ok(self.0.len() - 1)
    }

    /// The function that they are of.
    pub(super) fn device(&self) -> Option<&Device> {
        let (_, bar) = self.0.first()?;
        Some(bar.device())
    }

    /// The BAR at a place of the list.
    fn get(&self, place: usize) -> Result<&pci::DevresBar> {
        self.0.get(place).map(|(_, bar)| bar).ok_or(ENODEV)
    }
}

/// A structure in a BAR.
#[derive(Clone, Copy)]
pub(super) struct Structure {
    bar: usize,
    /// Bytes from the start of the BAR.
    offset: usize,
    /// Bytes, all of them in the BAR.
    len: usize,
}

macro_rules! accesses {
    ($($ty:ident: $read:ident $write:ident $try_read:ident $try_write:ident;)*) => {$(
        #[doc = concat!("Reads a `", stringify!($ty), "`; `ENODEV` when the registers are gone.")]
        #[track_caller]
        pub(super) fn $read(&self, bars: &Bars, at: usize) -> Result<$ty> {
            let bar = bars.get(self.bar)?.try_access().ok_or(ENODEV)?;
            bar.$try_read(self.offset + at)
        }

        #[doc = concat!("Writes a `", stringify!($ty), "`; `ENODEV` when the registers are gone.")]
        #[track_caller]
        pub(super) fn $write(&self, bars: &Bars, at: usize, value: $ty) -> Result {
            let bar = bars.get(self.bar)?.try_access().ok_or(ENODEV)?;
            bar.$try_write(value, self.offset + at)
        }
    )*};
}

impl Structure {
    /// Whether it has so many bytes there.
    pub(super) fn has(&self, at: usize, width: usize) -> bool {
        at.checked_add(width).is_some_and(|end| end <= self.len)
    }

    accesses! {
        u8: read8 write8 try_read8 try_write8;
        u16: read16 write16 try_read16 try_write16;
        u32: read32 write32 try_read32 try_write32;
    }
}

/// The structures of a function, and how they are reached.
pub(super) struct Structures {
    pub(super) bars: Bars,
    pub(super) common: Structure,
    pub(super) notify: Structure,
    /// What a queue's `queue_notify_off` is multiplied by.
    pub(super) notify_multiplier: u32,
    pub(super) isr: Structure,
    /// Not every type has configuration.
    pub(super) config: Option<Structure>,
}

/// A capability as it is found.
struct Found {
    kind: u8,
    bar: u8,
    offset: u32,
    len: u32,
    /// 0 unless there is one.
    multiplier: u32,
}

impl Structures {
    /// Takes the first usable structure of each kind.
    pub(super) fn find(pdev: &pci::Device<Bound>, name: &'static CStr) -> Result<Self> {
        let mut bars = Bars(KVec::new());
        let (mut common, mut notify, mut isr, mut config) = (None, None, None, None);
        let mut multiplier = 0;
        each_capability(pdev, |found| {
            let (taken, shortest, alignment) = match found.kind {
                COMMON => (&mut common, COMMON_SIZE, 4),
                NOTIFY => (&mut notify, 2, 2),
                ISR => (&mut isr, 1, 1),
                DEVICE => (&mut config, 1, 4),
                _ => return,
            };
            if taken.is_some() || found.offset % alignment != 0 {
                return;
            }
            *taken = usable(pdev, &mut bars, &found, name).filter(|found| found.len >= shortest);
            if taken.is_some() && found.kind == NOTIFY {
                multiplier = found.multiplier;
            }
        })?;
        match (common, notify, isr) {
            (Some(common), Some(notify), Some(isr)) => Ok(Self {
                bars,
                common,
                notify,
                notify_multiplier: multiplier,
                isr,
                config,
            }),
            _ => {
                dev_err!(pdev, "no modern virtio interface\n");
                Err(ENODEV)
            }
        }
    }

    #[track_caller]
    pub(super) fn read_status(&self) -> Result<u8> {
        match self.common.read8(&self.bars, common::DEVICE_STATUS)? {
            status::GONE => Err(ENODEV),
            status => Ok(status),
        }
    }

    pub(super) fn reset(&self) -> Result {
        self.common.write8(&self.bars, common::DEVICE_STATUS, 0)?;
        read_poll_timeout(
            || self.read_status(),
            |status| *status == 0,
            Delta::from_millis(1),
            RESET_TIMEOUT,
        )
        .map(|_| ())
    }
}

/// Maps what a capability leads to; `None` if that cannot be.
fn usable(
    pdev: &pci::Device<Bound>,
    bars: &mut Bars,
    found: &Found,
    name: &'static CStr,
) -> Option<Structure> {
    // Other values are reserved (§4.1.4.1).
    if found.bar > 5 {
        return None;
    }
    let index = u32::from(found.bar);
    let size: BarLen = pdev.resource_len(index).ok()?;
    let room = size.checked_sub(BarLen::from(found.offset))?;
    // A structure may be said to be longer than the driver knows, and than the BAR is.
    let len = room.min(BarLen::from(found.len));
    Some(Structure {
        bar: bars.map(pdev, index, name).ok()?,
        offset: usize::try_from(found.offset).ok()?,
        len: usize::try_from(len).ok()?,
    })
}

/// Calls `each` for every virtio capability that leads to a BAR.
fn each_capability(pdev: &pci::Device<Bound>, mut each: impl FnMut(Found)) -> Result {
    let space = pdev.config_space();
    if space.try_read16(STATUS)? & STATUS_CAP_LIST == 0 {
        return Ok(());
    }
    let mut at = usize::from(space.try_read8(CAP_POINTER)? & !3);
    for _ in 0..MOST_CAPABILITIES {
        if at < 0x40 {
            break;
        }
        let next = usize::from(space.try_read8(at + 1)? & !3);
        if space.try_read8(at)? == CAP_VENDOR {
            let len = space.try_read8(at + CAP_LEN)?;
            let kind = space.try_read8(at + CAP_CFG_TYPE)?;
            // Longer than known is fine (§4.1.4.1), shorter is not; nor must it run over the end.
            let least = if kind == NOTIFY {
                CAP_NOTIFY_SIZE
            } else {
                CAP_SIZE
            };
            if len >= least && (COMMON..=DEVICE).contains(&kind) && at + usize::from(least) <= 256 {
                each(Found {
                    kind,
                    bar: space.try_read8(at + CAP_BAR)?,
                    offset: space.try_read32(at + CAP_OFFSET)?,
                    len: space.try_read32(at + CAP_LENGTH)?,
                    multiplier: if kind == NOTIFY {
                        space.try_read32(at + CAP_NOTIFY_MULTIPLIER)?
                    } else {
                        0
                    },
                });
            }
        }
        at = next;
    }
    Ok(())
}
