//! The least of a gdb: packets over a socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to a machine.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    /// Connects. The machine's socket is there before the machine runs.
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        // What hangs fails.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(stream)
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, packet: &str) {
        self.0.write_all(&packet_of(packet)).unwrap();
    }

    /// Waits for a packet and takes it; empty when the connection ends.
    pub(crate) fn receive(&mut self) -> String {
        let mut packet = Vec::new();
        let mut inside = false;
        loop {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(0) => return String::new(),
                // The other end left something unread.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return String::new(),
                read => assert_eq!(read.unwrap(), 1),
            }
            match byte[0] {
                b'$' => inside = true,
                b'#' => break,
                byte if inside => packet.push(byte),
                _ => {}
            }
        }
        self.0.read_exact(&mut [0; 2]).unwrap();
        let _ = self.0.write_all(b"+");
        expand(&packet)
    }

    /// Asks and takes the answer.
    pub(crate) fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.receive()
    }

    /// A general register of a CPU (0 RAX … 15, 16 RIP).
    pub(crate) fn register(&mut self, cpu: usize, number: usize) -> u64 {
        assert_eq!(self.ask(&format!("Hg{:x}", cpu + 1)), "OK");
        let all = bytes(&self.ask("g"));
        u64::from_le_bytes(all[number * 8..number * 8 + 8].try_into().unwrap())
    }

    /// RIP of the first CPU.
    pub(crate) fn rip(&mut self) -> u64 {
        self.register(0, 16)
    }

    /// Eight bytes of memory.
    pub(crate) fn memory(&mut self, at: u64) -> u64 {
        u64::from_le_bytes(bytes(&self.ask(&format!("m{at:x},8"))).try_into().unwrap())
    }
}

/// A packet as it goes over the wire.
pub(crate) fn packet_of(content: &str) -> Vec<u8> {
    let sum = content.bytes().fold(0_u8, u8::wrapping_add);
    format!("${content}#{sum:02x}").into_bytes()
}

/// Run-length encoding: `0*"` is a 0 and, from the last character, five more.
fn expand(packet: &[u8]) -> String {
    let mut text = String::new();
    let mut bytes = packet.iter();
    while let Some(byte) = bytes.next() {
        match (byte, text.chars().last()) {
            (b'*', Some(last)) => {
                let count = usize::from(*bytes.next().unwrap()) - 29;
                text.extend(std::iter::repeat_n(last, count));
            }
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap_or(0)).collect()
}
