//! The exercise of the `virtio_console` driver: a file, or a line, is typed, and what comes back is read.

use std::rc::Rc;

use bringup_bench::{Errno, File};
use serde_json::json;

use super::work::Work;
use super::{Exercised, Session, arrival};

/// Bytes of one call.
const PIECE: usize = 1024;

pub(crate) fn exercise(session: &mut Session<'_>, work: &mut Work<'_>) -> Exercised {
    let mut exercised = Exercised::default();
    let Some(name) = session.first_node("vcon") else { return exercised };
    let Some(file) = session.open_shared(&name, &mut exercised) else { return exercised };
    let input = work.input.unwrap_or(b"a line that is typed into the console, and one more for the road\n");
    let back = carry(session, &name, &file, input, &mut exercised);
    if let Some(output) = work.output.as_deref_mut() {
        output.write(&back);
        if !exercised.mishaps.is_empty() {
            output.abandon();
        }
    }
    session.close_shared(file);
    exercised
}

fn carry(session: &mut Session<'_>, name: &str, file: &Rc<File>, bytes: &[u8], exercised: &mut Exercised) -> Vec<u8> {
    let mut back = Vec::new();
    let mut sent = 0;
    'all: for piece in bytes.chunks(PIECE) {
        let mut done = 0;
        while done < piece.len() {
            let (writer, rest) = (file.clone(), piece[done..].to_vec());
            let written = session.bench.run("write", move || writer.write(&rest)).and_then(|result| result);
            session.show_log();
            match written {
                Ok(count) if count > 0 => done += count,
                other => {
                    let error = other.err().unwrap_or(Errno(-5));
                    exercised.fail(&format!("write {} bytes to /dev/{name}", piece.len() - done), error);
                    break 'all;
                }
            }
        }
        sent += piece.len();
        // An echo that does not come will not come later.
        while back.len() < sent {
            match arrival::read(session, file, PIECE) {
                Ok(Some(bytes)) if !bytes.is_empty() => back.extend_from_slice(&bytes),
                Ok(_) => break,
                Err(error) => {
                    exercised.fail(&format!("read from /dev/{name}"), error);
                    break 'all;
                }
            }
            session.show_log();
        }
        session.progress("bytes typed", sent as u64, bytes.len() as u64);
        if back.is_empty() {
            // Nobody answers; the rest is typed all the same.
            continue;
        }
    }
    let (before, after) = (crc32fast::hash(&bytes[..sent]), crc32fast::hash(&back));
    exercised.fact(
        "typed",
        format!("{sent:>9} bytes  crc32 {before:08x}"),
        json!({"bytes": sent, "crc32": format!("{before:08x}")}),
    );
    let same = back[..] == bytes[..sent];
    let verdict = match (same, back.is_empty()) {
        (true, _) => "  the same",
        (false, true) => "  nothing came back",
        (false, false) => "  other than what was typed",
    };
    exercised.fact(
        "came back",
        format!("{:>9} bytes  crc32 {after:08x}{verdict}", back.len()),
        json!({"bytes": back.len(), "crc32": format!("{after:08x}"), "same": same}),
    );
    back
}
