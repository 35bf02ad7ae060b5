//! The entropy device (virtio 1.4 §5.4): fills what the driver gives it.

use bringup_core::Nanos;
use bringup_spec::virtio::{device_type, rng::REQUEST_QUEUE};

use super::device::{Host, VirtioDevice};

/// How many bytes it makes in one quantum.
const QUANTUM: u64 = 64 << 10;

/// How many requests it takes in one quantum.
const REQUESTS: usize = 64;

/// An entropy source whose bytes follow from a seed: the same life gives the same bytes.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    delay: Nanos,
    most: u32,
}

impl Default for Rng {
    fn default() -> Self {
        Self::new(0x1234_5678_9abc_def0)
    }
}

impl Rng {
    /// An entropy source with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, delay: 10_000, most: u32::MAX }
    }

    /// How long it takes for a request, in virtual nanoseconds.
    #[must_use]
    pub fn delay(mut self, delay: Nanos) -> Self {
        self.delay = delay;
        self
    }

    /// How many bytes it gives for one request at most: a slow source gives fewer than were asked for, but always one.
    #[must_use]
    pub fn most(mut self, most: u32) -> Self {
        self.most = most.max(1);
        self
    }

    /// The next eight bytes (splitmix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> u16 {
        device_type::ENTROPY
    }

    fn features(&self) -> u128 {
        0
    }

    fn queues(&self) -> Vec<u16> {
        vec![256]
    }

    fn kick(&mut self, host: &mut Host<'_, '_>, _index: u16) {
        host.wake_in(self.delay);
    }

    fn work(&mut self, host: &mut Host<'_, '_>) {
        let mut made = 0;
        for _ in 0..REQUESTS {
            if made >= QUANTUM {
                host.wake_in(self.delay);
                return;
            }
            let Some(chain) = host.pop(REQUEST_QUEUE) else { return };
            let wanted = chain.writable_len().min(u64::from(self.most)).min(QUANTUM);
            let mut done = 0;
            while done < wanted {
                let bytes = self.next().to_le_bytes();
                let piece = (wanted - done).min(8) as usize;
                match host.write(&chain, done, &bytes[..piece]) {
                    Ok(written) if written > 0 => done += written as u64,
                    _ => break,
                }
            }
            made += done.max(1);
            host.push(REQUEST_QUEUE, chain, done as u32);
        }
        host.wake_in(self.delay);
    }

    /// A source of entropy gives nothing twice: it goes on where it was.
    fn reset(&mut self) {}
}
