//! Whether a driver owes a kick, and what its barriers keep in order.

use bringup_core::Barrier;

/// What became of the chains that were made available since the last kick.
///
/// The driver looks at what the device wants at a moment of its own between the store that makes chains available and the kick. So
/// a kick is owed only if the device wants it all the time from that store on, and is needless only if it never did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::virtio) enum Pending {
    /// There are none.
    #[default]
    Nothing,
    /// The device never wanted a kick for them.
    Needless,
    /// It depends on when the driver looked.
    Unsure,
    /// The device wants a kick, and did from the start.
    Owed,
}

impl Pending {
    /// Chains became available, and the device wants a kick for them, or not; `None` if it cannot be told. `true` if a kick is owed
    /// from now on that was not before.
    pub(in crate::virtio) fn published(&mut self, wanted: Option<bool>) -> bool {
        let before = *self;
        *self = match (before, wanted) {
            (Self::Owed, _) | (_, Some(true)) => Self::Owed,
            (Self::Nothing | Self::Needless, Some(false)) => Self::Needless,
            (_, None) | (Self::Unsure, Some(false)) => Self::Unsure,
        };
        *self == Self::Owed && before != Self::Owed
    }

    /// The device worked while the driver ran: it may have wanted something else for a while.
    pub(in crate::virtio) fn blur(&mut self) {
        if *self != Self::Nothing {
            *self = Self::Unsure;
        }
    }

    /// What the device wants changed; whether it still wants a kick for what it wanted one for.
    pub(in crate::virtio) fn changed(&mut self, wanted: Option<bool>) {
        if *self == Self::Needless || (*self == Self::Owed && wanted != Some(true)) {
            *self = Self::Unsure;
        }
    }
}

/// How many kicks may still come rightly where processors run while devices work.
///
/// A kick can be late by any time there: a processor may stand between its look at what the device wants and the kick. So what makes
/// a kick right is counted: one may come for each time that chains were made available while the device may have wanted one.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::virtio) struct Credit {
    /// Kicks that may come.
    kicks: u32,
    /// Chains that were made available while the device did not want a kick, and has not worked since.
    settled: u32,
}

impl Credit {
    /// So many chains were made available; `wanted` as for [`Pending::published`].
    pub(in crate::virtio) fn published(&mut self, chains: u32, wanted: Option<bool>) {
        let to = if wanted == Some(false) { &mut self.settled } else { &mut self.kicks };
        *to = to.saturating_add(chains);
    }

    /// The device worked: it may have wanted kicks meanwhile, and the driver may have looked then.
    pub(in crate::virtio) fn worked(&mut self) {
        self.kicks = self.kicks.saturating_add(std::mem::take(&mut self.settled));
    }

    /// A kick came. `false` if none may; then it came for chains for which none was wanted.
    pub(in crate::virtio) fn take(&mut self) -> bool {
        let right = self.kicks > 0;
        let from = if right { &mut self.kicks } else { &mut self.settled };
        *from = from.saturating_sub(1);
        right
    }
}

/// The order of a driver's stores and loads, as far as its barriers give one.
#[derive(Clone, Copy, Debug)]
pub(in crate::virtio) struct Fences {
    /// Counts write barriers, from 1: stores of different numbers are in order.
    epoch: u64,
    /// Chains were made available and the driver has not looked at what the device wants yet; whether a full barrier came since.
    shown: Option<bool>,
}

impl Default for Fences {
    fn default() -> Self {
        Self { epoch: 1, shown: None }
    }
}

impl Fences {
    pub(in crate::virtio) fn barrier(&mut self, barrier: Barrier) {
        if barrier != Barrier::Read {
            self.epoch += 1;
        }
        if barrier == Barrier::Full {
            self.shown = self.shown.map(|_| true);
        }
    }

    /// The number of stores from now to the next write barrier; never 0.
    pub(in crate::virtio) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A store made chains available.
    pub(in crate::virtio) fn published(&mut self) {
        self.shown = Some(false);
    }

    /// The driver looks at what the device wants. Whether a full barrier came since chains were made available; `None` if it looked
    /// already.
    pub(in crate::virtio) fn looked(&mut self) -> Option<bool> {
        self.shown.take()
    }
}
