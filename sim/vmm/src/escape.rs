//! The key that is not the guest's: Ctrl-A, as in QEMU's console.

/// What was typed, after the keys that are not the guest's were taken out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) bytes: Vec<u8>,
    /// The machine is to end.
    pub(crate) ends: bool,
}

/// Looks out for the key.
#[derive(Debug)]
pub(crate) struct Escape {
    on: bool,
    /// Ctrl-A was typed, and what it means is not known yet.
    pending: bool,
}

const CTRL_A: u8 = 1;

impl Escape {
    /// One that looks, or lets everything pass.
    pub(crate) fn new(on: bool) -> Self {
        Self { on, pending: false }
    }

    /// What of these bytes is the guest's. After the end nothing is.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        if !self.on {
            typed.bytes = bytes.to_vec();
            return typed;
        }
        for &byte in bytes {
            match (std::mem::take(&mut self.pending), byte) {
                (false, CTRL_A) => self.pending = true,
                (true, b'x' | b'X') => {
                    typed.ends = true;
                    break;
                }
                (true, CTRL_A | b'a') => typed.bytes.push(CTRL_A),
                // Not a command: what was typed, then.
                (true, other) => typed.bytes.extend([CTRL_A, other]),
                (false, other) => typed.bytes.push(other),
            }
        }
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(escape: &mut Escape, bytes: &[u8]) -> (Vec<u8>, bool) {
        let typed = escape.pass(bytes);
        (typed.bytes, typed.ends)
    }

    #[test]
    fn ctrl_a_x_ends_the_machine_also_in_two_reads() {
        let mut escape = Escape::new(true);
        assert_eq!(pass(&mut escape, b"ls\r\x01"), (b"ls\r".to_vec(), false));
        assert_eq!(pass(&mut escape, b"x never"), (Vec::new(), true));
    }

    #[test]
    fn ctrl_a_twice_is_one_for_the_guest_and_without_a_terminal_it_is_a_byte() {
        assert_eq!(pass(&mut Escape::new(true), b"\x01\x01\x03"), (b"\x01\x03".to_vec(), false));
        assert_eq!(pass(&mut Escape::new(false), b"\x01x"), (b"\x01x".to_vec(), false));
    }
}
