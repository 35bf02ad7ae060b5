//! The exercise of the `virtio_net` driver: a file, or a pattern, in packets to the wire, and what comes back from there.
//!
//! A packet is an Ethernet frame of a type for experiments, with its number and length, so that a device that loops packets back,
//! or a peer that does, can be told from one that does not.

use std::rc::Rc;

use bringup_bench::{Errno, File};
use serde_json::json;

use super::work::Work;
use super::{Exercised, Session, arrival};

/// Ethernet addresses: to everybody, from an address that is given locally.
const TO: [u8; 6] = [0xff; 6];
const FROM: [u8; 6] = [0x02, 0, 0, 0xb1, 0x46, 0x01];
/// A type for experiments (IEEE 802, local experimental EtherType 1).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Bytes of a frame: addresses and type, number, length.
const HEADER: usize = 14;
const FRAMING: usize = HEADER + 8;
/// The shortest frame.
const SHORTEST: usize = 60;
/// The most payload of a frame.
const PIECE: usize = 1400;
/// The longest packet that may arrive.
const LONGEST: usize = 1 << 16;
/// How long the device has for what is in its queue at the end, in virtual nanoseconds.
const TAIL: u64 = 1_000_000;
/// How many bytes are carried when there is no file.
const PATTERN: usize = 4 * PIECE + 100;

pub(crate) fn exercise(session: &mut Session<'_>, work: &mut Work<'_>) -> Exercised {
    let mut exercised = Exercised::default();
    let Some(name) = session.first_node("vnet") else { return exercised };
    let Some(file) = session.open_shared(&name, &mut exercised) else { return exercised };
    let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(PATTERN).collect();
    let input = work.input.unwrap_or(&pattern);
    let back = carry(session, &name, &file, input, &mut exercised);
    if let (Some(output), Some(back)) = (work.output.as_deref_mut(), &back) {
        output.write(back);
        if exercised.mishaps.is_empty() {
            output.whole();
        }
    }
    session.close_shared(file);
    exercised
}

fn frame(number: u32, piece: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAMING + piece.len());
    frame.extend_from_slice(&TO);
    frame.extend_from_slice(&FROM);
    frame.extend_from_slice(&ETHERTYPE);
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(&(piece.len() as u32).to_be_bytes());
    frame.extend_from_slice(piece);
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

/// The number and payload of a frame of ours.
fn payload(frame: &[u8]) -> Option<(u32, &[u8])> {
    let ours = frame.get(12..HEADER)? == ETHERTYPE;
    let number = u32::from_be_bytes(frame.get(HEADER..HEADER + 4)?.try_into().ok()?);
    let len = u32::from_be_bytes(frame.get(HEADER + 4..FRAMING)?.try_into().ok()?) as usize;
    ours.then_some((number, frame.get(FRAMING..FRAMING.checked_add(len)?)?))
}

/// Sends `bytes` a packet at a time and takes what comes back; `None` if nothing does.
fn carry(
    session: &mut Session<'_>,
    name: &str,
    file: &Rc<File>,
    bytes: &[u8],
    exercised: &mut Exercised,
) -> Option<Vec<u8>> {
    let (mut sent, mut packets, mut strangers) = (0, 0_u64, 0_u64);
    let mut back: Option<Vec<u8>> = None;
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        let packet = frame(number as u32, piece);
        let len = packet.len();
        let writer = file.clone();
        let written = session.bench.run("write", move || writer.write(&packet)).and_then(|result| result);
        session.show_log();
        if written != Ok(len) {
            let error = written.err().unwrap_or(Errno(-5));
            exercised.fail(&format!("write a packet of {len} bytes to /dev/{name}"), error);
            break;
        }
        sent += piece.len();
        packets += 1;
        // When the first does not come back, none will.
        if number == 0 || back.is_some() {
            match arrive(session, file, number as u32, &mut strangers) {
                Ok(Some(piece)) => back.get_or_insert_default().extend_from_slice(&piece),
                Ok(None) => {}
                Err(error) => {
                    exercised.fail(&format!("read a packet from /dev/{name}"), error);
                    break;
                }
            }
            session.show_log();
        }
        session.progress("bytes sent", sent as u64, bytes.len() as u64);
    }
    if back.is_none() && packets > 1 {
        // What does not come back was not waited for: the device still has to send it.
        session.bench.advance(TAIL);
    }
    let crc = crc32fast::hash(&bytes[..sent]);
    exercised.fact(
        "sent",
        format!("{sent:>9} bytes  crc32 {crc:08x}  {packets} packets"),
        json!({"bytes": sent, "crc32": format!("{crc:08x}"), "packets": packets}),
    );
    let text = match &back {
        None => "  nothing came back: the device does not loop packets back".to_owned(),
        Some(back) => {
            let same = back[..] == bytes[..sent];
            if !same {
                exercised.wrong("the packets that came back are not those that were sent".into());
            }
            let verdict = if same { "the same" } else { "NOT the same" };
            format!("{:>9} bytes  crc32 {:08x}  {verdict}", back.len(), crc32fast::hash(back))
        }
    };
    let len = back.as_ref().map(Vec::len);
    let same = back.as_ref().map(|back| back[..] == bytes[..sent]);
    exercised.fact("received", text, json!({"bytes": len, "same": same}));
    if strangers > 0 {
        exercised.fact("other", format!("{strangers:>9} packets of others"), json!({"packets": strangers}));
    }
    back
}

/// The payload of the packet with this number, when it comes back; `None` if it does not.
fn arrive(
    session: &mut Session<'_>,
    file: &Rc<File>,
    number: u32,
    strangers: &mut u64,
) -> Result<Option<Vec<u8>>, Errno> {
    /// How many packets of others are read before ours is given up.
    const MOST: usize = 64;
    for _ in 0..MOST {
        let Some(packet) = arrival::read(session, file, LONGEST)? else { return Ok(None) };
        match payload(&packet) {
            Some((found, piece)) if found == number => return Ok(Some(piece.to_vec())),
            _ => *strangers += 1,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_comes_out_of_a_frame_as_it_went_in() {
        for piece in [&b""[..], b"x", &[7; PIECE]] {
            let packet = frame(3, piece);
            assert!(packet.len() >= SHORTEST);
            assert_eq!(payload(&packet), Some((3, piece)));
        }
        assert_eq!(payload(&[0; 20]), None);
        assert_eq!(payload(&[0xff; SHORTEST]), None);
    }
}
