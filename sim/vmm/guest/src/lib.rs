//! What the bare guest program knows without touching a machine: its command line, how it was started, the ACPI tables,
//! and arithmetic. Pure, `no_std`, tested on the host; the program is `main.rs`.

#![no_std]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod arithmetic;
pub mod start;
pub mod words;

/// Memory of the machine by physical address.
pub trait Memory {
    /// Fills `into` from `address` up; `false` when some of it is not there.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    /// A little-endian number of `width` bytes, at most 8.
    fn number(&self, address: u64, width: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..width)?;
        self.read(address, part).then(|| u64::from_le_bytes(bytes))
    }

    /// 32 bits.
    fn u32(&self, address: u64) -> Option<u32> {
        self.number(address, 4).and_then(|number| u32::try_from(number).ok())
    }

    /// 64 bits.
    fn u64(&self, address: u64) -> Option<u64> {
        self.number(address, 8)
    }

    /// 8 bits.
    fn u8(&self, address: u64) -> Option<u8> {
        self.number(address, 1).and_then(|number| u8::try_from(number).ok())
    }
}

#[cfg(test)]
mod pretend {
    //! Memory for tests: pieces at addresses.
    extern crate std;
    use std::vec::Vec;

    #[derive(Default)]
    pub(crate) struct Pieces(Vec<(u64, Vec<u8>)>);

    impl Pieces {
        pub(crate) fn with(mut self, address: u64, bytes: impl Into<Vec<u8>>) -> Self {
            self.0.push((address, bytes.into()));
            self
        }
    }

    impl crate::Memory for Pieces {
        fn read(&self, address: u64, into: &mut [u8]) -> bool {
            for (at, bytes) in &self.0 {
                let Some(skip) = address.checked_sub(*at) else { continue };
                let skip = usize::try_from(skip).unwrap();
                if let Some(found) = skip.checked_add(into.len()).and_then(|end| bytes.get(skip..end)) {
                    into.copy_from_slice(found);
                    return true;
                }
            }
            false
        }
    }
}
