//! What the command line asks a driver's exercise to do, and the load of `--bench`.

use std::fmt;

use crate::output_file::Pending;

/// What a life is asked to do with its driver.
#[derive(Debug, Default)]
pub(crate) struct Work<'a> {
    /// The content of `--input`.
    pub(crate) input: Option<&'a [u8]>,
    /// Where `--output` goes.
    pub(crate) output: Option<&'a mut Pending>,
    /// `--bench`.
    pub(crate) load: Option<Load>,
    /// Nothing that the device holds is dear to anybody: everything that the driver can do may be done.
    pub(crate) thorough: bool,
}

/// Which parts of [`Work`] a driver's exercise has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takes {
    pub(crate) input: bool,
    pub(crate) output: bool,
    pub(crate) bench: bool,
}

impl Takes {
    pub(crate) const NOTHING: Self = Self { input: false, output: false, bench: false };
    pub(crate) const INPUT: Self = Self { input: true, ..Self::NOTHING };
    pub(crate) const FILES: Self = Self { output: true, ..Self::INPUT };
    pub(crate) const ALL: Self = Self { bench: true, ..Self::FILES };
}

/// The requests that a load is made of, in fio's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    Read,
    Write,
    /// Seven reads to three writes.
    Both,
}

impl Mix {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Both];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "randread",
            Self::Write => "randwrite",
            Self::Both => "randrw",
        }
    }
}

/// Random requests to a disk, the same ones each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) mix: Mix,
    /// How many requests.
    pub(crate) count: u64,
    /// Bytes of each.
    pub(crate) size: u64,
    /// How many processes make requests at the same time.
    pub(crate) depth: u64,
}

impl Load {
    const MOST_REQUESTS: u64 = 1 << 40;
    const MOST_BYTES: u64 = 16 << 20;
    const MOST_PROCESSES: u64 = 256;

    /// Understands `randread`, `randwrite,count=1000,size=64K,depth=8`.
    ///
    /// # Errors
    /// Says what it takes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let first = words.next().unwrap_or_default();
        let Some(mix) = Mix::ALL.into_iter().find(|mix| mix.word() == first) else {
            return Err(format!("it begins with randread, randwrite or randrw, not \"{first}\""));
        };
        let mut load = Self { mix, count: 10_000, size: 4096, depth: 16 };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let (target, most) = match name {
                "count" => (&mut load.count, Self::MOST_REQUESTS),
                "size" => (&mut load.size, Self::MOST_BYTES),
                "depth" => (&mut load.depth, Self::MOST_PROCESSES),
                _ => return Err(format!("it takes count=, size= and depth=, not \"{word}\"")),
            };
            let parsed = number(value).filter(|value| (1..=most).contains(value));
            *target = parsed.ok_or_else(|| format!("{name} takes 1 to {most}, not \"{value}\""))?;
        }
        if !load.size.is_multiple_of(512) {
            return Err(format!("size takes a multiple of 512, not {}", load.size));
        }
        Ok(load)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},count={},size={},depth={}", self.mix.word(), self.count, self.size, self.depth)
    }
}

/// Digits, and K or M for powers of 1024.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        _ => (text, 0),
    };
    let plain = digits.starts_with(|c: char| c.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_read_back_as_it_is_shown() {
        for text in ["randread", "randwrite,count=7,size=64K", "randrw,depth=3,count=2M"] {
            let load = Load::parse(text).unwrap();
            assert_eq!(Load::parse(&load.to_string()), Ok(load), "{text}");
        }
    }

    #[test]
    fn loads_that_cannot_be_say_why() {
        for (text, word) in [
            ("seqread", "randread"),
            ("randread,count=0", "count takes 1"),
            ("randread,size=100", "multiple of 512"),
            ("randread,size=", "size takes"),
            ("randread,depth=+1", "depth takes"),
            ("randread,deep=1", "deep=1"),
            ("randread,count=99999999999999999999", "count takes"),
        ] {
            let why = Load::parse(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }
}
