//! The exercise of the `virtio_blk` driver: a file, or a pattern, to the disk and back; the disk to a file; random requests.
//!
//! Without `--input` and `--bench` nothing on the disk is changed: sectors are written with what they hold.

use bringup_bench::{BenchFile, Errno};
use serde_json::json;

use super::work::{Mix, Work};
use super::{Exercised, Session, random_io};
use crate::output_file::Pending;

/// Bytes of one call.
const PIECE: usize = 128 << 10;

/// How much of a disk is looked at when nothing else is asked for.
const LOOK: u64 = 4 << 20;

/// Linux's numbers (include/uapi/linux/fs.h).
const BLKGETSIZE64: u32 = 0x8008_1272;
const BLKSSZGET: u32 = 0x1268;
const BLKROGET: u32 = 0x125e;
const BLKFLSBUF: u32 = 0x1261;

const BLKDISCARD: u32 = 0x1277;
const BLKZEROOUT: u32 = 0x127f;

/// The driver's own: `_IOR('v', 0, [u8; 20])`, the name of the disk.
const VBLK_GET_ID: u32 = 0x8014_7600;

/// How many bytes are written when nothing on the disk is dear to anybody.
const PATTERN: usize = 300 << 10;

const EIO: Errno = Errno(-5);

pub(crate) fn exercise(session: &mut Session<'_>, work: &mut Work<'_>) -> Exercised {
    let mut exercised = Exercised::default();
    let mut names: Vec<String> =
        session.bench.dev_names().into_iter().filter(|name| name.starts_with("vblk")).collect();
    names.sort();
    if names.is_empty() {
        // Nobody probed, which the report tells; there is no disk to use.
        return exercised;
    }
    for (index, name) in names.iter().enumerate() {
        let label = if names.len() > 1 { format!("{name} ") } else { String::new() };
        // What the command line asks for is done with the first disk; the others are looked at.
        let mine = if index == 0 { std::mem::take(work) } else { Work::default() };
        one(session, name, &label, mine, &mut exercised);
    }
    exercised
}

fn one(session: &mut Session<'_>, name: &str, label: &str, work: Work<'_>, exercised: &mut Exercised) {
    let Some(file) = session.open(name, exercised) else { return };
    let disk = Disk { name, label, file };
    let Some(bytes) = disk.size(session, exercised) else { return };
    let read_only = disk.is_read_only(session);
    if let Some(why) = disk.refusal(bytes, read_only, &work) {
        exercised.refused = Some(why);
        return;
    }
    let Work { input, output, load, thorough } = work;
    let nothing_asked = input.is_none() && output.is_none() && load.is_none();
    if let Some(input) = input {
        disk.store(session, input, exercised);
    }
    if let Some(output) = output {
        let wanted = input.map_or(bytes, |input| (input.len() as u64).min(bytes));
        disk.fetch(session, wanted, Some(output), exercised);
    }
    if thorough && !read_only {
        let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(PATTERN).collect();
        disk.store(session, &pattern[..PATTERN.min(bytes as usize)], exercised);
        disk.erase(session, bytes, BLKDISCARD, "BLKDISCARD", exercised);
        disk.erase(session, bytes, BLKZEROOUT, "BLKZEROOUT", exercised);
        // What it is called is its own affair.
        let _ = disk.file.ioctl_with(VBLK_GET_ID, &mut [0; 20]);
    }
    if nothing_asked {
        disk.fetch(session, bytes.min(LOOK), None, exercised);
        disk.rewrite(session, bytes, exercised);
    }
    drop(disk);
    session.show_log();
    if let Some(load) = load {
        random_io::run(session, name, bytes, load, exercised);
    }
}

struct Disk<'a> {
    name: &'a str,
    label: &'a str,
    file: BenchFile<'a>,
}

impl Disk<'_> {
    fn fact(&self, exercised: &mut Exercised, what: &str, text: String, value: serde_json::Value) {
        exercised.fact(&format!("{}{what}", self.label), text, value);
    }

    fn size(&self, session: &mut Session<'_>, exercised: &mut Exercised) -> Option<u64> {
        let (mut bytes, mut block) = ([0; 8], [0; 4]);
        let size = self.file.ioctl_with(BLKGETSIZE64, &mut bytes);
        let sector = self.file.ioctl_with(BLKSSZGET, &mut block);
        session.show_log();
        if let Err(error) = size {
            exercised.fail(&format!("ioctl BLKGETSIZE64 on /dev/{}", self.name), error);
            return None;
        }
        if let Err(error) = sector {
            exercised.fail(&format!("ioctl BLKSSZGET on /dev/{}", self.name), error);
        }
        let (bytes, block) = (u64::from_le_bytes(bytes), u32::from_le_bytes(block));
        self.fact(
            exercised,
            "disk",
            format!("/dev/{}, {bytes} bytes in blocks of {block}", self.name),
            json!({"node": self.name, "bytes": bytes, "block": block}),
        );
        Some(bytes)
    }

    /// Whether the driver says that the disk is not written to; one that does not know the question does not say so.
    fn is_read_only(&self, session: &mut Session<'_>) -> bool {
        let mut answer = [0; 4];
        let known = self.file.ioctl_with(BLKROGET, &mut answer);
        session.show_log();
        known.is_ok() && answer != [0; 4]
    }

    /// Why what is asked for cannot be done with this disk, before anything is done to it.
    fn refusal(&self, bytes: u64, read_only: bool, work: &Work<'_>) -> Option<String> {
        let name = self.name;
        if let Some(input) = work.input {
            if read_only {
                return Some(format!("--input writes, and /dev/{name} is read-only"));
            }
            if input.len() as u64 > bytes {
                let length = input.len();
                return Some(format!(
                    "--input has {length} bytes, and /dev/{name} only {bytes}: give the device a larger image"
                ));
            }
        }
        let load = work.load?;
        if read_only && load.mix != Mix::Read {
            return Some(format!("--bench {} writes, and /dev/{name} is read-only", load.mix.word()));
        }
        let needed = load.size * load.depth;
        (needed > bytes).then(|| {
            format!(
                "--bench {load} needs a disk of {needed} bytes, and /dev/{name} has {bytes}: lessen size= or depth="
            )
        })
    }

    /// Moves a piece whole: calls may do less than they were asked to.
    fn whole(&self, at: u64, len: usize, mut call: impl FnMut(usize) -> Result<usize, Errno>) -> Result<(), Errno> {
        let mut done = 0;
        while done < len {
            self.file.seek((at + done as u64) as i64);
            match call(done)? {
                0 => return Err(EIO),
                count => done += count,
            }
        }
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.whole(at, bytes.len(), |done| self.file.write(&bytes[done..]))
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.whole(at, into.len(), |done| self.file.read(&mut into[done..]))
    }

    /// Writes `input` to the start of the disk, makes it durable, and reads it back.
    fn store(&self, session: &mut Session<'_>, input: &[u8], exercised: &mut Exercised) {
        let total = input.len() as u64;
        let mut written = 0;
        for piece in input.chunks(PIECE) {
            let result = self.write(written, piece);
            session.show_log();
            if let Err(error) = result {
                exercised.fail(&format!("write {} bytes to /dev/{} at {written}", piece.len(), self.name), error);
                break;
            }
            written += piece.len() as u64;
            session.progress("bytes written", written, total);
        }
        let flushed = self.file.ioctl(BLKFLSBUF, 0);
        session.show_log();
        let durable = match flushed {
            Ok(_) => "flushed",
            Err(error) => {
                exercised.fail(&format!("ioctl BLKFLSBUF on /dev/{}", self.name), error);
                "NOT flushed"
            }
        };
        let mut back = vec![0; written as usize];
        let mut read = 0;
        for piece in back.chunks_mut(PIECE) {
            let result = self.read(read, piece);
            session.show_log();
            if let Err(error) = result {
                exercised.fail(&format!("read {} bytes from /dev/{} at {read}", piece.len(), self.name), error);
                break;
            }
            read += piece.len() as u64;
            session.progress("bytes read", read, written);
        }
        let (sent, back) = (&input[..written as usize], &back[..read as usize]);
        let same = sent.starts_with(back);
        let whole = written == total && read == total;
        let verdict = match (same, whole) {
            (true, true) => "the same",
            (true, false) => "incomplete",
            (false, _) => "NOT the same",
        };
        let (before, after) = (crc32fast::hash(sent), crc32fast::hash(back));
        self.fact(
            exercised,
            "written",
            format!("{written:>9} bytes  crc32 {before:08x}  {durable}"),
            json!({"bytes": written, "crc32": format!("{before:08x}"), "flushed": flushed.is_ok()}),
        );
        self.fact(
            exercised,
            "read back",
            format!("{read:>9} bytes  crc32 {after:08x}  {verdict}"),
            json!({"bytes": read, "crc32": format!("{after:08x}"), "same": same && whole}),
        );
        if !same {
            let first = sent.iter().zip(back).position(|(a, b)| a != b).unwrap_or(0);
            exercised.wrong(format!("what came back differs from what was written, first at byte {first}"));
        }
    }

    /// Reads the first `wanted` bytes of the disk, into a file if there is one.
    fn fetch(
        &self,
        session: &mut Session<'_>,
        wanted: u64,
        mut output: Option<&mut Pending>,
        exercised: &mut Exercised,
    ) {
        let mut crc = crc32fast::Hasher::new();
        let mut buffer = vec![0; PIECE];
        let mut read = 0;
        while read < wanted {
            let piece = &mut buffer[..(wanted - read).min(PIECE as u64) as usize];
            let result = self.read(read, piece);
            session.show_log();
            if let Err(error) = result {
                exercised.fail(&format!("read {} bytes from /dev/{} at {read}", piece.len(), self.name), error);
                break;
            }
            crc.update(piece);
            read += piece.len() as u64;
            if let Some(output) = output.as_deref_mut() {
                output.write(piece);
            }
            session.progress("bytes read", read, wanted);
        }
        let crc = crc.finalize();
        let whole = read == wanted;
        let to = output.map(|output| {
            if !whole {
                output.abandon();
            }
            output.shown()
        });
        let to = to.filter(|_| whole);
        let text = to.as_ref().map_or_else(String::new, |to| format!("  to {to}"));
        self.fact(
            exercised,
            "read",
            format!("{read:>9} bytes  crc32 {crc:08x}{text}"),
            json!({"bytes": read, "crc32": format!("{crc:08x}"), "to": to}),
        );
    }

    /// Discards or zeroes a part of the disk. A disk that cannot says so.
    fn erase(&self, session: &mut Session<'_>, bytes: u64, command: u32, name: &str, exercised: &mut Exercised) {
        const EOPNOTSUPP: Errno = Errno(-95);
        const EROFS: Errno = Errno(-30);
        let (at, len) = (8192.min(bytes / 2), 4096.min(bytes / 2));
        let range: Vec<u8> = [at / 512 * 512, len].iter().flat_map(|number| number.to_le_bytes()).collect();
        let result = self.file.ioctl_with(command, &mut range.clone());
        session.show_log();
        match result {
            Ok(_) | Err(EOPNOTSUPP | EROFS) => {}
            Err(error) => exercised.fail(&format!("ioctl {name} on /dev/{}", self.name), error),
        }
    }

    /// Writes a few places, the first and the last among them, with what they hold, and reads them again.
    fn rewrite(&self, session: &mut Session<'_>, bytes: u64, exercised: &mut Exercised) {
        const EROFS: Errno = Errno(-30);
        const EPERM: Errno = Errno(-1);
        let len = 4096.min(bytes);
        let places = [0, (bytes - len) / 2, bytes - len].map(|at| at / 512 * 512);
        let mut rewritten = 0;
        for at in places {
            let (mut before, mut after) = (vec![0; len as usize], vec![0; len as usize]);
            let result = self.read(at, &mut before).and_then(|()| self.write(at, &before));
            session.show_log();
            if result == Err(EROFS) || result == Err(EPERM) {
                self.fact(exercised, "rewritten", "nothing: the disk is read-only".into(), json!("read-only"));
                return;
            }
            let result = result.and_then(|()| self.read(at, &mut after));
            session.show_log();
            if let Err(error) = result {
                exercised.fail(&format!("rewrite {len} bytes of /dev/{} at {at}", self.name), error);
                return;
            }
            if before != after {
                exercised.wrong(format!("what was written at byte {at} reads as something else"));
            }
            rewritten += len;
        }
        let flushed = self.file.ioctl(BLKFLSBUF, 0);
        session.show_log();
        if let Err(error) = flushed {
            exercised.fail(&format!("ioctl BLKFLSBUF on /dev/{}", self.name), error);
        }
        self.fact(
            exercised,
            "rewritten",
            format!("{rewritten:>9} bytes in {} places, with what they held; flushed", places.len()),
            json!({"bytes": rewritten, "places": places.len()}),
        );
    }
}
