//! What a network device is plugged into (nothing, a loop, another device), behind a small trait.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bringup_core::{Nanos, Waker};

use super::frame::Frame;

/// The most frames that wait on a cable or in a loop; more are lost, as on a real one.
const MOST: usize = 1024;

/// The other end of a network device.
pub trait NetBackend: fmt::Debug + Send {
    /// The device came up; `waker` wakes it when there is something to receive or the link changed.
    fn attach(&mut self, _now: Nanos, _waker: Waker) {}

    /// The device sends a frame.
    fn send(&mut self, now: Nanos, frame: Frame);

    /// The next frame for the device, if one has arrived by now.
    fn receive(&mut self, now: Nanos) -> Option<Frame>;

    /// When the next frame arrives, if that is known.
    fn next_at(&self) -> Option<Nanos> {
        None
    }

    /// Whether there is anybody.
    fn link_is_up(&self) -> bool {
        true
    }
}

/// Nobody: what is sent is lost, and nothing arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeer;

impl NetBackend for NoPeer {
    fn send(&mut self, _now: Nanos, _frame: Frame) {}

    fn receive(&mut self, _now: Nanos) -> Option<Frame> {
        None
    }
}

/// What is sent arrives again, after a while.
#[derive(Debug)]
pub struct Loopback {
    delay: Nanos,
    frames: VecDeque<(Nanos, Frame)>,
}

impl Loopback {
    /// A loop that takes a frame `delay` virtual nanoseconds.
    #[must_use]
    pub fn new(delay: Nanos) -> Self {
        Self { delay, frames: VecDeque::new() }
    }
}

impl NetBackend for Loopback {
    fn send(&mut self, now: Nanos, frame: Frame) {
        if self.frames.len() < MOST {
            self.frames.push_back((now.saturating_add(self.delay), frame));
        }
    }

    fn receive(&mut self, now: Nanos) -> Option<Frame> {
        if self.next_at()? > now {
            return None;
        }
        self.frames.pop_front().map(|(_, frame)| frame)
    }

    fn next_at(&self) -> Option<Nanos> {
        self.frames.front().map(|(at, _)| *at)
    }
}

/// What both ends of a cable share: for each of them what is on its way to it, and how to wake it.
#[derive(Debug, Default)]
struct Wire {
    frames: [VecDeque<(Nanos, Frame)>; 2],
    wakers: [Option<Waker>; 2],
    /// How many ends were handed out.
    ends: usize,
}

/// One end of a cable between two devices of a machine.
#[derive(Debug)]
pub struct CableEnd {
    wire: Arc<Mutex<Wire>>,
    side: usize,
    delay: Nanos,
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CableEnd {
    /// A cable's two ends; a frame takes `delay` virtual nanoseconds from one to the other.
    #[must_use]
    pub fn pair(delay: Nanos) -> (Self, Self) {
        let wire = Arc::new(Mutex::new(Wire { ends: 2, ..Wire::default() }));
        (Self { wire: Arc::clone(&wire), side: 0, delay }, Self { wire, side: 1, delay })
    }
}

impl NetBackend for CableEnd {
    fn attach(&mut self, _now: Nanos, waker: Waker) {
        let mut wire = lock(&self.wire);
        if let Some(other) = &wire.wakers[1 - self.side] {
            other.wake();
        }
        wire.wakers[self.side] = Some(waker);
    }

    fn send(&mut self, now: Nanos, frame: Frame) {
        let mut wire = lock(&self.wire);
        let other = 1 - self.side;
        if wire.frames[other].len() < MOST {
            wire.frames[other].push_back((now.saturating_add(self.delay), frame));
        }
        if let Some(waker) = &wire.wakers[other] {
            waker.wake();
        }
    }

    fn receive(&mut self, now: Nanos) -> Option<Frame> {
        let mut wire = lock(&self.wire);
        let frames = &mut wire.frames[self.side];
        if frames.front()?.0 > now {
            return None;
        }
        frames.pop_front().map(|(_, frame)| frame)
    }

    fn next_at(&self) -> Option<Nanos> {
        lock(&self.wire).frames[self.side].front().map(|(at, _)| *at)
    }

    fn link_is_up(&self) -> bool {
        lock(&self.wire).ends == 2
    }
}

/// The cables of a machine, by name: whoever asks first for a name gets one end, the next one the other.
#[derive(Clone, Debug, Default)]
pub struct Cables(Arc<Mutex<BTreeMap<String, Arc<Mutex<Wire>>>>>);

impl Cables {
    /// An end of the cable that is called `name`; `None` if both are taken.
    #[must_use]
    pub fn end(&self, name: &str, delay: Nanos) -> Option<CableEnd> {
        let mut cables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wire = Arc::clone(cables.entry(name.into()).or_default());
        let side = {
            let mut wire = lock(&wire);
            wire.ends += 1;
            wire.ends - 1
        };
        (side < 2).then_some(CableEnd { wire, side, delay })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8) -> Frame {
        Frame::whole(vec![byte; 60])
    }

    #[test]
    fn loop_brings_frames_back_in_order_after_its_delay() {
        let mut loopback = Loopback::new(10);
        loopback.send(100, frame(1));
        loopback.send(105, frame(2));
        assert_eq!((loopback.next_at(), loopback.receive(109)), (Some(110), None));
        assert_eq!(loopback.receive(110), Some(frame(1)));
        assert_eq!(loopback.receive(110), None);
        assert_eq!(loopback.receive(200), Some(frame(2)));
    }

    #[test]
    fn cable_has_two_ends_and_carries_both_ways() {
        let cables = Cables::default();
        let mut left = cables.end("a", 5).unwrap();
        assert!(!left.link_is_up());
        let mut right = cables.end("a", 5).unwrap();
        assert!(left.link_is_up() && right.link_is_up());
        assert!(cables.end("a", 5).is_none() && cables.end("b", 5).is_some());
        left.send(0, frame(1));
        right.send(0, frame(2));
        assert_eq!((left.receive(5), right.receive(5)), (Some(frame(2)), Some(frame(1))));
        assert_eq!((left.receive(9), right.receive(9)), (None, None));
    }

    #[test]
    fn frames_that_nobody_receives_do_not_pile_up() {
        let mut loopback = Loopback::new(0);
        (0..5000).for_each(|_| loopback.send(0, frame(0)));
        assert_eq!(loopback.frames.len(), MOST);
    }
}
