//! Reads that wait for something to arrive, and do not wait for ever.

use std::rc::Rc;

use bringup_bench::{Errno, File};

use super::Session;

/// How long something may take to arrive, in virtual nanoseconds.
const PATIENCE: u64 = 100_000_000;
/// How often it is looked for.
const STEP: u64 = 100_000;

const EINTR: Errno = Errno(-4);

/// Kernel's own word for a call that a signal ended: it never reaches user space on a real kernel.
const ERESTARTSYS: Errno = Errno(-512);

/// Reads up to `len` bytes; `None` if nothing arrived in time.
///
/// # Errors
/// The driver's.
pub(super) fn read(session: &mut Session<'_>, file: &Rc<File>, len: usize) -> Result<Option<Vec<u8>>, Errno> {
    let reader = file.clone();
    let job = session.bench.spawn("read", move || {
        let mut bytes = vec![0; len];
        let result = reader.read(&mut bytes);
        // What arrived is given back with it; the file is let go of by whoever opened it.
        result.map(|count| {
            bytes.truncate(count);
            bytes
        })
    });
    for _ in 0..PATIENCE / STEP {
        if job.is_done() || session.bench.is_crashed() {
            break;
        }
        session.bench.advance(STEP);
    }
    session.bench.signal(&job);
    match session.bench.join(&job)? {
        Ok(bytes) => Ok(Some(bytes)),
        Err(EINTR | ERESTARTSYS) => Ok(None),
        Err(error) => Err(error),
    }
}
