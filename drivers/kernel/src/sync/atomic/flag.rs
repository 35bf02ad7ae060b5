//! [`AtomicFlag`]: a `bool` in whatever width the machine is fastest with.

use super::ordering::{AcquireOrRelaxed, Ordering, ReleaseOrRelaxed};
use super::Atomic;

/// An atomic `bool` whose width does not matter. On the machine it is one byte, as on x86 and Arm.
pub struct AtomicFlag(Atomic<bool>);

impl AtomicFlag {
    /// Makes a flag.
    #[inline(always)]
    pub const fn new(b: bool) -> Self {
        Self(Atomic::new(b))
    }

    /// Returns the flag for plain access, since nobody else has it.
    #[inline(always)]
    pub fn get_mut(&mut self) -> &mut bool {
        self.0.get_mut()
    }

    /// Reads the flag, for this crate's own ones: no time passes.
    #[inline(always)]
    pub(crate) fn peek<O: AcquireOrRelaxed>(&self, o: O) -> bool {
        self.0.peek(o)
    }

    /// Reads the flag.
    #[inline(always)]
    pub fn load<O: AcquireOrRelaxed>(&self, o: O) -> bool {
        self.0.load(o)
    }

    /// Writes the flag.
    #[inline(always)]
    pub fn store<O: ReleaseOrRelaxed>(&self, v: bool, o: O) {
        self.0.store(v, o);
    }

    /// As [`xchg`](Self::xchg), for this crate's own flags: no time passes.
    #[inline(always)]
    pub(crate) fn swap<O: Ordering>(&self, new: bool, o: O) -> bool {
        self.0.swap(new, o)
    }

    /// Writes the flag and returns what was there.
    #[inline(always)]
    pub fn xchg<O: Ordering>(&self, new: bool, o: O) -> bool {
        self.0.xchg(new, o)
    }

    /// Writes `new` if `old` is there. Returns what was there, as `Ok` when it wrote; otherwise nothing is ordered.
    #[inline(always)]
    pub fn cmpxchg<O: Ordering>(&self, old: bool, new: bool, o: O) -> Result<bool, bool> {
        self.0.cmpxchg(old, new, o)
    }
}
