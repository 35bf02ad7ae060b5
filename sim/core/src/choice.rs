//! The choice stream: the one source of non-determinism in a life, and the file that keeps it.

use std::fmt;

use crate::coverage::{Coverage, States};
use crate::history::History;

/// What a choice is about. A [`Chooser`] may weigh its answer by this; the stream itself only holds the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Point {
    /// Whether an allocation, or another call of the driver's that can fail, does: 0 succeeds, 1 fails.
    Allocation,
    /// Whether a pending interrupt arrives here: 0 now, 1 at a later point. Also whether a shared handler is called once more when
    /// it is registered or taken back, as CONFIG_DEBUG_SHIRQ does: 0 no, 1 yes.
    Interrupt,
    /// Whether a device whose wake-up is due works here: 0 now, 1 at a later point.
    Device,
    /// Which runnable task goes next; 0 is the one that has waited longest.
    Task,
    /// Whether the running task is pre-empted here: 0 goes on, 1 yields.
    Preempt,
    /// A byte of a hostile device's answer.
    Answer,
    /// How a streaming mapping is cut into segments: 0 is one segment.
    Segments,
    /// A choice that a device model asked for itself.
    Model,
    /// Whether a CPU's store to memory that a device shares lands at once: 0 it does, 1 it waits in the store buffer, 2 it waits for
    /// as long as it can.
    Store,
    /// Which waiting store or posted write lands now: 0 all of them, in order, but those that wait for as long as they can; 1
    /// none yet; 2 and more, one alone.
    Land,
    /// Which value a load from memory that a device shares returns: 0 the newest, then older ones.
    Load,
    /// Whether a posted write to a BAR arrives at once: 0 it does, 1 it stays under way, 2 it stays so for as long as it can.
    Posted,
    /// Whether the processor stands still here, as one does that a hypervisor or a machine check interrupts, until a device or a
    /// timer is due: 0 it goes on, 1 it stands still. Only asked where that is soon.
    Stall,
}

impl Point {
    /// How many kinds of points there are.
    pub const COUNT: usize = 13;

    /// All kinds.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Allocation,
        Self::Interrupt,
        Self::Device,
        Self::Task,
        Self::Preempt,
        Self::Answer,
        Self::Segments,
        Self::Model,
        Self::Store,
        Self::Land,
        Self::Load,
        Self::Posted,
        Self::Stall,
    ];

    /// Its number in [`ALL`](Self::ALL).
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The state that an answer other than 0 leads to.
    const fn leads_to(self, answer: u32) -> Option<Coverage> {
        Some(match self {
            Self::Allocation => Coverage::AllocationFailed,
            Self::Interrupt => Coverage::InterruptLate,
            Self::Device => Coverage::DeviceLate,
            Self::Task => Coverage::TaskOvertook,
            Self::Preempt => Coverage::Preempted,
            Self::Answer => Coverage::HostileAnswer,
            Self::Store => Coverage::StoreWaited,
            Self::Land if answer > 1 => Coverage::StoresReordered,
            Self::Load => Coverage::LoadStale,
            Self::Posted => Coverage::WritePosted,
            Self::Stall => Coverage::Stalled,
            Self::Segments | Self::Model | Self::Land => return None,
        })
    }

    /// Whether it decides about order: what happens now and what later. The others decide about data and failures.
    #[must_use]
    pub const fn is_order(self) -> bool {
        !matches!(self, Self::Allocation | Self::Answer | Self::Segments | Self::Model)
    }

    /// Whether an answer other than 0 is an exceptional event (a failure), which random choosers keep rare.
    #[must_use]
    pub const fn is_rare(self) -> bool {
        matches!(self, Self::Allocation)
    }
}

/// Supplies the answers. 0 always means the friendliest behaviour.
pub trait Chooser: Send {
    /// Picks one of `options` (2 to 256) answers; an answer out of range counts as the largest one.
    fn choose(&mut self, point: Point, options: u32) -> u32;

    /// As [`choose`](Self::choose), where it is known who is concerned.
    ///
    /// [`Point::Task`]: the tasks, in the order of the answers. [`Point::Preempt`]: the tasks that could run, then the one that
    /// does. [`Point::Device`], [`Point::Stall`] and [`Point::Interrupt`]: the number of the device or the interrupt, then the
    /// running task.
    fn choose_among(&mut self, point: Point, options: u32, _actors: &[u32]) -> u32 {
        self.choose(point, options)
    }

    /// Whether it wants to be told, before each choice, which state the machine is in.
    fn wants_states(&self) -> bool {
        false
    }

    /// The state of the machine at the choice that follows, as one number: in two lives of the same driver and machine in
    /// which it is the same, the same answers have the same consequences from here on.
    fn in_state(&mut self, _state: u64) {}

    /// Whether it will answer 0 for ever: what only matters for other answers need not be asked.
    fn is_quiet(&self) -> bool {
        false
    }
}

/// Always 0: the friendliest machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Chooser for Quiet {
    fn choose(&mut self, _point: Point, _options: u32) -> u32 {
        0
    }

    fn is_quiet(&self) -> bool {
        true
    }
}

/// A pseudo-random chooser. The same seed gives the same answers on every machine and in every release: the generator is
/// SplitMix64, written out here so that no dependency's update can change what a seed means.
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
    /// One failing allocation in this many; 0 is never. Chosen by the seed, so that some seeds leave memory alone.
    rarity: u64,
    /// One non-zero answer in this many for the other points; chosen by the seed, so that some seeds are calm.
    calm: u64,
}

impl Seeded {
    /// A chooser for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chooser = Self { state: seed, rarity: 0, calm: 1 };
        let temper = chooser.next();
        chooser.rarity = [0, 0, 16, 64, 256, 0, 0, 1024][(temper & 7) as usize];
        chooser.calm = [1, 2, 4, 16][(temper >> 3 & 3) as usize];
        chooser
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, odds: u64) -> bool {
        odds != 0 && self.next().is_multiple_of(odds)
    }
}

impl Chooser for Seeded {
    fn choose(&mut self, point: Point, options: u32) -> u32 {
        let odds = if point.is_rare() { self.rarity } else { self.calm };
        if !self.one_in(odds) {
            return 0;
        }
        let range = u64::from(options);
        if point.is_rare() { (self.next() % (range - 1)) as u32 + 1 } else { (self.next() % range) as u32 }
    }
}

/// Answers from a recorded stream; past its end, 0.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    answers: Vec<u8>,
    next: usize,
}

impl Replay {
    /// Replays `answers` as they were recorded.
    #[must_use]
    pub fn new(answers: impl Into<Vec<u8>>) -> Self {
        Self { answers: answers.into(), next: 0 }
    }
}

impl Chooser for Replay {
    fn choose(&mut self, _point: Point, options: u32) -> u32 {
        let answer = self.answers.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        u32::from(answer).min(options - 1)
    }
}

/// Answers from a fuzzer's bytes; past their end, 0. Any bytes are a valid input: each is taken modulo the number of
/// options, except that failures ([`Point::is_rare`]) take a byte of 0xf0 or more, so that most inputs get far.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    bytes: Vec<u8>,
    next: usize,
}

impl Bytes {
    /// Feeds the choices from `bytes`.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), next: 0 }
    }
}

impl Chooser for Bytes {
    fn choose(&mut self, point: Point, options: u32) -> u32 {
        let byte = u32::from(self.bytes.get(self.next).copied().unwrap_or(0));
        self.next += 1;
        match (point.is_rare(), byte >= 0xf0) {
            (true, true) => (byte - 0xf0) % (options - 1) + 1,
            (true, false) => 0,
            (false, _) => byte % options,
        }
    }
}

/// A chooser together with the record of what it answered.
pub struct Choices {
    chooser: Box<dyn Chooser>,
    taken: Vec<u8>,
    /// Zeros answered since the last other answer; written out only when another one follows, so that a quiet life
    /// records nothing.
    zeros: usize,
    /// How many choices there were of each kind.
    counts: [u32; Point::COUNT],
    /// The states that answers other than 0 led to.
    seen: States,
    /// What the parts of the machine have seen, kept if the chooser wants to know states.
    pub history: History,
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choices").field("made", &self.made()).finish_non_exhaustive()
    }
}

impl Choices {
    /// Records the answers of `chooser`.
    #[must_use]
    pub fn new(chooser: Box<dyn Chooser>) -> Self {
        let mut history = History::default();
        history.enable(chooser.wants_states());
        let (taken, counts, seen) = (Vec::new(), [0; Point::COUNT], States::default());
        Self { chooser, taken, zeros: 0, counts, seen, history }
    }

    /// Whether all further answers are 0.
    #[inline]
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.chooser.is_quiet()
    }

    /// Takes one of `options` answers. One option or none is no choice: it answers 0 and leaves no record.
    ///
    /// # Panics
    /// If `options` is over 256: a choice is one byte of the stream.
    #[inline]
    pub fn choose(&mut self, point: Point, options: u32) -> u32 {
        self.choose_among(point, options, &[])
    }

    /// As [`choose`](Self::choose), and says who is concerned: see [`Chooser::choose_among`].
    ///
    /// # Panics
    /// If `options` is over 256: a choice is one byte of the stream.
    pub fn choose_among(&mut self, point: Point, options: u32, actors: &[u32]) -> u32 {
        assert!(options <= 256, "a choice has at most 256 options, not {options}");
        if options < 2 {
            return 0;
        }
        self.counts[point.index()] += 1;
        if self.history.is_on() {
            let state = self.history.state(point.index());
            self.chooser.in_state(state);
        }
        let answer = if actors.is_empty() {
            self.chooser.choose(point, options)
        } else {
            self.chooser.choose_among(point, options, actors)
        };
        let answer = answer.min(options - 1);
        // Whether a device, an interrupt or a task comes now shows in what it does; the rest is the choice's own effect.
        if !matches!(point, Point::Device | Point::Interrupt | Point::Preempt | Point::Task | Point::Stall) {
            self.history.cpu_stores((point.index() as u64) << 32 | u64::from(answer));
        }
        if answer == 0 {
            self.zeros += 1;
        } else {
            self.taken.resize(self.taken.len() + self.zeros, 0);
            self.zeros = 0;
            self.taken.push(answer as u8);
            if let Some(state) = point.leads_to(answer) {
                self.seen.add(state);
            }
        }
        answer
    }

    /// How many choices were made.
    #[must_use]
    pub fn made(&self) -> usize {
        self.taken.len() + self.zeros
    }

    /// The states that answers led to, and those that they could have led to.
    #[must_use]
    pub fn states(&self) -> (States, States) {
        let mut could = States::default();
        for point in Point::ALL.into_iter().filter(|point| self.counts[point.index()] > 0) {
            [1, 2].into_iter().filter_map(|answer| point.leads_to(answer)).for_each(|state| could.add(state));
        }
        (self.seen, could)
    }

    /// How many choices were made of each kind, by [`Point::index`].
    #[must_use]
    pub fn counts(&self) -> [u32; Point::COUNT] {
        self.counts
    }

    /// The answers so far, without the zeros at the end (which a replay supplies by itself).
    #[must_use]
    pub fn taken(&self) -> &[u8] {
        &self.taken
    }
}

/// The version of the stream file format that this crate reads and writes.
pub const STREAM_VERSION: u32 = 2;
const MAGIC: &str = "bringup-stream";

/// A recorded life: its choices, and in `fields` whatever is needed to run it again (driver, devices, plan, …).
///
/// The file is text: `bringup-stream 2`, one `key value` line a field, the choices as `choices 0*12 3 1`, and a
/// CRC-32 of all that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// `(key, value)` in order; keys may repeat. Keys hold no white space; values may hold anything.
    pub fields: Vec<(String, String)>,
    /// The answers.
    pub choices: Vec<u8>,
}

/// Why a stream file was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StreamError {
    /// It is something else.
    #[error("not a bringup stream file: it does not begin with \"{MAGIC} {STREAM_VERSION}\"")]
    NotAStream,
    /// Another release wrote it.
    #[error("stream file of version {0}; this bringup reads version {STREAM_VERSION}")]
    Version(String),
    /// A line cannot be read.
    #[error("damaged stream file: line {line}: {what}")]
    Line {
        /// One-based line.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The file ends early.
    #[error("damaged stream file: it ends without its \"crc\" line")]
    Truncated,
    /// The check sum is wrong.
    #[error("damaged stream file: its check sum is {found:08x} and should be {expected:08x}")]
    Checksum {
        /// What the file says.
        found: u32,
        /// What its content gives.
        expected: u32,
    },
}

impl Stream {
    /// The first field called `key`.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All fields called `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Reads a stream file.
    ///
    /// # Errors
    /// When it is not one, is of another version, or is damaged.
    pub fn parse(text: &str) -> Result<Self, StreamError> {
        let first = text.lines().next().unwrap_or("");
        match first.split_once(' ') {
            Some((MAGIC, version)) if version == STREAM_VERSION.to_string() => {}
            Some((MAGIC, version)) => return Err(StreamError::Version(version.into())),
            _ => return Err(StreamError::NotAStream),
        }
        let mut stream = Self::default();
        let mut body = first.len() + 1;
        for (index, line) in text.lines().enumerate().skip(1) {
            let bad = |what: String| StreamError::Line { line: index + 1, what };
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "crc" => {
                    let found =
                        u32::from_str_radix(value, 16).map_err(|_| bad(format!("\"{value}\" is no check sum")))?;
                    let expected = crc32fast::hash(&text.as_bytes()[..body.min(text.len())]);
                    return if found == expected { Ok(stream) } else { Err(StreamError::Checksum { found, expected }) };
                }
                "choices" => parse_choices(value, &mut stream.choices).map_err(bad)?,
                "" => return Err(bad("an empty line".into())),
                _ => stream.fields.push((key.into(), unescape(value))),
            }
            body += line.len() + 1;
        }
        Err(StreamError::Truncated)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut text = format!("{MAGIC} {STREAM_VERSION}\n");
        for (key, value) in &self.fields {
            writeln!(text, "{key} {}", escape(value))?;
        }
        // Sixteen runs a line, so that a long stream stays readable.
        for line in runs(&self.choices).chunks(16) {
            text.push_str("choices");
            for (value, count) in line {
                if *count == 1 { write!(text, " {value}")? } else { write!(text, " {value}*{count}")? }
            }
            text.push('\n');
        }
        writeln!(f, "{text}crc {:08x}", crc32fast::hash(text.as_bytes()))
    }
}

fn runs(choices: &[u8]) -> Vec<(u8, usize)> {
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for &value in choices {
        match runs.last_mut() {
            Some((last, count)) if *last == value => *count += 1,
            _ => runs.push((value, 1)),
        }
    }
    runs
}

/// The longest stream a file may unfold to: a damaged run length must not eat the machine's memory.
const MAX_CHOICES: usize = 1 << 28;

fn parse_choices(text: &str, into: &mut Vec<u8>) -> Result<(), String> {
    for word in text.split_whitespace() {
        let (value, count) = word.split_once('*').unwrap_or((word, "1"));
        let value: u8 = value.parse().map_err(|_| format!("\"{word}\" is no choice"))?;
        let count: usize = count.parse().map_err(|_| format!("\"{word}\" is no choice"))?;
        if count > MAX_CHOICES - into.len() {
            return Err(format!("more than {MAX_CHOICES} choices"));
        }
        into.resize(into.len() + count, value);
    }
    Ok(())
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_life_leaves_an_empty_stream() {
        let mut choices = Choices::new(Box::new(Quiet));
        for _ in 0..100 {
            choices.choose(Point::Task, 3);
        }
        assert_eq!(choices.made(), 100);
        assert!(choices.taken().is_empty());
    }

    #[test]
    fn replay_gives_the_recorded_answers() {
        let mut first = Choices::new(Box::new(Seeded::new(42)));
        let answers: Vec<u32> = (0..500).map(|n| first.choose(Point::Task, 2 + n % 200)).collect();
        let mut second = Choices::new(Box::new(Replay::new(first.taken())));
        let again: Vec<u32> = (0..500).map(|n| second.choose(Point::Task, 2 + n % 200)).collect();
        assert_eq!(answers, again);
        assert_eq!(first.taken(), second.taken());
    }

    #[test]
    fn stream_file_round_trips_with_odd_values() {
        let stream = Stream {
            fields: vec![
                ("driver".into(), "edu".into()),
                ("plan".into(), "a\nb\\n\r".into()),
                ("empty".into(), String::new()),
            ],
            choices: vec![0, 0, 0, 7, 255, 255, 1],
        };
        assert_eq!(Stream::parse(&stream.to_string()), Ok(stream));
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let good = Stream { fields: vec![("driver".into(), "edu".into())], choices: vec![1, 2, 3] }.to_string();
        assert_eq!(Stream::parse("\x7fELF"), Err(StreamError::NotAStream));
        assert_eq!(Stream::parse(&good.replacen(" 2\n", " 9\n", 1)), Err(StreamError::Version("9".into())));
        assert_eq!(Stream::parse(good.lines().next().unwrap()), Err(StreamError::Truncated));
        assert!(matches!(Stream::parse(&good.replace("1 2 3", "1 2 4")), Err(StreamError::Checksum { .. })));
        assert!(matches!(Stream::parse(&good.replace("1 2 3", "1 2 x")), Err(StreamError::Line { line: 3, .. })));
        assert!(matches!(Stream::parse(&good.replace("1 2 3", "1*99999999999")), Err(StreamError::Line { .. })));
    }
}
