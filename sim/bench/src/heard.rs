//! What devices said lately: the last values that the driver read from registers, configuration space and shared memory.
//!
//! A value cannot be followed through a driver's variables. But when a driver fails over a number, and the number is one that a
//! device said a moment ago, then that is where it came from; and when a task never comes to rest, then the register that it
//! goes on reading is what it waits for.

use std::fmt;

use bringup_core::finding::Moment;
use bringup_core::{DeviceId, Nanos, Place};

use crate::machine::Machine;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A register.
    Bar { device: DeviceId, bar: u8, offset: u64 },
    /// Configuration space.
    Config { device: DeviceId, offset: u16 },
    /// Memory that a device shares, by its distance from the begin of the machine's memory.
    Memory { at: u64 },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bar { bar, offset, .. } => write!(f, "BAR {bar} offset {offset:#x}"),
            Self::Config { offset, .. } => write!(f, "configuration space offset {offset:#x}"),
            Self::Memory { .. } => f.write_str("memory that the device shares"),
        }
    }
}

/// One value that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) origin: Origin,
    pub(crate) value: u64,
    pub(crate) place: Place,
    /// How often it was read at this place since the task was switched to, …
    pub(crate) times: u64,
    /// … which was this switch.
    run: u64,
    pub(crate) at: Nanos,
}

/// How many are remembered, …
const WORDS: usize = 64;
/// … and among how many of the last ones a repetition is looked for.
const NEAR: usize = 4;

/// The last values read, the newest one just before `next`.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    words: Vec<Word>,
    next: usize,
}

/// How far a number may be from what a device said and still be taken for its child: a header was added, or one subtracted.
const FAR: u64 = 64;
/// Below this, only the very number counts: small numbers are everywhere.
const DISTINCT: u64 = 256;

impl Heard {
    pub(crate) fn note(&mut self, origin: Origin, value: u64, place: Place, run: u64, at: Nanos) {
        let len = self.words.len();
        for back in 1..=NEAR.min(len) {
            let index = (self.next + len - back) % len;
            if let Some(word) = self.words.get_mut(index)
                && word.origin == origin
                && std::ptr::eq(word.place, place)
            {
                let times = if word.run == run { word.times + 1 } else { 1 };
                *word = Word { value, times, run, at, ..*word };
                return;
            }
        }
        let word = Word { origin, value, place, times: 1, run, at };
        match self.words.get_mut(self.next) {
            Some(slot) => *slot = word,
            None => self.words.push(word),
        }
        self.next = (self.next + 1) % WORDS;
    }

    /// The words, the newest first.
    fn newest(&self) -> impl Iterator<Item = &Word> {
        let (older, newer) = self.words.split_at(self.next.min(self.words.len()));
        older.iter().rev().chain(newer.iter().rev())
    }

    /// What a device said that is, or nearly is, this number.
    pub(crate) fn source_of(&self, number: u64) -> Option<&Word> {
        if number < 2 {
            return None;
        }
        let close = |word: &&Word| number >= DISTINCT && word.value >= DISTINCT && word.value.abs_diff(number) <= FAR;
        self.newest().find(|word| word.value == number).or_else(|| self.newest().find(close))
    }

    /// What was read most often in this run of the running task.
    pub(crate) fn most_read(&self, run: u64) -> Option<&Word> {
        self.words.iter().filter(|word| word.run == run).max_by_key(|word| word.times)
    }

    /// What was read last.
    pub(crate) fn last(&self) -> Option<&Word> {
        self.newest().next()
    }
}

impl Word {
    /// What the device said, and where the driver read it.
    pub(crate) fn describe(&self) -> String {
        let (file, line) = (self.place.file(), self.place.line());
        format!("{:#x} was read from {} at {file}:{line}, at {}", self.value, self.origin, Moment(self.at))
    }
}

impl Machine {
    /// Notes what the driver was given to read.
    #[inline]
    pub(crate) fn hear(&mut self, origin: Origin, value: u64, place: Place) {
        let (run, at) = (self.stats.switches, self.now());
        self.heard.note(origin, value, place, run, at);
    }

    /// Notes a small structure that the driver copied out of memory: each of its words may be used.
    pub(crate) fn hear_structure(&mut self, at: u64, bytes: &[u8], place: Place) {
        for width in [2, 4, 8] {
            for (index, word) in bytes.chunks_exact(width).enumerate() {
                let value = word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
                // Small numbers prove nothing, and would push out those that do.
                if value >= 2 {
                    self.hear(Origin::Memory { at: at + (index * width) as u64 }, value, place);
                }
            }
        }
    }

    /// What a device said that a number in a panic's message comes from.
    pub(crate) fn blame(&self, message: &str) -> Option<Word> {
        if ![" out of range for slice", "index out of bounds", "slice index starts at"]
            .iter()
            .any(|p| message.contains(p))
        {
            return None;
        }
        let numbers = message.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
        // The length of the slice is the driver's own, and not what went wrong.
        let own = ["the len is ", "slice of length "].iter().find_map(|before| {
            let rest = message.split_once(before)?.1;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        });
        numbers.filter(|number| Some(*number) != own).find_map(|number| self.heard.source_of(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;

    const REGISTER: Origin = Origin::Bar { device: DeviceId(0), bar: 0, offset: 8 };

    #[test]
    fn a_loop_over_one_register_is_one_word_with_a_count() {
        let mut heard = Heard::default();
        let place = Location::caller();
        for value in 0..1000 {
            heard.note(REGISTER, value, place, 7, value);
            if value % 2 == 0 {
                heard.note(Origin::Config { device: DeviceId(0), offset: 4 }, 0, place, 7, value);
            }
        }
        assert_eq!(heard.most_read(7).map(|word| (word.origin, word.times, word.value)), Some((REGISTER, 1000, 999)));
        assert!(heard.most_read(8).is_none());
    }

    #[test]
    fn the_newest_of_equal_values_is_the_source_and_old_ones_are_forgotten() {
        let mut heard = Heard::default();
        for offset in 0..200 {
            heard.note(
                Origin::Bar { device: DeviceId(0), bar: 0, offset },
                offset / 2 * 100 + 1000,
                Location::caller(),
                1,
                0,
            );
        }
        let offset = |number| match heard.source_of(number)?.origin {
            Origin::Bar { offset, .. } => Some(offset),
            _ => None,
        };
        assert_eq!(offset(10_000), Some(181));
        assert_eq!(offset(1500), None);
    }

    #[test]
    fn small_numbers_need_to_be_the_very_same() {
        let mut heard = Heard::default();
        heard.note(REGISTER, 40, Location::caller(), 1, 0);
        assert!(heard.source_of(41).is_none() && heard.source_of(40).is_some());
        heard.note(REGISTER, 0x8000, Location::caller(), 1, 0);
        assert!(heard.source_of(0x8000 - 12).is_some() && heard.source_of(0x8000 + 65).is_none());
    }
}
