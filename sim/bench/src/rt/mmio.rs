//! BAR accesses by the address that `iomap` gave, and accesses to ordinary memory.

use std::panic::Location;

use bringup_core::Finding;

use super::pci::{IoMap, MAP_BASE, MAP_SHIFT};
use super::{follow, watch};
use crate::heard::{self, Origin};
use crate::machine::{Machine, with};
use crate::rules;

impl Machine {
    fn iomap_at(&mut self, address: usize, verb: &str, place: bringup_core::Place) -> Option<(IoMap, u64)> {
        let index = (address.wrapping_sub(MAP_BASE)) >> MAP_SHIFT;
        let offset = (address & ((1 << MAP_SHIFT) - 1)) as u64;
        match self.iomaps.get(index) {
            Some(map) if map.live && address >= MAP_BASE => Some((map.clone(), offset)),
            Some(map) if address >= MAP_BASE => {
                let (bar, device, mapped) = (map.bar, map.device, map.place);
                let name = self.device_name(device);
                let finding = Finding::new(
                    &rules::BAR_AFTER_UNMAP,
                    format!("{verb} at BAR {bar} offset {offset:#x} after it was unmapped"),
                )
                .at_place(Some(place))
                .on_device(name)
                .note(format!("it was mapped at {}:{}", mapped.file(), mapped.line()));
                self.report(finding);
                None
            }
            _ => {
                self.find(
                    &bringup_core::rules::BAR_OUT_OF_RANGE,
                    format!("{verb} at address {address:#x}, which no BAR is mapped to"),
                    Some(place),
                );
                None
            }
        }
    }
}

/// Reads `width` bytes from a mapped BAR; all ones when it cannot. A point.
#[inline]
#[track_caller]
pub fn mmio_read(address: usize, width: u8, _relaxed: bool) -> u64 {
    let place = Location::caller();
    let (value, at) = with(|m| {
        m.last_place = Some(place);
        let value = match m.iomap_at(address, "read", place) {
            Some((map, offset)) if offset + u64::from(width) <= map.len || map.len == 0 => {
                let value = m.bus.bar_read(map.device, map.bar, offset, width, Some(place));
                m.hear(Origin::Bar { device: map.device, bar: map.bar, offset }, value, place);
                value
            }
            Some((map, offset)) => m.out_of_map(&map, offset, width, "read", place),
            None => u64::MAX >> (64 - 8 * u32::from(width)),
        };
        (value, m.at_point())
    });
    at.pass();
    value
}

/// Writes `width` bytes to a mapped BAR. A point.
#[inline]
#[track_caller]
pub fn mmio_write(address: usize, width: u8, value: u64, _relaxed: bool) {
    let place = Location::caller();
    let at = with(|m| {
        m.last_place = Some(place);
        match m.iomap_at(address, "write", place) {
            Some((map, offset)) if offset + u64::from(width) <= map.len || map.len == 0 => {
                m.bus.bar_write(map.device, map.bar, offset, width, value, Some(place));
                // A monitor may want to see memory from here on: a queue was enabled.
                m.follow_watches();
            }
            Some((map, offset)) => {
                m.out_of_map(&map, offset, width, "write", place);
            }
            None => {}
        }
        m.at_point()
    });
    at.pass();
}

impl Machine {
    #[cold]
    fn out_of_map(&mut self, map: &IoMap, offset: u64, width: u8, verb: &str, place: bringup_core::Place) -> u64 {
        let what =
            format!("{width}-byte {verb} at BAR {} offset {offset:#x}; only {:#x} bytes are mapped", map.bar, map.len);
        let name = self.device_name(map.device);
        self.report(Finding::new(&bringup_core::rules::BAR_OUT_OF_RANGE, what).at_place(Some(place)).on_device(name));
        u64::MAX >> (64 - 8 * u32::from(width))
    }
}

/// Reads 1, 2, 4 or 8 bytes of ordinary or coherent memory, untorn.
///
/// # Safety
/// `ptr` must be aligned and valid for a read of `width` bytes.
#[inline]
#[track_caller]
pub unsafe fn mem_read(ptr: *const u8, width: u8) -> u64 {
    if watch::is_watched(ptr, width.into()) {
        watch::show_access(ptr, width.into(), false, Location::caller());
    }
    // SAFETY: the caller's contract. Volatile, because a device may have written in between.
    let value = unsafe {
        match width {
            1 => u64::from(ptr.read_volatile()),
            2 => u64::from(ptr.cast::<u16>().read_volatile()),
            4 => u64::from(ptr.cast::<u32>().read_volatile()),
            _ => ptr.cast::<u64>().read_volatile(),
        }
    };
    heard::loaded(ptr, value, Location::caller());
    follow::loaded(value);
    value
}

/// Writes 1, 2, 4 or 8 bytes of ordinary or coherent memory, untorn.
///
/// # Safety
/// `ptr` must be aligned and valid for a write of `width` bytes.
#[inline]
#[track_caller]
pub unsafe fn mem_write(ptr: *mut u8, width: u8, value: u64) {
    // SAFETY: the caller's contract. Volatile, because a device may look.
    unsafe {
        match width {
            1 => ptr.write_volatile(value as u8),
            2 => ptr.cast::<u16>().write_volatile(value as u16),
            4 => ptr.cast::<u32>().write_volatile(value as u32),
            _ => ptr.cast::<u64>().write_volatile(value),
        }
    }
    follow::stored(value);
    if watch::is_watched(ptr, width.into()) {
        watch::show_access(ptr, width.into(), true, Location::caller());
    }
}

/// What is longer than so many bytes is data, and no structure whose fields a driver goes by.
const MOST_STRUCTURE: usize = 32;

/// Copies out of memory that a device may share, as `memcpy` does: of no particular width.
///
/// # Safety
/// `from` must be valid for reads and `to` for writes of `len` bytes, and they must not overlap.
#[inline]
#[track_caller]
pub unsafe fn mem_copy_from(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's contract. What a device writes meanwhile comes from the same thread.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    if len <= MOST_STRUCTURE {
        // SAFETY: the bytes were just written.
        heard::copied(from, unsafe { std::slice::from_raw_parts(to, len) }, Location::caller());
    }
    follow::copied_from();
}

/// Copies into memory that a device may share, as `memcpy` does: of no particular width.
///
/// # Safety
/// `to` must be valid for writes and `from` for reads of `len` bytes, and they must not overlap.
#[inline]
pub unsafe fn mem_copy_to(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller's contract. A device looks from the same thread.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    follow::stored(len as u64);
}

/// Whether monitors want to know of accesses to any of these bytes: what copies large pieces word by word asks once.
#[inline]
#[must_use]
pub fn mem_is_watched(ptr: *const u8, len: usize) -> bool {
    watch::is_watched(ptr, len)
}
