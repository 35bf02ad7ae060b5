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

/// Bytes that share a mark as long as they were all stored at once.
const LINE: usize = 64;
/// A line whose bytes have marks of their own: this, and where they are.
const APART: Mark = 1 << 31;

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
    /// By line: its mark, or [`APART`].
    lines: Vec<Mark>,
    /// How many of them are [`APART`].
    apart: usize,
}

/// All coherent allocations.
#[derive(Debug, Default)]
pub(super) struct Regions {
    list: Vec<Option<Region>>,
    /// By page of the machine's memory: one more than the region's place in the list, or 0.
    pages: Vec<u16>,
    /// The marks of lines that are [`APART`].
    apart: Vec<[Mark; LINE]>,
    /// Those of them that are not in use.
    free: Vec<Mark>,
    /// Lists of lines that are not in use: a life is short, and allocating is not free.
    spare: Vec<Vec<Mark>>,
}

/// The newest stores among some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    /// The stamp of the CPU's; 0 if there is none.
    pub(super) cpu: u32,
    /// The stamp of a device's; 0 if there is none.
    pub(super) device: u32,
    /// The and of all marks: its lowest bit is set if devices stored all of the bytes.
    pub(super) all: Mark,
}

impl Newest {
    #[inline]
    fn add(&mut self, mark: Mark) {
        self.cpu = self.cpu.max(cpu_stamp(mark));
        self.device = self.device.max(device_stamp(mark));
        self.all &= mark;
    }
}

impl Regions {
    pub(super) fn clear(&mut self) {
        for region in self.list.drain(..).flatten() {
            self.spare.push(region.lines);
        }
        self.pages.clear();
        self.apart.clear();
        self.free.clear();
        self.spare.truncate(64);
    }

    pub(super) fn add(&mut self, device: DeviceId, physical: u64, len: u64, place: Place) {
        let index = self.list.iter().position(Option::is_none).unwrap_or(self.list.len());
        let Ok(number) = u16::try_from(index + 1) else { return };
        let mut lines = self.spare.pop().unwrap_or_default();
        lines.clear();
        lines.resize((len as usize).div_ceil(LINE), 0);
        let region = Region { device, physical, len, place, plain: false, lines, apart: 0 };
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
        let apart = region.lines.iter().filter(|line| **line & APART != 0).take(region.apart);
        self.free.extend(apart.map(|line| line & !APART));
        self.spare.push(region.lines);
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

    /// The newest stores among bytes that are followed; `None` if they are not.
    #[inline]
    pub(super) fn newest(&self, physical: u64, len: usize) -> Option<Newest> {
        let region = self.at(physical).filter(|region| !region.plain)?;
        let mut newest = Newest { cpu: 0, device: 0, all: if len == 0 { 0 } else { Mark::MAX } };
        let start = (physical - region.physical) as usize;
        let from = start % LINE;
        if from + len <= LINE && start + len <= region.len as usize {
            // Nearly all accesses.
            match self.line(region, start / LINE) {
                Line::Whole(mark) => newest.add(mark),
                Line::Apart(marks) => marks[from..from + len].iter().for_each(|mark| newest.add(*mark)),
            }
            return Some(newest);
        }
        region.parts(physical, len).for_each(|part| match self.line(region, part.line) {
            Line::Whole(mark) => newest.add(mark),
            Line::Apart(marks) => part.of(marks).iter().for_each(|mark| newest.add(*mark)),
        });
        Some(newest)
    }

    #[inline]
    fn line(&self, region: &Region, line: usize) -> Line<'_> {
        let mark = region.lines.get(line).copied().unwrap_or(0);
        match self.apart.get((mark & !APART) as usize) {
            Some(marks) if mark & APART != 0 => Line::Apart(marks),
            _ => Line::Whole(mark & !APART),
        }
    }

    /// The marks of bytes, one for each; none if they are in no region.
    pub(super) fn marks(&self, physical: u64, len: usize) -> Vec<Mark> {
        let Some(region) = self.at(physical) else { return Vec::new() };
        let mut all = Vec::with_capacity(len);
        region.parts(physical, len).for_each(|part| match self.line(region, part.line) {
            Line::Whole(mark) => all.resize(all.len() + part.len, mark),
            Line::Apart(marks) => all.extend_from_slice(part.of(marks)),
        });
        all
    }

    /// Marks bytes.
    #[inline]
    pub(super) fn fill(&mut self, physical: u64, len: usize, mark: Mark) {
        let Some(index) = self.index(physical) else { return };
        let Some(Some(region)) = self.list.get_mut(index) else { return };
        for part in region.parts(physical, len) {
            let Some(line) = region.lines.get_mut(part.line) else { return };
            if part.len == LINE {
                if *line & APART != 0 {
                    self.free.push(*line & !APART);
                    region.apart -= 1;
                }
                *line = mark;
            } else {
                if *line & APART == 0 {
                    let old = [*line; LINE];
                    let place = self.free.pop().unwrap_or(self.apart.len() as Mark);
                    match self.apart.get_mut(place as usize) {
                        Some(marks) => *marks = old,
                        None => self.apart.push(old),
                    }
                    *line = APART | place;
                    region.apart += 1;
                }
                if let Some(marks) = self.apart.get_mut((*line & !APART) as usize) {
                    marks[part.from..part.from + part.len].fill(mark);
                }
            }
        }
    }
}

enum Line<'a> {
    Whole(Mark),
    Apart(&'a [Mark; LINE]),
}

/// A part of a line.
#[derive(Clone, Copy)]
struct Part {
    line: usize,
    from: usize,
    len: usize,
}

impl Part {
    #[inline]
    fn of(self, marks: &[Mark; LINE]) -> &[Mark] {
        marks.get(self.from..self.from + self.len).unwrap_or_default()
    }
}

impl Region {
    /// The lines that bytes lie in. What is not in the region is left out.
    #[inline]
    fn parts(&self, physical: u64, len: usize) -> impl Iterator<Item = Part> + use<> {
        let start = physical.wrapping_sub(self.physical) as usize;
        let end = start.saturating_add(len).min(self.len as usize);
        let mut at = start;
        std::iter::from_fn(move || {
            let (line, from) = (at / LINE, at % LINE);
            let len = (LINE - from).min(end.checked_sub(at).filter(|left| *left > 0)?);
            at += len;
            Some(Part { line, from, len })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_in_its_region_until_that_is_gone() {
        let mut regions = Regions::default();
        let place = std::panic::Location::caller();
        let second = RAM_BASE + PAGE_SIZE;
        regions.add(DeviceId(0), RAM_BASE, 100, place);
        regions.add(DeviceId(1), second, 5000, place);
        regions.fill(second, 8, by_cpu(3));
        assert_eq!(regions.at(second + PAGE_SIZE).map(|region| region.device), Some(DeviceId(1)));
        assert_eq!(regions.marks(second + 4, 8), [6, 6, 6, 6, 0, 0, 0, 0]);
        assert_eq!(regions.marks(second + 4998, 8), [0, 0]);
        assert_eq!(regions.remove(second), Some(5000));
        assert!(regions.at(second + PAGE_SIZE).is_none());
        regions.add(DeviceId(2), second, 8, place);
        assert_eq!(regions.marks(second, 8), [0; 8]);
    }

    #[test]
    fn marks_are_those_of_the_last_store_to_each_byte_whatever_the_lengths() {
        let mut regions = Regions::default();
        regions.add(DeviceId(0), RAM_BASE, 1000, std::panic::Location::caller());
        let mut expected = vec![0; 1000];
        let stores = [(0, 1000), (60, 8), (64, 64), (100, 300), (128, 128), (0, 64), (999, 1), (30, 500)];
        for (stamp, (at, len)) in (1..).zip(stores) {
            let mark = if stamp % 2 == 0 { by_cpu(stamp) } else { by_device(stamp) };
            regions.fill(RAM_BASE + at, len, mark);
            expected[at as usize..at as usize + len].fill(mark);
            assert_eq!(regions.marks(RAM_BASE, 1000), expected);
        }
        let newest = |at, len| regions.newest(RAM_BASE + at, len).map(|n| (n.cpu, n.device, n.all & 1));
        assert_eq!(newest(28, 4), Some((8, 0, 0)));
        assert_eq!(newest(995, 5), Some((0, 7, 1)));
        assert_eq!(newest(0, 0), Some((0, 0, 0)));
    }
}
