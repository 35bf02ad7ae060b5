//! Packets from and to files in the pcapng format (draft-ietf-opsawg-pcapng), as Wireshark reads and writes them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use bringup_core::trace::pcapng::{self, ENHANCED, ETHERNET, INTERFACE, MAGIC, SECTION, TSRESOL};
use bringup_core::{Nanos, Waker};

use super::backend::NetBackend;
use super::frame::{Frame, LONGEST};
use crate::hosted::{open_input, open_output, reason, shown};
use crate::notices::Notices;

/// A packet without its circumstances.
const SIMPLE: u32 = 3;
/// The largest file that is read.
const MOST: u64 = 1 << 30;

/// Why a file's packets were not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapError {
    /// The system says why.
    #[error("cannot {verb} {file}: {why}")]
    Io {
        /// `open`, `read` or `write`.
        verb: &'static str,
        /// The file.
        file: String,
        /// The system's words.
        why: String,
    },
    /// It is in the older format.
    #[error("{0} is a pcap file of the older format; convert it with \"editcap -F pcapng {0} NEW\"")]
    Classic(String),
    /// It begins in another way.
    #[error("{0} is not a pcapng file")]
    Other(String),
    /// It is not right at a certain place.
    #[error("{file} is not right at byte {at}: {why}")]
    Wrong {
        /// The file.
        file: String,
        /// In bytes from its start.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// Reads the packets of a file, with their times in nanoseconds after the first one's.
///
/// # Errors
/// When it cannot be read, or holds anything else than Ethernet packets in pcapng.
pub fn read_packets(path: &Path) -> Result<Vec<(Nanos, Vec<u8>)>, PcapError> {
    let name = shown(path);
    let failed = |verb| {
        let file = name.clone();
        move |error: io::Error| PcapError::Io { verb, file, why: reason(&error) }
    };
    let file = File::open(path).map_err(failed("open"))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).map_err(failed("read"))?;
    match bytes.get(..4) {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => {}
        Some(
            [0xd4, 0xc3, 0xb2, 0xa1] | [0xa1, 0xb2, 0xc3, 0xd4] | [0x4d, 0x3c, 0xb2, 0xa1] | [0xa1, 0xb2, 0x3c, 0x4d],
        ) => {
            return Err(PcapError::Classic(name));
        }
        _ => return Err(PcapError::Other(name)),
    }
    let mut reader = Reader { bytes: &bytes, big: false, interfaces: Vec::new(), packets: Vec::new() };
    let mut at = 0;
    while at < bytes.len() {
        at = reader.block(at).map_err(|why| PcapError::Wrong { file: name.clone(), at, why })?;
    }
    let first = reader.packets.first().map_or(0, |(at, _)| *at);
    Ok(reader.packets.into_iter().map(|(at, packet)| (at.saturating_sub(first), packet)).collect())
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// The section's numbers have their high bytes first.
    big: bool,
    /// For each interface of the section the nanoseconds of a unit of time, as numerator and denominator, and its snap length.
    interfaces: Vec<(u128, u128, usize)>,
    packets: Vec<(Nanos, Vec<u8>)>,
}

const SHORT: &str = "the file ends in the middle of a block";

impl Reader<'_> {
    fn u16(&self, at: usize) -> Result<u16, &'static str> {
        let bytes = self.bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).ok_or(SHORT)?;
        Ok(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Result<u32, &'static str> {
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(SHORT)?;
        Ok(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Reads the block at a place; where the next one is.
    fn block(&mut self, at: usize) -> Result<usize, &'static str> {
        let kind = self.u32(at)?;
        if kind == SECTION {
            self.big = false;
            self.big = match self.u32(at + 8)? {
                MAGIC => false,
                other if other.swap_bytes() == MAGIC => true,
                _ => return Err("the section has no byte order"),
            };
            self.interfaces.clear();
        }
        let len = self.u32(at + 4)? as usize;
        let end = at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(SHORT)?;
        if len < 12 || !len.is_multiple_of(4) || self.u32(end - 4)? as usize != len {
            return Err("a block's length makes no sense");
        }
        // From the body on, without the length at the end.
        let (body, end_of_body) = (at + 8, end - 4);
        match kind {
            INTERFACE => {
                if self.u16(body)? != ETHERNET {
                    return Err("an interface is no Ethernet");
                }
                let snap = self.u32(body + 4)? as usize;
                let (numerator, denominator) = self.resolution(body + 8, end_of_body)?;
                self.interfaces.push((numerator, denominator, snap));
            }
            ENHANCED => {
                let interface = self.u32(body)? as usize;
                let (numerator, denominator, _) =
                    *self.interfaces.get(interface).ok_or("a packet is of an interface that was not described")?;
                let time = u128::from(self.u32(body + 4)?) << 32 | u128::from(self.u32(body + 8)?);
                let nanoseconds = Nanos::try_from(time * numerator / denominator).unwrap_or(Nanos::MAX);
                let len = self.u32(body + 12)? as usize;
                self.packet(nanoseconds, body + 20, len, end_of_body)?;
            }
            SIMPLE => {
                let (_, _, snap) =
                    *self.interfaces.first().ok_or("a packet is of an interface that was not described")?;
                let original = self.u32(body)? as usize;
                let len = if snap == 0 { original } else { original.min(snap) };
                let time = self.packets.last().map_or(0, |(at, _)| *at);
                self.packet(time, body + 4, len, end_of_body)?;
            }
            // Statistics, names and what comes to be.
            _ => {}
        }
        Ok(end)
    }

    fn packet(&mut self, time: Nanos, at: usize, len: usize, end: usize) -> Result<(), &'static str> {
        let bytes = at.checked_add(len).filter(|after| *after <= end).and_then(|after| self.bytes.get(at..after));
        let bytes = bytes.ok_or("a packet is longer than its block")?;
        if !(14..=LONGEST).contains(&bytes.len()) {
            return Err("a packet is no Ethernet frame: too short or too long");
        }
        self.packets.push((time, bytes.to_vec()));
        Ok(())
    }

    /// The unit of an interface's timestamps, from its options.
    fn resolution(&self, mut at: usize, end: usize) -> Result<(u128, u128), &'static str> {
        while at + 4 <= end {
            let (code, len) = (self.u16(at)?, usize::from(self.u16(at + 2)?));
            if code == 0 {
                break;
            }
            if code == TSRESOL && len >= 1 {
                let value = *self.bytes.get(at + 4).ok_or(SHORT)?;
                let exponent = u32::from(value & 0x7f);
                let denominator =
                    if value & 0x80 == 0 { 10_u128.checked_pow(exponent) } else { 1_u128.checked_shl(exponent) };
                // Time has 64 bits: with a finer unit the product would leave 128.
                return denominator
                    .filter(|_| exponent <= 60)
                    .map(|denominator| (1_000_000_000, denominator))
                    .ok_or("the unit of time is too small");
            }
            at += 4 + len.next_multiple_of(4);
        }
        Ok((1_000, 1))
    }
}

/// Writes packets to a file, a block at a time: whenever the process ends, what is there can be read.
#[derive(Debug)]
pub struct PacketWriter {
    file: File,
    name: String,
    /// Bytes that hold whole blocks.
    len: u64,
    notices: Notices,
    failed: bool,
}

impl PacketWriter {
    /// Makes the file, or empties it. Later trouble is told to `notices`, once, and no more is written.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn create(path: &Path, notices: Notices) -> Result<Self, PcapError> {
        let name = shown(path);
        let failed = |verb, error: &io::Error| PcapError::Io { verb, file: shown(path), why: reason(error) };
        let file = open_output(path).map_err(|error| failed("open", &error))?;
        let mut writer = Self { file, name, len: 0, notices, failed: false };
        let head = [pcapng::section(), pcapng::interface("")].concat();
        writer.append(&head).map_err(|error| failed("write", &error))?;
        Ok(writer)
    }

    /// Writes a packet that was sent at a moment of virtual time.
    pub fn packet(&mut self, at: Nanos, bytes: &[u8]) {
        if self.failed {
            return;
        }
        if let Err(error) = self.append(&pcapng::packet(0, at, true, bytes)) {
            self.failed = true;
            self.notices.add(format!(
                "cannot write {}: {}; the packets from here on are not in it",
                self.name,
                reason(&error)
            ));
        }
    }

    /// Adds whole blocks, or nothing.
    fn append(&mut self, blocks: &[u8]) -> io::Result<()> {
        match self.file.write_all(blocks) {
            Ok(()) => {
                self.len += blocks.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A part of a block would spoil the rest; if that cannot be mended, nothing can.
                let _ = self.file.set_len(self.len);
                Err(error)
            }
        }
    }
}

/// A back-end whose sent frames are also written to a file, as a wire carries them.
#[derive(Debug)]
pub struct Recorded {
    inner: Box<dyn NetBackend>,
    writer: PacketWriter,
}

impl Recorded {
    /// Records what goes to `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn NetBackend>, writer: PacketWriter) -> Self {
        Self { inner, writer }
    }
}

impl NetBackend for Recorded {
    fn attach(&mut self, now: Nanos, waker: Waker) {
        self.inner.attach(now, waker);
    }

    fn send(&mut self, now: Nanos, frame: Frame) {
        for whole in frame.clone().finish() {
            self.writer.packet(now, &whole.bytes);
        }
        self.inner.send(now, frame);
    }

    fn receive(&mut self, now: Nanos) -> Option<Frame> {
        self.inner.receive(now)
    }

    fn next_at(&self) -> Option<Nanos> {
        self.inner.next_at()
    }

    fn link_is_up(&self) -> bool {
        self.inner.link_is_up()
    }
}

/// A back-end to whose frames those of a file are added, each at its time after the device first came up.
#[derive(Debug)]
pub struct Replayed {
    inner: Box<dyn NetBackend>,
    packets: VecDeque<(Nanos, Vec<u8>)>,
    began: Option<Nanos>,
    /// The file that they are from, so that nobody here empties it meanwhile.
    _held: Option<File>,
}

impl Replayed {
    /// Adds packets to what comes from `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn NetBackend>, packets: Vec<(Nanos, Vec<u8>)>) -> Self {
        Self { inner, packets: packets.into(), began: None, _held: None }
    }

    /// Adds the packets of a file to what comes from `inner`. No device or process of ours writes to the file meanwhile.
    ///
    /// # Errors
    /// As of [`read_packets`].
    pub fn open(inner: Box<dyn NetBackend>, path: &Path) -> Result<Self, PcapError> {
        let failed = |error: io::Error| PcapError::Io { verb: "open", file: shown(path), why: reason(&error) };
        let held = open_input(path).map_err(failed)?;
        Ok(Self { _held: Some(held), ..Self::new(inner, read_packets(path)?) })
    }

    fn due(&self) -> Option<Nanos> {
        Some(self.began?.saturating_add(self.packets.front()?.0))
    }
}

impl NetBackend for Replayed {
    fn attach(&mut self, now: Nanos, waker: Waker) {
        self.began.get_or_insert(now);
        self.inner.attach(now, waker);
    }

    fn send(&mut self, now: Nanos, frame: Frame) {
        self.inner.send(now, frame);
    }

    fn receive(&mut self, now: Nanos) -> Option<Frame> {
        match self.due() {
            Some(at) if at <= now => self.packets.pop_front().map(|(_, bytes)| Frame::whole(bytes)),
            _ => self.inner.receive(now),
        }
    }

    fn next_at(&self) -> Option<Nanos> {
        [self.due(), self.inner.next_at()].into_iter().flatten().min()
    }

    fn link_is_up(&self) -> bool {
        self.inner.link_is_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(packets: &[(Nanos, Vec<u8>)]) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = PacketWriter::create(file.path(), Notices::default()).unwrap();
        packets.iter().for_each(|(at, bytes)| writer.packet(*at, bytes));
        std::fs::read(file.path()).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Nanos, Vec<u8>)>, PcapError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read_packets(file.path())
    }

    #[test]
    fn packets_come_back_with_their_times() {
        let packets: Vec<(Nanos, Vec<u8>)> =
            (0..5).map(|index| (index << 40, vec![index as u8; 60 + index as usize])).collect();
        assert_eq!(read(&written(&packets)).unwrap(), packets);
        assert_eq!(read(&written(&[])).unwrap(), []);
    }

    #[test]
    fn file_that_was_cut_anywhere_is_refused_or_holds_whole_packets() {
        let packets = vec![(0, vec![1; 60]), (1, vec![2; 61])];
        let bytes = written(&packets);
        for len in 0..bytes.len() {
            if let Ok(got) = read(&bytes[..len]) {
                assert!(packets.starts_with(&got));
            }
        }
    }

    #[test]
    fn broken_bytes_never_panic() {
        let bytes = written(&[(0, vec![1; 60]), (1, vec![2; 61])]);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let _ = read(&broken);
            }
        }
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        assert!(matches!(read(&[0xd4, 0xc3, 0xb2, 0xa1, 0, 0]), Err(PcapError::Classic(_))));
        assert!(matches!(read(b"hello"), Err(PcapError::Other(_))));
        assert!(matches!(read(b""), Err(PcapError::Other(_))));
        let missing = read_packets(Path::new("/nowhere/x")).unwrap_err().to_string();
        assert_eq!(missing, "cannot open /nowhere/x: No such file or directory");
    }

    #[test]
    fn microseconds_are_the_unit_if_nothing_is_said() {
        let section = pcapng::block(SECTION, &[&MAGIC.to_be_bytes()[..], &[0, 1, 0, 0], &[0xff; 8]].concat());
        // The same with high bytes first, written by hand.
        let big = |kind: u32, body: &[u8]| {
            let len = (body.len() as u32 + 12).to_be_bytes();
            [&kind.to_be_bytes()[..], &len, body, &len].concat()
        };
        let mut file = section;
        file[4..8].reverse();
        let end = file.len();
        file[end - 4..].reverse();
        file.extend(big(INTERFACE, &[0, 1, 0, 0, 0, 0, 0, 0]));
        for time in [7_u32, 10] {
            let head = [[0; 4], [0; 4], time.to_be_bytes(), 60_u32.to_be_bytes(), 60_u32.to_be_bytes()].concat();
            file.extend(big(ENHANCED, &[&head[..], &[9; 60]].concat()));
        }
        assert_eq!(read(&file).unwrap(), [(0, vec![9; 60]), (3000, vec![9; 60])]);
    }
}
