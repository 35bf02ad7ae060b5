//! The exercise of the `edu` driver: a file, or a pattern, through the device by DMA and back, and a factorial.

use bringup_bench::{BenchFile, Errno};
use serde_json::json;

use super::work::Work;
use super::{Exercised, Session};

/// The size of the device's buffer, in bytes: one piece.
const PIECE: usize = 4096;

/// How many bytes are carried when there is no file: a piece and a bit.
const PATTERN: usize = PIECE + 100;

/// `_IOWR('e', 0, u32)`: replaces a number by its factorial.
const FACTORIAL: u32 = 0xc004_6500;

/// The number whose factorial is asked for.
const NUMBER: u32 = 10;

pub(crate) fn exercise(session: &mut Session<'_>, work: &mut Work<'_>) -> Exercised {
    let mut exercised = Exercised::default();
    let Some(file) = session.open("edu", &mut exercised) else { return exercised };
    let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(PATTERN).collect();
    carry(session, &file, work.input.unwrap_or(&pattern), &mut exercised);
    factorial(session, &file, &mut exercised);
    drop(file);
    session.show_log();
    exercised
}

/// Carries `bytes` into the device and back, a piece at a time.
fn carry(session: &mut Session<'_>, file: &BenchFile<'_>, bytes: &[u8], exercised: &mut Exercised) {
    let mut sent = 0;
    let mut back = Vec::with_capacity(bytes.len());
    for piece in bytes.chunks(PIECE) {
        let written = whole(file, piece.len(), |done| file.write(&piece[done..]));
        session.show_log();
        if let Err(error) = written {
            exercised.fail(&format!("write {} bytes to /dev/edu", piece.len()), error);
            break;
        }
        sent += piece.len();
        let mut answer = vec![0; piece.len()];
        let read = whole(file, piece.len(), |done| file.read(&mut answer[done..]));
        session.show_log();
        if let Err(error) = read {
            exercised.fail(&format!("read {} bytes from /dev/edu", piece.len()), error);
            break;
        }
        back.extend_from_slice(&answer);
    }
    let pieces = sent.div_ceil(PIECE);
    let (before, after) = (crc32fast::hash(&bytes[..sent]), crc32fast::hash(&back));
    let same = bytes.starts_with(&back);
    let verdict = match (same, back.len() == bytes.len()) {
        (true, true) => "the same",
        (true, false) => "incomplete",
        (false, _) => "NOT the same",
    };
    exercised.fact(
        "sent",
        format!("{sent:>9} bytes  crc32 {before:08x}  {pieces} pieces"),
        json!({"bytes": sent, "crc32": format!("{before:08x}"), "pieces": pieces}),
    );
    exercised.fact(
        "received",
        format!("{:>9} bytes  crc32 {after:08x}  {verdict}", back.len()),
        json!({"bytes": back.len(), "crc32": format!("{after:08x}"), "same": same && back.len() == bytes.len()}),
    );
    if !same {
        let first = bytes.iter().zip(&back).position(|(a, b)| a != b).unwrap_or(0);
        exercised.wrong(format!("what came back differs from what was sent, first at byte {first}"));
    }
}

/// Moves a piece whole: calls may do less than they were asked to.
fn whole(file: &BenchFile<'_>, len: usize, mut call: impl FnMut(usize) -> Result<usize, Errno>) -> Result<(), Errno> {
    const EIO: Errno = Errno(-5);
    file.seek(0);
    let mut done = 0;
    while done < len {
        match call(done)? {
            0 => return Err(EIO),
            count => done += count,
        }
    }
    Ok(())
}

fn factorial(session: &mut Session<'_>, file: &BenchFile<'_>, exercised: &mut Exercised) {
    let mut argument = NUMBER.to_le_bytes();
    let result = file.ioctl_with(FACTORIAL, &mut argument);
    session.show_log();
    if let Err(error) = result {
        exercised.fail("ioctl EDU_FACTORIAL on /dev/edu", error);
        return;
    }
    let (answer, expected) = (u32::from_le_bytes(argument), (1..=NUMBER).product::<u32>());
    exercised.fact("factorial", format!("{NUMBER}! = {answer}"), json!({"of": NUMBER, "is": answer}));
    if answer != expected {
        exercised.wrong(format!("{NUMBER}! is {expected}, not {answer}"));
    }
}
