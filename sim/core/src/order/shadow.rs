//! What is known of each byte of coherent memory: who stored it last, and when.

use crate::dma::{PAGE_SIZE, RAM_BASE};
use crate::finding::Place;
use crate::trace::DeviceId;

/// The stamp of a byte's last store, times two, plus one if a device made it. 0 is memory as it was allocated.
pub(super) type Mark = u32;

/// The mark of a store of the CPU's.
#[inline]
pub(super) const fn by_cpu(stamp: u32) -> Mark {
    stamp << 1
}

/// The mark of a store of a device's.
#[inline]
pub(super) const fn by_device(stamp: u32) -> Mark {
    stamp << 1 | 1
}

/// The stamp of a device's store; 0 for others.
#[inline]
pub(super) const fn device_stamp(mark: Mark) -> u32 {
    if mark & 1 == 1 { mark >> 1 } else { 0 }
}

/// The stamp of a CPU's store; 0 for others.
#[inline]
pub(super) const fn cpu_stamp(mark: Mark) -> u32 {
    if mark & 1 == 0 { mark >> 1 } else { 0 }
}

/// A coherent allocation.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) device: DeviceId,
    pub(super) physical: u64,
    pub(super) len: u64,
    /// Who allocated it.
    pub(super) place: Place,
    /// Its accesses cannot be followed any more.
    pub(super) plain: bool,
    marks: Vec<Mark>,
}

/// All coherent allocations.
#[derive(Debug, Default)]
pub(super) struct Regions {
    list: Vec<Option<Region>>,
    /// By page of the machine's memory: one more than the region's place in the list, or 0.
    pages: Vec<u16>,
    /// Marks that are not in use: a life is short, and allocating is not free.
    spare: Vec<Vec<Mark>>,
}

impl Regions {
    pub(super) fn clear(&mut self) {
        for region in self.list.drain(..).flatten() {
            self.spare.push(region.marks);
        }
        self.pages.clear();
        self.spare.truncate(64);
    }

    pub(super) fn add(&mut self, device: DeviceId, physical: u64, len: u64, place: Place) {
        let index = self.list.iter().position(Option::is_none).unwrap_or(self.list.len());
        let Ok(number) = u16::try_from(index + 1) else { return };
        let mut marks = self.spare.pop().unwrap_or_default();
        marks.clear();
        marks.resize(len as usize, 0);
        let region = Region { device, physical, len, place, plain: false, marks };
        if index == self.list.len() {
            self.list.push(None);
        }
        self.list[index] = Some(region);
        self.set_pages(physical, len, number);
    }

    fn set_pages(&mut self, physical: u64, len: u64, number: u16) {
        let first = (physical.saturating_sub(RAM_BASE) / PAGE_SIZE) as usize;
        let end = first + len.div_ceil(PAGE_SIZE) as usize;
        if end > self.pages.len() {
            self.pages.resize(end, 0);
        }
        self.pages[first..end].fill(number);
    }

    /// Forgets the region that begins here; its length.
    pub(super) fn remove(&mut self, physical: u64) -> Option<u64> {
        let index = self.index(physical)?;
        let region = self.list.get_mut(index)?.take()?;
        self.spare.push(region.marks);
        self.set_pages(region.physical, region.len, 0);
        Some(region.len)
    }

    #[inline]
    fn index(&self, physical: u64) -> Option<usize> {
        let page = (physical.wrapping_sub(RAM_BASE) / PAGE_SIZE) as usize;
        usize::from(*self.pages.get(page)?).checked_sub(1)
    }

    /// The region that holds an address.
    #[inline]
    pub(super) fn at(&self, physical: u64) -> Option<&Region> {
        self.list.get(self.index(physical)?)?.as_ref()
    }

    #[inline]
    pub(super) fn at_mut(&mut self, physical: u64) -> Option<&mut Region> {
        let index = self.index(physical)?;
        self.list.get_mut(index)?.as_mut()
    }
}

impl Region {
    /// The marks of bytes that are all in the region; none if they are not.
    #[inline]
    pub(super) fn marks(&self, physical: u64, len: usize) -> &[Mark] {
        let from = physical.wrapping_sub(self.physical) as usize;
        self.marks.get(from..from.saturating_add(len)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn marks_mut(&mut self, physical: u64, len: usize) -> &mut [Mark] {
        let from = physical.wrapping_sub(self.physical) as usize;
        self.marks.get_mut(from..from.saturating_add(len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_in_its_region_until_that_is_gone() {
        let mut regions = Regions::default();
        let place = std::panic::Location::caller();
        regions.add(DeviceId(0), RAM_BASE, 100, place);
        regions.add(DeviceId(1), RAM_BASE + PAGE_SIZE, 5000, place);
        regions.at_mut(RAM_BASE + 2 * PAGE_SIZE).unwrap().marks_mut(RAM_BASE + PAGE_SIZE, 8).fill(by_cpu(3));
        let region = regions.at(RAM_BASE + PAGE_SIZE + 4).unwrap();
        assert_eq!(
            (region.device, region.marks(RAM_BASE + PAGE_SIZE + 4, 8)),
            (DeviceId(1), &[6, 6, 6, 6, 0, 0, 0, 0][..])
        );
        assert!(region.marks(RAM_BASE + PAGE_SIZE + 4996, 8).is_empty());
        assert_eq!(regions.remove(RAM_BASE + PAGE_SIZE), Some(5000));
        assert!(regions.at(RAM_BASE + 2 * PAGE_SIZE).is_none());
        regions.add(DeviceId(2), RAM_BASE + PAGE_SIZE, 8, place);
        assert_eq!(regions.at(RAM_BASE + PAGE_SIZE).unwrap().marks(RAM_BASE + PAGE_SIZE, 8), [0; 8]);
    }
}
