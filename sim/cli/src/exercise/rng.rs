//! The exercise of the `virtio_rng` driver: bytes are read, and looked at for being anything but random.

use bringup_bench::Errno;
use serde_json::json;

use super::work::Work;
use super::{Exercised, Session};

/// How many bytes are read, without and with a file to put them in.
const LOOK: usize = 4096;
const FILL: usize = 1 << 20;

/// Bytes of one call.
const PIECE: usize = 4096;

pub(crate) fn exercise(session: &mut Session<'_>, work: &mut Work<'_>) -> Exercised {
    let mut exercised = Exercised::default();
    let Some(name) = session.first_node("vrng") else { return exercised };
    let Some(file) = session.open(&name, &mut exercised) else { return exercised };
    let wanted = if work.output.is_some() { FILL } else { LOOK };
    let mut bytes = vec![0; wanted];
    let mut done = 0;
    while done < wanted {
        let end = wanted.min(done + PIECE);
        let read = file.read(&mut bytes[done..end]);
        session.show_log();
        match read {
            Ok(count) if count > 0 => done += count,
            other => {
                exercised
                    .fail(&format!("read {} bytes from /dev/{name}", end - done), other.err().unwrap_or(Errno(-5)));
                break;
            }
        }
        session.progress("bytes read", done as u64, wanted as u64);
    }
    drop(file);
    session.show_log();
    let bytes = &bytes[..done];
    let ones: u64 = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
    let share = ones as f64 * 100.0 / (done as f64 * 8.0).max(1.0);
    let mut seen = [false; 256];
    bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let values = seen.iter().filter(|seen| **seen).count();
    let crc = crc32fast::hash(bytes);
    exercised.fact(
        "random",
        format!("{done:>9} bytes  crc32 {crc:08x}  {share:.1} % ones, {values} different bytes"),
        json!({"bytes": done, "crc32": format!("{crc:08x}"), "ones_percent": share, "values": values}),
    );
    // Of 4096 random bytes all but a handful of the 256 values occur, and half the bits are ones, by far more than this.
    if done >= LOOK && (values < 200 || !(45.0..55.0).contains(&share)) {
        exercised.wrong(format!("what /dev/{name} gives is not random: {share:.1} % ones, {values} different bytes"));
    }
    if let Some(output) = work.output.as_deref_mut() {
        output.write(bytes);
        if done < wanted {
            output.abandon();
        }
    }
    exercised
}
