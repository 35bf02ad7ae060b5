//! DMA for drivers: masks, coherent memory, streaming mappings.

use std::panic::Location;
use std::ptr::NonNull;

use bringup_core::choice::Point;
use bringup_core::dma::{DIRTY, MappingKind, NewMapping, PAGE_SIZE};
use bringup_core::trace::Event;
use bringup_core::{DeviceId, Finding, Place};
use vm_memory::{Address, Bytes, GuestAddress};

pub use bringup_core::dma::Direction;

use super::errno::{EIO, ENOMEM};
use super::sched;
use crate::ledger::{Kind, LedgerId};
use crate::machine::{Machine, with};
use crate::rules;

/// What a device can address before its driver says otherwise: 32 bits, as in Linux.
pub(crate) const DEFAULT_MASK: u64 = 0xffff_ffff;

/// The DMA settings and mappings of a device.
pub(crate) struct DmaState {
    pub(crate) mask: u64,
    pub(crate) coherent_mask: u64,
    pub(crate) max_segment: u32,
    coherent: Vec<(u64, LedgerId)>,
    streaming: Vec<Streaming>,
}

impl Default for DmaState {
    fn default() -> Self {
        Self {
            mask: DEFAULT_MASK,
            coherent_mask: DEFAULT_MASK,
            max_segment: 65536,
            coherent: Vec::new(),
            streaming: Vec::new(),
        }
    }
}

struct Streaming {
    id: u32,
    bounce: GuestAddress,
    len: u64,
    pieces: Vec<(*mut u8, usize)>,
    segments: Vec<(u64, u64)>,
    direction: Direction,
    ledger: LedgerId,
    place: Place,
}

/// What lent memory holds on the CPU's side while the device may write to it: nobody may rely on it, or change it.
const LENT: u8 = 0xdb;

/// Says which addresses the device can use (`dma_set_mask`, `dma_set_coherent_mask`). Where those above 4 GiB are among them it is a
/// choice whether the device's addresses are from there.
///
/// # Errors
/// `EIO` for a mask under which no memory can be reached (less than 24 bits).
#[track_caller]
pub fn set_masks(device: DeviceId, streaming: Option<u64>, coherent: Option<u64>) -> Result<(), i32> {
    let place = Location::caller();
    if [streaming, coherent].into_iter().flatten().any(|mask| mask < 0xff_ffff) {
        return Err(EIO);
    }
    with(|m| {
        if m.refuses("dma_set_mask", place) {
            return Err(EIO);
        }
        let dma = &m.device(device).dma;
        let count = dma.coherent.len() + dma.streaming.len();
        if count > 0 {
            let name = m.device_name(device);
            let what =
                format!("the DMA mask of {name} is set while {count} mappings are there that were made for another");
            m.report(Finding::new(&rules::DMA_MASK_IN_USE, what).at_place(Some(place)).on_device(name));
        }
        let dma = &mut m.device(device).dma;
        dma.mask = streaming.unwrap_or(dma.mask);
        dma.coherent_mask = coherent.unwrap_or(dma.coherent_mask);
        let wide = dma.mask.min(dma.coherent_mask) > DEFAULT_MASK;
        if wide && m.bus.fabric.choices.choose(Point::Model, 2) != 0 {
            m.bus.port(device).io_space().start_high();
        }
        Ok(())
    })
}

/// Sets the longest segment the device takes (`dma_set_max_seg_size`).
pub fn set_max_segment(device: DeviceId, bytes: u32) {
    with(|m| m.device(device).dma.max_segment = bytes.max(1));
}

/// Coherent memory: where the CPU and where the device see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coherent {
    /// The CPU's address; aligned to a page.
    pub cpu: NonNull<u8>,
    /// The device's address.
    pub iova: u64,
}

/// Allocates `len` zeroed bytes that CPU and device share (`dma_alloc_coherent`). May fail by choice, as any allocation.
///
/// # Errors
/// `ENOMEM`.
#[track_caller]
pub fn alloc_coherent(device: DeviceId, len: usize, may_sleep: bool) -> Result<Coherent, i32> {
    let place = Location::caller();
    if may_sleep {
        sched::might_sleep_at("a GFP_KERNEL allocation", place);
    }
    with(|m| {
        m.admit_allocation(len, place)?;
        let physical = m.bus.fabric.ram.alloc(len as u64, 0).ok_or(ENOMEM)?;
        let mask = m.device(device).dma.coherent_mask;
        let new = NewMapping {
            physical,
            len: len as u64,
            mask,
            direction: Direction::Bidirectional,
            kind: MappingKind::Coherent,
            place: Some(place),
            at: m.now(),
        };
        let Some(iova) = m.bus.port(device).io_space().map(&new) else {
            m.bus.fabric.ram.free(physical, len as u64);
            return Err(ENOMEM);
        };
        let ledger = m.take(Kind::Mapping, Some(device), Some(place), (iova, len as u64), "");
        m.bus.fabric.choices.history.cpu_stores(iova);
        m.device(device).dma.coherent.push((iova, ledger));
        m.bus.fabric.coherent_allocated(device, physical.0, len as u64, place);
        m.map_event(device, iova, len as u64, Direction::Bidirectional, MappingKind::Coherent, place);
        let cpu = m.bus.fabric.ram.host_address(physical).and_then(NonNull::new).ok_or(ENOMEM)?;
        Ok(Coherent { cpu, iova })
    })
}

/// Frees coherent memory by its device address (`dma_free_coherent`). The CPU's view is gone too.
pub fn free_coherent(device: DeviceId, iova: u64) {
    with(|m| {
        let at = m.now();
        m.bus.fabric.choices.history.cpu_stores(iova);
        let Some(mapping) = m.bus.port(device).io_space().unmap(iova, at) else { return };
        // It may have to change the kernel's page tables: Linux warns when interrupts are off.
        if let Some(place) = mapping.place
            && !m.interrupts_enabled()
            && m.tasks.current.is_some()
        {
            m.check_sleep("the release of the coherent memory allocated here", place);
        }
        m.bus.fabric.coherent_freed(device, mapping.physical.0, iova, mapping.len);
        // Memory is dropped without saying where; where it came from is the line that helps.
        m.bus.show_unmapped(device, iova, mapping.len, mapping.place);
        m.follow_watches();
        let dma = &mut m.device(device).dma;
        if let Some(index) = dma.coherent.iter().position(|(known, _)| *known == iova) {
            let (_, ledger) = dma.coherent.swap_remove(index);
            m.ledger.give_back(ledger);
        }
        let _ = m.bus.fabric.ram.memory().write_slice(&poison(mapping.len), mapping.physical);
        m.bus.fabric.ram.free(mapping.physical, mapping.len);
        m.event(|| Event::Unmap { device, iova, len: mapping.len });
    });
}

fn poison(len: u64) -> Vec<u8> {
    vec![DIRTY; len.min(PAGE_SIZE) as usize]
}

/// Lends memory to a device (`dma_map_sgtable`): `pieces` are CPU addresses and lengths, in order. The device sees a copy: a
/// bounce buffer, filled here unless the direction is from the device. What the CPU's side holds meanwhile is poison if the device may
/// write to it. Returns a number for [`unmap_streaming`] and the
/// segments, device addresses and lengths; how many there are is a choice.
///
/// # Errors
/// `ENOMEM`, `EIO` as Linux's.
///
/// # Safety
/// The pieces must be valid for reads and writes until they are unmapped, and nothing else may use them until then.
#[track_caller]
pub unsafe fn map_streaming(
    device: DeviceId,
    pieces: Vec<(*mut u8, usize)>,
    direction: Direction,
) -> Result<(u32, Vec<(u64, u64)>), i32> {
    // SAFETY: the caller's contract is the same.
    unsafe { map_streaming_at(device, pieces, direction, Location::caller()) }
}

/// As [`map_streaming`], for a place that is known.
///
/// # Errors
/// As there.
///
/// # Safety
/// As there.
pub unsafe fn map_streaming_at(
    device: DeviceId,
    pieces: Vec<(*mut u8, usize)>,
    direction: Direction,
    place: Place,
) -> Result<(u32, Vec<(u64, u64)>), i32> {
    with(|m| {
        let len: u64 = pieces.iter().map(|(_, len)| *len as u64).sum();
        if len == 0 {
            return Err(EIO);
        }
        m.admit_allocation(len as usize, place)?;
        m.bus.fabric.choices.history.cpu_stores(len);
        let bounce = m.bus.fabric.ram.alloc(len, DIRTY).ok_or(ENOMEM)?;
        if direction != Direction::FromDevice {
            let mut at = bounce;
            for (piece, len) in &pieces {
                // SAFETY: the caller promised that the piece is valid for reads.
                let bytes = unsafe { std::slice::from_raw_parts(*piece, *len) };
                m.bus.fabric.ram.memory().write_slice(bytes, at).map_err(|_| EIO)?;
                at = at.unchecked_add(*len as u64);
            }
        }
        let segments = m
            .map_segments(device, bounce, len, direction, place)
            .inspect_err(|_| m.bus.fabric.ram.free(bounce, len))?;
        if direction != Direction::ToDevice {
            for (piece, len) in &pieces {
                // SAFETY: the caller promised that the piece is valid for writes, and that nobody uses it until it is unmapped.
                unsafe { piece.write_bytes(LENT, *len) };
            }
        }
        let id = m.id();
        let ledger = m.take(Kind::Mapping, Some(device), Some(place), (segments[0].0, len), "");
        let known = segments.clone();
        m.device(device).dma.streaming.push(Streaming { id, bounce, len, pieces, segments, direction, ledger, place });
        Ok((id, known))
    })
}

/// Takes lent memory back (`dma_unmap_sgtable`): what the device wrote appears in it now, unless the direction is to the
/// device.
///
/// # Safety
/// The pieces given to [`map_streaming`] must still be valid for writes.
pub unsafe fn unmap_streaming(device: DeviceId, id: u32) {
    with(|m| {
        let dma = &mut m.device(device).dma;
        let Some(index) = dma.streaming.iter().position(|s| s.id == id) else { return };
        let streaming = dma.streaming.swap_remove(index);
        let history = &mut m.bus.fabric.choices.history;
        history.cpu_sees_memory();
        history.cpu_stores(id.into());
        let at = m.now();
        for (iova, len) in &streaming.segments {
            m.bus.port(device).io_space().unmap(*iova, at);
            m.bus.fabric.memory_released(device, *iova, *len);
            m.bus.show_unmapped(device, *iova, *len, None);
            m.event(|| Event::Unmap { device, iova: *iova, len: *len });
        }
        // SAFETY: the caller promised that the pieces are still valid.
        unsafe { m.check_lent(device, &streaming) };
        if streaming.direction != Direction::ToDevice {
            let mut from = streaming.bounce;
            for (piece, len) in &streaming.pieces {
                // SAFETY: the caller promised that the piece is valid for writes, and nothing else uses it.
                let bytes = unsafe { std::slice::from_raw_parts_mut(*piece, *len) };
                let _ = m.bus.fabric.ram.memory().read_slice(bytes, from);
                from = from.unchecked_add(*len as u64);
            }
        }
        let _ = m.bus.fabric.ram.memory().write_slice(&poison(streaming.len), streaming.bounce);
        m.bus.fabric.ram.free(streaming.bounce, streaming.len);
        m.ledger.give_back(streaming.ledger);
    });
}

impl Machine {
    /// Files that the CPU wrote to memory while it was lent to a device.
    ///
    /// # Safety
    /// The pieces must be valid for reads.
    unsafe fn check_lent(&mut self, device: DeviceId, lent: &Streaming) {
        let mut at = lent.bounce;
        let mut before = 0;
        for (piece, len) in &lent.pieces {
            // SAFETY: the caller's contract.
            let bytes = unsafe { std::slice::from_raw_parts(*piece, *len) };
            let changed = if lent.direction == Direction::ToDevice {
                // The device may not write to it: the bounce buffer holds what was lent.
                let mut was = vec![0; *len];
                let _ = self.bus.fabric.ram.memory().read_slice(&mut was, at);
                bytes.iter().zip(&was).position(|(is, was)| is != was)
            } else {
                bytes.iter().position(|byte| *byte != LENT)
            };
            if let Some(changed) = changed {
                let name = self.device_name(device);
                let offset = before + changed;
                let what = format!("memory was written at offset {offset:#x} while it was lent to {name}");
                let note = match lent.direction {
                    Direction::ToDevice => {
                        "the device may have read either: what it sees is what was there when it was mapped"
                    }
                    _ => "what was written is lost: unmapping puts there what the device wrote",
                };
                let finding = Finding::new(&rules::DMA_CPU_WROTE, what).at_place(Some(lent.place)).on_device(name);
                return self.report(finding.note(note));
            }
            at = at.unchecked_add(*len as u64);
            before += len;
        }
    }

    fn admit_allocation(&mut self, size: usize, place: Place) -> Result<(), i32> {
        self.stats.allocations += 1;
        if self.tasks.current.is_some() && !self.crashed && self.bus.fabric.choices.choose(Point::Allocation, 2) == 1 {
            self.stats.failed_allocations += 1;
            self.event(|| Event::AllocationFailed { size, place: Some(place) });
            return Err(ENOMEM);
        }
        Ok(())
    }

    fn map_event(
        &mut self,
        device: DeviceId,
        iova: u64,
        len: u64,
        direction: Direction,
        kind: MappingKind,
        place: Place,
    ) {
        let (direction, kind) = (direction.word(), kind.word());
        self.event(|| Event::Map { device, iova, len, direction, kind, place: Some(place) });
    }

    /// Maps `len` bytes in one to four segments, cut at pages, none longer than the device takes.
    fn map_segments(
        &mut self,
        device: DeviceId,
        physical: GuestAddress,
        len: u64,
        direction: Direction,
        place: Place,
    ) -> Result<Vec<(u64, u64)>, i32> {
        let (mask, longest) = {
            let dma = &self.device(device).dma;
            (dma.mask, (u64::from(dma.max_segment) / PAGE_SIZE).max(1))
        };
        let pages = len.div_ceil(PAGE_SIZE);
        let wanted = u64::from(self.bus.fabric.choices.choose(Point::Segments, 4)) + 1;
        let step = pages.div_ceil(wanted.min(pages)).min(longest) * PAGE_SIZE;
        let mut segments: Vec<(u64, u64)> = Vec::new();
        let mut done = 0;
        while done < len {
            let part = step.min(len - done);
            let new = NewMapping {
                physical: physical.unchecked_add(done),
                len: part,
                mask,
                direction,
                kind: MappingKind::Streaming,
                place: Some(place),
                at: self.now(),
            };
            let Some(iova) = self.bus.port(device).io_space().map(&new) else {
                let at = self.now();
                for (iova, _) in segments {
                    self.bus.port(device).io_space().unmap(iova, at);
                }
                return Err(ENOMEM);
            };
            self.map_event(device, iova, part, direction, MappingKind::Streaming, place);
            segments.push((iova, part));
            done += part;
        }
        Ok(segments)
    }
}
