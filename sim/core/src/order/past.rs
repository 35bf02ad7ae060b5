//! What coherent memory held before a device stored to it: the values that a load may still return.

use std::collections::VecDeque;

use super::shadow::{Mark, device_stamp};

/// How many stores are remembered; of older ones the CPU sees no trace.
const MOST: usize = 256;
/// How many values a load may choose among.
const VERSIONS: usize = 4;

/// A store that took place.
#[derive(Debug)]
struct Entry {
    at: u64,
    /// `None` for one of the CPU's own, before which it sees nothing any more.
    device: Option<u32>,
    len: u64,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// A load: later ones of the same bytes return nothing older.
#[derive(Debug)]
struct Floor {
    at: u64,
    len: u64,
    stamp: u32,
}

/// One value that a load may return.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) value: u64,
    /// The newest of the device's stores that it comes from.
    pub(super) seen: u32,
    /// It holds no store after this one.
    pub(super) until: u32,
}

/// What devices stored since the CPU is bound to see it.
#[derive(Debug, Default)]
pub(super) struct Past {
    entries: VecDeque<Entry>,
    floors: Vec<Floor>,
}

fn overlap(at: u64, len: u64, other: u64, size: u64) -> bool {
    at < other + size && other < at + len
}

impl Past {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.floors.clear();
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == MOST {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// A device is about to store over these bytes.
    pub(super) fn device_stored(&mut self, stamp: u32, at: u64, bytes: &[u8], marks: &[Mark]) {
        let (device, len) = (Some(stamp), bytes.len() as u64);
        self.push(Entry { at, device, len, bytes: bytes.to_vec(), marks: marks.to_vec() });
    }

    /// A store of the CPU's own landed.
    pub(super) fn cpu_stored(&mut self, at: u64, len: u64) {
        if !self.entries.is_empty() {
            self.push(Entry { at, device: None, len, bytes: Vec::new(), marks: Vec::new() });
        }
    }

    /// The CPU is bound to see all stores up to this one.
    pub(super) fn forget(&mut self, view: u32) {
        while self.entries.front().is_some_and(|entry| entry.device.is_none_or(|stamp| stamp <= view)) {
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            self.floors.clear();
        } else {
            self.floors.retain(|floor| floor.stamp > view);
        }
    }

    /// A region is gone.
    pub(super) fn forget_region(&mut self, at: u64, len: u64) {
        self.entries.retain(|entry| !overlap(at, len, entry.at, entry.len));
        self.floors.retain(|floor| !overlap(at, len, floor.at, floor.len));
    }

    /// The values that a load may return, which differ, the newest first. `marks` are those of the bytes, which hold `newest` now.
    pub(super) fn versions(&self, at: u64, newest: u64, marks: &[Mark], view: u32, now: u32) -> Vec<Version> {
        let len = marks.len() as u64;
        let floors = self.floors.iter().filter(|f| overlap(at, len, f.at, f.len)).map(|f| f.stamp);
        let floor = floors.max().unwrap_or(0).max(view);
        let top = |marks: &[Mark]| marks.iter().map(|mark| device_stamp(*mark)).max().unwrap_or(0);
        let mut versions = vec![Version { value: newest, seen: top(marks), until: now }];
        let mut bytes = newest.to_le_bytes();
        let mut marks = marks.to_vec();
        for entry in self.entries.iter().rev().filter(|e| overlap(at, len, e.at, e.len)) {
            let Some(stamp) = entry.device.filter(|stamp| *stamp > floor) else { break };
            for (lane, (byte, mark)) in bytes.iter_mut().zip(&mut marks).enumerate() {
                let index = (at + lane as u64).wrapping_sub(entry.at) as usize;
                if let (Some(old), Some(was)) = (entry.bytes.get(index), entry.marks.get(index)) {
                    (*byte, *mark) = (*old, *was);
                }
            }
            let value = u64::from_le_bytes(bytes);
            if versions.iter().all(|version| version.value != value) {
                versions.push(Version { value, seen: top(&marks), until: stamp - 1 });
                if versions.len() == VERSIONS {
                    break;
                }
            }
        }
        versions
    }

    /// A load returned what these bytes held after the store `until`.
    pub(super) fn loaded(&mut self, at: u64, len: u64, until: u32) {
        self.floors.retain(|floor| floor.at != at || floor.len != len || floor.stamp > until);
        self.floors.push(Floor { at, len, stamp: until });
    }
}
